"""Heights of vertebral bodies from experts' label maps.

How well heights of the same bodies agree between two label maps of one patient, how often bodies
are called low, and how a planted wedge or crush is measured and graded: labels, not our outlines,
so this measures the measuring. Then the same bodies as they are found without a click, on two
images of one patient and against the labels: by their outlines alone, and with the endplates at the
image's edges; and where they differ.
Run: python Testing/benchmarks/fractures.py [--pictures FOLDER]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "MarrowAssess"), str(ROOT / "PDFFMapper"), str(ROOT / "Testing")]

from MarrowAssessLib.fracture.grade import SpineHeights, assess_heights, grade_of  # noqa: E402
from MarrowAssessLib.fracture.heights import measure_body  # noqa: E402
from MarrowAssessLib.fracture.outlines import surfaces_of_masks  # noqa: E402
from MarrowAssessLib.placement.spine_column import find_column  # noqa: E402
from MarrowAssessLib.placement.vertebra import surface_of_mask  # noqa: E402
from PDFFMapperLib.images.files import read_volume  # noqa: E402
from PDFFMapperLib.images.volume import Volume  # noqa: E402
from phantoms.bodies import reduced  # noqa: E402

SPINE = Path(os.environ.get("MARROWASSESS_SHARED", ROOT.parent / "shared")) / "cases" / "spine"
PAIRS = (("AK-a_T1", "AK-a_TIRM"), ("AK-s_T1", "AK-s_TIRM"), ("DzZ_T1", "DzZ_T2"))
HEALTHY = ("DzZ_T1", "DzZ_T2", *(f"GRE_{n}" for n in range(1, 7)))
OTHERS = ("AK-a_T1", "AK-a_TIRM", "AK-s_T1", "AK-s_TIRM", "T2_1", "T2_2", "vb1_17", "vb3_33")
UP = ["S1", "L5", "L4", "L3", "L2", "L1", *(f"T{n}" for n in range(12, 0, -1))]
POSITIONS = ("front", "middle", "back")
LEAST_MM = 1.2  # differences from labels beyond the goal's limits are named
AROUND_MM = 30.0  # of a body in the picture of the worst
SHARES = (0.15, 0.2, 0.25, 0.35, 0.5)


def labeled(case: str) -> tuple[Volume, dict[str, np.ndarray]]:
    """A label map's bodies by level, from head to foot; levels of some are guesses."""
    path = SPINE / f"{case}_vertebrae.nii.gz"
    grid = read_volume(path if path.exists() else SPINE / f"{case}_labels.nii.gz")
    grid.array = np.rint(grid.array).astype(int)
    lowest = 1 if case.startswith("GRE") else 0
    labels = sorted(int(n) for n in np.unique(grid.array) if n > 0)
    levels = {UP[n - 1 + lowest]: grid.array == n for n in labels if n - 1 + lowest < len(UP)}
    levels.pop("S1", None)
    return grid, dict(reversed(levels.items()))


def measured(case: str) -> SpineHeights:
    """All bodies of a label map."""
    grid, masks = labeled(case)
    return assess_heights(surfaces_of_masks(grid, masks), grid)


def agreement(results: dict[str, SpineHeights]) -> None:
    """Differences between two label maps of the same bodies."""
    print("Same bodies, two label maps: difference of heights (mm)")
    for one, other in PAIRS:
        a, b = results[one].bodies, results[other].bodies
        both = [level for level in a if level in b]
        change = np.array([a[level].heights.mm - b[level].heights.mm for level in both])
        wedge = [a[level].heights.wedge - b[level].heights.wedge for level in both]
        print(
            f"  {one:8} {other:8} n={len(both)}  mean {change.mean():+.2f}  SD {change.std():.2f}  "
            f"most {np.abs(change).max():.1f}  of Ha/Hp: SD {np.std(wedge):.3f}"
        )


def calls(results: dict[str, SpineHeights]) -> None:
    """Bodies called low, among volunteers and among patients."""
    for name, cases in (("volunteers", HEALTHY), ("patients", OTHERS)):
        bodies = [(case, body) for case in cases for body in results[case].bodies.values()]
        graded = [(case, body) for case, body in bodies if body.grade is not None]
        low = [(case, body) for case, body in graded if body.grade]
        refused = sum(len(results[case].refused) for case in cases)
        wedge = [body.heights.wedge for _, body in bodies]
        print(
            f"{name}: {len(bodies)} bodies measured, {refused} refused, {len(graded)} graded, "
            f"{len(low)} of grade >= 1; Ha/Hp {np.mean(wedge):.2f} +- {np.std(wedge):.2f}, largest "
            f"loss {np.mean([b.loss for _, b in graded]):.1f} +- "
            f"{np.std([b.loss for _, b in graded]):.1f} %"
        )
        for case, body in low:
            print(f"    {case}: {body.text} {' '.join(body.cautions)}")


