"""Single-voxel spectroscopy: model, fit, intervals and refusals, on spectra of known truth."""

import csv
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from MarrowAssessLib.commands import main as cli
from PDFFMapperLib.commands.spectrum import lines
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.install.resources import resource_path
from PDFFMapperLib.spectroscopy import grid, triglyceride
from PDFFMapperLib.spectroscopy.analysis import (
    FREE,
    OR_MEASURED,
    PRIOR,
    SKEWED,
    TURNED,
)
from PDFFMapperLib.spectroscopy.combine import combined
from PDFFMapperLib.spectroscopy.fit import NOISE_ALONE, WHERE_ASKED, best_choice, carried, fit
from PDFFMapperLib.spectroscopy.grid import fit_grid
from PDFFMapperLib.spectroscopy.j_coupling import (
    FRAGMENTS,
    Fragment,
    coupled_signals,
    echo,
    first_order,
    j_factors,
    j_signals,
    stimulated_echo,
)
from PDFFMapperLib.spectroscopy.model import Choice, SpectrumModel
from PDFFMapperLib.spectroscopy.nifti_mrs import write_nifti_mrs
from PDFFMapperLib.spectroscopy.plot import spectrum_svg
from PDFFMapperLib.spectroscopy.poor_shim import (
    STRONGLY,
    SURELY,
    VOLUME,
    Averaged,
    beside_baselines,
    with_baseline,
)
from PDFFMapperLib.spectroscopy.prepare import prepared
from PDFFMapperLib.spectroscopy.quality import spectrum_of, voigt_fwhm_hz
from PDFFMapperLib.spectroscopy.quantities import quantities, quantity_of
from PDFFMapperLib.spectroscopy.recipe import MRS
from PDFFMapperLib.spectroscopy.rows import NONE, PRESS, STEAM
from PDFFMapperLib.spectroscopy.simulate import Truth, simulated
from PDFFMapperLib.spectroscopy.spectrum import Spectrum
from PDFFMapperLib.spectroscopy.triglyceride import protons
from phantoms.spectra import hump, unforeseen

SCHEMA_FILE = "Schemas/spectrum.schema.json"
TE = (15.0, 20.0, 25.0, 30.0, 35.0)
BOX = np.diag([15.0, 15.0, 15.0, 1.0])


def spectra_of(series, **facts):
    """Spectra as files would give them."""
    return [
        Spectrum(
            fid[None, None], f"te{te:g}", series.dwell_s, series.frequency_mhz, float(te),
            **{"tr_ms": 6000.0, "sequence": series.sequence, "sense": 1, **facts},
        )
        for fid, te in zip(series.fids, series.te_ms, strict=True)
    ]  # fmt: skip


TRUTH = Truth()


def made(truth=TRUTH, te=(30.0,), snr=400.0, seed=0, sequence=PRESS, points=512, **how):
    return simulated(truth, te, snr, np.random.default_rng(seed), sequence, points, **how)


@pytest.fixture(scope="module")
def five():
    """An analysis of five echo times."""
    return MRS.measure(spectra_of(made(te=TE, snr=800.0, points=1024)))


# --- chemistry ----------------------------------------------------------------------------------


def test_protons_are_those_of_the_molecules():
    triolein = protons(3, 0)  # C57H104O6: 104 protons, 6 of them olefinic, 12 allylic
    chains = triglyceride.CHAIN_LENGTH
    assert triolein.sum() == pytest.approx(104 - 6 * (18 - chains))
    assert triolein[[3, 5, 9]].tolist() == [12, 0, 6]
    trilinolein = protons(6, 3)
    assert trilinolein[[3, 5, 9]].tolist() == [12, 6, 12]
    assert protons(0, 0).sum() == pytest.approx(2 + 6 * chains)


def test_unsaturation_of_known_fat():
    ndb, nmidb = 2.88, 0.70  # subcutaneous fat (Bydder 2011)
    methylene = 6 * (17.4 - 4) - 8 * ndb + 2 * nmidb
    assert triglyceride.unsaturation_index(ndb, nmidb) == pytest.approx(
        2 * ndb / (2 * ndb + methylene + 9)
    )


