"""One command for each family of recipes: its options follow from them."""

from __future__ import annotations

import argparse
from pathlib import Path
from pkgutil import resolve_name

import numpy as np

from PDFFMapperLib.commands.options import option_arguments, option_values
from PDFFMapperLib.commands.regions import drawn_mask, named_regions, on_grid
from PDFFMapperLib.dicom.selection import read_source
from PDFFMapperLib.dicom_out.source import (
    Source,
    add_options,
    dicom_set,
    refuse_without_highdicom,
    source_of,
)
from PDFFMapperLib.images.attributes import RECORD
from PDFFMapperLib.images.bids import bids_images
from PDFFMapperLib.images.identity import short_hash, without_names
from PDFFMapperLib.images.outputs import checked_prefix, output_set, refuse_foreign
from PDFFMapperLib.images.sidecar import with_stated_facts
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.bids_maps import checked_source, write_bids_maps
from PDFFMapperLib.maps.parametric_map import ParametricMap, write_maps
from PDFFMapperLib.maps.recipe import IMAGE, REGION, Family, Recipe
from PDFFMapperLib.maps.trust import usable


def add_arguments(parser: argparse.ArgumentParser, family: Family) -> None:
    """The options of a family's command."""
    resolve_name(family.reader).add_arguments(parser)
    for recipe in family.recipes:
        if recipe.flag:
            names = tuple(one.name.upper() for one in recipe.inputs)
            parser.add_argument(
                recipe.flag, nargs="+", type=Path, metavar=names[0], help=_usage(recipe)
            )
    series = [recipe.id for recipe in family.recipes if not recipe.flag]
    titles = "; ".join(f"{r.id}: {r.title}" for r in family.recipes if not r.flag)
    titles = titles.replace("%", "%%")
    parser.add_argument("--method", choices=series, help=f"{titles}. (default: {family.default})")
    option_arguments(parser, family.options)
    for short in family.shorthands:
        parser.add_argument(
            short.flag, nargs=len(short.names), type=float, metavar=short.metavar, help=short.help
        )
    parser.add_argument(
        "--regions", type=Path,
        help="values per region: a label map, or closed curves and ROI boxes (.mrk.json)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--prefix", default=family.prefix, help="start of the file names")
    parser.add_argument(
        "--keep-names",
        action="store_true",
        help="keep the names of files in the results; they may be the patient's",
    )
    parser.add_argument("--format", choices=("nrrd", "nii.gz"), default="nrrd")
    parser.add_argument(
        "--bids-out", type=Path, metavar="FOLDER",
        help="of a BIDS series: the maps as a derivative data set too, which calls the subject as "
        "that does",
    )  # fmt: skip
    add_options(parser, "the maps")


def run(args: argparse.Namespace, family: Family) -> int:
    """Read, compute, write the maps and print the region values; 0 on success.

    Raises:
        ValueError: something was given that cannot be read or fitted.
        FileNotFoundError: there is no such file.
        InterruptedError: canceled.
    """
    prefix = checked_prefix(args.prefix)
    refuse_foreign(args.out, f"{prefix}_{RECORD}", [f"{prefix}_regions.csv"])
    if args.bids_out:
        checked_source(_bids_images(args, family), args.bids_out)
    recipe, images, settings, notes = _recipe_and_images(args, family)
    settings.update(_settings(args, family, recipe, images))
    source = _dicom_source(args, images)
    regions = None if args.regions is None else named_regions(args.regions, images[0])
    maps = recipe.make(images, **settings)
    _record_inputs(maps, images, notes, args, _paths(args, recipe))
    _say(maps)
    _refuse_empty(maps)
    with output_set(args.out, f"{prefix}_{RECORD}") as folder:
        count = len(write_maps(maps, folder, prefix, f".{args.format}"))
        if regions is not None:
            path = folder / f"{prefix}_regions.csv"
            resolve_name(family.regions)(path, maps, regions, images, recipe.chosen(settings))
            count += 1
    print(f"Wrote {count} files to {args.out}")
    if args.bids_out:
        count = len(write_bids_maps(maps, _bids_images(args, family), args.bids_out, prefix))
        print(f"Wrote {count} maps to {args.bids_out}")
    if source:
        from PDFFMapperLib.dicom_out.parametric_map import write_dicom_maps

        with dicom_set(args.dicom_out) as folder:
            count = len(write_dicom_maps(maps, source, folder))
        print(f"Wrote {count} DICOM parametric maps to {args.dicom_out}")
    return 0


def _dicom_source(args: argparse.Namespace, images: list[Volume]) -> Source | None:
    """What DICOM maps would belong to; None where none are asked for."""
    if args.dicom_out is None:
        return None
    refuse_without_highdicom()
    return source_of(images, "This series", args.anonymous)


