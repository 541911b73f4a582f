"""Image files in and out: NIfTI by this library, the rest through SimpleITK; files appear whole."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from PDFFMapperLib.dicom.preamble import is_dicom
from PDFFMapperLib.images.foreign import what_it_is
from PDFFMapperLib.images.nifti import NotNifti, read_nifti, squared
from PDFFMapperLib.images.nrrd import check_metaimage, check_nrrd, facts_of_frames
from PDFFMapperLib.images.volume import LPS_TO_RAS, Volume

COMPLEX = (("real", np.real), ("imaginary", np.imag))


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` on success, else remove it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(path.suffixes[-2:])
    handle, name = tempfile.mkstemp(prefix=".writing-", suffix=suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_volume(path: str | Path) -> Volume:
    """Read a 3D NIfTI, NRRD or MetaImage file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read as a 3D scalar image.
    """
    content = _read_file(Path(path))
    if content.frames[0].dtype.kind == "c":
        raise ValueError(f"{path}: a magnitude image or a map is expected, this one is complex.")
    if len(content.frames) > 1 or content.dimensions != 3:
        raise ValueError(
            f"{path}: a 3D volume is expected, this one is {content.dimensions}D with "
            f"{len(content.frames)} images; choose one 3D frame of it."
        )
    return _volumes(content, Path(path).name)[0]


def read_series(path: str | Path) -> list[Volume]:
    """Read a 4D (or vector) NIfTI, NRRD or MetaImage file as a list of 3D volumes.

    Complex images become real and imaginary ones ("ImageComponent"), frame by frame; b-values and
    echo times that Slicer wrote to a NRRD become attributes.
    """
    content = _read_file(Path(path))
    name = Path(path).name
    volumes = _volumes(content, name)
    if content.frames[0].dtype.kind != "c":
        return volumes
    parts = []
    for volume in volumes:
        for component, part in COMPLEX:
            one = volume.with_array(part(volume.array).astype(np.float32), volume.name)
            one.attributes |= {"ImageComponent": component, "ComplexFile": True}
            parts.append(one)
    return parts


def write_volume(volume: Volume, path: str | Path) -> None:
    """Write a volume as NIfTI, NRRD or MetaImage, by the file name's ending.

    Raises:
        OSError: what was written cannot be read back, as on a full disk; nothing is left.
    """
    _write_image(image_from_volume(volume), path)


def write_series(volumes: Sequence[Volume], path: str | Path) -> None:
    """Write 3D volumes on one grid as one 4D file, by the file name's ending.

    Raises:
        OSError: as write_volume.
    """
    import SimpleITK as sitk

    _write_image(sitk.JoinSeries([image_from_volume(volume) for volume in volumes]), path)


def volume_from_image(image: object, name: str) -> Volume:
    """A SimpleITK 3D image (LPS) as a Volume (RAS)."""
    import SimpleITK as sitk

    return Volume(sitk.GetArrayFromImage(image), _matrix(image), name)


def image_from_volume(volume: Volume) -> object:
    """A Volume as a SimpleITK image; masks become 8-bit."""
    import SimpleITK as sitk

    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    image = sitk.GetImageFromArray(array)
    lps = LPS_TO_RAS @ volume.ijk_to_ras
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetSpacing(volume.spacing.tolist())
    image.SetDirection((lps[:3, :3] / volume.spacing).ravel().tolist())
    return image


def read_image(path: Path) -> object:
    """A NRRD, MetaImage or other file as a SimpleITK image, checked for what crashes ITK.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or its header and its voxels disagree.
    """
    import SimpleITK as sitk

    path = checked_name(path)
    if is_dicom(path):
        raise ValueError(
            f"{path}: this is a DICOM file{_object_name(path)}, which cannot stand here; convert "
            "it, or name the folder of its series where one may be given."
        )
    reader = _reader_of(path)
    if reader is None:
        raise ValueError(f"{path}: this file cannot be read as an image; {what_it_is(path)}")
    check_nrrd(path)
    check_metaimage(path)
    try:
        return sitk.ReadImage(str(path), imageIO=reader)
    except RuntimeError as error:
        raise ValueError(
            f"{path}: this file cannot be read as an image; its header or its voxels are damaged "
            "and it may be truncated: copy or export it again."
        ) from error


def _object_name(path: Path) -> str:
    """What kind of object a DICOM file holds, as " (RT Structure Set Storage)"; "" if unknown."""
    from pydicom.filereader import dcmread
    from pydicom.uid import UID

    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"], force=True)
        uid = UID(str(header.get("SOPClassUID", "")))
    except Exception:  # pydicom raises many kinds on damaged files
        return ""
    return f" ({uid.name})" if uid and uid.name != uid else ""


def metadata_of(image: object) -> dict[str, str]:
    """The named texts of an image's header; what is no text in a name is left out."""
    found = {}
    for key in image.GetMetaDataKeys():
        if key.isprintable() and key == key.encode("utf-8", "ignore").decode():
            found[key] = image.GetMetaData(key).encode("utf-8", "replace").decode()
    return found


