"""What several reproductions do with the numbers of their fields."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fluofocus.units import AnyArray, FloatArray


def with_interval(values: Sequence[float] | AnyArray, digits: int = 4) -> str:
    """Return a mean and half of its 95 % interval (Student's t), if there are several values.

    An infinite mean has no interval, nor has NaN.
    """
    from scipy.stats import t

    found = np.asarray(values, float)
    mean = f"{found.mean():.{digits}f}"
    if len(found) < 2 or not np.isfinite(found).all():
        return mean
    half = t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / math.sqrt(len(found))
    return f"{mean} ± {half:.{digits}f}"


def brought_to(truth: FloatArray, stack: FloatArray) -> FloatArray:
    """Apply the gain and the offset with the least squared error from the truth."""
    centred = stack - stack.mean()
    spread = float(np.square(centred).mean())
    gain = float((centred * truth).mean()) / spread if spread > 0 else 0.0
    return np.asarray(gain * centred + truth.mean(), np.float32)
