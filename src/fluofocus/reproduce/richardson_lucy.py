"""Richardson-Lucy deconvolution, accelerated, whatever the blur is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fluofocus.units import AnyArray, FloatArray

Filter = Callable[[AnyArray], AnyArray]
_LEAST = 1e-6


def deconvolved(
    photons: AnyArray, blur: Filter, blur_back: Filter, *, background: float, iterations: int
) -> FloatArray:
    """Deconvolve photons over a known even background (Richardson 1972, Lucy 1974).

    Each step starts from where the last two lead to (Biggs and Andrews, Applied Optics 36, 1766,
    1997), which saves most of the iterations.

    Parameters
    ----------
    photons
        What was recorded, the background included.
    blur, blur_back
        From emitters to the image, and its transpose over the share of each emitter's light
        that is recorded.
    """
    measured = np.clip(photons, 0, None).astype(np.float32)
    estimate = np.full_like(measured, max(float(measured.mean()) - background, 1e-3))
    start, last_change = estimate, np.zeros_like(measured)
    for _ in range(iterations):
        blurred = np.maximum(blur(start) + background, _LEAST)
        stepped = start * np.maximum(blur_back(measured / blurred), 0)
        change = stepped - start
        size = float(np.vdot(last_change, last_change))
        lead = min(max(float(np.vdot(change, last_change)) / size, 0.0), 1.0) if size else 0.0
        start = np.maximum(stepped + lead * (stepped - estimate), 0)
        estimate, last_change = stepped, change
    return np.asarray(estimate, dtype=np.float32)
