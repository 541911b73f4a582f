"""What signal ratios of a lumbar vertebra should be at an age, by the physics of the sequence.

Not a published distribution, and never a verdict but one: opposed/in-phase from 15 years. Fat
fraction by age, relaxation times and proton densities are drawn (references.json, `model_inputs`,
each with its records or marked as inferred) and put into the signal equations. Two kinds of
unknowns are kept apart: `common` ones are the same for everybody (tissue constants, the sequence),
`subject` ones differ between healthy people of one age. Below 2 years the model contradicts
published frequencies and is silent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from MarrowAssessLib.catalogue.anatomy import spine_region
from MarrowAssessLib.catalogue.patient import check_age
from MarrowAssessLib.references.records import Record, data, records_of

FIRST_AGE_YEARS = 2.0
VERDICT_FROM_YEARS = 15.0
CURVE_AGES_YEARS = (2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 80.0)
COMMON_DRAWS, SUBJECT_DRAWS = 300, 150
PREDICTED = (
    "t1_marrow_muscle", "t1_marrow_disc", "fs_t2_marrow_muscle", "opposed_in_ratio", "signal_drop",
)  # fmt: skip
FIELDS_T = (1.5, 3.0)
ADULT_YEARS = 20
ADULT_SD_POINTS = 7.3  # of PDFF between adults of one age and sex
# Six-peak fat spectrum (record R213): ppm against water, and amplitudes.
_PPM = np.array([-3.80, -3.40, -2.60, -1.94, -0.39, 0.60])
_AMPLITUDES = np.array([0.087, 0.693, 0.128, 0.004, 0.039, 0.048])
_MHZ_PER_T = 42.577
# The usual sequences, ms: ranges where the header does not say; gradient echo TR and flip angle.
_T1 = {1.5: ((450, 700), (8, 15)), 3.0: ((500, 800), (8, 14))}
_STIR = {1.5: ((3000, 5000), (30, 70), (140, 170)), 3.0: ((3000, 5000), (30, 70), (190, 230))}
_CHEMICAL_SHIFT = {1.5: (150.0, 70.0, 2.3e-3), 3.0: (150.0, 55.0, 1.15e-3)}


@dataclass(frozen=True)
class Sequence:
    """Times of a spin echo in ms as far as the header says them."""

    tr_ms: float | None = None
    te_ms: float | None = None
    ti_ms: float | None = None


@dataclass(frozen=True)
class ModelledBand:
    """Where 95 % of healthy people should lie, all unknowns of the model counted.

    Attributes:
        fields_t: field strengths that it covers: both where the study's is not known.
    """

    quantity: str
    low: float
    median: float
    high: float
    fields_t: tuple[float, ...]
    records: tuple[Record, ...]

    def verdict(self, value: float) -> str:
        """'below', 'within' or 'above' the band."""
        return "below" if value < self.low else "above" if value > self.high else "within"


def modelled_band(
    quantity: str,
    site: str,
    age_years: float,
    sex: str | None = None,
    field_strength_t: float | None = None,
    sequence: Sequence | None = None,
) -> ModelledBand | None:
    """The modelled band of a quantity; None where the model does not hold.

    It holds for PREDICTED quantities of lumbar vertebrae, from 2 years on, at 1.5 and 3 T.

    Raises:
        ValueError: an impossible age.
    """
    age = check_age(age_years)
    near = [f for f in FIELDS_T if field_strength_t is None or abs(f - field_strength_t) < 0.3]
    if quantity not in PREDICTED or age < FIRST_AGE_YEARS or not near or not is_lumbar(site):
        return None
    key = "opposed_in_ratio" if quantity == "signal_drop" else quantity
    ends = [_ends(key, age, sex, field, sequence or Sequence()) for field in near]
    low, middle, high = (
        float(min(e[0] for e in ends)),
        float(np.mean([e[1] for e in ends])),
        float(max(e[2] for e in ends)),
    )
    if quantity == "signal_drop":
        low, middle, high = 100 * (1 - high), 100 * (1 - middle), 100 * (1 - low)
    return ModelledBand(quantity, low, middle, high, tuple(near), model_records())


@lru_cache(maxsize=256)
def _ends(
    key: str, age: float, sex: str | None, field: float, sequence: Sequence
) -> tuple[float, ...]:
    """Lower end, median and upper end of what is simulated."""
    values = _simulate(age, sex, field, sequence)[key]
    return tuple(np.quantile(values, [0.025, 0.5, 0.975]).tolist())


def is_lumbar(site: str) -> bool:
    """Whether the model speaks of a site."""
    return spine_region(site) == "lumbar" or site in ("lumbar", "L1-L4")


@dataclass(frozen=True)
class ModelledCurve:
    """The modelled band over age, at usual sequences and both field strengths.

    Attributes:
        ages_years, low, high: (n,) ages and ends of the band.
    """

    ages_years: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@lru_cache(maxsize=16)
def modelled_curve(quantity: str, sex: str | None = None) -> ModelledCurve | None:
    """The band of a lumbar vertebra over age; None of quantities that are not PREDICTED."""
    if quantity not in PREDICTED:
        return None
    bands = [modelled_band(quantity, "lumbar", age, sex) for age in CURVE_AGES_YEARS]
    lows, highs = zip(*((band.low, band.high) for band in bands), strict=True)
    return ModelledCurve(CURVE_AGES_YEARS, lows, highs)


@lru_cache(maxsize=1)
def model_records() -> tuple[Record, ...]:
    """The records behind the model's inputs."""
    found = {r.id: r for entry in data()["model_inputs"] for r in records_of(entry)}
    return tuple(found.values())


