"""The cortex of a long bone's shaft, found by itself on a short and a later echo, or on one image.

Cortex loses its signal between both echoes, marrow and muscle keep theirs: the largest hole of what
loses it is the marrow cavity, and the ring around it is fitted slice by slice (`ring`). Of one
image cortex is what is darker than the marrow and the muscle beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import ndtr

from PDFFMapperLib.images.volume import lies_outside
from PDFFMapperLib.ute.curve import Curve, placed, polar_curve
from PDFFMapperLib.ute.echoes import LEAST_SNR, UteImages, cortex_echoes
from PDFFMapperLib.ute.noise import Noise
from PDFFMapperLib.ute.ring import MARROW_FAT, Ring, fit_ring, fit_voxels, reach_mm
from PDFFMapperLib.ute.ring_images import MeanLevels, mean_levels
from PDFFMapperLib.ute.sections import (
    MOST_UNLIKE,
    Planes,
    Slices,
    planes_across,
    spacing_along,
)
from PDFFMapperLib.ute.shaft import LEAST_CAVITY, axis_along
from PDFFMapperLib.water_fat.spectra import fat_spectrum

# Of other tissue in a voxel of cortex alone: marrow is ten times as bright in the late echo, so
# voxels with up to 5 % of it read a PI of 15 % where 11.5 % is true.
MOST_OTHER = 0.001
MODEL_SD_SHARE = 0.002  # of a thickness, where edges that are not parallel have several
MODEL_SD_VOXELS = 0.02  # by phantoms of 2 to 9 voxels: smooth edges, noise of magnitudes
ONE_IMAGE_SD_VOXELS = 0.06  # the same of one image, whose marrow blur and level are told less
SAID_TILT_DEG, MOST_TILT_DEG = 10.0, 25.0  # areas 1.5 and 10 % too large
LAYERS = ("endosteal", "middle", "periosteal")
_IN_PHASE = 0.9  # cosine, above which the share of fat hardly matters
_LOST, _MARROW_LOST = 0.65, 0.75  # of the ratio of both echoes that other tissue keeps
_DARK = 0.92  # of what lies beside it, below which a voxel of one image may be cortex
_CLEARLY_DARK, _LEAST_CONTRAST = 0.8, 5.0  # of what lies beside a fitted ring, and times the noise
_NEAR, _MOST_MOVED, _OFF_BY_MOVED = 2.0, 0.3, 1.5  # blurs; voxels; SD of a thickness over its move
_WIDEST_MM, _DARK_SMOOTH = 12.0, 0.7  # of a cortex; by so many voxels one image is smoothed
_RAYS, _RAY_STEP = 90, 0.25
_MOST_MISFIT = 2.0
_MOST_FITS, _SETTLED = 6, 0.02  # of a ring, until its thickness stays within this part of itself
_CLEAR_SNR, _SMOOTH = 40.0, 0.4  # of tissue, below which it is smoothed; by so many voxels at half
DIRECTIONS = ("right", "left", "anterior", "posterior", "superior", "inferior")
NO_RING = (
    "No closed ring of cortex was found around a marrow cavity: slices must cut through a long "
    "bone's shaft; name a point inside the cavity (--point R,A,S) or give the bone as labels."
)

NO_RING_ACROSS = (
    "No closed ring of cortex was found in planes across the bone, which runs {:.0f} degrees "
    "oblique to the slices: a plane must lie within the images, or within the slices in which "
    "cortex is drawn. Acquire or draw more of them, or acquire slices across it."
)

NO_DARK_RING = (
    "No closed ring that is darker than the marrow in it and the muscle around it was found in "
    f"this one image, by {100 - 100 * _CLEARLY_DARK:.0f} % and {_LEAST_CONTRAST:g} times the noise "
    f"at least and itself {LEAST_SNR:g} times the noise: slices must lie across a long bone's "
    "shaft; name a point inside the cavity (--point R,A,S), or add an echo of 1.8 to 3 ms, which "
    "tells cortex by its decay."
)
ONE_IMAGE = (
    "Of one image cortex is what is darker than marrow and muscle; a later echo (1.8 to 3 ms) "
    "tells it by its decay, and its PI."
)
NO_DRAWN_RING = (
    "The cortex as drawn encloses no marrow cavity, or not that of the point: draw it in each "
    "slice as a ring around the cavity."
)


@dataclass(frozen=True)
class Cortex:
    """A found cortex.

    Attributes:
        rings: by section along the bone.
        sections: slices of the images, or planes across an oblique bone.
        share: of each voxel that is cortex, 0 to 1.
        bone: voxels of cortex alone.
        layer: 1, 2 and 3 from inside to outside in voxels of cortex, 0 elsewhere.
        sector: place in `DIRECTIONS`, from 1 on, of the side a voxel of cortex lies on; else 0.
        sectors: mean thickness and its SD toward each direction, mm.
        model_sd_mm: of a thickness by what the model of the edges leaves.
        notes: what was left out, and what to read with it.
    """

    rings: dict[int, Ring]
    sections: Slices | Planes
    share: np.ndarray
    bone: np.ndarray
    layer: np.ndarray
    sector: np.ndarray
    sectors: dict[str, tuple[float, float]]
    model_sd_mm: float
    notes: list[str]

    def parts(self) -> dict[str, np.ndarray]:
        """Voxels of cortex alone, by third and by side."""
        found = {f"{name} third": self.bone & (self.layer == n) for n, name in enumerate(LAYERS, 1)}
        sides = {side: self.bone & (self.sector == n) for n, side in enumerate(DIRECTIONS, 1)}
        return found | {side: voxels for side, voxels in sides.items() if side in self.sectors}

    def levels_in(self, data: UteImages) -> MeanLevels:
        """Mean level of cortex in any images of the limb, free of what lies beside it."""
        signal = np.moveaxis(data.signal, self.sections.axis + 1, 1)
        fat = fat_signal(data.te_ms, data.field_t)
        rings = [
            ring.levels_in(self.sections.images(signal, k), fat) for k, ring in self.rings.items()
        ]
        return mean_levels(rings, self.model_sd_mm, data.noise.sigma)

    def thickness_mm(self) -> tuple[float, float]:
        """Mean over all slices, and its SD."""
        return _mean([one.mean_thickness() for one in self.rings.values()], self.model_sd_mm)

    def area_mm2(self) -> tuple[float, float]:
        """Mean area of a section, and its SD."""
        around = np.mean([one.curve.length.sum() for one in self.rings.values()])
        return _mean([one.area() for one in self.rings.values()], self.model_sd_mm * around)


def _mean(found: Sequence[tuple[float, float]], common: float) -> tuple[float, float]:
    """Mean and its SD: of the noise of each, and of what all have in common."""
    values, sds = np.array(found).T
    return float(values.mean()), float(np.hypot(np.sqrt(np.sum(sds**2)) / len(values), common))


def find_cortex(
    data: UteImages,
    psf_voxels: float,
    point_ras: Sequence[float] | None = None,
    drawn: np.ndarray | None = None,
) -> Cortex:
    """Find the cortex around the largest marrow cavity, or around that of a point.

    Args:
        data: an early echo, with a later one for PI.
        psf_voxels: blur of the images, SD of a Gaussian (see `recipe.PSF`).
        point_ras: in the cavity, mm.
        drawn: voxels from which the ring of each slice is fitted, instead of looking for it.

    Raises:
        ValueError: as `porosity_echoes`; there is no ring, or none that its voxels tell.
    """
    axis = axis_along(data.grid)
    pair, sections = pair_of(data, axis), Slices(axis, data.grid)
    if drawn is not None:
        lost = np.moveaxis(drawn, axis, 0)
    elif len(pair) == 1:
        lost = _is_darker(pair[0], data.noise.sigma, sections.mm)
    else:
        beats = np.abs(_marrow_of(data))
        shown = _smoothed(pair, data.noise)
        lost = _loses_signal(shown, data.noise.sigma, min(beats[1] / beats[0], 1.0))
    index = _index(data, point_ras, axis)
    no_ring = NO_DARK_RING if len(pair) == 1 else NO_RING
    cavity = _cavity(lost, index, no_ring if drawn is None else NO_DRAWN_RING)
    nearer: dict[int, Ring] = {}

    def fitted(sections: Slices | Planes) -> tuple[dict[int, Ring], int]:
        rings, dropped = {}, 0
        for k in sections.across(cavity):
            try:
                ring = _ring_of(pair, lost, cavity, sections, k, psf_voxels, data)
                if len(pair) == 1:
                    nearer[k] = _nearer(ring, pair[:, k], sections.mm, psf_voxels, data)
                rings[k] = ring
            except ValueError:
                dropped += 1
        return rings, dropped

    middles = {k: sections.middle(cavity, k) for k in sections.across(cavity)}
    apart_mm = float(data.grid.spacing[::-1][axis])
    rings, dropped, tilt = {}, 0, _tilt_deg(middles, apart_mm)
    if not tilt > MOST_TILT_DEG:
        rings, dropped = fitted(sections)
        by_rings = _tilt_deg(_middles(rings), apart_mm)
        if np.isfinite(by_rings):
            middles, tilt = _middles(rings), by_rings
    if tilt > MOST_TILT_DEG:
        sections = _across(sections, middles, tilt, len(pair))
        sections = sections.turned(_middles(fitted(sections)[0]))
        rings, dropped = fitted(sections)
        no_ring = NO_RING_ACROSS.format(tilt)
    if not rings:
        raise ValueError(no_ring)
    voxels = [np.zeros(pair.shape[1:], kind) for kind in (np.float32, bool, np.uint8, np.uint8)]
    sides = {k: _sides(ring, sections) for k, ring in rings.items()}
    for k, ring in rings.items():
        places, found = _voxels_of(ring, sides[k], sections, k, psf_voxels)
        for whole, one in zip(voxels, found, strict=True):
            whole[places] = one
    notes = [
        f"Edges by a Gaussian blur of {psf_voxels:g} voxels; marrow's own was fitted "
        f"({np.mean([r.marrow_blur_mm for r in rings.values()]) / sections.voxel_mm:.2f} voxels). "
        "Thin cortex depends on the blur that is assumed."
    ]
    notes += _phase_notes(data, float(np.mean([r.marrow_fat for r in rings.values()])))
    notes += _tilt_notes(sections, tilt)
    if dropped:
        notes.append(f"{dropped} {sections.left_out} and were left out.")
    voxels = [np.moveaxis(one, 0, axis) for one in voxels]
    thickness = float(np.mean([ring.mean_thickness()[0] for ring in rings.values()]))
    model_sd = float(np.hypot(MODEL_SD_VOXELS * sections.voxel_mm, MODEL_SD_SHARE * thickness))
    if nearer:
        model_sd = _sd_of_one_image(list(rings.values()), list(nearer.values()), sections.mm)
    return Cortex(rings, sections, *voxels, _sectors(rings, sides, model_sd), model_sd, notes)


def _across(slices: Slices, middles: dict[int, np.ndarray], tilt: float, images: int) -> Planes:
    """Planes across a bone that runs obliquely to the slices.

    Raises:
        ValueError: voxels are too unlike a cube, or there is one image.
    """
    mm = spacing_along(slices.grid, slices.axis)
    if images == 1:
        raise ValueError(
            f"The bone runs {tilt:.0f} degrees oblique to the slices, in which its cortex is cut "
            f"too thick; beyond {MOST_TILT_DEG:.0f} an echo of 1.8 to 3 ms is needed besides, or "
            "slices across it."
        )
    if mm.max() > MOST_UNLIKE * mm.min():
        raise ValueError(
            f"The bone runs {tilt:.0f} degrees oblique to the slices, in which its cortex is cut "
            f"too thick; beyond {MOST_TILT_DEG:.0f} it is measured across itself, where voxels are "
            f"at most {MOST_UNLIKE:g} times as long as wide, and these are "
            f"{mm.max() / mm.min():.1f} times. Acquire slices across it, or such voxels."
        )
    return planes_across(slices, middles)


def _tilt_notes(sections: Slices | Planes, tilt: float) -> list[str]:
    """What is oblique, by an angle in degrees of the slices' normal; NaN where it is not told."""
    if isinstance(sections, Planes):
        tilt = float(np.rad2deg(np.arccos(min(abs(sections.along[0]), 1.0))))
        return [
            f"The bone runs {tilt:.0f} degrees oblique to the slices: it was measured in planes "
            f"across itself, {sections.longest_mm:.2g} mm apart, by the voxels as they lie "
            "(nothing is interpolated). That takes it to be straight within such a layer."
        ]
    if np.isnan(tilt):
        return [
            "Fewer than three slices side by side do not tell how obliquely they cut the bone; cut "
            "obliquely its cortex and its area read too large."
        ]
    if tilt <= SAID_TILT_DEG:
        return []
    more = 100 / np.cos(np.deg2rad(tilt)) - 100
    return [
        f"The bone runs {tilt:.0f} degrees oblique to the slices: its area reads {more:.0f} % "
        "too large, and its thickness by up to that where the slices cut it obliquely."
    ]


