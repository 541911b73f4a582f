import colorsys

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from MarrowAssessLib.scene import headless

headless.start()

import SimpleITK as sitk  # noqa: E402
import slicer  # noqa: E402
from MarrowAssessLib.catalogue.anatomy import Role  # noqa: E402
from MarrowAssessLib.report import label_layout  # noqa: E402
from MarrowAssessLib.report.colors import STATEMENT_COLORS, result_color, z_color  # noqa: E402
from MarrowAssessLib.report.label_layout import CORONAL, SAGITTAL, Place  # noqa: E402
from MarrowAssessLib.scene import color_key, overlay, rendering  # noqa: E402
from MarrowAssessLib.scene import files as scene  # noqa: E402
from MarrowAssessLib.scene import segments as segment_nodes  # noqa: E402
from MarrowAssessLib.scene.edits import add_regions  # noqa: E402
from MarrowAssessLib.scene.overlay import SiteResult  # noqa: E402
from MarrowAssessLib.scene.side_by_side import show_both  # noqa: E402
from MarrowAssessLib.scene.visibility import overlay_displays  # noqa: E402
from MarrowAssessLib.study.regions import Region  # noqa: E402
from PDFFMapperLib.images.volume import Volume  # noqa: E402
from PDFFMapperLib.scene import volumes as volume_nodes  # noqa: E402

needs_rendering = pytest.mark.skipif(
    not headless.rendering_available(),
    reason=f"no working EGL here. {headless.INSTALL_RENDERING}",
)


@pytest.fixture(autouse=True)
def empty_scene():
    slicer.mrmlScene.Clear(False)


@pytest.fixture
def spine():
    """A volume 90 x 90 x 120 mm with three vertebrae in a column and a muscle behind them."""
    array = np.full((60, 45, 45), 100, np.int16)
    ijk_to_ras = np.array([[-2.0, 0, 0, 44], [0, -2, 0, 44], [0, 0, 2, -60], [0, 0, 0, 1]])
    boxes = {
        "L3 marrow": np.s_[44:54, 14:26, 14:30],
        "L4 marrow": np.s_[26:36, 14:26, 14:30],
        "L5 marrow": np.s_[8:18, 14:26, 14:30],
        "paraspinal muscle": np.s_[5:55, 34:40, 10:20],
    }
    regions = []
    for name, box in boxes.items():
        mask = np.zeros(array.shape, bool)
        mask[box] = True
        role = Role.MUSCLE if "muscle" in name else Role.MARROW
        site = "paraspinal" if "muscle" in name else name[:2]
        regions.append(Region.from_mask(name, role, site, mask))
        array[box] = 200 if role is Role.MARROW else 150
    node = volume_nodes.volume_to_node(Volume(array, ijk_to_ras, "T1"))
    return node, segment_nodes.regions_to_node(regions, node)


RESULTS = [
    SiteResult("L3 marrow", 3.0, "L3  2.9  expected 1.9-2.4: above"),
    SiteResult("L4 marrow", -3.0, "L4  1.1  expected 1.9-2.4: below"),
    SiteResult("L5 marrow", None, "L5  2.0  no reference"),
]


def label_positions(labels):
    return slicer.util.arrayFromMarkupsControlPoints(labels, world=True)


# Colors


def test_ends_middle_and_missing_have_their_colors():
    blue, white, red = (z_color(z) for z in (-3, 0, 3))
    assert blue[2] > blue[0] + 0.4
    assert red[0] > red[2] + 0.4
    assert min(white) > 0.95
    assert z_color(None) == z_color(float("nan")) == (0.5, 0.5, 0.5)
    assert z_color(-40) == blue
    assert z_color(40) == red
    # What has no z-score but a statement has a color of its own; what has neither stays gray.
    assert result_color(None, "unusual") == STATEMENT_COLORS["unusual"]
    assert result_color(None, "") == (0.5, 0.5, 0.5)
    assert result_color(3, "expected") == red


def lightness(rgb):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 116 * np.cbrt(np.dot(linear, [0.2126, 0.7152, 0.0722])) - 16


def test_scale_gets_steadily_darker_away_from_the_middle():
    z = np.linspace(0, 3, 31)
    for sign in (-1, 1):
        assert (np.diff([lightness(z_color(sign * one)) for one in z]) < 0).all()


