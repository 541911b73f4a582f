"""ADC and IVIM of two real abdominal series: a table per organ, and the maps as pictures.

    PYTHONPATH=PDFFMapper:Testing python Testing/benchmarks/abdomen.py [--pictures FOLDER]

Reads volunteer*_T70_bip.npz from ../shared/cases/diffusion (or $MARROWASSESS_SHARED). Pictures
need matplotlib. Values are medians over the regions (10^-3 mm^2/s, f in %), with the pooled fit and
its 95 % interval below.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path

import numpy as np
from PDFFMapperLib.diffusion.adc import fit_adc
from PDFFMapperLib.diffusion.ivim import fit_ivim, fit_ivim_segmented
from PDFFMapperLib.diffusion.ivim_bayes import fit_ivim_hierarchical
from PDFFMapperLib.diffusion.pooled import fit_pooled

SHARED = os.environ.get("MARROWASSESS_SHARED", Path(__file__).parents[3] / "shared")
FITS = {
    "full": fit_ivim,
    "segmented": fit_ivim_segmented,
    "hierarchical": fit_ivim_hierarchical,
}
COLUMNS = (("d", 1, (0, 3), "gray"), ("f", 100, (0, 50), "inferno"),
           ("d_star", 1, (0, 100), "inferno"), ("d_sd", 1, (0, 0.5), "viridis"))  # fmt: skip


def table(case, fits, adc) -> None:
    for label in range(1, int(case["rois"].max()) + 1):
        roi = case["rois"] == label
        print(f"  region {label}, {roi.sum()} voxels, ADC {np.nanmedian(adc.adc[roi]):.2f}")
        for name, fit in fits.items():
            d, f, d_star = (np.nanmedian(getattr(fit, key)[roi]) for key in ("d", "f", "d_star"))
            told = 100 * fit.d_star_identifiable[roi].mean()
            print(
                f"    {name:13s} D {d:4.2f}  f {100 * f:4.1f}  D* {d_star:5.1f}"
                f"  (D* identifiable in {told:.0f} %)"
            )
        pooled = fit_pooled(
            case["image"], case["b"], roi, averages=case["reps"], sigma=float(case["sigma_single"])
        )
        estimates = pooled.fits["ivim"].estimates
        text = ", ".join(
            f"{key} {estimates[key].value:.3g} ({estimates[key].lower:.3g} to "
            f"{estimates[key].upper:.3g})"
            for key in ("d", "f", "d_star")
        )
        print(f"    pooled        {text}; best model: {pooled.best}")


def picture(case, fits, adc, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(fits), 1 + len(COLUMNS), figsize=(14, 8), layout="constrained")
    first = (case["image"][..., 0], adc.adc, case["rois"])
    titles = ("signal at b = 0", "ADC", "regions")
    for row, (name, fit) in zip(axes, fits.items(), strict=True):
        n = list(fits).index(name)
        panels = [(first[n], titles[n], (0, np.nanpercentile(first[n], 99.5)), "gray")]
        panels += [
            (scale * getattr(fit, key), f"{name}: {key}", window, color)
            for key, scale, window, color in COLUMNS
        ]
        for axis, (values, title, (low, high), color) in zip(row, panels, strict=True):
            shown = axis.imshow(values, vmin=low, vmax=high, cmap=color)
            axis.set_title(title, fontsize=9)
            axis.axis("off")
            figure.colorbar(shown, ax=axis, shrink=0.7)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    paths = sorted(Path(SHARED).glob("cases/diffusion/volunteer*.npz"))
    if not paths:
        sys.exit(f"{SHARED}/cases/diffusion holds no volunteer*.npz: nothing to measure.")
    for path in paths:
        case = np.load(path)
        settings = {"averages": case["reps"], "mask": case["mask"] > 0.5}
        fits = {name: fit(case["image"], case["b"], **settings) for name, fit in FITS.items()}
        adc = fit_adc(case["image"], case["b"], **settings)
        print(f"{path.stem}: b = {', '.join(str(b) for b in case['b'])} s/mm^2")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # regions without a fitted voxel
            table(case, fits, adc)
        if args.pictures:
            args.pictures.mkdir(parents=True, exist_ok=True)
            picture(case, fits, adc, args.pictures / f"{path.stem}.png")


if __name__ == "__main__":
    main()
