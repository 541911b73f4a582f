"""Whether `marrowassess cohort` keeps its promises on 1,000 small studies, 5 % of them broken.

    python Testing/benchmarks/cohort.py --out FOLDER [--studies 1000] [--kills 20] [--only STEP ...]
                                        [--minutes 4]

Each study is a T1, every fourth also a PDFF map, of 12 x 64 x 64 voxels with five labeled regions.
Steps, each a line of figures and, where it has a goal, whether that is reached:

overhead: CPU of the cohort on one worker (all its processes) beyond the same studies read,
    measured and written one after another in one process: goal 50 ms a study. 120 studies.
speed: wall time of one worker over that of two: goal 1.8; beside it what two such plain loops at
    once gain over one on this machine, which nothing can exceed. 120 studies, shading corrected
    (--n4). What starting takes (Python, Dask, the first study of a process) is the same for one
    and two workers and for 20 and 1,000 studies; it is measured with 20 studies and taken off, so
    that the figure is that of 1,000. The whole time's figure stands beside it.
undisturbed: all studies on two workers; memory of the process that hands them out: goal 300 MB.
killed: the same with kill -9 at random times: the Parquet file must be the same, byte for byte.
    Where --minutes are over before it is done, run this step again: it goes on where it was.
again: the same once more, unchanged: goal 20 s for 1,000 studies.

Each step runs alone within 5 minutes on an idle machine of two cores, in the order above: killed
and again compare with what undisturbed wrote, and refuse what other code wrote.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PATHS = [str(ROOT / "MarrowAssess"), str(ROOT / "PDFFMapper")]
sys.path[:0] = PATHS
SHAPE, SPACING = (12, 64, 64), (2.0, 2.0, 4.0)
STEPS = ("overhead", "speed", "undisturbed", "killed", "again")
RULES = ["1=marrow:L2", "2=marrow:L3", "3=marrow:L4", "4=muscle:psoas", "5=disc:L3-L4"]
FEW, BROKEN, WITH_PDFF = 120, 20, 4  # studies of the first steps; every 20th is broken
START = 20  # studies that show what starting takes
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS",
     "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1",
)  # fmt: skip
TABLES = ("measurements.parquet", "measurements.csv", "failures.csv")


def write_studies(folder: Path, count: int) -> Path:
    """Write the studies' images and study files; returns the folder of the latter."""
    from PDFFMapperLib.images.files import write_volume
    from PDFFMapperLib.images.volume import Volume

    studies, images = folder / f"studies_{count}", folder / f"images_{count}"
    if studies.is_dir():
        return studies
    images.mkdir(parents=True)
    grid = np.diag([*SPACING, 1.0])
    labels = np.zeros(SHAPE, np.uint8)
    for n in range(3):
        labels[2:10, 6 + 18 * n : 20 + 18 * n, 8:28] = n + 1
    labels[2:10, 5:55, 40:54], labels[2:10, 38:42, 8:28] = 4, 5
    write_volume(Volume(labels, grid), images / "labels.nrrd")
    rng = np.random.default_rng(5)
    made = folder / ".made"
    made.mkdir(exist_ok=True)
    for n in range(count):
        fat = rng.normal(45, 6)
        t1 = np.where(labels == 4, 180, np.where(labels == 5, 150, 300 + 2 * fat))
        t1 = rng.normal(t1, 12).astype(np.int16)
        write_volume(Volume(t1, grid), images / f"t1_{n:04d}.nrrd")
        volumes = {"T1": f"../{images.name}/t1_{n:04d}.nrrd"}
        if n % WITH_PDFF == 0:
            pdff = rng.normal(np.where(labels == 4, 8, fat), 3).astype(np.float32)
            write_volume(Volume(pdff, grid), images / f"pdff_{n:04d}.nrrd")
            volumes["PDFF"] = f"../{images.name}/pdff_{n:04d}.nrrd"
        if n % BROKEN == 3:
            file = images / f"t1_{n:04d}.nrrd"
            file.write_bytes(file.read_bytes()[:200])
        content = {
            "volumes": volumes,
            "labels": f"../{images.name}/labels.nrrd", "label_rules": RULES,
            "age_years": 20 + n % 60, "sex": "FM"[n // 4 % 2], "subject": f"P{n // 2}",
        }  # fmt: skip
        (made / f"{n:04d}.json").write_text(json.dumps(content))
    made.rename(studies)
    return studies


def plain(studies: Path, out: Path, n4: bool) -> None:
    """Read, measure and write the studies one after another; what broken ones say is dropped."""
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.measures.book import Settings
    from MarrowAssessLib.scene.outputs import write_outputs
    from MarrowAssessLib.sources.study_file import read_study_file
    from MarrowAssessLib.sources.study_files import read_study

    start, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for path in sorted(studies.glob("*.json")):
        try:
            study = read_study(read_study_file(path))
        except (ValueError, OSError):
            continue
        done = assess(study, Settings(n4=n4))
        write_outputs(done, out / path.stem, False, lambda _: None)
    end = resource.getrusage(resource.RUSAGE_SELF)
    cpu = end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime
    print(json.dumps([cpu, time.perf_counter() - began]))


def environment() -> dict[str, str]:
    """Of processes that compute with one thread."""
    return os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(PATHS)}


