"""Where compiled code is kept: numba refuses to start where it may write nowhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from functools import cache
from importlib import import_module
from pathlib import Path

_VARIABLE = "NUMBA_CACHE_DIR"


def ensure_writable_cache(package: Path) -> None:
    """Keep compiled code in a temporary folder where neither package nor home can be written to.

    To be called before anything compiled is imported.

    Args:
        package: a folder of compiled sources.
    """
    if os.environ.get(_VARIABLE):
        return
    if not (_writable(package / "__pycache__") or _writable(_user_cache())):
        use_temporary_cache()


@cache  # what is imported now is not read again
def forget_stale_code(*packages: str) -> None:
    """Delete compiled code that is older than any compiled source, so that it is made anew.

    A compiled function holds those that it calls. numba asks whether its own file has changed, not
    whether theirs have: after an update of some files what was kept crashes or gives old numbers.
    To be called before anything compiled is imported.

    Args:
        packages: all packages whose functions call one another.
    """
    kept, sources = [], set()
    for package in packages:
        for folder, _, _ in os.walk(Path(import_module(package).__file__).parent):
            found = [path for place in _places(Path(folder)) for path in place.glob("*.nbc")]
            kept += found
            sources |= {Path(folder, f"{path.name.partition('.')[0]}.py") for path in found}
    changed_ns = [path.stat().st_mtime_ns for path in sources if path.exists()]
    newest_ns = max((ns for ns in changed_ns if ns <= time.time_ns()), default=0)
    for path in kept:
        with contextlib.suppress(OSError):  # gone, or not ours: numba reads no such code
            if path.stat().st_mtime_ns < newest_ns:
                path.unlink()


def _places(folder: Path) -> tuple[Path, Path]:
    """Where numba keeps code of a folder: beside it, or named so where it is told or must."""
    import hashlib  # `--help` waits for neither this nor tempfile

    name = f"{folder.name}_{hashlib.sha1(str(folder).encode()).hexdigest()}"
    return folder / "__pycache__", Path(os.environ.get(_VARIABLE) or _user_cache()) / name


def cache_folder(package: Path) -> Path:
    """The folder in which, or below which, a package's compiled code is kept."""
    if own := os.environ.get(_VARIABLE):
        return Path(own)
    beside = package / "__pycache__"
    return beside if _writable(beside) else _user_cache()


def use_temporary_cache(fresh: bool = False) -> str:
    """Keep compiled code in a temporary folder of this user from now on; returns its path.

    Args:
        fresh: in a new one, for which the caller cares; else in the one of earlier runs.
    """
    import tempfile

    folder = Path(tempfile.gettempdir()) / f"marrowassess-compiled-{_user()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        mine = not folder.is_symlink() and (os.name != "posix" or folder.stat().st_uid == _user())
    except OSError:
        mine = False
    if fresh or not mine:  # somebody else's code is not run
        folder = Path(tempfile.mkdtemp(prefix="marrowassess-compiled-"))
    os.environ[_VARIABLE] = str(folder)
    return str(folder)


def _user() -> int:
    return os.getuid() if os.name == "posix" else 0


def blames_cache(error: BaseException) -> bool:
    """Whether an error came from reading or writing compiled code, as of a damaged cache."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        trace = error.__traceback__
        while trace is not None:
            if Path(trace.tb_frame.f_code.co_filename).name == "caching.py":
                return True
            trace = trace.tb_next
        error = error.__cause__ or error.__context__
    return False


def _user_cache() -> Path:
    """Where numba keeps compiled code for a user (its `_UserWideCacheLocator`)."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "numba" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "numba"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "numba"


def _writable(folder: Path) -> bool:
    """Whether a folder is there or can be made, and files can be made in it."""
    import tempfile

    try:
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
