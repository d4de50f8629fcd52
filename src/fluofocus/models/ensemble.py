"""One network asked eight times: what it makes of an image's turns and mirror images."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fluofocus.models.blocks import Dpm, as_dpm
from fluofocus.prepare.turns import TURNS, turned, turned_back


class TurnEnsemble(nn.Module):
    """Averages a network's answers to the eight turns and mirror images of its input.

    The errors of the eight answers differ, so that part of them averages out, at eight
    times the cost (self-ensemble; Lim et al., CVPR Workshops 2017). Right only for
    networks trained on images without an orientation.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network  # any of `fluofocus.models.MODELS`

    @property
    def size_multiple(self) -> int:
        """What height and width must be a multiple of."""
        return int(self.network.size_multiple)

    @property
    def receptive_field_px(self) -> int:
        """How far away an input pixel can be and still change an output pixel."""
        return int(self.network.receptive_field_px)

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the features of all turns of ``(B, 1, H, W)`` images, one turn after another."""
        return tuple(
            feature for turn in TURNS for feature in self.network.encode(turned(image, *turn))
        )

    def decode(self, features: tuple[Tensor, ...], dpm_um: Tensor) -> Tensor:
        """Refocus by ``(B, T)`` or ``(B, T, H, W)`` µm and average; returns ``(B, T, H, W)``."""
        each = len(features) // len(TURNS)
        total: Tensor | None = None
        for index, turn in enumerate(TURNS):
            dpm = dpm_um if dpm_um.ndim == 2 else turned(dpm_um, *turn)
            answer = self.network.decode(features[index * each : (index + 1) * each], dpm)
            answer = turned_back(answer, *turn)
            total = answer if total is None else total + answer
        assert total is not None  # there are eight turns
        return total / len(TURNS)

    def forward(self, image: Tensor, dpm_um: Dpm) -> Tensor:
        """Refocus ``(B, 1, H, W)`` images by a DPM in µm (see `as_dpm`)."""
        return self.decode(self.encode(image), as_dpm(dpm_um, image))
