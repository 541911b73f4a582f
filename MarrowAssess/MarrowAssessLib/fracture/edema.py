"""Marrow of one body beside that of the unaffected bodies of the same image: edema, or none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.placement.vertebra import Surface, voxelize
from MarrowAssessLib.study.regions import Region

Z_EDEMA = 3.0
MARGIN_MM = 2.0  # cortex, and what endplates and vessels blur into marrow
CENTRAL = 2 / 3  # of the half width, as in placement.body
FEWEST_VOXELS = 30
DIFFUSE = 2 / 3  # share of the body from which edema is called diffuse
BAND_HEIGHT, BAND_DEPTH = 0.5, 0.5  # a band: at most so high, at least so deep a part of the body
# Signal over that of CSF which counts as fluid (own limit), and the least share of the body.
FLUID, FLUID_SHARE = 0.8, 0.02
FLUID_SIGN = (
    "An area in marrow with edema is as bright as CSF (fluid sign: seen in 21 of 52 acute "
    "osteoporotic and 2 of 35 neoplastic fractures, doi 10.1148/radiol.2253011413)."
)
CLEFT = (
    "The area as bright as CSF is a band that is dark on T1, as a cleft filled with fluid is. A "
    "cleft that holds gas is dark on both images and is not looked for."
)
# Read in the abstract and in table 3.
PUBLISHED_GROUPS = (
    "Published groups, no verdict: PDFF of 46 acute benign fractures 24 ± 12 %, of 41 malignant "
    "3 ± 3 % (doi 10.1007/s00330-018-5513-0); fat fraction by T2-weighted Dixon of whole bodies "
    "35 ± 14 % in 63 benign, 18 ± 14 % in 32 malignant, of their part with edema 25 ± 10 % and "
    "9 ± 8 % (doi 10.1007/s00330-021-07947-1). The groups overlap."
)
# Read in the abstract on a page without the journal, as the last words say.
PUBLISHED_RATIOS = (
    "Published groups, no verdict, unverified (read in an abstract only, which does not say what "
    "the STIR ratio is taken against): of 70 vertebral compression fractures in 66 patients acute "
    "benign ones had a STIR ratio above 2.5; malignant ones below 2.0, and opposed over in phase "
    "above 1.0; all below 1.0 were benign ('Differential diagnosis of vertebral compression "
    "fracture using in-phase/opposed-phase and short TI inversion recovery imaging')."
)
SD_FLOOR = 0.05  # of the mean: a digital or quantized image may have none
# Whether marrow with edema is brighter or darker than other marrow.
SIGNS = {Contrast.FS_T2: 1, Contrast.T1: -1, Contrast.PDFF: -1, Contrast.FAT_FRACTION: -1}
NO_EDEMA_IMAGE = (
    "Low signal on T1 or little fat is seen with edema and with whatever else replaces marrow; "
    "fat-suppressed T2 tells more."
)


@dataclass
class MarrowSignal:
    """One body's marrow signal beside that of unaffected bodies.

    Attributes:
        level: "L1".
        contrast: of the image.
        ratio: median over the mean median of the unaffected bodies.
        worst_ratio: the same of the mean of its worst third (brightest on fat-suppressed T2,
            darkest on T1, least fat on fat maps).
        z: of that third's mean among the voxels of the unaffected bodies, positive toward edema.
            About 1.1 is usual, the worst third being chosen.
        share: of the body's voxels beyond z 3.
        form: "diffuse", "band" or "patchy" where there is edema, else ""; compare Ahn et al. 2016,
            doi 10.3340/jkns.2016.59.2.137.
        fluid_share: of the body's voxels as bright as CSF on fat-suppressed T2, 0 without edema;
            None where no CSF was measured.
        cleft: whether a band as bright as CSF is dark on T1; None where CSF was not measured or
            T1 does not show the body and two unaffected ones.
        cautions: sentences to read with it.
    """

    level: str
    contrast: Contrast
    ratio: float
    worst_ratio: float
    z: float
    share: float
    form: str = ""
    fluid_share: float | None = None
    cleft: bool | None = None
    cautions: list[str] = field(default_factory=list)

    @property
    def present(self) -> bool:
        """Whether its worst third lies more than 3 SD from unaffected marrow."""
        return self.z > Z_EDEMA

    @property
    def text(self) -> str:
        """As people read it: "edema (diffuse, 80 % of the body)", "no edema"."""
        if self.contrast is Contrast.FS_T2:
            word = "edema"
        else:
            word = "low T1 signal" if self.contrast is Contrast.T1 else "little fat"
        if not self.present:
            return f"no {word}"
        sign = ", fluid sign" if self.fluid_sign else ""
        sign += ", cleft" if self.cleft else ""
        return f"{word} ({self.form}, {100 * self.share:.0f} % of the body){sign}"

    @property
    def fluid_sign(self) -> bool:
        """Whether an area of its marrow is as bright as CSF."""
        return self.fluid_share is not None and self.fluid_share >= FLUID_SHARE


def marrow_signals(
    volume: Volume,
    contrast: Contrast,
    bodies: Mapping[str, Surface],
    unaffected: Collection[str],
    fluid: float | None = None,
    t1: Volume | None = None,
) -> tuple[dict[str, MarrowSignal], dict[str, str]]:
    """The marrow of each body beside that of the unaffected ones.

    Args:
        volume: fat-suppressed T2, T1, PDFF or fat fraction, where the bodies lie.
        contrast: what it is.
        bodies: outlines by level.
        unaffected: levels without low height; an unaffected body is compared with the others.
        fluid: signal of CSF in the same image, None where it was not measured.
        t1: on the same voxels, that tells a cleft from other fluid; None where there is none.

    Returns:
        The signals by level, and by level why there is none.

    Raises:
        ValueError: the image's contrast says nothing of edema.
    """
    if contrast not in SIGNS:
        names = ", ".join(one.value for one in SIGNS)
        raise ValueError(f"{contrast.value} does not tell edema; give one of {names}.")
    voxels: dict[str, _Marrow] = {}
    without: dict[str, str] = {}
    for level, surface in bodies.items():
        found = _marrow(volume, surface)
        if len(found.values) < FEWEST_VOXELS:
            without[level] = f"Too little marrow of {level} lies in the image."
        else:
            voxels[level] = found
    signals = {}
    for level, here in voxels.items():
        others = [voxels[name] for name in unaffected if name in voxels and name != level]
        if len(others) < 2:
            without[level] = "Fewer than two other bodies are unaffected: nothing to compare with."
        else:
            signals[level] = _signal(level, contrast, here, others)
            if contrast is Contrast.FS_T2 and fluid is not None:
                _look_for_fluid(signals[level], here, fluid)
                if t1 is not None:
                    _look_for_cleft(signals[level], here, others, fluid, t1)
    return signals, without


class _Marrow(NamedTuple):
    """A body's marrow: finite values, their voxels (n, 3), where they lie in its box, -1 ... 1."""

    values: np.ndarray
    where: np.ndarray
    local: np.ndarray

    def of(self, volume: Volume) -> np.ndarray:
        """The values of another image at these voxels."""
        return volume.array[tuple(self.where.T)].astype(float)


