"""The studies of a BIDS data set: each subject's or session's images that can be measured.

Suffixes: https://bids-specification.readthedocs.io, anatomy imaging data and quantitative MRI.
Echo trains (MEGRE, MESE) and diffusion series are no maps yet: `pdff` and `ivim` make those.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from PDFFMapperLib.images.bids import BidsName, bids_images, bids_name, stem_of

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.terminology import NoTissue, role_and_site
from MarrowAssessLib.cohort.study_list import ListedStudy

_SUFFIXES = {
    "T1w": Contrast.T1, "T2w": Contrast.T2, "STIR": Contrast.FS_T2, "ADC": Contrast.ADC,
    "R2starmap": Contrast.R2STAR, "T2starmap": Contrast.T2STAR, "ct": Contrast.CT,
    "PDFF": Contrast.PDFF, "PDFFmap": Contrast.PDFF,
}  # fmt: skip
_STIR = re.compile("stir|tirm|fatsat|fs", re.I)  # BIDS has no suffix of it
_DESCRIBED = {"PDFF": Contrast.PDFF, "IVIMD": Contrast.D, "IVIMf": Contrast.F, "ADC": Contrast.ADC}
_LABELS = "dseg"


def bids_studies(root: Path) -> list[ListedStudy]:
    """One study for each subject and session with an image that can be measured.

    Maps and label maps (``_dseg`` with its ``dseg.tsv``) of data sets below ``derivatives`` count
    to the same subject and session; where there is no label map the spine is found by itself.
    Of several images of one role the first by name is taken.

    Raises:
        ValueError: no subject has such an image.
    """
    images: dict[tuple[str, str], dict[str, Path]] = {}
    for path in bids_images(root, (*_SUFFIXES, "map", _LABELS)):
        name = bids_name(path)
        role = _LABELS if name.suffix == _LABELS else _role(name)
        if role and (subject := name.entities.get("sub")):
            own = images.setdefault((subject, name.entities.get("ses", "")), {})
            own.setdefault(role, path)
    found = []
    for (subject, session), own in sorted(images.items()):
        labels = own.pop(_LABELS, None)
        if not own:
            continue
        content: dict[str, object] = {
            "volumes": {role: path.relative_to(root).as_posix() for role, path in own.items()}
        }
        if rules := _rules(labels, root) if labels else []:
            content |= {"labels": labels.relative_to(root).as_posix(), "label_rules": rules}
        else:
            content["column"] = "auto"
        name = f"sub-{subject}" + (f"/ses-{session}" if session else "")
        found.append(ListedStudy(name, content, f"sub-{subject}", session))
    if not found:
        raise ValueError(
            f"{root}: no subject of this BIDS data set has an image that can be measured; expected "
            f"are the suffixes {', '.join(_SUFFIXES)}. Maps of echo trains and diffusion are made "
            "by `marrowassess pdff` and `ivim`."
        )
    return found


def _role(name: BidsName) -> str:
    """The role of an image, "" for what is left out: parts, and maps of another kind."""
    if name.entities.get("part", "mag") != "mag" or "echo" in name.entities:
        return ""
    described = name.entities.get("desc", "")
    if name.suffix == "map":
        contrast = _DESCRIBED.get(described)
        return contrast.value if contrast else ""
    if name.suffix == "T2w" and _STIR.search(name.entities.get("acq", "")):
        return Contrast.FS_T2.value
    return _SUFFIXES[name.suffix].value


def _rules(labels: Path, root: Path) -> list[str]:
    """What the values of a label map mean, by the nearest table with columns index and name."""
    beside = labels.with_name(f"{stem_of(labels)}.tsv")
    tables = [beside, *(folder / "dseg.tsv" for folder in labels.parents if root in
                        (folder, *folder.parents))]  # fmt: skip
    table = next((path for path in tables if path.is_file()), None)
    if table is None:
        return []
    rules = []
    lines = table.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    rows = list(csv.DictReader(lines, delimiter="\t"))
    beside = [row.get("name") or "" for row in rows]
    for row, name in zip(rows, beside, strict=True):
        try:
            role, site = role_and_site(name, beside=beside)
        except NoTissue:
            continue
        if (row.get("index") or "").isdigit():
            rules.append(f"{row['index']}={role.value}:{site}")
    return rules
