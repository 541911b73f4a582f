"""The measurements as a DICOM structured report (TID 1500, PS3.16), by highdicom."""

from __future__ import annotations

from collections.abc import Sequence

from PDFFMapperLib.dicom_out.source import MAKER, Source, equipment, finish, made_of_headers
from PDFFMapperLib.install.software import VERSION
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from MarrowAssessLib.catalogue.about import RESEARCH_USE
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method
from MarrowAssessLib.catalogue.terminology import SIDES, site_and_side, tissues
from MarrowAssessLib.dicom_out.codes import (
    CAUTION,
    MEAN,
    MEDIAN,
    PERCENTILES,
    SD,
    VERDICT,
    VERDICTS,
    Z_SCORE,
    labels_of,
    of_quantity,
    of_unit,
    plain,
)
from MarrowAssessLib.findings.result import Assessment, Result
from MarrowAssessLib.study.regions import PERCENTILES as MEASURED
from MarrowAssessLib.study.regions import Region

_LONGEST_TEXT = 64  # characters of a tracking identifier


def report(assessment: Assessment, source: Source, segments: Dataset) -> Dataset:
    """A Comprehensive SR: one group for each region with its segment, others for several regions.

    Args:
        assessment: what was found.
        source: what the object belongs to.
        segments: the segmentation of the same regions, in their order.
    """
    with made_of_headers():
        made = document(
            _groups(assessment, source, segments),
            source,
            [segments, *source.headers, *source.others],
            complete=not assessment.skipped,
        )
    if made.CompletionFlag == "PARTIAL":
        made.CompletionFlagDescription = "Some quantities could not be measured."
    return made


def document(
    groups: list, source: Source, evidence: Sequence[Dataset], complete: bool, of_person: str = ""
) -> Dataset:
    """A Comprehensive SR of measurement groups (TID 1500).

    Args:
        groups: highdicom's.
        source: what the object belongs to.
        evidence: the objects that it refers to.
        complete: whether all that was to be measured was.
        of_person: the observer's name where it is a person and not this software.
    """
    import highdicom
    from highdicom import sr

    if of_person:
        context = sr.ObservationContext(
            observer_person_context=sr.ObserverContext(
                observer_type=codes.DCM.Person,
                observer_identifying_attributes=sr.PersonObserverIdentifyingAttributes(of_person),
            )
        )
    else:
        context = sr.ObservationContext(
            observer_device_context=sr.ObserverContext(
                observer_type=codes.DCM.Device,
                observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
                    uid=generate_uid(prefix=None), name=MAKER, model_name=f"{MAKER} {VERSION}"
                ),
            )
        )
    content = sr.MeasurementReport(
        observation_context=context,
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    head, tree = _without_children(content[0])
    made = highdicom.sr.ComprehensiveSR(
        evidence=evidence,
        content=head,
        is_complete=complete,
        is_final=False,
        is_verified=False,
        series_description=f"{MAKER}: measurements",
        **{
            key: value
            for key, value in equipment(2, source).items()
            if key not in ("manufacturer_model_name", "software_versions", "device_serial_number")
        },
    )
    made.ContentSequence = tree
    made.ManufacturerModelName = MAKER
    made.SoftwareVersions = VERSION
    finish(made, source)
    return made


def _without_children(root: Dataset) -> tuple[Dataset, Sequence[Dataset]]:
    """The head of a content tree, and what hangs on it.

    highdicom copies the tree and walks it three times to find that it refers to nothing but the
    evidence, a third of the time of a whole export; this one refers to the segmentation alone.
    """
    from highdicom.sr import ContentSequence

    tree = root.ContentSequence
    root.ContentSequence = ContentSequence()
    return root, tree


def _groups(assessment: Assessment, source: Source, segments: Dataset) -> list:
    """The measurement groups: of each region, then of several regions together."""
    from highdicom import sr

    number_of = {r.name: n for n, r in enumerate(assessment.study.regions, start=1)}
    region_of = {region.name: region for region in assessment.study.regions}
    own: dict[str, list[Result]] = {name: [] for name in number_of}
    together: dict[str, list[Result]] = {}
    for result in assessment.results:
        measured = result.measurement.measured
        if len(measured) == 1 and measured[0] in own:
            own[measured[0]].append(result)
        else:
            together.setdefault(result.measurement.site or "several", []).append(result)
    labels = labels_of([*own])
    made = []
    for name, results in own.items():
        if not results:
            continue
        region = region_of[name]
        group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(source.tracking_uid(name), labels[name]),
            referenced_segment=sr.ReferencedSegment(
                segments.SOPClassUID,
                segments.SOPInstanceUID,
                number_of[name],
                source_series=sr.SourceSeriesForSegmentation(source.series_uid),
            ),
            finding_type=plain(tissues()[region.role].type),
            finding_sites=_sites(region.site),
        )
        _add(group, results, region.cautions)
        made.append(group)
    for site, results in together.items():
        regions = [region_of[n] for n in results[0].measurement.measured if n in region_of]
        group = sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(
                source.tracking_uid(f"together {site}"), site[:_LONGEST_TEXT]
            ),
            finding_type=plain(tissues()[regions[0].role].type) if regions else None,
            finding_sites=_all_sites(regions),
        )
        _add(group, results)
        made.append(group)
    return made


