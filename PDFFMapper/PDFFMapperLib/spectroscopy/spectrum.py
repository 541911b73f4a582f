"""One acquisition of single-voxel proton spectroscopy, as a file holds it and ready to fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from PDFFMapperLib.spectroscopy.rows import NONE

PROTON = "1H"


@dataclass
class Spectrum:
    """What was acquired of one voxel at one echo time.

    Attributes:
        fids: complex signals over time, shape (averages, coils, points), as stored.
        name: what to call it in messages.
        dwell_s: seconds between points; None where the file does not say.
        frequency_mhz: of the transmitter; None where the file does not say.
        te_ms, tr_ms, tm_ms, ti_ms: times of the sequence; None where unknown or without one, TI
            of 0 where somebody states that nothing was inverted.
        sequence: "PRESS", "STEAM" or what the file says; "" where it says nothing.
        nucleus: "1H" ...
        sense: +1 if peaks of higher ppm turn faster in this format, -1 if slower, None if unsaid.
        suppressed: whether water was suppressed; None where the file does not say.
        voxel_ras: 4x4 matrix from the unit cube (-1/2 ... 1/2) to RAS mm; None where unknown.
        te1_ms: of PRESS's two echo times the first; None where unknown.
        series: short hash of its DICOM series' UID (see `short_key`); "" for other files.
        notes: sentences about how it was read.
    """

    fids: np.ndarray
    name: str
    dwell_s: float | None = None
    frequency_mhz: float | None = None
    te_ms: float | None = None
    tr_ms: float | None = None
    tm_ms: float | None = None
    ti_ms: float | None = None
    sequence: str = ""
    nucleus: str = PROTON
    sense: int | None = None
    suppressed: bool | None = None
    voxel_ras: np.ndarray | None = None
    te1_ms: float | None = None
    series: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def times(self) -> tuple[object, ...]:
        """What tells it from others of its voxel."""
        return self.sequence, self.te_ms, self.tr_ms, self.ti_ms, self.tm_ms


@dataclass
class Series:
    """Free induction decays of one voxel, ready to fit.

    Attributes:
        fids: complex, shape (spectra, points); peaks of higher ppm turn faster.
        dwell_s: seconds between points.
        frequency_mhz: of the transmitter.
        center_ppm: what turns with frequency 0.
        te_ms, tr_ms, ti_ms: of each spectrum; TR and TI are NaN where unknown or without one.
        sequence: PRESS, STEAM or none, for J modulation.
        tm_ms: mixing time of each spectrum; NaN where unknown or without one, None for all of them.
        te1_ms: the first echo time of PRESS, likewise.
    """

    fids: np.ndarray
    dwell_s: float
    frequency_mhz: float
    center_ppm: float
    te_ms: np.ndarray
    tr_ms: np.ndarray
    ti_ms: np.ndarray
    sequence: str = NONE
    tm_ms: np.ndarray | None = None
    te1_ms: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.fids = np.asarray(self.fids, complex)  # some files hold single precision
        if self.tm_ms is None:
            self.tm_ms = np.full(len(self.te_ms), np.nan)
        if self.te1_ms is None:
            self.te1_ms = np.full(len(self.te_ms), np.nan)

    def one(self, n: int) -> Series:
        """One of its spectra alone."""
        return Series(
            self.fids[n : n + 1],
            self.dwell_s,
            self.frequency_mhz,
            self.center_ppm,
            self.te_ms[n : n + 1],
            self.tr_ms[n : n + 1],
            self.ti_ms[n : n + 1],
            self.sequence,
            self.tm_ms[n : n + 1],
            self.te1_ms[n : n + 1],
        )

    @property
    def ppm(self) -> np.ndarray:
        """Of each point of the unshifted discrete Fourier transform."""
        hz = np.fft.fftfreq(self.fids.shape[1], self.dwell_s)
        return self.center_ppm + hz / self.frequency_mhz


def noise_alone(points: int) -> slice:
    """Where a signal of so many points holds noise alone: a quarter of it, near its end.

    Not at its end: scanners take oversampling out by cutting the spectrum, which wraps what should
    lie before the echo to the last points. On real spectra they hold 10 times the noise.
    """
    return slice(11 * points // 16, 15 * points // 16)


def _milliseconds(seconds: object) -> float:
    return 1000 * float(seconds)


def _yes_or_no(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


# What a user or a JSON file beside the spectrum may state: key, attribute, and from its unit.
STATED: dict[str, tuple[str, Callable]] = {
    "DwellTime": ("dwell_s", float),
    "SpectrometerFrequency": ("frequency_mhz", lambda mhz: float(np.ravel(mhz)[0])),
    "EchoTime": ("te_ms", _milliseconds),
    "FirstEchoTime": ("te1_ms", _milliseconds),
    "RepetitionTime": ("tr_ms", _milliseconds),
    "MixingTime": ("tm_ms", _milliseconds),
    "InversionTime": ("ti_ms", _milliseconds),
    "SequenceName": ("sequence", str),
    "ResonantNucleus": ("nucleus", lambda names: str(np.ravel(names)[0])),
    "WaterSuppressed": ("suppressed", _yes_or_no),
}

# What a command may state: option, name of NIfTI-MRS (FirstEchoTime is none of it), to that
# standard's unit, the option's unit.
FACTS = (
    ("--te", "EchoTime", 1e-3, "MS", "echo time"),
    ("--te1", "FirstEchoTime", 1e-3, "MS", "the first of the two echo times of PRESS"),
    ("--tr", "RepetitionTime", 1e-3, "MS", "repetition time"),
    ("--tm", "MixingTime", 1e-3, "MS", "mixing time"),
    ("--ti", "InversionTime", 1e-3, "MS", "inversion time, 0 if nothing was inverted"),
    ("--dwell-time", "DwellTime", 1.0, "S", "time between points"),
    ("--frequency", "SpectrometerFrequency", 1.0, "MHZ", "transmitter frequency"),
)


def with_facts(one: Spectrum, facts: dict[str, object], whence: str) -> Spectrum:
    """The spectrum with what somebody stated; it goes before what its file says.

    Args:
        one: the spectrum.
        facts: by the names of NIfTI-MRS, times in seconds, the frequency in MHz.
        whence: file or option, for the sentence.

    Raises:
        ValueError: a value is of another kind.
    """
    stated = {}
    for key, (attribute, convert) in STATED.items():
        if facts.get(key) is not None:
            try:
                stated[attribute] = convert(facts[key])
            except (TypeError, ValueError, IndexError):
                raise ValueError(
                    f"{whence}: {key} is {facts[key]!r}; a number is expected."
                ) from None
    return replace(one, **stated) if stated else one


def refuse_grid(name: str, size: list[int]) -> None:
    """Nothing where a file holds one voxel.

    Raises:
        ValueError: it holds a grid of them.
    """
    if max(size) > 1:
        raise ValueError(
            f"{name}: this is a grid of {' x '.join(map(str, size))} voxels; a single voxel is "
            "expected, export one of them."
        )


def box_ras(
    center_lps: np.ndarray, sides_mm: np.ndarray, axes_lps: np.ndarray
) -> np.ndarray | None:
    """The matrix of a voxel from what scanners write; None where a size is missing.

    Args:
        center_lps: in DICOM's coordinates, mm.
        sides_mm: lengths along the three axes.
        axes_lps: their directions, shape (3, 3), one a row.
    """
    sides = np.asarray(sides_mm, float)
    if not (np.all(np.isfinite(sides)) and np.all(sides > 0)):
        return None
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(axes_lps, float).T * sides
    matrix[:3, 3] = center_lps
    matrix[:2] *= -1
    return matrix
