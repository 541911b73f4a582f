"""One answer by every path: the sample measured in memory, from files, in the scene, saved, loaded.

The panel's logic runs on slicer-core's real scene, its widgets' parameter node against stand-ins.
"""

import json

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method
from MarrowAssessLib.commands import main as cli
from MarrowAssessLib.commands.demo import _write_ute
from MarrowAssessLib.findings.assessment import assess
from MarrowAssessLib.findings.statement import listed_verdict
from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.sample.other_modalities import reference_regions
from MarrowAssessLib.sample.phantom import FIELD_STRENGTH_T, TISSUES
from MarrowAssessLib.sample.tibia import SITE, Tibia
from MarrowAssessLib.sources.labels import LabelRule, regions_from_labels
from MarrowAssessLib.sources.spectra import read_site_spectra
from MarrowAssessLib.sources.ute import read_site_ute
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.spectroscopy.nifti_mrs import write_nifti_mrs
from PDFFMapperLib.spectroscopy.rows import PRESS
from scipy.ndimage import binary_dilation

# How far numbers may lie apart, relatively: a scene's file writes the grid as text (only areas and
# shapes feel it), and Slicer's tables are saved with 6 digits.
PATHS = {
    "command line": 0.0,
    "console": 0.0,
    "panel": 0.0,
    "saved scene": 1e-14,
    "saved table": 1e-5,
}
SHAPE_ABSOLUTE = {"saved scene": 1e-11}  # mm, %, degrees: differences of heights may be near 0
TRUTH = {
    Contrast.PDFF: lambda tissue: 100 * tissue.pdff,
    Contrast.R2STAR: lambda tissue: 1000 / tissue.t2star_ms,
    Contrast.T2STAR: lambda tissue: tissue.t2star_ms,
    Contrast.ADC: lambda tissue: tissue.d * 1.1,
    Contrast.D: lambda tissue: tissue.d,
    Contrast.DSTAR: lambda tissue: tissue.dstar,
    Contrast.F: lambda tissue: 100 * tissue.f,
    Contrast.VNCA: lambda tissue: 60 - 90 * tissue.pdff,
    Contrast.VNCA_PROJECTED: lambda tissue: 50 - 80 * tissue.pdff,
    Contrast.HAP: lambda tissue: 110 + 0 * tissue.pdff,
    Contrast.YELLOW_SHARE: lambda tissue: 90 * tissue.pdff,
}


