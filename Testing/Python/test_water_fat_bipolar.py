"""Odd/even echo errors of bipolar readouts: found, corrected, or refused."""

import numpy as np
import pytest
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.separation import separate_water_fat
from PDFFMapperLib.water_fat.spectra import fat_spectrum, spectrum_from_peaks
from phantoms.water_fat import SIX_ECHOES_S, TISSUES, spine_phantom, with_phase_error

FOUR_ECHOES_S = 1.2e-3 + np.arange(4) * 1.0e-3
IRREGULAR_S = np.array([1.1, 1.9, 3.1, 3.9, 5.1]) * 1e-3


def separated(phantom, conjugated=False, **options):
    echoes = phantom.echoes.conj() if conjugated else phantom.echoes
    data = multi_echo(echoes, phantom.echo_times_s, phantom.field_strength_t, phantom.voxel_size_mm)
    return separate_water_fat(data, **options)


def largest_bias(phantom, result):
    """Largest |mean error| of the PDFF over the tissues, beyond three standard errors."""
    beyond = []
    for label in TISSUES:
        error = (result.pdff_percent - phantom.pdff)[phantom.labels == label]
        beyond.append(abs(error.mean()) - 3 * error.std() / np.sqrt(error.size))
    return max(beyond)


@pytest.mark.parametrize(
    ("times", "field", "odd_even", "conjugated"),
    [
        (SIX_ECHOES_S, 3.0, (0.1j, 0), False),
        (SIX_ECHOES_S, 3.0, (0.3j, 0), True),
        (SIX_ECHOES_S, 3.0, (1.5j, 0), False),
        (SIX_ECHOES_S, 3.0, (-0.6j, 0.5j), False),
        (FOUR_ECHOES_S, 3.0, (-0.3j, 0), False),
        (FOUR_ECHOES_S, 3.0, (0.3j, -1.2j), True),
        (np.arange(1, 7) * 1.5e-3, 1.5, (0.8j, 0.6j), False),
        (IRREGULAR_S, 3.0, (-0.6j, 0.5j), False),
    ],
)
def test_phase_error_is_corrected(times, field, odd_even, conjugated):
    phantom = spine_phantom(
        (10, 64, 64), times, 60, field, off_resonance_hz=70 * field, odd_even=odd_even
    )
    result = separated(phantom, conjugated)
    assert result.facts["echo_error"]["kind"] == "odd/even"
    assert result.facts["conjugated"] == conjugated
    body = phantom.labels > 0
    assert largest_bias(phantom, result) < 0.1
    assert not (np.abs(result.pdff_percent - phantom.pdff)[body] > 30).any()
    scaled = ((result.pdff_percent - phantom.pdff) / result.pdff_sd)[body]
    assert scaled.std() == pytest.approx(1, abs=0.05)
    assert any("differ in phase" in note for note in result.facts["notes"])


def test_the_estimate_is_the_truth_within_its_uncertainty():
    phantom = spine_phantom((10, 64, 64), snr=30, odd_even=(0.25j, -0.4j))
    error = separated(phantom).facts["echo_error"]
    powers = error["powers_of_slice_row_column"]
    phase = error["phase_rad"][0]
    assert phase[0] == pytest.approx(0.25, abs=5 * error["phase_sd_rad"])
    assert phase[powers.index([0, 0, 1])] == pytest.approx(-0.4, abs=0.01)
    assert error["phase_sd_rad"] < 0.005


def test_amplitude_error_is_corrected_too():
    phantom = spine_phantom((12, 72, 72), FOUR_ECHOES_S, 60, odd_even=(0.02 + 0.3j, 0.4j))
    result = separated(phantom)
    error = result.facts["echo_error"]
    assert error["amplitude"][0] == pytest.approx(0.02, abs=5 * error["amplitude_sd"])
    assert any("Odd and even echoes differ in amplitude" in note for note in result.facts["notes"])
    assert largest_bias(phantom, result) < 0.15


def test_without_correction_the_error_would_matter():
    phantom = spine_phantom((8, 56, 56), FOUR_ECHOES_S, 60, odd_even=(0.3j, 0))
    result = separated(phantom, readout="unipolar", precession="as given")
    assert largest_bias(phantom, result) > 2


