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

from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from fluofocus.models.blocks import (
    DistanceEmbedding,
    Modulation,
    ResidualBlock,
    require_divisible,
)
from fluofocus.models.network import Refocused, RefocusingNetwork
from fluofocus.optics.description import PARAMETERS

_LARGEST_ASINH = 9.0
"""Bounds a pixel to 4000 times the input's scale, so that no outlier can overflow."""

_LARGEST_LOG_ERROR = 9.0
_OPTICS_CHANNELS = 64
_ERROR_CHANNELS = 32

Width = Annotated[int, Field(ge=1, le=4096)]
Count = Annotated[int, Field(ge=1, le=16)]


SIZES: dict[str, dict[str, Any]] = {
    "small": {
        "encoder_channels": (16, 32, 48, 64),
        "decoder_channels": (12, 16, 24, 32),
        "residual_blocks": 1,
    },
    "base": {},
    "large": {
        "encoder_channels": (48, 96, 144, 192),
        "decoder_channels": (36, 48, 72, 96),
        "residual_blocks": 2,
    },
}
"""Widths and depths that ``size`` in a configuration stands for."""


class SwiftConfig(BaseModel):
    """Sizes of a `Swift` network; widths run from the finest to the coarsest level.

    In place of widths and depths a configuration can name a ``size``: small, base or large.

    ``residual_blocks`` are those of every level of the encoder, or of each. ``output``
    says what the last layer's values mean: with ``sinh`` they are the inverse
    hyperbolic sine of the intensity, near linear for faint and logarithmic for bright
    pixels, since a bead brought to focus from 10 µm away is hundreds of times brighter.
    The error output learns from the decoder's features without changing them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder_channels: tuple[Width, ...] = (32, 64, 96, 128)
    decoder_channels: tuple[Width, ...] = (24, 32, 48, 64)
    residual_blocks: Count | tuple[Count, ...] = 2
    distance_range_um: Annotated[float, Field(gt=0)] = 10.0
    distance_bumps: Annotated[int, Field(ge=2, le=256)] = 21
    embedding_channels: Width = 48
    output: Literal["sinh", "linear"] = "sinh"
    error_output: bool = True
    fuses_planes: bool = True
    takes_optics: bool = True

    @model_validator(mode="before")
    @classmethod
    def _expand_size(cls, content: Any) -> Any:
        if not isinstance(content, dict) or "size" not in content:
            return content
        size = content["size"]
        if size not in SIZES:
            raise ValueError(f"size must be one of {', '.join(SIZES)}, not {size!r}")
        rest = {key: value for key, value in content.items() if key != "size"}
        return {**SIZES[size], **rest}

    @model_validator(mode="after")
    def _check_levels(self) -> SwiftConfig:
        if len(self.encoder_channels) != len(self.decoder_channels) or not self.encoder_channels:
            raise ValueError("encoder_channels and decoder_channels need one width per level each")
        if len(self.blocks) != len(self.encoder_channels):
            raise ValueError("residual_blocks needs one number, or one per level")
        return self

    @property
    def blocks(self) -> tuple[int, ...]:
        """Residual blocks of each level of the encoder, finest first."""
        if isinstance(self.residual_blocks, int):
            return (self.residual_blocks,) * len(self.encoder_channels)
        return self.residual_blocks


class Swift(RefocusingNetwork):
    """The encode-once refocusing network; see `SwiftConfig` for its sizes."""

    config: SwiftConfig

    def __init__(self, config: SwiftConfig) -> None:
        super().__init__()
        self.config = config
        self.has_error = config.error_output
        self.fuses_planes = config.fuses_planes
        self.takes_optics = config.takes_optics
        self.encoder = Encoder(config)
        self.embedding = DistanceEmbedding(
            config.distance_range_um, config.distance_bumps, config.embedding_channels
        )
        self.decoder = Decoder(config)
        self.optics = OpticsEmbedding(config) if config.takes_optics else None

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
            output = output.clamp(-_LARGEST_ASINH, _LARGEST_ASINH)
        image = torch.sinh(output) if is_sinh else output
        image = image.reshape(*shape, *image.shape[-2:])
        if not with_error:
            return Refocused(image)
        error = self.decoder.error(x.detach())
        if is_sinh:  # what is a small error of the last layer's value is one of the intensity
            error = error * torch.cosh(output.detach())
        return Refocused(image, error.reshape(image.shape))


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

    def __init__(self, config: SwiftConfig) -> None:
        super().__init__()
        channels = config.encoder_channels
        self.levels = nn.ModuleList(
            EncoderLevel(before, after, blocks)
            for before, after, blocks in zip(
                (4, *channels[:-1]), channels, config.blocks, strict=True
            )
        )

    def forward(self, image: Tensor, modulations: list[Tensor] | None = None) -> list[Tensor]:
        """Map ``(B, 1, H, W)`` to the features of each level, finest first."""
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
            DecoderLevel(width, below, config)
            for width, below in zip(decoder, coarser, strict=True)
        )
        self.distance_score = (
            nn.Conv2d(config.embedding_channels, 1, 1) if config.fuses_planes else None
        )
        self.to_pixels = nn.Conv2d(decoder[0], 4, 3, padding=1)
        self.to_log_error = (
            nn.Sequential(
                nn.Conv2d(decoder[0], _ERROR_CHANNELS, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(_ERROR_CHANNELS, 4, 3, padding=1),
            )
            if config.error_output
            else None
        )

    def lateral_features(self, features: list[Tensor]) -> tuple[Tensor, ...]:
        """Narrow the encoder's features to the decoder's widths, once per image."""
        return tuple(lateral(x) for lateral, x in zip(self.laterals, features, strict=True))

    def forward(
        self,
        laterals: tuple[Tensor, ...],
        distances_um: Tensor,
        embedding: DistanceEmbedding,
        told: Tensor | None,
    ) -> Tensor:
        """Decode each field for each of its targets.

        Parameters
        ----------
        laterals
            Per level ``(B * N, C, h, w)``.
        distances_um
            ``(B, N, T, 1, 1)`` or ``(B, N, T, H, W)``.
        embedding
            Embeds distances.
        told
            ``(B, E, 1, 1)``, added to each embedded distance.

        Returns
        -------
        Tensor
            Features ``(B * T, C, H / 2, W / 2)``.
        """
        inputs, targets = distances_um.shape[1:3]
        flat = distances_um.flatten(0, 2)[:, None]
        is_uniform = flat.shape[-1] == 1
        if told is not None:
            told = told.repeat_interleave(inputs * targets, dim=0)
        x = laterals[-1]
        embedded = merged = None
        for index in reversed(range(len(self.levels))):
            if embedded is None or not is_uniform:
                pooled = flat if is_uniform else F.avg_pool2d(flat, 2 ** (index + 1))
                embedded = embedding(pooled)
                if told is not None:
                    embedded = embedded + told
                merged = embedded
                if inputs > 1:
                    assert self.distance_score is not None  # encode() sees to it
                    score = self.distance_score(embedded)
                    merged = weighted(embedded, score, inputs, targets)
            assert merged is not None  # set with embedded
            lateral = laterals[index]
            if lateral.shape[0] > 1 and targets > 1:
                lateral = lateral.repeat_interleave(targets, dim=0)
            x = self.levels[index](lateral, x, embedded, merged, inputs, targets)
        return x

    def image(self, x: Tensor) -> Tensor:
        """Turn decoded features into pixels, ``(B * T, 1, H, W)``."""
        with torch.autocast(x.device.type, enabled=False):
            return F.pixel_shuffle(self.to_pixels(x.float()), 2)

    def error(self, x: Tensor) -> Tensor:
        """Turn decoded features into the expected absolute error of the last layer's values."""
        assert self.to_log_error is not None  # decode() sees to it
        with torch.autocast(x.device.type, enabled=False):
            log_error = F.pixel_shuffle(self.to_log_error(x.float()), 2)
            return torch.exp(log_error.clamp(-_LARGEST_LOG_ERROR, _LARGEST_LOG_ERROR))


