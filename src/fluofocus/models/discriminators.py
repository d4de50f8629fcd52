"""Networks that score whether an image is real, for adversarial training."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fluofocus.models.u_net import (
    CHANNEL_DIVISOR,
    ReplicateConv2d,
    Width,
    initialise_as_deep_z,
)

BLOCK_CHANNELS = ((48, 96), (96, 192), (192, 384), (384, 768), (768, 1536), (1536, 3072))
"""(i1, i2) of equation 3 of Deep-Z."""
LEAK = 0.01
"""Slope of the leaky ReLUs for negative inputs."""


class DeepZDiscriminator(nn.Module):
    """The discriminator of Deep-Z (Wu et al., Nature Methods 2019, Methods, equation 3).

    Six blocks that halve the image, an average over what is left of it, and two fully
    connected layers. ``width="compact"`` has a quarter of the paper's channels.
    """

    def __init__(self, width: Width = "paper") -> None:
        super().__init__()
        divisor = CHANNEL_DIVISOR[width]
        channels = 1
        self.blocks = nn.ModuleList()
        for first, second in BLOCK_CHANNELS:
            self.blocks.append(HalvingBlock(channels, first // divisor, second // divisor))
            channels = second // divisor
        self.hidden = nn.Linear(channels, channels)
        self.to_score = nn.Linear(channels, 1)
        initialise_as_deep_z(self)

    def forward(self, image: Tensor) -> Tensor:
        """Score ``(B, 1, H, W)`` normalised images: ``(B,)``, 0 for false to 1 for true."""
        x = image
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x)
        x = F.leaky_relu(self.hidden(x.mean(dim=(2, 3))), LEAK)
        return torch.sigmoid(self.to_score(x)).squeeze(1)


class HalvingBlock(nn.Module):
    """Equation 3: two convolutions with leaky ReLUs, the second of stride 2."""

    def __init__(self, in_channels: int, first_channels: int, second_channels: int) -> None:
        super().__init__()
        self.first = ReplicateConv2d(in_channels, first_channels)
        self.second = ReplicateConv2d(first_channels, second_channels, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, h, w)`` to ``(B, i2, ceil(h/2), ceil(w/2))``."""
        x = F.leaky_relu_(self.first(x), LEAK)
        return F.leaky_relu_(self.second(x), LEAK)


class StackDiscriminator(nn.Module):
    """Deep-Z's discriminator in 3D, as WFCON-Net's is said to be (Li et al. 2022, Methods).

    Each of the six blocks halves all three lengths, as far as there is something to halve. With
    two ``dimensions`` each plane of a stack is scored alone.
    """

    def __init__(self, width: Width = "paper", dimensions: Literal[2, 3] = 3) -> None:
        super().__init__()
        self.dimensions = dimensions
        divisor = CHANNEL_DIVISOR[width]
        channels = 1
        layers: list[nn.Module] = []
        for first, second in BLOCK_CHANNELS:
            for more, stride in ((first // divisor, 1), (second // divisor, 2)):
                layers += [_convolution(channels, more, stride, dimensions), nn.LeakyReLU(LEAK)]
                channels = more
        self.blocks = nn.Sequential(*layers)
        self.hidden = nn.Linear(channels, channels)
        self.to_score = nn.Linear(channels, 1)
        initialise_as_deep_z(self)

    def forward(self, stack: Tensor) -> Tensor:
        """Score ``(B, 1, Z, Y, X)`` normalised stacks: ``(B,)``, or ``(B Z,)`` of planes alone."""
        x = stack
        if self.dimensions == 2:
            x = x.transpose(1, 2).reshape(-1, 1, 1, *stack.shape[3:])
        x = self.blocks(x.contiguous(memory_format=torch.channels_last_3d))
        x = F.leaky_relu(self.hidden(x.mean(dim=(2, 3, 4))), LEAK)
        return torch.sigmoid(self.to_score(x)).squeeze(1)


def _convolution(
    in_channels: int, channels: int, stride: int, dimensions: Literal[2, 3]
) -> nn.Conv3d:
    depth = 3 if dimensions == 3 else 1
    return nn.Conv3d(
        in_channels,
        channels,
        (depth, 3, 3),
        stride=(stride if dimensions == 3 else 1, stride, stride),
        padding=(depth // 2, 1, 1),
        padding_mode="replicate",
    )
