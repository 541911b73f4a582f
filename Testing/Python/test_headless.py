import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from MarrowAssessLib.scene import headless

REPOSITORY = Path(__file__).parents[2]


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess:
    paths = os.pathsep.join(str(REPOSITORY / name) for name in ("MarrowAssess", "PDFFMapper"))
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_start_makes_the_scene_and_logics_once_and_silently():
    done = run_python(
        "from MarrowAssessLib.scene import headless\n"
        "headless.start()\n"
        "import slicer\n"
        "scene = slicer.mrmlScene\n"
        "headless.start()\n"
        "assert slicer.mrmlScene is scene\n"
        "node = scene.AddNewNodeByClass('vtkMRMLSegmentationNode', 'S')\n"
        "assert slicer.util.getNode('S') is node\n"
        "print(slicer.modules.segmentations.logic().GetMRMLScene() is scene)\n"
        "print(slicer.modules.application_logic.GetSliceLogicByLayoutName('Yellow') is not None)\n"
    )
    assert done.stdout.split() == ["True", "True"]
    assert done.stderr == ""
    assert done.returncode == 0


def test_start_does_nothing_in_the_desktop():
    done = run_python(
        "import sys, types\n"
        "sys.modules['slicer'] = types.SimpleNamespace(app=object(), mrmlScene='the desktop s')\n"
        "from MarrowAssessLib.scene import headless\n"
        "headless.start()\n"
        "print(sys.modules['slicer'].mrmlScene, headless.rendering_available())\n"
    )
    assert done.stdout.strip() == "the desktop s True"


def test_without_slicer_core_says_what_to_install():
    done = run_python(
        "import sys\n"
        "sys.modules['slicer'] = None\n"
        "from MarrowAssessLib.scene import headless\n"
        "try:\n"
        "    headless.start()\n"
        "except headless.RuntimeMissing as error:\n"
        "    print(error)\n"
    )
    assert done.stdout.startswith("The Slicer scene needs the slicer-core package (")
    assert 'pip install "MarrowAssess[headless]"' in done.stdout


def test_another_package_of_the_name_slicer_is_not_taken_for_it(monkeypatch):
    other = types.SimpleNamespace(__file__="/elsewhere/slicer.py")
    monkeypatch.setitem(sys.modules, "slicer", other)
    said = "The Python package 'slicer' found at /elsewhere/slicer.py is not Slicer's"
    with pytest.raises(headless.RuntimeMissing, match=said):
        headless.start()


@pytest.mark.skipif(sys.platform != "linux", reason="EGL is how Linux renders offscreen")
def test_without_egl_everything_else_works_and_the_message_says_what_to_install(tmp_path):
    done = run_python(
        "from MarrowAssessLib.scene import headless\n"
        "headless.start()\n"
        "import slicer\n"
        "from MarrowAssessLib.scene import rendering\n"
        "from MarrowAssessLib.scene import files as scene\n"
        "print(headless.rendering_available())\n"
        f"scene.save_scene({str(tmp_path / 'empty.mrb')!r})\n"
        "try:\n"
        "    headless.require_rendering()\n"
        "except headless.RuntimeMissing as error:\n"
        "    print(error)\n",
        __EGL_VENDOR_LIBRARY_DIRS=str(tmp_path),  # libEGL finds no driver there
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "False"
    assert (
        "Pictures cannot be rendered on this machine because it has no working EGL" in done.stdout
    )
    assert "libegl1 libgl1-mesa-dri" in done.stdout
    assert (tmp_path / "empty.mrb").is_file()


def test_rendering_available_agrees_with_require_rendering():
    if headless.rendering_available():
        headless.require_rendering()
    else:
        with pytest.raises(headless.RuntimeMissing, match="EGL"):
            headless.require_rendering()
