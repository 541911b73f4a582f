import numpy as np
import pytest
from PDFFMapperLib.water_fat import residual_curves as searched
from PDFFMapperLib.water_fat.field_map import ChemicalShiftModel
from PDFFMapperLib.water_fat.spectra import fat_spectrum
from PDFFMapperLib.water_fat.voxel_fit import LANES

TIMES_S = np.array([1.1, 2.4, 5.0]) * 1e-3
R2STAR_PER_S = searched._R2STAR_OF_THREE  # none between these is considered
HZ = np.array([-210.0, -40.0, 0.0, 95.0])
VOXELS = LANES + 1


def left(signal, waves, common_phase):
    """What least squares leave of a signal's energy, by each of many phases if they are common."""
    if not common_phase:
        amplitudes = np.linalg.lstsq(waves, signal, rcond=None)[0]
        return np.sum(np.abs(signal - waves @ amplitudes) ** 2)
    parts = np.concatenate([waves.real, waves.imag])
    turned = signal * np.exp(-1j * np.linspace(0, np.pi, 720, endpoint=False))[:, None]
    turned = np.concatenate([turned.real, turned.imag], 1).T
    rest = turned - parts @ np.linalg.lstsq(parts, turned, rcond=None)[0]
    return np.sum(rest**2, 0).min()


@pytest.mark.parametrize("common_phase", [True, False])
def test_residuals_of_the_search_are_those_of_least_squares(common_phase):
    """At unlike echo spacings and any height of the signal, beyond the voxels fitted at once."""
    fat = fat_spectrum().modulation(TIMES_S, 3.0)
    tables = searched.search_tables(ChemicalShiftModel(TIMES_S, fat, 3.0, common_phase), HZ)
    random = np.random.default_rng(0)
    signals = random.standard_normal((2, VOXELS, TIMES_S.size)) * 10.0 ** random.integers(
        -12, 12, (VOXELS, 1)
    )
    signals = (signals[0] + 1j * signals[1]).astype(np.complex64)
    curves, energy = np.empty((HZ.size, LANES), np.float32), np.empty(LANES, np.float32)
    for first in range(0, VOXELS, LANES):
        searched.residual_curves(signals, first, tables, searched.scratch(tables), curves, energy)
        for v in range(first, min(first + LANES, VOXELS)):
            signal = signals[v].astype(complex)
            for g, hz in enumerate(HZ):
                decays = [np.exp((2j * np.pi * hz - r) * TIMES_S) for r in R2STAR_PER_S]
                expected = min(
                    left(signal, np.stack([wave, wave * fat], 1), common_phase) for wave in decays
                )
                assert curves[g, v - first] == pytest.approx(
                    expected, abs=3e-5 * np.sum(np.abs(signal) ** 2)
                )


def test_rounded_echo_times_count_as_equidistant():
    """As headers give them; their 66 differences were summed one by one."""
    exact = 1.1e-3 * np.arange(1, 13)
    rounded = exact + 1e-6 * np.array([2, -1, 0, 1, -2, 2, 0, -1, 1, 0, -2, 1])
    hz, curves = np.linspace(-640, 640, 65), []
    signals = np.exp(np.outer(np.full(LANES, 2j * np.pi * 90) - 30, rounded)).astype(np.complex64)
    for times in (exact, rounded):
        model = ChemicalShiftModel(times, fat_spectrum().modulation(times, 3.0), 3.0, True)
        tables = searched.search_tables(model, hz)
        assert tables[0].shape[1] == 12
        curves.append(np.empty((hz.size, LANES), np.float32))
        energy = np.empty(LANES, np.float32)
        searched.residual_curves(signals, 0, tables, searched.scratch(tables), curves[-1], energy)
    assert np.abs(curves[0] - curves[1]).max() < 2e-3 * energy[0]
