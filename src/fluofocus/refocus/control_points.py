"""Surfaces through control points: heights measured at some places of the field."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from fluofocus.errors import FluoFocusError
from fluofocus.refocus.surface import Surface
from fluofocus.units import FloatArray

Unit = Literal["px", "um"]
COLUMNS: dict[Unit, tuple[str, str, str]] = {
    "px": ("x_px", "y_px", "z_um"),
    "um": ("x_um", "y_um", "z_um"),
}
"""Columns of a file of points; pixels count from the centre of the first, µm from the field's."""

_COARSE_PX = 16
"""The spline is evaluated at points so far apart, and between them linearly."""


@dataclass(frozen=True)
class PointsSurface:
    """The smoothest surface through points: a thin plate, a plane where there are three.

    Attributes
    ----------
    points : ndarray (N, 3)
        x, y and height of each point; heights in µm.
    unit : {"px", "um"}
        Of x and y, see `COLUMNS`.
    """

    points: npt.NDArray[np.float64]
    unit: Unit
    name: str = "points"

    @property
    def description(self) -> str:
        """What identifies this surface in a file's provenance."""
        digest = hashlib.sha256(self.points.tobytes()).hexdigest()[:16]
        return f"{self.name}, {len(self.points)} points, sha256 {digest}"

    def dpm(self, shape_yx: tuple[int, int], pixel_size_um: float) -> FloatArray:
        """Evaluate the spline; returns ``(H, W)`` in µm."""
        from scipy.interpolate import RBFInterpolator, RegularGridInterpolator

        x, y, height = self.points.T
        if self.unit == "um":
            x, y = (
                value / pixel_size_um + (size - 1) / 2
                for value, size in zip((x, y), shape_yx[::-1], strict=True)
            )
        spline = RBFInterpolator(np.stack([y, x], axis=1), height, kernel="thin_plate_spline")
        axes = [np.linspace(0, n - 1, max(2, -(-n // _COARSE_PX) + 1)) for n in shape_yx]
        coarse = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        values = spline(coarse.reshape(-1, 2)).reshape(coarse.shape[:2])
        between = RegularGridInterpolator(axes, values)
        fine = np.meshgrid(*(np.arange(n, dtype=float) for n in shape_yx), indexing="ij")
        return np.asarray(between(np.stack(fine, axis=-1)), dtype=np.float32)


def from_points(points: npt.ArrayLike, *, unit: Unit = "px", name: str = "points") -> Surface:
    """Make the smoothest surface through points ``(N, 3)``: x, y and the height in µm.

    Parameters
    ----------
    unit
        ``"px"``: x and y are pixels from the centre of the first; ``"um"``: µm from the
        field's centre.

    Raises
    ------
    FluoFocusError
        If there are fewer than three, all on a line, two at one place, or not finite.
    """
    values = np.array(points, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != 3 or not np.isfinite(values).all():
        raise FluoFocusError(f"The surface ({name}) needs points of x, y and height in µm.")
    if len(np.unique(values[:, :2], axis=0)) < len(values):
        raise FluoFocusError(f"The surface ({name}) has two points at one place: keep one of them.")
    spread = values[:, :2] - values[:1, :2]
    if len(values) < 3 or np.linalg.matrix_rank(spread, tol=1e-6 * np.abs(spread).max()) < 2:
        raise FluoFocusError(
            f"The surface ({name}) needs three points or more that are not all on one line."
        )
    return PointsSurface(values, unit, name)


def read_points(path: Path) -> Surface:
    """Read a surface from a CSV file whose header has the columns of either of `COLUMNS`.

    Raises
    ------
    FluoFocusError
        If it cannot be read or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FluoFocusError(f"Cannot read surface file {path} ({reason}).") from error
    unit: Unit = "um" if rows and "x_um" in rows[0] else "px"
    try:
        points = [[float(row[column]) for column in COLUMNS[unit]] for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise FluoFocusError(
            f"{path} is no file of control points: give the columns x_px, y_px and z_um, or x_um, "
            "y_um and z_um, a number in each."
        ) from error
    return from_points(points or np.empty((0, 3)), unit=unit, name=path.name)
