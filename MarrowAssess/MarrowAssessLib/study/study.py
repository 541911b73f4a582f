"""A study: volumes with roles and regions with tissue and site, all on one voxel grid."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from PDFFMapperLib.images.files import image_from_volume, read_volume, volume_from_image
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.trust import where_trusted

from MarrowAssessLib.catalogue.anatomy import Role, parse_role, parse_site
from MarrowAssessLib.catalogue.contrasts import Contrast, parse_contrast
from MarrowAssessLib.catalogue.patient import check_age
from MarrowAssessLib.catalogue.terminology import role_and_site
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.sources.label_maps import regions_of_convention
from MarrowAssessLib.sources.map_scale import in_stated_unit, scale_advice
from MarrowAssessLib.sources.segmentations import regions_from_segmentation
from MarrowAssessLib.sources.volume_source import read_source
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.shapes import rasterize, read_markups

T = TypeVar("T")


@dataclass
class Study:
    """Everything one assessment needs.

    Attributes:
        volumes: by contrast, all on the grid of the regions.
        regions: regions of interest on that grid.
        age_years, sex: of the patient; None where unknown. sex is "F" or "M".
        inputs: what each volume and region was read from, for provenance.
        subject: a name to print on the report, "" unless the user asks for one.
        notes: sentences about how volumes and regions were read.
    """

    volumes: dict[Contrast, Volume]
    regions: list[Region]
    age_years: float | None = None
    sex: str | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    subject: str = ""
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.volumes:
            raise ValueError("No volume was given; name at least one, such as T1=t1.nii.gz.")
        if not self.regions:
            raise ValueError(
                "No region was given; give a label map, a segmentation, markups, or points to find "
                "them from."
            )
        if self.age_years is not None:
            check_age(self.age_years)
        if self.sex not in (None, "F", "M"):
            raise ValueError(f"Sex '{self.sex}' is not known; expected F or M, or leave it out.")
        if empty := [region.name for region in self.regions if not region.voxels]:
            raise ValueError(
                f"{', '.join(empty)}: this region is empty; draw it again or leave it out."
            )
        names = [region.name for region in self.regions]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"Region names must be unique; used twice: {', '.join(twice)}.")
        first = self.grid
        for contrast, volume in self.volumes.items():
            if not volume.same_grid(first):
                raise ValueError(_grids_differ(volume, first))
            if advice := scale_advice(volume, contrast):
                raise ValueError(advice)

    @property
    def grid(self) -> Volume:
        """A volume that stands for the common grid."""
        return next(iter(self.volumes.values()))

    def with_role(self, role: Role) -> list[Region]:
        """The regions of one tissue."""
        return [region for region in self.regions if region.role is role]


@dataclass(frozen=True)
class LabelRule:
    """What one value of a label map means."""

    value: int
    role: Role
    site: str


def parse_label_rule(text: str) -> LabelRule:
    """Read "2=marrow:L5" (label value, tissue role, site; the site may be missing).

    Raises:
        ValueError: the text is not of that form.
    """
    match = re.fullmatch(r"\s*(\d+)\s*=\s*([^:]+?)\s*(?::\s*(.*?)\s*)?", text)
    if not match or int(match[1]) == 0:
        raise ValueError(
            f"'{text}' does not say what a label means; expected VALUE=ROLE:SITE, such as "
            "2=marrow:L5, with VALUE above 0."
        )
    return LabelRule(int(match[1]), parse_role(match[2]), parse_site(match[3] or ""))


def region_name(role: Role, site: str) -> str:
    """What a region of that tissue at that site is called."""
    word = "CSF" if role is Role.CSF else role.value
    return f"{site} {word}".strip()


def regions_from_labels(labels: Volume, rules: list[LabelRule]) -> list[Region]:
    """One region per rule, from a label map; values without a rule are left out.

    Raises:
        ValueError: the map is not of whole numbers, or a value does not occur in it.
    """
    _check_labels(labels)
    array = labels.array
    boxes = _boxes(array, {rule.value for rule in rules})
    regions = []
    for rule in rules:
        name, box = region_name(rule.role, rule.site), boxes[rule.value]
        if box is None:
            present = ", ".join(f"{value:.0f}" for value in np.unique(array[array > 0])) or "none"
            raise ValueError(
                f"{labels.name}: label {rule.value} ({name}) is empty; labels in this map: "
                f"{present}."
            )
        offset = tuple(s.start for s in box)
        regions.append(Region(name, rule.role, rule.site, array[box] == rule.value, offset))
    return regions


def _check_labels(labels: Volume) -> None:
    array = labels.array
    if array.dtype.kind == "f" and not (
        np.isfinite(array).all() and (array == np.round(array)).all()
    ):
        raise ValueError(f"{labels.name}: a label map holds whole numbers; this one does not.")


def _boxes(array: np.ndarray, values: set[int]) -> dict[int, tuple[slice, ...] | None]:
    """The bounding box of each value, None where it does not occur."""
    from scipy.ndimage import find_objects

    numbers = {value: value for value in values}
    if array.dtype == bool:
        array = array.view(np.uint8)
    elif array.dtype.itemsize > 2:
        # find_objects makes a list as long as the largest value, and that can be anything here.
        numbers = {value: n for n, value in enumerate(values, 1)}
        wide, array = array, np.zeros(array.shape, np.uint16)
        for value, n in numbers.items():
            array[wide == value] = n
    boxes = find_objects(array)
    return {v: boxes[n - 1] if n <= len(boxes) else None for v, n in numbers.items()}


def regions_from_markups(
    path: str | Path, volume: Volume, point_radius_mm: float = 4.0
) -> list[Region]:
    """Regions of a Slicer markups file, on a volume's grid; each shape's name tells its tissue.

    Raises:
        FileNotFoundError, ValueError: see shapes.read_markups, shapes.rasterize and
            terminology.role_and_site.
    """
    regions = []
    for shape in read_markups(path, point_radius_mm):
        role, site = role_and_site(shape.name)
        regions.append(rasterize(shape, volume, role, site))
    return regions


def read_study(
    volumes: dict[Contrast, str | Path],
    labels: str | Path | None = None,
    rules: list[LabelRule] | None = None,
    labels_of: str | None = None,
    segmentation: str | Path | None = None,
    markups: list[str | Path] | None = None,
    column: dict[str, Sequence[float]] | None = None,
    places: dict[str, Sequence[float]] | None = None,
    options: PlacingOptions = AS_USUAL,
    age_years: float | None = None,
    sex: str | None = None,
    resample: bool = False,
    point_radius_mm: float = 4.0,
    scale: dict[Contrast, float] | None = None,
    subject: str = "",
) -> Study:
    """Read a study from files or DICOM folders (see volume_source.read_source).

    The regions' grid is that of the label map, else of the segmentation, else of the first
    volume. Volumes on another grid are refused, or with `resample` interpolated linearly onto it
    (NaN outside their field of view). `scale` multiplies a volume, to bring a map to its unit.
    Where a mask beside a map's file says that a value cannot be trusted it is left out (see
    PDFFMapperLib.maps.trust).

    `labels_of` names the tool that made the label map (one of label_maps.CONVENTIONS) instead of
    rules. `column` and `places` are points (RAS, mm) from which regions are found in T1, or else in
    the first volume; see clicks.regions_from_clicks, also for `options`.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong.
    """
    read = {contrast: _read(path, contrast) for contrast, path in volumes.items()}
    if not read:
        raise ValueError("No volume was given; name at least one, such as T1=t1.nii.gz.")
    if absent := [contrast.value for contrast in scale or {} if contrast not in read]:
        raise ValueError(f"A scale is given for {', '.join(absent)}, but no such volume.")
    if (rules or labels_of) and labels is None:
        raise ValueError("What labels mean is given, but no label map; name it with --labels.")
    if rules and labels_of:
        raise ValueError(f"Say what labels mean once: by rules, or as those of {labels_of}.")
    inputs = {contrast.value: Path(path).name for contrast, path in volumes.items()}
    notes: list[str] = []
    for contrast, path in volumes.items():
        read[contrast], mask = where_trusted(read[contrast], path)
        inputs[contrast.value] += f" (where {mask} says so)" if mask else ""
        notes += read[contrast].notes
    grids: list[Volume] = []
    regions: list[Region] = []
    if labels is not None:
        if not rules and not labels_of:
            raise ValueError(
                f"{labels}: say what its labels mean, with VALUE=ROLE:SITE such as 2=marrow:L5, or "
                "which tool made it (--labels-of)."
            )
        grids.append(read_volume(labels))
        inputs["labels"] = Path(labels).name
        if labels_of:
            _check_labels(grids[-1])
            regions += regions_of_convention(grids[-1].array, labels_of)
            inputs["labels"] += f" (labels of {labels_of})"
        else:
            regions += regions_from_labels(grids[-1], rules)
    if segmentation is not None:
        drawn = regions_from_segmentation(segmentation, [*grids, *read.values()])
        if grids and not drawn.grid.same_grid(grids[0]):
            raise ValueError(_grids_differ(drawn.grid, grids[0]))
        grids.append(drawn.grid)
        regions += drawn.regions
        notes += drawn.notes
        inputs["segmentation"] = Path(segmentation).name
        if drawn.left_out:
            inputs["left out"] = ", ".join(drawn.left_out)
            notes.append(f"Segments left out: {inputs['left out']}.")
    grid = grids[0] if grids else next(iter(read.values()))
    for path in markups or []:
        regions += regions_from_markups(path, grid, point_radius_mm)
    if markups:
        inputs["markups"] = ", ".join(Path(path).name for path in markups)
    for contrast, volume in read.items():
        if contrast in (scale or {}):
            read[contrast] = volume = volume.with_array(volume.array * float(scale[contrast]))
            inputs[contrast.value] += f" (times {scale[contrast]:g})"
        else:
            read[contrast], said = in_stated_unit(volume, contrast)
            volume = read[contrast]
            notes += [said] if said else []
        if not volume.same_grid(grid):
            if not resample or "PlacementsApartMm" in {**volume.attributes, **grid.attributes}:
                raise ValueError(_grids_differ(volume, grid))
            read[contrast] = resampled(volume, grid)
            inputs[contrast.value] += f" (resampled onto the grid of {grid.name})"
    if column or places:
        from MarrowAssessLib.placement.clicks import regions_from_clicks  # loads a compiler

        contrast = Contrast.T1 if Contrast.T1 in read else next(iter(read))
        found, said = regions_from_clicks(read[contrast], column, places, options, regions)
        regions += found
        points = {**(column or {}), **(places or {})}
        inputs["points"] = f"in {contrast.value}: " + "; ".join(
            f"{name} at {', '.join(f'{value:g}' for value in point)} mm (RAS)"
            for name, point in points.items()
        )
        inputs["points"] += f"; {said}" if said else ""
        if options.leave_out:
            inputs["points"] += f"; left out: {', '.join(options.leave_out)}"
    return Study(read, regions, age_years, sex, inputs, subject, list(dict.fromkeys(notes)))


def read_study_file(path: str | Path) -> dict:
    """Read a study file (JSON) into the arguments of read_study; paths are relative to it.

    Example: {"age_years": 45, "sex": "F", "volumes": {"T1": "t1.nii.gz", "STIR": "stir.nii.gz"},
    "labels": "labels.nii.gz", "label_rules": ["2=marrow:L5"], "markups": ["rois.mrk.json"]};
    instead of drawn regions, points to find them from: "column": {"L3": [1.5, -20, 33]},
    "places": {"fat": [0, -70, 33]}, "lumbar": 5, "leave_out": ["vein", "fat"].

    Raises:
        FileNotFoundError, ValueError: no such file, not JSON, an unknown key or a value of another
            kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: a study file is JSON; this one cannot be read.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: a study file is one JSON object with 'volumes' and regions.")
    if unknown := sorted(set(content) - set(_STUDY_FILE)):
        raise ValueError(
            f"{path}: unknown key {', '.join(unknown)}; expected: {', '.join(sorted(_STUDY_FILE))}."
        )
    content = {key: value for key, value in content.items() if value is not None}
    for key, value in content.items():
        fits, words = _STUDY_FILE[key]
        if not fits(value):
            raise ValueError(f"{path}: '{key}' must be {words}; this is {json.dumps(value)}.")
    here = path.parent
    as_they_are = (
        "sex", "resample", "subject", "labels_of", "column", "places",
    )  # fmt: skip
    arguments = {key: content[key] for key in as_they_are if key in content}
    placing = {key: content[key] for key in ("lumbar", "leave_out") if key in content}
    if placing:
        arguments["options"] = PlacingOptions(**placing)
    for key in ("age_years", "point_radius_mm"):
        if key in content:
            arguments[key] = float(content[key])
    arguments["volumes"] = by_contrast(
        (role, here / file) for role, file in content.get("volumes", {}).items()
    )
    arguments["rules"] = [parse_label_rule(text) for text in content.get("label_rules", [])]
    arguments["scale"] = by_contrast(content.get("scale", {}).items())
    for key in ("labels", "segmentation"):
        if key in content:
            arguments[key] = here / content[key]
    if "markups" in content:
        listed = content["markups"]
        arguments["markups"] = [here / m for m in ([listed] if isinstance(listed, str) else listed)]
    return arguments


