"""The spine without a click: agreement with expert labels per contrast, and spines made to order.

Run from the repository's root:
python Testing/benchmarks/spine.py [--pictures FOLDER | --made N | --steady]
Cases are found in ../shared or where MARROWASSESS_SHARED points. None gave training data. Looked at
on them were the border's fit near the network's outline (found_outline.CHANCE, PRIOR_ON: nine
settings, the whole table; how the outline is moved, and how smooth S1's own shape is: half of the
patients, then the others), when an outline is doubted (spine_column.AGREE), S1's shape
(sacrum.NARROW, TURNED_DEG), where fluid lies in the sac (canal.FRONT, BESIDE), how sure a disc
must be (disc.SEEN).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("MarrowAssess", "PDFFMapper", "Testing")]

from MarrowAssessLib.catalogue.anatomy import Role  # noqa: E402
from MarrowAssessLib.placement import spine_network  # noqa: E402
from MarrowAssessLib.placement.canal import csf_of  # noqa: E402
from MarrowAssessLib.placement.clicks import column_from_click, place_clicked  # noqa: E402
from MarrowAssessLib.placement.find_spine import find_spine  # noqa: E402
from MarrowAssessLib.placement.found_outline import outline_radii  # noqa: E402
from MarrowAssessLib.placement.spine_column import find_column  # noqa: E402
from MarrowAssessLib.placement.star_surface import sample  # noqa: E402
from MarrowAssessLib.placement.vertebra import (  # noqa: E402
    RAYS,
    RELATIVE_RADII,
    template_radii,
    voxelize,
)
from PDFFMapperLib.images.files import read_volume  # noqa: E402
from PDFFMapperLib.images.resampling import nearest  # noqa: E402
from PDFFMapperLib.images.volume import Volume  # noqa: E402
from phantoms.spine import CONTRASTS, DAMAGE, L2, UP_FROM_S4, damaged, healthy, shown  # noqa: E402

SPINE = Path(os.environ.get("MARROWASSESS_SHARED", ROOT.parent / "shared")) / "cases" / "spine"
GROUPS = {
    "T1": ["AK-a_T1", "AK-s_T1", "DzZ_T1"],
    "TIRM": ["AK-a_TIRM", "AK-s_TIRM"],
    "T2": ["DzZ_T2", "T2_1", "T2_2", "vb1_17"],
    "GRE": [f"GRE_{n}" for n in range(1, 7)],
    "hard": ["vb3_33", "vb3_49"],
}
UP_FROM_S1 = ["S1", "L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10", "T9"]
# Axis (right, front, head) and side of a body's faces; both of the sides.
FACES = {"back": (1, -1), "front": (1, 1), "below": (2, -1), "above": (2, 1), "sides": (0, 0)}
WHOLE = "nothing"  # made to order without damage, on every contrast
VBQ = ("L1", "L2", "L3", "L4")
FLUID = (0.75, 0.9)  # of the 90th percentile of the canal on T2 or TIRM
STEADY = ("DzZ_T1", "AK-a_TIRM", "T2_2", "GRE_3")  # one of each contrast
LEAST = 3  # bodies of a contrast that are named
AROUND_MM = 32.0  # of a body in the picture of the least
PAIRS = (("DzZ_T1", "DzZ_T2"), ("AK-a_T1", "AK-a_TIRM"), ("AK-s_T1", "AK-s_TIRM"))


@dataclass
class Row:
    """One labeled body: its level, what was found there."""

    case: str
    level: str
    name: str
    whole: float
    middle: float
    flagged: bool
    level_doubted: bool
    beyond: list[float]
    lost_middle: np.ndarray
    lost_whole: np.ndarray
    views: list[View]


@dataclass
class View:
    """A section through a labeled body's middle: signal, what was found, what was labeled."""

    signal: np.ndarray
    found: np.ndarray
    truth: np.ndarray


