"""Accuracy, speed and memory of the water-fat separation; challenge scores; beside mri-fatwater.

    python Testing/benchmarks/water_fat.py [--peer PYTHON] [--stress | --speed | --faults |
        --two-echoes]

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
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.io

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "PDFFMapper"), str(ROOT / "Testing")]

from PDFFMapperLib.images.volume import Volume  # noqa: E402
from PDFFMapperLib.water_fat.multi_echo import multi_echo  # noqa: E402
from PDFFMapperLib.water_fat.recipe import WATER_FAT  # noqa: E402
from PDFFMapperLib.water_fat.separation import separate_water_fat  # noqa: E402
from PDFFMapperLib.water_fat.spectra import fat_spectrum  # noqa: E402
from phantoms.water_fat import (  # noqa: E402
    PHASE_ERRORS,
    SIX_ECHOES_S,
    T1_WEIGHTED,
    TISSUES,
    spine_phantom,
    with_phase_error,
)

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


def bipolar() -> None:
    print("\nBipolar readout, found and corrected: worst tissue bias of PDFF, points")
    trains = {
        "6 x 1.15 ms, 3 T": (SIX_ECHOES_S, 3.0),
        "4 x 1.0 ms, 3 T": (1.2e-3 + np.arange(4) * 1e-3, 3.0),
        "6 x 1.5 ms, 1.5 T": (np.arange(1, 7) * 1.5e-3, 1.5),
        "5 irregular, 3 T": (np.array([1.1, 1.9, 3.1, 3.9, 5.1]) * 1e-3, 3.0),
    }
    errors = {
        "none": (0, 0),
        "0.1 rad": (0.1j, 0),
        "0.3 rad": (0.3j, 0),
        "1.5 rad": (1.5j, 0),
        "-0.6+0.5x rad": (-0.6j, 0.5j),
        "0.3-1.2x rad, 4 % amplitude": (0.02 + 0.3j, -1.2j),
    }
    for train, (times, field) in trains.items():
        for snr in (60, 20):
            for error, odd_even in errors.items():
                phantom = spine_phantom(
                    (16, 80, 80), times, snr, field, off_resonance_hz=67 * field, odd_even=odd_even
                )
                result, seconds = separated(phantom)
                biases = [
                    (result.pdff_percent - phantom.pdff)[phantom.labels == label].mean()
                    for label in TISSUES
                ]
                body = phantom.labels > 0
                scaled = ((result.pdff_percent - phantom.pdff) / result.pdff_sd)[body]
                found = result.facts["echo_error"]
                print(
                    f"{train:18s} SNR {snr} {error:28s} {max(biases, key=abs):+.2f}, "
                    f"SD/bound {scaled.std():.3f}, found {'yes' if found else 'no '}, "
                    f"{seconds:.1f} s"
                )


def faults(only: str) -> None:
    """What real scanners and patients do to the echoes, and what becomes of it.

    Args:
        only: part of the name of the trains to try; all by default.
    """
    print("\nFaults: voxels in %, bias of the worst tissue in points (confident voxels)")
    print(
        f"{'train':22s} {'fault':24s} swapped unmarked confident  bias and its standard error  "
        "what was found; CPU s"
    )
    trains = {
        "3 x 1.15 ms, 3 T": (np.arange(1, 4) * 1.15e-3, 3.0),
        "4 x 1.0 ms, 3 T": (1.2e-3 + np.arange(4) * 1e-3, 3.0),
        "4 x 2.0 ms, 1.5 T": (1.2e-3 + np.arange(4) * 2e-3, 1.5),
        "6 x 1.15 ms, 3 T": (SIX_ECHOES_S, 3.0),
        "6 x 1.5 ms, 1.5 T": (np.arange(1, 7) * 1.5e-3, 1.5),
        "12 x 1.1 ms, 1.5 T": (np.arange(1, 13) * 1.1e-3, 1.5),
    }
    iron = {4: (30.0, 50.0), 5: (30.0, 200.0), 6: (30.0, 333.0), 7: (30.0, 500.0)}
    for train, (times, field) in trains.items():
        if only not in train:
            continue
        given = dict(shape=(10, 64, 64), echo_times_s=times, field_strength_t=field)
        given["off_resonance_hz"] = 60 * field
        sound = spine_phantom(**given)
        cases = {"none": sound}
        for size in (0.15, 0.3, 0.5):
            for kind in PHASE_ERRORS:
                cases[f"{kind} {size} rad"] = with_phase_error(sound, kind, size)
            cases[f"fat lead {size} rad"] = spine_phantom(**given, fat_lead_rad=size)
        cases["fat lead 0.8 rad"] = spine_phantom(**given, fat_lead_rad=0.8)
        cases["iron, R2* 50-500"] = spine_phantom(**given, marrow=iron)
        cases["T2* of 3 ms"] = spine_phantom(**given, marrow=dict.fromkeys(iron, (30.0, 333.0)))
        cases["SNR 5"] = spine_phantom(**given, snr=5)
        jump = 150.0 * (np.arange(10) % 2)[:, None, None] * times[:, None, None, None]
        cases["150 Hz between slices"] = replace(
            sound, echoes=(sound.echoes * np.exp(2j * np.pi * jump)).astype(np.complex64)
        )
        noiseless = spine_phantom(**given, snr=1e7)
        noise = np.random.default_rng(3).standard_normal((2, *sound.echoes.shape)) / 100
        weighted = T1_WEIGHTED[sound.labels] * np.exp(2j * np.pi * jump) * noiseless.echoes
        cases["150 Hz, T1-weighted"] = replace(
            sound, echoes=(weighted + noise[0] + 1j * noise[1]).astype(np.complex64)
        )
        dead = sound.echoes.copy()
        dead[1] = 0
        cases["dead echo"] = replace(sound, echoes=dead)
        moved = sound.echoes.copy()
        moved[-1] = np.roll(moved[-1], 2, axis=-1)
        cases["motion: last echo 4 mm off"] = replace(sound, echoes=moved)
        for fault, phantom in cases.items():
            fault_row(train, fault, phantom)


def fault_row(train: str, fault: str, phantom) -> None:
    began = time.process_time()
    try:
        result, seconds = separated(phantom)
    except ValueError as error:
        seconds = time.process_time() - began
        print(f"{train:22s} {fault:26s} refused: {error} {seconds:.1f}", flush=True)
        return
    body, sure = phantom.labels > 0, result.confident
    error = result.pdff_percent - phantom.pdff
    swapped = body & (np.abs(error) > 40)
    kept = [error[(phantom.labels == label) & sure] for label in TISSUES]
    biases = [(each.mean(), each.std() / np.sqrt(each.size)) for each in kept if each.size > 20]
    bias, standard_error = max(biases, key=lambda each: abs(each[0]), default=(np.nan, np.nan))
    found = result.facts["echo_error"]
    lead = result.facts["fat_phase_lead_rad"]
    words = [found["kind"]] if found else []
    words += [f"lead {lead:.2f}"] if abs(lead) > 0.01 else []
    words += ["own phases"] if not result.facts["common_phase"] else []
    words += ["conjugated"] if result.facts["conjugated"] else []
    print(
        f"{train:22s} {fault:26s} {100 * swapped.sum() / body.sum():6.2f} "
        f"{int((swapped & sure).sum()):6d} {100 * sure[body].mean():8.1f} "
        f"{bias:+8.2f} +-{standard_error:.2f}  {', '.join(words) or '-'}; {seconds:.1f}",
        flush=True,
    )


def two_echoes() -> None:
    """Two complex echoes: phantoms with R2* known and not, and the first pairs of the challenge."""
    print(
        "\nTwo complex echoes: over 30 (challenge: 40) points wrong and not marked, of them over 4 "
        "SDs, kept, bias"
    )
    for times_ms, field in (((1.15, 2.3), 3.0), ((1.3, 2.2), 3.0), ((2.3, 4.6), 1.5),
                            ((1.8, 4.0), 1.5)):  # fmt: skip
        for snr, largest, known in ((40, 60, True), (40, 150, True), (15, 60, True),
                                    (40, 60, False)):  # fmt: skip
            phantom = spine_phantom(
                SMALL, np.array(times_ms) / 1000, snr, field, off_resonance_hz=largest * field
            )
            options = {"r2star_map": _volume(np.nan_to_num(phantom.r2star))} if known else {}
            of_two(
                f"{field} T, {times_ms} ms, SNR {snr}, +-{largest * field:g} Hz, R2* "
                f"{'known' if known else 'not corrected'}",
                phantom, phantom.pdff, phantom.labels, 30, **options,
            )  # fmt: skip
    for case in (12, 13, 15, 16, 17):
        if found := challenge_case(case):
            data, reference, mask = found
            pair = replace(data, echoes=data.echoes[:2], echo_times_s=data.echo_times_s[:2])
            options = {"fat_spectrum": "ismrm_challenge", "r2star_per_s": 40.0}
            options["mask"] = _volume(mask)
            for sense in ("as given", "auto"):
                name = f"case {case}, {np.round(1000 * pair.echo_times_s, 2)} ms, {sense}"
                of_two(name, pair, reference, 1 * mask, 40, precession=sense, **options)


def of_two(name: str, data, truth, labels, wrong: float, **options) -> None:
    images = []
    for echo, time_s in zip(data.echoes, data.echo_times_s, strict=True):
        facts = {"EchoTime": 1000 * time_s, "MagneticFieldStrength": data.field_strength_t}
        for part, array in (("real", echo.real), ("imaginary", echo.imag)):
            images.append(_volume(array, f"{part} {time_s}", facts | {"ImageComponent": part}))
    try:
        maps = WATER_FAT.recipe("two-echo").make(images, **options)
    except ValueError as error:
        print(f"{name}: refused: {error}")
        return
    made = {one.name: one.volume.array for one in maps}
    body = labels > 0
    sure = body & (made["doubt"] == 0)
    apart = made["FF"] - truth
    biases = [np.mean(apart[sure & (labels == one)]) for one in np.unique(labels[body])]
    far = sure & (np.abs(apart) > wrong)
    farther = far & (np.abs(apart) > 4 * made["FF_SD"])
    print(
        f"{name}: {far.sum()} of {body.sum()}, {farther.sum()}, "
        f"{100 * sure.sum() / body.sum():.1f} %, worst {max(biases, key=abs):+.2f}",
        flush=True,
    )


def _volume(array, name="map", facts=None) -> Volume:
    return Volume(np.asarray(array, np.float32), np.diag([1.5, 1.5, 5.0, 1.0]), name, facts or {})


def speed(peer: str | None) -> None:
    print("\nSpeed, six complex echoes, masked voxels; best of seven, one and all cores in turn")
    separated(spine_phantom((4, 32, 32)))  # compiles or loads
    cores = sorted(os.sched_getaffinity(0))
    for shape in (SMALL, LARGE):
        phantom = spine_phantom(shape, snr=60)
        runs = {1: [], len(cores): []}
        for _ in range(7):
            for used in (cores[-1:], cores):
                os.sched_setaffinity(0, used)
                began = time.perf_counter()
                result, seconds = separated(phantom)
                runs[len(used)].append((time.perf_counter() - began, seconds))
        count = int(result.mask.sum())
        for used, taken in runs.items():
            wall, spent = min(taken)
            print(
                f"{shape}: {count} voxels on {used} cores: {wall:.3f} s, {spent:.3f} CPU s, "
                f"{count / spent:.0f} per CPU s; {min(runs[1])[0] / wall:.2f} times one core"
            )
        if peer:
            other = beside(peer, phantom)
            if other is not None:
                body = phantom.labels > 0
                error = np.abs(other["ff"] - phantom.pdff)[body]
                ours = np.abs(result.pdff_percent - phantom.pdff)[body]
                spent = float(other["seconds"])
                print(
                    f"  mri-fatwater: {spent:.1f} CPU s, {count / spent:.0f} per CPU s; mean error "
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


LARGE_RUN = """
import sys, threading, time
sys.path[:0] = sys.argv[1:3]
import numpy as np
from phantoms.water_fat import spine_phantom
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.separation import separate_water_fat

