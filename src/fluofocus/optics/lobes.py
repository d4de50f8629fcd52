"""The two lobes of a double-helix point spread function: where they are and what they hold."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fluofocus.errors import FluoFocusWarning
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import point_spread_function
from fluofocus.units import FloatArray

PLANES = 41
VIEW_UM = 6.0
"""Depths and width that a mask's image is shown and measured at."""

CENTROID_PX = 2.5
"""Radius about a lobe's brightest pixel over which its centre is taken."""


@dataclass(frozen=True)
class Lobes:
    """The two lobes of a double helix, plane by plane; all ``(Z,)``.

    Attributes
    ----------
    angle_rad
        Direction of the line through both, from the x axis towards y; unwrapped along z.
    separation_um
        Distance of the two.
    efficiency
        Share of the plane's light that lies within half a separation of either lobe.
    """

    angle_rad: FloatArray
    separation_um: FloatArray
    efficiency: FloatArray

    @property
    def turn_deg(self) -> float:
        """By how much the lobes turn from the first plane to the last."""
        return float(np.degrees(self.angle_rad[-1] - self.angle_rad[0]))


def measure_lobes(psf: FloatArray, pixel_um: float) -> Lobes:
    """Find the two lobes in each plane of a double-helix point spread function.

    Parameters
    ----------
    psf
        ``(Z, Y, X)``, the emitter at the pixel ``(Y // 2, X // 2)``.
    pixel_um
        Spacing along y and x; a fraction of a lobe.
    """
    y, x = np.indices(psf.shape[1:], dtype=float)
    y, x = y - psf.shape[1] // 2, x - psf.shape[2] // 2
    angles, separations, shares = [], [], []
    for plane in psf:
        # What a point and its opposite share: the two lobes mirror each other.
        both = np.minimum(plane, _opposite(plane))
        brightest = np.unravel_index(int(both.argmax()), both.shape)
        ly, lx = y[brightest], x[brightest]
        near = np.hypot(y - ly, x - lx) <= CENTROID_PX
        weight = np.where(near, both, 0) / both[near].sum()
        ly, lx = float((weight * y).sum()), float((weight * x).sum())
        radius = math.hypot(ly, lx)
        inside = np.minimum(np.hypot(y - ly, x - lx), np.hypot(y + ly, x + lx)) <= radius
        angles.append(math.atan2(ly, lx))
        separations.append(2 * radius * pixel_um)
        shares.append(float(plane[inside].sum() / plane.sum()))
    return Lobes(
        angle_rad=np.unwrap(np.array(angles), period=math.pi),
        separation_um=np.array(separations),
        efficiency=np.array(shares),
    )


def lobes_over_range(
    microscope: Microscope, mask: Path, half_range_um: float
) -> tuple[FloatArray, FloatArray, Lobes, float]:
    """Image a point through a mask at `PLANES` depths, and measure its lobes.

    Returns
    -------
    z_um : ndarray (Z,)
    psf : ndarray (Z, Y, X)
    lobes : Lobes
    pixel_um : float
    """
    masked = microscope.model_copy(
        update={"pupil_mask": mask, "zernike_rms_waves": {}, "emitter_depth_um": 0.0}
    )
    masked = masked.model_copy(update={"pixel_size_um": masked.nyquist_pixel_um})
    z_um = torch.linspace(-half_range_um, half_range_um, PLANES)
    points = 2 * math.ceil(VIEW_UM / masked.pixel_size_um / 2) + 1
    psf = point_spread_function(masked, z_um, (points, points)).numpy()
    return z_um.numpy(), psf, measure_lobes(psf, masked.pixel_size_um), masked.pixel_size_um


def warn_if_ambiguous(lobes: Lobes, z_um: FloatArray) -> None:
    """Warn when the lobes turn by more than half a turn, after which depths look alike."""
    turned = np.abs(lobes.angle_rad - lobes.angle_rad[len(z_um) // 2])
    unique = np.abs(z_um)[turned <= math.pi / 2].max()
    if abs(lobes.turn_deg) > 180:
        warnings.warn(
            f"The lobes turn by {abs(lobes.turn_deg):.0f}° from {z_um[0]:g} to {z_um[-1]:g} µm: "
            f"beyond ±{unique:.1f} µm they look as at another depth.",
            FluoFocusWarning,
            stacklevel=2,
        )


def _opposite(plane: FloatArray) -> FloatArray:
    """Turn a plane by 180 degrees about the pixel in its middle."""
    turned = plane[::-1, ::-1]
    shift = tuple(1 - size % 2 for size in plane.shape)
    return np.roll(turned, shift, axis=(0, 1))
