"""A spectrum beside a PDFF map in its voxel and beside the levels: in words, with what differs."""

from dataclasses import replace

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.findings.assessment import assess
from MarrowAssessLib.findings.verdict import notes
from MarrowAssessLib.measures.spectrum_and_map import beside_map
from MarrowAssessLib.measures.spectrum_place import elsewhere
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.spectroscopy.recipe import MRS
from PDFFMapperLib.spectroscopy.simulate import Truth, simulated
from PDFFMapperLib.spectroscopy.spectrum import Spectrum

TURN = np.deg2rad(30)
BOX = np.array(
    [
        [15 * np.cos(TURN), -15 * np.sin(TURN), 0, 4.0],
        [15 * np.sin(TURN), 15 * np.cos(TURN), 0, -3.0],
        [0, 0, 20.0, 10.0],
        [0, 0, 0, 1],
    ]
)
TE = (15.0, 25.0, 35.0)


def analysis(te=TE, tr_ms=6000.0, **settings):
    """A spectrum of a truth of 40 %."""
    series = simulated(Truth(), te, 800.0, np.random.default_rng(2), points=512)
    spectra = [
        Spectrum(
            fid[None, None], "x", 5e-4, 123.2, one, tr_ms, sequence="PRESS", sense=1, voxel_ras=BOX
        )
        for fid, one in zip(series.fids, te, strict=True)
    ]
    return MRS.measure(spectra, **settings)


def pdff_map(inside=40.0, outside=90.0, **attributes):
    """A map of 2 mm voxels: one fat fraction in the spectrum's turned box, another around it."""
    to_ras = np.diag([2.0, 2.0, 2.0, 1.0])
    to_ras[:3, 3] = -30.0, -30.0, -30.0
    k, j, i = np.indices((40, 40, 40))
    places = np.tensordot(to_ras, np.stack([i, j, k, np.ones_like(i)]), axes=1)
    unit = np.tensordot(np.linalg.inv(BOX), places, axes=1)[:3]
    array = np.where(np.all(np.abs(unit) <= 0.5, axis=0), inside, outside)
    array = array + np.random.default_rng(0).normal(0, 1.5, array.shape)
    return Volume(array, to_ras, "PDFF", attributes)


@pytest.fixture(scope="module")
def three():
    return analysis()


def test_both_agree_where_the_map_has_the_same_in_the_voxel(three):
    found = beside_map("L3", three, pdff_map())
    assert not found.apart
    assert found.text.startswith("L3: over the spectrum's voxel the PDFF map has 39.9 %")
    assert found.text.endswith("no further apart than both intervals explain.")


def test_where_they_differ_it_says_by_how_much_and_why(three):
    table = [[-3.0] * 11, [1.0] * 11]
    plain = beside_map("L3", three, pdff_map(44.0))
    assert plain.apart
    assert "points more, further apart than both intervals explain" in plain.text
    assert "the map's fat spectrum (not known), by which PDFF may be some points off" in plain.text
    assert "the box of fat, which lies apart from water's" in plain.text
    assert "T1" not in plain.text and "T2" not in plain.text and "the noise" not in plain.text
    told = beside_map(
        "L3", three,
        pdff_map(36.0, FatSpectrum="ren_marrow", FatSpectrumError=table, FlipAngle=8.0,
                 RepetitionTime=9.0),
    )  # fmt: skip
    assert "points less" in told.text
    assert "(ren_marrow), by which alone its PDFF may be -1.0 to 3.0 points off" in told.text
    assert "T1, by which 8 degrees at TR 9 ms weight the map" in told.text


@pytest.mark.parametrize("mixed", [False, True])
def test_what_varies_within_the_voxel_hides_no_difference(three, mixed):
    """The median of a gradient or of two tissues has no interval or a wide one; the mean has."""
    for percent, apart in ((40.0, False), (46.0, True)):
        pdff = pdff_map(percent)
        k, j, i = np.indices(pdff.array.shape)
        inside = pdff.array < 70
        varies = 15.0 * (-1) ** (i + j + k) if mixed else 2.0 * k
        pdff.array[inside] += (varies - varies[inside].mean())[inside]
        found = beside_map("L3", three, pdff)
        assert found.apart == apart
        assert "nan" not in found.text


def test_what_the_spectrum_leaves_uncorrected_is_named():
    one = analysis((30.0,), 1500.0, bandwidths_hz=[4000.0] * 3)
    found = beside_map("L3", one, pdff_map(40.0))
    assert found.apart  # water has decayed more than fat at 30 ms
    assert "T2, not corrected in the spectrum (TE 30 ms)" in found.text
    assert "T1, not corrected in the spectrum (the repetition time is 1500 ms)" in found.text
    assert "the box of fat" not in found.text
    one.fitted.ratio = 3.0
    assert "which leaves 3.0 times the noise" in beside_map("L3", one, pdff_map(40.0)).text


