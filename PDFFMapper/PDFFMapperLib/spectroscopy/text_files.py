"""Spectra with a readable header: Siemens .rda, Philips SPAR/SDAT, jMRUI, LCModel, plain text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from PDFFMapperLib.spectroscopy.spectrum import Spectrum, box_ras, refuse_grid

_FEWEST_ROWS = 16
_RDA_BEGIN, _RDA_END = b">>> Begin of header <<<", b">>> End of header <<<"


def is_rda(data: bytes) -> bool:
    """Whether a file's bytes are those of a Siemens .rda file."""
    return data.lstrip()[: len(_RDA_BEGIN)] == _RDA_BEGIN


def read_rda(data: bytes, name: str) -> Spectrum:
    """A Siemens .rda file: one combined signal in doubles.

    Raises:
        ValueError: it is cut off, or a grid of voxels.
    """
    end = data.find(_RDA_END)
    if end < 0:
        raise ValueError(f"{name}: the header has no end; the file was cut off, export it again.")
    header = {}
    for line in data[:end].decode("latin-1").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            header[key.strip()] = value.strip()
    body = data[end + len(_RDA_END) :].removeprefix(b"\r").removeprefix(b"\n")
    size = [int(_number(header, f"CSIMatrixSize[{n}]") or 1) for n in range(3)]
    refuse_grid(name, size)
    points = int(_number(header, "VectorSize") or 0)
    fid = _complex(body, "<f8", points, name)
    axes = [
        [_number(header, f"{row}Vector[{n}]") or 0 for n in range(3)] for row in ("Row", "Column")
    ]
    axes.append(np.cross(*axes))
    sides = [_number(header, key) or np.nan for key in ("FoVWidth", "FoVHeight", "FoV3D")]
    if np.isnan(sides[2]):
        sides[2] = _number(header, "SliceThickness") or np.nan
    corner = [_number(header, f"PositionVector[{n}]") or 0.0 for n in range(3)]
    center = np.add(corner, np.nan_to_num(sides[0]) / 2 * np.array(axes[0]))
    center = center + np.nan_to_num(sides[1]) / 2 * np.array(axes[1])
    return Spectrum(
        fid[None, None],
        name,
        dwell_s=_scaled(header, "DwellTime", 1e-6),
        frequency_mhz=_number(header, "MRFrequency"),
        te_ms=_number(header, "TE"),
        tr_ms=_number(header, "TR"),
        tm_ms=_number(header, "TM") or None,
        ti_ms=_number(header, "TI") or None,
        sequence=header.get("SequenceName", ""),
        nucleus=header.get("Nucleus", "1H"),
        sense=-1,
        voxel_ras=box_ras(center, np.array(sides), np.array(axes)),
    )


def read_sdat(path: Path) -> Spectrum:
    """A Philips SPAR/SDAT pair: VAX floats beside a text of parameters.

    Raises:
        FileNotFoundError: one of the two is missing.
        ValueError: the data are not as long as the parameters say.
    """
    files = {}
    for kind in (".spar", ".sdat"):
        beside = (p for p in path.parent.iterdir() if p.stem == path.stem)
        files[kind] = next((p for p in beside if p.suffix.lower() == kind), None)
        if files[kind] is None:
            raise FileNotFoundError(
                f"{path.name}: its {kind.upper()} file is not beside it; a Philips export is two "
                "files of one name, copy both."
            )
    header = {}
    for line in files[".spar"].read_text(encoding="latin-1").splitlines():
        key, colon, value = line.partition(":")
        if colon and not line.startswith("!"):
            header[key.strip()] = value.strip()
    rows = int(_number(header, "rows") or 1)
    points = int(_number(header, "samples") or 0)
    raw = files[".sdat"].read_bytes()
    if len(raw) != 8 * rows * points or not raw:
        raise ValueError(
            f"{files['.sdat'].name}: {len(raw)} bytes are there and {rows} times {points} complex "
            f"points ({8 * rows * points} bytes) are expected; copy both files again."
        )
    values = vax_floats(raw)
    fids = (values[::2] + 1j * values[1::2]).reshape(rows, 1, points)
    bandwidth = _number(header, "sample_frequency")
    frequency = _number(header, "synthesizer_frequency")
    sides = np.array([_number(header, f"{axis}_size") or np.nan for axis in ("lr", "ap", "cc")])
    center = [_number(header, f"{axis}_off_center") or 0.0 for axis in ("lr", "ap", "cc")]
    inversion = (_number(header, key) for key in ("inversion_time", "spectrum_inversion_time"))
    turned = [_number(header, f"{axis}_angulation") or 0.0 for axis in ("lr", "ap", "cc")]
    return Spectrum(
        fids,
        path.name,
        dwell_s=1 / bandwidth if bandwidth else None,
        frequency_mhz=frequency / 1e6 if frequency else None,
        te_ms=_number(header, "echo_time"),
        tr_ms=_number(header, "repetition_time"),
        tm_ms=_number(header, "mixing_time") or None,
        ti_ms=next((ti for ti in inversion if ti), None),
        sequence=header.get("scan_id", "") if not _number(header, "mixing_time") else "STEAM",
        nucleus=header.get("nucleus", "1H"),
        sense=1,
        voxel_ras=None if any(turned) else box_ras(np.array(center), sides, np.eye(3)),
        notes=["The voxel is turned against the body's axes; it is not drawn."]
        if any(turned)
        else [],
    )


