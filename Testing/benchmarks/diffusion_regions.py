"""Which IVIM fit is true of a region: medians of the maps of each fit, and the pooled fit.

    PYTHONPATH=PDFFMapper:Testing python Testing/benchmarks/diffusion_regions.py

Six tissues lie in one image, 500 voxels each, whose D, D* and f scatter by 10 %. Per tissue and
signal-to-noise ratio at b = 0: the error of the region's f (points), D and D* (10^-3 mm^2/s).
"""

from __future__ import annotations

import argparse

import numpy as np
from PDFFMapperLib.diffusion.ivim import fit_ivim
from PDFFMapperLib.diffusion.ivim_bayes import fit_ivim_hierarchical
from PDFFMapperLib.diffusion.pooled import fit_pooled
from phantoms.diffusion import MARROW_B, ivim_signal, rician

# D, D* (10^-3 mm^2/s) and f.
TISSUES = {
    "marrow": (0.4, 12.0, 0.12),
    "lesion": (1.0, 25.0, 0.15),
    "muscle": (1.5, 20.0, 0.05),
    "spleen": (0.85, 50.0, 0.05),
    "liver": (1.1, 70.0, 0.25),
    "little perfused": (0.5, 20.0, 0.02),
}
VOXELS = 500
FITS = ("full", "hierarchical", "pooled")


def errors(snr: float, seed: int) -> dict[str, np.ndarray]:
    """Errors of f, D and D* of each tissue by each fit, shape (tissues, 3)."""
    rng = np.random.default_rng(seed)
    d, d_star, f = (
        np.concatenate([v[n] * np.exp(0.1 * rng.standard_normal(VOXELS)) for v in TISSUES.values()])
        for n in range(3)
    )
    sigma = 100.0 / snr
    signal = rician(ivim_signal(MARROW_B, 100.0, d, d_star, f), sigma, rng)
    fits = {
        "full": fit_ivim(signal, MARROW_B, sigma=sigma),
        "hierarchical": fit_ivim_hierarchical(signal, MARROW_B, sigma=sigma),
    }
    found: dict[str, list[np.ndarray]] = {name: [] for name in FITS}
    for n in range(len(TISSUES)):
        region = slice(n * VOXELS, (n + 1) * VOXELS)
        truth = np.array(
            [100 * np.median(f[region]), np.median(d[region]), np.median(d_star[region])]
        )
        for name, fit in fits.items():
            maps = (100 * fit.f, fit.d, fit.d_star)
            found[name].append(np.array([np.median(one[region]) for one in maps]) - truth)
        mask = np.ones(VOXELS, bool)
        pooled = fit_pooled(signal[region], MARROW_B, mask, sigma=sigma, models=("ivim",))
        e = pooled.fits["ivim"].estimates
        found["pooled"].append(
            np.array([100 * e["f"].value, e["d"].value, e["d_star"].value]) - truth
        )
    return {name: np.array(one) for name, one in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--snr", type=float, nargs="+", default=[10, 20, 30, 60])
    args = parser.parse_args()
    for snr in args.snr:
        runs = [errors(snr, seed) for seed in range(args.repeats)]
        print(f"\nSNR {snr:g}: error of f, D, D*")
        for n, tissue in enumerate(TISSUES):
            cells = []
            for name in FITS:
                f, d, d_star = np.mean([run[name][n] for run in runs], axis=0)
                cells.append(f"{name} {f:+.1f} {d:+.3f} {d_star:+.1f}")
            print(f"  {tissue:16s}" + " | ".join(cells), flush=True)


if __name__ == "__main__":
    main()
