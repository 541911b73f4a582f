"""One-click placement on a digital spine whose anatomy is known exactly."""

from dataclasses import replace

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role, spine_levels
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.measures.measure import measure
from MarrowAssessLib.measures.muscle import muscle_sections
from MarrowAssessLib.placement import tissue
from MarrowAssessLib.placement.body import _doubts, _typical, eroded, place_body
from MarrowAssessLib.placement.column import renamed
from MarrowAssessLib.placement.csf import csf_beside
from MarrowAssessLib.placement.following import corrected, follow_column
from MarrowAssessLib.placement.options import PlacingOptions
from MarrowAssessLib.placement.star_surface import optimal_surface
from MarrowAssessLib.placement.structure import place
from MarrowAssessLib.placement.tissue import ERECTOR, STRIPS, muscles_beside
from MarrowAssessLib.placement.vertebra import (
    PATCH_MM,
    RAYS,
    SLAB_MM,
    SOFT_EDGE,
    UNLIKE_SD,
    Box,
    Surface,
    _best_rectangle,
    _integrals,
)
from MarrowAssessLib.study.study import Study
from PDFFMapperLib.images.volume import Volume
from phantoms import bodies
from scipy import ndimage

WITHOUT_FAT = PlacingOptions(leave_out=["fat"])
WITHOUT_VEIN = PlacingOptions(leave_out=["vein"])

# Signals of marrow, disc, cortex, CSF, fat, muscle: T1-like, T2-like, gradient echo.
CONTRASTS = {
    "t1": (150, 90, 25, 45, 230, 80),
    "t2": (90, 160, 20, 260, 200, 50),
    "gre": (70, 150, 30, 250, 100, 150),
}
HALF = np.array([22.0, 17.0, 13.0])
APART = 35.0


def spine(contrast="t2", spacing=(1.0, 1.0, 3.0), shading=0.4, seed=0):
    """Five bodies (L1 at the top ... L5), discs, canal and fat; sagittal slices; labels 1-5."""
    marrow, disc, cortex, csf, fat, muscle = CONTRASTS[contrast]
    si, sj, sk = spacing
    ni, nj, nk = int(230 / si), int(150 / sj), int(72 / sk)
    matrix = np.eye(4)
    # i runs to the feet, j to the back, k to the left, as sagittal scans do.
    matrix[:3, :3] = np.array([[0, 0, -sk], [0, -sj, 0], [-si, 0, 0]])
    matrix[:3, 3] = [35.0, 75.0, 115.0]
    k, j, i = np.meshgrid(np.arange(nk), np.arange(nj), np.arange(ni), indexing="ij")
    ras = np.stack([i, j, k], -1) @ matrix[:3, :3].T + matrix[:3, 3]
    x, y, z = ras[..., 0], ras[..., 1], ras[..., 2]
    image = np.full(x.shape, float(muscle))
    image[y < -62] = fat
    image[(np.abs(x) < 9) & (y < -21) & (y > -34)] = csf
    image[((x / 22) ** 4 + (y / 17) ** 4 < 1) & (np.abs(z) < 90)] = disc
    labels = np.zeros(x.shape, np.uint8)
    for n in range(5):
        center_z = 2 * APART - n * APART
        for grow, value in ((1.5, cortex), (0.0, marrow)):
            a, b, c = HALF + grow
            body = (np.abs(x / a) ** 3 + np.abs(y / b) ** 3) ** (8 / 3) + np.abs(
                (z - center_z) / c
            ) ** 8 < 1
            image[body] = value
        labels[body] = n + 1
    image *= 1 + shading * (-y / 75)  # a coil at the back
    image += np.random.default_rng(seed).normal(0, 6, image.shape)
    return Volume(image.astype(np.float32), matrix, contrast), labels


@pytest.fixture(scope="module")
def phantom_volumes():
    """The project's own phantom: an image of some contrast, its tissues, and which is L3."""
    from MarrowAssessLib.sample.phantom import TISSUES, lumbar_phantom

    drawn = lumbar_phantom()

    def image(contrast):
        volume = drawn.tissue if contrast is None else drawn.volumes[contrast]
        return volume, drawn.tissue.array, list(TISSUES).index("L3")

    return image


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.fixture(scope="module", params=["t1", "t2"])
def phantom(request):
    return spine(request.param)


@pytest.mark.parametrize("shift", [(0, 0, 0), (12, 8, -6), (-14, -9, 7)])
def test_body_from_anywhere_inside(phantom, shift):
    volume, labels = phantom
    placed = place(volume, np.array(shift, float), Role.MARROW, "L3")
    truth = labels == 3
    assert dice(placed.body.full_mask(truth.shape), truth) > 0.9
    roi = placed.roi.full_mask(truth.shape)
    assert np.count_nonzero(roi & truth) / np.count_nonzero(roi) > 0.98
    assert not placed.unsure
    assert placed.roi.name == "L3 marrow"


def test_a_dark_core_does_not_hide_the_sides():
    """Gradient echo: marrow brightens from the middle to the sides, muscle is brighter still."""
    volume, labels = spine("gre", spacing=(1.0, 1.0, 4.0), shading=0.0)
    marrow = labels > 0
    volume.array[marrow] *= (0.6 + 0.9 * (all_ras(volume)[0][marrow] / 22) ** 2).astype(np.float32)
    truth = labels == 3
    for point in ([0, 0, 0], [5, 6, 4], [-6, -5, 3]):
        placed = place(volume, np.array(point, float), Role.MARROW, "L3")
        assert dice(placed.body.full_mask(truth.shape), truth) > 0.88


