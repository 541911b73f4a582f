"""The files of one run: made apart, checked, and put in their folder all together or not at all.

The JSON file of a set, its record, lists the others with a hash of each, so that nothing else is
ever replaced or removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

FILES = "files"  # the record's key
_WRITING, _READY, _STALE = ".writing-", ".ready-", ".stale"


def checked_prefix(prefix: str) -> str:
    """The start of file names, if it is one.

    Raises:
        ValueError: it names another folder, or nothing.
    """
    if not prefix or prefix != Path(prefix).name or prefix.startswith(".") or "\\" in prefix:
        raise ValueError(f"'{prefix}' is the start of file names: no folder, and not empty.")
    return prefix


@contextmanager
def output_set(folder: str | Path, record: str) -> Iterator[Path]:
    """Yield an empty folder to write the files of a run to; on success they replace earlier ones.

    Those of an earlier run with the same record that this one did not make again are removed;
    files that this software did not make, or that were changed since, are left alone.

    Args:
        folder: where the files go; made if absent, and not left where the run fails.
        record: the JSON file (an object) that the run writes among them.

    Raises:
        ValueError: a file of somebody else's has the name of one of this run's.
        OSError: a file could not be written whole.
    """
    folder = Path(folder)
    made = _made_folders(folder)
    try:
        _clear_leftovers(folder)
        with tempfile.TemporaryDirectory(
            prefix=f"{_WRITING}{os.getpid()}-", dir=folder, ignore_cleanup_errors=True
        ) as temporary:
            staging = Path(temporary)
            yield staging
            files = sorted(file.name for file in staging.iterdir())
            for file in files:
                _check_whole(staging / file)
            _put_in_place(staging, folder, record, files)
    finally:
        for one in made:
            if one.is_dir() and not any(one.iterdir()):
                one.rmdir()


def refuse_foreign(folder: str | Path, record: str, names: Iterable[str] = ()) -> None:
    """Refuse before anything is computed where files of a run would replace somebody else's.

    Args:
        folder: where they would go.
        record: of the set.
        names: of its other files.

    Raises:
        ValueError: so it is.
    """
    folder = Path(folder)
    if file := next((one for one in [folder, *folder.parents] if one.is_file()), None):
        raise ValueError(f"{file}: this is a file where a folder for the results is expected.")
    known = _listed(folder / record)
    foreign = [record] if known is None and (folder / record).exists() else []
    foreign += [
        name
        for name in names
        if (folder / name).exists() and _digest(folder / name) != (known or {}).get(name)
    ]
    if foreign:
        raise ValueError(
            f"{folder / foreign[0]}: this file was not made by this software, or was changed "
            "since; name another folder, or move it away."
        )


def replace_folder(made: Path, folder: Path) -> None:
    """Put a whole folder beside another in its place.

    Raises:
        OSError: it cannot be moved; what was there before is there again.
    """
    old = made.with_name(f"{made.name}-old")
    if folder.exists():
        folder.replace(old)
    try:
        made.replace(folder)
    except OSError:
        if old.exists():
            old.replace(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _put_in_place(staging: Path, folder: Path, record: str, files: list[str]) -> None:
    """Replace the set; from the renaming of the folder on it is whole and can be finished later."""
    others = [file for file in files if file != record]
    refuse_foreign(folder, record, others)
    stale = [
        file
        for file, digest in (_listed(folder / record) or {}).items()
        if file not in files and _digest(folder / file) == digest
    ]
    content = json.loads((staging / record).read_text(encoding="utf-8"))
    content[FILES] = {file: _digest(staging / file) for file in others}
    (staging / record).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (staging / _STALE).write_text(json.dumps(stale), encoding="utf-8")
    ready = folder / staging.name.replace(_WRITING, _READY, 1)
    staging.rename(ready)
    _finish(ready, folder)


def _finish(ready: Path, folder: Path) -> None:
    """Move the files of a whole set to their place; may be called again after a stop."""
    stale_list = ready / _STALE
    stale = json.loads(stale_list.read_text(encoding="utf-8")) if stale_list.is_file() else []
    for file in sorted(ready.iterdir()):
        if file != stale_list:
            file.chmod(0o644)
            file.replace(folder / file.name)
    for name in stale:
        (folder / Path(name).name).unlink(missing_ok=True)
    shutil.rmtree(ready, ignore_errors=True)


def _clear_leftovers(folder: Path) -> None:
    """Finish what a stopped run had whole, and remove what it had not."""
    for one in sorted(folder.glob(f"{_READY}*")):
        if one.is_dir() and not _is_running(one.name.removeprefix(_READY)):
            _finish(one, folder)
    for one in sorted(folder.glob(f"{_WRITING}*")):
        if _is_running(one.name.removeprefix(_WRITING)):
            continue
        if one.is_dir():
            shutil.rmtree(one, ignore_errors=True)
        else:
            one.unlink(missing_ok=True)


def _is_running(name: str) -> bool:
    """Whether the process that a temporary folder is named by still runs."""
    number = name.partition("-")[0]
    if not number.isdigit() or os.name != "posix":
        return False
    if int(number) == os.getpid():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _made_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it; returns those that were absent, the deepest first."""
    absent = []
    one = folder
    while not one.exists():
        absent.append(one)
        one = one.parent
    folder.mkdir(parents=True, exist_ok=True)
    return absent


def _listed(record: Path) -> dict[str, str] | None:
    """The files of an earlier set and their hashes, None where this is no record of one."""
    try:
        files = json.loads(record.read_text(encoding="utf-8"))[FILES]
        if all(re.fullmatch("[0-9a-f]{64}", digest) for digest in files.values()):
            return {Path(name).name: digest for name, digest in files.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return None


def _digest(path: Path) -> str:
    if not path.is_file():
        return ""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _check_whole(path: Path) -> None:
    """Look at the end of what other libraries wrote; not all of them say that a disk is full."""
    whole = path.stat().st_size > 0
    if whole and path.suffix == ".png":
        whole = path.read_bytes()[-12:-4] == b"\0\0\0\0IEND"
    if whole and path.suffix == ".mrb":
        try:
            with zipfile.ZipFile(path) as archive:
                whole = archive.testzip() is None
        except zipfile.BadZipFile:
            whole = False
    if not whole:
        raise OSError(None, "it could not be written whole; the disk may be full", path.name)
