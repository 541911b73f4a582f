"""Every compiled fit of the panel once, on a small digital object."""

from __future__ import annotations

import numpy as np

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.recipes import FAMILIES
from PDFFMapperLib.water_fat.spectra import fat_spectrum

ECHO_TIMES_MS = (1.2, 2.2, 3.2, 4.2, 5.2, 6.2)
FIELD_STRENGTH_T = 3.0
UTE_MS = (0.032, 2.2)
B_VALUES = (0, 20, 50, 100, 200, 400, 600, 800)  # s/mm^2
SHAPE = (4, 24, 24)
SNR = 50.0


def play() -> None:
    """Fit echoes and diffusion images by the methods of their families; of UTE, the motion."""
    families = {one.command: one for one in FAMILIES}
    families["pdff"].recipe("complex").make(_echoes())
    for recipe in families["ivim"].recipes:
        recipe.make(_diffusion())
    families["ute"].recipe("porosity-index").make(_ute(), sigma=1.0)


def _echoes() -> list[Volume]:
    rng = np.random.default_rng(0)
    fat = np.linspace(0.1, 0.8, SHAPE[2])
    times_s = 1e-3 * np.array(ECHO_TIMES_MS)
    turned = fat_spectrum().modulation(times_s, FIELD_STRENGTH_T)
    volumes = []
    for time_ms, time_s, of_fat in zip(ECHO_TIMES_MS, times_s, turned, strict=True):
        signal = (1 - fat + fat * of_fat) * np.exp(-40 * time_s)
        signal = np.broadcast_to(signal, SHAPE).copy()
        signal[:, 10:14, 10:14] = 0  # a hole of the body
        noise = rng.normal(0, 1 / SNR, (2, *SHAPE))
        echo = 1000 * (signal + noise[0] + 1j * noise[1])
        for component, part in (("real", echo.real), ("imaginary", echo.imag)):
            facts = {
                "EchoTime": time_ms,
                "MagneticFieldStrength": FIELD_STRENGTH_T,
                "ImageComponent": component,
            }
            array = part.astype(np.float32)
            volumes.append(Volume(array, np.eye(4), f"{component} {time_ms} ms", facts))
    return volumes


def _diffusion() -> list[Volume]:
    rng = np.random.default_rng(1)
    volumes = []
    for b in B_VALUES:
        curve = 0.85 * np.exp(-1e-3 * b) + 0.15 * np.exp(-20e-3 * b)
        noise = rng.normal(0, 1 / SNR, (2, *SHAPE))
        array = 1000 * np.hypot(curve + noise[0], noise[1])
        facts = {"DiffusionBValue": float(b)}
        volumes.append(Volume(array.astype(np.float32), np.eye(4), f"b {b}", facts))
    return volumes


def _ute() -> list[Volume]:
    """A round limb, whose edges tell whether it moved."""
    rng = np.random.default_rng(2)
    row, column = np.indices(SHAPE[1:]) - (SHAPE[1] - 1) / 2
    limb = SNR * (np.hypot(row, column) < SHAPE[1] / 3)
    volumes = []
    for time_ms in UTE_MS:
        noise = rng.standard_normal((2, *SHAPE))
        array = np.hypot(limb * np.exp(-time_ms / 5) + noise[0], noise[1])
        facts = {"EchoTime": time_ms, "MagneticFieldStrength": FIELD_STRENGTH_T}
        volumes.append(Volume(array.astype(np.float32), np.eye(4), f"UTE {time_ms} ms", facts))
    return volumes