def test_orientation_does_not_matter():
    volume, labels = spine("t2")
    turned = Volume(
        np.ascontiguousarray(volume.array.transpose(2, 0, 1)[:, ::-1]),
        volume.ijk_to_ras @ _turn(volume.array.shape),
    )
    truth = np.ascontiguousarray((labels == 2).transpose(2, 0, 1)[:, ::-1])
    placed = place(turned, np.array([3.0, -4.0, APART]), Role.MARROW)
    assert dice(placed.body.full_mask(truth.shape), truth) > 0.9


def _turn(shape):
    """From the turned array's (i, j, k) to the original's."""
    move = np.zeros((4, 4))
    move[1, 0] = 1  # new i is the old j
    move[2, 1] = -1  # new j is the old k reversed
    move[2, 3] = shape[0] - 1
    move[0, 2] = 1  # new k is the old i
    move[3, 3] = 1
    return move


def test_noise_alone_is_doubted():
    noise = np.random.default_rng(1).normal(100, 20, (40, 120, 120)).astype(np.float32)
    volume = Volume(noise, np.diag([1.0, 1.0, 2.0, 1.0]))
    assert place(volume, volume.to_ras(np.array([60, 60, 20])), Role.MARROW).unsure


def test_no_signal_is_doubted():
    volume = Volume(np.zeros((30, 80, 80), np.float32), np.diag([1.0, 1.0, 3.0, 1.0]))
    for corner in ([40, 40, 15], [0, 0, 0], [79, 79, 29]):
        assert place(volume, volume.to_ras(np.array(corner)), Role.MARROW).unsure


def test_cut_body_is_doubted():
    volume, _ = spine("t2")
    half = Volume(volume.array[:13].copy(), volume.ijk_to_ras)
    placed = place(half, np.array([8.0, 0.0, 0.0]), Role.MARROW)
    assert any("edge of the volume" in text for text in placed.unsure)


def test_point_outside_is_refused():
    volume, _ = spine()
    with pytest.raises(ValueError, match="outside"):
        place(volume, np.array([500.0, 0, 0]), Role.MARROW)


def test_column_has_the_right_levels(phantom):
    volume, labels = phantom
    column = follow_column(volume, np.array([4.0, 3.0, 2.0]), "L3")
    assert list(column.bodies) == ["L1", "L2", "L3", "L4", "L5"]  # and none where none is
    for n, level in enumerate(["L1", "L2", "L3", "L4", "L5"], 1):
        truth = labels == n
        assert dice(column.bodies[level].body.full_mask(truth.shape), truth) > 0.88
    csf = column.csf.roi.values(volume.array)
    assert csf.size > 50
    x, y = _positions(volume, column.csf.roi)
    assert (np.abs(x) < 9).all() and (y < -21).all() and (y > -34).all()
    disc = column.discs["L3-L4"].roi
    x, y = _positions(volume, disc)
    assert np.count_nonzero(labels[disc.box][disc.mask]) == 0
    assert (np.abs(x / 22) ** 4 + np.abs(y / 17) ** 4 < 1).mean() > 0.97


def _positions(volume, region):
    k, j, i = (region.offset[d] + n for d, n in enumerate(np.nonzero(region.mask)))
    ras = volume.to_ras(np.stack([i, j, k], -1))
    return ras[:, 0], ras[:, 1]


def test_psoas_stays_out_of_a_disc_that_is_as_bright():
    volume, labels = spine("gre")
    column = follow_column(volume, np.zeros(3), "L3")
    for side, sign in (("left", -1), ("right", 1)):
        roi = column.muscles[f"{side} psoas"].roi
        at = np.argwhere(roi.full_mask(labels.shape))[:, ::-1]
        assert len(at) > 100
        assert (sign * volume.to_ras(at)[:, 0]).min() > HALF[0] + 1


def all_ras(volume):
    """RAS of every voxel, as three arrays [k, j, i]."""
    k, j, i = np.indices(volume.array.shape)
    return np.moveaxis(volume.to_ras(np.stack([i, j, k], -1)), -1, 0)


def test_psoas_stays_out_of_a_vertebra_shifted_sideways():
    volume, labels = spine("gre", spacing=(1.0, 1.0, 1.5))
    below = all_ras(volume)[2][0, 0] < -APART / 2
    for array in (volume.array, labels):  # from the middle of L3-L4 down: 4.5 mm to the right
        array[:, :, below] = np.roll(array[:, :, below], -3, axis=0)
    upper, lower = (
        place(volume, np.array(point), Role.MARROW).surface
        for point in ([0.0, 0.0, 0.0], [4.5, 0.0, -APART])
    )
    muscles = muscles_beside(volume, upper, lower)
    roi = muscles["right psoas"].roi
    assert roi.voxels > 100
    x, y, z = all_ras(volume)
    column = (np.where(z < -APART / 2, np.abs(x - 4.5), np.abs(x)) < HALF[0] + 1) & (y > -HALF[1])
    assert not (column[roi.box] & roi.mask).any()


def test_muscle_is_found_where_fat_and_bone_are_darker():
    volume, _ = spine("gre", shading=0.0)
    x, y, _ = all_ras(volume)
    lamina = (np.abs(x) > 9) & (np.abs(x) < 20) & (y < -38) & (y > -54)
    random = np.random.default_rng(3)
    volume.array[lamina] = random.normal(45, 2, np.count_nonzero(lamina))
    upper, lower = (
        place(volume, np.array([0.0, 0.0, z]), Role.MARROW).surface for z in (0.0, -APART)
    )
    muscles = muscles_beside(volume, upper, lower)
    for side in ("left", "right"):
        found = muscles[f"{side} erector spinae"]
        assert np.median(found.roi.values(volume.array)) == pytest.approx(150, rel=0.05)
        assert not any("other side" in text for text in found.unsure)


