"""The full table of features: what its columns hold, and what it says where there are none."""

import csv
import json

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.commands import main as cli
from MarrowAssessLib.commands import radiomics
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.texture.discretization import Discretization
from MarrowAssessLib.texture.filters import gabor, laplacian_of_gaussian, laws
from MarrowAssessLib.texture.perturbed import noise_sigma, perturbations
from MarrowAssessLib.texture.resampling import at_spacing
from MarrowAssessLib.texture.responses import gabor_filter, laws_filter
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


@pytest.mark.parametrize("code", "ACUI 22OV 5QRC 0GBI NQ30 SODN RNU0 VJGA Q4LE".split())
def test_a_feature_alone_is_that_of_the_whole_set(pdff, code):
    (whole,), (alone,) = (
        radiomics_rows({Contrast.PDFF: pdff}, [region()], codes=codes) for codes in (None, {code})
    )
    (name,) = (name for name in whole.values if name.endswith(f"_{code}"))
    assert alone.values[name] == whole.values[name] and alone.settings == whole.settings
    assert len(alone.values) < 0.75 * len(whole.values)


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


def t1_with_muscle(gain=1.0):
    """Marrow of 2 +- 0.3 times muscle on T1, whose signal is `gain`."""
    rng = np.random.default_rng(6)
    array = np.full(SHAPE, gain)
    array[2:14, 2:14, 2:8] = gain * rng.normal(2, 0.3, (12, 12, 6))
    muscle = np.zeros(SHAPE, bool)
    muscle[:2] = True
    regions = [region(), Region.from_mask("psoas muscle", Role.MUSCLE, "psoas", muscle)]
    return {Contrast.T1: Volume(array, THICK, "T1")}, regions


def test_signals_over_muscle_have_levels_that_mean_the_same_in_every_patient():
    one, other = (radiomics_rows(*t1_with_muscle(gain))[0] for gain in (1.0, 700.0))
    assert one.settings["T1_over_muscle"] == (
        "voxels 4.00 x 1.00 x 1.00 mm; 2.5D, merged; bins of 0.05 from 0"
    )
    # White noise of 0.3: differences of neighbors have twice its variance, in bins of 0.05.
    assert one.values["T1_over_muscle_ACUI"] == pytest.approx(2 * (0.3 / 0.05) ** 2, rel=0.1)
    assert one.values["T1_over_muscle_Q4LE"] == pytest.approx(2, abs=0.02)
    for name, value in one.values.items():
        if name.startswith("T1_over_muscle"):
            assert other.values[name] == pytest.approx(value, rel=1e-6), name
    volumes, (marrow, _) = t1_with_muscle()
    (alone,) = radiomics_rows(volumes, [marrow])
    assert not any("_over_" in name for name in (*alone.values, *alone.settings))


