"""Dual-energy CT: mixtures of known content, body size, noise, headers, and what is refused."""

import json
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PDFFMapperLib.dual_energy import calibration
from PDFFMapperLib.dual_energy.body_size import MOST_CUT, cut_share, water_equivalent_cm
from PDFFMapperLib.dual_energy.decomposition import (
    decompose_slice,
    hap_beside_water,
    projected,
    sd_of,
    seen_of,
    systematic_error,
    three_materials,
    volume_shares,
    voxel_sd,
    weights_of,
)
from PDFFMapperLib.dual_energy.maps import AIR, BEYOND, CUT_OFF, DENSE, METAL
from PDFFMapperLib.dual_energy.pair import kv_of, kv_pair_of
from PDFFMapperLib.dual_energy.recipe import DUAL_ENERGY, PAIRS
from PDFFMapperLib.images.volume import Volume

THREE, PROJECTED = DUAL_ENERGY.recipe("three-materials"), DUAL_ENERGY.recipe("projected")
BEAMS = [*[(pair, cm) for pair in PAIRS for cm in (15, 30, 45)], ("50/200 keV", None)]


def beam(pair, cm):
    if cm is None:
        return calibration.of_kev(50, 200)
    return calibration.of_kv_pair(pair, cm)


def seen(of, hap, yellow):
    """CT numbers of mineral (mg/cm^3) in marrow of which so much (0 to 1) is yellow."""
    share = hap / 3160
    marrow = yellow * of.yellow + (1 - yellow) * of.red
    return (share * of.hap + (1 - share) * marrow).astype(np.float32)


def images(of=None, sd=(0, 0), hap=100.0, yellow=0.5, shape=(4, 60, 60), **facts):
    """A round body of red marrow with a square of bone and one of the mixture, in both images."""
    of = of or calibration.of_kv_pair("90/Sn150", 20)
    rng = np.random.default_rng(1)
    j, i = np.indices(shape[1:])
    body = (j - 30) ** 2 + (i - 30) ** 2 < 26**2
    pair = []
    for n, kv in ((0, 90.0), (1, 150.0)):
        array = np.full(shape, -1000, np.float32)
        array[:, body] = seen(of, 0, 0.0)[n]
        array[:, 34:44, 20:40] = seen(of, 600, 0.5)[n]
        array[:, 18:30, 20:40] = seen(of, hap, yellow)[n]
        array[:, body] += rng.normal(0, sd[n], (shape[0], body.sum())) if sd[n] else 0
        tin = "TIN" if n else "ALUMINUM"
        stated = {"Modality": "CT", "KVP": kv, "FilterMaterial": tin, **facts}
        pair.append(Volume(array, np.diag([4.0, 4, 5, 1]), ("low", "high")[n], stated))
    return pair


def made(pair, recipe=THREE, **settings):
    return {one.name: one for one in recipe.make(pair, **settings)}


MIXTURE = (slice(None), slice(18, 30), slice(20, 40))


# --- physics ---


def test_pairs_offered_are_those_of_the_table():
    assert calibration.known_pairs() == PAIRS


@pytest.mark.parametrize(("pair", "cm"), BEAMS)
def test_mixtures_without_noise(pair, cm):
    of = beam(pair, cm)
    for hap in (0, 50, 100, 200, 400):
        for yellow in (0, 0.3, 1):
            low, high = seen(of, hap, yellow).astype(float)
            found = three_materials(np.array([low]), np.array([high]), of)
            marrow = yellow * of.yellow + (1 - yellow) * of.red
            assert found.hap[0] == pytest.approx(hap, abs=0.1)
            assert found.yellow[0] == pytest.approx(100 * yellow, abs=0.1)
            assert found.vnca[0] == pytest.approx(marrow.mean(), abs=0.1)


def test_mineral_beside_water_reads_low_in_fat():
    of = calibration.of_kv_pair("90/Sn150", 30)
    for yellow, reads in ((0, 85.4), (0.5, 72.9), (1, 60.4)):
        assert hap_beside_water(of)(*seen(of, 100, yellow)) == pytest.approx(reads, abs=0.3)
    water = hap_beside_water(of)(np.zeros(1, np.float32), np.zeros(1, np.float32))
    assert water == pytest.approx(0, abs=1e-3)


def test_the_truth_of_others(shared):
    """Mixtures and sizes computed apart with spekpy and xraylib (CC0)."""
    folder = shared / "cases" / "ct_pet" / "dect_phantom"
    for name, truth in json.loads((folder / "mixtures_truth.json").read_text()).items():
        pair, size, *_ = name.split()
        cm = None if size == "keV" else float(size)
        of = calibration.of_kev(*map(float, pair.split("/"))) if cm is None else beam(pair, cm)
        assert of.de_ratio == pytest.approx(truth["de_ratio"], abs=1e-3)
        for case in truth["cases"]:
            both = np.array([case["low_HU"]]), np.array([case["high_HU"]])
            found = three_materials(*both, of)
            assert found.hap[0] == pytest.approx(case["hap"], abs=0.1)
            assert found.yellow[0] == pytest.approx(100 * case["fat"], abs=0.1)
            assert hap_beside_water(of)(*both)[0] == pytest.approx(case["hap_water"], abs=0.1)


