"""Where the data files that come with the software are."""

from __future__ import annotations

import importlib
from pathlib import Path


def resource_path(library: str, relative: str) -> Path:
    """Path of a resource of a library, such as "MarrowAssessLib".

    A pip install keeps Resources inside the package; the source tree and Slicer keep it beside it.

    Raises:
        FileNotFoundError: the installation lacks the file.
    """
    package = Path(importlib.import_module(library).__file__).parent
    for base in (package / "Resources", package.parent / "Resources"):
        if (base / relative).exists():
            return base / relative
    raise FileNotFoundError(f"Resources/{relative} is missing from this installation; reinstall.")
