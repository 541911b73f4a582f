"""The results table as people read it: its numbers with the digits that mean something."""

from __future__ import annotations

import slicer

from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.study.map_scale import without_options

IN_DIGITS = ("Value", "CI low", "CI high", "Expected low", "Expected high")  # of the quantity
SIGNIFICANT = {"Percentile": 3, "Volume": 4, "Mean": 4, "Median": 4, "SD": 4}
Z_DIGITS = 1
SENTENCES = ("Cautions", "How")


def shown_table(
    table: slicer.vtkMRMLTableNode, shown: slicer.vtkMRMLTableNode | None = None
) -> slicer.vtkMRMLTableNode:
    """A copy in no scene, so that what a scene saves keeps all digits.

    Args:
        table: of `results_table`, also of a saved scene.
        shown: an earlier copy to fill anew, which a view follows.
    """
    shown = shown or slicer.vtkMRMLTableNode()
    modified = shown.StartModify()
    shown.SetLocked(False)
    shown.CopyContent(table, True)  # views may hide the columns and name them as those of `table`
    columns = {
        shown.GetColumnName(n): shown.GetTable().GetColumn(n)
        for n in range(shown.GetNumberOfColumns())
    }
    for row in range(shown.GetNumberOfRows()):
        quantity = QUANTITIES.get(columns["Key"].GetValue(row)) if "Key" in columns else None
        for name, column in columns.items():
            value = column.GetValue(row)
            if name in IN_DIGITS and quantity:
                column.SetValue(row, round(value, quantity.digits) + 0.0)  # never "-0"
            elif name == "z-score":
                column.SetValue(row, round(value, Z_DIGITS) + 0.0)
            elif name in SIGNIFICANT:
                column.SetValue(row, float(f"{value:.{SIGNIFICANT[name]}g}"))
            elif name in SENTENCES:
                column.SetValue(row, without_options(value))
    shown.SetLocked(True)
    shown.GetTable().Modified()
    shown.EndModify(modified)
    return shown
