"""A 3D water-fat phantom with truth: vertebrae, pure water, pure fat, gas, an island."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PDFFMapperLib.water_fat.spectra import FatSpectrum, fat_spectrum
from scipy.ndimage import gaussian_filter

SIX_ECHOES_S = np.array([1.15, 2.30, 3.45, 4.60, 5.75, 6.90]) * 1e-3

TISSUES = {
    # label: (name, PDFF in %, R2* in 1/s)
    1: ("muscle", 3.0, 30.0),
    2: ("subcutaneous fat", 100.0, 45.0),
    3: ("CSF", 0.0, 20.0),
    4: ("marrow 15 %", 15.0, 120.0),
    5: ("marrow 30 %", 30.0, 90.0),
    6: ("marrow 45 %", 45.0, 70.0),
    7: ("marrow 60 %", 60.0, 50.0),
    8: ("marrow 80 %", 80.0, 20.0),
    9: ("island water", 0.0, 30.0),
    10: ("island marrow", 50.0, 60.0),
    11: ("island fat", 100.0, 40.0),
}

T1_WEIGHTED = np.array([0, 0.2, 1, 0.3, 0.3, 0.4, 0.5, 0.6, 0.8, 0.2, 0.5, 1])
"""Signal of each label as on T1-weighted images."""


@dataclass
class Phantom:
    """Echoes (echoes, slices, rows, columns) and the truth behind them; label 0 has no signal."""

    echoes: np.ndarray
    echo_times_s: np.ndarray
    field_strength_t: float
    labels: np.ndarray
    pdff: np.ndarray
    r2star: np.ndarray
    off_resonance_hz: np.ndarray
    noise: float
    spectrum: FatSpectrum
    voxel_size_mm: tuple[float, float, float]


def spine_phantom(
    shape: tuple[int, int, int] = (20, 96, 96),
    echo_times_s: np.ndarray = SIX_ECHOES_S,
    snr: float = 60.0,
    field_strength_t: float = 3.0,
    spectrum: FatSpectrum | None = None,
    off_resonance_hz: float = 200.0,
    seed: int = 0,
    odd_even: tuple[complex, complex] = (0, 0),
    faster_fat_per_s: float = 0.0,
    marrow: dict[int, tuple[float, float]] | None = None,
    fat_lead_rad: float = 0.0,
) -> Phantom:
    """A trunk with vertebrae and an arm apart from it.

    Args:
        shape: slices, rows, columns; the body scales with it.
        echo_times_s: echo times.
        snr: signal at echo time 0 over the noise SD of the real (and imaginary) part.
        field_strength_t: field strength.
        spectrum: fat spectrum; marrow by default.
        off_resonance_hz: largest off-resonance; it varies from minus to plus that.
        seed: of the noise.
        odd_even: error of a bipolar readout: echo n times exp((-1)^n (a + b x)), x from -1 to 1
            along the columns; real parts are amplitude, imaginary ones phase in rad.
        faster_fat_per_s: R2* of fat over that of water, which is the phantom's R2*.
        fat_lead_rad: phase of fat before that of water at echo time 0.
        marrow: PDFF (%) and R2* (1/s) of labels 4 to 8 in place of those of TISSUES.
    """
    spectrum = spectrum or fat_spectrum()
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    labels = np.zeros(shape, np.uint8)
    trunk = np.hypot((x + 0.25) / 0.68, y / 0.88)
    labels[trunk < 1] = 2
    labels[trunk < 0.85] = 1
    column = (np.abs(x + 0.25) < 0.22) & (np.abs(y - 0.1) < 0.2)
    level = np.clip(((z + 1) / 2 * 5).astype(int), 0, 4)
    labels[column] = 4 + level[column]
    canal = np.hypot(x + 0.25, y - 0.42) < 0.09
    labels[canal] = 3
    gas = np.sqrt((x + 0.35) ** 2 + (y + 0.42) ** 2 + (0.6 * z) ** 2)
    labels[gas < 0.16] = 0
    arm = np.hypot((x - 0.78) / 0.17, (y + 0.1) / 0.4)
    labels[arm < 1] = 11
    labels[(arm < 0.75)] = 9
    labels[(arm < 0.4)] = 10

    smooth = 0.55 * x - 0.35 * y + 0.3 * z + 0.4 * x * y - 0.35 * (y**2 - 0.3)
    direction = (2 * (0.6 * z) ** 2 - (x + 0.35) ** 2 - (y + 0.42) ** 2) / np.maximum(gas, 0.1) ** 2
    dipole = 0.35 * direction * (0.16 / np.maximum(gas, 0.16)) ** 3
    off_resonance = smooth + dipole
    body = labels > 0
    low, high = off_resonance[body].min(), off_resonance[body].max()
    off_resonance = off_resonance_hz * (2 * (off_resonance - low) / (high - low) - 1)

    pdff, r2star = np.full(shape, np.nan), np.full(shape, np.nan)
    for label, (_, fat, decay) in TISSUES.items():
        fat, decay = (marrow or {}).get(label, (fat, decay))
        pdff[labels == label], r2star[labels == label] = fat, decay
    echo_times_s = np.asarray(echo_times_s, float)
    fraction = np.where(body, np.nan_to_num(pdff) / 100, 0)
    signal = body * np.exp(1j * (0.8 + 0.9 * x - 0.6 * y))
    echoes = np.empty((len(echo_times_s), *shape), np.complex64)
    rng = np.random.default_rng(seed)
    for n, (time, fat) in enumerate(
        zip(echo_times_s, spectrum.modulation(echo_times_s, field_strength_t), strict=True)
    ):
        fat = fat * np.exp(1j * fat_lead_rad - faster_fat_per_s * time)
        clean = signal * (1 - fraction + fraction * fat)
        clean = clean * np.exp((2j * np.pi * off_resonance - np.nan_to_num(r2star)) * time)
        clean = clean * np.exp((-1) ** n * (odd_even[0] + odd_even[1] * x))
        noise = rng.standard_normal((2, *shape)) / snr
        echoes[n] = clean + noise[0] + 1j * noise[1]
    return Phantom(
        echoes,
        echo_times_s,
        field_strength_t,
        labels,
        pdff,
        r2star,
        np.where(body, off_resonance, np.nan),
        1 / snr,
        spectrum,
        (4.0, 2.0, 2.0),
    )


PHASE_ERRORS = ("first echo", "one echo", "ramp in one echo", "odd/even", "trains", "conjugated")


def with_phase_error(phantom: Phantom, kind: str, size_rad: float) -> Phantom:
    """The phantom with a fault of the scanner.

    Args:
        phantom: as acquired without.
        kind: one of PHASE_ERRORS. "trains" are two interleaved ones that differ by half the phase
            and by a field of 40 Hz per rad; "conjugated" has the error in the first echo as well.
        size_rad: its largest phase.
    """
    count, columns = len(phantom.echo_times_s), phantom.echoes.shape[-1]
    phase = np.zeros((count, columns))
    if kind in ("first echo", "conjugated"):
        phase[0] = size_rad
    elif kind == "one echo":
        phase[count // 2] = size_rad
    elif kind == "ramp in one echo":
        phase[1] = size_rad * np.linspace(0, 1, columns)
    elif kind == "odd/even":
        phase[1::2] = size_rad
    elif kind == "trains":
        drift = 2 * np.pi * 40 * phantom.echo_times_s[1::2]
        phase[1::2] = size_rad * (0.5 + drift)[:, None]
    else:
        raise ValueError(f"{kind!r} is none of {PHASE_ERRORS}.")
    echoes = phantom.echoes * np.exp(1j * phase)[:, None, None, :]
    echoes = echoes.conj() if kind == "conjugated" else echoes
    return replace(phantom, echoes=echoes.astype(np.complex64))


def scanner_images(
    phantom: Phantom, bright_fat: float, snr: float = 40.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Water and fat magnitudes of the phantom as a scanner shows them, with a coil's shading.

    Fat lies in the muscle here and there, and pure fat reads 93 %.

    Args:
        phantom: of which tissues and fractions are taken.
        bright_fat: signal of fat over that of water, by T1 weighting.
        snr: signal of water over the noise SD.
        seed: of the noise and of the fat in the muscle.
    """
    rng, shape = np.random.default_rng(seed), phantom.labels.shape
    texture = gaussian_filter(rng.standard_normal(shape), (1.5, 3, 3))
    percent = np.minimum(np.nan_to_num(phantom.pdff), 93)
    percent[(phantom.labels == 1) & (texture > texture.std())] = 92
    _, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    signal = np.exp(0.3 * y - 0.5 * x) * (phantom.labels > 0)
    images = []
    for clean in (signal * (1 - percent / 100), bright_fat * signal * percent / 100):
        noise = rng.standard_normal((2, *shape)) / snr
        images.append(np.hypot(clean + noise[0], noise[1]))
    return tuple(images)
