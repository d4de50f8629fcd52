"""Where two focus scans of a field have their common zero of z, and whether both run upwards."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from fluofocus.errors import FluoFocusError
from fluofocus.measure.image import ssim
from fluofocus.units import AnyArray

_POINTS_OF_THE_FIT = 4
_LEAST_COMMON_PLANES = 3
_DETAIL_PX = (1.0, 8.0)


def focus_curve(stack: AnyArray, fused: AnyArray) -> AnyArray:
    """Compare each plane with the fused image by structural similarity.

    Parameters
    ----------
    stack
        ``(Z, Y, X)``, normalised.
    fused
        ``(Y, X)``, normalised alike.

    Returns
    -------
    AnyArray
        ``(Z,)``.
    """
    planes = torch.from_numpy(np.ascontiguousarray(stack, dtype=np.float32))
    reference = torch.from_numpy(np.asarray(fused, dtype=np.float32))
    values: AnyArray = np.array([float(ssim(plane, reference)) for plane in planes])
    return values


def zero_point(curve: AnyArray) -> float:
    """Return the peak of a focus curve between its planes, as an index.

    A parabola through the four best points, as Deep-Z+ does (Wu et al., Nature Methods 16
    (2019), "Cross-modality alignment of wide-field and confocal fluorescence images").

    Raises
    ------
    FluoFocusError
        If the curve has no peak within the scan.
    """
    if len(curve) < _POINTS_OF_THE_FIT:
        raise FluoFocusError(
            f"A zero point needs at least {_POINTS_OF_THE_FIT} planes, this scan has {len(curve)}."
        )
    best = np.sort(np.argsort(curve)[-_POINTS_OF_THE_FIT:])
    curvature, slope, _ = np.polyfit(best, curve[best], 2)
    peak = -slope / (2 * curvature) if curvature < 0 else np.nan
    if not 0 <= peak <= len(curve) - 1:
        raise FluoFocusError(
            "No plane of this scan is in focus more than those around it: the scan must reach "
            "above and below the sample."
        )
    return float(peak)


def axial_shift(stack: AnyArray, other: AnyArray, steps: tuple[float, float]) -> float:
    """Find where a scan of a field lies in another one, by the planes that look alike.

    Planes are compared by the correlation of their detail, which is that of what is in focus.
    For each shift it is averaged over the planes that both scans have; a parabola through the
    best shift and its neighbours gives a fraction of a plane. Thin sections of thick samples, of
    which no plane is in focus more than the others, are matched where a `focus_curve` fails.

    Parameters
    ----------
    stack, other
        ``(Z, Y, X)`` and ``(Z', Y, X)``, registered, both from low to high.
    steps
        Distance of the planes of each.

    Returns
    -------
    float
        Position in ``stack`` of the first plane of ``other``, in planes of ``stack``.

    Raises
    ------
    FluoFocusError
        If there are too few planes, or the scans do not overlap by enough of them.
    """
    alike = _detail(stack) @ _detail(other).T
    count = int((alike.shape[1] - 1) * steps[1] / steps[0] + 1e-6) + 1
    at = np.arange(count) * steps[0] / steps[1]
    alike = np.stack([np.interp(at, np.arange(len(row)), row) for row in alike])
    least = max(_LEAST_COMMON_PLANES, min(alike.shape) // 3)
    shifts = np.arange(-(count - least), len(stack) - least + 1)
    if len(shifts) < _LEAST_COMMON_PLANES:
        raise FluoFocusError(
            f"Two scans of {len(stack)} and {len(other)} planes are too short to be matched in z: "
            "record more planes, or choose axial_match focus_curve."
        )
    likeness = np.array([np.diagonal(alike, offset=-shift).mean() for shift in shifts])
    best = int(likeness.argmax())
    if not 0 < best < len(shifts) - 1:
        raise FluoFocusError(
            "The two scans show the same planes only at their ends, if at all: record both over "
            "the same depth."
        )
    before, here, after = likeness[best - 1 : best + 2]
    return float(shifts[best] + 0.5 * (before - after) / (before - 2 * here + after))


def is_reversed(stack: AnyArray, other: AnyArray) -> bool:
    """Tell whether two registered scans of a field run through it in opposite directions.

    Planes are compared by the correlation of their detail; in which direction the planes
    that look alike follow each other decides.

    Parameters
    ----------
    stack, other
        ``(Z, Y, X)`` and ``(Z', Y, X)``.
    """
    one, two = _detail(stack), _detail(other)
    alike = one @ two.T
    alike = alike - alike.mean()
    offsets = range(1 - alike.shape[0], alike.shape[1])
    upwards = max(np.trace(alike, offset=k) for k in offsets)
    downwards = max(np.trace(alike[:, ::-1], offset=k) for k in offsets)
    return bool(downwards > upwards)


def _detail(stack: AnyArray) -> AnyArray:
    """Return each plane's detail as a vector of unit length."""
    fine, coarse = (
        gaussian_filter(np.asarray(stack, dtype=np.float32), (0, sigma, sigma))
        for sigma in _DETAIL_PX
    )
    vectors = (fine - coarse).reshape(len(stack), -1)
    lengths: AnyArray = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: AnyArray = vectors / np.maximum(lengths, 1e-12)
    return result
