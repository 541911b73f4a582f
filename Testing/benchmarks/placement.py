"""One click on real spines: agreement with the expert labels, a table per contrast.

Run from the repository's root: python Testing/benchmarks/placement.py [seeds per body]
With --pictures FOLDER each column is drawn, too (needs matplotlib): filled in color what was
found, outlined in black the expert's labels. Cases are found in ../shared or where
MARROWASSESS_SHARED points.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "MarrowAssess"), str(ROOT / "PDFFMapper")]

from MarrowAssessLib.catalogue.anatomy import Role  # noqa: E402
from MarrowAssessLib.placement.body import MARGIN_MM, eroded  # noqa: E402
from MarrowAssessLib.placement.clicks import place_clicked  # noqa: E402
from MarrowAssessLib.placement.following import follow_column  # noqa: E402
from MarrowAssessLib.placement.structure import place  # noqa: E402
from PDFFMapperLib.images.files import read_volume  # noqa: E402

SPINE = Path(os.environ.get("MARROWASSESS_SHARED", ROOT.parent / "shared")) / "cases" / "spine"
GROUPS = {
    "T1": ["AK-a_T1", "DzZ_T1"],
    "T2": ["DzZ_T2", "T2_1", "T2_2"],
    "TIRM": ["AK-a_TIRM"],
    "GRE": [f"GRE_{n}" for n in range(1, 7)],
}
UP_FROM_S1 = ["S1", "L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10"]


def load(case):
    """A case's image, its labels, and the level of each label."""
    volume = read_volume(SPINE / f"{case}.nii.gz")
    ending = "vertebrae" if (SPINE / f"{case}_vertebrae.nii.gz").exists() else "labels"
    labels = read_volume(SPINE / f"{case}_{ending}.nii.gz").array
    names = UP_FROM_S1[1:] if case.startswith("GRE") else UP_FROM_S1
    levels = {n: names[n - 1] for n in range(1, int(labels.max()) + 1)}
    return volume, labels, levels


def dice(a, b):
    """Dice coefficient of two masks."""
    return 2 * np.count_nonzero(a & b) / max(np.count_nonzero(a) + np.count_nonzero(b), 1)


def seeds(truth, count, random, depth_mm=3.0):
    """Random (i, j, k) points at least so deep inside a mask (or as deep as it gets)."""
    box = ndimage.find_objects(truth.astype(np.uint8))[0]
    depth = ndimage.distance_transform_edt(np.pad(truth[box], 1))[1:-1, 1:-1, 1:-1]
    inside = np.argwhere(depth >= min(depth_mm, depth.max() - 0.5))
    inside += [part.start for part in box]
    return inside[random.integers(0, len(inside), count)][:, ::-1].astype(float)


def bodies(count):
    """One click per body.

    Labels end at the sides by conventions of their own: some stop short of the outermost slices,
    others go on into muscle. The second Dice leaves out the slices in which the label does not hold
    the body's signal. The label's median holds its dim rim of cortex and partial volume, so the
    body's median is compared with it, and the measurement ROI's with the label eroded by the same
    margin.
    """
    print(f"\nVertebral bodies, {count} seeds per body")
    print(
        "contrast  clicks  Dice med  p10    in marrow slices  <0.5 unflagged/all  flagged"
        "  ROI inside med  p10  s/body | medians within 2 %"
        " (1 gray step): body/label  ROI/label  ROI/label core"
    )
    everything = []
    for group, cases in GROUPS.items():
        rows = []
        for case in cases:
            volume, labels, levels = load(case)
            random = np.random.default_rng(7)
            for label in levels:
                truth = labels == label
                median = np.median(volume.array[truth])
                core = np.median(volume.array[core_of(truth, volume)])
                kept = slices_of_marrow(truth, volume)
                for seed in seeds(truth, count, random):
                    start = time.process_time()
                    placed = place_clicked(volume, volume.to_ras(seed), Role.MARROW)
                    spent = time.process_time() - start
                    body = placed.body.full_mask(truth.shape)
                    roi = placed.roi.full_mask(truth.shape)
                    inside = np.count_nonzero(roi & truth) / max(np.count_nonzero(roi), 1)
                    inner = np.median(volume.array[roi]) if roi.any() else np.inf
                    whole = np.median(volume.array[body])
                    pairs = ((whole, median), (inner, median), (inner, core))
                    close = [abs(ours / theirs - 1) < 0.02 for ours, theirs in pairs]
                    step = [abs(ours - theirs) <= 1 for ours, theirs in pairs]
                    overlaps = dice(body, truth), dice(body[kept], truth[kept])
                    rows.append((*overlaps, bool(placed.unsure), inside, spent, *close, *step))
        everything += rows
        report(group, np.array(rows))
    report("all", np.array(everything))


def core_of(truth, volume):
    """A label without its outer 3 mm, as the measurement ROI leaves them out."""
    box = ndimage.find_objects(truth.astype(np.uint8))[0]
    core = np.zeros_like(truth)
    core[box] = eroded(truth[box], volume, MARGIN_MM[Role.MARROW])
    return core


