"""NIfTI-MRS: signals in a NIfTI file, facts in its header extension 44.

Clarke 2022, doi 10.1002/mrm.29418. Its signals are the conjugate of ours: peaks of higher ppm
turn slower.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from pathlib import Path

import numpy as np

from PDFFMapperLib.spectroscopy.spectrum import Series, Spectrum, with_facts

EXTENSION = 44
_AVERAGED = ("DIM_DYN", "DIM_MEAS", "DIM_PHASE_CYCLE")
_SIZES = {348: (1, 352, 108), 540: (2, 544, 168)}


def is_nifti_name(path: Path) -> bool:
    """Whether a file's name ends like NIfTI."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def read_nifti_mrs(path: Path) -> list[Spectrum]:
    """The spectra of a NIfTI-MRS file, one for each echo time.

    Raises:
        ValueError: it is cut off, no NIfTI-MRS, or a grid of voxels.
    """
    fids, facts, header = _opened(path)
    if max(fids.shape[:3]) > 1:
        raise ValueError(
            f"{path.name}: this is a grid of {' x '.join(map(str, fids.shape[:3]))} voxels; a "
            "single voxel is expected, or --grid, which fits each of them."
        )
    return _spectra(fids[0, 0, 0], facts, header, path.name)


def read_nifti_grid(path: Path) -> dict[tuple[int, int, int], list[Spectrum]]:
    """The spectra of each voxel of a NIfTI-MRS file, by index; nothing is reconstructed.

    Raises:
        ValueError: as `read_nifti_mrs`, but for the grid.
    """
    fids, facts, header = _opened(path)
    found, corner = {}, header.to_ras
    for index in np.ndindex(fids.shape[:3]):
        if corner is not None:
            header.to_ras = corner.copy()
            header.to_ras[:3, 3] += corner[:3, :3] @ index
        name = f"voxel {', '.join(map(str, index))}"
        found[index] = _spectra(fids[index], facts, header, name)
    return found


def _opened(path: Path) -> tuple[np.ndarray, dict[str, object], _Header]:
    """Complex signals, shape (voxels, three times, points, ...), what extension and header say."""
    name = path.name
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error):
            raise ValueError(f"{name}: the file was cut off; copy it again.") from None
    order, version = _version(data, name)
    header = _Header(data, order, version)
    facts = _extension(data, order, header, name)
    kinds = {32: "c8", 1792: "c16"}
    if header.kind not in kinds:
        raise ValueError(f"{name}: its values are not complex; NIfTI-MRS holds complex signals.")
    count, kind = math.prod(header.shape), np.dtype(kinds[header.kind]).newbyteorder(order)
    if min(header.shape) < 1:
        raise ValueError(f"{name}: it holds no signals; its size is {header.shape}.")
    if not 0 < header.offset <= len(data):
        raise ValueError(f"{name}: the file was cut off, or its header is damaged; copy it again.")
    body = data[header.offset : header.offset + count * kind.itemsize]
    if len(body) < count * kind.itemsize:
        raise ValueError(f"{name}: the file was cut off; copy it again.")
    fids = np.frombuffer(body, kind).reshape(header.shape, order="F").astype(complex)
    return fids, facts, header


class _Header:
    """What is needed of a NIfTI header."""

    def __init__(self, data: bytes, order: str, version: int):
        def at(kind: str, offset: int, count: int = 1) -> np.ndarray:
            return np.frombuffer(data, np.dtype(kind).newbyteorder(order), count, offset)

        if version == 1:
            dims, self.kind = at("i2", 40, 8), int(at("i2", 70)[0])
            offset = float(at("f4", 108)[0])
            pixdim, self.offset = at("f4", 76, 8), int(offset) if math.isfinite(offset) else 0
            self.unit = data[123]
            codes, rows = at("i2", 252, 2), at("f4", 280, 12)
        else:
            dims, self.kind = at("i8", 16, 8), int(at("i2", 12)[0])
            pixdim, self.offset = at("f8", 104, 8), int(at("i8", 168)[0])
            self.unit = int(at("i4", 500)[0])
            codes, rows = at("i4", 344, 2), at("f8", 400, 12)
        used = int(dims[0])
        sizes = dims[1 : max(used, 4) + 1]
        self.shape = [int(n) if place < used else 1 for place, n in enumerate(sizes)]
        time = {8: 1.0, 16: 1e-3, 24: 1e-6}.get(self.unit & 0x38, 1.0)
        self.dwell_s = float(pixdim[4]) * time
        self.to_ras = np.vstack([rows.reshape(3, 4), [0, 0, 0, 1]]) if codes[1] > 0 else None


def _version(data: bytes, name: str) -> tuple[str, int]:
    for order in "<>":
        size = int(np.frombuffer(data[:4].ljust(4, b"\0"), f"{order}i4")[0])
        if size in _SIZES and len(data) >= _SIZES[size][1]:
            return order, _SIZES[size][0]
    raise ValueError(f"{name}: this is no NIfTI file, or it was cut off.")


