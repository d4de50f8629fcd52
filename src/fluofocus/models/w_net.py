"""``w_net``: two networks in a row, to the target plane and to another microscope's image.

W-Net (Yang et al., 2020, Fig. 1): the first network refocuses the image, as it would come
out of the same microscope; the second turns what it gets into a confocal image.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from fluofocus.models.deep_z import DeepZ, DeepZConfig
from fluofocus.models.filtered import Filtered, FilteredConfig
from fluofocus.models.network import Refocused, RefocusingNetwork
from fluofocus.models.swift import Swift
from fluofocus.models.swift_config import SwiftConfig
from fluofocus.optics.microscope import Microscope


class WNetConfig(BaseModel):
    """The two networks, each with the fields of ``swift``, of ``deep_z`` or of ``filtered``.

    With ``{width: paper}`` for both they are the U-Nets of the paper.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    refocusing: SwiftConfig | DeepZConfig | FilteredConfig = SwiftConfig()
    sharpening: SwiftConfig | DeepZConfig | FilteredConfig = SwiftConfig()


class WNet(RefocusingNetwork):
    """Refocuses, then sharpens; the refocused image comes along as ``intermediate``."""

    config: WNetConfig
    has_intermediate = True
    PARTS: ClassVar = ("refocusing", "sharpening")
    """The two networks, as the names of their weights begin."""

    def __init__(self, config: WNetConfig) -> None:
        super().__init__()
        self.config = config
        self.refocusing = _network(config.refocusing)
        self.sharpening = _network(config.sharpening)
        self.fuses_planes = self.refocusing.fuses_planes
        self.takes_optics = self.refocusing.takes_optics
        self.kept_bytes = self.refocusing.kept_bytes + self.sharpening.kept_bytes
        self.darken()

    def darken(self) -> None:
        """Make all output of the second network zero.

        Sparse spots are learnt from there; what another start shows in dark images costs so
        much that learning to show nothing would come first, and stay.
        """
        nn.init.zeros_(self.last_layer.weight)
        if self.last_layer.bias is not None:
            nn.init.zeros_(self.last_layer.bias)

    @property
    def last_layer(self) -> nn.Conv2d:
        """What makes pixels of the second network's last features."""
        return self.sharpening.last_layer

    @property
    def size_multiple(self) -> int:
        """What height and width must be a multiple of."""
        return max(self.sharpening.size_multiple, self.refocusing.size_multiple)

    @property
    def receptive_field_px(self) -> int:
        """How far away, in y or x, an input pixel can be and still change an output pixel."""
        return self.refocusing.receptive_field_px + self.sharpening.receptive_field_px

    def attune(self, microscope: Microscope) -> None:
        """Let both take over what they need of the microscope."""
        self.refocusing.attune(microscope)
        self.sharpening.attune(microscope)

    def encode(self, images: Tensor, optics: Tensor | None = None) -> tuple[Tensor, ...]:
        """Encode ``(B, N, H, W)`` images as the first network does."""
        return self.refocusing.encode(images, optics)

    def decode(
        self, features: tuple[Tensor, ...], dpm_um: Tensor, *, with_error: bool = False
    ) -> Refocused:
        """Refocus, then sharpen each target by itself: the second network refocuses by 0 µm."""
        if with_error:
            raise ValueError("this network has no error output")
        refocused = self.refocusing.decode(features, dpm_um).image
        seen = refocused.flatten(0, 1)[:, None]
        sharp = self.sharpening(seen, 0.0)
        return Refocused(sharp.reshape(refocused.shape), intermediate=refocused)


def _network(config: SwiftConfig | DeepZConfig | FilteredConfig) -> Swift | DeepZ | Filtered:
    if isinstance(config, DeepZConfig):
        return DeepZ(config)
    if isinstance(config, FilteredConfig):
        return Filtered(config)
    return Swift(config.model_copy(update={"error_output": False}))
