"""The scheme ``regression``: from a noisy image to the clean target, step by step."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from fluofocus.models.network import Refocused, RefocusingNetwork
from fluofocus.train.config import RegressionConfig
from fluofocus.train.losses import error_loss, refocusing_loss
from fluofocus.train.module import Batch, RefocusingTraining, predict, stages
from fluofocus.train.muon import Muon
from fluofocus.train.schedule import moving_average, rate_factor


class RegressionTraining(RefocusingTraining):
    """Trains a refocusing network; ``averaged`` holds what is validated and kept."""

    def __init__(
        self, network: RefocusingNetwork, config: RegressionConfig, *, away_um: float = 1.0
    ) -> None:
        super().__init__(network, away_um=away_um)
        self.config = config
        self.averaged = AveragedModel(network, multi_avg_fn=moving_average(config.averaging_decay))
        self.averaged.requires_grad_(False)
        if self.automatic_optimization:
            self.gradient_clip = config.gradient_clip

    @property
    def kept(self) -> RefocusingNetwork:
        """The network with averaged weights."""
        return cast(RefocusingNetwork, self.averaged.module)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the loss of one batch."""
        loss, _ = self.network_loss(batch)
        self.log("train_loss", loss)
        return loss

    def network_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what the network minimises on a batch, and its output."""
        refocused = predict(self.network, batch)
        return self._loss(refocused, batch), refocused.image

    def _loss(self, refocused: Refocused, batch: Batch) -> Tensor:
        weights = self.config.loss
        (output, target), *first = stages(refocused, batch)
        loss = refocusing_loss(output, target, weights)
        for intermediate, wanted in first:
            loss = loss + weights.refocused * refocusing_loss(intermediate, wanted, weights)
        if refocused.error is not None and weights.error > 0:
            known = refocused.error.shape[1]
            loss = loss + weights.error * error_loss(
                refocused.error, output[:, :known], target[:, :known]
            )
        return loss

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Update the weights and their average, both before a checkpoint can be written."""
        super().optimizer_step(*arguments, **options)
        self.averaged.update_parameters(self.network)

    def scores(self, refocused: Refocused, batch: Batch) -> dict[str, Tensor]:
        """Add the loss to the scores."""
        return super().scores(refocused, batch) | {"loss": self._loss(refocused, batch)}

    def configure_optimizers(self) -> Any:
        """Return the optimiser asked for, with warm-up, plateau and cosine."""
        optimizer = optimizer_of(self.network, self.config)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate_factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _rate_factor(self, step: int) -> float:
        config = self.config
        return rate_factor(
            step,
            steps=config.steps,
            warmup_steps=config.warmup_steps,
            decay_share=config.decay_share,
        )


def optimizer_of(network: RefocusingNetwork, config: RegressionConfig) -> torch.optim.Optimizer:
    """Return what updates a network's weights in the scheme ``regression``."""
    kind = Muon if config.optimizer == "muon" else torch.optim.AdamW
    return kind(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