def echo_of(couplings, apart_hz, te_s, tm_s=None):
    """Echo of one spin coupled to others, each `apart_hz` away, by density matrices.

    PRESS (no mixing time) refocuses shifts and lets J evolve for TE. In STEAM a TE/2 lies on either
    side of the mixing time, in which gradients leave what has no order: along z, and zero quantum.
    """
    count = 1 + len(couplings)
    pauli = (np.array(m) / 2 for m in ([[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]))
    x, y, z = (
        [np.kron(np.kron(np.eye(2**n), m), np.eye(2 ** (count - 1 - n))) for n in range(count)]
        for m in pauli
    )
    j_part = sum(j * z[0] @ z[n] for n, j in enumerate(couplings, 1))
    shifts = sum(hz * z[n] for n, hz in enumerate(apart_hz, 1))

    def turned(rho, generator, angle):
        values, vectors = np.linalg.eigh(generator)
        u = (vectors * np.exp(-1j * angle * values)) @ vectors.conj().T
        return u @ rho @ u.conj().T

    def signal(rho):
        return np.trace(rho @ x[0]).real / np.trace(x[0] @ x[0]).real

    if tm_s is None:
        return signal(turned(sum(x), 2 * np.pi * j_part, te_s))
    free, whole = 2 * np.pi * (j_part + shifts), sum(z)
    order = np.rint(np.subtract.outer(np.diag(whole).real, np.diag(whole).real))
    total, phases = 0.0, 2 * np.pi * np.arange(16) / 16
    for phase in phases:
        rho = turned(turned(sum(x), free, te_s / 2), whole, phase)
        rho = np.where(order == 0, turned(rho, sum(y), -np.pi / 2), 0)
        rho = turned(turned(rho, free, tm_s), sum(y), np.pi / 2)
        total += signal(turned(turned(rho, whole, -phase), free, te_s / 2))
    return 2 * total / len(phases)  # a stimulated echo has half of the signal


def strong_echo_of(ppm, couplings, mhz, te_s, tm_s=None, te1_s=None, behind_s=0.0):
    """Echo of each spin, whatever its coupling, by products of single-spin matrices.

    PRESS without a mixing time, else STEAM, whose gradients are phases that are summed over; or
    its complex signal some time behind the echo.
    """
    count = len(ppm)
    pauli = (np.array(m) / 2 for m in ([[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]))
    x, y, z = (
        [np.kron(np.kron(np.eye(2**n), m), np.eye(2 ** (count - 1 - n))) for n in range(count)]
        for m in pauli
    )
    energy = sum((place - 4.7) * mhz * one for place, one in zip(ppm, z, strict=True))
    for (a, b), j in couplings.items():
        energy = energy + j * (x[a] @ x[b] + y[a] @ y[b] + z[a] @ z[b])
    values, vectors = np.linalg.eigh(energy)

    def free(time):
        return (vectors * np.exp(-2j * np.pi * values * time)) @ vectors.conj().T

    def seen(rho):
        if not behind_s:
            return [np.trace(rho @ one).real / np.trace(one @ one).real for one in x]
        rho = free(behind_s) @ rho @ free(behind_s).conj().T
        turning = [
            np.trace(rho @ (a + 1j * b)) / np.trace(a @ a).real for a, b in zip(x, y, strict=True)
        ]
        return turning * np.exp(-2j * np.pi * (np.array(ppm) - 4.7) * mhz * behind_s)

    if tm_s is not None:
        half, mixing, kept = free(te_s / 2), free(tm_s), 0.0
        values_y, turns_y = np.linalg.eigh(sum(y))
        pulse = (turns_y * np.exp(-0.5j * np.pi * values_y)) @ turns_y.conj().T
        for one in np.exp(2j * np.pi * np.arange(16) / 16):
            dephased = np.diag(one ** np.rint(2 * np.diag(sum(z)).real))
            for other in np.exp(2j * np.pi * np.arange(16) / 16):
                spoiled = np.diag(other ** np.rint(2 * np.diag(sum(z)).real))
                u = half @ dephased @ pulse @ spoiled @ mixing @ pulse @ dephased @ half
                kept = kept + u @ sum(x) @ u.conj().T / 256
        return seen(-2 * kept)
    pulse = np.eye(2**count)
    for one in x:
        pulse = pulse @ (2j * one)
    te1_s = te_s / 2 if te1_s is None else te1_s
    u = free((te_s - te1_s) / 2) @ pulse @ free(te_s / 2) @ pulse @ free(te1_s / 2)
    return seen(u @ sum(x) @ u.conj().T)


@pytest.mark.parametrize("te_ms", [12.0, 30.0, 60.0])
def test_j_factors_are_those_of_density_matrices(te_ms):
    mhz, te_s = 123.2, te_ms / 1000
    glycerol = {(0, 2): -11.9, (1, 3): -11.9, (0, 4): 5.9, (1, 4): 5.9, (2, 4): 4.3, (3, 4): 4.3}
    expected = strong_echo_of(triglyceride.PPM[[6, 6, 7, 7, 8]], glycerol, mhz, te_s)
    found = j_factors(PRESS, te_ms, frequency_mhz=mhz)
    assert found[[6, 6, 7, 7, 8]] == pytest.approx(expected, abs=1e-9)
    short = j_factors(PRESS, te_ms, np.nan, mhz, 8.0)
    expected = strong_echo_of(triglyceride.PPM[[6, 6, 7, 7, 8]], glycerol, mhz, te_s, None, 8e-3)
    assert short[[6, 6, 7, 7, 8]] == pytest.approx(expected, abs=1e-9)
    far = j_factors(PRESS, te_ms, frequency_mhz=1e6)  # no coupling is strong there
    alone = [4, 6, 7, 8]  # and these have no partners that are alike but for their own partners
    assert far[alone] == pytest.approx(first_order(PRESS, te_ms)[alone], abs=1e-3)
    assert np.all(j_factors(NONE, te_ms) == 1)


@pytest.mark.parametrize(("te_ms", "tm_ms"), [(11.0, 10.0), (30.0, 13.0)])
def test_j_factors_of_steam_are_those_of_density_matrices(te_ms, tm_ms):
    mhz, glycerol = 63.9, triglyceride.PPM[[6, 6, 7, 7, 8]]
    couplings = {(0, 2): -11.9, (1, 3): -11.9, (0, 4): 5.9, (1, 4): 5.9, (2, 4): 4.3, (3, 4): 4.3}
    found = j_factors(STEAM, te_ms, tm_ms, mhz)[[6, 6, 7, 7, 8]]
    expected = strong_echo_of(glycerol, couplings, mhz, te_ms / 1e3, tm_ms / 1e3)
    assert found == pytest.approx(expected, abs=1e-9)
    two = Fragment((("a", 1, 5), ("b", 1, 9)), (("a", "b", 7.0),))
    each = [stimulated_echo(two, te_ms, mhz, tm)["a"][0] for tm in np.linspace(0, 500, 400)]
    mean = stimulated_echo(two, te_ms, mhz)["a"][0]
    assert np.mean(each) == pytest.approx(mean, abs=1e-3)
    far = j_factors(STEAM, te_ms, np.nan, 1e6)  # no coupling is strong there
    assert far[[4, 6, 7, 8]] == pytest.approx(first_order(STEAM, te_ms)[[4, 6, 7, 8]], abs=0.02)
    assert j_factors(STEAM, 1e-3, tm_ms, mhz) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("tm_ms", [None, 13.0])
def test_equal_protons_as_one_spin_are_those_protons(tm_ms):
    """CH3 beside CH2, whose protons one by one have 32 states and 20 by 12 and less together."""
    groups = (("methyl", 3, 0), ("next", 2, 1))
    together = Fragment(groups, (("methyl", "next", 6.9),))
    apart = Fragment(
        tuple((f"{name}{k}", 1, peak) for name, n, peak in groups for k in range(n)),
        tuple((f"methyl{k}", f"next{m}", 6.9) for k in range(3) for m in range(2)),
    )
    how = 30.0, 123.2, tm_ms, 40, 5e-4
    for sequence in (echo, stimulated_echo):
        whole, single = sequence(together, *how), sequence(apart, *how)
        for name, *_ in groups:
            assert whole[name] == pytest.approx(single[f"{name}0"], abs=1e-12)
    if tm_ms is not None:
        return
    # Without a mixing time the mean over all; protons apart have levels of equal energy.
    times = np.random.default_rng(0).uniform(0, 5e3, 600)
    each = [stimulated_echo(apart, 30.0, 123.2, time)["methyl0"][0] for time in times]
    assert np.mean(each) == pytest.approx(
        stimulated_echo(together, 30.0, 123.2)["methyl"][0], abs=2e-3
    )


# CPU ticks of the threads that BLAS began: while couplings are computed, and, to know that they
# would be seen, while a large product is taken.
BESIDE = """
import os
from pathlib import Path
import numpy as np
own, tasks = str(os.getpid()), Path("/proc/self/task")
helpers = [one for one in tasks.iterdir() if one.name != own]

def ticks():
    return sum(sum(map(int, (one / "stat").read_text().split()[13:15])) for one in helpers)

from PDFFMapperLib.spectroscopy.j_coupling import j_signals
start = ticks()
j_signals("PRESS", 30.0, np.nan, 123.2, np.nan, 512, 5e-4)
j_signals("STEAM", 20.0, 15.0, 123.2, np.nan, 512, 5e-4)
coupled = ticks()
for _ in range(1000):
    np.ones((600, 600)) @ np.ones((600, 600))
    if ticks() - coupled > 2:
        break
print(len(helpers), coupled - start, ticks() - coupled)
"""


@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir() or len(os.sched_getaffinity(0)) < 2,
    reason="threads are counted on Linux, and BLAS begins one for each core",
)
def test_couplings_hardly_wake_threads_of_blas():
    """For products of 512 rows they spun 1 to 5 s; eigenvectors of 27 rows wake them briefly."""
    environment = os.environ | {
        "OPENBLAS_NUM_THREADS": "2",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", BESIDE], env=environment, capture_output=True, text=True, check=True
    )
    helpers, beside_couplings, beside_a_large_product = map(int, done.stdout.split())
    assert helpers == 1 and beside_a_large_product > 2
    assert beside_couplings <= 20  # .2 s


@pytest.mark.parametrize(("sequence", "tm_ms"), [(PRESS, None), (STEAM, 13.0)])
def test_multiplets_go_on_evolving_from_the_echo_on(sequence, tm_ms):
    mhz, glycerol, dwell = 123.2, triglyceride.PPM[[6, 6, 7, 7, 8]], 5e-4
    couplings = {(0, 2): -11.9, (1, 3): -11.9, (0, 4): 5.9, (1, 4): 5.9, (2, 4): 4.3, (3, 4): 4.3}
    signals = j_signals(sequence, 20.0, tm_ms or np.nan, mhz, np.nan, 64, dwell)
    at_echo = j_factors(sequence, 20.0, tm_ms or np.nan, mhz)
    assert signals[:, 0].real == pytest.approx(at_echo, abs=1e-12)
    for n in (20, 60):  # 10 and 30 ms later; transitions are sorted to .12 Hz
        tm_s = tm_ms and tm_ms / 1e3
        expected = strong_echo_of(glycerol, couplings, mhz, 20e-3, tm_s, None, n * dwell)
        assert signals[[6, 6, 7, 7, 8], n] == pytest.approx(expected, abs=0.01)
    weak = j_signals(sequence, 1e-3, 1e-3, 1e6, np.nan, 64, dwell)  # multiplets of first order
    t = np.arange(64) * dwell
    assert weak[4] == pytest.approx(np.cos(np.pi * 7.0 * t) ** 2, abs=0.03)
    assert np.all(j_signals(NONE, 20.0, np.nan, mhz, np.nan, 64, dwell) == 1)


def test_multiplets_of_fast_and_long_acquisitions_evolve_alike():
    """Bins of transitions were 3 Hz wide at 20 us, and over 16,384 points there were too few."""
    usual = j_signals(PRESS, 30.0, np.nan, 123.2, np.nan, 100, 5e-4)
    fast = j_signals(PRESS, 30.0, np.nan, 123.2, np.nan, 20_000, 2e-5)
    assert fast.shape == (10, 20_000)
    assert np.abs(fast[:, :2500:25] - usual).max() < 0.02


@pytest.mark.parametrize(("sequence", "tm_ms"), [(PRESS, None), (STEAM, 15.0)])
@pytest.mark.parametrize(
    ("stearate", "oleate", "linoleate"), [(0.0, 3.0, 0.0), (0.0, 1.5, 1.5), (1.5, 1.5, 0.0)]
)
def test_mixtures_of_known_triglycerides(stearate, oleate, linoleate, sequence, tm_ms):
    """Their spectra by density matrices; chains per triglyceride say ndb and nmidb.

    The model weighs J of methylene and olefins as in usual fat, which costs pure ones a little.
    """
    assert stearate + oleate + linoleate == 3.0
    ndb, nmidb = oleate + 2 * linoleate, linoleate
    truth = Truth(50.0, ndb, nmidb, t2_water_ms=1e9, t2_fat_ms=1e9)
    ideal = made(truth, (20.0,), 1e9, sequence=NONE)
    bare = fit(ideal, Choice())
    water, fat = bare.model.parts(bare.theta, 0)
    facts = 20.0, tm_ms, ideal.frequency_mhz, len(water), ideal.dwell_s
    left = coupled_signals(FRAGMENTS, sequence, *facts, (ndb, nmidb))
    noise = np.random.default_rng(1).normal(0, 1 / 2000, (2, len(water)))
    signal = bare.model.scale * (water + (fat * left).sum(0)) + noise[0] + 1j * noise[1]
    tm = None if tm_ms is None else np.array([tm_ms])
    found = fit(replace(ideal, fids=signal[None], sequence=sequence, tm_ms=tm), Choice())
    for key, true, off in (("fraction", 50.0, 0.2), ("ndb", ndb, 0.1), ("nmidb", nmidb, 0.04)):
        assert quantities(found.model)[key](found.theta)[0] == pytest.approx(true, abs=off)


def test_the_sign_of_a_coupling_within_one_carbon_is_seen():
    """Negative within one sp3 carbon, positive between neighbors: known of molecules."""
    glycerol = FRAGMENTS[-1]
    same_carbon = [j for a, b, j in glycerol.couplings if "CH" not in (a, b)]
    between = [j for one in FRAGMENTS[:-1] for _, _, j in one.couplings]
    assert max(same_carbon) < 0 < min(between)
    turned = replace(glycerol, couplings=tuple((a, b, abs(j)) for a, b, j in glycerol.couplings))
    found, wrong = (echo(one, 60.0, 123.2) for one in (glycerol, turned))
    assert abs(found["CH"][0].real - wrong["CH"][0].real) > 0.01


def test_first_order_is_wrong_of_a_chain():
    found = j_factors(PRESS, 30.0, frequency_mhz=123.2)
    first = first_order(PRESS, 30.0)
    assert found[triglyceride.METHYL] - first[triglyceride.METHYL] == pytest.approx(0.15, abs=0.02)
    assert found[triglyceride.METHYLENE] == pytest.approx(0.89, abs=0.01)
    assert j_factors(PRESS, 1e-3, frequency_mhz=123.2) == pytest.approx(1.0, abs=1e-6)
    for fragment in FRAGMENTS:  # what is alike at no distance keeps its magnetization together
        kept = echo(fragment, 80.0, 1e-6)
        assert sum(kept[name][0] * n for name, n, _ in fragment.groups) == pytest.approx(
            sum(n for _, n, _ in fragment.groups)
        )


@pytest.mark.parametrize(("te_ms", "tm_ms"), [(11.0, 10.0), (20.0, 16.0), (30.0, 13.0)])
def test_first_order_of_the_mixing_time_is_that_of_weak_coupling(te_ms, tm_ms):
    """Glycerol has two single partners; the part without zero quantum is off by up to .11."""
    times, mhz = (te_ms / 1e3, tm_ms / 1e3), 123.2
    found = first_order(STEAM, te_ms, tm_ms, mhz)
    ppm = triglyceride.PPM
    for peak, partners, couplings in (
        (triglyceride.DIALLYLIC, (9, 9), (7.0, 7.0)),
        (6, (7, 8), (11.9, 5.9)),
        (triglyceride.METHYL, (1, 1), (6.9, 6.9)),
    ):
        apart = [(ppm[one] - ppm[peak]) * mhz for one in partners]
        assert found[peak] == pytest.approx(echo_of(couplings, apart, *times), abs=0.025)
    assert np.abs(found - first_order(STEAM, te_ms)).max() > 0.01


def mixing_series(tr_ms):
    """STEAM of T1 1400 and 350 ms; along z it decays and recovers from its third pulse on."""
    truth, rng = Truth(t2_water_ms=1e9, t2_fat_ms=1e9), np.random.default_rng(6)
    ideal = made(truth, (20.0,), 1e9, sequence=NONE)
    best = fit(ideal, Choice())
    water, fat = best.model.parts(best.theta, 0)
    spectra = []
    for tm in (15.0, 100.0, 250.0, 500.0):
        coupled = j_signals(STEAM, 20.0, tm, ideal.frequency_mhz, np.nan, len(water), ideal.dwell_s)
        left_water, left_fat = (
            (1 - np.exp(-(tr_ms - tm - 10.0) / t1)) * np.exp(-tm / t1) for t1 in (1400.0, 350.0)
        )
        signal = water * left_water + (fat * coupled).sum(0) * left_fat
        noise = rng.normal(0, 1 / 800, (2, len(water)))
        one = replace(ideal, fids=(signal * best.model.scale + noise[0] + 1j * noise[1])[None])
        spectra += spectra_of(replace(one, sequence=STEAM), tm_ms=tm, tr_ms=tr_ms)
    return spectra, truth


def test_t1_is_fitted_to_several_mixing_times():
    """With TR for the recovery from the third pulse, T1 of water read 1000 ms and PDFF 43 %."""
    spectra, truth = mixing_series(2000.0)
    found = MRS.measure(spectra, t2_water_ms=1e9, t2_fat_ms=1e9)
    for key, true in (("t1_water", 1400.0), ("t1_fat", 350.0), ("pdff", 40.0), ("ndb", truth.ndb)):
        assert abs(found.get(key).value - true) < 4 * found.get(key).sd, key
    assert any("zero-quantum coherence of its mixing time" in note for note in found.notes)
    assert not any("Not corrected for T1" in one for one in found.cautions)
    unknown = [replace(one, tr_ms=None) for one in spectra]
    with pytest.raises(ValueError, match=r"only where the repetition time of all .* \(--tr, ms\)"):
        MRS.measure(unknown)
    three = [
        replace(one, tm_ms=None, ti_ms=ti)
        for one, ti in zip(unknown, (900, 1500, 2500), strict=False)
    ]
    with pytest.raises(ValueError, match="only where the repetition time of all"):
        MRS.measure(three)
    (one,) = spectra_of(made(sequence=STEAM), tr_ms=6000.0, tm_ms=200.0)
    cautions = MRS.measure([one]).cautions
    assert any("Not corrected for T1: the mixing time is 200 ms" in said for said in cautions)
    assert not MRS.measure([replace(one, tm_ms=10.0)]).cautions[1:]


def test_times_that_cannot_be_are_refused():
    (press,), (steam,) = spectra_of(made()), spectra_of(made(sequence=STEAM))
    for one, words in (
        (replace(press, tm_ms=200.0), "A mixing time of 200 ms was given, which STEAM alone has"),
        (replace(steam, tm_ms=-20.0), "a mixing time of -20 ms was given; 0 to 10000 ms"),
        (replace(steam, tm_ms=1e6), "a mixing time of 1e"),
        (replace(steam, tm_ms=3000.0, tr_ms=2000.0), "A repetition time of 2000 ms was given for"),
        (replace(press, tr_ms=2.0), "a repetition time of 2 ms was given"),
        (replace(press, ti_ms=0.5), "an inversion time of 0.5 ms was given; 1 ms or more is"),
        (
            replace(press, te1_ms=30.0),
            "A first echo time of 30 ms was given for an echo time of 30",
        ),
        (replace(press, te1_ms=0.0), "a first echo time of 0 ms was given; 1 to 300 ms"),
        (replace(steam, te1_ms=8.0), "A first echo time of 8 ms was given, which PRESS alone has"),
    ):
        with pytest.raises(ValueError, match=words):
            MRS.measure([one])
    assert MRS.measure([replace(press, tm_ms=0.0)]).values
    assert MRS.measure([replace(press, ti_ms=0.0)]).values
    for wrong in ([0.0, 900.0, 900.0], [float("nan")] * 3, [-900.0] * 3):
        with pytest.raises(ValueError, match="bandwidths"):
            MRS.measure([press], bandwidths_hz=wrong)


@pytest.mark.parametrize("name", ["PRESS_TI_600", "press ti600", "svs_se_IR", "PRESS-Inverted"])
def test_a_name_that_tells_an_inversion_asks_for_its_time(name):
    """600 ms after an inversion fat is upright and water is not: no fraction without the time."""
    (one,) = spectra_of(made(), sequence=name)
    with pytest.raises(ValueError, match=rf"called {name}, as if .*; state it \(--ti, ms; 0 if"):
        MRS.measure([one])
    inverted = MRS.measure([replace(one, ti_ms=2500.0)])
    assert any("Not corrected for T1: there is an inversion" in said for said in inverted.cautions)
    upright = MRS.measure([replace(one, ti_ms=0.0)])
    assert upright.get("signal_fat_fraction") and not upright.cautions


@pytest.mark.parametrize("name", ["svs_se_30", "PRESS 35 invivo", "Stir press", "PRESS_multi"])
def test_other_names_tell_no_inversion(name):
    assert MRS.measure(spectra_of(made(), sequence=name)).values


# --- model and fit ------------------------------------------------------------------------------


def numerical(of, theta, n):
    step = 1e-8 if abs(theta[n]) < 1e-3 else 1e-5 * max(abs(theta[n]), 0.1)
    up, down = theta.copy(), theta.copy()
    up[n] += step
    down[n] -= step
    return (of(up) - of(down)) / (2 * step)


@pytest.mark.parametrize("free", [False, True])
def test_derivatives_of_model_and_quantities(free):
    series = made(te=(15.0, 40.0), points=256)
    series.tr_ms, series.ti_ms = np.array([900.0, 3000.0]), np.array([np.nan, 700.0])
    series.tm_ms = np.array([20.0, np.nan])
    model = SpectrumModel(
        series,
        Choice(
            free,
            delay=True,
            methylene_width=True,
            skew=True,
            stretch=True,
            turned=True,
            t2=True,
            t1=True,
            chain_length=True,
        ),
    )
    rng = np.random.default_rng(1)
    theta = rng.uniform(0.3, 0.9, len(model.names))
    given = {
        "fat_lorentz": 40, "water_lorentz": 60, "fat_gauss": 3e3, "water_gauss": 5e3,
        "fat_shift": 4, "water_shift": -3, "delay": 1e-4, "methylene_lorentz": 9, "ndb": 2.7,
        "share": 0.3, "water_r2": 45, "fat_r2": 14, "chain_length": 17.9, "skew": 9e4,
        "stretch": 0.02,
    }  # fmt: skip
    for name, value in given.items():
        if name in model.at:
            theta[model.at[name]] = value
    _, derived = model.predict(theta)
    for n, name in enumerate(model.names):
        expected = numerical(lambda one: model.predict(one)[0], theta, n)
        assert np.abs(derived[n] - expected).max() < 1e-4 * np.abs(expected).max(), name
    for name, quantity in quantities(model).items():
        for n in range(len(theta)):
            expected = numerical(lambda one, q=quantity: q(one)[0], theta, n)
            assert quantity(theta)[1][n] == pytest.approx(expected, rel=1e-4, abs=1e-5), name


def test_fractions_are_at_the_bound_and_without_bias():
    errors = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        truth = Truth(
            rng.uniform(10, 90), rng.normal(2.9, 0.3), rng.uniform(0.5, 1.0),
            t2_water_ms=1e9, t2_fat_ms=1e9, fwhm_water_hz=rng.uniform(28, 65),
            fwhm_fat_hz=rng.uniform(20, 48), fat_shift_hz=rng.normal(0, 5),
        )  # fmt: skip
        found = fit(made(truth, snr=150.0, seed=seed, sequence=NONE), Choice())
        of = quantities(found.model)
        true = {"fraction": truth.pdff_percent, "ndb": truth.ndb}
        errors.append([(of[k](found.theta)[0] - true[k]) / found.sd(of[k]) for k in true])
    errors = np.array(errors)
    assert np.all(np.abs(errors.mean(axis=0)) < 4 / np.sqrt(len(errors)))
    assert np.all((errors.std(axis=0) > 0.6) & (errors.std(axis=0) < 1.45))


def test_the_length_of_chains_is_fitted_with_what_is_known_of_it():
    usual = fit(made(snr=1e9), Choice())
    series = usual.model.series
    model = SpectrumModel(series, Choice(chain_length=True))
    theta = carried(usual, model)
    theta[model.at["chain_length"]] = 18.2
    water, fat = model.parts(theta, 0)
    found = {}
    for snr in (20_000.0, 40.0):
        noise = np.random.default_rng(2).normal(0, 1 / snr, (2, len(water)))
        signal = model.scale * (water + fat.sum(0)) + noise[0] + 1j * noise[1]
        one = spectra_of(replace(series, fids=signal[None]))
        found[snr] = MRS.measure(one, chain_length=True)
        assert MRS.measure(one).get("chain_length") is None
    length = found[20_000.0].get("chain_length")
    assert length.value == pytest.approx(18.2, abs=0.1) and length.sd < 0.25
    assert found[20_000.0].get("ndb").value == pytest.approx(2.9, abs=0.05)
    assert protons(0, 0, 18.4)[1] - protons(0, 0)[1] == pytest.approx(6.0)
    fitted = found[40.0].fitted
    place = fitted.model.at["chain_length"]
    assert fitted.theta[place] == pytest.approx(17.4, abs=0.3)
    assert np.sqrt(fitted.covariance[place, place]) == pytest.approx(0.3, rel=0.1)


def test_a_series_gives_pdff_t2_and_composition(five):
    truth = Truth()
    polyunsaturated, olefinic = 100 * truth.nmidb / 3, 2 * truth.ndb
    methylene = 6 * (17.4 - 4) - 8 * truth.ndb + 2 * truth.nmidb
    expected = {
        "pdff": truth.pdff_percent, "t2_water": truth.t2_water_ms, "t2_fat": truth.t2_fat_ms,
        "ndb": truth.ndb, "nmidb": truth.nmidb, "fpufa": polyunsaturated,
        "unsaturation": 100 * triglyceride.unsaturation_index(truth.ndb, truth.nmidb),
        "olefinic_share": 100 * olefinic / (2 + 6 * 17.4 - 2 * truth.ndb),
        "olefinic_methylene": 100 * olefinic / methylene,
        "fsfa": 100 * (1 - (truth.ndb - truth.nmidb) / 3),
        "fmufa": 100 * (truth.ndb - 2 * truth.nmidb) / 3,
    }  # fmt: skip
    for key, true in expected.items():
        value = five.get(key)
        assert abs(value.value - true) < 4 * value.sd, key
        low, high = value.ci95
        assert high - low == pytest.approx(2 * 1.96 * value.sd, rel=0.15), key
    assert five.get("pdff").sd < 0.2
    assert five.get("t2_water").sd < 0.1
    assert five.get("pdff", FREE).sd > five.get("pdff").sd
    assert min(five.determined) > 0.9
    assert five.quality.fwhm_water_hz == pytest.approx(45, abs=2)
    assert five.quality.snr == pytest.approx(470, rel=0.1)


def test_areas_of_peaks_add_up(five):
    assert sum(peak.area for peak in five.peaks) == pytest.approx(100)
    assert sum(peak.free_area for peak in five.peaks) == pytest.approx(100)
    fraction, _ = quantities(five.fitted.model)["fraction"](five.fitted.theta)
    assert five.peaks[0].area == pytest.approx(100 - fraction)  # of the likeliest fit


def test_each_echo_tells_what_it_shows_uncorrected(five):
    """Areas by hand: water 60 and fat 40 with their T2, fat's peaks by J."""
    molecule = protons(TRUTH.ndb, TRUTH.nmidb)
    assert [echo.te_ms for echo in five.echoes] == list(TE)
    for te, echo_ in zip(TE, five.echoes, strict=True):
        kept = j_factors(PRESS, te, frequency_mhz=123.2) @ molecule / molecule.sum()
        fat, water = 40 * kept * np.exp(-te / 70), 60 * np.exp(-te / 21)
        assert echo_.fat_content == pytest.approx(100 * fat / (fat + water), abs=0.5)
        assert echo_.lipid_water_ratio == pytest.approx(fat / water, rel=0.03)


def shown(te, pdff, water_left=1.0, fat_left=1.0):
    """Fat content by hand: PDFF with T2 of water 21 and of fat 70 ms, J, and what T1 leaves."""
    molecule = protons(TRUTH.ndb, TRUTH.nmidb)
    kept = j_factors(PRESS, te, frequency_mhz=123.2) @ molecule / molecule.sum()
    fat = pdff * kept * np.exp(-te / 70) * abs(fat_left)
    return 100 * fat / (fat + (100 - pdff) * np.exp(-te / 21) * abs(water_left))


def test_an_echo_that_departs_from_the_others_is_shown_as_it_is():
    series = made(te=TE, snr=800.0)
    series.fids[2] = made(replace(TRUTH, pdff_percent=43.0), TE[2:3], 800.0, 9).fids[0]
    found = [one.fat_content for one in MRS.measure(spectra_of(series)).echoes]
    expected = [shown(te, 43.0 if te == TE[2] else 40.0) for te in TE]
    assert found == pytest.approx(expected, abs=0.5)


def test_after_an_inversion_fat_content_is_that_of_areas_without_sign():
    times, parts = (80.0, 350.0, 650.0, 1200.0, 3500.0), []
    for pdff in (0.0, 100.0):
        parts.append(made(replace(TRUTH, pdff_percent=pdff), (20.0,), 1e9).fids[0])
    (one,) = spectra_of(made(te=(20.0,)))
    spectra, expected = [], []
    for n, ti in enumerate(times):
        left = [1 - 2 * np.exp(-ti / t1) + np.exp(-7000 / t1) for t1 in (1300.0, 380.0)]
        noise = np.random.default_rng(n).normal(0, 1e-3, (2, 512))
        fid = 0.6 * left[0] * parts[0] + 0.4 * left[1] * parts[1] + noise[0] + 1j * noise[1]
        spectra.append(replace(one, fids=fid[None, None], ti_ms=ti, tr_ms=7000.0))
        expected.append(left)
    found = MRS.measure(spectra).echoes
    assert all(0 <= one.fat_content <= 100 and np.isfinite(one.lipid_water_ratio) for one in found)
    ratios = np.array([one.lipid_water_ratio for one in found])
    by_t1 = np.array([abs(fat / water) for water, fat in expected])
    assert ratios / ratios[-1] == pytest.approx(by_t1 / by_t1[-1], rel=0.05, abs=0.02)


def test_the_picture_is_drawn_for_each_echo_time(five):
    picture = ElementTree.fromstring(spectrum_svg(five.fitted, "L3 & <more>"))
    lines = [one for one in picture if one.tag.endswith("polyline")]
    assert len(lines) == 5 * len(TE)
    assert picture.get("aria-label") == "L3 & <more>"


def test_profile_interval_ends_where_the_likelihood_says():
    series = made(Truth(ndb=2.5, nmidb=0.1), snr=300.0, seed=3)
    found = MRS.measure(spectra_of(series))
    low, high = found.get("nmidb").ci95
    assert low == 0 or found.get("nmidb").value > 0.2  # it stops at what is possible
    assert high > found.get("nmidb").value


def test_width_of_voigt_lines():
    assert voigt_fwhm_hz(np.pi * 30, 0) == pytest.approx(30, rel=1e-3)
    assert voigt_fwhm_hz(0, (2 * np.pi * 40 / 2.3548) ** 2) == pytest.approx(40)


def test_what_the_j_factors_rest_on_is_said():
    told = {
        sequence: " ".join(MRS.measure(spectra_of(made(sequence=sequence))).notes)
        for sequence in (PRESS, STEAM)
    }
    assert "Hz of glycerol are not confirmed by a source" in told[PRESS]
    assert "mixing time of STEAM is not known" in told[STEAM]
    assert "mixing time" not in told[PRESS]


def test_a_first_echo_time_that_is_stated_is_taken():
    series = made(snr=2000.0)
    short = replace(series, te1_ms=np.array([8.0]))
    ours, theirs = (SpectrumModel(one, Choice()).j[0] for one in (series, short))
    assert 0.01 < np.abs(ours - theirs).max() < 0.3
    (one,) = spectra_of(series)
    plain, stated = MRS.measure([one]), MRS.measure([replace(one, te1_ms=8.0)])
    assert plain.get("ndb").value != pytest.approx(stated.get("ndb").value, abs=0.01)
    assert any("state the first echo time" in said for said in plain.notes)
    assert any("with the first echo time as stated: 8 ms." in said for said in stated.notes)
    equal = MRS.measure([replace(one, te1_ms=15.0)])
    assert equal.get("ndb").value == pytest.approx(plain.get("ndb").value, abs=1e-6)


def test_j_coupling_would_hide_double_bonds():
    series = made(snr=2000.0)
    corrected = MRS.measure(spectra_of(series)).get("ndb").value
    plain = MRS.measure(spectra_of(series), sequence=NONE)
    assert corrected == pytest.approx(2.9, abs=0.1)
    assert plain.get("ndb").value < 2.5
    assert any("Not corrected for J coupling" in one for one in plain.cautions)


def test_t1_is_corrected_where_stated():
    series = made(Truth(t2_water_ms=1e9, t2_fat_ms=1e9), snr=2000.0)
    spectra = spectra_of(series)
    times = {"t2_water_ms": 1e9, "t2_fat_ms": 1e9}
    plain = MRS.measure(spectra, **times).get("pdff").value
    times |= {"t1_water_ms": 2000.0, "t1_fat_ms": 400.0}
    found = MRS.measure([replace(one, tr_ms=2000.0) for one in spectra], **times).get("pdff").value
    water, fat = 60 / (1 - np.exp(-1)), 40 / (1 - np.exp(-5))
    assert plain == pytest.approx(40, abs=0.3)
    assert found == pytest.approx(100 * fat / (fat + water), abs=0.3)
    with pytest.raises(ValueError, match="the repetition time is not known"):
        MRS.measure([replace(one, tr_ms=None) for one in spectra], **times)


def test_t1_is_fitted_to_several_repetition_times():
    truth, rng = Truth(t2_water_ms=1e9, t2_fat_ms=1e9), np.random.default_rng(5)
    spectra = []
    for tr in (600.0, 1200.0, 2500.0, 6000.0):
        one = made(truth, snr=1e6, seed=7)
        model = SpectrumModel(one, Choice())
        best = fit(one, Choice())
        water, fat = model.parts(best.theta, 0)
        saturated = water * (1 - np.exp(-tr / 1100)) + fat.sum(0) * (1 - np.exp(-tr / 350))
        noise = rng.normal(0, 1 / 800, (2, len(water)))
        one.fids[0] = saturated * model.scale + noise[0] + 1j * noise[1]
        spectra += [replace(x, tr_ms=tr) for x in spectra_of(one)]
    found = MRS.measure(spectra)
    for key, true in (("t1_water", 1100.0), ("t1_fat", 350.0)):
        assert abs(found.get(key).value - true) < 5 * found.get(key).sd, key
    with pytest.raises(ValueError, match=r"two repetition times \(600 and 2500 ms\) were given"):
        MRS.measure(spectra[::2][:2])
    stated = {"t1_water_ms": 1100.0, "t1_fat_ms": 350.0}
    assert MRS.measure(spectra[::2][:2], **stated).get("signal_fat_fraction")


def test_times_count_as_several_where_t1_weights_differ():
    (one,), (steam,) = (spectra_of(made(sequence=name, points=256)) for name in (PRESS, STEAM))

    def of(*times, key="tr_ms"):
        base = steam if key == "tm_ms" else replace(one, tr_ms=2000.0)
        return [replace(base, **{key: time}) for time in times]

    for alike in (
        of(2000.0, 2060.0), of(2000.0, 2001.0, 2002.0), of(5500.0, 9000.0), of(5500.0, 7000.0, 9e3),
        of(15.0, 45.0, key="tm_ms"), of(300.0, 301.0, key="ti_ms"),
    ):  # fmt: skip
        assert MRS.measure(alike).get("signal_fat_fraction")
    for unlike, words in (
        (of(1800.0, 5500.0), "two repetition times (1800 and 5500 ms) were given"),
        (of(700.0, 3000.0, 3001.0), "two repetition times (700 and 3000 ms) were given"),
        (of(900.0, None, key="ti_ms"), "two inversion times (900 ms and none) were given"),
        (of(20.0, 120.0, key="tm_ms"), "two mixing times (20 and 120 ms) were given"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            MRS.measure(unlike)


# --- poor shims ---------------------------------------------------------------------------------


def test_a_baseline_is_left_free_and_its_cost_told():
    """A hump of 5 % of all signal, as wide as the fat: it would count as fat."""
    truth = Truth(pdff_percent=30.0, t2_water_ms=1e9, t2_fat_ms=1e9)
    (spectrum,) = spectra_of(
        unforeseen("baseline", truth, [30.0], 1000.0, np.random.default_rng(1))
    )
    found = MRS.measure([spectrum], baseline=True)
    plain = fit(found.fitted.model.series, Choice())
    better, of = found.get("signal_fat_fraction"), quantities(plain.model)["fraction"]
    assert of(plain.theta)[0] - 1.96 * plain.sd(of) > 30.0 + 0.5
    assert better.ci95[0] < 30.0 < better.ci95[1] and better.sd > plain.sd(of)
    (note,) = [one for one in found.notes if "smooth baselines, over" in one]
    assert re.search(r"takes \d+ numbers .*SD of the fat fraction is .* without", note)


def test_a_baseline_takes_what_is_over_and_nothing_else():
    series = made()
    model = SpectrumModel(series, Choice(baseline_ms=1.0, baseline_sds=100.0))
    early, late = np.zeros((2, 512), complex)
    early[1], late[40] = 1.0, 1.0
    assert np.linalg.norm(model.in_window(early)) < 0.1
    assert np.linalg.norm(model.in_window(late)) > 0.7  # over half of all bins are in the window
    assert 0 < model.freedom < model.baseline.shape[1] and model.log_volume > 0
    assert SpectrumModel(series, Choice()).log_volume == 0


def test_all_answers_are_averaged_over_baselines():
    """Each holds how far the models differ; more freedom makes no interval narrower."""
    truth = Truth(pdff_percent=35.0, t2_water_ms=1e9, t2_fat_ms=1e9)
    humped = unforeseen("baseline", truth, [30.0], 400.0, np.random.default_rng(11))
    found = MRS.measure(spectra_of(humped), baseline=True)
    series = found.fitted.model.series
    averaged = with_baseline(best_choice(series, Choice()))
    choices = [replace(one.model.choice, free=True) for one in averaged.fits]
    frees = Averaged(tuple(fit(series, one) for one in choices), averaged.weights)
    constrained, free = (found.get("signal_fat_fraction", x) for x in ("constrained", FREE))
    assert free.sd > 0.95 * constrained.sd
    mean, sd = frees.value(quantity_of("fraction"))
    assert free.value == pytest.approx(mean, abs=2e-3) and free.sd == pytest.approx(sd, rel=0.01)
    for answer in ("constrained", FREE, PRIOR):
        value = found.get("signal_fat_fraction", answer)
        assert abs(value.value - 35.0) < 3 * value.sd


def test_fits_with_several_baselines_are_averaged():
    spectra = spectra_of(made())
    plain = MRS.measure(spectra).get("signal_fat_fraction")
    clean = MRS.measure(spectra, baseline=True)
    found = clean.get("signal_fat_fraction")
    assert plain.sd < found.sd < 2 * plain.sd
    low, high = found.ci95
    water, fat = 60 * np.exp(-30 / 21), 40 * np.exp(-30 / 70)
    assert low < 100 * fat / (fat + water) < high
    best = clean.fitted
    moved = replace(best, theta=best.theta.copy())
    moved.theta[best.model.at["water"]] *= 1.1
    mean, sd = Averaged((best, moved), np.array([0.5, 0.5])).value(quantity_of("fraction"))
    of = quantities(best.model)["fraction"]
    ends = of(best.theta)[0], of(moved.theta)[0]
    assert mean == pytest.approx(np.mean(ends))
    within = (best.sd(of) ** 2 + moved.sd(of) ** 2) / 2
    assert sd == pytest.approx(np.sqrt(within + np.var(ends)))


def test_lines_of_a_poor_shim_share_the_shape_of_the_lipids():
    truth = Truth(pdff_percent=50.0, t2_water_ms=1e9, t2_fat_ms=1e9, fwhm_fat_hz=20.0)
    (spectrum,) = spectra_of(
        unforeseen("asymmetric", truth, [30.0], 1000.0, np.random.default_rng(2))
    )
    found = MRS.measure([spectrum], line_shape=True)
    plain = best_choice(found.fitted.model.series, Choice())
    assert plain.ratio > 1.5
    again = fit(found.fitted.model.series, found.fitted.model.choice, found.fitted.theta)
    assert again.ratio < 0.75 * plain.ratio
    assert found.fitted.ratio == plain.ratio  # intervals stay wide
    assert found.get("signal_fat_fraction").value == pytest.approx(50.0, abs=0.6)
    assert any("deconvolved from the lipids" in one for one in found.notes)
    both = MRS.measure([spectrum], line_shape=True, baseline=True)
    assert both.fitted.ratio >= plain.ratio
    for one in (found, both):  # the free answer's, too
        answers = [one.get("signal_fat_fraction", answer).sd for answer in ("constrained", "free")]
        assert answers[1] > 0.8 * answers[0]
    ideal = MRS.measure(spectra_of(made()), line_shape=True)
    assert "The data ask for no line shape beside Voigt's." in ideal.notes


def test_asymmetric_lines_are_fitted_where_that_leaves_noise_alone():
    """A field that is distributed as gamma, whose third cumulant is 2 x shape x scale^3."""
    truth = Truth(pdff_percent=50.0, t2_water_ms=1e9, t2_fat_ms=1e9)
    clean, rng = made(truth, snr=1e9, sequence=NONE), np.random.default_rng(5)
    noise = rng.normal(0, 1e-3, (*clean.fids.shape, 2)).view(complex)[..., 0]
    shape, scale = 16, 2 * np.pi * 2.5
    t = np.arange(clean.fids.shape[1]) * clean.dwell_s
    field = (1 - 1j * scale * t) ** -float(shape) * np.exp(-1j * shape * scale * t)  # of mean 0
    ideal = replace(clean, fids=clean.fids + noise)
    skewed = replace(clean, fids=clean.fids * field + noise)
    assert not best_choice(ideal, Choice()).model.choice.skew
    found = best_choice(skewed, Choice())
    assert found.ratio <= NOISE_ALONE
    assert found.model.value(found.theta, "skew") == pytest.approx(2 * shape * scale**3, rel=0.15)
    for key, true in {"fraction": 50.0, "ndb": truth.ndb, "nmidb": truth.nmidb}.items():
        of = quantities(found.model)[key]
        assert abs(of(found.theta)[0] - true) < 3 * found.sd(of), key
    for series, words in ((skewed, [SKEWED]), (ideal, [])):
        notes = MRS.measure(spectra_of(series)).notes
        assert [one for one in notes if one.startswith("Lines are asymmetric")] == words
    narrow = replace(truth, fwhm_fat_hz=20.0)
    halved = unforeseen("asymmetric", narrow, [30.0], 1000.0, np.random.default_rng(2))
    best = best_choice(halved, Choice())  # another shape than the model's
    assert best.ratio > NOISE_ALONE and not best.model.choice.skew


@pytest.mark.parametrize(("amount", "decay_s"), [(2.0, 0.01), (-0.8, 0.006)])
def test_phases_that_eddy_currents_turn_are_fitted_where_that_leaves_noise_alone(amount, decay_s):
    truth = Truth(pdff_percent=50.0, t2_water_ms=1e9, t2_fat_ms=1e9)
    clean, rng = made(truth, snr=1e9, sequence=NONE), np.random.default_rng(5)
    noise = rng.normal(0, 1 / 400, (*clean.fids.shape, 2)).view(complex)[..., 0]
    t = np.arange(clean.fids.shape[1]) * clean.dwell_s
    series = replace(clean, fids=clean.fids * np.exp(1j * amount * np.exp(-t / decay_s)) + noise)
    plain, found = fit(series, Choice()), best_choice(series, Choice())
    assert plain.ratio > found.ratio + 0.02 and found.ratio < NOISE_ALONE
    assert found.model.choice.turned and not found.model.choice.delay
    moved = found.model.turned_by(found.theta) - amount * (np.exp(-t / decay_s) - 1)
    early = t < 0.02  # but for what is linear in time, a line's frequency
    assert np.std(moved[early] - np.polyval(np.polyfit(t[early], moved[early], 1), t[early])) < 0.1
    for key, true in {"fraction": 50.0, "ndb": truth.ndb, "nmidb": truth.nmidb}.items():
        of = quantities(found.model)[key]
        assert abs(of(found.theta)[0] - true) < 2.5 * found.sd(of), key
    alone = spectra_of(made(Truth(pdff_percent=0.0), snr=2000.0))[0]
    for given, words in ((None, OR_MEASURED), (alone, "")):
        notes = MRS.measure(spectra_of(series), water_reference=given).notes
        assert TURNED.format(words) in notes


# --- averages, coils, axis ----------------------------------------------------------------------


@pytest.mark.parametrize("coils", [1, 3])
@pytest.mark.parametrize("quarters", [(0, 0, 0, 0), (0, 1, 2, 3), (2, 0, 2, 0)])
def test_a_phase_cycle_is_averages(coils, quarters):
    """As scanners keep one, in the phases that their pulses had; its plain mean would be none."""
    clean, rng = made(snr=1e9).fids[0], np.random.default_rng(3)
    drift = 0.05 * np.arange(4)  # rad, which alignment takes
    turns = np.exp(1j * (drift + np.pi / 2 * np.array(quarters)))[:, None, None]
    weights = np.array([1.0, 0.6j, -0.3])[:coils, None]
    noise = rng.normal(0, 1 / 2000, (4, coils, len(clean), 2)).view(complex)[..., 0]
    one, notes = combined(turns * weights * clean + noise, 5e-4)
    assert abs(np.vdot(one, clean)) / np.linalg.norm(one) / np.linalg.norm(clean) > 0.999
    said = [x for x in notes if "as in a phase cycle or by drift, and were turned" in x]
    count = sum(one != quarters[0] for one in quarters)
    assert [x.split(" averages")[0] for x in said] == [f"{count} of 4"] * bool(count)


def test_averages_are_not_turned_by_noise_or_a_spike():
    """Phases of single averages in many coils may be noise, as is what others have of a spike."""
    clean, rng = made(snr=1e9).fids[0], np.random.default_rng(3)
    clean /= np.abs(clean[0])
    noise = rng.normal(0, 3.3, (64, 32, len(clean), 2)).view(complex)[..., 0]
    one, notes = combined(clean + noise, 5e-4)
    assert abs(np.vdot(one, clean)) / np.linalg.norm(one) / np.linalg.norm(clean) > 0.4
    assert not any("phase cycle" in x for x in notes)
    spiky = clean + rng.normal(0, 0.05, (16, 1, len(clean), 2)).view(complex)[..., 0]
    spiky[5, 0, 100:103] += 500
    _, notes = combined(spiky, 5e-4)
    assert [x.split(":")[0] for x in notes] == ["1 of 16 averages were left out"]


def test_coils_and_averages_are_combined_and_corrupted_ones_left_out():
    series = made(snr=60.0)
    clean = made(snr=1e9).fids[0]
    rng = np.random.default_rng(2)
    weights = np.array([1.0, 0.6j, -0.2])
    fids = np.empty((12, 3, clean.size), complex)
    t = np.arange(clean.size) * series.dwell_s
    for average in range(12):
        moved = clean * np.exp(1j * (rng.normal(0, 0.2) + 2 * np.pi * rng.normal(0, 1.5) * t))
        noise = rng.normal(0, 0.02, (2, 3, clean.size))
        fids[average] = weights[:, None] * moved + noise[0] + 1j * noise[1]
    fids[7] *= 0.2
    signal, notes = combined(fids, series.dwell_s)
    assert any("1 of 12 averages were left out" in note for note in notes)
    assert any("3 coils were combined" in note for note in notes)
    signal, clean = signal[:100], clean[:100]  # later there is noise
    together = abs(np.vdot(signal, clean)) / np.linalg.norm(signal) / np.linalg.norm(clean)
    assert together > 0.995


@pytest.mark.parametrize("moved", [False, True])
def test_halves_of_averages_are_compared(moved):
    fids = [made(snr=100.0, seed=seed).fids for seed in range(8)]
    if moved:
        other = Truth(pdff_percent=50.0)
        fids[4:] = [made(other, snr=100.0, seed=seed).fids for seed in range(4, 8)]
    (one,) = spectra_of(made())
    found = MRS.measure([replace(one, fids=np.array(fids))])
    (said,) = [x for x in found.notes + found.cautions if "halves of the averages" in x]
    assert (said in found.cautions) == moved and ("moved or drifted" in said) == moved
    first, second = map(float, re.findall(r"(\d+\.\d) ", said)[:2])
    assert first == pytest.approx(64.4, abs=2.0)
    assert second == pytest.approx(73.1 if moved else 64.4, abs=2.0)


def noisy_averages(snr, seed, count=4, phases=0.0):
    """Averages of one spectrum whose phases differ by up to `phases`, of 512 points."""
    (one,), clean = spectra_of(made()), made(snr=1e9).fids[0]
    rng = np.random.default_rng(seed)
    turns = np.exp(1j * rng.uniform(-phases, phases, count))[:, None]
    noise = rng.normal(0, 1 / snr, (2, count, 512))
    return replace(one, fids=(turns * clean + noise[0] + 1j * noise[1])[:, None])


@pytest.mark.parametrize("seed", range(6))
def test_halves_of_averages_of_any_phase_are_compared(seed):
    found = MRS.measure([noisy_averages(30.0, seed, phases=np.pi)])
    (said,) = [x for x in found.notes + found.cautions if "halves of the averages" in x]
    for half in re.findall(r"(\d+\.\d) ", said)[:2]:
        assert float(half) == pytest.approx(64.4, abs=12.0)


@pytest.mark.parametrize("turned", [False, True])
def test_halves_lie_on_the_axis_of_all_averages(turned):
    """At this noise the axis of one half of these cannot be told by itself."""
    for seed in (2, 5)[turned:]:
        one = noisy_averages(15.0, seed)
        fids = one.fids.conj() if turned else one.fids
        found = MRS.measure([replace(one, fids=fids, sense=None)])
        assert any("halves of the averages" in one for one in found.notes)  # as noise explains


def test_a_scan_that_stopped_is_said():
    one = noisy_averages(40.0, 1)
    one.fids[2:] = 0
    found = MRS.measure([one])
    assert any("Half of the averages hold no signal" in said for said in found.cautions)


def test_a_fat_fraction_of_nothing_is_a_number():
    model = SpectrumModel(made(), Choice())
    value, slope = quantities(model)["fraction"](np.zeros(len(model.names)))
    assert value == 0 and np.all(np.isfinite(slope))


def test_shares_of_chains_that_cannot_be_are_refused():
    """Of 5 double bonds and .3 between two, chains with two at most would be 147 % with one."""
    found = MRS.measure(spectra_of(made(replace(TRUTH, ndb=5.0, nmidb=0.3, pdff_percent=90.0))))
    assert re.match("-5. % is none of chains with two double bonds at most", found.refused["fsfa"])
    assert "fmufa" in found.refused and found.get("fpufa")
    near = MRS.measure(spectra_of(made(replace(TRUTH, ndb=3.4, nmidb=0.3, pdff_percent=90.0))))
    for one in near.values:
        assert one.ci95[0] <= one.value <= one.ci95[1]
    assert near.get("fsfa").value == 0


def test_eddy_currents_are_taken_from_a_water_reference():
    series = made(snr=2000.0)
    t = np.arange(512) * series.dwell_s
    eddy = np.exp(2j * np.exp(-t / 0.01))
    water = 40 * np.exp((2j * np.pi * 20 - 90) * t) * eddy
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 0.05, (2, 512))
    (reference,) = spectra_of(replace(series, fids=(water + noise[0] + 1j * noise[1])[None]))
    turned = spectra_of(replace(series, fids=series.fids * eddy))
    plain, found = MRS.measure(turned), MRS.measure(turned, water_reference=reference)
    ideal = MRS.measure(spectra_of(series)).get("signal_fat_fraction")
    assert plain.fitted.model.choice.turned and not found.fitted.model.choice.turned
    assert plain.fitted.ratio < 1.1 and found.fitted.ratio < 1.1
    for one in (plain, found):
        told = one.get("signal_fat_fraction")
        assert told.value == pytest.approx(ideal.value, abs=2 * ideal.sd)
    assert any("that eddy currents add were taken from" in one for one in found.notes)
    pairs = [replace(turned[0], fids=np.repeat(turned[0].fids, 4, axis=0))]
    assert MRS.measure(pairs, water_reference=reference).fitted.ratio < 1.1
    conjugate = replace(
        reference, sense=-1, fids=reference.fids.conj()
    )  # as other formats store it
    assert MRS.measure(turned, water_reference=conjugate).fitted.ratio < 1.1
    lost = np.where(np.arange(512) == 9, np.nan, reference.fids)
    for other, sentence in (
        (replace(reference, sense=None), "te30 one file alone tells which way frequencies run"),
        (replace(reference, fids=lost), "its signal holds NaN"),
        (replace(reference, nucleus="31P"), "this is a spectrum of 31P"),
        (replace(reference, dwell_s=4e-4), "the water reference has another dwell time than te30"),
        (replace(reference, fids=noise[:1, None] + 0j), "little more than noise"),
        (turned[0], r"holds another peak, 3.\d ppm from its highest and \d+ % of it"),
    ):
        with pytest.raises(ValueError, match=sentence):
            MRS.measure(turned, water_reference=other)


def test_a_water_reference_may_be_a_file(tmp_path):
    series = made(snr=2000.0)
    alone = made(Truth(pdff_percent=0.0), snr=2000.0)
    spectra = [replace(spectra_of(series)[0], fids=series.fids[None].conj(), sense=-1)]
    path = tmp_path / "water.nii"
    write_nifti_mrs(path, replace(alone, tr_ms=np.array([6000.0])), BOX, PRESS)
    for given in (path, str(path)):
        found = MRS.measure(spectra, water_reference=given)
        assert any("that eddy currents add were taken from" in one for one in found.notes)
    with pytest.raises(FileNotFoundError, match="none"):
        MRS.measure(spectra, water_reference=str(tmp_path / "none.nii"))
    with pytest.raises(ValueError, match="water_reference is a spectrum or its file, not 5"):
        MRS.measure(spectra, water_reference=5)
    with pytest.raises(ValueError, match=r"bone takes an image .* 'bone.nii.gz' was given"):
        MRS.measure(spectra, bone="bone.nii.gz")


@pytest.mark.parametrize("sense", [1, -1])
@pytest.mark.parametrize("shift_ppm", [-1.0, 0.0, 1.0])
def test_the_axis_is_found_whatever_its_sense_and_shift(sense, shift_ppm):
    series = made(snr=400.0)
    t = np.arange(512) * series.dwell_s
    fid = series.fids[0] * np.exp(2j * np.pi * shift_ppm * series.frequency_mhz * t)
    (one,) = spectra_of(series, sense=None)
    found = MRS.measure([replace(one, fids=(fid if sense > 0 else fid.conj())[None, None])])
    assert found.get("signal_fat_fraction").value == pytest.approx(64.4, abs=1.0)
    assert any("found from the data" in note for note in found.notes)


def test_a_turned_axis_is_said():
    (one,) = spectra_of(made(), sense=-1)
    assert any("it was turned" in note for note in MRS.measure([one]).notes)


# --- refusals -----------------------------------------------------------------------------------


def fewer(one, **changes):
    return [replace(one, **changes)]


def changed(one, change):
    fids = one.fids.copy()
    change(fids)
    return [replace(one, fids=fids)]


def clip(fids):
    fids.real[:] = np.clip(fids.real, -0.1, 0.1)


REFUSED = {
    "this is a spectrum of 31P; one of 1H is expected": lambda one: fewer(one, nucleus="31P"),
    r"te30 does not say .*--dwell-time": lambda one: fewer(one, dwell_s=None),
    r"te30 does not say .*--frequency": lambda one: fewer(one, frequency_mhz=None),
    r"te30 does not say the echo time \(--te, ms\); state it": lambda one: fewer(one, te_ms=None),
    "whether it is PRESS or STEAM": lambda one: fewer(one, sequence="svs"),
    "an echo time of 2 ms": lambda one: fewer(one, te_ms=2.0),
    "an echo time of 400 ms": lambda one: fewer(one, te_ms=400.0),
    "a dwell time of 0.5 s": lambda one: fewer(one, dwell_s=0.5),
    "a frequency of 123200": lambda one: fewer(one, frequency_mhz=123200.0),
    "NaN or infinite": lambda one: changed(one, lambda x: x.fill(np.nan)),
    "its signal is zero": lambda one: changed(one, lambda x: x.fill(0)),
    "the signal is clipped": lambda one: changed(one, clip),
    "its signal has no imaginary part, so": lambda one: fewer(one, fids=1j * np.abs(one.fids)),
    "its spectrum holds magnitudes or real parts alone": lambda one: fewer(
        one, fids=np.fft.ifft(np.fft.fft(one.fids).real)
    ),
    "32 points; 64 or more are expected": lambda one: fewer(one, fids=one.fids[..., :32]),
    "a series shares one": lambda one: [one, replace(one, dwell_s=4e-4)],
    "MHz; a series shares one": lambda one: [one, replace(one, frequency_mhz=63.0)],
    "te30 is of a voxel 30 mm from that of te30; a series is of one voxel": lambda one: [
        replace(one, voxel_ras=BOX),
        replace(one, voxel_ras=BOX + [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 30], [0, 0, 0, 0]]),
    ],
    "te30 holds the same signals as te30; give each spectrum once": lambda one: [one, one],
    "of different sequences": lambda one: [one, replace(one, sequence="STEAM")],
    "which leaves out peaks": lambda one: fewer(one, dwell_s=2e-3, frequency_mhz=123.2),
    "no spectra were given": lambda one: [],
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_be_fitted_is_refused_in_one_sentence(sentence):
    (one,) = spectra_of(made())
    with pytest.raises(ValueError, match=sentence):
        MRS.measure(REFUSED[sentence](one))


@pytest.mark.parametrize("sense", [1, -1])
@pytest.mark.parametrize("points", [1, 2, 3])
def test_the_axis_of_a_late_first_point_is_told(points, sense):
    """Water and fat have turned apart by then; patterns of one phase fit both senses alike."""
    one = made(seed=points)
    fids = one.fids[:, points:] if sense > 0 else one.fids[:, points:].conj()
    (late,) = spectra_of(replace(one, fids=fids), sense=None)
    assert 4e-4 < points * one.dwell_s < 1.6e-3
    notes = prepared([late], "none").notes
    way = "faster" if sense > 0 else "slower"
    assert any(f"turn {way}, found from the data" in note for note in notes)


def test_an_unknown_axis_is_refused():
    water = Truth(pdff_percent=0.0)
    with pytest.raises(ValueError, match="cannot be told whether fat lies above or below"):
        MRS.measure(spectra_of(made(water), sense=None))
    series = made(Truth(pdff_percent=60.0))
    t = np.arange(512) * series.dwell_s
    far = replace(series, fids=series.fids * np.exp(-2j * np.pi * 2.2 * 123.2 * t))
    with pytest.raises(ValueError, match=r"methylene lies 2.2 ppm from where it should be"):
        MRS.measure(spectra_of(far))
    assert MRS.measure(spectra_of(far), center_ppm=6.85).get("ndb")
    with pytest.raises(ValueError, match="fat and water lie otherwise"):
        MRS.measure(spectra_of(series), sense=-1)


def test_a_center_that_mirrors_fat_and_water_is_refused():
    """On 1.3 ppm water would be methylene, and methylene water."""
    series = made(snr=300.0)
    (one,) = spectra_of(series, sense=1)
    sentence = r"stands on 1.30 ppm, fat lies on the other side .*; on 4.6\d ppm it would not. Say"
    with pytest.raises(ValueError, match=sentence):
        MRS.measure([one], center_ppm=1.3)
    t = np.arange(512) * series.dwell_s
    on_fat = series.fids * np.exp(2j * np.pi * (4.67 - 1.3) * 123.2 * t)
    found = MRS.measure([replace(one, fids=on_fat[None])], center_ppm=1.3)
    assert found.get("signal_fat_fraction").value == pytest.approx(64.4, abs=1.5)


def test_a_center_on_which_fat_and_water_fit_worse_is_refused():
    """Much fat's methylene as water, and water as methylene in a file that tells no sense."""
    wide = Truth(pdff_percent=40.0, fwhm_water_hz=50.0, fwhm_fat_hz=45.0)
    for truth, sense, center in ((Truth(pdff_percent=80.0), 1, 7.0), (wide, None, 1.3)):
        series = made(truth, snr=400.0)
        (one,) = spectra_of(series, sense=sense)
        sentence = rf"fit worse if the transmitter stands on {center}0 ppm than on 4.6\d ppm; check"
        with pytest.raises(ValueError, match=sentence):
            MRS.measure([one], center_ppm=center)
        assert MRS.measure([one], center_ppm=4.3).get("signal_fat_fraction")


def test_a_center_whose_mirror_image_explains_as_much_asks_for_the_sense():
    """Of much fat, methylene and water of one sense are water and methylene of the other."""
    t = np.arange(512) * 5e-4
    for fat_hz, snr, told in ((30.0, 50.0, False), (20.0, 200.0, True)):
        series = made(Truth(60.0, fwhm_fat_hz=fat_hz, fwhm_water_hz=25.0), snr=snr)
        on_fat = series.fids * np.exp(2j * np.pi * (4.67 - 1.3) * 123.2 * t)
        (wrong,) = spectra_of(series, sense=None)
        right = replace(wrong, fids=on_fat[None])
        if told:
            assert MRS.measure([right], center_ppm=1.3).fitted
            continue
        for one, *sides in ((wrong, "slower", "faster"), (right, "faster", "slower")):
            sentence = r"on 1.30 ppm .* turn {}, and about as much .* turn {} .* on 4.\d+ ppm; "
            with pytest.raises(ValueError, match=sentence.format(*sides)):
                MRS.measure([one], center_ppm=1.3)
        assert MRS.measure([right], center_ppm=1.3, sense=1).fitted.model.series.center_ppm < 1.5


@pytest.mark.parametrize("time", ["t2", "t1"])
def test_a_time_of_one_tissue_alone_is_refused(time):
    (one,) = spectra_of(made())
    for tissue, other in (("water", "fat"), ("fat", "water")):
        sentence = f"{time.upper()} of {tissue} was stated and that of {other} was not; state both"
        with pytest.raises(ValueError, match=sentence):
            MRS.measure([replace(one, tr_ms=3000.0)], **{f"{time}_{tissue}_ms": 300.0})
    with pytest.raises(ValueError, match=r"T2 of water lies between 1 and .* ms; 0.02 was given"):
        MRS.measure([one], t2_water_ms=0.02, t2_fat_ms=0.07)  # in seconds


def test_what_has_no_fat_says_so_once():
    series = made(Truth(pdff_percent=0.0))
    found = MRS.measure(spectra_of(series, sense=1), center_ppm=4.67)
    said = [line for line in lines(found) if "not given" in line]
    (of_fat,) = [line for line in said if "no peak of fat above 3 SD" in line]
    assert of_fat.startswith("PDFF, MRS; Fat signal fraction, MRS; ") and "Double bonds" in of_fat
    assert not any("end of what is possible" in one for one in found.cautions)


def test_echo_times_of_another_gain_are_refused():
    series = made(te=TE, snr=800.0)
    series.fids[2] *= 1.2
    with pytest.raises(ValueError, match="scaled differently"):
        MRS.measure(spectra_of(series))


def test_one_echo_time_without_t2_gives_no_pdff():
    spectra = spectra_of(made())
    found = MRS.measure(spectra)
    assert found.get("pdff") is None
    assert "no T2 stated" in found.refused["pdff"]
    signal = found.get("signal_fat_fraction").value
    water, fat = 60 * np.exp(-30 / 21), 40 * np.exp(-30 / 70)
    assert signal == pytest.approx(100 * fat / (fat + water), abs=0.7)
    stated = MRS.measure(spectra, t2_water_ms=21.0, t2_fat_ms=70.0)
    assert stated.get("pdff").value == pytest.approx(40, abs=0.8)
    assert stated.get("signal_fat_fraction") is None


def test_missing_peaks_give_an_upper_limit():
    water = MRS.measure(spectra_of(made(Truth(pdff_percent=0.0), te=TE[::4])))
    assert water.get("pdff") is None
    assert "no peak of fat above 3 SD; it is at most" in water.refused["pdff"]
    fat = MRS.measure(spectra_of(made(Truth(pdff_percent=100.0), te=TE[::4])))
    assert fat.get("pdff") is None
    assert "no peak of water above 3 SD" in fat.refused["pdff"]
    assert fat.get("ndb")


def test_suppressed_water_gives_no_fraction():
    found = MRS.measure(spectra_of(made(te=TE[::4]), suppressed=True))
    assert found.refused["pdff"] == "water was suppressed"
    assert found.get("ndb")


@pytest.mark.parametrize("turned", [-1.5, 1.2, 3.0])
def test_what_is_left_of_suppressed_water_has_a_phase_of_its_own(turned):
    series = made(Truth(pdff_percent=100.0))
    water = made(Truth(pdff_percent=0.0), snr=1e9)  # of the same seed, so of the same phase
    series.fids += 0.2 * np.exp(1j * turned) * water.fids
    found = MRS.measure(spectra_of(series, suppressed=True))
    for key, truth in (("ndb", TRUTH.ndb), ("nmidb", TRUTH.nmidb)):
        low, high = found.get(key).ci95
        assert low < truth < high
        assert high - low < 0.4


@pytest.mark.parametrize(("width", "fraction"), [(90.0, True), (135.0, False)])
def test_wide_lines_give_no_composition_and_the_widest_no_fraction(width, fraction):
    truth = Truth(fwhm_water_hz=width, fwhm_fat_hz=width)
    found = MRS.measure(spectra_of(made(truth, te=TE)))
    assert "are too wide" in found.refused["ndb"]
    assert ("pdff" not in found.refused) == fraction


def test_a_composition_that_the_prior_tells_is_not_determined():
    found = MRS.measure(spectra_of(made(snr=20.0)))
    assert found.refused["ndb"] == "the data do not determine the composition of fat"
    assert any("the composition is not determined" in one for one in found.cautions)
    assert found.get("signal_fat_fraction")


def test_an_olefinic_peak_that_does_not_stand_apart_gives_no_free_index(five):
    truth = Truth(fwhm_water_hz=70.0, fwhm_fat_hz=60.0)
    found = MRS.measure(spectra_of(made(truth)))
    assert found.quality.separability < 0.05
    assert found.get("unsaturation", FREE) is None
    assert "does not stand apart from water" in found.refused["unsaturation (free)"]
    narrow = made(Truth(fwhm_water_hz=18.0, fwhm_fat_hz=15.0), te=(15.0,))
    sharp = MRS.measure(spectra_of(narrow))
    assert sharp.get("unsaturation", FREE)
    wide = MRS.measure(spectra_of(made(Truth(fwhm_water_hz=90.0, fwhm_fat_hz=60.0))))
    verdicts = [one.quality.verdict for one in (sharp, found, wide)]
    assert verdicts == ["good", "usable", "poor"]  # .15, .57 and .73 ppm


def test_a_spectrum_as_shown_has_no_baseline():
    """The mean over all frequencies is half of the first point, the other half is the baseline."""
    series = made()
    _, shown = spectrum_of(series, series.fids[0], 0.0)
    assert shown.mean() == pytest.approx(series.fids[0][0].real / 2)


def test_boxes_that_lie_apart_are_said_or_refused():
    spectra = spectra_of(made(te=TE[::4]))
    apart = 3.35 * 123.2
    found = MRS.measure(spectra, bandwidths_hz=(3000.0,) * 3)
    assert found.displacement.overlap == pytest.approx((1 - apart / 3000) ** 3)
    assert any("from boxes that share 64 % of their volume" in one for one in found.cautions)
    refused = MRS.measure(spectra, bandwidths_hz=(900.0,) * 3)
    assert "share 16 % of their volume" in refused.refused["pdff"]


def test_a_residual_that_is_no_noise_widens_the_intervals():
    series = made(te=TE[::4], snr=800.0)
    clean = MRS.measure(spectra_of(series))
    t = np.arange(512) * series.dwell_s
    series.fids += 0.01 * np.exp(-t * 30 + 2j * np.pi * t * 100)
    found = MRS.measure(spectra_of(series))
    assert found.fitted.ratio > 1.5
    assert any("times the noise" in one and "were widened" in one for one in found.cautions)
    assert found.get("pdff").sd > 1.4 * clean.get("pdff").sd


def test_what_a_scanner_wraps_to_the_end_of_a_signal_is_no_noise():
    """Oversampling is taken out by cutting the spectrum: the last points hold signal."""
    fine = made(points=2048, dwell_s=2.5e-4)
    bins = np.fft.fft(fine.fids, norm="ortho")
    cut = np.concatenate([bins[:, :512], bins[:, -512:]], axis=1)
    series = replace(fine, fids=np.fft.ifft(cut, norm="ortho"), dwell_s=5e-4)
    found = MRS.measure(spectra_of(series))
    assert found.fitted.sigma * found.fitted.model.scale == pytest.approx(1 / 400, rel=0.15)
    plain = best_choice(found.fitted.model.series, Choice())
    assert plain.ratio > 1.2  # what it distorts shows, and a baseline takes it
    assert found.fitted.ratio < 1.05


def test_a_baseline_is_taken_where_the_data_ask_for_it():
    truth = Truth(pdff_percent=30.0, t2_water_ms=1e9, t2_fat_ms=1e9)
    humped = unforeseen("baseline", truth, [30.0], 5000.0, np.random.default_rng(1))
    found, asked = MRS.measure(spectra_of(humped)), MRS.measure(spectra_of(humped), baseline=True)
    words = "Fits with smooth baselines give a fat fraction of"
    (said,) = [one for one in found.cautions if words in one]
    told, without = map(float, re.search(r"of ([\d.]+) % instead of ([\d.]+) %", said).groups())
    assert told == pytest.approx(30.0, abs=0.7) and without > 30.5
    one, other = (x.get("signal_fat_fraction") for x in (found, asked))
    assert (one.value, one.sd) == pytest.approx((other.value, other.sd), rel=1e-6)
    assert any("smooth baselines, over within some ms" in note for note in found.notes)
    clean = MRS.measure(spectra_of(made()))
    assert not any("smooth baselines, over" in note for note in clean.notes)
    for other in (asked, clean):
        assert not any(words in caution for caution in other.cautions)


@pytest.mark.parametrize("kind", ["baseline", "narrow baseline"])
def test_a_baseline_that_noise_half_hides_is_no_fat(kind):
    """The residual is that of noise; by noise alone the fat fraction is not within its interval."""
    truth = Truth(pdff_percent=30.0, t2_water_ms=1e9, t2_fat_ms=1e9)
    humped = unforeseen(kind, truth, [30.0], 800.0, np.random.default_rng(3))
    found = MRS.measure(spectra_of(humped))
    plain = best_choice(found.fitted.model.series, Choice())
    of = quantities(plain.model)
    for key, true in (("fraction", 30.0), ("ndb", truth.ndb)):
        value = found.get("signal_fat_fraction" if key == "fraction" else key)
        assert abs(of[key](plain.theta)[0] - true) > 1.96 * plain.sd(of[key])
        assert value.ci95[0] < true < value.ci95[1]
        assert abs(value.value - true) < abs(of[key](plain.theta)[0] - true) / 2
    assert plain.ratio < 1.5
    for seed in range(3):
        clean = MRS.measure(spectra_of(made(truth, snr=100.0, seed=seed)))
        assert not any("Fits with smooth baselines" in one for one in clean.cautions)
        of = quantities(clean.fitted.model)["fraction"]
        assert clean.get("signal_fat_fraction").sd < 2.5 * clean.fitted.sd(of)


def test_fits_with_and_without_baselines_count_by_what_the_data_say():
    wide = Truth(
        pdff_percent=30.0, t2_water_ms=1e9, t2_fat_ms=1e9, fwhm_fat_hz=48.0, fwhm_water_hz=65.0
    )
    fraction = quantity_of("fraction")
    for kind, seed in (("narrow baseline", 6), ("no fault", 0), ("no fault", 3)):
        series = unforeseen(kind, wide, [30.0], 150.0, np.random.default_rng(seed))
        best = best_choice(series, Choice())
        smooth, given = with_baseline(best), beside_baselines(best)
        plain = [one for one in given.fits if not one.model.choice.baseline_sds]
        behind = criterion(smooth.fits[0]) - min(map(criterion, plain)) + SURELY
        share = 1 / (1 + np.exp(behind / 2))
        assert (share > 0.5) == (kind == "narrow baseline")
        assert bool(given.fits[0].model.choice.baseline_sds) == (share > 0.5)
        assert given.weights.sum() == pytest.approx(1)
        beside, (other, other_sd) = given.beside(fraction), smooth.value(fraction)
        assert (beside.smooth, beside.smooth_sd) == pytest.approx((other, other_sd))
        value, sd = given.value(fraction)
        assert value == pytest.approx((1 - share) * beside.without + share * other)
        mixed = np.sqrt(
            (1 - share) * (beside.sd**2 + (beside.without - value) ** 2)
            + share * (other_sd**2 + (other - value) ** 2)
        )
        assert sd == pytest.approx(mixed)  # all fits read alike
        assert abs(value - 30.0) < 1.96 * sd


def criterion(fitted):
    asked = sum(getattr(fitted.model.choice, flag) for flag in WHERE_ASKED)
    return fitted.bic() - (1 - VOLUME) * fitted.model.log_volume + STRONGLY * asked


@pytest.mark.parametrize("missing", [2, 4])
def test_areas_are_those_at_the_top_of_the_echo_where_points_are_missing(missing):
    """Lines decay before it: read there, fat is half a point (10 SD) high, or not found at 1 ms."""
    truth = Truth(50.0, t2_water_ms=1e9, t2_fat_ms=1e9, fwhm_water_hz=45.0, fwhm_fat_hz=20.0)
    series = made(truth, snr=800.0, sequence=NONE, dwell_s=2.5e-4, points=1024)
    found = MRS.measure(spectra_of(replace(series, fids=series.fids[:, missing:])))
    fraction = found.get("signal_fat_fraction")
    assert fraction.ci95[0] < 50.0 < fraction.ci95[1]
    assert abs(fraction.value - 50.0) < 0.7


def delayed(truth, delay_s, snr, seed):
    """A spectrum without J whose first point lies off the top of the echo."""
    series = made(truth, snr=1e9, sequence=NONE)
    model = SpectrumModel(series, Choice(delay=True))
    theta = carried(fit(series, Choice()), model)
    theta[model.at["delay"]] = delay_s
    water, fat = model.parts(theta, 0)
    noise = np.random.default_rng(seed).normal(0, 1 / snr, (2, len(water)))
    late = model.scale * (water + fat.sum(axis=0)) + noise[0] + 1j * noise[1]
    return replace(series, fids=late[None])


def test_a_delay_is_told_from_a_baseline_where_the_data_tell():
    """A scanner's first point 0.2 ms late widens no interval; a hump that looks late is no fat."""
    fraction, truth = quantity_of("fraction"), Truth(30.0, t2_water_ms=1e9, t2_fat_ms=1e9)
    wider = []
    for seed in range(5):
        late = best_choice(delayed(truth, 2e-4, 400.0, seed), Choice())
        assert late.model.choice.delay
        value, sd = beside_baselines(late).value(fraction)
        wider.append(sd / late.sd(fraction(late.model)))
        assert abs(value - 30.0) < 2.6 * sd
    assert max(wider) < 4 and min(wider) < 1.1  # wide where a baseline reads elsewhere by chance
    usual, held = Truth(55.0, t2_water_ms=1e9, t2_fat_ms=1e9), []
    for seed in range(6):  # both, at SNR 150
        both = delayed(usual, 2e-4 * (-1) ** seed, 150.0, seed)
        both.fids = both.fids + hump(both, 300)
        value, sd = beside_baselines(best_choice(both, Choice())).value(fraction)
        held.append(abs(value - 55.0) < 1.96 * sd)
    assert sum(held) >= 5
    wide, held = replace(usual, fwhm_fat_hz=48.0, fwhm_water_hz=65.0), []
    told = MRS.measure(spectra_of(delayed(wide, 2e-4, 150.0, 2))).cautions
    assert any(
        "with lines this wide a smooth baseline may hide behind that. With" in x for x in told
    )
    for seed in range(8):
        both = delayed(wide, 2e-4 * (-1) ** seed, 150.0, seed)
        both.fids = both.fids + hump(both, 300)
        value, sd = beside_baselines(best_choice(both, Choice())).value(fraction)
        held.append(abs(value - 55.0) < 1.96 * sd)
    assert sum(held) >= 7
    wide = replace(truth, fwhm_fat_hz=48.0, fwhm_water_hz=65.0)
    humped = unforeseen("narrow baseline", wide, [30.0], 150.0, np.random.default_rng(12))
    best = best_choice(humped, Choice())
    given = beside_baselines(best)
    assert best.model.choice.delay and given.fits[0] is not best
    value, sd = given.value(fraction)
    assert abs(value - 30.0) < 1.96 * sd


def test_points_missing_at_the_start_are_said_or_refused():
    """Water and fat are alike in phase every 2.3 ms, so that a delay may be taken for another."""
    truth = Truth(60.0, t2_water_ms=1e9, t2_fat_ms=1e9)
    series = made(truth, snr=200.0, sequence=NONE)
    for missing in (3, 4):
        found = MRS.measure(spectra_of(replace(series, fids=series.fids[:, missing:])))
        late = f"lies {1e3 * missing * series.dwell_s:.1f} ms after the top of the echo, as if"
        assert any(f"{late} points were cut off" in one for one in found.cautions)
        told = found.get("signal_fat_fraction")
        assert abs(told.value - 60.0) < 1.5  # 3 to 7 where it is taken for another
    for missing in (5, 6, 10):
        found = MRS.measure(spectra_of(replace(series, fids=series.fids[:, missing:])))
        assert "or further off the top of the echo; points" in found.refused["signal_fat_fraction"]


def test_points_that_may_be_missing_are_said():
    """Wide lines that start 2.5 ms late, where fits that are not late count as much."""
    wide = Truth(15.4, 2.9, 0.75, 1e9, 1e9, 60.7, 48.5, 0.5, -3.1, 2.6)
    series = made(wide, snr=113.0, seed=27, points=1024, sequence=NONE)
    cut = replace(series, fids=series.fids[:, 5:])
    assert best_choice(cut, Choice()).model.choice.delay  # where no small delay promises a gain
    found = MRS.measure(spectra_of(cut))
    assert any("The first point may lie 2.5 ms off the top" in x for x in found.cautions)
    low, high = found.get("signal_fat_fraction").ci95
    assert low < 15.4 < high
    whole = MRS.measure(spectra_of(series))
    assert not any("top of the echo" in x for x in whole.cautions)


def test_a_wrong_dwell_time_or_frequency_is_said():
    """It stretches distances within fat, which neither temperature nor susceptibility does."""
    (one,) = spectra_of(made(snr=300.0))
    for key, factor, words in (
        ("dwell_s", 1.0, None),
        ("dwell_s", 1.05, "% nearer together than they should; check the dwell time and the freq"),
        ("dwell_s", 0.95, "% further apart than they should; check the dwell time and the freque"),
        ("dwell_s", 0.90, "% further apart than they should; check the dwell time and the freque"),
        ("frequency_mhz", 127.7 / 123.2, "% nearer together than they should; check the dwell"),
    ):
        told = MRS.measure([replace(one, **{key: factor * getattr(one, key)})]).cautions
        said = [x for x in told if "check the dwell time" in x]
        assert len(said) == (words is not None)
        assert not said or words in said[0]


@pytest.mark.parametrize(("key", "factor"), [("dwell_s", 1.02), ("frequency_mhz", 0.97)])
def test_a_dwell_time_or_frequency_that_is_a_little_off_costs_the_numbers_nothing(key, factor):
    """Distances within fat are fitted where the data ask for it."""
    truth = Truth(60.0, t2_water_ms=1e9, t2_fat_ms=1e9)
    (one,) = spectra_of(made(truth, snr=400.0, sequence=NONE))
    off = replace(one, **{key: factor * getattr(one, key)})
    found, plain = MRS.measure([off]), fit(prepared([off]).series, Choice())
    assert abs(quantities(plain.model)["ndb"](plain.theta)[0] - truth.ndb) > 0.3
    trues = {"signal_fat_fraction": 60.0, "ndb": truth.ndb, "nmidb": truth.nmidb}
    for name, true in trues.items():
        told = found.get(name)
        assert abs(told.value - true) < 2.5 * told.sd and told.sd < 0.2, name
    percent = 100 * abs(1 / factor - 1)
    (said,) = (x for x in found.notes if x.startswith("Distances between fat's lines"))
    assert float(said.split()[5]) == pytest.approx(percent, abs=0.3)
    assert ("longer" if factor < 1 else "shorter") in said
    places = {one.name: one.ppm for one in found.peaks}
    assert places["olefinic"] - places["methylene"] == pytest.approx(4.0 / factor, abs=0.01)
    assert not any("between fat's lines" in x for x in MRS.measure([one]).notes)


def test_cold_water_is_said():
    """Its distance from fat alone is another; it may as well lie in a field of its own."""
    truth = replace(TRUTH, water_shift_hz=0.17 * 123.2)  # 21 degrees C
    told = MRS.measure(spectra_of(made(truth, snr=300.0))).cautions
    assert any("where 3.35 ppm is expected at 37 degrees C (3.5 at room" in x for x in told)
    little = replace(truth, pdff_percent=20.0, fwhm_water_hz=20.0)
    for seed in range(6):  # fat of which little is known leaves water alone to tell a scale
        told += MRS.measure(spectra_of(made(little, snr=60.0, seed=seed))).cautions
    assert not any("than they should" in x for x in told)


def test_lines_that_are_too_wide_tell_no_missing_points():
    """Metabolites of a brain are fitted as fat of 200 Hz that starts anywhere, not missing."""
    truth = Truth(30.0, t2_water_ms=1e9, fwhm_water_hz=10.0, fwhm_fat_hz=150.0)
    series = made(truth, snr=1000.0, sequence=NONE)
    found = MRS.measure(spectra_of(replace(series, fids=series.fids[:, 6:])))
    assert found.refused["signal_fat_fraction"] == found.refused["ndb"]
    assert found.refused["ndb"].endswith("Hz are too wide")
    assert not any("top of the echo" in x for x in found.cautions)


@pytest.mark.parametrize("offset", [0.0, 0.02j])
def test_a_constant_that_the_receiver_adds_is_taken_off(offset):
    (one,) = spectra_of(made(snr=300.0))
    ideal = MRS.measure([one]).get("signal_fat_fraction")
    found = MRS.measure([replace(one, fids=one.fids + offset * np.abs(one.fids).max())])
    told = found.get("signal_fat_fraction")
    assert abs(told.value - ideal.value) < 0.5 * ideal.sd
    said = [x for x in found.notes if "which the end of the signal shows, was taken off" in x]
    assert [x[: x.index(" %")] for x in said] == (["te30: A constant of 1.7"] if offset else [])
    (cut,) = spectra_of(made(snr=300.0, points=96))  # whose end is signal
    assert not any("was taken off" in x for x in MRS.measure([cut]).notes)


def test_noise_that_a_filter_took_away_is_said():
    series = made(snr=300.0)
    t = np.arange(series.fids.shape[1]) * series.dwell_s
    told = MRS.measure(spectra_of(replace(series, fids=series.fids * np.exp(-60 * t)))).cautions
    assert any("leaves more than 30 times the noise (a filter took the noise" in x for x in told)


def test_baselines_that_leave_more_than_noise_are_no_baselines():
    """They would take what other lines leave, and intervals would be those of noise."""
    truth = Truth(pdff_percent=50.0, t2_water_ms=1e9, t2_fat_ms=1e9, fwhm_fat_hz=20.0)
    series = unforeseen("asymmetric", truth, [30.0], 1000.0, np.random.default_rng(2))
    best = best_choice(series, Choice())
    smooth, given = with_baseline(best), beside_baselines(best)
    assert smooth.fits[0].bic() < best.bic() and smooth.fits[0].ratio > NOISE_ALONE
    smooth_share = sum(
        weight
        for one, weight in zip(given.fits, given.weights, strict=True)
        if one.model.choice.baseline_sds
    )
    assert not given.fits[0].model.choice.baseline_sds and smooth_share < 1e-6
    fraction = quantity_of("fraction")  # intervals hold them
    beside, (other, other_sd) = given.beside(fraction), smooth.value(fraction)
    assert given.doubted and given.value(fraction)[0] == pytest.approx(beside.without)
    held = max(beside.sd, np.hypot(other_sd, other - beside.without))
    assert given.value(fraction)[1] == pytest.approx(held)


def test_intervals_hold_baselines_that_the_data_speak_against_but_noise_does_not_explain():
    """Where they read elsewhere than more freedom puts them; a fit that is moved stands for it."""
    series = made()
    best = best_choice(series, Choice())
    fraction, given = quantity_of("fraction"), beside_baselines(best)
    assert given.fits[0] is best and given.weights[0] > 0.5
    alone = given.value(fraction)
    moved = [replace(one, theta=one.theta.copy()) for one in given.fits[1:]]
    for one in moved:
        one.theta[one.model.at["water"]] *= 0.9
    apart = Averaged((best, *moved), np.array([1.0, *[1e-9 / len(moved)] * len(moved)]))
    value, sd = apart.value(fraction)
    smooth, smooth_sd = Averaged(tuple(moved), np.ones(len(moved)) / len(moved)).value(fraction)
    assert value == pytest.approx(fraction(best.model)(best.theta)[0])
    assert sd == pytest.approx(np.hypot(smooth_sd, smooth - value)) and sd > 2 * alone[1]


def test_every_answer_counts_all_baselines():
    """Of each baseline that counts there is a free fit, as if fitted anew."""
    truth = Truth(pdff_percent=35.0, t2_water_ms=1e9, t2_fat_ms=1e9)
    humped = unforeseen("baseline", truth, [30.0], 150.0, np.random.default_rng(11))
    found = MRS.measure(spectra_of(humped))
    series = found.fitted.model.series
    given = beside_baselines(best_choice(series, Choice()))
    choices = [replace(one.model.choice, free=True) for one in given.fits]
    assert len(choices) > 2
    frees = Averaged(tuple(fit(series, one) for one in choices), given.weights)
    free = found.get("signal_fat_fraction", FREE)
    assert (free.value, free.sd) == pytest.approx(frees.value(quantity_of("fraction")), rel=0.01)


def test_intervals_hold_that_couplings_are_not_known_better():
    """Couplings 3 % larger show in no residual and move the fat fraction by more than noise."""
    truth = Truth(pdff_percent=50.0, t2_water_ms=1e9, t2_fat_ms=1e9)
    series = unforeseen("J modulated", truth, [30.0], 1000.0, np.random.default_rng(1))
    found = MRS.measure(spectra_of(series))
    of = quantities(found.fitted.model)["fraction"]
    assert found.fitted.ratio < 1.1
    for answer in ("constrained", FREE, PRIOR):
        value = found.get("signal_fat_fraction", answer)
        assert value.ci95[0] < 50.0 < value.ci95[1]
    value = found.get("signal_fat_fraction")
    assert abs(value.value - 50.0) > 1.96 * found.fitted.sd(of)
    assert any("known to 3 % (SD), which intervals hold" in one for one in found.notes)
    assert value.alike_sd > 0.5 * value.sd  # in another visit it is the same
    again = MRS.measure(
        spectra_of(unforeseen("J modulated", truth, [30.0], 1000.0, np.random.default_rng(2)))
    ).get("signal_fat_fraction")
    apart = np.sqrt(sum(one.sd**2 - one.alike_sd**2 for one in (value, again)))
    assert abs(value.value - again.value) < 1.96 * apart < 1.96 * value.sd
    without = MRS.measure(spectra_of(made(truth, snr=1000.0, sequence=NONE)))
    of = quantities(without.fitted.model)["fraction"]
    assert without.get("signal_fat_fraction").sd == pytest.approx(without.fitted.sd(of), rel=0.05)
    assert without.get("signal_fat_fraction").alike_sd == 0


def test_composition_at_its_end_is_said():
    series = made(Truth(ndb=3.0, nmidb=2.0), te=(15.0,), snr=800.0)
    forced = MRS.measure(spectra_of(series))
    assert any("nmidb lies at the end of what is possible" in one for one in forced.cautions)
    three = MRS.measure(spectra_of(series), three_double_bonds=True)
    assert three.get("nmidb").value == pytest.approx(2.0, abs=0.2)


def test_short_repetition_is_a_caution():
    (one,) = spectra_of(made())
    assert any(
        "Not corrected for T1" in c for c in MRS.measure([replace(one, tr_ms=1500)]).cautions
    )


def test_an_answer_says_how_it_was_made_and_settings_are_checked():
    spectra = spectra_of(made())
    found = MRS.measure(spectra, t2_water_ms=30.0, t2_fat_ms=60.0)
    assert found.provenance["method"] == "spectrum" and found.provenance["inputs"] == ["te30"]
    assert found.provenance["settings"]["t2_water_ms"] == 30.0
    assert {one.key for one in found.values} <= set(MRS.numbers)
    with pytest.raises(ValueError, match="no spectra were given"):
        MRS.measure([])
    with pytest.raises(ValueError, match="bandwidths_hz takes a list of numbers; 5 was given"):
        MRS.chosen({"bandwidths_hz": 5})
    with pytest.raises(ValueError, match="sense is one of 1, -1, not True"):
        MRS.chosen({"sense": True})
    with pytest.raises(ValueError, match="bandwidths_hz takes 3 numbers; 2 were given"):
        MRS.measure(spectra, bandwidths_hz=[900.0, 900.0])
    with pytest.raises(ValueError, match="sense is one of 1, -1, not 0"):
        MRS.measure(spectra, sense=0)


# --- command ------------------------------------------------------------------------------------


def test_command_writes_numbers_peaks_picture_and_record(tmp_path, capsys):
    path = tmp_path / "Doe.nii.gz"
    series = made(te=TE, snr=800.0)
    write_nifti_mrs(path, replace(series, tr_ms=np.full(5, 6000.0)), BOX, PRESS)
    given = ["spectrum", str(path), "--baseline", "--line-shape"]
    assert cli.main([*given, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "PDFF, MRS: 40." in printed or "PDFF, MRS: 39." in printed
    record = json.loads((tmp_path / "out" / "spectrum.json").read_text())
    schema = json.loads(resource_path("MarrowAssessLib", SCHEMA_FILE).read_text())
    jsonschema.validate(record, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record | {"values": [{"key": "pdff"}]}, schema)
    assert record["echo_times_ms"] == list(TE)
    assert [echo_["te_ms"] for echo_ in record["echoes"]] == list(TE)
    assert record["voxel_ras"] == BOX.tolist()
    assert "Doe" not in json.dumps(record)
    assert any("baseline" in one for one in record["notes"])
    assert (tmp_path / "out" / "spectrum.svg").read_text().startswith("<svg")
    assert "olefinic" in (tmp_path / "out" / "spectrum_peaks.csv").read_text()
    again = ["spectrum", str(path), "--t2-water", "-3", "--out", str(tmp_path / "none")]
    assert cli.main(again) == 2
    assert "T2 of water lies between 1 and 1e+12 ms; -3 was given" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


# --- where the voxel lies, and grids ------------------------------------------------------------


def test_a_voxel_that_leaves_bone_is_told():
    """A box of 15 mm whose middle lies 2.5 mm from the side of a block of bone: 7 of 20 points."""
    spectra = spectra_of(made(points=256), voxel_ras=BOX)
    mask = np.zeros((40, 40, 40), np.uint8)
    mask[:, :, :23] = 1  # up to 2.5 mm right of the middle
    grid = np.eye(4)
    grid[:3, 3] = -20.0
    bone = Volume(mask, grid, "bone", {})
    found = MRS.measure(spectra, bone=bone)
    assert any("35 % of the voxel lies outside the bone" in one for one in found.cautions)
    inside = MRS.measure(spectra, bone=bone.with_array(np.ones_like(mask)))
    assert not any("outside the bone" in one for one in inside.cautions)
    (lost,) = spectra_of(made(points=256))
    unknown = MRS.measure([lost], bone=bone)
    assert any("do not tell where the voxel lies" in one for one in unknown.cautions)
    for image in (300 * mask.astype(float), 0.5 * mask, np.where(mask, np.nan, 1.0)):
        with pytest.raises(ValueError, match="The image given as bone holds values that are no"):
            MRS.measure(spectra, bone=bone.with_array(image))


def grid_file(path, fractions, wide=False):
    """Voxels side by side along R as NIfTI-MRS, perhaps one of wide lines, one without signal."""
    truths = [Truth(pdff_percent=one) for one in fractions]
    truths += [Truth(fwhm_water_hz=160.0, fwhm_fat_hz=160.0)] * wide
    series = [made(one, (15.0, 35.0), 800.0) for one in truths]
    plain = made(te=(15.0, 35.0))
    write_nifti_mrs(path, replace(plain, tr_ms=np.full(2, 6000.0)), BOX, PRESS)
    data = bytearray(path.read_bytes())
    offset = int(np.frombuffer(data[168:176], "<i8")[0])
    data[24:32] = np.array([len(series) + 1], "<i8").tobytes()
    fids = np.array([one.fids.conj() for one in series] + [np.zeros((2, 512), complex)])
    path.write_bytes(bytes(data[:offset]) + fids.transpose(0, 2, 1).tobytes(order="F"))


def test_a_grid_is_fitted_voxel_by_voxel(tmp_path, capsys, monkeypatch):
    """By this process alone: started from a script or a console, others would run that again."""
    path = tmp_path / "grid.nii"
    grid_file(path, (30.0, 60.0))
    monkeypatch.setattr(grid, "FEWEST_SHARED", 2)
    monkeypatch.setattr(grid, "ProcessPoolExecutor", None)
    assert cli.main(["spectrum", str(path), "--out", str(tmp_path / "one")]) == 2
    assert "a grid of 3 x 1 x 1 voxels" in capsys.readouterr().err
    assert cli.main(["spectrum", str(path), "--grid", "--out", str(tmp_path / "out")]) == 0
    assert "2 of 3 voxels were fitted" in capsys.readouterr().out
    with (tmp_path / "out" / "spectrum_grid.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    pdff = {row["i"]: row for row in rows if row["quantity"] == "pdff"}
    for n, true in (("0", 30.0), ("1", 60.0)):
        assert float(pdff[n]["value"]) == pytest.approx(true, abs=0.8)
    assert float(pdff["1"]["r_mm"]) - float(pdff["0"]["r_mm"]) == pytest.approx(15.0)
    (empty,) = [row for row in rows if row["i"] == "2"]
    assert "its signal is zero" in empty["no_value"]
    given = ["spectrum", str(path), "--grid", "--te", "30", "--out", str(tmp_path / "x")]
    assert cli.main(given) == 2
    assert "it holds signals at 2 echo times of its own" in capsys.readouterr().err
    (tmp_path / "a.rda").write_bytes(b"x")
    assert (
        cli.main(["spectrum", str(tmp_path / "a.rda"), "--grid", "--out", str(tmp_path / "x")]) == 2
    )
    assert "a grid is read from NIfTI-MRS" in capsys.readouterr().err
    twice = ["spectrum", str(path), str(path), "--grid", "--out", str(tmp_path / "x")]
    assert cli.main(twice) == 2
    assert "--grid takes one file; 2 were given" in capsys.readouterr().err
    grid_file(path, ())
    assert cli.main(["spectrum", str(path), "--grid", "--out", str(tmp_path / "x")]) == 2
    assert "its signal is zero" in capsys.readouterr().err


def test_processes_share_a_grid_and_change_nothing_of_it(tmp_path, monkeypatch):
    """Two voxels here, shared by two processes of a thread each; progress is told and cancels."""
    path, done = tmp_path / "grid.nii", []
    grid_file(path, (30.0, 60.0))
    monkeypatch.setattr(grid, "FEWEST_SHARED", 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    seen = []

    class Pool(ProcessPoolExecutor):
        def map(self, *tasks):
            seen.append([os.environ[name] for name in grid._THREADS])  # what they start with
            return super().map(*tasks)

    monkeypatch.setattr(grid, "ProcessPoolExecutor", Pool)
    settings = {"t2_water_ms": 21.0, "t2_fat_ms": 70.0}
    alone = fit_grid(path, {}, settings)
    shared = fit_grid(path, {}, settings, lambda share: done.append(share) or True, processes=2)
    assert done == pytest.approx([1 / 3, 2 / 3, 1]) and seen == [["1", "1"]]
    assert os.environ["OMP_NUM_THREADS"] == "7" and "OPENBLAS_NUM_THREADS" not in os.environ
    for one, other in zip(alone, shared, strict=True):
        assert (one.index, one.ras, one.reason) == (other.index, other.ras, other.reason)
        assert (one.found is None) == (other.found is None)
        if one.found:
            rows = (
                [y for x in each.found.values for y in (x.value, x.sd, *x.ci95)]
                for each in (one, other)
            )
            assert next(rows) == pytest.approx(next(rows), rel=1e-6)  # threads of BLAS may round
            assert [x.key for x in one.found.values] == [x.key for x in other.found.values]
            assert one.found.cautions == other.found.cautions
    assert [one.found.fitted is None for one in shared if one.found] == [False, True]
    with pytest.raises(InterruptedError, match="Fitting voxels was canceled"):
        fit_grid(path, {}, settings, lambda _: False, processes=2)


def test_a_grid_tells_what_a_voxel_is_refused_and_how_it_was_made(tmp_path):
    path = tmp_path / "grid.nii"
    grid_file(path, (30.0,), wide=True)
    (tmp_path / "grid.json").write_text(json.dumps({"RepetitionTime": 1.5}))
    assert cli.main(["spectrum", str(path), "--grid", "--out", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "spectrum_grid.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    (wide,) = [row for row in rows if (row["i"], row["quantity"]) == ("1", "pdff")]
    assert wide["value"] == "" and "Hz are too wide" in wide["no_value"]
    record = json.loads((tmp_path / "out" / "spectrum.json").read_text())
    assert "too wide" in record["not_given"]["[1, 0, 0]"]["pdff"]
    assert record["sequence"] == PRESS and record["echo_times_ms"] == [15.0, 35.0]
    assert record["settings"] and record["method"] == "spectrum" and record["notes"]
    assert any("the repetition time is 1500 ms" in x for x in record["cautions"]["[0, 0, 0]"])
    assert "grid" not in json.dumps([record["inputs"], record["notes"]])
