"""Heights of digital bodies of known shape, planted losses, edema; each refusal and caution."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.fracture import grade
from MarrowAssessLib.fracture.edema import (
    CLEFT,
    FLUID_SIGN,
    NO_EDEMA_IMAGE,
    PUBLISHED_GROUPS,
    PUBLISHED_RATIOS,
    marrow_signals,
)
from MarrowAssessLib.fracture.endplates import at_edges
from MarrowAssessLib.fracture.grade import assess_heights, grade_of
from MarrowAssessLib.fracture.heights import measure_body
from MarrowAssessLib.fracture.outlines import surfaces_of_masks
from MarrowAssessLib.placement.vertebra import RAYS, Box, Surface, surface_of_mask, tilted_axes
from PDFFMapperLib.images.volume import Volume
from scipy import ndimage

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "Testing"))

from phantoms.bodies import body, center, column, grid, reduced  # noqa: E402

EVEN = (25.0, 24.0, 26.0)  # anterior, middle, posterior, mm
LEVELS = ("T12", "L1", "L2", "L3", "L4")


def usual(level: str) -> tuple[float, float, float]:
    """Heights that lie on the line expected of a healthy column."""
    lower = {"T12": 2, "L1": 1}.get(level, 0)
    return tuple((1 - grade.TAPER) ** lower * np.array(EVEN))


@pytest.fixture(scope="module")
def healthy():
    """Five healthy bodies; tests plant in a copy of the outlines."""
    volume, masks = column({level: usual(level) for level in LEVELS})
    return volume, masks, surfaces_of_masks(volume, masks)


def with_heights(healthy, **heights: tuple[float, float, float]) -> dict[str, Surface]:
    """The column with other heights at some levels: each body is drawn and outlined anew."""
    volume, _, surfaces = healthy
    made = dict(surfaces)
    for level, mm in heights.items():
        mask = body(volume, center(LEVELS.index(level), len(LEVELS)), mm)
        made[level] = surface_of_mask(volume, mask, (0, 0, 0), surfaces[level].box.axes)
    return made


def test_an_outline_gives_heights_with_the_error_that_was_seen():
    """.7 mm in a body of usual depth; its three heights are the less alike the deeper it is."""
    spread, deeper = (
        grade._height_spread(SimpleNamespace(depth_mm=mm), grade.OUTLINE_SD_MM) for mm in (34, 60)
    )
    assert np.sqrt(np.diag(spread)) == pytest.approx(0.7, abs=0.03)
    assert spread[0, 2] < 0.01 * spread[0, 0] < 0.1 * spread[0, 0] < spread[0, 1]
    assert deeper[0, 1] < 0.1 * spread[0, 1]


def test_heights_of_known_bodies_without_bias():
    errors = []
    turns = (0.0, (2.0, 1.0, 1.0)), (25.0, (4.0, 0.8, 0.8)), (-35.0, (1.0, 1.0, 1.0))
    for tilt, spacing in turns:
        three = {"L1": (24.0, 25.0, 27.0), "L2": (20.0, 24.0, 28.0), "L3": (26.0, 20.0, 26.5)}
        volume, masks = column(three, spacing, tilt)
        for level, surface in surfaces_of_masks(volume, masks).items():
            found = measure_body(surface)
            errors.append(found.mm - three[level])
            assert found.depth_mm == pytest.approx(32, abs=0.8)
    errors = np.array(errors)
    assert np.abs(errors.mean(axis=0)).max() <= 0.3
    assert np.abs(errors).max() <= 0.8


def test_heights_follow_the_body_not_the_image(healthy):
    """The same outline in axes 20 degrees off gives the same heights."""
    volume, masks, surfaces = healthy
    turned = surface_of_mask(volume, masks["L2"], (0, 0, 0), tilted_axes(20.0, 10.0))
    straight, other = measure_body(surfaces["L2"]), measure_body(turned)
    np.testing.assert_allclose(other.mm, straight.mm, atol=0.5)
    assert np.rad2deg(np.arccos(straight.head @ other.head)) < 2


@pytest.mark.parametrize("disc", [0.4, 1.5])  # darker and brighter than marrow
def test_endplates_lie_at_the_edges_of_the_image(healthy, disc):
    """An outline that is 1.5 mm off, and blind to a wedge, is mended by the image."""
    volume, _, surfaces = healthy
    three = (20.0, 24.0, 28.0)
    mask = body(volume, center(2, len(LEVELS)), three)
    outside = ndimage.distance_transform_edt(~mask, sampling=volume.spacing[::-1])
    signal = np.where(mask, 100.0, np.where(outside < 2, 15.0, 100 * disc))
    signal = ndimage.gaussian_filter(signal, (0.8, 0.8, 0.3))
    signal += np.random.default_rng(0).normal(0, 3, signal.shape)
    image = volume.with_array(signal.astype(np.float32))
    grown = body(volume, center(2, len(LEVELS)), (23.0, 25.5, 28.0))
    outline = surface_of_mask(volume, grown, (0, 0, 0), surfaces["L2"].box.axes)
    assert np.abs(measure_body(outline).mm - three).max() > 2
    np.testing.assert_allclose(measure_body(outline, image).mm, three, atol=1.2)
    # Where the image shows no edge, or no marrow, the outline stays.
    for level in (100.0, 0.0):
        blank = volume.with_array(np.full(signal.shape, level, np.float32))
        np.testing.assert_array_equal(measure_body(outline, blank).mm, measure_body(outline).mm)


@pytest.mark.parametrize(("edge_mm", "moved"), [(3.0, 3.0), (-3.0, -3.0), (4.75, 0.0)])
def test_an_edge_beyond_reach_is_another_structure_s(edge_mm, moved):
    """Bright marrow ends that far from the outline's endplate; 4 mm are looked over."""
    to_ras = np.diag([1.0, 1.0, 0.25, 1.0])
    to_ras[2, 3] = -10.0
    height = -10 + 0.25 * np.arange(81)
    signal = np.broadcast_to(100.0 * (height <= edge_mm)[:, None, None], (81, 30, 3))
    starts = np.stack([np.ones(30), np.arange(30.0), np.zeros(30)], -1)[None]
    volume = Volume(signal.astype(np.float32), to_ras, "T1")
    found = at_edges(volume, starts, np.array([0.0, 0.0, 1.0]), np.zeros((1, 30)))
    np.testing.assert_allclose(found, moved, atol=0.75 if moved else 0)  # half an edge's width


