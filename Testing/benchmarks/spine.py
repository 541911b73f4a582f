"""The spine without a click: agreement with expert labels per contrast, and spines made to order.

Run from the repository's root: python Testing/benchmarks/spine.py [--pictures FOLDER] [--made N]
Cases are found in ../shared or where MARROWASSESS_SHARED points. None gave training data. Looked at
on them were the border's fit near the network's outline (found_outline.CHANCE, PRIOR_ON: nine
settings, the whole table; how the outline is moved, and how smooth S1's own shape is: half of the
patients, then the others), when an outline is doubted (spine_column.AGREE), S1's shape
(sacrum.TAPER, KINK_DEG), where fluid lies in the sac (canal.FRONT, BESIDE), how sure a disc must be
(disc.SEEN).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("MarrowAssess", "PDFFMapper", "Testing")]

from MarrowAssessLib.placement import spine_network  # noqa: E402
from MarrowAssessLib.placement.canal import csf_of  # noqa: E402
from MarrowAssessLib.placement.find_spine import find_spine  # noqa: E402
from MarrowAssessLib.placement.found_outline import outline_radii  # noqa: E402
from MarrowAssessLib.placement.spine_column import find_column  # noqa: E402
from MarrowAssessLib.placement.star_surface import sample  # noqa: E402
from MarrowAssessLib.placement.vertebra import (  # noqa: E402
    RAYS,
    RELATIVE_RADII,
    template_radii,
)
from PDFFMapperLib.images.files import read_volume  # noqa: E402
from PDFFMapperLib.images.resampling import nearest  # noqa: E402
from phantoms.spine import DAMAGE, L2, damaged, healthy, shown  # noqa: E402

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
        placed = column.bodies[best]
        other = [text for text in placed.unsure if not text.startswith("The level")]
        rows.append(
            Row(case, level, best, overlaps[best], dice(masks[best][kept], truth[kept]),
                bool(other), len(other) < len(placed.unsure),
                beyond_label(volume, truth, placed.surface))
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


def fluid():
    """CSF found on T1 alone, and with T2 or TIRM, against what is bright on the aligned image."""
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
            print(
                f"{case:9s} {level} {'with ' + other if with_it else 'alone':16s}"
                f" {inside[roi].mean():6.1%}"
                f"  {np.median(volume.array[roi]) / true - 1:+.1%}  {roi.sum():5d} mm^3",
                flush=True,
            )


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
    for what in DAMAGE:
        yield what, damaged(seed, what), {}
    for lumbar in (4, 6):
        yield f"{lumbar} lumbar", healthy(seed, lumbar=lumbar), {"level": lumbar + 0.5}
    for what, size in (("child", 0.6), ("infant", 0.42)):
        yield what, healthy(seed, child=size), {"level": 7.0}
    for what, level in (("sacrum below the image", 8.5), ("ends above S1", 9.2), ("neck", 17.0)):
        yield what, healthy(seed), {"level": level}
    yield "lesions", healthy(seed), {"lesions": {L2: 0.5, L2 + 2: 0.4, L2 - 2: 1.8}}
    for step in (3.0, 5.0):
        yield f"slices of {step:g} mm", healthy(seed), {"step_mm": step, "slices": round(60 / step)}


def made(count):
    """Spines made to order: how many are found, named right, doubted, and silently wrong."""
    print("\nMade to order       volumes none found  bodies right doubted or V  silently wrong")
    table = {}
    for seed in range(count):
        for what, bones, how in orders(seed):
            for contrast in ("T1", "T2", "GRE"):
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
    experts()
    discs()
    fluid()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="others than the shipped ones")
    parser.add_argument("--made", type=int, metavar="N", help="only N of each made to order")
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
    main(options.pictures)
