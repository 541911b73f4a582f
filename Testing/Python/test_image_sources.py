"""Series spread over folders and files, and what stands beside images, for both commands."""

import json

import numpy as np
import pytest
from dicom_files import classic_slice
from PDFFMapperLib.commands.diffusion_files import read_diffusion
from PDFFMapperLib.commands.echo_files import read_echoes
from PDFFMapperLib.diffusion.scheme import diffusion_scheme
from PDFFMapperLib.images.files import write_series, write_volume
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.echo_train import echo_train

SHAPE = (3, 5, 4)
TIMES_MS = (2.0, 4.0, 6.0)
COMPLEX = [np.full(SHAPE, 100 * np.exp(1j * n), np.complex64) for n in range(3)]


def series(folder, number, pictures, name="a", **facts):
    """A series of volumes, one for each dictionary of facts."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, (picture, one) in enumerate(pictures):
        for k in range(SHAPE[0]):
            given = {"InstanceNumber": 10 * n + k + 1, "SeriesNumber": number, **facts, **one}
            pixels = np.asarray(picture, np.uint16)
            classic_slice(folder, f"{name}{n}{k}.dcm", k, pixels, series=f"1.2.{number}", **given)
    return folder


def gradient_echoes(folder, number, component, values, times=TIMES_MS):
    facts = {"ScanningSequence": "GR", "ImageType": ["ORIGINAL", "PRIMARY", component]}
    if component == "P":
        facts |= {"Manufacturer": "SIEMENS", "RescaleSlope": 2, "RescaleIntercept": -4096}
    pictures = [
        (np.full(SHAPE[1:], value), {"EchoTime": time})
        for value, time in zip(values, times, strict=True)
    ]
    return series(folder, number, pictures, **facts)


def grid(array):
    return Volume(array, np.diag([-1.0, -1.2, 4.0, 1.0]), "image")


# --- echoes ---


def test_magnitude_and_phase_may_lie_in_folders_of_their_own(tmp_path):
    """1 rad an echo: stored 2048 + 4096 / (2 pi), which Siemens rescales to -4096 ... 4094."""
    magnitude = gradient_echoes(tmp_path / "m", 1, "M", (100, 90, 80))
    phases = [2048 + n * 4096 / (2 * np.pi) for n in range(3)]
    phase = gradient_echoes(tmp_path / "p", 2, "P", phases)
    for images, given in (([magnitude], [phase]), ([magnitude, phase], [])):
        volumes, times, _notes = read_echoes(images, given)
        train = echo_train(volumes, times, field_strength_t=3.0)
        assert train.is_complex
        np.testing.assert_allclose(np.angle(train.signal[0, 0, 0]), [0, 1, 2], atol=2e-3)
        np.testing.assert_allclose(np.abs(train.signal[0, 0, 0]), [100, 90, 80], rtol=1e-6)
    with pytest.raises(ValueError, match="phase images are expected, these are magnitude"):
        read_echoes([magnitude], [magnitude])
    write_volume(grid(np.ones(SHAPE, np.float32)), tmp_path / "e.nrrd")
    with pytest.raises(ValueError, match="Some images are DICOM and some are image files"):
        read_echoes([magnitude], [tmp_path / "e.nrrd"])


def test_echoes_may_lie_in_a_folder_each_or_be_given_as_files(tmp_path):
    folders = [
        gradient_echoes(tmp_path / f"e{n}", n + 1, "M", (100 - n,), (time,))
        for n, time in enumerate(TIMES_MS)
    ]
    for sources in (folders, sorted(tmp_path.rglob("*.dcm"))):
        volumes, _times, notes = read_echoes(sources)
        assert [one.attributes["EchoTime"] for one in volumes] == list(TIMES_MS)
        assert notes == [
            "3 series of one grid and sequence were joined by their echo times: #1, #2, #3."
        ]
    (tmp_path / "t.json").write_text(json.dumps({"EchoTimes": [0.003, 0.005, 0.007]}))
    _volumes, times, _notes = read_echoes(folders, sidecars=[tmp_path / "t.json"])
    assert times == [0.003, 0.005, 0.007]


def test_two_channels_of_metaimage_are_complex_where_each_file_has_one_time(tmp_path):
    """MetaImage has no complex type: ITK writes two channels."""
    import SimpleITK as sitk

    def written(array, name):
        image = sitk.GetImageFromArray(np.stack([array.real, array.imag], -1), isVector=True)
        sitk.WriteImage(image, str(tmp_path / name))
        return tmp_path / name

    whole = [written(np.stack(COMPLEX), "all.mha")]
    single = [written(one, f"{n}.mha") for n, one in enumerate(COMPLEX)]
    for paths in (whole, single):
        volumes, times, notes = read_echoes(paths, echo_times=TIMES_MS)
        train = echo_train(volumes, times, field_strength_t=3.0)
        np.testing.assert_allclose(train.signal[0, 0, 0], [c[0, 0, 0] for c in COMPLEX], rtol=1e-5)
        assert "real and imaginary parts" in notes[0] and "channels" in notes[0]
    volumes, times, _notes = read_echoes(single, echo_times=range(1, 7))  # six images then
    assert len(volumes) == 6 and "ImageComponent" not in volumes[0].attributes


def test_facts_beside_complex_files_are_those_of_both_parts(tmp_path):
    from test_inputs import nifti

    for n, one in enumerate(COMPLEX):
        nifti(tmp_path / f"{n}.nii", one)
        facts = {"EchoTime": TIMES_MS[n] * 1e-3, "MagneticFieldStrength": "3"}
        facts["ImagingFrequency"] = "123.2"
        (tmp_path / f"{n}.json").write_text(json.dumps(facts))
    volumes, times, _notes = read_echoes([tmp_path / f"{n}.nii" for n in range(3)])
    train = echo_train(volumes, times)
    assert train.field_strength_t == pytest.approx(2.894, abs=0.001)
    np.testing.assert_allclose(train.signal[0, 0, 0], [c[0, 0, 0] for c in COMPLEX], rtol=1e-5)


def test_echo_times_beside_one_part_are_those_of_both(tmp_path):
    from test_inputs import nifti

    for name in ("re", "im"):
        nifti(tmp_path / f"{name}.nii", np.ones((3, *SHAPE), np.float32))
    for beside in ("re", "im"):
        side = tmp_path / f"{beside}.json"
        side.write_text(json.dumps({"EchoTimes": [0.001, 0.002, 0.003]}))
        _volumes, times, _notes = read_echoes(
            [tmp_path / "re.nii"], imaginary=[tmp_path / "im.nii"]
        )
        np.testing.assert_allclose(times, [0.001, 0.002, 0.003] * 2)
        side.unlink()


@pytest.mark.parametrize(
    ("times", "sentence"),
    [
        ([0.001, 0.002], "re.nii: 2 echo times stand beside it for 3 images; give one each"),
        (["1 ms"] * 3, r"re.json: echo times must be numbers, in seconds, not \['1 ms'"),
        ([[0.001]] * 3, r"re.json: echo times must be numbers, in seconds, not \[\[0.001\]"),
    ],
)
def test_echo_times_beside_an_image_that_do_not_fit_it_are_told(tmp_path, times, sentence):
    from test_inputs import nifti

    nifti(tmp_path / "re.nii", np.ones((3, *SHAPE), np.float32))
    (tmp_path / "re.json").write_text(json.dumps({"EchoTimes": times}))
    with pytest.raises(ValueError, match=sentence):
        read_echoes([tmp_path / "re.nii"])
    if len(times) == 2:  # those that are typed count
        assert len(read_echoes([tmp_path / "re.nii"], echo_times=[1, 2, 3])[1]) == 3


def test_a_nifti_of_two_further_dimensions_says_what_is_not_told(tmp_path):
    from test_inputs import nifti

    array = np.zeros((6, *SHAPE), np.float32)
    path = nifti(tmp_path / "a.nii", array, shape=(4, 5, 3, 3, 2))
    with pytest.raises(ValueError, match=r"run along two dimensions \(3x2\)"):
        read_echoes([path], echo_times=TIMES_MS)
    vector = nifti(tmp_path / "b.nii", array, shape=(4, 5, 3, 1, 6))  # as ITK writes vectors
    assert len(read_echoes([vector], echo_times=range(1, 7))[0]) == 6


# --- diffusion ---

B_VALUES = (0, 50, 400, 800)


def weighted(b_values=B_VALUES):
    return [grid(np.full(SHAPE, 1000 * np.exp(-1e-3 * b), np.float32)) for b in b_values]


def scheme_of(*paths):
    volumes, b_values, notes = read_diffusion(list(paths))
    return diffusion_scheme(volumes, b_values).b_values.tolist(), notes


def test_b_values_may_lie_in_a_folder_each_or_be_given_as_files(tmp_path):
    facts = {"ScanningSequence": "EP", "RepetitionTime": 4000, "EchoTime": 60}
    folders = [
        series(tmp_path / f"b{b}", n + 1, [(one.array[0], {"DiffusionBValue": float(b)})], **facts)
        for n, (b, one) in enumerate(zip(B_VALUES, weighted(), strict=True))
    ]
    for sources in (folders, sorted(tmp_path.rglob("*.dcm"))):
        found, notes = scheme_of(*sources)
        assert found == list(B_VALUES)
        assert any("4 series of one grid and sequence were joined" in note for note in notes)
    assert scheme_of(*[f"{one}#{n + 1}" for n, one in enumerate(folders)])[0] == list(B_VALUES)
    with pytest.raises(ValueError, match="no series is named '9'"):
        read_diffusion([folders[0], f"{folders[1]}#9"])
    write_volume(weighted()[0], tmp_path / "b.nrrd")
    with pytest.raises(ValueError, match="Some images are DICOM and some are image files"):
        read_diffusion([folders[0], tmp_path / "b.nrrd"])


@pytest.mark.parametrize("key", ["DiffusionBValue", "b-values", "bvals", "BValue"])
def test_b_values_in_json_are_heard(tmp_path, key):
    path = tmp_path / "dwi.nii.gz"
    write_series(weighted(), path)
    json_file = tmp_path / "dwi.json"
    json_file.write_text(json.dumps({"EchoTime": 0.06, key: B_VALUES}))
    found, notes = scheme_of(path)
    assert found == list(B_VALUES) and notes == ["b-values from dwi.json."]
    json_file.write_text(json.dumps({key: [0, 800]}))
    with pytest.raises(ValueError, match=r"2 b-values are in it for 4 images of dwi\.nii\.gz"):
        read_diffusion([path])
    assert read_diffusion([path], B_VALUES)[1] == list(B_VALUES)  # what is given is taken
    json_file.write_text(json.dumps({key: "many"}))
    with pytest.raises(ValueError, match=rf"{key} must be numbers of 0 or more, not many"):
        read_diffusion([path])


def test_files_of_one_b_value_each_know_it_from_beside(tmp_path):
    paths = [tmp_path / f"{n}.nii.gz" for n in range(4)]
    for path, b, one in zip(paths, B_VALUES, weighted(), strict=True):
        write_volume(one, path)
        if b < 400:
            path.with_name(path.name.replace(".nii.gz", ".bval")).write_text(f"{b}\n")
        else:
            path.with_name(path.name.replace(".nii.gz", ".json")).write_text(
                json.dumps({"DiffusionBValue": b})
            )
    assert scheme_of(*paths)[0] == list(B_VALUES)


def test_b_values_of_a_bids_data_set_are_inherited(tmp_path):
    (tmp_path / "dataset_description.json").write_text("{}")
    folder = tmp_path / "sub-1" / "dwi"
    folder.mkdir(parents=True)
    write_series(weighted(), folder / "sub-1_dwi.nii.gz")
    (tmp_path / "dwi.bval").write_text("0 50 400 800")
    for source in (tmp_path, folder / "sub-1_dwi.nii.gz"):
        assert scheme_of(source)[0] == list(B_VALUES)
    (folder / "sub-1_dwi.bval").write_text("0 100 400 800")  # the nearest wins
    assert scheme_of(tmp_path)[0] == [0, 100, 400, 800]


def test_old_siemens_headers_keep_the_gradient_in_the_csa_header_alone(tmp_path):
    import struct

    from pydicom.filereader import dcmread

    def csa(b, vector):
        tags = {"B_value": [str(b)], "DiffusionGradientDirection": [f"{v:.6f}" for v in vector]}
        data = b"SV10\4\3\2\1" + struct.pack("<II", len(tags), 77)
        for name, texts in tags.items():
            data += name.encode().ljust(64, b"\0")
            data += struct.pack("<i4siII", len(texts), b"FD\0\0", 0, len(texts), 77)
            for text in texts:
                item = text.encode() + b"\0"
                data += struct.pack("<4i", *[len(item)] * 4) + item.ljust(-(-len(item) // 4) * 4)
        return data

    gradients = [(0, []), (800, [1, 0, 0]), (800, [0, 1, 0]), (800, [0, 0, 1])]
    series(tmp_path, 1, [(np.ones(SHAPE[1:]), {"AcquisitionNumber": n}) for n in range(4)],
           Manufacturer="SIEMENS")  # fmt: skip
    for path in tmp_path.iterdir():
        data = dcmread(path)
        block = data.private_block(0x29, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x10, "OB", csa(*gradients[int(data.AcquisitionNumber)]))
        data.save_as(path)
    volumes, b_values, _notes = read_diffusion([tmp_path])
    scheme = diffusion_scheme(volumes, b_values)
    assert scheme.b_values.tolist() == [0, 800, 800, 800]
    assert sorted(scheme.directions[1:].tolist()) == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


def test_the_names_of_files_beside_images_are_not_kept():
    from PDFFMapperLib.images.identity import without_names

    told = without_names("b-values from Doe_Jane.bval.", ["/data/Doe_Jane.nii.gz"])
    assert told == "B-values from the .bval file beside it."
