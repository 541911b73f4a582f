"""`marrowassess change-map`: bodies of one visit found again at the next, voxel by voxel."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PDFFMapperLib.images.volume import Volume

    from MarrowAssessLib.catalogue.quantities import Quantity
    from MarrowAssessLib.follow_up.change_map import BodyChange, ChangeMap

TABLE, MAP, RECORD, SCENE = "change.csv", "change.nrrd", "change.json", "scene.mrb"
COLUMNS = (
    "site", "correlation_before", "correlation_after", "moved_mm", "turned_deg", "overlap",
    "voxels", "beyond", "up_percent", "down_percent", "same_percent", "failed",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess change-map`."""
    for which in ("first", "second"):
        parser.add_argument(
            f"--{which}", nargs=2, required=True, metavar=("IMAGE", "MAP"),
            help=f"anatomical image and map of the {which} visit",
        )  # fmt: skip
    parser.add_argument("--labels", required=True, metavar="FILE", help="bodies at the first visit")
    parser.add_argument(
        "--label", action="append", required=True, metavar="VALUE=ROLE:SITE", help="as 5=marrow:L3"
    )
    parser.add_argument(
        "--labels-second", metavar="FILE",
        help="the same at the second visit: where each is expected, how far they overlap, and "
        "whether levels are shifted",
    )  # fmt: skip
    parser.add_argument(
        "--quantity", default="marrow_pdff", help="of the map, for its error (default marrow_pdff)"
    )
    parser.add_argument(
        "--no-scene", action="store_true", help=f"leave out {SCENE}, which opens in Slicer"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")


def run(args: argparse.Namespace) -> int:
    """Register each body, draw the change and write it; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is written.
    """
    from PDFFMapperLib.images.files import read_volume, write_volume
    from PDFFMapperLib.images.json_file import write_json
    from PDFFMapperLib.images.outputs import output_set, refuse_foreign
    from PDFFMapperLib.images.resampling import resampled
    from PDFFMapperLib.images.tables import write_rows
    from PDFFMapperLib.install.software import MAKER

    from MarrowAssessLib.catalogue.about import RESEARCH_USE
    from MarrowAssessLib.catalogue.quantities import QUANTITIES
    from MarrowAssessLib.follow_up.change_map import Moment, change_map
    from MarrowAssessLib.follow_up.errors import published_error
    from MarrowAssessLib.sources.labels import parse_label_rule, regions_from_labels

    refuse_foreign(args.out, RECORD, (TABLE, MAP, SCENE))
    quantity = QUANTITIES.get(args.quantity)
    if quantity is None or not quantity.of_map:
        raise ValueError(f"--quantity {args.quantity}: no quantity of a map is called so.")
    rules = [parse_label_rule(text) for text in args.label]
    labels = read_volume(args.labels)
    image, first = (resampled(read_volume(path), labels) for path in args.first)
    other, second = (read_volume(path) for path in args.second)
    later = read_volume(args.labels_second) if args.labels_second else None
    bodies_later = regions_from_labels(later, rules) if later else []
    error = published_error(args.quantity)
    found = change_map(
        Moment(image, first, regions_from_labels(labels, rules), labels),
        Moment(other, second, bodies_later, later or other),
        error,
    )
    rows = [_row(one) for one in found.bodies]
    with output_set(args.out, RECORD) as folder:
        write_volume(found.change, folder / MAP)
        write_rows(folder / TABLE, COLUMNS, rows)
        record = {
            "software": MAKER, "research_use": RESEARCH_USE, "quantity": args.quantity,
            "error": error and error.source, "bodies": rows,
        }  # fmt: skip
        if not args.no_scene:
            _write_scene(found, image, quantity, folder)
        write_json(folder / RECORD, record)
    for row in rows:
        print(row.get("failed") or _sentence(row, quantity))
    return 0


def _row(one: BodyChange) -> dict:
    if one.failed:
        return {"site": one.site, "failed": one.failed}
    body, response = one.body, one.response
    return {
        "site": one.site,
        "matrix_ras": body.matrix.round(6).tolist(),
        "correlation_before": round(body.ncc_before, 3),
        "correlation_after": round(body.ncc_after, 3),
        "moved_mm": round(body.moved_mm, 2),
        "turned_deg": round(body.turned_deg, 2),
        "overlap": None if one.overlap is None else round(one.overlap, 3),
        "voxels": response.voxels,
        "beyond": round(response.beyond, 3),
        "up_percent": round(100 * response.up, 1),
        "down_percent": round(100 * response.down, 1),
        "same_percent": round(100 * response.same, 1),
    }


def _write_scene(found: ChangeMap, image: Volume, quantity: Quantity, folder: Path) -> None:
    """The first visit's image with the map over it, and the table."""
    from PDFFMapperLib.scene.volumes import volume_to_node

    from MarrowAssessLib.scene import headless

    try:
        headless.start()
    except headless.RuntimeMissing as missing:
        print(f"No {SCENE}: {missing}")
        return
    from MarrowAssessLib.scene.change_map import show_change_map
    from MarrowAssessLib.scene.files import save_scene, show_in_slices

    node = volume_to_node(image, "earlier")
    show_in_slices(node)
    show_change_map(found, quantity, node)
    save_scene(folder / SCENE)


def _sentence(row: dict, quantity: Quantity) -> str:
    return (
        f"{row['site']}: {row['up_percent']:g} % of the marrow up, {row['down_percent']:g} % down, "
        f"{row['same_percent']:g} % the same (beyond {quantity.format(row['beyond'])} a voxel)"
    )