def log_median_by_draw(
    quantity: str, age_years: float, sex: str | None, field_strength_t: float
) -> np.ndarray:
    """Logarithm of the median over people for each draw of the common unknowns, shape (draws,).

    The same draws for every age, so that differences between ages carry the model's uncertainty
    about the shift with age and not about the level.
    """
    ratios = _simulate(age_years, sex, field_strength_t, Sequence())[quantity]
    return np.log(np.median(ratios, axis=1))


def pdff_by_age(age_years: float, sex: str | None) -> float:
    """Mean lumbar PDFF, %, by fits to published groups (R233-R236); both sexes: their mean."""
    if sex not in ("M", "F"):
        return (pdff_by_age(age_years, "M") + pdff_by_age(age_years, "F")) / 2
    slope = 8.94 if sex == "M" else 7.14
    child = max(4.2 + slope * math.log(max(age_years, 0.5)), 3.0)
    adult = 26.9 + 0.237 * age_years
    if sex == "F":
        adult = 27.0 + 23.5 / (1 + math.exp(-(age_years - 51.8) / 4.9))
    grown = min(max((age_years - 14) / 10, 0.0), 1.0)
    return (1 - grown) * child + grown * adult


@dataclass(frozen=True)
class _Draws:
    """What is drawn at a field strength: the same for every age, sex and sequence.

    Attributes:
        inputs: `model_inputs` by name, shape (common draws, subject draws).
        of_fat, of_lean: people's fat and muscle in SD, of the same shape.
        times: the spin echo's TR and TE, then the STIR's TR, TE and TI, ms, (common draws, 1).
    """

    inputs: dict[str, np.ndarray]
    of_fat: np.ndarray
    of_lean: np.ndarray
    times: tuple[np.ndarray, ...]


@lru_cache(maxsize=len(FIELDS_T))
def _drawn(field_t: float) -> _Draws:
    common, people = np.random.default_rng(1), np.random.default_rng(2)
    shape = (COMMON_DRAWS, SUBJECT_DRAWS)
    inputs = {e["name"]: _draw(e, field_t, common, people) for e in data()["model_inputs"]}
    of_fat, of_lean = people.standard_normal(shape), people.standard_normal(shape)
    ends = (*_T1[field_t], *_STIR[field_t])
    times = tuple(common.uniform(*one, (COMMON_DRAWS, 1)) for one in ends)
    return _Draws(inputs, of_fat, of_lean, times)


