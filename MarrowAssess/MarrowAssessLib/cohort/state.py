"""What has become of each study of a cohort, in one SQLite file that a stopped run leaves whole."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
SCHEMA = 1


@dataclass
class Outcome:
    """What became of one study.

    Attributes:
        state: DONE or FAILED.
        reason: why it failed, in one sentence without names; "" where it did not.
        rows: its measurements, one a row, as in measurements.csv.
        digest: of the contents that it was read from; "" where they could not be read.
        crashed: whether its process ended by itself, which may be chance.
    """

    state: str
    reason: str = ""
    rows: list[dict] = field(default_factory=list)
    digest: str = ""
    crashed: bool = False


class State:
    """The state of a cohort; one process at a time.

    Raises:
        ValueError: another run has it, or it is of a newer version.
    """

    def __init__(self, folder: Path):
        self._lock = sqlite3.connect(folder / "lock.sqlite", timeout=0, isolation_level=None)
        try:
            self._lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            raise ValueError(
                f"{folder.parent}: another run is writing this cohort; wait for it, or name "
                "another folder."
            ) from None
        self._base = sqlite3.connect(folder / "state.sqlite", isolation_level=None)
        self._base.execute("PRAGMA journal_mode=WAL")
        version = self._base.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            self.close()
            raise ValueError(
                f"{folder.parent}: this cohort was written by a newer version; use that, or name "
                "another folder."
            )
        self._base.execute(
            "CREATE TABLE IF NOT EXISTS studies (id TEXT PRIMARY KEY, path TEXT, state TEXT, "
            "stamp TEXT, digest TEXT, settings TEXT, reason TEXT, rows TEXT)"
        )
        self._base.execute(f"PRAGMA user_version={SCHEMA}")
        self._base.execute("UPDATE studies SET state=? WHERE state=?", (QUEUED, RUNNING))

    def close(self) -> None:
        """Let another run have it."""
        if hasattr(self, "_base"):
            self._base.close()
        self._lock.close()

    def known(self) -> dict[str, tuple[str, str, str, str]]:
        """State, stamp, digest and settings of each study by its id."""
        rows = self._base.execute("SELECT id, state, stamp, digest, settings FROM studies")
        return {row[0]: row[1:] for row in rows}

    def keep_only(self, ids: set[str]) -> None:
        """Forget studies that are no longer in the cohort."""
        gone = [(one,) for one in self.known() if one not in ids]
        self._base.executemany("DELETE FROM studies WHERE id=?", gone)

    def start(self, study: str, path: Path, stamp: str, settings: str) -> None:
        """A study is being measured."""
        self._base.execute(
            "INSERT OR REPLACE INTO studies VALUES (?, ?, ?, ?, '', ?, '', '[]')",
            (study, str(path), RUNNING, stamp, settings),
        )

    def finish(self, study: str, outcome: Outcome) -> None:
        """What became of it."""
        self._base.execute(
            "UPDATE studies SET state=?, digest=?, reason=?, rows=? WHERE id=?",
            (outcome.state, outcome.digest, outcome.reason, json.dumps(outcome.rows), study),
        )

    def restamp(self, study: str, stamp: str) -> None:
        """Its files have new times, and the contents that they had."""
        self._base.execute("UPDATE studies SET stamp=? WHERE id=?", (stamp, study))

    def results(self) -> list[tuple[str, str, str, list[dict]]]:
        """Id, state, reason and rows of each study, sorted by id."""
        rows = self._base.execute("SELECT id, state, reason, rows FROM studies ORDER BY id")
        return [(one, state, reason, json.loads(text)) for one, state, reason, text in rows]
