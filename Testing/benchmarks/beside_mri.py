"""PET, CT and whole-body diffusion: time and memory, and what other libraries make of them.

    python Testing/benchmarks/beside_mri.py --slices 400
    python Testing/benchmarks/beside_mri.py --crip venv1/bin/python --mirp venv2/bin/python \
        --suv FOLDER
    python Testing/benchmarks/beside_mri.py --ct CT [--vertebrae LABELS]
    python Testing/benchmarks/beside_mri.py --organs FOLDER
    python Testing/benchmarks/beside_mri.py --lesions

Dual energy: two images of 512 x 512 (105 million voxels of 400 slices) to four float32 maps; then
mixtures of 0-200 mg/cm^3 of mineral and 0-100 % fat in 6.5 million voxels beside crip (MIT), by
volume conservation and by two materials. SUV: the reference objects of github.com/oncoray/
suv_computation (CC BY 4.0) as a folder of archives beside mirp (EUPL-1.2).

Spine on CT: the bodies found without a click, and the share of their marrow inside labels 26 to 50
of TotalSegmentator (its two example CTs, Apache 2.0, by hand from its repository).

Organs: clicks at random inside liver, spleen and aorta of TotalSegmentator's labels (its folder
tests/reference_files, Apache 2.0): a CT without and one with contrast agent, and an MR image.

Measured on a busy machine with two cores: 105 million voxels 2.2 to 2.7 CPU-s (1.1 to compute) once
the machine has used that memory before, as on a real one; where a virtual machine gets it of its
host for the first time, up to 7.1 (5.6 of the system to hand out memory: 2.6 s for each GB, 0.6 to
0.9 after); at most 2.37 GB with the images; mixtures 0.16 CPU-s and errors below 0.0001 mg/cm^3,
crip 1.8.5 0.83 CPU-s and errors up to 9,325 mg/cm^3 (its row of volumes is empty), up to 26 by its
two materials in 0.72 CPU-s; SUV 17 of 17 within 0.002 in 1.06 CPU-s, mirp 2.7.0 17 of 17 within
0.002 in 1.76 CPU-s. Four stations of 256 x 256 x 160 become one ADC map in 1.85 CPU-s. Lesions of 8
to 40 mm at SNR 10, in the mean of 40: volume -3.6 to -4.5 %, ADC -0.005 to -0.010, 92 to 100 % in
their intervals; one of 12.5 mm scatters by 0.011, the bound of its 128 voxels. At SNR 100 0.0 % and
0.000.
CTs: 7 bodies, T12 to S1, all right by eye; 3 bodies, 862 of 865 voxels of marrow inside vertebrae;
a CT angiography of the chest, looked at only after all was made: 12 of 12 bodies by eye, T12's
1,101 voxels all in its label, no level claimed, as no sacrum is in view.
Organs, likewise looked at after: of 280 clicks 6 refused; 95.6 to 100 % of the regions in their
labels. Undoubted regions: liver and spleen at least 83 %, aorta beside muscle of its own CT number
at least 62 %, with contrast agent 100 %. A thin MR slab (60 mm) leaves most in doubt.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / one) for one in ("MarrowAssess", "PDFFMapper")]

FRACTIONS, MINERAL = (0.0, 0.25, 0.5, 0.75, 1.0), (0.0, 50.0, 100.0, 200.0)
PEER_SHAPE = (25, 512, 512)
TOUCHED_GB = 3.0  # what 105 million voxels take with their maps
SUV_CLOSE, STEPS_CLOSE = 0.005, 0.025  # the second where the object stores coarse steps


def memory_gb() -> float:
    """The most this process has held so far."""
    status = Path("/proc/self/status").read_text()
    return int(next(one for one in status.splitlines() if one.startswith("VmHWM")).split()[1]) / 1e6


def to_hand_out_memory() -> float:
    """CPU-s of the system for each GB that a new process touches, where the last one left it.

    A virtual machine gets memory of its host at the very first touch after it started, which costs
    several times what a process pays for memory that another one has used and given back.
    """
    before = os.times().children_system
    touch = f"import numpy; numpy.ones(int({TOUCHED_GB} * 1e9), 'u1')"
    subprocess.run([sys.executable, "-c", touch], check=True)
    return (os.times().children_system - before) / TOUCHED_GB


def full_size(slices: int) -> None:
    """Maps of a body with one vertebra and noise, once this machine's memory has been in use."""
    from PDFFMapperLib.dual_energy.calibration import of_kv_pair
    from PDFFMapperLib.dual_energy.recipe import DUAL_ENERGY
    from PDFFMapperLib.images.volume import Volume

    of, rng = of_kv_pair("90/Sn150", 30), np.random.default_rng(0)
    j, i = np.indices((512, 512))
    body = ((j - 256) / 170) ** 2 + ((i - 256) / 220) ** 2 < 1
    pair = []
    for beam, (kv, sd) in enumerate(((90.0, 15), (150.0, 12))):
        one = np.full((512, 512), -1000.0)
        one[body] = 0.2 * of.yellow[beam] + 0.8 * of.red[beam]
        for rows, mineral in ((slice(350, 400), 600), (slice(360, 390), 120)):
            share = mineral / 3160
            marrow = (of.yellow[beam] + of.red[beam]) / 2
            one[rows, 230:280] = share * of.hap[beam] + (1 - share) * marrow
        one[body] += rng.normal(0, sd, np.count_nonzero(body))
        array = np.empty((slices, 512, 512), np.int16)
        array[:] = np.rint(one)
        stated = {"Modality": "CT", "KVP": kv, "FilterMaterial": "TIN" if beam else "ALUMINUM"}
        name, grid = ("low", "high")[beam], np.diag([0.8, 0.8, 1, 1])
        pair.append(Volume(array, grid, name, {**stated, "RescaleIntercept": -1024.0}))
    costs = [to_hand_out_memory() for _ in range(3)]
    start = os.times()
    DUAL_ENERGY.recipe("three-materials").make(pair)
    end = os.times()
    computing, system = end.user - start.user, end.system - start.system
    print(
        f"  memory costs {costs[0]:.2f} CPU-s of the system for each GB at a first touch, then "
        f"{costs[1]:.2f} and {costs[2]:.2f}; maps are made after that:"
    )
    print(
        f"  {pair[0].array.size / 1e6:.0f} million voxels: {computing + system:.2f} CPU-s "
        f"({computing:.2f} to compute, {system:.2f} of the system to hand out memory), at most "
        f"{memory_gb():.2f} GB with the images"
    )


