"""Which diffusion model the data support: mono-exponential, kurtosis or IVIM, by AICc.

Hurvich and Tsai, Biometrika 1989, doi 10.1093/biomet/76.2.297.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from PDFFMapperLib.diffusion import adc, ivim, kurtosis
from PDFFMapperLib.diffusion.adc import AdcFit
from PDFFMapperLib.diffusion.ivim import IvimFit, prepared
from PDFFMapperLib.diffusion.kurtosis import KurtosisFit
from PDFFMapperLib.diffusion.voxelwise import Known
from PDFFMapperLib.maps.progress import Progress

if TYPE_CHECKING:  # from Python 3.11 on
    from typing import Unpack

MODELS = ("mono-exponential", "kurtosis", "ivim")
PARAMETERS = {"mono-exponential": 2, "kurtosis": 3, "ivim": 4}


@dataclass
class ModelChoice:
    """The model of each voxel.

    Attributes:
        best: index into MODELS, shape of the image, int8; -1 where nothing was fitted.
        probability: Akaike weight of each model, shape (3, ...); NaN where nothing was fitted.
        mono_exponential: the fits compared.
        kurtosis: see `mono_exponential`.
        ivim: see `mono_exponential`.
    """

    best: np.ndarray
    probability: np.ndarray
    mono_exponential: AdcFit
    kurtosis: KurtosisFit
    ivim: IvimFit


def aicc(log_likelihood: np.ndarray, parameters: int, measurements: int) -> np.ndarray:
    """Akaike's information criterion corrected for few measurements; infinite if too few."""
    spare = measurements - parameters - 1
    if spare <= 0:
        return np.full(np.shape(log_likelihood), np.inf)
    penalty = 2 * parameters + 2 * parameters * (parameters + 1) / spare
    return penalty - 2 * np.asarray(log_likelihood, dtype=float)


def choose_model(
    signal: np.ndarray,
    b_values: Sequence[float],
    *,
    progress: Progress | None = None,
    **known: Unpack[Known],
) -> ModelChoice:
    """Fit the three models in every voxel and compare them; arguments as for `ivim.fit_ivim`.

    Raises:
        ValueError: as `ivim.fit_ivim`.
        InterruptedError: canceled.
    """
    voxels = prepared(signal, b_values, **known)
    fit = ivim.fit_prepared(voxels, None, progress)
    mono = adc.fit_prepared(voxels)
    curved = kurtosis.fit_prepared(voxels)
    count = len(b_values)
    criteria = np.stack(
        [
            np.where(fit.valid, aicc(fit.log_likelihood, PARAMETERS[name], count), np.inf)
            for name, fit in zip(MODELS, (mono, curved, fit), strict=True)
        ]
    )
    lowest = criteria.min(axis=0)
    fitted = np.isfinite(lowest)
    best = np.where(fitted, criteria.argmin(axis=0), -1).astype(np.int8)
    relative = np.exp(-0.5 * (criteria - np.where(fitted, lowest, 0.0)))
    with np.errstate(invalid="ignore"):
        probability = np.where(fitted, relative / relative.sum(axis=0), np.nan)
    return ModelChoice(best, probability.astype(np.float32), mono, curved, fit)
