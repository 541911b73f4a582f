"""Marrow on dual-energy maps: numbers of known maps, cautions, and the sample's PET and CT."""

import re
import zipfile

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.commands.demo import _dual_energy_maps
from MarrowAssessLib.findings.assessment import assess
from MarrowAssessLib.findings.summary import headlines
from MarrowAssessLib.follow_up.changes import follow_up
from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.measures.measure import measure
from MarrowAssessLib.placement.column import Column
from MarrowAssessLib.placement.pelvis import find_pelvis
from MarrowAssessLib.report.data import as_dict
from MarrowAssessLib.report.html import write_html
from MarrowAssessLib.report.summary_page import Summary, summary_page
from MarrowAssessLib.sample.other_modalities import reference_regions, true_yellow
from MarrowAssessLib.sources.volume_source import read_source
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study
from PDFFMapperLib.dual_energy.calibration import of_kv_pair
from PDFFMapperLib.dual_energy.decomposition import hap_beside_water
from PDFFMapperLib.dual_energy.recipe import DUAL_ENERGY
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.parametric_map import write_maps
from phantoms.bodies import column

SHAPE, LEVELS = (12, 50, 14), ("T12", "L1", "L2", "L3", "L4")
VNCA, PROJECTED, HAP = Contrast.VNCA, Contrast.VNCA_PROJECTED, Contrast.HAP


def study(values, sd=3.0, age=50, slices_mm=2.0, thick=12, levels=LEVELS):
    """Maps whose levels have a value each, going down by `step`."""
    rng = np.random.default_rng(0)
    regions, shape = [], (SHAPE[0], 10 * len(levels), SHAPE[2])
    for n, level in enumerate(levels):
        mask = np.zeros(shape, bool)
        mask[:thick, 10 * n : 10 * n + 8] = True
        regions.append(Region.from_mask(f"{level} marrow", Role.MARROW, level, mask))
    volumes = {}
    for contrast, (first, step) in values.items():
        array = rng.normal(first, sd, shape)
        for n, region in enumerate(regions):
            array[region.box][region.mask] += n * step
        grid = np.diag([2.0, 2.0, slices_mm, 1.0])
        volumes[contrast] = Volume(array.astype(np.float32), grid, contrast.value)
    return Study(volumes, regions, age, "F")


def found(*arguments, **changes):
    measured = measure(study(*arguments, **changes))
    return {(m.quantity, m.site): m for m in measured.measurements}, measured.skipped


def said(numbers):
    return {caution for one in numbers.values() for caution in one.cautions}


def test_bodies_of_low_height_are_told_beside_their_numbers():
    """L2 pressed to 18 of 24 mm in front, of four bodies alike."""
    whole, pressed = (25.0, 24.0, 26.0), (18.0, 21.0, 25.5)
    heights = {level: whole for level in ("T12", "L1", "L3", "L4")} | {"L2": pressed}
    image, masks = column({level: heights[level] for level in LEVELS})
    drawn = [Region.from_mask(f"{n} marrow", Role.MARROW, n, masks[n]) for n in LEVELS]
    noise = np.random.default_rng(0).normal(-40, 3, image.array.shape).astype(np.float32)
    one = Study({VNCA: image.with_array(noise)}, drawn, 60, "F")
    measured = measure(one, Settings(fractures=True)).measurements
    loss = next(m.value for m in measured if (m.quantity, m.site) == ("height_loss", "L2"))
    assert loss == pytest.approx(28, abs=4)
    words = f"L2 has lost {loss:.0f} % of its height (grade 2)"
    told = {
        (m.quantity, m.site)
        for m in measured
        if "vnca" in m.quantity and any(words in caution for caution in m.cautions)
    }
    assert told == {("marrow_vnca", "L2"), ("marrow_vnca", "L1-L4"), ("vnca_gradient", "T12-L4"),
                    ("vnca_column", "T12-L4")}  # fmt: skip
    unasked = measure(one).measurements
    assert not any("of its height" in c for m in unasked for c in m.cautions)


