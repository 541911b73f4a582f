"""Spectroscopy against its Cramer-Rao bounds: bias, error, coverage of intervals, time.

python Testing/benchmarks/spectroscopy.py [REPEATS] [FOLDER OF OTHER PROGRAMS' SPECTRA]

One echo time, PRESS without J (as peers assume), 8 fat fractions x 3 widths x 2 SNR x REPEATS
(default 6: 288 spectra; 21: 1,008), composition, shifts and line shape at random; 10 times as many
over the whole range: PDFF 2 to 98 %, widths of 15 to 80 Hz, SNR 50 to 1000; series of five echo
times over that range (T2 of water 11 to 43 ms); and spectra that the model does not foresee
(asymmetric lines, a baseline, larger couplings, a wrong dwell time), beside some without a fault
and their bounds. A folder of Siemens DICOM spectra, where one is given, is fitted as well. Parts
share all cores; 21 repeats take 12 CPU-minutes.
"""

import io
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "PDFFMapper"), str(ROOT / "MarrowAssess"), str(ROOT / "Testing")]

from PDFFMapperLib.spectroscopy.files import read_spectra  # noqa: E402
from PDFFMapperLib.spectroscopy.fit import Fitted, best_choice, fit, interval  # noqa: E402
from PDFFMapperLib.spectroscopy.model import Choice  # noqa: E402
from PDFFMapperLib.spectroscopy.poor_shim import (  # noqa: E402
    Averaged,
    beside_baselines,
    with_baseline,
    with_larger_couplings,
    with_line_shape,
)
from PDFFMapperLib.spectroscopy.quantities import quantities, quantity_of  # noqa: E402
from PDFFMapperLib.spectroscopy.recipe import MRS  # noqa: E402
from PDFFMapperLib.spectroscopy.rows import NONE  # noqa: E402
from PDFFMapperLib.spectroscopy.simulate import Truth, simulated  # noqa: E402
from PDFFMapperLib.spectroscopy.triglyceride import unsaturation_index  # noqa: E402
from phantoms.spectra import KINDS, unforeseen  # noqa: E402

FRACTIONS = (15, 25, 35, 45, 55, 65, 75, 85)
WIDTHS = ((20, 28), (30, 45), (48, 65))
SNRS = (150, 400)
NO_T2 = {"t2_water_ms": 1e9, "t2_fat_ms": 1e9}


def bound(truth: Truth, snr: float) -> dict[str, float]:
    """The Cramer-Rao bounds of fraction, ndb, nmidb and unsaturation."""
    series = simulated(truth, [30.0], 1e9, np.random.default_rng(0), NONE)
    found = fit(series, Choice())
    exact = Fitted(found.model, found.theta, 0, 1 / snr / found.model.scale, 1.0, found.hessian)
    return {key: exact.sd(quantity) for key, quantity in quantities(exact.model).items()}


def table_of_bounds() -> None:
    print("FWHM fat/water, SNR, PDFF | bound of PDFF (points), UI (%), ndb, nmidb")
    for fat, water, snr, fraction in (
        (25, 35, 100, 40), (25, 35, 400, 40), (50, 70, 100, 40), (50, 70, 400, 40),
        (50, 70, 400, 80),
    ):  # fmt: skip
        truth = Truth(fraction, 2.9, 0.75, **NO_T2, fwhm_water_hz=water, fwhm_fat_hz=fat)
        sd = bound(truth, snr)
        ui = 100 * sd["unsaturation"] / (100 * unsaturation_index(2.9, 0.75))
        print(
            f"{fat}/{water} {snr} {fraction} | {sd['fraction']:.2f} {ui:.1f} {sd['ndb']:.2f} "
            f"{sd['nmidb']:.2f}"
        )


