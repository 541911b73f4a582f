"""The full set of features of every region and image, and of filtered images: one row a region."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.texture.discretization import RELATIVE_BINS, Discretization, discretization_of
from MarrowAssessLib.texture.features import (
    CO_OCCURRENCE,
    DEPENDENCE,
    DISTANCE_ZONE,
    NEIGHBORHOOD_DIFFERENCE,
    RUN_LENGTH,
    SIZE_ZONE,
    Feature,
)
from MarrowAssessLib.texture.filters import laplacian_of_gaussian, wavelet
from MarrowAssessLib.texture.intensity import (
    HISTOGRAM,
    INTENSITY_VOLUME,
    LOCAL,
    STATISTICS,
    local_peaks,
)
from MarrowAssessLib.texture.perturbed import perturbations
from MarrowAssessLib.texture.region import NEARLY_CUBIC, RegionTexture, region_texture
from MarrowAssessLib.texture.shape import SHAPE, shape_features

FEATURES: tuple[Feature, ...] = (
    *SHAPE,
    *LOCAL,
    *STATISTICS,
    *HISTOGRAM,
    *INTENSITY_VOLUME,
    *CO_OCCURRENCE,
    *RUN_LENGTH,
    *SIZE_ZONE,
    *DISTANCE_ZONE,
    *NEIGHBORHOOD_DIFFERENCE,
    *DEPENDENCE,
)
ORIGINAL = "original"
RELATIVE = "relative"
# Signals in arbitrary units are also counted over the median of the first of these that is there.
_SIGNALS = (Contrast.T1, Contrast.T2, Contrast.FS_T2)
_REFERENCES = (Role.MUSCLE, Role.DISC, Role.CSF)
LOG_SIGMAS_MM = (1.0, 3.0, 5.0)
WAVELET = "coif1"
_OF_INTENSITIES = ("KLMA", "99N0", "N365", "NPT7")  # shape features that need them
_MARGIN_VOXELS = 24  # of the image round a region that is filtered with it


@dataclass
class Row:
    """The features of one region.

    Attributes:
        region: its name.
        tissue: its role, such as "marrow".
        site: canonical site.
        values: by column: image, filter and IBSI code, such as "T1_original_ACUI"; "shape_RNU0".
            "T1_relative_ACUI" is of the signal over that of a reference tissue.
        settings: by image: what its features depend on; only rows of equal settings compare.
        missing: by image: why it gave no features.
    """

    region: str
    tissue: str
    site: str
    values: dict[str, float] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def radiomics_rows(
    volumes: dict[Contrast, Volume],
    regions: Sequence[Region],
    filtered: bool = False,
    progress: Callable[[float], bool] | None = None,
    resampled: bool = False,
) -> list[Row]:
    """Features of all regions in all images.

    Args:
        volumes: images on one grid, by what they show.
        regions: on that grid.
        filtered: also of Laplacians of Gaussians and wavelet bands (needs PyWavelets).
        progress: called with the fraction done; return False to cancel.
        resampled: whether images and regions come from resampling.at_spacing, which the settings
            say.

    Raises:
        InterruptedError: progress asked to cancel.
        ModuleNotFoundError: PyWavelets is not installed.
    """
    references = {c: _reference(v, regions) for c, v in volumes.items() if c in _SIGNALS}
    rows = []
    for n, region in enumerate(regions):
        row = Row(region.name, region.role.value, region.site)
        for m, (contrast, volume) in enumerate(volumes.items()):
            if progress and not progress((n + m / len(volumes)) / len(regions)):
                raise InterruptedError("Canceled while features were counted.")
            try:
                _add_image(row, region, contrast, volume, filtered, resampled)
                if reference := references.get(contrast):
                    _add_relative(row, region, contrast, volume, reference, resampled)
            except ValueError as error:
                row.missing[contrast.value] = str(error)
        rows.append(row)
    return rows


def _reference(volume: Volume, regions: Sequence[Region]) -> tuple[Role, float] | None:
    """The tissue that signals are divided by, and its median."""
    for role in _REFERENCES:
        values = [one.values(volume.array) for one in regions if one.role is role]
        known = np.concatenate(values) if values else np.array([])
        known = known[np.isfinite(known)]
        if known.size and np.median(known) > 0:
            return role, float(np.median(known))
    return None


def _add_relative(
    row: Row,
    region: Region,
    contrast: Contrast,
    volume: Volume,
    reference: tuple[Role, float],
    resampled: bool,
) -> None:
    """Texture of signals over a reference tissue's: levels that mean the same in every patient."""
    role, median = reference
    if region.role is role:
        return
    spacing = volume.spacing[::-1]
    values = volume.array[region.box].astype(float) / median
    bins = Discretization(bin_width=RELATIVE_BINS)
    one = region_texture(values, region.mask, spacing, bins, complete=True)
    name = f"{contrast.value}_{RELATIVE}"
    row.settings[name] = f"{_how(spacing, one, resampled)}; signal over {role.value}"
    row.values |= {f"{name}_{code}": value for code, value in one.features.items()}


