"""What scanners and other tools write goes in with its true value, or the reason is true."""

import gzip
import json
import re
import struct

import numpy as np
import pydicom
import pytest
from dicom_files import classic_slice, enhanced, header, put_pixels
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.terminology import role_and_site
from MarrowAssessLib.commands.main import main
from MarrowAssessLib.sources.labels import LabelRule, regions_from_labels
from MarrowAssessLib.sources.segmentations import regions_from_segmentation
from MarrowAssessLib.sources.study_files import read_study
from MarrowAssessLib.sources.volume_source import guess_study
from MarrowAssessLib.study.study import Study
from PDFFMapperLib.commands.diffusion_files import read_diffusion
from PDFFMapperLib.commands.echo_files import read_echoes
from PDFFMapperLib.commands.regions import named_regions
from PDFFMapperLib.dicom.acquisitions import diffusion_volumes, echo_volumes
from PDFFMapperLib.dicom.folder import named_series, read_dicom_folder
from PDFFMapperLib.dicom.inventory import inventory, lines
from PDFFMapperLib.dicom.selection import read_source
from PDFFMapperLib.diffusion.scheme import diffusion_scheme, trace_weighted
from PDFFMapperLib.images.files import (
    read_image,
    read_series,
    read_volume,
    write_series,
    write_volume,
)
from PDFFMapperLib.images.json_file import read_json
from PDFFMapperLib.images.mask import refuse_image
from PDFFMapperLib.images.nrrd import facts_of_frames
from PDFFMapperLib.images.volume import Volume, grids_differ
from PDFFMapperLib.water_fat.echo_train import echo_train, field_strength
from PDFFMapperLib.water_fat.echo_units import phase_in_radians
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

SHAPE = (3, 5, 4)
STACK = np.arange(60, dtype=np.uint16).reshape(SHAPE) + 100
MATRIX = np.diag([-1.0, -1.2, 4.0, 1.0])


def nifti(path, array, version=1, sform=MATRIX, qform_x=0.0, codes=(0, 1), cut=None, **changes):
    """A NIfTI file of an array [k, j, i] or [t, k, j, i]; `codes` are those of qform and sform."""
    kinds = {"int16": (4, 16), "uint8": (2, 8), "float32": (16, 32), "complex64": (32, 64)}
    kind, bits = kinds[array.dtype.name]
    kind, bits = changes.get("kind", kind), changes.get("bits", bits)
    shape = changes.get("shape", array.shape[::-1])
    dim = [len(shape), *shape] + [1] * (7 - len(shape))
    pixdim = [1.0, *np.linalg.norm(sform[:3, :3], axis=0), 1, 1, 1, 1]
    quaternion = [0.0, 0.0, 1.0]  # half a turn about z: RAS x and y point back
    place = [*quaternion, qform_x, 0.0, 0.0]
    scale = changes.get("scale", (1.0, 0.0))
    rows = [value for row in sform[:3] for value in row]
    if version == 1:
        data = bytearray(352)
        struct.pack_into("<i", data, 0, 348)
        struct.pack_into("<8h", data, 40, *dim)
        struct.pack_into("<hh", data, 70, kind, bits)
        struct.pack_into("<8f", data, 76, *pixdim)
        struct.pack_into("<3f", data, 108, changes.get("offset", 352.0), *scale)
        struct.pack_into("<hh6f12f", data, 252, *codes, *place, *rows)
        data[344:348] = b"n+1\0"
    else:
        data = bytearray(544)
        struct.pack_into("<i8shh8q", data, 0, 540, b"n+2\0\r\n\x1a\n", kind, bits, *dim)
        struct.pack_into("<8d", data, 104, *pixdim)
        struct.pack_into("<q2d", data, 168, 544, *scale)
        struct.pack_into("<ii6d12d", data, 344, *codes, *place, *rows)
    whole = bytes(data) + array.tobytes()
    whole = whole[:cut]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(whole) if path.name.lower().endswith(".gz") else whole)
    return path


# --- NIfTI -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ", "image"])
def test_nifti_1_and_2_are_read_under_any_name(tmp_path, version, name):
    volume = read_volume(nifti(tmp_path / name, STACK.astype(np.int16), version))
    assert np.array_equal(volume.array, STACK)
    np.testing.assert_allclose(volume.ijk_to_ras, MATRIX)
    with pytest.raises(ValueError, match="may be truncated"):
        read_volume(nifti(tmp_path / name, STACK.astype(np.int16), version, cut=-30))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"bits": 32}, "contradicts itself"),
        ({"kind": 2, "bits": 8}, "more voxels than its header says"),
        ({"kind": 128, "bits": 24}, "color picture"),
        ({"kind": 7, "bits": 16}, "not supported"),
        ({"offset": 100.0}, "contradicts itself"),
        ({"offset": float("nan")}, "contradicts itself"),
        ({"scale": (float("inf"), 0.0)}, "contradicts itself"),
        ({"scale": (2.0, float("nan"))}, "scales its values by no number"),
        ({"shape": (4, 5, 0)}, "contradicts itself"),
        ({"shape": (4, 5, 32000)}, "may be truncated"),
    ],
)
def test_a_nifti_header_that_contradicts_its_file_is_refused(tmp_path, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_volume(nifti(tmp_path / "a.nii", STACK.astype(np.int16), **changes))


def test_the_scale_of_a_nifti_is_applied_and_none_is_none(tmp_path):
    array = STACK.astype(np.int16)
    scaled = read_volume(nifti(tmp_path / "a.nii", array, scale=(0.5, 3.0))).array
    np.testing.assert_allclose(scaled, 0.5 * STACK + 3)
    for none in ((0.0, 0.0), (float("nan"), float("nan"))):
        assert np.array_equal(
            read_volume(nifti(tmp_path / "b.nii", array, scale=none)).array, STACK
        )


def test_two_placements_of_one_file_are_told_apart(tmp_path):
    array = STACK.astype(np.int16)
    same = read_volume(nifti(tmp_path / "a.nii", array, codes=(1, 2)))
    assert not same.notes
    apart = read_volume(nifti(tmp_path / "b.nii", array, codes=(1, 2), qform_x=2.0))
    assert "two placements (sform and qform) that lie 2.0 mm apart" in apart.notes[0]
    said = grids_differ(apart, apart.with_array(apart.array, "T2"))
    assert said.endswith(
        "Make the two agree (set both to the one in which the regions were drawn)."
    )
    np.testing.assert_allclose(apart.ijk_to_ras, MATRIX)  # the sform, as nibabel takes it
    only = read_volume(nifti(tmp_path / "c.nii", array, codes=(1, 0), qform_x=2.0))
    assert only.ijk_to_ras[0, 3] == 2.0 and not only.notes


def test_axes_off_square_by_rounding_are_squared_and_slanted_ones_refused(tmp_path):
    slanted = MATRIX.copy()
    slanted[0, 1] = 0.02
    volume = read_volume(nifti(tmp_path / "a.nii", STACK.astype(np.int16), sform=slanted))
    assert "its voxel axes were off square by rounding and were squared" in volume.notes[0]
    axes = volume.ijk_to_ras[:3, :3]
    np.testing.assert_allclose((axes.T @ axes)[~np.eye(3, dtype=bool)], 0, atol=1e-9)
    middle = [1.5, 2, 1, 1]
    np.testing.assert_allclose(volume.ijk_to_ras @ middle, slanted @ middle, atol=1e-6)
    slanted[0, 1] = 0.4
    with pytest.raises(ValueError, match="not at right angles"):
        read_volume(nifti(tmp_path / "b.nii", STACK.astype(np.int16), sform=slanted))


@pytest.mark.parametrize("axes", ["RAS", "LPI", "PIR", "ASL"])
def test_voxels_in_another_order_are_the_same_image(oblique_volume, axes):
    """ITK writes the image anew along other axes; no value may change, none be interpolated."""
    import SimpleITK as sitk
    from PDFFMapperLib.images.files import image_from_volume, volume_from_image

    turned = volume_from_image(sitk.DICOMOrient(image_from_volume(oblique_volume), axes), "turned")
    assert turned.array.shape != oblique_volume.array.shape or not turned.same_grid(oblique_volume)
    back = turned.in_order_of(oblique_volume)
    assert back.same_grid(oblique_volume)
    assert np.array_equal(back.array, oblique_volume.array)
    aside = turned.with_array(turned.array)
    aside.ijk_to_ras[0, 3] += 1.0
    assert aside.in_order_of(oblique_volume) is aside


def test_labels_stored_along_other_axes_fit_their_image(tmp_path, oblique_volume):
    labels = np.zeros(oblique_volume.array.shape, np.uint8)
    labels[5:8, 10:20, 10:20], labels[5:8, 25:30, 10:20] = 1, 2
    write_volume(oblique_volume, tmp_path / "t1.nrrd")
    there = Volume(labels[::-1, :, ::-1], oblique_volume.ijk_to_ras.copy(), "labels")
    there.ijk_to_ras[:3, [0, 2]] *= -1
    there.ijk_to_ras[:3, 3] = oblique_volume.to_ras([labels.shape[2] - 1, 0, labels.shape[0] - 1])
    write_volume(there, tmp_path / "labels.nrrd")
    rules = [LabelRule(1, Role.MARROW, "L3"), LabelRule(2, Role.MUSCLE, "")]
    study = read_study(
        {Contrast.T1: tmp_path / "t1.nrrd"}, labels=tmp_path / "labels.nrrd", rules=rules
    )
    for region in study.regions:
        value = 1 if region.role is Role.MARROW else 2
        inside = np.sort(region.values(study.volumes[Contrast.T1].array))
        np.testing.assert_allclose(inside, np.sort(oblique_volume.array[labels == value]))


def test_complex_images_keep_their_imaginary_part(tmp_path):
    echoes = [(STACK + 1j * (n + 1)).astype(np.complex64) for n in range(3)]
    path = nifti(tmp_path / "c.nii.gz", np.stack(echoes))
    (tmp_path / "c.json").write_text(json.dumps({"EchoTime": [0.001, 0.002, 0.003]}))
    volumes, times, _ = read_echoes([path])
    train = echo_train(volumes, times, "s", 3.0)
    assert train.is_complex
    np.testing.assert_allclose(train.signal, np.stack(echoes, -1))
    _, times, _ = read_echoes([path], echo_times=[1, 2, 3])
    np.testing.assert_allclose(times, [0.001, 0.002, 0.003] * 2)


# --- NRRD and others --------------------------------------------------------------------------


def test_a_nrrd_of_slicer_tells_its_b_values_and_directions(tmp_path):
    import SimpleITK as sitk

    image = sitk.JoinSeries([sitk.GetImageFromArray(STACK.astype(np.float32))] * 3)
    gradients = ["0 0 0", "0 0 0.5", "0 1 0"]
    image.SetMetaData("DWMRI_b-value", "800")
    for n, text in enumerate(gradients):
        image.SetMetaData(f"DWMRI_gradient_{n:04d}", text)
    sitk.WriteImage(image, str(tmp_path / "d.nrrd"))
    scheme = diffusion_scheme(read_series(tmp_path / "d.nrrd"))
    assert scheme.b_values.tolist() == [0, 200, 800]
    labels = {
        "MultiVolume.FrameLabels": "1.2,2.4",
        "MultiVolume.FrameIdentifyingDICOMTagName": "EchoTime",
    }
    assert facts_of_frames(labels, 2) == [{"EchoTime": 1.2}, {"EchoTime": 2.4}]


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_more_or_fewer_voxels_than_the_header_says_are_refused(tmp_path, oblique_volume, name):
    import SimpleITK as sitk
    from PDFFMapperLib.images.files import image_from_volume

    path = tmp_path / name
    sitk.WriteImage(image_from_volume(oblique_volume), str(path), useCompression=False)
    whole = path.read_bytes()
    assert np.array_equal(read_volume(path).array, oblique_volume.array)
    for content in (whole + bytes(50 * 40 * 4), whole[:-400]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="voxels than its header says"):
            read_volume(path)


@pytest.mark.parametrize("name", ["a.nhdr", "a.mhd"])
@pytest.mark.parametrize("packed", [False, True])
def test_voxels_in_a_file_of_their_own_are_checked_too(tmp_path, oblique_volume, name, packed):
    import SimpleITK as sitk
    from PDFFMapperLib.images.files import image_from_volume

    path = tmp_path / name
    sitk.WriteImage(image_from_volume(oblique_volume), str(path), useCompression=packed)
    assert np.array_equal(read_volume(path).array, oblique_volume.array)
    voxels = next(one for one in tmp_path.iterdir() if one != path)
    whole = voxels.read_bytes()
    voxels.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="may be truncated"):
        read_volume(path)
    voxels.unlink()
    with pytest.raises(ValueError, match=rf"voxels \({voxels.name}\) is not beside it"):
        read_volume(path)


