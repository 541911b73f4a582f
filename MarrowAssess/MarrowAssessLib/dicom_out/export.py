"""An assessment as DICOM objects: segmentation, maps and report, all or none of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PDFFMapperLib.dicom_out.parametric_map import write_dicom_maps
from PDFFMapperLib.dicom_out.source import (
    Source,
    dicom_set,
    refuse_no_source,
    refuse_without_highdicom,
    save,
    source_of,
)
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.kinds import find_kind
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.maps.progress import Progress, tell

from MarrowAssessLib.dicom_out.pdf import encapsulated_report
from MarrowAssessLib.dicom_out.report import report
from MarrowAssessLib.dicom_out.segmentation import masks_on, segmentation
from MarrowAssessLib.findings.result import Assessment
from MarrowAssessLib.study.study import Study

WHAT = "Writing DICOM"


def refuse_no_dicom(study: Study) -> None:
    """Say before anything is computed where no DICOM objects can be made of a study.

    Raises:
        ValueError: highdicom is missing, or no image was read from DICOM.
    """
    refuse_without_highdicom()
    _grid_image(study)


def write_dicom(
    assessment: Assessment,
    folder: str | Path,
    anonymous: bool = False,
    pdf_glance: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Write segmentation.dcm, report.dcm and a map ``<name>.dcm`` for each map of the study.

    Study, patient and frame of reference are those of the image that the regions lie on. A map
    that was not read from DICOM, or lies on another grid, is left out and noted.

    Args:
        assessment: of a study with at least one image from DICOM.
        folder: made if absent.
        anonymous: without who the patient is.
        pdf_glance: what matters most, in sentences, at the top of the report as Encapsulated PDF
            (report_pdf.dcm); None for no PDF.

    Returns:
        The files written.

    Raises:
        ValueError: no image is from DICOM, or the objects cannot be made.
        OSError: a file could not be written whole.
        InterruptedError: canceled; nothing is then written.
    """
    folder = Path(folder)
    study = assessment.study
    if not assessment.results:
        raise ValueError("Nothing was measured, so there is nothing to write as DICOM.")
    image = _grid_image(study)
    source = source_of([image], "The image of the regions", anonymous)
    masks, note = masks_on(study, source)
    if note:
        assessment.notes.append(note)
    tell(progress, 0.1, WHAT)
    segments = segmentation(study, source, masks)
    with dicom_set(folder) as made:
        tell(progress, 0.3, WHAT)
        save(segments, made / "segmentation.dcm")
        tell(progress, 0.4, WHAT)
        written = report(assessment, source, segments)
        tell(progress, 0.7, WHAT)
        save(written, made / "report.dcm")
        tell(progress, 0.8, WHAT)
        _write_maps(study, assessment.notes, made, source, anonymous)
        if pdf_glance is not None:
            report_pdf = encapsulated_report(assessment, source, pdf_glance)
            save(report_pdf, made / "report_pdf.dcm")
        names = sorted(file.name for file in made.glob("*.dcm"))
    return [folder / name for name in names]


def _grid_image(study: Study) -> Volume:
    """The image from DICOM that the regions lie on, else the first from DICOM."""
    from_dicom = [one for one in study.volumes.values() if one.slices and not one.slices.tiled]
    for image in from_dicom:
        if image.same_grid(image.slices.grid):
            return image
    if not from_dicom:
        refuse_no_source(study.grid, "The study")
    return from_dicom[0]


def _write_maps(
    study: Study, notes: list[str], folder: Path, of_regions: Source, anonymous: bool
) -> None:
    for contrast, volume in study.volumes.items():
        kind = find_kind(contrast.value)
        if kind is None or kind.unit in ("", "signal"):
            continue
        own = volume.slices
        if own is None or own.tiled or not volume.same_grid(own.grid):
            notes.append(
                f"{contrast.value} has no DICOM map, as it was not read from DICOM on this grid; "
                "the commands that compute maps write theirs with --dicom-out."
            )
            continue
        same = volume.slices.frames == of_regions.slices.frames  # its headers are read already
        source = of_regions if same else source_of([volume], contrast.value, anonymous)
        write_dicom_maps([ParametricMap(kind, volume)], source, folder)
