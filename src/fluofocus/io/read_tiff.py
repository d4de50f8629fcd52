"""TIFF, ImageJ TIFF and OME-TIFF."""

from __future__ import annotations

import json
import logging
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tifffile

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.io.contents import (
    OWN_NAMESPACE,
    PLANE_CHUNKS,
    Contents,
    bioio_reader,
    even_times_s,
    seconds_per_unit,
    um_per_unit,
)
from fluofocus.io.stack import UNKNOWN_VOXEL_UM, VoxelSize

LARGEST_PIXEL_UM = 20.0
UNNAMED_AXES = "IQ"
MISSING_PART = re.compile(r"OME series failed to read (['\"])(?P<name>.+)\1, raised")
"""What tifffile logs, as a warning, before it takes the planes of that file as zeros."""

MISSING_PLANES = re.compile(r"is missing (?P<count>\d+) (frames|pages)\.")
"""What it logs before it takes planes as zeros that the file announces, but does not hold."""

RESOLUTION_UNITS = {2: 25400.0, 3: 1e4, 4: 1e3, 5: 1.0}
"""TIFF ResolutionUnit (inch, cm, and by common extension mm, µm) -> µm."""


def read_tiff(path: Path) -> Contents:
    """Open any TIFF, checking that all the data it announces is there.

    Raises
    ------
    FluoFocusError
        If the file is no TIFF, is damaged or cut short, or lacks one of its parts.
    """
    from bioio_base.exceptions import UnsupportedFileFormatError

    with _damage_reported(path) as said, tifffile.TiffFile(path, is_mmstack=False) as tiff:
        _check_complete(tiff, path)
        axes = _named_axes(tiff.series[0].axes)
        voxel = _imagej_voxel_um(tiff) if tiff.is_imagej else _plain_voxel_um(tiff)
        interval_s = _imagej_interval_s(tiff)
        is_ome = tiff.is_ome
    if said.missing_planes:
        warnings.warn(
            f"{path} lacks {said.missing_planes} of the planes that it announces, as when a "
            "recording was stopped: they are read as zeros.",
            FluoFocusWarning,
            stacklevel=3,
        )
    with _damage_reported(path):
        if not is_ome:
            return _read_plain(path, axes, voxel, interval_s)
        try:
            return _read_ome(path)
        except UnsupportedFileFormatError:
            warnings.warn(
                f"The OME metadata of {path} is not valid: only its axes are used.",
                FluoFocusWarning,
                stacklevel=3,
            )
            return _read_plain(path, axes, UNKNOWN_VOXEL_UM)


def _read_plain(
    path: Path, axes: str, voxel_um: VoxelSize, interval_s: float = math.nan
) -> Contents:
    with _quiet_about_suffix():
        reader = bioio_reader("bioio_tifffile", path, chunk_dims=PLANE_CHUNKS, dim_order=axes)
    pixels = reader.xarray_dask_data
    return Contents(
        pixels,
        voxel_size_um=voxel_um,
        times_s=even_times_s(pixels.sizes.get("T", 1), interval_s),
        images=len(reader.scenes),
    )


def _read_ome(path: Path) -> Contents:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Failed to convert value")  # an error follows anyway
        warnings.filterwarnings("ignore", "As of version 0.4.0, the parser", DeprecationWarning)
        reader = bioio_reader("bioio_ome_tiff", path, chunk_dims=PLANE_CHUNKS)
    ome = reader.ome_metadata
    pixels = ome.images[0].pixels
    voxel = (
        _length_um(pixels.physical_size_z, pixels.physical_size_z_unit),
        _length_um(pixels.physical_size_y, pixels.physical_size_y_unit),
        _length_um(pixels.physical_size_x, pixels.physical_size_x_unit),
    )
    names = [channel.name for channel in pixels.channels]
    return Contents(
        reader.xarray_dask_data,
        voxel_size_um=voxel,
        channel_names=names if all(names) else None,
        times_s=_times_s(pixels),
        images=len(ome.images),
        own_metadata=_own_metadata(ome),
    )


def _length_um(size: float | None, unit: Any) -> float:
    return size * um_per_unit(unit.value) if size and size > 0 else math.nan


def _times_s(pixels: Any) -> list[float] | None:
    """Return when the first plane of each frame was recorded, or what the interval says."""
    noted = {
        plane.the_t: plane.delta_t * seconds_per_unit(plane.delta_t_unit.value)
        for plane in pixels.planes
        if plane.the_c == plane.the_z == 0 and plane.delta_t is not None
    }
    times = [noted.get(frame, math.nan) for frame in range(pixels.size_t)]
    if all(map(math.isfinite, times)):
        return times
    interval, unit = pixels.time_increment, pixels.time_increment_unit
    return even_times_s(pixels.size_t, interval * seconds_per_unit(unit.value) if interval else 0)


