"""Telling that regions or images may have changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import slicer
from vtkmodules.vtkCommonCore import vtkCommand

from MarrowAssessLib.scene.choices import chosen_volumes
from MarrowAssessLib.scene.markups import OWN_MARKUPS


class RegionWatch:
    """Observes what the measured regions of a parameter node depend on, and nothing else."""

    def __init__(self, changed: Callable[[object, str], None]) -> None:
        """`changed` takes the object and its event."""
        self._changed = changed
        self._observed: list[tuple[object, int]] = []  # object, tag

    def follow(self, parameters: object | None) -> None:
        """Observe what the parameter node says now; nothing for None."""
        # Not by VTKObservationMixin: it would keep closed segmentations in memory.
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed = []
        for observed, events in observed_events(parameters) if parameters else ():
            for event in events:
                self._observed.append((observed, observed.AddObserver(event, self._changed)))


def observed_events(parameters: object) -> list[tuple[object, Sequence[int]]]:
    """Objects and their events after which regions or images may have changed."""
    scene = slicer.mrmlScene
    transformed = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
    observed = [(scene, [scene.NodeAddedEvent, scene.NodeRemovedEvent])]
    segmentation = parameters.segmentation
    if segmentation:
        kind = slicer.vtkSegmentation
        drawn = [
            kind.SourceRepresentationModified,
            kind.SegmentAdded,
            kind.SegmentRemoved,
            kind.SegmentModified,
        ]
        observed.append((segmentation.GetSegmentation(), drawn))
        observed.append((segmentation, [transformed]))
    if parameters.useMarkups:
        kind = slicer.vtkMRMLMarkupsNode
        moved = [
            kind.PointModifiedEvent,
            kind.PointRemovedEvent,
            vtkCommand.ModifiedEvent,  # size of a box, name
            transformed,
        ]
        for markup in slicer.util.getNodesByClass("vtkMRMLMarkupsNode"):
            if not markup.GetName().startswith(OWN_MARKUPS):
                observed.append((markup, moved))
    for volume in chosen_volumes(parameters).values():
        observed.append((volume, [volume.ImageDataModifiedEvent, transformed]))
    return observed
