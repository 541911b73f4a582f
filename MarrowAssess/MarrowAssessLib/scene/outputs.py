"""The files an assessment leaves: report, tables, pictures and a scene, all or none of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PDFFMapperLib.images.outputs import output_set

from MarrowAssessLib.report.report import Report, write_csv, write_html, write_json

Say = Callable[[str], None]
PICTURES = ("overlay_3d.png", "overlay_slice.png")
RECORD = "assessment.json"
NAMES = ("report.html", "measurements.csv", RECORD, "scene.mrb", *PICTURES)


def write_outputs(report: Report, folder: str | Path, show: bool, say: Say = print) -> list[Path]:
    """Write report.html, measurements.csv and assessment.json, and with `show` the scene.

    With `show`, Slicer's scene is built: scene.mrb opens in Slicer, and overlay_3d.png and
    overlay_slice.png are rendered where that is possible; where it is not, a note in the report
    says what to install. All files take their place together when all are whole (see
    PDFFMapperLib.images.outputs); those that an earlier run made are replaced or removed, others
    are left alone.

    Args:
        report: what to write; pictures and notes are added to it.
        folder: where to; made if absent.
        show: whether to build the scene and render.
        say: told what is being done.

    Returns:
        The files written, the report first.

    Raises:
        ValueError: a file of somebody else's has the name of one of them.
        OSError: one of them could not be written whole.
    """
    folder = Path(folder)
    with output_set(folder, RECORD) as made:
        if show:
            _write_scene(report, made, say)
        say("Writing the report")
        write_csv(report, made / "measurements.csv")
        write_json(report, made / RECORD)
        write_html(report, made / "report.html")
        written = [name for name in NAMES if (made / name).exists()]
    report.pictures = {title: folder / file.name for title, file in report.pictures.items()}
    return [folder / name for name in written]


def _write_scene(report: Report, folder: Path, say: Say) -> None:
    from MarrowAssessLib.scene import headless

    try:
        headless.start()
    except headless.RuntimeMissing as missing:
        report.notes.append(f"No 3D overlay and no scene: {missing}")
        say(str(missing))
        return
    from MarrowAssessLib.scene.assessment import show_assessment
    from MarrowAssessLib.scene.files import save_scene, show_in_slices

    say("Building the scene")
    nodes = show_assessment(report.assessment)
    show_in_slices(nodes.volumes[0])
    try:
        from MarrowAssessLib.scene.rendering import render_3d, render_slice

        headless.require_rendering()
        say("Rendering")
        render_3d(folder / PICTURES[0], nodes.overlay, nodes.volumes[0])
        report.pictures["Regions colored by z-score"] = folder / PICTURES[0]
        render_slice(folder / PICTURES[1], nodes.overlay, nodes.volumes[0])
        report.pictures["Mid-sagittal slice"] = folder / PICTURES[1]
    except headless.RuntimeMissing as missing:
        report.notes.append(str(missing))
        say(str(missing))
    save_scene(folder / "scene.mrb")