def planted(cases: tuple[str, ...], kinds: tuple[str, ...] = ("wedge", "crush")) -> None:
    """Losses planted in label maps: what is measured less what was before and what was planted."""
    errors, grades = [], []
    for case in cases:
        grid, masks = labeled(case)
        surfaces = surfaces_of_masks(grid, masks)
        before = assess_heights(surfaces, grid)
        for level, body in before.bodies.items():
            if body.grade is None:
                continue
            grades.append((grade_of(body.loss), body.grade))
            for kind in kinds:
                for share in SHARES:
                    mask, kept = reduced(grid, masks[level], surfaces[level], kind, share)
                    outline = surface_of_mask(grid, mask, (0, 0, 0), surfaces[level].box.axes)
                    after = assess_heights({**surfaces, level: outline}, grid).bodies[level]
                    errors.append(100 * (1 - after.heights.mm / body.heights.mm) - 100 * (1 - kept))
                    truth = 100 * (1 - (body.heights.mm * kept / body.expected_mm).min())
                    grades.append((grade_of(truth), after.grade or 0))
    errors, grades = np.array(errors), np.array(grades)
    true, found = grades.T
    print(
        f"planted: {len(errors)}; error of loss {errors.mean():+.1f} +- {errors.std():.1f} points, "
        f"95 % within {np.percentile(np.abs(errors), 95):.1f}; grade >= 1: sensitivity "
        f"{(found[true > 0] > 0).mean():.1%} of {(true > 0).sum()}, specificity "
        f"{(found[true == 0] == 0).mean():.1%} of {(true == 0).sum()}; "
        f"kappa {kappa(true, found):.2f}"
    )


def kappa(one: np.ndarray, other: np.ndarray) -> float:
    """Cohen's kappa of grades 0 to 3, unweighted."""
    table = np.histogram2d(one, other, bins=[np.arange(5) - 0.5] * 2)[0] / len(one)
    by_chance = table.sum(axis=1) @ table.sum(axis=0)
    return float((np.trace(table) - by_chance) / (1 - by_chance))


def found(results: dict[str, SpineHeights], pictures: Path | None) -> None:
    """Heights of bodies found without a click, by their outlines and at the image's edges."""
    for words, edges in (("outlines alone", False), ("endplates at the edges", True)):
        print(f"Found without a click, {words}: difference of heights (mm)")
        heights, off = {}, {}
        for case in dict.fromkeys(case for pair in PAIRS for case in pair):
            volume = read_volume(SPINE / f"{case}.nii.gz")
            bodies = find_column([volume]).bodies
            labels = results[case].bodies
            heights[case] = {
                level: measure_body(one.surface, volume if edges else None)
                for level, one in bodies.items()
                if level in labels
            }
            off[case] = {
                level: one.mm - labels[level].heights.mm for level, one in heights[case].items()
            }
            apart(f"{case:9} less labels", off[case])
        for one, other in PAIRS:
            both = [level for level in heights[one] if level in heights[other]]
            apart(
                f"{one:9} {other:9}",
                {level: heights[one][level].mm - heights[other][level].mm for level in both},
            )
        if pictures:
            picture_of_worst(heights, off, results, pictures / f"{words.replace(' ', '_')}.png")


def apart(words: str, mm: dict[str, np.ndarray]) -> None:
    """How heights differ: of whole bodies, of a body's positions; and which differ much."""
    change = np.array(list(mm.values()))
    of_bodies = change.mean(axis=1)
    shape = (change - of_bodies[:, None]).std()
    print(
        f"  {words}: n={len(change)}  {change.mean(axis=0).round(1)} SD {change.std():.2f}; "
        f"of bodies {of_bodies.std():.2f}, of positions in a body {shape:.2f}"
    )
    far = [
        f"{level} {where} {value:+.1f}"
        for level, values in mm.items()
        for where, value in zip(POSITIONS, values, strict=True)
        if abs(value) > LEAST_MM
    ]
    if far:
        print(f"      beyond {LEAST_MM} mm: {', '.join(far)}")


def picture_of_worst(heights, off, results, path: Path) -> None:
    """Of each image the body whose heights differ most from the label's, with both points."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(12, 8), layout="constrained")
    for (case, bodies), panel in zip(heights.items(), axes.T.ravel(), strict=True):
        level = max(bodies, key=lambda level: np.abs(off[case][level]).max())
        mine, theirs = bodies[level], results[case].bodies[level].heights
        _, masks = labeled(case)
        image = read_volume(SPINE / f"{case}.nii.gz")
        # Pixels of half a millimeter in the plane that holds the body's axis and its depth.
        middle, front = mine.points_ras.mean(axis=0), mine.walls_ras[0] - mine.walls_ras[1]
        axis = np.stack([front / np.linalg.norm(front), mine.head])
        at = np.arange(-AROUND_MM, AROUND_MM, 0.5)
        plane = middle + at[None, :, None] * axis[0] + at[:, None, None] * axis[1]
        kji = image.ras_to_ijk(plane.reshape(-1, 3))[:, ::-1].T
        signal, label = (
            ndimage.map_coordinates(array.astype(float), kji, order=1).reshape(plane.shape[:2])
            for array in (image.array, masks[level])
        )
        extent = (-AROUND_MM, AROUND_MM, -AROUND_MM, AROUND_MM)
        panel.imshow(signal, cmap="gray", origin="lower", extent=extent)
        panel.contour(at, at, label, [0.5], colors="y", linewidths=1)
        for one, color in ((theirs, "y"), (mine, "c")):
            x, z = ((one.points_ras - middle) @ axis.T).T
            panel.plot(x, z, "+", color=color, markersize=9)
        differences = " ".join(f"{value:+.1f}" for value in off[case][level])
        panel.set_title(f"{case} {level}: {differences} mm", fontsize=9)
        panel.axis("off")
    figure.suptitle("Label yellow, found blue; front is right", fontsize=9)
    figure.savefig(path, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    all_cases = dict.fromkeys((*HEALTHY, *OTHERS))
    results = {case: measured(case) for case in all_cases}
    agreement(results)
    calls(results)
    planted(HEALTHY)
    found(results, options.pictures)
    print(f"{time.process_time() - start:.0f} CPU-s")