def test_resampling_keeps_places_values_and_thick_slices():
    k, j, i = np.indices((20, 24, 6))
    ramp = Volume(3.0 * k + 2.0 * j + 40 * (i == 3), np.diag([4.0, 0.5, 0.5, 1.0]), "ramp")
    mask = np.zeros(ramp.array.shape, bool)
    mask[4:16, 4:20, 1:5] = True
    marrow = Region.from_mask("L3 marrow", Role.MARROW, "L3", mask)
    volumes, (moved,) = at_spacing({Contrast.T1: ramp}, [marrow], 0.8)
    made = volumes[Contrast.T1]
    assert made.spacing == pytest.approx([4.0, 0.8, 0.8])
    assert made.array.shape == (13, 15, 6)
    center = made.ijk_to_ras @ [*(np.array(made.array.shape[::-1]) - 1) / 2, 1]
    assert center == pytest.approx(ramp.ijk_to_ras @ [*(np.array([6, 24, 20]) - 1) / 2, 1])
    # A ramp stays a ramp away from the border, and slices are not mixed.
    inner = made.array[4:9, 4:11]
    assert np.diff(inner, axis=0) == pytest.approx(3 * 1.6, abs=0.1)
    assert np.diff(inner, axis=2)[..., 2] == pytest.approx(40, abs=1e-6)
    volume = moved.voxels * 4.0 * 0.8**2
    assert volume == pytest.approx(marrow.voxels * 4.0 * 0.5**2, rel=0.1)
    (row,) = radiomics_rows(volumes, [moved], done_before={Contrast.T1: "resampled"})
    assert row.settings["T1"].startswith("voxels 4.00 x 0.80 x 0.80 mm (resampled); 2.5D")
    cubes, _ = at_spacing({Contrast.T1: Volume(ramp.array, np.eye(4), "c")}, [], 2.0)
    assert cubes[Contrast.T1].spacing == pytest.approx([2, 2, 2])
    holed = ramp.array.copy()
    holed[8:12, 8:12] = np.nan
    again, _ = at_spacing({Contrast.T1: ramp.with_array(holed)}, [], 0.8)
    lost = np.isnan(again[Contrast.T1].array).sum() * 0.8**2
    assert lost == pytest.approx(4 * 4 * 6 * 0.5**2, rel=0.6)
    with pytest.raises(ValueError, match="Voxel spacings are above 0 mm"):
        at_spacing({Contrast.T1: ramp}, [], 0.0)


def test_too_small_a_region_says_why(pdff):
    (row,) = radiomics_rows({Contrast.PDFF: pdff}, [region(shape=(6, 6, 6))])
    assert row.missing == {"PDFF": "216 voxels have a value; texture needs 300 or more"}


def test_values_out_of_a_range_leave_the_intensities_and_not_the_shape(pdff):
    pytest.importorskip("pywt", reason="PyWavelets is not installed")
    volumes, kept = {Contrast.PDFF: pdff}, {Contrast.PDFF: (40.0, 50.0)}
    (whole,) = radiomics_rows(volumes, [region()], filtered=True)
    (row,) = radiomics_rows(volumes, [region()], filtered=True, ranges=kept)
    inside = pdff.array[2:14, 2:14, 2:8]
    counted = inside[(inside >= 40) & (inside <= 50)]
    assert row.values["PDFF_original_Q4LE"] == pytest.approx(counted.mean(), rel=1e-6)
    assert row.values["PDFF_original_1GSF"] == pytest.approx(counted.min(), rel=1e-6)
    assert row.values["shape_YEKZ"] == whole.values["shape_YEKZ"]
    assert row.settings["PDFF"].startswith("voxels 4.00 x 1.00 x 1.00 mm; values 40 to 50; 2.5D")
    # a filter sees the whole image; only its responses at the left out voxels do not count
    response = laplacian_of_gaussian(
        np.moveaxis(pdff.array.astype(float), 2, 0), 1.0, [4.0, 1.0, 1.0], in_slice=True
    )
    response = np.moveaxis(response, 0, 2)[2:14, 2:14, 2:8]
    expected = response[(inside >= 40) & (inside <= 50)].mean()
    assert row.values["PDFF_LoG1mm_Q4LE"] == pytest.approx(expected, rel=1e-6)
    variants = {
        name: values for _, name, values in stability_rows(volumes, [region()], False, kept)
    }
    assert variants["as drawn"]["PDFF_original_Q4LE"] == pytest.approx(counted.mean(), rel=1e-6)


def test_a_range_of_signals_holds_over_muscle_too():
    volumes, regions = t1_with_muscle(gain=100.0)
    low, high = 150.0, 250.0
    ranges = {Contrast.T1: (low, high)}
    (row,) = radiomics_rows(volumes, regions, ranges=ranges, tissue="marrow")
    marrow = next(one for one in regions if one.role is Role.MARROW).values(
        volumes[Contrast.T1].array
    )
    muscle = next(one for one in regions if one.role is Role.MUSCLE).values(
        volumes[Contrast.T1].array
    )
    counted = marrow[(marrow >= low) & (marrow <= high)]
    assert len(counted) < len(marrow)
    expected = counted.mean() / np.median(muscle)
    assert row.values["T1_over_muscle_Q4LE"] == pytest.approx(expected, rel=1e-5)


