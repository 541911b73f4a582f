"""A phantom's conformance in words: bias, linearity, precision, claims, and what others published.

The limits of a profile are the user's to give, because versions differ; what is printed beside a
result for comparison was read in the abstracts of the papers named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from PDFFMapperLib.water_fat.spectra import fat_spectrum_names

from MarrowAssessLib.catalogue.about import RESEARCH_USE
from MarrowAssessLib.statistics.conformance import (
    LEAST_R_SQUARED,
    SLOPE_RANGE,
    Accuracy,
    Conformance,
    Estimate,
)

PHANTOM_SPECTRUM = "hernando_phantom"
PUBLISHED = (
    "Oil-water vials of 0-100 %, six sites, three vendors, 1.5 and 3 T: bias 0.22 points (0.07 to "
    "0.38), slopes 0.96 to 1.02, intercepts -0.56 to 1.13 points, R^2 above 0.995 (Hernando 2017, "
    "doi 10.1002/mrm.26228).",
    "Agar vials, four sites, three vendors: second minus first scan -0.04 points, limits -0.24 to "
    "0.16 (Zhao 2021, doi 10.1002/mp.15038).",
    "Vials of PDFF 0-30 % with R2* 50-600 1/s, several centers: RC 0.4 points; RDC 3.8 points by a "
    "protocol for high R2*, 6.2 by one for moderate R2* (doi 10.1002/jmri.29775).",
    "Liver against spectroscopy, 1679 people: slope 0.97, R^2 0.96, bias -0.13 points, limits "
    "-3.95 to 3.40 (RSNA-QIBA PDFF committee, Yokoo 2018, doi 10.1148/radiol.2017170550).",
)
_P = 0.05


def judged(
    found: Conformance, max_bias: float | None, max_rc: float | None, max_rdc: float | None
) -> list[dict[str, object]]:
    """Each requirement, what was found, and whether it is met: by the ends of 95 % intervals.

    Linearity is required always, the rest where a limit in percentage points is given.

    Raises:
        ValueError: a limit for what these scans do not tell, or one that is not above 0.
    """
    for name, limit in (("bias", max_bias), ("rc", max_rc), ("rdc", max_rdc)):
        if limit is not None and not 0 < limit < math.inf:
            raise ValueError(f"--max-{name} {limit:g}: expected are percentage points above 0.")
    if max_rc is not None and found.repeatability is None:
        raise ValueError("--max-rc needs two scans that differ of one NAME.")
    if max_rdc is not None and found.reproducibility is None:
        raise ValueError("--max-rdc needs scans that differ of two NAMEs or more.")
    rows = []
    for name, one in found.by_condition.items():
        low, high = SLOPE_RANGE
        rows += [
            _row(f"{name}: slope within {low:g} to {high:g}",
                 low <= one.slope.low and one.slope.high <= high),
            _row(f"{name}: R^2 above {LEAST_R_SQUARED:g}", one.r_squared > LEAST_R_SQUARED),
        ]  # fmt: skip
        if max_bias is not None:
            inside = -max_bias <= one.bias.low and one.bias.high <= max_bias
            rows.append(_row(f"{name}: bias within -{max_bias:g} to {max_bias:g} points", inside))
    if max_rc is not None:
        rows.append(_row(f"RC up to {max_rc:g} points", found.repeatability.rc_high <= max_rc))
    if max_rdc is not None:
        met = found.reproducibility.rdc.high <= max_rdc
        rows.append(_row(f"RDC up to {max_rdc:g} points", met))
    return rows


def _row(requirement: str, met: bool) -> dict[str, object]:
    return {"requirement": requirement, "met": bool(met)}


def spectrum_notes(spectra: Sequence[str]) -> list[str]:
    """What the fat spectra that the maps were made with mean for vials of oil.

    Args:
        spectra: of each map, "" where it is not known.
    """
    notes = []
    for one in dict.fromkeys(spectra):
        if not one:
            notes.append(
                "The fat spectrum of a map is not recorded; one that is not the vials' own shows "
                "as bias."
            )
        elif one in fat_spectrum_names() and one != PHANTOM_SPECTRUM:
            notes.append(
                f"A map was made with the fat spectrum '{one}', which is of tissue; vials of oil "
                f"at room temperature have another ('{PHANTOM_SPECTRUM}'), and the difference "
                "shows as bias."
            )
    if len(set(spectra)) > 1:
        notes.append(f"The maps have different fat spectra ({', '.join(map(_named, spectra))}).")
    return notes


def _named(spectrum: str) -> str:
    return spectrum or "unknown"


def conformance_text(found: Conformance, requirements: Sequence[dict], notes: Sequence[str]) -> str:
    """The whole report as plain text."""
    truth, scans = found.truth, sum(len(v) for v in found.measured.values())
    lines = [
        "PDFF of a phantom against true values",
        RESEARCH_USE,
        "",
        f"{len(truth)} vials of {truth.min():g} to {truth.max():g} %, {_count(scans, 'scan')} of "
        f"{_count(len(found.measured), 'condition')}; nothing is said outside of that range.",
        "Differences are in percentage points, with 95 % intervals.",
        "",
    ]
    for name, one in found.by_condition.items():
        lines += _accuracy(f"{name}, {_count(len(found.measured[name]), 'scan')}", one)
    if len(found.by_condition) > 1:
        lines += _accuracy("Mean of the conditions", found.overall)
    lines += [*_precision(found), "Claims"]
    lines += [f"  {claim}" for claim in claims(found)]
    lines += ["", "Requirements"]
    lines += [f"  {'met' if one['met'] else 'NOT MET'}: {one['requirement']}"
              for one in requirements]  # fmt: skip
    lines += ["", *(f"Note: {note}" for note in notes)]
    lines += ["Published, for comparison", *(f"  {one}" for one in PUBLISHED)]
    lines += [
        "Method: Obuchowski 2016, doi 10.1016/j.acra.2015.12.020; Raunig 2015, doi "
        "10.1177/0962280214537344. Limits of a profile are those that you give.",
    ]
    return "\n".join(lines) + "\n"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _accuracy(head: str, one: Accuracy) -> list[str]:
    line = "" if math.isnan(one.p_quadratic) else f", quadratic term p {_p(one.p_quadratic)}"
    curved = one.p_quadratic < _P
    return [
        head,
        f"  Bias {_shown(one.bias)}; limits of agreement {one.limits[0]:.2f} to "
        f"{one.limits[1]:.2f}",
        f"  Linearity: slope {_shown(one.slope, 3)}, intercept {_shown(one.intercept)}, "
        f"R^2 {_r_squared(one.r_squared)}{line}",
        *(["  The relation is curved: slope and intercept do not describe it."] if curved else []),
        "",
    ]


def _precision(found: Conformance) -> list[str]:
    lines = []
    if within := found.repeatability:
        rc = Estimate(within.rc, within.rc_low, within.rc_high)
        lines += [f"Repeatability: wSD {within.wsd:.2f}, RC {_shown(rc)}"]
        shift = found.scan_shift
        lines += [f"  Second minus first scan {_shown(shift)}"]
        if shift.low > 0 or shift.high < 0:
            lines += ["  The scans differ as a whole: vials are no independent repeats, and the "
                      "interval of RC is too narrow."]  # fmt: skip
    else:
        lines += ["Repeatability: not told; it needs two scans that differ of one NAME."]
    if between := found.reproducibility:
        lines += [f"Reproducibility over {between.conditions} conditions: SD {between.sd:.2f}, "
                  f"RDC {_shown(between.rdc)}"]  # fmt: skip
    else:
        lines += ["Reproducibility: not told; it needs scans that differ of two NAMEs or more."]
    return [*lines, ""]


def claims(found: Conformance) -> list[str]:
    """What may be said of one measurement and of a change, in the form of QIBA's claims."""
    said = []
    if within := found.repeatability:
        said += [
            f"A measured change of {within.rc:.2f} points or more on one scanner indicates with "
            f"95 % confidence that a true change has occurred (up to {within.rc_high:.2f} points "
            "by the interval).",
            f"For a measured PDFF of Y, the 95 % interval of the true one is Y -+ "
            f"{1.96 * within.wsd:.2f} points where bias is negligible.",
        ]
    if between := found.reproducibility:
        said.append(
            f"A measured change of {between.rdc.value:.2f} points or more between the conditions "
            "indicates with 95 % confidence that a true change has occurred (up to "
            f"{between.rdc.high:.2f} points by the interval)."
        )
    return said or ["None: claims of change need repeated scans or several conditions."]


def _shown(one: Estimate, digits: int = 2) -> str:
    return f"{one.value:.{digits}f} ({one.low:.{digits}f} to {one.high:.{digits}f})"


def _r_squared(value: float) -> str:
    return "above 0.9999" if value > 0.9999 else f"{value:.4f}"


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"
