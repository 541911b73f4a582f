"""A folder of studies to one table: alike however it was stopped, and without names."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import harmful as harmful_tasks
import numpy as np
import pytest
from dicom_files import write_as_dicom
from MarrowAssessLib.cohort import apart, child, measuring, run
from MarrowAssessLib.cohort.apart import Limits, Task, end_children, measure_apart
from MarrowAssessLib.cohort.inventory import (
    StudySource,
    find_studies,
    patient_id,
    read_salt,
    salted,
)
from MarrowAssessLib.cohort.run import Plan, run_cohort
from MarrowAssessLib.cohort.state import DONE, FAILED, Outcome, State
from MarrowAssessLib.cohort.tables import CohortResult, copies_text
from MarrowAssessLib.commands.main import main
from MarrowAssessLib.report.cohort_page import cohort_page, outliers
from MarrowAssessLib.sources import study_files
from MarrowAssessLib.sources.study_file import read_study_file
from MarrowAssessLib.sources.study_files import read_study
from PDFFMapperLib.images.bids_derivative import describe
from PDFFMapperLib.images.files import read_volume, write_volume
from PDFFMapperLib.images.volume import Volume

pytest.importorskip("distributed", reason="distributed is not installed")
parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

GRID = np.diag([1.5, 1.5, 4, 1.0])
PATIENTS = 3  # the fourth study is broken


@pytest.fixture(scope="module", autouse=True)
def _children():
    """Processes that measure are started once for all tests, and end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "end_children", lambda: None)
        yield
    end_children()
    assert not apart._idle


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Three studies and a broken one; the patients' names are in files and folders."""
    root = tmp_path_factory.mktemp("cohort")
    labels = np.zeros((6, 20, 20), np.uint8)
    labels[1:5, 2:9, 2:9], labels[1:5, 11:18, 4:12] = 1, 3
    write_volume(Volume(labels, GRID), root / "labels.nrrd")
    (root / "studies").mkdir()
    rng = np.random.default_rng(2)
    for n in range(PATIENTS + 1):
        image = np.where(labels == 3, 200, 400 + 20 * n) + rng.integers(0, 30, labels.shape)
        name = f"Mueller_{n}.nrrd"
        write_volume(Volume(image.astype(np.int16), GRID), root / name)
        study = {
            "volumes": {"T1": f"../{name}"}, "labels": "../labels.nrrd", "age_years": 30 + n,
            "label_rules": ["1=marrow:L3", "3=muscle:psoas"], "sex": "F", "subject": "Mueller",
        }  # fmt: skip
        (root / "studies" / f"Mueller_{n}.json").write_text(json.dumps(study))
    (root / f"Mueller_{PATIENTS}.nrrd").write_bytes(b"NRRD0004\nsizes: 2 2\n")
    return root / "studies"


@pytest.fixture(scope="module")
def results(studies):
    out = studies.parent / "results"
    found = run_cohort(studies, out, Plan(workers=2), lambda _: None)
    assert (found.measured, found.done, found.failed) == (4, 3, 1)
    (out / "cohort.html").write_text(cohort_page(found, out), encoding="utf-8")
    return out


def table(out):
    return parquet.read_table(out / "measurements.parquet").to_pylist()


def test_every_study_gives_what_assess_gives(studies, results, tmp_path):
    rows = table(results)
    assert len({row["study"] for row in rows}) == PATIENTS
    assert len({row["patient"] for row in rows}) == 1  # three visits of one patient
    study = studies / "Mueller_1.json"
    assert main(["assess", "--study", str(study), "--no-scene", "--out", str(tmp_path)]) == 0
    one = json.loads((tmp_path / "assessment.json").read_text())["measurements"]
    same = [row for row in rows if row["age_years"] == 31]
    assert [(m["quantity"], m["site"], m["value"]) for m in one] == [
        (row["quantity"], row["site"], row["value"]) for row in same
    ]
    assert (results / "studies" / same[0]["study"] / "report.html").is_file()


def test_no_name_in_any_table_or_page(results):
    shown = [p for p in results.rglob("*") if p.is_file() and "private" not in p.parts]
    assert len(shown) >= 3 + 3 * PATIENTS
    for path in shown:
        assert b"Mueller" not in path.read_bytes(), path
    (line,) = (results / "failures.csv").read_text().splitlines()[1:]
    assert "the file may be truncated" in line


