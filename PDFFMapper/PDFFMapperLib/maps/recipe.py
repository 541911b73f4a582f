"""Recipes: from images to maps or numbers, with everything that a user may choose or must know.

A family's recipes are rows of its own `recipe` module. Command-line options, panel rows, console
arguments, provenance and the table of methods follow from them. Rows are named tuples: Slicer loads
them with the module, and classes of them are made ten times as fast as frozen dataclasses.
"""

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

from PDFFMapperLib.install.software import MAKER

if TYPE_CHECKING:  # the rows are read for `--help` and tabs; what computes, when maps are made
    import numpy as np

    from PDFFMapperLib.images.volume import Volume
    from PDFFMapperLib.maps.parametric_map import ParametricMap
    from PDFFMapperLib.maps.progress import Progress

NUMBER, NUMBERS, CHOICE, SWITCH, TEXT, IMAGE, REGION = (
    "number", "numbers", "choice", "switch", "text", "image", "region",
)  # fmt: skip


class Input(NamedTuple):
    """One image, or one series of images, that a recipe needs.

    Attributes:
        name: "water", "echoes" ...
        title: what people read.
        help: one sentence.
        parameter: of the panel, that holds the chosen volume or volumes.
        role: what a header guesses such images to be (see dicom.series_role).
        facts: what a user may correct of each image: DICOM keyword and title with unit.
        series: whether it is any number of volumes.
        optional: whether it may be left out; such inputs come last.
    """

    name: str
    title: str
    help: str
    parameter: str
    role: str
    facts: tuple[tuple[str, str], ...] = ()
    series: bool = False
    optional: bool = False


class Option(NamedTuple):
    """One thing a user may choose.

    Attributes:
        name: in code and in provenance, with its unit ("threshold_b").
        type: NUMBER, NUMBERS, CHOICE, SWITCH, TEXT, IMAGE (a volume on the same grid) or REGION
            (such a volume whose voxels above 0 count; a segmentation in the scene).
        default: None where the header or the data tell it.
        help: one sentence.
        unit: as printed after a number.
        choices: value and what people read, of a CHOICE.
        count: how many NUMBERS there must be, 0 for any number of them.
        low, high: limits of a NUMBER, or of each of NUMBERS.
        flag: on the command line; "" keeps it off.
        title: of the panel's row.
        parameter: of the panel; "" keeps it off.
        unset: what the panel shows for None.
        digits: after the decimal point, in the panel.
        step: of the panel's arrows.
        only_with: the switch without which it has no meaning.
        required: whether it must be given where it has a meaning.
        advanced: whether the panel folds it away.
    """

    name: str
    type: str
    default: object
    help: str
    unit: str = ""
    choices: tuple[tuple[str | int, str], ...] = ()
    count: int = 0
    low: float = -math.inf
    high: float = math.inf
    flag: str = ""
    title: str = ""
    parameter: str = ""
    unset: str = ""
    digits: int = 0
    step: float = 1.0
    only_with: str = ""
    required: bool = False
    advanced: bool = False

    def checked(self, value: object) -> object:
        """The value as computing takes it.

        Raises:
            ValueError: it is none that the option may have.
        """
        import numpy as np

        if value is None:
            return self.default
        if self.type == CHOICE and (isinstance(value, bool) or value not in dict(self.choices)):
            known = ", ".join(map(str, dict(self.choices)))
            raise ValueError(f"{self.title or self.name} is one of {known}, not {value!r}.")
        if self.type in (IMAGE, REGION) and not hasattr(value, "ijk_to_ras"):
            raise ValueError(
                f"{self.title or self.name} takes an image (images.files.read_volume reads one); "
                f"{value!r:.80} was given."
            )
        if self.type == NUMBERS and np.ndim(value) != 1:
            raise ValueError(
                f"{self.title or self.name} takes a list of numbers; {value!r} was given."
            )
        if self.type == NUMBERS and self.count not in (0, len(value)):
            raise ValueError(
                f"{self.title or self.name} takes {self.count} numbers; {len(value)} were given."
            )
        for one in {NUMBER: [value], NUMBERS: value}.get(self.type, ()):
            if not self.low <= float(one) <= self.high:
                raise ValueError(
                    f"{self.title or self.name} lies between {self.low:g} and {self.high:g} "
                    f"{self.unit}".rstrip()
                    + f"; {one:g} was given."
                )
        return value


