"""Checks of what is asked of the engine: the image, the plane in it, the targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import (
    check_counts,
    check_is_no_name,
    check_pixel_size,
    known_voxel_size_um,
    make_stack,
)
from fluofocus.refocus.parsing import parse_surface
from fluofocus.refocus.slope import warn_of_steepness
from fluofocus.refocus.surface import Surface
from fluofocus.units import AnyArray, FloatArray

Planes = int | Sequence[int] | None
"""Which plane of a stack, or which planes, are refocused."""


def as_images(
    image: xr.DataArray | AnyArray, *, pixel_size_um: float | None, plane: Planes
) -> xr.DataArray:
    """Return the planes that are refocused, with dims out of TCZYX, Z of at least one.

    Parameters
    ----------
    image
        A stack, or a plain ``(Y, X)`` array.
    pixel_size_um
        The pixel size, where the image carries none or a wrong one.
    plane
        Which plane of a z stack to refocus, from 0; or which planes, in any order.

    Raises
    ------
    FluoFocusError
        If the image is of no known form or holds no counts, the pixel size is impossible, or
        the image is a z stack and no plane of it was chosen.
    """
    check_pixel_size(pixel_size_um)
    check_is_no_name(image)
    if not isinstance(image, xr.DataArray):
        image = _from_array(np.asarray(image), pixel_size_um)
    check_counts(image)
    return _choose_planes(image, plane)


def _from_array(image: AnyArray, pixel_size_um: float | None) -> xr.DataArray:
    if image.ndim != 2:
        raise FluoFocusError(
            f"A plain array must be one image (Y, X), not of shape {image.shape}: "
            "name its axes with fluofocus.io.make_stack."
        )
    pixel = math.nan if pixel_size_um is None else pixel_size_um
    return make_stack(image, "YX", (math.nan, pixel, pixel))


def _choose_planes(image: xr.DataArray, plane: Planes) -> xr.DataArray:
    planes = image.sizes.get("Z", 1)
    if plane is None and planes > 1:
        raise FluoFocusError(
            f"The input is a stack of {planes} planes but one image is refocused: choose the "
            f"plane, or several, with --plane (plane=), 0 to {planes - 1}."
        )
    chosen = [0] if plane is None else [plane] if isinstance(plane, int) else list(plane)
    for index in chosen:
        if not 0 <= index < planes:
            raise FluoFocusError(
                f"There is no plane {index} in an input of {planes}: choose 0 to {planes - 1}."
            )
    if not chosen or len(set(chosen)) < len(chosen):
        raise FluoFocusError(
            "Each input plane must be given once, and at least one: correct --plane (plane=)."
        )
    if "Z" not in image.dims:
        return image.expand_dims("Z", axis=-3)
    if "Z" not in image.coords and planes > 1:
        step_um, _, _ = known_voxel_size_um(image)
        image = image.assign_coords(Z=step_um * np.arange(planes))
    return image.isel(Z=chosen)


def input_positions_um(images: xr.DataArray) -> list[float]:
    """Return where the input planes lie, in µm above the first of them.

    Raises
    ------
    FluoFocusError
        If there are several and their positions are unknown, or two coincide.
    """
    if images.sizes["Z"] == 1:
        return [0.0]
    z_um = np.asarray(images.coords["Z"].values, float)
    if not np.isfinite(z_um).all():
        raise FluoFocusError(
            "The positions of the input planes are unknown: give the distance of the planes "
            "with --z-step (z_step_um of read_stack)."
        )
    if len(np.unique(z_um)) < len(z_um):
        raise FluoFocusError(
            "Two input planes lie at the same position: leave out one of them, or correct the "
            "positions in the file."
        )
    return [float(z) for z in z_um - z_um[0]]


@dataclass(frozen=True)
class Targets:
    """Where to refocus: planes or one surface, and both as a DPM.

    ``dpm_um`` is ``(T,)`` for planes and flat surfaces, else ``(H, W)``.
    """

    z_um: list[float] | None
    surface: Surface | None
    dpm_um: FloatArray

    @property
    def count(self) -> int:
        """Number of target planes; a curved surface is one."""
        return len(self.dpm_um) if self.dpm_um.ndim == 1 else 1

    @property
    def provenance(self) -> dict[str, Any]:
        """What is noted of them in a file."""
        if self.surface is None:
            return {"z_um": self.z_um}
        return {"surface": self.surface.description}


def find_targets(
    z_um: Sequence[float] | None,
    surface: Surface | str | None,
    *,
    shape_yx: tuple[int, int],
    pixel_size_um: float,
) -> Targets:
    """Check where to refocus and render it for an image.

    Raises
    ------
    FluoFocusError
        If not exactly one of planes and surface is given, the planes are not finite
        and rising, or the surface is not finite or of another size than the image.
    """
    if (z_um is None) == (surface is None):
        raise FluoFocusError(
            "Say where to refocus: either planes (--z, z_um=) or a surface (--surface, surface=)."
        )
    if surface is not None:
        surface = parse_surface(surface) if isinstance(surface, str) else surface
        if not hasattr(surface, "dpm"):
            raise FluoFocusError(
                f"{type(surface).__name__} is no surface: make one with fluofocus.refocus, such as "
                "tilt(1.5), or from_array(heights_um) for an image of heights."
            )
        return Targets(None, surface, _render(surface, shape_yx, pixel_size_um))
    planes = _as_floats(z_um)
    if not planes or not np.isfinite(planes).all() or (np.diff(planes) <= 0).any():
        raise FluoFocusError("The target planes must be finite numbers of µm, from low to high.")
    return Targets(planes, None, np.asarray(planes, np.float32))


def _as_floats(z_um: Sequence[float] | None) -> list[float]:
    try:
        return [] if z_um is None else [float(z) for z in z_um]
    except (TypeError, ValueError):
        raise FluoFocusError(
            f"z_um must be a list of distances in µm, like [-2, 0, 2], not {z_um!r}."
        ) from None


def _render(surface: Surface, shape_yx: tuple[int, int], pixel_size_um: float) -> FloatArray:
    dpm = np.array(surface.dpm(shape_yx, pixel_size_um), np.float32)
    if dpm.shape != shape_yx:
        raise FluoFocusError(
            f"The surface has shape {dpm.shape} but the image {shape_yx}: "
            "give one height per image pixel."
        )
    if not np.isfinite(dpm).all():
        raise FluoFocusError("The surface is NaN or infinite in places: give heights everywhere.")
    if dpm.min() == dpm.max():
        return dpm.ravel()[:1]
    warn_of_steepness(dpm, pixel_size_um)
    return dpm


def extrapolation_um(
    dpm_um: FloatArray,
    trained_um: tuple[float, float],
    *,
    allow: bool,
    model_name: str,
    inputs: int = 1,
) -> list[float] | None:
    """Return the range of the targets in µm if it exceeds the trained one, else None.

    ``dpm_um`` are the distances from all ``inputs`` planes.

    Raises
    ------
    FluoFocusError
        If it does and that is not allowed.
    """
    lowest, highest = float(dpm_um.min()), float(dpm_um.max())
    if lowest >= trained_um[0] - 1e-3 and highest <= trained_um[1] + 1e-3:
        return None
    if not allow:
        each, otherwise = "", ""
        if inputs > 1:
            each, otherwise = " from one or another input plane", " give fewer planes,"
        raise FluoFocusError(
            f"Targets from {lowest:g} to {highest:g} µm{each} are outside the range that model "
            f"{model_name} was trained for, {trained_um[0]:g} to {trained_um[1]:g} µm: stay "
            f"inside it,{otherwise} or pass --allow-extrapolation (allow_extrapolation=True)."
        )
    return [lowest, highest]
