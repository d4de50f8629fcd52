"""Training against a discriminator: the scheme ``deep_z``, and fine-tuning for ``regression``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from fluofocus.models.discriminators import DeepZDiscriminator
from fluofocus.models.network import RefocusingNetwork
from fluofocus.train.config import AdversarialConfig, RegressionConfig
from fluofocus.train.losses import (
    deceiving_loss,
    deep_z_generator_loss,
    discriminator_loss,
)
from fluofocus.train.module import Batch, NetworkTraining, RefocusingTraining, predict, stages
from fluofocus.train.regression import RegressionTraining


class DeepZTraining(RefocusingTraining):
    """The least-squares GAN of Deep-Z (Wu et al., Nature Methods 2019, equations 4 and 5).

    One iteration updates the generator, then the discriminator, all on the same batch:
    400,000 iterations of 20 images are then the paper's "about 50 epochs" of 100,000
    pairs to within a factor of two, which they would not be if every update had its own.
    Of two networks in a row each has its own discriminator, and their losses add up, as in
    W-Net (Yang et al., 2020).
    """

    automatic_optimization = False

    def __init__(
        self, network: RefocusingNetwork, config: AdversarialConfig, *, away_um: float = 1.0
    ) -> None:
        super().__init__(network, away_um=away_um)
        self.config = config
        networks = 2 if network.has_intermediate else 1
        self.discriminators = nn.ModuleList(
            DeepZDiscriminator(config.discriminator_width) for _ in range(networks)
        )
        self.updates_per_step = config.generator_updates + config.discriminator_updates

    def training_step(self, batch: Batch, batch_index: int) -> None:
        """Do one iteration."""
        generator, discriminator = cast(list[LightningOptimizer], self.optimizers())
        for _ in range(self.config.generator_updates):
            generator_loss = update(self, generator, lambda: self._generator_loss(batch))
        with torch.no_grad():
            outputs = stages(predict(self.network, batch), batch)
        for _ in range(self.config.discriminator_updates):
            verdict_loss = update(
                self, discriminator, lambda: self._over_networks(outputs, _verdict_loss)
            )
        self.log("train_loss", generator_loss)
        self.log("train_discriminator_loss", verdict_loss)

    def _generator_loss(self, batch: Batch) -> Tensor:
        return self._over_networks(stages(predict(self.network, batch), batch), self._one_generator)

    def _one_generator(self, discriminator: nn.Module, output: Tensor, target: Tensor) -> Tensor:
        return deep_z_generator_loss(
            discriminator(output).float(),
            output,
            target,
            alpha=self.config.alpha,
            mae_reading=self.config.mae_reading,
        )

    def _over_networks(
        self,
        outputs: list[tuple[Tensor, Tensor]],
        loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Add up a loss over the networks in a row, each with its own discriminator."""
        losses = [
            loss(discriminator, _images(output), _images(target))
            for discriminator, (output, target) in zip(self.discriminators, outputs, strict=True)
        ]
        return torch.stack(losses).sum()

    def configure_optimizers(self) -> Any:
        """Adam for each of the two."""
        config = self.config
        return [
            torch.optim.Adam(self.network.parameters(), lr=config.generator_learning_rate),
            torch.optim.Adam(
                self.discriminators.parameters(), lr=config.discriminator_learning_rate
            ),
        ]


class AdversarialRegressionTraining(RegressionTraining):
    """Regression with a discriminator's verdict added to its loss.

    The discriminator, Deep-Z's at compact width, sees the inverse hyperbolic sine of the
    images: a bead in focus can be hundreds of times brighter than the input's scale.
    """

    automatic_optimization = False
    updates_per_step = 2

    def __init__(
        self, network: RefocusingNetwork, config: RegressionConfig, *, away_um: float = 1.0
    ) -> None:
        super().__init__(network, config, away_um=away_um)
        self.discriminator = DeepZDiscriminator("compact")

    def training_step(self, batch: Batch, batch_index: int) -> None:  # type: ignore[override]
        """Update the network, its average, and the discriminator on one batch."""
        generator, discriminator = cast(list[LightningOptimizer], self.optimizers())
        refocused: list[Tensor] = []

        def network_loss() -> Tensor:
            loss, output = self.network_loss(batch)
            refocused.append(output.detach())
            return loss + self.config.adversarial_weight * deceiving_loss(self._verdict(output))

        loss = update(self, generator, network_loss, clip=self.config.gradient_clip)
        self.averaged.update_parameters(self.network)
        self.lr_schedulers().step()  # type: ignore[union-attr]
        verdict_loss = update(
            self,
            discriminator,
            lambda: discriminator_loss(self._verdict(refocused[0]), self._verdict(batch["target"])),
        )
        self.log("train_loss", loss)
        self.log("train_discriminator_loss", verdict_loss)

    def _verdict(self, images: Tensor) -> Tensor:
        verdict: Tensor = self.discriminator(_images(torch.asinh(images)))
        return verdict.float()

    def configure_optimizers(self) -> Any:
        """Return the network's optimiser with its schedule, and Adam for the discriminator."""
        verdict = torch.optim.Adam(
            self.discriminator.parameters(), lr=self.config.discriminator_learning_rate
        )
        return [super().configure_optimizers(), {"optimizer": verdict}]


def update(
    training: NetworkTraining,
    optimizer: LightningOptimizer,
    loss: Callable[[], Tensor],
    *,
    clip: float | None = None,
) -> Tensor:
    """Do one update of what an optimiser holds, all else frozen; return the loss before it."""
    training.toggle_optimizer(optimizer)
    value = loss()
    optimizer.zero_grad()
    training.manual_backward(value)
    if clip is not None:
        training.clip_gradients(optimizer.optimizer, clip, "norm")
    optimizer.step()
    training.untoggle_optimizer(optimizer)
    return value.detach()


def _verdict_loss(discriminator: nn.Module, output: Tensor, target: Tensor) -> Tensor:
    return discriminator_loss(discriminator(output), discriminator(target))


def _images(targets: Tensor) -> Tensor:
    """Take all inputs' targets as images of their own: ``(B, T, H, W)`` to ``(N, 1, H, W)``."""
    return targets.flatten(0, 1)[:, None]
