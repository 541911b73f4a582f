"""SUL, uptake by lean body mass: its formulas, and where it leads and SUV stands beside it.

SUV by body weight rises with growth and with fat, so SUL leads for children and between visits.
"""

from __future__ import annotations

LEAN_MASS = ("Janmahasatian", "James")
LEAN_YEARS = 16  # below which both formulas, of adults, are extrapolated
SUL = "marrow_sul"


def lean_first(age_years: float | None) -> bool:
    """Whether SUL stands before SUV in one examination: for children."""
    return age_years is not None and age_years < LEAN_YEARS
