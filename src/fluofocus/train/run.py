"""Runs a training from its configuration to a model file."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from fluofocus.errors import FluoFocusError
from fluofocus.heap import kept_heap
from fluofocus.models import build_network, build_stack_network
from fluofocus.models.device import computes_in_bfloat16
from fluofocus.models.network import RefocusingNetwork
from fluofocus.models.stack_network import StackNetwork
from fluofocus.optics.microscope import Microscope
from fluofocus.train.adversarial import AdversarialRegressionTraining, DeepZTraining
from fluofocus.train.checkpoints import (
    AtomicCheckpointIO,
    BestCheckpoint,
    InterruptedTrainingError,
    LastCheckpoint,
    kept_weights,
)
from fluofocus.train.config import (
    AdversarialConfig,
    Precision,
    TrainConfig,
    WfconTrainingConfig,
)
from fluofocus.train.data import TrainingData
from fluofocus.train.error_calibration import calibrate_error
from fluofocus.train.export import write_model, write_stack_model
from fluofocus.train.first_weights import load_first_weights, mix_first_weights
from fluofocus.train.module import NetworkTraining
from fluofocus.train.monitors import ProgressBar, SamplePictures, steps_done
from fluofocus.train.regression import RegressionTraining
from fluofocus.train.run_directory import RunDirectory
from fluofocus.train.sizes import require_possible_sizes
from fluofocus.train.wfcon import WfconTraining

_CLOSE_SHARE = 0.1
"""Pairs closer than this share of the defocus range do not count for the correlation."""

_LOG_EVERY = 20
_CHATTY_LOGGERS = ("lightning.pytorch", "lightning.fabric")
_MEANT = (
    "The 'train_dataloader' does not have many workers",
    "The 'val_dataloader' does not have many workers",
    "Checkpoint directory .* exists and is not empty",
    ".*LeafSpec.* is deprecated",
)


def run_training(
    config: TrainConfig,
    microscope: Microscope,
    *,
    resume: bool = False,
    devices: int = 1,
    strategy: str = "auto",
    accelerator: str = "auto",
    workers: int = 1,
    show_progress: bool = True,
) -> Path:
    """Train, and return the path of the model file.

    All files go into ``<output_dir>/<name>``: ``<name>.safetensors``, ``config.yaml``,
    ``checkpoints``, ``log`` (CSV), ``tensorboard`` and ``samples`` (pictures).

    Parameters
    ----------
    resume
        Go on with this training where its last checkpoint stands; if there is none,
        start it; if it has ended, return its model file.
    devices, strategy, accelerator
        As Lightning's trainer takes them.
    workers
        Processes that simulate, per device; with none the training does it itself.
    show_progress
        Whether to show a bar and the validation scores on stderr.

    Raises
    ------
    FluoFocusError
        If the folder holds another training or a damaged checkpoint, ``start_from`` or the
        sizes of the data do not fit the network, the training diverges, or a file cannot be
        written.
    KeyboardInterrupt
        On Ctrl-C or SIGTERM, after the training's state was saved.
    """
    _check_devices(devices, accelerator)
    directory = RunDirectory(config)
    rank_zero_only(directory.claim)(config, microscope, resume=resume)
    if resume and directory.model_file.exists():
        return directory.model_file
    checkpoint = directory.last if resume and directory.last.exists() else None
    with _quiet_lightning():
        seed_everything(config.seed, workers=True, verbose=False)
        training = make_training(config, microscope, is_resumed=checkpoint is not None)
        data = TrainingData(config, microscope, workers=workers)
        last = LastCheckpoint(
            directory.last, minutes=config.checkpoint_minutes, validate_every=config.validate_every
        )
        callbacks = _callbacks(config, directory, show_progress=show_progress)
        trainer = _trainer(
            config,
            training,
            directory,
            callbacks=[*callbacks, last],
            devices=devices,
            strategy=_strategy(strategy),
            accelerator=accelerator,
            precision=_precision(config.precision, accelerator),
        )
        try:
            with kept_heap(), last.listening():
                trainer.fit(training, data, ckpt_path=checkpoint, weights_only=True)
        except InterruptedTrainingError:
            raise KeyboardInterrupt(
                f"stopped at step {steps_done(trainer)} of {config.training.steps}, "
                f"saved in {directory.last}: go on with --resume"
            ) from None
        _finish(trainer, training, data, directory)
    return directory.model_file


def _check_devices(devices: int, accelerator: str) -> None:
    """Refuse more devices than there are, before as many processes start."""
    gpus = _gpus(accelerator)
    available, kind = (gpus, "GPUs") if gpus else (max(2, os.cpu_count() or 1), "CPU cores")
    if devices > available:
        raise FluoFocusError(
            f"{devices} devices were asked for, but there are {available} {kind} here: "
            f"ask for at most {available}."
        )


def _gpus(accelerator: str) -> int:
    return 0 if accelerator == "cpu" else torch.cuda.device_count()


def make_training(
    config: TrainConfig, microscope: Microscope, *, is_resumed: bool = False
) -> NetworkTraining:
    """Build the network that a configuration asks for, in the scheme that trains it.

    One that is to be resumed needs no first weights.

    Raises
    ------
    FluoFocusError
        If there is no such network, or it can take neither the data nor the first weights.
    """
    if isinstance(config.training, WfconTrainingConfig):
        restoring = build_stack_network(config.architecture, config.architecture_config)
        require_possible_sizes(config, restoring)
        if config.start_from is not None and not is_resumed:
            load_first_weights(restoring, config.start_from)
        restoring = restoring.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        return WfconTraining(restoring, config.training)
    network = build_network(config.architecture, config.architecture_config)
    require_possible_sizes(config, network)
    if config.start_from is not None and not is_resumed:
        load_first_weights(network, config.start_from)
    network.attune(microscope)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    scheme = config.training
    away_um = _CLOSE_SHARE * config.data.defocus_um
    if isinstance(scheme, AdversarialConfig):
        return DeepZTraining(network, scheme, away_um=away_um)
    if scheme.adversarial_weight > 0:
        return AdversarialRegressionTraining(network, scheme, away_um=away_um)
    return RegressionTraining(network, scheme, away_um=away_um)


def _trainer(
    config: TrainConfig, training: NetworkTraining, directory: RunDirectory, **options: Any
) -> Trainer:
    """Set up Lightning's trainer; steps are batches, however many updates each makes."""
    return Trainer(
        max_steps=config.training.steps * training.updates_per_step,
        gradient_clip_val=training.gradient_clip,
        val_check_interval=config.validate_every,
        check_val_every_n_epoch=None,
        limit_val_batches=config.validation_batches,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        plugins=[AtomicCheckpointIO()],
        logger=[
            CSVLogger(directory.path, name="log"),
            TensorBoardLogger(directory.path, name="tensorboard"),
        ],
        log_every_n_steps=_LOG_EVERY,
        enable_model_summary=False,
        enable_progress_bar=False,
        **options,
    )


