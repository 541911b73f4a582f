"""Times and memory of texture features, beside other libraries where they are installed.

    python Testing/benchmarks/texture.py
    python Testing/benchmarks/texture.py --peer mirp=venv1/bin/python --peer nyxus=venv2/bin/python
    python Testing/benchmarks/texture.py --ibsi FOLDER    also the IBSI's CT phantom (CC BY-NC)

Regions are four digital vertebral bodies of 30,000 voxels in an image of 256 x 256 x 60, 32 gray
levels; CPU seconds of a process of its own for each library, the least of some runs, and how much
its memory grew. Peers: pyradiomics, mirp, nyxus, each with a Python that has it.

Measured in one run on a busy machine, CPU seconds (MB): ours 3D merged 0.028, 3D averaged 0.041,
2.5D merged 0.020 (14 for all six), pyradiomics 3.0.1 1.03 (138), mirp 2.7.0 2.24 (145), nyxus
0.11.0 0.37 (168); whole image 0.89 (65); 1,753 features of 12 images of five bodies of 17,136
voxels 1.78. IBSI: 482 of 482 values of the digital phantom, 1,321 of 1,321 of the configurations
A to E, 27 of 27 response maps.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / one) for one in ("MarrowAssess", "PDFFMapper", "Testing/Python")]


def memory_mb() -> float:
    """The most this process has held so far; Linux's other count goes on through a new program."""
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def least_cpu_s(call: Callable[[], object], runs: int = 5) -> float:
    """CPU seconds of the fastest of some runs, after one that compiles."""
    call()
    times = []
    for _ in range(runs):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def bodies() -> tuple[np.ndarray, np.ndarray]:
    """Levels of 1 to 32 of a smooth random pattern, and the mask of four bodies."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    pattern = gaussian_filter(rng.normal(size=(60, 256, 256)), (0.5, 1.5, 1.5))
    levels = np.clip((pattern / pattern.std() * 5 + 16).astype(np.int32), 1, 32)
    mask = np.zeros(levels.shape, bool)
    for n in range(4):
        mask[18:42, 20 + 55 * n : 54 + 55 * n, 100:137] = True
    return levels, mask


def ours() -> None:
    """Print times of all aggregations, of the whole image, and of 1,050 features."""
    from MarrowAssessLib.catalogue.anatomy import Role
    from MarrowAssessLib.catalogue.contrasts import Contrast
    from MarrowAssessLib.study.regions import Region
    from MarrowAssessLib.texture.features import Aggregation, texture_features
    from MarrowAssessLib.texture.table import radiomics_rows
    from PDFFMapperLib.images.volume import Volume

    levels, mask = bodies()
    inside = np.where(mask, levels, 0)
    box = tuple(slice(where.min(), where.max() + 1) for where in np.nonzero(mask))
    print(f"{mask.sum()} voxels, 32 levels")
    before = memory_mb()
    for aggregation in Aggregation:
        seconds = least_cpu_s(lambda a=aggregation: texture_features(inside[box], mask[box], a))
        print(f"  {aggregation.value:26} {seconds:6.3f} CPU-s")
    print(f"  all six: {memory_mb() - before:.0f} MB more")
    before = memory_mb()
    whole = np.ones(levels.shape, bool)
    seconds = least_cpu_s(
        lambda: texture_features(levels, whole, Aggregation.VOLUME_MERGED), runs=1
    )
    print(f"whole image, 3D merged: {seconds:.2f} CPU-s, {memory_mb() - before:.0f} MB more")
    cubes = Volume(levels[:, :, :].astype(np.float32), np.eye(4), "cubes")
    boxes = [np.zeros(levels.shape, bool) for _ in range(5)]
    for n, one in enumerate(boxes):
        one[20:38, 10 + 48 * n : 44 + 48 * n, 100:128] = True
    regions = [
        Region.from_mask(f"L{n + 1} marrow", Role.MARROW, "", m) for n, m in enumerate(boxes)
    ]
    before = memory_mb()
    rows = radiomics_rows({Contrast.PDFF: cubes}, regions[:1], filtered=True)
    seconds = least_cpu_s(
        lambda: radiomics_rows({Contrast.PDFF: cubes}, regions, filtered=True), runs=1
    )
    print(
        f"{len(rows[0].values)} features of 12 images in 3D, 5 bodies of {boxes[0].sum()} voxels: "
        f"{seconds:.2f} CPU-s, {memory_mb() - before:.0f} MB more"
    )


def ibsi(ct: Path | None) -> None:
    """Print how many reference values and response maps agree."""
    import test_texture
    from test_texture_filters import _LONG, MAPS, gabor, largest_error, read_phantoms

    def told(what: str, pairs) -> None:
        right = [test_texture.agrees(row, value) for row, value in pairs]
        print(f"  {what}: {sum(right)} of {len(right)} values")

    print("IBSI references")
    told("digital phantom", test_texture.digital_pairs())
    for name in "ABCDE" if ct else "":
        told(f"configuration {name}", test_texture.configuration_pairs(ct, name))
    phantoms = read_phantoms()
    eighths = np.pi * np.arange(8) / 8  # too slow a map for the tests
    MAPS["4_b_2"] = ("sphere", gabor, {**_LONG, "angles_rad": eighths, "all_planes": True})
    errors = [largest_error(phantoms, name) for name in MAPS]
    right = sum(error <= 0.01 for error in errors)
    print(
        f"  filters: {right} of {len(errors)} response maps within 1 % of their range, the worst "
        f"{100 * max(errors):.3f} %"
    )


def peer(name: str) -> None:
    """Print time and memory of a library as JSON."""
    levels, mask = bodies()
    before = memory_mb()
    seconds = {"pyradiomics": pyradiomics, "mirp": mirp, "nyxus": nyxus}[name](levels, mask)
    print(json.dumps({"seconds": seconds, "mb": memory_mb() - before}))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--ibsi", type=Path, metavar="FOLDER", help="holds the IBSI's CT phantom")
    parser.add_argument("--only", help="run one peer in this process")
    args = parser.parse_args()
    if args.only:
        peer(args.only)
        return
    ours()
    for one in args.peer:
        name, python = one.split("=", 1)
        done = subprocess.run(
            [python, __file__, "--only", name], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"  {name}: not run ({done.stderr.strip().splitlines()[-1]})")
        else:
            found = json.loads(done.stdout.strip().splitlines()[-1])
            print(f"  {name:26} {found['seconds']:6.3f} CPU-s, {found['mb']:.0f} MB more")
    ibsi(args.ibsi)


def pyradiomics(levels: np.ndarray, mask: np.ndarray) -> float:
    """Its five texture families in 3D (93 features with first order)."""
    extractor = importlib.import_module("radiomics.featureextractor")
    import SimpleITK as sitk

    image, label = sitk.GetImageFromArray(levels), sitk.GetImageFromArray(mask.astype(np.uint8))
    own = extractor.RadiomicsFeatureExtractor(binWidth=1)
    own.disableAllFeatures()
    for family in ("glcm", "glrlm", "glszm", "ngtdm", "gldm"):
        own.enableFeatureClassByName(family)
    return least_cpu_s(lambda: own.execute(image, label), runs=2)


def mirp(levels: np.ndarray, mask: np.ndarray) -> float:
    """Its texture families in 3D."""
    own = importlib.import_module("mirp")
    settings = {
        "by_slice": False,
        "base_discretisation_method": "none",
        "base_feature_families": ["glcm", "glrlm", "glszm", "gldzm", "ngtdm", "ngldm"],
    }
    return least_cpu_s(
        lambda: own.extract_features(image=levels.astype(float), mask=mask, **settings), runs=1
    )


def nyxus(levels: np.ndarray, mask: np.ndarray) -> float:
    """Its texture families in 3D; it reads volumes from files only."""
    own = importlib.import_module("nyxus")
    import SimpleITK as sitk

    families = ["*3D_GLCM*", "*3D_GLRLM*", "*3D_GLSZM*", "*3D_GLDZM*", "*3D_NGTDM*", "*3D_NGLDM*"]
    tool = own.Nyxus3D(families)
    with tempfile.TemporaryDirectory() as folder:
        names = [str(Path(folder) / f"{name}.nii.gz") for name in ("image", "mask")]
        for name, array in zip(names, (levels, mask), strict=True):
            sitk.WriteImage(sitk.GetImageFromArray(array.astype(np.uint16)), name)
        return least_cpu_s(lambda: tool.featurize_files(names[:1], names[1:], True), runs=1)


if __name__ == "__main__":
    main()
