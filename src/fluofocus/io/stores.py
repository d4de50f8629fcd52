"""Where the writer puts pixels: an OME-TIFF or an OME-Zarr of final size, filled in any order."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tifffile
import zarr

from fluofocus.errors import FluoFocusError
from fluofocus.io.contents import OWN_KEY, OWN_NAMESPACE
from fluofocus.io.header import Header
from fluofocus.io.journal import PlaneIndex, Region
from fluofocus.io.stack import SPATIAL_AXES
from fluofocus.units import AnyArray

ZARR_CHUNK_PX = 1024
"""Side of the chunks of an OME-Zarr, at most, where nothing else is asked for."""

PIXELS = "0"
"""Name of the array in the group of an OME-Zarr."""


SOFTWARE = "FluoFocus"
"""What a TIFF says that it was written by."""


class PixelStore(Protocol):
    """An image file under construction."""

    @staticmethod
    def wrote(path: Path) -> bool:
        """Tell whether an existing file was written so."""

    @staticmethod
    def create(path: Path, header: Header) -> None:
        """Write the file with all its metadata and room for the pixels."""

    def __init__(self, path: Path, header: Header) -> None:
        """Open a created file."""

    def write(self, index: PlaneIndex, region: Region, block: AnyArray) -> None:
        """Write pixels so that they outlive this process."""

    def complete(self) -> None:
        """Add the metadata that depends on all pixels and hand everything to the disk."""

    def close(self) -> None:
        """Close the file."""


class TiffStore:
    """An uncompressed OME-TIFF, BigTIFF where it needs to be.

    Pixels are written through the file and not through a memory map, because a full
    disk then is an error to report, and not a signal that kills the process.
    """

    @staticmethod
    def wrote(path: Path) -> bool:
        """Tell whether an existing file names this software."""
        try:
            with tifffile.TiffFile(path) as tiff:
                return bool(tiff.pages.first.software == SOFTWARE)
        except (OSError, ValueError, tifffile.TiffFileError):
            return False

    @staticmethod
    def create(path: Path, header: Header) -> None:
        """Write the metadata, and check that the disk has room for the pixels."""
        needed = math.prod(header.shape) * header.dtype.itemsize
        free = shutil.disk_usage(path.parent).free
        if needed > free:
            raise FluoFocusError(
                f"The output needs {needed / 1e9:.3g} GB and the disk has {free / 1e9:.3g} GB: "
                "free some space or write elsewhere."
            )
        tifffile.imwrite(
            path,
            shape=header.shape,
            dtype=header.dtype,
            byteorder="<",
            ome=True,
            photometric="minisblack",
            software=SOFTWARE,
            metadata=_ome_metadata(header),
        )

    def __init__(self, path: Path, header: Header) -> None:
        with tifffile.TiffFile(path) as tiff:
            offset = tiff.series[0].dataoffset
        if offset is None:
            raise FluoFocusError(f"{path} is damaged: delete it and run again.")
        self._offset = offset
        self._header = header
        self._dtype = header.dtype.newbyteorder("<")
        self._file = path.open("r+b")

    def write(self, index: PlaneIndex, region: Region, block: AnyArray) -> None:
        """Write a region, row by row or, where rows are contiguous, at once."""
        height, width = self._header.shape[-2:]
        plane = int(np.ravel_multi_index(index, self._header.planes)) if index else 0
        data = np.ascontiguousarray(block, self._dtype)
        rows = data.reshape(1, -1) if data.shape[1] == width else data
        for row, values in enumerate(rows, start=region.top):
            pixel = (plane * height + row) * width + region.left
            self._file.seek(self._offset + pixel * self._dtype.itemsize)
            self._file.write(values.tobytes())
        self._file.flush()

    def complete(self) -> None:
        """Hand the file to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ZarrStore:
    """An OME-Zarr 0.5 with one resolution level, in chunks of one plane or less."""

    @staticmethod
    def wrote(path: Path) -> bool:
        """Tell whether an existing group has metadata of this software."""
        try:
            return OWN_KEY in zarr.open_group(path, mode="r").attrs
        except (OSError, ValueError):
            return False

    @staticmethod
    def create(path: Path, header: Header) -> None:
        """Write the metadata of group and array."""
        group = zarr.create_group(path, zarr_format=3, attributes=_ngff_attributes(header))
        chunk_yx = header.chunk_yx or tuple(min(n, ZARR_CHUNK_PX) for n in header.shape[-2:])
        group.create_array(
            PIXELS,
            shape=header.shape,
            chunks=(*(1 for _ in header.planes), *chunk_yx),
            dtype=header.dtype,
            dimension_names=list(header.dims.lower()),
        )

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        self._header = header
        self._group = zarr.open_group(path, mode="r+")
        array = self._group[PIXELS]
        assert isinstance(array, zarr.Array)
        self._array = array

    def write(self, index: PlaneIndex, region: Region, block: AnyArray) -> None:
        """Write a region; Zarr replaces each chunk file as a whole."""
        top, bottom, left, right = region
        selection: tuple[int | slice, ...] = (*index, slice(top, bottom), slice(left, right))
        self._array[selection] = block

    def complete(self) -> None:
        """Add the names of the channels, which the format wants with their range of values.

        Chunks that a killed process left unfinished are removed.
        """
        for unfinished_chunk in self._path.rglob("*.partial"):
            unfinished_chunk.unlink(missing_ok=True)
        if self._header.channel_names is not None:
            attributes: dict[str, Any] = self._group.attrs.asdict()
            channels = [
                _channel(name, *self._range_of_channel(number))
                for number, name in enumerate(self._header.channel_names)
            ]
            self._group.attrs["ome"] = attributes["ome"] | {"omero": {"channels": channels}}

    def close(self) -> None:
        """Do nothing: Zarr keeps no file open."""

    def _range_of_channel(self, number: int) -> tuple[float, float]:
        """Return the smallest and largest finite value, one plane in memory at a time."""
        dims = self._header.dims
        low, high = math.inf, -math.inf
        for index in np.ndindex(self._header.planes):
            if "C" not in dims or index[dims.index("C")] == number:
                plane = np.asarray(self._array[index])
                finite = plane[np.isfinite(plane)]
                if finite.size:
                    low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        return (low, high) if low <= high else (0.0, 1.0)


