"""Motion between UTE images: found by their edges, refused, moved back, or not to be told."""

from types import SimpleNamespace

import numpy as np
import pytest
from MarrowAssessLib.sample.tibia import Tibia
from PDFFMapperLib.ute import regions
from PDFFMapperLib.ute.echoes import ute_pair, ute_series
from PDFFMapperLib.ute.motion import (
    MOST_VOXELS,
    Motion,
    carried,
    is_still,
    motion_of,
    without_motion,
)
from PDFFMapperLib.ute.recipe import UTE
from scipy.ndimage import rotate, shift

TE_MS = (0.032, 2.2)
SPACING = np.array([3.0, 0.5, 0.5])
ASKED = {"echo_times_s": None, "sigma": 5.0, "same_gain": True}


@pytest.fixture(scope="module")
def pair():
    return Tibia(fat_psf=0.85).volumes(6, TE_MS)


def bone(images):
    inside = np.broadcast_to(Tibia(thickness=6.0).share(), images[0].array.shape)
    return images[0].with_array(inside.astype(np.uint8))


def shifted(image, rows, columns):
    moved = shift(image.array, (0, rows, columns), order=3, mode="nearest")
    return image.with_array(np.maximum(moved, 0))


@pytest.mark.parametrize("moved", [(0.0, 0.0), (0.4, -0.3), (2.5, 1.0), (-6.0, 3.0)])
def test_a_shift_is_found_whatever_the_contrast(pair, moved):
    """Cortex is bright in the first echo and dark in the second."""
    found = motion_of(pair[0].array, shifted(pair[1], *moved).array, SPACING)
    assert found.told
    assert found.shift[1:] == pytest.approx(moved, abs=0.08)
    assert np.degrees(np.abs(found.turn)).max() < 0.6
    assert found.voxels == pytest.approx(np.hypot(*moved), abs=0.2)


def test_a_shift_is_found_in_whole_numbers(pair):
    """Sixteen pixels of up to 32,000 are taken together, more than 16 bits hold."""
    moved = [one.array for one in (pair[0], shifted(pair[1], 1.0, -0.5))]
    whole = [(one * (32_000 / moved[0].max())).astype(np.int16) for one in moved]
    found = motion_of(*whole, SPACING)
    assert found.told
    assert found.shift[1:] == pytest.approx((1.0, -0.5), abs=0.08)


def test_turns_in_and_out_of_the_plane_are_found(pair):
    first, late = (one.array for one in pair)
    legs = [np.concatenate([one, one[..., ::-1]], axis=2) for one in (first, late)]  # one is round
    legs[1] = rotate(legs[1], 3.0, axes=(1, 2), reshape=False, order=3, mode="nearest")
    found = motion_of(*legs, SPACING)
    assert abs(np.degrees(found.turn[0])) == pytest.approx(3, abs=0.2)
    assert found.voxels > 1
    tilted = np.stack(
        [shift(one, (0, 0.3 * (n - 2.5)), order=3, mode="nearest") for n, one in enumerate(late)]
    )
    found = motion_of(first, tilted, SPACING)
    tilt = np.degrees(np.arctan2(0.3 * 0.5, 3.0))
    assert abs(np.degrees(found.turn[1])) == pytest.approx(tilt, abs=0.5)
    assert found.voxels > 0.4
    flat = motion_of(first[:3], tilted[:3], SPACING)  # too few slices to tell it
    assert flat.shift[0] == flat.turn[1] == flat.turn[2] == 0


def test_a_tilt_is_about_the_middle_of_all_slices_where_every_second_is_compared():
    """Of 26 slices 13 are compared, whose middle lies half a slice away: 0.15 columns of tilt.

    A shaft tells little of a shift along itself, which moves its tilted self across: taken off.
    """
    first, late = (one.array for one in Tibia(fat_psf=0.85).volumes(26, TE_MS))
    tilted = np.stack(
        [shift(one, (0, 0.3 * (n - 12.5)), order=3, mode="nearest") for n, one in enumerate(late)]
    )
    found = motion_of(first, tilted, SPACING)
    assert found.shift[2] - 0.3 * found.shift[0] == pytest.approx(0, abs=0.05)
    assert motion_of(first, carried(tilted, found, SPACING), SPACING).voxels < 0.3


def test_what_is_carried_keeps_its_end_slices_and_its_gaps():
    """A slice is lost where half of it and more is; no value comes from a voxel without one."""

    def moved(image, *shift):
        return carried(image, Motion(np.array(shift), np.zeros(3), 0.2, 0.05), SPACING)

    level = np.full((6, 16, 16), 100, np.float32)
    assert np.isfinite(moved(level, 0.003, 0.4, -0.4)).all()
    assert np.isnan(moved(level, 0.6, 0, 0)).all(axis=(1, 2)).tolist() == [False] * 5 + [True]
    level[2:4, 4:8, 5:9] = np.nan
    still, half = moved(level, 0, 0, 0), moved(level, 0, 0.4, 0)
    assert np.array_equal(np.isnan(still), np.isnan(level))
    assert np.array_equal(
        np.isnan(half[2]), np.isnan(level[2]) | np.isnan(np.roll(level[2], -1, 0))
    )
    assert half[np.isfinite(half)] == pytest.approx(100, abs=0.01)


