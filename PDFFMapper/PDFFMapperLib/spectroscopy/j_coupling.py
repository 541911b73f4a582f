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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, reduce
from itertools import pairwise, product

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
ALIKE_HZ = 1e-6  # energies, which rounding alone sets apart
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

    def left(part: _Part) -> list[np.ndarray]:
        evolved = []
        for here, there in zip(part.levels, part.levels[::-1], strict=True):
            # A pulse of 180 degrees about the magnetization turns all spins over.
            turned = there.states.T @ here.states[::-1]
            first, last = here.turns(te1_ms / 2), here.turns((te_ms - te1_ms) / 2)
            evolved.append((last[:, None] * turned.T * there.turns(te_ms / 2)) @ (turned * first))
        return [
            after @ both.T @ before.conj().T
            for before, after, both in zip(evolved, evolved[1:], part.lowering(), strict=False)
        ]

    return _seen(fragment, left, frequency_mhz, points, dwell_s)


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

    def left(part: _Part) -> list[np.ndarray]:
        levels = part.levels
        density = {(n + 1, n): both.T for n, both in enumerate(part.lowering())}
        for time, back, order in ((te_ms / 2, False, 0), (tm_ms, True, -1)):
            whole = np.zeros(2 * (sum(len(level.places) for level in levels),), complex)
            for (m, n), block in _evolved(levels, density, time).items():
                places = np.ix_(levels[m].places, levels[n].places)
                whole[places] = levels[m].states @ block @ levels[n].states.T
            whole = part.pulsed(whole, back)
            density = {
                (n, n - order): here.states.T
                @ whole[np.ix_(here.places, levels[n - order].places)]
                @ levels[n - order].states
                for n, here in enumerate(levels[: len(levels) + order])
            }
        # Half of the signal is in the stimulated echo, half of that in one of two such paths.
        density = _evolved(levels, density, te_ms / 2)
        return [2 * block.conj().T for block in density.values()]

    return _seen(fragment, left, frequency_mhz, points, dwell_s)


@dataclass(frozen=True)
class _Level:
    """States of as many spins down: energies (Hz), states (columns), and their places."""

    energies: np.ndarray
    states: np.ndarray
    places: np.ndarray

    def turns(self, time_ms: float) -> np.ndarray:
        """What the energies turn the states by."""
        return np.exp(-2j * np.pi * self.energies * time_ms / 1e3)


@dataclass(frozen=True)
class _Part:
    """A fragment with each group of equal protons as one spin of a certain size.

    Attributes:
        count: how many such parts the fragment holds.
        levels: by spins down, from none on.
        lowered: each group's magnetization across the field, between each level (rows) and the
            next (columns).
        turns: what a pulse of 90 degrees makes of each group, shape (places, places) of its own.
    """

    count: int
    levels: tuple[_Level, ...]
    lowered: dict[str, list[np.ndarray]]
    turns: tuple[np.ndarray, ...]

    def lowering(self) -> list[np.ndarray]:
        """That of all groups."""
        return [sum(blocks) for blocks in zip(*self.lowered.values(), strict=True)]

    def pulsed(self, density: np.ndarray, back: bool) -> np.ndarray:
        """A density matrix between places after the pulse, or after the one that undoes it."""
        turns = [one.T if back else one for one in self.turns]
        found = density.reshape([len(one) for one in turns] * 2)
        for at, one in enumerate(turns * 2):
            found = np.moveaxis(np.tensordot(one, found, (1, at)), 0, at)
        return found.reshape(density.shape)


def _evolved(
    levels: Sequence[_Level], density: dict[tuple[int, int], np.ndarray], time_ms: float | None
) -> dict[tuple[int, int], np.ndarray]:
    """Blocks of a density matrix after a time; None: the mean over all, of what does not turn."""
    if time_ms is None:
        return {
            (m, n): np.where(
                np.abs(np.subtract.outer(levels[m].energies, levels[n].energies)) < ALIKE_HZ,
                block, 0,
            )
            for (m, n), block in density.items()
        }  # fmt: skip
    turns = [level.turns(time_ms) for level in levels]
    return {
        (m, n): block * np.multiply.outer(turns[m], turns[n].conj())
        for (m, n), block in density.items()
    }


