"""Echoes of another gain, order, time or field than given are refused by what explains them."""

from dataclasses import replace

import numpy as np
import pytest
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.magnitude import magnitude_water_fat
from PDFFMapperLib.water_fat.magnitude_air import refuse_no_magnitudes
from PDFFMapperLib.water_fat.magnitude_rivals import checked_against_rivals
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.recipe import WATER_FAT
from PDFFMapperLib.water_fat.separation import separate_water_fat
from PDFFMapperLib.water_fat.spectra import fat_spectrum
from PDFFMapperLib.water_fat.voxel_signals import VoxelSignals
from phantoms.water_fat import SIX_ECHOES_S, spine_phantom, with_phase_error

FOUR_ECHOES_S = 1.15e-3 * np.arange(1, 5)


def separated(phantom, **options):
    data = multi_echo(
        phantom.echoes, phantom.echo_times_s, phantom.field_strength_t, phantom.voxel_size_mm
    )
    return separate_water_fat(data, **options)


def brighter(phantom, factor, *echoes):
    signals = phantom.echoes.copy()
    signals[list(echoes)] *= factor
    return replace(phantom, echoes=signals)


@pytest.fixture(scope="module")
def sound():
    return spine_phantom((6, 48, 48), FOUR_ECHOES_S, 60, off_resonance_hz=150)


def test_the_second_half_of_a_train_in_another_gain_is_refused(sound):
    """CSF read 11 % fat without a word: hardly more than noise is left in any voxel."""
    with pytest.raises(ValueError, match=r"1\.\d\d times too bright beside.*or leave these out"):
        separated(brighter(sound, 0.7, 2, 3))


def test_a_single_echo_of_another_scale_is_named():
    phantom = spine_phantom((6, 48, 48), 1.15e-3 * np.arange(1, 7), 60)
    with pytest.raises(ValueError, match=r"echo 4 is 0\.70 times too bright"):
        separated(brighter(phantom, 0.7, 3))


def test_a_smaller_gain_is_told_by_what_it_changes(sound):
    result = separated(brighter(sound, 0.8, 2, 3))
    told = [note for note in result.facts["notes"] if "are of one acquisition and scale" in note]
    assert len(told) == 1 and "the PDFF changes by 6 points and more in a quarter" in told[0]


@pytest.mark.parametrize("factor", [0.7, 0.9])
def test_phases_that_would_explain_a_gain_do_not_hide_it(factor):
    """By phases of their own and the other precession sense 83 % were swapped and confident."""
    times = 1.2e-3 + 2e-3 * np.arange(4)
    phantom = spine_phantom((6, 48, 48), times, 60, 1.5, off_resonance_hz=90)
    with pytest.raises(ValueError, match="another receiver gain, another acquisition or another"):
        separated(brighter(phantom, factor, 2, 3))


@pytest.mark.parametrize(("factor", "snr"), [(0.93, 60), (0.9, 40), (0.9, 30)])
def test_phase_errors_that_a_gain_looks_like_do_not_decide_the_sense(factor, snr):
    """By errors in either sense up to half of the body was swapped and confident."""
    times = 1.2e-3 + 2e-3 * np.arange(4)
    phantom = spine_phantom((5, 48, 48), times, snr, 1.5, off_resonance_hz=90)
    with pytest.raises(
        ValueError, match=r"sense cannot be told from these data if|another receiver"
    ):
        separated(brighter(phantom, factor, 2, 3))


@pytest.mark.parametrize("seed", [24, 25])
def test_a_sense_hardly_likelier_by_one_field_does_not_overrule_what_leaves_less(seed):
    """A gain of 1.1 of one echo was an echo off in phase in the other sense: half was swapped."""
    times = 1.2e-3 + 2e-3 * np.arange(4)
    phantom = spine_phantom((8, 64, 64), times, 15, 1.5, off_resonance_hz=90, seed=seed)
    with pytest.raises(ValueError, match="sense cannot be told from these data if odd against"):
        separated(brighter(phantom, 1.1, 1))


def images_of(phantom):
    z, y, x = phantom.voxel_size_mm
    header = {"MagneticFieldStrength": phantom.field_strength_t}
    return [
        Volume(np.float32(part), np.diag([x, y, z, 1]), f"{name} {time}",
               {**header, "EchoTime": 1000 * time, "ImageComponent": name})
        for echo, time in zip(phantom.echoes, phantom.echo_times_s, strict=True)
        for name, part in (("real", echo.real), ("imaginary", echo.imag))
    ]  # fmt: skip


