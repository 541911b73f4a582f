"""A patient's age and sex, checked."""

from __future__ import annotations

MAX_AGE_YEARS = 120.0


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
