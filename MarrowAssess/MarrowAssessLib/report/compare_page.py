"""The page of `marrowassess compare`: how large differences are first, p last."""

from __future__ import annotations

from html import escape

from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.cohort.comparison import Comparison, unit_of
from MarrowAssessLib.report.curve_plots import curve_svg, worm_svg
from MarrowAssessLib.report.page import interval, p_shown, page, shown, table
from MarrowAssessLib.statistics.curves import PERCENTS

_EFFECT = 0.05
MOST_CURVES = 16


def compare_page(found: Comparison) -> str:
    """One HTML page with every table that has rows."""
    parts = [f'<p class="fine">{escape(note)}</p>' for note in found.notes]
    if found.repeatability:
        parts += ["<h2>Repeated examinations</h2>", _WHAT["repeats"], _repeats(found)]
    if found.agreement:
        parts += ["<h2>Agreement</h2>", _WHAT["agreement"], _agreement(found)]
    if found.groups:
        parts += ["<h2>Groups</h2>", _WHAT["groups"], _groups(found)]
    if found.change:
        parts += ["<h2>Change over time</h2>", _WHAT["change"], _change(found)]
    if found.curves:
        parts += ["<h2>Reference curves</h2>", _WHAT["curves"], _curves(found), *_plots(found)]
    return page("Comparison of a cohort", parts)


_WHAT = {
    "repeats": (
        '<p class="fine">wSD: scatter of one examination of unchanged marrow. RC: 19 of 20 '
        "differences of two examinations are smaller (Raunig 2015). Bias and limits: second minus "
        "first examination (Bland and Altman 1986, exact intervals by Carkeet 2015); proportional: "
        "p that differences do not grow with the value. All with 95 % intervals; all sites: "
        "patients, not regions, drawn anew.</p>"
    ),
    "agreement": (
        '<p class="fine">Intraclass correlation with 95 % interval (Shrout and Fleiss 1979, McGraw '
        "and Wong 1996) of patients with every value, and the SDs between patients, between "
        "sessions, readers, scanners or centers, and of what remains.</p>"
    ),
    "groups": (
        '<p class="fine">One value a patient, the mean of visits (and of sites in "all sites"). '
        "Difference B - A adjusted for what is named, by robust errors (HC3); effect: over the "
        "pooled SD (Hedges); shift: Hodges and Lehmann; AUC: chance that one of B has the higher "
        "value (DeLong). Marked rows stand after adjustment by Holm over all rows.</p>"
    ),
    "change": (
        '<p class="fine">Common slope of patients with visits on two days or more (random '
        "intercepts by REML; errors by leaving out one patient after another).</p>"
    ),
    "curves": (
        '<p class="fine">Percentiles of normal people over age (GAMLSS, normal case on a power '
        "scale, chosen by AICc), and how many % of them lie below each; P3 and P97 from 100 people "
        "on. Worm plot (van Buuren and Fredriks 2001): 19 of 20 points within the dashed lines. "
        "<code>marrowassess references --add-cohort controls.csv</code> makes them your "
        "references.</p>"
    ),
}


def _place(row: dict) -> list[str]:
    quantity = row["quantity"]
    name = QUANTITIES[quantity].name if quantity in QUANTITIES else quantity
    return [name, row["site"], unit_of(quantity) or "ratio"]


_PLACE = ["Quantity", "Site", "Unit"]


def _repeats(found: Comparison) -> str:
    heads = [*_PLACE, "n", "wSD", "wCV (%)", "RC", "Bias", "Lower limit", "Upper limit", "p prop."]
    rows = [
        [
            *_place(row), str(row["n"]), shown(row["wsd"]), shown(row["wcv_percent"], 2),
            interval(row, "rc", "rc_low", "rc_high"),
            *(interval(row, name, f"{name}_low", f"{name}_high") if row.get(name) is not None
              else "-" for name in ("bias", "lower", "upper")),
            p_shown(row.get("p_proportional")),
        ]
        for row in found.repeatability
    ]  # fmt: skip
    return table(heads, rows)