def test_values_levels_and_gradient():
    numbers, _ = found({VNCA: (-40.0, -5.0), HAP: (100.0, 10.0)})
    assert numbers["marrow_vnca", "L2"].value == pytest.approx(-50, abs=1)
    assert numbers["marrow_vnca", "L1-L4"].value == pytest.approx(-52.5, abs=1)
    assert numbers["vnca_gradient", "T12-L4"].value == pytest.approx(-5, abs=0.3)
    assert numbers["marrow_hap", "T12"].value == pytest.approx(100, abs=1)
    assert all("edge of the image" in caution for caution in said(numbers))


def test_column_and_gradient_rest_on_what_was_measured(monkeypatch):
    from MarrowAssessLib.measures import dual_energy

    measured = []
    plain = dual_energy.statistics
    monkeypatch.setattr(
        dual_energy, "statistics", lambda *given: measured.append(given[0].name) or plain(*given)
    )
    numbers, _ = found({VNCA: (-40.0, -5.0)})
    assert {"marrow_vnca", "vnca_gradient", "vnca_column"} <= {key for key, _ in numbers}
    assert sorted(measured) == sorted(f"{level} marrow" for level in LEVELS)  # each once


def test_fat_beside_hydroxyapatite_of_a_scanner_has_its_cut_off_beside():
    one = study({Contrast.FAT_HAP: (940.0, 10.0)})
    results = {r.measurement.site: r for r in assess(one).results}
    assert results["L1"].measurement.value == pytest.approx(950, abs=1)
    assert results["L1"].z is None and "958" in str(results["L1"].cutoffs)
    red = study({Contrast.FAT_HAP: (940.0, 10.0)}, age=20)
    assert not any(r.cutoffs for r in assess(red).results)


@pytest.mark.parametrize("pair_kv", ["80/140", "90/Sn150"])
def test_cells_read_above_fat_in_the_pair_of_fat_and_hydroxyapatite(pair_kv):
    """Solved with this software's CT numbers, yellow marrow of .98 g/cm^3 (ICRU 46) as fat."""
    of = of_kv_pair(pair_kv, 30.0)
    pair = np.stack([(1 + of.yellow / 1000) / 980, (1 + of.hap / 1000) / 3160], -1)
    fat, mineral = np.linalg.solve(pair, 1 + of.red / 1000)
    assert (fat, mineral) == pytest.approx((998, 26.5), abs=0.5)
    mixed = 0.05 * of.hap + 0.95 * of.yellow  # mineral alone does not raise it
    assert np.linalg.solve(pair, 1 + mixed / 1000)[0] == pytest.approx(0.95 * 980)


def test_the_systematic_error_stands_beside():
    one = study({HAP: (100.0, 0.0)})
    one.volumes[HAP].attributes["SystematicError"] = 19.9
    numbers = measure(one).measurements
    assert {m.systematic for m in numbers if m.quantity == "marrow_hap"} == {19.9}
    assert all("19.9" not in m.how for m in numbers)


def visit(size_cm, calibration="table of 90/Sn150 kV", kernel="Qr40"):
    """An assessment of a spine whose maps' systematic error is that of a body of so many cm."""
    one = study({VNCA: (-40.0, 0.0), HAP: (100.0, 0.0)})
    for volume in one.volumes.values():
        volume.attributes.update(
            SystematicError=0.6 * size_cm, Calibration=calibration, ConvolutionKernel=kernel
        )
    one.volumes[VNCA].attributes["LowShare"] = 0.5
    return as_dict(assess(one), [])


