"""Segmentation tools of others, run where the user has installed them with their weights.

None of them is a dependency, and nothing is downloaded: a tool whose weights are missing is not
started, and its process is kept from the network. Commands, folders and label tables were read in
the packages as published: TotalSegmentator 2.18.0, totalspineseg 20260807 and spineps 2.1.3.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from PDFFMapperLib.images.files import read_volume, write_volume
from PDFFMapperLib.images.resampling import nearest
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.install.programs import find_program as installed_program
from PDFFMapperLib.install.programs import last_lines, launched, run_program

from MarrowAssessLib.catalogue.anatomy import VERTEBRAE, Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.sources.label_maps import known_labels, regions_of_convention
from MarrowAssessLib.sources.labels import check_labels
from MarrowAssessLib.sources.tools import Run, Tool
from MarrowAssessLib.study.regions import Region

TIME_LIMIT_S = 3600.0  # on a processor alone they take from minutes to half an hour
IN_PIECES = 0.05  # share of a vertebra outside its largest piece from which it is refused
MOVED = "Resampled from the tool's voxel grid."


@dataclass
class Segmented:
    """What a tool found.

    Attributes:
        regions: on the image's grid.
        told: tool, version and weights, for the provenance.
        notes: what the reader should know.
    """

    regions: list[Region]
    told: str
    notes: list[str] = field(default_factory=list)


def find_program(tool: Tool) -> Path:
    """The tool's entry point, on PATH or beside this Python (where Slicer installs it).

    Raises:
        ValueError: it is not installed.
    """
    found = installed_program(tool.program)
    if found is None:
        raise ValueError(
            f"{tool.name} is not installed: no program '{tool.program}' is on PATH. It can be had "
            f"from {tool.home} ({tool.license}). Without it this software finds the spine by "
            "itself (--column auto)."
        )
    return found


def find_weights(tool: Tool, program: Path, model: str = "") -> list[Path]:
    """The folders of the tool's weights.

    Raises:
        ValueError: some are missing; nothing is downloaded.
    """
    places = _weight_places(tool, program)
    found = []
    for pattern in tool.weights:
        name = pattern.replace("{model}", model.capitalize())
        matches = [match for place in places for match in sorted(place.rglob(name))]
        if not matches:
            looked = " and ".join(map(str, places)) or "no folder"
            raise ValueError(
                f"{tool.name} is installed, but its weights {name} are not (looked in {looked}). "
                f"Nothing is downloaded for you; get them by {tool.fetch}."
            )
        found.append(matches[-1])
    return found


def segment_with(
    tool: Tool,
    volume: Volume,
    contrast: Contrast,
    *,
    progress: Callable[[str], bool] | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> Segmented:
    """Run a tool on an image and take its regions.

    Args:
        tool: one of `TOOLS`.
        volume: the image; it is handed over under a neutral name, in a temporary folder.
        contrast: what it is.
        progress: takes the last line that the tool printed; returning False ends it.
        time_limit_s: after which it is ended.

    Raises:
        ValueError: it is not installed, has no weights, failed, or made what cannot be used.
        InterruptedError: canceled.
    """
    program = find_program(tool)
    model = tool.models.get(contrast, "")
    weights = find_weights(tool, program, model)
    regions: list[Region] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="marrowassess-") as name:
        folder = Path(name)
        image = folder / f"sub-image_{'T2w' if contrast is Contrast.T2 else 'T1w'}.nii.gz"
        write_volume(volume, image)
        for run in tool.runs:
            words = {"image": str(image), "folder": str(folder), "model": model}
            command = [*launched(program), *(one.format(**words) for one in run.arguments)]
            log = folder / "log.txt"
            if code := run_program(tool.name, command, log, time_limit_s, progress):
                raise ValueError(
                    f"{tool.name} failed with code {code}; it said last: "
                    f"{last_lines(log, 3) or 'nothing'}."
                )
            labels = _label_map(tool, folder, run.output)
            if not labels.same_grid(volume):
                labels = nearest(labels, volume)
                notes.append(f"{tool.name} answered on another voxel grid. {MOVED}")
            found = _checked(tool, labels, run)
            regions += [region for region in found if region.role in run.roles]
    version = _version(tool, program)
    told = f"{tool.name} {version} ({', '.join(path.name for path in weights)}) in {contrast.value}"
    notes.append(f"Regions were drawn by {told}; {tool.license}; {tool.home}.")
    return Segmented(regions, told, notes)


def _site_packages(program: Path) -> list[Path]:
    """Where the Python of an entry point keeps its packages."""
    prefix = program.resolve().parent.parent
    return [*prefix.glob("lib/python3*/site-packages"), *prefix.glob("Lib/site-packages")]


def _weight_places(tool: Tool, program: Path) -> list[Path]:
    """The folders that the tool itself looks for weights in."""
    given = {
        "TotalSegmentator": os.environ.get("TOTALSEG_WEIGHTS_PATH"),
        "TotalSpineSeg": os.environ.get("TOTALSPINESEG_DATA"),
        "SPINEPS": os.environ.get("SPINEPS_SEGMENTOR_MODELS"),
    }[tool.name]
    if given:
        return [Path(given)]
    if tool.name == "TotalSegmentator":
        home = os.environ.get("TOTALSEG_HOME_DIR") or Path.home() / ".totalsegmentator"
        return [Path(home) / "nnunet" / "results"]
    return [packages / tool.package / "models" for packages in _site_packages(program)]


def _version(tool: Tool, program: Path) -> str:
    for packages in _site_packages(program):
        for found in packages.glob("*.dist-info"):
            name, _, version = found.stem.partition("-")
            if name.casefold() == tool.package:
                return version
    return "of unknown version"


def _label_map(tool: Tool, folder: Path, pattern: str) -> Volume:
    files = sorted(folder.glob(pattern))
    if len(files) != 1:
        raise ValueError(
            f"{tool.name} ended without an error, but left {len(files) or 'no'} label maps as "
            f"{pattern}; one was expected."
        )
    try:
        labels = read_volume(files[0])
        check_labels(labels)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{tool.name} left a label map that cannot be read: {error}") from error
    return labels


def _checked(tool: Tool, labels: Volume, run: Run) -> list[Region]:
    """The regions of a label map in which every label is known and the levels are in order."""
    array = np.rint(labels.array).astype(int)
    strange = sorted(set(np.unique(array).tolist()) - {0} - known_labels(run.convention))
    if strange:
        raise ValueError(
            f"{tool.name} left labels that its table does not know: "
            f"{', '.join(map(str, strange[:5]))}."
        )
    regions = regions_of_convention(array, run.convention)
    bodies = [one for one in regions if one.role is Role.MARROW and one.site in VERTEBRAE]
    for region in bodies:
        if (share := _outside_largest(region.mask)) > IN_PIECES:
            raise ValueError(
                f"{tool.name} drew {region.site} in pieces: {100 * share:.0f} % of it lies apart."
            )
    bodies.sort(key=lambda region: VERTEBRAE.index(region.site))
    height = {one.site: labels.to_ras(one.centroid_ijk())[2] for one in bodies}
    for upper, lower in pairwise(bodies):
        if height[upper.site] <= height[lower.site]:
            raise ValueError(
                f"{tool.name} drew {lower.site} above {upper.site}; its levels are not in order."
            )
    return regions


def _outside_largest(mask: np.ndarray) -> float:
    from scipy import ndimage

    pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
    return 1 - np.bincount(pieces[mask]).max() / mask.sum() if count > 1 else 0.0
