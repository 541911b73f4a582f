"""The spine of an image without a click: bodies as one chain that explains the whole image.

The network tells what each place is (`spine_network`). Pieces of bodies' cores at several
thresholds, alone and two together, are candidates; the chain of candidates that explains most is
sought by dynamic programming: a disc between every two bodies, even spacing and turning, sizes that
change little. Where a chain with another number of bodies explains nearly as much, that is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress, share, tell
from scipy import ndimage
from scipy.spatial.transform import Rotation

from MarrowAssessLib.placement.found_spine import (
    ONE_OR_MORE,
    CountDoubt,
    FoundBody,
    Spine,
    body_chance,
    image_axes,
)
from MarrowAssessLib.placement.mirror import across
from MarrowAssessLib.placement.narrow import is_narrow, width_mm
from MarrowAssessLib.placement.sacrum import tell_lowest
from MarrowAssessLib.placement.spine_network import FINDING, PIXEL_MM, Structure, probabilities
from MarrowAssessLib.placement.star_surface import sample

STEP_MM = 3.0
"""From slice to slice of what the network is shown."""
COARSEST_MM = 4.0  # voxels of the image from front to back and from head to foot
# Larger ones doubt the levels: of 12 real coronal stacks of sacroiliac joints (3.3 mm) L5 was taken
# for S1 in one and S2 in another, without any other doubt; of 45 more S3 was taken for S1 in two
# and for L5 in one, with the doubt that has them one off.
SURE_MM = 3.0
LEAST_EXTENT_MM = 60.0  # from head to foot, and
LEAST_DEPTH_MM = 40.0  # from back to front: less shows no column
THRESHOLDS = (0.3, 0.5, 0.7, 0.85)
LEAST_CORE_MM3 = 250.0
AS_HIGH_AS_TWO = 1.7  # times the usual height of a core: two bodies may have grown together
CUT_TURNS_DEG, CUT_WITHIN = np.arange(-40.0, 41.0, 10.0), 0.2  # of its height from the middle
REACH_MM = 7.0  # from a core to its body's surface
CLOSE_CALL = 0.6  # a chain of another number of bodies that is worse by less is told
TURN_DEG, TURN_BACK_DEG = 8.0, 25.0  # from step to step at no cost; the sacrum bends back
SHIFT_MM = 3.0  # between two images of one patient: more is corrected and said
HOLE = 1.55  # distance of neighbors over what is usual there: one may have been missed
THICKEST_MM = 6.0  # from slice to slice: thicker ones are interpolated
SMOOTHED = 0.45  # SD of the Gaussian over what the frame is coarser, in voxels
SMOOTHED_TO_SD = 2.5  # where that Gaussian is cut off
SHIFTS = 6  # pixels (9 mm) each way: by how much two images of one patient may be apart
NETWORK = 0.8  # share of the time that the network takes
SIZE_PERCENT = (3, 97)  # of a piece's voxels: its ends, without single ones
SAME_WAY = 0.7  # cosine to the frame's slices: an axis along which nothing is smoothed
# The network learned bodies that lean as in a patient lying straight: 39 degrees (a kyphotic spine
# in an image tilted by 20) it may not see, 19 it does. So where the highest body leans much and the
# image goes on above it, or leans very much, the image is turned by a part of that and looked at
# again, as long as that shows more bodies.
LEANING_DEG, ROOM_ABOVE_MM, LEANING_MUCH_DEG, TURNED_PART = 20.0, 30.0, 35.0, 0.6
MOST_LEANING_DEG = 45.0  # then still: bodies at the other end may be missed as well
# The lowest body leans most, and one below it may be missed: the image is looked at again where the
# highest and the lowest lean by so much; levels are doubted where the lowest then leans by more. In
# 17 real images the lowest leans by up to 62 degrees, but the highest by 6 at most.
HIGHEST_DEG, LOWEST_DEG, MOST_LOWEST_DEG = 15.0, 50.0, 52.0
# A column that lies askew by more (leaning to a side or turned round its length; 18 real images: up
# to 4.7) is looked at again in slices along its own middle plane. That is taken where it shows as
# many bodies; if it has another lowest one, or the column leans to a side by more and its lowest
# body is cut at the image's side, so that the true one may be beyond, the levels are doubted. Cut:
# so much of its largest section lies in the last slices (of two real ones .6 and 1; of bodies that
# end there .03 to .2).
ASKEW_DEG, CUT_AT_SIDE = 6.0, 0.35
SAME_BODY_MM = 8.0  # from its middle in one reading to that in another, seen from the side

# What may be neighbors, and what a chain of bodies scores. Set by eye on digital spines. A quarter
# more or less of each, down to WIDE_MM, moved no level of ten spines with 79 bodies, five of them
# of patients and volunteers (Testing/benchmarks/placement_sensitivity).
APART_AS_ONE_MM = 26.0  # two pieces of one body
LEAST_DOWN_MM, MOST_ASIDE_MM, MOST_APART_MM = 4.0, 22.0, 75.0
MOST_ALONG, MOST_ALONG_MM = 1.7, 6.0  # to the front or back, over the step down and beyond
PLACES = 24  # looked at on lines from body to body,
LINES_MM = (-5.0, 0.0, 5.0)  # to the sides
DISC_LIKELY, BODY_LIKELY = 0.35, 0.5  # probabilities at which a place on a line counts as one
DISC_SURE, DISC_WORTH, NO_DISC = 0.6, 1.2, 0.3  # probability; score of a disc, and without one
SECOND_DISC = 1.5  # for each disc more than one: a body between was left out
WIDE_MM, WIDE_COST, NARROW_MM, NARROW_COST = 18.0, 0.05, 1.0, 0.1  # room between cores; per mm
SIZES_SD, SIZES_COST, SIZES_MOST = 0.35, 0.6, 4.0  # of the logarithm of their areas
ASIDE_MM, ASIDE_COST = 8.0, 0.03  # a step to the side; per mm
BODY_WORTH, CORE_WORTH, CORE_MOST = 1.0, 0.8, 1.2  # by its core's volume over the usual one,
USUAL_PERCENT = 60  # percentile of those of all pieces
TURN_SD_DEG, TURN_MOST = 12.0, 2.0
EVEN, UNEVEN_SD, UNEVEN_MOST = 0.1, 0.25, 6.0  # of the logarithm of two steps' ratio


@dataclass
class Piece:
    """A candidate for a body: one component of the cores, or two as one.

    Attributes:
        parts: numbers of the components at the highest threshold that it holds.
        voxels: (n, 3) slice, row, column in the frame.
        center: (3,) RAS, mm.
        size: (3,) extents of the core across, front to back, and along the chain, mm.
        chance: mean probability of body in it.
    """

    parts: frozenset[int]
    voxels: np.ndarray
    center: np.ndarray
    size: np.ndarray
    chance: float


def sagittal_frame(volume: Volume) -> Volume:
    """The grid on which the network sees an image; its array is the image there, NaN outside.

    Raises:
        ValueError: the image is too coarse or too small to show a spine.
    """
    axes, order = _axes_of(volume)
    spacing = volume.spacing[order]
    count = np.array(volume.array.shape[::-1])[order]
    if (coarse := _coarse_mm(volume)) > COARSEST_MM:
        raise ValueError(
            f"{volume.name}: its voxels measure {coarse:.1f} mm from front to back or from head to "
            f"foot; the spine is found in sagittal slices, or where that is at most "
            f"{COARSEST_MM:g} mm."
        )
    extent = spacing * count
    if extent[2] < LEAST_EXTENT_MM or extent[1] < LEAST_DEPTH_MM:
        raise ValueError(
            f"{volume.name} covers {extent[1]:.0f} mm from back to front and {extent[2]:.0f} mm "
            f"from head to foot; the spine is found where it covers {LEAST_DEPTH_MM:g} and "
            f"{LEAST_EXTENT_MM:g} mm at least."
        )
    steps = np.array([max(STEP_MM, min(spacing[0], THICKEST_MM)), PIXEL_MM, PIXEL_MM])
    size = np.maximum(np.floor(extent / steps), 1).astype(int)
    middle = volume.to_ras((np.array(volume.array.shape[::-1]) - 1) / 2)
    grid = np.eye(4)
    grid[:3, 0], grid[:3, 1], grid[:3, 2] = (
        axes[1] * steps[1],
        -axes[2] * steps[2],
        axes[0] * steps[0],
    )
    shape = (size[0], size[2], size[1])
    grid[:3, 3] = middle - grid[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return _shown(volume, Volume(np.empty(shape, np.float32), grid, volume.name))


def _axes_of(volume: Volume) -> tuple[np.ndarray, list[int]]:
    """The image's axes nearest to right, front and head (rows), and which of i, j, k they are."""
    directions = volume.ijk_to_ras[:3, :3] / volume.spacing
    order = max(
        permutations(range(3)),
        key=lambda p: sum(abs(directions[axis, p[axis]]) for axis in range(3)),
    )
    axes = [directions[:, p] * np.sign(directions[a, p]) for a, p in enumerate(order)]
    return np.array(axes), list(order)


