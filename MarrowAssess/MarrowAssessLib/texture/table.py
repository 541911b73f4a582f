"""The full set of features of every region and image, and of filtered images: one row a region."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress, tell

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.texture.discretization import RELATIVE_BINS, Discretization, discretization_of
from MarrowAssessLib.texture.feature import ORIGINAL, OVER, SHAPE_OF, Feature, asked
from MarrowAssessLib.texture.features import (
    CO_OCCURRENCE,
    DEPENDENCE,
    DISTANCE_ZONE,
    NEIGHBORHOOD_DIFFERENCE,
    RUN_LENGTH,
    SIZE_ZONE,
)
from MarrowAssessLib.texture.intensity import (
    HISTOGRAM,
    INTENSITY_VOLUME,
    LOCAL,
    STATISTICS,
    local_peaks,
    peak_reach,
)
from MarrowAssessLib.texture.perturbed import perturbations
from MarrowAssessLib.texture.region import RegionTexture, region_texture
from MarrowAssessLib.texture.responses import USUAL, Filter
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
# Signals in arbitrary units are also counted over the median of the first of these that is there.
_SIGNALS = (Contrast.T1, Contrast.T2, Contrast.FS_T2)
_REFERENCES = (Role.MUSCLE, Role.DISC, Role.CSF)
_OF_INTENSITIES = ("KLMA", "99N0", "N365", "NPT7")  # shape features that need them
_OF_RESPONSES = Discretization(bins=32)  # filtered images have no unit


Range = tuple[float, float]  # lowest and highest value


@dataclass
class Row:
    """The features of one region.

    Attributes:
        region: its name.
        tissue: its role, such as "marrow".
        site: canonical site.
        values: by column: image, filter and IBSI code, such as "T1_original_ACUI"; "shape_RNU0".
            "T1_over_muscle_ACUI" is of the signal over that of muscle.
        settings: by image: what its features depend on; only rows of equal settings compare.
        levels: by image: how many gray levels there are, and between which values.
        missing: by image: why it gave no features.
    """

    region: str
    tissue: str
    site: str
    values: dict[str, float] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    levels: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def radiomics_rows(
    volumes: dict[Contrast, Volume],
    regions: Sequence[Region],
    filtered: bool = False,
    progress: Progress | None = None,
    done_before: Mapping[Contrast, str] | None = None,
    tissue: str = "",
    ranges: Mapping[Contrast, Range] | None = None,
    more: Sequence[Filter] = (),
    codes: Collection[str] | None = None,
) -> list[Row]:
    """Features of all regions in all images.

    Args:
        volumes: images on one grid, by what they show.
        regions: on that grid.
        filtered: also of Laplacians of Gaussians and wavelet bands (needs PyWavelets).
        done_before: what was done to an image before, such as "resampled"; the settings say it.
        tissue: only regions of it; signals are still divided by those of the others.
        ranges: voxels of an image with other values are left out (re-segmentation, IBSI 2.5); the
            region's shape stays.
        more: filters beside those, see `responses`.
        codes: IBSI codes that are asked for; families without one of them need not be counted.

    Raises:
        InterruptedError: progress asked to cancel.
        ModuleNotFoundError: PyWavelets is not installed.
    """
    references = _references(volumes, regions)
    filters = (*(USUAL if filtered else ()), *more)
    rows = []
    regions = [region for region in regions if tissue in ("", region.role.value)]
    for n, region in enumerate(regions):
        row = Row(region.name, region.role.value, region.site)
        for m, (contrast, volume) in enumerate(volumes.items()):
            tell(progress, (n + m / len(volumes)) / len(regions), "Counting features")
            before, kept = (done_before or {}).get(contrast, ""), (ranges or {}).get(contrast)
            part = _part(region, volume, filters, before, kept)
            _add(row, contrast, replace(part, codes=codes), references.get(contrast))
        rows.append(row)
    return rows


def stability_rows(
    volumes: dict[Contrast, Volume],
    regions: Sequence[Region],
    filtered: bool = False,
    ranges: Mapping[Contrast, Range] | None = None,
    more: Sequence[Filter] = (),
) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Region, variant and features of every region as it is drawn and a little changed.

    Arguments are as for `radiomics_rows`. A variant in which a region is too small for texture is
    left out.
    """
    references = _references(volumes, regions)
    filters = (*(USUAL if filtered else ()), *more)
    for region in regions:
        variants: dict[str, Row] = {}
        for contrast, volume in volumes.items():
            drawn = _part(region, volume, filters, kept=(ranges or {}).get(contrast))
            for one in perturbations(drawn.values, drawn.mask, drawn.slice_axis):
                row = variants.setdefault(one.name, Row(region.name, region.role.value, ""))
                part = replace(drawn, values=one.values, mask=one.mask, coarser=one.coarser)
                _add(row, contrast, part, references.get(contrast))
        for name, row in variants.items():
            if row.values:
                yield region.name, name, row.values


