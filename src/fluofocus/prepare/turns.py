"""The eight ways to lay an image on a square grid: four turns, mirrored or not."""

from __future__ import annotations

import torch
from torch import Tensor

TURNS = tuple((quarter_turns, mirrored) for quarter_turns in range(4) for mirrored in (False, True))
"""All pairs of arguments of `turned` that differ in effect."""


def turned(image: Tensor, quarter_turns: int, mirrored: bool) -> Tensor:
    """Turn ``(…, H, W)`` by multiples of 90 degrees, then mirror it left to right or not."""
    result = torch.rot90(image, quarter_turns, (-2, -1))
    return (result.flip(-1) if mirrored else result).contiguous()


def turned_back(image: Tensor, quarter_turns: int, mirrored: bool) -> Tensor:
    """Undo `turned`."""
    image = image.flip(-1) if mirrored else image
    return torch.rot90(image, -quarter_turns, (-2, -1))
