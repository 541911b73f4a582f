"""What is asked of the references: a quantity at a site, of an age and a sex, all checked."""

from __future__ import annotations

from MarrowAssessLib.catalogue.patient import check_age, parse_sex
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.references.sites import parse_reference_site


class Question:
    """A checked question.

    Attributes:
        quantity: a key of QUANTITIES.
        site: canonical, "" where none is asked for or the quantity's definition fixes it.
        age: in years, None where it is not known.
        sex: "M", "F" or None.
        field_strength_t: of the images, tesla; None where it is not known.

    Raises:
        ValueError: unknown quantity, site or sex, or an impossible age.
    """

    def __init__(
        self,
        quantity: str,
        site: str,
        age_years: float | None,
        sex: str | None = None,
        field_strength_t: float | None = None,
    ) -> None:
        if quantity not in QUANTITIES:
            raise ValueError(
                f"Unknown quantity '{quantity}'; expected one of: {', '.join(QUANTITIES)}."
            )
        self.quantity = quantity
        fixed = QUANTITIES[quantity].site_in_definition
        self.site = "" if fixed else parse_reference_site(site)
        self.age = None if age_years is None else check_age(age_years)
        self.sex = parse_sex(sex)
        self.field_strength_t = field_strength_t