@pytest.mark.parametrize("times", [SIX_ECHOES_S, FOUR_ECHOES_S, IRREGULAR_S])
def test_unipolar_data_are_left_alone(times):
    phantom = spine_phantom((8, 56, 56), times, 40)
    found = separated(phantom)
    told = separated(phantom, readout="unipolar", precession="as given")
    assert found.facts["echo_error"] is None
    np.testing.assert_array_equal(found.pdff_percent, told.pdff_percent)
    assert any("No phase error" in note for note in found.facts["notes"])


def test_misfit_of_four_echoes_is_not_taken_for_an_odd_even_error():
    phantom = spine_phantom((8, 48, 48), 1.22e-3 + 0.98e-3 * np.arange(4), 60)
    # Amplitudes that drift between the echoes, smoothly in space, as motion and flow do.
    place = np.meshgrid(*[np.linspace(-1, 1, n) for n in phantom.labels.shape], indexing="ij")
    rng = np.random.default_rng(1)
    for echo in phantom.echoes:
        drift = sum(rng.normal() * np.sin(3 * axis + rng.normal()) for axis in place)
        echo *= np.exp(0.06 * drift)
    result = separated(phantom, common_phase=False, precession="as given")
    assert result.echo_error is None
    assert any("No phase error" in note for note in result.facts["notes"])


def test_unipolar_data_lose_nothing_when_called_bipolar():
    phantom = spine_phantom((10, 64, 64), snr=60)
    called = separated(phantom, readout="bipolar")
    told = separated(phantom, readout="unipolar")
    body = phantom.labels > 0
    apart = (called.pdff_percent - told.pdff_percent)[body]
    assert abs(apart.mean()) < 0.05
    assert np.abs(apart).mean() < 0.1
    said = "The amplitudes of odd and even echoes do not differ ("
    assert any(note.startswith(said) for note in called.facts["notes"])


def test_three_echoes_cannot_tell():
    phantom = spine_phantom((6, 48, 48), FOUR_ECHOES_S[:3], 60)
    result = separated(phantom, precession="as given")
    assert any("Three echoes can hide" in note for note in result.facts["notes"])
    with pytest.raises(ValueError, match="three echoes"):
        separated(phantom, readout="bipolar")


@pytest.mark.parametrize("snr", [15, 30])
def test_noise_of_three_echoes_is_no_difference_of_odd_and_even_ones(snr):
    """At 15 they were refused; at 30 an amplitude of 4.5 % was taken off, which cost 1 point."""
    times = 1.15e-3 * np.arange(1, 4)
    phantom = spine_phantom((10, 128, 128), times, snr, off_resonance_hz=180)
    inside = np.s_[:, 44:92, 28:68]
    data = multi_echo(phantom.echoes[(slice(None), *inside)], times, 3.0, phantom.voxel_size_mm)
    result = separate_water_fat(data)
    off, labels = (result.pdff_percent - phantom.pdff[inside]), phantom.labels[inside]
    for label in np.unique(labels[labels > 0]):
        errors = off[(labels == label) & result.confident]
        assert abs(errors.mean()) < 0.1 + 3 * errors.std() / np.sqrt(errors.size), label
    assert result.confident.mean() > 0.9
    if found := result.facts["echo_error"]:
        assert found["amplitude"] == [0]


def test_noise_of_four_echoes_is_no_phase_error():
    """Of marrow of 50 to 800 1/s, two errors explained it alike, and the echoes were refused."""
    marrow = {4 + n: (20.0, decay) for n, decay in enumerate((50.0, 150.0, 300.0, 500.0, 800.0))}
    for seed in (0, 1):
        phantom = spine_phantom((20, 96, 96), FOUR_ECHOES_S, 20, seed=seed, marrow=marrow)
        assert separated(phantom).echo_error is None


def test_ambiguous_precession_is_refused():
    """Fat of one peak is the same in both senses, with water and fat exchanged."""
    single = spectrum_from_peaks([-3.4], [1.0])
    phantom = spine_phantom((6, 48, 48), FOUR_ECHOES_S, 60, spectrum=single, odd_even=(0.3j, 0))
    with pytest.raises(ValueError, match="precession sense cannot be told"):
        separated(phantom, spectrum=single)


def test_unknown_readout():
    phantom = spine_phantom((2, 16, 16))
    with pytest.raises(ValueError, match="Readout is"):
        separated(phantom, readout="monopolar")


