"""``swift``: encode the image once, decode any plane or surface from it cheaply.

The encoder sees only the image. A narrow decoder runs for each target, its
features scaled and shifted by an embedding of the digital propagation matrix. A
stack of 41 planes so costs one encoder and 41 small decoders, where Deep-Z (Wu
et al., Nature Methods 2019) runs its whole network 41 times.

Several input planes of a field are encoded alike; the decoder modulates the features of
each by that plane's own distance to the target and merges them with weights that add
up to one, so that neither their number nor their order matters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fluofocus.models.blocks import (
    DistanceEmbedding,
    ResidualBlock,
    require_divisible,
)
from fluofocus.models.network import Refocused, RefocusingNetwork
from fluofocus.models.swift_config import SwiftConfig
from fluofocus.models.swift_decoder import Decoder
from fluofocus.optics.description import PARAMETERS

LARGEST_ASINH = 9.0
"""Bounds a pixel to 4000 times the input's scale, so that no outlier can overflow."""

_OPTICS_CHANNELS = 64


class Swift(RefocusingNetwork):
    """The encode-once refocusing network; see `SwiftConfig` for its sizes."""

    config: SwiftConfig

    def __init__(self, config: SwiftConfig, *, image_channels: int = 1) -> None:
        super().__init__()
        self.config = config
        self.has_error = config.error_output
        self.fuses_planes = config.fuses_planes
        self.takes_optics = config.takes_optics
        self.encoder = Encoder(config, image_channels)
        self.embedding = DistanceEmbedding(
            config.distance_range_um, config.distance_bumps, config.embedding_channels
        )
        self.decoder = Decoder(config)
        self.optics = OpticsEmbedding(config) if config.takes_optics else None

    @property
    def last_layer(self) -> nn.Conv2d:
        """What makes pixels of the last features."""
        return self.decoder.to_pixels

    @property
    def size_multiple(self) -> int:
        """What height and width must be a multiple of."""
        return int(2 ** len(self.config.encoder_channels))

    @property
    def receptive_field_px(self) -> int:
        """How far away an input pixel can be and still change an output pixel."""
        radius = 0
        for level, blocks in enumerate(self.config.blocks):
            scale = 2 ** (level + 1)
            encoder_convolutions = 1 + 2 * blocks
            decoder_convolutions = 2 + (level == 0)
            # each pooling or up-sampling can reach one pixel of the finer level further
            radius += scale * (encoder_convolutions + decoder_convolutions) + scale
        return radius

    def encode(self, images: Tensor, optics: Tensor | None = None) -> tuple[Tensor, ...]:
        """Map ``(B, N, H, W)`` images to features of each plane, finest level first.

        Where the network takes optics, the last entry is what the decoder is told of them.
        """
        require_divisible(images, self.size_multiple)
        batch, inputs = images.shape[:2]
        if inputs > 1 and not self.fuses_planes:
            raise ValueError("this network takes one input plane only")
        modulations: list[Tensor] | None = None
        told: tuple[Tensor, ...] = ()
        if self.optics is not None:
            if optics is None:
                optics = images.new_zeros((batch, PARAMETERS))
            embedded, modulations = self.optics(optics)
            modulations = [x.repeat_interleave(inputs, dim=0) for x in modulations]
            told = (embedded,)
        levels = self.encoder(images.flatten(0, 1)[:, None], modulations)
        return (*self.decoder.lateral_features(levels), *told)

    def decode(
        self, features: tuple[Tensor, ...], dpm_um: Tensor, *, with_error: bool = False
    ) -> Refocused:
        """Refocus encoded fields by ``(B, N, T)`` or ``(B, N, T, H, W)`` µm."""
        if with_error and not self.has_error:
            raise ValueError("this network has no error output")
        told = features[-1] if self.optics is not None else None
        laterals = features[:-1] if self.optics is not None else features
        distances = dpm_um[..., None, None] if dpm_um.ndim == 3 else dpm_um
        shape = (dpm_um.shape[0], dpm_um.shape[2])
        x = self.decoder(laterals, distances, self.embedding, told)
        output = self.decoder.image(x)
        is_sinh = self.config.output == "sinh"
        if is_sinh:
            output = output.clamp(-LARGEST_ASINH, LARGEST_ASINH)
        image = torch.sinh(output) if is_sinh else output
        image = image.reshape(*shape, *image.shape[-2:])
        if not with_error:
            return Refocused(image)
        if self.training:  # one target of each field teaches enough
            x, output = x[:: shape[1]], output[:: shape[1]]
        error = self.decoder.error(x.detach())
        if is_sinh:  # what is a small error of the last layer's value is one of the intensity
            error = error * torch.cosh(output.detach())
        return Refocused(image, error.reshape(shape[0], -1, *image.shape[-2:]))


class OpticsEmbedding(nn.Module):
    """From blur parameters to what is added to the embedded distance, and to modulations.

    Starts as if it were not there, so that a network without it can be trained further.
    """

    def __init__(self, config: SwiftConfig) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(PARAMETERS, _OPTICS_CHANNELS),
            nn.SiLU(),  # rectified, its units died in training
            nn.Linear(_OPTICS_CHANNELS, _OPTICS_CHANNELS),
            nn.LayerNorm(_OPTICS_CHANNELS),
        )
        self.to_distance = nn.Linear(_OPTICS_CHANNELS, config.embedding_channels)
        self.to_levels = nn.ModuleList(
            nn.Linear(_OPTICS_CHANNELS, 2 * width) for width in config.encoder_channels
        )
        for layer in (self.to_distance, *self.to_levels):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, optics: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map ``(B, P)`` to ``(B, E, 1, 1)``, and scale and shift ``(B, 2C, 1, 1)`` per level."""
        x = self.layers(optics)
        levels = [to_level(x)[..., None, None] for to_level in self.to_levels]
        return self.to_distance(x)[..., None, None], levels


class Encoder(nn.Module):
    """Residual blocks at 1/2, 1/4, 1/8 … of the resolution, max pooling between them."""

    def __init__(self, config: SwiftConfig, image_channels: int = 1) -> None:
        super().__init__()
        channels = config.encoder_channels
        self.levels = nn.ModuleList(
            EncoderLevel(before, after, blocks)
            for before, after, blocks in zip(
                (4 * image_channels, *channels[:-1]), channels, config.blocks, strict=True
            )
        )

    def forward(self, image: Tensor, modulations: list[Tensor] | None = None) -> list[Tensor]:
        """Map images ``(B, C, H, W)`` to the features of each level, finest first."""
        x = F.pixel_unshuffle(image, 2)
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        features = []
        for index, level in enumerate(self.levels):
            x = x if index == 0 else F.max_pool2d(x, 2)
            x = level(x, None if modulations is None else modulations[index])
            features.append(x)
        return features


class EncoderLevel(nn.Sequential):
    """A convolution, whose output may be scaled and shifted, and residual blocks."""

    def __init__(self, before: int, after: int, blocks: int) -> None:
        super().__init__(
            nn.Conv2d(before, after, 3, padding=1),
            *(ResidualBlock(after) for _ in range(blocks)),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor, modulation: Tensor | None = None) -> Tensor:
        """Map ``(B, C, h, w)``; ``modulation`` is a scale and a shift, ``(B, 2C', 1, 1)``."""
        x = self[0](x)
        if modulation is not None:
            scale, shift = modulation.chunk(2, dim=1)
            x = torch.addcmul(shift, x, scale + 1)
        for layer in list(self)[1:]:
            x = layer(x)
        return x
