"""Which level the lowest body is: by discs, sacrum and shape, and doubted where they disagree."""

import numpy as np
import pytest
from MarrowAssessLib.placement.find_spine import explained
from MarrowAssessLib.placement.found_spine import FoundBody, Spine
from MarrowAssessLib.placement.sacrum import tell_lowest
from MarrowAssessLib.placement.spine_network import Structure
from PDFFMapperLib.images.volume import Volume
from phantoms.spine import bent_sacrum, healthy, shown
from scipy import ndimage

S1, L5 = 3, 4  # indices of their bones


def lowest(rest_mm=1.0, kink_deg=0.0, ends_mm=None, squares=False):
    """What is told of the lowest body, which it truly is, and why that is not certain."""
    bones, gaps, facts = healthy(7)
    bones["cy"][:S1] -= (rest_mm - gaps[S1 - 1]) * bones["sin"][S1]
    bones["cz"][:S1] -= (rest_mm - gaps[S1 - 1]) * bones["cos"][S1]
    gaps[S1 - 1] = rest_mm
    if squares:
        bones["taper"][S1], bones["bowl_bottom"][S1] = 0.0, 0.0
    bent_sacrum(bones, gaps, kink_deg)
    digital = shown((bones, gaps, facts), "T1", 11, slices=11)
    chances, frame = digital.chances(sacral_disc=True), digital.volume
    if ends_mm is not None:  # below the middle of S1
        rows = np.flatnonzero((digital.owner == S1 + 1).any(axis=(0, 2)))
        end = round(rows.mean() + ends_mm / frame.spacing[1])
        chances, frame = chances[:, :, :end], frame.with_array(frame.array[:, :end])
    spine = explained(chances, frame)
    owner = np.bincount(digital.owner[:, : frame.array.shape[1]][spine.bodies[-1].mask])
    return spine.lowest, digital.level(int(owner[1:].argmax()) + 1), spine.unsure_lowest


def test_sacrum_without_a_rest_of_disc_is_certain():
    assert lowest() == ("S1", "S1", "")


def test_a_thin_rest_of_disc_is_doubted_unless_the_shape_is_s1s():
    told, true, unsure = lowest(rest_mm=5.0)
    assert told == true == "S1"
    assert unsure == "below the lowest body lies a disc that is thin for L5-S1 and thick for S1-S2"
    assert lowest(rest_mm=5.0, kink_deg=30.0) == ("S1", "S1", "")


def test_a_lumbarized_s1_with_a_whole_disc_below_is_never_silently_l5():
    told, true, unsure = lowest(rest_mm=10.0)
    assert (told, true) == ("L5", "S1")
    assert unsure == (
        "below the lowest body lies a disc as below L5, but it narrows downward as S1 does"
    )
    assert lowest(rest_mm=10.0, kink_deg=30.0)[0] == "S1"


def test_a_body_like_l5_without_a_disc_below_is_doubted():
    told, _, unsure = lowest(kink_deg=-8.0, squares=True)
    assert told == "S1"
    assert unsure == (
        "no disc is seen below the lowest body, but that is not seen to narrow downward as S1 does"
    )


@pytest.mark.parametrize(
    ("slices", "turn_deg", "height_mm", "disc_mm", "told", "unsure"),
    [
        (7, 40.0, 26.0, 0.0, "S1", ""),
        (7, 40.0, 26.0, 8.0, "L5", "as below L5, but it is small and turned as S1 is"),
        (7, 27.0, 26.0, 0.0, "S1", "no disc is seen below the lowest body, but that is not seen"),
        (11, 27.0, 12.0, 8.0, "L5", ""),
        (11, 10.0, 9.0, 8.0, "L5", "as small as S2, but the disc above it is thick"),
    ],
)
def test_a_small_body_is_s1_where_it_turns_as_none_of_l5s(
    slices, turn_deg, height_mm, disc_mm, told, unsure
):
    """A broken L5, or one at the image's side, is as small as S1, and may turn by 29 degrees."""
    spine = blocks(slices, turn_deg, height_mm, disc_mm)
    tell_lowest(spine)
    assert spine.lowest == told
    assert unsure in spine.unsure_lowest and bool(unsure) == bool(spine.unsure_lowest)