def test_variants_are_what_they_say(pdff):
    mask = np.zeros(SHAPE, bool)
    mask[2:14, 2:14, 2:8] = True
    variants = {one.name: one for one in perturbations(pdff.array.astype(float), mask, 2)}
    assert len(variants) == 1 + 1 + 4 + 5 + 2
    assert variants["as drawn"].mask.sum() == 12 * 12 * 6
    assert variants["a voxel smaller"].mask.sum() == 10 * 10 * 6
    moved = variants["moved +1 on axis 0"].mask
    assert (moved[3:15, 2:14, 2:8]).all()
    assert moved.sum() == 12 * 12 * 6
    assert variants["half the gray levels"].coarser == 2
    assert Discretization(bin_width=2.5).coarser(2) == Discretization(bin_width=5)
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


def test_stability_covers_every_feature_of_the_table(pdff):
    """Also of signals over a tissue, of shape and of filtered images, or training drops them."""
    pytest.importorskip("pywt", reason="PyWavelets is not installed")
    volumes, (marrow, muscle) = t1_with_muscle()
    (row, _) = radiomics_rows(volumes, [marrow, muscle], filtered=True)
    drawn, *others = stability_rows(volumes, [marrow, muscle], filtered=True)
    assert drawn[:2] == ("L3 marrow", "as drawn")
    assert drawn[2] == row.values
    assert all(values.keys() == row.values.keys() for *_, values in others)
    by_variant = {variant: values for name, variant, values in others if name == "L3 marrow"}
    for name in ("T1_over_muscle_ACUI", "T1_LoG1mm_ACUI"):
        assert by_variant["half the gray levels"][name] < 0.5 * row.values[name]
        assert by_variant["noise, draw 1"][name] != row.values[name]
    assert by_variant["a voxel smaller"]["shape_YEKZ"] == 10 * 10 * 6 * 4


def test_what_one_image_lacks_is_not_put_on_another():
    volumes, regions = t1_with_muscle()
    array = volumes[Contrast.T1].array.copy()
    array[5, 5, 5] = 60  # 60 times muscle is more gray levels of 0.05 than are allowed
    row = radiomics_rows({Contrast.T1: volumes[Contrast.T1].with_array(array)}, regions)[0]
    assert list(row.missing) == ["T1_over_muscle"]
    assert "Bins of 0.05 give 1201 gray levels" in row.missing["T1_over_muscle"]
    assert np.isfinite(row.values["T1_original_ACUI"])
    assert not any("_over_" in name for name in row.values)


def test_a_single_slice_has_texture_and_no_shape(pdff):
    wide = np.repeat(np.repeat(pdff.array, 2, 0), 2, 1)[:, :, 3:4]
    region = Region.from_mask("L3 marrow", Role.MARROW, "L3", np.ones(wide.shape, bool))
    (row,) = radiomics_rows({Contrast.PDFF: pdff.with_array(wide)}, [region])
    assert row.missing["shape"].startswith("The region lies in one plane, so it has no shape")
    assert np.isfinite(row.values["PDFF_original_ACUI"])


def test_a_filter_sees_the_image_beyond_the_region():
    """The widest filter reaches 20 mm, 40 voxels here: responses are those of the whole image."""
    from MarrowAssessLib.texture.filters import laplacian_of_gaussian

    pytest.importorskip("pywt", reason="PyWavelets is not installed")
    rng = np.random.default_rng(2)
    volume = Volume(rng.normal(45, 5, (110, 112, 4)), np.diag([4.0, 0.5, 0.5, 1.0]), "PDFF")
    mask = np.zeros(volume.array.shape, bool)
    mask[50:64, 50:64, 1:3] = True
    region = Region.from_mask("L3 marrow", Role.MARROW, "L3", mask)
    (row,) = radiomics_rows({Contrast.PDFF: volume}, [region], filtered=True)
    turned = np.moveaxis(volume.array, 2, 0)
    whole = laplacian_of_gaussian(turned, 5.0, (4, 0.5, 0.5), in_slice=True)
    inside = np.moveaxis(whole, 0, 2)[mask]
    assert row.values["PDFF_LoG5mm_Q4LE"] == pytest.approx(inside.mean(), rel=1e-9)
    assert row.values["PDFF_LoG5mm_ECT3"] == pytest.approx(inside.var(), rel=1e-9)


