"""From spectra as files hold them to one series that can be fitted, or a sentence why not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from PDFFMapperLib.spectroscopy.axis import find_axis
from PDFFMapperLib.spectroscopy.combine import combined
from PDFFMapperLib.spectroscopy.eddy import eddy_phase
from PDFFMapperLib.spectroscopy.j_coupling import j_factors
from PDFFMapperLib.spectroscopy.rows import NONE, PRESS, STEAM
from PDFFMapperLib.spectroscopy.spectrum import PROTON, Series, Spectrum

SHORTEST_TE_MS, LONGEST_TE_MS = 5.0, 300.0
TIMES_MS = {  # shortest and longest of what may be unknown
    "tr_ms": ("repetition", 50.0, 60_000.0),
    "ti_ms": ("inversion", 0.0, 20_000.0),
    "te1_ms": ("first echo", 1.0, LONGEST_TE_MS),
    "tm_ms": ("mixing", 0.0, 10_000.0),
}
SHORTEST_TI_MS = 1.0  # 0 states that nothing was inverted
FEWEST_POINTS = 64
_CLIPPED_POINTS = 3
_SAME_VOXEL = 0.5  # of its shortest side, between the centers
ALMOST_NONE = 1e-6  # of a signal's energy, above what single precision rounds
_ASKED = {
    "frequency_mhz": "the transmitter's frequency (--frequency, MHz)",
    "dwell_s": "the dwell time (--dwell-time, s)",
    "te_ms": "the echo time (--te, ms)",
}
# What names of sequences say of an inversion: TI_600, IR, inverted.
_INVERTED = re.compile(r"(?<![a-z])(ti|ir|inv(er[a-z]*)?)(?![a-z])")
_EDDY = "Phases of up to {:.2f} rad that eddy currents add were taken from the water reference."
# What sequences are called by scanners.
_NAMES = {
    PRESS: ("press", "svs_se", "probe-p", "probe_p"),
    STEAM: ("steam", "svs_st", "probe-s", "probe_s"),
}


@dataclass(frozen=True)
class Prepared:
    """A series with what was found on the way; signals of sense -1 were turned.

    `eddy` is what eddy currents added to the phases of the signals as stored.
    """

    series: Series
    sense: int
    suppressed: bool
    notes: list[str]
    eddy: np.ndarray | None = None


def prepared(
    spectra: Sequence[Spectrum],
    sequence: str | None = None,
    sense: int | None = None,
    center_ppm: float | None = None,
    reference: Spectrum | None = None,
) -> Prepared:
    """One series of the spectra of a voxel.

    Args:
        spectra: one for each echo time.
        sequence: PRESS, STEAM or none; None takes that of the files.
        sense, center_ppm: of the frequency axis, where the user states them (see axis.find_axis).
        reference: water alone, which shows eddy currents.

    Raises:
        ValueError: one sentence that says what is wrong or missing.
    """
    notes: list[str] = []
    for one in spectra:
        _check(one)
        notes += one.notes
    first = spectra[0]
    _check_together(spectra)
    signals = []
    for one in spectra:
        signal, said = combined(one.fids, one.dwell_s)
        signals.append(_trimmed(signal))
        notes += [f"{one.name}: {text}" for text in said]
    points = min(map(len, signals))
    fids, eddy = np.array([signal[:points] for signal in signals]), None
    if reference is not None:
        _check_signal(reference)
        eddy = eddy_phase(reference, first, points)
        fids = fids * np.exp(-1j * eddy)
        notes.append(_EDDY.format(np.abs(eddy).max()))
    sequence = sequence or _sequence(spectra)
    strongest = int(np.argmax(np.sum(np.abs(fids) ** 2, axis=1)))
    senses = {one.sense for one in spectra}
    te_ms, tr_ms, ti_ms, tm_ms = (_times(spectra, f"t{x}_ms") for x in "erim")
    ti_ms[ti_ms == 0] = np.nan  # stated to be without
    te1_ms = _times(spectra, "te1_ms")
    _check_steam(sequence, te_ms, tr_ms, tm_ms)
    _check_first_echo(sequence, te_ms, te1_ms)
    axis = find_axis(
        fids,
        first.dwell_s,
        first.frequency_mhz,
        sense if sense is not None else senses.pop() if len(senses) == 1 else None,
        center_ppm,
        first.name,
        j_factors(
            sequence, te_ms[strongest], tm_ms[strongest], first.frequency_mhz, te1_ms[strongest]
        ),
    )
    if sense is not None and axis.sense != sense:
        raise ValueError(
            f"{first.name}: --sense {sense:+d} was given, but fat and water lie otherwise."
        )

    series = Series(
        fids if axis.sense > 0 else fids.conj(),
        first.dwell_s,
        first.frequency_mhz,
        axis.center_ppm,
        te_ms,
        tr_ms,
        ti_ms,
        sequence,
        tm_ms,
        te1_ms,
    )
    return Prepared(
        series, axis.sense, any(one.suppressed for one in spectra),
        list(dict.fromkeys([*notes, *axis.notes])), eddy,
    )  # fmt: skip


def halves(spectra: Sequence[Spectrum], ready: Prepared) -> tuple[Series, Series]:
    """Series of the first and of the second half of the averages, on the axis of the whole."""
    middle = min(len(one.fids) for one in spectra) // 2
    found = []
    for half in (slice(None, middle), slice(middle, None)):
        signals = [combined(one.fids[half], one.dwell_s)[0] for one in spectra]
        fids = np.array([one[: ready.series.fids.shape[1]] for one in signals])
        if ready.eddy is not None:
            fids = fids * np.exp(-1j * ready.eddy)
        found.append(replace(ready.series, fids=fids if ready.sense > 0 else fids.conj()))
    return tuple(found)


def _times(spectra: Sequence[Spectrum], attribute: str) -> np.ndarray:
    """Of each spectrum, in ms; NaN where unknown."""
    found = [getattr(one, attribute) for one in spectra]
    return np.array([np.nan if value is None else value for value in found], float)


def _check(one: Spectrum) -> None:
    if missing := [words for key, words in _ASKED.items() if getattr(one, key) is None]:
        raise ValueError(f"{one.name} does not say {' nor '.join(missing)}; state it.")
    if not (np.isfinite(one.dwell_s) and 2e-5 <= one.dwell_s <= 2e-3):
        raise ValueError(
            f"{one.name}: a dwell time of {one.dwell_s:g} s was given; 0.00002 to 0.002 s is "
            "expected."
        )
    if not 10 <= one.frequency_mhz <= 600:
        raise ValueError(
            f"{one.name}: a frequency of {one.frequency_mhz:g} MHz was given; that of 1H, "
            "10 to 600 MHz, is expected."
        )
    if not SHORTEST_TE_MS <= one.te_ms <= LONGEST_TE_MS:
        raise ValueError(
            f"{one.name}: an echo time of {one.te_ms:g} ms was given; {SHORTEST_TE_MS:g} to "
            f"{LONGEST_TE_MS:g} ms is expected."
        )
    for key, (words, low, high) in TIMES_MS.items():
        time = getattr(one, key)
        if time is not None and not low <= time <= high:
            raise ValueError(
                f"{one.name}: {'an' if words[0] == 'i' else 'a'} {words} time of {time:g} ms was "
                f"given; {low:g} to {high:g} ms is expected."
            )
    if one.ti_ms is not None and 0 < one.ti_ms < SHORTEST_TI_MS:
        raise ValueError(
            f"{one.name}: an inversion time of {one.ti_ms:g} ms was given; {SHORTEST_TI_MS:g} ms "
            "or more is expected, or 0 where nothing was inverted."
        )
    if one.ti_ms is None and _INVERTED.search(one.sequence.lower()):
        raise ValueError(
            f"{one.name}: its sequence is called {one.sequence}, as if signals were inverted, but "
            "the file tells no inversion time; state it (--ti, ms; 0 if nothing was inverted)."
        )
    _check_signal(one)
    _check_complex(one)


def _check_together(spectra: Sequence[Spectrum]) -> None:
    """Refuse spectra of different dwell times or frequencies, and one that is there twice."""
    first = spectra[0]
    for one in spectra[1:]:
        if abs(one.dwell_s / first.dwell_s - 1) > 1e-4:
            raise ValueError(
                f"{one.name} has a dwell time of {1e6 * one.dwell_s:g} us and {first.name} of "
                f"{1e6 * first.dwell_s:g} us; a series shares one."
            )
        if abs(one.frequency_mhz / first.frequency_mhz - 1) > 1e-4:
            raise ValueError(
                f"{one.name} was acquired at {one.frequency_mhz:.3f} MHz and {first.name} at "
                f"{first.frequency_mhz:.3f} MHz; a series shares one."
            )
        if one.voxel_ras is not None and first.voxel_ras is not None:
            apart = np.linalg.norm((one.voxel_ras - first.voxel_ras)[:3, 3])
            if apart > _SAME_VOXEL * np.linalg.norm(first.voxel_ras[:3, :3], axis=0).min():
                raise ValueError(
                    f"{one.name} is of a voxel {apart:.0f} mm from that of {first.name}; a series "
                    "is of one voxel."
                )
    for one, other in combinations(spectra, 2):
        if one.times == other.times and np.array_equal(one.fids, other.fids):
            raise ValueError(
                f"{other.name} holds the same signals as {one.name}; give each spectrum once."
            )


def _check_signal(one: Spectrum) -> None:
    if one.nucleus.replace("<", "").replace(">", "").upper() not in (PROTON, "H1", "1-H", ""):
        raise ValueError(f"{one.name}: this is a spectrum of {one.nucleus}; one of 1H is expected.")
    if not np.all(np.isfinite(one.fids)):
        raise ValueError(f"{one.name}: its signal holds NaN or infinite values; export it again.")
    if not np.any(one.fids):
        raise ValueError(f"{one.name}: its signal is zero; export it again.")
    if one.fids.shape[-1] < FEWEST_POINTS:
        raise ValueError(
            f"{one.name}: {one.fids.shape[-1]} points; {FEWEST_POINTS} or more are expected."
        )
    for signal in one.fids.reshape(-1, one.fids.shape[-1]):
        for part in (signal.real, signal.imag):
            if np.sum(np.abs(part) == np.abs(part).max()) >= _CLIPPED_POINTS and np.any(part):
                raise ValueError(
                    f"{one.name}: the signal is clipped (its largest value is there "
                    f"{np.sum(np.abs(part) == np.abs(part).max())} times); acquire it again with "
                    "less receiver gain."
                )


def _check_complex(one: Spectrum) -> None:
    """Refuse what is left of complex signals in magnitudes or real parts, of signal or spectrum.

    Of the first all values lie on a line through 0; the second run backwards from their end as
    forwards from their start.
    """
    for signal in one.fids.reshape(-1, one.fids.shape[-1]):
        energy = np.sum(np.abs(signal) ** 2)
        if energy == 0:
            continue
        if energy - np.abs(np.sum(signal**2)) < ALMOST_NONE * energy:
            raise ValueError(
                f"{one.name}: its signal has no imaginary part, so it holds magnitudes or real "
                "parts alone; export it complex."
            )
        back = np.abs(signal[:0:-1])
        if np.sum((np.abs(signal[1:]) - back) ** 2) < ALMOST_NONE * np.sum(back**2):
            raise ValueError(
                f"{one.name}: its spectrum holds magnitudes or real parts alone, as its signal "
                "runs backwards from its end as forwards from its start; export it complex."
            )


def _check_steam(sequence: str, te_ms: np.ndarray, tr_ms: np.ndarray, tm_ms: np.ndarray) -> None:
    """Refuse a mixing time that is not STEAM's, or a repetition that is over before its echo."""
    if sequence != STEAM and np.any(tm_ms > 0):
        raise ValueError(
            f"A mixing time of {np.nanmax(tm_ms):g} ms was given, which STEAM alone has; state "
            "--sequence STEAM, or --tm 0 if the file's mixing time means nothing."
        )
    if sequence == STEAM and np.any(tr_ms <= te_ms / 2 + np.nan_to_num(tm_ms)):
        raise ValueError(
            f"A repetition time of {np.nanmin(tr_ms):g} ms was given for a mixing time up to "
            f"{np.nanmax(tm_ms):g} ms, which does not fit in; check both (--tr, --tm, ms)."
        )


