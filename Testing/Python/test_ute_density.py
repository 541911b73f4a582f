"""IR-UTE, STAIR and 31P: factors, nulling, what is left, T1 and densities against a reference."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.commands.main import main
from MarrowAssessLib.measures.ute import bone_value
from MarrowAssessLib.sources.ute import read_ute_results
from PDFFMapperLib.images.files import write_series, write_volume
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.ute.density import density_images, density_rows
from PDFFMapperLib.ute.inversion import Inversion, adiabatic_inversion
from PDFFMapperLib.ute.recipe import UTE
from PDFFMapperLib.ute.steady_state import hard_pulse, spoiled
from phantoms.ute import GRID
from scipy.linalg import expm

BOUND = {"name": "bound water", "t1_ms": 140, "t1_sd_ms": 7, "t2star_ms": 0.3, "inversion": 0.0}
SAMPLE = {"density": 22.0, "t1_ms": 15, "t2star_ms": 0.4, "inversion": 0.0}
PORE = {"name": "pore water", "t1_ms": 260, "t1_sd_ms": 20, "t2star_ms": 3.0, "inversion": -0.97}
NO_INVERSION = {key: one for key, one in BOUND.items() if key != "inversion"}
INVERTED = {
    "nucleus": "1H", "tr_ms": 150, "ti_ms": 64.3, "te_ms": 0.032, "flip_deg": 20, "pulse_ms": 0.1,
    "spokes": 5, "spoke_ms": 5, "pool": BOUND, "reference": SAMPLE, "others": [PORE],
}  # fmt: skip
PHOSPHORUS = {
    "nucleus": "31P", "tr_ms": 250, "te_ms": 0.1, "flip_deg": 12, "pulse_ms": 0.05,
    "pool": {"name": "phosphorus", "t1_ms": 12000, "t1_sd_ms": 600, "t2star_ms": 0.12},
    "reference": {"density": 10.0, "t1_ms": 9000, "t2star_ms": 0.2},
}  # fmt: skip


# --- factors --------------------------------------------------------------------------------------


def test_one_spoke_is_the_closed_form_and_several_are_their_mean():
    """(1 - (1 - Q) E(TI) - Q E(TR)) / (1 - Q c E(TR)); then 300 repetitions one by one."""
    t1, q, c = 200.0, -0.9, 0.94
    one = Inversion(300.0, 90.0)
    e = np.exp(-np.array([90.0, 300.0]) / t1)
    assert one.seen(t1, q, c) == pytest.approx((1 - (1 - q) * e[0] - q * e[1]) / (1 - q * c * e[1]))
    several, m = Inversion(300.0, 90.0, 5, 6.0), 1.0

    def recover(m, ms):
        return 1 + (m - 1) * np.exp(-ms / t1)

    for _ in range(300):
        m, seen = recover(q * m, 78.0), []
        for n in range(5):
            seen.append(m)
            m = recover(c * m, 6.0 if n < 4 else 300 - 78 - 24)
    assert several.seen(t1, q, c) == pytest.approx(np.mean(seen))
    plain = Inversion(20.0, None).seen(160.0, 1.0, c)
    assert plain == pytest.approx(spoiled(1.0, c, 20.0, 160.0))


def test_the_published_nulling_times_follow_from_one_t1():
    """Guo 2020: 132.8, 110.3, 80.0 and 63.9 ms at TR 400, 300, 200 and 150; one T1 of 260 ms."""
    for tr, published, computed in (
        (400, 132.8, 129.6), (300, 110.3, 108.9), (200, 80.0, 81.2), (150, 63.9, 64.3),
    ):  # fmt: skip
        found = Inversion(tr, None).nulling_ms(260.0)
        assert found == pytest.approx(computed, abs=0.06)
        assert found == pytest.approx(260 * np.log(2 / (1 + np.exp(-tr / 260))))
        assert found == pytest.approx(published, rel=0.03)
    assert Inversion(150.0, None).nulling_ms(260.0, turned=0.5) is None  # it is never below 0
    spread = Inversion(150.0, 64.3).left(260.0, 20.0, -1.0)
    ends = [abs(Inversion(150.0, 64.3).seen(260.0 + s * 20, -1.0)) for s in (-1, 1)]
    assert spread == pytest.approx(np.mean(ends), rel=0.1)


def test_an_adiabatic_pulse_turns_long_t2_and_leaves_nothing_of_short():
    """Against matrix exponentials of the Bloch equations; long T2 is inverted, 0.3 ms is lost."""
    found = {t2: adiabatic_inversion(t2, 8.6, 800.0, 1500.0) for t2 in (0.3, 3.0, 1000.0)}
    assert abs(found[0.3]) < 0.02 and found[1000.0] < -0.99
    state, count = np.array([0.0, 0, 1]), 1500
    for x in (np.arange(count) + 0.5) / count * 2 - 1:
        field = 2 * np.pi * 800 / np.cosh(5.3 * x)
        away = -2 * np.pi * 750 * np.tanh(5.3 * x)
        step = np.array([[-1e3 / 3, away, 0], [-away, -1e3 / 3, field], [0, -field, 0]])
        state = expm(step * 8.6e-3 / count) @ state
    assert found[3.0] == pytest.approx(state[2], abs=2e-3)


# --- densities ------------------------------------------------------------------------------------


def image_of(told, trs=None, snr=60.0, **facts):
    """Bone of 20 mol/L beside a sample, from the steady state of each; bone, sample voxels."""
    rng = np.random.default_rng(2)
    shape = (4, 40, 40)
    bone, sample = np.zeros(shape, bool), np.zeros(shape, bool)
    bone[:, 10:22, 8:32], sample[:, 26:32, 8:32] = True, True
    images, unit = [], 1.0
    for tr, ti in trs or [(told["tr_ms"], told.get("ti_ms"))]:
        train = Inversion(tr, ti, told.get("spokes", 1), told.get("spoke_ms", 0.0))
        signal = np.zeros(shape)
        for pool, where, density in (
            (told["pool"], bone, 20.0), (told["reference"], sample, told["reference"]["density"]),
        ):  # fmt: skip
            across, along = hard_pulse(told["flip_deg"], told["pulse_ms"], pool["t2star_ms"])
            seen = train.seen(pool["t1_ms"], pool.get("inversion", 1.0), along)
            decay = np.exp(-told["te_ms"] / pool["t2star_ms"])
            signal[where] = density * across * seen * decay
        if not images:
            unit = signal[bone].max() / snr
        noise = rng.standard_normal((2, *shape))
        array = np.abs(signal / unit + noise[0] + 1j * noise[1]).astype(np.float32)
        images.append(Volume(array, GRID, f"TR {tr}", dict(facts)))
    return images, bone, sample


def written(told, path):
    path.write_text(json.dumps(told))
    return str(path)


def made(images, told, sample, path, **more):
    region = None if sample is None else images[0].with_array(sample.astype(np.uint8))
    options = {
        "density_protocol": written(told, path / "protocol.json"),
        "reference_region": region,
    }
    return density_images(images, UTE.recipe("density").chosen({**options, **more}))


def rows_of(*given):
    images, bone, sample = given[0]
    rows, notes, _ = density_rows(made(images, given[1], sample, given[2]), bone)
    return {one.quantity: one for one in rows}, notes


@pytest.mark.parametrize("told", [INVERTED, PHOSPHORUS], ids=["IR-UTE", "31P"])
def test_a_density_is_that_of_the_phantom(told, tmp_path):
    megahertz = {"1H": 127.73, "31P": 51705.0}[told["nucleus"]]  # the latter in kHz
    facts = {"MagneticFieldStrength": 3.0, "ImagingFrequency": megahertz}
    rows, notes = rows_of(image_of(told, **facts), told, tmp_path)
    name = told["pool"]["name"]
    one, nucleus = rows[name], told["nucleus"]
    assert one.value == pytest.approx(20, rel=0.01) and one.unit == f"mol {nucleus}/L"
    assert one.lower < 20 < one.upper
    assert rows["budget: noise (SD)"].value < 0.2
    assert rows[f"budget: T1 of {name} (SD)"].value > 0.3
    assert not notes
    if nucleus == "1H":
        assert one.note == f"{one.value / 2:.3g} mol of water a liter"
        assert abs(rows["left of pore water"].value) < 10


def test_a_coil_profile_takes_its_shading_out(tmp_path):
    """A coil that receives bone better than the sample; without a profile 20 reads 29."""
    images, bone, sample = image_of(PHOSPHORUS, snr=60.0)
    rows = np.arange(40.0)[:, None]
    coil = np.broadcast_to(1 + 0.5 * np.clip((28 - rows) / 8, 0, 1), bone.shape)
    shaded = [one.with_array((one.array * coil).astype(np.float32)) for one in images]
    profile = images[0].with_array((700 * coil).astype(np.float32))
    options = {"sigma": 1.0, "mask": images[0].with_array(bone.astype(np.uint8))}
    data = made(shaded, PHOSPHORUS, sample, tmp_path, **options, coil_profile=profile)
    one = density_rows(data, bone)[0][0]
    assert one.value == pytest.approx(20, rel=0.02)
    plain = density_rows(made(shaded, PHOSPHORUS, sample, tmp_path, **options), bone)[0][0]
    wrong = coil[bone].mean() / coil[sample].mean()
    assert wrong > 1.4 and plain.value == pytest.approx(20 * wrong, rel=0.02)
    region = images[0].with_array(sample.astype(np.uint8))
    given = {"density_protocol": written(PHOSPHORUS, tmp_path / "p.json"), **options}
    density, _ = UTE.recipe("density").make(
        shaded, reference_region=region, coil_profile=profile, **given
    )
    assert np.nanmean(density.volume.array) == pytest.approx(20, rel=0.02)
    assert "Divided by the receive profile" in " ".join(density.provenance["notes"])
    holed = profile.with_array(np.where(bone, 0, profile.array))
    data = made(shaded, PHOSPHORUS, sample, tmp_path, **options, coil_profile=holed)
    with pytest.raises(ValueError, match="the coil profile has no signal in a part of the region"):
        density_rows(data, bone)


def test_what_is_left_of_pore_water_is_a_warning_with_its_number(tmp_path):
    """A TI of 40 ms; the density that it may add widens the interval."""
    told = {**INVERTED, "ti_ms": 40, "others": [{**PORE, "density": 5.0}]}
    rows, notes = rows_of(image_of(told), told, tmp_path)
    row = rows["left of pore water"]
    assert row.value > 10 and "its nulling TI is" in row.note
    assert notes and notes[0].startswith(f"TI 40 ms leaves {row.value:.0f} % of pore water, more")
    added = rows["budget: what is left of pore water (SD)"].value
    assert added > 0.3
    one = rows["bound water"]
    assert one.upper - one.value > 1.96 * added
    short = {**INVERTED, "tr_ms": 60, "ti_ms": 30, "others": [{**PORE, "inversion": 0.9}]}
    _, notes = rows_of(image_of(short), short, tmp_path)
    assert "more than 10 %; no TI nulls it" in notes[0]


def test_t1_of_bound_water_by_three_repetition_times(tmp_path):
    trains = [(400.0, 129.6), (200.0, 81.2), (150.0, 64.3)]
    told = {
        **INVERTED, "tr_ms": [tr for tr, _ in trains], "ti_ms": [ti for _, ti in trains],
        "pool": {**BOUND, "t1_ms": 140},
    }  # fmt: skip
    given = image_of({**told, "pool": BOUND}, trains)
    told["pool"] = {**BOUND, "t1_ms": 200}  # where the fit starts
    rows, _ = rows_of(given, told, tmp_path)
    assert rows["T1"].lower < 140 < rows["T1"].upper and rows["T1"].upper < 160
    assert rows["bound water"].lower < 20 < rows["bound water"].upper
    assert 0 < rows["budget: registration, 0.05 voxel (SD)"].value < 0.1  # of 20, at sharp edges


def test_the_command_maps_a_density(tmp_path, capsys):
    pulse = {"pulse_ms": 8.6, "peak_hz": 800.0, "width_hz": 1500.0}
    told = {**INVERTED, "inversion_pulse": pulse}
    told["pool"] = NO_INVERSION  # by the pulse
    images, bone, sample = image_of(INVERTED)
    write_series(images, tmp_path / "ir.nii.gz")
    write_volume(images[0].with_array(bone.astype(np.uint8)), tmp_path / "bone.nrrd")
    write_volume(images[0].with_array(sample.astype(np.uint8)), tmp_path / "sample.nrrd")
    given = ["ute", str(tmp_path / "ir.nii.gz"), "--method", "density", "--out"]
    given += [str(tmp_path / "out"), "--mask", str(tmp_path / "bone.nrrd"), "--regions"]
    given += [str(tmp_path / "bone.nrrd"), "--reference-region", str(tmp_path / "sample.nrrd")]
    given += ["--density-protocol", written(told, tmp_path / "p.json")]
    assert main(given) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "bound water of 1H, 1 images" in said and "receive profile is taken to be the" in said
    facts = json.loads((tmp_path / "out/ute_maps.json").read_text())["provenance"]
    assert facts["region"]["bound water"][0] == pytest.approx(20, rel=0.03)
    assert (tmp_path / "out/ute_regions.csv").read_text().count("bound water") >= 2


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tr_ms": None}, "The density protocol does not tell tr_ms. A density needs its"),
        ({"nucleus": "23Na"}, "The nucleus of a density is 1H or 31P; 23Na was given"),
        ({"nucleus": "31P"}, "is an image of 1H, and the protocol is of 31P; their densities"),
        ({"tr_ms": [150, 200], "ti_ms": [60, 70]}, "1 images need tr_ms (and ti_ms, if inverted)"),
        ({"ti_ms": 5}, "5 spokes around TI 5 ms do not fit into a TR of 150 ms; check the dens"),
        ({"te_ms": "short"}, "te_ms of the density protocol is expected as a number from 0 on; sh"),
        ({"tr_ms": ["150"]}, "tr_ms of the density protocol is expected as a list of numbers; ["),
        ({"spokes": "five"}, "spokes of the density protocol is expected as a number from 1 on"),
        ({"pool": "bound water"}, "the pool of the density protocol is expected as an object with"),
        ({"others": ["pore water"]}, "pool 1 of others of the density protocol is expected as an"),
        (
            {"others": [{**PORE, "t1_ms": None}]},
            "t1_ms of pool 1 of others is expected as a number",
        ),
        (
            {"pool": NO_INVERSION, "inversion_pulse": {"pulse_ms": 8.6, "peak": 800}},
            "inversion_pulse of the density protocol holds peak, which is none of: pulse_ms, peak",
        ),
        (
            {"pool": NO_INVERSION, "inversion_pulse": {"pulse_ms": 8.6, "peak_hz": "high"}},
            "peak_hz of inversion_pulse is expected as a number from 0 on; high was given",
        ),
        ({"reference": {"density": 22}}, "t1_ms of the reference is expected as a number from 0"),
        ({"pool": {**BOUND, "t2star_ms": 0}}, "T1 and T2* of the pool are expected above 0; check"),
    ],
)
def test_density_protocols_that_do_not_tell_it_are_refused(tmp_path, changed, words):
    """The nucleus of the image by its frequency: 127.7 MHz at 3 T is 1H."""
    images, _, sample = image_of(INVERTED, MagneticFieldStrength=3.0, ImagingFrequency=127.73)
    told = {key: one for key, one in {**INVERTED, **changed}.items() if one is not None}
    with pytest.raises(ValueError, match=re.escape(words)):
        made(images, told, sample, tmp_path)


def test_densities_without_a_reference_are_refused(tmp_path):
    images, bone, sample = image_of(INVERTED)
    with pytest.raises(ValueError, match="needs the voxels of a reference of known density in"):
        made(images, INVERTED, None, tmp_path)
    with pytest.raises(ValueError, match="A density needs its protocol"):
        UTE.recipe("density").make(images)
    negative = [images[0].with_array(-images[0].array)]
    with pytest.raises(ValueError, match="Densities are of magnitude images; these have neg"):
        made(negative, INVERTED, sample, tmp_path)
    path = written(INVERTED, tmp_path / "p.json")
    region = images[0].with_array(sample.astype(np.uint8))
    recipe = UTE.recipe("density")
    with pytest.raises(ValueError, match="A density is of a bone that somebody has drawn; give"):
        recipe.make(images, density_protocol=path, reference_region=region)
    faint = images[0].with_array(bone.astype(np.uint8))
    with pytest.raises(ValueError, match="The mapped bone: the region holds no voxel"):
        recipe.make(images, density_protocol=path, reference_region=region, mask=faint, sigma=1e4)
    marked = [images[0].with_array(images[0].array)]
    marked[0].attributes["ImagedNucleus"] = "31P"
    with pytest.raises(ValueError, match="is an image of 31P, and the protocol is of 1H"):
        made(marked, INVERTED, sample, tmp_path)


def test_results_join_the_bones_of_a_study(tmp_path):
    """As the files of both methods have them; a warning stays with its value."""
    warning = "TI 40 ms leaves 41 % of pore water, more than 10 %; its nulling TI is 63.0 ms."
    files = {
        "mt": {"method": "mt", "region": {"MMF": [54.5, 50, 59]}, "notes": ["Two pools."]},
        "ir": {"method": "density", "region": {"bound water": [20, 19, 21]}, "notes": [warning]},
        "pi": {"method": "porosity-index", "region": {"PI": [20, 19, 21]}},
    }
    for name, facts in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"provenance": facts}))
    study = SimpleNamespace(bones={}, notes=[])
    site = "tibial diaphysis"
    read_ute_results([f"{site}={tmp_path / 'mt.json'}", f"{site}={tmp_path / 'ir.json'}"], study)
    book = SimpleNamespace(bones=study.bones)
    (one,) = bone_value(book, QUANTITIES["ute_mmf"])
    assert (one.value, one.ci95, one.site) == (54.5, (50.0, 59.0), site)
    (one,) = bone_value(book, QUANTITIES["ute_bound_water"])
    assert one.value == 20 and warning in one.cautions
    with pytest.raises(ValueError, match="--ute-result tibial diaphysis: expected is the ute_maps"):
        read_ute_results([f"{site}={tmp_path / 'pi.json'}"], study)
    with pytest.raises(ValueError, match="one file is expected after the ="):
        read_ute_results([f"{site}={tmp_path / 'mt.json'},{tmp_path / 'ir.json'}"], study)
