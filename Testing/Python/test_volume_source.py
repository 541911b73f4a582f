"""Studies that come as DICOM folders."""

import json

import numpy as np
import pytest
from dicom_files import classic_slice, write_as_dicom
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.commands import main as cli
from MarrowAssessLib.sources.stated_patient import agreed_patient
from MarrowAssessLib.sources.volume_source import guess_study, read_source
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study
from PDFFMapperLib.dicom.folder import read_dicom_folder
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.volume import Volume
from pydicom.uid import generate_uid

T1 = {
    "SeriesDescription": "sag t1 tse", "SeriesNumber": 3, "RepetitionTime": 600.0,
    "EchoTime": 10.0, "ScanningSequence": "SE", "PatientAge": "034Y", "PatientSex": "M",
    "PatientName": "Doe^Jane", "PatientID": "12345",
}  # fmt: skip
STIR = T1 | {
    "SeriesDescription": "sag stir", "SeriesNumber": 4, "RepetitionTime": 4500.0,
    "EchoTime": 60.0, "InversionTime": 210.0, "ScanningSequence": ["SE", "IR"],
}  # fmt: skip


def write_series(folder, facts, signal, rows=24):
    series = generate_uid()
    for k in range(6):
        pixels = np.full((rows, 20), 40, np.uint16)
        pixels[4:12] = signal[0]
        pixels[14:22] = signal[1]
        name = f"{facts['SeriesNumber']}_{k}.dcm"
        classic_slice(folder, name, k, pixels, series=series, InstanceNumber=k + 1, **facts)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "dicom"
    folder.mkdir()
    write_series(folder, T1, (300, 150))
    write_series(folder, STIR, (90, 60))
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.mark.parametrize(
    ("modality", "contrast", "needed"),
    [("CT", Contrast.T1, "MR"), ("MR", Contrast.CT, "CT"), ("CT", Contrast.SUV, "PT")],
)
def test_an_image_of_another_modality_than_its_name_is_refused(
    tmp_path, modality, contrast, needed
):
    """A CT of a pelvis, named T1, gave marrow/disc ratios of its ilia beside cut-offs of T1."""
    for k in range(3):
        classic_slice(
            tmp_path, str(k), k, np.full((8, 8), 100, np.uint16), series="1.2", Modality=modality
        )
    with pytest.raises(ValueError, match=f"modality {modality}, but .* is one of {needed}"):
        read_source(tmp_path, contrast)
    image = Volume(np.ones((4, 4, 4)), np.eye(4), "image", {"Modality": modality})
    region = Region.from_mask("L3 marrow", Role.MARROW, "L3", np.ones((4, 4, 4), bool))
    with pytest.raises(ValueError, match=f"^image: .* modality {modality}, but"):
        Study({contrast: image}, [region])  # as the panel makes it of nodes


def test_roles_age_and_sex_come_from_the_headers(folder):
    study = guess_study(folder)
    assert set(study.sources) == {Contrast.T1, Contrast.FS_T2}
    assert (study.patient.age_years, study.patient.sex) == (34, "M")
    assert read_source(study.sources[Contrast.T1], Contrast.T1).array.max() == 300


def test_the_fitting_volume_of_a_folder_is_taken_or_named(folder):
    assert read_source(folder, Contrast.FS_T2).array.max() == 90
    assert read_source(f"{folder}#3", Contrast.FS_T2).array.max() == 300
    assert read_source(f"{folder}#sag stir", Contrast.T1).array.max() == 90
    with pytest.raises(ValueError, match=r"2 volumes that could be ADC.*#3 sag t1 tse.*#4"):
        read_source(folder, Contrast.ADC)


def test_a_folder_whose_headers_settle_no_role_asks_for_names(tmp_path):
    unclear = {key: T1[key] for key in ("SeriesNumber", "PatientAge", "PatientSex")}
    write_series(tmp_path, unclear | {"SeriesDescription": "localizer"}, (300, 150))
    said = r"no volume's role is certain; name them, such as --volume T1=.*#3.*Series here: "
    with pytest.raises(ValueError, match=said):
        guess_study(tmp_path)


def test_two_volumes_of_one_role_are_not_chosen_between(folder):
    write_series(folder, T1 | {"SeriesNumber": 5}, (300, 150))
    with pytest.raises(ValueError, match="2 volumes look like T1; choose one"):
        guess_study(folder)
    # What the message asks for ends it: the named one is no longer guessed.
    assert set(guess_study(folder, {Contrast.T1}).sources) == {Contrast.FS_T2}


def test_the_sagittal_one_of_several_is_taken_and_said(tmp_path):
    """A routine study: sagittal slices, and axial ones in blocks along the discs."""
    axial = np.diag([1.0, 1.0, 4.0, 1.0])
    sagittal = axial[:, [1, 2, 0, 3]] @ np.diag([1.0, 0.25, 4.0, 1.0])
    for n, grid in enumerate((sagittal, axial, axial), start=3):
        image = Volume(np.full((4, 24, 20), 100.0 * n), grid)
        write_as_dicom(image, tmp_path / f"{n}", **T1 | {"SeriesNumber": n})
    study = guess_study(tmp_path)
    assert read_source(study.sources[Contrast.T1], Contrast.T1).array.max() == 300
    assert any("the sagittal one of 3 volumes" in note for note in study.notes)