def _check_first_echo(sequence: str, te_ms: np.ndarray, te1_ms: np.ndarray) -> None:
    """Refuse a first echo that PRESS alone has, or that is not over at its echo time."""
    if sequence == STEAM and np.any(np.isfinite(te1_ms)):
        raise ValueError(
            f"A first echo time of {np.nanmax(te1_ms):g} ms was given, which PRESS alone has; "
            "leave it out (--te1)."
        )
    if np.any(te1_ms >= te_ms):
        worst = int(np.argmax(te1_ms >= te_ms))
        raise ValueError(
            f"A first echo time of {te1_ms[worst]:g} ms was given for an echo time of "
            f"{te_ms[worst]:g} ms; the first of PRESS's two echoes is shorter than both together "
            "(--te1, ms)."
        )


def _trimmed(signal: np.ndarray) -> np.ndarray:
    """Without zeros that were appended."""
    return signal[: np.flatnonzero(signal)[-1] + 1]


def _sequence(spectra: Sequence[Spectrum]) -> str:
    found = set()
    for one in spectra:
        text = one.sequence.lower()
        known = [name for name, words in _NAMES.items() if any(word in text for word in words)]
        found.add(known[0] if known else NONE if text == NONE else "")
    if len(found) > 1:
        raise ValueError("The spectra are of different sequences; a series shares one.")
    if found == {""}:
        raise ValueError(
            f"{spectra[0].name} does not say whether it is PRESS or STEAM, which J coupling "
            "depends on; state it (--sequence, none where J is not to be corrected)."
        )
    return found.pop()
