"""Calls the commands with damaged inputs: none may end in a traceback, a hang or foreign files.

    python Testing/benchmarks/fuzz.py --calls 1000 [--target assess] [--seed 1] [--reading]

With --reading a command ends when all of its inputs are read and checked, before anything is
measured or written: many times as many calls in the same time.

Runs in one process; a call that does not come back within a minute, or that leaves files where it
should not, is listed with its seed. What is damaged: headers and voxels of NIfTI, NRRD and DICOM,
JSON of sidecars, studies, markups, forms and cohorts, spectra, and options.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / name) for name in ("MarrowAssess", "PDFFMapper", "Testing/Python")]

from MarrowAssessLib.commands import main as program  # noqa: E402
from MarrowAssessLib.findings.result import Assessment  # noqa: E402
from MarrowAssessLib.study.study import Study  # noqa: E402
from PDFFMapperLib.images.files import write_series, write_volume  # noqa: E402
from PDFFMapperLib.images.volume import Volume  # noqa: E402

LIMIT_S = 60
SHAPE = (4, 10, 9)
MATRIX = np.diag([-1.5, -2.0, 4.0, 1.0])
STRANGE = [
    "", "nan", "inf", "-1", "0", "1e400", "x", "=1", "../../x", "\0", "ü", "9" * 400, "[]", "#",
    ":",
]  # fmt: skip


class TooLong(BaseException):
    """A call did not come back."""


def inputs(folder: Path) -> None:
    """A small study of every kind of file."""
    import dicom_files

    rng = np.random.default_rng(0)
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 1:6, :5], labels[:, 6:, 5:] = 1, 2
    t1 = np.where(labels == 1, 400, np.where(labels == 2, 200, 50)) + rng.normal(0, 3, SHAPE)
    like = Volume(t1.astype(np.float32), MATRIX, "t1")
    for name in ("t1.nii.gz", "t1.nii", "t1.nrrd", "t1.mha"):
        write_volume(like, folder / name)
    for name in ("lab.nii.gz", "lab.nrrd"):
        write_volume(like.with_array(labels), folder / name)
    pdff = like.with_array(np.where(labels == 1, 45.0, 5.0).astype(np.float32))
    write_volume(pdff, folder / "pdff.nii")
    decay = [like.with_array(like.array * np.exp(-0.7e-3 * b)) for b in (0, 100, 400, 800)]
    write_series(decay, folder / "dwi.nii.gz")
    (folder / "dwi.bval").write_text("0 100 400 800")
    echoes = [like.with_array(like.array * np.exp(-0.04 * t)) for t in (1.2, 2.4, 3.6, 4.8, 6.0)]
    write_series(echoes, folder / "me.nii.gz")
    times = [0.0012, 0.0024, 0.0036, 0.0048, 0.006]
    facts = {"EchoTime": times, "MagneticFieldStrength": 3}
    (folder / "me.json").write_text(json.dumps(facts))
    study = {
        "age_years": 45, "sex": "F", "volumes": {"T1": "t1.nii.gz"},
        "labels": "lab.nii.gz", "label_rules": ["1=marrow:L3", "2=muscle:psoas"],
    }  # fmt: skip
    (folder / "study.json").write_text(json.dumps(study))
    point = {"label": "L3 marrow-1", "position": [4.5, 6.0, 8.0]}
    markup = {"type": "Fiducial", "name": "L3 marrow", "controlPoints": [point]}
    (folder / "p.mrk.json").write_text(json.dumps({"markups": [markup]}))
    segments(folder / "s.seg.nrrd", like, labels)
    with contextlib.suppress(ModuleNotFoundError):
        scene(folder / "s.mrb", like)
    for n, b in enumerate((0, 400, 800)):
        for k in range(3):
            pixels = np.full((10, 9), round(900 * np.exp(-0.7e-3 * b)), np.uint16)
            (folder / "dwi").mkdir(exist_ok=True)
            dicom_files.classic_slice(
                folder / "dwi", f"{n}{k}.dcm", k, pixels, series="1.2.3", DiffusionBValue=float(b),
                InstanceNumber=10 * n + k, SeriesDescription="dwi",
            )  # fmt: skip
    frames = [
        (k, (400 * np.exp(-0.05 * t) + rng.normal(0, 2, (10, 9))).astype(np.uint16),
         {"echo_time": t})
        for t in (1.2, 2.4, 3.6, 4.8) for k in range(3)
    ]  # fmt: skip
    (folder / "me").mkdir(exist_ok=True)
    dicom_files.enhanced(folder / "me/1.dcm", frames)
    more_families(folder, like, labels)
    cohort = "group,sex,quantity,site,unit,value,age_years\n"
    rows = [f"a,F,t1_marrow_muscle,L3,,{2 + 0.1 * n:g},{30 + n}\n" for n in range(8)]
    (folder / "cohort.csv").write_text(cohort + "".join(rows))


def more_families(folder: Path, like: Volume, labels: np.ndarray) -> None:
    """A spectrum, two energies of CT, visits, studies of a cohort, and an image from DICOM."""
    import dicom_files
    import spectrum_files
    from PDFFMapperLib.spectroscopy.nifti_mrs import write_nifti_mrs
    from PDFFMapperLib.spectroscopy.simulate import Truth, simulated

    times = 5e-4 * np.arange(256)
    fid = sum(np.exp((2j * np.pi * hz - 30) * times) for hz in (0, 420))
    spectrum_files.write_rda(folder / "x.rda", fid)
    spectrum_files.write_jmrui(folder / "x.txt", fid)
    spectrum_files.write_dicom(folder / "x.dcm", fid)
    spectrum_files.write_siemens(folder / "x.ima", fid)
    two = simulated(Truth(), [20.0, 40.0], 400.0, np.random.default_rng(0), points=256)
    two.tr_ms[:] = 3000.0
    write_nifti_mrs(folder / "x.nii.gz", two, np.diag([15.0, 15.0, 20.0, 1.0]), "PRESS")
    for name, bone in (("low.nii", 300.0), ("high.nii", 150.0)):
        hounsfield = np.choose(labels, (-1000.0, bone, 40.0)).astype(np.float32)
        write_volume(like.with_array(hounsfield), folder / name)
    for name, yellow, red in (("soft.nii", -100.0, 45.0), ("harder.nii", -85.0, 42.0)):
        hounsfield = np.choose(labels, (-1000.0, yellow, red)).astype(np.float32)
        write_volume(like.with_array(hounsfield), folder / name)
    ute = [like.with_array(np.exp(-0.4 * t) * (100 + like.array)) for t in (0.032, 2.2)]
    write_series(ute, folder / "ute.nii.gz")
    (folder / "ute.json").write_text(json.dumps({"EchoTime": [3.2e-5, 2.2e-3]}))
    upper = MATRIX.copy()
    upper[2, 3] += 3 * MATRIX[2, 2]  # one slice in common
    above = [Volume(like.array * np.exp(-0.7e-3 * b), upper, "up") for b in (0, 100, 400, 800)]
    write_series([one.with_array(one.array.astype(np.float32)) for one in above],
                 folder / "up.nii.gz")  # fmt: skip
    (folder / "up.bval").write_text("0 100 400 800")
    muscle = np.where(labels == 2, 30.0, 300.0).astype(np.float32)
    write_volume(like.with_array(muscle), folder / "b800.nii")
    write_volume(like.with_array(np.full(SHAPE, 0.9, np.float32)), folder / "adc.nii")
    call = ["assess", "--volume", f"PDFF={folder / 'pdff.nii'}", "--labels",
            str(folder / "lab.nii.gz"), *REGIONS[2:], *PATIENT]  # fmt: skip
    with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
        assert program.main([*call, "--out", str(folder / "visit")]) == 0
    for name in ("a.json", "b.json"):
        shutil.copy(folder / "visit" / "assessment.json", folder / name)
    shutil.rmtree(folder / "visit")
    vials = (np.arange(labels.size) * 6 // labels.size + 1).reshape(labels.shape).astype(np.uint8)
    write_volume(like.with_array(vials), folder / "vials.nrrd")
    for name, more in (("repeat.nii", 0.5), ("phantom.nii", 0.0)):
        write_volume(like.with_array((15.0 * vials + more).astype(np.float32)), folder / name)
    rows = [f"{n},{15 * n}\n" for n in range(1, 7)]
    (folder / "vials.csv").write_text("label,pdff\n" + "".join(rows))
    sign = {"sign": "focal lysis", "site": "femur", "side": "left", "certainty": "definite"}
    form = {"schema": "marrowassess-xray-1", "day": 0, "reader": "A", "view": "knee AP",
            "quality": "good", "pixel_spacing_mm": 0.14, "findings": [sign]}  # fmt: skip
    for name, day in (("form.json", 0), ("earlier.json", -30)):
        (folder / name).write_text(json.dumps(form | {"day": day}))
    (folder / "studies").mkdir()
    study = json.loads((folder / "study.json").read_text())
    for key in ("volumes", "labels"):
        named = study[key]
        study[key] = (
            {role: f"../{name}" for role, name in named.items()}
            if isinstance(named, dict) else f"../{named}"
        )  # fmt: skip
    (folder / "studies" / "s1.json").write_text(json.dumps(study))
    dicom_files.write_as_dicom(like, folder / "t1dicom")


def scene(path: Path, like: Volume) -> None:
    """A scene with an image and a model of a line; slicer-core must be installed."""
    from MarrowAssessLib.scene import headless

    headless.start()
    from MarrowAssessLib.scene.files import save_scene
    from PDFFMapperLib.scene.volumes import volume_to_node

    volume_to_node(like)
    save_scene(path)


def segments(path: Path, like: Volume, labels: np.ndarray) -> None:
    import SimpleITK as sitk
    from PDFFMapperLib.images.files import image_from_volume

    image = image_from_volume(like.with_array(labels))
    for n, name in enumerate(("L3 marrow", "psoas muscle")):
        image.SetMetaData(f"Segment{n}_Name", name)
        image.SetMetaData(f"Segment{n}_LabelValue", str(n + 1))
        image.SetMetaData(f"Segment{n}_Layer", "0")
    sitk.WriteImage(image, str(path))


REGIONS = ["--labels", "lab.nii.gz", "--label", "1=marrow:L3", "--label", "2=muscle:psoas"]
PATIENT = ["--no-scene", "--age", "40", "--sex", "F"]
CALLS: dict[str, list[list[str]]] = {
    "assess": [
        *[["assess", "--volume", f"T1={name}", *REGIONS, *PATIENT]
          for name in ("t1.nii.gz", "t1.nii", "t1.nrrd", "t1.mha")],
        ["assess", "--volume", "PDFF=pdff.nii", *REGIONS, *PATIENT],
        ["assess", "--volume", "T1=t1.nii", "--segmentation", "s.seg.nrrd", *PATIENT],
        ["assess", "--volume", "T1=t1.nii", "--markups", "p.mrk.json", *REGIONS, *PATIENT],
    ],
    "study": [["assess", "--study", "study.json", "--no-scene"]],
    "pdff": [["pdff", "me.nii.gz", "--regions", "lab.nrrd"]],
    "ivim": [
        ["ivim", "dwi.nii.gz", "--regions", "lab.nrrd", "--method", method]
        for method in ("adc", "segmented")
    ],
    "dicom": [
        ["pdff", "me", "--method", "magnitude"], ["ivim", "dwi", "--method", "adc"],
        ["assess", "--volume", "T1=dwi#3:1", *REGIONS, *PATIENT], ["inspect", "dwi"],
        ["assess", "--dicom", "me", *REGIONS, *PATIENT], ["inspect", "me"],
    ],
    "references": [
        ["references", "--quantity", "t1_marrow_muscle", "--age", "40", "--sex", "F"],
        ["references", "--quantity", "marrow_pdff", "--age", "10"],
    ],
    "scene": [["scene", "s.mrb"]],
    "spectrum": [
        *[["spectrum", name, "--te", "30", "--tr", "3000"] for name in ("x.rda", "x.txt")],
        *[["spectrum", name] for name in ("x.dcm", "x.ima", "x.nii.gz")],
    ],
    "dect": [["dect", "low.nii", "high.nii", "--kv-pair", "80/Sn140", "--regions", "lab.nrrd"]],
    "follow-up": [["follow-up", "a.json", "b.json", "--days", "0,90"]],
    "cohort": [["cohort", "studies"]],
    "ute": [["ute", "ute.nii.gz", "--regions", "lab.nrrd"]],
    "stations": [["stations", "dwi.nii.gz", "up.nii.gz"]],
    "lesions": [["lesions", "--volume", "ADC=adc.nii", "--volume", "DWI=b800.nii", *REGIONS]],
    "radiomics": [["radiomics", "--volume", "T1=t1.nii", *REGIONS]],
    "conformance": [
        ["conformance", "--scan", "A=phantom.nii", "--scan", "A=repeat.nii", "--vials",
         "vials.nrrd", "--truth", "vials.csv"],
    ],
    "change-map": [
        ["change-map", "--first", "t1.nii", "pdff.nii", "--second", "t1.nrrd", "repeat.nii",
         "--labels", "lab.nrrd", "--label", "1=marrow:L3", "--no-scene"],
    ],
    "summary": [["summary", "a.json", "b.json", "--days", "0,90", "--xray", "form.json"]],
    "xray": [["xray", "form.json", "--earlier", "earlier.json"]],
    "calibrate": [
        ["calibrate", "soft.nii", "harder.nii", "--kv-pair", "80/Sn140", "--regions", "lab.nrrd",
         "--yellow", "1", "--red", "2", "--water-cm", "25"],
    ],
    "dicom_out": [
        ["assess", "--volume", "T1=t1dicom", *REGIONS, *PATIENT, "--dicom-out", "../out/dicom"],
    ],
}  # fmt: skip


def damage(folder: Path, call: list[str], rng: random.Random) -> list[str]:
    """Damage a file that a call reads, or the call."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    named = [path for path in files if any(path.name in w or path.parent.name in w.split("#")[0]
                                           for w in call[1:])] or files  # fmt: skip
    if call[0] == "cohort":
        named = [path for path in files if path.name in ("s1.json", "t1.nii.gz", "lab.nii.gz")]
    path = rng.choice(named)
    content = bytearray(path.read_bytes())
    kind = rng.randrange(8)
    if path.suffix == ".mrb" and kind > 2:
        content = _damaged_scene(path, rng)
    elif kind == 0:
        content = content[: rng.randrange(len(content) + 1)]
    elif kind == 1:
        content += bytes(rng.randrange(1, 5000))
    elif kind in (2, 3):  # the header
        for _ in range(rng.randrange(1, 6)):
            content[rng.randrange(min(len(content), 600))] = rng.randrange(256)
    elif kind == 4:
        for _ in range(rng.randrange(1, 200)):
            content[rng.randrange(len(content))] = rng.choice([0, 255, rng.randrange(256)])
    elif kind == 5 and path.suffix in (".json", ".bval", ".csv", ".nrrd"):
        words = content.decode("latin-1").split('"')
        words[rng.randrange(len(words))] = rng.choice(STRANGE)
        content = bytearray('"'.join(words).encode("latin-1", "replace"))
    elif kind == 6:
        call = call.copy()
        n = rng.randrange(1, len(call) + 1)
        if n == len(call) or rng.random() < 0.3:
            call.insert(n, rng.choice(["--resample", "--scale", "--n4", "--erode-mm", "--field"]))
        else:
            call[n] = rng.choice(STRANGE)
        return call
    elif kind == 7:
        other = rng.choice(files)
        content = bytearray(other.read_bytes())
    path.write_bytes(bytes(content))
    return call


