"""What every desk does in the scene alone, without a mouse."""

import pathlib
import sys

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

    def add_pet_and_ct(self):
        """The digital spine's PET, and its CT at two energies, beside what is open."""
        from MarrowAssessLib.sample.phantom import lumbar_phantom

        phantom = lumbar_phantom()
        images = [phantom.pet_volume(), *phantom.dual_energy_volumes()]
        nodes = [volume_to_node(image, image.name) for image in images]
        self.wait()
        return nodes

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
