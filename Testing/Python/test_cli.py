import argparse
import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY
from MarrowAssessLib.commands import assess as assess_command
from MarrowAssessLib.commands import main as cli
from MarrowAssessLib.commands import study_options
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.outputs import output_set
from PDFFMapperLib.recipes import FAMILIES


@pytest.fixture(autouse=True)
def no_own_cohorts(tmp_path, monkeypatch):
    monkeypatch.setenv("MARROWASSESS_COHORTS", str(tmp_path / "cohorts"))


@pytest.fixture(scope="module")
def study_files(phantom, tmp_path_factory):
    """The phantom's T1, STIR, labels and markups as files."""
    folder = tmp_path_factory.mktemp("study")
    study = phantom.study()
    for contrast, volume in study.volumes.items():
        write_volume(volume, folder / f"{contrast.value}.nii.gz")
    write_volume(phantom.labels, folder / "labels.nii.gz")
    return folder


def labels_of(phantom):
    return [
        argument
        for rule in phantom.rules
        for argument in ("--label", f"{rule.value}={rule.role.value}:{rule.site}")
    ]


def run(*arguments) -> int:
    return cli.main([str(argument) for argument in arguments])


def basic(files, phantom, out):
    return [
        "assess", "--volume", f"T1={files / 'T1.nii.gz'}", "--volume",
        f"STIR={files / 'FS_T2.nii.gz'}", "--labels", files / "labels.nii.gz",
        *labels_of(phantom), "--age", 34, "--sex", "M", "--no-scene", "--out", out,
    ]  # fmt: skip