def _coarse_mm(volume: Volume) -> float:
    """The larger of its voxels' sizes from front to back and from head to foot.

    To a tenth: computed from a header, half of all oblique stacks of 3 mm measure a bit more.
    """
    return round(float(max(volume.spacing[_axes_of(volume)[1][1:]])), 1)


def _shown(volume: Volume, frame: Volume) -> Volume:
    """The image on a frame, smoothed where the frame is coarser."""
    ratio = np.array([frame.spacing[0] / s for s in volume.spacing])
    directions = np.abs(volume.ijk_to_ras[:3, :3] / volume.spacing)
    across = directions.T @ np.abs(frame.ijk_to_ras[:3, 2] / frame.spacing[2])
    sigma = np.where(across > SAME_WAY, 0, SMOOTHED * np.sqrt(np.maximum(ratio**2 - 1, 0)))
    array = np.asarray(volume.array, np.float32)
    if volume.array.dtype.kind == "f":
        array = np.nan_to_num(array)
    array = ndimage.gaussian_filter(array, sigma[::-1], truncate=SMOOTHED_TO_SD)
    j, i = np.indices(frame.array.shape[1:])
    shown = np.empty(frame.array.shape, np.float32)
    for k, one in enumerate(shown):
        points = frame.to_ras(np.stack([i, j, np.full_like(i, k)], -1).reshape(-1, 3))
        one[:] = sample(array, volume.ras_to_ijk(points)).reshape(one.shape)
    return frame.with_array(shown)


