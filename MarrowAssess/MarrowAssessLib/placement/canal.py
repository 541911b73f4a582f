"""CSF in the canal that the network sees: fluid alone, neither roots nor cord nor epidural fat."""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.volume import Volume
from scipy import ndimage

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.placement.body import Placement
from MarrowAssessLib.placement.found_spine import Spine, canal_chance
from MarrowAssessLib.placement.star_surface import sample
from MarrowAssessLib.placement.vertebra import Surface, corners, voxels_holding
from MarrowAssessLib.study.regions import Region

SLABS = (1.0, 1.6, 2.2)
"""Half of the slab's height over half of the body's: a longer one where too little is found."""
WALL_MM = 1.5  # from the canal's wall
SECTION_MM = 2.0  # of the canal, along it
CORE_MM = 3.0  # from the wall: neither ligament nor epidural fat reaches there
FRONT, BESIDE = 0.42, 0.5  # of the sac's depth and half width: roots lie behind and at the sides
DARK_LEVEL = 0.4  # quantile of the signals there that is fluid's where fluid is dark
ALIKE = 0.35  # of the spread of signals there: so far fluid may differ from that
BRIGHT_SHARE = 0.8  # of the brightest tenth: fluid where it is bright
CORE_SHARE = 0.8  # of the depth from the wall that there is, where the canal is narrow
BRIGHTEST = 0.9  # quantile of the signals of the core, and of all inside
# Front of the sac over the brightest of all inside: less, and what lies behind is brighter than
# fluid. Sixteen real images (T2, TIRM, gradient echo) have .96 to 1.48 beside L1 to L5, and .71 to
# .92 beside T9 to T11, where the cord lies in front.
ALIKE_IN_FRONT = 0.9
FATTY = 1.8  # of fluid's signal on T1: what is brighter is fat, on T2 nearly as bright as fluid
AROUND_MM = (11.0, 34.0)  # to the sides and to front and back of the body's back wall
SMOOTHED_MM = 0.8  # SD of the Gaussian that noise is reduced with
USABLE_MM3, LEAST_MM3 = 250.0, 100.0
CORE, CORE_PLACES = 0.4, 5  # of a body's half sizes, and how many: where marrow's level is taken
ACROSS_PERCENT, ALONG_PERCENT = (
    (3, 97),
    (2, 98),
)  # the sac's ends in a section, without single voxels
LEAST_WIDE_MM = 3.0  # a sac is taken to be no narrower
SPREAD_ENDS, LEAST_ALIKE = (0.1, 0.9), 0.05  # quantiles of the signals there; of their level
BRIGHT = 1.3  # canal over marrow: then CSF is what is bright
# At the cord's end and beside roots fluid is left.
NO_CORD = ("L1", "L2", "L3", "L4", "L5", "L6", "S1")
FAT_OR_FLUID = (
    "What is brightest in the canal lies behind the sac's front: fluid behind cord or roots, or "
    "fat, which this image alone does not tell; give a T1 as well."
)
BESIDE_CORD = (
    "The cord may lie here and is not told from CSF in this image; give a T2 or STIR, or measure "
    "beside a lumbar vertebra."
)


def csf_of(
    volume: Volume, spine: Spine, body: Surface, site: str, fluid: Volume | None = None
) -> Placement:
    """CSF behind a body.

    Where CSF is bright (T2, STIR), the brightest even part of the canal's inside is fluid, for
    roots and cord are darker, and what is no fat on the image that is drawn on. Where that shows
    fluid bright itself, fat behind the sac may be the brightest: beside lumbar bodies the sac's
    front then tells fluid's level, unless it is no brighter than marrow (a cord or roots that lie
    in front, as in a kyphosis), and it is doubted. Where CSF is dark
    (T1), roots are hardly brighter than fluid, but they sink to the back of the sac, for the
    patient lies on it: fluid is the even part of the front.

    Args:
        volume: image to draw on.
        spine: as found in it.
        body: the vertebra's surface.
        site: its level.
        fluid: an image on which CSF is bright, of the same patient by its header.
    """
    shown = fluid or volume
    alone = shown is volume
    for slab in SLABS:
        mask, offset, depth, local = _canal(volume, spine, body, slab)
        roi = np.zeros_like(mask)
        core = depth >= min(CORE_MM, CORE_SHARE * depth.max())
        if mask.any():
            values = _smooth_values(volume, shown, mask.shape, offset)
            marrow = _marrow_level(shown, body)
            bright = fluid is not None or np.quantile(values[core], BRIGHTEST) > BRIGHT * marrow
            inside, front = depth > WALL_MM, _front_of_sac(mask, local)
            bright_behind = False
            if bright:
                if not alone:  # fat may be the brightest there
                    drawn_on = _smooth_values(volume, volume, mask.shape, offset)
                    inside &= drawn_on <= FATTY * np.quantile(drawn_on[core], DARK_LEVEL)
                # Beside the cord's end the core is cord, and fluid lies round it.
                level = max(_brightest(values, core & inside), _brightest(values, inside))
                in_front = _brightest(values, front & inside)
                bright_behind = alone and 0 < in_front < ALIKE_IN_FRONT * level
                if bright_behind and site in NO_CORD and in_front > BRIGHT * marrow:
                    level = in_front
                    inside &= values <= level / ALIKE_IN_FRONT
                like_fluid = values >= BRIGHT_SHARE * level
            else:
                inside &= front
                like_fluid = _even(values, inside)
            roi = _largest_piece(inside & like_fluid)
        if roi.sum() * volume.voxel_volume_mm3 >= USABLE_MM3:
            break
    name = f"{site} CSF"
    whole = Region(f"{name} body", Role.CSF, site, mask, offset)
    region = Region(name, Role.CSF, site, roi, offset)
    found = Placement(whole, region, [])
    if roi.any() and not bright and site not in NO_CORD:
        found.doubt(BESIDE_CORD)
    if roi.any() and bright_behind:
        found.doubt(FAT_OR_FLUID)
    if roi.sum() * volume.voxel_volume_mm3 < LEAST_MM3:
        found.doubt("Little CSF was found behind the body; place it by hand.")
    return found


