"""A cohort's tables: all measurements as CSV and Parquet, and why studies failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PDFFMapperLib.images.files import written_whole
from PDFFMapperLib.images.tables import write_rows

MEASUREMENTS, PARQUET, FAILURES = "measurements.csv", "measurements.parquet", "failures.csv"
SCHEMA = "marrowassess-cohort-2"
_LEFT_OUT = ("subject",)  # no names in a cohort's tables


@dataclass(frozen=True)
class CohortResult:
    """What became of a cohort.

    Attributes:
        measured: how many studies were measured now.
        done, failed: how many there are.
        rows: of measurements.csv.
        failures: study and reason of each that failed.
        acquired: of each study that was measured, facts of its images (see cohort.measuring).
        sources: the studies (inventory.StudySource) that were measured.
    """

    measured: int
    done: int
    rows: list[dict]
    failures: list[tuple[str, str]]
    acquired: list[dict]
    sources: list = field(default_factory=list)

    @property
    def failed(self) -> int:
        """How many studies failed."""
        return len(self.failures)


def copies(rows: Sequence[Mapping]) -> list[list[str]]:
    """Studies whose numbers are the same to the last digit: one study that is there twice.

    Means and SDs of regions tell: medians and ratios of whole numbers are soon the same.
    """
    numbers: dict[str, list[tuple]] = {}
    for row in rows:
        place = row["quantity"], row["site"], row.get("regions", "")
        held = row["value"], row.get("mean"), row.get("sd")
        numbers.setdefault(row["study"], []).append((*place, *held))
    alike: dict[tuple, list[str]] = {}
    for study, held in numbers.items():
        if any(sd for *_, sd in held):
            alike.setdefault(tuple(held), []).append(study)
    return [studies for studies in alike.values() if len(studies) > 1]


def copies_text(rows: Sequence[Mapping]) -> list[str]:
    """A sentence for each group of copies."""
    return [
        f"{', '.join(studies)}: these studies have the same numbers to the last digit and may be "
        "copies of one; as repeats they would make repeatability too good. Keep one."
        for studies in copies(rows)
    ]


def write_measurements(rows: Sequence[dict], folder: Path) -> None:
    """Write the same rows as CSV and as Parquet, in the order given."""
    columns = [name for name in (rows[0] if rows else ()) if name not in _LEFT_OUT]
    write_rows(folder / MEASUREMENTS, columns, rows)
    _write_parquet(rows, columns, folder / PARQUET)


def _write_parquet(rows: Sequence[dict], columns: Sequence[str], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    fields, data = [], []
    for name in columns:
        values = [row.get(name) for row in rows]
        words = any(isinstance(value, str) for value in values)
        fields.append(pyarrow.field(name, pyarrow.string() if words else pyarrow.float64()))
        data.append([None if v is None else str(v) if words else float(v) for v in values])
    schema = pyarrow.schema(fields, metadata={"schema": SCHEMA})
    with written_whole(path) as temporary:
        parquet.write_table(pyarrow.table(data, schema=schema), temporary)


def read_measurements(folder: Path) -> list[dict]:
    """The rows of a cohort's measurements, of whoever wrote the folder.

    Raises:
        FileNotFoundError: there are none.
        ValueError: they are of a newer version, or damaged.
    """
    import pyarrow
    from pyarrow import parquet

    path = folder / PARQUET
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder}: there is no {PARQUET}; name a folder that `marrowassess cohort` wrote."
        )
    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError):
        raise ValueError(
            f"{path.name}: this is no whole Parquet file; run `marrowassess cohort` again."
        ) from None
    schema = (table.schema.metadata or {}).get(b"schema", b"none").decode("utf-8", "replace")
    if schema != SCHEMA:
        raise ValueError(
            f"{path.name}: its schema is '{schema}' where {SCHEMA} is expected; run "
            "`marrowassess cohort` again with this version."
        )
    return table.to_pylist()
