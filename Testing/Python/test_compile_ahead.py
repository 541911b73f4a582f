import os
import sys

import pytest
from PDFFMapperLib.install import ahead
from PDFFMapperLib.install.ahead import compile_ahead, will_compile

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
