"""What an image's header says of the acquisition and of the patient, whoever made the scanner."""

from __future__ import annotations

import datetime
import hashlib
import re
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from PDFFMapperLib.dicom.elements import (
    FACTS,
    GE_B_VALUE,
    GE_COMPONENT,
    GE_DIFFUSION_KIND,
    GE_DIRECTION,
    PARAMETRIC_MAP,
    PHILIPS_B_VALUE,
    PHILIPS_DIRECTION,
    PHILIPS_DIRECTION_KIND,
    PHILIPS_SCALE_SLOPE,
    SIEMENS_B_MATRIX,
    SIEMENS_B_VALUE,
    SIEMENS_CSA,
    SIEMENS_DIRECTION,
    SIEMENS_PROTOCOL,
    SIEMENS_SERIES_CSA,
    UIH_B_VALUE,
    UIH_DIRECTION,
    number_in,
    numbers_in,
    texts_in,
)
from PDFFMapperLib.dicom.siemens import readout_mode, siemens_csa
from PDFFMapperLib.images.attributes import (
    COMPONENTS,
    component_of_image_type,
    product_of_image_type,
)
from PDFFMapperLib.images.patient import PatientFacts, Visit, short_key

# What scanners compute that has a unit, and how they write the units of such maps.
_QUANTITIES = ("pdff", "water_fraction", "r2star", "t2star", "t1_map", "t2_map", "field", "adc")
_MAP_UNITS = ("%", "percent", "permille", "[ppth]", "1/s", "/s", "s-1", "hz", "1/ms", "ms", "msec")


def attributes_of(header: Dataset) -> dict[str, object]:
    """The acquisition facts of an image, as plain values."""
    attributes: dict[str, object] = {}
    for keyword in FACTS:
        try:
            value = header.get(keyword)
        except (ValueError, TypeError, ArithmeticError):
            continue  # text that is no number, such as "1,5": what needs it says that it is missing
        if value is None or value == "":
            continue
        if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            attributes[keyword] = _plain(value)
        else:
            attributes[keyword] = [_plain(part) for part in value]
    if (component := component_of(header)) is not None:
        attributes["ImageComponent"] = component
    b_value, source = b_value_of(header)
    if b_value is not None:
        attributes["DiffusionBValue"] = b_value
        attributes["DiffusionBValueSource"] = source
        vector, (_, kind, private, flag) = direction_of(header)
        if vector and b_value > 0:
            attributes["DiffusionGradientOrientation"] = vector
        if kind:
            attributes["DiffusionDirectionality"] = kind[0]
        if flag is not None:
            attributes["GEDiffusionKind"] = int(flag)
        if any(private):
            attributes["GEDiffusionDirection"] = list(private)
    if (scale := number_in(header, PHILIPS_SCALE_SLOPE)) is not None:
        attributes["PhilipsScaleSlope"] = scale
    if (readout := readout_of(header)) is not None:
        attributes["ReadoutMode"] = readout
    if serial := str(header.get("DeviceSerialNumber") or "").strip():
        attributes["Device"] = hashlib.sha256(serial.encode()).hexdigest()[:8]
    if attributes.get("Modality") in ("CT", "PT"):
        attributes |= _scan_facts(header)
    if (mapping := real_world_mapping(header)) is not None:
        if mapping.units:
            attributes["Units"] = mapping.units
        if mapping.quantity:
            attributes["Quantity"] = mapping.quantity
    return attributes


def readout_of(header: Dataset) -> str | None:
    """Whether several echoes were read "monopolar" or "bipolar"; None where nothing tells it.

    Only the protocol in Siemens' private header does. No public attribute of DICOM holds the
    polarity of the readout or the sense in which the phase precesses, and of the private ones of
    GE, Philips and others none is known to.
    """
    for tag in (SIEMENS_SERIES_CSA, SIEMENS_PROTOCOL):
        value = header[tag].value if tag in header else None
        if isinstance(value, bytes) and (mode := readout_mode(value)) is not None:
            return mode
    return None


def energy_of(header: Dataset) -> float | None:
    """keV of a virtual monoenergetic image, None of others."""
    for item in header.get("MultienergyCTCharacteristicsSequence") or []:
        if (energy := number_in(item, "MonoenergeticEnergyEquivalent")) is not None:
            return energy
    return None


