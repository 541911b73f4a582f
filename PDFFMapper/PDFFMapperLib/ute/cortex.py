"""The cortex of a long bone's shaft, found by itself on a short and a later echo, or on one image.

Cortex loses its signal between both echoes, marrow and muscle keep theirs: the largest hole of what
loses it is the marrow cavity, and the ring around it is fitted slice by slice (`ring`). Of one
image cortex is what is darker than the marrow and the muscle beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from scipy import ndimage
from scipy.special import ndtr

from PDFFMapperLib.images.volume import lies_outside
from PDFFMapperLib.ute.curve import Curve, placed, polar_curve
from PDFFMapperLib.ute.echoes import LEAST_SNR, UteImages, cortex_echoes
from PDFFMapperLib.ute.flare import MOST_LEAN_DEG, leans, slope_of, tube_of
from PDFFMapperLib.ute.noise import Noise
from PDFFMapperLib.ute.ring import MARROW_FAT, REACH, REACH_OF_ONE, Ring, fit_ring
from PDFFMapperLib.ute.ring_images import MeanLevels, mean_levels
from PDFFMapperLib.ute.ring_levels import ratio_of_levels
from PDFFMapperLib.ute.sections import MOST_UNLIKE, Planes, Sections, Slices
from PDFFMapperLib.ute.shaft import LEAST_CAVITY, axis_along
from PDFFMapperLib.water_fat.spectra import fat_spectrum

# Of other tissue in a voxel of cortex alone: marrow is ten times as bright in the late echo, so
# voxels with up to 5 % of it read a PI of 15 % where 11.5 % is true.
MOST_OTHER = 0.001
# Of a thickness by the model of the edges: 0.011 voxels (RMS) of ten phantoms of 2 to 9 voxels at
# SNR 300, more where cortex is thick and marrow's blur unlike the rest's.
MODEL_SD_SHARE, MODEL_SD_VOXELS = 0.002, 0.006
# The same of one image: by what marrow's blur exceeds the rest's, squares of voxels; of 240
# phantoms of 2 to 8 voxels, blurs of .6 to 1.2 and SNR of 10 to 300.
ONE_IMAGE_SD_VOXELS, ONE_IMAGE_SD_BY_BLUR = 0.004, 0.014
LEAST_TILT_DEG = 3.0  # below, slices are taken to lie across a bone: areas are .14 % too large
MOST_TILT_DEG = 25.0  # of slices; beyond, planes
LEAST_PLANES = 3  # that tell how a bone runs
LAYERS = ("endosteal", "middle", "periosteal")
_IN_PHASE = 0.9  # cosine, above which the share of fat hardly matters
_LOST, _MARROW_LOST = 0.65, 0.75  # of the ratio of both echoes that other tissue keeps
_DARK = 0.92  # of what lies beside it, below which a voxel of one image may be cortex
_CLEARLY_DARK, _LEAST_CONTRAST = 0.8, 5.0  # of what lies beside a fitted ring, and times the noise
_NEAR, _MOST_MOVED = 2.0, 0.3  # blurs; voxels
_LAYER_SD_VOXELS = 0.03  # of a thickness beside a layer that was fitted
_PI_MOVED = 0.2  # points; at SNR 20 to 300 layers of .5 and 1 voxel move it by .3 to .8
_MOVED_BY_NOISE, _OFF_BY_MOVED = 1.5, 4.0  # SD of the noise; SD of a thickness over what is more
_PROFILES = (12**-0.5, 0.85)  # SD across a slice, of its side: of a box, and of a radial readout
_PROFILE_OFF = 0.15  # of its square: RMS of what was found for simulated slices of .85
# Blur by it over that of the images: .5 reads a PI 2 to 5 points too high where it is not known.
_LEAST_ADDED, _MOST_ADDED = 0.15, 1.25
_MOST_TURNS, _NO_TURN_DEG = 4, 1.0  # of planes between two points, until they lie across the bone
_WIDEST_BONE_MM = 80.0  # across which a cavity is looked for between two points
_WIDEST_MM, _DARK_SMOOTH = 12.0, 0.7  # of a cortex; by so many voxels one image is smoothed
_RAYS, _RAY_STEP = 90, 0.25
_MOST_MISFIT, _MISFIT_SHARE = 2.0, 0.03  # times the noise; or this part of cortex, if that is more
_MOST_FITS, _SETTLED = 6, 0.02  # of a ring, until its thickness stays within this part of itself
_CLEAR_SNR, _SMOOTH = 40.0, 0.4  # of tissue, below which it is smoothed; by so many voxels at half
DIRECTIONS = ("right", "left", "anterior", "posterior", "superior", "inferior")
_UPWARD = 1.43  # by which up and down count more: from 35 degrees on, not 45, where necks lie
NO_RING = (
    "No closed ring of cortex was found around a marrow cavity: slices must cut through a long "
    "bone's shaft; name a point inside the cavity (--point R,A,S) or give the bone as labels."
)

NO_RING_ACROSS = (
    "No closed ring of cortex was found in planes across the bone, which runs {:.0f} degrees "
    "oblique to the slices: a plane must lie within the images, or within the slices in which "
    "cortex is drawn. Acquire or draw more of them, or acquire slices across it."
)

NO_RING_BETWEEN = (
    "No closed ring of cortex was found around a marrow cavity in planes between both points: they "
    "are the ends of a part of a bone, on its axis in the cavity, of which the middle counts most."
)

CUT_OFF = (
    "The images end within the cortex: a part of the wall lies beyond them in every slice. Acquire "
    "a field of view that holds the whole bone, and some millimeters around it."
)

NO_TUBE = (
    f"In all planes across the bone its wall leans more than {MOST_LEAN_DEG:g} degrees from its "
    "axis, or borders on planes where it does, as at a femoral head or trochanter, or too few "
    "planes beside tell its lean: state two points as the ends of a part that is a tube."
)

NO_DARK_RING = (
    "No closed ring that is darker than the marrow in it and the muscle around it was found in "
    f"this one image, by {100 - 100 * _CLEARLY_DARK:.0f} % and {_LEAST_CONTRAST:g} times the noise "
    f"at least and itself {LEAST_SNR:g} times the noise: slices must lie across a long bone's "
    "shaft; name a point inside the cavity (--point R,A,S), or add an echo of 1.8 to 3 ms, which "
    "tells cortex by its decay."
)
FEW_DARK_RINGS = (
    "Of {} {} of this one image that a marrow cavity may lie in only {} tell a ring of cortex, and "
    "half are needed, as what few tell may be other dark tissue: give the slices of the shaft "
    "alone, draw its cortex (--drawn), or add an echo of 1.8 to 3 ms, which tells cortex by its "
    "decay."
)
ONE_IMAGE = (
    "Of one image cortex is what is darker than marrow and muscle; a later echo (1.8 to 3 ms) "
    "tells it by its decay, and its PI. Up to two voxels of other tissue between cortex and "
    "brighter fat, as tendon or thin muscle, make it too thick by 0.4 to 0.7 voxels, which the "
    "interval may not hold."
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
        rings = [ring.levels_in(signal, fat) for ring in self.rings.values()]
        return mean_levels(rings, self.model_sd_mm, data.noise.sigma)

    def thickness_mm(self) -> tuple[float, float]:
        """Mean over all slices, and its SD."""
        return _mean([one.mean_thickness() for one in self.rings.values()], self.model_sd_mm)

    def area_mm2(self) -> tuple[float, float]:
        """Mean area of a section, and its SD."""
        around = np.mean([one.curve.length.sum() for one in self.rings.values()])
        found = [one.area() for one in self.rings.values()]
        tilted = self.sections.off_share * np.mean([area for area, _ in found])
        return _mean(found, float(np.hypot(self.model_sd_mm * around, tilted)))


def _mean(found: Sequence[tuple[float, float]], common: float) -> tuple[float, float]:
    """Mean and its SD: of the noise of each, and of what all have in common."""
    values, sds = np.array(found).T
    return float(values.mean()), float(np.hypot(np.sqrt(np.sum(sds**2)) / len(values), common))


def find_cortex(
    data: UteImages,
    psf_voxels: float,
    points_ras: np.ndarray | None = None,
    drawn: np.ndarray | None = None,
) -> Cortex:
    """Find the cortex around the largest marrow cavity, or around that of a point.

    Between two points it is looked for in planes across the line through both, so that a femoral
    neck, whose cavity head and shaft open, has rings.

    Args:
        data: an early echo, with a later one for PI.
        psf_voxels: blur of the images, SD of a Gaussian (see `recipe.PSF`).
        points_ras: in the cavity, mm; shape (1 or 2, 3).
        drawn: voxels from which the ring of each slice is fitted, instead of looking for it.

    Raises:
        ValueError: as `porosity_echoes`; there is no ring, or none that its voxels tell.
    """
    axis = axis_along(data.grid)
    pair, sections = pair_of(data, axis), Slices(axis, data.grid)
    if drawn is not None:
        lost = np.moveaxis(drawn, axis, 0)
    elif len(pair) == 1:
        lost = _is_darker(pair[0], data.noise.sigma, sections.sides)
    else:
        beats = np.abs(_marrow_of(data))
        beat = min(beats[1] / beats[0], 1.0)
        lost = _loses_signal(_smoothed(pair, data.noise), data.noise.sigma, beat)
    no_ring = NO_DARK_RING if len(pair) == 1 else NO_RING
    looking = _Looking(data, pair, lost, psf_voxels)
    points = _indices(data, points_ras, axis)
    if len(points) == 2:
        found = looking.between(points * sections.mm, sections)
    else:
        no_cavity = no_ring if drawn is None else NO_DRAWN_RING
        cavity = _cavity(lost, next(iter(points.round().astype(int)), None), no_cavity)
        found = looking.across(sections, cavity)
    if isinstance(found.sections, Planes):
        no_ring = NO_RING_ACROSS.format(found.sections.tilt_deg)
    if not found.rings:
        raise ValueError(no_ring)
    if len(pair) == 1 and len(found.rings) < found.dropped:
        all_of = len(found.rings) + found.dropped
        raise ValueError(FEW_DARK_RINGS.format(all_of, found.sections.name, len(found.rings)))
    return looking.cortex(_within(found))


@dataclass(frozen=True)
class _Found:
    """Rings by section.

    Attributes:
        dropped: sections without.
        leaning: how many planes were left out, whose wall leans far from the axis.
        cut_off: how many sections were left out, whose wall lies partly beyond the images.
        tilt_told: whether sections tell how a bone runs.
        profile_sd_mm: SD of a thickness by the profile of slices; or one that moves PI as it does.
    """

    sections: Slices | Planes
    rings: dict[int, Ring]
    dropped: int
    leaning: int = 0
    cut_off: int = 0
    tilt_told: bool = True
    profile_sd_mm: float = 0.0


@dataclass(frozen=True)
class _Looking:
    """Where rings are looked for: the images, and the voxels that may be cortex."""

    data: UteImages
    pair: np.ndarray
    lost: np.ndarray
    psf_voxels: float

    def across(self, slices: Slices, cavity: np.ndarray) -> _Found:
        """Rings across a bone, however it runs: in slices, seen along it, or in planes.

        Its direction is that of its cavity, then of its rings.

        Raises:
            ValueError: as `_planes` and `_upright`.
        """
        middles = slices.middles(cavity)
        turned, told = slices.turned(middles), len(middles) > 2
        found = _Found(slices, {}, 0)
        if turned.tilt_deg <= MOST_TILT_DEG:
            found = self._fitted(slices, middles)
            if len(found.rings) > 2:
                turned = slices.turned(_middles(found.rings))
        if turned.tilt_deg <= MOST_TILT_DEG:
            if turned.tilt_deg > LEAST_TILT_DEG:
                found = self._fitted(turned, turned.middles(cavity))
            if turned.thick and found.rings:
                found = self._by_profile(found)
        elif turned.tilt_deg > MOST_TILT_DEG:
            planes = _planes(turned, len(self.pair))
            found = self._fitted(planes, planes.middles(cavity))
            planes = planes.turned(_middles(found.rings))
            found = _upright(self._fitted(planes, planes.middles(cavity)))
        return replace(found, tilt_told=told)

    def _by_profile(self, found: _Found) -> _Found:
        """Rings by the profile of thick slices that leaves the least misfit.

        It blurs the wall of a bone that is oblique, tapers or bends.

        Raises:
            ValueError: as `ring_across`; it blurs the cortex too much.
        """
        own = self.psf_voxels * found.sections.voxel_mm
        bare = replace(found, rings=self.again(found, found.sections, layers=False))
        slope = slope_of(leans(_walls(bare.rings), found.sections.mm[0]))
        if _PROFILES[1] * found.sections.mm[0] * slope < _LEAST_ADDED * own:
            slope = 0.0
        if not (slope or found.sections.tilt_deg):
            return found
        found = replace(bare, sections=replace(found.sections, slope=slope))
        variances = np.linspace(*np.square(_PROFILES), 3)
        tried = [
            self.again(found, replace(found.sections, profile=v**0.5), layers=False).values()
            for v in variances
        ]
        misfit = [np.mean([ring.misfit**2 for ring in rings]) for rings in tried]
        bent, steep, _ = np.polyfit(variances, misfit, 2)
        best = variances[int(np.argmin(misfit))]
        if bent > 0:
            best = np.clip(-steep / (2 * bent), variances[0], variances[-1])
        count = sum(ring.told.magnitudes.size * ring.told.share for ring in found.rings.values())
        sd = np.hypot(1 / (count * max(bent, 1e-12)) ** 0.5, _PROFILE_OFF)
        sections = replace(found.sections, profile=float(best**0.5))
        tilt, thick_mm = sections.tilt_deg, sections.mm[0]
        lies = f"The bone's wall lies {np.rad2deg(np.arctan(slope)):.0f}"
        lies = f"The bone runs {tilt:.0f}" if tilt else lies
        added = sections.blurred_by(best**0.5)
        if added > _MOST_ADDED * own:
            raise ValueError(
                f"{lies} degrees oblique to slices of {thick_mm:.2g} mm, whose "
                f"profile blurs its cortex by {added:.2g} mm (SD), more than {_MOST_ADDED:g} times "
                "what its images do: acquire slices across it, or thinner ones."
            )
        moved = _apart_mm(*(list(tried[n]) for n in (0, -1)))
        moved *= 0.5 if slope else min(sd / np.ptp(variances), 0.5)  # both edges lean unlike
        return replace(
            found,
            sections=sections,
            rings=self.again(found, sections, layers=False),
            profile_sd_mm=moved,
        )

    def between(self, ends: np.ndarray, slices: Slices) -> _Found:
        """Rings in planes between two points of a bone's axis, mm; shape (2, 3).

        The axis is that of the points, then of the rings.

        Raises:
            ValueError: as `_planes` and `_upright`; the points are too near, or no cavity lies in
                their middle.
        """
        away = ends[1] - ends[0]
        if not np.linalg.norm(away) > LEAST_PLANES * slices.mm.max():
            raise ValueError(
                f"Both points lie {np.linalg.norm(away):.2g} mm apart; as ends of a part of a bone "
                f"they need {LEAST_PLANES * slices.mm.max():.2g} mm at least along its axis."
            )
        along = away / np.linalg.norm(away) * (1 if away[0] >= 0 else -1)
        turned = replace(slices, through=ends.mean(axis=0), along=along)
        planes = _planes(turned, len(self.pair))
        found = self._fitted(planes, self._middles_between(planes, ends))
        for _ in range(_MOST_TURNS):
            turned = planes.turned(_middles(found.rings))
            nearly = turned.along @ planes.along > np.cos(np.deg2rad(_NO_TURN_DEG))
            planes, found = turned, self._fitted(turned, self._middles_between(turned, ends))
            if nearly:
                break
        if len(found.rings) < LEAST_PLANES:
            raise ValueError(NO_RING_BETWEEN)
        return _upright(found)

    def _middles_between(self, planes: Planes, ends: np.ndarray) -> dict[int, np.ndarray]:
        heights = np.sort((ends - planes.through) @ planes.along) / planes.longest_mm
        layers = range(int(np.ceil(heights[0])), int(np.floor(heights[1])) + 1)
        cut = planes.cut(self.lost, layers, _WIDEST_BONE_MM / 2)
        center = np.full(2, cut.shape[1] // 2)
        cavity = _cavity(cut, np.array([len(cut) // 2, *center]), NO_RING_BETWEEN)
        found = zip(layers, cavity, strict=True)
        return {
            k: (np.argwhere(one).mean(axis=0) - center) * planes.voxel_mm
            for k, one in found
            if one.any()
        }

    def _fitted(self, sections: Slices | Planes, middles: dict[int, np.ndarray]) -> _Found:
        rings, dropped = {}, 0
        for k, middle in middles.items():
            try:
                rings[k] = self._ring(sections, k, middle)
            except ValueError:
                dropped += 1
        return _Found(sections, rings, dropped)

    def _ring(self, sections: Slices | Planes, k: int, center: np.ndarray) -> Ring:
        """The ring of a section: a curve by voxels that lose signal, then fits until one stays."""
        angles = np.arange(_RAYS) * 2 * np.pi / _RAYS
        steps = np.arange(0, max(self.lost.shape[1:]), _RAY_STEP) * sections.voxel_mm
        rays = center + steps[:, None, None] * np.stack([np.sin(angles), np.cos(angles)], axis=-1)
        seen = sections.values(self.lost, k, rays)
        begins = np.argmax(seen, axis=0)
        after = np.arange(len(steps))[:, None] > begins
        ends = np.argmax(after & (seen == 0), axis=0)
        inner, thick = steps[begins], steps[ends] - steps[begins]
        usual = float(np.median(thick[thick > 0]))  # every ray leaves the image at last
        thick = np.where((thick > 0) & (thick < 2.5 * usual), thick, usual)
        middle = ndimage.median_filter(inner + thick / 2, 7, mode="wrap")
        curve, settled = polar_curve(center, angles, middle), False
        for again in range(_MOST_FITS):
            ring = self.ring(sections, k, curve, usual)
            thickness = float(np.average(ring.outer - ring.inner, weights=curve.length))
            settled = abs(thickness / usual - 1) < _SETTLED
            if again and settled:
                break
            usual = thickness
            moved = curve.points + (ring.inner + ring.outer)[:, None] / 2 * curve.normals - center
            curve = polar_curve(center, np.arctan2(*moved.T), np.linalg.norm(moved, axis=1))
        ring, sigma = ring.finer(), self.data.noise.sigma
        if (
            not settled
            or ring.misfit > max(_MOST_MISFIT, _MISFIT_SHARE * ring.levels[0, 1] / sigma)
            or ring.levels[0, 1] < LEAST_SNR * sigma
            or not _is_cortex(ring, sigma)
        ):
            raise ValueError(NO_RING)
        return ring

    def ring(
        self,
        sections: Sections,
        k: int,
        curve: Curve,
        start_mm: float,
        reach: float | None = None,
    ) -> Ring:
        """As `ring_across`."""
        at = sections, self.pair, k, curve, start_mm, self.psf_voxels
        return ring_across(*at, facts_of_rings(self.data), reach)

    def again(
        self,
        found: _Found,
        sections: Sections,
        reach: float | None = None,
        layers: bool = True,
    ) -> dict[int, Ring]:
        """The rings fitted once more, in another way.

        Without `layers` where slices blur a wall that leans: these would take a part of that.

        Raises:
            ValueError: a ring is not told.
        """
        return {
            k: self.ring(sections, k, one.curve, one.mean_thickness()[0], reach).finer(layers)
            for k, one in found.rings.items()
        }

    def cortex(self, found: _Found) -> Cortex:
        """The cortex of rings.

        Raises:
            ValueError: as `_sd_of_one_image`.
        """
        sections, rings = found.sections, found.rings
        voxels = [np.zeros(sections.shape, kind) for kind in (np.float32, bool, np.uint8, np.uint8)]
        sides = {k: _sides(ring, sections) for k, ring in rings.items()}
        for k, ring in rings.items():
            places, values = _voxels_of(ring, sides[k], sections, k, self.psf_voxels)
            for whole, one in zip(voxels, values, strict=True):
                whole[places] = one
        blur = np.mean([r.marrow_blur_mm for r in rings.values()]) / sections.voxel_mm
        notes = [
            f"Edges by a Gaussian blur of {self.psf_voxels:g} voxels; marrow's own was fitted "
            f"({blur:.2f} voxels). Thin cortex depends on the blur that is assumed."
        ]
        notes += _phase_notes(self.data, float(np.mean([r.marrow_fat for r in rings.values()])))
        notes += _tilt_notes(found)
        if found.dropped:
            notes.append(f"{found.dropped} {sections.left_out} and were left out.")
        notes += _edge_notes(found, 2 * self.psf_voxels * sections.voxel_mm)
        notes += self._layer_notes(found)
        voxels = [np.moveaxis(one, 0, sections.axis) for one in voxels]
        model_sd = self._model_sd(found)
        directed = _sectors(rings, sides, model_sd)
        return Cortex(rings, sections, *voxels, directed, model_sd, notes)

    def _layer_notes(self, found: _Found) -> list[str]:
        """That PI moves with how many voxels beside a ring count, as thin layers there make it."""
        if len(self.pair) == 1:
            return []
        rings = dict(list(found.rings.items())[:: max(len(found.rings) // 3, 1)])
        layers = [ring.layer * self.psf_voxels for ring in found.rings.values() if ring.layer]
        said = []
        if layers:
            mean = float(np.mean(layers)) * found.sections.voxel_mm
            said.append(
                f"In {len(layers)} of {len(found.rings)} {found.sections.name} a layer of about "
                f"{mean:.1g} mm lies between the cortex and what is farther out, as thin muscle "
                "beneath fat; it was fitted with it."
            )
        try:
            nearer = self._nearer(replace(found, rings=rings))
        except ValueError:
            return said
        far, near = (
            ratio_of_levels([ring.told for ring in each.values()]).times(100)
            for each in (rings, nearer)
        )
        moved = abs(near.value - far.value)
        if moved < max(_PI_MOVED, (far.upper - far.lower) / 3.92):
            return said
        return [
            *said,
            f"PI of the fitted ring moves by {moved:.1f} points with how many voxels around it "
            "count, as where beside cortex is not marrow and muscle alone; its interval may not "
            "hold that.",
        ]

    def _nearer(self, found: _Found) -> dict[int, Ring]:
        """The rings by fewer voxels around them, as many beyond a layer."""
        layer = max(ring.layer for ring in found.rings.values())
        return self.again(found, found.sections, _NEAR + layer, layers=layer > 0)

    def _model_sd(self, found: _Found) -> float:
        """SD of a thickness by what the model of the edges leaves, mm.

        Raises:
            ValueError: as `_sd_of_one_image`.
        """
        sections, rings = found.sections, list(found.rings.values())
        thickness = float(np.mean([ring.mean_thickness()[0] for ring in rings]))
        parts = [MODEL_SD_VOXELS * sections.voxel_mm, MODEL_SD_SHARE * thickness]
        layered = np.mean([ring.layer > 0 for ring in rings])
        parts.append(_LAYER_SD_VOXELS * layered * sections.voxel_mm)
        if len(self.pair) == 1:
            nearer = list(self._nearer(found).values())
            more = np.mean([r.marrow_blur_mm**2 for r in rings]) / sections.voxel_mm**2
            more = max(float(more) - self.psf_voxels**2, 0.0)
            own = ONE_IMAGE_SD_VOXELS, ONE_IMAGE_SD_BY_BLUR * more
            parts[:2] = [sections.voxel_mm * one for one in own]
            parts.append(_sd_of_one_image(rings, nearer, sections.sides))
        parts += [thickness * sections.off_share / 2, found.profile_sd_mm]
        return float(np.linalg.norm(parts))


def _apart_mm(rings: list[Ring], other: list[Ring]) -> float:
    """By how much two fits of rings differ in thickness; or one that moves their PI as much."""
    thick = [np.mean([ring.mean_thickness()[0] for ring in each]) for each in (rings, other)]
    apart = abs(float(thick[1] - thick[0]))
    if len(rings[0].levels) == 1:
        return apart
    told = [[ring.told for ring in each] for each in (rings, other)]
    ratio, moved = (ratio_of_levels(each).value for each in told)
    by_mm = np.mean([one.of_ratio(one.by_thickness, ratio) for one in told[0]])
    return max(apart, abs(float((moved - ratio) / by_mm)))


def _planes(across: Slices, images: int) -> Planes:
    """Planes across a bone that runs obliquely to the slices.

    Raises:
        ValueError: voxels are too unlike a cube, or there is one image.
    """
    tilt, mm = across.tilt_deg, across.mm
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
    return Planes(across.axis, across.grid, across.through, across.along)


def _walls(rings: dict[int, Ring]) -> dict[int, tuple[Curve, np.ndarray]]:
    """As of `leans`."""
    return {k: (one.curve, np.mean(one.edges(), axis=0)) for k, one in rings.items()}


def _upright(found: _Found) -> _Found:
    """Rings of planes whose wall leans little, their thickness along its normal.

    Fewer than three planes do not tell how it leans and stay as they are.

    Raises:
        ValueError: it leans far, or is not told, in all planes.
    """
    if len(found.rings) < LEAST_PLANES:
        return found
    lean = leans(_walls(found.rings), found.sections.longest_mm)
    kept = {k: replace(found.rings[k], upright=np.cos(lean[k])) for k in tube_of(lean)}
    if not kept:
        raise ValueError(NO_TUBE)
    return replace(found, rings=kept, leaning=len(found.rings) - len(kept))


def _within(found: _Found) -> _Found:
    """Rings whose wall lies within the images: beyond them it is a mere continuation.

    Raises:
        ValueError: there is none.
    """
    sections = found.sections
    kept = {k: r for k, r in found.rings.items() if not sections.beyond(k, _outer(r)).any()}
    if not kept:
        raise ValueError(CUT_OFF)
    return replace(found, rings=kept, cut_off=len(found.rings) - len(kept))


def _outer(ring: Ring, further_mm: float = 0.0) -> np.ndarray:
    """Points of the outer edge as fitted, or further out."""
    return ring.curve.points + (ring.outer + further_mm)[:, None] * ring.curve.normals


def _edge_notes(found: _Found, near_mm: float) -> list[str]:
    """What the edge of the images takes from rings."""
    sections, said = found.sections, []
    if found.cut_off:
        said.append(
            f"In {found.cut_off} {sections.name} a part of the wall lies beyond the images; they "
            "were left out."
        )
    near = [sections.beyond(k, _outer(r, near_mm)).any() for k, r in found.rings.items()]
    if any(near):
        said.append(
            f"In {sum(near)} {sections.name} the images end within {near_mm:.2g} mm of the cortex: "
            "its outer edge there is told by fewer voxels, which the intervals count."
        )
    return said


def _tilt_notes(found: _Found) -> list[str]:
    """What is oblique, or that it is not told."""
    sections, tilt = found.sections, f"{found.sections.tilt_deg:.0f}"
    if isinstance(sections, Planes):
        of_lean = (
            "where its wall leans, as the planes beside tell, thickness is that along the wall's "
            "normal."
            if all(np.ndim(one.upright) for one in found.rings.values())
            else "fewer than three planes do not tell how its wall leans, and read one that leans "
            "too thick."
        )
        said = [
            f"The bone runs {tilt} degrees oblique to the slices: it was measured in planes "
            f"across itself, {sections.longest_mm:.2g} mm apart, by the voxels as they lie "
            "(nothing is interpolated). That takes it to be straight within such a layer; "
            + of_lean
        ]
        if found.leaning:
            said.append(
                f"{found.leaning} planes across the bone were left out: there, or within two "
                f"planes, its wall leans more than {MOST_LEAN_DEG:g} degrees from the axis, as at "
                "a femoral head or shaft, or too few planes beside tell its lean."
            )
        return said
    if not found.tilt_told:
        return [
            "Fewer than three slices side by side do not tell how obliquely they cut the bone; cut "
            "obliquely its cortex and its area read too large."
        ]
    said = []
    if sections.tilt_deg:
        said.append(
            f"The bone runs {tilt} degrees oblique to the slices: their voxels are seen along it, "
            "so that thickness and area are those across it."
        )
    if sections.profile is not None:
        which = "an oblique cortex"
        if sections.slope:
            lean = np.rad2deg(np.arctan(sections.slope))
            which = f"a wall that leans {lean:.1f} degrees along the bone (it tapers, bends or is "
            which += "slightly oblique)"
        said.append(
            f"Slices of {sections.mm[0]:.2g} mm blur {which} by their profile: an SD of "
            f"{sections.profile * sections.mm[0]:.2g} mm fits best, between "
            f"{_PROFILES[0]:.2g} and {_PROFILES[1]:.2g} of a slice. How far that may be off is in "
            "the intervals, which are wide therefore; thinner slices, or across it, tell more."
        )
    return said


def _middles(rings: dict[int, Ring]) -> dict[int, np.ndarray]:
    """Of the rings' curves, mm."""
    return {k: np.average(r.curve.points, axis=0, weights=r.curve.length) for k, r in rings.items()}


