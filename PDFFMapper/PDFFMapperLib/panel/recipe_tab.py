"""A tab of the panel for each family of recipes: method, images, their facts, options."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from PDFFMapperLib.maps.kinds import map_kind
from PDFFMapperLib.maps.recipe import CHOICE, SWITCH, Family, Input, Option, Recipe
from PDFFMapperLib.maps.units import with_powers
from PDFFMapperLib.panel.node_selector import VOLUMES, node_selector, set_up
from PDFFMapperLib.panel.option_widget import combo_box, option_widget
from PDFFMapperLib.panel.table_height import fit_height
from PDFFMapperLib.scene.frames import Frame, frames_from_nodes
from PDFFMapperLib.scene.mapping import (
    chosen_nodes,
    chosen_recipe,
    chosen_settings,
    missing,
    set_typed_fact,
    shown_options,
)
from PDFFMapperLib.scene.origin import dicom_file

METHOD, TABLE = "method", "frames"  # rows that are no input or option
SHOWN_ROWS = 6  # of frames; the buttons below stay in sight
SERIES = [VOLUMES, "vtkMRMLVectorVolumeNode", "vtkMRMLMultiVolumeNode", "vtkMRMLSequenceNode"]


class RecipeTab:
    """One family's rows, each made from its recipes when it is shown first.

    Attributes:
        family: the recipes.
        page: the tab's widget.
        widgets: of the rows made so far, by the name of the parameter that each shows; the
            connection with the parameter node finds them by their property "SlicerParameterName".
            Among them is the section of the advanced options ("pdffAdvanced").
        table: the frames of the chosen images, with what a user may correct. None before `build`.
    """

    def __init__(
        self,
        family: Family,
        say: Callable[[str], None],
        connect: Callable[[Mapping[str, object]], None],
    ) -> None:
        """`say` shows what could not be read or taken; `connect` connects new `widgets`."""
        self.family = family
        self.page = qt.QWidget()
        self.widgets: dict[str, object] = {}
        self._say, self._connect_rows = say, connect
        options = (option.name for option in family.options if option.parameter)
        self._order = [METHOD, *(one.name for one in family.inputs), TABLE, *options]
        self._folded = {one.name for one in family.options if one.advanced}
        self._rows: dict[str, tuple[object, ...]] = {}
        self._form = qt.QFormLayout(self.page)
        self._section = self._section_form = None  # of the advanced options, once there are rows
        self._frames: list[Frame] = []
        self._keywords: list[str] = []
        self._filling = False
        self._parameters = None
        self.table = None

    def build(self) -> None:
        """The tab comes to the front: from now on it shows its rows."""
        if self.table is None:
            self.table = self._frame_table()

    def connect(self, parameters: object | None) -> None:
        """Show another parameter node, or none; after its own connection with the widgets."""
        self._parameters = parameters
        if parameters:
            self._title_choices(self.widgets)
        self.show()

    def show(self) -> None:
        """Show the rows and frames of what is chosen, hide the others."""
        if self.table is None:
            return
        if self._parameters is None:
            self._fill([])
            return
        recipe = chosen_recipe(self._parameters, self.family)
        self._keywords = list(dict.fromkeys(k for one in recipe.inputs for k, _t in one.facts))
        shown = {METHOD} | {one.name for one in recipe.inputs}
        options = shown_options(self._parameters, recipe)
        shown |= {option.name for option in options}
        shown |= {TABLE} if self._keywords else set()
        self._make(shown.difference(self._rows))
        for name, widgets in self._rows.items():
            for widget in widgets:
                widget.setVisible(name in shown)
        for one in recipe.inputs:
            if one.series:
                self._check(self.widgets[one.parameter], getattr(self._parameters, one.parameter))
        self._title_section([option for option in options if option.advanced], recipe)
        self.fill()

    def chosen_nodes(self) -> list[slicer.vtkMRMLNode]:
        """The images that are chosen for the method; none without a scene."""
        if self._parameters is None:
            return []
        return chosen_nodes(self._parameters, chosen_recipe(self._parameters, self.family))

    def missing(self) -> str:
        """What has to be chosen before maps can be made, "" if nothing."""
        if self._parameters is None:
            return _("There is no scene.")
        found = missing(self._parameters, chosen_recipe(self._parameters, self.family))
        if found is None:
            return ""
        return _("Choose {title}: {help}").format(title=_(found.title), help=_(found.help))

    def in_titles(self, said: str) -> str:
        """A sentence with the titles of rows in place of the command's options (--sigma)."""
        titles = {"--method": _("Method")}
        titles |= {one.flag: _(one.title) for one in self.family.options if one.flag and one.title}
        said = re.sub(r"--[a-z][a-z0-9-]*", lambda found: titles.get(found[0], found[0]), said)
        return re.sub(r" \([^()]*--[^()]*\)", "", said)  # what has no row

    def unfold_for(self, said: str) -> None:
        """Open the advanced options where a sentence names one of them by its title."""
        titles = (_(one.title) for one in self.family.options if one.advanced)
        if self._section and any(title in said for title in titles):
            self._section.collapsed = False

    def makes(self) -> str:
        """What the method computes."""
        recipe = chosen_recipe(self._parameters, self.family)
        names = dict.fromkeys(map_kind(kind).name for kind in recipe.kinds)
        said = _("Compute the maps, as far as the images allow: {maps}.")
        return said.format(maps=", ".join(names))

    def fill(self) -> None:
        """Read the frames of the chosen images anew; what cannot be read is said."""
        try:
            frames = frames_from_nodes(self.chosen_nodes(), dicom_file())
        except ValueError as error:
            self._say(str(error))
            frames = []
        self._fill(frames if self._keywords else [])

    def onNodesChecked(self) -> None:
        """Other images of the series are chosen."""
        if self._parameters is None or self._filling:
            return
        for one in chosen_recipe(self._parameters, self.family).inputs:  # rows that are shown
            if one.series and one.parameter in self.widgets:
                nodes = list(self.widgets[one.parameter].checkedNodes())
                setattr(self._parameters, one.parameter, nodes)

    def onTableEdited(self, row: int, column: int) -> None:
        """Keep what was typed on the image's node, or say why not and show the old value."""
        if self._filling or not column:
            return
        try:
            text = self.table.item(row, column).text()
            set_typed_fact(self._frames[row], self._titles[column - 1], text)
            self._say("")
        except ValueError as error:
            self._say(str(error))
        self._fill(self._frames)

    def _make(self, names: Collection[str]) -> None:
        """Make rows, each at its place among the others, and connect them."""
        if not names:
            return
        family, before = self.family, set(self.widgets)
        if METHOD in names:
            method = combo_box()
            method.toolTip = _("What the images are, or what is fitted to them.")
            self._add(METHOD, family.parameter, _("Method:"), method)
        for one in family.inputs:
            if one.name in names:
                widget = self._selector(one)
                self._add(one.name, one.parameter, f"{_(one.title)}:", widget, one.series)
        for option in family.options:
            if option.name in names:
                title = "" if option.type == SWITCH else f"{_(option.title)}:"
                self._add(option.name, option.parameter, title, option_widget(option))
        made = {name: widget for name, widget in self.widgets.items() if name not in before}
        self._connect_rows(made)
        self._title_choices(made)

    def _add(
        self, name: str, parameter: str, title: str, widget: object, by_hand: bool = False
    ) -> None:
        if not by_hand:  # lists of nodes are not connected by Slicer
            widget.setProperty("SlicerParameterName", parameter)
        form, place = self._place(name)
        if title:
            form.insertRow(place, title, widget)
            self._rows[name] = (form.labelForField(widget), widget)
        else:
            form.insertRow(place, widget)
            self._rows[name] = (widget,)
        self.widgets[parameter] = widget

    def _place(self, name: str) -> tuple[object, int]:
        """The form that a row belongs to, and its place among the rows there."""
        folded = name in self._folded
        before = self._order[: self._order.index(name)]
        place = sum(one in self._rows for one in before if (one in self._folded) == folded)
        if folded and self._section is None:
            name = f"{self.family.command}Advanced"
            self._section = self.widgets[name] = ctk.ctkCollapsibleButton()
            self._section.objectName = name
            rows = qt.QWidget()  # the section hides it, and no row that a method shows
            self._section_form = qt.QFormLayout(rows)
            qt.QVBoxLayout(self._section).addWidget(rows)
            self._section.collapsed = True
            self._form.addRow(self._section)
        return self._section_form if folded else self._form, place

    def _title_section(self, options: Collection[Option], recipe: Recipe) -> None:
        """Show the section of these advanced options; folded, it tells how many were changed."""
        if self._section is None:
            return
        self._section.visible = bool(options)
        chosen = chosen_settings(self._parameters, recipe)
        changed = sum(chosen.get(one.name) != one.default for one in options)
        title = _("Advanced, {count} changed").format(count=changed)
        self._section.text = title if changed else _("Advanced")

    def _title_choices(self, names: Collection[str]) -> None:
        """Show what people read in boxes that the connection has filled with the values."""
        for option in self.family.options:
            if option.type == CHOICE and option.parameter in names:
                for n, (_value, title) in enumerate(option.choices):
                    self.widgets[option.parameter].setItemText(n, _(title))

    def _selector(self, one: Input) -> object:
        if one.series:
            selector = slicer.qMRMLCheckableNodeComboBox()
            selector.nodeTypes = SERIES
            selector.connect("checkedNodesChanged()", self.onNodesChecked)
            set_up(selector, _(one.help))
            return selector
        return node_selector([VOLUMES], _(one.help))

    def _frame_table(self) -> object:
        titles = {keyword: title for one in self.family.inputs for keyword, title in one.facts}
        table = qt.QTableWidget()
        table.setColumnCount(1 + len(titles))
        shown = (with_powers(_(title)) for title in titles.values())
        table.setHorizontalHeaderLabels([_("Volume"), *shown])
        table.toolTip = _("As read from DICOM or the frame labels; edit what is wrong or missing.")
        table.setWordWrap(False)  # rows of two lines push Apply out of sight; a tip has the name
        fixed = qt.QSizePolicy.Fixed  # or what a lower tab has to spare is spread over its rows
        table.setSizePolicy(qt.QSizePolicy.Expanding, fixed)
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        table.verticalHeader().setVisible(False)
        table.connect("cellChanged(int,int)", self.onTableEdited)
        self._titles = list(titles)
        self._form.addRow(table)
        self._rows[TABLE] = (table,)
        return table

    def _check(self, selector: object, nodes: list[object]) -> None:
        """Check exactly these nodes."""
        blocked = selector.blockSignals(True)
        for node in selector.checkedNodes():
            selector.setCheckState(node, qt.Qt.Unchecked)
        for node in nodes:
            if node is not None:
                selector.setCheckState(node, qt.Qt.Checked)
        selector.blockSignals(blocked)

    def _fill(self, frames: list[Frame]) -> None:
        self._filling, self._frames = True, frames
        try:
            self.table.setRowCount(len(frames))
            for column, keyword in enumerate(self._titles, start=1):
                self.table.setColumnHidden(column, keyword not in self._keywords)
            for row, frame in enumerate(frames):
                name = qt.QTableWidgetItem(frame.volume.name)
                name.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled)
                name.setToolTip(frame.volume.name)
                self.table.setItem(row, 0, name)
                for column, keyword in enumerate(self._titles, start=1):
                    value = frame.volume.attributes.get(keyword, "")
                    text = f"{value:g}" if isinstance(value, float) else str(value)
                    self.table.setItem(row, column, qt.QTableWidgetItem(text))
            fit_height(self.table, SHOWN_ROWS)
        finally:
            self._filling = False
