"""The DICOM images that new objects belong to: study, patient and place are taken from them."""

from __future__ import annotations

import argparse
import copy
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import dcmread
from pydicom.uid import generate_uid

from PDFFMapperLib.dicom.segmentation import OUR_MODEL
from PDFFMapperLib.images.json_file import write_json
from PDFFMapperLib.images.outputs import output_set
from PDFFMapperLib.images.volume import LPS_TO_RAS, SourceSlices, Volume
from PDFFMapperLib.install.software import VERSION

SCHEME = "99MARROW"  # of concepts that have no public code
MAKER = OUR_MODEL
RECORD = "dicom.json"
_REQUIRED_EMPTY = (  # type 2: they must be there, and may be empty
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_NAMED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_IDENTITY = (
    "PatientID", "PatientName", "PatientBirthDate", "AccessionNumber", "StudyID",
    "ReferringPhysicianName", "StudyDate", "StudyTime",
)  # fmt: skip
_KEPT_OF_PATIENT = ("PatientSex", "PatientAge", "PatientSize", "PatientWeight")
_PATIENT = 0x0010  # group of the patient's elements
_PLACES = (
    "Institution", "Station", "StudyDescription", "Referring", "Admi", "ContributingEquipment",
    "Requested", "Request", "Device", "Performed",
)  # fmt: skip
_OF_FRAME = ("PlaneOrientationSequence", "PixelMeasuresSequence")


@dataclass
class Source:
    """What an object is made from.

    Attributes:
        slices: of the image that the object shares its grid with; None where it has no grid.
        headers: of the files of these slices, without voxels; of one series.
        others: of further images that the object was computed from.
    """

    slices: SourceSlices | None
    headers: list[Dataset]
    others: list[Dataset]

    @property
    def first(self) -> Dataset:
        """The header that stands for the study."""
        return self.headers[0]

    @property
    def series_uid(self) -> str:
        """Of the series that the object shares its grid with."""
        return str(self.first.SeriesInstanceUID)

    def series_number(self, n: int) -> int:
        """The number of the n-th object beside the source: 705 for the fifth beside series 7."""
        return 100 * int(self.first.get("SeriesNumber") or 0) + n

    def tracking_uid(self, name: str) -> str:
        """The same for the same name on the same series, at each export."""
        return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{self.series_uid}/{name}').int}"


def refuse_without_highdicom() -> None:
    """Nothing where highdicom is there.

    Raises:
        ValueError: it is not; says how to install it.
    """
    try:
        import highdicom  # noqa: F401
    except ModuleNotFoundError:
        raise ValueError(
            "DICOM objects are written by highdicom; install it with: "
            "pip install 'marrowassess[dicom]', in Slicer with "
            "slicer.util.pip_install('highdicom')."
        ) from None


def refuse_no_source(volume: Volume, what: str) -> SourceSlices:
    """The DICOM slices of an image.

    Raises:
        ValueError: it was not read from DICOM, or slices share a frame.
    """
    slices = volume.slices
    if slices is None:
        raise ValueError(
            f"{what} was not read from DICOM files, so there is no study that DICOM objects could "
            "belong to; give the DICOM folder, or leave --dicom-out out."
        )
    if slices.tiled:
        raise ValueError(
            f"{what} was read from a mosaic, whose slices have no place of their own in DICOM; "
            "export it from the scanner as enhanced or single images."
        )
    return slices


def source_of(volumes: Sequence[Volume], what: str, anonymous: bool = False) -> Source:
    """What an object that is made from these images belongs to; the first one gives the grid.

    Args:
        volumes: read from DICOM, possibly with voxels that were changed since.
        what: the images are called in sentences.
        anonymous: leave out who the patient is.

    Raises:
        ValueError: an image is not from DICOM, or has no frame of reference; the files were
            removed or are of different studies.
    """
    read: dict[Path, Dataset] = {}
    per_volume = []
    for volume in volumes:
        slices = refuse_no_source(volume, what)
        files = list(dict.fromkeys(path for path, _ in slices.frames))
        per_volume.append(
            [read.setdefault(p, _header(p, anonymous)) for p in files if p not in read]
        )
    slices = volumes[0].slices
    own, further = list(per_volume[0]), [h for headers in per_volume[1:] for h in headers]
    if "FrameOfReferenceUID" not in own[0]:
        raise ValueError(
            f"{what} has no frame of reference in its DICOM header, so nothing can be laid over "
            "it; export it again from the scanner or archive."
        )
    if len({str(header.get("StudyInstanceUID", "")) for header in [*own, *further]}) > 1:
        raise ValueError(f"{what} comes from different DICOM studies; give images of one study.")
    if _has_frames(own[0]):
        own, further = own[:1], own[1:] + further
        _share_plane(own[0], slices)
    same = [h for h in further if str(h.SeriesInstanceUID) == str(own[0].SeriesInstanceUID)]
    if not _has_frames(own[0]):
        own += same
        for header in own[1:]:  # the same to rounding, as slices of one volume; highdicom compares
            header.ImageOrientationPatient = own[0].ImageOrientationPatient
        further = [h for h in further if h not in same]
    return Source(slices, own, further)


def source_of_file(path: Path, anonymous: bool = False) -> Source:
    """What an object that is made from one image without slices, as a radiograph, belongs to.

    Raises:
        ValueError: it is no DICOM image, or has no study.
    """
    try:
        header = _header(path, anonymous)
    except InvalidDicomError:
        raise ValueError(f"{path.name}: this is no DICOM file.") from None
    if not all(header.get(key) for key in _NAMED):
        raise ValueError(
            f"{path.name}: this DICOM file does not say which study and image it is; export it "
            "again."
        )
    return Source(None, [header], [])


def _header(path: Path, anonymous: bool) -> Dataset:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = dcmread(path, stop_before_pixels=True)
    except OSError as error:
        raise ValueError(f"{path.name}: this DICOM file was removed since it was read.") from error
    for keyword in _REQUIRED_EMPTY:
        if keyword not in header:
            setattr(header, keyword, None)
    if anonymous:
        for element in [one for one in header if _tells_who(one)]:
            del header[element.tag]
        for keyword in _IDENTITY:
            setattr(header, keyword, None)
    return header


def _tells_who(element: DataElement) -> bool:
    """Whether an element may tell who the patient is, or where."""
    if element.tag.group == _PATIENT:
        return element.keyword not in _KEPT_OF_PATIENT
    return element.VR == "PN" or element.keyword.startswith(_PLACES)


def _has_frames(header: Dataset) -> bool:
    """Whether one file holds many slices; some archives write NumberOfFrames 1 to single ones."""
    return "PerFrameFunctionalGroupsSequence" in header


def _share_plane(header: Dataset, slices: SourceSlices) -> None:
    """Put orientation and voxel size that all slices have in common where highdicom looks."""
    shared = header.SharedFunctionalGroupsSequence[0]
    frame = header.PerFrameFunctionalGroupsSequence[slices.frames[0][1]]
    for keyword in _OF_FRAME:
        if keyword not in shared and keyword in frame:
            setattr(shared, keyword, copy.deepcopy(frame[keyword].value))


def planes(source: Source) -> dict[str, object]:
    """Where the slices lie, as highdicom takes it."""
    import highdicom

    lps = LPS_TO_RAS @ source.slices.ijk_to_ras
    across, down, through = np.linalg.norm(lps[:3, :3], axis=0)
    thickness = source.first.get("SliceThickness") or through
    orientation = [*(lps[:3, 0] / across), *(lps[:3, 1] / down)]
    return {
        "pixel_measures": highdicom.PixelMeasuresSequence(
            [down, across], float(thickness), float(through)
        ),
        "plane_orientation": highdicom.PlaneOrientationSequence("PATIENT", orientation),
        "plane_positions": [
            highdicom.PlanePositionSequence("PATIENT", lps[:3, 3] + k * lps[:3, 2])
            for k in range(source.slices.shape[0])
        ],
    }


def equipment(number: int, source: Source) -> dict[str, object]:
    """What names a new object and its maker."""
    return {
        "series_instance_uid": generate_uid(prefix=None),
        "series_number": source.series_number(number),
        "sop_instance_uid": generate_uid(prefix=None),
        "instance_number": 1,
        "manufacturer": MAKER,
        "manufacturer_model_name": MAKER,
        "software_versions": VERSION,
        "device_serial_number": "software",
        "specific_character_set": "ISO_IR 192",  # UTF-8: citations and names of all languages
    }


def finish(data: Dataset, source: Source) -> None:
    """Say in an object which body part it shows, and what the private scheme of its codes is."""
    if part := str(source.first.get("BodyPartExamined") or ""):
        data.BodyPartExamined = part
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = "MarrowAssess: quantities, maps and words without a public code"
    item.CodingSchemeResponsibleOrganization = MAKER
    item.CodingSchemeVersion = VERSION
    present = data.get("CodingSchemeIdentificationSequence") or []
    data.CodingSchemeIdentificationSequence = [*present, item]


def save(data: Dataset, path: Path) -> None:
    """Write an object; warnings are about values that scanners wrote."""
    with quiet():
        data.save_as(path, enforce_file_format=True)


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings about what vendors wrote to their headers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def made_of_headers() -> Iterator[None]:
    """Make an object of the source's headers, and say so where they do not allow it.

    Raises:
        ValueError: a value that the object takes over is damaged or missing.
    """
    try:
        with quiet():
            yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).strip("'\"")[:160]
        raise ValueError(
            "No DICOM object can be made that belongs to these images: their headers are damaged "
            f"or lack something ({reason}); export them again, or leave --dicom-out out."
        ) from error


def add_options(parser: argparse.ArgumentParser, what: str) -> None:
    """`--dicom-out` and `--anonymous`."""
    parser.add_argument(
        "--dicom-out", type=Path, metavar="FOLDER",
        help=f"write {what} as DICOM objects as well, where the images are DICOM",
    )  # fmt: skip
    parser.add_argument(
        "--anonymous", action="store_true", help="DICOM objects without who the patient is"
    )


@contextmanager
def dicom_set(folder: Path) -> Iterator[Path]:
    """Yield an empty folder for objects; all of them take their place in `folder`, or none."""
    with output_set(folder, RECORD) as made:
        yield made
        names = sorted(file.name for file in made.iterdir())
        write_json(made / RECORD, {"software": f"{MAKER} {VERSION}", "objects": names})
