"""Dark marrow beside bright fat: fitted by default, and right."""

import numpy as np
import pytest
from PDFFMapperLib.diffusion.recipe import DIFFUSION
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.field_map import ChemicalShiftModel, fit_from
from PDFFMapperLib.water_fat.magnitude import magnitude_water_fat
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.recipe import WATER_FAT
from PDFFMapperLib.water_fat.separation import Doubt, separate_water_fat
from PDFFMapperLib.water_fat.shared_decay import shared_r2star
from PDFFMapperLib.water_fat.signal_mask import background_noise, signal_mask
from PDFFMapperLib.water_fat.spectra import fat_spectrum
from phantoms.water_fat import spine_phantom
from scipy import ndimage

TWELVE_ECHOES_S = np.arange(1, 13) * 1.1e-3
IRON = {4: (80.0, 50.0), 5: (40.0, 200.0), 6: (15.0, 333.0), 7: (5.0, 500.0), 8: (30.0, 800.0)}
FATTY = {4: (5.0, 50.0), 5: (15.0, 200.0), 6: (40.0, 333.0), 7: (80.0, 500.0), 8: (60.0, 800.0)}


@pytest.fixture(
    scope="module", params=[(3.0, IRON), (1.5, FATTY)], ids=["iron at 3 T", "fatty at 1.5 T"]
)
def dark_marrow(request):
    field, marrow = request.param
    phantom = spine_phantom(
        (20, 48, 48), TWELVE_ECHOES_S, 60, field, off_resonance_hz=60 * field, marrow=marrow
    )
    data = multi_echo(phantom.echoes, phantom.echo_times_s, field, phantom.voxel_size_mm)
    return phantom, marrow, separate_water_fat(data)


def test_marrow_with_iron_is_fitted_without_bias(dark_marrow):
    phantom, marrow, result = dark_marrow
    for label, (pdff, r2star) in marrow.items():
        here = phantom.labels == label
        assert result.mask[here].mean() > 0.99, r2star
        fitted = here & result.confident
        fractions, decays = result.pdff_percent[fitted], result.r2star_per_s[fitted]
        decays = decays[np.isfinite(decays)]  # not told beside what hardly tells it
        unsure = 3 / np.sqrt(max(fitted.sum(), 1))
        if r2star > 500:  # refused, or right; noise would choose which R2* are told
            assert decays.size == 0
            if fitted.sum() < 0.02 * here.sum():
                assert (result.doubt[here] & Doubt.IMPRECISE > 0).mean() > 0.7
                continue
        else:
            assert decays.size > 0.8 * fitted.sum(), r2star
            assert abs(decays.mean() - r2star) < 1 + unsure * decays.std(), r2star
        assert fitted.sum() > 0.94 * here.sum(), r2star
        assert abs(fractions.mean() - pdff) < 0.2 + unsure * fractions.std(), r2star
        off = np.abs(fractions - pdff) / result.pdff_sd[fitted]
        assert 0.9 < (off < 1.96).mean(), r2star


def iron_alone(times, field, pdff, r2star, shape, rng, snr=60):
    """Tissue that fills its picture, at 20 Hz, fitted."""
    fat = fat_spectrum().modulation(times, field)
    voxel = (1 + pdff / 100 * (fat - 1)) * np.exp((40j * np.pi - r2star) * times + 0.5j)
    noise = rng.standard_normal((2, len(times), *shape)) / snr
    data = multi_echo(voxel[:, None, None, None] + noise[0] + 1j * noise[1], times, field)
    return separate_water_fat(
        data, None, np.ones(shape, bool), "as given", common_phase=True, readout="unipolar"
    )


@pytest.mark.parametrize(
    ("echoes", "pdff", "r2star", "told"),
    [(6, 60, 700, 0), (6, 60, 500, 0.98), (3, 60, 333, 0), (3, 20, 100, 0.95)],
)
def test_r2star_that_noise_would_choose_is_not_told(echoes, pdff, r2star, told):
    """Its typical SD around is over 100 1/s; told, it was 130 1/s low, or 400 high."""
    times, rng = 1.15e-3 * np.arange(1, echoes + 1), np.random.default_rng(1)
    result = iron_alone(times, 3.0, pdff, r2star, (3, 40, 40), rng)
    decays = result.r2star_per_s[result.confident]
    assert np.isfinite(decays).sum() >= told * result.mask.sum()
    assert np.isnan(result.r2star_sd[result.confident])[np.isnan(decays)].all()
    untold, notes = np.isnan(decays).sum(), " ".join(result.facts["notes"])
    assert (f"{untold} voxels (" in notes) == ("have a PDFF but no R2*" in notes) == (untold > 0)
    if told:
        assert abs(np.nanmean(decays) - r2star) < 5
    else:
        assert np.isnan(decays).all()
    if r2star == 700:  # the PDFF stays
        assert result.confident.mean() > 0.6
        assert abs(result.pdff_percent[result.confident].mean() - pdff) < 0.5


