"""Exchanged water and fat regions found in anatomies: the phantom and the challenge's cases.

    python Testing/benchmarks/exchanged.py

Water and fat of each are exchanged in a part; printed are the share of it that is put right and
left out, and how many voxels elsewhere are wrongly touched. Fat is as bright as water (1) or twice.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import scipy.io

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "PDFFMapper"), str(ROOT / "Testing")]

from PDFFMapperLib.water_fat.exchanged import find_exchanged  # noqa: E402
from PDFFMapperLib.water_fat.multi_echo import multi_echo  # noqa: E402
from PDFFMapperLib.water_fat.separation import separate_water_fat  # noqa: E402
from PDFFMapperLib.water_fat.signal_mask import signal_mask  # noqa: E402
from phantoms.water_fat import scanner_images, spine_phantom  # noqa: E402

SHARED = Path(os.environ.get("MARROWASSESS_SHARED", ROOT / "../shared"))
CASES = {12: (5, 1.6, 1.6), 13: (5, 1.5, 1.5), 15: (5, 1.4, 1.4), 16: (5, 1.4, 1.4), 17: (5, 2, 2)}
"""Voxel sizes in mm, guessed: the files do not tell them."""


def anatomies():
    """Name, water, fat, voxels with a separation, voxel size."""
    phantom = spine_phantom(shape=(20, 96, 96))
    yield "phantom", *scanner_images(phantom, 1.0), phantom.labels > 0, phantom.voxel_size_mm
    for number, size in CASES.items():
        path = SHARED / f"cases/waterfat/{number}.mat"
        if not path.is_file():
            print(f"{path} is not there: left out")
            continue
        content = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)["imDataParams"]
        echoes = np.moveaxis(np.asarray(content.images), (3, 2), (0, 1))
        echoes = echoes if content.PrecessionIsClockwise > 0 else echoes.conj()
        found = separate_water_fat(multi_echo(echoes, content.TE, float(content.FieldStrength)))
        images = (
            np.where(found.mask, np.nan_to_num(np.abs(one)), 0) for one in (found.water, found.fat)
        )
        yield f"case {number}", *images, found.mask, size


def parts(mask):
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in mask.shape], indexing="ij")
    return {
        "nothing": mask & False,
        "a side": mask & (x + 0.4 * y > 0.3),
        "a ball": mask & (x**2 + y**2 < 0.12),
        "end slices": mask & (z > 0.6),
    }


def main() -> None:
    for name, water, fat, fitted, size in anatomies():
        for bright in (1.0, 2.0):
            mask = signal_mask(np.stack([water, bright * fat])) & fitted
            for part, where in parts(mask).items():
                began = time.process_time()
                found = find_exchanged(
                    np.where(where, bright * fat, water),
                    np.where(where, water, bright * fat),
                    mask,
                    size,
                )
                seconds = time.process_time() - began
                count = max(np.count_nonzero(where), 1)
                print(
                    f"{name:8s} fat x {bright:g}  {part:10s} {np.count_nonzero(where):6d} voxels: "
                    f"put right {100 * np.count_nonzero(found.sure & where) / count:5.1f} %, "
                    f"left out {100 * np.count_nonzero(found.doubtful & where) / count:5.1f} %; "
                    f"elsewhere exchanged {np.count_nonzero(found.sure & ~where)}, "
                    f"left out {np.count_nonzero(found.doubtful & ~where)}; {seconds:.2f} CPU-s"
                    + (" THROUGHOUT" if found.throughout else ""),
                    flush=True,
                )


if __name__ == "__main__":
    main()
