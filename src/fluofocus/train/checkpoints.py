"""Checkpoints that survive a kill, and what a training can start from."""

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
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from fluofocus.errors import FluoFocusError
from fluofocus.models.bundle import load_model, load_stack_model
from fluofocus.models.stack_network import StackNetwork
from fluofocus.models.swift_decoder import ERROR_OUTPUT
from fluofocus.models.w_net import WNet
from fluofocus.train.run_directory import CHECKPOINT_SUFFIX

KEPT_PREFIXES = ("averaged.module.", "network.")
"""What the names of a network's weights begin with in a checkpoint, the better ones first."""


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


class InterruptedTrainingError(Exception):
    """Ctrl-C was pressed, and the training's state has been saved."""


class LastCheckpoint(Checkpoint):
    """Saves the training's state every few minutes, at its end, and on Ctrl-C.

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
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread is interrupted, and may say what then happens
            return
        previous = signal.signal(signal.SIGINT, self._remember_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._saved_at = time.monotonic()

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


def load_first_weights(network: nn.Module, source: str) -> None:
    """Give a network the weights of a model, a model file, or a training's checkpoint.

    Of a checkpoint, the averaged weights are taken where there are any. Parts that the
    source has not keep their initial weights; an error output that the network has not is left
    out. Both of two networks in a row take those of a network that is like each of them. Nothing
    is unpickled but tensors and plain values.

    Raises
    ------
    FluoFocusError
        If there is no such model or file, it is damaged, or its network is another one.
    """
    if source.endswith(CHECKPOINT_SUFFIX):
        weights, _ = kept_weights(Path(source))
    elif isinstance(network, StackNetwork):
        weights = load_stack_model(source).network.state_dict()
    else:
        weights = load_model(source).network.state_dict()
    is_for_both = isinstance(network, WNet) and not any(
        key.startswith(WNet.PARTS) for key in weights
    )
    if is_for_both:
        weights = {f"{part}.{key}": value for part in WNet.PARTS for key, value in weights.items()}
    wanted = network.state_dict().keys()
    weights = {
        key: value for key, value in weights.items() if key in wanted or ERROR_OUTPUT not in key
    }
    _require_same_network(network, weights, source)
    network.load_state_dict(weights, strict=False)
    if isinstance(network, WNet) and is_for_both:
        network.darken()


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
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
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


def _require_same_network(network: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in weights.items()}
    differing = sorted(key for key in found if wanted.get(key) != found[key])
    if not differing:
        return
    raise FluoFocusError(
        f"start_from {source} holds another network than the configuration asks for: "
        f"{len(differing)} of its tensors differ, the first is {differing[0]}; "
        "set architecture and architecture_config to those it was trained with."
    )
