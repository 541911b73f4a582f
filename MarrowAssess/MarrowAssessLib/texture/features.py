"""Texture features of gray levels, each with its code of the IBSI.

Definitions: IBSI reference manual (arXiv 1612.07003), Zwanenburg et al. 2020,
doi 10.1148/radiol.2020191145.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import Enum

import numpy as np

from MarrowAssessLib.texture import matrices
from MarrowAssessLib.texture.feature import Feature, asked


class Aggregation(str, Enum):
    """Which voxels are neighbors, and what becomes of the counts of slices and directions.

    2D looks at each slice and averages the slices' features; 2.5D adds up the counts of all slices
    first; 3D has neighbors in the volume. "merged" adds up the counts of all directions, the others
    average the directions' features.
    """

    SLICES_AVERAGED = "2D, averaged"
    SLICES_MERGED = "2D, slice-merged"
    DIRECTIONS_MERGED = "2.5D, direction-merged"
    PLANE_MERGED = "2.5D, merged"
    VOLUME_AVERAGED = "3D, averaged"
    VOLUME_MERGED = "3D, merged"

    @property
    def by_slice(self) -> bool:
        """Neighbors lie in one slice only."""
        return self not in (Aggregation.VOLUME_AVERAGED, Aggregation.VOLUME_MERGED)

    @property
    def slices_apart(self) -> bool:
        """Features are averaged over slices, not made of all slices' counts."""
        return self in (Aggregation.SLICES_AVERAGED, Aggregation.SLICES_MERGED)

    @property
    def directions_apart(self) -> bool:
        """Features are averaged over directions, not made of all directions' counts."""
        return self in (
            Aggregation.SLICES_AVERAGED,
            Aggregation.DIRECTIONS_MERGED,
            Aggregation.VOLUME_AVERAGED,
        )


CO_OCCURRENCE = (
    Feature("GYBY", "Joint maximum"),
    Feature("60VM", "Joint average"),
    Feature("UR99", "Joint variance"),
    Feature("TU9B", "Joint entropy"),
    Feature("TF7R", "Difference average"),
    Feature("D3YU", "Difference variance"),
    Feature("NTRS", "Difference entropy"),
    Feature("ZGXS", "Sum average"),
    Feature("OEEB", "Sum variance"),
    Feature("P6QZ", "Sum entropy"),
    Feature("8ZQL", "Angular second moment"),
    Feature("ACUI", "Contrast"),
    Feature("8S9J", "Dissimilarity"),
    Feature("IB1Z", "Inverse difference"),
    Feature("NDRX", "Normalized inverse difference"),
    Feature("WF0Z", "Inverse difference moment"),
    Feature("1QCO", "Normalized inverse difference moment"),
    Feature("E8JP", "Inverse variance"),
    Feature("NI2N", "Correlation"),
    Feature("QWB0", "Autocorrelation"),
    Feature("DG8W", "Cluster tendency"),
    Feature("7NFM", "Cluster shade"),
    Feature("AE86", "Cluster prominence"),
    Feature("R8DG", "Information correlation 1"),
    Feature("JN9H", "Information correlation 2"),
)


def _by_size(codes: str, short: str, long: str, item: str, spread: str) -> tuple[Feature, ...]:
    """The features that runs, zones and dependences share, under each family's own names."""
    names = (
        f"{short} emphasis",
        f"{long} emphasis",
        f"Low gray level {item} emphasis",
        f"High gray level {item} emphasis",
        f"{short} low gray level emphasis",
        f"{short} high gray level emphasis",
        f"{long} low gray level emphasis",
        f"{long} high gray level emphasis",
        "Gray level non-uniformity",
        "Normalized gray level non-uniformity",
        f"{spread} non-uniformity",
        f"Normalized {spread[0].lower()}{spread[1:]} non-uniformity",
    )
    grow = ("Gray level non-uniformity", f"{spread} non-uniformity")
    return tuple(
        Feature(code, name, name in grow) for code, name in zip(codes.split(), names, strict=True)
    )


