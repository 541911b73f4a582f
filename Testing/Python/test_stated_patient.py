"""Age and sex that images state: heard with their ground, and what contradicts is told."""

import json

import numpy as np
import pytest
from dicom_files import classic_slice
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.sources.labels import LabelRule
from MarrowAssessLib.sources.stated_patient import bids_patient
from MarrowAssessLib.sources.study_files import read_study
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.volume import Volume
from pydicom import dcmread

MATRIX = np.diag([-1.0, -1.2, 4.0, 1.0])
SHAPE = (3, 5, 4)


@pytest.fixture
def data_set(tmp_path):
    """A BIDS data set of two participants and a session."""
    (tmp_path / "dataset_description.json").write_text("{}")
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tAge\tsex\tgroup\nsub-01\t63\tF\tcontrol\nsub-02\tn/a\tmale\tx\n"
        "sub-03\t89+\tn/a\tx\nsub-04\told\t3\tx\n05\t8 months\tM\tx\n"
    )
    folder = tmp_path / "sub-01" / "anat"
    folder.mkdir(parents=True)
    values = np.arange(60, dtype=np.int16).reshape(SHAPE) + 100
    write_volume(Volume(values, MATRIX), folder / "sub-01_T1w.nii.gz")
    write_volume(Volume((values > 120).astype(np.uint8), MATRIX), tmp_path / "labels.nii.gz")
    return tmp_path


def told(root, subject, session=""):
    name = f"sub-{subject}" + (f"_ses-{session}" if session else "")
    facts, notes = bids_patient(root / f"sub-{subject}" / "anat" / f"{name}_T1w.nii.gz")
    return facts.age_years, facts.sex, " ".join(notes)


def study_of(root, image, **given):
    rules = [LabelRule(1, Role.MARROW, "L3")]
    return read_study({Contrast.T1: image}, labels=root / "labels.nii.gz", rules=rules, **given)


def test_participants_tell_age_and_sex_as_people_write_them(data_set):
    for subject in ("01", "02", "03", "04", "05"):
        (data_set / f"sub-{subject}" / "anat").mkdir(parents=True, exist_ok=True)
    assert told(data_set, "01") == (63, "F", "")
    assert told(data_set, "02") == (None, "M", "")
    age, sex, said = told(data_set, "03")
    assert (age, sex) == (89, None) and "the age 89+ was read as 89 years" in said
    age, sex, said = told(data_set, "04")
    assert (age, sex) == (None, None)
    assert "the age 'old' is no age and was left out" in said
    assert "the sex '3' is neither M nor F and was left out" in said
    assert told(data_set, "05")[0] == pytest.approx(8 / 12)
    assert told(data_set, "09") == (None, None, "")
    assert bids_patient(data_set / "labels.nii.gz")[0].age_years is None


def test_a_stated_unit_of_age_is_heard_and_the_session_goes_first(data_set):
    (data_set / "participants.json").write_text(json.dumps({"age": {"Units": "months"}}))
    assert told(data_set, "01")[0] == pytest.approx(63 / 12, abs=0.06)
    (data_set / "sub-01" / "ses-2" / "anat").mkdir(parents=True)
    (data_set / "sub-01" / "sub-01_sessions.tsv").write_text("session_id\tage\nses-2\t65\n")
    facts, _ = bids_patient(data_set / "sub-01" / "ses-2" / "anat" / "sub-01_ses-2_T1w.nii.gz")
    assert (facts.age_years, facts.sex) == (65, "F")


