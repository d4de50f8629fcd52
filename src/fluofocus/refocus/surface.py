"""Surfaces to focus on, in µm above the input plane, rendered as a DPM.

Heights follow the sign of ``defocus_um`` (see `fluofocus.units`): positive
where the surface lies further from the objective than the input plane.
Coordinates are µm from the centre of the field, x to the right, y downwards.
An ``axis`` is a direction in the image, in degrees from +x towards +y.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fluofocus.errors import FluoFocusError
from fluofocus.units import AnyArray, FloatArray

Micrometres = npt.NDArray[np.float64]

Height = Callable[[Micrometres, Micrometres], Micrometres]
"""Height in µm of a surface at ``y_um`` ``(H, 1)`` and ``x_um`` ``(1, W)``."""


class Surface(Protocol):
    """Where to focus."""

    @property
    def description(self) -> str:
        """What identifies this surface in a file's provenance."""

    def dpm(self, shape_yx: tuple[int, int], pixel_size_um: float) -> FloatArray:
        """Render the surface as a digital propagation matrix ``(H, W)`` in µm."""


@dataclass(frozen=True)
class FormulaSurface:
    """A surface given by a formula, for fields of any size."""

    description: str
    height_um: Height

    def dpm(self, shape_yx: tuple[int, int], pixel_size_um: float) -> FloatArray:
        """Evaluate the formula at the centre of each pixel; returns ``(H, W)`` in µm."""
        y_um, x_um = (_centred_um(length, pixel_size_um) for length in shape_yx)
        height = self.height_um(y_um[:, None], x_um[None, :])
        return np.broadcast_to(height, shape_yx).astype(np.float32)


@dataclass(frozen=True)
class SampledSurface:
    """A surface given pixel by pixel, for images of just its size."""

    description: str
    height_um: FloatArray

    def dpm(self, shape_yx: tuple[int, int], pixel_size_um: float) -> FloatArray:
        """Return the heights ``(H, W)`` in µm.

        Raises
        ------
        FluoFocusError
            If the image has another size.
        """
        if self.height_um.shape != tuple(shape_yx):
            raise FluoFocusError(
                f"The surface ({self.description}) has {_by(self.height_um.shape)} pixels but the "
                f"image has {_by(shape_yx)}: give one height per image pixel."
            )
        return self.height_um


def plane(z_um: float) -> Surface:
    """Make the plane at a distance of ``z_um`` from the input plane.

    Raises
    ------
    FluoFocusError
        If the distance is not finite.
    """
    _require_finite(z_um=z_um)
    return FormulaSurface(f"plane:{z_um:.9g}um", lambda y, x: np.float64(z_um) + 0 * (y + x))


def tilt(angle_deg: float, *, axis_deg: float = 0.0, offset_um: float = 0.0) -> Surface:
    """Make a plane turned about an axis through the field's centre.

    Looking along the axis, the height is ``offset + tan(angle) d`` where
    ``d = y cos(axis) - x sin(axis)`` is the distance from it: with the default
    axis, +x, the height grows with y.

    Raises
    ------
    FluoFocusError
        If a number is not finite or the angle is 90° or more.
    """
    _require_finite(angle_deg=angle_deg, axis_deg=axis_deg, offset_um=offset_um)
    if abs(angle_deg) >= 90:
        raise FluoFocusError(f"A tilt of {angle_deg:g} degrees is no surface: stay below 90.")
    slope = math.tan(math.radians(angle_deg))
    return FormulaSurface(
        f"tilt:{angle_deg:.9g}deg,axis={axis_deg:.9g}deg,offset={offset_um:.9g}um",
        lambda y, x: offset_um + slope * _distance_from_axis(y, x, axis_deg),
    )


