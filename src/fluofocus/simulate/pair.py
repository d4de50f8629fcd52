"""Wide-field and confocal stacks of one slice of tissue, as far apart as stages leave them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import Microscope
from fluofocus.simulate.phantom import Phantom
from fluofocus.simulate.specimen import SpecimenGrid
from fluofocus.simulate.stack import (
    Positions,
    SimulatedStack,
    check_exposure,
    checked_planes,
    exposed,
    recorded,
    slab_depths_um,
)
from fluofocus.simulate.tissue import Tissue
from fluofocus.simulate.tissue_imaging import TissueImaging

Matrix = npt.NDArray[np.float64]

_THICKEST_SLAB_UM = 0.25
"""Most that a slab of the specimens may be thick."""


@dataclass(frozen=True)
class Misregistration:
    """Where the confocal stack shows what the wide-field one shows.

    Attributes
    ----------
    shift_zyx : tuple of float
        Planes and pixels by which the confocal content is moved.
    turn_deg, scale : float
        By which it is turned and enlarged about the centre of the field.
    """

    shift_zyx: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn_deg: float = 0.0
    scale: float = 1.0

    def matrix(self, shape_yx: tuple[int, int]) -> Matrix:
        """Return ``(y, x, 1)`` of wide-field pixels to those of confocal ones, ``(3, 3)``."""
        cosine, sine = (
            self.scale * turn(math.radians(self.turn_deg)) for turn in (math.cos, math.sin)
        )
        linear = np.array([[cosine, -sine], [sine, cosine]])
        centre = (np.array(shape_yx) - 1) / 2
        matrix = np.eye(3)
        matrix[:2, :2] = linear
        matrix[:2, 2] = centre - linear @ centre + self.shift_zyx[1:]
        return matrix

    def margin_px(self, shape_yx: tuple[int, int]) -> int:
        """Return how far beyond a field its pixels are moved."""
        corners = np.array([[y, x, 1.0] for y in (0, shape_yx[0]) for x in (0, shape_yx[1])])
        furthest = np.abs(corners @ self.matrix(shape_yx).T - corners).max()
        return math.ceil(furthest) + 2 if furthest > 0 else 0

    def moved(self, stack: Tensor, shape_yx: tuple[int, int]) -> Tensor:
        """Move planes ``(Z, Y, X)`` and cut the field out of their middle."""
        matrix = np.linalg.inv(self.matrix(shape_yx))
        margin = np.array([stack.shape[-2] - shape_yx[0], stack.shape[-1] - shape_yx[1]]) // 2
        if np.array_equal(matrix, np.eye(3)):
            top, left = margin.tolist()
            return stack[:, top : top + shape_yx[0], left : left + shape_yx[1]]
        planes = [
            ndimage.affine_transform(
                plane, matrix[:2, :2], matrix[:2, 2] + margin, output_shape=shape_yx
            )
            for plane in stack.numpy()
        ]
        return torch.from_numpy(np.stack(planes)).clamp(min=0)


@dataclass(frozen=True)
class StackPair:
    """Stacks of one specimen at the same stage positions, and how they lie to each other."""

    widefield: SimulatedStack
    confocal: SimulatedStack
    misregistration: Misregistration


class PairImaging:
    """Both modalities' images of any slices of one tissue.

    What takes time is computed once: the pair of a further slice costs little more than drawing
    it.

    Parameters
    ----------
    microscope
        It gets both modalities in turn.
    tissue
        That of the slices to be imaged.
    shape_yx, planes_um
        Of both stacks.
    depth_dependent
        Whether each depth has the aberration of its own distance to the coverslip.
    oversampling
        Points of the specimens' grid per pixel and axis.

    Raises
    ------
    FluoFocusError
        If the microscope has no excitation wavelength, or points do not look the same in all
        directions.
    """

    def __init__(
        self,
        microscope: Microscope,
        tissue: Tissue,
        *,
        shape_yx: tuple[int, int],
        planes_um: Positions,
        misregistration: Misregistration | None = None,
        depth_dependent: bool = True,
        oversampling: int = 1,
    ) -> None:
        self.misregistration = misregistration or Misregistration()
        self.planes_um = checked_planes(planes_um)
        self.shape_yx, self.tissue = shape_yx, tissue
        self._margin = self.misregistration.margin_px(shape_yx)
        half_um = tissue.thickness_um / 2
        depths = slab_depths_um(self.planes_um, half_um, _THICKEST_SLAB_UM)
        self.grid = SpecimenGrid(
            (shape_yx[0] + 2 * self._margin, shape_yx[1] + 2 * self._margin),
            microscope.pixel_size_um,
            tuple(depth for depth in depths if abs(depth) <= half_um),
            oversampling=oversampling,
        )
        self._arms = [
            _Arm(
                each,
                TissueImaging(each, self.grid, at_um, tissue, depth_dependent=depth_dependent),
                motion,
            )
            for each, at_um, motion in zip(
                (microscope.with_modality(modality) for modality in ("widefield", "confocal")),
                (torch.tensor(self.planes_um), self._moved_planes_um()),
                (Misregistration(), self.misregistration),
                strict=True,
            )
        ]

    def __call__(
        self,
        phantom: Phantom,
        *,
        seed: int,
        widefield_peak_photons: float = 4000.0,
        confocal_peak_photons: float = 2000.0,
        background_photons: float = 5.0,
    ) -> StackPair:
        """Draw a slice and record it with both modalities; the seed decides slice and noise.

        Peaks are those of the brightest pixel of each stack, before noise.

        Raises
        ------
        FluoFocusError
            If the phantom is of another tissue, or a number is not possible.
        """
        peaks = (widefield_peak_photons, confocal_peak_photons)
        for peak in peaks:
            check_exposure(self.shape_yx, peak, background_photons, seed)
        generator = torch.Generator().manual_seed(seed)
        specimen = phantom.draw(self.grid, generator)
        if specimen.tissue != self.tissue:
            raise FluoFocusError(
                "The phantom's tissue differs from the one that is imaged: give both the same "
                "thickness, scattering and absorption."
            )
        truth = self._within_field(specimen.truth)
        stacks = []
        for arm, peak in zip(self._arms, peaks, strict=True):
            seen = arm.motion.moved(arm.images(specimen), self.shape_yx)
            photons = exposed(seen, peak) + background_photons
            stacks.append(recorded(photons, arm.microscope, generator, truth, self.planes_um, seed))
        widefield, confocal = stacks
        return StackPair(widefield, confocal, self.misregistration)

    def _moved_planes_um(self) -> Tensor:
        """Return where in the specimen the confocal planes are."""
        shift = self.misregistration.shift_zyx[0]
        if not shift:
            return torch.tensor(self.planes_um)
        if len(self.planes_um) < 2:
            raise FluoFocusError("A shift along z counts in planes: give more than one of them.")
        step_um = (self.planes_um[-1] - self.planes_um[0]) / (len(self.planes_um) - 1)
        return torch.tensor(self.planes_um) - shift * step_um

    def _within_field(self, truth: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        """Let positions count from the corner of the wide-field image."""
        margin_um = self._margin * self.grid.pixel_size_um
        return tuple(
            entry | {name: entry[name] - margin_um for name in ("y_um", "x_um")} for entry in truth
        )


@dataclass(frozen=True)
class _Arm:
    """One of the two ways through the microscope."""

    microscope: Microscope
    images: TissueImaging
    motion: Misregistration
