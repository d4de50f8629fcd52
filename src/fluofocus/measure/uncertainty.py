"""Whether expected errors are honest: calibration and coverage of intervals."""

from __future__ import annotations

import numpy as np

from fluofocus.units import FloatArray

PROBABILITIES = (0.5, 0.68, 0.8, 0.9, 0.95, 0.99)
"""Probabilities for which half widths of intervals are found."""


def error_scale(absolute_error: FloatArray, predicted: FloatArray) -> float:
    """Return by what predicted errors are to be multiplied to be right on average."""
    return float(np.mean(absolute_error, dtype=float) / np.mean(predicted, dtype=float))


def interval_half_widths(
    absolute_error: FloatArray,
    expected: FloatArray,
    probabilities: tuple[float, ...] = PROBABILITIES,
) -> tuple[float, ...]:
    """Return the multiples of the expected error that hold the truth with given probabilities.

    Under a Laplace distribution they would be ``-log(1 - p)``; found on held-out pixels they
    need no such assumption (split conformal prediction; Lei et al., JASA 2018).

    Parameters
    ----------
    absolute_error, expected
        Of any one shape, in the same unit.
    probabilities
        Of the intervals.
    """
    ratios = absolute_error.ravel() / expected.ravel()
    return tuple(float(width) for width in np.quantile(ratios, probabilities))


def coverage(
    absolute_error: FloatArray, expected: FloatArray, half_widths: tuple[float, ...]
) -> tuple[float, ...]:
    """Return the share of the pixels whose truth lies in each interval around the output."""
    ratios = absolute_error.ravel() / expected.ravel()
    return tuple(float(np.mean(ratios <= width)) for width in half_widths)
