"""The studies of a cohort: of a folder, of a BIDS data set, or of a list."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PDFFMapperLib.dicom.preamble import is_dicom
from PDFFMapperLib.images.bids import bids_root
from PDFFMapperLib.images.files import written_whole

from MarrowAssessLib.cohort.bids import bids_studies
from MarrowAssessLib.cohort.study_list import ListedStudy, listed_studies

_PLACES = ("labels", "segmentation")  # keys of a study file that name one file


@dataclass(frozen=True)
class StudySource:
    """One study of a cohort.

    Attributes:
        id: made of its name and the cohort's salt; tells nothing else.
        path: a folder with DICOM files, a study file, the list or the BIDS data set.
        files: all that it is read from, sorted.
        name: what its list or data set calls it, else that of its file or folder.
        content: of a study of a list or data set: a study file's text (JSON).
        patient, session: as they are called there; "" where it does not say.
        columns: what else its list says of it, for the tables.
        named: files and folders that it names, whether they are there or not.
    """

    id: str
    path: Path
    files: tuple[Path, ...]
    name: str = ""
    content: str = ""
    patient: str = ""
    session: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    named: tuple[Path, ...] = ()

    @property
    def stamp(self) -> str:
        """Sizes and times of its files: the same means that nothing was written since."""
        facts = [(str(f), s.st_size, s.st_mtime_ns) for f in self.files for s in [_stat(f)]]
        return hashlib.sha256(json.dumps([facts, self.content]).encode()).hexdigest()

    def digest(self) -> str:
        """Of the contents of its files and their places in the study.

        Raises:
            OSError: a file cannot be read.
        """
        found = hashlib.sha256(self.content.encode("utf-8", "replace"))
        for file in self.files:
            found.update(os.path.relpath(file, self.path.parent).encode("utf-8", "replace"))
            with open(file, "rb") as stream:
                for block in iter(lambda: stream.read(1 << 20), b""):
                    found.update(block)
        return found.hexdigest()


def find_studies(place: str | Path, salt: str) -> list[StudySource]:
    """The studies of a cohort, in the order of their names.

    Args:
        place: a folder, of which each sub-folder with DICOM files at any depth and each study file
            (JSON) of the first level is one study; a BIDS data set; or a CSV list (see
            cohort.bids and cohort.study_list).
        salt: of the cohort.

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: it holds no study, or is no such list.
    """
    root = Path(place)
    if root.is_file():
        return [_listed(one, root, salt) for one in listed_studies(root)]
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder or list.")
    if bids_root(root) == root.absolute():
        return [_listed(one, root, salt) for one in bids_studies(root)]
    found = []
    for path in sorted(root.iterdir()):
        if path.name.startswith("."):
            continue
        named = _named(path)
        files = _files_of(path, named)
        if files:
            name = path.relative_to(root).as_posix()
            found.append(StudySource(salted(name, salt), path, files, name, named=named))
    if not found:
        raise ValueError(
            f"{root}: no study is in this folder; put each study's DICOM files in a folder of its "
            "own, or write one study file (JSON) for each."
        )
    return found


def _listed(one: ListedStudy, place: Path, salt: str) -> StudySource:
    """A study of a list or a BIDS data set."""
    named = _places_of(one.content, place.parent if place.is_file() else place)
    return StudySource(
        salted(one.name, salt),
        place,
        tuple(sorted(set(_files_at(named)))),
        one.name,
        json.dumps(one.content, sort_keys=True),
        one.patient,
        one.session,
        one.columns,
        named,
    )


def salted(text: str, salt: str) -> str:
    """What a name is called in tables: nobody without the salt finds the name."""
    return hmac.new(salt.encode(), text.encode("utf-8", "replace"), "sha256").hexdigest()[:16]


def patient_id(folder: Path) -> str:
    """The first patient identifier in a folder of DICOM files, "" where none has one."""
    from pydicom.filereader import dcmread

    for file in sorted(folder.rglob("*")):
        if file.is_file() and is_dicom(file):
            header = dcmread(file, stop_before_pixels=True, specific_tags=["PatientID"])
            if header.get("PatientID"):
                return str(header.PatientID)
    return ""


def read_salt(path: Path) -> str:
    """The salt of a file, a new one where there is none; `keep_salt` writes it."""
    if path.is_file():
        salt = path.read_text(encoding="ascii", errors="replace").strip()
        if not re.fullmatch(r"\w{16,}", salt, re.ASCII):
            raise ValueError(
                f"{path.parent.name}/{path.name}: this is no salt of 16 letters and digits or "
                "more, so names could be guessed; restore the file, or name another place."
            )
        return salt
    return secrets.token_hex(16)


def keep_salt(path: Path, salt: str) -> None:
    """Write a salt that only its owner can read."""
    if not path.is_file():
        with written_whole(path) as temporary:
            temporary.write_text(f"{salt}\n", encoding="utf-8")
        path.chmod(0o600)


def _named(path: Path) -> tuple[Path, ...]:
    """The files and folders that a study file names; none of other files."""
    if path.is_dir() or path.suffix.lower() != ".json":
        return ()
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return ()  # reading the study says what is wrong
    return _places_of(content, path.parent)


def _files_of(path: Path, named: tuple[Path, ...]) -> tuple[Path, ...]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return tuple(files) if any(map(is_dicom, files)) else ()
    if path.suffix.lower() != ".json":
        return ()
    return tuple(sorted({path, *_files_at(named)}))


def _places_of(content: object, base: Path) -> tuple[Path, ...]:
    """The files and folders that the content of a study file names, there or not."""
    if not isinstance(content, dict):
        return ()
    volumes, markups = content.get("volumes"), content.get("markups") or []
    named = [
        *(volumes.values() if isinstance(volumes, Mapping) else ()),
        *(content[key] for key in _PLACES if content.get(key)),
        *([markups] if isinstance(markups, str) else markups if isinstance(markups, list) else []),
    ]
    return tuple(base / one.split("#")[0] for one in named if isinstance(one, str))


def _files_at(places: tuple[Path, ...]) -> list[Path]:
    """The files that are there, those in folders included."""
    files = []
    for place in places:
        files += [f for f in place.rglob("*") if f.is_file()] if place.is_dir() else [place]
    return [file for file in files if file.is_file()]


def _stat(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError:
        return os.stat_result([0] * 10)