@pytest.mark.parametrize("value", [0.0, 60.3])
def test_padding_beside_the_image_is_not_taken_for_muscle(value):
    """Of one value, it is the most uniform: marrow was divided by what an image was padded with."""
    volume, _ = spine("t1", shading=0.0)
    x, _, _ = all_ras(volume)
    muscle = CONTRASTS["t1"][5]
    volume.array[np.abs(x) > 19] = value
    upper, lower = (
        place(volume, np.array([0.0, 0.0, z]), Role.MARROW).surface for z in (0.0, -APART)
    )
    found = muscles_beside(volume, upper, lower)
    for side in ("left", "right"):
        roi = found[f"{side} erector spinae"].roi
        assert np.median(roi.values(volume.array)) == pytest.approx(muscle, rel=0.05)


def test_bone_as_uniform_as_muscle_is_not_taken_for_it():
    volume, _ = spine("gre", shading=0.0)
    x, y, _ = all_ras(volume)
    facets = (np.abs(x) > 9) & (y < -38) & (y > -60)
    volume.array[facets] = 90.0
    upper, lower = (
        place(volume, np.array([0.0, 0.0, z]), Role.MARROW).surface for z in (0.0, -APART)
    )
    chance = volume.with_array(facets.astype(np.float32))
    unknown = muscles_beside(volume, upper, lower)
    known = muscles_beside(volume, upper, lower, spine=chance)
    for side in ("left", "right"):
        site = f"{side} {ERECTOR}"
        bone, muscle = (facets[one.roi.box][one.roi.mask] for one in (unknown[site], known[site]))
        assert bone.mean() > 0.9 and muscle.size > 100 and not muscle.any()
        assert not known[site].unsure


def test_what_is_left_of_bone_is_no_muscle():
    volume, _ = spine("gre", shading=0.0)
    x, y, z = all_ras(volume)
    facets = (np.abs(x) > 9) & (y < -38) & (y > -60)
    volume.array[facets] = 90.0
    upper, lower = (
        place(volume, np.array([0.0, 0.0, z]), Role.MARROW).surface for z in (0.0, -APART)
    )
    seen = (y > -60) & (np.abs(z + APART / 2) > 3)  # not at the disc, where muscle is looked for
    found = muscles_beside(volume, upper, lower, spine=volume.with_array(seen.astype(np.float32)))
    for side in ("left", "right"):
        told = found[f"{side} {ERECTOR}"].unsure
        assert told == ["Most of it was bone, disc or canal; place it by hand."]


def test_muscle_unlike_psoas_is_doubted():
    """As where fat has replaced it on both sides."""
    volume, _ = spine("gre", shading=0.0)
    _, y, _ = all_ras(volume)
    upper, lower = (
        place(volume, np.array([0.0, 0.0, z]), Role.MARROW).surface for z in (0.0, -APART)
    )
    sites = [f"{side} {muscle}" for side in ("left", "right") for muscle in (ERECTOR, "psoas")]
    found = muscles_beside(volume, upper, lower)
    assert not any(found[site].unsure for site in sites)
    volume.array[y < -38] *= 2.2
    doubted = muscles_beside(volume, upper, lower)
    for site in sites:
        told = "Its signal differs much from psoas's: it may be fat, or shaded by the coil."
        assert doubted[site].unsure == ([told] if ERECTOR in site else [])


def test_muscle_unlike_the_other_side_is_doubted():
    volume, _ = spine("gre", shading=0.0)
    x, y, _ = all_ras(volume)
    volume.array[(x > 9) & (y < -38) & (y > -70)] = 60  # one side has turned to fat
    muscles = follow_column(volume, np.zeros(3), "L3").muscles
    for side in ("left", "right"):
        roi = muscles[f"{side} erector spinae"].roi
        assert any("other side" in text for text in roi.cautions)


@pytest.mark.parametrize("contrast", ["t1", "t2", "gre"])
@pytest.mark.parametrize(("fat_y", "air_y"), [(-60, -65), (-60, -62), (-42, -57)])
def test_fat_beneath_the_skin_is_not_taken_for_muscle_that_is_thin(contrast, fat_y, air_y):
    """In 36 mm of digital spines fat that was called muscle divided the marrow's signal.

    Beneath 2 mm of fat, as of children, muscle was taken for it.
    """
    *_, fat, muscle = CONTRASTS[contrast]
    volume, _ = spine(contrast, shading=0.0)
    x, y, _ = all_ras(volume)
    behind = (np.abs(x) > 9) & (y < -38)
    volume.array[behind & (y > -70)] = muscle
    volume.array[behind & (y < fat_y)] = fat
    volume.array[y < air_y] = 2.0  # air
    upper, lower = (
        place(volume, np.array([0.0, 0.0, z]), Role.MARROW).surface for z in (0.0, -APART)
    )
    found = [one for site, one in muscles_beside(volume, upper, lower).items() if ERECTOR in site]
    # Of a muscle 4 mm thin as much is left as differs enough from fat.
    assert len(found) == (0 if fat_y == -42 and contrast == "gre" else 2)
    for one in found:
        assert np.median(one.roi.values(volume.array)) == pytest.approx(muscle, rel=0.05)


