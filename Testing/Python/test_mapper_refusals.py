"""Wrong input of diffusion and water-fat gets a sentence of its own; what is repaired is told."""

import numpy as np
import pytest
from PDFFMapperLib.commands.builder import _refuse_empty
from PDFFMapperLib.diffusion.adc import fit_adc
from PDFFMapperLib.diffusion.ivim import fit_ivim
from PDFFMapperLib.diffusion.noise import sigma_from_background
from PDFFMapperLib.diffusion.recipe import DIFFUSION
from PDFFMapperLib.diffusion.scheme import diffusion_scheme, read_bval
from PDFFMapperLib.diffusion.series import diffusion_series
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.kinds import map_kind
from PDFFMapperLib.maps.parametric_map import ParametricMap, write_maps
from PDFFMapperLib.water_fat.echo_train import echo_train
from PDFFMapperLib.water_fat.echo_units import phase_in_radians
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.products import fat_fraction_of_images
from PDFFMapperLib.water_fat.recipe import WATER_FAT
from PDFFMapperLib.water_fat.t1_bias import saturation

B = (0.0, 100.0, 400.0, 800.0)
SIGNAL = 100 * np.exp(-0.0007 * np.array(B)) * np.ones((2, 6, 6, 1))
IN_OPPOSED = WATER_FAT.recipe("in-opposed")
COMPLEX = WATER_FAT.recipe("complex")


def volume(array, name="v", **attributes) -> Volume:
    return Volume(np.asarray(array, np.float32), np.diag([1.0, 1, 2, 1]), name, attributes)


def weighted(b, scale=1.0, **facts) -> Volume:
    array = scale * 100 * np.exp(-0.0007 * b) * np.ones((2, 6, 6))
    return volume(array, f"b{b:g}", DiffusionBValue=b, **facts)


def series(*images, **settings):
    return diffusion_series(images, DIFFUSION.recipe("adc").chosen(settings))


def echoes(**facts):
    component = facts.pop("component", "magnitude")
    return [
        volume(np.full((2, 4, 4), 5.0 - n), f"echo {n}", EchoTime=time, ImageComponent=component,
               MagneticFieldStrength=3.0, **facts)
        for n, time in enumerate((3.0, 1.0, 2.0))
    ]  # fmt: skip


AIR = volume(np.ones((2, 6, 6)))
ECHOES = np.ones((3, 1, 2, 2), complex)
SIEMENS = {"Manufacturer": "SIEMENS", "DiffusionBValueSource": "Siemens CSA"}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: fit_adc(SIGNAL, B, method="lm"), 'The method is "ml" or "wls", not \'lm\''),
        (lambda: fit_adc(SIGNAL, [0, 1, 2, 2e5]), r"b-values above 100000 s/mm\^2"),
        (lambda: fit_adc(SIGNAL, B, sigma=np.ones(3)), r"sigma has shape \(3,\); a number or"),
        (lambda: fit_adc(SIGNAL, B, mask=np.ones(3)), r"The mask's shape \(3,\) differs from the"),
        (lambda: fit_ivim(SIGNAL, B), "Four images leave no residual to measure the noise from"),
        (lambda: fit_ivim(SIGNAL, B, noise="white"), 'The noise is "rician" or "gaussian", not'),
        (lambda: sigma_from_background(np.ones(5)), "At least 100 background samples are needed"),
        (lambda: sigma_from_background(np.zeros(500)), "zero: the scanner has masked it"),
        (lambda: diffusion_scheme([weighted(0), weighted(6e4)]), "60000 s/mm2 is impossible"),
        (lambda: series(weighted(0), weighted(9), lowest_b=50), "No b-value lies from 50 upward"),
        (
            lambda: series(weighted(0), weighted(800), sigma="2", background=AIR),
            "Give the noise or a background to measure it in, not both",
        ),
        (
            lambda: series(*[weighted(b, s) for b in (0, 800) for s in (1, 1.1)], background=AIR),
            "The background of averaged images is not Rayleigh; give the noise",
        ),
        (lambda: series(weighted(0), weighted(800), sigma="low"), "number or 'repeats', not 'low'"),
        (lambda: write_maps([], ".", "case"), "No maps were given to write"),
        (lambda: DIFFUSION.recipe("adz"), "There is no method 'adz'; choose of adc"),
        (lambda: COMPLEX.make(echoes(), speed=3), "echoes has no option speed; it has"),
        (lambda: COMPLEX.make(echoes(), field_strength_t=90), "0.01 and 12 T; 90 was given"),
        (lambda: COMPLEX.make(echoes(), leave_out="4"), "leave out are numbers from 1 to 3, as 6"),
        (lambda: COMPLEX.make(echoes(), leave_out="last"), "1,6; given was 'last'"),
        (lambda: COMPLEX.make(echoes(), peaks="-3.4"), "Peaks are expected as -3.4:0.7,-2.6:0.13"),
        (
            lambda: IN_OPPOSED.make(echoes(), r2star_per_s=40, echo_times_s=(2e-3, 1e-3, 4e-3)),
            "A known R2\\* and a second in-phase image to find it by: give one of them",
        ),
        (
            lambda: WATER_FAT.recipe("water-fat").make(echoes()[:2], correct_t1=True),
            "Give the T1 of water and of fat, or switch the T1 correction off; none is assumed",
        ),
        (lambda: saturation(0, 0.01, 1.0), "flip angle from 0 to 180 degrees is expected, not 0"),
        (lambda: saturation(5, 0.01, 99.0), "A T1 from 0.01 to 10 s is expected, not 99"),
        (
            lambda: fit_adc(SIGNAL, B, averages=[1, 2]),
            "One positive number of averages per b-value",
        ),
        (lambda: diffusion_scheme([weighted(0), weighted(-5)]), "b-values must be numbers of 0 or"),
        (
            lambda: diffusion_scheme([weighted(b, **SIEMENS) for b in (0, 0, 800)]),
            "2 volumes of this Siemens series are marked b = 0, and nothing tells",
        ),
        (
            lambda: multi_echo(ECHOES, [1.2, 2.4, 3.6], 3.0),
            "1.2, 2.4, 3.6 look like milliseconds: divide by 1000",
        ),
        (lambda: multi_echo(ECHOES, [1e-6, 2e-6, 3e-6], 3.0), "are too short to be true"),
        (
            lambda: echo_train([*echoes(), *echoes(component="phase")[:2]]),
            "ms; give both at each echo, or leave out the phase images",
        ),
        (
            lambda: multi_echo(np.ones((3, 4), complex), [1e-3, 2e-3, 3e-3], 3.0),
            r"Echoes are expected with shape \(echoes, slices, rows, columns\).* is \(3, 4\)",
        ),
        (
            lambda: echo_train(echoes(ImageType=["DERIVED", "PRIMARY", "WATER"])),
            "All volumes are maps made by the scanner; no echo is among them",
        ),
        (lambda: phase_in_radians([np.ones(9)]), "A phase image is 1 everywhere; it holds"),
        (
            lambda: fat_fraction_of_images(np.ones((1, 2, 2)), np.ones((1, 3, 2))),
            r"The water image has shape .* the fat image .*; they must be alike",
        ),
        (
            lambda: fat_fraction_of_images(np.ones((1, 2, 2), complex), np.ones((1, 2, 2))),
            "The water image is complex; give its magnitude",
        ),
    ],
)
def test_wrong_input_gets_its_own_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize(("brighter", "refused"), [(1.04, False), (1.06, True)])
def test_signal_that_rises_with_b_by_more_than_noise_is_refused(brighter, refused):
    images = weighted(0), weighted(800, brighter * np.exp(0.0007 * 800))
    if refused:
        with pytest.raises(
            ValueError, match=r"at b = 800 s/mm.* are brighter than those at 0; check"
        ):
            series(*images)
    else:
        assert series(*images).b_values.tolist() == [0, 800]