def test_visits_are_compared_where_pair_kernel_and_method_agree():
    """Another size of the body is another systematic error, but no other setting."""
    changes = follow_up([visit(30), visit(33)], [0, 100])
    reasons = {c.reason for c in changes}
    assert changes and not any("other settings" in reason for reason in reasons)
    hows = {m["how"] for m in visit(30)["measurements"] if m["quantity"] == "marrow_vnca"}
    assert hows == {"table of 90/Sn150 kV, share of low energy 0.5, kernel Qr40"}
    for other in (visit(30, "table of 80/Sn150 kV"), visit(30, kernel="Qr59")):
        changes = follow_up([visit(30), other], [0, 100])
        apart = {c.quantity for c in changes if c.reason == "it was measured with other settings"}
        assert apart >= {"marrow_vnca", "marrow_hap", "hap_column", "vnca_gradient"}


def test_what_a_map_rests_on_is_read_with_its_file(phantom, tmp_path):
    maps = DUAL_ENERGY.recipe("three-materials").make(phantom.dual_energy_volumes(), water_cm=30)
    write_maps(maps, tmp_path, "dect")
    read = read_source(tmp_path / "dect_VNCa.nrrd", VNCA).attributes
    assert read["Calibration"] == "table of 90/Sn150 kV" and read["LowShare"] == 0.5
    assert read["SystematicError"] == maps[2].volume.attributes["SystematicError"] > 0
    assert "Materials" not in read_source(tmp_path / "dect_HAP.nrrd", HAP).attributes
    one = study({HAP: (100.0, 0.0)})
    one.volumes[HAP].attributes |= read_source(tmp_path / "dect_HAP_water.nrrd", HAP).attributes
    (l2,) = [m for m in measure(one).measurements if (m.quantity, m.site) == ("marrow_hap", "L2")]
    assert l2.how.startswith("HAP(Water), not corrected for fat")
    assert any("made beside water" in text for text in l2.cautions)
    (tmp_path / "other_VNCa.nrrd").write_bytes((tmp_path / "dect_VNCa.nrrd").read_bytes())
    assert "Calibration" not in read_source(tmp_path / "other_VNCa.nrrd", VNCA).attributes


def test_a_scanner_s_map_of_mineral_is_told_to_be_beside_water(shared, tmp_path):
    with zipfile.ZipFile(shared / "cases/ct_pet/dect_phantom/series.zip") as archive:
        archive.extractall(tmp_path)
    (folder,) = (one for one in tmp_path.rglob("hap_water") if one.is_dir())
    one = study({HAP: (100.0, 0.0)})
    scanner_s = read_source(folder, HAP)
    own, _ = found({HAP: (100.0, 0.0)})
    assert "Water" not in own["marrow_hap", "L2"].how
    one.volumes[HAP].attributes |= scanner_s.attributes
    (l2,) = [m for m in measure(one).measurements if (m.quantity, m.site) == ("marrow_hap", "L2")]
    assert l2.how.startswith("the scanner's own map of mineral")
    (told,) = [text for text in l2.cautions if "is taken as made beside water" in text]
    assert "computed for 90/Sn150 kV and a body of 30 cm" in told
    assert not set(own["marrow_hap", "L2"].cautions) & {told}
    of = of_kv_pair("90/Sn150", 30)
    share = 100 / 3160
    for marrow, reads in ((of.red, 86), ((of.red + of.yellow) / 2, 73), (of.yellow, 61)):
        seen = share * of.hap + (1 - share) * marrow
        assert hap_beside_water(of)(*seen) == pytest.approx(reads, abs=0.5)
        assert f" {reads} in " in told
    one.volumes[HAP].attributes["SeriesDescription"] = "HAP(Fat)"
    (l2,) = [m for m in measure(one).measurements if (m.quantity, m.site) == ("marrow_hap", "L2")]
    assert "beside fat" in l2.how and not any("beside water" in text for text in l2.cautions)


def test_cut_offs_stand_beside_the_scanner_s_kind_alone():
    results = {
        (r.measurement.quantity, r.measurement.site): r
        for r in assess(study({VNCA: (10.0, 0.0), PROJECTED: (10.0, 0.0)})).results
    }
    assert not results["marrow_vnca", "L2"].cutoffs
    crossed = results["marrow_vnca_projected", "L2"]
    assert {one.value for one in crossed.cutoffs} >= {-44.9, -56.9}
    assert crossed.z is None and all(one.tone == "" for one in crossed.statements)