def _channel(name: str, low: float, high: float) -> dict[str, Any]:
    """Return an entry of https://ngff.openmicroscopy.org/0.5/#omero-md."""
    window = {"min": low, "max": high, "start": low, "end": high}
    return {
        "label": name,
        "color": "FFFFFF",
        "active": True,
        "family": "linear",
        "window": window,
    }


def _ome_metadata(header: Header) -> dict[str, Any]:
    """Return the OME-XML content in the form that tifffile takes."""
    metadata: dict[str, Any] = {
        "axes": header.dims,
        "UUID": header.uuid(),
        "Creator": SOFTWARE,
        "CommentAnnotation": {
            "Namespace": OWN_NAMESPACE,
            "Value": json.dumps(header.own_metadata, sort_keys=True, allow_nan=False),
        },
    }
    for axis, size in zip(SPATIAL_AXES, header.voxel_size_um, strict=True):
        if math.isfinite(size):
            metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    if header.channel_names is not None:
        metadata["Channel"] = {"Name": list(header.channel_names)}
    if math.isfinite(header.frame_interval_s):
        metadata |= {"TimeIncrement": header.frame_interval_s, "TimeIncrementUnit": "s"}
    planes: dict[str, list[Any]] = {}
    count = math.prod(header.planes)
    places = [] if header.z_um is None else [("Z", _of_each_plane("Z", header.z_um, header))]
    if any(header.origin_yx_um):
        places += [(axis, [um] * count) for axis, um in zip("YX", header.origin_yx_um, strict=True)]
    for axis, positions in places:
        planes |= {f"Position{axis}": positions, f"Position{axis}Unit": ["µm"] * count}
    if header.times_s is not None:
        times = _of_each_plane("T", header.times_s, header)
        planes |= {"DeltaT": times, "DeltaTUnit": ["s"] * len(times)}
    if planes:
        metadata["Plane"] = planes
    return metadata


def _of_each_plane(axis: str, values: Sequence[float], header: Header) -> list[float]:
    """Repeat an axis' values along the others before YX, in the order of the planes."""
    axes_after = header.dims[:-2].partition(axis)[2]
    along = np.reshape(values, (-1, *(1 for _ in axes_after)))
    return [float(value) for value in np.broadcast_to(along, header.planes or (1,)).ravel()]


def _ngff_attributes(header: Header) -> dict[str, Any]:
    """Return group attributes after https://ngff.openmicroscopy.org/0.5/#multiscale-md."""
    steps = dict(zip(SPATIAL_AXES, header.voxel_size_um, strict=True))
    steps["T"] = header.frame_interval_s
    y_um, x_um = header.origin_yx_um
    starts = {"Z": header.z_um, "Y": [y_um], "X": [x_um], "T": header.times_s}
    axes, scale, translation = [], [], []
    for axis in header.dims:
        step, start = steps.get(axis, math.nan), starts.get(axis)
        kind = {"T": "time", "C": "channel"}.get(axis, "space")
        unit = {"unit": "second" if axis == "T" else "micrometer"} if math.isfinite(step) else {}
        axes.append({"name": axis.lower(), "type": kind, **unit})
        scale.append(step if math.isfinite(step) else 1.0)
        translation.append(float(start[0]) if start else 0.0)
    transforms: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if any(translation):
        transforms.append({"type": "translation", "translation": translation})
    multiscale = {
        "axes": axes,
        "datasets": [{"path": PIXELS, "coordinateTransformations": transforms}],
    }
    return {"ome": {"version": "0.5", "multiscales": [multiscale]}, OWN_KEY: header.own_metadata}