def _own_metadata(ome: Any) -> dict[str, Any]:
    for annotation in ome.structured_annotations or []:
        if annotation.namespace == OWN_NAMESPACE:
            metadata: dict[str, Any] = json.loads(annotation.value)
            return metadata
    return {}


def _named_axes(axes: str) -> str:
    """Name the axes that a TIFF leaves open: from the right, Z, then C, then T."""
    free = [axis for axis in "TCZ" if axis not in axes]
    named = [free.pop() if axis in UNNAMED_AXES and free else axis for axis in reversed(axes)]
    return "".join(reversed(named))


def _imagej_voxel_um(tiff: tifffile.TiffFile) -> VoxelSize:
    metadata = tiff.imagej_metadata or {}
    unit = um_per_unit(metadata.get("unit"))
    y, x = _pixel_um(tiff, unit)
    z = abs(float(metadata.get("spacing") or math.nan)) * unit
    return z, y, x


def _imagej_interval_s(tiff: tifffile.TiffFile) -> float:
    metadata = (tiff.imagej_metadata if tiff.is_imagej else None) or {}
    interval = float(metadata.get("finterval") or math.nan)
    return interval * seconds_per_unit(metadata.get("tunit", "s"))


def _plain_voxel_um(tiff: tifffile.TiffFile) -> VoxelSize:
    unit = int(tiff.series[0].keyframe.tags.valueof("ResolutionUnit", 1))
    y, x = _pixel_um(tiff, RESOLUTION_UNITS.get(unit, math.nan))
    return math.nan, y, x


def _pixel_um(tiff: tifffile.TiffFile, unit_um: float) -> tuple[float, float]:
    sizes = []
    for tag in ("YResolution", "XResolution"):
        pixels, units = tiff.series[0].keyframe.tags.valueof(tag, (0, 1))
        size = unit_um * units / pixels if pixels else math.nan
        sizes.append(size if 0 < size <= LARGEST_PIXEL_UM else math.nan)
    return sizes[0], sizes[1]


def _check_complete(tiff: tifffile.TiffFile, path: Path) -> None:
    if len(tiff.pages) == 0 or not tiff.series:
        raise FluoFocusError(f"{path} is a TIFF without images: export it again.")
    series, size = tiff.series[0], path.stat().st_size
    if series.dataoffset is not None:
        end = series.dataoffset + series.nbytes
    else:
        end = max(
            offset + count
            for page in series.pages
            if page is not None
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
        )
    if end > size:
        raise FluoFocusError(
            f"{path} is cut short ({size} of {end} bytes): copy or export it again."
        )


@contextmanager
def _damage_reported(path: Path) -> Iterator[_Complaints]:
    """Turn what tifffile raises, or only logs while it returns fewer planes, into one error."""
    complaints = _Complaints()
    logger = logging.getLogger("tifffile")
    logger.addFilter(_matters)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(complaints)
    try:
        yield complaints
    except PermissionError:
        raise
    except (tifffile.TiffFileError, ValueError, IndexError, KeyError, TypeError, OSError) as error:
        raise FluoFocusError(f"{path} is not a TIFF file, or is damaged: {error}.") from error
    finally:
        logger.removeHandler(complaints)
        logger.propagate = propagate
    if complaints.missing_part:
        raise FluoFocusError(
            f"The part {complaints.missing_part} of {path} is missing or cannot be read: "
            "copy all files of this image."
        )
    if complaints.first:
        raise FluoFocusError(
            f"{path} is damaged or cut short ({complaints.first}): copy or export it again."
        )


def _matters(record: logging.LogRecord) -> bool:
    """Drop what tifffile says about makers' own tags, again at each plane that is read."""
    return "coercing invalid ASCII" not in record.getMessage()


class _Complaints(logging.Handler):
    """Keeps the first error that tifffile logs, and which part or planes it did not find."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first = ""
        self.missing_part = ""
        self.missing_planes = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Remember the first message, without tifffile's object names."""
        message = record.getMessage()
        if missing := MISSING_PART.search(message):
            self.missing_part = self.missing_part or missing["name"]
        elif lacking := MISSING_PLANES.search(message):
            self.missing_planes = int(lacking["count"])
        elif record.levelno >= logging.ERROR:
            self.first = self.first or message.rpartition("> ")[2]


@contextmanager
def _quiet_about_suffix() -> Iterator[None]:
    """Silence the advice to install bioio-ome-tiff: it is installed, and was tried."""
    logger = logging.getLogger("bioio_tifffile.reader")
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled
