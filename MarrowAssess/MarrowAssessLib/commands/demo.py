"""`marrowassess demo`: the whole way from images to report on a digital lumbar spine."""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PDFFMapperLib.install.software import MAKER

from MarrowAssessLib.commands.terminal import say, summary

RECORD = "files.json"
SPECTRUM_SITE, SPECTRUM_FILE = "L3", "spectrum_L3.nii.gz"
UTE_FILE = "ute_tibia.nii.gz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess demo`."""
    parser.add_argument(
        "--out", default="marrowassess-demo", metavar="FOLDER", help="default: marrowassess-demo"
    )
    parser.add_argument(
        "--patient", choices=("adult", "child"), default="adult",
        help="a man of 34 years with a lesion, or a girl of 6 years with infiltrated marrow",
    )  # fmt: skip
    parser.add_argument("--no-scene", action="store_true", help="neither scene nor 3D picture")


def run(args: argparse.Namespace) -> int:
    """Draw the phantom, map it, find its spine, assess, and write the report; 0 on success."""
    from PDFFMapperLib.images.files import write_volume
    from PDFFMapperLib.images.json_file import write_json
    from PDFFMapperLib.images.outputs import output_set, refuse_foreign
    from PDFFMapperLib.spectroscopy.files import read_spectra
    from PDFFMapperLib.spectroscopy.nifti_mrs import write_nifti_mrs
    from PDFFMapperLib.spectroscopy.recipe import MRS
    from PDFFMapperLib.spectroscopy.rows import PRESS

    from MarrowAssessLib.catalogue.anatomy import Role
    from MarrowAssessLib.catalogue.contrasts import Contrast
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.measures.book import Settings
    from MarrowAssessLib.placement.spine_column import find_column_in
    from MarrowAssessLib.sample.other_modalities import reference_regions
    from MarrowAssessLib.sample.phantom import PATIENTS, lumbar_phantom
    from MarrowAssessLib.sample.tibia import SITE, Tibia
    from MarrowAssessLib.scene.outputs import refuse_output_file, write_outputs
    from MarrowAssessLib.sources.ute import read_site_ute

    refuse_output_file(args.out)
    folder = Path(args.out)
    refuse_foreign(folder / "images", RECORD, ("T1.nrrd", "PDFF.nrrd", "labels.nrrd"))
    refuse_foreign(folder / "series", RECORD, ("echoes_real.nii.gz", "diffusion.nii.gz"))
    patient = PATIENTS[args.patient]
    say(f"Drawing a digital lumbar spine: {patient.words}")
    phantom = lumbar_phantom(patient)
    facts = {}
    say("Separating water and fat (6 echoes) and fitting diffusion (10 b-values)")
    # Two processes: the first run compiles the kernels, which keeps one core busy for each.
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(compute, phantom) for compute in (_water_fat_maps, _diffusion_maps)]
        study = phantom.study()
        for job in jobs:
            maps, provenance = job.result()
            study.volumes.update(maps)
            facts.update(provenance)
    study.volumes[Contrast.SUV] = phantom.pet_volume()
    maps, provenance = _dual_energy_maps(phantom)
    study.volumes.update(maps)
    facts.update(provenance)
    joined, lesions = _whole_body(phantom)
    study.volumes |= {Contrast.ADC: joined.adc, Contrast.DWI: joined.high}
    say("Finding the spine without a click")
    column = find_column_in(study.volumes)
    by_hand = (Role.FAT, Role.NOISE)  # what the spine does not hold
    drawn = [region for region in study.regions if region.role in by_hand]
    drawn += reference_regions(phantom.tissue)
    study.regions = [*column.found_regions(), *drawn, lesions.region]
    say("Measuring")
    with tempfile.TemporaryDirectory() as temporary:  # read back as a scanner's export would be
        path = Path(temporary) / SPECTRUM_FILE
        write_nifti_mrs(path, *phantom.spectrum(SPECTRUM_SITE), PRESS)
        study.spectra = {SPECTRUM_SITE: MRS.measure(read_spectra([path]))}
        _write_ute(tibia := Tibia().volumes(), path := Path(temporary) / UTE_FILE)
        study.bones = read_site_ute([f"{SITE}={path}"], study)
    assessment = assess(study, Settings(texture=True))
    assessment.notes += [*joined.notes, lesions.told]
    assessment.notes.append(f"Spine found without a point, levels {column.ground}.")
    assessment.true_value, assessment.parameter_maps = phantom.true_value, facts
    files = write_outputs(assessment, folder, not args.no_scene, say)
    with output_set(folder / "images", RECORD) as made:
        for contrast, volume in study.volumes.items():
            write_volume(volume, made / f"{contrast.value}.nrrd")
        write_volume(phantom.labels, made / "labels.nrrd")
        what = "Images and labels of the digital spine"
        write_json(made / RECORD, {"what": what, "software": MAKER})
    with output_set(folder / "series", RECORD) as made:
        _write_series(phantom, made)
        write_nifti_mrs(made / SPECTRUM_FILE, *phantom.spectrum(SPECTRUM_SITE), PRESS)
        _write_ute(tibia, made / UTE_FILE)
        what = "Echoes and diffusion images of the digital spine"
        write_json(made / RECORD, {"what": what, "software": MAKER})
    print("\n".join(summary(assessment)))
    print(f"Open this report in a browser: {files[0].resolve()}")
    return 0


