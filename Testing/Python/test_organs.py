"""Liver, spleen and blood pool from one click, on PET, CT and MR images of a drawn abdomen."""

from functools import cache

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.commands.main import main
from MarrowAssessLib.placement.clicks import regions_from_clicks
from MarrowAssessLib.placement.ct import as_seen
from MarrowAssessLib.placement.structure import place
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.tables import read_csv
from PDFFMapperLib.images.volume import Volume

LIVER, SPLEEN, AORTA = (70, 0, 0), (-95, -35, 5), (-5, -35, 0)  # RAS mm
TILT = 0.15  # of the aorta to the front, toward the head
# Air, fat, muscle, liver, spleen, blood, marrow; noise; spacing along i, j, k in mm; shading
LOOKS = {
    "PET": ((0.0, 0.3, 0.7, 2.2, 1.9, 1.6, 1.5), 0.12, (4.0, 4.0, 3.3), 0.0),
    "CT": ((-1000, -100, 55, 55, 50, 40, 180), 15.0, (1.5, 1.5, 3.0), 0.0),
    "T1": ((5, 600, 250, 330, 230, 90, 420), 12.0, (1.6, 1.6, 6.0), 0.25),
}


@cache
def abdomen(kind):
    """An image of a trunk with its organs, and the organs' masks by role."""
    values, noise, spacing, shading = LOOKS[kind]
    turn = np.deg2rad(5)
    axes = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    grid = np.eye(4)
    grid[:3, :3] = axes * spacing
    count = np.round(np.array([360, 260, 150]) / spacing).astype(int)
    grid[:3, 3] = -grid[:3, :3] @ (count / 2)
    k, j, i = np.indices(count[::-1])
    empty = Volume(np.zeros(count[::-1], np.float32), grid, kind)
    at = empty.to_ras(np.stack([i, j, k], -1))
    x, y, z = np.moveaxis(at, -1, 0)

    def ellipsoid(middle, half):
        return (((at - middle) / half) ** 2).sum(-1) < 1

    liver, spleen = ellipsoid(LIVER, (65, 60, 60)), ellipsoid(SPLEEN, (22, 40, 45))
    aorta = (x - AORTA[0]) ** 2 + (y - AORTA[1] - TILT * z) ** 2 < 12**2
    vessel = (y - 15) ** 2 + (z - 30) ** 2 < 2.5**2  # in the liver
    tissue = ((x / 165) ** 2 + (y / 115) ** 2 < 1).astype(int)  # fat
    tissue[(x / 145) ** 2 + (y / 95) ** 2 < 1] = 1
    tissue[((x / 160) ** 2 + (y / 108) ** 2 < 1) & ((x / 150) ** 2 + (y / 100) ** 2 > 1)] = 2
    for number, mask in ((3, liver), (5, vessel & liver), (4, spleen), (5, aorta & ~liver)):
        tissue[mask] = number
    tissue[(x + 2) ** 2 + (y + 70) ** 2 < 20**2] = 6
    rng = np.random.default_rng(3)
    seen = np.array(values, np.float32)[tissue] * (1 + shading * x / 160)
    seen += rng.normal(0, noise, seen.shape)
    if kind == "PET":
        from scipy.ndimage import gaussian_filter

        seen = gaussian_filter(seen, 6 / 2.355 / np.array(spacing[::-1]))
    image = Volume(seen.astype(np.float32), grid, kind, {"Modality": kind} if kind == "CT" else {})
    return image, {Role.LIVER: liver, Role.SPLEEN: spleen, Role.BLOOD: aorta & ~liver}


