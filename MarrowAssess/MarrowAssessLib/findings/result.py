"""What an assessment says: each number beside its reference, and all of them together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method, Quantity
from MarrowAssessLib.findings.signature import Signature
from MarrowAssessLib.findings.statement import (
    EXPECTED,
    FREQUENCY,
    MODELLED,
    OPEN,
    RULE,
    UNUSUAL,
    Statement,
    cited_text,
)
from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.measures.measurement import Measurement, Skipped
from MarrowAssessLib.measures.muscle import Section, muscle_sections
from MarrowAssessLib.prediction.patient_score import PatientScore
from MarrowAssessLib.references.beside import Threshold
from MarrowAssessLib.references.expected import AgeCurve, Expectation, age_curve
from MarrowAssessLib.references.findings_by_age import Frequency
from MarrowAssessLib.references.marrow_patterns import MarrowConversion, T1DiscPattern
from MarrowAssessLib.references.modelled import ModelledCurve, is_lumbar, modelled_curve
from MarrowAssessLib.references.records import Record
from MarrowAssessLib.references.repeatability import Repeatability, repeatability
from MarrowAssessLib.study.acquisition_facts import field_strength_t
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study

SAME_TEXTURE = (
    "Texture compares only with controls measured with the same voxels, gray levels and "
    "correction; whether yours were is not known here."
)


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
        statements: what else can be said: frequencies, rules, a modelled band, publications.
    """

    measurement: Measurement
    expectation: Expectation | None
    no_reference: str
    z: float | None
    percentile: float | None
    verdict: str
    cutoffs: list[Threshold]
    doubtful: tuple[str, ...] = ()
    statements: list[Statement] = field(default_factory=list)

    @property
    def is_texture(self) -> bool:
        """Whether it is a texture feature; those are counted and shown apart."""
        return QUANTITIES[self.measurement.quantity].method is Method.TEXTURE

    @property
    def drawn_by(self) -> tuple[str, ...]:
        """What is drawn over age for it; results of one quantity with the same share a picture.

        Where its reference was measured, else the records of counted findings and MODELLED where
        the model speaks; () where there is nothing.
        """
        if self.expectation:
            return (self.expectation.distribution.site,)
        counted = [one for one in self.statements if one.kind == FREQUENCY]
        modelled = {MODELLED for one in self.statements if one.kind == MODELLED}
        return (*sorted({r.id for one in counted for r in one.records}), *modelled)

    @property
    def tone(self) -> str:
        """EXPECTED or UNUSUAL by its verdict, else by its statements; OPEN where none says."""
        if self.z is not None:
            return EXPECTED if self.verdict == "within" else UNUSUAL
        tones = [one.tone for one in self.statements]
        return UNUSUAL if UNUSUAL in tones else EXPECTED if EXPECTED in tones else OPEN

    @property
    def records(self) -> list[Record]:
        """Every record behind what is said of the number, once, what scores it first."""
        known = self.repeatability
        groups = [
            self.expectation.records if self.expectation else (),
            *(d.records for d in (self.expectation.others if self.expectation else ())),
            *(one.records for one in self.statements),
            *(cutoff.records for cutoff in self.cutoffs),
            known.records if known else (),
        ]
        return list({record.id: record for group in groups for record in group}.values())

    @property
    def repeatability(self) -> Repeatability | None:
        """How far the quantity differs between two examinations, where it is published."""
        return repeatability(self.measurement.quantity)

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
    def sentence(self) -> str:
        """What was found, and on which side of what is expected, without a full stop."""
        measurement = self.measurement
        name = QUANTITIES[measurement.quantity].name
        found = f"{measurement.site or measurement.measured[0]} {name} {self.text}"
        return f"{found}: {self.verdict} the expected {self.expected_text}"

    @property
    def cautions(self) -> list[str]:
        """Sentences to read with the value: of its regions, its reference and its cut-offs."""
        from_reference = self.expectation.cautions if self.expectation else ()
        from_cutoffs = [one.caution for one in self.cutoffs if one.caution]
        of_texture = [SAME_TEXTURE] if self.is_texture and self.expectation else []
        return list(
            dict.fromkeys([*self.measurement.cautions, *from_reference, *from_cutoffs, *of_texture])
        )


