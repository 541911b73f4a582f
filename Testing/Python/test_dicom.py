"""DICOM folders: written on the fly, and real vendor files where the shared cases are there."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import (
    COLUMN,
    NORMAL,
    ORIGIN,
    ROW,
    classic_slice,
    enhanced,
    header,
    orientation,
    position,
    put_pixels,
)
from PDFFMapperLib.dicom.facts import component_of, without_ge_offset
from PDFFMapperLib.dicom.folder import read_dicom_folder
from PDFFMapperLib.dicom.siemens import siemens_csa
from PDFFMapperLib.images.attributes import words_of
from PDFFMapperLib.images.files import volume_from_image
from PDFFMapperLib.images.patient import PatientFacts
from pydicom.uid import generate_uid

warnings.filterwarnings("ignore", module="pydicom")

SHARED = Path(
    os.environ.get("MARROWASSESS_SHARED", Path(__file__).resolve().parents[2].parent / "shared")
)
CASES = SHARED / "cases" / "dicom"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"no shared cases at {CASES}")
RAS = np.diag([-1.0, -1.0, 1.0])


def picture(k: int, value: int = 0) -> np.ndarray:
    """A 6 x 8 slice whose pixels tell slice, row and column."""
    rows, columns = np.mgrid[:6, :8]
    return (1000 * k + 10 * rows + columns + value).astype(np.uint16)


def write_series(folder: Path, slices=range(5), uid: str | None = None, tag: str = "", **facts):
    """Write a classic series in scrambled file order; returns its UID."""
    uid = uid or generate_uid()
    for n, k in enumerate(reversed(list(slices))):
        classic_slice(
            folder, f"IM{tag}_{n:03d}", k, picture(k), series=uid, InstanceNumber=n + 1, **facts
        )
    return uid


# --- geometry and voxels ------------------------------------------------------------------------


def test_oblique_series_has_exact_geometry_and_slices_in_order(tmp_path):
    write_series(tmp_path)
    (series,) = read_dicom_folder(tmp_path)
    (volume,) = series.volumes
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, [picture(k) for k in range(5)])
    np.testing.assert_allclose(volume.to_ras([0, 0, 0]), RAS @ ORIGIN, atol=1e-6)
    expected = ORIGIN + 3 * 2.0 * ROW + 4 * 1.5 * COLUMN + 2 * 5.0 * NORMAL
    np.testing.assert_allclose(volume.to_ras([3, 4, 2]), RAS @ expected, atol=1e-6)
    np.testing.assert_allclose(volume.spacing, [2.0, 1.5, 5.0], atol=1e-6)


def test_geometry_and_voxels_agree_with_simpleitk(tmp_path):
    write_series(tmp_path)
    (volume,) = read_dicom_folder(tmp_path)[0].volumes
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    other = volume_from_image(reader.Execute(), "SimpleITK")
    assert volume.same_grid(other, 1e-4)
    np.testing.assert_array_equal(volume.array, other.array)


def test_rescaling_of_each_slice_is_applied(tmp_path):
    uid = generate_uid()
    for k in range(3):
        classic_slice(
            tmp_path, f"{k}", k, picture(k), series=uid, RescaleSlope=k + 0.5, RescaleIntercept=-k
        )
    (volume,) = read_dicom_folder(tmp_path)[0].volumes
    np.testing.assert_allclose(volume.array, [picture(k) * (k + 0.5) - k for k in range(3)])


def test_philips_images_of_different_display_scale_are_made_comparable(tmp_path):
    uid = generate_uid()
    for n, (slope, scale) in enumerate([(1.0, 0.5), (2.0, 0.125)]):
        for k in range(2):
            data = header(series=uid, Manufacturer="Philips", EchoTime=f"{n + 1}")
            data.ImagePositionPatient, data.ImageOrientationPatient = position(k), orientation()
            data.PixelSpacing = [1, 1]
            data.RescaleSlope, data.RescaleIntercept = slope, 0
            data.add_new((0x2005, 0x0010), "LO", "Philips MR Imaging DD 001")
            data.add_new((0x2005, 0x100E), "FL", scale)
            put_pixels(data, picture(k))
            data.save_as(tmp_path / f"{n}{k}")
    (series,) = read_dicom_folder(tmp_path)
    first, second = series.volumes  # measured = stored / scale slope
    np.testing.assert_allclose(first.array, np.stack([picture(0), picture(1)]) / 0.5)
    np.testing.assert_allclose(second.array, np.stack([picture(0), picture(1)]) / 0.125)
    assert any("scale slope" in note for note in series.notes)


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_compressed_images_are_decoded(tmp_path, compressor):
    pixels = picture(1) * 3
    image = sitk.GetImageFromArray(pixels[None])
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.SetFileName(str(tmp_path / "compressed.dcm"))
    writer.Execute(image)
    compressed = pydicom.dcmread(tmp_path / "compressed.dcm")
    assert compressed.file_meta.TransferSyntaxUID.is_compressed
    folder = tmp_path / "series"
    folder.mkdir()
    data = header(RescaleSlope=2, RescaleIntercept=-7)
    data.ImagePositionPatient, data.ImageOrientationPatient = position(0), orientation()
    data.PixelSpacing = [1, 1]
    put_pixels(data, pixels)
    data.file_meta.TransferSyntaxUID = compressed.file_meta.TransferSyntaxUID
    data.PixelData = compressed.PixelData
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    data.save_as(folder / "image")
    (volume,) = read_dicom_folder(folder)[0].volumes
    np.testing.assert_array_equal(volume.array[0], pixels * 2.0 - 7)
    whole = (folder / "image").read_bytes()
    (folder / "image").write_bytes(whole[:-60])
    with pytest.raises(ValueError, match="image: its voxels cannot be read"):
        _ = read_dicom_folder(folder)[0].volumes


def test_rle_images_are_decoded(tmp_path):
    path = classic_slice(tmp_path, "image", 0, picture(2))
    data = pydicom.dcmread(path)
    data.compress(pydicom.uid.RLELossless)
    data.save_as(path)
    (volume,) = read_dicom_folder(tmp_path)[0].volumes
    np.testing.assert_array_equal(volume.array[0], picture(2))


def test_localizer_of_three_planes_gives_three_volumes(tmp_path):
    uid = generate_uid()
    planes = [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]]
    for n, plane in enumerate(planes):
        data = header(series=uid)
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 0], plane
        data.PixelSpacing = [1, 1]
        put_pixels(data, picture(n))
        data.save_as(tmp_path / str(n))
    (series,) = read_dicom_folder(tmp_path)
    assert [volume.array.shape for volume in series.volumes] == [(1, 6, 8)] * 3
    np.testing.assert_allclose([v.spacing[2] for v in series.volumes], 4.0)  # slice thickness


def test_siemens_mosaic_becomes_a_stack(tmp_path):
    tiles = np.zeros((12, 16), np.uint16)
    for k in range(3):  # 3 slices of 6 x 8 in 2 x 2 tiles
        tiles[k // 2 * 6 :, k % 2 * 8 :][:6, :8] = picture(k + 1)
    data = header(Manufacturer="SIEMENS", ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    middle = ORIGIN - ROW * 2.0 * (16 - 8) / 2 - COLUMN * 1.5 * (12 - 6) / 2
    data.ImagePositionPatient = [f"{value:.10g}" for value in middle]
    data.ImageOrientationPatient = [f"{value:.10g}" for value in orientation()]
    data.PixelSpacing = [1.5, 2.0]
    data.add_new((0x0019, 0x0010), "LO", "SIEMENS MR HEADER")
    data.add_new((0x0019, 0x100A), "US", 3)
    data.add_new((0x0029, 0x0010), "LO", "SIEMENS CSA HEADER")
    data.add_new((0x0029, 0x1010), "OB", csa({"SliceNormalVector": [f"{-n:.8f}" for n in NORMAL]}))
    put_pixels(data, tiles)
    data.save_as(tmp_path / "mosaic")
    (volume,) = read_dicom_folder(tmp_path)[0].volumes
    # The CSA normal points against the image's: the first tile is the last slice of the stack.
    np.testing.assert_array_equal(volume.array, [picture(3), picture(2), picture(1)])
    np.testing.assert_allclose(volume.to_ras([0, 0, 2]), RAS @ ORIGIN, atol=1e-6)
    np.testing.assert_allclose(volume.to_ras([0, 0, 1]), RAS @ (ORIGIN - 5 * NORMAL), atol=1e-6)


def csa(values: dict[str, list[str]]) -> bytes:
    """A Siemens CSA2 header."""
    out = b"SV10\4\3\2\1" + len(values).to_bytes(4, "little") + (77).to_bytes(4, "little")
    for name, items in values.items():
        out += name.encode().ljust(64, b"\0") + (len(items)).to_bytes(4, "little") + b"FD\0\0"
        out += bytes(4) + (6).to_bytes(4, "little") + (77).to_bytes(4, "little")
        for item in items + [""] * (6 - len(items)):
            text = item.encode() + b"\0" if item else b""
            length = len(text).to_bytes(4, "little")
            out += length * 2 + (77).to_bytes(4, "little") + length
            out += text.ljust((len(text) + 3) // 4 * 4, b"\0")
    return out


def test_csa_header_values():
    assert siemens_csa(csa({"B_value": ["50"], "Empty": [], "V": ["0.5", "1"]})) == {
        "B_value": ["50"],
        "Empty": [],
        "V": ["0.5", "1"],
    }
    assert siemens_csa(b"something else") == {}


def test_mosaic_without_private_header_is_refused(tmp_path):
    classic_slice(tmp_path, "m", 0, picture(0), ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    (series,) = read_dicom_folder(tmp_path)
    with pytest.raises(ValueError, match="Siemens mosaic lacks the private header that tells the"):
        _ = series.volumes


# --- sorting into volumes -----------------------------------------------------------------------


def test_echoes_and_components_of_one_series_are_told_apart(tmp_path):
    uid = generate_uid()
    for time in ("4.6", "2.3"):
        for kind in "MP":
            write_series(
                tmp_path, range(4), uid, f"{time}{kind}", EchoTime=time,
                ImageType=["ORIGINAL", "PRIMARY", kind, "ND"],
            )  # fmt: skip
    (series,) = read_dicom_folder(tmp_path)
    found = [(v.attributes["ImageComponent"], v.attributes["EchoTime"]) for v in series.volumes]
    assert found == [("magnitude", 2.3), ("magnitude", 4.6), ("phase", 2.3), ("phase", 4.6)]


def test_a_trigger_time_that_changes_from_slice_to_slice_does_not_split(tmp_path):
    uid = generate_uid()
    for n, (direction, k) in enumerate((d, k) for d in range(2) for k in range(3)):
        classic_slice(
            tmp_path, f"{n}", k, picture(k, direction), series=uid, TriggerTime=100 * n,
            InstanceNumber=n, DiffusionBValue=500.0,
            DiffusionGradientOrientation=[float(direction), 1.0 - direction, 0.0],
        )  # fmt: skip
    (series,) = read_dicom_folder(tmp_path)
    assert [volume.shape for volume in series.contents] == [(3, 6, 8)] * 2
    by_direction = {v.attributes["DiffusionGradientOrientation"][0]: v for v in series.volumes}
    np.testing.assert_array_equal(by_direction[1.0].array, [picture(k, 1) for k in range(3)])


def test_repeats_are_dealt_out_by_instance_number(tmp_path):
    uid = generate_uid()
    for n, (repeat, k) in enumerate((r, k) for r in range(3) for k in range(2)):
        classic_slice(
            tmp_path, f"{9 - n}", k, picture(k, 100 * repeat), series=uid, InstanceNumber=n
        )
    (series,) = read_dicom_folder(tmp_path)
    assert [int(v.array[0, 0, 0]) for v in series.volumes] == [0, 100, 200]
    assert any("instance number" in note for note in series.notes)


@pytest.mark.parametrize(("kind", "component"), [("PROPELLER", "magnitude"), ("OTHER", "real")])
def test_a_propeller_image_of_ge_is_a_magnitude_though_flagged_real(tmp_path, kind, component):
    data = header(Manufacturer="GE MEDICAL SYSTEMS", ImageType=["ORIGINAL", "PRIMARY", kind])
    data.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", 2)
    assert component_of(data) == component


@pytest.mark.parametrize(
    ("facts", "sequence", "options"),
    [
        ({"EchoPulseSequence": "SPIN", "SpectrallySelectedSuppression": "FAT"}, ["SE"], "FS"),
        ({"EchoPulseSequence": "SPIN", "InversionRecovery": "YES"}, ["SE", "IR"], None),
        (
            {
                "EchoPulseSequence": "GRADIENT",
                "EchoPlanarPulseSequence": "YES",
                "SpectrallySelectedSuppression": "NONE",
            },
            ["GR", "EP"],
            None,
        ),
        ({}, None, None),
    ],
)
def test_enhanced_objects_tell_the_sequence_in_classic_words(tmp_path, facts, sequence, options):
    enhanced(tmp_path / "enhanced", [(k, picture(k), {}) for k in range(3)], **facts)
    attributes = read_dicom_folder(tmp_path)[0].volumes[0].attributes
    assert words_of(attributes.get("ScanningSequence")) == (sequence or [])
    assert attributes.get("ScanOptions") == options


def test_enhanced_frames_are_sorted_and_scaled_each(tmp_path):
    frames = [
        (k, picture(k, time), {"echo_time": time, "slope": time, "intercept": -k})
        for k in (2, 0, 1)
        for time in (5, 3)
    ]
    enhanced(tmp_path / "enhanced", frames)
    (series,) = read_dicom_folder(tmp_path)
    first, second = series.volumes
    assert [v.attributes["EchoTime"] for v in (first, second)] == [3.0, 5.0]
    np.testing.assert_allclose(first.array, [picture(k, 3) * 3.0 - k for k in range(3)])
    np.testing.assert_allclose(second.array, [picture(k, 5) * 5.0 - k for k in range(3)])
    np.testing.assert_allclose(first.to_ras([0, 0, 0]), RAS @ ORIGIN, atol=1e-6)
    np.testing.assert_allclose(first.spacing, [2.0, 1.5, 5.0], atol=1e-6)
    assert first.attributes["RepetitionTime"] == 30.0
    assert first.attributes["FlipAngle"] == 8.0
    assert first.attributes["ImageComponent"] == "magnitude"


def test_enhanced_object_of_one_frame(tmp_path):
    enhanced(tmp_path / "one", [(0, picture(1), {"component": "PHASE"})])
    (volume,) = read_dicom_folder(tmp_path)[0].volumes
    assert volume.array.shape == (1, 6, 8)
    assert volume.attributes["ImageComponent"] == "phase"


def test_several_series_and_stray_objects_in_one_folder(tmp_path):
    write_series(tmp_path, tag="a", SeriesNumber=7, SeriesDescription="second")
    below = tmp_path / "deeper"
    below.mkdir()
    write_series(below, range(3), tag="b", SeriesNumber=2, SeriesDescription="first")
    header("1.2.840.10008.5.1.4.1.1.11.1").save_as(tmp_path / "PS")  # presentation state
    header("1.2.840.10008.5.1.4.1.1.88.22").save_as(tmp_path / "SR")  # structured report
    header("1.3.46.670589.11.0.0.12.2").save_as(tmp_path / "XX")  # private
    index = header("1.2.840.10008.1.3.10")
    del index.SOPClassUID, index.SeriesInstanceUID
    index.save_as(tmp_path / "DICOMDIR")
    (tmp_path / "readme.txt").write_text("not DICOM at all " * 20)
    (tmp_path / "empty").touch()
    folder = read_dicom_folder(tmp_path)
    assert [(s.description, s.contents[0].shape[0]) for s in folder] == [
        ("first", 3),
        ("second", 5),
    ]
    text = " ".join(folder.notes)
    assert "2 file(s) are not DICOM" in text
    assert "Grayscale Softcopy Presentation State" in text and "private" in text


def test_an_image_whose_sop_class_was_taken_away_is_read_by_that_of_its_file(tmp_path):
    """As public collections are anonymized: no SOP class, no modality, an enhanced class's name."""
    write_series(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        data = pydicom.dcmread(path)
        del data.SOPClassUID, data.Modality
        data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
        data.save_as(path)
    (series,) = read_dicom_folder(tmp_path)
    assert not series.problem and series.contents[0].shape[0] == 5


def test_a_single_file_is_a_folder_of_one(tmp_path):
    write_series(tmp_path, range(2))
    folder = read_dicom_folder(tmp_path / "IM_000")
    assert folder[0].contents[0].shape == (1, 6, 8)


# --- what must be refused -----------------------------------------------------------------------


def test_missing_slice_is_an_error(tmp_path):
    write_series(tmp_path, [0, 1, 2, 4, 5])
    (series,) = read_dicom_folder(tmp_path)
    with pytest.raises(ValueError, match=r"slices 3 and 4 of 5 are 10.00 mm apart.*5.00 mm"):
        _ = series.volumes


def test_slice_missing_at_the_end_of_one_echo_is_an_error(tmp_path):
    uid = write_series(tmp_path, range(4), tag="a", EchoTime="2.3")
    write_series(tmp_path, range(3), uid, tag="b", EchoTime="4.6")
    (series,) = read_dicom_folder(tmp_path)
    with pytest.raises(ValueError, match=r"TE 4.6 ms.* lacks 1 of 4 slices"):
        _ = series.volumes


def test_leftovers_of_two_echoes_are_not_one_volume(tmp_path):
    uid = write_series(tmp_path, range(3), tag="a", EchoTime="2.3")
    write_series(tmp_path, range(3, 6), uid, tag="b", EchoTime="4.6")
    (series,) = read_dicom_folder(tmp_path)
    with pytest.raises(ValueError, match=r"different echo times \(2.3 to 4.6\)"):
        _ = series.volumes


def test_slice_missing_at_the_end_is_noted_where_the_scanner_tells_their_number(tmp_path):
    for k in range(3):
        path = classic_slice(
            tmp_path, f"{k}", k, picture(k), Manufacturer="Philips", series="1.2.3"
        )
        data = pydicom.dcmread(path)
        data.add_new((0x2001, 0x0010), "LO", "Philips Imaging DD 001")
        data.add_new((0x2001, 0x1018), "SL", 4)
        data.save_as(path)
    (series,) = read_dicom_folder(tmp_path)
    assert any("made 4 slices, only 3 are here" in note for note in series.notes)


def test_doubled_slice_is_an_error_but_a_second_copy_is_not(tmp_path):
    uid = write_series(tmp_path, range(3))
    copy = (tmp_path / "IM_001").read_bytes()
    (tmp_path / "copy_of_IM_001").write_bytes(copy)
    (series,) = read_dicom_folder(tmp_path)
    assert len(series.volumes) == 1 and any("copies" in note for note in series.notes)
    classic_slice(tmp_path, "extra", 1, picture(1), series=uid, InstanceNumber=99)
    (series,) = read_dicom_folder(tmp_path)
    with pytest.raises(ValueError, match="taken more often"):
        _ = series.volumes


def test_truncation_at_any_point_is_never_silent(tmp_path):
    """Cut one of five files at many lengths: an error or a note names it each time."""
    write_series(tmp_path, range(5))
    victim = tmp_path / "IM_002"  # the middle slice
    whole = victim.read_bytes()
    for length in [*range(150, len(whole), 97), len(whole) - 1]:
        victim.write_bytes(whole[:length])
        folder = read_dicom_folder(tmp_path)
        (series,) = folder
        with pytest.raises(ValueError) as error:
            _ = series.volumes
        assert "IM_002" in str(error.value) + " ".join(folder.notes), length


def test_truncated_enhanced_file_is_an_error_that_names_it(tmp_path):
    path = enhanced(tmp_path / "enhanced", [(k, picture(k), {}) for k in range(4)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=r"enhanced: .*truncated"):
        _ = read_dicom_folder(tmp_path)[0].volumes


def test_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here " * 30)
    with pytest.raises(ValueError, match="no DICOM image"):
        read_dicom_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_dicom_folder(tmp_path / "absent")


def test_slices_that_drift_sideways_are_refused(tmp_path):
    uid = generate_uid()
    for k in range(4):
        data = header(series=uid)
        data.ImagePositionPatient = [float(v) for v in np.array(position(k)) + k * 0.8 * ROW]
        data.ImageOrientationPatient = orientation()
        data.PixelSpacing = [1, 1]
        put_pixels(data, picture(k))
        data.save_as(tmp_path / str(k))
    with pytest.raises(ValueError, match="not stacked along their normal"):
        _ = read_dicom_folder(tmp_path)[0].volumes


def test_positions_rounded_to_a_tenth_are_no_drift(tmp_path):
    """Older scanners write oblique slices so: .06 mm to either side, of pixels of .9 mm."""
    uid = generate_uid()
    for k in range(12):
        data = header(series=uid)
        data.ImagePositionPatient = [f"{value:.1f}" for value in position(k, 7.0)]
        data.ImageOrientationPatient = [f"{value:.6f}" for value in orientation()]
        data.PixelSpacing = [0.86, 0.86]
        put_pixels(data, picture(k))
        data.save_as(tmp_path / str(k))
    (volume,) = read_dicom_folder(tmp_path)[0].volumes
    assert volume.array.shape[0] == 12
    np.testing.assert_allclose(volume.spacing, [0.86, 0.86, 7.0], atol=0.02)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("*ep_b0", "*ep_b50t", "ep_b1000#3"), {0, 50, 1000}),
        (("*ep_b0_1000", "*tse2d1", ""), {None}),
    ],
)
def test_b_values_that_only_the_sequence_names_keep_are_read(tmp_path, names, told):
    """What anonymizing leaves of older Siemens diffusion images: neither maker nor private tags."""
    for n, name in enumerate(names):
        for k in range(2):
            classic_slice(
                tmp_path, f"{n}_{k}", k, picture(k), series="1.2", SequenceName=name,
                Manufacturer="", InstanceNumber=2 * n + k, AcquisitionNumber=n,
            )  # fmt: skip
    (series,) = read_dicom_folder(tmp_path)
    assert {one.attributes.get("DiffusionBValue") for one in series.contents} == told


