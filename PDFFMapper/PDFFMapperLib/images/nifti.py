"""NIfTI-1 and NIfTI-2 files in: every value as stored, and placed as the file says.

ITK has no NIfTI-2, fills a truncated file with zeros, turns NaN into 0, drops imaginary parts and
does not say which of two placements it took.

Format: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h and nifti2.h.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

_KINDS = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 32: "c8", 64: "f8", 256: "i1", 512: "u2", 768: "u4",
    1024: "i8", 1280: "u8", 1792: "c16",
}  # fmt: skip
_COLOR = {128, 2304}
_MM_OF_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_DEFLATE_LIMIT = 1032  # a compressed byte never holds more
VOXEL_MM = (0.01, 300.0)  # of any image of a person; in m or micrometers it would be outside
SQUARING_VOXELS = 0.25  # corners may move by that much when slanted axes are squared
SAME_PLACE_VOXELS = 0.1  # sform and qform closer than that are one placement


class NotNifti(Exception):
    """A file is of another kind."""


@dataclass
class NiftiImage:
    """The contents of a NIfTI file.

    Attributes:
        frames: the 3D images, each indexed [k, j, i]; one, or those of a 4D or vector file.
        ijk_to_ras: 4x4 matrix from voxel indices to RAS mm, axes at right angles.
        dimensions: of the file, without trailing lengths of 1.
        notes: sentences about how it was placed.
        placements_apart_mm: how far sform and qform lie apart, 0 where they agree.
    """

    frames: list[np.ndarray]
    ijk_to_ras: np.ndarray
    dimensions: int
    notes: list[str] = field(default_factory=list)
    placements_apart_mm: float = 0.0


@dataclass
class _Header:
    version: int
    order: str
    shape: list[int]
    kind: int
    bits: int
    offset: float
    slope: float
    intercept: float
    pixdim: tuple[float, ...]
    codes: tuple[int, int]  # qform, sform
    quaternion: tuple[float, ...]
    sform: np.ndarray
    unit: int
    single_file: bool


def read_nifti(path: Path) -> NiftiImage:
    """Read a NIfTI-1 or -2 file (.nii, .nii.gz, or a pair .hdr and .img) under any name.

    The sform places the image where it is set, as in nibabel, FSL and SPM; ITK may take the qform.

    Raises:
        NotNifti: it is no NIfTI file.
        ValueError: it is shorter or longer than its header says, or the header contradicts itself.
    """
    try:
        with _opened(_header_file(path)) as stream:
            header = _parsed(stream.read(544))
        kind = _data_type(path, header)
        stored = _stored(path, header, kind)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{path}: this file cannot be read as an image; it is damaged and may be truncated: "
            "copy it again."
        ) from error
    values = _scaled(path, stored, header)
    matrix, notes, apart = _placement(path, header)
    matrix, note = squared(matrix, header.shape[:3], path)
    notes += [note] if note else []
    dimensions = max((n + 1 for n, length in enumerate(header.shape) if length > 1), default=0)
    frames = list(values.reshape(-1, *header.shape[2::-1]))
    return NiftiImage(frames, matrix, max(dimensions, 3), notes, apart)


def squared(matrix: np.ndarray, shape: list[int], path: Path) -> tuple[np.ndarray, str]:
    """Voxel axes at right angles, and a sentence if that moved them; the center stays.

    Raises:
        ValueError: they are further off square than rounding makes them, or a length is none that
            a voxel has.
    """
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or not (spacing > 0).all():
        raise ValueError(f"{path}: its header does not say the size or place of its voxels.")
    least, most = 0.999 * VOXEL_MM[0], 1.001 * VOXEL_MM[1]  # headers round to single precision
    if not (least <= spacing.min() and spacing.max() <= most):
        shown = " x ".join(f"{one:.3g}" for one in spacing)
        raise ValueError(
            f"{path}: its voxels are said to be of {shown} mm; {VOXEL_MM[0]:g} to {VOXEL_MM[1]:g} "
            "mm are expected, so its unit of length may be wrong: correct its header."
        )
    left, _, right = np.linalg.svd(matrix[:3, :3] / spacing)
    straight = matrix.copy()
    straight[:3, :3] = (left @ right) * spacing
    middle = np.append((np.array(shape) - 1) / 2, 1)
    straight[:3, 3] += (matrix @ middle - straight @ middle)[:3]
    moved = corners_apart(matrix, straight, shape)
    if moved < 1e-4 * spacing.min():
        return straight, ""
    if moved > SQUARING_VOXELS * spacing.min():
        raise ValueError(
            f"{path}: its voxel axes are not at right angles (corners would move {moved:.2f} mm); "
            "resample it onto a regular grid."
        )
    return straight, (
        f"{path.name}: its voxel axes were off square by rounding and were squared; no voxel moved "
        f"more than {moved:.2g} mm."
    )


def corners_apart(one: np.ndarray, other: np.ndarray, shape: list[int]) -> float:
    """The largest distance in mm between the corners of two placements of one grid."""
    ends = [(0, max(length - 1, 0)) for length in shape[:3]]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, 3)
    corners = np.c_[corners, np.ones(8)]
    return float(np.linalg.norm((corners @ (one - other).T)[:, :3], axis=1).max())


def _header_file(path: Path) -> Path:
    """The file that holds the header: the other one of a pair where the voxels are named."""
    for voxels, header in ((".img", ".hdr"), (".img.gz", ".hdr.gz")):
        if path.name.lower().endswith(voxels):
            stem = path.name[: -len(voxels)]
            for name in (stem + header, stem + header.upper()):
                if path.with_name(name).is_file():
                    return path.with_name(name)
    return path


def _data_file(path: Path, header: _Header) -> Path:
    if header.single_file:
        return path
    name = _header_file(path).name
    cut = name.lower().rfind(".hdr")
    for ending in (".img", ".IMG", ".img.gz"):
        if cut >= 0 and path.with_name(name[:cut] + ending).is_file():
            return path.with_name(name[:cut] + ending)
    raise ValueError(f"{path}: the file with its voxels (.img) is not beside it.")


def _opened(path: Path) -> BinaryIO:
    with open(path, "rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else open(path, "rb")


def _parsed(data: bytes) -> _Header:
    for order in "<>":
        size = struct.unpack_from(f"{order}i", data)[0] if len(data) >= 348 else 0
        if size == 348 and data[344:348] in (b"n+1\0", b"ni1\0"):
            return _nifti_1(data, order)
        if size == 540 and len(data) >= 540 and data[4:8] in (b"n+2\0", b"ni2\0"):
            return _nifti_2(data, order)
    raise NotNifti


def _nifti_1(data: bytes, order: str) -> _Header:
    def at(kind: str, offset: int) -> tuple:
        return struct.unpack_from(order + kind, data, offset)

    dim = at("8h", 40)
    return _Header(
        1, order, _lengths(dim), *at("hh", 70), *at("3f", 108), at("8f", 76), at("hh", 252),
        at("6f", 256), np.array(at("12f", 280)).reshape(3, 4), at("B", 123)[0] & 7,
        data[344:347] == b"n+1",
    )  # fmt: skip


def _nifti_2(data: bytes, order: str) -> _Header:
    def at(kind: str, offset: int) -> tuple:
        return struct.unpack_from(order + kind, data, offset)

    dim = at("8q", 16)
    return _Header(
        2, order, _lengths(dim), *at("hh", 12), *at("q", 168), *at("2d", 176), at("8d", 104),
        at("ii", 344), at("6d", 352), np.array(at("12d", 400)).reshape(3, 4),
        at("i", 500)[0] & 7, data[4:7] == b"n+2",
    )  # fmt: skip


def _lengths(dim: tuple[int, ...]) -> list[int]:
    """The lengths along each axis, at least three; none where the header is damaged."""
    if not 1 <= dim[0] <= 7:
        return []
    return [*dim[1 : dim[0] + 1], *[1] * (3 - dim[0])]


def _data_type(path: Path, header: _Header) -> np.dtype:
    """The type of the stored values.

    Raises:
        ValueError: unknown, or the header contradicts itself.
    """
    if header.kind in _COLOR:
        raise ValueError(f"{path}: a scalar image is expected, this one is a color picture.")
    if header.kind not in _KINDS:
        raise ValueError(f"{path}: its voxels are of a type that is not supported ({header.kind}).")
    kind = np.dtype(_KINDS[header.kind]).newbyteorder(header.order)
    least = {1: 352, 2: 544}[header.version] if header.single_file else 0
    faults = []
    if header.bits != 8 * kind.itemsize:
        faults.append(f"{header.bits} bits a voxel for a type of {8 * kind.itemsize}")
    if not header.shape or min(header.shape) < 1:
        faults.append("a length of no voxels")
    at = header.offset
    if at != 0 and not (np.isfinite(at) and at == int(at) >= least):
        faults.append(f"voxels from byte {header.offset:g} on, within the header")
    if np.isinf(header.slope):  # NaN is how some writers say that there is none
        faults.append("an infinite scale")
    if len(header.shape) > 4 and header.shape[3] > 1 and max(header.shape[4:]) > 1:
        raise ValueError(
            f"{path}: its images run along two dimensions ({'x'.join(map(str, header.shape[3:]))}) "
            "and it does not say what the second is; save real and imaginary parts, or magnitude "
            "and phase, as two 4D files."
        )
    if faults:
        raise ValueError(
            f"{path}: its header contradicts itself ({'; '.join(faults)}); export it again."
        )
    return kind


def _stored(path: Path, header: _Header, kind: np.dtype) -> np.ndarray:
    """The stored values, shape (frames, k, j, i), in this machine's byte order.

    Raises:
        ValueError: there are fewer or more than the header says.
    """
    file = _data_file(path, header)
    count = 1
    for length in header.shape:
        count *= int(length)
    expected = count * kind.itemsize
    offset = int(header.offset) or ({1: 352, 2: 544}[header.version] if header.single_file else 0)
    size = file.stat().st_size
    with _opened(file) as stream:
        limit = size * (_DEFLATE_LIMIT if isinstance(stream, gzip.GzipFile) else 1)
        if offset + expected <= limit:
            stream.seek(offset)
            content = stream.read(expected)
            rest = len(stream.read(kind.itemsize * header.shape[0] * header.shape[1]))
        else:
            content, rest = b"", 0
    if len(content) < expected:
        raise ValueError(
            f"{path}: this file cannot be read as an image; it is shorter than its header says "
            f"({'x'.join(map(str, header.shape))} voxels) and may be truncated: copy it again."
        )
    if rest == kind.itemsize * header.shape[0] * header.shape[1]:
        raise ValueError(
            f"{path}: it holds more voxels than its header says "
            f"({'x'.join(map(str, header.shape))} of {8 * kind.itemsize} bits); export it again."
        )
    values = np.frombuffer(content, kind).astype(kind.newbyteorder("="))
    i, j, k, *others = header.shape
    return values.reshape(-1, k, j, i) if others else values.reshape(1, k, j, i)


def _scaled(path: Path, stored: np.ndarray, header: _Header) -> np.ndarray:
    slope, intercept = header.slope, header.intercept
    if slope == 0 or slope != slope or (slope == 1 and intercept == 0):
        return stored
    if not np.isfinite(intercept):
        raise ValueError(f"{path}: its header scales its values by no number; export it again.")
    if stored.dtype.kind == "c":
        return stored * slope + intercept
    kind = np.float32 if stored.dtype.itemsize <= 2 or stored.dtype == np.float32 else np.float64
    return (stored * np.float64(slope) + intercept).astype(kind)


def _placement(path: Path, header: _Header) -> tuple[np.ndarray, list[str], float]:
    """The matrix to RAS mm, what is to be said of it, and how far two placements lie apart."""
    factor = np.diag([_MM_OF_UNIT.get(header.unit, 1.0)] * 3 + [1.0])
    sform, qform = np.eye(4), _from_quaternion(header)
    sform[:3] = header.sform
    has_qform, has_sform = (code > 0 for code in header.codes)
    if not has_qform and not has_sform:
        matrix = np.diag([*np.abs(header.pixdim[1:4]), 1.0])
        matrix[:2] *= -1  # as ITK and Slicer lay it out
        note = f"{path.name}: the file does not say where in the patient it lies; left is assumed "
        return factor @ matrix, [note + "as in radiological order."], 0.0
    if not has_sform or not np.abs(sform[:3, :3]).any(axis=0).all():
        return factor @ qform, [], 0.0
    if not has_qform:
        return factor @ sform, [], 0.0
    apart = corners_apart(factor @ sform, factor @ qform, header.shape)
    least = np.linalg.norm((factor @ sform)[:3, :3], axis=0).min()
    if not apart > SAME_PLACE_VOXELS * least:
        return factor @ sform, [], 0.0
    note = (
        f"{path.name}: the file has two placements (sform and qform) that lie {apart:.1f} mm "
        "apart; the sform was taken, as nibabel, FSL and SPM do, where ITK takes the qform."
    )
    return factor @ sform, [note], apart


def _from_quaternion(header: _Header) -> np.ndarray:
    b, c, d, x, y, z = header.quaternion
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
    ]
    flip = -1.0 if header.pixdim[0] < 0 else 1.0
    matrix[:3, :3] *= np.abs(header.pixdim[1:4]) * [1, 1, flip]
    matrix[:3, 3] = x, y, z
    return matrix
