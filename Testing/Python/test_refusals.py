"""What maps and readers refuse or say, each provoked by the input that it speaks of."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import classic_slice, enhanced, header, orientation, position, put_pixels
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.commands.main import main
from MarrowAssessLib.measures.book import Book, Settings
from MarrowAssessLib.references import own_controls
from MarrowAssessLib.references.control_cohort import safe_name
from MarrowAssessLib.report.sources_plot import sources_svg
from MarrowAssessLib.sources.labels import parse_label_rule
from MarrowAssessLib.sources.segmentations import regions_from_segmentation
from MarrowAssessLib.sources.study_files import read_study
from MarrowAssessLib.study.regions import Region
from PDFFMapperLib.commands.diffusion_files import read_diffusion
from PDFFMapperLib.dicom.acquisitions import diffusion_volumes
from PDFFMapperLib.dicom.folder import read_dicom_folder
from PDFFMapperLib.dicom.frames import flattened_frames, frames_of_file, read_facts
from PDFFMapperLib.dicom.inventory import inventory
from PDFFMapperLib.dicom.segmentation import read_segmentation
from PDFFMapperLib.diffusion import ivim, noise, voxelwise
from PDFFMapperLib.diffusion.adc import fit_adc
from PDFFMapperLib.diffusion.ivim_bayes import fit_ivim_hierarchical
from PDFFMapperLib.diffusion.recipe import DIFFUSION
from PDFFMapperLib.diffusion.scheme import diffusion_scheme, read_bval
from PDFFMapperLib.diffusion.stated import read_bvec
from PDFFMapperLib.images.files import read_image, write_volume
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.install import packages
from PDFFMapperLib.install.resources import resource_path
from PDFFMapperLib.maps.bids_maps import checked_source
from PDFFMapperLib.maps.kinds import map_kind
from PDFFMapperLib.maps.parametric_map import ParametricMap, write_maps
from PDFFMapperLib.ute.recipe import UTE
from PDFFMapperLib.water_fat.echo_train import echo_train
from PDFFMapperLib.water_fat.echo_units import phase_in_radians
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.products import fat_fraction_of_images, two_point_fat_fraction
from PDFFMapperLib.water_fat.recipe import WATER_FAT
from PDFFMapperLib.water_fat.spectra import spectrum_from_peaks
from pydicom.dataset import Dataset
from pydicom.filereader import dcmread
from pydicom.sequence import Sequence

SHAPE = (3, 5, 4)
PIXELS = np.arange(20, dtype=np.uint16).reshape(5, 4)


def image(value, name="image", **attributes):
    return Volume(np.full(SHAPE, value, np.float32), np.diag([1.0, 1, 2, 1]), name, attributes)


def refused(capsys, *arguments):
    """What a command says on standard error."""
    assert main([str(one) for one in arguments]) == 2
    return capsys.readouterr().err


# --- commands ---


def test_commands_say_which_options_do_not_go_together(tmp_path, capsys):
    files = [tmp_path / f"{n}.nrrd" for n in range(4)]
    for n, path in enumerate(files):
        write_volume(image(1000 * np.exp(-0.4 * n)), path)
    out = ["--out", tmp_path / "o"]
    pairs = ["--water-fat", *files[:2]]
    assert "Give images of a series, or --water-fat" in refused(capsys, "pdff", *out)
    said = refused(capsys, "pdff", *pairs, "--method", "complex", *out)
    assert "--method chooses among fits of series; --water-fat is one by itself" in said
    said = refused(capsys, "pdff", *pairs, "--precession", "auto", *out)
    assert "--precession has no meaning for water and fat" in said
    said = refused(capsys, "pdff", *files, "--magnitude-only", "--method", "complex", *out)
    assert "--magnitude-only and --method complex: give one of them" in said
    (tmp_path / "b.bval").write_text("0 1 2 3")
    both = ["--b-values", "0,400,600,800", "--bval", tmp_path / "b.bval"]
    assert "Give --b-values or --bval, not both" in refused(capsys, "ivim", *files, *both, *out)
    apart = image(1.0)
    apart.ijk_to_ras[0, 3] = 9.0
    write_volume(apart, files[1])
    said = refused(capsys, "ivim", *files, *both[:2], *out)
    assert "another voxel grid than 0.nrrd" in said and "resample one of them first" in said
    said = refused(capsys, "pdff", files[0], "--regions", files[1], "--echo-times", "1", *out)
    assert "is on another voxel grid than" in said and "resample 1.nrrd" in said
    write_volume(image(0.0), files[1])
    said = refused(capsys, "pdff", files[0], "--regions", files[1], "--echo-times", "1", *out)
    assert "0 labels are in this map; 1 to 1000 are expected" in said


def test_families_and_recipes_name_what_they_have():
    with pytest.raises(ValueError, match="There is no method 'best'; choose of"):
        DIFFUSION.recipe("best")
    with pytest.raises(ValueError, match=r" has no option sigmas; it has "):
        DIFFUSION.recipe("adc").make([image(1.0)], sigmas=3)
    with pytest.raises(ValueError, match=r"lies between .* -5 was given\."):
        DIFFUSION.recipe("adc").make([image(1.0)], lowest_b=-5.0)
    echoes = [image(100.0 - n, EchoTime=2.0 + n, MagneticFieldStrength=3.0) for n in range(4)]
    with pytest.raises(ValueError, match=r"Peaks are expected as -3\.4:0\.7,-2\.6:0\.13"):
        WATER_FAT.recipe("magnitude").make(echoes, peaks="many")


# --- DICOM ---


def slices(folder, change=lambda data, k: None, count=4, **facts):
    for k in range(count):
        path = classic_slice(folder, f"{k}.dcm", k, PIXELS, series="1.2.3", **facts)
        data = dcmread(path)
        change(data, k)
        data.save_as(path)
    return read_dicom_folder(folder)[0]


def test_frames_say_why_they_cannot_be_placed(tmp_path):
    def first(data, _k):
        data.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]

    assert "its orientation or pixel spacing is not valid" in slices(tmp_path, first).problem
    many = header(ImagePositionPatient=position(0), ImageOrientationPatient=orientation())
    many.PixelSpacing = [1, 1]
    put_pixels(many, np.ones((3, 5, 4), np.uint16))
    with pytest.raises(ValueError, match="several frames without saying where each one lies"):
        frames_of_file(tmp_path / "x", many)
    grid = header(Manufacturer="UIH", ImageType=["ORIGINAL", "PRIMARY", "VFRAME"])
    grid.ImageOrientationPatient, grid.PixelSpacing = orientation(), [1, 1]
    put_pixels(grid, np.ones((5, 5), np.uint16))
    block = grid.private_block(0x0065, "Image Private Header", create=True)
    items = [Dataset() for _ in range(4)]
    for k, item in enumerate(items):
        item.ImagePositionPatient = position(k)
    block.add_new(0x50, "DS", "4")
    block.add_new(0x51, "SQ", Sequence(items))
    with pytest.raises(ValueError, match=r"5 x 5 pixels does not divide into 4 slices"):
        frames_of_file(tmp_path / "x", grid)


def test_series_say_what_looks_odd(tmp_path):
    def lone(data, _k):
        del data.SliceThickness, data.SpacingBetweenSlices

    single = slices(tmp_path / "a", lone, 1) if (tmp_path / "a").mkdir() is None else None
    assert "the thickness of a single slice is unknown: 1 mm is taken" in single.notes[0]
    (tmp_path / "b").mkdir()
    thinned = slices(tmp_path / "b", SpacingBetweenSlices=2.5)
    assert "every other slice may be missing" in thinned.notes[0]
    assert "MONOCHROME" not in " ".join(thinned.notes)

    def inverted(data, _k):
        data.PhotometricInterpretation = "MONOCHROME1"

    (shown,) = slices(tmp_path / "b", inverted).notes
    assert "stored for inverted display (MONOCHROME1); values are taken as they are" in shown
    (tmp_path / "c").mkdir()

    def mixed(data, k):
        data.EchoTime = 2 + 2 * (k % 2)

    problem = slices(tmp_path / "c", mixed).problem
    assert "slices of one volume have different echo times (2 to 4)" in problem

    def of_two_kinds(data, k):
        data.ImageType, data.EchoTime = ["ORIGINAL", "PRIMARY", "MP"[k % 2], "ND"], 2

    problem = slices(tmp_path / "c", of_two_kinds).problem
    assert "one volume mixes magnitude, phase, real or imaginary slices, so several" in problem
    (tmp_path / "d").mkdir()
    frames = [(k, PIXELS, {"echo_time": t}) for t in (2, 4) for k in range(3)][:-1]
    enhanced(tmp_path / "d" / "x.dcm", frames)
    (found,) = read_dicom_folder(tmp_path / "d")
    assert "lacks 1 of 3 slices that its siblings have" in found.problem
    header("1.2.840.10008.5.1.4.1.1.88.11").save_as(tmp_path / "b" / "report.dcm")
    notes = read_dicom_folder(tmp_path / "b").notes
    assert "DICOM objects without images in space were left out: 1 x Basic Text SR" in notes[0]


def test_headers_that_end_too_early_or_are_damaged_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no such folder."):
        read_dicom_folder(tmp_path / "away")
    (tmp_path / "notes.txt").write_text("no header " * 40)
    with pytest.raises(ValueError, match=r"notes.txt: this is not a DICOM file"):
        read_facts(tmp_path / "notes.txt")

    def unsized(data, k):
        if k == 1:
            del data.Rows

    assert (
        "1.dcm: this file ends within its header; copy it again."
        in slices(tmp_path, unsized).problem
    )

    def nameless(data, k):
        if k == 1:
            del data.SeriesInstanceUID

    slices(tmp_path, nameless)
    (told,) = [one for one in read_dicom_folder(tmp_path).notes if "1.dcm" in one]
    assert (
        "this DICOM file has no series UID and was left out: it ends within its header, or" in told
    )
    assert told.endswith("copy or export it again, its series may lack a slice.")

    slices(tmp_path)
    bits = b"\x28\x00\x00\x01US\x02\x00"
    swapped = (
        (tmp_path / "1.dcm").read_bytes().replace(bits + b"\x10\0", bits[:4] + b"IS\2\0" + b"1A")
    )
    (tmp_path / "1.dcm").write_bytes(swapped)
    (series,) = read_dicom_folder(tmp_path)
    assert series.problem.endswith("1.dcm: its header is damaged; copy or export it again.")

    slices(tmp_path)
    broken = bytearray((tmp_path / "2.dcm").read_bytes())
    broken[136] = ord("S")  # a kind of value that there is none of
    (tmp_path / "2.dcm").write_bytes(broken)
    (told,) = [one for one in read_dicom_folder(tmp_path).notes if "2.dcm" in one]
    assert "this DICOM file cannot be read and was left out; it may be damaged (" in told

    def classless(data, k):
        if k:
            del data.SOPClassUID, data.file_meta.MediaStorageSOPClassUID

    slices(tmp_path, classless)
    (told,) = [one for one in read_dicom_folder(tmp_path).notes if "ends within" in one]
    assert told.startswith("1.dcm and 2 more: this DICOM file") and "no SOP class UID" in told
    number = b"\x20\x00\x11\x00"  # the series', as a double of two bytes
    slices(tmp_path)
    for path in tmp_path.glob("*.dcm"):
        path.write_bytes(path.read_bytes().replace(number + b"IS", number + b"FD"))
    (series,) = read_dicom_folder(tmp_path)
    assert "cannot be read: a header is damaged (" in series.problem


def test_voxels_that_are_not_there_are_told(tmp_path):
    series = slices(tmp_path)
    (volume,) = series.contents
    path = tmp_path / "0.dcm"
    whole = dcmread(path)
    put_pixels(whole, PIXELS[:, :3].copy())
    whole["PixelData"].VR = "OW"
    whole.save_as(path)
    with pytest.raises(ValueError, match="the image size does not match its header"):
        volume.read()
    whole.PixelData = 2 * PIXELS.tobytes()
    whole.Columns = PIXELS.shape[1]
    whole.save_as(path)
    with pytest.raises(ValueError, match=r"it holds 80 bytes where its header says 40"):
        volume.read()
    whole.PixelData = PIXELS.tobytes() + bytes(2 * PIXELS.shape[1])  # padded, as some exports are
    whole.save_as(path)
    np.testing.assert_array_equal(volume.read().array[0], PIXELS)
    del whole.PixelData
    whole.save_as(path)
    with pytest.raises(ValueError, match="cannot be read: it ends before them; export"):
        volume.read()
    volume._frames[0].index = 2
    put_pixels(whole, PIXELS)
    whole["PixelData"].VR = "OW"
    whole.save_as(path)
    with pytest.raises(ValueError, match=r"frame 3 is missing; the file is truncated"):
        volume.read()
    with pytest.raises(ValueError, match=r"MR Image Storage.*, which cannot stand here; convert"):
        read_image(path)


def segmentation(path, change, places=(0, 1)):
    """A binary segmentation of some slices."""
    data = header("1.2.840.10008.5.1.4.1.1.66.4", SegmentationType="BINARY")
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel = 1, "L3 marrow"
    data.SegmentSequence = Sequence([segment])
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [1.5, 2.0], 5.0
    plane.ImageOrientationPatient = orientation()
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([plane])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for k in places:
        group, place, number = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient, number.ReferencedSegmentNumber = position(k), 1
        group.PlanePositionSequence = Sequence([place])
        group.SegmentIdentificationSequence = Sequence([number])
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = Sequence(groups)
    put_pixels(data, np.full((len(places), 5, 4), 200, np.uint16))
    change(data)
    data.save_as(path)
    return path


def test_segmentations_that_cannot_be_read_say_why(tmp_path):
    def fewer(data):
        data.PerFrameFunctionalGroupsSequence.pop()

    def nowhere(data):
        del data.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence

    for change, places, sentence in (
        (fewer, (0, 1), "header describes 1 of 2 frames"),
        (lambda data: None, (), "it holds no frame"),
        (nowhere, (0, 1), "a frame has no PlanePositionSequence"),
        (lambda data: None, (0, 1, 30_000), "frames are spread over more slices than an image"),
        (lambda data: None, (0, 1, 1.4), "frames of this DICOM segmentation lie on no common grid"),
    ):
        with pytest.raises(ValueError, match=sentence):
            read_segmentation(segmentation(tmp_path / "s.dcm", change, places))


def test_fractional_segments_are_cut_at_one_half(tmp_path):
    def fractional(data):
        data.SegmentationType, data.MaximumFractionalValue = "FRACTIONAL", 255

    found = read_segmentation(segmentation(tmp_path / "s.dcm", fractional))
    assert found.masks[1].all()
    assert found.notes == ["s.dcm: fractional segments were cut at one half."]


# --- diffusion ---

B = np.array([0.0, 200.0, 400.0, 800.0])
SIGNAL = np.tile(1000 * np.exp(-1e-3 * B), (30, 1))


@pytest.mark.parametrize(
    ("fit", "sentence"),
    [
        (lambda: ivim.fit_ivim(SIGNAL, B), "Four images leave no residual"),
        (lambda: fit_adc(SIGNAL, B, noise="poisson"), 'The noise is "rician" or'),
        (lambda: fit_adc(SIGNAL, B, method="best"), 'The method is "ml" or "wls"'),
        (lambda: noise.sigma_from_background(np.ones(50)), "At least 100 background samples"),
        (lambda: noise.sigma_from_background(np.zeros(500)), "of the background is zero"),
        (lambda: voxelwise.checked_b_values([0, 1e9 + 800]), "b-values above 100000"),
        (lambda: fit_adc(SIGNAL, B, sigma=np.ones(7)), r"sigma has shape \(7,\)"),
        (lambda: fit_adc(SIGNAL, B, mask=np.ones(7, bool)), r"The mask's shape \(7,\)"),
    ],
)
def test_fits_refuse_what_they_cannot_use(fit, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit()


def weighted(b, value, **facts):
    return image(value, f"b{b}", DiffusionBValue=b, **facts)


def test_scanners_odd_b_values_are_repaired_and_told():
    offset = [weighted(0.0, 1000), weighted(1e9 + 400, 700), weighted(1e9 + 800, 450)]
    scheme = diffusion_scheme(offset)
    assert scheme.b_values.tolist() == [0, 400, 800]
    assert scheme.notes == ["An offset of 1e9 that GE adds was taken off the b-values."]
    numbered = diffusion_scheme([weighted(0.001, 1000), weighted(0.002, 1000), weighted(800, 450)])
    assert numbered.b_values.tolist() == [0, 0, 800]
    assert "s/mm2 are taken as 0: the scanner numbers its repeats" in numbered.notes[0]
    named = {"Manufacturer": "SIEMENS", "SequenceName": "*ep_b50t"}
    low = diffusion_scheme([weighted(0, 1000, **named), weighted(800, 450)])
    assert low.b_values.tolist() == [50, 800]
    assert "b = 50 s/mm2 was written as 0; its sequence name tells it" in low.notes[0]
    adc = image(1.1, "adc", ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"])
    with_map = diffusion_scheme([weighted(0, 1000), weighted(800, 450), adc])
    assert "1 volume(s) without diffusion weighting of their own" in with_map.notes[0]
    trace = weighted(800, 450, DiffusionDirectionality="ISOTROPIC")
    directed = weighted(800, 450, DiffusionGradientOrientation=[1.0, 0, 0])
    doubled = diffusion_scheme([weighted(0, 1000), trace, directed])
    assert doubled.order.tolist() == [0, 2]
    assert "1 trace image(s) made by the scanner left out: their directions" in doubled.notes[0]
    with pytest.raises(ValueError, match=r"A b-value of 90000 s/mm2 is impossible"):
        diffusion_scheme([weighted(0, 1000), weighted(90_000, 450)])


def test_the_noise_of_diffusion_images_is_found_one_way():
    adc = DIFFUSION.recipe("adc")
    series = [weighted(b, 1000 * np.exp(-1e-3 * b)) for b in (0.0, 400.0, 800.0)]
    everywhere = image(1.0)
    with pytest.raises(ValueError, match="Give the noise or a background to measure it in"):
        adc.make(series, sigma=3.0, background=everywhere)
    with pytest.raises(ValueError, match="The noise is a number or 'repeats', not 'loud'"):
        adc.make(series, sigma="loud")
    with pytest.raises(ValueError, match="background of averaged images is not Rayleigh"):
        again = [weighted(b, 990 * np.exp(-1e-3 * b)) for b in (0.0, 400.0, 800.0)]
        adc.make([*series, *again], background=everywhere)
    with pytest.raises(ValueError, match=r"No b-value lies from 900 upward .*; there are "):
        adc.make(series, lowest_b=900.0)
    series[2].array[0, 0, 0] = -1.0
    (first, *_others) = adc.make(series, mask=image(1.0))
    said = " ".join(str(value) for value in first.provenance.values())
    assert "of the signals are below 0, which no magnitude is" in said


def test_vectors_of_one_length_are_directions(tmp_path):
    from PDFFMapperLib.diffusion.stated import scaled_by_gradients

    notes = []
    vectors = np.array([[0.0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]])
    assert scaled_by_gradients([0, 800, 800], vectors, "a.bvec", notes) == [0, 800, 800]
    assert notes == ["a.bvec: all vectors have length 0.5; taken as 1."]


# --- files ---


def test_maps_that_cannot_become_files_are_refused(tmp_path):
    one = ParametricMap(map_kind("PDFF"), image(40.0))
    with pytest.raises(ValueError, match="No maps were given to write"):
        write_maps([], tmp_path, "x")
    with pytest.raises(ValueError, match="Map names must differ to become files"):
        write_maps([one, one], tmp_path, "x")
    with pytest.raises(ValueError, match=r"Maps are written as \.nii\.gz, \.nii or \.nrrd, not"):
        write_maps([one], tmp_path, "x", ".png")


def test_images_without_a_place_and_huge_json_are_refused(tmp_path, monkeypatch):
    from PDFFMapperLib.images import json_file

    with pytest.raises(ValueError, match="voxel-to-patient matrix cannot be inverted"):
        Volume(np.ones(SHAPE), np.zeros((4, 4)), "flat")
    (tmp_path / "a.json").write_text(json.dumps({"a": list(range(50))}))
    monkeypatch.setattr(json_file, "LARGEST_BYTES", 100)
    with pytest.raises(ValueError, match="this file is too large for one"):
        json_file.read_json(tmp_path / "a.json")


# --- water and fat ---


def test_echoes_that_are_not_used_are_told():
    def part(name, value, n):
        volume = image(value + n, name, EchoTime=6.0 - 2 * n, ImageComponent=name)
        volume.array[0, 0, 0] = -value - n
        return volume

    three = [
        part(name, value, n)
        for name, value in (("real", 5.0), ("imaginary", 3.0), ("magnitude", 9.0))
        for n in range(3)
    ]
    train = echo_train(three)
    assert train.notes[:2] == [
        "Echoes were sorted by echo time.",
        "Only the real and imaginary images were used.",
    ]
    maps = [image(40.0, "w", ImageType=["DERIVED", "PRIMARY", "W"], EchoTime=1.0)]
    with pytest.raises(ValueError, match="All volumes are maps made by the scanner"):
        echo_train(maps)
    with pytest.raises(ValueError, match=r"A phase image is 3 everywhere; it holds no phase"):
        phase_in_radians([np.full(SHAPE, 3.0)])


def test_water_and_fat_images_are_magnitudes_of_one_shape():
    water = np.ones(SHAPE)
    with pytest.raises(ValueError, match=r"The water image has shape .* they must be alike"):
        fat_fraction_of_images(water, water[1:])
    with pytest.raises(ValueError, match="The fat image is complex; give its magnitude"):
        fat_fraction_of_images(water, 1j * water)
    pair = [image(60.0, "w"), image(40.0, "f")]
    with pytest.raises(ValueError, match="Give the T1 of water and of fat, or switch the T1"):
        WATER_FAT.recipe("water-fat").make(pair, correct_t1=True)


def test_fatty_acids_are_told_of_confident_voxels_alone():
    from PDFFMapperLib.water_fat.composition import fat_composition

    echoes = SimpleNamespace(echo_times_s=np.arange(1, 7) * 1e-3)
    none = SimpleNamespace(confident=np.zeros(SHAPE, bool))
    with pytest.raises(ValueError, match="The region holds no confident voxel"):
        fat_composition(echoes, none, np.ones(SHAPE, bool))


def test_a_pet_without_a_dose_says_which_element_is_missing():
    from PDFFMapperLib.dicom import suv

    with pytest.raises(ValueError, match=r"\(PatientWeight\) is missing or not above 0, so no SUV"):
        suv._positive(Dataset(), "PatientWeight", "the patient's weight")


def test_packages_that_are_missing_are_named(monkeypatch):
    from PDFFMapperLib.install import packages

    monkeypatch.setattr(packages, "missing_packages", lambda: ["numba>=0.60"])
    with pytest.raises(packages.PackagesMissing, match=r"Install with slicer\.util\.pip_install"):
        packages.require_packages("PDFFMapper")


def test_packages_that_the_user_declines_are_not_installed(monkeypatch):
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    from PDFFMapperLib.install import packages

    asked, installed = [], []
    monkeypatch.setattr(packages, "missing_packages", lambda: ["numba>=0.60"])
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", asked.append, raising=False)
    monkeypatch.setattr(slicer.util, "pip_install", installed.append, raising=False)
    with pytest.raises(packages.PackagesMissing, match=r"They were not installed\. Without int"):
        packages.ensure_packages("PDFFMapper")
    assert asked == ["PDFFMapper needs these Python packages: numba>=0.60. Install them?"]
    assert not installed


def test_typed_facts_and_nodes_that_hold_no_image_are_refused():
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from MarrowAssessLib.scene import headless

    headless.start()
    import slicer
    from PDFFMapperLib.scene.frames import frames_from_nodes
    from PDFFMapperLib.scene.mapping import set_typed_fact
    from PDFFMapperLib.scene.volumes import volume_from_node

    slicer.mrmlScene.Clear(False)
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "a table")
    with pytest.raises(ValueError, match="'a table' is no volume and no sequence of volumes"):
        frames_from_nodes([table])
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "none")
    with pytest.raises(ValueError, match="Sequence 'none' is empty"):
        frames_from_nodes([sequence])
    sequence.SetDataNodeAtValue(table, "1")
    with pytest.raises(ValueError, match="Sequence 'none' holds no volumes"):
        frames_from_nodes([sequence])
    with pytest.raises(ValueError, match=r"A component is .*, not 'color'"):
        set_typed_fact(SimpleNamespace(), "ImageComponent", "color")
    picture = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "a picture")
    slicer.util.updateVolumeFromArray(picture, np.zeros((2, 3, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="has 3 values per voxel; a scalar volume is expected"):
        volume_from_node(picture)


def test_images_whose_files_hold_none_or_a_broken_series_are_not_read_again(tmp_path):
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    from MarrowAssessLib.scene import headless

    headless.start()
    from PDFFMapperLib.scene.dicom import load_again
    from PDFFMapperLib.scene.volumes import volume_to_node

    slicer.mrmlScene.Clear(False)
    node = volume_to_node(image(1.0))
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    (tmp_path / "notes.txt").write_text("no image " * 40)
    with pytest.raises(ValueError, match="image: no DICOM image is in its files"):
        load_again([node], lambda uid: str(tmp_path / "notes.txt"))

    def flat(data, _k):
        data.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]

    slices(tmp_path, flat, count=1)
    with pytest.raises(ValueError, match=r"image: .*pixel spacing is not valid"):
        load_again([node], lambda uid: str(tmp_path / "0.dcm"))


def test_an_installation_that_left_a_package_out_is_told(monkeypatch):
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    monkeypatch.setattr(packages, "_satisfied", lambda requirement: False)
    monkeypatch.setattr(packages, "_install", lambda missing, requester: None)  # asks the network
    with pytest.raises(packages.PackagesMissing, match=r"MarrowAssess needs numba.*pip download"):
        packages.ensure_packages("MarrowAssess")


# --- what a run of the whole suite never uttered ---


def test_water_and_fat_images_and_spectra_refuse_what_they_cannot_use():
    one = np.ones(SHAPE)
    for use, said in (
        (lambda: fat_fraction_of_images(one * np.nan, one), "The water image holds no finite"),
        (
            lambda: fat_fraction_of_images(one, one, np.ones((1, 2, 3))),
            r"The mask has shape \(1, 2, 3\), the images \(3, 5, 4\); they must agree",
        ),
        (
            lambda: two_point_fat_fraction(one, one, echo_times_s=[0.0023, 0.0035]),
            "Checking in and opposed phase needs the field strength",
        ),
        (
            lambda: two_point_fat_fraction(one, one, r2star_per_s=50.0),
            "Correcting for R2* needs the echo times".replace("*", r"\*"),
        ),
        (lambda: spectrum_from_peaks([1.3, 2.1], [0, 0]), "at least one amplitude above 0"),
        (
            lambda: multi_echo(np.ones((3, *SHAPE), complex), [0.001, 0.002, 0.003], 3.0, (1, 2)),
            r"Voxel sizes in mm are expected along slices, rows and columns; \(1.0, 2.0\) was",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            use()


def test_recipes_refuse_options_that_their_images_cannot_have():
    echoes = [image(100.0 / n, f"{n}", EchoTime=float(n)) for n in (1, 2, 3)]
    with pytest.raises(ValueError, match=r"other R2. models need complex echoes; magnitudes"):
        WATER_FAT.recipe("complex").make(echoes, field_strength_t=3.0, r2star_per_s=40.0)
    with pytest.raises(ValueError, match="2 echo times are expected, in phase and opposed phase"):
        WATER_FAT.recipe("in-opposed").make(
            [image(2.0), image(1.0)], echo_times_s=[0.0023], field_strength_t=3.0
        )
    with pytest.raises(ValueError, match="No image was repeated: the noise cannot be measured"):
        DIFFUSION.recipe("adc").make(
            [image(100.0 - n, f"{n}", DiffusionBValue=400.0 * n) for n in range(3)], sigma="repeats"
        )


def test_a_diffusion_series_tells_empty_images_and_voxels_without_a_number():
    images = [image(100.0 - n, f"{n}", DiffusionBValue=400.0 * n) for n in range(3)]
    adc = DIFFUSION.recipe("adc")
    assert not any("NaN" in note for note in adc.make(images)[0].provenance["notes"])
    images[1].array[0, 0, 0] = np.nan
    notes = adc.make(images)[0].provenance["notes"]
    assert "1 voxels hold NaN or infinite values and were left out." in notes
    for value in (0.0, np.nan):
        images[1].array[:] = value
        with pytest.raises(ValueError, match="1: this image is empty, it holds no number other"):
            adc.make(images)
    alike = [image(100.0, f"{n}", DiffusionBValue=800.0) for n in range(3)]
    with pytest.raises(ValueError, match=r"at least 2 different b-values, given were 1 \(800"):
        adc.make(alike)


def test_diffusion_refuses_signals_and_lists_that_are_none(tmp_path):
    signal = np.ones((2, 2, 2, 3))
    for use, said in (
        (lambda: fit_adc(signal > 0, [0, 400, 800]), "Real numbers are expected as signals, given"),
        (lambda: fit_adc(signal, [[0, 400, 800]]), "expected as one list of numbers, given was"),
        (
            lambda: noise.sigma_from_repeats(np.random.default_rng(0).rayleigh(1, (200, 4))),
            "No voxel of the repeated images has signal above five times the noise",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            use()
    with pytest.raises(FileNotFoundError, match=r"no.bval: there is no such file"):
        read_bval(tmp_path / "no.bval")
    with pytest.raises(FileNotFoundError, match=r"no.bvec: there is no such file"):
        read_bvec(tmp_path / "no.bvec", 3)
    (tmp_path / "a.bvec").write_text("these are words")
    with pytest.raises(ValueError, match=r"a.bvec: three rows of numbers are expected"):
        read_bvec(tmp_path / "a.bvec", 3)
    (tmp_path / "b.bvec").write_text("1 0\n0 1\n0 0\n")
    with pytest.raises(ValueError, match="3 x 5 numbers are expected for 5 images, found were 3 x"):
        read_bvec(tmp_path / "b.bvec", 5)


def test_commands_refuse_numbers_that_are_none_and_images_of_two_kinds(tmp_path, capsys):
    write_volume(image(5.0), tmp_path / "a.nrrd")
    write_volume(image(3.0), tmp_path / "b.nrrd")
    files, out = [tmp_path / "a.nrrd", tmp_path / "b.nrrd"], ["--out", tmp_path / "o"]
    said = refused(capsys, "ivim", *files, "--b-values", "0,many", *out)
    assert "b-values are expected as 0,50,100,..., given was '0,many'" in said
    said = refused(capsys, "pdff", *files, "--echo-times", "1,soon", *out)
    assert "Echo times are expected as 1.2,2.4,..., given was '1,soon'" in said
    both = ["--phase", files[1], "--imaginary", files[1], "--echo-times", "1"]
    said = refused(capsys, "pdff", files[0], *both, *out)
    assert "Give phase images or imaginary parts, not both" in said
    assert "there is no such file or folder" in refused(capsys, "inspect", tmp_path / "gone")
    said = refused(capsys, "assess", "--volume", f"PDFF={files[0]}", "--scale", "PDFF=ten", *out)
    assert "'ten' is not a number" in said
    with pytest.raises(ValueError, match="Unknown quantity 'length'; expected one of"):
        sources_svg("length")


def test_images_and_resources_that_are_none():
    with pytest.raises(ValueError, match=r"flat: a 3D volume is expected, this one has 2 dim"):
        Volume(np.ones((2, 3)), np.eye(4), "flat")
    with pytest.raises(FileNotFoundError, match=r"Resources/no.json is missing from this install"):
        resource_path("PDFFMapperLib", "no.json")
    with pytest.raises(ValueError, match="no image of a BIDS data set was named; leave it out"):
        checked_source([], None)


def test_own_controls_refuse_files_and_names_that_are_none(tmp_path, monkeypatch):
    monkeypatch.setenv("MARROWASSESS_COHORTS", str(tmp_path))
    (tmp_path / "assessment.json").write_text("{half of")
    with pytest.raises(ValueError, match=r"this is no assessment; give the assessment.json"):
        own_controls.add_study(tmp_path / "assessment.json")
    with pytest.raises(ValueError, match="'--' cannot name a control cohort; use letters"):
        safe_name("--")
    (tmp_path / "odd.csv").write_text(",".join(own_controls.COLUMNS) + "\n" + "x," * 5 + "y\n")
    with pytest.raises(ValueError, match="this is not a stored list of controls; remove it or"):
        own_controls._rows(tmp_path / "odd.csv", 0)


def test_segmentations_refuse_what_names_no_segment(tmp_path):
    write_volume(image(1.0), tmp_path / "plain.seg.nrrd")
    with pytest.raises(ValueError, match="this file holds no named segment; give a label map"):
        regions_from_segmentation(tmp_path / "plain.seg.nrrd")
    flat = sitk.GetImageFromArray(PIXELS)
    sitk.WriteImage(flat, tmp_path / "flat.seg.nrrd")
    with pytest.raises(ValueError, match="a 3D segmentation is expected, this one is 2D"):
        regions_from_segmentation(tmp_path / "flat.seg.nrrd")
    named = sitk.GetImageFromArray(PIXELS[None])
    for key, value in (("Name", "L3 marrow"), ("LabelValue", "1"), ("Layer", "-1")):
        named.SetMetaData(f"Segment0_{key}", value)
    sitk.WriteImage(named, tmp_path / "named.seg.nrrd")
    with pytest.raises(ValueError, match="segment 'L3 marrow' has no valid label or layer"):
        regions_from_segmentation(tmp_path / "named.seg.nrrd")


def test_a_study_of_nothing_is_none():
    with pytest.raises(ValueError, match="No volume was given; name at least one, such as T1="):
        read_study({})


def test_regions_of_one_study_lie_on_one_grid(tmp_path):
    write_volume(image(100.0), tmp_path / "t1.nii.gz")
    apart = image(1)
    apart.ijk_to_ras[0, 3] = 9.0
    write_volume(apart.with_array(apart.array.astype(np.uint8)), tmp_path / "labels.nii.gz")
    named = sitk.GetImageFromArray(np.ones(SHAPE, np.uint8))
    named.SetSpacing((1, 1, 2))
    for key, value in (("Name", "L3 marrow"), ("LabelValue", "1"), ("Layer", "0")):
        named.SetMetaData(f"Segment0_{key}", value)
    sitk.WriteImage(named, tmp_path / "drawn.seg.nrrd")
    labels = {"labels": tmp_path / "labels.nii.gz", "rules": [parse_label_rule("1=marrow:L3")]}
    for more in (
        {"segmentation": tmp_path / "drawn.seg.nrrd"},
        {"segment_with": "totalspineseg"},
        {"column": "auto"},
    ):
        with pytest.raises(ValueError, match=r"is on another voxel grid than labels.*--resample"):
            read_study({Contrast.T1: tmp_path / "t1.nii.gz"}, **labels, **more)


def test_b_values_beside_an_image_that_do_not_fit_it_are_told_in_its_line(tmp_path):
    write_volume(image(1.0), tmp_path / "dwi.nii.gz")
    (tmp_path / "dwi.bval").write_text("0 100 800")
    (found,) = inventory(tmp_path).series
    assert "dwi.bval: 3 b-values are in it for 1 images of dwi.nii.gz" in " ".join(found.notes)


def test_folders_refuse_two_diffusion_series_and_a_broken_one(tmp_path):
    folder = tmp_path / "bids" / "sub-01" / "dwi"
    folder.mkdir(parents=True)
    (tmp_path / "bids" / "dataset_description.json").write_text('{"Name": "x"}')
    for direction in ("AP", "PA"):
        write_volume(image(1.0), folder / f"sub-01_dir-{direction}_dwi.nii.gz")
    with pytest.raises(ValueError, match="2 diffusion images are here; name one of them"):
        read_diffusion([tmp_path / "bids"])

    def gone(data, k):
        data.DiffusionBValue = 800.0
        if k == 1:
            data.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]

    (tmp_path / "dicom").mkdir()
    broken = slices(tmp_path / "dicom", gone)
    with pytest.raises(ValueError, match=r"the folder: .*pixel spacing is not valid"):
        diffusion_volumes([broken])


def test_a_distribution_cannot_be_learned_from_voxels_that_do_not_fit():
    b_values = np.array([0.0, 20, 50, 100, 200, 400, 800])
    signal = np.where(b_values == 0, 1e-9, 1e9) * np.ones((3, 1))
    with pytest.raises(ValueError, match="there is nothing to learn a distribution from"):
        fit_ivim_hierarchical(signal, b_values)


def test_a_repeat_lies_on_the_grid_of_its_echoes():
    echoes = [image(100.0, f"te{te}", EchoTime=te) for te in (0.05, 2.2)]
    moved = Volume(echoes[0].array, np.eye(4), "again")
    with pytest.raises(ValueError, match=r"again .* is on another voxel grid than UTE"):
        UTE.recipe("porosity-index").make(echoes, repeat=moved)


def test_statistics_of_an_image_without_numbers_name_it():
    drawn = [Region.from_mask("L3 marrow", Role.MARROW, "L3", np.ones(SHAPE, bool))]
    book = Book({Contrast.T1: image(np.nan, "empty")}, {}, drawn, drawn, Settings())
    with pytest.raises(ValueError, match="empty: "):
        book.statistics(QUANTITIES["vbq"], drawn[0], Contrast.T1)


def test_enhanced_frames_refuse_a_header_that_was_cut(tmp_path):
    path = enhanced(tmp_path / "cut.dcm", [(n, PIXELS, {}) for n in range(2)])
    cut = dcmread(path, stop_before_pixels=True)
    cut.NumberOfFrames = len(cut.PerFrameFunctionalGroupsSequence) + 3
    with pytest.raises(ValueError, match=r"describes \d+ of \d+ frames; the file may be truncated"):
        list(flattened_frames(cut))
    del cut.NumberOfFrames, cut.PerFrameFunctionalGroupsSequence
    assert "ImagePositionPatient" not in cut
    with pytest.raises(ValueError, match="it does not say where in the patient it lies"):
        frames_of_file(path, cut)