def test_wedges_by_standard_deviations(healthy):
    """L1's Ha/Hp is .89 +- .06: 3 SD below it lies .71; a crushed back hides it from Eastell."""
    for three, words in (
        ((20.0, 22.0, 25.0), "no wedge by Eastell"),  # .80
        ((16.0, 20.0, 25.0), "wedge by Eastell, by McCloskey"),  # .64
        ((20.5, 25.0, 30.0), "wedge by Eastell, not by McCloskey"),  # the back is high: .68, .82
    ):
        found = assess_heights(with_heights(healthy, L1=three), healthy[0]).bodies["L1"]
        assert found.wedge_by_sd == words
        assert found.wedge_z == pytest.approx((found.heights.wedge - 0.89) / 0.06)
        expected = (found.heights.anterior_mm / found.expected_mm[2] - 0.89) / 0.06
        assert found.wedge_z_expected == pytest.approx(expected)
    assert assess_heights(healthy[2], healthy[0]).bodies["L3"].wedge_by_sd == ""


def test_shape_of_a_body(healthy):
    found = measure_body(with_heights(healthy, L2=(20.0, 24.0, 28.0))["L2"])
    # 8 mm over 70 % of 32 mm, half of it at each endplate.
    assert found.kyphosis_deg == pytest.approx(2 * np.rad2deg(np.arctan(4 / 22.4)), abs=1.5)
    assert found.wedge == pytest.approx(20 / 28, abs=0.03)
    hollow = measure_body(with_heights(healthy, L2=(26.0, 18.0, 26.0))["L2"])
    assert hollow.depression_mm == pytest.approx((4.0, 4.0), abs=0.7)
    assert hollow.concavity == pytest.approx(18 / 26, abs=0.03)
    assert not hollow.pit
    assert found.bulge_mm < 0.6


def test_a_bulging_back_wall_is_measured(healthy):
    volume, masks, surfaces = healthy
    k, j, i = np.indices(volume.array.shape)
    points = volume.to_ras(np.stack([i, j, k], -1).reshape(-1, 3)) - surfaces["L2"].box.center
    bump = ((points - [0, -16, 0]) / [10, 4, 6]) ** 2
    mask = masks["L2"] | (bump.sum(axis=1) <= 1).reshape(masks["L2"].shape)
    found = measure_body(surface_of_mask(volume, mask, (0, 0, 0), surfaces["L2"].box.axes))
    assert found.bulge_mm == pytest.approx(4, abs=1)


def test_what_is_usual_at_a_level():
    """4 % lower from one body to the next above L2; the lowest lumbar one is low at the back."""
    np.testing.assert_allclose(grade._usual("L2", "L5"), 1)
    np.testing.assert_allclose(grade._usual("T12", "L5"), 0.96**2)
    np.testing.assert_allclose(grade._usual("L5", "L5"), [1, 0.934, 0.868], atol=0.001)
    np.testing.assert_allclose(grade._usual("L5", "L6"), 1)


def test_genants_grades():
    losses = [-5, 19.9, 20, 24.9, 25, 39.9, 40, 80]
    assert [grade_of(loss) for loss in losses] == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("heights", "shape"),
    [
        (lambda share: (25 * (1 - share), 24 * (1 - share / 2), 26), "wedge"),
        (lambda share: (25, 24 * (1 - share), 26), "biconcave"),
        (lambda share: (25 * (1 - share), 24 * (1 - share), 26 * (1 - share)), "crush"),
    ],
)
def test_planted_losses_are_measured_within_four_points(healthy, heights, shape):
    for share in (0.15, 0.3, 0.5):
        result = assess_heights(with_heights(healthy, L2=heights(share)), healthy[0])
        found = result.bodies["L2"]
        assert found.loss == pytest.approx(100 * share, abs=4)
        low, high = found.loss_ci95
        assert low < found.loss < high
        assert found.grade_range[0] <= found.grade <= found.grade_range[1]
        assert found.shape == (shape if found.grade else "")
        assert ("L2" in result.unaffected) == (share < 0.2)
        assert result.deformity_index == found.grade  # all others are healthy
    assert found.text.startswith("L2 height loss ")
    assert found.text.endswith(f"grade 3 {shape}")


