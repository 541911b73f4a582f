"""Digital spines as whole volumes with their truth, made to order with the network's generator."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PDFFMapperLib.images.volume import Volume
from scipy import ndimage

sys.path.append(str(Path(__file__).resolve().parents[2] / "MarrowAssess/Resources/SpineNetwork"))

import appearance
import digital_spine as ds

T = ds.Tissue
UP_FROM_S4 = ["S4", "S3", "S2", "S1", "L5", "L4", "L3", "L2", "L1"]
UP_FROM_S4 += [f"T{n}" for n in range(12, 0, -1)] + ["C7", "C6", "C5"]
CONTRASTS = {
    "T1": {"fat": 0.8, "csf": 0.15, "muscle": 0.32, "disc": 0.3, "marrow": 0.55},
    "T2": {"fat": 0.6, "csf": 0.95, "muscle": 0.18, "disc": 0.5, "marrow": 0.4},
    "STIR": {"fat": 0.08, "csf": 0.95, "muscle": 0.2, "disc": 0.45, "marrow": 0.2},
    "GRE": {"fat": 0.5, "csf": 0.85, "muscle": 0.5, "disc": 0.8, "marrow": 0.4},
}


@dataclass
class DigitalSpine:
    """A volume, and on its grid the index of each body + 1, the tissues and the structures."""

    volume: Volume
    owner: np.ndarray
    tissue: np.ndarray
    structure: np.ndarray
    facts: dict

    def chances(self, sacral_disc: bool = False) -> np.ndarray:
        """What a network without fault would see; also one that takes S1-S2's rest for a disc."""
        seen = self.structure.copy()
        if sacral_disc:
            seen[np.isin(self.tissue, (T.SACRAL_DISC, T.SACRAL_NUCLEUS))] = ds.Structure.DISC
        return (seen == np.arange(len(ds.Structure))[:, None, None, None]).astype("f4")

    def level(self, index: int) -> str:
        """The level of the body with that owner's index, five lumbar vertebrae counted up."""
        return UP_FROM_S4[index - 1]


def healthy(seed: int, lumbar: int = 5, child: float | None = None):
    """Bones, gaps and facts of a spine without wear or damage, straight enough to be seen whole."""
    rng = np.random.default_rng(seed)
    facts = {
        "scale": child or 1.0, "n_lumbar": lumbar, "child": child is not None,
        "infant": child is not None and child < 0.5, "degeneration": 0.0, "fractures": False,
    }  # fmt: skip
    bones = np.zeros(4 + lumbar + 14, ds.VERTEBRA)
    ds._sizes(rng, bones, facts)
    ds._shapes(rng, bones, facts)
    bones["taper"][3] = 0.3
    gaps = ds._gaps(rng, bones, facts)
    gaps[2] = 1.0
    ds._place(rng, bones, gaps, facts)
    for name in ("cx", "slope", "turn"):
        bones[name] = 0
    return bones, gaps, facts


def bent_sacrum(bones, gaps, deg: float) -> None:
    """Turn the sacrum backward below L5, in place: its back wall makes a kink, as in life."""
    lowest = bones[4]
    back = lowest["h"] + gaps[3] / 2
    y0, z0 = lowest["cy"] - back * lowest["sin"], lowest["cz"] - back * lowest["cos"]
    c, s = np.cos(np.deg2rad(deg)), np.sin(np.deg2rad(deg))
    for down, up in (("cy", "cz"), ("sin", "cos")):
        a, b = bones[down][:4].copy(), bones[up][:4].copy()
        a0, b0 = (y0, z0) if up == "cz" else (0, 0)
        bones[down][:4] = a0 + c * (a - a0) + s * (b - b0)
        bones[up][:4] = b0 - s * (a - a0) + c * (b - b0)


