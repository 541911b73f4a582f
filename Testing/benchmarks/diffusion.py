"""IVIM beside dipy: errors against the Cramer-Rao bound, coverage, CPU seconds, memory.

    PYTHONPATH=PDFFMapper:Testing python Testing/benchmarks/diffusion.py [--dipy PYTHON]

dipy runs in its own interpreter (a virtual environment with dipy and numpy), on the same signals,
and reports CPU seconds of its fit. Times are CPU seconds per million voxels after compilation.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
from PDFFMapperLib.diffusion.adc import fit_adc
from PDFFMapperLib.diffusion.ivim import fit_ivim, fit_ivim_segmented
from PDFFMapperLib.diffusion.ivim_bayes import fit_ivim_hierarchical
from phantoms.diffusion import MARROW_B, bound, marrow

NAMES = ("d", "f", "d_star")

DIPY = """
import json, sys, time, warnings
import numpy as np
warnings.simplefilter("ignore")
from dipy.core.gradients import gradient_table
from dipy.reconst.ivim import IvimModel
data = np.load(sys.argv[1])
b, signal = data["b"], data["signal"].astype(float)
vectors = np.tile([1.0, 0.0, 0.0], (b.size, 1)) * (b > 0)[:, None]
table = gradient_table(b, bvecs=vectors, b0_threshold=0)
out = {}
for method in ("trr", "VarPro"):
    count = 2000 if method == "trr" else 40
    try:
        model = IvimModel(table, fit_method=method)
        model.fit(signal[:2])
        start = time.process_time()
        fit = model.fit(signal[:count])
        seconds = time.process_time() - start
        out[method] = {
            "voxels": count, "seconds": seconds, "d": (1000 * fit.D).tolist(),
            "d_star": (1000 * fit.D_star).tolist(), "f": fit.perfusion_fraction.tolist(),
        }
    except Exception as error:
        out[method] = {"error": f"{type(error).__name__}: {error}"}
json.dump(out, open(sys.argv[2], "w"))
"""


def row(name, fit, phantom, least, seconds=None, intervals=True):
    cells = [f"{name:28s}"]
    count = len(fit["d"] if isinstance(fit, dict) else fit.d)
    for key in NAMES:
        values = np.asarray(fit[key]) if isinstance(fit, dict) else getattr(fit, key)
        truth = getattr(phantom, key)[:count]
        error = np.nanmedian(np.abs(values - truth))
        text = f"{key} {error:7.4f} ({error / least[key]:4.2f})"
        if intervals:
            lower, upper = fit.interval(key)
            text += f" {100 * np.mean((lower <= truth) & (truth <= upper)):4.1f} %"
        cells.append(text)
    if not isinstance(fit, dict):
        cells.append(f"failed {100 * np.mean(~fit.valid | fit.at_bound):.2f} %")
    if seconds is not None:
        cells.append(f"{1e6 * seconds / count:9.1f} s/M")
    print(" | ".join(cells), flush=True)


def timed(function, *args, **kwargs):
    start = time.process_time()
    fit = function(*args, **kwargs)
    return fit, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voxels", type=int, default=200_000)
    parser.add_argument("--dipy", metavar="PYTHON", help="interpreter that has dipy")
    args = parser.parse_args()
    small = marrow(3000, 30)
    for function in (fit_ivim, fit_ivim_segmented, fit_ivim_hierarchical, fit_adc):
        function(small.signal, MARROW_B, sigma=small.sigma)  # compile

    print("median absolute error (ratio to the Cramer-Rao bound), coverage of 95 % intervals")
    for snr in (30, 60):
        phantom = marrow(args.voxels, snr, seed=1)
        least = bound(phantom)
        print(f"\nSNR {snr}: bound " + ", ".join(f"{k} {least[k]:.4f}" for k in NAMES))
        for label, function in (
            ("full fit", fit_ivim),
            ("segmented", fit_ivim_segmented),
            ("hierarchical", fit_ivim_hierarchical),
        ):
            fit, seconds = timed(function, phantom.signal, MARROW_B, sigma=phantom.sigma)
            row(label, fit, phantom, least, seconds)
        fit, seconds = timed(fit_ivim, phantom.signal, MARROW_B)
        row(f"full, sigma found {fit.sigma:.3f}", fit, phantom, least, seconds)
        _, seconds = timed(fit_adc, phantom.signal, MARROW_B, sigma=phantom.sigma)
        print(f"{'ADC (maximum likelihood)':28s} | {1e6 * seconds / args.voxels:9.1f} s/M")
        if args.dipy:
            for method, result in dipy(args.dipy, phantom).items():
                if "error" in result:
                    print(f"dipy {method}: {result['error']}")
                else:
                    row(f"dipy {method}", result, phantom, least, result["seconds"], False)

    print("\nlinear in voxels, and memory of numpy above the input (full fit, one million voxels)")
    for count in (10_000, 100_000, 1_000_000):
        signal = np.resize(small.signal, (count, MARROW_B.size))
        for label, function in (("full", fit_ivim), ("hierarchical", fit_ivim_hierarchical)):
            _, seconds = timed(function, signal, MARROW_B, sigma=small.sigma)
            text = (
                f"{label:13s} {count:8d} voxels {seconds:7.2f} s {1e6 * seconds / count:6.1f} s/M"
            )
            if count == 1_000_000:
                tracemalloc.start()
                function(signal, MARROW_B, sigma=small.sigma)
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
                text += f"  peak {peak / signal.nbytes:.1f} x input"
            print(text, flush=True)


def dipy(interpreter: str, phantom) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder) / "in.npz", Path(folder) / "out.json"
        np.savez(inputs, b=phantom.b_values, signal=phantom.signal[:4000])
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        subprocess.run(
            [interpreter, "-c", DIPY, str(inputs), str(outputs)], check=True, env=environment
        )
        return json.loads(outputs.read_text())


if __name__ == "__main__":
    sys.exit(main())