@pytest.mark.parametrize(("seed", "snr"), [(24, 12), (31, 15)])
def test_a_sense_that_puts_water_under_the_skin_is_refused_unless_stated(seed, snr):
    """By trains .08 rad apart nine in ten voxels were exchanged, and the sense was found."""
    times = 1.2e-3 + 2e-3 * np.arange(4)
    phantom = spine_phantom((8, 64, 64), times, snr, 1.5, off_resonance_hz=90, seed=seed)
    images = images_of(with_phase_error(phantom, "trains", 0.08))
    with pytest.raises(ValueError, match=r"sense found \(conjugated\) water lies under the skin"):
        WATER_FAT.recipe("complex").make(images)
    assert WATER_FAT.recipe("complex").make(images, precession="conjugated")


def test_a_sense_hardly_likelier_in_single_voxels_is_one_of_one_field_too():
    """Of four echoes with trains .05 rad apart 94 % of the voxels were exchanged."""
    times = 1.3e-3 + 1.6e-3 * np.arange(4)
    phantom = spine_phantom((8, 64, 64), times, 12, 1.5, off_resonance_hz=90, seed=31)
    with pytest.raises(ValueError, match="precession sense cannot be told"):
        separated(with_phase_error(phantom, "trains", 0.05))


@pytest.mark.parametrize(
    "options",
    [
        {"snr": 8},  # noise looked like a gain of 1.22
        {"snr": 12},
        {"spectrum": fat_spectrum("hamilton_liver")},
        {"faster_fat_per_s": 50.0},
        {"marrow": {4: (30.0, 50.0), 5: (30.0, 200.0), 6: (30.0, 333.0), 7: (30.0, 500.0)}},
        {"fat_lead_rad": 0.3},
        {"odd_even": (0.02, 0.2j)},
    ],
)
def test_right_echoes_have_one_gain(options):
    phantom = spine_phantom((6, 48, 48), FOUR_ECHOES_S, off_resonance_hz=150, **options)
    notes = separated(phantom).facts["notes"]
    assert not any("times too bright" in note for note in notes)