@pytest.mark.parametrize("contrast", ["t1", "t2"])
def test_each_level_has_muscle_beside_it_and_its_ratio_s_interval_holds_the_truth(contrast):
    """A coil at the back, as in life: muscle is too bright, by 1.2 times."""
    volume, _ = spine(contrast)
    column = follow_column(volume, np.zeros(3), "L3")
    strips = column.muscles[STRIPS].roi
    x, y, z = (one[strips.box][strips.mask] for one in all_ras(volume))
    in_column = (x / 22) ** 4 + (y / 17) ** 4 < 1
    in_canal = (np.abs(x) < 9) & (y < -21) & (y > -34)
    assert not (in_column | in_canal | (y < -62)).any()
    marrow, muscle = (CONTRASTS[contrast][n] for n in (0, 5))
    study = Study({Contrast[contrast.upper()]: volume}, column.found_regions())
    found = measure(study)
    ratios = [m for m in found.measurements if m.quantity == f"{contrast}_marrow_muscle"]
    assert [one.site for one in ratios] == ["L1", "L2", "L3", "L4", "L5"]
    for one in ratios:
        beside = z[np.abs(z - (2 - int(one.site[1]) + 1) * APART) < APART]
        assert beside.size > 1000 or one.site in ("L3", "L4")
        low, high = one.ci95
        assert low < one.value < 1.02 * marrow / muscle < 1.02 * high
    areas = {m.site for m in found.measurements if m.quantity == "muscle_csa"}
    assert "left psoas" in areas and STRIPS not in areas  # of pieces none means anything
    assert {one.site for one in muscle_sections(study)} == areas


def test_no_strip_is_drawn_where_one_side_has_turned_to_fat():
    volume, _ = spine("t1", shading=0.0)
    x, y, z = all_ras(volume)
    volume.array[(x > 9) & (y < -38) & (np.abs(z - 1.5 * APART) < 25)] = 230  # at L1-L2
    strips = follow_column(volume, np.zeros(3), "L3").muscles[STRIPS].roi
    erector = y[strips.box][strips.mask] < -35
    heights = z[strips.box][strips.mask][erector]
    assert not (np.abs(heights - 1.5 * APART) < 12).any()
    assert (np.abs(heights + 1.5 * APART) < 12).any()  # L4-L5


def test_levels_shift_with_another_count_of_lumbar_vertebrae():
    assert spine_levels(6)[-2:] == ["L6", "S1"]
    volume, _ = spine("t2")
    column = follow_column(volume, np.zeros(3), "L3")
    moved = renamed(column, 1)
    assert moved.bodies["L4"].surface is column.bodies["L3"].surface
    assert moved.bodies["L4"].roi.name == "L4 marrow"
    assert "L4-L5" in moved.discs
    with pytest.raises(ValueError, match="leave the spine"):
        renamed(column, 9)


def test_a_later_click_changes_only_what_it_touches():
    volume, labels = spine("t2")
    column = follow_column(volume, np.zeros(3), "L3")
    again = corrected(volume, column, "L2", point_ras=np.array([5.0, 6.0, APART + 4]))
    assert dice(again.bodies["L2"].body.full_mask(labels.shape), labels == 2) > 0.88
    for name in ("L1", "L3", "L4", "L5"):
        assert again.bodies[name] is column.bodies[name]
    assert again.discs["L3-L4"] is column.discs["L3-L4"]
    assert again.discs["L2-L3"] is not column.discs["L2-L3"]
    assert again.csf is column.csf
    assert list(again.muscles) == list(column.muscles)
    for site in set(column.muscles) - {STRIPS}:  # what lies beside the other discs is found anew
        assert again.muscles[site] is column.muscles[site]


def test_a_painted_body_is_taken_as_it_is():
    volume, labels = spine("t2")
    column = follow_column(volume, np.zeros(3), "L3")
    painted = labels == 3
    painted[..., : np.flatnonzero(painted.any(axis=(0, 1)))[6]] = False  # a lowered upper endplate
    again = corrected(volume, column, "L3", painted=painted)
    assert (again.bodies["L3"].body.full_mask(labels.shape) == painted).all()
    roi = again.bodies["L3"].roi.full_mask(labels.shape)
    assert roi.any() and not (roi & ~painted).any()
    assert again.discs["L2-L3"].body.voxels > 1.2 * column.discs["L2-L3"].body.voxels
    assert again.discs["L1-L2"] is column.discs["L1-L2"]
    assert again.bodies["L4"] is column.bodies["L4"]
    with pytest.raises(ValueError, match="either a point"):
        corrected(volume, column, "L3")
    with pytest.raises(ValueError, match="The painted L3 is empty; paint the vertebral body"):
        corrected(volume, column, "L3", painted=np.zeros_like(painted))
    with pytest.raises(ValueError, match=r"The painted L3 has .* paint on the image's grid"):
        corrected(volume, column, "L3", painted=painted[1:])
    body = place_body(volume, np.zeros(3), margin_mm=30)
    assert "Nothing is left 30 mm inside the body." in body.unsure and not body.roi.voxels


