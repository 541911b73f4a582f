"""DICOM objects out: what they hold, that checkers accept them, and that they are read again."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dicom_files import classic_slice, enhanced
from MarrowAssessLib.commands.main import main
from PDFFMapperLib.dicom.folder import read_dicom_folder
from PDFFMapperLib.dicom_out.parametric_map import write_dicom_maps
from PDFFMapperLib.dicom_out.source import dicom_set, source_of
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.kinds import map_kind
from PDFFMapperLib.maps.parametric_map import ParametricMap
from pydicom import dcmread
from pydicom.uid import generate_uid

pytest.importorskip("highdicom", reason="highdicom is not installed")

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.dicom_out import export, segmentation
from MarrowAssessLib.dicom_out.pdf import pdf_of_lines
from MarrowAssessLib.findings.assessment import assess
from MarrowAssessLib.sources.segmentations import regions_from_segmentation
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study

SHAPE = (4, 20, 24)
STUDY = {
    "StudyInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid(),
    "StudyID": "77", "AccessionNumber": "A-4711", "StudyTime": "101500",
    "InstitutionName": "Secret Hospital", "BodyPartExamined": "LSPINE", "SpacingBetweenSlices": 5,
}  # fmt: skip
MADE = ["PDFF.dcm", "report.dcm", "segmentation.dcm"]


def write_classic(folder: Path, values: np.ndarray, **facts) -> Path:
    folder.mkdir(parents=True)
    uid = generate_uid()
    for k, picture in enumerate(values.astype(np.uint16)):
        classic_slice(
            folder, f"{k}.dcm", k, picture, series=uid, InstanceNumber=k + 1, **STUDY, **facts
        )
    return folder


def only_volume(folder: Path) -> Volume:
    return read_dicom_folder(folder)[0].volumes[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A T1 and a scanner's PDFF series, and labels on them: L3 and L4 marrow, psoas muscle."""
    folder = tmp_path_factory.mktemp("dicom_out")
    rng = np.random.default_rng(1)
    write_classic(folder / "t1", rng.integers(300, 400, SHAPE), SeriesNumber=4)
    write_classic(
        folder / "pdff", rng.integers(250, 450, SHAPE), SeriesNumber=5,
        ImageType=["DERIVED", "PRIMARY", "DIXON", "FAT_FRACTION"], RescaleSlope="0.1",
        RescaleIntercept="0",
    )  # fmt: skip
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3, 2:7, 3:9], labels[1:4, 9:14, 3:9], labels[:, 5:12, 15:21] = 1, 2, 3
    like = only_volume(folder / "t1")
    write_volume(like.with_array(labels), folder / "labels.nrrd")
    return folder


def arguments(folder: Path, out: Path) -> list[str]:
    return [
        "assess", "--volume", f"T1={folder / 't1'}", "--volume", f"PDFF={folder / 'pdff'}",
        "--labels", str(folder / "labels.nrrd"), "--label", "1=marrow:L3", "--label",
        "2=marrow:L4", "--label", "3=muscle:left psoas", "--age", "55", "--sex", "F",
        "--no-scene", "--out", str(out / "result"), "--dicom-out", str(out / "dicom"),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def made(folder) -> Path:
    assert main(arguments(folder, folder / "made")) == 0
    return folder / "made"


def refused(arguments: list[str], capsys) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    return capsys.readouterr().err


def errors_of(path: Path) -> list[str]:
    """What dciodvfy calls an error."""
    if not shutil.which("dciodvfy"):
        pytest.skip("dciodvfy is not here: install dicom3tools")
    done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, encoding="latin-1")
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if line.startswith(("Error", "Abort"))]


def test_a_study_becomes_segmentation_maps_and_report(made):
    assert sorted(path.name for path in (made / "dicom").glob("*.dcm")) == MADE
    record = json.loads((made / "dicom" / "dicom.json").read_text())
    assert record["objects"] == MADE
    assert "Secret" not in (made / "dicom" / "dicom.json").read_text()
    for name in MADE:
        data = dcmread(made / "dicom" / name)
        assert data.StudyInstanceUID == STUDY["StudyInstanceUID"]
        assert str(data.PatientName) == "Secret^Person"  # that of the source
        assert data.SOPInstanceUID.startswith("2.25.")
        assert data.BodyPartExamined == "LSPINE" or name == "report.dcm"