def test_a_compressed_nrrd_that_was_cut_is_said_to_hold_fewer_voxels(tmp_path, oblique_volume):
    write_volume(oblique_volume, tmp_path / "A.NRRD")
    whole = (tmp_path / "A.NRRD").read_bytes()
    (tmp_path / "A.NRRD").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(ValueError, match="fewer voxels than its header says"):
        read_volume(tmp_path / "A.NRRD")


@pytest.mark.parametrize(("slant", "refused"), [(0.0003, False), (0.3, True)])
def test_slanted_axes_of_nrrd_and_metaimage_are_those_of_nifti(tmp_path, slant, refused):
    volume = Volume(STACK.astype(np.float32), MATRIX, "x")
    for name, old, new in (
        ("a.nrrd", b"(1,0,0)", f"(1,{slant},0)".encode()),
        ("a.mha", b"TransformMatrix = 1 0 0", f"TransformMatrix = 1 {slant} 0".encode()),
    ):
        write_volume(volume, tmp_path / name)
        content = (tmp_path / name).read_bytes()
        assert old in content
        (tmp_path / name).write_bytes(content.replace(old, new))
        if refused:
            with pytest.raises(ValueError, match="not at right angles"):
                read_volume(tmp_path / name)
        else:
            read = read_volume(tmp_path / name)
            axes = read.ijk_to_ras[:3, :3] / read.spacing
            assert np.allclose(axes.T @ axes, np.eye(3), atol=1e-9)
            assert "squared" in read.notes[0]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (b"encoding: raw", b"encoding: bzip2", "written as 'bzip2', which is not supported"),
        (b"endian: little\n", b"", "does not say the byte order"),
    ],
)
def test_a_nrrd_that_itk_cannot_read_says_why(tmp_path, oblique_volume, old, new, sentence):
    import SimpleITK as sitk
    from PDFFMapperLib.images.files import image_from_volume

    path = tmp_path / "a.nrrd"
    sitk.WriteImage(image_from_volume(oblique_volume), str(path))
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(ValueError, match=sentence):
        read_volume(path)


def test_a_nrrd_whose_text_is_binary_is_refused_before_it_crashes_its_reader(tmp_path):
    head = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 4 5 3\nencoding: ascii\n\n"
    (tmp_path / "a.nrrd").write_bytes(head + bytes(range(120)))
    with pytest.raises(ValueError, match="says that the voxels are text"):
        read_volume(tmp_path / "a.nrrd")


def test_a_name_that_is_no_text_is_refused_by_its_cause(tmp_path):
    path = tmp_path / "caf\udce9.nii"  # Latin-1 bytes, as an old archive holds them
    with pytest.raises(ValueError, match="this name is not UTF-8 text; rename the file"):
        read_volume(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 200_000 + "]" * 200_000, "nested too deep|not JSON"),
        ('{"a": 1, "a": 2}', "a.json: this is not .*: 'a' is"),
        ("[1]", "named values is expected"),
        ("{", r"a.json: this is not .*: it is not JSON \(line 1, column 2 cannot be read\)\."),
    ],
)
def test_json_that_cannot_be_used_is_told_in_a_sentence(tmp_path, text, sentence):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_json(tmp_path / "a.json")


def test_a_file_of_bytes_is_no_json(tmp_path):
    (tmp_path / "a.json").write_bytes(b"NRRD\x8b\xff")
    with pytest.raises(ValueError, match="it is not JSON, nor text"):
        read_json(tmp_path / "a.json")


def test_an_image_of_whole_numbers_is_no_label_map(tmp_path, oblique_volume):
    """T1 in the place of its label map: 834 of its gray levels became regions."""
    gray = np.random.default_rng(0).integers(1, 900, oblique_volume.array.shape)
    image = oblique_volume.with_array(gray.astype(np.int16), "T1")
    told = r"T1.* holds \d+ different values side by side, as an image does; a label"
    with pytest.raises(ValueError, match=told):
        regions_from_labels(image, [LabelRule(5, Role.MARROW, "L1")])
    write_volume(image, tmp_path / "T1.nrrd")
    with pytest.raises(ValueError, match=told):
        named_regions(tmp_path / "T1.nrrd", image)
    many = image.with_array(np.broadcast_to(np.arange(gray.shape[0])[:, None, None], gray.shape))
    refuse_image(many)  # a label a slice
    refuse_image(image.with_array(np.broadcast_to(np.arange(1, 71), (2, 3, 70))))  # a column


def test_one_label_of_two_meanings_is_refused(oblique_volume):
    labels = oblique_volume.with_array(np.ones(oblique_volume.array.shape, np.uint8), "labels")
    rules = [LabelRule(1, Role.MARROW, site) for site in ("L1", "L2")]
    with pytest.raises(ValueError, match="label 1 was said to be L1 marrow and L2 marrow; say one"):
        regions_from_labels(labels, rules)
    assert len(regions_from_labels(labels, rules[:1])) == 1


def test_headers_without_voxels_place_or_end_say_so(tmp_path):
    from PDFFMapperLib.images.nifti import squared

    whole = nifti(tmp_path / "a.nii", STACK.astype(np.int16)).read_bytes()
    (tmp_path / "a.hdr").write_bytes(whole[:344] + b"ni1\0")
    with pytest.raises(ValueError, match=r"a.hdr: the file with its voxels \(.img\) is not beside"):
        read_volume(tmp_path / "a.hdr")
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\ntype: short\ndimension: 3\n")
    with pytest.raises(ValueError, match="cannot be read as an image; its header does not end, so"):
        read_volume(tmp_path / "a.nrrd")
    with pytest.raises(ValueError, match="its header does not say the size or place of its voxels"):
        squared(np.diag([1.0, 0, 1, 1]), [2, 2, 2], tmp_path / "a.nii")
    for size in np.float32((0.01, 300.0)):
        squared(np.diag([size, size, size, 1.0]), [2, 2, 2], tmp_path / "a.nii")
    for size in (0.0015, 1e9):
        with pytest.raises(ValueError, match=r"its voxels are said to be of .* mm; 0.01 to 300 mm"):
            squared(np.diag([size, 1.5, 4, 1]), [2, 2, 2], tmp_path / "a.nii")


def test_an_archive_in_place_of_a_folder_is_to_be_unpacked(tmp_path, capsys):
    """By every command; a CSV list says so as well (test_cohort)."""
    packed, away = tmp_path / "study.zip", str(tmp_path / "out")
    packed.write_bytes(b"PK\3\4" + bytes(600))
    for command in (
        ["assess", "--dicom", str(packed)],
        ["assess", "--volume", f"T1={packed}"],
        ["pdff", str(packed)],
        ["ivim", str(packed)],
        ["dect", str(packed)],
        ["ute", str(packed)],
        ["spectrum", str(packed)],
        ["stations", str(packed)],
    ):
        assert main([*command, "--out", away]) == 2
        assert "it is a zip archive: unpack it first and name what it held." in (
            capsys.readouterr().err
        )
    folder = tmp_path / "study"
    folder.mkdir()
    for n in range(2):
        dicom = bytes(128) + b"DICM" + bytes(900)
        (folder / f"{n}.dcm.gz").write_bytes(gzip.compress(dicom))
    told = r"2 file(s) are packed (0.dcm.gz, 1.dcm.gz): unpack them first."
    with pytest.raises(ValueError, match=re.escape(told)):
        read_dicom_folder(folder)
    assert inventory(folder).left_out == [told]


def test_what_is_no_image_says_what_it_is(tmp_path):
    analyze = bytearray(348)
    struct.pack_into("<i", analyze, 0, 348)
    for content, sentence in (
        (bytes(analyze), "Analyze 7.5"),
        (b"", "it is empty"),
        (b"what" * 200, "DICOM is expected, and it is none of them"),
        (b"\x89PNG" * 200, r"it is a picture \(PNG\), which has no place in the patient"),
        (b"\xff\xd8\xff" + bytes(400), r"it is a picture \(JPEG\), which has no"),
        (b"II*\0" + bytes(400), r"it is a picture \(TIFF\), which has no"),
        (b"GIF89a" + bytes(400), r"it is a picture \(GIF\), which has no"),
        (b"BM" + bytes(400), r"it is a picture \(BMP\), which has no"),
        (b"\0\0\0\x0cjP  " + bytes(400), r"it is a picture \(JPEG 2000\), which has no"),
        (b"PK\x03\x04" * 200, "it is a zip archive: unpack it first and name what it held"),
        (gzip.compress(bytes(257) + b"ustar" + bytes(900)), "it is a tar archive: unpack it"),
        (b"version https://git-lfs.github.com/spec/v1", "pointer of Git LFS"),
        (gzip.compress(b"\0\0\0\x01" + bytes(900)), r"a FreeSurfer volume \(mgz\): convert it"),
        (b"<!DOCTYPE html>" * 40, "it is a web page or XML"),
        (b"MATLAB 5.0 MAT-file" + bytes(400), "it is a MATLAB file: save"),
        (b"\x89HDF\r\n" + bytes(400), "it is an HDF5 or MATLAB file"),
        (b"# === DATA DESCRIPTION FILE ===" * 20, "it is a Philips PAR header"),
        (b"# vtk DataFile Version 3.0" * 20, "it is a VTK file: save"),
        (gzip.compress(bytes(128) + b"DICM" + bytes(900)), "compressed DICOM file"),
        (b"\x28\xb5\x2f\xfd" + bytes(400), "compressed by zstd"),
        (b"\x93NUMPY" + bytes(400), "it is a NumPy array, which has no place"),
        (b'{"a": 1}', "it is JSON, no image"),
    ):
        (tmp_path / "a.nii").write_bytes(content)
        with pytest.raises(ValueError, match=sentence):
            read_volume(tmp_path / "a.nii")
    import SimpleITK as sitk

    flat = sitk.GetImageFromArray(np.ones((5, 4), np.int16))
    sitk.WriteImage(flat, str(tmp_path / "flat.mha"))
    with pytest.raises(
        ValueError, match="a 3D volume or a series of such is expected, this one is 2D"
    ):
        read_volume(tmp_path / "flat.mha")
    (tmp_path / "a.nii").write_bytes(gzip.compress(bytes(range(256)) * 9)[:40])
    with pytest.raises(ValueError, match="compressed and damaged"):
        read_image(tmp_path / "a.nii")
    with pytest.raises(ValueError, match="this is a folder"):
        read_volume(tmp_path)
    with pytest.raises(ValueError, match=r"no DICOM image .* name it itself, such as a\.nii"):
        read_dicom_folder(tmp_path)


# --- JSON beside images ------------------------------------------------------------------------


def timed_echoes(folder, times):
    """Four echoes as files whose JSON gives a time as it stands."""
    for n, time in enumerate(times):
        write_volume(Volume(STACK.astype(np.float32) - n, MATRIX, "e"), folder / f"e{n}.nii.gz")
        facts = {"EchoTime": time, "MagneticFieldStrength": 3}
        (folder / f"e{n}.json").write_text(json.dumps(facts))
    return [folder / f"e{n}.nii.gz" for n in range(len(times))]


@pytest.mark.parametrize("first", [0.14, 0.92])
def test_the_unit_of_echo_times_is_judged_on_all_files_together(tmp_path, first):
    """0.14 alone would be a late echo in s, 0.92 alone nothing; both are ms beside 6.9."""
    _, times, _ = read_echoes(timed_echoes(tmp_path, (first, 2.3, 4.6, 6.9)))
    assert times == pytest.approx([first / 1000, 0.0023, 0.0046, 0.0069])
    with pytest.raises(ValueError, match="outside what MRI uses"):
        read_echoes(timed_echoes(tmp_path, (0.00092, 0.0023, 4.6, 6.9)))


@pytest.mark.parametrize(
    ("contrast", "unit", "factor"),
    [
        ("PDFF", "1", 100), ("PDFF", "‰", 0.1), ("PDFF", "0.1%", 0.1), ("R2star", "1/ms", 1000),
        ("ADC", "mm^2/s", 1000), ("ADC", "x10^-3 mm^2/s", 1), ("ADC", "1e-06 mm2/s", 0.001),
    ],
)  # fmt: skip
def test_the_unit_that_stands_beside_a_map_is_heard(tmp_path, contrast, unit, factor):
    from MarrowAssessLib.sources.volume_source import read_source as read_role
    from MarrowAssessLib.study.map_scale import in_stated_unit

    values = np.linspace(0, 1, 60).reshape(SHAPE).astype(np.float32)
    write_volume(Volume(values, MATRIX, "m"), tmp_path / "m.nii.gz")
    (tmp_path / "m.json").write_text(json.dumps({"Units": unit}))
    read = read_role(tmp_path / "m.nii.gz", Contrast(contrast))
    scaled, _ = in_stated_unit(read, Contrast(contrast))
    assert np.allclose(scaled.array, values * factor)
    (tmp_path / "m.json").write_text(json.dumps({"Units": "ms"}))
    with pytest.raises(ValueError, match="states the unit 'ms', which is none of"):
        in_stated_unit(read_role(tmp_path / "m.nii.gz", Contrast(contrast)), Contrast(contrast))


