"""Training pairs simulated while the training runs: no files, and no pair twice."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from fluofocus.data.stream import PairStream
from fluofocus.errors import FluoFocusError
from fluofocus.optics.description import blur_parameters, turned_parameters
from fluofocus.optics.microscope import Microscope, Modality
from fluofocus.prepare.normalise import common_normalisation, normalisation_from_image
from fluofocus.prepare.turns import turned
from fluofocus.simulate.camera import expected_counts, record
from fluofocus.simulate.draws import OpticsDraws, PhantomDraw, Range, log_uniform, uniform
from fluofocus.simulate.image_formation import ImageFormation
from fluofocus.simulate.specimen import Specimen, SpecimenGrid

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


def _in_order(bounds: Range) -> Range:
    low, high = bounds
    if low > high:
        raise ValueError(f"a range runs from low to high, not from {low:g} to {high:g}")
    return bounds


PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_in_order)]
"""Lowest and highest value of a draw, both above zero."""


class SimulationConfig(BaseModel):
    """What the simulated training pairs are drawn from.

    ``peak_photons`` are those of the brightest pixel of the whole focus scan.
    ``depth_um`` is how far above and below the middle specimens and focal planes
    reach. A specimen is imaged at ``planes_per_specimen`` planes, a share
    ``sharp_share`` of which, but not the last one, shows some of its emitters sharp, give or take
    ``sharp_spread_um`` (standard deviation), and used for ``images_per_specimen`` inputs on
    average; ``specimens_in_memory`` are mixed at a
    time. Likewise a microscope serves ``specimens_per_microscope`` specimens and
    ``microscopes_in_memory`` are mixed. With ``flips_and_rotations`` each pair is turned
    by a random multiple of 90 degrees and mirrored or not. A field has up to
    ``input_planes`` inputs. The network is told the optics of a share
    ``known_optics_share`` of the fields, if it takes them; with ``wider_known_optics`` these
    are of microscopes of their own, with three times the aberrations (`OpticsDraws.widened`):
    what is told may vary more than what has to be guessed. Targets are of the
    ``target_modality``, as bright at their brightest as the inputs' sharpest planes; a
    confocal microscope is without background, which is 0 in its targets, and without the
    pupil mask, which is in the wide-field path. Where
    targets differ from the inputs in that way, ``refocused`` is what the inputs'
    microscope would see at the targets' planes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    phantoms: Annotated[tuple[PhantomDraw, ...], Field(min_length=1)]
    optics: OpticsDraws = OpticsDraws()
    peak_photons: PositiveRange = (300.0, 20000.0)
    background_photons: PositiveRange = (1.0, 100.0)
    defocus_um: Positive = 10.0
    depth_um: Positive = 10.0
    z_step_um: PositiveRange = (0.4, 0.6)
    crop_px: Annotated[int, Field(ge=16)] = 128
    targets_per_image: Count = 4
    input_planes: Count = 1
    known_optics_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    wider_known_optics: bool = False
    planes_per_specimen: Annotated[int, Field(ge=2)] = 14
    sharp_share: Annotated[float, Field(ge=0, le=1)] = 0.6
    sharp_spread_um: Annotated[float, Field(ge=0)] = 0.5
    images_per_specimen: Count = 8
    specimens_in_memory: Count = 64
    microscopes_in_memory: Count = 48
    specimens_per_microscope: Count = 64
    flips_and_rotations: bool = True
    target_modality: Modality = "widefield"


class SimulatedPairs(PairStream):
    """Noisy inputs and clean targets, simulated when they are drawn (see `PairStream`).

    Raises
    ------
    FluoFocusError
        If the targets are confocal and the microscope has no excitation wavelength, or an
        aperture can be drawn that is not possible.
    """

    def __init__(self, microscope: Microscope, config: SimulationConfig, **position: int) -> None:
        super().__init__(most_inputs=config.input_planes, **position)
        target_microscope(microscope, config.target_modality)
        config.optics.require_possible(microscope)
        self.microscope = microscope
        self.config = config

    def source(self, seed: int) -> SimulatedSource:
        """Start a simulator."""
        return SimulatedSource(self.microscope, self.config, seed)


