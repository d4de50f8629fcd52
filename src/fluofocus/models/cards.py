"""What a model file says about its model: one card for what refocuses, one for what restores."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator

from fluofocus.optics.microscope import Microscope
from fluofocus.units import FloatArray

FORMAT_VERSION: Final = 2

Range = tuple[float, float]
OutputModality = Literal["widefield", "confocal", "other"]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Trained(BaseModel):
    """What any model was trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    peak_photons: Range | None = None
    pixel_size_um: Positive
    phantoms: tuple[str, ...] = ()
    flips_and_rotations: bool = True
    """Whether images had no orientation, being turned and mirrored at random."""
    target_modality: OutputModality = "widefield"
    """As which microscope's image the output comes out; the input is wide-field."""


class TrainingRange(Trained):
    """What a refocusing model was trained on, and so where it can be trusted."""

    defocus_um: Range
    input_planes: Count = 1
    """How many planes of a field were given at once, at most."""
    optics_told: bool = False
    """Whether the network was told the optics of some fields."""

    @model_validator(mode="after")
    def _check_order(self) -> TrainingRange:
        for low, high in filter(None, (self.defocus_um, self.peak_photons)):
            if low > high:
                raise ValueError(f"a range runs from low to high, not from {low:g} to {high:g}")
        return self


class TrainedStacks(Trained):
    """What a model of stacks was trained on."""

    z_step_um: Positive
    planes: Count
    """Of each patch."""
    crop_px: Count
    """Rows and columns of each patch."""
    plane_subsampling: tuple[Count, ...] = (1,)
    """Of every how many planes inputs were left with one, the others being interpolated."""
    perceptual_encoder: str = ""
    """Whose features the perceptual loss compared; empty where there was none."""


class ErrorCalibration(BaseModel):
    """How a network's error output became honest on held-out images.

    ``scale``, times what ``factors`` are between ``distances_um`` from the nearest input plane,
    turns it into the expected absolute error. Around the output, an interval of
    ``half_widths[i]`` times that error to either side holds the truth with probability
    ``probabilities[i]``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scale: Positive
    probabilities: tuple[float, ...]
    half_widths: tuple[float, ...]
    distances_um: tuple[float, ...] = (0.0,)
    factors: tuple[Positive, ...] = (1.0,)

    @model_validator(mode="after")
    def _check_lengths(self) -> ErrorCalibration:
        if len(self.probabilities) != len(self.half_widths):
            raise ValueError("each probability needs its half width")
        if not self.factors or len(self.factors) != len(self.distances_um):
            raise ValueError("each distance needs its factor")
        if any(low >= high for low, high in pairwise(self.distances_um)):
            raise ValueError("distances must increase")
        return self

    def scale_at(self, distance_um: FloatArray) -> FloatArray:
        """Return what the error output is to be multiplied by, at each signed distance."""
        factor = np.interp(distance_um, self.distances_um, self.factors)
        return (self.scale * factor).astype(np.float32)


class Card(BaseModel):
    """What a model is, what it was made from, and what it is good for.

    ``weights_sha256`` is filled in when the model is saved.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format_version: Literal[2] = FORMAT_VERSION
    name: Annotated[str, Field(min_length=1)]
    title: str
    architecture: str
    architecture_config: dict[str, JsonValue] = {}
    microscope: Microscope
    training: Trained
    normalisation: str
    description: str = ""
    data: str = ""
    seeds: tuple[int, ...] = ()
    steps: Annotated[int, Field(ge=0)] = 0
    hardware: str = ""
    created: AwareDatetime
    fluofocus_version: str
    scores: dict[str, float] = {}
    limits: tuple[str, ...] = ()
    weights_sha256: str = ""


class ModelCard(Card):
    """The card of a model that refocuses."""

    training: TrainingRange
    normalisation: Literal["deep-z-single-image"] = "deep-z-single-image"
    error: ErrorCalibration | None = None


class StackCard(Card):
    """The card of a model that restores stacks."""

    training: TrainedStacks
    normalisation: Literal["stack-quantiles"] = "stack-quantiles"