def rows_of_page(values, **facts):
    return [
        {"study": f"s{n}", "patient": "", "quantity": "marrow_pdff", "site": "L3", "value": value,
         "age_years": 30.0 + n, "sex": "F", "verdict": "within", "doubtful": "", **facts}
        for n, value in enumerate(values)
    ]  # fmt: skip


def test_the_page_shows_what_failed_and_what_is_odd(results, tmp_path):
    page = (results / "cohort.html").read_text()
    assert "<div><b>3</b>measured</div><div><b>1</b>failed</div>" in page
    assert "the file may be truncated" in page and "1.5 x 1.5 x 4" in page
    assert "T1 marrow/muscle L3, n = 3" in page

    usual = [39, 40, 41, 38, 42, 40, 39, 41, 40, 40]
    assert outliers(rows_of_page([*usual[:-1], 90])[:-1]) == []  # nine are too few
    (odd,) = outliers(rows_of_page([*usual, 60, None]))
    # median 40, median deviation 1
    assert (odd.study, odd.median, odd.z) == ("s10", 40, pytest.approx(0.6745 * 20))
    assert outliers(rows_of_page([40.0] * 10 + [41])) == []  # no scatter, no z
    (tmp_path / "studies" / "s10").mkdir(parents=True)
    (tmp_path / "studies" / "s10" / "thumbnail.png").write_bytes(b"picture")
    rows = rows_of_page([*usual, 60])
    facts = [{"T1": {"Manufacturer": "A<b>", "EchoTime": 10.0, "spacing_mm": "1 x 1 x 4"}}] * 2
    page = cohort_page(CohortResult(0, 11, rows, [("s<", "why & how.")], facts), tmp_path)
    assert '<a href="studies/s10/report.html">s10</a>' in page and "data:image/png;base64," in page
    assert "A&lt;b&gt;" in page and "why &amp; how." in page and "s&lt;" in page
    assert "L3 (%), women, n = 11" in page and "P97" in page  # the reference is of one sex
    numbers = re.findall(r"<td[^>]*>([^<]*)</td>", page.split("<h2>Numbers</h2>")[1])[:9]
    quartiles = "39.5 % to 41.0 %"
    assert numbers == ["Marrow PDFF", "L3", "11", "40.0 %", quartiles, "0", "11", "0", ""]


def test_a_study_that_is_there_twice_is_told(studies, results, tmp_path):
    """A copy under another name, which a hash of the name does not tell."""
    (tmp_path / "studies").mkdir()
    for n, name in ((0, "a"), (0, "b"), (1, "c")):
        study = (studies / f"Mueller_{n}.json").read_text().replace("../", f"{studies.parent}/")
        (tmp_path / "studies" / f"{name}.json").write_text(study)
    said = []
    found = run_cohort(tmp_path / "studies", tmp_path / "out", Plan(), said.append)
    (told,) = [one for one in said if "same numbers to the last digit" in one]
    ids = {
        one.id
        for one in find_studies(
            tmp_path / "studies", (tmp_path / "out" / "private" / "salt.txt").read_text().strip()
        )
        if one.name != "c.json"
    }
    assert set(told.split(":")[0].split(", ")) == ids and len(ids) == 2
    assert told in cohort_page(found, tmp_path / "out")
    assert copies_text(table(results)) == []
    row = {"quantity": "t1_marrow_muscle", "site": "L3", "value": 2.5, "mean": 250.3}
    rows = [row | {"study": one, "sd": 10.0 + n} for n, one in enumerate("ab")]
    assert copies_text(rows) == []  # the ratio alone is soon the same
    assert copies_text([one | {"sd": None} for one in rows]) == []  # no region's SD is known
    assert len(copies_text([one | {"sd": 10.0} for one in rows])) == 1


def test_a_cohort_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"away: there is no such folder or list."):
        find_studies(tmp_path / "away", "salt")


def test_a_clock_that_was_set_back_hides_no_change(studies, tmp_path):
    """What changed is known by size, time and content, not by what is later."""
    (tmp_path / "studies").mkdir()
    study = tmp_path / "studies" / "a.json"
    text = (studies / "Mueller_0.json").read_text().replace("../", f"{studies.parent}/")
    study.write_text(text)
    assert run_cohort(study.parent, tmp_path / "out", Plan(), lambda _: None).measured == 1
    os.utime(study, (0, 0))
    assert run_cohort(study.parent, tmp_path / "out", Plan(), lambda _: None).measured == 0
    study.write_text(text.replace('"age_years": 30', '"age_years": 31'))
    os.utime(study, (1, 1))
    assert run_cohort(study.parent, tmp_path / "out", Plan(), lambda _: None).measured == 1
    assert {row["age_years"] for row in table(tmp_path / "out")} == {31.0}