def _indices(data: UteImages, points_ras: np.ndarray | None, axis: int) -> np.ndarray:
    """Where points lie in voxels, the slice along the bone first; shape (points, 3).

    Raises:
        ValueError: one lies outside the images.
    """
    if points_ras is None:
        return np.zeros((0, 3))
    to_ijk = np.linalg.inv(data.grid.ijk_to_ras)
    kji = (np.asarray(points_ras, float) @ to_ijk[:3, :3].T + to_ijk[:3, 3])[:, ::-1]
    if (kji.round() < 0).any() or (kji.round() >= data.grid.array.shape).any():
        raise ValueError(lies_outside("The point", "the images", "name one in the marrow cavity"))
    return np.concatenate([kji[:, [axis]], np.delete(kji, axis, axis=1)], axis=1)


def _marrow_of(data: UteImages) -> np.ndarray:
    """`marrow_signal` at the echoes that tell the cortex."""
    return marrow_signal(data.te_ms[list(cortex_echoes(data.te_ms))], data.field_t)


def pair_of(data: UteImages, axis: int) -> np.ndarray:
    """Echoes that tell the cortex, (1 or 2, slices, rows, columns); a view."""
    last = cortex_echoes(data.te_ms)[-1]
    return np.moveaxis(data.signal[: last + 1 : max(last, 1)], axis + 1, 1)


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
    tissue = pair[0][pair[0] > LEAST_SNR * noise.sigma]
    usual = np.median(tissue) / noise.sigma if tissue.size else np.inf
    width = float(np.clip(_SMOOTH * (_CLEAR_SNR / usual - 1), 0, 1))
    square = np.square(pair, dtype=np.float32)
    if width:
        for one in chain(*square):
            unknown = ~np.isfinite(one)
            one[unknown] = 0
            ndimage.gaussian_filter(one, width, output=one)
            one[unknown] = np.nan
    square -= np.float32(2 * noise.coils * noise.sigma**2)
    np.maximum(square, 0, out=square)
    return np.sqrt(square, out=square)


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
    inside, size = tuple(slice(n, -n) for n in reach), 2 * reach + 1
    found = np.zeros(image.shape, bool)
    for one, darker in zip(image, found, strict=True):
        smooth = ndimage.gaussian_filter(np.nan_to_num(one.astype(float)), _DARK_SMOOTH)
        beside = ndimage.grey_closing(np.pad(smooth, [(n, n) for n in reach]), size)[inside]
        dark = (one > LEAST_SNR * sigma) & (smooth < _DARK * beside)
        darkest = ndimage.minimum_filter(np.where(dark, smooth, np.inf), size)
        darker[...] = dark & (smooth < (beside + darkest) / 2)
    return found


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


