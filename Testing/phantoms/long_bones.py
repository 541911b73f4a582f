"""Bones across their shaft that are no smooth ring: a femur with its ridge, and porous cortex."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from MarrowAssessLib.sample.tibia import TE_MS, Tibia
from scipy.ndimage import gaussian_filter
from scipy.stats import norm


@dataclass(frozen=True)
class Femur(Tibia):
    """Round, with a ridge behind (linea aspera) of `ridge` voxels that is 0.22 rad narrow (SD)."""

    radius: float = 26.0
    thickness: float = 12.0
    ridge: float = 3.0
    size: int = 76

    def edges(self, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        round_one = self.radius * (1 + 0.03 * np.cos(2 * phi))
        away = np.angle(np.exp(1j * (phi - np.pi / 2)))
        outer = round_one + self.ridge * np.exp(-0.5 * (away / 0.22) ** 2)
        return round_one - self.thickness * (1 + 0.1 * np.cos(phi)), outer


@dataclass(frozen=True)
class PorousTibia(Tibia):
    """Drawn voxel by voxel at 1/8 of the image's: canals of marrow in cortex, more of them inside,
    and trabeculae beside the endosteum, both by thresholds of smooth random fields.

    Attributes:
        canals: share of cortex, on average.
        trabeculae: share of marrow at the endosteum, falling to none within 4 voxels.
    """

    thickness: float = 8.0
    radius: float = 20.0
    canals: float = 0.08
    trabeculae: float = 0.0

    def parts(self, phi: np.ndarray, radius: np.ndarray) -> list[np.ndarray]:
        marrow, cortex, muscle = super().parts(phi, radius)
        inner, outer = self.edges(phi)
        rng = np.random.default_rng(4)
        fields = [
            gaussian_filter(rng.standard_normal(radius.shape), sd, mode="wrap") for sd in (2.4, 3.2)
        ]
        shares = (
            2 * self.canals * (1 - (radius - inner) / (outer - inner)),
            self.trabeculae * np.clip(1 - (inner - radius) / 4, 0, 1),
        )
        canal, strut = (
            part & (field / field.std() < norm.ppf(np.clip(share, 1e-9, 0.9)))
            for part, field, share in zip((cortex, marrow), fields, shares, strict=True)
        )
        return [(marrow & ~strut) | canal, (cortex & ~canal) | strut, muscle]

    def porosity_of_all(self, marrow: np.ndarray, te_ms: float = 2.2) -> float:
        """PI (%) of what lies between both edges, canals with their `marrow` among it.

        `marrow`: its signal at the first echo and at `te_ms`, over that of cortex at TE 0.
        """
        place = (np.arange(self.size * 8) - 4) / 8 - (self.size - 1) / 2
        row, column = np.meshgrid(place, place, indexing="ij")
        phi, radius = np.arctan2(row, column), np.hypot(row, column)
        whole = Tibia.parts(self, phi, radius)[1]
        canal = (self.parts(phi, radius)[0] & whole).sum() / whole.sum()
        first, late = (
            (1 - canal) * self.cortex(te) + canal * one
            for te, one in zip((TE_MS[0], te_ms), marrow, strict=True)
        )
        return float(100 * late / first)
