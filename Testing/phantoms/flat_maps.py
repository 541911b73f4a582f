"""Maps that are flat in each region of a study."""

from __future__ import annotations

import numpy as np
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.study.study import Study


def with_map(study: Study, contrast: Contrast, numbers: dict[str, float], **patient) -> Study:
    """The study's regions on one map alone, which holds a number in each named region, else 0."""
    array = np.zeros(study.grid.array.shape, np.float32)
    for region in study.regions:
        array[region.box][region.mask] = numbers.get(region.name, 0.0)
    return Study({contrast: study.grid.with_array(array)}, study.regions, **patient)
