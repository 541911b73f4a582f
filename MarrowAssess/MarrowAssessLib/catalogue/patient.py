"""A patient's age and sex, checked."""

from __future__ import annotations

import re

MAX_AGE_YEARS = 120.0
SEX_WORDS = {"M": "men", "F": "women", "both": "both sexes"}  # of groups of people
MONTHS_UNTIL_YEARS = 3.0  # younger patients' ages are written in months
# How many of each make a year; units are told by how they begin.
_PER_YEAR = {"y": 1.0, "m": 12.0, "w": 365.25 / 7, "d": 365.25}
_UNIT_WORDS = re.compile(r"(y|ys|yrs?|years?|m|mo|mos|mths?|months?|w|wks?|weeks?|d|days?)")


def parse_sex(text: str | None) -> str | None:
    """The sex as "M", "F", or None for unknown (DICOM's O, both, empty).

    Raises:
        ValueError: the word names no sex.
    """
    word = (text or "").strip().lower()
    if word in ("m", "male", "man"):
        return "M"
    if word in ("f", "female", "woman"):
        return "F"
    if word in ("", "o", "both", "unknown", "other"):
        return None
    raise ValueError(f"Unknown sex '{text}'; expected M, F or nothing.")


def check_age(age_years: float) -> float:
    """The age as a number of years.

    Raises:
        ValueError: negative, over MAX_AGE_YEARS or not finite.
    """
    age = float(age_years)
    if not 0 <= age <= MAX_AGE_YEARS:
        raise ValueError(
            f"Age {age:g} years is not possible; expected 0 to {MAX_AGE_YEARS:g} years (an infant "
            "of 6 months is 0.5)."
        )
    return age


def parse_age(text: str) -> float | None:
    """An age as people write it, in years; None for an empty text.

    "34", "12.5", "12,5", "34 years", "34 y", "8 months", "8 mo", "2 years 3 months", "6 weeks",
    "10 days", and DICOM's "034Y" and "008M" (always three digits; "65M" may be a man of 65 years).

    Raises:
        ValueError: no age, none that a patient can have, or one of two meanings.
    """
    words = text.strip().lower().replace(",", ".")
    if not words or words == "not known":
        return None
    parts = re.findall(r"(\d*\.?\d+|\d+\.)\s*([a-z]*)\.?", words)
    left = re.sub(r"(\d*\.?\d+|\d+\.)\s*[a-z]*\.?|and|\s", "", words)
    units = [unit or ("y" if len(parts) == 1 else "") for _, unit in parts]
    if left or not parts or not all(_UNIT_WORDS.fullmatch(unit) for unit in units):
        raise ValueError(f"'{text}' is no age; write 34, 12.5, 8 months, or nothing.")
    if units in (["m"], ["w"]) and not re.fullmatch(r"\d{3}[mw]", words):
        raise ValueError(
            f"'{text}' may be months or weeks, or years and a sex; write 34 years, 8 months or "
            "6 weeks."
        )
    numbers = [float(number) for number, _ in parts]
    pairs = zip(numbers, units, strict=True)
    return check_age(sum(number / _PER_YEAR[unit[0]] for number, unit in pairs))


def age_text(age_years: float | None) -> str:
    """An age as people read it: "34 years", "8 months", "" where it is not known."""
    if age_years is None:
        return ""
    if age_years < 0.25:
        return f"{round(age_years * 365.25)} days"
    months = age_years * 12
    if age_years < MONTHS_UNTIL_YEARS and abs(months - round(months)) < 0.05:
        return f"{round(months)} months"
    return f"{age_years:.3g} years" if age_years != 1 else "1 year"
