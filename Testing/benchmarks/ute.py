"""UTE of bone against its Cramer-Rao bounds: bias, error, coverage of intervals, time and memory.

python Testing/benchmarks/ute.py [FITS [PART ...]]

Simulated by the models that are fitted (default: 1,000 fits of each row, all parts). A share of
95 % of 1,000 intervals is known to +-0.7 points (one SD). The noise is known in these runs.
"""

import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "PDFFMapper"), str(ROOT / "MarrowAssess"), str(ROOT / "Testing")]

from MarrowAssessLib.sample.tibia import SPACING_MM, Tibia  # noqa: E402
from PDFFMapperLib.images.volume import Volume  # noqa: E402
from PDFFMapperLib.ute.components import (  # noqa: E402
    cramer_rao_sd,
    fit_bi_component,
    gaussian_sd,
    signal_of,
)
from PDFFMapperLib.ute.cortex import MODEL_SD_VOXELS, fat_signal, find_cortex  # noqa: E402
from PDFFMapperLib.ute.curve import polar_curve  # noqa: E402
from PDFFMapperLib.ute.echoes import ute_series  # noqa: E402
from PDFFMapperLib.ute.recipe import PSF, UTE  # noqa: E402
from PDFFMapperLib.ute.region_signal import RegionSignal, ratio_of  # noqa: E402
from PDFFMapperLib.ute.ring_levels import ratio_of_levels  # noqa: E402
from PDFFMapperLib.ute.tri_component import fit_tri_component, three_components  # noqa: E402
from PDFFMapperLib.ute.tri_phase import fit_phased_components  # noqa: E402
from phantoms.long_bones import ObliqueTibia, TaperingTibia, ring_in_slice  # noqa: E402

TE_SETS = {
    4: (0.032, 0.4, 2.2, 4.4),
    8: (0.032, 0.2, 0.4, 0.8, 2.2, 4.4, 6.6, 8.8),
    12: (0.032, 0.2, 0.4, 0.8, 1.2, 1.6, 2.2, 3.0, 4.4, 5.5, 6.6, 8.8),
}
EIGHT = np.array(TE_SETS[8])
VOXELS = 100
STATED = {"t2star_pore_ms": 3.0, "t2star_fat_ms": 10.0}
SETTINGS = SimpleNamespace(echo_times_s=None, sigma=None)
WATERS = (0.78, 0.35, 3.0)  # bound fraction, T2* bound and pore (ms)