@pytest.mark.parametrize(
    ("values", "changes", "words", "compared"),
    [
        ({PROJECTED: (10.0, 0.0)}, {"age": 20}, "Under 25 years: red marrow looks like", False),
        (
            {PROJECTED: (10.0, 0.0), Contrast.YELLOW_SHARE: (20.0, 0.0)},
            {},
            "Marrow is 20 % yellow: red marrow looks like",
            False,
        ),
        ({PROJECTED: (10.0, 0.0)}, {"sd": 300.0}, "is too noisy on CT (standard error", False),
        ({HAP: (400.0, 0.0)}, {}, "of mineral: cortex, a fracture, sclerosis", True),
        ({HAP: (100.0, 0.0)}, {"slices_mm": 6.0}, "Slices of 6 mm mix marrow", True),
        ({HAP: (100.0, 0.0)}, {"thick": 2}, "is too thin to take 2 mm off on CT", True),
    ],
)
def test_cautions(values, changes, words, compared):
    one = study(values, **changes)
    if "sd" in changes:  # noise of one sign more than the other moves no p95 over the limit
        one.volumes[PROJECTED].array[:] = np.minimum(one.volumes[PROJECTED].array, 250)
    results = [r for r in assess(one).results if r.measurement.site == "L2"]
    assert any(words in c for r in results for c in r.measurement.cautions)
    (judged,) = [r for r in results if r.measurement.quantity != "marrow_ct_yellow"]
    assert judged.measurement.comparable is compared
    assert compared or not (judged.cutoffs or judged.statements)
    assert compared or judged.no_reference.startswith("its cautions say why")


def test_what_gives_no_number_says_why():
    _, skipped = found({PROJECTED: (400.0, 0.0)})
    assert any("calcium was not taken out" in one.reason for one in skipped)
    one = study({VNCA: (-40.0, 0.0)})
    one.volumes[VNCA].array[:, 10:] = np.nan
    reasons = {s.reason for s in measure(one).skipped}
    assert "the CT map holds no value in L2 marrow" in reasons
    assert "three levels from T11 to L5 are needed" in reasons


