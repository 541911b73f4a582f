"""Maps of a BIDS series as a derivative data set, which a cohort reads again."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from MarrowAssessLib.cohort.inventory import find_studies
from MarrowAssessLib.commands.main import main
from MarrowAssessLib.sources.study_file import study_files
from MarrowAssessLib.sources.study_files import read_study
from PDFFMapperLib.images.bids_derivative import describe
from PDFFMapperLib.images.files import read_volume, write_volume
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.bids_maps import bids_ending, checked_source, write_bids_maps
from PDFFMapperLib.maps.kinds import KINDS, map_kind
from PDFFMapperLib.maps.parametric_map import ParametricMap
from phantoms.diffusion import MARROW_B, marrow
from phantoms.water_fat import spine_phantom

GRID = np.diag([2.0, 2.0, 4.0, 1.0])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A BIDS data set: one subject's echo train and diffusion series."""
    root = tmp_path_factory.mktemp("bids") / "data"
    anat, dwi = root / "sub-01" / "ses-a" / "anat", root / "sub-01" / "ses-a" / "dwi"
    for folder in (anat, dwi):
        folder.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "Spines", "BIDSVersion": "1.9.0"}')
    phantom = spine_phantom(shape=(4, 24, 24), snr=60)
    for n, (echo, time) in enumerate(zip(phantom.echoes, phantom.echo_times_s, strict=True), 1):
        scaled = np.round((np.angle(echo) + np.pi) / (2 * np.pi) * 4095)
        for part, array in (("mag", np.round(1000 * np.abs(echo))), ("phase", scaled)):
            stem = anat / f"sub-01_ses-a_acq-tall_run-1_echo-{n}_part-{part}_MEGRE"
            write_volume(Volume(array.astype(np.uint16), GRID), f"{stem}.nii.gz")
            side = {"EchoTime": time, "MagneticFieldStrength": 3}
            stem.with_name(f"{stem.name}.json").write_text(json.dumps(side))
    image = marrow(240, 60, seed=5).signal.reshape(4, 6, 10, 12)
    frames = [sitk.GetImageFromArray(np.ascontiguousarray(image[..., n])) for n in range(12)]
    sitk.WriteImage(sitk.JoinSeries(frames), str(dwi / "sub-01_ses-a_dwi.nii.gz"))
    (dwi / "sub-01_ses-a_dwi.bval").write_text(" ".join(f"{b:g}" for b in MARROW_B))
    (anat / "sub-01_ses-a_T1w.nii.gz").write_bytes(b"")  # not of the echo train
    return root


