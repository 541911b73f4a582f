"""Images of a BIDS data set: what their names say, and the JSON files that hold for them.

Rules: https://bids-specification.readthedocs.io, "The inheritance principle".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PDFFMapperLib.images.json_file import read_json

_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".img.gz", ".img", ".hdr")
_ROOT = "dataset_description.json"
_DEEPEST = 6
COMPONENTS = {"mag": "magnitude", "phase": "phase", "real": "real", "imag": "imaginary"}


@dataclass(frozen=True)
class BidsName:
    """What a BIDS file name says.

    Attributes:
        entities: such as {"sub": "01", "echo": "1", "part": "mag"}.
        suffix: what is shown ("T1w", "MEGRE", "dwi"); the whole name where it is no BIDS name.
    """

    entities: dict[str, str]
    suffix: str

    @property
    def component(self) -> str | None:
        """The image component of the "part" entity, None where it does not say."""
        return COMPONENTS.get(self.entities.get("part", ""))


def stem_of(path: Path) -> str:
    """A file's name without the ending of an image or JSON file, in whatever case."""
    for ending in (*_ENDINGS, ".json", ".bval", ".bvec"):
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.name


def bids_name(path: Path) -> BidsName:
    """The parts of a BIDS file name."""
    *parts, suffix = stem_of(path).split("_")
    pairs = [part.split("-", 1) for part in parts]
    if not all(len(pair) == 2 and pair[0].isalnum() for pair in pairs):
        return BidsName({}, stem_of(path))
    return BidsName({key: value for key, value in pairs}, suffix)


def bids_root(path: Path) -> Path | None:
    """The folder of the data set that a file or folder is in, None where there is none."""
    here = path.absolute()
    for folder in [here, *here.parents][: _DEEPEST + 1]:
        if (folder / _ROOT).is_file():
            return folder
    return None


def sidecars_of(image: Path) -> list[Path]:
    """The JSON files that hold for an image, the nearest last.

    In a BIDS data set those are all from its root down whose suffix is the same and whose entities
    the image has; elsewhere the one beside it.
    """
    own = image.with_name(stem_of(image) + ".json")
    if bids_root(image.parent) is None or not bids_name(image).entities:
        return [own] if own.is_file() else []
    return _holding(image, ".json")


def _holding(image: Path, ending: str) -> list[Path]:
    """The files of a BIDS data set with an ending that hold for an image, the nearest last."""
    root, name = bids_root(image.parent), bids_name(image)
    if root is None or not name.entities:
        return []
    folder = image.absolute().parent
    levels = [folder]
    while folder != root:
        folder = folder.parent
        levels.append(folder)
    found = []
    for level in reversed(levels):
        holding = [path for path in level.glob(f"*{ending}") if _holds(bids_name(path), name)]
        found += sorted(holding, key=lambda path: (len(bids_name(path).entities), path.name))
    return found


def beside(image: Path, ending: str) -> Path | None:
    """The nearest file with an ending, such as ".bval", that holds for an image; None for none."""
    own = image.with_name(stem_of(image) + ending)
    if own.is_file():
        return own
    found = _holding(image, ending)
    return found[-1] if found else None


def inherited_facts(image: Path) -> tuple[dict[str, object], list[str]]:
    """What the JSON files of an image say together, the nearest winning, and their names.

    Raises:
        ValueError: one of them is not JSON.
    """
    facts: dict[str, object] = {}
    files = sidecars_of(image)
    for file in files:
        facts |= read_json(file)
    return facts, [file.name for file in files]


def bids_images(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """The NIfTI images below a folder with one of these suffixes, by name."""
    wanted = set(suffixes)
    return sorted(
        path
        for path in folder.rglob("*")
        if re.search(r"\.nii(\.gz)?$", path.name, re.I)
        and bids_name(path).suffix in wanted
        and path.is_file()
    )


def _holds(sidecar: BidsName, image: BidsName) -> bool:
    return sidecar.suffix == image.suffix and sidecar.entities.items() <= image.entities.items()
