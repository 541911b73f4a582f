"""Which way the frequency axis runs and what lies in its middle, found from fat and water."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from PDFFMapperLib.spectroscopy.spectrum import noise_alone
from PDFFMapperLib.spectroscopy.triglyceride import PPM, WATER_PPM, protons

ASSUMED_CENTER_PPM = 4.7
FARTHEST_PPM = 1.2
SURE = 1.5
MUCH_BETTER = 3.0
_SEARCHED_PPM = 4.5
_SIDES = {1: "faster", -1: "slower"}
_WIDTHS_HZ = (15.0, 30.0, 50.0, 80.0, 120.0)
_NO_DELAY = (0.0,)
_DELAYS_S = tuple(np.arange(-3, 13) * 1e-4)  # of the first point after the top of the echo
# Misfit and shift in ppm by the sense, and by whether far from the center as well.
_Misfits = dict[tuple[int, bool], tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """The frequency axis: +1 if peaks of higher ppm turn faster, and what turns not at all."""

    sense: int
    center_ppm: float
    notes: tuple[str, ...] = ()


def find_axis(
    fids: np.ndarray,
    dwell_s: float,
    frequency_mhz: float,
    sense: int | None,
    center_ppm: float | None,
    name: str,
    left_by_j: np.ndarray | None = None,
) -> Axis:
    """Where fat and water lie, by their patterns.

    Args:
        fids: complex, shape (spectra, points).
        dwell_s: seconds between points.
        frequency_mhz: of the transmitter.
        sense: of the file's format; None where that says nothing.
        center_ppm: what the transmitter stands on, where the user says so.
        name: of the spectrum, for sentences.
        left_by_j: share of each fat peak that J coupling leaves, shape (10,); None is all.

    Raises:
        ValueError: the sense cannot be told, or fat and water lie too far from where they should.
    """
    expected = ASSUMED_CENTER_PPM if center_ppm is None else center_ppm
    first = fids[np.argmax(np.sum(np.abs(fids) ** 2, axis=1))]
    shares = protons(2.9, 0.75) * (1.0 if left_by_j is None else left_by_j)

    def tried(center: float, delays: Sequence[float]) -> _Misfits:
        return _best_misfits(first, dwell_s, frequency_mhz, center, shares, delays)

    misfits, delays = _with_delays(lambda delays: tried(expected, delays), sense)
    found = _nearer(misfits)
    far = min((1, -1), key=lambda one: misfits[one, True][0])
    if misfits[far, True][0] * MUCH_BETTER < misfits[found, False][0]:
        raise ValueError(
            f"{name}: methylene lies {abs(misfits[far, True][1]):.1f} ppm from where it should be "
            f"if the transmitter stands on {expected:.2f} ppm; say with --center what it stands on."
        )
    if sense not in (None, found) and misfits[sense, True][0] < misfits[found, False][0]:
        raise ValueError(
            f"{name}: if the transmitter stands on {expected:.2f} ppm, fat lies on the other side "
            f"of water than this format has it; on {expected - misfits[sense, True][1]:.2f} ppm it "
            "would not. Say with --center what it stands on, and with --sense whether peaks of "
            "higher ppm turn faster (+1) or slower (-1)."
        )
    sure = _is_sure(misfits)
    if not sure and sense is None:
        raise ValueError(
            f"{name}: it cannot be told whether fat lies above or below water; say with --sense "
            "whether peaks of higher ppm turn faster (+1) or slower (-1)."
        )
    notes = []
    if sure and sense is not None and found != sense:
        notes.append("Fat lies on the other side of water than this format has it; it was turned.")
    chosen = found if sure else sense
    if center_ppm is not None:
        usual = tried(ASSUMED_CENTER_PPM, delays)
        one = min((1, -1) if sense is None else (chosen,), key=lambda one: usual[one, False][0])
        if usual[one, False][0] * SURE < misfits[chosen, False][0]:
            raise ValueError(
                f"{name}: fat and water fit worse if the transmitter stands on {expected:.2f} ppm "
                f"than on {ASSUMED_CENTER_PPM - usual[one, False][1]:.2f} ppm; check --center, or "
                "leave it out."
            )
        mirrored = usual[-chosen, False]
        if sense is None and mirrored[0] < SURE * misfits[chosen, False][0]:
            raise ValueError(
                f"{name}: on {expected:.2f} ppm peaks of higher ppm would turn {_SIDES[chosen]}, "
                f"and about as much is explained if they turn {_SIDES[-chosen]} and the "
                f"transmitter stands on {ASSUMED_CENTER_PPM - mirrored[1]:.2f} ppm; check "
                "--center, and say with --sense whether they turn faster (+1) or slower (-1)."
            )
    center = expected - misfits[chosen, False][1]
    told = "found from the data" if sure else "by the format"
    notes.append(
        f"Peaks of higher ppm turn {_SIDES[chosen]}, {told}; the transmitter stands on "
        f"{center:.2f} ppm."
    )
    return Axis(chosen, center, tuple(notes))


def _nearer(misfits: _Misfits) -> int:
    """The sense whose patterns leave less."""
    return min((1, -1), key=lambda one: misfits[one, False][0])


def _is_sure(misfits: _Misfits) -> bool:
    """Whether one sense leaves clearly less than the other."""
    less, more = sorted(misfits[one, False][0] for one in (1, -1))
    return more > SURE * less


def _with_delays(
    tried: Callable[[Sequence[float]], _Misfits], sense: int | None
) -> tuple[_Misfits, Sequence[float]]:
    """Misfits, and the delays they are of: where they alone tell the sense, of a late first point.

    Without a sense of the format only; that of one phase decides wherever it does.
    """
    plain = tried(_NO_DELAY)
    if sense is None and not _is_sure(plain) and _is_sure(late := tried(_DELAYS_S)):
        return late, _DELAYS_S
    return plain, _NO_DELAY


def _best_misfits(
    signal: np.ndarray,
    dwell_s: float,
    frequency_mhz: float,
    center_ppm: float,
    shares: np.ndarray,
    delays: Sequence[float],
) -> _Misfits:
    """Misfit and shift in ppm of each sense, not far from the center and also far from it."""
    noise = float(np.mean(np.abs(signal[noise_alone(len(signal))]) ** 2)) * len(signal)
    best = {}
    for one in (1, -1):
        fid = signal if one > 0 else signal.conj()
        shifts, left = _misfits(fid, dwell_s, frequency_mhz, center_ppm, shares, delays)
        for far in (False, True):
            allowed = np.abs(shifts) <= (_SEARCHED_PPM if far else FARTHEST_PPM)
            n = int(np.argmin(np.where(allowed, left, np.inf)))
            best[one, far] = (max(left[n] - noise, noise / 20), float(shifts[n]))
    return best


def _misfits(
    fid: np.ndarray,
    dwell_s: float,
    frequency_mhz: float,
    center_ppm: float,
    shares: np.ndarray,
    delays: Sequence[float],
) -> tuple[np.ndarray, np.ndarray]:
    """Shifts in ppm, and the energy that patterns of fat and water leave at each.

    Both have one phase, but for what they turn in the best of some delays of the first point.

    All shifts are tried at once: what a turned pattern explains is a Fourier transform.
    """
    points = len(fid)
    t = np.arange(points) * dwell_s
    shifts = np.fft.fftfreq(2 * points, dwell_s) / frequency_mhz
    near = np.flatnonzero(np.abs(shifts) <= _SEARCHED_PPM)
    least = np.full(len(near), np.inf)
    for width, delay in product(_WIDTHS_HZ, delays):
        since = t + delay
        decay = np.exp(-np.pi * width / 2 * t - (np.pi * width / 2 / 1.665 * t) ** 2)
        turns = np.exp(2j * np.pi * (PPM - center_ppm)[:, None] * frequency_mhz * since)
        fat = (shares / shares.sum()) @ turns * decay
        water = np.exp(2j * np.pi * (WATER_PPM - center_ppm) * frequency_mhz * since) * decay
        patterns = np.array([fat, water])
        seen = np.fft.fft(patterns.conj() * fid, 2 * points, axis=1)[:, near]
        least = np.minimum(least, -_explained(seen, (patterns.conj() @ patterns.T).real))
    return shifts[near], least + float(np.sum(np.abs(fid) ** 2))


def _explained(seen: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """The energy that non-negative amounts of both, at one phase, explain; for each column."""
    inverse = np.linalg.inv(gram)
    squared = np.einsum("in,ij,jn->n", seen, inverse, seen)
    both = (np.einsum("in,ij,jn->n", seen.conj(), inverse, seen).real + np.abs(squared)) / 2
    amounts = inverse @ (seen * np.exp(-0.5j * np.angle(squared))).real
    alone = np.max(np.abs(seen) ** 2 / np.diag(gram)[:, None], axis=0)
    return np.where(amounts[0] * amounts[1] >= 0, both, alone)
