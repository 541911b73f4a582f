"""What a series is for, guessed from its attributes and description."""

from __future__ import annotations

import re
from collections.abc import Mapping

from PDFFMapperLib.images.attributes import (
    image_type_of,
    is_diffusion_map,
    number_of,
    products_of_image_type,
    words_of,
)

# The products that are an image of a study; others (T2*, field maps ...) are none of its roles.
_ROLES = ("water", "fat", "in_phase", "opposed_phase", "pdff", "r2star")


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
    if re.search(r" (loc|localizer|localiser|scout|survey|sub|subtraction|t[12]map|pd|pdw) ", text):
        return None
    if " map " in text and not named & {"pdff", "r2star"}:
        return None
    if re.search(r" (fa|colfa|color ?fa|eadc) ", text):
        return None
    if is_diffusion_map(attributes):
        return "adc" if any(word.startswith("ADC") for word in kind) else None
    if re.search(r" d?adc |apparent diffusion", text):
        return "adc"
    if (
        "DIFFUSION" in kind
        or "DiffusionBValue" in attributes
        or "NumberOfBValues" in attributes
        or re.search(r" (dwi|dwibs|ivim|diff|diffusion|trace|tracew|dti) ", text)
    ):
        return "dwi"
    roles = products_of_image_type(kind)
    if not roles and re.search(r" (tensor|t2\*|t2s|t2star|swi|b0 ?map|b1 ?map) ", text):
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
    if (number_of(attributes, "NumberOfEchoes") or 1) >= 3 or re.search(
        r" (multi ?echo|mecho|megre|mgre|ideal ?iq|q ?dixon|mdixon ?quant|dixon ?quant) ", text
    ):
        spin_echo = "SE" in words_of(attributes.get("ScanningSequence"))  # T2 mapping
        return None if spin_echo else "multi_echo"

    inversion = number_of(attributes, "InversionTime") or 0.0
    if inversion > 1000:
        return None  # FLAIR, T1 FLAIR, MP-RAGE
    if re.search(r" (stir|tirm) ", text) or (
        80 <= inversion <= 280 and "IR" in words_of(attributes.get("ScanningSequence"))
    ):
        return "STIR"
    suppressed = re.search(r" (fs|fatsat|fat ?sat|spair|spir|fat suppressed|fatsup|chess) ", text)
    if weighting == "T1":
        return "t1_post" if contrast else None if suppressed else "T1"
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
    if re.search(r" (pre|without|non|no|w o|nativ|native|ohne) ", text):
        return False
    return bool(
        attributes.get("ContrastBolusAgent")
        or re.search(
            r" (gd|gad|gado|post(km|gd|contrast)?|\+ ?c|ce|km|mdc|contrast|dotarem|gadovist) |\+c ",
            text,
        )
    )


def _named_dixon_roles(text: str) -> set[str]:
    dixon = re.search(r" (dixon|vibe|ideal|idealiq|flex|lava|mdixon|qdixon) ", text)
    patterns = {
        "opposed_phase": r" (opp|opposed|opposed ?phase|out ?of ?phase|oop|out ?phase) ",
        "in_phase": r" (in ?phase|ip|in (and )?(out|opp)) ",
        "pdff": r" (pdff|ff|fat ?fraction|fat ?frac) ",
        "r2star": r" (r2\*|r2s|r2star) ",
    }
    if dixon:
        patterns["in_phase"] += "| in $"
        patterns["opposed_phase"] += "| (op|out) $"
        patterns["water"] = r" (w|water) "
        patterns["fat"] = r" (f|fat) (?!sat|sup|frac)"
        patterns["pdff"] += "| fp $"
    return {role for role, pattern in patterns.items() if re.search(pattern, text)}


def _weighting(attributes: Mapping[str, object], text: str) -> str | None:
    """T1 or T2 by name, if the timing does not contradict; by timing alone for spin echo."""
    names = {name.upper() for name in re.findall(r" (t1|t2)(?:w|wi)?(?= )", text)}
    if re.search(r" t1(?:w|wi)? ", text) and re.search(r" t2(?:w|wi)? ", text):
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
