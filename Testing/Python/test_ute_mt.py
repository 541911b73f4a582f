"""UTE-MT: the real pulse train, two pools fitted through it, its bounds, map and refusals."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from MarrowAssessLib.commands.main import main
from PDFFMapperLib.images.files import read_volume, write_series, write_volume
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.ute import mt_fit
from PDFFMapperLib.ute.components import cramer_rao_sd
from PDFFMapperLib.ute.mt_fit import B1, MMF, R1, fit_two_pools, mt_model
from PDFFMapperLib.ute.mt_protocol import mt_images
from PDFFMapperLib.ute.mt_train import (
    Train,
    TwoPools,
    line_shape,
    ramani,
    rates_of,
    train_signals,
)
from PDFFMapperLib.ute.recipe import UTE
from PDFFMapperLib.ute.region_signal import RegionSignal
from phantoms.ute import GRID
from scipy.integrate import quad
from scipy.linalg import expm
from scipy.special import erfc

FLIPS, OFFSETS = np.repeat([500.0, 1000, 1500], 5), np.tile([2e3, 5e3, 1e4, 2e4, 5e4], 3)
TRAIN = Train(FLIPS, OFFSETS, 100.0, spoke_ms=10.0)
ONE_SPOKE = Train(FLIPS, OFFSETS, 100.0, spokes=1)
# MMF and rates of human tibiae (Ma 2018): 54.5 %, 15.4 us, 9.5 1/s, R1 of water 8.9 1/s
BONE = (0.545, 15.4, 9.5, 0.4, 3.9, 1.0)
KNOWN = (R1, B1)


def exact(train=TRAIN, truth=BONE, fat=0.0):
    """Region signals without noise to speak of."""
    shown = mt_fit.shown(np.array([truth]), train, fat=fat)[0]
    return [RegionSignal(np.full(4, 10 * one), 1e-3) for one in shown]


# --- the train ------------------------------------------------------------------------------------


def test_rates_are_those_of_the_published_pools():
    """R1 observed is the slow rate of the coupled pools; rates stand as f/(1 - f)."""
    for mmf, back, there in ((0.545, 9.5, 11.5), (0.599, 11.8, 17.9)):
        r1w, to_pool = rates_of(mmf, back, 3.9)
        assert to_pool / back == pytest.approx(mmf / (1 - mmf))
        assert there / back == pytest.approx(mmf / (1 - mmf), abs=0.03)  # as published
        coupled = np.array([[-r1w - to_pool, back], [to_pool, -1 - back]])
        assert -np.linalg.eigvals(coupled).max() == pytest.approx(3.9)
    assert rates_of(0.545, 9.5, 3.9)[0] == pytest.approx(8.9, abs=0.01)  # of in vivo bone


@pytest.mark.parametrize("name", ["gaussian", "lorentzian", "super-lorentzian"])
def test_lines_have_an_area_of_one(name):
    """Over angular frequency; of the super-Lorentzian what lies beyond 1.5 kHz, by its integral."""
    t2 = np.array(15e-6)
    nearest = 1500.0 if name == "super-lorentzian" else 0.0
    x = nearest + np.geomspace(1, 3e7, 4000)
    area = 4 * np.pi * np.trapezoid(line_shape(name, x, t2), x)
    if nearest:

        def inner(u):
            turn = 2 * np.pi * 3000 * 15e-6 / abs(3 * u * u - 1)
            return np.sqrt(2 / np.pi) * 15e-6 * np.exp(-2 * turn**2) / abs(3 * u * u - 1)

        apart = quad(inner, 0, 3**-0.5)[0] + quad(inner, 3**-0.5, 1)[0]
        assert line_shape(name, np.array(3000.0), t2) == pytest.approx(apart, rel=2e-3)
        assert line_shape(name, np.array(0.0), t2) == line_shape(name, np.array(1500.0), t2)
        angles = np.abs(3 * ((np.arange(1000) + 0.5) / 1000) ** 2 - 1)
        outside = np.mean(erfc(2**0.5 * 2 * np.pi * 1500 * t2 / angles))  # each is a Gaussian
        assert area == pytest.approx(outside, abs=0.01)
    else:
        assert area == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("spokes", [1, 3, 9])
def test_the_steady_state_is_that_of_pulses_one_by_one(spokes):
    """200 repetitions in steps of 0.05 ms, the smooth pulse at each step's middle."""
    train = Train(np.array([1500.0]), np.array([2000.0]), 100.0, spokes=spokes)
    mmf, t2m, back, t2w, r1, _ = BONE
    r1w, to_pool = rates_of(mmf, back, r1)
    free = np.zeros((5, 5))
    free[0, 0] = free[1, 1] = -1e3 / t2w
    free[2, 2:], free[3, 2:] = (-r1w - to_pool, back, r1w), (to_pool, -1 - back, mmf / (1 - mmf))
    middles = (np.arange(160) + 0.5) / 160 - 0.5
    level = 1 / (1 + np.exp((np.abs(middles) - 0.4) / 0.03))
    w1 = np.deg2rad(1500) * level / level.sum() / 0.05e-3
    pulse = np.eye(5)
    for one in w1:
        step = free.copy()
        step[0, 1], step[1, 0] = 2 * np.pi * 2000, -2 * np.pi * 2000
        step[1, 2], step[2, 1] = one, -one
        step[3, 3] -= np.pi * one**2 * line_shape("gaussian", 2000.0, 1e-6 * t2m)
        pulse = expm(step * 0.05e-3) @ pulse
    spoil, excite = np.diag([0.0, 0, 1, 1, 1]), np.eye(5)
    field = np.deg2rad(7) / 0.06e-3
    lost = np.pi * field**2 * line_shape("gaussian", 0.0, 1e-6 * t2m) * 0.06e-3
    excite[2, 2], excite[3, 3] = np.cos(np.deg2rad(7)), np.exp(-lost)
    waits = [expm(free * 1e-3 * ms) for ms in (1.0, 5.0, train.rest_ms)]
    state = np.array([0, 0, 1, mmf / (1 - mmf), 1])
    for _ in range(200):
        seen, state = [], waits[0] @ spoil @ pulse @ state
        for n in range(spokes):
            seen.append(state[2])
            state = waits[1 if n + 1 < spokes else 2] @ spoil @ excite @ state
    assert train_signals(train, TwoPools(*BONE))[0, 0] == pytest.approx(np.mean(seen), abs=4e-4)


