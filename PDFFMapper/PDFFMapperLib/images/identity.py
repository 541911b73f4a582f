"""What inputs are called in results: folder, file and series names often hold the patient's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from PDFFMapperLib.images.bids import stem_of
from PDFFMapperLib.images.volume import Volume

# Attributes that people type at the scanner.
TYPED_FACTS = ("SeriesDescription", "ProtocolName")


def short_hash(volume: Volume) -> str:
    """Eight hexadecimal digits that identify an image by its voxels, and tell nothing else."""
    digest = hashlib.sha256(str(volume.array.shape).encode())
    digest.update(volume.array.tobytes())
    return digest.hexdigest()[:8]


def without_names(sentence: str, paths: Iterable[str | Path]) -> str:
    """A sentence for results, without names of files and descriptions of series.

    Args:
        sentence: as a reader wrote it for the terminal.
        paths: the inputs' files and folders.
    """
    text = re.sub(r"(Series \S+) '[^']*'", r"\1", sentence)
    text = re.sub(r"^.*?: this DICOM file", "a DICOM file: this file", text)
    for path in paths:
        path = Path(str(path).rpartition("#")[0] or path)
        stem = re.escape(stem_of(path))
        for name in (str(path), path.name):
            if len(name) > 1:
                text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "the input", text)
        text = re.sub(rf"(?<!\w){stem}\.(json|bval|bvec)\b", r"the .\1 file beside it", text)
    return text[:1].upper() + text[1:]
