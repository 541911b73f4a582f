"""A cohort of studies on Dask workers: resumed where it was stopped, one failure stops no other."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PDFFMapperLib.images.tables import write_table
from PDFFMapperLib.install.software import VERSION

from MarrowAssessLib.cohort.apart import STAGING, Limits, Task, end_children, measure_apart
from MarrowAssessLib.cohort.inventory import (
    StudySource,
    find_studies,
    keep_salt,
    read_salt,
    salted,
)
from MarrowAssessLib.cohort.state import DONE, FAILED, Known, Outcome, State
from MarrowAssessLib.cohort.tables import (
    FAILURES,
    CohortResult,
    copies_text,
    write_measurements,
)

PRIVATE = "private"  # paths and salt: not to be passed on
_HERE = "127.0.0.1:0"  # Dask opens ports in any case; nobody else reaches these
_CONNECT_S = 20.0
_LOOK_S = 1.0  # between looks at how many workers there are
_AHEAD = 3  # tasks a worker has waiting, so that none is idle and none is held for long


@dataclass(frozen=True)
class Plan:
    """How to run a cohort.

    Attributes:
        workers: processes that measure at once on this computer.
        scheduler: address of a Dask scheduler instead; its workers see the same folders.
        slurm: options of a Slurm job in which one worker runs, "" for none (see `_workers`).
        force: measure everything again.
        only_failed: of what is known, measure again what failed.
        n4, erosion_mm, limits, regions: see apart.Task.
    """

    workers: int = 1
    scheduler: str = ""
    slurm: str | None = None
    force: bool = False
    only_failed: bool = False
    n4: bool = False
    erosion_mm: float = 0.0
    limits: Limits = field(default_factory=Limits)
    regions: bool = False

    @property
    def settings(self) -> str:
        """What results depend on, beside the studies."""
        more = ["regions"] if self.regions else []
        return json.dumps([VERSION, self.n4, self.erosion_mm, *more])

    @property
    def limits_text(self) -> str:
        """The limits, as they are kept beside a study that failed by them."""
        return json.dumps([self.limits.seconds, self.limits.gigabytes])


def run_cohort(
    folder: str | Path, out: str | Path, plan: Plan, say: Callable[[str], None] = print
) -> CohortResult:
    """Measure every study of a folder that has changed since, and write the tables.

    Args:
        folder: or list: see inventory.find_studies.
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
                _measure(todo, client, state, plan, out, say)
        results = state.results()
        failures = [(study, one.reason) for study, one in results if one.state == FAILED]
        rows = _rows(results, studies, salt)
        write_measurements(rows, out)
        write_table(out / FAILURES, ["study", "reason"], failures)
        for sentence in copies_text(rows):
            say(sentence)
    finally:
        state.close()
    done = [one for _, one in results if one.state == DONE]
    acquired = [one.facts.get("acquired", {}) for one in done]
    failed = {study for study, _ in failures}
    sources = [study for study in studies if study.id not in failed]
    return CohortResult(len(todo), len(done), rows, failures, acquired, sources)


def _rows(results: list[tuple[str, Outcome]], studies: list[StudySource], salt: str) -> list[dict]:
    """The rows of all studies: whose they are, without names, before what was measured."""
    by_id = {study.id: study for study in studies}
    sessions = {name: n for n, name in enumerate(sorted({s.session for s in studies} - {""}), 1)}
    extra = list(dict.fromkeys(name for study in studies for name, _ in study.columns))
    rows = []
    for one, outcome in results:
        study, patient = by_id[one], outcome.facts.get("patient")
        who = {
            "study": one,
            "patient": salted(patient, salt) if patient else "",
            "session": sessions.get(study.session),
            **dict.fromkeys(extra),
            **dict(study.columns),
        }
        rows += [who | row for row in outcome.rows if outcome.state == DONE]
    return rows