def test_checkers_find_no_error(made):
    for name in MADE:
        assert errors_of(made / "dicom" / name) == []


def test_regions_come_back_voxel_for_voxel(folder, made):
    like = only_volume(folder / "t1")
    back = regions_from_segmentation(made / "dicom" / "segmentation.dcm", [like])
    labels = dict(zip((r.name for r in back.regions), back.regions, strict=True))
    truth = {"L3 marrow": 1, "L4 marrow": 2, "left psoas muscle": 3}
    assert set(labels) == set(truth)
    from PDFFMapperLib.images.files import read_volume

    drawn = read_volume(folder / "labels.nrrd").array
    for name, value in truth.items():
        assert np.array_equal(labels[name].full_mask(SHAPE), drawn == value)
    assert (labels["L3 marrow"].role, labels["L3 marrow"].site) == (Role.MARROW, "L3")
    assert labels["left psoas muscle"].site == "left psoas"


def test_the_map_comes_back_bit_for_bit_in_its_unit(folder, made):
    source, back = only_volume(folder / "pdff"), only_volume(made / "dicom" / "PDFF.dcm")
    assert back.array.tobytes() == source.array.tobytes()
    assert back.same_grid(source, 1e-6)
    assert (back.attributes["Units"], back.attributes["Quantity"]) == ("%", "Fat fraction")


def test_its_own_objects_give_the_same_measurements(folder, made, tmp_path):
    again = [
        "assess", "--volume", f"T1={folder / 't1'}", "--volume",
        f"PDFF={made / 'dicom' / 'PDFF.dcm'}", "--segmentation",
        str(made / "dicom" / "segmentation.dcm"), "--age", "55", "--sex", "F", "--no-scene",
        "--out", str(tmp_path),
    ]  # fmt: skip
    assert main(again) == 0
    before, after = (
        json.loads((path / "assessment.json").read_text())["measurements"]
        for path in (made / "result", tmp_path)
    )
    assert [(m["quantity"], m["site"]) for m in before] == [
        (m["quantity"], m["site"]) for m in after
    ]
    # The voxel size may differ in its last bit, by how numpy sums squares.
    values = [m["value"] for m in after]
    assert [m["value"] for m in before] == pytest.approx(values, rel=1e-12, abs=0)


def numbers(group) -> dict[tuple[str, str], float]:
    """The measurements of a group by name and derivation."""
    found = {}
    for item in group.get_measurements():
        derivation = item.derivation.meaning if item.derivation else ""
        found[item.name.meaning, derivation] = item.value
    return found


def test_the_report_holds_every_number_with_its_segment_and_reference(made):
    from highdicom.sr import srread

    report = srread(made / "dicom" / "report.dcm")
    results = json.loads((made / "result" / "assessment.json").read_text())["measurements"]
    of_l3 = [m for m in results if m["measured"] == ["L3 marrow"]]
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [
        "L3 marrow", "L4 marrow", "left psoas muscle",
    ]  # fmt: skip
    (l3, *_) = groups
    assert l3.finding_type.value == "14016003"
    assert l3.finding_sites[0].value.value == "36470004"
    segments = dcmread(made / "dicom" / "segmentation.dcm")
    referenced = [
        item.ReferencedSOPSequence[0] for item in l3[0].ContentSequence if item.ValueType == "IMAGE"
    ]
    assert [(r.ReferencedSOPInstanceUID, r.ReferencedSegmentNumber) for r in referenced] == [
        (segments.SOPInstanceUID, 1)
    ]
    found = numbers(l3)
    pdff = next(m for m in of_l3 if m["quantity"] == "marrow_pdff")
    assert found["Fat fraction", "Median"] == pytest.approx(pdff["value"])
    assert found["Fat fraction", "Mean"] == pytest.approx(pdff["statistics"]["mean"])
    assert found["Fat fraction", "Standard Deviation"] == pytest.approx(pdff["statistics"]["sd"])
    for p in (10, 90):
        within = found["Fat fraction", f"{p}th percentile"]
        assert within == pytest.approx(pdff["statistics"][f"p{p}"])
    ratio = next(m for m in of_l3 if m["quantity"] == "t1_marrow_muscle")
    assert found["T1 marrow/muscle", ""] == pytest.approx(ratio["value"])
    text = dcmread(made / "dicom" / "report.dcm").to_json()
    assert pdff["z"] is not None and "Z-Score of measurement" in text
    assert "Normal Range Upper Limit" in text and "99MARROW" in text
    assert "For research use only" in text
    flags = [getattr(report, f"{one}Flag") for one in ("Completion", "Verification", "Preliminary")]
    assert flags[1:] == ["UNVERIFIED", "PRELIMINARY"] and flags[0] in ("COMPLETE", "PARTIAL")
    assert "Secret^Person" in text  # the source's patient, as a PACS needs it