def _canal(
    volume, spine, body, slab
) -> tuple[np.ndarray, tuple[int, int, int], np.ndarray, np.ndarray]:
    """The canal behind a body on the volume's grid, and its offset.

    Then depth from its wall, and places (..., 3) along the body's axes, mm.
    """
    box = body.box
    reach = np.array([*AROUND_MM, slab * box.half[2]])
    middle = box.center - box.half[1] * box.axes[1]
    offset, points = voxels_holding(volume, corners(middle, box.axes, reach))
    local = (points - middle) @ box.axes.T
    near = (np.abs(local) <= reach).all(axis=-1)
    mask = np.zeros(near.shape, bool)
    at = spine.frame.ras_to_ijk(points[near])
    mask[near] = np.nan_to_num(sample(canal_chance(spine.chances), at)) > 0.5
    depth = ndimage.distance_transform_edt(
        np.pad(mask, 1, mode="edge"), sampling=volume.spacing[::-1]
    )[1:-1, 1:-1, 1:-1]
    return mask, offset, np.where(mask, depth, 0.0), local


def _smooth_values(volume, shown, shape, offset) -> np.ndarray:
    k, j, i = np.indices(shape)
    grid = np.stack([i + offset[2], j + offset[1], k + offset[0]], -1)
    points = volume.to_ras(grid.reshape(-1, 3))
    values = sample(np.asarray(shown.array, np.float32), shown.ras_to_ijk(points))
    values = np.nan_to_num(values.reshape(shape), nan=float(np.nanmedian(values)))
    return ndimage.gaussian_filter(values, SMOOTHED_MM / volume.spacing[::-1])


def _marrow_level(shown: Volume, body: Surface) -> float:
    steps = np.stack(np.meshgrid(*[np.linspace(-CORE, CORE, CORE_PLACES)] * 3), -1).reshape(-1, 3)
    points = body.box.center + (steps * body.box.half) @ body.box.axes
    values = sample(np.asarray(shown.array, np.float32), shown.ras_to_ijk(points))
    return float(abs(np.nanmedian(values))) if np.isfinite(values).any() else 0.0


def _front_of_sac(mask: np.ndarray, local: np.ndarray) -> np.ndarray:
    """The sac's front near the middle, cross-section by cross-section."""
    front = np.zeros_like(mask)
    height = np.rint(local[..., 2] / SECTION_MM).astype(int)
    for section in np.unique(height[mask]):
        here = mask & (height == section)
        across, along = local[here][:, 0], local[here][:, 1]
        left, right = np.percentile(across, ACROSS_PERCENT)
        back, ahead = np.percentile(along, ALONG_PERCENT)
        near = np.abs(across - (left + right) / 2) < BESIDE * max((right - left) / 2, LEAST_WIDE_MM)
        front[here] = near & (ahead - along < FRONT * max(ahead - back, LEAST_WIDE_MM))
    return front


def _brightest(values: np.ndarray, where: np.ndarray) -> float:
    return float(np.quantile(values[where], BRIGHTEST)) if where.any() else 0.0


def _even(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Where signals are near those of the darker part of the inside."""
    if not inside.any():
        return inside
    level, low, high = np.quantile(values[inside], [DARK_LEVEL, *SPREAD_ENDS])
    return np.abs(values - level) <= max(ALIKE * (high - low), LEAST_ALIKE * abs(level))


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels[mask], minlength=count + 1)
    sizes[0] = 0
    return labels == sizes.argmax() if sizes.any() else np.zeros_like(mask)
