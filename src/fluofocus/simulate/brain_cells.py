"""Painting cell bodies and their branches into a volume of brightness."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fluofocus.simulate.branches import Tubes
from fluofocus.simulate.drawing import smooth_noise
from fluofocus.simulate.specimen import SpecimenGrid

_TILE = (48, 128, 128)
"""Voxels of a texture, which repeats beyond."""

_OUTLINE_UM = 1.8
_ROUGHNESS = 0.12
"""Size and strength of the dents and bulges of a cell body."""

_BALLS_AT_ONCE = 512


@dataclass(frozen=True)
class Body:
    """A cell body or a nucleus: a dented ellipsoid, turned about z.

    Attributes
    ----------
    centre_um, radii_um : Tensor (3,)
        z, y, x.
    angle_rad
        By which it is turned.
    brightness
        Of its volume.
    core
        Radius of a core of another brightness, relative to its own.
    core_brightness
        Brightness of that, relative to the rest's.
    """

    centre_um: Tensor
    radii_um: Tensor
    angle_rad: float
    brightness: float
    core: float = 0.6
    core_brightness: float = 1.0


class Textures:
    """Grains within cells, and the roughness of their outlines, as periodic noise."""

    def __init__(self, grid: SpecimenGrid, grain_um: float, generator: torch.Generator) -> None:
        self.grains, self.outline = (
            smooth_noise(
                _TILE,
                (size / grid.depth_step_um, size / grid.spacing_um, size / grid.spacing_um),
                generator,
            )
            for size in (grain_um, _OUTLINE_UM)
        )


def paint_body(
    volume: Tensor,
    grid: SpecimenGrid,
    body: Body,
    textures: Textures,
    contrast: float,
    offset: int,
) -> None:
    """Paint a body where it is brighter than what is there, in place.

    Parameters
    ----------
    contrast
        Standard deviation of the logarithm of its grains' brightness.
    offset
        Where in the textures to begin, so that cells differ.
    """
    step = (grid.depth_step_um, grid.spacing_um, grid.spacing_um)
    origin = (grid.depths_um[0], 0.0, 0.0)
    reach = [float(body.radii_um[0]), *([float(body.radii_um[1:].max())] * 2)]
    places, offsets = [], []
    for axis in range(3):
        middle = (float(body.centre_um[axis]) - origin[axis]) / step[axis]
        half = math.ceil((1 + 3 * _ROUGHNESS) * reach[axis] / step[axis])
        index = torch.arange(math.floor(middle) - half, math.ceil(middle) + half + 1)
        if axis == 0:
            index = index[(index >= 0) & (index < len(grid.depths_um))]
        places.append(index)
        offsets.append((index - middle) * step[axis])
    if not len(places[0]):
        return
    dz, dy, dx = offsets[0][:, None, None], offsets[1][:, None], offsets[2]
    cosine, sine = math.cos(body.angle_rad), math.sin(body.angle_rad)
    radii = body.radii_um.tolist()
    across = ((cosine * dy + sine * dx) / radii[1]) ** 2 + (
        (cosine * dx - sine * dy) / radii[2]
    ) ** 2
    distance = torch.sqrt(across + (dz / radii[0]) ** 2)
    distance = distance * (1 + _ROUGHNESS * _cropped(textures.outline, places, offset))
    softness = grid.spacing_um / min(radii)
    inside = ((1 - distance) / softness + 0.5).clamp(0, 1)
    core = ((body.core - distance) / softness + 0.5).clamp(0, 1)
    grains = torch.exp(contrast * _cropped(textures.grains, places, offset) - contrast**2 / 2)
    light = body.brightness * inside * grains * (1 + (body.core_brightness - 1) * core)
    where = _flat_index(volume, *(places[0][:, None, None], places[1][:, None], places[2]))
    volume.view(-1).scatter_reduce_(0, where.flatten(), light.flatten().to(volume), "amax")


def paint_tubes(volume: Tensor, grid: SpecimenGrid, tubes: Tubes) -> None:
    """Paint tubes where they are brighter than what is there, in place."""
    if not len(tubes.radii_um):
        return
    step = torch.tensor([grid.depth_step_um, grid.spacing_um, grid.spacing_um])
    origin = torch.tensor([grid.depths_um[0], 0.0, 0.0])
    order = torch.argsort(tubes.radii_um)
    for chosen in torch.split(order, _BALLS_AT_ONCE):
        position = (tubes.points_um[chosen] - origin) / step
        radii = tubes.radii_um[chosen]
        places, offsets = [], []
        for axis, size in enumerate(step.tolist()):
            half = math.ceil((float(radii.max()) + grid.spacing_um / 2) / size)
            index = position[:, axis].round().long()[:, None] + torch.arange(-half, half + 1)
            shape = [len(chosen), *(-1 if axis == other else 1 for other in range(3))]
            places.append(index.view(shape))
            offsets.append(((index - position[:, axis, None]) * size).view(shape))
        distance = (offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2).sqrt()
        each = [len(chosen), 1, 1, 1]
        light = ((radii.view(each) - distance) / grid.spacing_um + 0.5).clamp(0, 1)
        light = light * tubes.brightness[chosen].view(each)
        painted = (light > 0) & (places[0] >= 0) & (places[0] < len(volume))
        where = _flat_index(volume, *places)[painted.to(volume.device)]
        volume.view(-1).scatter_reduce_(0, where, light[painted].to(volume), "amax")


def _cropped(tile: Tensor, places: list[Tensor], offset: int) -> Tensor:
    z, y, x = ((place + offset) % size for place, size in zip(places, tile.shape, strict=True))
    return tile[z[:, None, None], y[:, None], x]


def _flat_index(volume: Tensor, z: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return places in the flattened volume, periodic in y and x."""
    _, height, width = volume.shape
    return ((z * height + y % height) * width + x % width).to(volume.device)
