"""An R2* each for water and fat: bound, truth, and when it is chosen."""

import numpy as np
import pytest
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.separation import Doubt, separate_water_fat
from PDFFMapperLib.water_fat.spectra import fat_spectrum
from PDFFMapperLib.water_fat.two_decays import fit_two_decays, information_gain
from phantoms.water_fat import spine_phantom

EIGHT_ECHOES_S = 1.2e-3 + np.arange(8) * 1.1e-3


def bound(fraction, of_water, of_fat, snr):
    """Cramer-Rao SDs of PDFF and both R2* from numerical derivatives of the signal."""
    times, fat = EIGHT_ECHOES_S, fat_spectrum().modulation(EIGHT_ECHOES_S, 3.0)

    def signal(x):
        water, lipid, phase, offset, first, second = x
        decayed = water * np.exp(-first * times) + lipid * fat * np.exp(-second * times)
        turned = decayed * np.exp(1j * (phase + 2 * np.pi * offset * times))
        return np.concatenate([turned.real, turned.imag])

    at = np.array([1 - fraction, fraction, 0.4, 20.0, of_water, of_fat])
    steps = np.array([1e-6, 1e-6, 1e-6, 1e-4, 1e-3, 1e-3])
    slopes = np.stack(
        [(signal(at + h) - signal(at - h)) / (2 * h.sum()) for h in np.diag(steps)], 1
    )
    covariance = np.linalg.inv(slopes.T @ slopes) / snr**2
    gradient = np.array([-fraction, 1 - fraction, 0, 0, 0, 0])
    return (
        100 * np.sqrt(gradient @ covariance @ gradient),
        np.sqrt(covariance[4, 4]),
        np.sqrt(covariance[5, 5]),
        signal(at),
    )


@pytest.mark.parametrize(("fraction", "of_water", "of_fat"), [(0.5, 60, 110), (0.3, 40, 90)])
def test_fits_reach_the_bound_without_bias(fraction, of_water, of_fat):
    snr, voxels = 80, 8000
    *sds, clean = bound(fraction, of_water, of_fat, snr)
    noise = np.random.default_rng(0).standard_normal((voxels, 16)) / snr
    parts = clean + noise
    signals = (parts[:, :8] + 1j * parts[:, 8:]).astype(np.complex64)
    fat = fat_spectrum().modulation(EIGHT_ECHOES_S, 3.0)
    starts = (np.full(voxels, 18, np.float32), np.full(voxels, 70, np.float32))
    fits = fit_two_decays(signals, EIGHT_ECHOES_S, fat, *starts)
    found = (100 * fits[:, 1] / (fits[:, 0] + fits[:, 1]), fits[:, 2], fits[:, 3])
    variances = (1e4 * fits[:, 6], fits[:, 7], fits[:, 8])
    truths = (100 * fraction, of_water, of_fat)
    for values, truth, sd, variance in zip(found, truths, sds, variances, strict=True):
        assert values.mean() == pytest.approx(truth, abs=0.03 * sd + 4 * sd / np.sqrt(voxels))
        assert values.std() == pytest.approx(sd, rel=0.05)
        assert np.sqrt(np.median(variance)) / snr == pytest.approx(sd, rel=0.03)


def separated(phantom, **options):
    data = multi_echo(phantom.echoes, phantom.echo_times_s, 3.0, phantom.voxel_size_mm)
    return separate_water_fat(data, readout="unipolar", precession="as given", **options)


def test_two_decays_are_chosen_where_there_are_two():
    phantom = spine_phantom((8, 64, 64), EIGHT_ECHOES_S, 80, faster_fat_per_s=60)
    marrow = np.isin(phantom.labels, (5, 6, 7))
    single = separated(phantom)
    selected = separated(phantom, r2star_model="select")
    there = np.isfinite(selected.r2star_fat_per_s)
    assert there[marrow].mean() > 0.9
    assert any("of the voxels, as AICc prefers" in note for note in selected.facts["notes"])
    before = np.abs((single.pdff_percent - phantom.pdff)[marrow].mean())
    after = np.abs((selected.pdff_percent - phantom.pdff)[marrow].mean())
    assert before > 1
    assert after < 0.2
    apart = (selected.r2star_fat_per_s - selected.r2star_water_per_s)[marrow & there]
    assert np.median(apart) == pytest.approx(60, abs=4)
    scaled = ((selected.pdff_percent - phantom.pdff) / selected.pdff_sd)[marrow & there]
    assert scaled.std() == pytest.approx(1, abs=0.06)