def find_spine(
    volumes: Sequence[Volume],
    network: dict[str, np.ndarray] | None = None,
    progress: Progress | None = None,
) -> Spine:
    """Find the vertebral bodies of an image, or of several images of one patient.

    Args:
        volumes: images; the frame follows the axes of the first one, but where its column leans
            much, to any side, and can be turned. Others are taken by their headers.
        network: see `probabilities`.
        progress: takes the fraction done; returning False cancels.

    Raises:
        ValueError: there is no spine in the image, or it is not of a kind that can show one.
        InterruptedError: canceled.
    """
    tell(progress, 0.0, FINDING)
    frame = sagittal_frame(volumes[0])
    spine, turned = _read(volumes, frame, network, progress), 0.0
    right, alike = across(spine), True
    to_right, _, to_head = image_axes(frame) @ right
    askew = float(np.rad2deg(np.arccos(min(to_right, 1.0))))
    aside = abs(float(np.rad2deg(np.arcsin(to_head))))
    if askew > ASKEW_DEG:
        upright = _along(frame, right, spine)
        again = _read_again(volumes, upright, network, progress)
        alike = again is not None and _ends_alike(again, spine)
        if alike and len(again.bodies) >= len(spine.bodies):
            spine, frame = again, upright
    while _leans(spine):
        turn = turned + TURNED_PART * _lean_deg(spine)
        again = _read_again(volumes, _turned(frame, -turn), network, progress)
        if not again or not _holds_more(again, spine):
            break
        spine, turned = again, turn
    left, lowest = _lean_deg(spine), _lean_deg(spine, -2)
    lean = left + turned  # in the image
    too_far = abs(left) > MOST_LEANING_DEG or (lean > HIGHEST_DEG and lowest > MOST_LOWEST_DEG)
    if too_far and not spine.unsure_lowest:
        spine.unsure_lowest = (
            f"the column leans by {abs(lean):.0f} degrees, and bodies may be missed"
        )
        spine.lowest_off = ONE_OR_MORE
    coarse = min(_coarse_mm(volume) for volume in volumes)
    if coarse > SURE_MM and spine.lowest:
        spine.unsure_lowest = spine.unsure_lowest or (
            f"the image's voxels measure {coarse:.1f} mm from front to back or from head to foot"
        )
        spine.lowest_off = ONE_OR_MORE
    if all(is_narrow(volume) for volume in volumes) and spine.lowest:
        spine.unsure_lowest = spine.unsure_lowest or (
            f"the image is {width_mm(volumes[0]):.0f} mm wide and may lie beside the middle of the "
            "sacrum"
        )
        spine.lowest_off = ONE_OR_MORE
    leaves = aside > ASKEW_DEG and _at_a_side(spine.bodies[-1], spine.frame)
    if (leaves or not alike) and not spine.unsure_lowest:
        spine.unsure_lowest = (
            f"the column lies askew by {askew:.0f} degrees, and its lowest body may be another one"
        )
        spine.lowest_off = ONE_OR_MORE
    return spine


