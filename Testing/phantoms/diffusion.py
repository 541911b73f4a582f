"""Digital reference objects of diffusion: parameters, signals with Rician noise, and the bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MARROW_B = np.array([0, 10, 20, 30, 50, 80, 100, 150, 200, 400, 600, 800.0])


@dataclass
class IvimPhantom:
    """Truth (10^-3 mm^2/s, fraction) and magnitude signals, shape (voxels, b-values)."""

    b_values: np.ndarray
    s0: float
    d: np.ndarray
    d_star: np.ndarray
    f: np.ndarray
    sigma: float
    signal: np.ndarray


def ivim_signal(b_values, s0, d, d_star, f):
    b = np.asarray(b_values) / 1000
    s0, d, d_star, f = (np.asarray(x, dtype=float)[..., None] for x in (s0, d, d_star, f))
    return s0 * ((1 - f) * np.exp(-b * d) + f * np.exp(-b * d_star))


def rician(signal, sigma, rng):
    return np.hypot(
        signal + sigma * rng.standard_normal(np.shape(signal)),
        sigma * rng.standard_normal(np.shape(signal)),
    )


def marrow(
    count, snr, seed=0, d=(0.3, 0.8), d_star=(8.0, 40.0), f=(0.05, 0.25), b_values=MARROW_B
) -> IvimPhantom:
    """Voxels of uniformly distributed parameters; `snr` at b = 0, where the signal is 100."""
    rng = np.random.default_rng(seed)
    d, d_star, f = (rng.uniform(*limits, count) for limits in (d, d_star, f))
    sigma = 100.0 / snr
    clean = ivim_signal(b_values, 100.0, d, d_star, f)
    noisy = rician(clean, sigma, rng).astype(np.float32)
    return IvimPhantom(np.asarray(b_values), 100.0, d, d_star, f, sigma, noisy)


def bound(phantom: IvimPhantom) -> dict[str, float]:
    """Median absolute error of D, D* and f that the Cramer-Rao bound implies (S0 unknown)."""
    b = phantom.b_values / 1000
    d, d_star, f = (x[:, None] for x in (phantom.d, phantom.d_star, phantom.f))
    slow, fast = np.exp(-b * d), np.exp(-b * d_star)
    by = [
        (1 - f) * slow + f * fast,
        -b * (1 - f) * slow,
        -b * f * fast,
        fast - slow,
    ]
    jacobian = np.stack(by, axis=-1) * phantom.s0 / phantom.sigma
    information = np.einsum("nbi,nbj->nij", jacobian, jacobian)
    sd = np.sqrt(np.diagonal(np.linalg.inv(information), axis1=1, axis2=2))[:, 1:]
    errors = np.abs(sd * np.random.default_rng(0).standard_normal(sd.shape))
    return dict(zip(("d", "d_star", "f"), np.median(errors, axis=0), strict=True))
