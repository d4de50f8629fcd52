"""The narrow half of `Swift`, run for every target: from features and distances to pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fluofocus.models.blocks import DistanceEmbedding, Modulation
from fluofocus.models.swift_config import SwiftConfig

ERROR_OUTPUT = "decoder.to_log_error."
"""What the names of the error output's weights begin with in a `Swift` network."""

_LARGEST_LOG_ERROR = 9.0
_ERROR_CHANNELS = 32


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
                lateral = repeated(lateral, targets)
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


def repeated(x: Tensor, times: int) -> Tensor:
    """Repeat each element of the batch, channels last, as convolutions on processors want them."""
    return x.permute(0, 2, 3, 1).repeat_interleave(times, dim=0).permute(0, 3, 1, 2)


def weighted(x: Tensor, score: Tensor, inputs: int, targets: int) -> Tensor:
    """Average ``(B * N * T, C, h, w)`` over the N inputs by the softmax of their scores."""
    x, score = (part.reshape(-1, inputs, targets, *part.shape[1:]) for part in (x, score))
    share = score.softmax(dim=1)
    merged = x[:, 0] * share[:, 0]
    for index in range(1, inputs):  # unlike a sum, this stays channels last
        merged = torch.addcmul(merged, x[:, index], share[:, index])
    return merged.flatten(0, 1)
