"""How long a region edit takes to reach table and overlay, and how long a module file loads.

Run: python Testing/benchmarks/desktop_modules.py
"""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("MarrowAssess", "PDFFMapper", "Testing")]

SHAPE_KJI = (57, 361, 361)
LOAD = """
import sys, time
sys.path[:0] = {paths!r}
import slicer, vtk, stand_ins
slicer.util
from slicer import vtkMRMLScriptedModuleNode
stand_ins.load_module  # its own imports are not counted
start = time.process_time()
stand_ins.load_module({name!r})
print(time.process_time() - start)
"""


def loading() -> None:
    """CPU time of importing each module file once slicer is there (stand-ins for the desktop)."""
    paths = sys.path[:3]
    for name in ("MarrowAssess", "PDFFMapper"):
        times = []
        for _ in range(5):
            code = LOAD.format(paths=paths, name=name)
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            times.append(float(done.stdout))
        print(f"load {name}.py: {1000 * min(times):.1f} ms")


def refreshing() -> None:
    """CPU time from an edited segment to table, charts and overlay."""
    from MarrowAssessLib.scene import headless

    headless.start()
    import slicer
    from MarrowAssessLib.catalogue.anatomy import Role
    from MarrowAssessLib.catalogue.contrasts import Contrast
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.scene.live_results import show_live
    from MarrowAssessLib.scene.segments import regions_to_node
    from MarrowAssessLib.scene.study import study_from_nodes
    from MarrowAssessLib.sources.inputs import StudyInputs
    from MarrowAssessLib.study.regions import Region
    from PDFFMapperLib.images.volume import Volume
    from PDFFMapperLib.scene.volumes import volume_to_node, vtk_matrix
    from vtkmodules.util.numpy_support import numpy_to_vtk

    rng = np.random.default_rng(0)
    array = rng.normal(300, 20, SHAPE_KJI).astype(np.int16)
    spacing = np.diag([0.8, 0.8, 1.5, 1.0])
    volume = volume_to_node(Volume(array, spacing, "T1"))
    regions = []
    for n, (role, site) in enumerate(
        [(Role.MARROW, f"L{m}") for m in range(1, 6)]
        + [(Role.CSF, "L3"), (Role.DISC, "L3-L4"), (Role.MUSCLE, "left psoas")]
        + [(Role.FAT, "")]
    ):
        mask = np.ones((18, 26, 32), bool)
        name = f"{site} {role.value}".strip()
        regions.append(Region(name, role, site, mask, (20, 20 + 36 * n, 120 + 10 * (n % 3))))
    segmentation = regions_to_node(regions, volume)

    def refresh() -> dict[str, float]:
        marks = [time.process_time()]
        study = study_from_nodes(StudyInputs({Contrast.T1: volume}, segmentation, (), 45, "F"))
        marks.append(time.process_time())
        assessment = assess(study)
        marks.append(time.process_time())
        show_live(assessment, segmentation)
        marks.append(time.process_time())
        return dict(zip(("read nodes", "assess", "show"), np.diff(marks), strict=True))

    def brush(size: int) -> float:
        """Replace a segment the way the Segment Editor's brush does; 3D follows in there."""
        image = slicer.vtkOrientedImageData()
        image.SetExtent(130, 161, 56, 56 + size, 20, 37)
        image.SetImageToWorldMatrix(vtk_matrix(spacing))
        values = np.ones(32 * (size + 1) * 18, np.uint8)
        image.GetPointData().SetScalars(numpy_to_vtk(values, deep=True))
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        start = time.process_time()
        logic.SetBinaryLabelmapToSegment(
            image, segmentation, "L2 marrow", logic.MODE_REPLACE, image.GetExtent()
        )
        return time.process_time() - start

    refresh()
    runs = []
    for n in range(7):
        edit = brush(25 - n)
        runs.append({"Slicer's own edit (not counted below)": edit, **refresh()})
    for part in runs[0]:
        print(f"{part}: {1000 * np.median([run[part] for run in runs]):.0f} ms")
    total = np.median([sum(list(run.values())[1:]) for run in runs])
    print(f"region edit to table and overlay, {SHAPE_KJI}, 9 regions: {1000 * total:.0f} ms")


if __name__ == "__main__":
    loading()
    refreshing()
