"""PDFF and R2* maps that scanners make, with the scale that their headers give.

The headers follow what each vendor writes: a rescale slope, a real world value mapping, a unit in
the rescale type, or none of them; Philips keeps all products of mDIXON Quant in one series.
"""

import numpy as np
import pytest
from dicom_files import classic_slice, enhanced
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.sources.volume_source import read_source
from MarrowAssessLib.study.map_scale import in_stated_unit, scale_advice
from PDFFMapperLib.dicom.folder import read_dicom_folder
from pydicom.dataset import Dataset
from pydicom.filereader import dcmread
from pydicom.sequence import Sequence

PDFF = np.tile([0.0, 20.0, 45.0, 80.0], (5, 1))
R2STAR = np.tile([30.0, 60.0, 120.0, 300.0], (5, 1))
FAT_FRACTION = ["DERIVED", "PRIMARY", "DIXON", "FAT_FRACTION"]
IDEAL_IQ = ["DERIVED", "SECONDARY"]  # told by the series description alone


def real_world(slope, intercept=0.0, unit=""):
    mapping, code = Dataset(), Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = slope, intercept
    mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = 0, 4095
    if unit:
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = unit, "UCUM", unit
        mapping.MeasurementUnitsCodeSequence = Sequence([code])
    return {"RealWorldValueMappingSequence": Sequence([mapping])}


def rescaled(slope, unit, intercept=0.0):
    return {"RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": unit}


def in_unit(folder, contrast):
    volume, _ = in_stated_unit(read_source(folder, contrast), contrast)
    assert not scale_advice(volume, contrast)
    return volume.array


