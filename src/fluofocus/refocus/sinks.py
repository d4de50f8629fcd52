"""Planes of the network's grid on their way to the input's."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from fluofocus.data.grid import Grid
from fluofocus.io.sinks import WHOLE, PlaneIndex, Sink
from fluofocus.units import FloatArray


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
