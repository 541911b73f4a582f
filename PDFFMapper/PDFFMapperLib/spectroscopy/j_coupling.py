"""What J coupling leaves of each of fat's peaks at the echo, and how it goes on from there.

Density matrices of fragments of a triglyceride that are small enough (up to nine protons), with
ideal pulses; PRESS with its two echoes (of equal length where the first is not known), STEAM with
the zero-quantum coherence of its mixing time. Most of a chain is coupled strongly (methyl lies .4
ppm from methylene, which itself loses to its neighbors), so that first order is wrong: PRESS of 30
ms at 3 T leaves .63 of methyl and all of methylene by it, .78 and .89 by density matrices. From the
echo on multiplets evolve: what is left of allylic protons falls to a half within 10 ms by that
alone, of methyl to .86.

Coupling constants (Hz): methyl to methylene 6.9 and olefinic to allylic 7, of Schaumburg and
Bernstein 1968 (Lipids 3:193) as used in the SimnTG simulations of Ouwerkerk; 7 for all other
vicinal protons of the chain; 10.9 of olefins to each other and glycerol's -11.9 within CH2, 5.9 and
4.3 to CH, for which no source was read: SimnTG has 5.9 within CH2 and 11.4 to 11.9 to CH. Protons
of one sp3 carbon couple negatively (about -12 Hz), those of neighbors positively (H. J. Reich,
Structure determination using NMR, University of Wisconsin, 5.3). CH of glycerol is one proton
beside 2 ndb of olefins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from PDFFMapperLib.spectroscopy.rows import PRESS, STEAM
from PDFFMapperLib.spectroscopy.triglyceride import (
    ALLYLIC,
    METHYLENE,
    OLEFINIC,
    PPM,
    protons,
)

TYPICAL_NDB, TYPICAL_NMIDB = 2.9, 0.75  # of the fat whose methylene and olefins are weighed
COARSEST_HZ = 0.13  # bins of transitions, by frequency
LEAST_SEEN = 1e-9  # of a spin's magnetization, that a transition counts from

# Coupled protons of each peak: (number, J in Hz, their peak). Bulk methylene has its like alone.
_COUPLINGS: tuple[tuple[tuple[int, float, int], ...], ...] = (
    ((2, 6.9, 1),),
    (),
    ((2, 7.0, 1), (2, 7.0, 4)),
    ((1, 7.0, 9), (2, 7.0, 1)),
    ((2, 7.0, 2),),
    ((2, 7.0, 9),),
    ((1, -11.9, 7), (1, 5.9, 8)),
    ((1, -11.9, 6), (1, 4.3, 8)),
    ((2, 5.9, 6), (2, 4.3, 7)),
    ((2, 7.0, 3),),
)


@dataclass(frozen=True)
class Fragment:
    """Protons that are simulated together.

    Attributes:
        groups: of equal protons: name, number and peak.
        couplings: two groups, and J (Hz) of each proton of one with each of the other.
    """

    groups: tuple[tuple[str, int, int], ...]
    couplings: tuple[tuple[str, str, float], ...]


FRAGMENTS = (
    Fragment(
        (("methyl", 3, 0), ("omega-1", 2, 1), ("omega-2", 2, 1), ("omega-3", 2, 1)),
        (("methyl", "omega-1", 6.9), ("omega-1", "omega-2", 7.0), ("omega-2", "omega-3", 7.0)),
    ),
    Fragment(
        (("alpha", 2, 4), ("beta", 2, 2), ("gamma", 2, 1), ("delta", 2, 1)),
        (("alpha", "beta", 7.0), ("beta", "gamma", 7.0), ("gamma", "delta", 7.0)),
    ),
    Fragment(
        (("second", 2, 1), ("next", 2, 1), ("allylic", 2, 3), ("near", 1, 9), ("far", 1, 9)),
        (
            ("second", "next", 7.0), ("next", "allylic", 7.0), ("allylic", "near", 7.0),
            ("near", "far", 10.9),
        ),
    ),
    Fragment(
        (("before", 2, 3), ("mono", 1, 9), ("mono'", 1, 9), ("behind", 2, 3)),
        (("before", "mono", 7.0), ("mono", "mono'", 10.9), ("mono'", "behind", 7.0)),
    ),
    Fragment(
        (
            ("outer", 2, 3), ("di", 1, 9), ("di'", 1, 9), ("diallylic", 2, 5), ("other", 1, 9),
            ("last", 1, 9),
        ),
        (
            ("outer", "di", 7.0), ("di", "di'", 10.9), ("di'", "diallylic", 7.0),
            ("diallylic", "other", 7.0), ("other", "last", 10.9),
        ),
    ),
    Fragment(
        (("a", 1, 6), ("b", 1, 7), ("a'", 1, 6), ("b'", 1, 7), ("CH", 1, 8)),
        (
            ("a", "b", -11.9), ("a'", "b'", -11.9), ("a", "CH", 5.9), ("a'", "CH", 5.9),
            ("b", "CH", 4.3), ("b'", "CH", 4.3),
        ),
    ),
)  # fmt: skip


def j_factors(
    sequence: str,
    te_ms: float,
    tm_ms: float = math.nan,
    frequency_mhz: float = math.nan,
    te1_ms: float = math.nan,
) -> np.ndarray:
    """What J evolution leaves of each peak's area at the echo, shape (10,).

    Args:
        sequence: PRESS, STEAM or NONE.
        te_ms: echo time in ms.
        tm_ms: mixing time of STEAM; NaN takes what is left of the mean over mixing times.
        frequency_mhz: of the transmitter; without it all is of first order.
        te1_ms: of PRESS the first echo time; NaN takes half of the echo time.
    """
    if sequence in (PRESS, STEAM) and not math.isnan(frequency_mhz):
        return j_signals(sequence, te_ms, tm_ms, frequency_mhz, te1_ms)[:, 0].real
    return first_order(sequence, te_ms, tm_ms, frequency_mhz)


def j_signals(
    sequence: str,
    te_ms: float,
    tm_ms: float,
    frequency_mhz: float,
    te1_ms: float = math.nan,
    points: int = 1,
    dwell_s: float = 1.0,
    couplings: float = 1.0,
) -> np.ndarray:
    """Each peak over time from the echo on, by J evolution alone, shape (10, points), complex.

    It starts with the factors of `j_factors`; signals turn relative to their peak.

    Args:
        sequence, te_ms, tm_ms, frequency_mhz, te1_ms: as of `j_factors`.
        points, dwell_s: how many, and seconds between them.
        couplings: what all coupling constants are multiplied by.
    """
    if sequence not in (PRESS, STEAM):
        return np.ones((len(PPM), points), complex)
    inner = te1_ms if sequence == PRESS else tm_ms
    known = None if math.isnan(inner) else float(inner)
    facts = float(te_ms), known, round(float(frequency_mhz), 1), points, float(dwell_s)
    return coupled_signals(scaled(couplings), sequence, *facts)


@cache
def scaled(couplings: float) -> tuple[Fragment, ...]:
    """FRAGMENTS whose coupling constants are multiplied."""
    return tuple(
        replace(one, couplings=tuple((a, b, couplings * j) for a, b, j in one.couplings))
        for one in FRAGMENTS
    )


def first_order(
    sequence: str, te_ms: float, tm_ms: float = math.nan, frequency_mhz: float = math.nan
) -> np.ndarray:
    """The same for shifts that are far larger than couplings.

    PRESS: cos(pi J TE) for each coupled proton. A stimulated echo has a TE/2 on either side of
    the mixing time: what is stored along z gives cos^2(pi J TE/2) for each, and what the second
    pulse makes zero-quantum coherence, which no gradient spoils, turns at the difference of both
    shifts during the mixing time; for each coupled proton it gives
    -sin^2(pi J TE/2)/2 cos(2 pi d TM) (1 - cos(pi d TE)), and less by the other protons. The
    protons of a group are taken alike.
    """
    te_s, tm_s = te_ms / 1000, tm_ms / 1000
    factors = np.ones(len(PPM))
    for peak, groups in enumerate(_COUPLINGS):
        coupled = [(j, other) for number, j, other in groups for _ in range(number)]
        halves = [math.cos(math.pi * j * te_s / 2) ** 2 for j, _ in coupled]
        if sequence == PRESS:
            factors[peak] = math.prod(math.cos(math.pi * j * te_s) for j, _ in coupled)
        elif sequence == STEAM:
            factors[peak] = math.prod(halves)
            if math.isnan(tm_s) or math.isnan(frequency_mhz):
                continue
            for n, (_, other) in enumerate(coupled):
                turns = 2 * math.pi * (PPM[other] - PPM[peak]) * frequency_mhz
                passive = math.prod(
                    half * math.cos(math.pi * j * tm_s)
                    for k, ((j, _), half) in enumerate(zip(coupled, halves, strict=True))
                    if k != n
                )
                mixed = math.cos(turns * tm_s) * (1 - math.cos(turns * te_s / 2))
                factors[peak] -= (1 - halves[n]) / 2 * mixed * passive
    return factors


@cache
def coupled_signals(
    fragments: tuple[Fragment, ...],
    sequence: str,
    te_ms: float,
    inner_ms: float | None,
    frequency_mhz: float,
    points: int = 1,
    dwell_s: float = 1.0,
    bonds: tuple[float, float] = (TYPICAL_NDB, TYPICAL_NMIDB),
) -> np.ndarray:
    """`j_signals` of fragments with the groups' names of FRAGMENTS.

    The inner time is TE1 of PRESS or TM of STEAM, None where it is not known; bonds are ndb and
    nmidb, by which methylene and olefins are weighed.
    """
    how = te_ms, frequency_mhz, inner_ms, points, dwell_s
    left: dict[str, np.ndarray] = {}
    for fragment in fragments:
        left |= echo(fragment, *how) if sequence == PRESS else stimulated_echo(fragment, *how)
    typical = protons(*bonds)
    signals = np.ones((len(PPM), points), complex)
    for peak, name in enumerate(
        ("methyl", "", "beta", "allylic", "alpha", "diallylic", "a", "b", "CH")
    ):
        signals[peak] = left.get(name, 1.0)
    # Six of each at the chains' ends, as many beside a double bond as allylic ones; the rest keep.
    lost = 6 * sum(1 - left[name] for name in ("omega-1", "omega-2", "gamma", "delta"))
    lost += typical[ALLYLIC] * sum(1 - left[name] for name in ("next", "second"))
    signals[METHYLENE] = 1 - lost / typical[METHYLENE]
    dienes = 2 * bonds[1] / bonds[0]  # share of the olefins
    signals[OLEFINIC] = (1 - dienes) * left["mono"] + dienes * (left["di"] + left["di'"]) / 2
    signals.flags.writeable = False
    return signals


def echo(
    fragment: Fragment,
    te_ms: float,
    frequency_mhz: float,
    te1_ms: float | None = None,
    points: int = 1,
    dwell_s: float = 1.0,
) -> dict[str, np.ndarray]:
    """Share of each group's magnetization that is seen from the echo of PRESS on, shape (points,).

    Without a first echo time (te1_ms) both echoes are of equal length.
    """
    te1_ms = te_ms / 2 if te1_ms is None else te1_ms
    energies, states, spins = _solved(fragment, frequency_mhz)
    # A pulse of 180 degrees about the magnetization turns all spins over, in any order of states.
    turned_over = states.T @ states[::-1]
    first, middle, last = (
        np.exp(-2j * np.pi * energies * time / 2e3) for time in (te1_ms, te_ms, te_ms - te1_ms)
    )
    evolved = (last[:, None] * turned_over * middle) @ (turned_over * first)
    start = states.T @ sum(spins.values()) @ states
    return _seen(fragment, evolved @ start @ evolved.conj().T, frequency_mhz, points, dwell_s)


def stimulated_echo(
    fragment: Fragment,
    te_ms: float,
    frequency_mhz: float,
    tm_ms: float | None = None,
    points: int = 1,
    dwell_s: float = 1.0,
) -> dict[str, np.ndarray]:
    """Share of each group's magnetization that is seen from the echo of STEAM on, shape (points,).

    Gradients keep what turns once before the mixing time (None: the mean over all), not at all
    during it, and once the other way behind it.
    """
    energies, states, spins = _solved(fragment, frequency_mhz)
    count = len(energies)
    order = _order(count)
    turn = np.ones((1, 1))
    while len(turn) < count:  # a pulse of 90 degrees, spin by spin
        turn = np.kron(turn, np.array([[1, -1], [1, 1]]) / np.sqrt(2))

    def evolved(density: np.ndarray, time_ms: float | None) -> np.ndarray:
        """In the basis of states."""
        density = _sandwiched(states.T, density)
        if time_ms is None:
            return np.diag(np.diag(density))
        turns = np.exp(-2j * np.pi * energies * time_ms / 1e3)
        return density * np.multiply.outer(turns, turns.conj())

    density = sum(spins.values())
    for kept, pulse, time in ((1, None, te_ms / 2), (0, turn, tm_ms), (-1, turn.T, te_ms / 2)):
        if pulse is not None:
            density = _sandwiched(pulse, _sandwiched(states, density))
        density = evolved(np.where(order == kept, density, 0), time)
    seen = _seen(fragment, density.conj().T, frequency_mhz, points, dwell_s)
    # Half of the signal is in the stimulated echo, half of that in one of two such paths.
    return {name: 2 * signal for name, signal in seen.items()}


def _order(count: int) -> np.ndarray:
    """How many spins more are up in one state of the spins than in another."""
    ups = np.array([bin(n).count("1") for n in range(count)])
    return np.subtract.outer(ups, ups)


def _seen(
    fragment: Fragment, density: np.ndarray, frequency_mhz: float, points: int, dwell_s: float
) -> dict[str, np.ndarray]:
    """Each group's signal over time, over that of all its magnetization, relative to its peak.

    The density matrix is in the basis of states; its transitions are sorted by frequency, into
    bins of COARSEST_HZ or less.
    """
    bins = 1 << math.ceil(math.log2(max(1 / (dwell_s * COARSEST_HZ), points)))
    energies, states, spins = _solved(fragment, frequency_mhz)
    turning = np.subtract.outer(energies, energies).T
    middle = np.average(
        [PPM[p] for *_, p in fragment.groups], weights=[n for _, n, _ in fragment.groups]
    )
    signals = {}
    for name, _, peak in fragment.groups:
        spin = spins[name]
        seen = (states.T @ np.where(_order(len(energies)) == -1, spin, 0) @ states).T
        used = np.abs(seen) > LEAST_SEEN
        hz = turning[used] - (PPM[peak] - middle) * frequency_mhz
        places = np.rint(hz * dwell_s * bins).astype(int) % bins
        weights = density[used] * seen[used]
        lines = np.bincount(places, weights.real, bins) + 1j * np.bincount(
            places, weights.imag, bins
        )
        signals[name] = 2 * bins * np.fft.ifft(lines)[:points] / np.sum(spin * spin)
    return signals


def _sandwiched(real: np.ndarray, density: np.ndarray) -> np.ndarray:
    """A complex matrix between a real one and its transpose; as real products, for speed."""
    return real @ density.real @ real.T + 1j * (real @ density.imag @ real.T)


@cache
def _solved(
    fragment: Fragment, frequency_mhz: float
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Energies (Hz) and states of a fragment, and each group's magnetization across the field."""
    places: dict[str, list[int]] = {}
    ppm: list[float] = []
    for name, number, peak in fragment.groups:
        places[name] = list(range(len(ppm), len(ppm) + number))
        ppm += [PPM[peak]] * number
    count = 2 ** len(ppm)
    states = np.arange(count)
    up = 0.5 - (states[:, None] >> np.arange(len(ppm)) & 1)
    hz = (np.array(ppm) - np.mean(ppm)) * frequency_mhz
    energy = np.diag(up @ hz)
    for one, other, j in fragment.couplings:
        for a in places[one]:
            for b in places[other]:
                energy[states, states] += j * up[:, a] * up[:, b]
                apart = states[up[:, a] != up[:, b]]
                energy[apart, apart ^ (1 << a) ^ (1 << b)] += j / 2
    spins = {}
    for name, members in places.items():
        spins[name] = np.zeros((count, count))
        for one in members:
            spins[name][states, states ^ (1 << one)] = 0.5
    return *np.linalg.eigh(energy), spins
