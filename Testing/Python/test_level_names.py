"""Levels named by their neighbors, on spines of known geometry."""

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role, spine_levels
from MarrowAssessLib.placement.level_names import (
    KnownLevel,
    neighbor_site,
    shifted_site,
    told_from_afar,
)

# Body and disc heights in mm: adult lumbar, thoracic and cervical spine, and that of a small child.
SPINES = {"lumbar": (27, 9), "thoracic": (21, 5), "cervical": (14, 5), "child": (13, 5)}


def known(site, z, height):
    return KnownLevel(site, np.array([0.0, 0.0, z]), height)


@pytest.mark.parametrize("kind", SPINES)
@pytest.mark.parametrize("drawn", [1.0, 0.75])  # the whole body, or clear of its endplates
@pytest.mark.parametrize("astray", [-0.15, 0.0, 0.15])  # of the click from the center, in bodies
def test_neighbors_of_one_named_body_are_named_and_nothing_further(kind, drawn, astray):
    body, disc = SPINES[kind]
    pitch = body + disc
    one = [known("L3", 0.0, drawn * body)]

    def at(bodies, role=Role.MARROW):
        return neighbor_site(one, [1.0, 2.0, pitch * bodies + astray * body], role)

    assert at(0) == "L3"
    assert at(1) == "L2"
    assert at(-1) == "L4"
    assert at(2) == at(-2) == at(3) == ""


@pytest.mark.parametrize("kind", SPINES)
def test_two_bodies_far_away_tell_a_wrong_name_and_doubt_no_right_one(kind):
    pitch = sum(SPINES[kind])
    levels = ["T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1"]
    drawn = [known("T12", 0.0, SPINES[kind][0]), known("L4", -4 * pitch, SPINES[kind][0])]

    def told(site, bodies):
        return told_from_afar(drawn, np.array([3.0, 5.0, -pitch * bodies]), site)

    assert told("L1", 2) == "L2" and told("L3", 2) == "L2"
    assert told("L2", 5.8) == "S1"
    assert told("L3", 8) == ""  # too far to tell
    assert told("L3-L4", 1.5) == "L1-L2"
    for bodies, site in enumerate(levels, start=-1):
        assert told(site, bodies + 0.3) == told(site, bodies - 0.3) == ""
    assert told("psoas", 2) == told_from_afar(drawn[:1], np.zeros(3), "L5") == ""


# Distances of neighbors in mm, C2-C3 to L5-S1 (bodies and discs of adults).
WHOLE = (18,) * 5 + (18.5, 19, 20, 20.5, 21, 21.5, 22.5, 23.5, 24.5, 26, 27.5, 29, 31)
WHOLE += (33.5, 35.5, 37, 37.5, 36)


@pytest.mark.parametrize("drawn", [("C3", "L5"), ("C7", "L4"), ("T3", "S1"), ("C4", "T10")])
def test_two_bodies_of_two_parts_of_the_spine_doubt_no_right_name(drawn):
    levels, down = spine_levels(), -np.concatenate([[0.0], np.cumsum(WHOLE)])
    two = [known(site, down[levels.index(site)], 20) for site in drawn]
    first, last = (levels.index(site) for site in drawn)
    for n in range(max(first - 3, 0), min(last + 4, len(levels))):
        point = np.array([2.0, 4.0, down[n] + 4])
        assert told_from_afar(two, point, levels[n]) == ""
        if first < n < last:
            assert told_from_afar(two, point, levels[n - 2])


def test_discs_are_named_between_bodies():
    one = [known("L3", 0.0, 27)]
    assert neighbor_site(one, [0, -5, 18.0], Role.DISC) == "L2-L3"
    assert neighbor_site(one, [0, -5, -18.0], Role.DISC) == "L3-L4"
    assert neighbor_site(one, [0, -5, 0.0], Role.DISC) == ""
    two = [known("L3", 0.0, 27), known("L3-L4", -18.0, 9)]
    assert neighbor_site(two, [0, 0, -36.0], Role.MARROW) == "L4"


def test_two_named_bodies_tell_the_distance_of_the_next():
    infant = [known("L3", 0.0, 5), known("L4", -14.0, 5)]  # growth plates are not marrow
    assert neighbor_site(infant, [0, 0, 14.0], Role.MARROW) == "L2"
    assert neighbor_site(infant, [0, 0, 28.0], Role.MARROW) == ""


def test_a_click_beside_the_spine_is_no_vertebra():
    one = [known("L3", 0.0, 27)]
    two = [*one, known("L4", -36.0, 27)]
    for names in (one, two):
        assert neighbor_site(names, [40.0, 0.0, 0.0], Role.MARROW) == ""
        assert neighbor_site(names, [-36.0, 0.0, -2.0], Role.MARROW) == ""


def test_the_disc_s_side_is_not_the_next_vertebra():
    drawn = [known("L3", 0.0, 27), known("L4", -36.0, 27), known("L3-L4", -18.0, 9)]
    for across in (0.0, 6.0, 15.0):
        assert neighbor_site(drawn, [across, 0.0, -19.0], Role.MARROW) == ""
        assert neighbor_site(drawn, [across, 0.0, -19.0], Role.DISC) == "L3-L4"


def test_levels_follow_a_spine_that_leans():
    lean = np.array([0.0, 18.0, -31.0])
    two = [KnownLevel("L5", np.zeros(3), 27), KnownLevel("L4", -lean, 27)]
    assert neighbor_site(two, lean, Role.MARROW) == "S1"
    assert neighbor_site(two, lean / 2, Role.DISC) == "L5-S1"


def test_csf_takes_the_level_of_the_body_before_it():
    one = [known("L3", 0.0, 27)]
    assert neighbor_site(one, [0, -28.0, 6.0], Role.CSF) == "L3"


def test_muscle_fat_and_spines_without_levels_are_not_named():
    one = [known("L3", 0.0, 27)]
    assert neighbor_site(one, [40, -30, 0.0], Role.MUSCLE) == ""
    assert neighbor_site([], [0, 0, 0.0], Role.MARROW) == ""
    assert neighbor_site([known("left ilium", 0.0, 40)], [0, 0, 30.0], Role.MARROW) == ""


@pytest.mark.parametrize(("lumbar", "below"), [(4, "S1"), (5, "L5"), (6, "L5")])
def test_the_body_below_l4_follows_the_number_of_lumbar_vertebrae(lumbar, below):
    assert neighbor_site([known("L4", 0.0, 27)], [0, 0, -36.0], Role.MARROW, lumbar) == below


def test_nothing_is_named_beyond_the_ends():
    assert neighbor_site([known("C2", 0.0, 14)], [0, 0, 19.0], Role.MARROW) == ""


def test_levels_are_moved_and_other_sites_are_not():
    assert shifted_site("L1", -1) == "T12"
    assert shifted_site("T12-L1", 1) == "L1-L2"
    assert shifted_site("L5", 1) == "S1"
    assert shifted_site("L5", 1, lumbar=6) == "L6"
    assert shifted_site("S3-S4", -1) == "S2-S3"  # a found column may reach down to S4
    assert shifted_site("left psoas", 1) == "left psoas"
    with pytest.raises(ValueError, match="leave the spine"):
        shifted_site("C2", -1)
