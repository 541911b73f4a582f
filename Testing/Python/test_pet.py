"""SUV of PET from the header: formulas by hand, what is refused or assumed, reference objects."""

import zipfile

import numpy as np
import pytest
from dicom_files import classic_slice
from PDFFMapperLib.dicom.folder import read_dicom_folder
from PDFFMapperLib.dicom.selection import read_source
from PDFFMapperLib.dicom.series_role import guess_role
from PDFFMapperLib.dicom.suv import suv
from PDFFMapperLib.images.files import read_volume
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

PET = "1.2.840.10008.5.1.4.1.1.128"
HALF_LIFE_S = 6586.0
DOSE_BQ = 3.5e8
# An hour after the injection.
DECAYED = DOSE_BQ * 2 ** (-3600 / HALF_LIFE_S)


def injection(**changes):
    """What is said of the injection."""
    nuclide = Dataset()
    nuclide.CodeValue, nuclide.CodingSchemeDesignator = "C-111A1", "SRT"
    given = Dataset()
    facts = {
        "RadionuclideTotalDose": DOSE_BQ,
        "RadionuclideHalfLife": HALF_LIFE_S,
        "RadiopharmaceuticalStartTime": "100000.00",
        "RadionuclideCodeSequence": Sequence([nuclide]),
    }
    for keyword, value in (facts | changes).items():
        if value is not None:
            setattr(given, keyword, value)
    return Sequence([given])


def header(given=None, **changes):
    """A slice of an FDG series that is corrected to 11:00."""
    one = Dataset()
    facts = {
        "Manufacturer": "ACME",
        "Units": "BQML",
        "DecayCorrection": "START",
        "CorrectedImage": ["DECY", "ATTN", "SCAT"],
        "SeriesType": ["WHOLE BODY", "IMAGE"],
        "PatientWeight": 70,
        "PatientSize": 1.75,
        "PatientSex": "M",
        "SeriesDate": "20240105",
        "SeriesTime": "110000",
        "AcquisitionDate": "20240105",
        "AcquisitionTime": "110000",
        "RescaleIntercept": 0,
        "RadiopharmaceuticalInformationSequence": given or injection(),
    }
    for keyword, value in (facts | changes).items():
        if value is not None:
            setattr(one, keyword, value)
    return one


def factor(*arguments, **changes):
    return suv([header(*arguments, **changes)]).factors[0]


# --- formulas by hand ---


def test_activity_is_divided_by_what_is_left_of_the_injection():
    assert factor() == pytest.approx(70_000 / DECAYED)
    assert factor(DecayCorrection="ADMIN") == pytest.approx(70_000 / DOSE_BQ)


def test_without_decay_correction_each_slice_has_its_own_time():
    later = {"DecayCorrection": "NONE", "CorrectedImage": ["ATTN"], "ActualFrameDuration": 120_000}
    found = suv([header(**later), header(**later, AcquisitionTime="113000")]).factors
    decay = np.log(2) / HALF_LIFE_S
    mean = (1 - np.exp(-decay * 120)) / (decay * 120)  # of the activity within a frame
    expected = 70_000 / DOSE_BQ * np.exp(decay * np.array([3600, 5400])) / mean
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_time_of_correction_is_asked_in_order():
    # Series time after all acquisitions (a copy that was made later): frame times say it.
    frames = {"FrameReferenceTime": 0, "ActualFrameDuration": 1, "SeriesTime": "150000"}
    assert factor(**frames) == pytest.approx(70_000 / DECAYED, rel=1e-6)
    # A stated time wins, and a disagreement is said.
    stated = {**frames, "DecayCorrectionDateTime": "20240105120000.00"}
    found = suv([header(**stated)])
    left = DOSE_BQ * 2 ** (-7200 / HALF_LIFE_S)
    assert found.factors[0] == pytest.approx(70_000 / left)
    assert "say otherwise by up to 3600 s" in found.notes[0]
    vendor = header()
    block = vendor.private_block(0x0009, "GEMS_PETD_01", create=True)
    block.add_new(0x0D, "DT", "20240105120000.00")
    assert suv([vendor]).factors[0] == pytest.approx(70_000 / left)
    # A series time between the beds is no start of the scan, either.
    beds = [header(**{**frames, "SeriesTime": "110500", "AcquisitionTime": t})
            for t in ("110000", "111000")]  # fmt: skip
    assert suv(beds).factors[0] == pytest.approx(70_000 / DECAYED, rel=1e-6)