def test_a_voxel_that_the_map_does_not_hold_is_not_compared(three):
    cut = pdff_map()
    cut.array[cut.array < 60] = np.nan
    assert "in 0 % of the spectrum's voxel" in beside_map("L3", three, cut).text
    away = replace(three, voxel_ras=BOX + _moved(500.0))
    assert "so the two are not compared" in beside_map("L3", away, pdff_map()).text
    half = beside_map("L3", replace(three, voxel_ras=BOX + _moved(45.0)), pdff_map())
    assert not half.apart and " % of the spectrum's voxel" in half.text
    assert beside_map("L3", replace(three, voxel_ras=None), pdff_map()) is None
    assert beside_map("L3", replace(three, values=[]), pdff_map()) is None


def _moved(mm):
    return np.array([[0, 0, 0, mm], [0] * 4, [0] * 4, [0] * 4])


def test_an_assessment_says_it(three):
    for percent, differ in ((40.0, False), (50.0, True)):
        pdff = pdff_map(percent)
        marrow = Region.from_mask("L3 marrow", Role.MARROW, "L3", pdff.array < 70)
        study = Study({Contrast.PDFF: pdff}, [marrow], 34.0, "M", spectra={"L3": three})
        found = assess(study)
        told = {one.measurement.quantity: one.measurement for one in found.results}
        assert {"marrow_pdff", "mrs_pdff"} <= set(told)  # one table
        said = [one for one in told["mrs_pdff"].cautions if "over the spectrum's voxel" in one]
        noted = [one for one in found.notes if "over the spectrum's voxel" in one]
        assert (len(said), len(noted)) == ((1, 0) if differ else (0, 1))


def named_in_another(found):
    """The caution of each number of a spectrum."""
    told = [one.measurement for one in found.results if one.measurement.quantity.startswith("mrs_")]
    assert len(told) > 5
    said = [[x for x in one.cautions if "of the box of this spectrum" in x] for one in told]
    assert len({tuple(one) for one in said}) == 1
    return said[0]


@pytest.mark.parametrize("name", ["L2", "L3", "L4"])
def test_a_box_in_another_level_than_its_name_is_told(three, name):
    """The box lies in what is drawn as L3, whatever the spectrum is called."""
    pdff = pdff_map()
    inside = pdff.array < 70
    drawn = {"L2": np.roll(inside, 12, 0), "L3": inside}
    marrow = [Region.from_mask(f"{one} marrow", Role.MARROW, one, x) for one, x in drawn.items()]
    study = Study({Contrast.PDFF: pdff}, marrow, 34.0, "M", spectra={name: three})
    found = assess(study)
    said = named_in_another(found)
    assert [x for x in notes(found) if "of the box of this spectrum" in x] == said  # in words, too
    if name == "L3":
        assert not said
        return
    (text,) = said
    percent = int(text.split(" %")[0].split(": ")[1])
    assert text.startswith(f"{name}: ") and percent > 90
    assert f"in the marrow of L3 and 0 % in that of {name}; check the name" in text


@pytest.mark.parametrize(
    ("name", "drawn", "told"),
    [
        ("lumbar", "L3", False),
        ("sacrum", "S1", False),
        ("L3", "V2", False),
        ("left proximal femur", "left femoral neck", False),
        ("left proximal femur", "right proximal femur", True),
        ("proximal femur", "ilium", True),
    ],
)
def test_a_box_in_a_part_of_what_it_is_named_after_is_not_elsewhere(three, name, drawn, told):
    pdff = pdff_map()
    inside = Region.from_mask("drawn", Role.MARROW, drawn, pdff.array < 70)
    assert (elsewhere(name, three, [inside], pdff) is not None) == told


def test_a_box_between_levels_or_without_a_place_is_not_told(three):
    pdff = pdff_map()
    inside = pdff.array < 70
    away = Region.from_mask("L2 marrow", Role.MARROW, "L2", np.roll(inside, 8, 0))
    disc = Region.from_mask("L2/L3 disc", Role.DISC, "L2/L3", inside)
    for spectrum in (three, replace(three, voxel_ras=None), replace(three, voxel_ras=BOX + 1e4)):
        study = Study({Contrast.PDFF: pdff}, [away, disc], 34.0, "M", spectra={"L3": spectrum})
        assert not named_in_another(assess(study))
