"""A tibia at ultrashort echo times: cortex of bound and pore water between marrow and muscle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PDFFMapperLib.images.volume import Volume

EIGHT_MS = (0.032, 0.2, 0.4, 0.8, 2.2, 4.4, 6.6, 8.8)
GRID = np.diag([0.7, 0.7, 3.0, 1.0])


@dataclass(frozen=True)
class Tibia:
    """Truth of the cortex; signals at TE 0 are in units of the noise.

    Attributes:
        bound: fraction of bound water.
        t2star_bound_ms, t2star_pore_ms: of both waters.
        snr: of cortex at TE 0.
        spread: SD of the bound fraction from voxel to voxel.
        tesla: as the header says it; None leaves it out.
    """

    bound: float = 0.78
    t2star_bound_ms: float = 0.35
    t2star_pore_ms: float = 3.0
    snr: float = 30.0
    spread: float = 0.0
    tesla: float | None = 3.0

    def cortex(self, te_ms: np.ndarray, bound: float | np.ndarray | None = None) -> np.ndarray:
        """Signal of cortex over noise."""
        f = self.bound if bound is None else bound
        short, long = np.exp(-te_ms / self.t2star_bound_ms), np.exp(-te_ms / self.t2star_pore_ms)
        return self.snr * (f * short + (1 - f) * long)

    def volumes(
        self,
        te_ms: tuple[float, ...] = EIGHT_MS,
        seed: int = 0,
        sigma: float = 5.0,
        coils: int = 1,
    ) -> tuple[list[Volume], np.ndarray, np.ndarray]:
        """One magnitude image per echo time; labels (1 cortex, 2 marrow); true bound fraction.

        The magnitude is the root of the sum of squares of coils that share the signal evenly.
        """
        rng = np.random.default_rng(seed)
        shape = (3, 48, 48)
        y, x = np.mgrid[:48, :48] - 23.5
        radius = np.broadcast_to(np.hypot(y, x * 0.9), shape)
        cortex, marrow = (radius > 8) & (radius < 12), radius <= 8
        muscle = (radius >= 12) & (radius < 19)
        bound = np.clip(self.bound + self.spread * rng.standard_normal(shape), 0, 1)
        facts = {} if self.tesla is None else {"MagneticFieldStrength": self.tesla}
        images = []
        for te in te_ms:
            true = np.where(cortex, self.cortex(te, bound), 0.0)
            true[marrow] = 1.5 * self.snr * np.exp(-te / 12)
            true[muscle] = 1.2 * self.snr * np.exp(-te / 25)
            noise = rng.standard_normal((2, coils, *shape))
            each = np.abs(true / coils**0.5 + noise[0] + 1j * noise[1])
            array = sigma * np.sqrt(np.sum(each**2, axis=0))
            name = f"UTE {te:g} ms"
            images.append(
                Volume(array.astype(np.float32), GRID, name, {**facts, "EchoTime": float(te)})
            )
        labels = np.where(cortex, 1, np.where(marrow, 2, 0)).astype(np.uint8)
        return images, labels, np.where(cortex, bound, np.nan)
