"""The codes of what a report says: public ones where there are, else our own scheme's.

Our own are the keys of QUANTITIES under the scheme 99MARROW, with the quantity's name as meaning.
"""

from __future__ import annotations

from collections.abc import Sequence

from PDFFMapperLib.dicom_out.source import SCHEME
from PDFFMapperLib.maps.kinds import UNIT_CODES
from pydicom.sr.coding import Code

from MarrowAssessLib.catalogue import terminology
from MarrowAssessLib.catalogue.quantities import Method, Quantity

_LABEL_BYTES = 64
MEAN = Code("373098007", "SCT", "Mean")
MEDIAN = Code("373099004", "SCT", "Median")
SD = Code("386136009", "SCT", "Standard Deviation")
PERCENTILES = {  # of a map in a region, by percent
    10: Code("371890005", "SCT", "10th percentile"),
    90: Code("371887004", "SCT", "90th percentile"),
}
Z_SCORE = Code("121416", "DCM", "Z-Score of measurement")
CAUTION = Code("caution", SCHEME, "Caution")
VERDICT = Code("verdict", SCHEME, "Compared with what is expected at this age")
VERDICTS = {
    "below": Code("below", SCHEME, "Below the expected 95 % range"),
    "within": Code("within", SCHEME, "Within the expected 95 % range"),
    "above": Code("above", SCHEME, "Above the expected 95 % range"),
    "doubtful": Code("doubtful", SCHEME, "No verdict: the region may be another structure"),
}
# Texture by the gray level co-occurrence matrix, by the IBSI's code of the feature.
_TEXTURE = {
    "ACUI": Code("126063", "DCM", "Contrast of GLCM"),
    "TU9B": Code("126060", "DCM", "Joint Entropy of GLCM"),
    "8ZQL": Code("126065", "DCM", "Angular Second Moment of GLCM"),
    "WF0Z": Code("126062", "DCM", "Inverse Difference Moment of GLCM"),
}


def of_quantity(quantity: Quantity) -> Code:
    """What a measurement is of."""
    if quantity.method is Method.MAP_VALUE and (code := quantity.images[0].kind.code):
        return Code(*code)
    return _TEXTURE.get(quantity.feature) or Code(quantity.key, SCHEME, quantity.name)


def of_unit(unit: str) -> Code:
    """The UCUM code of a unit as it is printed."""
    return Code(*UNIT_CODES.get(unit, (unit, "UCUM", unit)))


def plain(code: terminology.Code) -> Code:
    """A code of the catalogue as pydicom takes it."""
    return Code(code.value, code.scheme, code.meaning)


def labels_of(names: Sequence[str]) -> dict[str, str]:
    """Names as labels of at most 64 bytes; those that are alike once cut get a number.

    The standard counts letters, checkers and archives count bytes of UTF-8.
    """
    made: dict[str, str] = {}
    for name in names:
        label, n = _cut(name, _LABEL_BYTES), 1
        while label in made.values():
            n += 1
            label = f"{_cut(name, _LABEL_BYTES - len(str(n)) - 1)} {n}"
        made[name] = label
    return made


def _cut(name: str, size: int) -> str:
    return name.encode("utf-8")[:size].decode("utf-8", "ignore").strip()