def run_plain(studies: Path, out: Path, n4: bool, at_once: int = 1) -> list[float]:
    """CPU and wall seconds of the plain loop, the slowest of several at once."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, __file__, "--plain", str(studies), *(["--n4"] if n4 else [])]
    running = [
        subprocess.Popen(
            [*command, "--out", str(out / str(n))], env=environment(), stdout=subprocess.PIPE
        )
        for n in range(at_once)
    ]
    return [max(one) for one in zip(*(json.loads(p.communicate()[0]) for p in running),
                                    strict=True)]  # fmt: skip


def command_of(studies: Path, out: Path, workers: int, n4: bool = False) -> list[str]:
    """`marrowassess cohort`."""
    options = ["--out", str(out), "--workers", str(workers), *(["--n4"] if n4 else [])]
    return [sys.executable, "-m", "MarrowAssessLib.commands.main", "cohort", str(studies), *options]


def run_cohort(
    studies: Path, out: Path, workers: int, n4: bool = False
) -> tuple[float, float, float]:
    """CPU and wall seconds of a whole cohort, and the MB of the process that hands studies out."""
    quiet, began = subprocess.DEVNULL, time.perf_counter()
    command = command_of(studies, out, workers, n4)
    running = subprocess.Popen(command, env=environment(), stdout=quiet, stderr=quiet)
    size, status = 0.0, None
    while status is None:
        ended, code, used = os.wait4(running.pid, os.WNOHANG)  # with those it has waited for
        if ended:
            status = code
        else:
            size = max(size, _megabytes(running.pid))
            time.sleep(0.05)
    assert status == 0, f"exit status {status}: {' '.join(command)}"
    wall = time.perf_counter() - began
    return used.ru_utime + used.ru_stime, wall, size


def _megabytes(pid: int) -> float:
    """The most memory that a running process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def killed_until_done(
    studies: Path, out: Path, kills: int, whole_s: float, until: float
) -> tuple[int, bool]:
    """Run a cohort with kill -9 at random times until it ends by itself, or time is over.

    Returns:
        How often it was hit, in earlier calls too, and whether it is done.
    """
    quiet, counted = subprocess.DEVNULL, out / "private" / "hits.txt"
    hits = int(counted.read_text()) if counted.is_file() else 0
    rng = random.Random(3 + hits)
    while True:
        running = subprocess.Popen(
            command_of(studies, out, 2), env=environment(), stdout=quiet, stderr=quiet
        )
        # Starting takes seconds; most hits come while it measures.
        wait = 2.0 + rng.expovariate(kills / whole_s) if hits < kills else math.inf
        try:
            status = running.wait(max(0.1, min(wait, until - time.perf_counter())))
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
            hits += 1
            counted.write_text(str(hits))
            if time.perf_counter() >= until:
                return hits, False
            continue
        assert status == 0
        return hits, True


def say(step: str, text: str, reached: bool | None = None) -> None:
    """A line of figures."""
    goal = "" if reached is None else " - reached" if reached else " - MISSED"
    print(f"{step}: {text}{goal}", flush=True)


def overhead(folder: Path) -> None:
    """CPU of the cohort beyond the plain loop's."""
    few = write_studies(folder, FEW)
    before, _ = run_plain(few, folder / "plain", False)
    shutil.rmtree(folder / "one", ignore_errors=True)
    total, _, _ = run_cohort(few, folder / "one", 1)
    nothing, _, _ = run_cohort(few, folder / "one", 1)
    after, _ = run_plain(few, folder / "plain", False)
    cpu = (before + after) / 2  # a machine that others use is not equally fast all the time
    beyond = 1000 * (total - nothing - cpu) / FEW
    start = 1000 * nothing / FEW
    say(
        "overhead",
        f"{beyond:.0f} ms CPU a study beyond {1000 * cpu / FEW:.0f} ms; starting and writing the "
        f"tables {start * FEW / 1000:.1f} s in all",
        beyond <= 50,
    )