def test_a_study_takes_them_with_their_ground_and_tells_what_contradicts(data_set):
    image = data_set / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    study = study_of(data_set, image)
    assert (study.age_years, study.sex) == (63, "F")
    assert any("Age 63 years and sex F by the tables of its BIDS" in one for one in study.notes)
    study = study_of(data_set, image, age_years=40, sex="M")
    assert (study.age_years, study.sex) == (40, "M")
    said = " ".join(study.notes)
    assert "The age 40 years was given and is used; by the tables of its BIDS data set" in said
    assert "The sex M was given and is used" in said
    (data_set / "participants.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"participants\.tsv: a table of text with tabs is"):
        study_of(data_set, image)


def test_a_dicom_header_is_heard_where_its_folder_is_named(tmp_path):
    for number, age in (("1", "071Y"), ("2", "040Y")):
        (tmp_path / number).mkdir()
        for k in range(3):
            pixels = np.arange(20, dtype=np.uint16).reshape(5, 4) + 100 * int(number)
            classic_slice(
                tmp_path / number, f"{k}.dcm", k, pixels, series=f"1.2.{number}",
                InstanceNumber=k + 1, PatientAge=age, PatientSex="M", PatientBirthDate="",
            )  # fmt: skip
    labels = np.ones(SHAPE, np.uint8)
    from PDFFMapperLib.dicom.selection import read_source

    like = read_source(tmp_path / "1")
    write_volume(like.with_array(labels), tmp_path / "labels.nii.gz")
    study = study_of(tmp_path, tmp_path / "1")
    assert (study.age_years, study.sex) == (71, "M")
    assert any("Age 71 years and sex M by the DICOM header" in one for one in study.notes)
    rules = [LabelRule(1, Role.MARROW, "L3")]
    both = {Contrast.T1: tmp_path / "1", Contrast.T2: tmp_path / "2"}
    study = read_study(both, labels=tmp_path / "labels.nii.gz", rules=rules)
    assert (study.age_years, study.sex) == (None, "M")
    assert any("The images state different patients or years" in one for one in study.notes)
    for age, told in (("072Y", False), ("073Y", True)):
        for path in (tmp_path / "2").glob("*.dcm"):
            data = dcmread(path)
            data.PatientAge = age
            data.save_as(path)
        notes = read_study(both, labels=tmp_path / "labels.nii.gz", rules=rules).notes
        assert any("different patients or years" in one for one in notes) is told


def test_an_age_without_unit_and_another_sex_are_told_until_they_are_given(tmp_path):
    from PDFFMapperLib.dicom.inventory import inventory, lines
    from PDFFMapperLib.dicom.selection import read_source

    folder = tmp_path / "series"
    folder.mkdir()
    stated = {"PatientAge": "55", "PatientSex": "W", "PatientBirthDate": ""}

    def study_stating(**given):
        for k in range(3):
            pixels = np.arange(20, dtype=np.uint16).reshape(5, 4) + 100
            classic_slice(
                folder, f"{k}.dcm", k, pixels, series="1.2.3", InstanceNumber=k + 1, **stated
            )
        labels = read_source(folder)
        write_volume(labels.with_array(np.ones(SHAPE, np.uint8)), tmp_path / "labels.nii.gz")
        study = study_of(tmp_path, folder, **given)
        return study, " ".join(study.notes)

    study, said = study_stating()
    assert (study.age_years, study.sex) == (None, None)
    assert "Left out: the DICOM header's age '55', which has no unit" in said
    assert "Left out: the DICOM header's sex 'W', which is neither M nor F; give the sex" in said
    listed = " ".join(lines(inventory(folder), folder))
    assert "Left out: the DICOM header's age '55'" in listed and "sex 'W'" in listed
    _, said = study_stating(age_years=55, sex="F")
    assert "header's" not in said
    stated |= {"PatientAge": "055Y", "PatientSex": "O"}
    study, said = study_stating()
    assert study.age_years == 55 and "header's age" not in said and "sex 'O'" in said
    stated |= {"PatientAge": "", "PatientSex": ""}
    assert "header's" not in study_stating()[1]
    stated |= {"PatientAge": "55", "PatientSex": "F", "PatientBirthDate": "19550702"}
    study, said = study_stating()  # the birth date tells it
    assert study.age_years == 55 and "header's" not in said