def joined_stations(slices: int = 160) -> None:
    """ADC of four table positions of 256 x 256 and their joining."""
    from PDFFMapperLib.diffusion.series import DiffusionSeries
    from PDFFMapperLib.diffusion.stations import join, station
    from PDFFMapperLib.images.volume import Volume

    rng = np.random.default_rng(0)
    signal = 100 + 900 * rng.random((slices, 256, 256, 2), np.float32)
    signal[..., 1] *= 0.4
    taken, b, mask = [], np.array([50.0, 900.0]), np.ones(signal.shape[:3], bool)
    start = time.process_time()
    for n in range(4):
        grid = np.diag([1.6, 1.6, 5.0, 1.0])
        grid[2, 3] = 5.0 * n * (slices - 4)
        like = Volume(signal[..., 0], grid, "station")
        taken.append(station(DiffusionSeries(signal, b, np.ones(2), like, mask=mask)))
    join(taken)
    print(
        f"  four stations of 256 x 256 x {slices}: {time.process_time() - start:.2f} CPU-s to ADC "
        "and join"
    )


def regions_of_ct(count: int = 24, slices: int = 400) -> None:
    """Regions of 26 x 26 x 20 mm on three maps of full size, and decomposed without maps."""
    from MarrowAssessLib.catalogue.anatomy import Role
    from MarrowAssessLib.catalogue.contrasts import Contrast
    from MarrowAssessLib.measures.measure import measure
    from MarrowAssessLib.study.regions import Region
    from MarrowAssessLib.study.study import Study
    from PDFFMapperLib.dual_energy.calibration import of_kv_pair
    from PDFFMapperLib.dual_energy.decomposition import three_materials
    from PDFFMapperLib.images.volume import Volume

    rng, grid = np.random.default_rng(0), np.diag([0.8, 0.8, 1.0, 1.0])
    volumes = {}
    for contrast, value in ((Contrast.HAP, 100), (Contrast.VNCA, -40), (Contrast.YELLOW_SHARE, 50)):
        array = np.full((slices, 512, 512), np.float32(value))
        array[:, ::2] += np.float32(20)
        volumes[contrast] = Volume(array, grid, contrast.value)
    levels = [
        f"{part}{n}" for part, most in (("C", 7), ("T", 12), ("L", 5)) for n in range(1, most + 1)
    ]
    regions = []
    for n, level in enumerate(levels[:count]):
        at = int(rng.integers(0, slices - 20))
        start = (at, 250, 16 * n)
        mask = np.ones((20, 32, 32), bool)
        regions.append(Region(f"{level} marrow", Role.MARROW, level, mask, start))
    study = Study(volumes, regions, 50, "F")
    measure(study)  # imports
    start = time.process_time()
    measure(study)
    print(f"  {count} regions on maps of {slices} slices: {time.process_time() - start:.2f} CPU-s")
    of, voxels = of_kv_pair("90/Sn150", 30), count * 20 * 32 * 32
    pair = rng.normal(150, 15, (2, voxels)).astype(np.float32)
    start = time.process_time()
    three_materials(*pair, of)
    print(f"  the same regions without maps: {time.process_time() - start:.3f} CPU-s")


