"""Training pairs of stacks: what is common to simulated and to prepared ones."""

from __future__ import annotations

import random
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fluofocus.data.planes import thinned
from fluofocus.prepare.turns import turned
from fluofocus.units import FloatArray

Count = Annotated[int, Field(ge=1)]


class StackPatches(BaseModel):
    """How patches are cut from pairs of stacks.

    A patch has ``planes`` planes ``z_step_um`` apart and ``crop_px`` rows and columns; the
    defaults are those of WFCON-Net (Li et al. 2022). Of each input only every so-many-th plane
    is left and the others are interpolated, a number drawn from ``plane_subsampling`` for each
    patch: so a network learns to work with fewer planes. With ``flips_and_rotations`` each
    pair is turned by a random multiple of 90 degrees and mirrored or not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    planes: Count = 12
    z_step_um: Annotated[float, Field(gt=0)] = 0.5
    crop_px: Annotated[int, Field(ge=32)] = 256
    plane_subsampling: Annotated[tuple[Count, ...], Field(min_length=1)] = (1,)
    flips_and_rotations: bool = True


def cut_patch(
    recorded: FloatArray, wanted: FloatArray, patches: StackPatches, choice: random.Random
) -> dict[str, Tensor]:
    """Cut a random patch from a pair of stacks ``(Z, Y, X)``, as `StackPatches` describes it.

    Returns
    -------
    dict
        ``input`` and ``target``, ``(1, planes, crop_px, crop_px)``.
    """
    depth, height, width = recorded.shape
    first = choice.randint(0, depth - patches.planes)
    row = choice.randint(0, height - patches.crop_px)
    column = choice.randint(0, width - patches.crop_px)
    area = (
        slice(None),
        slice(row, row + patches.crop_px),
        slice(column, column + patches.crop_px),
    )
    every = choice.choice(patches.plane_subsampling)
    seen = thinned(recorded[area], every, choice.randrange(min(every, depth)))
    pair = {
        key: torch.from_numpy(stack[first : first + patches.planes])[None]
        for key, stack in (("input", seen), ("target", wanted[area]))
    }
    if patches.flips_and_rotations:
        turn = choice.randrange(4), choice.random() < 0.5
        pair = {key: turned(stack, *turn) for key, stack in pair.items()}
    return {key: stack.contiguous() for key, stack in pair.items()}
