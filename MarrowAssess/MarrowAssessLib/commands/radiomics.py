"""`marrowassess radiomics`: the full set of IBSI features of every region, one row each."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PDFFMapperLib.images.files import written_whole
from PDFFMapperLib.images.json_file import write_json
from PDFFMapperLib.images.outputs import output_set, refuse_foreign
from PDFFMapperLib.images.tables import write_table
from PDFFMapperLib.images.volume import grids_differ
from PDFFMapperLib.install.software import MAKER

from MarrowAssessLib.commands.study_options import add_study_options, study_files

if TYPE_CHECKING:
    from PDFFMapperLib.images.volume import Volume

    from MarrowAssessLib.catalogue.contrasts import Contrast
    from MarrowAssessLib.texture.responses import Filter
    from MarrowAssessLib.texture.table import Range, Row


RECORD, TABLE = "radiomics.json", "radiomics.csv"
PARQUET, STABILITY = "radiomics.parquet", "stability.csv"
WITHOUT_N4 = "radiomics-without-n4.csv"  # the same columns of the images as acquired


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess radiomics`."""
    add_study_options(parser)
    parser.add_argument(
        "--n4",
        action="store_true",
        help="correct coil shading first (N4); features without it in a table beside",
    )
    parser.add_argument(
        "--filters",
        action="store_true",
        help="also of Laplacians of Gaussians and wavelet bands (needs PyWavelets)",
    )
    parser.add_argument(
        "--laws", action="append", default=[], metavar="KERNELS",
        help="also of the energy of Laws' kernels along columns, rows and slices, as E5L5S5; in "
        "thick slices only the first two are used",
    )  # fmt: skip
    parser.add_argument(
        "--gabor", action="append", default=[], metavar="SIGMA,WAVELENGTH,ASPECT",
        help="also of Gabor filters (mm; the Gaussian is SIGMA / ASPECT wide across the wave)",
    )  # fmt: skip
    parser.add_argument(
        "--stability",
        action="store_true",
        help="also features of regions and images changed a little, which `train` learns from "
        "what stays",
    )
    parser.add_argument(
        "--spacing",
        type=float,
        metavar="MM",
        help="resample to voxels of this side first (thick slices keep their thickness), so that "
        "patients scanned with different voxels compare",
    )
    parser.add_argument(
        "--range",
        action="append",
        default=[],
        metavar="IMAGE=LOW,HIGH",
        help="leave voxels of an image with other values out (re-segmentation), as PDFF=0,100",
    )
    parser.add_argument(
        "--parquet", action="store_true", help="radiomics.parquet as well (needs pyarrow)"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where results go")


def run(args: argparse.Namespace) -> int:
    """Read, count and write radiomics.csv and radiomics.json; 0 on success.

    All files of a run take their place together, or none does.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is written.
    """
    from MarrowAssessLib.measures.measure import without_coil_shading
    from MarrowAssessLib.sources.study_files import read_study
    from MarrowAssessLib.texture.resampling import at_spacing
    from MarrowAssessLib.texture.responses import laws_filter
    from MarrowAssessLib.texture.table import radiomics_rows, stability_rows

    _require("--filters", "pywt", "PyWavelets", args.filters)
    _require("--parquet", "pyarrow", "pyarrow", args.parquet)
    refuse_foreign(args.out, RECORD, (TABLE, PARQUET, STABILITY, WITHOUT_N4))
    files, notes = study_files(args)
    study = read_study(files)
    for one in study.volumes.values():
        if not one.same_grid(study.grid):
            raise ValueError(grids_differ(one, study.grid, "texture needs regions drawn on it"))
    images, ranges = digests(study.volumes), _ranges(args.range, study.volumes)
    more = [*map(laws_filter, args.laws), *map(_gabor, args.gabor)]
    counted = {"ranges": ranges, "more": more}
    corrected = without_coil_shading(study.volumes) if args.n4 else {}
    volumes, regions = study.volumes | corrected, study.regions
    acquired = {contrast: study.volumes[contrast] for contrast in corrected}
    steps = []
    if args.spacing is not None:
        acquired, _ = at_spacing(acquired, [], args.spacing) if acquired else ({}, [])
        volumes, regions = at_spacing(volumes, regions, args.spacing)
        steps = ["resampled"]
    before = {c: ", ".join([*steps, *(["N4"] if c in corrected else [])]) for c in volumes}
    rows = radiomics_rows(volumes, regions, args.filters, done_before=before, **counted)
    before, plain = {c: ", ".join(steps) for c in acquired}, []
    if acquired:
        plain = radiomics_rows(acquired, regions, args.filters, done_before=before, **counted)
    if not any(row.values for row in rows):
        reasons = "; ".join(f"{r.region}: {why}" for r in rows for why in r.missing.values())
        raise ValueError(f"No region gives features ({reasons}).")
    subject = study.subject or ""
    with output_set(args.out, RECORD) as folder:
        write_table(folder / TABLE, *table_of(rows, subject, images))
        write_description(rows, folder / RECORD, args.n4, notes)
        if plain:
            write_table(folder / WITHOUT_N4, *table_of(plain, subject, images))
        if args.parquet:
            write_parquet(rows, folder / PARQUET, subject, images)
        if args.stability:
            rows_of = stability_rows(volumes, regions, args.filters, **counted)
            write_stability(rows_of, folder / STABILITY, subject)
    for row in rows:
        for image, why in row.missing.items():
            print(f"{row.region}, {image}: no features, {why}.")
    print(f"{len(rows)} regions, {max(len(row.values) for row in rows)} features: {args.out}")
    return 0


def _ranges(texts: Sequence[str], images: Mapping[Contrast, Volume]) -> dict[Contrast, Range]:
    """By image: the values that count."""
    found = {}
    by_name = {contrast.value: contrast for contrast in images}
    for text in texts:
        name, _, numbers = text.partition("=")
        if name not in by_name:
            given = ", ".join(by_name)
            raise ValueError(f"--range {text}: no image '{name}' was given, only {given}.")
        try:
            low, high = map(float, numbers.split(","))
        except ValueError:
            low = high = math.nan
        if not low < high:
            raise ValueError(
                f"--range {text}: expected the lowest and the highest value, as {name}=0,100."
            )
        found[by_name[name]] = low, high
    return found


def _gabor(text: str) -> Filter:
    """The filter that "SIGMA,WAVELENGTH,ASPECT" describes."""
    from MarrowAssessLib.texture.responses import gabor_filter

    try:
        sigma, wavelength, aspect = map(float, text.split(","))
    except ValueError:
        raise ValueError(
            f"--gabor {text}: expected sigma and wavelength in mm and the aspect, as 3,6,1."
        ) from None
    return gabor_filter(sigma, wavelength, aspect)


def _require(option: str, module: str, package: str, wanted: bool) -> None:
    if wanted and importlib.util.find_spec(module) is None:
        raise ValueError(
            f"{option} needs {package}; install it with: pip install 'marrowassess[radiomics]'."
        )


def write_parquet(rows: Sequence[Row], path: Path, subject: str, images: str = "") -> None:
    """The same as typed columns; each names its feature and its IBSI code."""
    import pyarrow
    from pyarrow import parquet

    from MarrowAssessLib.texture.table import FEATURES

    names = {one.code: one.name for one in FEATURES}
    columns, lines = table_of(rows, subject, images)
    fields = []
    for n, column in enumerate(columns):
        code = column.rpartition("_")[2]
        known = {"ibsi": code, "name": names[code]} if code in names else None
        words = any(isinstance(line[n], str) for line in lines)
        kind = pyarrow.string() if words else pyarrow.float64()
        fields.append(pyarrow.field(column, kind, metadata=known))
    made = pyarrow.table(
        [list(column) for column in zip(*lines, strict=True)], schema=pyarrow.schema(fields)
    )
    with written_whole(path) as temporary:
        parquet.write_table(made, temporary)


def digests(volumes: Mapping[Contrast, Volume]) -> str:
    """A digest of each image's voxels, by which an image is known under another name."""
    return " ".join(
        hashlib.sha256(np.ascontiguousarray(volume.array, np.float32).tobytes()).hexdigest()[:16]
        for volume in volumes.values()
    )


def table_of(
    rows: Sequence[Row], subject: str, images: str
) -> tuple[list[str], list[list[str | float | None]]]:
    """Columns and lines: who and where, the settings of each image, then every feature."""
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    settings = list(dict.fromkeys(name for row in rows for name in row.settings))
    columns = ["subject", "region", "tissue", "site", "images"]
    columns += [*(f"{name}_settings" for name in settings), *names]
    lines = []
    for row in rows:
        values = (row.values.get(name) for name in names)
        lines.append(
            [
                *(subject, row.region, row.tissue, row.site, images),
                *(row.settings.get(name, "") for name in settings),
                *(None if value is None else float(value) for value in values),
            ]
        )
    return columns, lines


def write_stability(
    variants: Iterable[tuple[str, str, Mapping[str, float]]], path: Path, subject: str
) -> None:
    """One line for each region and variant, see `stability_rows`."""
    rows = list(variants)
    columns = list(dict.fromkeys(name for *_, values in rows for name in values))
    lines = ([subject, *where, *map(values.get, columns)] for *where, values in rows)
    write_table(path, ["subject", "region", "variant", *columns], lines)


def write_description(rows: Sequence[Row], path: Path, n4: bool, notes: Sequence[str]) -> None:
    """What the columns mean and how they were counted."""
    from MarrowAssessLib.texture.table import FEATURES

    content = {
        "software": MAKER,
        "definitions": "IBSI reference manual (arXiv 1612.07003); IBSI-2 for filters",
        "n4": n4,
        "notes": list(notes),
        "features": {one.code: {"name": one.name, "grows": one.grows} for one in FEATURES},
        "levels": {row.region: row.levels for row in rows if row.levels},
        "missing": {row.region: row.missing for row in rows if row.missing},
    }
    write_json(path, content)