def test_times_without_seconds_are_times():
    assert factor(SeriesTime="1100") == pytest.approx(70_000 / DECAYED)
    given = injection(RadiopharmaceuticalStartTime="1000")
    assert factor(given) == pytest.approx(70_000 / DECAYED)


def test_an_injection_before_midnight():
    late = injection(RadiopharmaceuticalStartTime="233000")
    found = factor(late, SeriesTime="003000", AcquisitionTime="003000")
    assert found == pytest.approx(70_000 / DECAYED)


def test_other_units():
    assert factor(Units="GML", SUVType="BW") == 1
    lean = 9270 * 70 / (6680 + 216 * 70 / 1.75**2)
    assert factor(Units="GML", SUVType="LBMJANMA") == pytest.approx(70 / lean)
    surface = 0.007184 * 175**0.725 * 70**0.425 * 1e4
    assert factor(Units="CM2ML") == pytest.approx(70_000 / surface)
    counts = header(Units="CNTS", Manufacturer="Philips")
    counts.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0, "DS", "0.002")
    assert suv([counts]).factors[0] == pytest.approx(0.002)
    counts = header(Units="CNTS", Manufacturer="Philips")  # its creator was taken away
    counts.add_new((0x7053, 0x1009), "DS", "1.5")
    assert suv([counts]).factors[0] == pytest.approx(1.5 * 70_000 / DECAYED)


@pytest.mark.parametrize(
    ("changes", "given", "words"),
    [
        ({"Units": "GML", "SUVType": None}, {}, "taken as SUV by body weight"),
        ({"PatientWeight": 70_000}, {}, "a weight of 70000 was taken as g"),
        ({}, {"RadionuclideTotalDose": 350.0}, "an injected activity of 350 was taken as MBq"),
        ({"Units": "CM2ML", "PatientSize": 175}, {}, "a height of 175 was taken as cm"),
        (
            {"Units": "GML", "SUVType": "IBW", "PatientSex": "O"},
            {},
            "sex is not known; the mean of both formulas is taken",
        ),
    ],
)
def test_what_is_assumed_is_said(changes, given, words):
    found = suv([header(injection(**given), **changes)])
    assert any(words in note for note in found.notes)


def test_a_height_in_cm_is_that_in_m():
    of_cm, of_m = (suv([header(Units="CM2ML", PatientSize=size)]) for size in (175, 1.75))
    assert of_cm.factors == pytest.approx(of_m.factors)


@pytest.mark.parametrize(
    ("changes", "given", "words"),
    [
        ({"CorrectedImage": ["DECY"]}, {}, "not corrected for attenuation"),
        ({"CorrectedImage": ["ATTN"]}, {}, "but the list of corrections has none"),
        ({"SeriesType": ["DYNAMIC", "IMAGE"]}, {}, "a dynamic or gated series"),
        ({"RescaleIntercept": -5}, {}, "a rescale intercept is not 0"),
        ({"Units": "PROPCNTS"}, {}, "its units are 'PROPCNTS'; SUV is made of BQML"),
        ({"Units": "CNTS"}, {}, "without Philips' factors"),
        ({"Units": "GML", "SUVType": "HALF"}, {}, "an SUV of type 'HALF' is not known"),
        ({"DecayCorrection": "LATER"}, {}, "its decay correction is 'LATER'"),
        ({"PatientWeight": None}, {}, "the patient's weight (PatientWeight) is missing"),
        ({}, {"RadionuclideTotalDose": 0.0}, "the injected activity (RadionuclideTotalDose)"),
        ({}, {"RadionuclideHalfLife": 4057.0}, "the nuclide's is 6586 s"),
        ({}, {"RadiopharmaceuticalStartTime": None}, "the time of injection (0018,1072)"),
        ({}, {"RadiopharmaceuticalStartTime": "110000"}, "are told for 0 min after"),
        ({}, {"RadiopharmaceuticalStartTime": "120000"}, "10 min to 4 half-lives (439 min)"),
        ({"SeriesTime": "150000"}, {}, "no element says which time its decay is corrected to"),
        (
            {"DecayCorrection": "NONE", "AcquisitionTime": None, "CorrectedImage": ["ATTN"]},
            {},
            "its acquisition time is missing",
        ),
    ],
)
def test_what_gives_no_suv_is_refused(changes, given, words):
    import re

    with pytest.raises(ValueError, match=re.escape(words)):
        suv([header(injection(**given), **changes)])
    if "PatientWeight" in changes:
        with pytest.raises(ValueError, match="nothing is said of the injection"):
            bare = header()
            del bare.RadiopharmaceuticalInformationSequence
            suv([bare])


