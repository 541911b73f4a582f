"""Spectroscopy beside other programs on the same spectra: error of the fat fraction and time.

python Testing/benchmarks/spectroscopy_peers.py [SPECTRA]

In an environment that has this project's numpy, scipy and pydicom, and what is to be compared:
pyAMARES (0.3.28, with pandas < 3), Suspect (0.6.2) and FSL-MRS (for non-commercial use only: its
sources on PYTHONPATH, with fslpy, nifti-mrs and plotly); a program that is not there is left out
and named. All get nine peaks (water, glycerol and olefinic as one each) at their shifts, one phase,
widths of fat as one; that is sensible use, not an expert's. SPECTRA (default 24) are drawn as in
`spectroscopy.py`: one echo time, no J, PDFF 15 to 85 %, widths 20/28 to 48/65 Hz, SNR 150 and 400.
A fit of one spectrum may take MOST_CPU_S; one that has not ended is counted and left out. Suspect
(lmfit's leastsq, up to 2,000 evaluations for each parameter and one) goes on for a minute in every
second of these spectra. About 4 minutes. LCModel is not on the package index; its figures were
measured elsewhere and are not repeated here.
"""

import contextlib
import io
import logging
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "PDFFMapper")]

from PDFFMapperLib.spectroscopy.fit import fit  # noqa: E402
from PDFFMapperLib.spectroscopy.model import Choice  # noqa: E402
from PDFFMapperLib.spectroscopy.quantities import quantities  # noqa: E402
from PDFFMapperLib.spectroscopy.rows import NONE  # noqa: E402
from PDFFMapperLib.spectroscopy.simulate import Truth, simulated  # noqa: E402

PEAKS = {
    "water": 4.65, "methyl": 0.90, "methylene": 1.30, "betacarboxyl": 1.59, "allylic": 2.04,
    "alphacarboxyl": 2.25, "diallylic": 2.78, "glycerol": 4.20, "olefinic": 5.30,
}  # fmt: skip
SHARES = np.array([0, 9, 58, 6, 8, 6, 1.5, 4, 7])  # where fits start


MOST_CPU_S = 10.0


@contextlib.contextmanager
def limited(seconds):
    """Raise TimeoutError once so much CPU time was used."""

    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def ours(series, truth):
    found = fit(series, Choice())
    return quantities(found.model)["fraction"](found.theta)[0]


