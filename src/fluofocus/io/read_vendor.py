"""Microscope makers' formats, through optional bioio plugins."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

from fluofocus.errors import FluoFocusError
from fluofocus.io.contents import PLANE_CHUNKS, Contents, bioio_reader, even_times_s


def read_czi(path: Path) -> Contents:
    """Open a Zeiss CZI file."""
    return _read_with_plugin(path, "czi", chunk_dims=PLANE_CHUNKS)


def read_nd2(path: Path) -> Contents:
    """Open a Nikon ND2 file."""
    return _read_with_plugin(path, "nd2")


def read_lif(path: Path) -> Contents:
    """Open the first image of a Leica LIF file."""
    return _read_with_plugin(path, "lif", chunk_dims=PLANE_CHUNKS)


def _read_with_plugin(path: Path, extra: str, **options: Any) -> Contents:
    from bioio_base.exceptions import UnsupportedFileFormatError

    try:
        reader = bioio_reader(f"bioio_{extra}", path, **options)
        pixels = reader.xarray_dask_data
        sizes = reader.physical_pixel_sizes
        names = reader.channel_names
        interval = reader.time_interval
        images = len(reader.scenes)
    except ModuleNotFoundError as error:
        raise FluoFocusError(
            f"{path} needs an optional reader that is not installed: "
            f"run  pip install 'fluofocus[{extra}]'  and try again."
        ) from error
    except PermissionError:
        raise
    except (UnsupportedFileFormatError, OSError, ValueError, RuntimeError) as error:
        raise FluoFocusError(f"{path} cannot be read as {extra.upper()}: {error}") from error
    z, y, x = (math.nan if not size else float(size) for size in (sizes.Z, sizes.Y, sizes.X))
    interval_s = interval.total_seconds() if isinstance(interval, timedelta) else math.nan
    return Contents(
        pixels,
        voxel_size_um=(z, y, x),
        channel_names=names,
        times_s=even_times_s(pixels.sizes.get("T", 1), interval_s),
        images=images,
    )
