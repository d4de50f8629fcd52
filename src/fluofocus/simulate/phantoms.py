"""Phantoms: specimens drawn at random, with known truth; the table `PHANTOMS` lists them.

A phantom is a small validated configuration with a ``draw`` method. Photons are
relative: exposure is set when the image is recorded.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from fluofocus.simulate.brain_slice import BrainSlice
from fluofocus.simulate.drawing import draw_ellipsoids, draw_points, random_curves, smooth_noise
from fluofocus.simulate.phantom import NonNegative, Phantom, Positive, truth_of
from fluofocus.simulate.specimen import Specimen, SpecimenGrid

__all__ = ["PHANTOMS", "Beads", "BrainSlice", "Cells", "Filaments", "Nuclei", "Phantom", "Worm"]


class Beads(Phantom):
    """Fluorescent beads on a surface or throughout the depth.

    ``surface`` says where they lie: one ``plane``; a plane with a ``tilt`` of
    ``tilt_deg``, rising with y; a ``cylinder`` of ``cylinder_diameter_mm`` that lies along
    x, its crest at ``plane_depth_um``; or the whole ``volume``.
    ``count_per_1000_um2`` counts them per area of the field.
    """

    surface: Literal["plane", "tilt", "cylinder", "volume"] = "volume"
    diameter_um: Positive = 0.3
    count_per_1000_um2: Positive = 3.0
    brightness_spread: NonNegative = 0.2
    plane_depth_um: float = 0.0
    tilt_deg: float = 1.5
    cylinder_diameter_mm: Positive = 7.2

    def draw(self, grid: SpecimenGrid, generator: torch.Generator) -> Specimen:
        """Draw beads at random positions; their depth is rounded to the nearest slab."""
        height, width = grid.extent_yx_um
        count = max(1, round(self.count_per_1000_um2 * height * width / 1000))
        y = torch.rand(count, generator=generator) * height
        x = torch.rand(count, generator=generator) * width
        z = self._depth(grid, y - height / 2, generator)
        slabs = torch.tensor(grid.depths_um)[grid.slab_index(z)]
        spread = torch.exp(self.brightness_spread * torch.randn(count, generator=generator))
        positions = torch.stack([slabs, y, x], dim=1)
        return Specimen(
            grid,
            ball_positions_um=positions,
            ball_photons=spread,
            ball_radius_um=torch.full((count,), self.diameter_um / 2),
            truth=truth_of("bead", positions, torch.full((count,), self.diameter_um)),
        )

    def half_depth_um(self, height_um: float) -> float:
        """How far surface or volume reach above and below depth zero, at least."""
        middle_and_edges = torch.tensor([-0.5, 0.0, 0.5]) * height_um
        reach_um = float(self._surface_um(middle_and_edges).abs().max())
        return max(super().half_depth_um(height_um), reach_um)

    def _depth(self, grid: SpecimenGrid, y: Tensor, generator: torch.Generator) -> Tensor:
        if self.surface == "volume":
            low, high = grid.depths_um[0], grid.depths_um[-1]
            return low + (high - low) * torch.rand(len(y), generator=generator)
        return self._surface_um(y)

    def _surface_um(self, y: Tensor) -> Tensor:
        """Depth of the surface at distances from the middle along y, both in µm."""
        if self.surface == "tilt":
            return self.plane_depth_um + y * math.tan(math.radians(self.tilt_deg))
        if self.surface == "cylinder":
            radius = self.cylinder_diameter_mm * 500
            sagitta = radius - torch.sqrt((radius**2 - y**2).clamp(min=0))
            return self.plane_depth_um + sagitta
        return torch.full_like(y, self.plane_depth_um)


class Nuclei(Phantom):
    """Soft ellipsoidal nuclei of the sizes of *C. elegans* neurons, with chromatin texture.

    They lie in a slab ``thickness_um`` thick; ``clustering`` is the share that sits
    close to another. ``flatness`` is their height over their width, 1 for a ball and less for
    those of adherent cells; ``texture_um`` is the size of the chromatin's grains.
    """

    count_per_1000_um2: Positive = 25.0
    diameter_um: Positive = 2.8
    flatness: Annotated[float, Field(gt=0, le=1)] = 1.0
    diameter_spread: NonNegative = 0.2
    brightness_spread: NonNegative = 0.5
    thickness_um: Positive = 16.0
    clustering: Annotated[float, Field(ge=0, le=1)] = 0.5
    texture: Annotated[float, Field(ge=0, le=1)] = 0.25
    texture_um: Positive = 0.3

    def draw(self, grid: SpecimenGrid, generator: torch.Generator) -> Specimen:
        """Draw nuclei at random positions, some in clusters."""
        height, width = grid.extent_yx_um
        count = max(1, round(self.count_per_1000_um2 * height * width / 1000))
        extent = torch.tensor([self.thickness_um, height, width])
        centres = torch.rand((count, 3), generator=generator) * extent
        centres[:, 0] -= self.thickness_um / 2
        follows = torch.rand(count, generator=generator) < self.clustering
        leader = torch.randint(0, count, (count,), generator=generator)
        step = torch.randn((count, 3), generator=generator) * self.diameter_um
        centres = torch.where(follows[:, None], centres[leader] + step, centres)
        centres[:, 1:] %= extent[1:]
        return _nuclei_specimen(
            self,
            grid,
            centres,
            generator,
            names=None,
            flatness=self.flatness,
            texture_um=self.texture_um,
        )


class Filaments(Phantom):
    """Long thin filaments, such as microtubules or actin, wandering through the depth."""

    length_per_1000_um2_um: Positive = 600.0
    filament_length_um: Positive = 40.0
    persistence_um: Positive = 25.0
    thickness_um: Positive = 12.0
    flatness: Annotated[float, Field(gt=0, le=1)] = 0.25
    brightness_spread: NonNegative = 0.4

    def draw(self, grid: SpecimenGrid, generator: torch.Generator) -> Specimen:
        """Draw filaments as chains of points."""
        height, width = grid.extent_yx_um
        total_um = self.length_per_1000_um2_um * height * width / 1000
        count = max(1, round(total_um / self.filament_length_um))
        step_um = grid.spacing_um / 2
        curves = random_curves(
            count,
            self.filament_length_um,
            self.persistence_um,
            step_um,
            generator,
            flatness=self.flatness,
        )
        start = torch.rand((count, 3), generator=generator)
        start = start * torch.tensor([self.thickness_um, height, width])
        start[:, 0] -= self.thickness_um / 2
        points = curves - curves.mean(dim=1, keepdim=True) + start[:, None]
        spread = torch.exp(self.brightness_spread * torch.randn(count, generator=generator))
        volume = grid.empty_volume()
        photons = spread[:, None].expand(-1, points.shape[1]).reshape(-1)
        draw_points(volume, grid, points.reshape(-1, 3).to(volume), photons.to(volume))
        truth = tuple(
            {"kind": "filament", "id": index, "points_um": curve[:: max(1, round(1 / step_um))]}
            for index, curve in enumerate(points.tolist())
        )
        return Specimen(grid, volume=volume, truth=truth)


class Worm(Phantom):
    """A worm across the field with neuron nuclei dense in its head, each with an identity.

    Neurons lie in the head ganglia, along the ventral cord and in the tail, as in
    *C. elegans* (302 neurons, two thirds of them in the head).
    """

    neurons: Annotated[int, Field(ge=1, le=5000)] = 302
    body_diameter_um: Positive = 16.0
    bend_um: NonNegative = 20.0
    diameter_um: Positive = 2.8
    diameter_spread: NonNegative = 0.15
    brightness_spread: NonNegative = 0.5
    texture: Annotated[float, Field(ge=0, le=1)] = 0.2

    def draw(self, grid: SpecimenGrid, generator: torch.Generator) -> Specimen:
        """Draw one worm; the order of its neurons is the same in every draw."""
        height, width = grid.extent_yx_um
        kind = (torch.arange(self.neurons) * 3) // max(1, self.neurons)
        noise = torch.rand((self.neurons, 3), generator=generator)
        head = 0.06 + 0.16 * noise[:, 0]
        cord = 0.22 + 0.62 * noise[:, 0]
        tail = 0.86 + 0.08 * noise[:, 0]
        in_cord = (kind == 2) & (noise[:, 1] < 0.75)
        along = torch.where(kind < 2, head, torch.where(in_cord, cord, tail))
        radius = 0.5 * self.body_diameter_um * torch.sin(torch.pi * along.clamp(0.02, 0.98)) ** 0.4
        angle = 6.2832 * noise[:, 2]
        ring = radius * torch.sqrt(noise[:, 1].clamp(0.15, 0.85))
        ventral = -0.7 * radius
        lateral = torch.where(in_cord, ventral, ring * torch.cos(angle))
        z = torch.where(in_cord, 0.3 * radius * torch.cos(angle), ring * torch.sin(angle))
        phase = float(torch.rand(1, generator=generator)) * 6.2832
        bend = self.bend_um * torch.sin(6.2832 * along + phase)
        centres = torch.stack([z, height / 2 + bend + lateral, along * width], dim=1)
        names = [("head", "head", "body")[k] for k in kind.tolist()]
        return _nuclei_specimen(self, grid, centres, generator, names=names)


class Cells(Phantom):
    """Flat adherent cells with mitochondria-like and actin-like texture."""

    mitochondria_per_1000_um2: NonNegative = 40.0
    mitochondrion_length_um: Positive = 4.0
    actin_length_per_1000_um2_um: NonNegative = 900.0
    actin_length_um: Positive = 30.0
    actin_brightness: Positive = 0.3
    height_um: Positive = 5.0

    def draw(self, grid: SpecimenGrid, generator: torch.Generator) -> Specimen:
        """Draw a layer of cells whose height varies smoothly over the field."""
        height, width = grid.extent_yx_um
        relief = smooth_noise((1, 64, 64), (1, 10, 10), generator)[0]
        area = height * width / 1000
        volume = grid.empty_volume()
        step_um = grid.spacing_um / 2
        for per_area, length_um, persistence, flat, photons in (
            (self.mitochondria_per_1000_um2, self.mitochondrion_length_um, 3.0, 0.4, 1.0),
            (
                self.actin_length_per_1000_um2_um / self.actin_length_um,
                self.actin_length_um,
                200.0,
                0.05,
                self.actin_brightness,
            ),
        ):
            count = round(per_area * area)
            if count == 0:
                continue
            curves = random_curves(count, length_um, persistence, step_um, generator, flatness=flat)
            start = torch.rand((count, 3), generator=generator)
            row = (start[:, 1] * 63).long()
            column = (start[:, 2] * 63).long()
            depth = (start[:, 0] - 0.5 + 0.7 * relief[row, column]) * self.height_um / 2
            start = torch.stack([depth, start[:, 1] * height, start[:, 2] * width], dim=1)
            points = (curves - curves.mean(dim=1, keepdim=True) + start[:, None]).reshape(-1, 3)
            draw_points(
                volume, grid, points.to(volume), torch.full((len(points),), photons).to(volume)
            )
        return Specimen(grid, volume=volume)


def _nuclei_specimen(
    phantom: Nuclei | Worm,
    grid: SpecimenGrid,
    centres: Tensor,
    generator: torch.Generator,
    *,
    names: list[str] | None,
    flatness: float = 1.0,
    texture_um: float = 0.3,
) -> Specimen:
    count = len(centres)
    size = torch.exp(phantom.diameter_spread * torch.randn((count, 1), generator=generator))
    shape = torch.exp(0.12 * torch.randn((count, 3), generator=generator))
    radii = (phantom.diameter_um / 2 * size * shape).clamp(0.3, 3 * phantom.diameter_um)
    radii[:, 0] *= flatness
    spread = torch.exp(phantom.brightness_spread * torch.randn(count, generator=generator))
    photons = spread * radii.prod(dim=1)
    volume = grid.empty_volume()
    noise = smooth_noise(
        tuple(volume.shape),  # type: ignore[arg-type]
        (
            max(0.5, texture_um) / grid.depth_step_um,
            texture_um / grid.spacing_um,
            texture_um / grid.spacing_um,
        ),
        generator,
    )
    texture = (1 + phantom.texture * noise).clamp(min=0).to(volume)
    draw_ellipsoids(
        volume, grid, centres.to(volume), radii.to(volume), photons.to(volume), texture=texture
    )
    truth = truth_of("nucleus", centres, 2 * radii.mean(dim=1), names)
    return Specimen(grid, volume=volume, truth=truth)


PHANTOMS: dict[str, type[Phantom]] = {
    "beads": Beads,
    "nuclei": Nuclei,
    "filaments": Filaments,
    "worm": Worm,
    "cells": Cells,
    "brain_slice": BrainSlice,
}
