"""What the panel says of numbers, in the user's language."""

from __future__ import annotations

import html
from collections.abc import Sequence

from slicer.i18n import tr as _

from MarrowAssessLib.findings.statement import listed_verdict
from MarrowAssessLib.scene.matrix import MARKS
from MarrowAssessLib.scene.result_rows import ResultRow
from MarrowAssessLib.study.map_scale import without_options

# Blue and orange, on a light and on a dark panel: told apart with every common kind of color
# blindness; the sign and the word say the same.
VERDICT_COLORS = {"below": ("#1f6cae", "#79bcf2"), "above": ("#b45400", "#ffa352")}
LISTED_OUTSIDE = 6  # values outside the expected range that the panel spells out


def verdict_text(
    rows: Sequence[ResultRow],
    notes: Sequence[str] | None,
    said: Sequence[object],
    said_shown: bool,
    dark: bool,
) -> str:
    """The outcome as rich text: what lies outside, what else to know, and out of how many.

    Args:
        rows: what was measured.
        notes: what to know beside them, None where a saved scene brought them.
        said: what is said of values without a z-score (`summary.Headline`).
        said_shown: whether that is spelled out.
        dark: whether the panel is dark.
    """
    scored = [row for row in rows if row.z is not None]
    outside = [row for row in scored if row.verdict in VERDICT_COLORS]
    lines = [_outside_line(row, dark) for row in outside[:LISTED_OUTSIDE]]
    if len(outside) > LISTED_OUTSIDE:
        count = len(outside) - LISTED_OUTSIDE
        lines.append(_("{count} more are in the table.").format(count=count))
    lines += [html.escape(without_options(note)) for note in notes or ()]
    lines.append(
        _(
            "{measured} measurements, {scored} with a reference, {outside} outside the "
            "expected 95 % range."
        ).format(
            measured=sum(row.is_measured for row in rows),
            scored=len(scored),
            outside=len(outside),
        )
    )
    if texture := sum(row.is_texture for row in rows):
        lines.append(_("{count} texture features are in the table.").format(count=texture))
    if notes is None:
        lines.append(_("As saved with the scene; Apply measures again."))
    else:
        lines += _said_lines(said, said_shown)
    return "<br>".join(lines)


def _outside_line(row: ResultRow, dark: bool) -> str:
    value, expected = (  # a unit stays with its number
        html.escape(one).replace(" ", "&nbsp;") for one in (row.value, row.expected)
    )
    named = html.escape(f"{row.site} {row.quantity}".strip())
    finding = f"{named} {value}: {verdict_word(row.verdict)}"
    color, sign = VERDICT_COLORS[row.verdict][int(dark)], MARKS[row.verdict]
    return _("{finding} the expected {range}").format(
        finding=f'<span style="color:{color}">{sign} <b>{finding}</b></span>', range=expected
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
    verdict = verdict_word(listed_verdict(row.verdict, row.tone))  # of an old table as of a new
    said = [f"{row.site} {row.quantity} {row.value}".strip(), expected, verdict]
    return "\n".join([", ".join(filter(None, said)), without_options(row.details)])


def verdict_word(verdict: str) -> str:
    """A verdict in the user's language."""
    words = {
        "below": _("below"),
        "within": _("within"),
        "above": _("above"),
        "doubtful": _("doubtful"),
        "no reference": _("no reference"),
        "no z-score": _("no z-score"),
    }
    return words[verdict]