@pytest.fixture
def read_only(tmp_path):
    """A folder that nobody may write to, also not root."""
    if os.geteuid():
        (tmp_path / "read_only").mkdir(mode=0o555)
        return tmp_path / "read_only"
    if not Path("/sys/kernel").is_dir():
        pytest.skip("root may write everywhere here")
    return Path("/sys/kernel")


@pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")
def test_an_output_that_cannot_be_written_is_one_sentence(studies, read_only, capsys):
    study = str(studies / "Mueller_1.json")
    for command in (
        ["cohort", str(studies), "--out", str(read_only / "out")],
        ["assess", "--study", study, "--no-scene", "--out", str(read_only / "out")],
    ):
        capsys.readouterr()
        assert main(command) == 2
        told = capsys.readouterr().err
        assert told.splitlines()[-1].startswith("marrowassess: ") and "Traceback" not in told
    assert not (read_only / "out").exists()


def test_nothing_is_measured_twice_and_what_changed_is(studies, results):
    before = (results / "measurements.parquet").read_bytes()
    assert run_cohort(studies, results, Plan(), lambda _: None).measured == 0
    study = studies / "Mueller_0.json"
    os.utime(study)  # a new time, the same content
    assert run_cohort(studies, results, Plan(), lambda _: None).measured == 0
    assert run_cohort(studies, results, Plan(only_failed=True), lambda _: None).measured == 1
    assert (results / "measurements.parquet").read_bytes() == before
    content = study.read_text()
    study.write_text(content.replace("30", "50"))
    assert run_cohort(studies, results, Plan(), lambda _: None).measured == 1
    assert 50 in {row["age_years"] for row in table(results)}
    study.write_text(content)
    assert run_cohort(studies, results, Plan(), lambda _: None).measured == 1
    assert (results / "measurements.parquet").read_bytes() == before


def test_killed_at_any_point_it_goes_on_to_the_same_table(studies, results, tmp_path):
    out = tmp_path / "killed"
    (out / "private").mkdir(parents=True)
    (out / "private" / "salt.txt").write_text((results / "private" / "salt.txt").read_text())
    command = [sys.executable, "-m", "MarrowAssessLib.commands.main", "cohort", str(studies),
               "--out", str(out)]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    quiet = subprocess.DEVNULL
    running = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)
    places = out / "studies"
    end = time.monotonic() + 60
    while time.monotonic() < end and not (places.is_dir() and any(places.glob("[!.]*"))):
        time.sleep(0.02)  # until the first study is there
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (out / "measurements.parquet").exists()
    counts = run_cohort(studies, out, Plan(), lambda _: None)
    assert (counts.done, counts.failed) == (PATIENTS, 1)
    for name in ("measurements.parquet", "measurements.csv", "failures.csv"):
        assert (out / name).read_bytes() == (results / name).read_bytes()


def test_a_second_run_and_a_newer_version_are_refused(tmp_path):
    state = State(tmp_path)
    with pytest.raises(ValueError, match="another run is writing this cohort"):
        State(tmp_path)
    state._base.execute("PRAGMA user_version=99")
    state.close()
    with pytest.raises(ValueError, match="this cohort was written by a newer version"):
        State(tmp_path)


def test_what_keeps_the_state_is_damaged_or_cannot_be_written(tmp_path):
    (tmp_path / "state.sqlite").write_text("rubbish " * 100)
    with pytest.raises(ValueError, match=r"state.sqlite is damaged; remove it"):
        State(tmp_path)
    (tmp_path / "state.sqlite").unlink()
    State(tmp_path).close()
    with pytest.raises(ValueError, match=r"what becomes of the studies cannot be written \(unable"):
        State(tmp_path / "missing")
    (tmp_path / "salt.txt").write_text("\n")
    with pytest.raises(ValueError, match="this is no salt of 16 letters and digits or more, so"):
        read_salt(tmp_path / "salt.txt")


