"""Checks of what is asked of a restoration: the stack, and where its planes lie."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from fluofocus.data.grid import MOST_RESAMPLING, PIXEL_TOLERANCE, Resample
from fluofocus.data.planes import PlaneMixture, mixture
from fluofocus.data.tiling import round_up
from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.io.stack import check_counts, check_is_no_name, check_pixel_size
from fluofocus.models.bundle import StackModel
from fluofocus.units import AnyArray

_MOST_NAMED = 4


def as_stack(stack: xr.DataArray | AnyArray, *, pixel_size_um: float | None) -> xr.DataArray:
    """Return a stack with dims out of TCZYX, Z of at least one, its planes from low to high.

    Raises
    ------
    FluoFocusError
        If it is no stack of counts, or the pixel size is impossible.
    """
    check_pixel_size(pixel_size_um)
    check_is_no_name(stack)
    if not isinstance(stack, xr.DataArray):
        raise FluoFocusError(
            "A plain array states neither axes nor sizes: name them with "
            f"fluofocus.make_stack(array, 'ZYX', (z_um, y_um, x_um)); its shape is "
            f"{np.shape(stack)}."
        )
    check_counts(stack)
    if "Z" not in stack.dims:
        stack = stack.expand_dims("Z", axis=-3)
    if "Z" in stack.coords and stack.sizes["Z"] > 1:
        order = np.argsort(stack.coords["Z"].values, kind="stable")
        if not np.array_equal(order, np.arange(len(order))):
            stack = stack.isel(Z=order)
    return stack


@dataclass(frozen=True)
class Planes:
    """Which planes come out, and of what the network's planes are made.

    Attributes
    ----------
    z_um
        Positions of the planes that come out; None where nothing is known of a single one.
    network
        The planes that the network sees, of recorded ones; the outer ones are repeated where
        the stack is thinner than what the network takes.
    first
        The network's plane that is the first to come out.
    interpolated
        Whether the planes are others than those recorded.
    """

    z_um: list[float] | None
    network: PlaneMixture
    first: int
    interpolated: bool

    @property
    def count(self) -> int:
        """How many come out."""
        return 1 if self.z_um is None else len(self.z_um)


def find_planes(stack: xr.DataArray, model: StackModel, resample: Resample) -> Planes:
    """Decide at which positions a stack is restored.

    A network that sees each plane alone takes them as they are. Any other takes planes as far
    apart as those it was trained on: others are interpolated, and come out so.

    Raises
    ------
    FluoFocusError
        If a network of stacks gets one plane, positions are unknown or coincide, or are too far
        from the model's or to be left as they are.

    Warns
    -----
    FluoFocusWarning
        If planes are interpolated or repeated.
    """
    count, sees_alone = stack.sizes["Z"], model.network.receptive_field.z == 0
    if count == 1 and not sees_alone:
        raise FluoFocusError(
            f"The input is a single plane, and model {model.card.name} restores stacks (it was "
            f"trained on {model.card.training.planes} planes {model.card.training.z_step_um:g} µm "
            "apart): record a stack, or use 'fluofocus refocus' with a model of single images."
        )
    recorded_um = _positions_um(stack)
    if sees_alone:
        made = mixture(np.arange(count, dtype=float), np.arange(count, dtype=float))
        return Planes(recorded_um, made, 0, interpolated=False)
    assert recorded_um is not None  # several planes, else refused
    wanted_um = _wanted_um(recorded_um, model, resample)
    least = max(model.card.training.planes, len(wanted_um))
    depth = round_up(least, model.network.size_multiple.z)
    if model.card.training.planes > len(wanted_um):
        warnings.warn(
            f"The stack has {len(wanted_um)} planes, fewer than the {model.card.training.planes} "
            f"that model {model.card.name} was trained on: its outer planes are repeated.",
            FluoFocusWarning,
            stacklevel=2,
        )
    first = (depth - len(wanted_um)) // 2
    steps = np.arange(-first, depth - first)
    padded = np.interp(steps, np.arange(len(wanted_um)), wanted_um)
    is_recorded = wanted_um is recorded_um
    return Planes(wanted_um, mixture(padded, recorded_um), first, interpolated=not is_recorded)


def _positions_um(stack: xr.DataArray) -> list[float] | None:
    """Return where the planes lie, None of a single plane without a position."""
    if "Z" in stack.coords:
        z_um = np.asarray(stack.coords["Z"].values, float).ravel()
    elif stack.sizes["Z"] == 1:
        return None
    else:
        z_um = np.full(stack.sizes["Z"], math.nan)
    if not np.isfinite(z_um).all():
        raise FluoFocusError(
            "The positions of the planes are unknown: give their distance with --z-step "
            "(z_step_um of read_stack)."
        )
    if len(np.unique(z_um)) < len(z_um):
        raise FluoFocusError(
            "Two planes lie at the same position: leave out one of them, or correct the positions "
            "in the file."
        )
    return [float(z) for z in z_um]


def _wanted_um(recorded_um: list[float], model: StackModel, resample: Resample) -> list[float]:
    """Return the positions that the network is given, the recorded ones where these fit."""
    trained = model.card.training
    gaps = np.diff(recorded_um)
    step = trained.z_step_um
    if np.abs(gaps / step - 1).max() <= PIXEL_TOLERANCE:
        return recorded_um
    apart = f"{np.median(gaps):.3g} µm apart"
    if np.ptp(gaps) > PIXEL_TOLERANCE * np.median(gaps):
        apart = f"unevenly spaced, {gaps.min():.3g} to {gaps.max():.3g} µm apart"
    said = (
        f"The planes are {apart} but those that model {model.card.name} was trained on {step:g} µm"
    )
    if resample == "refuse":
        raise FluoFocusError(f"{said}: allow resampling or choose another model.")
    if not 1 / MOST_RESAMPLING <= np.median(gaps) / step <= MOST_RESAMPLING:
        raise FluoFocusError(
            f"{said}, which is too far to resample: check the distance of the planes, in µm."
        )
    widest = max(trained.plane_subsampling) * step
    guess = ""
    if gaps.max() > widest * (1 + PIXEL_TOLERANCE):
        guess = (
            f" Gaps wider than {widest:g} µm were not in its training, so do not rely on what it "
            f"shows in {_gaps(recorded_um, widest)}."
        )
    warnings.warn(
        f"{said}: they are interpolated, and come out {step:g} µm apart.{guess}",
        FluoFocusWarning,
        stacklevel=3,
    )
    planes = math.floor((recorded_um[-1] - recorded_um[0]) / step + 1e-6) + 1
    return [recorded_um[0] + index * step for index in range(planes)]


def _gaps(positions_um: Sequence[float], widest_um: float) -> str:
    """Name the gaps wider than the model knows."""
    limit = widest_um * (1 + PIXEL_TOLERANCE)
    pairs = itertools.pairwise(positions_um)
    wide = [f"{low:g} to {high:g} µm" for low, high in pairs if high - low > limit]
    return "all of them" if len(wide) > _MOST_NAMED else ", ".join(wide)