def lesions(repeats: int = 40) -> None:
    """Volume and global ADC of digital lesions that are proposed, by diameter, at SNR 10 and 100.

    Balls of ADC 0.9 in marrow of 0.45, voxels of 2 mm, b 50 and 900; what is off in the mean of all
    repeats, how single lesions scatter, and the bound of that by noise and voxels.
    """
    from MarrowAssessLib.catalogue.anatomy import Role
    from MarrowAssessLib.measures.whole_body import adc_half, propose
    from MarrowAssessLib.study.regions import Region, statistics
    from PDFFMapperLib.images.volume import Volume

    rng, grid = np.random.default_rng(0), np.diag([2.0, 2.0, 2.0, 1.0])
    shape = (28, 40, 28)
    k, j, i = (one * 2.0 for one in np.indices(shape))
    muscle = j > 62
    regions = [
        Region.from_mask("T12 marrow", Role.MARROW, "T12", ~muscle & (j < 60)),
        Region.from_mask("psoas", Role.MUSCLE, "psoas", muscle),
    ]
    for snr in (10, 100):
        for diameter in (5, 8, 10, 12.5, 14, 20, 30, 40):
            volumes, adcs, bounds, held = [], [], [], []
            for _ in range(repeats):
                center = (28, 28, 28) + rng.uniform(-1, 1, 3)
                far = (k - center[0]) ** 2 + (j - center[1]) ** 2 + (i - center[2]) ** 2
                ball = far < (diameter / 2) ** 2
                true = np.where(ball, 0.9, np.where(muscle, 1.5, 0.45))
                high = np.where(ball, 800.0, np.where(muscle, 100.0, 150.0))
                both = (high * np.exp(0.85 * true), high)
                noise = rng.normal(0, 800 / snr, (2, 2, *shape))
                low, high = (np.hypot(s + n[0], n[1]) for s, n in zip(both, noise, strict=True))
                adc = Volume((np.log(low / high) / 0.85).astype(np.float32), grid, "ADC")
                found = propose(adc, Volume(high.astype(np.float32), grid, "DWI"), regions)
                voxels = np.count_nonzero(ball)
                volumes.append(np.count_nonzero(found.mask) / voxels - 1)
                bounds.append(np.hypot(1, np.exp(-0.765)) / snr / 0.85 / np.sqrt(voxels))
                if found.mask.any():
                    lesion = Region.from_mask("lesion", Role.LESION, "", found.mask)
                    adcs.append(statistics(lesion, adc.array, 8.0).median - 0.9)
                    held.append(abs(adcs[-1]) <= adc_half(lesion, adc.array))
            told = "none found"
            if adcs:
                told = f"{np.mean(adcs):+.3f}, scatter {np.std(adcs):.3f}"
                told += f", {100 * np.mean(held):.0f} % in their intervals"
            print(
                f"  {diameter:4g} mm, SNR {snr}: volume {100 * np.mean(volumes):+.1f} %, ADC "
                f"{told} (bound of a mean {np.mean(bounds):.3f})"
            )


def mixtures() -> tuple[np.ndarray, np.ndarray, list[tuple[float, float]], np.ndarray]:
    """CT numbers of both beams, what each slab of them holds, and the materials' (2, 3)."""
    from PDFFMapperLib.dual_energy.calibration import of_kv_pair

    of = of_kv_pair("90/Sn150", 30)
    held = [(mineral, fat) for mineral in MINERAL for fat in FRACTIONS]
    seen = np.array(
        [m / 3160 * of.hap + (1 - m / 3160) * (f * of.yellow + (1 - f) * of.red) for m, f in held],
        np.float32,
    )
    voxels = np.resize(seen, (int(np.prod(PEER_SHAPE)), 2))
    low, high = (np.ascontiguousarray(one).reshape(PEER_SHAPE) for one in voxels.T)
    return low, high, held, np.stack([of.hap, of.yellow, of.red], -1)


