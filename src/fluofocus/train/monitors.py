"""What a user sees of a training while it runs: a progress bar and sample pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fluofocus.train.data import TrainingData
from fluofocus.train.module import NetworkTraining

_LOSS_EVERY = 20


def steps_done(trainer: Trainer) -> int:
    """Return how many batches a training has been through, each start included."""
    return int(trainer.fit_loop.total_batch_idx) + 1


class ProgressBar(Callback):
    """A bar with the time left on stderr, and a line for each validation."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=steps)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar, at the step where the training goes on."""
        if trainer.is_global_zero:
            self._progress.update(self._task, completed=steps_done(trainer))
            self._progress.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar; show the loss now and then, since reading it waits for a GPU."""
        done = steps_done(trainer)
        self._progress.update(self._task, completed=done)
        if done % _LOSS_EVERY == 0 and "train_loss" in trainer.callback_metrics:
            loss = float(trainer.callback_metrics["train_loss"])
            self._progress.update(self._task, description=f"loss {loss:.3g}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a line with the scores."""
        if trainer.state.fn == "fit" and trainer.is_global_zero:
            scores = "  ".join(
                f"{name.removeprefix('val_')} {float(value):.4g}"
                for name, value in sorted(trainer.callback_metrics.items())
                if name.startswith("val_")
            )
            self._progress.console.print(
                f"step {steps_done(trainer)} of {self.steps}: {scores}", highlight=False
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()


class SamplePictures(Callback):
    """A small PNG per validation: some held-out inputs, what comes out, and the truth."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw what the kept network makes of the first held-out pairs."""
        if trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, NetworkTraining)
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, TrainingData)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{steps_done(trainer):07d}.png"
        with torch.no_grad():
            pl_module.draw_sample(data.validation_batches()[0], path)