RUN_LENGTH = (
    *_by_size(
        "22OV W4KF V3SW G3QZ HTZT GD3A IVPO 3KUM R5YN OVBL W92Y IC23",
        "Short run",
        "Long run",
        "run",
        "Run length",
    ),
    Feature("9ZK5", "Run percentage"),
    Feature("8CE5", "Gray level variance"),
    Feature("SXLW", "Run length variance"),
    Feature("HJ9O", "Run entropy"),
)
SIZE_ZONE = (
    *_by_size(
        "5QRC 48P8 XMSY 5GN9 5RAI HW1V YH51 J17V JNSA Y1RO 4JP3 VB3A",
        "Small zone",
        "Large zone",
        "zone",
        "Zone size",
    ),
    Feature("P30P", "Zone percentage"),
    Feature("BYLV", "Gray level variance"),
    Feature("3NSA", "Zone size variance"),
    Feature("GU8N", "Zone size entropy"),
)
DISTANCE_ZONE = (
    *_by_size(
        "0GBI MB4I S1RA K26C RUVG DKNJ A7WM KLTH VFT7 7HP3 V294 IATH",
        "Small distance",
        "Large distance",
        "zone",
        "Zone distance",
    ),
    Feature("VIWW", "Zone percentage"),
    Feature("QK93", "Gray level variance"),
    Feature("7WT1", "Zone distance variance"),
    Feature("GBDU", "Zone distance entropy"),
)
NEIGHBORHOOD_DIFFERENCE = (
    Feature("QCDE", "Coarseness", True),
    Feature("65HE", "Contrast"),
    Feature("NQ30", "Busyness", True),
    Feature("HDEZ", "Complexity"),
    Feature("1X9X", "Strength"),
)
DEPENDENCE = (
    *_by_size(
        "SODN IMOQ TL9H OAE7 EQ3F JA6D NBZI 9QMG FP8K 5SPA Z87G OKJI",
        "Low dependence",
        "High dependence",
        "count",
        "Dependence count",
    ),
    Feature("6XV8", "Dependence count percentage"),
    Feature("1PFV", "Gray level variance"),
    Feature("DNX2", "Dependence count variance"),
    Feature("FCBV", "Dependence count entropy"),
    Feature("CAS9", "Dependence count energy"),
)


def co_occurrence_features(levels: np.ndarray, aggregation: Aggregation) -> dict[str, float]:
    """Features of which levels lie side by side, by IBSI code.

    Args:
        levels: (slices, rows, columns) whole numbers, 0 outside the region.
        aggregation: see Aggregation.
    """
    counts = matrices.co_occurrences(levels, aggregation.by_slice)
    merged = _merged(counts, aggregation)
    return _averaged(CO_OCCURRENCE, [_of_pairs(each) for each in merged if each.any()])


def run_length_features(levels: np.ndarray, aggregation: Aggregation) -> dict[str, float]:
    """Features of runs of one level, by IBSI code; arguments as for co_occurrence_features."""
    counts = matrices.run_lengths(levels, aggregation.by_slice)
    merged = _merged(counts, aggregation)
    voxels = np.arange(1, counts.shape[-1] + 1)
    found = [_of_sizes(each, voxels, each.sum(0) @ voxels) for each in merged if each.any()]
    return _averaged(RUN_LENGTH, found)


