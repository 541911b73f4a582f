"""`marrowassess references`: what is expected at this age, and who says so."""

from __future__ import annotations

import argparse
import textwrap

from MarrowAssessLib.control_cohort import (
    check_age,
    parse_sex,
    read_control_cohort,
    save_control_cohort,
)
from MarrowAssessLib.quantities import QUANTITIES
from MarrowAssessLib.references import (
    Distribution,
    Record,
    context_values,
    expected,
    marrow_conversion,
    no_reference_reason,
    notes_on,
    t1_disc_pattern,
    thresholds,
)

WIDTH = 96
_SEX = {"M": "men", "F": "women", "both": "both sexes"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess references`."""
    parser.add_argument("--quantity", help=f"one of: {', '.join(QUANTITIES)}")
    parser.add_argument("--site", default="", help="L3, L1-L4, lumbar, iliac crest ...")
    parser.add_argument("--age", type=float, help="years (6 months = 0.5)")
    parser.add_argument("--sex", default="", help="M or F")
    parser.add_argument("--value", type=float, help="a measured value to place in the reference")
    parser.add_argument(
        "--add-cohort",
        metavar="CSV",
        help="add a control cohort: columns quantity, site, sex, age_years, value",
    )
    parser.add_argument("--name", help="name of the cohort (default: the file's name)")


def run(args: argparse.Namespace) -> int:
    """Print the reference, or add a cohort; 0 on success.

    Raises:
        ValueError: something was given that cannot be read.
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
    if args.quantity is None:
        if args.age is None or not args.site:
            raise ValueError(
                "Give --quantity for its reference, or --site and --age for the marrow expected "
                "there."
            )
        print(pattern_text(args.site, args.age))
        return 0
    print(reference_text(args.quantity, args.site, args.age, args.sex, args.value))
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
    person = [f"{age_years:g} years"] if age_years is not None else ["age not known"]
    person += [_SEX[parse_sex(sex)]] if parse_sex(sex) else []
    lines = [f"{known.name}{f' at {site}' if site else ''}, {', '.join(person)}", known.meaning, ""]
    if found is None:
        lines += [f"{no_reference_reason(quantity, site, age_years, sex).capitalize()}.", ""]
    else:
        if value is not None:
            lines += [
                f"Value      {known.format(value)}: {found.verdict(value)} the expected range, "
                f"z {found.z_score(value):+.1f}, percentile {found.percentile(value):.0f}",
            ]
            lines += [
                f"           {other.source} would say otherwise (z {other.z_score(value):+.1f})"
                for other in found.dissenting(value)
            ]
        lines += _distribution_lines("Expected", found.distribution, known)
        for other in found.others:
            lines += _distribution_lines("Beside it", other, known)
        lines += [f"Agreement  {found.spread}"]
        lines += [_item("Caution", text) for text in found.cautions]
        lines += [""]
    cut_offs = thresholds(quantity, site, age_years, sex)
    if cut_offs:
        lines += ["Published cut-offs (shown, never a verdict):"]
        for one in cut_offs:
            crossed = " [crossed]" if value is not None and one.crossed(value) else ""
            detail = "; ".join(text for text in (one.accuracy, one.caution) if text)
            lines += [
                _item(
                    "",
                    f"{one.side} {one.value:g} {known.unit}".rstrip() + f": {one.meaning}"
                    f"{crossed}. {detail + '. ' if detail else ''}{_cite(one.records)}",
                )
            ]
        lines += [""]
    beside = context_values(quantity, site, age_years, other_techniques=True)
    if beside:
        lines += ["Published, but not used to score:"]
        for one in beside:
            technique = f"{QUANTITIES[one.quantity].name} " if one.quantity != quantity else ""
            lines += [
                _item(
                    "",
                    f"{technique}{one.value}{f' at {one.site}' if one.site else ''}, "
                    f"{_SEX[one.sex]}, {one.ages}: {one.population} ({one.why_not}). "
                    f"{_cite((one.record,))}",
                )
            ]
        lines += [""]
    for note in notes_on(quantity, age_years):
        if note.kind != "caution" or found is None:
            lines += [_item(note.kind.capitalize(), f"{note.text} {_cite(note.records)}")]
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
    pattern = t1_disc_pattern(age)
    lines += ["", f"Vertebra on T1: {pattern.expected} than disc".replace("equal than", "equal to")]
    lines += [_item("", f"{pattern.text} {_cite(pattern.records)}")]
    return "\n".join(lines)


def _distribution_lines(label: str, one: Distribution, known) -> list[str]:
    low, high = one.expected_range
    n = f"n = {one.n}" if one.n else "n not stated"
    where = f"{one.site}, " if one.site else ""
    lines = [
        f"{label:<11}{known.format(one.mean)} (SD {one.sd:.{known.digits}f}), "
        f"95 % {low:.{known.digits}f} to {known.format(high)}"
    ]
    lines += [
        _item("", f"{where}{_SEX[one.sex]}, {one.ages}, {n}; {one.population}."),
        *(
            _item("", f"{r.citation}{f', doi {r.doi}' if r.doi else ''} [{r.id}; {r.reading}]")
            for r in one.records
        ),
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