@lru_cache(maxsize=64)
def _simulate(
    age: float, sex: str | None, field_t: float, sequence: Sequence
) -> dict[str, np.ndarray]:
    """Ratios by quantity, shape (common draws, subject draws)."""
    draws = _drawn(field_t)
    drawn = dict(draws.inputs)
    child = age < ADULT_YEARS
    mean = pdff_by_age(age, sex)
    sd = max(0.32 * mean, 3.0) if child else ADULT_SD_POINTS
    offset = drawn["pdff_offset"] * (1.5 if child else 1.0)
    percent = np.clip(mean + offset + sd * draws.of_fat, 1, 90)
    # Water T2 falls by about 1 % for each point of fat (r -0.58 and -0.55, R426; slope inferred).
    drawn["marrow_water_t2"] = np.maximum(
        drawn["marrow_water_t2"] * (1 - 0.010 * (percent - 37)), 8
    )
    drawn["disc_t1"] = drawn["disc_t1"] * (1.08 if child else 1.0)  # hydrated discs
    muscle = np.clip(2.5 + draws.of_lean, 0.5, None)
    if not child:
        muscle = np.clip(6 + 0.06 * (age - 40) + 3 * draws.of_lean, 1, None)
    fat, muscle_fat = percent / 100, muscle / 100
    tr, te, ti = sequence.tr_ms, sequence.te_ms, sequence.ti_ms
    times = [
        usual if known is None else np.full_like(usual, known)
        for usual, known in zip(draws.times, (tr, te, tr, te, ti), strict=True)
    ]
    found = _spin_echo_ratios(drawn, fat, muscle_fat, *times[:2])
    found["fs_t2_marrow_muscle"] = _stir_ratio(drawn, fat, muscle_fat, *times[2:])
    found["opposed_in_ratio"] = _opposed_in_ratio(drawn, fat, field_t)
    return found


def _draw(
    entry: dict, field_t: float, common: np.random.Generator, people: np.random.Generator
) -> np.ndarray:
    scale = entry["ratio_3t"] if field_t > 2 else 1.0
    values = entry["mean"] + entry["common_sd"] * common.standard_normal((COMMON_DRAWS, 1))
    values = values + entry["subject_sd"] * people.standard_normal((COMMON_DRAWS, SUBJECT_DRAWS))
    if entry["name"] == "pdff_offset":
        return values
    return np.maximum(scale * values, 0.01 if entry["unit"] == "" else 8.0)


def _spin_echo_ratios(p: dict, fat, muscle_fat, tr, te) -> dict[str, np.ndarray]:
    def one(t1: np.ndarray, t2: np.ndarray) -> np.ndarray:
        return (1 - np.exp(-tr / t1)) * np.exp(-te / t2)

    of_fat = one(p["marrow_fat_t1"], p["marrow_fat_t2"])
    water = one(p["marrow_water_t1"], p["marrow_water_t2"]) * p["marrow_transfer"]
    marrow = p["marrow_density"] * ((1 - fat) * water + fat * of_fat)
    lean = one(p["muscle_t1"], p["muscle_t2"]) * p["muscle_transfer"]
    muscle = p["muscle_density"] * ((1 - muscle_fat) * lean + muscle_fat * of_fat)
    disc = p["disc_density"] * one(p["disc_t1"], p["disc_t2"]) * p["disc_transfer"]
    return {"t1_marrow_muscle": marrow / muscle, "t1_marrow_disc": marrow / disc}


def _stir_ratio(p: dict, fat, muscle_fat, tr, te, ti) -> np.ndarray:
    def one(t1: np.ndarray, t2: np.ndarray) -> np.ndarray:
        return (1 - 2 * np.exp(-ti / t1) + np.exp(-tr / t1)) * np.exp(-te / t2)

    of_fat = one(p["marrow_fat_t1"], p["marrow_fat_t2"])
    water = one(p["marrow_water_t1"], p["marrow_water_t2"]) * p["marrow_transfer"]
    lean = one(p["muscle_t1"], p["muscle_t2"]) * p["muscle_transfer"]
    marrow = np.abs(p["marrow_density"] * ((1 - fat) * water + fat * of_fat))
    muscle = np.abs(p["muscle_density"] * ((1 - muscle_fat) * lean + muscle_fat * of_fat))
    return marrow / muscle


def _opposed_in_ratio(p: dict, fat: np.ndarray, field_t: float) -> np.ndarray:
    tr, flip_degrees, opposed_s = _CHEMICAL_SHIFT[field_t]
    flip = math.radians(flip_degrees)

    def steady(t1: np.ndarray) -> np.ndarray:
        decay = np.exp(-tr / t1)
        return (1 - decay) * math.sin(flip) / (1 - math.cos(flip) * decay)

    def signal(time_s: float) -> np.ndarray:
        turns = _PPM * _MHZ_PER_T * field_t * time_s
        of_fat = complex((_AMPLITUDES * np.exp(2j * np.pi * turns)).sum())
        return np.abs(water + of_fat * lipid) * np.exp(-time_s * p["r2star"])

    water = (1 - fat) * steady(p["marrow_water_t1"])
    lipid = fat * steady(p["marrow_fat_t1"])
    return signal(opposed_s) / signal(2 * opposed_s)
