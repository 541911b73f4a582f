"""Discs: what lies between the endplates of two vertebral bodies."""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.volume import Volume, product
from scipy import ndimage

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.placement.body import MARGIN_MM, Placement, ball, eroded, place_body
from MarrowAssessLib.placement.narrow import NARROW_MM, continued, is_narrow, width_mm
from MarrowAssessLib.placement.star_surface import sample
from MarrowAssessLib.placement.vertebra import (
    BodyPrior,
    Surface,
    corners,
    sagittal_box,
    template_points,
    tilt_deg,
    voxels_holding,
)
from MarrowAssessLib.study.regions import Region

LEAST_DISC_MM3 = 150.0
DISC_BOUNDS_MM = (2.5, 20.0)
SEEN = 0.7  # probability of disc: at .5 it reaches into the bony endplates
ENDPLATE_MM = 1.2  # bony and cartilaginous endplate between marrow and disc
# Tilt of a disc and of the bodies beside it against it: the sacrum is bent back from L5.
DISC_TILTS_DEG = [(tilt, 0.0) for tilt in (-45.0, -30.0, -15.0, 0.0, 15.0, 30.0)]
DISC_TILTS_DEG += [(-45.0, 15.0), (-30.0, 15.0)]
TILT_SD_DEG = 12.0  # of the bodies beside a clicked disc
BESIDE_MM = 18.0  # from a disc to the middle of a body beside it: half of both heights
# Of a body's half height: its surface's points beyond are its endplate, where its outline is looked
# up, and where a disc begins.
FACE_FROM, INTO_BODY, PLATE_FROM = 0.5, 0.7, 0.75
MIDDLE_MM = 4.0  # round a disc's middle, to each side: where its height is taken
WIDER = 1.25  # of the bodies' half sizes: how far a disc that a network sees may bulge
OPENED_MM, OPENED_SEEN_MM = 2.0, 1.0  # thinner pieces are none of a disc, or of one that is seen
BULGE = 1.08  # a disc is that much deeper than the waist of the bodies beside it


def disc_between(
    volume: Volume, upper: Surface, lower: Surface, site: str, margin_mm: float | None = None
) -> Placement:
    """The disc between two bodies: between their endplates, inside both outlines."""
    margin = MARGIN_MM[Role.DISC] if margin_mm is None else margin_mm
    top, bottom = upper.box, lower.box
    axis = top.center - bottom.center
    axis /= np.linalg.norm(axis)
    plates = []
    for surface, side in ((upper, -1), (lower, 1)):
        points = template_points(surface)
        face = points[points[:, 2] * side > FACE_FROM * surface.box.half[2]]
        plates.append(surface.box.center + face @ surface.box.axes)
    both = np.concatenate(plates)
    offset, places = voxels_holding(volume, both, spare=1)
    points = places.reshape(-1, 3)
    inside = _between(points, upper, lower)
    mask = _opened(inside.reshape(places.shape[:3]), volume, OPENED_MM)
    name = f"{site} disc".strip()
    body = Region(f"{name} body", Role.DISC, site, mask, offset)
    roi = Region(name, Role.DISC, site, eroded(mask, volume, margin), offset)
    unsure = []
    across = np.abs(product(points - both.mean(axis=0), top.axes[:2].T))
    middle = across.max(axis=1) < MIDDLE_MM
    height = inside[middle].sum() * volume.voxel_volume_mm3 / (2 * MIDDLE_MM)
    height /= min(2 * MIDDLE_MM, width_mm(volume))
    if not DISC_BOUNDS_MM[0] <= height <= DISC_BOUNDS_MM[1]:
        unsure.append(f"The disc is {height:.0f} mm high; 3 to 20 mm is usual.")
    if not roi.voxels:
        unsure.append(f"Nothing is left {margin:g} mm inside the disc.")
    roi.cautions.extend(unsure)
    return Placement(body, roi, unsure)


