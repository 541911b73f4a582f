"""Spectra of a study's sites from files."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence

from PDFFMapperLib.images.identity import without_names
from PDFFMapperLib.maps.progress import Progress, share
from PDFFMapperLib.spectroscopy.analysis import Analysis
from PDFFMapperLib.spectroscopy.files import read_spectra
from PDFFMapperLib.spectroscopy.recipe import MRS

from MarrowAssessLib.catalogue.anatomy import parse_site
from MarrowAssessLib.study.study import Study

OF = "Spectrum of"  # begins each note of a study about its spectra, which tell the method
MOST_KEPT = 16  # fits, which take seconds; a panel measures at every stroke
_fits: dict[str, Analysis] = {}  # by what was read


def read_site_spectra(
    given: Sequence[str],
    study: Study,
    keep_names: bool = False,
    progress: Progress | None = None,
) -> dict[str, Analysis]:
    """Fit the spectra of sites; what was found on the way joins the study's notes.

    Args:
        given: such as "L3=te20.rda,te30.rda".
        study: that the spectra belong to.
        keep_names: whether notes may name files.
        progress: called with the fraction done; returning False cancels.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong.
        InterruptedError: canceled.
    """
    found = fit_site_spectra(given, progress)
    for site, (analysis, paths) in found.items():
        notes = analysis.notes
        if not keep_names:
            notes = [without_names(note, paths) for note in notes]
        study.notes += [f"{OF} {site}: {note}" for note in notes]
        study.inputs[f"spectrum of {site}"] = ", ".join(paths) if keep_names else "spectroscopy"
    return {site: analysis for site, (analysis, _) in found.items()}


def fit_site_spectra(
    given: Sequence[str], progress: Progress | None = None
) -> dict[str, tuple[Analysis, list[str]]]:
    """The fit of each site's spectra, with its files; files that were fitted before are not again.

    Raises:
        FileNotFoundError, ValueError, InterruptedError: see `read_site_spectra`.
    """
    files: dict[str, list[str]] = {}
    for text in given:
        name, equals, listed = text.partition("=")
        paths = [path.strip() for path in listed.split(",") if path.strip()]
        if not (equals and name.strip() and paths):
            raise ValueError(f"Spectrum {text}: expected SITE=FILE, such as L3=press.rda.")
        site = parse_site(name.strip())
        if site in files:
            raise ValueError(f"Spectrum {text}: {site} is there twice; keep one.")
        files[site] = paths
    return {
        site: (_fitted(paths, share(progress, n / len(files), (n + 1) / len(files))), paths)
        for n, (site, paths) in enumerate(files.items())
    }


def _fitted(paths: Sequence[str], progress: Progress | None) -> Analysis:
    spectra = read_spectra(paths)
    key = hashlib.sha256(pickle.dumps(spectra)).hexdigest()
    if key not in _fits:
        while len(_fits) >= MOST_KEPT:
            del _fits[next(iter(_fits))]
        _fits[key] = MRS.measure(spectra, progress)
    return _fits[key]