def test_pressed_masks_keep_what_they_say(healthy):
    """The planting of the benchmark, against the digital truth."""
    volume, masks, surfaces = healthy
    mask, kept = reduced(volume, masks["L2"], surfaces["L2"], "wedge", 0.3)
    pressed = surface_of_mask(volume, mask, (0, 0, 0), surfaces["L2"].box.axes)
    before, after = measure_body(surfaces["L2"]).mm, measure_body(pressed).mm
    np.testing.assert_allclose(after / before, kept, atol=0.04)


def test_the_interval_holds_what_drawing_anew_gives():
    """Of bodies outlined with errors as assumed, 95 % of intervals hold the true loss."""
    random = np.random.default_rng(3)
    truth = np.array([0.75, 0.85, 1.0]) * EVEN
    held = 0
    usual_body = measure_body(_box_surface(EVEN))
    for _ in range(200):
        spread = grade._height_spread(usual_body, grade.OUTLINE_SD_MM)
        drawn = {}
        for level in LEVELS:
            mm = truth if level == "L2" else np.array(usual(level))
            noisy = random.multivariate_normal(mm, spread)
            drawn[level] = _with_mm(usual_body, noisy)
        noise = {
            level: random.multivariate_normal(np.zeros(3), spread, grade.DRAWS) for level in LEVELS
        }
        others = tuple(level for level in LEVELS if level != "L2")
        low, high = grade._height_loss("L2", drawn, others, noise, False).loss_ci95
        held += low <= 25 <= high
    assert 180 <= held <= 199


def _box_surface(heights) -> Surface:
    volume = grid(1)
    mask = body(volume, (0, 0, 0), heights)
    return surface_of_mask(volume, mask, (0, 0, 0), np.eye(3))


def _with_mm(heights, mm):
    from dataclasses import replace

    return replace(heights, anterior_mm=mm[0], middle_mm=mm[1], posterior_mm=mm[2])


def test_neighboring_fractures_do_not_hide_each_other(healthy):
    low = tuple(0.6 * np.array(EVEN))
    result = assess_heights(with_heights(healthy, L1=low, L2=low), healthy[0])
    assert result.unaffected == ("T12", "L3", "L4")
    assert result.bodies["T12"].grade == 0
    assert result.bodies["L2"].loss == pytest.approx(40, abs=4)


def test_a_low_grade_without_depression_is_named_so(healthy):
    short = tuple(0.77 * np.array(EVEN))
    found = assess_heights(with_heights(healthy, L2=short), healthy[0]).bodies["L2"]
    assert (found.grade, found.depressed) == (1, False)
    assert grade.LOW_ONLY in found.cautions
    hollow = assess_heights(with_heights(healthy, L2=(25, 18.6, 26)), healthy[0]).bodies["L2"]
    assert (hollow.grade, hollow.depressed) == (1, True)
    assert grade.LOW_ONLY not in hollow.cautions


def test_a_pit_is_not_a_low_body(healthy):
    """A Schmorl's node: 8 mm wide, 7 mm deep, in the upper endplate."""
    volume, masks, surfaces = healthy
    k, j, i = np.indices(volume.array.shape)
    points = volume.to_ras(np.stack([i, j, k], -1).reshape(-1, 3)) - surfaces["L2"].box.center
    pit = ((points - [0, 0, 12]) / [12, 4, 7]) ** 2
    mask = masks["L2"] & (pit.sum(axis=1) > 1).reshape(masks["L2"].shape)
    outline = surface_of_mask(volume, mask, (0, 0, 0), surfaces["L2"].box.axes)
    result = assess_heights({**surfaces, "L2": outline}, volume)
    found = result.bodies["L2"]
    assert found.heights.pit
    assert found.grade == 0
    assert grade.PIT in found.cautions
    assert "L2" not in result.bodies["L3"].references


def test_two_bodies_taken_for_one_are_told_and_serve_nobody(healthy):
    tall = assess_heights(with_heights(healthy, L2=(36, 35, 37)), healthy[0])
    assert grade.TALL_BODY in tall.bodies["L2"].cautions
    assert "L2" not in tall.unaffected
    assert all(found.grade == 0 for found in tall.bodies.values())


def test_too_few_bodies_give_heights_but_no_loss(healthy):
    volume, _, surfaces = healthy
    result = assess_heights({"L2": surfaces["L2"], "L3": surfaces["L3"]}, volume)
    found = result.bodies["L2"]
    assert (found.grade, found.loss_ci95, result.deformity_index) == (None, None, None)
    assert "Only 1 other body is unaffected" in found.cautions[0]
    assert found.text == "L2 heights 25/24/26 mm, no height loss: too few unaffected bodies"
    assert found.wedge_z == pytest.approx((25 / 26 - 0.90) / 0.07, abs=0.4)