def test_one_decay_is_kept_where_there_is_one():
    phantom = spine_phantom((8, 64, 64), EIGHT_ECHOES_S, 60)
    body = phantom.labels > 0
    selected = separated(phantom, r2star_model="select")
    assert np.isfinite(selected.r2star_fat_per_s)[body].mean() < 0.02
    single = separated(phantom)
    same = body & ~np.isfinite(selected.r2star_fat_per_s)
    np.testing.assert_array_equal(selected.pdff_percent[same], single.pdff_percent[same])
    both = separated(phantom, r2star_model="separate")
    assert np.isfinite(both.r2star_fat_per_s)[np.isin(phantom.labels, (5, 6, 7))].mean() > 0.99
    assert any("were given an R2* each; the fit of" in note for note in both.facts["notes"])


def test_a_voxel_that_only_two_decays_fit_is_no_poor_fit_any_more():
    phantom = spine_phantom((1, 32, 32), EIGHT_ECHOES_S, 300)
    inside = np.argwhere(phantom.labels > 0)
    at = tuple(inside[len(inside) // 2])
    fat = phantom.spectrum.modulation(EIGHT_ECHOES_S, 3.0)
    field = np.exp(2j * np.pi * phantom.off_resonance_hz[at] * EIGHT_ECHOES_S)
    signal = 0.5 * np.exp(-30 * EIGHT_ECHOES_S) + 0.5 * fat * np.exp(-330 * EIGHT_ECHOES_S)
    phantom.echoes[(slice(None), *at)] = signal * field
    single = separated(phantom)
    assert single.doubt[at] & Doubt.POOR_FIT
    both = separated(phantom, r2star_model="separate")
    assert both.r2star_fat_per_s[at] == pytest.approx(330, abs=15)
    assert not both.doubt[at] & Doubt.POOR_FIT


def test_one_decay_is_kept_where_two_would_leave_the_pdff_unknown():
    """Of water without fat: the decay of fat, and with it the PDFF, could be anything."""
    phantom = spine_phantom((4, 40, 40), snr=60)
    both = separated(phantom, r2star_model="separate")
    assert np.nanmax(both.pdff_sd[both.confident]) < 16
    error = np.abs(both.pdff_percent - phantom.pdff)[(phantom.labels > 0) & both.confident]
    assert error.max() < 30


def test_a_voxel_that_two_decays_do_not_fit_either_is_a_poor_fit():
    phantom = spine_phantom((1, 32, 32), EIGHT_ECHOES_S, 300)
    inside = np.argwhere(phantom.labels > 0)
    at = tuple(inside[len(inside) // 2])
    phantom.echoes[(3, *at)] *= 1.5
    both = separated(phantom, r2star_model="separate")
    assert 5 < both.residual_percent[at] < 50
    assert both.doubt[at] & Doubt.POOR_FIT
    others = (phantom.labels > 0) & (both.doubt & Doubt.POOR_FIT > 0)
    assert others.sum() == 1


def test_information_gain_of_equal_fits_is_the_price_of_the_unknowns():
    assert information_gain(np.array([1.0]), np.array([1.0]), np.array([100.0]), 6)[0] < -200
    assert information_gain(np.array([1.0]), np.array([0.5]), np.array([100.0]), 6)[0] > 0
    assert information_gain(np.array([1.0]), np.array([0.5]), np.array([1.0]), 3)[0] == -np.inf


def test_what_cannot_have_two_decays_is_refused():
    phantom = spine_phantom((2, 24, 24), EIGHT_ECHOES_S[:3])
    with pytest.raises(ValueError, match="at least four echoes"):
        separated(phantom, r2star_model="select")
    with pytest.raises(ValueError, match="Water and fat have phases of their own in these data"):
        separated(
            spine_phantom((2, 24, 24), EIGHT_ECHOES_S), r2star_model="select", common_phase=False
        )
    with pytest.raises(ValueError, match="R2\\* model"):
        separated(phantom, r2star_model="dual")