def ours_of_mixtures(file: Path) -> dict[str, float]:
    """Least time of three and the largest error in mg/cm^3; the mixtures are kept for a peer."""
    from PDFFMapperLib.dual_energy.calibration import of_kv_pair
    from PDFFMapperLib.dual_energy.decomposition import three_materials

    low, high, held, materials = mixtures()
    np.savez(file, low=low, high=high, held=np.array(held), materials=materials)
    of, seconds = of_kv_pair("90/Sn150", 30), []
    for _ in range(3):
        start = time.process_time()
        made = three_materials(low, high, of)
        seconds.append(time.process_time() - start)
    true = np.resize([mineral for mineral, _ in held], PEER_SHAPE)
    return {"seconds": min(seconds), "error": float(np.abs(made.hap - true).max())}


def of_crip(file: Path) -> dict[str, float]:
    """crip's own three materials with volume conservation, and its two materials."""
    from crip.spec import deDecompRecon, deDecompReconVolCon

    stored = np.load(file)
    low, high, materials = (stored[name] for name in ("low", "high", "materials"))
    true = np.resize(stored["held"][:, 0], low.shape)
    start = time.process_time()
    made = np.array(deDecompReconVolCon(low, high, *materials.T.tolist()))
    seconds = time.process_time() - start
    red = materials[:, 2] + 1000
    start = time.process_time()
    two = np.array(deDecompRecon(low + 1000, high + 1000, list(materials[:, 0] + 1000), list(red)))
    return {
        "seconds": seconds,
        "error": float(np.abs(3160 * made[0] - true).max()),
        "two materials, seconds": time.process_time() - start,
        "two materials, error": float(np.abs(3160 * two[0] - true).max()),
    }


def suv_of(name: str, folder: Path, region: np.ndarray) -> list[float]:
    """Least, median and largest value of an object's region, by ours or by mirp."""
    if name == "ours":
        from PDFFMapperLib.dicom.folder import read_dicom_folder

        (series,) = read_dicom_folder(folder)
        values = series.volumes[0].array
    else:
        from mirp._data_import.read_data import read_image
        from mirp.data_import.import_image import import_image

        (one,) = import_image(str(folder), image_modality="pt")
        values = read_image(one)[0].get_voxel_grid()
    held = values[region]
    return [float(held.min()), float(np.median(held)), float(held.max())]


def suv(name: str, objects: Path) -> dict[str, float]:
    """How many reference objects are right, and the time of all."""
    right, worst, seconds = 0, 0.0, 0.0
    with tempfile.TemporaryDirectory() as scratch:
        region = np.load(objects / "region.npy") if name != "ours" else _region(objects)
        archives = sorted(objects.glob("DRO_*.zip"))
        for file in archives:
            with zipfile.ZipFile(file) as archive:
                archive.extractall(Path(scratch) / file.stem)
            (folder,) = (Path(scratch) / file.stem).rglob("PT")
            start = time.process_time()
            found = np.abs(np.array(suv_of(name, folder, region)) - (0.2, 1.0, 4.0)).max()
            seconds += time.process_time() - start
            close = STEPS_CLOSE if file.stem == "DRO_2_3" else SUV_CLOSE
            right += found <= close
            worst = max(worst, float(found) if file.stem != "DRO_2_3" else 0.0)
    return {"right": int(right), "of": len(archives), "worst": worst, "seconds": seconds}


def _region(objects: Path) -> np.ndarray:
    from PDFFMapperLib.images.files import read_volume

    return read_volume(objects / "DRO_mask.nii.gz").array > 0


def spine_on_ct(file: Path, labels: Path | None) -> None:
    """The bodies that are found on a CT, by name with their median in HU."""
    from MarrowAssessLib.placement.spine_column import find_column
    from PDFFMapperLib.images.files import read_volume

    image = read_volume(file)
    image.attributes["Modality"] = "CT"
    start = time.process_time()
    column = find_column([image])
    print(f"  found in {time.process_time() - start:.1f} CPU-s")
    marrow = {name: one.roi for name, one in column.bodies.items()}
    told = (f"{name} {np.median(roi.values(image.array)):.0f}" for name, roi in marrow.items())
    print(f"  spine on CT: {', '.join(told)} HU; levels {column.ground}")
    for one in column.pelvis:
        held = one.values(image.array)
        told = f"{np.median(held):.0f} HU" if held.size else "not found"
        print(f"  {one.name}: {held.size * image.voxel_volume_mm3 / 1000:.0f} ml, {told}")
    if labels is not None:
        held = np.concatenate([roi.values(read_volume(labels).array) for roi in marrow.values()])
        inside = np.count_nonzero((held >= 26) & (held <= 50))
        print(f"  {inside} of {held.size} voxels of marrow inside vertebrae")