def speed(folder: Path) -> None:
    """One worker's time over two workers'."""
    few, start = write_studies(folder, FEW), write_studies(folder, START)
    walls, starts = [], []
    for workers in (1, 2):
        for studies, times in ((start, starts), (few, walls)):
            shutil.rmtree(folder / "fast", ignore_errors=True)
            times.append(run_cohort(studies, folder / "fast", workers, True)[1])
    one = run_plain(few, folder / "plain", True)[1]
    both = run_plain(few, folder / "plain", True, at_once=2)[1]
    steady = (walls[0] - starts[0]) / (walls[1] - starts[1])
    say(
        "speed",
        f"{walls[0]:.1f} s on one worker, {walls[1]:.1f} s on two: {walls[0] / walls[1]:.2f} "
        f"times, {steady:.2f} without the first {START} studies; two plain loops at once: "
        f"{2 * one / both:.2f}; {1000 * one / FEW:.0f} ms a study alone",
        steady >= 1.8,
    )


def code() -> str:
    """What the code is that writes tables: a hash of it."""
    found = hashlib.sha256()
    for place in PATHS:
        for file in sorted(Path(place).rglob("*")):
            if file.suffix in (".py", ".json") and file.is_file():
                found.update(file.read_bytes())
    return found.hexdigest()


def all_studies(folder: Path, count: int, kills: int, only: list[str], minutes: float) -> None:
    """Undisturbed, killed and again."""
    began = time.perf_counter()
    studies, whole = write_studies(folder, count), folder / f"whole_{count}"
    stamp = folder / f"whole_{count}.txt"
    salt = folder / "salt.txt"
    salt.write_text("0123456789abcdef\n")
    if "undisturbed" in only:
        stamp.unlink(missing_ok=True)
        prepared(whole, salt)
        cpu, wall, size = run_cohort(studies, whole, 2)
        stamp.write_text(f"{code()} {wall}")
        failed = len((whole / "failures.csv").read_text().splitlines()) - 1
        expected = sum(n % BROKEN == 3 for n in range(count))
        say(
            "undisturbed",
            f"{count} studies in {wall:.0f} s, {cpu:.0f} s CPU; {failed} of {expected} broken ones "
            f"failed; {size:.0f} MB for handing out",
            failed == expected and size < 300,
        )
    if not {"killed", "again"} & set(only):
        return
    known, _, wall = (stamp.read_text() if stamp.is_file() else "").partition(" ")
    if known != code():
        sys.exit("there is no undisturbed run of this code here: --only undisturbed comes first")
    if "killed" in only:
        other = folder / f"killed_{count}"
        begun = folder / f"killed_{count}.txt"
        if not begun.is_file() or begun.read_text() != known:
            prepared(other, salt)
            begun.write_text(known)
        until = began + 60 * minutes
        hits, done = killed_until_done(studies, other, kills, float(wall), until)
        spent = time.perf_counter() - began
        if not done:
            say("killed", f"{hits} times in {spent:.0f} s and not done: run this step again")
            return
        begun.unlink()
        same = [(whole / n).read_bytes() == (other / n).read_bytes() for n in TABLES]
        left = [p.name for p in (other / "studies").iterdir() if p.name.startswith(".")]
        differ = ", ".join(n for n, one in zip(TABLES, same, strict=True) if not one)
        say(
            "killed",
            f"{hits} times, now {spent:.0f} s; tables "
            f"{f'DIFFER: {differ}' if differ else 'the same, byte for byte'}; "
            f"{len(left)} half-written folders left",
            not differ and hits >= kills and not left,
        )
    if "again" in only:
        _, again, _ = run_cohort(studies, whole, 2)
        per_1000 = again * 1000 / count
        say("again", f"{again:.1f} s, {per_1000:.1f} s for 1,000", per_1000 <= 20)


def prepared(out: Path, salt: Path) -> None:
    """An empty folder for results, with the salt that makes runs alike."""
    shutil.rmtree(out, ignore_errors=True)
    (out / "private").mkdir(parents=True)
    shutil.copy(salt, out / "private" / "salt.txt")


def main() -> None:
    """Run the steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for studies and results")
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--minutes", type=float, default=4.0, help="that killed takes at a time")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--n4", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.plain:
        plain(args.plain, args.out, args.n4)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    if "overhead" in args.only:
        overhead(args.out)
    if "speed" in args.only:
        speed(args.out)
    if {"undisturbed", "killed", "again"} & set(args.only):
        all_studies(args.out, args.studies, args.kills, args.only, args.minutes)
    print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
