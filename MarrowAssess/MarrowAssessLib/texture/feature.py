"""What a texture feature is called."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

ORIGINAL, SHAPE_OF = "original", "shape"
OVER = "_over_"  # between an image and the tissue its signal is divided by, in names of columns


@dataclass(frozen=True)
class Feature:
    """What one texture feature is called.

    Attributes:
        code: its IBSI code.
        name: its IBSI name.
        grows: it grows with the region's volume, so that it compares only between equal volumes.
    """

    code: str
    name: str
    grows: bool = False


def asked(features: Iterable[Feature], codes: Collection[str] | None) -> bool:
    """Whether one of the features is among the codes; None asks for all."""
    return codes is None or any(one.code in codes for one in features)
