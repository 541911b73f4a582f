"""The DICOM reader beside dcm2niix: voxels, place, echo times and b-values of every volume.

    pip install dcm2niix
    git clone https://github.com/neurolabusc/dcm_qa_uih
    python Testing/benchmarks/beside_dcm2niix.py dcm_qa_uih/In [more folders]

The public sets dcm_qa, dcm_qa_* of Chris Rorden (BSD-2) hold what GE, Philips, Siemens, Canon,
Toshiba, United Imaging and others export. Each folder is converted by dcm2niix and read here;
volumes of one series are paired by their voxels. Equal: the same voxels at the same place (0.05 mm
at every corner). By scale: the same but for a factor and an offset (Philips: dcm2niix shows
display or precise values). Whatever else is listed with its reason.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom import dcmread

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / name) for name in ("MarrowAssess", "PDFFMapper")]

from PDFFMapperLib.dicom.folder import DicomSeries, read_dicom_folder  # noqa: E402

NEAR_MM, SAME = 0.05, 1e-4  # of corners; of a volume's range
TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}


@dataclass
class One:
    """A volume, its axes nearest to right, anterior and superior in that order."""

    name: str
    array: np.ndarray
    corners: np.ndarray
    facts: dict[str, float] = field(default_factory=dict)


def one_of(name: str, array: np.ndarray, matrix: np.ndarray, facts: dict[str, float]) -> One:
    """Turn a volume [i, j, k] of any axis order."""
    axes = np.argmax(np.abs(matrix[:3, :3]) / np.linalg.norm(matrix[:3, :3], axis=0), axis=0)
    if len(set(axes)) < 3:
        axes = np.arange(3)
    order = np.argsort(axes)
    array, matrix = array.transpose(order), matrix[:, [*order, 3]].copy()
    for axis in range(3):
        if matrix[axis, axis] < 0:
            array = np.flip(array, axis)
            matrix[:3, 3] += matrix[:3, axis] * (array.shape[axis] - 1)
            matrix[:3, axis] *= -1
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in array.shape], indexing="ij")).reshape(3, -1)
    corners = matrix[:3, :3] @ ends + matrix[:3, 3:]
    return One(name, np.ascontiguousarray(array, np.float32), corners, facts)


def theirs(folder: Path, made: Path, tool: str) -> dict[str, list[One]]:
    """The volumes that dcm2niix makes, by series UID."""
    call = [tool, "-z", "n", "-b", "y", "-ba", "n", "-d", "9", "-f", "%s_%d_%j", "-o", str(made)]
    subprocess.run([*call, str(folder)], capture_output=True, check=False)
    found = defaultdict(list)
    for path in sorted(made.glob("*.nii")):
        about = path.with_suffix(".json")
        said = json.loads(about.read_text(errors="replace")) if about.is_file() else {}
        named = re.search(r"\d+(\.\d+){5,}", path.name)  # a file without JSON
        uid = named[0] if named else path.name
        content = path.read_bytes()
        sizes = np.frombuffer(content, "<i2", 8, 40)
        code = int(np.frombuffer(content, "<i2", 1, 70)[0])
        start, slope, shift = np.frombuffer(content, "<f4", 3, 108)
        if code not in TYPES or sizes[0] > 4:
            continue  # colors
        matrix = np.vstack([np.frombuffer(content, "<f4", 12, 280).reshape(3, 4), [0, 0, 0, 1]])
        whole = np.frombuffer(content, f"<{TYPES[code]}", offset=int(start))
        whole = whole.reshape([max(int(n), 1) for n in sizes[1:5]], order="F")
        bval = path.with_suffix(".bval")
        b_values = [float(word) for word in bval.read_text().split()] if bval.is_file() else []
        for n in range(whole.shape[3]):
            facts = {"EchoTime": said["EchoTime"] * 1e3} if "EchoTime" in said else {}
            facts |= {"DiffusionBValue": b_values[n]} if n < len(b_values) else {}
            array = whole[..., n].astype(np.float32) * (slope or 1) + shift
            volume = one_of(f"{path.name}:{n}", array, matrix.astype(float), facts)
            found[said.get("SeriesInstanceUID") or uid].append(volume)
    return found


def ours(series: DicomSeries) -> tuple[str, list[One], str]:
    """The series' UID, its volumes, and why it is refused."""
    try:
        files = {file for content in series.contents for file in content.files}
        volumes = series.volumes
    except ValueError as error:
        return "", [], str(error)
    header = dcmread(min(files), stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
    made = []
    for volume in volumes:
        facts = {
            key: float(volume.attributes[key])
            for key in ("EchoTime", "DiffusionBValue")
            if isinstance(volume.attributes.get(key), (int, float))
        }
        array = volume.array.transpose(2, 1, 0)
        made.append(one_of(volume.name, array, volume.ijk_to_ras, facts))
    return str(header.SeriesInstanceUID), made, ""


def pair(mine: list[One], other: One) -> tuple[str, One | None]:
    """How a volume of dcm2niix is found among ours."""
    alike = [one for one in mine if one.array.shape == other.array.shape]
    for how, same in (("equal", _equal), ("by scale", _by_scale)):
        fitting = [one for one in alike if same(one.array, other.array)]
        near = [one for one in fitting if np.abs(one.corners - other.corners).max() < NEAR_MM]
        if near:
            return how, near[0]
        if fitting:
            return "elsewhere", fitting[0]
    return ("other voxels" if alike else "theirs only"), None


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.abs(one - other).max() <= SAME * max(np.ptp(other), 1e-9))