# --- BIDS --------------------------------------------------------------------------------------


def test_bids_facts_are_inherited_and_the_nearest_wins(tmp_path):
    root, anat = tmp_path / "ds", tmp_path / "ds/sub-01/anat"
    for n, time in enumerate((0.001, 0.002, 0.003, 0.004)):
        name = f"sub-01_echo-{n + 1}_part-mag_MEGRE"
        nifti(anat / f"{name}.nii.gz", STACK.astype(np.float32))
        (anat / f"{name}.json").write_text(json.dumps({"EchoTime": time}))
    (root / "dataset_description.json").write_text("{}")
    (root / "MEGRE.json").write_text(json.dumps({"MagneticFieldStrength": 3, "FlipAngle": 5}))
    (root / "T1w.json").write_text(json.dumps({"MagneticFieldStrength": 7}))
    (root / "sub-01/sub-01_MEGRE.json").write_text(json.dumps({"FlipAngle": 3}))
    volumes, times, _ = read_echoes([root])
    assert times == [0.001, 0.002, 0.003, 0.004]
    assert {volume.attributes["MagneticFieldStrength"] for volume in volumes} == {3}
    assert {volume.attributes["FlipAngle"] for volume in volumes} == {3}
    assert {volume.attributes["ImageComponent"] for volume in volumes} == {"magnitude"}


def test_a_bids_folder_of_several_subjects_is_to_be_narrowed(tmp_path):
    (tmp_path / "dataset_description.json").write_text("{}")
    for subject in ("01", "02"):
        for n in range(4):
            path = tmp_path / f"sub-{subject}/sub-{subject}_echo-{n + 1}_MEGRE.nii.gz"
            path.parent.mkdir(exist_ok=True)
            write_volume(Volume(STACK.astype(np.float32), MATRIX, "e"), path)
            facts = {"EchoTime": 0.001 * (n + 1)}
            path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=r"2 multi-echo acquisitions are here \(sub-01, sub-02\)"):
        read_echoes([tmp_path])
    assert len(read_echoes([tmp_path / "sub-02"])[0]) == 4


@pytest.mark.parametrize(
    ("unit", "factor"), [("rad", 1.0), ("mrad", 1e-3), ("degrees", np.pi / 180)]
)
def test_a_stated_unit_of_phase_is_heard_where_no_turn_is_filled(unit, factor):
    phase = np.linspace(-0.3, 0.5, 60).reshape(SHAPE) / factor
    (found,), _ = phase_in_radians([phase], {"Units": unit})
    np.testing.assert_allclose(found, phase * factor, atol=1e-5)
    with pytest.raises(ValueError, match="fits no known scale"):
        phase_in_radians([phase], {"Units": "arbitrary"})