def test_below_and_above_stay_apart_for_the_color_blind():
    # Vienot, Brettel & Mollon, Color Res Appl 1999; 24: 243-252: linear RGB as protanopes and
    # deuteranopes see it.
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    for z in (1, 2, 3):
        for seen_by in (protan, deutan):
            low, high = (seen_by @ np.power(z_color(s * z), 2.2) for s in (-1, 1))
            assert np.linalg.norm(low - high) > 0.25, z


# Labels


def places_at(centers, half=10.0):
    return [Place(center, center - half, center + half) for center in np.asarray(centers, float)]


@pytest.mark.parametrize("layout", [SAGITTAL, CORONAL])
def test_labels_stay_apart_beside_the_anatomy_and_move_little(layout):
    rng = np.random.default_rng(3)
    for _ in range(50):
        centers = rng.uniform(-60, 60, (rng.integers(1, 12), 3))
        anchors = label_layout.label_anchors(places_at(centers), layout, 9.0, [9.0] * len(centers))
        assert (anchors[:, layout.across] < centers[:, layout.across].min() - 10).all()
        assert np.ptp(anchors[:, layout.normal]) == 0
        heights = np.sort(anchors[:, 2])
        assert (np.diff(heights) >= 9.0 - 1e-9).all()
        np.testing.assert_array_equal(np.argsort(anchors[:, 2]), np.argsort(centers[:, 2]))
        assert anchors[:, 2].mean() == pytest.approx(centers[:, 2].mean())


def test_labels_with_room_stay_at_their_region():
    places = places_at([[0, 0, 0], [0, 0, 40], [0, 0, 80]])
    anchors = label_layout.label_anchors(places, SAGITTAL, 9, [9, 9, 9])
    np.testing.assert_allclose(anchors[:, 2], [0, 40, 80])


def test_the_label_of_a_body_at_the_image_s_upper_edge_ends_within_it():
    cut = Place(np.array([0, 0, 78.0]), np.array([-20, -20, 76.0]), np.array([20, 20, 80.0]))
    anchors = label_layout.label_anchors([*places_at([[0, 0, 0]]), cut], SAGITTAL, 40, [40, 20])
    np.testing.assert_allclose(anchors[:, 2], [0, 60])


def test_crowded_labels_are_spread_by_least_squares():
    spread = label_layout.spread(np.array([5.0, 5.0, 5.0, 30.0]), 4.0)
    np.testing.assert_allclose(spread, [1.0, 5.0, 9.0, 30.0])


def test_lines_run_from_the_region_to_its_label_on_the_viewers_side():
    places = places_at([[3, 0, 0], [40, 0, 50]])
    anchors = np.array([[0.0, -30, 0], [0, -30, 50]])
    lines = label_layout.label_lines(places, anchors, SAGITTAL)
    np.testing.assert_allclose(lines[0], [[-1.5, 0, 0], [-1.5, -30, 0]])
    np.testing.assert_allclose(lines[1], [[40, 0, 50], [-1.5, -30, 50]])


def test_spines_are_seen_from_the_side_and_hips_from_the_front():
    assert label_layout.choose_layout(places_at([[0, 0, 0], [5, 20, 150]])) is SAGITTAL
    assert label_layout.choose_layout(places_at([[-90, 0, 0], [90, 5, 0]])) is CORONAL
    assert label_layout.choose_layout([]) is SAGITTAL


# In the scene


def test_segments_legend_and_labels_show_the_results(spine):
    _, segmentation = spine
    shown = overlay.show_results(segmentation, RESULTS)
    for result in RESULTS:
        color = segmentation.GetDisplayNode().GetSegmentColor(result.region_name)
        assert tuple(color) == pytest.approx(z_color(result.z))
    display = segmentation.GetDisplayNode()
    assert display.GetSegmentOpacity3D("L3 marrow") == 1
    assert display.GetSegmentOpacity3D("paraspinal muscle") < 0.5
    assert not display.GetSegmentVisibility2DFill("paraspinal muscle")
    assert shown.legend.GetTitleText() == "z-score"
    assert shown.legend.GetVisibility()
    assert shown.legend.GetPrimaryDisplayNode() is display
    assert display.GetColorNode() is shown.colors
    assert display.GetScalarRange() == (-3, 3)
    rgb = [0.0, 0.0, 0.0]
    shown.colors.GetColorTransferFunction().GetColor(-1.2, rgb)
    assert rgb == pytest.approx(z_color(-1.2), abs=1e-6)
    texts = [shown.labels.GetNthControlPointLabel(n) for n in range(3)]
    assert texts == [result.label for result in RESULTS]
    # L3 above L4 above L5, at the height of their centers, behind them.
    positions = label_positions(shown.labels)
    np.testing.assert_allclose(positions[:, 2], [32, 1, -35])
    assert (positions[:, 1] < 44 - 2 * 25).all()


