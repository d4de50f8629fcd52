"""The sizes of a `Swift` network."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