def _marrow(volume: Volume, surface: Surface) -> _Marrow:
    mask, offset = voxelize(volume, surface)
    whole = Region("body", Role.MARROW, "", mask, offset)
    try:
        inner = whole.eroded(MARGIN_MM, volume.spacing)
    except ValueError:
        return _Marrow(np.empty(0), np.empty((0, 3), int), np.empty((0, 3)))  # nothing is left
    where = np.argwhere(inner.mask) + np.array(inner.offset)
    points = volume.to_ras(where[:, ::-1]) - surface.box.center
    local = points @ surface.box.axes.T / surface.box.half
    values = volume.array[tuple(where.T)].astype(float)
    kept = np.isfinite(values) & (np.abs(local[:, 0]) <= CENTRAL)
    return _Marrow(values[kept], where[kept], local[kept])


def _usual(others: list[np.ndarray]) -> tuple[float, float]:
    """Mean and SD of unaffected bodies; each counts alike, however many voxels it has."""
    mean = float(np.mean([np.median(one) for one in others]))
    within = np.mean([_spread(one) ** 2 for one in others])
    between = np.var([np.median(one) for one in others], ddof=1)
    return mean, max(float(np.sqrt(within + between)), SD_FLOOR * abs(mean), 1e-9)


def _signal(level: str, contrast: Contrast, here: _Marrow, others: list[_Marrow]) -> MarrowSignal:
    sign = SIGNS[contrast]
    mean, sd = _usual([one.values for one in others])
    beyond = sign * (here.values - mean) / sd
    worst = np.sort(beyond)[-max(1, len(beyond) // 3) :]
    z = float(worst.mean())
    bright = beyond > Z_EDEMA
    result = MarrowSignal(
        level,
        contrast,
        float(np.median(here.values)) / mean if mean else float("nan"),
        (mean + sign * z * sd) / mean if mean else float("nan"),
        z,
        float(bright.mean()),
    )
    if result.present:
        result.form = _form(here.local, bright)
        if contrast is Contrast.FS_T2:
            result.cautions.append(PUBLISHED_RATIOS)
        else:
            result.cautions.append(NO_EDEMA_IMAGE)
        if contrast in (Contrast.PDFF, Contrast.FAT_FRACTION):
            result.cautions.append(PUBLISHED_GROUPS)
    return result


def _look_for_fluid(signal: MarrowSignal, here: _Marrow, fluid: float) -> None:
    bright = here.values >= FLUID * fluid
    signal.fluid_share = float(bright.mean()) if signal.present else 0.0
    if signal.fluid_sign:
        signal.cautions.append(FLUID_SIGN)


def _look_for_cleft(
    signal: MarrowSignal, here: _Marrow, others: list[_Marrow], fluid: float, t1: Volume
) -> None:
    """Whether what is as bright as CSF is a band, and dark on T1 beside unaffected bodies."""
    usual = [values[np.isfinite(values)] for values in (one.of(t1) for one in others)]
    usual = [values for values in usual if len(values)]
    of_t1 = here.of(t1)
    if len(usual) < 2 or not np.isfinite(of_t1).any():
        return
    mean, sd = _usual(usual)
    dark = (mean - of_t1) / sd > Z_EDEMA
    band = dark & (here.values >= FLUID * fluid)
    signal.cleft = bool(
        signal.fluid_sign and band.mean() >= FLUID_SHARE and _form(here.local, band) == "band"
    )
    if signal.cleft:
        signal.cautions.append(CLEFT)


def _spread(values: np.ndarray) -> float:
    """A standard deviation that hot spots and veins do not widen."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _form(local: np.ndarray, bright: np.ndarray) -> str:
    if bright.mean() >= DIFFUSE:
        return "diffuse"
    extent = [
        np.ptp(np.percentile(local[bright, axis], [5, 95]))
        / np.ptp(np.percentile(local[:, axis], [5, 95]))
        for axis in (1, 2)
    ]
    return "band" if extent[1] <= BAND_HEIGHT and extent[0] >= BAND_DEPTH else "patchy"
