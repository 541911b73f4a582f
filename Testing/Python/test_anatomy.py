import pytest
from MarrowAssessLib.catalogue.anatomy import (
    Role,
    level_index,
    parse_role,
    parse_site,
    spine_region,
)


@pytest.mark.parametrize(
    ("text", "site"),
    [
        ("L3", "L3"), ("l3", "L3"), ("Th12", "T12"), ("D12", "T12"), ("L4-L5", "L4-L5"),
        ("L4/5", "L4-L5"), ("L5-S1", "L5-S1"), ("Left Femoral Head", "left femoral head"),
        ("femoral_head", "femoral head"), ("psoas right", "right psoas"), ("", ""),
    ],
)  # fmt: skip
def test_site_names_are_canonical(text, site):
    assert parse_site(text) == site


@pytest.mark.parametrize("text", ["L9", "T14", "banana", "S6", "L", "left"])
def test_unknown_site_is_refused_in_one_sentence(text):
    with pytest.raises(ValueError, match="Unknown site") as error:
        parse_site(text)
    assert "\n" not in str(error.value)


def test_of_a_bone_that_is_named_whole_its_parts_are_told():
    with pytest.raises(ValueError, match="known are: proximal tibia, tibial diaphysis, distal"):
        parse_site("left tibia")


@pytest.mark.parametrize("text", ["disc", "Marrow", "left muscle", "csf"])
def test_a_tissue_is_no_site(text):
    """ "disc" was answered with the distal femur."""
    with pytest.raises(ValueError, match=f"'{text}' is a tissue, no site; say where it is"):
        parse_site(text)


def test_roles_have_the_names_people_use():
    assert parse_role("Bone Marrow") is Role.MARROW
    assert parse_role("disk") is Role.DISC
    assert parse_role("air") is Role.NOISE
    with pytest.raises(ValueError, match="Unknown tissue role 'bone'"):
        parse_role("bone")


def test_a_disc_lies_between_its_vertebrae():
    assert level_index("L3") < level_index("L3-L4") < level_index("L4")
    assert level_index("femoral head") is None
    assert spine_region("T7") == "thoracic"
    assert spine_region("psoas") == ""