# --- field strength ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "zero", "per_radian"),
    [("rad", 0, 1), ("deg", 0, 180 / np.pi), ("+-4096", 0, 4096 / np.pi),
     ("0-4095", 2048, 2048 / np.pi)],
)  # fmt: skip
def test_the_unit_of_phase_can_be_given(tmp_path, unit, zero, per_radian):
    """Of phase that fills less than a turn no range tells it."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0.1, 1.4, (6, *SHAPE))
    echoes, phases = [], []
    for n in range(6):
        echoes.append(Volume(np.full(SHAPE, 100 - n, np.float32), MATRIX, "m"))
        phases.append(Volume((zero + per_radian * angle[n]).astype(np.float32), MATRIX, "p"))
    times = [0.001 * (n + 1) for n in range(6)]
    facts = {"EchoTime": times, "MagneticFieldStrength": 3}
    for name, images in (("m", echoes), ("p", phases)):
        write_series(images, tmp_path / f"{name}.nii.gz")
        (tmp_path / f"{name}.json").write_text(json.dumps(facts))
    volumes, times, _ = read_pdff(tmp_path, unit)
    train = echo_train(volumes, times)
    assert np.allclose(np.angle(train.signal), np.moveaxis(angle, 0, -1), atol=1e-3)
    with pytest.raises(ValueError, match="no image is phase"):
        read_pdff(tmp_path, unit, ())


def read_pdff(folder, unit, phase=("--phase", "p.nii.gz")):
    """What `pdff` reads of magnitude and phase files with a given unit of phase."""
    import argparse

    from PDFFMapperLib.commands import echo_files

    parser = argparse.ArgumentParser()
    echo_files.add_arguments(parser)
    parser.add_argument("--method")
    images = [str(folder / one) if "." in one else one for one in ("m.nii.gz", *phase)]
    volumes, settings, notes = echo_files.read(parser.parse_args([*images, f"--phase-unit={unit}"]))
    return volumes, settings["echo_times_s"], notes


def test_a_phase_beyond_its_stated_unit_is_refused():
    with pytest.raises(ValueError, match=r"run from -1 to 6000, beyond .* which was stated"):
        phase_in_radians([np.array([-1.0, 6000.0])], {"Units": "turn of 8192"})


def test_the_field_of_a_study_is_the_measured_one(oblique_volume):
    from MarrowAssessLib.study.acquisition_facts import field_strength_t
    from MarrowAssessLib.study.regions import Region

    facts = {"MagneticFieldStrength": 3, "ImagingFrequency": 123.2}
    one, other = oblique_volume.with_array(oblique_volume.array), oblique_volume
    one.attributes, other.attributes = facts, {"MagneticFieldStrength": 3}
    mask = np.zeros(one.array.shape, bool)
    mask[5:8, 10:20, 10:20] = True
    region = [Region.from_mask("L3 marrow", Role.MARROW, "L3", mask)]
    study = Study({Contrast.T1: one, Contrast.T2: other}, region)
    assert field_strength_t(study) == pytest.approx(2.894, abs=0.001)
    other.attributes["MagneticFieldStrength"] = 1.5
    assert field_strength_t(study) is None


def test_the_measured_frequency_wins_over_the_nominal_field():
    assert field_strength([{"MagneticFieldStrength": 3, "ImagingFrequency": 123.2}]) == 2.894
    assert field_strength([{"MagneticFieldStrength": 1.5, "ImagingFrequency": 63.63}]) == 1.494
    assert field_strength([{"MagneticFieldStrength": 15000, "ImagingFrequency": 63.87}]) == 1.5
    for written in (123_200.0, 123_200_000.0):  # kHz, Hz
        assert field_strength([{"MagneticFieldStrength": 3, "ImagingFrequency": written}]) == 2.894
    with pytest.raises(ValueError, match="give the field strength"):
        field_strength([{"MagneticFieldStrength": 3, "ImagingFrequency": 63.87}])


# --- DICOM -------------------------------------------------------------------------------------


def dwi(folder, b_values, edit=lambda data, n, b: None, series="1.2.3", **facts):
    """A diffusion series, one file a slice, signal 1000 exp(-0.7e-3 b)."""
    from pydicom.filereader import dcmread

    folder.mkdir(exist_ok=True)
    for n, b in enumerate(b_values):
        pixels = np.full(SHAPE[1:], round(1000 * np.exp(-0.7e-3 * b)), np.uint16)
        for k in range(SHAPE[0]):
            given = {
                "ScanningSequence": "EP", "EchoTime": 70, "RepetitionTime": 4000,
                "InstanceNumber": n * SHAPE[0] + k + 1, "SeriesDescription": "dwi", **facts,
            }  # fmt: skip
            path = classic_slice(folder, f"{series}-{n}-{k}.dcm", k, pixels, series=series, **given)
            data = dcmread(path)
            edit(data, n, b)
            data.save_as(path)
    return folder


def private(data, group, creator, elements, block=0x10):
    data.add_new((group, block), "LO", creator)
    for element, kind, value in elements:
        data.add_new((group, block * 256 + element), kind, value)


def b_values_of(folder, **options):
    volumes, b_values, notes = read_diffusion([folder], **options)
    return diffusion_scheme(volumes, b_values).b_values.tolist(), notes


@pytest.mark.parametrize("block", [0x10, 0x11, 0x1A])
def test_private_elements_are_found_by_their_owner(tmp_path, block):
    def siemens(data, n, b):
        if block != 0x10:
            private(data, 0x0019, "AGFA", [(0x0C, "IS", "77")])
        private(data, 0x0019, "SIEMENS MR HEADER", [(0x0C, "IS", str(b))], block)

    dwi(tmp_path / "d", (0, 400, 800), siemens, Manufacturer="SIEMENS")
    assert b_values_of(tmp_path / "d")[0] == [0, 400, 800]


V = np.eye(3)


@pytest.mark.parametrize("maker", ["Philips", "CANON_MEC", "UIH", "SIEMENS"])
def test_directions_in_private_elements_are_directions_and_no_repeats(tmp_path, maker):
    vectors = [np.zeros(3), *V]

    def edit(data, n, b):
        v = vectors[n].tolist()
        if maker == "Philips":
            private(data, 0x2001, "Philips Imaging DD 001", [(3, "FL", float(b))])
            places = [(0xB0 + axis, "FL", v[axis]) for axis in range(3)]
            private(data, 0x2005, "Philips MR Imaging DD 001", places)
        elif maker == "CANON_MEC":
            data.ImageComments = f"b={b}({v[0]:.3f},{v[1]:.3f},{v[2]:.3f})"
        elif maker == "UIH":
            found = [(0x09, "FD", float(b)), (0x37, "FD", v)]
            private(data, 0x0065, "Image Private Header", found)
        else:
            tensor = (b * np.outer(v, v))[np.triu_indices(3)].tolist()
            found = [(0x0C, "IS", str(b)), (0x27, "FD", tensor)]
            private(data, 0x0019, "SIEMENS MR HEADER", found)

    dwi(tmp_path / "d", (0, 800, 800, 800), edit, Manufacturer=maker)
    volumes, b_values, _ = read_diffusion([tmp_path / "d"])
    scheme = diffusion_scheme(volumes, b_values)
    assert len(set(scheme.groups)) == 4
    np.testing.assert_allclose(np.abs(scheme.directions[1:]).max(axis=1), 1, atol=1e-6)
    signals = np.array([1000.0, 100.0, 200.0, 400.0])
    trace, _, _ = trace_weighted(signals[None], scheme)
    assert trace[0, 1] == pytest.approx(200)  # the geometric mean, not the arithmetic


@pytest.mark.parametrize("maker", ["Philips", "UIH", "SIEMENS"])
def test_elements_whose_type_an_archive_forgot_keep_their_numbers(tmp_path, maker):
    """Archives that do not know a private element write its bytes as UN."""

    def edit(data, n, b):
        v = V[n % 3].tolist()
        vector = struct.pack("<3d", *v)
        if maker == "Philips":
            private(data, 0x2001, "Philips Imaging DD 001", [(3, "UN", struct.pack("<f", b))])
            places = [(0xB0 + axis, "UN", struct.pack("<f", v[axis])) for axis in range(3)]
            private(data, 0x2005, "Philips MR Imaging DD 001", places)
        elif maker == "UIH":
            both = [(9, "UN", struct.pack("<d", b)), (0x37, "UN", vector)]
            private(data, 0x0065, "Image Private Header", both)
        else:
            both = [(0x0C, "UN", f"{b} ".encode()), (0x0E, "UN", vector)]
            private(data, 0x0019, "SIEMENS MR HEADER", both)

    (series,) = read_dicom_folder(dwi(tmp_path / "d", (0, 400, 800), edit, Manufacturer=maker))
    facts = [volume.attributes for volume in series.contents]
    assert [one["DiffusionBValue"] for one in facts] == [0, 400, 800]
    assert [one["DiffusionGradientOrientation"] for one in facts[1:]] == [
        V[1].tolist(),
        V[2].tolist(),
    ]


def test_a_missing_b_value_beside_weighted_images_is_0(tmp_path):
    def toshiba(data, n, b):
        if b:
            data.DiffusionBValue = float(b)

    dwi(tmp_path / "d", (0, 400, 800), toshiba, Manufacturer="TOSHIBA_MEC")
    values, _ = b_values_of(tmp_path / "d")
    assert values == [0, 400, 800]
    volumes = read_diffusion([tmp_path / "d"])[0]
    assert "without a b-value" in " ".join(diffusion_scheme(volumes).notes)


def test_given_b_values_serve_a_dicom_series_without_any(tmp_path):
    dwi(
        tmp_path / "d", (0, 400, 800),
        lambda data, n, b: setattr(data, "TemporalPositionIdentifier", n + 1),
    )  # fmt: skip
    assert b_values_of(tmp_path / "d", b_values=[0, 400, 800])[0] == [0, 400, 800]
    with pytest.raises(ValueError, match="no b-value; give the b-values"):
        b_values_of(tmp_path / "d")
    with pytest.raises(ValueError, match="no diffusion series with 4 volumes"):
        b_values_of(tmp_path / "d", b_values=[0, 100, 400, 800])


def test_of_two_diffusion_series_one_is_to_be_chosen(tmp_path):
    for series in ("1.2.3", "1.2.4"):
        dwi(
            tmp_path / "d", (0, 400, 800),
            lambda data, n, b: setattr(data, "DiffusionBValue", float(b)), series,
        )  # fmt: skip
    with pytest.raises(
        ValueError, match=r"d: several diffusion series found: .*choose one with --ser"
    ):
        b_values_of(tmp_path / "d")


def test_b_values_kept_as_series_are_joined_where_they_belong_together(tmp_path):
    def stated(data, n, b):
        data.DiffusionBValue = float(b)

    for n, b in enumerate((0, 400, 800)):
        dwi(tmp_path / "d", (b,), stated, series=f"1.2.{n}", SeriesNumber=5 + n)
    dwi(tmp_path / "d", (600,), stated, series="1.2.9", SeriesNumber=9, RepetitionTime=9000)
    values, notes = b_values_of(tmp_path / "d")
    assert values == [0, 400, 800]
    assert any("3 series of one grid and sequence were joined" in note for note in notes)


def test_vectors_shorter_than_one_scale_their_b_value(tmp_path):
    series = np.stack([STACK * np.exp(-0.7e-3 * b) for b in (0, 200, 800)]).astype(np.float32)
    path = nifti(tmp_path / "g.nii.gz", series)
    (tmp_path / "g.bval").write_text("0 800 800")
    (tmp_path / "g.bvec").write_text("0 0 0\n0 0 0\n0 0.5 1")
    values, notes = b_values_of(path)
    assert values == [0, 200, 800]
    assert "multiplied by their squared length" in " ".join(notes)
    (tmp_path / "g.bval").write_text("0 400 800")
    with pytest.raises(ValueError, match="unclear whether lengths scale them"):
        b_values_of(path)


@pytest.mark.parametrize("count", [5, 6, 9])
def test_a_grid_of_united_imaging_becomes_its_slices(tmp_path, count):
    stack = np.arange(count * 12, dtype=np.uint16).reshape(count, 3, 4)
    across = int(np.ceil(np.sqrt(count)))
    grid = np.zeros((3 * int(np.ceil(count / across)), 4 * across), np.uint16)
    items = []
    for k in range(count):
        row, column = divmod(k, across)
        grid[3 * row : 3 * row + 3, 4 * column : 4 * column + 4] = stack[k]
        items.append(Dataset())
        items[-1].ImagePositionPatient = [0, 0, 5.0 * k]
    data = header(ImageType=["ORIGINAL", "PRIMARY", "M", "VFRAME"], Manufacturer="UIH")
    data.ImageOrientationPatient, data.PixelSpacing = [1, 0, 0, 0, 1, 0], [1, 1]
    put_pixels(data, grid)
    elements = [(0x50, "DS", str(count)), (0x51, "SQ", Sequence(items))]
    private(data, 0x0065, "Image Private Header", elements)
    data.save_as(tmp_path / "grid.dcm")
    (series,) = read_dicom_folder(tmp_path)
    (volume,) = series.volumes
    assert np.array_equal(volume.array, stack)
    assert volume.spacing.tolist() == [1, 1, 5]
    items[-1].ImagePositionPatient = [0, 0]
    data.save_as(tmp_path / "grid.dcm")
    (series,) = read_dicom_folder(tmp_path)
    with pytest.raises(
        ValueError, match="United Imaging lacks the private header that tells where"
    ):
        _ = series.volumes


def products(path, kinds):
    """An enhanced object with one volume for each (frame type, component)."""
    from pydicom.filereader import dcmread

    frames = [
        (k, np.full((5, 4), 10 * (n + 1), np.uint16), {"component": component})
        for n, (_, component) in enumerate(kinds)
        for k in range(3)
    ]
    path.parent.mkdir()
    enhanced(path, frames, SeriesDescription="mDIXON-Quant", ImageType=["ORIGINAL", "PRIMARY"])
    data = dcmread(path)
    for n, group in enumerate(data.PerFrameFunctionalGroupsSequence):
        kind = ["ORIGINAL", "PRIMARY", "DIXON", kinds[n // 3][0]]
        group.MRImageFrameTypeSequence[0].FrameType = kind
    data.save_as(path)


def test_each_product_of_an_enhanced_object_keeps_its_own_frame_type(tmp_path):
    words = ["WATER", "FAT", "IN_PHASE", "OPP_PHASE", "FAT_FRACTION", "R2_STAR"]
    products(tmp_path / "d/1.dcm", [(w, "REAL" if "_" in w else "MAGNITUDE") for w in words])
    found = guess_study(tmp_path / "d")
    assert {one.value for one in found.sources} == {
        "water", "fat", "in_phase", "opposed_phase", "PDFF", "R2star",
    }  # fmt: skip
    for value, contrast in ((10, "water"), (20, "fat"), (50, "PDFF"), (60, "R2star")):
        image = read_source(found.sources[Contrast(contrast)])
        assert np.unique(image.array).tolist() == [value]


def test_one_enhanced_file_is_read_as_its_folder_is(tmp_path):
    frames = [
        (k, np.full((5, 4), value, np.uint16), {"echo_time": time})
        for value, time in ((7, 2.0), (9, 4.0))
        for k in range(3)
    ]
    path = enhanced(tmp_path / "one.dcm", frames)
    with pytest.raises(ValueError, match=r"holds 2 volumes that could be T1.*one\.dcm#3:2"):
        read_source(path, "T1")
    second = read_source(f"{path}#3:2")
    assert second.array.shape == (3, 5, 4) and np.unique(second.array).tolist() == [9]


def echoes(folder, times, series="1.2.7", number=3, slices=range(3), name="a", **facts):
    folder.mkdir(exist_ok=True)
    for n, time in enumerate(times):
        for k in slices:
            given = {
                "EchoTime": time, "EchoNumbers": n + 1, "ScanningSequence": "GR", "FlipAngle": 5,
                "InstanceNumber": 10 * n + k + 1, "SeriesNumber": number, **facts,
            }  # fmt: skip
            pixels = np.full((5, 4), 100 - 10 * n, np.uint16)
            classic_slice(folder, f"{name}{n}{k}.dcm", k, pixels, series=series, **given)
    return folder


@pytest.mark.parametrize("days", [("20100702", "20110811"), ("20100702", "2010.07.02")])
def test_days_that_differ_within_a_study_or_in_how_they_are_written_join(tmp_path, days):
    """As where each series was given a day of its own when it was made anonymous."""
    study = {"StudyInstanceUID": "1.2.3"} if days[1].isdigit() else {}
    folder = echoes(tmp_path / "d", (2, 4, 6), StudyDate=days[0], **study)
    other = {"name": "b", "StudyDate": days[1], **study}
    echoes(folder, (8, 10, 12), "1.2.9", 5, **other)
    assert len(echo_volumes(read_dicom_folder(folder)).volumes) == 6


def test_a_broken_part_of_an_acquisition_is_named_and_not_left_out(tmp_path):
    folder = echoes(tmp_path / "d", (2, 4, 6))
    phase = {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}
    echoes(folder, (2, 4, 6), "1.2.8", 4, name="p", **phase)
    (folder / "p11.dcm").unlink()
    found = read_dicom_folder(folder)
    with pytest.raises(ValueError, match=r"Series 4 .*lacks 1 of 3 slices.*name the others"):
        echo_volumes(found)
    chosen = echo_volumes(found, "3")
    assert len(chosen.volumes) == 3
    assert any(note.startswith("Left out: Series 4") for note in chosen.notes)


def test_a_series_of_fewer_slices_is_not_left_out_of_its_acquisition(tmp_path):
    folder = tmp_path / "d"
    for n in range(4):
        slices = (0, 1) if n == 2 else range(3)  # the last one was not copied
        echoes(folder, (2 + 2 * n,), f"1.2.1{n}", 10 + n, slices=slices, name=f"e{n}")
    found = read_dicom_folder(folder)
    with pytest.raises(ValueError, match=r"#12 is of the same sequence but has 2 slices"):
        echo_volumes(found)
    assert len(echo_volumes(found, "10,11,13").volumes) == 3


def test_what_headers_do_not_say_is_to_be_given(tmp_path):
    folder = echoes(tmp_path / "d", ("",))
    echoes(folder, ("",), name="b", slices=range(3))
    with pytest.raises(ValueError, match=r"without echo times: give them \(--echo-times\)"):
        echo_volumes(read_dicom_folder(folder))
    made = echoes(tmp_path / "w", (2,), ImageType=["DERIVED", "PRIMARY", "DIXON", "WATER"])
    with pytest.raises(ValueError, match=r"give two \(--water-fat, --in-opposed\)"):
        echo_volumes(read_dicom_folder(made))


@pytest.mark.parametrize(
    ("words", "role"),
    [
        ("DIXON\\FAT FRACTION", "pdff"), ("M\\FAT_FRACTION_MAP", "pdff"), ("IN PHASE", "in_phase"),
        ("DIXON\\OUT_OF_PHASE", "opposed_phase"), ("M\\R2_STAR_MAP", "r2star"),
        ("IN-PHASE", "in_phase"), ("M\\T2_STAR_MAP", None), ("M\\B0", None),
    ],
)  # fmt: skip
def test_products_are_known_however_their_words_are_joined(words, role):
    from PDFFMapperLib.dicom.series_role import guess_role

    assert guess_role({"ImageType": f"DERIVED\\PRIMARY\\{words}"}) == role


def test_series_of_another_sequence_do_not_join_the_echoes(tmp_path):
    folder = tmp_path / "d"
    for n in range(4):
        echoes(folder, (2 + 2 * n,), f"1.2.1{n}", 10 + n, name=f"e{n}")
    echoes(folder, (12,), "1.2.30", 30, name="s", ScanningSequence="SE", RepetitionTime=500)
    echoes(folder, (14,), "1.2.31", 31, name="f", FlipAngle=20)
    echoes(folder, (16,), "1.2.32", 32, name="g", ContrastBolusAgent="Gd")
    echoes(folder, (18,), "1.2.33", 33, name="h", ScanOptions=["PFP", "FS"])
    chosen = echo_volumes(read_dicom_folder(folder))
    assert [v.attributes["EchoTime"] for v in chosen.volumes] == [2, 4, 6, 8]


def test_diffusion_series_of_two_echo_times_are_no_echoes(tmp_path):
    """As protocols have them that differ in acceleration, 0.1 ms apart."""
    folder = tmp_path / "d"
    for n, te in enumerate((70.7, 70.8)):
        for b in (0.0, 800.0):
            echoes(folder, (te,), f"1.2.1{n}", 10 + n, name=f"b{b:g}{n}", DiffusionBValue=b)
    found = read_dicom_folder(folder)
    with pytest.raises(ValueError, match="no series with several echo times found"):
        echo_volumes(found)
    assert not any(line.startswith("pdff: 4 volumes") for line in inventory(folder).acquisitions)


@pytest.mark.parametrize("scheme", [((60, 0), (60, 800), (80, 0), (80, 800)), ((60, 0), (80, 800))])
def test_diffusion_series_of_one_b_value_each_are_no_echoes(tmp_path, scheme):
    """They were an echo train of 60 and 80 ms, and b = 0 alone would be one as well."""
    for n, (te, b) in enumerate(scheme):
        facts = {"DiffusionBValue": float(b), "ScanningSequence": "EP", "name": f"{n}b"}
        echoes(tmp_path / "d", (te,), f"1.2.1{n}", 10 + n, **facts)
    with pytest.raises(ValueError, match="no series with several echo times found"):
        echo_volumes(read_dicom_folder(tmp_path / "d"))
    echoes(tmp_path / "d", (2, 4, 6), "1.2.9", 9, name="e")
    assert len(echo_volumes(read_dicom_folder(tmp_path / "d")).volumes) == 3


def test_the_index_of_a_disk_is_told_from_an_empty_folder(tmp_path):
    header("1.2.840.10008.1.3.10").save_as(tmp_path / "DICOMDIR")
    told = "DICOMDIR: this is the index of a disk; name the folder that it lies in."
    assert inventory(tmp_path / "DICOMDIR").left_out == [f"{tmp_path}/{told}"]
    with pytest.raises(ValueError, match="this is the index of a disk; name the folder"):
        read_source(tmp_path / "DICOMDIR")
    assert inventory(tmp_path).left_out == [f"{tmp_path}: no DICOM image is in this folder."]


def test_two_acquisitions_are_to_be_chosen_from(tmp_path):
    folder = echoes(tmp_path / "d", (2, 4, 6))
    echoes(folder, (2, 4, 6), "1.2.9", 5, name="b")
    with pytest.raises(ValueError, match=r"several multi-echo acquisitions.*#3 .*#5 "):
        echo_volumes(read_dicom_folder(folder))


@pytest.mark.parametrize(
    ("facts", "of"),
    [
        ({"PatientID": "another"}, "2 patients by their identifiers"),
        ({"StudyDate": "20110702"}, "2 days"),
    ],
)
def test_echoes_of_two_patients_or_days_are_not_joined(tmp_path, facts, of):
    """Of one sequence and grid, and echo times that go on."""
    folder = echoes(tmp_path / "d", (2, 4, 6))
    echoes(folder, (8, 10, 12), "1.2.9", 5, name="b", **facts)
    with pytest.raises(ValueError, match=f"acquisitions are here, of {of}; choose"):
        echo_volumes(read_dicom_folder(folder))
    weighted = tmp_path / "w"
    for n, uid in enumerate(("1.2.10", "1.2.11")):
        for b in (0.0, 800.0):
            given = {"DiffusionBValue": b} | (facts if n else {})
            echoes(weighted, (70,), uid, 10 + n, name=f"b{b:g}{n}", **given)
    with pytest.raises(ValueError, match=f"several diffusion series found, of {of}: "):
        diffusion_volumes(read_dicom_folder(weighted))


def test_files_beside_a_series_that_cannot_be_read_may_be_its_slices(tmp_path):
    folder = echoes(tmp_path / "d", (2, 4, 6))
    (folder / "x.dcm").write_bytes((folder / "a00.dcm").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"1 DICOM file\(s\) beside these images.*x\.dcm"):
        echo_volumes(read_dicom_folder(folder))


def test_series_of_one_number_are_named_by_keys_and_a_copy_is_told(tmp_path):
    folder = echoes(tmp_path / "d", (2,))
    echoes(folder, (2,), "1.2.8", 3, name="c")
    volume = read_source(f"{folder}#3")
    assert any("identical second copy" in note for note in volume.notes)
    for path in folder.glob("c*"):
        path.unlink()
    echoes(folder, (3,), "1.2.8", 3, name="c")
    with pytest.raises(ValueError, match="name one of") as caught:
        read_source(f"{folder}#3")
    keys = [series.key for series in read_dicom_folder(folder)]
    assert all(f"{folder}#{key}" in str(caught.value) for key in keys)
    times = [read_source(f"{folder}#{key}").attributes["EchoTime"] for key in keys]
    assert sorted(times) == [2, 3]


def test_a_broken_series_that_may_be_meant_is_not_passed_over(tmp_path):
    """A STIR must not stand in for the T1 beside it that lacks a slice."""
    from MarrowAssessLib.sources.volume_source import read_source as read_role

    folder = tmp_path / "d"
    timing = {"ScanningSequence": "SE", "FlipAngle": 90}
    stir = {"SeriesDescription": "sag stir", "RepetitionTime": 4000, **timing}
    echoes(folder, (60,), "1.2.8", 4, name="s", **stir)
    t1 = {"SeriesDescription": "sag t1", "RepetitionTime": 600, **timing}
    echoes(folder, (11,), "1.2.9", 5, slices=(0, 1, 3, 4), name="t", **t1)
    with pytest.raises(ValueError, match=r"Series 5 'sag t1'.*; to take another series.*#4\.$"):
        read_role(folder, Contrast.T1)
    assert read_role(folder, Contrast.FS_T2).array.shape == (3, 5, 4)
    assert read_role(f"{folder}#4", Contrast.T1).array.shape == (3, 5, 4)  # as the user says
    assert [
        one.facts["SeriesNumber"] for one in named_series(read_dicom_folder(folder), "4,t1")
    ] == [
        4,
        5,
    ]


def test_dicom_without_a_preamble_is_read_by_its_name_too(tmp_path):
    path = classic_slice(tmp_path, "a.dcm", 0, np.ones((5, 4), np.uint16))
    path.write_bytes(path.read_bytes()[132:])
    assert read_source(path).array.shape == (1, 5, 4)


def test_headers_with_one_wrong_number_are_still_read(tmp_path):
    """A count in words that nobody needs; a slope of 0 leaves no values."""
    path = classic_slice(tmp_path, "a.dcm", 0, np.ones((5, 4), np.uint16), EchoTrainLength="777")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"IS\x04\x00777 ", b"IS\x04\x00many"))
    read = read_source(path)
    assert read.attributes.get("EchoTrainLength", "many") == "many"
    assert read.attributes["EchoTime"] == 2.5
    classic_slice(tmp_path, "a.dcm", 0, np.ones((5, 4), np.uint16), RescaleSlope=0)
    with pytest.raises(ValueError, match="its rescale slope is 0"):
        read_source(path)
    header("1.2.840.10008.5.1.4.1.1.88.11").save_as(path)
    with pytest.raises(ValueError, match=r"this is no DICOM image\. .*Basic Text SR"):
        read_source(path)


def test_a_hash_in_the_path_is_a_part_of_its_name(tmp_path):
    folder = echoes(tmp_path / "case#1", (2,))
    assert read_source(folder).array.shape == (3, 5, 4)
    assert read_source(f"{folder}#3").array.shape == (3, 5, 4)


@pytest.mark.parametrize(
    ("places", "numbers", "blocks"),
    [
        ([0, 1, 2, 5.5, 6.5, 7.5], range(6), 2),  # no whole number of steps
        ([0, 1, 2, 7, 8, 9], range(6), 2),  # whole, but nothing is missing by number
        ([0, 1, 2, 7, 8, 9], [0, 1, 2, 7, 8, 9], 0),  # slices are missing
        ([0, 1, 2, 4, 5], range(5), 0),  # one slice is missing
        ([0, 4.0, 8.0, 12.4, 16.4, 20.4], range(6), 1),  # where beds join
        ([0, 0.1, 0.2, 0.2842, 0.4, 0.5], range(6), 1),  # half mm, rounded to tenths
    ],
)
def test_blocks_of_slices_are_volumes_and_missing_slices_are_missing(
    tmp_path, places, numbers, blocks
):
    for k, number in zip(places, numbers, strict=True):
        pixels = np.full((5, 4), int(10 * k), np.uint16)
        classic_slice(tmp_path, f"{k}.dcm", k, pixels, series="1.2", InstanceNumber=number + 1)
    (series,) = read_dicom_folder(tmp_path)
    if blocks:
        assert len(series.volumes) == blocks and series.notes
        if blocks > 1:
            assert f"its slices are {blocks} blocks with gaps between them" in series.notes[0]
        assert all(volume.array.shape[0] > 1 for volume in series.volumes)
    else:
        assert "a slice is missing" in series.problem


def test_json_that_is_written_has_no_nan(tmp_path):
    from PDFFMapperLib.images.json_file import read_json, write_json

    numbers = np.array([1.5, np.nan, np.inf])
    write_json(tmp_path / "a.json", {"a": numbers, "b": (numbers[1], float("-inf"), np.int8(2))})
    text = (tmp_path / "a.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert read_json(tmp_path / "a.json") == {"a": [1.5, None, None], "b": [None, None, 2]}


def test_a_single_file_of_a_series_is_told(tmp_path):
    for k in range(3):
        classic_slice(tmp_path, f"{k}.dcm", k, np.full((5, 4), k, np.uint16), series="1.2")
    told = "1.dcm: one slice was read; name its folder to take the whole series."
    assert told in read_source(tmp_path / "1.dcm").notes
    assert not any("one slice" in note for note in read_source(tmp_path).notes)


def test_legacy_converted_objects_tell_their_echo_times(tmp_path):
    from pydicom.filereader import dcmread

    frames = [(k, STACK[k], {"echo_time": 0}) for n in range(3) for k in range(3)]
    path = enhanced(tmp_path / "l.dcm", frames)
    data = dcmread(path)
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.4"
    for n, group in enumerate(data.PerFrameFunctionalGroupsSequence):
        del group.MREchoSequence
        facts = Dataset()
        facts.EchoTime = str(2 + n // 3)
        group.UnassignedPerFrameConvertedAttributesSequence = Sequence([facts])
    data.save_as(path)
    chosen = echo_volumes(read_dicom_folder(tmp_path))
    assert [v.attributes["EchoTime"] for v in chosen.volumes] == [2, 3, 4]


def test_a_parametric_map_is_read_with_its_unit(tmp_path):
    from pydicom.filereader import dcmread

    frames = [(k, STACK[k], {"slope": 1}) for k in range(3)]
    path = enhanced(tmp_path / "p.dcm", frames)
    data = dcmread(path)
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.30"
    unit, mapping = Dataset(), Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "1", "UCUM", "fraction"
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 0.001, 0.0
    mapping.MeasurementUnitsCodeSequence = Sequence([unit])
    for group in data.PerFrameFunctionalGroupsSequence:
        del group.PixelValueTransformationSequence
        group.RealWorldValueMappingSequence = Sequence([mapping])
    data.save_as(path)
    volume = read_source(tmp_path, "PDFF")
    np.testing.assert_allclose(volume.array, STACK * 0.001, rtol=1e-5)
    assert volume.attributes["Units"] == "1"
    from MarrowAssessLib.study.map_scale import in_stated_unit

    percent, said = in_stated_unit(volume, Contrast.PDFF)
    np.testing.assert_allclose(percent.array, STACK * 0.1, rtol=1e-5)
    assert "times 100" in said


def test_an_empty_rescale_in_one_frame_is_refused(tmp_path):
    from pydicom.filereader import dcmread

    path = enhanced(tmp_path / "p.dcm", [(k, STACK[k], {}) for k in range(3)])
    data = dcmread(path)
    group = data.PerFrameFunctionalGroupsSequence[1]
    group.PixelValueTransformationSequence[0].RescaleSlope = None
    data.save_as(path)
    (series,) = read_dicom_folder(tmp_path)
    assert "its rescaling is empty" in series.problem


# --- segmentations -------------------------------------------------------------------------------


def segmentation_nrrd(path, layers, names, **fields):
    """A .seg.nrrd, one component for each layer; `fields` by segment, such as Layer."""
    import SimpleITK as sitk

    images = [sitk.GetImageFromArray(layer.astype(np.uint8)) for layer in layers]
    image = sitk.Compose(images) if len(images) > 1 else images[0]
    for n, name in enumerate(names):
        image.SetMetaData(f"Segment{n}_Name", name)
        for key, values in fields.items():
            image.SetMetaData(f"Segment{n}_{key}", str(values[n]))
    sitk.WriteImage(image, str(path))
    return path


def test_segments_of_old_slicer_lie_in_their_own_layers(tmp_path):
    layers = [np.zeros(SHAPE), np.zeros(SHAPE)]
    layers[0][0, 0, :2], layers[1][2, 1:, :] = 1, 1
    names = ["L3 marrow", "psoas muscle"]
    drawn = regions_from_segmentation(segmentation_nrrd(tmp_path / "o.seg.nrrd", layers, names))
    assert [(r.role, r.voxels) for r in drawn.regions] == [(Role.MARROW, 2), (Role.MUSCLE, 16)]
    one = [layers[0] + 2 * layers[1]]
    with pytest.raises(ValueError, match=r"have one label \(1\) in one layer"):
        regions_from_segmentation(segmentation_nrrd(tmp_path / "q.seg.nrrd", one, names))
    names.append("fat")
    with pytest.raises(ValueError, match="which lies in which layer"):
        regions_from_segmentation(segmentation_nrrd(tmp_path / "p.seg.nrrd", layers, names))


def test_fractional_segments_are_refused_and_a_gap_in_their_numbers_loses_none(tmp_path):
    labels = np.zeros(SHAPE)
    labels[0], labels[1] = 1, 2
    names, values = ["L3 marrow", "kidney", "left psoas"], {"LabelValue": (1, 3, 2)}
    path = segmentation_nrrd(tmp_path / "s.seg.nrrd", [labels], names, **values)
    text = path.read_bytes()
    for mark in (b"Segment1_Name:=kidney\n", b"Segment1_LabelValue:=3\n"):
        text = text.replace(mark, b"")
    path.write_bytes(text)
    found = regions_from_segmentation(path).regions
    assert [one.name for one in found] == ["L3 marrow", "left psoas"]
    kind = b"Segmentation_MasterRepresentation:=Fractional labelmap\nSegment0_Name"
    path.write_bytes(text.replace(b"Segment0_Name", kind))
    with pytest.raises(ValueError, match="its segments are fractional"):
        regions_from_segmentation(path)


def test_organs_and_empty_segments_are_left_out_by_name(tmp_path):
    labels = np.zeros(SHAPE)
    labels[0], labels[1] = 1, 2
    names = ["vertebrae_L3", "kidney", "left psoas"]
    path = segmentation_nrrd(tmp_path / "s.seg.nrrd", [labels], names, LabelValue=(1, 2, 3))
    drawn = regions_from_segmentation(path)
    assert [region.name for region in drawn.regions] == ["vertebrae_L3"]
    assert drawn.left_out == [
        "kidney (no tissue named: this organ or tissue is not measured)", "left psoas (empty)"
    ]  # fmt: skip
    write_volume(drawn.grid.with_array(np.arange(labels.size).reshape(SHAPE)), tmp_path / "t1.nrrd")
    told = read_study({Contrast.T1: tmp_path / "t1.nrrd"}, segmentation=path).notes
    assert told == [f"Segments left out: {', '.join(drawn.left_out)}."]
    path = segmentation_nrrd(tmp_path / "t.seg.nrrd", [labels], ["kidney"], LabelValue=(1,))
    with pytest.raises(ValueError, match=r"no segment tells its tissue \(left out: kidney"):
        regions_from_segmentation(path)


def dicom_segmentation(path, kind, frames):
    """A DICOM segmentation of two segments; frames are (slice, number, pixels)."""
    from dicom_files import orientation, position

    labelmap = kind == "LABELMAP"
    data = header(f"1.2.840.10008.5.1.4.1.1.66.{7 if labelmap else 4}")
    data.Modality, data.SegmentationType = "SEG", kind
    if kind == "FRACTIONAL":
        data.MaximumFractionalValue = 200
    data.SegmentSequence = Sequence([Dataset(), Dataset()])
    for n, (item, name) in enumerate(
        zip(data.SegmentSequence, ("L3 marrow", "psoas muscle"), strict=True)
    ):
        item.SegmentNumber, item.SegmentLabel = n + 1, name
    plane, measures, shared = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient = [f"{value:.10g}" for value in orientation()]
    measures.PixelSpacing, measures.SliceThickness = [1.5, 2.0], 4.0
    measures.SpacingBetweenSlices = 5.0
    shared.PlaneOrientationSequence = Sequence([plane])
    shared.PixelMeasuresSequence = Sequence([measures])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for k, number, _ in frames:
        group, place, segment = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [f"{value:.10g}" for value in position(k)]
        group.PlanePositionSequence = Sequence([place])
        if not labelmap:
            segment.ReferencedSegmentNumber = number
            group.SegmentIdentificationSequence = Sequence([segment])
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = Sequence(groups)
    put_pixels(data, np.stack([pixels.astype(np.uint16) for *_, pixels in frames]))
    bits = {"BINARY": 1, "FRACTIONAL": 8, "LABELMAP": 8}[kind]
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit = bits - 1
    stack = np.stack([pixels for *_, pixels in frames])
    if bits == 1:
        data.PixelData = np.packbits(stack.ravel() > 0, bitorder="little").tobytes()
        data.PixelData += b"\0" * (len(data.PixelData) % 2)
    else:
        data.PixelData = stack.astype(np.uint8).tobytes()
    data.save_as(path)
    return path


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_dicom_segmentation_lies_on_the_image_it_was_drawn_on(tmp_path, kind, turned):
    folder = echoes(tmp_path / "t1", (10,), slices=range(4))
    image = read_source(folder)
    if turned:  # another order of slices, as other readers give it
        flip = np.diag([1.0, 1.0, -1.0, 1.0])
        flip[2, 3] = 3
        image = Volume(image.array[::-1], image.ijk_to_ras @ flip, "turned")
    one, two = np.zeros((5, 4)), np.zeros((5, 4))
    one[1:3, 1], two[4, :] = 1, 1
    full = 200 if kind == "FRACTIONAL" else 1
    if kind == "LABELMAP":
        frames = [(1, 0, one + 2 * two), (3, 0, 2 * two)]
    else:
        frames = [(1, 1, full * one), (1, 2, full * two), (3, 2, full * two)]
    path = dicom_segmentation(tmp_path / "seg.dcm", kind, frames)
    drawn = regions_from_segmentation(path, [image])
    assert drawn.grid is image
    marrow, muscle = drawn.regions
    assert (marrow.role, marrow.site, marrow.voxels) == (Role.MARROW, "L3", 2)
    assert (muscle.role, muscle.voxels) == (Role.MUSCLE, 8)
    slices = sorted({int(k) for k in np.argwhere(muscle.full_mask(image.array.shape))[:, 0]})
    assert slices == ([0, 2] if turned else [1, 3])
    alone = regions_from_segmentation(path)  # no image: from its first to its last slice
    assert alone.regions[1].voxels == 8


# --- units of maps, names, and the list of what was found -------------------------------------


def test_the_unit_of_a_map_is_judged_on_the_whole_map(spine_map):
    study = spine_map(80.0, 900.0)
    with pytest.raises(ValueError, match=r"reach 900.*--scale PDFF=0\.1"):
        study()
    assert spine_map(8.0, 90.0)().volumes[Contrast.PDFF].array.max() == 90
    # Stretched to what a picture holds: no power of ten fits, also where no voxel is all fat.
    for top in (255.0, 4095.0, 230.0, 3685.0):
        with pytest.raises(ValueError, match=r"--scale PDFF=FACTOR"):
            spine_map(0.4 * top, top)()


@pytest.mark.parametrize(
    ("contrast", "usual", "factor"), [(Contrast.T2STAR, 25.0, 1e-3), (Contrast.DSTAR, 20.0, 1e-3)]
)
def test_maps_with_voxels_gone_astray_are_judged_by_their_median(
    oblique_volume, contrast, usual, factor
):
    from MarrowAssessLib.study.map_scale import scale_advice

    rng = np.random.default_rng(1)
    values = usual * np.exp(0.3 * rng.normal(size=oblique_volume.array.shape))
    values[0] = 1e5  # where no signal was
    known = oblique_volume.with_array(values)
    assert scale_advice(known, contrast) == ""
    small = known.with_array(np.where(values == 1e5, np.nan, values) * factor)
    assert f"--scale {contrast.value}=1000" in scale_advice(small, contrast)
    assert f"--scale {contrast.value}=0.001" in scale_advice(
        known.with_array(values * 1000), contrast
    )


def test_advice_on_a_map_whose_unit_is_stated_wrongly_can_be_followed(oblique_volume):
    """Percent whose file says that they are fractions: the scale counts from the file's values."""
    from MarrowAssessLib.study.map_scale import in_stated_unit, scale_advice

    percent = oblique_volume.with_array(np.full(oblique_volume.array.shape, 90.0, np.float32))
    percent.attributes["Units"] = "1"
    scaled, _told = in_stated_unit(percent, Contrast.PDFF)
    advice = scale_advice(scaled, Contrast.PDFF)
    assert "though its file's unit was followed (times 100)" in advice
    assert "--scale PDFF=1." in advice
    percent.attributes["Units"] = "s"
    assert in_stated_unit(percent, Contrast.T2STAR)[0].array.max() == 90_000  # ms


