"""Options of recipes as options of commands."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from PDFFMapperLib.maps.recipe import CHOICE, IMAGE, NUMBER, NUMBERS, REGION, SWITCH, Option


class CommandParser(argparse.ArgumentParser):
    """A parser that takes what begins with a minus and a digit for a value: "-10,20,30", "-1e-3".

    No option is called like that; argparse alone takes only plain numbers for values. What is wrong
    is one sentence; argparse alone prints every option before it.
    """

    def __init__(self, **given: object) -> None:
        super().__init__(**given)
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        """End with what is wrong and where the options are listed."""
        self.exit(2, f"{self.prog}: {message.rstrip('.')}. Options: {self.prog} --help\n")


def option_arguments(parser: argparse.ArgumentParser, options: Sequence[Option]) -> None:
    """The options of recipes that have a flag."""
    for option in options:
        if option.flag:
            parser.add_argument(option.flag, dest=option.name, **_argument(option))


def option_values(args: argparse.Namespace, options: Sequence[Option]) -> dict[str, object]:
    """What was given of them."""
    given = {one.name: getattr(args, one.name) for one in options if one.flag}
    return {name: value for name, value in given.items() if value is not None}


def typed_numbers(text: str | None, what: str, example: str) -> list[float] | None:
    """The numbers of a list as typed, None for none.

    Raises:
        ValueError: it holds something else.
    """
    try:
        return None if text is None else [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise ValueError(f"{what} are expected as {example},..., given was {text!r}.") from None


def _argument(option: Option) -> dict[str, object]:
    """How argparse takes an option. Nothing given stays None, and the recipe's default holds."""
    unit = f" ({option.unit})" if option.unit else ""
    default = "" if option.default in (None, False) else f" (default: {option.default})"
    given: dict[str, object] = {"help": f"{option.help}{unit}{default}".replace("%", "%%")}
    if option.type == SWITCH:
        return {**given, "action": "store_const", "const": True}
    if option.type == CHOICE:
        values = list(dict(option.choices))
        return {**given, "type": type(values[0]), "metavar": "|".join(map(str, values))}
    if option.type == NUMBERS:
        return {**given, "nargs": option.count or "+", "type": float}
    types: dict[str, Callable] = {NUMBER: float, IMAGE: Path, REGION: Path}
    if option.type in types:
        given["type"] = types[option.type]
    return given
