"""How good a spectrum is: widths, signal over noise, whether olefins stand apart; peaks; boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.spectroscopy.fit import Fitted
from PDFFMapperLib.spectroscopy.spectrum import Series
from PDFFMapperLib.spectroscopy.triglyceride import (
    FREE_GROUPS,
    METHYLENE,
    OLEFINIC,
    PEAKS,
    PPM,
    WATER_PPM,
)

_POINTS = 20
MOST_TIMES = 30.0  # that a residual is told over the noise; on real spectra it is 2 to 19
APART_PPM = float(WATER_PPM - PPM[METHYLENE])  # water from methylene at 37 degrees C
COLD_APART_PPM = APART_PPM + 0.17  # at room temperature
# How well distances between lines are known: relative within fat (fits of real spectra leave 0.3
# to 2.4 %), and of water from methylene, which temperature and susceptibility move.
WITHIN_FAT_SD, WATER_SD_PPM = 0.015, 0.06
MOST_LABELS = 255  # of a mask; signals go farther


@dataclass(frozen=True)
class Quality:
    """Of a spectrum.

    Attributes:
        fwhm_water_hz, fwhm_fat_hz: full width at half maximum of water and methylene.
        snr: signal at the first point over the noise of one channel (real or imaginary part).
        snr_water, snr_fat: height of water and methylene over the noise of the spectrum.
        separability: how far the olefinic peak stands over the saddle to water, of its height.
        residual_ratio: what the fit leaves over the noise; 1 is noise alone.
        verdict: of the shim.
    """

    fwhm_water_hz: float
    fwhm_fat_hz: float
    snr: float
    snr_water: float
    snr_fat: float
    separability: float
    residual_ratio: float
    verdict: str


@dataclass(frozen=True)
class Peak:
    """One peak: name, place (ppm), width (Hz), area and SD in percent of all protons' signal.

    `free_area` is its area without a triglyceride, shared within groups that cannot be told apart;
    `correlation` that of the free area with water's.
    """

    name: str
    ppm: float
    fwhm_hz: float
    area: float
    sd: float
    free_area: float
    correlation: float


@dataclass(frozen=True)
class Echo:
    """What one spectrum shows, without correction for T2, T1 or J: for comparison with others.

    Its own areas; places and widths of lines are those of all spectra.

    Attributes:
        te_ms: its echo time.
        fat_content: sum of lipids over lipids and water, percent.
        lipid_water_ratio: sum of lipids over water; infinite without water.
    """

    te_ms: float
    fat_content: float
    lipid_water_ratio: float


@dataclass(frozen=True)
class Displacement:
    """Of fat (methylene) against water: mm along each side, and the share of volume in common."""

    mm: tuple[float, float, float]
    overlap: float


def voigt_fwhm_hz(rate: float, curve: float) -> float:
    """Full width at half maximum (Olivero and Longbothum 1977, doi 10.1016/0022-4073(77)90161-3).

    Args:
        rate: Lorentzian decay, 1/s.
        curve: squared Gaussian decay, 1/s^2.
    """
    lorentz = rate / np.pi
    gauss = 2.3548 * np.sqrt(max(curve, 0.0)) / (2 * np.pi)
    return float(0.5346 * lorentz + np.sqrt(0.2166 * lorentz**2 + gauss**2))


def times_of_noise(ratio: float) -> str:
    """A residual over the noise in words; beyond MOST_TIMES the noise is not known."""
    return f"{ratio:.1f}" if ratio <= MOST_TIMES else f"more than {MOST_TIMES:g}"


def apart_ppm(fitted: Fitted) -> tuple[float, float]:
    """From methylene to water, and its standard deviation."""
    model = fitted.model
    slope = np.zeros(len(fitted.theta))
    slope[[model.at["water_shift"], model.at["fat_shift"]]] = np.array([1, -1])
    slope /= model.series.frequency_mhz
    sd = np.sqrt(max(slope @ fitted.covariance @ slope, 0.0))
    return float(APART_PPM + slope @ fitted.theta), float(sd)


def stretched(fitted: Fitted, water_ppm: float = APART_PPM) -> tuple[float, float]:
    """How much further apart all lines lie than they should, over 1, and its standard deviation.

    A wrong dwell time or frequency stretches all distances alike. That of water, expected
    `water_ppm` from methylene, counts as far as it is known.
    """
    within, within_sd = _within_fat(fitted)
    apart, apart_sd = apart_ppm(fitted)
    values = np.array([within, apart / water_ppm - 1])
    sds = np.hypot([within_sd, apart_sd / water_ppm], [WITHIN_FAT_SD, WATER_SD_PPM / water_ppm])
    weights = sds**-2.0
    return float(weights @ values / weights.sum()), float(weights.sum() ** -0.5)


def _within_fat(fitted: Fitted) -> tuple[float, float]:
    """The same of fat's lines alone: as fitted, or else what a linear model adds to the fit."""
    model, theta = fitted.model, fitted.theta
    if model.choice.stretch:
        place = model.at["stretch"]
        return float(theta[place]), float(np.sqrt(max(fitted.covariance[place, place], 0.0)))
    predicted, derived = model.predict(theta)
    turning = np.multiply.outer(
        2j * np.pi * model.from_methylene_hz, model.t + model.value(theta, "delay")
    )
    fats = [np.sum(turning * model.parts(theta, k)[1], axis=0) for k in range(len(predicted))]
    columns = np.vstack([derived, model.in_window(np.array(fats))[None]])
    columns = columns.reshape(len(columns), -1).view(float)
    left = (model.data - predicted).ravel().view(float)
    sizes = np.sqrt(np.maximum(np.sum(columns**2, axis=1), 1e-300))
    columns /= sizes[:, None]
    inverse = np.linalg.pinv(columns @ columns.T, 1e-13, hermitian=True)
    sd = fitted.spread * np.sqrt(max(inverse[-1, -1], 0.0)) / sizes[-1]
    return float(inverse[-1] @ (columns @ left) / sizes[-1]), float(sd)


