"""Standardized uptake value (body weight) of PET slices: by what their values are multiplied.

SUV = activity concentration x body weight / activity injected, decayed to the time that the images
are corrected to, taking 1 ml as 1 g. Which elements of the header say so, and in which order they
are asked, follows the vendor-neutral pseudo-code of the Quantitative Imaging Biomarkers Alliance
(Kinahan and Fletcher 2010, doi 10.1053/j.sult.2010.10.001). What is missing is refused, and
what is assumed is said.
"""

from __future__ import annotations

import datetime
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filereader import dcmread

from PDFFMapperLib.dicom.header import mapped

SUV_UNIT = "g/ml"
UNITS = "BQML, CNTS (Philips), GML and CM2ML"
_F18_S, _GA68_S = 6586.0, 4057.0
# DICOM PS3.16, CID 4020: SNOMED RT, SNOMED CT, and names in use.
_HALF_LIFE_S = {
    **dict.fromkeys(("C-111A1", "77004003", "18F"), _F18_S),
    **dict.fromkeys(("C-131A3", "80751004", "68GA"), _GA68_S),
}
_TRACERS = {"FDG": ("FDG", "DEOXYGLUCOSE"), "Pentixafor": ("PENTIXAFOR",)}
_TRACER_CODES = {"C-B1031": "FDG", "35321007": "FDG"}
_LEAN_SHARES = (("LeanBodyShare", "LBMJANMA"), ("LeanBodyShareJames", "LBMJAMES128"))
_SAME_HALF_LIFE = 0.01
_LEAST_DOSE_BQ = 1e5
_TIMES_DIFFER_S = 10.0
_MOST_HALF_LIVES = 4.0
_LEAST_SINCE_S = 600.0
_FRAME_OF_PET = 0.001  # s per ms
_ROUNDED = datetime.timedelta(seconds=1)


@dataclass(frozen=True)
class Suv:
    """How a series becomes SUV.

    Attributes:
        factors: (slices,), by which rescaled values are multiplied.
        notes: what was assumed and what disagrees.
        facts: "Tracer" ("FDG", "Pentixafor" or "other"), "RadionuclideHalfLife" in s,
            "UptakeTime" in min, "ActivityPerWeight" in MBq/kg, "LeanBodyShare" and
            "LeanBodyShareJames" (lean body mass over weight by Janmahasatian 2005 and James 1976:
            SUL = SUV times it), each where the header tells it.
    """

    factors: np.ndarray
    notes: tuple[str, ...]
    facts: dict[str, object] = field(default_factory=dict)


def suv_of_files(files: Sequence[Path]) -> Suv:
    """Factors of the slices of one volume.

    Raises:
        ValueError: an element is missing, impossible or not supported; says which.
    """
    headers = []
    for file in files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with mapped(file) as view:
                headers.append(dcmread(view, stop_before_pixels=True, force=True))
    if not all("RescaleSlope" in one for one in headers):
        raise ValueError(
            "PET: a slice has no rescale slope, so its values are no activity; export it again."
        )
    return suv(headers)


def suv(headers: Sequence[Dataset]) -> Suv:
    """The same of headers."""
    notes: list[str] = []
    factors = _factors(headers, notes)
    facts = _facts(headers[0], notes)
    return Suv(factors, tuple(dict.fromkeys(notes)), facts)


def _factors(headers: Sequence[Dataset], notes: list[str]) -> np.ndarray:
    """By what each slice is multiplied, from its units."""
    first = headers[0]
    _check_corrections(first, notes)
    if any(float(one.get("RescaleIntercept") or 0) != 0 for one in headers):
        raise ValueError("PET: a rescale intercept is not 0, so its values are no activity.")
    units = str(first.get("Units", "")).upper()
    if units == "GML":
        factor = _of_mass(first, notes)
        return np.full(len(headers), factor)
    if units == "CM2ML":
        weight, height_cm = _weight_kg(first, notes), 100 * _height_m(first, notes)
        surface_cm2 = 71.84 * height_cm**0.725 * weight**0.425  # Du Bois 1916
        return np.full(len(headers), 1000 * weight / surface_cm2)
    scale = 1.0
    if units == "CNTS":
        direct, scale = (
            np.array([_philips(one, element) for one in headers]) for element in (0x00, 0x09)
        )
        if (direct > 0).all():
            return direct
        if not (scale > 0).all():
            raise ValueError(
                "PET: its values are counts (CNTS) without Philips' factors for SUV (7053,1000) or "
                "activity (7053,1009) in every slice; export the series with private elements."
            )
    elif units != "BQML":
        raise ValueError(f"PET: its units are '{units}'; SUV is made of {UNITS}.")
    return scale * _of_activity(headers, notes)