def zone_features(
    levels: np.ndarray, shape_mask: np.ndarray, aggregation: Aggregation
) -> dict[str, float]:
    """Features of zones by their size and by their distance from the border, by IBSI code.

    Args:
        levels: (slices, rows, columns) whole numbers, 0 outside the region.
        shape_mask: the region before voxels were taken out for their intensity, same shape.
        aggregation: of which only slices count: zones have no direction.
    """
    zones = matrices.zones(levels, shape_mask, aggregation.by_slice)
    by_size, by_distance = [], []
    groups = np.unique(zones.slice_index) if aggregation.slices_apart else [None]
    for group in groups:
        here = slice(None) if group is None else zones.slice_index == group
        for values, found in ((zones.size, by_size), (zones.distance, by_distance)):
            present, column = np.unique(values[here], return_inverse=True)
            counts = np.zeros((int(levels.max()), len(present)), np.int64)
            np.add.at(counts, (zones.level[here] - 1, column), 1)
            found.append(_of_sizes(counts, present, zones.size[here].sum()))
    return {**_averaged(SIZE_ZONE, by_size), **_averaged(DISTANCE_ZONE, by_distance)}


def neighborhood_features(levels: np.ndarray, aggregation: Aggregation) -> dict[str, float]:
    """Features of how levels differ from their neighborhood and how many neighbors are alike."""
    every = matrices.neighborhoods(levels, aggregation.by_slice)
    if not aggregation.slices_apart:
        every = [one.sum(0, keepdims=True) for one in every]
    differ, depend = [], []
    for voxels, differences, counts in zip(*every, strict=True):
        if voxels.any():
            differ.append(_of_differences(voxels, differences))
        if counts.any():
            alike = np.arange(1, len(counts[0]) + 1)  # the voxel itself counts
            share = counts / counts.sum()
            depend.append(np.append(_of_sizes(counts, alike, counts.sum()), np.sum(share**2)))
    return {**_averaged(NEIGHBORHOOD_DIFFERENCE, differ), **_averaged(DEPENDENCE, depend)}


def texture_features(
    levels: np.ndarray,
    shape_mask: np.ndarray,
    aggregation: Aggregation,
    codes: Collection[str] | None = None,
) -> dict[str, float]:
    """Texture features by IBSI code; arguments as for zone_features.

    Args:
        codes: only families with one of these.
    """
    by_pairs: tuple[tuple[tuple[Feature, ...], Callable[..., dict[str, float]]], ...] = (
        (CO_OCCURRENCE, co_occurrence_features),
        (RUN_LENGTH, run_length_features),
        ((*NEIGHBORHOOD_DIFFERENCE, *DEPENDENCE), neighborhood_features),
    )
    found: dict[str, float] = {}
    for features, family in by_pairs:
        if asked(features, codes):
            found |= family(levels, aggregation)
    if asked((*SIZE_ZONE, *DISTANCE_ZONE), codes):
        found |= zone_features(levels, shape_mask, aggregation)
    return found


def _merged(counts: np.ndarray, aggregation: Aggregation) -> np.ndarray:
    """Counts (slices, directions, rows, columns) as (matrices, rows, columns)."""
    if not aggregation.slices_apart:
        counts = counts.sum(0, keepdims=True)
    if not aggregation.directions_apart:
        counts = counts.sum(1, keepdims=True)
    return counts.reshape(-1, *counts.shape[2:])


def _averaged(features: tuple[Feature, ...], found: list[np.ndarray]) -> dict[str, float]:
    """The mean over matrices by code; NaN where there was nothing to count."""
    values = np.mean(found, 0) if found else np.full(len(features), np.nan)
    return {each.code: float(value) for each, value in zip(features, values, strict=True)}


def _entropy(share: np.ndarray) -> float:
    """In bits."""
    share = share[share > 0]
    return float(-np.sum(share * np.log2(share)))


def _variance(values: np.ndarray, share: np.ndarray) -> float:
    return float(share @ (values - share @ values) ** 2)


