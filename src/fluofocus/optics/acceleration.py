"""Fewer iterations of a deconvolution."""

from __future__ import annotations

import torch
from torch import Tensor


class AcceleratedSteps:
    """Lets each step of a multiplicative deconvolution start from where the last two lead to.

    As by Biggs and Andrews (Applied Optics 36, 1766, 1997), who save most of the iterations so.

    Attributes
    ----------
    start : Tensor
        What the next step is to be taken from, not negative.
    estimate : Tensor
        What the last step led to.
    """

    def __init__(self, estimate: Tensor) -> None:
        self.start = self.estimate = estimate
        self._last_change = torch.zeros_like(estimate)

    def advance(self, stepped: Tensor) -> None:
        """Take over what a step from `start` led to."""
        change = stepped - self.start
        lead = (change * self._last_change).sum() / (self._last_change.square().sum() + 1e-30)
        self.start = (stepped + lead.clamp(0, 1) * (stepped - self.estimate)).clamp(min=0)
        self.estimate, self._last_change = stepped, change
