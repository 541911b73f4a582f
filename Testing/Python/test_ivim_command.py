import argparse
import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from PDFFMapperLib.commands.builder import add_arguments, run
from PDFFMapperLib.commands.diffusion_files import read_diffusion
from PDFFMapperLib.diffusion.recipe import DIFFUSION
from PDFFMapperLib.diffusion.scheme import diffusion_scheme
from PDFFMapperLib.diffusion.series import diffusion_series
from PDFFMapperLib.images.files import read_volume
from phantoms.diffusion import MARROW_B, marrow


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A 4D file of a phantom with its .bval beside it and a label map of two regions."""
    folder = tmp_path_factory.mktemp("series")
    phantom = marrow(960, 60, seed=5)
    image = phantom.signal.reshape(6, 10, 16, 12)
    frames = [sitk.GetImageFromArray(np.ascontiguousarray(image[..., n])) for n in range(12)]
    for frame in frames:
        frame.SetSpacing((2.0, 2.5, 4.0))
        frame.SetOrigin((10.0, -20.0, 30.0))
    order = np.random.default_rng(0).permutation(12)
    sitk.WriteImage(sitk.JoinSeries([frames[n] for n in order]), str(folder / "dwi.nii.gz"))
    (folder / "dwi.bval").write_text(" ".join(f"{b:g}" for b in MARROW_B[order]))
    labels = np.zeros((6, 10, 16), dtype=np.uint8)
    labels[:3], labels[4:] = 1, 2
    picture = sitk.GetImageFromArray(labels)
    picture.CopyInformation(frames[0])
    sitk.WriteImage(picture, str(folder / "labels.nii.gz"))
    return folder, phantom


def command(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser, DIFFUSION)
    return run(parser.parse_args([str(word) for word in words]), DIFFUSION)


def test_full_fit_writes_maps_with_units_and_region_values(series, tmp_path, capsys):
    folder, phantom = series
    labels = folder / "labels.nii.gz"
    code = command(folder / "dwi.nii.gz", "--regions", labels, "--choose-model", "--out", tmp_path)
    assert code == 0
    d = read_volume(tmp_path / "diffusion_D.nrrd")
    assert d.same_grid(read_volume(labels))
    assert np.abs(d.array.ravel() - phantom.d).mean() < 0.06
    f = read_volume(tmp_path / "diffusion_f.nrrd").array.ravel()
    assert np.abs(f - 100 * phantom.f).mean() < 3
    record = json.loads((tmp_path / "diffusion_maps.json").read_text())
    units = {each["name"]: each["unit"] for each in record["maps"]}
    assert units["D"] == units["Dstar_SD"] == "10^-3 mm^2/s" and units["f"] == "%"
    assert record["provenance"]["b_values_s_per_mm2"] == MARROW_B.tolist()
    assert record["provenance"]["method"] == "full"
    rows = list(csv.DictReader((tmp_path / "diffusion_regions.csv").open()))
    value = next(
        r for r in rows if r["region"] == "2" and r["model"] == "ivim" and r["parameter"] == "d"
    )
    assert float(value["lower95"]) < float(value["value"]) < float(value["upper95"])
    assert float(value["value"]) == pytest.approx(phantom.d[640:].mean(), abs=0.03)
    assert "not identifiable" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("method", "name"),
    [("segmented", "D"), ("hierarchical", "D"), ("adc", "ADC"), ("adc-wls", "ADC")],
)
def test_methods(series, tmp_path, method, name):
    folder, phantom = series
    command(folder / "dwi.nii.gz", "--method", method, "--out", tmp_path, "--sigma", "1.7")
    values = read_volume(tmp_path / f"diffusion_{name}.nrrd").array
    assert np.corrcoef(values.ravel(), phantom.d)[0, 1] > 0.7


def test_noise_that_two_b_values_do_not_tell_is_called_unknown(series, tmp_path, capsys):
    image = series[1].signal.reshape(6, 10, 16, 12)
    for n in (0, 11):
        one = sitk.GetImageFromArray(np.ascontiguousarray(image[..., n]))
        sitk.WriteImage(one, str(tmp_path / f"b{n}.nrrd"))
    files = (tmp_path / "b0.nrrd", tmp_path / "b11.nrrd")
    stated = ("--b-values", f"{MARROW_B[0]:g},{MARROW_B[11]:g}", "--method", "adc")
    assert command(*files, *stated, "--out", tmp_path / "maps") == 0
    told = capsys.readouterr().out
    assert "noise SD of one image unknown" in told and "nan" not in told


def test_errors_are_one_sentence(series, tmp_path):
    folder, _ = series
    with pytest.raises(ValueError, match="for 12 volumes"):
        command(folder / "dwi.nii.gz", "--b-values", "0,100,500", "--out", tmp_path)
    with pytest.raises(ValueError, match="not both"):
        command(folder / "dwi.nii.gz", "--b-values", "0", "--bval", "x.bval", "--out", tmp_path)
    with pytest.raises(ValueError, match="'repeats'"):
        command(folder / "dwi.nii.gz", "--sigma", "much", "--out", tmp_path)
    with pytest.raises(ValueError, match="grid"):
        other = tmp_path / "other.nrrd"
        sitk.WriteImage(sitk.GetImageFromArray(np.ones((2, 2, 2), np.uint8)), str(other))
        command(folder / "dwi.nii.gz", "--mask", other, "--out", tmp_path)


def series_of(folder):
    images, _, _ = read_diffusion([folder])
    return diffusion_series(images, DIFFUSION.recipe("adc").chosen({}))


def test_philips_slices_out_of_order(shared):
    series = series_of(shared / "cases" / "dicom" / "philips_classic_dwi")
    assert series.b_values.tolist() == [0, 1000]
    assert series.averages.tolist() == [5, 12]
    assert any("taken as 0" in note for note in series.notes)
    low, high = np.percentile(series.signal[..., 0], [70, 90])
    brain = (series.signal[..., 0] > low) & (series.signal[..., 0] < high)
    adc = -np.log(np.median(series.signal[brain, 1] / series.signal[brain, 0]))
    assert 0.6 < adc < 0.9  # 10^-3 mm^2/s of brain


def test_ge_private_b_values(shared):
    folder = shared / "cases" / "dicom" / "ge_dwi_tensor"
    images, _, _ = read_diffusion([folder])
    assert diffusion_scheme(images).b_values.tolist() == [0, *[1000] * 6]
    with pytest.raises(ValueError, match=r"b = 0 and 1000 s/mm.2 are the same in every voxel"):
        series_of(folder)  # its pictures were made alike
