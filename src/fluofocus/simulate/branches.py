"""Branching, tapering processes of cells: dendrites, and the arms of microglia."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STEP_UM = 0.25
"""Distance of two points of a branch."""


@dataclass(frozen=True)
class Tubes:
    """Tubes as rows of balls.

    Attributes
    ----------
    points_um : Tensor (N, 3)
        z, y, x.
    radii_um, brightness : Tensor (N,)
    """

    points_um: Tensor
    radii_um: Tensor
    brightness: Tensor

    @classmethod
    def joined(cls, parts: list[Tubes]) -> Tubes:
        """Put the balls of several together."""
        return cls(
            torch.cat([torch.zeros(0, 3), *(part.points_um for part in parts)]),
            torch.cat([torch.zeros(0), *(part.radii_um for part in parts)]),
            torch.cat([torch.zeros(0), *(part.brightness for part in parts)]),
        )


@dataclass(frozen=True)
class Branching:
    """How a kind of cell branches.

    Attributes
    ----------
    length_um, radius_um
        Of a branch that leaves the body, at the body; it tapers to ``end_radius_um``.
    persistence_um
        Length over which a branch keeps its direction.
    twigs
        Side branches of each branch, of ``twig_share`` of its length and radius.
    """

    length_um: float
    radius_um: float
    end_radius_um: float
    persistence_um: float
    twigs: int
    twig_share: float = 0.6

    def grow(
        self, starts_um: Tensor, directions: Tensor, brightness: Tensor, generator: torch.Generator
    ) -> Tubes:
        """Grow one branch from every start ``(N, 3)``, with its twigs."""
        if not len(starts_um):
            return Tubes.joined([])
        length = self.length_um * (0.5 + 0.5 * torch.rand(len(starts_um), generator=generator))
        stems = self._walk(starts_um, directions, length, generator)
        parts = [self._tubes(stems, length, brightness, 1.0)]
        for _ in range(self.twigs):
            along = (0.2 + 0.7 * torch.rand(len(stems), generator=generator)) * length / STEP_UM
            index = along.long().clamp(1, stems.shape[1] - 1)
            each = torch.arange(len(stems))
            root, onwards = stems[each, index], stems[each, index] - stems[each, index - 1]
            aside = torch.randn(onwards.shape, generator=generator)
            way = _unit(_unit(onwards) + 1.2 * _unit(aside))
            twig_length = self.twig_share * length * torch.rand(len(stems), generator=generator)
            twigs = self._walk(root, way, twig_length, generator)
            parts.append(self._tubes(twigs, twig_length, brightness, self.twig_share))
        return Tubes.joined(parts)

    def _walk(
        self, starts_um: Tensor, directions: Tensor, length_um: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return paths ``(N, points, 3)``, all as long as the longest."""
        bend = (2 * STEP_UM / self.persistence_um) ** 0.5 / 3**0.5
        heading, place, path = directions, starts_um, [starts_um]
        for _ in range(max(1, round(float(length_um.max()) / STEP_UM))):
            heading = _unit(heading + bend * torch.randn(heading.shape, generator=generator))
            place = place + STEP_UM * heading
            path.append(place)
        return torch.stack(path, dim=1)

    def _tubes(
        self, paths: Tensor, length_um: Tensor, brightness: Tensor, thickness: float
    ) -> Tubes:
        along = torch.arange(paths.shape[1]) * STEP_UM / length_um[:, None]
        radii = self.radius_um + (self.end_radius_um - self.radius_um) * along.clamp(max=1)
        radii = (thickness * radii).clamp(min=self.end_radius_um)
        # Thick balls may lie further apart.
        stride = (radii / (2 * STEP_UM)).round().clamp(min=1)
        kept = (along <= 1) & (torch.arange(paths.shape[1]) % stride == 0)
        return Tubes(paths[kept], radii[kept], brightness[:, None].expand_as(radii)[kept])


def random_directions(count: int, generator: torch.Generator) -> Tensor:
    """Draw unit vectors ``(count, 3)`` evenly over the sphere."""
    return _unit(torch.randn((count, 3), generator=generator))


def _unit(vectors: Tensor) -> Tensor:
    unit: Tensor = vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    return unit