def errors(repeats: int) -> None:
    rng = np.random.default_rng(0)
    rows, covered, seconds = [], [], 0.0
    for fraction in FRACTIONS:
        for fat, water in WIDTHS:
            for snr in SNRS:
                for _ in range(repeats):
                    ndb = rng.normal(2.9, 0.3)
                    truth = Truth(
                        fraction, ndb, ndb * rng.uniform(0.2, 0.35), **NO_T2, fwhm_water_hz=water,
                        fwhm_fat_hz=fat, lorentzian=rng.uniform(0.2, 0.8),
                        water_shift_hz=rng.normal(0, 5), fat_shift_hz=rng.normal(0, 5),
                    )  # fmt: skip
                    series = simulated(truth, [30.0], snr, rng, NONE)
                    begun = time.process_time()
                    found = fit(series, Choice())
                    seconds += time.process_time() - begun
                    rows.append((snr, *_errors(found, truth)))
                    covered.append(_covered(found, truth))
    rows = np.array(rows)
    count = len(rows)
    off = rows[:, 1]
    print(f"{count} spectra, {seconds / count:.3f} CPU-s each")
    print(
        f"fat fraction: bias {off.mean():+.3f}, RMS {np.sqrt(np.mean(off**2)):.3f}, worst "
        f"{np.abs(off).max():.2f} points; error over its SD: {np.std(rows[:, 2]):.3f}"
    )
    for snr in SNRS:
        own = rows[rows[:, 0] == snr]
        print(f"  SNR {snr}: RMS {np.sqrt(np.mean(own[:, 1] ** 2)):.3f} points")
    print(f"unsaturation: RMS {100 * np.sqrt(np.mean(rows[:, 3] ** 2)):.1f} %")
    _print_covered(covered, "these")


def whole_range(count: int) -> None:
    rng = np.random.default_rng(3)
    off, covered, failed = [], [], 0
    for n in range(count):
        truth, snr = _anywhere(rng)
        truth = replace(truth, **NO_T2)
        try:
            found = fit(simulated(truth, [30.0], snr, rng, NONE), Choice())
        except ValueError:
            failed += 1
            continue
        off.append(_errors(found, truth)[:2])
        if n < count / 5:
            covered.append(_covered(found, truth))
    error, relative = np.array(off).T
    print(
        f"{count} spectra over the whole range, {failed} failed: bias {error.mean():+.3f}, RMS "
        f"{np.sqrt(np.mean(error**2)):.3f}, worst {np.abs(error).max():.1f} points; error over its "
        f"SD: RMS {np.sqrt(np.mean(relative**2)):.3f}, within 1.96 in "
        f"{100 * np.mean(np.abs(relative) < 1.96):.1f} %"
    )
    _print_covered(covered, f"the first {len(covered)} of them")


def _anywhere(rng: np.random.Generator) -> tuple[Truth, float]:
    """A voxel and its SNR, anywhere in the range that is promised."""
    fat, water = np.exp(rng.uniform(np.log(15), np.log(80), 2))
    snr, ndb = np.exp(rng.uniform(np.log(50), np.log(1000))), rng.normal(2.9, 0.3)
    truth = Truth(
        rng.uniform(2, 98), ndb, ndb * rng.uniform(0.2, 0.35), fwhm_water_hz=water,
        fwhm_fat_hz=fat, lorentzian=rng.uniform(0.2, 0.8), water_shift_hz=rng.normal(0, 5),
        fat_shift_hz=rng.normal(0, 5),
    )  # fmt: skip
    return truth, snr


def several_echo_times(count: int) -> None:
    """Intervals of five echo times, of T2 among them."""
    rng, covered = np.random.default_rng(4), []
    for _ in range(count):
        truth, snr = _anywhere(rng)
        truth = replace(truth, t2_water_ms=rng.uniform(11, 43), t2_fat_ms=rng.uniform(50, 90))
        series = simulated(truth, [15.0, 20.0, 25.0, 30.0, 35.0], snr, rng, NONE)
        covered.append(_covered(fit(series, Choice(t2=True)), truth))
    _print_covered(covered, f"{count} series of five echo times over the whole range")


def _print_covered(covered: list[dict[str, bool]], words: str) -> None:
    shares = {key: 100 * np.mean([one[key] for one in covered]) for key in covered[0]}
    told = ", ".join(f"{key} {share:.1f}" for key, share in shares.items())
    print(f"  95 % intervals of {words} hold the truth in (%): {told}")


