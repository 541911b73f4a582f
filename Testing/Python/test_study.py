import json
import re

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast, parse_contrast
from MarrowAssessLib.catalogue.terminology import role_and_site
from MarrowAssessLib.sources.inputs import StudyFiles
from MarrowAssessLib.sources.labels import parse_label_rule, regions_from_labels
from MarrowAssessLib.sources.segmentations import regions_from_segmentation
from MarrowAssessLib.sources.study_file import read_study_file
from MarrowAssessLib.sources.study_files import read_study
from MarrowAssessLib.study.study import Study
from PDFFMapperLib.images.files import read_volume, write_volume
from PDFFMapperLib.images.resampling import resampled
from PDFFMapperLib.images.volume import Volume


def test_a_volume_survives_every_file_format(tmp_path, oblique_volume):
    for ending in ("nii.gz", "nrrd", "mha"):
        path = tmp_path / f"volume.{ending}"
        write_volume(oblique_volume, path)
        back = read_volume(path)
        assert np.allclose(back.array, oblique_volume.array)
        assert back.same_grid(oblique_volume, 1e-3)
        assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("text", "contrast"),
    [
        ("T1", Contrast.T1), ("stir", Contrast.FS_T2), ("TIRM", Contrast.FS_T2),
        ("opposed-phase", Contrast.OPPOSED_PHASE), ("T1 post", Contrast.T1_POST),
        ("R2*", Contrast.R2STAR), ("pdff", Contrast.PDFF), ("D*", Contrast.DSTAR),
        ("T2*", Contrast.T2STAR), ("fat fraction", Contrast.FAT_FRACTION),
    ],
)  # fmt: skip
def test_contrast_names(text, contrast):
    assert parse_contrast(text) is contrast


def test_unknown_contrast_and_bad_label_rules_are_refused():
    with pytest.raises(ValueError, match="Unknown volume role 'US'"):
        parse_contrast("US")
    assert parse_label_rule("2=marrow:L5").site == "L5"
    assert parse_label_rule("9 = muscle").role is Role.MUSCLE
    for text in ("marrow:L5", "0=marrow:L5", "2=bone:L5", "2=marrow:Q5", "2:marrow"):
        with pytest.raises(ValueError):
            parse_label_rule(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("L3 marrow", (Role.MARROW, "L3")), ("L3", (Role.MARROW, "L3")),
        ("CSF_L3", (Role.CSF, "L3")), ("L3-L4", (Role.DISC, "L3-L4")),
        ("Intervertebral disc L4/5", (Role.DISC, "L4-L5")), ("noise", (Role.NOISE, "")),
        ("psoas left", (Role.MUSCLE, "left psoas")), ("subcutaneous fat", (Role.FAT, "")),
        ("femoral head right", (Role.MARROW, "right femoral head")),
    ],
)  # fmt: skip
def test_region_names_tell_role_and_site(name, expected):
    assert role_and_site(name) == expected


def test_a_region_name_without_tissue_is_refused():
    with pytest.raises(ValueError, match="tells no tissue role"):
        role_and_site("Segment_1")


def test_labels_become_regions(oblique_volume):
    labels = np.zeros(oblique_volume.array.shape, np.int16)
    labels[2:5, 10:20, 10:20] = 2
    rules = [parse_label_rule("2=marrow:L5")]
    (region,) = regions_from_labels(oblique_volume.with_array(labels), rules)
    assert (region.name, region.voxels, region.offset) == ("L5 marrow", 300, (2, 10, 10))
    with pytest.raises(ValueError, match=r"label 7 \(L1 marrow\) is empty; labels in this map: 2"):
        regions_from_labels(oblique_volume.with_array(labels), [parse_label_rule("7=marrow:L1")])
    with pytest.raises(ValueError, match="whole numbers"):
        regions_from_labels(oblique_volume.with_array(labels + 0.5), rules)


