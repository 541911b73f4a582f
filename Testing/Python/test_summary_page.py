"""One page of all modalities, the form of marrow response, the X-ray form."""

import csv
import json

import pytest
from MarrowAssessLib.catalogue.anatomy import OUTSIDE
from MarrowAssessLib.commands.main import main
from MarrowAssessLib.findings.form import forms
from MarrowAssessLib.findings.marrow_response import read_response
from MarrowAssessLib.findings.xray import CERTAINTIES, SIGNS, read_form
from MarrowAssessLib.follow_up.side_by_side import findings, grouped
from MarrowAssessLib.follow_up.visits import joined
from MarrowAssessLib.measures.measurement import Measurement


def measured(quantity, value, site="L3", verdict="no reference", z=None, doubtful=()):
    return {
        "quantity": quantity, "site": site, "value": value, "ci95": None, "doubtful": [*doubtful],
        "how": "", "statistics": {"volume_mm3": 1000.0}, "verdict": verdict, "z": z,
        "measured": [f"{site} marrow"],
    }  # fmt: skip


def visit(*measurements, age=50.0, sex="F", n4=False, tracer="FDG"):
    return {
        "schema": "marrowassess-assessment-1",
        "patient": {"age_years": age, "sex": sex, "subject": "Mueller"},
        "settings": {"erosion_mm": 0.0, "n4": n4},
        "acquisition": {"SUV": {"tracer": tracer} if tracer else {}},
        "measurements": list(measurements),
    }


def said(*measurements, **facts):
    return grouped(findings(visit(*measurements, **facts)))


def test_modalities_that_agree_are_counted():
    cellular = [
        measured("marrow_pdff", 10.0, verdict="below"),
        measured("marrow_vnca", 40.0, verdict="above"),
        measured("marrow_adc", 0.9, verdict="within"),
        measured("marrow_suv", 4.0),
        measured("marrow_deauville", 4.0),
    ]
    (line,) = said(*cellular)
    assert line.startswith("L3: cellular marrow in 3 of 4 modalities (PDFF, VNCa, FDG) [doi 10.1")
    assert said(cellular[0]) == []  # one alone meets nothing
    doubtful = measured("marrow_vnca", 40.0, verdict="above", doubtful=["L3 marrow"])
    assert said(cellular[0], doubtful) == []


def test_a_doubtful_reference_of_uptake_gives_no_verdict():
    """Where liver or blood pool may be another structure, the five-point score is none."""
    infiltrated, suv = measured("marrow_pdff", 4.0, verdict="below"), measured("marrow_suv", 4.0)
    doubtful = measured("marrow_deauville", 5.0, verdict="doubtful", doubtful=["liver"])
    assert said(infiltrated, suv, doubtful) == []
    score = measured("marrow_deauville", 5.0)
    assert "2 of 2 modalities (PDFF, FDG)" in said(infiltrated, suv, score)[0]
    suv = measured("marrow_suv", 4.0, verdict="doubtful", doubtful=["L3 marrow"])
    assert said(infiltrated, suv, score) == []


def test_uptake_beside_fat():
    high, low = ([measured("marrow_suv", 3.0), measured("marrow_deauville", n)] for n in (5, 1))
    within, above = (measured("marrow_pdff", 40.0, verdict=v) for v in ("within", "above"))
    assert "stimulation, anemia or infection are possible" in said(*high, within)[0]
    assert "low FDG and high PDFF: fatty or aplastic marrow" in said(*low, above)[0]
    assert said(*low, within) == said(*high, above) == []


def test_rules_of_fdg_are_not_those_of_another_tracer():
    """Own controls may give a verdict on any tracer; the rules are of FDG."""
    high = (
        measured("marrow_suv", 9.0, verdict="above"),
        measured("marrow_pdff", 9.0, verdict="below"),
    )
    within = high[0], measured("marrow_pdff", 40.0, verdict="within")
    assert "2 of 2 modalities (PDFF, FDG)" in said(*high)[0]
    assert "(PDFF, uptake of a tracer that is not told)" in said(*high, tracer="")[0]
    assert "high uptake of a tracer that is not told" in said(*within, tracer="")[0]
    for pair in (high, within):
        assert said(*pair, tracer="other") == said(*pair, tracer="Pentixafor") == []


def test_the_form_names_the_hottest_focus_in_marrow_and_the_hottest_outside():
    def scored(value, site, name):
        return Measurement("lesion_deauville", site, value, (name,), words=f"score {value:g}")

    foci = [(3.0, "L2", "a"), (4.0, "L3", "b"), (2.0, OUTSIDE, "c"), (5.0, OUTSIDE, "d")]
    marrow = Measurement("marrow_deauville", "L3", 2.0, ("L3 marrow",))
    (form,) = forms([marrow, *(scored(*one) for one in foci)])
    held = [one.measured for one in form.fields]
    assert "b, score 4" in held and "d, score 5" in held
    assert not {"a, score 3", "c, score 2"} & set(held)


