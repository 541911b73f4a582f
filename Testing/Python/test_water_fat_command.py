"""`marrowassess pdff` from files to maps and region values."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from MarrowAssessLib.commands.main import main
from PDFFMapperLib.commands.echo_files import read_echoes
from PDFFMapperLib.images.files import read_volume, write_volume
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.echo_train import echo_train
from PDFFMapperLib.water_fat.t1_bias import saturation
from phantoms.water_fat import spine_phantom

SHARED = Path(os.environ.get("MARROWASSESS_SHARED", Path(__file__).parents[2] / "../shared"))
GRID = np.diag([2.0, 2.0, 4.0, 1.0])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Echoes of a phantom as one magnitude and one phase file each, with BIDS sidecars."""
    folder = tmp_path_factory.mktemp("echoes")
    phantom = spine_phantom(shape=(6, 48, 48), snr=60)
    magnitude, phase = [], []
    for n, (echo, time) in enumerate(zip(phantom.echoes, phantom.echo_times_s, strict=True)):
        scaled = np.round((np.angle(echo) + np.pi) / (2 * np.pi) * 4095)
        parts = {"mag": np.round(1000 * np.abs(echo)), "phase": scaled}
        for (name, array), paths in zip(parts.items(), (magnitude, phase), strict=True):
            path = folder / f"{name}{n}.nii.gz"
            write_volume(Volume(array.astype(np.uint16), GRID), path)
            side = {"EchoTime": time, "MagneticFieldStrength": 3}
            (folder / f"{name}{n}.json").write_text(json.dumps(side))
            paths.append(str(path))
    write_volume(Volume(phantom.labels, GRID), folder / "labels.nrrd")
    return phantom, folder, magnitude, phase


def regions(path):
    with path.open(newline="") as table:
        return {(int(r["region"]), r["map"]): float(r["mean"]) for r in csv.DictReader(table)}


def test_magnitude_and_phase_files_with_sidecars(files, tmp_path):
    phantom, folder, magnitude, phase = files
    labels = str(folder / "labels.nrrd")
    arguments = ["pdff", *magnitude, "--phase", *phase, "--regions", labels, "--out"]
    assert main([*arguments, str(tmp_path)]) == 0
    found = regions(tmp_path / "waterfat_regions.csv")
    assert found[6, "PDFF"] == pytest.approx(45, abs=0.6)
    assert found[6, "R2star"] == pytest.approx(70, abs=4)
    assert found[2, "PDFF"] == pytest.approx(100, abs=0.4)
    record = json.loads((tmp_path / "waterfat_maps.json").read_text())
    facts = record["provenance"]
    assert facts["fat_spectrum"] == "ren_marrow"
    assert any("to share their phase at echo time 0" in note for note in facts["notes"])
    assert facts["field_strength_t"] == 3
    np.testing.assert_allclose(facts["echo_times_s"], phantom.echo_times_s)
    pdff = read_volume(tmp_path / "waterfat_PDFF.nrrd")
    np.testing.assert_allclose(pdff.ijk_to_ras, GRID)
    assert np.isnan(pdff.array[phantom.labels == 0]).any()


@pytest.mark.parametrize("method", ["complex", "magnitude"])
def test_echoes_in_reverse_are_refused(files, tmp_path, capsys, method):
    phantom, _, magnitude, phase = files
    times = ",".join(f"{1000 * time:g}" for time in phantom.echo_times_s[::-1])
    arguments = ["pdff", *magnitude, "--phase", *phase, "--echo-times", times, "--method", method]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "echoes is explained better in the opposite order: it" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("decay_per_s", "snr", "reverse"), [(15, 6, False), (30, 30, True), (30, 15, True)]
)
def test_noise_that_hides_the_decay_is_no_wrong_order(tmp_path, decay_per_s, snr, reverse):
    """Of muscle at an SNR of 6 noise chooses the R2* that magnitudes tell: -33 for 15 1/s.

    One that grows by 30 1/s, told in most voxels, is refused, though the SD of each is 17 to 27.
    """
    times = 1.15e-3 * np.arange(1, 5)
    decay = np.exp(-decay_per_s * times)[:: -1 if reverse else 1, None, None, None]
    noise = np.random.default_rng(0).normal(0, 1 / snr, (2, 4, 2, 40, 40))
    echoes = np.hypot(decay + noise[0], noise[1]).astype(np.float32)
    paths = [str(tmp_path / f"echo{n}.nrrd") for n in range(4)]
    for path, echo in zip(paths, echoes, strict=True):
        write_volume(Volume(echo, GRID), Path(path))
    arguments = ["pdff", *paths, "--echo-times", "1.15,2.3,3.45,4.6", "--field", "3"]
    ended = main([*arguments, "--method", "magnitude", "--out", str(tmp_path / "out")])
    assert ended == (2 if reverse else 0)