class DecoderLevel(nn.Module):
    """Merge modulated lateral features with what comes from the coarser level."""

    def __init__(self, channels: int, coarser_channels: int | None, config: SwiftConfig) -> None:
        super().__init__()
        self.lateral_modulation = Modulation(config.embedding_channels, channels)
        self.score = nn.Conv2d(channels, 1, 1) if config.fuses_planes else None
        self.from_coarser = (
            nn.Conv2d(coarser_channels, channels, 1) if coarser_channels is not None else None
        )
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.merged_modulation = Modulation(config.embedding_channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(
        self,
        lateral: Tensor,
        coarser: Tensor,
        embedded: Tensor,
        merged: Tensor,
        inputs: int,
        targets: int,
    ) -> Tensor:
        """Map laterals and ``(B * T, C', h/2, w/2)`` of the coarser level to ``(B * T, C, h, w)``.

        Laterals are ``(B * N * T, C, h, w)``, or ``(1, C, h, w)`` for all targets, and are
        modulated by ``embedded``; what they are merged to, by ``merged``. The coarsest
        level ignores ``coarser``.
        """
        x = self.lateral_modulation(lateral, embedded)
        if inputs > 1:
            assert self.score is not None  # encode() sees to it
            x = weighted(x, self.score(x), inputs, targets)
        if self.from_coarser is not None:
            # 1x1 convolutions commute with nearest up-sampling: do them at the small size
            x = x + F.interpolate(self.from_coarser(coarser), scale_factor=2, mode="nearest")
        y = self.first(F.relu(x))
        y = self.second(F.relu_(self.merged_modulation(y, merged)))
        return F.relu(x + y)


def weighted(x: Tensor, score: Tensor, inputs: int, targets: int) -> Tensor:
    """Average ``(B * N * T, C, h, w)`` over the N inputs by the softmax of their scores."""
    x, score = (part.reshape(-1, inputs, targets, *part.shape[1:]) for part in (x, score))
    return (x * score.softmax(dim=1)).sum(dim=1).flatten(0, 1)
