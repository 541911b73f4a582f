"""Every command of the README does what it says; the first two are run by .ci/run."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import REPOSITORY
from MarrowAssessLib.sample.tibia import TRUE, Tibia

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MODULES = ("MarrowAssess", "PDFFMapper")


def block(marker: str) -> str:
    """The code block that follows a marker."""
    return re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)```", README, re.S)[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with what `marrowassess demo` makes, where `marrowassess` is a command."""
    folder = tmp_path_factory.mktemp("readme")
    command = folder / "bin" / "marrowassess"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m MarrowAssessLib.commands.main "$@"\n'
    )
    command.chmod(0o755)
    if made := os.environ.get("MARROWASSESS_DEMO"):  # .ci/run has just run it
        shutil.copytree(made, folder / "marrowassess-demo")
    else:
        run(folder, "marrowassess demo --no-scene")
    return folder


def run(folder, script: str, program: str = "sh") -> str:
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "MARROWASSESS_COHORTS": str(folder / "cohorts"),
    }
    arguments = ["sh", "-euc", script] if program == "sh" else [sys.executable, "-c", script]
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_shell_and_python_block_is_run_by_someone():
    markers = set(re.findall(r"<!-- (command: \w+|python: \w+) -->\n```(?:sh|python)", README))
    assert len(re.findall(r"^```(?:sh|python)", README, re.M)) == len(markers)
    by_ci = {"command: demo", "command: test"}
    here = {
        "command: assess", "command: cohort", "command: place", "command: drawn",
        "command: references", "command: maps", "command: radiomics", "command: dicom",
        "command: follow", "command: summary",
        "command: compare",
        "command: conformance",
        "python: console",
        "command: spectrum",
        "command: dect", "command: calibrate",
        "command: ute",
        "command: whole",
    }  # fmt: skip
    assert markers == by_ci | here


def test_the_demo_s_report_shows_texture(folder):
    page = (folder / "marrowassess-demo" / "report.html").read_text(encoding="utf-8")
    table = page[page.index("<summary>Texture") :]
    assert "ACUI" in table and "L3 marrow: 2.5D, merged; bins of 2.5 from 0; " in table


def test_assess_command(folder):
    printed = run(folder, block("command: assess"))
    assert "Spine found without a point, levels from the sacrum" in printed
    assert re.search(r"L2 .*Marrow PDFF .* below", printed)
    assert {"report.html", "measurements.csv", "assessment.json", "scene.mrb"} <= {
        file.name for file in (folder / "result").iterdir()
    }


@pytest.mark.parametrize(
    ("name", "result", "sites"),
    [
        ("place", "result_of_points", {"L1", "L2", "L3", "L4", "L5", "L1-L4"}),
        ("drawn", "result_of_labels", {"L1", "L2", "L3", "L4", "L1-L4"}),
    ],
)
def test_assess_in_other_words(folder, name, result, sites):
    assert "VBQ" in run(folder, block(f"command: {name}"))
    with (folder / result / "measurements.csv").open(newline="") as stream:
        assert {row["site"] for row in csv.DictReader(stream)} >= sites


def test_nothing_is_drawn_or_clicked_in_the_first_examples():
    """Whoever reads from the top meets the way without a click first."""
    by_hand = re.compile(r"--label|--column \w+=|--place|--segmentation|labels=|rules=")
    for kind, first in (("command", "assess"), ("command", "cohort"), ("python", "console")):
        assert not by_hand.search(block(f"{kind}: {first}")), first
    assert README.index("command: assess -->") < README.index("command: place -->")


def test_maps_commands(folder):
    printed = run(folder, block("command: maps"))
    assert "supported model ivim" in printed
    with (folder / "maps" / "waterfat_regions.csv").open(newline="") as stream:
        rows = {(row["region"], row["map"]): row for row in csv.DictReader(stream)}
    # Label 5 is L3: 36 % fat, T2* 16 ms.
    assert float(rows["5", "PDFF"]["mean"]) == pytest.approx(36, abs=0.2)
    assert float(rows["5", "R2star"]["mean"]) == pytest.approx(62.5, abs=1)


