"""Whether the intervals of `marrowassess compare` hold the truth 95 % of the time, and its speed.

    python Testing/benchmarks/cohort_statistics.py [--draws 10000] [--only STEP ...]

Steps: speed, 10, 50, 200 (patients), pooled, groups, slope; each takes at most a few minutes.

Simulated: patients of SD 5 around 40, single examinations of SD 2. Repeatability coefficient, bias,
upper limit of agreement and ICC of 10, 50 and 200 patients; difference of two groups of 15 and 30
patients whose 1 to 5 regions lie together (SD between regions of a patient 2), and of unequal SD;
slope of 30 patients with 2 to 4 visits whose slopes differ. Standard error with 10,000 draws: 0.2
points. Then the time for 1,000 patients with two visits and 20 regions.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "MarrowAssess"), str(ROOT / "PDFFMapper")]
PATIENT, EXAMINATION, MEAN = 5.0, 2.0, 40.0
STEPS = ("speed", "10", "50", "200", "pooled", "groups", "slope")


def share(draws: int, held: Callable[[np.random.Generator], bool]) -> str:
    """How often an interval holds the truth, in %."""
    rng = np.random.default_rng(1)
    return f"{100 * np.mean([held(rng) for _ in range(draws)]):.1f} %"


def two_visits(rng: np.random.Generator, n: int) -> np.ndarray:
    """Shape (n, 2)."""
    return rng.normal(MEAN, PATIENT, (n, 1)) + rng.normal(0, EXAMINATION, (n, 2))


def coverage(draws: int, only: list[str]) -> None:
    """A line for each interval and size."""
    from MarrowAssessLib.statistics.agreement import iccs
    from MarrowAssessLib.statistics.change import slope
    from MarrowAssessLib.statistics.groups import compared
    from MarrowAssessLib.statistics.repeatability import (
        agreement,
        pooled_repeatability,
        repeatability,
    )

    rc = 1.96 * math.sqrt(2) * EXAMINATION
    icc = PATIENT**2 / (PATIENT**2 + EXAMINATION**2)

    def of_rc(rng: np.random.Generator, n: int) -> bool:
        found = repeatability(list(two_visits(rng, n)))
        return found.rc_low < rc < found.rc_high

    def of_bias(rng: np.random.Generator, n: int) -> bool:
        found = agreement(two_visits(rng, n))
        return found.bias_low < 0 < found.bias_high

    def of_limit(rng: np.random.Generator, n: int) -> bool:
        found = agreement(two_visits(rng, n))
        return found.upper_low < rc < found.upper_high

    def of_icc(rng: np.random.Generator, n: int, form: int) -> bool:
        found = iccs(two_visits(rng, n))[form]
        return found.low < icc < found.high

    for n in (n for n in (10, 50, 200) if str(n) in only):
        print(
            f"{n} patients: RC {share(draws, lambda r, n=n: of_rc(r, n))}, bias "
            f"{share(draws, lambda r, n=n: of_bias(r, n))}, limit "
            f"{share(draws, lambda r, n=n: of_limit(r, n))}, "
            + ", ".join(
                f"ICC({k + 1},1) {share(draws, lambda r, n=n, k=k: of_icc(r, n, k))}"
                for k in range(3)
            ),
            flush=True,
        )

    def pooled(rng: np.random.Generator) -> bool:
        """Patients differ in how repeatable they are, as their regions share it."""
        sds = EXAMINATION * np.sqrt(rng.chisquare(8, 50) / 8)
        own = [[rng.normal(MEAN, sd, 2) for _ in range(4)] for sd in sds]
        found = pooled_repeatability(own)
        return found.rc_low < rc < found.rc_high

    few = max(draws // 10, 1)
    if "pooled" in only:
        print(f"50 patients, 4 regions together: RC {share(few, pooled)} of {few} draws")

    def of_group(rng: np.random.Generator, n: int, sd: float, shift: float) -> np.ndarray:
        own = rng.normal(MEAN + shift, sd, n)
        return np.array([rng.normal(one, 2.0, rng.integers(1, 6)).mean() for one in own])

    def group(rng: np.random.Generator) -> bool:
        found = compared(of_group(rng, 15, 3, 0), of_group(rng, 30, 6, 4))
        return found.low < 4 < found.high

    if "groups" in only:
        print(
            f"groups of 15 and 30, regions together: difference {share(draws, group)}", flush=True
        )

    def change(rng: np.random.Generator) -> bool:
        own = []
        for n in range(30):
            days = 180.0 * np.arange(2 + n % 3)
            line = rng.normal(MEAN, PATIENT) + rng.normal(2, 1.5) * days / 365.25
            own.append((days, line + rng.normal(0, EXAMINATION, len(days))))
        found = slope(own)
        return found.low < 2 < found.high

    if "slope" in only:
        print(f"30 patients, 2 to 4 visits: slope {share(draws, change)}", flush=True)


def speed() -> None:
    """Time of all tables of 1,000 patients, two visits, 20 regions."""
    from MarrowAssessLib.cohort.comparison import comparison

    rng = np.random.default_rng(0)
    rows = [
        {
            "study": f"{n}-{visit}", "patient": f"{n}", "session": visit, "quantity": "vbq",
            "site": f"S{site}", "regions": "", "value": float(rng.normal(40, 5)), "doubtful": "",
            "sex": "FM"[n % 2], "age_years": 20.0 + n % 60, "group": "ab"[n // 2 % 2],
        }
        for n in range(1000) for visit in (1, 2) for site in range(20)
    ]  # fmt: skip
    for repeats in (True, False):
        start = time.perf_counter(), time.process_time()
        comparison(rows, repeats)
        wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
        what = "repeats and groups" if repeats else "groups"
        print(f"1,000 patients x 2 visits x 20 regions, {what}: {wall:.2f} s ({cpu:.2f} s CPU)")


def main() -> None:
    """Print shares and times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=10000)
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS))
    args = parser.parse_args()
    if "speed" in args.only:
        speed()
    coverage(args.draws, args.only)


if __name__ == "__main__":
    main()
