"""Fat fraction of two complex echoes: truth, field, precession, R2*, what is marked and refused."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from MarrowAssessLib.commands.main import main
from PDFFMapperLib.images.files import read_volume, write_volume
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.field_map import ChemicalShiftModel
from PDFFMapperLib.water_fat.maps import _two_echo_maps
from PDFFMapperLib.water_fat.recipe import WATER_FAT
from PDFFMapperLib.water_fat.separation import Doubt
from PDFFMapperLib.water_fat.spectra import fat_spectrum
from PDFFMapperLib.water_fat.two_echoes import TwoEchoes, separate_two_echoes
from phantoms.water_fat import spine_phantom

SHAPE, SNR = (10, 72, 72), 40.0
GRID = np.diag([2.0, 2.0, 4.0, 1.0])
PAIRS = {  # echo times in ms: opposed and in phase, or near that
    "3 T": ((1.15, 2.3), 3.0),
    "3 T, partial": ((1.3, 2.2), 3.0),
    "1.5 T": ((2.3, 4.6), 1.5),
    "1.5 T, partial": ((1.8, 4.0), 1.5),
}
RECIPE = WATER_FAT.recipe("two-echo")


@cache
def phantom(name="3 T, partial", snr=SNR):
    times, field = PAIRS[name]
    return spine_phantom(SHAPE, np.array(times) / 1000, snr, field, off_resonance_hz=60 * field)


def volume(array, name="map"):
    return Volume(np.nan_to_num(array), GRID, name)


def images(one):
    """Real and imaginary part of each echo."""
    volumes = []
    for echo, time in zip(one.echoes, one.echo_times_s, strict=True):
        for part, array in (("real", echo.real), ("imaginary", echo.imag)):
            facts = {"EchoTime": 1000 * time, "ImageComponent": part,
                     "MagneticFieldStrength": one.field_strength_t}  # fmt: skip
            volumes.append(Volume(array.astype(np.float32), GRID, f"{part} {time}", facts))
    return volumes


def made(one, **settings):
    """Maps of a phantom by name, and the facts told; R2* is known unless stated otherwise."""
    if "r2star_per_s" not in settings:
        settings = {"r2star_map": volume(one.r2star), **settings}
    maps = RECIPE.make(images(one), **settings)
    return {each.name: each.volume.array for each in maps}, maps[0].provenance


def errors(one, maps):
    """Distance from the true fat fraction where there is a value, and the labels there."""
    here = (one.labels > 0) & (maps["doubt"] == 0)
    return maps["FF"][here] - one.pdff[here], one.labels[here]


@pytest.mark.parametrize("r2star", [0.0, 200.0])
def test_the_sd_grows_with_the_decay_that_is_taken_out(r2star):
    """Water alone, whose fat fraction scatters by noise; as much more as the signal decayed."""
    times = np.array([1.2e-3, 2.4e-3])
    model = ChemicalShiftModel(times, fat_spectrum().modulation(times, 3.0), 3.0)
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 2.0, (2, 2, 6, 40, 40))
    signal = 100 * np.exp(-r2star * times)[:, None, None, None]
    echoes = (signal + noise[0] + 1j * noise[1]).astype(np.complex64)
    mask = np.ones(echoes.shape[1:], bool)
    found = separate_two_echoes(echoes, model, mask, (3.0, 2.0, 2.0), 2.0, r2star)
    assert found.percent.std() / np.median(found.percent_sd) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("name", PAIRS)
def test_fat_fraction_is_right_and_nothing_is_exchanged(name):
    one = phantom(name)
    maps, facts = made(one)
    assert not facts["conjugated"] and "R2* was taken from the map given." in facts["limits"]
    apart, labels = errors(one, maps)
    assert np.abs(apart).max() < 30  # no unmarked exchange
    assert len(apart) > 0.97 * np.count_nonzero(one.labels)
    for label in np.unique(labels):
        here = labels == label
        if np.count_nonzero(here) > 200:
            assert abs(apart[here].mean()) < 0.8, label
    kept = (one.labels > 0) & (maps["doubt"] == 0)
    assert 0.85 < np.median(np.abs(apart / maps["FF_SD"][kept])) / 0.6745 < 1.2
    off = (maps["field"] - one.off_resonance_hz)[kept]
    period = 1 / np.diff(one.echo_times_s)[0]  # two echoes do not tell the field beyond that
    assert np.sqrt(np.mean((off - period * np.round(off / period)) ** 2)) < 8
    assert np.array_equal(np.isfinite(maps["FF"]), maps["doubt"] == 0)


def test_a_phase_between_the_echoes_counts_as_field():
    one = phantom()
    turned = one.echoes * np.exp(0.6j * np.arange(2))[:, None, None, None]
    maps, _ = made(replace(one, echoes=turned.astype(np.complex64)))
    straight, _ = made(one)
    both = (maps["doubt"] == 0) & (straight["doubt"] == 0)
    assert np.median(np.abs(maps["FF"] - straight["FF"])[both]) < 0.05


def test_a_field_of_an_earlier_scan_is_used_and_one_that_does_not_fit_refused():
    one = phantom()
    earlier = one.off_resonance_hz + 10  # the center frequency drifted
    maps, facts = made(one, field_map=volume(earlier))
    apart, _ = errors(one, maps)
    assert facts["field"] == "given" and np.abs(apart).max() < 30
    assert not facts["conjugated"]
    conjugated = replace(one, echoes=one.echoes.conj())
    maps, facts = made(conjugated, field_map=volume(earlier))
    assert facts["conjugated"] and "(the field map fits it)" in " ".join(facts["limits"])
    assert np.abs(errors(one, maps)[0]).max() < 30
    for wrong in (-earlier, 2 * np.pi * earlier):
        with pytest.raises(ValueError, match="field map given does not explain these echoes in"):
            made(one, field_map=volume(wrong), precession="as given")


def test_a_field_map_that_fits_both_senses_of_precession_shows_none():
    times, field = PAIRS["1.5 T"]
    one = spine_phantom(SHAPE, np.array(times) / 1000, SNR, field, off_resonance_hz=90)
    conjugated = replace(one, echoes=one.echoes.conj())
    earlier = volume(one.off_resonance_hz)  # the wrong sense is unlike it in a fifth of the voxels
    maps, facts = made(conjugated, field_map=earlier)
    assert facts["conjugated"] and np.abs(errors(one, maps)[0]).max() < 30
    half = np.where(np.arange(SHAPE[0])[:, None, None] % 2, one.echoes, conjugated.echoes)
    with pytest.raises(ValueError, match="explains these echoes in either sense of precession"):
        made(replace(one, echoes=half), field_map=earlier)
    one = spine_phantom(SHAPE, np.array(times) / 1000, SNR, field, off_resonance_hz=20)
    maps, facts = made(one, field_map=volume(one.off_resonance_hz))
    assert "(the field map fits both, which give the same)" in " ".join(facts["limits"])
    assert np.abs(errors(one, maps)[0]).max() < 30


def test_voxels_without_field_or_r2star_in_the_maps_given_get_no_value():
    one = phantom()
    field, decay = one.off_resonance_hz.copy(), one.r2star.copy()
    field[:, :30], decay[:, 45:50], decay[5, 40, 30] = np.nan, np.nan, 1e6
    stated = {"field_map": Volume(field, GRID, "field"), "r2star_map": Volume(decay, GRID, "R2*"),
              "precession": "as given", "mask": volume(one.labels > 0)}  # fmt: skip
    maps, facts = made(one, **stated)
    lost = ~np.isfinite(field + decay) | (decay > 3000)
    assert np.isnan(maps["FF"][lost]).all()
    apart, _ = errors(one, maps)
    assert np.abs(apart).max() < 30 and len(apart) > 0.97 * np.count_nonzero(~lost)
    count = np.count_nonzero(lost & (one.labels > 0))
    assert f"{count} voxels with signal have no value in the maps" in " ".join(facts["limits"])
    assert "have no value" not in " ".join(made(one)[1]["limits"])
    with pytest.raises(ValueError, match=r"and values in the maps of field and R2\* where these"):
        made(one, **{**stated, "field_map": Volume(np.full(SHAPE, np.nan), GRID, "field")})


def test_without_noise_a_field_between_those_tried_fits():
    one = spine_phantom(SHAPE, phantom().echo_times_s, 1e6, off_resonance_hz=180)
    maps, _ = made(one, field_map=volume(one.off_resonance_hz + 7), precession="as given")
    assert (maps["doubt"] == 0)[one.labels > 0].mean() > 0.999
    assert np.abs(errors(one, maps)[0]).max() < 1


@pytest.mark.parametrize("given", [False, True])
def test_progress_runs_to_the_end_and_can_be_stopped(given):
    one, told = phantom(), []
    settings = {"r2star_map": volume(one.r2star), "precession": "as given"}
    if given:
        settings["field_map"] = volume(one.off_resonance_hz)
    RECIPE.make(images(one), progress=lambda done: told.append(done) or True, **settings)
    assert told == sorted(told) and told[0] < 0.9 and told[-1] == pytest.approx(1)
    with pytest.raises(InterruptedError):
        RECIPE.make(images(one), progress=lambda done: done < 0.9, **settings)


def test_progress_of_both_senses_of_precession_runs_once():
    one, told = phantom(), []
    settings = {"r2star_map": volume(one.r2star), "field_map": volume(one.off_resonance_hz)}
    RECIPE.make(images(one), progress=lambda done: told.append(done) or True, **settings)
    assert told == sorted(told) and told[-1] == pytest.approx(1)


def test_precession_is_shown_by_fat_under_the_skin_or_is_to_be_stated():
    one = phantom()
    conjugated = replace(one, echoes=one.echoes.conj())
    maps, facts = made(conjugated)
    assert facts["conjugated"] and "(fat lies under the skin)" in " ".join(facts["limits"])
    assert np.abs(errors(one, maps)[0]).max() < 30
    maps, facts = made(conjugated, precession="as given")
    assert not facts["conjugated"] and "it is as given (stated)" in " ".join(facts["limits"])
    assert np.nanmedian(maps["FF"][one.labels == 2]) < 20  # which is why it is asked for
    told = "Water lies under the skin and fat deeper: the sense of precession may be the other"
    assert told in " ".join(facts["limits"])
    assert told not in " ".join(made(one, precession="as given")[1]["limits"])
    inside = volume((one.labels > 0) & (one.labels != 2) & (one.labels < 9))
    with pytest.raises(ValueError, match="do not show which of them lies under the skin: state it"):
        made(one, mask=inside)
    maps, _ = made(one, mask=inside, precession="as given")
    assert np.abs(errors(one, maps)[0]).max() < 30


def test_r2star_is_stated_or_left_and_what_that_does_is_told():
    one = phantom("3 T")
    muscle = one.labels == 1  # 3 %
    decay = float(np.median(one.r2star[muscle]))
    maps, facts = made(one, r2star_per_s=None)
    (said,) = (each for each in facts["limits"] if "R2*" in each)
    assert "R2*, which is not corrected: each 10 1/s more that it is adds" in said
    told = float(said.split(" adds ")[1].split()[0])  # points at 10 %
    assert np.nanmean(maps["FF"][muscle]) - 3 == pytest.approx(told * decay / 10, abs=0.6)
    maps, facts = made(one, r2star_per_s=decay)
    assert f"was taken for {decay:g} 1/s everywhere" in " ".join(facts["limits"])
    assert abs(np.nanmean(maps["FF"][muscle]) - 3) < 0.3


def test_noise_leaves_the_fat_fraction_out_and_a_region_that_may_be_exchanged_is_marked():
    one = phantom("3 T", 6.0)
    maps, _ = made(one, precession="as given")
    vague = (maps["doubt"] & Doubt.IMPRECISE) > 0
    assert vague[one.labels == 1].mean() > 0.9 and np.isnan(maps["FF"][vague]).all()
    one = phantom()
    assert not (made(one)[0]["doubt"] & Doubt.SWAP_RISK)[one.labels == 1].any()
    single = phantom("3 T", 20.0)  # among neighbors of 5 points of SD
    spots = tuple(np.argwhere(single.labels == 1)[::97].T)
    dark = single.echoes.copy()
    dark[(slice(None), *spots)] = 0.05
    maps, _ = made(
        replace(single, echoes=dark), precession="as given", mask=volume(single.labels > 0)
    )
    assert np.isnan(maps["FF"][spots]).all()
    assert (maps["doubt"][single.labels == 1] == 0).mean() > 0.95
    # Between slices the field jumps by a half period: what is exchanged would go on.
    jump = 0.5 / np.diff(one.echo_times_s)[0] * (np.arange(SHAPE[0]) >= 5)
    turn = np.exp(2j * np.pi * one.echo_times_s[:, None] * jump)[..., None, None]
    maps, _ = made(replace(one, echoes=(one.echoes * turn).astype(np.complex64)))
    apart, _ = errors(one, maps)
    assert np.count_nonzero(np.abs(apart) > 30) < 0.002 * np.count_nonzero(one.labels)


def test_what_would_fit_exchanged_is_marked_but_where_that_changes_little():
    """Boxes of 10, 45 and 90 % fat, whose exchange fits as well in half of each and no more."""
    shape = (4, 8, 24)
    percent = np.repeat([10.0, 45.0, 90.0], 8) * np.ones(shape)
    margin = np.where(np.arange(shape[0])[:, None, None] % 2, 0.0, 100.0) * np.ones(shape)
    exchanged = np.zeros(shape, bool)
    exchanged[0, 0, 0] = True
    arrays = {"percent": percent, "water": 100 - percent, "fat": percent, "swap_margin": margin,
              "percent_sd": np.ones(shape), "off_resonance_hz": np.zeros(shape)}  # fmt: skip
    found = TwoEchoes(**arrays, misfit=np.zeros(shape, bool), unlike=0.0, noise_sd=1.0)
    mask, grid = np.ones(shape, bool), Volume(np.zeros(shape), GRID)
    maps = _two_echo_maps(found, mask, exchanged, grid, {"field": "found"})
    doubt = next(one.volume.array for one in maps if one.name == "doubt")
    apart = np.abs(np.arange(24) - 11.5) > 7  # beyond the middle box and what mixes with it
    assert (doubt[1::2, :, apart] == Doubt.SWAP_RISK).all()
    assert not doubt[1::2, :, 11:13].any()
    assert doubt[0, 0, 0] == Doubt.SWAP_RISK and not doubt[0, 1:].any()
    assert np.array_equal(np.isnan(maps[0].volume.array), doubt > 0)
    found.swap_margin[0] = 0.0  # of three slices in four, now
    with pytest.raises(ValueError, match=r"In 5[0-9] % of the voxels water and fat may"):
        _two_echo_maps(found, mask, exchanged, grid, {"field": "found"})


def test_fractions_that_no_tissue_has_are_a_poor_fit():
    """Fast decay that is left makes water fall below 0 %; that corrected it is whole."""
    times, field = PAIRS["1.5 T, partial"]
    one = spine_phantom((4, 72, 72), np.array(times) / 1000, SNR, field)
    poor = []
    for settings in ({}, {"r2star_per_s": 0.0}):
        maps, facts = made(one, precession="as given", **settings)
        marked = (maps["doubt"] & Doubt.POOR_FIT) > 0
        assert np.isnan(maps["FF"][marked]).all()
        poor.append(np.count_nonzero(marked & (one.pdff < 20)))
        told = ["as of no tissue" in each for each in facts["limits"]]
        assert any(told) == bool(settings)  # what speckle of the air leaves out is not told
    assert poor[0] < 5 and poor[1] > 50


def test_the_command_takes_maps_of_field_and_r2star(tmp_path, capsys):
    one = phantom()
    for name, array in (("r2star", one.r2star), ("field", one.off_resonance_hz)):
        write_volume(volume(array.astype(np.float32), name), tmp_path / f"{name}.nii.gz")
    parts = {"real": [], "imaginary": []}
    for n, each in enumerate(images(one)):
        path = tmp_path / f"{n}.nii.gz"
        write_volume(each, path)
        parts[each.attributes["ImageComponent"]].append(str(path))
    times = ",".join(f"{1000 * time:g}" for time in one.echo_times_s)
    words = ["pdff", *parts["real"], "--imaginary", *parts["imaginary"], "--echo-times", times,
             "--field", "3", "--out", str(tmp_path / "maps")]  # fmt: skip
    stated = ["--r2star-map", str(tmp_path / "r2star.nii.gz"),
              "--field-map", str(tmp_path / "field.nii.gz")]  # fmt: skip
    assert main([*words, *stated, "--method", "two-echo"]) == 0
    assert "(the field map fits it)" in capsys.readouterr().out
    found = read_volume(tmp_path / "maps/waterfat_FF.nrrd").array
    assert np.nanmax(np.abs(found - one.pdff)) < 30
    assert main(words) == 2
    assert "two complex ones are of the method two-echo" in capsys.readouterr().err


def test_what_cannot_be_is_refused():
    one = phantom()
    echoes = images(one)
    with pytest.raises(ValueError, match=r"A known R2\* and a map of R2\*: give one of them"):
        RECIPE.make(echoes, r2star_per_s=30.0, r2star_map=volume(one.r2star))
    with pytest.raises(ValueError, match="expected, 1 complex ones were given; three and more"):
        RECIPE.make(echoes[:2])
    magnitudes = [
        Volume(np.abs(echo), GRID, f"{time}", {"EchoTime": 1000 * time})
        for echo, time in zip(one.echoes, one.echo_times_s, strict=True)
    ]
    with pytest.raises(ValueError, match="expected, 2 magnitude ones were given; three and more"):
        RECIPE.make(magnitudes, field_strength_t=3.0)
    with pytest.raises(ValueError, match="two echoes do not tell water from fat"):
        RECIPE.make(echoes, echo_times_s=[0.0023, 0.0023, 0.0046, 0.0046])
    turn = np.exp(1j * np.random.default_rng(0).uniform(-np.pi, np.pi, SHAPE))
    random = replace(one, echoes=np.stack([one.echoes[0], one.echoes[1] * turn]))
    with pytest.raises(
        ValueError, match=r"may be exchanged: these two echoes do not tell the field\. Give a field"
    ):
        RECIPE.make(images(random), precession="as given")
    rough = one.off_resonance_hz + np.angle(turn) / (2 * np.pi * np.diff(one.echo_times_s)[0])
    with pytest.raises(ValueError, match="these two echoes and the field map given do not tell"):
        made(random, precession="as given", field_map=volume(rough))
    with pytest.raises(ValueError, match="no voxel of the mask has a finite signal"):
        RECIPE.make(echoes, mask=volume(np.zeros(SHAPE)))