def test_a_fixed_ratio_fails_where_the_body_is_another():
    usual = calibration.of_kv_pair("90/Sn150", 30)
    for cm in (15, 45):
        of = calibration.of_kv_pair("90/Sn150", cm)
        both = [np.array([n]) for n in seen(of, 150, 0.5)]
        assert three_materials(*both, of).hap[0] == pytest.approx(150, abs=0.1)
        assert abs(three_materials(*both, usual).hap[0] - 150) > 6


def test_projection_is_that_of_the_formula():
    """d = (x_L - R_L - s (x_H - R_H))/(r - s), by hand, with the published 90/Sn150."""
    of = calibration.published("90/Sn150")
    assert of.de_ratio == pytest.approx(1.81)
    low, high, s = 200.0, 120.0, (75 + 115) / (60 + 82)
    d = (low - 75 - s * (high - 60)) / (1.81 - s)
    expected = 0.3 * (low - 1.81 * d) + 0.7 * (high - d)
    found = projected(of, 0.3)(np.array([low], np.float32), np.array([high], np.float32))
    assert found == pytest.approx(expected, abs=0.01)
    stated = calibration.stated("-115, -82, 75, 60, 1.81")
    assert projected(stated, 0.3)(*np.float32([[low], [high]])) == pytest.approx(found)


def test_noise_and_its_interval():
    """500 noisy regions of 956 voxels: no bias, and 95 % intervals that hold."""
    of = calibration.of_kv_pair("90/Sn150", 30)
    rng, noise = np.random.default_rng(0), np.diag([15.0**2, 12.0**2])
    sd = voxel_sd(of, noise)[0]
    assert sd == pytest.approx(3160 * volume_shares(of).hap.sd(noise), rel=0.01)
    means = np.empty(500)
    for n in range(500):
        low, high = (
            m + rng.normal(0, s, 956) for m, s in zip(seen(of, 100, 0.5), (15, 12), strict=True)
        )
        means[n] = three_materials(low, high, of).hap.mean()
    half = 1.96 * sd / np.sqrt(956)
    assert abs(means.mean() - 100) < 0.3 * half / 1.96
    assert 0.93 <= np.mean(np.abs(means - 100) <= half) <= 0.97


def test_systematic_errors_follow_the_ratio():
    of = calibration.of_kv_pair("80/140", 30)
    other = calibration.of_kv_pair("90/Sn150", 30)
    assert (systematic_error(of) > systematic_error(other)).all()  # energies that lie closer
    both = [np.array([n]) for n in seen(of.with_de_ratio(of.de_ratio + 0.03), 100, 0.5)]
    alone = abs(three_materials(*both, of).hap[0] - 100)
    assert 0 < alone < systematic_error(of)[0]
    # A DE ratio off by 0.03, each marrow's CT number at each beam by 5 HU, as independent errors.
    mixed = seen_of(of, 100.0)
    wrong = [of.with_de_ratio(of.de_ratio + 0.03)]
    for beam in ((5.0, 0.0), (0.0, 5.0)):
        wrong += [replace(of, yellow=of.yellow + beam), replace(of, red=of.red + beam)]
    squares = [(three_materials(mixed[:1], mixed[1:], one).hap[0] - 100) ** 2 for one in wrong]
    assert systematic_error(of)[0] == pytest.approx(sum(squares) ** 0.5, rel=1e-3)


def test_water_equivalent_diameter_of_water():
    j, i = np.indices((100, 100))
    disk = np.where((j - 50) ** 2 + (i - 50) ** 2 < 40**2, 0, -1000).astype(np.float32)
    found = water_equivalent_cm(np.stack([disk, np.full_like(disk, -1000)]), np.array([3, 3, 5]))
    assert found[0] == pytest.approx(24, rel=0.01)
    border = np.full((1, 51, 51), -1000)
    for places, told in ((4, False), (5, True)):  # of the 204 along it
        border[0, 0, 10 : 10 + places] = 40
        assert cut_share(border) == pytest.approx(places / 204)
        assert (cut_share(border) > MOST_CUT) is told
    assert found[1] == 0


# --- maps ---


def test_maps_of_two_images():
    found = made(images(sd=(15, 12), strict=True))
    values = {name: np.nanmean(one.volume.array[MIXTURE]) for name, one in found.items()}
    assert values["HAP"] == pytest.approx(100, abs=5)
    assert values["yellow_share"] == pytest.approx(50, abs=12)
    assert np.isnan(found["HAP"].volume.array[0, 0, 0])
    assert found["doubt"].volume.array[0, 0, 0] == AIR
    facts = found["HAP"].provenance
    assert facts["calibration"] == "table of 90/Sn150 kV"
    assert facts["water_cm"] == pytest.approx([21, 21], abs=2)
    assert facts["voxel_sd"]["HAP"] == pytest.approx(55, rel=0.1)
    assert any("HU at the low, 1" in note for note in facts["notes"])
    assert any("The body is worth 2" in note for note in facts["notes"])
    assert found["HAP"].kind.unit == "mg/cm^3" and found["VNCa"].kind.unit == "HU"


