"""How steep a surface is, and a warning where it is steeper than was measured."""

from __future__ import annotations

import warnings

import numpy as np

from fluofocus.errors import FluoFocusWarning
from fluofocus.units import AnyArray, FloatArray

STEEPEST_DEG = 20.0
"""Slope up to which refocusing onto a surface is as good as onto planes, within 5 %.

Measured by ``fluofocus reproduce deep-z curvature``: for beads; for nuclei it is 30°.
"""


def steepness_deg(height_um: AnyArray, pixel_size_um: float) -> AnyArray:
    """Return the slope of a surface ``(H, W)`` at each pixel, in degrees."""
    axes = [axis for axis, length in enumerate(height_um.shape) if length > 1]
    squares = [np.gradient(height_um, pixel_size_um, axis=axis) ** 2 for axis in axes]
    slope = np.sqrt(sum(squares, np.zeros(height_um.shape)))
    return np.asarray(np.degrees(np.arctan(slope)))


def warn_of_steepness(dpm_um: FloatArray, pixel_size_um: float) -> None:
    """Warn where a surface is steeper than `STEEPEST_DEG`."""
    steepest_deg = float(steepness_deg(dpm_um, pixel_size_um).max())
    if steepest_deg > STEEPEST_DEG:
        warnings.warn(
            f"The surface is up to {steepest_deg:.0f}° steep, but only up to {STEEPEST_DEG:g}° is "
            "refocusing onto a surface as good as onto planes: smooth it, or take its pixels from "
            "refocused planes.",
            FluoFocusWarning,
            stacklevel=2,
        )
