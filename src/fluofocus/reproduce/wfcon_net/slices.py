"""Held-out slices of brain, wide-field as recorded and confocal without noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fluofocus.optics.microscope import Microscope, preset
from fluofocus.prepare.normalise import normalisation_from_stack
from fluofocus.simulate.brain_slice import BrainSlice
from fluofocus.simulate.pair import Misregistration, PairImaging
from fluofocus.simulate.tissue import Tissue
from fluofocus.units import AnyArray, FloatArray

MICROSCOPE = "nikon-60x-1.4-oil"
SIDE_PX = 512
"""As in training: the brightest thousandth, by which a stack is normalised, needs some cells."""
THICKNESS_UM, STEP_UM = 40.0, 0.5
PEAK_PHOTONS, BACKGROUND_PHOTONS = 2000.0, 5.0
DAPI = {"emission_wavelength_nm": 461.0, "excitation_wavelength_nm": 405.0}
"""Of the microscope, where nuclei are stained."""


@dataclass(frozen=True)
class Kind:
    """A kind of slice: parameters of `BrainSlice`, and the channel it is seen in."""

    name: str
    neurons_per_1e6_um3: float = 90.0
    neuropil: float = 0.06
    scattering_length_um: float = 80.0
    stain: str = "cells"
    thickness_um: float = THICKNESS_UM

    @property
    def phantom(self) -> BrainSlice:
        """What slices of this kind are drawn from."""
        given = {key: value for key, value in vars(self).items() if key != "name"}
        return BrainSlice.model_validate(given)

    @property
    def microscope(self) -> Microscope:
        """Focused on the middle of the slice, in the channel of the stain."""
        channel = DAPI if self.stain == "nuclei" else {}
        return preset(MICROSCOPE).model_copy(
            update={"emitter_depth_um": self.thickness_um / 2, **channel}
        )

    @property
    def described(self) -> str:
        """In words."""
        return (
            f"{self.name}: {self.neurons_per_1e6_um3:g} neurons in 1e6 µm³, neuropil "
            f"{self.neuropil:g}, light scattered every {self.scattering_length_um:g} µm"
        )


REGIONS = (
    Kind("ROI 1", 45, 0.04, 100),
    Kind("ROI 2", 90, 0.06, 80),
    Kind("ROI 3", 140, 0.10, 60),
    Kind("ROI 4", 190, 0.14, 45),
)
"""From few to many neurons, as the four of Fig. 3; fields take turns."""


@dataclass(frozen=True)
class Field:
    """A slice, recorded wide-field and known confocal.

    Attributes
    ----------
    counts : ndarray of uint16 (Z, Y, X)
        Wide-field, with noise.
    truth : ndarray (Z, Y, X)
        Confocal, free of noise, normalised by the whole stack.
    planes_um : tuple of float
        Zero is the middle of the slice.
    """

    kind: Kind
    counts: npt.NDArray[np.uint16]
    truth: FloatArray
    planes_um: tuple[float, ...]

    @property
    def microscope(self) -> Microscope:
        """What recorded it."""
        return self.kind.microscope

    @property
    def tissue(self) -> Tissue:
        """What the light passed."""
        return self.kind.phantom.tissue

    @property
    def depths_um(self) -> npt.NDArray[np.float64]:
        """Of the planes, below the surface that faces the objective."""
        return np.array(self.planes_um) + self.kind.thickness_um / 2


def draw_field(kind: Kind, seed: int) -> Field:
    """Draw a slice and image it; the seed decides the slice and the noise."""
    pair = imaging(kind)(
        kind.phantom,
        seed=seed,
        widefield_peak_photons=PEAK_PHOTONS,
        background_photons=BACKGROUND_PHOTONS,
    )
    return Field(
        kind,
        pair.widefield.counts,
        normalised(pair.confocal.clean_counts),
        pair.widefield.planes_um,
    )


def imaging(kind: Kind) -> PairImaging:
    """Return both modalities' images of slices of a kind; those of the last kinds are kept."""
    return _imaging(kind, SIDE_PX)


@lru_cache(maxsize=len(REGIONS))
def _imaging(kind: Kind, side_px: int) -> PairImaging:
    return new_imaging(kind, side_px=side_px)


def new_imaging(
    kind: Kind,
    *,
    side_px: int,
    beyond: int = 0,
    misregistration: Misregistration | None = None,
) -> PairImaging:
    """Prepare the images of slices of a kind, with planes ``beyond`` it on either side."""
    planes = round(kind.thickness_um / STEP_UM) + 2 * beyond
    return PairImaging(
        kind.microscope,
        kind.phantom.tissue,
        shape_yx=(side_px, side_px),
        planes_um=STEP_UM * (np.arange(planes) - (planes - 1) / 2),
        misregistration=misregistration,
    )


def normalised(stack: AnyArray) -> FloatArray:
    """Normalise a stack by itself, as the networks' inputs and targets are."""
    normalisation = normalisation_from_stack(stack)
    return np.asarray(normalisation.apply(np.asarray(stack, np.float32)), np.float32)
