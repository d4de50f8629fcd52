"""What every phantom is: validated parameters, and a way to draw a specimen from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fluofocus.simulate.specimen import Specimen, SpecimenGrid

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class Phantom(BaseModel, ABC):
    """A kind of specimen and its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def half_depth_um(self, height_um: float) -> float:
        """How far specimens reach above and below depth zero, in a field so high along y."""
        return 10.0

    @abstractmethod
    def draw(self, grid: SpecimenGrid, generator: torch.Generator) -> Specimen:
        """Draw one specimen; the same generator state gives the same specimen."""


def truth_of(
    kind: str, positions_um: Tensor, diameters_um: Tensor, groups: list[str] | None = None
) -> tuple[dict[str, Any], ...]:
    """Return one entry per object, from positions ``(N, 3)``, z, y, x, and diameters ``(N,)``."""
    rows = zip(positions_um.tolist(), diameters_um.tolist(), strict=True)
    entries = []
    for index, ((z, y, x), diameter) in enumerate(rows):
        entry = {"kind": kind, "id": index, "z_um": z, "y_um": y, "x_um": x}
        entry["diameter_um"] = diameter
        if groups is not None:
            entry["group"] = groups[index]
        entries.append(entry)
    return tuple(entries)
