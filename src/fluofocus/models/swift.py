"""``swift``: encode the image once, decode any plane or surface from it cheaply.

The encoder sees only the image. A narrow decoder runs for each target, its
features scaled and shifted by an embedding of the digital propagation matrix. A
stack of 41 planes so costs one encoder and 41 small decoders, where Deep-Z (Wu
et al., Nature Methods 2019) runs its whole network 41 times.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from fluofocus.models.blocks import (
    DistanceEmbedding,
    Dpm,
    Modulation,
    ResidualBlock,
    as_dpm,
    require_divisible,
)

_LARGEST_ASINH = 9.0
"""Bounds a pixel to 4000 times the input's scale, so that no outlier can overflow."""

Width = Annotated[int, Field(ge=1, le=4096)]


class SwiftConfig(BaseModel):
    """Sizes of a `Swift` network; widths run from the finest to the coarsest level.

    ``output`` says what the last layer's values mean: with ``sinh`` they are the inverse
    hyperbolic sine of the intensity, near linear for faint and logarithmic for bright
    pixels, since a bead brought to focus from 10 µm away is hundreds of times brighter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder_channels: tuple[Width, ...] = (32, 64, 96, 128)
    decoder_channels: tuple[Width, ...] = (24, 32, 48, 64)
    residual_blocks: Annotated[int, Field(ge=1, le=16)] = 2
    distance_range_um: Annotated[float, Field(gt=0)] = 10.0
    distance_bumps: Annotated[int, Field(ge=2, le=256)] = 21
    embedding_channels: Width = 48
    output: Literal["sinh", "linear"] = "sinh"

    @model_validator(mode="after")
    def _check_levels(self) -> SwiftConfig:
        if len(self.encoder_channels) != len(self.decoder_channels) or not self.encoder_channels:
            raise ValueError("encoder_channels and decoder_channels need one width per level each")
        return self


class Swift(nn.Module):
    """The encode-once refocusing network; see `SwiftConfig` for its sizes."""

    def __init__(self, config: SwiftConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder_channels, config.residual_blocks)
        self.embedding = DistanceEmbedding(
            config.distance_range_um, config.distance_bumps, config.embedding_channels
        )
        self.decoder = Decoder(config)

    @property
    def size_multiple(self) -> int:
        """What height and width must be a multiple of."""
        return int(2 ** len(self.config.encoder_channels))

    @property
    def receptive_field_px(self) -> int:
        """How far away an input pixel can be and still change an output pixel."""
        levels = len(self.config.encoder_channels)
        radius = 0
        for level in range(levels):
            scale = 2 ** (level + 1)
            encoder_convolutions = 1 + 2 * self.config.residual_blocks
            decoder_convolutions = 2 + (level == 0)
            # each pooling or up-sampling can reach one pixel of the finer level further
            radius += scale * (encoder_convolutions + decoder_convolutions) + scale
        return radius

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map ``(B, 1, H, W)`` normalised images to features, finest level first."""
        require_divisible(image, self.size_multiple)
        features: tuple[Tensor, ...] = self.decoder.lateral_features(self.encoder(image))
        return features

    def decode(self, features: tuple[Tensor, ...], dpm_um: Tensor) -> Tensor:
        """Refocus encoded images by ``(B, T)`` or ``(B, T, H, W)`` µm; returns ``(B, T, H, W)``."""
        images = features[0].shape[0]
        targets = dpm_um.shape[1]
        if dpm_um.ndim == 2:
            distances = dpm_um.expand(images, targets).reshape(-1, 1, 1, 1)
        else:
            distances = dpm_um.reshape(-1, 1, *dpm_um.shape[2:])
        output: Tensor = self.decoder(features, distances, targets, self.embedding)
        if self.config.output == "sinh":
            output = torch.sinh(output.clamp(-_LARGEST_ASINH, _LARGEST_ASINH))
        return output.reshape(images, targets, *output.shape[-2:])

    def forward(self, image: Tensor, dpm_um: Dpm) -> Tensor:
        """Refocus ``(B, 1, H, W)`` images by a DPM in µm (see `as_dpm`)."""
        return self.decode(self.encode(image), as_dpm(dpm_um, image))