def _precision(
    precision: Precision, accelerator: str
) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    """Choose bfloat16, if a choice is left, where the hardware computes in it."""
    if precision != "auto":
        return precision
    device = torch.device("cuda" if _gpus(accelerator) else "cpu")
    return "bf16-mixed" if computes_in_bfloat16(device) else "32-true"


def _strategy(strategy: str) -> str:
    """Let the processes expect parts without gradients: what only some batches use."""
    return "ddp_find_unused_parameters_true" if strategy == "ddp" else strategy


def _callbacks(
    config: TrainConfig, directory: RunDirectory, *, show_progress: bool
) -> list[Callback]:
    score, mode = f"val_{config.training.best_by}", _mode(config)
    callbacks: list[Callback] = [
        LearningRateMonitor("step"),
        SamplePictures(directory.samples),
        BestCheckpoint(
            directory.checkpoints,
            filename=directory.best.stem,
            monitor=score,
            mode=mode,
            enable_version_counter=False,
        ),
    ]
    if show_progress:
        callbacks.append(ProgressBar(config.training.steps))
    if config.early_stopping_checks is not None:
        callbacks.append(EarlyStopping(score, patience=config.early_stopping_checks, mode=mode))
    return callbacks


def _mode(config: TrainConfig) -> str:
    return "min" if config.training.best_by in ("loss", "mae", "rmse") else "max"


def _finish(
    trainer: Trainer, training: NetworkTraining, data: TrainingData, directory: RunDirectory
) -> None:
    """Write the better of the best and the last weights as a model file."""
    config = data.config
    trainer.loggers = []  # these scores belong on the card, not after the last step's
    steps = steps_done(trainer)
    scores = _validate(trainer, training, data)
    if directory.best.exists():
        last = {key: value.clone() for key, value in training.kept.state_dict().items()}
        weights, updates = kept_weights(directory.best)
        training.kept.load_state_dict(weights)
        best_scores = _validate(trainer, training, data)
        sign = 1 if _mode(config) == "max" else -1
        score = config.training.best_by
        if sign * best_scores[score] > sign * scores[score]:
            scores, steps = best_scores, updates // training.updates_per_step
        else:
            training.kept.load_state_dict(last)
    kept, path = training.kept, directory.model_file
    assert isinstance(kept, RefocusingNetwork | StackNetwork)
    if config.start_from is not None and config.start_share > 0:
        mix_first_weights(kept, config.start_from, config.start_share)
        scores = _validate(trainer, training, data)
    if not trainer.is_global_zero:
        return
    device = trainer.strategy.root_device
    made: dict[str, Any] = {
        "steps": steps,
        "scores": {f"validation_{name}": value for name, value in scores.items()},
        "device": device,
    }
    if isinstance(kept, StackNetwork):
        write_stack_model(config, data.microscope, kept, path, **made)
        return
    error = calibrate_error(kept, data.calibration_batches(), device)
    write_model(config, data.microscope, kept, path, error=error, **made)


def _validate(trainer: Trainer, training: NetworkTraining, data: TrainingData) -> dict[str, float]:
    (scores,) = trainer.validate(training, data, verbose=False)
    return {name.removeprefix("val_"): value for name, value in scores.items()}


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's tips, and its warnings about what is meant here, from the user."""
    loggers = [logging.getLogger(name) for name in _CHATTY_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in _MEANT:
            warnings.filterwarnings("ignore", message)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
