"""CSV tables: read with a true reason, and such that spreadsheets take them for what they are."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PDFFMapperLib.images.files import written_whole

LARGEST_BYTES = 200 * 2**20


def table_of(text: str) -> tuple[csv.DictReader, int]:
    """A reader of a table with a header line, and how many lines it has before that.

    Columns are parted by comma, semicolon (where a comma is the decimal) or tab; Excel's own first
    line ("sep=;") is passed over.
    """
    lines = text.splitlines(keepends=True)
    if lines and (stated := re.fullmatch(r'"?sep=(.)"?[,;\s]*', lines[0], re.I)):
        return csv.DictReader(lines[1:], delimiter=stated[1]), 1
    header = lines[0] if lines else ""
    return csv.DictReader(lines, delimiter=max(",;\t", key=header.count)), 0


def read_csv(path: str | Path, what: str, columns: tuple[str, ...]) -> list[tuple[int, dict]]:
    """The rows of a CSV file with a header line, each with the number of its line.

    Numbers with a decimal comma, of tables parted by semicolons, are returned with a point.

    Args:
        path: of the file.
        what: what it should be, for the sentences ("a table of true values").
        columns: that must be there.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no CSV text, too large, lacks a column, or a row has more cells than that.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError(f"{path.name}: {what} is expected; this file is too large for one.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows, before = table_of(stream.read())
        names = rows.fieldnames or []
        found = [(rows.line_num + before, row) for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path.name}: this is not a CSV text file in UTF-8.") from error
    if missing := [name for name in columns if name not in names]:
        raise ValueError(
            f"{path.name}: column {', '.join(missing)} is missing; {what} has the columns "
            f"{', '.join(columns)}."
        )
    for line, row in found:
        check_cells(row, f"{path.name}, line {line}")
    if rows.reader.dialect.delimiter == ";":
        return [(line, _with_points(row)) for line, row in found]
    return found


def check_cells(row: Mapping, where: str) -> None:
    """That a row of a `csv.DictReader` has no more cells than the header: 12,5 is two of them.

    Raises:
        ValueError: it has.
    """
    if any(cell.strip() for cell in row.get(None) or ()):
        raise ValueError(
            f"{where}: there are more cells than columns; write decimal points, not commas, or "
            "part the columns by semicolons."
        )


def _with_points(row: dict) -> dict:
    """A row with decimal points in place of commas in its numbers."""
    return {
        name: cell.replace(",", ".")
        if isinstance(cell, str) and re.fullmatch(r"\s*[-+]?\d*,\d+\s*", cell)
        else cell
        for name, cell in row.items()
    }


def write_rows(
    path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]
) -> None:
    """Write rows of named values; what a row does not hold stays empty."""
    write_table(path, columns, ([row.get(name) for name in columns] for row in rows))


def write_table(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, whole or not at all; None becomes an empty cell."""
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerow(columns)
        table.writerows([plain_cell(cell) for cell in row] for row in rows)


def plain_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: text that looks like one gets an apostrophe.

    Numbers, signs before them included, stay as they are.
    """
    if not isinstance(value, str) or not re.match(r"[\t\r]|\s*[=+\-@]", value):
        return value
    is_number = re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*", value, re.I)
    return value if is_number else f"'{value}"