def test_without_a_pulse_the_train_is_a_spoiled_sequence():
    """One pool, one spoke: the steady state of the Ernst formula."""
    train = Train(np.array([0.0]), np.array([5e4]), 50.0, spokes=1, excite_deg=20)
    kept, turned = np.exp(-50 * 3.9e-3), np.cos(np.deg2rad(20))
    found = train_signals(train, TwoPools(1e-6, 15, 1e-3, 0.4, 3.9, 1.0))[0, 0]
    assert found == pytest.approx((1 - kept) / (1 - turned * kept), abs=1e-5)


# --- the fit --------------------------------------------------------------------------------------


def test_bounds_are_those_of_the_requirements():
    """SD of MMF with T1 known: 14.9, 3.7, 0.75 points at SNR 50, 200, 1000; at least 5.6 at 6 %."""
    train = Train(FLIPS, OFFSETS, 100.0)
    model = mt_model(train)
    amplitude = 1 / train_signals(train, TwoPools(*BONE)).max()
    for snr, expected in ((50, 14.9), (200, 3.7), (1000, 0.75)):
        truth = (snr * amplitude, *BONE)
        sd = 100 * cramer_rao_sd(truth, np.arange(15), 1.0, model=model, known=KNOWN)[MMF]
        assert sd == pytest.approx(expected, rel=0.05), snr
    closed, apart = mt_model(train, signals=ramani), {R1: (3.9, 0.06 * 3.9)}
    sd = cramer_rao_sd((1e6, *BONE), np.arange(15), 1.0, 1.0, closed, (B1,), apart)[MMF]
    assert 100 * sd == pytest.approx(5.6, abs=0.6)
    free = cramer_rao_sd((1e4, *BONE), np.arange(15), 1.0, model=closed, known=(B1,))[MMF]
    assert free > 1  # the closed form tells nothing without T1; the train a little, by its ripple
    one = Train(FLIPS[5:10], OFFSETS[5:10], 100.0)
    truth = (200 * amplitude, *BONE)
    sd = cramer_rao_sd(truth, np.arange(5), 1.0, model=mt_model(one), known=KNOWN)
    assert 100 * sd[MMF] > 30  # one power is not enough


