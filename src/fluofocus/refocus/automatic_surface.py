"""The surface in a sample that one image can be refocused onto, found by the network itself.

The image is refocused to planes over the model's range. Each small part of the field is sharpest
in the plane where the sample lies; the smooth surface along which the whole field is sharpest,
a polynomial of low order, is then taken for the sample's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.ndimage import map_coordinates, spline_filter1d
from scipy.optimize import minimize

from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import voxel_size_um
from fluofocus.models.bundle import Model, load_model
from fluofocus.optics.microscope import Microscope
from fluofocus.refocus.engine import refocus
from fluofocus.refocus.surface import Surface, polynomial
from fluofocus.units import AnyArray, FloatArray

Array = npt.NDArray[np.float64]

DEFAULT_ORDER = 2
DEFAULT_TILE_PX = 48
_DEFAULT_STEPS = 40
_STARTS = 13
"""Heights and slopes tried along each axis before the fit; from the best ones it starts."""

_LEAST_PEAK, _BRIGHT_TILES = 0.01, 0.98
"""Sharpness that a tile needs at least, as a share of this quantile of all tiles'."""

_LEAST_CONTRAST = 1.3
"""How much sharper a tile is in its best plane than on average, from which it tells a height."""


@dataclass(frozen=True)
class FoundSurface:
    """A surface that was found, and what it rests on.

    Attributes
    ----------
    surface : Surface
        To refocus onto.
    coefficients : tuple of float
        Of 1, x, y, x², xy, y², … in µm over µm from the field's centre.
    heights_um : ndarray (tiles y, tiles x)
        Where each part of the field is sharpest by itself; NaN where nothing is to be seen.
    agreement : float
        Share of the parts that tell a height whose own is within two planes of the surface.
    """

    surface: Surface
    coefficients: tuple[float, ...]
    heights_um: FloatArray
    agreement: float


