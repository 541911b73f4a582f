import json

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.sources.markups_file import regions_from_markups
from MarrowAssessLib.study.regions import rasterize
from PDFFMapperLib.images.markups_file import read_markups
from PDFFMapperLib.images.shapes import Shape
from PDFFMapperLib.images.volume import Volume


@pytest.fixture
def fine() -> Volume:
    matrix = np.diag([0.5, 0.5, 0.5, 1.0])
    matrix[:3, 3] = [-20, -15, -10]
    return Volume(np.zeros((40, 60, 80), np.float32), matrix, "fine")


def draw(shape: Shape, volume: Volume):
    return rasterize(shape, volume, Role.MARROW, "L3")


def test_sphere_has_its_volume(fine):
    region = draw(Shape("sphere", "s", np.array([[0.0, 0.0, 0.0]]), 8.0), fine)
    assert region.voxels * fine.voxel_volume_mm3 == pytest.approx(4 / 3 * np.pi * 512, rel=0.01)
    assert np.allclose(fine.to_ras(region.centroid_ijk()), 0, atol=0.01)


def test_circle_covers_one_slice_with_its_area(oblique_volume):
    center = oblique_volume.to_ras(np.array([[25.2, 20.4, 9.3]]))
    region = draw(Shape("circle", "c", center, 9.0), oblique_volume)
    assert region.mask.shape[0] == 1
    assert region.offset[0] == 9
    assert region.voxels * 0.8 * 0.9 == pytest.approx(np.pi * 81, rel=0.03)


def test_rotated_box_has_its_volume(fine):
    angle = np.deg2rad(30)
    axes = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    shape = Shape("box", "b", np.array([[0.0, 0, 0]]), 0.0, np.array([12.0, 8.0, 10.0]), axes)
    region = draw(shape, fine)
    assert region.voxels * fine.voxel_volume_mm3 == pytest.approx(960, rel=0.03)


@pytest.mark.parametrize("away", [0.0, 0.45, -0.45])
def test_closed_curve_covers_the_slice_nearest_to_its_plane(oblique_volume, away):
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ijk = np.stack([25 + 12 * np.cos(t), 20 + 10 * np.sin(t), np.full(60, 11.0 + away)], -1)
    region = draw(Shape("closed curve", "f", oblique_volume.to_ras(ijk)), oblique_volume)
    assert region.mask.shape[0] == 1
    assert region.offset[0] == 11
    assert region.voxels == pytest.approx(np.pi * 120, rel=0.02)


def test_shapes_that_hold_no_voxel_are_refused(fine):
    with pytest.raises(ValueError, match="outside"):
        draw(Shape("sphere", "away", np.array([[500.0, 0, 0]]), 5.0), fine)
    with pytest.raises(ValueError, match="no voxel center"):
        draw(Shape("sphere", "tiny", np.array([[0.25, 0.25, 0.25]]), 0.1), fine)


def markup(kind: str, **more) -> dict:
    return {"type": kind, "coordinateSystem": "LPS", "controlPoints": [], **more}


def test_markups_file_is_read_in_ras(tmp_path, fine):
    path = tmp_path / "rois.mrk.json"
    points = [
        {"label": "L3 marrow", "position": [-3.0, -4.0, 5.0], "positionStatus": "defined"},
        {"label": "unplaced", "position": [0, 0, 0], "positionStatus": "undefined"},
    ]
    box = markup("ROI", name="CSF L3", center=[1, 2, 3], size=[4, 6, 8])
    path.write_text(json.dumps({"markups": [markup("Fiducial", controlPoints=points), box]}))
    sphere, roi = read_markups(path, point_radius_mm=3.0)
    assert (sphere.name, sphere.radius_mm) == ("L3 marrow", 3.0)
    assert np.allclose(sphere.points_ras, [[3, 4, 5]])
    assert np.allclose(roi.points_ras, [[-1, -2, 3]])
    regions, _ = regions_from_markups(path, fine)
    assert [(r.name, r.role, r.site) for r in regions] == [
        ("L3 marrow", Role.MARROW, "L3"),
        ("CSF L3", Role.CSF, "L3"),
    ]
    assert regions[1].voxels * fine.voxel_volume_mm3 == pytest.approx(4 * 6 * 8, rel=0.15)


@pytest.mark.parametrize("content", ["not json", "{}", '{"markups": [{"type": "Fiducial"}]}'])
def test_a_file_that_is_no_markups_is_refused(tmp_path, content):
    path = tmp_path / "x.mrk.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="not a Slicer markups file"):
        read_markups(path)


@pytest.mark.parametrize("radius", [0.0, -3.0, float("nan"), float("inf")])
def test_points_need_a_radius(tmp_path, radius):
    path = tmp_path / "x.mrk.json"
    path.write_text(json.dumps({"markups": []}))
    with pytest.raises(ValueError, match="expected more than 0 mm"):
        read_markups(path, radius)


def test_a_line_is_no_region(tmp_path):
    path = tmp_path / "x.mrk.json"
    path.write_text(json.dumps({"markups": [markup("Line")]}))
    with pytest.raises(ValueError, match="is a Line"):
        read_markups(path)


def test_a_closed_curve_of_four_points_covers_the_round_shape_that_slicer_draws(tmp_path, fine):
    corners = [[6, 0, 0], [0, 6, 0], [-6, 0, 0], [0, -6, 0]]
    points = [{"position": corner} for corner in corners]
    curve = markup("ClosedCurve", name="L3 marrow", controlPoints=points)
    path = tmp_path / "curve.mrk.json"
    path.write_text(json.dumps({"markups": [curve]}))
    (region,), _ = regions_from_markups(path, fine)
    # The periodic cubic spline through four points of a circle: 3.05 r^2; their square is 2 r^2.
    assert region.voxels * 0.25 == pytest.approx(3.05 * 36, rel=0.03)


@pytest.mark.parametrize(
    ("one", "sentence"),
    [
        (markup("Fiducial", controlPoints=[{"position": [1, 2]}]), "3 numbers are expected"),
        (markup("Fiducial", controlPoints=[{"position": ["a", 1, 2]}]), "3 numbers are expected"),
        (markup("Fiducial", controlPoints=[{"position": [np.nan, 1, 2]}]), "3 numbers"),
        (markup("ROI", center=[0, 0, 0], size=[1, 1]), "3 numbers are expected"),
        (markup("ROI", center=[0, 0, 0], size=[1, 1, 1], insideOut=True), "is inside out"),
        (markup("Fiducial", coordinateSystem="IJK"), "system is IJK; LPS or RAS is expected"),
        ("text", "not a Slicer markups file"),
    ],
)
def test_markups_with_impossible_content_are_refused(tmp_path, one, sentence):
    path = tmp_path / "x.mrk.json"
    path.write_text(json.dumps({"markups": [one]}))
    with pytest.raises(ValueError, match=sentence):
        read_markups(path)