def test_other_tools_read_them(made, tmp_path):
    if not shutil.which("dsrdump"):
        pytest.skip("dsrdump is not here: install dcmtk")
    done = subprocess.run(
        ["dsrdump", made / "dicom" / "report.dcm"], capture_output=True, text=True
    )
    assert done.returncode == 0 and 'NUM:(,,"Fat fraction")' in done.stdout
    tool = Path(sys.executable).with_name("segimage2itkimage")
    if not tool.is_file():
        pytest.skip("dcmqi is not here: pip install dcmqi")
    for name, option in (
        ("segimage2itkimage", "segmentation.dcm"),
        ("paramap2itkimage", "PDFF.dcm"),
    ):
        command = [tool.with_name(name), "--inputDICOM", made / "dicom" / option,
                   "--outputDirectory", tmp_path, "--outputType", "nrrd"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    import SimpleITK as sitk

    counted = [int((sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{n}.nrrd"))) > 0).sum())
               for n in (1, 2, 3)]  # fmt: skip
    assert counted == [2 * 5 * 6, 3 * 5 * 6, 4 * 7 * 6]
    pdff = sitk.GetArrayFromImage(sitk.ReadImage(str(next(tmp_path.glob("*pmap*.nrrd")))))
    own = only_volume(made / "dicom" / "PDFF.dcm").array
    assert sorted(pdff.ravel().tolist()) == sorted(own.ravel().tolist())


def test_anonymous_objects_do_not_tell_who_and_tracking_stays(folder, made, tmp_path):
    assert main([*arguments(folder, tmp_path), "--anonymous"]) == 0
    for name in MADE:
        content = (tmp_path / "dicom" / name).read_bytes()
        for secret in (b"Secret", b"4711-secret", b"A-4711", b"20000101", b"20100702"):
            assert secret not in content, (name, secret)
        assert dcmread(tmp_path / "dicom" / name).PatientSex == "F"
        assert errors_of(tmp_path / "dicom" / name) == []
    one, two = (dcmread(path / "dicom" / "segmentation.dcm") for path in (made, tmp_path))
    assert one.SOPInstanceUID != two.SOPInstanceUID
    tracked = [[segment.TrackingUID for segment in data.SegmentSequence] for data in (one, two)]
    assert tracked[0] == tracked[1]


def test_the_report_as_pdf_in_dicom(folder, tmp_path, capsys):
    given = [*arguments(folder, tmp_path), "--dicom-pdf", "--anonymous"]
    assert main(given) == 0
    path = tmp_path / "dicom" / "report_pdf.dcm"
    assert errors_of(path) == []
    data = dcmread(path)
    assert data.StudyInstanceUID == STUDY["StudyInstanceUID"] and not data.PatientName
    pdf = data.EncapsulatedDocument[: data.EncapsulatedDocumentLength]
    assert pdf.startswith(b"%PDF-") and pdf.endswith(b"%%EOF\n") and b"Secret" not in pdf
    start = int(re.search(rb"startxref\n(\d+)", pdf)[1])
    places = [int(one) for one in re.findall(rb"(\d{10}) 00000 n", pdf[start:])]
    assert all(pdf[at:].startswith(b"%d 0 obj" % n) for n, at in enumerate(places, start=1))
    results = json.loads((tmp_path / "result" / "assessment.json").read_text())["measurements"]
    l3 = next(m for m in results if m["quantity"] == "marrow_pdff" and m["site"] == "L3")
    (line,) = re.findall(rb"\((Marrow PDFF +L3 .*)\) Tj", pdf)
    assert f"{l3['value']:.1f} %" in line.decode() and l3["verdict"] in line.decode()
    assert pdf_of_lines(["a (b) \\ \u2265 \u00e9"] * 62).count(b"/Type /Page ") == 2
    assert b"(a \\(b\\) \\\\ ? \xe9) Tj" in pdf_of_lines(["a (b) \\ \u2265 \u00e9"])
    without = [word for word in given if word not in ("--dicom-out", str(tmp_path / "dicom"))]
    assert "--dicom-pdf is written among DICOM objects" in refused(without, capsys)


FRAMES = [
    (k, np.full((20, 24), 100 + k + n, np.uint16), {"echo_time": 2.0 + n})
    for n in range(2) for k in range(4)
]  # fmt: skip


@pytest.fixture(scope="module")
def echoes(tmp_path_factory) -> list[Volume]:
    """Two echoes of one enhanced object, its voxel size in every frame."""
    path = tmp_path_factory.mktemp("enhanced") / "echoes.dcm"
    return read_dicom_folder(enhanced(path, FRAMES, **STUDY, SeriesNumber=6))[0].volumes


def test_maps_of_an_enhanced_object_keep_nan_and_say_what_they_are(echoes, tmp_path):
    values = np.linspace(0, 100, np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    values[0, :3] = np.nan
    kinds = ("PDFF", "R2star", "PDFF_SD", "D", "field", "fDstar")
    maps = [ParametricMap(map_kind(kind), echoes[0].with_array(values)) for kind in kinds]
    maps.append(ParametricMap(map_kind("confident"), echoes[0].with_array(values > 50)))
    with dicom_set(tmp_path) as folder:
        written = write_dicom_maps(maps, source_of(echoes, "This series"), folder)
    assert [path.stem for path in written] == list(kinds)  # masks are no maps of numbers
    for kind in kinds:
        back = only_volume(tmp_path / f"{kind}.dcm")
        assert back.array.tobytes() == values.tobytes()
        assert back.same_grid(echoes[0], 1e-6)
        assert errors_of(tmp_path / f"{kind}.dcm") == []
    data = dcmread(tmp_path / "PDFF_SD.dcm")
    defined = data.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    said = [item.ConceptCodeSequence[0].CodeMeaning for item in defined.QuantityDefinitionSequence]
    assert said == ["Fat fraction", "Standard Deviation"]
    said = "Standard deviation of PDFF. NaN where no value could be determined."
    assert data.DerivationDescription.startswith(said)
    frames = [
        [
            int(item.ReferencedFrameNumber)
            for item in group.DerivationImageSequence[0].SourceImageSequence
        ]
        for group in data.PerFrameFunctionalGroupsSequence
    ]
    assert sorted(frames) == [[1, 5], [2, 6], [3, 7], [4, 8]]  # both echoes of each slice


def test_the_map_command_writes_dicom_too(folder, tmp_path, capsys):
    fat = folder / "pdff"
    command = ["pdff", "--water-fat", str(folder / "t1"), str(fat), "--out", str(tmp_path / "maps"),
               "--dicom-out", str(tmp_path / "dicom")]  # fmt: skip
    assert main(command) == 0
    assert "DICOM parametric maps" in capsys.readouterr().out
    back = only_volume(tmp_path / "dicom" / "FF.dcm")
    from PDFFMapperLib.images.files import read_volume

    computed = read_volume(tmp_path / "maps" / "waterfat_FF.nrrd")
    assert back.array.tobytes() == computed.array.astype(np.float32).tobytes()
    header = dcmread(tmp_path / "dicom" / "FF.dcm")
    assert len(header.ReferencedSeriesSequence) == 2


def small_study(image: Volume, shape=SHAPE) -> Study:
    mask = np.zeros(shape, bool)
    mask[1:3, 2:7, 3:9] = True
    region = Region.from_mask("L3 marrow", Role.MARROW, "L3", mask)
    region.doubtful, region.cautions = True, ["It may be L2."]
    muscle = Region.from_mask("psoas muscle", Role.MUSCLE, "psoas", np.roll(mask, 10, axis=2))
    return Study({Contrast.T1: image}, [region, muscle], 55, "F", {"spine": "found"})


def test_a_doubtful_region_stays_doubtful_and_pieces_stay_pieces(folder, tmp_path):
    image = only_volume(folder / "t1")
    study = small_study(image)
    study.regions[1].pieces = True
    export.write_dicom(assess(study), tmp_path)
    back, muscle = regions_from_segmentation(tmp_path / "segmentation.dcm", [image]).regions
    assert back.doubtful and back.cautions == ["It may be L2."] and not back.pieces
    assert muscle.pieces and not muscle.cautions
    assert dcmread(tmp_path / "segmentation.dcm").SegmentSequence[0].SegmentAlgorithmType == (
        "AUTOMATIC"
    )
    assert errors_of(tmp_path / "segmentation.dcm") == []


def test_regions_of_a_finer_grid_go_back_to_the_slices(folder, tmp_path):
    from PDFFMapperLib.images.resampling import resampled

    image = only_volume(folder / "t1")
    finer = image.ijk_to_ras @ np.diag([1, 1, 0.5, 1])
    moved = resampled(image, Volume(np.zeros((7, 20, 24), np.float32), finer))
    study = small_study(moved, moved.array.shape)
    study.regions[0] = Region.from_mask(
        "L3 marrow", Role.MARROW, "L3",
        np.broadcast_to(np.arange(20)[:, None] // 5 == 1, (7, 20, 24)).copy(),
    )  # fmt: skip
    done = assess(study)
    export.write_dicom(done, tmp_path)
    back, _ = regions_from_segmentation(tmp_path / "segmentation.dcm", [image]).regions
    expected = np.broadcast_to(np.arange(20)[:, None] // 5 == 1, SHAPE)
    assert np.array_equal(back.full_mask(SHAPE), expected)
    assert any("brought to the slices of the source images" in note for note in done.notes)

    between = np.zeros((7, 20, 24), bool)
    between[1, 5:9, 5:9] = True  # half-way between two slices, but nearest to one of them
    lost = Volume(np.zeros((7, 20, 24), np.float32), finer)
    lost.ijk_to_ras = lost.ijk_to_ras.copy()
    lost.ijk_to_ras[:3, 3] += 400
    away = resampled(image, lost)
    away.array[:] = 1
    away.attributes = {}
    region = Region.from_mask("psoas muscle", Role.MUSCLE, "psoas", between)
    study = Study({Contrast.T1: away}, [region], 55, "F")
    with pytest.raises(ValueError, match="no slice of the DICOM images lies in this region"):
        export.write_dicom(assess(study), tmp_path / "lost")
    assert not (tmp_path / "lost").exists()


def test_a_map_that_was_no_dicom_is_left_out_and_told(folder, tmp_path):
    image = only_volume(folder / "t1")
    pdff = Volume(np.full(SHAPE, 40, np.float32), image.ijk_to_ras, "PDFF")
    study = small_study(image)
    done = assess(Study(study.volumes | {Contrast.PDFF: pdff}, study.regions, 55, "F"))
    written = export.write_dicom(done, tmp_path)
    assert [path.name for path in written] == ["report.dcm", "segmentation.dcm"]
    assert any("PDFF has no DICOM map, as it was not read from DICOM" in n for n in done.notes)


def test_a_study_of_doubtful_regions_alone_is_assessed_without_signature(folder, tmp_path):
    study = small_study(only_volume(folder / "t1"))
    del study.regions[1]
    done = assess(study)
    assert done.signatures == [] and done.results == []
    with pytest.raises(ValueError, match="Nothing was measured, so there is nothing to write"):
        export.write_dicom(done, tmp_path)


def test_refusals(folder, tmp_path, capsys, monkeypatch):
    given = arguments(folder, tmp_path)
    image = only_volume(folder / "t1")
    write_volume(image, tmp_path / "t1.nrrd")
    of_files = [word.replace(str(folder / "t1"), str(tmp_path / "t1.nrrd")) for word in given]
    del of_files[3:5]
    assert "was not read from DICOM files, so there is no study" in refused(of_files, capsys)
    tiled = Volume(image.array, image.ijk_to_ras, "mosaic", slices=image.slices)
    object.__setattr__(tiled, "slices", type(image.slices)(
        image.slices.frames, image.slices.shape, image.slices.ijk_to_ras, True
    ))  # fmt: skip
    with pytest.raises(ValueError, match="was read from a mosaic, whose slices have no place"):
        source_of([tiled], "This series")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "highdicom", None)
        assert "DICOM objects are written by highdicom; install it" in refused(given, capsys)
    with monkeypatch.context() as patch:
        patch.setattr(segmentation, "LARGEST_BYTES", 10)
        assert "GB, more than a DICOM object can" in refused(given, capsys)
    assert not list(tmp_path.glob("dicom/*"))

    other = write_classic(tmp_path / "other", np.ones(SHAPE), SeriesNumber=8)
    for path in other.iterdir():
        data = dcmread(path)
        data.StudyInstanceUID = "1.2.3"
        data.save_as(path)
    with pytest.raises(ValueError, match="comes from different DICOM studies"):
        source_of([image, only_volume(other)], "This series")
    for path in other.iterdir():
        data = dcmread(path)
        del data.FrameOfReferenceUID
        data.save_as(path)
    placeless = only_volume(other)
    with pytest.raises(ValueError, match="has no frame of reference in its DICOM header"):
        source_of([placeless], "This series")
    shutil.rmtree(other)
    with pytest.raises(ValueError, match="was removed since it was read"):
        source_of([placeless], "This series")
    wrong = Volume(np.zeros((2, 20, 24), np.float32), image.ijk_to_ras, "PDFF")
    with pytest.raises(ValueError, match="DICOM maps lie on their source's grid"):
        write_dicom_maps(
            [ParametricMap(map_kind("PDFF"), wrong)], source_of([image], "x"), tmp_path
        )


def test_an_export_that_fails_leaves_nothing(folder, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device", "report.dcm")

    monkeypatch.setattr(export, "report", fail)
    assert "No space left" in refused(arguments(folder, tmp_path), capsys)
    assert not (tmp_path / "dicom").exists() and not (tmp_path / "result").exists()


REAL = ("siemens_xa30_enhanced_gre_two_echo_magnitude", "ge_dwi_tensor", "philips_classic_dwi")


@pytest.mark.parametrize("name", REAL)
def test_objects_of_real_scanners_are_accepted(shared, name, tmp_path):
    image = read_dicom_folder(shared / "cases" / "dicom" / name)[0].contents[0].read()
    check_objects(image, tmp_path)


@pytest.mark.parametrize("name", [name for name in REAL if "enhanced" not in name])
def test_classic_series_that_an_archive_made_enhanced_are_accepted(shared, name, tmp_path):
    """Legacy converted enhanced objects: how GE's and Philips' series leave some archives."""
    from highdicom.legacy import LegacyConvertedEnhancedMRImage

    files = read_dicom_folder(shared / "cases" / "dicom" / name)[0].contents[0].files
    slices = [dcmread(file) for file in files]
    joined = LegacyConvertedEnhancedMRImage(slices, generate_uid(), 100, generate_uid(), 1)
    (tmp_path / "joined").mkdir()
    joined.save_as(tmp_path / "joined" / "one.dcm")
    image = only_volume(tmp_path / "joined")
    assert len(image.array) == len(slices)
    check_objects(image, tmp_path)


def check_objects(image, tmp_path):
    """Export a map and a region of an image, check the objects and read them back."""
    shape = image.array.shape
    mask = np.zeros(shape, bool)
    mask[:2, shape[1] // 3 : shape[1] // 2, shape[2] // 3 : shape[2] // 2] = True
    region = Region.from_mask("L3 marrow", Role.MARROW, "L3", mask)
    adc = image.with_array(0.5 + image.array / image.array.max())
    study = Study({Contrast.ADC: adc}, [region], 55, "F", {"labels": "drawn"})
    written = export.write_dicom(assess(study), tmp_path)
    assert [path.name for path in written] == ["ADC.dcm", "report.dcm", "segmentation.dcm"]
    for path in written:
        assert errors_of(path) == []
    back = only_volume(tmp_path / "ADC.dcm")
    assert back.array.tobytes() == adc.array.tobytes() and back.same_grid(image, 1e-6)
    (again,) = regions_from_segmentation(tmp_path / "segmentation.dcm", [image]).regions
    assert np.array_equal(again.full_mask(shape), mask)


def test_slicer_shows_the_objects_with_their_images(folder, made, tmp_path):
    """Images, segmentation, maps and report of one folder: regions and maps as they were."""
    from MarrowAssessLib.scene import headless

    headless.start()
    from MarrowAssessLib.scene.dicom_regions import load_segmentations
    from MarrowAssessLib.scene.segments import regions_from_node
    from PDFFMapperLib.scene.dicom import LoadedDicom, load_dicom
    from PDFFMapperLib.scene.volumes import volume_from_node

    shutil.copytree(folder / "t1", tmp_path / "study")
    shutil.copytree(made / "dicom", tmp_path / "study" / "ours")
    loaded = load_dicom(tmp_path / "study")
    t1, pdff = loaded.nodes
    (node,) = load_segmentations(loaded)
    assert sorted(loaded.others.values()) == ["Comprehensive SR Storage"]
    assert "Regions of the DICOM segmentation segmentation.dcm: 3." in loaded.sentences()
    shown = regions_from_node(node, t1)
    assert {one.name for one in shown} == {"L3 marrow", "L4 marrow", "left psoas muscle"}
    (l3,) = [one for one in shown if one.site == "L3"]
    assert l3.voxels == 2 * 5 * 6 and volume_from_node(t1).same_grid(only_volume(folder / "t1"))
    back, stored = volume_from_node(pdff), only_volume(made / "dicom" / "PDFF.dcm")
    assert back.array.tobytes() == stored.array.tobytes()
    other = dcmread(made / "dicom" / "segmentation.dcm")
    segment = other.SegmentSequence[2]
    segment.SegmentLabel, segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning = "spot", "Mass"
    segment.SegmentedPropertyTypeCodeSequence[0].CodeValue = "4147007"
    del segment.AnatomicRegionSequence
    other.save_as(tmp_path / "other.dcm")
    again = LoadedDicom([t1], [], others={tmp_path / "other.dcm": "segmentation"})
    load_segmentations(again)
    assert again.notes[0].startswith("Segments that were left out: spot (no tissue named")
    apart = LoadedDicom([], [], others={made / "dicom" / "segmentation.dcm": "segmentation"})
    assert load_segmentations(apart) == []
    assert "lies on the grid of none of the images beside it" in apart.notes[0]


def test_single_images_that_count_their_one_frame_are_single_images(tmp_path):
    write_classic(tmp_path / "t1", np.full(SHAPE, 300), NumberOfFrames=1)
    source = source_of([only_volume(tmp_path / "t1")], "the image")
    assert len(source.headers) == SHAPE[0]


def test_damaged_headers_are_told_where_objects_are_made_of_them(tmp_path):
    """The images are read by what their headers say of voxels; objects take more from them."""
    write_classic(tmp_path / "t1", np.full(SHAPE, 300))
    volume = only_volume(tmp_path / "t1")
    source = source_of([volume], "the image")
    for header in source.headers:
        header.SOPClassUID = "1.2.840.10008.5.1.4.9.9.9"
    one = ParametricMap(map_kind("PDFF"), volume)
    with pytest.raises(ValueError, match=r"No DICOM object can be made .* export them again"):
        write_dicom_maps([one], source, tmp_path)


def test_an_x_ray_form_becomes_a_report_of_its_radiograph(folder, tmp_path, capsys):
    lines = [
        {"sign": sign, "site": "distal femur", "side": "left", "certainty": certainty} | more
        for sign, certainty, more in (
            ("metaphyseal lucent band", "definite", {"size_mm": 3.5}),
            ("periosteal reaction", "possible", {"form": "lamellar"}),
            ("fracture", "not assessable", {}),
        )
    ]
    form = tmp_path / "form.json"
    form.write_text(json.dumps({
        "schema": "marrowassess-xray-1", "day": 0, "reader": "Reader^A", "view": "knee AP",
        "quality": "good", "findings": lines,
    }))  # fmt: skip
    radiograph = str(next((folder / "t1").iterdir()))
    command = ["xray", str(form), "--out", str(tmp_path / "out"), "--dicom", radiograph]
    assert main([*command, "--anonymous"]) == 0
    report = dcmread(tmp_path / "out" / "xray.dcm")
    assert report.StudyInstanceUID == STUDY["StudyInstanceUID"] and not report.PatientName
    assert report.CompletionFlag == "PARTIAL"  # one sign could not be assessed
    text = " ".join(str(element.value) for element in report.iterall() if element.VR != "SQ")
    for part in (
        "Reader^A", "metaphyseal lucent band", " 3.5 ", "Width", "lamellar", "definite",
        "not corrected for magnification", "119 children", "Person Observer Name",
    ):  # fmt: skip
        assert part in text, part
    assert not errors_of(tmp_path / "out" / "xray.dcm")
    assert "this is no DICOM file" in refused([*command[:-1], str(form)], capsys)
    form.write_text(form.read_text().replace(json.dumps(lines), "[]"))
    assert "The X-ray form has no line, so there is" in refused(command, capsys)
    no_study = dcmread(radiograph)
    no_study.StudyInstanceUID = ""
    no_study.save_as(tmp_path / "no_study.dcm")
    command[-1] = str(tmp_path / "no_study.dcm")
    assert "does not say which study and image it is" in refused(command, capsys)


def test_long_and_foreign_names_and_headers_that_name_no_part(tmp_path):
    files = write_classic(tmp_path / "t1", np.full(SHAPE, 300))
    for path in files.iterdir():
        data = dcmread(path)
        del data.BodyPartExamined
        data.save_as(path)
    image = only_volume(files)
    regions = []
    for n, name in enumerate(("L3 marrow 骨髓 " + "ä" * 70, "L3 marrow 骨髓 " + "ä" * 70 + "b")):
        mask = np.zeros(SHAPE, bool)
        mask[1:3, 2:7, 3 + 8 * n : 9 + 8 * n] = True
        regions.append(Region.from_mask(name, Role.MARROW, "L3", mask))
    done = assess(Study({Contrast.T1: image, Contrast.PDFF: image.with_array(
        np.full(SHAPE, 40, np.float32))}, regions, 40.0, "F", {"labels": "drawn"}))  # fmt: skip
    written = export.write_dicom(done, tmp_path / "out")
    assert not [error for path in written for error in errors_of(path)]
    segments = dcmread(tmp_path / "out" / "segmentation.dcm").SegmentSequence
    assert [len(one.SegmentLabel.encode()) <= 64 for one in segments] == [True, True]
    assert len({one.SegmentLabel for one in segments}) == 2  # told apart where they are cut
    assert all(one.SegmentLabel.startswith("L3 marrow 骨髓 ä") for one in segments)
    assert len({one.TrackingUID for one in segments}) == 2


@pytest.mark.parametrize("side", [None, "", "L"])
def test_a_header_without_a_side_or_with_one_is_accepted(tmp_path, side):
    """BodyPartExamined stays, so that the side alone is missing, empty or there."""
    files = write_classic(tmp_path / "t1", np.full(SHAPE, 300))
    for path in files.iterdir():
        data = dcmread(path)
        data.BodyPartExamined = "LSPINE"
        if side is None:
            data.pop("Laterality", None)
        else:
            data.Laterality = side
        data.save_as(path)
    image = only_volume(files)
    mask = np.zeros(SHAPE, bool)
    mask[1:3, 2:7, 3:9] = True
    region = Region.from_mask("L3 marrow", Role.MARROW, "L3", mask)
    volumes = {Contrast.T1: image, Contrast.PDFF: image.with_array(np.full(SHAPE, 40, np.float32))}
    done = assess(Study(volumes, [region], 40.0, "F", {"labels": "drawn"}))
    written = export.write_dicom(done, tmp_path / "out")
    assert [error for path in written for error in errors_of(path)] == []
    shared = dcmread(tmp_path / "out" / "PDFF.dcm").SharedFunctionalGroupsSequence[0]
    assert shared.FrameAnatomySequence[0].FrameLaterality == (side or "U")


def test_an_output_that_cannot_be_written_is_told(folder, tmp_path, capsys):
    (tmp_path / "dicom").write_text("")  # a file where the folder would be
    assert "dicom" in refused(arguments(folder, tmp_path), capsys)
    assert (tmp_path / "dicom").read_text() == "" and not (tmp_path / "result").exists()


def test_a_missing_slice_is_told_before_anything_is_measured(folder, tmp_path, capsys):
    holed = tmp_path / "holed"
    shutil.copytree(folder / "t1", holed)
    files = sorted(holed.iterdir(), key=lambda path: float(dcmread(path).ImagePositionPatient[0]))
    files[1].unlink()
    given = [word.replace(str(folder / "t1"), str(holed)) for word in arguments(folder, tmp_path)]
    told = refused(given, capsys)
    assert "slice" in told and not (tmp_path / "dicom").exists()
