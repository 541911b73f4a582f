"""What a volume of a study shows, and the names people use for it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import TypeVar

from PDFFMapperLib.maps.kinds import MapKind, find_kind, map_kind

T = TypeVar("T")
NO_CONTRAST = ("dwi", "multi_echo", "ct_low", "ct_high")  # roles: what maps are made of


class Contrast(str, Enum):
    """What a volume of the study shows: an image, or a map by the id of its kind.

    FAT_FRACTION is fat over fat and water signal, as of two-point Dixon: not a PDFF, because T1,
    R2* and the fat spectrum are not corrected. DWI is the image of the highest b-value.
    """

    T1 = "T1"
    T2 = "T2"
    FS_T2 = "FS_T2"
    IN_PHASE = "in_phase"
    OPPOSED_PHASE = "opposed_phase"
    T1_POST = "T1_post"
    WATER = "water"
    FAT = "fat"
    FAT_FRACTION = "fat_fraction"
    PDFF = "PDFF"
    R2STAR = "R2star"
    T2STAR = "T2star"
    ADC = "ADC"
    D = "D"
    DSTAR = "Dstar"
    F = "f"
    SUV = "SUV"
    VNCA = "VNCa"
    VNCA_PROJECTED = "VNCa_projected"
    HAP = "HAP"
    FAT_HAP = "Fat_HAP"
    YELLOW_SHARE = "yellow_share"
    CT = "CT"
    DWI = "DWI"

    @property
    def on_own_grid(self) -> bool:
        """Whether regions of any grid are measured on the image's own, as those of PET are."""
        return self is Contrast.SUV

    @property
    def kind(self) -> MapKind:
        """Of a map: its unit, what is plausible and more.

        Raises:
            ValueError: this is an image.
        """
        return map_kind(self.value)


SIGNALS = (
    Contrast.T1, Contrast.T2, Contrast.FS_T2, Contrast.T1_POST, Contrast.IN_PHASE,
    Contrast.OPPOSED_PHASE, Contrast.WATER, Contrast.FAT,
)  # fmt: skip
_CONTRAST_ALIASES = {
    "stir": Contrast.FS_T2,
    "tirm": Contrast.FS_T2,
    "fst2": Contrast.FS_T2,
    "t2fs": Contrast.FS_T2,
    "t1gd": Contrast.T1_POST,
    "t1postcontrast": Contrast.T1_POST,
    "outofphase": Contrast.OPPOSED_PHASE,
    "opposed": Contrast.OPPOSED_PHASE,
    "in": Contrast.IN_PHASE,
    "pdfft1corrected": Contrast.PDFF,
}


def parse_contrast(text: str) -> Contrast:
    """The contrast a word names ("STIR", "T1 post", "opposed-phase", "R2*" ...).

    Raises:
        ValueError: no contrast has that name.
    """
    word = re.sub(r"[\s_-]", "", text.lower())
    for contrast in Contrast:
        if re.sub("_", "", contrast.value.lower()) == word:
            return contrast
    if word in _CONTRAST_ALIASES:
        return _CONTRAST_ALIASES[word]
    kind = find_kind(text)
    if kind and kind.id in (contrast.value for contrast in Contrast):
        return Contrast(kind.id)
    names = ", ".join(contrast.value for contrast in Contrast)
    raise ValueError(
        f"Unknown volume role '{text}'; expected one of: {names} (STIR and TIRM mean FS_T2)."
    )


def by_contrast(named: Iterable[tuple[str, T]]) -> dict[Contrast, T]:
    """Things by the contrast that their names mean.

    Raises:
        ValueError: an unknown name, or two of the same contrast.
    """
    found: dict[Contrast, T] = {}
    for role, one in named:
        contrast = parse_contrast(role)
        if contrast in found:
            raise ValueError(
                f"{contrast.value} is given twice: {found[contrast]} and {one}; keep one."
            )
        found[contrast] = one
    return found
