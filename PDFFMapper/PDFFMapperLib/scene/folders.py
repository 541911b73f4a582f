"""Folders of the subject hierarchy, which keep what belongs together beside its source."""

from __future__ import annotations

from collections.abc import Iterable

import slicer


def put_in_folder(
    name: str, nodes: Iterable[slicer.vtkMRMLNode], beside: slicer.vtkMRMLNode | None = None
) -> int:
    """Put nodes into a subject-hierarchy folder, made beside a node if one is given; its item."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    parent = hierarchy.GetSceneItemID()
    if beside is not None:
        parent = hierarchy.GetItemParent(item_of(hierarchy, beside)) or parent
    folder = hierarchy.CreateFolderItem(parent, name)
    for node in nodes:
        hierarchy.SetItemParent(item_of(hierarchy, node), folder)
    return folder


def put_beside(node: slicer.vtkMRMLNode, other: slicer.vtkMRMLNode) -> None:
    """Put a node where another one lies, as into its study."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    hierarchy.SetItemParent(
        item_of(hierarchy, node), hierarchy.GetItemParent(item_of(hierarchy, other))
    )


def item_of(hierarchy: slicer.vtkMRMLSubjectHierarchyNode, node: slicer.vtkMRMLNode) -> int:
    """The item of a node, made where there is none."""
    # The desktop makes items for nodes by itself; without it they have to be made.
    return hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(
        hierarchy.GetSceneItemID(), node
    )