def amares(series, truth):
    import pandas as pd
    import pyAMARES

    rows = {"Initial Values": [""] * len(PEAKS)}
    start = np.where(SHARES > 0, 0.5 * SHARES / SHARES.sum(), 0.5)
    first = ["", "", *["methyl"] * (len(PEAKS) - 2)]
    rows["amplitude"] = [f"{one:.4f}" for one in start]
    rows["chemicalshift"] = [f"{ppm - 4.65:.4f}" for ppm in PEAKS.values()]
    rows["linewidth"] = [one or "30" for one in first]
    rows["phase"] = ["0", *["water"] * (len(PEAKS) - 1)]
    rows["g"] = ["0.5"] * len(PEAKS)
    rows["Bounds"] = [""] * len(PEAKS)
    rows["amplitude "] = ["(0, "] * len(PEAKS)
    rows["chemicalshift "] = [f"({p - 4.75:.4f},{p - 4.55:.4f})" for p in PEAKS.values()]
    rows["linewidth "] = ["(5,120)"] * len(PEAKS)
    rows["phase "] = ["(-180,180)"] * len(PEAKS)
    rows["g "] = ["(0,1)"] * len(PEAKS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "peaks.csv"
        table = pd.DataFrame(rows, index=list(PEAKS)).T
        table.index = [name.strip() for name in table.index]
        table.to_csv(path, index_label="Index")
        fid = series.fids[0] * np.exp(-1j * np.angle(series.fids[0, 0]))
        given = pyAMARES.initialize_FID(
            fid, str(path), MHz=series.frequency_mhz, sw=1 / series.dwell_s, deadtime=0.0
        )
        found = pyAMARES.fitAMARES(given, given.initialParams, method="leastsq", ifplot=False)
    table = found.result_multiplets
    amplitude = table["amplitude"].to_numpy(float)
    return 100 * amplitude[1:].sum() / amplitude.sum()


def suspect(series, truth):
    import suspect as other
    from suspect.fitting import singlet

    fid = series.fids[0] * np.exp(-1j * np.angle(series.fids[0, 0]))
    data = other.MRSData(fid, series.dwell_s, series.frequency_mhz, te=30, ppm0=4.65)
    start = np.where(SHARES > 0, 0.5 * SHARES / SHARES.sum(), 0.5)
    peaks = []
    for n, (name, ppm) in enumerate(PEAKS.items()):
        width = 30 if n < 2 else {"expr": "methyl_fwhm"}
        hertz = (ppm - 4.65) * series.frequency_mhz
        where = {"value": hertz, "min": hertz - 12, "max": hertz + 12}
        peaks.append(singlet.GaussianPeak(name, float(start[n]), where, fwhm=width))
    whole = peaks[0]
    for one in peaks[1:]:
        whole = whole + one
    result = singlet.Model(whole).fit(data)
    amplitude = np.array([result.params[f"{name}_amplitude"].value for name in PEAKS])
    return 100 * amplitude[1:].sum() / amplitude.sum()


def fsl_mrs(series, truth):
    from fsl_mrs.core import MRS
    from fsl_mrs.utils.fitting import fit_FSLModel

    t = np.arange(series.fids.shape[1]) * series.dwell_s
    fid = series.fids[0] * np.exp(-1j * np.angle(series.fids[0, 0]))
    hertz = np.array([(ppm - 4.65) * series.frequency_mhz for ppm in PEAKS.values()])
    basis = np.exp(2j * np.pi * np.multiply.outer(t, hertz) - 2 * np.pi * t[:, None])
    centre, band = series.frequency_mhz * 1e6, 1 / series.dwell_s
    facts = {
        "centralFrequency": centre, "bandwidth": band, "dwelltime": series.dwell_s, "fwhm": 2.0,
        "ResonantNucleus": "1H",
    }  # fmt: skip
    data = MRS(
        FID=fid.conj(), cf=centre, bw=band, nucleus="1H", basis=basis.conj(), names=list(PEAKS),
        basis_hdr=[facts] * len(PEAKS),
    )  # fmt: skip
    data.processForFitting()
    groups = [0] + [1] * (len(PEAKS) - 1)  # water, and fat with one width and shift
    found = fit_FSLModel(data, ppmlim=(-1.0, 8.0), baseline_order=-1, metab_groups=groups)
    amplitude = np.ravel(found.getConc(scaling="raw"))
    return 100 * amplitude[1:].sum() / amplitude.sum()


def drawn(count):
    rng = np.random.default_rng(5)
    for n in range(count):
        fat, water = ((20, 28), (30, 45), (48, 65))[n % 3]
        ndb = rng.normal(2.9, 0.3)
        truth = Truth(
            rng.uniform(15, 85), ndb, ndb * rng.uniform(0.2, 0.35), 1e9, 1e9,
            fwhm_water_hz=water, fwhm_fat_hz=fat, lorentzian=rng.uniform(0.2, 0.8),
            water_shift_hz=rng.normal(0, 5), fat_shift_hz=rng.normal(0, 5),
        )  # fmt: skip
        yield truth, simulated(truth, [30.0], (150, 400)[n % 2], rng, NONE)


def main(count):
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    spectra = list(drawn(count))
    programs = (
        ("this software", ours), ("FSL-MRS", fsl_mrs), ("pyAMARES", amares), ("Suspect", suspect),
    )  # fmt: skip
    for name, measure in programs:
        off, failed, endless, began = [], 0, 0, time.process_time()
        for truth, series in spectra:
            try:
                with contextlib.redirect_stdout(io.StringIO()), limited(MOST_CPU_S):
                    off.append(measure(series, truth) - truth.pdff_percent)
            except ImportError as error:
                print(f"{name}: not here ({error})")
                break
            except TimeoutError:
                endless += 1
            except Exception as error:
                failed += 1
                last = error
        if not off:
            if endless:
                print(f"{name}: none of {count} ended in {MOST_CPU_S:g} CPU-s")
            if failed:
                print(f"{name}: all failed, the last with {type(last).__name__}: {last}")
            continue
        off, seconds = np.array(off), time.process_time() - began
        print(
            f"{name}: {len(off)} of {count} spectra; fat fraction bias {off.mean():+.2f}, RMS "
            f"{np.sqrt(np.mean(off**2)):.2f}, worst {np.abs(off).max():.1f} points; "
            f"{seconds / count:.2f} CPU-s each"
            + (f"; {endless} did not end in {MOST_CPU_S:g} CPU-s" if endless else "")
            + (f"; {failed} failed" if failed else "")
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 24)
