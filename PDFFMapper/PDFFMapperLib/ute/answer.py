"""What UTE images say of regions and bones, as numbers with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RegionValue:
    """One number of a region.

    Attributes:
        quantity: "PI", "PI at TE 2.2 ms", "bound_fraction" ...
        value, lower, upper: with its 95 % interval; NaN where only the interval can be told.
        unit: as printed.
        bound_sd: Cramer-Rao bound (SD), NaN where none is told.
        note: how it was made, if that matters.
    """

    quantity: str
    value: float
    lower: float
    upper: float
    unit: str
    bound_sd: float = float("nan")
    note: str = ""

    def told(self) -> str:
        """As printed."""
        if math.isnan(self.value):
            span = f"{self.quantity} ({self.lower:.3g} to {self.upper:.3g})"
            return f"{span} {self.unit} {self.note}".rstrip()
        text = f"{self.quantity} {self.value:.3g} ({self.lower:.3g} to {self.upper:.3g})"
        return f"{text} {self.unit}".rstrip() + (f", {self.note}" if self.note else "")


@dataclass(frozen=True)
class RegionNumbers:
    """What each region of a bone says.

    Attributes:
        rows: region, its voxels, and a number of it.
        refused: region, its voxels, and why it has no number.
    """

    rows: list[tuple[str, int, RegionValue]]
    refused: list[tuple[str, int, str]]


@dataclass
class Bone:
    """What was found of one bone.

    Attributes:
        values: by quantity ("PI", "thickness" ...).
        refused: why a quantity is not there.
        cautions: sentences to read with all of it.
        how: echo times and where the bone is from.
        cortex: a `cortex.Cortex`; None where the bone was given.
        notes: what was done on reading and measuring.
        provenance: how it was made, see Recipe.
    """

    values: dict[str, RegionValue]
    refused: dict[str, str]
    cautions: list[str]
    how: str
    cortex: object = None
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, object] = field(default_factory=dict)
