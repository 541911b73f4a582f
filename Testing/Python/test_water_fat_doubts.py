"""What noise and isolation do to water-fat fits: bias taken away, exchange and misfit marked."""

import numpy as np
import pytest
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.separation import Doubt, separate_water_fat
from PDFFMapperLib.water_fat.spectra import fat_spectrum
from phantoms.water_fat import SIX_ECHOES_S

SETTLED = {"precession": "as given", "readout": "unipolar", "common_phase": True}


def clean_echoes(fraction, r2star_per_s, field_strength_t):
    """Noise-free echoes (6, ...) of signal 1 at echo time 0."""
    fat = fat_spectrum().modulation(SIX_ECHOES_S, field_strength_t)
    fraction = np.asarray(fraction)
    times = SIX_ECHOES_S.reshape(-1, *[1] * fraction.ndim)
    mixed = 1 - fraction + fraction * fat.reshape(times.shape)
    return mixed * np.exp(0.5j - r2star_per_s * times)


def noise(shape, snr, seed):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / snr


# The second-order bias of R2* is .28 1/s in the first case, that of PDFF .09 points in the second.
@pytest.mark.parametrize(
    ("snr", "fraction", "r2star", "pairs", "most_r2star", "most_pdff"),
    [(60, 0.9, 300.0, 16384, 0.1, 0.02), (40, 0.0, 150.0, 2048, 0.05, 0.03)],
)
def test_noise_leaves_no_bias(snr, fraction, r2star, pairs, most_r2star, most_pdff):
    """Each noise is added and taken away: what it does to first order cancels, and bias is left."""
    clean = clean_echoes([fraction], r2star, 3.0)
    added = noise((6, pairs), snr, 0)
    both = np.concatenate([clean + added, clean - added], 1).reshape(6, 2, 32, pairs // 32)
    data = multi_echo(both.astype(np.complex64), SIX_ECHOES_S, 3.0, (1.0, 1.0, 3.0))
    result = separate_water_fat(data, mask=np.ones(both.shape[1:], bool), **SETTLED)
    assert abs(result.r2star_per_s.astype(float).mean() - r2star) < most_r2star
    assert abs(result.pdff_percent.astype(float).mean() - 100 * fraction) < most_pdff


@pytest.fixture(scope="module")
def island():
    """A block half of water, half of fat, and an island of fat apart from it, eight times fainter.

    Nothing tells how the fields of both go together.
    """
    fraction, signal = np.zeros((4, 40, 40)), np.zeros((4, 40, 40))
    signal[:, 4:24, 4:36] = 8.0
    fraction[:, 4:24, 20:36] = 1.0
    apart = np.zeros(signal.shape, bool)
    apart[1:3, 32:35, 18:21] = True
    signal[apart], fraction[apart] = 1.0, 1.0
    return signal, fraction, apart


@pytest.mark.parametrize("snr", [8, 4])
def test_where_water_and_fat_could_be_exchanged_is_marked(island, snr):
    signal, fraction, apart = island
    echoes = signal * clean_echoes(fraction, 30.0, 1.5)
    echoes = (echoes + noise(echoes.shape, snr, 1)).astype(np.complex64)
    data = multi_echo(echoes, SIX_ECHOES_S, 1.5, (2.0, 2.0, 4.0))
    result = separate_water_fat(data, mask=signal > 0, **SETTLED)
    risk = result.doubt & Doubt.SWAP_RISK > 0
    exchanged = np.abs(result.pdff_percent - 100 * fraction) > 50
    assert risk[apart].all() and not result.confident[apart].any()
    assert exchanged[apart].any() == (snr == 4)  # it does happen, and is marked
    block = (signal > 0) & ~apart
    assert not risk[block].any() and not exchanged[block].any()


def test_what_the_model_does_not_explain_is_marked(island):
    signal, fraction, apart = island
    echoes = np.where(apart, 8.0, signal) * clean_echoes(fraction, 30.0, 1.5)
    echoes[3] = np.where(apart, -echoes[3], echoes[3])
    echoes = (echoes + noise(echoes.shape, 8, 2)).astype(np.complex64)
    data = multi_echo(echoes, SIX_ECHOES_S, 1.5, (2.0, 2.0, 4.0))
    result = separate_water_fat(data, mask=signal > 0, **SETTLED)
    poor = result.doubt & Doubt.POOR_FIT > 0
    assert poor[apart].mean() > 0.5 and not result.confident[poor].any()
    assert poor[(signal > 0) & ~apart].mean() < 0.001
