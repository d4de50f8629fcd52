"""Where refocused regions go on their way to an array or a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from fluofocus.refocus.grid import Grid
from fluofocus.units import FloatArray

PlaneIndex = tuple[int, ...]
WHOLE = slice(None)


class Sink(Protocol):
    """What takes regions (rows ``y``, columns ``x``) of planes, like a `StackWriter`."""

    def is_done(self, index: PlaneIndex, y: slice, x: slice) -> bool:
        """Tell whether a region need not be computed."""

    def write_region(self, index: PlaneIndex, y: slice, x: slice, block: FloatArray) -> None:
        """Take a region ``(h, w)``."""


@dataclass(frozen=True)
class ArraySink:
    """An array in memory with the axes of the index before Y and X."""

    array: FloatArray

    def is_done(self, index: PlaneIndex, y: slice, x: slice) -> bool:
        """Return False: a new array has no region yet."""
        return False

    def write_region(self, index: PlaneIndex, y: slice, x: slice, block: FloatArray) -> None:
        """Put a region ``(h, w)`` where it belongs."""
        self.array[index][y, x] = block


@dataclass
class ResamplingSink:
    """Puts planes of the network's grid together and passes each on, resampled, when whole."""

    sink: Sink
    grid: Grid
    _planes: dict[PlaneIndex, Tensor] = field(default_factory=dict)
    _missing_px: dict[PlaneIndex, int] = field(default_factory=dict)

    def is_done(self, index: PlaneIndex, y: slice, x: slice) -> bool:
        """Tell whether the whole plane is written, for no part of it can be."""
        return self.sink.is_done(index, WHOLE, WHOLE)

    def write_region(self, index: PlaneIndex, y: slice, x: slice, block: FloatArray) -> None:
        """Take a region ``(h, w)`` of the network's grid."""
        if index not in self._planes:
            self._planes[index] = torch.empty(self.grid.network_yx)
            self._missing_px[index] = self._planes[index].nelement()
        self._planes[index][y, x] = torch.from_numpy(block)
        self._missing_px[index] -= block.size
        if not self._missing_px[index]:
            plane = self.grid.to_input(self._planes.pop(index))
            self.sink.write_region(index, WHOLE, WHOLE, plane.numpy())
