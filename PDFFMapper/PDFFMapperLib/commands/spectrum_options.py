"""How spectra are read and fitted, as options: of `marrowassess spectrum`, and after a site."""

from __future__ import annotations

import argparse

from PDFFMapperLib.commands.options import option_arguments, option_values
from PDFFMapperLib.images.files import read_volume
from PDFFMapperLib.maps.progress import Progress
from PDFFMapperLib.spectroscopy.files import read_spectra
from PDFFMapperLib.spectroscopy.recipe import BONE, MRS, WATER_REFERENCE
from PDFFMapperLib.spectroscopy.spectrum import FACTS


def add_fit_options(parser: argparse.ArgumentParser) -> None:
    """What files may lack, and the options of the fit."""
    for flag, key, _, unit, words in FACTS:
        parser.add_argument(
            flag, type=float, metavar=unit, dest=key, help=f"{words}, where files do not say it"
        )
    option_arguments(parser, MRS.options)


def fit_options(
    args: argparse.Namespace, progress: Progress | None = None
) -> tuple[dict[str, object], dict[str, object]]:
    """The facts (in s and MHz) and the settings of the fit that were given; their files are read.

    Args:
        args: what was parsed.
        progress: asked while raw files are converted; returning False cancels.

    Raises:
        FileNotFoundError, ValueError: a file cannot be read.
        InterruptedError: canceled.
    """
    facts = {
        key: value * factor
        for _, key, factor, *_ in FACTS
        if (value := getattr(args, key)) is not None
    }
    settings = option_values(args, MRS.options)
    if bone := settings.get(BONE.name):
        settings[BONE.name] = read_volume(bone)
    if reference := settings.get(WATER_REFERENCE.name):
        settings[WATER_REFERENCE.name] = read_spectra([reference], facts, progress)[0]
    return facts, settings