@pytest.mark.parametrize(
    ("maker", "b_values", "told"),
    [("", (0,), {None}), ("Philips", (0,), {None}), ("", (0, 50), {0, 50}), ("SIEMENS", (0,), {0})],
)
def test_a_b_of_0_alone_is_no_diffusion_also_where_the_maker_was_taken_out(
    tmp_path, maker, b_values, told
):
    """Philips writes it to every image; one anonymized T1 was named diffusion."""
    for b in b_values:
        write_series(
            tmp_path, range(2), "1.2", str(b), DiffusionBValue=float(b), Manufacturer=maker
        )
    (series,) = read_dicom_folder(tmp_path)
    assert {one.attributes.get("DiffusionBValue") for one in series.contents} == told


@pytest.mark.parametrize("named", [False, True])
def test_a_series_of_b_0_beside_others_stays_where_the_maker_was_taken_out(tmp_path, capsys, named):
    """One b-value a series, of which the lone b = 0 was forgotten and left out of the fit."""
    from MarrowAssessLib.commands.main import main

    for n, b in enumerate((0, 50, 1000)):
        told = {"SequenceName": f"*ep_b{b}"} if named else {"DiffusionBValue": float(b)}
        write_series(
            tmp_path, range(2), f"1.2.{n}", str(b), Manufacturer="", ScanningSequence="EP",
            SeriesNumber=n + 1, **told,
        )  # fmt: skip
    assert main(["inspect", str(tmp_path)]) == 0
    assert "ivim: 3 volumes, b 0, 50, 1000 s/mm^2." in capsys.readouterr().out


