"""Drawing shapes into specimen volumes: many ellipsoids or curves at once."""

from __future__ import annotations

import torch
from torch import Tensor

from fluofocus.simulate.specimen import SpecimenGrid

NOISE_TILE = 128
"""Voxels after which random texture repeats in y and x."""


def draw_ellipsoids(
    volume: Tensor,
    grid: SpecimenGrid,
    centres_um: Tensor,
    radii_um: Tensor,
    photons: Tensor,
    *,
    texture: Tensor | None = None,
) -> None:
    """Add soft-edged solid ellipsoids to a volume, in place.

    Parameters
    ----------
    centres_um, radii_um
        ``(N, 3)``, z, y, x; the field is periodic in y and x, light beyond it in z is cut.
    photons
        ``(N,)`` photons emitted by each whole ellipsoid.
    texture
        Optional volume by which the ellipsoids are multiplied (chromatin).
    """
    if len(photons) == 0:
        return
    step = torch.tensor([grid.depth_step_um, grid.spacing_um, grid.spacing_um])
    step = step.to(centres_um)
    origin = torch.tensor([grid.depths_um[0], 0.0, 0.0]).to(centres_um)
    position = (centres_um - origin) / step
    reach = (radii_um.amax(dim=0) / step).ceil().long() + 1
    offsets = torch.stack(
        torch.meshgrid(
            *(torch.arange(-int(r), int(r) + 1, device=volume.device) for r in reach),
            indexing="ij",
        ),
        dim=-1,
    ).reshape(-1, 3)
    index = position.round().long()[:, None] + offsets[None]
    distance = ((index - position[:, None]) * step / radii_um[:, None]).norm(dim=-1)
    softness = (step[1] / radii_um.mean(dim=1))[:, None]
    weight = torch.sigmoid((1 - distance) / (0.5 * softness))
    weight = weight / weight.sum(dim=1, keepdim=True) * photons[:, None]
    _add_at(volume, index.reshape(-1, 3), weight.reshape(-1), texture)


def draw_points(volume: Tensor, grid: SpecimenGrid, points_um: Tensor, photons: Tensor) -> None:
    """Add points ``(N, 3)`` to a volume in place, each shared among its eight neighbours."""
    step = torch.tensor([grid.depth_step_um, grid.spacing_um, grid.spacing_um]).to(points_um)
    origin = torch.tensor([grid.depths_um[0], 0.0, 0.0]).to(points_um)
    position = (points_um - origin) / step
    floor = position.floor()
    fraction = position - floor
    for corner in range(8):
        bits = torch.tensor([corner >> 2 & 1, corner >> 1 & 1, corner & 1]).to(points_um.device)
        share = torch.where(bits.bool(), fraction, 1 - fraction).prod(dim=-1)
        _add_at(volume, floor.long() + bits, share * photons, None)


def _add_at(volume: Tensor, index: Tensor, values: Tensor, texture: Tensor | None) -> None:
    slabs, height, width = volume.shape
    inside = (index[:, 0] >= 0) & (index[:, 0] < slabs)
    z, y, x = index[inside].unbind(-1)
    flat = (z * height + y % height) * width + x % width
    values = values[inside]
    if texture is not None:
        values = values * texture.view(-1)[flat]
    volume.view(-1).index_add_(0, flat, values)


def random_curves(
    count: int,
    length_um: float,
    persistence_um: float,
    step_um: float,
    generator: torch.Generator,
    *,
    flatness: float = 0.3,
) -> Tensor:
    """Draw worm-like chains, ``(count, points, 3)``, each starting at the origin.

    ``flatness`` scales the z part of their direction; ``persistence_um`` is the length
    over which they keep it.
    """
    points = max(2, round(length_um / step_um))
    turns = torch.randn((count, points, 2), generator=generator) * (step_um / persistence_um) ** 0.5
    turns[:, 0] = torch.rand((count, 2), generator=generator) * 6.2832
    azimuth, tilt = turns.cumsum(dim=1).unbind(-1)
    direction = torch.stack(
        [flatness * torch.sin(tilt), torch.sin(azimuth), torch.cos(azimuth)], -1
    )
    direction = direction / direction.norm(dim=-1, keepdim=True)
    walk: Tensor = (direction * step_um).cumsum(dim=1)
    return walk


def smooth_noise(
    shape: tuple[int, int, int], scale: tuple[float, float, float], generator: torch.Generator
) -> Tensor:
    """Return noise of zero mean and unit variance, correlated over ``scale`` voxels.

    It is periodic; laterally it repeats after `NOISE_TILE` voxels to stay cheap.
    """
    full, shape = shape, (shape[0], min(shape[1], NOISE_TILE), min(shape[2], NOISE_TILE))
    spectrum = torch.fft.rfftn(torch.randn(shape, generator=generator))
    transfer = torch.ones(1)
    for axis, (size, width) in enumerate(zip(shape, scale, strict=True)):
        frequency = torch.fft.rfftfreq(size) if axis == 2 else torch.fft.fftfreq(size)
        gaussian = torch.exp(-2 * (torch.pi * frequency * width) ** 2)
        transfer = transfer * gaussian.view([-1 if i == axis else 1 for i in range(3)])
    noise = torch.fft.irfftn(spectrum * transfer, s=shape)
    noise = noise / noise.std().clamp(min=1e-9)
    repeats = [-(-whole // part) for whole, part in zip(full, shape, strict=True)]
    tiled: Tensor = noise.repeat(repeats)[: full[0], : full[1], : full[2]]
    return tiled
