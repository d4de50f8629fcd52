"""Writing parts of one OME-Zarr from several processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import zarr

from fluofocus.errors import FluoFocusError
from fluofocus.io.journal import PlaneIndex
from fluofocus.io.partial import HEADER, IMAGE, disk_errors
from fluofocus.io.stores import PIXELS
from fluofocus.units import AnyArray


@dataclass(frozen=True)
class SharedWriter:
    """Writes into the partial folder of a `StackWriter` that lives in another process.

    It keeps no record: that is the business of the one `StackWriter`.
    """

    partial_path: Path
    header_json: str

    def is_done(self, index: PlaneIndex, y: slice, x: slice) -> bool:
        """Return False: what is written is known elsewhere."""
        return False

    def write_region(self, index: PlaneIndex, y: slice, x: slice, block: AnyArray) -> None:
        """Write a block (rows `y`, columns `x`) of the plane at `index`.

        Raises
        ------
        FluoFocusError
            If the folder is not there, now belongs to another run, or cannot be written into.
        """
        self._require_same_run()
        with disk_errors(self.partial_path):
            pixels = zarr.open_array(self.partial_path / IMAGE / PIXELS, mode="r+")
            selection: tuple[int | slice, ...] = (*index, y, x)
            pixels[selection] = block

    def _require_same_run(self) -> None:
        header = self.partial_path / HEADER
        if not header.is_file():
            raise FluoFocusError(
                f"There is no {self.partial_path}: write to a folder that all machines reach by "
                "the same name."
            )
        if header.read_text() != self.header_json:
            raise FluoFocusError(f"Another run has started to write into {self.partial_path}.")
