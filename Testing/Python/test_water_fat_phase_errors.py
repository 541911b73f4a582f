"""Phase errors of every kind: found by the echoes, corrected, named; or refused."""

from dataclasses import replace

import numpy as np
import pytest
from PDFFMapperLib.water_fat.error_kernel import project
from PDFFMapperLib.water_fat.field_map import relative_residuals
from PDFFMapperLib.water_fat.magnitude import magnitude_water_fat
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.separation import Doubt, separate_water_fat
from PDFFMapperLib.water_fat.voxel_fit import COLUMNS, FAT, OFFSET, R2STAR, RESIDUAL, WATER
from phantoms.water_fat import (
    PHASE_ERRORS,
    SIX_ECHOES_S,
    TISSUES,
    spine_phantom,
    with_phase_error,
)

FOUR_ECHOES_S = 1.2e-3 + np.arange(4) * 2.0e-3
NAMES = {
    "one echo": ("echo 4", "echo 3"),
    "ramp in one echo": ("echo 2",),
    "trains": ("interleaved trains", "every echo"),
    "conjugated": ("first echo",),
}


def separated(phantom, **options):
    data = multi_echo(
        phantom.echoes, phantom.echo_times_s, phantom.field_strength_t, phantom.voxel_size_mm
    )
    return separate_water_fat(data, **options)


def check(phantom, result, most=0.15):
    """No swap, and no tissue biased beyond what chance leaves."""
    error = result.pdff_percent - phantom.pdff
    assert not (np.abs(error) > 40)[result.confident & (phantom.labels > 0)].any()
    for label, (name, *_) in TISSUES.items():
        here = (phantom.labels == label) & result.confident
        if here.sum() < 20:  # marked
            continue
        chance = 3 * error[here].std() / np.sqrt(here.sum())
        assert abs(error[here].mean()) < most + chance, name
    assert result.confident[phantom.labels > 0].mean() > 0.97


@pytest.fixture(scope="module")
def sound():
    """Phantoms without error by their number of echoes; the errors are put on their echoes."""
    return {
        6: spine_phantom((8, 48, 48), SIX_ECHOES_S, 60),
        4: spine_phantom((8, 48, 48), FOUR_ECHOES_S, 60, 1.5, off_resonance_hz=90),
    }


@pytest.mark.parametrize(
    ("echoes", "kind"), [*((6, kind) for kind in PHASE_ERRORS), (4, "first echo"), (4, "trains")]
)
def test_the_error_is_named_and_corrected(sound, echoes, kind):
    phantom = with_phase_error(sound[echoes], kind, 0.3)
    result = separated(phantom)
    check(phantom, result)
    assert result.facts["echo_error"]["kind"] in NAMES.get(kind, (kind,))
    assert result.facts["conjugated"] == (kind == "conjugated")
    name = result.facts["echo_error"]["kind"]
    words = (name, "Odd and even", "(mixed fitting)")
    assert any(word in note for note in result.facts["notes"] for word in words)
    if kind == "odd/even":
        told = " ".join(result.facts["notes"])
        assert ", which was corrected; its uncertainty leaves " in told


def test_explanations_are_compared_by_the_likelihood_ratio_of_each_voxel():
    left = np.random.default_rng(0).uniform(1, 9, (2, 500))
    first, second = np.zeros((2, 500, COLUMNS))
    first[:, RESIDUAL], second[:, RESIDUAL] = left
    ratio = np.log(left[0] / left[1])  # twice, per sample, where each voxel has its own noise
    mean, error = relative_residuals(first, second, np.full(500, 1e3))
    assert mean == pytest.approx(np.tanh(ratio / 2).mean(), rel=1e-6)
    assert error == pytest.approx(np.tanh(ratio / 2).std() / np.sqrt(500), rel=1e-3)
    first[0, RESIDUAL] = 1e9  # a wild one counts no more than twice the others
    assert relative_residuals(first, second, np.full(500, 1e3))[0] - mean < 2 / 500