def load(case):
    """A case's image, its labels, and the level of each label ("" where it is not known)."""
    volume = read_volume(SPINE / f"{case}.nii.gz")
    ending = "vertebrae" if (SPINE / f"{case}_vertebrae.nii.gz").exists() else "labels"
    labels = read_volume(SPINE / f"{case}_{ending}.nii.gz").array
    first = 1 if case.startswith("GRE") else 0
    known = not case.startswith("vb3")  # whether the lowest label is L5 or S1 is not told
    names = {n: UP_FROM_S1[n - 1 + first] if known else "" for n in range(1, labels.max() + 1)}
    return volume, labels, names


def dice(a, b):
    """Dice coefficient of two masks."""
    return 2 * np.count_nonzero(a & b) / max(np.count_nonzero(a) + np.count_nonzero(b), 1)


def middle_of(truth):
    """The slices in the middle 60 % of a label's width."""
    held = np.flatnonzero(truth.any(axis=(1, 2)))
    aside = round(0.2 * len(held))
    return held[aside : len(held) - aside]


def rows_of(case, pictures=None):
    """A row for each labeled body."""
    volume, labels, names = load(case)
    start = time.process_time()
    column = find_column([volume])
    spent = time.process_time() - start
    rows = []
    masks = {name: one.body.full_mask(labels.shape) for name, one in column.bodies.items()}
    for label, level in names.items():
        truth = labels == label
        overlaps = {name: dice(mask, truth) for name, mask in masks.items()}
        best = max(overlaps, key=overlaps.get)
        kept = middle_of(truth)
        placed, found = column.bodies[best], masks[best]
        inner = np.zeros(len(truth), bool)
        inner[kept] = True
        inner = inner[:, None, None]
        other = [text for text in placed.unsure if not text.startswith("The level")]
        rows.append(
            Row(case, level, best, overlaps[best], dice(found[kept], truth[kept]),
                bool(other), len(other) < len(placed.unsure),
                beyond_label(volume, truth, placed.surface),
                lost(volume, found & inner, truth & inner, placed.surface.box),
                lost(volume, found, truth, placed.surface.box), views(volume, found, truth))
        )  # fmt: skip
    if pictures:
        picture(volume, labels, column, pictures / f"{case}.png")
    print(f"{case:10s} {spent:4.1f} s  {column.ground}", flush=True)
    return rows


def report(group, rows):
    """One line of the table."""
    whole, middle = (np.array([getattr(r, key) for r in rows]) for key in ("whole", "middle"))
    flagged = np.array([r.flagged for r in rows])
    named = [r for r in rows if r.level]
    right = [r.level == r.name for r in named]
    silent = [r for r in named if not (r.level == r.name or r.name[0] == "V" or r.level_doubted)]
    print(
        f"{group:5s} {len(rows):4d}  {np.median(middle):.3f} {np.percentile(middle, 10):.3f}"
        f"  {np.median(whole):.3f} {np.percentile(whole, 10):.3f}"
        f"  {np.mean(whole >= 0.5):6.1%}  {np.mean(flagged):5.1%}"
        f"  {np.count_nonzero((whole < 0.5) & ~flagged):3d}"
        f" {np.mean((whole < 0.7) & ~flagged):5.1%}"
        f"  {np.mean(right) if right else np.nan:6.1%}  {len(silent)}"
        f"  {np.mean([r.level_doubted or r.name[0] == 'V' for r in rows]):5.1%}"
    )


def experts():
    """Two experts' outlines of one patient's bodies, drawn on two images: no more can be asked."""
    print("\nTwo label maps of the same bodies: Dice in the middle, and whole; median, least")
    for one, other in PAIRS:
        grid, labels, _ = load(one)
        others_grid, others, _ = load(other)
        others = nearest(others_grid.with_array(others), grid).array
        rows = []
        for n in range(1, int(labels.max()) + 1):
            truth, theirs = labels == n, others == n
            if truth.any() and theirs.any():
                kept = middle_of(truth)
                rows.append((dice(truth[kept], theirs[kept]), dice(truth, theirs)))
        middle, whole = np.array(rows).T
        print(
            f"{one:8s} {other:9s} {len(rows)} bodies  {np.median(middle):.3f} {middle.min():.3f}"
            f"  {np.median(whole):.3f} {whole.min():.3f}"
        )


