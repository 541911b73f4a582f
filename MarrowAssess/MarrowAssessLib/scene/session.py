"""What was drawn and measured in the segmentations of a scene, and how to take it back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import slicer
from PDFFMapperLib.maps.progress import Progress, share
from PDFFMapperLib.scene.volumes import volume_from_node

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.scene.shown import live_results

if TYPE_CHECKING:  # opening a panel waits for none of them, nor measuring for numba
    from MarrowAssessLib.findings.result import Assessment
    from MarrowAssessLib.follow_up.change import Change as VisitChange
    from MarrowAssessLib.measures.book import Settings
    from MarrowAssessLib.placement.column import Column
    from MarrowAssessLib.scene.column import DrawnColumn, Placed
    from MarrowAssessLib.scene.edits import Change
    from MarrowAssessLib.scene.placing import Placing
    from MarrowAssessLib.scene.result_rows import ResultRow
    from MarrowAssessLib.sources.inputs import StudyInputs
    from MarrowAssessLib.sources.other_tools import Segmented
    from MarrowAssessLib.study.regions import Region
    from MarrowAssessLib.study.study import Study


@dataclass(frozen=True)
class Step:
    """One thing done to a segmentation, and the column that was known of it then."""

    segmentation: slicer.vtkMRMLSegmentationNode
    change: Change
    column: DrawnColumn | None


class Session:
    """The work on a scene's segmentations, for the panel and the Python console."""

    def __init__(self) -> None:
        self._steps: list[Step] = []  # the last one last
        self._assessments: dict[slicer.vtkMRMLSegmentationNode, Assessment] = {}
        self._changes: dict[slicer.vtkMRMLSegmentationNode, list[VisitChange]] = {}
        self._images: dict[int, dict[Contrast, slicer.vtkMRMLScalarVolumeNode]] = {}
        self.last: Assessment | None = None

    # Measuring

    def assess(
        self,
        inputs: StudyInputs,
        settings: Settings | None = None,
        overlay: bool = True,
        names: bool = False,
        earlier: str | Path | slicer.vtkMRMLSegmentationNode | None = None,
        progress: Progress | None = None,
    ) -> Assessment | None:
        """Measure regions and show the results on the segmentation; see `study_from_nodes`.

        Where no segmentation is given, an empty one is made to hold the results. With `earlier`,
        the assessment.json of an earlier visit or its regions in this scene, regions are colored
        by their change.

        Returns:
            None when canceled; the scene is then as it was.

        Raises:
            ValueError: one sentence that says what is wrong.
        """
        from MarrowAssessLib.findings.assessment import assess
        from MarrowAssessLib.follow_up.since import changes_since
        from MarrowAssessLib.report.data import as_dict
        from MarrowAssessLib.scene.images import grid_node
        from MarrowAssessLib.scene.live_results import show_live
        from MarrowAssessLib.scene.placing import new_segmentation
        from MarrowAssessLib.scene.study import study_from_nodes
        from MarrowAssessLib.sources.spectra import read_site_spectra
        from MarrowAssessLib.sources.ute import read_site_ute

        segmentation, spectra, ute = inputs.segmentation, inputs.spectra, inputs.ute
        before = self._visit(earlier) if earlier and earlier is not segmentation else None
        study = study_from_nodes(inputs)
        if settings and settings.fractures:
            self._bring_outlines(study, segmentation)
        fitted = 0.5 if spectra or ute else 0.0  # of the time
        half = fitted / 2 if ute else fitted
        try:
            study.spectra = read_site_spectra(spectra, study, progress=share(progress, 0, half))
            study.bones = read_site_ute(ute, study, progress=share(progress, half, fitted))
            assessment = assess(study, settings, share(progress, fitted, 1))
        except InterruptedError:
            return None
        assessment.notes += study.notes
        if progress is not None and not progress(1.0):
            return None
        if segmentation is None:
            segmentation = new_segmentation(grid_node(inputs.volumes, None))
        changes = changes_since(before, as_dict(assessment, ())) if before else []
        show_live(assessment, segmentation, inputs.markups, overlay, names, changes)
        self._changes[segmentation] = changes
        self._assessments[segmentation] = self.last = assessment
        held = {id(one) for one in self._assessments.values()}
        self._images = {key: one for key, one in self._images.items() if key in held}
        self._images[id(assessment)] = dict(inputs.volumes)
        return assessment

    def _visit(self, earlier: str | Path | slicer.vtkMRMLSegmentationNode) -> Mapping:
        """An earlier visit as in its assessment.json."""
        from MarrowAssessLib.follow_up.since import earlier_visit
        from MarrowAssessLib.report.data import as_dict

        if isinstance(earlier, str | Path):
            return earlier_visit(earlier)
        return as_dict(self._measured(earlier), ())

    def _measured(self, segmentation: slicer.vtkMRMLSegmentationNode) -> Assessment:
        known = self.assessment_of(segmentation)
        if known is None:
            raise ValueError(
                f"'{segmentation.GetName()}' was not measured yet: choose its study and regions, "
                "press Apply, then come back to this visit."
            )
        return known

    def _bring_outlines(
        self, study: Study, segmentation: slicer.vtkMRMLSegmentationNode | None
    ) -> None:
        """Give regions the outlines of the found bodies that they lie in, unless painted since."""
        column = self.column_of(segmentation) if segmentation is not None else None
        if column is None or not column.lies_in(column.volume_node):  # moved since
            return
        for region in study.regions:
            body = column.column.bodies.get(region.site)
            key = region.role, region.site
            if body and region.role is Role.MARROW and not column.edited(key, region.name):
                region.outline = body.surface

    def assessment_of(self, segmentation: slicer.vtkMRMLSegmentationNode | None):
        """The last assessment shown on a segmentation, None where there is none."""
        return self._assessments.get(segmentation)

    def changes_of(self, segmentation: slicer.vtkMRMLSegmentationNode | None) -> list[VisitChange]:
        """What changed since the earlier visit that was chosen; [] without one."""
        return self._changes.get(segmentation, [])

    def change_map(
        self,
        earlier: slicer.vtkMRMLSegmentationNode,
        now: slicer.vtkMRMLSegmentationNode,
        progress: Progress | None = None,
    ) -> slicer.vtkMRMLScalarVolumeNode | None:
        """Show over the earlier visit's image which voxels of its vertebrae changed since.

        Returns:
            The map's node; None when canceled.

        Raises:
            ValueError: a visit was not measured, they hold no map in common, no body of the
                earlier one was found again, or its image is gone.
        """
        from MarrowAssessLib.follow_up.change_map import change_of_studies
        from MarrowAssessLib.scene.change_map import show_change_map

        first, second = (self._measured(one) for one in (earlier, now))
        try:
            quantity, shown, found = change_of_studies(first.study, second.study, progress)
        except InterruptedError:
            return None
        image = self._images[id(first)][shown]
        if image.GetScene() is None:
            raise ValueError(
                "The earlier visit's image is gone; load it and measure that visit again."
            )
        return show_change_map(found, quantity, image)

    def rows_of(self, segmentation: slicer.vtkMRMLSegmentationNode | None) -> list[ResultRow]:
        """The numbers shown for a segmentation, those outside the expected range first."""
        shown = live_results(segmentation) if segmentation else None
        if shown is None:
            return []
        from MarrowAssessLib.scene.assessment import plain_rows
        from MarrowAssessLib.scene.result_rows import result_rows

        assessment = self.assessment_of(segmentation)
        plain = plain_rows(assessment) if assessment else []
        return result_rows(shown.table) + plain

    def shown_on(self, assessment: Assessment) -> slicer.vtkMRMLSegmentationNode | None:
        """The segmentation that an assessment is shown on."""
        return next((n for n, one in self._assessments.items() if one is assessment), None)

    def clear_results(self, segmentation: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Show no results of a segmentation whose regions are gone."""
        from MarrowAssessLib.scene.live_results import clear_live

        if segmentation is None:
            return
        clear_live(segmentation)
        self._assessments.pop(segmentation, None)
        self._changes.pop(segmentation, None)

    def export(self, segmentation: slicer.vtkMRMLSegmentationNode | None, folder: Path):
        """Write report.html, measurements.csv and assessment.json; returns their paths.

        Images are named by hashes: names of nodes often hold the patient's.

        Raises:
            ValueError: nothing was measured yet, or the folder cannot be written to.
        """
        from MarrowAssessLib.scene.outputs import write_outputs
        from MarrowAssessLib.scene.study import without_node_names

        assessment = self.assessment_of(segmentation) or self.last
        if assessment is None:
            raise ValueError("There is nothing to report yet; measure the regions first.")
        nameless = copy.copy(assessment)
        nameless.study = without_node_names(assessment.study)
        try:
            return write_outputs(nameless, folder, show=False)
        except OSError as error:
            raise ValueError(
                f"The report cannot be written to '{folder}' ({error.strerror}); "
                "choose a folder that you may write to."
            ) from error

    def export_dicom(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode | None,
        folder: Path,
        anonymous: bool = False,
        progress: Progress | None = None,
    ) -> list[Path] | None:
        """Write regions, maps and numbers as DICOM objects of the study they were measured in.

        Returns:
            None when canceled; nothing is then written.

        Raises:
            ValueError: nothing was measured yet, highdicom is missing, no image is from DICOM, or
                the folder cannot be written to.
        """
        from PDFFMapperLib.dicom_out.source import refuse_without_highdicom

        from MarrowAssessLib.dicom_out.export import write_dicom
        from MarrowAssessLib.scene.study import on_dicom_slices

        assessment = self.assessment_of(segmentation) or self.last
        if assessment is None:
            raise ValueError("There is nothing to export yet; measure the regions first.")
        refuse_without_highdicom()
        exported = copy.copy(assessment)
        exported.study = on_dicom_slices(assessment.study, self._images[id(assessment)])
        exported.notes = list(assessment.notes)
        try:
            return write_dicom(exported, folder, anonymous, progress=progress)
        except InterruptedError:
            return None
        except OSError as error:
            raise ValueError(
                f"DICOM objects cannot be written to '{folder}' ({error.strerror}); "
                "choose a folder that you may write to."
            ) from error

    def add_to_controls(self, segmentation: slicer.vtkMRMLSegmentationNode | None) -> str:
        """Add a normal patient's numbers to the user's own controls; returns what they hold now.

        Raises:
            ValueError: nothing was measured, the age is not known, or they were added before.
        """
        from MarrowAssessLib.references.own_controls import add_assessment, added_text
        from MarrowAssessLib.report.data import as_dict
        from MarrowAssessLib.scene.charts import outdate_charts

        assessment = self.assessment_of(segmentation)
        if assessment is None:
            raise ValueError("There is nothing to add yet; measure the regions first.")
        added = add_assessment(as_dict(assessment, ()))
        outdate_charts()
        return added_text(*added)

    # Drawing

    def place(
        self,
        where: Placing,
        point_ras: Sequence[float],
        role: str,
        site: str = "",
        progress: Progress | None = None,
    ) -> Placed | None:
        """Draw what was clicked; see `column.place_click`. None when canceled."""
        from MarrowAssessLib.scene.column import place_click

        try:
            placed = place_click(
                where.segmentation,
                where.volume_node,
                point_ras,
                role,
                site,
                where.options,
                self.column_of(where.segmentation),
                progress,
            )
        except InterruptedError:
            return None
        self._done(where.segmentation, placed.change, placed.column)
        return placed

    def find_spine(
        self,
        where: Placing,
        volumes: Mapping[Contrast, slicer.vtkMRMLScalarVolumeNode],
        progress: Progress | None = None,
    ) -> Column | None:
        """Find and name the levels of the spine without a click; None when canceled.

        Raises:
            ValueError: no spine was found; nothing is then changed.
        """
        from MarrowAssessLib.scene.column import place_spine

        try:
            drawn, change = place_spine(where.segmentation, volumes, where.options, progress)
        except InterruptedError:
            return None
        self._done(where.segmentation, change, drawn)
        return drawn.column

    def find_column(
        self,
        where: Placing,
        point_ras: Sequence[float],
        level: str,
        progress: Progress | None = None,
    ) -> Column | None:
        """Find and name the levels from a point in one body; None when canceled.

        Raises:
            ValueError: the level of the body is not given or does not exist.
        """
        from MarrowAssessLib.scene.column import place_column

        try:
            drawn, change = place_column(
                where.segmentation,
                where.volume_node,
                point_ras,
                level,
                where.options,
                progress,
            )
        except InterruptedError:
            return None
        self._done(where.segmentation, change, drawn)
        return drawn.column

    def correct_painted(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        segment_name: str,
        level: str = "",
        options: PlacingOptions = AS_USUAL,
    ) -> Placed:
        """Take a painted segment as a whole body of the column; see `column.correct_painted`.

        Raises:
            ValueError: no column was found, or there is no such segment.
        """
        from MarrowAssessLib.scene.column import correct_painted

        column = self.column_of(segmentation)
        if column is None:
            raise ValueError("Find the column first; a painted body corrects it.")
        placed = correct_painted(column, segment_name, level, options)
        self._done(segmentation, placed.change, placed.column)
        return placed

    def import_labels(
        self, where: Placing, source: slicer.vtkMRMLNode, convention: str, resample: bool = False
    ) -> list[Region]:
        """Add the regions of another tool; see `edits.import_labels`."""
        from MarrowAssessLib.scene.edits import import_labels

        regions, change = import_labels(
            where.segmentation, where.volume_node, source, convention, resample
        )
        self._done(where.segmentation, change, self.column_of(where.segmentation))
        return regions

    def segment_with(
        self,
        where: Placing,
        contrast: Contrast,
        tool: str,
        progress: Callable[[str], bool] | None = None,
    ) -> Segmented:
        """Add the regions that an installed tool of others draws; see `other_tools.segment_with`.

        Raises:
            ValueError: it is not installed, has no weights or failed; nothing is then changed.
            InterruptedError: canceled; likewise.
        """
        from MarrowAssessLib.scene.edits import add_regions
        from MarrowAssessLib.sources.other_tools import segment_with
        from MarrowAssessLib.sources.tools import tool_named

        volume = volume_from_node(where.volume_node)
        found = segment_with(tool_named(tool), volume, contrast, progress=progress)
        change = add_regions(where.segmentation, where.volume_node, found.regions)
        self._done(where.segmentation, change, self.column_of(where.segmentation))
        return found

    def shift_levels(
        self, segmentation: slicer.vtkMRMLSegmentationNode | None, shift: int, lumbar: int = 5
    ) -> list[str]:
        """Name every level so many vertebrae nearer to the feet (-1: head); returns new names.

        Raises:
            ValueError: there is no level, or one would leave the spine.
        """
        from MarrowAssessLib.scene.column import renamed_column
        from MarrowAssessLib.scene.placement import shift_levels

        if segmentation is None:
            raise ValueError("There are no regions yet.")
        column = self.column_of(segmentation)
        if column is not None:
            column = renamed_column(column, shift, lumbar)
        names, change = shift_levels(segmentation, shift, lumbar)
        self._done(segmentation, change, column)
        return names

    def accept(self, segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str) -> None:
        """Take a doubtful region as right: its numbers get their verdicts."""
        from MarrowAssessLib.scene.edits import accept

        change = accept(segmentation, segment_id)
        self._done(segmentation, change, self.column_of(segmentation))

    # Taking back

    def can_undo(self, segmentation: slicer.vtkMRMLSegmentationNode | None) -> bool:
        """Whether anything drawn into a segmentation can be taken back."""
        return any(step.segmentation is segmentation for step in self._steps)

    def undo(self, segmentation: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Take back the last thing done to a segmentation.

        Raises:
            ValueError: there is none.
        """
        from MarrowAssessLib.scene.edits import take_back

        own = [step for step in self._steps if step.segmentation is segmentation]
        if not own:
            raise ValueError("There is nothing to take back.")
        take_back(segmentation, own[-1].change)
        self._steps = [step for step in self._steps if step is not own[-1]]  # others may be equal

    def column_of(self, segmentation: slicer.vtkMRMLSegmentationNode) -> DrawnColumn | None:
        """The column found last in a segmentation and not taken back."""
        own = [step.column for step in self._steps if step.segmentation is segmentation]
        return own[-1] if own else None

    def forget(self, segmentation: slicer.vtkMRMLSegmentationNode | None = None) -> None:
        """Let go of a segmentation that is removed, with all that shows its results; None: of all.

        A scene that closes takes along what it shows.
        """
        if segmentation is None:
            self._steps, self._assessments, self.last = [], {}, None
            self._changes, self._images = {}, {}
            return
        from MarrowAssessLib.scene.live_results import remove_live

        remove_live(segmentation)
        self._steps = [step for step in self._steps if step.segmentation is not segmentation]
        self._changes.pop(segmentation, None)
        if self._assessments.pop(segmentation, None) is self.last:
            self.last = None

    def _done(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        change: Change,
        column: DrawnColumn | None,
    ) -> None:
        self._steps.append(Step(segmentation, change, column))
