"""CPU of writing DICOM objects: regions and maps of 256 x 256 x 30, and what checkers say.

    python Testing/benchmarks/dicom_out.py [--repeat 3]
    python Testing/benchmarks/dicom_out.py --sources FOLDER ...

Without --sources a classic series of 30 slices with the header of a scanner is written, five
regions are drawn on it, and segmentation, report and four maps are made of them; goal 1.5 s CPU.
With it objects are made of the first volume of each folder, and dciodvfy's errors are counted.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "MarrowAssess"), str(ROOT / "PDFFMapper"), str(ROOT / "Testing/Python")]
SHAPE = (30, 256, 256)
REGIONS = 5
_CLASS = ["SOPClassUID"]


def study_of(image: object) -> object:
    """Five blocks as regions on an image, with it as four maps."""
    from MarrowAssessLib.catalogue.anatomy import Role
    from MarrowAssessLib.catalogue.contrasts import Contrast
    from MarrowAssessLib.study.regions import Region
    from MarrowAssessLib.study.study import Study

    shape = image.array.shape
    regions = []
    for n in range(REGIONS):
        mask = np.zeros(shape, bool)
        rows = slice(shape[1] * (2 * n + 1) // 12, shape[1] * (2 * n + 2) // 12)
        mask[: max(1, shape[0] * 3 // 4), rows, shape[2] // 4 : shape[2] // 2] = True
        regions.append(Region(f"L{n + 1} marrow", Role.MARROW, f"L{n + 1}", mask))
    values = image.array.astype(np.float32) / max(float(image.array.max()), 1)
    scales = {
        Contrast.PDFF: (20, 60), Contrast.R2STAR: (40, 90), Contrast.ADC: (0.4, 1),
        Contrast.F: (4, 20),
    }  # fmt: skip
    volumes = {c: image.with_array(np.float32(a) + b * values) for c, (a, b) in scales.items()}
    return Study(volumes, regions, 55.0, "F", {"labels": "drawn"})


def timed(folder: Path, repeat: int) -> None:
    """CPU of each part and of all, the best of several."""
    from dicom_files import write_as_dicom
    from MarrowAssessLib.dicom_out.export import write_dicom
    from MarrowAssessLib.findings.assessment import assess
    from PDFFMapperLib.dicom.folder import read_dicom_folder
    from PDFFMapperLib.images.volume import Volume

    rng = np.random.default_rng(0)
    grid = Volume(rng.integers(0, 900, SHAPE).astype(np.int16), np.diag([1.2, 1.2, 4, 1]), "T1")
    image = read_dicom_folder(write_as_dicom(grid, folder / "in"))[0].volumes[0]
    done = assess(study_of(image))
    spent = []
    for n in range(repeat):
        start = time.process_time()
        write_dicom(done, folder / f"out{n}")
        spent.append(time.process_time() - start)
    size = sum(p.stat().st_size for p in (folder / "out0").glob("*.dcm")) / 1e6
    print(
        f"{REGIONS} regions, 4 maps, report of {SHAPE[1]} x {SHAPE[2]} x {SHAPE[0]}: first "
        f"{spent[0]:.2f} s CPU, then {min(spent):.2f} s; {size:.0f} MB"
        + (" - reached" if spent[0] <= 1.5 else " - MISSED")
    )


def checked(folder: Path, out: Path) -> None:
    """Errors of objects made of a folder's first volume."""
    from MarrowAssessLib.dicom_out.export import write_dicom
    from MarrowAssessLib.findings.assessment import assess
    from PDFFMapperLib.dicom.folder import read_dicom_folder
    from pydicom import dcmread

    series = read_dicom_folder(folder)[0]
    image = series.contents[0].read()
    written = write_dicom(assess(study_of(image)), out / folder.name, False, ())
    errors = 0
    for path in written:
        done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, encoding="latin-1")
        lines = (done.stdout + done.stderr).splitlines()
        errors += sum(line.startswith(("Error", "Abort")) for line in lines)
    maker = image.attributes.get("Manufacturer", "")
    first = dcmread(image.slices.frames[0][0], stop_before_pixels=True, specific_tags=_CLASS)
    kind = "enhanced" if first.SOPClassUID.name.startswith("Enhanced") else "classic"
    print(f"{folder.name}: {maker} {kind}, {image.array.shape}: {len(written)} objects, "
          f"{errors} errors", flush=True)  # fmt: skip


def main() -> None:
    """Print times or errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--sources", type=Path, nargs="+")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if not args.sources:
            timed(Path(temporary), args.repeat)
            return
        if not shutil.which("dciodvfy"):
            sys.exit("dciodvfy is not here: install dicom3tools")
        for folder in args.sources:
            checked(folder, Path(temporary))


if __name__ == "__main__":
    main()