def test_a_lesion_does_not_veil_the_color_of_its_body(spine):
    volume, segmentation = spine
    lesions = {"in L4": np.s_[30:34, 18:22, 18:22], "apart": np.s_[30:34, 1:4, 1:4]}
    for name, box in lesions.items():
        mask = np.zeros((60, 45, 45), bool)
        mask[box] = True
        add_regions(segmentation, volume, [Region.from_mask(name, Role.LESION, "", mask)])
    overlay.show_results(segmentation, RESULTS)
    display = segmentation.GetDisplayNode()
    assert display.GetSegmentOpacity3D("in L4") == 0  # on the slices, its outline stays
    assert display.GetSegmentVisibility2DOutline("in L4")
    assert display.GetSegmentOpacity3D("apart") == overlay.BESIDE_OPACITY
    overlay.show_results(segmentation, RESULTS[:1])
    assert display.GetSegmentOpacity3D("in L4") == overlay.BESIDE_OPACITY


def test_showing_again_replaces_what_was_shown(spine):
    _, segmentation = spine
    first = overlay.show_results(segmentation, RESULTS)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    again = overlay.show_results(segmentation, [SiteResult("L3 marrow", 0.0, "L3 normal")])
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert again.labels is first.labels
    assert again.labels.GetNumberOfControlPoints() == 1
    color = segmentation.GetDisplayNode().GetSegmentColor("L3 marrow")
    assert tuple(color) == pytest.approx(z_color(0))


def test_the_camera_sees_labels_beside_the_regions_and_all_of_them(spine):
    _, segmentation = spine
    overlay.show_results(segmentation, RESULTS)
    camera = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLCameraNode", "camera")
    overlay.look_at_results(segmentation, camera)
    toward = np.array(camera.GetFocalPoint()) - np.array(camera.GetPosition())
    assert np.argmax(np.abs(toward)) == 0  # a spine is seen from its side
    matrix = camera.GetCamera().GetCompositeProjectionTransformMatrix(1.0, -1, 1)
    for result in RESULTS:
        segment_id = segmentation.GetSegmentation().GetSegmentIdBySegmentName(result.region_name)
        point = matrix.MultiplyPoint([*segmentation.GetSegmentCenterRAS(segment_id), 1.0])
        assert np.abs(np.array(point[:2]) / point[3]).max() < 1


def test_a_segment_that_nothing_was_drawn_into_does_not_keep_3d_from_being_shown(spine):
    from MarrowAssessLib.scene.shown import shows_3d
    from MarrowAssessLib.scene.views import show_3d

    _, segmentation = spine
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLCameraNode", "camera")
    segmentation.GetSegmentation().AddEmptySegment("Segment_1")
    assert not show_3d(segmentation, True, lambda fraction: fraction < 0.5)  # canceled
    assert not shows_3d(segmentation)
    assert not segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    told = []
    assert show_3d(segmentation, True, lambda fraction: told.append(fraction) or True)
    assert shows_3d(segmentation)
    assert told[0] == 0 and told == sorted(told)
    surfaces = [
        segmentation.GetSegmentation().GetSegment(one).GetRepresentation("Closed surface")
        for one in segmentation.GetSegmentation().GetSegmentIDs()
    ]
    assert surfaces[0].GetNumberOfPoints() > 100 and len(told) == len(surfaces)
    show_3d(segmentation, False)
    segmentation.GetSegmentation().RemoveAllSegments()
    segmentation.GetSegmentation().AddEmptySegment("Segment_1")
    show_3d(segmentation, True)


