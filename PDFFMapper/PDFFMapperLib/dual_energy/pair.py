"""Two CT images of one scan: what their headers say, and whether they can be a pair."""

from __future__ import annotations

import re

from PDFFMapperLib.dual_energy.calibration import LEAST_KV_APART
from PDFFMapperLib.images.attributes import agent_given, image_type_of, number_of
from PDFFMapperLib.images.volume import Volume, grids_differ

_NO_SLICES = ("LOCALIZER", "MIP", "MAX_IP", "PROJECTION IMAGE")
_MATERIAL = ("MAT_SPECIFIC", "MAT_REMOVED", "MAT_MODIFIED", "MAT_FRACTIONAL", "EFF_ATOMIC_NUM",
             "ELECTRON_DENSITY")  # fmt: skip
SAME_PLACE_MM = 0.05


def check_images(low: Volume, high: Volume) -> None:
    """Refuse two images that cannot be a pair of CT numbers.

    Raises:
        ValueError: says which image is what instead.
    """
    for one in (low, high):
        words = image_type_of(one.attributes)
        if odd := [word for word in words if word in _NO_SLICES]:
            raise ValueError(f"{one.name} is a {odd[0].lower()}, not a stack of slices.")
        if odd := [word for word in words if word in _MATERIAL]:
            raise ValueError(
                f"{one.name} is a material image ({odd[0]}), not CT numbers of one energy; give "
                "images of two tube voltages, or two monoenergetic ones (50 and 200 keV)."
            )
        kind = str(one.attributes.get("RescaleType", "HU")).upper()
        if kind not in ("HU", "US", ""):
            raise ValueError(f"{one.name}: its values are '{kind}', not CT numbers (HU).")
        if one.array.min() >= 0 and not number_of(one.attributes, "RescaleIntercept"):
            raise ValueError(
                f"{one.name} has no value below 0, so these are no CT numbers: its rescale "
                "intercept is missing."
            )
        if agent_given(one.attributes):
            raise ValueError(
                f"{one.name}: contrast agent was given; iodine would be taken for bone mineral."
            )
    if not low.same_grid(high, SAME_PLACE_MM):
        of_pair = f"a pair is of one scan, within {SAME_PLACE_MM} mm; resample it (--resample)"
        raise ValueError(grids_differ(low, high, of_pair))
    frames = {one.attributes.get("FrameOfReference") for one in (low, high)} - {None}
    if len(frames) > 1:
        raise ValueError(
            f"{low.name} and {high.name} are of different frames of reference, so not of one scan."
        )


def kev_of(image: Volume) -> float | None:
    """The energy of a virtual monoenergetic image, from its header, else its description."""
    stated = number_of(image.attributes, "MonoenergeticEnergyEquivalent")
    if stated:
        return stated
    found = re.search(r"(\d{2,3})\s*keV", _description(image), re.I)
    return float(found[1]) if found else None


def kv_of(image: Volume) -> tuple[float, bool] | None:
    """Tube voltage and whether tin filters it; None where nothing says.

    Raises:
        ValueError: header and description contradict each other.
    """
    described = re.search(r"(?:(Sn)\s*)?(\d{2,3})\s*kV(?!\w)", _description(image), re.I)
    stated = number_of(image.attributes, "KVP")
    filtered = "TIN" in str(image.attributes.get("FilterMaterial", "")).upper()
    if described is None:
        return (stated, filtered) if stated else None
    named = float(described[2])
    if stated and abs(named - stated) > 1:
        raise ValueError(
            f"{image.name}: its description says {named:g} kV and its header {stated:g} kV; state "
            "the pair (--kv-pair)."
        )
    return named, bool(filtered or described[1])


def kv_pair_of(low: Volume, high: Volume) -> str:
    """The pair of tube voltages, such as "90/Sn150".

    Raises:
        ValueError: unknown, the wrong way round, or too close.
    """
    ones = [kv_of(image) for image in (low, high)]
    for image, one in zip((low, high), ones, strict=True):
        if one is None:
            raise ValueError(
                f"{image.name}: neither header nor description tells its tube voltage; state the "
                "pair, such as --kv-pair 90/Sn150."
            )
    (low_kv, _), (high_kv, tin) = ones
    if low_kv > high_kv:
        raise ValueError(
            f"The first image is of {low_kv:g} kV and the second of {high_kv:g} kV; give the low "
            "one first."
        )
    if high_kv - low_kv < LEAST_KV_APART and not tin:
        raise ValueError(
            f"{low_kv:g} and {high_kv:g} kV are too close to tell materials apart; "
            f"{LEAST_KV_APART:g} kV or tin are needed."
        )
    return f"{low_kv:g}/{'Sn' if tin else ''}{high_kv:g}"


def _description(image: Volume) -> str:
    return str(image.attributes.get("SeriesDescription", "")) or image.name
