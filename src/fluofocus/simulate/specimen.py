"""What is imaged: emitters on a grid, and the truth about them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from fluofocus.simulate.tissue import Tissue


@dataclass(frozen=True)
class SpecimenGrid:
    """The grid a specimen lives on: camera pixels, finer points between them, slabs in z.

    ``depths_um`` are the centres of the slabs. Laterally, coordinates run from 0 at the
    centre of the first pixel; the world is periodic beyond the last one.
    """

    shape_yx: tuple[int, int]
    pixel_size_um: float
    depths_um: tuple[float, ...]
    oversampling: int = 2
    device: torch.device | str = "cpu"

    @property
    def spacing_um(self) -> float:
        """Distance between two points of the fine grid."""
        return self.pixel_size_um / self.oversampling

    @property
    def fine_shape_yx(self) -> tuple[int, int]:
        """Points of the fine grid along y and x."""
        return self.shape_yx[0] * self.oversampling, self.shape_yx[1] * self.oversampling

    @property
    def extent_yx_um(self) -> tuple[float, float]:
        """Size of the field along y and x."""
        return self.shape_yx[0] * self.pixel_size_um, self.shape_yx[1] * self.pixel_size_um

    @property
    def depth_step_um(self) -> float:
        """Thickness of a slab."""
        if len(self.depths_um) == 1:
            return 1.0
        return (self.depths_um[-1] - self.depths_um[0]) / (len(self.depths_um) - 1)

    def empty_volume(self) -> Tensor:
        """Return a volume of zeros, ``(slabs, fine y, fine x)``."""
        return torch.zeros((len(self.depths_um), *self.fine_shape_yx), device=self.device)

    def slab_index(self, z_um: Tensor) -> Tensor:
        """Index of the slab nearest to each depth."""
        index = torch.round((z_um - self.depths_um[0]) / self.depth_step_um).long()
        return index.clamp(0, len(self.depths_um) - 1)


@dataclass(frozen=True)
class Specimen:
    """Emitters: a volume of photons per voxel, and solid balls at exact positions.

    Attributes
    ----------
    volume
        ``(slabs, fine y, fine x)`` photons emitted per voxel, or None.
    ball_positions_um
        ``(N, 3)``, z, y, x; z is the depth of a slab.
    ball_photons, ball_radius_um
        ``(N,)``.
    truth
        One entry per object, with its position, size and identity.
    tissue
        What scatters the light, or None.
    """

    grid: SpecimenGrid
    volume: Tensor | None = None
    ball_positions_um: Tensor = field(default_factory=lambda: torch.zeros(0, 3))
    ball_photons: Tensor = field(default_factory=lambda: torch.zeros(0))
    ball_radius_um: Tensor = field(default_factory=lambda: torch.zeros(0))
    truth: tuple[dict[str, Any], ...] = ()
    tissue: Tissue | None = None

    def trimmed(self) -> Specimen:
        """Return the same emitters on a grid without the empty slabs above and below them."""
        emits = torch.zeros(len(self.grid.depths_um), dtype=torch.bool)
        if self.volume is not None:
            emits |= (self.volume.flatten(1).amax(dim=1) > 0).cpu()
        emits[self.grid.slab_index(self.ball_positions_um[:, 0])] = True
        if not emits.any():
            return self
        first, last = int(emits.nonzero()[0]), int(emits.nonzero()[-1])
        return replace(
            self,
            grid=replace(self.grid, depths_um=self.grid.depths_um[first : last + 1]),
            volume=None if self.volume is None else self.volume[first : last + 1],
        )
