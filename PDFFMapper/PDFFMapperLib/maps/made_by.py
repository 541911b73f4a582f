"""How a map's file was made, by the record that the commands write beside their maps."""

from __future__ import annotations

import json
from pathlib import Path

from PDFFMapperLib.maps.kinds import KINDS

RECORD = "maps.json"  # after the prefix of the maps' names


def how_made(path: str | Path) -> dict[str, object]:
    """What a map's record says of its method, as attributes of an image; {} without a record.

    "MapMethod", "FatModel", "BValues" (s/mm^2) and "MagneticFieldStrength" (T). A damaged record
    says nothing: the map itself is whole.
    """
    path = Path(path)
    prefixes = (path.name.rpartition(f"_{kind.name}.")[0] for kind in KINDS)
    beside = [path.with_name(f"{prefix}_{RECORD}") for prefix in prefixes if prefix]
    for record in (one for one in beside if one.is_file()):
        try:
            content = json.loads(record.read_text(encoding="utf-8"))
            own = next(m["provenance"] for m in content["maps"] if m["file"] == path.name)
            facts = {**content["provenance"], **own}
        except (ValueError, KeyError, TypeError, StopIteration):
            continue
        b_values = facts.get("b_values_s_per_mm2")
        found = {
            "MapMethod": facts.get("method"),
            "FatModel": facts.get("fat_spectrum"),
            "BValues": sorted(b_values) if isinstance(b_values, list) else None,
            "MagneticFieldStrength": facts.get("field_strength_t"),
        }
        return {name: value for name, value in found.items() if value is not None}
    return {}