def test_ends_of_the_column_are_less_sure(healthy):
    bodies = assess_heights(healthy[2], healthy[0]).bodies
    assert grade.ONE_SIDE in bodies["T12"].cautions
    assert grade.ONE_SIDE not in bodies["L2"].cautions
    assert np.isnan(bodies["T12"].posterior_ratio)
    assert bodies["L2"].posterior_ratio == pytest.approx(26 / (0.98 * 26), abs=0.03)


def test_l5_is_higher_in_front(healthy):
    """A body with the usual shape of L5 is not low, and does not make L4 look low."""
    volume, _, surfaces = healthy
    l5 = with_heights(healthy, L4=tuple(np.array(EVEN) * grade.SHORT_BACK))["L4"]
    shifted = dict(zip(("L1", "L2", "L3", "L4"), list(surfaces.values())[:4], strict=True))
    result = assess_heights({**shifted, "L5": l5}, volume)
    assert np.abs(result.bodies["L5"].loss_percent).max() < 7
    assert result.bodies["L4"].grade == 0


def test_a_cut_body_is_refused(healthy):
    volume, masks, _ = healthy
    top = int(np.argwhere(masks["T12"])[:, 0].max()) - 6
    shown = Volume(volume.array[:top], volume.ijk_to_ras, "cut")
    cut = {level: mask[:top] for level, mask in masks.items()}
    result = assess_heights(surfaces_of_masks(shown, cut), shown)
    assert result.refused == {"T12": "The image ends at T12; its heights cannot be measured."}
    assert "T12" not in result.unaffected
    front = int(np.argwhere(masks["L2"])[:, 1].max()) - 6
    shown = Volume(volume.array[:, :front], volume.ijk_to_ras, "cut in front")
    cut = {level: mask[:, :front] for level, mask in masks.items()}
    assert set(assess_heights(surfaces_of_masks(shown, cut), shown).refused) == set(LEVELS)


def test_levels_that_are_not_graded(healthy):
    volume, _, surfaces = healthy
    refused = assess_heights({"S1": surfaces["L4"], "V3": surfaces["L3"]}, volume).refused
    assert refused["S1"].startswith("Heights are graded from T1")
    assert refused["V3"] == "V3 is not a known level; name the vertebra first."


def test_an_outline_without_endplates_is_refused(healthy):
    volume, _, surfaces = healthy
    box = surfaces["L2"].box
    radii = np.where(np.arange(len(surfaces["L2"].radii)) % 2, 0.1, 1.0)
    spiky = Surface(Box(box.center, box.axes, box.half), radii, np.ones(len(radii)))
    assert "it has no two endplates" in assess_heights({"L2": spiky}, volume).refused["L2"]
    _, front, head = RAYS.directions.T
    horns = np.where((np.abs(front) > 0.35) & (head > -0.2), 1.0, 0.1)  # a U: its middle is open
    open_above = Surface(Box(box.center, box.axes, box.half), horns, np.ones(len(radii)))
    assert "its middle lies outside" in assess_heights({"L2": open_above}, volume).refused["L2"]


def test_unsure_bodies_serve_nobody(healthy):
    result = assess_heights(healthy[2], healthy[0], unsure=("L3",))
    assert "L3" not in result.bodies["L2"].references
    assert "Its outline is unsure; look at it first." in result.bodies["L3"].cautions


def test_wrong_input(healthy):
    volume, masks, surfaces = healthy
    with pytest.raises(ValueError, match="expected more than 0 mm"):
        assess_heights(surfaces, volume, outline_sd_mm=0)
    with pytest.raises(ValueError, match="mask of L1 is empty"):
        surfaces_of_masks(volume, {"L1": np.zeros_like(masks["L1"])})
    with pytest.raises(ValueError, match="draw on the image's grid"):
        surfaces_of_masks(volume, {"L1": masks["L1"][1:]})


# Edema: signals known by construction.


def image(healthy, level: str, where, signal: float, normal: float = 100.0) -> Volume:
    volume, masks, _ = healthy
    random = np.random.default_rng(1)
    array = np.full(volume.array.shape, 20.0)
    for n, mask in enumerate(masks.values()):
        array[mask] = normal * (1 + 0.02 * n)
    k = np.indices(volume.array.shape)[0]
    array[masks[level] & where(k - np.argwhere(masks[level])[:, 0].mean())] = signal
    return volume.with_array((array + random.normal(0, 10, array.shape)).astype(np.float32))


@pytest.mark.parametrize(
    ("where", "form", "share"),
    [(lambda k: k < 99, "diffuse", 1.0), (lambda k: k > 4, "band", 0.33)],
)
def test_edema_and_its_form(healthy, where, form, share):
    volume = image(healthy, "L2", where, 200)
    others = [level for level in LEVELS if level != "L2"]
    signals, without = marrow_signals(volume, Contrast.FS_T2, healthy[2], others)
    assert not without
    assert [level for level in LEVELS if signals[level].present] == ["L2"]
    found = signals["L2"]
    assert found.form == form
    assert found.share == pytest.approx(share, abs=0.1)
    assert found.worst_ratio == pytest.approx(200 / 104, abs=0.15)
    assert found.text == f"edema ({form}, {100 * found.share:.0f} % of the body)"
    assert signals["L3"].text == "no edema"
    assert 0.3 < signals["L3"].z < 2


