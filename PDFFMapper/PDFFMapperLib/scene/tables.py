"""Tables as nodes of the Slicer scene: typed columns with units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
from vtkmodules.vtkCommonCore import vtkDoubleArray, vtkIntArray, vtkStringArray


@dataclass
class Column:
    """A table column: its name, its values (all text, all whole numbers, or numbers), its unit."""

    name: str
    values: Sequence[str] | Sequence[int] | Sequence[float | None]
    unit: str = ""
    description: str = ""


def table_to_node(
    name: str, columns: Sequence[Column], node: slicer.vtkMRMLTableNode | None = None
) -> slicer.vtkMRMLTableNode:
    """Add a table with typed columns and units; a missing number (None) becomes NaN.

    Args:
        name: of the table.
        columns: all of the same length.
        node: a table to fill anew, instead of adding one.

    Raises:
        ValueError: the columns differ in length.
    """
    lengths = {column.name: len(column.values) for column in columns}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"Table '{name}': its columns differ in length: {lengths}.")
    node = node or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    modified = node.StartModify()
    node.RemoveAllColumns()
    for column in columns:
        array, kind = column_array(column.values)
        array.SetName(column.name)
        node.AddColumn(array)
        node.SetColumnType(column.name, kind)
        node.SetColumnUnitLabel(column.name, column.unit)
        node.SetColumnDescription(column.name, column.description)
    node.SetUseColumnTitleAsColumnHeader(True)  # Slicer's table view adds the unit to the name
    node.EndModify(modified)
    return node


def column_array(values: Sequence) -> tuple[object, int]:
    """The VTK array of a column and its type."""
    from vtkmodules.util import vtkConstants

    if all(isinstance(value, str) for value in values):
        array = vtkStringArray()
        for value in values:
            array.InsertNextValue(value)
        return array, vtkConstants.VTK_STRING
    if all(isinstance(value, int | np.integer) for value in values):
        array = vtkIntArray()
        for value in values:
            array.InsertNextValue(int(value))
        return array, vtkConstants.VTK_INT
    array = vtkDoubleArray()
    for value in values:
        array.InsertNextValue(float("nan") if value is None else float(value))
    return array, vtkConstants.VTK_DOUBLE