def test_a_missed_body_is_added():
    volume, labels = spine("t2")
    column = follow_column(volume, np.zeros(3), "L3")
    del column.bodies["L5"], column.discs["L4-L5"]
    again = corrected(volume, column, "L5", point_ras=np.array([0.0, 0.0, -2 * APART]))
    assert list(again.bodies)[-1] == "L5"
    assert dice(again.bodies["L5"].body.full_mask(labels.shape), labels == 5) > 0.88
    assert "L4-L5" in again.discs
    sacral = {"S2": column.bodies["L3"], "S3": column.bodies["L4"]}
    column = replace(column, bodies=sacral, discs={}, muscles={}, csf=None)
    again = corrected(volume, column, "S4", point_ras=np.array([0.0, 0.0, -2 * APART]))
    assert list(again.bodies) == ["S2", "S3", "S4"]
    assert list(again.discs) == ["S2-S3", "S3-S4"]
    assert dice(again.bodies["S4"].body.full_mask(labels.shape), labels == 5) > 0.88
    with pytest.raises(ValueError, match="'S5' is not a vertebra of this column"):
        corrected(volume, column, "S5", point_ras=np.zeros(3))


def tilted(degrees, axis):
    """The digital spine in a patient who is turned: the grid stays with the patient."""
    volume, labels = spine("t2")
    a = np.deg2rad(degrees)
    turn = np.eye(4)
    p, q = {"coronal": (0, 2), "axial": (0, 1)}[axis]
    turn[p, p] = turn[q, q] = np.cos(a)
    turn[p, q], turn[q, p] = -np.sin(a), np.sin(a)
    return Volume(volume.array, turn @ volume.ijk_to_ras), labels, turn[:3, :3]


@pytest.mark.parametrize(("degrees", "axis"), [(18, "coronal"), (-15, "coronal"), (15, "axial")])
def test_scoliosis_and_oblique_slices(degrees, axis):
    volume, labels, turn = tilted(degrees, axis)
    placed = place(volume, turn @ np.array([3.0, 2.0, -2.0]), Role.MARROW, "L3")
    truth = labels == 3
    assert dice(placed.body.full_mask(truth.shape), truth) > 0.85
    roi = placed.roi.full_mask(truth.shape)
    assert np.count_nonzero(roi & truth) / np.count_nonzero(roi) > 0.98


def test_thick_slices():
    volume, labels = spine("t2", spacing=(1.0, 1.0, 5.0))  # 4 mm slices with a gap of 1 mm
    placed = place(volume, np.array([4.0, -3.0, 5.0]), Role.MARROW, "L3")
    truth = labels == 3
    assert dice(placed.body.full_mask(truth.shape), truth) > 0.85


def test_margin_is_taken_from_the_faces_of_thick_voxels():
    block = np.zeros((9, 30, 30), bool)  # 20 x 20 x 20 mm in slices of 4 mm
    block[2:7, 5:25, 5:25] = True
    volume = Volume(block.astype(np.float32), np.diag([1.0, 1.0, 4.0, 1.0]))
    expected = np.zeros_like(block)
    expected[3:6, 8:22, 8:22] = True  # centers 3 mm from the faces: 6, not 2; 3.5, not 2.5
    assert np.array_equal(eroded(block, volume, 3.0), expected)


@pytest.mark.parametrize("rounding", [-1e-7, 0.0, 1e-7])
def test_the_last_digit_of_a_grid_erodes_no_other_voxels(rounding):
    block = np.zeros((14, 14, 14), bool)
    block[2:12, 2:12, 2:12] = True  # 20 mm; centers 1, 3, 5 mm deep
    volume = Volume(block.astype(np.float32), np.diag([*[2.0 + rounding] * 3, 1.0]))
    expected = np.zeros_like(block)
    expected[3:11, 3:11, 3:11] = True
    assert np.array_equal(eroded(block, volume, 3.0), expected)


@pytest.mark.parametrize("size", [0.62, 0.8])
def test_children_are_found(size):
    """About four and ten years old; the young one's bodies are 16 mm high."""
    volume, labels = spine("t1", spacing=(1.0, 1.0, 4.5))
    child = Volume(volume.array, np.diag([size, size, size, 1.0]) @ volume.ijk_to_ras)
    for n in range(1, 6):
        truth = labels == n
        placed = place(child, size * np.array([3.0, -4.0, (3 - n) * APART]), Role.MARROW)
        assert dice(placed.body.full_mask(truth.shape), truth) > 0.85
        assert not placed.unsure
        roi = placed.roi.full_mask(truth.shape)
        assert np.count_nonzero(roi & truth) / np.count_nonzero(roi) > 0.98
    column = follow_column(child, np.zeros(3), "L3")
    assert set(column.bodies) >= {"L1", "L2", "L3", "L4", "L5"}
    for n in range(1, 6):
        truth = labels == n
        assert dice(column.bodies[f"L{n}"].body.full_mask(truth.shape), truth) > 0.85


def test_hemangioma_stays_inside():
    volume, labels = spine("t1")
    k, j, i = np.rint(volume.ras_to_ijk(np.array([3.0, 4.0, 3.0]))).astype(int)[::-1]
    volume.array[k - 1 : k + 2, j - 5 : j + 5, i - 4 : i + 4] *= 1.7
    for point in ([-6.0, -6.0, -4.0], [3.0, 4.0, 3.0]):  # beside the bright spot, and in it
        placed = place(volume, np.array(point), Role.MARROW, "L3")
        truth = labels == 3
        found = dice(placed.body.full_mask(truth.shape), truth)
        assert found > 0.85 or placed.unsure, point