def _scan_facts(header: Dataset) -> dict[str, object]:
    """Energy, material and scan of a multi-energy image; the scan by a hash of its frame."""
    facts: dict[str, object] = {}
    if (energy := energy_of(header)) is not None:
        facts["MonoenergeticEnergyEquivalent"] = energy
    materials = [
        str(code.get("CodeMeaning", "")).lower()
        for item in header.get("MultienergyCTProcessingSequence") or []
        for material in item.get("DecompositionMaterialSequence") or []
        for code in material.get("MaterialCodeSequence") or []
    ]
    if materials:
        facts["DecompositionMaterials"] = materials
    if frame := str(header.get("FrameOfReferenceUID") or ""):
        facts["FrameOfReference"] = hashlib.sha256(frame.encode()).hexdigest()[:8]
    return facts


@dataclass(frozen=True)
class RealWorldMapping:
    """How a parametric map's stored values become a quantity.

    Attributes:
        slope, intercept: value = stored * slope + intercept.
        units: the unit's code (UCUM), "" if none is given.
        quantity: what is measured, in words, "" if not said.
    """

    slope: float
    intercept: float
    units: str
    quantity: str


def is_scanner_map(header: Dataset) -> bool:
    """Whether an MR image holds a quantity (PDFF, R2*, ADC ...), by its image type or its unit."""
    if str(header.get("Modality", "")) != "MR":
        return False
    words = [word.upper() for word in texts_in(header, "ImageType")]
    units = [str(header.get("RescaleType") or "")]
    for item in header.get("RealWorldValueMappingSequence") or []:
        units += [_unit_of(item)]
    return product_of_image_type(words) in _QUANTITIES or any(
        unit.strip().lower() in _MAP_UNITS for unit in units
    )


def _unit_of(mapping: Dataset) -> str:
    units = mapping.get("MeasurementUnitsCodeSequence") or []
    return str(units[0].get("CodeValue", "")) if len(units) else ""


def real_world_mapping(header: Dataset) -> RealWorldMapping | None:
    """How the stored values of a parametric map, or of a map that an MR scanner made, are read.

    None for images, whose scale is arbitrary, and where no mapping with a slope is given. Of MR
    images the unit "1" is none: scanners write it for percent as for fractions.
    """
    items = header.get("RealWorldValueMappingSequence") or []
    parametric = str(header.get("SOPClassUID", "")) == PARAMETRIC_MAP
    if not parametric:
        items = [one for one in items if number_in(one, "RealWorldValueSlope")]
    if not len(items) or not (parametric or is_scanner_map(header)):
        return None
    item = items[0]
    units = _unit_of(item)
    defined = item.get("QuantityDefinitionSequence") or []
    named = [
        code.CodeMeaning
        for entry in defined
        for code in (entry.get("ConceptCodeSequence") or [])
        if "CodeMeaning" in code
    ]
    slope = number_in(item, "RealWorldValueSlope")
    return RealWorldMapping(
        1.0 if slope is None else slope,
        number_in(item, "RealWorldValueIntercept") or 0.0,
        units if parametric or units != "1" else "",
        str(named[0]) if named else str(item.get("LUTLabel", "")),
    )


def _plain(value: object) -> object:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) or type(value).__name__ == "DSdecimal":
        return float(value)
    return str(value)


def component_of(header: Dataset) -> str | None:
    """Whether an image is magnitude, phase, real or imaginary, if the header says."""
    stated = texts_in(header, "ComplexImageComponent")
    if stated and stated[0] in COMPONENTS:
        is_map = product_of_image_type(texts_in(header, "ImageType"))
        # Philips flags its fat-fraction frames as real: the name of a map says more.
        return None if is_map and stated[0] != "MAGNITUDE" else COMPONENTS[stated[0]]
    if component := component_of_image_type(texts_in(header, "ImageType")):
        return component
    code = number_in(header, GE_COMPONENT) if _maker(header).startswith("GE") else None
    if code == 2 and "PROPELLER" in texts_in(header, "ImageType"):
        return "magnitude"  # GE flags them as real; nothing in them is negative
    if code is not None and 0 <= code <= 3:
        return ["magnitude", "phase", "real", "imaginary"][int(code)]
    return None


