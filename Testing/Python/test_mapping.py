"""Nodes as Slicer's loaders leave them to maps with units, on Slicer's real scene."""

import types

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from MarrowAssessLib.scene import headless
from MarrowAssessLib.sources.inputs import StudyInputs

headless.start()

import slicer  # noqa: E402
from dicom_files import classic_slice  # noqa: E402
from MarrowAssessLib.catalogue.contrasts import Contrast  # noqa: E402
from MarrowAssessLib.scene.images import map_contrast  # noqa: E402
from PDFFMapperLib.images.volume import Volume  # noqa: E402
from PDFFMapperLib.maps.kinds import map_kind  # noqa: E402
from PDFFMapperLib.maps.parametric_map import ParametricMap  # noqa: E402
from PDFFMapperLib.scene.dicom import read_otherwise  # noqa: E402
from PDFFMapperLib.scene.frames import frames_from_nodes, set_frame_fact  # noqa: E402
from PDFFMapperLib.scene.maps import map_to_node, maps_to_nodes, show_map  # noqa: E402
from PDFFMapperLib.scene.volumes import volume_from_node, volume_to_node  # noqa: E402
from PDFFMapperLib.water_fat.recipe import SPECTRA, WATER_FAT  # noqa: E402
from PDFFMapperLib.water_fat.spectra import fat_spectrum, fat_spectrum_names  # noqa: E402
from phantoms.water_fat import spine_phantom  # noqa: E402
from stand_ins import load_module  # noqa: E402
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy  # noqa: E402
from vtkmodules.vtkCommonDataModel import vtkImageData  # noqa: E402

OBLIQUE = np.array([[0, 0, 3.0, 5], [2.0, 0, 0, -7], [0, -2.0, 0, 11], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def empty_scene(monkeypatch):
    slicer.mrmlScene.Clear(False)
    application = types.SimpleNamespace(
        defaultScenePath="scenes", applicationLogic=lambda: slicer.modules.application_logic
    )
    monkeypatch.setattr(slicer, "app", application, raising=False)


@pytest.fixture
def mapper():
    return load_module("PDFFMapper")


def components_node(kind, array, name):
    """A volume node whose voxels hold several values; array (k, j, i, components)."""
    node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    image = vtkImageData()
    image.SetDimensions(array.shape[2::-1])
    flat = np.ascontiguousarray(array.reshape(-1, array.shape[-1]))
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    node.SetAndObserveImageData(image)
    node.SetSpacing(2.0, 2.0, 3.0)
    return node


def node_ids():
    scene = slicer.mrmlScene
    return [scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())]


def grid(array, **attributes):
    return Volume(array, OBLIQUE, "image", attributes)


def test_scalar_volumes_are_frames_with_their_facts():
    node = volume_to_node(grid(np.ones((2, 3, 4), np.float32), EchoTime=2.3), "echo 2")
    (frame,) = frames_from_nodes([node])
    assert frame.volume.attributes == {"EchoTime": 2.3}
    assert np.allclose(frame.volume.ijk_to_ras, OBLIQUE)


def test_vector_volumes_hold_one_frame_a_component():
    array = np.arange(2 * 3 * 4 * 3, dtype=np.float32).reshape(2, 3, 4, 3)
    node = components_node("vtkMRMLVectorVolumeNode", array, "echoes")
    frames = frames_from_nodes([node])
    assert [frame.volume.name for frame in frames] == ["echoes [1]", "echoes [2]", "echoes [3]"]
    for n, frame in enumerate(frames):
        assert np.array_equal(frame.volume.array, array[..., n])


def test_labels_of_a_multi_volume_are_echo_times():
    node = components_node("vtkMRMLVectorVolumeNode", np.ones((2, 2, 2, 2), np.float32), "mv")
    node.SetAttribute("MultiVolume.FrameIdentifyingDICOMTagName", "EchoTime")
    node.SetAttribute("MultiVolume.FrameLabels", "1.2,2.4")
    assert [f.volume.attributes["EchoTime"] for f in frames_from_nodes([node])] == [1.2, 2.4]


def test_diffusion_nodes_know_their_b_values():
    node = components_node(
        "vtkMRMLDiffusionWeightedVolumeNode", np.ones((2, 2, 2, 3), np.float32), "dwi"
    )
    node.SetNumberOfGradients(3)
    for n, b_value in enumerate((0, 400, 800)):
        node.SetBValue(n, b_value)
    found = [frame.volume.attributes["DiffusionBValue"] for frame in frames_from_nodes([node])]
    assert found == [0, 400, 800]


def test_sequences_hold_one_frame_a_data_node():
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "ivim")
    sequence.SetIndexName("b-value")
    for b_value in (0, 50, 800):
        node = volume_to_node(grid(np.full((2, 2, 2), b_value, np.float32)))
        sequence.SetDataNodeAtValue(node, str(b_value))
    frames = frames_from_nodes([sequence])
    assert sorted(frame.volume.attributes["DiffusionBValue"] for frame in frames) == [0, 50, 800]
    assert all(f.volume.array[0, 0, 0] == f.volume.attributes["DiffusionBValue"] for f in frames)