@pytest.mark.parametrize("slice_mm", [4.0, 1.4, 1.0])
def test_laws_and_gabor_filters_that_are_asked_for_are_counted_as_of_the_whole_image(slice_mm):
    """Thick, nearly cubes, cubes: a Gabor filter's mm hold, so it leaves the slice in cubes."""
    rng = np.random.default_rng(2)
    spacing, shape, thick = (slice_mm, 1.0, 1.0), (60, 62, 40), slice_mm > 1.5
    volume = Volume(rng.normal(45, 5, shape), np.diag([*spacing, 1.0]), "PDFF")
    mask = np.zeros(shape, bool)
    mask[25:36, 25:36, 18:24] = True
    region = Region.from_mask("L3 marrow", Role.MARROW, "L3", mask)
    more = [laws_filter("E5L5S5"), gabor_filter(1.0, 4.0, 1.0)]
    (row,) = radiomics_rows({Contrast.PDFF: volume}, [region], more=more)
    turned = np.moveaxis(volume.array, 2, 0) if slice_mm > 1 else volume.array
    names = ("E5L5" if thick else "E5L5S5"), "1mm4mm1"
    angles = np.pi / 4 * np.arange(4)
    expected = {
        f"Laws{names[0]}": laws(turned, names[0], energy_voxels=7, in_slice=thick),
        f"Gabor{names[1]}": gabor(turned, 1.0, 4.0, 1.0, angles, 1.0, all_planes=slice_mm == 1),
    }
    for name, whole in expected.items():
        inside = (np.moveaxis(whole, 0, 2) if slice_mm > 1 else whole)[mask]
        assert row.values[f"PDFF_{name}_Q4LE"] == pytest.approx(inside.mean(), rel=1e-9)
        assert row.values[f"PDFF_{name}_ECT3"] == pytest.approx(inside.var(), rel=1e-9)


def test_filters_are_asked_for_in_words_and_refused_in_words(pdff, tmp_path, capsys):
    write_volume(pdff, tmp_path / "pdff.nrrd")
    write_volume(pdff.with_array(region().full_mask(SHAPE).astype(np.uint8)), tmp_path / "l.nrrd")
    run = ["radiomics", "--volume", f"PDFF={tmp_path / 'pdff.nrrd'}", "--label", "1=marrow:L3"]
    run += ["--labels", str(tmp_path / "l.nrrd"), "--out", str(tmp_path / "out")]
    asked = ["--laws", "E5L5S5", "--gabor", "1,3,1", "--stability"]
    assert cli.main([*run, *asked]) == 0
    for name in ("radiomics.csv", "stability.csv"):
        header = (tmp_path / "out" / name).read_text().partition("\n")[0]
        assert "PDFF_LawsE5L5_Q4LE" in header and "PDFF_Gabor1mm3mm1_Q4LE" in header
        assert "LoG" not in header
    for given, said in {
        ("--laws", "E5L5"): "Laws kernels are three of L5, E5",
        ("--laws", "E5L5X5"): "given was E5L5X5",
        ("--gabor", "3,6"): "expected sigma and wavelength in mm and the aspect, as 3,6,1",
        ("--gabor", "3,0,1"): "A Gabor filter has a sigma and a wavelength (mm) and an aspect ab",
        ("--gabor", "3,nan,1"): "given were 3, nan, 1",
        ("--gabor", "3,6,inf"): "given were 3, 6, inf",
    }.items():
        assert cli.main([*run, *given]) == 2
        assert said in capsys.readouterr().err
    oblong = Volume(pdff.array, np.diag([4.0, 1.0, 2.0, 1.0]), "PDFF")
    with pytest.raises(ValueError, match=r"square pixels; these are .* resample the images first"):
        radiomics_rows({Contrast.PDFF: oblong}, [region()], more=[gabor_filter(1, 3, 1)])