@pytest.mark.parametrize(
    ("echoes", "pdff", "r2star", "snr", "shown", "bias", "told"),
    [
        (3, 70, 60, 28, 0.97, 0.2, False),  # fitted one by one 40 % were shown, 1.7 points high
        (3, 60, 150, 40, 0.97, 0.2, False),  # 50 % were, 1.4 points low
        (3, 70, 500, 60, 0.95, 0.3, False),  # 9 % were, 3.4 points high
        (3, 40, 120, 17, 0.95, 0.3, False),  # 60 % were, 2 points low
        (6, 80, 500, 40, 0.95, 0.3, False),  # 96 % were, 1.7 points high
        (6, 40, 250, 14, 0.95, 0.3, True),  # none was
        (3, 15, 60, 14, 0.95, 0.3, True),
    ],
)
def test_what_noise_hides_keeps_an_unbiased_pdff(echoes, pdff, r2star, snr, shown, bias, told):
    """Where the echoes hardly tell R2* the PDFF of all voxels is right, that of some is chosen."""
    times, rng = 1.15e-3 * np.arange(1, echoes + 1), np.random.default_rng(1)
    result = iron_alone(times, 3.0, pdff, r2star, (3, 64, 64), rng, snr)
    sure = result.doubt & ~np.uint8(Doubt.SWAP_RISK) == 0  # nothing lies around to tell them by
    off = (result.pdff_percent - pdff)[sure]
    assert sure.mean() > shown
    assert abs(off.mean()) < bias
    least = 0.87 if (echoes, pdff) == (3, 60) else 0.92  # two of the three echoes are at 2 SDs
    assert least < (np.abs(off) < 1.96 * result.pdff_sd[sure]).mean() < 0.97
    decays = result.r2star_per_s[sure]
    assert np.isfinite(decays).mean() > 0.99 if told else np.isnan(decays).mean() > 0.99
    assert not told or abs(decays.mean() - r2star) < 5


@pytest.mark.parametrize(
    ("step_ms", "field", "pdff", "r2star", "snr"),
    [(1.15, 3.0, 80, 800, 42), (1.5, 1.5, 40, 320, 20)],  # were -1.7 and +.55, of 5 and 43 %
)
def test_noise_does_not_choose_which_voxels_are_shown(step_ms, field, pdff, r2star, snr):
    """Where it leaves the PDFF about the SD that is the limit, what is shown is unbiased."""
    times, rng = step_ms * 1e-3 * np.arange(1, 4), np.random.default_rng(1)
    result = iron_alone(times, field, pdff, r2star, (12, 80, 80), rng, snr)
    shown = result.doubt & ~np.uint8(Doubt.SWAP_RISK) == 0
    assert 0.02 < shown.mean() < 0.6
    off = (result.pdff_percent - pdff)[shown]
    assert abs(off.mean()) < 0.2 + 3 * off.std() / np.sqrt(off.size)


