"""Times and memory of texture features, beside other libraries where they are installed.

    python Testing/benchmarks/texture.py

Regions are four digital vertebral bodies of 30,000 voxels in an image of 256 x 256 x 60, 32 gray
levels; CPU seconds of this process, the least of five runs. Peers (each run only if it imports):
pyradiomics, mirp, nyxus.
"""

from __future__ import annotations

import importlib
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "MarrowAssess"), str(ROOT / "PDFFMapper")]


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


def main() -> None:
    """Print the table."""
    from MarrowAssessLib.texture.features import Aggregation, texture_features

    levels, mask = bodies()
    inside = np.where(mask, levels, 0)
    box = tuple(slice(where.min(), where.max() + 1) for where in np.nonzero(mask))
    print(f"{mask.sum()} voxels, 32 levels")
    for aggregation in Aggregation:
        seconds = least_cpu_s(lambda a=aggregation: texture_features(inside[box], mask[box], a))
        print(f"  {aggregation.value:26} {seconds:6.3f} CPU-s")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    whole = np.ones(levels.shape, bool)
    seconds = least_cpu_s(
        lambda: texture_features(levels, whole, Aggregation.VOLUME_MERGED), runs=1
    )
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"whole image, 3D merged: {seconds:.2f} CPU-s, {more:.0f} MB more")
    for peer in (pyradiomics, mirp, nyxus):
        try:
            seconds = peer(levels, mask)
        except ImportError as error:
            print(f"  {peer.__name__}: not run ({error})")
        else:
            print(f"  {peer.__name__:26} {seconds:6.3f} CPU-s")


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
    """Its texture families in 3D."""
    own = importlib.import_module("nyxus")
    families = ["*3D_GLCM*", "*3D_GLRLM*", "*3D_GLSZM*", "*3D_GLDZM*", "*3D_NGTDM*", "*3D_NGLDM*"]
    tool = own.Nyxus3D(families)
    return least_cpu_s(lambda: tool.featurize(levels, mask.astype(np.uint8)), runs=1)


if __name__ == "__main__":
    main()