def resident():
    return 4096 * int(open("/proc/self/statm").read().split()[1])

small = spine_phantom((4, 32, 32))
separate_water_fat(multi_echo(small.echoes, small.echo_times_s, 3.0, small.voxel_size_mm))
slab = spine_phantom((12, 256, 256), snr=60)
echoes = np.concatenate([slab.echoes] * 10, axis=1)
data = multi_echo(echoes, slab.echo_times_s, 3.0, slab.voxel_size_mm)
size, before = echoes.nbytes, resident()
peak, done = [before], []
def watch():
    while not done:
        peak[0] = max(peak[0], resident())
        time.sleep(0.02)
thread = threading.Thread(target=watch)
thread.start()
wall, cpu, calls = time.perf_counter(), time.process_time(), []
result = separate_water_fat(data, progress=lambda part: calls.append(time.perf_counter()) or True)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
done.append(True)
thread.join()
stopped = []
def cancel(part):
    if part > 0.2:
        stopped.append(time.perf_counter())
    return part <= 0.2
try:
    separate_water_fat(data, progress=cancel)
except InterruptedError:
    pass
late = time.perf_counter() - stopped[0]
count = int(result.mask.sum())
print(
    f"256 x 256 x 120 x 6: {size / 1e6:.0f} MB of echoes need {(peak[0] - before) / size:.2f} "
    f"times their size beside themselves, the process {peak[0] / 1e6:.0f} MB; {wall:.0f} s, "
    f"{cpu:.0f} CPU s, {count} voxels, {count / cpu:.0f} per CPU s; {len(calls)} reports of "
    f"progress, at most {np.diff(calls).max():.1f} s apart; canceled within {late:.1f} s"
)
"""


def memory() -> None:
    run = subprocess.run(
        [sys.executable, "-c", LARGE_RUN, *sys.path[:2]], capture_output=True, text=True, check=True
    )
    print("\n" + run.stdout.strip())
    code = (
        "import sys, time; began = time.perf_counter(); sys.path[:0] = sys.argv[1:3]\n"
        "from PDFFMapperLib.water_fat.multi_echo import multi_echo\n"
        "from PDFFMapperLib.water_fat.separation import separate_water_fat\n"
        "import numpy as np\n"
        "t = np.arange(1, 7) * 1.15e-3; e = np.exp(-40 * t)[:, None, None, None]\n"
        "separate_water_fat(multi_echo(e * np.ones((6, 2, 8, 8), complex), t, 3.0))\n"
        "print(time.perf_counter() - began, time.process_time())\n"
    )
    times = []
    for _ in range(4):
        run = subprocess.run(
            [sys.executable, "-c", code, *sys.path[:2]], capture_output=True, text=True, check=True
        )
        times.append([float(word) for word in run.stdout.split()])
    wall, cpu = np.min(times[1:], axis=0)
    print(f"Second start, imports and a first small volume: {wall:.2f} s, {cpu:.2f} CPU s")


def challenge_case(case: int):
    """Echoes (with their acquisition), the winner's fat fraction (%) and the mask, or None."""
    path = SHARED / f"cases/waterfat/{case}.mat"
    if not path.is_file():
        print(f"{path} is absent")
        return None
    content = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)["imDataParams"]
    reference = np.load(path.with_name(f"fattyriot_ff_{case}.npz"))["ff_percent"]
    data = multi_echo(
        content.images.transpose(3, 2, 0, 1), content.TE, content.FieldStrength, (6, 1.5, 1.5)
    )
    return data, reference.transpose(2, 0, 1), content.mask.transpose(2, 0, 1) > 0