@pytest.mark.parametrize("stored", [np.int16, np.float32])
def test_maps_hold_what_the_formula_makes_of_each_voxel(stored):
    rng = np.random.default_rng(1)
    of = calibration.of_kv_pair("90/Sn150", 30)
    low = np.rint(rng.normal(150, 400, (40, 50)))
    high = np.rint(0.6 * low + rng.normal(0, 20, low.shape))
    doubt = (rng.random(low.shape) < 0.1).astype(np.uint8)
    expected = three_materials(low, high, of)
    found = np.empty((4, *low.shape), np.float32)
    weights, told = weights_of(of).astype(np.float32), doubt.copy()
    decompose_slice(low.astype(stored), high.astype(stored), weights, told, *found)
    dense = (expected.hap > 600) & (doubt == 0)
    assert dense.any() and np.array_equal(told, np.where(dense, 8, doubt))
    for one, value, left_out in (
        (found[0], expected.hap, doubt > 0),
        (found[1], expected.yellow, dense | (doubt > 0)),
        (found[2], expected.vnca, dense | (doubt > 0)),
    ):
        np.testing.assert_allclose(one, np.where(left_out, np.nan, value), rtol=1e-4, atol=0.02)
    assert np.array_equal(np.isnan(found[3]), doubt > 0)


def test_maps_of_sd_are_what_repeats_scatter_by():
    """400 voxels of one mixture with noise of 3 and 2.5 HU that rises and falls together."""
    of = calibration.of_kv_pair("90/Sn150", 20)
    covariance = np.array([[9.0, 3.0], [3.0, 6.25]])
    rng = np.random.default_rng(0)
    noisy = seen(of, 250, 0.3)[:, None] + rng.multivariate_normal((0, 0), covariance, 20000).T
    found = three_materials(*noisy.astype(np.float32), of)
    exact = np.array([[250.0], [30.0], [float((0.3 * of.yellow + 0.7 * of.red).mean())]])
    sds = [float(one[0]) for one in sd_of(exact, of, covariance)]
    assert [one.std() for one in (found.hap, found.yellow, found.vnca)] == pytest.approx(sds, 0.02)


def test_maps_of_sd_on_request():
    assert "HAP_SD" not in made(images(sd=(15, 12)))
    found = made(images(sd=(15, 12)), sd=True)
    at_mixture = {name: np.nanmedian(one.volume.array[MIXTURE]) for name, one in found.items()}
    told = found["HAP"].provenance["voxel_sd"]
    for name in ("HAP", "yellow_share", "VNCa"):
        assert at_mixture[f"{name}_SD"] == pytest.approx(told[name], rel=0.02)
        values = found[name].volume.array
        assert np.array_equal(np.isnan(found[f"{name}_SD"].volume.array), np.isnan(values))
        assert np.nanstd(values[MIXTURE]) == pytest.approx(told[name], rel=0.15)


def test_metal_and_what_lies_near_it_have_no_value():
    pair = images()
    for one in pair:
        one.array[2, 25, 25] = 3071
    doubt = made(pair)["doubt"]
    assert doubt.volume.array[2, 25, 25] == METAL | CUT_OFF
    assert doubt.volume.array[2, 25, 26] == METAL and doubt.volume.array[2, 25, 29] == 0
    assert np.count_nonzero(doubt.volume.array & METAL) == 7  # voxels of 4 x 4 x 5 mm within 5 mm
    assert "metal within 5 mm" in doubt.codes.values()
    fine = [Volume(one.array, np.diag([1.0, 1, 1, 1]), one.name, one.attributes) for one in pair]
    around = np.argwhere(made(fine, water_cm=20)["doubt"].volume.array & METAL)
    squared = [((np.array(one) - (2, 25, 25)) ** 2).sum() for one in around]
    assert max(squared) == 25 and len(squared) > 200


def test_dense_bone_has_its_mineral_and_no_marrow():
    """600 mg/cm^3 and more is cortex: by noise half of this square's voxels."""
    found = made(images(sd=(4, 3)))
    bone = (slice(None), slice(34, 44), slice(20, 40))
    dense = found["HAP"].volume.array[bone] > 600
    assert 0.2 < dense.mean() < 0.95
    assert np.isfinite(found["HAP"].volume.array[bone]).all()
    for name in ("VNCa", "yellow_share"):
        assert np.array_equal(np.isnan(found[name].volume.array[bone]), dense)
    assert np.array_equal(found["doubt"].volume.array[bone] == DENSE, dense)
    assert not found["doubt"].volume.array[MIXTURE].any()
    assert found["doubt"].codes[DENSE].startswith("mineral above 600")


def test_canceling():
    with pytest.raises(InterruptedError, match=r"Mapping was canceled\."):
        made(images(), progress=lambda share: False)


