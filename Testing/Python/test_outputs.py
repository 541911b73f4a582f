"""The files of a run: all or none, nothing of anybody else's, and read back."""

import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from MarrowAssessLib.commands.main import _sentence
from PDFFMapperLib.images import files
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.identity import short_hash, without_names
from PDFFMapperLib.images.outputs import checked_prefix, output_set, refuse_foreign
from PDFFMapperLib.images.patient import shown_age
from PDFFMapperLib.images.tables import plain_cell
from PDFFMapperLib.images.volume import Volume

REPOSITORY = Path(__file__).resolve().parents[2]


def write(folder: Path, **contents: str) -> None:
    for name, text in contents.items():
        (folder / f"{name}.txt").write_text(text)
    (folder / "run.json").write_text("{}")


def visible(folder: Path) -> dict[str, str]:
    return {f.name: f.read_text() for f in folder.glob("*.txt")}


def test_a_set_replaces_the_earlier_one_and_removes_what_it_no_longer_has(tmp_path):
    out = tmp_path / "a/b"
    with output_set(out, "run.json") as made:
        write(made, one="1", two="2")
        assert visible(out) == {}
    with output_set(out, "run.json") as made:
        write(made, one="3")
    assert visible(out) == {"one.txt": "3"}


def test_a_run_that_fails_leaves_the_earlier_results_whole(tmp_path):
    with output_set(tmp_path, "run.json") as made:
        write(made, one="1", two="2")
    with pytest.raises(ValueError, match="stopped"), output_set(tmp_path, "run.json") as made:
        write(made, one="3")
        raise ValueError("stopped")
    assert visible(tmp_path) == {"one.txt": "1", "two.txt": "2"}
    with pytest.raises(ValueError, match="stopped"), output_set(tmp_path / "new/deep", "run.json"):
        raise ValueError("stopped")
    assert not (tmp_path / "new").exists()


def test_files_of_others_and_changed_ones_are_neither_replaced_nor_removed(tmp_path):
    (tmp_path / "one.txt").write_text("mine")
    with pytest.raises(ValueError, match="not made by this software"):
        with output_set(tmp_path, "run.json") as made:
            write(made, one="1")
    assert visible(tmp_path) == {"one.txt": "mine"}
    (tmp_path / "one.txt").unlink()
    with output_set(tmp_path, "run.json") as made:
        write(made, one="1", two="2")
    (tmp_path / "two.txt").write_text("edited")
    (tmp_path / "study.json").write_text('{"volumes": {}}')
    with pytest.raises(ValueError, match=r"study\.json.*not made by"):
        refuse_foreign(tmp_path, "study.json")
    with pytest.raises(ValueError, match="was changed since"):
        refuse_foreign(tmp_path, "run.json", ["two.txt"])
    with output_set(tmp_path, "run.json") as made:
        write(made, one="3")
    assert visible(tmp_path) == {"one.txt": "3", "two.txt": "edited"}


def test_leftovers_of_stopped_runs_are_finished_or_cleared(tmp_path):
    with output_set(tmp_path, "run.json") as made:
        write(made, one="1")
    half, whole = tmp_path / ".writing-99999999-x", tmp_path / ".ready-99999999-y"
    for folder in (half, whole):
        folder.mkdir()
    write(half, one="half")
    write(whole, one="2", two="2")
    with pytest.raises(ValueError), output_set(tmp_path, "other.json"):
        assert visible(tmp_path) == {"one.txt": "2", "two.txt": "2"}
        assert not half.exists() and not whole.exists()
        raise ValueError


@pytest.mark.parametrize(("name", "content"), [("s.mrb", b"PK\3\4 cut"), ("a.csv", b"")])
def test_an_empty_or_cut_file_is_no_result(tmp_path, name, content):
    with pytest.raises(OSError, match="could not be written whole"):
        with output_set(tmp_path / "out", "r.json") as made:
            (made / name).write_bytes(content)
    assert not (tmp_path / "out").exists()


def test_what_could_not_be_written_is_told_by_its_own_place():
    staged = OSError(
        None, "it could not be written whole; the disk may be full", "/a/.writing-1-x/b"
    )
    assert _sentence(staged, []) == "/a/b: it could not be written whole; the disk may be full."


def test_a_volume_is_read_back_before_it_gets_its_name(tmp_path, oblique_volume, monkeypatch):
    import SimpleITK as sitk

    whole = sitk.WriteImage

    def short(image, name, **options):
        whole(image, name, **options)
        os.truncate(name, 5000)  # as on a full disk, of which the NIfTI writer says nothing

    monkeypatch.setattr(sitk, "WriteImage", short)
    for name in ("a.nii", "a.nii.gz", "a.nrrd"):
        with pytest.raises(OSError) as caught:
            write_volume(oblique_volume, tmp_path / name)
        assert "could not be written whole" in caught.value.strerror
    monkeypatch.setattr(sitk, "WriteImage", lambda image, name, **_: whole(image * 0, name))
    with pytest.raises(OSError) as caught:
        write_volume(oblique_volume, tmp_path / "a.nii")
    assert "could not be written whole" in caught.value.strerror
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    write_volume(oblique_volume, tmp_path / "a.nii")
    assert np.array_equal(files.read_volume(tmp_path / "a.nii").array, oblique_volume.array)


