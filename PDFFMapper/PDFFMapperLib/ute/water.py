"""Density of bound, pore and all water of bone against a reference of known protons.

Signal at TE 0 over what each pool shows of its protons (`steady_state`), beside the same of the
reference: water densities of bone by UTE against samples of known 1H concentration (Zhao 2017, doi
10.1371/journal.pone.0173995; Jerban 2020, doi 10.1016/j.mri.2020.01.004; abstracts read;
Techawiboonwong 2008 not read). The receive profile is that of a uniform phantom's image, or taken
to be the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.ute.answer import RegionValue
from PDFFMapperLib.ute.coil_profile import profile_of, profile_ratio
from PDFFMapperLib.ute.components import TWO_COMPONENTS, Model, RegionFit
from PDFFMapperLib.ute.echoes import UteImages
from PDFFMapperLib.ute.regions import bi_component, region_signals
from PDFFMapperLib.ute.registration import images_off
from PDFFMapperLib.ute.steady_state import Pools, hard_pulse, spoiled

UNIT = "mol 1H/L"  # half as many mol of water
MOST_OFF = 0.3  # of a reference's T2* from what is expected
BUDGET = 0.05  # by which each assumption is moved to show what it does


def _decay(parameters: Sequence[float], te_ms: np.ndarray) -> np.ndarray:
    return parameters[0] * np.exp(-te_ms / parameters[1])


def _decay_gradient(parameters: Sequence[float], te_ms: np.ndarray) -> np.ndarray:
    e = np.exp(-te_ms / parameters[1])
    return np.stack([e, parameters[0] * e * te_ms / parameters[1] ** 2], axis=-1)


ONE_DECAY = Model(_decay, _decay_gradient, ((0.1, 500.0),), ((0.5,), (5.0,), (50.0,)))


def water_densities(
    images: UteImages,
    inside: np.ndarray,
    reference: np.ndarray,
    pools: Pools,
    settings: SimpleNamespace,
) -> list[RegionValue]:
    """Total, bound and pore water of a region, and what each assumption does to the total.

    Args:
        images: echoes of bone and reference.
        inside: the bone.
        reference: voxels of the reference.
        pools: T1 of both waters, and the excitation.
        settings: `reference_density`, `reference_t1`, `reference_t2star`, and `coil_profile` where
            there is one.

    Raises:
        ValueError: as `regions.bi_component`; the reference is none, or decays as none should.
    """
    if not reference.any():
        raise ValueError("the reference holds no voxel; water densities need one")
    fit, _ = bi_component(images, inside)
    fits = [
        RegionFit(region_signals(images, region), images.te_ms, model)
        for region, model in ((inside, TWO_COMPONENTS), (reference, ONE_DECAY))
    ]
    t2star = fits[1].found[1]
    if abs(t2star / settings.reference_t2star - 1) > MOST_OFF:
        raise ValueError(
            f"the reference has a T2* of {t2star:.2g} ms where {settings.reference_t2star:g} ms "
            "were expected; more than 30 % off it is another sample, or shading or fat is in it"
        )
    share, times = fit.bound_percent, (fit.t2star_bound_ms.value, fit.t2star_pore_ms.value)
    received = profile_ratio(profile_of(settings, images.grid), reference, inside)

    def waters(
        bone: Sequence[float] = fits[0].found,
        sample: Sequence[float] = fits[1].found,
        pools: Pools = pools,
        t1_reference: float = settings.reference_t1,
    ) -> np.ndarray:
        """Total, bound and pore water by the fitted parameters of bone and reference."""
        (height, part, *times), (seen, t2star) = bone, sample
        pulse = hard_pulse(pools.flip_deg, pools.pulse_ms, t2star)
        unit = settings.reference_density * spoiled(*pulse, pools.tr_ms, t1_reference) / seen
        total = received * unit * height * pools.per_signal(part, *times)
        bound = pools.protons(part, *times)
        return total * np.array([1, bound, 1 - bound])

    found = waters()
    noise = _noise_sd(waters, fits) / found[0]
    by_shift = _by_registration(images, inside, reference, waters) - found
    apart = np.sqrt(np.sum(by_shift**2, axis=0))
    low, high = (
        pools.protons(min(max(end / 100, 0.0), 1.0), *times) for end in (share.lower, share.upper)
    )
    names = ("total water", "bound water", "pore water")
    ends = (1.0, 1.0), (low, high), (1 - high, 1 - low)
    rows = []
    for name, value, two, sd in zip(names, found, ends, apart, strict=True):
        by_share = np.array(two) * found[0] - value
        below, above = np.hypot(np.hypot(by_share, 1.96 * noise * value), 1.96 * sd)
        rows.append(_row(name, value, below, above))
    rows += _budget(waters, pools, settings)
    off = f"registration, {images.off_voxels:.2g} voxel"
    for name, sd in (("noise", noise * found[0]), (off, apart[0])):
        rows.append(RegionValue(f"budget: {name} (SD)", *3 * (float(sd),), UNIT))
    return rows


def _noise_sd(waters: Callable[..., np.ndarray], fits: Sequence[RegionFit]) -> float:
    """SD of the total by the errors of both fits, which go together within each."""
    variance = 0.0
    for n, fit in enumerate(fits):
        each = [one.found for one in fits]
        slopes = []
        for step in np.diag(1e-4 * fit.found):
            each[n] = fit.found + step
            slopes.append((waters(*each)[0] - waters()[0]) / step.sum())
        variance += float(np.array(slopes) @ fit.covariance @ slopes)
    return variance**0.5


def _by_registration(
    images: UteImages, inside: np.ndarray, reference: np.ndarray, waters: Callable[..., np.ndarray]
) -> np.ndarray:
    """The waters with later images off along rows, and along columns; shape (2, 3)."""
    fits = [
        [
            RegionFit(region_signals(moved, box), images.te_ms, model).found
            for moved, box in images_off(images, region)
        ]
        for region, model in ((inside, TWO_COMPONENTS), (reference, ONE_DECAY))
    ]
    return np.array([waters(bone, sample) for bone, sample in zip(*fits, strict=True)])


def _budget(
    waters: Callable[..., np.ndarray], pools: Pools, settings: SimpleNamespace
) -> list[RegionValue]:
    """What 5 % more of each assumption does to the total."""
    more = 1 + BUDGET
    usual = waters()[0]
    changes = {
        "T1 of bound water": {"pools": replace(pools, t1_bound_ms=more * pools.t1_bound_ms)},
        "T1 of pore water": {"pools": replace(pools, t1_pore_ms=more * pools.t1_pore_ms)},
        "T1 of the reference": {"t1_reference": more * settings.reference_t1},
        "flip angle (B1+)": {"pools": replace(pools, flip_deg=more * pools.flip_deg)},
    }
    moved = {name: float(waters(**one)[0] - usual) for name, one in changes.items()}
    moved["density of the reference"] = float(BUDGET * usual)
    return [RegionValue(f"budget: {name} +5 %", *3 * (one,), UNIT) for name, one in moved.items()]


def _row(name: str, value: float, below: float, above: float) -> RegionValue:
    note = f"{value / 2:.3g} mol of water a liter"
    ends = float(value - below), float(value + above)
    return RegionValue(name, float(value), *ends, UNIT, note=note)
