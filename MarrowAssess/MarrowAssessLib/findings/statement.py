"""A sentence about a number: its kind, its tone and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass

from MarrowAssessLib.references.records import Record

FREQUENCY, RULE, MODELLED, PUBLISHED = "frequency", "rule", "modelled", "published"
EXPECTED, UNUSUAL, OPEN = "expected", "unusual", ""
DOUBTFUL = "doubtful"  # the verdict on a number of a region that may be another structure
PLAIN_SIGNAL_SAYS = "It says nothing by itself: place a muscle or a disc for a ratio."
NO_REFERENCE, NO_Z = "no reference", "no z-score"
NOT_COMPARED = "its cautions say why nothing is compared with it"
_MOST_CITED = 4


@dataclass(frozen=True)
class Statement:
    """One sentence about a number, without the number.

    Attributes:
        kind: FREQUENCY, RULE, MODELLED or PUBLISHED.
        tone: EXPECTED, UNUSUAL or OPEN.
        text: such as "brighter than disc, as in 90 % of normal children of 5-15 years (56-100 %)".
        records: the records it comes from.
        source: DOI of what it rests on where that is not a record.
        agrees: of a modelled band: the number lies within it.
    """

    kind: str
    tone: str
    text: str
    records: tuple[Record, ...]
    source: str = ""
    agrees: bool = False


def listed_verdict(verdict: str, tone: str) -> str:
    """A verdict as tables list it: not "no reference" where a rule or frequency speaks."""
    return NO_Z if verdict == NO_REFERENCE and tone else verdict


def cited_text(records: tuple[str, ...]) -> str:
    """The ids of records, the first ones where there are many."""
    shown = ", ".join(records[:_MOST_CITED])
    more = len(records) - _MOST_CITED
    return f"{shown} and {more} more" if more > 0 else shown
