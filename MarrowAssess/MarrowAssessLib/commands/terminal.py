"""What commands say to the person at the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from MarrowAssessLib.findings.result import Assessment


def summary(assessment: Assessment) -> list[str]:
    """The results in a few lines of text: at a glance, each scored value, the signatures."""
    from MarrowAssessLib.catalogue.quantities import QUANTITIES
    from MarrowAssessLib.findings.summary import headlines
    from MarrowAssessLib.prediction.patient_score import NO_DIAGNOSIS

    lines = [f"{line.tone or '-':9} {line.text}" for line in headlines(assessment)]
    lines.append("")
    rows = [
        (
            result.measurement.site,
            QUANTITIES[result.measurement.quantity].name,
            result.text,
            f"expected {result.expected_text}",
            "-" if result.z is None else f"z {result.z:+.1f}",
            result.verdict,
        )
        for result in assessment.results
        if result.expectation
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
    for one in assessment.signatures:
        flip = ", flip-flop sign" if one.flip_flop else ""
        lines.append(f"{one.site or one.region:16} signature: {one.best}{flip}")
    for score in assessment.scores:
        lines += [f"Score: {score.text}", *(f"  {limit}" for limit in score.limits), NO_DIAGNOSIS]
    return [*lines, assessment.counts_text]


def say(text: str) -> None:
    """Progress for the person at the terminal, apart from the results on standard output."""
    print(f"{text} ...", file=sys.stderr, flush=True)
