"""Tools of others: commands and tables as published, on stand-in programs that really run.

No tool was run: each stand-in is a small executable that notes how it was called and leaves a label
map in the place and with the values that the tool's package documents.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.sources.other_tools import segment_with
from MarrowAssessLib.sources.study_files import read_study
from MarrowAssessLib.sources.tools import TOOLS, image_for, tool_named
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.install.programs import run_program

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="stand-ins are shell scripts")

SPINESEG, SPINEPS, TOTAL = (
    TOOLS[name] for name in ("TotalSpineSeg", "SPINEPS", "TotalSegmentator")
)
# L3 above L4 above L5, and the L3-L4 disc, as each table numbers them.
LABELS = {
    "TotalSpineSeg": (43, 44, 45, 94),
    "SPINEPS": (22, 23, 24, 122),
    "TotalSegmentator": (4, 3, 2, 0),
}
LEAVES = {
    "TotalSpineSeg": 'mkdir "$2/step2_output"; cp "$MAP" "$2/step2_output/sub-image_T1w.nii.gz"',
    "SPINEPS": 'mkdir out; for kind in vert spine; do cp "$MAP" '
    '"out/sub-image_mod-T2w_seg-${kind}_msk.nii.gz"; done',
    "TotalSegmentator": 'cp "$MAP" "$4"',
}
WEIGHTS = {
    "TotalSpineSeg": [
        f"nnUNet/results/r20260730/Dataset10{n}_TotalSpineSeg_step{n}" for n in (1, 2)
    ],
    "SPINEPS": ["T2w_semantic_v1.0.9", "instance_sagittal_v1.2.0", "T2w_labeling_v1.4.0"],
    "TotalSegmentator": [
        "Dataset756_mri_vertebrae_1076subj", "Dataset850_TotalSegMRI_part1_organs_1088subj",
        "Dataset851_TotalSegMRI_part2_muscles_1088subj",
    ],
}  # fmt: skip


def spine(tool) -> Volume:
    """A label map as a tool leaves it: three bodies and a disc in 2 mm voxels."""
    array = np.zeros((40, 16, 8), np.int16)
    l3, l4, l5, disc = LABELS[tool.name]
    array[28:36, 4:12, 2:6], array[16:24, 4:12, 2:6], array[4:12, 4:12, 2:6] = l3, l4, l5
    array[25:27, 4:12, 2:6] = disc
    return Volume(array, np.diag([2.0, 2.0, 2.0, 1.0]), "labels")


@pytest.fixture
def image():
    values = np.random.default_rng(0).normal(100, 5, (40, 16, 8)).astype(np.float32)
    return Volume(values, np.diag([2.0, 2.0, 2.0, 1.0]), "T1 of John Doe")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a stand-in of a tool, as its package would lie in a Python of its own."""

    def put(tool, script="", *, labels=None, weights=True):
        prefix = tmp_path / tool.name
        packages = prefix / "lib" / "python3.12" / "site-packages"
        (packages / f"{tool.package}-2.1.3.dist-info").mkdir(parents=True)
        models = packages / tool.package / "models"
        models.mkdir(parents=True)
        for name in WEIGHTS[tool.name] if weights else ():
            (models / name).mkdir(parents=True)
        if tool is TOTAL:
            monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(models))
        write_volume(labels or spine(tool), prefix / "map.nii.gz")
        program = prefix / "bin" / tool.program
        program.parent.mkdir()
        lines = [
            "#!/bin/sh", f"MAP={prefix}/map.nii.gz", f'echo "$@" >> {prefix}/called',
            f'echo "$HTTPS_PROXY" > {prefix}/proxy', script or LEAVES[tool.name],
        ]  # fmt: skip
        program.write_text("\n".join(lines) + "\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        return prefix

    for name in ("TOTALSEG_WEIGHTS_PATH", "TOTALSPINESEG_DATA", "SPINEPS_SEGMENTOR_MODELS"):
        monkeypatch.delenv(name, raising=False)
    return put


@pytest.mark.parametrize(
    ("tool", "contrast", "called"),
    [
        (SPINESEG, Contrast.T1, ["{f}/sub-image_T1w.nii.gz {f} --device cpu --max-workers 1"]),
        (
            SPINEPS, Contrast.T2,
            ["sample --input {f}/sub-image_T2w.nii.gz --model-semantic t2w --model-instance"
             " instance --model-labeling t2w_labeling --derivative-name out --cpu"],
        ),
        (
            TOTAL, Contrast.T1,
            ["-i {f}/sub-image_T1w.nii.gz -o {f}/vertebrae.nii.gz --ml --task vertebrae_mr"
             " --device cpu",
             "-i {f}/sub-image_T1w.nii.gz -o {f}/total.nii.gz --ml --task total_mr --device cpu"],
        ),
    ],
)  # fmt: skip
def test_each_tool_is_called_as_published_and_its_labels_read(
    install, image, tool, contrast, called
):
    script = ""
    if tool is TOTAL:  # its second call is of muscles
        script = 'case "$*" in *total_mr*) cp "$MAP.2" "$4";; *) cp "$MAP" "$4";; esac'
    prefix = install(tool, script)
    muscles = spine(tool).with_array(np.where(spine(tool).array == 4, 48, 0).astype(np.int16))
    write_volume(muscles, prefix / "2.nii.gz")
    (prefix / "2.nii.gz").rename(prefix / "map.nii.gz.2")
    found = segment_with(tool, image, contrast)
    lines = (prefix / "called").read_text().splitlines()
    folder = next(word for word in lines[0].split() if "sub-image" in word).rpartition("/")[0]
    assert lines == [line.format(f=folder) for line in called]
    assert not os.path.exists(folder)  # the image is not left behind
    assert "Doe" not in " ".join(lines)
    assert (prefix / "proxy").read_text().strip() == "http://127.0.0.1:9"
    sites = {(region.role.value, region.site): region for region in found.regions}
    assert {("marrow", "L3"), ("marrow", "L4"), ("marrow", "L5")} <= set(sites)
    if tool is TOTAL:
        assert set(sites) >= {("muscle", "left psoas")}
    else:
        assert ("disc", "L3-L4") in sites
    body = sites["marrow", "L3"]
    assert body.centroid_ijk()[2] == 31.5
    assert "arch" in body.cautions[0]
    assert found.told.startswith(f"{tool.name} 2.1.3 (")
    assert all(os.path.basename(name) in found.told for name in WEIGHTS[tool.name])
    assert found.notes[-1].startswith(f"Regions were drawn by {tool.name}")
    assert tool.license in found.notes[-1]
    assert tool.home in found.notes[-1]


def test_a_study_is_segmented_by_a_tool(install, image, tmp_path):
    install(SPINESEG)
    write_volume(image, tmp_path / "t1.nii.gz")
    study = read_study({Contrast.T1: tmp_path / "t1.nii.gz"}, segment_with="totalspineseg")
    assert [region.name for region in study.regions][:3] == ["L3 marrow", "L4 marrow", "L5 marrow"]
    assert study.inputs["segmented with"].startswith("TotalSpineSeg 2.1.3 (Dataset101")


def test_what_is_not_there_is_said_and_nothing_is_started(install, image, monkeypatch):
    with pytest.raises(ValueError, match="is no tool that is known here; expected TotalSegm"):
        tool_named("nnU-Net")
    with pytest.raises(ValueError, match="is not installed: no program 'spineps' is on PATH"):
        segment_with(SPINEPS, image, Contrast.T2)
    prefix = install(SPINESEG, weights=False)
    with pytest.raises(
        ValueError, match="Nothing is downloaded for you; get them by totalspineseg_"
    ):
        segment_with(SPINESEG, image, Contrast.T1)
    assert not (prefix / "called").exists()
    with pytest.raises(ValueError, match="SPINEPS is made for T2 or T1; this study has PDFF"):
        image_for(SPINEPS, [Contrast.PDFF])
    assert image_for(SPINEPS, [Contrast.T1, Contrast.T2]) is Contrast.T2


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("echo out of memory >&2; exit 3", "failed with code 3; it said last: out of memory"),
        ("true", "ended without an error, but left no label maps"),
        (
            'mkdir "$2/step2_output"; head -c 60 "$MAP" > "$2/step2_output/a.nii.gz"',
            "left a label map that cannot be read",
        ),
    ],
)
def test_a_tool_that_fails_says_why(install, image, script, sentence):
    install(SPINESEG, script)
    with pytest.raises(ValueError, match=sentence):
        segment_with(SPINESEG, image, Contrast.T1)