@pytest.mark.parametrize("common_phase", [True, False])
@pytest.mark.parametrize(
    ("echoes", "pdff", "r2star", "snr"), [(6, 0.8, 500, 20), (3, 0.4, 150, 20), (3, 0.6, 50, 60)]
)
def test_the_r2star_that_voxels_share_is_unbiased(echoes, pdff, r2star, snr, common_phase):
    """Without what the off-resonance does to it that of 500 1/s was 452 (80 % fat) and lower."""
    times, rng = 1.15e-3 * np.arange(1, echoes + 1), np.random.default_rng(2)
    fat, mask = fat_spectrum().modulation(times, 3.0), np.ones((4, 60, 60), bool)
    own = 1 if common_phase else np.exp(0.4j)
    clean = (1 - pdff + pdff * fat * own) * np.exp(0.5j - r2star * times)
    noise = rng.standard_normal((2, mask.size, echoes)) / snr
    signals = (clean + noise[0] + 1j * noise[1]).astype(np.complex64)
    model = ChemicalShiftModel(times, fat, 3.0, common_phase)
    starts = np.zeros(mask.size, np.float32)
    if not common_phase and echoes == 3:
        return  # nothing is left to tell R2* by
    shared, sd = shared_r2star(
        mask,
        np.arange(mask.size),
        np.full(mask.size, 1 / snr, np.float32),
        model,
        lambda part: signals[part],
        lambda part, decay: fit_from(signals[part], model, decay, starts[part]),
    )
    unsure = np.std(shared) * np.sqrt(181 / mask.size)  # each is that of 181 voxels
    assert abs(shared.mean() - r2star) < 3 * unsure + 0.03 * r2star
    assert 0.5 < np.std(shared) / sd.mean() < 1.5


@pytest.mark.parametrize(
    ("decays", "pdff", "snr", "axis", "beside"),
    [((40, 400), 0.6, 60, 3, 3), ((300, 500), 0.4, 40, 1, 1)],
    ids=["in plane", "from slice to slice"],
)
def test_the_r2star_that_voxels_share_ends_where_the_tissue_does(decays, pdff, snr, axis, beside):
    """Beside 40 1/s marrow of 400 1/s read a point too much fat for three voxels: both shared."""
    times, rng = 1.15e-3 * np.arange(1, 4), np.random.default_rng(1)
    shape = np.array([8, 48, 48])
    half = shape[axis - 1] // 2
    decay = np.moveaxis(np.repeat(decays, half) * np.ones((1, 1, 1)), 2, axis - 1) * np.ones(shape)
    clean = (1 - pdff + pdff * fat_spectrum().modulation(times, 3.0))[:, None, None, None]
    clean = clean * np.exp(0.5j - decay * times[:, None, None, None])
    noise = rng.standard_normal((2, *clean.shape)) / snr
    echoes = (clean + noise[0] + 1j * noise[1]).astype(np.complex64)
    data = multi_echo(echoes, times, 3.0, (4, 1.5, 1.5))
    result = separate_water_fat(
        data, None, decay > 0, "as given", common_phase=True, readout="unipolar"
    )
    off = np.moveaxis(result.pdff_percent - 100 * pdff, axis - 1, 0)
    for part in (slice(half - beside, half), slice(half, half + beside)):
        assert abs(np.nanmean(off[part])) < 0.35


@pytest.mark.parametrize("snr", [22, 60])
def test_uneven_echoes_do_not_carry_marrow_to_the_end_of_the_fields(snr):
    """It was fitted 690 Hz away, beyond 5 ppm, where its PDFF reads 7 (SNR 60: 4) points less."""
    times, rng = np.array([1.1, 2.3, 3.7]) * 1e-3, np.random.default_rng(3)
    y, x = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 40), indexing="ij")
    pdff = np.where(y > 0.75, 0.97, np.where(y < -0.75, 0.03, 0.6)) * np.ones((7, 1, 1))
    decay = np.where(np.abs(y) > 0.75, 35, 160 + 110 * x) * np.ones((7, 1, 1))
    fat, at = (each[:, None, None, None] for each in (fat_spectrum().modulation(times, 3.0), times))
    clean = 1 - pdff + pdff * fat
    clean = clean * np.exp(1j * (0.7 + y) + (50j * np.pi * (x + y * y) - decay) * at)
    noise = rng.standard_normal((2, *clean.shape)) / snr
    data = multi_echo(
        (clean + noise[0] + 1j * noise[1]).astype(np.complex64), times, 3.0, (4, 2, 2)
    )
    result = separate_water_fat(data, precession="as given")
    marrow = result.confident & (pdff == 0.6)
    assert np.count_nonzero(marrow) > 0.6 * np.count_nonzero(pdff == 0.6)
    assert abs(np.mean(result.pdff_percent[marrow]) - 60) < 0.4