def test_the_closed_form_reads_too_little_after_one_spoke():
    """45 and 38 % for a true 54.5 at TR 100 and 200 ms, 54.6 with nine spokes over TR."""
    for train, expected in (
        (ONE_SPOKE, 45),
        (Train(FLIPS, OFFSETS, 200.0, spokes=1), 38),
        (TRAIN, 54.6),
    ):
        fit = fit_two_pools(exact(train), mt_model(train, signals=ramani), (3.9, 0), (1.0, 0))
        assert 100 * fit.found[MMF] == pytest.approx(expected, abs=1.3)


def test_the_real_train_gives_the_truth_and_assumptions_move_it():
    own = fit_two_pools(exact(), mt_model(TRAIN), (3.9, 0), (1.0, 0)).found
    assert own[1:5] == pytest.approx(BONE[:4], rel=2e-3)
    fat = fit_two_pools(exact(fat=0.1), mt_model(TRAIN, fat=0.1), (3.9, 0), (1.0, 0)).found
    assert fat[MMF] == pytest.approx(0.545, abs=2e-3)
    one = mt_model(ONE_SPOKE)
    for r1, b1, expected in ((3.9, 0.95, 65), (1.05 * 3.9, 1.0, 59)):  # as the requirements say
        fit = fit_two_pools(exact(ONE_SPOKE), one, (r1, 0), (b1, 0))
        assert 100 * fit.found[MMF] == pytest.approx(expected, abs=1.5)


# --- images ---------------------------------------------------------------------------------------


