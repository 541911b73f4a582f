"""A study from image files, label maps, segmentations, markups and points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PDFFMapperLib.dicom import selection
from PDFFMapperLib.images.identity import TYPED_FACTS, short_hash, without_names
from PDFFMapperLib.images.resampling import resampled
from PDFFMapperLib.images.volume import Volume, grids_differ, placed_twice
from PDFFMapperLib.maps.trust import where_trusted

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.placement.options import AUTO, PlacingOptions
from MarrowAssessLib.sources.inputs import StudyFiles
from MarrowAssessLib.sources.label_maps import regions_of_convention
from MarrowAssessLib.sources.labels import check_labels, regions_from_labels
from MarrowAssessLib.sources.markups_file import regions_from_markups
from MarrowAssessLib.sources.segmentations import Segmentation, regions_from_segmentation
from MarrowAssessLib.sources.spectra import read_site_spectra
from MarrowAssessLib.sources.stated_patient import agreed_patient
from MarrowAssessLib.sources.ute import read_site_ute
from MarrowAssessLib.sources.volume_source import read_source
from MarrowAssessLib.study.map_scale import in_stated_unit
from MarrowAssessLib.study.regions import Region, judge_right
from MarrowAssessLib.study.study import Study

ASK = "resample it first, or ask for resampling (--resample)"


def read_study(files: StudyFiles | Mapping[Contrast, str | Path], **more: object) -> Study:
    """Read a study from files or DICOM folders.

    The regions' grid is that of the label map, else of the segmentation, else of the first
    volume. Volumes on another grid are refused, or with `resample` interpolated linearly onto it
    (NaN outside their field of view). Values that a mask beside a map's file does not trust are
    left out (see maps.trust).

    Args:
        files: what to read; the volumes alone stand for a StudyFiles of them and `more`.
        more: its other attributes, which go before those of a StudyFiles.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong.
    """
    files = replace(files, **more) if isinstance(files, StudyFiles) else StudyFiles(files, **more)
    keep_names, markups = files.keep_names, list(files.markups)
    read = {c: _read(path, c, keep_names) for c, path in files.volumes.items()}
    _check_given(files.scale or {}, read)
    _check_labels(files)
    inputs: dict[str, str] = {}
    by_path = {files.volumes[contrast]: volume for contrast, volume in read.items()}
    age_years, sex, notes = agreed_patient(files.age_years, files.sex, by_path)
    _refuse_twins(read)
    for contrast, path in files.volumes.items():
        read[contrast], inputs[contrast.value] = _trusted(path, read[contrast], keep_names)
        notes += read[contrast].notes
    grids, regions = _from_labels(files, inputs)
    if files.segmentation is not None:
        drawn = _from_segmentation(files.segmentation, grids, read, inputs, keep_names)
        grids.append(drawn.grid)
        regions += drawn.regions
        notes += drawn.notes
    if files.segment_with:
        grids.append(_by_tool(files.segment_with, read, grids, regions, inputs, notes))
    grid = grids[0] if grids else next(iter(read.values()))
    given, column, resample = len(regions), files.column, files.resample
    if column is None and not (regions or markups or files.places):
        column = AUTO
    if column == AUTO:
        column, resample = None, True
        grid = _add_spine(read, grids, files.options, regions, inputs, notes)
    regions += _marked(markups, grid, files.point_radius_mm, inputs, keep_names, notes)
    notes += _onto_grid(read, grid, files.scale or {}, resample, inputs)
    if files.refine:
        regions[:given] = _refined(read, regions[:given], files.options, notes)
    if column or files.places:
        points = column or {}, files.places or {}
        regions += _clicked(read, grid, *points, files.options, regions, inputs)
    judge_right(regions, files.right)
    if not keep_names:
        named = [files.labels, files.segmentation]
        paths = [*files.volumes.values(), *filter(None, named), *markups]
        notes = [without_names(note, paths) for note in notes]
    study = Study(
        read,
        regions,
        age_years,
        sex,
        inputs,
        files.subject,
        list(dict.fromkeys(notes)),
        files.field_strength_t,
        drawn_on=grid,
    )
    study.spectra = read_site_spectra(files.spectra, study, keep_names)
    study.bones = read_site_ute(files.ute, study, keep_names)
    return study


def _trusted(path: str | Path, volume: Volume, keep_names: bool) -> tuple[Volume, str]:
    """A volume where its map is trusted, and what it is called."""
    called = _called(path, volume, keep_names)
    volume, mask = where_trusted(volume, path)
    mask = mask if keep_names else mask and "the mask beside it"
    return volume, called + (f" (where {mask} says so)" if mask else "")


def _check_labels(files: StudyFiles) -> None:
    if (files.rules or files.labels_of) and files.labels is None:
        raise ValueError("What labels mean is given, but no label map; name it with --labels.")
    if files.rules and files.labels_of:
        raise ValueError(f"Say what labels mean once: by rules, or as those of {files.labels_of}.")


def _from_segmentation(
    segmentation: str | Path,
    grids: Sequence[Volume],
    read: Mapping[Contrast, Volume],
    inputs: dict[str, str],
    keep_names: bool,
) -> Segmentation:
    """What a segmentation holds, and what was left out of it."""
    drawn = regions_from_segmentation(segmentation, [*grids, *read.values()])
    if grids and not drawn.grid.same_grid(grids[0]):
        raise ValueError(grids_differ(drawn.grid, grids[0], ASK))
    inputs["segmentation"] = Path(segmentation).name if keep_names else "segments"
    if drawn.left_out:
        inputs["left out"] = ", ".join(drawn.left_out)
        drawn.notes.append(f"Segments left out: {inputs['left out']}.")
    return drawn


def _onto_grid(
    read: dict[Contrast, Volume],
    grid: Volume,
    scale: Mapping[Contrast, float],
    resample: bool,
    inputs: dict[str, str],
) -> list[str]:
    """Bring each volume to its unit and onto the regions' grid; notes on what was done."""
    notes: list[str] = []
    for contrast, volume in read.items():
        if contrast in scale:
            read[contrast] = volume = volume.with_array(volume.array * float(scale[contrast]))
            inputs[contrast.value] += f" (times {scale[contrast]:g})"
        else:
            read[contrast], said = in_stated_unit(volume, contrast)
            volume = read[contrast]
            notes += [said] if said else []
        read[contrast] = volume = volume.in_order_of(grid)
        if not (contrast.on_own_grid or volume.same_grid(grid)):
            if not resample or placed_twice(volume, grid):
                raise ValueError(grids_differ(volume, grid, ASK))
            read[contrast] = resampled(volume, grid)
            inputs[contrast.value] += f" (resampled onto the grid of {grid.name})"
    return notes