def test_r2star_beside_air_that_is_in_the_mask_is_told():
    """Air borrows; a quarter of the confident voxels, with an SD of 7 1/s, lost R2* beside it."""
    phantom = spine_phantom((4, 48, 48), 1.15e-3 * np.arange(1, 7), 60)
    data = multi_echo(phantom.echoes, phantom.echo_times_s, 3.0, phantom.voxel_size_mm)
    result = separate_water_fat(data, mask=np.ones(phantom.labels.shape, bool))
    assert (result.doubt[phantom.labels == 0] & Doubt.R2STAR_BORROWED > 0).mean() > 0.5
    assert result.confident.sum() > 0.9 * np.count_nonzero(phantom.labels)
    assert np.isfinite(result.r2star_per_s[result.confident]).all()


@pytest.mark.parametrize(
    ("first_ms", "step_ms", "echoes", "field", "pdff", "r2star"),
    [
        (1.15, 1.15, 6, 3.0, 30, 500),
        (1.15, 1.15, 3, 3.0, 30, 500),
        (1.2, 1.0, 4, 3.0, 5, 400),
        (1.5, 1.5, 6, 1.5, 5, 333),
        (1.1, 1.1, 12, 1.5, 5, 150),
        (1.1, 1.1, 12, 1.5, 5, 500),
        (1.5, 1.5, 6, 1.5, 2, 250),
        (1.2, 2.0, 4, 1.5, 0, 200),
        (1.2, 2.0, 4, 1.5, 2, 250),
        (1.1, 1.1, 12, 1.5, 10, 250),
        (1.1, 1.1, 12, 1.5, 5, 400),
    ],
)
def test_tissue_of_iron_alone_is_not_exchanged_unmarked(
    first_ms, step_ms, echoes, field, pdff, r2star
):
    """Without other tissue around, as a liver fills its picture, only the decay tells."""
    times, rng = (first_ms + step_ms * np.arange(echoes)) / 1000, np.random.default_rng(1)
    result = iron_alone(times, field, pdff, r2star, (2, 40, 40), rng)
    exchanged = np.abs(result.off_resonance_hz - 20) > 60
    assert not (exchanged & result.confident).any()


def test_air_stays_out(dark_marrow):
    phantom, _, result = dark_marrow
    assert result.mask[phantom.labels == 0].mean() < 0.002


@pytest.mark.parametrize("complex_valued", [True, False])
@pytest.mark.parametrize("air", ["noise", "zeros", "none"])
def test_the_noise_is_found_with_and_without_air(complex_valued, air):
    phantom = spine_phantom((6, 64, 64), TWELVE_ECHOES_S, 50, marrow=IRON)
    echoes = phantom.echoes if complex_valued else np.abs(phantom.echoes)
    if air == "zeros":
        echoes = np.where(phantom.labels > 0, echoes, 0)
    if air == "none":
        echoes = echoes[:, :, 14:50, 10:40]
    # Magnitudes without air do not show how dark it would be; they may be taken for noisier.
    above = 1.25 if complex_valued or air == "noise" else 1.7
    assert 0.85 * phantom.noise < background_noise(echoes) < above * phantom.noise
    marrow = np.isin(phantom.labels, [4, 5, 6, 7])
    marrow = marrow[:, 14:50, 10:40] if air == "none" else marrow
    assert signal_mask(echoes)[marrow].mean() > 0.99


def test_speckle_that_decays_is_not_taken_for_the_noise_of_air():
    """As ghosts of moving fat: it scatters as noise does, but from echo to echo it fades."""
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((2, 2, 4, 64, 64))
    echoes = parts[0] + 1j * parts[1]
    echoes[..., 16:] *= np.array([20.0, 5.0])[:, None, None, None]
    assert background_noise(echoes) == pytest.approx(1, rel=0.05)


def test_tissue_that_scatters_as_air_does_is_not_taken_for_it():
    """Water and fat of a scanner that set the air to 0: muscle, fat and a few mixed blocks."""
    rng = np.random.default_rng(1)
    pair = np.hypot(*rng.normal(0, 0.02, (2, 2, 6, 64, 64)))
    pair[0, :, :, :40] += 1
    pair[1, :, :, 40:] += 1
    mixed = np.hypot(*rng.normal(0, 0.5, (2, 2, 6, 8, 32)))
    pair[:, :, 24:32, 8:40] = mixed  # 4 of 64 blocks
    pair[..., :8, :] = pair[..., 56:, :] = 0
    assert background_noise(pair) == pytest.approx(0.02, rel=0.3)
    assert signal_mask(pair)[:, 8:56].mean() > 0.99


