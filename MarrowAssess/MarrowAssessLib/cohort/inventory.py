"""The studies of a folder: each sub-folder with DICOM files, and each study file (JSON)."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from PDFFMapperLib.dicom.preamble import is_dicom
from PDFFMapperLib.images.files import written_whole

_PLACES = ("labels", "segmentation")  # keys of a study file that name one file


@dataclass(frozen=True)
class StudySource:
    """One study of a cohort.

    Attributes:
        id: made of its place and the cohort's salt; tells nothing else.
        path: a folder with DICOM files, or a study file.
        files: all that it is read from, sorted.
    """

    id: str
    path: Path
    files: tuple[Path, ...]

    @property
    def stamp(self) -> str:
        """Sizes and times of its files: the same means that nothing was written since."""
        facts = [(str(f), s.st_size, s.st_mtime_ns) for f in self.files for s in [_stat(f)]]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def digest(self) -> str:
        """Of the contents of its files and their places in the study.

        Raises:
            OSError: a file cannot be read.
        """
        found = hashlib.sha256()
        for file in self.files:
            found.update(os.path.relpath(file, self.path.parent).encode("utf-8", "replace"))
            with open(file, "rb") as stream:
                for block in iter(lambda: stream.read(1 << 20), b""):
                    found.update(block)
        return found.hexdigest()


def find_studies(folder: str | Path, salt: str) -> list[StudySource]:
    """The studies below a folder, sorted by where they lie.

    A sub-folder of the first level that holds DICOM files at any depth is one study; so is each
    study file (JSON) of the first level.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no study.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder.")
    found = []
    for path in sorted(root.iterdir()):
        if path.name.startswith("."):
            continue
        files = _files_of(path)
        if files:
            found.append(StudySource(salted(path.relative_to(root).as_posix(), salt), path, files))
    if not found:
        raise ValueError(
            f"{root}: no study is in this folder; put each study's DICOM files in a folder of its "
            "own, or write one study file (JSON) for each."
        )
    return found


def salted(text: str, salt: str) -> str:
    """What a name is called in tables: nobody without the salt finds the name."""
    return hmac.new(salt.encode(), text.encode("utf-8", "replace"), "sha256").hexdigest()[:16]


def read_salt(path: Path) -> str:
    """The salt of a file, a new one where there is none; `keep_salt` writes it."""
    if path.is_file():
        return path.read_text(encoding="utf-8").strip()
    return secrets.token_hex(16)


def keep_salt(path: Path, salt: str) -> None:
    """Write a salt that only its owner can read."""
    if not path.is_file():
        with written_whole(path) as temporary:
            temporary.write_text(f"{salt}\n", encoding="utf-8")
        path.chmod(0o600)


def _files_of(path: Path) -> tuple[Path, ...]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return tuple(files) if any(map(is_dicom, files)) else ()
    if path.suffix.lower() != ".json":
        return ()
    return tuple(sorted({path, *_named_files(path)}))


def _named_files(path: Path) -> list[Path]:
    """The files and folders' files that a study file names, as far as they are there."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        markups = content.get("markups") or []
        named = [
            *(content.get("volumes") or {}).values(),
            *(content[key] for key in _PLACES if content.get(key)),
            *([markups] if isinstance(markups, str) else markups),
        ]
        places = [path.parent / str(name).split("#")[0] for name in named]
    except (OSError, ValueError, AttributeError, TypeError):
        return []  # reading the study says what is wrong
    files = []
    for place in places:
        files += [f for f in place.rglob("*") if f.is_file()] if place.is_dir() else [place]
    return [file for file in files if file.is_file()]


def _stat(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError:
        return os.stat_result([0] * 10)
