"""The configuration of a training, read from YAML; every field has its effect."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from fluofocus.data.prepared import PreparedConfig
from fluofocus.data.prepared_stacks import StackPreparedConfig
from fluofocus.data.simulated import SimulationConfig
from fluofocus.data.simulated_stacks import StackSimulationConfig
from fluofocus.models import STACK_MODELS
from fluofocus.models.u_net import Width
from fluofocus.optics.microscope import Microscope, load_microscope, preset, preset_names
from fluofocus.settings_files import read_settings, validated
from fluofocus.train.defaults import default_train_config
from fluofocus.train.losses import LossConfig, MaeReading
from fluofocus.train.perceptual import EncoderName

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Score = Literal["mae", "pearson", "gap_closed"]
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]

_MARK_OF_A_MICROSCOPE = "numerical_aperture"


class RegressionConfig(BaseModel):
    """The scheme ``regression``: noisy input, clean target, Muon, averaged weights.

    The ``optimizer`` is `fluofocus.train.muon.Muon` or AdamW. The learning rate warms up over
    ``warmup_steps``, stays, and falls to zero along a cosine over the last ``decay_share`` of
    the steps (1: a cosine from the start). The weights kept are those with the best validation
    score ``best_by``.

    With an ``adversarial_weight`` above zero a discriminator, trained by turns at
    ``discriminator_learning_rate``, adds its verdict to the loss: sharper images, for
    fine-tuning a network that already refocuses (``start_from``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    default_validate_every: ClassVar[int] = 500
    default_precision: ClassVar[Precision] = "auto"

    scheme: Literal["regression"] = "regression"
    steps: Count = 10000
    batch_size: Count = 8
    optimizer: Literal["muon", "adamw"] = "muon"
    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 1e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 300
    decay_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    averaging_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    gradient_clip: Positive = 1.0
    loss: LossConfig = LossConfig()
    adversarial_weight: NonNegative = 0.0
    discriminator_learning_rate: Positive = 1e-4
    best_by: Literal["loss"] | Score = "loss"


class AdversarialConfig(BaseModel):
    """The scheme ``deep_z``: the least-squares GAN of the Deep-Z paper and its settings.

    Equations 4 and 5, their weight, the numbers of updates per iteration, learning rates,
    the batch (images are ``batch_size`` times the targets per image), iterations and the
    choice of the best network are as in the Methods (Wu et al., Nature Methods 2019).
    ``mae_reading`` says whether equation 4 means the mean or the sum over an image's
    pixels, which the paper leaves open.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    default_validate_every: ClassVar[int] = 50
    default_precision: ClassVar[Precision] = "32-true"

    scheme: Literal["deep_z"] = "deep_z"
    steps: Count = 400_000
    batch_size: Count = 20
    alpha: NonNegative = 0.02
    mae_reading: MaeReading = "sum"
    generator_updates: Count = 6
    discriminator_updates: Count = 3
    generator_learning_rate: Positive = 1e-4
    discriminator_learning_rate: Positive = 3e-5
    discriminator_width: Width = "paper"
    best_by: Score = "mae"


class WfconTrainingConfig(BaseModel):
    """The scheme ``wfcon``: equation 1 of WFCON-Net (Li et al. 2022) and its settings.

    The weights of the three parts, the batch and the iterations are the paper's; it gives no
    learning rates, and those here are Deep-Z's. A part of weight zero is left out. The
    ``perceptual_encoder`` of the paper is ``vgg19``, whose file of weights in torchvision's
    form ``perceptual_weights`` names; ``fluorescence`` comes with the package.
    ``relative_weight`` adds the loss of the scheme ``regression``, in which every plane counts
    alike, be it bright or faint. The learning rate
    falls to zero along a cosine over the last ``decay_share`` of the steps. ``gradient_clip`` is
    the largest norm of the generator's gradient. What is validated and kept is an average of the
    weights with ``averaging_decay``. The paper has none of these four.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    default_validate_every: ClassVar[int] = 100
    default_precision: ClassVar[Precision] = "auto"

    scheme: Literal["wfcon"] = "wfcon"
    steps: Count = 6000
    batch_size: Count = 24
    l1_weight: NonNegative = 2.0
    perceptual_weight: NonNegative = 0.01
    adversarial_weight: NonNegative = 1.0
    relative_weight: NonNegative = 0.0
    perceptual_encoder: EncoderName = "fluorescence"
    perceptual_weights: str | None = None
    generator_learning_rate: Positive = 1e-4
    discriminator_learning_rate: Positive = 3e-5
    discriminator_width: Width = "paper"
    gradient_clip: Positive | None = None
    decay_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    averaging_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    best_by: Literal["mae", "rmse", "ssim", "pearson"] = "mae"

    @model_validator(mode="after")
    def _check_encoder(self) -> WfconTrainingConfig:
        wanted = self.perceptual_weight > 0 and self.perceptual_encoder == "vgg19"
        if wanted and self.perceptual_weights is None:
            raise ValueError(
                "the weights of vgg19 do not come with FluoFocus: name torchvision's file of them "
                "in perceptual_weights, or use perceptual_encoder fluorescence, or "
                "perceptual_weight 0"
            )
        return self


def _scheme(value: Any) -> Any:
    if isinstance(value, dict):
        return value.get("scheme", "regression")
    return getattr(value, "scheme", None)


Training = Annotated[
    Annotated[RegressionConfig, Tag("regression")]
    | Annotated[AdversarialConfig, Tag("deep_z")]
    | Annotated[WfconTrainingConfig, Tag("wfcon")],
    Discriminator(
        _scheme,
        custom_error_type="unknown_scheme",
        custom_error_message="scheme must be one of regression, deep_z, wfcon",
    ),
]


class TrainConfig(BaseModel):
    """Everything a training needs: what to train, on what, how, and where results go.

    Pairs come from a ``simulation`` or a ``prepared`` dataset; pairs of stacks, for the scheme
    ``wfcon``, from ``simulated_stacks`` or ``prepared_stacks``: one of the four is given.
    ``start_from`` names a model, a model file or a checkpoint whose weights are the first
    ones. At the end a share ``start_share`` of them is mixed into the trained weights, so that
    less of what was learnt before is forgotten (Wortsman et al., CVPR 2022, 7959).
    ``validate_every`` counts steps; its default is 500, 50 as in the paper for
    ``deep_z``, or 100 for ``wfcon``. The ``precision`` is by default ``auto``, bf16-mixed where
    the hardware computes in bfloat16 and 32-true elsewhere; for ``deep_z`` it is 32-true.
    ``early_stopping_checks`` ends the training after as many validations without a better
    score. ``batch_size`` is that of each device.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    title: str = ""
    description: str = ""
    limits: tuple[str, ...] = ()
    architecture: str = "swift"
    architecture_config: dict[str, Any] = {}
    microscope: str
    simulation: SimulationConfig | None = None
    prepared: PreparedConfig | None = None
    simulated_stacks: StackSimulationConfig | None = None
    prepared_stacks: StackPreparedConfig | None = None
    training: Training = RegressionConfig()
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    start_from: str | None = None
    start_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Precision = Field(
        default_factory=lambda fields: fields["training"].default_precision
    )
    validate_every: Count = Field(
        default_factory=lambda fields: fields["training"].default_validate_every
    )
    validation_batches: Count = 12
    early_stopping_checks: Count | None = None
    checkpoint_minutes: Positive = 5.0
    output_dir: Path = Path("runs")

    @property
    def data(self) -> SimulationConfig | PreparedConfig:
        """Where the pairs of a refocusing network come from."""
        data = self.simulation or self.prepared
        assert data is not None  # _check_data, and the scheme is none of stacks
        return data

    @property
    def stacks(self) -> StackSimulationConfig | StackPreparedConfig | None:
        """Where pairs of stacks come from; None where the network refocuses."""
        return self.simulated_stacks or self.prepared_stacks

    @model_validator(mode="after")
    def _check_data(self) -> TrainConfig:
        of_images, of_stacks = ("simulation", "prepared"), ("simulated_stacks", "prepared_stacks")
        is_of_stacks = isinstance(self.training, WfconTrainingConfig)
        wanted, others = (of_stacks, of_images) if is_of_stacks else (of_images, of_stacks)
        if sum(getattr(self, name) is not None for name in wanted) != 1:
            raise ValueError(f"give either {wanted[0]} or {wanted[1]}, what the training pairs are")
        for name in others:
            if getattr(self, name) is not None:
                raise ValueError(f"the scheme {self.training.scheme} has no use for {name}")
        return self

    @model_validator(mode="after")
    def _check_architecture(self) -> TrainConfig:
        is_of_stacks = isinstance(self.training, WfconTrainingConfig)
        if is_of_stacks and self.architecture not in STACK_MODELS:
            raise ValueError(
                f"the scheme wfcon trains networks of stacks: set architecture to one of "
                f"{', '.join(STACK_MODELS)}"
            )
        if self.architecture in STACK_MODELS and not is_of_stacks:
            raise ValueError(f"a network {self.architecture} is trained by the scheme wfcon")
        return self

    @model_validator(mode="after")
    def _check_precision(self) -> TrainConfig:
        training = self.training
        if isinstance(training, RegressionConfig):
            clips = training.adversarial_weight > 0
        else:
            clips = isinstance(training, WfconTrainingConfig) and training.gradient_clip is not None
        if clips and self.precision == "16-mixed":
            raise ValueError(
                "this training clips gradients by itself, which 16-mixed scales: "
                "use precision bf16-mixed or 32-true"
            )
        return self

    @model_validator(mode="after")
    def _check_start(self) -> TrainConfig:
        if self.start_share > 0 and self.start_from is None:
            raise ValueError("start_share is of the weights of start_from: name them")
        return self

    @model_validator(mode="after")
    def _check_reach(self) -> TrainConfig:
        if self.prepared is not None and math.isinf(self.prepared.defocus_um):
            raise ValueError("prepared.defocus_um must be finite: it is the range of the model")
        return self


def load_train_config(path: str | Path) -> tuple[TrainConfig, Microscope]:
    """Read a training configuration and the microscope it names.

    ``microscope`` is the name of a preset or a YAML file beside the configuration. A
    microscope's description itself stands for `default_train_config` of it.

    Raises
    ------
    FluoFocusError
        If a file cannot be read or a field is unknown or wrong.
    """
    path = Path(path)
    content = read_settings(path, "training")
    if _MARK_OF_A_MICROSCOPE in content:
        content = default_train_config(path)
    config = validated(TrainConfig, content, path)
    if config.microscope in preset_names():
        return config, preset(config.microscope)
    return config, load_microscope(path.parent / config.microscope)
