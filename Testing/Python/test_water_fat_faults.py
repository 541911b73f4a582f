"""What scanners and patients do to echoes: right in spite of it, or marked, or refused by name."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.echo_errors import FIRST, ODD_EVEN, ErrorFit, Sample, find_error
from PDFFMapperLib.water_fat.field_map import ChemicalShiftModel, fit_from_candidates
from PDFFMapperLib.water_fat.maps import _check_decay as check_decay
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.neighborhood import over_together
from PDFFMapperLib.water_fat.odd_echo import echo_that_contradicts, poor_share
from PDFFMapperLib.water_fat.recipe import WATER_FAT
from PDFFMapperLib.water_fat.separation import separate_water_fat
from PDFFMapperLib.water_fat.signal_model import _absence as absence
from PDFFMapperLib.water_fat.signal_model import _Case as Case
from PDFFMapperLib.water_fat.signal_model import _check_rivals as check_rivals
from PDFFMapperLib.water_fat.signal_model import _told_by_header as told_by_header
from PDFFMapperLib.water_fat.spectra import fat_spectrum
from PDFFMapperLib.water_fat.voxel_fit import COLUMNS, RESIDUAL
from PDFFMapperLib.water_fat.voxel_signals import VoxelSignals
from phantoms.water_fat import SIX_ECHOES_S, TISSUES, spine_phantom

GIVEN = {"precession": "as given"}
FOUR_ECHOES_S = 1.2e-3 + np.arange(4) * 2e-3
UNIPOLAR = {"precession": "as given", "readout": "unipolar"}


def separated(phantom, **options):
    data = multi_echo(
        phantom.echoes, phantom.echo_times_s, phantom.field_strength_t, phantom.voxel_size_mm
    )
    return separate_water_fat(data, **options)


def biases(phantom, result):
    """Bias of the tissues of which 40 voxels are confident, and what chance leaves of it."""
    error = result.pdff_percent - phantom.pdff
    for label in TISSUES:
        here = (phantom.labels == label) & result.confident
        if here.sum() >= 40:
            yield error[here].mean(), 3 * error[here].std() / np.sqrt(here.sum())


def moved(phantom, *echoes):
    """The phantom after a motion by two columns for some of the echoes."""
    signals = phantom.echoes.copy()
    for echo in echoes:
        signals[echo] = np.roll(signals[echo], 2, axis=-1)
    return replace(phantom, echoes=signals)


@pytest.fixture(scope="module")
def sound():
    return spine_phantom((8, 48, 48), SIX_ECHOES_S, 60)


@pytest.mark.parametrize(("snr", "kept"), [(5, 0.0), (10, 0.98)])
def test_noise_that_could_exchange_water_and_fat_is_marked_by_tissue(snr, kept):
    phantom = spine_phantom((8, 48, 48), SIX_ECHOES_S, snr)
    result = separated(phantom, **UNIPOLAR)
    body = phantom.labels > 0
    assert result.confident[body].mean() == pytest.approx(kept, abs=0.02)
    wrong = np.abs(result.pdff_percent - phantom.pdff) > 40
    assert wrong[body].any() == (snr == 5)
    assert not (wrong & result.confident)[body].any()
    for bias, chance in biases(phantom, result):
        assert abs(bias) < 0.3 + chance


def test_a_limit_is_decided_together_with_the_voxels_around():
    rng = np.random.default_rng(0)
    mask = np.ones((3, 40, 40), bool)
    typical = np.where(np.arange(40) < 20, 0.9, 1.1) * np.ones(mask.shape)
    value = (typical * np.exp(0.25 * rng.standard_normal(mask.shape)))[mask]
    over = over_together(mask, value, 1.0).reshape(mask.shape)
    assert over[:, :, 5:15].mean() < 0.02 and over[:, :, 25:35].mean() > 0.98
    assert ((value > 1).reshape(mask.shape) != (typical > 1)).mean() > 0.3  # by itself it could not
    value[0], value[1] = np.nan, 0.2
    assert list(over_together(mask, value, 1.0)[:2]) == [False, False]


def test_a_t2star_of_three_ms_exchanges_nothing():
    marrow = dict.fromkeys((4, 5, 6, 7), (30.0, 333.0))
    phantom = spine_phantom((8, 48, 48), SIX_ECHOES_S, 60, marrow=marrow)
    result = separated(phantom, **UNIPOLAR)
    assert result.confident[phantom.labels > 0].mean() > 0.99
    assert not (np.abs(result.pdff_percent - phantom.pdff) > 40)[phantom.labels > 0].any()
    for bias, chance in biases(phantom, result):
        assert abs(bias) < 0.2 + chance


def test_noise_alone_is_no_reason_for_phases_of_their_own():
    """Four echoes of SNR 5: each its own phase leaves less by more than its unknowns explain."""
    times = 1.2e-3 + 2e-3 * np.arange(4)
    phantom = spine_phantom((8, 48, 48), times, 5, 1.5, off_resonance_hz=90)
    assert separated(phantom, **UNIPOLAR).facts["common_phase"]


def test_a_moved_echo_is_refused_by_its_number(sound):
    with pytest.raises(ValueError, match=r"Echo 6 of 6 does not fit the others in \d\d % of the"):
        separated(moved(sound, 5), **GIVEN)


def test_the_moved_echo_can_be_left_out(sound):
    """As the refusal asks for; the echoes come as a series, out of order."""
    series = [
        Volume(part, np.diag([2.0, 2, 4, 1]), f"echo {n}", {"EchoTime": 1000 * time, **facts})
        for n, (time, echo) in reversed(
            list(enumerate(zip(SIX_ECHOES_S, moved(sound, 5).echoes, strict=True)))
        )
        for facts, part in (
            ({"ImageComponent": "real", "MagneticFieldStrength": 3.0}, echo.real),
            ({"ImageComponent": "imaginary", "MagneticFieldStrength": 3.0}, echo.imag),
        )
    ]
    settled = {"leave_out": "6", "readout": "unipolar", "precession": "as given"}
    maps = {one.kind.id: one for one in WATER_FAT.recipe("complex").make(series, **settled)}
    pdff, body = maps["PDFF"].volume.array, sound.labels > 0
    assert np.isfinite(pdff[body]).mean() > 0.99
    assert abs(np.nanmean((pdff - sound.pdff)[body])) < 0.05
    facts = maps["PDFF"].provenance
    assert facts["echo_times_s"] == pytest.approx(SIX_ECHOES_S[:5])
    assert "Left out as asked: echo 6 (6.9 ms) of 6." in facts["reading"]


def test_motion_of_more_than_one_echo_is_no_phase_of_fat():
    times = 1.2e-3 + 2e-3 * np.arange(4)
    phantom = spine_phantom((8, 48, 48), times, 60, 1.5, off_resonance_hz=90)
    with pytest.raises(ValueError, match="phases of their own would explain these echoes"):
        separated(moved(phantom, 2, 3), **UNIPOLAR)


@pytest.mark.parametrize(("misfit", "helps"), [(0.15, True), (0.4, False)])
def test_a_refusal_names_the_readout_only_where_stating_it_would_help(misfit, helps):
    """Odd against even, a little of every echo, and a fifth of the body that nothing explains."""
    phantom = spine_phantom((6, 48, 48), 1.1e-3 * np.arange(1, 9), 60)
    rng, signals = np.random.default_rng(1), phantom.echoes.copy()
    signals *= np.exp(0.06j * rng.normal(size=(8, 1, 1, 1)))
    signals[1::2] *= np.exp(0.4j)
    signals[..., 21:27] *= np.exp(misfit * 1j * rng.normal(size=(8, 6, 48, 6)))
    phantom = replace(phantom, echoes=signals)
    with pytest.raises(ValueError, match="leaves far more than noise in") as refusal:
        separated(phantom, **GIVEN)
    assert ("state that (readout 'bipolar')" in str(refusal.value)) == helps
    if helps:
        result = separated(phantom, readout="bipolar", **GIVEN)
        swapped = (phantom.labels > 0) & (np.abs(result.pdff_percent - phantom.pdff) > 40)
        assert not (swapped & result.confident).any()
    else:
        with pytest.raises(ValueError, match="far more than noise"):
            separated(phantom, readout="bipolar", **GIVEN)


def test_what_no_error_of_three_echoes_explains_is_refused():
    """The last echo lies 4 mm off."""
    times = 1.15e-3 * np.arange(1, 4)
    phantom = spine_phantom((10, 64, 64), times, 60, off_resonance_hz=180)
    phantom.echoes[-1] = np.roll(phantom.echoes[-1], 2, axis=-1)
    with pytest.raises(ValueError, match="An error of odd against even echoes would explain"):
        separated(phantom, **GIVEN)


@pytest.mark.parametrize("common_phase", [True, False])
def test_the_echo_is_found_that_is_of_something_else(common_phase):
    """In a sixth of the voxels one echo is that of another voxel; in none where its phase errs."""
    fat = fat_spectrum().modulation(SIX_ECHOES_S, 3.0)
    model = ChemicalShiftModel(SIX_ECHOES_S, fat, 3.0, common_phase)
    rng = np.random.default_rng(0)
    fraction, field = rng.random((300, 1)), rng.uniform(-60, 60, (300, 1))
    signals = (1 - fraction + fraction * fat) * np.exp((2j * np.pi * field - 40) * SIX_ECHOES_S)
    signals = signals + 0.01 * (rng.standard_normal((300, 6)) + 1j * rng.standard_normal((300, 6)))
    wrong = signals.copy()
    wrong[::6, 3] = signals[150:200, 3]
    for given, found in ((signals, None), (wrong, 3)):
        given = given.astype(np.complex64)
        left = fit_from_candidates(given, model)[:, RESIDUAL]
        share = poor_share(given, left, 5 if common_phase else 6)
        assert share == pytest.approx(0 if found is None else 1 / 6, abs=0.03)
        assert echo_that_contradicts(given, model, None, share) == found
    four = replace(model, echo_times_s=SIX_ECHOES_S[:4], fat=fat[:4])
    few = echo_that_contradicts(wrong[:, :4].astype(np.complex64), four, None, 0.17)
    assert few == (3 if common_phase else None)  # 6 unknowns of 6 numbers leave nothing to tell by


def test_few_voxels_do_not_show_the_error_of_a_bipolar_readout(sound):
    mask = np.zeros(sound.labels.shape, bool)
    mask[4, 20, 10:40] = True
    with pytest.raises(ValueError, match="bipolar readout cannot be found: it needs 40 voxels"):
        separated(sound, mask=mask, readout="bipolar", precession="as given")


def test_echoes_of_no_model_are_refused(sound):
    phase = np.random.default_rng(0).uniform(-1.5, 1.5, sound.echoes.shape)
    jumbled = (sound.echoes * np.exp(1j * phase)).astype(np.complex64)
    mask = np.zeros(sound.labels.shape, bool)
    mask[2:6, 14:34:4, 20:26] = True
    with pytest.raises(ValueError, match="No model explains these echoes"):
        separated(replace(sound, echoes=jumbled), mask=mask, **GIVEN)


def test_a_common_phase_that_was_asked_for_is_doubted_where_it_does_not_hold():
    phantom = spine_phantom((4, 40, 40), SIX_ECHOES_S, 60, fat_lead_rad=0.8)
    notes = separated(phantom, common_phase=True, **UNIPOLAR).facts["notes"]
    assert any("Water and fat were taken to share a phase, though one each" in n for n in notes)


def test_two_errors_that_explain_alike_and_give_another_pdff_are_refused(sound):
    """Cases of two kinds, of which the wrong one is said to leave as little."""
    index = np.flatnonzero(sound.labels > 0)[::40]
    signals = VoxelSignals(sound.echoes)
    model = ChemicalShiftModel(SIX_ECHOES_S, fat_spectrum().modulation(SIX_ECHOES_S, 3.0), 3.0)
    sample = Sample(signals.at(index), signals.place(index))
    cases = []
    for kind, phase in ((FIRST, 0.0), ("echo 2", 0.3)):
        found = find_error(kind, sample, model, search=False)
        turned = sample.signals * np.exp(1j * phase * (np.arange(6) == 1)).astype(np.complex64)
        cases.append(Case(False, model, found, fit_from_candidates(turned, model), 0.02, 1))
    check_rivals(cases[0], cases[:1])
    with pytest.raises(ValueError, match="error of first echo alone as well as of echo 2 alone"):
        check_rivals(*cases[:1], cases)


def test_the_header_decides_between_rivals_by_the_readout():
    model = ChemicalShiftModel(SIX_ECHOES_S, fat_spectrum().modulation(SIX_ECHOES_S, 3.0), 3.0)
    cases = []
    for kind, noise in ((FIRST, 0.03), (ODD_EVEN, 0.02), ("echo 2", 0.04)):
        error = SimpleNamespace(error=SimpleNamespace(kind=kind))
        cases.append(Case(False, model, error, np.zeros((1, COLUMNS)), noise, 1))
    first, alternating, second = cases
    chosen = SimpleNamespace(case=alternating, rivals=cases)
    for readout, case, rivals in (
        (None, alternating, cases),
        ("bipolar", alternating, [alternating]),
        ("monopolar", first, [first, second]),
    ):
        told = told_by_header(chosen, readout)
        assert told[0] is case and list(map(id, told[1])) == list(map(id, rivals))
    chosen.rivals = [alternating]  # nothing else explains the echoes, whatever the header says
    assert told_by_header(chosen, "monopolar")[0] is alternating


@pytest.mark.parametrize(
    ("readout", "says"),
    [
        (None, "if the readout was bipolar"),
        ("bipolar", "header says that the readout was bipolar"),
        ("monopolar", "header says that the readout was monopolar"),
    ],
)
def test_three_echoes_say_what_the_header_says_of_the_readout(readout, says):
    phantom = spine_phantom((3, 24, 24), SIX_ECHOES_S[:3])
    data = multi_echo(phantom.echoes, phantom.echo_times_s, 3.0, phantom.voxel_size_mm)
    data.readout = readout
    notes = separate_water_fat(data, precession="as given").facts["notes"]
    assert any(says in note for note in notes)


@pytest.mark.parametrize(
    ("times", "field", "phase"),
    [
        (SIX_ECHOES_S, 3.0, lambda y, x: 0.6 * np.exp(-((x + 0.2) ** 2 + y**2) / 0.1)),
        (FOUR_ECHOES_S, 1.5, lambda y, x: 0.2 + 0.5 * np.sin(2 * np.pi * x)),
    ],
)
def test_a_first_echo_off_in_phase_counts_by_its_magnitude(times, field, phase):
    """Its phase is no polynomial of the position; taken for one, 12 points were wrong."""
    phantom = spine_phantom((4, 48, 48), times, 60, field, off_resonance_hz=60 * field)
    places = np.linspace(-1, 1, 48)
    echoes = phantom.echoes.copy()
    echoes[0] *= np.exp(1j * phase(places[:, None], places))
    result = separated(replace(phantom, echoes=echoes), **GIVEN)
    assert any("Echo 1 of" in note and "mixed fitting" in note for note in result.facts["notes"])
    assert result.facts["mixed_echo"] == 1
    body = phantom.labels > 0
    assert result.confident[body].mean() > 0.98
    for bias, chance in biases(phantom, result):
        assert abs(bias) < 0.2 + chance
    scaled = ((result.pdff_percent - phantom.pdff) / result.pdff_sd)[body & result.confident]
    assert 0.93 < np.mean(np.abs(scaled) < 1.96) < 0.97


@pytest.mark.parametrize(
    ("phase", "pdff_sd", "says"),
    [
        (0.3, 0.1, "seem to be off in phase by up to 0.30 rad"),
        (0.001, 0.1, r"echoes was found \(SD 0.010 rad\)"),
        (0.001, 1.0, "but one that changes the PDFF by 2 points could hide"),
    ],
)
def test_what_is_said_of_an_error_that_was_not_taken(phase, pdff_sd, says):
    error = SimpleNamespace(phase=np.array([[phase]]))
    found = SimpleNamespace(error=error, covariance=np.array([[1e-4]]), pdff_sd=pdff_sd)
    fits = np.full((10, COLUMNS), 0.3)
    case, freest = (
        Case(False, None, None, fits, 1.0, 0),
        Case(False, None, found, fits - 0.02, 1.0, 2),
    )
    assert re.search(says, absence(case, freest))


def test_what_an_error_leaves_of_the_pdff_is_not_made_by_one_voxel():
    error = SimpleNamespace(phase=np.zeros(1))
    change = np.ones((1000, 2))
    change[:30] = 1e6  # water and fat nearly cancel there
    change[400:] = np.nan  # without a fit
    fit = ErrorFit(error, 0.0, np.diag([0.04, 0.0]), np.empty((1000, 0)), change)
    assert fit.pdff_sd == pytest.approx(0.2)
    assert fit.pdff_by_amplitude == pytest.approx(1.0)


@pytest.mark.parametrize(("fat", "shift_ppm"), [(1.0, 0.0), (0.4, -0.2)])
def test_a_phantom_of_oil_or_a_cold_one_is_not_taken_for_echoes_in_reverse(fat, shift_ppm):
    """Fat of another spectrum, or temperature, makes the R2* of slow decays -20 to -30 1/s."""
    times = 1.15e-3 + 0.97e-3 * np.arange(6)
    peaks = fat_spectrum("hamilton_liver")
    place = np.mgrid[-1:1:32j, -1:1:32j]
    body = (np.hypot(*place) < 0.8) * np.ones((2, 1, 1))
    rng = np.random.default_rng(0)
    images = []
    for n, time in enumerate(times):
        turns = 42.577 * 3.0 * (np.array(peaks.ppm) + shift_ppm) * time
        signal = 1 - fat + fat * np.sum(peaks.amplitudes * np.exp(2j * np.pi * turns))
        echo = body * signal * np.exp(2j * np.pi * 10 * place[1] * time)
        echo = echo + (rng.normal(size=body.shape) + 1j * rng.normal(size=body.shape)) / 50
        for part in ("real", "imaginary"):
            values = (1000 * (echo.real if part == "real" else echo.imag)).astype(np.float32)
            images.append(Volume(values, np.eye(4), f"{part} {n}", {"ImageComponent": part}))
    given = {"echo_times_s": list(np.repeat(times, 2)), "field_strength_t": 3.0}
    made = WATER_FAT.recipe("complex").make(images, **given)
    maps = {one.kind.name: one.volume.array for one in made}
    assert np.nanmedian(maps["PDFF"]) == pytest.approx(100 * fat, abs=5.0)
    assert -40 < np.nanmedian(maps["R2star"]) < -10


@pytest.mark.parametrize(
    ("fat_percent", "r2star_per_s", "of_water", "is_refused"),
    [
        (40.0, -60.0, 0, True),
        (40.0, -30.0, 0, False),
        (40.0, -60.0, 100, False),  # water tells that the order is right
        (40.0, -60.0, 40, True),  # too little water to tell
        (5.0, -12.0, 0, True),
        (5.0, -8.0, 0, False),
    ],
)
def test_signals_that_grow_are_judged_where_fat_is_little(
    fat_percent, r2star_per_s, of_water, is_refused
):
    fat, decay = np.full(1000, fat_percent), np.full(1000, r2star_per_s)
    fat[:of_water] = decay[:of_water] = 0.0
    mask = np.ones(1000, bool)
    result = SimpleNamespace(
        mask=mask, confident=mask, pdff_percent=fat, r2star_per_s=decay, r2star_sd=np.ones(1000)
    )
    if is_refused:
        with pytest.raises(ValueError, match="check the order of the images and their echo times"):
            check_decay(result)
    else:
        check_decay(result)


@pytest.mark.parametrize(
    ("told", "of_fat", "r2star_per_s", "is_refused"),
    [
        (700, 0, -20.0, True),
        (400, 0, -20.0, False),
        (400, 0, -40.0, True),
        (50, 0, -40.0, False),
        (150, 600, -20.0, False),  # fat does not make noise of muscle what is told
    ],
)
def test_signals_that_grow_may_be_noise_where_few_voxels_tell_it(
    told, of_fat, r2star_per_s, is_refused
):
    fat, decay, confident = np.zeros(1000), np.full(1000, r2star_per_s), np.arange(1000) < told
    fat[1000 - of_fat :], decay[1000 - of_fat :], confident[1000 - of_fat :] = 95.0, 40.0, True
    result = SimpleNamespace(
        mask=np.ones(1000, bool), confident=confident, pdff_percent=fat, r2star_per_s=decay,
        r2star_sd=np.full(1000, 20.0),
    )  # fmt: skip
    if is_refused:
        with pytest.raises(ValueError, match="Signals grow with the echo time"):
            check_decay(result)
    else:
        check_decay(result)


@pytest.mark.parametrize(("late_ms", "is_told"), [(0.0, False), (0.5, True)])
def test_echo_times_that_would_explain_a_lead_of_fat_are_told(late_ms, is_told):
    times = 1.15e-3 + 0.97e-3 * np.arange(6)
    phantom = spine_phantom((4, 40, 40), times, 40, off_resonance_hz=60)
    late = replace(phantom, echo_times_s=times + late_ms / 1000)
    notes = separated(late, **GIVEN).facts["notes"]
    told = [note for note in notes if "stated about 0.5 ms too long would do the same" in note]
    assert bool(told) == is_told
    assert not is_told or "1.2 ms more or less would exchange water and fat" in told[0]


def test_two_echoes_exchanged_are_no_error_of_every_echo():
    """It explained them with a lead of 1.4 rad, and 87 % were confident, 64 % of these swapped."""
    phantom = spine_phantom((6, 48, 48), SIX_ECHOES_S[:4], 40, off_resonance_hz=60)
    echoes = phantom.echoes[[1, 0, 2, 3]]
    with pytest.raises(ValueError, match=r"every echo and a lead .* times the noise of the images"):
        separated(replace(phantom, echoes=echoes))


@pytest.mark.parametrize(("phase", "is_told"), [(0.0, False), (0.3, True)])
def test_what_a_stated_readout_does_not_explain_leaves_more_than_noise(sound, phase, is_told):
    echoes = sound.echoes.copy()
    echoes[3] *= np.exp(1j * phase)
    notes = separated(replace(sound, echoes=echoes), **UNIPOLAR).facts["notes"]
    assert any("times the noise of the images: motion" in note for note in notes) == is_told


def test_voxels_that_nothing_fits_are_refused_by_a_sentence():
    """As where R2* is stated that none of them can have."""
    model = ChemicalShiftModel(SIX_ECHOES_S, fat_spectrum().modulation(SIX_ECHOES_S, 3.0), 3.0)
    sample = Sample(np.zeros((60, 6), np.complex64), np.zeros((60, 3)), -100.0)
    with pytest.raises(ValueError, match="check the echo times, and R2"):
        find_error(FIRST, sample, model, search=False)