def test_conformance_command(folder):
    if not (folder / "maps").exists():
        run(folder, block("command: maps"))
    printed = run(folder, block("command: conformance"))
    assert "5 vials of 0 to 95 %, 1 scan of 1 condition" in printed
    assert "met: demo: bias within -1.5 to 1.5 points" in printed
    assert "met: demo: slope within 0.95 to 1.05" in printed and "NOT MET" not in printed
    assert (folder / "phantom" / "conformance.svg").is_file()


def test_compare_command(folder):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from MarrowAssessLib.cohort.tables import write_measurements

    rows = [
        {"study": f"{n}{visit}", "patient": str(n), "session": visit, "quantity": "vbq",
         "site": "L1-L4", "regions": "", "value": 2.5 + n / 10 + visit / (9 + n), "doubtful": ""}
        for n in range(4) for visit in (1, 2)
    ]  # fmt: skip
    shutil.rmtree(folder / "results", ignore_errors=True)
    (folder / "results").mkdir()
    write_measurements(rows, folder / "results")
    assert "repeatability: 1 rows" in run(folder, block("command: compare"))
    assert "ICC(2,1)" in (folder / "compared" / "compare.html").read_text()
    shutil.rmtree(folder / "results")


def test_cohort_command(folder):
    pytest.importorskip("distributed", reason="distributed is not installed")
    assert "1 measured now; 1 done, 0 failed" in run(folder, block("command: cohort"))
    with (folder / "results" / "measurements.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["site"] for row in rows} >= {"L1", "L2", "L3", "L4", "L5", "S1", "L1-L4"}
    assert "vbq" in {row["quantity"] for row in rows}


def test_dual_energy_command(folder):
    run(folder, block("command: dect"))
    assert "with this calibration" in run(folder, block("command: calibrate"))
    with (folder / "maps" / "dect_regions.csv").open(newline="") as stream:
        rows = {(row["region"], row["map"]): row for row in csv.DictReader(stream)}
    assert float(rows["5", "HAP"]["mean"]) == pytest.approx(110, abs=5)
    with (folder / "result_of_ct" / "measurements.csv").open(newline="") as stream:
        assert {"marrow_hap", "marrow_vnca"} <= {row["quantity"] for row in csv.DictReader(stream)}


def test_whole_body_commands(folder):
    import numpy as np
    from MarrowAssessLib.catalogue.contrasts import Contrast
    from PDFFMapperLib.images.files import write_volume
    from test_whole_body import lesion_study, write_4d

    study, lesions = lesion_study()
    adc, high = (study.volumes[one] for one in (Contrast.ADC, Contrast.DWI))
    frames = np.stack([high.array * np.exp(0.85 * adc.array), high.array])
    for name, first, last in (("legs", 0, 24), ("trunk", 20, 40)):
        grid = adc.ijk_to_ras.copy()
        grid[:3, 3] = adc.to_ras(np.array([0, 0, first]))
        write_4d(folder / f"{name}.nii.gz", frames[:, first:last], grid)
        (folder / f"{name}.bval").write_text("50 900\n")
    labels = np.zeros(adc.array.shape, np.uint8)
    for n, one in enumerate(study.regions, 1):
        labels[one.box][one.mask] = n
    write_volume(adc.with_array(labels), folder / "skeleton.nrrd")
    assert "3 pieces of more than 5 mm" in run(folder, block("command: whole"))
    with (folder / "lesions" / "measurements.csv").open(newline="") as stream:
        rows = {row["quantity"]: float(row["value"]) for row in csv.DictReader(stream)}
    true = np.count_nonzero(lesions) * 0.008
    assert rows["diffusion_volume"] == pytest.approx(true, rel=0.05)
    assert rows["global_adc"] == pytest.approx(0.9, abs=0.01)


def test_follow_up_command(folder):
    content = json.loads((folder / "marrowassess-demo" / "assessment.json").read_text())
    for visit in ("visit_1", "visit_2"):
        (folder / visit).mkdir()
        (folder / visit / "assessment.json").write_text(json.dumps(content))
        content["measurements"][0]["value"] *= 1.0001  # no two examinations give the same
    assert ", 0 beyond measurement error" in run(folder, block("command: follow"))
    assert (folder / "follow_up" / "follow_up.html").is_file()


def test_summary_command(folder):
    sign = {
        "sign": "focal lysis", "site": "distal femur", "side": "left", "certainty": "definite",
    }  # fmt: skip
    form = {
        "schema": "marrowassess-xray-1", "day": 0, "reader": "A", "view": "knee AP",
        "quality": "good", "findings": [sign],
    }  # fmt: skip
    (folder / "form.json").write_text(json.dumps(form))
    printed = run(folder, block("command: summary"))
    assert "knee AP, quality good: definite focal lysis of the left distal femur" in printed
    assert re.search(r"L2: cellular marrow in \d of \d modalities .*PDFF", printed)
    page = (folder / "summary" / "summary.html").read_text(encoding="utf-8")
    assert "Marrow/liver" in page and "focal lysis" in page


def test_dicom_command(folder):
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    from dicom_files import write_as_dicom
    from PDFFMapperLib.images.files import read_volume

    image = read_volume(folder / "marrowassess-demo" / "images" / "T1.nrrd")
    write_as_dicom(image, folder / "study_folder")
    assert "Wrote 2 DICOM objects to dicom" in run(folder, block("command: dicom"))


def test_spectrum_commands(folder):
    printed = run(folder, block("command: spectrum"))
    assert "T2 of water, MRS: 21" in printed
    with (folder / "with_spectrum" / "measurements.csv").open(newline="") as stream:
        rows = {row["quantity"]: row for row in csv.DictReader(stream)}
    assert rows["mrs_pdff"]["site"] == "L3"
    assert "Spectrum of L3" in (folder / "with_spectrum" / "report.html").read_text()


def test_ute_commands(folder):
    printed = run(folder, block("command: ute"))
    with (folder / "with_ute" / "measurements.csv").open(newline="") as stream:
        rows = {row["quantity"]: row for row in csv.DictReader(stream)}
    assert "Cortex: thickness 4." in printed
    assert {"ute_thickness", "ute_pi", "ute_bound_fraction"} <= set(rows)
    assert rows["ute_thickness"]["site"] == "tibial diaphysis"
    for key, truth in TRUE.items():  # of the sample patient's tibia
        low, high = float(rows[key]["ci95_low"]), float(rows[key]["ci95_high"])
        assert low <= truth(Tibia()) <= high, key


def test_references_commands(folder):
    printed = run(folder, block("command: references"))
    assert "above" in printed
    assert "Baum" in printed


def test_console_code(folder):
    printed = run(folder, block("python: console"), "python")
    assert re.search(r"L3 marrow_pdff 36\.\d % within", printed)


def test_pictures_are_there():
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (REPOSITORY / path).is_file(), path


def test_what_the_tutorials_name_stands_in_the_panels():
    from PDFFMapperLib.recipes import FAMILIES

    tutorials = re.findall(
        r"^## Five minutes with \w+ in Slicer$(.*?)(?=^## )", README, re.M | re.S
    )
    text = re.sub(r"!\[.*?\)|\*\*.*?\*\*|`.*?`|R2\*", "", "".join(tutorials), flags=re.S)
    named = {" ".join(one.split()) for one in re.findall(r"\*([^*]+)\*", text)}
    forms = [REPOSITORY / name / "Resources/UI" / f"{name}.ui" for name in MODULES]
    shown = set(re.findall(r"<string>(.*?)</string>", "".join(f.read_text("utf-8") for f in forms)))
    shown |= {family.title for family in FAMILIES} | {"Method:", "Advanced", *MODULES}
    shown = {re.sub(r"^\d\. |:$| [▲▼]$", "", one) for one in shown}
    in_menus = {one for one in named if one.startswith("Sample Data > ")}
    assert len(named) > 20 and named - in_menus <= shown
    source = (REPOSITORY / "MarrowAssess/MarrowAssessLib/panel/sample_data.py").read_text("utf-8")
    for one in in_menus:
        assert f'"{one.split(" > MarrowAssess > MarrowAssess")[1]}"' in source, one


def test_radiomics_command(folder):
    run(folder, block("command: radiomics"))
    with open(folder / "texture" / "radiomics.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["site"] for row in rows] == ["L1", "L2", "L3", "L4"]
    mean = {row["site"]: float(row["PDFF_original_Q4LE"]) for row in rows}
    assert mean["L2"] < 10 < mean["L3"]  # the lesion
    with open(folder / "texture" / "stability.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 4 * 13
