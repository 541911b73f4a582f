"""Spectra in DICOM: MR Spectroscopy Storage, and the private objects of Siemens and Philips."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from PDFFMapperLib.dicom.siemens import siemens_csa
from PDFFMapperLib.images.patient import short_key
from PDFFMapperLib.spectroscopy.spectrum import Spectrum, box_ras, refuse_grid

_CSA_HEADER, _CSA_DATA = (0x0029, 0x1110), (0x7FE1, 0x1010)
_CSA_OWNER = "SIEMENS CSA NON-IMAGE"
_PHILIPS_DATA = (0x2005, 0x1270)
_PHILIPS_TI = (0x2001, 0x1084)


def is_dicom(data: bytes) -> bool:
    """Whether a file's bytes are those of DICOM, with or without its preamble."""
    return data[128:132] == b"DICM" or data[:4] in (b"\x08\x00\x05\x00", b"\x08\x00\x00\x00")


def read_dicom_spectrum(path: Path) -> Spectrum:
    """The spectrum of a DICOM file.

    Raises:
        ValueError: it holds an image, a grid of voxels, or fewer points than it says.
    """
    name = path.name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pydicom, on damaged headers
            header = dcmread(path, force=True)
            return replace(
                _read(header, name), series=short_key(str(header.get("SeriesInstanceUID") or ""))
            )
    except Exception as error:  # pydicom raises many kinds on damaged files
        if type(error) is ValueError and str(error).startswith(f"{name}: "):
            raise
        raise ValueError(
            f"{name}: this DICOM file cannot be read, its header is damaged; copy it again."
        ) from error


def _read(header: Dataset, name: str) -> Spectrum:
    csa, signal = (_of_siemens(header, tag) for tag in (_CSA_HEADER, _CSA_DATA))
    if csa and signal:
        return _siemens(csa, signal, name)
    if "SpectroscopyData" in header:
        return _standard(header, name)
    if _PHILIPS_DATA in header:
        return _philips(header, name)
    raise ValueError(
        f"{name}: this DICOM file holds no spectrum; export the spectroscopy series itself, not "
        "its pictures."
    )


def _of_siemens(header: Dataset, tag: tuple[int, int]) -> bytes:
    """A private element at its usual place, or where an archive moved its block to."""
    if tag not in header:
        blocks = (n for n in range(0x10, 0x20) if (tag[0], n) in header)
        owned = [n for n in blocks if str(header[tag[0], n].value).strip() == _CSA_OWNER]
        tag = next(
            ((tag[0], n << 8 | 0x10) for n in owned if (tag[0], n << 8 | 0x10) in header), tag
        )
    return header[tag].value if tag in header else b""


def _siemens(csa: bytes, signal: bytes, name: str) -> Spectrum:
    facts = siemens_csa(csa)

    def numbers(key: str) -> list[float]:
        return [float(text) for text in facts.get(key, [])]

    def number(key: str) -> float | None:
        return (numbers(key) or [None])[0]

    grid = [int(number(key) or 1) for key in ("Columns", "Rows", "NumberOfFrames")]
    refuse_grid(name, grid)
    fid = _floats(signal, int(number("DataPointColumns") or 0), name)
    dwell_ns = number("RealDwellTime")
    normal, center = numbers("VoiOrientation"), numbers("VoiPosition")
    orientation = numbers("ImageOrientationPatient")
    voxel = None
    if len(normal) == 3 and len(center) == 3 and len(orientation) == 6:
        axes = np.array([orientation[:3], orientation[3:], normal])
        sides = [number(f"Voi{side}") or np.nan for side in ("ReadoutFoV", "PhaseFoV", "Thickness")]
        voxel = box_ras(np.array(center), np.array(sides), axes)
    return Spectrum(
        fid[None, None],
        name,
        dwell_s=dwell_ns * 1e-9 if dwell_ns else None,
        frequency_mhz=number("ImagingFrequency"),
        te_ms=number("EchoTime"),
        tr_ms=number("RepetitionTime"),
        tm_ms=number("MixingTime") or None,
        ti_ms=number("InversionTime") or None,
        sequence=(facts.get("SequenceName") or [""])[0],
        nucleus=(facts.get("ResonantNucleus") or facts.get("ImagedNucleus") or ["1H"])[0],
        sense=-1,
        voxel_ras=voxel,
    )


