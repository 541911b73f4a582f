"""Lines on a radiograph in the viewer become sizes of the X-ray form."""

import json

import numpy as np
import pytest
from MarrowAssessLib.findings.xray import read_form, read_line
from MarrowAssessLib.scene import headless
from MarrowAssessLib.sources.radiograph import radiograph_scale
from PDFFMapperLib.images.volume import Volume
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

headless.start()
import slicer  # noqa: E402
from MarrowAssessLib.scene.xray import FORM, measured_form, write_form  # noqa: E402
from PDFFMapperLib.scene.volumes import volume_to_node  # noqa: E402

LYSIS = "definite focal lysis of the left distal femur"
REACTION = "possible lamellar periosteal reaction of the left and right proximal tibia"


def header(path, **facts):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.SOPClassUID, data.Modality = DigitalXRayImageStorageForPresentation, "DX"
    for keyword, value in facts.items():
        setattr(data, keyword, value)
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("facts", "spacing", "magnification"),
    [
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), None),
        ({"PixelSpacing": [0.2, 0.2]}, (0.2, 0.2), None),
        (
            {"ImagerPixelSpacing": [0.2, 0.2], "EstimatedRadiographicMagnificationFactor": 1.25},
            (0.2, 0.2), 1.25,
        ),
        (
            {"ImagerPixelSpacing": [0.2, 0.2], "DistanceSourceToDetector": 1150,
             "DistanceSourceToPatient": 1000},
            (0.2, 0.2), 1.15,
        ),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.16, 0.16]}, (0.16, 0.16), 1.0),
        ({"PixelSpacing": [0.16, 0.16], "PixelSpacingCalibrationType": "FIDUCIAL"},
         (0.16, 0.16), 1.0),
    ],
)  # fmt: skip
def test_the_header_tells_where_a_pixel_is_measured(tmp_path, facts, spacing, magnification):
    scale = radiograph_scale(header(tmp_path / "xray.dcm", **facts))
    assert (scale.spacing_mm, scale.magnification) == (spacing, magnification)


def test_a_header_without_a_spacing_measures_nothing(tmp_path):
    with pytest.raises(ValueError, match="tells no pixel spacing, so nothing can be measured"):
        radiograph_scale(header(tmp_path / "xray.dcm"))
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"notes.txt: this is no DICOM file"):
        radiograph_scale(tmp_path / "notes.txt")


@pytest.fixture
def radiograph():
    """100 x 80 pixels, as Slicer loads them: 0.2 mm between rows, 0.1 mm between columns."""
    slicer.mrmlScene.Clear(False)
    pixels = np.zeros((1, 80, 100), np.int16)
    node = volume_to_node(Volume(pixels, np.diag([-0.1, -0.2, 1.0, 1.0]), "knee"))
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    return node


def line(name, *ends):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", name)
    for end in ends:
        node.AddControlPointWorld(*end)
    return node


def test_lines_become_sizes_and_the_rest_of_the_form_stays(radiograph, tmp_path):
    """30 columns of 0.1 mm and 20 rows of 0.2 mm are 3 by 4 mm: 5 mm, 4 in the patient."""
    file = header(
        tmp_path / "x.dcm", ImagerPixelSpacing=[0.2, 0.1],
        EstimatedRadiographicMagnificationFactor=1.25,
    )  # fmt: skip
    line(LYSIS, (-1, -1, 0), (-4, -5, 0))
    find = {"1.2.3": str(file)}.get
    written = write_form(tmp_path / "out", find)
    form = json.loads(written.read_text())
    (sign,) = form["findings"]
    assert (sign["size_mm"], sign["certainty"], sign["side"]) == (4.0, "definite", "left")
    with pytest.raises(ValueError, match="day is missing"):
        read_form(form)  # until the reader has completed it
    done = form | {"day": 0, "reader": "A", "view": "knee AP", "quality": "good"}
    done["findings"] = [{**sign, "certainty": "possible", "size_mm": 9.0}, read_line(
        "absent sclerosis of the skull"
    )]  # fmt: skip
    written.write_text(json.dumps(done))
    line(REACTION, (-1, -1, 0), (-1, -3, 0))
    assert write_form(tmp_path / "out", find).name == FORM
    form = read_form(json.loads(written.read_text()))
    assert [(one.sign, one.size_mm) for one in form.findings] == [
        ("sclerosis", None), ("focal lysis", 4.0), ("periosteal reaction", 1.6),
    ]  # fmt: skip
    assert form.reader == "A" and form.findings[2].side == "both"
    assert form.summary == (
        f"knee AP, quality good: {LYSIS}, 4 mm; {REACTION}, 1.6 mm; pixel spacing 0.2 mm, sizes "
        "are divided by the magnification of 1.25 (a header's is at the support; bone nearer to "
        "the tube is enlarged more)."
    )
    calibrated = read_form({**json.loads(written.read_text()), "magnification": 1.0})
    assert calibrated.summary.endswith("are divided by the magnification of 1.")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="form cannot be written to"):
        write_form(tmp_path / "file" / "out", find)