def _read(volumes, frame, network, progress) -> Spine:
    chances, notes = _chances(volumes, frame, network, progress)
    frame = replace(frame, name=" and ".join(volume.name for volume in volumes))
    return explained(chances, frame, notes)


def _read_again(volumes, turned, network, progress) -> Spine | None:
    """What a frame that was turned shows, None where that is no spine."""
    shown = _shown(volumes[0], turned)
    try:
        return _read(volumes, shown, network, share(progress, NETWORK, NETWORK))
    except ValueError:
        return None


def _along(frame: Volume, right: np.ndarray, spine: Spine) -> Volume:
    """A frame whose slices lie at right angles to `right`, the middle one through the column.

    It is longer by what the slices' tilt lifts and lowers their corners.
    """
    head = image_axes(frame)[2]
    wide, longer = len(frame.array) * frame.spacing[2], abs(head @ right)
    head = head - (head @ right) * right
    head /= np.linalg.norm(head)
    grid = frame.ijk_to_ras.copy()
    grid[:3, :3] = np.array([np.cross(head, right), -head, right]).T * frame.spacing
    column = np.mean([body.center for body in spine.bodies], axis=0)
    more = int(np.ceil(wide * longer / 2 / frame.spacing[1]))
    array = np.pad(frame.array, ((0, 0), (more, more), (0, 0)))
    place = frame.ras_to_ijk(column) + (0, more, 0)
    place[2] = (len(array) - 1) / 2
    grid[:3, 3] = column - grid[:3, :3] @ place
    return Volume(array, grid, frame.name)


def _at_a_side(body: FoundBody, frame: Volume) -> bool:
    """Whether a body is cut by the last slices of the image to the left or right."""
    seen = np.pad(np.isfinite(frame.array), ((1, 1), (0, 0), (0, 0)))
    there = np.count_nonzero(body.mask & ~(seen[:-2] & seen[2:]))
    return bool(there > CUT_AT_SIDE * body.mask.sum(axis=(1, 2)).max())


def _leans(spine: Spine) -> bool:
    """Whether a column leans so far that bodies at one of its ends may be missed."""
    highest = _lean_deg(spine)
    if highest > HIGHEST_DEG and _lean_deg(spine, -2) > LOWEST_DEG:
        return True
    room = abs(highest) >= LEANING_DEG and _room_above_mm(spine) >= ROOM_ABOVE_MM
    return room or abs(highest) >= LEANING_MUCH_DEG


def _lean_deg(spine: Spine, upper: int = 0) -> float:
    """How far the column leans to the front of the frame, from the body below `upper` to that."""
    _, front, head = image_axes(spine.frame)
    centers = [body.center for body in spine.bodies]
    step = centers[upper] - centers[upper + 1]
    return float(np.rad2deg(np.arctan2(step @ front, step @ head)))


def _room_above_mm(spine: Spine) -> float:
    """How far the column can go on in the frame beyond the middle of its highest body."""
    step = spine.bodies[0].center - spine.bodies[1].center
    step = step / np.linalg.norm(step)
    far = spine.bodies[0].center + np.arange(0.0, ROOM_ABOVE_MM + 1)[:, None] * step
    seen = np.isfinite(sample(spine.frame.array, spine.frame.ras_to_ijk(far)))
    return float(seen.argmin() if not seen.all() else ROOM_ABOVE_MM)


def _turned(frame: Volume, deg: float) -> Volume:
    """A frame turned round its middle and its axis to the right."""
    turn = Rotation.from_rotvec(np.deg2rad(deg) * image_axes(frame)[0]).as_matrix()
    middle = frame.to_ras((np.array(frame.array.shape[::-1]) - 1) / 2)
    grid = frame.ijk_to_ras.copy()
    grid[:3, :3] = turn @ grid[:3, :3]
    grid[:3, 3] = middle + turn @ (grid[:3, 3] - middle)
    return Volume(frame.array, grid, frame.name)


def _holds_more(again: Spine, spine: Spine) -> bool:
    """Whether a reading has all bodies of another, and more.

    But for the highest: one that leans so far that it is hardly seen may lie in the wrong place.
    """
    return len(again.bodies) > len(spine.bodies) and _holds(again, spine.bodies[1:])