def score(name: str, data, reference, mask, **options) -> None:
    options = {"common_phase": False, **options}
    try:
        result = separate_water_fat(data, fat_spectrum("ismrm_challenge"), mask, **options)
    except ValueError as error:
        print(f"{name}: refused: {error}")
        return
    fraction, reference = result.magnitude_fraction_percent[mask], reference[mask]
    water, fat = np.abs(result.water[mask]), np.abs(result.fat[mask])
    apart = np.abs(fraction - reference)
    level = gray_level(water, fat, reference)
    resolved = ~(water + fat < 6 * level)
    itself = np.abs(fraction - rounded_fraction(water, fat, level))
    sure, swapped = result.confident[mask], apart > 40
    print(
        f"{name}: {points(apart)}; {points(apart[resolved])} without the "
        f"{int((~resolved).sum())} voxels of under 6 gray levels of the reference (this map "
        f"rounded to them scores {points(itself)} against itself); of the "
        f"{100 * sure.mean():.1f} % confident voxels {points(apart[sure])}; "
        f"{int(swapped.sum())} voxels over 40 points apart, {int((swapped & sure).sum())} of them "
        "not marked"
    )


def score_as_a_user(case: int, data, reference, mask) -> None:
    """The score of the PDFF with the spectrum of marrow, in the own mask and in the given one.

    What the own mask leaves out counts as wrong; in the score of what the map shows, so does what
    is marked. The challenge itself scored water and fat images, which have no holes inside the body
    where the PDFF has; the fraction of these images is scored beside it.
    """
    given = np.abs(separate_water_fat(data, mask=mask).pdff_percent - reference)[mask]
    result = separate_water_fat(data)
    apart = np.abs(np.where(result.mask, result.pdff_percent, np.inf) - reference)[mask]
    fitted, sure = result.mask[mask], result.confident[mask]
    swapped = np.isfinite(apart) & (apart > 40)
    water, fat = np.abs(result.water[mask]), np.abs(result.fat[mask])
    of_images = np.abs(100 * fat / (water + fat) - reference[mask])
    print(
        f"case {case}, as a user gets it: {points(apart)}; {points(apart[fitted])} of those in "
        f"the own mask, without {np.count_nonzero(~fitted)}; {100 * sure.mean():.1f} % confident "
        f"and shown ({points(np.where(sure, apart, np.inf))}, of these {points(apart[sure])}), "
        f"{np.count_nonzero(swapped)} voxels over 40 points apart, "
        f"{np.count_nonzero(swapped & sure)} of them not marked; in the given mask {points(given)}"
        f"; of the water and fat images {points(of_images)}, without "
        f"{np.count_nonzero(np.isnan(water))}"
    )