def blocks(slices, turn_deg, height_mm, disc_mm):
    """Three bodies of 11 slices, 26 mm high and 34 deep, and one that narrows to .94 of that."""
    grid = np.array([[0, 0, 4.0, 0], [1.5, 0, 0, 0], [0, -1.5, 0, 0], [0, 0, 0, 1]])
    frame = Volume(np.zeros((13, 140, 80), np.float32), grid, "blocks")
    chances = np.zeros((len(Structure), *frame.array.shape), np.float32)
    _, front, head = np.moveaxis(frame.to_ras(np.indices(frame.array.shape)[::-1].T), -1, 0)
    front, head = front.T - 60.0, head.T
    aside, bodies = np.abs(np.arange(13) - 6)[:, None, None], []
    for n in range(4):
        turn, high, wide = np.deg2rad([0, 0, 0, turn_deg])[n], 26.0, 5
        if n == 3:
            high, wide = height_mm, slices // 2
        under = -head - 25.0 - 34.0 * n  # the middle of its upper endplate
        down = under * np.cos(turn) - front * np.sin(turn)
        ahead = under * np.sin(turn) + front * np.cos(turn)
        deep = (ahead > -17) & (ahead < 17 - (2.0 * down / high if n == 3 else 0.0))
        chances[Structure.DISC][deep & (down > -8) & (down < 0)] = 1
        mask = deep & (down > 0) & (down < high) & (aside <= wide)
        center = frame.to_ras(np.argwhere(mask)[:, ::-1]).mean(axis=0)
        bodies.append(FoundBody(center, np.array([0, np.sin(turn), np.cos(turn)]), mask))
    chances[Structure.DISC][deep & (down > high) & (down < high + disc_mm)] = 1
    chances[Structure.SACRUM][deep & (down > high + disc_mm) & (down < high + disc_mm + 25)] = 1
    chances[Structure.DISC][np.any([body.mask for body in bodies], axis=0)] = 0
    return Spine(bodies, frame, chances)


@pytest.mark.parametrize("ends_mm", [-9, -3, 3, 9])
def test_an_image_that_ends_near_s1_is_never_silently_wrong(ends_mm):
    told, true, unsure = lowest(ends_mm=ends_mm)
    assert told in ("", true) or unsure


def test_an_image_that_cuts_s1_says_so():
    assert lowest(ends_mm=9)[2] in (
        "",
        "the image ends below the lowest body, with little of the sacrum",
    )


def ends_at(bone, kink_deg=0.0, below_mm=2.0, seed=3):
    """What is told of the lowest body where the image ends below a bone's middle; see `lowest`."""
    bones, gaps, facts = healthy(seed)
    bent_sacrum(bones, gaps, kink_deg)
    digital = shown((bones, gaps, facts), "T1", 11, slices=7)
    rows = np.flatnonzero((digital.owner == bone + 1).any(axis=(0, 2)))
    end = round(rows.mean() + below_mm / digital.volume.spacing[1])
    chances = digital.chances(sacral_disc=True)[:, :, :end]
    spine = explained(chances, digital.volume.with_array(digital.volume.array[:, :end]))
    owner = np.bincount(digital.owner[:, :end][spine.bodies[-1].mask])
    return spine.lowest, digital.level(int(owner[1:].argmax()) + 1), spine.unsure_lowest


@pytest.mark.parametrize("below_mm", [-4.0, 2.0])
def test_s1_of_which_only_the_top_is_in_view_is_told_by_its_turn_and_doubted(below_mm):
    assert ends_at(S1, 15.0, below_mm) == (
        "S1",
        "S1",
        "the image ends at what is taken for S1, and only its turn tells that it is",
    )
    assert ends_at(S1, 0.0, below_mm) == ("", "S1", "")  # it turns as little as L5


@pytest.mark.parametrize(
    ("upper_deg", "lower_deg", "own_deg", "told"),
    [
        (14, 34, 42, "S1"),
        (14, 44, 30, ""),  # the one above is a wedge, but the lowest turns as L5
        (1, 20, 29, ""),  # turned as S1, but in the image that falls as L5 does
    ],
)
def test_at_the_image_s_end_no_wedge_or_tilt_of_the_body_above_makes_an_s1(
    upper_deg, lower_deg, own_deg, told
):
    """Blocks between planes that fall to the front; the image ends in the lowest one."""
    grid = np.array([[0, 0, 4.0, 0], [1.5, 0, 0, 0], [0, -1.5, 0, 0], [0, 0, 0, 1]])
    frame = Volume(np.zeros((9, 76, 60), np.float32), grid, "blocks")
    _, front, head = np.moveaxis(frame.to_ras(np.indices(frame.array.shape)[::-1].T), -1, 0)
    ahead, head, bodies = front.T - 45.0, head.T, []
    planes = ((-20, 0), (-46, 0)), ((-58, upper_deg), (-84, lower_deg)), ((-96, own_deg), (-200, 0))
    for (above, fall), (below, rise) in planes:
        middle = np.deg2rad(fall + rise if below < -100 else (fall + rise) / 2)
        along = ahead * np.cos(middle) - (head - above + 13) * np.sin(middle)
        mask = (np.abs(along) < 16) & (head < above - np.tan(np.deg2rad(fall)) * ahead)
        mask &= head > below - np.tan(np.deg2rad(rise)) * ahead
        up = np.array([0, np.sin(middle), np.cos(middle)])
        bodies.append(FoundBody(frame.to_ras(np.argwhere(mask)[:, ::-1]).mean(axis=0), up, mask))
    spine = Spine(bodies, frame, np.zeros((len(Structure), *frame.array.shape), np.float32))
    tell_lowest(spine)
    assert spine.lowest == told and bool(spine.unsure_lowest) == bool(told)


