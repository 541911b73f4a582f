"""How far two examinations of unchanged marrow differ, published or of one's own pairs.

Repeatability coefficient: Bland and Altman 1986, doi 10.1016/S0140-6736(86)90837-8; Raunig 2015,
doi 10.1177/0962280214537344.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PDFFMapperLib.images.tables import read_csv

from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.references.records import Record
from MarrowAssessLib.references.repeatability import repeatability

FEWEST_PAIRS = 10
_COLUMNS = ("subject", "quantity", "site", "value1", "value2")


@dataclass(frozen=True)
class MeasurementError:
    """How far single examinations of unchanged marrow scatter.

    Attributes:
        sd: within-subject SD: in the quantity's unit, or of the value's logarithm.
        proportional: whether it is of the logarithm.
        n: pairs behind it, which are its degrees of freedom.
        source: where it comes from.
        records: the published ones behind it; none for own pairs.
    """

    sd: float
    proportional: bool
    n: int
    source: str
    records: tuple[Record, ...] = ()

    @property
    def reach(self) -> float:
        """How far two examinations differ at most 19 times in 20: 1.96 sqrt(2) SD for many pairs.

        In the quantity's unit, or of the logarithm.
        """
        return self.times(1.0)

    def times(self, sds: float) -> float:
        """The same with that many SDs for one."""
        from scipy.special import stdtrit

        return float(stdtrit(self.n, 0.975)) * math.sqrt(2) * self.sd * sds


@dataclass(frozen=True)
class Judgment:
    """A difference beside what unchanged marrow shows.

    Attributes:
        low, high: between which the second value lies in 19 of 20 unchanged people.
        p: of no change.
        size: the difference in repeatability coefficients, with its sign; beyond +-1 it is a
            change.
        by_regions: whether the regions' own intervals were wider than the error and were used.
    """

    low: float
    high: float
    p: float
    size: float
    by_regions: bool


def judged(
    first: float, second: float, error: MeasurementError, se: tuple[float, float] = (0.0, 0.0)
) -> Judgment:
    """Two values beside the measurement error.

    Args:
        first, second: the two values, above 0 for a proportional error.
        error: of single examinations; the larger one of it and of `se` is used.
        se: standard errors of the two values from their regions, in their unit.
    """
    from scipy.special import stdtr

    if error.proportional:
        own = math.hypot(se[0] / first, se[1] / second) / math.sqrt(2)
        difference = math.log(second / first)
    else:
        own = math.hypot(*se) / math.sqrt(2)
        difference = second - first
    reach = error.times(max(1.0, own / error.sd))
    low, high = (
        (first * math.exp(-reach), first * math.exp(reach))
        if error.proportional
        else (first - reach, first + reach)
    )
    spread = math.sqrt(2) * max(error.sd, own)
    p = 2 * float(stdtr(error.n, -abs(difference) / spread))
    return Judgment(low, high, p, difference / reach, own > error.sd)


def published_error(quantity: str) -> MeasurementError | None:
    """The published repeatability of a quantity; None without one that was read in its source."""
    known = repeatability(quantity)
    if known is None or any(record.evidence == "memory" for record in known.records):
        return None
    source = f"{known.text}: {', '.join(record.id for record in known.records)}"
    if known.change_percent is not None:
        cv = known.change_percent / 100 / (1.96 * math.sqrt(2))
        sd = math.sqrt(math.log1p(cv**2))
        return MeasurementError(sd, True, known.n, source, known.records)
    if known.change is not None:
        sd = known.change / (1.96 * math.sqrt(2))
        return MeasurementError(sd, False, known.n, source, known.records)
    return None


def error_of_pairs(values: np.ndarray, source: str) -> MeasurementError:
    """The error that repeated examinations show.

    It is proportional where the differences grow with the values (Spearman, p below 0.05).

    Args:
        values: shape (pairs, 2), in the quantity's unit.
        source: named beside results.

    Raises:
        ValueError: fewer than 10 pairs, or all of them agree.
    """
    from scipy.stats import spearmanr

    if len(values) < FEWEST_PAIRS:
        raise ValueError(
            f"{source}: {len(values)} pairs of repeated examinations; {FEWEST_PAIRS} or more are "
            "expected."
        )
    difference = values[:, 1] - values[:, 0]
    if not np.any(difference):
        raise ValueError(f"{source}: all repeated values are equal, so they tell no error.")
    size = np.abs(difference)
    proportional = False
    if (values > 0).all() and np.ptp(size) > 0:
        grows = spearmanr(size, values.mean(axis=1))
        proportional = bool(grows.statistic > 0 and grows.pvalue < 0.05)
        source += (
            f", differences against means: Spearman {grows.statistic:+.2f}, p {grows.pvalue:.2g}"
        )
    if proportional:
        difference = np.diff(np.log(values), axis=1)[:, 0]
    sd = float(np.sqrt(np.mean(difference**2) / 2))
    return MeasurementError(sd, proportional, len(values), source)


def read_repeatability(path: str | Path) -> dict[str, MeasurementError]:
    """The errors of a site's own repeated examinations, by quantity.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, a value is no number, or pairs are too few.
    """
    path = Path(path)
    pairs: dict[str, list[tuple[float, float]]] = {}
    for line, row in read_csv(path, "a table of pairs", _COLUMNS):
        try:
            pair = float(row["value1"]), float(row["value2"])
            if not all(map(math.isfinite, pair)) or row["quantity"] not in QUANTITIES:
                raise ValueError
        except (TypeError, ValueError):
            raise ValueError(
                f"{path.name}, line {line}: a known quantity and two numbers are expected."
            ) from None
        pairs.setdefault(row["quantity"], []).append(pair)
    return {
        quantity: error_of_pairs(np.array(values), f"{len(values)} own pairs")
        for quantity, values in pairs.items()
    }