def test_files_of_b_values_are_one_row_or_column_of_numbers(tmp_path):
    path = tmp_path / "x.bval"
    for text, sentence in (
        ("0 800 many", "x.bval: a row or column of b-values is expected"),
        ("0 1\n2 3", "one row or one column of b-values is expected, it has 2 rows"),
        ("0 -5", "x.bval: b-values must be numbers of 0 or more."),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=sentence):
            read_bval(path)
    path.write_text("0\n50\n800\n")
    assert read_bval(path).tolist() == [0, 50, 800]


def test_maps_of_nothing_are_not_written():
    nothing = ParametricMap(map_kind("PDFF"), volume(np.full((2, 6, 6), np.nan)))
    with pytest.raises(ValueError, match="No voxel could be fitted, so there is nothing to write"):
        _refuse_empty([nothing])
    _refuse_empty([nothing, ParametricMap(map_kind("R2star"), AIR)])


def test_what_was_repaired_or_left_out_is_told():
    trace = {"DiffusionDirectionality": "ISOTROPIC"}
    axes = [{"DiffusionGradientOrientation": axis} for axis in np.eye(3).tolist()]
    siemens = {"Manufacturer": "SIEMENS", "SequenceName": "*ep_b50t"}
    adc = volume(np.ones((2, 6, 6)), "ADC", ImageType=["DERIVED", "PRIMARY", "ADC"])
    given = (
        ([weighted(0), *(weighted(800, **one) for one in (*axes, trace))],
         "1 trace image(s) made by the scanner left out: their directions are there too"),
        ([weighted(0), weighted(1e9 + 800)], "An offset of 1e9 that GE adds was taken off"),
        ([weighted(0.001), weighted(0), weighted(800)], "s/mm2 are taken as 0: the scanner"),
        ([weighted(0), weighted(800), adc], "1 volume(s) without diffusion weighting of their own"),
        ([weighted(0, **siemens), weighted(800)], "b = 50 s/mm2 was written as 0; its"),
    )  # fmt: skip
    for images, told in given:
        assert any(told in note for note in diffusion_scheme(images).notes), told
    negative, repeat = weighted(800), weighted(0)
    negative.array[0, 0] = -1
    repeat.array[:] += np.random.default_rng(0).standard_normal(repeat.array.shape)
    notes = series(weighted(0), repeat, negative).notes
    assert "Two b-values leave no residual: noise measured from repeats." in notes
    assert any("of the signals are below 0, which no magnitude is" in note for note in notes)
    notes = echo_train(echoes()).notes
    assert "Echoes were sorted by echo time." in notes
    real = [*echoes(component="real"), *echoes(component="imaginary"), *echoes()]
    real[4].array[0] = -1
    assert "Only the real and imaginary images were used." in echo_train(real).notes
    sorted_ = multi_echo(np.ones((3, 1, 2, 2), complex), [3e-3, 1e-3, 2e-3], 3.0)
    assert sorted_.notes == ["The echoes were sorted by echo time."]
