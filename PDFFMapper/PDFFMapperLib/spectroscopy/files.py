"""Spectra from files, whatever their format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PDFFMapperLib.images.files import checked_name
from PDFFMapperLib.images.foreign import archive_of
from PDFFMapperLib.images.json_file import read_json
from PDFFMapperLib.maps.progress import Progress
from PDFFMapperLib.spectroscopy.dicom_mrs import is_dicom, read_dicom_spectrum
from PDFFMapperLib.spectroscopy.folder import joined_averages, spectra_of_folder
from PDFFMapperLib.spectroscopy.nifti_mrs import is_nifti_name, read_nifti_mrs
from PDFFMapperLib.spectroscopy.raw import LIST, read_raw
from PDFFMapperLib.spectroscopy.spectrum import Spectrum, with_facts
from PDFFMapperLib.spectroscopy.text_files import (
    is_jmrui,
    is_lcmodel,
    is_rda,
    read_columns,
    read_jmrui,
    read_lcmodel,
    read_rda,
    read_sdat,
)


def read_spectra(
    paths: Sequence[str | Path],
    facts: dict[str, object] | None = None,
    progress: Progress | None = None,
) -> list[Spectrum]:
    """Read the spectra of one voxel, one for each echo time and file.

    Args:
        paths: files, or folders of such. A JSON file of the same name beside one states what it
            lacks, by the names of NIfTI-MRS (EchoTime and DwellTime in s, SpectrometerFrequency
            in MHz).
        facts: what the user states of all of them; it goes before what files say.
        progress: asked while raw files are converted; returning False cancels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none of the formats, cut off, or a grid of voxels; or a folder's spectra
            are not of one series.
        InterruptedError: canceled.
    """

    def read(path: Path) -> list[Spectrum]:
        return stated_spectra(path, _read(checked_name(path), progress), facts or {})

    found = []
    for path in map(Path, paths):
        found += spectra_of_folder(path, read) if path.is_dir() else read(path)
    return joined_averages(found)


def stated_spectra(
    path: Path, read: Sequence[Spectrum], facts: Mapping[str, object]
) -> list[Spectrum]:
    """The spectra of a voxel of a file, with what the JSON beside it and then the user state.

    Raises:
        ValueError: one echo time was given for spectra of several.
    """
    beside = path.with_name(path.name.split(".")[0] + ".json")
    stated = read_json(beside, "the facts of a spectrum") if beside.exists() else {}
    if len(read) > 1:  # one echo time for each stands in the file
        stated.pop("EchoTime", None)
        if facts.get("EchoTime") is not None:
            raise ValueError(
                f"{path.name}: it holds signals at {len(read)} echo times of its own, and one "
                "was given for all; leave the echo time out."
            )
    read = [with_facts(one, stated, beside.name) for one in read]
    return [with_facts(one, dict(facts), "options") for one in read]


def _read(path: Path, progress: Progress | None) -> list[Spectrum]:
    if is_nifti_name(path):
        return read_nifti_mrs(path)
    if path.suffix.lower() in (".spar", ".sdat"):
        return [read_sdat(path)]
    if path.suffix.lower() == LIST:  # the text that belongs to raw data
        return read_raw(path, read_nifti_mrs, progress)
    if told := archive_of(path):
        raise ValueError(f"{path.name}: {told}")
    data = path.read_bytes()
    if is_rda(data):
        return [read_rda(data, path.name)]
    if is_dicom(data):
        return [read_dicom_spectrum(path)]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return read_raw(path, read_nifti_mrs, progress)
    if is_jmrui(text):
        return [read_jmrui(text, path.name)]
    if is_lcmodel(text):
        return [read_lcmodel(text, path.name)]
    return [read_columns(text, path.name)]
