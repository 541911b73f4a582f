"""Shape features of a region, each with its code of the IBSI.

Definitions: IBSI reference manual (arXiv 1612.07003), Zwanenburg et al. 2020,
doi 10.1148/radiol.2020191145.
"""

from __future__ import annotations

import numpy as np
from scipy import fft
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from skimage.measure import marching_cubes

from MarrowAssessLib.texture.feature import Feature

SHAPE = (
    Feature("RNU0", "Volume (mesh)", True),
    Feature("YEKZ", "Volume (voxel counting)", True),
    Feature("C0JK", "Surface area (mesh)", True),
    Feature("2PR5", "Surface to volume ratio", True),
    Feature("SKGS", "Compactness 1"),
    Feature("BQWJ", "Compactness 2"),
    Feature("KRCK", "Spherical disproportion"),
    Feature("QCFX", "Sphericity"),
    Feature("25C7", "Asphericity"),
    Feature("KLMA", "Center of mass shift"),
    Feature("L0JK", "Maximum 3D diameter", True),
    Feature("TDIC", "Major axis length", True),
    Feature("P9VJ", "Minor axis length", True),
    Feature("7J51", "Least axis length", True),
    Feature("Q3CK", "Elongation"),
    Feature("N17B", "Flatness"),
    Feature("PBX1", "Volume density (axis-aligned bounding box)"),
    Feature("R59B", "Area density (axis-aligned bounding box)"),
    Feature("6BDE", "Volume density (approximate enclosing ellipsoid)"),
    Feature("RDD2", "Area density (approximate enclosing ellipsoid)"),
    Feature("R3ER", "Volume density (convex hull)"),
    Feature("7T7F", "Area density (convex hull)"),
    Feature("99N0", "Integrated intensity", True),
    Feature("N365", "Moran's I index"),
    Feature("NPT7", "Geary's C measure"),
)


def shape_features(
    values: np.ndarray,
    shape_mask: np.ndarray,
    intensity_mask: np.ndarray,
    spacing_mm: tuple[float, float, float],
) -> dict[str, float]:
    """SHAPE by IBSI code; lengths in mm.

    Args:
        values: (slices, rows, columns).
        shape_mask: bool, the region; at least two voxels on each axis make a shape.
        intensity_mask: bool, its voxels whose values count.
        spacing_mm: between slices, rows and columns.

    Raises:
        ValueError: the region is flat (its voxels lie in one plane).
    """
    spacing = np.asarray(spacing_mm, float)
    box = tuple(slice(where.min(), where.max() + 1) for where in np.nonzero(shape_mask))
    values, shape_mask, intensity_mask = values[box], shape_mask[box], intensity_mask[box]
    points, weighted = (np.argwhere(mask) * spacing for mask in (shape_mask, intensity_mask))
    if np.linalg.matrix_rank(points - points[0]) < 3:
        raise ValueError("The region lies in one plane, so it has no shape; draw it in 3D.")
    intensity = np.asarray(values, float)[intensity_mask]
    surface, faces, _, _ = marching_cubes(
        np.pad(shape_mask.astype(np.float32), 1), 0.5, spacing=tuple(spacing)
    )
    corners = surface[faces].astype(float)
    volume = abs(np.einsum("ni,ni->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))) / 6
    edges = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(edges, axis=1).sum() / 2
    of_sphere = (36 * np.pi * volume**2) ** (1 / 3)
    hull = ConvexHull(surface)
    mass = (weighted * intensity[:, None]).sum(0) / intensity.sum()
    variances = np.linalg.eigvalsh(np.cov(points.T))[::-1]
    major, minor, least = 4 * np.sqrt(variances.clip(0))
    ellipsoid = 4 / 3 * np.pi * major * minor * least / 8
    sides = np.ptp(surface, axis=0)
    moran, geary = _spatial_correlation(values, intensity_mask, spacing)
    found = (
        volume,
        len(points) * spacing.prod(),
        area,
        area / volume,
        volume / np.sqrt(np.pi * area**3),
        36 * np.pi * volume**2 / area**3,
        area / of_sphere,
        of_sphere / area,
        area / of_sphere - 1,
        np.linalg.norm(points.mean(0) - mass),
        pdist(surface[hull.vertices]).max(),
        major,
        minor,
        least,
        minor / major,
        least / major,
        volume / sides.prod(),
        area / (2 * (sides * np.roll(sides, 1)).sum()),
        volume / ellipsoid,
        area / _ellipsoid_area(major / 2, minor / 2, least / 2),
        volume / hull.volume,
        area / hull.area,
        intensity.mean() * volume,
        moran,
        geary,
    )
    return {each.code: float(one) for each, one in zip(SHAPE, found, strict=True)}


def _ellipsoid_area(a: float, b: float, c: float) -> float:
    """Surface of an ellipsoid with semi-axes a >= b >= c, by the manual's series of 20 terms."""
    alpha, beta = np.sqrt(1 - b**2 / a**2), np.sqrt(1 - c**2 / a**2)
    if alpha * beta == 0:  # a sphere, or close to one: the series is 1
        return 4 * np.pi * a * b
    orders = np.arange(21)
    x = (alpha**2 + beta**2) / (2 * alpha * beta)
    legendre = np.array([np.polynomial.legendre.legval(x, np.eye(21)[n]) for n in orders])
    return float(
        4 * np.pi * a * b * np.sum((alpha * beta) ** orders / (1 - 4 * orders**2) * legendre)
    )


def _spatial_correlation(
    values: np.ndarray, mask: np.ndarray, spacing: np.ndarray
) -> tuple[float, float]:
    """Moran's I and Geary's C with weights of one over the distance, all pairs at once by FFT."""
    number = int(mask.sum())
    apart = np.where(mask, values, 0.0) - np.where(mask, values[mask].mean(), 0.0)
    square = np.sum(apart**2)
    if number < 2 or square == 0:
        return float("nan"), float("nan")
    shape = [fft.next_fast_len(2 * n - 1, real=True) for n in mask.shape]
    axes = (
        np.minimum(np.arange(n), n - np.arange(n)) * size
        for n, size in zip(shape, spacing, strict=True)
    )
    distance = np.sqrt(sum(part**2 for part in np.meshgrid(*axes, indexing="ij")))
    weight = np.divide(1.0, distance, out=np.zeros_like(distance), where=distance > 0)
    transformed = fft.rfftn(weight)

    def neighbors(image: np.ndarray) -> np.ndarray:
        spread = fft.irfftn(fft.rfftn(image, shape) * transformed, shape)
        return spread[tuple(slice(n) for n in mask.shape)]

    weights = neighbors(mask.astype(float))
    total = np.sum(weights[mask])
    product = np.sum(apart * neighbors(apart))
    difference = 2 * np.sum(apart**2 * weights) - 2 * product
    return number / total * product / square, (number - 1) / (2 * total) * difference / square
