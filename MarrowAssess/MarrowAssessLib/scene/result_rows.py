"""The rows of the results table as people read them, also of a saved one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import slicer

from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method, Quantity
from MarrowAssessLib.findings.statement import DOUBTFUL
from MarrowAssessLib.references.limits import percentile_text
from MarrowAssessLib.references.repeatability import repeatability

PLAIN_SIGNAL = "signal"  # key of rows that are no quantity
SAYS_SEPARATOR = " | "  # in its column of statements, which may have semicolons of their own
REGION_SEPARATOR = "; "  # in the table's column of regions
RECORD_SEPARATOR, FIELD_SEPARATOR = "; ", " | "  # in its column of records


@dataclass(frozen=True)
class ResultRow:
    """One row of the results table as people read it.

    Attributes:
        site, quantity: such as "L2" and "Marrow PDFF".
        value: with its unit, such as "34.1 %".
        expected: 95 % range with its unit, "" without reference.
        verdict: "below", "within", "above", "doubtful", "no reference" or "no z-score".
        z: z-score, None without reference.
        details: meaning, interval, publication and cautions, one a line.
        regions: names of the measured regions.
        key: of the quantity, "" where it is of another version.
        source: short name of the publication, "" without reference.
        doi: of the publication, or of what else is said of the number.
        records: id, source and DOI ("" where it has none) of every record behind it.
        tone: "expected" or "unusual" by its verdict or by what is said of it, else "".
    """

    site: str
    quantity: str
    value: str
    expected: str
    verdict: str
    z: float | None
    details: str
    regions: tuple[str, ...]
    key: str = ""
    source: str = ""
    doi: str = ""
    tone: str = ""
    records: tuple[tuple[str, str, str], ...] = ()

    @property
    def is_texture(self) -> bool:
        """Whether it is a texture feature, which is counted apart."""
        return self.key in QUANTITIES and QUANTITIES[self.key].method is Method.TEXTURE

    @property
    def is_of_spectrum(self) -> bool:
        """Whether a spectrum says it."""
        return self.key in QUANTITIES and QUANTITIES[self.key].method is Method.SPECTRUM

    @property
    def is_measured(self) -> bool:
        """Whether it counts as a measurement: neither texture nor a plain signal."""
        return not self.is_texture and self.key != PLAIN_SIGNAL


def result_rows(table: slicer.vtkMRMLTableNode) -> list[ResultRow]:
    """The rows of a results table, also of a saved one: values outside the expected range first."""
    columns = {
        table.GetColumnName(n): table.GetTable().GetColumn(n)
        for n in range(table.GetNumberOfColumns())
    }
    rows = []
    for n in range(table.GetNumberOfRows()):
        row = {name: column.GetValue(n) for name, column in columns.items()}
        rows.append(_result_row(row, _quantity(row)))
    return sorted(rows, key=_urgency)


def _quantity(row: dict[str, str | float]) -> Quantity:
    """The quantity of a row, by its key.

    Tables of version 0.1 have no keys, only names. A key of another version, or a name that was
    typed over, is no quantity known here: the row is then shown as it stands.
    """
    if row.get("Key") in QUANTITIES:
        return QUANTITIES[row["Key"]]
    shown, unit = row["Quantity"], row["Unit"].replace("ratio", "")
    named = [] if "Key" in row else [q for q in QUANTITIES.values() if q.name == shown]
    return named[0] if named else Quantity("", shown, unit, 2, "", Method.REFERENCE_ONLY)


def _result_row(row: dict[str, str | float], quantity: Quantity) -> ResultRow:
    low, high = row["Expected low"], row["Expected high"]
    scored = not math.isnan(row["z-score"])
    details = [quantity.meaning] if quantity.meaning else []
    if not math.isnan(row["CI low"]):
        ends = f"{row['CI low']:.{quantity.digits}f} to {quantity.format(row['CI high'])}"
        details.append(f"95 % interval: {ends}")
    if scored:
        shown = percentile_text(row["Percentile"])
        details.append(f"z-score {row['z-score']:+.1f}, percentile {shown}")
    if row["Reference"]:
        details.append(f"Reference: {row['Reference']}")
    if known := repeatability(quantity.key):
        details.append(f"Repeatability: {known.text}")
    details += filter(None, row.get("Says", "").split(SAYS_SEPARATOR))
    if cautions := row.get("Cautions"):  # not in tables saved by earlier versions
        details.append(f"Caution: {cautions}")
    return ResultRow(
        row["Site"],
        quantity.name,
        quantity.format(row["Value"]),
        "" if math.isnan(low) else f"{low:.{quantity.digits}f}-{quantity.format(high)}",
        row["Verdict"],
        row["z-score"] if scored else None,
        "\n".join(details),
        tuple(row.get("Regions", "").split(REGION_SEPARATOR)),
        quantity.key,
        row["Reference"],
        row.get("DOI", ""),
        row.get("Tone", ""),
        _records(row.get("Records", "")),
    )


def _records(text: str) -> tuple[tuple[str, str, str], ...]:
    """The records of a table's cell; tables of earlier versions have none."""
    parts = [one.split(FIELD_SEPARATOR) for one in text.split(RECORD_SEPARATOR)]
    return tuple((key, source, doi) for key, source, doi in (p for p in parts if len(p) == 3))


def _urgency(row: ResultRow) -> tuple[int, float]:
    if row.verdict in ("below", "above"):
        return 0, -abs(row.z or 0.0)
    return (1 if row.verdict == DOUBTFUL else 2 if row.expected else 3), 0.0
