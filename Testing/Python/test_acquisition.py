"""Echo trains, diffusion schemes, sidecars and role guesses against known truth."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PDFFMapperLib.dicom.folder import read_dicom_folder
from PDFFMapperLib.dicom.series_role import guess_role
from PDFFMapperLib.diffusion.scheme import diffusion_scheme, read_bval, trace_weighted
from PDFFMapperLib.images.sidecar import read_sidecar
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.echo_train import echo_train
from PDFFMapperLib.water_fat.echo_units import echo_times_in_seconds, phase_in_radians

SHARED = Path(
    os.environ.get("MARROWASSESS_SHARED", Path(__file__).resolve().parents[2].parent / "shared")
)
CASES = SHARED / "cases" / "dicom"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"no shared cases at {CASES}")

TIMES_MS = [1.2, 3.1, 5.0]
SHAPE = (3, 4, 5)


def complex_echoes() -> np.ndarray:
    """Echoes whose phase covers the full turn, shape (3, 4, 5, 3)."""
    random = np.random.default_rng(1)
    phase = random.uniform(-np.pi, np.pi, (*SHAPE, 3))
    phase.flat[:2] = -np.pi + 1e-6, np.pi - 1e-6
    return random.uniform(100, 200, (*SHAPE, 3)) * np.exp(1j * phase)


def volume(array: np.ndarray, name: str = "v", **attributes: object) -> Volume:
    return Volume(array, np.diag([1.0, 1.0, 2.0, 1.0]), name, attributes)


def pair(one: str, other: str, convert, **facts: object) -> list[Volume]:
    """Volumes of two components of the complex echoes."""
    volumes = []
    for n, time in enumerate(TIMES_MS):
        for component, array in zip((one, other), convert(complex_echoes()[..., n]), strict=True):
            volumes.append(
                volume(
                    array, EchoTime=time, ImageComponent=component, MagneticFieldStrength=3.0,
                    **facts,
                )
            )  # fmt: skip
    return volumes


# --- echo trains --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "facts"),
    [
        (lambda p: p.astype(np.float32), {}),
        (lambda p: np.mod(p, 2 * np.pi), {}),
        (lambda p: np.rint(p * 1000).astype(np.int16), {}),
        (lambda p: np.rint(p * 1000), {"RescaleType": "mrad", "Manufacturer": "Philips"}),
        (lambda p: np.degrees(p), {}),
        (lambda p: np.rint(p / np.pi * 2048) * 2, {}),
        (
            lambda p: np.rint(p / np.pi * 2048) * 2,
            {"Manufacturer": "SIEMENS", "RescaleSlope": 2.0, "RescaleIntercept": -4096.0},
        ),
        (lambda p: np.rint(p / np.pi * 2048 + 2048).astype(np.uint16), {}),
        (lambda p: np.clip(np.rint((p + np.pi) / np.pi * 32768), 0, 65535).astype(np.uint16), {}),
    ],
    ids=["rad", "0-2pi", "mrad", "philips", "deg", "13bit", "siemens", "uint12", "uint16"],
)
def test_magnitude_and_phase_of_every_scale_give_the_complex_signal(scale, facts):
    train = echo_train(
        pair("magnitude", "phase", lambda s: (np.abs(s), scale(np.angle(s))), **facts)
    )
    assert train.is_complex and train.signal.shape == (*SHAPE, 3)
    assert train.field_strength_t == 3.0
    np.testing.assert_allclose(train.echo_times_s, np.array(TIMES_MS) * 1e-3)
    relative = np.abs(train.signal - complex_echoes()) / np.abs(complex_echoes())
    assert relative.max() < 0.002  # half a step of 12 bits over a turn


def test_real_and_imaginary_out_of_order():
    volumes = pair("real", "imaginary", lambda s: (s.real, s.imag))[::-1]
    train = echo_train(volumes)
    np.testing.assert_allclose(train.signal, complex_echoes(), rtol=1e-6)
    assert any("sorted" in note for note in train.notes)


def test_magnitude_alone_and_scanner_maps_left_out():
    volumes = [volume(np.full(SHAPE, n + 1.0), EchoTime=t) for n, t in enumerate(TIMES_MS)]
    volumes.append(volume(np.ones(SHAPE), EchoTime=1.2, ImageType=["DERIVED", "PRIMARY", "W", "W"]))
    train = echo_train(volumes, field_strength_t=1.5)
    assert not train.is_complex and train.signal.dtype == np.float32
    assert train.signal[0, 0, 0].tolist() == [1, 2, 3]
    assert train.field_strength_t == 1.5
    assert any("1 scanner-made map" in note for note in train.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[:-1], "phase images at 1.2, 3.1 ms"),
        (lambda v: [*v, v[0]], "twice"),
        (lambda v: [v[1], v[3], v[5]], "Only phase images"),
        (lambda v: [v[0], v[2], v[4], v[5]], "phase difference"),
        (lambda v: [volume(v[0].array, "a")], "no echo time"),
        (lambda v: [], "No volume"),
    ],
)
def test_incomplete_trains_are_refused(change, message):
    volumes = pair("magnitude", "phase", lambda s: (np.abs(s), np.angle(s)))
    with pytest.raises(ValueError, match=message):
        echo_train(change(volumes))


def test_a_train_of_spin_echoes_is_no_water_fat_train():
    def train(times, *words, options=""):
        sequence = {"ScanningSequence": list(words), "ScanOptions": options}
        echoes = [volume(np.ones(SHAPE), EchoTime=time, **sequence) for time in times]
        return echo_train(echoes)

    for words in (["SE"], ["SE", "GR"], ["EP", "SE"]):  # multi-echo, GraSE, EPI
        with pytest.raises(ValueError, match=r"spin echoes \(6.3 to 18.9 ms"):
            train([6.3, 12.6, 18.9], *words)
    assert len(train([6.3, 12.6, 18.9], "GR").echo_times_s) == 3
    assert len(train([79.1, 80.0, 80.9], "SE").echo_times_s) == 3  # shifted, as FSE-IDEAL
    assert any("fat was saturated" in note for note in train([1.2, 2.4], "GR", options="FS").notes)
    assert not train([1.2, 2.4], "GR", options="PFP").notes


def test_other_faults_of_trains_are_refused():
    ones = np.ones(SHAPE)
    with pytest.raises(ValueError, match="another voxel grid"):
        echo_train([volume(ones, EchoTime=1.0), volume(ones[:2], EchoTime=2.0)])
    with pytest.raises(ValueError, match="does not say"):
        echo_train([volume(-ones, EchoTime=2.0)])
    with pytest.raises(ValueError, match="negative values"):
        echo_train([volume(-ones, EchoTime=2.0, ImageComponent="magnitude")])
    with pytest.raises(ValueError, match="looks like seconds"):
        echo_train([volume(ones, EchoTime=0.0012), volume(ones, EchoTime=0.0031)])
    with pytest.raises(ValueError, match="no negative value"):
        echo_train(pair("real", "imaginary", lambda s: [np.ceil(np.abs(s))] * 2))
    with pytest.raises(ValueError, match="different field strengths"):
        echo_train(
            [
                volume(ones, EchoTime=1.0, MagneticFieldStrength=1.5),
                volume(ones, EchoTime=2.0, MagneticFieldStrength=3.0),
            ]
        )
    with pytest.raises(ValueError, match="2 echo times were given for 1 volume"):
        echo_train([volume(ones)], echo_times=[1, 2])


def test_field_strength_in_gauss_or_missing_follows_the_frequency():
    facts = {"EchoTime": 1.0, "ImagingFrequency": 127.74}
    for strength in (30000.0, None):
        train = echo_train([volume(np.ones(SHAPE), **facts, MagneticFieldStrength=strength)])
        assert train.field_strength_t == 3.0
    with pytest.raises(ValueError, match="frequency"):
        echo_train([volume(np.ones(SHAPE), **facts, MagneticFieldStrength=1.5)])
    with pytest.raises(ValueError, match="in gauss this would be 3 T"):
        echo_train([volume(np.ones(SHAPE), EchoTime=1.0, MagneticFieldStrength=30000.0)])


@pytest.mark.parametrize(
    "values",
    [[1.2, 2.3, 3.4], [0.0012, 0.0023, 0.0034], [1200, 2300, 3400]],
    ids=["ms", "s", "us"],
)
def test_unit_of_echo_times_is_found(values):
    np.testing.assert_allclose(echo_times_in_seconds(values), [0.0012, 0.0023, 0.0034])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.2, 0.5], "unclear"),
        ([400, 700], "unclear"),
        ([0.0, 1.0], "positive"),
        ([-1.0, 2.0], "positive"),
        ([np.nan, 2.0], "positive"),
        ([], "positive"),
        ([1e-6, 100], "outside"),
    ],
)
def test_unclear_echo_times_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        echo_times_in_seconds(values)


def test_stated_unit_settles_unclear_echo_times():
    np.testing.assert_allclose(echo_times_in_seconds([0.2, 0.5], "ms"), [0.0002, 0.0005])
    with pytest.raises(ValueError, match="Unknown unit"):
        echo_times_in_seconds([1.0], "min")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.linspace(-500, 500, 60), "fits no known scale"),
        (np.zeros(60), "everywhere"),
        (np.full(60, np.nan), "no finite value"),
    ],
)
def test_unknown_phase_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        phase_in_radians([values.reshape(SHAPE)])


@needs_cases
def test_real_siemens_two_echo_series():
    (magnitude,) = read_dicom_folder(CASES / "siemens_xa30_enhanced_gre_two_echo_magnitude")
    train = echo_train(magnitude.volumes)
    np.testing.assert_allclose(train.echo_times_s, [0.010, 0.01246])
    assert train.field_strength_t == 2.895 and not train.is_complex  # 123.25 MHz, named 3 T
    (phase,) = read_dicom_folder(CASES / "siemens_xa30_enhanced_gre_phase")
    (radians,), note = phase_in_radians([v.array for v in phase.volumes], phase.attributes)
    assert "Siemens" in note and radians.min() == pytest.approx(-np.pi, abs=1e-5)
    assert np.pi - 0.01 < radians.max() < np.pi
    with pytest.raises(ValueError, match="phase difference"):
        echo_train([*magnitude.volumes, *phase.volumes])


# --- sidecars -----------------------------------------------------------------------------------


def sidecar(tmp_path: Path, **facts: object) -> Path:
    path = tmp_path / "side.json"
    path.write_text(json.dumps(facts))
    return path


def test_sidecar_of_one_echo(tmp_path):
    side = read_sidecar(
        sidecar(
            tmp_path, EchoTime=0.0023, RepetitionTime=0.02, MagneticFieldStrength=3,
            ImagingFrequency=123.2, ImageType=["ORIGINAL", "PRIMARY", "P", "ND"],
        )
    )  # fmt: skip
    assert side.echo_times_s.tolist() == [0.0023]
    assert side.attributes["MagneticFieldStrength"] == 2.894  # 123.2 MHz
    assert side.attributes["EchoTime"] == pytest.approx(2.3)
    assert side.attributes["RepetitionTime"] == pytest.approx(20)
    assert side.attributes["ImageComponent"] == "phase"
    assert not side.notes


@pytest.mark.parametrize(
    "facts",
    [
        {"EchoTimes": [0.001, 0.002, 0.003]},
        {"EchoTime": [0.001, 0.002, 0.003]},
        {"EchoTime1": 0.001, "EchoTime2": 0.002, "EchoTime3": 0.003},
        {"EchoTime": [1.0, 2.0, 3.0]},
    ],
)
def test_sidecar_of_many_echoes(tmp_path, facts):
    side = read_sidecar(sidecar(tmp_path, **facts, ImagingFrequency=63.87))
    np.testing.assert_allclose(side.echo_times_s, [0.001, 0.002, 0.003])
    assert side.attributes["MagneticFieldStrength"] == 1.5
    assert bool(side.notes) == (facts.get("EchoTime") == [1.0, 2.0, 3.0])


def test_broken_sidecars_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_sidecar(tmp_path / "absent.json")
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(ValueError, match="not a JSON file"):
        read_sidecar(bad)
    for facts in ({"EchoTime": "soon"}, {"EchoTime": -1}, {"MagneticFieldStrength": "3T"}):
        with pytest.raises(ValueError):
            read_sidecar(sidecar(tmp_path, **facts))


# --- diffusion ----------------------------------------------------------------------------------

AXES = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def weighted(b_value: object, direction: list[float] | None = None, **facts: object) -> Volume:
    if direction is not None:
        facts["DiffusionGradientOrientation"] = direction
    return volume(np.ones((1, 1, 1)), f"b{b_value}", DiffusionBValue=b_value, **facts)


def test_scheme_is_sorted_and_groups_repeats_of_a_direction():
    opposite = [-value for value in AXES[0]]
    volumes = [
        weighted(800.0, AXES[1]), weighted(0.0), weighted(800.0, AXES[0]),
        weighted(800.0, opposite), weighted(0.0), weighted(50.0),
    ]  # fmt: skip
    scheme = diffusion_scheme(volumes)
    assert scheme.b_values.tolist() == [0, 0, 50, 800, 800, 800]
    assert scheme.order.tolist() == [1, 4, 5, 0, 2, 3]
    groups = scheme.groups
    assert groups[0] == groups[1] and groups[4] == groups[5]
    assert len(set(groups.tolist())) == 4
    np.testing.assert_array_equal(scheme.directions[3], AXES[1])
    assert np.isnan(scheme.directions[0]).all()


def test_trace_is_the_mean_diffusivity_of_a_tensor():
    """Repeats are averaged, directions multiplied: ADC = trace / 3 exactly."""
    tensor = np.diag([0.3e-3, 0.9e-3, 2.1e-3])
    volumes = [weighted(0.0), weighted(0.0)]
    volumes += [weighted(700.0, axis) for axis in AXES] + [weighted(700.0, AXES[0])]
    scheme = diffusion_scheme(volumes)
    signal = []
    for b, direction in zip(scheme.b_values, scheme.directions, strict=True):
        d = 0 if b == 0 else direction @ tensor @ direction
        signal.append(1000 * np.exp(-b * d))
    signals = np.array(signal)[None]
    signals[0, :2] = 900, 1100  # repeats
    trace, b_values, counts = trace_weighted(signals, scheme)
    assert b_values.tolist() == [0, 700] and counts.tolist() == [2, 4]
    assert np.log(trace[0, 0] / trace[0, 1]) / 700 == pytest.approx(1.1e-3, rel=1e-5)


def test_trace_marks_what_it_cannot_tell():
    scheme = diffusion_scheme([weighted(0.0), *(weighted(500.0, axis) for axis in AXES)])
    signals = np.array([[10.0, 4, 0, 5], [10, 4, -1, 5], [10, 4, np.nan, 5]])
    trace, *_ = trace_weighted(signals, scheme)
    assert trace[0, 1] == 0 and np.isnan(trace[2, 1])
    assert trace[1, 1] == pytest.approx(8 / 3)  # noise below 0 is a measurement: plain mean
    with pytest.raises(ValueError, match="3 volumes"):
        trace_weighted(signals[:, :3], scheme)


def test_ge_offset_and_philips_numbering_are_repaired():
    scheme = diffusion_scheme([weighted(b) for b in (0.0, 1e9 + 50, 1e9 + 800)])
    assert scheme.b_values.tolist() == [0, 50, 800] and "1e9" in scheme.notes[0]
    scheme = diffusion_scheme([weighted(b) for b in (0.002, 0.0, 600.0, 0.001)])
    assert scheme.b_values.tolist() == [0, 0, 0, 600]
    assert "0.001, 0.002" in scheme.notes[0]


def test_siemens_low_b_values_come_from_the_sequence_name_or_not_at_all():
    def siemens(b: float, name: str) -> Volume:
        return weighted(
            b, Manufacturer="SIEMENS", SequenceName=name,
            DiffusionBValueSource="Siemens (0019,100C)",
        )  # fmt: skip

    named = [siemens(0, "*ep_b0"), siemens(0, "*ep_b10t"), siemens(0, "ep_b30#2")]
    scheme = diffusion_scheme([*named, siemens(400, "*ep_b400t")])
    assert scheme.b_values.tolist() == [0, 10, 30, 400] and len(scheme.notes) == 2
    repeats = [siemens(0, "ep_b0"), siemens(0, "ep_b0#1"), siemens(400, "ep_b400")]
    assert diffusion_scheme(repeats).b_values.tolist() == [0, 0, 400]
    nameless = [siemens(0, ""), siemens(0, ""), siemens(400, "")]
    with pytest.raises(ValueError, match="Siemens"):
        diffusion_scheme(nameless)
    assert diffusion_scheme(nameless, [0, 20, 400]).b_values.tolist() == [0, 20, 400]


@pytest.mark.parametrize(
    ("volumes", "message"),
    [
        ([weighted(0.0), weighted(0.0)], "are 0"),
        ([weighted(0.0), volume(np.ones((1, 1, 1)), "x")], "'x' has no b-value"),
        ([weighted(0.0), weighted(-5.0)], "0 or more"),
        ([weighted(0.0), weighted(float("nan"))], "0 or more"),
        ([weighted(0.0), weighted("many")], "not a number"),
        ([weighted(0.0), weighted(8e5)], "impossible"),
        ([], "No diffusion volume"),
    ],
)
def test_unusable_b_values_are_refused(volumes, message):
    with pytest.raises(ValueError, match=message):
        diffusion_scheme(volumes)


def test_maps_and_doubled_traces_are_left_out():
    volumes = [weighted(0.0), *(weighted(800.0, axis) for axis in AXES)]
    volumes.append(weighted(800.0, DiffusionDirectionality="ISOTROPIC"))
    volumes.append(weighted(800.0, ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]))
    scheme = diffusion_scheme(volumes)
    assert scheme.order.tolist() == [0, 1, 2, 3] and len(scheme.notes) == 2
    traces = [weighted(b, DiffusionDirectionality="ISOTROPIC") for b in (800.0, 0.0, 400.0)]
    assert diffusion_scheme(traces).order.tolist() == [1, 2, 0]


def test_node_attributes_hold_text():
    volumes = [volume(np.ones((1, 1, 1)), **{"DWMRI_b-value": text}) for text in ("600", "0")]
    assert diffusion_scheme(volumes).b_values.tolist() == [0, 600]


@pytest.mark.parametrize("text", ["0 50 800\n", "0\n50\n800\n\n", "\ufeff0\t50  800", "0, 50, 800"])
def test_bval_files(tmp_path, text):
    path = tmp_path / "x.bval"
    path.write_text(text, encoding="utf-8")
    assert read_bval(path).tolist() == [0, 50, 800]


@pytest.mark.parametrize("text", ["", "0 50\n800 900", "b = 0", "0 -50", "nan 0"])
def test_broken_bval_files_are_refused(tmp_path, text):
    path = tmp_path / "x.bval"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"x\.bval"):
        read_bval(path)


@needs_cases
def test_real_philips_b_values_and_order():
    (series,) = read_dicom_folder(CASES / "philips_classic_dwi")
    scheme = diffusion_scheme(series.contents)
    assert scheme.b_values.tolist() == [0] * 5 + [1000] * 12
    assert len(set(scheme.groups.tolist())) == 13
    assert "0.001, 0.002, 0.003, 0.004" in scheme.notes[0]
    lengths = np.linalg.norm(scheme.directions[5:], axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)
    volumes = series.volumes
    trace, b_values, _ = trace_weighted(
        np.stack([volumes[n].array for n in scheme.order], -1), scheme
    )
    tissue = (trace[..., 0] > 300) & (trace[..., 1] > 0)
    adc = np.log(trace[tissue, 0] / trace[tissue, 1]) / b_values[1]
    assert 0.6e-3 < np.median(adc) < 1.1e-3  # brain


@needs_cases
def test_real_ge_b_values():
    (series,) = read_dicom_folder(CASES / "ge_dwi_tensor")
    scheme = diffusion_scheme(series.contents)
    assert scheme.b_values.tolist() == [0] + [1000] * 6
    assert len(set(scheme.groups.tolist())) == 7


# --- roles --------------------------------------------------------------------------------------

SE = {"ScanningSequence": "SE"}
T1 = {**SE, "RepetitionTime": 600.0, "EchoTime": 11.0}
T2 = {**SE, "RepetitionTime": 3500.0, "EchoTime": 95.0}
GRE = {"ScanningSequence": "GR", "RepetitionTime": 6.0, "EchoTime": 1.2}


@pytest.mark.parametrize(
    ("attributes", "description", "role"),
    [
        (T1, "t1_tse_sag", "T1"),
        (T1, "Sag spine", "T1"),
        (T1, "t2_tse_sag", None),  # the name contradicts the timing
        (T2, "T2 sag frFSE", "T2"),
        (T2, "sag", "T2"),
        (T2, "t2_tse_fs_sag", "STIR"),
        ({**T2, "InversionTime": 160.0, "ScanningSequence": ["SE", "IR"]}, "sag", "STIR"),
        ({**T2, "EchoTime": 40.0}, "t2_tirm_sag", "STIR"),
        ({**T2, "InversionTime": 2500.0}, "t2 flair", None),
        (T1, "t1_tse_fs_sag", None),
        ({**T1, "ScanOptions": ["PFP", "FS"]}, "sag", None),  # only the options tell fat saturation
        ({**T1, "ScanOptions": ["PFP"]}, "sag", "T1"),
        ({**T2, "ScanOptions": "FS"}, "t2_tse_sag", "STIR"),
        (T1, "t1_tse_fs_sag_KM", "t1_post"),
        ({**T1, "ContrastBolusAgent": "gadobutrol"}, "t1_tse_sag", "t1_post"),
        ({**T1, "ContrastBolusAgent": "off"}, "t1_tse_sag", "T1"),  # Hitachi
        ({**T1, "ContrastBolusAgent": "ANONYMIZED"}, "t1_tse_sag", None),  # said anything
        ({**T1, "ContrastBolusAgent": "Anonymous"}, "t1_tse_sag", None),
        ({**T1, "ContrastBolusAgent": "ANONYMIZED"}, "t1_tse_sag_pre", "T1"),
        ({**T1, "ContrastBolusAgent": "ANONYMIZED"}, "t1_tse_sag_km", "t1_post"),
        ({**T1, "ContrastBolusAgent": "NONE"}, "t1_tse_sag", "T1"),
        (T1, "t1 sag without contrast", "T1"),
        (GRE, "t1_vibe_dixon_tra_opp", "opposed_phase"),
        (GRE, "t1_vibe_dixon_tra_in", "in_phase"),
        (GRE, "t1_vibe_dixon_tra_W", "water"),
        (GRE, "t1_vibe_dixon_tra_F", "fat"),
        ({**GRE, "ImageType": ["DERIVED", "PRIMARY", "IP", "IP"]}, "mDIXON", "in_phase"),
        ({**GRE, "ImageType": ["DERIVED", "PRIMARY", "FF", "FF"]}, "mDIXON Quant", "pdff"),
        ({**GRE, "ImageType": ["DERIVED", "PRIMARY", "DIXON", "WATER"]}, "x", "water"),
        (GRE, "in and out of phase", None),
        (GRE, "InPhase OutPhase", None),
        ({**T2, "ImageType": ["DERIVED", "PRIMARY", "DIXON", "WATER"]}, "t2 dixon", "STIR"),
        ({**GRE, "NumberOfEchoes": 6}, "gre", "multi_echo"),
        ({**GRE, "NumberOfEchoes": 6, "ImageComponent": "phase"}, "gre", None),
        ({"DiffusionBValue": 50.0}, "ep2d", "dwi"),
        ({"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, "ep2d_diff_ADC", "adc"),
        ({"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "FA"]}, "ep2d_FA", None),
        ({"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "FRACTIONAL_ANISO"]}, "x", None),
        ({**GRE, "ImageType": ["DERIVED", "PRIMARY", "DIXON", "FAT"]}, "mDIXON", "fat"),
        ({**GRE, "ImageType": ["DERIVED", "PRIMARY", "M", "FAT_FRACTION"]}, "x", "pdff"),
        ({}, "T1 sag", "T1"),
        (T1, "localizer", None),
        (T1, "SUB t1 post-pre", None),
        (T1, "pd_tse", None),
        (T1, "t1_tse_sag_postKM", "t1_post"),
        ({"ScanningSequence": "SE", "NumberOfEchoes": 8}, "mese", None),
        (GRE, "FatFrac: IDEAL IQ", "pdff"),
        (GRE, "R2*: IDEAL IQ", "r2star"),
        (GRE, "WATER: Ax LAVA-Flex", "water"),
        ({}, "dADC", "adc"),
        ({**T2, "ScanningSequence": "SE\\EP", "ScanOptions": "FS"}, "head", None),
        ({**GRE}, "t2*_gre", None),
    ],
)
def test_guessed_roles(attributes, description, role):
    assert guess_role(attributes, description) == role
