"""Accuracy, speed and memory of the water-fat separation; challenge scores; beside mri-fatwater.

Run from the repository's root:  python Testing/benchmarks/water_fat.py [--peer PYTHON]
PYTHON is an interpreter in whose environment mri-fatwater is installed. CPU seconds, one thread
counted per core used; nothing here is asserted.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.io

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "PDFFMapper"), str(ROOT / "Testing")]

from PDFFMapperLib.fat_spectra import fat_spectrum  # noqa: E402
from PDFFMapperLib.multi_echo import multi_echo  # noqa: E402
from PDFFMapperLib.water_fat import separate_water_fat  # noqa: E402
from phantoms.water_fat import TISSUES, spine_phantom  # noqa: E402

SHARED = Path(os.environ.get("MARROWASSESS_SHARED", ROOT / "../shared"))
SMALL, LARGE = (20, 96, 96), (40, 192, 192)

PEER = """
import sys, time, contextlib, os
import numpy as np
from mri_fatwater import fatwater
content = np.load(sys.argv[1])
echoes = content["echoes"].transpose(0, 3, 2, 1).astype(np.complex64)
began = os.times()
with contextlib.redirect_stdout(sys.stderr):
    out = fatwater.separate(
        echoes,
        data_params=dict(
            B0=float(content["field"]), t=content["times"].tolist(),
            voxelsize=content["voxel_mm"][::-1].tolist(),
        ),
        algo_params=dict(
            algorithm="QPBO", output=["ff", "R2map"], magnitudeDiscrimination=True
        ),
        model_params=dict(
            fatCS=content["ppm"].tolist(), watCS=0.0, relAmps=content["amplitudes"].tolist()
        ),
    )