def distance_to_edge(image, mask):
    """From voxels of a structure to its edge, by another way than the product's: mm."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(mask, sampling=image.spacing[::-1]) - image.spacing.max() / 2


@pytest.mark.parametrize("kind", LOOKS)
@pytest.mark.parametrize("off", [(0, 0, 0), (20, 10, -15), (-30, 5, 25)])
def test_a_sphere_of_3_cm_well_inside_the_liver(kind, off):
    image, truth = abdomen(kind)
    found = place(as_seen(image), np.array(LIVER) + off, Role.LIVER)
    assert not found.unsure
    mask = found.roi.full_mask(image.array.shape)
    ml = np.count_nonzero(mask) * image.voxel_volume_mm3 / 1000
    assert ml == pytest.approx(14.1, rel=0.01)
    assert (truth[Role.LIVER] & mask).sum() == mask.sum()
    inside = distance_to_edge(image, truth[Role.LIVER])[mask].min()
    assert inside > 10 - image.spacing.max()
    center = image.to_ras(np.argwhere(mask).mean(axis=0)[::-1])
    spread = image.to_ras(np.argwhere(mask)[:, ::-1]) - center
    assert np.linalg.norm(spread, axis=1).max() < 15 + image.spacing.max()


@pytest.mark.parametrize("kind", LOOKS)
def test_a_click_near_the_edge_is_moved_inside(kind):
    image, truth = abdomen(kind)
    click = np.array(LIVER) + (0, 45, 0)  # 15 mm from the edge
    found = place(as_seen(image), click, Role.LIVER)
    mask = found.roi.full_mask(image.array.shape)
    assert not found.unsure
    assert distance_to_edge(image, truth[Role.LIVER])[mask].min() > 10 - image.spacing.max()
    center = image.to_ras(np.argwhere(mask).mean(axis=0)[::-1])
    assert np.linalg.norm(center - click) < 25


@pytest.mark.parametrize("kind", LOOKS)
def test_spleen_and_aorta(kind):
    image, truth = abdomen(kind)
    seen = as_seen(image)
    for role, click, ml in ((Role.SPLEEN, SPLEEN, 4.19), (Role.BLOOD, AORTA, 1.571)):
        found = place(seen, np.array(click, float) + (2, -2, 3), role)
        assert not found.unsure, role
        mask = found.roi.full_mask(image.array.shape)
        volume = np.count_nonzero(mask) * image.voxel_volume_mm3 / 1000
        assert volume == pytest.approx(ml, abs=image.voxel_volume_mm3 / 1900)
        assert not (mask & ~truth[role]).any(), role
    at = image.to_ras(np.argwhere(mask)[:, ::-1])
    length = np.ptp(at @ (0, TILT, 1)) / np.hypot(1, TILT)
    assert abs(length - 20) < 10  # along the vessel, and not across


def test_what_is_seen_of_the_organs_is_their_uptake():
    image, _ = abdomen("PET")
    places = {"liver": LIVER, "spleen": SPLEEN, "blood pool": AORTA}
    regions, _ = regions_from_clicks(image, places=places)
    for region, value in zip(regions, (2.2, 1.9, 1.6), strict=True):
        assert not region.doubtful
        assert np.mean(region.values(image.array)) == pytest.approx(value, rel=0.02)


def test_what_may_be_wrong_is_said():
    image, _ = abdomen("PET")
    left = place(image, np.array(SPLEEN), Role.LIVER)
    assert any("left of the body's middle; the right lobe" in text for text in left.unsure)
    assert any("The liver was found" in text and "25 mm are wanted" in text for text in left.unsure)
    right = place(image, np.array(LIVER), Role.SPLEEN)
    assert any("right of the body's middle, and the spleen" in text for text in right.unsure)
    wide = place(image, np.array(LIVER), Role.BLOOD)
    assert any("wider than 4 cm" in text for text in wide.unsure)
    assert wide.roi.cautions == wide.unsure


@pytest.mark.parametrize(
    ("role", "what"),
    [
        (Role.BLOOD, "narrow"), (Role.LIVER, "noise"), (Role.SPLEEN, "noise"),
        (Role.LIVER, "nothing"), (Role.BLOOD, "nothing"),
    ],
)  # fmt: skip
def test_nothing_wide_enough_at_the_click_is_refused(role, what):
    """A vessel of 4 mm as a young child's, noise of air round 0, and a place without a value."""
    image = Volume(np.full((30, 60, 60), -100, np.float32), np.diag([1.5, 1.5, 3, 1]), "CT")
    if what == "narrow":
        image.array[:, 29:32, 29:32] = 40
    elif what == "noise":
        image.array[:] = np.random.default_rng(0).normal(0, 20, image.array.shape)
    else:
        image.array[:] = np.nan
    with pytest.raises(ValueError, match=f"No {role.value} was found at the click"):
        place(image, image.to_ras(np.array([30.0, 30, 15])), role)


@pytest.mark.parametrize("rounding", [-1e-7, 0.0, 1e-7])
def test_the_last_digit_of_a_grid_doubts_no_sphere(rounding):
    """A liver that is seen 50 mm wide: its middle is 25 mm deep, as much as is wanted."""
    seen = np.zeros((43, 43, 43), np.float32)
    seen[8:35, 8:35, 8:35] = 2.0  # its outermost voxels are blurred away
    image = Volume(seen, np.diag([*[2.0 + rounding] * 3, 1.0]), "PET")
    found = place(image, np.array([46.0, 42.0, 42.0]), Role.LIVER)
    assert not found.unsure
    np.testing.assert_allclose(found.roi.centroid_ijk(), 21, atol=0.1)


