import json

import numpy as np
import pytest
from PDFFMapperLib.diffusion.adc import fit_adc
from PDFFMapperLib.diffusion.ivim import fit_ivim, fit_ivim_segmented
from PDFFMapperLib.diffusion.ivim_bayes import fit_ivim_hierarchical
from PDFFMapperLib.diffusion.ivim_kernel import PRIOR_F_WEIGHT, PRIOR_LOG_SD, fit_voxels
from PDFFMapperLib.diffusion.kurtosis import fit_kurtosis
from PDFFMapperLib.diffusion.model_choice import MODELS, aicc, choose_model
from phantoms.diffusion import MARROW_B, bound, ivim_signal, marrow, rician

NAMES = ("d", "d_star", "f")


@pytest.fixture(scope="module", params=[30, 60])
def fitted(request):
    phantom = marrow(40_000, request.param, seed=11)
    return phantom, fit_ivim(phantom.signal, phantom.b_values, sigma=phantom.sigma)


def test_errors_reach_the_cramer_rao_bound(fitted):
    phantom, fit = fitted
    for name, least in bound(phantom).items():
        error = np.median(np.abs(getattr(fit, name) - getattr(phantom, name)))
        assert error < 1.03 * least, name


def test_intervals_cover(fitted):
    phantom, fit = fitted
    for name in NAMES:
        lower, upper = fit.interval(name)
        truth = getattr(phantom, name)
        assert 0.93 < np.mean((lower <= truth) & (truth <= upper)) < 0.97, name


def test_failures_are_rare_and_flagged(fitted):
    _, fit = fitted
    values = np.stack([fit.s0, fit.d, fit.d_star, fit.f])
    failed = ~np.isfinite(values).all(axis=0) | (fit.d <= 0) | (fit.d_star <= fit.d)
    failed |= (fit.f < 1e-3) | (fit.f > 0.999)
    assert failed.mean() < 0.01
    assert (failed <= (fit.at_bound | ~fit.valid)).all()


def test_noise_is_measured_from_the_residuals():
    phantom = marrow(5000, 40)
    assert fit_ivim(phantom.signal, MARROW_B).sigma == pytest.approx(phantom.sigma, rel=0.03)


@pytest.mark.parametrize("name", ["generic.json", "generic_brain.json"])
def test_reference_signals_within_ten_percent(shared, name):
    tissues = json.loads((shared / "cases" / "diffusion" / name).read_text())
    b = tissues.pop("config")["bvalues"]
    for tissue, truth in tissues.items():
        fit = fit_ivim(np.array(truth["data"]), b)
        if truth["f"] < 0.8:
            assert float(fit.d) == pytest.approx(1000 * truth["D"], rel=0.1), tissue
        assert float(fit.f) == pytest.approx(truth["f"], rel=0.1), tissue
        if truth["f"] > 0.03:
            assert float(fit.d_star) == pytest.approx(1000 * truth["Dp"], rel=0.1), tissue


def test_noise_free_signals_in_any_order_repeated_and_without_b_0():
    rng = np.random.default_rng(0)
    d, d_star, f = rng.uniform(0.2, 2.5, 300), rng.uniform(12, 80, 300), rng.uniform(0.1, 0.5, 300)
    for b in (MARROW_B, rng.permutation(MARROW_B), np.r_[MARROW_B, MARROW_B], MARROW_B[1:]):
        fit = fit_ivim(ivim_signal(b, 50.0, d, d_star, f), b, sigma=0.01)
        assert fit.d == pytest.approx(d, rel=2e-3, abs=1e-3)
        assert fit.f == pytest.approx(f, rel=1e-2)
        assert fit.d_star == pytest.approx(d_star, rel=1e-2)
        assert fit.s0 == pytest.approx(np.full(300, 50.0), rel=2e-3)


def test_rician_likelihood_removes_the_bias_of_the_noise_floor():
    b = np.r_[MARROW_B, 1200, 1600]
    clean = np.tile(ivim_signal(b, 12.0, 1.2, 25.0, 0.2), (20_000, 1))
    noisy = rician(clean, 1.0, np.random.default_rng(0))
    right = fit_ivim(noisy, b, sigma=1.0)
    wrong = fit_ivim(noisy, b, sigma=1.0, noise="gaussian")
    assert abs(np.median(right.d) - 1.2) < 0.5 * abs(np.median(wrong.d) - 1.2)


def test_real_valued_images_may_be_negative():
    rng = np.random.default_rng(0)
    clean = np.tile(ivim_signal(MARROW_B, 8.0, 2.5, 40.0, 0.2), (5000, 1))
    fit = fit_ivim(clean + rng.standard_normal(clean.shape), MARROW_B, sigma=1.0, noise="gaussian")
    assert fit.valid.mean() > 0.999
    assert np.median(fit.d) == pytest.approx(2.5, abs=0.3)


