"""`marrowassess radiomics`: the full set of IBSI features of every region, one row each."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PDFFMapperLib.images.files import written_whole
from PDFFMapperLib.images.tables import plain_cell
from PDFFMapperLib.install.software import MAKER

from MarrowAssessLib.commands.study_options import add_study_options, study_arguments

if TYPE_CHECKING:
    from PDFFMapperLib.images.volume import Volume

    from MarrowAssessLib.catalogue.contrasts import Contrast
    from MarrowAssessLib.study.regions import Region
    from MarrowAssessLib.texture.table import Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess radiomics`."""
    add_study_options(parser)
    parser.add_argument("--n4", action="store_true", help="correct coil shading first (N4)")
    parser.add_argument(
        "--filters",
        action="store_true",
        help="also of Laplacians of Gaussians and wavelet bands (needs PyWavelets)",
    )
    parser.add_argument(
        "--stability",
        action="store_true",
        help="also features of regions and images changed a little, which `train` learns from "
        "what stays",
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where results go")


def run(args: argparse.Namespace) -> int:
    """Read, count and write radiomics.csv and radiomics.json; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is written.
    """
    from MarrowAssessLib.measures.measure import without_coil_shading
    from MarrowAssessLib.sources.study_files import read_study
    from MarrowAssessLib.texture.table import radiomics_rows

    if args.filters:
        try:
            import pywt  # noqa: F401
        except ModuleNotFoundError:
            raise ValueError(
                "--filters needs PyWavelets; install it with: pip install 'marrowassess[radiomics]'"
            ) from None
    arguments, notes = study_arguments(args)
    study = read_study(**arguments)
    volumes = study.volumes | (without_coil_shading(study.volumes) if args.n4 else {})
    rows = radiomics_rows(volumes, study.regions, args.filters)
    if not any(row.values for row in rows):
        reasons = "; ".join(f"{r.region}: {why}" for r in rows for why in r.missing.values())
        raise ValueError(f"No region gives features ({reasons}).")
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(rows, folder / "radiomics.csv", study.subject or "")
    write_description(rows, folder / "radiomics.json", args.n4, notes)
    if args.stability:
        write_stability(volumes, study.regions, folder / "stability.csv", study.subject or "")
    for row in rows:
        for image, why in row.missing.items():
            print(f"{row.region}, {image}: no features, {why}.")
    print(f"{len(rows)} regions, {max(len(row.values) for row in rows)} features: {folder}")
    return 0


def write_rows(rows: Sequence[Row], path: Path, subject: str) -> None:
    """One line a region; a feature that could not be counted stays empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row.values))
    images = list(dict.fromkeys(name for row in rows for name in row.settings))
    with (
        written_whole(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file)
        settings = [f"{image}_settings" for image in images]
        table.writerow(["subject", "region", "tissue", "site", *settings, *columns])
        for row in rows:
            values = (row.values.get(name) for name in columns)
            table.writerow(
                [
                    plain_cell(subject),
                    plain_cell(row.region),
                    row.tissue,
                    row.site,
                    *(row.settings.get(image, "") for image in images),
                    *("" if value is None else repr(float(value)) for value in values),
                ]
            )


def write_stability(
    volumes: dict[Contrast, Volume], regions: Sequence[Region], path: Path, subject: str
) -> None:
    """One line for each region and variant."""
    from MarrowAssessLib.texture.table import stability_rows

    rows = list(stability_rows(volumes, regions))
    columns = list(dict.fromkeys(name for *_, values in rows for name in values))
    with (
        written_whole(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(["subject", "region", "variant", *columns])
        for region, variant, values in rows:
            table.writerow(
                [
                    plain_cell(subject),
                    plain_cell(region),
                    variant,
                    *(values.get(c, "") for c in columns),
                ]
            )


def write_description(rows: Sequence[Row], path: Path, n4: bool, notes: Sequence[str]) -> None:
    """What the columns mean and how they were counted."""
    from MarrowAssessLib.texture.table import FEATURES

    content = {
        "software": MAKER,
        "definitions": "IBSI reference manual (arXiv 1612.07003); IBSI-2 for filters",
        "n4": n4,
        "notes": list(notes),
        "features": {one.code: {"name": one.name, "grows": one.grows} for one in FEATURES},
        "missing": {row.region: row.missing for row in rows if row.missing},
    }
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
