"""Mistakes that all voxels of a diffusion series share are refused or told; good images are not."""

import numpy as np
import pytest
from PDFFMapperLib.diffusion.maps import adc, adc_wls, model_choice
from PDFFMapperLib.diffusion.recipe import DIFFUSION
from PDFFMapperLib.diffusion.series import diffusion_series
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.trust import usable
from phantoms.diffusion import ivim_signal, rician
from scipy.ndimage import gaussian_filter

B = np.array([0, 50, 100, 200, 400, 600, 800.0])


def clean(b_values=B):
    """Half marrow, with fat, muscle, a perfused organ and fluid in the other, air around it."""
    kinds = np.zeros((3, 48, 48), int)
    kinds[:, 6:42, 6:42] = 1
    kinds[:, 6:24, 24:36] = 2
    kinds[:, 24:34, 24:36] = 3
    kinds[:, 6:12, 6:24] = 4
    kinds[:, 36:42, 36:42] = 5
    s0 = np.array([0, 60, 100, 120, 40, 200.0])[kinds]
    d = np.array([0, 0.5, 1.5, 1.1, 0.05, 3.0])[kinds]
    f = np.array([0, 0.08, 0.06, 0.25, 0, 0])[kinds]
    return ivim_signal(b_values, s0, d, 20.0, f)


def object_of(b_values=B, snr=40):
    return rician(clean(b_values), 100 / snr, np.random.default_rng(2))


def images_of(signal, b_values=B, facts=None):
    facts = facts or [{}] * len(b_values)
    return [
        Volume(np.float32(signal[..., n]), np.eye(4), f"b{n}", {"DiffusionBValue": b} | facts[n])
        for n, b in enumerate(b_values)
    ]


def notes_of(signal, b_values=B, facts=None):
    images = images_of(signal, b_values, facts)
    return " ".join(diffusion_series(images, DIFFUSION.recipe("adc").chosen({})).notes)


def notes_of_maps(signal, b_values=B, fit=adc, **options):
    made = fit(images_of(signal, b_values), DIFFUSION.recipe("adc").chosen(options), None)
    return " ".join(made[0].provenance["notes"])


def of_gain(which, gain):
    signal = object_of()
    signal[..., which] *= gain
    return signal


@pytest.mark.parametrize("snr", [10, 40, 200])
def test_good_images_are_neither_refused_nor_told(snr):
    assert notes_of(object_of(snr=snr)) == ""


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_abdomens_that_breathe_are_neither(shared, number):
    with np.load(shared / "cases" / "diffusion" / f"volunteer{number}_T70_bip.npz") as case:
        image, b_values = case["image"], case["b"]
    said = notes_of(image[None], b_values)
    assert "brighter" not in said and "decay" not in said and "shifted" not in said


@pytest.mark.parametrize(
    "signal",
    [
        object_of()[..., [0, 1, 2, 3, 5, 4, 6]],
        object_of()[..., [0, 1, 2, 6, 4, 5, 3]],
        object_of()[..., [2, 0, 1, 3, 6, 5, 4]],
        of_gain(0, 0.6),
        of_gain(4, 1.3),
        of_gain([5, 6], 1.6),
    ],
    ids=["two exchanged", "far exchanged", "shuffled", "b = 0 darker", "brighter", "high b"],
)
def test_images_brighter_than_tissue_allows_are_refused(signal):
    with pytest.raises(ValueError, match="allow for any tissue: b-values are wrong or in another"):
        notes_of(signal)


def test_a_map_among_the_images_is_refused():
    signal = object_of()
    signal[..., 5] = np.log(signal[..., 0] / signal[..., 6]).clip(0) / 0.8 * 1000
    with pytest.raises(ValueError, match="or one is a map; correct the b-values"):
        notes_of(signal)


@pytest.mark.parametrize(
    "signal",
    [of_gain([4, 5, 6], 1.3), of_gain([4, 5, 6], 0.7)],
    ids=["high b brighter", "high b darker"],
)
def test_smaller_errors_are_told(signal):
    assert "or one is a map; the ADC, D and f are wrong then" in notes_of(signal)