def _references(
    volumes: dict[Contrast, Volume], regions: Sequence[Region]
) -> dict[Contrast, tuple[Role, float]]:
    """By signal: the tissue that it is divided by, and that tissue's median."""
    found = {}
    for contrast in (c for c in volumes if c in _SIGNALS):
        for role in _REFERENCES:
            values = [one.values(volumes[contrast].array) for one in regions if one.role is role]
            known = np.concatenate(values) if values else np.array([])
            known = known[np.isfinite(known)]
            if known.size and np.median(known) > 0:
                found[contrast] = role, float(np.median(known))
                break
    return found


@dataclass(frozen=True)
class _Part:
    """A region and what lies round it, as far as filters and local peaks look.

    Attributes:
        values, mask: (array axes k, j, i) the image, and the region in it.
        spacing: voxel side along each axis, in mm.
        role: tissue of the region.
        filters: whose responses are counted as well.
        before: what was done to the image.
        coarser: how much wider bins of gray levels are than usual.
        kept: lowest and highest value that counts; None keeps all.
        codes: of features that are asked for; None asks for all.
    """

    values: np.ndarray
    mask: np.ndarray
    spacing: np.ndarray
    role: Role
    filters: Sequence[Filter] = ()
    before: str = ""
    coarser: float = 1.0
    kept: Range | None = None
    codes: Collection[str] | None = None

    @property
    def in_range(self) -> np.ndarray:
        """The voxels whose value is known and counts."""
        low, high = self.kept or (-np.inf, np.inf)
        return np.isfinite(self.values) & (self.values >= low) & (self.values <= high)

    @property
    def slice_axis(self) -> int:
        """Across slices."""
        return int(np.argmax(self.spacing))

    @property
    def how(self) -> str:
        """Its voxels in words."""
        sides = " x ".join(f"{side:.2f}" for side in self.spacing[::-1])
        kept = "; values {:g} to {:g}".format(*self.kept) if self.kept else ""
        return f"voxels {sides} mm{f' ({self.before})' if self.before else ''}{kept}"


def _part(
    region: Region,
    volume: Volume,
    filters: Sequence[Filter],
    before: str = "",
    kept: Range | None = None,
) -> _Part:
    spacing = np.asarray(volume.spacing[::-1], float)  # of array axes k, j, i
    reach = np.array(peak_reach(spacing)) + 1  # a voxel for moved outlines
    if filters:
        reach += np.max([one.reach(spacing) for one in filters], axis=0)
    box = _widened(region.box, reach, volume.array.shape)
    inside = _widened(region.box, np.zeros(3, int), volume.array.shape)
    values = volume.array[box].astype(float)
    mask = np.zeros(values.shape, bool)
    here = (slice(i.start - b.start, i.stop - b.start) for i, b in zip(inside, box, strict=True))
    mask[tuple(here)] = region.mask
    return _Part(values, mask, spacing, region.role, filters, before, kept=kept)


def _widened(box: Sequence[slice], reach: Sequence[int], shape: Sequence[int]) -> tuple:
    return tuple(
        slice(max(one.start - n, 0), min(one.stop + n, size))
        for one, n, size in zip(box, reach, shape, strict=True)
    )