def _facts(header: Dataset, notes: list[str]) -> dict[str, object]:
    """What cautions and SUL need, as far as the header tells it."""
    given = next(iter(header.get("RadiopharmaceuticalInformationSequence") or []), Dataset())
    facts: dict[str, object] = {"Tracer": _tracer(given)}
    said: list[str] = []  # of a weight or dose that was told before
    weight = _weight_kg(header, said) if _is_positive(header, "PatientWeight") else None
    height = _height_m(header, said) if _is_positive(header, "PatientSize") else None
    if _is_positive(given, "RadionuclideHalfLife"):
        facts["RadionuclideHalfLife"] = float(given.RadionuclideHalfLife)
    if weight and _is_positive(given, "RadionuclideTotalDose"):
        facts["ActivityPerWeight"] = round(_dose_bq(given, said) / weight / 1e6, 3)
    began = _time(header, "Acquisition", required=False) or _time(header, "Series", required=False)
    injected = _injected(given, began) if began else None
    if injected:
        facts["UptakeTime"] = round((began - injected).total_seconds() / 60, 1)
    if weight and height:
        sexes = _sexes(header, notes)
        for key, kind in _LEAN_SHARES:
            masses = [_mass(kind, sex, weight, height) for sex in sexes]
            facts[key] = round(sum(masses) / len(masses) / weight, 4)
    return facts


def _tracer(given: Dataset) -> str:
    """FDG, Pentixafor, other, or "" where nothing names it; what was typed is not kept."""
    codes = given.get("RadiopharmaceuticalCodeSequence") or []
    words = [str(given.get("Radiopharmaceutical") or "").upper()]
    for code in codes:
        if found := _TRACER_CODES.get(str(code.get("CodeValue", ""))):
            return found
        words.append(str(code.get("CodeMeaning", "")).upper())
    text = " ".join(words)
    known = (name for name, parts in _TRACERS.items() if any(part in text for part in parts))
    return next(known, "other" if text.strip() else "")


# --- from activity ------------------------------------------------------------------------------


def _of_activity(headers: Sequence[Dataset], notes: list[str]) -> np.ndarray:
    """SUV per Bq/ml of each slice."""
    first = headers[0]
    weight_g = 1000 * _weight_kg(first, notes)
    given = _injection(first)
    dose = _dose_bq(given, notes)
    half_life = _half_life_s(given)
    decay = math.log(2) / half_life
    correction = str(first.get("DecayCorrection", "")).upper()
    if correction == "ADMIN":
        return np.full(len(headers), weight_g / dose)
    if correction == "NONE":
        found = []
        for one in headers:
            acquired = _time(one, "Acquisition")
            span = decay * _duration_s(one)
            since = _since(given, one, acquired, half_life)
            found.append(span / (1 - math.exp(-span)) * math.exp(decay * since))
        return weight_g / dose * np.array(found)
    if correction != "START":
        raise ValueError(
            f"PET: its decay correction is '{correction}'; START, ADMIN or NONE is expected."
        )
    times = _reference_times(headers, decay, notes)
    since = [_since(given, one, at, half_life) for one, at in zip(headers, times, strict=True)]
    return weight_g / (dose * np.exp(-decay * np.array(since)))


def _dose_bq(given: Dataset, notes: list[str]) -> float:
    dose = _positive(given, "RadionuclideTotalDose", "the injected activity")
    if dose < _LEAST_DOSE_BQ:
        notes.append(f"PET: an injected activity of {dose:g} was taken as MBq.")
        dose *= 1e6
    return dose


def _reference_times(
    headers: Sequence[Dataset], decay: float, notes: list[str]
) -> list[datetime.datetime]:
    """When each slice's activity is told for: the first of the elements that say it."""
    first = headers[0]
    stated = _stamp(first.get("DecayCorrectionDateTime")) or _vendor_time(first)
    back = [_from_frame(one, decay) for one in headers]
    if stated is None:
        series = _time(first, "Series", required=False)
        acquired = [_time(one, "Acquisition", required=False) for one in headers]
        known = [one for one in acquired if one is not None]
        if series is not None and all(series <= one + _ROUNDED for one in known):
            stated = series
    if stated is None:
        if None in back:
            raise ValueError(
                "PET: no element says which time its decay is corrected to: series time lies after "
                "every acquisition time, and frame reference times are missing."
            )
        return back
    apart = [abs((one - stated).total_seconds()) for one in back if one is not None]
    if apart and max(apart) > _TIMES_DIFFER_S:
        notes.append(
            f"PET: decay is corrected to {stated:%H:%M:%S}; acquisition and frame reference times "
            f"say otherwise by up to {max(apart):.0f} s, which is not followed."
        )
    return [stated] * len(headers)