def test_assess_writes_the_phantom_s_truth(study_files, phantom, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(*basic(study_files, phantom, out)) == 0
    assert sorted(f.name for f in out.iterdir()) == [
        "assessment.json", "measurements.csv", "muscle_sections.csv", "report.html",
    ]  # fmt: skip
    with (out / "measurements.csv").open(newline="") as stream:
        rows = {(r["quantity"], r["site"]): r for r in csv.DictReader(stream)}
    vbq = float(rows["vbq", "L1-L4"]["value"])
    from MarrowAssessLib.measures.measurement import Measurement

    names = ("L1 marrow", "L2 marrow", "L3 marrow", "L4 marrow")
    truth = phantom.true_value(Measurement("vbq", "L1-L4", 0, names, ("L3 CSF",)))
    assert vbq == pytest.approx(truth, rel=0.01)
    printed = capsys.readouterr().out
    assert "VBQ" in printed
    assert "flip-flop" in printed


def test_a_study_file_says_the_same_as_options(study_files, phantom, tmp_path):
    content = {
        "age_years": 34, "sex": "M",
        "volumes": {"T1": "T1.nii.gz", "STIR": "FS_T2.nii.gz"},
        "labels": "labels.nii.gz",
        "label_rules": [f"{r.value}={r.role.value}:{r.site}" for r in phantom.rules],
    }  # fmt: skip
    one, other = tmp_path / "one", tmp_path / "other"
    assert run(*basic(study_files, phantom, one)) == 0
    for written in ({}, {"age_years": "034Y", "sex": "male"}):
        (study_files / "study.json").write_text(json.dumps(content | written))
        arguments = ["assess", "--study", study_files / "study.json", "--no-scene", "--out", other]
        assert run(*arguments) == 0
        assert (one / "measurements.csv").read_text() == (other / "measurements.csv").read_text()


def test_patient_identity_is_nowhere_in_the_outputs(study_files, phantom, tmp_path):
    out = tmp_path / "out"
    run(*basic(study_files, phantom, out))
    content = json.loads((out / "assessment.json").read_text())
    assert content["patient"] == {"age_years": 34.0, "sex": "M", "subject": ""}
    assert str(study_files) not in (out / "report.html").read_text()


def test_a_subject_is_named_when_asked_for(study_files, phantom, tmp_path):
    out = tmp_path / "out"
    assert run(*basic(study_files, phantom, out), "--subject", "Study 7") == 0
    assert "Study 7" in (out / "report.html").read_text()


def test_files_of_an_earlier_run_go_and_those_of_others_stay(study_files, phantom, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "scene.mrb").write_text("saved by hand")
    with output_set(out, "assessment.json") as made:
        (made / "assessment.json").write_text("{}")
        (made / "overlay_3d.png").write_bytes(b"\0\0\0\0IEND\xaeB`\x82")
    assert (out / "overlay_3d.png").exists()
    assert run(*basic(study_files, phantom, out)) == 0
    assert sorted(f.name for f in out.iterdir()) == [
        "assessment.json", "measurements.csv", "muscle_sections.csv", "report.html", "scene.mrb",
    ]  # fmt: skip
    assert (out / "scene.mrb").read_text() == "saved by hand"


def test_a_study_file_is_not_overwritten_by_the_report(study_files, phantom, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "assessment.json").write_text('{"volumes": {}}')
    assert run(*basic(study_files, phantom, out)) == 2
    assert "was not made by this software" in capsys.readouterr().err
    assert (out / "assessment.json").read_text() == '{"volumes": {}}'


def test_the_point_radius_of_a_study_file_gives_way_to_the_option(study_files, tmp_path):
    from MarrowAssessLib.sources.study_files import read_study

    l3 = {"label": "L3 marrow", "position": [0, 0, 0]}
    markups = {"markups": [{"type": "Fiducial", "controlPoints": [l3]}]}
    (tmp_path / "points.mrk.json").write_text(json.dumps(markups))
    volumes = {"T1": str(study_files / "T1.nii.gz")}
    content = {"volumes": volumes, "markups": ["points.mrk.json"], "point_radius_mm": 3}
    (tmp_path / "study.json").write_text(json.dumps(content))
    voxels = []
    for radius in ([], ["--point-radius-mm", "12"]):
        parser = argparse.ArgumentParser()
        assess_command.add_arguments(parser)
        study = ["--study", str(tmp_path / "study.json"), "--out", "x"]
        read, _ = study_options.study_files(parser.parse_args([*study, *radius]))
        voxels.append(read_study(read).regions[0].voxels)
    assert voxels[1] == pytest.approx(64 * voxels[0], rel=0.3)


def bad(files, **changes):
    """Arguments of assess with one thing wrong."""
    options = {
        "--volume": f"T1={files / 'T1.nii.gz'}",
        "--labels": files / "labels.nii.gz",
        "--label": "1=marrow:L1",
    } | {f"--{key.replace('_', '-')}": value for key, value in changes.items()}
    return [x for key, value in options.items() if value is not None for x in (key, value)]


def four_dimensional(folder):
    import SimpleITK as sitk

    series = sitk.GetImageFromArray(np.zeros((2, 3, 4, 5), np.float32), isVector=False)
    sitk.WriteImage(series, str(folder / "4d.nii.gz"))
    return folder / "4d.nii.gz"


def truncated(folder):
    whole = (folder / "T1.nii.gz").read_bytes()
    (folder / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    return folder / "cut.nii.gz"


def shifted(folder, phantom):
    volume = phantom.study().grid
    moved = volume.with_array(volume.array)
    moved.ijk_to_ras[:3, 3] += 5
    write_volume(moved, folder / "moved.nii.gz")
    return folder / "moved.nii.gz"


def test_bad_input_gives_one_sentence_a_code_and_no_output(study_files, phantom, tmp_path, capsys):
    folder = study_files
    nan = phantom.study().grid
    write_volume(
        nan.with_array(np.full(nan.array.shape, np.nan, np.float32)), folder / "nan.nii.gz"
    )
    zero = nan.with_array(np.where(phantom.labels.array > 12, 0, nan.array))
    write_volume(zero, folder / "zero.nii.gz")
    all_labels = labels_of(phantom)
    cases = {
        "there is no such file": bad(folder, volume=f"T1={folder / 'none.nii.gz'}"),
        "label 99 (L1 marrow) is empty": bad(folder, label="99=marrow:L1"),
        "nothing can be divided by it": [
            "--volume", f"T1={folder / 'zero.nii.gz'}", "--labels", folder / "labels.nii.gz",
            *all_labels,
        ],
        "this image is empty": [
            "--volume", f"T1={folder / 'nan.nii.gz'}", "--labels", folder / "labels.nii.gz",
            *all_labels,
        ],
        "'-4' is no age; write 34, 12.5, 8 months": bad(folder, age="-4"),
        "Age 150 years is not possible": bad(folder, age="150"),
        "'fifty' is no age": bad(folder, age="fifty"),
        "'65M' may be months or weeks, or years and a sex": bad(folder, age="65M"),
        "'34 w' may be months or weeks, or years and a sex": bad(folder, age="34 w"),
        "Unknown sex 'w'; expected M, F or nothing": bad(folder, sex="w"),
        "not in percent; give its scale": bad(folder, volume=f"PDFF={folder / 'T1.nii.gz'}"),
        "is on another voxel grid": bad(folder, volume=f"T1={shifted(folder, phantom)}"),
        "may be truncated": bad(folder, volume=f"T1={truncated(folder)}"),
        "a 3D volume is expected": bad(folder, volume=f"T1={four_dimensional(folder)}"),
        "Unknown site 'L9'": bad(folder, label="1=marrow:L9"),
        "Unknown volume role": bad(folder, volume=f"US={folder / 'T1.nii.gz'}"),
        "Unknown tissue role": bad(folder, label="1=bone:L1"),
        "T1: expected ROLE=..., such as T1=t1.nii.gz": bad(folder, volume="T1"),
        "no voxel is left": bad(folder, erode_mm="50"),
        "T1 is given twice": [*bad(folder), "--volume", f"T1={folder / 'T2.nii.gz'}"],
        "but no label map": bad(folder, labels=None),
        "no such volume": bad(folder, scale="ADC=0.001"),
        "expected a mean and an SD": [*bad(folder), "--m-score-reference", "nan", "1"],
        "Nothing can be measured on T1 in L5 marrow": bad(folder, label="2=marrow:L5"),
        "holds whole numbers": bad(
            folder, label=None, labels_of="TotalSpineSeg", labels=folder / "nan.nii.gz"
        ),
        "not a Slicer markups file": bad(folder, markups=folder / "labels.nii.gz"),
    }  # fmt: skip
    for words, arguments in cases.items():
        out = tmp_path / "out"
        assert run("assess", *arguments, "--no-scene", "--out", out) == cli.BAD_INPUT, words
        message = capsys.readouterr().err.strip().splitlines()
        complaint = [line for line in message if not line.endswith("...")]
        assert len(complaint) == 1, message
        assert words in complaint[0], message
        assert not out.exists(), words


def test_the_demo_refuses_a_file_as_its_folder_before_it_computes(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run("demo", "--out", tmp_path / "file") == cli.BAD_INPUT
    (complaint,) = capsys.readouterr().err.strip().splitlines()
    assert complaint.endswith("file: this is a file; name a folder.")


def test_references_answers_and_refuses(tmp_path, capsys):
    arguments = ["references", "--quantity", "marrow_pdff", "--site", "L2"]
    assert run(*arguments, "--age", 25, "--sex", "F") == 0
    printed = capsys.readouterr().out
    assert "27.2" in printed
    assert "Baum" in printed
    assert run(*arguments, "--age", -1) == cli.BAD_INPUT
    assert run("references", "--quantity", "nonsense", "--age", 25) == cli.BAD_INPUT
    capsys.readouterr()
    for words, asked in {
        "--plot needs --quantity, such as": [],
        "Marrow PDFF: no source gives a distribution or a frequency by age at foot": [
            "--quantity", "marrow_pdff", "--site", "foot",
        ],
    }.items():  # fmt: skip
        assert run("references", "--plot", tmp_path / "p.svg", *asked) == cli.BAD_INPUT
        assert words in capsys.readouterr().err
    assert not (tmp_path / "p.svg").exists()


def test_the_command_starts_without_loading_what_it_does_not_need():
    code = (
        "import sys; before = set(sys.modules)\n"
        "from MarrowAssessLib.commands.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'numba', 'SimpleITK', 'vtk', 'slicer', 'skimage', 'pydicom'}\n"
        "heavy |= {'dataclasses', 'hashlib', 'subprocess', 'tempfile', 'traceback'}\n"
        "heavy &= set(sys.modules) - before\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ("demo", "assess", "references"))


def test_a_name_that_the_output_cannot_hold_is_no_fault(study_files, tmp_path):
    folder = tmp_path / "\ud55c\uad6d"
    folder.mkdir()
    shutil.copy(study_files / "T1.nii.gz", folder)
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, "-m", "MarrowAssessLib.commands.main", "inspect", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    assert "T1.nii.gz" in done.stdout


def test_every_command_stands_in_the_readme():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert {family.command for family in FAMILIES} <= set(cli.COMMANDS)
    assert [name for name in cli.COMMANDS if f"marrowassess {name}" not in readme] == []


@pytest.mark.parametrize("command", ["demo", "assess", "references"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        run(command, "--help")
    assert stop.value.code == 0
    assert "usage: marrowassess" in capsys.readouterr().out


def test_age_and_sex_are_read_as_people_write_them(study_files, phantom, tmp_path):
    for n, (age, years) in enumerate({"55y": 55, "008M": 8 / 12, "8 months": 8 / 12}.items()):
        out = tmp_path / str(n)
        arguments = [*bad(study_files, age=age, sex="female", label=None), *labels_of(phantom)]
        assert run("assess", *arguments, "--no-scene", "--out", out) == 0
        patient = json.loads((out / "assessment.json").read_text())["patient"]
        assert patient["age_years"] == pytest.approx(years, abs=0.06) and patient["sex"] == "F"


@pytest.mark.parametrize("arguments", [["assess", "--lumbar", "7"], ["pdff", "--field", "three"]])
def test_what_is_wrong_with_an_argument_is_one_sentence(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*arguments, "--out", tmp_path / "out")
    (said,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and arguments[1] in said
    assert said.endswith(f"Options: marrowassess {arguments[0]} --help")


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_values_may_begin_with_a_minus(command, capsys):
    commands = cli._parser([command])._subparsers._group_actions[0].choices
    for action in commands[command]._actions:
        if action.option_strings and action.nargs is None and not action.choices:
            with pytest.raises(SystemExit):
                run(command, action.option_strings[0], "-10,20,30", "--no-such-option")
            said = capsys.readouterr().err
            assert "expected one argument" not in said
