"""Intravoxel incoherent motion, voxel by voxel: S(b) = S0 ((1 - f) exp(-b D) + f exp(-b D*)).

Le Bihan et al., Radiology 1988, doi 10.1148/radiology.168.2.3393671.

The full fit maximizes the Rician (or Gaussian) likelihood in the coordinates S0, D, ln(D* - D),
logit f, so that D* > D and 0 < f < 1 by construction, with a weak prior that keeps voxels without
a visible perfusion compartment from running to infinity: ln(D* - D) is normal about
ln(30 x 10^-3 mm^2/s) with standard deviation 1 (95 %: 4 to 210), and f has density
proportional to (f (1 - f))^0.25 over logit f. Where the data tell anything they outweigh it.
Uncertainties are those of the curvature (Fisher information plus prior) at the estimate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from PDFFMapperLib.diffusion import adc, scatter
from PDFFMapperLib.diffusion.ivim_kernel import D_LIMIT, EXCESS_LIMITS, PRIOR_LOG_SD, fit_voxels
from PDFFMapperLib.diffusion.voxelwise import Known, VoxelFit, Voxels, run_blocks
from PDFFMapperLib.maps.progress import Progress

if TYPE_CHECKING:  # from Python 3.11 on
    from typing import Unpack


@dataclass
class IvimFit(VoxelFit):
    """IVIM parameters per voxel; arrays have the image's shape, failed voxels are NaN.

    Attributes:
        s0: signal at b = 0, in signal units.
        d: diffusion coefficient in 10^-3 mm^2/s.
        d_star: pseudo-diffusion coefficient in 10^-3 mm^2/s.
        f: perfusion fraction, 0 to 1.
        s0_sd: standard deviations, likewise.
        d_sd: see `s0_sd`.
        d_star_sd: see `s0_sd`; the error of D* is closer to normal in ln D*.
        f_sd: see `s0_sd`.
        f_d_star_sd: standard deviation of f x D*.
        at_bound: valid voxels whose estimate lies at a limit (D at 0 or 6, f at 0 or 1).
        d_star_identifiable: valid voxels whose data tell more about D* than the prior does and
            whose f exceeds twice its standard deviation.
    """

    s0: np.ndarray
    d: np.ndarray
    d_star: np.ndarray
    f: np.ndarray
    s0_sd: np.ndarray
    d_sd: np.ndarray
    d_star_sd: np.ndarray
    f_sd: np.ndarray
    f_d_star_sd: np.ndarray
    at_bound: np.ndarray
    d_star_identifiable: np.ndarray

    @property
    def f_d_star(self) -> np.ndarray:
        """f x D* in 10^-3 mm^2/s."""
        return self.f * self.d_star

    def interval(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper limit of the 95 % interval of "s0", "d", "f" or "d_star".

        Symmetric about the estimate, in ln D* for D*, and cut at the physical limits.
        """
        estimate, reach = getattr(self, name), 1.96 * getattr(self, f"{name}_sd")
        if name == "d_star":
            with np.errstate(over="ignore"):
                factor = np.exp(reach / estimate)
            return estimate / factor, estimate * factor
        upper = np.minimum(estimate + reach, 1.0 if name == "f" else np.inf)
        return np.maximum(estimate - reach, 0.0), upper


def fit_ivim(
    signal: np.ndarray,
    b_values: Sequence[float],
    *,
    progress: Progress | None = None,
    **known: Unpack[Known],
) -> IvimFit:
    """Full bi-exponential fit of S0, D, D* and f in every voxel.

    Args:
        signal: shape (..., n) of magnitude images (or real-valued ones with noise="gaussian").
        b_values: n values in s/mm^2; any order, repeats allowed, b = 0 not needed.
        progress: called with the fraction done; answering False cancels.
        known: see `Known`.

    Raises:
        ValueError: too few b-values, shapes that do not match, noise that cannot be measured.
        InterruptedError: canceled.
    """
    voxels = prepared(signal, b_values, **known)
    return fit_prepared(voxels, None, progress)


