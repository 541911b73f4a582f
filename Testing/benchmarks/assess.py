"""How long `assess` takes at 361 x 361 x 57 voxels with 9 regions, and where the time goes.

Run: python Testing/benchmarks/assess.py [--repeat N]

Prints CPU and wall seconds of reading (SimpleITK) and of all that follows (this project: regions,
measurements, age reference, report files), and beside them SimpleITK's own label statistics.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "MarrowAssess"), str(ROOT / "PDFFMapper")]
SHAPE = (57, 361, 361)
ROLES = ["marrow:L1", "marrow:L2", "marrow:L3", "marrow:L4", "marrow:L5", "csf:L3",
         "muscle:psoas", "disc:L3-L4", "fat"]  # fmt: skip


def make_files(folder: Path) -> tuple[Path, Path]:
    """Write a noisy T1 and a label map with nine blocks of 40 x 25 x 25 voxels."""
    from PDFFMapperLib.images.files import write_volume
    from PDFFMapperLib.images.volume import Volume

    rng = np.random.default_rng(0)
    t1 = rng.normal(200, 20, SHAPE).astype(np.int16)
    labels = np.zeros(SHAPE, np.uint8)
    for n in range(len(ROLES)):
        labels[8:48, 30 + 35 * n : 55 + 35 * n, 150:175] = n + 1
    grid = Volume(t1, np.eye(4), "T1")
    write_volume(grid, folder / "t1.nii.gz")
    write_volume(grid.with_array(labels), folder / "labels.nii.gz")
    return folder / "t1.nii.gz", folder / "labels.nii.gz"


def main() -> None:
    """Time the steps and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat

    import SimpleITK as sitk
    from MarrowAssessLib.catalogue.contrasts import Contrast
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.measures.book import Settings
    from MarrowAssessLib.scene.outputs import write_outputs
    from MarrowAssessLib.sources.labels import parse_label_rule, regions_from_labels
    from MarrowAssessLib.study.study import Study
    from PDFFMapperLib.images.files import read_volume

    rules = [parse_label_rule(f"{n}={role}") for n, role in enumerate(ROLES, start=1)]
    times: dict[str, list[tuple[float, float]]] = {}

    def timed(step: str, function):
        cpu, wall = time.process_time(), time.perf_counter()
        result = function()
        times.setdefault(step, []).append((time.process_time() - cpu, time.perf_counter() - wall))
        return result

    with tempfile.TemporaryDirectory() as temporary:
        t1_file, labels_file = make_files(Path(temporary))
        for _ in range(repeat):
            t1 = timed("read T1", lambda: read_volume(t1_file))
            labels = timed("read labels", lambda: read_volume(labels_file))

            def own_code(t1=t1, labels=labels):
                regions = regions_from_labels(labels, rules)
                study = Study({Contrast.T1: t1}, regions, 45.0, "F")
                report = assess(study, Settings(erosion_mm=2.0))
                write_outputs(report, Path(temporary) / "out", show=False, say=lambda text: None)

            timed("regions, measurements, reference, report", own_code)

            def peer(t1=t1, labels=labels):
                one = sitk.LabelIntensityStatisticsImageFilter()
                one.Execute(sitk.GetImageFromArray(labels.array), sitk.GetImageFromArray(t1.array))

            timed("peer: SimpleITK label statistics alone", peer)
    print(f"{'x'.join(map(str, SHAPE[::-1]))} voxels, {len(ROLES)} regions, median of {repeat}")
    print(f"{'step':45} {'CPU s':>8} {'wall s':>8}")
    for step, pairs in times.items():
        cpu, wall = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{step:45} {cpu:8.3f} {wall:8.3f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB; T1 as read {np.prod(SHAPE) * 2 / 2**20:.0f} MB")


if __name__ == "__main__":
    main()
