"""The results in the panel: verdict, matrix, doubts, and what the views show of a number."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import fill
from typing import TYPE_CHECKING

import qt
import slicer
from PDFFMapperLib.maps.units import with_powers
from PDFFMapperLib.panel.frame import PanelFrame
from PDFFMapperLib.panel.table_height import fit_height
from PDFFMapperLib.scene.origin import dicom_file
from slicer.i18n import tr as _

from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.panel import words
from MarrowAssessLib.scene import views
from MarrowAssessLib.scene.choices import age_years, chosen_volumes
from MarrowAssessLib.scene.segments import doubts
from MarrowAssessLib.scene.shown import live_results, shows_3d
from MarrowAssessLib.scene.visibility import show_labels, show_segmentation

if TYPE_CHECKING:  # opening a panel waits for no number
    from MarrowAssessLib.scene.matrix import Matrix
    from MarrowAssessLib.scene.result_rows import ResultRow

STYLE = "paletteChanged(QPalette)"  # of the application
DARK_BELOW = 128  # lightness of a panel, 0-255
MARGIN, NARROWEST = 11, 200  # of a section, pixels
SITE_LETTERS = 13  # of a line of a site's name
WRAPPED = (
    "studyLabel", "verdictLabel", "gridLabel", "doubtLabel", "cellLabel", "recordsLabel",
    "placingLabel",
)  # fmt: skip
WIDEST_PX = (130, 90)  # a quantity's name and its site, or the value is out of sight
STATUS_MS = 5000  # for which the status bar says what was done


class ResultsPane:
    """What is known of the chosen segmentation.

    Attributes:
        rows: the numbers, those outside the expected range first.
        matrix: those that can color a region, as shown.
        chosen: the number that was clicked.
        doubtful: the name of the doubtful region that is shown.
    """

    def __init__(
        self, ui: object, frame: PanelFrame, session: object, changed: Callable[[], None]
    ) -> None:
        """Args:
        ui: the panel's widgets.
        frame: runs the jobs and holds the parameter node.
        session: the Session of the module's logic.
        changed: measures again, called once a doubt was ended.
        """
        self._ui, self._frame, self._session, self._changed = ui, frame, session, changed
        self.rows: list[ResultRow] = []
        self.matrix: Matrix | None = None
        self.chosen: ResultRow | None = None
        self.doubtful = ""
        self._charts: list[slicer.vtkMRMLPlotChartNode] = []
        self._shown: slicer.vtkMRMLSegmentationNode | None = None  # whose results these are
        self._layout: int | None = None  # the one before an age curve was shown
        self._said_shown = False
        self._shown_table: slicer.vtkMRMLTableNode | None = None  # what *All numbers* shows
        ui.resultsTable.visible = False
        ui.resultsTable.connect("cellClicked(int,int)", self.onClicked)
        ui.resultsTable.connect("cellDoubleClicked(int,int)", self.onDoubleClicked)
        ui.verdictLabel.connect("linkActivated(QString)", self.onSaidLink)
        ui.rightButton.connect("clicked(bool)", self.onRightButton)
        ui.lookButton.connect("clicked(bool)", self.onLookButton)
        ui.show3DButton.connect("toggled(bool)", self.onShow3DToggled)
        ui.showChartButton.connect("toggled(bool)", self.onShowChartToggled)
        ui.exportButton.connect("clicked(bool)", self.onExportButton)
        ui.xrayButton.connect("clicked(bool)", self.onXrayButton)
        ui.exportDicomButton.connect("clicked(bool)", self.onExportDicomButton)
        ui.addControlButton.connect("clicked(bool)", self.onAddControlButton)
        slicer.app.connect(STYLE, self.onStyle)

    def cleanup(self) -> None:
        """The panel goes."""
        slicer.app.disconnect(STYLE, self.onStyle)

    def onStyle(self, palette: object) -> None:
        """Words and links get the colors of another style, once the widgets have it."""
        qt.QTimer.singleShot(0, self._recolor)

    def _recolor(self) -> None:
        self._ui.verdictLabel.text = self._ui.recordsLabel.text = ""  # the same is not drawn anew
        if self._frame.parameters:  # else opening the panel shows them again
            self._show_verdict()
            self._choose(self.chosen)

    @property
    def segmentation(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The chosen one."""
        return self._frame.parameters.segmentation if self._frame.parameters else None

    def followChoice(self) -> None:
        """Show another segmentation and its results where another is chosen."""
        chosen = self.segmentation
        if chosen is not self._shown:
            show_segmentation(self._shown, False)
            show_segmentation(chosen, True)
            show_labels(chosen, self._frame.parameters.showOverlay)
            self.show()

    def show(self) -> None:
        """Verdict, tables and buttons for what is known of the chosen segmentation."""
        segmentation = self.segmentation
        self._shown = segmentation
        shown = live_results(segmentation) if segmentation else None
        self._charts = shown.charts if shown else []
        self.rows = self._session.rows_of(segmentation)
        self._ui.reportLabel.text = ""  # it was of other numbers
        fresh = self._session.assessment_of(segmentation) is not None
        self._show_verdict()
        if self.rows or self.matrix:  # else nothing was shown, and nothing is
            self._fill()
        self.show_doubt(self.doubtful)
        table = self._ui.resultsTableView
        node = self._shown_table = self._table_of(shown)
        if node is not table.mrmlTableNode():  # it follows the one it has, as it was widened
            table.setMRMLTableNode(node)
            for column, widest in enumerate(WIDEST_PX):
                table.setColumnWidth(column, min(table.columnWidth(column), widest))
        if not self._charts:  # a plot of nothing leads back
            self._ui.showChartButton.checked = False
        self._offer_chart()
        for button in ("exportButton", "exportDicomButton", "addControlButton"):
            getattr(self._ui, button).enabled = fresh
        self._ui.show3DButton.enabled = segmentation is not None
        blocked = self._ui.show3DButton.blockSignals(True)
        self._ui.show3DButton.checked = shows_3d(segmentation)
        self._ui.show3DButton.blockSignals(blocked)

    def _table_of(self, shown: object | None) -> slicer.vtkMRMLTableNode | None:
        """The table of live results as people read it, in the node of the one before."""
        from MarrowAssessLib.scene.shown_table import shown_table

        return shown_table(shown.table, self._shown_table) if shown else None

    def _show_verdict(self) -> None:
        none = _(
            "No assessment yet: load images, find the spine or place a region, read numbers here."
        )
        if self.segmentation and self.segmentation.GetSegmentation().GetNumberOfSegments():
            none = _("No assessment yet: the regions are not measured.")  # the other lines tell why
        self._ui.verdictLabel.text = self._verdict() if self.rows else none
        self.make_room()

    def _verdict(self) -> str:
        from MarrowAssessLib.findings.verdict import notes, said_without_reference
        from MarrowAssessLib.panel.result_words import verdict_text

        window = self._ui.verdictLabel.palette.color(qt.QPalette.Window)
        assessment = self._session.assessment_of(self.segmentation)
        return verdict_text(
            self.rows,
            notes(assessment) if assessment else None,
            said_without_reference(assessment) if assessment else (),
            self._said_shown,
            window.lightness() < DARK_BELOW,
        )

    def onSaidLink(self, link: str) -> None:
        """Show or hide what is said of values without a z-score."""
        self._said_shown = not self._said_shown
        self._show_verdict()

    def _fill(self) -> None:
        """The matrix: sites from head to foot, what was measured, colored as in the views."""
        from MarrowAssessLib.scene.matrix import result_matrix
        from MarrowAssessLib.study.map_scale import without_options

        self.matrix = matrix = result_matrix(self.rows, self._session.changes_of(self.segmentation))
        table = self._ui.resultsTable
        table.clear()
        table.setRowCount(len(matrix.sites))
        table.setColumnCount(len(matrix.columns))
        table.setHorizontalHeaderLabels([with_powers(one) for one in matrix.columns])
        table.setVerticalHeaderLabels([fill(site, SITE_LETTERS) for site in matrix.sites])
        for (row, column), cell in matrix.cells.items():
            item = qt.QTableWidgetItem(cell.text)
            item.setToolTip(without_options(cell.row.details))
            item.setTextAlignment(qt.Qt.AlignCenter)
            if cell.color:
                item.setBackground(qt.QBrush(qt.QColor.fromRgbF(*cell.color)))
                item.setForeground(qt.QBrush(qt.QColor("white" if cell.light else "black")))
            table.setItem(row, column, item)
        table.resizeColumnsToContents()
        fit_height(table)
        table.visible = bool(matrix.cells)
        before = self.chosen and (self.chosen.key, self.chosen.site, self.chosen.regions)
        now = (row for row in self.rows if (row.key, row.site, row.regions) == before)
        self._choose(next(now, None))  # measured anew, a number stays chosen

    def _at(self, row: int, column: int) -> ResultRow | None:
        """The number of a cell, None of an empty one."""
        cell = self.matrix.cells.get((row, column))
        return cell.row if cell else None

    def onClicked(self, row: int, column: int) -> None:
        """Show a number's image and region in the slice views, its age curve, its reference."""
        self._ui.resultsTable.viewport().repaint()  # chosen, before views take their time
        self._choose(chosen := self._at(row, column))
        if chosen is None:
            return
        if image := self._image_of(chosen):
            views.show_image(image)
        views.jump_to(self.segmentation, chosen.regions)
        if chart := self.chart:
            views.put_into_plots(chart)
            _put_legends_beside()
        if doubtful := [name for name in doubts(self.segmentation) if name in chosen.regions]:
            self.show_doubt(doubtful[0])

    def _image_of(self, row: ResultRow) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The image that a number was measured in, as it is chosen now."""
        images = QUANTITIES[row.key].images if row.key in QUANTITIES else ()
        chosen = chosen_volumes(self._frame.parameters)
        return chosen.get(images[0].value) if images else None

    def _choose(self, chosen: ResultRow | None) -> None:
        """Tell all of this number, and where it can be read; of none, tell nothing."""
        self.chosen = chosen
        missing = self._offer_chart()
        if chosen is None:
            self.say("")
            return
        from MarrowAssessLib.panel.result_words import cell_text
        from MarrowAssessLib.scene.matrix import record_links

        links = record_links(chosen)
        said = [cell_text(chosen)]
        if missing and self._ui.showChartButton.checked:  # the plot is still of another number
            said.append(missing)
        links = _("Read: {links}").format(links=links) if links else ""
        self.say("\n".join(said), links)

    def _offer_chart(self) -> str:
        """Offer the curve of the chosen number; returns why there is none, "" where there is."""
        button = self._ui.showChartButton
        missing = "" if (self.chart if self.chosen else self._charts) else self._without_chart()
        button.text = words.chart_name(self._opened)
        words.enable(button, missing, _("Show the patient on the age curve; again to return."))
        return missing

    def _without_chart(self) -> str:
        """Why there is no curve of the chosen number, or of any where none is chosen."""
        if not self.rows:
            return _("Nothing is measured yet.")
        if age_years(self._frame.parameters) is None:
            return _("There is no age curve without the patient's age.")
        if self.chosen is None:
            return _("No age curve of these numbers is known.")
        number = f"{self.chosen.site} {self.chosen.quantity}".strip()
        return _("No age curve of {number} is known.").format(number=number)

    def say(self, text: str, links: str = "") -> None:
        """Show sentences below the matrix, which take no room where there are none."""
        for label, shown in ((self._ui.cellLabel, text), (self._ui.recordsLabel, links)):
            label.text = shown
            label.visible = bool(shown)
        self.make_room()

    def make_room(self) -> None:
        """Wrapped labels as high as their lines: they ask for less, and lie on each other then."""
        width = self._ui.resultsCollapsibleButton.width - 2 * MARGIN
        if width < NARROWEST:  # not yet laid out
            return
        for name in WRAPPED:
            label = getattr(self._ui, name)
            label.minimumHeight = 0  # or what was said before counts in the height
            label.minimumHeight = label.heightForWidth(width) if label.text else 0

    @property
    def chart(self) -> slicer.vtkMRMLPlotChartNode | None:
        """The age curve of the number that was clicked, of the most urgent one before a click."""
        return views.chart_of(self._charts, self.chosen or (self.rows[0] if self.rows else None))

    @property
    def _opened(self) -> slicer.vtkMRMLPlotChartNode | None:
        """What *Age curve* shows: of a number without a chart the first one."""
        return self.chart or next(iter(self._charts), None)

    def onDoubleClicked(self, row: int, column: int) -> None:
        """Open the publication behind a number's reference."""
        from MarrowAssessLib.scene.matrix import doi_url

        chosen = self._at(row, column)
        if chosen and chosen.doi:
            qt.QDesktopServices.openUrl(qt.QUrl(doi_url(chosen.doi)))

    def show_doubt(self, name: str) -> None:
        """Name this doubtful region, and why, with what ends the doubt; else the first one."""
        known = doubts(self.segmentation)
        self.doubtful = name if name in known else next(iter(known), "")
        self._ui.doubtRow.visible = bool(known)
        if known:
            self._ui.doubtLabel.text = words.doubt_text(known, self.doubtful)
            self.make_room()

    def onLookButton(self) -> None:
        """Bring the doubtful region into the slice views."""
        views.jump_to(self.segmentation, [self.doubtful])

    def onRightButton(self) -> None:
        """The doubtful region is right: its numbers get their verdicts; show the next one."""
        with self._frame.working(_("The region is doubtful still.")):
            segments = self.segmentation.GetSegmentation()
            segment_id = segments.GetSegmentIdBySegmentName(self.doubtful)
            self._session.accept(self.segmentation, segment_id)
            said = _("Judged right: {name}.").format(name=self.doubtful)
            self._ui.placingLabel.text = said
            self._changed()

    def onShow3DToggled(self, checked: bool) -> None:
        """Show or hide the segments in 3D views; shown, they fill them."""
        if not checked and self._ui.showChartButton.checked:  # a plot stands where they are
            self._ui.showChartButton.checked = False
            self._ui.show3DButton.checked = True
        elif self.segmentation:
            shown = False
            try:
                with self._frame.working(_("3D cannot be shown."), checked):
                    shown = views.show_3d(self.segmentation, checked, self._frame.progress)
            finally:
                if checked and not shown:
                    self._ui.show3DButton.checked = False
            if checked and shown:
                self._ui.showChartButton.checked = False  # a plot may stand where 3D was

    def onShowChartToggled(self, checked: bool) -> None:
        """Show the age curve of the chosen number in a layout with a plot, or go back."""
        if checked:
            self._layout = views.open_plot(self._opened)
            _put_legends_beside()
        else:
            views.restore_layout(self._layout)

    def onExportButton(self) -> None:
        """Write the report."""
        with slicer.util.tryWithErrorDisplay(_("The report was not written."), waitCursor=True):
            folder = self._frame.parameters.exportFolder
            files = self._session.export(self.segmentation, folder)
            address = qt.QUrl.fromLocalFile(str(files[0])).toString()
            self._ui.reportLabel.text = f'<a href="{address}">{_("Open the report")}</a>'
            slicer.util.showStatusMessage(_("Written: {file}").format(file=files[0]), STATUS_MS)

    def onExportDicomButton(self) -> None:
        """Write DICOM objects into a folder of their own beside the report."""
        frame = self._frame
        with frame.working(_("No DICOM was written."), True):
            folder = frame.parameters.exportFolder / "dicom"
            files = self._session.export_dicom(self.segmentation, folder, progress=frame.progress)
            said = _("Canceled; nothing was written.")
            if files is not None:
                said = _("Written: {count} DICOM objects to {folder}")
                said = said.format(count=len(files), folder=folder)
            slicer.util.showStatusMessage(said, STATUS_MS)

    def onXrayButton(self, clicked: bool = False) -> None:
        """Write the X-ray form with the sizes of lines, for the reader to complete."""
        from MarrowAssessLib.scene.xray import write_form

        with slicer.util.tryWithErrorDisplay(_("The form was not written."), waitCursor=True):
            file = write_form(self._frame.parameters.exportFolder, dicom_file())
            said = _("Written: {file}; complete it, then give it to: marrowassess xray")
            slicer.util.showStatusMessage(said.format(file=file), STATUS_MS)

    def onAddControlButton(self) -> None:
        """The patient's marrow is normal: keep its numbers for the user's own references."""
        try:
            self.say(self._session.add_to_controls(self.segmentation))
        except ValueError as error:  # added before, or without an age; said in the panel
            self.say(str(error))


def _put_legends_beside() -> None:
    """Legends of plots stand beside the curves; no node says so, the views do."""
    layout = slicer.app.layoutManager()
    for n in range(layout.plotViewCount):
        chart = layout.plotWidget(n).plotView().chart()
        chart.GetLegend().SetInline(False)
        chart.GetScene().SetDirty(True)
