"""Sites down, modalities across: what MR, CT and PET measured at each site."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from MarrowAssessLib.catalogue.lean_mass import lean_first
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.follow_up.side_by_side import COLUMNS, cells, sites
from MarrowAssessLib.report.colors import z_color
from MarrowAssessLib.report.shared import chip


def matrix(
    visit: Mapping, changes: Mapping[tuple, str] | None = None, most: int | None = None
) -> str:
    """The table of a stored assessment, as HTML.

    Args:
        visit: see `report.data.as_dict`.
        changes: since another visit, in words by quantity, site and names of the regions.
        most: so many sites are shown, and below them how many are not; None: all.
    """
    found = cells(visit)
    lean = bool(changes) or lean_first(visit["patient"]["age_years"])  # else SUV alone
    able = {column for _, column in found if lean or column != "SUL"}
    columns = [name for name, _ in COLUMNS if name in able]
    heads = "".join(f"<th>{escape(one)}<small>{_unit(found, one)}</small></th>" for one in columns)
    rows = []
    listed = sites(found)
    for site in listed[:most]:
        texts = "".join(f"<td>{_cell(found.get((site, c)), changes or {})}</td>" for c in columns)
        rows.append(f"<tr><th>{escape(site or 'all')}</th>{texts}</tr>")
    if not rows:
        return "<p>None of the quantities of this page was measured.</p>"
    more = len(listed[most:]) if most else 0
    note = f"<p>{more} more sites are in the report.</p>" if more else ""
    return (
        f"<table class=matrix><thead><tr><th>Site</th>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>{note}"
    )


def _unit(found: Mapping[tuple[str, str], Mapping], column: str) -> str:
    one = next(m for (_, name), m in found.items() if name == column)
    return escape(QUANTITIES[one["quantity"]].unit or "ratio")


def _cell(one: Mapping | None, changes: Mapping[tuple, str]) -> str:
    if one is None:
        return "-"
    quantity = QUANTITIES[one["quantity"]]
    text = f"<b>{one['value']:.{quantity.digits}f}</b> "
    z = one.get("z")
    if one["doubtful"]:
        text += "<small>doubtful</small>"
    elif z is None:
        text += "<small class=in>no ref.</small>"
    else:
        text += chip(f"z {z:+.1f}", z_color(z), light=abs(z) > 2)
    ci = one.get("ci95")
    if ci and None not in ci:
        text += f"<small>{ci[0]:.{quantity.digits}f} to {ci[1]:.{quantity.digits}f}</small>"
    if change := changes.get((one["quantity"], one["site"], tuple(one.get("measured", ())))):
        text += f"<small>{change}</small>"
    return text