def _to_measure(
    studies: list[StudySource], state: State, plan: Plan, out: Path
) -> list[tuple[StudySource, str]]:
    """The studies whose contents or settings are new, with their stamps."""
    known = state.known()
    todo = []
    for study in studies:
        stamp = study.stamp
        one = known.get(study.id, Known())
        failed = one.state == FAILED
        finished = failed or (one.state == DONE and (out / "studies" / study.id).is_dir())
        if plan.force or not finished or one.settings != plan.settings:
            todo.append((study, stamp))
        elif failed and (plan.only_failed or (one.limits and one.limits != plan.limits_text)):
            todo.append((study, stamp))
        elif stamp != one.stamp:
            if one.digest and study.digest() == one.digest:
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
    say: Callable[[str], None],
) -> None:
    """Hand out the studies a few at a time, and note what becomes of each at once."""
    from distributed import as_completed

    waiting = iter(todo)
    (out / "studies").mkdir(exist_ok=True)
    running = as_completed()
    names: dict[str, StudySource] = {}
    wanted, looked = 0, -_LOOK_S

    def fill() -> None:
        """Have as many handed out as the workers that are there now need."""
        nonlocal wanted, looked
        if time.monotonic() - looked > _LOOK_S:
            wanted, looked = _AHEAD * max(1, sum(client.nthreads().values())), time.monotonic()
        while len(names) < wanted and (following := next(waiting, None)):
            study, stamp = following
            state.start(study.id, study.name, stamp, plan.settings)
            place = out.resolve() / "studies" / study.id
            task = Task(study, place, plan.n4, plan.erosion_mm, plan.limits, plan.regions)
            future = client.submit(measure_apart, task, pure=False, key=f"study-{study.id}")
            names[future.key] = study
            running.add(future)

    fill()
    for count, future in enumerate(running, start=1):
        outcome = _outcome(future)
        study = names.pop(future.key)
        state.finish(study.id, outcome, plan.limits_text)
        if outcome.state == FAILED:
            say(f"{study.name}: {outcome.reason}")
        if count % 50 == 0:
            say(f"{count} of {len(todo)} studies")
        future.release()
        fill()


def _outcome(future: object) -> Outcome:
    """What a worker answered."""
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return Outcome(FAILED, "The Dask workers that measured it were lost.", crashed=True)
    except Exception as error:  # whatever a worker of another installation runs into
        raise ValueError(
            f"The Dask workers cannot measure ({type(error).__name__}: {error}); start them where "
            "the same version of this software is installed."
        ) from error


@contextmanager
def _workers(plan: Plan) -> Iterator[object]:
    """A Dask client: of the scheduler that was named, of Slurm jobs, or of threads here.

    Each thread of a worker keeps a process in which it measures.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ModuleNotFoundError:
        raise ValueError(
            "A cohort runs on Dask; install it with: pip install 'marrowassess[cohort]'."
        ) from None
    if plan.scheduler:
        with _connected(plan.scheduler) as client:
            yield client
            client.run(end_children)
        return
    if plan.slurm is not None:
        with _slurm_cluster(plan) as cluster, Client(cluster) as client:
            yield client
        return
    quiet = {"distributed.admin.tick.interval": "2s", "distributed.worker.profile.enabled": False}
    try:
        with (
            dask.config.set(quiet),
            LocalCluster(
                n_workers=1, threads_per_worker=plan.workers, processes=False,
                dashboard_address=_HERE, worker_dashboard_address=_HERE, silence_logs=50,
                scheduler_kwargs={"dashboard": False},
            ) as cluster,
            Client(cluster) as client,
        ):  # fmt: skip
            yield client
    finally:
        end_children()


@contextmanager
def _connected(address: str) -> Iterator[object]:
    """A client of a scheduler that has a worker."""
    from distributed import Client

    try:
        client = Client(address, timeout=f"{_CONNECT_S:g}s")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{address}: no Dask scheduler answers there ({error}); start one with: dask scheduler."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_CONNECT_S)
        except TimeoutError:
            raise ValueError(
                f"{address}: this Dask scheduler has no worker; start some that see the same "
                f"folders with: dask worker {address}."
            ) from None
        yield client


def _slurm_cluster(plan: Plan) -> object:
    """As many Slurm jobs as there are to be workers, each with one."""
    try:
        from dask_jobqueue import SLURMCluster
    except ModuleNotFoundError:
        raise ValueError(
            "Slurm jobs are started by dask-jobqueue; install it with: "
            "pip install 'marrowassess[slurm]'."
        ) from None
    options = dict(part.partition("=")[::2] for part in plan.slurm.split(",") if part)
    if bad := [name for name, value in options.items() if not name.isidentifier() or not value]:
        raise ValueError(
            f"--slurm {plan.slurm}: {bad[0]} is not of the form NAME=VALUE; expected are options "
            "of dask_jobqueue.SLURMCluster, such as queue=short,walltime=08:00:00."
        )
    gigabytes = math.ceil(plan.limits.gigabytes) + 1
    job = {"cores": 1, "memory": f"{gigabytes}GB", "processes": 1} | options
    cluster = SLURMCluster(**job)
    cluster.scale(jobs=plan.workers)
    return cluster


def _clear(folder: Path, ids: set[str]) -> None:
    """Remove what a stopped run left half-written, and studies that are no longer there."""
    if not folder.is_dir():
        return
    for one in folder.iterdir():
        if one.is_dir() and (one.name.startswith(STAGING) or one.name not in ids):
            shutil.rmtree(one, ignore_errors=True)
