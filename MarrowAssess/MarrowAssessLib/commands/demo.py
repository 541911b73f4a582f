"""`marrowassess demo`: the whole way from images to report on a digital lumbar spine."""

from __future__ import annotations

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from MarrowAssessLib.commands.assess import refuse_output_file, say, summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess demo`."""
    parser.add_argument(
        "--out", default="marrowassess-demo", metavar="FOLDER", help="default: marrowassess-demo"
    )
    parser.add_argument("--no-scene", action="store_true", help="neither scene nor 3D picture")


def run(args: argparse.Namespace) -> int:
    """Draw the phantom, map PDFF, R2* and diffusion, assess, and write the report; 0 on success."""
    from PDFFMapperLib.images.files import write_volume

    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.report.report import Report
    from MarrowAssessLib.sample.phantom import lumbar_phantom
    from MarrowAssessLib.scene.outputs import write_outputs

    refuse_output_file(args.out)
    folder = Path(args.out)
    say("Drawing a digital lumbar spine: man of 34 years, lesion in L2")
    phantom = lumbar_phantom()
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
    say("Measuring")
    report = Report(assess(study), true_value=phantom.true_value, parameter_maps=facts)
    files = write_outputs(report, folder, not args.no_scene, say)
    for contrast, volume in study.volumes.items():
        write_volume(volume, folder / "images" / f"{contrast.value}.nrrd")
    write_volume(phantom.labels, folder / "images" / "labels.nrrd")
    _write_series(phantom, folder / "series")
    print("\n".join(summary(report)))
    print(f"Open this report in a browser: {files[0].resolve()}")
    return 0


def _write_series(phantom, folder: Path) -> None:
    """The echoes and the diffusion images as files that `pdff` and `ivim` read."""
    from PDFFMapperLib.images.files import write_series, written_whole

    from MarrowAssessLib.sample.phantom import B_VALUES, ECHO_TIMES_S, FIELD_STRENGTH_T

    grid = phantom.tissue
    facts = {"EchoTimes": ECHO_TIMES_S.tolist(), "MagneticFieldStrength": FIELD_STRENGTH_T}
    for name, part in (("real", phantom.echoes.real), ("imaginary", phantom.echoes.imag)):
        images = [grid.with_array((1e4 * echo).astype("int16")) for echo in part]
        write_series(images, folder / f"echoes_{name}.nii.gz")
        with written_whole(folder / f"echoes_{name}.json") as temporary:
            temporary.write_text(json.dumps(facts), encoding="utf-8")
    images = [grid.with_array(phantom.diffusion[..., n]) for n in range(len(B_VALUES))]
    write_series(images, folder / "diffusion.nii.gz")
    with written_whole(folder / "diffusion.bval") as temporary:
        temporary.write_text(" ".join(f"{b:g}" for b in B_VALUES) + "\n", encoding="utf-8")


def _water_fat_maps(phantom) -> tuple[dict, dict]:
    from PDFFMapperLib.water_fat.multi_echo import multi_echo
    from PDFFMapperLib.water_fat.separation import separate_water_fat

    from MarrowAssessLib.catalogue.contrasts import Contrast
    from MarrowAssessLib.sample.phantom import ECHO_TIMES_S, FIELD_STRENGTH_T

    grid = phantom.tissue
    data = multi_echo(phantom.echoes, ECHO_TIMES_S, FIELD_STRENGTH_T, grid.spacing[::-1])
    fit = separate_water_fat(data)
    maps = {
        Contrast.PDFF: _where(grid, fit.confident, fit.pdff_percent, "PDFF"),
        Contrast.R2STAR: _where(grid, fit.confident, fit.r2star_per_s, "R2*"),
    }
    return maps, {"PDFF and R2*": fit.facts}


def _diffusion_maps(phantom) -> tuple[dict, dict]:
    from PDFFMapperLib.diffusion.ivim import fit_ivim

    from MarrowAssessLib.catalogue.anatomy import Role
    from MarrowAssessLib.catalogue.contrasts import Contrast
    from MarrowAssessLib.sample.phantom import B_VALUES

    grid = phantom.tissue
    mask = grid.array > 0
    noise = next(r for r in phantom.study().regions if r.role is Role.NOISE)
    background = noise.values(phantom.diffusion[..., 0])
    sigma = float((background**2).mean() / 2) ** 0.5  # of Rician noise without signal
    fit = fit_ivim(phantom.diffusion, B_VALUES, sigma=sigma, mask=mask)
    maps = {
        Contrast.D: _where(grid, fit.valid, fit.d, "D"),
        Contrast.DSTAR: _where(grid, fit.valid & fit.d_star_identifiable, fit.d_star, "D*"),
        Contrast.F: _where(grid, fit.valid, 100 * fit.f, "f"),
    }
    facts = {"method": "full bi-exponential fit, Rician likelihood", "noise_sd": round(sigma, 2)}
    return maps, {"D, D* and f": facts}


def _where(grid, mask, values, name):
    import numpy as np

    return grid.with_array(np.where(mask, values, np.nan).astype(np.float32), name)