def points(apart) -> str:
    return f"{10_000 * np.mean(apart < 10):.1f}"


def gray_level(water, fat, reference) -> float:
    """Signal of one gray level of the 8-bit pictures that the reference was decoded from.

    The reference's fractions are ratios of whole numbers: with fewer than 6 levels in all,
    rounding alone moves them by 10 points. The level is the one at which ours, rounded alike, give
    the most of the dim voxels' fractions back.
    """
    dim = water + fat < np.nanpercentile(water + fat, 30)

    def given_back(level: float) -> float:
        rounded = rounded_fraction(water[dim], fat[dim], level)
        return np.mean(np.abs(rounded - reference[dim]) < 0.01)

    return max(np.nanmax(water) / np.geomspace(60, 600, 800), key=given_back)


def rounded_fraction(water, fat, level: float):
    """Fat fraction (%) of water and fat in whole gray levels; 0 where both are none."""
    water, fat = np.round(water / level), np.round(fat / level)
    return 100 * fat / np.maximum(water + fat, 1)


def challenge() -> None:
    print("\nChallenge score against the winner's fat fraction (10000 is all within 10 points)")
    for case in (12, 13, 16):
        found = challenge_case(case)
        if found:
            score(f"case {case}", *found)
            score(f"case {case}, default settings", *found, common_phase=None)
            score_as_a_user(case, *found)