class Recipe(NamedTuple):
    """One way from images to maps, or to one answer of numbers.

    Attributes:
        id: of the method, in its family: on the command line and in provenance.
        choice: what the panel's list and saved scenes call it.
        title: what it does, for the table of methods.
        inputs: images it needs, optional ones last.
        options: what may be chosen.
        kinds: ids of the maps it may make (see kinds.KINDS).
        numbers: names of the numbers it may give in place of maps.
        citation: where the method was published.
        compute: "module:function", given images, settings and progress; returns maps, with NaN
            where a value cannot be trusted and a map of reasons beside them, or a dataclass with
            `provenance`. Imported when run, because compiled code must not be loaded with the
            panel.
        flag: on the command line, for recipes of single images.
    """

    id: str
    choice: str
    title: str
    inputs: tuple[Input, ...]
    options: tuple[Option, ...]
    kinds: tuple[str, ...]
    citation: str
    compute: str
    flag: str = ""
    numbers: tuple[str, ...] = ()

    def make(
        self, images: "Sequence[Volume]", progress: "Progress | None" = None, **settings: object
    ) -> "list[ParametricMap]":
        """Compute the maps.

        Args:
            images: the volumes of a series, or one per input.
            settings: by the options' names; None for what is not chosen.

        Returns:
            Maps that carry how they were made.

        Raises:
            ValueError: one sentence that says what is wrong with images or settings.
            InterruptedError: canceled.
        """
        made, facts = self._computed(images, progress, settings)
        return [_with_record(one, facts) for one in made]

    def measure(
        self, inputs: Sequence[object], progress: "Progress | None" = None, **settings: object
    ) -> object:
        """Compute what is no set of maps on one grid; see `make`.

        Args:
            inputs: what a series holds: images, or spectra.
            progress, settings: as of `make`.

        Returns:
            The recipe's answer, a dataclass that carries how it was made.

        Raises:
            ValueError, InterruptedError: as `make`.
        """
        found, facts = self._computed(inputs, progress, settings)
        return _with_record(found, facts)

    def _computed(
        self,
        images: Sequence[object],
        progress: "Progress | None",
        settings: Mapping[str, object],
    ) -> tuple[object, dict[str, object]]:
        """What `compute` gives, and how it was made."""
        from pkgutil import resolve_name

        self._check_images(images)
        chosen = self.chosen(settings)
        made = resolve_name(self.compute)(list(images), chosen, progress)
        return made, {
            "software": MAKER,
            "method": self.id,
            "citation": self.citation,
            "settings": {name: _recorded(value) for name, value in vars(chosen).items()},
            "inputs": [image.name for image in images],
        }

    def chosen(self, settings: Mapping[str, object]) -> SimpleNamespace:
        """All options, as chosen or by default.

        Raises:
            ValueError: there is no such option, or it may not have that value.
        """
        options = {option.name: option for option in self.options}
        if unknown := sorted(set(settings) - set(options)):
            raise ValueError(
                f"{self.choice} has no option {', '.join(unknown)}; it has {', '.join(options)}."
            )
        checked = {name: one.checked(settings.get(name)) for name, one in options.items()}
        return SimpleNamespace(**checked)

    def _check_images(self, images: "Sequence[Volume]") -> None:
        if self.inputs[0].series:
            if not images:
                what = self.inputs[0].name.replace("_", " ")
                raise ValueError(f"{self.choice}: no {what} were given.")
            return
        least = sum(not one.optional for one in self.inputs)
        if not least <= len(images) <= len(self.inputs):
            wanted = ", ".join(one.title for one in self.inputs)
            raise ValueError(
                f"{self.choice}: {len(images)} images were given; expected are: {wanted}."
            )
        for n, one in enumerate(images[1:], 1):
            check_one_grid(one, images[0])
            if any(_same_values(one.array, other.array) for other in images[:n]):
                wanted = ", ".join(given.title for given in self.inputs[: len(images)])
                raise ValueError(
                    f"{self.choice}: two of the images are the same; give a different one for each "
                    f"of: {wanted}."
                )


class Shorthand(NamedTuple):
    """One command-line option with several values: one for each of several options of recipes.

    `switch` is an option that it switches on, "" for none.
    """

    flag: str
    names: tuple[str, ...]
    metavar: tuple[str, ...]
    help: str
    switch: str = ""


class Family(NamedTuple):
    """Recipes that share a command, a tab of the panel and how their files are read.

    Attributes:
        command: `marrowassess <command>`.
        title: of the tab.
        folder: of the maps, in the scene.
        prefix: of the maps' file names, unless chosen.
        parameter: of the panel, that holds the choice of recipe.
        reader: "module" with `add_arguments` and `read`, for series in files.
        regions: "module:function" that writes a table of region values.
        numbers: "module:function" that gives those values of segments of the scene; "" if none
            does.
        default: id of the recipe that the command takes for series, unless chosen.
        recipes: the first is the panel's default.
        shorthands: see `Shorthand`.
    """

    command: str
    title: str
    folder: str
    prefix: str
    parameter: str
    reader: str
    regions: str
    default: str
    recipes: tuple[Recipe, ...]
    shorthands: tuple[Shorthand, ...] = ()
    numbers: str = ""

    @property
    def options(self) -> tuple[Option, ...]:
        """All options of its recipes, each once."""
        found: dict[str, Option] = {}
        for recipe in self.recipes:
            for option in recipe.options:
                if option.name not in found or (option.parameter and option.flag):
                    found[option.name] = option
        return tuple(found.values())

    @property
    def inputs(self) -> tuple[Input, ...]:
        """All inputs of its recipes, each once."""
        return tuple({one.name: one for recipe in self.recipes for one in recipe.inputs}.values())

    def recipe(self, name: str) -> Recipe:
        """The recipe that an id or the panel's list calls so.

        Raises:
            ValueError: there is none.
        """
        for recipe in self.recipes:
            if name in (recipe.id, recipe.choice):
                return recipe
        names = ", ".join(recipe.id for recipe in self.recipes)
        raise ValueError(f"There is no method '{name}'; choose of {names}.")


def check_one_grid(one: "Volume", other: "Volume") -> None:
    """Refuse volumes on different voxel grids.

    Raises:
        ValueError: they are.
    """
    from PDFFMapperLib.images.volume import grids_differ

    if not one.same_grid(other):
        raise ValueError(
            grids_differ(one, other, "they must share one (Resample Scalar Volume makes them)")
        )


def _same_values(one: "np.ndarray", other: "np.ndarray") -> bool:
    """Whether two arrays are equal; a slice of both tells most that are not."""
    import numpy as np

    middle = len(one) // 2
    return np.array_equal(one[middle], other[middle]) and np.array_equal(one, other)


def _with_record(made: object, facts: Mapping[str, object]) -> object:
    """What was made, with how it was made."""
    from dataclasses import replace  # takes longer to import than all rows: `--help` does not wait

    return replace(made, provenance={**made.provenance, **facts})


def _recorded(value: object) -> object:
    return getattr(value, "name", value)
