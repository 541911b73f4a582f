"""Phases of other voxels than the magnitudes they were given with are refused, right ones not."""

from dataclasses import replace

import numpy as np
import pytest
from PDFFMapperLib.water_fat.field_map import ChemicalShiftModel
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.phase_place import refuse_phases_of_another_place
from PDFFMapperLib.water_fat.separation import separate_water_fat
from PDFFMapperLib.water_fat.spectra import fat_spectrum
from PDFFMapperLib.water_fat.voxel_signals import VoxelSignals
from phantoms.water_fat import PHASE_ERRORS, SIX_ECHOES_S, spine_phantom, with_phase_error

FOUR_ECHOES_S = 1.2e-3 + 2e-3 * np.arange(4)
TRAINS = ((SIX_ECHOES_S, 3.0), (FOUR_ECHOES_S, 1.5), (1.15e-3 * np.arange(1, 4), 3.0))

EVERY_SECOND = np.array([0, 2, 4, 6, 1, 3, 5, 7])
ELSEWHERE = {
    "in reversed order of slices": lambda phase: phase[:, ::-1],
    "from the slice before": lambda phase: np.roll(phase, -1, 1),
    "from the slice after": lambda phase: np.roll(phase, 1, 1),
    "with every second slice first": lambda phase: phase[:, np.argsort(EVERY_SECOND)],
    "in the order that an interleaved one was put in": lambda phase: phase[:, EVERY_SECOND],
    "mirrored along the columns": lambda phase: phase[:, :, ::-1],
    "mirrored along the rows": lambda phase: phase[..., ::-1],
}


def check(phantom):
    times, field = phantom.echo_times_s, phantom.field_strength_t
    model = ChemicalShiftModel(times, phantom.spectrum.modulation(times, field), field, True)
    signals = VoxelSignals(phantom.echoes)
    refuse_phases_of_another_place(signals, phantom.labels > 0, model, phantom.noise)


def with_phases(phantom, where):
    phases = ELSEWHERE[where](np.angle(phantom.echoes))
    echoes = np.abs(phantom.echoes) * np.exp(1j * phases)
    return replace(phantom, echoes=echoes.astype(np.complex64))


@pytest.mark.parametrize("snr", [20, 60])
@pytest.mark.parametrize("train", [0, 1])
@pytest.mark.parametrize("where", ELSEWHERE)
def test_phases_of_another_place_are_refused_by_their_place(where, train, snr):
    """In up to 6 % of the body water and fat were exchanged, confident and without a word."""
    times, field = TRAINS[train]
    phantom = spine_phantom((8, 48, 48), times, snr, field, off_resonance_hz=60 * field)
    # Which order of slices it is the phantom hardly tells: some of its slices are alike.
    words = where if "mirrored" in where else f"({'|'.join(ELSEWHERE)})"
    with pytest.raises(ValueError, match=f"taken {words}, and not as given. Bring the magnitude"):
        check(with_phases(phantom, where))


@pytest.mark.parametrize("train", [0, 1])
def test_the_separation_refuses_them(train):
    times, field = TRAINS[train]
    phantom = spine_phantom((8, 48, 48), times, 60, field, off_resonance_hz=60 * field)
    echoes = with_phases(phantom, "in reversed order of slices").echoes
    with pytest.raises(ValueError, match="taken in reversed order of slices"):
        separate_water_fat(multi_echo(echoes, times, field, phantom.voxel_size_mm))


@pytest.mark.parametrize("snr", [6, 20, 80])
@pytest.mark.parametrize("train", range(3))
def test_right_phases_are_not(train, snr):
    """With air set to 0, of one slice or few, in part, alike from slice to slice, of one tissue."""
    times, field = TRAINS[train]
    phantom = spine_phantom((4, 48, 48), times, snr, field, off_resonance_hz=60 * field)
    check(phantom)
    for part in (np.s_[:1], np.s_[:2], np.s_[:, 18:30, 14:26]):
        echoes = np.stack([one[part] for one in phantom.echoes])
        check(replace(phantom, echoes=echoes, labels=phantom.labels[part]))
    same = np.repeat(phantom.echoes[:, :1], 4, 1)
    check(replace(phantom, echoes=same, labels=np.repeat(phantom.labels[:1], 4, 0)))
    for tissues in (phantom.labels > 0, phantom.labels == 1):
        check(replace(phantom, echoes=phantom.echoes * tissues, labels=phantom.labels * tissues))


@pytest.mark.parametrize("kind", PHASE_ERRORS)
def test_phases_in_error_are_of_their_place(kind):
    """What the echoes are off in phase is taken off before: another place has it too."""
    times, field = TRAINS[1]
    phantom = spine_phantom((4, 48, 48), times, 60, field, off_resonance_hz=60 * field)
    echoes = with_phase_error(phantom, kind, 0.5).echoes
    separate_water_fat(multi_echo(echoes, times, field, phantom.voxel_size_mm))


def test_another_fat_is_not_taken_for_another_place():
    """What it leaves, far over noise, differs from place to place."""
    times, field = TRAINS[1]
    fat = fat_spectrum("hernando_phantom")
    phantom = spine_phantom((5, 48, 48), times, 120, field, fat, off_resonance_hz=90)
    data = multi_echo(phantom.echoes, times, field, phantom.voxel_size_mm)
    separate_water_fat(data)
