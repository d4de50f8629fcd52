"""Runs a training from its configuration to a model file."""

from __future__ import annotations

import itertools
import platform
import time
from datetime import timedelta
from pathlib import Path

import torch
from lightning import LightningDataModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader

from fluofocus.data.dataset import SimulatedPairs
from fluofocus.models import build_network
from fluofocus.optics.microscope import Microscope
from fluofocus.train.config import TrainConfig
from fluofocus.train.regression import RegressionTraining

_VALIDATION_SEED = 1_000_003


class SimulatedData(LightningDataModule):
    """Endless training pairs, and a fixed set of validation pairs from other seeds."""

    def __init__(self, config: TrainConfig, microscope: Microscope, *, workers: int) -> None:
        super().__init__()
        self.config = config
        self.microscope = microscope
        self.workers = workers
        self._validation: list[dict[str, Tensor]] | None = None

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Go on at the batch where the training stands."""
        trainer = self.trainer
        pairs = SimulatedPairs(
            self.microscope,
            self.config.simulation,
            batch_size=self.config.training.batch_size,
            seed=self.config.seed,
            start_batch=trainer.fit_loop.total_batch_idx + 1 if trainer is not None else 0,
            stream=trainer.global_rank if trainer is not None else 0,
            streams=trainer.world_size if trainer is not None else 1,
        )
        return DataLoader(
            pairs,
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=8 if self.workers else None,
        )

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return the same held-out pairs each time."""
        if self._validation is None:
            simulation = self.config.simulation.model_copy(
                update={
                    "microscopes_in_memory": min(8, self.config.simulation.microscopes_in_memory)
                }
            )
            pairs = SimulatedPairs(
                self.microscope,
                simulation,
                batch_size=self.config.training.batch_size,
                seed=self.config.seed + _VALIDATION_SEED,
            )
            batches = itertools.islice(pairs, self.config.validation_batches)
            self._validation = list(batches)
        return DataLoader(self._validation, batch_size=None)  # type: ignore[arg-type]


def run_training(
    config: TrainConfig,
    microscope: Microscope,
    *,
    resume: bool = False,
    devices: int = 1,
    strategy: str = "auto",
    accelerator: str = "auto",
    workers: int = 1,
) -> Path:
    """Train, and return the path of the model file."""
    seed_everything(config.seed, workers=True, verbose=False)
    directory = config.output_dir / config.name
    network = build_network(config.architecture, config.architecture_config)
    if config.start_from is not None:
        state = torch.load(config.start_from, map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = RegressionTraining(network, config.training)
    checkpoints: list[Callback] = [
        ModelCheckpoint(
            directory / "checkpoints",
            filename="last",
            train_time_interval=timedelta(minutes=config.checkpoint_minutes),
            enable_version_counter=False,
        ),
        ModelCheckpoint(
            directory / "checkpoints",
            filename="best",
            monitor="val_loss",
            mode="min",
            enable_version_counter=False,
        ),
        LearningRateMonitor("step"),
    ]
    if config.early_stopping_checks is not None:
        checkpoints.append(
            EarlyStopping("val_loss", patience=config.early_stopping_checks, mode="min")
        )
    trainer = Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy=strategy,
        precision=config.precision,
        max_steps=config.training.steps,
        gradient_clip_val=config.training.gradient_clip,
        val_check_interval=config.validate_every,
        limit_val_batches=config.validation_batches,
        num_sanity_val_steps=0,
        callbacks=checkpoints,
        logger=[CSVLogger(directory, name="log"), TensorBoardLogger(directory, name="tensorboard")],
        log_every_n_steps=20,
        enable_model_summary=False,
    )
    last = directory / "checkpoints" / "last.ckpt"
    data = SimulatedData(config, microscope, workers=workers)
    started = time.monotonic()
    trainer.fit(
        module, data, ckpt_path=str(last) if resume and last.exists() else None, weights_only=False
    )
    weights = directory / "weights.pt"
    torch.save(module.averaged.module.state_dict(), weights)
    print(f"{time.monotonic() - started:.0f} s on {platform.processor()}")
    return weights
