"""The header of one DICOM file."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filereader import dcmread, read_partial
from pydicom.uid import UID

from PDFFMapperLib.dicom.elements import (
    WANTED,
    elements_of,
    moved_blocks,
    standard_blocks,
)
from PDFFMapperLib.dicom.preamble import lacks_preamble

_LAST_CLASSIC = 0x20051FFF  # the highest tag wanted of a classic file


class NotDicom(Exception):
    """A file is of another kind."""


@contextmanager
def mapped(file: Path) -> Iterator[mmap.mmap]:
    """A file as memory: pydicom's many small reads are faster than from a buffered file."""
    with (
        open(file, "rb") as handle,
        mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as view,
    ):
        yield view


def read_header(file: Path) -> tuple[Dataset, int]:
    """The header elements that matter here, and the count of bytes that follow them."""
    size = file.stat().st_size
    if size < 140:
        raise NotDicom
    with mapped(file) as view:
        force = False
        if view[128:132] != b"DICM":
            force = lacks_preamble(view[:8])
            if not force:
                raise NotDicom
        header = read_partial(
            view,
            lambda tag, _vr, _length: int(tag) > _LAST_CLASSIC,
            specific_tags=WANTED,
            force=force,
        )
        if "Rows" in header and "ImagePositionPatient" not in header:  # enhanced, as a rule
            view.seek(0)
            header = dcmread(view, stop_before_pixels=True, force=force)
        elif moved := moved_blocks(header):
            view.seek(0)
            header = read_partial(
                view,
                lambda tag, _vr, _length: int(tag) > _LAST_CLASSIC,
                specific_tags=[*WANTED, *elements_of(moved)],
                force=force,
            )
        standard_blocks(header)
        syntax = header.file_meta.get("TransferSyntaxUID", None)
        plain = syntax is None or not (UID(syntax).is_compressed or UID(syntax).is_deflated)
        return header, size - view.tell() if plain else -1
