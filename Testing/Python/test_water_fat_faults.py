"""What scanners and patients do to echoes: right in spite of it, or marked, or refused by name."""

from dataclasses import replace

import numpy as np
import pytest
from PDFFMapperLib.water_fat.field_map import ChemicalShiftModel, fit_from_candidates
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.neighborhood import over_together
from PDFFMapperLib.water_fat.odd_echo import echo_that_contradicts, poor_share
from PDFFMapperLib.water_fat.separation import Doubt, separate_water_fat
from PDFFMapperLib.water_fat.spectra import fat_spectrum
from PDFFMapperLib.water_fat.voxel_fit import RESIDUAL
from phantoms.water_fat import SIX_ECHOES_S, TISSUES, spine_phantom, with_phase_error

GIVEN = {"precession": "as given"}
UNIPOLAR = {"precession": "as given", "readout": "unipolar"}


def separated(phantom, **options):
    data = multi_echo(
        phantom.echoes, phantom.echo_times_s, phantom.field_strength_t, phantom.voxel_size_mm
    )
    return separate_water_fat(data, **options)


def biases(phantom, result):
    """Bias of the tissues of which 40 voxels are confident, and what chance leaves of it."""
    error = result.pdff_percent - phantom.pdff
    for label in TISSUES:
        here = (phantom.labels == label) & result.confident
        if here.sum() >= 40:
            yield error[here].mean(), 3 * error[here].std() / np.sqrt(here.sum())


def moved(phantom, *echoes):
    """The phantom after a motion by two columns for some of the echoes."""
    signals = phantom.echoes.copy()
    for echo in echoes:
        signals[echo] = np.roll(signals[echo], 2, axis=-1)
    return replace(phantom, echoes=signals)


@pytest.fixture(scope="module")
def sound():
    return spine_phantom((8, 48, 48), SIX_ECHOES_S, 60)


@pytest.mark.parametrize(("snr", "kept"), [(5, 0.0), (10, 0.98)])
def test_noise_that_could_exchange_water_and_fat_is_marked_by_tissue(snr, kept):
    phantom = spine_phantom((8, 48, 48), SIX_ECHOES_S, snr)
    result = separated(phantom, **UNIPOLAR)
    body = phantom.labels > 0
    assert result.confident[body].mean() == pytest.approx(kept, abs=0.02)
    wrong = np.abs(result.pdff_percent - phantom.pdff) > 40
    assert wrong[body].any() == (snr == 5)
    assert not (wrong & result.confident)[body].any()
    for bias, chance in biases(phantom, result):
        assert abs(bias) < 0.3 + chance


def test_a_limit_is_decided_together_with_the_voxels_around():
    rng = np.random.default_rng(0)
    mask = np.ones((3, 40, 40), bool)
    typical = np.where(np.arange(40) < 20, 0.9, 1.1) * np.ones(mask.shape)
    value = (typical * np.exp(0.25 * rng.standard_normal(mask.shape)))[mask]
    over = over_together(mask, value, 1.0).reshape(mask.shape)
    assert over[:, :, 5:15].mean() < 0.02 and over[:, :, 25:35].mean() > 0.98
    assert ((value > 1).reshape(mask.shape) != (typical > 1)).mean() > 0.3  # by itself it could not
    value[0], value[1] = np.nan, 0.2
    assert list(over_together(mask, value, 1.0)[:2]) == [False, False]


def test_a_t2star_of_three_ms_exchanges_nothing():
    marrow = dict.fromkeys((4, 5, 6, 7), (30.0, 333.0))
    phantom = spine_phantom((8, 48, 48), SIX_ECHOES_S, 60, marrow=marrow)
    result = separated(phantom, **UNIPOLAR)
    assert result.confident[phantom.labels > 0].mean() > 0.99
    assert not (np.abs(result.pdff_percent - phantom.pdff) > 40)[phantom.labels > 0].any()
    for bias, chance in biases(phantom, result):
        assert abs(bias) < 0.2 + chance


def test_noise_alone_is_no_reason_for_phases_of_their_own():
    """Four echoes of SNR 5: each its own phase leaves less by more than its unknowns explain."""
    times = 1.2e-3 + 2e-3 * np.arange(4)
    phantom = spine_phantom((8, 48, 48), times, 5, 1.5, off_resonance_hz=90)
    assert separated(phantom, **UNIPOLAR).facts["common_phase"]


def test_a_moved_echo_is_refused_by_its_number(sound):
    with pytest.raises(ValueError, match=r"Echo 6 of 6 does not fit the others in \d\d % of the"):
        separated(moved(sound, 5), **GIVEN)


def test_motion_of_more_than_one_echo_is_no_phase_of_fat():
    times = 1.2e-3 + 2e-3 * np.arange(4)
    phantom = spine_phantom((8, 48, 48), times, 60, 1.5, off_resonance_hz=90)
    with pytest.raises(ValueError, match="phases of their own would explain these echoes"):
        separated(moved(phantom, 2, 3), **UNIPOLAR)


def test_a_phase_of_fat_that_three_echoes_hide_is_refused():
    times = 1.15e-3 * np.arange(1, 4)
    phantom = spine_phantom((8, 48, 48), times, 60, fat_lead_rad=0.8)
    with pytest.raises(ValueError, match="An error of odd against even echoes would explain"):
        separated(phantom, **GIVEN)


@pytest.mark.parametrize("common_phase", [True, False])
def test_the_echo_is_found_that_is_of_something_else(common_phase):
    """In a sixth of the voxels one echo is that of another voxel; in none where its phase errs."""
    fat = fat_spectrum().modulation(SIX_ECHOES_S, 3.0)
    model = ChemicalShiftModel(SIX_ECHOES_S, fat, 3.0, common_phase)
    rng = np.random.default_rng(0)
    fraction, field = rng.random((300, 1)), rng.uniform(-60, 60, (300, 1))
    signals = (1 - fraction + fraction * fat) * np.exp((2j * np.pi * field - 40) * SIX_ECHOES_S)
    signals = signals + 0.01 * (rng.standard_normal((300, 6)) + 1j * rng.standard_normal((300, 6)))
    wrong = signals.copy()
    wrong[::6, 3] = signals[150:200, 3]
    for given, found in ((signals, None), (wrong, 3)):
        given = given.astype(np.complex64)
        left = fit_from_candidates(given, model)[:, RESIDUAL]
        share = poor_share(given, left, 5 if common_phase else 6)
        assert share == pytest.approx(0 if found is None else 1 / 6, abs=0.03)
        assert echo_that_contradicts(given, model, None, share) == found
    four = replace(model, echo_times_s=SIX_ECHOES_S[:4], fat=fat[:4])
    few = echo_that_contradicts(wrong[:, :4].astype(np.complex64), four, None, 0.17)
    assert few == (3 if common_phase else None)  # 6 unknowns of 6 numbers leave nothing to tell by


def test_a_right_phase_error_leaves_no_voxel_that_contradicts(sound):
    result = separated(with_phase_error(sound, "first echo", 0.4), **GIVEN)
    assert not (result.doubt[sound.labels > 0] & Doubt.POOR_FIT).any()
