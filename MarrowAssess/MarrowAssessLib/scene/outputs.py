"""The files an assessment leaves: report, tables, pictures and a scene, all or none of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PDFFMapperLib.images.outputs import output_set, refuse_foreign
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.findings.result import Assessment
from MarrowAssessLib.findings.summary import headlines
from MarrowAssessLib.report.data import write_csv, write_json, write_sections
from MarrowAssessLib.report.html import write_html
from MarrowAssessLib.study.study import Study

if TYPE_CHECKING:
    import slicer

    from MarrowAssessLib.scene.overlay import Overlay

Say = Callable[[str], None]
PICTURES = ("overlay_3d.png", "overlay_slice.png")
RECORD = "assessment.json"
NAMES = ("report.html", "measurements.csv", "muscle_sections.csv", RECORD, "scene.mrb", *PICTURES)


def refuse_output_file(out: str | Path) -> None:
    """Say so before anything is computed where results cannot go.

    Raises:
        ValueError: there is a file of that name, or one there that would be replaced is not ours.
    """
    if Path(out).exists() and not Path(out).is_dir():
        raise ValueError(f"--out {out}: this is a file; name a folder.")
    refuse_foreign(out, RECORD, NAMES[:3])


def write_outputs(
    assessment: Assessment, folder: str | Path, show: bool, say: Say = print
) -> list[Path]:
    """Write report.html, measurements.csv and assessment.json, and with `show` the scene.

    Where a muscle is drawn muscle_sections.csv tells its area and fat slice by slice.

    With `show`, Slicer's scene is built: scene.mrb opens in Slicer, and overlay_3d.png and
    overlay_slice.png are rendered where that is possible; where it is not, a note in the report
    says what to install. All files take their place together when all are whole (see
    PDFFMapperLib.images.outputs); those that an earlier run made are replaced or removed, others
    are left alone.

    Args:
        assessment: what to write; notes on what is missing are added to it.
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
        pictures = _write_scene(assessment, made, say) if show else {}
        say("Writing the report")
        lines = headlines(assessment)
        write_csv(assessment, made / "measurements.csv")
        if sections := assessment.muscle_sections:
            write_sections(sections, made / "muscle_sections.csv")
        write_json(assessment, lines, made / RECORD)
        write_html(assessment, lines, made / "report.html", pictures)
        written = [name for name in NAMES if (made / name).exists()]
    return [folder / name for name in written]


def _write_scene(assessment: Assessment, folder: Path, say: Say) -> dict[str, Path]:
    """The scene's file; the pictures' by their captions."""
    from MarrowAssessLib.scene import headless

    try:
        headless.start()
    except headless.RuntimeMissing as missing:
        assessment.notes.append(f"No 3D overlay and no scene: {missing}")
        say(str(missing))
        return {}
    from MarrowAssessLib.scene.files import save_scene, show_in_slices

    pictures = {}
    say("Building the scene")
    image, overlay = _build_scene(assessment)
    show_in_slices(image)
    try:
        from MarrowAssessLib.scene.rendering import render_3d, render_slice

        headless.require_rendering()
        say("Rendering")
        render_3d(folder / PICTURES[0], overlay, image)
        pictures["Regions colored by z-score"] = folder / PICTURES[0]
        render_slice(folder / PICTURES[1], overlay, image)
        pictures["Mid-sagittal slice"] = folder / PICTURES[1]
    except headless.RuntimeMissing as missing:
        assessment.notes.append(str(missing))
        say(str(missing))
    save_scene(folder / "scene.mrb")
    return pictures


def _build_scene(assessment: Assessment) -> tuple[slicer.vtkMRMLScalarVolumeNode, Overlay]:
    """Add an assessment to the scene, in a subject-hierarchy folder of its own.

    Noise regions are left out of the segmentation: they are air, and would hide the anatomy.

    Returns:
        The image on the grid of the regions, and what shows these.
    """
    from PDFFMapperLib.scene.folders import put_in_folder
    from PDFFMapperLib.scene.volumes import volume_to_node

    from MarrowAssessLib.scene.assessment import results_table, site_results
    from MarrowAssessLib.scene.charts import age_chart
    from MarrowAssessLib.scene.overlay import show_results
    from MarrowAssessLib.scene.segments import regions_to_node
    from MarrowAssessLib.scene.spectrum_box import show_boxes
    from MarrowAssessLib.scene.spectrum_chart import spectrum_charts

    study = assessment.study
    volumes = [volume_to_node(volume, name) for name, volume in _grid_first(study)]
    regions = [region for region in study.regions if region.role is not Role.NOISE]
    segmentation = regions_to_node(regions, volumes[0], "Regions")
    overlay = show_results(segmentation, site_results(assessment))
    table = results_table(assessment.results)
    shared = assessment.shared_references
    charts = [chart for one in shared if (chart := age_chart(one, study.age_years))]
    for site, spectrum in study.spectra.items():
        charts += spectrum_charts(site, spectrum.fitted)
    boxes = show_boxes(segmentation, study.spectra)
    put_in_folder("MarrowAssess", [*volumes, segmentation, table, *charts, *boxes])
    return volumes[0], overlay


def _grid_first(study: Study) -> list[tuple[str, Volume]]:
    """The images by name, those on the grid of the regions first; that grid itself where none."""
    named = [(contrast.value, volume) for contrast, volume in study.volumes.items()]
    if not any(volume.same_grid(study.grid) for _, volume in named):
        named.append(("Grid of the regions", study.grid))
    return sorted(named, key=lambda one: not one[1].same_grid(study.grid))
