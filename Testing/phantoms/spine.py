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
    "PDFF": {"fat": 0.95, "csf": 0.03, "muscle": 0.06, "disc": 0.04, "marrow": 0.45},
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


def _turn(bones, chosen, deg: float, pivot=(0.0, 0.0)) -> None:
    """Turn bones to the front round a place (front, up), in place."""
    c, s = np.cos(np.deg2rad(deg)), np.sin(np.deg2rad(deg))
    for front, up, (y, z) in (("cy", "cz", pivot), ("sin", "cos", (0.0, 0.0))):
        a, b = bones[front][chosen] - y, bones[up][chosen] - z
        bones[front][chosen], bones[up][chosen] = y + c * a + s * b, z - s * a + c * b


def bent_sacrum(bones, gaps, deg: float) -> None:
    """Turn the sacrum below L5, in place: its back wall makes a kink, as in life."""
    low = bones[4]
    down = low["h"] + gaps[3] / 2
    _turn(bones, slice(0, 4), deg, (low["cy"] - down * low["sin"], low["cz"] - down * low["cos"]))


def _tilted(bones, gaps) -> None:
    _turn(bones, slice(None), 20.0)


def _broken_endplates(bones, gaps) -> None:
    for end in ("top", "bottom"):
        bones[end + "_depth"][L2], bones[end + "_size"][L2] = 8, 7


def _line_in_marrow(bones, gaps) -> None:
    bones["line_half"][L2], bones["line_h"][L2] = 1.2, 0.5


def _fused(bones, gaps) -> None:
    bones["fused"][L3] = 1
    gaps[L3] = 1.5


def _cement(bones, gaps) -> None:
    bones["cement_radius"][L2] = 11


def _scoliosis(bones, gaps, cobb_deg: float = 30.0) -> None:
    steepest = np.tan(np.deg2rad(cobb_deg / 2))
    bones["cx"] = 45 * steepest * np.sin(bones["cz"] / 45)
    bones["slope"] = steepest * np.cos(bones["cz"] / 45)


def _strong_scoliosis(bones, gaps) -> None:
    _scoliosis(bones, gaps, 40.0)


def _screws(bones, gaps) -> None:
    bones["screw"][[L3, L3 - 1]] = 4.0


def _plana(bones, gaps) -> None:
    """L2 has 30 % of its height; all above sinks down on it."""
    lost = 2 * 0.7 * bones["h"][L2]
    bones["h"][L2] *= 0.3
    for chosen, down in ((slice(L2, L2 + 1), lost / 2), (slice(L2 + 1, None), lost)):
        bones["cy"][chosen] -= down * bones["sin"][L2]
        bones["cz"][chosen] -= down * bones["cos"][L2]


def _wedge(bones, gaps) -> None:
    bones["wedge"][L2] -= 0.4


L2, L3 = 7, 6  # indices of their bones
DAMAGE = {
    "broken endplates": _broken_endplates,
    "line in the marrow": _line_in_marrow,
    "fused": _fused,
    "cement": _cement,
    "scoliosis": _scoliosis,
    "scoliosis of 40 degrees": _strong_scoliosis,
    "screws": _screws,
    "vertebra plana": _plana,
    "wedge": _wedge,
    "20 degrees of tilt": _tilted,
}


def damaged(seed: int, what: str):
    """As `healthy`, with one of DAMAGE."""
    bones, gaps, facts = healthy(seed)
    DAMAGE[what](bones, gaps)
    return bones, gaps, facts


def shown(
    spine,
    contrast: str,
    seed: int,
    level: float = 5.8,
    slices: int = 15,
    noise: float = 0.012,
    step_mm: float = 4.0,
    lesions: dict[int, float] | None = None,
) -> DigitalSpine:
    """A sagittal volume of 1.5 mm pixels round a level.

    Args:
        spine: bones, gaps and facts.
        contrast: one of CONTRASTS.
        seed: of texture and noise.
        level: index of the bone in the middle.
        slices, step_mm: how many, and from one to the next in an adult.
        noise: SD, where fat is about 0.6.
        lesions: by what the signal of whole bodies is multiplied, by their index.
    """
    bones, gaps, facts = spine
    rng = np.random.default_rng(seed)
    step = step_mm * min(facts["scale"], 1.0)
    planes = (np.arange(slices) - (slices - 1) / 2) * step
    painted = _painted(rng, bones, gaps, facts, level, planes)
    structure = ds.structures(painted.tissue, painted.depth, painted.scale)
    tissue, owner, structure = (a[:, ::2, ::2] for a in (painted.tissue, painted.owner, structure))
    means = _levels(contrast)
    signal = means[painted.tissue]
    for index, factor in (lesions or {}).items():
        signal[painted.owner == index + 1] *= factor
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


__all__ = ["DAMAGE", "DigitalSpine", "T", "appearance", "bent_sacrum", "damaged", "ds", "healthy"]
__all__ += ["L2", "L3", "shown"]