def test_listing_can_be_canceled(tmp_path):
    write_series(tmp_path)
    with pytest.raises(InterruptedError, match="canceled"):
        read_dicom_folder(tmp_path, progress=lambda done: False)


# --- facts --------------------------------------------------------------------------------------


def test_identity_stays_out_and_the_key_is_stable(tmp_path):
    uid = write_series(tmp_path)
    (series,) = read_dicom_folder(tmp_path)
    text = repr(series.volumes[0].attributes) + series.volumes[0].name + series.key
    for secret in ("Secret", "4711", "2000", "2010", uid):
        assert secret not in text
    assert series.key == read_dicom_folder(tmp_path)[0].key
    other = tmp_path / "other"
    other.mkdir()
    write_series(other)
    assert read_dicom_folder(other)[0].key != series.key


@pytest.mark.parametrize(
    ("facts", "age"),
    [
        ({}, 10.5),
        ({"PatientBirthDate": "19000101"}, 10.0),  # moved by anonymization
        ({"PatientBirthDate": "", "PatientAge": "006M"}, 0.5),
        ({"PatientBirthDate": "", "PatientAge": "000Y"}, None),
        ({"PatientBirthDate": "20100502", "PatientAge": ""}, 61 / 365.25),
        ({"PatientBirthDate": "20110502", "PatientAge": ""}, None),  # born after the study
        ({"PatientBirthDate": "20100702", "PatientAge": "0Y"}, None),  # the study's date: a filler
        ({"PatientBirthDate": "20100702", "PatientAge": ""}, None),
        ({"PatientBirthDate": "20100702", "PatientAge": "001D"}, 1 / 365.25),  # a newborn
        ({"PatientBirthDate": "18991230", "PatientAge": ""}, None),
        ({"PatientBirthDate": "", "PatientAge": "120Y"}, 120.0),
        ({"PatientBirthDate": "", "PatientAge": "999Y"}, None),  # the study was refused for it
    ],
)
def test_age(tmp_path, facts, age):
    write_series(tmp_path, range(1), **facts)
    patient = read_dicom_folder(tmp_path)[0].patient
    assert patient.sex == "F"
    assert patient.age_years == (age if age is None else pytest.approx(age, abs=0.01))