def test_labels_follow_a_transformed_study(spine):
    _, segmentation = spine
    still = label_positions(overlay.show_results(segmentation, RESULTS).labels).copy()
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = 5, 6, 7
    moved.SetMatrixTransformToParent(volume_nodes.vtk_matrix(matrix))
    segmentation.SetAndObserveTransformNodeID(moved.GetID())
    shown = overlay.show_results(segmentation, RESULTS)
    np.testing.assert_allclose(label_positions(shown.labels), still + [5, 6, 7])


def test_result_of_an_unknown_region_is_refused(spine):
    _, segmentation = spine
    with pytest.raises(ValueError, match="No segment of 'Regions' is named L9 marrow; it has: L3"):
        overlay.show_results(segmentation, [SiteResult("L9 marrow", 0.0, "")])


def test_an_empty_segment_cannot_be_labelled(spine):
    volume, _ = spine
    empty = Region("L3 marrow", Role.MARROW, "L3", np.zeros((0, 0, 0), bool))
    segmentation = segment_nodes.regions_to_node([empty], volume)
    with pytest.raises(ValueError, match="Segment 'L3 marrow' is empty; it cannot be labelled"):
        overlay.show_results(segmentation, RESULTS[:1])


def test_overlay_is_saved_with_the_scene(spine, tmp_path):
    _, segmentation = spine
    overlay.show_results(segmentation, RESULTS)
    path = tmp_path / "scene.mrb"
    scene.save_scene(path)
    scene.load_scene(path)
    segmentation = slicer.util.getNode("Regions")
    shown = overlay.show_results(segmentation, RESULTS)  # finds the saved nodes again
    assert len(slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")) == 2
    assert len(slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")) == 1
    assert shown.legend.GetTitleText() == "z-score"
    rgb = [0.0, 0.0, 0.0]
    shown.colors.GetColorTransferFunction().GetColor(3, rgb)
    assert rgb == pytest.approx(z_color(3), abs=1e-3)


# Pictures


def hues(path):
    """RGB picture and the hue (0-1) of every vivid pixel, NaN elsewhere."""
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    vivid = picture.max(axis=-1).astype(int) - picture.min(axis=-1) > 40
    hue = np.full(picture.shape[:2], np.nan)
    for y, x in zip(*np.nonzero(vivid), strict=True):
        hue[y, x] = colorsys.rgb_to_hsv(*picture[y, x] / 255)[0]
    return picture, hue


def is_red(hue):
    return (hue < 0.06) | (hue > 0.94)


def is_blue(hue):
    return (hue > 0.53) & (hue < 0.66)


@needs_rendering
def test_3d_picture_shows_regions_legend_and_labels(spine, tmp_path):
    _, segmentation = spine
    shown = overlay.show_results(segmentation, RESULTS)
    path = tmp_path / "3d.png"
    rendering.render_3d(path, shown, size=(700, 500))
    picture, hue = hues(path)
    assert picture.shape == (500, 700, 3)
    anatomy, legend = hue[:, 100:], hue[:, :100]
    # Red L3 above blue L4, both large.
    red, blue = np.argwhere(is_red(anatomy)), np.argwhere(is_blue(anatomy))
    assert len(red) > 2000
    assert len(blue) > 2000
    assert red[:, 0].mean() + 50 < blue[:, 0].mean()
    # The legend: red end above its blue end.
    red, blue = np.argwhere(is_red(legend)), np.argwhere(is_blue(legend))
    assert len(red) > 50
    assert len(blue) > 50
    assert red[:, 0].mean() + 50 < blue[:, 0].mean()
    # The translucent muscle shows in olive.
    r, g, b = np.moveaxis(picture[:, 100:].astype(int), -1, 0)
    assert ((g - b > 10) & (abs(r - g) < 20)).sum() > 200
    # Without labels the right half loses its white letters.
    shown.labels.SetDisplayVisibility(False)
    rendering.render_3d(tmp_path / "bare.png", shown, size=(700, 500))
    bare, _ = hues(tmp_path / "bare.png")
    assert (picture[:, 350:-100] > 230).all(axis=-1).sum() > 200
    assert (bare[:, 350:-100] > 230).all(axis=-1).sum() < 20


@needs_rendering
def test_slice_picture_shows_the_image_regions_legend_and_labels(spine, tmp_path):
    volume_node, segmentation = spine
    shown = overlay.show_results(segmentation, RESULTS)
    path = tmp_path / "slice.png"
    rendering.render_slice(path, shown, volume_node, size=(600, 600))
    picture, hue = hues(path)
    assert picture.shape == (600, 600, 3)
    assert is_red(hue[:, 100:]).sum() > 1000
    assert is_blue(hue[:, 100:]).sum() > 1000
    assert is_red(hue[:, :100]).sum() > 50
    assert (picture > 240).all(axis=-1).sum() > 300  # letters
    gray = (np.ptp(picture.astype(int), axis=-1) <= 2) & (abs(picture[..., 0] - 75.0) < 20)
    assert gray.sum() > 20000  # the image around the regions is half as bright as marrow


@needs_rendering
def test_3d_picture_can_hold_the_image_and_be_repeated(spine, tmp_path):
    volume_node, segmentation = spine
    shown = overlay.show_results(segmentation, RESULTS)
    for name in ("first.png", "second.png"):
        rendering.render_3d(tmp_path / name, shown, slice_of=volume_node, size=(400, 300))
        rendering.render_slice(tmp_path / f"slice-{name}", shown, volume_node, size=(300, 300))
    for kind in ("", "slice-"):
        first, second = (
            hues(tmp_path / f"{kind}{name}.png")[0].astype(int) for name in ("first", "second")
        )
        assert np.abs(first - second).mean() < 0.5
    views = slicer.util.getNodesByClass("vtkMRMLViewNode")
    assert len(views) == 1


@needs_rendering
def test_every_label_fits_into_the_picture(spine, tmp_path):
    volume_node, segmentation = spine
    long = [
        SiteResult(r.region_name, r.z, f"{r.region_name[:2]}  " + "expected 1.9-2.4 " * 3)
        for r in RESULTS
    ]
    shown = overlay.show_results(segmentation, long)
    rendering.render_3d(tmp_path / "3d.png", shown)
    rendering.render_slice(tmp_path / "slice.png", shown, volume_node)
    for name in ("3d.png", "slice.png"):
        picture, _ = hues(tmp_path / name)
        above_orientation_marker = picture[: -picture.shape[0] // 5]
        assert not (above_orientation_marker[:, -6:] > 230).all(axis=-1).any(), name


@needs_rendering
def test_3d_views_that_are_opened_for_two_visits_have_their_legends(spine):
    node, now = spine
    earlier = segment_nodes.regions_to_node(segment_nodes.regions_from_node(now, node), node)
    for one in (earlier, now):
        overlay.show_results(one, RESULTS)
    views = []
    for name in "12":  # opened after the legends were made
        views.append(rendering._View((300, 200)))
        known = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLViewNode")
        views[-1].node = known or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLViewNode")
        views[-1].node.SetLayoutName(name)
        views[-1].screen_scale = views[-1].node.GetScreenScaleFactor()
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        views[-1].manage(factory, rendering._MANAGERS_3D, views[-1].node)

    def bars(view):
        view.window.Render()
        renderers = view.window.GetRenderers()
        count = renderers.GetNumberOfItems()
        props = [one.GetViewProps() for one in map(renderers.GetItemAsObject, range(count))]
        found = [
            one
            for held in props
            for one in map(held.GetItemAsObject, range(held.GetNumberOfItems()))
        ]
        return sum(one.IsA("vtkScalarBarActor") and one.GetVisibility() for one in found)

    def legends(segmentation):
        found = overlay_displays(segmentation)
        return [one for one in found if one.IsA("vtkMRMLColorLegendDisplayNode")]

    before = [[one.GetTitleText(), one.GetSize(), one.GetPosition()] for one in legends(now)]
    assert [bars(view) for view in views] == [0, 0]
    show_both(earlier, now)
    assert all(bars(view) for view in views)
    assert [
        [one.GetTitleText(), one.GetSize(), one.GetPosition()] for one in legends(now)
    ] == before
    assert legends(now)[0].GetAttribute(color_key.SCORED) == "yes"
    for view in views:
        view.close()
