"""What every desk does in the scene alone, without a mouse."""

import pathlib
import sys

import numpy as np
import slicer
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.scene.volumes import volume_from_node, volume_to_node

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Python"))

DICOM_SERIES = {  # by contrast: description and times in ms
    "T1": ("t1_tse_sag", {"EchoTime": "11", "RepetitionTime": 550}),
    "FS_T2": ("t2_tirm_sag", {"EchoTime": "60", "RepetitionTime": 4500, "InversionTime": 160}),
}


class SceneDesk:
    """A desk's hand in the scene; `wait` is its own."""

    def close_scene(self):
        """Close what is open, as File > Close Scene does."""
        slicer.mrmlScene.Clear(0)
        self.wait()

    def remove(self, node):
        """Remove a node, as the Data module does."""
        slicer.mrmlScene.RemoveNode(node)
        self.wait()

    def count(self, kind):
        """How many nodes of a class a user can see."""
        nodes = slicer.util.getNodesByClass(kind)
        return sum(not node.GetHideFromEditors() for node in nodes)

    def coarse_copy(self, node):
        """A volume on a voxel grid of half the size."""
        volume = volume_from_node(node)
        matrix = volume.ijk_to_ras.copy()
        matrix[:3, :3] *= 2
        return volume_to_node(Volume(volume.array[::2, ::2, ::2], matrix), "coarse")

    def add(self, node, amount):
        """Change all of an image."""
        slicer.util.arrayFromVolume(node)[:] += amount
        slicer.util.arrayFromVolumeModified(node)
        self.wait()

    def move(self, node, mm):
        """Move an image toward the head."""
        x, y, z = node.GetOrigin()
        node.SetOrigin(x, y, z + mm)
        self.wait()

    def add_earlier_visit(self, change):
        """Put the sample into a study, and its PDFF and regions into an earlier one; their names.

        Args:
            change: of all PDFF between the two.
        """
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        regions, pdff = self.sample.segmentation, volume_from_node(self.sample.volumes["PDFF"])
        before = volume_to_node(pdff.with_array(pdff.array - change), "PDFF before")
        drawn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Regions before")
        drawn.GetSegmentation().DeepCopy(regions.GetSegmentation())
        studies = {
            "20240301": (before, drawn),
            "20250301": (*self.sample.volumes.values(), regions),
        }
        for date, nodes in studies.items():
            study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), f"Spine {date}")
            hierarchy.SetItemAttribute(study, "DICOM.StudyDate", date)
            for node in nodes:
                item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(study, node)
                hierarchy.SetItemParent(item, study)
        self.wait()
        return [f"Spine {date}" for date in studies]

    def add_radiograph(self, name, size_mm):
        """A radiograph of 0.2 mm with a line of that length across it, named so."""
        image = Volume(np.zeros((1, 400, 300), np.int16), np.diag([-0.2, -0.2, 1.0, 1.0]), "knee")
        image.array[0, 100:300, 100:200] = 500
        volume_to_node(image, "knee")
        line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", name)
        for end in (-10.0, -10.0 - size_mm):
            line.AddControlPointWorld(end, -40.0, 0.0)
        self.wait()

    def add_pet_and_ct(self):
        """The digital spine's PET, and its CT at two energies, beside what is open."""
        from MarrowAssessLib.sample.phantom import lumbar_phantom

        phantom = lumbar_phantom()
        images = [phantom.pet_volume(), *phantom.dual_energy_volumes()]
        nodes = [volume_to_node(image, image.name) for image in images]
        self.wait()
        return nodes

    def add_pet_of_the_day(self):
        """The sample's images as an MR study, and its PET as another one of the same day."""
        from MarrowAssessLib.sample.phantom import lumbar_phantom

        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
        pet = lumbar_phantom().pet_volume()
        for name, modality in (("Spine", "MR"), ("Whole body", "PT")):
            study = hierarchy.CreateStudyItem(patient, name)
            hierarchy.SetItemAttribute(study, "DICOM.StudyDate", "20250301")
            nodes = self.sample.volumes.values() if modality == "MR" else [volume_to_node(pet)]
            for node in nodes:
                item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(study, node)
                hierarchy.SetItemParent(item, study)
                hierarchy.SetItemAttribute(item, "DICOM.Modality", modality)
        self.wait()

    def add_large_images(self):
        """The digital spine's T1 and fat-suppressed T2 in 512 x 512 x 120 voxels."""
        from MarrowAssessLib.catalogue.contrasts import Contrast
        from MarrowAssessLib.sample.phantom import lumbar_phantom
        from scipy.ndimage import zoom

        images = lumbar_phantom().volumes
        for contrast in ("T1", "FS_T2"):
            image = images[Contrast(contrast)]
            times = np.array([512, 512, 120]) / image.array.shape
            matrix = image.ijk_to_ras.copy()
            matrix[:3, :3] /= times[::-1]
            volume_to_node(Volume(zoom(image.array, times, order=1), matrix), f"large {contrast}")
        self.wait()

    def show_slices(self, node):
        """Show an image in the slice views, as a whole."""
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        self.wait()

    def add_ute_echoes(self):
        """Three echoes of a digital tibia, in place of what was open."""
        self.close_scene()
        for te_ms in (0.05, 2.2, 4.6):
            facts = {"EchoTime": te_ms, "FlipAngle": 8.0, "RepetitionTime": 12.0}
            array = np.full((4, 24, 24), 100 * np.exp(-te_ms / 2.0), np.float32)
            volume_to_node(Volume(array, np.eye(4), "UTE", facts), f"UTE {te_ms:g} ms")
        self.wait()

    def write_spectrum_and_score(self, folder):
        """A spectrum of 40 % fat at TE 20 ms, a score that says 50 % of everyone; their paths."""
        from MarrowAssessLib.prediction.score_file import Model, Score, write_score
        from PDFFMapperLib.spectroscopy.simulate import Truth, simulated
        from spectrum_files import write_rda

        series = simulated(Truth(40.0), [20.0], 400, np.random.default_rng(0))
        spectrum, score = folder / "te20.rda", folder / "score.json"
        write_rda(spectrum, series.fids[0], 20.0, 3000.0, series.dwell_s, series.frequency_mhz)
        model = Model(("age",), np.full(1, 50.0), np.ones(1), np.full(1, 50.0), np.zeros(1))
        ranges = np.array([[20.0, 90.0]])
        write_score(Score("fracture", model, (model,), {}, ranges, {"n": 60}), score)
        return spectrum, score

    def write_dicom_study(self, folder):
        """The digital spine's T1 and fat-suppressed T2 as a scanner exports them."""
        from dicom_files import sagittal_series
        from MarrowAssessLib.catalogue.contrasts import Contrast
        from MarrowAssessLib.sample.phantom import lumbar_phantom
        from pydicom.uid import generate_uid

        images = lumbar_phantom().volumes
        patient = {
            "PatientName": "김^철수", "PatientID": "1", "PatientAge": "034Y", "PatientSex": "M",
            "PatientBirthDate": "", "SpecificCharacterSet": "ISO_IR 192",
            "StudyInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid(),
        }  # fmt: skip
        for number, (contrast, (description, times)) in enumerate(DICOM_SERIES.items(), start=2):
            facts = {"SeriesDescription": description, "SeriesNumber": number, **times, **patient}
            sagittal_series(folder, images[Contrast(contrast)], **facts)