def test_wedge_fracture():
    """The front 40 % lower than the back, the limit of a severe fracture (Genant grade 3)."""
    volume, labels = spine("t2")
    k, j, i = np.meshgrid(*[np.arange(n) for n in labels.shape], indexing="ij")
    ras = volume.to_ras(np.stack([i, j, k], -1))
    crushed = (labels == 3) & (ras[..., 2] > 7.5 - 5.0 * ras[..., 1] / 17)
    volume.array[crushed] = 160 * (1 - 0.4 * ras[crushed][:, 1] / 75)  # disc in its place
    truth = (labels == 3) & ~crushed
    placed = place(volume, np.array([2.0, -6.0, -4.0]), Role.MARROW, "L3")
    assert dice(placed.body.full_mask(truth.shape), truth) > 0.85
    roi = placed.roi.full_mask(truth.shape)
    assert np.count_nonzero(roi & truth) / np.count_nonzero(roi) > 0.97


@pytest.mark.parametrize("where", [(0, 0, APART / 2), (0, -27, 0), (20, -48, 0), (0, -69, 0)])
def test_marrow_clicked_in_another_tissue_is_doubted(where):
    volume, _ = spine("t2")
    assert place(volume, np.array(where, float), Role.MARROW).unsure


@pytest.mark.parametrize("contrast", ["T1", "FS_T2", "IN_PHASE"])
def test_project_phantom(phantom_volumes, contrast):
    from MarrowAssessLib.catalogue.contrasts import Contrast

    volume, tissue, level = phantom_volumes(Contrast[contrast])
    placed = place(volume, np.array([3.0, 2.0, -2.0]), Role.MARROW, "L3")
    truth = tissue == level
    assert dice(placed.body.full_mask(truth.shape), truth) > 0.8
    roi = placed.roi.full_mask(truth.shape)
    assert np.count_nonzero(roi & truth) / np.count_nonzero(roi) > 0.95


def test_pdff_map(phantom_volumes):
    """Fat fraction in %: marrow 36, disc, muscle and CSF near 0, fat 95."""
    from MarrowAssessLib.sample.phantom import TISSUES

    volume, tissue, level = phantom_volumes(None)
    fraction = np.array([100 * one.pdff for one in TISSUES.values()])[tissue]
    fraction = fraction + np.random.default_rng(2).normal(0, 3, tissue.shape)
    pdff = volume.with_array(fraction.astype(np.float32), "PDFF")
    placed = place(pdff, np.array([3.0, 2.0, -2.0]), Role.MARROW, "L3")
    truth = tissue == level
    assert dice(placed.body.full_mask(truth.shape), truth) > 0.8
    assert abs(np.median(placed.roi.values(pdff.array)) - 36) < 1


@pytest.mark.parametrize("kind", ["water", "fat"])
def test_water_and_fat_images(phantom_volumes, kind):
    from MarrowAssessLib.sample.phantom import TISSUES

    volume, tissue, level = phantom_volumes(None)
    share = [one.pdff if kind == "fat" else 1 - one.pdff for one in TISSUES.values()]
    density = [one.density for one in TISSUES.values()]
    image = 1000 * np.array(share)[tissue] * np.array(density)[tissue]
    image = image + np.random.default_rng(3).normal(0, 15, tissue.shape)
    placed = place(volume.with_array(image.astype(np.float32)), np.zeros(3), Role.MARROW, "L3")
    truth = tissue == level
    assert dice(placed.body.full_mask(truth.shape), truth) > 0.8
    assert placed.roi.values(truth).mean() > 0.95


def test_air_for_the_noise(phantom_volumes):
    from MarrowAssessLib.catalogue.contrasts import Contrast
    from MarrowAssessLib.sample.phantom import TISSUES

    volume, tissue, _ = phantom_volumes(Contrast.T1)
    air = tissue == list(TISSUES).index("air")
    depth = ndimage.distance_transform_edt(np.pad(air, 1), sampling=volume.spacing[::-1])
    k, j, i = np.unravel_index(depth[1:-1, 1:-1, 1:-1].argmax(), air.shape)
    roi = place(volume, volume.to_ras(np.array([i, j, k])), Role.NOISE).roi
    assert roi.voxels > 30
    assert roi.values(air).all()


@pytest.mark.parametrize(
    ("half_mm", "said"),
    [((40, 17, 13), "wide"), ((22, 28, 18), "deep"), ((22, 17, 24), "high"), ((22, 17, 13), "")],
)
def test_an_implausible_size_is_said(half_mm, said):
    box = Box(np.zeros(3), np.eye(3), np.array(half_mm, float))
    rays = len(RAYS.directions)
    doubts = _doubts(Surface(box, np.ones(rays), np.ones(rays)), 2.0, 0.0, np.zeros(3))
    assert len(doubts) == bool(said)
    assert all(f" mm {said}; " in one for one in doubts)


@pytest.mark.parametrize("contrast", ["T2", "in_phase"])
def test_csf_stays_out_of_fat_that_is_nearly_as_bright(phantom_volumes, contrast):
    from MarrowAssessLib.catalogue.contrasts import Contrast
    from MarrowAssessLib.sample.phantom import TISSUES

    volume, tissue, _ = phantom_volumes(Contrast(contrast))
    body = place(volume, np.zeros(3), Role.MARROW).surface
    for csf in (
        place(volume, np.array([0.0, -27.0, 0.0]), Role.CSF).roi,
        csf_beside(volume, body, "L3").roi,
    ):
        assert csf.voxels * volume.voxel_volume_mm3 > 1000
        assert (tissue[csf.box][csf.mask] == list(TISSUES).index("csf")).mean() > 0.99


