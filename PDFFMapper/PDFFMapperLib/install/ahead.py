"""Compiling before anybody waits for it: once, by a process of its own at low priority."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name

from PDFFMapperLib.install.compiled_cache import cache_folder, forget_stale_code
from PDFFMapperLib.install.packages import installed_version, missing_packages
from PDFFMapperLib.install.programs import NO_WINDOW

_playing: dict[str, subprocess.Popen] = {}


def will_compile(rehearsal: str) -> bool:
    """Whether a first use has to wait for the compiler: the rehearsal has not been played to its
    end with this code, Python and numba.
    """
    return not missing_packages() and not _stamp(rehearsal).exists()


def compile_ahead(rehearsal: str) -> subprocess.Popen | None:
    """Start a rehearsal in the background, unless it has been played.

    Args:
        rehearsal: "module:function" that uses all that is compiled, with the types of real use.

    Returns:
        Its process; None if there is nothing to do, or no Python to do it with.
    """
    python = shutil.which("PythonSlicer") or sys.executable or ""
    if not Path(python).stem.lower().startswith("python"):
        return None  # embedded, sys.executable may be the application itself
    if rehearsal in _playing and _playing[rehearsal].poll() is None:
        return _playing[rehearsal]
    if not will_compile(rehearsal):
        return None
    folders = [str(_package(rehearsal).parent), str(Path(__file__).parents[2])]
    paths = [*folders, *filter(None, [os.environ.get("PYTHONPATH")])]
    _playing[rehearsal] = subprocess.Popen(
        [python, "-m", __name__, rehearsal],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        creationflags=NO_WINDOW | getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0),
        start_new_session=sys.platform != "win32",
    )
    return _playing[rehearsal]


def _package(rehearsal: str) -> Path:
    return Path(import_module(rehearsal.partition(".")[0]).__file__).parent


def _stamp(rehearsal: str) -> Path:
    """The file that says so; it lies with the compiled code and goes with it."""
    package = _package(rehearsal)
    newest_ns = max(_newest_ns(package), _newest_ns(Path(__file__).parents[1]))
    version = "-".join((installed_version("numba"), sys.implementation.cache_tag, f"{newest_ns:x}"))
    return cache_folder(package) / f"{rehearsal.replace(':', '.')}-{version}.compiled"


@cache  # what runs here was imported, whatever is written later
def _newest_ns(package: Path) -> int:
    """When its code was changed last."""
    return max(path.stat().st_mtime_ns for path in package.rglob("*.py"))


def main(rehearsal: str) -> None:
    """Play a rehearsal, and note that it was."""
    if hasattr(os, "nice"):
        os.nice(10)
    forget_stale_code(*{rehearsal.partition(".")[0], "PDFFMapperLib"})
    resolve_name(rehearsal)()
    stamp = _stamp(rehearsal)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.touch()


if __name__ == "__main__":
    main(*sys.argv[1:])
