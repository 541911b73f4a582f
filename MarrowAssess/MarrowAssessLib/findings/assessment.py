"""Measurements beside what is expected at the patient's age: z-score, percentile, verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.findings.signature import Signature, signatures
from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.measures.measure import OUTLIERS, measure
from MarrowAssessLib.measures.measurement import Measured, Measurement, Skipped, order
from MarrowAssessLib.references.expected import (
    Expectation,
    Threshold,
    expected,
    no_reference_reason,
)
from MarrowAssessLib.references.expected import thresholds as published_cutoffs
from MarrowAssessLib.references.marrow_patterns import (
    MarrowConversion,
    T1DiscPattern,
    marrow_conversion,
    t1_disc_pattern,
)
from MarrowAssessLib.study.bias_field import N4_METHOD
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study

DOUBTFUL = "doubtful"  # the verdict on a number of a region that may be another structure


@dataclass
class Result:
    """One measurement beside its reference.

    Attributes:
        measurement: the number.
        expectation: what is expected; None where no reference applies.
        no_reference: why none applies, "" otherwise.
        z, percentile: of the value in the scoring distribution; None without one.
        verdict: "below", "within" or "above" the expected 95 % range, "doubtful" where a region
            may be another structure, or "no reference".
        cutoffs: published cut-offs, shown beside the value.
        doubtful: names of the regions that may be other structures; then nothing is scored.
    """

    measurement: Measurement
    expectation: Expectation | None
    no_reference: str
    z: float | None
    percentile: float | None
    verdict: str
    cutoffs: list[Threshold]
    doubtful: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The value with its unit, as "34.1 %"."""
        return QUANTITIES[self.measurement.quantity].format(self.measurement.value)

    @property
    def expected_text(self) -> str:
        """The expected 95 % range with its unit, "" without reference."""
        if self.expectation is None:
            return ""
        quantity = QUANTITIES[self.measurement.quantity]
        low, high = self.expectation.expected_range
        return f"{low:.{quantity.digits}f}-{quantity.format(high)}"

    @property
    def cautions(self) -> list[str]:
        """Sentences to read with the value: of its regions, its reference and its cut-offs."""
        from_reference = self.expectation.cautions if self.expectation else ()
        from_cutoffs = [one.caution for one in self.cutoffs if one.caution]
        return list(dict.fromkeys([*self.measurement.cautions, *from_reference, *from_cutoffs]))


@dataclass
class Assessment:
    """Everything a report says.

    Attributes:
        results: sorted by quantity, then down the spine.
        signatures: of each marrow region that has a finding.
        skipped: what could not be measured, and why.
        t1_pattern: how vertebrae look beside discs on T1 at this age; None without age.
        conversions: marrow expected at each site, where known.
        methods: sentences on how the numbers were made.
    """

    study: Study
    settings: Settings
    results: list[Result]
    signatures: list[Signature]
    skipped: list[Skipped]
    t1_pattern: T1DiscPattern | None
    conversions: list[MarrowConversion] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)

    @property
    def doubtful(self) -> list[Region]:
        """The regions that may be other structures; their numbers get no verdict."""
        return [region for region in self.study.regions if region.doubtful]

    def color_of(self, name: str) -> Result | None:
        """The result that colors a region: a scored one first, then by the quantities' rank.

        Only of that region itself: what is measured of several levels is nobody's own.
        """
        able = [
            (r.z is None, rank, n)
            for n, r in enumerate(self.results)
            if r.measurement.measured == (name,)
            and (rank := QUANTITIES[r.measurement.quantity].color_rank) is not None
        ]
        return self.results[min(able)[-1]] if able else None


def assess(
    study: Study,
    settings: Settings | None = None,
    progress: Callable[[float], bool] | None = None,
) -> Assessment:
    """Measure a study and set each value beside its age and sex reference.

    Raises:
        ValueError, InterruptedError: see measure.measure.
    """
    settings = settings or Settings()
    measured = measure(study, settings, progress)
    age = study.age_years
    sites = sorted({region.site for region in study.with_role(Role.MARROW) if region.site})
    found = [marrow_conversion(site, age) for site in sites] if age is not None else []
    return Assessment(
        study=study,
        settings=settings,
        results=[_result(m, study) for m in sorted(measured.measurements, key=order)],
        signatures=signatures(*_without_doubtful(study, measured)),
        skipped=measured.skipped,
        t1_pattern=t1_disc_pattern(age) if age is not None else None,
        conversions=[conversion for conversion in found if conversion],
        methods=_methods(settings),
    )


def _without_doubtful(study: Study, measured: Measured) -> tuple[Study, Measured]:
    """What may enter a signature."""
    right = [region for region in study.regions if not region.doubtful]
    names = {region.name for region in right}
    numbers = [m for m in measured.measurements if names.issuperset(m.regions)]
    return replace(study, regions=right), replace(measured, measurements=numbers)


def _result(measurement: Measurement, study: Study) -> Result:
    quantity, site = measurement.quantity, measurement.site
    expectation = (
        expected(quantity, site, study.age_years, study.sex)
        if study.age_years is not None
        else None
    )
    cutoffs = published_cutoffs(quantity, site, study.age_years, study.sex)
    doubtful = tuple(
        region.name
        for region in study.regions
        if region.doubtful and region.name in measurement.regions
    )
    reason = ""
    if expectation is None:
        reason = (
            "the patient's age is not known"
            if study.age_years is None
            else no_reference_reason(quantity, site, study.age_years, study.sex)
        )
    if doubtful or expectation is None:
        verdict = DOUBTFUL if doubtful else "no reference"
        return Result(measurement, expectation, reason, None, None, verdict, cutoffs, doubtful)
    return Result(
        measurement,
        expectation,
        "",
        expectation.z_score(measurement.value),
        expectation.percentile(measurement.value),
        expectation.verdict(measurement.value),
        cutoffs,
    )


def _methods(settings: Settings) -> list[str]:
    erosion = (
        f"Regions were eroded by {settings.erosion_mm:g} mm (noise was not)."
        if settings.erosion_mm
        else "Regions were used as drawn, without erosion."
    )
    n4 = (
        f"T1, T2 and fat-suppressed T2 were corrected: {N4_METHOD}."
        if settings.n4
        else "No bias-field correction was applied."
    )
    interval = (
        "95 % intervals come from the spread and correlation of the voxels inside the regions; "
        "they do not include drawing the regions anew or scanning again."
    )
    return [OUTLIERS, erosion, n4, interval]