@pytest.mark.parametrize(
    ("maker", "elements", "expected"),
    [
        ("SIEMENS", [((0x19, 0x10), "LO", "SIEMENS MR HEADER"), ((0x19, 0x100C), "IS", "50")], 50),
        ("SIEMENS", [((0x29, 0x10), "LO", "SIEMENS CSA HEADER"),
                     ((0x29, 0x1010), "OB", csa({"B_value": ["800"]}))], 800),
        ("SIEMENS", [((0x19, 0x10), "LO", "SIEMENS MR HEADER"), ((0x19, 0x100C), "IS", "0"),
                     ((0x19, 0x1027), "FD", [10.0, 0, 0, 11.0, 0, 9.0])], 30),
        ("GE MEDICAL SYSTEMS", [((0x43, 0x10), "LO", "GEMS_PARM_01"),
                                ((0x43, 0x1039), "IS", ["1000000050", "8", "0", "0"])], 50),
        ("GE MEDICAL SYSTEMS", [((0x43, 0x1039), "UN", b"1000000600\\8\\0\\0")], 600),
        ("Philips Medical Systems", [((0x18, 0x9087), "FD", 0.0),
                                     ((0x2001, 0x10), "LO", "Philips Imaging DD 001"),
                                     ((0x2001, 0x1003), "FL", 400.0)], 400),
        ("ACME", [((0x18, 0x9087), "FD", 700.0)], 700),
        ("ACME", [], None),
    ],
)  # fmt: skip
def test_b_value_of_each_maker(tmp_path, maker, elements, expected):
    data = header(Manufacturer=maker)
    data.ImagePositionPatient, data.ImageOrientationPatient = position(0), orientation()
    data.PixelSpacing = [1, 1]
    for tag, vr, value in elements:
        data.add_new(tag, vr, value)
    put_pixels(data, picture(0))
    data.save_as(tmp_path / "image")
    attributes = read_dicom_folder(tmp_path)[0].contents[0].attributes
    assert attributes.get("DiffusionBValue") == expected