def beyond_label(volume, truth, surface):
    """How far an outline lies outside (+) or inside (-) of a label's at each of `FACES`, mm."""
    rays = template_radii(RAYS.directions, surface.box.half)
    points = rays[:, None] * RELATIVE_RADII[None, :, None]
    points = surface.box.center + points.reshape(-1, 3) @ surface.box.axes
    inside = sample(truth.astype(np.float32), volume.ras_to_ijk(points))
    radii = outline_radii(np.nan_to_num(inside).reshape(len(rays), -1))
    beyond = (surface.radii - radii) * np.linalg.norm(rays, axis=1)
    found = []
    for axis, side in FACES.values():
        there = RAYS.directions[:, axis] * side if side else np.abs(RAYS.directions[:, axis])
        middle = (np.abs(np.delete(RAYS.directions, axis, 1)) < 0.75).all(axis=1)
        found.append(float(np.median(beyond[(there > 0.99) & middle])))
    return found


def lost(volume, found, truth, box):
    """Points of 100 by which a Dice is below 1: (2, faces) too wide and too narrow there."""
    all_voxels = (np.count_nonzero(found) + np.count_nonzero(truth)) / 100
    shares = []
    for wrong in (found & ~truth, truth & ~found):
        points = volume.to_ras(np.argwhere(wrong)[:, ::-1])
        local = (points - box.center) @ box.axes.T / box.half
        axis = np.abs(local).argmax(axis=1)
        sides = np.sign(np.take_along_axis(local, axis[:, None], 1)[:, 0])
        there = [(axis == a) & ((sides == side) | (side == 0)) for a, side in FACES.values()]
        shares.append([np.count_nonzero(one) / all_voxels for one in there])
    return np.array(shares)


def where_lost(rows):
    """Where the Dice of a contrast is lost, and its least bodies with what costs most in each."""
    for words, of_row, lost_of_row in (
        ("in the middle", lambda row: row.middle, lambda row: row.lost_middle),
        ("of whole bodies", lambda row: row.whole, lambda row: row.lost_whole),
    ):
        print(
            f"\nDice lost {words}, points of 100, mean: too wide + too narrow at {', '.join(FACES)}"
        )
        for group, some in rows.items():
            wide, narrow = np.mean([lost_of_row(row) for row in some], axis=0)
            pairs = (f"{a:.1f}+{b:.1f}" for a, b in zip(wide, narrow, strict=True))
            most = list(FACES)[int((wide + narrow).argmax())]
            print(f"{group:5s} " + "  ".join(pairs) + f"  of {(wide + narrow).sum():.1f}: {most}")
            for row in sorted(some, key=of_row)[:LEAST]:
                wide, narrow = lost_of_row(row)
                n = int((wide + narrow).argmax())
                print(
                    f"      {row.case} {row.level or row.name} {of_row(row):.2f}: {list(FACES)[n]} "
                    f"{wide[n]:.1f} too wide, {narrow[n]:.1f} too narrow{' flagged' * row.flagged}"
                )


def views(volume, found, truth, of=None):
    """The sagittal and the coronal section through the middle of what is true, or of another."""
    middle = np.argwhere(truth if of is None else of).mean(axis=0)
    reach = np.round(AROUND_MM / volume.spacing[::-1]).astype(int)
    low = np.maximum(np.round(middle).astype(int) - reach, 0)
    box = tuple(slice(a, a + 2 * r + 1) for a, r in zip(low, reach, strict=True))
    directions = np.abs(volume.ijk_to_ras[:3, :3] / volume.spacing)
    across = [2 - int(directions[ras].argmax()) for ras in (0, 1)]  # array axes to right, front
    sections = []
    for axis in across:
        cut = int(round(middle[axis])) - low[axis]
        sections.append(View(*(np.take(a[box], cut, axis) for a in (volume.array, found, truth))))
    return sections


def picture_of_least(rows, path):
    """Of each contrast the least body in the middle (sagittal) and of all bodies (coronal)."""
    sections = []
    for group, some in rows.items():
        for n, words in enumerate(("middle", "whole")):
            least = min(some, key=lambda row: getattr(row, words))
            title = f"{group}: {least.case} {least.level or least.name}, {words}"
            sections.append((f"{title} {getattr(least, words):.2f}", least.views[n]))
    draw_sections(sections, path)