def test_an_area_as_bright_as_csf_is_the_fluid_sign(healthy):
    """A band of 500 in marrow of 200 beside CSF of 520; edema alone is none."""
    volume = image(healthy, "L2", lambda k: k < 99, 200)
    k = np.indices(volume.array.shape)[0]
    middle = np.argwhere(healthy[1]["L2"])[:, 0].mean()
    volume.array[healthy[1]["L2"] & (k > middle + 5)] = 500
    others = [level for level in LEVELS if level != "L2"]
    given = (volume, Contrast.FS_T2, healthy[2], others)
    found = marrow_signals(*given, fluid=520.0)[0]
    assert found["L2"].text.endswith(", fluid sign")
    assert FLUID_SIGN in found["L2"].cautions
    assert found["L3"].fluid_share == 0
    assert marrow_signals(*given)[0]["L2"].fluid_share is None  # no CSF, nothing said
    assert not marrow_signals(*given, fluid=900.0)[0]["L2"].fluid_sign


@pytest.mark.parametrize(
    ("place", "t1", "cleft"),
    [
        (lambda z, y: z > 5, 30, True),  # a band, dark on T1
        (lambda z, y: z > 5, 85, False),  # no darker than marrow: fat that was not suppressed
        (lambda z, y: y > 8, 30, False),  # dark, and as high as the body: fluid, but no band
    ],
)
def test_a_cleft_is_a_band_of_fluid_that_is_dark_on_t1(healthy, place, t1, cleft):
    volume = image(healthy, "L2", lambda k: k < 99, 200)
    where = np.indices(volume.array.shape)
    middle = np.argwhere(healthy[1]["L2"]).mean(axis=0)
    area = healthy[1]["L2"] & place(where[0] - middle[0], where[1] - middle[1])
    volume.array[area] = 500
    dark = image(healthy, "L2", lambda k: k < -99, 0)
    dark.array[area] = t1
    others = [level for level in LEVELS if level != "L2"]
    given = (volume, Contrast.FS_T2, healthy[2], others)
    found = marrow_signals(*given, fluid=520.0, t1=dark)[0]
    assert found["L2"].fluid_sign
    assert found["L2"].cleft is cleft
    assert found["L2"].text.endswith(", fluid sign, cleft" if cleft else ", fluid sign")
    assert (CLEFT in found["L2"].cautions) is cleft
    assert not any(found[level].cleft for level in others)
    assert marrow_signals(*given, fluid=520.0)[0]["L2"].cleft is None  # no T1, nothing said
    assert marrow_signals(*given, t1=dark)[0]["L2"].cleft is None  # no CSF, nothing said
    dark.array[healthy[1][others[0]]] = np.nan  # a T1 that ends there: the others tell
    assert marrow_signals(*given, fluid=520.0, t1=dark)[0]["L2"].cleft is cleft
    dark.array[healthy[1]["L2"]] = np.nan
    assert marrow_signals(*given, fluid=520.0, t1=dark)[0]["L2"].cleft is None


def test_patchy_edema(healthy):
    volume = image(healthy, "L2", lambda k: k < -99, 0)
    volume.array[healthy[1]["L2"] & (np.indices(volume.array.shape)[1] > 42)] = 220
    found = marrow_signals(volume, Contrast.FS_T2, healthy[2], LEVELS)[0]["L2"]
    assert found.form == "patchy"


def test_dark_marrow_on_t1_is_not_called_edema(healthy):
    volume = image(healthy, "L2", lambda k: k < 99, 40)
    found = marrow_signals(volume, Contrast.T1, healthy[2], LEVELS)[0]["L2"]
    assert found.present
    assert found.text.startswith("low T1 signal (diffuse")
    assert NO_EDEMA_IMAGE in found.cautions
    assert PUBLISHED_GROUPS not in found.cautions
    assert found.ratio == pytest.approx(0.4, abs=0.05)


def test_published_groups_stand_beside_a_body_with_little_fat_and_give_no_verdict(healthy):
    volume = image(healthy, "L2", lambda k: k < 99, 10, normal=45)
    signals = marrow_signals(volume, Contrast.PDFF, healthy[2], LEVELS)[0]
    assert signals["L2"].text.startswith("little fat (diffuse")
    assert PUBLISHED_GROUPS in signals["L2"].cautions
    assert not signals["L3"].cautions
    fractions = marrow_signals(volume, Contrast.FAT_FRACTION, healthy[2], LEVELS)[0]
    assert [one.z for one in fractions.values()] == [one.z for one in signals.values()]