def test_a_focus_outside_drawn_marrow_is_in_bone_or_extramedullary():
    hot = measured("lesion_deauville", 4.0, "outside drawn marrow")
    (line,) = said(hot)
    assert "outside drawn marrow: in bone that was not drawn, or extramedullary disease (" in line
    assert "[doi 10.12677/acm.2026.161147]" in line
    for other in (
        measured("lesion_deauville", 3.0, "outside drawn marrow"),
        measured("lesion_deauville", 5.0, "L3"),
        measured("lesion_deauville", 5.0, "outside drawn marrow", doubtful=["lesion"]),
        measured("lesion_suv_max", 9.0, "outside drawn marrow"),
    ):
        assert said(other) == []


@pytest.mark.parametrize(
    ("fat", "yellow", "told"),
    [(40, 61, True), (40, 59, False), (40, 19, True), (4, -60, False), (25, -60, True)],
)
def test_fat_of_mr_and_ct_that_differ_doubt_each_other(fat, yellow, told):
    """A share below 0 is of marrow denser than red marrow, as infiltrated one is."""
    lines = said(measured("marrow_pdff", fat), measured("marrow_ct_yellow", yellow))
    assert bool(lines) == told
    assert all("lie more than 20 points apart" in one for one in lines)


def test_assessments_of_one_day_stand_together():
    mr = visit(measured("marrow_pdff", 40.0), age=None)
    ct = visit(measured("marrow_vnca", 5.0), measured("marrow_pdff", 99.0))
    later = visit(measured("marrow_pdff", 45.0))
    visits, days = joined([mr, ct, later], [0, 0, 90])
    assert days == [0, 90] and visits[0]["patient"]["age_years"] == 50.0
    assert [m["value"] for m in visits[0]["measurements"]] == [40.0, 5.0]
    assert len(mr["measurements"]) == 1  # what was given stays as it was
    with pytest.raises(ValueError, match="a day each is expected"):
        joined([mr], [0, 1])
    with pytest.raises(ValueError, match="The days of the assessments must not fall"):
        joined([mr, ct], [1, 0])
    with pytest.raises(ValueError, match="differ between its assessments"):
        joined([mr, visit(n4=True)], [0, 0])


def test_the_page_holds_values_changes_views_and_forms_but_no_name(tmp_path, capsys):
    files = []
    for n, (pdff, suv) in enumerate(((40.0, 2.0), (48.0, 2.1))):
        folder = tmp_path / f"visit_{n}"
        folder.mkdir()
        (folder / "overlay_3d.png").write_bytes(b"picture")
        one = visit(
            measured("marrow_pdff", pdff, z=-2.5, verdict="below"), measured("marrow_suv", suv)
        )
        files.append(folder / "assessment.json")
        files[-1].write_text(json.dumps(one))
    form, response = tmp_path / "form.json", tmp_path / "response.json"
    form.write_text(json.dumps(FORM))
    response.write_text(json.dumps(RESPONSE))
    out = tmp_path / "out"
    command = ["summary", *map(str, files), "--days", "0,90", "--out", str(out)]
    assert main([*command, "--xray", str(form), "--response", str(response)]) == 0
    page = (out / "summary.html").read_text()
    assert "<b>48.0</b>" in page and "z -2.5" in page and "▲ +3.0 RC" in page
    assert page.count("data:image/png") == 2 and page.count("<svg") == 1
    assert "size: A4" in page and "no ref." in page and "meet CR" in page
    assert "119 children with ALL" in page and "No response of leukemia is assigned" in page
    for file in out.iterdir():
        assert "Mueller" not in file.read_text() and str(tmp_path) not in file.read_text()
    assert main(["summary", str(files[0]), "--days", "0", "--out", str(out)]) == 0
    assert "<svg" not in (out / "summary.html").read_text()