def test_the_sample_s_pet_and_ct_have_their_truth(phantom, tmp_path):
    """All four modalities of one patient; the child's are the same code."""
    one = phantom.study()
    mr = {Contrast.T1: one.volumes[Contrast.T1]}
    one.volumes = {Contrast.SUV: phantom.pet_volume(), **_dual_energy_maps(phantom)[0]}
    share = one.volumes[Contrast.YELLOW_SHARE]
    mr[Contrast.PDFF] = Volume(np.clip(share.array, 0, 100), share.ijk_to_ras, "PDFF")
    marrow = [region for region in one.regions if region.role is Role.MARROW]
    one.regions = marrow + reference_regions(phantom.tissue)
    checked = 0
    for result in assess(one).results:
        measured = result.measurement
        truth = phantom.true_value(measured)
        close = {"marrow_suv": 0.06, "marrow_hap": 5, "marrow_vnca": 6, "marrow_ct_yellow": 8}
        if truth is not None:
            assert measured.value == pytest.approx(truth, abs=close[measured.quantity])
            checked += 1
    assert checked > 20
    scores = {r.measurement.site: r.measurement.value for r in assess(one).results
              if r.measurement.quantity == "marrow_deauville"}  # fmt: skip
    assert scores["L2"] == 5 and scores["L3"] == 2
    one.volumes = mr | one.volumes
    assessment = assess(one)
    write_html(assessment, headlines(assessment), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    section = page[page.index("<h2>Modalities side by side") :]
    heads = re.findall(r"<th>([^<]+)<small>", section[: section.index("</thead>")])
    assert {"PDFF", "VNCa", "Yellow share", "HAP", "SUVmean", "Marrow/liver"} <= set(heads)
    assert re.search(r"<li>L2: cellular marrow in \d of \d modalities \(PDFF.*FDG\)", section)
    assert "points apart" not in section  # as the rule has it; and the sample's own truth:
    assert all(abs(100 * fat - true_yellow(fat)) < 20 for fat in np.linspace(0.1, 0.6, 11))
    one.volumes = mr
    alone = assess(one)
    write_html(alone, headlines(alone), tmp_path / "page.html")
    assert "Modalities side by side" not in (tmp_path / "page.html").read_text("utf-8")


def side_by_side(one, tmp_path):
    """The report's section of all modalities, "" without one."""
    write_html(one, [], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    parts = page.partition("<h2>Modalities side by side")[2]
    return parts.partition("</table>")[0] and parts.partition("<h2>")[0]


def test_the_report_holds_every_site_and_the_sheet_tells_how_many_it_leaves_out(tmp_path):
    levels = [f"T{n}" for n in range(1, 13)] + [f"L{n}" for n in range(1, 6)]
    one = assess(study({VNCA: (-40.0, 0.0)}, levels=levels))
    section = side_by_side(one, tmp_path)
    assert all(f"<tr><th>{level}</th>" in section for level in levels)
    assert "more sites" not in section
    sheet = summary_page(Summary([as_dict(one, [])], [0.0]))
    left_out = section.count("<tr><th>") - 1 - 12  # the first is the head
    assert left_out >= 5 and sheet.count("<tr><th>") == 1 + 12
    assert f"<p>{left_out} more sites are in the report.</p>" in sheet
    few = assess(study({VNCA: (-40.0, 0.0)}))
    assert "more sites" not in summary_page(Summary([as_dict(few, [])], [0.0]))


def test_the_report_holds_each_kind_of_map_that_was_measured(tmp_path):
    both = side_by_side(assess(study({VNCA: (-40.0, 0.0), PROJECTED: (-60.0, 0.0)})), tmp_path)
    assert both.index("<b>-40</b>") < both.index("<b>-60</b>")
    assert "<th>VNCa<small>" in both and "<th>VNCa, projected<small>HU" in both
    alone = side_by_side(assess(study({PROJECTED: (-60.0, 0.0)})), tmp_path)
    assert "<th>VNCa, projected<small>" in alone and "<th>VNCa<small>" not in alone
    shaft = plain_ct()
    del shaft.volumes[HAP]
    assert "<tr><th>left femoral diaphysis</th>" in side_by_side(assess(shaft), tmp_path)
    del shaft.regions[1]  # nothing of CT is measured in a vertebra
    assert side_by_side(assess(shaft), tmp_path) == ""


def test_an_interval_that_is_not_known_is_not_printed(tmp_path):
    one = assess(study({VNCA: (-40.0, 0.0)}))
    assert " to " in side_by_side(one, tmp_path)
    for result in one.results:
        result.measurement.ci95 = (np.nan, np.nan)
    assert "nan" not in side_by_side(one, tmp_path)


# --- what is left out, the column, plain CT ---


def test_dense_voxels_are_left_out_where_mineral_is_known():
    one = study({HAP: (100.0, 0.0), VNCA: (-40.0, 0.0)})
    region = one.regions[2]
    part = region.box[0], slice(region.box[1].start, region.box[1].start + 4), region.box[2]
    one.volumes[HAP].array[part] = 800
    one.volumes[VNCA].array[part] = 500
    numbers = {(m.quantity, m.site): m for m in measure(one).measurements}
    for key, value in (("marrow_hap", 100), ("marrow_vnca", -40)):
        assert numbers[key, "L2"].value == pytest.approx(value, abs=1)
        assert numbers[key, "L2"].statistics.mean == pytest.approx(value, abs=1)
        assert any("of L2 marrow holds more than 350" in c for c in numbers[key, "L2"].cautions)
        assert not any("holds more than 350" in c for c in numbers[key, "L1"].cautions)


def test_noise_sends_no_marrow_beyond_the_limit():
    numbers, _ = found({HAP: (150.0, 0.0)}, sd=80.0)
    whole, _ = found({HAP: (150.0, 0.0)}, sd=1.0)
    for site in ("L1", "L3"):
        kept = numbers["marrow_hap", site].statistics
        assert kept.voxels == whole["marrow_hap", site].statistics.voxels
        assert kept.mean == pytest.approx(150, abs=10)


def test_the_column_counts_each_vertebra_by_its_volume():
    one = study({VNCA: (-40.0, -10.0)}, sd=0.1)
    big = one.regions[0].full_mask(SHAPE)
    big[:, :9] = True  # T12 is larger
    one.regions[0] = Region.from_mask("T12 marrow", Role.MARROW, "T12", big)
    (column,) = [m for m in measure(one).measurements if m.quantity == "vnca_column"]
    singles = [
        m for m in measure(one).measurements if m.quantity == "marrow_vnca" and m.site in LEVELS
    ]
    weights = [m.statistics.volume_mm3 for m in singles]
    assert weights[0] > weights[1]
    expected = np.average([m.value for m in singles], weights=weights)
    assert column.value == pytest.approx(expected, abs=0.1) and column.site == "T12-L4"
    assert abs(column.value + 60) > 0.3  # what equal weights would give
    del one.regions[2]
    (column,) = [m for m in measure(one).measurements if m.quantity == "vnca_column"]
    assert any("1 of the levels in between were not measured" in c for c in column.cautions)


def plain_ct(blood=45.0, shaft=-60.0):
    """A shaft, a vertebra and the aorta on a plain CT, and a map of mineral."""
    one = study({Contrast.CT: (170.0, 0.0), HAP: (100.0, 0.0)}, sd=2.0)
    vertebra, long_bone, aorta = one.regions[1:4]
    long_bone.name, long_bone.site = "left femoral diaphysis marrow", "left femoral diaphysis"
    aorta.name, aorta.site, aorta.role = "aorta", "", Role.BLOOD
    one.regions = [vertebra, long_bone, aorta]
    rng = np.random.default_rng(1)
    for region, value in ((long_bone, shaft), (aorta, blood)):
        values = rng.normal(value, 2, region.mask.shape)
        one.volumes[Contrast.CT].array[region.box] = values
    return one


def test_plain_ct_is_measured_in_shafts_alone():
    results = {r.measurement.site: r for r in assess(plain_ct()).results
               if r.measurement.quantity == "marrow_ct"}  # fmt: skip
    assert set(results) == {"left femoral diaphysis"}
    shaft = results["left femoral diaphysis"]
    assert shaft.measurement.value == pytest.approx(-60, abs=1)
    assert [one.value for one in shaft.cutoffs] == [0] and shaft.z is None
    bright = plain_ct(shaft=20.0)
    (crossed,) = [r for r in assess(bright).results if r.measurement.quantity == "marrow_ct"]
    assert crossed.cutoffs and all(one.tone == "" for one in crossed.statements)


def test_contrast_agent_in_the_aorta_stops_material_images():
    measured = measure(plain_ct(blood=160.0))
    assert not any(m.quantity.startswith("marrow_hap") for m in measured.measurements)
    reasons = {one.reason for one in measured.skipped}
    assert any("aorta measures 160 HU on the CT, so contrast agent was given" in r for r in reasons)
    (shaft,) = [m for m in measured.measurements if m.quantity == "marrow_ct"]
    assert not shaft.comparable and any("it brightens marrow." in c for c in shaft.cautions)
    assert any(m.quantity == "marrow_hap" for m in measure(plain_ct()).measurements)


# --- vertebrae on CT ---


def test_a_click_finds_the_spine_on_ct(phantom):
    """The network was trained on MRI; a CT is shown to it in a window where marrow is bright."""
    from MarrowAssessLib.placement.clicks import regions_from_clicks
    from MarrowAssessLib.placement.spine_column import images_of_spine

    assert images_of_spine([HAP, Contrast.CT]).drawn_on is Contrast.CT
    assert images_of_spine([Contrast.CT, Contrast.T1]).drawn_on is Contrast.T1
    whole = phantom.dual_energy_volumes()[1]
    middle = slice(14, 30)  # slices that hold the bodies
    grid = whole.ijk_to_ras.copy()
    grid[:3, 3] = whole.to_ras(np.array([0, 0, middle.start]))
    ct = Volume(whole.array[middle], grid, "CT", {"Modality": "CT"})
    truth = {one.site: one for one in phantom.study().regions if one.role is Role.MARROW}
    point = phantom.tissue.to_ras(truth["L3"].centroid_ijk())
    found, told = regions_from_clicks(ct, {"L3": point})
    assert "Followed from the click alone" not in told
    marrow = {one.site: one for one in found if one.role is Role.MARROW}
    assert {"L1", "L2", "L3", "L4", "L5"} <= set(marrow)
    for level in ("L2", "L3", "L4"):
        true = truth[level].full_mask(whole.array.shape)[middle]
        assert true[marrow[level].full_mask(ct.array.shape)].mean() > 0.9
    assert not any(one.role is Role.CSF for one in found)  # no fluid stands out on CT


def pelvis_on_ct(gap_mm=0.0, spacing=(2.0, 2.0, 4.0)):
    """Two bent wings of marrow in 3 mm of cortex, a sacrum between them with its own cortex."""
    size = np.array([150, 110, 30])
    grid = np.diag([*spacing, 1.0])
    grid[:3, 3] = -size * spacing / 2
    ct = Volume(np.full(size[::-1], 40, np.int16), grid, "CT", {"Modality": "CT"})
    k, j, i = np.indices(ct.array.shape)
    x, y, _ = np.moveaxis(ct.to_ras(np.stack([i, j, k], -1)), -1, 0)
    wings = {}
    for side, sign in (("left", -1), ("right", 1)):
        along = (sign * x - 90) * np.cos(0.9) + y * np.sin(0.9)  # from back and middle to front
        across = -(sign * x - 90) * np.sin(0.9) + y * np.cos(0.9)
        bone = (abs(along) < 60) & (abs(across) < 11)
        marrow = (abs(along) < 57) & (abs(across) < 8)
        ct.array[bone] = 600
        ct.array[marrow] = 60
        wings[side] = marrow
        if gap_mm:
            ct.array[(abs(across - 11) < 4) & (abs(along - 10) < gap_mm / 2)] = 40
    sacrum = (x / 45) ** 2 + ((y + 30) / 25) ** 2 < 1
    ct.array[sacrum] = 500
    ct.array[(x / 42) ** 2 + ((y + 30) / 22) ** 2 < 1] = 90
    return ct, wings


@pytest.mark.parametrize("gap_mm", [0.0, 6.0])
def test_marrow_of_the_ilia_is_found_beside_s1(gap_mm):
    """Also where thin cortex has a gap: nothing outside of marrow, most of the wing inside."""
    ct, wings = pelvis_on_ct(gap_mm)
    found = find_pelvis(ct, np.zeros(3))
    assert [one.site for one in found] == ["left ilium", "right ilium"]
    for one in found:
        held = one.full_mask(ct.array.shape)
        true = wings[one.site.split()[0]]
        assert true[held].mean() > 0.97
        assert np.median(one.values(ct.array)) == 60
        x = ct.to_ras(one.centroid_ijk())[0]
        assert bool(x < 0) is (one.site == "left ilium")


def test_ilia_that_the_ct_does_not_show_are_not_found():
    ct, _ = pelvis_on_ct()
    above = find_pelvis(ct, np.array([0.0, 0.0, 500.0]))
    assert [one.voxels for one in above] == [0, 0]
    soft = ct.with_array(np.minimum(ct.array, 100))
    assert [one.voxels for one in find_pelvis(soft, np.zeros(3))] == [0, 0]
    column = Column({}, {}, pelvis=above)
    assert column.found_regions() == []
    assert "not found: left ilium marrow, right ilium marrow" in column.told()
