"""``swift_stack``: from a wide-field stack to a confocal one, in a fraction of the time.

What makes `fluofocus.models.swift` fast, for stacks: all work is done at half the lateral
resolution, between pixel shuffles (Shi et al., CVPR 2016), where a processor multiplies large
matrices in place of many small ones. Residual blocks (He et al., CVPR 2016) without
normalisation begin as the identity. So a voxel depends on its surroundings only, and tiles join
exactly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from fluofocus.models.stack_network import Extent, StackNetwork

SHUFFLE = 2
"""By how much the shuffle shrinks rows and columns."""
POOLINGS = ((2, 2, 2), (2, 2, 2), (1, 2, 2))
"""By how much z, y and x shrink from each level to the next."""


class SwiftStackConfig(BaseModel):
    """Size of a `SwiftStack` network: channels of its four levels, and blocks in each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[
        Annotated[int, Field(ge=1)],
        Annotated[int, Field(ge=1)],
        Annotated[int, Field(ge=1)],
        Annotated[int, Field(ge=1)],
    ] = (32, 64, 96, 128)
    blocks: Annotated[int, Field(ge=1)] = 1


class SwiftStack(StackNetwork):
    """A U-Net of residual blocks between pixel shuffles: 2.6 million parameters."""

    config: SwiftStackConfig

    def __init__(self, config: SwiftStackConfig) -> None:
        super().__init__()
        self.config = config
        channels, pairs = config.channels, list(itertools.pairwise(config.channels))
        self.from_stack = nn.Conv3d(SHUFFLE**2, channels[0], 3, padding=1)
        self.encoder = nn.ModuleList(_blocks(count, config.blocks) for count in channels)
        self.down = nn.ModuleList(
            nn.Conv3d(finer, coarser, factors, stride=factors)
            for (finer, coarser), factors in zip(pairs, POOLINGS, strict=True)
        )
        self.up = nn.ModuleList(nn.Conv3d(coarser, finer, 1) for finer, coarser in pairs)
        self.decoder = nn.ModuleList(_blocks(count, config.blocks) for count in channels[:-1])
        self.to_stack = nn.Conv3d(channels[0], SHUFFLE**2, 3, padding=1)

    @property
    def size_multiple(self) -> Extent:
        """What numbers of planes, rows and columns must be multiples of: 4, 16 and 16."""
        z, y, x = (math.prod(factors) for factors in zip(*POOLINGS, strict=True))
        return Extent(z, SHUFFLE * y, SHUFFLE * x)

    @property
    def receptive_field(self) -> Extent:
        """How far away an input voxel can be and still reach an output voxel."""
        z, y, x = (_reach(factors, self.config.blocks) for factors in zip(*POOLINGS, strict=True))
        # a shuffled pixel may come from either end of its square
        return Extent(z, SHUFFLE * y + SHUFFLE - 1, SHUFFLE * x + SHUFFLE - 1)

    def forward(self, stack: Tensor) -> Tensor:
        """Map ``(B, 1, Z, Y, X)`` normalised stacks to ``(B, 1, Z, Y, X)``."""
        self.require_divisible(stack)
        shuffled = F.pixel_unshuffle(stack.transpose(1, 2), SHUFFLE).transpose(1, 2)
        x = self.from_stack(shuffled.contiguous(memory_format=torch.channels_last_3d))
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.encoder):
            x = blocks(x if level == 0 else self.down[level - 1](x))
            skips.append(x)
        skips.pop()
        for level in reversed(range(len(skips))):
            coarser = F.interpolate(self.up[level](x), size=skips[level].shape[2:], mode="nearest")
            x = self.decoder[level](skips[level] + coarser)
        restored: Tensor = F.pixel_shuffle(self.to_stack(x).transpose(1, 2), SHUFFLE)
        return restored.transpose(1, 2)


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions beside the identity, at first adding nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(channels, channels, 3, padding=1)
        self.second = nn.Conv3d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        if self.second.bias is not None:
            nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, z, y, x)`` to the same shape."""
        added: Tensor = self.second(F.gelu(self.first(x)))
        return x + added


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


def _reach(factors: Sequence[int], blocks: int) -> int:
    """How far an output voxel looks along an axis that shrinks so from level to level."""
    positions = range(math.prod(factors))
    intervals = [(position, *_input_interval(position, factors, blocks)) for position in positions]
    return max(max(position - first, last - position) for position, first, last in intervals)


def _input_interval(output: int, factors: Sequence[int], blocks: int) -> tuple[int, int]:
    """First and last input position, along one axis, that an output position depends on."""
    convolutions = 2 * blocks
    first, last = output - 1, output + 1
    for factor in factors:  # a level's decoder, then to the coarser level
        first, last = (first - convolutions) // factor, (last + convolutions) // factor
    for factor in (*reversed(factors), 1):  # a level's encoder, then to the finer level
        first, last = first - convolutions, last + convolutions
        first, last = factor * first, factor * last + factor - 1
    return first - 1, last + 1