TWO = Train(
    np.repeat([500.0, 1500], 5), np.tile([2e3, 5e3, 1e4, 2e4, 5e4], 2), 100.0, 8.0, "hard", 9, 10.0
)  # a hard pulse is computed in one step
PROTOCOL = {
    "flips_deg": TWO.flips_deg.tolist(), "offsets_hz": TWO.offsets_hz.tolist(), "tr_ms": 100,
    "pulse_ms": 8,
    "pulse_shape": "hard", "spokes": 9, "spoke_ms": 10, "delay_ms": 1, "excite_deg": 7,
    "excite_ms": 0.06, "t1_ms": 256.4, "t1_sd_ms": 5, "b1": 1.0, "b1_sd": 0.02, "fat_percent": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def bone(tmp_path_factory):
    """Images of bone with MMF 54.5 +- 5 % and a falling B1; protocol, bone, B1 map, true MMF."""
    rng = np.random.default_rng(1)
    shape = (4, 40, 40)
    inside = np.zeros(shape, bool)
    inside[1:3, 10:30, 10:30] = True
    b1 = np.broadcast_to(np.linspace(1.15, 0.85, 40), shape).astype(np.float32)
    mmf = 0.545 + 0.05 * rng.standard_normal(shape)
    nodes = np.linspace(0.35, 0.75, 5)
    true = np.zeros((10, *shape))
    for column in range(10, 30):
        curves = train_signals(TWO, TwoPools(nodes, *BONE[1:5], b1[0, 0, column]))
        here = mmf[..., column]
        powers = np.polyfit(nodes - 0.55, curves, 4)
        true[..., column] = sum(
            p[:, None, None] * (here - 0.55) ** (4 - n) for n, p in enumerate(powers)
        )
    images = []
    for n in range(10):
        signal = np.where(inside, 200 * true[n], 0.0)
        noise = rng.standard_normal((2, *shape))
        array = np.abs(signal + noise[0] + 1j * noise[1]).astype(np.float32)
        images.append(Volume(array, GRID, f"MT {n}", {}))
    folder = tmp_path_factory.mktemp("mt")
    path = folder / "protocol.json"
    path.write_text(json.dumps(PROTOCOL))
    return images, str(path), inside, images[0].with_array(b1), mmf


def test_command_and_map_of_macromolecules(bone, tmp_path, capsys):
    """The region covers the truth; voxels keep their own deviation and take their own B1."""
    images, path, inside, b1, mmf = bone
    write_series(images, tmp_path / "mt.nii.gz")
    labels = images[0].with_array(inside.astype(np.uint8))
    write_volume(labels, tmp_path / "labels.nrrd")
    write_volume(b1, tmp_path / "b1.nrrd")
    given = ["ute", str(tmp_path / "mt.nii.gz"), "--method", "mt", "--mt-protocol", path]
    given += ["--mask", str(tmp_path / "labels.nrrd"), "--b1-map", str(tmp_path / "b1.nrrd")]
    assert main([*given, "--out", str(tmp_path / "out")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "closed form of continuous waves reads an MMF of" in said
    facts = json.loads((tmp_path / "out/ute_maps.json").read_text())["provenance"]
    low, high = facts["region"]["MMF"][1:]
    assert low < 100 * mmf[inside].mean() < high and high - low < 12
    assert facts["settings"]["mt_protocol"]["tr_ms"] == 100
    assert facts["region"]["exchange"][0] == pytest.approx(9.5, abs=1.5)
    made = read_volume(tmp_path / "out/ute_MMF.nrrd").array
    off = made[inside] - 100 * mmf[inside]
    assert abs(off.mean()) < (high - low) / 2
    assert np.std(off) < 3.5  # points; SD of what is true 5
    left, right = (off[inside.nonzero()[2] // 10 == n].mean() for n in (1, 2))
    assert abs(left - right) < 1.5  # B1 differs by 8 %
    assert np.isnan(made[~inside]).all()
    holes = b1.with_array(np.where(inside, np.nan, b1.array))
    with pytest.raises(ValueError, match="no voxel of it has a value in the map of B1"):
        mt_fit.macromolecules(read(images, path, b1_map=holes), inside)


def test_b0_moves_the_offsets_of_region_and_voxels(bone):
    """Water off by 100 to 300 Hz: without the map what is read differs by many of its errors.

    What the map holds in air does not count; bone where it holds nothing is left out.
    """
    images, path, inside, _, _ = bone
    b0 = np.broadcast_to(np.linspace(0.0, 400.0, 40).astype(np.float32), inside.shape)
    seen = [train_signals(TWO.seen_from(hz), TwoPools(*BONE))[0] for hz in b0[0, 0]]
    moved = []
    for n, one in enumerate(images):
        true = np.where(inside, 4000 * np.array(seen)[:, n], 0.0)
        moved.append(one.with_array((true + 1e-3).astype(np.float32)))
    asked = {"mt_protocol": path, "sigma": 1.0, "mask": images[0].with_array(inside.astype(int))}
    known = np.where(inside, b0, 4000)
    known[:, 10:14, 20:] = np.nan
    b0_map = images[0].with_array(known)
    data = read(moved, path, sigma=1.0, b0_map=b0_map)
    found, blind = (
        mt_fit.macromolecules(one, inside) for one in (data, replace(data, b0_map=None))
    )
    off, wrong = (abs(one.rows[0].value - 54.5) for one in (found, blind))
    assert off < 0.5 and wrong > 3 * off
    seen = 2000 - b0[inside & np.isfinite(known)].mean()
    assert found.train.offsets_hz[0] == pytest.approx(seen, abs=0.1)
    made = UTE.recipe("mt").make(moved, **asked, b0_map=b0_map)[0].volume.array
    assert np.array_equal(np.isfinite(made), inside & np.isfinite(known))
    made = made[1, 15, 10:30]
    plain = UTE.recipe("mt").make(moved, **asked)[0].volume.array[1, 15, 10:30]
    assert np.ptp(made) < 0.3 * np.ptp(plain)
    for held, words in (
        (10 * b0, "a map of B0 is expected in Hz, within 500 Hz of resonance; 100 % of its voxels"),
        (np.where(inside, np.nan, b0), "no voxel of it has a value in the map of B0"),
    ):
        data = read(moved, path, sigma=1.0, b0_map=images[0].with_array(held))
        with pytest.raises(ValueError, match=words):
            mt_fit.macromolecules(data, inside)


def test_voxels_beside_the_marrow_are_left_out_where_fat_is_not_stated(bone, tmp_path):
    """A tube of bone 7 voxels thick round a cavity of 6: the inner two may hold fat without MT."""
    images, path, inside, _, _ = bone
    told = {key: one for key, one in PROTOCOL.items() if key != "fat_percent"}
    unknown = tmp_path / "unknown.json"
    unknown.write_text(json.dumps(told))
    tube, beside = inside.copy(), np.zeros_like(inside)
    beside[1:3, 15:25, 15:25] = True
    tube[:, 17:23, 17:23] = beside[:, 17:23, 17:23] = False
    found = mt_fit.macromolecules(read(images, str(unknown)), tube)
    assert np.array_equal(found.inside, tube & ~beside)
    assert f"{beside.sum()} voxels within two of the marrow cavity were left out" in found.notes[-1]
    asked = {"mt_protocol": str(unknown), "mask": images[0].with_array(tube.astype(np.uint8))}
    made = UTE.recipe("mt").make(images, **asked)[0]
    assert np.array_equal(np.isfinite(made.volume.array), tube & ~beside)
    assert mt_fit.macromolecules(read(images, path), tube).inside.sum() == tube.sum()
    whole = mt_fit.macromolecules(read(images, str(unknown)), inside)  # encloses no cavity
    assert whole.inside.sum() == inside.sum() and whole.notes[-1] == mt_fit.FAT_UNKNOWN
    porous = inside.copy()
    porous[1:3, 18, [14, 20]] = False  # pores are no cavity
    assert mt_fit.macromolecules(read(images, str(unknown)), porous).inside.sum() == porous.sum()
    with pytest.raises(ValueError, match="all of it lies within two voxels of the marrow cavity"):
        mt_fit.macromolecules(read(images, str(unknown)), tube & beside)


def test_a_few_voxels_far_from_resonance_are_left_out_and_counted(bone):
    """One voxel beyond 500 Hz had refused the whole region."""
    images, path, inside, _, _ = bone
    b0 = np.zeros(inside.shape, np.float32)
    still = images[0].with_array(b0.copy())
    row, column = np.argwhere(inside[1])[5]
    b0[1, row, column] = 900.0
    found = mt_fit.macromolecules(read(images, path, b0_map=images[0].with_array(b0)), inside)
    assert found.notes[0] == (
        "1 voxels of the bone lie 500 Hz and more from resonance and were left out."
    )
    plain = mt_fit.macromolecules(read(images, path, b0_map=still), inside)
    assert not any("were left out" in note for note in plain.notes)
    assert found.rows[0].value == pytest.approx(plain.rows[0].value, abs=1.0)
    asked = {"mt_protocol": path, "mask": images[0].with_array(inside.astype(int))}
    made = UTE.recipe("mt").make(images, b0_map=images[0].with_array(b0), **asked)[0]
    assert np.isnan(made.volume.array[1, row, column])
    assert any(
        note.startswith("1 voxels of the bone lie 500 Hz") for note in made.provenance["notes"]
    )
    b0[:] = 900.0
    b0[1:3, 10:14, 10:30] = 100.0
    with pytest.raises(ValueError, match=r"The mapped bone: a map of B0 is expected in Hz"):
        UTE.recipe("mt").make(images, b0_map=images[0].with_array(b0), **asked)
    assert np.isfinite(made.volume.array).sum() == inside.sum() - 1


def test_a_b1_map_on_another_grid_is_refused_whoever_asks(bone):
    images, path, _, b1, _ = bone
    grid = GRID.copy()
    grid[0, 3] += 5.0
    moved = Volume(b1.array, grid, "B1", {})
    with pytest.raises(ValueError, match="grid"):
        read(images, path, b1_map=moved)
    assert read(images, path, b1_map=b1).b1_map is not None


def read(images, path, **more):
    return mt_images(images, UTE.recipe("mt").chosen({"mt_protocol": str(path), **more}))


def test_what_the_data_leave_open_is_said(bone, tmp_path):
    images, _, inside, _, _ = bone
    told = {key: one for key, one in PROTOCOL.items() if key != "fat_percent"}
    path = tmp_path / "open.json"
    path.write_text(json.dumps({**told, "b1_sd": 0}))
    found = mt_fit.macromolecules(read(images, path), inside & (np.arange(40) == 20))
    assert any("keep voxels next to the endosteum out of the region" in one for one in found.notes)
    low, high = found.rows[0].lower, found.rows[0].upper
    assert low < 54.5 < high
    few = inside & (np.arange(40) == 20) & (np.arange(40)[:, None] < 12)
    with pytest.raises(ValueError, match=r"fraction open \(SD \d+ points at best, 15 are allowed"):
        mt_fit.macromolecules(read(images, path, sigma=20.0), few)
    row = mt_fit.RegionValue("exchange", 9.0, 2.0, 9.0, "1/s")
    row = mt_fit._exchange(row, np.array([1, *BONE]))
    assert np.isnan(row.value)
    assert row.told() == (
        "exchange (2 to 9) 1/s not determined: its interval spans a factor of 4 or more"
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"t1_ms": None}, "Without T1 the macromolecular fraction is not determined at all"),
        ({"t1_sd_ms": None}, "Without T1 the macromolecular fraction is not determined at all"),
        (
            {"flips_deg": [1000] * 10},
            "powers of the MT pulse, 1 given: fewer do not tell the fraction. MTR needs",
        ),
        (
            {"offsets_hz": [2e3, 5e3, 1e4, 2e3, 5e3] * 2},
            "at least 4 offsets of the MT pulse, 3 given",
        ),
        ({"offsets_hz": [2, 5, 10, 20, 50] * 2}, "MT offsets are expected in Hz"),
        ({"b1_sd": None}, "B1+ wrong by 5 % moves the macromolecular fraction by 7 to 10"),
        ({"flips_deg": [500, 1000]}, "has 2 flips and 10 offsets for 10 images; give one each"),
        ({"tr_ms": None}, "The MT protocol does not tell tr_ms. UTE-MT needs its protocol"),
        ({"tr_ms": 60}, "do not fit into a TR of 60 ms; check the protocol"),
        ({"tr": 60}, "The MT protocol holds tr, which is none of:"),
        ({"pulse_shape": "square"}, "one of fermi, gaussian, hard, not square"),
        ({"t1_ms": "long"}, "t1_ms of the MT protocol is expected as a number from 10 to 5000; lo"),
        ({"b1": True}, "b1 of the MT protocol is expected as a number from 0.3 to 2; True was"),
        (
            {"fat_percent": 95},
            "fat_percent of the MT protocol is expected as a number from 0 to 90",
        ),
        ({"flips_deg": "500,1500"}, "flips_deg of the MT protocol is expected as a list of numb"),
        ({"offsets_hz": [2e3, "5 kHz"]}, "offsets_hz of the MT protocol is expected as a list"),
        ({"offsets_hz": [float("nan")] * 10}, "offsets_hz of the MT protocol is expected as a li"),
    ],
)
def test_protocols_that_do_not_tell_it_are_refused(bone, tmp_path, changed, words):
    told = {key: one for key, one in {**PROTOCOL, **changed}.items() if one is not None}
    path = tmp_path / "protocol.json"
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=re.escape(words)):
        UTE.recipe("mt").make(bone[0], mt_protocol=str(path))


def test_images_that_are_no_mt_series_are_refused(bone):
    images, path, _, b1, _ = bone
    recipe = UTE.recipe("mt")
    with pytest.raises(ValueError, match="needs its protocol, which headers do not tell"):
        recipe.make(images)
    percent = b1.with_array(100 * b1.array)
    with pytest.raises(ValueError, match=r"its median is 100\. Divide a map in percent by 100"):
        recipe.make(images, mt_protocol=path, b1_map=percent)
    negative = [images[0].with_array(-images[0].array), *images[1:]]
    with pytest.raises(ValueError, match="UTE-MT is fitted to magnitude images; these have neg"):
        recipe.make(negative, mt_protocol=path)
    nothing = images[0].with_array(np.zeros(images[0].array.shape, np.uint8))
    with pytest.raises(ValueError, match="The mapped bone: the region holds no voxel"):
        recipe.make(images, mt_protocol=path, mask=nothing)
