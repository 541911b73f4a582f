"""CT shown as the spine is found on: marrow brighter than discs, and no bone brighter still."""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.volume import Volume

SHOWN_HU = (-200.0, 300.0)  # by eye, on one abdomen; three other renderings found the same bodies


def is_ct(volume: Volume) -> bool:
    """Whether a volume is CT by its header, or was given as CT."""
    return volume.attributes.get("Modality") == "CT"


def as_seen(volume: Volume) -> Volume:
    """A CT cut to the window in which bodies and discs differ, from 0 up; others as they are."""
    if not is_ct(volume):
        return volume
    low, high = SHOWN_HU
    shown = volume.with_array(np.clip(volume.array, low, high).astype(np.float32) - np.float32(low))
    shown.attributes = {k: v for k, v in volume.attributes.items() if k != "Modality"}
    return shown
