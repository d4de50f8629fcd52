"""Training pairs cut from measured focus scans."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fluofocus.data.stream import PairStream
from fluofocus.errors import FluoFocusError
from fluofocus.io.readers import read_stack
from fluofocus.io.stack import voxel_size_um
from fluofocus.optics.description import PARAMETERS
from fluofocus.prepare.normalise import (
    Normalisation,
    common_normalisation,
    normalisation_from_image,
    normalisation_from_stack,
)
from fluofocus.prepare.turns import turned

Positive = Annotated[float, Field(gt=0)]

GAP_UM = 10.0
"""Rows left out between what is trained on and what is kept for validation."""

_PIXEL_TOLERANCE = 0.02


class MeasuredConfig(BaseModel):
    """Focus scans that input and target planes are taken from.

    ``stacks`` are files of planes (ZYX) whose pixels are the microscope's, relative to the
    working folder; ``pixel_size_um`` and ``z_step_um`` say what the files do not.
    A field has up to ``input_planes`` inputs.
    A share ``validation_share`` of each field, its last rows, is kept for validation.
    ``normalisation`` by ``image`` is by each input plane itself, as in inference; by
    ``stack`` it is one for all planes, as Deep-Z was trained.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stacks: Annotated[tuple[str, ...], Field(min_length=1)]
    pixel_size_um: Positive | None = None
    z_step_um: Positive | None = None
    defocus_um: Positive = 10.0
    crop_px: Annotated[int, Field(ge=16)] = 128
    targets_per_image: Annotated[int, Field(ge=1)] = 4
    input_planes: Annotated[int, Field(ge=1)] = 1
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    normalisation: Literal["image", "stack"] = "image"
    flips_and_rotations: bool = True


class MeasuredPairs(PairStream):
    """Measured inputs and measured targets, from one part of each field (see `PairStream`)."""

    def __init__(
        self, config: MeasuredConfig, pixel_size_um: float, *, held_out: bool, **position: int
    ) -> None:
        super().__init__(most_inputs=config.input_planes, **position)
        self.config = config
        self.pixel_size_um = pixel_size_um
        self.held_out = held_out

    def source(self, seed: int) -> MeasuredSource:
        """Read the stacks."""
        return MeasuredSource(self.config, self.pixel_size_um, seed, held_out=self.held_out)


@dataclass(frozen=True)
class _Scan:
    """Rows of a focus scan, ``(Z, Y, X)`` counts, and how each whole plane is normalised."""

    counts: Tensor
    normalisations: list[Normalisation]
    z_step_um: float


class MeasuredSource:
    """Training pairs by number: crop, input plane and target planes are drawn with its seed.

    Raises
    ------
    FluoFocusError
        If a stack cannot be read, is no focus scan, has other pixels than the model is
        to have, or is too small for a crop.
    """

    def __init__(
        self, config: MeasuredConfig, pixel_size_um: float, seed: int, *, held_out: bool
    ) -> None:
        self.config = config
        self.seed = seed
        self._scans = [_read(path, config, pixel_size_um, held_out) for path in config.stacks]

    def pair(self, number: int, inputs: int = 1) -> dict[str, Tensor]:
        """Return one field with its targets (see `PairStream`)."""
        config = self.config
        choice = random.Random(
            int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        )
        scan = choice.choice(self._scans)
        planes, height, width = scan.counts.shape
        row, column = (choice.randint(0, size - config.crop_px) for size in (height, width))
        crop = scan.counts[:, row : row + config.crop_px, column : column + config.crop_px]
        first = choice.randrange(planes)
        reach = int(config.defocus_um / scan.z_step_um + 1e-6)
        near = range(max(0, first - reach), min(planes, first + reach + 1))
        chosen = [first, *(choice.choice(near) for _ in range(inputs - 1))]
        near = range(max(0, max(chosen) - reach), min(planes, min(chosen) + reach + 1))
        targets = [choice.choice(near) for _ in range(config.targets_per_image)]
        normalisation = common_normalisation([scan.normalisations[plane] for plane in chosen])
        pair = {
            "image": normalisation.apply(crop[chosen]),
            "target": normalisation.apply(crop[targets]),
        }
        if config.flips_and_rotations:
            turn = choice.randrange(4), choice.random() < 0.5
            pair = {key: turned(images, *turn) for key, images in pair.items()}
        distances = torch.tensor(targets) - torch.tensor(chosen)[:, None]
        return pair | {"dpm_um": distances * scan.z_step_um, "optics": torch.zeros(PARAMETERS)}


def _read(path: str, config: MeasuredConfig, pixel_size_um: float, held_out: bool) -> _Scan:
    stack = read_stack(path, pixel_size_um=config.pixel_size_um, z_step_um=config.z_step_um)
    if stack.dims != ("Z", "Y", "X"):
        axes = "".join(str(dim) for dim in stack.dims)
        raise FluoFocusError(
            f"{path} has the axes {axes}: training takes focus scans (ZYX) of one channel."
        )
    z_step_um, y_um, x_um = voxel_size_um(stack)
    if max(abs(y_um / pixel_size_um - 1), abs(x_um / pixel_size_um - 1)) > _PIXEL_TOLERANCE:
        raise FluoFocusError(
            f"The pixels of {path} are {y_um:.4g} x {x_um:.4g} µm but the microscope's "
            f"{pixel_size_um:g} µm: correct pixel_size_um of the one or the other."
        )
    counts = np.asarray(stack.values, dtype=np.float32)
    if config.normalisation == "image":
        normalisations = [normalisation_from_image(plane) for plane in stack.values]
    else:
        normalisations = [normalisation_from_stack(stack.values)] * len(counts)
    height = counts.shape[1]
    first_kept = round(height * (1 - config.validation_share))
    gap = round(GAP_UM / y_um)
    rows = slice(first_kept, height) if held_out else slice(0, max(0, first_kept - gap))
    part = counts[:, rows]
    if min(part.shape[1:]) < config.crop_px:
        what = "for validation" if held_out else "to train on"
        raise FluoFocusError(
            f"{path} leaves {part.shape[1]} x {part.shape[2]} pixels {what}, too few for crops of "
            f"{config.crop_px}: lower crop_px or change validation_share."
        )
    return _Scan(torch.from_numpy(part), normalisations, z_step_um)
