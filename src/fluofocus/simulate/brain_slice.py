"""A slice of brain: neurons and microglia, or the nuclei of all cells, in scattering tissue."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fluofocus.simulate.brain_cells import Body, Textures, paint_body, paint_tubes
from fluofocus.simulate.branches import Branching, Tubes, random_directions
from fluofocus.simulate.drawing import smooth_noise
from fluofocus.simulate.phantom import NonNegative, Phantom, Positive, truth_of
from fluofocus.simulate.specimen import Specimen, SpecimenGrid
from fluofocus.simulate.tissue import Tissue

_MICROGLIA_DIAMETER_UM = 5.5
_OTHER_DIAMETER_UM = 7.0
_NEUROPIL_UM = 0.8
"""Distance of the points between which the brightness of neuropil is drawn."""


class BrainSlice(Phantom):
    """A slice of brain, as of mouse cortex, that fills the field and scatters light.

    It lies between ``-thickness_um / 2``, where the objective is, and ``thickness_um / 2``;
    the knife cuts the cells at both. ``stain`` says what fluoresces: ``cells`` (neurons with
    their dendrites, and microglia with their processes), ``neurons`` or ``microglia`` alone,
    or the ``nuclei`` of all cells, with bright chromocentres. The same seed gives the same
    cells with every stain. Brightness is relative to the cytoplasm of neurons; ``neuropil``
    is that of the tissue between the cells. Scattering and absorption: see
    `fluofocus.simulate.tissue.Tissue`.

    Mouse cortex holds about 90 neurons in 1e6 µm³ and a tenth as many microglia (Herculano-
    Houzel et al., Front. Neuroanat. 7, 35, 2013; Lawson et al., Neuroscience 39, 151, 1990).
    Grey matter scatters light every 30 to 100 µm (Taddeucci et al., J. Biomed. Opt. 1, 117,
    1996), with an anisotropy of about 0.9 (Jacques, Phys. Med. Biol. 58, R37, 2013).
    """

    stain: Literal["cells", "neurons", "microglia", "nuclei"] = "cells"
    thickness_um: Positive = 40.0
    neurons_per_1e6_um3: NonNegative = 90.0
    microglia_per_1e6_um3: NonNegative = 10.0
    other_cells_per_1e6_um3: NonNegative = 60.0
    soma_diameter_um: Annotated[float, Field(ge=3, le=30)] = 11.0
    diameter_spread: NonNegative = 0.15
    dendrites_per_neuron: Annotated[int, Field(ge=0, le=12)] = 5
    dendrite_length_um: Positive = 50.0
    dendrite_brightness: NonNegative = 0.4
    processes_per_microglia: Annotated[int, Field(ge=0, le=12)] = 6
    process_length_um: Positive = 18.0
    nucleus_brightness: NonNegative = 1.3
    brightness_spread: NonNegative = 0.5
    texture: NonNegative = 0.3
    texture_um: Positive = 0.4
    neuropil: NonNegative = 0.06
    scattering_length_um: Positive | None = 80.0
    anisotropy: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    absorption_length_um: Positive | None = None

    def half_depth_um(self, height_um: float) -> float:
        """Half of the slice's thickness."""
        return self.thickness_um / 2

    @property
    def tissue(self) -> Tissue:
        """What the light passes."""
        return Tissue(
            thickness_um=self.thickness_um,
            scattering_length_um=self.scattering_length_um,
            anisotropy=self.anisotropy,
            absorption_length_um=self.absorption_length_um,
        )

    def draw(self, grid: SpecimenGrid, generator: torch.Generator) -> Specimen:
        """Draw a slice whose cell bodies lie apart."""
        cells = self._cells(grid, generator)
        tubes = self._branches(cells, generator)
        textures = Textures(grid, self.texture_um, generator)
        volume = self._neuropil(grid, generator)
        for number, (kind, body) in enumerate(cells):
            if self.stain == "nuclei":
                paint_body(volume, grid, _nucleus(kind, body), textures, 2 * self.texture, number)
            elif self._stains(kind):
                paint_body(volume, grid, body, textures, self.texture, number)
        if self.stain != "nuclei":
            paint_tubes(volume, grid, tubes)
        depths = torch.tensor(grid.depths_um, device=volume.device)
        volume[depths.abs() > self.thickness_um / 2] = 0
        volume *= grid.depth_step_um * grid.spacing_um**2
        return Specimen(grid, volume=volume, truth=_truth(cells), tissue=self.tissue)

    def _stains(self, kind: str) -> bool:
        stained = {"cells": ("neuron", "microglia"), "nuclei": ("neuron", "microglia", "other")}
        return kind in stained.get(self.stain, (self.stain.rstrip("s"),))

    def _cells(self, grid: SpecimenGrid, generator: torch.Generator) -> list[tuple[str, Body]]:
        """Place cells of every kind, also those whose middle the knife has just missed."""
        height, width = grid.extent_yx_um
        box = torch.tensor([self.thickness_um + self.soma_diameter_um, height, width])
        cells: list[tuple[str, Body]] = []
        for kind, per_1e6_um3, diameter_um in (
            ("neuron", self.neurons_per_1e6_um3, self.soma_diameter_um),
            ("microglia", self.microglia_per_1e6_um3, _MICROGLIA_DIAMETER_UM),
            ("other", self.other_cells_per_1e6_um3, _OTHER_DIAMETER_UM),
        ):
            expected = torch.tensor(per_1e6_um3 * float(box.prod()) / 1e6)
            for _ in range(int(torch.poisson(expected, generator=generator))):
                body = self._body(kind, diameter_um, generator)
                placed = _placed(body, [other for _, other in cells], box, generator)
                if placed is not None:
                    cells.append((kind, placed))
        return cells

    def _body(self, kind: str, diameter_um: float, generator: torch.Generator) -> Body:
        size, bright = torch.randn(2, generator=generator).tolist()
        shape = torch.exp(0.1 * torch.randn(3, generator=generator))
        longer = torch.tensor([1.0, 1.5, 0.8] if kind == "microglia" else [1.0, 1.12, 0.92])
        return Body(
            centre_um=torch.zeros(3),
            radii_um=diameter_um / 2 * math.exp(self.diameter_spread * size) * shape * longer,
            angle_rad=2 * math.pi * float(torch.rand(1, generator=generator)),
            brightness=math.exp(self.brightness_spread * bright),
            core_brightness=self.nucleus_brightness if kind == "neuron" else 1.0,
        )

    def _branches(self, cells: list[tuple[str, Body]], generator: torch.Generator) -> Tubes:
        dendrite = Branching(self.dendrite_length_um, 1.2, 0.35, 60.0, twigs=2)
        process = Branching(self.process_length_um, 0.5, 0.2, 8.0, twigs=4)
        parts = []
        for name, branching, count, brightness in (
            ("neuron", dendrite, self.dendrites_per_neuron, self.dendrite_brightness),
            ("microglia", process, self.processes_per_microglia, 0.8),
        ):
            bodies = [body for kind, body in cells if kind == name for _ in range(count)]
            ways = random_directions(len(bodies), generator)
            radii = torch.tensor([float(body.radii_um.min()) for body in bodies])
            bright = torch.tensor([brightness * body.brightness for body in bodies])
            centres = torch.stack([torch.zeros(3), *(body.centre_um for body in bodies)])[1:]
            starts = centres + 0.8 * radii[:, None] * ways
            tubes = branching.grow(starts, ways, bright, generator)
            if self._stains(name):
                parts.append(tubes)
        return Tubes.joined(parts)

    def _neuropil(self, grid: SpecimenGrid, generator: torch.Generator) -> Tensor:
        volume = grid.empty_volume()
        thickness_um = len(grid.depths_um) * grid.depth_step_um
        sizes = [
            max(2, math.ceil(extent / _NEUROPIL_UM))
            for extent in (thickness_um, *grid.extent_yx_um)
        ]
        noise = smooth_noise((sizes[0], sizes[1], sizes[2]), (1.0, 1.0, 1.0), generator)
        brightness = self.neuropil * (1 + 0.4 * noise).clamp(min=0)
        for index, slab in enumerate(volume):
            level = brightness[index * sizes[0] // len(volume)]
            slab += F.interpolate(
                level[None, None].to(volume), size=slab.shape, mode="bilinear", align_corners=False
            )[0, 0]
        return volume


def _placed(body: Body, others: list[Body], box: Tensor, generator: torch.Generator) -> Body | None:
    """Put a body where it touches no other, if a few tries find room for it."""
    for _ in range(20):
        centre = torch.rand(3, generator=generator) * box
        centre[0] -= box[0] / 2
        if all(_apart(body, centre, other, box) for other in others):
            return replace(body, centre_um=centre)
    return None


def _apart(body: Body, centre: Tensor, other: Body, box: Tensor) -> bool:
    between = (centre - other.centre_um).abs()
    between[1:] = between[1:].minimum(box[1:] - between[1:])
    return float(between.norm()) > float(body.radii_um.mean() + other.radii_um.mean())


def _nucleus(kind: str, body: Body) -> Body:
    share = 0.65 if kind == "neuron" else 0.85
    return replace(body, radii_um=share * body.radii_um, core_brightness=1.0)


def _truth(cells: list[tuple[str, Body]]) -> tuple[dict[str, Any], ...]:
    centres = torch.stack([torch.zeros(3), *(body.centre_um for _, body in cells)])[1:]
    diameters = torch.tensor([2 * float(body.radii_um.mean()) for _, body in cells])
    entries = truth_of("cell", centres, diameters)
    return tuple(entry | {"kind": kind} for entry, (kind, _) in zip(entries, cells, strict=True))
