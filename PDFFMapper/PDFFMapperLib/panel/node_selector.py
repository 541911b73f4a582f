"""Selectors of nodes that code makes: they choose, and neither add, rename nor remove."""

from __future__ import annotations

import slicer

VOLUMES = "vtkMRMLScalarVolumeNode"


def node_selector(kinds: list[str], words: str) -> object:
    """One node of these kinds, or none; `words` are its tooltip."""
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = kinds
    selector.noneEnabled = True
    set_up(selector, words)
    return selector


def set_up(selector: object, words: str) -> None:
    """Let a selector of nodes choose alone; `words` are its tooltip."""
    selector.showChildNodeTypes = selector.addEnabled = False
    selector.removeEnabled = selector.renameEnabled = False
    selector.toolTip = words
    selector.setMRMLScene(slicer.mrmlScene)
