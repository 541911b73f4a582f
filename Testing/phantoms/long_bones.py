"""Bones across their shaft that are no smooth ring: a femur with its ridge, and porous cortex."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from MarrowAssessLib.sample.tibia import SPACING_MM, TE_MS, Tibia
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.ute.curve import Curve
from PDFFMapperLib.ute.ring import REACH, Ring, fit_ring
from PDFFMapperLib.water_fat.spectra import fat_spectrum
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates
from scipy.stats import norm


def ring_in_slice(
    images: np.ndarray,
    spacing_mm: float,
    curve: Curve,
    thickness_mm: float,
    psf_mm: float,
    *facts: float,
) -> Ring:
    """The ring of one slice, images of shape (images, rows, columns); `facts` as of `fit_ring`."""
    voxels = np.indices(images.shape[1:]).reshape(2, -1)
    around = tuple(voxels), voxels.T * spacing_mm, curve
    reach_mm = thickness_mm / 2 + REACH * psf_mm
    return fit_ring(images, *around, thickness_mm, reach_mm, psf_mm**2 * np.eye(2), *facts)


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
class FlatTibia(Tibia):
    """Both edges ellipses, the outer one `flat` times as high as wide."""

    radius: float = 22.0
    thickness: float = 4.0
    flat: float = 0.6
    size: int = 72

    def edges(self, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        wide, high = self.radius, self.flat * self.radius
        sides = ((wide - self.thickness, high - self.thickness), (wide, high))
        return tuple(a * b / np.hypot(b * np.cos(phi), a * np.sin(phi)) for a, b in sides)


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


@dataclass(frozen=True)
class ObliqueTibia(Tibia):
    """Straight, its axis turned about the images' rows away from the normal of their slices.

    Its section is drawn at 1/8 of a voxel, blurred as the images' voxels blur it in that plane
    (`psf` of their sides along each axis), and seen by each voxel where it lies.

    Attributes:
        degrees: between the axis and the normal.
        ratio: of a voxel's side across the slices over that in them (0.5 mm).
        full: how many voxels along the axis are wholly in the images, about.
        profile: SD of the blur across the slices, of a voxel's side.
    """

    thickness: float = 5.0
    radius: float = 12.0
    snr: float = 20.0
    size: int = 44  # of the limb; 24 rows of air are beside it
    fat_psf: float = 0.85
    degrees: float = 45.0
    ratio: float = 1.0
    full: float = 7.0
    profile: float = 0.85

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Of all voxels in the plane across the bone, in voxels (slices, rows, columns)."""
        tilt, reach = np.deg2rad(self.degrees), 1.13 * self.radius + 3.5
        deep = (2 * reach * np.sin(tilt) + self.full * np.cos(tilt)) / self.ratio + 2
        wide = 2 * reach / np.cos(tilt) + 0.6 * deep * self.ratio * np.tan(tilt) + 4
        z, y, x = (
            np.arange(int(np.ceil(n))) - (int(np.ceil(n)) - 1) / 2 + off
            for n, off in ((deep, 0.2), (self.size + 24, 0.13), (wide, 0.31))
        )
        z, y, x = np.meshgrid(z * self.ratio, y, x, indexing="ij")
        return y, x * np.cos(tilt) - z * np.sin(tilt)

    def cortex_voxels(self) -> np.ndarray:
        """Voxels whose center lies in cortex."""
        across, along = self.places()
        inner, outer = self.edges(np.arctan2(across, along))
        radius = np.hypot(across, along)
        return (radius >= inner) & (radius < outer)

    def volumes(self, te_ms: Sequence[float] = (TE_MS[0], 2.2), seed: int = 0) -> list[Volume]:
        """One magnitude image per echo time, of one receiver with noise of SD 5."""
        rng = np.random.default_rng(seed)
        place = (np.arange(self.size * 8) - 4) / 8 - (self.size - 1) / 2
        row, column = np.meshgrid(place, place, indexing="ij")
        tilt, seen = np.deg2rad(self.degrees), self.places()
        at = [(one + (self.size - 1) / 2) * 8 + 4 for one in seen]
        more = np.hypot(np.cos(tilt), self.ratio * np.sin(tilt) * self.profile / self.psf)
        parts = []
        for part, psf in zip(
            self.parts(np.arctan2(row, column), np.hypot(row, column)),
            (self.fat_psf, self.psf, self.psf),
            strict=True,
        ):
            blurred = gaussian_filter(part.astype(np.float32), (8 * psf, 8 * psf * more))
            parts.append(map_coordinates(blurred, at, order=1))
        shade = 1 - self.shading * (seen[0] / (self.size - 1) + 0.5)
        grid, volumes = np.diag([-0.5, -0.5, 0.5 * self.ratio, 1.0]), []
        for te in te_ms:
            fat = fat_spectrum().modulation(np.array([te / 1e3]), self.field_t)[0]
            marrow = 1.6 * np.exp(-te / 9.0) * (self.fat * fat + 1 - self.fat)
            levels = marrow, self.cortex(te), 1.3 * np.exp(-te / 25.0)
            true = np.abs(sum(a * b for a, b in zip(levels, parts, strict=True)))
            noise = rng.standard_normal((2, *shade.shape))
            array = 5 * np.hypot(self.snr * shade * true + noise[0], noise[1])
            facts = {"EchoTime": float(te), "MagneticFieldStrength": self.field_t}
            volumes.append(Volume(array.astype(np.float32), grid, f"UTE {te:g} ms", facts))
        return volumes