def draw_sections(sections, path):
    """Titled views, two in a row: what is true outlined, what was found wrongly colored."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = (len(sections) + 1) // 2
    figure, axes = plt.subplots(rows, 2, figsize=(7, 3.4 * rows), layout="constrained")
    for panel in axes.flat:
        panel.axis("off")
    for (title, view), panel in zip(sections, axes.flat, strict=False):
        wrong = np.where(view.found & ~view.truth, 1, 2 * (view.truth & ~view.found))
        panel.imshow(view.signal.T, cmap="gray", vmax=np.percentile(view.signal, 99))
        panel.imshow(np.ma.masked_equal(wrong, 0).T, cmap="bwr_r", vmin=1, vmax=2, alpha=0.5)
        panel.contour(view.truth.T, [0.5], colors="y", linewidths=1)
        panel.set_title(title, fontsize=9)
    figure.suptitle("Truth yellow; too wide red, too narrow blue", fontsize=9)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def discs():
    """Discs of the network against labels, in the slices that were labeled."""
    print("\nDiscs: Dice, L5-S1 upward")
    for case in ("T2disc_1", "T2disc_2"):
        volume, labels, _ = load(case)
        column = find_column([volume])
        found = []
        for label in range(1, int(labels.max()) + 1):
            truth = labels == label
            held = np.flatnonzero(truth.any(axis=(1, 2)))
            masks = [one.body.full_mask(truth.shape)[held] for one in column.discs.values()]
            found.append(max(dice(mask, truth[held]) for mask in masks))
        print(f"{case}  " + "  ".join(f"{value:.3f}" for value in found), flush=True)


def fluid(pictures=None):
    """CSF found on T1 alone, and with T2 or TIRM, against what is bright on the aligned image."""
    sections = {}
    print(
        "\nCSF: share in fluid as the aligned T2 or TIRM shows it; median over that of such fluid"
    )
    for case, other in PAIRS:
        volume, bright = (read_volume(SPINE / f"{one}.nii.gz") for one in (case, other))
        column, spine = find_column([volume]), find_spine([volume])
        for level, with_it in (("L3", None), ("L3", bright), ("L1", None), ("L1", bright)):
            placed = csf_of(volume, spine, column.bodies[level].surface, level, with_it)
            roi = placed.roi.full_mask(volume.array.shape)
            canal = placed.body.full_mask(volume.array.shape)
            values = ndimage.gaussian_filter(bright.array.astype(float), 0.6)
            inside = values > 0.75 * np.percentile(values[canal], 90)
            true = np.median(volume.array[canal & inside])
            found = np.median(volume.array[roi])
            words = f"{case:9s} {level} {'with ' + other if with_it else 'alone':16s}"
            print(
                f"{words} {inside[roi].mean():6.1%}  {found / true - 1:+.1%}  {roi.sum():5d} mm^3",
                flush=True,
            )
            seen = views(bright, roi, canal & inside, of=roi)[0]
            sections[inside[roi].mean()] = f"{words}: {inside[roi].mean():.0%} in fluid", seen
    if pictures:
        draw_sections([sections[share] for share in sorted(sections)[:4]], pictures / "fluid.png")


def vbq():
    """VBQ as a study gives it, against labels over fluid, where that is told from the other image.

    Partial volume with roots makes fluid brighter on T1 the more of the canal counts as fluid.
    """
    print(
        "\nVBQ without a click; by labels over what is brighter on T2 or TIRM than"
        f" {' and '.join(f'{share:g}' for share in FLUID)} of the brightest fluid"
    )
    for case, other in PAIRS:
        (volume, labels, names), bright = load(case), read_volume(SPINE / f"{other}.nii.gz")
        drawn = np.median([np.median(volume.array[labels == n]) for n in names if names[n] in VBQ])
        values = ndimage.gaussian_filter(bright.array.astype(float), 0.6)
        for others, fluid in (([], None), ([bright], bright)):
            column = find_column([volume, *others], fluid=fluid)
            bodies = [column.bodies[name] for name in VBQ]
            found = np.median([np.median(one.roi.values(volume.array)) for one in bodies])
            found /= np.median(column.csf.roi.values(volume.array))
            canal = column.csf.body.full_mask(volume.array.shape)
            brightest = np.percentile(values[canal], 90)
            by_labels = [
                drawn / np.median(volume.array[canal & (values > share * brightest)])
                for share in FLUID
            ]
            told = ", ".join(f"{one:.2f} ({found / one - 1:+.1%})" for one in by_labels)
            doubted = any(one.unsure for one in (column.csf, *bodies))
            print(
                f"{case:9s} {'with ' + other if others else 'alone':16s} {found:.2f} for {told}"
                f"{' doubted' * doubted}",
                flush=True,
            )


def steady(pictures=None):
    """The same bodies from a click, a click 3 mm off, in slices of 5 mm, and tilted by 20 degrees.

    The image is turned on a grid that holds all of it, and on its own (the same slab), so that the
    column's ends leave it: those bodies count of which 97 % stay in view.
    """
    print("\nSame bodies: how many, Dice median and least, share of .95 and more, new flags,")
    print("named otherwise without a doubt; where a least below .95 loses most")
    least = {}
    for case in STEADY:
        volume, _, _ = load(case)
        column = find_column([volume])
        bodies = column.bodies
        middle = volume.to_ras((np.array(volume.array.shape[::-1]) - 1) / 2)
        still = np.eye(3)
        for name in ("L1", "L3", "L5"):
            if name in bodies:
                other = column_from_click(volume, bodies[name].surface.box.center, name).bodies
                compared(case, f"click in {name}", volume, bodies, other, still, middle)
        random, near = np.random.default_rng(0), {}
        for name, one in bodies.items():
            away = random.normal(size=3)
            point = one.surface.box.center + 3 * away / np.linalg.norm(away)
            near[name] = place_clicked(volume, point, Role.MARROW, name)
        thick = find_column([in_slices(volume, 5.0)]).bodies
        found = [
            compared(case, "each clicked 3 mm off", volume, bodies, near, still, middle),
            compared(case, "slices of 5 mm", volume, bodies, thick, still, middle),
        ]
        for axis, words in enumerate(("front or back", "side", "turned")):
            turn = Rotation.from_rotvec(np.deg2rad(20) * np.eye(3)[axis]).as_matrix()
            for grid, kept in ((holding(volume, turn, middle), ""), (volume, ", same slab")):
                image = turned(volume, grid, turn, middle)
                again = find_column([image]).bodies
                title = f"20 degrees {words}{kept}"
                found.append(compared(case, title, image, bodies, again, turn, middle))
        for n, one in enumerate(found):
            least[n] = min(least.get(n, one), one, key=lambda one: one[0])
    if pictures:
        draw_sections([one[1:] for one in least.values()], pictures / "steady.png")


def compared(case, words, volume, before, after, turn, middle):
    """One line of how bodies are found again in an image that was turned round its middle.

    Returns:
        The least Dice, a title and its section.
    """
    same, least, flags, silent = [], (np.inf, "", None), 0, 0
    masks = {name: full_mask(volume, one.surface) for name, one in after.items()}
    for name, one in before.items():
        box = one.surface.box
        moved = replace(box, center=middle + turn @ (box.center - middle), axes=box.axes @ turn.T)
        mask = full_mask(volume, replace(one.surface, box=moved))
        if mask.sum() < 0.97 * one.body.voxels:
            continue
        overlaps = {other: dice(mask, theirs) for other, theirs in masks.items()}
        best = max(overlaps, key=overlaps.get)
        same.append(overlaps[best])
        flags += bool(after[best].unsure) and not one.unsure
        silent += best != name and not any("level" in text for text in after[best].unsure)
        if overlaps[best] < least[0]:
            face = list(FACES)[int(lost(volume, masks[best], mask, moved).sum(axis=0).argmax())]
            seen = views(volume, masks[best], mask)[face == "sides"]
            title = f"{case} {name}, {words}: {overlaps[best]:.2f}, {face}"
            least = overlaps[best], title, seen
    same = np.array(same or [np.nan])
    print(
        f"{case:9s} {words:35s} {len(same):2d} of {len(before):2d}  {np.median(same):.3f} "
        f"{same.min():.3f}  {np.mean(same >= 0.95):4.0%}  {flags}  {silent}"
        f"  {least[1].rpartition(', ')[2] if same.min() < 0.95 else ''}",
        flush=True,
    )
    return least


def full_mask(volume, surface):
    """A body in the whole image."""
    mask, offset = voxelize(volume, surface)
    whole = np.zeros(volume.array.shape, bool)
    whole[tuple(slice(a, a + n) for a, n in zip(offset, mask.shape, strict=True))] = mask
    return whole


def in_slices(volume, step_mm):
    """The image in slices of about so many mm: means of its own."""
    count = max(round(step_mm / volume.spacing[2]), 1)
    slices = len(volume.array) // count
    array = volume.array[: slices * count].reshape(slices, count, *volume.array.shape[1:])
    grid = volume.ijk_to_ras.copy()
    grid[:3, 3] += (count - 1) / 2 * grid[:3, 2]
    grid[:3, 2] *= count
    return Volume(array.mean(axis=1).astype(np.float32), grid, volume.name)


def holding(volume, turn, middle):
    """A grid along the volume's axes that holds all of it when it is turned."""
    last = np.array(volume.array.shape[::-1]) - 1
    corners = np.stack(np.meshgrid(*[(0, 1)] * 3), -1).reshape(-1, 3) * last
    there = volume.ras_to_ijk((volume.to_ras(corners) - middle) @ turn.T + middle)
    low, high = np.floor(there.min(axis=0)), np.ceil(there.max(axis=0))
    grid = volume.ijk_to_ras.copy()
    grid[:3, 3] = volume.to_ras(low)
    return Volume(np.empty((high - low + 1).astype(int)[::-1], np.float32), grid, volume.name)