def stress() -> None:
    """The challenge cases changed in ways that leave the reference valid."""
    print("\nChallenge score of changed cases")
    for case in (12, 13, 16):
        found = challenge_case(case)
        if found is None:
            continue
        data, reference, mask = found
        count, slices, rows, columns = data.echoes.shape
        echoes = {
            "first three echoes": [0, 1, 2],
            "without the first echo": list(range(1, count)),
            "without the second echo": [0, *range(2, count)],
        }
        for name, kept in echoes.items():
            part = replace(data, echoes=data.echoes[kept], echo_times_s=data.echo_times_s[kept])
            score(f"case {case}, {name}", part, reference, mask)
        crops = {f"slice {k}": np.s_[k : k + 1, :, :] for k in range(slices)}
        crops |= {
            "left half": np.s_[:, :, : columns // 2],
            "right half": np.s_[:, :, columns // 2 :],
            "mirrored": np.s_[:, :, ::-1],
            "rows mirrored": np.s_[:, ::-1, :],
            "every other row and column": np.s_[:, ::2, ::2],
        }
        for name, part in crops.items():
            cropped = replace(data, echoes=np.ascontiguousarray(data.echoes[(slice(None), *part)]))
            score(f"case {case}, {name}", cropped, reference[part], mask[part])
        y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
        largest = 200 * data.field_strength_t
        bowl = x**2 + y**2 - 1
        shapes = {"x": x, "-x": -x, "y": y, "-y": -y, "x2 + y2 - 1": bowl, "1 - x2 - y2": -bowl}
        for name, shape in shapes.items():
            turn = np.exp(2j * np.pi * largest * shape * data.echo_times_s[:, None, None, None])
            moved = replace(data, echoes=(data.echoes * turn).astype(np.complex64))
            score(f"case {case}, {largest:.0f} Hz times {name} added", moved, reference, mask)
        score(f"case {case}, conjugated", replace(data, echoes=data.echoes.conj()), *found[1:])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="python with mri-fatwater installed")
    parser.add_argument("--stress", action="store_true", help="changed challenge cases only")
    parser.add_argument("--speed", action="store_true", help="speed only")
    parser.add_argument("--two-echoes", action="store_true", help="two complex echoes only")
    parser.add_argument(
        "--faults", nargs="?", const="", metavar="TRAIN", help="table of faults only, of a train"
    )
    arguments = parser.parse_args()
    if arguments.faults is not None:
        faults(arguments.faults)
        sys.exit()
    if arguments.stress:
        stress()
        sys.exit()
    if arguments.two_echoes:
        two_echoes()
        sys.exit()
    if arguments.speed:
        speed(arguments.peer)
        sys.exit()
    challenge()
    accuracy()
    bipolar()
    two_echoes()
    speed(arguments.peer)
    memory()
    print(f"CPU: {resource.getrusage(resource.RUSAGE_SELF).ru_utime:.0f} s in all")
