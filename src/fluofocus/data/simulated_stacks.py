"""Pairs of stacks simulated while a training runs: one specimen through two microscopes."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, model_validator
from scipy import ndimage
from torch import Tensor

from fluofocus.data.simulated import PositiveRange, target_microscope
from fluofocus.data.stack_pairs import Count, StackPatches, cut_patch
from fluofocus.data.stream import PairStream
from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import Microscope, Modality
from fluofocus.prepare.normalise import normalisation_from_stack
from fluofocus.simulate.camera import record
from fluofocus.simulate.draws import OpticsDraws, PhantomDraw, Range, log_uniform
from fluofocus.simulate.image_formation import ImageFormation
from fluofocus.simulate.specimen import Specimen, SpecimenGrid
from fluofocus.units import FloatArray, nm_to_um

NonNegative = Annotated[float, Field(ge=0)]

_DRAWS = 20


class StackSimulationConfig(StackPatches):
    """What simulated pairs of stacks are drawn from, beside how patches are cut from them.

    A specimen fills ``field_px`` rows and columns and is scanned over ``depth_um``, from the
    first to the last focal plane, in its own coordinate. ``peak_photons`` are those of the
    brightest voxel of the input, over ``background_photons``. Inputs are noisy and wide-field;
    targets are free of noise and of the ``target_modality``. Each specimen is recorded once and
    gives ``patches_per_stack`` patches on average, ``stacks_in_memory`` are mixed at a time; a
    microscope serves ``stacks_per_microscope`` specimens. Specimens are drawn on a grid of
    ``oversampling`` points per pixel and axis. Each target is shifted against its input, by
    ``target_shift_rms_zyx`` planes and pixels rms, as a registration may leave it. With
    ``depth_dependent`` the aberration of each depth is that of its own distance to the coverslip.
    """

    phantoms: Annotated[tuple[PhantomDraw, ...], Field(min_length=1)]
    optics: OpticsDraws = OpticsDraws()
    peak_photons: PositiveRange = (300.0, 5000.0)
    background_photons: PositiveRange = (1.0, 50.0)
    depth_um: Range = (-10.0, 10.0)
    field_px: Annotated[int, Field(ge=32)] = 320
    target_modality: Modality = "confocal"
    patches_per_stack: Count = 16
    stacks_in_memory: Count = 12
    stacks_per_microscope: Count = 8
    oversampling: Annotated[int, Field(ge=1, le=4)] = 2
    depth_dependent: bool = False
    target_shift_rms_zyx: tuple[NonNegative, NonNegative, NonNegative] = (0.0, 0.0, 0.0)

    @model_validator(mode="after")
    def _check_sizes(self) -> StackSimulationConfig:
        if self.crop_px > self.field_px:
            raise ValueError(f"crop_px {self.crop_px} does not fit into field_px {self.field_px}")
        if len(self.focal_planes_um) < self.planes:
            raise ValueError(
                f"depth_um {self.depth_um[0]:g} to {self.depth_um[1]:g} holds fewer than "
                f"{self.planes} planes {self.z_step_um:g} µm apart"
            )
        return self

    @property
    def focal_planes_um(self) -> list[float]:
        """Of each stack."""
        low, high = self.depth_um
        count = math.floor((high - low) / self.z_step_um + 1e-6) + 1
        return [low + index * self.z_step_um for index in range(max(0, count))]


class SimulatedStackPairs(PairStream):
    """Noisy stacks and what another microscope would show, simulated when they are drawn.

    Batches hold ``input`` and ``target``, ``(B, 1, Z, Y, X)``, each normalised by its own whole
    stack.

    Raises
    ------
    FluoFocusError
        If the targets are confocal and the microscope has no excitation wavelength, or an
        aperture can be drawn that is not possible.
    """

    def __init__(
        self, microscope: Microscope, config: StackSimulationConfig, **position: int
    ) -> None:
        super().__init__(**position)
        target_microscope(microscope, config.target_modality)
        config.optics.require_possible(microscope)
        self.microscope = microscope
        self.config = config

    def source(self, seed: int) -> SimulatedStackSource:
        """Start a simulator."""
        return SimulatedStackSource(self.microscope, self.config, seed)


@dataclass(frozen=True)
class _Optics:
    grid: SpecimenGrid
    input_images: ImageFormation
    target_images: ImageFormation


@dataclass(frozen=True)
class _Recorded:
    """A pair of normalised stacks, ``(Z, Y, X)``."""

    input: FloatArray
    target: FloatArray


class SimulatedStackSource:
    """Pairs by number, each drawn with its own seed from sliding windows of specimens."""

    def __init__(self, microscope: Microscope, config: StackSimulationConfig, seed: int) -> None:
        self.microscope = microscope
        self.config = config
        self.seed = seed
        self._optics = lru_cache(2 + config.stacks_in_memory // config.stacks_per_microscope)(
            self._draw_optics
        )
        self._recorded = lru_cache(config.stacks_in_memory)(self._record)

    def pair(self, number: int, inputs: int = 1) -> dict[str, Tensor]:
        """Return one patch of a stack and of its target (see `SimulatedStackPairs`)."""
        choice, _ = self._choice(0, number)
        first = number // self.config.patches_per_stack
        recorded = self._recorded(first + choice.randrange(self.config.stacks_in_memory))
        return cut_patch(recorded.input, recorded.target, self.config, choice)

    def _choice(self, kind: int, number: int) -> tuple[random.Random, torch.Generator]:
        seed = int(np.random.SeedSequence([self.seed, kind, number]).generate_state(1)[0])
        return random.Random(seed), torch.Generator().manual_seed(seed)

    def _draw_optics(self, number: int) -> _Optics:
        config = self.config
        _, generator = self._choice(1, number)
        microscope = config.optics.draw(self.microscope, generator)
        planes_um = torch.tensor(config.focal_planes_um)
        grid = SpecimenGrid(
            (config.field_px, config.field_px),
            self.microscope.pixel_size_um,
            _slab_depths_um(microscope, config),
            oversampling=config.oversampling,
        )
        images = [
            ImageFormation(each, grid, planes_um, depth_dependent=config.depth_dependent)
            for each in (microscope, target_microscope(microscope, config.target_modality))
        ]
        return _Optics(grid, *images)

    def _record(self, number: int) -> _Recorded:
        """Draw, image and expose a specimen, another one where that shows nothing."""
        choice, generator = self._choice(2, number)
        optics = self._optics(number // self.config.stacks_per_microscope)
        weights = [draw.weight for draw in self.config.phantoms]
        for _ in range(_DRAWS):
            draw = choice.choices(self.config.phantoms, weights)[0]
            specimen = draw.draw(generator).draw(optics.grid, generator)
            photons, wanted = imaged_pair(specimen, optics.input_images, optics.target_images)
            try:
                return self._exposed(photons, wanted, generator)
            except FluoFocusError:
                continue
        raise FluoFocusError(
            "The simulated stacks are all empty: raise peak_photons, or have more in the specimens."
        )

    def _exposed(self, photons: Tensor, wanted: Tensor, generator: torch.Generator) -> _Recorded:
        config = self.config
        peak = log_uniform(config.peak_photons, generator)
        background = log_uniform(config.background_photons, generator)
        exposure = photons / photons.max().clamp(min=1e-12) * peak + background
        counts = record(exposure, self.microscope.camera, generator).numpy().astype(np.uint16)
        target = self._shifted(wanted.numpy(), generator)
        return _Recorded(
            normalisation_from_stack(counts).apply(counts).astype(np.float32),
            normalisation_from_stack(target).apply(target).astype(np.float32),
        )

    def _shifted(self, target: FloatArray, generator: torch.Generator) -> FloatArray:
        rms = self.config.target_shift_rms_zyx
        if not any(rms):
            return target
        shift = torch.randn(3, generator=generator).numpy() * rms
        return np.asarray(ndimage.shift(target, shift, mode="nearest").clip(min=0), np.float32)


def imaged_pair(
    specimen: Specimen, input_images: ImageFormation, target_images: ImageFormation
) -> tuple[Tensor, Tensor]:
    """Return what two microscopes see of one specimen, photons ``(Z, Y, X)`` each.

    A specimen in tissue is seen through it by both.
    """
    return input_images(specimen), target_images(specimen)


def _slab_depths_um(microscope: Microscope, config: StackSimulationConfig) -> tuple[float, ...]:
    """Cut the depth into slabs of at most half a depth of field, a whole number per plane."""
    depth_of_field_um = (
        microscope.immersion_index
        * nm_to_um(microscope.emission_wavelength_nm)
        / microscope.numerical_aperture**2
    )
    per_plane = math.ceil(2 * config.z_step_um / depth_of_field_um - 1e-6)
    planes_um = config.focal_planes_um
    slabs = (len(planes_um) - 1) * per_plane + 1
    return tuple(planes_um[0] + index * config.z_step_um / per_plane for index in range(slabs))