def _reader_of(path: Path) -> str | None:
    """ITK's reader for a file by its first bytes; others would guess, Analyze without a side."""
    with open(path, "rb") as stream:
        start = stream.read(4096)
    if start.startswith(b"NRRD"):
        return "NrrdImageIO"
    return "MetaImageIO" if re.search(rb"^\s*(ObjectType|NDims)\s*=", start, re.M) else None


def checked_name(path: Path) -> Path:
    """The path if there is such a file and its name can be passed on.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its name is no text, which readers do not survive.
    """
    try:
        os.fspath(path).encode("utf-8")
        is_file = path.is_file()
    except (UnicodeEncodeError, ValueError):
        shown = os.fspath(path).encode("utf-8", "backslashreplace").decode()
        raise ValueError(f"{shown}: this name is not UTF-8 text; rename the file.") from None
    if path.is_dir():
        raise ValueError(f"{path}: this is a folder where a file is expected.")
    if not is_file:
        raise FileNotFoundError(f"{path}: there is no such file.")
    return path


@dataclass
class _Content:
    """What a file holds: 3D images [k, j, i] on one grid, and what was said of them."""

    frames: list[np.ndarray]
    ijk_to_ras: np.ndarray
    dimensions: int
    notes: list[str] = field(default_factory=list)
    facts: list[dict[str, object]] = field(default_factory=list)
    apart_mm: float = 0.0


def _read_file(path: Path) -> _Content:
    path = checked_name(path)
    try:
        one = read_nifti(path)
    except NotNifti:
        return _from_itk(path)
    return _Content(
        one.frames, one.ijk_to_ras, one.dimensions, one.notes, [], one.placements_apart_mm
    )


def _from_itk(path: Path) -> _Content:
    import SimpleITK as sitk

    image = read_image(path)
    components, dimension = image.GetNumberOfComponentsPerPixel(), image.GetDimension()
    array, notes = sitk.GetArrayFromImage(image), []
    if dimension == 4 and components == 2 and array.dtype.kind == "f":
        array, components = array[..., 0] + 1j * array[..., 1], 1  # MetaImage has no complex type
        notes.append(f"{path.name}: its two channels were read as real and imaginary parts.")
    if dimension > 4 or dimension < 3 or (dimension == 4 and components > 1):
        raise ValueError(
            f"{path}: a 3D volume or a series of such is expected, this one is {dimension}D with "
            f"{components} value(s) a voxel."
        )
    if components > 1:
        frames = list(np.moveaxis(array, -1, 0))
    else:
        frames = list(array) if dimension == 4 else [array]
    matrix, note = squared(_matrix(image), frames[0].shape[::-1], path)
    facts = facts_of_frames(metadata_of(image), len(frames))
    if components == 2 and array.dtype.kind == "f":
        facts = [{**one, "Channel": n} for n, one in enumerate(facts, 1)]
    return _Content(
        frames, matrix, 3 if len(frames) == 1 else 4, notes + ([note] if note else []), facts
    )


def _volumes(content: _Content, name: str) -> list[Volume]:
    facts = content.facts or [{} for _ in content.frames]
    one_of = len(content.frames) > 1
    volumes = []
    for n, (frame, one) in enumerate(zip(content.frames, facts, strict=True)):
        volume = Volume(
            np.ascontiguousarray(frame),
            content.ijk_to_ras.copy(),
            f"{name}[{n}]" if one_of else name,
            dict(one),
            list(content.notes),
        )
        if content.apart_mm:
            volume.attributes["PlacementsApartMm"] = round(content.apart_mm, 2)
        volumes.append(volume)
    return volumes


def _matrix(image: object) -> np.ndarray:
    """Voxel indices to RAS mm of the first three dimensions of a SimpleITK image."""
    dimension = image.GetDimension()
    lps = np.eye(4)
    direction = np.reshape(image.GetDirection(), (dimension, dimension))[:3, :3]
    lps[:3, :3] = direction * np.array(image.GetSpacing()[:3])
    lps[:3, 3] = image.GetOrigin()[:3]
    return LPS_TO_RAS @ lps


def _write_image(image: object, path: str | Path) -> None:
    """Write and read back: not every writer says that the disk is full."""
    import SimpleITK as sitk

    path = Path(path)
    with written_whole(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
            expected = sitk.GetArrayViewFromImage(image)
            content = _read_file(temporary)
        except (RuntimeError, ValueError) as error:
            raise OSError(
                None, "it could not be written whole; the disk may be full", str(path)
            ) from error
        held = np.stack(content.frames) if expected.ndim == 4 else content.frames[0]
        if held.shape != expected.shape or not np.array_equal(
            held, expected, equal_nan=expected.dtype.kind == "f"
        ):
            raise OSError(None, "it could not be written whole; the disk may be full", str(path))