def test_what_was_done_to_an_image_stands_in_its_settings(tmp_path):
    """Tables with and without N4 do not compare, and training sees it."""
    volumes, regions = t1_with_muscle()
    write_volume(volumes[Contrast.T1], tmp_path / "t1.nrrd")
    labels = regions[0].full_mask(SHAPE).astype(np.uint8)
    write_volume(volumes[Contrast.T1].with_array(labels), tmp_path / "labels.nrrd")
    given = ["--volume", f"T1={tmp_path / 't1.nrrd'}", "--labels", str(tmp_path / "labels.nrrd")]
    run = ["radiomics", *given, "--label", "1=marrow:L3", "--n4", "--spacing", "1"]
    assert cli.main([*run, "--out", str(tmp_path / "out")]) == 0
    with open(tmp_path / "out" / "radiomics.csv", encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["T1_settings"].startswith("voxels 4.00 x 1.00 x 1.00 mm (resampled, N4); 2.5D")
    with open(tmp_path / "out" / "radiomics-without-n4.csv", encoding="utf-8", newline="") as file:
        (plain,) = csv.DictReader(file)
    assert plain["T1_settings"].startswith("voxels 4.00 x 1.00 x 1.00 mm (resampled); 2.5D")
    assert plain.keys() == row.keys() and plain["T1_original_Q4LE"] != row["T1_original_Q4LE"]
    content = json.loads((tmp_path / "out" / "radiomics.json").read_text())
    assert content["levels"]["L3 marrow"]["T1"].startswith("32 levels of ")


def test_levels_are_recorded_with_number_width_and_limits(pdff):
    (row,) = radiomics_rows({Contrast.PDFF: pdff}, [region()])
    number, width, low, high = (row.levels["PDFF"].split()[n] for n in (0, 3, 5, 7))
    assert (float(width), float(low), float(high)) == (2.5, 0, 2.5 * int(number))
    (row,) = radiomics_rows({Contrast.T1: pdff}, [region()])
    inside = np.percentile(pdff.array[2:14, 2:14, 2:8], (1, 99))
    assert [float(row.levels["T1"].split()[n]) for n in (5, 7)] == pytest.approx(inside, rel=1e-3)


def test_a_value_far_below_the_first_level_belongs_to_it(pdff):
    array = pdff.array.copy()
    array[5, 5, 5] = -1e12
    (row,) = radiomics_rows({Contrast.PDFF: pdff.with_array(array)}, [region()])
    assert row.values["PDFF_original_1PR8"] == 1
    assert 0 < row.values["PDFF_original_GBPN_90"] < 60


def test_noise_is_measured_in_the_region():
    rng = np.random.default_rng(3)
    image = rng.normal(0, 2, (30, 30, 4))
    mask = np.zeros(image.shape, bool)
    mask[8:22, 8:22] = True
    image[~mask] *= 40
    inner = np.zeros(image.shape, bool)
    inner[9:21, 9:21] = True
    assert noise_sigma(image, 2, inner) == pytest.approx(2, rel=0.1)


def test_cancel(pdff):
    with pytest.raises(InterruptedError, match=r"Counting features was canceled\."):
        radiomics_rows({Contrast.PDFF: pdff}, [region()], progress=lambda _: False)


@pytest.fixture
def files(pdff, tmp_path):
    """A PDFF map, and labels of a region and of one that is too small."""
    write_volume(pdff, tmp_path / "pdff.nrrd")
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:14, 2:14, 2:8] = 1
    labels[0, 0, 0] = 2
    write_volume(pdff.with_array(labels), tmp_path / "labels.nrrd")
    given = ["--volume", f"PDFF={tmp_path / 'pdff.nrrd'}"]
    return [*given, "--labels", str(tmp_path / "labels.nrrd")]


