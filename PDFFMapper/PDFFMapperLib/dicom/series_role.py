"""What a series is for, guessed from its attributes and description."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from PDFFMapperLib.images.attributes import (
    agent_given,
    agent_hidden,
    fat_saturated,
    image_type_of,
    is_diffusion_map,
    number_of,
    products_of_image_type,
    words_of,
)

# The products that are an image of a study; others (T2*, field maps ...) are none of its roles.
_ROLES = ("water", "fat", "in_phase", "opposed_phase", "pdff", "r2star")
# Plain words of descriptions: compiling as many patterns keeps who opens a panel waiting.
_NO_IMAGE_OF_MARROW = (
    *("loc", "localizer", "localiser", "scout", "survey", "sub", "subtraction"),
    *("t1map", "t2map", "pd", "pdw"),
)
_NO_ROLE = ("tensor", "t2*", "t2s", "t2star", "swi", "b0map", "b0 map", "b1map", "b1 map")
_MULTI_ECHO = (
    *("multiecho", "multi echo", "mecho", "megre", "mgre", "idealiq", "ideal iq"),
    *("qdixon", "q dixon", "mdixonquant", "mdixon quant", "dixonquant", "dixon quant"),
)
_FAT_SUPPRESSED = ("fs", "fatsat", "fat sat", "spair", "spir", "fat suppressed", "fatsup", "chess")
_AGENT = (
    *("gd", "gad", "gado", "post", "postkm", "postgd", "postcontrast", "+c", "+ c", "ce", "km"),
    *("mdc", "contrast", "dotarem", "gadovist"),
)
_WITHOUT_AGENT = ("pre", "without", "non", "no", "w o", "nativ", "native", "ohne")
_WEIGHTED = {"T1": ("t1", "t1w", "t1wi"), "T2": ("t2", "t2w", "t2wi")}
_DIXON = ("dixon", "vibe", "ideal", "idealiq", "flex", "lava", "mdixon", "qdixon")
_DIXON_WORDS = {
    "opposed_phase": (
        *("opp", "opposed", "opposedphase", "opposed phase", "outofphase", "outof phase"),
        *("out ofphase", "out of phase", "oop", "outphase", "out phase"),
    ),
    "in_phase": ("inphase", "in phase", "ip", "in out", "in opp", "in and out", "in and opp"),
    "pdff": ("pdff", "ff", "fatfraction", "fat fraction", "fatfrac", "fat frac"),
    "r2star": ("r2*", "r2s", "r2star"),
}
_LAST_OF_DIXON = {"in_phase": " in ", "opposed_phase": (" op ", " out "), "pdff": " fp "}


def guess_role(attributes: Mapping[str, object], description: str | None = None) -> str | None:
    """What a series is for, from its attributes and description; None if they do not settle it.

    Returns one of "T1", "T2", "STIR", "in_phase", "opposed_phase", "water", "fat", "pdff",
    "r2star", "t1_post", "adc", "dwi", "multi_echo", "suv". A guess to show and confirm, never to
    rely on: names that contradict the timing, phase images, T2*, FLAIR and fat-suppressed T1
    without contrast give None.
    """
    if attributes.get("ImageComponent") in ("phase", "real", "imaginary"):
        return None
    if attributes.get("Modality") == "PT":
        return "suv"
    if attributes.get("Modality") == "CT":
        return _role_of_ct(attributes, description)
    text = description if description is not None else str(attributes.get("SeriesDescription", ""))
    text = f" {re.sub(r'[^a-z0-9+*]+', ' ', text.lower())} "
    kind = image_type_of(attributes)

    named = _named_dixon_roles(text)
    if _says(text, _NO_IMAGE_OF_MARROW):
        return None
    if " map " in text and not named & {"pdff", "r2star"}:
        return None
    if _says(text, ("fa", "colfa", "colorfa", "color fa", "eadc")):
        return None
    if is_diffusion_map(attributes):
        return "adc" if any(word.startswith("ADC") for word in kind) else None
    if _says(text, ("adc", "dadc")) or "apparent diffusion" in text:
        return "adc"
    if (
        "DIFFUSION" in kind
        or "DiffusionBValue" in attributes
        or "NumberOfBValues" in attributes
        or _says(text, ("dwi", "dwibs", "ivim", "diff", "diffusion", "trace", "tracew", "dti"))
    ):
        return "dwi"
    roles = products_of_image_type(kind)
    if not roles and _says(text, _NO_ROLE):
        return None
    roles = roles or named
    if set(roles) - set(_ROLES):
        return None
    weighting = _weighting(attributes, text)
    contrast = _has_contrast(attributes, text)
    if len(roles) > 1:
        return None
    if roles:
        role = roles.pop()
        if role == "water" and contrast:
            return "t1_post"
        if weighting == "T2":  # the water image is a fat-suppressed T2, the in-phase one a plain T2
            return {"water": "STIR", "in_phase": "T2"}.get(role)
        return role
    if (number_of(attributes, "NumberOfEchoes") or 1) >= 3 or _says(text, _MULTI_ECHO):
        spin_echo = "SE" in words_of(attributes.get("ScanningSequence"))  # T2 mapping
        return None if spin_echo else "multi_echo"

    inversion = number_of(attributes, "InversionTime") or 0.0
    if inversion > 1000:
        return None  # FLAIR, T1 FLAIR, MP-RAGE
    if _says(text, ("stir", "tirm")) or (
        80 <= inversion <= 280 and "IR" in words_of(attributes.get("ScanningSequence"))
    ):
        return "STIR"
    suppressed = _says(text, _FAT_SUPPRESSED) or fat_saturated(attributes)
    if weighting == "T1":
        unknown = suppressed or (agent_hidden(attributes) and not _says(text, _WITHOUT_AGENT))
        return "t1_post" if contrast else None if unknown else "T1"
    if weighting == "T2":
        return "STIR" if suppressed else "T2"
    return None


def _role_of_ct(attributes: Mapping[str, object], description: str | None) -> str | None:
    """Of the two energies of dual-energy CT, or a calcium-free image that the header codes so.

    A plain CT, and names alone ("VNC" is without contrast agent as often as without calcium), give
    None.
    """
    kind = image_type_of(attributes)
    materials = " ".join(words_of(attributes.get("DecompositionMaterials"))).lower()
    if "MAT_REMOVED" in kind:
        return "vnca_projected" if "calcium" in materials else None
    if any(word.startswith(("MAT_", "EFF_", "ELECTRON_")) for word in kind):
        return None
    text = description if description is not None else str(attributes.get("SeriesDescription", ""))
    named = re.search(r"(\d{2,3}) ?keV", text, re.I)
    energy = number_of(attributes, "MonoenergeticEnergyEquivalent")
    energy = energy or (float(named[1]) if named else None)
    if energy:
        return "ct_low" if energy <= 70 else "ct_high" if energy >= 130 else None
    voltage = number_of(attributes, "KVP")
    tin = "TIN" in str(attributes.get("FilterMaterial", "")).upper()
    if voltage is None or "DERIVED" in kind:
        return None
    return "ct_high" if tin or voltage >= 135 else "ct_low" if voltage <= 100 else None


def _has_contrast(attributes: Mapping[str, object], text: str) -> bool:
    if _says(text, _WITHOUT_AGENT):
        return False
    return agent_given(attributes) or _says(text, _AGENT) or "+c " in text


def _says(text: str, words: Sequence[str]) -> bool:
    """Whether a text holds any of some words; it has one space between its own, and around."""
    return any(f" {one} " in text for one in words)


def _named_dixon_roles(text: str) -> set[str]:
    named = {role for role, words in _DIXON_WORDS.items() if _says(text, words)}
    if _says(text, _DIXON):
        named |= {role for role, ends in _LAST_OF_DIXON.items() if text.endswith(ends)}
        if _says(text, ("w", "water")):
            named.add("water")
        if re.search(r" (f|fat) (?!sat|sup|frac)", text):
            named.add("fat")
    return named


def _weighting(attributes: Mapping[str, object], text: str) -> str | None:
    """T1 or T2 by name, if the timing does not contradict; by timing alone for spin echo.

    Echo-planar images have neither: they are of diffusion, perfusion or function.
    """
    if "EP" in words_of(attributes.get("ScanningSequence")):
        return None
    names = {name for name in ("T1", "T2") if _says(text, _WEIGHTED[name])}
    if len(names) > 1:
        return None
    repetition, echo = number_of(attributes, "RepetitionTime"), number_of(attributes, "EchoTime")
    timed = None
    if repetition and echo:
        if _gradient_echo(attributes):
            return "T1" if names == {"T1"} else None
        if repetition <= 1000 and echo <= 35:
            timed = "T1"
        elif repetition >= 1500 and echo >= 60:
            timed = "T2"
        if names == {"T2"} and repetition >= 1500 and echo >= 30:
            timed = "T2"
        if names and timed not in names:
            return None
        if not names and "SE" not in words_of(attributes.get("ScanningSequence")):
            return None
        return timed
    return next(iter(names)) if len(names) == 1 else None


def _gradient_echo(attributes: Mapping[str, object]) -> bool:
    words = words_of(attributes.get("ScanningSequence"))
    return "GR" in words and "SE" not in words
