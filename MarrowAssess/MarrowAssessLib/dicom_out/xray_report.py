"""A reader's form of a radiograph as a DICOM structured report (TID 1500, PS3.16)."""

from __future__ import annotations

from PDFFMapperLib.dicom_out.source import SCHEME, Source, made_of_headers
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from MarrowAssessLib.catalogue.about import RESEARCH_USE
from MarrowAssessLib.dicom_out.codes import CAUTION, of_unit
from MarrowAssessLib.dicom_out.report import document
from MarrowAssessLib.findings.xray import HOW_OFTEN, Sign, XrayForm

_BAND = "band"  # of a band the width is measured, of others the diameter
CERTAINTY = Code("xray-certainty", SCHEME, "Certainty of the sign")
COURSE = Code("xray-course", SCHEME, "Beside the earlier form")
FORM = Code("xray-form", SCHEME, "Form of the periosteal reaction")
_LONGEST = 64  # characters of a tracking identifier


def xray_report(form: XrayForm, source: Source) -> Dataset:
    """A Comprehensive SR with one group for each line of the form; its observer is the reader.

    Args:
        form: as read, compared or not.
        source: the radiograph that the object belongs to.

    Raises:
        ValueError: the form has no line, or the radiograph's header is damaged.
    """
    if not form.findings:
        raise ValueError(
            "The X-ray form has no line, so there is nothing to write as DICOM; write what was "
            "looked for as absent."
        )
    with made_of_headers():
        return document(
            [_group(one, form, source) for one in form.findings],
            source,
            source.headers,
            complete=all(one.certainty != "not assessable" for one in form.findings),
            of_person=form.reader,
        )


def _group(one: Sign, form: XrayForm, source: Source) -> object:
    from highdicom import sr

    name = " ".join(one.place)
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(source.tracking_uid(name), name[:_LONGEST]),
        finding_type=_word("xray", one.sign),
        source_images=[
            sr.SourceImageForMeasurementGroup(source.first.SOPClassUID, source.first.SOPInstanceUID)
        ],
    )
    items = group[0].ContentSequence
    if one.size_mm is not None:
        measured = codes.SCT.Width if _BAND in one.sign else codes.SCT.Diameter
        items.append(sr.Measurement(measured, one.size_mm, of_unit("mm"))[0])
    for concept, word in ((CERTAINTY, one.certainty), (FORM, one.form), (COURSE, one.course)):
        if word:
            items.append(sr.QualitativeEvaluation(concept, _word("xray", word))[0])
    scale = "" if one.size_mm is None else f" {form.scale[0].upper()}{form.scale[1:]}."
    for text in (
        f"{form.view}, quality {form.quality}: {one.text}.{scale}", HOW_OFTEN, RESEARCH_USE
    ):  # fmt: skip
        items.append(sr.TextContentItem(CAUTION, text, relationship_type="CONTAINS"))
    return group


def _word(kind: str, text: str) -> Code:
    """A word of the form in the project's scheme, of which a code value has 16 letters."""
    short = "".join(part[:4] for part in text.split())[: 15 - len(kind)]
    return Code(f"{kind}-{short}", SCHEME, text)
