"""The signal of water and marrow fat in one voxel, over echo, repetition and inversion times.

s(t, TE) = e^(i phi) sum_k rho_k c_k(t, TE, TM) e^(-TE/T2_k) m_k e^(2 pi i f_k (t + t0))
           e^(-d_k (t + t0) - g_k^2 (t + t0)^2/2 - i a t^3/6 + i sum_n b_n (e^(-t/T_n) - 1)) h(t)

c_k is what J coupling leaves at the echo and from there on (multiplets go on evolving). m_k is what
T1 leaves: 1 - e^(-TR/T1), or 1 - 2 e^(-TI/T1) + e^(-TR/T1) after an inversion. STEAM recovers from
its third pulse, so TR - TM - TE/2 stands for TR, and e^(-TM/T1) is left besides. h is a shape
common to all lines; b_n is what eddy currents add to the phase.

Fat's ten peaks move as one, and apart by one factor where that is asked for; water moves apart from
them, as susceptibility shifts it. The model is compared with the data in the frequency window of
both, where white noise stays white.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache

import numpy as np

from PDFFMapperLib.spectroscopy.j_coupling import j_signals
from PDFFMapperLib.spectroscopy.rows import STEAM
from PDFFMapperLib.spectroscopy.spectrum import Series
from PDFFMapperLib.spectroscopy.triglyceride import (
    CHAIN_LENGTH,
    FREE_GROUPS,
    METHYLENE,
    PPM,
    WATER_PPM,
    proton_slopes,
    protons,
)

Quantity = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""Of the parameters: a quantity and its gradient."""

WINDOW_PPM = (-1.0, 8.0)
MAX_NDB = 9.0
CHAIN_LENGTHS = (12.0, 24.0)
LATEST_S = 6.5e-3  # that the first point may lie off the top of the echo
TURNED_MS = (4.0, 12.0, 40.0)  # within which eddy currents decay
_TURNED = tuple(f"turned{n}" for n in range(len(TURNED_MS)))  # by how much, rad
MOST_STRETCH = 0.12  # of distances between fat's peaks, over 1
LEAST_SMOOTH = 0.05  # SD of a baseline's component, in those of the noise, that counts


@dataclass(frozen=True)
class Choice:
    """What the model leaves to the data.

    Attributes:
        free: whether peaks have amplitudes of their own instead of those of a triglyceride.
        delay: whether the first point may lie off the echo's top.
        methylene_width: whether methylene has a Lorentzian width of its own.
        skew: whether lines may be asymmetric: the field within the voxel has a third cumulant
            beside its mean (shift) and variance (Gaussian width).
        stretch: whether distances between fat's peaks may all be longer by one factor, as a wrong
            dwell time or frequency makes them.
        turned: whether the phase of all lines may turn as eddy currents turn it: by what decays
            within each of TURNED_MS.
        t2: whether T2 of water and fat are fitted (several TE).
        t1: whether T1 of water and fat are fitted (several TR, TI or TM).
        chain_length: whether the length of fat's chains is fitted, with what is known of it.
        polyunsaturated: most nmidb per ndb: 1/2 where no chain has more than two double bonds.
        suppressed: whether water was suppressed: what is left of it has a phase of its own.
        known: values of parameters that are not fitted, by name.
        baseline_ms, baseline_sds: a smooth baseline is expected: a signal at random, whose standard
            deviation is baseline_sds exp(-t^2/(2 baseline_ms^2)) of that of the noise. 0 is none.
        couplings: what all J coupling constants are multiplied by.
        shape: what all lines have in common beside their Voigt shapes, over time; None is nothing.
    """

    free: bool = False
    delay: bool = False
    methylene_width: bool = False
    skew: bool = False
    stretch: bool = False
    turned: bool = False
    t2: bool = False
    t1: bool = False
    chain_length: bool = False
    polyunsaturated: float = 0.5
    suppressed: bool = False
    known: dict[str, float] = field(default_factory=dict)
    baseline_ms: float = 0.0
    baseline_sds: float = 0.0
    couplings: float = 1.0
    shape: np.ndarray | None = None


