"""Map of the macromolecular fraction: voxels with all bone's other parameters and their own B1."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.maps.progress import Progress, tell
from PDFFMapperLib.ute.bone_maps import OUTSIDE, bone_of, doubt_of, facts_of, maps_of, tell_region
from PDFFMapperLib.ute.echoes import without_floor
from PDFFMapperLib.ute.mt_fit import B1, MMF, MtFit, macromolecules, shown
from PDFFMapperLib.ute.mt_protocol import MtImages, mt_images

_FRACTIONS = np.linspace(0.05, 0.94, 45)  # of the table
_B1_STEP, _B0_STEP = 0.03, 20.0  # of the field; Hz
_CHUNK = 2000  # voxels


def of_transfer_model(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None = None
) -> list[ParametricMap]:
    """Macromolecular fraction of voxels, drawn towards that of all bone.

    Raises:
        ValueError: as `mt_images` and `macromolecules`.
        InterruptedError: canceled.
    """
    data = mt_images(images, settings)
    settings.mt_protocol = data.protocol  # its content is recorded, not the name of its file
    inside, notes = bone_of(data.images, settings)
    strong = without_floor(data.images, int(np.argmin(data.train.mean_square())))
    doubt = doubt_of(data.images, inside, strong)
    try:
        found = macromolecules(data, doubt == 0)
    except ValueError as error:
        raise ValueError(f"The mapped bone: {error}.") from None
    doubt[~found.inside] |= OUTSIDE  # of no B1+, far off resonance or beside marrow
    values, sds, kept = _voxels(data, doubt == 0, found, progress)
    notes += [
        *found.notes,
        f"Voxels hold T2 of macromolecules, exchange, T2 of water and T1 of all bone, and "
        f"{100 * kept:.0f} % of their own deviation from its fraction; noise explains the rest.",
    ]
    facts = facts_of(data.images, notes)
    facts["summary"] = f"UTE-MT, {len(images)} images; {data.images.noise.told}."
    tell_region(facts, "All bone", found.rows)
    del facts["echo_times_ms"]
    return maps_of(data.images, {"MMF": values, "MMF_SD": sds}, doubt, facts)


def _voxels(
    data: MtImages, inside: np.ndarray, found: MtFit, progress: Progress | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Fraction and SD of voxels in percent, and how much of their own deviation was kept.

    With all else held, the least squares of a voxel over its fraction stand in a table by B1 and
    fraction, refined by a parabola.
    """
    each = range(len(data.images.signal))
    held = np.stack([without_floor(data.images, n)[inside] for n in each], axis=1)
    if data.b0_map is not None:
        held = held * _on_resonance(data, found, data.b0_map[inside])
    count = len(held)
    own, noise = np.empty(count), np.empty(count)
    b1 = np.full(count, found.fit.found[B1])
    if data.b1_map is not None:
        b1 *= data.b1_map[inside] / data.b1_map[inside].mean()
    nodes, tables = _tables(data, found, b1)
    where = (b1 - nodes[0]) / _B1_STEP
    first_node = np.clip(where.astype(int), 0, max(len(nodes) - 2, 0))
    sigma = data.images.noise.sigma
    for n in range(max(len(nodes) - 1, 1)):
        chosen = np.flatnonzero(first_node == n)
        for start in range(0, len(chosen), _CHUNK):
            tell(progress, n / len(nodes))
            here = chosen[start : start + _CHUNK]
            share = (where[here] - n)[:, None]
            ends = [_fit(held[here], table, sigma) for table in tables[n : n + 2]]
            first, last = ends[0], ends[-1]
            own[here], noise[here] = (
                (1 - share[:, 0]) * a + share[:, 0] * b for a, b in zip(first, last, strict=True)
            )
    region = found.fit.found[MMF]
    spread = max(float(np.mean((own - region) ** 2 - noise)), 0.0)
    kept = spread / (spread + noise)
    common = (found.rows[0].upper - found.rows[0].lower) / 3.92 / 100
    values = np.full(inside.shape, np.nan)
    sds = values.copy()
    values[inside] = 100 * (region + kept * (own - region))
    sds[inside] = 100 * np.sqrt(kept * noise + common**2)
    return values, sds, float(kept.mean())


def _on_resonance(data: MtImages, found: MtFit, b0_hz: np.ndarray) -> np.ndarray:
    """What turns the signals of voxels into those at the region's mean B0, (voxels, images).

    By the region's fit: a voxel's own fraction changes it in the second order alone.
    """
    nodes = np.arange(b0_hz.min(), b0_hz.max() + _B0_STEP, _B0_STEP)
    truth = found.fit.found[None, 1:]
    usual = shown(truth, found.train, 0.0, data.fat or 0.0)[0]
    table = [shown(truth, data.train.seen_from(b0), 0.0, data.fat or 0.0)[0] for b0 in nodes]
    ratios = usual / np.array(table)
    return np.stack([np.interp(b0_hz, nodes, one) for one in ratios.T], axis=1)


def _tables(data: MtImages, found: MtFit, b1: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Nodes of B1, and for each the signals of all fractions, shape (fractions, images)."""
    low, high = float(b1.min()), float(b1.max())
    count = max(int(np.ceil((high - low) / _B1_STEP)) + 1, 1)
    nodes = low + _B1_STEP * np.arange(count)
    tables = []
    for node in nodes:
        each = np.repeat(found.fit.found[None], len(_FRACTIONS), axis=0)
        each[:, MMF], each[:, B1] = _FRACTIONS, node
        tables.append(shown(each[:, 1:], found.train, 0.0, data.fat or 0.0))
    return nodes, tables


def _fit(held: np.ndarray, table: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Fraction with the least squares of each voxel, and its variance by noise."""
    square = np.einsum("fc,fc->f", table, table)
    along = held @ table.T
    explained = along**2 / square
    best = np.clip(explained.argmax(axis=1), 1, len(table) - 2)
    rows = np.arange(len(held))
    before, at, after = (explained[rows, best + step] for step in (-1, 0, 1))
    bend = np.minimum(before - 2 * at + after, -1e-12 * at)
    step = _FRACTIONS[1] - _FRACTIONS[0]
    moved = np.clip((before - after) / (2 * bend), -1, 1)
    slope = np.gradient(table, step, axis=0)
    apart = np.einsum("fc,fc->f", slope, slope) - np.einsum("fc,fc->f", slope, table) ** 2 / square
    amplitude = along[rows, best] / square[best]
    variance = (sigma / np.maximum(amplitude, 1e-9 * sigma)) ** 2 / apart[best]
    return _FRACTIONS[best] + step * moved, variance
