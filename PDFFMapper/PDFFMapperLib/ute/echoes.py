"""UTE images ready to measure: magnitudes by echo time, their noise, and what they must fulfil."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.attributes import number_of
from PDFFMapperLib.images.volume import Volume, grids_differ
from PDFFMapperLib.ute.gain import gain_notes
from PDFFMapperLib.ute.interleaves import joined
from PDFFMapperLib.ute.motion import LEAST_OFF, without_motion
from PDFFMapperLib.ute.noise import (
    Noise,
    air_is_masked,
    coils_of,
    noise_of,
    noise_of_decays,
    noise_of_repeat,
)
from PDFFMapperLib.water_fat.echo_train import echo_train, field_strength

SHORTEST_MS = 0.2  # bone's signal is lost beyond
PI_MS, PI_USUAL_MS = (1.8, 3.0), 2.2
FIRST_USUAL_MS = 0.05  # and less, of published PI
LATE_MS = 4.0  # pore water needs an echo after it
LEAST_COMPONENT_ECHOES, LEAST_THREE_ECHOES = 5, 7  # of magnitudes; 5 of complex images
LEAST_SNR = 5.0


@dataclass(frozen=True)
class UteImages:
    """Magnitudes of one acquisition.

    Attributes:
        signal: shape (images, slices, rows, columns).
        te_ms: echo times, ascending in a series; NaN where unknown of a pair.
        noise: of every image.
        field_t: field strength, None where unknown.
        grid: a volume on the images' grid.
        notes: what was done on reading.
        phased: the same as complex signals, where they were asked for and the images tell them.
        off_voxels: by how much later images may be beside the first one (SD).
    """

    signal: np.ndarray
    te_ms: np.ndarray
    noise: Noise
    field_t: float | None
    grid: Volume
    notes: list[str]
    phased: np.ndarray | None = None
    off_voxels: float = LEAST_OFF


def ute_series(
    images: Sequence[Volume], settings: SimpleNamespace, phased: bool = False
) -> UteImages:
    """The echoes of a series in order of echo time.

    Raises:
        ValueError: as `echo_series` and `gain_notes`; the first echo is too late for bone.
    """
    data = echo_series(images, settings, phased)
    check_first_echo(data.te_ms[0])
    late = bone_echo(data.te_ms)
    if late and data.te_ms[late] <= PI_MS[1]:
        pair = data.signal[0], data.signal[late]
        times = float(data.te_ms[0]), float(data.te_ms[late])
        data.notes.extend(gain_notes(*pair, times, data.noise.sigma))
    return data


def phased_series(images: Sequence[Volume], settings: SimpleNamespace) -> UteImages:
    """As `ute_series`, with phases where the images tell them."""
    return ute_series(images, settings, phased=True)


def echo_series(
    images: Sequence[Volume], settings: SimpleNamespace, phased: bool = False
) -> UteImages:
    """The echoes of a series in order of echo time, whatever these are; `phased` keeps phases.

    Raises:
        ValueError: as `joined` and `echo_train` (grids, doubled or missing echo times); the noise
            is unknown; the limb moved (`without_motion`).
    """
    unit = None if settings.echo_times_s is None else "s"
    images, times, done = joined(images, settings)
    train = echo_train(images, times, unit)
    te_ms = 1e3 * train.echo_times_s
    signal = np.moveaxis(np.abs(train.signal), -1, 0)
    grid = Volume(signal[0], train.ijk_to_ras, "UTE", dict(images[0].attributes))
    field_t, notes = train.field_strength_t, [*done, *train.notes]
    kept = None
    if phased and train.is_complex:
        kept = np.moveaxis(train.signal, -1, 0)
    del train  # its complex signal is the largest array of all
    noise = _noise(signal, te_ms, grid, settings)  # as it was acquired
    if kept is not None and coils_of(settings) > 1:
        kept, notes = (
            None,
            [*notes, "Sums of several receivers have no phase; magnitudes are used."],
        )
    if kept is not None and getattr(settings, "register", False):
        kept, notes = None, [*notes, "Images that are moved lose their phase; magnitudes are used."]
    signal, moved, off = without_motion(signal, grid, settings)
    return UteImages(signal, te_ms, noise, field_t, grid, notes + moved, kept, off)


def _noise(signal: np.ndarray, te_ms: np.ndarray, grid: Volume, settings: SimpleNamespace) -> Noise:
    """As stated, of the `repeat` of the first echo, of the corners, or of the decays' residual."""
    repeat = getattr(settings, "repeat", None)
    if repeat is None or settings.sigma is not None:
        if settings.sigma is None and air_is_masked(signal):
            return noise_of_decays(signal, te_ms, coils_of(settings))
        return noise_of(signal, settings.sigma, coils_of(settings))
    if not repeat.same_grid(grid):
        raise ValueError(grids_differ(repeat, grid))
    return noise_of_repeat(signal[0], np.abs(repeat.array), coils_of(settings))


