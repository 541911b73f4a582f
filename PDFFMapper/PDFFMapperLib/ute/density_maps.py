"""Map of the density of one pool against a reference."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.maps.progress import Progress
from PDFFMapperLib.ute.bone_maps import bone_of, doubt_of, facts_of, maps_of, tell_region
from PDFFMapperLib.ute.coil_profile import DIVIDED, SAME
from PDFFMapperLib.ute.density import density_images, density_rows, scale_of
from PDFFMapperLib.ute.echoes import without_floor
from PDFFMapperLib.ute.regions import region_signals


def of_density(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None = None
) -> list[ParametricMap]:
    """Density of voxels.

    Raises:
        ValueError: as `density_images` and `density_rows`.
    """
    data = density_images(images, settings)
    settings.density_protocol = data.protocol  # its content is recorded, not the name of its file
    if settings.mask is None:
        raise ValueError("A density is of a bone that somebody has drawn; give it (--mask).")
    inside, notes = bone_of(data.images, settings)
    inside &= ~data.inside_reference
    doubt = doubt_of(data.images, inside, without_floor(data.images, 0))
    del inside
    try:
        rows, more, pool = density_rows(data, doubt == 0)
    except ValueError as error:
        raise ValueError(f"The mapped bone: {error}.") from None
    sample = region_signals(data.images, data.inside_reference, (0,))[0]
    values = without_floor(data.images, 0)
    values *= float(scale_of(data, pool) / sample.value)
    if data.profile is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            values *= data.profile[data.inside_reference].mean()
            values /= data.profile
    profile = SAME if data.profile is None else DIVIDED
    facts = facts_of(data.images, [*notes, *more, profile])
    noise = data.images.noise.told
    facts["summary"] = f"{pool.name} of {data.nucleus}, {len(images)} images; {noise}."
    tell_region(facts, "All of it", rows)
    del facts["echo_times_ms"]
    return maps_of(data.images, {"density": values}, doubt, facts)