def _middles(rings: dict[int, Ring]) -> dict[int, np.ndarray]:
    """Of the rings' curves, mm."""
    return {k: np.average(r.curve.points, axis=0, weights=r.curve.length) for k, r in rings.items()}


def _tilt_deg(middles: dict[int, np.ndarray], apart_mm: float) -> float:
    """Between a bone and the normal of its slices, by its middle in three and more; else NaN.

    The middle slope of neighbors tells it, which a slice with a wrong ring does not move.
    """
    steps = [(middles[k + 1] - middles[k]) / apart_mm for k in middles if k + 1 in middles]
    if len(steps) < 2:
        return float("nan")
    return float(np.rad2deg(np.arctan(np.linalg.norm(np.median(steps, axis=0)))))


def _index(data: UteImages, point_ras: Sequence[float] | None, axis: int) -> np.ndarray | None:
    """The voxel of a point, the slice along the bone first.

    Raises:
        ValueError: it lies outside the images.
    """
    if point_ras is None:
        return None
    to_ijk = np.linalg.inv(data.grid.ijk_to_ras)
    kji = np.round(to_ijk[:3] @ [*point_ras, 1.0]).astype(int)[::-1]
    if (kji < 0).any() or (kji >= data.grid.array.shape).any():
        raise ValueError(lies_outside("The point", "the images", "name one in the marrow cavity"))
    return np.concatenate([[kji[axis]], np.delete(kji, axis)])


