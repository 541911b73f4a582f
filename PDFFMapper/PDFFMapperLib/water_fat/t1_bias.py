"""T1 bias of fat fractions from spoiled gradient echoes, estimated and corrected."""

from __future__ import annotations

import numpy as np


def saturation(flip_angle_deg: float, repetition_time_s: float, t1_s: float) -> float:
    """Steady-state signal of a spoiled gradient echo over that of full relaxation (Ernst).

    Raises:
        ValueError: a value that cannot be.
    """
    if not 0 < flip_angle_deg <= 180:
        raise ValueError(f"A flip angle from 0 to 180 degrees is expected, not {flip_angle_deg:g}.")
    if not 0 < repetition_time_s < 20:
        raise ValueError(
            f"A repetition time in seconds is expected, {repetition_time_s:g} was given"
            + ("; divide milliseconds by 1000." if repetition_time_s >= 20 else ".")
        )
    if not 0.01 <= t1_s <= 10:
        raise ValueError(f"A T1 from 0.01 to 10 s is expected, not {t1_s:g}.")
    decay = np.exp(-repetition_time_s / t1_s)
    return float((1 - decay) / (1 - np.cos(np.radians(flip_angle_deg)) * decay))


def t1_corrected_fat_fraction(
    percent: np.ndarray,
    flip_angle_deg: float,
    repetition_time_s: float,
    t1_water_s: float,
    t1_fat_s: float,
) -> np.ndarray:
    """Fat fraction in % without the T1 weighting of the sequence.

    Water and fat are each divided by their saturation (Liu 2007, doi 10.1002/mrm.21301). The T1
    values are the user's: they differ with tissue and field strength, and none is assumed.

    Args:
        percent: fat fraction in % from signals.
        flip_angle_deg: flip angle.
        repetition_time_s: repetition time.
        t1_water_s: T1 of the water of this tissue at this field strength.
        t1_fat_s: T1 of its fat.
    """
    fat = np.asarray(percent, float) / saturation(flip_angle_deg, repetition_time_s, t1_fat_s)
    water = (100 - np.asarray(percent, float)) / saturation(
        flip_angle_deg, repetition_time_s, t1_water_s
    )
    return 100 * fat / (water + fat)