def test_one_image_under_two_b_values_is_refused():
    with pytest.raises(ValueError, match=r"b = 200 and 400 s/mm.2 are the same in every voxel, so"):
        notes_of(object_of()[..., [0, 1, 2, 3, 3, 4, 5]])
    with pytest.raises(ValueError, match="b = 0 and 800"):  # the ADC would be 0 everywhere
        notes_of(object_of()[..., [0, 0]], B[[0, 6]])
    repeated = object_of()[..., [0, 0, 6]]
    said = notes_of(repeated, np.array([0, 0, 800.0]))
    assert "1 image(s) are the same in every voxel as one before" in said and "Two b" in said


def test_copies_hold_nan_outside_a_mask_and_few_voxels_are_alike_by_chance():
    signal = object_of()[..., [0, 3, 3]]
    signal[:, :4] = np.nan
    with pytest.raises(ValueError, match="the same in every voxel"):
        notes_of(signal, np.array([0, 200, 400.0]))
    voxel = np.array([100, 100, 98, 95, 60.0]).reshape(1, 1, 1, 5)
    assert "the same" not in notes_of(voxel, np.array([0, 10, 20, 50, 800.0]))


def test_another_gain_of_b_0_is_told():
    said = notes_of(of_gain(0, 1.5))
    assert "unless all tissue here is perfused, these images have another gain" in said
    assert "--b-range 50 800" in said


def test_b_values_of_another_unit_are_told():
    assert "faster than free water (3.0): the b-values may be" in notes_of(object_of(), B / 10)
    assert "if it is in another unit, the ADC is wrong" in notes_of(object_of(), B * 10)


def test_images_of_other_times():
    facts = [{"EchoTime": 60.0, "RepetitionTime": 3000.0}] * 4
    other = [{"EchoTime": 90.0, "RepetitionTime": 3000.0}] * 3
    with pytest.raises(ValueError, match="echo times of 60 to 90 ms: T2 would be taken for"):
        notes_of(object_of(), B, facts + other)
    other = [{"EchoTime": 60.0, "RepetitionTime": 6000.0}] * 3
    said = notes_of(object_of(), B, facts + other)
    assert "repetition times of 3000 to 6000 ms: where that is not breathing, T1" in said


def test_a_direction_lost_to_motion_is_told():
    b_values = np.array([0, 800, 800, 800.0])
    signal = object_of(b_values)
    facts = [{"DiffusionGradientOrientation": np.eye(3)[n - 1].tolist()} for n in range(4)]
    assert "as after motion" not in notes_of(signal, b_values, facts)
    signal[..., 3] *= 0.4
    assert "brightness of the others, as after motion" in notes_of(signal, b_values, facts)


def moved(signal, which, shift):
    """The object moved by rows and columns, as between two images."""
    signal = signal.copy()
    signal[..., which] = np.roll(signal[..., which], shift, (1, 2))
    return signal


@pytest.mark.parametrize("shift", [(3, 0), (0, -3), (2, -5)])
@pytest.mark.parametrize("snr", [10, 40])
def test_motion_between_b_values_is_told(snr, shift):
    said = notes_of(moved(object_of(snr=snr), [4, 5], shift))
    assert "Images at b = 400, 600 s/mm^2 are shifted by up to" in said
    assert f"{np.hypot(*shift):.0f} voxels in plane against those at 0, as after motion" in said


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_motion_is_told_of_abdomens_too(shared, number):
    with np.load(shared / "cases" / "diffusion" / f"volunteer{number}_T70_bip.npz") as case:
        image, b_values = moved(case["image"][None], [-1], (3, 0)), case["b"]
    assert "b = 500 s/mm^2 are shifted by up to 3 voxels" in notes_of(image, b_values)


def test_right_images_of_which_fat_alone_stays_are_not_told_to_have_moved():
    b_values = np.array([0, 1500.0])
    for seed in range(5):
        rng = np.random.default_rng(seed)
        s0 = np.zeros((2, 64, 64))
        s0[:, 8:56, 8:56], s0[:, 12:52, 12:52] = 20, 200
        d = np.where(s0 == 20, 0.02, 3.0)
        signal = rician(ivim_signal(b_values, s0, d, 20.0, 0 * s0), 10, rng)
        assert "shifted" not in notes_of(signal, b_values)