def test_results_that_cannot_be_put_in_place_leave_the_old_ones(tmp_path, monkeypatch):
    class Fake:
        studies = 1

        def measure(self, task):
            return Outcome(DONE)  # and nothing was written

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("old")
    monkeypatch.setattr(apart, "_idle", [Fake()])
    outcome = apart._once(Task(StudySource("a", tmp_path, ()), tmp_path / "out"))
    assert outcome.state == FAILED and outcome.reason == "No such file or directory."
    assert [path.name for path in tmp_path.rglob("*.*")] == ["old.txt"]


def test_folders_of_dicom_are_studies(tmp_path, monkeypatch):
    image = Volume(np.full((4, 8, 8), 300, np.int16), GRID)
    write_as_dicom(image, tmp_path / "studies" / "Mueller" / "T1", SeriesDescription="t1 tse sag")
    (tmp_path / "studies" / "notes").mkdir()
    (tmp_path / "studies" / "notes" / "read.txt").write_text("nothing")
    (study,) = find_studies(tmp_path / "studies", "salt")
    assert study.path.name == "Mueller" and len(study.files) == 4
    monkeypatch.setattr(child, "_limit_memory", lambda _: None)
    outcome = child.outcome_of(Task(study, tmp_path / "out"))
    assert outcome.state == FAILED and not outcome.crashed
    assert "Mueller" not in outcome.reason and outcome.reason.endswith(".")
    assert patient_id(study.path) == "4711-secret"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no study is in this folder"):
        find_studies(tmp_path / "empty", "")


def test_of_a_folder_the_sagittal_series_is_taken_and_said(studies, tmp_path, monkeypatch):
    """It was taken and not said."""
    axial = np.diag([1.0, 1.0, 4.0, 1.0])
    sagittal = axial[:, [1, 2, 0, 3]] @ np.diag([1.0, 0.25, 4.0, 1.0])
    for n, grid in enumerate((sagittal, axial, axial), start=3):
        facts = {"SeriesNumber": n, "SeriesDescription": "t1 tse Mueller"}
        image = Volume(np.full((4, 24, 20), 100 * n), grid)
        write_as_dicom(image, tmp_path / "in" / "Mueller" / f"{n}", **facts)
    drawn = read_study(read_study_file(studies / "Mueller_1.json"))  # the folder has no regions
    monkeypatch.setattr(study_files, "read_study", lambda files: drawn)
    (source,) = find_studies(tmp_path / "in", "salt")
    measuring.measured(Task(source, tmp_path, staging=tmp_path / "out"))
    notes = json.loads((tmp_path / "out" / "assessment.json").read_text())["notes"]
    assert any("the sagittal one of 3 volumes" in note for note in notes)
    assert "Mueller" not in " ".join(notes)


def harmful(folder, name, **limits):
    source = StudySource("a", folder / "a.json", ())
    return Task(source, folder / "out", limits=Limits(**limits), measure=f"harmful:{name}")


@pytest.mark.parametrize(
    ("harm", "reason", "limits"),
    [
        ("endless", "It took more than 0.5 s.", {"seconds": 0.5}),
        ("killed", "Its process ended by itself (SIGKILL).", {}),
        ("greedy", "It needs more than 1 GB of memory.", {"gigabytes": 1}),
    ],
)
def test_a_study_that_harms_its_process_fails_after_one_more_try(tmp_path, harm, reason, limits):
    outcome = measure_apart(harmful(tmp_path, harm, **limits))
    assert (outcome.state, outcome.reason, outcome.crashed) == (FAILED, reason, True)
    assert outcome.by_limit is bool(limits)
    assert (tmp_path / "tries").read_text() == "xx"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tries"]


def test_a_process_is_kept_for_the_next_study_also_below_one_that_may_have_no_children(tmp_path):
    """A Dask worker with a nanny is such a process (daemonic)."""

    def measure(answer):
        apart._idle.clear()  # those of the process that this one was forked from
        answer.send([measure_apart(harmful(tmp_path, "harmless")).rows for _ in range(2)])
        end_children()

    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
    multiprocessing.get_context("fork").Process(target=measure, args=(there,), daemon=True).start()
    (one,), (two,) = here.recv()
    assert one["process"] == two["process"] != os.getpid()


