"""Steady state of bone's water beside macromolecules under a train of MT pulses and UTE spokes.

Coupled Bloch equations of two pools through the real pulse (its shape cut into steps of constant
amplitude, each solved exactly), spoiled after pulse and spokes; one repetition is then an affine
map of both longitudinal magnetizations, and its fixed point a linear system of two equations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

LINE_SHAPES = ("gaussian", "super-lorentzian", "lorentzian")
PULSE_SHAPES = ("fermi", "gaussian", "hard")
R1_MACROMOLECULES = 1.0  # 1/s, by convention: it is not determined by the data
_REGULAR_HZ = 1500.0  # a super-Lorentzian has no value at resonance; nearer it is that of here
_STEP = 1 / 10  # of the amplitude of a pulse, in one step
_TAYLOR = 8


@dataclass(frozen=True)
class Train:
    """One UTE-MT protocol: each repetition is an MT pulse and then spokes.

    Attributes:
        flips_deg, offsets_hz: of the MT pulse of each image; a flip of 0 is no pulse.
        tr_ms: from one MT pulse to the next.
        pulse_ms, pulse_shape: of the MT pulse; see `PULSE_SHAPES`.
        spokes, spoke_ms: how many follow a pulse, and from one to the next; the first comes
            `delay_ms` after the pulse.
        excite_deg, excite_ms: of the pulse of each spoke.
        line_shape: of macromolecules; see `LINE_SHAPES`.
    """

    flips_deg: np.ndarray
    offsets_hz: np.ndarray
    tr_ms: float
    pulse_ms: float = 8.0
    pulse_shape: str = "fermi"
    spokes: int = 9
    spoke_ms: float = 5.0
    delay_ms: float = 1.0
    excite_deg: float = 7.0
    excite_ms: float = 0.06
    line_shape: str = "gaussian"

    def seen_from(self, b0_hz: float) -> Train:
        """The protocol as water sees it that is off resonance."""
        return replace(self, offsets_hz=np.asarray(self.offsets_hz, float) - b0_hz)

    @property
    def rest_ms(self) -> float:
        """From the last spoke to the next MT pulse."""
        return self.tr_ms - self.pulse_ms - self.delay_ms - (self.spokes - 1) * self.spoke_ms

    def mean_square(self) -> np.ndarray:
        """Of the MT field, w1^2 in rad^2/s^2, over a repetition: the power of continuous waves."""
        steps, levels = pulse_steps(self.pulse_shape)
        area, power = steps @ levels, steps @ levels**2
        peak = np.deg2rad(self.flips_deg) / (area * self.pulse_ms * 1e-3)
        return peak**2 * power * self.pulse_ms / self.tr_ms


def pulse_steps(shape: str) -> tuple[np.ndarray, np.ndarray]:
    """A symmetric pulse in steps of constant amplitude: their shares of its length and levels.

    Levels are those of equal power; Fermi: half of the amplitude at 0.4 of the length from its
    middle, with a width of 0.03; Gaussian: 1 % of its peak at its ends.
    """
    fine = (np.arange(20000) + 0.5) / 40000  # from the middle to an end
    if shape == "hard":
        return np.ones(1), np.ones(1)
    if shape == "fermi":
        level = 1 / (1 + np.exp((fine - 0.4) / 0.03))
        level /= level[0]
    else:
        level = np.exp(-np.log(100) * (2 * fine) ** 2)
    group = np.floor((1 - level) / _STEP + 0.5).astype(int)
    found = [fine[group == n] for n in np.unique(group)]
    share = np.array([len(one) / 40000 for one in found])
    levels = np.array([np.sqrt(np.mean(level[group == n] ** 2)) for n in np.unique(group)])
    return np.concatenate([share[::-1], share]), np.concatenate([levels[::-1], levels])


def line_shape(name: str, offset_hz: np.ndarray, t2_s: np.ndarray) -> np.ndarray:
    """Absorption line of macromolecules in s, as Morrison and Henkelman name them.

    Args:
        name: see `LINE_SHAPES`.
        offset_hz, t2_s: of shapes that broadcast.
    """
    away = np.abs(np.asarray(offset_hz, float))
    if name == "gaussian":
        return t2_s / np.sqrt(2 * np.pi) * np.exp(-0.5 * (2 * np.pi * away * t2_s) ** 2)
    if name == "lorentzian":
        return t2_s / np.pi / (1 + (2 * np.pi * away * t2_s) ** 2)
    away = np.maximum(away, _REGULAR_HZ)
    u = (np.arange(2000) + 0.5) / 2000
    angle = np.abs(3 * u**2 - 1)
    turn = (2 * np.pi * away * t2_s)[..., None] / angle
    return np.mean(np.sqrt(2 / np.pi) * np.exp(-2 * turn**2) / angle, axis=-1) * t2_s


def rates_of(
    mmf: np.ndarray, exchange: np.ndarray, r1_observed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """R1 of water and rate from water to macromolecules, in 1/s.

    Args:
        mmf: share of macromolecules among all protons, 0 to 1.
        exchange: rate from macromolecules to water, 1/s.
        r1_observed: the slow one of both rates by which the coupled pools recover, 1/s.
    """
    to_pool = exchange * mmf / (1 - mmf)
    apart = R1_MACROMOLECULES - r1_observed
    return r1_observed - to_pool * apart / (apart + exchange), to_pool


@dataclass(frozen=True)
class TwoPools:
    """Water beside macromolecules, P truths; one number stands for all of them.

    Attributes:
        mmf: share of macromolecules among all protons, 0 to 1.
        t2m_us: T2 of macromolecules, us.
        exchange: rate from macromolecules to water, 1/s.
        t2w_ms: T2 of water, ms.
        r1_observed: see `rates_of`, 1/s.
        b1: true over nominal field.
    """

    mmf: np.ndarray
    t2m_us: np.ndarray
    exchange: np.ndarray
    t2w_ms: np.ndarray
    r1_observed: np.ndarray
    b1: np.ndarray

    def arrays(self) -> tuple[np.ndarray, ...]:
        """All of them, shape (P,)."""
        return np.broadcast_arrays(*np.atleast_1d(*vars(self).values()))


def train_signals(train: Train, pools: TwoPools) -> np.ndarray:
    """Water's longitudinal magnetization over its equilibrium, mean of all spokes.

    Args:
        train: the protocol of C images.
        pools: P truths.

    Returns:
        Shape (P, C).
    """
    mmf, t2m_us, exchange, t2w_ms, r1, b1 = pools.arrays()
    r1w, to_pool = rates_of(mmf, exchange, r1)
    ratio = mmf / (1 - mmf)
    slow = np.zeros((len(mmf), 3, 3))  # water, macromolecules, 1
    slow[:, 0, 0], slow[:, 0, 1], slow[:, 0, 2] = -r1w - to_pool, exchange, r1w
    slow[:, 1, 0], slow[:, 1, 1] = to_pool, -R1_MACROMOLECULES - exchange
    slow[:, 1, 2] = R1_MACROMOLECULES * ratio
    waits = np.array([train.delay_ms, train.spoke_ms, train.rest_ms])
    after, between, rest = np.moveaxis(
        _exponential(slow[:, None] * 1e-3 * waits[:, None, None]), 1, 0
    )
    excite = np.zeros_like(slow)
    flip = np.deg2rad(train.excite_deg) * b1
    w1 = flip / (train.excite_ms * 1e-3)
    lost = np.pi * w1**2 * line_shape(train.line_shape, 0.0, 1e-6 * t2m_us) * train.excite_ms * 1e-3
    excite[:, 0, 0], excite[:, 1, 1], excite[:, 2, 2] = np.cos(flip), np.exp(-lost), 1
    pulse = _pulse(train, slow, 1e-6 * t2m_us, 1e-3 * t2w_ms, b1)
    now, rows = after[:, None] @ pulse, []
    for n in range(train.spokes):
        rows.append(now[:, :, 0])
        now = excite[:, None] @ now
        now = (between if n + 1 < train.spokes else rest)[:, None] @ now
    system = np.eye(2) - now[..., :2, :2]
    steady = np.linalg.solve(system, now[..., :2, 2:])[..., 0]
    seen = np.mean(rows, axis=0)
    return np.einsum("pcz,pcz->pc", seen[..., :2], steady) + seen[..., 2]


def _pulse(
    train: Train,
    slow: np.ndarray,
    t2m_s: np.ndarray,
    t2w_s: np.ndarray,
    b1: np.ndarray,
) -> np.ndarray:
    """What the MT pulse does to water, macromolecules and 1: shape (P, C, 3, 3)."""
    shares, levels = pulse_steps(train.pulse_shape)
    seconds = 1e-3 * train.pulse_ms * shares
    half = (len(levels) + 1) // 2
    peak = np.deg2rad(train.flips_deg) / (seconds @ levels)
    w1 = b1[:, None, None] * peak[:, None] * levels[:half]  # truth, image, step
    turn = 2 * np.pi * train.offsets_hz
    shape = line_shape(train.line_shape, train.offsets_hz, t2m_s[:, None])
    whole = np.zeros((*w1.shape, 5, 5))  # x, y, water, macromolecules, 1
    whole[..., 2:, 2:] = slow[:, None, None]
    whole[..., 0, 0] = whole[..., 1, 1] = -1 / t2w_s[:, None, None]
    whole[..., 0, 1], whole[..., 1, 0] = turn[:, None], -turn[:, None]
    whole[..., 1, 2], whole[..., 2, 1] = w1, -w1
    whole[..., 3, 3] -= np.pi * w1**2 * shape[..., None]
    steps = _exponential(whole * seconds[:half, None, None])
    state = np.zeros((*w1.shape[:2], 5, 3))
    state[..., 2:, :] = np.eye(3)
    for n in (*range(half), *reversed(range(len(levels) - half))):
        state = steps[:, :, n] @ state
    return state[..., 2:, :]


def _exponential(matrices: np.ndarray) -> np.ndarray:
    """Of square matrices of any number, by a Taylor series of a fraction, squared again."""
    size = float(np.abs(matrices).sum(axis=-1).max())
    halvings = max(int(np.ceil(np.log2(max(size, 1e-9) / 0.25))), 0)
    small = matrices / 2.0**halvings
    found = np.broadcast_to(np.eye(matrices.shape[-1]), matrices.shape)
    for n in range(_TAYLOR, 0, -1):
        found = np.eye(matrices.shape[-1]) + small @ found / n
    for _ in range(halvings):
        found = found @ found
    return found


def ramani(train: Train, pools: TwoPools) -> np.ndarray:
    """The closed form of continuous waves of equal mean power, for comparison with papers.

    Ramani 2002, in the form that qMRLab codes; arguments as `train_signals`.
    """
    mmf, t2m_us, k, t2w_ms, r1, b1 = (one[:, None] for one in pools.arrays())
    ra, to_pool = rates_of(mmf, k, r1)
    square = b1**2 * train.mean_square()
    rf = np.pi * square * line_shape(train.line_shape, train.offsets_hz, 1e-6 * t2m_us)
    rb, away = R1_MACROMOLECULES, 2 * np.pi * np.asarray(train.offsets_hz, float)
    direct = square / away**2 / (ra * 1e-3 * t2w_ms)
    fed = to_pool / ra
    return (rb * fed + rf + rb + k) / (fed * (rb + rf) + (1 + direct) * (rf + rb + k))
