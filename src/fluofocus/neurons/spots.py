"""Neurons as spots of a known diameter, in the manner of TrackMate.

Tinevez et al., "TrackMate: an open and extensible platform for single-particle tracking",
Methods 115 (2017): maxima of the Laplacian of Gaussian for spots of a given radius, placed
to a part of a voxel by a quadratic function through their neighbours. The second method that
Wu et al. (2019) segment with, in Supplementary Note 7.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import xarray as xr
from scipy.ndimage import correlate1d

from fluofocus.neurons.detected import Array, Labels, Neurons, measured
from fluofocus.neurons.peaks import noise_after, quadratic_fit, standing_out
from fluofocus.neurons.volume import DIAMETER_UM, THRESHOLD, Volume, checked_volume
from fluofocus.units import FloatArray

NARROWER = 0.75
"""The filter is made for spots of this share of the diameter, which parts close ones better."""

REACH = 4.0
"""Where the filter is cut off, in standard deviations."""


def segment_spots(
    stack: xr.DataArray, *, diameter_um: float = DIAMETER_UM, threshold: float = THRESHOLD
) -> Neurons:
    """Find neurons as maxima of the Laplacian of Gaussian; each is a ball of the diameter.

    Parameters
    ----------
    stack : DataArray (Z, Y, X) or (Y, X)
        Intensities, with coordinates in µm; voxels need not be cubes.
    diameter_um : float
        Diameter of a neuron, or of its nucleus where that is labelled. Where balls overlap, a
        voxel belongs to the nearest.
    threshold : float
        The filter's response that a neuron needs, as a share of the typical one.

    Raises
    ------
    FluoFocusError
        If the stack has other axes, no voxel size, uneven planes or NaN, or a setting is
        not possible.
    """
    volume = checked_volume(stack, diameter_um, threshold)
    sigma_um = NARROWER * diameter_um / 2 / math.sqrt(volume.ndim)
    spots_of = partial(laplacian_of_gaussian, sigma_px=volume.in_px(sigma_um))
    response = spots_of(volume.values)
    maxima = standing_out(
        response,
        volume.in_px(sigma_um),
        noise=noise_after(volume.values, spots_of),
        threshold=threshold,
    )
    centres = quadratic_fit(response, maxima)
    return measured(volume, _balls(volume, centres, diameter_um / 2), volume.to_um(centres))


def laplacian_of_gaussian(values: FloatArray, sigma_px: Array) -> FloatArray:
    """Return the scale-normalised Laplacian of Gaussian, positive where spots are bright.

    The second derivatives are multiplied by the squared standard deviations, so the response
    does not depend on the voxel's size or shape. It is largest at the middle of a ball of the
    radius ``sigma sqrt(D)``, in D dimensions.

    Parameters
    ----------
    values : ndarray of float32 (Z, Y, X) or (Y, X)
        Intensities.
    sigma_px : ndarray (D,)
        Standard deviations along each axis.
    """
    smooth = values
    curved: FloatArray | None = None
    for axis, sigma in enumerate(sigma_px.tolist()):
        blur, bend = _kernels(sigma)
        along: FloatArray = correlate1d(smooth, bend, axis, mode="nearest")
        if curved is not None:
            along += correlate1d(curved, blur, axis, mode="nearest")
        curved = along
        smooth = correlate1d(smooth, blur, axis, mode="nearest")
    assert curved is not None
    return curved


def _kernels(sigma: float) -> tuple[Array, Array]:
    """Return a Gaussian, and minus its second derivative times its variance.

    Sampled and cut off, the latter would still answer to a constant; it is corrected so that
    it is exact for all quadratic functions.
    """
    reach = math.ceil(REACH * sigma)
    x = np.arange(-reach, reach + 1.0)
    blur = np.exp(-(x**2) / (2 * sigma**2))
    blur /= blur.sum()
    bend = (1 - x**2 / sigma**2) * blur
    bend -= bend.sum() * blur
    bend *= -2 * sigma**2 / (bend @ x**2)
    return blur, bend


def _balls(volume: Volume, centres: Array, radius_um: float) -> Labels:
    """Label the voxels within a radius of each centre (fractional indices), the nearest first."""
    labels = np.zeros(volume.values.shape, np.int32)
    reach = np.ceil(volume.in_px(radius_um)).astype(int) + 1
    offsets = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1)
    voxels = np.round(centres).astype(int)[:, None] + offsets.reshape(1, -1, volume.ndim)
    distance_um = np.linalg.norm((voxels - centres[:, None]) * volume.voxel_um, axis=-1)
    within = (distance_um <= radius_um) & (voxels >= 0).all(-1)
    within &= (voxels < volume.values.shape).all(-1)
    owner, _ = np.nonzero(within)
    farthest_first = np.argsort(-distance_um[within], kind="stable")
    labels[tuple(voxels[within][farthest_first].T)] = owner[farthest_first] + 1
    return labels
