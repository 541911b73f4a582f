import numpy as np
import pytest
from PDFFMapperLib.diffusion.noise import (
    rician_mean,
    rician_mean_slope,
    sigma_from_background,
    sigma_from_repeats,
)
from phantoms.diffusion import rician
from scipy import stats


def test_rician_mean_is_that_of_the_rice_distribution():
    nu = np.array([0.0, 0.7, 2.0, 5.0, 20.0])
    assert rician_mean(nu) == pytest.approx([stats.rice(v).mean() for v in nu], rel=1e-8)
    slope = (rician_mean(nu[1:] + 1e-5) - rician_mean(nu[1:] - 1e-5)) / 2e-5
    assert rician_mean_slope(nu[1:]) == pytest.approx(slope, rel=1e-6)
    assert rician_mean(0.0) == pytest.approx(np.sqrt(np.pi / 2))


def test_background_gives_sigma():
    air = rician(np.zeros(50_000), 3.0, np.random.default_rng(0))
    assert sigma_from_background(air) == pytest.approx(3.0, rel=0.01)


def test_background_that_is_no_noise_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="masked"):
        sigma_from_background(np.zeros(1000))
    with pytest.raises(ValueError, match="signal or ghosts"):
        sigma_from_background(rician(np.full(1000, 10.0), 1.0, rng))
    with pytest.raises(ValueError, match="100"):
        sigma_from_background(np.ones(5))


def test_repeats_give_sigma_despite_dark_voxels():
    rng = np.random.default_rng(0)
    truth = np.r_[np.zeros(4000), rng.uniform(20.0, 200.0, 4000)]
    repeats = rician(np.repeat(truth[:, None], 4, axis=1), 2.5, rng)
    assert sigma_from_repeats(repeats) == pytest.approx(2.5, rel=0.03)
    with pytest.raises(ValueError, match="two"):
        sigma_from_repeats(repeats[:, :1])
