"""UTE-MT: bounds, what the closed form reads, what assumptions do, error, coverage and time.

python Testing/benchmarks/ute_mt.py [FITS]

Simulated through the real pulse train (Fermi pulses of 8 ms; 500, 1000, 1500 deg; 2 to 50 kHz; MMF
54.5 %, T2m 15.4 us, exchange 9.5 1/s, T2 of water 0.4 ms, R1 3.9 1/s). FITS (default 60) regions
of 100 voxels at each SNR; 95 % of 60 intervals is known to +-3 points (one SD). About 4 minutes.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "PDFFMapper")]

from PDFFMapperLib.images.volume import Volume  # noqa: E402
from PDFFMapperLib.ute.components import cramer_rao_sd  # noqa: E402
from PDFFMapperLib.ute.mt_fit import B1, MMF, R1, fit_two_pools, mt_model, shown  # noqa: E402
from PDFFMapperLib.ute.mt_train import Train, TwoPools, ramani, train_signals  # noqa: E402
from PDFFMapperLib.ute.recipe import UTE  # noqa: E402
from PDFFMapperLib.ute.region_signal import RegionSignal  # noqa: E402

POWERS = np.repeat([500.0, 1000, 1500], 5), np.tile([2e3, 5e3, 1e4, 2e4, 5e4], 3)
TRUTH = (0.545, 15.4, 9.5, 0.4, 3.9, 1.0)
NINE, ONE = Train(*POWERS, 100.0), Train(*POWERS, 100.0, spokes=1)
IMAGES = np.arange(len(POWERS[0]))


def exact(train: Train, **more: object) -> list[RegionSignal]:
    made = Train(**{**vars(train), **more})
    return [RegionSignal(np.full(4, 10 * s), 1e-3) for s in shown(np.array([TRUTH]), made)[0]]


def mmf(train: Train, signals: list[RegionSignal], r1: float, b1: float, model=train_signals):
    return 100 * fit_two_pools(signals, mt_model(train, signals=model), (r1, 0), (b1, 0)).found[MMF]


def bounds() -> None:
    print("Least SD of the MMF (points) at SNR 50, 200, 1000, T1 known / to 6 % / not at all:")
    for name, train in (("nine spokes, 5 ms apart", NINE), ("one spoke", ONE)):
        for words, signals in (("real train", train_signals), ("closed form", ramani)):
            model, rows = mt_model(train, signals=signals), []
            amplitude = 1 / signals(train, TwoPools(*TRUTH)).max()
            for known, priors in (((R1, B1), {}), ((B1,), {R1: (3.9, 0.234)}), ((B1,), {})):
                each = [
                    cramer_rao_sd((n * amplitude, *TRUTH), IMAGES, 1.0, 1.0, model, known, priors)
                    for n in (50, 200, 1000)
                ]
                rows.append(", ".join(f"{100 * one[MMF]:.3g}" for one in each))
            print(f"  {name}, {words}: " + " / ".join(rows))


def closed_form() -> None:
    print("MMF by the closed form fitted to the real train, 54.5 % true:")
    for spokes, apart, tr, flip in (
        (1, 5, 100, 7), (1, 5, 200, 7), (9, 10, 100, 7), (9, 5, 100, 7), (9, 10, 100, 0.1),
    ):  # fmt: skip
        train = Train(*POWERS, float(tr), spokes=spokes, spoke_ms=float(apart), excite_deg=flip)
        found = mmf(train, exact(train), 3.9, 1.0, ramani)
        print(f"  TR {tr} ms, {spokes} spokes {apart} ms apart, {flip} deg: {found:.1f} %")


def assumptions() -> None:
    print("MMF by the real train with a wrong assumption, 54.5 % true:")
    for name, train in (("one spoke", ONE), ("nine spokes", NINE)):
        signals = exact(train)
        for words, r1, b1 in (
            ("nothing wrong", 3.9, 1), ("B1 5 % too low", 3.9, 0.95),
            ("B1 5 % too high", 3.9, 1.05), ("T1 5 % too low", 3.9 * 1.05, 1),
            ("T1 5 % too high", 3.9 / 1.05, 1),
        ):  # fmt: skip
            print(f"  {name}, {words}: {mmf(train, signals, r1, b1):.1f} %")
        other = Train(**{**vars(train), "line_shape": "super-lorentzian"})
        print(f"  {name}, super-Lorentzian for Gaussian: {mmf(other, signals, 3.9, 1):.1f} %")


def regions(fits: int) -> None:
    print("Regions of 100 voxels, T1 known to 2 %, B1 to 2 % (both drawn anew for each):")
    rng = np.random.default_rng(3)
    model = mt_model(NINE)
    for snr in (5, 20, 100):
        off, covered = np.empty((fits, 3)), np.empty((fits, 3), bool)
        began = time.process_time()
        for n in range(fits):
            signals = snr * train_signals(NINE, TwoPools(*TRUTH))[0]
            noise = rng.standard_normal((2, len(signals), 100))
            held = np.abs(signals[:, None] + noise[0] + 1j * noise[1])
            r1, b1 = 3.9 * (1 + 0.02 * rng.standard_normal()), 1 + 0.02 * rng.standard_normal()
            fit = fit_two_pools(
                [RegionSignal(one, 1.0) for one in held], model, (r1, 0.02 * r1), (b1, 0.02)
            )
            for k in range(3):
                one = fit.component(k + 1)
                off[n, k] = one.value - TRUTH[k]
                covered[n, k] = one.lower <= TRUTH[k] <= one.upper
        seconds = (time.process_time() - began) / fits
        for k, (name, scale) in enumerate(
            (("MMF (points)", 100), ("T2m (us)", 1), ("exchange", 1))
        ):
            print(
                f"  SNR {snr}, {name}: bias {scale * off[:, k].mean():+.3f}, RMS "
                f"{scale * np.sqrt(np.mean(off[:, k] ** 2)):.3f} (bound "
                f"{scale * fit.sds[k + 1]:.3f}); intervals cover {100 * covered[:, k].mean():.1f} %"
            )
        print(f"  {seconds:.2f} CPU-s a region with all intervals")


def maps() -> None:
    print("Map, 200,000 voxels of bone, SNR 50, MMF 54.5 +- 5 %:")
    rng = np.random.default_rng(4)
    shape = (20, 100, 100)
    true = 0.545 + 0.05 * rng.standard_normal(shape)
    nodes = np.linspace(0.3, 0.8, 7)
    curves = np.polyfit(nodes - 0.55, train_signals(NINE, TwoPools(nodes, *TRUTH[1:])), 6)
    images = []
    for n in IMAGES:
        noise = rng.standard_normal((2, *shape))
        array = np.abs(50 * np.polyval(curves[:, n], true - 0.55) + noise[0] + 1j * noise[1])
        images.append(Volume(array.astype(np.float32), np.eye(4), f"{n}", {}))
    told = {
        "flips_deg": POWERS[0].tolist(), "offsets_hz": POWERS[1].tolist(), "tr_ms": 100,
        "pulse_ms": 8, "pulse_shape": "fermi", "spokes": 9, "spoke_ms": 5, "delay_ms": 1,
        "excite_deg": 7, "excite_ms": 0.06, "t1_ms": 1e3 / 3.9, "t1_sd_ms": 0, "b1": 1, "b1_sd": 0,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "protocol.json"
        path.write_text(json.dumps(told))
        mask = images[0].with_array(np.ones(shape, np.uint8))
        b1 = images[0].with_array(np.broadcast_to(np.linspace(0.999, 1.001, 100), shape))
        began = time.process_time()
        made = UTE.recipe("mt").make(images, mt_protocol=str(path), sigma=1.0, mask=mask, b1_map=b1)
    seconds = time.process_time() - began
    error = made[0].volume.array - 100 * true
    held = np.abs(error) < 1.96 * made[1].volume.array
    print(
        f"  RMS {np.sqrt(np.mean(error**2)):.2f} points; intervals cover {100 * held.mean():.1f} "
        f"%; {seconds * 1e6 / true.size:.0f} CPU-s per 10^6 voxels, fit of the region in it"
    )


if __name__ == "__main__":
    bounds()
    closed_form()
    assumptions()
    maps()
    regions(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
