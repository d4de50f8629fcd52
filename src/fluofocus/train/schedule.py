"""Learning rates and averages of weights over the steps of a training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch


def rate_factor(step: int, *, steps: int, warmup_steps: int, decay_share: float) -> float:
    """Return by what the learning rate is multiplied: a rise, a plateau and a cosine to zero."""
    warm = min(1.0, (step + 1) / (warmup_steps + 1))
    decay_steps = decay_share * steps
    if decay_steps == 0:
        return warm
    progress = (step - (steps - decay_steps)) / decay_steps
    return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))


def moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """Return an exponential moving average, with less memory while the training is young."""

    @torch.no_grad()
    def update(averaged: Any, current: Any, updates: Any) -> None:
        count = int(updates)
        weight = 1 - min(decay, (1 + count) / (10 + count))
        for average, value in zip(averaged, current, strict=True):
            average.lerp_(value, weight)

    return update