def _agreement(found: Comparison) -> str:
    """A line for each quantity, site and kind of rater, with all forms beside each other."""
    forms = ("ICC(1,1)", "ICC(2,1)", "ICC(3,1)")
    heads = [*_PLACE, "Between", "n", "Left out", *forms, "SD patients", "SD between", "SD rest"]
    lines: dict[tuple, dict[str, dict]] = {}
    for row in found.agreement:
        lines.setdefault((row["quantity"], row["site"], row["between"]), {})[row["form"]] = row
    rows = []
    for of_form in lines.values():
        row = next(iter(of_form.values()))
        shown_forms = [
            f"{one['icc']:.2f} ({one['low']:.2f} to {one['high']:.2f})" if one else "-"
            for one in map(of_form.get, forms)
        ]
        sds = (row["sd_patient"], row["sd_between"], row["sd_rest"])
        rows.append(
            [*_place(row), f"{row['raters']} {row['between']}s", str(row["n"]),
             str(row["left_out"]), *shown_forms, *map(shown, sds)]
        )  # fmt: skip
    return table(heads, rows)


def _groups(found: Comparison) -> str:
    heads = [*_PLACE, "A", "n", "Mean", "B", "n", "Mean", "Difference", "Effect", "Shift", "AUC",
             "p", "p (Holm)", "p (BH)", "Adjusted for"]  # fmt: skip
    rows = [
        [
            *_place(row), row["a"], str(row["n_a"]), shown(row["mean_a"]), row["b"],
            str(row["n_b"]), shown(row["mean_b"]), interval(row, "difference", "low", "high"),
            f"{row['effect']:.2f}", interval(row, "shift", "shift_low", "shift_high"),
            f"{row['auc']:.2f} ({shown(row['auc_low'], 2)} to {shown(row['auc_high'], 2)})",
            *map(p_shown, (row["p"], row["p_holm"], row["p_bh"])), row["adjusted_for"] or "nothing",
        ]
        for row in found.groups
    ]  # fmt: skip
    return table(heads, rows, [row["p_holm"] < _EFFECT for row in found.groups])


def _change(found: Comparison) -> str:
    heads = [*_PLACE, "Group", "n", "Visits", "Change a year", "p"]
    rows = [
        [
            *_place(row), row["group"], str(row["n"]), str(row["visits"]),
            interval(row, "per_year", "low", "high"), p_shown(row["p"]),
        ]
        for row in found.change
    ]  # fmt: skip
    return table(heads, rows)


def _curves(found: Comparison) -> str:
    heads = [*_PLACE, "Sex", "n", "Ages", "Scale", *(f"Below P{p}" for p in PERCENTS)]
    scales = {1.0: "value", 0.5: "square root", 0.0: "logarithm"}
    rows = [
        [
            *_place(row), row["sex"], str(row["n"]), f"{row['age_min']:.0f}-{row['age_max']:.0f}",
            scales[row["power"]], *(f"{row[f'below_p{p}']:.1f} %"
                                    if row[f"below_p{p}"] is not None else "" for p in PERCENTS),
        ]
        for row in found.curves
    ]  # fmt: skip
    return table(heads, rows)


def _plots(found: Comparison) -> list[str]:
    """Curve and worm plot of each, the first ones where there are many."""
    figures = []
    for row, curve in list(zip(found.curves, found.fitted, strict=True))[:MOST_CURVES]:
        name, site, unit = _place(row)
        who = {"F": "women", "M": "men"}[row["sex"]]
        title = f"{name} {site} ({unit}), {who}"
        figures += [curve_svg(curve, title), worm_svg(curve, f"Worm plot: {name} {site}, {who}")]
    return ['<div class="plots">', *(f"<figure>{one}</figure>" for one in figures), "</div>"]