def test_ge_offset_is_a_whole_number_of_1e9():
    assert [without_ge_offset(b) for b in (0, 1000, 1e9, 1e9 + 50, 1e9 + 30000)] == [
        0, 1000, 0, 50, 30000,
    ]  # fmt: skip


# --- real scanners ------------------------------------------------------------------------------


@needs_cases
@pytest.mark.parametrize("name", ["ge_dwi_tensor", "philips_classic_dwi"])
def test_real_classic_geometry_and_voxels_agree_with_simpleitk(name):
    (series,) = read_dicom_folder(CASES / name)
    content = series.contents[0]
    names = [str(frame.path) for frame in content._frames]
    other = volume_from_image(sitk.ReadImage(names), "SimpleITK")
    volume = content.read()
    assert volume.same_grid(other, 1e-3)
    np.testing.assert_allclose(volume.array, other.array, rtol=1e-6)


@needs_cases
def test_real_philips_series_out_of_order():
    folder = read_dicom_folder(CASES / "philips_classic_dwi")
    (series,) = folder
    assert len(series.contents) == 17 and not series.problem and not series.notes
    assert {content.shape for content in series.contents} == {(32, 112, 112)}
    assert "1 x Grayscale Softcopy Presentation State Storage, 2 x private" in folder.notes[0]
    assert series.patient == PatientFacts(pytest.approx(52.2, abs=0.1), "M")
    weighted = [v.array.mean() for v in series.volumes]
    assert min(weighted[:5]) > 2.5 * max(weighted[5:])  # b = 0 before b = 1000