def _by_scale(one: np.ndarray, other: np.ndarray) -> bool:
    if not (np.ptp(one) and np.ptp(other)):
        return False
    scaled = (one - one.min()) / np.ptp(one) * np.ptp(other) + other.min()
    return bool(np.abs(scaled - other).max() <= 5 * SAME * np.ptp(other))


def compare(folder: Path, tool: str) -> Counter:
    """Compare one folder; prints what is not equal."""
    counts: Counter = Counter()
    with tempfile.TemporaryDirectory() as made:
        others = theirs(folder, Path(made), tool)
    alone: list[One] = []
    for series in read_dicom_folder(folder):
        uid, mine, why = ours(series)
        if why:
            counts["refused series"] += 1
            print(f"  refused: {series.description}: {why[:200]}")
        alone += _paired(mine, others.pop(uid, []) if mine else [], counts, say=True)
    # Files whose JSON tells no series: by their voxels among those left.
    unnamed = [one for volumes in others.values() for one in volumes]
    left = _paired(alone, unnamed, counts, say=False)
    counts["ours only"] += len(left)
    for one in left:
        print(f"  ours only: {one.name}")
    return counts


def _paired(mine: list[One], others: list[One], counts: Counter, say: bool) -> list[One]:
    """Count how volumes of dcm2niix are found among ours; returns ours that have no pair."""
    taken: list[One] = []
    for other in others:
        how, one = pair([one for one in mine if not any(one is two for two in taken)], other)
        if one is None and pair(taken, other)[1] is not None:
            how = "theirs twice"
        if one is None and not say and how != "theirs twice":
            how = "theirs only"
        counts[how] += 1
        if one is None or how == "elsewhere":
            print(f"  {how}: {other.name} {other.array.shape}")
            continue
        taken.append(one)
        for key, value in other.facts.items():
            tolerance = 0.02 * abs(value) + 0.01
            if key in one.facts and abs(one.facts[key] - value) > tolerance:
                counts[f"other {key}"] += 1
                print(f"  {key} {one.facts[key]:g}, theirs {value:g}: {other.name}")
    return [one for one in mine if not any(one is two for two in taken)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--dcm2niix", default="dcm2niix", help="the program")
    options = parser.parse_args()
    tool = shutil.which(options.dcm2niix)
    if tool is None:
        sys.exit("Skipped: dcm2niix is not here (pip install dcm2niix).")
    total: Counter = Counter()
    for folder in options.folders:
        if not folder.is_dir():
            print(f"{folder}: skipped, not here.")
            continue
        print(folder, flush=True)
        try:
            counts = compare(folder, tool)
        except ValueError as error:
            print(f"  refused: {error}")
            continue
        print(f"  {dict(counts)}", flush=True)
        total += counts
    print(dict(total))


if __name__ == "__main__":
    main()