MISTAKES = {
    "field": (lambda echoes, times: (echoes, times, 1.5), "by 3 T than by the 1.5 T given"),
    "late": (lambda echoes, times: (echoes, times + 1.15e-3, 3.0), "times 1.15 ms shorter than"),
    "order": (lambda echoes, times: (echoes[[1, 0, 2, 3, 4, 5]], times, 3.0), "1 and 2 exchanged"),
    "gain": (
        lambda echoes, times: (echoes * np.where(np.arange(6) == 2, 0.7, 1)[:, None, None, None],
                               times, 3.0),
        "if echo 3 is 0.7. times too bright",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_at_noise_that_hides_it_in_single_voxels(mistake):
    """At this noise the fit left under 1.25 times that of the images, as of right echoes."""
    phantom = spine_phantom((6, 48, 48), SIX_ECHOES_S, 20, off_resonance_hz=150)
    make, words = MISTAKES[mistake]
    echoes, times, field = make(phantom.echoes, phantom.echo_times_s)
    with pytest.raises(ValueError, match=f"echoes is explained better .*{words}.*order of the im"):
        magnitude_water_fat(np.abs(echoes), times, field)
    with pytest.raises(ValueError, match=r"% of the squared residual\. Check the order of the"):
        checked_against_rivals(
            VoxelSignals(echoes), phantom.labels > 0, times, field, fat_spectrum()
        )


@pytest.mark.parametrize("snr", [3, 10, 40])
@pytest.mark.parametrize("field", [1.5, 3.0])
def test_right_echoes_are_explained_best_as_given(snr, field):
    trains = (SIX_ECHOES_S, 1.1e-3 + 0.9e-3 * np.arange(5), 1.1e-3 * np.arange(1, 13))
    for seed, times in enumerate(trains):
        phantom = spine_phantom((2, 40, 40), times, snr, field, seed=seed, off_resonance_hz=90)
        signals = VoxelSignals(phantom.echoes)
        body = phantom.labels > 0
        assert not checked_against_rivals(signals, body, times, field, fat_spectrum())


def test_amplitudes_of_a_bipolar_readout_are_no_other_gain():
    """Odd echoes 10 % over even ones are corrected with their phases, and were refused after."""
    times = 1.5e-3 * np.arange(1, 7)
    phantom = spine_phantom((3, 48, 48), times, 80, 1.5, odd_even=(0.05 + 0.2j, 0.4j))
    grid = np.diag([2.0, 2, 4, 1])
    images = [
        Volume(part.astype(np.float32), grid, name, {"EchoTime": 1000 * t, "ImageComponent": name})
        for one, t in zip(phantom.echoes, times, strict=True)
        for name, part in (("real", one.real), ("imaginary", one.imag))
    ]
    maps = WATER_FAT.recipe("complex").make(images, field_strength_t=1.5)
    off = maps[0].volume.array - phantom.pdff
    assert maps[0].kind.id == "PDFF" and np.nanmedian(np.abs(off)) < 1


def test_of_four_magnitudes_nothing_else_is_made():
    """They leave one number per voxel, which an exchange of echoes 2 and 3 would explain better."""
    phantom = spine_phantom((3, 40, 40), 1.2e-3 + 1e-3 * np.arange(4), 40)
    times, signals = phantom.echo_times_s + 1e-3, VoxelSignals(phantom.echoes)
    assert not checked_against_rivals(signals, phantom.labels > 0, times, 3.0, fat_spectrum())


def test_magnitudes_of_a_bipolar_readout_are_told_and_fitted():
    """Odd echoes 6 % over even ones move the PDFF by less than 3 points, and were refused."""
    times = 1.5e-3 * np.arange(1, 7)
    phantom = spine_phantom((3, 48, 48), times, 80, 1.5, odd_even=(0.03 + 0.2j, 0.02 + 0.4j))
    signals, body = VoxelSignals(phantom.echoes), phantom.labels > 0
    (told,) = checked_against_rivals(signals, body, times, 1.5, fat_spectrum())
    assert "too bright beside the others" in told


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda echoes: np.abs(echoes.real), "are absolute values of real or imaginary parts, not"),
        (
            lambda echoes: np.abs(echoes) ** 2,
            "images are squared magnitudes, not magnitudes: so th",
        ),
    ],
)
def test_images_given_as_magnitudes_are_told_by_their_air(made, words):
    """Of squares marrow of 30 % read 45 %; phases of 0 beside |real part| read 99 % for water."""
    phantom = spine_phantom((4, 56, 56), SIX_ECHOES_S, 40)
    with pytest.raises(ValueError, match=words):
        magnitude_water_fat(made(phantom.echoes), SIX_ECHOES_S, 3.0)


@pytest.mark.parametrize("snr", [5, 20, 100])
def test_air_of_magnitudes_is_no_other(snr):
    """In whole numbers and of several coils, too."""
    echoes = spine_phantom((4, 56, 56), SIX_ECHOES_S, snr).echoes
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 4, *echoes.shape)) / snr
    coils = np.sqrt((np.abs(echoes + noise[0] + 1j * noise[1]) ** 2).sum(0))
    for images in (np.abs(echoes), np.round(np.abs(echoes) * 100), coils, 0 * coils):
        refuse_no_magnitudes(images)


@pytest.mark.parametrize(
    ("refocused", "masked", "is_told"),
    [(True, False, True), (True, True, True), (False, False, False), (False, True, False)],
)
def test_spin_echoes_without_a_header_show_no_fat_anywhere(refocused, masked, is_told):
    """Fat under the skin read 0 %, and was confident."""
    phantom = spine_phantom((4, 48, 48), SIX_ECHOES_S, 40)
    times, body = phantom.echo_times_s, phantom.labels > 0
    magnitudes = np.abs(phantom.echoes)
    if refocused:
        times = 0.01 * np.arange(1, 7)
        decay = body * np.exp(-np.multiply.outer(times, np.nan_to_num(25 - phantom.pdff / 10)))
        noise = np.random.default_rng(0).standard_normal((2, *decay.shape)) / 40
        magnitudes = np.hypot(decay + noise[0], noise[1])
    images = [
        Volume(one.astype(np.float32), np.diag([2.0, 2, 4, 1]), "echo", {"EchoTime": 1000 * time})
        for one, time in zip(magnitudes, times, strict=True)
    ]
    mask = Volume(body.astype(np.uint8), np.diag([2.0, 2, 4, 1]), "body") if masked else None
    made = WATER_FAT.recipe("magnitude").make(images, field_strength_t=3.0, mask=mask)
    told = [note for note in made[0].provenance["notes"] if "in less than one voxel of 100" in note]
    assert bool(told) == is_told
