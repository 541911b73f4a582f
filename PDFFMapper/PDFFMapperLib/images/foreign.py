"""What people give for images that is none, by its first bytes, and what to do."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path

_ARCHIVES = {
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
}
_GZIP, _TAR = b"\x1f\x8b", (257, b"ustar")
_OTHERS = {
    b"version https://git-lfs": "it is a pointer of Git LFS: fetch the file itself (git lfs pull).",
    b"<": "it is a web page or XML, perhaps that of a failed download.",
    b"%PDF": "it is a PDF.",
    b"\x89PNG": "it is a picture (PNG), which has no place in the patient.",
    b"\xff\xd8\xff": "it is a picture (JPEG), which has no place in the patient.",
    b"II*\0": "it is a picture (TIFF), which has no place in the patient.",
    b"MATLAB 5": "it is a MATLAB file: save its images as NIfTI.",
    b"\x89HDF": "it is an HDF5 or MATLAB file: save its images as NIfTI or NRRD.",
    b"# === DATA DESCRIPTION": "it is a Philips PAR header: export DICOM, or convert it to NIfTI.",
    b"GIF8": "it is a picture (GIF), which has no place in the patient.",
    b"BM": "it is a picture (BMP), which has no place in the patient.",
    b"\0\0\0\x0cjP": "it is a picture (JPEG 2000), which has no place in the patient.",
    b"\x93NUMPY": "it is a NumPy array, which has no place in the patient: save it as NIfTI.",
    b"# vtk": "it is a VTK file: save it as NIfTI or NRRD.",
    b"{": "it is JSON, no image.",
    b"\x00\x00\x00\x01\x00\x00": "it is a FreeSurfer volume (mgz): convert it to NIfTI.",
}


def archive_of(path: Path) -> str:
    """That a file is an archive, as a sentence's end that says to unpack it; "" of other files.

    A compressed image (.nii.gz) is none.
    """
    start = _start(path)
    packed = start.startswith(_GZIP)
    if packed:
        start = _unpacked_start(path) or b""
    place, mark = _TAR
    told = next((kind for first, kind in _ARCHIVES.items() if start.startswith(first)), "")
    if start[place:].startswith(mark):
        told = "a tar archive"
    if packed and start[128:132] == b"DICM":
        told = "a compressed DICOM file"
    return f"it is {told}: unpack it first and name what it held." if told else ""


def archives_left_out(files: Iterable[Path]) -> list[str]:
    """A sentence on the archives among some files; none without any."""
    names = [file.name for file in files if archive_of(file)]
    shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
    return [f"{len(names)} file(s) are packed ({shown}): unpack them first."] if names else []


def what_it_is(path: Path) -> str:
    """Why a file is none of the formats that are read."""
    if not path.stat().st_size:
        return "it is empty."
    if told := archive_of(path):
        return told
    start = _start(path)
    if start.startswith(_GZIP):
        start = _unpacked_start(path)
        if start is None:
            return "it is compressed and damaged: copy it again."
    if len(start) >= 348 and start[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return (
            "it is an Analyze 7.5 file or a damaged NIfTI, which does not say which side is left; "
            "convert it to NIfTI with the tool that made it."
        )
    told = next((text for mark, text in _OTHERS.items() if start.startswith(mark)), "")
    return told or "NIfTI, NRRD, MetaImage or DICOM is expected, and it is none of them."


def _start(path: Path) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(512)


def _unpacked_start(path: Path) -> bytes | None:
    """The first bytes of a gzip file, None of a damaged one."""
    try:
        with gzip.open(path, "rb") as stream:
            return stream.read(512)
    except (OSError, EOFError, zlib.error):
        return None
