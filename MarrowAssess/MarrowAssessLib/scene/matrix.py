"""The results as a matrix: sites from head to foot, one column for each thing measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING

from MarrowAssessLib.catalogue.anatomy import Role, level_index
from MarrowAssessLib.catalogue.lean_mass import SUL
from MarrowAssessLib.catalogue.quantities import QUANTITIES, short_name
from MarrowAssessLib.report.colors import NO_REFERENCE_COLOR, change_color, luminance, result_color
from MarrowAssessLib.scene.result_rows import PLAIN_SIGNAL, ResultRow

if TYPE_CHECKING:  # opening a panel waits for no earlier visit
    from MarrowAssessLib.follow_up.change import Change

MARKS = {"below": "▼", "above": "▲", "within": "●", "doubtful": "?"}
CHANGE_MARKS = {"increase": "▲", "decrease": "▼", "within error": "●"}
FILES_RANK, PLAIN_RANK = 99, 100  # spectra and UTE color no region; plain signals stand last
# The most telling of their rows, which are many.
OF_FILES = (
    "mrs_pdff", "mrs_signal_fat_fraction", "mrs_unsaturation",
    "ute_thickness", "ute_area", "ute_pi", "ute_pi_fitted", "ute_bound_fraction",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One number.

    Attributes:
        row: all that is known of it.
        text: the number and the mark of its verdict; its unit stands above the column.
        color: as the region has in the views (0-1); None where there is no reference.
        light: whether its letters have to be light to be read on that color.
    """

    row: ResultRow
    text: str
    color: tuple[float, float, float] | None
    light: bool


@dataclass(frozen=True)
class Matrix:
    """Sites, columns with their units, and the cells by (row, column)."""

    sites: tuple[str, ...]
    columns: tuple[str, ...]
    cells: dict[tuple[int, int], Cell]


def result_matrix(rows: Sequence[ResultRow], changes: Sequence[Change] = ()) -> Matrix:
    """The numbers that can color a region, fat of spectra, cortex of UTE; others: in the table.

    With an earlier visit's changes the cells show those, in repeatability coefficients.
    """
    shown = [row for row in rows if _rank(row) is not None]
    ranked = sorted(shown, key=lambda row: (_rank(row), bool(changes) and row.key != SUL))
    columns = tuple(dict.fromkeys(_title(row) for row in ranked))
    sites = tuple(dict.fromkeys(_site(row) for row in sorted(shown, key=_height)))
    cells = {}
    for row in ranked:  # the first of a cell is what colors its region
        at = sites.index(_site(row)), columns.index(_title(row))
        cells.setdefault(at, _change_cell(row, changes) if changes else _cell(row))
    return Matrix(sites, columns, cells)


def _rank(row: ResultRow) -> int | None:
    if row.key == PLAIN_SIGNAL:
        return PLAIN_RANK
    if row.key in OF_FILES:
        return FILES_RANK
    return QUANTITIES[row.key].color_rank if row.key in QUANTITIES else None


def _site(row: ResultRow) -> str:
    """What a row is called: a level is its marrow; muscle placed beside it has its own name."""
    quantity = QUANTITIES.get(row.key)
    beside = quantity and quantity.measured is Role.MUSCLE and level_index(row.site) is not None
    return row.regions[0] if beside or not row.site else row.site


def _height(row: ResultRow) -> tuple[int, float, str]:
    """Single levels down the spine, then what is of several levels, then the rest by name."""
    level = level_index(row.site) if row.site else None
    quantity = QUANTITIES.get(row.key)
    several = quantity and len(quantity.levels) > 1 and row.site == quantity.site_of_levels
    group = 2 if level is None else int(bool(several))
    return group, level or 0.0, _site(row)


def _title(row: ResultRow) -> str:
    name = short_name(row.quantity)
    unit = QUANTITIES[row.key].unit if row.key in QUANTITIES else ""
    return f"{name}\n{unit}" if unit else name


def _cell(row: ResultRow) -> Cell:
    number = row.value.split(" ")[0]
    mark = MARKS.get(row.verdict, "")
    scored = row.z is not None
    color = result_color(row.z, row.tone) if scored or row.tone else None
    light = color is not None and luminance(color) < 0.5
    if row.verdict == "doubtful":
        color, light = NO_REFERENCE_COLOR, True
    return Cell(row, f"{number} {mark}".strip(), color, light)


def _change_cell(row: ResultRow, changes: Sequence[Change]) -> Cell:
    """How far a number is from the earlier visit's; "?" where that cannot be said."""
    own = (
        one
        for one in changes
        if (one.quantity, one.site) == (row.key, row.site)
        and one.measured_now == row.regions[: len(one.measured_now)]
    )
    change = next(own, None)
    if change is None:
        told = replace(row, details=f"Not in the earlier visit.\n{row.details}")
        return Cell(told, "-", None, False)
    told = replace(row, details=f"{change_text(change)}\n{row.details}")
    if math.isnan(change.size):
        return Cell(told, "?", NO_REFERENCE_COLOR, True)
    color = change_color(change.size)
    mark = CHANGE_MARKS.get(change.verdict, "")
    return Cell(told, f"{change.size:+.1f} RC {mark}".strip(), color, luminance(color) < 0.5)


def change_text(change: Change) -> str:
    """A change in one sentence, without its days, which a scene does not know."""
    quantity = QUANTITIES[change.quantity]
    ends = (change.first, change.second)
    values = " to ".join(quantity.format(one) if math.isfinite(one) else "-" for one in ends)
    if math.isnan(change.size):
        return f"Since the earlier visit {values}: not compared, {change.reason}."
    unchanged = f"{change.low:.{quantity.digits}f} to {quantity.format(change.high)}"
    said = "more than measurement error" if change.changed else "within measurement error"
    return (
        f"Since the earlier visit {values}, {change.size:+.1f} RC: {said} (unchanged: {unchanged})."
    )


def record_links(row: ResultRow) -> str:
    """The records behind a number as rich text: each publication once, linked to its DOI."""
    keys: dict[tuple[str, str], list[str]] = {}
    for key, source, doi in row.records:
        keys.setdefault((source, doi), []).append(key)
    shown = []
    for (source, doi), of_it in keys.items():
        name = escape(f"{source} [{', '.join(of_it)}]")
        shown.append(f'<a href="{escape(doi_url(doi))}">{name}</a>' if doi else name)
    return ", ".join(shown)


def doi_url(doi: str) -> str:
    """The address of a DOI, "" of none."""
    return f"https://doi.org/{doi}" if doi else ""