def _marrow_of(data: UteImages) -> np.ndarray:
    """`marrow_signal` at the echoes that tell the cortex."""
    return marrow_signal(data.te_ms[list(cortex_echoes(data.te_ms))], data.field_t)


def pair_of(data: UteImages, axis: int) -> np.ndarray:
    """Echoes that tell the cortex, (1 or 2, slices, rows, columns)."""
    return np.moveaxis(data.signal[list(cortex_echoes(data.te_ms))], axis + 1, 1)


def facts_of_rings(data: UteImages) -> tuple[object, ...]:
    """What `fit_ring` is told of images besides its start and blur: noise and fat's signal."""
    fat = fat_signal(data.te_ms[list(cortex_echoes(data.te_ms))], data.field_t)
    return data.noise.sigma, data.noise.share, data.noise.coils, fat


def _phase_notes(data: UteImages, fat: float) -> list[str]:
    """What to know where marrow and water are not in phase in the later echo."""
    if len(data.te_ms) == 1:
        return [ONE_IMAGE]
    te_ms = data.te_ms[cortex_echoes(data.te_ms)[1]]
    if data.field_t is None:
        return [
            f"The field strength is not known, so that fat is taken to be in phase with water at "
            f"{te_ms:.3g} ms; state it in a JSON file beside the images (MagneticFieldStrength)."
        ]
    angle = abs(np.angle(_marrow_of(data)[1], deg=True))
    if np.cos(np.deg2rad(angle)) > _IN_PHASE:
        return []
    return [
        f"At {te_ms:.3g} ms and {data.field_t:g} T marrow is {angle:.0f} degrees out of phase "
        f"with water, which is modeled for the {100 * fat:.0f} % of fat that fit it best; sides "
        "of bone that lie on fat, not on muscle, may read wrong. An echo in phase (2.2 to 2.4 ms "
        "at 3 T) depends on neither."
    ]