def rician(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Magnitudes of signals in noise of SD 1."""
    noise = rng.standard_normal((2, *signal.shape))
    return np.abs(signal + noise[0] + 1j * noise[1])


def region(signal: float, rng: np.random.Generator) -> RegionSignal:
    """A region of 100 voxels."""
    return RegionSignal(rician(np.full(VOXELS, signal), rng), 1.0)


def told(name: str, off: np.ndarray, bound: float, covered: np.ndarray) -> None:
    rms = np.sqrt(np.mean(off**2))
    limits = "" if np.isnan(bound) else f" (bound {bound:.3f}, RMS {rms / bound:.2f} of it)"
    share = 100 * np.mean(covered)
    print(f"  {name}: bias {off.mean():+.3f}, RMS {rms:.3f}{limits}; intervals cover {share:.1f} %")


def porosity(fits: int) -> None:
    print("Porosity index (points), regions of 100 voxels:")
    rng = np.random.default_rng(1)
    for snr in (10.0, 20.0):
        for percent in (5.4, 15.0, 4.0, 2.0):  # nothing is right down to 0 (see README)
            off, covered = np.empty(fits), np.empty(fits, bool)
            for n in range(fits):
                late = region(snr * percent / 100, rng)
                ratio = ratio_of(late, region(snr, rng)).times(100)
                off[n] = ratio.value - percent
                covered[n] = ratio.lower <= percent <= ratio.upper
            told(f"SNR {snr:g}, true {percent} %", off, np.nan, covered)


def two_components(fits: int) -> None:
    print("Two components, regions of 100 voxels, 8 echoes, bound 78 %, T2* 0.35 and 3.0 ms:")
    rng = np.random.default_rng(7)
    for snr in (30.0, 100.0, 300.0):
        truth = (snr, *WATERS)
        signals = signal_of(truth, EIGHT)
        off, covered = np.empty((fits, 3)), np.empty((fits, 3), bool)
        seconds = time.process_time()
        for n in range(fits):
            fit = fit_bi_component([region(s, rng) for s in signals], EIGHT)
            rows = (fit.bound_percent, fit.t2star_bound_ms, fit.t2star_pore_ms)
            for k, (one, true) in enumerate(zip(rows, (78, *WATERS[1:]), strict=True)):
                off[n, k] = one.value - true
                covered[n, k] = one.lower <= true <= one.upper
        seconds = (time.process_time() - seconds) / fits
        bounds = cramer_rao_sd(truth, EIGHT, 1.0, VOXELS)[1:] * (100, 1, 1)
        names = ("bound fraction (points)", "T2* bound (ms)", "T2* pore (ms)")
        for k, name in enumerate(names):
            told(f"SNR {snr:g}, {name}", off[:, k], bounds[k], covered[:, k])
        print(f"  {seconds:.3f} CPU-s a region with all intervals")


def three_components_of_regions(fits: int) -> None:
    print("Three components at 3 T, regions of 100 voxels, 12 echoes, 70/20/10 %:")
    rng = np.random.default_rng(9)
    te_ms, free = np.array(TE_SETS[12]), "all free"
    for snr, words, stated in (
        *((snr, free, {}) for snr in (30.0, 100.0, 300.0)),
        (100.0, "T2* of pore and fat stated", STATED),
    ):
        truth = (snr, 0.7, 0.1, 0.35, 3.0, 10.0)
        signals = three_components(3.0).signal(truth, te_ms)
        bounds = _bounds_of_three(truth, te_ms, (4, 5) if stated else ())
        off, covered = np.empty((fits, 3)), np.empty((fits, 3), bool)
        seconds = time.process_time()
        for n in range(fits):
            fit = fit_tri_component([region(s, rng) for s in signals], te_ms, 3.0, **stated)
            rows = (fit.bound_percent, fit.pore_percent, fit.fat_percent)
            for k, (one, true) in enumerate(zip(rows, (70, 20, 10), strict=True)):
                off[n, k] = one.value - true
                covered[n, k] = one.lower <= true <= one.upper
        seconds = (time.process_time() - seconds) / fits
        for k, name in enumerate(("bound", "pore", "fat")):
            told(f"SNR {snr:g}, {words}, {name} (points)", off[:, k], bounds[k], covered[:, k])
        print(f"  {seconds:.3f} CPU-s a region with all intervals")


def _bounds_of_three(truth: tuple, te_ms: np.ndarray, known: tuple) -> tuple[float, ...]:
    """Least SD of the shares of bound water, pore water and fat at the truth, of 100 voxels."""
    _, bound, fat, *rest = truth
    sds = cramer_rao_sd(truth, te_ms, 1.0, VOXELS, three_components(3.0), known)
    pore = three_components(3.0, "pore"), known
    other = cramer_rao_sd((truth[0], 1 - bound - fat, fat, *rest), te_ms, 1.0, VOXELS, *pore)
    return 100 * sds[1], 100 * other[1], 100 * sds[2]


def three_components_by_phases(fits: int) -> None:
    print(
        "Three components by complex images at 3 T, 12 echoes, 70/20/10 %, voxels SD 60 Hz apart:"
    )
    rng = np.random.default_rng(13)
    te_ms, truth = np.array(TE_SETS[12]), (0.7, 0.1, 0.35, 3.0, 10.0)
    parts = three_components(3.0, phased=True).signal((1.0, *truth, 0.0, 0.0), te_ms)
    signal = parts[: len(te_ms)] + 1j * parts[len(te_ms) :]
    for snr, voxels in ((20.0, 400), (30.0, 400), (100.0, 100)):
        off, covered = np.empty((fits, 3)), np.empty((fits, 3), bool)
        doubted, seconds = np.zeros(fits, bool), time.process_time()
        for n in range(fits):
            phase = rng.uniform(-np.pi, np.pi, voxels)
            turn = phase + 2e-3 * np.pi * np.multiply.outer(te_ms, 60 * rng.standard_normal(voxels))
            noise = rng.standard_normal((2, len(te_ms), voxels))
            held = snr * signal[:, None] * np.exp(1j * turn) + noise[0] + 1j * noise[1]
            found = fit_phased_components(held, te_ms, 3.0, 1.0)
            rows = (found.fit.bound_percent, found.fit.pore_percent, found.fit.fat_percent)
            for k, (one, true) in enumerate(zip(rows, (70, 20, 10), strict=True)):
                off[n, k] = one.value - true
                covered[n, k] = one.lower <= true <= one.upper
            doubted[n] = bool(found.doubt)
        seconds = (time.process_time() - seconds) / fits
        kept, sd = ~doubted, voxels**-0.5
        at = (snr, *truth, 0.0, 0.0), (snr, 0.2, *truth[1:], 0.0, 0.0)
        models = [three_components(3.0, first, phased=True) for first in ("bound", "pore")]
        one, other = (gaussian_sd(p, te_ms, sd, m) for p, m in zip(at, models, strict=True))
        for k, (name, bound) in enumerate((("bound", one[1]), ("pore", other[1]), ("fat", one[2]))):
            words = f"SNR {snr:g}, {voxels} voxels, {name}"
            told(words, off[kept, k], 100 * bound, covered[kept, k])
        print(f"  {seconds:.3f} CPU-s a region with all intervals; {doubted.sum()} doubted")


def ring_porosity(fits: int) -> None:
    print("PI of a fitted ring (points), one slice, cortex of 5 voxels, shading 40 %:")
    phi = np.arange(90) * 2 * np.pi / 90
    for coils in (1, 8):
        for snr in (10.0, 20.0, 30.0, 50.0):
            for bound in (1.0, 0.907, 0.78, 0.605, 0.19):
                truth = Tibia(snr=snr, radius=14.0, thickness=5.0, size=56, bound=bound)
                middle = sum(truth.edges(phi)) / 4
                curve = polar_curve(np.full(2, (truth.size - 1) / 4), phi, middle)
                images = np.stack(
                    [one.array for one in truth.volumes(fits, (0.032, 2.2), 3, coils)]
                )
                fat = fat_signal(np.array([0.032, 2.2]), truth.field_t)
                facts = SPACING_MM[0], curve, 2.5, 0.85 * SPACING_MM[0], 5.0, 1.0, coils, fat
                found = [
                    ratio_of_levels(
                        [ring_in_slice(images[:, k], *facts).told], MODEL_SD_VOXELS * 0.5
                    ).times(100)
                    for k in range(fits)
                ]
                value, lower, upper = np.array([(r.value, r.lower, r.upper) for r in found]).T
                true = truth.porosity_index
                covered = (lower <= true) & (true <= upper)
                open_below = 100 * np.mean(lower == 0)
                words = f"{coils} receivers, SNR {snr:g}, true {true:.1f} %"
                told(f"{words}, {open_below:.0f} % reach 0", value - true, np.nan, covered)


def rings_found(fits: int) -> None:
    print("PI (points) and thickness (voxels) of rings found from a point, cortex of 5 voxels:")
    for coils, snr, field_t in (
        (1, 10, 3),
        (1, 20, 3),
        (1, 30, 3),
        (8, 20, 3),
        (8, 30, 3),
        (1, 20, 1.5),
    ):
        truth = Tibia(snr=snr, radius=14.0, thickness=5.0, size=56, field_t=field_t)
        volumes = truth.volumes(fits, (0.032, 2.2), 11, coils)
        data = ute_series(volumes, SimpleNamespace(echo_times_s=None, sigma=5.0, coils=coils))
        rows, refused = [], 0
        for k in range(fits):
            grid = volumes[0].with_array(volumes[0].array[k : k + 1])
            one = replace(data, signal=data.signal[:, k : k + 1], grid=grid)
            try:
                found = find_cortex(one, PSF.default, grid.to_ras(np.array([[27.0, 27.0, 0.0]])))
            except ValueError:
                refused += 1
                continue
            ratio = ratio_of_levels([ring.told for ring in found.rings.values()], found.model_sd_mm)
            rows.append(
                (100 * ratio.value, 100 * ratio.lower, 100 * ratio.upper, *found.thickness_mm())
            )
        value, lower, upper, thickness, sd = np.array(rows).T
        words, true = f"{coils} receivers, SNR {snr}, {field_t} T", truth.porosity_index
        told(f"{words}, PI", value - true, np.nan, (lower <= true) & (true <= upper))
        off = thickness - truth.thickness_mm
        told(f"{words}, thickness", off / SPACING_MM[0], np.nan, np.abs(off) < 1.96 * sd)
        print(f"  {refused} of {fits} told no ring")


def cortex(slices: int) -> None:
    print(f"Thickness of a cortex (voxels), SNR 20, shading 40 %, {slices} slices of each:")
    for thickness, fat in ((2, 0.85), (2, 1.2), (3, 0.85), (5, 0.85), (5, 1.2), (8, 0.85)):
        truth = Tibia(thickness=thickness, radius=18, snr=20, fat_psf=fat)
        found = find_cortex(
            ute_series(truth.volumes(slices, (0.032, 2.2), 5), SETTINGS), PSF.default
        )
        each = np.array([one.mean_thickness() for one in found.rings.values()])
        off = (each[:, 0] - truth.thickness_mm) / SPACING_MM[0]
        error = np.hypot(each[:, 1] / SPACING_MM[0], MODEL_SD_VOXELS)
        true = np.broadcast_to(truth.share(), found.layer.shape)
        seen = found.layer > 0
        dice = 2 * (seen & true).sum() / (seen.sum() + true.sum())
        covered = 100 * np.mean(np.abs(off) < 1.96 * error)
        print(
            f"  {truth.thickness_mm / SPACING_MM[0]:.2f}, blur of fat {fat:g}: {len(each)} found; "
            f"bias {off.mean():+.3f}, SD {off.std(ddof=1):.3f} (by the fit {error.mean():.3f}), "
            f"intervals cover {covered:.0f} %, Dice {dice:.3f}"
        )
    images = Tibia(size=256).volumes(60, (0.032, 2.2))
    began = time.process_time()
    find_cortex(ute_series(images, SETTINGS), PSF.default)
    seconds = time.process_time() - began
    tracemalloc.start()
    _made("cortex", images)
    peak = tracemalloc.get_traced_memory()[1] / sum(one.array.nbytes for one in images)
    tracemalloc.stop()
    print(f"  256 x 256 x 60: {seconds:.1f} CPU-s, all maps {peak:.1f} x the input")


def one_image(bones: int) -> None:
    print("Thickness (voxels) by one image alone, three slices, shading 40 %:")
    settings = SimpleNamespace(echo_times_s=[3.2e-5], sigma=5.0)
    for thickness in (3, 5, 8):
        for snr in (20, 40):
            truth, rows, rings = Tibia(thickness=thickness, radius=18, snr=snr), [], 0
            for seed in range(bones):
                data = ute_series(truth.volumes(3, (0.032,), seed), settings)
                try:
                    found = find_cortex(data, PSF.default)
                except ValueError:
                    continue
                rows.append(found.thickness_mm())
                rings += len(found.rings)
            value, sd = np.array(rows).T
            off = value - truth.thickness_mm
            words = f"{thickness} voxels, SNR {snr}, {len(rows)} of {bones} found, {rings} slices"
            told(words, off / SPACING_MM[0], np.nan, np.abs(off) < 1.96 * sd)


def oblique(bones: int) -> None:
    print("Straight bones oblique to their slices, SNR 20, voxels as long as wide:")
    settings = SimpleNamespace(echo_times_s=None, sigma=5.0)
    for thickness in (3, 5):
        for degrees in (0, 5, 10, 15, 20, 25, 45):
            truth, rows = ObliqueTibia(thickness=thickness, degrees=degrees, full=4), []
            for seed in range(bones):
                found = find_cortex(ute_series(truth.volumes(seed=seed), settings), PSF.default)
                levels = [ring.told for ring in found.rings.values()]
                ratio = ratio_of_levels(levels, found.model_sd_mm).times(100)
                half = (ratio.upper - ratio.lower) / 3.92
                rows.append((*found.thickness_mm(), *found.area_mm2(), ratio.value, half))
            true = truth.thickness_mm, truth.area_mm2, truth.porosity_index
            units = SPACING_MM[0], truth.area_mm2 / 100, 1.0
            for k, name in enumerate(("thickness (voxels)", "area (%)", "PI (points)")):
                value, sd = np.array(rows).T[2 * k : 2 * k + 2]
                off, words = value - true[k], f"{thickness} voxels, {degrees} degrees, {name}"
                words += f" (told SD {np.mean(sd) / units[k]:.3f})"
                told(words, off / units[k], np.nan, np.abs(off) < 1.96 * sd)


def tapering(bones: int) -> None:
    print("Shafts that taper and lie oblique to slices of 3 mm (voxels of 0.5 mm), SNR 20:")
    settings = SimpleNamespace(echo_times_s=None, sigma=5.0)
    for thickness in (3, 5):
        for percent, degrees in ((3, 4), (3, 10), (10, 4), (10, 10), (20, 4), (20, 10)):
            truth = TaperingTibia(
                thickness=thickness, taper=percent / 1000, degrees=degrees, size=72
            )
            rows, refused = [], 0
            for seed in range(bones):
                try:
                    data = ute_series(truth.volumes(5, seed=seed), settings)
                    found = find_cortex(data, PSF.default)
                except ValueError:
                    refused += 1
                    continue
                levels = [ring.told for ring in found.rings.values()]
                ratio = ratio_of_levels(levels, found.model_sd_mm).times(100)
                rows.append((ratio.value, ratio.lower, ratio.upper, *found.thickness_mm()))
            words = f"{thickness} voxels, {percent} % in 10 mm, {degrees} degrees"
            if not rows:
                print(f"  {words}: all refused")
                continue
            value, lower, upper, thick, sd = np.array(rows).T
            true = truth.porosity_index
            half = np.mean(upper - lower) / 2
            held = (lower <= true) & (true <= upper)
            told(f"{words}, PI (told +-{half:.1f})", value - true, np.nan, held)
            off = thick - truth.thickness_mm
            told(f"{words}, thickness (voxels)", off / SPACING_MM[0], np.nan, abs(off) < 1.96 * sd)
            print(f"  {refused} of {bones} refused")


def thin_cortex(bones: int) -> None:
    print("SR and waters of the fitted ring, cortex of 2.9 voxels, 3 slices, SNR 20:")
    for fat in (0.9, 0.7):
        truth = Tibia(snr=20.0, radius=16.0, thickness=3.0, size=56, fat=fat)
        marrow, bone, muscle = truth._blurred()
        rng = np.random.default_rng(9)
        shade = truth.snr * (1 - truth.shading * np.linspace(0, 1, truth.size)[:, None])
        left = shade * (0.02 * marrow + truth.cortex(0.032) / 4 * bone + 0.03 * muscle)
        rows = []
        for n in range(bones):
            data = ute_series(truth.volumes(3, TE_SETS[8], n), SETTINGS)
            found = find_cortex(data, PSF.default)
            suppressed = 5 * rician(np.broadcast_to(left, data.signal[0].shape), rng)
            signal = np.stack([data.signal[0], suppressed.astype(np.float32)])
            pair = replace(data, signal=signal, te_ms=np.full(2, 0.032))
            ratio, waters = (
                found.levels_in(pair).ratio(), found.levels_in(data).components(data.te_ms)
            )  # fmt: skip
            rows.append((ratio, waters.bound_percent, waters.t2star_bound_ms))
        for k, (name, true) in enumerate((("SR", 4.0), ("bound (points)", 78.0), ("T2*", 0.35))):
            off = np.array([row[k].value - true for row in rows])
            held = np.array([row[k].lower <= true <= row[k].upper for row in rows])
            told(f"{100 * fat:.0f} % of fat in marrow, {name}", off, np.nan, held)


def bounds() -> None:
    print("Least SD of one voxel's bound fraction (points) at SNR 30, 100, 300:")
    for count, te_ms in TE_SETS.items():
        for pore in (3.0, 2.0):
            sds = [
                100 * cramer_rao_sd((snr, 0.78, 0.35, pore), te_ms, 1.0)[1]
                for snr in (30, 100, 300)
            ]
            print(f"  {count} echoes, T2* pore {pore:g} ms: " + ", ".join(f"{s:.1f}" for s in sds))


def maps() -> None:
    print("Map of the bound fraction, 30,000 voxels of bone, SNR 30:")
    own = 100 * cramer_rao_sd((30, *WATERS), EIGHT, 1.0)[1]
    for spread in (0.0, 0.03, 0.05, 0.1):
        rng = np.random.default_rng(11)
        shape = (3, 100, 100)
        bound = np.clip(0.78 + spread * rng.standard_normal(shape), 0, 1)
        made = _made("bi-component", _images(bound, rng), sigma=1.0)
        error = made["bound_fraction"] - 100 * bound
        told = np.isfinite(error)  # a voxel that noise makes weak has no value
        covered = np.mean(np.abs(error[told]) < 1.96 * made["bound_fraction_SD"][told])
        rms = np.sqrt(np.mean(error[told] ** 2))
        print(
            f"  spread {100 * spread:g} points: RMS {rms:.2f} points, {rms / own:.2f} of the bound "
            f"of a voxel alone ({own:.1f}); intervals cover {100 * covered:.1f} %; "
            f"{np.count_nonzero(~told)} voxels without a value"
        )


def _images(bound: np.ndarray, rng: np.random.Generator) -> list[Volume]:
    images = []
    for te in EIGHT:
        short, long = np.exp(-te / WATERS[1]), np.exp(-te / WATERS[2])
        array = rician(30 * (bound * short + (1 - bound) * long), rng).astype(np.float32)
        facts = {"EchoTime": float(te), "MagneticFieldStrength": 3.0}
        images.append(Volume(array, np.eye(4), f"{te:g}", facts))
    return images


def _made(method: str, images: list[Volume], **settings: object) -> dict[str, np.ndarray]:
    made = UTE.recipe(method).make(images, **settings)
    return {one.name: one.volume.array for one in made}


def speed() -> None:
    print("CPU-s per 10^6 voxels and peak memory over that of the input (all voxels bone):")
    rng = np.random.default_rng(2)
    images = _images(np.full((20, 100, 100), 0.78), rng)
    mask = images[0].with_array(np.ones(images[0].array.shape, np.uint8))
    pair = [images[0], Volume(images[3].array, np.eye(4), "other", {"EchoTime": EIGHT[0]})]
    for method, held, more in (
        ("porosity-index", [images[0], images[4]], {}),
        ("suppression-ratio", pair, {"same_gain": True}),
        ("mtr", pair, {"same_gain": True}),
        ("bi-component", images, {"mask": mask}),
        ("tri-component", images, {"mask": mask, "t2star_fat": 10.0}),
    ):
        _made(method, held, sigma=1.0, **more)  # compiles what no run before has
        began = time.process_time()
        _made(method, held, sigma=1.0, **more)
        seconds = time.process_time() - began
        tracemalloc.start()
        _made(method, held, sigma=1.0, **more)
        peak = tracemalloc.get_traced_memory()[1] / sum(one.array.nbytes for one in held)
        tracemalloc.stop()
        print(f"  {method}: {seconds * 1e6 / held[0].array.size:.2f} CPU-s, {peak:.1f} x the input")


PARTS = (
    bounds, maps, speed, porosity, two_components, three_components_of_regions,
    three_components_by_phases, ring_porosity, rings_found, cortex, one_image, oblique,
    tapering, thin_cortex,
)  # fmt: skip

if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    chosen = sys.argv[2:] or [part.__name__ for part in PARTS]
    for part in PARTS:
        if part.__name__ not in chosen:
            continue
        if part in (bounds, maps, speed):
            part()
        else:
            part(max(count // 5, 8) if part is cortex else count)
