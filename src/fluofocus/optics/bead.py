"""Find the one bead in a focus-scanned stack, or say why there is none to calibrate with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from fluofocus.errors import FluoFocusError
from fluofocus.units import AnyArray

Array = npt.NDArray[np.float64]

MIN_PLANES = 7
MIN_SIDE_PX = 16
NOISE_THRESHOLD = 8.0  # height of a bead over the background, in standard deviations of the noise
RIVAL_SHARE = 0.2  # a second peak this high, compared to the first, is a second bead
MAD_TO_SIGMA = 1.4826  # standard deviation over median absolute deviation, Gaussian noise


@dataclass(frozen=True)
class Bead:
    """A bead in a stack.

    Attributes
    ----------
    centre_px : tuple of int
        Brightest voxel (z, y, x) of the slightly smoothed stack.
    background : float
        Median of the slightly smoothed stack, in counts.
    """

    centre_px: tuple[int, int, int]
    background: float


def find_single_bead(zyx_intensity: npt.ArrayLike, *, separation_px: float) -> Bead:
    """Return the only bead of a focus-scanned stack.

    Parameters
    ----------
    zyx_intensity
        ``(Z, Y, X)`` counts as they came from the camera.
    separation_px
        Peaks closer to each other than this, in the plane, belong to one bead (its rings).

    Raises
    ------
    FluoFocusError
        If the stack holds no bead, several, a saturated or cut one, too few planes, or values
        that are not finite.
    """
    stack = np.asarray(zyx_intensity)
    _check_shape(stack)
    smooth = ndimage.gaussian_filter(stack.astype(np.float64), (0.0, 1.0, 1.0))
    background = float(np.median(smooth))
    noise = MAD_TO_SIGMA * float(np.median(np.abs(smooth - background)))
    projection = smooth.max(axis=0) - background
    height = float(projection.max())
    if height <= NOISE_THRESHOLD * noise or height <= 1e-6 * abs(background):
        raise FluoFocusError(
            "No bead in the stack: nothing stands out from its noise; "
            "crop the stack around one bright bead."
        )
    y, x = np.unravel_index(int(projection.argmax()), projection.shape)
    z = int(smooth[:, y, x].argmax())
    _check_saturation(stack)
    _check_rivals(projection, (int(y), int(x)), separation_px, NOISE_THRESHOLD * noise)
    _check_margin((z, int(y), int(x)), stack.shape, separation_px)
    return Bead(centre_px=(z, int(y), int(x)), background=background)


def _check_shape(stack: AnyArray) -> None:
    if stack.ndim != 3:
        raise FluoFocusError(
            f"A bead stack has three axes (z, y, x), not {stack.ndim}; pick one channel and time."
        )
    planes, height, width = stack.shape
    if planes < MIN_PLANES:
        raise FluoFocusError(
            f"The bead stack has {planes} planes; calibration needs at least {MIN_PLANES}, "
            "from below to above focus."
        )
    if min(height, width) < MIN_SIDE_PX:
        raise FluoFocusError(
            f"The bead stack is {height} x {width} pixels; "
            f"keep at least {MIN_SIDE_PX} on each side around the bead."
        )
    if not np.all(np.isfinite(stack)):
        raise FluoFocusError("The bead stack holds NaN or infinite values; record it again.")


def _check_saturation(stack: AnyArray) -> None:
    """Refuse a flat top: several equal voxels side by side at the maximum of one plane."""
    top = stack.max()
    at_top = stack == top
    flat = int(at_top.sum(axis=(1, 2)).max())
    full_scale = np.issubdtype(stack.dtype, np.integer) and top == np.iinfo(stack.dtype).max
    steps = float(top) - float(np.median(stack))
    if full_scale or (flat >= 4 and steps > 100):
        raise FluoFocusError(
            f"The bead is saturated: {int(at_top.sum())} voxels stand at {float(top):g} counts; "
            "record it with less light or a shorter exposure."
        )


def _check_rivals(
    projection: Array, centre: tuple[int, int], separation_px: float, threshold: float
) -> None:
    reach = max(1, round(separation_px / 2))
    peaks = projection == ndimage.maximum_filter(projection, size=2 * reach + 1)
    peaks &= projection > max(threshold, RIVAL_SHARE * projection.max())
    rows, columns = np.nonzero(peaks)
    away = np.hypot(rows - centre[0], columns - centre[1]) > separation_px
    if away.any():
        raise FluoFocusError(
            f"{1 + int(away.sum())} beads in the stack, another at pixel "
            f"(y {int(rows[away][0])}, x {int(columns[away][0])}): crop it around a single bead."
        )


def _check_margin(
    centre: tuple[int, int, int], shape: tuple[int, ...], separation_px: float
) -> None:
    z, y, x = centre
    if z in (0, shape[0] - 1):
        raise FluoFocusError(
            "The bead is brightest in the first or last plane: "
            "record planes on both sides of its focus."
        )
    edge = min(y, x, shape[1] - 1 - y, shape[2] - 1 - x)
    if edge < separation_px:
        raise FluoFocusError(
            f"The bead is {edge} pixels from the edge of the stack; keep at least "
            f"{round(separation_px)} pixels around it."
        )
