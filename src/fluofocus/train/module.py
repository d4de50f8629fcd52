"""What all training schemes share: a network, and how it is scored on held-out pairs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path

import torch
from lightning import LightningModule
from torch import Tensor, nn

from fluofocus.errors import FluoFocusError
from fluofocus.measure.image import METRICS
from fluofocus.models.blocks import nearest_um
from fluofocus.models.network import Refocused, RefocusingNetwork
from fluofocus.train.pictures import SAMPLES, draw_refocused

Batch = dict[str, Tensor]


def predict(network: RefocusingNetwork, batch: Batch) -> Refocused:
    """Refocus a batch, in float32, telling the network of the optics if it wants to know."""
    optics = batch["optics"] if network.takes_optics else None
    refocused = network.predict(batch["image"], batch["dpm_um"], optics)
    error, intermediate = (
        None if images is None else images.float()
        for images in (refocused.error, refocused.intermediate)
    )
    return Refocused(refocused.image.float(), error, intermediate)


def stages(refocused: Refocused, batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """Pair what each network in a row returned with what it should be, the last one first.

    Raises
    ------
    FluoFocusError
        If there are two networks, and targets for one only.
    """
    last = (refocused.image, batch["target"])
    if refocused.intermediate is None:
        return [last]
    if "refocused" not in batch:
        raise FluoFocusError(
            "This network learns to refocus, then to turn the result into another microscope's "
            "image: give it such targets (target_modality: confocal)."
        )
    return [last, (refocused.intermediate, batch["refocused"])]


class NetworkTraining(LightningModule, ABC):
    """Trains a network of any kind; the schemes add what they minimise."""

    updates_per_step = 1
    """Optimiser updates in one step, for all optimisers together."""
    gradient_clip: float | None = None
    """Norm to which Lightning clips gradients; it may not where a scheme updates by itself."""

    def __init__(self) -> None:
        super().__init__()
        self._held_out: list[dict[str, Tensor]] = []

    @property
    @abstractmethod
    def kept(self) -> nn.Module:
        """The network that is validated and ends up in the model file."""

    @abstractmethod
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Return scores of the kept network on a held-out batch, one per image.

        NaN for those that do not count.
        """

    @abstractmethod
    def draw_sample(self, batch: Batch, path: Path) -> None:
        """Draw what the kept network makes of the first fields of a held-out batch."""

    def on_validation_epoch_start(self) -> None:
        """Forget the scores of an earlier validation."""
        self._held_out.clear()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Score the kept network on held-out pairs."""
        self._held_out.append(self.score(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the scores over all pairs, of all devices."""
        for name in self._held_out[0]:
            own = torch.cat([scores[name].flatten() for scores in self._held_out])
            gathered = self.all_gather(own)
            assert isinstance(gathered, Tensor)
            values = gathered.flatten()
            score = values.nanmedian() if name == "gap_closed" else values.nanmean()
            self.log(f"val_{name}", score, sync_dist=True)


def require_finite(output: Tensor) -> None:
    """Raise `FluoFocusError` where a network's output is no longer finite."""
    if not torch.isfinite(output).all():
        raise FluoFocusError(
            "The training diverged: the network's output is no longer finite; "
            "start again with a lower learning rate."
        )


class RefocusingTraining(NetworkTraining):
    """Trains a refocusing network.

    Parameters
    ----------
    network
        What is trained.
    away_um
        Pairs closer than this do not count for the correlation: there is little to do.
    """

    def __init__(self, network: RefocusingNetwork, *, away_um: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.away_um = away_um

    @property
    def kept(self) -> RefocusingNetwork:
        """The network that is validated and ends up in the model file."""
        return self.network

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Return scores of the kept network on a held-out batch, one per image."""
        refocused = predict(self.kept, batch)
        require_finite(refocused.image)
        return self.scores(refocused, batch)

    def draw_sample(self, batch: Batch, path: Path) -> None:
        """Draw the first held-out inputs, each with its farthest target."""
        batch = {key: value[:SAMPLES] for key, value in batch.items()}
        farthest = nearest_um(batch["dpm_um"]).abs().argmax(dim=1)
        field = torch.arange(len(farthest))
        batch["dpm_um"] = batch["dpm_um"][field, :, farthest, None]
        batch["target"] = batch["target"][field, farthest, None]
        on_device = {key: value.to(self.device) for key, value in batch.items()}
        draw_refocused(batch, predict(self.kept, on_device).image.cpu(), path)

    def scores(self, refocused: Refocused, batch: Batch) -> dict[str, Tensor]:
        """Return scores of ``(B, T, H, W)`` output, one per image, NaN for those too close."""
        output, target = refocused.image, batch["target"]
        unrefocused = batch["image"][:, :1].expand_as(target)
        r_out, r_in = (  # of a constant image it is not defined: there is none
            METRICS["pearson"](image, target).nan_to_num(0.0) for image in (output, unrefocused)
        )
        close = nearest_um(batch["dpm_um"]).abs() <= self.away_um
        gap_closed = (r_out - r_in) / (1 - r_in).clamp(min=1e-3)
        return {
            "mae": METRICS["mae"](output, target),
            "pearson": r_out.masked_fill(close, math.nan),
            "gap_closed": gap_closed.masked_fill(close, math.nan),
        }