def _smoothed(pair: np.ndarray, noise: Noise) -> np.ndarray:
    """Signals without the floor of noise, smoothed in slices as far as noise makes it necessary."""
    usual = np.nanmedian(pair[0][pair[0] > LEAST_SNR * noise.sigma]) / noise.sigma
    width = float(np.clip(_SMOOTH * (_CLEAR_SNR / usual - 1), 0, 1)) if usual > 0 else 0.0
    square = np.square(pair, dtype=np.float64)
    if width:
        known = np.isfinite(square)
        square = ndimage.gaussian_filter(np.where(known, square, 0), (0, 0, width, width))
        square[~known] = np.nan
    return np.sqrt(np.maximum(square - 2 * noise.coils * noise.sigma**2, 0))


def _loses_signal(pair: np.ndarray, sigma: float, beat: float) -> np.ndarray:
    """Voxels with signal whose later echo keeps much less of it than other tissue.

    `beat`: what of it marrow keeps beside the decay, as its peaks lose their common phase.
    """
    early, late = pair
    tissue = (early > LEAST_SNR * sigma) & np.isfinite(late)
    if not tissue.any():
        raise ValueError(NO_RING)
    kept = late / np.maximum(early, sigma)
    return tissue & (kept < min(_LOST, _MARROW_LOST * beat) * np.median(kept[tissue]))