def test_segmentation_file_with_overlapping_layers(tmp_path, oblique_volume):
    import SimpleITK as sitk
    from PDFFMapperLib.images.files import image_from_volume

    one = np.zeros(oblique_volume.array.shape, np.uint8)
    other = one.copy()
    one[4:8, 5:9, 5:9] = 3
    other[4:8, 7:12, 7:12] = 1
    images = [image_from_volume(oblique_volume.with_array(a)) for a in (one, other)]
    image = sitk.Compose(*images)
    for key, value in {
        "Segment0_Name": "L3 marrow", "Segment0_LabelValue": "3", "Segment0_Layer": "0",
        "Segment1_Name": "whatever", "Segment1_LabelValue": "1", "Segment1_Layer": "1",
        "Segment1_Tags": "x:y|MarrowAssess.Role:csf|MarrowAssess.Site:L3|",
    }.items():  # fmt: skip
        image.SetMetaData(key, value)
    path = tmp_path / "s.seg.nrrd"
    sitk.WriteImage(image, str(path))
    drawn = regions_from_segmentation(path)
    grid, regions = drawn.grid, drawn.regions
    assert grid.same_grid(oblique_volume, 1e-3)
    assert [(r.role, r.site, r.voxels) for r in regions] == [
        (Role.MARROW, "L3", 64),
        (Role.CSF, "L3", 100),
    ]


@pytest.fixture
def files(tmp_path, oblique_volume):
    labels = np.zeros(oblique_volume.array.shape, np.uint8)
    labels[5:15, 10:30, 10:30] = 1
    write_volume(oblique_volume, tmp_path / "t1.nii.gz")
    write_volume(oblique_volume.with_array(labels), tmp_path / "labels.nii.gz")
    moved = oblique_volume.ijk_to_ras.copy()
    moved[:3, 3] += moved[:3, 0]  # one voxel along i
    shifted = Volume(oblique_volume.array, moved, "moved")
    write_volume(shifted, tmp_path / "moved.nii.gz")
    return tmp_path


def test_another_grid_is_refused_or_resampled_when_asked(files, oblique_volume):
    arguments = dict(labels=files / "labels.nii.gz", rules=[parse_label_rule("1=marrow:L3")])
    with pytest.raises(ValueError, match=r"another voxel grid.*placed or oriented differently"):
        read_study({Contrast.T1: files / "moved.nii.gz"}, **arguments)
    study = read_study({Contrast.T1: files / "moved.nii.gz"}, resample=True, **arguments)
    t1 = study.volumes[Contrast.T1].array
    # Voxel i of the grid is voxel i - 1 of the moved image; its first column lies outside.
    assert np.allclose(t1[:, :, 1:], oblique_volume.array[:, :, :-1], atol=0.05)
    assert np.isnan(t1[:, :, 0]).all()
    assert "resampled" in study.inputs["T1"]


def test_arguments_go_before_those_of_a_study_of_files(files):
    given = StudyFiles(
        {Contrast.T1: files / "t1.nii.gz"}, age_years=30,
        labels=files / "labels.nii.gz", rules=[parse_label_rule("1=marrow:L3")],
    )  # fmt: skip
    study = read_study(given, age_years=45, sex="F")
    assert (study.age_years, study.sex, len(study.regions)) == (45, "F", 1)
    with pytest.raises(TypeError, match="nonsense"):
        read_study(given, nonsense=3)


def test_resampling_a_linear_ramp_is_exact(oblique_volume):
    k, j, i = np.indices(oblique_volume.array.shape)
    points = oblique_volume.to_ras(np.stack([i, j, k], -1))
    ramp = oblique_volume.with_array(points @ [1.0, 2.0, 3.0])
    matrix = np.diag([1.1, 1.3, 1.7, 1.0])
    matrix[:3, 3] = oblique_volume.to_ras(np.array([22.0, 18.0, 9.0]))
    target = Volume(np.zeros((4, 5, 6)), matrix, "target")
    k, j, i = np.indices(target.array.shape)
    expected = target.to_ras(np.stack([i, j, k], -1)) @ [1.0, 2.0, 3.0]
    assert np.allclose(resampled(ramp, target).array, expected, atol=1e-3)


def test_study_file_paths_are_relative_to_it(files):
    path = files / "study.json"
    content = {
        "age_years": 0.5, "sex": "F", "volumes": {"T1": "t1.nii.gz"},
        "labels": "labels.nii.gz", "label_rules": ["1=marrow:L3"],
    }  # fmt: skip
    path.write_text(json.dumps(content))
    study = read_study(read_study_file(path))
    assert (study.age_years, study.regions[0].voxels) == (0.5, 4000)
    path.write_text(json.dumps({**content, "colour": 1}))
    with pytest.raises(ValueError, match="unknown key colour"):
        read_study_file(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"age_years": -3.0}, "Age -3 years is not possible"),
        ({"age_years": 400.0}, "Age 400 years is not possible"),
        ({"age_years": 120.1}, "Age 120.1 years is not possible; expected 0 to 120 years"),
        ({"sex": "x"}, "expected F or M"),
        ({"regions": []}, "No region was given"),
        ({"volumes": {}}, "No volume was given"),
    ],
)
def test_impossible_studies_are_refused(oblique_volume, change, sentence):
    from MarrowAssessLib.study.regions import Region

    region = Region.from_mask("L3 marrow", Role.MARROW, "L3", np.ones((2, 2, 2), bool))
    arguments = {"volumes": {Contrast.T1: oblique_volume}, "regions": [region]} | change
    with pytest.raises(ValueError, match=sentence):
        Study(**arguments)