def _of_pairs(counts: np.ndarray) -> np.ndarray:
    """CO_OCCURRENCE of one symmetric matrix of counts (levels, levels)."""
    share = counts / counts.sum()
    highest = len(share)
    level = np.arange(1, highest + 1)
    row, column = level[:, None], level
    margin = share.sum(1)
    mean, variance = margin @ level, _variance(level, margin)
    apart, together = np.arange(highest), np.arange(2, 2 * highest + 1)
    difference = np.bincount(np.abs(row - column).ravel(), share.ravel(), highest)
    total = np.bincount((row + column).ravel(), share.ravel(), 2 * highest + 1)[2:]
    joint_entropy, margin_entropy = _entropy(share), _entropy(margin)
    cross_entropy = 2 * margin_entropy  # of the product of both margins
    autocorrelation = np.sum(share * row * column)
    tendency, shade, prominence = (total @ (together - 2 * mean) ** power for power in (2, 3, 4))
    inverse_variance = difference[1:] @ (1 / apart[1:] ** 2)
    return np.array(
        [
            share.max(),
            mean,
            variance,
            joint_entropy,
            difference @ apart,
            _variance(apart, difference),
            _entropy(difference),
            total @ together,
            _variance(together, total),
            _entropy(total),
            np.sum(share**2),
            difference @ apart**2,
            difference @ apart,
            difference @ (1 / (1 + apart)),
            difference @ (1 / (1 + apart / highest)),
            difference @ (1 / (1 + apart**2)),
            difference @ (1 / (1 + (apart / highest) ** 2)),
            inverse_variance,
            (autocorrelation - mean**2) / variance if variance > 0 else 1.0,
            autocorrelation,
            tendency,
            shade,
            prominence,
            (joint_entropy - cross_entropy) / margin_entropy if margin_entropy > 0 else 0.0,
            np.sqrt(max(0.0, 1 - np.exp(-2 * (cross_entropy - joint_entropy)))),
        ]
    )


def _of_sizes(counts: np.ndarray, sizes: np.ndarray, voxels: float) -> np.ndarray:
    """What runs, zones and dependences share, in the order of _by_size and the four after it.

    Args:
        counts: (levels, sizes).
        sizes: what each column stands for.
        voxels: how many voxels were counted from.
    """
    number = counts.sum()
    share = counts / number
    level = np.arange(1, len(counts) + 1, dtype=float)
    size = np.asarray(sizes, float)
    by_level, by_size = share.sum(1), share.sum(0)
    return np.array(
        [
            by_size @ size**-2,
            by_size @ size**2,
            by_level @ level**-2,
            by_level @ level**2,
            level**-2 @ share @ size**-2,
            level**2 @ share @ size**-2,
            level**-2 @ share @ size**2,
            level**2 @ share @ size**2,
            number * np.sum(by_level**2),
            np.sum(by_level**2),
            number * np.sum(by_size**2),
            np.sum(by_size**2),
            number / voxels,
            _variance(level, by_level),
            _variance(size, by_size),
            _entropy(share),
        ]
    )


def _of_differences(voxels: np.ndarray, differences: np.ndarray) -> np.ndarray:
    """NEIGHBORHOOD_DIFFERENCE of voxels with a neighbor and summed differences, per level."""
    number = voxels.sum()
    present = voxels > 0
    level = (np.flatnonzero(present) + 1).astype(float)
    share, differ = voxels[present] / number, differences[present]
    weighted = share @ differ
    coarseness = 1 / weighted if weighted > 0 else 1e6
    kinds = len(level)
    if kinds == 1:
        return np.array([coarseness, 0.0, 0.0, 0.0, 0.0])
    apart = level[:, None] - level
    both = share[:, None] + share
    contrast = (share @ apart**2 @ share) / (kinds * (kinds - 1)) * differ.sum() / number
    busyness = weighted / np.sum(np.abs((level * share)[:, None] - level * share))
    product = share * differ
    complexity = np.sum(np.abs(apart) * (product[:, None] + product) / both) / number
    total = differ.sum()
    strength = np.sum(both * apart**2) / total if total > 0 else 0.0
    return np.array([coarseness, contrast, busyness, complexity, strength])
