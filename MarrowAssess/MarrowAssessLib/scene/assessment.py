"""What an assessment says, as a table node and as colors and labels of regions."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import slicer
from PDFFMapperLib.scene.tables import Column, table_to_node

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.quantities import QUANTITIES, short_name
from MarrowAssessLib.findings.statement import PLAIN_SIGNAL_SAYS, listed_verdict
from MarrowAssessLib.report.colors import CHANGE_SCALE
from MarrowAssessLib.scene.overlay import SiteResult
from MarrowAssessLib.scene.result_rows import (
    FIELD_SEPARATOR,
    PLAIN_SIGNAL,
    RECORD_SEPARATOR,
    REGION_SEPARATOR,
    SAYS_SEPARATOR,
    ResultRow,
)

if TYPE_CHECKING:  # opening a panel waits for none of them
    from MarrowAssessLib.findings.result import Assessment, Result
    from MarrowAssessLib.follow_up.change import Change
    from MarrowAssessLib.study.regions import Region

NO_BREAK = "\N{NO-BREAK SPACE}"
LABEL_LETTERS = 26  # of a line; a view of 500 pixels holds them beside a spine


def site_results(
    assessment: Assessment, brief: bool = False, names: bool = False
) -> list[SiteResult]:
    """What each marrow region shows in the views: its color's z-score and a label.

    Args:
        assessment: of these regions.
        brief: whether only what is outside, doubtful or pathologic has a label, a short one.
        names: whether the others are named, where labels are brief.

    A region whose color says nothing of its other sequences can look normal and not be: the label
    names a signature of pathologic marrow.
    """
    pathologic = {one.region for one in assessment.signatures if one.best == "pathologic"}
    found = []
    for region in assessment.study.with_role(Role.MARROW):
        result = assessment.color_of(region.name)
        if brief:
            label = _brief_label(region, result, region.name in pathologic)
            if names and not label:
                label = region.site or region.name
            z, tone = (result.z, result.tone) if result else (None, "")
            found.append(SiteResult(region.name, z, label, tone))
            continue
        if result is None:
            doubt = "\ndoubtful" if region.doubtful else ""
            found.append(SiteResult(region.name, None, f"{region.site or region.name}{doubt}"))
            continue
        quantity = QUANTITIES[result.measurement.quantity]
        name = quantity.name.removeprefix("Marrow ")  # as the region says
        shown = f"{region.site or region.name}  {name} {result.text}"
        lines = [shown]  # short ones: views are narrow, and cut what does not fit
        scored = result.z is not None
        unscored = result.tone or ("no verdict" if result.statements else result.verdict)
        lines.append(f"{result.verdict} {result.expected_text}" if scored else unscored)
        if region.name in pathologic:
            lines.append("signature: pathologic")
        found.append(SiteResult(region.name, result.z, "\n".join(lines), result.tone))
    return found


def _brief_label(region: Region, result: Result | None, pathologic: bool) -> str:
    name = region.site or region.name
    if region.doubtful:
        return f"{name} doubtful"
    said = []
    if result and result.verdict in ("below", "above"):
        quantity = short_name(QUANTITIES[result.measurement.quantity].name)
        said.append(f"{quantity} {result.text.replace(' ', NO_BREAK)} {result.verdict}")
    if pathologic:
        said.append("like pathologic marrow")
    if not said:
        return ""
    # No unit begins a line; textwrap leaves other spaces than the plain one alone.
    first = [
        one.replace(NO_BREAK, " ") for one in textwrap.wrap(f"{name} {said[0]}", LABEL_LETTERS)
    ]
    return "\n".join([*first, *said[1:]])  # views are narrow, and cut what does not fit


def change_results(
    assessment: Assessment, changes: Sequence[Change], names: bool = False
) -> list[SiteResult]:
    """What to show on each marrow region: what changed most since an earlier visit.

    Of the quantities that can color a region a change beyond error goes first, then their rank.
    """
    found = []
    for region in assessment.study.with_role(Role.MARROW):
        name = region.site or region.name
        own = [
            (not one.changed, math.isnan(one.size), rank, n)
            for n, one in enumerate(changes)
            if one.measured_now == (region.name,)
            and (rank := QUANTITIES[one.quantity].color_rank) is not None
        ]
        change = changes[min(own)[-1]] if own else None
        label = name if names else ""
        if change and change.changed:
            quantity = short_name(QUANTITIES[change.quantity].name)
            shown = QUANTITIES[change.quantity].format(change.second)
            label = f"{name} {quantity} {shown}\n{change.size:+.1f} RC"
        size = change.size if change and not math.isnan(change.size) else None
        found.append(SiteResult(region.name, size, label, scale=CHANGE_SCALE))
    return found


def results_table(
    results: Sequence[Result], node: slicer.vtkMRMLTableNode | None = None
) -> slicer.vtkMRMLTableNode:
    """The results as a table node (in the place of what one given showed); each row says its unit,
    missing numbers are NaN.
    """
    measurements = [result.measurement for result in results]

    def statistic(name: str) -> list[float | None]:
        return [getattr(m.statistics, name) if m.statistics else None for m in measurements]

    ranges = [r.expectation.expected_range if r.expectation else (None, None) for r in results]
    intervals = [m.ci95 or (None, None) for m in measurements]
    table = table_to_node(
        "MarrowAssess results",
        [
            Column("Quantity", [QUANTITIES[m.quantity].name for m in measurements]),
            Column("Site", [m.site for m in measurements]),
            Column("Value", [m.value for m in measurements], "", "in the unit of the next column"),
            Column("Unit", [m.unit or "ratio" for m in measurements]),
            Column("CI low", [low for low, _ in intervals], "", "95 % interval, lower end"),
            Column("CI high", [high for _, high in intervals], "", "95 % interval, upper end"),
            Column("Expected low", [low for low, _ in ranges], "", "2.5th percentile at this age"),
            Column("Expected high", [high for _, high in ranges], "", "97.5th percentile"),
            Column("z-score", [r.z for r in results], "SD"),
            Column("Percentile", [r.percentile for r in results], "%"),
            Column("Verdict", [listed_verdict(r.verdict, r.tone) for r in results]),
            Column("Tone", [r.tone for r in results], "", "expected, unusual or open"),
            Column("Says", [SAYS_SEPARATOR.join(s.text for s in r.statements) for r in results]),
            Column("Reference", [_source(r) for r in results]),
            Column("Cautions", [" ".join(r.cautions) for r in results]),
            Column("How", [m.how for m in measurements], "", "it was measured"),
            Column("Voxels", [float(v) if v else None for v in statistic("voxels")], "voxels"),
            Column("Volume", statistic("volume_mm3"), "mm^3"),
            Column("Mean", statistic("mean"), "", "of the voxels of the measured region"),
            Column("Median", statistic("median")),
            Column("SD", statistic("sd")),
            Column("Regions", [REGION_SEPARATOR.join(m.regions) for m in measurements]),
            Column("DOI", [_doi(r) for r in results], "", "of what speaks first"),
            Column("Records", [_records(r) for r in results], "", "id, source and DOI"),
            Column("Key", [m.quantity for m in measurements], "", "the quantity, for software"),
        ],
        node,
    )
    table.SetLocked(True)  # results are not typed over
    return table


def _doi(result: Result) -> str:
    """Of the reference that scores it, else of the first statement that has one."""
    said = [result.expectation.records] if result.expectation else []
    dois = [record.doi for records in said for record in records]
    for one in result.statements:
        dois += [*(record.doi for record in one.records), one.source]
    return next(filter(None, dois), "")


def _records(result: Result) -> str:
    return RECORD_SEPARATOR.join(
        FIELD_SEPARATOR.join((one.id, one.source, one.doi or "")) for one in result.records
    )


def _source(result: Result) -> str:
    return result.expectation.distribution.source if result.expectation else ""


def plain_rows(assessment: Assessment) -> list[ResultRow]:
    """The median signal of marrow that nothing else is known of, so that a click shows something.

    Alone it says nothing: it depends on coil and protocol.
    """
    rows = []
    study = assessment.study
    for region in assessment.unmeasured:
        for contrast, volume in study.volumes.items():
            if contrast.on_own_grid:
                continue
            median = float(np.nanmedian(region.values(volume.array)))
            name = f"{contrast.value.replace('_', ' ')} signal"
            details = f"Median of {region.voxels} voxels. {PLAIN_SIGNAL_SAYS}"
            rows.append(
                ResultRow(
                    region.site, name, f"{median:.4g}", "", "no reference", None, details,
                    (region.name,), PLAIN_SIGNAL,
                )
            )  # fmt: skip
    return rows
