"""Echoes of several acquisitions made one series: doubled echo times and the gain between them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.attributes import number_of
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.ute.noise import coils_of, noise_of

_SAME = 1e-3  # echo times that differ by less are one
_STRONG = 10.0  # times the noise; what voxels must show to be compared
_LEAST_VOXELS = 30
_ALIKE, _SMALL = 1.5, 0.03  # residual over noise, and over the signal
_NO_STEP = 0.01  # of gain, beside its error


def joined(
    images: Sequence[Volume], settings: SimpleNamespace
) -> tuple[list[Volume], list[float] | None, list[str]]:
    """A series with each echo time once, and all acquisitions on one gain.

    Args:
        images: magnitudes; others stay as they are.
        settings: `echo_times_s`, `sigma`, and `interleaves`: the acquisition of each image as text
            ("1,1,2,2"); None or missing where all are of one.

    Returns:
        Images, their echo times in s where `settings` give them, and what was done.

    Raises:
        ValueError: an echo time is there twice with unlike values, or acquisitions are not one for
            each image, or of images that are no magnitudes.
    """
    stated, unchanged = settings.echo_times_s, (list(images), settings.echo_times_s, [])
    times = stated or [(number_of(one.attributes, "EchoTime") or np.nan) / 1e3 for one in images]
    components = {one.attributes.get("ImageComponent") or "magnitude" for one in images}
    groups = _groups(getattr(settings, "interleaves", None), len(images))
    if groups and components != {"magnitude"}:
        raise ValueError(
            "Acquisitions are joined by their magnitudes (--interleaves); images of other kinds "
            f"were given ({', '.join(sorted(components))}). Give the magnitudes alone."
        )
    if len(times) != len(images) or not np.isfinite(times).all() or components != {"magnitude"}:
        return unchanged
    doubled = _doubled(times)
    if not doubled and groups is None:
        return unchanged
    shown = [np.asarray(one.array, float) for one in images]
    left, notes, gains = set(), [], {}
    for one, other in doubled:
        if not images[one].same_grid(images[other]):
            return unchanged
        found = _compared(shown[one], shown[other], settings.sigma, coils_of(settings))
        if found is None:
            return unchanged
        gain, error, misfit = found
        te = f"{1e3 * times[one]:.4g} ms"
        apart = groups is not None and groups[one] != groups[other]
        if misfit > _ALIKE or (not apart and abs(gain - 1) > 3 * error + _NO_STEP):
            raise ValueError(
                f"Echo time {te} is there twice with unlike values: the second is {gain:.3g} times "
                f"the first and differs by {misfit:.1f} times the noise besides. Give one of them, "
                "or say which images are of one acquisition (--interleaves 1,1,2,2)."
            )
        left.add(other)
        if apart:
            gains.setdefault((groups[one], groups[other]), []).append((gain, te))
        else:
            notes.append(f"Echo time {te} is there twice and alike; the first was used.")
    factors = _factors(groups, gains, notes)
    kept = [n for n in range(len(images)) if n not in left]
    made = []
    for n in kept:
        factor = factors[groups[n]] if groups else 1.0
        scaled = images[n].array / factor if factor != 1 else images[n].array
        made.append(images[n].with_array(np.asarray(scaled, np.float32)) if groups else images[n])
    return made, [stated[n] for n in kept] if stated else None, notes


def _groups(text: str | None, count: int) -> list[str] | None:
    if not text:
        return None
    groups = [word.strip() for word in str(text).split(",")]
    if len(groups) != count:
        raise ValueError(
            f"{len(groups)} acquisitions were named for {count} images (--interleaves); name one "
            "for each image, in their order."
        )
    return groups


def _doubled(times: Sequence[float]) -> list[tuple[int, int]]:
    """Images of one echo time: the first, and each other one."""
    found, first = [], []
    for n, time in enumerate(times):
        same = next((m for m in first if abs(times[m] - time) <= _SAME * abs(time)), None)
        if same is None:
            first.append(n)
        else:
            found.append((same, n))
    return found


def _compared(
    one: np.ndarray, other: np.ndarray, sigma: float | None, coils: float
) -> tuple[float, float, float] | None:
    """Gain of the second image over the first, its SD, and what differs besides over the noise."""
    noise = noise_of(np.stack([one, other]), sigma, coils).sigma
    strong = (np.minimum(one, other) > _STRONG * noise) & np.isfinite(one + other)
    if strong.sum() < _LEAST_VOXELS:
        return None
    a, b = one[strong], other[strong]
    gain = float(np.median(b / a))
    rest = b - gain * a
    error = 1.25 * float(np.median(noise * np.hypot(1, gain) / a)) / len(a) ** 0.5
    rms = float(np.sqrt(np.mean(rest**2)))
    small = rms < _SMALL * float(np.median(gain * a))
    return gain, error, 1.0 if small else rms / (noise * float(np.hypot(1, gain)))


def _factors(
    groups: Sequence[str] | None,
    gains: dict[tuple[str, str], list[tuple[float, str]]],
    notes: list[str],
) -> dict[str, float]:
    """By what each acquisition is divided: its gain over the first one, along shared echo times."""
    names = list(dict.fromkeys(groups or []))
    factors = {name: 1.0 for name in names[:1]}
    for _ in names:
        for (one, other), found in gains.items():
            gain, te = float(np.median([g for g, _ in found])), found[0][1]
            for known, new, step in ((one, other, gain), (other, one, 1 / gain)):
                if known in factors and new not in factors:
                    factors[new] = factors[known] * step
                    notes.append(
                        f"Acquisition {new} has {step:.3f} times the gain of acquisition {known} "
                        f"(both have TE {te}) and was divided by it; noise is taken as one."
                    )
    for name in names:
        if name not in factors:
            factors[name] = 1.0
            notes.append(
                f"The gain of acquisition {name} is unknown, since it shares no echo time with the "
                "others; it was taken as theirs."
            )
    return factors