def test_a_calibration_of_ones_own():
    of = calibration.of_kv_pair("90/Sn150", 20)
    numbers = ",".join(f"{n:.4f}" for n in (*of.yellow, *of.red, *of.hap))
    found = made(images(), calibration=numbers)["HAP"].volume.array[MIXTURE]
    assert np.nanmean(found) == pytest.approx(100, abs=0.1)
    found = made(images(), PROJECTED)["VNCa_projected"]
    assert found.provenance["calibration"] == "published for 90/Sn150 kV"


def test_the_phantom_as_dicom(shared, tmp_path):
    """Five vertebrae of known content behind 30 cm of water (CC0)."""
    from PDFFMapperLib.commands.ct_files import read
    from PDFFMapperLib.images.files import read_volume

    folder = shared / "cases" / "ct_pet" / "dect_phantom"
    with zipfile.ZipFile(folder / "series.zip") as archive:
        archive.extractall(tmp_path)
    labels = read_volume(folder / "labels.nrrd").array
    pair, _, _ = read(SimpleArguments([tmp_path]))
    assert [one.attributes["KVP"] for one in pair] == [90, 150]
    mono, _, _ = read(SimpleArguments([tmp_path / "vmi_50keV", tmp_path / "vmi_200keV"]))
    for found, close in ((made(pair, water_cm=30.0), 8), (made(mono), 4)):
        for label, hap in ((10, 50), (12, 100), (14, 200), (16, 150)):
            mean = np.nanmean(found["HAP"].volume.array[labels == label])
            assert mean == pytest.approx(hap, abs=close)
        infiltrated, usual = (
            np.nanmean(found["VNCa"].volume.array[labels == label]) for label in (19, 18)
        )
        assert infiltrated - usual > 30
    with pytest.raises(ValueError, match="is a material image"):
        material, _, _ = read(SimpleArguments([tmp_path / "low_90kV", tmp_path / "hap_water"]))
        made(material)


class SimpleArguments:
    def __init__(self, paths, resample=False):
        self.images, self.resample = paths, resample


# --- refusals ---


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a, b: (b, a), "the second of 90 kV; give the low one first"),
        (lambda a, b: (a, b.with_array(b.array * 1.4)), "but 1."),
        (lambda a, b: (facts(a, KVP=125.0), facts(b, FilterMaterial="")), "too close to tell"),
        (lambda a, b: (facts(a, KVP=None), b), "tells its tube voltage"),
        (lambda a, b: (facts(a, SeriesDescription="Spine 80kV"), b), "its description says 80 kV"),
        (lambda a, b: (facts(a, KVP=110.0), b), "no table of the tube voltages 110/Sn150"),
        (
            lambda a, b: (facts(a, ImageType="DERIVED\\PRIMARY\\MIP"), b),
            "is a mip, not a stack of slices",
        ),
        (lambda a, b: (facts(a, ImageType="ORIGINAL\\PRIMARY\\LOCALIZER"), b), "is a localizer"),
        (lambda a, b: (a, facts(b, ImageType="DERIVED\\PRIMARY\\AXIAL\\MAT_REMOVED")), "material"),
        (lambda a, b: (a, facts(b, RescaleType="HU_MOD")), "are 'HU_MOD', not CT numbers"),
        (lambda a, b: (a.with_array(a.array + 1024), b), "rescale intercept is missing"),
        (lambda a, b: (a, facts(b, ContrastBolusAgent="Iomeprol")), "contrast agent was given"),
        (
            lambda a, b: (facts(a, FrameOfReference="a"), facts(b, FrameOfReference="b")),
            "are of different frames of reference",
        ),
        (lambda a, b: (a, moved(b, 0.1)), "a pair is of one scan"),
        (lambda a, b: (a, moved(b, 4.0)), "placed or oriented differently"),
        (lambda a, b: (a, b.with_array(b.array[:-1])), "another voxel grid"),
        (lambda a, b: (cut(a), cut(b)), "the body goes on beyond the image"),
    ],
)
def test_what_cannot_be_a_pair_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        made(list(change(*images())))


def facts(image, **changes):
    other = image.with_array(image.array, image.name)
    other.attributes |= changes
    return other


def moved(image, mm):
    other = image.with_array(image.array + 0.1)
    other.ijk_to_ras[2, 3] += mm
    return other


def cut(image):
    return facts(image.with_array(image.array[:, 15:45, 15:45]), RescaleIntercept=-1024)