@pytest.fixture(scope="module", autouse=True)
def no_own_cohorts(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARROWASSESS_COHORTS", str(tmp_path_factory.mktemp("cohorts")))
        yield


@pytest.fixture(scope="module")
def labels(phantom):
    """The sample's label map and its rules, with what PET is read beside, and a lesion.

    L1 to L4 are whole bodies with their cortex, whose heights are measured; T12 stands for an
    ilium and the rim of L5 for a femur, so that there are three parts of the skeleton.
    """
    array, rules = phantom.labels.array.copy(), list(phantom.rules)
    tissues = list(TISSUES)
    cortex = phantom.tissue.array == tissues.index("cortex")
    for rule in rules:
        if rule.role is Role.MARROW and rule.site in ("L1", "L2", "L3", "L4"):
            marrow = phantom.tissue.array == tissues.index(rule.site)
            array[marrow | cortex & binary_dilation(marrow, iterations=2)] = rule.value
    for value, region in enumerate(reference_regions(phantom.tissue), start=array.max() + 1):
        array[region.full_mask(array.shape) & (array == 0)] = value
        rules.append(LabelRule(int(value), region.role, ""))
    for tissue, role, site in (
        ("S1", Role.LESION, ""), ("psoas", Role.SPLEEN, ""),
        ("T12", Role.MARROW, "ilium"), ("L5", Role.MARROW, "proximal femur"),
    ):  # fmt: skip
        rim = (phantom.tissue.array == tissues.index(tissue)) & (array == 0)
        rules.append(LabelRule(int(array.max() + 1), role, site))
        array[rim] = rules[-1].value
    return phantom.labels.with_array(array, "labels"), rules


@pytest.fixture(scope="module")
def beside(phantom, tmp_path_factory):
    """Files of a spectrum and a UTE series, each with its site."""
    folder = tmp_path_factory.mktemp("beside")
    write_nifti_mrs(folder / "spectrum.nii.gz", *phantom.spectrum("L3"), PRESS)
    _write_ute(Tibia().volumes(), folder / "ute.nii.gz")
    return {"spectra": [f"L3={folder}/spectrum.nii.gz"], "bones": [f"{SITE}={folder}/ute.nii.gz"]}


@pytest.fixture(scope="module")
def study(phantom, labels, beside):
    """The sample's images, and maps of its tissues with noise; doubtful voxels are NaN."""
    rng = np.random.default_rng(5)
    study = phantom.study()
    study.regions = regions_from_labels(*labels)
    study.volumes[Contrast.SUV] = phantom.pet_volume()
    for contrast, of in TRUTH.items():
        true = np.array([of(tissue) for tissue in TISSUES.values()])[phantom.tissue.array]
        values = true * (1 + 0.05 * rng.normal(size=true.shape))
        values[rng.random(true.shape) < (0.4 if contrast is Contrast.DSTAR else 0.05)] = np.nan
        study.volumes[contrast] = phantom.tissue.with_array(
            values.astype(np.float32), contrast.value
        )
    half = np.where(phantom.tissue.array > 0, 40.0, 0).astype(np.float32)
    study.volumes[Contrast.WATER] = phantom.tissue.with_array(100 - half, "water")
    study.volumes[Contrast.FAT] = phantom.tissue.with_array(half, "fat")
    study.spectra = read_site_spectra(beside["spectra"], study)
    study.bones = read_site_ute(beside["bones"], study)
    return study


@pytest.fixture(scope="module")
def in_memory(study):
    """As the demo measures."""
    return numbers(assess(study, Settings(texture=True, fractures=True)))


def numbers(assessment):
    return {
        (m.quantity, m.site, m.measured): (
            m.value,
            result.z,
            listed_verdict(result.verdict, result.tone),
        )
        for result in assessment.results
        for m in [result.measurement]
    }


@pytest.fixture(scope="module")
def by_path(study, labels, beside, tmp_path_factory):
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from MarrowAssessLib.scene import headless

    headless.start()
    import slicer
    from MarrowAssessLib.scene.files import load_scene, save_scene
    from MarrowAssessLib.scene.segments import regions_to_node
    from MarrowAssessLib.scene.shown import live_results
    from PDFFMapperLib.scene.volumes import volume_to_node
    from stand_ins import load_module

    folder = tmp_path_factory.mktemp("paths")
    found = {"command line": by_command_line(study, labels, beside, folder)}

    slicer.mrmlScene.Clear(False)
    nodes = {c.value: volume_to_node(volume, c.value) for c, volume in study.volumes.items()}
    segmentation = regions_to_node(study.regions, nodes["T1"], "Regions")
    logic = load_module("MarrowAssess").MarrowAssessLogic()
    given = {"age": 34.0, "sex": "M", "texture": True, "fractures": True}
    given["spectra"], given["ute"] = beside["spectra"], beside["bones"]
    found["console"] = numbers(logic.assess(nodes, segmentation, **given))

    parameters = logic.getParameterNode()
    parameters.exportFolder = str(folder)
    logic.chooseDefaultInputs(parameters)
    parameters.ageYears, parameters.sex = 34.0, "M"
    parameters.texture = parameters.fractures = True
    parameters.spectra, parameters.ute = beside["spectra"][0], beside["bones"][0]
    found["panel"] = numbers(logic.assessParameters(parameters))

    save_scene(folder / "scene.mrb")
    load_scene(folder / "scene.mrb")
    segmentation = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    found["saved table"] = by_table(live_results(segmentation).table)
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    loaded = {node.GetName(): node for node in volumes}
    logic = load_module("MarrowAssess").MarrowAssessLogic()
    found["saved scene"] = numbers(logic.assess(loaded, segmentation, **given))
    return found


def by_command_line(study, labels, beside, folder):
    arguments = ["assess", "--age", "34", "--sex", "M", "--no-scene", "--out", folder / "out"]
    arguments += ["--texture", "--fractures"]
    arguments += ["--spectrum", *beside["spectra"], "--ute", *beside["bones"]]
    arguments += ["--field-strength", FIELD_STRENGTH_T]  # images without headers do not say it
    for contrast, volume in study.volumes.items():
        write_volume(volume, folder / f"{contrast.value}.nrrd")
        arguments += ["--volume", f"{contrast.value}={folder / contrast.value}.nrrd"]
    write_volume(labels[0], folder / "labels.nrrd")
    arguments += ["--labels", folder / "labels.nrrd"]
    for rule in labels[1]:
        arguments += ["--label", f"{rule.value}={rule.role.value}:{rule.site}"]
    assert cli.main([str(argument) for argument in arguments]) == 0
    content = json.loads((folder / "out" / "assessment.json").read_text())
    return {
        (m["quantity"], m["site"], tuple(m["measured"])): (
            m["value"],
            m["z"],
            listed_verdict(m["verdict"], m["tone"]),
        )
        for m in content["measurements"]
    }


def by_table(table):
    """Its cells, by quantity, site and the first region, which is a measured one."""
    names = ("Key", "Site", "Regions", "Value", "z-score", "Verdict")
    columns = {name: table.GetTable().GetColumnByName(name) for name in names}
    found = {}
    for n in range(table.GetNumberOfRows()):
        key, site, regions, value, z, verdict = (columns[name].GetValue(n) for name in names)
        found[key, site, regions.split("; ")[0]] = (value, None if np.isnan(z) else z, verdict)
    return found


def has(path, quantity):
    """A file of voxels does not keep body weight."""
    return path != "command line" or quantity != "marrow_sul"


@pytest.mark.parametrize("path", PATHS)
def test_every_path_gives_the_same_numbers_to_the_last_digit(in_memory, by_path, path):
    expected = {key: one for key, one in in_memory.items() if has(path, key[0])}
    if path == "saved table":
        expected = {(key, site, names[0]): one for (key, site, names), one in expected.items()}
    assert by_path[path].keys() == expected.keys()
    for key, (value, z, verdict) in expected.items():
        found = by_path[path][key]
        of_shape = QUANTITIES[key[0]].method is Method.BODY_SHAPE
        near = SHAPE_ABSOLUTE.get(path, 0) if of_shape else 0
        assert found[0] == pytest.approx(value, rel=PATHS[path], abs=near), key
        assert found[1] == (z if z is None else pytest.approx(z, rel=PATHS[path], abs=0)), key
        assert found[2] == verdict, key


def test_the_sample_has_every_quantity_that_is_measured(in_memory):
    """What is left out: other parts of the body or tracers, a scanner's own reference, and what
    only other spectra or UTE images have.
    """
    measured = {key[0] for key in in_memory}
    absent = {row.key for row in QUANTITIES.values()} - measured
    elsewhere = (Method.REFERENCE_ONLY, Method.SPECTRUM, Method.BONE)
    others = {"vbq_cervical", "vbq_thoracic", "vbq_s1", "m_score"}
    others |= {"marrow_ct", "marrow_fat_hap", "marrow_cxcr4"}
    assert {key for key in absent if QUANTITIES[key].method not in elsewhere} <= others
    assert {Method.SPECTRUM, Method.BONE} <= {QUANTITIES[key].method for key in measured}
