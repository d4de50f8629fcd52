"""Full widths at half maximum of beads, by Gaussian fits as in Deep-Z (equations 6 to 9).

References
----------
Wu et al., Nature Methods 16 (2019), Methods, "Measurement of the lateral and axial FWHM
values of the fluorescent beads samples".
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from fluofocus.errors import FluoFocusError
from fluofocus.measure.beads import Array, checked_plane
from fluofocus.measure.gaussian import FWHM_PER_SIGMA, GaussianFits, fit_gaussians
from fluofocus.units import AnyArray

WINDOW_PX = 21
"""Side of the window around each bead.

The paper takes 30 pixels of 0.325 µm, where few beads are close together; pixels nearer to
another bead are left out here, so that crowded fields can be measured too.
"""


@dataclass(frozen=True)
class BeadWidths:
    """Widths of beads, in the order of the positions given.

    Attributes
    ----------
    fwhm_um : ndarray (N,)
        Full width at half maximum; NaN where the fit did not converge.
    fits : GaussianFits
        The fitted parameters, centres in pixels of the image or stack: ``(y, x)`` of a
        lateral fit, ``(z, x)`` of an axial one.
    """

    fwhm_um: Array
    fits: GaussianFits

    @property
    def converged(self) -> npt.NDArray[np.bool_]:
        """Which beads could be measured, (N,)."""
        return self.fits.converged

    @property
    def median_um(self) -> float:
        """Median over the beads that could be measured; NaN when there are none."""
        return float(np.median(self.fwhm_um[self.converged])) if self.converged.any() else np.nan


def lateral_fwhm(
    image: AnyArray, yx_px: AnyArray, *, pixel_size_um: float, window_px: int = WINDOW_PX
) -> BeadWidths:
    """Measure the lateral width of beads: the mean along x and y (equations 6 and 7).

    Parameters
    ----------
    image : ndarray (Y, X)
        Intensities.
    yx_px : ndarray (N, 2)
        Where the beads are, to a pixel or so.
    pixel_size_um : float
        Pixel size in µm.
    window_px : int
        Side of the square around each bead that is fitted; take it at least four times the
        expected width.

    Raises
    ------
    FluoFocusError
        If image or positions are not finite or of the wrong shape.
    """
    plane = checked_plane(image)
    positions = _checked_positions(yx_px, plane.shape)
    rows, columns = _window_indices(positions, window_px)
    weights = _weights(rows, columns, positions, plane.shape)
    windows = plane[_clipped(rows, plane.shape[0]), _clipped(columns, plane.shape[1])]
    corner = np.stack([rows[:, 0, 0], columns[:, 0, 0]], axis=1)
    fits = _shifted(fit_gaussians(windows, positions - corner, weights), corner)
    fwhm_um = FWHM_PER_SIGMA * fits.sigma_px.mean(axis=1) * pixel_size_um
    return BeadWidths(np.where(fits.converged, fwhm_um, np.nan), fits)


def axial_fwhm(
    stack: AnyArray, yx_px: AnyArray, *, z_step_um: float, window_px: int = WINDOW_PX
) -> BeadWidths:
    """Measure the axial width of beads in x-z slices through them (equations 8 and 9).

    Each bead's slice runs through its nearest row and over the whole depth of the stack.

    Parameters
    ----------
    stack : ndarray (Z, Y, X)
        Intensities, planes evenly spaced.
    yx_px : ndarray (N, 2)
        Where the beads are, to a pixel or so.
    z_step_um : float
        Distance of the planes in µm.
    window_px : int
        Width of the slice that is fitted.

    Raises
    ------
    FluoFocusError
        If stack or positions are not finite or of the wrong shape.
    """
    volume = np.asarray(stack, dtype=float)
    if volume.ndim != 3 or len(volume) < 3 or not np.isfinite(volume).all():
        raise FluoFocusError(
            f"Axial widths are measured in a stack (Z, Y, X) of at least 3 planes without NaN "
            f"or infinite values; this one has shape {volume.shape}."
        )
    shape_yx = volume.shape[1:]
    positions = _checked_positions(yx_px, shape_yx)
    rows, columns = _window_indices(positions, window_px)
    middle = slice(window_px // 2, window_px // 2 + 1)
    rows, columns = rows[:, middle, :], columns
    in_plane = _weights(rows, columns, positions, shape_yx)
    slices = volume[:, _clipped(rows[:, 0], shape_yx[0]), _clipped(columns[:, 0], shape_yx[1])]
    slices = slices.transpose(1, 0, 2)
    weights = np.broadcast_to(in_plane, slices.shape).copy()

    left = columns[:, 0, 0]
    x_px = positions[:, 1] - left
    brightest = slices[np.arange(len(slices)), :, np.round(x_px).astype(int)].argmax(axis=1)
    fits = fit_gaussians(slices, np.stack([brightest, x_px], axis=1), weights)
    fits = _shifted(fits, np.stack([np.zeros_like(left), left], axis=1))
    fwhm_um = FWHM_PER_SIGMA * fits.sigma_px[:, 0] * z_step_um
    return BeadWidths(np.where(fits.converged, fwhm_um, np.nan), fits)


def _checked_positions(yx_px: AnyArray, shape_yx: tuple[int, ...]) -> Array:
    positions = np.asarray(yx_px, dtype=float).reshape(-1, 2)
    if not np.isfinite(positions).all():
        raise FluoFocusError("Bead positions hold NaN or infinite values; leave those beads out.")
    pixel = np.round(positions)
    if (pixel < 0).any() or (pixel >= np.array(shape_yx)).any():
        raise FluoFocusError(
            f"Some bead positions lie outside the image of {shape_yx[0]} x {shape_yx[1]} "
            "pixels; give them as (y, x) in pixels."
        )
    return positions


def _window_indices(
    positions: Array, window_px: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return row and column numbers of square windows, (N, side, 1) and (N, 1, side)."""
    offset = np.arange(window_px) - window_px // 2
    pixel = np.round(positions).astype(np.intp)
    return (
        pixel[:, 0, None, None] + offset[None, :, None],
        pixel[:, 1, None, None] + offset[None, None, :],
    )


def _weights(
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    positions: Array,
    shape_yx: tuple[int, ...],
) -> Array:
    """Return one for the window pixels inside the image and nearest to the window's own bead."""
    height, width = shape_yx
    pixel = np.round(positions).astype(int)
    owner = np.full(shape_yx, -1)
    owner[pixel[:, 0], pixel[:, 1]] = np.arange(len(pixel))
    if len(pixel) > 1:
        nearest = ndimage.distance_transform_edt(
            owner < 0, return_distances=False, return_indices=True
        )
        owner = owner[tuple(nearest)]
    else:
        owner[:] = 0
    own = owner[_clipped(rows, height), _clipped(columns, width)]
    own = own == owner[pixel[:, 0], pixel[:, 1]][:, None, None]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return np.asarray(own & inside, dtype=float)


def _clipped(index: npt.NDArray[np.intp], size: int) -> npt.NDArray[np.intp]:
    return np.clip(index, 0, size - 1)


def _shifted(fits: GaussianFits, corner_px: npt.NDArray[np.intp]) -> GaussianFits:
    """Return the fits with centres counted from the image's first pixel, not the window's."""
    return replace(fits, centre_px=fits.centre_px + corner_px)