def test_swapped_or_equal_images_show_in_bone():
    low, high = images()
    with pytest.raises(ValueError, match="look swapped: bone is darker"):
        made([high, low], kv_pair="90/Sn150")
    with pytest.raises(ValueError, match="seem to be of one energy"):
        made([low, low.with_array(low.array + 1)], kv_pair="90/Sn150")


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: calibration.of_kv_pair("90/Sn150", 60), "60 to 60 cm of water; tables reach"),
        (lambda: calibration.of_kev(30, 140), "30 keV lies beyond the table"),
        (lambda: calibration.of_kev(60, 70), "60 and 70 keV are too close"),
        (lambda: calibration.published("80/Sn140"), "No maker's calibration of 80/Sn140 kV"),
        (lambda: calibration.stated("1,2,3"), "'1,2,3' is no calibration"),
        (lambda: projected(calibration.stated("-100,-80,50,40,1.25")), "calcium from marrow"),
        (
            lambda: volume_shares(calibration.stated("0,0,100,50,2")),
            "its three materials lie on one line",
        ),
    ],
)
def test_calibrations_that_cannot_be(ask, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        ask()


def test_headers_name_the_pair():
    def image(**stated):
        return Volume(np.zeros((1, 1, 1)), np.eye(4), "x", stated)

    assert kv_of(image(SeriesDescription="DE_Abd A 80kV")) == (80, False)
    assert kv_of(image(SeriesDescription="DE_Abd B Sn150kV", KVP=150)) == (150, True)
    assert kv_pair_of(image(KVP=100), image(KVP=140, FilterMaterial="TIN")) == "100/Sn140"
    assert kv_pair_of(image(KVP=120), image(KVP=140, FilterMaterial="TIN")) == "120/Sn140"
    assert kv_of(image()) is None


def test_roles_of_ct():
    from PDFFMapperLib.dicom.series_role import guess_role

    def role(**stated):
        return guess_role({"Modality": "CT", **stated})

    assert role(KVP=90) == "ct_low" and role(KVP=150, FilterMaterial="TIN") == "ct_high"
    assert role(KVP=120) is None
    assert role(SeriesDescription="MonoE 50 keV") == "ct_low"
    assert role(MonoenergeticEnergyEquivalent=200.0) == "ct_high"
    removed = ["DERIVED", "PRIMARY", "AXIAL", "MAT_REMOVED"]
    assert role(ImageType=removed, SeriesDescription="VNCa") is None  # may be without contrast
    assert role(ImageType=removed, DecompositionMaterials=["calcium"]) == "vnca_projected"


@pytest.mark.parametrize(
    ("stored", "slope", "intercept"),
    [
        (np.int16, 1, 0),
        (np.uint16, 1, -1024),
        (np.int16, 1, -1024),
        (np.uint16, 1, -8192),
        (np.uint16, 0.1, -1024),
    ],
)
def test_ct_numbers_are_those_of_any_storage(tmp_path, stored, slope, intercept):
    from dicom_files import classic_slice
    from PDFFMapperLib.dicom.selection import read_source

    hu = np.array([[-1000, -100, 0], [50, 400, 3000]])
    for k in range(3):
        classic_slice(
            tmp_path, f"{k}.dcm", k, np.rint((hu - intercept) / slope).astype(stored),
            Modality="CT", KVP=90, sop_class="1.2.840.10008.5.1.4.1.1.2", series="1.2.3",
            RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU",
        )  # fmt: skip
    volume = read_source(tmp_path)
    np.testing.assert_allclose(volume.array[1], hu, atol=0.06)
    assert volume.attributes["RescaleIntercept"] == intercept


def test_folders_that_do_not_settle_the_pair(tmp_path):
    from dicom_files import classic_slice
    from PDFFMapperLib.commands.ct_files import read

    for k in range(3):
        classic_slice(
            tmp_path, f"{k}.dcm", k, np.full((4, 4), k, np.int16), Modality="CT", KVP=90,
            sop_class="1.2.840.10008.5.1.4.1.1.2", series="1.2.3",
        )  # fmt: skip
    with pytest.raises(ValueError, match="1 series look like low and 0 like high"):
        read(SimpleArguments([tmp_path]))
    with pytest.raises(ValueError, match="3 images were given; two are expected"):
        read(SimpleArguments([tmp_path] * 3))


def written(tmp_path, high):
    """Arguments of files of the usual low image and of this high one."""
    from PDFFMapperLib.images.files import write_volume

    low, _ = images()
    paths = [tmp_path / f"{name}.nrrd" for name in ("low", "high")]
    for image, path in zip((low, high), paths, strict=True):
        write_volume(image, path)
    return paths


def test_a_pair_on_two_grids_is_resampled_on_request_alone(tmp_path):
    """Even along z, shifted by most of a slice: the mixture is as it was, the first slice empty."""
    from PDFFMapperLib.commands.ct_files import read

    paths = written(tmp_path, moved(images()[1], 4.0))
    with pytest.raises(ValueError, match=r"ask for resampling \(--resample\)"):
        read(SimpleArguments(paths))
    pair, _, notes = read(SimpleArguments(paths, resample=True))
    assert any(
        "high.nrrd was interpolated linearly onto the grid of low.nrrd" in note for note in notes
    )
    found = made(pair, kv_pair="90/Sn150", water_cm=20)
    assert np.nanmean(found["HAP"].volume.array[MIXTURE]) == pytest.approx(100, abs=0.5)
    assert (found["doubt"].volume.array[0] == BEYOND).all()
    assert found["doubt"].codes[BEYOND] == "beyond the other image"
    assert np.isnan(found["HAP"].volume.array[0]).all()
    assert np.isfinite(found["HAP"].volume.array[1:][:, 18:30, 20:40]).all()


def test_a_pair_that_hardly_overlaps_is_not_resampled(tmp_path):
    from PDFFMapperLib.commands.ct_files import read

    with pytest.raises(ValueError, match=r"share 25 % of low\.nrrd, less than 50 %; they are"):
        read(SimpleArguments(written(tmp_path, moved(images()[1], 15)), resample=True))


@pytest.mark.parametrize("sop_class", ["1.3.46.670589.33.1.9", "1.2.840.10008.5.1.4.1.1.66"])
def test_raw_spectral_objects_are_named_and_what_helps(tmp_path, sop_class):
    """A private object, or one of the standard's raw data, beside a CT of one energy."""
    from dicom_files import classic_slice, header
    from PDFFMapperLib.commands.ct_files import read

    for n in range(2):
        raw = header(sop_class, "1.2.4", Modality="CT", SeriesDescription="SBI")
        raw.save_as(tmp_path / f"raw{n}.dcm")
    words = r"2 x .*raw data of a CT.* such as spectral base images .* export from there two"
    with pytest.raises(ValueError, match=words):
        read(SimpleArguments([tmp_path]))
    for k in range(3):
        classic_slice(
            tmp_path, f"{k}.dcm", k, np.full((4, 4), k, np.int16), Modality="CT", KVP=90,
            sop_class="1.2.840.10008.5.1.4.1.1.2", series="1.2.3",
        )  # fmt: skip
    with pytest.raises(ValueError, match=f"1 series look like low and 0 like high.*{words}"):
        read(SimpleArguments([tmp_path]))


def ct_frames(tmp_path, multi_frame):
    """Images of 50 and 200 keV in one series, as slices or as one enhanced object."""
    from dicom_files import header, orientation, position, put_pixels
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    of = calibration.of_kev(50, 200)
    low, high = images(of)
    series, frames = "1.2.3", []
    for k in range(4):
        for kev, image in ((50, low), (200, high)):
            energy = Dataset()
            energy.MonoenergeticEnergyEquivalent = float(kev)
            frames.append((k, np.rint(image.array[k] + 1024).astype(np.uint16), energy))
    stated = {"Modality": "CT", "SeriesDescription": "MonoE", "SliceThickness": 5.0}
    if not multi_frame:
        for n, (k, pixels, energy) in enumerate(frames):
            data = header("1.2.840.10008.5.1.4.1.1.2", series, **stated)
            data.ImageType = ["DERIVED", "PRIMARY", "AXIAL", "VMI"]
            data.MultienergyCTCharacteristicsSequence = Sequence([energy])
            data.ImagePositionPatient, data.ImageOrientationPatient = position(k), orientation()
            data.PixelSpacing, data.InstanceNumber = [4.0, 4.0], n + 1
            data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, -1024, "HU"
            put_pixels(data, pixels)
            data.save_as(tmp_path / f"{n}.dcm")
        return
    data = header("1.2.840.10008.5.1.4.1.1.2.1", series, **stated)
    del data.SliceThickness, data.SpacingBetweenSlices, data.EchoTime, data.RepetitionTime
    data.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    groups = []
    for k, _, energy in frames:
        group = Dataset()
        for name, facts in (
            ("PlanePositionSequence", {"ImagePositionPatient": position(k)}),
            ("PlaneOrientationSequence", {"ImageOrientationPatient": orientation()}),
            ("PixelMeasuresSequence", {"PixelSpacing": [4.0, 4.0], "SliceThickness": 5.0}),
            ("CTImageFrameTypeSequence", {"FrameType": ["DERIVED", "PRIMARY", "AXIAL", "VMI"]}),
            ("CTXRayDetailsSequence", {"KVP": 120.0}),
            ("CTReconstructionSequence", {"ConvolutionKernel": "Qr40"}),
            (
                "PixelValueTransformationSequence",
                {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"},
            ),
        ):
            one = Dataset()
            for keyword, value in facts.items():
                setattr(one, keyword, value)
            setattr(group, name, Sequence([one]))
        group.MultienergyCTCharacteristicsSequence = Sequence([energy])
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = Sequence(groups)
    put_pixels(data, np.stack([pixels for _, pixels, _ in frames]))
    data.save_as(tmp_path / "enhanced.dcm")


@pytest.mark.parametrize("multi_frame", [False, True])
def test_two_energies_in_one_series_are_taken_apart(tmp_path, multi_frame):
    from PDFFMapperLib.commands.ct_files import read

    ct_frames(tmp_path, multi_frame)
    pair, _, _ = read(SimpleArguments([tmp_path]))
    assert [one.attributes["MonoenergeticEnergyEquivalent"] for one in pair] == [50, 200]
    found = made(pair)
    rounded = 3  # mg/cm^3 by half a CT number
    assert np.nanmean(found["HAP"].volume.array[MIXTURE]) == pytest.approx(100, abs=rounded)
    assert found["HAP"].provenance["calibration"] == "table of 50/200 keV"
    if multi_frame:
        assert found["HAP"].volume.attributes["ConvolutionKernel"] == "Qr40"


# --- own calibration ---


def with_regions(sd=(0, 0), pair="90/Sn150", **facts):
    """Body with fat, muscle and an insert of 200 mg/cm^3 in water; the labels 1, 2 and 3."""
    of = calibration.of_kv_pair(pair, 20)
    low, high = images(of, **facts)
    labels = np.zeros(low.array.shape, np.int64)
    for n, image in enumerate((low, high)):
        for label, rows, value in (
            (1, slice(8, 12), of.yellow[n]),
            (2, slice(12, 16), of.red[n]),
            (3, slice(46, 50), 200 / 3160 * of.hap[n]),
        ):
            image.array[:, rows, 24:36] = value
            labels[:, rows, 24:36] = label
    return [low, high], labels, of


def test_a_calibration_from_regions_is_kept_with_its_scanner_and_beams(tmp_path):
    from PDFFMapperLib.dual_energy.own_calibration import (
        of_regions,
        read_calibration,
        write_calibration,
    )

    pair, labels, of = with_regions(Manufacturer="ACME", ManufacturerModelName="One")
    for insert, close in (((3, 200.0), 0.1), (of, 0.1)):
        own = of_regions(*pair, labels, 1, 2, insert)
        for name in ("yellow", "red"):
            np.testing.assert_allclose(getattr(own, name), getattr(of, name), atol=0.01)
        assert float(own.de_ratio) == pytest.approx(float(of.de_ratio), abs=0.001)
        path = tmp_path / f"own{close}.json"
        write_calibration(path, own, *pair)
        found = made(pair, calibration=str(path))["HAP"]
        assert np.nanmean(found.volume.array[MIXTURE]) == pytest.approx(100, abs=close)
        assert found.provenance["calibration"].startswith(f"{path.stem} (own ")
    stored = json.loads(path.read_text())
    assert stored["scanner"] == "ACME One" and stored["beams"] == "90/Sn150 kV"
    nameless, _, _ = with_regions()
    assert read_calibration(path, *nameless).told.startswith("own")  # nothing contradicts
    for other, words in (
        ({"Manufacturer": "Other"}, "the scanner of this calibration is ACME One"),
        ({"Manufacturer": "ACME", "ManufacturerModelName": "One", "KVP": 80.0}, "the beams of"),
    ):
        with pytest.raises(ValueError, match=words):
            read_calibration(path, *[facts(one, **other) for one in pair[:1]], pair[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"yellow": 9}, "Label 9 (fat) has 0 voxels; 30 or more"),
        ({"yellow": 2}, "which is no fat; -200 to -20 HU are expected"),
        ({"red": 1}, "which is no muscle or spleen"),
        ({"mineral": (3, 0.0)}, "The insert holds 0 mg/cm^3"),
        ({"mineral": (1, 200.0)}, "which is no mineral in water"),
    ],
)
def test_regions_that_give_no_calibration(change, words):
    from PDFFMapperLib.dual_energy.own_calibration import of_regions

    pair, labels, _ = with_regions()
    with pytest.raises(ValueError, match=re.escape(words)):
        of_regions(*pair, labels, **{"yellow": 1, "red": 2, "mineral": (3, 200.0), **change})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"kind": "map"}, "this is no dual-energy calibration; make one with"),
        ({"yellow": [1]}, "'yellow' must be two CT numbers"),
    ],
)
def test_files_that_are_no_calibration(tmp_path, content, words):
    from PDFFMapperLib.dual_energy.own_calibration import read_calibration

    usual = {"kind": "dual-energy calibration", "yellow": [-1, 0], "red": [1, 2], "hap": [9, 8]}
    (tmp_path / "own.json").write_text(json.dumps({**usual, **content}))
    with pytest.raises(ValueError, match=words):
        read_calibration(tmp_path / "own.json", *images())


