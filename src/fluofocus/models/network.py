"""What every refocusing network can do, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from pydantic import BaseModel
from torch import Tensor, nn

from fluofocus.models.blocks import Dpm, as_dpm
from fluofocus.optics.microscope import Microscope


class Refocused(NamedTuple):
    """Refocused images ``(B, T, H, W)`` and, where asked for, their expected absolute error.

    In training the error may be that of the first target only, ``(B, 1, H, W)``.
    Of two networks in a row, ``intermediate`` is what the first one gives the second.
    """

    image: Tensor
    error: Tensor | None = None
    intermediate: Tensor | None = None


class RefocusingNetwork(nn.Module, ABC):
    """A network that encodes a field's input planes and decodes target planes from them."""

    config: BaseModel
    """Its sizes."""
    has_error = False
    """Whether it can also tell the expected absolute error of every pixel."""
    fuses_planes = False
    """Whether it takes more than one input plane of a field."""
    has_intermediate = False
    """Whether it is two networks in a row, and also returns what the first one refocuses."""
    takes_optics = False
    """Whether it can be told how the microscope blurs (see `fluofocus.optics.description`)."""

    kept_bytes = 0
    """What it keeps in memory from one image to the next, at most, beside its weights."""

    @property
    @abstractmethod
    def size_multiple(self) -> int:
        """What height and width must be a multiple of."""

    @property
    @abstractmethod
    def receptive_field_px(self) -> int:
        """How far away, in y or x, an input pixel can be and still change an output pixel."""

    def attune(self, microscope: Microscope) -> None:
        """Take over what the network needs of the microscope that it is to be trained for."""

    @abstractmethod
    def encode(self, images: Tensor, optics: Tensor | None = None) -> tuple[Tensor, ...]:
        """Map ``(B, N, H, W)`` normalised images to what `decode` needs of them.

        ``optics`` are ``(B, P)`` blur parameters; without them the network works with
        an average over the microscopes that it was trained on.
        """

    @abstractmethod
    def decode(
        self, features: tuple[Tensor, ...], dpm_um: Tensor, *, with_error: bool = False
    ) -> Refocused:
        """Refocus encoded fields by ``(B, N, T)`` or ``(B, N, T, H, W)`` µm.

        Element ``n`` is the distance of the target from input plane ``n``.
        """

    def predict(self, images: Tensor, dpm_um: Dpm, optics: Tensor | None = None) -> Refocused:
        """Refocus ``(B, N, H, W)`` images by a DPM in µm (see `as_dpm`), with errors if it can."""
        features = self.encode(images, optics)
        return self.decode(features, as_dpm(dpm_um, images), with_error=self.has_error)

    def forward(self, images: Tensor, dpm_um: Dpm, optics: Tensor | None = None) -> Tensor:
        """Refocus ``(B, N, H, W)`` images by a DPM in µm (see `as_dpm`); ``(B, T, H, W)``."""
        return self.decode(self.encode(images, optics), as_dpm(dpm_um, images)).image
