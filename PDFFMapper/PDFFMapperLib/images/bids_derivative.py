"""A derivative data set of BIDS: where it may lie, and what it says of itself.

https://bids-specification.readthedocs.io, "BIDS Derivatives". A data set calls its subjects by
labels of its own; so does a derivative one, which is why it is written only where one is named.
"""

from __future__ import annotations

from pathlib import Path

from PDFFMapperLib.images.bids import bids_root
from PDFFMapperLib.images.files import written_whole
from PDFFMapperLib.images.json_file import read_json, write_json
from PDFFMapperLib.install.software import VERSION

DESCRIPTION, MAKER = "dataset_description.json", "MarrowAssess"


def refuse_bids_out(images: str | Path, folder: Path, what: str) -> Path:
    """The root of the data set that images are of, unless no derivative one can be written.

    Args:
        images: a file or folder of the data set.
        folder: of the derivative one: absent, empty, or one of the same name.
        what: see `describe`.

    Raises:
        ValueError: the images are of no BIDS data set, or the folder lies in it or is another's.
    """
    root = bids_root(Path(images))
    if root is None:
        name = Path(images).absolute().name
        raise ValueError(f"--bids-out: {name} is no BIDS data set; leave --bids-out out.")
    if root.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise ValueError(
            f"--bids-out {folder}: this folder lies in the data set, whose label maps would be "
            "read as drawn ones the next time; name one outside of it."
        )
    title = _title(root, what)
    if folder.exists() and not _holds(folder, title):
        raise ValueError(
            f"--bids-out {folder}: this folder is not '{title}' as written here; name a new one."
        )
    return root


def describe(root: Path, folder: Path, what: str, readme: str) -> None:
    """Write what a derivative data set is and is made from.

    Args:
        root: the data set that it is made from.
        folder: of the derivative one; made if absent.
        what: such as "Bone marrow".
        readme: its text.
    """
    described = read_json(root / DESCRIPTION, "a description of a BIDS data set")
    about = {
        "Name": _title(root, what),
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": MAKER, "Version": VERSION}],
        "SourceDatasets": [{"URL": described.get("DatasetDOI") or f"file:{root.name}"}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / DESCRIPTION, about)
    with written_whole(folder / "README") as file:
        file.write_text(readme, encoding="utf-8")


def _title(root: Path, what: str) -> str:
    described = read_json(root / DESCRIPTION, "a description of a BIDS data set")
    return f"{what} of {described.get('Name') or root.name}"


def _holds(folder: Path, title: str) -> bool:
    """Whether it is a derivative data set of that name written here, or empty."""
    try:
        about = read_json(folder / DESCRIPTION)
        return about["GeneratedBy"][0]["Name"] == MAKER and about["Name"] == title
    except (OSError, ValueError, LookupError, TypeError):
        return folder.is_dir() and not any(folder.iterdir())
