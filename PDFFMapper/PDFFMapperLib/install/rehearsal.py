"""Every compiled fit of the panel once, on a small digital object."""

from __future__ import annotations

import numpy as np

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.recipes import FAMILIES

ECHO_TIMES_MS = (1.2, 2.2, 3.2, 4.2, 5.2, 6.2)
FIELD_STRENGTH_T = 3.0
FAT_HZ = -3.4 * 42.577 * FIELD_STRENGTH_T
B_VALUES = (0, 20, 50, 100, 200, 400, 600, 800)  # s/mm^2
SHAPE = (4, 24, 24)
SNR = 50.0


def play() -> None:
    """Fit echoes and diffusion images by the methods of their families."""
    families = {one.command: one for one in FAMILIES}
    families["pdff"].recipe("complex").make(_echoes())
    for recipe in families["ivim"].recipes:
        recipe.make(_diffusion())


def _echoes() -> list[Volume]:
    rng = np.random.default_rng(0)
    fat = np.linspace(0.1, 0.8, SHAPE[2])
    volumes = []
    for time_ms in ECHO_TIMES_MS:
        time_s = 1e-3 * time_ms
        signal = (1 - fat + fat * np.exp(2j * np.pi * FAT_HZ * time_s)) * np.exp(-40 * time_s)
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
