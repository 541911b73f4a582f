import numpy as np
import pytest
from PDFFMapperLib.diffusion.pooled import fit_pooled
from phantoms.diffusion import MARROW_B, marrow

TRUTH = {"s0": 100.0, "d": 0.5, "d_star": 20.0, "f": 0.12}


def region(seed, voxels, snr=30):
    return marrow(voxels, snr, seed=seed, d=(0.5, 0.5), d_star=(20, 20), f=(0.12, 0.12))


def test_intervals_cover():
    inside = dict.fromkeys(TRUTH, 0)
    for seed in range(60):
        phantom = region(seed, 8)
        fit = fit_pooled(phantom.signal, MARROW_B, sigma=phantom.sigma, models=["ivim"])
        for name, truth in TRUTH.items():
            estimate = fit.fits["ivim"].estimates[name]
            inside[name] += estimate.lower <= truth <= estimate.upper
    # 95 % of 60 is 57; fewer than 52 has a chance of 1 % if it holds
    assert min(inside.values()) >= 52, inside


def test_pooling_narrows_the_interval():
    def width(voxels):
        phantom = region(1, voxels)
        fit = fit_pooled(phantom.signal, MARROW_B, sigma=phantom.sigma, models=["ivim"])
        estimate = fit.fits["ivim"].estimates["d"]
        return (estimate.upper - estimate.lower) / np.sqrt(fit.dispersion)

    assert width(1600) < 0.4 * width(100)


def test_model_choice_and_what_cannot_be_told():
    flowing = region(2, 200)
    assert fit_pooled(flowing.signal, MARROW_B, sigma=flowing.sigma).best == "ivim"
    still = marrow(200, 30, seed=2, d=(0.5, 0.5), f=(0, 0))
    fit = fit_pooled(still.signal, MARROW_B, sigma=still.sigma)
    assert fit.best == "mono-exponential"
    assert not fit.fits["ivim"].estimates["d_star"].closed
    assert not fit.fits["ivim"].identifiable


def test_mask_and_empty_region():
    phantom = region(3, 100)
    mask = np.arange(100) < 40
    assert fit_pooled(phantom.signal, MARROW_B, mask, sigma=phantom.sigma).voxels == 40
    with pytest.raises(ValueError, match="no voxel"):
        fit_pooled(phantom.signal, MARROW_B, np.zeros(100, dtype=bool))
    with pytest.raises(ValueError, match="Models are"):
        fit_pooled(phantom.signal, MARROW_B, models=["biexponential"])