@needs_cases
def test_real_siemens_enhanced_echoes_and_phase():
    (magnitude,) = read_dicom_folder(CASES / "siemens_xa30_enhanced_gre_two_echo_magnitude")
    assert [v.attributes["EchoTime"] for v in magnitude.volumes] == [10.0, 12.46]
    (phase,) = read_dicom_folder(CASES / "siemens_xa30_enhanced_gre_phase")
    (volume,) = phase.volumes
    assert volume.attributes["ImageComponent"] == "phase"
    assert volume.attributes["MagneticFieldStrength"] == 3.0
    assert volume.attributes["ReadoutMode"] == "monopolar"  # its protocol says so
    assert volume.array.min() == -4096 and 4000 < volume.array.max() <= 4094
    assert volume.same_grid(magnitude.volumes[0])
    np.testing.assert_allclose(volume.spacing, [3.375, 3.375, 3.4], atol=1e-3)
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 3], [108, 113.559, -10.4469])


@pytest.mark.parametrize(
    ("line", "mode"),
    [
        (b"ucReadOutMode\t = \t1", "monopolar"),
        (b"ucReadOutMode                            = 0x2", "bipolar"),
        (b"ucReadOutMode\t = \t4", None),
        (b"ucFlipAngleMode\t = \t2", None),
    ],
)
def test_readout_of_the_echoes_is_read_from_the_protocol(tmp_path, line, mode):
    file = classic_slice(tmp_path, "one.dcm", 0, np.ones((6, 5), np.uint16))
    data = pydicom.dcmread(file)
    data.add_new((0x0029, 0x0010), "LO", "SIEMENS CSA HEADER")
    text = b"### ASCCONV BEGIN ###\nlContrasts = 6\n" + line + b"\n### ASCCONV END ###"
    data.add_new((0x0029, 0x1020), "OB", b"SV10" + text + b" " * (len(text) % 2))
    data.save_as(file)
    (series,) = read_dicom_folder(tmp_path)
    assert series.volumes[0].attributes.get("ReadoutMode") == mode
