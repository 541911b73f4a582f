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
    for result in assessment.results:
        if result.expectation:
            name = QUANTITIES[result.measurement.quantity].name
            z = "      -" if result.z is None else f"z {result.z:+5.1f}"
            lines.append(
                f"{result.measurement.site:16} {name:24} {result.text:>12}  expected "
                f"{result.expected_text:16} {z}  {result.verdict}"
            )
    for one in assessment.signatures:
        flip = ", flip-flop sign" if one.flip_flop else ""
        lines.append(f"{one.site or one.region:16} signature: {one.best}{flip}")
    for score in assessment.scores:
        lines += [f"Score: {score.text}", *(f"  {limit}" for limit in score.limits), NO_DIAGNOSIS]
    return [*lines, assessment.counts_text]


def say(text: str) -> None:
    """Progress for the person at the terminal, apart from the results on standard output."""
    print(f"{text} ...", file=sys.stderr, flush=True)