def test_published_ratios_stand_beside_edema_and_low_bodies_as_unverified(healthy):
    """Read in an abstract: no verdict, and said so; nothing beside a body without either."""
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.measures.book import Settings

    volume = image(healthy, "L2", lambda k: k < 99, 300)
    signals = marrow_signals(volume, Contrast.FS_T2, healthy[2], LEVELS)[0]
    assert PUBLISHED_RATIOS in signals["L2"].cautions
    assert not signals["L3"].cautions
    assert "no verdict, unverified (read in an abstract only" in PUBLISHED_RATIOS
    made = study(healthy, {"L1": tuple(np.array([0.65, 0.82, 1.0]) * usual("L1"))})
    in_phase = made.volumes[Contrast.T1]
    made.volumes[Contrast.IN_PHASE] = in_phase
    made.volumes[Contrast.OPPOSED_PHASE] = in_phase.with_array(in_phase.array * 1.1)
    for asked in (True, False):
        found = assess(made, Settings(fractures=asked)).results
        said = {
            r.measurement.site: r.tone
            for r in found
            if r.measurement.quantity == "opposed_in_ratio"
            and PUBLISHED_RATIOS in r.measurement.cautions
        }
        assert list(said) == (["L1"] if asked else [])


def test_an_image_without_noise_has_an_sd_of_a_twentieth(healthy):
    """10 % brighter than others that are all alike is 2 SD and no edema; 20 % is."""
    volume, masks, surfaces = healthy
    for brighter, present in ((1.1, False), (1.2, True)):
        array = np.full(volume.array.shape, 100, np.float32)
        array[masks["L2"]] = 100 * brighter
        found = marrow_signals(volume.with_array(array), Contrast.FS_T2, surfaces, LEVELS)[0]
        assert found["L2"].z == pytest.approx(20 * (brighter - 1), abs=0.01)
        assert found["L2"].present is present


def test_nothing_to_compare_with(healthy):
    volume = image(healthy, "L2", lambda k: k < 99, 200)
    signals, without = marrow_signals(volume, Contrast.FS_T2, healthy[2], ("L3",))
    assert not signals
    assert without["L2"].startswith("Fewer than two other bodies")
    small = {"L2": healthy[2]["L2"]}
    far = Volume(volume.array, volume.ijk_to_ras + np.eye(4)[:, 3:] @ [[0, 0, 0, 900.0]], "far")
    assert "lies in the image" in marrow_signals(far, Contrast.FS_T2, small, ())[1]["L2"]
    with pytest.raises(ValueError, match="does not tell edema"):
        marrow_signals(volume, Contrast.WATER, healthy[2], LEVELS)


def test_volunteers_are_not_called_low(shared):
    """Experts' labels of one volunteer on two contrasts: no body is low, heights agree."""
    from PDFFMapperLib.images.files import read_volume

    names = ("L5", "L4", "L3", "L2", "L1")
    heights = []
    for case in ("DzZ_T1", "DzZ_T2"):
        labels = read_volume(shared / "cases" / "spine" / f"{case}_vertebrae.nii.gz")
        masks = {level: labels.array == n for n, level in enumerate(names, 2)}
        found = assess_heights(surfaces_of_masks(labels, dict(reversed(masks.items()))), labels)
        assert all(body.grade == 0 for body in found.bodies.values())
        assert found.bodies["L3"].heights.pit  # it has a Schmorl's node
        heights.append([body.heights.mm for body in found.bodies.values()])
    assert np.std(np.subtract(*heights)) < 0.3 and np.abs(np.subtract(*heights)).max() < 1
    np.testing.assert_allclose(heights[0][0], (27.15, 26.96, 26.19), atol=0.1)  # L1 on T1
    np.testing.assert_allclose(heights[0][2], (28.46, 19.35, 25.01), atol=0.1)  # L3, with its pit


# As quantities and on the command line.


def study(healthy, heights=None, edema="", margin=0):
    """The digital column as label regions of a study with T1 and fat-suppressed T2."""
    from MarrowAssessLib.catalogue.anatomy import Role
    from MarrowAssessLib.placement.body import eroded
    from MarrowAssessLib.study.regions import Region
    from MarrowAssessLib.study.study import Study

    volume, masks, _ = healthy
    masks = {**masks}
    for level, mm in (heights or {}).items():
        masks[level] = body(volume, center(LEVELS.index(level), len(LEVELS)), mm)
    changed = (volume, masks, None)
    stir = image(changed, edema or "L2", lambda k: k < 99 if edema else k < -99, 200)
    t1 = image(changed, "L2", lambda k: k < -99, 0)
    regions = [
        Region.from_mask(f"{level} marrow", Role.MARROW, level, eroded(mask, volume, margin))
        for level, mask in masks.items()
    ]
    return Study({Contrast.T1: t1, Contrast.FS_T2: stir}, regions, 60, "F")


def test_bodies_without_neighbors_are_named_in_what_was_left_out(healthy):
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.measures.book import Settings

    two = study(healthy)
    two.regions = [one for one in two.regions if one.site in ("L2", "L3")]
    left_out = [one.reason for one in assess(two, Settings(fractures=True)).skipped]
    assert "L2 heights 25/24/26 mm, no height loss: too few unaffected bodies" in left_out