# --- series ---


def write_pet(folder, places, names=None):
    """Slices at places along the slab (slice numbers), with a slope that makes their SUV k + 1."""
    series, weight = generate_uid(), DECAYED / 1000
    for n, k in enumerate(places):
        facts = {e.keyword: e.value for e in header() if e.keyword and e.keyword != "PatientSex"}
        facts |= {"Modality": "PT", "SeriesDescription": "FDG", "InstanceNumber": n + 1}
        facts |= {"RescaleSlope": weight / 70 * (k + 1) / 100, "sop_class": PET, "series": series}
        pixels = np.full((6, 5), 100, np.int16)
        classic_slice(folder, f"{names[n] if names else n}.dcm", k, pixels, **facts)


def test_slices_in_any_order_of_files_and_numbers_are_the_same_image(tmp_path):
    write_pet(tmp_path, [2, 0, 3, 1], names=["b", "d", "a", "c"])
    volume = read_source(tmp_path)
    for k in range(4):
        np.testing.assert_allclose(volume.array[k], k + 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([0, 1, 2, 4, 5, 6], "mm apart"),  # one is missing
        ([0, 1, 1, 2, 3], "taken more often"),  # one twice
    ],
)
def test_missing_and_doubled_slices_of_a_pet_are_refused_by_name(tmp_path, places, words):
    write_pet(tmp_path, places)
    with pytest.raises(ValueError, match=words):
        read_source(tmp_path)


def test_a_pet_without_the_scale_of_its_values_is_refused(tmp_path):
    write_pet(tmp_path, [0, 1, 2])
    assert read_source(tmp_path).array.shape[0] == 3
    path = sorted(tmp_path.iterdir())[1]
    data = dcmread(path)
    mapping = Dataset()  # is heard of parametric maps alone
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = float(data.RescaleSlope), 0.0
    del data.RescaleSlope
    for mappings in ([], [mapping]):
        data.RealWorldValueMappingSequence = Sequence(mappings)
        data.save_as(path)
        with pytest.raises(ValueError, match="PET: a slice has no rescale slope"):
            read_source(tmp_path)


def test_a_bed_join_that_is_a_little_off_is_interpolated_and_said(tmp_path):
    write_pet(tmp_path, [0, 1, 2, 2.976, 3.976])
    volume = read_source(tmp_path)
    assert len(volume.array) == 5 and any("mm apart" in note for note in volume.notes)


def test_a_series_is_read_as_suv(tmp_path):
    write_pet(tmp_path, range(4))
    volume = read_source(tmp_path)
    for k in range(4):  # a slope of its own for each slice
        np.testing.assert_allclose(volume.array[k], k + 1, rtol=1e-5)
    assert volume.attributes["Units"] == "g/ml"
    assert guess_role(volume.attributes) == "suv"


def test_the_seventeen_reference_objects(shared, tmp_path):
    """Sphere 4.00, cold .20, background 1.00 (Vacha et al., CC BY 4.0)."""
    folder = shared / "cases" / "ct_pet" / "suv_reference_objects"
    region = read_volume(folder / "DRO_mask.nii.gz").array > 0
    files = sorted(folder.glob("DRO_*.zip"))
    assert len(files) == 17
    for file in files:
        with zipfile.ZipFile(file) as archive:
            archive.extractall(tmp_path / file.stem)
        (series,) = read_dicom_folder(tmp_path / file.stem)
        values = series.volumes[0].array[region]
        found = [values.min(), np.median(values), values.max()]
        # DRO_2_3 stores steps of .038, cut off.
        close = 0.025 if file.stem == "DRO_2_3" else 0.005
        np.testing.assert_allclose(found, [0.2, 1.0, 4.0], atol=close, err_msg=file.stem)