def _damaged_scene(path: Path, rng: random.Random) -> bytearray:
    """A scene with a file within it damaged, left out or renamed."""
    held = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(held, "w") as new:
        names = old.namelist()
        chosen, how = rng.choice(names), rng.randrange(4)
        for name in names:
            content = bytearray(old.read(name))
            if name == chosen and how == 0:
                continue
            if name == chosen and how == 1:
                name = rng.choice(["../x", "/x", "x", name + "x"])
            if name == chosen and content:
                words = content.split(b'"')
                if how == 2 and len(words) > 1:
                    words[rng.randrange(len(words))] = rng.choice(STRANGE).encode()
                    content = bytearray(b'"'.join(words))
                else:
                    for _ in range(rng.randrange(1, 20)):
                        content[rng.randrange(len(content))] = rng.randrange(256)
            new.writestr(name, bytes(content))
    return bytearray(held.getvalue())


def fuzz(target: str, calls: int, seed: int, kept: Path) -> Counter:
    """Run damaged calls; returns how they ended."""
    ends: Counter = Counter()
    signal.signal(signal.SIGALRM, _raise_too_long)
    for n in range(calls):
        rng = random.Random(f"{target}-{seed}-{n}")
        with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
            folder = Path(name)
            work = folder / "in"
            shutil.copytree(kept, work)
            call = damage(work, rng.choice(CALLS[target]).copy(), rng)
            before = _snapshot(folder)
            end, said = _called(call, work, folder / "out")
            made = [path for path in _snapshot(folder) if path not in before]
            if end in ("0", "2"):
                asked = call[call.index("--dicom-out") + 1] if "--dicom-out" in call[:-1] else ""
                places = ("out/", f"in/{asked}/") if asked else ("out/",)
                foreign = [path for path in made if not path.startswith(places)]
                if foreign or (end == "2" and made) or any(".writing" in path for path in made):
                    end, said = "files left", f"{made}"
        ends[end] += 1
        unforeseen = "this input cannot be used" in said
        if end not in ("0", "2") or unforeseen:
            print(f"{target} {seed} {n}: {end}: {' '.join(call)}: {said[-300:]}", flush=True)
            ends["unforeseen, one sentence"] += unforeseen
    return ends