def _is_darker(image: np.ndarray, sigma: float, spacing: np.ndarray) -> np.ndarray:
    """Voxels of an image with signal, but less of it than what lies on both sides of them.

    What lies beside a voxel is a grey closing, which follows a coil's shading. Muscle between
    cortex and brighter fat is dark beside these too, so that a voxel is also nearer to the darkest
    one around than to what lies beside.
    """
    reach = np.ceil(_WIDEST_MM / 2 / spacing).astype(int)
    around = [(0, 0), *((n, n) for n in reach)]
    inside = (slice(None), *(slice(n, -n) for n in reach))
    known = np.nan_to_num(image.astype(np.float64))
    smooth = ndimage.gaussian_filter(known, (0, _DARK_SMOOTH, _DARK_SMOOTH))
    size = (1, *(2 * reach + 1))
    beside = ndimage.grey_closing(np.pad(smooth, around), size)[inside]
    dark = (image > LEAST_SNR * sigma) & (smooth < _DARK * beside)
    darkest = ndimage.minimum_filter(np.where(dark, smooth, np.inf), size)
    return dark & (smooth < (beside + darkest) / 2)


def _cavity(lost: np.ndarray, index: np.ndarray | None, none: str) -> np.ndarray:
    """The marrow cavity: the hole of most voxels, or that of a voxel.

    Raises:
        ValueError: there is no hole, or none there; with the words `none`.
    """
    square = np.ones((3, 3), bool)
    holes = np.zeros_like(lost)
    for k, one in enumerate(lost):
        closed = ndimage.binary_closing(one, square) | one
        holes[k] = ndimage.binary_fill_holes(closed) & ~closed
    labels, count = ndimage.label(holes)
    if not count or (index is not None and not labels[tuple(index)]):
        raise ValueError(none)
    sizes = np.bincount(labels.ravel())[1:]
    chosen = labels == (labels[tuple(index)] if index is not None else 1 + int(np.argmax(sizes)))
    chosen &= (chosen.sum(axis=(1, 2)) >= LEAST_CAVITY)[:, None, None]
    if not chosen.any():
        raise ValueError(none)
    return _along(chosen, holes)