class SpectrumModel:
    """Prediction and its derivatives, in the frequency window.

    Attributes:
        names: of the parameters, in their order; `at` their places.
        low, high: their bounds.
        soft: prior knowledge: quantities, their values, and the SD of each in SD of the noise.
        data: the window's bins, shape (spectra, bins), over `scale`.
    """

    def __init__(self, series: Series, choice: Choice):
        self.series, self.choice = series, choice
        points = series.fids.shape[1]
        ppm = series.ppm
        if not np.any(ppm < 0.4) or not np.any(ppm > 5.8):
            raise ValueError(
                f"The spectrum is {1 / series.dwell_s:.0f} Hz wide about {series.center_ppm:.2f} "
                "ppm, which leaves out peaks between 0.9 and 5.3 ppm; check the dwell time, or say "
                "with --center what the transmitter stands on."
            )
        self.window = np.flatnonzero((ppm >= WINDOW_PPM[0]) & (ppm <= WINDOW_PPM[1]))
        self.t = np.arange(points) * series.dwell_s
        self.turning = np.exp(-self.t / (np.array(TURNED_MS)[:, None] / 1e3)) - 1
        self.hz = (PPM - series.center_ppm) * series.frequency_mhz
        self.from_methylene_hz = (PPM - PPM[METHYLENE]) * series.frequency_mhz
        self.water_hz = (WATER_PPM - series.center_ppm) * series.frequency_mhz
        self.water_turn = np.exp(2j * np.pi * self.water_hz * self.t)
        times, mhz = (series.te_ms, series.tm_ms, series.te1_ms), series.frequency_mhz
        coupled = [
            j_signals(series.sequence, te, tm, mhz, te1, points, series.dwell_s, choice.couplings)
            for te, tm, te1 in zip(*times, strict=True)
        ]
        self.j = np.array([one[:, 0].real for one in coupled])
        self.turns = np.array(coupled) * np.exp(2j * np.pi * self.hz[:, None] * self.t)
        self.scale = float(np.abs(series.fids[:, :3]).max())
        self.baseline, self.baseline_power = _smooth(
            self.window.tobytes(), points, 1e3 * series.dwell_s, choice.baseline_ms,
            choice.baseline_sds,
        )  # fmt: skip
        self.data = self.in_window(series.fids) / self.scale
        bounds = _bounds(series, choice)
        self.names = list(bounds)
        self.at = {name: n for n, name in enumerate(self.names)}
        self.low, self.high = np.array(list(bounds.values())).T
        self.soft: list[tuple[Quantity, float, float]] = []

    def in_window(self, signals: np.ndarray) -> np.ndarray:
        """The window of the spectra of signals over time, white noise as strong as before.

        Where a baseline is expected, data and model count less: as noise of its size, made white.
        """
        bins = np.take(np.fft.fft(signals, axis=-1, norm="ortho"), self.window, axis=-1)
        if not self.baseline.size:
            return bins
        # As real numbers: complex products of this size BLAS shares among threads, for 50 times
        # the time.
        parts = bins.view(float)
        less = 1 - (1 + self.baseline_power) ** -0.5
        return (parts - ((parts @ self.baseline) * less) @ self.baseline.T).view(complex)

    @property
    def freedom(self) -> float:
        """Of values in the window: how many real ones the baseline takes."""
        power = self.baseline_power
        return len(self.series.fids) * float(np.sum(power / (1 + power)))

    @property
    def log_volume(self) -> float:
        """What a baseline's room for more than noise costs in twice the negative log-likelihood."""
        return len(self.series.fids) * float(np.sum(np.log1p(self.baseline_power)))

    def value(self, theta: np.ndarray, name: str) -> float:
        """Of a parameter, whether fitted or known; 0 where it is not in the model."""
        if name in self.at:
            return float(theta[self.at[name]])
        return self.choice.known.get(name, 0.0)

    def chain_length(self, theta: np.ndarray) -> float:
        """Carbon atoms of fat's chains."""
        place = self.at.get("chain_length")
        return CHAIN_LENGTH if place is None else float(theta[place])

    def areas(self, theta: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Areas of fat's peaks without relaxation and J, and their derivatives by parameter."""
        if self.choice.free:
            slopes = {f"group{n}": share for n, share in enumerate(_group_shares())}
            return sum(theta[self.at[name]] * share for name, share in slopes.items()), slopes
        fat, ndb, share = (self.value(theta, name) for name in ("fat", "ndb", "share"))
        molecule = protons(ndb, share * ndb, self.chain_length(theta))
        total = molecule.sum()
        shape = molecule / total
        by_ndb, by_nmidb, by_length = proton_slopes()

        def slope(by: np.ndarray) -> np.ndarray:
            return fat * (by - shape * by.sum()) / total

        return fat * shape, {
            "fat": shape,
            "ndb": slope(by_ndb + share * by_nmidb),
            "share": slope(ndb * by_nmidb),
            "chain_length": slope(by_length),
        }

    def left(self, theta: np.ndarray, k: int, tissue: str) -> tuple[float, float, float]:
        """What relaxation leaves of water or fat in spectrum k, and its slopes by R2 and R1."""
        series = self.series
        each = (series.te_ms, series.tr_ms, series.ti_ms, series.tm_ms)
        te, tr, ti, tm = (x[k] / 1000 for x in each)
        r2, r1 = (self.value(theta, f"{tissue}_{rate}") for rate in ("r2", "r1"))
        decayed, recovered, back = np.exp(-te * r2), 1.0, 0.0
        if series.sequence == STEAM:
            tr = tr - te / 2 - (tm if np.isfinite(tm) else 0.0)
        if r1 > 0 and np.isfinite(tr):
            recovered, back = 1 - np.exp(-tr * r1), tr * np.exp(-tr * r1)
            if np.isfinite(ti):
                recovered = 1 - 2 * np.exp(-ti * r1) + np.exp(-tr * r1)
                back = 2 * ti * np.exp(-ti * r1) - tr * np.exp(-tr * r1)
        if (
            r1 > 0 and np.isfinite(tm) and series.sequence == STEAM
        ):  # along z it decays towards what no echo shows
            stored = np.exp(-tm * r1)
            recovered, back = recovered * stored, (back - tm * recovered) * stored
        return decayed * recovered, -te * decayed * recovered, decayed * back

    def turned_by(self, theta: np.ndarray) -> np.ndarray:
        """What eddy currents add to the phase of all lines, rad, shape (points,)."""
        return np.array([self.value(theta, name) for name in _TURNED]) @ self.turning

    def fat_hz(self, theta: np.ndarray) -> np.ndarray:
        """Where fat's peaks lie, without its shift."""
        return self.hz + self.value(theta, "stretch") * self.from_methylene_hz

    def fat_ppm(self, theta: np.ndarray) -> np.ndarray:
        """Where fat's peaks lie."""
        hz = self.fat_hz(theta) + self.value(theta, "fat_shift")
        return self.series.center_ppm + hz / self.series.frequency_mhz

    def fat_turns(self, theta: np.ndarray, k: int) -> np.ndarray:
        """What fat's peaks do over time in spectrum k but for what they share, (10, points)."""
        if not self.choice.stretch:
            return self.turns[k]
        hz = self.value(theta, "stretch") * self.from_methylene_hz
        return self.turns[k] * np.exp(2j * np.pi * np.multiply.outer(hz, self.t))

    def units(self, theta: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Water, shape (points,), and fat's peaks, (10, points), of area 1 without relaxation."""
        water, decay, turned = self._lines(theta, k)
        fat = turned[:, None] * self.fat_turns(theta, k) * decay
        if extra := self.value(theta, "methylene_lorentz"):
            fat[METHYLENE] *= np.exp(-extra * (self.t + self.value(theta, "delay")))
        return water, fat

    def _lines(self, theta: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Water over time, what fat's peaks share over time, and the phase each starts with."""
        of, t = self.value, self.t
        delay, drift = of(theta, "delay"), of(theta, f"drift{k}")
        since = t + delay  # the top of the echo, where areas are those of protons
        common = np.exp(1j * of(theta, f"phase{k}"))
        if self.choice.shape is not None:
            common = common * self.choice.shape
        if self.choice.skew:
            common = common * np.exp(-1j * of(theta, "skew") * t**3 / 6)
        if self.choice.turned:
            common = common * np.exp(1j * self.turned_by(theta))
        shared = []
        for tissue in ("water", "fat"):
            hz = of(theta, f"{tissue}_shift") + drift
            rate, curve = of(theta, f"{tissue}_lorentz"), of(theta, f"{tissue}_gauss")
            decay = np.exp((2j * np.pi * hz - rate) * since - curve * since**2 / 2)
            shared.append(common * decay)
        turned = 2 * np.pi * self.water_hz * delay + of(theta, "water_phase")
        water = self.water_turn * shared[0] * np.exp(1j * turned)
        return water, shared[1], np.exp(2j * np.pi * self.fat_hz(theta) * delay)

    def parts(self, theta: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Water and fat's peaks over time in spectrum k, in units of `scale`."""
        water, fat = self.units(theta, k)
        water = water * self.value(theta, "water") * self.left(theta, k, "water")[0]
        return water, self.areas(theta)[0][:, None] * fat * self.left(theta, k, "fat")[0]

    def predict(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The window, shape (spectra, bins), and its derivatives, (parameters, spectra, bins)."""
        count = len(self.series.fids)
        predicted = np.empty((count, len(self.window)), complex)
        derived = np.zeros((len(self.names), count, len(self.window)), complex)
        for k in range(count):
            predicted[k], columns = self._columns(theta, k)
            for name, column in columns.items():
                derived[self.at[name], k] = column
        return predicted, derived

    def _columns(self, theta: np.ndarray, k: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The window of a spectrum, and its derivatives by each parameter.

        Most are multiples of few signals, each of which is transformed once.
        """
        t, of = self.t, self.value
        delay, drift = of(theta, "delay"), of(theta, f"drift{k}")
        since = t + delay
        one_water, decay, turned = self._lines(theta, k)
        areas, by_area = self.areas(theta)
        weights = {"all": areas} | {name: by for name, by in by_area.items() if name in self.at}
        if self.choice.delay:
            hz = self.fat_hz(theta) + of(theta, "fat_shift") + drift
            weights["delay"] = areas * 2j * np.pi * hz
            weights["delay"][METHYLENE] -= areas[METHYLENE] * of(theta, "methylene_lorentz")
        if self.choice.stretch:
            weights["stretch"] = areas * 2j * np.pi * self.from_methylene_hz
        table, turns = np.array(list(weights.values())) * turned, self.fat_turns(theta, k)
        # One product of all: BLAS would share each out between threads, which costs far more.
        sums = table @ turns
        own = []
        if self.choice.methylene_width:
            narrowed = np.exp(-of(theta, "methylene_lorentz") * since)
            sums += np.multiply.outer(table[:, METHYLENE], turns[METHYLENE] * (narrowed - 1))
            own = [-since * table[0, METHYLENE] * turns[METHYLENE] * narrowed * decay]
        sums *= decay
        if self.choice.stretch:
            sums[list(weights).index("stretch")] *= since
        fat, half_t2 = sums[0], since**2 / 2
        amount = of(theta, "water")
        (of_water, water_r2, water_r1), (of_fat, fat_r2, fat_r1) = (
            self.left(theta, k, tissue) for tissue in ("water", "fat")
        )
        seen = amount * of_water
        common = [-1j * t**3 / 6] if self.choice.skew else []
        if self.choice.turned:
            common += [1j * one for one in self.turning]
        own += [one * (seen * one_water + of_fat * fat) for one in common]
        water, t_water, t2_water, t_fat, t2_fat, *rest = self.in_window(
            np.array([one_water, since * one_water, half_t2 * one_water, since * fat,
                      half_t2 * fat] + [*sums] + own)
        )  # fmt: skip
        sums = dict(zip(weights, rest, strict=False))
        fat = sums["all"]
        turning = 2j * np.pi
        both = seen * water + of_fat * fat
        columns = {
            f"phase{k}": 1j * both,
            "fat_shift": turning * of_fat * t_fat,
            "water_shift": turning * seen * t_water,
            "fat_lorentz": -of_fat * t_fat,
            "fat_gauss": -of_fat * t2_fat,
            "water_lorentz": -seen * t_water,
            "water_gauss": -seen * t2_water,
            "water": of_water * water,
            "water_phase": 1j * seen * water,
            "water_r2": amount * water_r2 * water,
            "water_r1": amount * water_r1 * water,
            "fat_r2": fat_r2 * fat,
            "fat_r1": fat_r1 * fat,
        }
        columns |= {name: of_fat * sums[name] for name in by_area if name in sums}
        columns[f"drift{k}"] = columns["fat_shift"] + columns["water_shift"]
        if self.choice.delay:
            water_hz = 2j * np.pi * (self.water_hz + of(theta, "water_shift") + drift)
            columns["delay"] = of_fat * sums["delay"] + water_hz * seen * water
            for of_tissue, one, t_one, name in (
                (seen, water, t_water, "water"), (of_fat, fat, t_fat, "fat")
            ):  # fmt: skip
                rate, curve = of(theta, f"{name}_lorentz"), of(theta, f"{name}_gauss")
                columns["delay"] -= of_tissue * (rate * one + curve * t_one)
        if self.choice.stretch:
            columns["stretch"] = of_fat * sums["stretch"]
        if self.choice.methylene_width:
            columns["methylene_lorentz"] = of_fat * rest[len(weights)]
        names = ["skew"] * self.choice.skew + [*_TURNED] * self.choice.turned
        columns |= dict(zip(names, rest[len(rest) - len(names) :], strict=True))
        return both, {name: column for name, column in columns.items() if name in self.at}


def _bounds(series: Series, choice: Choice) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of each fitted parameter; rates in 1/s, their squares and cubes."""
    count, limit = len(series.fids), 0.35 * series.frequency_mhz
    bounds = {f"phase{k}": (-np.inf, np.inf) for k in range(count)}
    bounds |= {f"drift{k}": (-60.0, 60.0) for k in range(1, count)}
    bounds |= dict.fromkeys(("fat_shift", "water_shift"), (-limit, limit))
    bounds |= dict.fromkeys(("fat_lorentz", "water_lorentz"), (0.0, 800.0))
    bounds |= dict.fromkeys(("fat_gauss", "water_gauss"), (0.0, 4.5e5))
    bounds["water"] = (0.0, np.inf)
    if choice.suppressed:
        bounds["water_phase"] = (-np.inf, np.inf)
    if choice.free:
        bounds |= {f"group{n}": (0.0, np.inf) for n in range(len(FREE_GROUPS))}
    else:
        bounds |= {
            "fat": (0.0, np.inf), "ndb": (0.0, MAX_NDB), "share": (0.0, choice.polyunsaturated),
        }  # fmt: skip
        if choice.chain_length:
            bounds["chain_length"] = CHAIN_LENGTHS
    if choice.delay:
        bounds["delay"] = (-LATEST_S, LATEST_S)
    if choice.methylene_width:
        bounds["methylene_lorentz"] = (-60.0, 200.0)
    if choice.skew:
        bounds["skew"] = (-2e7, 2e7)
    if choice.stretch:
        bounds["stretch"] = (-MOST_STRETCH, MOST_STRETCH)
    if choice.turned:
        bounds |= dict.fromkeys(_TURNED, (-6.0, 6.0))
    if choice.t2:
        bounds |= {"water_r2": (1e-3, 400.0), "fat_r2": (1e-3, 100.0)}
    if choice.t1:
        bounds |= {"water_r1": (0.2, 10.0), "fat_r1": (0.5, 20.0)}
    return {name: two for name, two in bounds.items() if name not in choice.known}


@lru_cache(maxsize=64)
def _smooth(
    window: bytes, points: int, dwell_ms: float, duration_ms: float, sds: float
) -> tuple[np.ndarray, np.ndarray]:
    """A baseline's orthonormal spectra and its power in each over noise's.

    Real, shape (2 bins, spectra): real and imaginary parts of the window's bins take turns.
    """
    t = np.arange(min(int(np.ceil(3 * duration_ms / dwell_ms)) + 1, points))
    size = sds * np.exp(-((t * dwell_ms) ** 2) / (2 * max(duration_ms, 1e-9) ** 2))
    turns = np.exp(-2j * np.pi * np.multiply.outer(np.frombuffer(window, np.intp), t) / points)
    vectors, sizes, _ = np.linalg.svd(turns / points**0.5 * size, full_matrices=False)
    vectors, sizes = vectors[:, sizes > LEAST_SMOOTH], sizes[sizes > LEAST_SMOOTH]
    real = np.hstack([vectors.real, -vectors.imag])
    both = np.stack([real, np.hstack([vectors.imag, vectors.real])], axis=1)
    return both.reshape(2 * len(vectors), -1), np.tile(sizes**2, 2)


@cache
def _group_shares() -> tuple[np.ndarray, ...]:
    """The peaks' shares of each free amplitude."""
    shares = []
    for group in FREE_GROUPS:
        share = np.zeros(len(PPM))
        share[list(group)] = protons(0, 0)[list(group)] if len(group) > 1 else 1.0
        shares.append(share / share.sum())
    return tuple(shares)