def _from_frame(header: Dataset, decay: float) -> datetime.datetime | None:
    """Acquisition time plus the mean time of decay less the frame's reference time."""
    acquired = _time(header, "Acquisition", required=False)
    reference, lasts = header.get("FrameReferenceTime"), header.get("ActualFrameDuration")
    if acquired is None or reference is None or not lasts:
        return None
    span = decay * _duration_s(header)
    middle = math.log(span / (1 - math.exp(-span))) / decay
    return acquired + datetime.timedelta(seconds=middle - float(reference) * _FRAME_OF_PET)


def _since(given: Dataset, header: Dataset, at: datetime.datetime, half_life: float) -> float:
    """Seconds from the injection to a time.

    Raises:
        ValueError: no time of injection, or one that cannot be.
    """
    injected = _injected(given, at)
    if injected is None:
        raise ValueError("PET: the time of injection (0018,1072) is missing or no time.")
    since = (at - injected).total_seconds()
    if not _LEAST_SINCE_S <= since <= _MOST_HALF_LIVES * half_life:
        raise ValueError(
            f"PET: the images are told for {since / 60:.0f} min after the injection; "
            f"{_LEAST_SINCE_S / 60:.0f} min to {_MOST_HALF_LIVES:g} half-lives "
            f"({_MOST_HALF_LIVES * half_life / 60:.0f} min) are expected, so a time is wrong or "
            "the series dynamic."
        )
    return since


def _injected(given: Dataset, at: datetime.datetime) -> datetime.datetime | None:
    """The injection: its date and time, else the last time before `at` that its clock showed."""
    injected = _stamp(given.get("RadiopharmaceuticalStartDateTime"))
    if injected is None:
        clock = _clock(given.get("RadiopharmaceuticalStartTime"))
        injected = _stamp(f"{at:%Y%m%d}{clock}") if clock else None
        if injected and injected > at:
            injected -= datetime.timedelta(days=1)
    return injected


def _injection(header: Dataset) -> Dataset:
    found = header.get("RadiopharmaceuticalInformationSequence")
    if not found:
        raise ValueError("PET: nothing is said of the injection (0054,0016), so no SUV is made.")
    return found[0]


def _half_life_s(given: Dataset) -> float:
    half_life = _positive(given, "RadionuclideHalfLife", "the half-life")
    nuclides = given.get("RadionuclideCodeSequence") or []
    codes = [str(one.get("CodeValue", "")).upper() for one in nuclides]
    known = next((_HALF_LIFE_S[code] for code in codes if code in _HALF_LIFE_S), None)
    if known and abs(half_life / known - 1) > _SAME_HALF_LIFE:
        raise ValueError(
            f"PET: a half-life of {half_life:g} s is given, but the nuclide's is {known:g} s."
        )
    return half_life


# --- the patient --------------------------------------------------------------------------------


def _weight_kg(header: Dataset, notes: list[str]) -> float:
    weight = _positive(header, "PatientWeight", "the patient's weight")
    if weight > 1000:
        notes.append(f"PET: a weight of {weight:g} was taken as g.")
        weight /= 1000
    return weight


def _height_m(header: Dataset, notes: list[str]) -> float:
    height = _positive(header, "PatientSize", "the patient's height")
    if height > 3:
        notes.append(f"PET: a height of {height:g} was taken as cm.")
        height /= 100
    return height


def _of_mass(header: Dataset, notes: list[str]) -> float:
    """Weight over the mass that values in g/ml were made with."""
    kind = str(header.get("SUVType") or "").upper()
    if kind in ("", "BW"):
        if not kind:
            notes.append("PET: values in g/ml are taken as SUV by body weight.")
        return 1.0
    weight, height = _weight_kg(header, notes), _height_m(header, notes)
    masses = [_mass(kind, sex, weight, height) for sex in _sexes(header, notes)]
    return weight / (sum(masses) / len(masses))


def _mass(kind: str, sex: str, weight: float, height: float) -> float:
    """Lean or ideal mass in kg, as SUV types name them (DICOM PS3.3 C.8.9.1.1.3)."""
    male, body = sex == "M", weight / height**2
    if kind in ("LBM", "LBMJAMES128"):
        lean = 120.0 if kind == "LBM" else 128.0
        share = lean if male else 148.0
        return (1.10 if male else 1.07) * weight - share * (weight / (100 * height)) ** 2
    if kind == "LBMJANMA":
        return 9270 * weight / (6680 + 216 * body if male else 8780 + 244 * body)
    if kind == "IBW":
        over_cm = 100 * height - 152
        return 48.0 + 1.06 * over_cm if male else 45.5 + 0.91 * over_cm
    raise ValueError(f"PET: an SUV of type '{kind}' is not known.")


