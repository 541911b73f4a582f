"""Water and fat of two complex echoes (two-point mDIXON), with several peaks of fat.

Two complex echoes are four numbers, and water, fat, phase and field four unknowns: two fields
explain a voxel equally well, with water and fat about exchanged (Berglund 2011,
doi 10.1002/mrm.22679; Eggers 2011, doi 10.1002/mrm.22578). Which one is right the voxels around
tell, because the field goes on (`field_map`), or an earlier scan. Where there is about as much
water as fat a voxel tells nothing of its field. Each is therefore fitted with the field around it
as a prior, as wide as the field scatters there. R2* cannot be told at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from PDFFMapperLib.maps.progress import Progress, run_parallel, share
from PDFFMapperLib.water_fat.field_map import ChemicalShiftModel, find_off_resonance
from PDFFMapperLib.water_fat.signal_mask import spread
from PDFFMapperLib.water_fat.voxel_signals import VoxelSignals

_LEAST_CONTRAST = 0.25  # of the cosines of fat's phase; alike, no magnitude tells water from fat
_LEAST_NOISE = 1e-3  # of the signal; what noise-free images would else have
_AROUND_MM = 3.0  # SD of the weights of the voxels around
_FAR_MM, _FAR_WEIGHT = 12.0, 1e-3  # where these tell nothing
_LEAST_SCATTER_HZ = 3.0
_EARLIER_SCATTER_HZ = 25.0  # by which the field of an earlier scan may differ
_MOST_TURNS = 0.1  # between the echoes, that the field may scatter by and still tell anything
_ROUNDS = 2
_STEPS = np.linspace(-3, 3, 33)  # of the field tried, in SDs of its scatter
_MISFIT = 16.0  # squared distance from echoes and prior, in SDs
_CHUNK = 20_000  # voxels


@dataclass
class TwoEchoes:
    """Water and fat; arrays have the images' shape, NaN outside the mask.

    Attributes:
        percent: 100 F / (W + F), signed.
        percent_sd: its standard deviation by noise and by the scatter of the field, in points.
        water: signal at echo time 0, signed.
        fat: likewise.
        off_resonance_hz: field map.
        swap_margin: how much worse water and fat exchanged would fit, see `FieldSearch`; infinite
            where the field was given.
        misfit: voxels that echoes and field around do not explain, or where the field scatters so
            much that it tells nothing, bool.
        unlike: share of the voxels that the field given does not explain, 0 if it was found.
        noise_sd: of the real (and imaginary) part.
    """

    percent: np.ndarray
    percent_sd: np.ndarray
    water: np.ndarray
    fat: np.ndarray
    off_resonance_hz: np.ndarray
    swap_margin: np.ndarray
    misfit: np.ndarray
    unlike: float
    noise_sd: float


def separate_two_echoes(
    echoes: np.ndarray,
    model: ChemicalShiftModel,
    mask: np.ndarray,
    voxel_size_mm: tuple[float, float, float],
    noise: float,
    r2star_per_s: float | np.ndarray = 0.0,
    field_hz: np.ndarray | None = None,
    progress: Progress | None = None,
) -> TwoEchoes:
    """Water and fat of each voxel.

    Args:
        echoes: complex64, shape (2, slices, rows, columns).
        model: their echo times, the signal of fat and the field strength.
        mask: voxels with signal, bool.
        voxel_size_mm: along slices, rows, columns.
        noise: SD of the real (and imaginary) part, by `background_noise`.
        r2star_per_s: R2*, a number or one per voxel, finite in the mask.
        field_hz: off-resonance by an earlier scan, likewise; found from the echoes if None.
        progress: called with the fraction done; returning False cancels.

    Raises:
        ValueError: echo times that do not tell water from fat.
        InterruptedError: canceled.
    """
    check_echo_pair(model)
    noise = max(noise, _LEAST_NOISE * float(np.median(np.abs(echoes[0][mask]))))
    times = model.echo_times_s
    decay = np.where(mask, r2star_per_s, 0).astype(np.float32)
    growth = np.exp(decay * times[:, None, None, None].astype(np.float32))
    signals = VoxelSignals((echoes * growth).astype(np.complex64))
    voxels = _Voxels(
        signals.at(np.flatnonzero(mask)),
        model,
        noise * np.sqrt((growth[:, mask] ** 2).mean(0)),
    )
    spacing = float(np.diff(times)[0])
    if field_hz is None:
        found = find_off_resonance(
            signals, mask, model, voxel_size_mm, progress=share(progress, 0.0, 0.7), noise=noise
        )
        field, margin, unlike = found.off_resonance_hz.astype(float), found.swap_margin, 0.0
    else:
        given = field_hz[mask].astype(float)
        wide = np.full(len(given), _EARLIER_SCATTER_HZ)
        field, cost = voxels.near(given, wide, share(progress, 0.0, 0.7))
        unlike = float(np.mean(cost > _MISFIT))
        margin = np.full(len(given), np.inf, np.float32)
    for n in range(_ROUNDS):
        done = [0.7 + 0.3 * each / _ROUNDS for each in (n, n + 1)]
        around, scatter = _around(mask, field, voxels.information(field), voxel_size_mm, spacing)
        field, cost = voxels.near(around, scatter, share(progress, *done))
    water, fat, sd = voxels.fitted(field, scatter)
    misfit = (cost > _MISFIT) | (scatter * spacing > _MOST_TURNS)
    with np.errstate(divide="ignore", invalid="ignore"):
        percent = 100 * fat / (water + fat)
    return TwoEchoes(
        *(spread(mask, each) for each in (percent, sd, water, fat, field, margin)),
        spread(mask, misfit, False, bool),
        unlike,
        noise,
    )


def check_echo_pair(model: ChemicalShiftModel) -> None:
    """Refuse echo times at which magnitudes of water and of fat add up alike.

    Raises:
        ValueError: they do.
    """
    turned = np.angle(model.fat)
    if abs(np.diff(np.cos(turned))[0]) < _LEAST_CONTRAST:
        first, second = 1000 * model.echo_times_s
        raise ValueError(
            f"At {model.field_strength_t:g} T fat is {abs(np.degrees(turned[0])):.0f} degrees from "
            f"water at {first:.4g} ms and {abs(np.degrees(turned[1])):.0f} at {second:.4g} ms: so "
            "much alike, two echoes do not tell water from fat. Check echo times and field "
            "strength; best are 0 (in phase) and 180 (opposed)."
        )


def change_by_r2star(model: ChemicalShiftModel, percent: float) -> float:
    """What R2* taken too low by 10 1/s adds to a fat fraction of so many percent, in points.

    Of a voxel whose field is known.
    """
    fraction = percent / 100
    decayed = np.exp(-10 * model.echo_times_s)
    signal = ((1 - fraction + fraction * model.fat) * decayed)[None]
    one = _Voxels(signal, model, np.full(1, 1e-3))
    field, _ = one.near(np.zeros(1), np.full(1, _LEAST_SCATTER_HZ))
    water, fat, _ = one.fitted(field, np.full(1, _LEAST_SCATTER_HZ))
    return float(100 * fat[0] / (water[0] + fat[0]) - percent)


def _around(mask, field, information, voxel_size_mm, spacing):
    """Field of the voxels around, weighted by what each tells of it, and its scatter, in Hz."""

    def blurred(values):
        volume = np.zeros(mask.shape, np.float32)
        volume[mask] = values
        near, far = (
            ndimage.gaussian_filter(volume, [mm / size for size in voxel_size_mm], mode="constant",
                                    truncate=reach)
            for mm, reach in ((_AROUND_MM, 3), (_FAR_MM, 2))
        )  # fmt: skip
        return (near + _FAR_WEIGHT * far)[mask].astype(float)

    turn = 2 * np.pi * spacing  # a field is known up to whole turns between the echoes
    parts = [blurred(information * part(turn * field)) for part in (np.cos, np.sin)]
    apart = field - np.arctan2(parts[1], parts[0]) / turn
    apart -= np.round(apart * spacing) / spacing
    excess = blurred(information * apart**2) - blurred(np.ones_like(field))  # over that of noise
    variance = excess / np.maximum(blurred(information), 1e-30)
    return field - apart, np.sqrt(np.maximum(variance, _LEAST_SCATTER_HZ**2))


class _Voxels:
    """Signals of voxels freed of R2*, and their fits at given fields by least squares."""

    def __init__(self, signals: np.ndarray, model: ChemicalShiftModel, noise: np.ndarray) -> None:
        self.signals, self.model, self.noise = signals, model, noise
        columns = np.stack([np.ones_like(model.fat), model.fat], 1)
        self.inverse = np.linalg.inv((columns.conj().T @ columns).real)

    def near(
        self, around: np.ndarray, scatter: np.ndarray, progress: Progress | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The likeliest field with that around as a prior, and its squared distance in SDs."""
        field, cost = np.empty((2, len(around)))

        def search(part: slice) -> None:
            energy = (np.abs(self.signals[part].astype(complex)) ** 2).sum(1)
            middle, width, noise = around[part], scatter[part], self.noise[part]
            costs = np.stack([
                (energy - self._projected(part, middle + x * width)[0]) / noise**2 + x * x
                for x in _STEPS
            ])  # fmt: skip
            best = costs.argmin(0).clip(1, len(_STEPS) - 2)
            before, here, after = (
                np.take_along_axis(costs, (best + k)[None], 0)[0] for k in (-1, 0, 1)
            )
            bend = np.maximum(before + after - 2 * here, 1e-30)
            shift = (0.5 * (before - after) / bend).clip(-1, 1)
            field[part] = middle + (_STEPS[best] + shift * (_STEPS[1] - _STEPS[0])) * width
            cost[part] = np.minimum(costs.min(0), here - 0.25 * (before - after) * shift)

        self._by_parts(search, progress)
        return field, cost

    def information(self, field: np.ndarray) -> np.ndarray:
        """What each voxel tells of its field by itself: one over its variance, in 1/Hz^2."""
        result = np.empty(len(field))

        def inform(part: slice) -> None:
            normal = self._normal(part, *self._water_fat(part, field[part]))
            cross = normal[:, :3, 3]
            solved = np.linalg.solve(_regular(normal[:, :3, :3]), cross[..., None])[..., 0]
            result[part] = np.maximum(normal[:, 3, 3] - (cross * solved).sum(1), 0)

        self._by_parts(inform)
        return result

    def fitted(self, field: np.ndarray, scatter: np.ndarray) -> tuple[np.ndarray, ...]:
        """Water, fat, and the SD of the fat fraction in points, of this field."""
        water, fat, sd = np.empty((3, len(field)))

        def fit(part: slice) -> None:
            w, f = water[part], fat[part] = self._water_fat(part, field[part])
            normal = self._normal(part, w, f)
            normal[:, 3, 3] += scatter[part] ** -2.0
            covariance = np.linalg.inv(_regular(normal))[:, :2, :2]
            with np.errstate(divide="ignore", invalid="ignore"):
                slope = np.stack([-f, w], 1) / ((w + f) ** 2)[:, None]
            sd[part] = 100 * np.sqrt(np.einsum("vi,vij,vj->v", slope, covariance, slope))

        self._by_parts(fit)
        return water, fat, sd

    def _by_parts(self, work, progress: Progress | None = None) -> None:
        starts = range(0, len(self.signals), _CHUNK)
        run_parallel(lambda start: work(slice(start, start + _CHUNK)), starts, progress)

    def _projected(self, part: slice, field: np.ndarray):
        """Energy that water and fat of one phase explain, twice their phase, and projections."""
        turn = np.exp(-2j * np.pi * np.outer(field, self.model.echo_times_s))
        turned = self.signals[part] * turn
        on_water, on_fat = turned.sum(1), turned @ self.model.fat.conj()
        (p, o), (_, q) = self.inverse
        square = p * on_water**2 + q * on_fat**2 + 2 * o * on_water * on_fat
        energy = p * np.abs(on_water) ** 2 + q * np.abs(on_fat) ** 2
        energy += 2 * o * (on_water.conj() * on_fat).real
        return 0.5 * (energy + np.abs(square)), np.angle(square), on_water, on_fat

    def _water_fat(self, part: slice, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Signed water and fat whose sum is not negative."""
        _, twice, on_water, on_fat = self._projected(part, field)
        both = np.stack([on_water, on_fat]) * np.exp(-0.5j * twice)
        water, fat = self.inverse @ both.real
        sign = np.where(water + fat < 0, -1, 1)
        return sign * water, sign * fat

    def _normal(self, part: slice, water: np.ndarray, fat: np.ndarray) -> np.ndarray:
        """Fisher information on water, fat, phase and field, shape (voxels, 4, 4)."""
        since = 2j * np.pi * (self.model.echo_times_s - self.model.echo_times_s[0])
        expected = water[:, None] + fat[:, None] * self.model.fat
        ones = np.ones_like(expected)
        slopes = np.stack([ones, ones * self.model.fat, 1j * expected, since * expected], 2)
        slopes = np.concatenate([slopes.real, slopes.imag], 1) / self.noise[part, None, None]
        return slopes.swapaxes(1, 2) @ slopes


def _regular(normal: np.ndarray) -> np.ndarray:
    """Symmetric matrices that can be inverted, also where there is no signal."""
    diagonal = np.einsum("vii->vi", normal)
    return normal + 1e-9 * np.eye(normal.shape[1]) * (diagonal + 1e-12)[:, None, :]