def b_value_of(header: Dataset) -> tuple[float | None, str]:
    """The b-value (s/mm^2) and where it was found.

    A private value other than 0 wins over a public 0, which several scanners write for all.
    """
    candidates = [(number_in(header, "DiffusionBValue"), "DiffusionBValue (0018,9087)")]
    maker = _maker(header)
    if "SIEMENS" in maker:
        candidates.append((number_in(header, SIEMENS_B_VALUE), "Siemens (0019,100C)"))
        if all(value is None for value, _ in candidates) and SIEMENS_CSA in header:
            csa = siemens_csa(bytes(header[SIEMENS_CSA].value))
            stated = (csa.get("B_value") or [None])[0]
            candidates.append((None if stated is None else float(stated), "Siemens CSA header"))
        matrix = numbers_in(header, SIEMENS_B_MATRIX)
        trace = round(matrix[0] + matrix[3] + matrix[5], 1) if len(matrix) == 6 else 0.0
        if trace >= 4:  # imaging gradients alone give less
            candidates.append((trace, "Siemens b-matrix (0019,1027)"))
    if maker.startswith("GE"):
        candidates.append((number_in(header, GE_B_VALUE), "GE (0043,1039)"))
    if "PHILIPS" in maker:
        candidates.append((number_in(header, PHILIPS_B_VALUE), "Philips (2001,1003)"))
    if "UIH" in maker or "UNITED IMAGING" in maker:
        candidates.append((number_in(header, UIH_B_VALUE), "UIH (0065,1009)"))
    if (comment := _diffusion_comment(header)) and candidates[0][0] is None:
        candidates.append((comment[0], "image comments (0020,4000)"))
    known = [
        (without_ge_offset(value), source)
        for value, source in candidates
        if value is not None and value >= 0
    ]
    if not known and (named := named_b_value(header.get("SequenceName"))) is not None:
        known = [(named, "sequence name (0018,0024)")]  # all that anonymizing leaves of Siemens
    return next((one for one in known if one[0] > 0), known[0] if known else (None, ""))


def named_b_value(sequence_name: object) -> float | None:
    """The b-value (s/mm^2) in a Siemens sequence name ("*ep_b50t", "ep_b1000#3"), if it has one."""
    match = re.search(r"(?:^|[_*])b(\d+)(?:t|#\d+)?$", str(sequence_name or ""))
    return float(match[1]) if match else None


def without_ge_offset(b_value: float) -> float:
    """A GE b-value without the 1e9 that some sequences add to it (s/mm^2).

    The offset marks multi-b and synthetic series in (0043,1039) and is a whole number of 1e9.
    """
    return b_value % 1e9 if b_value >= 1e9 else b_value


def direction_of(header: Dataset) -> tuple[list[float] | None, object]:
    """The diffusion gradient as an LPS unit vector if known, and a key that tells it from others.

    GE's private directions are relative to the image and its frequency axis, so they only serve
    to tell volumes apart.
    """
    vector = numbers_in(header, "DiffusionGradientOrientation")
    if len(vector) != 3:
        vector = _private_direction(header)
    kind = [
        *texts_in(header, "DiffusionDirectionality"),
        *texts_in(header, PHILIPS_DIRECTION_KIND),
    ]
    made_by_ge = _maker(header).startswith("GE")
    private = [number_in(header, tag) or 0.0 for tag in GE_DIRECTION] if made_by_ge else []
    flag = number_in(header, GE_DIFFUSION_KIND) if made_by_ge else None
    length = float(np.linalg.norm(vector)) if len(vector) == 3 else 0.0
    unit = [part / length for part in vector] if abs(length - 1) < 0.1 else None
    rounded = tuple(round(part, 4) + 0.0 for part in unit or [])
    return unit, (rounded, tuple(kind), tuple(private), flag)