def test_maps_of_pdff_and_ivim_stand_in_one_data_set_that_is_read_again(data, tmp_path, capsys):
    out, made = tmp_path / "out", tmp_path / "made"
    session = data / "sub-01" / "ses-a"
    assert main(["pdff", str(session), "--out", str(out), "--bids-out", str(made)]) == 0
    assert main(["ivim", str(session), "--out", str(out), "--bids-out", str(made)]) == 0
    about = json.loads((made / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative" and about["Name"] == "Parametric maps of Spines"
    anat = made / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_acq-tall_run-1_"
    dwi = made / "sub-01" / "ses-a" / "dwi" / "sub-01_ses-a_"
    for stem, ending, own, unit, factor in (
        (anat, "R2starmap", "waterfat_R2star", "1/s", 1),
        (anat, "T2starmap", "waterfat_T2star", "s", 1e-3),
        (anat, "desc-PDFF_map", "waterfat_PDFF", "%", 1),
        (dwi, "desc-IVIMD_map", "diffusion_D", "10^-3 mm^2/s", 1),
        (dwi, "desc-IVIMf_map", "diffusion_f", "%", 1),
        (dwi, "S0map", "diffusion_S0", None, 1),
    ):
        written = read_volume(f"{stem}{ending}.nii.gz")
        np.testing.assert_allclose(
            written.array, factor * read_volume(out / f"{own}.nrrd").array, rtol=1e-6
        )
        side = json.loads(stem.with_name(f"{stem.name}{ending}.json").read_text())
        assert side.get("Units") == unit
        kind = "MEGRE" if stem == anat else "dwi"
        assert side["Sources"] and all(
            one.startswith("bids:raw:sub-01/ses-a/") and kind in one for one in side["Sources"]
        )
    assert np.isnan(read_volume(f"{anat}desc-PDFF_map.nii.gz").array).any()
    mask = read_volume(f"{anat}desc-confident_mask.nii.gz").array
    assert set(np.unique(mask)) <= {0, 1} and mask.any()
    names = [path.name for path in made.rglob("*") if path.is_file()]
    assert ".bidsignore" in names and "README" in names

    # Again, without maps that are not made any more; the diffusion of the same subject stays.
    (made / "sub-01" / "ses-a" / "anat" / "mine.txt").write_text("")
    assert main(["pdff", str(session / "anat"), "--out", str(out), "--bids-out", str(made)]) == 0
    assert sorted(path.name for path in made.rglob("*") if path.is_file()) == sorted(
        [*names, "mine.txt"]
    )

    root = tmp_path / "read"
    shutil.copytree(made, root / "derivatives" / "maps")
    (root / "dataset_description.json").write_text("{}")
    (study,) = find_studies(root, "salt")
    content = json.loads(study.content)
    assert set(content["volumes"]) == {"PDFF", "R2star", "T2star", "D", "f"}
    labels = Volume(np.ones((4, 24, 24), np.uint8), GRID)
    write_volume(labels, root / "labels.nii.gz")
    volumes = {key: content["volumes"][key] for key in ("PDFF", "R2star", "T2star")}
    study = read_study(
        study_files(
            {"volumes": volumes, "labels": "labels.nii.gz", "label_rules": ["1=marrow:L3"]},
            root,
            "sub-01",
        )
    )
    read = {contrast.value: volume for contrast, volume in study.volumes.items()}
    kept = np.isfinite(read["T2star"].array)
    truth = read_volume(out / "waterfat_T2star.nrrd").array  # ms
    np.testing.assert_allclose(read["T2star"].array[kept], truth[kept], rtol=1e-5)


def test_where_no_derivative_data_set_can_be_written(data, tmp_path, capsys):
    session = data / "sub-01" / "ses-a"
    nameless = tmp_path / "data"
    nameless.mkdir()
    (nameless / "dataset_description.json").write_text("{}")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "mine.txt").write_text("")
    describe(data, tmp_path / "marrow", "Bone marrow", "")  # a cohort replaces it as a whole
    describe(nameless, tmp_path / "others", "Parametric maps", "")
    for images, folder, words in (
        (
            [str(tmp_path / "plain")],
            tmp_path / "a",
            "plain is no BIDS data set; leave --bids-out out",
        ),
        ([str(nameless / "1.nii.gz")], tmp_path / "b", "1.nii.gz names no subject (sub-LABEL"),
        ([str(session / "anat")], data / "new", "whose label maps would be read as drawn ones"),
        *(
            (
                [str(session / "anat")],
                tmp_path / name,
                "this folder is not 'Parametric maps of Spines' as written here; name a new one",
            )
            for name in ("foreign", "marrow", "others")
        ),
    ):
        out = tmp_path / "out"
        command = ["pdff", *images, "--out", str(out)]
        assert main([*command, "--bids-out", str(folder)]) == 2
        assert words in capsys.readouterr().err and not out.exists()


def test_maps_keep_what_tells_runs_apart_and_images_of_two_data_sets_are_refused(data, tmp_path):
    """Both phase-encoding directions of one subject: neither replaces the other."""
    one_map = ParametricMap(map_kind("ADC"), Volume(np.ones((2, 3, 4), np.float32), GRID))
    dwi = data / "sub-01" / "ses-a" / "dwi"
    for direction in ("AP", "PA"):
        images = [dwi / f"sub-01_ses-a_dir-{direction}_part-{part}_dwi.nii.gz" for part in "ab"]
        write_bids_maps([one_map], images, tmp_path / "made", "diffusion")
    names = {path.name for path in (tmp_path / "made").rglob("*_ADC.nii.gz")}
    assert names == {f"sub-01_ses-a_dir-{one}_ADC.nii.gz" for one in ("AP", "PA")}
    other = tmp_path / "more"
    other.mkdir()
    (other / "dataset_description.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"b.nii.gz is not of the data set data as .*images of one"
    ):
        checked_source([dwi / "sub-01_dwi.nii.gz", other / "b.nii.gz"], tmp_path / "made")
    with pytest.raises(ValueError, match="whose label maps would be read as drawn ones"):
        checked_source([dwi / "1.nii.gz"], tmp_path / ".." / data.parent.name / "data" / "x")


def test_no_two_kinds_of_map_are_called_alike_in_bids():
    endings = [bids_ending(kind) for kind in KINDS]
    assert len(set(endings)) == len(endings)
    assert all(one.replace("_", "").replace("-", "").isalnum() for one in endings)
