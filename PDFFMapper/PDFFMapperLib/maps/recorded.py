"""What the record beside a map file says of how the map was made."""

from __future__ import annotations

from pathlib import Path

from PDFFMapperLib.images.json_file import read_json


def recorded_provenance(path: str | Path) -> dict[str, object]:
    """Provenance from the ``<prefix>_maps.json`` that lists a map file; {} without one."""
    path = Path(path)
    for record in sorted(path.parent.glob("*_maps.json")):
        try:
            content = read_json(record)
            for entry in content["maps"]:
                if entry["file"] == path.name:
                    return {**content["provenance"], **entry["provenance"]}
        except (ValueError, KeyError, TypeError):  # a record of somebody else's
            continue
    return {}
