"""What a cohort of a BIDS data set found, as a derivative data set: tables and label maps.

https://bids-specification.readthedocs.io, "BIDS Derivatives". A data set calls its subjects by
labels of its own; so does this one, which is why it is written only where a folder is named.
"""

from __future__ import annotations

import csv
import json
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from PDFFMapperLib.images.bids import bids_root
from PDFFMapperLib.images.bids_derivative import describe, refuse_bids_out
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.json_file import write_json
from PDFFMapperLib.images.outputs import replace_folder
from PDFFMapperLib.images.tables import plain_cell
from PDFFMapperLib.install.software import VERSION

from MarrowAssessLib.catalogue.about import RESEARCH_USE
from MarrowAssessLib.cohort.inventory import StudySource
from MarrowAssessLib.study.study import Study

MASKS, NAMES = "regions.nii.gz", "regions.tsv"  # of a study's results
_WHAT = "Bone marrow"  # by which the derivative data set is called
_TABLE = ("quantity", "site", "regions", "value", "unit", "verdict")
_README = f"""Regions and measurements of bone marrow, made by MarrowAssess {VERSION}.

*_desc-marrow_dseg.nii.gz  regions on the grid of the study's image, each voxel of the first region
                           by name where several overlap; *_desc-marrow_dseg.tsv says which is which
*_desc-marrow_measurements.tsv  one number a line: quantity, site, regions, value, unit, verdict
                           ("measurements" is no suffix of BIDS)

Fat fraction and maps of diffusion have no suffix of BIDS; where they are read or written they are
called desc-PDFF_map, desc-IVIMD_map and desc-IVIMf_map. Those with one are R2starmap, T2starmap,
S0map and ADC. {RESEARCH_USE}
"""


def write_regions(study: Study, folder: Path) -> None:
    """Write the regions of a study as a label map with the table of its names."""
    import numpy as np

    labels = np.zeros(study.grid.array.shape, np.uint16)
    regions = sorted(study.regions, key=lambda one: one.name)
    for n, region in enumerate(regions, start=1):
        labels[region.full_mask(labels.shape) & (labels == 0)] = n
    write_volume(study.grid.with_array(labels), folder / MASKS)
    lines = ["index\tname", *(f"{n}\t{one.name}" for n, one in enumerate(regions, start=1))]
    (folder / NAMES).write_text("\n".join(lines) + "\n", encoding="utf-8")


def refuse_no_data_set(studies: str | Path, folder: Path) -> None:
    """Say before anything is measured where no derivative data set can be written.

    Raises:
        ValueError: the studies are no BIDS data set, or the folder lies in it or is another's.
    """
    root = Path(studies).absolute()
    if bids_root(root) != root:
        raise ValueError(f"--bids-out: {root.name} is no BIDS data set; leave --bids-out out.")
    refuse_bids_out(root, folder, _WHAT)


def write_bids(
    root: Path, results: Path, done: Sequence[StudySource], rows: Sequence[dict], folder: Path
) -> None:
    """Write the derivative data set; it takes its place as a whole.

    Args:
        root: the data set that the studies are of.
        results: the cohort's folder with studies/ID/.
        done: the studies that were measured.
        rows: of the cohort's measurements.
        folder: where to.
    """
    made = folder.with_name(f".writing-{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        made.mkdir(parents=True)
        describe(root, made, _WHAT, _README)
        for study in done:
            own = [row for row in rows if row["study"] == study.id]
            _write_study(study, results / "studies" / study.id, own, made)
        replace_folder(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write_study(study: StudySource, results: Path, rows: Sequence[dict], made: Path) -> None:
    folder = made / study.name / "anat"
    folder.mkdir(parents=True)
    stem = folder / f"{study.name.replace('/', '_')}_desc-marrow"
    shutil.copy(results / MASKS, f"{stem}_dseg.nii.gz")
    shutil.copy(results / NAMES, f"{stem}_dseg.tsv")
    sources = [f"bids:raw:{one}" for one in json.loads(study.content)["volumes"].values()]
    about = {"Sources": sources, "SpatialReference": sources[0], "Manual": False}
    write_json(f"{stem}_dseg.json", about)
    with open(f"{stem}_measurements.tsv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(_TABLE)
        for row in rows:
            values = [row.get(name) for name in _TABLE]
            writer.writerow(["n/a" if one in (None, "") else plain_cell(one) for one in values])