def test_an_organ_clicked_in_a_pet_lies_there_on_the_grid_of_the_regions(tmp_path):
    """A label map on a grid of its own, and no image but the PET to click in."""
    from MarrowAssessLib.catalogue.contrasts import Contrast
    from MarrowAssessLib.sources.labels import parse_label_rule
    from MarrowAssessLib.sources.study_files import read_study

    image, _ = abdomen("PET")
    image.attributes |= {"Units": "g/ml", "Tracer": "FDG", "UptakeTime": 60.0}
    write_volume(image, tmp_path / "pet.nrrd")
    grid = np.diag([2.5, 2.5, 3.0, 1.0])
    grid[:3, 3] = (-130, -110, -60)
    labels = Volume(np.zeros((40, 80, 104), np.uint8), grid, "labels")
    i, j, k = np.rint(labels.ras_to_ijk(np.array((-2.0, -70.0, 0.0)))).astype(int)
    labels.array[k - 4 : k + 5, j - 5 : j + 6, i - 5 : i + 6] = 1
    write_volume(labels, tmp_path / "labels.nrrd")

    def placed(**places):
        return read_study(
            {Contrast.SUV: tmp_path / "pet.nrrd"},
            labels=tmp_path / "labels.nrrd",
            rules=[parse_label_rule("1=marrow:L1")],
            places={name.replace("_", " "): point for name, point in places.items()},
        )

    study = placed(liver=LIVER, blood_pool=AORTA)
    assert study.grid.same_grid(labels) and study.volumes[Contrast.SUV].same_grid(image)
    found = {one.role: one for one in study.regions}
    for role, place_ras in ((Role.LIVER, LIVER), (Role.BLOOD, AORTA)):
        apart = labels.to_ras(found[role].centroid_ijk()) - place_ras
        assert np.linalg.norm(apart) < 10, role
    with pytest.raises(ValueError, match=r"SUV shows the point .* are drawn ends before it; give"):
        placed(liver=(150.0, 0.0, -30.0))
    with pytest.raises(ValueError, match=r"liver: the point .* lies outside SUV; put it inside"):
        placed(liver=(900.0, 0.0, 0.0))
    from MarrowAssessLib.measures.measure import measure

    values = {one.quantity: one.value for one in measure(study).measurements}
    assert values["liver_suv"] == pytest.approx(2.2, rel=0.02)
    assert values["blood_suv"] == pytest.approx(1.6, rel=0.02)


def test_the_command_places_them(tmp_path):
    image, _ = abdomen("PET")
    image.attributes |= {"Units": "g/ml", "Tracer": "FDG", "UptakeTime": 60.0}
    write_volume(image, tmp_path / "pet.nrrd")
    arguments = ["assess", "--volume", f"SUV={tmp_path / 'pet.nrrd'}", "--no-scene"]
    for name, point in (("liver", LIVER), ("spleen", SPLEEN), ("blood pool", AORTA)):
        arguments += ["--place", f"{name}={','.join(map(str, point))}"]
    assert main([*arguments, "--age", "50", "--out", str(tmp_path / "out")]) == 0
    rows = read_csv(tmp_path / "out" / "measurements.csv", "a table", ("quantity", "value"))
    values = {row["quantity"]: float(row["value"]) for _, row in rows}
    for key, value in (("liver_suv", 2.2), ("spleen_suv", 1.9), ("blood_suv", 1.6)):
        assert values[key] == pytest.approx(value, rel=0.02), key


def test_a_real_liver_takes_the_sphere_wherever_it_is_clicked(shared):
    """Soft-tissue sarcoma, Vallieres 2015 (CC BY 3.0): voxels scatter by a fifth in the liver."""
    from PDFFMapperLib.dicom.folder import read_dicom_folder

    folder = shared / "cases" / "ct_pet" / "sts_001_petct_mr" / "FDG_PET_raw"
    (series,) = read_dicom_folder(folder)
    image = series.volumes[0]
    for ijk in ((52, 66, 155), (45, 70, 150), (58, 60, 165), (50, 74, 150)):
        found = place(image, image.to_ras(np.array(ijk, float)), Role.LIVER)
        assert not found.unsure
        assert found.roi.voxels * image.voxel_volume_mm3 == pytest.approx(14137, rel=0.01)
        assert np.mean(found.roi.values(image.array)) == pytest.approx(2.0, abs=0.1)
    # Without contrast an aorta beside vertebrae of the same uptake is not told apart.
    beside = place(image, image.to_ras(np.array((72, 74, 190), float)), Role.BLOOD)
    assert any("wider than 4 cm" in text for text in beside.unsure)


def test_a_click_in_the_scene_draws_them():
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from MarrowAssessLib.scene import headless

    headless.start()
    from MarrowAssessLib.scene.column import place_click
    from MarrowAssessLib.scene.segments import regions_from_node, regions_to_node
    from PDFFMapperLib.scene.volumes import volume_to_node

    image, _ = abdomen("CT")
    node = volume_to_node(image)
    drawn = regions_to_node([], node)
    for role, click in (("liver", LIVER), ("spleen", SPLEEN), ("blood pool", AORTA)):
        placed = place_click(drawn, node, click, role)
        assert placed.region.role.value == role and not placed.region.cautions
    names = [(one.name, one.role, one.site) for one in regions_from_node(drawn, node)]
    expected = [("liver 1", Role.LIVER), ("spleen 1", Role.SPLEEN), ("blood pool 1", Role.BLOOD)]
    assert names == [(*one, "") for one in expected]
