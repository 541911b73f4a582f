"""Image files in and out, through SimpleITK; files appear whole or not at all."""

from __future__ import annotations

import gzip
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from PDFFMapperLib.images.volume import LPS_TO_RAS, Volume


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
    image = _read_image(Path(path))
    if "complex" in image.GetPixelIDTypeAsString():
        raise ValueError(f"{path}: a magnitude image or a map is expected, this one is complex.")
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise ValueError(
            f"{path}: a scalar volume is expected, this one has "
            f"{image.GetNumberOfComponentsPerPixel()} components per voxel."
        )
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[..., 0]
    if image.GetDimension() != 3:
        raise ValueError(
            f"{path}: a 3D volume is expected, this one is {image.GetDimension()}D with size "
            f"{'x'.join(map(str, image.GetSize()))}; choose one 3D frame of it."
        )
    return volume_from_image(image, Path(path).name)


def read_on_grid(path: str | Path, like: Volume) -> Volume:
    """Read a 3D file that must lie on another volume's grid, such as a mask or a label map.

    Raises:
        FileNotFoundError, ValueError: as read_volume, or it lies on another grid.
    """
    volume = read_volume(path)
    if not volume.same_grid(like):
        raise ValueError(f"{Path(path).name} is not on the grid of the images; resample it.")
    return volume


def read_series(path: str | Path) -> list[Volume]:
    """Read a 4D (or vector) NIfTI, NRRD or MetaImage file as a list of 3D volumes."""
    import SimpleITK as sitk

    image = _read_image(Path(path))
    name = Path(path).name
    if image.GetDimension() == 3 and image.GetNumberOfComponentsPerPixel() > 1:
        parts = [
            sitk.VectorIndexSelectionCast(image, n)
            for n in range(image.GetNumberOfComponentsPerPixel())
        ]
    elif image.GetDimension() == 4:
        parts = [image[..., n] for n in range(image.GetSize()[3])]
    elif image.GetDimension() == 3:
        parts = [image]
    else:
        raise ValueError(f"{path}: a 4D series is expected, this file is {image.GetDimension()}D.")
    return [volume_from_image(part, f"{name}[{n}]") for n, part in enumerate(parts)]


def write_volume(volume: Volume, path: str | Path) -> None:
    """Write a volume as NIfTI, NRRD or MetaImage, by the file name's ending."""
    import SimpleITK as sitk

    with written_whole(path) as temporary:
        sitk.WriteImage(image_from_volume(volume), str(temporary), useCompression=True)


def write_series(volumes: Sequence[Volume], path: str | Path) -> None:
    """Write 3D volumes on one grid as one 4D file, by the file name's ending."""
    import SimpleITK as sitk

    with written_whole(path) as temporary:
        series = sitk.JoinSeries([image_from_volume(volume) for volume in volumes])
        sitk.WriteImage(series, str(temporary), useCompression=True)


def volume_from_image(image: object, name: str) -> Volume:
    """A SimpleITK 3D image (LPS) as a Volume (RAS)."""
    import SimpleITK as sitk

    lps = np.eye(4)
    lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image), LPS_TO_RAS @ lps, name)


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


def _read_image(path: Path) -> object:
    import SimpleITK as sitk

    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    try:
        image = sitk.ReadImage(str(path))
        if path.name.endswith((".nii", ".nii.gz")):
            image = _checked_nifti(path, image)
        return image
    except (RuntimeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        if "orthonormal" in str(error):
            raise ValueError(
                f"{path}: its voxel axes are not at right angles; resample it onto a regular grid."
            ) from error
        raise ValueError(
            f"{path}: this file cannot be read as an image; NIfTI, NRRD or MetaImage is expected "
            "and the file may be truncated."
        ) from error


def _checked_nifti(path: Path, image: object) -> object:
    """What ITK hides: it fills a truncated NIfTI with zeros, and turns NaN into 0."""
    import SimpleITK as sitk

    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as stream:
        header = stream.read(348)
    order = "<" if header[:1] == b"\x5c" else ">"
    kind, bits, offset = struct.unpack_from(f"{order}70xhh34xf", header)
    expected = int(offset) + image.GetNumberOfPixels() * bits // 8
    if kind in _NIFTI_FLOATS:
        with opener(path, "rb") as stream:
            stream.seek(int(offset))
            content = stream.read(expected - int(offset))
        if len(content) < expected - int(offset):
            raise RuntimeError(f"{path} is shorter than {expected} bytes")
        raw = np.frombuffer(content, np.dtype(_NIFTI_FLOATS[kind]).newbyteorder(order))
        array = sitk.GetArrayViewFromImage(image)
        lost = ~np.isfinite(raw.reshape(array.shape))
        if lost.any():
            restored = np.where(lost, np.float32(np.nan), array)
            whole = sitk.GetImageFromArray(restored, isVector=False)
            whole.CopyInformation(image)
            return whole
    elif _uncompressed_size(path, expected) < expected % 2**32:
        raise RuntimeError(f"{path} is shorter than {expected} bytes")
    return image


_NIFTI_FLOATS = {16: "f4", 64: "f8"}


def _uncompressed_size(path: Path, expected: int) -> int:
    with path.open("rb") as stream:
        if path.suffix != ".gz":
            return stream.seek(0, os.SEEK_END)
        stream.seek(-4, os.SEEK_END)  # where a gzip stream says its uncompressed size
        size = struct.unpack("<I", stream.read(4))[0]
    # Another number means several gzip members, or a truncated file.
    return size if size == expected % 2**32 else _gunzipped_size(path)


def _gunzipped_size(path: Path) -> int:
    try:
        with gzip.open(path, "rb") as stream:
            return sum(len(block) for block in iter(lambda: stream.read(1 << 20), b""))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RuntimeError(str(error)) from error
