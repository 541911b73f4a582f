"""PDFF without T1 bias, T1 of water and T1 of fat, from water and fat at two flip angles."""

import numpy as np
import pytest
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.recipe import WATER_FAT
from PDFFMapperLib.water_fat.separation import Doubt

SHAPE = (4, 48, 48)
T1_WATER, T1_FAT, TR, FLIPS = 1400.0, 350.0, 8.0, (3.0, 15.0)
PDFF = np.broadcast_to(np.repeat([10.0, 40.0, 80.0, 0.0], 12)[:, None], SHAPE)
AIR = np.zeros(SHAPE, bool)
AIR[:, :, :6] = True
SHADE = np.broadcast_to(np.linspace(0.8, 1.2, SHAPE[2]), SHAPE)  # B1


def echo(flip_deg, t1, b1):
    angle, decay = np.radians(flip_deg) * b1, np.exp(-TR / t1)
    return np.sin(angle) * (1 - decay) / (1 - decay * np.cos(angle))


def images(b1=1.0, snr=200.0, seed=0, air=True, **facts):
    """Four volumes; the SNR is that of proton density over noise times 0.05."""
    rng, volumes = np.random.default_rng(seed), []
    for flip in FLIPS:
        for share, t1, name in ((1 - PDFF / 100, T1_WATER, "W"), (PDFF / 100, T1_FAT, "F")):
            clean = 1000 * share * echo(flip, t1, b1) * (~AIR if air else 1)
            noise = rng.standard_normal((2, *SHAPE)) * 50 / snr
            header = {"FlipAngle": flip, "RepetitionTime": TR, **facts}
            volumes.append(
                Volume(np.hypot(clean + noise[0], noise[1]), np.eye(4), f"{name}{flip:g}", header)
            )
    return volumes


def made(volumes, **settings):
    maps = WATER_FAT.recipe("flip-angles").make(volumes, **settings)
    return {one.name: one.volume.array for one in maps}, maps[0].provenance


def test_pdff_is_unbiased_by_t1_and_both_t1_are_right():
    volumes = images()
    maps, facts = made(volumes)
    seen = 100 * volumes[3].array / (volumes[2].array + volumes[3].array)
    sure = maps["doubt"] == 0
    assert sure[~AIR].mean() > 0.98 and (maps["doubt"][AIR] & Doubt.LOW_SIGNAL).mean() > 0.98
    for percent in (0, 10, 40, 80):
        here = sure & (PDFF == percent)
        value = maps["PDFF_T1corrected"][here]
        assert np.median(value) == pytest.approx(percent, abs=0.7)
        if percent in (10, 40):  # the T1 weighting that is undone
            assert np.median(seen[here]) - percent > 8
        if percent:
            z = (value - percent) / maps["PDFF_SD"][here]
            assert 0.7 < z.std() < 1.2 and np.abs(z).mean() < 1.1
    for name, truth, where in (("T1_water", T1_WATER, PDFF < 50), ("T1_fat", T1_FAT, PDFF > 30)):
        here = sure & where
        assert np.nanmedian(maps[name][here]) == pytest.approx(truth, rel=0.03)
        z = (maps[name][here] - truth) / maps[f"{name}_SD"][here]
        assert 0.6 < np.nanstd(z) < 1.5
    # Where there is no fat there is no T1 of fat.
    inside = np.zeros(SHAPE, bool)
    inside[:, 41:, 10:] = True
    assert np.isnan(maps["T1_fat"][inside]).mean() > 0.9
    assert facts["typical_t1_ms"]["fat"] == pytest.approx(T1_FAT, rel=0.05)


@pytest.mark.parametrize("coils", [1, 8])
def test_air_that_counts_by_its_own_level_is_told(coils):
    """Of the squares of several coils that are summed."""
    rng, volumes = np.random.default_rng(1), []
    for one in images(air=False):
        noise = rng.standard_normal((2 * coils, *SHAPE)) * 0.25
        air = np.sqrt((noise**2).sum(0))
        both = np.concatenate([air, one.array], axis=2)[:, :36]  # rows that hold fat
        volumes.append(one.with_array(both, one.name))
    maps, facts = made(volumes)
    assert (maps["doubt"][..., :40] & Doubt.LOW_SIGNAL > 0).mean() > 0.98
    assert (maps["doubt"][..., 56:] == 0).mean() > 0.9
    assert sum("was left out as air" in limit for limit in facts["limits"]) == (coils > 1)


def test_b1_is_taken_from_its_map_or_stated():
    volumes = images(b1=SHADE)
    maps, facts = made(volumes)
    wrong = np.nanmedian(maps["T1_water"][..., -8:])
    assert abs(wrong / T1_WATER - 1) > 0.2
    assert any("B1 was taken for 100 % everywhere" in limit for limit in facts["limits"])
    maps, facts = made(volumes, b1=Volume(100 * SHADE, np.eye(4), "B1"))
    assert np.nanmedian(maps["T1_water"][..., -8:]) == pytest.approx(T1_WATER, rel=0.04)
    assert not any("B1" in limit for limit in facts["limits"])
    here = (PDFF == 40) & (maps["doubt"] == 0)
    assert np.nanmedian(maps["PDFF_T1corrected"][here]) == pytest.approx(40, abs=0.7)
    maps, _ = made(images(b1=0.8), b1_percent=80.0)
    assert np.nanmedian(maps["T1_water"]) == pytest.approx(T1_WATER, rel=0.04)


def test_noise_leaves_the_pdff_out():
    maps, _ = made(images(snr=6, air=False), mask=Volume(np.ones(SHAPE), np.eye(4), "all"))
    vague = maps["doubt"] == Doubt.IMPRECISE
    assert vague.mean() > 0.3 and np.isnan(maps["PDFF_T1corrected"][vague]).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"low_flip_deg": 15.0, "high_flip_deg": 3.0}, "expected are a lower and a higher one"),
        ({"low_flip_deg": 12.0}, "at least 1.5 times as large and at most 120"),
        ({"tr_ms": 2000.0}, "A repetition time from 1 to 1000 ms is expected, 2000"),
        ({"b1": Volume(SHADE, np.eye(4), "B1")}, "B1 is expected as true over nominal flip angle"),
        ({"b1": Volume(np.ones((2, 2, 2)), np.eye(4), "B1")}, "another voxel grid"),
    ],
)
def test_what_cannot_be_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        made(images(), **settings)


def test_headers_that_do_not_tell_and_signals_without_a_t1_are_refused():
    with pytest.raises(ValueError, match="W3, F3, W15, F15 is missing or differs in the"):
        made(images(RepetitionTime=None))
    volumes = images()
    exchanged = [*volumes[2:], *volumes[:2]]
    with pytest.raises(ValueError, match="ms, but is 200 to 500 ms from 0"):
        made(exchanged, low_flip_deg=3.0, high_flip_deg=15.0)
    louder = [one.with_array(8 * one.array, one.name) for one in volumes[2:]]
    with pytest.raises(ValueError, match="No T1 from 20 to 6000 ms explains water and fat"):
        made([*volumes[:2], *louder])
