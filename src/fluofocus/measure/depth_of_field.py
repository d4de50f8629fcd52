"""Over which defocus an image stays as good as asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fluofocus.errors import FluoFocusError
from fluofocus.measure.beads import Array


@dataclass(frozen=True)
class DepthOfField:
    """The range of defocus about focus over which a score holds.

    Attributes
    ----------
    low_um, high_um : float
        Where it falls below the threshold, between planes linearly; the first or last
        plane where it does not.
    reaches_end : bool
        Whether it held to the first or the last plane, so that the true range is longer.
    """

    low_um: float
    high_um: float
    reaches_end: bool

    @property
    def length_um(self) -> float:
        """Length of the range; 0 where the score never holds."""
        return self.high_um - self.low_um


def depth_of_field(
    defocus_um: Sequence[float] | Array,
    score: Sequence[float] | Array,
    threshold: float,
    *,
    focus_um: float = 0.0,
) -> DepthOfField:
    """Return the unbroken range about focus over which a score is at least a threshold.

    It starts from the plane closest to focus at which the score holds, as the paper of W-Net
    does with the Jaccard index (Table 1). NaN counts as below.

    Parameters
    ----------
    defocus_um : (Z,)
        Rising.
    score : (Z,)
        Larger is better.
    focus_um
        Where the range is looked for.

    Raises
    ------
    FluoFocusError
        If the two differ in length, or the defocus does not rise.
    """
    z, value = np.asarray(defocus_um, float), np.nan_to_num(np.asarray(score, float), nan=-np.inf)
    if z.shape != value.shape or z.ndim != 1 or not len(z) or (np.diff(z) <= 0).any():
        raise FluoFocusError("A depth of field needs one score for each defocus, from low to high.")
    holds = value >= threshold
    if not holds.any():
        return DepthOfField(focus_um, focus_um, reaches_end=False)
    start = min(np.flatnonzero(holds), key=lambda plane: abs(z[plane] - focus_um))
    first = last = int(start)
    while first > 0 and holds[first - 1]:
        first -= 1
    while last < len(z) - 1 and holds[last + 1]:
        last += 1
    return DepthOfField(
        low_um=_crossing(z, value, threshold, first, first - 1),
        high_um=_crossing(z, value, threshold, last, last + 1),
        reaches_end=first == 0 or last == len(z) - 1,
    )


def _crossing(z: Array, value: Array, threshold: float, inside: int, outside: int) -> float:
    """Return where the score crosses the threshold between a plane that holds and one that not."""
    if not 0 <= outside < len(z):
        return float(z[inside])
    if not np.isfinite(value[outside]):
        return float(z[inside])
    share = (value[inside] - threshold) / (value[inside] - value[outside])
    return float(z[inside] + share * (z[outside] - z[inside]))