def test_noise_of_three_echoes_is_no_error_with_the_other_sense():
    """At a ratio of 15 one of eight bodies was conjugated, and all its voxels exchanged."""
    phantom = spine_phantom(
        (10, 80, 80), 1.5e-3 * np.arange(1, 4), 15, off_resonance_hz=180, seed=2
    )
    assert largest_bias(phantom, separated(phantom)) < 0.5


@pytest.mark.parametrize(("conjugated", "snr"), [(False, 15), (True, 8)])
def test_noise_of_echoes_that_have_decayed_does_not_tell_the_sense(conjugated, snr):
    """Tissue of 300 1/s with lesions of 50: in the wrong sense these were shown, 23 points low."""
    y, x = np.mgrid[-1:1:72j, -1:1:72j]
    times, body = 1.5e-3 * np.arange(1, 4), np.hypot(x, y) < 0.9
    lesion = (np.abs((8 * x) % 2 - 1) < 0.25) & (np.abs((8 * y) % 2 - 1) < 0.25) & body
    pdff, r2star = np.where(lesion, 0.7, 0.2), np.where(lesion, 50, 300)
    of_fat = fat_spectrum().modulation(times, 1.5)
    field_hz = 45 * (x - 0.5 * y + 0.4 * x * y)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        signal = [
            body * (1 - pdff + pdff * fat) * np.exp((2j * np.pi * field_hz - r2star) * time)
            for time, fat in zip(times, of_fat, strict=True)
        ]
        noise = rng.standard_normal((2, 3, 72, 72)) / snr
        echoes = (np.array(signal) + noise[0] + 1j * noise[1])[:, None].astype(np.complex64)
        data = multi_echo(echoes.conj() if conjugated else echoes, times, 1.5, (4.0, 2.0, 2.0))
        try:
            result = separate_water_fat(data)
        except ValueError as refusal:
            assert "precession sense cannot be told" in str(refusal)
            continue
        assert result.facts["conjugated"] == conjugated
        assert not any("leads by 0.00" in note for note in result.facts["notes"])


@pytest.mark.parametrize(
    ("spacing_ms", "field_t", "snr", "lead"),
    [(1.5, 3.0, 22, 0.4), (1.9, 1.5, 22, 0.25), (1.9, 1.5, 60, 0.4), (1.15, 3.0, 60, -0.4)],
)
def test_a_lead_of_fat_shows_in_one_field_of_three_echoes(spacing_ms, field_t, snr, lead):
    """Single voxels hide it: PDFF was up to 7 points off, or the echoes were refused."""
    times = 1e-3 * spacing_ms * np.arange(1, 4)
    given = dict(off_resonance_hz=60 * field_t, seed=5, fat_lead_rad=lead)
    phantom = spine_phantom((12, 96, 96), times, snr, field_t, **given)
    result = separated(phantom)
    assert largest_bias(phantom, result) < 0.5
    assert result.facts["fat_phase_lead_rad"] == pytest.approx(lead, abs=0.02)
    assert any("fat leads by" in note for note in result.facts["notes"])


def test_a_lead_of_fat_that_six_echoes_at_little_signal_hide_shows_in_one_field():
    times = 0.95e-3 * np.arange(1, 7)
    given = dict(off_resonance_hz=180, seed=5, fat_lead_rad=0.4)
    phantom = spine_phantom((12, 96, 96), times, 22, **given)
    assert largest_bias(phantom, separated(phantom)) < 0.5


@pytest.mark.parametrize("error", ["odd/even", "first echo"])
def test_an_error_of_three_echoes_is_no_lead_of_fat(error):
    times = 1.9e-3 * np.arange(1, 4)
    phantom = spine_phantom((12, 96, 96), times, 40, 1.5, off_resonance_hz=90, seed=5)
    result = separated(with_phase_error(phantom, error, 0.1))
    assert abs(result.facts["fat_phase_lead_rad"]) < 1e-6
    assert largest_bias(phantom, result) < 0.5


def test_a_lead_of_fat_is_found_among_the_noise_of_four_echoes():
    times = 1.6e-3 * np.arange(1, 5)
    phantom = spine_phantom(
        (12, 96, 96), times, 22, 1.5, off_resonance_hz=90, seed=5, fat_lead_rad=0.4
    )
    assert largest_bias(phantom, separated(phantom)) < 0.5