def _extension(data: bytes, order: str, header: _Header, name: str) -> dict[str, object]:
    offset = 352 if header.offset and data[344:348] in (b"n+1\0", b"ni1\0") else 544
    while offset + 8 <= min(header.offset, len(data)):
        size, code = (int(n) for n in np.frombuffer(data[offset : offset + 8], f"{order}i4"))
        if size < 8:
            break
        if code == EXTENSION:
            text = data[offset + 8 : offset + size].split(b"\0")[0]
            try:
                facts = json.loads(text)
            except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
                raise ValueError(f"{name}: its header extension 44 is not JSON.") from None
            if not isinstance(facts, dict):
                raise ValueError(f"{name}: its header extension 44 is no JSON object.")
            return facts
        offset += size
    raise ValueError(
        f"{name}: this NIfTI file has no header extension 44; it is an image and no spectrum."
    )


def _spectra(fids: np.ndarray, facts: dict, header: _Header, name: str) -> list[Spectrum]:
    """Of signals with shape (points, dim 5, dim 6, dim 7): averages, coils and echo times apart."""
    fids = fids.reshape(fids.shape + (1,) * (4 - fids.ndim))
    tags = [str(facts.get(f"dim_{n}", "")) for n in (5, 6, 7)]
    coils = [n + 1 for n, tag in enumerate(tags) if tag == "DIM_COIL"]
    times = None
    for n, tag in enumerate(tags, start=1):
        header_of = facts.get(f"dim_{n + 4}_header")
        if isinstance(header_of, dict) and header_of.get("EchoTime") is not None:
            times = (n, _values(header_of["EchoTime"], fids.shape[n], name))
        elif fids.shape[n] > 1 and tag not in _AVERAGED and tag != "DIM_COIL":
            raise ValueError(
                f"{name}: its dimension {n + 4} ({tag or 'without a tag'}) holds {fids.shape[n]} "
                "signals that are no averages, coils or echo times; export one of them."
            )
    moved = np.moveaxis(fids, coils, range(-len(coils), 0)) if coils else fids[..., None]
    spectra = []
    for n in range(fids.shape[times[0]] if times else 1):
        one = moved
        if times:
            place = times[0] - sum(c < times[0] for c in coils)
            one = np.take(moved, [n], axis=place)
        one = one.reshape(one.shape[0], -1, one.shape[-1])  # points, averages, coils
        stated = {**facts, "DwellTime": header.dwell_s}
        if times:
            stated["EchoTime"] = times[1][n]
        plain = Spectrum(np.moveaxis(one, 0, -1), name, sense=-1, voxel_ras=_voxel(header.to_ras))
        spectra.append(with_facts(plain, stated, name))
    return spectra


def _values(stated: object, count: int, name: str) -> list[float]:
    """The echo times along a dimension, in s."""
    try:
        if isinstance(stated, dict) and {"start", "increment"} <= set(stated):
            found = [stated["start"] + n * stated["increment"] for n in range(count)]
        else:
            found = np.ravel(stated.get("Value") if isinstance(stated, dict) else stated)
        found = [float(one) for one in found]
    except (TypeError, ValueError):
        found = []
    if len(found) != count:
        raise ValueError(
            f"{name}: {count} echo times are expected along a dimension, and its header states "
            f"{stated!r:.80}."
        )
    return found


def _voxel(to_ras: np.ndarray | None) -> np.ndarray | None:
    """NIfTI places the voxel's center at index 0, as the unit cube does."""
    return None if to_ras is None else np.asarray(to_ras, float)


def write_nifti_mrs(path: Path, series: Series, voxel_ras: np.ndarray, sequence: str) -> None:
    """Write a series as NIfTI-MRS (NIfTI-2), its echo times along dimension 5.

    Args:
        path: ends in .nii or .nii.gz.
        series: signals of one voxel.
        voxel_ras: 4x4 matrix from the unit cube to RAS mm.
        sequence: its name.
    """
    count, points = series.fids.shape
    facts = {
        "SpectrometerFrequency": [series.frequency_mhz],
        "ResonantNucleus": ["1H"],
        "EchoTime": float(series.te_ms[0]) / 1000,
        "RepetitionTime": float(series.tr_ms[0]) / 1000,
        "SequenceName": sequence,
        "dim_5": "DIM_INDIRECT_0",
        "dim_5_info": "echo time",
        "dim_5_header": {"EchoTime": (series.te_ms / 1000).tolist()},
    }
    text = json.dumps(facts).encode()
    text += b"\0" * (-(len(text) + 8) % 16)
    head = bytearray(544)

    def put(offset: int, kind: str, *values: float) -> None:
        data = np.array(values, kind).tobytes()
        head[offset : offset + len(data)] = data

    put(0, "<i4", 540)
    head[4:12] = b"n+2\0\r\n\x1a\n"
    put(12, "<i2", 1792, 128)
    put(16, "<i8", 5, 1, 1, 1, points, count, 1, 1)
    put(104, "<f8", 1, *np.linalg.norm(voxel_ras[:3, :3], axis=0), series.dwell_s, 1, 1, 1)
    put(168, "<i8", 544 + 8 + len(text))
    put(176, "<f8", 1)
    put(348, "<i4", 2)
    put(400, "<f8", *np.asarray(voxel_ras, float)[:3].ravel())
    put(500, "<i4", 2 + 8)
    head[508:518] = b"mrs_v0_10\0"
    put(540, "u1", 1, 0, 0, 0)
    extension = np.array([8 + len(text), EXTENSION], "<i4").tobytes() + text
    body = np.asarray(series.fids.conj(), "<c16").T.tobytes(order="F")
    data = bytes(head) + extension + body
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