def test_unreadable_files_give_one_sentence(tmp_path, files):
    volume = read_volume(files / "t1.nii.gz")
    cut = [f"cut.{ending}" for ending in ("nii.gz", "nii", "nrrd", "mha")]
    for name in cut:
        write_volume(volume, tmp_path / f"whole-{name}")
        whole = (tmp_path / f"whole-{name}").read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.nii").write_text("hello")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_volume(tmp_path / "none.nii")
    for name in (*cut, "text.nii"):
        with pytest.raises(ValueError, match="cannot be read as an image"):
            read_volume(tmp_path / name)


def test_nan_survives_a_nifti_file(tmp_path, oblique_volume):
    oblique_volume.array[3, 4, 5] = np.nan
    for name in ("a.nii.gz", "a.nii", "a.nrrd"):
        write_volume(oblique_volume, tmp_path / name)
        back = read_volume(tmp_path / name)
        assert np.argwhere(np.isnan(back.array)).tolist() == [[3, 4, 5]]
        assert back.same_grid(oblique_volume, 1e-3)


def test_voxels_in_doubt_are_left_out_of_a_map(tmp_path, oblique_volume):
    rng = np.random.default_rng(0)
    trusted = rng.random(oblique_volume.array.shape) > 0.3
    values = rng.uniform(20, 60, trusted.shape).astype(np.float32)
    masks = {"confident": trusted, "labels": np.ones(trusted.shape)}
    for name, mask in masks.items():
        write_volume(
            oblique_volume.with_array(mask.astype(np.uint8)), tmp_path / f"spine_{name}.nrrd"
        )
    write_volume(oblique_volume.with_array(values), tmp_path / "spine_PDFF.nrrd")
    given = {
        "volumes": {Contrast.PDFF: tmp_path / "spine_PDFF.nrrd"},
        "labels": tmp_path / "spine_labels.nrrd",
        "rules": [parse_label_rule("1=marrow:L3")],
    }
    study = read_study(StudyFiles(**given))
    read = study.volumes[Contrast.PDFF].array
    assert np.array_equal(np.isfinite(read), trusted)
    assert np.array_equal(read[trusted], values[trusted])
    assert re.fullmatch(r"image \w{8} \(where the mask beside it says so\)", study.inputs["PDFF"])
    named = read_study(StudyFiles(**given, keep_names=True)).inputs["PDFF"]
    assert named == "spine_PDFF.nrrd (where spine_confident.nrrd says so)"
    (tmp_path / "spine_confident.nrrd").unlink()
    assert np.isfinite(read_study(StudyFiles(**given)).volumes[Contrast.PDFF].array).all()


def test_a_series_where_a_volume_is_meant_is_refused(tmp_path):
    import SimpleITK as sitk

    series = sitk.GetImageFromArray(np.zeros((3, 4, 5, 6), np.float32), isVector=False)
    sitk.WriteImage(series, str(tmp_path / "4d.nii.gz"))
    with pytest.raises(ValueError, match="a 3D volume is expected, this one is 4D"):
        read_volume(tmp_path / "4d.nii.gz")