class Encoder(nn.Module):
    """Residual blocks at 1/2, 1/4, 1/8 … of the resolution, max pooling between them."""

    def __init__(self, channels: tuple[int, ...], residual_blocks: int) -> None:
        super().__init__()
        inputs = (4, *channels[:-1])
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1),
                *(ResidualBlock(after) for _ in range(residual_blocks)),
                nn.ReLU(inplace=True),
            )
            for before, after in zip(inputs, channels, strict=True)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map ``(B, 1, H, W)`` to the features of each level, finest first."""
        x = F.pixel_unshuffle(image, 2)
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        features = []
        for index, level in enumerate(self.levels):
            x = level(x if index == 0 else F.max_pool2d(x, 2))
            features.append(x)
        return features


class Decoder(nn.Module):
    """From the encoder's features and an embedded distance to the refocused image."""

    def __init__(self, config: SwiftConfig) -> None:
        super().__init__()
        encoder, decoder = config.encoder_channels, config.decoder_channels
        self.laterals = nn.ModuleList(
            nn.Conv2d(before, after, 1) for before, after in zip(encoder, decoder, strict=True)
        )
        coarser = (*decoder[1:], None)
        self.levels = nn.ModuleList(
            DecoderLevel(width, below, config.embedding_channels)
            for width, below in zip(decoder, coarser, strict=True)
        )
        self.to_pixels = nn.Conv2d(decoder[0], 4, 3, padding=1)

    def lateral_features(self, features: list[Tensor]) -> tuple[Tensor, ...]:
        """Narrow the encoder's features to the decoder's widths, once per image."""
        return tuple(lateral(x) for lateral, x in zip(self.laterals, features, strict=True))

    def forward(
        self,
        laterals: tuple[Tensor, ...],
        distances_um: Tensor,
        targets: int,
        embedding: DistanceEmbedding,
    ) -> Tensor:
        """Decode each image for each of its targets; returns ``(B * T, 1, H, W)``."""
        is_uniform = distances_um.shape[-1] == 1
        uniform = embedding(distances_um) if is_uniform else None
        x = laterals[-1]
        for index in reversed(range(len(self.levels))):
            embedded = uniform
            if embedded is None:
                embedded = embedding(F.avg_pool2d(distances_um, 2 ** (index + 1)))
            lateral = laterals[index]
            if lateral.shape[0] > 1 and targets > 1:
                lateral = lateral.repeat_interleave(targets, dim=0)
            x = self.levels[index](lateral, x, embedded)
        with torch.autocast(x.device.type, enabled=False):
            pixels = self.to_pixels(x.float())
        return F.pixel_shuffle(pixels, 2)


class DecoderLevel(nn.Module):
    """Merge modulated lateral features with what comes from the coarser level."""

    def __init__(self, channels: int, coarser_channels: int | None, embedding: int) -> None:
        super().__init__()
        self.lateral_modulation = Modulation(embedding, channels)
        self.from_coarser = (
            nn.Conv2d(coarser_channels, channels, 1) if coarser_channels is not None else None
        )
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.merged_modulation = Modulation(embedding, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, lateral: Tensor, coarser: Tensor, embedded: Tensor) -> Tensor:
        """Map ``(B or 1, C, h, w)`` laterals and ``(N, C', h/2, w/2)`` to ``(N, C, h, w)``.

        The coarsest level ignores ``coarser``.
        """
        x = self.lateral_modulation(lateral, embedded)
        if self.from_coarser is not None:
            # 1x1 convolutions commute with nearest up-sampling: do them at the small size
            x = x + F.interpolate(self.from_coarser(coarser), scale_factor=2, mode="nearest")
        y = self.first(F.relu(x))
        y = self.second(F.relu_(self.merged_modulation(y, embedded)))
        return F.relu(x + y)
