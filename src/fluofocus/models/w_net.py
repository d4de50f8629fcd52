"""``w_net``: two networks in a row, to the target plane and to another microscope's image.

W-Net (Yang et al., 2020, Fig. 1): the first network refocuses the image, as it would come
out of the same microscope; the second turns what it gets into a confocal image.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from fluofocus.models.deep_z import DeepZ, DeepZConfig
from fluofocus.models.network import Refocused, RefocusingNetwork
from fluofocus.models.swift import LARGEST_ASINH, Swift
from fluofocus.models.swift_config import SwiftConfig
from fluofocus.models.u_net import SIZE_MULTIPLE, UNet, Width, unet_receptive_field_px


class WNetConfig(BaseModel):
    """The two networks: one of the others, which refocuses, and a U-Net.

    ``refocusing`` has the fields of ``swift`` or of ``deep_z``. ``width`` is that of the
    second network's U-Net. With the ``intensity`` ``asinh`` it works on the inverse
    hyperbolic sine of intensities, since beads in focus can be hundreds of times brighter
    than the input; ``linear`` is as in the papers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    refocusing: SwiftConfig | DeepZConfig = SwiftConfig()
    width: Width = "compact"
    intensity: Literal["asinh", "linear"] = "asinh"


class WNet(RefocusingNetwork):
    """Refocuses, then sharpens; the refocused image comes along as ``intermediate``."""

    config: WNetConfig
    has_intermediate = True

    def __init__(self, config: WNetConfig) -> None:
        super().__init__()
        self.config = config
        self.refocusing: RefocusingNetwork
        if isinstance(config.refocusing, SwiftConfig):
            self.refocusing = Swift(config.refocusing.model_copy(update={"error_output": False}))
        else:
            self.refocusing = DeepZ(config.refocusing)
        self.sharpening = UNet(1, config.width)
        self.fuses_planes = self.refocusing.fuses_planes
        self.takes_optics = self.refocusing.takes_optics

    @property
    def size_multiple(self) -> int:
        """What height and width must be a multiple of."""
        return max(SIZE_MULTIPLE, self.refocusing.size_multiple)

    @property
    def receptive_field_px(self) -> int:
        """How far away, in y or x, an input pixel can be and still change an output pixel."""
        return self.refocusing.receptive_field_px + unet_receptive_field_px()

    def encode(self, images: Tensor, optics: Tensor | None = None) -> tuple[Tensor, ...]:
        """Encode ``(B, N, H, W)`` images as the first network does."""
        return self.refocusing.encode(images, optics)

    def decode(
        self, features: tuple[Tensor, ...], dpm_um: Tensor, *, with_error: bool = False
    ) -> Refocused:
        """Refocus, then sharpen each target by itself."""
        if with_error:
            raise ValueError("this network has no error output")
        refocused = self.refocusing.decode(features, dpm_um).image
        seen = refocused.flatten(0, 1)[:, None]
        if self.config.intensity == "asinh":
            sharp = self.sharpening(torch.asinh(seen))
            sharp = torch.sinh(sharp.clamp(-LARGEST_ASINH, LARGEST_ASINH))
        else:
            sharp = self.sharpening(seen)
        return Refocused(sharp.reshape(refocused.shape), intermediate=refocused)
