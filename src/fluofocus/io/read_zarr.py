"""OME-Zarr 0.4 and 0.5 (https://ngff.openmicroscopy.org): first image, full resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fluofocus.errors import FluoFocusError
from fluofocus.io.contents import (
    OWN_KEY,
    Contents,
    bioio_reader,
    even_times_s,
    seconds_per_unit,
    um_per_unit,
)
from fluofocus.io.stack import SPATIAL_AXES, VoxelSize


def is_zarr(path: Path) -> bool:
    """Tell whether a folder is a Zarr group."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs"))


def read_zarr(path: Path) -> Contents:
    """Open an OME-Zarr image.

    A length without a unit is taken as µm, except exactly 1, which says "not calibrated".

    Raises
    ------
    FluoFocusError
        If the folder is no OME-Zarr image or its metadata is damaged.
    """
    from bioio_base.exceptions import UnsupportedFileFormatError

    try:
        attributes, ome = _attributes(path)
        reader = bioio_reader("bioio_ome_zarr", path)
        multiscale = ome["multiscales"][0]
        voxel, origin, interval_s = _geometry(multiscale)
        pixels = reader.xarray_dask_data
        return Contents(
            pixels,
            voxel_size_um=voxel,
            origin_um=origin,
            channel_names=reader.channel_names,
            times_s=even_times_s(pixels.sizes.get("T", 1), interval_s),
            images=len(ome["multiscales"]),
            own_metadata=attributes.get(OWN_KEY, {}),
        )
    except PermissionError:
        raise
    except (UnsupportedFileFormatError, OSError, ValueError, LookupError, TypeError) as error:
        raise FluoFocusError(
            f"{path} is not an OME-Zarr image, or is damaged ({error}): copy or export it again."
        ) from error


def _attributes(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    import zarr

    attributes: dict[str, Any] = zarr.open_group(path, mode="r").attrs.asdict()
    ome: dict[str, Any] = attributes.get("ome", attributes)
    if "bioformats2raw.layout" in ome:
        raise FluoFocusError(f"{path} holds several images: name one of them, such as {path}/0.")
    if not ome.get("multiscales"):
        raise FluoFocusError(f"{path} is a Zarr without OME metadata: give an OME-Zarr image.")
    return attributes, ome


def _geometry(multiscale: Mapping[str, Any]) -> tuple[VoxelSize, VoxelSize, float]:
    """Return voxel size and origin (z, y, x) in µm of the full-resolution level.

    The third is the seconds from frame to frame, nan where they are not stated.
    """
    axes = multiscale.get("axes", [])
    transforms = [
        *multiscale["datasets"][0].get("coordinateTransformations", []),
        *multiscale.get("coordinateTransformations", []),
    ]
    scale, translation = [1.0] * len(axes), [0.0] * len(axes)
    for transform in transforms:
        factors = transform.get("scale", [1.0] * len(axes))
        shifts = transform.get("translation", [0.0] * len(axes))
        scale = [a * b for a, b in zip(scale, factors, strict=True)]
        translation = [t * a + b for t, a, b in zip(translation, factors, shifts, strict=True)]
    voxel, origin = dict.fromkeys(SPATIAL_AXES, math.nan), dict.fromkeys(SPATIAL_AXES, 0.0)
    interval_s = math.nan
    for axis, size, start in zip(axes, scale, translation, strict=True):
        name = str(axis["name"]).upper()
        if name == "T":
            interval_s = size * seconds_per_unit(axis.get("unit"))
        unit = um_per_unit(axis["unit"]) if axis.get("unit") else math.nan if size == 1 else 1.0
        if name in voxel and size > 0 and math.isfinite(unit):
            voxel[name], origin[name] = size * unit, start * unit
    zyx = voxel["Z"], voxel["Y"], voxel["X"]
    return zyx, (origin["Z"], origin["Y"], origin["X"]), interval_s
