"""A folder of studies to one table: alike however it was stopped, and without names."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from dicom_files import write_as_dicom
from harmful import Harmful
from MarrowAssessLib.cohort import apart, measuring
from MarrowAssessLib.cohort.apart import Task, measure_apart
from MarrowAssessLib.cohort.inventory import find_studies
from MarrowAssessLib.cohort.run import Plan, run_cohort
from MarrowAssessLib.cohort.state import FAILED, Outcome, State
from MarrowAssessLib.commands.main import main
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.volume import Volume

pytest.importorskip("distributed", reason="distributed is not installed")
parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

GRID = np.diag([1.5, 1.5, 4, 1.0])
PATIENTS = 3  # the fourth study is broken


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
    counts = run_cohort(studies, out, Plan(workers=2), lambda _: None)
    assert (counts.measured, counts.done, counts.failed) == (4, 3, 1)
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


def test_folders_of_dicom_are_studies(tmp_path):
    image = Volume(np.full((4, 8, 8), 300, np.int16), GRID)
    write_as_dicom(image, tmp_path / "studies" / "Mueller" / "T1", SeriesDescription="t1 tse sag")
    (tmp_path / "studies" / "notes").mkdir()
    (tmp_path / "studies" / "notes" / "read.txt").write_text("nothing")
    (study,) = find_studies(tmp_path / "studies", "salt")
    assert study.path.name == "Mueller" and len(study.files) == 4
    outcome = measure_apart(Task(study, tmp_path / "out", "salt"))
    assert outcome.state == FAILED and not outcome.crashed
    assert "Mueller" not in outcome.reason and outcome.reason.endswith(".")
    assert measuring._patient_id(study.path) == "4711-secret"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no study is in this folder"):
        find_studies(tmp_path / "empty", "")


@pytest.mark.parametrize(
    ("harm", "reason", "seconds"),
    [
        ("endless", "It took more than 3 s.", 3),
        ("killed", "Its process ended by itself (SIGKILL).", 60),
    ],
)
def test_a_study_that_harms_its_process_fails_after_one_more_try(
    results, tmp_path, harm, reason, seconds
):
    tries = tmp_path / "tries"
    outcome = measure_apart(Harmful(str(tries), harm, tmp_path / "out", seconds))
    assert (outcome.state, outcome.reason, outcome.crashed) == (FAILED, reason, True)
    assert tries.read_text() == "xx"


def test_memory_and_unforeseen_faults_are_told(studies, tmp_path, monkeypatch):
    task = Task(find_studies(studies, "")[0], tmp_path / "out", "salt")
    said = []

    class Pipe:
        send, close = said.append, staticmethod(lambda: None)

    def fault(error):
        def measured(_):
            raise error

        return measured

    monkeypatch.setattr(apart, "_limit_memory", lambda _: None)
    for error, words in (
        (MemoryError(), "It needs more than 8 GB of memory."),
        (KeyError("x"), "It cannot be measured (KeyError: 'x')."),
        (OSError(28, "No space left on device"), "No space left on device."),
    ):
        monkeypatch.setattr(measuring, "measured", fault(error))
        apart._child(task, Pipe)
        assert said[-1].reason == words
    monkeypatch.undo()
    study = json.loads(task.source.path.read_text()) | {"label_rules": ["1=csf:L3"]}
    alone = tmp_path / "alone.json"
    alone.write_text(json.dumps(study).replace("../", f"{studies.parent}/"))
    with pytest.raises(ValueError, match="Nothing can be measured on its images in its regions"):
        measuring.measured(Task(type(task.source)("a", alone, ()), tmp_path / "o", "salt"))


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