ended = os.times()
seconds = sum(ended[:4]) - sum(began[:4])
np.savez(sys.argv[2], ff=out["ff"].transpose(2, 1, 0), seconds=seconds)
"""


def separated(phantom):
    data = multi_echo(
        phantom.echoes, phantom.echo_times_s, phantom.field_strength_t, phantom.voxel_size_mm
    )
    began = time.process_time()
    result = separate_water_fat(data)
    return result, time.process_time() - began


def accuracy() -> None:
    for snr in (60, 20):
        print(f"\nPhantom, SNR {snr}: all values over voxels of the tissue")
        print(
            "tissue             voxels  PDFF bias  SD/bound  covered   R2* bias  SD/bound  covered"
        )
        phantom = spine_phantom(LARGE, snr=snr)
        result, _ = separated(phantom)
        swapped = np.abs(result.off_resonance_hz - phantom.off_resonance_hz) > 100
        for label, (name, *truths) in TISSUES.items():
            here = phantom.labels == label
            cells = []
            pairs = (
                (result.pdff_percent, result.pdff_sd),
                (result.r2star_per_s, result.r2star_sd),
            )
            for (values, sd), truth in zip(pairs, truths, strict=True):
                error = values[here] - truth
                bound = np.sqrt(np.mean(sd[here] ** 2))
                covered = 100 * np.mean(np.abs(error) < 1.96 * sd[here])
                cells.append(f"{error.mean():+9.3f} {error.std() / bound:9.3f} {covered:7.1f} %")
            print(f"{name:18s} {here.sum():6d} {'  '.join(cells)}")
        print(f"swapped voxels: {int((swapped & (phantom.labels > 0)).sum())}")


def speed(peer: str | None) -> None:
    print("\nSpeed, six complex echoes, masked voxels per CPU second")
    separated(spine_phantom((4, 32, 32)))  # compiles or loads
    for shape in (SMALL, LARGE):
        phantom = spine_phantom(shape, snr=60)
        result, seconds = separated(phantom)
        count = int(result.mask.sum())
        print(f"{shape}: {count} voxels, {seconds:.2f} s, {count / seconds:.0f} per s")
        if peer:
            other = beside(peer, phantom)
            if other is not None:
                body = phantom.labels > 0
                error = np.abs(other["ff"] - phantom.pdff)[body]
                ours = np.abs(result.pdff_percent - phantom.pdff)[body]
                spent = float(other["seconds"])
                print(
                    f"  mri-fatwater: {spent:.1f} s, {count / spent:.0f} per s; mean error "
                    f"{error.mean():.2f} points, over 30 points {np.mean(error > 30):.5f}; "
                    f"here {ours.mean():.2f}, {np.mean(ours > 30):.5f}"
                )


def beside(peer: str, phantom) -> dict | None:
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(
            given,
            echoes=phantom.echoes,
            times=phantom.echo_times_s,
            field=phantom.field_strength_t,
            voxel_mm=phantom.voxel_size_mm,
            ppm=phantom.spectrum.ppm,
            amplitudes=phantom.spectrum.amplitudes,
        )
        run = subprocess.run([peer, "-c", PEER, given, made], capture_output=True, text=True)
        if run.returncode:
            print(f"  mri-fatwater failed: {run.stderr.strip().splitlines()[-1]}")
            return None
        return dict(np.load(made))


def memory() -> None:
    code = (
        "import sys, resource; sys.path[:0] = sys.argv[1:3]\n"
        "from phantoms.water_fat import spine_phantom\n"
        "from PDFFMapperLib.multi_echo import multi_echo\n"
        "from PDFFMapperLib.water_fat import separate_water_fat\n"
        "import numpy as np, gc\n"
        "p = spine_phantom((4, 32, 32))\n"
        "separate_water_fat(multi_echo(p.echoes, p.echo_times_s, 3.0, p.voxel_size_mm))\n"
        "one = spine_phantom((10, 192, 192), snr=60)\n"
        "e = np.concatenate([one.echoes] * 10, axis=1); size = e.nbytes; del one; gc.collect()\n"
        "d = multi_echo(e, p.echo_times_s, 3.0, p.voxel_size_mm); del e\n"
        "before = int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize()\n"
        "separate_water_fat(d)\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "print(size, (peak - before) / size, peak)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *sys.path[:2]], capture_output=True, text=True, check=True
    )
    size, times, peak = run.stdout.split()
    print(
        f"\nMemory: {int(size) / 1e6:.0f} MB of echoes need {float(times):.2f} times their size "
        f"beside themselves; the whole process {int(peak) / 1e6:.0f} MB"
    )
    code = (
        "import sys, time; began = time.perf_counter(); sys.path[:0] = sys.argv[1:3]\n"
        "from PDFFMapperLib.multi_echo import multi_echo\n"
        "from PDFFMapperLib.water_fat import separate_water_fat\n"
        "import numpy as np\n"
        "t = np.arange(1, 7) * 1.15e-3; e = np.exp(-40 * t)[:, None, None, None]\n"
        "separate_water_fat(multi_echo(e * np.ones((6, 2, 8, 8), complex), t, 3.0))\n"
        "print(time.perf_counter() - began)\n"
    )
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-c", code, *sys.path[:2]], capture_output=True, text=True, check=True
        )
    print(f"Second start, imports and a first small volume: {float(run.stdout):.2f} s")


def challenge() -> None:
    print("\nChallenge score against the winner's fat fraction (10000 is all within 10 points)")
    for case in (12, 13, 16):
        path = SHARED / f"cases/waterfat/{case}.mat"
        if not path.is_file():
            print(f"{path} is absent")
            continue
        content = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)["imDataParams"]
        reference = np.load(path.with_name(f"fattyriot_ff_{case}.npz"))["ff_percent"]
        reference, mask = reference.transpose(2, 0, 1), content.mask.transpose(2, 0, 1) > 0
        data = multi_echo(
            content.images.transpose(3, 2, 0, 1), content.TE, content.FieldStrength, (6, 1.5, 1.5)
        )
        result = separate_water_fat(data, fat_spectrum("ismrm_challenge"), mask, common_phase=False)
        apart = np.abs(result.magnitude_fraction_percent - reference)[mask]
        score = 10_000 * np.mean(apart < 10)
        sure = result.confident[mask]
        print(
            f"case {case}: {score:.0f}; of the {100 * sure.mean():.1f} % confident voxels "
            f"{10_000 * np.mean(apart[sure] < 10):.0f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="python with mri-fatwater installed")
    peer = parser.parse_args().peer
    challenge()
    accuracy()
    speed(peer)
    memory()
    print(f"CPU: {resource.getrusage(resource.RUSAGE_SELF).ru_utime:.0f} s in all")