@dataclass(frozen=True)
class TaperingTibia(Tibia):
    """A shaft whose section shrinks along the bone, in slices of 3 mm whose middle one has truth.

    Attributes:
        taper: share of its size that it loses in a mm along itself.
        degrees: between the bone and the slices' normal.
        profile: SD of the blur across the slices, of their thickness.
    """

    thickness: float = 5.0
    radius: float = 16.0
    snr: float = 20.0
    size: int = 60
    fat_psf: float = 0.85
    taper: float = 0.01
    degrees: float = 0.0
    profile: float = 0.85

    def volumes(
        self, slices: int, te_ms: Sequence[float] = (TE_MS[0], 2.2), seed: int = 0
    ) -> list[Volume]:
        """One magnitude image per echo time, of one receiver with noise of SD 5."""
        fine, between = 4, SPACING_MM[1]  # layers a slice
        heights = between * (np.arange((slices + 4) * fine) / fine - (slices + 3) / 2)
        place = (np.arange(self.size * 4) - 1.5) / 4 - (self.size - 1) / 2
        row, column = np.meshgrid(place, place, indexing="ij")
        tilt, layers = np.deg2rad(self.degrees), []
        for height in heights / SPACING_MM[0]:
            across = column * np.cos(tilt) - height * np.sin(tilt)
            along = column * np.sin(tilt) + height * np.cos(tilt)
            size = 1 - self.taper * SPACING_MM[0] * along
            parts = self.parts(np.arctan2(row, across), np.hypot(row, across) / size)
            blurs = self.fat_psf, self.psf, self.psf
            layers.append(
                [
                    gaussian_filter(part.astype(np.float32), 4 * blur)[2::4, 2::4]
                    for part, blur in zip(parts, blurs, strict=True)
                ]
            )
        parts = gaussian_filter1d(np.array(layers), fine * self.profile, axis=0)
        parts = np.moveaxis(parts[2 * fine : (2 + slices) * fine : fine], 1, 0)
        rng, shade = np.random.default_rng(seed), 1 - self.shading * np.linspace(0, 1, self.size)
        grid, volumes = np.diag([-SPACING_MM[0], -SPACING_MM[0], between, 1.0]), []
        for te in te_ms:
            fat = fat_spectrum().modulation(np.array([te / 1e3]), self.field_t)[0]
            marrow = 1.6 * np.exp(-te / 9.0) * (self.fat * fat + 1 - self.fat)
            levels = marrow, self.cortex(te), 1.3 * np.exp(-te / 25.0)
            true = np.abs(sum(a * b for a, b in zip(levels, parts, strict=True)))
            noise = rng.standard_normal((2, *true.shape))
            array = 5 * np.hypot(self.snr * shade[:, None] * true + noise[0], noise[1])
            facts = {"EchoTime": float(te), "MagneticFieldStrength": self.field_t}
            volumes.append(Volume(array.astype(np.float32), grid, f"UTE {te:g} ms", facts))
        return volumes