def fit_ivim_segmented(
    signal: np.ndarray,
    b_values: Sequence[float],
    *,
    threshold: float = 200.0,
    progress: Progress | None = None,
    **known: Unpack[Known],
) -> IvimFit:
    """Segmented fit: D from b >= `threshold` (s/mm^2) alone, then S0, f and D* with D held.

    Its D is biased upwards where D* is slow enough to last beyond the threshold; the standard
    deviations carry the uncertainty of D into the others. Arguments as for `fit_ivim`.

    Raises:
        ValueError: as `fit_ivim`, or fewer than two b-values on a side of the threshold.
        InterruptedError: canceled.
    """
    voxels = prepared(signal, b_values, **known)
    high = voxels.b * 1000 >= threshold
    if np.unique(voxels.b[high]).size < 2 or np.unique(voxels.b[~high]).size < 2:
        raise ValueError(
            f"The segmented fit needs two different b-values on each side of its threshold of "
            f"{threshold:g} s/mm^2, given were "
            f"{', '.join(f'{b:g}' for b in np.unique(voxels.b * 1000))}."
        )
    part = replace(
        voxels,
        signal=voxels.signal[:, high],
        b=voxels.b[high],
        averages=voxels.averages[high],
    )
    diffusion = adc.fit_prepared(part)
    held = np.stack([np.maximum(diffusion.adc, 0.0).reshape(-1), diffusion.adc_sd.reshape(-1)])
    voxels.usable = voxels.usable[np.isfinite(held[:, voxels.usable]).all(axis=0)]
    return fit_prepared(voxels, held, progress)


def prepared(signal: np.ndarray, b_values: Sequence[float], **known: Unpack[Known]) -> Voxels:
    """The voxels to fit, with the noise given or measured; arguments as for `fit_ivim`.

    Raises:
        ValueError: as `fit_ivim`.
    """
    voxels = scatter.prepared(signal, b_values, parameters=4, model="IVIM", **known)
    if voxels.b.size == 4 and known.get("sigma") is None:
        raise ValueError(
            "Four images leave no residual to measure the noise from: give sigma "
            "(from the background or from repeated images)."
        )
    return voxels


def fit_prepared(
    voxels: Voxels, held: np.ndarray | None = None, progress: Progress | None = None
) -> IvimFit:
    """Fit voxels from `prepared`; `held` is D and its standard deviation per voxel, or None."""
    maps = np.full((12, voxels.signal.shape[0]), np.nan, dtype=np.float32)

    def work(start: int, stop: int) -> None:
        index, signal = voxels.block(start, stop)
        maps[:, index] = fit_voxels(
            signal, voxels.sigma[index], voxels.precision[index], voxels.b, voxels.averages,
            voxels.rician, None if held is None else held[:, index],
        )  # fmt: skip

    run_blocks(work, voxels.usable.size, progress)
    return _result(voxels, maps)


def _result(voxels: Voxels, maps: np.ndarray) -> IvimFit:
    images = [voxels.image(each) for each in maps]
    _, d, d_star, f = images[:4]
    _, _, d_star_sd, f_sd = images[4:8]
    valid = np.isfinite(maps[:8]).all(axis=0).reshape(voxels.shape)
    with np.errstate(invalid="ignore"):
        at_bound = (d <= 0) | (d >= D_LIMIT) | (f < 1e-3) | (f > 1 - 1e-3)
        at_bound |= d_star - d >= 0.999 * EXCESS_LIMITS[1]
        at_bound |= d_star - d <= 1.001 * EXCESS_LIMITS[0]
        identifiable = (d_star_sd / d_star < PRIOR_LOG_SD * math.sqrt(0.5)) & (f > 2 * f_sd)
    return IvimFit(
        *images[:9],
        residual=images[9],
        r_squared=images[10],
        log_likelihood=images[11],
        valid=valid,
        at_bound=at_bound & valid,
        d_star_identifiable=identifiable & valid & ~at_bound,
        sigma=voxels.noise,
    )
