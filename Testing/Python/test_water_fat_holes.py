"""Water and fat images in holes of the body, against a leg whose compact bone is as dark as air."""

import numpy as np
import pytest
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.holes import fill_holes
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.recipe import WATER_FAT
from PDFFMapperLib.water_fat.separation import Doubt, separate_water_fat
from PDFFMapperLib.water_fat.spectra import fat_spectrum

TIMES_S, FIELD_T, NOISE = np.arange(1, 7) * 1.15e-3, 3.0, 0.02
SHAPE = (3, 72, 72)
BONE = (0.035, 0.015)  # water and fat; the largest echo has 2.5 SDs of the noise
NUMBERS = ("pdff_percent", "r2star_per_s", "magnitude_fraction_percent", "pdff_sd", "r2star_sd",
           "residual_percent", "t2star_ms", "noise")  # fmt: skip


def leg(bone=BONE, fat_lead_rad=0.0, shape=SHAPE):
    """Echoes of a leg, its off-resonance (Hz), and where compact bone and air are."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[1:]), indexing="ij")
    radius = np.hypot(x, y)
    water, fat = np.zeros((2, *shape[1:]))
    water[radius < 0.9], fat[radius < 0.9] = 0.05, 0.95  # beneath the skin
    water[radius < 0.75], fat[radius < 0.75] = 0.95, 0.05  # muscle
    hard = (radius < 0.4) & (radius > 0.25)
    water[hard], fat[hard] = bone
    water[radius < 0.25], fat[radius < 0.25] = 0.3, 0.7  # marrow
    off_hz = 60 * x - 40 * y + 50 * x * y
    rng = np.random.default_rng(3)
    turned = fat_spectrum().modulation(TIMES_S, FIELD_T) * np.exp(1j * fat_lead_rad)
    phase = np.exp(1j * (0.4 + 0.5 * x))
    echoes = [
        phase * (water + fat * of_fat) * np.exp((2j * np.pi * off_hz - 40) * time)
        for time, of_fat in zip(TIMES_S, turned, strict=True)
    ]
    clean = np.repeat(np.array(echoes)[:, None], shape[0], axis=1)
    noise = NOISE * (rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape))
    whole = np.broadcast_to(hard, shape), np.broadcast_to(radius > 0.95, shape)
    return (clean + noise).astype(np.complex64), np.broadcast_to(off_hz, shape), *whole


def separated(echoes, **options):
    return separate_water_fat(multi_echo(echoes, TIMES_S, FIELD_T), **options)


@pytest.mark.parametrize("slices", [3, 1])
def test_water_and_fat_of_dark_bone_are_true_on_average_and_its_pdff_is_empty(slices):
    echoes, off_hz, hard, air = leg(shape=(slices, *SHAPE[1:]))
    result = separated(echoes)
    hole = hard & ~result.mask
    assert hole.sum() > 0.5 * hard.sum()
    for values, truth in zip((result.water, result.fat), BONE, strict=True):
        unsure = 3 * values[hole].std() / np.sqrt(hole.sum())
        assert abs(values[hole].mean() - truth) < 0.2 * NOISE + unsure
        assert values[hole].std() < 1.5 * NOISE
        assert np.isnan(values[air & ~result.mask]).all()
    assert np.abs(result.off_resonance_hz - off_hz)[hole].max() < 15
    for name in NUMBERS:
        assert np.isnan(getattr(result, name)[hole]).all(), name
    assert (result.doubt[hole] == Doubt.LOW_SIGNAL).all() and not result.confident[hole].any()
    assert (
        result.facts["voxels_of_water_and_fat_only"]
        == np.isfinite(result.water[~result.mask]).sum()
    )


def test_maps_made_have_numbers_where_they_had_and_images_without_holes():
    echoes, _, hard, _ = leg()
    images = [
        Volume(part.astype(np.float32), np.eye(4), f"{name} {time}", {
            "EchoTime": 1000 * time, "MagneticFieldStrength": FIELD_T, "ImageComponent": name})
        for echo, time in zip(echoes, TIMES_S, strict=True)
        for name, part in (("real", echo.real), ("imaginary", echo.imag))
    ]  # fmt: skip
    made = {one.name: one.volume.array for one in WATER_FAT.recipe("complex").make(images)}
    hole = hard & ~separated(echoes).mask
    for name, values in made.items():
        if name in ("water", "fat", "field"):
            assert np.isfinite(values[hole]).all(), name
        elif name == "doubt":
            assert (values[hole] == Doubt.LOW_SIGNAL).all()
        elif name == "confident":
            assert not values[hole].any()
        else:
            assert np.isnan(values[hole]).all(), name


def test_with_phases_of_their_own_water_and_fat_are_magnitudes():
    echoes, _, hard, _ = leg(bone=(0, 0))
    result = separated(echoes, common_phase=False)
    hole = hard & ~result.mask
    values = np.stack([result.water[hole], result.fat[hole]])
    assert (values >= 0).all() and 0.3 * NOISE < values.mean() < 1.5 * NOISE


def test_what_is_fitted_and_what_a_mask_leaves_out_stay_as_they_were():
    echoes, *_ = leg()
    whole = separated(echoes)
    given = separated(echoes, mask=whole.mask)
    assert "voxels_of_water_and_fat_only" not in given.facts
    assert np.isnan(given.water[~whole.mask]).all()
    for name in (*NUMBERS, "doubt"):
        assert np.array_equal(getattr(whole, name), getattr(given, name), equal_nan=True), name
    for name in ("water", "fat", "off_resonance_hz"):
        filled, before = getattr(whole, name), getattr(given, name)
        assert np.array_equal(filled[whole.mask], before[whole.mask], equal_nan=True), name


def test_a_hole_that_reaches_the_edge_is_air_and_empty_voxels_stay_empty():
    echoes, _, hard, _ = leg(bone=(0, 0))
    echoes[:, 0, :36, 34:38] = 0  # a cut from the skin to the marrow
    echoes[:, 1, 36, 48] = 0
    echoes[:, 1, 37, 48] = np.nan
    result = separated(echoes)
    for k, share in ((0, 0.0), (2, 1.0)):
        filled = np.isfinite(result.water[k][hard[k] & ~result.mask[k]])
        assert abs(filled.mean() - share) < 0.02
    assert np.isfinite(result.water[1, 35, 48])
    assert np.isnan(result.water[1, 36:38, 48]).all()


def test_field_and_r2star_are_those_around_and_a_slice_without_a_sure_voxel_keeps_its_holes():
    _, off_hz, hard, _ = leg(shape=(2, *SHAPE[1:]))
    fitted, sure = ~hard, ~hard & (np.arange(2) == 0)[:, None, None]
    images = [np.full(hard.shape, np.nan, np.float32) for _ in range(2)]
    images.append(np.where(fitted, off_hz, np.nan).astype(np.float32))
    decays = np.full(fitted.sum(), 40, np.float32)
    given = []

    def fit(index, starts_hz, expected_per_s):
        given.extend([index, expected_per_s] if len(index) else [])
        sixth = np.arange(len(index)) == 5
        return np.where(sixth, np.nan, starts_hz), starts_hz

    count = fill_holes(tuple(images), fitted, sure, decays, fit)
    assert count == hard[0].sum() - 1
    started_hz, field_hz = images[1][0][hard[0]], images[2][0][hard[0]]
    assert np.flatnonzero(np.isnan(field_hz)).tolist() == [5]
    assert np.array_equal(np.delete(field_hz, 5), np.delete(started_hz, 5))
    assert np.array_equal(given[0], np.flatnonzero(hard[0]))
    assert np.abs(started_hz - off_hz[0][hard[0]]).max() < 15
    assert np.allclose(given[1], 40)
    assert all(np.isnan(image[1][hard[1]]).all() for image in images[:2])


@pytest.mark.parametrize(("width", "filled"), [(2, True), (3, False)])
def test_air_is_what_a_way_three_voxels_wide_leads_to(width, filled):
    body = np.ones((1, 40, 40), bool)
    body[0, 15:25, 15:25] = False
    body[0, :15, 20 : 20 + width] = False
    images = tuple(np.where(body, 1, np.nan).astype(np.float32) for _ in range(3))
    decays = np.full(body.sum(), 40, np.float32)
    fill_holes(images, body, body, decays, lambda *given: np.stack(given[:2]))
    assert np.isfinite(images[0][0, 20, 20]) == filled


def test_an_echo_whose_phase_is_off_does_not_count_in_holes():
    echoes, _, hard, _ = leg()
    echoes[0] *= np.exp(0.5j)
    result = separated(echoes)
    hole = hard & ~result.mask
    for values, truth in zip((result.water, result.fat), BONE, strict=True):
        unsure = 3 * values[hole].std() / np.sqrt(hole.sum())
        assert abs(values[hole].mean() - truth) < 0.2 * NOISE + unsure


def test_nothing_is_fitted_in_a_slice_that_tells_no_field():
    """A fit by magnitude alone of one echo ended with an IndexError on no voxels."""
    body = np.ones((1, 20, 20), bool)
    body[0, 8:12, 8:12] = False
    images = tuple(np.where(body, 1, np.nan).astype(np.float32) for _ in range(3))
    decays = np.full(body.sum(), 40, np.float32)

    def fit(*given):
        raise AssertionError("nothing was to be fitted")

    assert fill_holes(images, body, np.zeros_like(body), decays, fit) == 0
    assert all(np.isnan(image[~body]).all() for image in images)


def test_with_a_known_r2star_the_precession_sense_is_found_and_holes_are_filled():
    """No voxel was left to see what noise makes of the sense, which was refused."""
    echoes, off_hz, hard, _ = leg()
    result = separated(echoes, r2star_per_s=40.0)
    assert not result.facts["conjugated"]
    hole = hard & ~result.mask
    assert np.abs(result.off_resonance_hz - off_hz)[hole].max() < 15