def wrong_by_design(kind: str, count: int) -> None:
    """Spectra that the model does not foresee, plain and with the option that is meant for them."""
    rng, rows, covered, bounds = np.random.default_rng(1), [], [], []
    for n in range(count):
        fat, water = WIDTHS[n % 3]
        ndb = rng.normal(2.9, 0.3)
        truth = Truth(
            rng.uniform(15, 85), ndb, ndb * rng.uniform(0.2, 0.35), **NO_T2,
            fwhm_water_hz=water, fwhm_fat_hz=fat, lorentzian=rng.uniform(0.2, 0.8),
            water_shift_hz=rng.normal(0, 5), fat_shift_hz=rng.normal(0, 5),
        )  # fmt: skip
        series = unforeseen(kind, truth, [30.0], SNRS[n % 2], rng)
        found = best_choice(series, Choice())
        rows.append(("alone", *_errors(found, truth)[:2]))
        given = with_larger_couplings(beside_baselines(found))
        rows.append(("as given", *_told(given, truth)))
        covered.append(_held(given, truth))
        if kind == "no fault":
            bounds.append(bound(truth, SNRS[n % 2])["fraction"])
        if kind == "asymmetric":
            shaped = with_larger_couplings(beside_baselines(with_line_shape(found)))
            rows.append(("with its option", *_told(shaped, truth)))
        elif kind in ("baseline", "narrow baseline", "no fault"):
            rows.append(("with its option", *_told(with_baseline(found), truth)))
    for words in dict.fromkeys(row[0] for row in rows):
        off, relative = np.array([row[1:] for row in rows if row[0] == words]).T
        print(
            f"{kind}, {words}: fat fraction bias {off.mean():+.2f}, RMS "
            f"{np.sqrt(np.mean(off**2)):.3f}, worst {np.abs(off).max():.1f} points; within "
            f"1.96 SD in {100 * np.mean(np.abs(relative) < 1.96):.0f} % of {len(off)}"
        )
    if bounds:
        print(f"  Cramer-Rao bounds of these: {np.sqrt(np.mean(np.square(bounds))):.3f} points")
    _print_covered(covered, f"{kind}, as given,")


def _truths(truth: Truth) -> dict[str, float]:
    return {
        "fraction": truth.pdff_percent,
        "ndb": truth.ndb,
        "nmidb": truth.nmidb,
        "unsaturation": 100 * unsaturation_index(truth.ndb, truth.nmidb),
    }


def _errors(found: Fitted, truth: Truth) -> tuple[float, float, float]:
    of, true = quantities(found.model), _truths(truth)
    off = of["fraction"](found.theta)[0] - true["fraction"]
    ui = of["unsaturation"](found.theta)[0] / true["unsaturation"] - 1
    return off, off / found.sd(of["fraction"]), ui


def _told(given: Averaged, truth: Truth) -> tuple[float, float]:
    """Error of the fat fraction, and over the SD that is given."""
    value, sd = given.value(quantity_of("fraction"))
    return value - truth.pdff_percent, (value - truth.pdff_percent) / sd


def _held(given: Averaged, truth: Truth) -> dict[str, bool]:
    """Whether 1.96 of the SDs that are given hold the truth."""
    held = {}
    for key, true in _truths(truth).items():
        value, sd = given.value(quantity_of(key))
        held[key] = abs(value - true) < 1.96 * sd
    return held


def _covered(found: Fitted, truth: Truth) -> dict[str, bool]:
    of, held = quantities(found.model), {}
    true = _truths(truth) | {"t2_water": truth.t2_water_ms, "t2_fat": truth.t2_fat_ms}
    for key in true.keys() & of.keys():
        low, high = interval(found, of[key], found.sd(of[key]))
        held[key] = low <= true[key] <= high
    return dict(sorted(held.items()))


def real(folder: Path) -> None:
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size > 5e4):
        try:
            found = MRS.measure(read_spectra([path]))
        except (ValueError, OSError):
            continue
        told = ", ".join(
            f"{v.key} {v.value:.2f} ({v.ci95[0]:.2f} to {v.ci95[1]:.2f})"
            for v in found.values
            if v.answer == "constrained" and v.key in ("signal_fat_fraction", "ndb", "nmidb")
        )
        print(f"{path.parent.name}: {told}; residual/noise {found.fitted.ratio:.2f}")


def _printed(part: tuple[Callable, ...]) -> str:
    """What a function prints."""
    function, *values = part
    with redirect_stdout(io.StringIO()) as said:
        function(*values)
    return said.getvalue()


if __name__ == "__main__":
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    parts = [
        (whole_range, 480 * repeats),
        *((wrong_by_design, kind, 16 * repeats) for kind in KINDS),
        (several_echo_times, 50 * repeats),
        (errors, repeats),
        (table_of_bounds,),
    ]  # the longest first
    with ProcessPoolExecutor() as pool:
        for said in pool.map(_printed, parts):
            print(said, end="", flush=True)
    if len(sys.argv) > 2:
        real(Path(sys.argv[2]))
