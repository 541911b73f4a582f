import csv
import json
import re
from html.parser import HTMLParser

import jsonschema
import pytest
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.dicom_out.pdf import report_lines
from MarrowAssessLib.findings.assessment import assess
from MarrowAssessLib.findings.summary import headlines
from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.report.data import as_dict, write_csv, write_json
from MarrowAssessLib.report.html import write_html
from PDFFMapperLib.images import files
from PDFFMapperLib.install.resources import resource_path
from PDFFMapperLib.maps.units import with_powers
from phantoms.flat_maps import with_map


@pytest.fixture(scope="module")
def report(phantom):
    made = assess(phantom.study(), Settings(erosion_mm=1.0))
    made.true_value = phantom.true_value
    return made


def test_json_follows_its_schema(report, tmp_path):

    path = resource_path("MarrowAssessLib", "Schemas/assessment.schema.json")
    write_json(report, headlines(report), tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    jsonschema.validate(content, json.loads(path.read_text()))
    content["measurements"][0]["verdict"] = "fine"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, json.loads(path.read_text()))


def test_every_reference_in_the_json_is_listed_with_its_citation(report):
    content = as_dict(report, headlines(report))
    listed = {one["id"] for one in content["references"]}
    used = {
        record
        for m in content["measurements"]
        for record in (m["expected"] or {"records": []})["records"]
    } | {record for m in content["measurements"] for c in m["cutoffs"] for record in c["records"]}
    assert used
    assert used <= listed
    assert all(one["citation"] for one in content["references"])


def test_csv_holds_the_same_numbers(report, tmp_path):
    write_csv(report, tmp_path / "m.csv")
    with (tmp_path / "m.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    results = report.results
    assert len(rows) == len(results)
    for row, one in zip(rows, results, strict=True):
        assert float(row["value"]) == pytest.approx(one.measurement.value)
        assert row["unit"] == one.measurement.unit
        assert row["software"].startswith("MarrowAssess ")
        assert row["settings"] == "erosion 1 mm; N4 off"
        assert "phantom" in row["inputs"]
        if one.measurement.statistics:
            assert int(row["voxels"]) == one.measurement.statistics.voxels


class Page(HTMLParser):
    """Collects what a page loads and whether its tags close."""

    void = frozenset({"meta", "img", "br", "line", "circle", "polyline", "polygon"})

    def __init__(self):
        super().__init__()
        self.open, self.loads, self.cells = [], [], []

    def handle_starttag(self, tag, attributes):
        self.loads += [v for k, v in attributes if k == "src" or (tag == "link" and k == "href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_data(self, text):
        if self.open and self.open[-1] in ("td", "span"):
            self.cells.append(text)

    def handle_endtag(self, tag):
        if tag in self.void:
            return
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(report, tmp_path):
    picture = tmp_path / "p.png"
    picture.write_bytes(bytes.fromhex("89504e470d0a1a0a"))
    write_html(report, headlines(report), tmp_path / "r.html", {"A picture": picture})
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.loads
    assert all(source.startswith("data:image/png;base64,") for source in page.loads)
    assert "{{" not in text
    assert "research use only" in text
    assert page.cells
    assert not any(re.search(r"\b(nan|None|inf)\b", cell) for cell in page.cells)


def test_the_page_shows_the_lesion_and_its_source(report, tmp_path):
    write_html(report, headlines(report), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "flip-flop sign" in text
    assert "Regions were eroded by 1 mm (noise was not)." in text
    assert "Chen" in text  # the source of the enhancement reference


def test_limits_say_where_they_may_lie_themselves_and_numbers_how_they_repeat(phantom, tmp_path):
    study = with_map(phantom.study(), Contrast.PDFF, {"L3 marrow": 36.0}, age_years=40.0, sex="F")
    one = assess(study)
    write_html(one, headlines(one), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Regions were used as drawn, without erosion." in page
    assert re.search(r"the population.{1,6}s own limits lie in 1\d\.\d-\d+\.\d % and 4", page)
    assert "Repeatability: within-subject CV 2.16 % (n 99" in page
    pdff = next(m for m in as_dict(one, headlines(one))["measurements"] if m["site"] == "L3")
    assert pdff["repeatability"]["change"] == pytest.approx(2.77 * 0.0216 * 36, abs=0.01)
    assert pdff["expected"]["limits95"][0][0] == pytest.approx(13, abs=1)


def test_an_infant_s_age_is_told_in_months(phantom, tmp_path):
    study = phantom.study()
    study.age_years = 8 / 12
    one = assess(study)
    write_html(one, headlines(one), tmp_path / "r.html")
    assert "8 months" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert report_lines(one, [])[1].startswith("8 months, ")


def test_groups_of_levels_stand_below_the_levels_and_exponents_are_raised(phantom, tmp_path):
    one = assess(with_map(phantom.study(), Contrast.D, {f"L{n} marrow": 0.4 for n in range(1, 6)}))
    sites = [r.measurement.site for r in one.results if r.measurement.quantity == "marrow_d"]
    assert sites == ["L1", "L2", "L3", "L4", "L5", "S1", "L1-L4"]
    write_html(one, headlines(one), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Marrow D (10⁻³ mm²/s)" in page and "mm^2" not in page


def test_units_are_raised_and_names_stay():
    raised = with_powers("10^-3 mm^2/s, mg/cm^3, b (s/mm^2), um^2/ms, Doe^2, 10^12")
    assert raised == "10⁻³ mm²/s, mg/cm³, b (s/mm²), um²/ms, Doe^2, 10¹²"


def test_a_failed_write_leaves_neither_file_nor_rest(tmp_path):
    with pytest.raises(RuntimeError), files.written_whole(tmp_path / "x.json") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_nothing_compared_is_not_called_normal(phantom, tmp_path):
    study = phantom.study()
    study.age_years = None
    study.volumes = {Contrast.FS_T2: study.volumes[Contrast.FS_T2]}
    one = assess(study)
    write_html(one, headlines(one), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "No value could be compared with an age reference: the patient" in page
    assert "lies outside" not in page


def test_names_with_markup_or_braces_stay_text(phantom, tmp_path):
    study = phantom.study()
    study.subject = "<script>alert(1)</script> {{references}}"
    study.inputs = {"T1": "{{measurements}}.nii.gz"}
    one = assess(study)
    write_html(one, headlines(one), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; {{references}}" in page
    assert "{{measurements}}.nii.gz" in page