def _sexes(header: Dataset, notes: list[str]) -> tuple[str, ...]:
    sex = str(header.get("PatientSex") or "").upper()
    if sex in ("M", "F"):
        return (sex,)
    notes.append("PET: the patient's sex is not known; the mean of both formulas is taken.")
    return ("M", "F")


# --- elements -----------------------------------------------------------------------------------


def _check_corrections(header: Dataset, notes: list[str]) -> None:
    done = _words(header, "CorrectedImage")
    if not done:
        notes.append(
            "PET: no list of corrections is there; it is taken as corrected for attenuation."
        )
    if done and "ATTN" not in done:
        raise ValueError("PET: it is not corrected for attenuation, so no SUV is made of it.")
    corrected = str(header.get("DecayCorrection", "")).upper()
    if done and "DECY" not in done and corrected in ("START", "ADMIN"):
        raise ValueError(
            f"PET: its decay correction is '{corrected}', but the list of corrections has none."
        )
    if "DECY" in done and corrected == "NONE":
        raise ValueError(
            "PET: its decay correction is 'NONE', but the list of corrections has one."
        )
    if {"MIP", "PROJECTION IMAGE", "MAXIMUM INTENSITY PROJECTION"} & set(
        _words(header, "ImageType")
    ):
        raise ValueError(
            "PET: it is a projection (MIP), which has no SUV of a place; choose slices."
        )
    if {"DYNAMIC", "GATED"} & set(_words(header, "SeriesType")):
        raise ValueError("PET: it is a dynamic or gated series; choose a static one.")


def _words(header: Dataset, keyword: str) -> list[str]:
    value = header.get(keyword) or []
    return [str(one).upper() for one in ([value] if isinstance(value, str) else value)]


def _positive(header: Dataset, keyword: str, what: str) -> float:
    value = header.get(keyword)
    number = math.nan if value in (None, "") else float(value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"PET: {what} ({keyword}) is missing or not above 0, so no SUV is made.")
    return number


def _is_positive(header: Dataset, keyword: str) -> bool:
    value = header.get(keyword)
    return value not in (None, "") and math.isfinite(float(value)) and float(value) > 0


def _duration_s(header: Dataset) -> float:
    return _positive(header, "ActualFrameDuration", "a frame's duration") * _FRAME_OF_PET


def _time(header: Dataset, of: str, required: bool = True) -> datetime.datetime | None:
    date, clock = (
        header.get(f"{of}Date") or header.get("SeriesDate"),
        _clock(header.get(f"{of}Time")),
    )
    found = _stamp(f"{date}{clock}") if date and clock else None
    if found is None and required:
        raise ValueError(f"PET: its {of.lower()} time is missing, so no SUV is made.")
    return found


def _clock(value: object) -> str:
    """HHMMSS with any fraction, of a time that may end after hours or minutes; "" for none."""
    whole, dot, fraction = str(value or "").strip().replace(":", "").partition(".")
    return (
        f"{whole.ljust(6, '0')}{dot}{fraction}" if whole.isdigit() and len(whole) % 2 == 0 else ""
    )


def _stamp(value: object) -> datetime.datetime | None:
    """YYYYMMDDHHMMSS, with or without a fraction and an offset of the time zone.

    Minutes and seconds may be left out; old headers part them by colons.
    """
    text = str(value or "").strip().replace(":", "").split("+")[0].split("-")[0]
    whole, _, fraction = text.partition(".")
    if len(whole) < 10 or not whole[:14].isdigit():
        return None
    whole = whole[:14].ljust(14, "0")
    seconds = float(f"0.{fraction}") if fraction.isdigit() else 0.0
    return datetime.datetime.strptime(whole[:14], "%Y%m%d%H%M%S") + datetime.timedelta(
        seconds=seconds
    )


def _vendor_time(header: Dataset) -> datetime.datetime | None:
    """GE's and Siemens' own time of decay correction."""
    return _stamp(_private(header, 0x0009, "GEMS_PETD_01", 0x0D)) or _stamp(
        _private(header, 0x0071, "SIEMENS MED PT", 0x22)
    )


def _philips(header: Dataset, element: int) -> float:
    """A factor of Philips, 0 where there is none; anonymizers take its creator away."""
    value = _private(header, 0x7053, "Philips PET Private Group", element)
    if value is None and "PHILIPS" in str(header.get("Manufacturer", "")).upper():
        tag = (0x7053, 0x1000 + element)
        value = header[tag].value if tag in header else None
    try:
        return float(value.decode().strip("\0 ") if isinstance(value, bytes) else value)
    except (TypeError, ValueError):
        return 0.0


def _private(header: Dataset, group: int, creator: str, element: int) -> object:
    try:
        value = header.private_block(group, creator)[element].value
    except KeyError:
        return None
    return value.decode("ascii", "ignore") if isinstance(value, bytes) else value