def _sd_of_one_image(rings: list[Ring], nearer: list[Ring], spacing: np.ndarray) -> float:
    """SD of a thickness by one image, by what lies beside the cortex, mm.

    Muscle or tendon between cortex and brighter fat is taken for half a cortex, the more so the
    more voxels beyond it count: where these move the thickness by more than noise does, it is off
    by 3 to 5 times of that.

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
    return float(_OFF_BY_MOVED * max(moved**2 - (_MOVED_BY_NOISE * noise) ** 2, 0.0) ** 0.5)


def ring_across(
    sections: Sections,
    pair: Sequence[np.ndarray],
    k: int,
    curve: Curve,
    start_mm: float,
    psf_voxels: float,
    facts: tuple[object, ...],
    reach: float | None = None,
) -> Ring:
    """The ring of a section of images, from a curve and a thickness; `facts` of `facts_of_rings`.

    `reach`: blurs beyond an edge up to which voxels count.

    Raises:
        ValueError: the voxels do not tell it, or it reaches beyond the images.
    """
    if reach is None:
        reach = REACH_OF_ONE if len(pair) == 1 else REACH
    reach_mm = start_mm / 2 + reach * psf_voxels * sections.voxel_mm
    if not sections.holds(k, curve, reach_mm):
        raise ValueError("it reaches beyond the images")
    voxels, places = sections.around(k, curve, reach_mm)
    blur = sections.blur(psf_voxels)
    return fit_ring(pair, voxels, places, curve, start_mm, reach_mm, blur, *facts)


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
    best = np.argmax(np.abs(toward) * (1, 1, _UPWARD), axis=1)
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
