"""What a user may say before anything is placed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from MarrowAssessLib.catalogue.anatomy import spine_levels

# Of a measurement ROI: basivertebral vein and hot spots of marrow, fat in muscle.
LEAVE_OUT = ("vein", "fat")
AUTO = "auto"
"""For a column: found by itself."""


@dataclass(frozen=True)
class PlacingOptions:
    """How to place, the same for the panel, the console, the command line and study files.

    Attributes:
        lumbar: how many lumbar vertebrae there are, 4, 5 or 6.
        leave_out: of the ROI: "vein" for the basivertebral vein and hot spots of marrow (signals
            over 2.5 robust standard deviations from the median), "fat" for fat streaks in muscle.

    Raises:
        ValueError: another number of vertebrae, or nothing of that name can be left out.
    """

    lumbar: int = 5
    leave_out: Sequence[str] = ()

    def __post_init__(self) -> None:
        spine_levels(self.lumbar)
        if unknown := [name for name in self.leave_out if name not in LEAVE_OUT]:
            raise ValueError(f"'{unknown[0]}' cannot be left out; {' and '.join(LEAVE_OUT)} can.")

    @property
    def levels(self) -> list[str]:
        """The vertebrae from C2 to S1."""
        return spine_levels(self.lumbar)


AS_USUAL = PlacingOptions()
