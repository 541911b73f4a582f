import numpy as np
import pytest
from PDFFMapperLib.diffusion.adc import fit_adc
from PDFFMapperLib.diffusion.ivim import fit_ivim
from phantoms.diffusion import MARROW_B, ivim_signal, marrow, rician

RNG = np.random.default_rng(5)
COUNT = 6000


def organ(s0, sigma, motion):
    """Voxels of signal `s0` whose measurements also scatter by `motion` x `s0`."""
    clean = np.tile(ivim_signal(MARROW_B, 1.0, 1.0, 30.0, 0.2), (COUNT, 1)) * s0
    moved = clean + motion * s0 * RNG.standard_normal(clean.shape)
    return rician(np.maximum(moved, 0), sigma, RNG)


def test_air_gives_sigma_and_motion_raises_no_floor():
    air = rician(np.zeros((COUNT, 12)), 2.0, RNG)
    signal = np.concatenate([air, organ(20.0, 2.0, 0.0), organ(200.0, 2.0, 0.08)])
    fit = fit_ivim(signal, MARROW_B)
    assert fit.sigma == pytest.approx(2.0, rel=0.05)
    assert np.median(fit.d[COUNT : 2 * COUNT]) == pytest.approx(1.0, abs=0.07)
    assert np.median(fit.d[2 * COUNT :]) == pytest.approx(1.0, abs=0.07)
    masked = fit_ivim(signal, MARROW_B, mask=np.arange(3 * COUNT) >= COUNT)
    assert masked.sigma == fit.sigma


@pytest.mark.parametrize("given", [None, 2.0])
def test_uncertainty_includes_motion(given):
    signal = np.concatenate([organ(30.0, 2.0, 0.0), organ(200.0, 2.0, 0.08)])
    fit = fit_ivim(signal, MARROW_B, sigma=given)
    for part in (slice(0, COUNT), slice(COUNT, None)):
        lower, upper = (limit[part] for limit in fit.interval("d"))
        assert 0.92 < np.mean((lower <= 1.0) & (upper >= 1.0)) < 0.98


def test_given_noise_is_kept_where_it_explains_the_scatter():
    phantom = marrow(5000, 30)
    fit = fit_ivim(phantom.signal, MARROW_B, sigma=phantom.sigma)
    quiet = fit_ivim(phantom.signal[:1], MARROW_B, sigma=phantom.sigma)
    assert fit.sigma == phantom.sigma
    assert fit.d_sd[0] == pytest.approx(quiet.d_sd[0], rel=0.15)


def test_adc_noise_is_not_inflated_by_perfusion():
    phantom = marrow(6000, 40, f=(0.15, 0.25))
    assert fit_adc(phantom.signal, MARROW_B).sigma == pytest.approx(phantom.sigma, rel=0.04)