def vax_floats(raw: bytes) -> np.ndarray:
    """VAX F_floating numbers: 16-bit words swapped, exponent 129 for numbers of 0.5 to 1."""
    words = np.frombuffer(raw, "<u2").reshape(-1, 2).astype(np.uint32)
    bits = (words[:, 0] << 16) | words[:, 1]
    exponent = ((bits >> 23) & 0xFF).astype(int)
    fraction = 0.5 + (bits & 0x7FFFFF) / 2.0**24
    signed = np.where(bits >> 31, -fraction, fraction)
    return np.where(exponent == 0, 0.0, np.ldexp(signed, exponent - 128))


def is_jmrui(text: str) -> bool:
    """Whether a text is one of jMRUI."""
    return "PointsInDataset" in text[:4000]


def read_jmrui(text: str, name: str) -> Spectrum:
    """A jMRUI text file, signals in its first two columns.

    Raises:
        ValueError: it holds fewer points than it says.
    """
    header = dict(re.findall(r"^([A-Za-z]+):\s*(\S+)", text, re.MULTILINE))
    points = int(_number(header, "PointsInDataset") or 0)
    count = int(_number(header, "DatasetsInFile") or 1)
    numbers = [
        _floats(line.split()[:2], name)
        for line in text.splitlines()
        if re.match(r"^\s*[-+]?[\d.]+(e[-+]?\d+)?\s+[-+]?[\d.]", line, re.IGNORECASE)
    ]
    if len(numbers) != points * count or not numbers:
        raise ValueError(
            f"{name}: {len(numbers)} points are there and {points * count} are expected; the file "
            "was cut off, export it again."
        )
    table = np.array(numbers)
    frequency = _number(header, "TransmitterFrequency")
    return Spectrum(
        (table[:, 0] + 1j * table[:, 1]).reshape(count, 1, points),
        name,
        dwell_s=_scaled(header, "SamplingInterval", 1e-3),
        frequency_mhz=frequency / 1e6 if frequency else None,
        sense=1,
    )


def is_lcmodel(text: str) -> bool:
    """Whether a text is an LCModel .raw file."""
    return "$NMID" in text[:4000].upper()


def read_lcmodel(text: str, name: str) -> Spectrum:
    """An LCModel .raw file; it tells no dwell time.

    Raises:
        ValueError: its header does not end, or numbers are damaged or odd in count.
    """
    upper = text.upper()
    ends = [match.end() for match in re.finditer(r"^\s*(\$END|/)\s*$", upper, re.MULTILINE)]
    if not ends:
        raise ValueError(f"{name}: its header has no $END; export it again.")
    header, body = text[: ends[-1]], text[ends[-1] :]
    facts = dict(re.findall(r"(\w+)\s*=\s*'?([^\s,']+)", header))
    facts = {key.upper(): value for key, value in facts.items()}
    values = np.array(_floats(body.replace("D", "E").split(), name))
    if len(values) % 2:
        raise ValueError(f"{name}: an odd count of numbers; the file was cut off, export it again.")
    return Spectrum(
        (values[::2] + 1j * values[1::2])[None, None],
        name,
        frequency_mhz=_number(facts, "HZPPPM"),
        te_ms=_number(facts, "ECHOT"),
        sequence=facts.get("SEQ", ""),
    )


def read_columns(text: str, name: str) -> Spectrum:
    """Plain text of real and imaginary parts in two columns, or time (s) and both in three.

    Raises:
        ValueError: it is no such table.
    """
    rows = []
    for line in text.splitlines():
        words = re.split(r"[,;\s]+", line.strip())
        try:
            rows.append([float(word) for word in words if word])
        except ValueError:
            if len(rows) >= _FEWEST_ROWS:
                raise ValueError(f"{name}: '{line[:40]}' is no row of numbers.") from None
    rows = [row for row in rows if row]
    widths = {len(row) for row in rows}
    if len(rows) < _FEWEST_ROWS or len(widths) != 1 or not widths <= {2, 3}:
        raise ValueError(
            f"{name}: no spectrum that is known: a table of real and imaginary parts, NIfTI-MRS, "
            "Siemens (.rda, DICOM), Philips (SPAR/SDAT, DICOM), jMRUI or LCModel (.raw) is "
            "expected."
        )
    table = np.array(rows)
    dwell = None
    if table.shape[1] == 3:
        steps = np.diff(table[:, 0])
        dwell = float(np.median(steps))
        if dwell <= 0 or np.ptp(steps) > 0.02 * dwell:
            raise ValueError(f"{name}: its first column is no time in equal steps.")
    return Spectrum((table[:, -2] + 1j * table[:, -1])[None, None], name, dwell_s=dwell)


def _number(header: dict[str, str], key: str) -> float | None:
    match = re.match(r"[-+]?(\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", header.get(key, ""))
    return float(match[0]) if match else None


def _floats(words: list[str], name: str) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError:
        shown = " ".join(words)[:40] if len(words) < 3 else "one of its rows"
        raise ValueError(
            f"{name}: '{shown}' is damaged: numbers are expected; export it again."
        ) from None


def _scaled(header: dict[str, str], key: str, factor: float) -> float | None:
    value = _number(header, key)
    return None if value is None else value * factor


def _complex(body: bytes, kind: str, points: int, name: str) -> np.ndarray:
    each = 2 * np.dtype(kind).itemsize
    if points < 1 or len(body) < each * points:
        raise ValueError(
            f"{name}: {len(body) // each} complex points are there and {points} are expected; the "
            "file was cut off, export it again."
        )
    values = np.frombuffer(body[: each * points], kind)
    return values[::2] + 1j * values[1::2]
