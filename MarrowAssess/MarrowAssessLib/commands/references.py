"""`marrowassess references`: what is expected at this age, and who says so."""

from __future__ import annotations

import argparse
import textwrap

from MarrowAssessLib.catalogue.anatomy import SPINE_REGIONS, parse_site, spine_region
from MarrowAssessLib.catalogue.patient import SEX_WORDS, age_text, check_age, parse_age, parse_sex
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Quantity
from MarrowAssessLib.references.beside import ContextValue, Threshold, context_values, thresholds
from MarrowAssessLib.references.cohort_csv import read_control_cohort
from MarrowAssessLib.references.control_cohort import save_control_cohort
from MarrowAssessLib.references.distributions import Distribution
from MarrowAssessLib.references.expected import Expectation, expected, no_reference_reason
from MarrowAssessLib.references.findings_by_age import (
    Frequency,
    frequencies,
)
from MarrowAssessLib.references.limits import percentile_text
from MarrowAssessLib.references.marrow_patterns import marrow_conversion, t1_disc_pattern
from MarrowAssessLib.references.notes import notes_on
from MarrowAssessLib.references.overview import overview
from MarrowAssessLib.references.own_controls import add_study, added_text
from MarrowAssessLib.references.records import Record
from MarrowAssessLib.references.repeatability import repeatability