def coil_images(coils, air, seed=2):
    """Magnitudes of a decaying disc in each coil at an SNR of 30, and the disc."""
    rows, columns = np.mgrid[:96, :96] - 47.5
    disc = np.hypot(rows / 30, columns / 36) < 1
    decay = np.exp(-0.15 * np.arange(5))[:, None, None, None]
    clean = np.where(disc, decay * (1 + 0.4 * np.sin(rows / 5)), air * decay)
    noise = np.random.default_rng(seed).normal(0, 1 / 30, (2, coils, 5, 4, 96, 96))
    return np.hypot(clean / coils**0.5 + noise[0], noise[1]), disc


@pytest.mark.parametrize(
    ("coils", "combined"),
    [
        (1, lambda one: ndimage.gaussian_filter(one[0], (0, 0, 0.8, 0.8))),
        (1, lambda one: ndimage.median_filter(one[0], (1, 1, 3, 3))),
        (1, lambda one: ndimage.zoom(one[0], (1, 1, 2, 2), order=1)),
        (8, lambda each: np.sqrt((each**2).sum(0))),
    ],
    ids=["smoothed", "median filter", "interpolated", "sum of squares"],
)
def test_air_that_scatters_less_than_noise_stays_out(coils, combined):
    each, disc = coil_images(coils, air=0.0)
    images = combined(each)
    disc = np.repeat(np.repeat(disc, images.shape[-1] // 96, 0), images.shape[-1] // 96, 1)
    notes = []
    mask = signal_mask(images.astype(np.float32), notes=notes)
    assert all("what is as dark as the darkest parts, which are alike in all" in n for n in notes)
    assert len(notes) == (images.shape[-1] == 96)  # of what was interpolated the noise tells it
    assert mask[:, ndimage.binary_erosion(disc, iterations=3)].mean() > 0.999
    assert mask[:, ~ndimage.binary_dilation(disc, iterations=6)].mean() < 0.01


@pytest.mark.parametrize(
    ("volunteer", "which"),
    [(1, slice(None)), (2, slice(None)), (3, slice(None)), (2, [0, -1]), (3, [0, -1])],
)
def test_air_of_several_coils_stays_out_of_an_abdomen(shared, volunteer, which):
    """Diffusion images of volunteers, of all or two b-values; air scatters by a quarter."""
    found = np.load(shared / f"cases/diffusion/volunteer{volunteer}_T70_bip.npz")
    mask = signal_mask(np.moveaxis(found["image"], -1, 0)[which, None], decays=True)[0]
    assert mask[found["rois"] > 0].all() and mask[found["mask"] > 0].mean() > 0.998
    assert mask[:10, :10].mean() < 0.02 and mask[-6:].mean() < 0.02


@pytest.mark.parametrize("coils", [1, 8])
def test_maps_tell_that_air_counted_by_its_own_level(coils):
    each, _ = coil_images(coils, air=0.0)
    images = [Volume(one.astype(np.float32), np.eye(4)) for one in np.sqrt((each**2).sum(0))]
    told = [
        DIFFUSION.recipe("adc").make(images, b_values=[0, 100, 200, 300, 400])[0],
        WATER_FAT.recipe("magnitude").make(
            images, echo_times_s=1.15e-3 * np.arange(1, 6), field_strength_t=3.0
        )[0],
    ]
    for one in told:
        notes = [note for note in one.provenance["notes"] if "was left out as air" in note]
        assert len(notes) == (coils > 1)


@pytest.mark.parametrize("decays", [True, False])
def test_dark_tissue_all_around_is_not_the_level_of_air(decays):
    """Smoothed images without air: the darkest tissue decays, or the echoes scatter together."""
    each = coil_images(1, air=0.2)[0][0]
    images = ndimage.gaussian_filter(each, (0, 0, 0.8, 0.8))
    if not decays:
        images = np.repeat(images[:1], 5, 0)
    assert signal_mask(images.astype(np.float32)).all()


@pytest.mark.parametrize("smooth", [0, 0.7])
@pytest.mark.parametrize("images", ["water", "complex", "diffusion", "two b-values", "air of 0"])
def test_dark_tissue_that_does_not_decay_is_not_the_level_of_air(images, smooth):
    """Water that fills the image, darker away from the coil; fat, dark beside muscle, in diffusion.

    Without air, or with air of 0, what is darkest is as bright in every image, and scatters by
    itself, as air of several coils does; but it has the noise of all that has signal.
    """
    column = np.arange(96)
    clean = np.broadcast_to(1 / (1 + column / 40), (5, 4, 96, 96)).copy()
    if images not in ("water", "complex"):
        clean[:] = np.exp(-1.5e-3 * np.array([0, 50, 200, 400, 800]))[:, None, None, None]
        clean[..., :30] = 0.25
    noise = np.random.default_rng(3).normal(0, 0.03, (2, *clean.shape))
    echoes = clean + noise[0] + 1j * noise[1]
    echoes = echoes if images == "complex" else np.abs(echoes)
    echoes = ndimage.gaussian_filter(echoes, (0, 0, smooth, smooth)) if smooth else echoes
    if images == "air of 0":
        echoes[:, :, :16] = 0
    echoes = echoes[[0, -1]] if images == "two b-values" else echoes
    notes = []
    mask = signal_mask(echoes, decays=images not in ("water", "complex"), notes=notes)
    assert mask[:, 16:].mean() > 0.99
    assert not any("scatters less" in note for note in notes)
    assert any("% of the image was taken for tissue" in note for note in notes) == mask.all()


@pytest.mark.parametrize("images", ["echoes", "water and fat"])
def test_air_whose_noise_is_uneven_is_no_tissue(images):
    """Noise four times as high on one side as on the other, as evened receivers leave it."""
    rng = np.random.default_rng(0)
    noise = np.hypot(*rng.normal(0, 1, (2, 2, 6, 160, 160))) * np.linspace(0.5, 2, 160)
    body = np.zeros((160, 160), bool)
    body[40:120, 48:112] = True
    signal = {"echoes": (100, 60), "water and fat": (100, 20)}[images]
    pair = noise + np.reshape(signal, (2, 1, 1, 1)) * body
    assert 0.9 < background_noise(pair) < 1.6
    mask = signal_mask(pair)
    assert mask[:, body].all() and mask[:, ~body].mean() < 0.05


def test_air_of_rounded_values_is_no_signal():
    phantom = spine_phantom((4, 48, 48), snr=2000)
    echoes = np.round(60 * np.abs(phantom.echoes)) * np.exp(1j * np.angle(phantom.echoes))
    air = phantom.labels == 0
    echoes[:, air] = np.random.default_rng(0).random((6, air.sum())) < 0.2
    mask = signal_mask(echoes)
    assert mask[phantom.labels > 0].mean() > 0.99
    assert not mask[air].any()


def test_bright_fat_does_not_decide_what_marrow_is():
    phantom = spine_phantom((6, 64, 64), TWELVE_ECHOES_S, 50, marrow=IRON)
    echoes = np.where(np.isin(phantom.labels, [2, 11]), 20 * phantom.echoes, phantom.echoes)
    marrow = np.isin(phantom.labels, [4, 5, 6, 7])
    assert signal_mask(echoes)[marrow].mean() > 0.99


def test_magnitudes_of_dark_marrow_are_fitted():
    phantom = spine_phantom((6, 48, 48), TWELVE_ECHOES_S, 60, marrow=IRON)
    result = magnitude_water_fat(np.abs(phantom.echoes), TWELVE_ECHOES_S, 3.0)
    assert result.mask[np.isin(phantom.labels, [4, 5, 6, 7])].mean() > 0.99


def test_voxels_without_five_noise_sds_are_marked():
    phantom = spine_phantom((4, 48, 48), snr=60)
    phantom.echoes[:, 2] *= 0.05  # a slice of SNR 3
    noise = np.random.default_rng(3).standard_normal((2, *phantom.echoes[:, 2].shape)) / 60
    phantom.echoes[:, 2] += noise[0] + 1j * noise[1]
    data = multi_echo(phantom.echoes, phantom.echo_times_s, 3.0, phantom.voxel_size_mm)
    body = phantom.labels > 0
    result = separate_water_fat(data, mask=body)
    low = (result.doubt & Doubt.LOW_SIGNAL) > 0
    assert low[2][body[2]].mean() > 0.6
    assert low[0][body[0]].mean() < 0.01