@dataclass(frozen=True)
class Headline:
    """One line of the summary.

    Attributes:
        what: what it is about, such as "L1-L4 T1 marrow/disc 1.21-1.35".
        says: the rest of the sentence.
        tone: "unusual", "expected" or "" (open).
        kind: "verdict", "signature", "doubtful", "caution", "nothing" or a statement's kind.
        result: the one that a verdict is about.
        records: ids of the records that it comes from.
        source: what it rests on where that is no record.
    """

    what: str
    says: str
    tone: str
    kind: str
    result: Result | None = None
    records: tuple[str, ...] = ()
    source: str = ""

    @property
    def text(self) -> str:
        """The line as plain text, with what it rests on."""
        cited = "; ".join(filter(None, (cited_text(self.records), self.source)))
        text = f"{self.what}: {self.says}" if self.what else self.says
        return f"{text.rstrip('.')} [{cited}]" if cited else text


@dataclass(frozen=True)
class SharedReference:
    """Results that share one reference curve, how often a finding is seen, or a modelled band.

    Attributes:
        results: at least one, in their order; all are `drawn_by` the same.
        sex: of the patient.
        field_strength_t: of the images; None where it is not known.
    """

    results: list[Result]
    sex: str | None
    field_strength_t: float | None = None

    @property
    def quantity(self) -> Quantity:
        """What all of them measure."""
        return QUANTITIES[self.results[0].measurement.quantity]

    @property
    def site(self) -> str:
        """Where the reference was measured; of findings where the patient was, if not lumbar."""
        if expectation := self.results[0].expectation:
            return expectation.distribution.site
        sites = dict.fromkeys(one.measurement.site for one in self.results)
        return "" if all(map(is_lumbar, sites)) else ", ".join(sites)

    @property
    def key(self) -> str:
        """Which curve it is, for software."""
        field = f"{self.field_strength_t:g}" if self.field_strength_t else ""
        drawn_by = self.results[0].drawn_by
        return "|".join((self.quantity.key, self.site, self.sex or "", field, *drawn_by))

    @property
    def title(self) -> str:
        """Such as "Muscle PDFF by age, psoas, women"."""
        sex = {"F": "women", "M": "men"}.get(self.sex)
        expectation = self.results[0].expectation
        tesla = expectation.distribution.field_strength_t if expectation else None
        parts = [f"{self.quantity.name} by age", self.site, sex, f"{tesla:g} T" if tesla else ""]
        return ", ".join(filter(None, parts))

    def curve(self) -> AgeCurve | None:
        """The reference over age; None where there is no curve."""
        if self.results[0].expectation is None:
            return None
        site = self.results[0].measurement.site
        return age_curve(self.quantity.key, site, self.sex, self.field_strength_t)

    def model(self) -> ModelledCurve | None:
        """The modelled band over age; None where the model says nothing of these results."""
        if MODELLED not in self.results[0].drawn_by:
            return None
        return modelled_curve(self.quantity.key, self.sex)


