"""How often unchanged marrow is flagged as changed, and changed marrow is not.

    PYTHONPATH=MarrowAssess:PDFFMapper python Testing/benchmarks/follow_up.py

Goals: 4.5-5.5 % of 10,000 pairs without change flagged, each error model; any of 40 sites in 87 %;
Holm at most 5.5 % of families; 80 % of changes of 1.5 RC; intervals of an error of 10, 20, 35 pairs
cover 95 +- 1 %; slopes of 4 visits: bias below 2 %, coverage 93-97 %; 20 visits x 60 sites x 12
quantities in 2 s and 300 MB, page at most 3 MB; moved bodies registered to 0.3 voxel and 0.5
degrees in 2 CPU s.
"""

from __future__ import annotations

import math
import resource
import time

import numpy as np
from MarrowAssessLib.follow_up.change import counts
from MarrowAssessLib.follow_up.changes import follow_up
from MarrowAssessLib.follow_up.compare import course
from MarrowAssessLib.follow_up.errors import MeasurementError, error_of_pairs
from MarrowAssessLib.follow_up.trends import weighted_slope
from MarrowAssessLib.report.follow_up_page import follow_up_page

PAIRS = 10_000
SURE = 10**6  # pairs of an error that is known


def visit(values: dict[str, dict[str, float]]) -> dict:
    """An assessment with one value for each quantity and site."""
    return {
        "patient": {"age_years": None, "sex": "F"},
        "settings": {"erosion_mm": 0.0, "n4": False},
        "acquisition": {"T1": {"scanner": "one", "field_strength_t": 3.0}},
        "measurements": [
            {"quantity": quantity, "site": site, "value": value, "ci95": None, "doubtful": [],
             "how": "", "measured": [site], "statistics": {"volume_mm3": 1000.0}}
            for quantity, sites in values.items()
            for site, value in sites.items()
        ],
    }  # fmt: skip


def noisy(rng, error: MeasurementError, truth: np.ndarray) -> np.ndarray:
    """Values as an examination gives them."""
    noise = error.sd * rng.standard_normal(truth.shape)
    return truth * np.exp(noise) if error.proportional else truth + noise


def rates(error: MeasurementError, sites: int, moved: float) -> tuple[float, float, float]:
    """Shares of comparisons flagged, of people with any flag, and with any after Holm.

    `moved` is the true change in RC.
    """
    rng = np.random.default_rng(sites)
    people = PAIRS // sites
    flags = families = holm = 0
    reach = moved * 1.96 * math.sqrt(2) * error.sd
    for _ in range(people):
        truth = rng.uniform(30, 60, sites)
        later = truth * math.exp(reach) if error.proportional else truth + reach
        pair = [
            visit({"marrow_pdff": {f"V{n}": x for n, x in enumerate(noisy(rng, error, one), 1)}})
            for one in (truth, later)
        ]
        changes = follow_up(pair, [0, 90], {"marrow_pdff": error})
        flagged = sum(one.changed for one in changes)
        flags += flagged
        families += flagged > 0
        holm += any(one.adjusted for one in changes)
    return flags / (people * sites), families / people, holm / people


def pairs_of_few() -> None:
    """Errors from few own pairs: coverage of their intervals and flags without change."""
    for n in (10, 20, 35):
        rng = np.random.default_rng(n)
        covered = flagged = 0
        for _ in range(PAIRS):
            error = error_of_pairs(rng.normal(50, 2, (n, 2)), "own")
            if error.proportional:  # by chance, 1 in 40; judged on its own scale
                sd = 2 / 50
            else:
                sd = 2.0
            low, high = error.sd_interval
            covered += low <= sd <= high
            one, other = rng.normal(50, 2, (2, 10))
            difference = np.log(other / one) if error.proportional else other - one
            flagged += np.mean(np.abs(difference) > error.reach)
        print(
            f"error of {n} pairs: interval covers {100 * covered / PAIRS:.1f} %, "
            f"{100 * flagged / PAIRS:.2f} % flagged without change"
        )


