"""What every desk does in the scene alone, without a mouse."""

import slicer
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.scene.volumes import volume_from_node, volume_to_node


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
