"""T1 of bone by UTE images of several flip angles or repetition times."""

import csv
import re
import warnings

import numpy as np
import pytest
from MarrowAssessLib.commands.main import main
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.ute.bone_maps import BEYOND, MISFIT
from PDFFMapperLib.ute.recipe import UTE
from PDFFMapperLib.ute.t1 import t1_images, t1_rows
from phantoms.ute import GRID
from scipy.linalg import expm

T1_MS, T2STAR_MS = 220.0, 0.35
SHAPE = (4, 40, 40)
BONE = np.zeros(SHAPE, bool)
BONE[:, 10:30, 10:30] = True


def steady(flip_deg, tr_ms, pulse_ms, t1_ms=T1_MS, t2_ms=T2STAR_MS):
    """Transverse signal after 400 pulses of the Bloch equations, spoiled before each."""
    if pulse_ms:
        turn = np.deg2rad(flip_deg) / pulse_ms
        pulse = expm(np.array([[-1 / t2_ms, turn], [-turn, 0.0]]) * pulse_ms)
    else:
        angle = np.deg2rad(flip_deg)
        pulse = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    along = 1.0
    for _ in range(400):
        across, left = pulse @ (0.0, along)
        along = 1 + (left - 1) * np.exp(-tr_ms / t1_ms)
    return across


def images_of(flips, trs, pulse_ms=0.0, b1=None, snr=60.0, seed=0):
    rng = np.random.default_rng(seed)
    b1 = np.ones(SHAPE) if b1 is None else b1
    images, unit = [], steady(flips[0], trs[0], pulse_ms) / snr
    for flip, tr in zip(flips, trs, strict=True):
        each = {x: steady(x * flip, tr, pulse_ms) / unit for x in np.unique(b1)}
        true = np.where(BONE, np.vectorize(each.get)(b1), 0.0)
        noise = rng.standard_normal((2, *SHAPE))
        array = np.abs(true + noise[0] + 1j * noise[1]).astype(np.float32)
        facts = {"EchoTime": 0.032, "FlipAngle": flip, "RepetitionTime": tr}
        images.append(Volume(array, GRID, f"{flip:g} deg", facts))
    return images


def made(images, **settings):
    mask = images[0].with_array(BONE.astype(np.uint8))
    given = {"mask": mask, "same_gain": True, **settings}
    t1, doubt = UTE.recipe("t1").make(images, **given)
    assert np.array_equal(np.isfinite(t1.volume.array), doubt.volume.array == 0)
    return t1


@pytest.mark.parametrize(
    ("flips", "trs"), [((4.0, 10.0, 20.0), (20.0,) * 3), ((15.0,) * 4, (12.0, 25.0, 60.0, 150.0))]
)
def test_flip_angles_or_repetition_times_give_t1(flips, trs):
    found = made(images_of(flips, trs))
    value, low, high = found.provenance["region"]["T1"]
    assert low < T1_MS < high and high - low < 5
    assert np.nanmedian(found.volume.array) == pytest.approx(T1_MS, rel=0.03)
    moved = found.provenance["region"]["T1 if B1+ is 5 % higher"][0]
    if len(set(flips)) > 1:
        assert moved / value == pytest.approx(1 / 1.05**2, abs=0.01)  # by the small-angle formula
    summary = found.provenance["summary"]
    assert "B1+ taken as nominal" in summary
    assert re.search(r"T1 by flips [\d, ]+ deg, TR [\d, ]+ ms; noise 1", summary)


def test_voxels_whose_signals_no_t1_explains_are_marked():
    """A fifth of the bone is half as loud again in one of three images."""

    def doubt(images):
        return UTE.recipe("t1").make(images, sigma=1.0, same_gain=True)[1].volume.array

    images = images_of((4.0, 10.0, 20.0), (20.0,) * 3)
    assert np.mean(doubt(images)[BONE] == MISFIT) < 0.004  # 1 in 1,000
    loud = BONE & (np.arange(40) < 14)
    changed = images[1].with_array(np.where(loud, 1.5, 1).astype("f4") * images[1].array)
    told = doubt([images[0], changed, images[2]])
    assert (told[loud] == MISFIT).mean() > 0.99 and (told[BONE & ~loud] == MISFIT).mean() < 0.004
    assert not (doubt([images[0], changed]) & MISFIT).any()  # two images contradict nothing


def test_intervals_hold_t1_as_often_as_they_say():
    inside = []
    for seed in range(40):
        low, high = made(images_of((4.0, 20.0), (20.0, 20.0), seed=seed)).provenance["region"][
            "T1"
        ][1:]
        inside.append(low < T1_MS < high)
    assert 34 <= sum(inside) <= 40