def _add(row: Row, contrast: Contrast, part: _Part, reference: tuple[Role, float] | None) -> None:
    """Features of an image, and of its signal over a reference tissue's; each may be missing."""
    name = contrast.value
    try:
        _add_image(row, name, part, discretization_of(contrast))
    except ValueError as error:
        row.missing[name] = str(error)
    if reference is None or reference[0] is part.role:
        return
    role, median = reference
    name = f"{name}{OVER}{role.value}"
    try:
        kept = part.kept and (part.kept[0] / median, part.kept[1] / median)
        _add_relative(row, name, replace(part, values=part.values / median, kept=kept))
    except ValueError as error:
        row.missing[name] = str(error)


def _add_relative(row: Row, name: str, part: _Part) -> None:
    """Texture of signals over a reference tissue's: levels that mean the same in every patient."""
    one = _texture(row, name, part, Discretization(bin_width=RELATIVE_BINS))
    row.values |= {f"{name}_{code}": value for code, value in one.features.items()}


def _add_image(row: Row, name: str, part: _Part, bins: Discretization) -> None:
    one = _texture(row, name, part, bins)
    counted = part.mask & part.in_range
    spacing = tuple(part.spacing)
    found = one.features | _peaks(part, part.values, counted)
    row.values |= {f"{name}_{ORIGINAL}_{code}": value for code, value in found.items()}
    if asked(SHAPE, part.codes):
        try:
            shape = shape_features(part.values, part.mask, counted, spacing)
        except ValueError as error:
            row.missing[SHAPE_OF] = str(error)
        else:
            for code, value in shape.items():
                of = f"{name}_{ORIGINAL}" if code in _OF_INTENSITIES else SHAPE_OF
                row.values[f"{of}_{code}"] = value
    if not part.filters:
        return
    near = _widened(_box(part.mask), peak_reach(part.spacing), part.mask.shape)
    mask = part.mask[near]
    inside, bins = _box(mask), _OF_RESPONSES.coarser(part.coarser)
    left_out = ~part.in_range[near]
    for filtered, response in _responses(part, near):
        response[left_out] = np.nan
        one = region_texture(
            response[inside], mask[inside], part.spacing, bins, complete=True, codes=part.codes
        )
        found = one.features | _peaks(part, response, mask & np.isfinite(response))
        row.values |= {f"{name}_{filtered}_{code}": value for code, value in found.items()}


def _peaks(part: _Part, values: np.ndarray, counted: np.ndarray) -> dict[str, float]:
    """Local peaks of an image or a response of a part, if they are asked for."""
    return local_peaks(values, counted, tuple(part.spacing)) if asked(LOCAL, part.codes) else {}


def _texture(row: Row, name: str, part: _Part, bins: Discretization) -> RegionTexture:
    """Texture of a part; the row keeps how it was counted."""
    box = _box(part.mask)
    values = np.where(part.in_range, part.values, np.nan)[box]
    bins = bins.coarser(part.coarser)
    one = region_texture(
        values, part.mask[box], part.spacing, bins, complete=True, codes=part.codes
    )
    row.settings[name] = f"{part.how}; {one.aggregation.value}; {one.discretization}"
    row.levels[name] = one.levels_text
    return one


def _box(mask: np.ndarray) -> tuple:
    """The smallest that holds a mask; all of it if the mask is empty."""
    if not mask.any():
        return (slice(None),) * 3
    return tuple(slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(mask))


def _responses(part: _Part, box: tuple) -> Iterator[tuple[str, np.ndarray]]:
    """Filtered images in the box."""
    axis = part.slice_axis
    known = np.isfinite(part.values)
    filled = np.where(known, part.values, np.median(part.values[part.mask & known]))
    turned = np.moveaxis(filled, axis, 0)
    wanted = (box[axis], *(one for n, one in enumerate(box) if n != axis))
    sides = np.array([part.spacing[axis], *np.delete(part.spacing, axis)])

    def back(response: np.ndarray) -> np.ndarray:
        return np.where(known[box], np.moveaxis(response, 0, axis), np.nan)

    for one in part.filters:
        for name, response in one.responses(turned, sides, wanted):
            yield name, back(response)
