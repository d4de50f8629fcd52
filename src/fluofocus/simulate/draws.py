"""Random draws of microscopes and phantoms, over the ranges that real ones have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import Microscope, NonNegative, RefractiveIndex
from fluofocus.settings_files import first_problem
from fluofocus.simulate.phantom import Phantom
from fluofocus.simulate.phantoms import PHANTOMS

Range = tuple[float, float]
"""Lowest and highest value of a draw."""

_INDICES_OF_SAMPLES = (1.33, 1.515)
"""Water and oil, between which most mounted samples lie."""

_FREE_NOLL = tuple(index for index in range(5, 23) if index != 11)


def uniform(bounds: Range, generator: torch.Generator) -> float:
    """Draw evenly between two bounds."""
    low, high = bounds
    return low + (high - low) * float(torch.rand(1, generator=generator))


def log_uniform(bounds: Range, generator: torch.Generator) -> float:
    """Draw evenly in the logarithm between two positive bounds."""
    low, high = bounds
    return math.exp(uniform((math.log(low), math.log(high)), generator))


class OpticsDraws(BaseModel):
    """How the microscopes of a training differ from the one that is described.

    Each range is drawn from evenly. ``spherical_rms_waves`` is added to the
    described Noll 11; ``other_zernike_rms_waves`` is the standard deviation of each of
    Noll 5 to 22 but 11, also added; relative ranges multiply what is described.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spherical_rms_waves: Range = (0.0, 0.0)
    other_zernike_rms_waves: Annotated[float, Field(ge=0)] = 0.0
    coverslip_error_um: Range = (0.0, 0.0)
    emitter_depth_um: tuple[NonNegative, NonNegative] | None = None
    sample_index: tuple[RefractiveIndex, RefractiveIndex] | None = None
    amplitude_falloff: Range | None = None
    relative_numerical_aperture: Range = (1.0, 1.0)
    relative_wavelength: Range = (1.0, 1.0)
    scalar_share: Annotated[float, Field(ge=0, le=1)] = 0.0

    def widened(self) -> OpticsDraws:
        """Return draws with three times the aberrations: of samples and objectives unlike these.

        Ranges of what aberrates reach further by their own width on either side, as far as it
        is possible; aperture and wavelength, which a user knows, stay.
        """
        low, high = self.sample_index or _INDICES_OF_SAMPLES
        limits = {
            "spherical_rms_waves": (-math.inf, math.inf),
            "coverslip_error_um": (-math.inf, math.inf),
            "emitter_depth_um": (0.0, math.inf),
            "sample_index": (min(low, _INDICES_OF_SAMPLES[0]), max(high, _INDICES_OF_SAMPLES[1])),
            "amplitude_falloff": (0.0, 1.0),
        }
        update: dict[str, Any] = {"other_zernike_rms_waves": 2 * self.other_zernike_rms_waves}
        for name, (lowest, highest) in limits.items():
            bounds = getattr(self, name)
            if bounds is not None:
                low, high = bounds
                width = high - low
                update[name] = (max(lowest, low - width), min(highest, high + width))
        return self.model_copy(update=update)

    def require_possible(self, microscope: Microscope) -> None:
        """Raise `FluoFocusError` if an aperture can be drawn that no objective has."""
        largest = max(self.relative_numerical_aperture)
        limit = microscope.immersion_index / microscope.numerical_aperture
        if largest >= limit:
            raise FluoFocusError(
                f"relative_numerical_aperture {largest:g} times the microscope's "
                f"{microscope.numerical_aperture:g} reaches its immersion_index "
                f"{microscope.immersion_index:g}: stay below {math.floor(100 * limit) / 100:g}."
            )

    def draw(self, microscope: Microscope, generator: torch.Generator) -> Microscope:
        """Draw one microscope."""
        waves = dict(microscope.zernike_rms_waves)
        waves[11] = waves.get(11, 0.0) + uniform(self.spherical_rms_waves, generator)
        others = torch.randn(len(_FREE_NOLL), generator=generator) * self.other_zernike_rms_waves
        for index, value in zip(_FREE_NOLL, others.tolist(), strict=True):
            waves[index] = waves.get(index, 0.0) + value
        update: dict[str, Any] = {
            "zernike_rms_waves": waves,
            "coverslip_thickness_um": max(
                0.0,
                microscope.coverslip_thickness_um + uniform(self.coverslip_error_um, generator),
            ),
            "numerical_aperture": microscope.numerical_aperture
            * uniform(self.relative_numerical_aperture, generator),
            "emission_wavelength_nm": microscope.emission_wavelength_nm
            * uniform(self.relative_wavelength, generator),
        }
        for name in ("emitter_depth_um", "sample_index", "amplitude_falloff"):
            bounds = getattr(self, name)
            if bounds is not None:
                update[name] = uniform(bounds, generator)
        if float(torch.rand(1, generator=generator)) < self.scalar_share:
            update["psf_model"] = "scalar"
        return Microscope.model_validate(microscope.model_dump() | update)


