"""Published label tables, spot-checked against values read in the tools' repositories."""

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role, parse_site
from MarrowAssessLib.sources.label_maps import CONVENTIONS, regions_of_convention


@pytest.mark.parametrize(
    ("convention", "label", "role", "site"),
    [
        ("TotalSegmentator total_mr", 47, Role.MUSCLE, "right erector spinae"),
        ("TotalSegmentator total_mr", 48, Role.MUSCLE, "left psoas"),
        ("TotalSegmentator vertebrae_mr", 2, Role.MARROW, "L5"),
        ("TotalSegmentator vertebrae_mr", 7, Role.MARROW, "T12"),
        ("TotalSegmentator vertebrae_mr", 25, Role.MARROW, "C1"),
        ("TotalSpineSeg", 2, Role.CSF, ""),
        ("TotalSpineSeg", 43, Role.MARROW, "L3"),
        ("TotalSpineSeg", 82, Role.DISC, "T11-T12"),
        ("TotalSpineSeg", 95, Role.DISC, "L4-L5"),
        ("MuscleMap", 5122, Role.MUSCLE, "right psoas"),
        ("MuscleMap", 5111, Role.MUSCLE, "left erector spinae"),
        ("SPINEPS vertebrae", 22, Role.MARROW, "L3"),
        ("SPINEPS vertebrae", 119, Role.DISC, "T12-L1"),
        ("SPINEPS subregions", 100, Role.DISC, ""),
    ],
)
def test_label_meaning(convention, label, role, site):
    meaning = CONVENTIONS[convention][label]
    assert (meaning.role, meaning.site) == (role, site)


def test_every_site_is_canonical():
    for table in CONVENTIONS.values():
        for meaning in table.values():
            assert parse_site(meaning.site) == meaning.site


def test_regions_of_a_segmentation():
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 1:3, 2] = 43
    labels[2, 4, 4] = 94
    labels[0, 0, 0] = 1  # spinal cord: not used
    labels[3, 4, 4] = 50
    body, sacrum, disc = regions_of_convention(labels, "TotalSpineSeg")
    assert (body.name, body.site, body.voxels, body.offset) == ("L3 marrow", "L3", 2, (1, 1, 2))
    assert "arch" in body.cautions[0]
    assert sacrum.cautions == ["The label holds the whole bone with its cortex."]
    assert (disc.site, disc.role, disc.voxels) == ("L3-L4", Role.DISC, 1)


def test_gluteal_muscles_of_one_side_merge():
    labels = np.zeros((1, 1, 6), np.uint8)
    labels[0, 0, :4] = [40, 42, 44, 41]
    regions = regions_of_convention(labels, "TotalSegmentator total_mr")
    assert {r.site: r.voxels for r in regions} == {"left gluteus": 3, "right gluteus": 1}


def test_wrong_convention_is_refused():
    with pytest.raises(ValueError, match="Unknown label convention"):
        regions_of_convention(np.zeros((1, 1, 1), int), "mine")
    with pytest.raises(ValueError, match="No label of MuscleMap"):
        regions_of_convention(np.ones((1, 1, 1), int), "MuscleMap")