@pytest.mark.parametrize(("higher_mm", "told"), [(0, False), (14, True)])
def test_a_body_far_from_where_its_neighbors_let_expect_it_is_doubted(higher_mm, told):
    """L2 and L1 of five bodies 34 mm apart, moved away from L3."""
    empty = bodies.grid(5)
    signal = np.full(empty.array.shape, 30.0)
    for n in range(5):
        x, y, z = bodies.center(n, 5)
        signal[bodies.body(empty, (x, y, z + (higher_mm if n < 2 else 0)), (27, 27, 27))] = 100
    signal = ndimage.gaussian_filter(signal, (0.6, 0.6, 0.3))
    signal += np.random.default_rng(0).normal(0, 2, signal.shape)
    column = follow_column(
        empty.with_array(signal.astype(np.float32)), np.array(bodies.center(2, 5)), "L3"
    )
    assert list(column.bodies) == ["L1", "L2", "L3", "L4", "L5"]
    said = ["The body that was found lies beside where it was clicked or expected."]
    assert column.bodies["L2"].unsure == said * told
    assert not any(column.bodies[one].unsure for one in ("L1", "L3", "L4", "L5"))


def test_column_passes_a_lesion_and_finds_csf_on_a_pdff_map(phantom_volumes):
    """The lesion in L2 has 4 % fat, its neighbors about 35 %; CSF has none."""
    from MarrowAssessLib.sample.phantom import TISSUES

    volume, tissue, _ = phantom_volumes(None)
    fraction = np.array([100 * one.pdff for one in TISSUES.values()])[tissue]
    fraction = fraction + np.random.default_rng(2).normal(0, 2, tissue.shape)
    pdff = volume.with_array(fraction.astype(np.float32), "PDFF")
    column = follow_column(pdff, np.zeros(3), "L3")
    for level in ("L1", "L2", "L4"):
        truth = tissue == list(TISSUES).index(level)
        assert dice(column.bodies[level].body.full_mask(truth.shape), truth) > 0.85
    assert any("far from that" in text for text in column.bodies["L2"].roi.cautions)
    assert not column.bodies["L1"].unsure
    assert "A body beside it is unsure." in column.discs["L1-L2"].roi.cautions
    assert not column.discs["L3-L4"].unsure
    csf = column.csf.roi
    assert csf.voxels * volume.voxel_volume_mm3 > 100
    assert (tissue[csf.box][csf.mask] == list(TISSUES).index("csf")).all()


def test_unknown_level_is_refused():
    volume, _ = spine("t2")
    with pytest.raises(ValueError, match="not a vertebra"):
        follow_column(volume, np.zeros(3), "L6")


def test_one_click_disc():
    volume, labels = spine("t2")
    placed = place(volume, np.array([3.0, 2.0, APART / 2]), Role.DISC, "L2-L3")
    roi = placed.roi
    assert roi.voxels > 300
    assert np.count_nonzero(labels[roi.box][roi.mask]) == 0
    x, y = _positions(volume, roi)
    assert (np.abs(x / 22) ** 4 + np.abs(y / 17) ** 4 < 1).mean() > 0.97


@pytest.mark.parametrize(
    ("role", "point", "inside"),
    [
        (Role.CSF, (0, -27, 0), lambda x, y: (np.abs(x) < 9) & (y < -21) & (y > -34)),
        (Role.FAT, (0, -69, 0), lambda x, y: y < -62),
        (Role.MUSCLE, (20, -48, 0), lambda x, y: y > -62),
    ],
)
def test_soft_tissue_stays_in_its_tissue(role, point, inside):
    volume, _ = spine("t1", shading=0.1)
    roi = place(volume, np.array(point, float), role).roi
    assert roi.voxels > 30
    assert inside(*_positions(volume, roi)).mean() > 0.98


def test_what_hangs_on_by_a_thin_neck_stays_out():
    """On T1 disc and ligaments may be as dark as CSF and touch it."""
    volume, _ = spine("t1", spacing=(1.0, 1.0, 1.5), shading=0.0)
    x, y, z = all_ras(volume)
    volume.array[(y <= -34) & (y > -37) & (np.abs(x) < 2) & (np.abs(z) < 3)] = 45
    volume.array[(y <= -37) & (y > -45) & (np.abs(x) < 6) & (np.abs(z) < 6)] = 45
    roi = place(volume, np.array([0.0, -27.0, 0.0]), Role.CSF).roi
    assert roi.voxels > 30
    assert (y[roi.box][roi.mask] > -35).all()


def test_fat_streaks_kept_or_not():
    volume, _ = spine("t1", shading=0.0)
    i, j, _ = np.rint(volume.ras_to_ijk(np.array([20.0, -45.0, 0.0]))).astype(int)
    volume.array[:, j : j + 2, i - 6 : i + 6] = 230
    point = np.array([20.0, -50.0, 0.0])
    kept = place(volume, point, Role.MUSCLE).roi.values(volume.array)
    bare = place(volume, point, Role.MUSCLE, options=WITHOUT_FAT).roi.values(volume.array)
    assert kept.max() > 200
    assert bare.max() < 140


def with_a_vein(volume):
    """A bright basivertebral vein at the back of every body's middle: 4 mm thick, 10 mm deep."""
    x, y, z = all_ras(volume)
    vein = (np.abs(x) < 5) & (y < -4) & (y > -14)
    vein &= (np.abs((z + 2.5 * APART) % APART - APART / 2) < 2) & (np.abs(z) < 90)
    volume.array[vein] = 260
    return vein


