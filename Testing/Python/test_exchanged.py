"""Water and fat that a scanner exchanged over whole regions: found, put right, or left out."""

import numpy as np
import pytest
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.exchanged import find_exchanged
from PDFFMapperLib.water_fat.products import fat_fraction_of_images
from PDFFMapperLib.water_fat.recipe import WATER_FAT
from PDFFMapperLib.water_fat.seams import torn_slices
from PDFFMapperLib.water_fat.separation import Doubt
from phantoms.water_fat import scanner_images, spine_phantom

SIZES = (4.0, 2.0, 2.0)
GRID = np.diag([2.0, 2.0, 4.0, 1.0])


@pytest.fixture(scope="module")
def body():
    """Labels, and water and fat by the brightness of fat."""
    phantom = spine_phantom(shape=(14, 96, 96))
    return phantom.labels, {bright: scanner_images(phantom, bright) for bright in (1.0, 2.0)}


def region(name, labels):
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in labels.shape], indexing="ij")
    return {
        "nothing": labels < 0,
        "an arm": np.isin(labels, (9, 10, 11)),
        "slices": z > 0.3,
        "a cylinder": x**2 + y**2 < 0.12,
        "a ball": (x + 0.1) ** 2 + (y + 0.3) ** 2 + (0.6 * z) ** 2 < 0.2,
        "muscle": (labels == 1) & (y < -0.45) & (x < -0.1),
        "all": labels >= 0,
    }[name] & (labels > 0)


def made(images, where, **settings):
    """Maps of images with water and fat exchanged somewhere, by name, and the limits told."""
    water, fat = images
    pair = (np.where(where, fat, water), np.where(where, water, fat))
    volumes = [Volume(one, GRID, name) for one, name in zip(pair, "WF", strict=True)]
    maps = WATER_FAT.recipe("water-fat").make(volumes, **settings)
    return {one.name: one.volume.array for one in maps}, " ".join(maps[0].provenance["limits"])


@pytest.mark.parametrize(
    ("name", "bright"), [("slices", 1.0), ("slices", 2.0), ("a ball", 2.0), ("an arm", 1.0)]
)
def test_regions_of_water_and_fat_are_exchanged_back(body, name, bright):
    labels, images = body
    where = region(name, labels)
    maps, told = made(images[bright], where)
    right = fat_fraction_of_images(*images[bright]).percent
    back = maps["exchanged"] > 0
    assert np.count_nonzero(back & where) > 0.7 * np.count_nonzero(where)
    assert "are exchanged back; the map 'exchanged' shows where" in told
    sure = maps["doubt"] == 0
    assert np.array_equal(np.isfinite(maps["FF"]), sure)
    wrong = sure & (np.abs(maps["FF"] - right) > 30)
    assert np.count_nonzero(wrong) < 0.04 * np.count_nonzero(where)
    assert np.count_nonzero(wrong & ~where) < 0.002 * np.count_nonzero(sure)
    np.testing.assert_allclose(maps["FF"][back & where], right[back & where], atol=1e-3)


@pytest.mark.parametrize("bright", [1.0, 2.0])
def test_what_is_right_stays(body, bright):
    labels, images = body
    maps, told = made(images[bright], region("nothing", labels))
    assert "exchanged" not in maps and not (maps["doubt"] & Doubt.SWAP_RISK).any()
    assert "cannot always be told from anatomy" in told
    np.testing.assert_array_equal(maps["FF"], fat_fraction_of_images(*images[bright]).percent)


def test_a_region_of_one_tissue_is_left_out(body):
    """Muscle that became fat may as well be fat."""
    labels, images = body
    where = region("muscle", labels)
    maps, told = made(images[1.0], where)
    risk = maps["doubt"] == Doubt.SWAP_RISK
    assert "exchanged" not in maps and "they have no value there (swap risk)" in told
    assert np.count_nonzero(risk & where) > 0.6 * np.count_nonzero(where)
    assert np.isnan(maps["FF"][risk]).all()


def test_slices_with_seams_of_a_region_that_is_not_found_are_left_out(body):
    labels, images = body
    where = region("a cylinder", labels)
    maps, told = made(images[2.0], where)
    risk = maps["doubt"] == Doubt.SWAP_RISK
    assert "exchanged" not in maps and "In 14 slices water turns to fat between neighb" in told
    assert "That is everywhere" not in told
    assert risk[where].all() and np.isnan(maps["FF"][where]).all()


def tissue(exchanged_columns, fat_signal, slices=2):
    """Layers of muscle and fat, mixed at their borders, exchanged in some columns."""
    share = np.tile(np.repeat([0.05, 0.3, 0.6, 0.95, 0.6, 0.3], [6, 1, 1, 6, 1, 1]), 3)[:, None]
    noise = 0.02 * np.random.default_rng(5).standard_normal((2, slices, 48, 40))
    water, fat = np.abs(
        np.stack(np.broadcast_arrays(1 - share, fat_signal * share))[:, None] + noise
    )
    turned = np.isin(np.arange(40), exchanged_columns)
    return np.where(turned, fat, water), np.where(turned, water, fat)


@pytest.mark.parametrize(
    ("columns", "fat_signal", "torn"),
    [((), 2.0, False), (range(20), 2.0, True), (range(20), 1.0, False), (range(20), 1.4, False)],
)
def test_a_seam_is_told_by_its_signal_where_fat_is_brighter_than_water(columns, fat_signal, torn):
    pair = np.stack(tissue(columns, fat_signal)).astype(np.float32)
    assert (torn_slices(pair, np.ones(pair.shape[1:], bool)) == torn).all()


