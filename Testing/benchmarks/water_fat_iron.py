"""PDFF of marrow with iron in a body, by default settings: what is fitted, shown, and how right.

    python Testing/benchmarks/water_fat_iron.py [TRAIN]

For each train of echoes, ratio of signal (at echo time 0) to noise and PDFF one body is fitted
whose five vertebrae decay by 50 to 800 1/s, again with other noise until the mean of every vertebra
up to 500 1/s is known to .07 points, at most four times. A cell tells the bias of the PDFF and its
standard error in points over the voxels that are shown (without doubt), and how many of the
vertebra's voxels these are in %; where they are under half, a region's mean says so. TRAIN is a
part of a train's name. Nothing is asserted.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "PDFFMapper"), str(ROOT / "Testing")]

from PDFFMapperLib.water_fat.multi_echo import multi_echo  # noqa: E402
from PDFFMapperLib.water_fat.separation import separate_water_fat  # noqa: E402
from phantoms.water_fat import spine_phantom  # noqa: E402

DECAYS = (50.0, 150.0, 300.0, 500.0, 800.0)
FRACTIONS = (5.0, 20.0, 40.0, 60.0, 80.0)
RATIOS = (20.0, 40.0, 60.0)
TRAINS = {
    "3 x 1.15 ms, 3 T": (1.15e-3 * np.arange(1, 4), 3.0),
    "4 x 1.0 ms, 3 T": (1.2e-3 + 1e-3 * np.arange(4), 3.0),
    "6 x 1.15 ms, 3 T": (1.15e-3 * np.arange(1, 7), 3.0),
    "12 x 1.1 ms, 3 T": (1.1e-3 * np.arange(1, 13), 3.0),
    "3 x 1.5 ms, 1.5 T": (1.5e-3 * np.arange(1, 4), 1.5),
    "4 x 2.0 ms, 1.5 T": (1.2e-3 + 2e-3 * np.arange(4), 1.5),
    "6 x 1.5 ms, 1.5 T": (1.5e-3 * np.arange(1, 7), 1.5),
    "12 x 1.1 ms, 1.5 T": (1.1e-3 * np.arange(1, 13), 1.5),
}
PRECISE, MOST_RUNS, USUAL = 0.07, 4, 500.0


def errors_of_bodies(times, field, snr: float, pdff: float):
    """Errors in points of each vertebra's shown voxels; counts of fitted, shown and all voxels."""
    errors, counts = [[] for _ in DECAYS], np.zeros((len(DECAYS), 3), int)
    for seed in range(MOST_RUNS):
        marrow = {4 + n: (pdff, decay) for n, decay in enumerate(DECAYS)}
        phantom = spine_phantom(
            (20, 96, 96), times, snr, field, off_resonance_hz=60 * field, seed=seed, marrow=marrow
        )
        data = multi_echo(phantom.echoes, times, field, phantom.voxel_size_mm)
        try:
            result = separate_water_fat(data)
        except ValueError as error:
            print(f"refused: {error}")
            continue
        fitted = result.mask & np.isfinite(result.pdff_percent)
        for n in range(len(DECAYS)):
            here = phantom.labels == 4 + n
            shown = here & result.confident
            errors[n] += list(result.pdff_percent[shown] - pdff)
            counts[n] += np.count_nonzero([here & fitted, shown, here], axis=(1, 2, 3))
        judged = [of for of, decay in zip(errors, DECAYS, strict=True) if decay <= USUAL]
        if all(len(of) < 2 or standard_error(of) < PRECISE for of in judged):
            break
    return errors, counts


def standard_error(errors) -> float:
    return float(np.std(errors) / np.sqrt(len(errors)))


def table(name: str, times, field, snr: float) -> None:
    print(f"\n{name}, ratio {snr:g}; R2* " + ", ".join(f"{one:g}" for one in DECAYS) + " 1/s")
    fitted, total, worst = 0, 0, []
    for pdff in FRACTIONS:
        errors, counts = errors_of_bodies(times, field, snr, pdff)
        cells = []
        for of, (_, shown, count), decay in zip(errors, counts, DECAYS, strict=True):
            if shown < 20:
                cells.append(f"      -         {100 * shown / count:3.0f}")
                continue
            bias, unsure = float(np.mean(of)), standard_error(of)
            cells.append(f"{bias:+6.2f} +- {unsure:.2f}  {100 * shown / count:3.0f}")
            worst.append((abs(bias), bias, unsure, decay, pdff, 100 * shown / count))
        usual = [decay <= USUAL for decay in DECAYS]
        fitted, total = fitted + counts[usual, 0].sum(), total + counts[usual, 2].sum()
        print(f"PDFF {pdff:2.0f} %: " + " |".join(cells), flush=True)
    print(f"fitted up to {USUAL:g} 1/s: {100 * fitted / total:.2f} %; ", end="")
    untold = [one for one in worst if one[5] >= 50]
    for words, part in (
        (f"worst up to {USUAL:g} 1/s", [one for one in untold if one[3] <= USUAL]),
        ("above", [one for one in untold if one[3] > USUAL]),
        ("under half shown", [one for one in worst if one[5] < 50]),
    ):
        if part:
            _, bias, unsure, decay, pdff, shown = max(part)
            print(
                f"{words} {bias:+.2f} +- {unsure:.2f} (PDFF {pdff:g} %, {decay:g} 1/s, {shown:.0f} "
                f"% shown, {sum(one[0] > 0.2 + 2 * one[2] for one in part)} of {len(part)} shown "
                "cells over .2 by 2 standard errors); ",
                end="",
            )
    print(flush=True)


if __name__ == "__main__":
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    for name, (times, field) in TRAINS.items():
        if asked in name:
            for snr in RATIOS:
                table(name, times, field, snr)