def test_unforeseen_faults_are_told(studies, tmp_path, monkeypatch):
    task = Task(find_studies(studies, "")[0], tmp_path / "out")

    def fault(error):
        def measured(_):
            raise error

        return measured

    monkeypatch.setattr(child, "_limit_memory", lambda _: None)  # not of this process
    for error, words in (
        (KeyError("x"), "It cannot be measured (KeyError: 'x')."),
        (OSError(28, "No space left on device"), "No space left on device."),
    ):
        monkeypatch.setattr(measuring, "measured", fault(error))
        assert child.outcome_of(task).reason == words
    monkeypatch.undo()
    study = json.loads(task.source.path.read_text()) | {"label_rules": ["1=csf:L3"]}
    alone = tmp_path / "alone.json"
    alone.write_text(json.dumps(study).replace("../", f"{studies.parent}/"))
    with pytest.raises(ValueError, match=r"on T1 in L3 CSF \(no marrow and no muscle region"):
        measuring.measured(Task(StudySource("a", alone, ()), tmp_path / "o"))


def test_command_and_its_refusals(studies, tmp_path, capsys, monkeypatch):
    assert main(["cohort", str(studies), "--out", str(tmp_path), "--dry-run"]) == 0
    assert "Mueller_0.json: 3 files" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())
    assert main(["cohort", str(studies), "--out", str(tmp_path), "--workers", "0"]) == 2
    assert "--workers, --minutes and --gigabytes must be above 0" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["cohort", str(studies), "--out", str(tmp_path)]) == 2
    assert "A cohort runs on Dask; install it with" in capsys.readouterr().err
    assert Outcome(FAILED).rows == []