def test_typed_values_stay_on_the_node_and_win():
    array = np.ones((2, 2, 2, 2), np.float32)
    node = components_node("vtkMRMLVectorVolumeNode", array, "echoes")
    frames = frames_from_nodes([node])
    set_frame_fact(frames[1], "EchoTime", 4.6)
    again = frames_from_nodes([node])
    assert "EchoTime" not in again[0].volume.attributes
    assert again[1].volume.attributes["EchoTime"] == 4.6


def test_facts_are_read_from_the_dicom_file_of_a_node(tmp_path):
    facts = {"EchoTime": 2.46, "MagneticFieldStrength": 3.0}
    file = classic_slice(tmp_path, "1.dcm", 0, np.ones((6, 5), np.uint16), **facts)
    node = volume_to_node(grid(np.ones((2, 3, 4), np.float32)), "5: unnamed")
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    (frame,) = frames_from_nodes([node], {"1.2.3": str(file)}.get)
    assert frame.volume.attributes["EchoTime"] == 2.46
    assert frame.volume.attributes["MagneticFieldStrength"] == 3.0
    file.unlink()
    (frame,) = frames_from_nodes([node], {"1.2.3": str(file)}.get)
    assert "EchoTime" not in frame.volume.attributes


@pytest.mark.parametrize(("name", "unit"), [("ADC", "um2/ms"), ("PDFF", "%"), ("R2star", "/s")])
def test_a_map_s_node_that_was_not_saved_is_no_image(name, unit):
    from MarrowAssessLib.study.map_scale import in_stated_unit
    from PDFFMapperLib.scene.maps import map_from_node

    made = ParametricMap(map_kind(name), grid(np.ones((2, 3, 4), np.float32)))
    volume = map_from_node(map_to_node(made))
    assert volume.attributes["Units"] == unit
    with pytest.raises(ValueError, match="so it is a map and no T1 image"):
        in_stated_unit(volume, Contrast.T1)
    same, said = in_stated_unit(volume, Contrast(name))
    assert said == "" and np.array_equal(same.array, volume.array)
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning("1", "UCUM", "no units")  # as Slicer's DICOM reader says of MR
    image = volume_to_node(grid(np.ones((2, 3, 4), np.float32)))
    image.SetVoxelValueUnits(entry)
    assert "Units" not in map_from_node(image).attributes