@pytest.fixture
def spine_map(oblique_volume):
    from MarrowAssessLib.study.regions import Region

    def with_values(marrow, fat):
        mask = np.zeros(oblique_volume.array.shape, bool)
        mask[5:8, 10:20, 10:20] = True
        pdff = oblique_volume.with_array(np.where(mask, marrow, fat).astype(np.float32))
        region = Region.from_mask("L3 marrow", Role.MARROW, "L3", mask)
        return lambda: Study({Contrast.PDFF: pdff}, [region])

    return with_values


def test_the_points_of_a_list_that_was_renamed_later_are_its_region():
    from PDFFMapperLib.images.shapes import spheres

    points = np.zeros((4, 3))
    found = spheres("L3 marrow", ["F-1", "MarkupsFiducial_2", "L3 marrow-3", "fat"], points, 4.0)
    assert [(one.name, len(one.points_ras)) for one in found] == [("L3 marrow", 3), ("fat", 1)]


def test_the_points_of_a_list_are_one_region_as_slicer_numbers_them(tmp_path):
    from PDFFMapperLib.images.markups_file import read_markups

    points = [
        {"label": label, "position": [0, 10.0 * n, 0]}
        for n, label in enumerate(("L3 marrow-1", "L3 marrow-2", "", "fat"))
    ]
    markup = {"type": "Fiducial", "name": "L3 marrow", "controlPoints": points}
    (tmp_path / "p.mrk.json").write_text(json.dumps({"markups": [markup]}))
    shapes = read_markups(tmp_path / "p.mrk.json")
    assert [(one.name, len(one.points_ras)) for one in shapes] == [("L3 marrow", 3), ("fat", 1)]


