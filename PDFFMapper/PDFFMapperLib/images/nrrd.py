"""NRRD and MetaImage headers: what ITK does not check, and the facts that Slicer writes there."""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

_TYPES = {
    1: {"signed char", "int8", "int8_t", "unsigned char", "uchar", "uint8", "uint8_t",
        "met_char", "met_uchar"},
    2: {"short", "short int", "signed short", "signed short int", "int16", "int16_t", "ushort",
        "unsigned short", "unsigned short int", "uint16", "uint16_t", "met_short", "met_ushort"},
    4: {"int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t",
        "float", "met_int", "met_uint", "met_float"},
    8: {"longlong", "long long", "long long int", "signed long long", "int64", "int64_t",
        "ulonglong", "unsigned long long", "uint64", "uint64_t", "double", "met_double",
        "met_long_long", "met_ulong_long"},
}  # fmt: skip
_BYTES = {name: size for size, names in _TYPES.items() for name in names}
# How frames are named where a loader says what tells them apart.
_KEYWORDS = {
    r"^(effective)? ?echo ?time$|^te$": "EchoTime",
    r"b[- _]?value|^b$": "DiffusionBValue",
}
_LONGEST_HEADER = 1 << 20
_ENCODINGS = ("raw", "gzip", "gz", "ascii", "text", "txt", "hex", "")
_TEXT = set(b"0123456789+-.eEnNaAiIfFtTyYxX \t\r\n,")


def check_nrrd(path: Path) -> None:
    """Refuse a NRRD whose voxels are not as its header says; ITK may crash or misread them.

    Raises:
        ValueError: text that is binary, or more or fewer voxels than the header says.
    """
    with open(path, "rb") as stream:
        start = stream.read(_LONGEST_HEADER)
    if not start.startswith(b"NRRD"):
        return
    end, gap = next(
        ((at, len(gap)) for gap in (b"\n\n", b"\r\n\r\n") if (at := start.find(gap)) > 0),
        (-1, 0),
    )
    fields = _fields(start[: end if end > 0 else None].decode("latin-1"))
    apart = fields.get("data file", fields.get("datafile"))
    if end < 0 and apart is None:
        raise ValueError(
            f"{path}: this file cannot be read as an image; its header does not end, so the "
            "file may be truncated."
        )
    encoding = fields.get("encoding", "")
    if encoding not in _ENCODINGS:
        raise ValueError(
            f"{path}: its voxels are written as '{encoding}', which is not supported; save it "
            "again as raw or gzip."
        )
    if encoding in ("raw", "gzip", "gz") and "endian" not in fields:
        if _BYTES.get(fields.get("type", ""), 1) > 1:
            raise ValueError(
                f"{path}: its header does not say the byte order (endian); export it again."
            )
    if "byte skip" in fields or "line skip" in fields:
        return
    file, offset = (path, end + gap) if apart is None else (_beside(path, start, apart), 0)
    if file is None:
        return  # a list of files: ITK says what is wrong
    if encoding in ("ascii", "text", "txt"):
        with open(file, "rb") as stream:
            stream.seek(offset)
            if set(stream.read(65536)) - _TEXT:
                raise ValueError(
                    f"{path}: its header says that the voxels are text, but they are not; "
                    "export it again."
                )
        return
    if encoding in ("gzip", "gz"):
        sizes = fields.get("sizes", "")
        _compare(path, sizes, fields.get("type", ""), lambda n: _unpacked(file, offset, n))
    elif encoding == "raw":
        held = file.stat().st_size - offset
        _compare(path, fields.get("sizes", ""), fields.get("type", ""), lambda _: held)


def _beside(path: Path, header: bytes, name: str) -> Path | None:
    """The file with the voxels that a header names, None where it names several.

    Raises:
        ValueError: it is not there.
    """
    if not name or "%" in name or name.split()[0] == "list":
        return None
    lines = header.decode("utf-8", "replace").splitlines()
    line = next((one for one in lines if one.strip().lower().endswith(name)), "")
    written = line.strip()[-len(name) :] or name  # as it stands, not in lower case
    if "\0" in written:
        return None
    file = path.parent / written
    if not file.is_file():
        raise ValueError(
            f"{path}: the file with its voxels ({Path(written).name}) is not beside it; copy both."
        )
    return file


def _unpacked(file: Path, offset: int, expected: int) -> int:
    """How many bytes a gzip stream holds, by its last bytes, or by unpacking where those differ."""
    size = file.stat().st_size
    with open(file, "rb") as stream:
        if size - offset >= 18:
            stream.seek(size - 4)
            if struct.unpack("<I", stream.read(4))[0] == expected % (1 << 32):
                return expected
        stream.seek(offset)
        unpacker, count = zlib.decompressobj(31), 0
        try:
            while (piece := stream.read(1 << 20)) and count <= 2 * expected:
                count += len(unpacker.decompress(piece, 1 << 26))
                while unpacker.unconsumed_tail and count <= 2 * expected:
                    count += len(unpacker.decompress(unpacker.unconsumed_tail, 1 << 26))
        except zlib.error:
            return min(count, expected - 1)
    return count


