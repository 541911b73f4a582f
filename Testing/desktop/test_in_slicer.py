"""Both tutorials clicked through in a real Slicer: SLICER=/path/to/Slicer pytest Testing/desktop.

It needs a display, or Xvfb and xdotool. Each step leaves a picture in MARROWASSESS_DESKTOP_OUT, or
in a temporary folder.
"""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).parent


def test_both_tutorials_by_real_clicks(tmp_path):
    slicer = os.environ.get("SLICER")
    if not slicer:
        pytest.skip("No Slicer desktop: set SLICER=/path/to/Slicer to click through it")
    if not shutil.which("xdotool"):
        pytest.skip("xdotool is not installed: it makes the mouse and keyboard events")
    display = (
        [] if os.environ.get("DISPLAY") else ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24"]
    )
    if display and not shutil.which("xvfb-run"):
        pytest.skip("There is no display, and xvfb-run is not installed")
    out = pathlib.Path(os.environ.get("MARROWASSESS_DESKTOP_OUT", tmp_path))
    out.mkdir(parents=True, exist_ok=True)
    modules = [str(REPOSITORY / name) for name in ("MarrowAssess", "PDFFMapper")]
    ran = subprocess.run(
        [
            *display, slicer, "--no-splash", "--disable-settings",
            "--additional-module-paths", *modules,
            "--python-script", str(HERE / "slicer_desk.py"),
        ],
        env={**os.environ, "MARROWASSESS_DESKTOP_OUT": str(out)},
        capture_output=True, text=True, timeout=3600,
    )  # fmt: skip
    file = out / "outcome.json"
    assert file.is_file(), f"Slicer ended early:\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
    outcome = json.loads(file.read_text())
    assert not outcome["failed"], "\n".join(outcome["failed"].values())
    assert outcome["done"] == outcome["steps"]  # all that were to be done
    assert len(list(out.glob("*.png"))) >= len(outcome["steps"]) > 0