def slices_of_marrow(truth, volume):
    """Slices without those in which a label's median differs from its middle's by over 1 SD.

    All cases were scanned in sagittal slices; the label's middle half tells level and SD.
    """
    held = np.flatnonzero(truth.any(axis=(1, 2)))
    middle = held[len(held) // 4 : -(len(held) // 4)]
    signal = volume.array[middle][truth[middle]]
    level = np.median(signal)
    spread = 1.4826 * np.median(np.abs(signal - level))
    kept = np.ones(len(truth), bool)
    kept[held] = [abs(np.median(volume.array[k][truth[k]]) - level) <= max(spread, 1) for k in held]
    return kept


def report(group, rows):
    """One line of the table of bodies."""
    overlap, in_marrow, unsure, inside, spent = rows.T[:5]
    close, step = rows.T[5:8].mean(axis=1), rows.T[8:].mean(axis=1)
    medians = "  ".join(f"{a:5.1%} ({b:5.1%})" for a, b in zip(close, step, strict=True))
    low = overlap < 0.5
    print(
        f"{group:8s}  {len(rows):6d}  {np.median(overlap):8.3f}  {np.percentile(overlap, 10):.3f}"
        f"  {np.median(in_marrow):10.3f} {np.percentile(in_marrow, 10):.3f}"
        f"  {np.count_nonzero(low & (unsure == 0)):10d}/{np.count_nonzero(low):<8d}"
        f"  {np.mean(unsure):6.1%}  {np.median(inside):14.3f}  {np.percentile(inside, 10):.3f}"
        f"  {np.median(spent):6.2f} | {medians}",
        flush=True,
    )


def discs(count):
    """One click per disc, compared in the slices that were labeled."""
    print(f"\nDiscs, {count} seeds per disc")
    print("case      Dice med  min    ROI inside med  flagged  s/disc")
    for case in ("T2disc_1", "T2disc_2"):
        volume, labels, levels = load(case)
        random, rows = np.random.default_rng(7), []
        for label in levels:
            truth = labels == label
            labeled = np.flatnonzero(truth.any(axis=(1, 2)))
            for seed in seeds(truth, count, random):
                start = time.process_time()
                placed = place(volume, volume.to_ras(seed), Role.DISC)
                spent = time.process_time() - start
                found = placed.body.full_mask(truth.shape)
                roi = placed.roi.full_mask(truth.shape)[labeled]
                inside = np.count_nonzero(roi & truth[labeled]) / max(np.count_nonzero(roi), 1)
                rows.append(
                    (dice(found[labeled], truth[labeled]), inside, bool(placed.unsure), spent)
                )
        overlap, inside, unsure, spent = np.array(rows).T
        print(
            f"{case:8s}  {np.median(overlap):8.3f}  {overlap.min():.3f}  {np.median(inside):14.3f}"
            f"  {np.mean(unsure):6.1%}  {np.median(spent):6.2f}",
            flush=True,
        )


def leaks():
    """One click midway between labeled bodies: how much of the disc found lies in their bone."""
    print("\nDiscs: share that lies in labeled bodies, one click midway between them")
    print("                 ROI                     all         flagged | of unflagged ones")
    print("contrast  discs  none   mean   max    mean   max             | ROI max  all max")
    for group, cases in GROUPS.items():
        rows = []
        for case in cases:
            volume, labels, levels = load(case)
            centers = [np.argwhere(labels == n).mean(axis=0)[::-1] for n in levels]
            for pair in pairwise(centers):
                placed = place(volume, volume.to_ras(np.mean(pair, axis=0)), Role.DISC)
                shares = [share_in(labels, region) for region in (placed.roi, placed.body)]
                rows.append((*shares, bool(placed.unsure)))
        roi, whole, unsure = np.array(rows).T
        clear = unsure == 0
        print(
            f"{group:8s}  {len(rows):5d}  {np.mean(roi == 0):4.0%}  {roi.mean():.3f}"
            f"  {roi.max():.3f}  {whole.mean():.3f}  {whole.max():.3f}  {unsure.mean():9.1%}"
            f" | {roi[clear].max():7.3f}  {whole[clear].max():7.3f}",
            flush=True,
        )


def share_in(labels, region):
    """Share of a region's voxels that are labeled; 0 for an empty one."""
    return np.count_nonzero(labels[region.box][region.mask]) / max(region.voxels, 1)


def evenness(volume, labels, region):
    """Share in labeled bodies, interquartile range / median, share beyond 3 robust SD."""
    values = region.values(volume.array).astype(float)
    low, middle, high = np.percentile(values, [25, 50, 75])
    spread = max(1.4826 * np.median(np.abs(values - middle)), 1e-9)
    far = np.mean(np.abs(values - middle) > 3 * spread)
    return share_in(labels, region), (high - low) / max(abs(middle), 1e-9), far


def columns(pictures=None):
    """One click on L3: levels, VBQ against the expert labels with the same CSF, time.

    VBQ of the ROIs is compared with that of the labels less the same margin, and of the labels
    as they are, rim and all; VBQ of the bodies with the latter.
    """
    print("\nColumn from one click on L3")
    print(
        "case       labeled bodies found (Dice >= 0.5)"
        "  VBQ: ROIs/label cores  ROIs/labels  bodies/labels  CSF mm^3  muscles  s"
    )
    tissues = {}
    for case in (case for group in GROUPS.values() for case in group):
        volume, labels, levels = load(case)
        number = {level: n for n, level in levels.items()}
        seed = seeds(labels == number["L3"], 1, np.random.default_rng(7))[0]
        start = time.process_time()
        column = follow_column(volume, volume.to_ras(seed), "L3")
        spent = time.process_time() - start
        right = [
            level in column.bodies
            and dice(column.bodies[level].body.full_mask(labels.shape), labels == n) >= 0.5
            for n, level in levels.items()
        ]
        wrong = [level for level, good in zip(levels.values(), right, strict=True) if not good]
        change = "-"
        lumbar = ["L1", "L2", "L3", "L4"]
        if all(level in column.bodies for level in lumbar):
            truth = [labels == number[v] for v in lumbar]
            found = [column.bodies[v] for v in lumbar]
            rois = vbq_signal(one.roi.values(volume.array) for one in found)
            whole = vbq_signal(one.body.values(volume.array) for one in found)
            theirs = vbq_signal(volume.array[label] for label in truth)
            cores = vbq_signal(volume.array[core_of(label, volume)] for label in truth)
            ratios = (rois / cores, rois / theirs, whole / theirs)
            change = "  ".join(f"{ratio - 1:+.1%}" for ratio in ratios)
        if pictures:
            picture(volume, labels, column, pictures / f"{case}.png")
        tissues[case] = [
            [evenness(volume, labels, one.roi) for one in found if one and one.roi.voxels]
            for found in ([column.csf], column.discs.values(), column.muscles.values())
        ]
        csf = column.csf.roi.voxels * volume.voxel_volume_mm3 if column.csf else 0
        print(
            f"{case:9s}  {sum(right)}/{len(right)} {'not: ' + ' '.join(wrong) if wrong else '':20s}"
            f"  {change:>24s}  {csf:8.0f}  {len(column.muscles)}  {spent:.1f}",
            flush=True,
        )
    print("\nNeighboring tissue in the ROIs: share in labeled bodies (worst ROI),")
    print("interquartile range / median, share beyond 3 robust SD (medians over ROIs)")
    print("case       CSF                   discs                 muscles")
    for case, kinds in tissues.items():
        cells = []
        for rows in kinds:
            inside, spread, far = np.array(rows or [[np.nan] * 3]).T
            cells.append(f"{inside.max():.3f}  {np.median(spread):.2f}  {np.median(far):.3f}")
        print(f"{case:9s}  {'    '.join(cells)}", flush=True)


def picture(volume, labels, column, path):
    """A sagittal slice through L3, one 15 mm beside it, and a coronal and an axial one."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = np.zeros(volume.array.shape)  # 0 nothing, then a color for each tissue
    placed = [*column.bodies.values(), *column.discs.values(), *column.muscles.values()]
    placed += [column.csf] if column.csf else []
    for one in placed:
        found[one.roi.full_mask(found.shape)] = 1 + list(Role).index(one.roi.role)
    center = volume.ras_to_ijk(column.bodies["L3"].surface.box.center)
    points = volume.ras_to_ijk(column.bodies["L3"].surface.box.center + [15.0, 0.0, 0.0])
    cuts = [
        np.rint(place).astype(int)[2 - axis]
        for axis, place in ((0, center), (0, points), (1, center), (2, center))
    ]
    figure, axes = plt.subplots(1, 4, figsize=(16, 6), layout="constrained")
    for axis, cut, panel in zip((0, 0, 1, 2), cuts, axes, strict=True):
        gray, color, label = (np.take(a, cut, axis).T for a in (volume.array, found, labels))
        if axis == 2:
            gray, color, label = gray.T, color.T, label.T
        panel.imshow(gray, cmap="gray", vmax=np.percentile(volume.array, 99.5))
        panel.imshow(np.ma.masked_equal(color, 0), cmap="Set2", vmin=1, vmax=len(Role), alpha=0.6)
        panel.contour(label > 0, [0.5], colors="k", linewidths=0.8)
        panel.axis("off")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def vbq_signal(values):
    """The marrow part of VBQ: the median over L1 to L4 of each body's median."""
    return np.median([np.median(one) for one in values])


def memory():
    """Peak of Python's allocations for one click, beside the volume's own size."""
    volume, labels, _ = load("AK-a_T1")
    seed = seeds(labels == 4, 1, np.random.default_rng(7))[0]
    tracemalloc.start()
    place(volume, volume.to_ras(seed), Role.MARROW)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"\nPeak memory of one click: {peak / volume.array.nbytes:.1f} times the volume")


if __name__ == "__main__":
    if not SPINE.is_dir():
        sys.exit(f"{SPINE} is missing; set MARROWASSESS_SHARED to the folder that holds 'cases'.")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="?", default=20, help="per body")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    bodies(args.seeds)
    discs(max(args.seeds // 4, 1))
    leaks()
    columns(args.pictures)
    memory()
