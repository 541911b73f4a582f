"""The report in words as a PDF inside DICOM (PS3.3, A.45.1), for archives that show no others."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from PDFFMapperLib.dicom_out.source import MAKER, Source, finish
from PDFFMapperLib.install.software import VERSION
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, generate_uid

from MarrowAssessLib.catalogue.about import RESEARCH_USE
from MarrowAssessLib.catalogue.patient import age_text
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.findings.result import Assessment

_NUMBER = 3  # of the series beside the source
_WIDTH, _HEIGHT, _MARGIN = 595, 842, 50  # A4, points
_SIZE, _LEADING, _LETTERS = 9, 12, 92  # of Courier, whose letters are all 0.6 of their size wide
_LINES = (_HEIGHT - 2 * _MARGIN) // _LEADING
_COPIED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyInstanceUID",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
    "StudyDescription",
)  # fmt: skip


def encapsulated_report(assessment: Assessment, source: Source, glance: Sequence[str]) -> Dataset:
    """The report of an assessment as an Encapsulated PDF object of the source's study.

    `glance` says what matters most, in sentences.
    """
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _COPIED:
        if keyword in source.first:
            setattr(made, keyword, source.first.get(keyword))
    made.SOPClassUID, made.SOPInstanceUID = EncapsulatedPDFStorage, generate_uid(prefix=None)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.Modality, made.ConversionType = "DOC", "WSD"
    made.SeriesInstanceUID, made.SeriesNumber = (
        generate_uid(prefix=None),
        source.series_number(_NUMBER),
    )
    made.SeriesDescription, made.InstanceNumber = f"{MAKER}: report", 1
    made.Manufacturer = made.ManufacturerModelName = MAKER
    made.SoftwareVersions = VERSION
    made.ContentDate = made.ContentTime = made.AcquisitionDateTime = None
    made.BurnedInAnnotation = "NO"  # the pages name nobody
    made.DocumentTitle = f"{MAKER}: report"
    made.ConceptNameCodeSequence = [_title()]
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    pdf = pdf_of_lines(report_lines(assessment, glance))
    made.EncapsulatedDocumentLength = len(pdf)
    made.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    finish(made, source)
    if "BodyPartExamined" in made:  # no such element in a document's series
        del made.BodyPartExamined
    return made


def _title() -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = "126000", "DCM"
    item.CodeMeaning = "Imaging Measurement Report"
    return item


def report_lines(assessment: Assessment, glance: Sequence[str]) -> list[str]:
    """The report as lines of at most 92 letters; it names nobody."""
    study = assessment.study
    age = age_text(study.age_years) or "age unknown"
    sex = {"F": "woman", "M": "man"}.get(study.sex or "", "sex unknown")
    lines = [f"{MAKER} {VERSION}: report", f"{age}, {sex}", *_wrapped(RESEARCH_USE), ""]
    lines += ["AT A GLANCE"]
    lines += [part for text in glance for part in _wrapped(text, "- ")]
    lines += ["", "MEASUREMENTS", f"{'Quantity':32}{'Site':12}{'Value':>14}  Expected, verdict"]
    for result in assessment.results:
        one = result.measurement
        expected = f"{result.expected_text}, {result.verdict}" if result.expectation else ""
        name = QUANTITIES[one.quantity].name
        lines += _wrapped(f"{name[:31]:32}{one.site[:11]:12}{result.text:>14}  {expected}")
    cautions = dict.fromkeys(text for result in assessment.results for text in result.cautions)
    for heading, texts in (
        ("CAUTIONS", list(cautions)),
        ("NOTES", assessment.notes),
        ("REFERENCES", [f"{r.id}: {r.citation or r.source}" for r in assessment.records]),
    ):
        if texts:
            lines += ["", heading, *(part for text in texts for part in _wrapped(text, "- "))]
    return lines


def _wrapped(text: str, start: str = "") -> list[str]:
    return textwrap.wrap(
        start + text, _LETTERS, subsequent_indent="  ", drop_whitespace=True,
        replace_whitespace=True, expand_tabs=False,
    ) if len(start + text) > _LETTERS else [start + text]  # fmt: skip


def pdf_of_lines(lines: Sequence[str]) -> bytes:
    """A PDF of A4 pages (ISO 32000-1) in Courier; letters that it lacks become "?"."""
    pages = [lines[n : n + _LINES] for n in range(0, len(lines), _LINES)] or [[]]
    first = 4  # objects 1 to 3 are catalog, page tree and font
    kids = " ".join(f"{first + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>",
    ]
    for n, page in enumerate(pages):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {_WIDTH} {_HEIGHT}] /Contents "
            f"{first + 2 * n + 1} 0 R /Resources << /Font << /F 3 0 R >> >> >>".encode()
        )
        start = f"BT /F {_SIZE} Tf {_LEADING} TL {_MARGIN} {_HEIGHT - _MARGIN} Td"
        body = b"\n".join([start.encode(), *(b"(" + _escaped(one) + b") Tj T*" for one in page),
                           b"ET"])  # fmt: skip
        objects.append(f"<< /Length {len(body)} >>\nstream\n".encode() + body + b"\nendstream")
    made, places = bytearray(b"%PDF-1.4\n"), []
    for n, one in enumerate(objects, start=1):
        places.append(len(made))
        made += f"{n} 0 obj\n".encode() + one + b"\nendobj\n"
    table = len(made)
    made += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    made += b"".join(f"{place:010d} 00000 n \n".encode() for place in places)
    made += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\n".encode()
    return bytes(made + f"startxref\n{table}\n%%EOF\n".encode())


def _escaped(text: str) -> bytes:
    r"""A line as a PDF string: \, ( and ) are marked."""
    for sign in "\\()":
        text = text.replace(sign, f"\\{sign}")
    return text.encode("cp1252", "replace")
