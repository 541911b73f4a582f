"""Spectra of a study's sites from files."""

from __future__ import annotations

from collections.abc import Sequence

from PDFFMapperLib.images.identity import without_names
from PDFFMapperLib.spectroscopy.analysis import Analysis, analyze
from PDFFMapperLib.spectroscopy.files import read_spectra

from MarrowAssessLib.catalogue.anatomy import parse_site
from MarrowAssessLib.study.study import Study


def read_site_spectra(
    given: Sequence[str], study: Study, keep_names: bool = False
) -> dict[str, Analysis]:
    """Fit the spectra of sites; what was found on the way joins the study's notes.

    Args:
        given: such as "L3=te20.rda,te30.rda".
        study: that the spectra belong to.
        keep_names: whether notes may name files.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong.
    """
    found: dict[str, Analysis] = {}
    for text in given:
        name, equals, files = text.partition("=")
        paths = [path.strip() for path in files.split(",") if path.strip()]
        if not (equals and name.strip() and paths):
            raise ValueError(f"--spectrum {text}: expected SITE=FILE, such as L3=press.rda.")
        site = parse_site(name.strip())
        if site in found:
            raise ValueError(f"--spectrum {text}: {site} is there twice; keep one.")
        found[site] = analyze(read_spectra(paths))
        notes = found[site].notes
        if not keep_names:
            notes = [without_names(note, paths) for note in notes]
        study.notes += [f"Spectrum of {site}: {note}" for note in notes]
        study.inputs[f"spectrum of {site}"] = ", ".join(paths) if keep_names else "spectroscopy"
    return found
