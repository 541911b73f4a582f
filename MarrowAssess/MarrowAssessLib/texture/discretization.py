"""Gray levels of a region: how values become the whole numbers that texture is counted on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from MarrowAssessLib.catalogue.contrasts import Contrast

MOST_LEVELS = 1024
# Width of the gray levels of values that have a unit (points of %, 1/s, 10^-3 mm^2/s).
_BIN_WIDTHS = {Contrast.PDFF: 2.5, Contrast.R2STAR: 5.0, Contrast.ADC: 0.05}
_BINS = 32  # of signals in arbitrary units
RELATIVE_BINS = 0.05  # width of the gray levels of such signals over a reference tissue's


@dataclass(frozen=True)
class Discretization:
    """How values become gray levels from 1 on; says itself in words.

    Values with a unit get bins of one width from a fixed lowest value, so that a level means the
    same in every patient. Values in arbitrary units get a number of bins between two percentiles
    of the region. Values beyond the ends go to the end bins.

    Attributes:
        bin_width: width of the bins in the values' unit; exclusive with `bins`.
        lowest: lower edge of the first bin, with `bin_width`.
        bins: number of bins between the percentiles.
        percentiles: of the region's values, with `bins`.
    """

    bin_width: float | None = None
    lowest: float = 0.0
    bins: int | None = None
    percentiles: tuple[float, float] = (1.0, 99.0)

    def __post_init__(self) -> None:
        if (self.bin_width is None) == (self.bins is None):
            raise ValueError("Give a bin width or a number of bins, one of the two.")
        if self.bin_width is not None and not (np.isfinite(self.bin_width) and self.bin_width > 0):
            raise ValueError(f"A bin width is a number above 0; given was {self.bin_width:g}.")
        if self.bins is not None and not 2 <= self.bins <= MOST_LEVELS:
            raise ValueError(f"Expected 2 to {MOST_LEVELS} bins; given were {self.bins}.")
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"Percentiles rise from 0 to 100; given were {low:g} and {high:g}.")

    def __str__(self) -> str:
        if self.bin_width is not None:
            return f"bins of {self.bin_width:g} from {self.lowest:g}"
        low, high = self.percentiles
        return f"{self.bins} bins from percentile {low:g} to {high:g}"

    def coarser(self, factor: float) -> Discretization:
        """The same with bins that are wider by a factor, or narrower below 1."""
        if self.bin_width is not None:
            return replace(self, bin_width=self.bin_width * factor)
        return replace(self, bins=round(self.bins / factor))

    def limits(self, inside: np.ndarray, highest: int) -> tuple[float, float]:
        """Lower edge of level 1 and upper edge of level `highest`, of a region's values (n,)."""
        if self.bin_width is not None:
            return self.lowest, self.lowest + highest * self.bin_width
        low, high = np.percentile(inside, self.percentiles)
        return float(low), float(high)

    def levels(self, values: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Gray levels (int32) inside the mask, 0 outside.

        Args:
            values: any shape, finite inside the mask.
            mask: bool, same shape, not empty.

        Raises:
            ValueError: an empty mask, values that are not finite, or more than MOST_LEVELS levels.
        """
        inside = np.asarray(values)[mask].astype(float)
        if not inside.size:
            raise ValueError("The region has no voxel, so it has no gray levels.")
        if not np.isfinite(inside).all():
            raise ValueError("The region holds NaN or infinite values; take them out of its mask.")
        if self.bin_width is not None:
            found = np.floor((inside - self.lowest) / self.bin_width) + 1
            if found.max() > MOST_LEVELS:
                width = (inside.max() - self.lowest) / MOST_LEVELS
                raise ValueError(
                    f"Bins of {self.bin_width:g} give {found.max():.0f} gray levels; "
                    f"{MOST_LEVELS} are the most. Take bins of {width:.3g} or wider."
                )
        else:
            low, high = np.percentile(inside, self.percentiles)
            step = (high - low) / self.bins
            found = np.floor((inside - low) / step) + 1 if step > 0 else np.ones_like(inside)
            found = np.minimum(found, self.bins)
        levels = np.zeros(np.shape(values), np.int32)
        levels[mask] = np.maximum(found, 1)
        return levels


def discretization_of(contrast: Contrast) -> Discretization:
    """The gray levels that values of a contrast get: of one width where they have a unit."""
    width = _BIN_WIDTHS.get(contrast)
    return Discretization(bin_width=width) if width else Discretization(bins=_BINS)