def find_surface(
    image: xr.DataArray | AnyArray,
    model: Model | str,
    *,
    pixel_size_um: float | None = None,
    plane: int | Sequence[int] | None = None,
    microscope: Microscope | None = None,
    order: int = DEFAULT_ORDER,
    tile_px: int = DEFAULT_TILE_PX,
    step_um: float | None = None,
    memory_gb: float = 4.0,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> FoundSurface:
    """Find the surface on which the sample of one image lies.

    Parameters
    ----------
    image
        Counts; the first frame and channel of several is taken.
    pixel_size_um, plane, microscope, memory_gb, device
        As in `refocus`.
    order
        Of the polynomial: 0 a plane at some height, 1 a tilted one, 2 with curvature.
    tile_px
        Side of the parts of the field that are judged one by one.
    step_um
        Distance of the planes tried; a fortieth of the model's range where not given.

    Raises
    ------
    FluoFocusError
        If the image cannot be refocused, is too small for the order, or shows nothing that
        is sharper in one plane than in the others.
    """
    bundle = load_model(model) if isinstance(model, str) else model
    if isinstance(image, xr.DataArray):
        image = image.isel({dim: 0 for dim in ("T", "C") if dim in image.dims})
    low, high = bundle.card.training.defocus_um
    step = (high - low) / _DEFAULT_STEPS if step_um is None else step_um
    z_um = np.arange(low, high + step / 2, step)
    virtual = refocus(
        image,
        bundle,
        z_um=z_um.tolist(),
        pixel_size_um=pixel_size_um,
        plane=plane,
        microscope=microscope,
        memory_gb=memory_gb,
        device=device,
        progress=progress,
    )
    sharpness = tile_sharpness(virtual.values, tile_px)
    return fit_surface(sharpness, z_um, tile_px * voxel_size_um(virtual)[1], order)


def tile_sharpness(stack: FloatArray, tile_px: int) -> Array:
    """Return the sharpness of each tile of each plane, ``(Z, tiles y, tiles x)``.

    The mean square of the intensity above the tile's background: since defocus loses no
    light, it is greatest where the light is gathered most.
    """
    planes, height, width = stack.shape
    rows, columns = height // tile_px, width // tile_px
    tiles = stack[:, : rows * tile_px, : columns * tile_px].reshape(
        planes, rows, tile_px, columns, tile_px
    )
    background = np.median(tiles, axis=(2, 4), keepdims=True)
    return np.asarray(((tiles - background).clip(min=0) ** 2).mean(axis=(2, 4)), dtype=float)


def fit_surface(sharpness: Array, z_um: Array, tile_um: float, order: int) -> FoundSurface:
    """Find the polynomial along which tiles ``(Z, tiles y, tiles x)`` are sharpest together.

    Each tile counts by how much one plane stands out in it, if it holds something at all: in
    one without light the faintest haze would. The sum over the tiles of their
    sharpness on the surface is maximised, from several starts, so that tiles that are
    mistaken about their height do not pull.
    """
    relative = sharpness / np.maximum(sharpness.mean(axis=0), 1e-12)
    contrast = relative.max(axis=0)
    peak = sharpness.max(axis=0)
    told = (contrast > _LEAST_CONTRAST) & (peak > _LEAST_PEAK * np.quantile(peak, _BRIGHT_TILES))
    powers = [(i - j, j) for i in range(order + 1) for j in range(i + 1)]
    if told.sum() < 2 * len(powers):
        raise FluoFocusError(
            "No surface can be found: too few parts of the image are clearly sharper in one plane "
            "than in the others. Give the surface, or an image with more contrast."
        )
    rows, columns = np.nonzero(told)
    weight = np.minimum(contrast[told] - 1, 3.0)
    curves = relative[:, rows, columns] / contrast[told] * weight
    splines = spline_filter1d(curves, order=3, axis=0, mode="nearest")
    y, x = (
        (index + 0.5 - count / 2) * tile_um
        for index, count in zip((rows, columns), told.shape, strict=True)
    )
    reach = max(float(np.abs(y).max()), float(np.abs(x).max()), tile_um)
    terms = np.stack([(x / reach) ** i * (y / reach) ** j for i, j in powers])
    best = _maximise(splines, terms, z_um)
    coefficients = tuple(
        float(value / reach ** (i + j)) for value, (i, j) in zip(best, powers, strict=True)
    )
    heights = np.full(told.shape, np.nan, np.float32)
    heights[told] = z_um[relative[:, told].argmax(axis=0)]
    near = np.abs(heights[told] - best @ terms) <= 2 * (z_um[1] - z_um[0])
    return FoundSurface(polynomial(coefficients), coefficients, heights, float(near.mean()))


def _maximise(splines: Array, terms: Array, z_um: Array) -> Array:
    """Return the coefficients ``(terms,)`` of the heights with the largest sum of sharpness."""
    step = z_um[1] - z_um[0]
    tiles = np.arange(splines.shape[1])

    def loss(coefficients: Array) -> float:
        planes = (coefficients @ terms - z_um[0]) / step
        outside = np.maximum(np.maximum(-planes, planes - len(z_um) + 1), 0).mean()
        where = np.stack([planes, tiles])
        values = map_coordinates(splines, where, order=3, prefilter=False, mode="nearest")
        return float(-values.sum() * (1 - 0.1 * min(outside, 5.0)))

    def start(count: int) -> Array:
        return np.linspace(z_um[0], z_um[-1], count)

    found: list[tuple[float, Array]] = []
    slopes = [start(_STARTS)] * min(2, len(terms) - 1)
    for values in np.stack(np.meshgrid(start(_STARTS), *slopes), axis=-1).reshape(
        -1, 1 + len(slopes)
    ):
        guess = np.zeros(len(terms))
        guess[: len(values)] = values
        found.append((loss(guess), guess))
    found.sort(key=lambda pair: pair[0])
    fits = [
        minimize(loss, guess, method="Powell", options={"xtol": 1e-3, "ftol": 1e-7})
        for _, guess in found[:5]
    ]
    return np.asarray(min(fits, key=lambda fit: fit.fun).x)