@pytest.mark.parametrize("prefix", ["../x", "a/b", "", ".hidden", "..", "a\\b"])
def test_a_prefix_names_no_folder(prefix):
    with pytest.raises(ValueError, match="start of file names"):
        checked_prefix(prefix)


def test_cells_are_no_formulas():
    cells = ["=HYPERLINK(1)", "@x", "+1+2", "-cmd", "\tx", " =x"]
    assert [plain_cell(cell) for cell in cells] == [f"'{cell}" for cell in cells]
    for cell in ("-1.5", "+2e-3", "L3 marrow", 3.5, None, ""):
        assert plain_cell(cell) == cell


def test_inputs_are_known_by_their_voxels_alone():
    volume = Volume(np.arange(24.0).reshape(2, 3, 4), np.eye(4), "Smith^John")
    same = Volume(volume.array.copy(), np.eye(4), "other")
    assert short_hash(volume) == short_hash(same) != short_hash(volume.with_array(-volume.array))
    said = "Series 3 'smith t1' of smith_john.nii: two placements."
    stated = "/x/smith_john.json: unknown key colum."
    assert without_names(stated, ["/x/smith_john.json"]) == "The input: unknown key colum."
    assert without_names(said, ["/x/smith_john.nii"]) == "Series 3 of the input: two placements."


def test_ages_do_not_tell_the_birth_date():
    assert shown_age(45.678) == 45.7 and shown_age(None) is None
    assert shown_age(0.71) == pytest.approx(9 / 12)


def test_a_scene_that_would_write_outside_its_folder_is_refused(tmp_path):
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from MarrowAssessLib.scene import headless

    headless.start()
    from MarrowAssessLib.scene.files import load_scene

    for name in ("../../evil.txt", "/evil.txt", "a\\..\\..\\evil.txt", "C:/evil.txt"):
        with zipfile.ZipFile(tmp_path / "s.mrb", "w") as archive:
            archive.writestr("s/s.mrml", "<MRML></MRML>")
            archive.writestr(name, "x")
        with pytest.raises(ValueError, match="outside its folder"):
            load_scene(tmp_path / "s.mrb")


def test_a_scene_is_loaded_by_a_path_from_here(tmp_path, monkeypatch):
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from MarrowAssessLib.scene import headless

    headless.start()
    from MarrowAssessLib.scene.files import load_scene, save_scene

    save_scene(tmp_path / "s.mrb")
    monkeypatch.chdir(tmp_path)
    load_scene("s.mrb")
    whole = bytearray((tmp_path / "s.mrb").read_bytes())
    whole[60:90] = bytes(30)  # within the first file's compressed content
    (tmp_path / "s.mrb").write_bytes(whole)
    with pytest.raises(ValueError, match="not a whole Slicer scene"):
        load_scene("s.mrb")


def environment(**changes: str) -> dict[str, str]:
    paths = [str(REPOSITORY / name) for name in ("MarrowAssess", "PDFFMapper")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **changes}


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_being_asked_to_end_leaves_nothing(tmp_path):
    program = (
        "import sys, time; from MarrowAssessLib.commands import main as m\n"
        "from types import SimpleNamespace as N\n"
        "from PDFFMapperLib.images.outputs import output_set\n"
        "def run(args):\n"
        f"    with output_set({str(tmp_path / 'out')!r}, 'x.json') as made:\n"
        "        (made / 'a').write_text('1'); print('on', flush=True); time.sleep(60)\n"
        "m._parser = lambda a: N(parse_args=lambda a: N(run=run))\n"
        "sys.exit(m.main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert said == "marrowassess: ended.\n"
    assert not (tmp_path / "out").exists()


def test_what_nobody_foresaw_is_one_sentence_that_names_the_input(tmp_path, capsys, monkeypatch):
    from types import SimpleNamespace

    from MarrowAssessLib.commands import main

    def run(args):
        raise ZeroDivisionError("Singular matrix")

    parser = SimpleNamespace(parse_args=lambda _: SimpleNamespace(run=run))
    monkeypatch.setattr(main, "_parser", lambda _: parser)
    image = tmp_path / "image.nii"
    image.write_text("x")
    assert main.main(["assess", "--volume", f"T1={image}", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"marrowassess: this input cannot be used: {image}. ")
    log = Path(said.split(" are in ")[1].strip().rstrip("."))
    assert "Singular matrix" in log.read_text() and "Singular" not in said
    log.unlink()


def test_compiled_code_goes_elsewhere_where_nothing_can_be_written(tmp_path, monkeypatch):
    from PDFFMapperLib.install import compiled_cache

    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(compiled_cache, "_writable", lambda _: False)
    compiled_cache.ensure_writable_cache(tmp_path)
    found = Path(os.environ["NUMBA_CACHE_DIR"])
    assert found.parent == tmp_path and found.is_dir()
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    compiled_cache.ensure_writable_cache(tmp_path)
    assert os.environ["NUMBA_CACHE_DIR"] == str(found)  # what is compiled serves the next run
    assert compiled_cache.use_temporary_cache(fresh=True) != str(found)
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setattr(compiled_cache, "_writable", lambda _: True)
    compiled_cache.ensure_writable_cache(tmp_path)
    assert "NUMBA_CACHE_DIR" not in os.environ
