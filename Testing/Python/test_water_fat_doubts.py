"""What noise and isolation do to water-fat fits: bias taken away, exchange and misfit marked."""

import numpy as np
import pytest
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.separation import Doubt, separate_water_fat
from PDFFMapperLib.water_fat.spectra import fat_spectrum
from PDFFMapperLib.water_fat.voxel_fit import (
    FRACTION_BIAS,
    FRACTION_VARIANCE,
    R2STAR_BIAS,
    R2STAR_VARIANCE,
    TOTAL_VARIANCE,
    fit_voxels,
)
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


@pytest.mark.parametrize("weight", [0.0, 2.0])
@pytest.mark.parametrize("common", [True, False])
def test_variances_and_second_order_bias_are_those_of_numeric_derivatives(common, weight):
    """Box 1971: the bias is -1/2 C J' tr(C H), and the fraction's own curvature with one phase.

    Unknowns: water and fat at the first echo (and a phase of both, or two parts each),
    off-resonance in rad and decay, both over the span of the echoes. A prior may expect the true
    decay. Without it phases of their own leave no bias: the model is a holomorphic function of its
    complex unknowns.
    """
    times = SIX_ECHOES_S
    fat, span = fat_spectrum().modulation(times, 3.0), np.ptp(times)

    def amplitudes(x):
        return (x[0], x[1], x[2]) if common else (x[0] + 1j * x[1], x[2] + 1j * x[3], 0.0)

    def signal(x):
        water, lipid, phase = amplitudes(x)
        turn = 1j * phase + (1j * x[-2] - x[-1]) * (times - times[0]) / span
        values = (water + lipid * fat) * np.exp(turn)
        return np.concatenate([values.real, values.imag])

    def total(x):
        water, lipid, _ = amplitudes(x)
        return np.array([water + lipid if common else abs(water) + abs(lipid)])

    def fraction(x):
        return (amplitudes(x)[1] if common else abs(amplitudes(x)[1])) / total(x)

    at = np.array([0.65, 0.35, 0.4, 0.9, 0.7] if common else [0.6, 0.2, 0.15, -0.3, 0.9, 0.7])
    steps = 1e-4 * np.eye(len(at))

    def slopes(of, x=at):
        return np.stack([(of(x + h) - of(x - h)) / 2e-4 for h in steps], 1)

    def bends(of):
        return np.stack([(slopes(of, at + h) - slopes(of, at - h)) / 2e-4 for h in steps], 2)

    jacobian = slopes(signal)
    information = jacobian.T @ jacobian
    information[-1, -1] += weight
    covariance = np.linalg.inv(information)
    bias = -0.5 * covariance @ jacobian.T @ np.einsum("nij,ij->n", bends(signal), covariance)
    gradient, of_total = slopes(fraction)[0], slopes(total)[0]
    own = 0.5 * np.sum(bends(fraction)[0] * covariance) if common else 0.0

    parts = signal(at).reshape(2, 1, -1)
    fit = fit_voxels(
        (parts[0] + 1j * parts[1]).astype(np.complex64), times, fat, common, np.nan,
        *np.array([[at[-2] / (2 * np.pi * span)], [at[-1] / span], [weight * span**2]], np.float32),
    )[0]  # fmt: skip
    for column, expected in (
        (FRACTION_VARIANCE, gradient @ covariance @ gradient),
        (TOTAL_VARIANCE, of_total @ covariance @ of_total / total(at)[0] ** 2),
        (R2STAR_VARIANCE, covariance[-1, -1] / span**2),
        (R2STAR_BIAS, bias[-1] / span),
        (FRACTION_BIAS, gradient @ bias + own),
    ):
        assert fit[column] == pytest.approx(expected, rel=1e-3, abs=1e-5), column
