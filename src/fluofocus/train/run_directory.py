"""Where a training keeps what it was asked for, its checkpoints, logs and result."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import yaml

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import Microscope, save_microscope
from fluofocus.train.config import TrainConfig, load_train_config

CHECKPOINT_SUFFIX = ".ckpt"
CONFIG_NAME = "config.yaml"
_MICROSCOPE = "microscope.yaml"
_MASK = "pupil_mask"
_PLACE = ("microscope", "output_dir")
"""Fields that say where things lie, not what is trained."""


class RunDirectory:
    """The folder ``<output_dir>/<name>`` of one training."""

    def __init__(self, config: TrainConfig) -> None:
        self.path = config.output_dir / config.name
        self.model_file = self.path / f"{config.name}.safetensors"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / f"last{CHECKPOINT_SUFFIX}"
        self.best = self.checkpoints / f"best{CHECKPOINT_SUFFIX}"
        self.samples = self.path / "samples"

    def claim(self, config: TrainConfig, microscope: Microscope, *, resume: bool) -> None:
        """Make the folder this training's own and note its configuration there.

        The configuration is kept as a file that can itself be trained from, and so are the
        microscope's description and its mask.

        Raises
        ------
        FluoFocusError
            If it holds a training that this would overwrite, or that is to be resumed but
            was started with another configuration; if it cannot be written, or there is no
            such mask.
        """
        begun = self.last.exists() or self.best.exists() or self.model_file.exists()
        if begun:
            self._require_same(config, microscope, resume=resume)
        mask = microscope.pupil_mask
        if mask is not None and not mask.is_file():
            raise FluoFocusError(
                f"There is no pupil mask {mask}: correct the microscope's pupil_mask."
            )
        content = config.model_dump(mode="json") | {"microscope": _MICROSCOPE}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            save_microscope(self._with_own_mask(microscope), self.path / _MICROSCOPE)
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
            (self.path / CONFIG_NAME).write_text(text, encoding="utf-8")
        except OSError as error:
            raise FluoFocusError(
                f"Cannot write into {self.path}: {error.strerror}; set another output_dir."
            ) from error

    def _with_own_mask(self, microscope: Microscope) -> Microscope:
        """Copy the mask, if there is one, beside the microscope's description."""
        mask = microscope.pupil_mask
        if mask is None:
            return microscope
        copy = self.path / f"{_MASK}{mask.suffix}"
        if mask.resolve() != copy.resolve():
            shutil.copyfile(mask, copy)
        return microscope.model_copy(update={"pupil_mask": Path(copy.name)})

    def _require_same(self, config: TrainConfig, microscope: Microscope, *, resume: bool) -> None:
        changes = self._changes(config, microscope)
        if resume and not changes:
            return
        if not resume:
            kind = "of another configuration " if changes else ""
            advice = "" if changes else "go on with it by --resume, or "
            raise FluoFocusError(
                f"{self.path} holds a training {kind}already: "
                f"{advice}give this one another name, or delete that folder."
            )
        raise FluoFocusError(
            f"{self.path} was trained with another configuration, so it cannot be resumed "
            f"with this one ({'; '.join(changes[:3])}): undo the changes, or train under "
            f"another name with start_from: {self.last}."
        )

    def _changes(self, config: TrainConfig, microscope: Microscope) -> list[str]:
        """List what differs from the configuration that the folder was made with."""
        if not (self.path / CONFIG_NAME).exists():
            return []
        old_config, old_microscope = load_train_config(self.path / CONFIG_NAME)
        old, new = (
            _flat(part.model_dump(mode="json", exclude=set(_PLACE)))
            | _flat({"microscope": optics.model_dump(mode="json") | _content_of_mask(optics)})
            for part, optics in ((old_config, old_microscope), (config, microscope))
        )
        return [
            f"{key}: {old.get(key)} is now {new.get(key)}"
            for key in old | new
            if old.get(key) != new.get(key)
        ]


def _content_of_mask(microscope: Microscope) -> dict[str, str | None]:
    """Tell a mask by what is in its file, wherever that lies."""
    mask = microscope.pupil_mask
    if mask is None or not mask.exists():
        return {_MASK: None}
    return {_MASK: f"SHA-256 {hashlib.sha256(mask.read_bytes()).hexdigest()[:12]}"}


def _flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """Name every value by its path, ``simulation.phantoms.0.weight``."""
    if isinstance(content, dict):
        items = [(str(key), value) for key, value in content.items()]
    elif isinstance(content, list):
        items = [(str(index), value) for index, value in enumerate(content)]
    else:
        return {prefix.rstrip("."): content}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= _flat(value, f"{prefix}{key}.")
    return flat
