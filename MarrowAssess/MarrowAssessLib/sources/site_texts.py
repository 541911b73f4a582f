"""What is given of sites as one text each, in the command, the console and the panel alike.

The site, its files, and after them options: "L3=te20.rda,te30.rda --baseline --bone femur.nii.gz".
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from PDFFMapperLib.commands.options import CommandParser
from PDFFMapperLib.images.identity import without_names

from MarrowAssessLib.catalogue.anatomy import parse_site
from MarrowAssessLib.study.study import Study

T = TypeVar("T")


@dataclass(frozen=True)
class SiteText:
    """What is given of one site.

    Attributes:
        text: all of it.
        paths: its files.
        options: what follows them.
    """

    text: str
    paths: list[str]
    options: argparse.Namespace


class SiteOptions(CommandParser):
    """The options after a site; one that is wrong is a ValueError."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)

    def error(self, message: str) -> None:
        """Raise what argparse found, in place of its exit."""
        raise ValueError(f"{message}.")


def site_texts(
    given: Sequence[str],
    what: str,
    example: str,
    parser: SiteOptions,
    of_files: Collection[str] = (),
) -> dict[str, SiteText]:
    """The texts by their sites.

    Args:
        given: such as "L3=te20.rda,te30.rda --baseline".
        what: they give, as errors call it.
        example: of such a text, for errors.
        parser: of the options.
        of_files: flags of those that take a file, whose name may have spaces.

    Raises:
        ValueError: a text is none, a site or an option is there twice, or an option is wrong.
    """
    found: dict[str, SiteText] = {}
    for text in given:
        name, equals, rest = text.partition("=")
        listed, *options = re.split(r"\s+(?=--)", rest.strip())
        paths = [_unquoted(path) for path in listed.split(",") if path.strip()]
        if not (equals and name.strip() and paths):
            raise ValueError(f"{what} {text}: expected SITE=FILE, such as {example}.")
        site = parse_site(name.strip())
        if site in found:
            raise ValueError(f"{what} {text}: {site} is there twice; keep one.")
        flags = [_flag_of(one)[0] for one in options]
        if twice := [flag for n, flag in enumerate(flags) if flag in flags[:n]]:
            raise ValueError(f"{what} {text}: {twice[0]} is there twice; keep one.")
        try:
            words = [word for one in options for word in _words(one, of_files)]
            found[site] = SiteText(text, paths, parser.parse_args(words))
        except ValueError as error:
            raise ValueError(f"{what} {text}: its options cannot be read, {error}") from None
    return found


def join_study(
    study: Study, found: Mapping[str, tuple[T, Sequence[str]]], of: str, unnamed: str | None
) -> dict[str, T]:
    """Say in a study what was read of sites, and how; returns it without its files.

    Args:
        study: that it joins.
        found: by site what was found, with `notes` of its own, and its files.
        of: what its notes begin with, before the site, such as "Spectrum of".
        unnamed: what files are called where nothing may name them; None names them.
    """
    for site, (one, paths) in found.items():
        notes = one.notes if unnamed is None else [without_names(n, paths) for n in one.notes]
        study.notes += [f"{of} {site}: {note}" for note in dict.fromkeys(notes)]
        study.inputs[f"{of} {site}"] = ", ".join(paths) if unnamed is None else unnamed
    return {site: one for site, (one, _) in found.items()}


def _words(option: str, of_files: Collection[str]) -> list[str]:
    """A flag and what follows it; names of files may have spaces."""
    flag, rest = _flag_of(option)
    return [flag, *filter(None, [_unquoted(rest)] if flag in of_files else rest.split())]


def _flag_of(option: str) -> tuple[str, str]:
    """A flag and the text that follows it, after spaces or "="."""
    flag, *rest = re.split(r"[\s=]+", option.strip(), maxsplit=1)
    return flag, "".join(rest)


def _unquoted(path: str) -> str:
    """Without the quotes that a name with spaces may stand in."""
    path = path.strip()
    return path[1:-1] if len(path) > 1 and path[0] == path[-1] and path[0] in "\"'" else path
