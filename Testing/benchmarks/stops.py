"""Stops a command at any moment, or lets its disk run full: results are the old or the new, whole.

    python Testing/benchmarks/stops.py --kills 200 --full 50

A full disk is a limit to the size of files (POSIX), which writers see as a failed write.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / name) for name in ("MarrowAssess", "PDFFMapper", "Testing/Python")]
sys.path.insert(0, str(Path(__file__).parent))

import fuzz  # noqa: E402
from PDFFMapperLib.images.files import read_volume  # noqa: E402

CALLS = {
    "waterfat_maps.json": ["pdff", "me.nii.gz", "--regions", "lab.nrrd"],
    "diffusion_maps.json": ["ivim", "dwi.nii.gz", "--method", "adc", "--format", "nii.gz"],
    "assessment.json": ["assess", "--volume", "T1=t1.nii", *fuzz.REGIONS, *fuzz.PATIENT],
}


def start(call: list[str], work: Path, out: Path, limit: int | None = None) -> subprocess.Popen:
    """The command in a process of its own."""
    paths = os.pathsep.join(str(REPOSITORY / name) for name in ("MarrowAssess", "PDFFMapper"))
    return subprocess.Popen(
        [sys.executable, "-m", "MarrowAssessLib.commands.main", *call, "--out", str(out)],
        cwd=work, env={**os.environ, "PYTHONPATH": paths}, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        preexec_fn=None if limit is None else lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (limit, limit)
        ),
    )  # fmt: skip


def state(out: Path, record: str) -> str:
    """The word whole if the files are there as the record says, by their hashes; else why not."""
    try:
        files = json.loads((out / record).read_text())["files"]
    except (OSError, ValueError, KeyError) as error:
        return f"no record ({type(error).__name__})" if any(out.glob("*")) else "nothing"
    for name, digest in files.items():
        path = out / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            return f"{name} is not what the record says"
        if name.endswith((".nrrd", ".nii.gz")):
            read_volume(path)
    extra = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    return "whole" if extra == {record, *files} else f"foreign files {extra - {record, *files}}"


def main() -> None:
    """Run both trials and print how they ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--full", type=int, default=10)
    options = parser.parse_args()
    rng = random.Random(1)
    ends: Counter = Counter()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        fuzz.inputs(work)
        took, sizes = {}, {}
        for record, call in CALLS.items():
            begin = time.monotonic()
            start(call, work, work / f"out-{record}").wait()
            took[record] = time.monotonic() - begin
            out = work / f"out-{record}"
            sizes[record] = max(path.stat().st_size for path in out.iterdir())
        for n in range(options.kills + options.full):
            record = rng.choice(list(CALLS))
            out = work / f"out-{record}"
            before = (out / record).read_bytes()
            if n < options.kills:
                process = start(CALLS[record], work, out)
                time.sleep(took[record] * rng.uniform(0.3, 1.2))
                process.kill()
                process.communicate()
                kind, code = "kill", 0
            else:
                limit = rng.randrange(1, sizes[record])
                process = start(CALLS[record], work, out, limit)
                said = process.communicate()[1]
                kind, code = "full", process.returncode
                if code == 0:
                    ends["full: exit 0"] += 1
                elif "Traceback" in said or code != 2:
                    print(f"full {limit}: exit {code}: {said[-300:]}")
                    ends[f"full: exit {code}"] += 1
            found = state(out, record)
            old = (out / record).is_file() and (out / record).read_bytes() == before
            left = sum(path.name.startswith(".") for path in out.iterdir())
            ends[f"{kind}: {found}{', old' if old and found == 'whole' else ''}"] += 1
            ends[f"{kind}: leftovers"] += left > 0
            if found != "whole":
                print(f"{kind} {n}, {record}: {found}", flush=True)
        for record, call in CALLS.items():
            start(call, work, work / f"out-{record}").wait()
            ends["after the next run: leftovers"] += any((work / f"out-{record}").glob(".*"))
    print(dict(ends))


if __name__ == "__main__":
    main()
