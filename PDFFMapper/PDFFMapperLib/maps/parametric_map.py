"""A computed map (PDFF, R2*, ADC ...) with its unit, display window and provenance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from PDFFMapperLib.images.attributes import RECORD, RECORDED
from PDFFMapperLib.images.files import write_volume, written_whole
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.kinds import MapKind


@dataclass
class ParametricMap:
    """One quantity on a voxel grid.

    Attributes:
        kind: what it is, with unit, window and color.
        volume: the values; failed voxels are NaN. Masks are bool.
        provenance: how it came about, as JSON-ready facts (method, settings, model, inputs).
        codes: what each number of a map of reasons or choices means.
        window: lowest and highest value shown: the kind's, or of signals 0 to the 99th percentile.
    """

    kind: MapKind
    volume: Volume
    provenance: dict[str, object] = field(default_factory=dict)
    codes: dict[int, str] = field(default_factory=dict)
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        self.window = self.window or self.kind.window
        if self.window is None:
            shown = self.volume.array[np.isfinite(self.volume.array)]
            top = float(np.percentile(shown, 99)) if shown.size else 1.0
            self.window = (0.0, top)

    @property
    def name(self) -> str:
        """The file name's ending."""
        return self.kind.name

    @property
    def title(self) -> str:
        """What people read, with the meaning of codes."""
        meanings = ", ".join(f"{code} {meaning}" for code, meaning in self.codes.items())
        return f"{self.kind.title}: {meanings}" if meanings else self.kind.title


def write_maps(
    maps: Sequence[ParametricMap],
    folder: str | Path,
    prefix: str,
    extension: str = ".nrrd",
) -> list[Path]:
    """Write each map as ``<prefix>_<name><extension>`` and one ``<prefix>_maps.json``.

    The JSON holds what the maps share once (``provenance``) and, per map, file, title, unit,
    window, color and what is its own. Every file appears whole or not at all, the JSON last.

    Args:
        maps: maps to write; their names must differ.
        folder: made if absent.
        prefix: start of every file name.
        extension: ".nrrd", ".nii.gz" or ".nii". NRRD is the default because ITK's NIfTI reader
            (Slicer's too) turns the NaN of failed voxels into 0.

    Returns:
        The paths written, the JSON last.

    Raises:
        ValueError: no maps, two of one name, or an unknown extension.
    """
    if not maps:
        raise ValueError("No maps were given to write.")
    names = [each.name for each in maps]
    if len(set(names)) < len(names):
        raise ValueError(f"Map names must differ to become files; given were {', '.join(names)}.")
    if extension not in (".nii.gz", ".nii", ".nrrd"):
        raise ValueError(f"Maps are written as .nii.gz, .nii or .nrrd, not {extension!r}.")

    folder = Path(folder)
    first = maps[0].provenance
    shared = {
        key: value
        for key, value in first.items()
        if all(each.provenance.get(key) == value for each in maps)
    }
    paths, entries = [], []
    for each in maps:
        path = folder / f"{prefix}_{each.name}{extension}"
        array = each.volume.array
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        write_volume(each.volume.with_array(array, each.name), path)
        paths.append(path)
        entries.append(
            {
                "name": each.name,
                "file": path.name,
                "title": each.title,
                "unit": each.kind.unit,
                "window": list(each.window),
                "color": each.kind.color,
                "provenance": {k: v for k, v in each.provenance.items() if k not in shared},
                **({"codes": each.codes} if each.codes else {}),
                **({"facts": facts} if (facts := _recorded(each.volume)) else {}),
            }
        )
    record = folder / f"{prefix}_{RECORD}"
    with written_whole(record) as temporary:
        temporary.write_text(
            json.dumps({"provenance": shared, "maps": entries}, indent=2) + "\n", encoding="utf-8"
        )
    return [*paths, record]


def _recorded(volume: Volume) -> dict[str, object]:
    return {key: volume.attributes[key] for key in RECORDED if key in volume.attributes}