def test_a_folder_without_studies_leaves_nothing_behind(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "missing"):
        assert main(["cohort", str(tmp_path / folder), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def listing(path, text):
    path.write_text(text)
    return find_studies(path, "salt")


def test_a_list_is_a_cohort(studies, tmp_path, monkeypatch, capsys):
    (one, two) = listing(
        studies.parent / "list.csv",
        "Patient,Visit,T1,labels,label_rules,Age,sex,resample,group,days\n"
        "Mueller,b,Mueller_1.nrrd,labels.nrrd,1=marrow:L3;3=muscle:psoas,31,F,false,case,90\n"
        "Mueller,a,Mueller_gone.nrrd,labels.nrrd,,31,F,,,0\n\n",
    )
    assert (one.name, one.patient, one.session) == ("Mueller/a", "Mueller", "a")
    assert two.columns == (("group", "case"), ("days", "90"))
    assert [file.name for file in two.files] == ["Mueller_1.nrrd", "labels.nrrd"]
    monkeypatch.setattr(child, "_limit_memory", lambda _: None)
    staging = tmp_path / "staging"
    outcome = child.outcome_of(Task(two, tmp_path / "out", staging=staging))
    assert (outcome.state, outcome.rows[0]["age_years"]) == (DONE, 31)
    assert outcome.facts["patient"] == "Mueller"
    assert outcome.facts["acquired"]["T1"] == {"spacing_mm": "1.5 x 1.5 x 4"}
    assert (staging / "thumbnail.png").read_bytes()[-8:-4] == b"IEND"
    rows = run._rows([(two.id, outcome)], [one, two], "salt")
    who = [rows[0][key] for key in ("study", "patient", "session", "group", "days")]
    assert who == [two.id, salted("Mueller", "salt"), 2, "case", "90"]
    failed = child.outcome_of(Task(one, tmp_path / "out", staging=staging))
    assert failed.state == FAILED and "Mueller" not in failed.reason and failed.reason
    wrong = replace(one, content='{"T2": 1}')
    failed = child.outcome_of(Task(wrong, tmp_path / "out", staging=staging))
    assert "unknown key T2" in failed.reason and "Mueller" not in failed.reason
    assert main(["cohort", str(studies.parent / "list.csv"), "--dry-run", "--out", "x"]) == 0
    assert "Mueller/a: T1; 1 files; missing: T1 Mueller_gone.nrrd" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("study,T7\na,b\n", "column 'T7' is not known; expected are study"),
        (
            "sep=,\nstudy,age,T1\na,12,5,b\n",
            "line 3: there are more cells than columns; write decimal",
        ),
        ("study,age,T1\na,12,5,b\n", "line 2: there are more cells than columns; write decimal"),
        ("T1\na.nii\n", "line 2: the study has no name; give study, or"),
        ("study,T1\na,b\na,c\n", "line 3: this study was listed before; give every"),
        ("study,T1\n", "this list holds no study."),
        ("study,T1\n\xfc,b\n", "a folder of studies or a CSV list of them in UTF-8 is expected"),
        ('{"volumes": {"T1": "a"}}', "this is one study file; name the folder that it lies in"),
        ("PK\x03\x04\0\0", "CSV list of them in UTF-8 is expected; unpack an archive first."),
    ],
)
def test_lists_that_are_none(tmp_path, text, sentence):
    (tmp_path / "list.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=re.escape(sentence)):
        find_studies(tmp_path / "list.csv", "")


def test_a_missing_file_is_told_without_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(child, "_limit_memory", lambda _: None)
    for name, content in (
        ("lost", {"volumes": {"T1": "Mueller_lost.nrrd"}, "markups": "Mueller.mrk.json"}),
        ("odd", {"volumes": ["Mueller"], "markups": 3}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    for study in find_studies(tmp_path, ""):
        outcome = child.outcome_of(Task(study, tmp_path / "out", staging=tmp_path / "staging"))
        assert outcome.state == FAILED and outcome.reason.endswith(".")
        assert "Mueller" not in outcome.reason


def test_a_bids_data_set_is_a_cohort(tmp_path):
    root = tmp_path / "data"
    for name in (
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_acq-stir_T2w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_echo-1_part-phase_MEGRE.nii.gz",
        "sub-02/anat/sub-02_T1w.nii",
        "derivatives/maps/sub-02/anat/sub-02_desc-PDFF_map.nii.gz",
        "derivatives/maps/sub-02/anat/sub-02_desc-other_map.nii.gz",
        "derivatives/maps/sub-02/anat/sub-02_dseg.nii.gz",
        "sub-03/dwi/sub-03_dwi.nii.gz",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    (root / "dataset_description.json").write_text("{}")
    (root / "derivatives" / "maps" / "dseg.tsv").write_text(
        "index\tname\n1\tL3 marrow\n2\tpsoas muscle\n3\tkidney\n"
    )
    one, two = find_studies(root, "salt")
    assert (one.name, one.patient, one.session) == ("sub-01/ses-a", "sub-01", "a")
    content = json.loads(one.content)
    assert (set(content["volumes"]), content["column"]) == ({"T1", "FS_T2"}, "auto")
    content = json.loads(two.content)
    assert set(content["volumes"]) == {"T1", "PDFF"}
    assert content["label_rules"] == ["1=marrow:L3", "2=muscle:psoas"]
    assert content["labels"].startswith("derivatives/maps/") and "column" not in content
    for path in list((root / "sub-01").rglob("*.gz")) + list(root.rglob("sub-02*")):
        if path.is_file():
            path.unlink()
    with pytest.raises(ValueError, match="no subject of this BIDS data set has an image that can"):
        find_studies(root, "")


def test_a_bids_data_set_gets_a_derivative_one(studies, tmp_path, capsys):
    """Its label map read again gives the same regions and numbers."""
    root, out, made = tmp_path / "data", tmp_path / "out", tmp_path / "made"
    for folder in ("sub-01/anat", "derivatives/drawn/sub-01/anat"):
        (root / folder).mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "Spines"}')
    image = read_volume(studies.parent / "Mueller_0.nrrd")
    labels = read_volume(studies.parent / "labels.nrrd")
    write_volume(image, root / "sub-01/anat/sub-01_T1w.nii.gz")
    drawn = root / "derivatives/drawn/sub-01/anat/sub-01_dseg"
    write_volume(labels, f"{drawn}.nii.gz")
    drawn.with_suffix(".tsv").write_text("index\tname\n1\tL3 marrow\n3\tpsoas muscle\n")
    command = ["cohort", str(root), "--out", str(out), "--bids-out"]
    assert main([*command, str(made)]) == 0
    about = json.loads((made / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative" and about["GeneratedBy"][0]["Name"]
    stem = made / "sub-01" / "anat" / "sub-01_desc-marrow_"
    again = read_volume(f"{stem}dseg.nii.gz")
    assert ((again.array == 1) == (labels.array == 1)).all()
    assert ((again.array == 2) == (labels.array == 3)).all() and again.same_grid(labels)
    assert json.loads(Path(f"{stem}dseg.json").read_text())["Sources"] == [
        "bids:raw:sub-01/anat/sub-01_T1w.nii.gz"
    ]
    rows = Path(f"{stem}measurements.tsv").read_text().splitlines()
    assert len(rows) == 1 + len(table(out)) > 1
    shutil.rmtree(root / "derivatives")
    shutil.copytree(made, root / "derivatives" / "ours")
    assert main([*command, str(made)]) == 0
    assert Path(f"{stem}measurements.tsv").read_text().splitlines() == rows
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "mine.txt").write_text("")
    maps = tmp_path / "maps"
    describe(root, maps, "Parametric maps", "")  # as `pdff --bids-out` does
    for where, what, words in (
        (root / "new", command, "whose label maps would be read as drawn ones"),
        (foreign, command, "is not 'Bone marrow of Spines' as written here; name a new one"),
        (maps, command, "is not 'Bone marrow of Spines' as written here; name a new one"),
        (made, ["cohort", str(studies), *command[2:]], "studies is no BIDS data set"),
    ):
        capsys.readouterr()
        assert main([*what, str(where)]) == 2
        assert words in capsys.readouterr().err
    assert "Parametric maps of" in (maps / "dataset_description.json").read_text()


def test_workers_elsewhere(studies, results, tmp_path, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr(run, "_CONNECT_S", 0.5)
    quiet = {"dashboard_address": run._HERE, "worker_dashboard_address": run._HERE,
             "processes": False, "threads_per_worker": 1}  # fmt: skip
    with LocalCluster(n_workers=1, **quiet) as cluster:
        plan = Plan(scheduler=cluster.scheduler_address)
        (tmp_path / "out" / "private").mkdir(parents=True)
        salt = (results / "private" / "salt.txt").read_text()
        (tmp_path / "out" / "private" / "salt.txt").write_text(salt)
        assert run_cohort(studies, tmp_path / "out", plan, lambda _: None).done == PATIENTS
        for name in ("measurements.parquet", "measurements.csv", "failures.csv"):
            assert (tmp_path / "out" / name).read_bytes() == (results / name).read_bytes()

        def foreign(*_):
            raise ModuleNotFoundError("No module named 'MarrowAssessLib'")

        with monkeypatch.context() as patch:
            patch.setattr(run, "measure_apart", foreign)
            with pytest.raises(ValueError, match=r"The Dask workers cannot measure .* where the"):
                run_cohort(studies, tmp_path / "other", plan, lambda _: None)
        cluster.scale(0)
        while cluster.scheduler.workers:
            time.sleep(0.01)
        with pytest.raises(ValueError, match="this Dask scheduler has no worker; start some"):
            run_cohort(studies, tmp_path / "none", plan, lambda _: None)
    with pytest.raises(ValueError, match="no Dask scheduler answers there"):
        run_cohort(studies, tmp_path / "none", Plan(scheduler="tcp://127.0.0.1:9"), print)


def listening():
    """Addresses that this process listens on, as the kernel tells them."""
    own = {os.readlink(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd")
           if os.path.islink(f"/proc/self/fd/{one}")}  # fmt: skip
    found = []
    for table in ("tcp", "tcp6"):
        for line in open(f"/proc/net/{table}").read().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and f"socket:[{cells[9]}]" in own:
                found.append(cells[1].partition(":")[0])
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")
def test_nobody_else_reaches_the_ports_and_what_is_in_flight_follows_the_workers(
    tmp_path, monkeypatch
):
    """A client whose cluster grows from one thread to four after the first studies."""
    monkeypatch.setattr(run, "_LOOK_S", 0.0)
    monkeypatch.setattr(run, "measure_apart", harmful_tasks.quick)
    before, handed, finished, flying = listening(), [], [], []
    with run._workers(Plan()) as client:
        new = [one for one in listening() if one not in before]
        assert set(new) <= {"0100007F"}  # 127.0.0.1
        submit, state = client.submit, State(tmp_path)
        finish = state.finish

        def submitted(*args, **named):
            handed.append(1)
            flying.append(len(handed) - len(finished))
            return submit(*args, **named)

        def noted(*args):
            finished.append(1)
            finish(*args)

        monkeypatch.setattr(client, "nthreads", lambda: {"a": 4 if len(finished) > 2 else 1})
        monkeypatch.setattr(client, "submit", submitted)
        monkeypatch.setattr(state, "finish", noted)
        todo = [(StudySource(f"{n}", tmp_path / "a", (), f"{n}"), "") for n in range(40)]
        run._measure(todo, client, state, Plan(), tmp_path, lambda _: None)
        state.close()
    assert len(finished) == 40 and max(flying[:3]) == 3 and max(flying) == 12


def test_a_lost_worker_fails_its_study_alone():
    class Lost:
        def result(self):
            from distributed.scheduler import KilledWorker

            raise KilledWorker("a", None, 3)

    outcome = run._outcome(Lost())
    assert outcome.state == FAILED and "workers that measured it were lost" in outcome.reason


def test_slurm(monkeypatch, capsys, tmp_path):
    """Against a stand-in of dask-jobqueue: what a job asks for, and the refusals."""
    asked = {}

    class Cluster:
        def __init__(self, **options):
            asked.update(options)

        def scale(self, jobs):
            asked["jobs"] = jobs

    plan = Plan(workers=20, slurm="queue=short,walltime=08:00:00", limits=Limits(60, 7.5))
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(ValueError, match="Slurm jobs are started by dask-jobqueue; install it"):
        run._slurm_cluster(plan)
    monkeypatch.setitem(sys.modules, "dask_jobqueue", SimpleNamespace(SLURMCluster=Cluster))
    run._slurm_cluster(plan)
    assert asked == {
        "cores": 1, "memory": "9GB", "processes": 1, "jobs": 20, "queue": "short",
        "walltime": "08:00:00",
    }  # fmt: skip
    with pytest.raises(ValueError, match="--slurm queue: queue is not of the form NAME=VALUE"):
        run._slurm_cluster(Plan(slurm="queue"))
    both = ["cohort", str(tmp_path), "--out", "x", "--slurm", "--scheduler", "tcp://h:1"]
    assert main(both) == 2
    assert "Name a Dask scheduler or Slurm, not both." in capsys.readouterr().err


SBATCH = """#!/bin/sh
# As Slurm's: keeps the script, starts it in a session of its own, and says a number.
cp "$1" "{place}/job-$$.sh"
setsid sh "{place}/job-$$.sh" > "{place}/job-$$.log" 2>&1 &
echo $! >> "{place}/jobs"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
echo "$1" >> "{place}/canceled"
kill -TERM -- "-$1"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in of Slurm is a script for Linux")
def test_jobs_that_sbatch_starts_measure_the_same(studies, results, tmp_path, monkeypatch):
    """dask-jobqueue itself with a stand-in of Slurm: its job scripts run as processes of their own.

    No Slurm was here: that it takes the scripts' options is dask-jobqueue's to keep.
    """
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    place = tmp_path / "slurm"
    place.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (place / name).write_text(text.format(place=place))
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    out = tmp_path / "out"
    (out / "private").mkdir(parents=True)
    shutil.copy(results / "private" / "salt.txt", out / "private" / "salt.txt")
    plan = Plan(workers=2, slurm="queue=short,walltime=00:10:00", limits=Limits(300, 2))
    assert run_cohort(studies, out, plan, lambda _: None).done == PATIENTS
    for name in ("measurements.parquet", "measurements.csv", "failures.csv"):
        assert (out / name).read_bytes() == (results / name).read_bytes()
    jobs = (place / "jobs").read_text().split()
    assert len(jobs) == 2 and sorted((place / "canceled").read_text().split()) == sorted(jobs)
    end = time.monotonic() + 30
    while any(group_is_there(int(job)) for job in jobs) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(group_is_there(int(job)) for job in jobs)


def group_is_there(group):
    """Whether a process of a group lives."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of) == group and state != "Z":
            return True
    return False


def test_what_failed_by_a_limit_is_tried_again_with_another(tmp_path):
    state = State(tmp_path)
    study = StudySource("a", tmp_path / "a.json", ())
    plan, other = Plan(), Plan(limits=Limits(1200, 8))
    for by_limit in (False, True):
        state.start("a", "a", study.stamp, plan.settings)
        state.finish("a", Outcome(FAILED, "late", by_limit=by_limit), plan.limits_text)
        assert run._to_measure([study], state, plan, tmp_path) == []
        again = run._to_measure([study], state, other, tmp_path)
        assert len(again) == by_limit
    state.close()


def test_what_an_older_version_measured_is_measured_again(tmp_path):
    base = sqlite3.connect(tmp_path / "state.sqlite")
    base.execute("CREATE TABLE studies (id TEXT PRIMARY KEY, path TEXT)")
    base.execute("INSERT INTO studies VALUES ('a', 'b')")
    base.execute("PRAGMA user_version=1")
    base.commit()
    base.close()
    state = State(tmp_path)
    assert state.known() == {}
    state.close()