def test_a_real_series_equals_its_published_conversion(shared):
    """Soft-tissue sarcoma, Vallieres 2015 (CC BY 3.0): 59 cropped slices converted by others."""
    folder = shared / "cases" / "ct_pet" / "sts_001_petct_mr"
    (ours,) = read_dicom_folder(folder / "FDG_PET_raw")
    (theirs,) = read_dicom_folder(folder / "ibsi_PET")
    whole, cropped = ours.volumes[0], theirs.volumes[0]
    assert round(float(whole.array.max()), 2) == 66.52
    assert "which is not followed" in whole.notes[0]
    same = whole.array[:59, 45 : 45 + 43, 59 : 59 + 41]
    assert np.abs(same - cropped.array).max() <= 0.001


def test_real_slices_of_a_maker_that_is_not_named(shared):
    folder = shared / "cases" / "ct_pet" / "acrin_flt_two_slices"
    static, dynamic = (
        dcmread(folder / name, stop_before_pixels=True) for name in ("1.dcm", "2.dcm")
    )
    assert suv([static]).factors[0] > 0
    with pytest.raises(ValueError, match="a dynamic or gated series"):
        suv([dynamic])
    dynamic.SeriesType = ["WHOLE BODY", "IMAGE"]  # injected when the series began
    with pytest.raises(ValueError, match="are told for 0 min after the injection"):
        suv([dynamic])


# --- facts beside the factors ---


def test_what_the_header_tells_beside_the_factor():
    named = injection(RadiopharmaceuticalStartTime="1000")  # hours and minutes alone
    named[0].Radiopharmaceutical = "FDG -- fluorodeoxyglucose"
    found = suv([header(named)])
    assert found.factors[0] == pytest.approx(70_000 / DECAYED)
    lean = 9270 / (6680 + 216 * 70 / 1.75**2)
    assert found.facts == {
        "Tracer": "FDG",
        "RadionuclideHalfLife": HALF_LIFE_S,
        "ActivityPerWeight": 5.0,
        "UptakeTime": 60.0,
        "LeanBodyShare": pytest.approx(lean, abs=1e-4),
        "LeanBodyShareJames": pytest.approx(1.10 - 128 * 70 / 175**2, abs=1e-4),
    }
    named[0].Radiopharmaceutical = "68Ga-PentixaFor"
    assert suv([header(named)]).facts["Tracer"] == "Pentixafor"
    assert suv([header()]).facts["Tracer"] == ""
    woman = suv([header(PatientSex="F")]).facts["LeanBodyShare"]
    assert woman == pytest.approx(9270 / (8780 + 244 * 70 / 1.75**2), abs=1e-4)
    james = suv([header(PatientSex="F")]).facts["LeanBodyShareJames"]
    assert james == pytest.approx(1.07 - 148 * 70 / 175**2, abs=1e-4)  # 51.2 kg of 70
    unknown = suv([header(PatientSex="O")])
    assert unknown.facts["LeanBodyShare"] == pytest.approx((lean + woman) / 2, abs=1e-4)
    assert "the mean of both formulas is taken" in unknown.notes[0]
    bare = suv([header(Units="GML", SUVType="BW", PatientSize=None)])
    assert "LeanBodyShare" not in bare.facts


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"DecayCorrection": "NONE"}, "'NONE', but the list of corrections has one"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "it is a projection"),
    ],
)
def test_headers_that_contradict_themselves_or_are_no_slices(changes, words):
    with pytest.raises(ValueError, match=words):
        suv([header(**changes)])


def test_a_missing_list_of_corrections_is_said():
    assert "no list of corrections" in suv([header(CorrectedImage=None)]).notes[0]


def test_a_slice_without_philips_factor_is_no_zero():
    one, other = (header(Units="CNTS", Manufacturer="Philips") for _ in range(2))
    one.add_new((0x7053, 0x1000), "DS", "0.002")
    with pytest.raises(ValueError, match="in every slice"):
        suv([one, other])
