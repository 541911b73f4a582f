"""Bodies of one visit found again at the next: where they lie, what changed, where it fails."""

import csv
import json

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.commands.main import main
from MarrowAssessLib.follow_up.errors import MeasurementError
from MarrowAssessLib.follow_up.registration import (
    NotRegistered,
    RigidBody,
    overlap,
    register_body,
    values_at,
)
from MarrowAssessLib.follow_up.response_map import response_map
from MarrowAssessLib.study.regions import Region
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.volume import Volume


def moved(degrees, shift_mm, center):
    """A rigid transform that turns about the axes at a center, then shifts it."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        a, b = (n for n in range(3) if n != axis)
        one = np.eye(3)
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        turned = turned @ one
    matrix = np.eye(4)
    matrix[:3, :3] = turned
    matrix[:3, 3] = center + shift_mm - turned @ center
    return matrix


def carried(volume, matrix):
    """What a scanner sees after the patient moved."""
    seen = np.nan_to_num(values_at(volume, np.linalg.inv(matrix), volume))
    return volume.with_array(seen.astype(np.float32))


@pytest.fixture(scope="module")
def body(phantom):
    """T1, PDFF and the region of L3, with 45 mm round it."""
    study = phantom.study()
    whole = study.volumes[Contrast.T1]
    found = next(r for r in study.regions if (r.role, r.site) == (Role.MARROW, "L3"))
    pad = np.ceil(45 / whole.spacing[::-1]).astype(int)
    low = np.maximum(np.array(found.offset) - pad, 0)
    high = np.array(found.offset) + found.mask.shape + pad
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    grid = whole.ijk_to_ras.copy()
    grid[:3, 3] = whole.to_ras(low[::-1])
    t1 = Volume(whole.array[box], grid, "T1")
    tissue = phantom.tissue.array[box]
    pdff = t1.with_array(np.where(tissue > 0, 40.0, 0.0).astype(np.float32))
    mask = found.full_mask(whole.array.shape)[box]
    return t1, pdff, Region.from_mask("L3 marrow", Role.MARROW, "L3", mask)


def test_a_moved_body_is_found_and_its_change_counted(body, tmp_path, capsys):
    """Goals: 0.3 voxel and 0.5 degrees; a third of the marrow rose by 10 points."""
    t1, pdff, region = body
    center = t1.to_ras(region.centroid_ijk())
    true = moved((9, -6, 5), np.array([12.0, -14.0, 9.0]), center)
    rng = np.random.default_rng(1)
    noise = 0.02 * t1.array.max() * rng.standard_normal(t1.array.shape)
    later = carried(t1, true)
    later.array = later.array + noise.astype(np.float32)
    risen = pdff.array.copy()
    mask = region.full_mask(risen.shape)
    ks = np.flatnonzero(mask.any(axis=(1, 2)))
    third = mask.copy()
    third[ks[len(ks) // 3] :] = False
    risen[third] += 10
    labels = t1.with_array(mask.astype(np.uint8))
    paths = {
        "t1": t1, "pdff": pdff, "t1_later": later, "labels": labels,
        "pdff_later": carried(pdff.with_array(risen), true),
        "labels_later": t1.with_array((carried(labels, true).array > 0.5).astype(np.uint8)),
    }  # fmt: skip
    for name, volume in paths.items():
        write_volume(volume, tmp_path / f"{name}.nrrd")

    def file(name):
        return str(tmp_path / f"{name}.nrrd")

    out = tmp_path / "out"
    command = [
        "change-map", "--first", file("t1"), file("pdff"), "--second", file("t1_later"),
        file("pdff_later"), "--labels", file("labels"), "--label", "1=marrow:L3",
        "--labels-second", file("labels_later"), "--out", str(out),
    ]  # fmt: skip
    assert main(command) == 0
    assert "L3: " in capsys.readouterr().out
    assert (out / "scene.mrb").stat().st_size > 1000
    with (out / "change.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["failed"] == "" and float(row["overlap"]) > 0.9
    assert float(row["correlation_after"]) > 0.8 > float(row["correlation_before"])
    share = 100 * third.sum() / mask.sum()
    assert float(row["up_percent"]) == pytest.approx(share, abs=8) and share > 20
    assert float(row["down_percent"]) < 3
    # 0.3 voxel of 1.5 to 2.5 mm and 0.5 degrees, of the body itself
    (told,) = json.loads((out / "change.json").read_text())["bodies"]
    wrong = np.linalg.inv(true) @ np.array(told["matrix_ras"])
    apart = (wrong @ [*center, 1.0])[:3] - center
    assert np.abs(np.linalg.inv(t1.ijk_to_ras[:3, :3]) @ apart).max() < 0.3
    assert np.degrees(np.arccos(min((np.trace(wrong[:3, :3]) - 1) / 2, 1))) < 0.5


def test_a_body_too_far_away_may_be_another_level():
    grid = np.diag([3.0, 3.0, 3.0, 1.0])
    k, j, i = np.indices((44, 44, 60)) * 3.0

    def blob(x):
        far = (i - x) ** 2 + (j - 66) ** 2 + (k - 66) ** 2
        return Volume((1000 * np.exp(-far / (2 * 30.0**2))).astype(np.float32), grid, "T1")

    mask = (i - 66) ** 2 + (j - 66) ** 2 + (k - 66) ** 2 < 15**2
    region = Region.from_mask("L3 marrow", Role.MARROW, "L3", mask)
    with pytest.raises(NotRegistered, match="mm from where it was expected, which is more"):
        register_body(blob(66), region, blob(106))


def test_the_later_image_may_lie_and_be_stored_otherwise_or_not_show_the_body(phantom, body):
    """60 mm higher, seen whole, its voxels counted backward along each axis."""
    t1, _, region = body
    center, higher = t1.to_ras(region.centroid_ijk()), np.array([0.0, 0.0, 60.0])
    whole = phantom.study().volumes[Contrast.T1]
    turned = np.diag([-1.0, -1.0, -1.0, 1.0])
    turned[:3, 3] = np.array(whole.array.shape[::-1]) - 1
    grid = whole.ijk_to_ras @ turned
    grid[:3, 3] += higher
    later = Volume(whole.array[::-1, ::-1, ::-1], grid, "T1")
    found = register_body(t1, region, later, center + higher + [3.0, -4.0, 5.0])
    assert (found.matrix @ [*center, 1.0])[:3] == pytest.approx(center + higher, abs=0.3)
    assert found.ncc_after > 0.99 and found.moved_mm == pytest.approx(50**0.5, abs=0.3)
    with pytest.raises(NotRegistered, match=r"not found again \(correlation -1\.00"):
        register_body(t1, region, later, center + 10 * higher)


@pytest.mark.parametrize("noise", [0.0, 5.0])
def test_a_body_that_lies_where_it_was_expected_stays_there(body, noise):
    t1, _, region = body
    rng = np.random.default_rng(5)
    again = t1.with_array((t1.array + rng.normal(0, noise, t1.array.shape)).astype(np.float32))
    found = register_body(t1, region, again)
    assert found.moved_mm < 0.1 and found.turned_deg < 0.2
    assert found.ncc_after >= found.ncc_before > 0.9


def at_home(site="L3"):
    return RigidBody(site, np.eye(4), 1.0, 1.0, 0.0, 0.0)


def test_regions_that_do_not_meet_tell_of_shifted_levels(body):
    t1, _, region = body
    assert overlap(at_home(), t1, region, t1, region) == 1.0
    mask = np.roll(region.full_mask(t1.array.shape), -20, axis=0)
    with pytest.raises(NotRegistered, match="levels may be shifted"):
        overlap(at_home(), t1, region, t1, Region.from_mask("L4", Role.MARROW, "L3", mask))


def test_voxels_count_where_both_maps_are_trusted():
    """With noise of 2 a voxel 5 % leave their error; those that changed by 20 all do."""
    rng = np.random.default_rng(5)
    first = Volume(40 + 2 * rng.standard_normal((20, 20, 20)), np.eye(4), "PDFF")
    second = Volume(40 + 2 * rng.standard_normal((20, 20, 20)), np.eye(4), "PDFF")
    second.array[:5] -= 20
    second.array[10] = np.nan
    region = Region.from_mask("L3 marrow", Role.MARROW, "L3", np.ones((20, 20, 20), bool))
    found = response_map(first, second, region, at_home())
    assert found.beyond == pytest.approx(1.96 * 2 * np.sqrt(2), rel=0.05)
    assert np.isnan(found.change[10]).all() and found.voxels <= 19 * 400
    assert found.down == pytest.approx(5 / 19 + 0.025 * 14 / 19, abs=0.02)
    assert found.up == pytest.approx(0.025 * 14 / 19, abs=0.01)
    assert found.up + found.down + found.same == pytest.approx(1)
    wide = response_map(first, second, region, at_home(), MeasurementError(0.5, True, 9, ""))
    assert wide.beyond == pytest.approx(1.96 * np.sqrt(2) * 0.5 * 40, rel=0.05)
    second.array[:] = np.nan
    with pytest.raises(ValueError, match="0 voxels hold a value at both visits; 20"):
        response_map(first, second, region, at_home())


def test_a_failed_body_is_told_and_an_unknown_quantity_refused(body, tmp_path, capsys):
    t1, pdff, region = body
    rng = np.random.default_rng(3)
    small = (slice(None), slice(10, 60), slice(10, 60))
    for name, array in (
        ("image", t1.array),
        ("map", pdff.array),
        ("labels", region.full_mask(t1.array.shape).astype(np.uint8)),
        ("noise", rng.normal(100, 9, t1.array.shape).astype(np.float32)),
    ):
        write_volume(t1.with_array(array[small]), tmp_path / f"{name}.nrrd")
    image, values, labels, noise = (
        str(tmp_path / f"{name}.nrrd") for name in ("image", "map", "labels", "noise")
    )
    out = tmp_path / "out"
    command = [
        "change-map", "--first", image, values, "--second", noise, values, "--labels", labels,
        "--label", "1=marrow:L3", "--no-scene", "--out", str(out),
    ]  # fmt: skip
    for key in ("fat", "vbq"):
        assert main([*command, "--quantity", key]) == 2
        assert f"--quantity {key}: no quantity of a map is" in capsys.readouterr().err
    assert not out.exists()
    assert main(command) == 0
    assert "it was not found again" in capsys.readouterr().out
    with (out / "change.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert "not found again" in row["failed"] and row["up_percent"] == ""


def slice_pixels(node):
    """The colors of the axial slice through the first voxels of a volume, as its view shows it."""
    from MarrowAssessLib.scene import headless
    from vtkmodules.util.numpy_support import vtk_to_numpy

    logic = headless.application_logic().GetSliceLogicByLayoutName("Red")
    logic.ResizeSliceNode(40, 40)
    logic.FitSliceToBackground()
    logic.SetSliceOffset(0.45)  # between voxels, beside none that changed
    port = logic.GetImageDataConnection()
    port.GetProducer().Update()
    image = port.GetProducer().GetOutputDataObject(0)
    return vtk_to_numpy(image.GetPointData().GetScalars())[:, :3].astype(int)


def test_what_changed_beyond_its_error_is_colored_over_the_earlier_image(tmp_path):
    """Orange has risen, purple has fallen; the image is gray where nothing is known to change."""
    from MarrowAssessLib.catalogue.quantities import QUANTITIES
    from MarrowAssessLib.follow_up.change_map import BodyChange, ChangeMap
    from MarrowAssessLib.follow_up.response_map import ResponseMap
    from MarrowAssessLib.scene import headless

    headless.start()
    import slicer
    from MarrowAssessLib.scene.change_map import show_change_map
    from MarrowAssessLib.scene.files import load_scene, save_scene
    from PDFFMapperLib.scene.volumes import volume_to_node

    slicer.mrmlScene.Clear(False)
    change = np.full((2, 10, 10), np.nan, np.float32)
    change[0, :5, :5], change[0, :5, 5:], change[:, 5:, :5] = 15.0, -15.0, 3.0
    grid = Volume(change, np.diag([1.0, 1.0, 1.0, 1.0]), "change")
    bodies = [
        BodyChange("L3", at_home(), ResponseMap("L3", change, 4.0, 100, 1 / 3, 1 / 3, 1 / 3)),
        BodyChange("L4", failed="L4 marrow: it was not found again."),
    ]
    found = ChangeMap(grid, np.abs(np.nan_to_num(change)) > 4, bodies)
    image = volume_to_node(grid.with_array(np.full(change.shape, 100, np.int16)), "T1")
    image.GetDisplayNode().SetAutoWindowLevel(False)
    image.GetDisplayNode().SetWindowLevelMinMax(0, 200)
    quantity = QUANTITIES["marrow_pdff"]
    count = slicer.mrmlScene.GetNumberOfNodes
    show_change_map(found, quantity, image)
    nodes = count()
    node = show_change_map(found, quantity, image)  # again: in place of the one before
    assert count() == nodes and image.GetNodeReference("MarrowAssess.change.map") is node
    slicer.mrmlScene.RemoveNode(node)  # by the user: what belongs to it goes with the next
    node = show_change_map(found, quantity, image)
    for name in ("Change of voxels", f"{quantity.name} change, shares of marrow"):
        assert slicer.mrmlScene.GetNodesByName(name).GetNumberOfItems() == 1
    shown = slicer.util.arrayFromVolume(node)
    assert (np.isfinite(shown) == found.beyond).all() and set(np.unique(shown[found.beyond])) == {
        -15.0, 15.0,
    }  # fmt: skip
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(node)
    assert legend.GetVisibility() and legend.GetTitleText() == "voxels: points"
    assert node.GetDisplayNode().GetWindowLevelMax() == 30  # 0.3 of the window of PDFF
    pixels = slice_pixels(node)
    red, green, blue = pixels.T
    orange, purple = red > blue + 100, blue > green + 30
    gray = (np.ptp(pixels, axis=1) == 0) & (red > 0)
    assert orange.sum() == pytest.approx(400, rel=0.06)  # a quarter of 40 x 40 pixels
    assert purple.sum() == pytest.approx(400, rel=0.06)
    assert gray.sum() == 1600 - orange.sum() - purple.sum()
    table = image.GetNodeReference("MarrowAssess.shares")
    assert [table.GetCellText(0, n) for n in range(1, 5)] == ["33.3333"] * 3 + ["4"]
    assert table.GetCellText(1, 5) == "L4 marrow: it was not found again."
    save_scene(tmp_path / "change.mrb")
    load_scene(tmp_path / "change.mrb")
    image = slicer.util.getNode("T1")
    node = image.GetNodeReference("MarrowAssess.change.map")
    assert (np.isfinite(slicer.util.arrayFromVolume(node)) == found.beyond).all()
    assert node.GetDisplayNode().GetColorNode().GetName() == "Change of voxels"


def test_two_studies_without_a_map_or_a_body_in_common_say_so(body):
    from MarrowAssessLib.follow_up.change_map import change_of_studies
    from MarrowAssessLib.study.study import Study

    t1, pdff, region = body
    both = Study({Contrast.T1: t1, Contrast.PDFF: pdff}, [region])
    fat = Region.from_mask("fat", Role.FAT, "", region.full_mask(t1.array.shape))
    with pytest.raises(ValueError, match="have no map in common on the grid of the earlier reg"):
        change_of_studies(both, Study({Contrast.T1: t1}, [region]))
    with pytest.raises(ValueError, match="earlier visit has no marrow region of a vertebra"):
        change_of_studies(Study({Contrast.PDFF: pdff}, [fat]), both)
    noise = np.random.default_rng(3).normal(100, 9, t1.array.shape).astype(np.float32)
    other = Study({Contrast.T1: t1.with_array(noise), Contrast.PDFF: pdff}, [region])
    with pytest.raises(ValueError, match="it was not found again"):
        change_of_studies(both, other)
    with pytest.raises(InterruptedError):
        change_of_studies(both, both, lambda _: False)


def test_the_first_map_in_the_order_of_quantities_is_compared_voxel_by_voxel(body):
    """PDFF before R2*; all rose by 1 point, within a voxel's error, and a half by 10 more."""
    from MarrowAssessLib.follow_up.change_map import change_of_studies
    from MarrowAssessLib.study.study import Study

    t1, pdff, region = body
    risen = pdff.array + 1
    inside = region.full_mask(risen.shape)
    risen[:, : int(region.centroid_ijk()[1])] += 10
    decay = t1.with_array(np.full_like(pdff.array, 50))
    first, second = (
        Study(
            {Contrast.T1: t1, Contrast.R2STAR: decay, Contrast.PDFF: t1.with_array(one)}, [region]
        )
        for one in (pdff.array, risen)
    )
    quantity, shown, found = change_of_studies(first, second)
    assert quantity.key == "marrow_pdff" and shown is Contrast.T1
    change = np.nan_to_num(found.change.array)
    assert np.array_equal(found.beyond, np.abs(change) > found.bodies[0].response.beyond)
    assert 2 < found.bodies[0].response.beyond < 8
    assert 0.3 < found.beyond[inside].mean() < 0.7 and (change[found.beyond] > 5).all()


def test_a_map_on_a_grid_of_its_own_is_not_compared_on_that_of_the_regions(body):
    from MarrowAssessLib.follow_up.change_map import change_of_studies
    from MarrowAssessLib.study.study import Study

    t1, _, region = body
    shift = np.eye(4)
    shift[0, 3] = 9  # mm: PET keeps its own grid
    pet = Volume(t1.array / 100, shift @ t1.ijk_to_ras, "PET")
    mask = np.roll(region.full_mask(t1.array.shape), 2, axis=2)
    bodies = region, Region.from_mask("L3 marrow", Role.MARROW, "L3", mask)
    first, second = (Study({Contrast.T1: t1, Contrast.SUV: pet}, [one]) for one in bodies)
    with pytest.raises(ValueError, match="no map in common on the grid of the earlier regions"):
        change_of_studies(first, second)
    first, second = (Study({Contrast.SUV: pet}, [one]) for one in bodies)  # drawn on PET
    quantity, shown, _ = change_of_studies(first, second)
    assert quantity.key == "marrow_suv" and shown is Contrast.SUV