def _ends_alike(again: Spine, spine: Spine) -> bool:
    """Whether a reading names the lowest body alike and has each above it but the highest.

    Counted from below: one with a body more or less between would name those above otherwise.
    """
    pairs = zip(range(-1, -len(again.bodies) - 1, -1), spine.bodies[:0:-1], strict=False)
    same = all(_apart_mm(again, body)[n] < SAME_BODY_MM for n, body in pairs)
    return same and again.lowest == spine.lowest and len(again.bodies) >= len(spine.bodies) - 1


def _holds(again: Spine, bodies: Sequence[FoundBody]) -> bool:
    return all(_apart_mm(again, body).min() < SAME_BODY_MM for body in bodies)


def _apart_mm(spine: Spine, body: FoundBody) -> np.ndarray:
    """From a body to each of a spine, seen from the side: the sides of one may be missed."""
    away = np.array([one.center for one in spine.bodies]) - body.center
    return np.linalg.norm(away @ image_axes(spine.frame)[1:].T, axis=1)


def explained(chances: np.ndarray, frame: Volume, notes: Sequence[str] = ()) -> Spine:
    """The chain of bodies that explains best what each place is.

    Args:
        chances: probability of each Structure (11, slices, rows, columns).
        frame: their grid.
        notes: what is to be said of the images.

    Raises:
        ValueError: there is no spine.
    """
    pieces = _pieces(chances, frame)
    chain, rivals = _best_chain(pieces, chances, frame)
    if len(chain) < 2:
        raise ValueError(
            f"No spine was found in {frame.name}: "
            + ("one body alone" if chain else "no vertebral bodies with discs between them")
            + ". Click a vertebra where there is one."
        )
    spine = Spine(_bodies(chain, chances, frame), frame, chances, notes=list(notes))
    spine.count_doubts = [*_missed(spine), *_other_counts(chain, rivals)]
    tell_lowest(spine)
    return spine


def _chances(volumes, frame, network, progress) -> tuple[np.ndarray, list[str]]:
    """Probabilities averaged over the images, each where it is seen; and shifts between them."""
    total, weight, notes = None, 0.0, []
    parts = NETWORK / len(volumes)
    for n, volume in enumerate(volumes):
        tell(progress, n * parts, FINDING)
        shown = frame if n == 0 else _shown(volume, frame)
        seen = np.isfinite(shown.array)
        stack = np.where(seen, shown.array, 0)
        if not seen.any() or not stack.max() > stack.min():
            notes.append(f"{volume.name} shows nothing there.")
            continue
        part = share(progress, n * parts, (n + 1) * parts)
        found = probabilities(stack, frame.spacing[2], network, part)
        if total is None:
            total = np.multiply(found, seen, out=found)
            weight = seen.astype(np.float32)
            continue
        down, front = _shift(body_chance(total) / np.maximum(weight, 1), body_chance(found))
        if max(abs(down), abs(front)) * frame.spacing[0] >= SHIFT_MM:
            found = np.roll(found, (down, front), (2, 3))
            seen = np.roll(seen, (down, front), (1, 2))
            apart = np.hypot(down, front) * frame.spacing[0]
            notes.append(f"The spine lies {apart:.0f} mm elsewhere on {volume.name}.")
        total += np.multiply(found, seen, out=found)
        weight += seen
    if total is None:
        raise ValueError(f"No spine was found: {volumes[0].name} holds no image.")
    if len(volumes) > 1:
        total /= np.maximum(weight, 1)
    return total, notes


