"""The input's pixel grid, the one the network was trained on, and the way between them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional as F

from fluofocus.data.tiling import round_up
from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.io.stack import voxel_size_um

Resample = Literal["auto", "refuse"]

PIXEL_TOLERANCE = 0.02
"""Pixel sizes that differ by no more than this share are taken for the same."""

MOST_RESAMPLING = 10
"""Pixel sizes further apart than this factor are taken for a mistake in their unit."""


@dataclass(frozen=True)
class Grid:
    """Shapes ``(H, W)`` of the input, of what the network refocuses, and of that padded."""

    input_yx: tuple[int, int]
    network_yx: tuple[int, int]
    padded_yx: tuple[int, int]

    @property
    def is_resampled(self) -> bool:
        """Whether the network works on other pixels than the input's."""
        return self.input_yx != self.network_yx

    def to_network(self, image: Tensor, mode: Literal["bicubic", "bilinear"]) -> Tensor:
        """Bring ``(H, W)`` values to the network's padded grid, ``(1, 1, H', W')``.

        Edges are repeated at the bottom and the right to the padded size.
        """
        image = _resize(image[None, None], self.network_yx, mode)
        height, width = self.network_yx
        padding = (0, self.padded_yx[1] - width, 0, self.padded_yx[0] - height)
        return F.pad(image, padding, mode="replicate")

    def to_input(self, image: Tensor) -> Tensor:
        """Bring one refocused plane ``(h, w)`` back to the input's grid, ``(H, W)``."""
        return _resize(image[None, None], self.input_yx, "bicubic")[0, 0]


def fit_grid(
    shape_yx: tuple[int, int],
    *,
    pixel_size_um: float,
    model_pixel_size_um: float,
    size_multiple: int,
    resample: Resample,
) -> Grid:
    """Decide on which pixels the network works.

    Raises
    ------
    FluoFocusError
        If the pixel sizes differ and ``resample`` is ``"refuse"``, or differ too much.

    Warns
    -----
    FluoFocusWarning
        If the image is going to be resampled.
    """
    if resample not in get_args(Resample):
        raise FluoFocusError(f"resample must be 'auto' or 'refuse', not {resample!r}.")
    ratio = pixel_size_um / model_pixel_size_um
    network_yx = shape_yx
    if abs(ratio - 1) > PIXEL_TOLERANCE:
        differ = (
            f"The image's pixels are {pixel_size_um:.4g} µm but the model was trained on pixels "
            f"of {model_pixel_size_um:.4g} µm"
        )
        if resample == "refuse":
            raise FluoFocusError(f"{differ}: allow resampling or choose another model.")
        if not 1 / MOST_RESAMPLING <= ratio <= MOST_RESAMPLING:
            raise FluoFocusError(
                f"{differ}, which is too far to resample: check the image's pixel size, in µm."
            )
        warnings.warn(
            f"{differ}: the image is resampled for the network, its result resampled back.",
            FluoFocusWarning,
            stacklevel=2,
        )
        network_yx = (max(1, round(shape_yx[0] * ratio)), max(1, round(shape_yx[1] * ratio)))
    padded_yx = (round_up(network_yx[0], size_multiple), round_up(network_yx[1], size_multiple))
    return Grid(shape_yx, network_yx, padded_yx)


def square_pixel_size_um(image: xr.DataArray) -> float:
    """Return the pixel size in µm of an image with square pixels.

    Raises
    ------
    FluoFocusError
        If there is none, or the pixels are not square.
    """
    _, y_um, x_um = voxel_size_um(image)
    if abs(y_um / x_um - 1) > PIXEL_TOLERANCE:
        raise FluoFocusError(
            f"The image's pixels are {y_um:g} µm high and {x_um:g} µm wide: resample it to square "
            "pixels, or give the right size with --pixel-size (pixel_size_um=)."
        )
    return (y_um + x_um) / 2


def _resize(image: Tensor, shape_yx: tuple[int, int], mode: str) -> Tensor:
    if tuple(image.shape[-2:]) == shape_yx:
        return image
    resized: Tensor = F.interpolate(image, size=shape_yx, mode=mode, antialias=True)
    return resized.contiguous(memory_format=torch.contiguous_format)