def test_the_vein_is_kept_or_not_by_click_and_in_the_column():
    volume, _ = spine("t2", shading=0.0)
    vein = with_a_vein(volume)
    kept = place(volume, np.zeros(3), Role.MARROW, "L3").roi
    bare = place(volume, np.zeros(3), Role.MARROW, "L3", options=WITHOUT_VEIN).roi
    assert kept.values(vein).sum() > 20
    assert bare.values(vein).sum() == 0
    assert bare.voxels > 0.9 * (kept.voxels - kept.values(vein).sum())
    column = follow_column(volume, np.zeros(3), "L3", options=WITHOUT_VEIN)
    assert {level: body.roi.values(vein).sum() for level, body in column.bodies.items()} == {
        level: 0 for level in ("L1", "L2", "L3", "L4", "L5")
    }
    again = corrected(volume, column, "L2", point_ras=np.array([0, 0, APART]))
    assert again.bodies["L2"].roi.values(vein).sum() > 20  # as this click was asked
    with pytest.raises(ValueError, match="'bone' cannot be left out; vein and fat can"):
        PlacingOptions(leave_out=["bone"])


def test_the_roi_is_the_central_two_thirds_of_the_body():
    """Slices of 3 to 5 mm blur the sides into muscle and vessels."""
    volume, _ = spine("t2", spacing=(1.0, 1.0, 1.0), shading=0.0)
    found = place(volume, np.zeros(3), Role.MARROW, "L3")
    k, j, i = np.nonzero(found.roi.full_mask(volume.array.shape))
    x = np.abs(volume.to_ras(np.stack([i, j, k], -1))[:, 0])
    half = found.surface.box.half[0]
    assert half == pytest.approx(HALF[0], abs=2)
    assert x.max() <= 2 / 3 * half + 1.0
    assert x.max() > 2 / 3 * half - 2.5
    k, j, i = np.nonzero(found.body.full_mask(volume.array.shape))
    assert np.abs(volume.to_ras(np.stack([i, j, k], -1))[:, 0]).max() > 0.9 * half


def test_hot_spots_begin_at_two_and_a_half_deviations():
    rng = np.random.default_rng(3)
    values = rng.normal(100, 10, (30, 30, 30))
    values[0, 0, :4] = 100 + 10 * np.array([2.2, 2.3, 2.8, 20.0])
    kept = _typical(values, np.ones(values.shape, bool))
    assert kept[0, 0, :4].tolist() == [True, True, False, False]
    assert 1 - kept.mean() == pytest.approx(0.0124, abs=0.003)  # beyond 2.5 SD of a normal one


# --- kernels by hand ---


def test_the_optimal_surface_of_a_chain_is_that_of_all_tried():
    """Five rays, six labels: belief propagation is exact without loops."""
    rng = np.random.default_rng(0)
    rays, labels, step_mm = 5, 6, np.linspace(0.5, 1.5, 5)
    neighbors = np.full((rays, 4), -1)
    neighbors[1:, 0], neighbors[:-1, 1] = np.arange(rays - 1), np.arange(1, rays)
    tried = np.stack(np.meshgrid(*[np.arange(labels)] * rays, indexing="ij"), -1).reshape(-1, rays)
    gaps = np.diff(tried, axis=1)
    tried, gaps = (each[(np.abs(gaps) <= 3).all(1)] for each in (tried, gaps))
    for _ in range(20):
        unary = rng.uniform(0, 3, (rays, labels)).astype(np.float32)
        costs = unary[np.arange(rays), tried].sum(1)
        costs += 0.3 * (gaps**2 * step_mm[1:] * step_mm[:-1]).sum(1)
        found = optimal_surface(unary, neighbors, step_mm, 0.3, 3, 60)
        assert found.tolist() == tried[costs.argmin()].tolist()


def test_without_any_edge_the_rectangle_is_the_one_expected():
    size = 2 * SLAB_MM + 1
    slabs, weights = np.ones((1, size, size), np.float32), np.ones(1, np.float32)
    tilts, costs = np.deg2rad([-8.0, 0.0, 8.0]), np.array([1.0, 0.0, 2.0], np.float32)
    score, evidence, tilt, u0, u1, v0, v1 = _best_rectangle(
        slabs, weights, tilts, costs, PATCH_MM, SOFT_EDGE, 34.0, 4.0, 26.0, 4.0, 3.0
    )
    assert (tilt, u1 - u0, v1 - v0) == (1, 34, 26)
    assert score == evidence == 0


def test_unlike_signal_counts_by_the_square_of_its_logarithm_up_to_one():
    weights = np.array([0.75, 0.25], np.float32)
    half, other = np.exp(0.5 * UNLIKE_SD), np.exp(-2 * UNLIKE_SD)  # 0.5 and 2 SDs from marrow
    slabs = np.ones((2, 41, 41), np.float32) * np.float32([half, other])[:, None, None]
    unlike = _integrals(slabs, weights, 1.0, 0.0, 21, SOFT_EDGE)[-1]
    assert unlike[-1, -1] == pytest.approx(21**2 * (0.75 * 0.25 + 0.25 * 1), rel=1e-4)


@pytest.mark.parametrize(("thick_mm", "enough"), [(4, False), (16, True)])
def test_a_muscle_thinner_than_its_margin_has_no_region_and_says_so(thick_mm, enough):
    values = np.random.default_rng(0).normal(400, 4, (30, 40, 40)).astype(np.float32)
    values[:, 20 - thick_mm // 2 : 20 + thick_mm // 2] = 100
    sheet = Volume(values, np.eye(4), "T1")
    found = tissue.grow(sheet, np.array([20.0, 20, 15]), Role.MUSCLE, "left psoas", 3.0)
    said = "Too little muscle was found round the click for a margin of 3 mm."
    assert bool(found.roi.voxels) is enough and (said in found.unsure) is not enough