def test_the_command_writes_the_table_and_what_it_means(pdff, files, tmp_path, capsys):
    rules = ["--label", "1=marrow:L3", "--label", "2=marrow:L4"]
    out = tmp_path / "out"
    assert cli.main(["radiomics", *files, *rules, "--out", str(out)]) == 0
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
    assert cli.main(["radiomics", *files, *rules, "--stability", "--out", str(out)]) == 0
    with open(out / "stability.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 13
    within = ["--range", "PDFF=40,50", "--out", str(tmp_path / "range")]
    assert cli.main(["radiomics", *files, *rules, *within]) == 0
    with open(tmp_path / "range" / "radiomics.csv", encoding="utf-8", newline="") as file:
        assert "values 40 to 50" in next(csv.DictReader(file))["PDFF_settings"]
    assert cli.main(["radiomics", *files, *rules, *within[:1], "T1=4,5", *within[2:]]) == 2
    assert "no image 'T1' was given, only PDFF." in capsys.readouterr().err
    assert cli.main(["radiomics", *files, *rules, *within[:1], "PDFF=50,40", *within[2:]]) == 2
    assert "expected the lowest and the highest value, as PDFF=0,100." in capsys.readouterr().err
    nothing = ["--label", "2=marrow:L4", "--out", str(tmp_path / "none")]
    assert cli.main(["radiomics", *files, *nothing]) == 2
    assert "No region gives features" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_all_files_of_a_run_or_none(files, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    run = ["radiomics", *files, "--label", "1=marrow:L3", "--out", str(out)]
    assert cli.main([*run, "--stability"]) == 0
    first = {file.name: file.read_bytes() for file in out.iterdir()}
    assert set(first) == {"radiomics.csv", "radiomics.json", "stability.csv"}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(radiomics, "write_stability", full)
    assert cli.main([*run, "--stability", "--spacing", "1.5"]) == 2
    assert {file.name: file.read_bytes() for file in out.iterdir()} == first
    # A later run without it takes the earlier run's stability.csv away; somebody else's stays.
    assert cli.main([*run, "--spacing", "1.5"]) == 0
    assert {file.name for file in out.iterdir()} == {"radiomics.csv", "radiomics.json"}
    assert "(resampled)" in (out / "radiomics.csv").read_text()
    (out / "radiomics.csv").write_text("mine")
    assert cli.main(run) == 2
    assert "was not made by this software" in capsys.readouterr().err
    assert (out / "radiomics.csv").read_text() == "mine"


def test_parquet_holds_the_same_numbers_and_each_code(files, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    out = tmp_path / "out"
    rules = ["--label", "1=marrow:L3", "--label", "2=marrow:L4", "--subject", "P1"]
    assert cli.main(["radiomics", *files, *rules, "--parquet", "--out", str(out)]) == 0
    table = parquet.read_table(out / "radiomics.parquet")
    with open(out / "radiomics.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert table.column_names == list(rows[0])
    for column, values in table.to_pydict().items():
        for value, row in zip(values, rows, strict=True):
            text = "" if value is None else repr(value) if isinstance(value, float) else value
            assert text == row[column]
    about = table.schema.field("PDFF_original_ACUI").metadata
    assert (about[b"ibsi"], about[b"name"]) == (b"ACUI", b"Contrast")


def test_what_an_option_needs_is_said_before_anything_is_read(tmp_path, monkeypatch, capsys):
    installed = radiomics.importlib.util.find_spec
    monkeypatch.setattr(
        radiomics.importlib.util,
        "find_spec",
        lambda name, *a: None if name in ("pywt", "pyarrow") else installed(name, *a),
    )
    for option in ("--filters", "--parquet"):
        given = ["--volume", "PDFF=none.nrrd", option, "--out", str(tmp_path / "out")]
        assert cli.main(["radiomics", *given]) == 2
        assert "install it with: pip install 'marrowassess[radiomics]'" in capsys.readouterr().err
