"""What misregistered images do to a region's numbers: its surroundings with later images off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from PDFFMapperLib.ute.echoes import UteImages
from PDFFMapperLib.ute.motion import Motion, carried

_AROUND = 6  # voxels round a region, whose splines then hardly end there


def images_off(images: UteImages, inside: np.ndarray) -> list[tuple[UteImages, np.ndarray]]:
    """The box round a region with all later images off along rows, and along columns.

    They are off by what registration leaves open (`UteImages.off_voxels`). The root of the sum of
    both changes' squares is the SD that it adds to a number of the region.
    """
    box = tuple(
        slice(max(int(at.min()) - around, 0), int(at.max()) + around + 1)
        for at, around in zip(np.nonzero(inside), (0, _AROUND, _AROUND), strict=True)
    )
    first, *later = images.signal[(slice(None), *box)]
    found = []
    for shift in np.eye(3)[1:] * images.off_voxels:
        motion = Motion(shift, np.zeros(3), images.off_voxels, 0.0)
        moved = np.stack([first, *(carried(one, motion, np.ones(3)) for one in later)])
        found.append((replace(images, signal=moved), inside[box]))
    return found