def test_inspect_lists_what_was_found_and_what_was_not(tmp_path, capsys):
    from MarrowAssessLib.commands.main import main

    folder = echoes(tmp_path / "d", (2, 4, 6))
    echoes(folder, (10,), "1.2.9", 7, slices=(0, 1, 3), name="t", ScanningSequence="SE")
    write_volume(Volume(STACK.astype(np.float32), MATRIX, "x"), folder / "sub-1_T1w.nii.gz")
    (folder / "notes.txt").write_text("x" * 200)
    found = inventory(folder)
    by_name = {series.name: series for series in found.series}
    assert [v.echo_time_ms for v in by_name["3"].volumes] == [2, 4, 6]
    assert by_name["3"].volumes[0].role == "multi_echo"
    assert by_name["3"].volumes[0].ground == "3 echoes"
    assert by_name["3"].volumes[0].size == (4, 5, 3)
    assert "a slice is missing" in by_name["7"].problem
    assert by_name["sub-1_T1w.nii.gz"].volumes[0].ground == "BIDS name T1w"
    assert found.left_out == ["files that are neither image, spectrum nor DICOM: 1 x .txt."]
    assert main(["inspect", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "#3 a series" in text and "pdff: 3 volumes, TE 2, 4, 6 ms." in text
    assert main(["inspect", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["series"][0]["name"] == "3"


def test_inspect_folds_volumes_that_are_alike(tmp_path, capsys):
    """Twenty points in time, or the blocks of slices at five discs, are one line."""
    from MarrowAssessLib.commands.main import main

    for n in range(5):
        for k in range(3):
            classic_slice(
                tmp_path, f"{n}_{k}", 10 * n + k, STACK[k], series="1.2", SeriesNumber=4,
                InstanceNumber=3 * n + k + 1, EchoTime=100, RepetitionTime=4000,
            )  # fmt: skip
    assert main(["inspect", str(tmp_path)]) == 0
    (line,) = (text for text in capsys.readouterr().out.splitlines() if "4:1" in text)
    assert line.strip().startswith("4:1 to 4:5: ") and line.endswith("(5 volumes alike)")


def test_a_map_that_keeps_a_b_value_is_no_diffusion_image(tmp_path, capsys):
    from MarrowAssessLib.commands.main import main

    for k in range(3):
        classic_slice(
            tmp_path, f"{k}", k, STACK[k], series="1.2", SeriesNumber=7, DiffusionBValue=500.0,
            SeriesDescription="Apparent Diffusion Coefficient", InstanceNumber=k + 1,
        )  # fmt: skip
    assert main(["inspect", str(tmp_path)]) == 0
    assert "ivim: the folder: no diffusion series" in capsys.readouterr().out


def test_inspect_knows_ute_pet_spectra_and_what_is_no_image(tmp_path):
    import spectrum_files

    for n, (te, facts) in enumerate(
        ((0.05, {}), (2.2, {}), (None, {"Modality": "PT"}), (None, {"Modality": "CT", "KVP": "80"}))
    ):
        number = max(1, n)
        facts = {"EchoTime": te, "SeriesNumber": number, "series": f"1.{number}"} | facts
        for k in range(2):
            classic_slice(tmp_path, f"{n}{k}.dcm", k, STACK[k], InstanceNumber=2 * n + k, **facts)
    fid = np.exp(-0.01 * np.arange(64)) + 0j
    spectrum_files.write_rda(tmp_path / "x.rda", fid)
    spectrum_files.write_dicom(tmp_path / "x.ima", fid)
    header("1.2.840.10008.5.1.4.1.1.88.22").save_as(tmp_path / "report.dcm")
    label = np.ones(SHAPE)
    segmentation_nrrd(tmp_path / "s.seg.nrrd", [label], ["L3"], LabelValue=(1,))
    write_series([Volume(STACK + 0.0, MATRIX, "x")] * 2, tmp_path / "dwi.nii")
    (tmp_path / "dwi.bval").write_text("0 500")
    (tmp_path / "cut.sdat").write_bytes(b"x")
    found = inventory(tmp_path)
    by_name = {series.name: series for series in found.series}
    roles = [(v.role, v.ground) for n in "123" for v in by_name[n].volumes]
    early = ("ute", "first echo at 0.05 ms")
    assert roles == [early, early, ("suv", "modality PT"), ("ct_low", "CT at 80 kV")]
    assert by_name["x.rda"].content == by_name["x.ima"].content == "spectrum of 1H, TE 30 ms"
    assert by_name["s.seg.nrrd"].content == "segmentation"
    assert [v.b_value for v in by_name["dwi.nii"].volumes] == [0, 500]
    assert "two files of one name" in by_name["cut.sdat"].problem
    assert found.left_out == [
        "DICOM objects without images in space were left out: 1 x Enhanced SR Storage.",
        "files that are neither image, spectrum nor DICOM: 1 x .bval.",
    ]
    assert "   spectrum of 1H, TE 30 ms" in lines(found, tmp_path)
    assert "   and 1 more of this folder, up to x.ima" in lines(found, tmp_path)
    (tmp_path / "empty").mkdir()
    (said,) = inventory(tmp_path / "empty").left_out
    assert said.endswith("empty: no file is in this folder.")


@pytest.mark.parametrize(
    ("name", "role", "site"),
    [
        ("vertebrae_L3", Role.MARROW, "L3"),
        ("T13 marrow", Role.MARROW, "T13"),
        ("L6", Role.MARROW, "L6"),
        ("T13-L1", Role.DISC, "T13-L1"),
        ("autochthon_left", Role.MUSCLE, "left erector spinae"),
        ("iliopsoas_right", Role.MUSCLE, "right psoas"),
        ("gluteus_maximus_left", Role.MUSCLE, "left gluteus"),
        ("hip_right", Role.MARROW, "right ilium"),
        ("femur_left", Role.MARROW, "left proximal femur"),
        ("proximal femur left", Role.MARROW, "left proximal femur"),
        ("LWK3", Role.MARROW, "L3"),
        ("L3 body", Role.MARROW, "L3"),
        ("L3 marrow-1", Role.MARROW, "L3"),
        ("L3 marrow_1", Role.MARROW, "L3"),
        ("L3 marrow copy", Role.MARROW, "L3"),
        ("L3 marrow (2)", Role.MARROW, "L3"),
        ("marrow (L3)", Role.MARROW, "L3"),
        ("lumbar vertebra 3", Role.MARROW, "L3"),
        ("L3 Wirbelkörper", Role.MARROW, "L3"),
        ("disc_L3_L4", Role.DISC, "L3-L4"),
        ("L5_S1", Role.DISC, "L5-S1"),
        ("IVD L3/L4", Role.DISC, "L3-L4"),
        ("Bandscheibe L3/4", Role.DISC, "L3-L4"),
        ("L3marrow", Role.MARROW, "L3"),
        ("L 3", Role.MARROW, "L3"),
        ("VB L3", Role.MARROW, "L3"),
        ("Marrow-L3", Role.MARROW, "L3"),
        ("L3-VB", Role.MARROW, "L3"),
        ("vertebrae_L3_1", Role.MARROW, "L3"),
        ("Copy of L3 marrow", Role.MARROW, "L3"),
        ("L3 marrow.001", Role.MARROW, "L3"),
        ("L3 Knochenmark", Role.MARROW, "L3"),
        ("os ilium links", Role.MARROW, "left ilium"),
        ("M. psoas links", Role.MUSCLE, "left psoas"),
        ("Musculus psoas", Role.MUSCLE, "psoas"),
        ("psoas_1", Role.MUSCLE, "psoas"),
        ("Corpus vertebrae L3", Role.MARROW, "L3"),
        ("L3 vertebra body", Role.MARROW, "L3"),
        ("3rd lumbar vertebra", Role.MARROW, "L3"),
        ("12th_thoracic_vertebra", Role.MARROW, "T12"),
        ("vertebrae L3 - bone marrow", Role.MARROW, "L3"),
        ("VertebralBody_L3", Role.MARROW, "L3"),
        ("PsoasMuscle_L", Role.MUSCLE, "left psoas"),
        ("psoas-major-left", Role.MUSCLE, "left psoas"),
        ("L3.nii.gz", Role.MARROW, "L3"),
        ("spine_L03", Role.MARROW, "L3"),
        ("marrow L3 ROI", Role.MARROW, "L3"),
        ("vertèbre L3", Role.MARROW, "L3"),
        ("Psoasmuskel links", Role.MUSCLE, "left psoas"),
        ("paravertebral muscle", Role.MUSCLE, "paraspinal"),
        ("intervertebral disc L3 L4", Role.DISC, "L3-L4"),
        ("lumbar 3 vertebral body", Role.MARROW, "L3"),
        ("Lumbar Vertebra L3", Role.MARROW, "L3"),
        ("Wirbelkoerper L3", Role.MARROW, "L3"),
        ("corpo vertebrale L3", Role.MARROW, "L3"),
        ("SAT", Role.FAT, ""),
    ],
)
def test_names_of_other_tools_and_of_transitional_vertebrae(name, role, site):
    assert role_and_site(name) == (role, site)


@pytest.mark.parametrize(
    ("name", "role", "site"),
    [
        ("lumbar vertebrae 3 (L3)", Role.MARROW, "L3"),
        ("Structure of third lumbar vertebra", Role.MARROW, "L3"),
        ("Vertebra L III", Role.MARROW, "L3"),
        ("3. Lendenwirbelkörper", Role.MARROW, "L3"),
        ("tercera vértebra lumbar", Role.MARROW, "L3"),
        ("wervellichaam L2", Role.MARROW, "L2"),
        ("VB_L3_T1", Role.MARROW, "L3"),
        ("T2w_L3_VB", Role.MARROW, "L3"),
        ("T1 psoas left", Role.MUSCLE, "left psoas"),
        ("vertebrae_T1", Role.MARROW, "T1"),
        ("ROI L4 marrow 2", Role.MARROW, "L4"),
        ("left distal femur", Role.MARROW, "left distal femur"),
        ("distal left femur", Role.MARROW, "left distal femur"),
        ("V1-V2", Role.DISC, "V1-V2"),
        ("L3 marrow v2", Role.MARROW, "L3"),
        ("Beckenkamm links", Role.MARROW, "left iliac crest"),
        ("IVD_L4L3", Role.DISC, "L3-L4"),
        ("disc_L5_S", Role.DISC, "L5-S1"),
        ("C7T1 disc", Role.DISC, "C7-T1"),
        ("disc_th12_l1", Role.DISC, "T12-L1"),
        ("psoas L at L3", Role.MUSCLE, "left psoas"),
        ("músculo psoas esquerdo", Role.MUSCLE, "left psoas"),
        ("graisse sous-cutanée", Role.FAT, ""),
        ("background air", Role.NOISE, ""),
        ("subcutaneous fat L3", Role.FAT, "L3"),
        ("skeletal__vertebra-l3", Role.MARROW, "L3"),
        ("marrow V3", Role.MARROW, "V3"),
        ("sub-01_L3", Role.MARROW, "L3"),
        ("reader 1 L3", Role.MARROW, "L3"),
        ("csf at L3 level", Role.CSF, "L3"),
        ("L4-L5 disc space", Role.DISC, "L4-L5"),
        ("distal left femoral metaphysis", Role.MARROW, "left distal femur"),
    ],
)
def test_names_are_read_by_their_words_in_any_order_and_language(name, role, site):
    assert role_and_site(name) == (role, site)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("L3 pedikel", "arches and processes are not the vertebral body"),
        ("L3 endplate", "an endplate is not marrow"),
        ("cortex L3", "cortical bone is not marrow"),
        ("thecal_sac", "the canal and the dural sac hold cord or roots beside CSF"),
        ("Rückenmark", "the spinal cord is not measured"),
        ("moelle L3", "it may be marrow or the spinal cord"),
        ("L4 nerve root", "nerves and vessels are not measured"),
        ("L3 hemangioma", "it may be any disease; 'lesion' with its site is measured as one"),
        ("tibia", "its ends differ: name one, such as 'proximal tibia'"),
        ("vert_22", "22 alone does not say which; programs count differently"),
        ("L9", "there is no vertebra L9"),
        ("L3 quux", "the word 'quux' is not known"),
        ("L3 marrow muscle", "it names marrow and muscle"),
        ("left right psoas", "it names two sides"),
        ("psoas multifidus", "it names two muscles"),
        ("sacrum sternum", "it names two bones"),
        ("vertebra fat", "it names a vertebra and fat"),
        ("T1", "T1 may be the vertebra or the image; name it 'T1 marrow' or 'T1 vertebra'"),
        ("T2 CSF", "T2 may be the vertebra or the image"),
        ("L", "no word of it names a tissue or a site"),
        ("thoracic L3", r"it names two places \(L3, T\)"),
        ("lumbar thoracic", "it names two parts of the spine"),
        ("psoas L 3", "'L' and a number may be the left side or a lumbar vertebra"),
        ("sternum psoas", "it names a bone and a muscle"),
        ("sacrum L5", "it names a bone and L5"),
        ("disc sternum", "a disc lies between two vertebrae: name both"),
        ("lumbar disc", "a disc lies between two vertebrae: name both"),
        ("left muscle", "it names a side of something that is not named"),
        ("left half of L3", "the word 'half' is not known"),
        ("L3 left", "one side of L3 is not all of it"),
        ("IVD_L3", "a disc lies between two neighboring vertebrae: name both"),
        ("L3-S1 marrow", r"it names several vertebrae \(L3, S1\)"),
        ("L3 marrow 2 5", "it is not clear what 2 and 5 count"),
        ("L3/L4 disc 2", "it is not clear what 2 counts"),
        ("lumbar marrow 2", "it is not clear what 2 counts"),
        ("L3 and psoas", "it names several things, or what is not there"),
        ("no L3", "it names several things, or what is not there"),
        ("L3 + L4", "it names several things"),
        ("L3.5", "a number with decimals is no vertebra"),
        ("fat in L3", "the word 'in' is not known"),
        ("L3 fat", "fat of L3 may be its marrow; name it 'subcutaneous fat' or 'L3 marrow'"),
        ("body", "a body of what is not said"),
        ("M1", "no word of it names a tissue or a site"),
        ("muscle V2", "V2 may be a vertebra or a version"),
        ("L1, L2", "it names several vertebrae"),
        ("C7-T2", "T2 may be an image or the end of a range"),
        ("T1, T2", "it names several vertebrae"),
        ("hip fat", "it names a bone and fat"),
        ("lumbar fat", "fat of a part of the spine may be its marrow; name it 'subcutaneous fat'"),
        ("slice 3-5 L4", "it is not clear what 3 counts"),
        ("¬L3", "'¬' is not understood"),
        ("не L3", "'не' is not understood"),
        ("L3->L4", "'>' is not understood"),
        ("L3?", "its question mark says that it is not certain"),
        ("T12-L1 level", "it tells the height of T12, and no tissue"),
        ("L3-5", "L3-5 may be a range or a repeat"),
        ("case 3 lumbar", "it is not clear what 3 counts"),
        ("slice L3", "the word 'slice' is not known"),
    ],
)
def test_a_name_that_may_be_understood_in_two_ways_or_is_no_tissue_says_why(name, why):
    with pytest.raises(ValueError, match=f"tells no tissue role: {why}"):
        role_and_site(name)


def test_a_bare_t1_is_a_vertebra_among_its_neighbors():
    assert role_and_site("T1", beside=["C7", "T1", "T2"]) == (Role.MARROW, "T1")
    assert role_and_site("T2", beside=["vertebrae_T1", "T2"]) == (Role.MARROW, "T2")
    for beside in (["T1", "T2"], ["T1", "L3"], ["T1", "T2", "T2w"]):
        with pytest.raises(ValueError, match="may be the vertebra or the image"):
            role_and_site("T1", beside=beside)


def test_one_unknown_name_does_not_stop_the_other_regions(tmp_path):
    image = read_volume(nifti(tmp_path / "t1.nii", STACK.astype(np.int16)))
    center = image.ijk_to_ras @ [*(np.array(image.array.shape[::-1]) // 2), 1]
    point = {"position": list(center[:3] * [-1, -1, 1]), "label": "L3 marrow"}

    def markups(*labels):
        points = [{**point, "label": label} for label in labels]
        markup = {"type": "Fiducial", "name": "mine", "controlPoints": points}
        path = tmp_path / "m.mrk.json"
        path.write_text(json.dumps({"markups": [markup]}))
        return path

    study = read_study({Contrast.T1: tmp_path / "t1.nii"}, markups=[markups("L3", "here", "fat")])
    assert [region.name for region in study.regions] == ["L3", "fat"]
    said = "here (no tissue named: the word 'here' is not known)"
    assert study.inputs["left out"] == said and f"Markups left out: {said}." in study.notes
    with pytest.raises(ValueError, match=r"no shape tells its tissue \(left out: here"):
        read_study({Contrast.T1: tmp_path / "t1.nii"}, markups=[markups("here")])


@pytest.mark.parametrize("mode", ["0.000000", "2.000000"])
def test_ge_images_of_reversed_phase_encoding_are_refused(tmp_path, mode):
    data = header(series="1.2")
    block = data.private_block(0x0019, "GEMS_ACQU_01", create=True)
    block.add_new(0x9C, "LO", "research/ABCD/epi_pepolar")
    block.add_new(0xB3, "DS", mode)
    data.ImagePositionPatient, data.PixelSpacing = [0, 0, 0], [1, 1]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    put_pixels(data, STACK[0])
    data.save_as(tmp_path / "a.dcm")
    (series,) = read_dicom_folder(tmp_path)
    assert ("stores images of reversed phase encoding upside down" in series.problem) == (
        mode[0] == "2"
    )


def test_values_that_are_given_win_and_what_the_files_say_is_told(tmp_path):
    for n, te in enumerate(("1.2", "2.4")):
        for k in range(2):
            facts = {"EchoTime": te, "InstanceNumber": 2 * n + k, "DiffusionBValue": 400.0 * n}
            classic_slice(tmp_path, f"{n}{k}.dcm", k, STACK[k], series="1.2", **facts)
    _, times, notes = read_echoes([tmp_path], echo_times=[1, 2], unit="ms")
    assert times == [0.001, 0.002]
    said = "The echo times given (1, 2 ms) are used; the files state 1.2, 2.4 ms."
    assert said in notes
    assert not read_echoes([tmp_path], echo_times=[1.2, 2.4], unit="ms")[2]
    _, b_values, notes = read_diffusion([tmp_path], [0, 600])
    assert list(b_values) == [0, 600]
    assert "The b-values given (0, 600 s/mm^2) are used; the files state 0, 400 s/mm^2." in notes
    path = nifti(tmp_path / "a.nii", np.stack([STACK, STACK]).astype(np.int16))
    (tmp_path / "a.json").write_text(json.dumps({"EchoTime": [0.0012, 0.0024]}))
    _, _, notes = read_echoes([path], echo_times=[1, 2], unit="ms")
    assert said in notes


def test_a_field_that_is_given_wins_and_what_the_headers_say_is_told(tmp_path):
    for n, te in enumerate(("1.2", "2.4", "3.6")):
        for k in range(2):
            facts = {"EchoTime": te, "InstanceNumber": 2 * n + k, "ImagingFrequency": 123.2}
            classic_slice(tmp_path, f"{n}{k}.dcm", k, STACK[k], series="1.2", **facts)
    volumes, times, _ = read_echoes([tmp_path])
    train = echo_train(volumes, times, field_strength_t=1.5)
    assert train.field_strength_t == 1.5
    assert "The field strength given (1.5 T) is used; the headers state 2.894 T." in train.notes
    assert not echo_train(volumes, times, field_strength_t=2.9).notes
    volumes[0].attributes["MagneticFieldStrength"] = 1.5
    with pytest.raises(ValueError, match="different field strengths"):
        echo_train(volumes, times)
    said = echo_train(volumes, times, field_strength_t=2.89).notes
    assert said == ["The field strength given (2.89 T) is used; the headers contradict it."]


def test_a_b_value_on_another_grid_is_told(tmp_path):
    for n, b in enumerate((0.0, 400.0, 800.0)):
        for k in range(3):
            facts = {"DiffusionBValue": b, "InstanceNumber": k, "SeriesNumber": 5 + n}
            classic_slice(tmp_path, f"{n}{k}.dcm", k, STACK[k], series=f"1.{n}", **facts)
    for k in range(3):
        data = pydicom.dcmread(tmp_path / f"2{k}.dcm")
        data.PixelSpacing = [1.7, 2.0]
        data.save_as(tmp_path / f"2{k}.dcm")
        if k < 2:
            with pytest.raises(ValueError, match=r"#7 .* has \d slices where the others have 3"):
                read_diffusion([tmp_path], None)
    volumes, _, notes = read_diffusion([tmp_path], None)
    assert [volume.attributes["DiffusionBValue"] for volume in volumes] == [0, 400]
    assert "Left out: series #7 is of the same sequence and on another grid." in notes


def test_copies_of_one_identifier_with_other_voxels_are_refused(tmp_path):
    for k in range(2):
        path = classic_slice(tmp_path, f"{k}.dcm", k, STACK[k], series="1.2", InstanceNumber=k)
    (tmp_path / "copy.dcm").write_bytes(path.read_bytes())
    (series,) = read_dicom_folder(tmp_path)
    assert not series.problem and "1 second copies of files were left out" in series.notes[0]
    data = pydicom.dcmread(path)
    data.PixelData = (STACK[k] + 1).astype(np.uint16).tobytes()
    data.save_as(tmp_path / "copy.dcm")
    (series,) = read_dicom_folder(tmp_path)
    assert "copy.dcm: 1.dcm has its identifier, number and place, and other" in series.problem


# --- measurements of nothing ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["L3 pedicle", "tumor L3", "L3 marrow and psoas", "spinal cord", "bone", "left right psoas",
     "nerve root L3", "cortical bone L3", "left half of L3", "thoracic L3",
     "fat around psoas", "3"],
)  # fmt: skip
def test_a_name_of_which_one_word_is_unknown_tells_nothing(name):
    with pytest.raises(ValueError, match="tells no tissue role"):
        role_and_site(name)


def test_one_image_in_two_roles_is_refused(tmp_path):
    from MarrowAssessLib.sources.study_files import read_study
    from PDFFMapperLib.water_fat.recipe import WATER_FAT

    path = nifti(tmp_path / "a.nii", STACK.astype(np.int16))
    with pytest.raises(ValueError, match="water and fat are the same image"):
        read_study({Contrast.WATER: path, Contrast.FAT: path})
    image = read_volume(path)
    with pytest.raises(ValueError, match="two of the images are the same"):
        WATER_FAT.recipe("water-fat").make([image, image])


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_leaves_nothing_is_refused(tmp_path, factor):
    from MarrowAssessLib.sources.study_files import read_study

    path = nifti(tmp_path / "a.nii", STACK.astype(np.int16))
    with pytest.raises(ValueError, match="a factor above 0 is expected"):
        read_study({Contrast.ADC: path}, scale={Contrast.ADC: factor})


def test_b_values_in_reverse_are_refused():
    from PDFFMapperLib.diffusion.recipe import DIFFUSION

    images = [
        Volume(np.full((2, 6, 6), 1000 * np.exp(-0.7e-3 * b)), np.eye(4), f"b{b}")
        for b in (0, 400, 800)
    ]
    with pytest.raises(ValueError, match="check the order of the b-values"):
        DIFFUSION.recipe("adc").make(images, b_values=[800, 400, 0])


@pytest.mark.parametrize("empty", [0.0, np.nan, np.inf])
def test_an_empty_image_is_no_image(spine_map, empty):
    with pytest.raises(ValueError, match="this image is empty: it holds no number other than 0"):
        spine_map(empty, empty)()


def test_computed_parts_may_be_above_0_everywhere():
    """Whole numbers above 0 had an offset added by the scanner; others need not."""
    parts = [
        (part, Volume(np.full(SHAPE, value, np.float32), np.eye(4), part, {"ImageComponent": part}))
        for part, value in (("real", 3.25), ("imaginary", 1.5))
    ]
    volumes = [one.with_array(one.array + n) for n in range(3) for _part, one in parts]
    times = [2.0, 2.0, 4.0, 4.0, 6.0, 6.0]
    assert echo_train(volumes, times, "ms").is_complex
    whole = [one.with_array(np.rint(one.array)) for one in volumes]
    with pytest.raises(ValueError, match="hold no negative value; an offset must have been"):
        echo_train(whole, times, "ms")


def test_a_file_where_results_should_go_is_refused_before_anything_is_computed(tmp_path):
    from PDFFMapperLib.images.outputs import refuse_foreign

    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match="file: this is a file where a folder"):
            refuse_foreign(folder, "record.json")


def test_imaginary_images_of_zeros_are_no_phase():
    real = [Volume(STACK - 120.0, MATRIX, "r", {"ImageComponent": "real"}) for _ in range(3)]
    zero = [Volume(STACK * 0.0, MATRIX, "i", {"ImageComponent": "imaginary"}) for _ in range(3)]
    with pytest.raises(ValueError, match="imaginary images are 0 everywhere"):
        echo_train([*real, *zero], [1, 2, 3] * 2, "ms", 3.0)


@pytest.mark.parametrize("labels", [STACK + 0.5, STACK * 0, -STACK.astype(float)])
def test_a_map_that_is_no_label_map_is_refused_before_hours_of_work(tmp_path, labels):
    from MarrowAssessLib.commands.main import main

    echo = nifti(tmp_path / "e.nii", np.stack([STACK] * 3).astype(np.float32))
    regions = nifti(tmp_path / "l.nii", labels.astype(np.float32))
    arguments = ["--echo-times", "1,2,3", "--unit", "ms", "--field", "3", "--out", tmp_path / "o"]
    assert main(["pdff", str(echo), "--regions", str(regions), *map(str, arguments)]) == 2
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("change", [{"HighBit": 3}, {"BitsStored": 32}, {"Rows": 2}])
def test_a_dicom_header_that_contradicts_its_voxels_is_refused(tmp_path, change):
    from pydicom.filereader import dcmread

    path = classic_slice(tmp_path, "a.dcm", 0, STACK[0])
    data = dcmread(path)
    for keyword, value in change.items():
        setattr(data, keyword, value)
    data.save_as(path)
    with pytest.raises(ValueError, match=r"contradicts itself|its header says"):
        read_source(tmp_path)


def test_complex_diffusion_images_are_refused_as_such(tmp_path):
    stack = np.stack([STACK * (1 + 1j)] * 4).astype(np.complex64)
    path = nifti(tmp_path / "d.nii", stack)
    (tmp_path / "d.bval").write_text("0 100 400 800")
    with pytest.raises(ValueError, match="are complex, and diffusion is fitted to magnitudes"):
        read_diffusion([path])


def test_a_color_picture_of_one_channel_is_no_image(tmp_path):
    from pydicom.filereader import dcmread

    for k in range(3):
        path = classic_slice(tmp_path, f"{k}.dcm", k, STACK[k], series="1.2", InstanceNumber=k + 1)
        data = dcmread(path)
        data.PhotometricInterpretation = "PALETTE COLOR"
        data.save_as(path)
    with pytest.raises(ValueError, match=r"it is a color picture .palette., no image with values"):
        read_source(tmp_path)


def test_what_stands_in_the_place_of_an_image_is_named(tmp_path):
    contours = header("1.2.840.10008.5.1.4.1.1.481.3", Modality="RTSTRUCT")
    contours.save_as(tmp_path / "rs.dcm")
    with pytest.raises(
        ValueError, match=r"a DICOM file \(RT Structure Set Storage\), which cannot"
    ):
        regions_from_segmentation(tmp_path / "rs.dcm")


@pytest.mark.parametrize(("tilt", "volumes"), [(0.005, 1), (0.03, 0)])
def test_slices_turned_by_less_than_a_voxel_are_one_volume(tmp_path, tilt, volumes):
    from pydicom.filereader import dcmread

    for k in range(6):
        path = classic_slice(
            tmp_path, f"{k}.dcm", k, STACK[k % 3], series="1.2", InstanceNumber=k + 1
        )
        if k % 2:
            data = dcmread(path)
            turned = np.array(data.ImageOrientationPatient, float)
            turned[3:] += tilt * np.cross(turned[:3], turned[3:])
            turned[3:] /= np.linalg.norm(turned[3:])
            data.ImageOrientationPatient = [f"{value:.10g}" for value in turned]
            data.save_as(path)
    (series,) = read_dicom_folder(tmp_path)
    assert len(series.contents) == volumes and ("sideways" in series.problem) != volumes


def test_a_cut_enhanced_part_of_an_acquisition_is_not_passed_over(tmp_path):
    """Its header is whole and tells that it belongs: magnitude is not fitted alone."""
    times = (1.2, 2.4, 3.6, 4.8)
    frames = [(k, STACK[k], {"echo_time": time}) for time in times for k in range(3)]
    for n in (1, 2):
        enhanced(tmp_path / f"{n}.dcm", frames, series=f"1.2.{n}", SeriesNumber=n)
    whole = (tmp_path / "2.dcm").read_bytes()
    (tmp_path / "2.dcm").write_bytes(whole[:-60])
    with pytest.raises(ValueError, match=r"Series 2 .*2\.dcm: this file is truncated"):
        read_echoes([tmp_path])


def test_a_folder_of_one_broken_series_says_what_is_broken(tmp_path):
    for k in (0, 1, 3):
        classic_slice(tmp_path, f"{k}.dcm", k, STACK[0], series="1.2", InstanceNumber=k + 1)
    with pytest.raises(ValueError, match="a slice is missing"):
        guess_study(tmp_path)
