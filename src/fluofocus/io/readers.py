"""Reading microscope images: one function for every format, lazy, in µm.

Which axis is which in a plain TIFF (no OME or ImageJ metadata)
---------------------------------------------------------------
The last two axes are Y and X; axes without a name before them are, from the right,
Z, C and T. A plain TIFF of three dimensions is therefore a focus stack (ZYX). Its
pixel size is read from the resolution tags where their unit is a length and the
result is below 20 µm (72 dots per inch is a default of image editors, not a
measurement); the step in z it cannot state.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import xarray as xr

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.io.contents import Contents, stack_from_contents
from fluofocus.io.read_tiff import read_tiff
from fluofocus.io.read_vendor import read_czi, read_lif, read_nd2
from fluofocus.io.read_zarr import is_zarr, read_zarr

READERS: dict[str, Callable[[Path], Contents]] = {
    ".tif": read_tiff,
    ".tiff": read_tiff,
    ".zarr": read_zarr,
    ".czi": read_czi,
    ".nd2": read_nd2,
    ".lif": read_lif,
}
"""File name ending -> function that opens such a file."""


def read_stack(
    path: str | Path, *, pixel_size_um: float | None = None, z_step_um: float | None = None
) -> xr.DataArray:
    """Open an image file lazily as a stack: no pixel is read before it is needed.

    Parameters
    ----------
    path
        TIFF, ImageJ TIFF, OME-TIFF, OME-Zarr 0.4 or 0.5; with the optional readers
        CZI, ND2, LIF.
    pixel_size_um, z_step_um
        Sizes in µm that replace what the file states.

    Returns
    -------
    xr.DataArray
        A stack (see `fluofocus.io.stack`) in the file's own dtype; axes T, C and Z of
        length one are dropped. Where the file states no pixel size the stack has none,
        and `voxel_size_um` raises when it is needed.

    Raises
    ------
    FluoFocusError
        If the file is missing, empty, damaged, not permitted, or not an image this package reads.
    """
    for option, size in (("--pixel-size", pixel_size_um), ("--z-step", z_step_um)):
        if size is not None and not (math.isfinite(size) and size > 0):
            raise FluoFocusError(f"{option} must be a length above zero in µm, not {size:g}.")
    path = Path(path)
    try:
        contents = _reader_for(path)(path)
    except PermissionError as error:
        raise FluoFocusError(
            f"{path} cannot be read (Permission denied): check its permissions."
        ) from error
    if contents.images > 1:
        warnings.warn(
            f"{path} holds {contents.images} images: the first is used.",
            FluoFocusWarning,
            stacklevel=2,
        )
    stack = stack_from_contents(
        contents, path.name, pixel_size_um=pixel_size_um, z_step_um=z_step_um
    )
    stack.encoding["source"] = str(path.resolve())  # where xarray's own readers note it
    return stack


def _reader_for(path: Path) -> Callable[[Path], Contents]:
    if not path.exists():
        raise FluoFocusError(f"{path} does not exist: check the name.")
    if path.is_dir():
        if path.suffix.lower() == ".zarr" or is_zarr(path):
            return read_zarr
        raise FluoFocusError(f"{path} is a folder and not an OME-Zarr: name an image file.")
    suffix = path.suffix.lower()
    if suffix not in READERS or suffix == ".zarr":
        raise FluoFocusError(
            f"{path} is of a kind that FluoFocus does not read: "
            "give a TIFF, OME-TIFF, OME-Zarr, CZI, ND2 or LIF."
        )
    if path.stat().st_size == 0:
        raise FluoFocusError(f"{path} is empty (0 bytes): copy or export it again.")
    return READERS[suffix]