def test_what_stands_beside_a_node_s_file_is_heard(tmp_path):
    """As on the command line: BIDS JSON, .bval, the unit of a map."""
    import json

    from MarrowAssessLib.scene.study import study_from_nodes
    from PDFFMapperLib.scene.maps import map_from_node

    def stored(node, name):
        (tmp_path / name).touch()
        storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
        storage.SetFileName(str(tmp_path / name))
        node.SetAndObserveStorageNodeID(storage.GetID())
        return node

    echo = stored(volume_to_node(grid(np.ones((2, 3, 4), np.float32))), "e1.nii.gz")
    facts = {"EchoTime": 0.0023, "MagneticFieldStrength": 3, "ImagingFrequency": 123.2}
    (tmp_path / "e1.json").write_text(json.dumps(facts))
    (frame,) = frames_from_nodes([echo])
    assert frame.volume.attributes["EchoTime"] == pytest.approx(2.3)
    assert frame.volume.attributes["MagneticFieldStrength"] == pytest.approx(2.894, abs=0.001)
    set_frame_fact(frame, "EchoTime", 2.4)  # what is typed wins
    assert frames_from_nodes([echo])[0].volume.attributes["EchoTime"] == 2.4

    dwi = components_node("vtkMRMLVectorVolumeNode", np.ones((2, 3, 4, 3), np.float32), "dwi")
    stored(dwi, "dwi.nii.gz")
    (tmp_path / "dwi.bval").write_text("0 400 800")
    found = [one.volume.attributes["DiffusionBValue"] for one in frames_from_nodes([dwi])]
    assert found == [0, 400, 800]
    (tmp_path / "dwi.bval").write_text("800 800 800")  # vectors scale it by their squared length
    (tmp_path / "dwi.bvec").write_text("0 0.70710678 1\n0 0 0\n0 0 0")
    found = [one.volume.attributes["DiffusionBValue"] for one in frames_from_nodes([dwi])]
    assert found == pytest.approx([0, 400, 800])

    early = [stored(volume_to_node(grid(np.ones((2, 3, 4), np.float32))), f"u{n}") for n in "ab"]
    for name, time in (("ua", 0.14), ("ub", 4.6)):  # ms, which the first alone does not tell
        (tmp_path / f"{name}.json").write_text(json.dumps({"EchoTime": time}))
    times = [one.volume.attributes["EchoTime"] for one in frames_from_nodes(early)]
    assert times == pytest.approx([0.14, 4.6])

    fraction = stored(volume_to_node(grid(np.full((2, 3, 4), 0.4, np.float32))), "m.nii.gz")
    (tmp_path / "m.json").write_text(json.dumps({"Units": "1"}))
    assert map_from_node(fraction).attributes["Units"] == "1"
    ball = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "L3 marrow")
    ball.AddControlPoint(*volume_from_node(fraction).to_ras([2, 1, 1]), "L3 marrow")
    study = study_from_nodes(StudyInputs({Contrast.PDFF: fraction}, None, [ball]))
    assert np.allclose(study.volumes[Contrast.PDFF].array, 40)
    assert study.notes == ["PDFF: the file states '1'; values were times 100."]


def test_dicom_is_loaded_as_the_command_line_reads_it(mapper, tmp_path):
    """An enhanced file of two echoes is two volumes, not one of twice the slices."""
    from dicom_files import enhanced

    frames = [
        (k, np.full((5, 4), value, np.uint16), {"echo_time": time})
        for value, time in ((7, 2.0), (9, 4.0))
        for k in range(3)
    ]
    enhanced(tmp_path / "one.dcm", frames, SeriesDescription="Doe^Jane spine")
    nodes = mapper.PDFFMapperLogic().loadDicom(tmp_path / "one.dcm")
    read = [volume_from_node(node) for node in nodes]
    assert [one.array.shape for one in read] == [(3, 5, 4)] * 2
    assert [one.attributes["EchoTime"] for one in read] == [2, 4]
    assert [np.unique(one.array).tolist() for one in read] == [[7], [9]]
    text = mapper.PDFFMapperLogic().inspect(tmp_path)
    assert "#3 Doe^Jane spine" in text and "TE 4 ms" in text
    before = node_ids()
    with pytest.raises(ValueError, match="no series is named 'T9'"):
        mapper.PDFFMapperLogic().loadDicom(f"{tmp_path}#T9")
    with pytest.raises(FileNotFoundError, match="away: there is no such file or folder"):
        mapper.PDFFMapperLogic().loadDicom(tmp_path / "away")
    assert node_ids() == before
    made = map_to_node(ParametricMap(map_kind("PDFF"), read[0]))  # maps are passed on
    assert "Doe" not in " ".join(made.GetAttribute(key) for key in made.GetAttributeNames())


def test_a_node_of_several_images_is_no_water_image(mapper):
    two = components_node("vtkMRMLVectorVolumeNode", np.ones((2, 3, 4, 2), np.float32), "both")
    fat = image_node(np.ones((2, 3, 4), np.float32), "fat")
    with pytest.raises(ValueError, match="'both' holds 2 images; choose volumes with one image"):
        mapper.PDFFMapperLogic().mapWaterFat(two, fat)


def test_other_nodes_are_refused():
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "a table")
    with pytest.raises(ValueError, match="no volume"):
        frames_from_nodes([table])


def test_a_map_keeps_nan_unit_code_window_and_provenance():
    array = np.array([[[np.nan, 40.0]]], np.float32)
    made = ParametricMap(map_kind("PDFF"), grid(array), {"method": "known"})
    node = map_to_node(made)
    assert np.isnan(slicer.util.arrayFromVolume(node)[0, 0, 0])
    assert node.GetVoxelValueUnits().GetCodeValue() == "%"
    assert node.GetVoxelValueQuantity().GetCodeValue() == "129100"
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 100)
    assert volume_from_node(node).attributes["Provenance"] == {"method": "known"}
    assert map_contrast(node) is Contrast.PDFF


