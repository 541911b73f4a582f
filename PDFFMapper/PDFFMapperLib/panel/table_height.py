"""Tables of a panel as high as what they hold."""

from __future__ import annotations


def fit_height(table: object, most_rows: int | None = None) -> None:
    """Make a table as high as its rows, or as the first `most_rows` of them, and these as texts.

    Shorter, it would be drawn over what is below it; higher, it takes room from it.
    """
    table.resizeRowsToContents()
    shown = min(table.rowCount, most_rows or table.rowCount)
    rows = sum(table.rowHeight(row) for row in range(shown))
    bar = table.horizontalScrollBar().sizeHint.height()
    header = table.horizontalHeader().sizeHint.height()
    table.setFixedHeight(header + rows + bar + 2 * table.frameWidth)
