"""Whether a place lies in the fat beneath the skin of the back: behind it is nothing but air."""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.placement.star_surface import sample

STEP_MM, STEPS = 1.0, 120  # backward, no further than to the image's end
DARKER, BRIGHTER = 0.8, 1.5  # signal over that of the place: another tissue; coils brighten fat
BORDER = 4  # steps from that tissue's end over the skin to what lies behind
# Air is as dark as this percentile of the image, times this, and as this share of the place more,
# but no brighter than that: an image may hold no air.
AIR_PERCENT, AIR_TIMES, AIR_SHARE, AIR_MOST = 5, 2.0, 0.05, 0.5


def beneath_skin(volume: Volume, place: np.ndarray, back: np.ndarray, ball: np.ndarray) -> bool:
    """Whether the tissue at a place goes on to the skin. False where the image ends before air.

    Behind muscle lies fat, which is brighter, or darker where it is suppressed, but seen.

    Args:
        volume: image.
        place: (3,) RAS, mm.
        back: (3,) unit vector to the patient's back.
        ball: (n, 3) mm, places round the first that are taken together.
    """
    steps = place + STEP_MM * np.arange(STEPS)[:, None] * back
    disk = ball - (ball @ back)[:, None] * back  # flat: what lies behind may be thin
    values = sample(volume.array, volume.ras_to_ijk((steps[:, None] + disk).reshape(-1, 3)))
    values = values.reshape(STEPS, -1)
    levels = np.median(values[np.isfinite(values).all(axis=1)], axis=1)
    if not len(levels):
        return False
    own = levels[0]
    other = np.flatnonzero((levels < DARKER * own) | (levels > BRIGHTER * own))
    behind = levels[other[0] + BORDER :] if len(other) else levels[:0]
    if not len(behind) or levels[other[0]] > own:
        return False
    darkest = np.percentile(volume.array[np.isfinite(volume.array)], AIR_PERCENT)
    air = min(AIR_TIMES * darkest + AIR_SHARE * own, AIR_MOST * own)
    return bool(behind.max() < air)
