"""What has become of each study of a cohort, in one SQLite file that a stopped run leaves whole."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
SCHEMA = 2


@dataclass
class Outcome:
    """What became of one study.

    Attributes:
        state: DONE or FAILED.
        reason: why it failed, in one sentence without names; "" where it did not.
        rows: its measurements, one a row, as in measurements.csv.
        digest: of the contents that it was read from; "" where they could not be read.
        crashed: whether its process ended or is of no use any more, which may be chance.
        by_limit: whether it took more time or memory than it may.
        facts: its patient, and how it was acquired (see cohort.measuring).
    """

    state: str
    reason: str = ""
    rows: list[dict] = field(default_factory=list)
    digest: str = ""
    crashed: bool = False
    by_limit: bool = False
    facts: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """What is known of a study from earlier runs.

    Attributes:
        state, stamp, digest, settings: see State.start and State.finish.
        limits: those that it failed by, "" where it did not.
    """

    state: str = ""
    stamp: str = ""
    digest: str = ""
    settings: str = ""
    limits: str = ""


class State:
    """The state of a cohort; one process at a time.

    Raises:
        ValueError: another run has it, it is newer or damaged, or it cannot be written.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        with self._told():
            self._lock = sqlite3.connect(folder / "lock.sqlite", timeout=0, isolation_level=None)
            self._lock.execute("BEGIN EXCLUSIVE")
            self._base = sqlite3.connect(folder / "state.sqlite", isolation_level=None)
            self._base.execute("PRAGMA journal_mode=WAL")
            # No waiting for the disk at each study: what a power cut takes is measured again.
            self._base.execute("PRAGMA synchronous=NORMAL")
            version = self._base.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            self.close()
            raise ValueError(
                f"{folder.parent}: this cohort was written by a newer version; use that, or name "
                "another folder."
            )
        if version < SCHEMA:  # measured by an older version, and to be measured again
            self._do("DROP TABLE IF EXISTS studies")
        self._do(
            "CREATE TABLE IF NOT EXISTS studies (id TEXT PRIMARY KEY, path TEXT, state TEXT, "
            "stamp TEXT, digest TEXT, settings TEXT, limits TEXT, reason TEXT, rows TEXT, "
            "facts TEXT)"
        )
        self._do(f"PRAGMA user_version={SCHEMA}")
        self._do("UPDATE studies SET state=? WHERE state=?", (QUEUED, RUNNING))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Let what SQLite says become a sentence."""
        try:
            yield
        except sqlite3.Error as error:
            self.close()
            whose = self._folder.parent
            if "locked" in str(error):
                text = "another run is writing this cohort; wait for it, or name another folder."
            elif "not a database" in str(error) or "malformed" in str(error):
                text = (
                    "private/state.sqlite is damaged; remove it, and the studies are measured "
                    "again."
                )
            else:
                text = f"what becomes of the studies cannot be written ({error})."
            raise ValueError(f"{whose}: {text}") from error

    def _do(self, what: str, values: Sequence = ()) -> list[tuple]:
        with self._told():
            return self._base.execute(what, values).fetchall()

    def close(self) -> None:
        """Let another run have it."""
        for one in ("_base", "_lock"):
            if hasattr(self, one):
                getattr(self, one).close()

    def known(self) -> dict[str, Known]:
        """What is known of each study, by its id."""
        rows = self._do("SELECT id, state, stamp, digest, settings, limits FROM studies")
        return {row[0]: Known(*row[1:]) for row in rows}

    def keep_only(self, ids: set[str]) -> None:
        """Forget studies that are no longer in the cohort."""
        for one in set(self.known()) - ids:
            self._do("DELETE FROM studies WHERE id=?", (one,))

    def start(self, study: str, path: str, stamp: str, settings: str) -> None:
        """A study is being measured."""
        self._do(
            "INSERT OR REPLACE INTO studies VALUES (?, ?, ?, ?, '', ?, '', '', '[]', '{}')",
            (study, path, RUNNING, stamp, settings),
        )

    def finish(self, study: str, outcome: Outcome, limits: str) -> None:
        """What became of it, within which limits."""
        self._do(
            "UPDATE studies SET state=?, digest=?, limits=?, reason=?, rows=?, facts=? WHERE id=?",
            (
                outcome.state, outcome.digest, limits if outcome.by_limit else "", outcome.reason,
                json.dumps(outcome.rows), json.dumps(outcome.facts), study,
            ),
        )  # fmt: skip

    def restamp(self, study: str, stamp: str) -> None:
        """Its files have new times, and the contents that they had."""
        self._do("UPDATE studies SET stamp=? WHERE id=?", (stamp, study))

    def results(self) -> list[tuple[str, Outcome]]:
        """Id and outcome of each study, sorted by id."""
        rows = self._do("SELECT id, state, reason, rows, facts FROM studies ORDER BY id")
        return [
            (one, Outcome(state, reason, json.loads(measured), facts=json.loads(facts)))
            for one, state, reason, measured, facts in rows
        ]
