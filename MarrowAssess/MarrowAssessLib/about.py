"""What this software says of itself: version and intended use."""

from __future__ import annotations

from importlib import metadata

RESEARCH_USE = (
    "For research use only: not a medical device, not cleared for diagnosis. Every value needs a "
    "physician's reading of the images."
)


def software_version() -> str:
    """Version of this software, "unknown" where it is not installed as a package."""
    try:
        return metadata.version("MarrowAssess")
    except metadata.PackageNotFoundError:
        return "unknown"
