"""The widget in which one option of a recipe is chosen."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from PDFFMapperLib.maps.recipe import IMAGE, NUMBER, REGION, SWITCH, TEXT, Option
from PDFFMapperLib.maps.units import with_powers
from PDFFMapperLib.panel.node_selector import VOLUMES, node_selector

DRAWN = ["vtkMRMLSegmentationNode", "vtkMRMLMarkupsClosedCurveNode", "vtkMRMLMarkupsROINode"]
SHOWN_LETTERS = 12  # of a choice where the panel is narrow


def combo_box() -> object:
    """A box as wide as the panel, which its longest item does not widen."""
    box = qt.QComboBox()
    box.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
    box.minimumContentsLength = SHOWN_LETTERS
    return box


def option_widget(option: Option) -> object:
    """A widget of the kind that an option needs, with its unit, digits and help."""
    if option.type in (IMAGE, REGION):
        return node_selector([VOLUMES] if option.type == IMAGE else DRAWN, _(option.help))
    if option.type == SWITCH:
        widget = qt.QCheckBox(_(option.title))
    elif option.type == NUMBER:
        widget = qt.QDoubleSpinBox()
        widget.keyboardTracking = False  # else a parameter node rewrites a number while it is typed
        widget.decimals, widget.singleStep = option.digits, option.step
        widget.suffix = f" {with_powers(option.unit)}".rstrip()
        if option.default is None:
            widget.specialValueText = _(option.unset)
    elif option.type == TEXT:
        widget = qt.QLineEdit()
        widget.placeholderText = _(option.unset)
    else:
        widget = combo_box()
    widget.toolTip = _(option.help)
    return widget
