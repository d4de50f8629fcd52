"""Planes of a stack at other positions than they were recorded at, by linear interpolation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fluofocus.units import AnyArray, FloatArray

Positions = Sequence[float] | npt.NDArray[np.floating]
Indices = npt.NDArray[np.intp]

SAME_SHARE = 0.02
"""Of the smaller distance of two planes: positions closer than this share of it are one."""


@dataclass(frozen=True)
class PlaneMixture:
    """Each wanted plane as a mixture of two recorded ones, ``(P,)`` each.

    Attributes
    ----------
    lower, upper
        Indices of the recorded planes; the same where one is taken as it is.
    share
        Of the upper one.
    """

    lower: Indices
    upper: Indices
    share: FloatArray

    @property
    def is_identity(self) -> bool:
        """Whether every wanted plane is the recorded one of the same number."""
        same = np.array_equal(self.lower, np.arange(len(self.lower)))
        return same and np.array_equal(self.lower, self.upper)

    def needed(self, wanted: slice) -> slice:
        """Return which recorded planes some of the wanted ones are made of."""
        return slice(int(self.lower[wanted].min()), int(self.upper[wanted].max()) + 1)

    def mix(self, recorded: AnyArray, wanted: slice) -> FloatArray:
        """Make the wanted planes ``(P, …)`` from those that `needed` names, ``(Z, …)``."""
        return np.stack(list(self.each(recorded, wanted)))

    def each(self, recorded: AnyArray, wanted: slice) -> Iterator[FloatArray]:
        """Make the same planes one after the other."""
        first = self.needed(wanted).start
        parts = (self.lower[wanted], self.upper[wanted], self.share[wanted])
        for lower, upper, share in zip(*parts, strict=True):
            plane = recorded[lower - first].astype(np.float32)
            if share:
                plane += share * (recorded[upper - first].astype(np.float32) - plane)
            yield plane


def mixture(wanted_um: Positions, recorded_um: Positions) -> PlaneMixture:
    """Say how to make planes at wanted positions from recorded ones.

    Beyond the first and the last recorded plane these are repeated.

    Parameters
    ----------
    wanted_um, recorded_um
        In µm, rising.
    """
    recorded = np.asarray(recorded_um, float)
    wanted = np.clip(np.asarray(wanted_um, float), recorded[0], recorded[-1])
    if len(recorded) == 1:
        zeros = np.zeros(len(wanted), np.intp)
        return PlaneMixture(zeros, zeros, zeros.astype(np.float32))
    upper = np.clip(np.searchsorted(recorded, wanted), 1, len(recorded) - 1)
    lower = upper - 1
    gap = recorded[upper] - recorded[lower]
    share = (wanted - recorded[lower]) / gap
    upper = np.where(share < SAME_SHARE, lower, upper)
    lower = np.where(share > 1 - SAME_SHARE, upper, lower)
    return PlaneMixture(lower, upper, np.where(lower == upper, 0, share).astype(np.float32))


def thinned(stack: AnyArray, every: int, first: int) -> FloatArray:
    """Leave every so-many-th plane of a stack, and interpolate the others from these.

    Parameters
    ----------
    stack
        ``(Z, …)``.
    every
        1 leaves all.
    first
        The first plane that stays.

    Returns
    -------
    ndarray of float32
        Of the stack's shape.
    """
    if every == 1:
        return stack.astype(np.float32)
    kept = np.arange(first, len(stack), every)
    whole = slice(0, len(stack))
    made = mixture(np.arange(len(stack), dtype=float), kept.astype(float))
    return made.mix(stack[kept][made.needed(whole)], whole)