def _called(call: list[str], work: Path, out: Path) -> tuple[str, str]:
    """How a call ended ("0", "2", ...) and what it said."""
    stream = io.StringIO()
    arguments = [call[0], *call[1:]]
    if call[0] not in ("references", "inspect", "scene"):
        arguments += ["--out", str(out / "own.json" if call[0] == "calibrate" else out)]
    signal.alarm(LIMIT_S)
    try:
        with (
            _in_folder(work), contextlib.redirect_stdout(stream),
            contextlib.redirect_stderr(stream),
        ):  # fmt: skip
            if call[0] == "scene":
                return _scene(arguments[1:]), stream.getvalue()
            return str(program.main(arguments)), stream.getvalue()
    except SystemExit as error:  # of the parser of arguments
        return str(error.code), ""
    except TooLong:
        return "hang", stream.getvalue()
    except BaseException as error:
        return "traceback", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)


def _scene(arguments: list[str]) -> str:
    """Load a scene; "2" where it is refused by a sentence."""
    from MarrowAssessLib.scene.files import load_scene

    try:
        load_scene(*arguments[:1])
    except (ValueError, OSError) as error:
        if not str(error).endswith((".", ". ")) and "did not load" not in str(error):
            raise
        return "2"
    return "0"


def _measured(study: Study) -> Assessment:
    """What is measured without any search: enough for every object that is written of it."""
    from MarrowAssessLib.findings.assessment import assess

    return assess(study)


