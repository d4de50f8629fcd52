"""The configuration of a training, read from YAML; every field has its effect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fluofocus.data.dataset import SimulationConfig
from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import Microscope, load_microscope, preset, preset_names
from fluofocus.train.losses import LossConfig

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class RegressionConfig(BaseModel):
    """The scheme ``regression``: noisy input, clean target, AdamW, averaged weights.

    The learning rate warms up over ``warmup_steps``, stays, and falls to zero along a
    cosine over the last ``decay_share`` of the steps (1: a cosine from the start).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: Literal["regression"] = "regression"
    steps: Count = 20000
    batch_size: Count = 8
    learning_rate: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 300
    decay_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    averaging_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    gradient_clip: Positive = 1.0
    loss: LossConfig = LossConfig()


class TrainConfig(BaseModel):
    """Everything a training needs: what to train, on what, how, and where results go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    title: str = ""
    description: str = ""
    limits: tuple[str, ...] = ()
    architecture: str = "swift"
    architecture_config: dict[str, Any] = {}
    microscope: str
    simulation: SimulationConfig
    training: RegressionConfig = RegressionConfig()
    seed: Annotated[int, Field(ge=0)] = 0
    start_from: str | None = None
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    validate_every: Count = 500
    validation_batches: Count = 12
    early_stopping_checks: Count | None = None
    checkpoint_minutes: Positive = 5.0
    output_dir: Path = Path("runs")


def load_train_config(path: str | Path) -> tuple[TrainConfig, Microscope]:
    """Read a training configuration and the microscope it names.

    ``microscope`` is the name of a preset or a YAML file beside the configuration.

    Raises
    ------
    FluoFocusError
        If a file cannot be read or a field is unknown or wrong.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FluoFocusError(f"Cannot read training file {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FluoFocusError(f"{path} is not valid YAML: {error}") from error
    try:
        config = TrainConfig.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the top level"
        raise FluoFocusError(f"{path}: {where}: {problem['msg']}.") from error
    if config.microscope in preset_names():
        return config, preset(config.microscope)
    return config, load_microscope(path.parent / config.microscope)