@dataclass(frozen=True)
class FemoralNeck:
    """A neck between a head and a shaft, which open its cavity; drawn by distances, at half voxels.

    Places are in mm from the middle of the neck, R, A, S. The neck's section is a stadium.

    Attributes:
        thickness_mm: of cortex along its normal, but in the fillets, which are thicker.
        degrees: of the neck's axis from the long axis of the patient.
        snr: of cortex at TE 0.
    """

    thickness_mm: float = 2.4
    degrees: float = 50.0
    snr: float = 20.0
    voxel_mm: float = 0.8
    psf: float = 0.85

    @property
    def along(self) -> np.ndarray:
        """Unit vector of the neck's axis, toward its head."""
        return np.array([np.sin(np.deg2rad(self.degrees)), 0.0, np.cos(np.deg2rad(self.degrees))])

    def outside(self, place: np.ndarray) -> np.ndarray:
        """Distance from the periosteum, positive outside, of places of shape (3, ...)."""
        along, across = self.along, np.array([self.along[2], 0.0, -self.along[0]])
        wide = np.tensordot(across, place, 1)
        neck = np.hypot(wide - np.clip(wide, -3, 3), place[1]) - 13.0
        far = np.stack(np.broadcast_arrays(*(place[n] - 30 * along[n] for n in range(3))))
        head = np.linalg.norm(far, axis=0) - 22.0
        shaft = np.hypot(place[0] + 38 * along[0], place[1]) - 15.0
        found = neck
        for other in (head, shaft):  # with a fillet of some mm
            mix = np.clip(0.5 + (other - found) / 8, 0, 1)
            found = other * (1 - mix) + found * mix - 4 * mix * (1 - mix)
        return found

    def area_mm2(self, through: np.ndarray, plane: np.ndarray) -> float:
        """Of cortex within 19 mm in a plane through a point, by unit vectors of shape (2, 3)."""
        steps = (np.arange(380) - 189.5) * 0.1
        flat = np.stack(np.meshgrid(steps, steps, indexing="ij"))
        out = self.outside(through[:, None, None] + np.tensordot(plane.T, flat, 1))
        return float(np.count_nonzero((out < 0) & (out > -self.thickness_mm)) * 0.01)

    def wall_mm(self, through: np.ndarray, plane: np.ndarray) -> float:
        """Mean thickness along the wall's normal, of places as in `area_mm2`."""
        angle = np.arange(90) * np.pi / 45
        toward = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        steps = np.arange(0, 25, 0.02)
        rays = through + steps[:, None, None] * (toward @ plane)
        first = np.argmax(self.outside(np.moveaxis(rays, -1, 0)) > -self.thickness_mm / 2, axis=0)
        places = rays[first, np.arange(90)].T
        slope = np.stack(
            [self.outside(places + d[:, None]) - self.outside(places - d[:, None])
             for d in 0.01 * np.eye(3)], axis=1
        ) / 0.02  # fmt: skip
        normal = slope @ plane.T
        normal /= np.linalg.norm(normal, axis=1)[:, None]
        length = steps[first] / np.sum(normal * toward, axis=1)
        return float(np.average(self.thickness_mm / np.linalg.norm(slope, axis=1), weights=length))

    def volumes(self, te_ms: Sequence[float] = (TE_MS[0], 2.2), seed: int = 0) -> list[Volume]:
        """One magnitude image per echo time, of one receiver with noise of SD 5; axial slices."""
        rng, half = np.random.default_rng(seed), self.voxel_mm / 2
        counts = 2 * np.array([104, 66, 92])  # R, A, S
        place = np.ix_(*((np.arange(n)[::-1] - (n - 1) / 2) * half for n in counts[::-1]))
        out = self.outside(np.stack(np.broadcast_arrays(*place[::-1])))
        edges = [np.clip(0.5 - (out + depth) / half, 0, 1) for depth in (self.thickness_mm, 0)]
        blur = (4 * self.psf**2 - 1 / 12) ** 0.5  # edges are one half voxel wide
        inner, outer = (
            gaussian_filter(one.astype(np.float32), blur)[::2, ::2, ::2] for one in edges
        )
        grid = np.diag([*3 * (-self.voxel_mm,), 1.0])
        grid[:3, 3] = (counts - 1) / 2 * half
        volumes, tibia = [], Tibia(snr=self.snr)
        for te in te_ms:
            levels = 1.6 * np.exp(-te / 9.0), tibia.cortex(te), 1.3 * np.exp(-te / 25.0)
            true = levels[0] * inner + levels[1] * (outer - inner) + levels[2] * (1 - outer)
            noise = rng.standard_normal((2, *true.shape))
            array = (5 * np.hypot(self.snr * true + noise[0], noise[1])).astype(np.float32)
            volumes.append(Volume(array, grid, f"UTE {te:g} ms", {"EchoTime": float(te)}))
        return volumes
