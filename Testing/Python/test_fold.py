"""Fold-over from head to foot: told where the two ends of an image run into each other."""

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.placement.fold import doubt_fold, folded_over
from MarrowAssessLib.placement.found_spine import FoundBody, Spine
from MarrowAssessLib.placement.spine_column import find_column
from PDFFMapperLib.images.volume import Volume
from phantoms.spine import healthy, shown
from scipy import ndimage


def folded(volume, rows, end=-1):
    """A volume too short by so many rows, which lie on its other end; a coil sees ends less."""
    count = volume.array.shape[1]
    away = np.minimum(np.arange(count), np.arange(count)[::-1]) / (count / 5)
    array = (volume.array * np.clip(away, 0.25, 1)[:, None]).astype(np.float32)
    if end < 0:
        short = array[:, :-rows].copy()
        short[:, :rows] += array[:, -rows:]
        return volume.with_array(short)
    short = array[:, rows:].copy()
    short[:, -rows:] += array[:, :rows]
    grid = volume.ijk_to_ras.copy()
    grid[:3, 3] += rows * grid[:3, 1]
    return Volume(short, grid, volume.name)


@pytest.fixture(scope="module")
def plain():
    return shown(healthy(3), "T2", 11, slices=9).volume


@pytest.mark.parametrize("end", [-1, 1])
@pytest.mark.parametrize("rows", [20, 40])
def test_an_image_whose_ends_run_into_each_other_is_folded(plain, rows, end):
    assert folded_over(folded(plain, rows, end))


@pytest.mark.parametrize("contrast", ["T1", "T2", "GRE", "STIR"])
@pytest.mark.parametrize("level", [3.0, 5.8, 10.0])
def test_an_image_that_is_cut_off_is_not_folded(contrast, level):
    volume = shown(healthy(5), contrast, 12, level=level, slices=5).volume
    assert not folded_over(volume)
    assert not folded_over(volume.with_array(volume.array[:, 15:-15]))
    assert not folded_over(volume.with_array(volume.array[:, :30]))


def test_what_runs_along_a_whole_image_is_no_fold(plain):
    """The lines of a table or a coil: all rows are alike."""
    lines = 1500 * (np.arange(plain.array.shape[2]) % 8 < 2)
    assert not folded_over(plain.with_array(plain.array + lines.astype(np.float32)))


def test_skin_fat_alone_makes_no_two_ends_alike(plain):
    """An edge seven times as high as other detail that lies alike at both ends, by chance."""
    detail = np.random.default_rng(0).normal(size=plain.array.shape)
    detail = ndimage.gaussian_filter1d(detail, 2.0, axis=2)
    array = 20 + detail / detail.std()
    skin = 20 + 12 * np.linspace(-1, 1, array.shape[1]) ** 2
    for row, first in enumerate(skin.round().astype(int)):
        array[:, row, :first] = 27
    assert not folded_over(plain.with_array(array.astype(np.float32)))


@pytest.mark.parametrize("edge", ["frame", "round", "corrected"])
def test_the_edge_of_what_an_image_shows_is_alike_at_both_ends_and_no_fold(plain, edge):
    """A frame drawn in a margin; a round field of view, or one whose distortion was corrected."""
    array = plain.array.copy()
    down, along = (np.linspace(-1, 1, n) for n in array.shape[1:])
    if edge == "frame":
        array = np.pad(array, ((0, 0), (12, 12), (12, 12)))
        array[:, [5, -6], 5:-5] = array[:, 5:-5, [5, -6]] = array.max()
    else:
        curved = (1 - along**2) ** 0.5 if edge == "round" else 1 - 0.2 * along**2
        array[:, np.abs(down)[:, None] > curved] = 0
    assert not folded_over(plain.with_array(array))


@pytest.mark.parametrize("margin", [0.0, np.nan])
def test_a_fold_within_a_margin_is_told_and_doubts_what_lies_at_the_image_s_ends(plain, margin):
    inner, rows = folded(plain, 30), 60
    array = np.pad(inner.array, ((0, 0), (rows, rows), (0, 0)), constant_values=margin)
    volume = inner.with_array(array)
    assert folded_over(volume)
    last = inner.array.shape[1]
    places = [[60, rows + share * last, 4] for share in (0.1, 0.25, 0.5, 0.9)]
    bodies = [
        FoundBody(one, np.eye(3)[2], np.ones((1, 1, 1), bool)) for one in volume.to_ras(places)
    ]
    assert doubt_fold([volume], Spine(bodies, volume, np.zeros((11, 1, 1, 1)))) == [0, 1, 3]


def test_bodies_near_the_ends_of_a_folded_image_are_doubted_and_those_in_the_middle_are_not(plain):
    """Discs and CSF there alike; whether the image drawn on is folded or another one."""
    volume = folded(plain, 30)
    whole = find_column([plain])
    for images in ([volume], [plain, volume]):
        column = find_column(images)
        assert (
            f"{volume.name} is folded over: what lies beyond its upper or lower end shows at the "
            "other one."
        ) in column.unsure
        said = "The outline is not certain: an image is folded over there."
        told = {name: said in placed.unsure for name, placed in column.bodies.items()}
        assert next(iter(told.values())) and not all(told.values())
        for site, disc in column.discs.items():
            assert (said in disc.roi.cautions) == any(told[name] for name in site.split("-")), site
        assert (said in column.csf.roi.cautions) == told[column.csf.roi.site]
    assert not any("folded" in text for text in whole.unsure)
    assert not any(region.doubtful for region in whole.found_regions() if region.role is Role.DISC)


@pytest.mark.parametrize(
    ("row", "lowest", "told"), [(0.1, "S1", True), (0.1, "", False), (0.5, "S1", False)]
)
def test_the_level_of_a_lowest_body_in_a_fold_is_doubted(plain, row, lowest, told):
    volume = folded(plain, 30)
    rows = volume.array.shape[1]
    places = np.array([[60, rows / 2, 4], [60, row * rows, 4]])
    bodies = [
        FoundBody(one, np.eye(3)[2], np.ones((1, 1, 1), bool)) for one in volume.to_ras(places)
    ]
    spine = Spine(bodies, volume, np.zeros((11, 1, 1, 1)), lowest)
    assert doubt_fold([volume], spine) == ([1] if row < 0.3 else [])
    assert spine.unsure_lowest == (
        "the image is folded over where the lowest body lies" if told else ""
    )
