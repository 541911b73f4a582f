"""A derivative data set of BIDS: where it may lie, and what it says of itself.

https://bids-specification.readthedocs.io, "BIDS Derivatives". A data set calls its subjects by
labels of its own; so does a derivative one, which is why it is written only where one is named.
"""

from __future__ import annotations

import json
from pathlib import Path

from PDFFMapperLib.images.bids import bids_root
from PDFFMapperLib.images.json_file import write_json
from PDFFMapperLib.install.software import VERSION

DESCRIPTION, MAKER = "dataset_description.json", "MarrowAssess"


def refuse_bids_out(images: str | Path, folder: Path) -> Path:
    """The root of the data set that images are of, unless no derivative one can be written.

    Raises:
        ValueError: the images are of no BIDS data set, or the folder lies in it or is another's.
    """
    root = bids_root(Path(images))
    if root is None:
        name = Path(images).absolute().name
        raise ValueError(f"--bids-out: {name} is no BIDS data set; leave --bids-out out.")
    if root == folder.absolute() or root in folder.absolute().parents:
        raise ValueError(
            f"--bids-out {folder}: this folder lies in the data set, whose label maps would be "
            "read as drawn ones the next time; name one outside of it."
        )
    if folder.exists() and not _ours(folder):
        raise ValueError(
            f"--bids-out {folder}: this folder is not one that was written here; name a new one."
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
    described = json.loads((root / DESCRIPTION).read_text(encoding="utf-8-sig"))
    about = {
        "Name": f"{what} of {described.get('Name') or root.name}",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": MAKER, "Version": VERSION}],
        "SourceDatasets": [{"URL": described.get("DatasetDOI") or f"file:{root.name}"}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / DESCRIPTION, about)
    (folder / "README").write_text(readme, encoding="utf-8")


def _ours(folder: Path) -> bool:
    try:
        about = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8-sig"))
        return about["GeneratedBy"][0]["Name"] == MAKER
    except (OSError, ValueError, LookupError, TypeError):
        return folder.is_dir() and not any(folder.iterdir())
