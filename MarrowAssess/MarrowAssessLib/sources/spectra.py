"""Spectra of a study's sites from files.

They are given as one text for each site, in the command, the console and the panel alike: the site,
the files, and after them the options of `marrowassess spectrum`, or one voxel of a grid:
"L3=te20.rda,te30.rda --baseline --bone femur.nii.gz", "L4=grid.nii.gz --voxel 3 2 0".
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path

from PDFFMapperLib.commands.spectrum_options import add_fit_options, fit_options
from PDFFMapperLib.images.files import checked_name
from PDFFMapperLib.maps.progress import Progress, share
from PDFFMapperLib.spectroscopy.analysis import Analysis
from PDFFMapperLib.spectroscopy.files import read_spectra
from PDFFMapperLib.spectroscopy.grid import read_voxel
from PDFFMapperLib.spectroscopy.recipe import BONE, MRS, WATER_REFERENCE

from MarrowAssessLib.sources.site_texts import SiteOptions, join_study, site_texts
from MarrowAssessLib.study.study import Study

OF = "Spectrum of"  # begins each note of a study about its spectra, which tell the method
MOST_KEPT = 16  # fits, which take seconds; a panel measures at every stroke
_fits: dict[str, Analysis] = {}  # by what was read and how it is to be fitted
VOXEL = "--voxel"


def read_site_spectra(
    given: Sequence[str],
    study: Study,
    keep_names: bool = False,
    progress: Progress | None = None,
) -> dict[str, Analysis]:
    """Fit the spectra of sites; what was found on the way joins the study's notes.

    Args:
        given: such as "L3=te20.rda,te30.rda --baseline".
        study: that the spectra belong to.
        keep_names: whether notes may name files.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong.
        InterruptedError: canceled.
    """
    unnamed = None if keep_names else "spectroscopy"
    return join_study(study, fit_site_spectra(given, progress), OF, unnamed)


def fit_site_spectra(
    given: Sequence[str], progress: Progress | None = None
) -> dict[str, tuple[Analysis, list[str]]]:
    """The fit of each site's spectra, with its files; files that were fitted before are not again.

    Raises:
        FileNotFoundError, ValueError, InterruptedError: see `read_site_spectra`.
    """
    parser = SiteOptions()
    add_fit_options(parser)
    parser.add_argument(VOXEL, nargs=3, type=int, metavar=("I", "J", "K"))
    of_files = BONE.flag, WATER_REFERENCE.flag
    wanted = site_texts(given, "Spectrum", "L3=press.rda", parser, of_files)
    found = {}
    for n, (site, one) in enumerate(wanted.items()):
        part = share(progress, n / len(wanted), (n + 1) / len(wanted))
        found[site] = _fitted(one.paths, one.options, part), one.paths
    return found


def _fitted(
    paths: Sequence[str], options: argparse.Namespace, progress: Progress | None
) -> Analysis:
    facts, settings = fit_options(options, progress)
    if options.voxel is None:
        spectra = read_spectra(paths, facts, progress)
    elif len(paths) == 1:
        spectra = read_voxel(checked_name(Path(paths[0])), tuple(options.voxel), facts)
    else:
        raise ValueError(f"{VOXEL} is of one file; {len(paths)} were given.")
    key = hashlib.sha256(pickle.dumps((spectra, settings))).hexdigest()
    if key not in _fits:
        while len(_fits) >= MOST_KEPT:
            del _fits[next(iter(_fits))]
        found = MRS.measure(spectra, progress, **settings)
        if options.voxel is not None:
            found.provenance["voxel"] = options.voxel
        _fits[key] = found
    return _fits[key]