def _shift(one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Pixels down and to the front by which the other image must move to match."""
    shape = [2 * n for n in one.shape[1:]]  # twice the size: nothing comes round
    spectra = (
        np.fft.rfft2(a, shape) * np.conj(np.fft.rfft2(b, shape))
        for a, b in zip(one, other, strict=True)
    )
    both = np.fft.irfft2(sum(spectra), shape)
    reach = np.arange(-SHIFTS, SHIFTS + 1)
    near = both[np.ix_(reach, reach)]
    down, front = np.unravel_index(near.argmax(), near.shape)
    return int(reach[down]), int(reach[front])


def _pieces(chances, frame) -> list[Piece]:
    core = chances[Structure.CORE]
    body = body_chance(chances)
    voxel = frame.voxel_volume_mm3
    found: list[tuple[float, np.ndarray]] = []
    for threshold in THRESHOLDS:
        labels, count = ndimage.label(core > threshold)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        for n, box in enumerate(ndimage.find_objects(labels), 1):
            if sizes[n] * voxel < LEAST_CORE_MM3:
                continue
            found.append((threshold, np.argwhere(labels[box] == n) + [s.start for s in box]))
    found += _halves(_leaves(found, core.shape), core, frame)
    # The smallest pieces (leaves) say what a larger one consists of.
    leaf_of = np.zeros(core.shape, np.int32)
    for leaf, voxels in enumerate(_leaves(found, core.shape), 1):
        leaf_of[tuple(voxels.T)] = leaf
    pieces: dict[frozenset[int], Piece] = {}
    for _, voxels in found:  # from the lowest threshold: the whole piece is kept
        parts = frozenset(np.unique(leaf_of[tuple(voxels.T)]).tolist()) - {0}
        if parts and parts not in pieces:
            pieces[parts] = _piece(parts, voxels, frame, body)
    single = list(pieces.values())
    for a in range(len(single)):  # two as one: a line through a body is no disc
        for b in range(a + 1, len(single)):
            one, two = single[a], single[b]
            apart = np.linalg.norm(one.center - two.center)
            union = one.parts | two.parts
            if one.parts & two.parts or union in pieces or apart > APART_AS_ONE_MM:
                continue
            pieces[union] = _piece(union, np.concatenate([one.voxels, two.voxels]), frame, body)
    return list(pieces.values())


def _leaves(found, shape) -> list[np.ndarray]:
    """Voxels of the pieces that hold no smaller one."""
    taken = np.zeros(shape, bool)
    leaves = []
    for _, voxels in reversed(found):
        if not taken[tuple(voxels.T)].any():
            taken[tuple(voxels.T)] = True
            leaves.append(voxels)
    return leaves


def _halves(leaves, core, frame) -> list[tuple[float, np.ndarray]]:
    """Two halves of each core as high as two: bodies whose disc between is destroyed.

    Each is cut by the plane near its middle on which there is least core.
    """
    _, front, head = image_axes(frame)
    points = [frame.to_ras(voxels[:, ::-1]) for voxels in leaves]
    heights = [np.ptp(np.percentile(one @ head, SIZE_PERCENT)) for one in points]
    halves = []
    for voxels, there, height in zip(leaves, points, heights, strict=True):
        if height < AS_HIGH_AS_TWO * np.median(heights):
            continue
        local, chance = there - there.mean(axis=0), core[tuple(voxels.T)]
        least, above = np.inf, None
        for turn in np.deg2rad(CUT_TURNS_DEG):
            along = local @ (np.cos(turn) * head + np.sin(turn) * front)
            for at in np.arange(-1, 1.01, 0.125) * CUT_WITHIN * height:
                near = np.abs(along - at) < frame.spacing[0]
                on_it = chance[near].mean() if near.any() else 0.0
                if on_it < least:
                    least, above = on_it, along > at
        halves += [(1.0, voxels[above]), (1.0, voxels[~above])]
    return halves


def _piece(parts, voxels, frame, body) -> Piece:
    points = frame.to_ras(voxels[:, ::-1])
    center = points.mean(axis=0)
    axes = image_axes(frame)
    local = (points - center) @ axes.T
    size = np.array([np.ptp(np.percentile(local[:, a], SIZE_PERCENT)) for a in range(3)])
    size[1:] += frame.spacing[0]
    size[0] += frame.spacing[2]
    return Piece(parts, voxels, center, size, float(body[tuple(voxels.T)].mean()))


def _links(pieces, chances, frame) -> dict[tuple[int, int], tuple[float, float, float]]:
    """For each pair that may be neighbors (upper, lower): score, distance, disc's chance."""
    axes = image_axes(frame)
    disc = chances[Structure.DISC]
    body = body_chance(chances)
    links = {}
    for a, one in enumerate(pieces):
        for b, two in enumerate(pieces):
            move = two.center - one.center
            down, along, aside = -move @ axes[2], move @ axes[1], abs(move @ axes[0])
            if one.parts & two.parts or down <= LEAST_DOWN_MM or aside > MOST_ASIDE_MM:
                continue
            if abs(along) > MOST_ALONG * down + MOST_ALONG_MM:
                continue
            distance = float(np.linalg.norm(move))
            heights = (one.size[2] + two.size[2]) / 2
            if distance > MOST_APART_MM:
                continue
            front = np.cross(move / distance, axes[0])
            front *= np.sign(front @ axes[1]) / max(np.linalg.norm(front), 1e-9)
            steps = np.linspace(0, 1, PLACES)
            line = one.center + steps[:, None] * move
            spread = min(one.size[1], two.size[1]) / 3
            offsets = [
                r * axes[0] + f * front
                for r in LINES_MM
                for f in (-spread, -spread / 3, spread / 3, spread)
            ]
            ijk = frame.ras_to_ijk((line[:, None] + np.array(offsets)[None]).reshape(-1, 3))
            d = np.nan_to_num(sample(disc, ijk)).reshape(PLACES, -1).mean(axis=1)
            m = np.nan_to_num(sample(body, ijk)).reshape(PLACES, -1).mean(axis=1)
            peaks = _peaks(d, m)
            gap = distance - heights
            ratio = np.log(two.size[1] * two.size[2] / (one.size[1] * one.size[2]))
            score = DISC_WORTH * min(float(d.max()) / DISC_SURE, 1.0) - NO_DISC
            score -= SECOND_DISC * max(peaks - 1, 0)
            score -= WIDE_COST * max(gap - WIDE_MM, 0) + NARROW_COST * max(NARROW_MM - gap, 0)
            score -= SIZES_COST * min(ratio * ratio / SIZES_SD**2, SIZES_MOST) / 2
            score -= ASIDE_COST * max(aside - ASIDE_MM, 0)
            links[a, b] = (float(score), distance, float(d.max()))
    return links


def _peaks(disc: np.ndarray, body: np.ndarray) -> int:
    """How many discs lie on a line from body to body."""
    is_disc = disc > np.maximum(DISC_LIKELY, body)
    is_body = body > np.maximum(BODY_LIKELY, disc)
    count, state = 0, "body"
    for d, b in zip(is_disc, is_body, strict=True):
        if d and state == "body":
            count, state = count + 1, "disc"
        elif b:
            state = "body"
    return count


def _gain(piece: Piece, usual: np.ndarray) -> float:
    """What a body in the chain is worth: the more, the more of a body's core it explains."""
    volume = len(piece.voxels) / usual
    return BODY_WORTH + CORE_WORTH * min(volume, CORE_MOST) * piece.chance


def _best_chain(pieces, chances, frame) -> tuple[list[Piece], list[tuple[float, list[Piece]]]]:
    """The chain that explains most, and chains that do without some of its bodies."""
    if not pieces:
        return [], []
    links = _links(pieces, chances, frame)
    sizes = np.array([len(p.voxels) for p in pieces if len(p.parts) == 1] or [1])
    usual = float(np.percentile(sizes, USUAL_PERCENT))
    best, score = _chain(pieces, links, usual, frozenset())
    rivals = []
    inside = {n for n in best}
    for n, piece in enumerate(pieces):
        over = [m for m in inside if pieces[m].parts & piece.parts]
        if n in inside or not over:
            continue
        other, worse = _chain(pieces, links, usual, frozenset(over), n)
        if n in other:
            rivals.append((score - worse, [pieces[m] for m in other]))
    return [pieces[n] for n in best], rivals


def _chain(pieces, links, usual, banned, forced=None) -> tuple[list[int], float]:
    """Second-order dynamic programming over pairs of neighbors, from head to foot."""
    ok = [n for n in range(len(pieces)) if n not in banned]
    gains = {n: _gain(pieces[n], usual) for n in ok}
    into: dict[int, list[int]] = {n: [] for n in ok}
    for a, b in links:
        if a in gains and b in gains:
            into[b].append(a)
    order = sorted(ok, key=lambda n: -pieces[n].center[2])
    order = _topological(order, into)
    single = {n: gains[n] for n in ok}
    total: dict[tuple[int, int], tuple[float, tuple[int, int] | None]] = {}
    for b in order:
        for a in into[b]:
            score, distance, _ = links[a, b]
            best = (single[a] + score + gains[b], None)
            for before in into[a]:
                if (before, a) not in total:
                    continue
                turn = _turn(pieces[before], pieces[a], pieces[b])
                uneven = np.log(distance / links[before, a][1])
                cost = min(0.5 * (turn / TURN_SD_DEG) ** 2, TURN_MOST)
                cost += 0.5 * min((max(abs(uneven) - EVEN, 0) / UNEVEN_SD) ** 2, UNEVEN_MOST)
                value = total[before, a][0] + score + gains[b] - cost
                if value > best[0]:
                    best = (value, (before, a))
            total[a, b] = best
    ends = {pair: value for pair, (value, _) in total.items()}
    if forced is not None:
        paths = {pair: _path(total, pair) for pair in ends}
        ends = {pair: v for pair, v in ends.items() if forced in paths[pair]} or ends
    if not ends:
        if not single:
            return [], 0.0
        n = max(single, key=single.get)
        return [n], single[n]
    last = max(ends, key=ends.get)
    return _path(total, last), ends[last]


def _path(total, pair) -> list[int]:
    path = [pair[1]]
    while pair is not None:
        path.append(pair[0])
        pair = total[pair][1]
    return path[::-1]


def _topological(order, into) -> list[int]:
    done: dict[int, None] = {}

    def visit(n):
        if n not in done:
            for a in into[n]:
                visit(a)
            done[n] = None

    for n in order:
        visit(n)
    return list(done)


def _turn(a: Piece, b: Piece, c: Piece) -> float:
    """How far the chain turns at b, degrees beyond what is usual: to the back it may turn more."""
    one, two = b.center - a.center, c.center - b.center
    one, two = one / np.linalg.norm(one), two / np.linalg.norm(two)
    angle = float(np.rad2deg(np.arccos(np.clip(one @ two, -1, 1))))
    back = two[1] < one[1]
    return max(angle - (TURN_BACK_DEG if back else TURN_DEG), 0.0)


def _bodies(chain, chances, frame) -> list[FoundBody]:
    """Grow each core to its body's surface: every place of body to the nearest core."""
    owner = np.zeros(chances.shape[1:], np.int32)
    for n, piece in enumerate(chain, 1):
        owner[tuple(piece.voxels.T)] = n
    spacing = frame.spacing[::-1]
    near = ndimage.find_objects((owner > 0).astype(np.uint8))[0]
    reach = np.ceil(REACH_MM / spacing).astype(int) + 1
    near = tuple(slice(max(s.start - r, 0), s.stop + r) for s, r in zip(near, reach, strict=True))
    core = owner[near]
    distance, nearest = ndimage.distance_transform_edt(
        core == 0, sampling=spacing, return_indices=True
    )
    body = body_chance(chances[(slice(None), *near)]) > 0.5
    grown = np.zeros_like(owner)
    grown[near] = np.where(body & (distance <= REACH_MM), core[tuple(nearest)], 0)
    grown[owner > 0] = owner[owner > 0]
    centers, boxes = np.array([piece.center for piece in chain]), ndimage.find_objects(grown)
    bodies = []
    for n in range(len(chain)):
        low, high = max(n - 1, 0), min(n + 1, len(chain) - 1)
        up = centers[low] - centers[high]
        labels, _ = ndimage.label(grown[boxes[n]] == n + 1)
        sizes = np.bincount(labels.ravel())
        mask = np.zeros(owner.shape, bool)
        mask[boxes[n]] = labels == 1 + sizes[1:].argmax()
        points = frame.to_ras(np.argwhere(mask)[:, ::-1])
        bodies.append(FoundBody(points.mean(axis=0), up / np.linalg.norm(up), mask))
    return bodies


def _missed(spine: Spine) -> list[CountDoubt]:
    """Steps of the chain that are so long that a body may lie between."""
    centers = np.array([body.center for body in spine.bodies])
    steps = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    doubts = []
    for n, step in enumerate(steps):
        near = [steps[m] for m in (n - 1, n + 1) if 0 <= m < len(steps)]
        if near and step > HOLE * np.mean(near):
            doubts.append(CountDoubt(n, "a body between it and the next below may be missing"))
    return doubts


def _other_counts(chain: list[Piece], rivals: list[tuple[float, list[Piece]]]) -> list[CountDoubt]:
    """Bodies that a chain of another number explains nearly as well."""
    doubts: dict[int, CountDoubt] = {}
    for worse, other in rivals:
        change = _change_inside(chain, other)
        if worse > CLOSE_CALL or not change:
            continue
        held = [n for n, piece in enumerate(chain) if all(piece is not one for one in other)]
        reading = (
            "it may be two bodies" if change > 0 else "it and the one beside it may be one body"
        )
        if held and max(held) not in doubts:
            doubts[max(held)] = CountDoubt(max(held), reading)
    return list(doubts.values())


def _change_inside(chain: list[Piece], other: list[Piece]) -> int:
    """How many bodies more another chain has between the ends that both share."""
    shared = [(a, b) for a, one in enumerate(chain) for b, two in enumerate(other) if one is two]
    if len(shared) < 2:
        return len(other) - len(chain)
    (a0, b0), (a1, b1) = shared[0], shared[-1]
    inside = (b1 - b0) - (a1 - a0)
    # beyond the lowest shared body the count moves every name, above the highest none
    return inside or (len(other) - b1) - (len(chain) - a1)