def _write_echoes(volumes, times_ms, field_strength_t: float, path: Path) -> None:
    """Images as a series with its echo times beside it."""
    from PDFFMapperLib.images.files import write_series
    from PDFFMapperLib.images.json_file import write_json
    from PDFFMapperLib.water_fat.echo_units import echo_times_in_seconds

    write_series(volumes, path)
    facts = {
        "EchoTimes": echo_times_in_seconds(times_ms, "ms"),
        "MagneticFieldStrength": field_strength_t,
    }
    write_json(path.with_name(path.name.replace(".nii.gz", ".json")), facts)


def _write_ute(volumes, path: Path) -> None:
    from MarrowAssessLib.sample.tibia import FIELD_STRENGTH_T, TE_MS

    _write_echoes(volumes, list(TE_MS), FIELD_STRENGTH_T, path)


def _write_series(phantom, folder: Path) -> None:
    """The echoes, diffusion images and CT as files that `pdff`, `ivim` and `dect` read."""
    from PDFFMapperLib.images.files import write_series, write_volume

    from MarrowAssessLib.sample.phantom import B_VALUES, FIELD_STRENGTH_T

    echoes = phantom.echo_volumes()
    for name, images in (("real", echoes[::2]), ("imaginary", echoes[1::2])):
        times_ms = [echo.attributes["EchoTime"] for echo in images]
        _write_echoes(images, times_ms, FIELD_STRENGTH_T, folder / f"echoes_{name}.nii.gz")
    write_series(phantom.diffusion_volumes(), folder / "diffusion.nii.gz")
    for name, image in zip(("low", "high"), phantom.dual_energy_volumes(), strict=True):
        write_volume(image, folder / f"ct_{name}.nrrd")
    values = " ".join(f"{b:g}" for b in B_VALUES)
    (folder / "diffusion.bval").write_text(values + "\n", encoding="utf-8")


def _water_fat_maps(phantom) -> tuple[dict, dict]:
    from PDFFMapperLib.water_fat.recipe import WATER_FAT

    maps, facts = _maps(WATER_FAT.recipe("complex"), phantom.echo_volumes(), ("PDFF", "R2star"))
    return maps, {"PDFF and R2*": facts}


def _diffusion_maps(phantom) -> tuple[dict, dict]:
    from PDFFMapperLib.diffusion.recipe import DIFFUSION

    recipe = DIFFUSION.recipe(DIFFUSION.default)
    maps, facts = _maps(recipe, phantom.diffusion_volumes(), ("D", "Dstar", "f"))
    return maps, {"D, D* and f": facts}


def _dual_energy_maps(phantom) -> tuple[dict, dict]:
    from PDFFMapperLib.dual_energy.recipe import DUAL_ENERGY

    from MarrowAssessLib.sample.other_modalities import WATER_CM

    recipe = DUAL_ENERGY.recipe(DUAL_ENERGY.default)
    names = ("VNCa", "HAP", "yellow_share")
    images = phantom.dual_energy_volumes()
    maps, facts = _maps(recipe, images, names, water_cm=WATER_CM)
    return maps, {"VNCa, bone mineral and yellow share": facts}


def _whole_body(phantom):
    """Two stations of diffusion joined, and lesions as they were proposed, with what is said."""
    from types import SimpleNamespace

    from MarrowAssessLib.catalogue.anatomy import Role
    from MarrowAssessLib.measures.whole_body import propose
    from MarrowAssessLib.study.regions import Region

    joined = phantom.whole_body()
    found = propose(joined.adc, joined.high, phantom.skeleton())
    told = f"{found.told} They were taken as proposed, which a reader would edit."
    region = Region.from_mask("lesion", Role.LESION, "", found.mask)
    return joined, SimpleNamespace(region=region, told=told)


def _maps(recipe, images, names, **settings) -> tuple[dict, dict]:
    from MarrowAssessLib.catalogue.contrasts import Contrast

    made = recipe.make(images, **settings)
    volumes = {Contrast(one.name): one.volume for one in made if one.name in names}
    return volumes, made[0].provenance