def is_gone(process: int) -> bool:
    """Whether a process has ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{process}/stat")  # ended, and nobody has asked yet
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_tool_that_hangs_is_ended_with_what_it_started(install, image, tmp_path):
    install(SPINESEG, f"sleep 60 & echo $! > {tmp_path}/child; echo at work; wait")
    with pytest.raises(ValueError, match=r"took longer than 0.5 s and was ended"):
        segment_with(SPINESEG, image, Contrast.T1, time_limit_s=0.5)
    said = []
    start = time.monotonic()

    def stop_at_once(line: str) -> bool:
        said.append(line)
        return "at work" not in line

    with pytest.raises(InterruptedError, match="TotalSpineSeg was canceled before it was done"):
        segment_with(SPINESEG, image, Contrast.T1, progress=stop_at_once)
    assert said[-1] == "at work"
    assert time.monotonic() - start < 30  # it would have slept a minute
    assert goes(int((tmp_path / "child").read_text()))


def goes(process: int) -> bool:
    """Whether a process that was told ends; a busy machine lets it go a little later."""
    for _ in range(100):
        if is_gone(process):
            break
        time.sleep(0.1)
    return is_gone(process)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("wait", "took longer than 0.5 s and was ended"),
        ("exit 3", "failed with code 3"),
    ],
)
def test_what_a_tool_has_started_is_ended_behind_it(install, image, tmp_path, script, sentence):
    """Also what is deaf to being asked, which its starter is not."""
    child = f"sh -c 'trap \"\" TERM; echo deaf; sleep 60' & echo $! > {tmp_path}/child"
    install(SPINESEG, f"{child}; sleep 0.2; {script}")
    with pytest.raises(ValueError, match=sentence):
        segment_with(SPINESEG, image, Contrast.T1, time_limit_s=0.5 if script == "wait" else 50)
    assert goes(int((tmp_path / "child").read_text()))


def test_another_grid_is_resampled_and_said(install, image):
    fine = np.repeat(np.repeat(np.repeat(spine(SPINESEG).array, 2, 0), 2, 1), 2, 2)
    matrix = np.diag([1.0, 1.0, 1.0, 1.0])
    matrix[:3, 3] = -0.5
    install(SPINESEG, labels=Volume(fine, matrix, "labels"))
    found = segment_with(SPINESEG, image, Contrast.T1)
    assert "Resampled from the tool's voxel grid." in found.notes[0]
    body = next(region for region in found.regions if region.site == "L4")
    np.testing.assert_array_equal(body.full_mask(image.array.shape), spine(SPINESEG).array == 44)


def swapped(array):
    array[array == 43], array[array == 45] = 999, 43
    array[array == 999] = 45


def parted(array):
    array[0:3, 4:12, 2:6] = 43


def strange(array):
    array[0, 0, 0] = 77 + 100


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (swapped, "drew L4 above L3; its levels are not in order"),
        (parted, "drew L3 in pieces: 27 % of it lies apart"),
        (strange, "left labels that its table does not know: 177"),
    ],
)
def test_a_label_map_that_cannot_be_is_refused(install, image, change, sentence):
    labels = spine(SPINESEG)
    change(labels.array)
    install(SPINESEG, labels=labels)
    with pytest.raises(ValueError, match=sentence):
        segment_with(SPINESEG, image, Contrast.T1)


def test_a_scene_gets_the_regions_and_gives_them_back(install, image):
    """As segments beside the image; a tool that fails changes nothing; Undo takes them back."""
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from MarrowAssessLib.scene import headless

    headless.start()
    import slicer
    from MarrowAssessLib.scene.placing import Placing
    from MarrowAssessLib.scene.session import Session
    from PDFFMapperLib.scene.volumes import volume_to_node

    slicer.mrmlScene.Clear(False)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    where = Placing(segmentation, volume_to_node(image))
    session, segments = Session(), segmentation.GetSegmentation()
    with pytest.raises(ValueError, match="is not installed: no program 'totalspineseg' is on PATH"):
        session.segment_with(where, Contrast.T1, "TotalSpineSeg")
    assert not segments.GetNumberOfSegments()
    install(SPINESEG)
    found = session.segment_with(where, Contrast.T1, "TotalSpineSeg")
    assert found.told.startswith("TotalSpineSeg 2.1.3")
    names = [segments.GetSegment(one).GetName() for one in segments.GetSegmentIDs()]
    assert names == ["L3 marrow", "L4 marrow", "L5 marrow", "L3-L4 disc"]
    session.undo(segmentation)
    assert not segments.GetNumberOfSegments()


@pytest.mark.parametrize("on_path", [True, False])
def test_on_windows_a_canceled_program_goes_with_what_it_started(tmp_path, monkeypatch, on_path):
    """By a stand-in of taskkill; where there is none at least the program ends."""
    kill = tmp_path / "taskkill"
    if on_path:
        kill.write_text('#!/bin/sh\necho "$@" > "$0.asked"\n')
        kill.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(InterruptedError, match="sleep was canceled"):
        run_program("sleep", ["/bin/sleep", "60"], tmp_path / "log", 60, lambda _line: False)
    if on_path:
        assert (tmp_path / "taskkill.asked").read_text().startswith("/T /F /PID ")
