"""The full table of features: what its columns hold, and what it says where there are none."""

import csv
import json

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.commands import main as cli
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.texture.discretization import Discretization
from MarrowAssessLib.texture.perturbed import noise_sigma, perturbations
from MarrowAssessLib.texture.table import FEATURES, radiomics_rows, stability_rows
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.volume import Volume

THICK = np.diag([4.0, 1.0, 1.0, 1.0])
SHAPE = (16, 18, 8)


@pytest.fixture(scope="module")
def pdff():
    rng = np.random.default_rng(4)
    return Volume(rng.normal(45, 5, SHAPE).astype(np.float32), THICK, "PDFF")


def region(name="L3 marrow", shape=(12, 12, 6)):
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(2, 2 + n) for n in shape)] = True
    return Region.from_mask(name, Role.MARROW, name.split()[0], mask)


def test_codes_are_of_one_feature_each():
    codes = [each.code for each in FEATURES]
    assert len(codes) == len(set(codes)) == 169


def test_a_row_holds_every_feature_once(pdff):
    (row,) = radiomics_rows({Contrast.PDFF: pdff}, [region()])
    assert len(row.values) == len(FEATURES)
    assert np.isfinite(list(row.values.values())).all()
    inside = pdff.array[2:14, 2:14, 2:8]
    assert row.values["PDFF_original_Q4LE"] == pytest.approx(inside.mean(), rel=1e-6)
    assert row.values["shape_YEKZ"] == pytest.approx(12 * 12 * 6 * 4)  # mm^3
    assert row.settings["PDFF"] == "voxels 4.00 x 1.00 x 1.00 mm; 2.5D, merged; bins of 2.5 from 0"


def test_filtered_images_in_the_plane_of_thick_slices_and_in_the_volume_of_cubes(pdff):
    pytest.importorskip("pywt", reason="PyWavelets is not installed")
    (flat,) = radiomics_rows({Contrast.PDFF: pdff}, [region()], filtered=True)
    images = {name.split("_")[1] for name in flat.values if name.startswith("PDFF")}
    log = {"LoG1mm", "LoG3mm", "LoG5mm"}
    assert images == {"original", *log, "waveletLL", "waveletLH", "waveletHL", "waveletHH"}
    # a filter of each slice alone does not see the next slice
    changed = pdff.array.copy()
    changed[:, :, 7] += 50
    one = region(shape=(12, 12, 5))
    again, before = (
        radiomics_rows({Contrast.PDFF: pdff.with_array(array)}, [one], filtered=True)[0].values
        for array in (changed, pdff.array)
    )
    assert again["PDFF_LoG3mm_Q4LE"] == pytest.approx(before["PDFF_LoG3mm_Q4LE"])
    cubes = Volume(pdff.array, np.eye(4), "PDFF")
    (whole,) = radiomics_rows({Contrast.PDFF: cubes}, [region()], filtered=True)
    images = {name.split("_")[1] for name in whole.values if name.startswith("PDFF")}
    assert len(images) == 1 + 3 + 8
    assert len(whole.values) > 1050


def test_too_small_a_region_says_why(pdff):
    (row,) = radiomics_rows({Contrast.PDFF: pdff}, [region(shape=(6, 6, 6))])
    assert row.missing == {"PDFF": "216 voxels have a value; texture needs 300 or more"}


def test_variants_are_what_they_say(pdff):
    mask = np.zeros(SHAPE, bool)
    mask[2:14, 2:14, 2:8] = True
    bins = Discretization(bin_width=2.5)
    variants = {one.name: one for one in perturbations(pdff.array.astype(float), mask, 2, bins)}
    assert len(variants) == 1 + 1 + 4 + 5 + 2
    assert variants["as drawn"].mask.sum() == 12 * 12 * 6
    assert variants["a voxel smaller"].mask.sum() == 10 * 10 * 6
    moved = variants["moved +1 on axis 0"].mask
    assert (moved[3:15, 2:14, 2:8]).all()
    assert moved.sum() == 12 * 12 * 6
    assert variants["half the gray levels"].discretization == Discretization(bin_width=5)
    assert Discretization(bins=32).coarser(0.5).bins == 64
    # white noise of 5 is measured as such
    assert noise_sigma(pdff.array, 2) == pytest.approx(5, rel=0.05)
    noisy = variants["noise, draw 1"].values - pdff.array
    assert noisy.std() == pytest.approx(5, rel=0.1)


def test_stability_rows_of_a_region(pdff):
    rows = list(stability_rows({Contrast.PDFF: pdff}, [region()]))
    assert len(rows) == 13
    assert {name for name, *_ in rows} == {"L3 marrow"}
    by_variant = {variant: values["PDFF_original_Q4LE"] for _, variant, values in rows}
    assert by_variant["twice the gray levels"] == by_variant["as drawn"]
    assert by_variant["a voxel smaller"] != by_variant["as drawn"]


def test_cancel(pdff):
    with pytest.raises(InterruptedError, match="Canceled while features"):
        radiomics_rows({Contrast.PDFF: pdff}, [region()], progress=lambda _: False)


def test_the_command_writes_the_table_and_what_it_means(pdff, tmp_path, capsys):
    write_volume(pdff, tmp_path / "pdff.nrrd")
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:14, 2:14, 2:8] = 1
    labels[0, 0, 0] = 2
    write_volume(pdff.with_array(labels), tmp_path / "labels.nrrd")
    study = [
        "--volume",
        f"PDFF={tmp_path / 'pdff.nrrd'}",
        "--labels",
        str(tmp_path / "labels.nrrd"),
    ]
    rules = ["--label", "1=marrow:L3", "--label", "2=marrow:L4"]
    out = tmp_path / "out"
    assert cli.main(["radiomics", *study, *rules, "--out", str(out)]) == 0
    assert "L4" in capsys.readouterr().out
    with open(out / "radiomics.csv", encoding="utf-8", newline="") as file:
        rows = {row["site"]: row for row in csv.DictReader(file)}
    (expected,) = radiomics_rows({Contrast.PDFF: pdff}, [region()])
    assert float(rows["L3"]["PDFF_original_ACUI"]) == pytest.approx(
        expected.values["PDFF_original_ACUI"]
    )
    assert rows["L4"]["PDFF_original_ACUI"] == ""
    content = json.loads((out / "radiomics.json").read_text())
    assert content["features"]["ACUI"]["name"] == "Contrast"
    assert list(content["missing"]) == ["L4 marrow"]
    assert cli.main(["radiomics", *study, *rules, "--stability", "--out", str(out)]) == 0
    with open(out / "stability.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 13
    nothing = ["--label", "2=marrow:L4", "--out", str(tmp_path / "none")]
    assert cli.main(["radiomics", *study, *nothing]) == 2
    assert "No region gives features" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
