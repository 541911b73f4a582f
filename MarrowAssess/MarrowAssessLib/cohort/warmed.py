"""Loaded once by the process that a cohort's studies are forked from: what each would do anew."""

from __future__ import annotations

from MarrowAssessLib.references.modelled import modelled_curve

for _sex in ("F", "M"):
    modelled_curve("t1_marrow_muscle", _sex)