def test_where_a_map_is_nan_its_source_shows_through():
    array = np.array([[[np.nan, -5.0, 0.0, 100.0, 140.0]]], np.float32)
    node = map_to_node(ParametricMap(map_kind("PDFF"), grid(array)))
    drawn = node.GetDisplayNode().GetOutputImageDataConnection().GetProducer()
    drawn.Update()
    opacity = vtk_to_numpy(drawn.GetOutput().GetPointData().GetScalars())[:, 3]
    assert opacity.tolist() == [0, 255, 255, 255, 255]


def test_the_legend_of_a_map_is_on():
    node = map_to_node(ParametricMap(map_kind("PDFF"), grid(np.ones((1, 1, 2), np.float32))))
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(node)
    assert legend.GetVisibility()
    assert legend.GetTitleText() == "PDFF (%)"


def test_showing_a_map_tells_the_views_to_draw_its_legend(monkeypatch):
    node = map_to_node(ParametricMap(map_kind("PDFF"), grid(np.ones((1, 1, 2), np.float32))))
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(node)
    done = []
    monkeypatch.setattr(
        slicer.util, "setSliceViewerLayers", lambda **layers: done.append(layers["background"])
    )
    legend.AddObserver("ModifiedEvent", lambda *_: done.append("legend"))
    show_map(node)
    assert done == [node, "legend"]


def test_maps_lie_in_a_folder_beside_their_source():
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    source = volume_to_node(grid(np.ones((1, 1, 2), np.float32)))
    hierarchy.CreateItem(study, source)
    made = ParametricMap(map_kind("ADC"), grid(np.ones((1, 1, 2), np.float32)))
    (node,) = maps_to_nodes([made], "maps", source)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
    assert hierarchy.GetItemName(folder) == "maps"
    assert hierarchy.GetItemParent(folder) == study


# --- the module's logic, against stand-ins for the desktop --------------------------------------


def echo_nodes(phantom, parts):
    nodes = []
    step = np.diag([*phantom.voxel_size_mm[::-1], 1.0])
    for time, echo in zip(phantom.echo_times_s, phantom.echoes, strict=True):
        for component, array in parts(echo):
            facts = {"EchoTime": 1e3 * time, "ImageComponent": component}
            volume = Volume(array.astype(np.float32), step, "echo", facts)
            nodes.append(volume_to_node(volume, f"{component} {1e3 * time:.2f}"))
    return nodes


@pytest.fixture(scope="module")
def trunk():
    return spine_phantom((6, 48, 48))


def test_pdff_from_magnitude_and_phase_nodes_is_the_truth(mapper, trunk):
    nodes = echo_nodes(trunk, lambda e: (("magnitude", np.abs(e)), ("phase", np.angle(e))))
    made = mapper.PDFFMapperLogic().mapPDFF(nodes, fieldStrengthT=trunk.field_strength_t)
    assert [node.GetName() for node in made][:3] == ["PDFF", "FF_magnitude", "R2star"]
    pdff = slicer.util.arrayFromVolume(made[0])
    body = np.isfinite(trunk.pdff) & np.isfinite(pdff)
    assert body.sum() > 0.8 * np.isfinite(trunk.pdff).sum()
    assert np.median(np.abs(pdff - trunk.pdff)[body]) < 1.5
    provenance = volume_from_node(made[0]).attributes["Provenance"]
    assert provenance["fat_spectrum"] == "ren_marrow"
    assert provenance["inputs"] == [node.GetName() for node in nodes]


def test_pdff_needs_field_strength_and_echo_times(mapper, trunk):
    logic = mapper.PDFFMapperLogic()
    nodes = echo_nodes(trunk, lambda e: (("real", e.real), ("imaginary", e.imag)))
    before = node_ids()
    with pytest.raises(ValueError, match="field strength"):
        logic.mapPDFF(nodes)
    nodes[0].RemoveAttribute("MarrowAssess.EchoTime")
    with pytest.raises(ValueError, match="no echo time"):
        logic.mapPDFF(nodes, fieldStrengthT=3.0)
    assert node_ids() == before


