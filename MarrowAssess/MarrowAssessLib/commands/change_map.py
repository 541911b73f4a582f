"""`marrowassess change-map`: bodies of one visit found again at the next, voxel by voxel."""

from __future__ import annotations

import argparse
from pathlib import Path

TABLE, MAP, RECORD = "change.csv", "change.nrrd", "change.json"
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
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")


def run(args: argparse.Namespace) -> int:
    """Register each body, draw the change and write it; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is written.
    """
    import numpy as np
    from PDFFMapperLib.images.files import read_volume, write_volume
    from PDFFMapperLib.images.json_file import write_json
    from PDFFMapperLib.images.outputs import output_set, refuse_foreign
    from PDFFMapperLib.images.resampling import resampled
    from PDFFMapperLib.images.tables import write_rows
    from PDFFMapperLib.install.software import MAKER

    from MarrowAssessLib.catalogue.about import RESEARCH_USE
    from MarrowAssessLib.catalogue.quantities import QUANTITIES
    from MarrowAssessLib.follow_up.errors import published_error
    from MarrowAssessLib.sources.labels import parse_label_rule, regions_from_labels

    refuse_foreign(args.out, RECORD, (TABLE, MAP))
    if args.quantity not in QUANTITIES:
        raise ValueError(f"--quantity {args.quantity}: this quantity is not known.")
    rules = [parse_label_rule(text) for text in args.label]
    labels = read_volume(args.labels)
    regions = regions_from_labels(labels, rules)
    image, first = (resampled(read_volume(path), labels) for path in args.first)
    other, second = (read_volume(path) for path in args.second)
    later, found_later = None, {}
    if args.labels_second:
        later = read_volume(args.labels_second)
        found_later = {one.site: one for one in regions_from_labels(later, rules)}
    error = published_error(args.quantity)
    shown = np.full(labels.array.shape, np.nan, np.float32)
    rows = []
    for region in regions:
        expected = found_later.get(region.site)
        row = {"site": region.site}
        try:
            row |= _row(region, (image, first), (other, second), (later, expected), error, shown)
        except ValueError as failed:
            row["failed"] = str(failed)
        rows.append(row)
    with output_set(args.out, RECORD) as folder:
        write_volume(labels.with_array(shown, "change"), folder / MAP)
        write_rows(folder / TABLE, COLUMNS, rows)
        record = {
            "software": MAKER, "research_use": RESEARCH_USE, "quantity": args.quantity,
            "error": error and error.source, "bodies": rows,
        }  # fmt: skip
        write_json(folder / RECORD, record)
    for row in rows:
        print(row.get("failed") or _sentence(row, QUANTITIES[args.quantity]))
    return 0


def _row(region, first, second, later, error, shown) -> dict:
    """Register one body and add its change to the map that is shown.

    Args:
        region: of the body at the first visit.
        first, second: anatomical image and map of each visit.
        later: the label map of the second visit and the body's region in it, None without.
        error: of the quantity, None where it is not known.
        shown: the change of all bodies, which this one is added to.
    """
    import numpy as np

    from MarrowAssessLib.follow_up.registration import overlap, register_body
    from MarrowAssessLib.follow_up.response_map import response_map

    labels, expected = later
    center = labels.to_ras(expected.centroid_ijk()) if expected else None
    body = register_body(first[0], region, second[0], center)
    found = response_map(first[1], second[1], region, body, error)
    inside = np.isfinite(found.change)
    shown[inside] = found.change[inside]
    share = overlap(body, first[0], region, labels, expected) if expected else None
    return {
        "matrix_ras": body.matrix.round(6).tolist(),
        "correlation_before": round(body.ncc_before, 3),
        "correlation_after": round(body.ncc_after, 3),
        "moved_mm": round(body.moved_mm, 2),
        "turned_deg": round(body.turned_deg, 2),
        "overlap": None if share is None else round(share, 3),
        "voxels": found.voxels,
        "beyond": round(found.beyond, 3),
        "up_percent": round(100 * found.up, 1),
        "down_percent": round(100 * found.down, 1),
        "same_percent": round(100 * found.same, 1),
    }


def _sentence(row: dict, quantity) -> str:
    return (
        f"{row['site']}: {row['up_percent']:g} % of the marrow up, {row['down_percent']:g} % down, "
        f"{row['same_percent']:g} % the same (beyond {quantity.format(row['beyond'])} a voxel)"
    )
