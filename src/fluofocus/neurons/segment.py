"""Neurons by local maxima and watershed; the table `SEGMENTATIONS` lists all methods.

Wu et al., "Three-dimensional virtual refocusing of fluorescence microscopy images using deep
learning", Nature Methods 16 (2019), "Tracking and quantification of C. elegans neuron
activity": local maxima mark the neurons, and a watershed from them takes their voxels. The
paper states no parameters; those here were chosen on simulated worms and nuclei
(docs/results/neurons.md).
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

import numpy as np
import xarray as xr
from scipy import ndimage

from fluofocus.errors import FluoFocusError
from fluofocus.neurons.detected import Array, Labels, Neurons, measured
from fluofocus.neurons.peaks import Indices, noise_after, quadratic_fit, standing_out
from fluofocus.neurons.spots import segment_spots
from fluofocus.neurons.volume import DIAMETER_UM, THRESHOLD, checked_volume
from fluofocus.units import FloatArray

SMOOTHING = 1 / 7
"""Standard deviation, in diameters, of the Gaussian that suppresses noise."""

SURROUNDINGS = 0.5
"""Standard deviation, in diameters, of the Gaussian whose mean counts as surroundings."""

SEPARATION = 0.25
"""Maxima closer than this, in diameters along each axis, are one neuron."""

EXTENT = 0.5
"""A neuron's voxels stand out at least this share as much as its maximum: simulated nuclei then
have the right size on average."""

SMALLEST = 0.6
"""Segments of less than this many diameters are no neurons."""


class Segmentation(Protocol):
    """A way to find neurons."""

    def __call__(
        self, stack: xr.DataArray, *, diameter_um: float = ..., threshold: float = ...
    ) -> Neurons:
        """Find neurons of a diameter in a stack (Z, Y, X) or an image (Y, X).

        ``threshold`` is the share of the typical height over the surroundings from which
        something counts as a neuron.
        """


def segment_neurons(
    stack: xr.DataArray,
    *,
    method: str = "watershed",
    diameter_um: float = DIAMETER_UM,
    threshold: float = THRESHOLD,
) -> Neurons:
    """Find neurons by the method of a name in `SEGMENTATIONS`.

    Raises
    ------
    FluoFocusError
        If there is no such method, or as `segment_watershed`.
    """
    if method not in SEGMENTATIONS:
        raise FluoFocusError(
            f"There is no segmentation {method!r}: choose from {', '.join(SEGMENTATIONS)}."
        )
    return SEGMENTATIONS[method](stack, diameter_um=diameter_um, threshold=threshold)


def segment_watershed(
    stack: xr.DataArray,
    *,
    diameter_um: float = DIAMETER_UM,
    threshold: float = THRESHOLD,
    smallest_um: float | None = None,
) -> Neurons:
    """Find neurons as local maxima in 3D, and their voxels by a watershed.

    The stack is smoothed, and its wider mean subtracted, which takes away the haze of what
    is out of focus. Maxima that stand out become the neurons' centroids, to a part of a
    voxel. The watershed deals out the voxels between them; a neuron keeps those that stand
    out at least half as much as its maximum.

    Parameters
    ----------
    stack : DataArray (Z, Y, X) or (Y, X)
        Intensities, with coordinates in µm; voxels need not be cubes.
    diameter_um : float
        Diameter of a neuron, or of its nucleus where that is labelled.
    threshold : float
        Height over its surroundings that a neuron needs, as a share of the typical one.
    smallest_um : float, optional
        Diameter of the ball, or disc, with the size of the smallest segment that counts;
        0.6 of ``diameter_um`` if not given.

    Raises
    ------
    FluoFocusError
        If the stack has other axes, no voxel size, uneven planes or NaN, or a setting is
        not possible.
    """
    volume = checked_volume(stack, diameter_um, threshold)
    over_surroundings = partial(_over_surroundings, diameter_px=volume.in_px(diameter_um))
    response = over_surroundings(volume.values)
    maxima = standing_out(
        response,
        volume.in_px(SEPARATION * diameter_um),
        noise=noise_after(volume.values, over_surroundings),
        threshold=threshold,
    )
    labels = _watershed(response, maxima)
    neurons = measured(volume, labels, volume.to_um(quadratic_fit(response, maxima)))
    smallest = SMALLEST * diameter_um if smallest_um is None else smallest_um
    return neurons.only(neurons.diameters_um >= smallest)


def _over_surroundings(values: FloatArray, diameter_px: Array) -> FloatArray:
    fine, wide = (
        ndimage.gaussian_filter(values, share * diameter_px, mode="nearest", truncate=3.0)
        for share in (SMOOTHING, SURROUNDINGS)
    )
    difference: FloatArray = np.subtract(fine, wide, out=fine)
    return difference


def _watershed(response: FloatArray, maxima: Indices) -> Labels:
    """Return the voxels of each maximum, numbered from 1 in their order."""
    from skimage.segmentation import watershed

    if not len(maxima):
        return np.zeros(response.shape, np.int32)
    seeds = np.zeros(response.shape, np.int32)
    seeds[tuple(maxima.T)] = np.arange(1, len(maxima) + 1)
    height = response[tuple(maxima.T)]
    lowest = EXTENT * height.min()
    labels = watershed(-response, seeds, mask=response >= lowest)  # type: ignore[no-untyped-call]
    levels = np.concatenate([[np.inf], EXTENT * height]).astype(np.float32)
    labels[response < levels[labels]] = 0
    return np.asarray(labels, np.int32)


SEGMENTATIONS: dict[str, Segmentation] = {
    "watershed": segment_watershed,
    "spots": segment_spots,
}
"""Name -> function; the first is the paper's."""