def test_rows_of_a_report(healthy):
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.findings.result import Result
    from MarrowAssessLib.findings.summary import headlines
    from MarrowAssessLib.measures.book import Settings
    from MarrowAssessLib.measures.measurement import Measurement
    from MarrowAssessLib.report.data import as_dict

    wedge = tuple(np.array([0.65, 0.82, 1.0]) * usual("L1"))
    found = assess(study(healthy, {"L1": wedge}, "L1"), Settings(fractures=True))
    rows = {(r.measurement.quantity, r.measurement.site): r for r in found.results}
    loss = rows["height_loss", "L1"]
    assert loss.measurement.value == pytest.approx(35, abs=4)
    words = loss.measurement.words
    assert "grade 2" in words
    assert "wedge, edema (diffuse" in words
    assert loss.tone == "unusual"
    assert rows["height_loss", "L3"].tone == "expected"
    low, high = (round(end) for end in loss.measurement.ci95)
    assert words.startswith(f"{low}-{high} %, grade 2")
    whole = [r for (q, _), r in rows.items() if q == "height_loss" and r.measurement.ci95[1] < 20]
    assert {r.measurement.words for r in whole} == {"grade 0, no edema"}
    lines = [one.text for one in headlines(found) if "grade 0, no edema" in one.text]
    assert len(lines) == 1 and len(whole) > 1
    assert rows["height_grade", "L1"].measurement.value == 2
    index = rows["deformity_index", "T12-L4"].measurement
    assert index.value == 2
    assert "Of 5 bodies in view; the index is meant for T4 to L4." in index.cautions
    assert rows["wedge_ratio", "L1"].measurement.value == pytest.approx(0.65 * 25 / 26, abs=0.03)
    assert "z -4" in rows["wedge_ratio", "L1"].measurement.how
    assert rows["edema_share", "L1"].measurement.value > 90
    assert rows["edema_share", "L3"].measurement.value < 5
    assert rows["t1_body_ratio", "L1"].measurement.value == pytest.approx(1, abs=0.1)
    for level in ("L1", "L3"):  # signal of which nothing sure can be said
        signal = Measurement("t1_marrow_muscle", level, 1.2, (f"{level} marrow",))
        found.results.append(Result(signal, None, "", None, None, "no reference", []))
    assert found.color_of("L1 marrow").measurement.quantity == "height_loss"  # unusual
    assert found.color_of("L3 marrow").measurement.quantity == "t1_marrow_muscle"
    del found.results[-2:]
    lines = headlines(found)
    told = [line.text for line in lines]
    assert any(line.startswith("L1 Height loss 3") and "10.1002/jbmr" in line for line in told)
    data = as_dict(found, lines)
    assert data["settings"]["fractures"] is True
    assert any(one["words"].endswith("of the body)") for one in data["measurements"])
    schema = REPOSITORY / "MarrowAssess/Resources/Schemas/assessment.schema.json"
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(json.loads(json.dumps(data)), json.loads(schema.read_text()))


def test_a_user_s_own_controls_judge_heights_at_their_level(healthy, tmp_path, monkeypatch):
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.measures.book import Settings
    from MarrowAssessLib.references import own_controls

    monkeypatch.setenv("MARROWASSESS_COHORTS", str(tmp_path))
    rng = np.random.default_rng(6)
    for age in range(40, 62):  # women whose L1 is as high in front as at the back
        values = {"wedge_ratio": rng.normal(1.0, 0.04), "anterior_height": rng.normal(24, 1.2)}
        numbers = [
            {"quantity": quantity, "site": "L1", "value": value, "doubtful": []}
            for quantity, value in values.items()
        ]
        patient = {"age_years": float(age), "sex": "F"}
        own_controls.add_assessment({"patient": patient, "measurements": numbers}, name="ours")
    for share, tone in ((0.97, "expected"), (0.65, "unusual")):
        wedge = tuple(np.array([share, (1 + share) / 2, 1.0]) * usual("L1"))
        found = assess(study(healthy, {"L1": wedge}, "L1"), Settings(fractures=True))
        rows = {(r.measurement.quantity, r.measurement.site): r for r in found.results}
        for quantity in ("wedge_ratio", "anterior_height"):
            assert rows[quantity, "L1"].tone == tone
            source = rows[quantity, "L1"].expectation.distribution.source
            assert source == "control cohort 'ours'"
            assert rows[quantity, "L3"].expectation is None  # no control has it


def test_no_rows_unless_asked_for(healthy):
    from MarrowAssessLib.measures.measure import measure

    found = measure(study(healthy))
    assert not [one for one in found.measurements if "height" in one.quantity]


def test_measurement_regions_are_not_bodies(healthy):
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.findings.verdict import notes
    from MarrowAssessLib.measures.book import Settings
    from MarrowAssessLib.measures.heights import SMALL_REGIONS

    found = assess(study(healthy, margin=4), Settings(fractures=True))
    assert not [one for one in found.results if one.measurement.quantity == "height_loss"]
    reasons = [one.reason for one in found.skipped if one.quantity == "height_loss"]
    assert reasons == [SMALL_REGIONS]
    said = f"No heights: {SMALL_REGIONS}."
    assert said in notes(found) and said not in notes(assess(study(healthy, margin=4)))
    assert "No heights" not in "".join(notes(assess(study(healthy), Settings(fractures=True))))


