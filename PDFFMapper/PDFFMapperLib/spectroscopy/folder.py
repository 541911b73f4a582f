"""Spectra of several files: the averages of a DICOM series, and all that a folder holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from PDFFMapperLib.spectroscopy.spectrum import Spectrum

_BESIDE = (".json", ".spar", ".list")  # belong to another file
_SURELY = (".rda", ".sdat")  # are spectra, whatever is wrong with them
_MOST_NAMED = 8


def spectra_of_folder(folder: Path, read: Callable[[Path], list[Spectrum]]) -> list[Spectrum]:
    """The spectra of one voxel that a folder and those in it hold; what is none is left out.

    Args:
        folder: where to look.
        read: of one file; raises ValueError for what is no spectrum.

    Raises:
        ValueError: there is none, one of them is broken, or two have the same times, so that it
            cannot be told which are meant.
    """
    found: list[Spectrum] = []
    others: list[ValueError] = []
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or path.suffix.lower() in _BESIDE or not path.is_file():
            continue
        try:
            found += read(path)
        except ValueError as error:
            if path.suffix.lower() in _SURELY:
                raise
            others.append(error)
    if not found:
        why = f" The first of {len(others)} files: {others[0]}" if others else ""
        raise ValueError(f"{folder}: no spectrum is in this folder.{why}")
    spectra = joined_averages(found)
    alike = [one for one in spectra if sum(one.times == other.times for other in spectra) > 1]
    if alike:
        shown = ", ".join(_named(one) for one in alike[:_MOST_NAMED])
        raise ValueError(
            f"{folder}: {len(alike)} spectra in this folder have the same times, so that they may "
            "be of several voxels or acquisitions; name the files, or the folder, of one: "
            f"{shown}{' ...' if len(alike) > _MOST_NAMED else ''}."
        )
    if others:
        spectra[0].notes.append(f"{len(others)} file(s) of the folder hold no spectrum.")
    return spectra


def joined_averages(spectra: Sequence[Spectrum]) -> list[Spectrum]:
    """Spectra of one DICOM series and the same times as the averages of one spectrum."""
    groups: dict[object, list[Spectrum]] = {}
    for n, one in enumerate(spectra):
        alike = (one.series, one.times, one.dwell_s, one.suppressed, one.fids.shape[1:])
        groups.setdefault(alike if one.series else n, []).append(one)
    return [group[0] if len(group) == 1 else _joined(group) for group in groups.values()]


def _joined(group: Sequence[Spectrum]) -> Spectrum:
    first = group[0]
    fids = np.concatenate([one.fids for one in group])
    note = f"{first.name} and {len(group) - 1} other files of its series were read as its averages."
    return replace(first, fids=fids, notes=[*first.notes, note])


def _named(one: Spectrum) -> str:
    return one.name if one.te_ms is None else f"{one.name} (TE {one.te_ms:g} ms)"