def test_the_command_calibrates_and_maps_use_it(tmp_path, capsys):
    from MarrowAssessLib.commands.main import main
    from PDFFMapperLib.images.files import write_volume

    pair, labels, _ = with_regions()
    paths = [str(tmp_path / f"{one.name}.nrrd") for one in pair]
    for image, path, kv in zip(pair, paths, ("DE 90kV", "DE Sn150kV"), strict=True):
        write_volume(image, path)
        stated = json.dumps({"SeriesDescription": kv})
        (tmp_path / path.replace(".nrrd", ".json")).write_text(stated)
    write_volume(Volume(labels.astype(np.uint8), pair[0].ijk_to_ras), tmp_path / "labels.nrrd")
    own = str(tmp_path / "own.json")
    asked = ["calibrate", *paths, "--regions", str(tmp_path / "labels.nrrd"), "--yellow", "1"]
    asked += ["--red", "2", "--out", own]
    assert main([*asked, "--insert", "200"]) == 2
    assert "expected LABEL=MG/CM3" in capsys.readouterr().err
    assert main([*asked, "--insert", "3=200"]) == 0
    told = capsys.readouterr().out
    assert "dual-energy ratio 1.8" in told
    read = re.search(r"50 % yellow by the table of 90/Sn150 kV, reads (\d+) mg/cm\^3", told)
    assert abs(int(read[1]) - 100) <= 3  # tables follow the measured body
    assert main([*asked, "--insert", "3=200"]) == 2
    assert "give the name of a new .json file" in capsys.readouterr().err
    out = str(tmp_path / "maps")
    assert main(["dect", *paths, "--calibration", own, "--out", out]) == 0
    record = json.loads((tmp_path / "maps" / "dect_maps.json").read_text())
    assert record["provenance"]["calibration"] == "own (own regions and insert of 200 mg/cm^3)"