def _private_direction(header: Dataset) -> list[float]:
    """The gradient (LPS) where its maker writes it beside the standard; [] if nowhere."""
    maker = _maker(header)
    if "SIEMENS" in maker:
        vector = numbers_in(header, SIEMENS_DIRECTION)
        if len(vector) != 3:
            vector = _main_direction(numbers_in(header, SIEMENS_B_MATRIX))
        return vector if len(vector) == 3 else _csa_direction(header)
    if "PHILIPS" in maker:
        parts = [number_in(header, tag) for tag in PHILIPS_DIRECTION]
        return [] if None in parts else parts
    if "UIH" in maker or "UNITED IMAGING" in maker:
        return numbers_in(header, UIH_DIRECTION)
    comment = _diffusion_comment(header)
    return comment[1] if comment else []


def _csa_direction(header: Dataset) -> list[float]:
    """The gradient (LPS) in the CSA header, where older software of Siemens alone writes it."""
    if SIEMENS_CSA not in header:
        return []
    texts = siemens_csa(bytes(header[SIEMENS_CSA].value)).get("DiffusionGradientDirection", [])
    try:
        return [float(text) for text in texts[:3]]
    except ValueError:
        return []


def _main_direction(matrix: list[float]) -> list[float]:
    """The gradient of a b-matrix (xx, xy, xz, yy, yz, zz), where one gradient makes it."""
    if len(matrix) != 6 or matrix[0] + matrix[3] + matrix[5] < 4:  # imaging gradients give less
        return []
    xx, xy, xz, yy, yz, zz = matrix
    values, vectors = np.linalg.eigh([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return vectors[:, 2].tolist() if values[2] > 0.9 * values.sum() else []


def _diffusion_comment(header: Dataset) -> tuple[float, list[float]] | None:
    """b-value and gradient that Canon and Toshiba write as "b=800(1.000,0.000,0.000)"."""
    maker = _maker(header)
    if "CANON" not in maker and "TOSHIBA" not in maker:
        return None
    number = r"\s*(-?[\d.]+(?:e[-+]?\d+)?)\s*"
    pattern = rf"\bb\s*=\s*([\d.]+)\s*(?:\({number},{number},{number}\))?"
    match = re.search(pattern, " ".join(texts_in(header, "ImageComments")), re.I)
    if not match:
        return None
    try:
        return float(match[1]), [float(part) for part in match.groups()[1:] if part is not None]
    except ValueError:
        return None


def _maker(header: Dataset) -> str:
    return " ".join(texts_in(header, "Manufacturer"))


def patient_of(header: Dataset) -> PatientFacts:
    """Age at the study, from the birth date where it agrees with the stated age, and sex."""
    sex = (texts_in(header, "PatientSex") or [""])[0].strip()
    age_text = (texts_in(header, "PatientAge") or [""])[0].strip()
    stated = _stated_age(age_text)
    birth = _date(header, "PatientBirthDate")
    study = next(filter(None, (_date(header, k) for k in ("StudyDate", "SeriesDate"))), None)
    age = (study - birth).days / 365.25 if birth and study else None
    if age is not None and not 0 < age <= 110:
        age = None  # born on the day of the study or in 1900: fillers of anonymization
    if age is None or (stated is not None and abs(age - stated) > 1.1):
        age = stated  # anonymized birth dates are often moved, the stated age is kept
    return PatientFacts(
        age,
        sex if sex in ("M", "F", "O") else None,
        "" if stated is not None else age_text[:16],
        "" if sex in ("M", "F") else sex[:16],
    )


def visit_of(header: Dataset) -> Visit:
    """Patient and day of an image, to tell others from it."""
    patient, day, study = (
        "".join(texts_in(header, keyword))
        for keyword in ("PatientID", "StudyDate", "StudyInstanceUID")
    )
    return Visit(short_key(patient), re.sub(r"\D", "", day), short_key(study))


def _stated_age(text: str) -> float | None:
    """DICOM's "031Y", "010M", "003W" or "012D" in years; None for "000Y" and "999Y", fillers."""
    per_year = {"Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}
    if len(text) < 2 or text[-1] not in per_year or not text[:-1].isdigit():
        return None
    age = int(text[:-1]) / per_year[text[-1]]
    return age if 0 < age <= 120 else None


def _date(header: Dataset, keyword: str) -> datetime.date | None:
    text = "".join(texts_in(header, keyword)).replace(".", "")
    try:
        return datetime.datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None