def test_a_region_inside_a_found_body_has_its_heights(healthy):
    """The outline goes with the region, whatever its margin, as from a click."""
    from MarrowAssessLib.measures.book import Settings
    from MarrowAssessLib.measures.measure import measure

    one = study(healthy, margin=4)
    for region in one.regions:
        region.outline = healthy[2][region.site]
    found = measure(one, Settings(fractures=True, erosion_mm=1.0))
    heights = {m.site: m for m in found.measurements if m.quantity == "posterior_height"}
    assert heights["L2"].value == pytest.approx(26, abs=0.5)
    assert heights["L2"].how == "outline found"


def test_regions_that_are_no_single_body(healthy):
    from dataclasses import replace

    from MarrowAssessLib.measures.book import Settings
    from MarrowAssessLib.measures.measure import measure
    from MarrowAssessLib.sources.label_maps import WHOLE_VERTEBRA

    one = study(healthy)
    one.regions[0].cautions.append(WHOLE_VERTEBRA)
    one.regions.append(replace(one.regions[2], name="L2 again"))
    reasons = [s.reason for s in measure(one, Settings(fractures=True)).skipped]
    assert "T12 marrow holds the arch as well; heights need the body alone." in reasons
    assert "L2 again: L2 marrow was used for its level." in reasons


def test_on_the_command_line(healthy, tmp_path):
    from MarrowAssessLib.commands.main import main
    from PDFFMapperLib.images.files import write_volume

    crush = tuple(0.55 * np.array(usual("L2")))
    made = study(healthy, {"L2": crush})
    labels = np.zeros(made.grid.array.shape, np.int16)
    for n, region in enumerate(made.regions, 1):
        labels[region.box][region.mask] = n
    write_volume(made.volumes[Contrast.T1], tmp_path / "t1.nrrd")
    write_volume(made.grid.with_array(labels), tmp_path / "labels.nrrd")
    named = [f"--label={n}=marrow:{level}" for n, level in enumerate(LEVELS, 1)]
    out = tmp_path / "out"
    files = [f"--volume=T1={tmp_path / 't1.nrrd'}", f"--labels={tmp_path / 'labels.nrrd'}"]
    assert main(["assess", *files, *named, "--fractures", "--no-scene", f"--out={out}"]) == 0
    data = json.loads((out / "assessment.json").read_text())
    loss = [one for one in data["measurements"] if one["quantity"] == "height_loss"]
    assert [one["site"] for one in loss] == list(LEVELS)
    assert loss[2]["value"] == pytest.approx(45, abs=4)
    assert loss[2]["words"].endswith("grade 3 crush")


def test_the_six_points_are_shown_as_lines_in_the_color_of_the_grade(healthy):
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from MarrowAssessLib.scene import headless

    headless.start()
    import slicer
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.measures.book import Settings
    from MarrowAssessLib.report.colors import GRADE_COLORS
    from MarrowAssessLib.scene.live_results import show_live
    from MarrowAssessLib.scene.segments import regions_to_node
    from MarrowAssessLib.scene.shown import HEIGHTS
    from MarrowAssessLib.scene.visibility import show_overlay
    from PDFFMapperLib.scene.volumes import volume_to_node
    from vtkmodules.util.numpy_support import vtk_to_numpy

    slicer.mrmlScene.Clear(False)
    made = study(healthy, {"L1": tuple(np.array([0.65, 0.82, 1.0]) * usual("L1"))})
    segmentation = regions_to_node(made.regions, volume_to_node(made.grid))
    show_live(assess(made), segmentation)
    assert segmentation.GetNodeReference(HEIGHTS) is None  # not asked for

    found = assess(made, Settings(fractures=True))
    show_live(found, segmentation)
    node = segmentation.GetNodeReference(HEIGHTS)
    mesh, display = node.GetPolyData(), node.GetDisplayNode()
    lines = [r.measurement.lines_ras for r in found.results if r.measurement.lines_ras is not None]
    shown = vtk_to_numpy(mesh.GetPoints().GetData()).reshape(-1, 3, 2, 3)
    np.testing.assert_allclose(shown, lines, atol=1e-3)
    wedge = shown[1]  # L1: upper and lower end, front, middle and back
    assert np.linalg.norm(wedge[:, 0] - wedge[:, 1], axis=1) == pytest.approx(
        np.array([0.65, 0.82, 1.0]) * usual("L1"), abs=1
    )
    grades = vtk_to_numpy(mesh.GetCellData().GetArray("Grade")).reshape(-1, 3)
    assert grades.tolist() == [[0] * 3, [2] * 3, [0] * 3, [0] * 3, [0] * 3]
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(display)
    colors, color = display.GetColorNode(), [0.0] * 4
    colors.GetColor(2, color)
    assert colors.GetColorName(2) == "grade 2"
    assert color[:3] == pytest.approx(GRADE_COLORS[2], abs=0.01)
    assert display.GetVisibility2D() and legend.GetVisibility()
    row = legend.GetSize()[1] * 400 / (legend.GetNumberOfLabels() + 1)  # and its title, pixels
    assert row >= 16  # lower, letters lie over each other where four views share a screen
    show_overlay(segmentation, False)
    assert not legend.GetVisibility()
