"""What the reference answers: by age, sex and kind of study, and how well the PDFF curve predicts.

python Testing/benchmarks/references.py            the table of answers (about a minute)
python Testing/benchmarks/references.py --curve    leave-one-group-out errors of the adult curve
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace

import numpy as np
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.findings.assessment import assess
from MarrowAssessLib.findings.result import Result
from MarrowAssessLib.findings.statements import FREQUENCY, MODELLED, PUBLISHED, RULE
from MarrowAssessLib.references.distributions import age_group
from MarrowAssessLib.references.group_curve import AgeGroup, fit_mean, over_band
from MarrowAssessLib.references.records import data
from MarrowAssessLib.sample.phantom import LumbarPhantom, lumbar_phantom
from MarrowAssessLib.study.study import Study

AGES = (0.5, 2, 5, 10, 15, 25, 45, 70)
KINDS = ("verdict", FREQUENCY, RULE, MODELLED, PUBLISHED, "nothing")


def studies(phantom: LumbarPhantom) -> dict[str, Study]:
    """The four routine studies: maps hold the true values."""
    study = phantom.study()
    tissues = [phantom.patient.tissues[name] for name in phantom.patient.tissues]
    index = phantom.tissue.array

    def true_map(contrast: Contrast, values: list[float]) -> Study:
        volume = phantom.tissue.with_array(np.float32(values)[index], contrast.value)
        return replace(study, volumes={contrast: volume})

    def images(*contrasts: Contrast) -> Study:
        return replace(study, volumes={c: study.volumes[c] for c in contrasts})

    return {
        "T1 + STIR": images(Contrast.T1, Contrast.FS_T2),
        "in/opposed": images(Contrast.IN_PHASE, Contrast.OPPOSED_PHASE),
        "PDFF": true_map(Contrast.PDFF, [100 * t.pdff for t in tissues]),
        "ADC": true_map(Contrast.ADC, [t.d * (1 - t.f) + t.f * t.dstar * 0.2 for t in tissues]),
    }


def kinds_of(result: Result) -> list[str]:
    """What a result is answered by; "nothing" where it is not."""
    found = ["verdict"] if result.z is not None else []
    found += sorted({one.kind for one in result.statements}, key=KINDS.index)
    return found or ["nothing"]


def answers() -> None:
    """Print how many results of each study are answered, by what, and what is missing."""
    phantom = lumbar_phantom()
    empty = []
    print(f"{'study':12} {'age':>5} sex  results  " + "  ".join(f"{k:>9}" for k in KINDS))
    for name, study in studies(phantom).items():
        for age in AGES:
            for sex in "FM":
                results = assess(replace(study, age_years=float(age), sex=sex)).results
                counts = Counter(kind for r in results for kind in kinds_of(r))
                print(
                    f"{name:12} {age:5g} {sex}    {len(results):7}  "
                    + "  ".join(f"{counts[k]:9}" for k in KINDS),
                    flush=True,
                )
                if counts["nothing"] == len(results):
                    empty.append((name, age, sex))
                missing = {r.no_reference for r in results if kinds_of(r) == ["nothing"]}
                for reason in sorted(missing)[:2]:
                    print(f"{'':30}{reason}")
    print(f"Studies without any answer: {empty or 'none'}")


def leave_one_group_out() -> None:
    """Predict each group of ages from the others: by the curve, and by the nearest band."""
    (entry,) = data()["curves"]
    knots = np.arange(20, 81, 10.0)
    errors: dict[str, list[float]] = {"curve": [], "nearest band": []}
    for sex, records in entry["sexes"].items():
        groups = tuple(map(age_group, records))
        for left in groups:
            rest = tuple(g for g in groups if g is not left)
            curve = float(over_band(left, knots) @ fit_mean(rest, knots)) - left.mean
            near = min(rest, key=lambda g: abs(_middle(g) - _middle(left))).mean - left.mean
            errors["curve"].append(curve)
            errors["nearest band"].append(near)
            print(
                f"{sex} {left.start:g}-{left.stop:g}: curve {curve:+.1f}, nearest band {near:+.1f}"
            )
    for name, found in errors.items():
        print(f"{name}: RMS {np.sqrt(np.mean(np.square(found))):.1f} points of PDFF")


def _middle(group: AgeGroup) -> float:
    return (group.start + group.stop) / 2


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curve", action="store_true", help="leave-one-group-out errors")
    leave_one_group_out() if parser.parse_args().curve else answers()
