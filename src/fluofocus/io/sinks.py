"""Where computed regions go on their way to an array or a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.units import FloatArray

PlaneIndex = tuple[int, ...]
WHOLE = slice(None)


class Sink(Protocol):
    """What takes regions (rows ``y``, columns ``x``) of planes, like a `StackWriter`."""

    def is_done(self, index: PlaneIndex, y: slice, x: slice) -> bool:
        """Tell whether a region need not be computed."""

    def write_region(self, index: PlaneIndex, y: slice, x: slice, block: FloatArray) -> None:
        """Take a region ``(h, w)``."""


@dataclass(frozen=True)
class ArraySink:
    """An array in memory with the axes of the index before Y and X."""

    array: FloatArray

    def is_done(self, index: PlaneIndex, y: slice, x: slice) -> bool:
        """Return False: a new array has no region yet."""
        return False

    def write_region(self, index: PlaneIndex, y: slice, x: slice, block: FloatArray) -> None:
        """Put a region ``(h, w)`` where it belongs."""
        self.array[index][y, x] = block


def require_other_file(image: Any, output: Path) -> None:
    """Raise `FluoFocusError` where a result would replace the image that it is made of."""
    source = image.encoding.get("source") if isinstance(image, xr.DataArray) else None
    if source is not None and Path(source).resolve() == output.resolve():
        raise FluoFocusError(f"{output} is the image itself: choose another name for the result.")