# --- the body's size as it was measured, and inserts ---


def drawn_body(pair, diameter_cm, hap=150.0, yellow=0.5):
    """A round body of water with marrow in it, as seen behind so much of it."""
    of = calibration.of_kv_pair(pair, diameter_cm)
    j, i = np.indices((120, 120))
    body = (j - 60) ** 2 + (i - 60) ** 2 < (diameter_cm * 10 / 4 / 2) ** 2
    beams = []
    kv, tin = pair.split("/")
    for n in range(2):
        array = np.full((2, 120, 120), -1000.0, np.float32)
        array[:, body] = 0
        array[:, 54:66, 54:66] = seen(of, hap, yellow)[n]
        stated = {"Modality": "CT", "KVP": float((kv, tin.removeprefix("Sn"))[n])}
        stated["FilterMaterial"] = "TIN" if n and "Sn" in tin else "ALUMINUM"
        beams.append(Volume(array, np.diag([4.0, 4, 5, 1]), ("low", "high")[n], stated))
    return beams


@pytest.mark.parametrize("diameter_cm", [16, 24, 32, 40, 44])
def test_mineral_and_vnca_by_the_size_of_the_body_as_measured(diameter_cm):
    true = float(np.mean(seen(calibration.of_kv_pair("90/Sn150", diameter_cm), 0, 0.5)))
    found = made(drawn_body("90/Sn150", diameter_cm))
    inside = (slice(None), slice(54, 66), slice(54, 66))
    assert np.mean(found["HAP"].volume.array[inside]) == pytest.approx(150, abs=3)
    assert np.mean(found["VNCa"].volume.array[inside]) == pytest.approx(true, abs=5)