def test_voxels_without_a_fit_tell_nothing_of_an_error():
    times, fits = 1e-3 * np.arange(1, 7), np.zeros((3, COLUMNS), np.float32)
    fits[0, [WATER, FAT, OFFSET, R2STAR]] = 0.6, 0.4, 30, 40
    fits[2] = np.nan  # the second holds neither water nor fat
    fat = np.exp(-2j * np.pi * 434 * times)
    wave = np.exp((2j * np.pi * 30 - 40) * times + 0.1j * (-1) ** np.arange(6))
    signals = np.stack([(0.6 + 0.4 * fat) * wave, 0 * wave, wave]).astype(np.complex64)
    sign = (-1.0) ** np.arange(6)[None]
    products, along, squares, by = project(signals, fits, sign, fat, times, True, True)
    assert along[0, 0] / products[0, 0, 0] == pytest.approx(0.1, rel=0.1) and squares[0] > 0
    assert not any(each[1:].any() for each in (products, along, squares))
    assert np.isfinite(by[0]).all() and np.isnan(by[1:]).all()


def test_a_small_error_of_the_first_echo_is_not_taken_for_a_bipolar_readout(sound):
    phantom = with_phase_error(sound[6], "first echo", 0.15)
    result = separated(phantom)
    assert result.facts["echo_error"]["kind"] == "first echo"
    check(phantom, result)


def test_noise_that_exchanges_voxels_is_no_lead_of_fat_in_four_echoes():
    """The PDFF was up to 2 points off by it; at a ratio of 22 the echoes were refused."""
    times = 1.3e-3 + 1.6e-3 * np.arange(4)
    phantom = spine_phantom((12, 72, 72), times, 35, 1.5, off_resonance_hz=75, seed=34)
    result = separated(phantom)
    assert result.echo_error is None and abs(result.facts["fat_phase_lead_rad"]) < 1e-6
    check(phantom, result)


def test_a_slight_error_of_the_first_echo_is_corrected_and_its_phase_still_used(sound):
    """A hundredth of a rad and a ramp, as in a cervical spine: mixed fitting would only cost."""
    sound = sound[6]
    ramp = 0.08 * np.linspace(-1, 1, sound.echoes.shape[-1])
    echoes = sound.echoes.copy()
    echoes[0] *= np.exp(1j * ramp).astype(np.complex64)
    result = separated(replace(sound, echoes=echoes))
    assert result.facts["echo_error"]["kind"] == "first echo"
    assert result.facts["mixed_echo"] is None
    check(sound, result)
    assert separated(with_phase_error(sound, "first echo", 0.15)).facts["mixed_echo"] == 1


def test_a_lead_of_fat_is_neither_conjugated_nor_bipolar():
    phantom = spine_phantom((8, 48, 48), SIX_ECHOES_S, 60, fat_lead_rad=0.8)
    result = separated(phantom)
    check(phantom, result)
    assert not result.facts["conjugated"]
    assert result.facts["echo_error"] is None
    assert result.facts["fat_phase_lead_rad"] == pytest.approx(0.8, abs=0.03)


def test_three_echoes_are_corrected_too():
    times = 1.15e-3 * np.arange(1, 4)
    phantom = with_phase_error(spine_phantom((8, 48, 48), times, 60), "first echo", 0.3)
    result = separated(phantom, precession="as given")
    check(phantom, result, 0.3)


def test_noise_gives_water_and_fat_of_three_echoes_no_phases_of_their_own():
    """At 60 % two of the echoes nearly vanish; fat beneath the skin read 2.3 points low."""
    marrow = dict.fromkeys((1, 3, 9, 10), (60.0, 40.0)) | dict.fromkeys(range(4, 9), (60.0, 200.0))
    phantom = spine_phantom((6, 64, 64), SIX_ECHOES_S[:3], 20, seed=3, marrow=marrow)
    result = separated(phantom)
    assert result.facts["common_phase"]
    fat = (phantom.labels == 2) & result.confident
    assert fat.sum() > 1000 and abs((result.pdff_percent - 100)[fat].mean()) < 0.4