def check_metaimage(path: Path) -> None:
    """Refuse an uncompressed MetaImage that is longer or shorter than it says.

    Raises:
        ValueError: so it is.
    """
    with open(path, "rb") as stream:
        start = stream.read(1 << 16)
    match = re.search(rb"ElementDataFile\s*=\s*([^\r\n]+?)\s*(\n|$)", start)
    if not match:
        return
    fields = _fields(start[: match.end()].decode("latin-1"), "=")
    named = match[1].decode("latin-1").lower()
    file = path if named == "local" else _beside(path, start[: match.end()], named)
    if file is None or fields.get("compresseddata", "false") == "true" or "headersize" in fields:
        return
    channels = fields.get("elementnumberofchannels", "1")
    sizes = f"{fields.get('dimsize', '')} {channels}"
    held = file.stat().st_size - (match.end() if file == path else 0)
    _compare(path, sizes, fields.get("elementtype", ""), lambda _: held)


def facts_of_frames(metadata: Mapping[str, str], count: int) -> list[dict[str, object]]:
    """What the frames of a NRRD are, as Slicer writes it: b-values, directions, echo times.

    Read are diffusion volumes ("DWMRI_b-value" with "DWMRI_gradient_NNNN", whose squared length
    scales the b-value), multi-volumes ("MultiVolume.FrameLabels") and sequences ("axis 3 index
    values").
    """
    facts: list[dict[str, object]] = [{} for _ in range(count)]
    top = finite_number(metadata.get("DWMRI_b-value", ""))
    if top is not None:
        for n in range(count):
            words = metadata.get(f"DWMRI_gradient_{n:04d}", "").split()
            vector = [number for word in words if (number := finite_number(word)) is not None]
            if len(vector) != 3:
                continue
            squared = sum(part * part for part in vector)
            facts[n]["DiffusionBValue"] = round(top * squared, 3)
            if squared > 0:
                facts[n]["DiffusionGradientOrientation"] = [
                    part / math.sqrt(squared) for part in vector
                ]
        return facts
    labels = metadata.get("MultiVolume.FrameLabels", "").split(",")
    name = metadata.get("MultiVolume.FrameIdentifyingDICOMTagName", "")
    for axis in ("axis 0", "axis 3"):
        if f"{axis} index values" in metadata:
            labels = metadata[f"{axis} index values"].split()
            name = metadata.get(f"{axis} index type", "") or name
            name = metadata.get(f"{axis} index name", name)
    keyword = keyword_of(name)
    if keyword and len(labels) == count:
        for one, label in zip(facts, labels, strict=True):
            if (number := finite_number(label)) is not None:
                one[keyword] = number
    return facts


def keyword_of(name: str) -> str:
    """The DICOM keyword that a frame label's name stands for, "" if none."""
    return next((k for p, k in _KEYWORDS.items() if re.search(p, name.strip(), re.I)), "")


def _fields(text: str, mark: str = ":") -> dict[str, str]:
    """The fields of a header, names and values in lower case; key/value pairs (":=") are left."""
    fields = {}
    for line in text.splitlines():
        name, found, value = line.partition(mark)
        if found and not line.startswith("#") and not value.startswith("="):
            fields[name.strip().lower()] = value.strip().lower()
    return fields


def finite_number(text: str) -> float | None:
    """The number that a text of a header is, None where it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _compare(path: Path, sizes: str, kind: str, holds: Callable[[int], int]) -> None:
    """Compare the bytes of voxels that a file holds with those that its header promises.

    Args:
        path, sizes, kind: the file, and what its header says.
        holds: the bytes there, given those expected.
    """
    if kind not in _BYTES or not re.fullmatch(r"[\d\s]+", sizes):
        return  # ITK says what is wrong
    lengths = [int(word) for word in sizes.split()]
    expected = _BYTES[kind] * math.prod(lengths)
    # A few bytes after the voxels do no harm; a slice's worth says that the header is wrong.
    slack = max(_BYTES[kind] * math.prod(lengths[:2]), 1)
    held = holds(expected)
    if not -1 < held - expected < slack:
        wrong = "fewer" if held < expected else "more"
        raise ValueError(
            f"{path}: this file cannot be read as an image; it holds {wrong} voxels than its "
            f"header says ({sizes} of type {kind})"
            + (" and may be truncated: copy it again." if held < expected else "; export it again.")
        )