def test_zeros_of_a_threshold_are_told():
    signal = object_of(snr=10)
    assert "exactly 0" not in notes_of(signal)
    assert "exactly 0 at b = 800 s/mm^2: noise was set to 0" in notes_of(signal * (signal > 15))
    coarse = 10 * np.floor(signal / 10)
    assert "exactly 0 at b = 800 s/mm^2" in notes_of(coarse)
    assert "exactly 0" not in notes_of(np.round(signal))


def coils_of(b_values, snr, coils=8):
    """The object by the root of the sum of squares of coils of equal noise, with air around."""
    signal = np.pad(clean(b_values), ((0, 0), (24, 24), (24, 24), (0, 0))) / np.sqrt(coils)
    rng = np.random.default_rng(3)
    return np.sqrt(sum(rician(signal, 100 / snr, rng) ** 2 for _ in range(coils)))


@pytest.mark.parametrize("fit", [adc, adc_wls])
def test_the_floor_of_several_coils_is_told(fit):
    said = notes_of_maps(coils_of(B, snr=20), fit=fit)
    assert "less than twice as bright as the darkest part" in said and "and D read low" in said
    assert "twice as bright" not in notes_of_maps(coils_of(B, snr=200), fit=fit)


def test_a_floor_that_the_fit_takes_off_is_not_told():
    signal = np.stack([coils_of(B, snr, 1) for snr in (10, 7)])
    assert "twice as bright" not in notes_of_maps(signal[0])
    assert "twice as bright" not in notes_of_maps(signal[1])
    assert "twice as bright" in notes_of_maps(signal[1], fit=adc_wls)
    two = [0, 6]
    assert "twice as bright" not in notes_of_maps(signal[1][..., two], B[two], sigma=100 / 7)
    said = notes_of_maps(coils_of(B, 20)[..., two], B[two], sigma=5)
    assert "twice as bright" in said


def test_the_floor_is_told_where_models_are_compared_with_gaussian_noise():
    images = images_of(coils_of(B, 7, 1))
    for noise, told in (("rician", False), ("gaussian", True)):
        options = DIFFUSION.recipe("model-choice").chosen({"noise": noise, "sigma": 100 / 7})
        notes = " ".join(model_choice(images, options, None)[0].provenance["notes"])
        assert ("twice as bright" in notes) is told


def test_suppressed_fat_where_air_is_cut_off_is_not_told_to_be_a_floor():
    b_values = np.array([50, 400, 800.0])
    for seed in range(3):
        rng = np.random.default_rng(seed)
        fat, muscle = np.zeros((2, 3, 64, 64), bool)
        fat[:, 8:56, 8:56], muscle[:, 18:46, 18:46] = True, True
        structure = gaussian_filter(rng.standard_normal(fat.shape), (0, 1, 1))
        s0 = np.where(muscle, 100, 18 * (1 + 0.25 * structure / structure.std()) * fat)
        d = np.where(muscle, 1.6, 0.03)
        signal = rician(ivim_signal(b_values, s0, d, 20.0, 0 * s0), 2, rng)
        assert "twice as bright" not in notes_of_maps(signal * fat[..., None], b_values)
        crop = signal[:, 10:54, 10:54]
        assert "twice as bright" not in notes_of_maps(crop, b_values)


def test_zeros_of_air_in_whole_gray_levels_are_not_told():
    signal = np.pad(clean(), ((0, 0), (24, 24), (24, 24), (0, 0)))
    signal = np.round(0.6 * rician(signal, 1, np.random.default_rng(4)))
    mask = Volume(np.ones(signal.shape[:3]), np.eye(4), "mask", {})
    assert "exactly 0" not in notes_of_maps(signal, mask=mask)


def test_how_many_voxels_were_left_out_is_said():
    doubt = np.array([[0, 0, 1, 1, 1], [4, 0, 1, 9, 0]], np.uint8)
    assert usable(np.ones(4, np.uint8), {}).startswith("No voxel has a value of its own: none ")
    said = usable(doubt, {0: "confident", 1: "low signal", 4: "D* unknown"})
    assert said == (
        "5 voxels fitted, 4 with confidence (D* unknown 1); 5 more (50 % of all) have no signal "
        "or lie outside the mask."
    )