def _sites(site: str) -> list | None:
    from highdicom import sr

    code, side = site_and_side(site)
    if code is None:
        return None
    return [sr.FindingSite(plain(code), plain(SIDES[side]) if side else None)]


def _all_sites(regions: Sequence[Region]) -> list | None:
    sites = dict.fromkeys(region.site for region in regions)
    return [found[0] for site in sites if (found := _sites(site))] or None


def _numbers(result: Result) -> list:
    """A result as measurements: the value, and of a map's median also mean, SD and percentiles."""
    from highdicom import sr

    one = result.measurement
    quantity = QUANTITIES[one.quantity]
    name, unit = of_quantity(quantity), of_unit(one.unit)
    of_map = quantity.method is Method.MAP_VALUE and one.statistics is not None
    algorithm = sr.AlgorithmIdentification(MAKER, VERSION, [quantity.meaning])
    made = [
        sr.Measurement(
            name,
            one.value,
            unit,
            derivation=MEDIAN if of_map else None,
            algorithm_id=algorithm,
            properties=_reference(result),
        )
    ]
    if of_map:
        at = one.statistics.percentiles
        shown = [(code, at[MEASURED.index(p)]) for p, code in PERCENTILES.items()]
        for derivation, value in (
            (MEAN, one.statistics.mean), (SD, one.statistics.sd), *shown
        ):  # fmt: skip
            if value == value:  # the SD of one voxel is NaN
                made.append(sr.Measurement(name, value, unit, derivation=derivation))
    return made


def _reference(result: Result) -> object | None:
    """The z-score and the expected range beside a value, with whose they are."""
    if result.expectation is None or result.z is None:
        return None
    from highdicom import sr

    chosen = result.expectation.distribution
    unit = of_unit(result.measurement.unit)
    low, high = result.expectation.expected_range
    cited = "; ".join(record.citation or record.source for record in result.expectation.records)
    whose = f"{chosen.population} ({cited})"
    one = of_unit("")
    limits = zip(
        (codes.SCT.NormalRangeLowerLimit, codes.SCT.NormalRangeUpperLimit), (low, high), strict=True
    )
    return sr.MeasurementProperties(
        measurement_statistical_properties=sr.MeasurementStatisticalProperties(
            [sr.NumContentItem(Z_SCORE, result.z, one, relationship_type="HAS PROPERTIES")],
            description=whose,
        ),
        normal_range_properties=sr.NormalRangeProperties(
            [
                sr.NumContentItem(code, limit, unit, relationship_type="HAS PROPERTIES")
                for code, limit in limits
            ],
            description=whose,
        ),
    )


def _verdicts(results: Sequence[Result]) -> list:
    """Where each value lies, as far as it has a verdict; the worst word once for the group."""
    from highdicom import sr

    found = {result.verdict for result in results} & set(VERDICTS)
    return [sr.QualitativeEvaluation(VERDICT, VERDICTS[word]) for word in sorted(found)]


def _texts(results: Sequence[Result]) -> list[str]:
    """Verdicts with their numbers, and what to read with them."""
    found = []
    for result in results:
        if result.z is not None:
            found.append(f"{result.sentence}.")
        found += result.cautions
    return list(dict.fromkeys(found))


def _add(group: object, results: Sequence[Result], cautions: Sequence[str] = ()) -> None:
    """Numbers, verdicts, and cautions and verdicts in words, research use last.

    Added to the group that is made already, as highdicom searches measurements that it is given.
    """
    from highdicom import sr

    items = group[0].ContentSequence
    for one in [*(one for result in results for one in _numbers(result)), *_verdicts(results)]:
        items.append(one[0])
    for text in dict.fromkeys([*cautions, *_texts(results), RESEARCH_USE]):
        items.append(sr.TextContentItem(CAUTION, text, relationship_type="CONTAINS"))