def slopes() -> None:
    """Four visits with unequal gaps."""
    days = np.array([0.0, 30.0, 120.0, 200.0])
    for proportional in (False, True):
        rng = np.random.default_rng(4)
        error = MeasurementError(0.05 if proportional else 2.0, proportional, SURE, "")
        truth = 40 + 0.1 * days
        fits = [
            weighted_slope(days, noisy(rng, error, truth), np.zeros(4), error) for _ in range(PAIRS)
        ]
        slope, half = np.array(fits).T
        print(
            f"slope, {'proportional' if proportional else 'absolute'}: bias "
            f"{100 * (slope.mean() / 0.1 - 1):+.2f} %, coverage "
            f"{100 * np.mean(np.abs(slope - 0.1) < half):.1f} %"
        )


def large() -> None:
    """20 visits of 60 sites and 12 quantities."""
    rng = np.random.default_rng(1)
    quantities = (
        "marrow_pdff", "marrow_r2star", "marrow_adc", "marrow_t2star", "marrow_d", "marrow_f",
        "marrow_suv", "marrow_suv_max", "t1_marrow_muscle", "t1_marrow_disc", "fs_t2_marrow_muscle",
        "opposed_in_ratio",
    )  # fmt: skip
    sites = [f"V{n}" for n in range(1, 61)]
    visits = [
        visit({q: dict(zip(sites, rng.normal(40, 1, 60), strict=True)) for q in quantities})
        for _ in range(20)
    ]
    before = time.process_time()
    found = course(visits, [30.0 * n for n in range(20)])
    page = follow_up_page(found)
    spent = time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"20 visits x 60 sites x 12 quantities: {spent:.2f} CPU s, page {len(page) / 1e6:.2f} MB, "
        f"peak {peak:.0f} MB; {counts(found.changes)}"
    )


def registrations() -> None:
    """Bodies of the digital spine, moved by up to 15 mm and turned by up to 10 degrees an axis."""
    from MarrowAssessLib.catalogue.anatomy import Role
    from MarrowAssessLib.catalogue.contrasts import Contrast
    from MarrowAssessLib.follow_up.registration import NotRegistered, register_body, values_at
    from MarrowAssessLib.sample.phantom import lumbar_phantom
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(6)
    study = lumbar_phantom().study()
    t1 = study.volumes[Contrast.T1]
    shifts, angles, spent, lost = [], [], [], 0
    for region in [one for one in study.with_role(Role.MARROW) if one.site[:1] == "L"] * 4:
        center = t1.to_ras(region.centroid_ijk())
        true, shift = np.eye(4), rng.uniform(-15, 15, 3)
        true[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-10, 10, 3), degrees=True).as_matrix()
        true[:3, 3] = center + shift - true[:3, :3] @ center
        seen = np.nan_to_num(values_at(t1, np.linalg.inv(true), t1))
        later = t1.with_array(seen + 0.02 * t1.array.max() * rng.standard_normal(seen.shape))
        before = time.process_time()
        try:
            found = register_body(t1, region, later, center + shift + rng.normal(0, 2, 3))
        except NotRegistered:
            lost += 1
            continue
        spent.append(time.process_time() - before)
        wrong = np.linalg.inv(true) @ found.matrix
        apart = np.linalg.inv(t1.ijk_to_ras[:3, :3]) @ ((wrong @ [*center, 1.0])[:3] - center)
        shifts.append(np.abs(apart).max())
        angles.append(np.degrees(np.arccos(min((np.trace(wrong[:3, :3]) - 1) / 2, 1))))
    print(
        f"registration of {len(shifts) + lost} moved bodies: {lost} refused; the others at most "
        f"{max(shifts):.2f} voxel and {max(angles):.2f} degrees off, {np.mean(spent):.1f} CPU s"
    )


def main() -> None:
    """Print every figure."""
    for proportional in (False, True):
        error = MeasurementError(0.05 if proportional else 1.7, proportional, SURE, "known")
        name = "proportional" if proportional else "absolute"
        for sites in (1, 4, 40):
            flags, anyone, holm = rates(error, sites, 0.0)
            print(
                f"{name}, {sites} sites, no change: {100 * flags:.2f} % flagged, any in "
                f"{100 * anyone:.1f} %, after Holm in {100 * holm:.2f} % of people"
            )
        flags, _, _ = rates(error, 1, 1.5)
        print(f"{name}, change of 1.5 RC: {100 * flags:.1f} % flagged")
    pairs_of_few()
    slopes()
    large()
    registrations()


if __name__ == "__main__":
    main()
