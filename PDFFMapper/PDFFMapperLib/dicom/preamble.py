"""Telling DICOM files from others by their first bytes."""

from __future__ import annotations

from pathlib import Path

_FIRST_OF_GROUP_8 = (b"\x00", b"\x01", b"\x05", b"\x08", b"\x12", b"\x16")


def is_dicom(path: Path) -> bool:
    """Whether a file's first bytes are those of DICOM."""
    with open(path, "rb") as stream:
        start = stream.read(132)
    return start[128:] == b"DICM" or lacks_preamble(start)


def lacks_preamble(start: bytes) -> bool:
    """Whether these are the first bytes of DICOM as old exports wrote it: group 8 or 2 first."""
    if start[:2] == b"\x02\x00":
        return start[4:6] in (b"UL", b"OB", b"UI", b"SH")
    return start[:2] == b"\x08\x00" and start[2:3] in _FIRST_OF_GROUP_8 and start[3:4] == b"\0"
