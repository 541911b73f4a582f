"""One click to the spine: bodies are followed up and down, and each can be corrected alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress, tell

from MarrowAssessLib.catalogue.anatomy import Role, column_levels
from MarrowAssessLib.placement.body import Placement, painted_body, place_body, signal_round
from MarrowAssessLib.placement.column import CSF_LEVEL, Column, doubtful
from MarrowAssessLib.placement.csf import csf_beside
from MarrowAssessLib.placement.disc import disc_between, disc_seen
from MarrowAssessLib.placement.judgment import click_doubts, read_click
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.placement.tissue import STRIPS, muscles_of
from MarrowAssessLib.placement.vertebra import BodyPrior, Surface, tilt_deg

# A disc's height until the first is seen: lumbar 6-15 mm (doi 10.1186/s13018-018-0737-x), lower
# thoracic about 5 mm (doi 10.1007/s00586-015-3925-y).
DISC_MM = 8.0
UNSURE_BESIDE = "A body beside it is unsure."
# From the middle of a body to that of the next, from a child's thoracic ones to a tall adult's
# lumbar ones: where it is sought, where it is taken, and how far along the column at least.
APART_MM, FOUND_APART_MM, LEAST_ALONG_MM = (20.0, 45.0), (16.0, 55.0), 12.0
MOST_TURN_DEG = 12.0  # of the column from one body to the next, as expected
# Standard deviations of what is expected of the next body, and of one that is clicked anew, which
# may be another than its neighbors let expect.
TILT_SD_DEG, DEPTH_SD_MM, HEIGHT_SD_MM = 10.0, 3.0, 3.5
CLICKED_TILT_SD_DEG, CLICKED_SIZE_SD_MM = 18.0, 4.0
# S1 is bent back from L5 far more than the curve above tells, and lies nearer.
S1_TURN_DEG, S1_TILT_SD_DEG, S1_DEPTH_SD_MM, S1_NEARER = -18.0, 14.0, 5.0, 0.85
# What ends the column or is doubted; between the spread of normal bodies and other structures.
ALIKE = 0.3, 3.0  # signal over that of one of the bodies before
SIZE = 0.55, 1.6  # depth and height over those of the last body
EDGES_END = 0.15  # median strength of a border below which there is no body any more
USUAL_BODIES, FOLLOWED = 12, 0.9  # of a lumbar image; share of the time that they take
LEAST_SEEN = 0.75  # share of the border inside the image


def follow_column(
    volume: Volume,
    point_ras: np.ndarray,
    level: str,
    options: PlacingOptions = AS_USUAL,
    *,
    progress: Progress | None = None,
) -> Column:
    """From one click in a vertebra of known level, find the column.

    Args:
        volume: image.
        point_ras: mm; inside the body of that vertebra.
        level: its name, such as "L3".
        options: how many lumbar vertebrae there are, and what ROIs leave out.
        progress: takes the fraction done; returning False cancels.

    Raises:
        ValueError: the level does not exist in this spine, the point lies outside the image, or
            there is no signal.
        InterruptedError: canceled.
    """
    levels = options.levels
    if level not in levels:
        raise ValueError(
            f"'{level}' is not a vertebra of a spine with {options.lumbar} lumbar vertebrae "
            "(C2 ... S1)."
        )
    start = levels.index(level)
    click = read_click(volume, point_ras, Role.MARROW, level, options)
    seed = place_body(volume, click.point, level, options=options)
    if seed.roi.voxels:
        for sentence in click_doubts(click, volume, seed.roi, ()):
            seed.doubt(sentence)
    bodies = {level: seed}
    done = 1
    for step in (-1, 1):
        known = [seed]
        index = start + step
        while 0 <= index < len(levels):
            tell(progress, min(FOLLOWED, done / USUAL_BODIES), "Following the column")
            found = _next_body(volume, known, step, levels[index], options)
            if found is None:
                break
            bodies[levels[index]] = found
            known.append(found)
            index += step
            done += 1
    bodies = {name: bodies[name] for name in levels if name in bodies}
    column = Column(bodies, {})
    for upper, lower in pairwise(bodies):
        column.discs[f"{upper}-{lower}"] = _disc(volume, bodies, upper, lower)
    if CSF_LEVEL in bodies:
        column.csf = csf_beside(volume, bodies[CSF_LEVEL].surface, CSF_LEVEL)
    column.muscles = muscles_of(volume, column.surfaces, options)
    column.unsure = doubtful(bodies)
    return column


def corrected(
    volume: Volume,
    column: Column,
    level: str,
    options: PlacingOptions = AS_USUAL,
    *,
    point_ras: np.ndarray | None = None,
    painted: np.ndarray | None = None,
) -> Column:
    """The column with one body clicked again or painted; only what it touches is made anew.

    That is the body, the discs beside it, CSF if it was measured beside this body, the strips of
    muscle, and the muscles at L3-L4 if it is one of these. Everything else is the very same object
    as before.

    Args:
        volume: image.
        column: as it was; it stays unchanged.
        level: body to replace, or one that was not found and is added.
        options: how many lumbar vertebrae there are, and what ROIs made anew leave out.
        point_ras: mm, inside the body; or
        painted: the body, boolean, on the volume's grid.

    Raises:
        ValueError: the level does not exist, or not exactly one of point and mask is given.
    """
    levels = column_levels(options.lumbar)
    if level not in levels or not column.bodies:
        raise ValueError(f"'{level}' is not a vertebra of this column (C2 ... S4).")
    if (point_ras is None) == (painted is None):
        raise ValueError("Give either a point inside the body or the painted body.")
    distance = {name: abs(levels.index(name) - levels.index(level)) for name in column.bodies}
    near = [column.bodies[name].surface for name in distance if distance[name] == 1]
    near = near or [column.bodies[min(distance, key=distance.get)].surface]
    if painted is not None:
        before = column.bodies.get(level)
        axes = (before.surface if before else near[0]).box.axes
        body = painted_body(volume, np.asarray(painted), axes, level, options)
    else:
        depth, height, tilt = np.mean(
            [(2 * one.box.half[1], 2 * one.box.half[2], _tilt(one)) for one in near], axis=0
        )
        prior = BodyPrior(
            (tilt, CLICKED_TILT_SD_DEG), (depth, CLICKED_SIZE_SD_MM), (height, CLICKED_SIZE_SD_MM)
        )
        point = np.asarray(point_ras, float)
        body = place_body(volume, point, level, prior=prior, options=options)
    found = {**column.bodies, level: body}
    bodies = {name: found[name] for name in levels if name in found}
    result = replace(column, bodies=bodies, discs={}, muscles={}, unsure=doubtful(bodies))
    chance = column.disc_chance if painted is None else None  # a painted body is taken at its word
    for upper, lower in pairwise(bodies):
        site = f"{upper}-{lower}"
        kept = column.discs.get(site) if level not in (upper, lower) else None
        result.discs[site] = kept or _disc(volume, bodies, upper, lower, chance)
    if column.csf is not None and column.csf.roi.site == level:
        result.csf = csf_beside(volume, body.surface, level)
    result.muscles = muscles_of(volume, result.surfaces, options, column.spine_chance)
    if level not in ("L3", "L4"):
        kept = {site: one for site, one in column.muscles.items() if site != STRIPS}
        result.muscles = result.muscles | kept
    return result


def _disc(
    volume: Volume,
    bodies: dict[str, Placement],
    upper: str,
    lower: str,
    chance: Volume | None = None,
) -> Placement:
    site = f"{upper}-{lower}"
    pair = bodies[upper].surface, bodies[lower].surface
    if chance is None:
        disc = disc_between(volume, *pair, site)
    else:
        disc = disc_seen(volume, chance, *pair, site)
    if bodies[upper].unsure or bodies[lower].unsure:
        disc.doubt(UNSURE_BESIDE)
    return disc


def _next_body(
    volume: Volume, known: list[Placement], step: int, level: str, options: PlacingOptions
) -> Placement | None:
    """The body above (step -1) or below (+1) the last of those known; None where there is none."""
    last = known[-1].surface
    depth, height = 2 * last.box.half[1], 2 * last.box.half[2]
    if len(known) > 1:
        before = known[-2].surface
        apart = float(np.linalg.norm(last.box.center - before.box.center))
        turn = _tilt(last) - _tilt(before)
    else:
        apart, turn = height + DISC_MM, 0.0
    apart = float(np.clip(apart, *APART_MM))
    turn = float(np.clip(turn, -MOST_TURN_DEG, MOST_TURN_DEG))
    tilt_sd, depth_sd = TILT_SD_DEG, DEPTH_SD_MM
    heading = _tilt(last) + turn / 2
    if level == "S1" and step > 0:
        turn, tilt_sd, depth_sd = S1_TURN_DEG, S1_TILT_SD_DEG, S1_DEPTH_SD_MM
        heading = _tilt(last) + turn
        apart *= S1_NEARER
    prior = BodyPrior((_tilt(last) + turn, tilt_sd), (depth, depth_sd), (height, HEIGHT_SD_MM))
    heading = np.deg2rad(heading)
    up = np.array([last.box.axes[2, 0], -np.sin(heading), np.cos(heading)])
    up *= -step / np.linalg.norm(up)
    guess = last.box.center + apart * up
    ijk = volume.ras_to_ijk(guess)
    if not np.all((ijk > 2) & (ijk < np.array(volume.array.shape[::-1]) - 3)):
        return None
    there = signal_round(volume, guess)
    levels = [signal_round(volume, one.surface.box.center) for one in known]
    alike = any(ALIKE[0] < there / max(level, 1e-9) < ALIKE[1] for level in levels)
    found = place_body(volume, guess, level, prior=prior, options=options)
    moved = float(np.linalg.norm(found.surface.box.center - last.box.center))
    along = float((found.surface.box.center - last.box.center) @ up)
    size = found.surface.box.half / last.box.half
    near, far = FOUND_APART_MM
    if not near < moved < far or along < LEAST_ALONG_MM or found.roi.voxels == 0:
        return None
    if size[1:].min() < SIZE[0] or size[1:].max() > SIZE[1]:
        return None
    if np.nanmedian(found.surface.support) < EDGES_END:
        return None  # no edges there
    if not alike:  # a lesion, or no vertebra any more
        if found.unsure:
            return None
        found.doubt("Its signal is far from that of the bodies before.")
    seen = np.isfinite(found.surface.support)
    if seen.mean() < LEAST_SEEN:
        return None  # cut by the edge of the volume
    return found


def _tilt(surface: Surface) -> float:
    return tilt_deg(surface.box)
