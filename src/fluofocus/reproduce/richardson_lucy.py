"""Richardson-Lucy deconvolution, accelerated, whatever the blur is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from fluofocus.optics.acceleration import AcceleratedSteps
from fluofocus.units import AnyArray, FloatArray

Filter = Callable[[AnyArray], AnyArray]
_LEAST = 1e-6


def deconvolved(
    photons: AnyArray, blur: Filter, blur_back: Filter, *, background: float, iterations: int
) -> FloatArray:
    """Deconvolve photons over a known even background (Richardson 1972, Lucy 1974), accelerated.

    Parameters
    ----------
    photons
        What was recorded, the background included.
    blur, blur_back
        From emitters to the image, and its transpose over the share of each emitter's light
        that is recorded.
    """
    measured = np.clip(photons, 0, None).astype(np.float32)
    even = np.full_like(measured, max(float(measured.mean()) - background, 1e-3))
    steps = AcceleratedSteps(torch.from_numpy(even))
    for _ in range(iterations):
        start = steps.start.numpy()
        blurred = np.maximum(blur(start) + background, _LEAST)
        stepped = start * np.maximum(blur_back(measured / blurred), 0)
        steps.advance(torch.from_numpy(stepped))
    return np.asarray(steps.estimate.numpy(), dtype=np.float32)
