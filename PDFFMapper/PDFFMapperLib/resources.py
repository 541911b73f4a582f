"""Where the data files that come with the software are."""

from __future__ import annotations

from pathlib import Path


def resource_path(package_file: str, relative: str) -> Path:
    """Path of a resource of the package that `package_file` (its ``__file__``) belongs to.

    A pip install keeps Resources inside the package; the source tree and Slicer keep it beside it.

    Raises:
        FileNotFoundError: the installation lacks the file.
    """
    package = Path(package_file).parent
    for base in (package / "Resources", package.parent / "Resources"):
        if (base / relative).exists():
            return base / relative
    raise FileNotFoundError(f"Resources/{relative} is missing from this installation; reinstall.")