def test_a_moved_radiograph_measures_the_same_and_its_own_spacing_is_at_the_detector(radiograph):
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = slicer.util.vtkMatrixFromArray(
        np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]])
    )
    moved.SetMatrixTransformToParent(matrix)
    radiograph.SetAndObserveTransformNodeID(moved.GetID())
    line(LYSIS, (5 + 1, 6 - 1, 7), (5 + 5, 6 - 4, 7))
    form = measured_form()
    assert form["findings"][0]["size_mm"] == 5.0
    assert (form["pixel_spacing_mm"], form["magnification"]) == (0.2, None)


def test_lines_that_measure_nothing_say_why(radiograph):
    with pytest.raises(ValueError, match="There is no line; draw one over the band or lesion"):
        measured_form()
    unfinished = line(LYSIS, (-1, -1, 0))
    with pytest.raises(ValueError, match="has not both of its ends yet"):
        measured_form([unfinished])
    for name in (
        "L",
        "focal lysis of the skull",
        "definite cyst of the skull",
        "definite fracture",
    ):
        with pytest.raises(ValueError, match="is no line of the X-ray form; certainty, sign, side"):
            measured_form([line(name, (-1, -1, 0), (-2, -2, 0))])
    pair = [line(LYSIS, (-1, -1, 0), (end, -2, 0)) for end in (-2, -4)]
    pair[1].SetName(LYSIS.replace("definite", "possible").replace("femur", "Femur"))
    with pytest.raises(ValueError, match="is the second of its sign, side and bone; the form has"):
        measured_form(pair)
    beside = line(LYSIS, (-1, -1, 0), (-1, 900, 0))
    with pytest.raises(ValueError, match="lies on 0 radiographs; draw it on one image of a sin"):
        measured_form([beside])
    on = line(LYSIS, (-1, -1, 0), (-2, -2, 0))
    radiograph.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.diag([-1.0, -1, 1, 1])))
    with pytest.raises(ValueError, match="Nothing tells how large a pixel of 'knee' is"):
        measured_form([on])
    other = volume_to_node(Volume(np.zeros((1, 9, 9), np.int16), np.diag([0.3, 0.3, 1, 1]), "b"))
    matrix = np.diag([0.3, 0.3, 1.0, 1.0])
    matrix[2, 3] = 50
    other.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    radiograph.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.diag([-0.2, -0.2, 1, 1])))
    far = line("definite fracture of the left clavicle", (0, 0, 50), (1, 0, 50))
    with pytest.raises(ValueError, match="lie on several radiographs; make a form of each"):
        measured_form([on, far])


def test_a_form_of_another_radiograph_is_not_completed(radiograph, tmp_path):
    line(LYSIS, (-1, -1, 0), (-4, -5, 0))
    write_form(tmp_path)
    written = write_form(tmp_path).read_text()  # again of the same one
    pixels = slicer.util.arrayFromVolume(radiograph)
    pixels[0, 3, 3] = 1  # of another patient
    with pytest.raises(ValueError, match="is of another radiograph, or its sizes are of another"):
        write_form(tmp_path)
    assert (tmp_path / FORM).read_text() == written


def test_sizes_that_a_form_keeps_were_measured_at_its_scale(radiograph):
    before = measured_form([line(LYSIS, (-1, -1, 0), (-4, -5, 0))])
    other = line(REACTION, (-1, -1, 0), (-1, -3, 0))
    radiograph.SetSpacing(0.3, 0.3, 1)
    with pytest.raises(ValueError, match="or its sizes are of another scale; choose another fol"):
        measured_form([other], before)
    before["findings"][0]["size_mm"] = None
    assert [one["size_mm"] for one in measured_form([other], before)["findings"]] == [None, 2.0]


@pytest.mark.parametrize("findings", [None, ["lysis"]])
def test_a_form_that_is_damaged_is_not_completed(radiograph, findings):
    lines = [line(LYSIS, (-1, -1, 0), (-4, -5, 0))]
    with pytest.raises(ValueError, match="findings are a list of signs, each an object"):
        measured_form(lines, measured_form(lines) | {"findings": findings})
