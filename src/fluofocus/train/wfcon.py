"""The scheme ``wfcon``: a network of stacks against a discriminator, with a perceptual loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from fluofocus.measure.image import METRICS
from fluofocus.models.discriminators import StackDiscriminator
from fluofocus.models.stack_network import StackNetwork
from fluofocus.models.wfcon import WfconConfig
from fluofocus.train.adversarial import update
from fluofocus.train.config import WfconTrainingConfig
from fluofocus.train.losses import LossConfig, refocusing_loss
from fluofocus.train.module import Batch, NetworkTraining, require_finite
from fluofocus.train.perceptual import PerceptualLoss
from fluofocus.train.pictures import SAMPLES, draw_restored
from fluofocus.train.schedule import moving_average, rate_factor

SCORES = ("mae", "rmse", "ssim", "pearson")


class WfconTraining(NetworkTraining):
    """The least-squares GAN of WFCON-Net (Li et al. 2022, equation 1).

    One iteration updates the generator, then the discriminator, on the same batch. A part whose
    weight is zero is not there: without discriminator and encoder it is the regression of a
    3D U-Net by its mean absolute error (as in CARE, Weigert et al. 2018).
    """

    automatic_optimization = False

    def __init__(self, network: StackNetwork, config: WfconTrainingConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.averaged = AveragedModel(network, multi_avg_fn=moving_average(config.averaging_decay))
        self.averaged.requires_grad_(False)
        self.discriminator: StackDiscriminator | None = None
        if config.adversarial_weight > 0:
            dimensions = network.config.dimensions if isinstance(network.config, WfconConfig) else 3
            self.discriminator = StackDiscriminator(config.discriminator_width, dimensions)
        self.updates_per_step = 1 if self.discriminator is None else 2
        self.perceptual: PerceptualLoss | None = None
        if config.perceptual_weight > 0:
            self.perceptual = PerceptualLoss(config.perceptual_encoder, config.perceptual_weights)

    @property
    def kept(self) -> StackNetwork:
        """The network with averaged weights."""
        return cast(StackNetwork, self.averaged.module)

    def training_step(self, batch: Batch, batch_index: int) -> None:
        """Do one iteration."""
        optimizers = self.optimizers()
        generator, *others = optimizers if isinstance(optimizers, list) else [optimizers]
        target = batch["target"]
        restored: list[Tensor] = []

        def generator_loss() -> Tensor:
            output = self.network(batch["input"]).float()
            restored.append(output.detach())
            return self.generator_loss(output, target)

        clip = self.config.gradient_clip
        self.log("train_loss", update(self, generator, generator_loss, clip=clip))
        self.averaged.update_parameters(self.network)
        self.lr_schedulers().step()  # type: ignore[union-attr]
        for discriminator in others:
            loss = update(
                self,
                discriminator,
                lambda: self.discriminator_loss(restored[0], target),
            )
            self.log("train_discriminator_loss", loss)

    def generator_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the first line of equation 1, and the relative loss where it counts, a scalar."""
        config = self.config
        parts = [config.l1_weight * (output - target).abs().mean()]
        if self.discriminator is not None:
            scores = self.discriminator(output).float()
            parts.append(config.adversarial_weight * (scores - 1).square().mean())
        if self.perceptual is not None:
            parts.append(config.perceptual_weight * self.perceptual(output, target))
        if config.relative_weight > 0:
            relative = refocusing_loss(output[:, 0], target[:, 0], LossConfig())
            parts.append(config.relative_weight * relative)
        return torch.stack(parts).sum()

    def discriminator_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the second line of equation 1, a scalar."""
        assert self.discriminator is not None  # it has an optimiser
        of_output: Tensor = self.discriminator(output).float()
        of_target: Tensor = self.discriminator(target).float()
        return of_output.square().mean() + (of_target - 1).square().mean()

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Return scores of the kept network, one per plane."""
        output = self.kept(batch["input"]).float()
        require_finite(output)
        scores = {name: METRICS[name](output, batch["target"]) for name in SCORES}
        return scores | {"pearson": scores["pearson"].nan_to_num(0.0)}  # of a constant plane

    def draw_sample(self, batch: Batch, path: Path) -> None:
        """Draw the middle planes and sections of the first held-out stacks."""
        recorded, wanted = (batch[key][:SAMPLES] for key in ("input", "target"))
        restored = self.kept(recorded.to(self.device)).float().cpu()
        draw_restored(recorded, restored, wanted, path)

    def configure_optimizers(self) -> Any:
        """Adam for each of the two; the generator's learning rate may fall at the end."""
        config = self.config
        generator = torch.optim.Adam(self.network.parameters(), lr=config.generator_learning_rate)
        scheduler = torch.optim.lr_scheduler.LambdaLR(generator, self._rate_factor)
        first = {
            "optimizer": generator,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }
        if self.discriminator is None:
            return first
        rate = config.discriminator_learning_rate
        return [
            first,
            {"optimizer": torch.optim.Adam(self.discriminator.parameters(), lr=rate)},
        ]

    def _rate_factor(self, step: int) -> float:
        config = self.config
        return rate_factor(step, steps=config.steps, warmup_steps=0, decay_share=config.decay_share)