def test_decay_in_a_long_pulse_is_part_of_it():
    """In a pulse of 0.15 ms bone of T2* 0.35 ms turns less: without it T1 reads 12 % too short."""
    images = images_of((5.0, 20.0), (20.0, 20.0), pulse_ms=0.15)
    told = made(images, pulse=0.15, t2star=T2STAR_MS).provenance["region"]["T1"]
    assert told[1] < T1_MS < told[2]
    plain = made(images).provenance["region"]["T1"]
    assert plain[2] < 0.9 * T1_MS
    with pytest.raises(ValueError, match="state its T2\\* too"):
        made(images, pulse=0.15)


def test_a_b1_map_is_used_voxel_by_voxel():
    b1 = np.where(np.arange(40) < 20, 0.9, 1.1) * np.ones(SHAPE)
    images = images_of((5.0, 20.0), (20.0, 20.0), b1=b1)
    field = images[0].with_array(b1.astype(np.float32))
    with_map = made(images, b1_map=field)
    for side in (slice(10, 20), slice(20, 30)):
        own = np.nanmedian(with_map.volume.array[..., side])
        assert own == pytest.approx(T1_MS, rel=0.05)
    assert "B1+ by voxel, 1 on average" in with_map.provenance["summary"]
    plain = made(images).volume.array
    assert np.nanmedian(plain[..., 20:30]) > 1.3 * np.nanmedian(plain[..., 10:20])
    holes = field.with_array(np.where(b1 > 1, np.nan, b1).astype(np.float32))
    assert np.isnan(made(images, b1_map=holes).volume.array[..., 20:30]).all()
    data = t1_images(images, UTE.recipe("t1").chosen({"b1_map": holes, "same_gain": True}))
    with pytest.raises(ValueError, match="the B1\\+ map has no value in a part of the region"):
        t1_rows(data, BONE)
    with pytest.raises(ValueError, match="Divide a map in percent by 100"):
        made(images, b1_map=field.with_array(100 * field.array))


def test_a_region_of_unlike_b1_reads_its_t1():
    """By the mean of B1+ it would read 231 ms: what shows bends with the flip angle."""
    b1 = np.where(np.arange(40) < 20, 0.8, 1.2) * np.ones(SHAPE)
    images = images_of((5.0, 20.0), (20.0, 20.0), b1=b1)
    found = made(images, b1_map=images[0].with_array(b1.astype(np.float32)))
    value, low, high = found.provenance["region"]["T1"]
    assert low < T1_MS < high and high - low < 4
    moved = found.provenance["region"]["T1 if B1+ is 5 % higher"][0]
    assert moved / value == pytest.approx(1 / 1.05**2, abs=0.01)


def test_a_uniform_b1_between_two_steps_of_a_table_reads_its_t1():
    b1 = np.full(SHAPE, 0.93)
    images = images_of((5.0, 20.0), (20.0, 20.0), b1=b1, snr=300.0)
    found = made(images, b1_map=images[0].with_array(b1.astype(np.float32)))
    assert np.nanmedian(found.volume.array) == pytest.approx(T1_MS, rel=0.005)
    assert found.provenance["region"]["T1"][0] == pytest.approx(T1_MS, rel=0.003)


def test_images_that_contradict_one_t1_widen_its_interval():
    flips, trs = (4.0, 8.0, 14.0, 20.0, 28.0), (20.0,) * 5
    images = images_of(flips, trs)
    told = made(images).provenance
    assert "the interval holds noise alone" in told["summary"]
    off = [one if n != 2 else one.with_array(1.03 * one.array) for n, one in enumerate(images)]
    moved = made(off, sigma=1.0).provenance
    assert re.search(r"signals are up to [\d.]+ % off one T1, [\d.]+ times what", moved["summary"])
    narrow, wide = (one["region"]["T1"] for one in (told, moved))
    assert wide[1] < T1_MS < wide[2] and wide[2] - wide[1] > 10 * (narrow[2] - narrow[1])
    three = images_of((4.0, 10.0, 20.0), (20.0,) * 3)
    three[1] = three[1].with_array(1.3 * three[1].array)
    with pytest.raises(ValueError, match=r"leave T1 open .* off one T1, .*; check the gains, flip"):
        made(three, sigma=1.0)