def _from_labels(files: StudyFiles, inputs: dict[str, str]) -> tuple[list[Volume], list[Region]]:
    """The regions of a label map, and the grid they are on; none of either without one."""
    labels, labels_of = files.labels, files.labels_of
    if labels is None:
        return [], []
    if not files.rules and not labels_of:
        raise ValueError(
            f"{labels}: say what its labels mean, with VALUE=ROLE:SITE such as 2=marrow:L5, or "
            "which tool made it (--labels-of)."
        )
    grid = selection.read_source(labels, "the label map")
    inputs["labels"] = _called(labels, grid, files.keep_names)
    if not labels_of:
        return [grid], regions_from_labels(grid, list(files.rules))
    check_labels(grid)
    inputs["labels"] += f" (labels of {labels_of})"
    return [grid], regions_of_convention(grid.array, labels_of)


def _marked(
    markups: Sequence[str | Path],
    grid: Volume,
    radius_mm: float,
    inputs: dict[str, str],
    keep_names: bool,
    notes: list[str],
) -> list[Region]:
    """The regions of markups files; what was left out becomes a note."""
    if markups:
        named = ", ".join(Path(path).name for path in markups)
        inputs["markups"] = named if keep_names else f"{len(markups)} file(s)"
    found: list[Region] = []
    left_out: list[str] = []
    for path in markups:
        regions, unnamed = regions_from_markups(path, grid, radius_mm)
        found += regions
        left_out += unnamed
    if left_out:
        inputs["left out"] = ", ".join(filter(None, [inputs.get("left out"), *left_out]))
        notes.append(f"Markups left out: {', '.join(left_out)}.")
    return found


def _by_tool(
    name: str,
    read: Mapping[Contrast, Volume],
    grids: Sequence[Volume],
    regions: list[Region],
    inputs: dict[str, str],
    notes: list[str],
) -> Volume:
    """Add the regions that another tool draws; the grid they are drawn on."""
    from MarrowAssessLib.sources.other_tools import segment_with
    from MarrowAssessLib.sources.tools import image_for, tool_named

    tool = tool_named(name)
    contrast = image_for(tool, list(read))
    grid = read[contrast]
    if grids and not grid.same_grid(grids[0]):
        raise ValueError(grids_differ(grid, grids[0], ASK))
    found = segment_with(tool, grid, contrast)
    regions += found.regions
    inputs["segmented with"] = found.told
    notes += found.notes
    return grid


def _refined(
    read: Mapping[Contrast, Volume],
    regions: Sequence[Region],
    options: PlacingOptions,
    notes: list[str],
) -> list[Region]:
    """Drawn regions, their vertebrae shrunk to measurement regions."""
    from MarrowAssessLib.placement.refined import refined  # loads a compiler
    from MarrowAssessLib.placement.spine_column import images_of_spine

    found, said = refined(read[images_of_spine(list(read)).drawn_on], regions, options)
    notes += said
    return found


