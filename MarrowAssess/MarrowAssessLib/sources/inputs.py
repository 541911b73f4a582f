"""What a study is made of: files for the command line and cohorts, nodes for console and panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.sources.labels import LabelRule


@dataclass(frozen=True)
class StudyInputs:
    """What every path measures: images, regions and patient.

    Attributes:
        volumes: by contrast; files, DICOM folders (see volume_source.read_source) or nodes.
        segmentation: regions as segments; a file or node.
        markups: ROI boxes, closed curves and points as regions; files or nodes.
        age_years, sex: of the patient; None takes those that the images state, if they do.
        resample: whether images (and segments of the scene) on another grid are interpolated.
        point_radius_mm: radius of the spheres that points become.
        field_strength_t: in tesla; None leaves it to the headers.
        spectra: of marrow, each such as "L3=te20.rda,te30.rda --baseline" (see sources.spectra).
        ute: series of bones, each such as "tibial diaphysis=ute.nii.gz" (see sources.ute).
    """

    volumes: Mapping[Contrast, object]
    segmentation: object = None
    markups: Sequence[object] = ()
    age_years: float | None = None
    sex: str | None = None
    resample: bool = False
    point_radius_mm: float = 4.0
    field_strength_t: float | None = None
    spectra: Sequence[str] = ()
    ute: Sequence[str] = ()


@dataclass(frozen=True)
class StudyFiles(StudyInputs):
    """What files may say besides; regions are also found from points, or by themselves.

    Attributes:
        labels: label map.
        rules: what its labels mean.
        labels_of: the tool that made it (one of label_maps.CONVENTIONS), instead of rules.
        segment_with: an installed tool that draws the regions, see other_tools.
        column, places: points (RAS, mm) from which regions are found in T1, or else in the first
            volume; see clicks.regions_from_clicks. Where neither region nor point is given, or
            `column` is "auto", the spine is found by itself, in T1 and in T2 or STIR by their
            headers, and all volumes are brought to the grid that it is drawn on.
        options: how regions are placed.
        right: doubtful regions that somebody has looked at and judged right; without that their
            numbers get no verdict.
        scale: factors that bring a volume to its unit.
        subject: a name to print on the report.
        keep_names: whether inputs are called by their files' names, not by hashes of contents.
        refine: whether drawn vertebrae are shrunk to measurement regions (see refined).
    """

    labels: object = None
    rules: Sequence[LabelRule] = ()
    labels_of: str | None = None
    segment_with: str | None = None
    column: Mapping[str, Sequence[float]] | str | None = None
    places: Mapping[str, Sequence[float]] | None = None
    options: PlacingOptions = AS_USUAL
    right: Sequence[str] = ()
    scale: Mapping[Contrast, float] | None = None
    subject: str = ""
    keep_names: bool = False
    refine: bool = False