def test_magnitudes_alone_give_pdff_of_confident_voxels(mapper, trunk):
    nodes = echo_nodes(trunk, lambda e: (("magnitude", np.abs(e)),))
    made = mapper.PDFFMapperLogic().mapPDFF(nodes, fieldStrengthT=trunk.field_strength_t)
    pdff = slicer.util.arrayFromVolume(made[0])
    body = np.isfinite(trunk.pdff) & np.isfinite(pdff)
    assert body.sum() > 0.4 * np.isfinite(trunk.pdff).sum()
    assert np.median(np.abs(pdff - trunk.pdff)[body]) < 2.0


def test_a_canceled_job_leaves_the_nodes_as_they_were(mapper, trunk):
    logic = mapper.PDFFMapperLogic()
    nodes = echo_nodes(trunk, lambda e: (("real", e.real), ("imaginary", e.imag)))
    before = node_ids()
    assert logic.mapPDFF(nodes, fieldStrengthT=3.0, progress=lambda part: False) is None
    assert node_ids() == before


def dwi_nodes(adc, b_values=(0.0, 200.0, 400.0, 800.0)):
    rng = np.random.default_rng(3)
    nodes = []
    for b_value in b_values:
        signal = 1000 * np.exp(-b_value * adc * 1e-3)
        noise = rng.normal(0, 5, (2, *adc.shape))
        array = np.hypot(signal + noise[0], noise[1]).astype(np.float32)
        nodes.append(volume_to_node(grid(array, DiffusionBValue=b_value), f"b{b_value:g}"))
    return nodes


def test_adc_of_diffusion_nodes_is_the_truth(mapper):
    adc = np.full((3, 12, 12), 1.5)
    adc[:, 6:] = 0.5
    logic = mapper.PDFFMapperLogic()
    made = logic.mapDiffusion(dwi_nodes(adc)[::-1], "ADC")  # in any order
    assert made[0].GetName() == "ADC"
    assert made[0].GetVoxelValueUnits().GetCodeValue() == "um2/ms"
    found = slicer.util.arrayFromVolume(made[0])
    assert np.nanmedian(found[:, :6]) == pytest.approx(1.5, rel=0.02)
    assert np.nanmedian(found[:, 6:]) == pytest.approx(0.5, rel=0.02)


def test_low_b_values_can_be_left_out_and_a_cancel_changes_nothing(mapper):
    adc = np.full((3, 12, 12), 1.0)
    nodes = dwi_nodes(adc)
    slicer.util.arrayFromVolume(nodes[0])[:] *= 1.5  # perfusion at b = 0
    before = node_ids()
    logic = mapper.PDFFMapperLogic()
    assert logic.mapDiffusion(nodes, "ADC", progress=lambda part: False) is None
    assert node_ids() == before
    whole = logic.mapDiffusion(nodes, "ADC")[0]
    tissue = logic.mapDiffusion(nodes, "ADC", lowestB=200.0)[0]
    assert np.nanmedian(slicer.util.arrayFromVolume(whole)) > 1.2
    assert np.nanmedian(slicer.util.arrayFromVolume(tissue)) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(
    ("model", "method", "names"),
    [
        ("IVIM, hierarchical", "hierarchical", {"D", "Dstar", "f", "D_SD", "typical", "doubt"}),
        ("Kurtosis", "kurtosis", {"D", "K", "K_SD", "doubt"}),
        ("Best model (AICc)", "model-choice", {"model", "ADC", "K", "D", "Dstar", "f", "doubt"}),
    ],
)
def test_every_model_of_the_panel_gives_its_maps_and_d(mapper, model, method, names):
    adc = np.full((2, 12, 12), 1.0)
    nodes = dwi_nodes(adc, (0.0, 25.0, 50.0, 100.0, 200.0, 400.0, 600.0, 800.0))
    made = {node.GetName(): node for node in mapper.PDFFMapperLogic().mapDiffusion(nodes, model)}
    assert names <= set(made)
    d = slicer.util.arrayFromVolume(made["D"])
    assert np.nanmedian(d) == pytest.approx(1.0, rel=0.06)
    provenance = volume_from_node(made["D"]).attributes["Provenance"]
    assert provenance["method"] == method


def test_pure_diffusion_is_found_to_be_mono_exponential(mapper):
    nodes = dwi_nodes(np.full((2, 12, 12), 1.0), (0.0, 25.0, 50.0, 100.0, 200.0, 400.0, 800.0))
    made = mapper.PDFFMapperLogic().mapDiffusion(nodes, "Best model (AICc)")
    assert made[0].GetName() == "model"
    chosen = slicer.util.arrayFromVolume(made[0])
    assert np.mean(chosen == 1) > 0.7