@dataclass
class Assessment:
    """Everything a report says.

    Attributes:
        results: sorted by quantity, then down the spine.
        signatures: of each marrow region that has a finding.
        skipped: what could not be measured, and why.
        t1_pattern: how vertebrae look beside discs on T1 at this age; None without age.
        conversions: marrow expected at each site, where known.
        by_eye: what normal people of this age show at these sites that no number tells.
        scores: of one's own training, for this patient.
        contradicted: by image, why it is not what it was given as, by its own signals.
        methods: sentences on how the numbers were made.
        notes: sentences for the reader, such as why a picture is missing.
        parameter_maps: provenance of maps that were computed on the way, by name.
        true_value: for the digital phantom, the truth behind a measurement.
    """

    study: Study
    settings: Settings
    results: list[Result]
    signatures: list[Signature]
    skipped: list[Skipped]
    t1_pattern: T1DiscPattern | None
    conversions: list[MarrowConversion] = field(default_factory=list)
    by_eye: list[Frequency] = field(default_factory=list)
    scores: list[PatientScore] = field(default_factory=list)
    contradicted: dict[str, str] = field(default_factory=dict)
    methods: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    parameter_maps: dict[str, dict] = field(default_factory=dict)
    true_value: Callable[[Measurement], float | None] | None = None

    @property
    def scored(self) -> list[Result]:
        """The results that a reference scores."""
        return [result for result in self.results if result.z is not None]

    @property
    def outside(self) -> list[Result]:
        """The results outside the expected 95 % range, the furthest first."""
        found = (result for result in self.scored if result.verdict != "within")
        return sorted(found, key=lambda result: -abs(result.z))

    @property
    def counts_text(self) -> str:
        """How much was compared, and with what."""
        results = [r for r in self.results if not r.is_texture]
        stated = [r for r in results if r.z is None and r.statements]
        by_kind = [
            f"{sum(any(s.kind == kind for s in r.statements) for r in stated)} by a {word}"
            for kind, word in ((FREQUENCY, "frequency in normal people"), (RULE, "published rule"))
            if any(s.kind == kind for r in stated for s in r.statements)
        ]
        also = f"; {len(stated)} others have a statement" if stated else ""
        also += f" ({', '.join(by_kind)})" if by_kind else ""
        doubted = sum(bool(one.doubtful) for one in results)
        also += f"; {doubted} without a verdict, being of doubtful regions" if doubted else ""
        texture = len(self.results) - len(results)
        also += f"; {texture} texture features" if texture else ""
        of = " and sex" if self.study.sex else ""
        return (
            f"{len(results)} measurements, {len(self.scored)} with a reference for this "
            f"age{of}, {len(self.outside)} outside the expected 95 % range (1 in 20 is by "
            f"chance){also}."
        )

    @property
    def shared_references(self) -> list[SharedReference]:
        """The results with a reference, a frequency or a model, in groups that share it."""
        groups: dict[tuple[str, ...], list[Result]] = {}
        for result in self.results:
            if result.drawn_by:
                key = (result.measurement.quantity, *result.drawn_by)
                groups.setdefault(key, []).append(result)
        field_t = field_strength_t(self.study)
        return [SharedReference(group, self.study.sex, field_t) for group in groups.values()]

    @property
    def records(self) -> list[Record]:
        """Every reference record that is cited, once."""
        found: dict[str, Record] = {}
        groups = [
            *(result.records for result in self.results),
            *(conversion.records for conversion in self.conversions),
            *(one.records for one in self.by_eye),
            self.t1_pattern.records if self.t1_pattern else (),
        ]
        for group in groups:
            found.update({record.id: record for record in group})
        return sorted(found.values(), key=lambda record: record.id)

    @property
    def inputs_text(self) -> str:
        """What was read, in one line."""
        return "; ".join(f"{role}: {name}" for role, name in self.study.inputs.items())

    @property
    def map_methods(self) -> list[str]:
        """How each map was computed, one sentence each."""
        found = []
        for name, facts in self.parameter_maps.items():
            told = [f"{key.replace('_', ' ')} {value}" for key, value in facts.items()]
            found.append(f"{name}: {', '.join(told)}.")
        return found

    @cached_property
    def muscle_sections(self) -> list[Section]:
        """Area and fat of every muscle slice by slice."""
        return muscle_sections(self.study)

    @property
    def unmeasured(self) -> list[Region]:
        """Marrow of which its texture at most was measured."""
        measured = {
            name for one in self.results if not one.is_texture for name in one.measurement.measured
        }
        marrow = self.study.with_role(Role.MARROW)
        return [region for region in marrow if region.name not in measured]

    @property
    def doubtful(self) -> list[Region]:
        """The regions that may be other structures; their numbers get no verdict."""
        return [region for region in self.study.regions if region.doubtful]

    def color_of(self, name: str) -> Result | None:
        """The result that colors a region: unusual, scored, with a tone, by the quantities' rank.

        Only of that region itself: what is measured of several levels is nobody's own. A shape as
        expected says nothing of marrow whose signal is at a limit, so it comes last.
        """
        able = [
            (r.tone != UNUSUAL, r.z is None, known.method is Method.BODY_SHAPE, r.tone == OPEN,
             known.color_rank, n)
            for n, r in enumerate(self.results)
            if r.measurement.measured == (name,)
            and (known := QUANTITIES[r.measurement.quantity]).color_rank is not None
        ]  # fmt: skip
        return self.results[min(able)[-1]] if able else None