def by_contrast(named: Iterable[tuple[str, T]]) -> dict[Contrast, T]:
    """Things by the contrast that their names mean.

    Raises:
        ValueError: an unknown name, or two of the same contrast.
    """
    found: dict[Contrast, T] = {}
    for role, one in named:
        contrast = parse_contrast(role)
        if contrast in found:
            raise ValueError(
                f"{contrast.value} is given twice: {found[contrast]} and {one}; keep one."
            )
        found[contrast] = one
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_points(value: object) -> bool:
    points = value.values() if isinstance(value, dict) else [None]
    return all(isinstance(p, list) and len(p) == 3 and all(map(_is_number, p)) for p in points)


_POINTS = (_are_points, 'an object of names and points in mm (RAS), such as {"L3": [1.5, -20, 33]}')

# What each key of a study file must hold, in code and in words.
_STUDY_FILE: dict[str, tuple[Callable[[object], bool], str]] = {
    "volumes": (
        lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
        'an object of roles and files, such as {"T1": "t1.nii.gz"}',
    ),
    "labels": (_is_text, "a file name"),
    "label_rules": (_are_texts, 'a list of texts such as ["2=marrow:L5"]'),
    "labels_of": (_is_text, 'the tool that made the labels, such as "TotalSpineSeg"'),
    "segmentation": (_is_text, "a file name"),
    "markups": (lambda value: _is_text(value) or _are_texts(value), "a list of file names"),
    "column": _POINTS,
    "places": _POINTS,
    "lumbar": (lambda value: value in (4, 5, 6), "4, 5 or 6"),
    "leave_out": (_are_texts, 'a list of "vein" and "fat"'),
    "age_years": (_is_number, "a number"),
    "sex": (_is_text, '"F" or "M"'),
    "subject": (lambda value: isinstance(value, str), "a text"),
    "resample": (lambda value: isinstance(value, bool), "true or false"),
    "point_radius_mm": (_is_number, "a number"),
    "scale": (
        lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
        'an object of roles and factors, such as {"ADC": 0.001}',
    ),
}