FRACTION = np.broadcast_to(np.linspace(0.0, 1.0, 12), (2, 10, 12))


def image_node(array, name, **facts):
    return volume_to_node(grid(np.ascontiguousarray(array, np.float32), **facts), name)


def test_water_and_fat_images_give_their_fraction(mapper):
    logic = mapper.PDFFMapperLogic()
    water, fat = image_node(800 * (1 - FRACTION), "W"), image_node(800 * FRACTION, "F")
    made, doubt = logic.mapWaterFat(water, fat)
    assert doubt.GetDescription() == "Doubt: 0 confident, 1 low signal"
    assert made.GetName() == "FF" and made.GetVoxelValueUnits().GetCodeValue() == "%"
    assert made.GetDescription() == "Fat signal fraction (%)"
    assert np.allclose(slicer.util.arrayFromVolume(made), 100 * FRACTION, atol=0.01)
    other = volume_to_node(Volume(np.ones((2, 10, 12), np.float32), np.eye(4)), "elsewhere")
    with pytest.raises(ValueError, match="another voxel grid"):
        logic.mapWaterFat(water, other)


def opposed_nodes(r2star, times_ms=(4.6, 2.3, 9.2)):
    nodes = []
    for time, sign in zip(times_ms, (1, -1, 1), strict=True):
        signal = 800 * np.abs(1 - FRACTION + sign * FRACTION) * np.exp(-r2star * time / 1000)
        facts = {"EchoTime": time, "MagneticFieldStrength": 1.5}
        nodes.append(image_node(signal, f"TE {time:g}", **facts))
    return nodes


def test_in_and_opposed_phase_give_both_readings(mapper):
    made = mapper.PDFFMapperLogic().mapInOpposed(*opposed_nodes(0.0)[:2])
    assert [node.GetName() for node in made] == ["FF_water_dominant", "FF_fat_dominant", "doubt"]
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(made[0])
    assert legend.GetTitleText() == "FF (%)"
    low, high = (slicer.util.arrayFromVolume(node) for node in made[:2])
    assert np.allclose(low, 100 * np.minimum(FRACTION, 1 - FRACTION), atol=0.1)
    assert np.allclose(high, 100 * np.maximum(FRACTION, 1 - FRACTION), atol=0.1)


def test_a_third_point_corrects_r2star(mapper):
    logic = mapper.PDFFMapperLogic()
    nodes = opposed_nodes(60.0)
    biased = slicer.util.arrayFromVolume(logic.mapInOpposed(*nodes[:2])[0])
    low, _, r2star = (slicer.util.arrayFromVolume(one) for one in logic.mapInOpposed(*nodes)[:3])
    truth = 100 * np.minimum(FRACTION, 1 - FRACTION)
    assert np.abs(biased - truth).max() > 3
    assert np.abs(low - truth).max() < 0.1
    assert np.allclose(r2star, 60.0, atol=0.1)
    nodes[2].RemoveAttribute("MarrowAssess.EchoTime")
    with pytest.raises(ValueError, match="Three points need the echo times"):
        logic.mapInOpposed(*nodes)


def test_wrong_echo_times_of_two_points_are_refused(mapper):
    with pytest.raises(ValueError, match="degrees from water"):
        mapper.PDFFMapperLogic().mapInOpposed(*opposed_nodes(0.0, (4.6, 4.4, 9.2))[:2])


def test_t1_bias_is_corrected_with_the_header_s_flip_angle(mapper):
    from PDFFMapperLib.water_fat.t1_bias import saturation

    timing = {"FlipAngle": 20.0, "RepetitionTime": 12.0}
    water = 800 * (1 - FRACTION) * saturation(20, 0.012, 1.2)
    fat = 800 * FRACTION * saturation(20, 0.012, 0.35)
    nodes = [image_node(water, "W", **timing), image_node(fat, "F", **timing)]
    logic = mapper.PDFFMapperLogic()
    made = logic.mapWaterFat(*nodes, t1Correction=(1200.0, 350.0, None, None))
    assert [node.GetName() for node in made] == ["FF", "FF_T1corrected", "doubt"]
    biased, corrected = (slicer.util.arrayFromVolume(node) for node in made[:2])
    assert np.abs(biased - 100 * FRACTION).max() > 10
    assert np.allclose(corrected, 100 * FRACTION, atol=0.01)
    for node in nodes:
        node.RemoveAttribute("MarrowAssess.FlipAngle")
    with pytest.raises(ValueError, match="Flip angle or repetition time"):
        logic.mapWaterFat(*nodes, t1Correction=(1200.0, 350.0, None, None))