def _width(fitted: Fitted, tissue: str) -> float:
    of = fitted.model.value
    extra = of(fitted.theta, "methylene_lorentz") if tissue == "fat" else 0.0
    rate = max(of(fitted.theta, f"{tissue}_lorentz") + extra, 0.0)
    return voigt_fwhm_hz(rate, of(fitted.theta, f"{tissue}_gauss"))


def judged(fitted: Fitted) -> Quality:
    """The quality of the first spectrum of a fit."""
    model, theta = fitted.model, fitted.theta
    water, fat = model.parts(theta, 0)
    shares = np.fft.fft(np.vstack([water, fat[METHYLENE]]), axis=1, norm="ortho")
    heights = np.abs(shares).max(axis=1) / fitted.sigma
    widths = [_width(fitted, tissue) for tissue in ("water", "fat")]
    widest = max(widths) / model.series.frequency_mhz
    verdict = "good" if widest < 0.35 else "usable" if widest < 0.63 else "poor"
    return Quality(
        *widths,
        float(np.abs(water[0] + fat[:, 0].sum()) / fitted.sigma),
        *map(float, heights),
        _separability(fitted),
        fitted.ratio,
        verdict,
    )


def spectrum_of(
    series: Series, signal: np.ndarray, phase: float, filled: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """ppm, rising, and the real part of a phased signal's spectrum, zero-filled to a multiple."""
    points = filled * signal.shape[-1]
    hz = np.fft.fftshift(np.fft.fftfreq(points, series.dwell_s))
    turned = np.array(signal) * np.exp(-1j * phase)
    turned[..., 0] /= 2  # half of the first point, or the baseline rises
    shown = np.fft.fftshift(np.fft.fft(turned, points, axis=-1), axes=-1).real
    return series.center_ppm + hz / series.frequency_mhz, shown


def _separability(fitted: Fitted) -> float:
    model, theta = fitted.model, fitted.theta
    series, of = model.series, model.value
    water, fat = model.parts(theta, 0)
    ppm, shown = spectrum_of(series, water + fat.sum(axis=0), of(theta, "phase0"))
    olefinic = model.fat_ppm(theta)[OLEFINIC]
    water_at = WATER_PPM + of(theta, "water_shift") / series.frequency_mhz
    between = (ppm >= water_at) & (ppm <= olefinic + 0.05)
    if of(theta, "water") <= 0 or not np.any(between):
        return 1.0
    curve = shown[between]
    lowest = int(np.argmin(curve))
    peak = float(curve[lowest:].max())
    return max(0.0, (peak - float(curve[lowest])) / peak) if peak > 0 else 0.0


def peak_table(fitted: Fitted, free: Fitted) -> list[Peak]:
    """Water and the ten peaks of fat."""
    model, theta = fitted.model, fitted.theta
    areas, slopes = model.areas(theta)
    water = model.value(theta, "water")
    total = water + areas.sum()
    covariance, free_covariance = fitted.covariance, free.covariance
    free_areas = free.model.areas(free.theta)[0]
    free_water = free.model.value(free.theta, "water")
    free_total = free_areas.sum() + free_water
    at_water = free.model.at["water"]
    mhz = model.series.frequency_mhz
    sd_water = float(np.sqrt(max(covariance[model.at["water"], model.at["water"]], 0)))
    peaks = [
        Peak(
            "water", WATER_PPM + model.value(theta, "water_shift") / mhz, _width(fitted, "water"),
            100 * water / total, 100 * sd_water / total, 100 * free_water / free_total, 1.0,
        )
    ]  # fmt: skip
    fat_width = voigt_fwhm_hz(model.value(theta, "fat_lorentz"), model.value(theta, "fat_gauss"))
    for n, name in enumerate(PEAKS):
        slope = np.zeros(len(theta))
        for parameter, by in slopes.items():
            if parameter in model.at:
                slope[model.at[parameter]] = by[n]
        group = next(g for g, members in enumerate(FREE_GROUPS) if n in members)
        place = free.model.at[f"group{group}"]
        spread = free_covariance[place, place] * free_covariance[at_water, at_water]
        peaks.append(
            Peak(
                name,
                float(model.fat_ppm(theta)[n]),
                _width(fitted, "fat") if n == METHYLENE else fat_width,
                100 * areas[n] / total,
                100 * float(np.sqrt(max(slope @ covariance @ slope, 0))) / total,
                100 * free_areas[n] / free_total,
                float(free_covariance[place, at_water] / np.sqrt(max(spread, 1e-300))),
            )
        )
    return peaks


def echo_table(free: Fitted) -> list[Echo]:
    """Areas that each spectrum shows, by least squares with the lines of a fit of all of them.

    Args:
        free: a fit with free areas; each spectrum has its own sums of water and of fat. After an
            inversion they count without sign.
    """
    model, theta = free.model, free.theta
    areas = model.areas(theta)[0]
    echoes = []
    for k, te_ms in enumerate(model.series.te_ms):
        of_water, of_fat = model.units(theta, k)
        lines = model.in_window(np.array([of_water, np.sum(areas[:, None] * of_fat, axis=0)]))
        both = np.concatenate([lines.real, lines.imag], axis=1)
        data = np.concatenate([model.data[k].real, model.data[k].imag])
        water, fat = np.abs(np.linalg.lstsq(both.T, data, rcond=None)[0])
        fat = float(fat * (areas @ model.j[k]))
        water = float(water)
        ratio = fat / water if water > 0 else float("inf")
        echoes.append(Echo(float(te_ms), 100 * fat / max(fat + water, 1e-300), ratio))
    return echoes


def share_inside(voxel_ras: np.ndarray, bone: Volume) -> float:
    """Share of a voxel's box that lies in a mask (above 0), by 20 points along each side.

    Raises:
        ValueError: it is no mask: its values are no whole numbers.
    """
    if not np.array_equal(bone.array, np.rint(bone.array)) or np.ptp(bone.array) > MOST_LABELS:
        raise ValueError(
            "The image given as bone holds values that are no labels; a mask is expected, whole "
            f"numbers up to {MOST_LABELS}, 0 outside (--bone)."
        )
    kji, shape = points_kji(voxel_ras, bone.ijk_to_ras), np.array(bone.array.shape)[:, None]
    held = ((kji >= 0) & (kji < shape)).all(axis=0)
    return float(np.sum(bone.array[tuple(kji[:, held])] > 0) / kji.shape[1])


def points_kji(voxel_ras: np.ndarray, ijk_to_ras: np.ndarray) -> np.ndarray:
    """The (k, j, i) in an image of points spread over a voxel's box, shape (3, points)."""
    steps = (np.arange(_POINTS) + 0.5) / _POINTS - 0.5
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij")).reshape(3, -1)
    places = np.vstack([cube, np.ones(cube.shape[1])])
    return np.rint(np.linalg.inv(ijk_to_ras) @ voxel_ras @ places)[:3].astype(int)[::-1]


def displacement(
    series: Series,
    bandwidths_hz: tuple[float, float, float] | None,
    voxel_ras: np.ndarray | None,
) -> Displacement | None:
    """How far the box of methylene lies from that of water, and what both share.

    Args:
        series: for the frequency.
        bandwidths_hz: of the slice-selective pulses, one for each side; None gives None.
        voxel_ras: the voxel; without it the sides count as 1 mm.
    """
    if bandwidths_hz is None:
        return None
    sides = np.ones(3) if voxel_ras is None else np.linalg.norm(voxel_ras[:3, :3], axis=0)
    apart = APART_PPM * series.frequency_mhz
    shares = np.minimum(apart / np.array(bandwidths_hz), 1.0)
    return Displacement(tuple(float(mm) for mm in shares * sides), float(np.prod(1 - shares)))