def test_diffusivities_of_fatty_marrow_near_zero():
    phantom = marrow(5000, 60, seed=4, d=(0.0, 0.1))
    fit = fit_ivim(phantom.signal, MARROW_B, sigma=phantom.sigma)
    assert fit.valid.all()
    assert np.mean(fit.d - phantom.d) == pytest.approx(0, abs=0.008)
    lower, upper = fit.interval("d")
    assert 0.93 < np.mean((lower <= phantom.d) & (phantom.d <= upper)) < 0.98
    assert np.array_equal(fit.at_bound, fit.d <= 0)  # where noise would carry it below: flagged


def test_dstar_is_not_identifiable_without_perfusion():
    still = marrow(5000, 30, f=(0.0, 0.0))
    fit = fit_ivim(still.signal, MARROW_B, sigma=still.sigma)
    assert fit.d_star_identifiable.mean() < 0.05
    flowing = marrow(5000, 60, f=(0.15, 0.25))
    fit = fit_ivim(flowing.signal, MARROW_B, sigma=flowing.sigma)
    assert fit.d_star_identifiable.mean() > 0.95


def test_segmented_fit_and_its_intervals():
    phantom = marrow(20_000, 60, d_star=(20.0, 40.0))
    fit = fit_ivim_segmented(phantom.signal, MARROW_B, sigma=phantom.sigma)
    for name in NAMES:
        lower, upper = fit.interval(name)
        truth = getattr(phantom, name)
        assert 0.92 < np.mean((lower <= truth) & (truth <= upper)) < 0.98, name
    with pytest.raises(ValueError, match="each side"):
        fit_ivim_segmented(phantom.signal, MARROW_B, threshold=800)


def test_maps_keep_the_shape_and_flag_bad_voxels():
    phantom = marrow(24, 60)
    image = phantom.signal.reshape(2, 3, 4, 12).copy()
    image[0, 0, 0, 5] = np.nan
    image[0, 0, 1] = 0
    image[0, 0, 2, 11] = -2
    fit = fit_ivim(image, MARROW_B)
    assert fit.d.shape == (2, 3, 4)
    assert np.argwhere(~fit.valid).tolist() == [[0, 0, 0], [0, 0, 1]]
    assert np.isnan(fit.d[~fit.valid]).all() and np.isfinite(fit.d_sd[fit.valid]).all()
    with pytest.raises(ValueError, match="No voxel can be fitted: none has finite signals"):
        fit_ivim(np.zeros((4, 12)), MARROW_B)


def test_too_little_data_is_refused_in_a_sentence():
    signal = marrow(10, 60).signal
    with pytest.raises(ValueError, match="at least 4 different b-values, given were 3"):
        fit_ivim(signal[:, :3], MARROW_B[:3])
    with pytest.raises(ValueError, match="give sigma"):
        fit_ivim(signal[:, :4], MARROW_B[:4])
    with pytest.raises(ValueError, match="sigma must be a positive number"):
        fit_ivim(signal, MARROW_B, sigma=-1)
    with pytest.raises(ValueError, match="mask"):
        fit_ivim(signal, MARROW_B, mask=np.ones(3))


def test_aicc_by_hand():
    assert aicc(-10.0, 2, 12) == pytest.approx(20 + 4 + 12 / 9)
    assert np.isinf(aicc(-10.0, 4, 5))


def test_model_choice_finds_what_is_there():
    still = marrow(3000, 60, f=(0.0, 0.0))
    choice = choose_model(still.signal, MARROW_B, sigma=still.sigma)
    assert np.mean(choice.best == MODELS.index("mono-exponential")) > 0.9
    flowing = marrow(3000, 60, f=(0.15, 0.25), d_star=(15.0, 40.0))
    choice = choose_model(flowing.signal, MARROW_B, sigma=flowing.sigma)
    assert np.mean(choice.best == MODELS.index("ivim")) > 0.9
    assert choice.probability.sum(axis=0) == pytest.approx(np.ones(3000), rel=1e-5)


def test_signals_below_zero_are_measurements():
    """As interpolation and denoising leave them; the other parameters barely feel them."""
    b_values = np.append(MARROW_B, 2000.0)  # where 0.3 noise SDs are left
    phantom = marrow(2000, 40, seed=4, d=(2.5, 3.0), f=(0.1, 0.2), b_values=b_values)
    whole = fit_ivim(phantom.signal, phantom.b_values, sigma=phantom.sigma)
    spoiled = phantom.signal.copy()
    spoiled[:, -1] = -0.2 * phantom.sigma
    for fit_series in (fit_ivim, fit_ivim_segmented, fit_ivim_hierarchical, fit_adc, fit_kurtosis):
        fit = fit_series(spoiled, phantom.b_values, sigma=phantom.sigma)
        assert fit.valid.mean() > 0.99, fit_series.__name__
    fit = fit_ivim(spoiled, phantom.b_values, sigma=phantom.sigma)
    assert np.median(fit.f - whole.f) == pytest.approx(0, abs=0.01)
    assert np.median(np.abs(fit.f - phantom.f)) < 0.06