@pytest.mark.parametrize("change", [{"PatientAge": "070Y"}, {"PatientSex": "F"}])
def test_two_patients_in_one_folder_are_not_mixed(folder, change):
    t2 = {"SeriesDescription": "t2 tse", "SeriesNumber": 6, "RepetitionTime": 4000.0}
    write_series(folder, T1 | t2 | {"EchoTime": 90.0} | change, (300, 150))
    with pytest.raises(ValueError, match="different patients or years"):
        guess_study(folder)


@pytest.mark.parametrize("second", ["Mueller-1", "Mueller-2", ""])
def test_two_patients_of_one_age_and_sex_are_told_by_their_identifiers(tmp_path, second):
    t2 = {"SeriesDescription": "t2 tse", "SeriesNumber": 6, "RepetitionTime": 4000.0}
    t2 |= {"EchoTime": 90.0, "PatientID": second}
    write_series(tmp_path, T1 | {"PatientID": "Mueller-1"}, (450, 150))
    write_series(tmp_path, T1 | t2, (300, 150))
    if second != "Mueller-2":
        assert set(guess_study(tmp_path).sources) == {Contrast.T1, Contrast.T2}
        return
    with pytest.raises(ValueError, match="are of 2 patients by their identifiers") as told:
        guess_study(tmp_path)
    assert "Mueller" not in str(told.value)
    with pytest.raises(ValueError, match="are of 2 patients"):  # a named one is of a patient too
        guess_study(tmp_path, {Contrast.T1})


def test_images_of_two_days_are_not_taken_for_one_study(tmp_path):
    """T1 of one visit and T2 of the next; images that are named are said to be of two days."""
    t2 = {"SeriesDescription": "t2 tse", "SeriesNumber": 6, "RepetitionTime": 4000.0}
    t2 |= {"EchoTime": 90.0, "StudyDate": "20100801"}
    for name in "ab":
        (tmp_path / name).mkdir()
    write_series(tmp_path / "a", T1, (450, 150))
    write_series(tmp_path / "b", T1 | t2, (300, 150))
    with pytest.raises(
        ValueError, match=r"of 2 days; keep one study in a folder, or name the images"
    ):
        guess_study(tmp_path)
    named = {name: read_source(tmp_path / name, Contrast.T1) for name in "ab"}
    notes = agreed_patient(None, None, named)[2]
    assert "The images are of 2 days; check that they belong together." in notes


def test_a_series_of_each_of_two_patients_is_not_advised_to_be_chosen_from(tmp_path):
    write_series(tmp_path, T1, (450, 150))
    write_series(tmp_path, T1 | {"PatientID": "another", "SeriesNumber": 5}, (300, 150))
    for named in ((), {Contrast.T1}):
        with pytest.raises(ValueError, match="are of 2 patients by their identifiers"):
            guess_study(tmp_path, named)


def test_assess_takes_the_named_one_of_two_series_and_guesses_the_rest(folder, tmp_path):
    write_series(folder, T1 | {"SeriesNumber": 5}, (450, 150))
    volume = read_source(f"{folder}#5", Contrast.T1)
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[1:5, 5:11, 3:17], labels[1:5, 15:21, 3:17] = 1, 2
    write_volume(volume.with_array(labels), tmp_path / "labels.nii.gz")
    arguments = [
        "assess", "--dicom", folder, "--volume", f"T1={folder}#5", "--labels",
        tmp_path / "labels.nii.gz", "--label", "1=marrow:L3", "--label", "2=muscle:psoas",
        "--no-scene", "--out", tmp_path / "out",
    ]  # fmt: skip
    assert cli.main([str(a) for a in arguments]) == 0
    content = json.loads((tmp_path / "out" / "assessment.json").read_text())
    values = {m["quantity"]: m["value"] for m in content["measurements"]}
    assert values["t1_marrow_muscle"] == pytest.approx(3.0)
    assert values["fs_t2_marrow_muscle"] == pytest.approx(1.5)


def test_assess_from_dicom_to_report_without_the_patient_s_name(folder, tmp_path):
    series = next(s for s in read_dicom_folder(folder) if s.description == "sag t1 tse")
    volume = series.contents[0].read()
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[1:5, 5:11, 3:17] = 1
    labels[1:5, 15:21, 3:17] = 2
    write_volume(volume.with_array(labels), tmp_path / "labels.nii.gz")
    out = tmp_path / "out"
    arguments = [
        "assess", "--dicom", folder, "--labels", tmp_path / "labels.nii.gz", "--label",
        "1=marrow:L3", "--label", "2=muscle:psoas", "--no-scene", "--out", out,
    ]  # fmt: skip
    assert cli.main([str(a) for a in arguments]) == 0
    text = (out / "assessment.json").read_text()
    content = json.loads(text)
    assert content["patient"] == {"age_years": 34, "sex": "M", "subject": ""}
    values = {m["quantity"]: m["value"] for m in content["measurements"]}
    assert values["t1_marrow_muscle"] == pytest.approx(2.0)
    assert values["fs_t2_marrow_muscle"] == pytest.approx(1.5)
    for private in ("Doe", "Jane", "12345"):
        assert private not in text + (out / "report.html").read_text()


def test_a_missing_slice_is_an_error(folder):
    (folder / "3_2.dcm").unlink()
    with pytest.raises(ValueError, match=r"slice|gap"):
        read_source(f"{folder}#3", Contrast.T1)