def _standard(header: Dataset, name: str) -> Spectrum:
    """MR Spectroscopy Storage (PS3.3, A.36.3); frames are averages or nothing.

    Where the phase was corrected by water, the last frame is that water (of Philips). What the
    functional groups lack may stand at the top, as United Imaging writes it by spec2nii's source.
    """
    _over_time(header, name)
    points = int(header.get("DataPointColumns", 0))
    refuse_grid(name, [int(header.get(key, 1) or 1) for key in ("Columns", "Rows")])
    values = _numbers(header["SpectroscopyData"].value)
    frames = int(header.get("NumberOfFrames", 1) or 1)
    if points < 1 or len(values) != 2 * points * frames:
        raise ValueError(
            f"{name}: {len(values) // 2} complex points are there and {points * frames} are "
            "expected; copy the file again."
        )
    fids = (values[::2] + 1j * values[1::2]).reshape(frames, 1, points)
    notes = []
    if frames > 1 and str(header.get("WaterReferencedPhaseCorrection", "")).upper() == "YES":
        fids = fids[:-1]
        notes.append(f"{name}: its last frame, the water reference, was left out.")
    width = header.get("SpectralWidth")
    timing = _functional(header, "MRTimingAndRelatedParametersSequence")
    echo = _functional(header, "MREchoSequence")
    modifier = _functional(header, "MRModifierSequence")
    inverted = str(getattr(modifier, "InversionRecovery", "")).upper() == "YES"
    maker = str(header.get("Manufacturer", "")).lower()
    called = str(header.get("PulseSequenceName") or header.get("SequenceName") or "")
    te = getattr(echo, "EffectiveEchoTime", None) or header.get("EchoTime")
    nucleus = header.get("ResonantNucleus", "1H")
    return Spectrum(
        fids,
        name,
        dwell_s=1 / float(width) if width else None,
        frequency_mhz=_first(header.get("TransmitterFrequency")),
        te_ms=None if te is None else float(te),
        tr_ms=_first(getattr(timing, "RepetitionTime", None) or header.get("RepetitionTime")),
        ti_ms=_first(getattr(modifier, "InversionTimes", None)) or None,
        sequence=called + " inverted" * inverted,
        nucleus=str(nucleus if isinstance(nucleus, str) else nucleus[0]),
        sense=1 if "philips" in maker or "siemens" in maker else None,  # of Siemens from XA on
        suppressed={"YES": True, "NO": False}.get(_water_suppression(header)),
        voxel_ras=_slabs(header),
        notes=notes,
    )


def _over_time(header: Dataset, name: str) -> None:
    """Refuse what is no complex signal over time at one echo time."""
    for keyword, expected in (("SignalDomainColumns", "TIME"), ("DataRepresentation", "COMPLEX")):
        stated = str(header.get(keyword) or expected).upper()
        if stated != expected:
            raise ValueError(
                f"{name}: {keyword} is {stated}; complex signals over time are expected, export "
                "the measured data."
            )
    frames = header.get("PerFrameFunctionalGroupsSequence") or []
    echoes = [group.MREchoSequence[0] for group in frames if group.get("MREchoSequence")]
    stated = [echo.get("EffectiveEchoTime") for echo in echoes]
    times = sorted({float(te) for te in stated if te is not None})
    if len(times) > 1:
        raise ValueError(
            f"{name}: its frames have several echo times "
            f"({', '.join(f'{te:g}' for te in times)} ms); export one file for each."
        )


def _water_suppression(header: Dataset) -> str:
    text = str(header.get("SpectrallySelectedSuppression", "")).upper()
    return {"WATER": "YES", "FAT AND WATER": "YES", "NONE": "NO"}.get(text, "")


def _slabs(header: Dataset) -> np.ndarray | None:
    """The voxel of three orthogonal slabs (Volume Localization Sequence)."""
    slabs = header.get("VolumeLocalizationSequence") or []
    if len(slabs) != 3:
        return None
    axes = np.array([list(slab.SlabOrientation) for slab in slabs], float)
    sides = np.array([float(slab.SlabThickness) for slab in slabs])
    center = np.array(list(slabs[0].MidSlabPosition), float)
    return box_ras(center, sides, axes)


def _philips(header: Dataset, name: str) -> Spectrum:
    """Philips' private object: one or more signals, those of the water reference in between."""
    values = _numbers(header[_PHILIPS_DATA].value)

    def private(element: int, kind: str = "<f4") -> float | None:
        value = header[0x2005, element].value if (0x2005, element) in header else None
        if isinstance(
            value, bytes
        ):  # whose block lost its owner; unlike any number it is asked for
            value = np.frombuffer(value, kind)[0] if len(value) == 4 else None
        return _first(value)

    points = int(private(0x1315, "<i4") or _first(header.get("DataPointColumns")) or 0)
    if points < 1 or len(values) % (2 * points):
        raise ValueError(
            f"{name}: {len(values) // 2} complex points are there, in signals of {points}; copy "
            "the file again."
        )
    fids = (values[::2] + 1j * values[1::2]).reshape(-1, 1, points)
    width, frequency = private(0x1357), None
    if (0x2001, 0x1083) in header:
        frequency = _first(header[0x2001, 0x1083].value)
    return Spectrum(
        fids,
        name,
        dwell_s=1 / width if width else None,
        frequency_mhz=frequency,
        te_ms=private(0x1310) or _first(header.get("EchoTime")),
        tr_ms=_first(header.get("RepetitionTime")),
        ti_ms=(_first(header[_PHILIPS_TI].value) if _PHILIPS_TI in header else None) or None,
        sequence=str(header.get("SeriesDescription", "")),
        nucleus=str(header.get("ImagedNucleus", "1H")),
        sense=1,
    )


def _functional(header: Dataset, sequence: str) -> Dataset | None:
    """An item of the functional groups, shared or of the first frame."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in (header.get(groups) or [])[:1]:
            if group.get(sequence):
                return group[sequence][0]
    return None


def _first(value: object) -> float | None:
    if value is None or value == "":
        return None
    return float(np.ravel(value)[0])


def _numbers(raw: object) -> np.ndarray:
    """Of an element of floats, whatever pydicom made of it."""
    if isinstance(raw, bytes):
        return np.frombuffer(raw[: len(raw) // 4 * 4], "<f4")
    return np.asarray(raw, float)


def _floats(raw: bytes, points: int, name: str) -> np.ndarray:
    values = np.frombuffer(raw[: len(raw) // 8 * 8], "<f4")
    if points < 1 or len(values) != 2 * points:
        raise ValueError(
            f"{name}: {len(values) // 2} complex points are there and {points} are expected; copy "
            "the file again."
        )
    return values[::2] + 1j * values[1::2]