def resampled(volume: Volume, grid: Volume) -> Volume:
    """The volume, interpolated linearly on another grid; NaN outside its field of view."""
    import SimpleITK as sitk

    target = image_from_volume(grid.with_array(np.zeros(grid.array.shape, np.uint8)))
    source = image_from_volume(volume.with_array(volume.array.astype(np.float32)))
    moved = sitk.Resample(source, target, sitk.Transform(), sitk.sitkLinear, float("nan"))
    result = volume_from_image(moved, volume.name)
    return Volume(result.array, grid.ijk_to_ras.copy(), volume.name, dict(volume.attributes))


def _read(path: str | Path, contrast: Contrast) -> Volume:
    volume = read_source(path, contrast)
    volume.name = f"{contrast.value} ({Path(path).name})"
    return volume


def _grids_differ(volume: Volume, grid: Volume) -> str:
    def describe(one: Volume) -> str:
        size = "x".join(map(str, one.array.shape[::-1]))
        return f"{size} voxels of {' x '.join(f'{s:.2f}' for s in one.spacing)} mm"

    twice = [one for one in (volume, grid) if "PlacementsApartMm" in one.attributes]
    if twice:
        return (
            f"{volume.name} is not where {grid.name} is. {twice[0].notes[0]} Make the two agree "
            "(set both to the one in which the regions were drawn)."
        )
    same_size = volume.array.shape == grid.array.shape and np.allclose(volume.spacing, grid.spacing)
    where = ", placed or oriented differently" if same_size else ""
    return (
        f"{volume.name} ({describe(volume)}) is on another voxel grid than {grid.name} "
        f"({describe(grid)}{where}); resample it first, or ask for resampling (--resample)."
    )
