"""What is kept of the patient that an image is of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class PatientFacts:
    """What an age reference needs of the patient; None where the header does not say.

    Attributes:
        age_years: age at the study in years.
        sex: "M", "F" or "O".
        unread_age, unread_sex: what the header holds where that tells neither, "" elsewhere.
    """

    age_years: float | None = None
    sex: str | None = None
    unread_age: str = ""
    unread_sex: str = ""

    def completed(self, other: PatientFacts) -> PatientFacts:
        """These facts, and of another image of the patient what they lack."""
        return PatientFacts(
            other.age_years if self.age_years is None else self.age_years,
            self.sex or other.sex,
            self.unread_age or other.unread_age,
            self.unread_sex or other.unread_sex,
        )

    @property
    def unread(self) -> list[str]:
        """A sentence for each of age and sex that is not known although the header holds one."""
        sentences = []
        if self.unread_age and self.age_years is None:
            sentences.append(
                f"the DICOM header's age '{self.unread_age}', which has no unit, is 0 or is no age "
                "as DICOM writes it (055Y, 008M); give the age."
            )
        if self.unread_sex and self.sex not in ("M", "F"):
            sentences.append(
                f"the DICOM header's sex '{self.unread_sex}', which is neither M nor F; give the "
                "sex if it is known."
            )
        return [f"Left out: {one}" for one in sentences]


@dataclass(frozen=True)
class Visit:
    """What tells two patients or days apart. It is not to be written anywhere.

    Attributes:
        key: hash of the patient's identifier; "" without one.
        day: of the study, digits only; "" where it is not known.
        study: hash of the study's identifier; "" without one. A study is one visit, whatever days
            its series are given when they are made anonymous.
    """

    key: str = ""
    day: str = ""
    study: str = ""

    def may_be(self, other: Visit) -> bool:
        """Whether neither patient nor day are known to differ."""
        return not told_apart((self, other))


def told_apart(visits: Iterable[Visit]) -> str:
    """That visits are of "2 patients by their identifiers" or "2 days"; "" if they may be one."""
    visits = list(visits)
    patients = {one.key for one in visits} - {""}
    days = set({one.study or one.day: one.day for one in visits if one.day}.values())
    for of, what in ((patients, "patients by their identifiers"), (days, "days")):
        if len(of) > 1:
            return f"{len(of)} {what}"
    return ""


def shown_age(age_years: float | None) -> float | None:
    """An age as it may be kept: in tenths of a year, under two years in whole months.

    To the day it would tell the birth date to whoever knows when the study was made.
    """
    if age_years is None:
        return None
    return round(age_years * 12) / 12 if age_years < 2 else round(age_years, 1)


def short_key(identifier: str) -> str:
    """A short hash of a UID or identifier: the same for the same; "" of none."""
    return hashlib.sha256(identifier.encode()).hexdigest()[:10] if identifier else ""