@pytest.mark.parametrize("kind", [np.int32, np.uint32, np.float64])
def test_labels_of_any_size_are_read(oblique_volume, kind):
    labels = np.zeros(oblique_volume.array.shape, kind)
    labels[2:5, 10:20, 10:20] = 2_000_000_000
    labels[8:9, 10:20, 10:20] = 3
    volume = oblique_volume.with_array(labels)
    rules = [parse_label_rule("2000000000=marrow:L5"), parse_label_rule("3=csf:L3")]
    assert [r.voxels for r in regions_from_labels(volume, rules)] == [300, 100]
    with pytest.raises(ValueError, match="labels in this map: 3, 2000000000"):
        regions_from_labels(volume, [parse_label_rule("7=marrow:L1")])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"age_years": [45]}, "'age_years' must be a number"),
        ({"age_years": "old"}, "'old' is no age"),
        ({"sex": "w"}, "Unknown sex 'w'"),
        ({"volumes": {"T1": 3}}, "'volumes' must be an object"),
        ({"label_rules": "1=marrow:L1"}, "'label_rules' must be a list"),
        ({"labels": 5}, "'labels' must be a file name"),
        ({"markups": [3]}, "'markups' must be a list of file names"),
        ({"resample": "yes"}, "'resample' must be true or false"),
        ({"scale": ["T1"]}, "'scale' must be an object"),
        ({"subject": 5}, "'subject' must be a text"),
        ({"volumes": {"STIR": "a.nii", "TIRM": "b.nii"}}, "FS_T2 is given twice"),
    ],
)
def test_a_study_file_with_the_wrong_kind_of_value_is_refused(tmp_path, change, sentence):
    path = tmp_path / "study.json"
    path.write_text(json.dumps({"volumes": {"T1": "t1.nii.gz"}, **change}))
    with pytest.raises(ValueError, match=sentence) as said:
        read_study_file(path)
    assert str(said.value).startswith(f"{path}: ")


def test_what_is_given_but_would_not_be_used_is_refused(files):
    volumes = {Contrast.T1: files / "t1.nii.gz"}
    rules = [parse_label_rule("1=marrow:L3")]
    with pytest.raises(ValueError, match="but no label map"):
        read_study(volumes, rules=rules)
    with pytest.raises(ValueError, match="say what its labels mean, with VALUE=ROLE:SITE such as"):
        read_study(volumes, labels=files / "labels.nii.gz")
    with pytest.raises(ValueError, match="A scale is given for ADC"):
        read_study(
            volumes, labels=files / "labels.nii.gz", rules=rules, scale={Contrast.ADC: 0.001}
        )


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_nifti_of_floats_may_end_in_odd_bytes_but_not_too_early(tmp_path, oblique_volume, kind):
    path = tmp_path / "volume.nii"
    array = oblique_volume.array.astype(kind)
    array[0, 0, 0] = np.nan
    write_volume(oblique_volume.with_array(array), path)
    whole = path.read_bytes()
    path.write_bytes(whole + b"abc")
    assert np.array_equal(read_volume(path).array, array, equal_nan=True)
    path.write_bytes(whole[:-3])
    with pytest.raises(ValueError, match="may be truncated"):
        read_volume(path)


def test_a_complex_image_is_refused(tmp_path, oblique_volume):
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(oblique_volume.array.astype(np.complex64))
    path = tmp_path / "complex.nii"
    sitk.WriteImage(image, str(path))
    with pytest.raises(ValueError, match="this one is complex"):
        read_volume(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"Segment0_Layer": "3"}, "no valid label or layer"),
        ({"Segment0_LabelValue": "x"}, "no valid label or layer"),
        ({"Segment0_Tags": "MarrowAssess.Role:bone"}, "Unknown tissue role 'bone'"),
    ],
)
def test_a_damaged_segmentation_is_refused(tmp_path, oblique_volume, change, sentence):
    import SimpleITK as sitk
    from PDFFMapperLib.images.files import image_from_volume

    labels = np.ones(oblique_volume.array.shape, np.uint8)
    image = image_from_volume(oblique_volume.with_array(labels))
    for key, text in ({"Segment0_Name": "L3 marrow"} | change).items():
        image.SetMetaData(key, text)
    sitk.WriteImage(image, str(tmp_path / "s.seg.nrrd"))
    with pytest.raises(ValueError, match=sentence):
        regions_from_segmentation(tmp_path / "s.seg.nrrd")


def test_an_empty_region_is_refused_before_anything_is_measured(oblique_volume):
    from MarrowAssessLib.study.regions import Region

    empty = Region.from_mask("L3 marrow", Role.MARROW, "L3", np.zeros((2, 2, 2), bool))
    with pytest.raises(ValueError, match="L3 marrow: this region is empty"):
        Study({Contrast.T1: oblique_volume}, [empty])


def test_a_nifti_of_slanted_axes_is_refused_by_its_cause(tmp_path):
    import struct

    path = tmp_path / "volume.nii"
    write_volume(Volume(np.ones((4, 5, 6), np.float32), np.eye(4), "straight"), path)
    whole = bytearray(path.read_bytes())
    struct.pack_into("<hh", whole, 252, 0, 1)  # no quaternion, only the matrix
    struct.pack_into("<12f", whole, 280, 1, 0, 0.4, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    path.write_bytes(bytes(whole))
    with pytest.raises(ValueError, match="not at right angles"):
        read_volume(path)
