"""Whether an image's header states the modality that its contrast needs."""

from __future__ import annotations

from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.contrasts import Contrast

_OF_CT = (
    Contrast.CT, Contrast.VNCA, Contrast.VNCA_PROJECTED, Contrast.HAP, Contrast.FAT_HAP,
    Contrast.YELLOW_SHARE,
)  # fmt: skip


def refuse_other_modality(volume: Volume, contrast: Contrast, called: str = "") -> None:
    """Raise ValueError where a header states another of MR, CT and PET; `called` is its source."""
    told = str(volume.attributes.get("Modality", ""))
    needed = "PT" if contrast is Contrast.SUV else "CT" if contrast in _OF_CT else "MR"
    if told in ("MR", "CT", "PT") and told != needed:
        raise ValueError(
            f"{called or volume.name}: by its header this is an image of modality {told}, but "
            f"{contrast.value} is one of {needed}; name the series that shows it."
        )
