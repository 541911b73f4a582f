import os
import subprocess
import sys
import time

import pytest
from PDFFMapperLib.install import ahead, compiled_cache
from PDFFMapperLib.install.ahead import compile_ahead, will_compile
from PDFFMapperLib.install.compiled_cache import forget_stale_code

PLAYED = "played.txt"


@pytest.fixture
def rehearsal(tmp_path, monkeypatch):
    """A package whose rehearsal notes that it was played, and how willingly it gives way."""
    package = tmp_path / "tried"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "rehearsal.py").write_text(
        "import os\n"
        "def play():\n"
        f"    with open({str(tmp_path / PLAYED)!r}, 'a') as file:\n"
        "        file.write(f'{os.nice(0)} ')\n"
        "def fail():\n"
        "    raise ValueError\n"
    )
    monkeypatch.delitem(sys.modules, "tried", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return "tried.rehearsal:play"


def test_a_rehearsal_is_played_once_and_gives_way(rehearsal, tmp_path):
    assert will_compile(rehearsal)
    process = compile_ahead(rehearsal)
    assert compile_ahead(rehearsal) in (process, None)  # it runs, or has just ended
    assert process.wait(60) == 0
    assert (tmp_path / PLAYED).read_text().split() == [str(min(os.nice(0) + 10, 19))]
    assert not will_compile(rehearsal) and compile_ahead(rehearsal) is None


def test_the_panel_s_rehearsal_plays_to_its_end_and_compiles_the_motion_of_ute():
    """It made fat of one peak, which the check of echoes refused: nothing was ever done ahead."""
    code = (
        "from PDFFMapperLib.install.rehearsal import play\n"
        "from PDFFMapperLib.ute.motion_kernel import products_of, strength_and_slopes\n"
        "from PDFFMapperLib.water_fat.holes import _means_around\n"
        "play()\n"
        "assert products_of.signatures and strength_and_slopes.signatures\n"
        "assert _means_around.signatures\n"
    )
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=path, timeout=300)


def test_changed_code_is_compiled_for_again(rehearsal, tmp_path):
    assert compile_ahead(rehearsal).wait(60) == 0
    os.utime(tmp_path / "tried" / "rehearsal.py", (2e9, 2e9))
    assert not will_compile(rehearsal)  # what runs here was imported before
    ahead._newest_ns.cache_clear()  # as in the next session
    assert will_compile(rehearsal)


def test_a_rehearsal_that_failed_is_tried_again(rehearsal):
    assert compile_ahead("tried.rehearsal:fail").wait(60) != 0
    assert will_compile("tried.rehearsal:fail")


def test_an_application_is_not_taken_for_python(rehearsal, monkeypatch):
    monkeypatch.setattr("sys.executable", "/opt/Slicer/bin/SlicerApp-real")
    assert compile_ahead(rehearsal) is None


CALLS = "from numba import njit\nfrom tried.called import one\n\n@njit(cache=True)\ndef f():\n"
CALLED = "from numba import njit\n\n@njit(cache=True)\ndef one():\n    return {}\n"
ASKED = (
    "from PDFFMapperLib.install.compiled_cache import forget_stale_code\n"
    "forget_stale_code('tried')\n"
    "from tried.calls import f\n"
    "print(f())"
)


@pytest.mark.parametrize("told", [False, True])
def test_code_that_calls_changed_code_is_compiled_again(rehearsal, tmp_path, monkeypatch, told):
    if not told:  # where to keep it
        monkeypatch.delenv("NUMBA_CACHE_DIR")
    package = tmp_path / "tried"
    (package / "calls.py").write_text(CALLS + "    return one() + 10\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))

    def asked(value, seconds_ago):
        (package / "called.py").write_text(CALLED.format(value))
        changed = time.time() - seconds_ago
        os.utime(package / "called.py", (changed, changed))
        run = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, check=True)
        return int(run.stdout)

    assert asked(1, 100) == 11
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert len(kept) == 2 and asked(1, 100) == 11
    assert kept == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert asked(2, 0) == 12


def test_stale_code_that_cannot_be_deleted_keeps_nobody_from_working(rehearsal, tmp_path):
    """As of another user's installation; numba keeps this user's code elsewhere then."""
    stuck = tmp_path / "tried" / "__pycache__" / "rehearsal.play-1.py311.1.nbc"
    stuck.mkdir(parents=True)  # what is no file cannot be deleted as one, by anybody
    os.utime(stuck, (1e9, 1e9))
    forget_stale_code("tried")
    assert stuck.exists()


@pytest.mark.parametrize("platform", ["win32", "darwin", "linux"])
def test_a_user_s_compiled_code_is_looked_for_where_numba_keeps_it(platform, monkeypatch, tmp_path):
    from numba.misc import appdirs

    for variable in ("HOME", "LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(appdirs, "system", platform)
    monkeypatch.setattr(appdirs, "_get_win_folder", lambda _: str(tmp_path), raising=False)
    kept = appdirs.AppDirs(appname="numba", appauthor=False).user_cache_dir
    assert str(compiled_cache._user_cache()) == kept
