"""CSV tables that spreadsheet programs take for what they are."""

from __future__ import annotations

import re


def plain_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: text that looks like one gets an apostrophe.

    Numbers, signs before them included, stay as they are.
    """
    if not isinstance(value, str) or not re.match(r"[\t\r]|\s*[=+\-@]", value):
        return value
    is_number = re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*", value, re.I)
    return value if is_number else f"'{value}"
