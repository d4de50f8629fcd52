"""What a user sees of a training while it runs: a progress bar and sample pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
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
from fluofocus.train.module import Batch, RefocusingTraining, nearest_um, predict

_LOSS_EVERY = 20
_SAMPLES = 3
_DPI = 72
_PANEL_INCHES = 1.6


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
        """Draw the first held-out inputs, each with its farthest target."""
        if trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, RefocusingTraining)
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, TrainingData)
        batch = {key: value[:_SAMPLES] for key, value in data.validation_batches()[0].items()}
        farthest = nearest_um(batch["dpm_um"]).argmax(dim=1)
        field = torch.arange(len(farthest))
        batch["dpm_um"] = batch["dpm_um"][field, :, farthest, None]
        batch["target"] = batch["target"][field, farthest, None]
        with torch.no_grad():
            on_device = {key: value.to(pl_module.device) for key, value in batch.items()}
            output = predict(pl_module.kept, on_device).image.cpu()
        self.folder.mkdir(parents=True, exist_ok=True)
        draw_samples(batch, output, self.folder / f"step-{steps_done(trainer):07d}.png")


def draw_samples(batch: Batch, output: torch.Tensor, path: Path) -> None:
    """Draw rows of input, output and target, a few kilobytes in all.

    Output and target share their grey values, the input has its own.

    Parameters
    ----------
    batch
        ``image`` ``(B, N, H, W)``, of which the first is drawn; ``dpm_um`` ``(B, N, 1)``;
        ``target`` ``(B, 1, H, W)``.
    output
        ``(B, 1, H, W)``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    rows = len(output)
    figure = Figure(
        figsize=(3 * _PANEL_INCHES, rows * (_PANEL_INCHES + 0.2)), dpi=_DPI, layout="constrained"
    )
    canvas = FigureCanvasAgg(figure)
    for row, axes in enumerate(figure.subplots(rows, 3, squeeze=False)):
        target = batch["target"][row, 0]
        dpm_um = float(batch["dpm_um"][row, 0, 0])
        names = ("input", f"refocused by {dpm_um:+.1f} µm", "target")
        panels = (batch["image"][row, 0], output[row, 0], target)
        for axis, name, panel in zip(axes, names, panels, strict=True):
            shown = panel if name == "input" else target
            low, high = float(shown.min()), float(shown.quantile(0.998))
            axis.imshow(panel.numpy(), cmap="gray", vmin=low, vmax=high, interpolation="none")
            axis.set_title(name, fontsize=7)
            axis.set_axis_off()
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    Image.fromarray(pixels).convert("L").save(path, optimize=True)