VENDORS = {
    "q-Dixon, slope": ("SIEMENS", FAT_FRACTION, "qdixon_FF", 10, rescaled(0.1, "%")),
    "q-Dixon, real world": ("SIEMENS", FAT_FRACTION, "qdixon_FF", 10, real_world(0.1, 0, "%")),
    "q-Dixon, slope of the picture beside the real world": (
        "SIEMENS", FAT_FRACTION, "qdixon_FF", 10, rescaled(1, "US") | real_world(0.1, 0, "1"),
    ),
    "IDEAL-IQ, percent": ("GE MEDICAL SYSTEMS", IDEAL_IQ, "FatFrac: IDEAL IQ", 1, {}),
    "IDEAL-IQ, slope": ("GE MEDICAL SYSTEMS", IDEAL_IQ, "FatFrac: IDEAL IQ", 10,
                        rescaled(0.1, "%")),
    "IDEAL-IQ, per mille": ("GE MEDICAL SYSTEMS", FAT_FRACTION, "FatFrac: IDEAL IQ", 10,
                            {"RescaleType": "permille"}),
    "mDIXON Quant, combined rescaling": (
        "Philips", ["DERIVED", "PRIMARY", "FF", "FF", "DERIVED"], "mDIXON_Quant", 20,
        rescaled(1, "normalized") | real_world(0.05, 0, "%"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_fat_fraction_is_in_percent(tmp_path, vendor):
    maker, kind, description, factor, scale = VENDORS[vendor]
    facts = {"Manufacturer": maker, "ImageType": kind, "SeriesDescription": description}
    for k in range(3):
        stored = np.rint(PDFF * factor).astype(np.uint16)
        classic_slice(tmp_path, f"{k}", k, stored, series="1.2", **facts, **scale)
    np.testing.assert_allclose(in_unit(tmp_path, Contrast.PDFF)[1], PDFF, atol=1e-4)


def test_a_fat_fraction_without_any_scale_is_refused_with_its_factor(tmp_path):
    """q-Dixon of older software stores ten times the percentage and says so nowhere."""
    for k in range(3):
        stored = (10 * PDFF).astype(np.uint16)
        classic_slice(tmp_path, f"{k}", k, stored, series="1.2", ImageType=FAT_FRACTION)
    volume, said = in_stated_unit(read_source(tmp_path, Contrast.PDFF), Contrast.PDFF)
    assert not said and scale_advice(volume, Contrast.PDFF).endswith("--scale PDFF=0.1.")


@pytest.mark.parametrize(
    ("maker", "kind", "description", "factor", "scale"),
    [
        ("SIEMENS", ["DERIVED", "PRIMARY", "DIXON", "R2_STAR"], "qdixon_R2s", 1, {}),
        ("SIEMENS", ["DERIVED", "PRIMARY", "DIXON", "R2_STAR"], "qdixon_R2s", 10,
         real_world(0.1, 0, "1/s")),
        ("GE MEDICAL SYSTEMS", IDEAL_IQ, "R2*: IDEAL IQ", 1, rescaled(1, "Hz")),
        ("GE MEDICAL SYSTEMS", IDEAL_IQ, "R2*: IDEAL IQ", 1, rescaled(0.001, "1/ms")),
        ("Philips", ["DERIVED", "PRIMARY", "R2_STAR", "R2_STAR", "DERIVED"], "mDIXON_Quant", 4,
         rescaled(0.25, "Hz")),
    ],
)  # fmt: skip
def test_r2star_is_per_second(tmp_path, maker, kind, description, factor, scale):
    facts = {"Manufacturer": maker, "ImageType": kind, "SeriesDescription": description}
    for k in range(3):
        stored = np.rint(R2STAR * factor).astype(np.uint16)
        classic_slice(tmp_path, f"{k}", k, stored, series="1.2", **facts, **scale)
    np.testing.assert_allclose(in_unit(tmp_path, Contrast.R2STAR)[1], R2STAR, rtol=1e-5)


@pytest.fixture
def quant(tmp_path):
    """mDIXON Quant as Philips sends it: water, fat and maps in one series, each with its scale."""
    water = np.rint(1000 - 10 * PDFF)
    products = {
        "W": (water, rescaled(1.5, "normalized"), 0.012),
        "F": (1000 - water, rescaled(2.5, "normalized"), 0.02),
        "FF": ((PDFF + 100) / 0.05, rescaled(0.05, "%", -100.0), 3.0),
        "R2_STAR": (R2STAR / 0.25, rescaled(0.25, "Hz"), 0.5),
        "T2_STAR": (10 * 1000 / R2STAR, rescaled(0.1, "ms"), 0.7),
    }
    for word, (stored, scale, slope) in products.items():
        for k in range(3):
            path = classic_slice(
                tmp_path, f"{word}{k}", k, np.rint(stored).astype(np.uint16), series="1.2",
                Manufacturer="Philips", SeriesDescription="mDIXON_Quant",
                ImageType=["DERIVED", "PRIMARY", word, word, "DERIVED"], **scale,
            )  # fmt: skip
            data = dcmread(path)
            data.add_new((0x2005, 0x10), "LO", "PHILIPS MR IMAGING DD 001")
            data.add_new((0x2005, 0x100E), "FL", slope)
            data.save_as(path)
    return tmp_path


def test_maps_keep_their_unit_beside_images_of_another_scale(quant):
    """The scale slope (2005,100E) is for images: of a map it would make another number."""
    np.testing.assert_allclose(in_unit(quant, Contrast.PDFF)[1], PDFF, atol=1e-3)
    np.testing.assert_allclose(in_unit(quant, Contrast.R2STAR)[1], R2STAR, rtol=1e-5)
    (series,) = read_dicom_folder(quant)
    named = {volume.name.partition("(")[2].partition(",")[0]: volume for volume in series.contents}
    assert set(named) == {"water", "fat", "pdff", "r2star", "t2star"}
    np.testing.assert_allclose(named["t2star"].read().array[1], 1000 / R2STAR, rtol=0.02)
    # As measured: stored over the scale slope, of both images alike.
    water, fat = (named[one].read().array[1] for one in ("water", "fat"))
    np.testing.assert_allclose(water, (1000 - 10 * PDFF) / 0.012, rtol=1e-5)
    np.testing.assert_allclose(fat, 10 * PDFF / 0.02, rtol=1e-5)
    assert any("brought to one scale with the scale slope" in note for note in series.notes)


def test_frames_of_an_enhanced_object_are_read_by_their_own_mapping(tmp_path):
    stored = (20 * PDFF).astype(np.uint16)
    path = enhanced(tmp_path / "e.dcm", [(k, stored, {"slope": 1}) for k in range(3)])
    data = dcmread(path)
    data.ImageType = ["DERIVED", "PRIMARY", "FF", "FF"]
    for group in data.PerFrameFunctionalGroupsSequence:
        group.MRImageFrameTypeSequence[0].FrameType = ["DERIVED", "PRIMARY", "FF", "FF"]
        mapping = real_world(0.05, 0.0, "%")["RealWorldValueMappingSequence"]
        group.RealWorldValueMappingSequence = mapping
    data.save_as(path)
    np.testing.assert_allclose(in_unit(tmp_path, Contrast.PDFF)[1], PDFF, atol=1e-4)


def test_images_keep_the_scale_of_the_picture(tmp_path):
    """A real world mapping of an image without unit says nothing: echoes stay as they were."""
    for k in range(3):
        classic_slice(tmp_path, f"{k}", k, np.full((5, 4), 100, np.uint16), series="1.2",
                      **rescaled(2, "normalized"), **real_world(0.5, 7.0, "1"))  # fmt: skip
    (series,) = read_dicom_folder(tmp_path)
    assert (series.contents[0].read().array == 200).all()


@pytest.mark.parametrize(("highest", "told"), [(0.9, True), (1.4, True), (1.6, False)])
def test_no_tissue_decays_as_slowly_as_a_map_in_1_per_ms_says(oblique_volume, highest, told):
    array = np.linspace(0.02, highest, oblique_volume.array.size)
    said = scale_advice(
        oblique_volume.with_array(array.reshape(oblique_volume.array.shape)), Contrast.R2STAR
    )
    assert bool(said) is told
