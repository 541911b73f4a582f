"""Stops a command at any moment, or lets its disk run full: results are the old or the new, whole.

    python Testing/benchmarks/stops.py --kills 200 --full 50

A full disk is a small tmpfs where this may mount one (Linux, root), elsewhere a limit to the size
of files (POSIX), which writers see as a failed write.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / name) for name in ("MarrowAssess", "PDFFMapper", "Testing/Python")]
sys.path.insert(0, str(Path(__file__).parent))

import fuzz  # noqa: E402
from PDFFMapperLib.images.files import read_volume, write_volume  # noqa: E402
from PDFFMapperLib.images.volume import Volume  # noqa: E402

CALLS = {
    "waterfat_maps.json": ["pdff", "me.nii.gz", "--regions", "lab.nrrd"],
    "diffusion_maps.json": ["ivim", "dwi.nii.gz", "--method", "adc", "--format", "nii.gz"],
    "assessment.json": ["assess", "--volume", "T1=t1.nii", *fuzz.REGIONS, *fuzz.PATIENT],
    "radiomics.json": [
        "radiomics", "--volume", "T1=large.nii", "--labels", "large_labels.nii", *fuzz.REGIONS[2:],
    ],
    "follow_up.json": ["follow-up", "a.json", "b.json", "--days", "0,90"],
    "spectrum.json": ["spectrum", "x.rda", "--te", "30", "--tr", "3000"],
    "dect_maps.json": [
        "dect", "low.nii", "high.nii", "--kv-pair", "80/Sn140", "--water-cm", "30",
    ],
    "dicom.json": [
        "assess", "--volume", "T1=t1dicom", *fuzz.REGIONS, *fuzz.PATIENT, "--dicom-out", "{out}",
    ],
}  # fmt: skip


def large(folder: Path) -> None:
    """An image whose regions are large enough for texture."""
    labels = np.zeros((6, 16, 16), np.uint8)
    labels[:, :8, :8], labels[:, 8:, 8:] = 1, 2
    noise = np.random.default_rng(0).normal(300, 40, labels.shape).astype(np.float32)
    write_volume(Volume(noise, fuzz.MATRIX, "t1"), folder / "large.nii")
    write_volume(Volume(labels, fuzz.MATRIX, "labels"), folder / "large_labels.nii")


@contextlib.contextmanager
def small_disk(out: Path, rng: random.Random) -> Iterator[int | None]:
    """Let the disk of earlier results run full while others are written; gives a limit instead."""
    held = sum(path.stat().st_size for path in out.iterdir())
    kept = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    pages = sum(-(-len(content) // 4096) for content in kept.values())
    size = 4096 * (pages + rng.randrange(1, max(pages - 1, 2)))  # no room for both old and new
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(out)]
    if subprocess.run(mount, capture_output=True).returncode:
        yield rng.randrange(1, max(held // 2, 2))
        return
    try:
        for name, content in kept.items():
            (out / name).write_bytes(content)
        yield None
    finally:
        now = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
        subprocess.run(["umount", str(out)], check=True)
        shutil.rmtree(out)
        out.mkdir()
        for name, content in now.items():
            (out / name).write_bytes(content)


def start(call: list[str], work: Path, out: Path, limit: int | None = None) -> subprocess.Popen:
    """The command in a process of its own."""
    paths = os.pathsep.join(str(REPOSITORY / name) for name in ("MarrowAssess", "PDFFMapper"))
    beside = out.with_name(f"{out.name}-beside") if "{out}" in call else out
    words = [str(out) if word == "{out}" else word for word in call]
    return subprocess.Popen(
        [sys.executable, "-m", "MarrowAssessLib.commands.main", *words, "--out", str(beside)],
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
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", choices=CALLS, nargs="+", help="only commands that write it")
    options = parser.parse_args()
    calls = {one: CALLS[one] for one in options.record or CALLS}
    rng = random.Random(options.seed)
    ends: Counter = Counter()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        fuzz.inputs(work)
        large(work)
        took = {}
        for record, call in calls.items():
            begin = time.monotonic()
            start(call, work, work / f"out-{record}").wait()
            took[record] = time.monotonic() - begin
        for n in range(options.kills + options.full):
            record = rng.choice(list(calls))
            out = work / f"out-{record}"
            before = (out / record).read_bytes()
            if n < options.kills:
                process = start(calls[record], work, out)
                time.sleep(took[record] * rng.uniform(0.3, 1.2))
                process.kill()
                process.communicate()
                kind, code = "kill", 0
            else:
                with small_disk(out, rng) as limit:
                    process = start(calls[record], work, out, limit)
                    said = process.communicate()[1]
                    kind, code = "full", process.returncode
                    ends["full: leftovers on the disk"] += any(out.glob(".*"))
                if code == 0:
                    ends["full: exit 0"] += 1
                elif "Traceback" in said or code != 2:
                    print(f"full {record}: exit {code}: {said[-300:]}")
                    ends[f"full: exit {code}"] += 1
            found = state(out, record)
            old = (out / record).is_file() and (out / record).read_bytes() == before
            left = sum(path.name.startswith(".") for path in out.iterdir())
            ends[f"{kind}: {found}{', old' if old and found == 'whole' else ''}"] += 1
            ends[f"{kind}: leftovers"] += left > 0
            if found != "whole":
                print(f"{kind} {n}, {record}: {found}", flush=True)
        for record, call in calls.items():
            start(call, work, work / f"out-{record}").wait()
            ends["after the next run: leftovers"] += any((work / f"out-{record}").glob(".*"))
    print(dict(ends))


if __name__ == "__main__":
    main()
