"""``wfcon``: the generator of WFCON-Net, from a wide-field stack to a confocal one.

Li et al., "Deep-3D microscope: 3D volumetric microscopy of thick scattering samples using a
wide-field microscope and machine learning", Biomedical Optics Express 13 (2022), Methods. Where
these leave a choice, this is what is chosen:

- Channels double from level to level, from 32 on: the paper prints no numbers, and these are
  those of the 3D U-Net that it modifies (Çiçek et al. 2016).
- A block is ``x + ReLU(norm(conv(ReLU(conv(x)))))``, x padded with zeros to the block's channels.
  In the decoder x is the skip, so that the input itself reaches the last layer, and the
  convolutions see what comes from below too: this learns faster than the other way around.
- Halving z at each of the four levels would leave nothing of the paper's 12 planes: z is
  halved in the first two, from 12 to 3 planes.
- The last layer is a 3x3x3 convolution without activation, since noise around a background of
  zero needs negative values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from fluofocus.models.stack_network import Extent, StackNetwork
from fluofocus.models.u_net import Width

Dimensions = Literal[2, 3]

CHANNELS: dict[Width, tuple[int, ...]] = {
    "paper": (32, 64, 128, 256, 512),
    "compact": (16, 32, 64, 96, 128),
}
"""Of each level, finest first. Fewer than 16 are slower on processors, not faster."""
LEVELS_POOLED_IN_Z = 2
"""From how many levels to the next z is halved too."""


class WfconConfig(BaseModel):
    """Size and kind of a `Wfcon` network.

    With two ``dimensions`` it sees each plane alone, as the paper's 2D version. ``compact`` has
    between half and a quarter of the channels. The ``normalisation`` of the paper, ``instance``,
    is by the mean and the spread of each feature over what is seen at once; ``batch`` is by
    their averages over the training, so that a voxel depends on its surroundings only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dimensions: Dimensions = 3
    width: Width = "paper"
    normalisation: Literal["instance", "batch"] = "instance"


class Wfcon(StackNetwork):
    """The generator of WFCON-Net: 26 million parameters at paper width, 3.2 at compact."""

    config: WfconConfig

    def __init__(self, config: WfconConfig) -> None:
        super().__init__()
        self.config = config
        self.depends_on_tile = config.normalisation == "instance"
        levels = CHANNELS[config.width]
        self.poolings = _poolings(config.dimensions)
        self.down = nn.ModuleList(
            DownBlock(fewer, more, config)
            for fewer, more in zip((1, *levels), levels, strict=False)
        )
        self.up = nn.ModuleList(
            UpBlock(more, fewer, config)
            for more, fewer in zip(levels[:0:-1], levels[-2::-1], strict=True)
        )
        self.to_stack = _convolution(levels[0], 1, config.dimensions)

    @property
    def size_multiple(self) -> Extent:
        """What numbers of planes, rows and columns must be multiples of: 4 or 1, 16 and 16."""
        return Extent(*(math.prod(factors) for factors in zip(*self.poolings, strict=True)))

    @property
    def receptive_field(self) -> Extent:
        """How far away an input voxel can be and still reach an output voxel by convolutions."""
        z, y, x = (_reach(factors) for factors in zip(*self.poolings, strict=True))
        return Extent(z if self.config.dimensions == 3 else 0, y, x)

    def forward(self, stack: Tensor) -> Tensor:
        """Map ``(B, 1, Z, Y, X)`` normalised stacks to ``(B, 1, Z, Y, X)``."""
        shape = stack.shape
        self.require_divisible(stack)
        x = stack
        if self.config.dimensions == 2:
            x = x.transpose(1, 2).reshape(-1, 1, 1, *shape[3:])
        x = x.contiguous(memory_format=torch.channels_last_3d)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool3d(x, self.poolings[level - 1]))
            skips.append(x)
        skips.pop()
        for block in self.up:
            x = block(skips.pop(), x)
        restored: Tensor = self.to_stack(x)
        return restored.reshape(shape)


class DownBlock(nn.Module):
    """Two convolutions and a normalisation, around which the input is carried."""

    def __init__(self, in_channels: int, channels: int, config: WfconConfig) -> None:
        super().__init__()
        self.body = _body(in_channels, channels, config)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, z, y, x)`` to ``(B, channels, z, y, x)``."""
        y: Tensor = self.body(x)
        carried = x.shape[1]
        # adding x to the first channels is adding x with zero channels appended
        return torch.cat([y[:, :carried] + x, y[:, carried:]], dim=1)


class UpBlock(nn.Module):
    """Nearest neighbours and a convolution, with which the skip is refined."""

    def __init__(self, in_channels: int, channels: int, config: WfconConfig) -> None:
        super().__init__()
        self.enlarge = _convolution(in_channels, channels, config.dimensions)
        self.body = _body(2 * channels, channels, config)

    def forward(self, skip: Tensor, coarser: Tensor) -> Tensor:
        """Merge ``(B, channels, z, y, x)`` with ``(B, C, z', y/2, x/2)`` to the skip's shape."""
        larger = F.interpolate(coarser, size=skip.shape[2:], mode="nearest")
        refined: Tensor = self.body(torch.cat([skip, self.enlarge(larger)], dim=1))
        return skip + refined


def _body(in_channels: int, channels: int, config: WfconConfig) -> nn.Sequential:
    normalisation = nn.InstanceNorm3d if config.normalisation == "instance" else nn.BatchNorm3d
    return nn.Sequential(
        _convolution(in_channels, channels, config.dimensions),
        nn.ReLU(inplace=True),
        _convolution(channels, channels, config.dimensions),
        normalisation(channels, affine=True),
        nn.ReLU(inplace=True),
    )


def _convolution(in_channels: int, channels: int, dimensions: Dimensions) -> nn.Conv3d:
    depth = 3 if dimensions == 3 else 1
    return nn.Conv3d(in_channels, channels, (depth, 3, 3), padding=(depth // 2, 1, 1))


def _poolings(dimensions: Dimensions) -> list[tuple[int, int, int]]:
    """Return by how much z, y and x shrink from each level to the next."""
    pooled_in_z = LEVELS_POOLED_IN_Z if dimensions == 3 else 0
    return [(2 if level < pooled_in_z else 1, 2, 2) for level in range(len(CHANNELS["paper"]) - 1)]


def _reach(factors: Sequence[int]) -> int:
    """How far an output voxel looks along an axis that shrinks so from level to level."""
    return max(
        max(position - first, last - position)
        for position in range(math.prod(factors))
        for first, last in [_input_interval(position, factors)]
    )


def _input_interval(output: int, factors: Sequence[int]) -> tuple[int, int]:
    """First and last input position, along one axis, that an output position depends on."""
    first, last = output - 1, output + 1
    for factor in factors:  # a block's three convolutions, then to the coarser level
        first, last = (first - 3) // factor, (last + 3) // factor
    for factor in reversed(factors):  # a block's two convolutions, then to the finer level
        first, last = factor * (first - 2), factor * (last + 2) + factor - 1
    return first - 2, last + 2