def test_voxels_that_no_t1_explains_are_marked():
    images = images_of((5.0, 20.0), (20.0, 20.0))
    late = images[1].array.copy()
    late[1, 12:15, 12:15] *= 10
    late[2, 12:15, 12:15] *= 0.02
    images[1] = images[1].with_array(late)
    mask = images[0].with_array(BONE.astype(np.uint8))
    t1, doubt = UTE.recipe("t1").make(images, mask=mask, sigma=1.0, same_gain=True)
    for k in (1, 2):
        assert np.isnan(t1.volume.array[k, 12:15, 12:15]).all()
        assert (doubt.volume.array[k, 12:15, 12:15] == BEYOND).all()
    assert doubt.codes[BEYOND] == "beyond all values that are fitted"
    assert (doubt.volume.array == BEYOND).sum() == 18
    assert np.nanmin(t1.volume.array) > 100 and np.nanmax(t1.volume.array) < 500
    data = t1_images(images, UTE.recipe("t1").chosen({"sigma": 1.0, "same_gain": True}))
    louder = np.zeros(SHAPE, bool)
    louder[1, 12:15, 12:15] = True
    with pytest.raises(ValueError, match="no T1 from 10 to 5000 ms explains its signals; check"):
        t1_rows(data, louder)


def test_images_of_other_echo_times_or_unknown_gain_are_refused():
    images = images_of((5.0, 20.0), (20.0, 20.0))
    with pytest.raises(ValueError, match=r"needs the same receiver gain in all .*--same-gain"):
        made(images, same_gain=False)
    images[1].attributes["EchoTime"] = 2.2
    with pytest.raises(ValueError, match=r"different echo times \(0\.032 and 2\.2 ms\); T1 needs"):
        made(images)
    assert made(images, echo_times_s=[32e-6, 32e-6])  # stated, in place of the headers'
    with pytest.raises(ValueError, match="2 images need as many echo times; 1 were given"):
        made(images, echo_times_s=[32e-6])
    for one in images:
        one.attributes["EchoTime"] = 2.2
    with pytest.raises(ValueError, match=r"The first echo is at 2\.2 ms, where bone has lost"):
        made(images)
    for one in images:
        del one.attributes["EchoTime"]
    assert made(images)


@pytest.mark.parametrize("which", [0, 1])
def test_complex_images_are_refused_in_their_own_words(which):
    images = images_of((5.0, 20.0), (20.0, 20.0))
    images[which] = images[which].with_array(images[which].array * (1 + 0j))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="magnitude images; 1 of these 2 are complex"):
            made(images)


def test_images_that_do_not_tell_t1_are_refused():
    images = images_of((5.0, 5.0), (20.0, 20.0))
    with pytest.raises(ValueError, match="these are 2 of 5 deg and TR 20 ms"):
        made(images)
    weak = images_of((5.0, 6.0), (20.0, 20.0), snr=8.0)
    with pytest.raises(ValueError, match="The mapped bone: the images leave T1 open"):
        made(weak)
    for one in images:
        del one.attributes["FlipAngle"]
    with pytest.raises(ValueError, match=re.escape("headers or --flips-deg tell; known are none")):
        made(images)
    assert made(images_of((5.0, 20.0), (20.0, 20.0)), flips_deg=[5.0, 20.0])
    with pytest.raises(ValueError, match="needs the repetition times of all 2 images"):
        made(images, flips_deg=[5.0, 20.0], trs_ms=[20.0])
    below = [one.with_array(one.array - 5) for one in images_of((5.0, 20.0), (20.0, 20.0))]
    with pytest.raises(ValueError, match="T1 is fitted to magnitude images; these have negative"):
        made(below, sigma=1.0)


def test_the_command_writes_t1_of_regions(tmp_path, capsys):
    images = images_of((5.0, 20.0), (20.0, 20.0))
    paths = []
    for n, one in enumerate(images):
        paths.append(tmp_path / f"{n}.nrrd")
        write_volume(one, paths[-1])
    write_volume(images[0].with_array(BONE.astype(np.uint8)), tmp_path / "labels.nrrd")
    given = ["ute", *map(str, paths), "--echo-times", "0.032,0.032", "--unit", "ms"]
    given += ["--method", "t1", "--same-gain", "--flips-deg", "5", "20", "--trs-ms", "20", "20"]
    given += ["--regions", str(tmp_path / "labels.nrrd"), "--out", str(tmp_path / "out")]
    assert main(given) == 0, capsys.readouterr().err
    assert "T1 2" in capsys.readouterr().out
    table = next((tmp_path / "out").glob("*.csv"))
    with table.open(encoding="utf-8") as file:
        rows = {row["quantity"]: row for row in csv.DictReader(file)}
    assert float(rows["T1"]["lower95"]) < T1_MS < float(rows["T1"]["upper95"])