def test_an_image_that_is_not_seen_to_be_in_place_is_refused(pair):
    """SNR 2.5: its motion is told, and more than a quarter voxel after it was moved back."""
    rng = np.random.default_rng(7)
    true = shifted(pair[1], 1.5, 1.0).array
    noise = rng.standard_normal((2, *true.shape)) * np.percentile(true, 99) / 2.5
    signal = np.stack([pair[0].array, np.abs(true + noise[0] + 1j * noise[1])]).astype(np.float32)
    one = motion_of(*signal, SPACING)
    left = motion_of(signal[0], carried(signal[1], one, SPACING), SPACING)
    assert one.told and left.voxels - left.sd > MOST_VOXELS
    with pytest.raises(ValueError, match=r"2 is 0\.\d+ vox.* off .*; --register could not move it"):
        without_motion(signal, pair[0], SimpleNamespace(register=True))


def test_pi_of_a_limb_that_moved_is_refused_or_moved_back(pair):
    moved = [pair[0], shifted(pair[1], 1.2, -0.8)]
    inside = bone(pair).array > 0
    recipe = UTE.recipe("porosity-index")
    with pytest.raises(ValueError, match=r"Image 2 is 1\.\d+ voxels off the first across the edge.*"
                       "none of bone; --register moves images onto the first"):  # fmt: skip
        recipe.make(moved, sigma=5.0)
    asked = SimpleNamespace(**ASKED, register=True)
    back = regions.porosity_index(ute_series(moved, asked), inside)[0]
    still = regions.porosity_index(ute_series(pair, SimpleNamespace(**ASKED)), inside)[0]
    assert back.value == pytest.approx(still.value, abs=0.4)  # points; fat is ten times as bright
    made = recipe.make(moved, sigma=5.0, register=True)
    reading = made[0].provenance["reading"]
    assert any("across edges: 1.4" in one and "after it was moved back" in one for one in reading)
    assert any("their noise is lower than the one told" in one for one in reading)
    (note,) = ute_series(pair, SimpleNamespace(**ASKED)).notes[-1:]
    assert note == "Motion against the first image, across edges: 0.00 voxels." and is_still(note)
    assert not any(is_still(one) for one in reading)  # moved back, which is to be told
    assert not is_still("Motion against the first image, across edges: 0.04, 0.31 voxels.")


@pytest.mark.parametrize(("moved", "refused"), [(0.15, False), (0.4, True)])
def test_a_quarter_voxel_is_allowed(pair, moved, refused):
    signal = np.stack([pair[0].array, shifted(pair[1], moved, 0).array])
    if refused:
        with pytest.raises(ValueError, match=r"Image 2 is 0\.\d+ voxels off the first"):
            without_motion(signal, pair[0], SimpleNamespace())
    else:
        kept, _, off = without_motion(signal, pair[0], SimpleNamespace())
        assert kept is signal and 0.5 * moved < off < 1.7 * moved


def test_what_did_not_move_is_not_smoothed(pair):
    signal = np.stack([one.array for one in pair])
    same, notes, _ = without_motion(signal, pair[0], SimpleNamespace(register=True))
    assert np.array_equal(same, signal) and not any("smooths" in one for one in notes)


def test_after_suppression_the_edges_of_bone_tell_it(pair):
    """Soft tissue of SNR 60 is left at 4; without the bone nothing is told."""
    rng = np.random.default_rng(3)
    inside = np.broadcast_to(Tibia().share(), pair[0].array.shape)
    true = shift(np.where(inside, 15.0, 4.0), (0, 1.5, 1.0), order=1, mode="nearest")
    noise = rng.standard_normal((2, *true.shape))
    left = pair[0].with_array((5 * np.abs(true + noise[0] + 1j * noise[1])).astype(np.float32))
    asked = {**ASKED, "mask": bone(pair)}
    with pytest.raises(ValueError, match="voxels off the first across the edges of bone"):
        ute_pair([pair[0], left], SimpleNamespace(**asked))
    data = ute_pair([pair[0], left], SimpleNamespace(**ASKED))
    assert any("Whether the limb moved in image 2 could not be told" in one for one in data.notes)


def test_noise_alone_tells_no_motion(pair):
    rng = np.random.default_rng(4)
    silent = np.abs(rng.standard_normal(pair[0].array.shape)).astype(np.float32)
    signal = np.stack([pair[0].array, silent])
    asked = SimpleNamespace(mask=bone(pair), register=True)
    same, notes, off = without_motion(signal, pair[0], asked)
    assert np.array_equal(same, signal) and off == MOST_VOXELS
    assert notes[0].startswith("Whether the limb moved in image 2 could not be told: it shares")


def test_a_straight_shaft_that_is_still_tells_no_motion_out_of_its_slices():
    """Its slices are alike: noise alone moved this one of 24 by half a slice."""
    still = Tibia(snr=20, radius=14.0, thickness=5.0, size=56)
    bones = still.volumes(6 * 24, (0.032, 2.2), 11)
    found = motion_of(*(one.array[36:42] for one in bones), SPACING)
    assert found.shift[0] == 0 and found.voxels < 0.1
