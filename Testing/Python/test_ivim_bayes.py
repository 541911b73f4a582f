import os
import subprocess
import sys

import numpy as np
import pytest
from PDFFMapperLib.diffusion import ivim_bayes
from PDFFMapperLib.diffusion.ivim import fit_ivim
from PDFFMapperLib.diffusion.ivim_bayes import fit_ivim_hierarchical
from phantoms.diffusion import MARROW_B, ivim_signal, marrow


@pytest.fixture(scope="module")
def shrunk():
    phantom = marrow(20_000, 30, seed=21)
    return phantom, fit_ivim_hierarchical(phantom.signal, MARROW_B, sigma=phantom.sigma)


@pytest.mark.parametrize(("name", "most"), [("d", 0.050), ("f", 0.022), ("d_star", 7.0)])
def test_errors_are_below_what_any_unbiased_method_can_reach(shrunk, name, most):
    phantom, fit = shrunk
    assert np.median(np.abs(getattr(fit, name) - getattr(phantom, name))) < most


def test_intervals_cover(shrunk):
    phantom, fit = shrunk
    for name in ("d", "d_star", "f"):
        lower, upper = fit.interval(name)
        truth = getattr(phantom, name)
        # the distribution is learned from 14000 noisy voxels: about 1 % of play
        assert 0.93 < np.mean((lower <= truth) & (truth <= upper)) < 0.98, name
        assert (lower <= getattr(fit, name)).all() and (getattr(fit, name) <= upper).all()


def test_the_distribution_is_learned(shrunk):
    _, fit = shrunk
    learned = fit.distribution
    mass = learned.weights.sum(axis=(0, 1))
    inside = (learned.d > 0.3) & (learned.d < 0.8)
    assert mass[inside].sum() > 0.8
    mean = mass @ learned.d
    assert mean == pytest.approx(0.55, abs=0.03)
    assert np.sqrt(mass @ (learned.d - mean) ** 2) == pytest.approx(0.144, abs=0.03)


@pytest.mark.parametrize("height", [1.0, 0.7])
def test_single_precision_sums_what_double_does(shrunk, height, monkeypatch):
    """Whatever height of the own fit the likelihoods are counted from."""
    phantom, learned = marrow(500, 30, seed=22), shrunk[1].distribution
    estimates = ivim_bayes._estimates
    monkeypatch.setattr(
        ivim_bayes, "_estimates", lambda own: [height * estimates(own)[0], *estimates(own)[1:]]
    )
    fit = fit_ivim_hierarchical(
        phantom.signal, MARROW_B, sigma=phantom.sigma, distribution=learned, noise="gaussian"
    )
    d_star, f, d = (
        x.ravel() for x in np.meshgrid(learned.d_star, learned.f, learned.d, indexing="ij")
    )
    curves = ivim_signal(MARROW_B, 1.0, d, d_star, f)
    squares = np.sum(curves**2, 1)
    gains = (phantom.signal.astype(float) / phantom.sigma @ curves.T) ** 2 / (2 * squares)
    mass = np.exp(gains - gains.max(1, keepdims=True)) * learned.weights.ravel() / np.sqrt(squares)
    mass /= mass.sum(1, keepdims=True)
    for name, nodes in (("d", d), ("d_star", d_star), ("f", f), ("f_d_star", f * d_star)):
        apart = np.abs(getattr(fit, name) - mass @ nodes)
        assert np.max(apart / getattr(fit, f"{name}_sd")) < 0.005, name


def test_a_region_of_two_tissues_keeps_both():
    marrow_part = marrow(3000, 30, seed=1, d=(0.3, 0.4), f=(0.08, 0.12))
    lesion = marrow(150, 30, seed=2, d=(1.0, 1.2), f=(0.08, 0.12))
    signal = np.concatenate([marrow_part.signal, lesion.signal])
    fit = fit_ivim_hierarchical(signal, MARROW_B, sigma=lesion.sigma)
    alone = fit_ivim(signal, MARROW_B, sigma=lesion.sigma)
    assert np.mean(fit.d[3000:]) == pytest.approx(1.1, abs=0.05)
    assert fit.d[3000:].min() > 0.7 and fit.d[:3000].max() < 0.7
    assert alone.d[3000:].min() < 0.7 or alone.d[:3000].max() > 0.7  # not so without shrinking
    mass = fit.distribution.weights.sum(axis=(0, 1))
    valley = (fit.distribution.d > 0.55) & (fit.distribution.d < 0.85)
    assert mass[valley].max() < 0.1 * mass[fit.distribution.d > 0.85].max()


def test_a_lone_outlier_is_not_hidden():
    many = marrow(3000, 60, seed=3, d=(0.3, 0.4), f=(0.08, 0.12))
    odd = ivim_signal(MARROW_B, 100.0, np.array([2.0]), np.array([20.0]), np.array([0.1]))
    fit = fit_ivim_hierarchical(np.concatenate([many.signal, odd]), MARROW_B, sigma=many.sigma)
    assert fit.d[-1] > 1.5
    assert not fit.typical[-1]


def test_a_d_star_too_fast_for_the_b_values_is_marked():
    b = np.array([0, 10, 25, 50, 100, 200, 300, 400, 500.0])
    fast = marrow(3000, 30, seed=5, d_star=(400.0, 900.0), b_values=b)
    fit = fit_ivim_hierarchical(fast.signal, b, sigma=fast.sigma)
    assert fit.at_bound.mean() > 0.8
    assert fit.d_star_identifiable.mean() < 0.1


def test_clear_signals_are_left_alone():
    phantom = marrow(500, 2000)
    fit = fit_ivim_hierarchical(phantom.signal, MARROW_B, sigma=phantom.sigma)
    own = fit_ivim(phantom.signal, MARROW_B, sigma=phantom.sigma)
    assert not fit.typical.any()
    assert fit.d == pytest.approx(own.d)


def test_few_voxels_and_a_given_distribution(shrunk):
    _, learned = shrunk
    few = marrow(12, 30, seed=4)
    fit = fit_ivim_hierarchical(few.signal, MARROW_B, sigma=few.sigma)
    assert fit.valid.all()
    with_cohort = fit_ivim_hierarchical(
        few.signal, MARROW_B, sigma=few.sigma, distribution=learned.distribution
    )
    assert with_cohort.distribution is learned.distribution
    assert np.abs(with_cohort.d - few.d).mean() < 0.12
    with pytest.raises(ValueError, match="No voxel"):
        fit_ivim_hierarchical(np.zeros((3, 12)), MARROW_B)


FITTED = """
import sys
import numpy as np
from PDFFMapperLib.diffusion.ivim_bayes import fit_ivim_hierarchical
from phantoms.diffusion import marrow

phantom = marrow(600, 40, seed=1)
fit = fit_ivim_hierarchical(phantom.signal, phantom.b_values)
np.save(sys.argv[1], [fit.s0, fit.d, fit.d_star, fit.f, fit.d_sd, fit.f_sd, *fit.limits])
"""


def test_the_run_that_compiles_gives_the_same_bits(tmp_path):
    """A kernel that called another got a copy of it that another caller had compiled."""
    places = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    for name in ("first", "second"):
        command = [sys.executable, "-c", FITTED, str(tmp_path / name)]
        subprocess.run(command, env=os.environ | places, check=True)
    first, second = (np.load(tmp_path / f"{name}.npy") for name in ("first", "second"))
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)
