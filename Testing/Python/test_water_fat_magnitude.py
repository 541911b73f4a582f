"""Magnitude-only fits, two points, scanner images and T1 bias."""

from itertools import product

import numpy as np
import pytest
from PDFFMapperLib.water_fat.magnitude import (
    _likelier,
    _result,
    magnitude_water_fat,
)
from PDFFMapperLib.water_fat.magnitude_kernel import bessel_ratio, log_bessel
from PDFFMapperLib.water_fat.products import fat_fraction_of_images, two_point_fat_fraction
from PDFFMapperLib.water_fat.separation import Doubt
from PDFFMapperLib.water_fat.spectra import fat_spectrum
from PDFFMapperLib.water_fat.t1_bias import saturation, t1_corrected_fat_fraction
from phantoms.water_fat import TISSUES, spine_phantom
from scipy.special import i0e, i1e


def test_opposed_phase_given_for_in_phase_is_told():
    fat = np.tile([0.0, 0.05, 0.3, 0.9], (3, 40, 10))
    in_phase, opposed = np.full(fat.shape, 100.0), 100 * np.abs(1 - 2 * fat)
    inside = np.ones(fat.shape, bool)
    limits = two_point_fat_fraction(opposed, in_phase, mask=inside).limits
    assert any("is the brighter one by over a fifth in 50 % of the voxels" in x for x in limits)
    right = two_point_fat_fraction(in_phase, opposed, mask=inside).limits
    assert not any("given for one another" in one for one in right)


def test_bessel_functions():
    for x in (1e-6, 0.1, 1.0, 5.0, 11.9, 12.1, 40.0, 1000.0):
        assert bessel_ratio(x) == pytest.approx(i1e(x) / i0e(x), rel=1e-4)
        assert log_bessel(x) == pytest.approx(np.log(i0e(x)), abs=1e-4)


@pytest.mark.parametrize(
    ("r2star", "margin", "doubt"),
    [
        (40, 4.1, 0),
        (40, 3.9, Doubt.SWAP_RISK),  # twice the log-likelihood ratio; 3.84 is p = 0.05
        (-199, 9, 0),
        (-200, 9, Doubt.FAILED),
        (3000, 9, Doubt.FAILED),
    ],
)
def test_a_close_likelihood_and_an_impossible_decay_are_marked(r2star, margin, doubt):
    fits = np.array([[0.7, 0.3, r2star, 1e-4, 1.0, 1.0, margin]], np.float32)
    found = _result(np.ones((1, 1, 1), bool), fits, np.ones((6, 1)), 0.01)
    assert found.doubt.item() == doubt
    assert np.isnan(found.pdff_percent.item()) == (doubt == Doubt.FAILED)


def test_magnitudes_over_the_whole_range():
    phantom = spine_phantom(shape=(10, 80, 80), snr=100)
    result = magnitude_water_fat(np.abs(phantom.echoes), phantom.echo_times_s, 3.0)
    for label, (name, pdff, r2star) in TISSUES.items():
        here = (phantom.labels == label) & result.confident
        assert np.median(result.pdff_percent[here]) == pytest.approx(pdff, abs=1), name
        assert np.median(result.r2star_per_s[here]) == pytest.approx(r2star, abs=2), name
        wrong = np.abs(result.pdff_percent[here] - pdff) > 30
        assert wrong.mean() < 0.01, name
    assert result.facts["noise_sd"] == pytest.approx(phantom.noise, rel=0.1)
    assert "only by fat's side peaks: voxels where both fit about as" in result.facts["notes"][0]
    assert not any("no PDFF" in note for note in result.facts["notes"])