def cylinder(
    diameter_um: float, *, axis_deg: float = 0.0, apex_um: float = 0.0, offset_um: float = 0.0
) -> Surface:
    """Make a cylinder lying along an axis.

    With R half the diameter and d the distance across the axis from the field's centre,
    the height is ``offset + R - sign(R) sqrt(R² - (d - apex)²)``: the apex has
    height ``offset`` and, for a positive diameter, is nearest to the objective.

    Raises
    ------
    FluoFocusError
        If a number is not finite or the diameter is zero; on rendering, if the
        field reaches beyond the cylinder.
    """
    _require_finite(
        diameter_um=diameter_um, axis_deg=axis_deg, apex_um=apex_um, offset_um=offset_um
    )
    if diameter_um == 0:
        raise FluoFocusError("A cylinder of diameter 0 is no surface: give one, like 7.2mm.")
    radius_um = diameter_um / 2

    def height(y_um: Micrometres, x_um: Micrometres) -> Micrometres:
        across = _distance_from_axis(y_um, x_um, axis_deg) - apex_um
        reach = float(np.abs(across).max())
        if reach > abs(radius_um):
            raise FluoFocusError(
                f"The field reaches {reach:.4g} µm from the cylinder's apex, beyond its radius of "
                f"{abs(radius_um):.4g} µm: give a larger diameter."
            )
        # R - sqrt(R² - d²) without taking the difference of two large numbers
        return offset_um + across**2 / (
            radius_um + math.copysign(1, radius_um) * np.sqrt(radius_um**2 - across**2)
        )

    return FormulaSurface(
        f"cylinder:{diameter_um:.9g}um,axis={axis_deg:.9g}deg,apex={apex_um:.9g}um,offset={offset_um:.9g}um",
        height,
    )


def polynomial(coefficients: Sequence[float]) -> Surface:
    """Make a polynomial surface of µm over µm.

    ``coefficients`` belong to 1, x, y, x², x y, y², x³, … in this order, x and y
    in µm from the field's centre; those left out are zero.

    Raises
    ------
    FluoFocusError
        If there is no coefficient or one is not finite.
    """
    values = [float(value) for value in coefficients]
    if not values:
        raise FluoFocusError(
            "A polynomial surface needs at least one coefficient, like poly:0,0.02."
        )
    _require_finite(**{f"coefficient {index}": value for index, value in enumerate(values)})
    terms = list(zip(values, _powers(len(values)), strict=True))
    return FormulaSurface(
        "poly:" + ",".join(f"{value:.9g}" for value in values),
        lambda y, x: sum((c * x**i * y**j for c, (i, j) in terms), np.zeros(())),
    )


def from_array(height_um: AnyArray, *, name: str = "array") -> Surface:
    """Make a surface of one height per image pixel, ``(H, W)`` in µm.

    Raises
    ------
    FluoFocusError
        If the array has no two axes or is not finite everywhere.
    """
    heights = np.asarray(height_um)
    if heights.ndim != 2 or not heights.size:
        raise FluoFocusError(
            f"The surface ({name}) must be one image of heights in µm, "
            f"not an array of shape {_by(heights.shape)}."
        )
    heights = np.ascontiguousarray(heights, dtype=np.float32)
    if not np.isfinite(heights).all():
        raise FluoFocusError(
            f"The surface ({name}) has pixels that are NaN or infinite: "
            "give a height in µm everywhere."
        )
    digest = hashlib.sha256(heights.tobytes()).hexdigest()[:16]
    return SampledSurface(f"{name}, sha256 {digest}", heights)


def _centred_um(length_px: int, pixel_size_um: float) -> Micrometres:
    first = -(length_px - 1) / 2
    return np.linspace(first, -first, length_px) * pixel_size_um


def _distance_from_axis(y_um: Micrometres, x_um: Micrometres, axis_deg: float) -> Micrometres:
    axis = math.radians(axis_deg)
    return y_um * math.cos(axis) - x_um * math.sin(axis)


def _powers(count: int) -> list[tuple[int, int]]:
    """Exponents of x and y: (0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2) and so on."""
    return [(degree - j, j) for degree in range(count) for j in range(degree + 1)][:count]


def _require_finite(**numbers: float) -> None:
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise FluoFocusError(f"{name} of the surface is {value}: give a finite number.")


def _by(shape: Sequence[int]) -> str:
    return "x".join(str(length) for length in shape)