READ_ONLY = ("assess", "pdff", "ivim", "dect", "spectrum", "cohort", "ute", "radiomics")


def only_reading() -> None:
    """Let every command end when its inputs are read and checked."""
    parser = program._parser

    def reads(args: argparse.Namespace) -> int:
        from MarrowAssessLib.cohort.inventory import find_studies
        from MarrowAssessLib.cohort.measuring import _files
        from MarrowAssessLib.commands.study_options import study_files
        from MarrowAssessLib.dicom_out.export import write_dicom
        from MarrowAssessLib.sources.study_files import read_study
        from PDFFMapperLib.commands.builder import _recipe_and_images
        from PDFFMapperLib.commands.regions import label_map
        from PDFFMapperLib.diffusion.scheme import diffusion_scheme
        from PDFFMapperLib.recipes import FAMILIES
        from PDFFMapperLib.spectroscopy.files import read_spectra
        from PDFFMapperLib.water_fat.echo_train import echo_train

        if args.command == "spectrum":
            stated = {key: getattr(args, key) for key in ("EchoTime", "RepetitionTime")}
            read_spectra(args.spectra, {k: v * 1e-3 for k, v in stated.items() if v is not None})
            return 0
        if args.command == "cohort":
            for one in find_studies(args.studies, ""):
                read_study(_files(one)[0])
            return 0
        if not hasattr(args, "images"):
            files, _ = study_files(args)
            study = read_study(files)
            if getattr(args, "dicom_out", None):
                write_dicom(_measured(study), args.dicom_out)
            return 0
        family = next(one for one in FAMILIES if one.command == args.command)
        _, images, settings, _ = _recipe_and_images(args, family)
        if args.regions is not None:
            label_map(args.regions, images[0])
        if family.command == "ivim":
            diffusion_scheme(images, settings["b_values"])
        elif family.command == "pdff":
            echo_train(images, settings["echo_times_s"])
        return 0

    def read_only(arguments: list[str]) -> SimpleNamespace:
        def parse(_: list[str]) -> argparse.Namespace:
            args = parser(arguments).parse_args(arguments)
            args.command = arguments[0]
            if args.command in READ_ONLY:
                args.run = reads
            return args

        return SimpleNamespace(parse_args=parse)

    program._parser = read_only


@contextlib.contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _raise_too_long(*_: object) -> None:
    raise TooLong


def _snapshot(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


if __name__ == "__main__":
    faulthandler.enable()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200, help="of each target")
    parser.add_argument("--target", choices=CALLS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reading", action="store_true", help="end when inputs are read")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-kept-") as kept:
        inputs(Path(kept))
        if options.reading:
            only_reading()
        for one in [options.target] if options.target else CALLS:
            start = time.monotonic()
            found = fuzz(one, options.calls, options.seed, Path(kept))
            took = time.monotonic() - start
            print(f"{one}: {dict(found)} in {took:.0f} s", flush=True)
