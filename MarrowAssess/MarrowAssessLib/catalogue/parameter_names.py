"""What the parameters of the MarrowAssess module are called in a scene."""

from MarrowAssessLib.catalogue.contrasts import Contrast


def _parameter(contrast: Contrast) -> str:
    if contrast is Contrast.DSTAR:
        return "dStarVolume"  # as saved scenes have it
    first, *others = contrast.value.split("_")
    return "".join([first.lower(), *(word[0].upper() + word[1:] for word in others), "Volume"])


_NOT_CHOSEN = (Contrast.FAT_FRACTION,)  # the panel has no selector for it
VOLUME_PARAMETERS = {c: _parameter(c) for c in Contrast if c not in _NOT_CHOSEN}
"""The parameter of the MarrowAssess module that holds the image of each contrast."""

NOT_KNOWN = "not known"
"""What the parameter "sex" holds where nobody has told."""
