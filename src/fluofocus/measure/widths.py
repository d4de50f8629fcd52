"""Widths of all beads in an image or focus stack, and of each that has none, the reason.

References
----------
Wu et al., Nature Methods 16 (2019), Methods, "Measurement of the lateral and axial FWHM
values of the fluorescent beads samples" (equations 6 to 9).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.measure.beads import Array, find_beads
from fluofocus.measure.gaussian import FWHM_PER_SIGMA, GaussianFits
from fluofocus.measure.resolution import WINDOW_PX, axial_fwhm, lateral_fwhm
from fluofocus.measure.width_samples import (
    Mask,
    Outcome,
    WidthSample,
    leaves,
    sample_of,
    slid,
    touching,
)
from fluofocus.units import AnyArray

NOISE_THRESHOLD, MIN_CONTRAST = 6.0, 0.05
MIN_WINDOW_PX, MIN_PLANES = 7, 3
MIN_WINDOW_WIDTHS = 4  # side of a window in widths of the beads in it; smaller ones get a note
Index = npt.NDArray[np.intp]


@dataclass(frozen=True)
class MeasuredBeads:
    """Beads of one image or stack, brightest first.

    Attributes
    ----------
    yx_px : ndarray (N, 2)
        Sub-pixel positions, found in the image or in the stack's maximum projection.
    plane : ndarray (N,) of int, or None
        The plane in which each bead is sharpest; None for a single image.
    fwhm_yx_um : ndarray (N, 2)
        Widths along y and x; NaN unless measured.
    amplitude : ndarray (N,)
        Height of the fitted Gaussian in the image's units; NaN unless measured.
    lateral, axial : WidthSample
        The mean of both lateral widths, and the axial one, None for a single image.
    voxel_size_um : tuple of float
        (z, y, x) as given.
    """

    yx_px: Array
    plane: Index | None
    fwhm_yx_um: Array
    amplitude: Array
    lateral: WidthSample
    axial: WidthSample | None
    voxel_size_um: tuple[float, float, float]

    def __len__(self) -> int:
        """Return how many beads were found."""
        return len(self.yx_px)

    @property
    def samples(self) -> dict[str, WidthSample]:
        """The kinds of width there are, by name."""
        return {"lateral": self.lateral} | ({} if self.axial is None else {"axial": self.axial})


def measure_beads(
    image: AnyArray,
    *,
    voxel_size_um: tuple[float, float, float],
    window_px: int = WINDOW_PX,
    noise_threshold: float = NOISE_THRESHOLD,
    min_contrast: float = MIN_CONTRAST,
) -> MeasuredBeads:
    """Find the beads of an image or stack and measure their widths (equations 6 to 9).

    Beads of a stack are found in its maximum projection. Their lateral width is that of the
    plane in which they are brightest, their axial width that of an x-z slice through them.

    Parameters
    ----------
    image : ndarray (Y, X) or (Z, Y, X)
        Intensities, planes evenly spaced.
    voxel_size_um : tuple of float
        (z, y, x) in µm; z is not used for a single image.
    window_px : int
        Side of the square that is fitted around each bead.
    noise_threshold : float
        Height that a bead needs, in standard deviations of the smoothed image's noise.
    min_contrast : float
        Height it needs as a share of the brightest one's, from 0 to below 1. A
        `FluoFocusWarning` is given where this leaves out as many beads as there are others.

    Raises
    ------
    FluoFocusError
        If there is no bead, values are not finite, or the shape or an argument is not possible.
    """
    data = np.asarray(image)
    _check(data, voxel_size_um, window_px, noise_threshold, min_contrast)
    projection = data if data.ndim == 2 else data.max(axis=0)
    # The parabola through a maximum at the edge may have its top outside of the image.
    last = np.array(projection.shape) - 1
    found = find_beads(projection, noise_threshold=noise_threshold, min_contrast=min_contrast)
    yx_px = np.clip(found.yx_px, 0, last)
    if not len(yx_px):
        raise FluoFocusError(
            "No bead stands out from the noise: choose an image with beads in focus, or lower "
            "the threshold (--threshold, noise_threshold)."
        )
    every = find_beads(projection, noise_threshold=noise_threshold, min_contrast=0.0)
    _note_dim_beads(every.yx_px, found.yx_px, window_px, min_contrast)
    plane = None if data.ndim == 2 else _sharpest_planes(data, yx_px)
    sharp = projection if plane is None else _merged_planes(data, yx_px, plane)
    pixel_um = voxel_size_um[2]
    fits = lateral_fwhm(sharp, yx_px, pixel_size_um=pixel_um, window_px=window_px).fits
    fwhm_px = FWHM_PER_SIGMA * fits.sigma_px

    reasons = _lateral_reasons(fits, yx_px, sharp.shape)
    axial = None
    if plane is not None:
        reasons[Outcome.BEYOND] = (plane == 0) | (plane == len(data) - 1)
        axial = _axial_sample(data, yx_px, reasons, voxel_size_um[0], window_px)
    fwhm_yx_um = fwhm_px * voxel_size_um[1:]
    lateral = sample_of(fwhm_yx_um.mean(axis=1), reasons)
    measured = lateral.outcome == Outcome.MEASURED
    _note_small_window(fwhm_px[measured].mean(axis=1), window_px)
    return MeasuredBeads(
        yx_px=yx_px,
        plane=plane,
        fwhm_yx_um=np.where(measured[:, None], fwhm_yx_um, np.nan),
        amplitude=np.where(measured, fits.amplitude, np.nan),
        lateral=lateral,
        axial=axial,
        voxel_size_um=voxel_size_um,
    )


def _check(
    data: AnyArray,
    voxel_size_um: tuple[float, float, float],
    window_px: int,
    noise_threshold: float,
    min_contrast: float,
) -> None:
    if data.ndim not in (2, 3) or not data.size:
        raise FluoFocusError(
            f"Beads are measured in an image (Y, X) or a stack (Z, Y, X), not in an array of "
            f"shape {data.shape}: select one time point and channel."
        )
    if data.ndim == 3 and len(data) < MIN_PLANES:
        raise FluoFocusError(
            f"A stack of {len(data)} planes shows no axial width: give {MIN_PLANES} planes or "
            "more, or a single image."
        )
    if not all(0 < size < np.inf for size in voxel_size_um[3 - data.ndim :]):
        raise FluoFocusError("Widths need the size of a voxel (z, y, x) in µm, above zero.")
    if window_px < MIN_WINDOW_PX:
        raise FluoFocusError(
            f"A window of {window_px} pixels is too small: give at least {MIN_WINDOW_PX} "
            "(--window, window_px)."
        )
    if not 0 < noise_threshold < np.inf:
        raise FluoFocusError(
            f"The threshold must be a number above zero, not {noise_threshold:g} "
            "(--threshold, noise_threshold)."
        )
    if not 0 <= min_contrast < 1:
        raise FluoFocusError(
            f"The contrast is a share from 0 to below 1, not {min_contrast:g} "
            "(--min-contrast, min_contrast)."
        )


def _note_dim_beads(every_px: Array, found_px: Array, window_px: int, min_contrast: float) -> None:
    """Say so where many maxima were left out that are no rings around the beads found."""
    away_px, _ = cKDTree(found_px).query(every_px)
    left_out = int((away_px > window_px).sum())
    if left_out >= len(found_px):
        warnings.warn(
            f"{left_out} maxima stand out from the noise but are lower than {min_contrast:g} of "
            "the brightest one: if they are beads, lower --min-contrast (min_contrast).",
            FluoFocusWarning,
            stacklevel=3,
        )


def _note_small_window(fwhm_px: Array, window_px: int) -> None:
    median_px = float(np.median(fwhm_px)) if len(fwhm_px) else 0.0
    if window_px < MIN_WINDOW_WIDTHS * median_px:
        advised = int(np.ceil(MIN_WINDOW_WIDTHS * median_px))
        warnings.warn(
            f"A window of {window_px} pixels is narrow for beads {median_px:.1f} pixels wide: "
            f"give {advised} or more (--window, window_px).",
            FluoFocusWarning,
            stacklevel=3,
        )


def _sharpest_planes(stack: AnyArray, yx_px: Array) -> Index:
    """Return the plane in which the 3 x 3 pixels around each bead are brightest, (N,)."""
    row, column = np.round(yx_px).astype(np.intp).T
    around = np.arange(-1, 2)
    rows = np.clip(row[:, None, None] + around[:, None], 0, stack.shape[1] - 1)
    columns = np.clip(column[:, None, None] + around, 0, stack.shape[2] - 1)
    brightness = np.stack([plane[rows, columns].mean(axis=(1, 2)) for plane in stack])
    return np.asarray(brightness.argmax(axis=0))


def _merged_planes(stack: AnyArray, yx_px: Array, plane: Index) -> AnyArray:
    """Return an image (Y, X) of which each pixel is from the sharpest plane of the nearest bead.

    A lateral fit uses no pixel that is nearer to another bead, so all those of one fit are
    from one plane.
    """
    at_bead = np.full(stack.shape[1:], -1)
    at_bead[tuple(np.round(yx_px).astype(np.intp).T)] = plane
    nearest = ndimage.distance_transform_edt(
        at_bead < 0, return_distances=False, return_indices=True
    )
    return np.asarray(np.take_along_axis(stack, at_bead[tuple(nearest)][None], axis=0)[0])


def _lateral_reasons(
    fits: GaussianFits, yx_px: Array, shape_yx: tuple[int, ...]
) -> dict[Outcome, Mask]:
    """Return what speaks against each lateral width."""
    fwhm_px = FWHM_PER_SIGMA * fits.sigma_px
    unsettled = ~fits.converged | slid(fits.centre_px - yx_px, fwhm_px.mean(axis=1))
    known_px = np.where(unsettled[:, None], np.nan, fwhm_px)
    centre_px = np.where(unsettled[:, None], yx_px, fits.centre_px)
    usual_px = np.median(fwhm_px[~unsettled]) if not unsettled.all() else np.nan
    cut = leaves(centre_px, np.fmax(known_px, usual_px), np.array(shape_yx))
    return {
        Outcome.TOUCHING: touching(yx_px, known_px.mean(axis=1)),
        Outcome.CUT: np.asarray(cut.any(axis=1)),
        Outcome.UNSETTLED: unsettled,
    }


def _axial_sample(
    stack: AnyArray, yx_px: Array, lateral: dict[Outcome, Mask], z_step_um: float, window_px: int
) -> WidthSample:
    """Return the axial widths, left out also where neighbours or edges spoil the lateral one."""
    widths = axial_fwhm(stack, yx_px, z_step_um=z_step_um, window_px=window_px)
    fwhm_px = FWHM_PER_SIGMA * widths.fits.sigma_px
    z_px, x_px = widths.fits.centre_px.T
    aside_px = (x_px - yx_px[:, 1])[:, None]
    half_seen = widths.converged & leaves(z_px, fwhm_px[:, 0], np.array(len(stack)))
    unsettled = np.logical_or(~widths.converged, slid(aside_px, fwhm_px[:, 1]))
    reasons = {
        **lateral,
        Outcome.BEYOND: lateral[Outcome.BEYOND] | half_seen,
        Outcome.UNSETTLED: unsettled,
    }
    return sample_of(widths.fwhm_um, reasons)
