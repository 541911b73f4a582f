"""How a map's file was made, by the record that is written beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PDFFMapperLib.images.attributes import RECORD, RECORDED
from PDFFMapperLib.images.json_file import read_json


def how_made(path: str | Path) -> dict[str, object]:
    """What the record beside a map says of it, as attributes of an image; {} without a record.

    "MapMethod", "FatModel", "BValues" (s/mm^2), "MagneticFieldStrength" (T) and what its numbers
    rest on (attributes.RECORDED).

    Raises:
        ValueError: the record is damaged.
    """
    path = Path(path)
    for record in sorted(path.parent.glob(f"*_{RECORD}")):
        if path.name.startswith(record.name.removesuffix(RECORD)):
            content = read_json(record, "a record of maps")
            entries = content.get("maps")
            for entry in entries if isinstance(entries, list) else ():
                if isinstance(entry, dict) and entry.get("file") == path.name:
                    return _attributes(_named(content, "provenance"), entry)
    return {}


def _attributes(shared: Mapping[str, object], entry: Mapping[str, object]) -> dict[str, object]:
    made = {**shared, **_named(entry, "provenance")}
    b_values = made.get("b_values_s_per_mm2")
    found = {
        "MapMethod": made.get("method"),
        "FatModel": made.get("fat_spectrum"),
        "BValues": sorted(b_values) if isinstance(b_values, list) else None,
        "MagneticFieldStrength": made.get("field_strength_t"),
        **{key: one for key, one in _named(entry, "facts").items() if key in RECORDED},
    }
    return {name: value for name, value in found.items() if value is not None}


def _named(content: Mapping[str, object], key: str) -> dict[str, object]:
    values = content.get(key)
    return values if isinstance(values, dict) else {}
