"""First-order features of a region's values, each with its code of the IBSI.

Definitions: IBSI reference manual (arXiv 1612.07003), Zwanenburg et al. 2020,
doi 10.1148/radiol.2020191145.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import fft

from MarrowAssessLib.texture.feature import Feature

_STATISTICS = (
    "Mean intensity",
    "Intensity variance",
    "Intensity skewness",
    "(Excess) intensity kurtosis",
    "Median intensity",
    "Minimum intensity",
    "10th intensity percentile",
    "90th intensity percentile",
    "Maximum intensity",
    "Intensity interquartile range",
    "Intensity range",
    "Intensity-based mean absolute deviation",
    "Intensity-based robust mean absolute deviation",
    "Intensity-based median absolute deviation",
    "Intensity-based coefficient of variation",
    "Intensity-based quartile coefficient of dispersion",
    "Intensity-based energy",
    "Root mean square intensity",
)
_CODES = "Q4LE ECT3 KE2A IPH6 Y12H 1GSF QG58 8DWT 84IY SALO 2OJQ 4FUA 1128 N72L 7TET 9S40 N8CA 5ZWQ"
STATISTICS = tuple(Feature(*each) for each in zip(_CODES.split(), _STATISTICS, strict=True))
HISTOGRAM = (
    Feature("X6K6", "Mean discretized intensity"),
    Feature("CH89", "Discretized intensity variance"),
    Feature("88K1", "Discretized intensity skewness"),
    Feature("C3I7", "(Excess) discretized intensity kurtosis"),
    Feature("WIFQ", "Median discretized intensity"),
    Feature("1PR8", "Minimum discretized intensity"),
    Feature("GPMT", "10th discretized intensity percentile"),
    Feature("OZ0C", "90th discretized intensity percentile"),
    Feature("3NCY", "Maximum discretized intensity"),
    Feature("WR0O", "Discretized intensity interquartile range"),
    Feature("5Z3W", "Discretized intensity range"),
    Feature("D2ZX", "Intensity histogram mean absolute deviation"),
    Feature("WRZB", "Intensity histogram robust mean absolute deviation"),
    Feature("4RNL", "Intensity histogram median absolute deviation"),
    Feature("CWYJ", "Intensity histogram coefficient of variation"),
    Feature("SLWD", "Intensity histogram quartile coefficient of dispersion"),
    Feature("AMMC", "Intensity histogram mode"),
    Feature("TLU2", "Discretized intensity entropy"),
    Feature("BJ5W", "Discretized intensity uniformity"),
    Feature("12CE", "Maximum histogram gradient"),
    Feature("8E6O", "Maximum histogram gradient intensity"),
    Feature("VQB3", "Minimum histogram gradient"),
    Feature("RHQZ", "Minimum histogram gradient intensity"),
)
INTENSITY_VOLUME = (
    Feature("BC2M_10", "Volume at intensity fraction 10 %"),
    Feature("BC2M_90", "Volume at intensity fraction 90 %"),
    Feature("GBPN_10", "Intensity at volume fraction 10 %"),
    Feature("GBPN_90", "Intensity at volume fraction 90 %"),
    Feature("DDTU", "Volume fraction difference between intensity fractions"),
    Feature("CNV2", "Intensity fraction difference between volume fractions"),
)
LOCAL = (Feature("VJGA", "Local intensity peak"), Feature("0F91", "Global intensity peak"))
_PEAK_RADIUS_MM = 10 * (3 / (4 * np.pi)) ** (1 / 3)  # of a sphere of 1 cm^3


def intensity_statistics(values: np.ndarray) -> dict[str, float]:
    """STATISTICS of values (n,) by IBSI code; ratios to a mean or sum of 0 are NaN."""
    return {
        each.code: float(one)
        for each, one in zip(STATISTICS, _statistics(np.asarray(values, float)), strict=True)
    }


def histogram_features(levels: np.ndarray) -> dict[str, float]:
    """HISTOGRAM of gray levels (n,), whole numbers from 1 on, by IBSI code."""
    levels = np.asarray(levels, int)
    shared = _statistics(levels.astype(float))[:16]
    counts = np.bincount(levels)[1:]
    share = counts[counts > 0] / len(levels)
    most = np.flatnonzero(counts == counts.max()) + 1
    mode = most[np.argmin(np.abs(most - levels.mean()))]  # of several, the one nearest the mean
    gradient = np.gradient(counts.astype(float)) if len(counts) > 1 else np.zeros(1)
    rest = (
        mode,
        -share @ np.log2(share),
        share @ share,
        gradient.max(),
        gradient.argmax() + 1,
        gradient.min(),
        gradient.argmin() + 1,
    )
    found = (*shared, *rest)
    return {each.code: float(one) for each, one in zip(HISTOGRAM, found, strict=True)}


def intensity_volume_features(
    values: np.ndarray, step: float, limits: tuple[float, float] | None = None
) -> dict[str, float]:
    """Volumes at intensity fractions and intensities at volume fractions of 10 and 90 %.

    Args:
        values: (n,) values that lie on a grid of `step`.
        step: distance of the intensities at which volumes are looked at, in the values' unit.
        limits: lowest and highest intensity that could be; those of the values if not given.

    Returns:
        By IBSI code and fraction in percent, such as "BC2M_10"; DDTU and CNV2 are differences.
    """
    values = np.sort(np.asarray(values, float))
    low, high = limits or (values[0], values[-1])
    intensity = low + step * np.arange(int(round((high - low) / step)) + 1)
    volume = 1 - np.searchsorted(values, intensity - step * 1e-6) / len(values)
    part = (intensity - low) / (high - low) if high > low else np.zeros(1)

    def volume_at(fraction: float) -> float:
        above = part >= fraction - 1e-9
        return float(volume[above].max()) if above.any() else 0.0

    def intensity_at(fraction: float) -> float:
        below = volume <= fraction
        return float(intensity[below].min()) if below.any() else float(high + step)

    return {
        "BC2M_10": volume_at(0.1),
        "BC2M_90": volume_at(0.9),
        "GBPN_10": intensity_at(0.1),
        "GBPN_90": intensity_at(0.9),
        "DDTU": volume_at(0.1) - volume_at(0.9),
        "CNV2": intensity_at(0.1) - intensity_at(0.9),
    }


def local_peaks(
    values: np.ndarray, mask: np.ndarray, spacing_mm: tuple[float, float, float]
) -> dict[str, float]:
    """LOCAL: means in a sphere of 1 cm^3 round the brightest voxel, and the highest such mean.

    Args:
        values: (slices, rows, columns); the sphere reaches beyond the region, not past the image.
        mask: bool, same shape, not empty.
        spacing_mm: between slices, rows and columns.
    """
    reach = peak_reach(spacing_mm)
    offsets = np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij")
    squared = sum((n * size) ** 2 for n, size in zip(offsets, spacing_mm, strict=True))
    sphere = (squared <= _PEAK_RADIUS_MM**2).astype(float)
    box = tuple(
        slice(max(where.min() - n, 0), where.max() + n + 1)
        for where, n in zip(np.nonzero(mask), reach, strict=True)
    )
    image, inside = np.asarray(values, float)[box], mask[box]
    known = np.isfinite(image)
    offset = image[inside].mean()  # sums near 0 lose no digits to the transform
    both = np.where(known, image - offset, 0.0) + 1j * known  # one transform for sum and number
    shape = [fft.next_fast_len(n + 2 * m) for n, m in zip(image.shape, reach, strict=True)]
    spread = fft.ifftn(fft.fftn(both, shape) * fft.fftn(sphere, shape))
    spread = spread[tuple(slice(m, m + n) for n, m in zip(image.shape, reach, strict=True))]
    mean = offset + spread.real / np.round(spread.imag).clip(1)
    brightest = inside & (image == image[inside].max())
    return {"VJGA": float(mean[brightest].max()), "0F91": float(mean[inside].max())}


def peak_reach(spacing_mm: Sequence[float]) -> list[int]:
    """How many voxels a local peak's sphere reaches beyond its middle on each axis."""
    return [int(_PEAK_RADIUS_MM // size) for size in spacing_mm]


def _statistics(values: np.ndarray) -> np.ndarray:
    mean, variance = values.mean(), values.var()
    sd = np.sqrt(variance)
    apart = values - mean
    square = apart * apart
    p10, p25, median, p75, p90 = np.percentile(values, (10, 25, 50, 75, 90))
    middle = values[(values >= p10) & (values <= p90)]
    with np.errstate(divide="ignore", invalid="ignore"):
        variation = sd / mean
        dispersion = np.float64(p75 - p25) / (p75 + p25)
    return np.array(
        [
            mean,
            variance,
            np.mean(square * apart) / sd**3 if sd > 0 else 0.0,
            np.mean(square * square) / variance**2 - 3 if sd > 0 else 0.0,
            median,
            values.min(),
            p10,
            p90,
            values.max(),
            p75 - p25,
            np.ptp(values),
            np.mean(np.abs(apart)),
            np.mean(np.abs(middle - middle.mean())),
            np.mean(np.abs(values - median)),
            variation,
            dispersion,
            values @ values,
            np.sqrt(values @ values / values.size),
        ]
    )
