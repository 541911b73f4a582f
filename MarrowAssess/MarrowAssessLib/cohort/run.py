"""A cohort of studies on Dask workers: resumed where it was stopped, one failure stops no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PDFFMapperLib.install.software import VERSION

from MarrowAssessLib.cohort.apart import Limits, Task, measure_apart
from MarrowAssessLib.cohort.inventory import StudySource, find_studies, keep_salt, read_salt
from MarrowAssessLib.cohort.state import DONE, FAILED, State
from MarrowAssessLib.cohort.tables import FAILURES, write_failures, write_measurements

PRIVATE = "private"  # paths and salt: not to be passed on
_AHEAD = 3  # tasks a worker has waiting, so that none is idle and none is held for long


@dataclass(frozen=True)
class Plan:
    """How to run a cohort.

    Attributes:
        workers: processes that measure at once on this computer.
        scheduler: address of a Dask scheduler instead; its workers see the same folders.
        force: measure everything again.
        only_failed: of what is known, measure again what failed.
        n4, erosion_mm, limits: see apart.Task.
    """

    workers: int = 1
    scheduler: str = ""
    force: bool = False
    only_failed: bool = False
    n4: bool = False
    erosion_mm: float = 0.0
    limits: Limits = field(default_factory=Limits)

    @property
    def settings(self) -> str:
        """What results depend on, beside the studies."""
        return json.dumps([VERSION, self.n4, self.erosion_mm])


@dataclass(frozen=True)
class Counts:
    """How many studies were measured now, are done, and failed."""

    measured: int
    done: int
    failed: int


def run_cohort(
    folder: str | Path, out: str | Path, plan: Plan, say: Callable[[str], None] = print
) -> Counts:
    """Measure every study of a folder that has changed since, and write the tables.

    Args:
        folder: see inventory.find_studies.
        out: studies/ID/ with each study's report, measurements.csv and .parquet, failures.csv,
            and private/ with the state, the salt and where each study lies.
        plan: how.
        say: told what is going on.

    Raises:
        FileNotFoundError, ValueError: no such folder, no study, or another run on `out`.
    """
    out = Path(out)
    private = out / PRIVATE
    salt = read_salt(private / "salt.txt")
    studies = find_studies(folder, salt)
    private.mkdir(parents=True, exist_ok=True)
    private.chmod(0o700)
    keep_salt(private / "salt.txt", salt)
    state = State(private)
    try:
        state.keep_only({study.id for study in studies})
        _clear(out / "studies", {study.id for study in studies})
        todo = _to_measure(studies, state, plan, out)
        say(f"{len(studies)} studies, {len(todo)} to measure")
        if todo:
            with _workers(plan) as client:
                _measure(todo, client, state, plan, out, salt, say)
        results = state.results()
        rows = [row for _, now, _, own in results if now == DONE for row in own]
        failures = [(study, reason) for study, now, reason, _ in results if now == FAILED]
        write_measurements(rows, out)
        write_failures(failures, out / FAILURES)
    finally:
        state.close()
    return Counts(len(todo), sum(now == DONE for _, now, _, _ in results), len(failures))


def _to_measure(
    studies: list[StudySource], state: State, plan: Plan, out: Path
) -> list[tuple[StudySource, str]]:
    """The studies whose contents or settings are new, with their stamps."""
    known = state.known()
    todo = []
    for study in studies:
        stamp = study.stamp
        now, before, digest, settings = known.get(study.id, ("", "", "", ""))
        finished = now == FAILED or (now == DONE and (out / "studies" / study.id).is_dir())
        if plan.force or not finished or settings != plan.settings:
            todo.append((study, stamp))
        elif plan.only_failed and now == FAILED:
            todo.append((study, stamp))
        elif stamp != before:
            if digest and study.digest() == digest:
                state.restamp(study.id, stamp)
            else:
                todo.append((study, stamp))
    return todo


def _measure(
    todo: list[tuple[StudySource, str]],
    client: object,
    state: State,
    plan: Plan,
    out: Path,
    salt: str,
    say: Callable[[str], None],
) -> None:
    """Hand out the studies a few at a time, and note what becomes of each at once."""
    from distributed import as_completed

    waiting = iter(todo)
    (out / "studies").mkdir(exist_ok=True)
    running = as_completed()
    names: dict[str, StudySource] = {}

    def submit() -> None:
        for study, stamp in waiting:
            state.start(study.id, study.path, stamp, plan.settings)
            place = out.resolve() / "studies" / study.id
            task = Task(study, place, salt, plan.n4, plan.erosion_mm, plan.limits)
            future = client.submit(measure_apart, task, pure=False, key=f"study-{study.id}")
            names[future.key] = study
            running.add(future)
            return

    for _ in range(_AHEAD * max(1, sum(client.nthreads().values()))):
        submit()
    for count, future in enumerate(running, start=1):
        outcome = future.result()
        study = names.pop(future.key)
        state.finish(study.id, outcome)
        if outcome.state == FAILED:
            say(f"{study.path.name}: {outcome.reason}")
        if count % 50 == 0:
            say(f"{count} of {len(todo)} studies")
        future.release()
        submit()


@contextmanager
def _workers(plan: Plan) -> Iterator[object]:
    """A Dask client: of the scheduler that was named, or of threads here, each with a process."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ModuleNotFoundError:
        raise ValueError(
            "A cohort runs on Dask; install it with: pip install 'marrowassess[cohort]'."
        ) from None
    if plan.scheduler:
        with Client(plan.scheduler, timeout="20s") as client:
            yield client
        return
    quiet = {"distributed.admin.tick.interval": "2s", "distributed.worker.profile.enabled": False}
    with (
        dask.config.set(quiet),
        LocalCluster(
            n_workers=1, threads_per_worker=plan.workers, processes=False,
            dashboard_address=None, silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield client


def _clear(folder: Path, ids: set[str]) -> None:
    """Remove what a stopped run left half-written, and studies that are no longer there."""
    if not folder.is_dir():
        return
    for one in folder.iterdir():
        if one.is_dir() and (one.name.startswith(".writing-") or one.name not in ids):
            shutil.rmtree(one, ignore_errors=True)