def test_a_corrected_pdff_is_the_one_that_is_sent(mapper):
    made = [
        map_to_node(ParametricMap(map_kind(name), grid(np.ones((1, 1, 2), np.float32))))
        for name in ("PDFF", "PDFF_T1corrected")
    ]
    mapper.PDFFMapperLogic().sendToMarrowAssess(made)
    chosen = load_module("MarrowAssess").MarrowAssessLogic().getParameterNode()
    assert chosen.pdffVolume is made[1]


def test_water_and_fat_images_are_found_mapped_and_sent(mapper):
    water = image_node(800 * (1 - FRACTION), "t1_vibe_dixon_W")
    fat = image_node(800 * FRACTION, "t1_vibe_dixon_F")
    logic = mapper.PDFFMapperLogic()
    parameters = logic.getParameterNode()
    logic.chooseDefaultInputs(parameters)
    assert parameters.dixonInput == "water and fat"
    assert (parameters.waterVolume, parameters.fatVolume) == (water, fat)
    made = logic.mapParameters(parameters, WATER_FAT)
    logic.sendToMarrowAssess(made, parameters)
    chosen = load_module("MarrowAssess").MarrowAssessLogic().getParameterNode()
    assert (chosen.waterVolume, chosen.fatVolume) == (water, fat)
    assert chosen.inPhaseVolume is None


def test_typed_text_is_checked(mapper):
    logic = mapper.PDFFMapperLogic()
    node = volume_to_node(grid(np.ones((2, 2, 2), np.float32)), "echo")
    (frame,) = logic.frames([node])
    logic.setFrameFact(frame, "EchoTime", " 2.30 ")
    assert logic.frames([node])[0].volume.attributes["EchoTime"] == 2.3
    for keyword, text in (("EchoTime", "soon"), ("DiffusionBValue", "-1"), ("ImageComponent", "x")):
        with pytest.raises(ValueError, match=text):
            logic.setFrameFact(frame, keyword, text)


def test_the_sample_s_series_are_found_mapped_and_sent(mapper, drawn_once):
    marrow = load_module("MarrowAssess")
    sample = marrow.MarrowAssessLogic().loadMapperSample()
    logic = mapper.PDFFMapperLogic()
    parameters = logic.getParameterNode()
    logic.chooseDefaultInputs(parameters)
    assert parameters.echoNodes == sample.echoes
    assert parameters.dwiNodes == sample.diffusion
    made = logic.mapParameters(parameters, WATER_FAT)
    logic.sendToMarrowAssess(made)
    chosen = marrow.MarrowAssessLogic()
    assert chosen.getParameterNode().pdffVolume is made[0]
    assert chosen.getParameterNode().r2starVolume is made[2]
    result = chosen.assess({"PDFF": made[0]}, sample.segmentation, age=34, sex="M")
    found = {
        r.measurement.site: r.measurement.value
        for r in result.results
        if r.measurement.quantity == "marrow_pdff"
    }
    for site, truth in sample.true_pdff.items():
        assert found[site] == pytest.approx(truth, abs=1.0)
    with pytest.raises(ValueError, match="None of these maps"):
        logic.sendToMarrowAssess(sample.echoes)


def test_a_pet_that_slicer_loaded_itself_becomes_suv(tmp_path):
    from test_pet import write_pet

    write_pet(tmp_path, [0, 1, 2])
    files = {str(k): str(tmp_path / f"{k}.dcm") for k in range(3)}
    node = volume_to_node(Volume(np.ones((3, 6, 5), np.float32), OBLIQUE, "FDG"))
    node.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    assert read_otherwise(node, files.get) == "'FDG' is PET; read again it is SUV."


def test_the_recipes_offer_every_fat_spectrum_the_default_first():
    assert [name for name, _ in SPECTRA] == fat_spectrum_names()
    numbers = {3: "Three", 6: "six", 7: "seven", 9: "nine"}
    for name, title in SPECTRA:
        assert numbers[len(fat_spectrum(name).ppm)] in title
