"""Widths of many beads: which were measured, why others were not, and how two samples differ."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from fluofocus.measure.beads import Array
from fluofocus.units import AnyArray

Mask = npt.NDArray[np.bool_]

TOUCHING_WIDTHS = 2.5
"""Beads closer to another than this, in full widths at half maximum, are left out.

Nearer than that, a neighbour changes the measured width of an Airy disk by more than 1 %; its
outer pixels, which belong to the neighbour, are left out of the fit already.
"""


class Outcome(StrEnum):
    """What came of measuring one bead; where several reasons hold, the first counts."""

    MEASURED = "measured"
    TOUCHING = "touching"
    CUT = "cut by the edge"
    BEYOND = "focus beyond the stack"
    UNSETTLED = "not converged"


@dataclass(frozen=True)
class WidthSample:
    """One kind of width, lateral or axial, of all beads that were found.

    Attributes
    ----------
    fwhm_um : ndarray (N,)
        Full width at half maximum; NaN unless measured.
    outcome : ndarray (N,) of str
        One of `Outcome` for each bead.
    """

    fwhm_um: Array
    outcome: npt.NDArray[np.str_]

    @property
    def measured_um(self) -> Array:
        """The widths that were measured, (M,)."""
        return np.asarray(self.fwhm_um[self.outcome == Outcome.MEASURED])

    @property
    def quartiles_um(self) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile; NaN when nothing was measured."""
        if not len(self.measured_um):
            return np.nan, np.nan, np.nan
        lower, median, upper = np.quantile(self.measured_um, [0.25, 0.5, 0.75])
        return float(lower), float(median), float(upper)

    @property
    def median_um(self) -> float:
        """Median of the widths that were measured; NaN when there are none."""
        return self.quartiles_um[1]

    def count(self, outcome: Outcome) -> int:
        """Return how many beads had this outcome."""
        return int(np.count_nonzero(self.outcome == outcome))


@dataclass(frozen=True)
class WidthComparison:
    """How the widths of one sample differ from those of another.

    Attributes
    ----------
    median_difference : float
        Difference of the medians as a share of the reference's; NaN if either has none.
    ks_distance : float
        Largest distance of the two cumulative distributions (Kolmogorov-Smirnov), 0 to 1.
    """

    median_difference: float
    ks_distance: float


def compare_widths(sample: WidthSample, reference: WidthSample) -> WidthComparison:
    """Compare the distributions of two samples; NaN where one of them is empty."""
    from scipy.stats import ks_2samp

    if not (len(sample.measured_um) and len(reference.measured_um)):
        return WidthComparison(np.nan, np.nan)
    return WidthComparison(
        median_difference=sample.median_um / reference.median_um - 1,
        ks_distance=float(ks_2samp(sample.measured_um, reference.measured_um).statistic),
    )


def sample_of(fwhm_um: Array, reasons: dict[Outcome, Mask]) -> WidthSample:
    """Return the sample in which the first reason that holds, in `Outcome`'s order, counts."""
    ordered = [reason for reason in Outcome if reason in reasons]
    masks, names = [reasons[reason] for reason in ordered], [reason.value for reason in ordered]
    outcome = np.select(masks, names, Outcome.MEASURED.value)
    return WidthSample(np.where(outcome == Outcome.MEASURED, fwhm_um, np.nan), outcome)


def touching(yx_px: Array, fwhm_px: Array) -> Mask:
    """Return which beads have another one closer than `TOUCHING_WIDTHS`.

    The width that counts is a bead's own, but at least the median, for that of a bead that
    runs into another may be measured too small, or not at all.
    """
    known = np.isfinite(fwhm_px)
    if len(yx_px) < 2 or not known.any():
        return np.zeros(len(yx_px), dtype=bool)
    distance_px, _ = cKDTree(yx_px).query(yx_px, k=2)
    width_px = np.fmax(fwhm_px, np.median(fwhm_px[known]))
    return np.asarray(distance_px[:, 1] < TOUCHING_WIDTHS * width_px)


def slid(shift_px: Array, fwhm_px: Array) -> Mask:
    """Return which fits have their centre outside of the bead's half maximum (or 1 px)."""
    return np.asarray(np.linalg.norm(shift_px, axis=1) > np.maximum(fwhm_px / 2, 1))


def leaves(centre_px: Array, fwhm_px: Array, size_px: AnyArray) -> Mask:
    """Return which half maxima reach beyond the first or the last pixel of an axis."""
    low, high = centre_px - fwhm_px / 2, centre_px + fwhm_px / 2
    return np.asarray((low < -0.5) | (high > size_px - 0.5))