def test_readout_and_r2star_model_are_recorded(files, tmp_path):
    phantom, _, magnitude, phase = files
    arguments = ["pdff", *magnitude, "--phase", *phase, "--out", str(tmp_path)]
    assert main([*arguments, "--readout", "bipolar", "--r2star-model", "separate"]) == 0
    facts = json.loads((tmp_path / "waterfat_maps.json").read_text())["provenance"]
    assert facts["r2star_model"] == "separate"
    assert abs(facts["echo_error"]["phase_rad"][0][0]) < 0.01
    found = read_volume(tmp_path / "waterfat_R2star_fat.nrrd").array
    assert np.isfinite(found[phantom.labels == 7]).mean() > 0.95


def test_magnitudes_with_typed_echo_times(files, tmp_path, capsys):
    phantom, folder, magnitude, _ = files
    times = ",".join(f"{1000 * t:g}" for t in phantom.echo_times_s)
    arguments = ["pdff", *magnitude, "--echo-times", times, "--field", "3", "--out"]
    labels = str(folder / "labels.nrrd")
    assert main([*arguments, str(tmp_path), "--regions", labels]) == 0
    whole = np.count_nonzero(phantom.labels == 8)
    assert f" of {whole} voxels)" in capsys.readouterr().out
    found = regions(tmp_path / "waterfat_regions.csv")
    assert found[8, "PDFF"] == pytest.approx(80, abs=2)
    assert (8, "field") not in found


def test_a_sidecar_in_milliseconds_is_said(files, tmp_path):
    phantom, _, magnitude, _ = files
    times = [1000 * float(time) for time in phantom.echo_times_s]
    side = tmp_path / "side.json"
    side.write_text(json.dumps({"EchoTime": times, "MagneticFieldStrength": 3}))
    _, echo_times_s, notes = read_echoes([Path(path) for path in magnitude], sidecars=[side])
    np.testing.assert_allclose(echo_times_s, phantom.echo_times_s)
    assert "read as ms" in notes[0]


def test_water_and_fat_images(tmp_path):
    fraction = np.linspace(0.1, 0.9, 60).reshape(3, 4, 5)
    write_volume(Volume(1000 * (1 - fraction), GRID), tmp_path / "w.nrrd")
    write_volume(Volume(1000 * fraction, GRID), tmp_path / "f.nrrd")
    pair = [str(tmp_path / "w.nrrd"), str(tmp_path / "f.nrrd")]
    arguments = ["pdff", "--water-fat", *pair, "--out", str(tmp_path / "out")]
    assert main([*arguments, "--t1-correction", "10", "20", "1000", "300"]) == 0
    found = read_volume(tmp_path / "out/waterfat_FF.nrrd").array
    np.testing.assert_allclose(found, 100 * fraction, rtol=1e-5)
    water, fat = (1 - fraction) / saturation(10, 0.02, 1), fraction / saturation(10, 0.02, 0.3)
    corrected = read_volume(tmp_path / "out/waterfat_FF_T1corrected.nrrd").array
    np.testing.assert_allclose(corrected, 100 * fat / (water + fat), rtol=1e-5)
    record = json.loads((tmp_path / "out/waterfat_maps.json").read_text())
    assert any("not a PDFF" in limit for limit in record["provenance"]["limits"])


def test_bad_input_is_one_sentence(files, tmp_path, capsys):
    _, _, magnitude, _ = files
    for arguments, words in (
        (["pdff", "--out", str(tmp_path)], "Give images"),
        (["pdff", *magnitude, "--echo-times", "1,2", "--out", str(tmp_path)], "2 echo times"),
        (["pdff", *magnitude[:2], "--out", str(tmp_path)], "at least 4"),
        (["pdff", *magnitude, "--spectrum", "x", "--out", str(tmp_path)], "Fat spectrum is one of"),
        (["pdff", *magnitude, "--peaks", "3.4:1", "--out", str(tmp_path)], "sign"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_siemens_enhanced_two_echoes_are_read_and_refused_as_too_few(tmp_path, capsys):
    folder = SHARED / "cases/dicom/siemens_xa30_enhanced_gre_two_echo_magnitude"
    if not folder.is_dir():
        pytest.skip(f"DICOM cases are not at {folder}")
    volumes, _, _ = read_echoes([folder])
    train = echo_train(volumes)
    np.testing.assert_allclose(train.echo_times_s, [10.0e-3, 12.46e-3], atol=1e-6)
    assert train.field_strength_t == pytest.approx(2.895, abs=0.001)
    assert not train.is_complex
    assert main(["pdff", str(folder), "--out", str(tmp_path)]) == 2
    assert "2 echoes" in capsys.readouterr().err