RESPONSE = {
    "day": 28, "marrow_blasts_percent": 3, "before_percent": 60, "neutrophils_1e9_l": 1.0,
    "platelets_1e9_l": 100, "circulating_blasts": False, "extramedullary_disease": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, "CR"),
        ({"marrow_blasts_percent": 5}, "PR"),
        ({"neutrophils_1e9_l": 0.9}, "CRi"),
        ({"platelets_1e9_l": 99}, "CRi"),
        ({"platelets_1e9_l": 99, "neutrophils_1e9_l": 0.9}, "MLFS"),
        ({"circulating_blasts": True}, ""),
        ({"auer_rods": True}, ""),
        ({"auer_rods": False}, "CR"),
        ({"extramedullary_disease": True}, ""),
        ({"marrow_blasts_percent": 25}, "PR"),
        ({"marrow_blasts_percent": 26}, ""),
        ({"marrow_blasts_percent": 20, "before_percent": 39}, ""),
        ({"marrow_blasts_percent": 20, "platelets_1e9_l": 99}, ""),
    ],
)
def test_response_follows_the_table_of_eln(change, word):
    response = read_response(RESPONSE | change)
    assert response.word == word
    assert " % blasts in marrow, neutrophils " in response.text
    assert (word or "neither CR, CRi, MLFS nor PR") in response.text
    assert ("Auer rods were not stated" in response.text) == ("auer_rods" not in change)
    assert ("200 cells or a cellularity of 10 %" in response.text) == (word == "MLFS")
    assert bool(response.beside(2)) == (word in ("CR", "CRi", "MLFS")) and not response.beside(0)


def test_a_response_form_that_is_not_filled_in_says_what_is_missing():
    for change, words in (
        ({"day": None}, "Response form: day is None; a number from 0 is expected"),
        ({"platelets_1e9_l": -1}, "platelets_1e9_l is -1"),
        ({"circulating_blasts": "no"}, "extramedullary_disease are true or false"),
        ({"blasts": 3}, "Response form: blasts is not known"),
    ):
        with pytest.raises(ValueError, match=words):
            read_response(RESPONSE | change)


def sign(sign="focal lysis", certainty="definite", **more):
    return {"sign": sign, "site": "distal femur", "side": "left", "certainty": certainty} | more


FORM = {
    "schema": "marrowassess-xray-1", "day": 0, "reader": "A", "view": "knee AP", "quality": "good",
    "pixel_spacing_mm": 0.14, "findings": [sign(size_mm=4.0)],
}  # fmt: skip


def test_an_x_ray_form_is_checked_written_and_compared(tmp_path, capsys):
    band, reaction = "metaphyseal lucent band", "periosteal reaction"
    later = FORM | {
        "day": 30,
        "findings": [
            sign(certainty="absent"), sign(band), sign(reaction, form="lamellar"),
            sign("fracture", "not assessable"),
        ],
    }  # fmt: skip
    first = FORM | {"findings": [sign(size_mm=4.0), sign(reaction, form="solid")]}
    files = [tmp_path / "first.json", tmp_path / "later.json"]
    for file, content in zip(files, (first, later), strict=True):
        file.write_text(json.dumps(content))
    out = tmp_path / "out"
    assert main(["xray", str(files[0]), "--out", str(out)]) == 0
    assert "4 mm; " in (told := capsys.readouterr().out) and "not corrected for magnif" in told
    earlier = tmp_path / "earlier.json"
    earlier.write_text((out / "xray.json").read_text())  # as it was written
    assert main(["xray", str(files[1]), "--earlier", str(earlier), "--out", str(out)]) == 0
    with (out / "xray.csv").open(newline="") as stream:
        rows = {row["sign"]: row["course"] for row in csv.DictReader(stream)}
    assert rows == {"focal lysis": "gone", band: "new", reaction: "same", "fracture": ""}
    assert "new definite metaphyseal lucent band of the left distal" in capsys.readouterr().out
    assert len(SIGNS) == 11 and len(CERTAINTIES) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": "x"}, "schema marrowassess-xray-1 is expected"),
        ({"colour": 1}, "X-ray form: colour is not known"),
        ({"findings": {}}, "findings are a list of signs"),
        ({"findings": [3]}, "sign 1: an object is expected"),
        ({"findings": [sign(), sign()]}, "focal lysis distal femur left is there twice"),
        ({"findings": [sign("cyst")]}, "sign 1 is 'cyst'; expected is one of"),
        ({"findings": [sign("periosteal reaction")]}, "sign 1, form is ''"),
        ({"findings": [sign(size_mm=0)]}, "sign 1, size_mm is 0; a number above 0"),
        ({"day": None}, "X-ray form: day is missing"),
        ({"reader": " "}, "X-ray form: reader is missing"),
        ({"quality": "fine"}, "quality is 'fine'"),
    ],
)
def test_an_x_ray_form_that_is_wrong_says_where(change, words):
    with pytest.raises(ValueError, match=words):
        read_form(FORM | change)


def test_x_ray_forms_of_other_views_or_days_are_not_compared():
    form = read_form(FORM)
    with pytest.raises(ValueError, match="give an earlier one"):
        form.beside(form)
    with pytest.raises(ValueError, match="the same view is expected"):
        form.beside(read_form(FORM | {"day": -3, "view": "hand"}))
