"""Which filtered images are counted like the image: the usual ones, and what is asked for.

Filters work in the acquired slice plane unless voxels are nearly cubes (Gabor filters: cubes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from MarrowAssessLib.texture.filters import (
    LOG_CUT,
    Box,
    gabor,
    laplacian_of_gaussian,
    laws,
    wavelet,
)
from MarrowAssessLib.texture.flat import flat

LOG_SIGMAS_MM = (1.0, 3.0, 5.0)
WAVELET = "coif1"
_WAVELET_REACH = 4  # voxels
LAWS_ENERGY = 7  # voxels on each side, as in IBSI-2
_LAWS_REACH = 2 + LAWS_ENERGY
_GABOR_CUT = 7  # sigma
_GABOR_ANGLES_RAD = np.arange(0, np.pi, np.pi / 4)
_SQUARE = 1.01  # ratio of a square pixel's sides at most, and of a cube's

Responses = Callable[[np.ndarray, np.ndarray, Box], Iterator[tuple[str, np.ndarray]]]


@dataclass(frozen=True)
class Filter:
    """A filter, or some of one kind.

    Attributes:
        reach_mm, reach_voxels: how far it looks; the larger of both.
        responses: of an image (slices, rows, columns), its voxels' sides in that order (mm) and
            the part that is wanted: names for columns, and images.
        square: whether it needs square pixels.
    """

    reach_mm: float
    reach_voxels: int
    responses: Responses
    square: bool = False

    def reach(self, spacing_mm: np.ndarray) -> np.ndarray:
        """Voxels along each axis.

        Raises:
            ValueError: it needs square pixels, and these are not.
        """
        sides = np.delete(spacing_mm, int(np.argmax(spacing_mm)))
        if self.square and max(sides) > _SQUARE * min(sides):
            raise ValueError(
                f"Gabor filters need square pixels; these are {sides[1]:.2f} x {sides[0]:.2f} mm: "
                "resample the images first (--spacing)."
            )
        wide = np.maximum(np.ceil(self.reach_mm / spacing_mm), self.reach_voxels).astype(int)
        if flat(spacing_mm):
            wide[int(np.argmax(spacing_mm))] = 0
        return wide


def laws_filter(kernels: str) -> Filter:
    """The energy of Laws' kernels by name, such as "E5L5S5" (columns, rows, slices).

    It is the mean magnitude over 15 voxels a side, of the highest response over all turns by
    right angles. In the slice the first two kernels are used.

    Raises:
        ValueError: there are no such kernels.
    """
    laws(np.zeros((1, 1, 1)), kernels, "nearest", rotation_invariant=False)  # refuses

    def responses(image: np.ndarray, sides_mm: np.ndarray, box: Box):
        in_slice = flat(sides_mm)
        used = kernels[:4] if in_slice else kernels
        found = laws(image, used, energy_voxels=LAWS_ENERGY, in_slice=in_slice)
        yield f"Laws{used}", found[box]

    return Filter(0.0, _LAWS_REACH, responses)


def gabor_filter(sigma_mm: float, wavelength_mm: float, aspect: float) -> Filter:
    """The mean modulus of Gabor filters in four directions, with cubes in three planes.

    Cubes are voxels whose sides differ by 1 %, as those of square pixels may.

    Args:
        sigma_mm, wavelength_mm, aspect: see `filters.gabor`.

    Raises:
        ValueError: a number that is not above 0, or not finite.
    """
    if not all(0 < one < np.inf for one in (sigma_mm, wavelength_mm, aspect)):
        raise ValueError(
            "A Gabor filter has a sigma and a wavelength (mm) and an aspect above 0, and finite; "
            f"given were {sigma_mm:g}, {wavelength_mm:g}, {aspect:g}."
        )

    def responses(image: np.ndarray, sides_mm: np.ndarray, box: Box):
        found = gabor(
            image, sigma_mm, wavelength_mm, aspect, _GABOR_ANGLES_RAD, float(sides_mm[1]),
            all_planes=bool(max(sides_mm) <= _SQUARE * min(sides_mm)),
        )  # fmt: skip
        yield f"Gabor{sigma_mm:g}mm{wavelength_mm:g}mm{aspect:g}", found[box]

    return Filter(_GABOR_CUT * max(sigma_mm, sigma_mm / aspect), 0, responses, square=True)


def _laplacians(image: np.ndarray, sides_mm: np.ndarray, box: Box):
    for sigma_mm in LOG_SIGMAS_MM:
        found = laplacian_of_gaussian(image, sigma_mm, sides_mm, in_slice=flat(sides_mm), box=box)
        yield f"LoG{sigma_mm:g}mm", found


def _wavelets(image: np.ndarray, sides_mm: np.ndarray, box: Box):
    for letters in product("LH", repeat=2 if flat(sides_mm) else 3):
        band = "".join(letters)
        yield f"wavelet{band}", wavelet(image, WAVELET, band, rotation_invariant=False, box=box)


USUAL = (
    Filter(LOG_CUT * max(LOG_SIGMAS_MM), 0, _laplacians),
    Filter(0.0, _WAVELET_REACH, _wavelets),
)
"""Laplacians of Gaussians and wavelet bands (which need PyWavelets)."""
