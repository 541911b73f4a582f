"""What the panel says, in the user's language."""

from __future__ import annotations

import html
from collections.abc import Sequence

import slicer
from slicer.i18n import tr as _

from MarrowAssessLib.scene import choices, visits
from MarrowAssessLib.scene.matrix import MARKS
from MarrowAssessLib.scene.result_rows import ResultRow
from MarrowAssessLib.scene.spectrum_chart import SPECTRUM_ATTRIBUTE

# Blue and orange, on a light and on a dark panel: told apart with every common kind of color
# blindness; the sign and the word say the same.
VERDICT_COLORS = {"below": ("#1f6cae", "#79bcf2"), "above": ("#b45400", "#ffa352")}
LISTED_OUTSIDE = 6  # values outside the expected range that the panel spells out


def missing_inputs(parameters: object) -> str:
    """What has to be chosen before regions can be measured, "" if nothing."""
    if not choices.chosen_volumes(parameters):
        return _("Choose at least one image or map.")
    segmentation = parameters.segmentation
    drawn = segmentation is not None and segmentation.GetSegmentation().GetNumberOfSegments()
    if not drawn and not choices.chosen_markups(parameters):
        return _("Choose a segmentation with segments named like 'L3 marrow', or place a region.")
    return ""


def chart_name(chart: slicer.vtkMRMLPlotChartNode | None) -> str:
    """What the button is called that opens a chart."""
    of_spectrum = chart is not None and chart.GetAttribute(SPECTRUM_ATTRIBUTE)
    return _("Spectrum") if of_spectrum else _("Age curve")


def study_summary(parameters: object | None) -> str:
    """What is chosen, one image a line, and what is wrong with it."""
    chosen = choices.chosen_volumes(parameters) if parameters else {}
    if not chosen:
        return _("No image is chosen: load a study, or choose its images under Images.")
    lines = [_("Check that these are right:")]
    for name, node in chosen.items():
        ground = f" ({said})" if (said := choices.ground_of(name, node)) else ""
        lines.append(f"{name.replace('_', ' ')}: {node.GetName()}{ground}")
    for name, roles in choices.in_two_roles(parameters):
        both = _(" and ").join(role.replace("_", " ") for role in roles)
        lines.append(
            _("{name} is chosen as {roles}: one of them is wrong.").format(name=name, roles=both)
        )
    return "\n".join([*lines, *_studies_said(list(chosen.values()))])


def _studies_said(images: Sequence[slicer.vtkMRMLScalarVolumeNode]) -> list[str]:
    """Which studies the images are of, where they are of several."""
    studies = {study for node in images if (study := visits.study_of(node))}
    if len(studies) < 2:
        return []
    known = visits.visits(images)
    names = ", ".join(visit.name for visit in known)
    if len(known) == 1:
        return [_("Studies of one patient and day: {names}.").format(names=names)]
    return [_("Of several visits, so nothing may fit together: {names}.").format(names=names)]


def verdict_word(verdict: str) -> str:
    """A verdict in the user's language."""
    words = {
        "below": _("below"),
        "within": _("within"),
        "above": _("above"),
        "doubtful": _("doubtful"),
        "no reference": _("no reference"),
    }
    return words[verdict]


def verdict_text(
    rows: Sequence[ResultRow],
    notes: Sequence[str] | None,
    said: Sequence[object],
    said_shown: bool,
    dark: bool,
) -> str:
    """The outcome as rich text: how many values lie outside, which, and what else to know.

    Args:
        rows: what was measured.
        notes: what to know beside them, None where a saved scene brought them.
        said: what is said of values without a z-score (`summary.Headline`).
        said_shown: whether that is spelled out.
        dark: whether the panel is dark.
    """
    if not rows:
        return _("No assessment yet: choose images, place a region, read its numbers here.")
    scored = [row for row in rows if row.z is not None]
    outside = [row for row in scored if row.verdict in VERDICT_COLORS]
    lines = [
        _(
            "{measured} measurements, {scored} with a reference, {outside} outside the "
            "expected 95 % range."
        ).format(
            measured=sum(row.is_measured for row in rows),
            scored=len(scored),
            outside=len(outside),
        )
    ]
    if texture := sum(row.is_texture for row in rows):
        lines.append(_("{count} texture features are in the table.").format(count=texture))
    lines += [_outside_line(row, dark) for row in outside[:LISTED_OUTSIDE]]
    if len(outside) > LISTED_OUTSIDE:
        count = len(outside) - LISTED_OUTSIDE
        lines.append(_("{count} more are in the table.").format(count=count))
    if notes is None:
        lines.append(_("As saved with the scene; Apply measures again."))
    else:
        lines += [html.escape(note) for note in notes]
        lines += _said_lines(said, said_shown)
    return "<br>".join(lines)