def _along(chosen: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """The cavity from slice to slice, also where thin cortex leaves no closed hole in between."""
    found = chosen.copy()
    for order in (range(len(found)), reversed(range(len(found)))):
        last = None
        for k in order:
            if not found[k].any() and last is not None:
                labels, _ = ndimage.label(holes[k])
                same = np.unique(labels[last & (labels > 0)])
                one = np.isin(labels, same) if same.size else np.zeros_like(last)
                found[k] = one if one.sum() > last.sum() / 2 else False
            last = found[k] if found[k].any() else last
    inside = np.flatnonzero(found.any(axis=(1, 2)))
    for k in range(inside[0], inside[-1]):
        if not found[k].any():
            found[k] = found[inside[np.argmin(np.abs(inside - k))]]
    return found


def _ring_of(
    pair: np.ndarray,
    lost: np.ndarray,
    cavity: np.ndarray,
    sections: Slices | Planes,
    k: int,
    psf_voxels: float,
    data: UteImages,
) -> Ring:
    """The ring of a section: a curve by the voxels that lose signal, then fits until one stays."""
    center = sections.middle(cavity, k)
    angles = np.arange(_RAYS) * 2 * np.pi / _RAYS
    steps = np.arange(0, max(lost.shape[1:]), _RAY_STEP) * sections.voxel_mm
    rays = center + steps[:, None, None] * np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    seen = sections.values(lost, k, rays.T)
    begins = np.argmax(seen, axis=1)
    after = np.arange(len(steps)) > begins[:, None]
    ends = np.argmax(after & (seen == 0), axis=1)
    inner, thick = steps[begins], steps[ends] - steps[begins]
    usual = float(np.median(thick[thick > 0]))  # every ray leaves the image at last
    thick = np.where((thick > 0) & (thick < 2.5 * usual), thick, usual)
    middle = ndimage.median_filter(inner + thick / 2, 7, mode="wrap")
    curve, images = polar_curve(center, angles, middle), sections.images(pair, k)
    facts = facts_of_rings(data)
    settled = False
    for again in range(_MOST_FITS):
        ring = ring_across(sections, images, k, curve, usual, psf_voxels, *facts)
        thickness = ring.mean_thickness()[0]
        settled = abs(thickness / usual - 1) < _SETTLED
        if again and settled:
            break
        usual = thickness
        moved = curve.points + (ring.inner + ring.outer)[:, None] / 2 * curve.normals - center
        curve = polar_curve(center, np.arctan2(*moved.T), np.linalg.norm(moved, axis=1))
    if (
        not settled
        or ring.misfit > _MOST_MISFIT
        or ring.levels[0, 1] < LEAST_SNR * data.noise.sigma
        or not _is_cortex(ring, data.noise.sigma)
    ):
        raise ValueError(NO_RING)
    return ring


def _nearer(
    ring: Ring, image: np.ndarray, spacing: np.ndarray, psf_voxels: float, data: UteImages
) -> Ring:
    """The ring by the voxels nearest to its edges alone."""
    facts = psf_voxels * float(spacing.mean()), *facts_of_rings(data)
    start = ring.mean_thickness()[0]
    return fit_ring(image, tuple(spacing), ring.curve, start, *facts, reach=_NEAR)


def _sd_of_one_image(rings: list[Ring], nearer: list[Ring], spacing: np.ndarray) -> float:
    """SD of the model of a thickness by one image, mm.

    Muscle or tendon between cortex and brighter fat is taken for half a cortex, the more so the
    more voxels beyond it count: where these move the thickness, it is off by about twice of that.

    Raises:
        ValueError: they move it too far.
    """
    far, near = (np.array([one.mean_thickness() for one in each]) for each in (rings, nearer))
    moved = abs(float(np.mean(far[:, 0] - near[:, 0])))
    noise = float(np.sqrt(np.sum(near[:, 1] ** 2)) / len(near))
    if moved > np.hypot(_MOST_MOVED * spacing.mean(), 2 * noise):
        raise ValueError(
            f"The thickness that one image tells moves by {moved / spacing.mean():.1f} voxels with "
            "the voxels around the ring that count, so that what lies beside cortex is not marrow "
            "and muscle alone, but thin layers or fat; an echo of 1.8 to 3 ms tells them from it."
        )
    return float(np.hypot(ONE_IMAGE_SD_VOXELS * spacing.mean(), _OFF_BY_MOVED * moved))


def ring_across(
    sections: Slices | Planes,
    images: np.ndarray,
    k: int,
    curve: Curve,
    start_mm: float,
    psf_voxels: float,
    *facts: object,
) -> Ring:
    """The ring of a section's images, from a curve and a thickness; `facts` of `facts_of_rings`.

    Raises:
        ValueError: the voxels do not tell it, or it reaches beyond the images.
    """
    psf = psf_voxels * sections.voxel_mm
    if isinstance(sections, Slices):
        return fit_ring(images, tuple(sections.mm), curve, start_mm, psf, *facts)
    reach = reach_mm(start_mm, psf)
    near, places, blur = sections.of_ring(k, curve, reach, psf_voxels)
    return fit_voxels(
        images, lambda held: held[:, near], places, curve, start_mm, reach, blur, *facts
    )


def _is_cortex(ring: Ring, sigma: float) -> bool:
    """Whether the later echo keeps less of a ring than of what lies beside it.

    Of one image, whether it is darker than both by more than noise could make it.
    """
    if len(ring.levels) == 1:
        marrow, cortex, outside = ring.levels[0]
        beside = min(marrow, outside)
        return cortex < min(_CLEARLY_DARK * beside, beside - _LEAST_CONTRAST * sigma)
    early, late = ring.levels
    beside = [n for n in (0, 2) if early[n] > LEAST_SNR * sigma]
    return late[1] / early[1] <= _LOST * max((late[n] / early[n] for n in beside), default=np.inf)


def marrow_signal(te_ms: np.ndarray, field_t: float | None) -> np.ndarray:
    """What the beat of its peaks leaves of yellow marrow at echo times, complex."""
    return MARROW_FAT * fat_signal(te_ms, field_t) + 1 - MARROW_FAT


def fat_signal(te_ms: np.ndarray, field_t: float | None) -> np.ndarray:
    """Complex signal of 1 of marrow's fat at echo times, water having no phase; 1 without a field.

    By the product's spectrum of fat in marrow.
    """
    if field_t is None:
        return np.ones(len(te_ms))
    return fat_spectrum().modulation(te_ms / 1e3, field_t)


def _voxels_of(
    ring: Ring, side: np.ndarray, sections: Slices | Planes, k: int, psf_voxels: float
) -> tuple[tuple, tuple[np.ndarray, ...]]:
    """Where a section's voxels lie; of each its share of cortex, if it is cortex alone, its layer
    and side."""
    index, places = sections.around(k, ring.curve, 4 * ring.marrow_blur_mm + ring.outer.max())
    angle, distance = placed(ring.curve, places)
    phi = np.arange(len(ring.inner)) * 2 * np.pi / len(ring.inner)
    inner, outer = (np.interp(angle, phi, e, period=2 * np.pi) for e in (ring.inner, ring.outer))
    psf = psf_voxels * sections.voxel_mm
    outside = ndtr((distance - outer) / psf)
    share = ndtr((distance - inner) / psf) - outside
    widest = sections.longest_mm / sections.voxel_mm  # blur in its worst direction
    other = ndtr((inner - distance) / (widest * ring.marrow_blur_mm))
    bone = other + ndtr((distance - outer) / (widest * psf)) < MOST_OTHER
    depth = (distance - inner) / (outer - inner)
    layer = np.where((depth >= 0) & (depth < 1), 1 + np.floor(3 * np.clip(depth, 0, 0.999)), 0)
    nearest = np.rint(angle / (2 * np.pi) * len(side)).astype(int) % len(side)
    return index, (share, bone, layer, np.where(layer > 0, side[nearest], 0))


def _sides(ring: Ring, sections: Slices | Planes) -> np.ndarray:
    """Toward which of `DIRECTIONS`, from 1 on, each point of a ring's curve lies."""
    toward = (ring.curve.points - ring.curve.center) @ sections.axes
    best = np.argmax(np.abs(toward), axis=1)
    return 1 + 2 * best + (toward[np.arange(len(best)), best] < 0)


def _sectors(
    rings: dict[int, Ring], sides: dict[int, np.ndarray], common: float
) -> dict[str, tuple[float, float]]:
    """Thickness toward right, left, front and back of the patient."""
    found: dict[str, list[tuple[float, float]]] = {}
    for k, ring in rings.items():
        for n, name in enumerate(DIRECTIONS, 1):
            chosen = sides[k] == n
            if chosen.mean() > 0.1:
                found.setdefault(name, []).append(ring.mean_thickness(chosen.astype(float)))
    return {name: _mean(values, common) for name, values in found.items()}
