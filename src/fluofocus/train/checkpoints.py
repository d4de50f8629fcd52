"""Checkpoints that survive a kill, and what can be read from them."""

from __future__ import annotations

import io
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from fluofocus.errors import FluoFocusError

KEPT_PREFIXES = ("averaged.module.", "network.")
"""What the names of a network's weights begin with in a checkpoint, the better ones first."""

_DAMAGED = (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError)
"""What reading a file raises that is no whole checkpoint."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there when it is whole.

    Lightning goes through the system's temporary folder, which can be another disk, from
    where moving is copying: a kill would leave half a file.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Raises
        ------
        FluoFocusError
            If it cannot be written; an older one of the same name is left as it was.
        """
        target = Path(path)
        partial = target.with_name(f"{target.name}.partial")
        content = io.BytesIO()
        torch.save(checkpoint, content)  # into a file, it would not say that a disk is full
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise FluoFocusError(
                f"Cannot write checkpoint {target}: {error.strerror or error}; "
                "make room and go on with --resume."
            ) from error

    def load_checkpoint(self, path: str | Path, *options: Any, **more: Any) -> Any:
        """Read the checkpoint that a training is resumed from.

        Raises
        ------
        FluoFocusError
            If it is damaged.
        """
        try:
            return super().load_checkpoint(path, *options, **more)
        except _DAMAGED as error:
            raise FluoFocusError(
                f"Checkpoint {path} is damaged: delete it to train from the beginning, or train "
                f"under another name with start_from: {Path(path).with_name('best.ckpt')}."
            ) from error


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best network so far, also in a folder that has moved since the last step."""

    @property
    def state_key(self) -> str:
        """Under which its state is in checkpoints: that of Lightning's own class."""
        options = super().state_key.removeprefix(type(self).__qualname__)
        return ModelCheckpoint.__qualname__ + options

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what was best, and look for its files where they are now."""
        assert self.dirpath is not None
        folder = Path(self.dirpath)

        def here(path: str) -> str:
            return path and str(folder / Path(path).name)

        moved = {"dirpath": self.dirpath}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            moved[name] = here(state_dict[name])
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"best_k_models": best})


class InterruptedTrainingError(Exception):
    """Ctrl-C was pressed or SIGTERM came, and the training's state has been saved."""


class LastCheckpoint(Checkpoint):
    """Saves the training's state every few minutes, at its end, and on Ctrl-C or SIGTERM.

    Only at places from which it goes on exactly: after a step, or, where a validation
    follows the step, after that. It belongs after the other callbacks, whose states it
    saves too.
    """

    def __init__(self, path: Path, *, minutes: float, validate_every: int) -> None:
        super().__init__()
        self.path = path
        self.seconds = 60 * minutes
        self.validate_every = validate_every
        self._interrupted = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take over Ctrl-C from here on; a second one stops at once.

        Not in a hook of the training: Lightning puts back, at its end, the handlers that
        it found at its start.
        """
        if not _is_main_thread():
            yield
            return
        previous = signal.signal(signal.SIGINT, self._remember_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and take over SIGTERM from Lightning, which would stop unsaved."""
        self._saved_at = time.monotonic()
        if _is_main_thread():
            signal.signal(signal.SIGTERM, self._remember_interrupt)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time to, unless a validation comes first."""
        if (trainer.fit_loop.total_batch_idx + 1) % self.validate_every:
            self._save_if_due(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if it is time to."""
        if trainer.state.fn == "fit":
            self._save_if_due(trainer)

    def _remember_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _save_if_due(self, trainer: Trainer) -> None:
        interrupted = self._agreed(trainer, self._interrupted)
        is_time = self._agreed(trainer, time.monotonic() - self._saved_at >= self.seconds)
        is_end = trainer.should_stop or trainer.global_step >= trainer.max_steps
        if not (interrupted or is_time or is_end):
            return
        trainer.save_checkpoint(self.path)
        self._saved_at = time.monotonic()
        if interrupted:
            raise InterruptedTrainingError

    @staticmethod
    def _agreed(trainer: Trainer, wish: bool) -> bool:
        """Tell whether any of the processes wishes it, so that all do the same."""
        if trainer.world_size == 1:
            return wish
        return trainer.strategy.reduce_boolean_decision(wish, all=False)


def _is_main_thread() -> bool:
    """Tell whether this thread is the one that signals reach, and that may handle them."""
    return threading.current_thread() is threading.main_thread()


def kept_weights(path: Path) -> tuple[dict[str, Tensor], int]:
    """Read the network's weights from a checkpoint, the averaged ones if there are any.

    Returns
    -------
    tuple
        The weights, and how many updates of optimisers made them.

    Raises
    ------
    FluoFocusError
        If the file cannot be read or is no checkpoint of a training.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        state, updates = checkpoint["state_dict"], checkpoint["global_step"]
    except OSError as error:
        raise FluoFocusError(f"Cannot read checkpoint {path}: {error.strerror}.") from error
    except _DAMAGED as error:
        raise FluoFocusError(
            f"{path} is no checkpoint of a FluoFocus training, or a damaged one: "
            "give the name of a model, a .safetensors file, or another checkpoint."
        ) from error
    for prefix in KEPT_PREFIXES:
        weights = {
            key.removeprefix(prefix): value
            for key, value in state.items()
            if key.startswith(prefix)
        }
        if weights:
            return weights, updates
    raise FluoFocusError(f"{path} holds no network: give a checkpoint of 'fluofocus train'.")
