"""The scheme ``regression``: from a noisy image to the clean target, step by step."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fluofocus.measure.image import METRICS
from fluofocus.train.config import RegressionConfig
from fluofocus.train.losses import refocusing_loss

Batch = dict[str, Tensor]


class RegressionTraining(LightningModule):
    """Trains a refocusing network; ``averaged`` holds what is validated and kept."""

    def __init__(self, network: nn.Module, config: RegressionConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.averaged = AveragedModel(
            network, multi_avg_fn=get_ema_multi_avg_fn(config.averaging_decay)
        )

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the loss of one batch."""
        output = self.network(batch["image"], batch["dpm_um"]).float()
        loss = refocusing_loss(output, batch["target"], self.config.loss)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Average the weights, with less memory while the training is young."""
        self.averaged.update_parameters(self.network)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Score the averaged network on held-out pairs."""
        output = self.averaged(batch["image"], batch["dpm_um"]).float()
        target = batch["target"]
        unrefocused = batch["image"].expand_as(target)
        away = batch["dpm_um"].abs() > 1
        r_out = METRICS["pearson"](output, target)[away]
        r_in = METRICS["pearson"](unrefocused, target)[away]
        size = batch["image"].shape[0]
        self.log("val_mae", METRICS["mae"](output, target).mean(), batch_size=size)
        loss = refocusing_loss(output, target, self.config.loss)
        self.log("val_loss", loss, prog_bar=True, batch_size=size)
        self.log("val_pearson", r_out.mean(), prog_bar=True, batch_size=size)
        gap = ((r_out - r_in) / (1 - r_in).clamp(min=1e-3)).median()
        self.log("val_gap_closed", gap, prog_bar=True, batch_size=size)

    def configure_optimizers(self) -> Any:
        """AdamW with warm-up, plateau and cosine."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate_factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _rate_factor(self, step: int) -> float:
        config = self.config
        warm = min(1.0, (step + 1) / (config.warmup_steps + 1))
        decay_steps = config.decay_share * config.steps
        if decay_steps == 0:
            return warm
        progress = (step - (config.steps - decay_steps)) / decay_steps
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))