def ute_pair(images: Sequence[Volume], settings: SimpleNamespace) -> UteImages:
    """Two images that differ by one preparation.

    Raises:
        ValueError: their gain is not known to be the same, they differ in echo time or flip angle,
            or as `ute_series`.
    """
    if not settings.same_gain:
        raise ValueError(
            "A ratio of two acquisitions needs the same receiver gain in both, which their headers "
            "do not tell; check it at the scanner and state it (--same-gain)."
        )
    for key, title, unit in (("EchoTime", "echo times", "ms"), ("FlipAngle", "flip angles", "deg")):
        values = [number_of(image.attributes, key) for image in images]
        check_alike(
            values, title, unit, "their ratio holds only where the preparation alone differs"
        )
    te_ms = np.array([number_of(image.attributes, "EchoTime") or np.nan for image in images])
    if np.isfinite(te_ms[0]):
        check_first_echo(te_ms[0])
    signal = np.stack([image.array for image in images]).astype(np.float32, copy=False)
    if np.nanmin(signal) < 0:
        raise ValueError("UTE ratios are of magnitude images; one of the two has negative values.")
    strength = field_strength([image.attributes for image in images])
    noise = noise_of(signal, settings.sigma, coils_of(settings))
    signal, notes, off = without_motion(signal, images[0], settings)
    return UteImages(signal, te_ms, noise, strength, images[0], notes, off_voxels=off)


def check_alike(values: Sequence[float | None], title: str, unit: str, why: str) -> None:
    """Refuse images that differ in what they should have in common; None where it is not known.

    Raises:
        ValueError: values are more than 2 % apart.
    """
    known = [value for value in values if value is not None]
    if known and max(known) - min(known) > 0.02 * abs(known[0]):
        listed = " and ".join(f"{value:g}" for value in dict.fromkeys(known))
        raise ValueError(f"The images have different {title} ({listed} {unit}); {why}.")


def without_floor(data: UteImages, which: int) -> np.ndarray:
    """Voxel signals of an image without the floor of noise: the root of the square less that of
    noise."""
    square = np.square(data.signal[which], dtype=np.float32)
    square -= 2 * data.noise.coils * data.noise.sigma**2
    np.maximum(square, 0, out=square)  # NaN stays what it is
    return np.sqrt(square, out=square)


def check_first_echo(first_ms: float) -> None:
    """Refuse a first echo at which bone has lost its signal.

    Raises:
        ValueError: it is later than 0.2 ms.
    """
    if first_ms > SHORTEST_MS:
        hint = "; if the header gives microseconds, say so (--unit us)" if first_ms >= 5 else ""
        raise ValueError(
            f"The first echo is at {first_ms:g} ms, where bone has lost its signal: 0.2 ms and "
            f"less are needed{hint}."
        )


def porosity_echoes(te_ms: np.ndarray) -> tuple[int, int]:
    """Which two echoes give PI: the first, and the one nearest to 2.2 ms.

    Raises:
        ValueError: fewer than two, or none from 1.8 to 3 ms.
    """
    listed = ", ".join(f"{time:g}" for time in te_ms)
    if len(te_ms) < 2:
        raise ValueError(
            f"PI needs two echo times, the second from 1.8 to 3 ms; given is {listed} ms alone."
        )
    late = int(np.argmin(np.abs(te_ms - PI_USUAL_MS)))
    if not PI_MS[0] <= te_ms[late] <= PI_MS[1]:
        raise ValueError(
            f"PI needs a second echo from 1.8 to 3 ms, usually 2.2 ms; the echoes are at {listed} "
            "ms. Their plain ratio has a name of its own (--method echo-ratio)."
        )
    return 0, late


def cortex_echoes(te_ms: np.ndarray) -> tuple[int, ...]:
    """Which echoes tell cortex: both of PI, or the one there is.

    Raises:
        ValueError: as `porosity_echoes`, of several.
    """
    return (0,) if len(te_ms) == 1 else porosity_echoes(te_ms)


def bone_echo(te_ms: np.ndarray) -> int:
    """The echo until which bone alone loses most of its signal: that of PI, or the last."""
    late = int(np.argmin(np.abs(te_ms - PI_USUAL_MS)))
    return late if PI_MS[0] <= te_ms[late] <= PI_MS[1] else len(te_ms) - 1


def outer_echoes(te_ms: np.ndarray) -> tuple[int, int]:
    """The first and the last echo.

    Raises:
        ValueError: there is one alone.
    """
    if len(te_ms) < 2:
        raise ValueError(f"A ratio needs two echo times; given is {te_ms[0]:g} ms alone.")
    return 0, len(te_ms) - 1


def check_component_echoes(te_ms: np.ndarray) -> None:
    """Refuse echo times that do not tell two components.

    Raises:
        ValueError: fewer than five, or none after 4 ms.
    """
    if len(te_ms) < LEAST_COMPONENT_ECHOES:
        raise ValueError(
            f"Two T2* components need five echo times; {len(te_ms)} were given. PI needs two."
        )
    if te_ms[-1] <= LATE_MS:
        raise ValueError(
            f"Pore water needs an echo after 4 ms; the last one is at {te_ms[-1]:g} ms."
        )


def check_three_components(te_ms: np.ndarray, field_t: float | None, phased: bool) -> None:
    """Refuse echo times that do not tell three components.

    Raises:
        ValueError: fewer than seven of magnitudes or five with phases, none after 4 ms, or the
            field strength is not known.
    """
    if len(te_ms) < LEAST_THREE_ECHOES and not phased:
        raise ValueError(
            f"Bound water, pore water and fat need seven echo times; {len(te_ms)} were given. With "
            "phases of one receiver five do."
        )
    check_component_echoes(te_ms)
    if field_t is None:
        raise ValueError(
            "Fat beside water needs the field strength, which no header tells; state it in a JSON "
            "file beside the images (MagneticFieldStrength)."
        )
