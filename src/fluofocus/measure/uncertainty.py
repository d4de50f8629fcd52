"""Whether expected errors are honest: calibration and coverage of intervals."""

from __future__ import annotations

import numpy as np

from fluofocus.units import FloatArray

PROBABILITIES = (0.5, 0.68, 0.8, 0.9, 0.95, 0.99)
"""Probabilities for which half widths of intervals are found."""

_USUAL_SHARE = 0.999
"""Share of the pixels, by predicted error, that decide on the scale."""

FACTORS_FROM = 0.9
"""Probability of the intervals that decide by how much errors are scaled at a distance."""

_KNOTS = 21
"""Distances at which they are."""

_LEAST_SHARE = 0.01
"""Share of all pixels that a distance must have, to have a factor of its own."""


def error_scale(absolute_error: FloatArray, predicted: FloatArray) -> float:
    """Return by what predicted errors are to be multiplied to be right on average.

    A thousandth of the pixels, those with the largest predictions, is left out: where a network
    is lost, a few can be so large that they alone would decide.
    """
    usual = predicted <= np.quantile(predicted, _USUAL_SHARE)
    return float(
        np.mean(absolute_error[usual], dtype=float) / np.mean(predicted[usual], dtype=float)
    )


def error_factors(
    absolute_error: FloatArray, predicted: FloatArray, distance_um: FloatArray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return distances, and factors of predicted errors that make them as honest at each.

    A network may be too sure of itself far from the input plane, and not sure enough near it.
    After multiplication by the factors, linear between the distances, intervals of one half width
    in predicted errors hold `FACTORS_FROM` of the truth at every distance.

    Parameters
    ----------
    absolute_error, predicted, distance_um
        Of each pixel, of any one shape.
    """
    ratios = absolute_error.ravel() / predicted.ravel()
    distances = distance_um.ravel()
    farthest = float(np.abs(distances).max())
    knots = np.linspace(-farthest, farthest, _KNOTS if farthest > 0 else 1).round(3)
    nearest = np.digitize(distances, (knots[1:] + knots[:-1]) / 2)
    common = float(np.quantile(ratios, FACTORS_FROM))
    factors = {}
    for index, knot in enumerate(knots.tolist()):
        own = ratios[nearest == index]
        if len(own) >= _LEAST_SHARE * len(ratios):
            factors[knot] = float(np.quantile(own, FACTORS_FROM)) / common
    return tuple(factors), tuple(factors.values())


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