def test_seams_show_the_slices_that_hold_them_and_few_tell_nothing():
    whole, cut = tissue((), 2.0, slices=4), tissue(range(20), 2.0, slices=4)
    both = list(zip(whole, cut, strict=True))
    for count in (1, 3):
        pair = np.stack([np.concatenate([b[:count], a[count:]]) for a, b in both])
        torn = torn_slices(pair.astype(np.float32), np.ones(pair.shape[1:], bool))
        assert torn.tolist() == [count > 1 and k < count for k in range(4)]
    nothing = np.zeros(pair.shape[1:], bool)
    assert not torn_slices(pair, nothing).any()


def test_they_can_be_left_out_or_not_looked_for(body):
    labels, images = body
    where = region("slices", labels)
    maps, told = made(images[2.0], where, exchanged="leave out")
    assert "exchanged" not in maps and "may be exchanged" in told
    assert np.isnan(maps["FF"][where]).mean() > 0.7
    maps, told = made(images[2.0], where, exchanged="as given")
    assert "were not looked for" in told and not (maps["doubt"] & Doubt.SWAP_RISK).any()


def test_images_given_for_one_another_are_refused(body):
    labels, images = body
    everywhere = region("all", labels)
    with pytest.raises(ValueError, match="the water and the fat image seem to be given for one"):
        made(images[1.0], everywhere)
    maps, _ = made(images[1.0], everywhere, exchanged="as given")
    assert np.nanmedian(maps["FF"][labels == 2]) < 10


@pytest.mark.parametrize("bright", [1.0, 2.0])
def test_whole_slices_show_by_their_neighbors(body, bright):
    """The fewer are exchanged; of halves none is known to be right."""
    labels, (water, fat) = body[0], body[1][bright]
    inside = labels > 0
    for slices in (slice(-1, None), slice(4, 7)):
        where = np.zeros_like(inside)
        where[slices] = inside[slices]
        pair = np.where(where, fat, water), np.where(where, water, fat)
        found = find_exchanged(*pair, inside, SIZES)
        assert ((found.sure | found.doubtful) >= where).all()
        assert not (found.sure & ~where).any()
    half = np.where(np.arange(14)[:, None, None] < 7, (water, fat), (fat, water))
    found = find_exchanged(*half, inside, SIZES)
    assert not found.sure.any()
    np.testing.assert_array_equal(found.doubtful, inside)


def test_of_two_slices_none_is_known_right(body):
    labels, images = body[0][:2].copy(), [one[:2] for one in body[1][1.0]]
    labels[0, :40] = 0  # of voxels the fewer, not of slices
    images = [np.where(labels > 0, one, 0) for one in images]
    where = labels > 0
    where[1] = False
    maps, told = made(images, where)
    assert "exchanged" not in maps and "they have no value there (swap risk)" in told
    assert "That is everywhere: about half of the slices" in told
    assert not np.isfinite(maps["FF"]).any()
    maps, told = made(images, labels < 0)
    assert "That is everywhere" not in told
    assert not (maps["doubt"] & Doubt.SWAP_RISK).any()


def test_slices_of_fat_under_the_skin_beside_muscle_are_right():
    """Coronal slices of 10 mm through a trunk; the outermost lie in its fat."""
    depth = np.arange(-105, 106, 10)[:, None, None]
    along = np.linspace(-200, 200, 96)
    z, x = along[:, None], along[None]
    body, muscle = ((depth / h) ** 2 + (x / w) ** 2 < 1 for h, w in ((110, 170), (95, 155)))
    fat = np.where(muscle & (np.hypot(x - 40, z) < 40), 0.4, np.where(muscle, 0.05, 0.95)) * body
    noise = 0.02 * body * np.random.default_rng(0).standard_normal((2, *fat.shape))
    body = np.broadcast_to(body, fat.shape)
    water, fat = np.abs(body - fat + noise[0]), np.abs(fat + noise[1])
    found = find_exchanged(water, fat, body, (10.0, 4.0, 4.0))
    assert not found.sure.any() and not found.throughout


def test_too_few_voxels_tell_nothing():
    one = np.ones((1, 20, 20))
    found = find_exchanged(one, 0 * one, one > 0, SIZES)
    assert not found.sure.any() and not found.doubtful.any() and not found.throughout


@pytest.mark.parametrize("few", [True, False])
def test_images_of_few_voxels_say_that_nothing_was_looked_for(body, few):
    _, images = body
    pair = [each[6:7, 40:60, 40:60] if few else each for each in images[1.0]]
    told = " ".join(fat_fraction_of_images(*pair, voxel_size_mm=SIZES).limits)
    assert ("could not be looked for" in told) == few


@pytest.mark.parametrize(("axis", "count"), [(0, 1), (0, 2), (1, 2), (2, 1)])
def test_images_thinner_than_what_is_looked_at_are_looked_at_too(body, axis, count):
    """One slice of 3 mm ended in an IndexError."""
    labels, images = body
    middle = slice(labels.shape[axis] // 2, labels.shape[axis] // 2 + count)
    water, fat = (np.moveaxis(np.moveaxis(each, axis, 0)[middle], 0, axis) for each in images[2.0])
    found = find_exchanged(water, fat, np.ones(water.shape, bool), (3.0, 1.0, 1.0))
    assert found.sure.shape == water.shape and not found.sure.any()
