"""What is kept of the patient that an image is of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PatientFacts:
    """What an age reference needs of the patient; None where the header does not say.

    Attributes:
        age_years: age at the study in years.
        sex: "M", "F" or "O".
    """

    age_years: float | None = None
    sex: str | None = None


def shown_age(age_years: float | None) -> float | None:
    """An age as it may be kept: in tenths of a year, under two years in whole months.

    To the day it would tell the birth date to whoever knows when the study was made.
    """
    if age_years is None:
        return None
    return round(age_years * 12) / 12 if age_years < 2 else round(age_years, 1)