def _seen(
    fragment: Fragment,
    left: Callable[[_Part], list[np.ndarray]],
    frequency_mhz: float,
    points: int,
    dwell_s: float,
) -> dict[str, np.ndarray]:
    """Each group's signal over time, over that of all its magnetization, relative to its peak.

    What is `left` of a part is its density matrix between each level but the first (rows) and the
    one before (columns); its transitions are sorted by frequency, into bins of COARSEST_HZ or less.
    """
    bins = 1 << math.ceil(math.log2(max(1 / (dwell_s * COARSEST_HZ), points)))
    middle = np.average(
        [PPM[p] for *_, p in fragment.groups], weights=[n for _, n, _ in fragment.groups]
    )
    lines = {name: ([], []) for name, *_ in fragment.groups}
    whole = dict.fromkeys(lines, 0.0)
    for part in _solved(fragment, frequency_mhz):
        for n, density in enumerate(left(part)):
            here, after = part.levels[n : n + 2]
            turning = np.subtract.outer(here.energies, after.energies).T
            for name, _, peak in fragment.groups:
                seen = part.lowered[name][n].T
                used = np.abs(seen) > LEAST_SEEN
                lines[name][0].append(turning[used] - (PPM[peak] - middle) * frequency_mhz)
                lines[name][1].append(part.count * density[used] * seen[used])
                whole[name] += part.count * np.sum(seen * seen)
    signals = {}
    for name, found in lines.items():
        hz, weights = map(np.concatenate, found)
        places = np.rint(hz * dwell_s * bins).astype(int) % bins
        summed = np.bincount(places, weights.real, bins) + 1j * np.bincount(
            places, weights.imag, bins
        )
        signals[name] = bins * np.fft.ifft(summed)[:points] / whole[name]
    return signals


@cache
def _solved(fragment: Fragment, frequency_mhz: float) -> tuple[_Part, ...]:
    """A fragment's parts: equal protons turn as one spin, of every size that they may add up to.

    So matrices have up to 144 rows where protons one by one have 512, and levels up to 36: products
    of these are too small for BLAS to share them among threads, which would wait for each other.
    """
    sizes = [
        [
            (n / 2 - k, math.comb(n, k) - (math.comb(n, k - 1) if k else 0))
            for k in range(n // 2 + 1)
        ]
        for _, n, _ in fragment.groups
    ]
    return tuple(_part(fragment, frequency_mhz, chosen) for chosen in product(*sizes))


def _part(fragment: Fragment, frequency_mhz: float, sizes: Sequence[tuple[float, int]]) -> _Part:
    """The part in which each group is one spin of a size, and how many such parts there are."""
    names = [name for name, *_ in fragment.groups]
    along, up = {}, {}  # of each spin alone, from most along the field to least
    for name, (size, _) in zip(names, sizes, strict=True):
        m = size - np.arange(round(2 * size) + 1)
        along[name] = np.diag(m)
        up[name] = np.diag(np.sqrt(size * (size + 1) - m[1:] * (m[1:] + 1)), 1)

    def placed(held: dict[str, np.ndarray]) -> np.ndarray:
        """What spins are held by, in all; the others are left as they are."""
        return reduce(np.kron, (held.get(name, np.eye(len(up[name]))) for name in names))

    ppm = np.repeat([PPM[p] for *_, p in fragment.groups], [n for _, n, _ in fragment.groups])
    energy = sum(
        (PPM[peak] - ppm.mean()) * frequency_mhz * placed({name: along[name]})
        for name, _, peak in fragment.groups
    )
    for a, b, j in fragment.couplings:
        flipped = placed({a: up[a], b: up[b].T})
        energy = energy + j * (placed({a: along[a], b: along[b]}) + (flipped + flipped.T) / 2)
    total = sum(placed({name: along[name]}) for name in names).diagonal()
    downs = np.rint(total.max() - total).astype(int)
    levels = []
    for n in range(downs.max() + 1):
        places = np.flatnonzero(downs == n)
        levels.append(_Level(*np.linalg.eigh(energy[np.ix_(places, places)]), places))
    lowered = {}
    for name in names:
        across = placed({name: up[name] / 2})
        lowered[name] = [
            here.states.T @ across[np.ix_(here.places, after.places)] @ after.states
            for here, after in pairwise(levels)
        ]
    turns = []
    for one in up.values():
        angles, axes = np.linalg.eigh(0.5j * (one.T - one))
        turns.append(((axes * np.exp(-0.5j * np.pi * angles)) @ axes.conj().T).real)
    return _Part(math.prod(count for _, count in sizes), tuple(levels), lowered, tuple(turns))