def shown(
    spine, contrast: str, seed: int, level: float = 5.8, slices: int = 15, noise: float = 0.012
) -> DigitalSpine:
    """A sagittal volume of 4 mm slices and 1.5 mm pixels round a level (index of a bone)."""
    bones, gaps, facts = spine
    rng = np.random.default_rng(seed)
    step = 4.0 * min(facts["scale"], 1.0)
    planes = (np.arange(slices) - (slices - 1) / 2) * step
    painted = _painted(rng, bones, gaps, facts, level, planes)
    structure = ds.structures(painted.tissue, painted.depth, painted.scale)
    tissue, owner, structure = (a[:, ::2, ::2] for a in (painted.tissue, painted.owner, structure))
    means = _levels(contrast)
    signal = means[painted.tissue]
    signal *= 1 + 0.04 * np.stack([ds.smooth_noise(rng, 3, signal.shape[1:]) for _ in planes])
    signal = ndimage.gaussian_filter(signal, (0, 0.9, 0.9))
    signal = signal.reshape(slices, ds.HEIGHT, 2, ds.WIDTH, 2).mean((2, 4))
    real, imaginary = rng.normal(0, noise, (2, *signal.shape))
    signal = np.hypot(signal + real, imaginary)
    grid = np.eye(4)  # i to the front, j down, k to the right
    grid[:3, :3] = np.array([[0, 0, step], [ds.PIXEL_MM, 0, 0], [0, -ds.PIXEL_MM, 0]])
    grid[:3, 3] = [planes[0], -ds.WIDTH * ds.PIXEL_MM / 2, ds.HEIGHT * ds.PIXEL_MM / 2]
    volume = Volume((1000 * signal).astype(np.float32), grid, contrast)
    return DigitalSpine(volume, owner, tissue, structure, facts)


def _painted(rng, bones, gaps, facts, level, planes):
    before = ds.PLANES_MM
    ds.PLANES_MM = planes
    try:
        calm = _Calm(rng)
        return ds.paint_view(calm, bones, gaps, facts, level, 0.0)
    finally:
        ds.PLANES_MM = before


class _Calm:
    """Random numbers whose normal deviates are 0: the view is not turned."""

    def __init__(self, rng):
        self.rng = rng

    def normal(self, mean=0.0, sd=1.0, size=None):
        return mean if size is None else self.rng.normal(mean, sd, size)

    def __getattr__(self, name):
        return getattr(self.rng, name)


def _levels(contrast: str) -> np.ndarray:
    c = CONTRASTS[contrast]
    m = np.full(len(T), 0.3, np.float32)
    for tissues, value in (
        ((T.SKIN_FAT, T.FAT), c["fat"]),
        ((T.ERECTOR, T.PSOAS, T.WALL, T.ROOT), c["muscle"]),
        ((T.MARROW, T.SACRUM, T.POSTERIOR, T.BRIDGE, T.BASIVERTEBRAL, T.ENDPLATE), c["marrow"]),
        ((T.NUCLEUS, T.SACRAL_NUCLEUS), c["disc"]),
        ((T.ANNULUS, T.SACRAL_DISC), 0.6 * c["disc"]),
        ((T.CARTILAGE,), 0.9 * c["disc"]),
        ((T.CSF,), c["csf"]),
        ((T.NERVE,), 0.5 * c["csf"] + 0.5 * c["muscle"]),
        ((T.CORTEX, T.POST_CORTEX, T.SACRAL_CORTEX, T.LIGAMENT), 0.06),
        ((T.GAS, T.AIR, T.CEMENT), 0.02),
        ((T.AORTA, T.CAVA), 0.05),
        ((T.LESION,), 0.5 * c["marrow"] + 0.05),
        ((T.LINE,), 0.3 * c["marrow"]),
        ((T.FUSED,), 0.9 * c["marrow"]),
        ((T.SOFT,), 0.5 * c["fat"] + 0.5 * c["muscle"]),
    ):
        for tissue in tissues:
            m[tissue] = value
    return m


__all__ = ["DigitalSpine", "T", "appearance", "bent_sacrum", "ds", "healthy", "shown"]
