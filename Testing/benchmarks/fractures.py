"""Heights of vertebral bodies from experts' label maps.

How well heights of the same bodies agree between two label maps of one patient, how often bodies
are called low, and how a planted wedge or crush is measured and graded: labels, not our outlines,
so this measures the measuring. Then the same bodies as they are found without a click, on two
images of one patient and against the labels: by their outlines alone, and with the endplates at the
image's edges. Run: python Testing/benchmarks/fractures.py
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

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


def found(results: dict[str, SpineHeights]) -> None:
    """Heights of bodies found without a click, by their outlines and at the image's edges."""
    for words, edges in (("outlines alone", False), ("endplates at the edges", True)):
        print(f"Found without a click, {words}: difference of heights (mm)")
        heights = {}
        for case in dict.fromkeys(case for pair in PAIRS for case in pair):
            volume = read_volume(SPINE / f"{case}.nii.gz")
            bodies = find_column([volume]).bodies
            heights[case] = {
                level: measure_body(one.surface, volume if edges else None).mm
                for level, one in bodies.items()
                if level in results[case].bodies
            }
            labels = results[case].bodies
            off = np.array([mm - labels[level].heights.mm for level, mm in heights[case].items()])
            print(f"  {case:9} less labels: {off.mean(axis=0).round(1)} +- {off.std():.2f}")
        for one, other in PAIRS:
            both = [level for level in heights[one] if level in heights[other]]
            change = np.array([heights[one][level] - heights[other][level] for level in both])
            print(f"  {one:9} {other:9} n={len(both)}  SD {change.std():.2f}")


if __name__ == "__main__":
    start = time.process_time()
    all_cases = dict.fromkeys((*HEALTHY, *OTHERS))
    results = {case: measured(case) for case in all_cases}
    agreement(results)
    calls(results)
    planted(HEALTHY)
    found(results)
    print(f"{time.process_time() - start:.0f} CPU-s")
