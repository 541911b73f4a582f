import copy
import functools
import hashlib
import inspect
import os
from pathlib import Path

# Read when numpy is loaded. Workers have a core each, and where one process runs alone, threads of
# BLAS spin longer than its products take.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from PDFFMapperLib.images.volume import Volume

REPOSITORY = Path(__file__).resolve().parents[2]
# Those that take longest come first: all of a file runs in one process, and one that is left to the
# end runs alone.
LONGEST = (
    "test_readme", "test_panels", "test_find_spine", "test_ute_cortex", "test_spectroscopy",
    "test_placement", "test_paths", "test_water_fat_bipolar", "test_desktop_steps", "test_ute",
    "test_two_echoes",
    "test_clicks", "test_water_fat_phase_errors", "test_recipes", "test_fracture",
    "test_scene_placement", "test_water_fat", "test_silence", "test_prediction", "test_modules",
    "test_sacrum", "test_dicom_out", "test_placement_cases", "test_sentences", "test_assessment",
    "test_clicking",
)  # fmt: skip


def pytest_configure(config):
    if hasattr(config.option, "loadscopereorder"):  # by how many tests a file has
        config.option.loadscopereorder = False


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """Workers begin to read the files at different ones, and find the others' halves compiled."""
    report = yield
    worker = getattr(collector.config, "workerinput", None)
    if worker and isinstance(collector, pytest.Dir):
        first = len(report.result) * int(worker["workerid"][2:]) // worker["workercount"]
        report.result = report.result[first:] + report.result[:first]
    return report


def pytest_collection_modifyitems(items):
    def order(item):
        return (*LONGEST, item.path.stem).index(item.path.stem), item.path

    items.sort(key=order)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference records and real images that lies beside the repository."""
    folder = Path(os.environ.get("MARROWASSESS_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here: real images and reference records are kept apart")
    return folder


@pytest.fixture(scope="session")
def phantom():
    from MarrowAssessLib.sample.phantom import lumbar_phantom

    return lumbar_phantom()


_KEPT: dict[tuple, object] = {}


def _key(given) -> object:
    """What tells images, options and points of two calls apart."""
    if isinstance(given, Volume):
        content = np.ascontiguousarray(given.array).tobytes() + given.ijk_to_ras.tobytes()
        return given.name, given.array.shape, hashlib.blake2b(content).digest()
    if isinstance(given, list | tuple):
        return tuple(_key(one) for one in given)
    return repr(given.tolist() if isinstance(given, np.ndarray) else given)


def _kept(compute):
    """A function whose result for the same images is computed once and copied each time."""
    parameters = inspect.signature(compute)

    @functools.wraps(compute)
    def kept(*given, **more):
        bound = parameters.bind(*given, **more)
        bound.apply_defaults()
        named = bound.arguments
        progress = named.pop("progress", None)
        key = (compute.__name__, *((name, _key(one)) for name, one in named.items()))
        if key not in _KEPT:
            _KEPT[key] = compute(**named, progress=progress)
        elif progress and not all(progress(part) for part in (0.1, 0.5, 0.9)):
            raise InterruptedError("It was canceled.")
        return copy.deepcopy(_KEPT[key])

    return kept


@pytest.fixture(scope="module")
def computed_once():
    """The spine of an image is sought once in a run, and its coil shading: by all modules.

    Those that test the search itself or how it is canceled do without.
    """
    from MarrowAssessLib.placement import clicks, spine_column
    from MarrowAssessLib.study import bias_field

    with pytest.MonkeyPatch.context() as patch:
        for name in ("find_spine", "find_column"):
            kept = _kept(getattr(spine_column, name))
            for module in (clicks, spine_column):
                patch.setattr(module, name, kept)
        patch.setattr(bias_field, "corrected", _kept(bias_field.corrected))
        yield


STACKS_KEPT = 16  # of about 10 MB each


@pytest.fixture(scope="session", autouse=True)
def looked_at_once():
    """Where no progress is asked for, the network looks at the same slices once in a run.

    Those that test the network itself call it where it stands.
    """
    from MarrowAssessLib.placement import find_spine

    look, kept = find_spine.probabilities, {}

    def probabilities(stack, step_mm, network=None, progress=None):
        if network is not None or progress is not None:
            return look(stack, step_mm, network, progress)
        key = hashlib.blake2b(stack.tobytes()).digest(), stack.shape, stack.dtype, step_mm
        kept[key] = kept.pop(key) if key in kept else look(stack, step_mm)
        if len(kept) > STACKS_KEPT:
            kept.pop(next(iter(kept)))  # asked for longest ago
        return kept[key].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find_spine, "probabilities", probabilities)
        yield


@pytest.fixture
def oblique_volume() -> Volume:
    """A small volume with anisotropic voxels, rotated axes and an offset origin."""
    rotation, _ = np.linalg.qr(np.array([[1.0, 0.2, 0.1], [-0.2, 1.0, 0.3], [0.1, -0.3, 1.0]]))
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * [0.8, 0.9, 3.0]
    matrix[:3, 3] = [12.0, -34.0, 56.0]
    rng = np.random.default_rng(0)
    return Volume(rng.normal(100, 10, (20, 40, 50)).astype(np.float32), matrix, "oblique")


@pytest.fixture
def drawn_once(phantom, computed_once, monkeypatch):
    """The sample data draw on the session's phantom instead of drawing their own."""
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from MarrowAssessLib.scene import headless

    headless.start()
    from MarrowAssessLib.sample import nodes as sample

    monkeypatch.setattr(sample, "lumbar_phantom", lambda: phantom)


@pytest.fixture
def desktop(drawn_once, monkeypatch):
    """The module files, their panels against stand-ins for Slicer's widgets; an empty scene."""
    pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
    import panel_stand_ins
    import slicer

    panel_stand_ins.forget_panels()
    slicer.mrmlScene.Clear(False)
    panel_stand_ins.install(monkeypatch)
    return panel_stand_ins


@pytest.fixture
def panel(desktop):
    """MarrowAssess's panel."""
    from stand_ins import load_module

    made = desktop.make_widget(load_module("MarrowAssess"), "MarrowAssess")
    yield made
    made.cleanup()


@pytest.fixture
def mapper(desktop):
    """PDFFMapper's panel."""
    from stand_ins import load_module

    made = desktop.make_widget(load_module("PDFFMapper"), "PDFFMapper")
    yield made
    made.cleanup()


@pytest.fixture
def sample(desktop):
    """The nodes of the digital lumbar spine."""
    from stand_ins import load_module

    return load_module("MarrowAssess").MarrowAssessLogic().loadSample()
