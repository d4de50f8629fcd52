"""The images that are written for each channel of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fluofocus.models.blocks import nearest_um
from fluofocus.models.bundle import ErrorCalibration
from fluofocus.models.network import Refocused
from fluofocus.prepare.normalise import Normalisation

INTERMEDIATE = "intermediate"
ERROR = "expected absolute error"
"""How the channels are told from the refocused ones, after whose names this stands."""


@dataclass(frozen=True)
class Outputs:
    """The refocused image and what goes with it, in the order of the result's channels.

    Attributes
    ----------
    intermediate
        Whether the image between two networks in a row does.
    error
        How the expected error is calibrated, if it does.
    """

    intermediate: bool = False
    error: ErrorCalibration | None = None

    @property
    def labels(self) -> list[str]:
        """What each adds to the name of a channel; the refocused image, nothing."""
        given = [INTERMEDIATE] * self.intermediate + [ERROR] * (self.error is not None)
        return ["", *given]

    def channel_names(self, names: list[str] | None, channels: int) -> list[str] | None:
        """Return the names of the result's channels, from those of the input's, if it has any."""
        if self.labels == [""]:
            return names
        names = names or ["refocused"] * channels
        return [f"{name}, {label}" if label else name for label in self.labels for name in names]

    def in_counts(
        self,
        refocused: Refocused,
        dpm_um: Tensor,
        normalisation: Normalisation,
        part: tuple[Any, ...],
    ) -> list[Tensor]:
        """Return the part that is written of each, on the CPU.

        ``dpm_um`` are the distances that were refocused by, ``(B, N, T)`` or ``(B, N, T, H, W)``.
        """
        images = [refocused.image]
        if self.intermediate and refocused.intermediate is not None:
            images.append(refocused.intermediate)
        results = [normalisation.invert(image[part].float().cpu()) for image in images]
        if self.error is not None and refocused.error is not None:
            distance_um = nearest_um(dpm_um)
            distance_um = distance_um[..., None, None] if distance_um.ndim == 2 else distance_um
            scale = torch.from_numpy(self.error.scale_at(distance_um.numpy()))
            error = refocused.error.float().cpu() * scale
            results.append(error[part] * normalisation.scale)
        return results