def disc_seen(
    volume: Volume, chance: Volume, top: Surface, bottom: Surface, site: str
) -> Placement:
    """The disc between two bodies that a network sees; where it sees none, what lies between.

    Args:
        volume: image.
        chance: probability of disc, on a grid of its own.
        top, bottom: the bodies.
        site: such as "L3-L4".
    """
    axis = top.box.center - bottom.box.center
    apart = float(np.linalg.norm(axis))
    axis /= apart
    wide = WIDER * np.maximum(top.box.half, bottom.box.half)
    middle = (top.box.center + bottom.box.center) / 2
    reach = np.array([*wide[:2], apart / 2 + np.abs(top.box.axes[:2] @ axis) @ wide[:2]])
    offset, places = voxels_holding(volume, corners(middle, top.box.axes, reach))
    points = places.reshape(-1, 3)
    along = product(points - bottom.box.center, axis)
    inside = (along > 0) & (along < apart)
    inside &= (np.abs(product(points - middle, top.box.axes[:2].T)) < wide[:2]).all(axis=1)
    rows = np.flatnonzero(inside)
    rows = rows[np.nan_to_num(sample(chance.array, chance.ras_to_ijk(points[rows]))) > SEEN]
    for surface in (top, bottom):
        rows = rows[~surface.contains(points[rows])]
    mask = np.zeros(len(points), bool)
    mask[rows] = True
    mask = _opened(mask.reshape(places.shape[:3]), volume, OPENED_SEEN_MM)
    least = LEAST_DISC_MM3 * min(width_mm(volume) / NARROW_MM, 1)
    if mask.sum() * volume.voxel_volume_mm3 < least:
        found = disc_between(volume, top, bottom, site)
        found.doubt("The disc is hardly seen: it is what lies between the bodies.")
        return found
    name = f"{site} disc"
    body = Region(f"{name} body", Role.DISC, site, mask, offset)
    core = eroded(mask, volume, MARGIN_MM[Role.DISC])
    roi = Region(name, Role.DISC, site, core, offset)
    found = Placement(body, roi, [])
    if not roi.voxels:
        found.doubt(f"Nothing is left {MARGIN_MM[Role.DISC]:g} mm inside the disc.")
    return found


def _opened(mask: np.ndarray, volume: Volume, mm: float) -> np.ndarray:
    """A mask without pieces that are thinner; beyond the sides of a narrow image it goes on."""
    own = (...,)
    if mask.any() and is_narrow(volume):
        mask, own = continued(mask, volume, mm)
    return ndimage.binary_opening(mask, ball(mm, volume.spacing))[own]


def _between(points: np.ndarray, upper: Surface, lower: Surface) -> np.ndarray:
    """Points under the upper body and over the lower one, an endplate away, in both outlines."""
    result = np.ones(len(points), bool)
    for surface, side in ((upper, -1), (lower, 1)):
        local = product(points - surface.box.center, surface.box.axes.T)
        # The outline is where the plate is: slide the point along the axis into the body's end.
        probe = local * [1 / BULGE, 1 / BULGE, 0] + [0, 0, side * INTO_BODY * surface.box.half[2]]
        result &= surface.contains(surface.box.center + product(probe, surface.box.axes))
        result &= local[:, 2] * side > PLATE_FROM * surface.box.half[2]
        nearer = local - [0, 0, side * ENDPLATE_MM]
        result &= ~surface.contains(surface.box.center + product(nearer, surface.box.axes))
    return result


def place_disc(
    volume: Volume, point: np.ndarray, site: str = "", margin_mm: float | None = None
) -> Placement:
    """The disc round a point: the bodies above and below are found, and the disc between them."""
    boxes = []
    for tilt, kink in DISC_TILTS_DEG:
        angle = np.deg2rad(tilt)
        up = np.array([0.0, -np.sin(angle), np.cos(angle)])
        pair = [
            sagittal_box(
                volume,
                point + side * BESIDE_MM * up,
                BodyPrior((tilt + side * kink, TILT_SD_DEG)),
            )
            for side in (1, -1)
        ]
        apart = (pair[0][0].center - pair[1][0].center) @ up
        room = apart - sum(box.half[2] for box, *_ in pair)
        if 0 < room <= DISC_BOUNDS_MM[1]:
            boxes.append((pair[0][1] + pair[1][1], pair))
    if not boxes:
        empty = Region(f"{site} disc".strip(), Role.DISC, site, np.zeros((0, 0, 0), bool))
        return Placement(empty, empty, ["No pair of vertebral bodies was found round the click."])
    _, pair = max(boxes, key=lambda found: found[0])
    bodies = [
        place_body(volume, box.center, prior=BodyPrior((tilt_deg(box), TILT_SD_DEG)))
        for box, *_ in pair
    ]
    disc = disc_between(volume, bodies[0].surface, bodies[1].surface, site, margin_mm)
    disc.unsure += [f"Body beside it: {text}" for body in bodies for text in body.unsure]
    k, j, i = (
        np.rint(volume.ras_to_ijk(point)).astype(int)[::-1] - np.array(disc.body.offset)
    ).tolist()
    hit = all(0 <= n < size for n, size in zip((k, j, i), disc.body.mask.shape, strict=True))
    if not (hit and disc.body.mask[k, j, i]):
        disc.unsure.append("The click lies outside the disc that was found.")
    disc.roi.cautions = list(disc.unsure)
    return disc