@pytest.mark.parametrize(("pair", "cm"), BEAMS)
@pytest.mark.parametrize("mineral", [50, 100, 200])
def test_inserts_of_mineral_in_water_are_right_within_1_percent(pair, cm, mineral):
    of = beam(pair, cm)
    low, high = (np.float64(mineral / 3160 * of.hap[n]) for n in (0, 1))
    found = float(hap_beside_water(of)(np.array([low]), np.array([high]))[0])
    assert found == pytest.approx(mineral, rel=0.01)


def test_the_phantom_without_noise(shared):
    """Its CT numbers by spectra and cross-sections alone: no mixture is off by 1 mg/cm^3."""
    folder = shared / "cases" / "ct_pet" / "dect_phantom"
    truth = json.loads((folder / "truth.json").read_text())
    for of, names in (
        (calibration.of_kv_pair("90/Sn150", 30), ("low", "high")),
        (calibration.of_kev(50, 200), ("keV50", "keV200")),
    ):
        for n, body in enumerate(truth["bodies"]):
            numbers = truth["noise_free_HU"][str(10 + 2 * n)]
            low, high = (np.array([numbers[name]], np.float32) for name in names)
            assert three_materials(low, high, of).hap[0] == pytest.approx(body["hap_mg_cm3"], abs=1)


def test_command(tmp_path, capsys):
    from MarrowAssessLib.commands.main import main
    from PDFFMapperLib.images.files import write_volume

    paths = []
    for image in images():
        paths.append(str(tmp_path / f"{image.name}.nrrd"))
        write_volume(image, paths[-1])
    labels = np.zeros((4, 60, 60), np.uint8)
    labels[MIXTURE] = 1
    write_volume(Volume(labels, np.diag([4.0, 4, 5, 1])), tmp_path / "labels.nrrd")
    arguments = ["dect", *paths, "--kv-pair", "90/Sn150", "--out", str(tmp_path / "maps")]
    assert main([*arguments[:2], *arguments[3:]]) == 2
    assert f"{paths[0]}: one image was given; two are expected, low and" in capsys.readouterr().err
    assert main([*arguments, "--regions", str(tmp_path / "labels.nrrd")]) == 0
    rows = (tmp_path / "maps" / "dect_regions.csv").read_text().splitlines()
    (mean,) = [row.split(",")[5] for row in rows if row.startswith("1,HAP,mg/cm^3,960,960,")]
    assert float(mean) == pytest.approx(100, abs=3)  # for the body's own size
    written = {path.name for path in (tmp_path / "maps").iterdir()}
    assert {
        "dect_HAP.nrrd",
        "dect_VNCa.nrrd",
        "dect_yellow_share.nrrd",
        "dect_maps.json",
    } <= written
