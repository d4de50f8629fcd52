"""The U-Net of Deep-Z's Methods (Wu et al., Nature Methods 2019), with any number of inputs.

The Methods give equations 1 and 2 and the channel numbers; where they leave a choice,
this is what is chosen:

- A skip carries the output of a down-sampling block before its pooling: equation 2
  names the tensor that equation 1 yields, at the resolution of the same level.
- An up-convolution has a 2x2 kernel, stride 2 and no activation, and halves the
  channels (768 to 384, ...), so that a concatenation has as many channels from the
  skip as from below, and the up-sampling path mirrors the other. A 256x256 plane
  then takes 65 GFLOP; a 3x3 kernel would make it 68.
- The last layer is a 3x3 convolution without activation: 3x3 holds "unless mentioned
  otherwise", and background noise around zero needs negative outputs.
- The Xavier weights are drawn uniformly (TensorFlow's default), those of the
  up-convolutions too.
- The 25 channels of the very first convolution are as printed, though 24 would
  continue the series.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Width = Literal["paper", "compact"]
CHANNEL_DIVISOR: dict[Width, int] = {"paper": 1, "compact": 4}
"""By what each width divides the paper's channel numbers."""

DOWN_CHANNELS = ((25, 48), (72, 96), (144, 192), (288, 384), (576, 768))
"""(k1, k2) of equation 1, finest level first."""
UP_CHANNELS = ((72, 48), (144, 96), (288, 192), (576, 384))
"""(k3, k4) of equation 2, finest level first."""
SIZE_MULTIPLE: int = 2 ** (len(DOWN_CHANNELS) - 1)


class UNet(nn.Module):
    """Maps ``(N, in_channels, H, W)`` to ``(N, 1, H, W)``; sides are multiples of 16."""

    def __init__(self, in_channels: int, width: Width) -> None:
        super().__init__()
        divisor = CHANNEL_DIVISOR[width]
        channels = in_channels
        self.down = nn.ModuleList()
        for first, second in _divided(DOWN_CHANNELS, divisor):
            self.down.append(DownBlock(channels, first, second))
            channels = second
        self.up = nn.ModuleList()
        for first, second in reversed(_divided(UP_CHANNELS, divisor)):
            self.up.append(UpBlock(channels, first, second))
            channels = second
        self.to_image = ReplicateConv2d(channels, 1)
        initialise_as_deep_z(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, 1, H, W)``."""
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        skips.pop()
        for block in self.up:
            x = block(skips.pop(), x)
        image: Tensor = self.to_image(x)
        return image


def unet_receptive_field_px() -> int:
    """How far away, in y or x, an input pixel can be and still change an output pixel.

    Follows from the layers the first and last pixel that one output pixel depends
    on, for each alignment of that pixel to the pooling, and takes the farthest.
    """
    return max(
        max(pixel - first, last - pixel)
        for pixel in range(SIZE_MULTIPLE)
        for first, last in [_input_interval(pixel)]
    )


class ReplicateConv2d(nn.Conv2d):
    """A 3x3 convolution with replicate padding of one pixel.

    Training pads a copy of its input. Inference pads with zeros, as convolutions do at
    no cost, and then adds what the missing border would have contributed, four thin
    convolutions: about a fifth faster at 512x512 pixels and above on a CPU, where copies of
    wide features are slow, while its gradient would cost more than the copy.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, 3, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C', ceil(H / stride), ceil(W / stride))``."""
        if torch.is_grad_enabled() or self.stride != (1, 1):
            return super().forward(F.pad(x, (1, 1, 1, 1), mode="replicate"))
        weight = self.weight
        y = F.conv2d(x, weight, self.bias, padding=1)
        rows = F.pad(x[:, :, [0, -1]], (1, 1, 0, 0), mode="replicate")
        y[:, :, :1] += F.conv2d(rows[:, :, :1], weight[:, :, :1])
        y[:, :, -1:] += F.conv2d(rows[:, :, 1:], weight[:, :, 2:])
        # the corners came with the rows: the columns end in zeros
        y[..., :1] += F.conv2d(x[..., :1], weight[..., :1], padding=(1, 0))
        y[..., -1:] += F.conv2d(x[..., -1:], weight[..., 2:], padding=(1, 0))
        return y


class DownBlock(nn.Module):
    """Equation 1: ``x + ReLU(CONV_k2(ReLU(CONV_k1(x))))``, x zero-padded to k2 channels."""

    def __init__(self, in_channels: int, first_channels: int, second_channels: int) -> None:
        super().__init__()
        self.first = ReplicateConv2d(in_channels, first_channels)
        self.second = ReplicateConv2d(first_channels, second_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to ``(N, k2, h, w)``."""
        y = F.relu_(self.second(F.relu_(self.first(x))))
        channels = x.shape[1]
        # adding x to the first channels is adding x with zero channels appended
        return torch.cat([x + y[:, :channels], y[:, channels:]], dim=1)


class UpBlock(nn.Module):
    """Up-convolution, then equation 2: ``ReLU(CONV_k4(ReLU(CONV_k3(CAT(x, y)))))``."""

    def __init__(self, in_channels: int, first_channels: int, second_channels: int) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(in_channels, second_channels, 2, stride=2)
        self.first = ReplicateConv2d(2 * second_channels, first_channels)
        self.second = ReplicateConv2d(first_channels, second_channels)

    def forward(self, skip: Tensor, coarser: Tensor) -> Tensor:
        """Merge ``(N, k4, h, w)`` and ``(N, 2 k4, h/2, w/2)`` to ``(N, k4, h, w)``."""
        merged = torch.cat([skip, self.enlarge(coarser)], dim=1)
        return F.relu_(self.second(F.relu_(self.first(merged))))


def initialise_as_deep_z(network: nn.Module) -> None:
    """Set Xavier weights and biases of 0.1 in every layer, as the Methods of Deep-Z say."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, 0.1)


def _divided(channels: tuple[tuple[int, int], ...], divisor: int) -> tuple[tuple[int, int], ...]:
    return tuple((first // divisor, second // divisor) for first, second in channels)


def _input_interval(output_pixel: int) -> tuple[int, int]:
    """First and last input pixel, along one axis, that an output pixel depends on."""
    poolings = len(DOWN_CHANNELS) - 1
    first, last = output_pixel - 1, output_pixel + 1
    for _ in range(poolings):  # a block's two convolutions, then to the coarser level
        first, last = (first - 2) // 2, (last + 2) // 2
    for _ in range(poolings):  # a block's two convolutions, then to the finer level
        first, last = 2 * (first - 2), 2 * (last + 2) + 1
    return first - 2, last + 2