def _refuse_empty(maps: list[ParametricMap]) -> None:
    """Refuse maps of nothing."""
    measured = [one.volume.array for one in maps if one.volume.array.dtype.kind == "f"]
    if measured and not any(np.isfinite(array).any() for array in measured):
        raise ValueError(
            "No voxel could be fitted, so there is nothing to write; check the images, their order "
            "and the mask."
        )


def _record_inputs(
    maps: list[ParametricMap],
    images: list[Volume],
    notes: list[str],
    args: argparse.Namespace,
    paths: list[Path],
) -> None:
    """What was read and how, in every map; names of files only where the user wants them kept."""
    named = [path.name for path in paths]
    if not args.keep_names:
        notes = [without_names(note, [*paths, *(image.name for image in images)]) for note in notes]
        named = [f"image {short_hash(image)}" for image in images]
    for made in maps:
        reading = made.provenance.get("reading", ())
        made.provenance["reading"] = list(dict.fromkeys([*notes, *reading]))
        made.provenance["inputs"] = named


def _usage(recipe: Recipe) -> str:
    names = [one.name.upper() for one in recipe.inputs if not one.optional]
    names += [f"[{one.name.upper()}]" for one in recipe.inputs if one.optional]
    return f"{' '.join(names)}: {recipe.title}".replace("%", "%%")


def _paths(args: argparse.Namespace, recipe: Recipe) -> list[Path]:
    """The files that a recipe's images come from."""
    return getattr(args, recipe.flag[2:].replace("-", "_")) if recipe.flag else args.images


def _bids_images(args: argparse.Namespace, family: Family) -> list[Path]:
    """All files of images that were named; of a BIDS folder those that the family reads."""
    flagged = (_paths(args, recipe) or [] for recipe in family.recipes if recipe.flag)
    paths = [*args.images, *(path for paths in flagged for path in paths)]
    suffixes = getattr(resolve_name(family.reader), "BIDS_SUFFIXES", ())
    found = [bids_images(path, suffixes) if path.is_dir() else [path] for path in paths]
    return [image for images in found for image in images]


def _recipe_and_images(
    args: argparse.Namespace, family: Family
) -> tuple[Recipe, list[Volume], dict[str, object], list[str]]:
    """The recipe that the arguments mean, its images, and settings and notes read with them."""
    named = {one: paths for one in family.recipes if one.flag and (paths := _paths(args, one))}
    if len(named) + bool(args.images) != 1:
        flags = "".join(f", or {recipe.flag}" for recipe in family.recipes if recipe.flag)
        raise ValueError(f"Give images of a series{flags}.")
    if not named:
        images, settings, notes = resolve_name(family.reader).read(args)
        recipe = family.recipe(args.method or family.default)
        return recipe, images, settings, notes
    ((recipe, paths),) = named.items()
    if args.method:
        raise ValueError(f"--method chooses among fits of series; {recipe.flag} is one by itself.")
    settings = resolve_name(family.reader).stated(args)
    images = [with_stated_facts(read_source(path), path) for path in paths]
    notes = [note for image in images for note in image.notes]
    return recipe, images, settings, list(dict.fromkeys(notes))


def _settings(args, family: Family, recipe: Recipe, images) -> dict[str, object]:
    settings: dict[str, object] = {}
    for short in family.shorthands:
        values = getattr(args, short.flag[2:].replace("-", "_"))
        if values is not None:
            settings.update(zip(short.names, values, strict=True))
            if short.switch:
                settings[short.switch] = True
    known = {option.name for option in recipe.options}
    options = {option.name: option for option in family.options}
    for name, value in option_values(args, family.options).items():
        option = options[name]
        if name not in known:
            raise ValueError(f"{option.flag} has no meaning for {recipe.choice}.")
        if option.type == REGION:
            value = drawn_mask(value, images[0])
        settings[name] = on_grid(value, images[0]) if option.type == IMAGE else value
    return settings


def _say(maps: list[ParametricMap]) -> None:
    """What was read and found, once, and how many voxels can be used."""
    said: list[str] = []
    for key in ("summary", "reading", "notes", "limits"):
        text = maps[0].provenance.get(key, ())
        said += [text] if isinstance(text, str) else list(text)
    print("\n".join(dict.fromkeys(said)))
    for made in maps:
        if made.kind.id == "doubt":
            print(usable(made.volume.array, made.codes))
        if bias := made.provenance.get("t1_bias_of_the_median_voxel_percent"):
            name = made.name.removesuffix("_T1corrected")
            print(f"T1 weighting raised {name} by {bias:.1f} points (median voxel).")
