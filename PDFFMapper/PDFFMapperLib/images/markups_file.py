"""Shapes from a Slicer markups file (.mrk.json)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from PDFFMapperLib.images.json_file import read_json
from PDFFMapperLib.images.shapes import Shape, spheres

SUFFIX = ".mrk.json"
_LPS, _RAS = (-1, -1, 1), (1, 1, 1)  # to RAS
_FLIP = {"LPS": _LPS, "1": _LPS, 1: _LPS, "RAS": _RAS, "0": _RAS, 0: _RAS}


def read_markups(path: str | Path, point_radius_mm: float = 4.0) -> list[Shape]:
    """Read a Slicer markups file (.mrk.json): points become spheres, each named by its label.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not markups, or holds a kind that is not a region; a radius that is
            not above 0.
    """
    path = Path(path)
    content = read_json(path, "a Slicer markups file (.mrk.json)")
    if not (np.isfinite(point_radius_mm) and point_radius_mm > 0):
        raise ValueError(f"Point radius {point_radius_mm:g} mm: expected more than 0 mm.")
    try:
        return [
            shape for one in content["markups"] for shape in _shapes(one, path, point_radius_mm)
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: this is not a Slicer markups file (.mrk.json).") from error


def _shapes(markup: dict, path: Path, point_radius_mm: float) -> list[Shape]:
    system = markup.get("coordinateSystem", "LPS")
    if system not in _FLIP:
        raise ValueError(f"{path}: its coordinate system is {system}; LPS or RAS is expected.")
    flip = np.array(_FLIP[system])
    placed = [
        point
        for point in markup["controlPoints"]
        if point.get("positionStatus", "defined") == "defined"
    ]
    kind = markup["type"]
    name = markup.get("name") or path.name.removesuffix(".mrk.json")

    def numbers(values: list, count: int) -> np.ndarray:
        try:
            found = np.array(values, float)
        except ValueError:
            found = np.empty(0)
        if found.size != count or not np.isfinite(found).all():
            raise ValueError(
                f"{path}: markup '{name}' has {values} where {count} numbers are expected."
            )
        return found

    points = np.array([numbers(point["position"], 3) for point in placed]).reshape(-1, 3) * flip
    if kind == "Fiducial":
        labels = [str(point.get("label") or "") for point in placed]
        return spheres(name, labels, points, point_radius_mm)
    if kind == "ClosedCurve":
        if len(points) < 3:
            raise ValueError(f"{path}: closed curve '{name}' has {len(points)} points, needs 3.")
        return [Shape("closed curve", name, _on_curve(points))]
    if kind == "ROI":
        if markup.get("insideOut"):
            raise ValueError(f"{path}: ROI box '{name}' is inside out; a region is its inside.")
        axes = numbers(markup.get("orientation", np.eye(3).ravel()), 9).reshape(3, 3)
        center = numbers(markup["center"], 3) * flip
        size = np.abs(numbers(markup["size"], 3))
        return [Shape("box", name, center[None], 0.0, size, flip[:, None] * axes)]
    raise ValueError(
        f"{path}: markup '{name}' is a {kind}; points, closed curves and ROI boxes can be regions."
    )


def _on_curve(control_points: np.ndarray) -> np.ndarray:
    """Points along the smooth curve that Slicer draws through a closed curve's control points.

    It is a periodic cubic spline with ten points from each control point to the next
    (vtkCardinalSpline); the corners alone would cut off a part of the area.
    """
    from scipy.interpolate import CubicSpline

    n = len(control_points)
    closed = np.vstack([control_points, control_points[:1]])
    return CubicSpline(np.arange(n + 1), closed, bc_type="periodic")(np.arange(10 * n) / 10)
