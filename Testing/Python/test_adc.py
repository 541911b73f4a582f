import numpy as np
import pytest
from PDFFMapperLib.diffusion.adc import fit_adc
from PDFFMapperLib.diffusion.kurtosis import fit_kurtosis
from PDFFMapperLib.diffusion.recipe import DIFFUSION
from PDFFMapperLib.images.volume import Volume
from phantoms.diffusion import rician

B = np.array([0.0, 100.0, 400.0, 800.0])


def decay(b, adc, s0=100.0):
    return s0 * np.exp(-np.asarray(b) / 1000 * np.asarray(adc)[..., None])


@pytest.mark.parametrize("method", ["ml", "wls"])
def test_noise_free_decay_is_recovered(method):
    adc = np.array([0.0, 0.2, 0.9, 3.0])
    fit = fit_adc(decay(B, adc), B, method=method)
    assert fit.adc == pytest.approx(adc, abs=2e-5)
    assert fit.s0 == pytest.approx(np.full(4, 100.0), rel=1e-5)
    assert fit.valid.all()


def test_two_points_give_the_closed_form_and_no_uncertainty():
    signal = np.array([[90.0, 40.0], [50.0, 45.0]])
    for method in ("wls", "ml"):  # the commonest clinical DWI is taken as it comes
        fit = fit_adc(signal, [50, 800], method=method)
        assert fit.adc == pytest.approx(np.log(signal[:, 0] / signal[:, 1]) / 0.75, rel=1e-5)
        assert np.isnan(fit.adc_sd).all() and np.isnan(fit.sigma)
        assert np.isnan(fit.r_squared).all() and np.isnan(fit.residual).all()
    known = fit_adc(signal, [50, 800], sigma=1.0)
    assert np.isfinite(known.adc_sd).all()


def test_maximum_likelihood_has_no_rician_bias_where_least_squares_has():
    # At b = 1500 the true signal is 0.7 sigma: the magnitude floor flattens the decay.
    b = np.array([0, 250, 500, 1000, 1500.0])
    rng = np.random.default_rng(0)
    signal = rician(np.tile(decay(b, 1.5, 7.0), (40_000, 1)), 1.0, rng)
    likely = fit_adc(signal, b, sigma=1.0)
    squares = fit_adc(signal, b, method="wls", sigma=1.0)
    assert likely.valid.mean() > 0.999
    assert np.nanmedian(likely.adc) == pytest.approx(1.5, abs=0.03)
    assert np.nanmedian(squares.adc) < 1.4


def test_standard_deviation_is_that_of_the_errors():
    rng = np.random.default_rng(1)
    fit = fit_adc(rician(np.tile(decay(B, 0.7), (20_000, 1)), 4.0, rng), B, sigma=4.0)
    assert np.median(fit.adc_sd) == pytest.approx(fit.adc.std(), rel=0.03)
    assert np.median(fit.s0_sd) == pytest.approx(fit.s0.std(), rel=0.03)


def test_noise_is_measured_from_the_residuals():
    rng = np.random.default_rng(2)
    fit = fit_adc(rician(np.tile(decay(B, 0.7), (20_000, 1)), 4.0, rng), B)
    assert fit.sigma == pytest.approx(4.0, rel=0.03)


def test_averages_weigh_and_narrow():
    signal = decay(B, 0.7)
    one = fit_adc(signal, B, sigma=2.0)
    four = fit_adc(signal, B, sigma=2.0, averages=[4, 4, 4, 4])
    assert four.adc_sd == pytest.approx(one.adc_sd / 2, rel=1e-3)


def test_b_values_may_come_in_any_order():
    b = np.array([400.0, 0.0, 800.0, 20.0])
    assert fit_adc(decay(b, 0.6), b, sigma=1.0).adc == pytest.approx(0.6, rel=1e-3)


def test_b_values_beyond_those_wanted_do_not_count():
    disturbed = {0.0: 1.3, 20.0: 1.0, 400.0: 1.0, 800.0: 1.5}  # perfusion, and the noise floor
    images = [
        Volume(
            np.full((1, 4, 4), by * decay(b, 0.6)), np.eye(4), f"b {b:g}", {"DiffusionBValue": b}
        )
        for b, by in disturbed.items()
    ]
    recipe = DIFFUSION.recipe("adc")
    for settings, right in (({"lowest_b": 15, "highest_b": 400}, True), ({"lowest_b": 15}, False)):
        (adc, *_) = recipe.make(images, sigma="1", mask=images[0], **settings)
        assert np.allclose(adc.volume.array, 0.6, rtol=1e-3) is right


def test_bad_voxels_are_nan_and_masked():
    signal = np.tile(decay(B, 0.7), (6, 1))
    signal[0, 2] = np.nan
    signal[1, 3] = -1.0
    signal[2] = 0.0
    signal[3, 1] = np.inf
    mask = np.array([1, 1, 1, 1, 0, 1], dtype=bool)
    fit = fit_adc(signal, B, mask=mask, sigma=1.0)
    assert fit.valid.tolist() == [False, True, False, False, False, True]
    assert np.isnan(fit.adc[[0, 2, 3, 4]]).all()
    assert fit.adc[5] == pytest.approx(0.7, rel=1e-3)


def test_kurtosis_is_recovered_with_its_uncertainty():
    b = np.array([0, 200, 500, 800, 1000, 1500, 2000.0])
    d, k = 1.0, 0.8
    x = b / 1000 * d
    clean = 100 * np.exp(-x + x**2 * k / 6)
    fit = fit_kurtosis(clean, b, sigma=0.01)
    assert (float(fit.d), float(fit.k)) == pytest.approx((d, k), rel=1e-3)
    noisy = rician(np.tile(clean, (20_000, 1)), 0.8, np.random.default_rng(0))
    fit = fit_kurtosis(noisy, b, sigma=0.8)
    assert np.mean(fit.k) == pytest.approx(k, abs=0.02)
    assert np.median(fit.k_sd) == pytest.approx(fit.k.std(), rel=0.05)


@pytest.mark.parametrize(
    ("b", "says"),
    [
        ([0, 0, 0, 0], "none reaches 10"),
        ([0, 0.1, 0.4, 0.8], "multiply them by 1000"),
        ([0, 100, 400, 1e9 + 800], "subtract"),
        ([0, 100, 400], "one b-value per image"),
        ([0, 100, -5, 800], "not negative"),
        ([50, 50, 50, 50], "at least 2 different"),
    ],
)
def test_impossible_b_values_are_refused_in_a_sentence(b, says):
    with pytest.raises(ValueError, match=says):
        fit_adc(decay(B, [0.7]), b)


def test_canceled_fit_returns_none():
    with pytest.raises(InterruptedError, match=r"Mapping was canceled\."):
        fit_adc(np.tile(decay(B, 0.7), (20_000, 1)), B, progress=lambda done: False)
