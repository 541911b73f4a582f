"""CPU seconds of the scene layer on a 361 x 361 x 57 volume with 9 regions, and of its pictures.

Run from the repository root:
    PYTHONPATH=MarrowAssess:PDFFMapper python Testing/benchmarks/scene_and_overlay.py
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.scene import headless
from MarrowAssessLib.study.regions import Region
from PDFFMapperLib.images.volume import Volume

SHAPE = (57, 361, 361)
SITES = ["S1", "L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10"]


@contextmanager
def timed(what: str) -> Iterator[None]:
    cpu, wall = time.process_time(), time.perf_counter()
    yield
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{what:44s} {cpu:6.3f} s CPU {wall:6.3f} s wall")


def column() -> tuple[Volume, list[Region]]:
    array = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    sagittal = np.array([[0, 0, -1.0, 28], [0, -1, 0, 180], [1, 0, 0, -180], [0, 0, 0, 1]])
    regions = []
    for n, site in enumerate(SITES):
        mask = np.zeros(SHAPE, bool)
        mask[10:48, 160:195, 30 + 34 * n : 58 + 34 * n] = True
        regions.append(Region.from_mask(f"{site} marrow", Role.MARROW, site, mask))
    return Volume(array, sagittal, "T1"), regions


def main() -> None:
    with timed("import slicer-core, start the scene"):
        headless.start()
    with timed("import scene, overlay"):
        from MarrowAssessLib.scene import files as scene
        from MarrowAssessLib.scene import overlay
        from MarrowAssessLib.scene import segments as segment_nodes
        from PDFFMapperLib.scene import volumes as volume_nodes
    volume, regions = column()
    with timed("volume into the scene"):
        volume_node = volume_nodes.volume_to_node(volume)
    with timed("9 regions into the scene"):
        node = segment_nodes.regions_to_node(regions, volume_node)
    with timed("9 regions back"):
        segment_nodes.regions_from_node(node, volume_node)
    results = [
        overlay.SiteResult(region.name, z, f"{region.site}  2.31  expected 1.9-2.8")
        for region, z in zip(regions, np.linspace(-3, 3, 9), strict=True)
    ]
    with timed("colors, surfaces, legend, labels"):
        shown = overlay.show_results(node, results)
    with tempfile.TemporaryDirectory() as directory:
        with timed("save .mrb"):
            scene.save_scene(Path(directory) / "scene.mrb")
        with timed("load .mrb"):
            scene.load_scene(Path(directory) / "scene.mrb")
        with timed("can pictures be rendered? (in a process)"):
            possible = headless.rendering_available()
        if not possible:
            print(headless.INSTALL_RENDERING)
            return
        with timed("import rendering"):
            from MarrowAssessLib.scene import rendering
        import slicer

        volume_node, node = slicer.util.getNode("T1"), slicer.util.getNode("Regions")
        shown = overlay.show_results(node, results)
        for time_of in ("first", "again"):
            with timed(f"3D picture with slice, 1400 x 1000, {time_of}"):
                rendering.render_3d(Path(directory) / "3d.png", shown, volume_node)
            with timed(f"slice picture, 1000 x 1000, {time_of}"):
                rendering.render_slice(Path(directory) / "slice.png", shown, volume_node)


if __name__ == "__main__":
    main()
