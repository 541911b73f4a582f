"""The spine without a click on a folder of the published collection of labeled lumbar spines.

Run from the repository's root, with the folder of its .mat files (I: image, GT: labels, 1 mm):
python Testing/benchmarks/spine_collection.py FOLDER
The collection (VB1: patients, T1, T2 and TIRM; VB2: T2 of volunteers; VB3: gradient echo of
volunteers; public on GitHub: JonathanRamos/fastcleverseg) is not part of the project. Nothing in
it trained the network. What S1 and L5 measure by their shape (sacrum.py) is from 19 of its volumes;
volumes that are cases of the tests as well (`CASES`) are left out.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("MarrowAssess", "PDFFMapper", "Testing/benchmarks")]

from MarrowAssessLib.placement.spine_column import find_column  # noqa: E402
from PDFFMapperLib.images.volume import Volume  # noqa: E402
from spine import dice, middle_of  # noqa: E402

CASES = {
    *(f"VB1_{n:02}" for n in (2, 3, 6, 7, 10, 11, 12, 15, 17)),
    *(f"VB3_{n:02}" for n in (1, 2, 5, 10, 20, 30, 32, 33, 49)),
}


@dataclass(frozen=True)
class Body:
    """A labeled body, as it was found."""

    case: str
    label: int
    name: str
    whole: float
    middle: float
    flagged: bool
    level_doubted: bool


def load(file: Path) -> tuple[Volume, np.ndarray]:
    """A sagittal image of 1 mm voxels, with its labels by slices, rows and columns."""
    held = scipy.io.loadmat(file)
    slices = min(held["I"].shape[2], held["GT"].shape[2])
    image, labels = (
        np.ascontiguousarray(np.moveaxis(held[name][..., :slices], 2, 0)) for name in ("I", "GT")
    )
    depth, rows, columns = image.shape
    ijk_to_ras = np.array(
        [
            [0.0, 0.0, -1.0, (depth - 1) / 2],
            [-1.0, 0.0, 0.0, (columns - 1) / 2],
            [0.0, -1.0, 0.0, (rows - 1) / 2],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    return Volume(image, ijk_to_ras), labels


def bodies_of(file: Path) -> list[Body]:
    """Each labeled body beside the found one that overlaps it most, from the lowest upward."""
    volume, labels = load(file)
    column = find_column([volume])
    masks = {name: one.body.full_mask(labels.shape) for name, one in column.bodies.items()}
    found = []
    rows = {n: np.argwhere(labels == n)[:, 1].mean() for n in np.unique(labels[labels > 0])}
    for label in sorted(rows, key=rows.get, reverse=True):
        truth = labels == label
        name = max(masks, key=lambda one: dice(masks[one], truth))
        kept, said = middle_of(truth), column.bodies[name].unsure
        of_level = [text.startswith("The level") for text in said]
        wide = dice(masks[name], truth), dice(masks[name][kept], truth[kept])
        flags = not all(of_level), any(of_level)
        found.append(Body(file.stem, int(label), name, *wide, *flags))
    return found


def told(title: str, bodies: list[Body]) -> None:
    """One line of figures."""
    whole, middle = (np.array([getattr(one, key) for one in bodies]) for key in ("whole", "middle"))
    unflagged = ~np.array([one.flagged for one in bodies])
    silent = [np.sum(unflagged & (whole < least)) for least in (0.5, 0.7)]
    print(
        f"{title:4s} {len({one.case for one in bodies}):3d} volumes {len(bodies):4d} bodies: "
        f"middle {np.median(middle):.3f}/{np.percentile(middle, 10):.3f}, "
        f"whole {np.median(whole):.3f}/{np.percentile(whole, 10):.3f}, "
        f"one piece {np.mean(whole > 0.5):.1%}, flagged {1 - unflagged.mean():.1%}, "
        f"unflagged below .5 {silent[0]}, below .7 {silent[1]}"
    )


def main() -> None:
    files = [one for one in sorted(Path(sys.argv[1]).glob("VB*.mat")) if one.stem not in CASES]
    with ProcessPoolExecutor() as pool:
        columns = list(pool.map(bodies_of, files))
    for kind in ("VB1", "VB2", "VB3"):
        told(kind, [one for found in columns for one in found if one.case.startswith(kind)])
    told("all", [one for found in columns for one in found])
    print("\nNames from below (* doubted level), and outlines below .75 or flagged:")
    for found in columns:
        names = " ".join(one.name + "*" * one.level_doubted for one in found)
        low = [
            f"{one.name} {one.whole:.2f}{' flagged' * one.flagged}"
            for one in found
            if one.whole < 0.75 or one.flagged
        ]
        print(f"{found[0].case} {names} {'; '.join(low)}")


if __name__ == "__main__":
    main()
