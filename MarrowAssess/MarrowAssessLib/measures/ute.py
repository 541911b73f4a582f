"""What ultrashort echo times say of a bone, as quantities."""

from __future__ import annotations

from MarrowAssessLib.catalogue.quantities import Quantity
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement, Skipped

# The name of each quantity in the bone's answer, and what refuses it.
NAMES = {
    "ute_pi": ("PI", "PI"),
    "ute_pi_fitted": ("PI of the fitted ring", ""),
    "ute_bound_fraction_fitted": ("bound_fraction of the fitted ring",) * 2,
    "ute_sr_fitted": ("SR of the fitted ring",) * 2,
    "ute_mtr_fitted": ("MTR of the fitted ring",) * 2,
    "ute_sr": ("SR", "SR"),
    "ute_mtr": ("MTR", "MTR"),
    "ute_mmf": ("MMF", "MMF"),
    "ute_bound_water": ("bound water", ""),
    "ute_phosphorus": ("phosphorus", ""),
    "ute_bound_fraction": ("bound_fraction", "bound_fraction"),
    "ute_t2star_bound": ("T2star_bound", ""),
    "ute_t2star_pore": ("T2star_pore", ""),
    "ute_thickness": ("thickness", ""),
    "ute_area": ("area", ""),
}
UTE = (
    "UTE: signals of all voxels of the bone by their likelihood in the noise of one or more "
    "receivers, without its floor; PI is the signal near TE 2.2 ms over the first one; fractions "
    "are of apparent signals; intervals hold noise, not blur, B1+ or placing."
)


def bone_value(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """One number of each bone, or why it has none."""
    found: list[Measurement | Skipped] = []
    name, refusal = NAMES[quantity.key]
    for site, bone in book.bones.items():
        row = bone.values.get(name)
        if row is None:
            if reason := bone.refused.get(refusal):
                found.append(Skipped(quantity.key, f"{site}: {reason}"))
            continue
        one = Measurement(
            quantity.key, site, row.value, (f"{site} UTE",), ci95=(row.lower, row.upper)
        )
        parts = [f"{site}: {bone.how}"]
        if row.note:
            parts.append(row.note)
        others = [v.told() for key, v in bone.values.items() if key.startswith(f"{name},")]
        if name == "PI":
            others += [v.told() for key, v in bone.values.items() if key.startswith("PI at")]
        one.how = "; ".join(parts + others)
        one.cautions += bone.cautions
        found.append(one)
    return found