@dataclass(frozen=True)
class _Optics:
    grid: SpecimenGrid
    images: ImageFormation
    target_images: ImageFormation
    parameters: Tensor
    told_share: float


@dataclass(frozen=True)
class _ImagedSpecimen:
    """Images of one specimen, ``(planes, y, x)``, the brightest pixel one.

    ``targets`` are of the target modality. The first ``inputs`` of its planes are spread
    over the depth, the others focus on its emitters. ``parameters`` are those of its
    microscope, told in the share ``told_share`` of its fields.
    """

    photons: Tensor
    targets: Tensor
    planes_um: Tensor
    inputs: int
    parameters: Tensor
    told_share: float


class SimulatedSource:
    """Training pairs by number: each is drawn with its own seed from sliding windows.

    Pair ``i`` shows one of the ``specimens_in_memory`` specimens whose window it is in,
    specimen ``k`` one of the ``microscopes_in_memory`` microscopes; both are kept only
    as long as their windows last, microscopes until the last of those specimens is imaged.
    """

    def __init__(self, microscope: Microscope, config: SimulationConfig, seed: int) -> None:
        self.microscope = microscope
        self.config = config
        self.seed = seed
        others = math.ceil(config.specimens_in_memory / config.specimens_per_microscope)
        self._optics = lru_cache(config.microscopes_in_memory + others)(self._draw_optics)
        self._specimen = lru_cache(config.specimens_in_memory)(self._image_specimen)

    def _choice(self, kind: int, number: int) -> tuple[random.Random, torch.Generator]:
        seed = int(np.random.SeedSequence([self.seed, kind, number]).generate_state(1)[0])
        return random.Random(seed), torch.Generator().manual_seed(seed)

    def pair(self, number: int, inputs: int = 1) -> dict[str, Tensor]:
        """Return one field with its targets (see `PairStream`)."""
        choice, generator = self._choice(0, number)
        first = number // self.config.images_per_specimen
        for _ in range(20):
            specimen = self._specimen(first + choice.randrange(self.config.specimens_in_memory))
            try:
                return self._expose(specimen, inputs, choice, generator)
            except FluoFocusError:  # an exposure without any signal: take another
                continue
        raise FluoFocusError("The simulated images are all empty: raise peak_photons.")

    def _draw_optics(self, number: int) -> _Optics:
        config = self.config
        choice, generator = self._choice(1, number)
        draws, told_share = config.optics, config.known_optics_share
        if config.wider_known_optics:
            told_share = float(choice.random() < told_share)
            draws = draws.widened() if told_share else draws
        microscope = draws.draw(self.microscope, generator)
        step = uniform(config.z_step_um, generator)
        count = int(config.depth_um / step)
        depths = torch.arange(-count, count + 1) * step
        planes = depths + uniform((-0.5 * step, 0.5 * step), generator)
        grid = SpecimenGrid(
            (config.crop_px, config.crop_px), self.microscope.pixel_size_um, tuple(depths.tolist())
        )
        images = ImageFormation(microscope, grid, planes)
        seen = target_microscope(microscope, config.target_modality)
        return _Optics(
            grid,
            images,
            images if seen == microscope else ImageFormation(seen, grid, planes),
            blur_parameters(microscope, self.microscope),
            told_share,
        )

    def _image_specimen(self, number: int) -> _ImagedSpecimen:
        config = self.config
        choice, generator = self._choice(2, number)
        first = number // config.specimens_per_microscope
        optics = self._optics(first + choice.randrange(config.microscopes_in_memory))
        weights = [draw.weight for draw in config.phantoms]
        draw = choice.choices(config.phantoms, weights)[0]
        specimen = draw.draw(generator).draw(optics.grid, generator)
        all_planes = optics.images.planes_um
        sharp = round(config.sharp_share * config.planes_per_specimen)
        sharp = min(sharp, config.planes_per_specimen - 1)  # one at least is an input
        spread = min(config.planes_per_specimen - sharp, len(all_planes))
        depths = emitter_depths_um(specimen)
        planes = choice.sample(range(len(all_planes)), spread)
        for _ in range(sharp):
            depth = float(depths[choice.randrange(len(depths))])
            depth += choice.gauss(0, config.sharp_spread_um)
            depth += optics.target_images.best_focus_um  # which a mask in the input has not
            planes.append(int((all_planes - depth).abs().argmin()))
        photons = _relative(optics.images(specimen, planes))
        targets = photons
        if optics.target_images is not optics.images:
            targets = _relative(optics.target_images(specimen, planes))
        return _ImagedSpecimen(
            photons, targets, all_planes[planes], spread, optics.parameters, optics.told_share
        )

    def _expose(
        self,
        specimen: _ImagedSpecimen,
        inputs: int,
        choice: random.Random,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        config = self.config
        camera = self.microscope.camera
        planes, reachable = _choose_planes(specimen, inputs, config.defocus_um, choice)
        repeats = -(-config.targets_per_image // len(reachable))
        targets = choice.sample(reachable * repeats, config.targets_per_image)
        peak = log_uniform(config.peak_photons, generator)
        background = log_uniform(config.background_photons, generator)
        recorded = specimen.photons[planes] * peak + background
        counts = record(recorded, camera, generator)
        normalisation = common_normalisation(
            [normalisation_from_image(image) for image in counts.numpy().astype(np.uint16)]
        )

        def seen(photons: Tensor) -> Tensor:
            clean = photons[targets] * peak + background
            return normalisation.apply(expected_counts(clean, camera))

        pair = {"image": normalisation.apply(counts), "target": seen(specimen.targets)}
        if specimen.targets is not specimen.photons:
            pair["target"] -= seen(torch.zeros_like(specimen.targets))
            pair["refocused"] = seen(specimen.photons)
        optics = specimen.parameters * (choice.random() < specimen.told_share)
        if config.flips_and_rotations:
            turn = choice.randrange(4), choice.random() < 0.5
            pair = {key: turned(images, *turn) for key, images in pair.items()}
            optics = turned_parameters(optics, *turn)
        distances = specimen.planes_um[targets] - specimen.planes_um[planes][:, None]
        return pair | {"dpm_um": distances, "optics": optics}


def target_microscope(microscope: Microscope, modality: Modality) -> Microscope:
    """Return the microscope of the targets; only a wide-field one looks through the mask.

    Raises
    ------
    FluoFocusError
        If it is to be confocal and has no excitation wavelength.
    """
    if modality == "confocal" and microscope.excitation_wavelength_nm is None:
        raise FluoFocusError(
            "Confocal targets need the microscope's excitation_wavelength_nm: add it to its "
            "description."
        )
    mask = microscope.pupil_mask if modality == "widefield" else None
    return microscope.model_copy(update={"modality": modality, "pupil_mask": mask})


def _relative(photons: Tensor) -> Tensor:
    return photons / photons.max().clamp(min=1e-12)


def _choose_planes(
    specimen: _ImagedSpecimen, inputs: int, defocus_um: float, choice: random.Random
) -> tuple[list[int], list[int]]:
    """Draw different input planes, and list the targets that lie within reach of them all.

    Takes fewer inputs where there are too few planes, the last one again.
    """
    planes_um = specimen.planes_um
    planes = [choice.randrange(specimen.inputs)]
    while len(planes) < inputs:
        near = (planes_um[planes, None] - planes_um).abs().amax(dim=0) <= defocus_um
        others = [p for p in torch.nonzero(near)[:, 0].tolist() if p not in planes]
        planes.append(choice.choice(others) if others else planes[-1])
    reach = (planes_um[planes, None] - planes_um).abs().amax(dim=0) <= defocus_um
    return planes, torch.nonzero(reach)[:, 0].tolist()


def emitter_depths_um(specimen: Specimen) -> Tensor:
    """Return the depths of a specimen's balls, or of the slabs of its volume that emit."""
    if specimen.volume is None:
        return specimen.ball_positions_um[:, 0]
    emitted = specimen.volume.sum(dim=(1, 2)).cpu()
    return torch.tensor(specimen.grid.depths_um)[emitted >= 0.01 * emitted.mean()]
