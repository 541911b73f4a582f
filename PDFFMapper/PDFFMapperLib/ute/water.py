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
from PDFFMapperLib.ute.components import Model, RegionFit
from PDFFMapperLib.ute.echoes import UteImages
from PDFFMapperLib.ute.regions import bi_component, region_signals
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
    sample = RegionFit(region_signals(images, reference), images.te_ms, ONE_DECAY)
    amplitude, t2star = sample.component(0), sample.found[1]
    if abs(t2star / settings.reference_t2star - 1) > MOST_OFF:
        raise ValueError(
            f"the reference has a T2* of {t2star:.2g} ms where {settings.reference_t2star:g} ms "
            "were expected; more than 30 % off it is another sample, or shading or fat is in it"
        )
    times = fit.t2star_bound_ms.value, fit.t2star_pore_ms.value
    share = fit.bound_percent.value / 100
    received = profile_ratio(profile_of(settings, images.grid), reference, inside)

    def total(pools: Pools, t1_reference: float) -> float:
        shown = spoiled(
            *hard_pulse(pools.flip_deg, pools.pulse_ms, t2star), pools.tr_ms, t1_reference
        )
        protons = fit.amplitude * pools.per_signal(share, *times)
        return float(received * settings.reference_density * protons / (amplitude.value / shown))

    density = total(pools, settings.reference_t1)
    bone = region_signals(images, inside, (0,))[0]
    noise = np.hypot(
        bone.sigma / bone.independent**0.5 / bone.value, amplitude.bound_sd / amplitude.value
    )
    bound = pools.protons(share, *times)
    low, high = (
        pools.protons(min(max(end / 100, 0.0), 1.0), *times)
        for end in (fit.bound_percent.lower, fit.bound_percent.upper)
    )
    rows = [_row("total water", density, 1.96 * noise * density, 1.96 * noise * density)]
    for name, part, ends in (
        ("bound water", bound, (low, high)),
        ("pore water", 1 - bound, (1 - high, 1 - low)),
    ):
        below, above = (abs(part - end) / max(part, 1e-6) for end in ends)
        value = density * part
        rows.append(
            _row(
                name,
                value,
                value * np.hypot(below, 1.96 * noise),
                value * np.hypot(above, 1.96 * noise),
            )
        )
    rows += _budget(total, pools, settings.reference_t1, density)
    rows.append(RegionValue("budget: noise (SD)", *3 * (float(noise * density),), UNIT))
    return rows


def _budget(
    total: Callable[[Pools, float], float], pools: Pools, t1_reference: float, density: float
) -> list[RegionValue]:
    """What 5 % more of each assumption does to the total."""
    more = 1 + BUDGET
    moved = {
        "T1 of bound water": (replace(pools, t1_bound_ms=more * pools.t1_bound_ms), t1_reference),
        "T1 of pore water": (replace(pools, t1_pore_ms=more * pools.t1_pore_ms), t1_reference),
        "T1 of the reference": (pools, more * t1_reference),
        "flip angle (B1+)": (replace(pools, flip_deg=more * pools.flip_deg), t1_reference),
    }
    changes = {name: total(*assumed) - density for name, assumed in moved.items()}
    return [RegionValue(f"budget: {name} +5 %", *3 * (one,), UNIT) for name, one in changes.items()]


def _row(name: str, value: float, below: float, above: float) -> RegionValue:
    note = f"{value / 2:.3g} mol of water a liter"
    ends = float(value - below), float(value + above)
    return RegionValue(name, float(value), *ends, UNIT, note=note)
