"""Echoes of another gain or scale than the others, as of two acquisitions put together."""

from dataclasses import replace

import numpy as np
import pytest
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.separation import separate_water_fat
from PDFFMapperLib.water_fat.spectra import fat_spectrum
from phantoms.water_fat import spine_phantom

FOUR_ECHOES_S = 1.15e-3 * np.arange(1, 5)


def separated(phantom, **options):
    data = multi_echo(
        phantom.echoes, phantom.echo_times_s, phantom.field_strength_t, phantom.voxel_size_mm
    )
    return separate_water_fat(data, **options)


def brighter(phantom, factor, *echoes):
    signals = phantom.echoes.copy()
    signals[list(echoes)] *= factor
    return replace(phantom, echoes=signals)


@pytest.fixture(scope="module")
def sound():
    return spine_phantom((6, 48, 48), FOUR_ECHOES_S, 60, off_resonance_hz=150)


def test_the_second_half_of_a_train_in_another_gain_is_refused(sound):
    """CSF read 11 % fat without a word: hardly more than noise is left in any voxel."""
    with pytest.raises(ValueError, match=r"1\.\d\d times as bright as the others let expect.*one"):
        separated(brighter(sound, 0.7, 2, 3))


def test_a_smaller_gain_is_told_by_what_it_changes(sound):
    result = separated(brighter(sound, 0.8, 2, 3))
    told = [note for note in result.facts["notes"] if "are of one acquisition and scale" in note]
    assert len(told) == 1 and "changes the PDFF by 6 points and more in a quarter" in told[0]


def test_phases_that_would_explain_a_gain_do_not_hide_it():
    """By phases of their own and the other precession sense 83 % were swapped and confident."""
    times = 1.2e-3 + 2e-3 * np.arange(4)
    phantom = spine_phantom((6, 48, 48), times, 60, 1.5, off_resonance_hz=90)
    with pytest.raises(ValueError, match="another receiver gain, another acquisition or another"):
        separated(brighter(phantom, 0.7, 2, 3))


@pytest.mark.parametrize(
    "options",
    [
        {"snr": 12},
        {"spectrum": fat_spectrum("hamilton_liver")},
        {"faster_fat_per_s": 50.0},
        {"marrow": {4: (30.0, 50.0), 5: (30.0, 200.0), 6: (30.0, 333.0), 7: (30.0, 500.0)}},
        {"fat_lead_rad": 0.3},
        {"odd_even": (0.02, 0.2j)},
    ],
)
def test_right_echoes_have_one_gain(options):
    phantom = spine_phantom((6, 48, 48), FOUR_ECHOES_S, off_resonance_hz=150, **options)
    notes = separated(phantom).facts["notes"]
    assert not any("times as bright as the others let expect" in note for note in notes)
