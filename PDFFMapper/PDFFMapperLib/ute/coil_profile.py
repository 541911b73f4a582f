"""The receive profile of a coil by the image of a uniform phantom."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.recipe import check_one_grid

SAME = "The receive profile is taken to be the same in bone and reference."
DIVIDED = "Divided by the receive profile of a uniform phantom's image."


def profile_of(settings: SimpleNamespace, grid: Volume) -> np.ndarray | None:
    """The `coil_profile` that settings hold; None where they hold none.

    Raises:
        ValueError: it is on another grid.
    """
    volume = getattr(settings, "coil_profile", None)
    if volume is None:
        return None
    check_one_grid(volume, grid)
    return np.asarray(volume.array, float)


def profile_ratio(profile: np.ndarray | None, reference: np.ndarray, inside: np.ndarray) -> float:
    """How much stronger the coil receives the reference than a region; 1 without a profile.

    Raises:
        ValueError: the profile has no signal in a part of one of them.
    """
    if profile is None:
        return 1.0
    for where, words in ((reference, "the reference"), (inside, "the region")):
        if not (profile[where] > 0).all():  # NaN too
            raise ValueError(f"the coil profile has no signal in a part of {words}")
    return float(profile[reference].mean() / profile[inside].mean())