WIDTH = 96


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess references`."""
    parser.add_argument("--quantity", help=f"one of: {', '.join(QUANTITIES)}")
    parser.add_argument("--site", default="", help="L3, L1-L4, lumbar, iliac crest ...")
    parser.add_argument("--age", help="34, 0.5, '8 months'")
    parser.add_argument("--sex", default="", help="M or F")
    parser.add_argument("--value", type=float, help="a measured value to place in the reference")
    parser.add_argument(
        "--add-cohort",
        metavar="CSV",
        help="add a control cohort: columns quantity, site, sex, age_years, value",
    )
    parser.add_argument(
        "--add-study",
        metavar="JSON",
        help="add a normal study to your own controls: the assessment.json of its result",
    )
    parser.add_argument("--name", help="name of the cohort (default: the file's name; controls)")
    parser.add_argument(
        "--plot", metavar="FILE", help="draw every source of --quantity over age (SVG)"
    )


def run(args: argparse.Namespace) -> int:
    """Print or draw the reference, list all that is known, or add controls; 0 on success.

    Raises:
        FileNotFoundError, ValueError: something was given that cannot be read.
    """
    if args.add_cohort:
        cohort = read_control_cohort(args.add_cohort, args.name)
        path = save_control_cohort(cohort)
        print(f"Added control cohort '{cohort.name}' to {path}:")
        for part in cohort.curves:
            group = " ".join(word for word in (part.quantity, part.site, part.sex) if word)
            curve = part.curve
            print(f"  {group}: {curve.n} controls, {curve.age_min:g}-{curve.age_max:g} years")
        return 0
    if args.add_study:
        print(added_text(*add_study(args.add_study, args.name or "controls")))
        return 0
    if args.plot:
        print(f"Drawn: {write_plot(args.plot, args.quantity, args.site, args.sex)}")
        return 0
    age_years = parse_age(args.age or "")
    if args.quantity is None and age_years is None and not args.site:
        print(overview_text())
        return 0
    if args.quantity is None:
        if age_years is None or not args.site:
            raise ValueError(
                "Give --quantity for its reference, --site and --age for the marrow expected "
                "there, or nothing for a list of what is known."
            )
        print(pattern_text(args.site, age_years))
        return 0
    print(reference_text(args.quantity, args.site, age_years, args.sex, args.value))
    return 0


def reference_text(
    quantity: str,
    site: str = "",
    age_years: float | None = None,
    sex: str | None = None,
    value: float | None = None,
) -> str:
    """The reference of a quantity as a readable text.

    Raises:
        ValueError: unknown quantity, site or sex, or an impossible age.
    """
    found = expected(quantity, site, age_years, sex)
    known = QUANTITIES[quantity]
    person = [age_text(age_years) or "age not known"]
    person += [SEX_WORDS[parse_sex(sex)]] if parse_sex(sex) else []
    lines = [f"{known.name}{f' at {site}' if site else ''}, {', '.join(person)}", known.meaning, ""]
    if found is None:
        reason = no_reference_reason(quantity, site, age_years, sex)
        lines += [_item("Expected", f"{reason}.")]
    else:
        lines += _score_lines(found, value) if value is not None else []
        lines += _distribution_lines("Expected", found.distribution)
        for other in found.others:
            lines += _distribution_lines("Beside it", other)
        lines += [_item("Agreement", found.spread)]
        lines += [_item("Caution", text) for text in found.cautions]
    lines += _threshold_lines(thresholds(quantity, site, age_years, sex), known, value)
    lines += _frequency_lines(quantity, site, age_years, sex)
    lines += _repeatability_lines(quantity)
    lines += _context_lines(
        context_values(quantity, site, age_years, sex, other_techniques=True), quantity
    )
    notes = [n for n in notes_on(quantity, age_years, site) if n.kind != "caution" or not found]
    lines += [""] if notes else []
    lines += [_item(n.kind.capitalize(), f"{n.text} {_cite(n.records)}") for n in notes]
    return "\n".join(lines).rstrip()


def pattern_text(site: str, age_years: float) -> str:
    """The marrow expected at a site and age, and the vertebra's T1 signal against disc.

    Raises:
        ValueError: unknown site or impossible age.
    """
    age = check_age(age_years)
    conversion = marrow_conversion(site, age)
    lines = [f"Marrow at {site}, {age:g} years", ""]
    if conversion is None:
        lines += ["No source says at what age marrow converts there."]
    else:
        lines += [f"Expected   {conversion.marrow} marrow"]
        lines += [_item("", f"{conversion.text} {_cite(conversion.records)}")]
    if spine_region(parse_site(site)) or parse_site(site) in SPINE_REGIONS.values():
        pattern = t1_disc_pattern(age)
        lines += ["", f"T1, disc   vertebra {pattern.expected}"]
        lines += [_item("", f"{pattern.text} {_cite(pattern.records)}")]
    if seen := frequencies(parse_site(site), age):
        lines += ["", "Seen in normal people of this age"]
        lines += [_item("", _frequency_text(one)) for one in seen]
    return "\n".join(lines)


def _score_lines(found: Expectation, value: float) -> list[str]:
    known = QUANTITIES[found.quantity]
    shown = percentile_text(found.percentile(value))
    return [
        _item(
            "Value",
            f"{known.format(value)}: {found.verdict(value)} the expected range, "
            f"z {found.z_score(value):+.1f}, percentile {shown}",
        ),
        *(
            _item("", f"{other.source} gives another verdict (z {other.z_score(value):+.1f})")
            for other in found.dissenting(value)
        ),
    ]


def _distribution_lines(label: str, one: Distribution) -> list[str]:
    known = QUANTITIES[one.quantity]
    low, high = one.expected_range
    n = f"n = {one.n}" if one.n else "n not stated"
    where = f"{one.site}, " if one.site else ""
    return [
        _item(
            label,
            f"{low:.{known.digits}f} to {known.format(high)} (95 %), mean "
            f"{one.mean:.{known.digits}f}, SD {one.sd:.{known.digits}f}",
        ),
        _item("", f"{where}{SEX_WORDS[one.sex]}, {one.ages}, {n}; {one.population}."),
        *(
            _item("", f"{r.citation}{f', doi {r.doi}' if r.doi else ''} [{r.id}; {r.reading}]")
            for r in one.records
        ),
    ]


def _threshold_lines(cut_offs: list[Threshold], known: Quantity, value: float | None) -> list[str]:
    if not cut_offs:
        return []
    lines = ["", "Published cut-offs (shown, never a verdict)"]
    for one in cut_offs:
        words = [f"{one.side} {one.value:g} {known.unit}".rstrip() + f": {one.meaning}"]
        words += [f"of a {one.applies_to} only"] if one.applies_to != "marrow" else []
        words += ["crossed"] if value is not None and _tells(one, value) else []
        words += [one.accuracy] if one.accuracy else []
        lines += [_item("", f"{'; '.join(words)}. {_cite(one.records)}")]
    cautions = dict.fromkeys(one.caution for one in cut_offs if one.caution)
    return lines + [_item("Caution", text) for text in cautions]


def _frequency_lines(
    quantity: str, site: str, age_years: float | None, sex: str | None
) -> list[str]:
    """How often normal people of the age show what this number tells."""
    if age_years is None or not site:
        return []
    found = frequencies(parse_site(site), age_years, sex, quantity)
    return ["", "How often normal people show it"] * bool(found) + [
        _item("", _frequency_text(one)) for one in found
    ]


def _frequency_text(one: Frequency) -> str:
    note = f" {one.note}" if one.note else ""
    by_eye = f" By eye: {one.by_eye}." if one.by_eye else ""
    return f"{one.text}.{note}{by_eye} {_cite(one.records)}"


def _repeatability_lines(quantity: str) -> list[str]:
    known = repeatability(quantity)
    if known is None:
        return []
    return ["", _item("Repeats", f"{known.text}. {_cite(known.records)}")]


def overview_text() -> str:
    """What is known, one line for each quantity and kind: ages, sites, sources."""
    rows = [("Quantity", "What", "Ages", "Sites", "n", "Sources"), *overview()]
    rows = [tuple(map(str, row)) for row in rows]
    widths = [min(max(len(row[k]) for row in rows), w) for k, w in enumerate((32, 10, 24, 26, 9))]
    lines = []
    for row in rows:
        cells = [
            textwrap.shorten(c, w, placeholder="...") for c, w in zip(row, widths, strict=False)
        ]
        lines.append(
            "  ".join(f"{c:<{w}}" for c, w in zip(cells, widths, strict=True)) + f"  {row[5]}"
        )
    lines.insert(1, "-" * WIDTH)
    lines += ["", "One of them: --quantity marrow_pdff --site L3 --age 40 --sex F"]
    return "\n".join(line.rstrip() for line in lines)


def write_plot(path: str, quantity: str | None, site: str, sex: str) -> str:
    """Draw every source of a quantity over age; the path of the picture.

    Raises:
        ValueError: no quantity, or one that no source covers by age.
    """
    from PDFFMapperLib.images.files import written_whole

    from MarrowAssessLib.report.sources_plot import sources_svg

    if not quantity:
        raise ValueError("--plot needs --quantity, such as marrow_pdff.")
    picture = sources_svg(quantity, site, parse_sex(sex))
    with written_whole(path) as temporary:
        temporary.write_text(picture, encoding="utf-8")
    return path


def _tells(one: Threshold, value: float) -> bool:
    """Whether crossing is worth saying: not of unverified or of a lesion's cut-offs."""
    unverified = any(record.evidence == "memory" for record in one.records)
    return one.applies_to == "marrow" and not unverified and one.crossed(value)


def _context_lines(beside: list[ContextValue], quantity: str) -> list[str]:
    if not beside:
        return []
    lines = ["", "Published, but not used to score"]
    for one in beside:
        technique = f"{QUANTITIES[one.quantity].name} " if one.quantity != quantity else ""
        where = f" at {one.site}" if one.site else ""
        lines += [
            _item(
                "",
                f"{technique}{one.value}{where}, {SEX_WORDS[one.sex]}, {one.ages}; "
                f"{one.population}: {one.why_not}. {_cite((one.record,))}",
            )
        ]
    return lines


def _item(label: str, text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=f"{label:<11}",
        subsequent_indent=" " * 11,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _cite(records: tuple[Record, ...]) -> str:
    by_source: dict[str, list[Record]] = {}
    for record in records:
        by_source.setdefault(record.source, []).append(record)
    return "; ".join(
        f"{source} [{', '.join(r.id for r in group)}; {group[0].reading}]"
        for source, group in by_source.items()
    )
