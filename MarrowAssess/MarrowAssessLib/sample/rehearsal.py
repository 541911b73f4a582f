"""Everything compiled that a click waits for, once, on the digital lumbar spine."""

from __future__ import annotations

import numpy as np

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.placement.clicks import place_clicked
from MarrowAssessLib.placement.following import follow_column
from MarrowAssessLib.placement.options import PlacingOptions
from MarrowAssessLib.placement.spine_column import find_column
from MarrowAssessLib.placement.star_surface import sample
from MarrowAssessLib.sample.phantom import lumbar_phantom

LEVEL = "L3"
STORED = (np.uint8, np.int16, np.uint16)
"""How files keep images; the phantom's are float32."""


def play() -> None:
    """Place each tissue, find the spine, and follow it from a click."""
    phantom = lumbar_phantom()
    image = phantom.volumes[Contrast.T1]
    options = PlacingOptions(leave_out=("vein", "fat"))
    done = set()
    for region in phantom.study().regions:
        point = image.to_ras(region.centroid_ijk())
        if region.role is Role.MARROW and region.site == LEVEL:
            follow_column(image, point, LEVEL)
        if region.role not in done:
            done.add(region.role)
            place_clicked(image, point, region.role, region.site, options)
    find_column([image])
    for kind in STORED:
        sample(image.array[:2].astype(kind), np.zeros((1, 3)))
