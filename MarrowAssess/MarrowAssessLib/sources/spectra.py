"""Spectra of a study's sites from files.

They are given as one text for each site, in the command, the console and the panel alike: the site,
the files, and after them the options of `marrowassess spectrum`, or one voxel of a grid:
"L3=te20.rda,te30.rda --baseline --bone femur.nii.gz", "L4=grid.nii.gz --voxel 3 2 0".
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Sequence
from pathlib import Path

from PDFFMapperLib.images.files import checked_name, read_volume
from PDFFMapperLib.images.identity import without_names
from PDFFMapperLib.maps.progress import Progress, share
from PDFFMapperLib.maps.recipe import CHOICE, NUMBER, SWITCH, Option
from PDFFMapperLib.spectroscopy.analysis import Analysis
from PDFFMapperLib.spectroscopy.files import read_spectra
from PDFFMapperLib.spectroscopy.grid import read_voxel
from PDFFMapperLib.spectroscopy.recipe import BONE, MRS, WATER_REFERENCE
from PDFFMapperLib.spectroscopy.spectrum import FACTS

from MarrowAssessLib.catalogue.anatomy import parse_site
from MarrowAssessLib.study.study import Study

OF = "Spectrum of"  # begins each note of a study about its spectra, which tell the method
MOST_KEPT = 16  # fits, which take seconds; a panel measures at every stroke
_fits: dict[str, Analysis] = {}  # by what was read and how it is to be fitted
OPTIONS = {one.flag: one for one in MRS.options}
STATED = {flag: Option(key, NUMBER, None, words, unit) for flag, key, _, unit, words in FACTS}
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
    wanted: dict[str, tuple[list[str], dict[str, object]]] = {}
    for text in given:
        name, equals, rest = text.partition("=")
        listed, *options = re.split(r"\s+(?=--)", rest.strip())
        paths = [_unquoted(path) for path in listed.split(",") if path.strip()]
        if not (equals and name.strip() and paths):
            raise ValueError(f"Spectrum {text}: expected SITE=FILE, such as L3=press.rda.")
        site = parse_site(name.strip())
        if site in wanted:
            raise ValueError(f"Spectrum {text}: {site} is there twice; keep one.")
        flags = [one.split()[0] for one in options]
        if twice := [flag for n, flag in enumerate(flags) if flag in flags[:n]]:
            raise ValueError(f"Spectrum {text}: {twice[0]} is there twice; keep one.")
        wanted[site] = paths, dict(_stated(one, text) for one in options)
    return {
        site: (_fitted(*one, share(progress, n / len(wanted), (n + 1) / len(wanted))), one[0])
        for n, (site, one) in enumerate(wanted.items())
    }


def _stated(words: str, text: str) -> tuple[str, object]:
    """An option's name and value, from its flag and what follows it.

    Raises:
        FileNotFoundError, ValueError: there is no such option or file, or it has no such value.
    """
    flag, *values = words.split()
    if flag == VOXEL:
        if len(values) != 3 or not all(one.isdecimal() for one in values):
            raise ValueError(f"Spectrum {text}: {VOXEL} takes three whole numbers from 0 on.")
        return VOXEL, tuple(map(int, values))
    option = (OPTIONS | STATED).get(flag)
    if option is None:
        known = ", ".join((*OPTIONS, *STATED, VOXEL))
        raise ValueError(f"Spectrum {text}: there is no option {flag}; there are {known}.")
    file = _unquoted(words.removeprefix(flag))
    if option in (BONE, WATER_REFERENCE) and not file:
        raise ValueError(f"Spectrum {text}: what follows the option {flag} is a file, not ''.")
    if option is BONE:
        return option.name, read_volume(file)
    if option is WATER_REFERENCE:
        return option.name, file
    try:
        return option.name, _value(option, values)
    except ValueError:
        expected = {SWITCH: "nothing", NUMBER: "a number", CHOICE: "one of its choices"}
        raise ValueError(
            f"Spectrum {text}: what follows the option {flag} is "
            f"{expected.get(option.type, 'numbers')}, not '{' '.join(values)}'."
        ) from None


def _unquoted(path: str) -> str:
    """Without the quotes that a name with spaces may stand in."""
    path = path.strip()
    return path[1:-1] if len(path) > 1 and path[0] == path[-1] and path[0] in "\"'" else path


def _value(option: Option, values: Sequence[str]) -> object:
    if option.type == SWITCH and not values:
        return True
    if option.type == CHOICE:
        (value,) = (one for one, _ in option.choices if [str(one)] == list(values))
        return value
    if option.type == NUMBER:
        (number,) = map(float, values)
        return number
    if option.type == SWITCH:
        raise ValueError(option.flag)
    return [float(one) for one in values]


def _fitted(
    paths: Sequence[str], settings: dict[str, object], progress: Progress | None
) -> Analysis:
    voxel = settings.pop(VOXEL, None)
    facts = {key: settings.pop(key) * to for _, key, to, *_ in FACTS if key in settings}
    if voxel is None:
        spectra = read_spectra(paths, facts)
    elif len(paths) == 1:
        spectra = read_voxel(checked_name(Path(paths[0])), voxel, facts)
    else:
        raise ValueError(f"{VOXEL} is of one file; {len(paths)} were given.")
    if reference := settings.get(WATER_REFERENCE.name):
        settings[WATER_REFERENCE.name] = read_spectra([reference], facts)[0]
    key = hashlib.sha256(pickle.dumps((spectra, settings))).hexdigest()
    if key not in _fits:
        while len(_fits) >= MOST_KEPT:
            del _fits[next(iter(_fits))]
        found = MRS.measure(spectra, progress, **settings)
        if voxel is not None:
            found.provenance["voxel"] = list(voxel)
        _fits[key] = found
    return _fits[key]