def test_magnitude_fraction_stands_for_pdff_where_phases_differ():
    """A lead of fat that changes over the rows faster than a neighborhood can follow."""
    phantom = spine_phantom((6, 64, 64), SIX_ECHOES_S, 60)
    rows = np.arange(64)[:, None]
    lead = 1.4 * np.sin(rows / 2.5)
    fraction = np.nan_to_num(phantom.pdff) / 100
    decay = np.nan_to_num(phantom.r2star) - 2j * np.pi * np.nan_to_num(phantom.off_resonance_hz)
    rng = np.random.default_rng(0)
    for n, time in enumerate(SIX_ECHOES_S):
        turn = phantom.spectrum.modulation(SIX_ECHOES_S, 3.0)[n] * np.exp(1j * lead)
        clean = (phantom.labels > 0) * (1 - fraction + fraction * turn) * np.exp(-decay * time)
        noise = rng.standard_normal((2, *clean.shape)) / 60
        phantom.echoes[n] = clean + noise[0] + 1j * noise[1]
    result = separated(phantom, precession="as given", readout="unipolar")
    assert not result.facts["common_phase"]
    for label in (4, 5, 6, 7, 8):
        here = (phantom.labels == label) & result.confident
        error = result.pdff_percent[here] - phantom.pdff[here]
        assert abs(error.mean()) < 0.3 + 3 * error.std() / np.sqrt(here.sum()), label
        assert np.percentile(error, 2) > -4 * np.median(result.pdff_sd[here]), label


def test_low_fat_with_a_phase_of_its_own_is_unbiased_where_data_follow_the_model():
    phantom = spine_phantom((8, 48, 48), SIX_ECHOES_S, 40)
    options = {"precession": "as given", "readout": "unipolar", "common_phase": False}
    result = separated(phantom, **options)
    error = (result.pdff_percent - phantom.pdff)[phantom.labels == 1]
    assert abs(error.mean()) < 0.15
    assert not any("made of magnitudes" in note for note in result.facts["notes"])
    # Echoes that differ in size by more than noise: phases of a few percent of fat mean nothing.
    sizes = np.array([1, 0.85, 1.15, 0.85, 1.15, 0.85], np.float32)
    phantom.echoes *= sizes[:, None, None, None]
    result = separated(phantom, **options)
    assert any("made of magnitudes" in note for note in result.facts["notes"])
    assert np.nanmin(result.pdff_percent) >= -0.5  # none is signed


def test_water_plus_fat_near_nothing_has_no_pdff():
    phantom = spine_phantom((4, 40, 40), snr=60)
    noise = np.random.default_rng(1).standard_normal((2, *phantom.echoes[:, 2].shape)) / 60
    phantom.echoes[:, 2] = noise[0] + 1j * noise[1]  # a slice of nothing
    body = phantom.labels > 0
    result = separated(phantom, mask=body)
    canceled = result.doubt & Doubt.CANCELED > 0
    assert canceled[2].sum() > 10
    assert np.isnan(result.pdff_percent[canceled]).all()
    assert not canceled[[0, 1, 3]].any()
    assert np.nanmax(np.abs(result.pdff_percent)) < 1000
    apart = separated(phantom, mask=body, r2star_model="separate")
    assert np.isnan(apart.pdff_percent[canceled]).all()


@pytest.mark.parametrize("complex_valued", [True, False])
def test_a_dead_echo_is_refused(sound, complex_valued):
    phantom = sound[6]
    echoes = phantom.echoes.copy()
    echoes[2] = 0
    with pytest.raises(ValueError, match=r"Echo 3 of 6 is 0 in 100 %"):
        if complex_valued:
            separate_water_fat(multi_echo(echoes, SIX_ECHOES_S, 3.0))
        else:
            magnitude_water_fat(np.abs(echoes), SIX_ECHOES_S, 3.0)


def test_where_a_wrong_model_leaves_more_than_noise_a_hidden_r2star_costs_the_pdff():
    """Three echoes cannot tell this error from the opposite precession, which leaves 3 times."""
    times = 1.15e-3 * np.arange(1, 4)
    sound = spine_phantom((10, 64, 64), times, off_resonance_hz=180)
    wrong = with_phase_error(sound, "first echo", 0.5)
    marrow = sound.labels == 7  # 60 %: hardly any R2* is told
    result = separated(sound)
    assert result.confident[marrow].mean() > 0.7
    assert abs((result.pdff_percent - 60)[marrow & result.confident].mean()) < 0.2
    result = separated(wrong)
    assert result.facts["conjugated"]
    assert any(note.startswith("The fit leaves 3.") for note in result.facts["notes"])
    assert not result.confident[marrow].any()  # 70 voxels were, by 1.02 points too high
    error = result.pdff_percent - wrong.pdff
    biases = [error[(wrong.labels == label) & result.confident] for label in TISSUES]
    assert max(abs(each.mean()) for each in biases if each.size > 20) < 1
