"""A tibia across its shaft at ultrashort echo times, with known truth.

Two smooth edges are drawn at many times the image's resolution and blurred there as a radial
readout does, with marrow's fat beating against water, a coil's shading and Rician noise; of the
fits only the spectrum of fat is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.spectra import fat_spectrum

SITE = "tibial diaphysis"
FIELD_STRENGTH_T = 3.0
TE_MS = (0.032, 0.2, 0.4, 0.8, 2.2, 4.4, 6.6, 8.8)
SPACING_MM = (0.5, 3.0)  # in and between slices
_FINE = 8  # samples a voxel, each way


@dataclass(frozen=True)
class Tibia:
    """Truth; lengths in voxels of a slice.

    Attributes:
        thickness: of the cortex along rays, mean; `wave` tells how far it goes up and down.
        radius: of the periosteum, mean.
        snr: of cortex at TE 0 where the coil is near.
        shading: how much darker the far side is.
        psf, fat_psf: SD of the blur, and that of marrow's fat.
        bound, t2star_bound_ms, t2star_pore_ms: waters of the cortex.
        size: of the image.
        field_t: that marrow's fat precesses in, beside water.
        fat: share of marrow that is fat.
    """

    thickness: float = 9.0
    wave: float = 0.15
    radius: float = 22.0
    snr: float = 40.0
    shading: float = 0.4
    psf: float = 0.85
    fat_psf: float = 1.2
    bound: float = 0.78
    t2star_bound_ms: float = 0.35
    t2star_pore_ms: float = 3.0
    size: int = 64
    field_t: float = FIELD_STRENGTH_T
    fat: float = 0.9

    def edges(self, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Radii of endosteum and periosteum at angles (from columns to rows)."""
        outer = self.radius * (1 + 0.08 * np.cos(3 * phi + 0.4) + 0.05 * np.cos(2 * phi))
        return outer - self.thickness * (1 + self.wave * np.cos(phi - 0.7)), outer

    @property
    def area_mm2(self) -> float:
        """Of the cortex in a slice."""
        inner, outer = self.edges(np.arange(3600) * np.pi / 1800)
        return float(np.pi * np.mean(outer**2 - inner**2)) * SPACING_MM[0] ** 2

    @property
    def thickness_mm(self) -> float:
        """Across the cortex, not along rays: its area over the mean length of both edges."""
        phi = np.arange(3600) * np.pi / 1800
        points = [edge * np.stack([np.sin(phi), np.cos(phi)]) for edge in self.edges(phi)]
        steps = np.diff(points, axis=2, append=np.array(points)[..., :1])
        return self.area_mm2 / (np.linalg.norm(steps, axis=1).sum() / 2 * SPACING_MM[0])

    def cortex(self, te_ms: float) -> float:
        """Its signal, 1 at TE 0."""
        short, long = np.exp(-te_ms / self.t2star_bound_ms), np.exp(-te_ms / self.t2star_pore_ms)
        return float(self.bound * short + (1 - self.bound) * long)

    @property
    def porosity_index(self) -> float:
        """In %, of the first echo and that at 2.2 ms."""
        return 100 * self.cortex(2.2) / self.cortex(TE_MS[0])

    def share(self) -> np.ndarray:
        """Voxels whose center lies in cortex, shape (size, size)."""
        place = np.arange(self.size) - (self.size - 1) / 2
        row, column = np.meshgrid(place, place, indexing="ij")
        inner, outer = self.edges(np.arctan2(row, column))
        return (np.hypot(row, column) >= inner) & (np.hypot(row, column) < outer)

    def volumes(
        self, slices: int = 3, te_ms: Sequence[float] = TE_MS, seed: int = 0, coils: int = 1
    ) -> list[Volume]:
        """One magnitude image per echo time; noise of SD 5, of coils that share the signal."""
        rng = np.random.default_rng(seed)
        parts = self._blurred()
        spectrum = fat_spectrum()
        shade = 1 - self.shading * np.linspace(0, 1, self.size)[:, None]
        spacing, between = SPACING_MM
        grid = np.diag([-spacing, -spacing, between, 1.0])
        volumes = []
        for te in te_ms:
            marrow = self.fat * spectrum.modulation(np.array([te / 1e3]), self.field_t)[0]
            marrow = 1.6 * np.exp(-te / 9.0) * (marrow + 1 - self.fat)
            levels = marrow, self.cortex(te), 1.3 * np.exp(-te / 25.0)
            true = sum(a * b for a, b in zip(levels, parts, strict=True))
            true = self.snr * shade * np.abs(true)
            noise = rng.standard_normal((2, coils, slices, self.size, self.size), np.float32)
            each = np.abs((true / coils**0.5).astype(np.float32) + noise[0] + 1j * noise[1])
            array = 5 * np.sqrt(np.sum(each**2, axis=0))
            facts = {"EchoTime": float(te), "MagneticFieldStrength": self.field_t}
            volumes.append(Volume(array.astype(np.float32), grid, f"UTE {te:g} ms", facts))
        return volumes

    def parts(self, phi: np.ndarray, radius: np.ndarray) -> list[np.ndarray]:
        """Where marrow, cortex and muscle are, at angles and radii."""
        inner, outer = self.edges(phi)
        limb = radius < 0.48 * self.size
        return [radius < inner, (radius >= inner) & (radius < outer), (radius >= outer) & limb]

    def _blurred(self) -> list[np.ndarray]:
        """Shares of marrow, cortex and muscle in each voxel."""
        from scipy.ndimage import gaussian_filter

        fine = (np.arange(self.size * _FINE) - _FINE // 2) / _FINE - (self.size - 1) / 2
        row, column = np.meshgrid(fine, fine, indexing="ij")
        phi, radius = np.arctan2(row, column), np.hypot(row, column)
        parts = self.parts(phi, radius)
        start = slice(_FINE // 2, None, _FINE)
        return [
            gaussian_filter(part.astype(np.float32), blur * _FINE, truncate=4)[start, start]
            for part, blur in zip(parts, (self.fat_psf, self.psf, self.psf), strict=True)
        ]


TRUE = {  # by the keys of the results
    "ute_pi": lambda tibia: tibia.porosity_index,
    "ute_pi_fitted": lambda tibia: tibia.porosity_index,
    "ute_bound_fraction_fitted": lambda tibia: 100 * tibia.bound,
    "ute_bound_fraction": lambda tibia: 100 * tibia.bound,
    "ute_t2star_bound": lambda tibia: tibia.t2star_bound_ms,
    "ute_t2star_pore": lambda tibia: tibia.t2star_pore_ms,
    "ute_thickness": lambda tibia: tibia.thickness_mm,
    "ute_area": lambda tibia: tibia.area_mm2,
}