def turned(volume, grid, turn, middle):
    """The patient turned round a place, on a grid."""
    k, j, i = np.indices(grid.array.shape)
    points = grid.to_ras(np.stack([i, j, k], -1).reshape(-1, 3))
    source = volume.ras_to_ijk((points - middle) @ turn + middle)
    values = np.nan_to_num(sample(np.asarray(volume.array, np.float32), source))
    return grid.with_array(values.reshape(grid.array.shape))


def picture(volume, labels, column, path):
    """Three sagittal slices and a coronal one: found in color, labels outlined in black."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = np.zeros(volume.array.shape)
    for n, one in enumerate(column.bodies.values()):
        found[one.body.full_mask(found.shape)] = 1 + n % 2
    for color, kind in ((3, column.discs.values()), (4, column.muscles.values())):
        for one in kind:
            found[one.roi.full_mask(found.shape)] = color
    if column.csf:
        found[column.csf.roi.full_mask(found.shape)] = 5
    bodies = list(column.bodies.values())
    center = volume.ras_to_ijk(bodies[len(bodies) // 2].surface.box.center)
    k, j = round(center[2]), round(center[1])
    cuts = [(0, min(max(k + step, 0), len(found) - 1)) for step in (-12, 0, 12)] + [(1, j)]
    figure, axes = plt.subplots(1, 4, figsize=(16, 6), layout="constrained")
    for (axis, cut), panel in zip(cuts, axes, strict=True):
        gray, color, label = (np.take(a, cut, axis).T for a in (volume.array, found, labels))
        panel.imshow(gray, cmap="gray", vmax=np.percentile(volume.array, 99.5))
        panel.imshow(np.ma.masked_equal(color, 0), cmap="Set1", vmin=1, vmax=6, alpha=0.45)
        panel.contour(label > 0, [0.5], colors="k", linewidths=0.8)
        panel.axis("off")
    figure.suptitle(column.told(), fontsize=8)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def orders(seed):
    """Digital spines made to order: what, bones, and how they are shown."""
    yield WHOLE, healthy(seed), {}
    for what in DAMAGE:
        yield what, damaged(seed, what), {}
    for lumbar in (4, 6):
        yield f"{lumbar} lumbar", healthy(seed, lumbar=lumbar), {"level": lumbar + 0.5}
    for what, size in (("child", 0.6), ("infant", 0.42)):
        yield what, healthy(seed, child=size), {"level": 7.0}
    for what, level in (("sacrum below the image", 8.5), ("ends above S1", 9.2), ("neck", 17.0)):
        yield what, healthy(seed), {"level": level}
    yield "lesions", healthy(seed), {"lesions": {L2: 0.5, L2 + 2: 0.4, L2 - 2: 1.8}}
    everywhere = {index: 0.4 + 0.2 * (index % 3) for index in range(len(UP_FROM_S4))}
    yield "lesions in all bodies", healthy(seed), {"lesions": everywhere}
    for count in (1, 3):
        yield f"{count} slices", healthy(seed), {"slices": count}
    yield "cubes of 1.5 mm", healthy(seed), {"step_mm": 1.5, "slices": 40}
    for step in (3.0, 5.0):
        yield f"slices of {step:g} mm", healthy(seed), {"step_mm": step, "slices": round(60 / step)}


def made(count):
    """Spines made to order: how many are found, named right, doubted, and silently wrong."""
    print("\nMade to order       volumes none found  bodies right doubted or V  silently wrong")
    table = {}
    for seed in range(count):
        for what, bones, how in orders(seed):
            for contrast in CONTRASTS if what == WHOLE else ("T1", "T2", "GRE"):
                digital = shown(bones, contrast, 100 + seed, **how)
                row = table.setdefault(what, np.zeros(5, int))
                row[0] += 1
                try:
                    row[2:] += judged(find_column([digital.volume]), digital)
                except ValueError:
                    row[1] += 1
    for what, (volumes, none, right, doubted, wrong) in table.items():
        print(f"{what:22s} {volumes:4d} {none:10d} {right:13d} {doubted:12d} {wrong:15d}")


def judged(column, digital):
    """Bodies that are named right, doubted or unnamed, and silently wrong."""
    right = doubted = wrong = 0
    for name, placed in column.bodies.items():
        votes = np.bincount(digital.owner[placed.body.full_mask(digital.owner.shape)], minlength=2)
        true = digital.level(int(votes[1:].argmax()) + 1)  # five lumbar vertebrae assumed in both
        if name[0] == "V" or any("level" in text for text in placed.unsure):
            doubted += 1
        elif name == true:
            right += 1
        else:
            wrong += 1
    return right, doubted, wrong


def main(pictures=None):
    """All tables."""
    rows = {group: [] for group in GROUPS}
    for group, cases in GROUPS.items():
        for case in cases:
            rows[group] += rows_of(case, pictures)
    print("\n           Dice middle   Dice whole    one     flagged   unflagged     right  silent")
    print("group bodies med   p10    med   p10    piece           <.5  <.7    level  shifts unsure")
    for group, some in rows.items():
        report(group, some)
    report("all", [row for some in rows.values() for row in some])
    print("\nFound below .7:")
    for row in (row for some in rows.values() for row in some if row.whole < 0.7):
        print(f"  {row.case} {row.level or row.name}: {row.whole:.2f}{' flagged' * row.flagged}")
    print("\nOutline beyond the label's, median over bodies (mm): " + ", ".join(FACES))
    for group, some in rows.items():
        beyond = np.median([row.beyond for row in some], axis=0)
        print(f"{group:5s} " + "  ".join(f"{mm:+.1f}" for mm in beyond))
    where_lost(rows)
    if pictures:
        picture_of_least(rows, pictures / "least.png")
    experts()
    discs()
    fluid(pictures)
    vbq()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="others than the shipped ones")
    parser.add_argument("--made", type=int, metavar="N", help="only N of each made to order")
    parser.add_argument("--steady", action="store_true", help="only whether bodies stay the same")
    options = parser.parse_args()
    if options.weights:
        with np.load(options.weights) as file:
            chosen = spine_network.prepared(dict(file))
        spine_network.weights = lambda: chosen
    if options.made:
        made(options.made)
        sys.exit()
    if not SPINE.is_dir():
        sys.exit(f"{SPINE} is missing; set MARROWASSESS_SHARED to the folder that holds 'cases'.")
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    if options.steady:
        steady(options.pictures)
        sys.exit()
    main(options.pictures)