def _outside_line(row: ResultRow, dark: bool) -> str:
    finding = f"{row.site} {row.quantity} {row.value}: {verdict_word(row.verdict)}"
    color, sign = VERDICT_COLORS[row.verdict][int(dark)], MARKS[row.verdict]
    finding = html.escape(finding.strip())
    return _("{finding} the expected {range}").format(
        finding=f'<span style="color:{color}">{sign} <b>{finding}</b></span>',
        range=html.escape(row.expected).replace(" ", "&nbsp;"),  # a unit stays with its number
    )


def _said_lines(said: Sequence[object], shown: bool) -> list[str]:
    """About values without a z-score, behind a link: they are long, the numbers stand below."""
    if not said:
        return []
    if not shown:
        text = (
            _("{count} statements without a z-score: show").format(count=len(said))
            if len(said) > 1
            else _("One statement without a z-score: show")
        )
        return [f'<a href="said">{text}</a>']
    lines = [f"<b>{html.escape(line.what)}</b> {html.escape(line.says)}" for line in said]
    return [*lines, f'<a href="said">{_("Hide these statements")}</a>']


def cell_text(row: ResultRow) -> str:
    """All that is known of one number."""
    expected = _("expected {range}").format(range=row.expected) if row.expected else ""
    said = [f"{row.site} {row.quantity} {row.value}".strip(), expected, verdict_word(row.verdict)]
    return "\n".join([", ".join(filter(None, said)), row.details])


def doubt_text(doubts: dict[str, list[str]], shown: str) -> str:
    """The doubtful region that is looked at, and why; the names of the others."""
    text = _("Doubtful: {name}. {reasons}").format(name=shown, reasons=" ".join(doubts[shown]))
    if others := ", ".join(name for name in doubts if name != shown):
        text += " " + _("Doubtful as well: {names}.").format(names=others)
    return text


def placed_text(placed: object) -> str:
    """What one click drew (a `column.Placed`), what hangs on it, and the doubts."""
    said = [_("Placed: {name}.").format(name=placed.region.name), *placed.region.cautions]
    if placed.renewed:
        names = ", ".join(region.name for region in placed.renewed)
        said.append(_("Renewed with it: {names}.").format(names=names))
    if placed.kept:
        said.append(_("Kept as edited by hand: {names}.").format(names=", ".join(placed.kept)))
    if placed.gone:
        said.append(_("No longer found: {names}.").format(names=", ".join(placed.gone)))
    said += [f"{one.name}: {caution}" for one in placed.renewed for caution in one.cautions]
    return " ".join(said)


def column_text(column: object | None) -> str:
    """What was found of a spine (a `column.Column`), and what to look at; None: canceled."""
    if column is None:
        return _("Canceled; nothing was placed.")
    said = [_("Found: {levels}.").format(levels=", ".join(column.bodies)), *column.unsure]
    if ground := getattr(column, "ground", ""):  # of a spine that was found without a click
        said.append(_("Levels {ground}.").format(ground=ground))
    regions = column.regions()
    said += [
        _("Look at {name}: {reasons}").format(name=one.name, reasons=" ".join(one.cautions))
        for one in regions
        if one.voxels and one.cautions and one.role.value != "marrow"
    ]
    if missed := [one.name for one in regions if not one.voxels]:
        said.append(_("Not found: {names}.").format(names=", ".join(missed)))
    return " ".join(said)


def other_grid(parameters: object, error: ValueError) -> str:
    """What lies on another voxel grid, and the question what to do."""
    names = ", ".join(choices.on_other_grids(parameters)) or str(error).split(";")[0]
    return _("Other voxel grid: {names}. Resample?").format(names=names)


def enable(button: object, missing: str, does: str) -> None:
    """Enable a button, or say in its tooltip what is missing; a pressed one stays enabled."""
    button.enabled = not missing or button.checked
    button.toolTip = missing or does


def ask_for_packages(say: object) -> None:
    """Ask for the packages that Slicer lacks; `say` shows that they are being installed."""
    from PDFFMapperLib.install.packages import ensure_packages, missing_packages

    if missing := missing_packages():
        installing = _("Installing {names}, once; this takes about a minute.")
        say(installing.format(names=", ".join(missing)))
        slicer.app.processEvents()
    ensure_packages("MarrowAssess")
