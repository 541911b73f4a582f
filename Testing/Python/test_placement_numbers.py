"""Every number of placement stands in one table: what it is, why so, and how much it matters."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PLACEMENT = REPOSITORY / "MarrowAssess" / "MarrowAssessLib" / "placement"
TABLE = REPOSITORY / "Testing" / "benchmarks" / "placement_sensitivity.md"
ROW = re.compile(r"\| `([\w.]+)` \| `(.+?)` \| (.+) \| (.+) \| (.+) \|")
# What a quarter less or more changes: Dice, doubts, levels, names of clicks, or no such value is
# possible; else why it was not varied.
CHANGES = re.compile(
    r"none|(0\.\d{3}|1\.000)(, doubts \d+)?|levels \d+(, doubts \d+)?|doubts \d+|\d+ names|\w+Error"
)
LONGEST = 60  # characters of a value


def is_number(node) -> bool:
    return any(isinstance(one, ast.Constant) and type(one.value) in (int, float)
               for one in ast.walk(node))  # fmt: skip


def numbers(text: str) -> dict[str, str]:
    """Value by name of what code holds at its top and spells in capitals."""
    found = {}
    for node in ast.parse(text).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [
            one.id
            for target in targets
            for one in getattr(target, "elts", [target])
            if isinstance(one, ast.Name) and one.id.strip("_").isupper()
        ]
        if names and node.value is not None:
            several = len(names) > 1 and len(getattr(node.value, "elts", ())) == len(names)
            values = node.value.elts if several else [node.value] * len(names)
            found |= {n: ast.unparse(v) for n, v in zip(names, values, strict=True) if is_number(v)}
    return found


def shown(value: str) -> str:
    value = value.replace("|", "/")
    return value if len(value) <= LONGEST else f"{value[: LONGEST - 3]}..."


def test_every_number_of_placement_has_a_row_with_its_value_reason_and_sensitivity():
    held = {
        f"{path.stem}.{name}": shown(value)
        for path in PLACEMENT.glob("*.py")
        for name, value in numbers(path.read_text(encoding="utf-8")).items()
    }
    assert len(held) > 300
    rows = ROW.findall(TABLE.read_text(encoding="utf-8"))
    told = {name: value for name, value, *_ in rows}
    assert len(rows) == len(told)
    assert told == held
    for name, _, why, less, more in rows:
        assert len(why.split()) > 1, name
        assert told_changes(why, less, more), (name, less, more)


def told_changes(why: str, less: str, more: str) -> bool:
    if less == "not varied":
        return len(more.split()) > 1 and why not in more and "not varied" not in more
    return all(CHANGES.fullmatch(one) for one in (less, more))


@pytest.mark.parametrize(
    ("less", "more", "told"),
    [
        ("none", "levels 1, doubts 2", True),
        ("0.982, doubts 3", "IndexError", True),
        ("12 names", "1.000", True),
        ("not varied", "a grid of the search", True),
        ("", "1.000", False),
        ("not varied", "not varied names", False),
        ("not varied", "least score", False),  # the reason of the number itself
        ("least score names", "least score names names", False),
        ("none", "0.982, doubts of 0 RuntimeWarning", False),
    ],
)
def test_a_cell_says_what_changes_or_why_that_is_not_known(less, more, told):
    assert told_changes("least score", less, more) == told


def test_numbers_are_found_in_every_form():
    code = (
        "A, B_MM = 1, (2.0, 3)\n_C = D = 4\nE: float = 5.0\nNAME = 'six'\nF = {G: 7}\nlower = 8\n"
    )
    assert numbers(code) == {
        "A": "1", "B_MM": "(2.0, 3)", "_C": "4", "D": "4", "E": "5.0", "F": "{G: 7}",
    }  # fmt: skip