def _add_spine(
    read: Mapping[Contrast, Volume],
    grids: Sequence[Volume],
    options: PlacingOptions,
    regions: list[Region],
    inputs: dict[str, str],
    notes: list[str],
) -> Volume:
    """Add the regions of the spine that is found by itself; the grid they are drawn on."""
    from MarrowAssessLib.placement.spine_column import find_column_in, images_of_spine

    drawn_on = images_of_spine(list(read)).drawn_on
    grid = read[drawn_on]
    if grids and not grid.same_grid(grids[0]):
        raise ValueError(grids_differ(grid, grids[0], ASK))
    column = find_column_in(read, options)
    regions += _beside_drawn(column.found_regions(), regions)
    inputs["spine"] = f"in {drawn_on.value}, without a point; {column.told()}"
    notes.append(f"Spine found without a point, levels {column.ground}.")
    notes += [*column.unsure, *column.not_found()]
    return grid


def _clicked(
    read: Mapping[Contrast, Volume],
    grid: Volume,
    column: Mapping[str, Sequence[float]],
    places: Mapping[str, Sequence[float]],
    options: PlacingOptions,
    drawn: Sequence[Region],
    inputs: dict[str, str],
) -> list[Region]:
    """The regions that are found from points, on the grid of the others."""
    from MarrowAssessLib.placement.clicks import regions_from_clicks  # loads a compiler

    first = next(iter(read))
    contrast = next((one for one in (Contrast.T1, Contrast.CT) if one in read), first)
    volume = read[contrast]
    if not volume.same_grid(grid):  # as a PET keeps its own
        _check_reach(volume, grid, {**column, **places})
        volume = resampled(volume, grid)
    found, said = regions_from_clicks(volume, column, places, options, drawn)
    inputs["points"] = f"in {contrast.value}: " + "; ".join(
        f"{name} at {', '.join(f'{value:g}' for value in point)} mm (RAS)"
        for name, point in {**column, **places}.items()
    )
    inputs["points"] += f"; {said}" if said else ""
    if options.leave_out:
        inputs["points"] += f"; left out: {', '.join(options.leave_out)}"
    return _beside_drawn(found, drawn)


def _beside_drawn(found: Sequence[Region], drawn: Sequence[Region]) -> list[Region]:
    """Regions that were found, without strips of muscle where some of that name were drawn."""
    from MarrowAssessLib.placement.tissue import STRIPS

    names = [region.name for region in drawn]
    return [one for one in found if one.site != STRIPS or one.name not in names]


def _check_reach(image: Volume, grid: Volume, points: Mapping[str, Sequence[float]]) -> None:
    """Refuse points that their image holds and the grid of the regions does not."""
    for name, point in points.items():
        at = np.asarray(point, float)
        if image.holds(at) and not grid.holds(at):
            raise ValueError(
                f"{name}: {image.name} shows the point "
                f"{', '.join(f'{value:g}' for value in np.round(at, 1))} (RAS, mm), but the grid "
                "on which the other regions are drawn ends before it; give a label map or "
                "segmentation that reaches so far, or place it in a run without one."
            )


def _read(path: str | Path, contrast: Contrast, keep_names: bool) -> Volume:
    volume = read_source(path, contrast)
    volume.name = f"{contrast.value} ({Path(path).name})" if keep_names else contrast.value
    if contrast is Contrast.CT:
        volume.attributes["Modality"] = "CT"
    if not keep_names:
        for key in TYPED_FACTS:
            volume.attributes.pop(key, None)
    return volume


def _called(path: str | Path, volume: Volume, keep_names: bool) -> str:
    """What an input is called in results."""
    return Path(path).name if keep_names else f"image {short_hash(volume)}"


def _refuse_twins(read: Mapping[Contrast, Volume]) -> None:
    """Refuse one image in two roles."""
    known: dict[str, Contrast] = {}
    for contrast, volume in read.items():
        twin = known.setdefault(short_hash(volume), contrast)
        if twin is not contrast and volume.same_grid(read[twin]):
            raise ValueError(
                f"{twin.value} and {contrast.value} are the same image; give a different one for "
                "each."
            )


def _check_given(scale: Mapping[Contrast, float], read: Mapping[Contrast, Volume]) -> None:
    if not read:
        raise ValueError("No volume was given; name at least one, such as T1=t1.nii.gz.")
    if absent := [contrast.value for contrast in scale if contrast not in read]:
        raise ValueError(f"A scale is given for {', '.join(absent)}, but no such volume.")
    for contrast, factor in scale.items():
        if not (math.isfinite(factor) and factor > 0):
            raise ValueError(
                f"The scale of {contrast.value} is {factor:g}; a factor above 0 is expected."
            )