ORGANS = (  # image, labels, whether it is CT, and the organs' labels, in tests/reference_files
    ("example_ct_sm", "example_seg", True, {"liver": 5, "spleen": 1, "blood pool": 52}),
    ("example_mr_sm", "example_seg_mr", False, {"liver": 5, "spleen": 1, "blood pool": 23}),
    (
        "aorta_report/test_result/models/ct_cropped",
        "aorta_report/test_result/models/organ_aorta_T264",
        True,
        {"blood pool": 1},
    ),
)


def organs(folder: Path, clicks: int = 40) -> None:
    """Clicks at random, 8 mm inside an organ where it is so thick: what lies in its label."""
    from MarrowAssessLib.catalogue.anatomy import Role
    from MarrowAssessLib.placement.ct import as_seen
    from MarrowAssessLib.placement.structure import place
    from PDFFMapperLib.images.files import read_volume
    from scipy.ndimage import distance_transform_edt

    rng = np.random.default_rng(1)
    for image, labels, is_ct, names in ORGANS:
        seen = read_volume(folder / f"{image}.nii.gz")
        if is_ct:
            seen.attributes["Modality"] = "CT"
        seen, told = as_seen(seen), read_volume(folder / f"{labels}.nii.gz").array
        for name, number in names.items():
            mask = told == number
            depth = distance_transform_edt(mask, sampling=seen.spacing[::-1])
            inside, refused, doubted = [], 0, 0
            able = np.argwhere(depth >= min(8, 0.6 * depth.max()))
            for kji in able[rng.choice(len(able), clicks)]:
                try:
                    found = place(seen, seen.to_ras(kji[::-1].astype(float)), Role(name))
                except ValueError:
                    refused += 1
                    continue
                inside.append((np.mean(found.roi.values(mask)), not found.unsure))
                doubted += bool(found.unsure)
            of_all = [share for share, _ in inside]
            sure = [share for share, is_sure in inside if is_sure]
            print(
                f"  {image.split('/')[-1]}, {name}: {clicks} clicks, {refused} refused, {doubted} "
                f"doubted; in the label {np.mean(of_all):.3f} of the region, at least "
                f"{min(of_all):.2f}, undoubted {min(sure, default=np.nan):.2f}"
            )


def of_peer(python: str, arguments: list[str]) -> dict[str, float] | str:
    """What a library prints from its own Python, or why it did not run."""
    command = [python, __file__, "--only", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    return f"not run ({lines[-1]})" if done.returncode else json.loads(lines[-1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--crip", metavar="PYTHON", help="a Python that has crip")
    parser.add_argument("--mirp", metavar="PYTHON", help="a Python that has mirp")
    parser.add_argument("--suv", type=Path, metavar="FOLDER", help="of the reference objects")
    parser.add_argument("--ct", type=Path, metavar="FILE", help="a CT to find the spine on")
    parser.add_argument("--vertebrae", type=Path, metavar="FILE", help="TotalSegmentator's labels")
    parser.add_argument("--organs", type=Path, metavar="FOLDER", help="TotalSegmentator's files")
    parser.add_argument("--lesions", action="store_true", help="of whole-body diffusion alone")
    parser.add_argument("--only", nargs=2, help="run one peer in this process")
    args = parser.parse_args()
    if args.only:
        name, path = args.only[0], Path(args.only[1])
        print(json.dumps(of_crip(path) if name == "crip" else suv(name, path)))
        return
    if args.ct:
        spine_on_ct(args.ct, args.vertebrae)
        return
    if args.organs:
        organs(args.organs)
        return
    if args.lesions:
        lesions()
        return
    full_size(args.slices)
    regions_of_ct(slices=args.slices)
    joined_stations()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "mixtures.npz"
        print("  mixtures, ours:", _told(ours_of_mixtures(file)))
        if args.crip:
            print("  mixtures, crip:", _told(of_peer(args.crip, ["crip", str(file)])))
        if args.suv:
            print("  SUV, ours:", _told(suv("ours", args.suv)))
        if args.suv and args.mirp:
            objects = Path(scratch) / "objects"
            objects.mkdir()
            for archive in args.suv.glob("DRO_*.zip"):
                (objects / archive.name).symlink_to(archive.resolve())
            np.save(objects / "region.npy", _region(args.suv))
            print("  SUV, mirp:", _told(of_peer(args.mirp, ["mirp", str(objects)])))


def _told(found: dict[str, float] | str) -> str:
    if isinstance(found, str):
        return found
    return ", ".join(f"{name} {value:.4g}" for name, value in found.items())


if __name__ == "__main__":
    main()
