import numpy as np
import pytest
import SimpleITK as sitk
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.study.regions import PERCENTILES, Region, effective_samples, statistics


def region_of(mask: np.ndarray) -> Region:
    return Region.from_mask("test", Role.MARROW, "L3", mask)


def test_cropping_keeps_every_voxel_in_place():
    mask = np.zeros((10, 12, 14), bool)
    mask[3:5, 6, 7:9] = True
    region = region_of(mask)
    assert region.mask.shape == (2, 1, 2)
    assert np.array_equal(region.full_mask(mask.shape), mask)
    assert np.allclose(region.centroid_ijk(), [7.5, 6, 3.5])


def test_a_region_holds_no_margin_however_it_was_made():
    """Where it ends, how wide it is and whether it is one slice thick is read off its box."""
    mask = np.zeros((6, 8, 8), bool)
    mask[2, 3:7, 3:7] = True
    region = Region("psoas", Role.MUSCLE, "psoas", mask, (10, 20, 30))
    assert region.mask.shape == (1, 4, 4) and region.offset == (12, 23, 33)
    assert region.eroded(1.0, np.ones(3)).voxels == 4
    nothing = Region("psoas", Role.MUSCLE, "psoas", np.zeros((3, 3, 3), bool), (1, 2, 3))
    assert nothing.voxels == 0 and nothing.full_mask((3, 3, 3)).sum() == 0


def test_statistics_agree_with_simpleitk():
    rng = np.random.default_rng(3)
    array = rng.gamma(3, 50, (12, 30, 25)).astype(np.float32)
    mask = rng.random(array.shape) > 0.7
    ours = statistics(region_of(mask), array, 2.0)
    itk = sitk.LabelStatisticsImageFilter()
    itk.UseHistogramsOff()
    itk.Execute(sitk.GetImageFromArray(array), sitk.GetImageFromArray(mask.astype(np.uint8)))
    shape = sitk.LabelIntensityStatisticsImageFilter()
    shape.SetNumberOfBins(100_000)
    shape.Execute(sitk.GetImageFromArray(mask.astype(np.uint8)), sitk.GetImageFromArray(array))
    assert ours.voxels == itk.GetCount(1)
    assert ours.mean == pytest.approx(itk.GetMean(1), rel=1e-9)
    assert ours.sd == pytest.approx(itk.GetSigma(1), rel=1e-9)
    assert ours.median == pytest.approx(shape.GetMedian(1), rel=1e-3)
    assert ours.volume_mm3 == 2.0 * itk.GetCount(1)


def test_percentiles_of_a_uniform_ramp_have_their_closed_form():
    array = np.arange(101, dtype=float).reshape(1, 1, 101)
    one = statistics(region_of(np.ones(array.shape, bool)), array, 1.0)
    assert one.percentiles == PERCENTILES == (5, 10, 25, 75, 90, 95)
    assert one.median == 50
    assert one.sd == pytest.approx(np.sqrt(101 * 102 / 12))


def test_voxels_that_are_not_finite_are_left_out_and_counted():
    array = np.full((2, 3, 4), 7.0)
    array[0, 0, 0], array[1, 2, 3] = np.nan, np.inf
    one = statistics(region_of(np.ones(array.shape, bool)), array, 1.0)
    assert (one.voxels, one.excluded, one.mean) == (22, 2, 7.0)
    with pytest.raises(ValueError, match="no finite value"):
        statistics(region_of(np.ones(array.shape, bool)), array * np.nan, 1.0)


def test_an_empty_region_is_refused():
    with pytest.raises(ValueError, match="empty"):
        statistics(region_of(np.zeros((3, 3, 3), bool)), np.zeros((3, 3, 3)), 1.0)


def test_erosion_of_a_box_takes_the_margin_off_each_side_in_millimeters():
    mask = np.zeros((20, 40, 40), bool)
    mask[5:15, 10:30, 10:30] = True
    eroded = region_of(mask).eroded(2.0, np.array([1.0, 1.0, 3.0]))
    # 2 voxels of 1 mm go on each side in plane, none through the 3 mm slices.
    assert eroded.mask.shape == (10, 16, 16)
    assert eroded.offset == (5, 12, 12)
    assert eroded.mask.all()
    with pytest.raises(ValueError, match="no voxel is left after eroding 40 mm"):
        region_of(mask).eroded(40.0, np.ones(3))


@pytest.mark.parametrize("rounding", [-1e-13, 0, 1e-13])
def test_the_last_digit_of_a_grid_erodes_no_other_voxels(rounding):
    """Scenes keep grids as text: 2 x 1.5 mm are 3 mm, a little less or more."""
    mask = np.zeros((20, 20, 20), bool)
    mask[4:16, 4:16, 4:16] = True
    assert region_of(mask).eroded(3.0, np.full(3, 1.5 + rounding)).voxels == 8**3


def test_a_region_on_one_slice_is_eroded_in_its_plane():
    mask = np.zeros((9, 30, 30), bool)
    mask[4, 10:20, 10:20] = True
    eroded = region_of(mask).eroded(2.0, np.array([1.0, 1.0, 4.0]))
    assert (eroded.mask.shape, eroded.offset) == ((1, 6, 6), (4, 12, 12))


def test_interval_of_the_median_covers_the_truth_for_independent_and_smoothed_noise():
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(11)
    for sigma in (0.0, 1.0):
        covered = 0
        runs = 300
        for _ in range(runs):
            noise = rng.normal(size=(20, 24, 24))
            noise = gaussian_filter(noise, sigma) if sigma else noise
            one = statistics(region_of(np.ones(noise.shape, bool)), noise, 1.0)
            covered += abs(one.median) <= 1.96 * one.median_se
        assert 0.90 <= covered / runs <= 0.985


def test_a_gradient_through_a_region_leaves_a_wide_interval():
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(3)
    held = []
    while len(held) < 200:
        noise = gaussian_filter(rng.normal(size=(40, 40, 40)), 4, mode="wrap")[:12, :16, :16]
        one = statistics(region_of(np.ones(noise.shape, bool)), noise, 1.0)
        if 2 <= effective_samples(noise - noise.mean(), np.ones(noise.shape, bool)) < 4:
            held.append(abs(one.median) <= 1.96 * one.median_se)
    assert 0.92 <= np.mean(held) <= 1
    along = np.broadcast_to(np.arange(16.0) + 0.5, (12, 16, 16))  # one sample: no interval
    assert np.isnan(statistics(region_of(np.ones(along.shape, bool)), along, 1.0).median_se)


def test_repeated_voxels_do_not_count_as_independent():
    rng = np.random.default_rng(5)
    noise = np.repeat(np.repeat(rng.normal(size=(12, 12, 12)), 2, axis=1), 2, axis=2)
    mask = np.ones(noise.shape, bool)
    effective = effective_samples(noise - noise.mean(), mask)
    assert effective == pytest.approx(12**3, rel=0.25)