class PhantomDraw(BaseModel):
    """One kind of phantom in a mixture, and the ranges its parameters are drawn from.

    In ``parameters`` a pair of numbers is a range (log-uniform when both are
    positive; rounded for whole numbers), a list of words a choice, anything else a fixed value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    phantom: Literal["beads", "nuclei", "filaments", "worm", "cells", "brain_slice"]
    weight: Annotated[float, Field(gt=0)] = 1.0
    parameters: dict[str, Any] = {}

    @model_validator(mode="after")
    def _check_parameters(self) -> PhantomDraw:
        """Configure the phantom with all lowest values, all highest ones, and every word."""
        ends = {name: _ends(value) for name, value in self.parameters.items()}
        for index in range(max(map(len, ends.values()), default=1)):
            self._phantom({name: end[min(index, len(end) - 1)] for name, end in ends.items()})
        return self

    def draw(self, generator: torch.Generator) -> Phantom:
        """Draw the parameters of one phantom."""
        return self._phantom(
            {name: _draw_value(value, generator) for name, value in self.parameters.items()}
        )

    def _phantom(self, drawn: dict[str, Any]) -> Phantom:
        for name, field in PHANTOMS[self.phantom].model_fields.items():
            if field.annotation is int and isinstance(drawn.get(name), float):
                drawn[name] = round(drawn[name])
        return make_phantom(self.phantom, drawn)


def make_phantom(name: str, parameters: dict[str, Any]) -> Phantom:
    """Configure a phantom by its name in `PHANTOMS`.

    Raises
    ------
    FluoFocusError
        If there is no such phantom, or it does not take these parameters.
    """
    if name not in PHANTOMS:
        raise FluoFocusError(f"There is no phantom {name!r}; choose one of {', '.join(PHANTOMS)}.")
    try:
        return PHANTOMS[name].model_validate(parameters)
    except ValidationError as error:
        raise FluoFocusError(
            f"Phantom {name!r} does not take that: {first_problem(error)}; "
            f"its parameters are {', '.join(PHANTOMS[name].model_fields)}."
        ) from error


def _draw_value(value: Any, generator: torch.Generator) -> Any:
    if (bounds := _bounds(value)) is not None:
        draw = log_uniform if bounds[0] > 0 and bounds[1] > 0 else uniform
        return draw(bounds, generator)
    if _is_choice(value):
        return value[int(torch.randint(0, len(value), (1,), generator=generator))]
    return value


def _ends(value: Any) -> Sequence[Any]:
    """Return the bounds of a range, the words of a choice, or the one value that is fixed."""
    return _bounds(value) or (value if _is_choice(value) else (value,))


def _bounds(value: Any) -> Range | None:
    """Return a pair of numbers, which YAML reads as words if written like 1e-1."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    try:
        return float(value[0]), float(value[1])
    except (TypeError, ValueError):
        return None


def _is_choice(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(item, str) for item in value)
    )