def test_rician_noise_does_not_bias_fast_decay():
    rng = np.random.default_rng(2)
    times = np.arange(1, 9) * 1.2e-3
    fat = fat_spectrum().modulation(times, 3.0)
    clean = (0.9 + 0.1 * fat) * np.exp(-300 * times)
    noise = rng.standard_normal((2, 8, 4, 40, 40)) / 25
    echoes = np.abs(clean[:, None, None, None] + noise[0] + 1j * noise[1])
    mask = np.ones((4, 40, 40), bool)
    rician = magnitude_water_fat(echoes, times, 3.0, mask=mask, noise=1 / 25)
    gaussian = magnitude_water_fat(echoes, times, 3.0, mask=mask, noise=0)
    # Half the echoes are near the noise; the likelihood takes most of the bias, not all.
    left = abs(np.nanmedian(rician.r2star_per_s) - 300)
    assert left < 15
    assert abs(np.nanmedian(gaussian.r2star_per_s) - 300) > 2 * left


def test_wrong_magnitudes_get_one_sentence():
    ones = np.ones((4, 2, 3, 3))
    times = [1e-3, 2e-3, 3e-3, 4e-3]
    for call, sentence in (
        (lambda: magnitude_water_fat(ones[:3], times[:3], 3), "at least 4"),
        (lambda: magnitude_water_fat(-ones, times, 3), "negative"),
        (lambda: magnitude_water_fat(ones * 1j, times, 3), "complex"),
        (lambda: magnitude_water_fat(ones * 0, times, 3), "no voxel has signal over the noise"),
        (
            lambda: magnitude_water_fat(ones, times, 3, mask=ones[0] * 0),
            "nothing to fit: no voxel of the mask has a finite signal",
        ),
        (lambda: two_point_fat_fraction(ones[0], -ones[1]), "negative"),
        (lambda: two_point_fat_fraction(ones[0], ones[1, :1]), "alike"),
        (
            lambda: two_point_fat_fraction(ones[0], ones[1], (1.15e-3, 2.3e-3), 3.0),
            "Check the order",
        ),
        (lambda: saturation(10, 500, 1.0), "divide milliseconds"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()


def test_two_points_give_both_readings():
    fraction = np.array([[[0.0, 0.2, 0.5, 0.8, 1.0]]])
    decay = np.exp(-50 * 1.15e-3)
    opposed, in_phase = np.abs(1 - 2 * fraction), np.ones_like(fraction) * decay
    mask = np.ones(fraction.shape)
    both = two_point_fat_fraction(in_phase, opposed, (2.3e-3, 1.15e-3), 3.0, 50.0, mask)
    np.testing.assert_allclose(both.percent, [[[0, 20, 50, 20, 0]]], atol=1e-4)
    np.testing.assert_allclose(both.other_percent, [[[100, 80, 50, 80, 100]]], atol=1e-4)
    assert any("cannot tell" in limit for limit in both.limits)


def test_scanner_images():
    water, fat = np.array([[[300, 100, 0]]], np.uint16), np.array([[[100, 300, 0]]], np.uint16)
    found = fat_fraction_of_images(water, fat)
    np.testing.assert_allclose(found.percent, [[[25, 75, np.nan]]])
    assert not found.mask[0, 0, 2]


def test_t1_bias_is_undone():
    water, fat = 0.6 * saturation(10, 0.01, 1.2), 0.4 * saturation(10, 0.01, 0.35)
    seen = 100 * fat / (water + fat)
    assert seen > 50
    assert t1_corrected_fat_fraction(seen, 10, 0.01, 1.2, 0.35) == pytest.approx(40)
    # Closed form: at 90 degrees the saturation is 1 - exp(-TR/T1).
    assert saturation(90, 0.5, 1.0) == pytest.approx(1 - np.exp(-0.5))


@pytest.mark.parametrize(
    ("in_ms", "opposed_ms", "fits"),
    [(2.3, 1.15, True), (2.5, 1.15, True), (2.3, 1.3, True), (2.7, 1.15, False), (2.3, 1.5, False)],
)
def test_each_echo_is_held_against_its_phase(in_ms, opposed_ms, fits):
    """At 3 T fat, 3.4 ppm away, turns once in 2.30 ms; up to 45 degrees off is allowed."""
    one, other = np.full((1, 2, 2), 100.0), np.full((1, 2, 2), 60.0)
    times = (in_ms / 1000, opposed_ms / 1000)
    if fits:
        low = two_point_fat_fraction(one, other, times, 3.0)
        assert low.limits
    else:
        with pytest.raises(ValueError, match=r"expected are 0 \(in phase\) and 180 \(opposed"):
            two_point_fat_fraction(one, other, times, 3.0)


def noisy_disc(tissues, times_s, snr, field_strength_t, seed=0):
    """Magnitudes of a disc in air, in upright stripes of (fat fraction, R2*) and their number."""
    y, x = np.mgrid[:40, :40] / 40 - 0.5
    disc = (np.hypot(x, y) < 0.42) * np.ones((2, 1, 1), bool)
    stripe = np.clip(((x + 0.42) / 0.84 * len(tissues)).astype(int), 0, len(tissues) - 1)
    fraction, decay = (np.array(each)[stripe] for each in zip(*tissues, strict=True))
    fat = fat_spectrum().modulation(times_s, field_strength_t)
    rng = np.random.default_rng(seed)
    echoes = []
    for time, of_fat in zip(times_s, fat, strict=True):
        clean = disc * (1 - fraction + fraction * of_fat) * np.exp(-decay * time)
        noise = rng.standard_normal((2, *disc.shape)) / snr
        echoes.append(np.abs(clean + noise[0] + 1j * noise[1]))
    return np.array(echoes), disc, stripe


@pytest.mark.parametrize(
    ("fraction", "decay", "snr", "least"),
    [
        (0.4, 60, 10, 0),  # was 15 points too high in the quarter that was confident
        (0.4, 60, 20, 0.4),
        (0.8, 20, 6, 0),
        (0.0, 30, 4, 0),
        (0.0, 30, 8, 0.2),
        (0.0, 30, 10, 0.6),  # was 0.3
        (0.03, 15, 10, 0.6),
    ],
)
def test_what_is_confident_is_not_what_noise_chose(fraction, decay, snr, least):
    times = 1.2e-3 + 1.6e-3 * np.arange(6)
    echoes, disc, _ = noisy_disc([(fraction, decay)], times, snr, 1.5)
    result = magnitude_water_fat(echoes, times, 1.5, mask=disc)
    confident = result.confident[disc]
    assert confident.mean() >= least
    untold = next(note for note in result.facts["notes"] if "have no PDFF: by echo times" in note)
    signal = result.doubt[disc] & Doubt.LOW_SIGNAL == 0
    assert float(untold.split(" %")[0]) == pytest.approx(
        100 * (1 - confident.sum() / signal.sum()), abs=1
    )
    if least:
        found = np.median(result.pdff_percent[result.confident])
        assert abs(found - 100 * fraction) < (10 if snr < 10 else 2)
    else:
        assert confident.mean() < 0.05


@pytest.mark.parametrize(("snr", "least"), [(10, 0), (20, 0), (40, 0.5)])
def test_water_around_does_not_outvote_a_few_voxels_of_fat(snr, least):
    """76 % of them at a ratio of 10 and 54 % at 20 were confident and read 24 % for 90 %."""
    times = 1.15e-3 * np.arange(1, 7)
    fraction, few = np.full((3, 60, 60), 0.05), np.zeros((3, 60, 60), bool)
    for row, column in product(range(6, 60, 12), repeat=2):
        few[1, row : row + 3, column : column + 3] = True
    fraction[few] = 0.9
    fat = fat_spectrum().modulation(times, 3.0)[:, None, None, None]
    clean = (1 - fraction + fraction * fat) * np.exp(-40 * times[:, None, None, None])
    noise = np.random.default_rng(0).standard_normal((2, *clean.shape)) / snr
    echoes = np.abs(clean + noise[0] + 1j * noise[1])
    result = magnitude_water_fat(echoes, times, 3.0, mask=np.ones(few.shape))
    sure = result.confident[few]
    assert sure.mean() >= least
    assert (sure & (result.pdff_percent[few] < 50)).mean() < 0.2
    assert result.confident[~few].mean() > 0.8


def test_echoes_in_reverse_reach_no_nonsense():
    """Marrow read -258 % with an SD of 314 points, and was confident."""
    times = 1.15e-3 * np.arange(1, 5)
    echoes, disc, stripe = noisy_disc([(0.4, 60), (0.02, 30)], times, 15, 3.0)
    result = magnitude_water_fat(echoes[::-1], times, 3.0)
    marrow = disc & (stripe == 0)
    assert result.confident[marrow].mean() < 0.01
    assert np.nanmedian(result.pdff_percent[marrow]) < -100
    assert result.pdff_percent[result.confident].min() > -60


@pytest.mark.parametrize(
    ("fraction", "sd", "doubt"),
    [
        (-0.3, 0.15, Doubt.POOR_FIT),
        (1.3, 0.15, Doubt.POOR_FIT),
        (-0.2, 0.15, 0),  # noise may do that
        (-0.03, 0.01, 0),
        (-0.1, 0.01, Doubt.POOR_FIT),
        (0.3, 0.25, Doubt.IMPRECISE),
    ],
)
def test_fractions_of_no_tissue_are_marked_by_those_around(fraction, sd, doubt):
    fits = np.array([[1 - fraction, fraction, 40, 1e-4, (sd / 0.01) ** 2, 1.0, 9]], np.float32)
    mask = np.ones((1, 8, 8), bool)
    found = _result(mask, np.repeat(fits, 64, 0), np.ones((6, 64)), 0.01)
    assert (found.doubt == doubt).all()


def test_voxels_around_tell_the_side_but_do_not_decide_it():
    """Ratios of twice the log-likelihood; the fit of little fat comes first."""
    mask = np.ones((1, 9, 9), bool)
    fits = np.zeros((81, 2, 7), np.float32)
    fits[:, 0, :3], fits[:, 1, :3] = (0.95, 0.05, 40), (0.05, 0.95, 40)
    fits[:, 1, 6] = 3.0
    fits[40, 1, 6] = -2.0
    fits[41, 1, 6] = -30.0
    chosen = _likelier(mask, fits)
    assert (chosen[:, 6] > 4)[np.arange(81) != 40].all()
    assert chosen[41, 1] > chosen[41, 0]  # fat among water
    assert (chosen[:, 1] < chosen[:, 0])[np.arange(81) != 41].all()
    fits[41, :, :2] = (0.49, 0.51), (0.45, 0.55)  # both sides led to about the same
    chosen = _likelier(mask, fits)
    assert chosen[41, 6] == np.inf and chosen[41, 1] == np.float32(0.55)  # the likelier
    alone = _likelier(mask[:, :1, :1], fits[:1])
    assert 0 < alone[0, 6] < 6 and alone[0, 0] > alone[0, 1]


@pytest.mark.parametrize(("late_ms", "is_told"), [(0.0, False), (0.5, True)])
def test_what_the_fit_leaves_over_the_noise_of_air_is_told(late_ms, is_told):
    phantom = spine_phantom((4, 48, 48), snr=40)
    times = phantom.echo_times_s + late_ms / 1000
    notes = magnitude_water_fat(np.abs(phantom.echoes), times, 3.0).facts["notes"]
    assert any("times the noise of the images" in note for note in notes) == is_told


@pytest.mark.parametrize("coils", [1, 8])
def test_air_of_two_images_that_is_taken_for_tissue_is_told(coils):
    """Two images do not tell the level of air that several coils leave."""
    rng = np.random.default_rng(0)
    body = np.hypot(*np.mgrid[-1:1:48j, -1:1:48j]) < 0.6
    noise = rng.standard_normal((2, 2, coils, 3, 48, 48))
    echoes = np.array([[[[30.0]]], [[[10.0]]]])[:, None] * body / np.sqrt(coils) + noise[0]
    water, fat = np.sqrt((echoes**2 + noise[1] ** 2).sum(1))
    found = fat_fraction_of_images(water, fat, voxel_size_mm=(4, 2, 2))
    told = any("% of the image was taken for tissue" in limit for limit in found.limits)
    assert told == (coils > 1) == (found.mask.mean() > 0.95)