@pytest.mark.parametrize("bone", [L5, L5 + 1, L5 + 3])
@pytest.mark.parametrize("below_mm", [2.0, 9.0])
def test_where_the_image_ends_at_another_body_no_level_is_told(bone, below_mm):
    told, true, unsure = ends_at(bone, 15.0, below_mm)
    assert (told, unsure) == ("", "") and true != "S1"


@pytest.mark.parametrize(
    ("size", "disc", "bodies", "said"),
    [
        (0.25, 1.0, 9, "as small as S2, but the disc above it is thick for S1-S2"),
        (0.65, 0.4, 9, "small for S1, and the disc above it as thin as that of S1-S2"),
        (1.0, 0.4, 9, ""),
        (0.65, 1.0, 9, ""),
        (0.25, 0.4, 2, "small for S1, and the disc above it as thin as that of S1-S2"),
    ],
)
def test_a_lowest_body_that_may_be_s2_is_doubted(size, disc, bodies, said):
    """Nothing is taken off two bodies: what is told of the disc is measured there as well."""
    digital = shown(healthy(7), "T1", 11, slices=11)
    spine = explained(digital.chances(), digital.volume)
    assert spine.lowest == "S1" and not spine.unsure_lowest
    del spine.bodies[:-bodies]
    _small(spine.bodies[-1], size, spine.chances[Structure.DISC], disc)
    tell_lowest(spine)
    assert spine.unsure_lowest.removeprefix("the lowest body is ") == said


@pytest.mark.parametrize("in_view", [True, False])
def test_a_small_lowest_body_is_told_by_no_disc_that_is_not_in_view(in_view):
    digital = shown(healthy(7), "T1", 11, slices=11)
    first = np.flatnonzero((digital.owner == L5 + 1).any(axis=(0, 2)))[0] + 6
    cut = slice(0 if in_view else first, None)
    spine = explained(
        digital.chances()[:, :, cut], digital.volume.with_array(digital.volume.array[:, cut])
    )
    _small(spine.bodies[-1], 0.25)
    spine.unsure_lowest = ""
    tell_lowest(spine)
    by_disc = "but the disc above it is thick for S1-S2"
    assert spine.unsure_lowest == "the lowest body is as small as S2, " + (
        by_disc if in_view else "and too little is in view to tell by its disc"
    )


def _small(body, share, disc=None, thinner=1.0):
    """Leave the upper part of a body, and so much of the disc's chance above it."""
    height = np.argwhere(body.mask)[:, 1]
    if disc is not None:
        disc[:, round(height.min() - 15) :] *= thinner
    body.mask[:, round(np.quantile(height, share)) :] = False


def test_two_bodies_whose_disc_is_destroyed_are_two():
    """Their cores are one piece at every threshold, as high as two; their outline tells neither."""
    digital = shown(healthy(7), "T2", 11, slices=11)
    chances, owner = digital.chances(), digital.owner
    both = ndimage.binary_closing(np.isin(owner, (L5 + 1, L5 + 2)), np.ones((1, 15, 1)))
    rows = [round(np.argwhere(owner == n)[:, 1].mean()) for n in (L5 + 2, L5 + 1)]
    grown = ndimage.binary_erosion(both, np.ones((1, 1, 7)))
    grown[:, : rows[0]] = grown[:, rows[1] :] = False
    chances[:, grown] = 0
    chances[Structure.CORE][grown] = 0.9
    chances[Structure.DISC][grown] = 0.1
    spine = explained(chances, digital.volume)
    levels = [np.bincount(owner[one.mask])[1:].argmax() for one in spine.bodies]
    assert levels[-3:] == [L5 + 1, L5, S1]
