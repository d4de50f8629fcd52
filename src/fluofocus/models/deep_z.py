"""``deep_z``: the generator of Deep-Z as its Methods describe it (Wu et al., Nat. Methods 2019).

A U-Net that takes the normalised image and the digital propagation matrix (DPM) as
two channels.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from fluofocus.models.blocks import require_divisible
from fluofocus.models.network import Refocused, RefocusingNetwork
from fluofocus.models.u_net import SIZE_MULTIPLE, UNet, Width, unet_receptive_field_px

DPM_SCALE_UM = 10.0
"""DPM entries are divided by this, so that they span about as much as the image."""


class DeepZConfig(BaseModel):
    """Size of a `DeepZ` network: the paper's channel numbers or a quarter of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: Width = "paper"


class DeepZ(RefocusingNetwork):
    """The Deep-Z generator: 17 million parameters at paper width."""

    config: DeepZConfig

    def __init__(self, config: DeepZConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = UNet(2, config.width)

    @property
    def last_layer(self) -> nn.Conv2d:
        """What makes pixels of the last features."""
        return self.generator.to_image

    @property
    def size_multiple(self) -> int:
        """What height and width must be a multiple of: 16."""
        return SIZE_MULTIPLE

    @property
    def receptive_field_px(self) -> int:
        """How far away, in y or x, an input pixel can be and still change an output pixel."""
        return unet_receptive_field_px()

    def encode(self, images: Tensor, optics: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the ``(B, 1, H, W)`` normalised images: Deep-Z sees them with the DPM only."""
        require_divisible(images, self.size_multiple)
        if images.shape[1] > 1:
            raise ValueError("this network takes one input plane only")
        return (images,)

    def decode(
        self, features: tuple[Tensor, ...], dpm_um: Tensor, *, with_error: bool = False
    ) -> Refocused:
        """Refocus images by ``(B, 1, T)`` or ``(B, 1, T, H, W)`` µm.

        The whole network runs for every target, all targets in one batch.
        """
        if with_error:
            raise ValueError("this network has no error output")
        (image,) = features
        batch, _, height, width = image.shape
        dpm = dpm_um[:, 0, ..., None, None] if dpm_um.ndim == 3 else dpm_um[:, 0]
        dpm = (dpm / DPM_SCALE_UM).expand(batch, -1, height, width)
        x = torch.stack([image.expand_as(dpm), dpm], dim=2).flatten(0, 1)
        return Refocused(self.generator(x).reshape(dpm.shape))