def test_public_reference_tissues_with_a_sample_below_zero_are_fitted(shared):
    """Blood of the OSIPI reference, all perfusion: f is 1 to a thousandth."""
    content = json.loads((shared / "cases" / "diffusion" / "generic_one.json").read_text())
    b_values = content.pop("config")["bvalues"]
    tissues = {name: one for name, one in content.items() if min(one["data"]) < 0}
    assert len(tissues) == 4
    signal = 1000 * np.array([one["data"] for one in tissues.values()])
    fit = fit_ivim(signal, b_values, sigma=0.5)
    assert fit.f == pytest.approx([one["f"] for one in tissues.values()], abs=1e-3)
    assert fit.d_star == pytest.approx([1000 * o["Dp"] for o in tissues.values()], rel=0.01)


@pytest.mark.parametrize(
    "fit_series", [fit_ivim, fit_ivim_segmented, fit_ivim_hierarchical, fit_adc, fit_kurtosis]
)
def test_an_empty_mask_is_one_clear_error_in_every_fit(fit_series):
    phantom = marrow(50, 40)
    with pytest.raises(ValueError, match="The mask is empty"):
        fit_series(phantom.signal, phantom.b_values, mask=np.zeros(50, bool))
    with pytest.raises(ValueError, match="No voxel of the mask can be fitted"):
        nothing = np.where(np.arange(50) < 9, np.nan, 1)[:, None] * phantom.signal
        fit_series(nothing, phantom.b_values, mask=np.arange(50) < 9)


@pytest.mark.parametrize("held", [None, (1.5, 0.2)])
def test_standard_deviations_are_those_of_the_numeric_information(held):
    """Of S0, D, D*, f and f D*, with the prior's part; a D held still carries its own error."""
    b, averages, sigma = MARROW_B / 1000, np.linspace(4.0, 20.0, MARROW_B.size), 0.5

    def signal(p):
        return p[0] * ((1 - p[3]) * np.exp(-b * p[1]) + p[3] * np.exp(-b * p[2]))

    measured = signal([50.0, 1.5, 8.0, 0.3])[None]
    one = np.ones(1)
    kept = None if held is None else np.array(held)[:, None]
    fit = fit_voxels(measured, sigma * one, one, b, averages, False, kept)[:, 0].astype(float)
    at, step = fit[:4], 1e-5
    slopes = np.stack([(signal(at + h) - signal(at - h)) / (2 * step) for h in step * np.eye(4)], 1)
    of_excess = np.array([0, -1, 1, 0]) / (at[2] - at[1])
    spread = at[3] * (1 - at[3])
    information = (slopes.T * averages) @ slopes / sigma**2
    information += np.outer(of_excess, of_excess) / PRIOR_LOG_SD**2
    information[3, 3] += 2 * PRIOR_F_WEIGHT / spread
    if held is None:
        covariance = np.linalg.inv(information)
    else:  # the others, ln(D* - D) among them, follow D as their equations tell
        to_excess = np.eye(4)  # D and the others by (S0, D, D* - D, f)
        to_excess[2, 1] = 1
        inner = to_excess.T @ information @ to_excess
        rest = [0, 2, 3]
        covariance = np.zeros((4, 4))
        covariance[np.ix_(rest, rest)] = np.linalg.inv(inner[np.ix_(rest, rest)])
        follow = np.ones(4)
        follow[rest] = -covariance[np.ix_(rest, rest)] @ inner[rest, 1]
        covariance += held[1] ** 2 * np.outer(follow, follow)
        covariance = to_excess @ covariance @ to_excess.T
    product = np.array([0, 0, at[3], at[2]])
    expected = [*np.sqrt(np.diag(covariance)), np.sqrt(product @ covariance @ product)]
    assert fit[4:9] == pytest.approx(expected, rel=0.01)


def test_goodness_of_fit_counts_each_measurement_by_its_averages():
    b, averages = MARROW_B / 1000, np.where(MARROW_B > 200, 9.0, 1.0)
    measured = ivim_signal(MARROW_B, 50.0, 1.0, 20.0, 0.2)
    measured = measured + np.random.default_rng(0).standard_normal(b.size)
    one = np.ones(1)
    s0, d, d_star, f, *_, rms, r_squared, _ = fit_voxels(
        measured[None], one, one, b, averages, False
    )[:, 0].astype(float)
    left = measured - ivim_signal(MARROW_B, s0, d, d_star, f)
    square = np.average(left**2, weights=averages)
    whole = np.average((measured - np.average(measured, weights=averages)) ** 2, weights=averages)
    assert rms == pytest.approx(np.sqrt(square), rel=1e-3)
    assert r_squared == pytest.approx(1 - square / whole, abs=1e-5)