def _how(spacing: np.ndarray, one: RegionTexture, resampled: bool) -> str:
    sides = " x ".join(f"{side:.2f}" for side in spacing[::-1])
    return (
        f"voxels {sides} mm{' (resampled)' if resampled else ''}; {one.aggregation.value}; "
        f"{one.discretization}"
    )


def _add_image(
    row: Row, region: Region, contrast: Contrast, volume: Volume, filtered: bool, resampled: bool
) -> None:
    box, inside = _surrounded(region, volume.array.shape)
    around = volume.array[box].astype(float)
    mask = np.zeros(around.shape, bool)
    mask[inside] = region.mask
    spacing = volume.spacing[::-1]  # of array axes k, j, i
    for name, image in _images(around, spacing, filtered):
        bins = discretization_of(contrast) if name == ORIGINAL else Discretization(bins=32)
        one = region_texture(image[inside], region.mask, spacing, bins, complete=True)
        counted = mask & np.isfinite(image)
        found = one.features | local_peaks(image, counted, tuple(spacing))
        if name == ORIGINAL:
            row.settings[contrast.value] = _how(spacing, one, resampled)
            shape = shape_features(image, mask, counted, tuple(spacing))
            found |= {code: shape.pop(code) for code in _OF_INTENSITIES}
            row.values |= {f"shape_{code}": value for code, value in shape.items()}
        row.values |= {f"{contrast.value}_{name}_{code}": v for code, v in found.items()}


def stability_rows(
    volumes: dict[Contrast, Volume], regions: Sequence[Region]
) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Region, variant and features of every region as it is drawn and a little changed.

    A variant in which a region is too small for texture is left out.
    """
    for region in regions:
        variants: dict[str, dict[str, float]] = {}
        for contrast, volume in volumes.items():
            box, inside = _surrounded(region, volume.array.shape)
            around = volume.array[box].astype(float)
            mask = np.zeros(around.shape, bool)
            mask[inside] = region.mask
            spacing = volume.spacing[::-1]
            bins = discretization_of(contrast)
            for one in perturbations(around, mask, int(np.argmax(spacing)), bins):
                try:
                    found = region_texture(
                        one.values, one.mask, spacing, one.discretization, complete=True
                    )
                except ValueError:
                    continue
                variants.setdefault(one.name, {}).update(
                    {f"{contrast.value}_{ORIGINAL}_{c}": v for c, v in found.features.items()}
                )
        for name, values in variants.items():
            yield region.name, name, values


def _images(
    around: np.ndarray, spacing: np.ndarray, filtered: bool
) -> Iterator[tuple[str, np.ndarray]]:
    """The image and its filtered ones, in the acquired slice plane unless voxels are cubes."""
    yield ORIGINAL, around
    if not filtered:
        return
    axis = int(np.argmax(spacing))
    flat = float(spacing.max() / spacing.min()) > NEARLY_CUBIC
    known = np.isfinite(around)
    turned = np.moveaxis(np.where(known, around, np.median(around[known])), axis, 0)
    sides = [spacing[axis], *np.delete(spacing, axis)]

    def back(response: np.ndarray) -> np.ndarray:
        return np.where(known, np.moveaxis(response, 0, axis), np.nan)

    for sigma_mm in LOG_SIGMAS_MM:
        response = laplacian_of_gaussian(turned, sigma_mm, sides, in_slice=flat)
        yield f"LoG{sigma_mm:g}mm", back(response)
    for letters in product("LH", repeat=2 if flat else 3):
        band = "".join(letters)
        response = wavelet(turned, WAVELET, band, rotation_invariant=False)
        yield f"wavelet{band}", back(response)


def _surrounded(region: Region, shape: tuple[int, ...]) -> tuple[tuple, tuple]:
    """The region's box with a margin of the image, and the region's place in it."""
    box, inside = [], []
    for own, size in zip(region.box, shape, strict=True):
        start = max(own.start - _MARGIN_VOXELS, 0)
        box.append(slice(start, min(own.stop + _MARGIN_VOXELS, size)))
        inside.append(slice(own.start - start, own.stop - start))
    return tuple(box), tuple(inside)
