"""Writing images plane by plane, so that an interrupted run resumes and gives the same file.

While it is written, an image lives in a folder ``<name>.partial`` beside its final
place, with a journal of what is done. `StackWriter.finish` moves it to its final name
in one step; until then whatever had that name stays as it was.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import xarray as xr

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.io.header import Header
from fluofocus.io.journal import Journal, PlaneIndex, Region
from fluofocus.io.lock import locked
from fluofocus.io.partial import HEADER, IMAGE, JOURNAL, REPLACED, clear_own_folder, disk_errors
from fluofocus.io.shared import SharedWriter
from fluofocus.io.stack import (
    VoxelSize,
    check_voxel_size,
    known_times_s,
    known_voxel_size_um,
    loaded,
    origin_um,
)
from fluofocus.io.stores import PixelStore, TiffStore, ZarrStore
from fluofocus.units import AnyArray

WRITERS: dict[str, type[PixelStore]] = {
    ".ome.tif": TiffStore,
    ".ome.tiff": TiffStore,
    ".ome.zarr": ZarrStore,
}
"""File name ending -> where the pixels go."""


class StackWriter:
    """An image file that is being written; make one with `open_writer`.

    As a context manager it finishes the file on leaving, or, on an exception, keeps
    the partial folder for a later run with ``resume=True``.
    """

    def __init__(self, path: Path, header: Header, *, resume: bool) -> None:
        self.path = path
        self.partial_path = path.with_name(f"{path.name}.partial")
        self._header = header
        self._open = True
        store = _store_for(path)
        with disk_errors(path), ExitStack() as lock:
            self._hold_partial_folder(lock)
            if not (resume and self._resumable()):
                self._start(store)
            self._journal = Journal(self.partial_path / JOURNAL)
            self._store = store(self.partial_path / IMAGE, header)
            self._lock = lock.pop_all()

    def is_done(self, index: PlaneIndex, y: slice | None = None, x: slice | None = None) -> bool:
        """Tell whether a plane, or a region of it, is already written."""
        return self._journal.covers(index, self._region(index, y or slice(None), x or slice(None)))

    def write_plane(self, index: PlaneIndex, plane: npt.ArrayLike) -> None:
        """Write the plane (Y, X) at `index` over the axes before YX."""
        self.write_region(index, slice(None), slice(None), plane)

    def write_region(self, index: PlaneIndex, y: slice, x: slice, block: npt.ArrayLike) -> None:
        """Write a block (rows `y`, columns `x`) of the plane at `index`.

        Raises
        ------
        ValueError
            If the block does not have the region's shape or would lose its type.
        FluoFocusError
            If the disk is full or refuses.
        """
        region = self._region(index, y, x)
        values = np.asarray(block)
        if values.shape != (region.bottom - region.top, region.right - region.left):
            raise ValueError(f"a block of shape {values.shape} does not fill {region}")
        values = values.astype(self._header.dtype, casting="same_kind", copy=False)
        with disk_errors(self.path):
            self._store.write(index, region, values)
            self._journal.add(index, region)

    def note_region(self, index: PlaneIndex, y: slice, x: slice) -> None:
        """Record that a region of the plane at `index` was written through `shared`."""
        with disk_errors(self.path):
            self._journal.add(index, self._region(index, y, x))

    def shared(self) -> SharedWriter:
        """Return what other processes can write with, if this is an OME-Zarr.

        They may write at once what lies in different chunks. None of it counts as
        written before `note_region` says so.
        """
        return SharedWriter(self.partial_path.resolve(), self._header.to_json())

    def finish(self) -> None:
        """Give the finished file its name, replacing what had it; a second call does nothing.

        Raises
        ------
        ValueError
            If planes are missing.
        """
        if not self._open:
            return
        missing = [index for index in np.ndindex(self._header.planes) if not self.is_done(index)]
        if missing:
            raise ValueError(f"{len(missing)} planes of {self.path} are not written: {missing[:3]}")
        with disk_errors(self.path), self._lock:
            self._store.complete()
            self._close()
            if self.path.is_dir():
                self.path.rename(self.partial_path / REPLACED)
            (self.partial_path / IMAGE).replace(self.path)
            shutil.rmtree(self.partial_path)

    def discard(self) -> None:
        """Delete what was written; the final name is not touched."""
        if self._open:
            with disk_errors(self.path), self._lock:
                self._close()
                shutil.rmtree(self.partial_path)

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish the file, or on an exception keep the partial folder."""
        if kind is None:
            self.finish()
        elif self._open:
            with suppress(OSError), self._lock:
                self._close()

    def _hold_partial_folder(self, lock: ExitStack) -> None:
        with suppress(FileExistsError):
            self.partial_path.mkdir()
        try:
            lock.enter_context(locked(self.partial_path))
        except BlockingIOError as error:
            raise FluoFocusError(
                f"Another run is writing {self.path}: wait for it, or choose another name."
            ) from error

    def _resumable(self) -> bool:
        header = self.partial_path / HEADER
        if not header.is_file():
            return False
        if header.read_text() == self._header.to_json():
            return (self.partial_path / IMAGE).exists()
        warnings.warn(
            f"{self.partial_path} is left from a run with other settings: it is started anew.",
            FluoFocusWarning,
            stacklevel=5,
        )
        return False

    def _start(self, store: type[PixelStore]) -> None:
        """Set up an empty partial folder; the header, written last, says that it is whole."""
        clear_own_folder(self.partial_path)
        try:
            store.create(self.partial_path / IMAGE, self._header)
        except (OSError, FluoFocusError):
            shutil.rmtree(self.partial_path)
            raise
        draft = self.partial_path / JOURNAL
        draft.write_text(self._header.to_json())
        draft.replace(self.partial_path / HEADER)

    def _region(self, index: PlaneIndex, y: slice, x: slice) -> Region:
        planes = self._header.planes
        inside = all(0 <= i < n for i, n in zip(index, planes, strict=False))
        if len(index) != len(planes) or not inside:
            raise ValueError(f"no plane {index} among planes of shape {planes}")
        height, width = self._header.shape[-2:]
        (top, bottom, _), (left, right, _) = y.indices(height), x.indices(width)
        return Region(top, bottom, left, right)

    def _close(self) -> None:
        self._open = False
        self._journal.close()
        self._store.close()


def open_writer(
    path: str | Path,
    *,
    shape: tuple[int, ...],
    dims: str,
    dtype: npt.DTypeLike,
    voxel_size_um: VoxelSize | None,
    provenance: Mapping[str, Any],
    channel_names: Sequence[str] | None = None,
    z_um: Sequence[float] | None = None,
    times_s: Sequence[float] | None = None,
    origin_yx_um: tuple[float, float] = (0.0, 0.0),
    chunk_yx: tuple[int, int] | None = None,
    resume: bool = False,
) -> StackWriter:
    """Begin, or with `resume` continue, an OME-TIFF or OME-Zarr 0.5.

    Parameters
    ----------
    path
        Final name, ending in ``.ome.tif``, ``.ome.tiff`` or ``.ome.zarr``.
    shape, dims, dtype
        Of the whole image; `dims` are letters out of TCZYX in this order, ending in YX.
    voxel_size_um
        (z, y, x) in µm, nan or None where unknown.
    provenance
        JSON-able record of how the image was made, without times, so that an
        interrupted run that is resumed gives the same file.
    channel_names
        One name per channel.
    z_um
        Position of each plane in µm.
    times_s
        When each frame was recorded.
    origin_yx_um
        Position of the first pixel in µm.
    chunk_yx
        Height and width of the chunks of an OME-Zarr, a plane or less where not given.
    resume
        Continue a partial file whose metadata are the same as these; otherwise, and
        where they differ, start anew.

    Raises
    ------
    FluoFocusError
        If the name, the metadata, the folder or the disk do not allow it.
    """
    path = Path(path)
    check_destination(path)
    header = Header(
        shape=tuple(int(n) for n in shape),
        dims=dims,
        dtype=np.dtype(dtype),
        voxel_size_um=check_voxel_size(voxel_size_um),
        provenance=provenance,
        channel_names=channel_names,
        z_um=z_um,
        times_s=times_s,
        origin_yx_um=origin_yx_um,
        chunk_yx=chunk_yx if _store_for(path) is ZarrStore else None,
    )
    return StackWriter(path, header, resume=resume)


def write_stack(path: str | Path, stack: xr.DataArray) -> None:
    """Write a stack, one plane in memory at a time, as OME-TIFF or OME-Zarr 0.5.

    Raises
    ------
    FluoFocusError
        As `open_writer`.
    """
    names = stack.coords["C"].values if "C" in stack.coords else None
    positions = stack.coords["Z"].values if "Z" in stack.coords else None
    writer = open_writer(
        path,
        shape=stack.shape,
        dims="".join(str(dim) for dim in stack.dims),
        dtype=stack.dtype,
        voxel_size_um=known_voxel_size_um(stack),
        provenance=stack.attrs.get("provenance", {}),
        channel_names=None if names is None else [str(name) for name in np.ravel(names)],
        z_um=None if positions is None else [float(z) for z in np.ravel(positions)],
        times_s=known_times_s(stack),
        origin_yx_um=origin_um(stack)[1:],
    )
    with writer:
        for index in np.ndindex(stack.shape[:-2]):
            writer.write_plane(index, _plane(stack, index))


def _plane(stack: xr.DataArray, index: PlaneIndex) -> AnyArray:
    return loaded(stack.data[index])


def _store_for(path: Path) -> type[PixelStore]:
    for suffix, store in WRITERS.items():
        if path.name.lower().endswith(suffix):
            return store
    raise FluoFocusError(
        f"{path} cannot be written: choose a name that ends in {', '.join(WRITERS)}."
    )


def check_destination(path: str | Path) -> None:
    """Refuse, before a long computation, a name that `open_writer` would refuse after it.

    Raises
    ------
    FluoFocusError
        If its ending is of no known kind, its folder does not exist, or what has the name is not
        to be replaced.
    """
    path = Path(path)
    store = _store_for(path)
    if not path.parent.is_dir():
        raise FluoFocusError(f"The folder {path.parent} does not exist: make it first.")
    if path.exists() and path.is_dir() != (store is ZarrStore):
        kind = "a folder" if path.is_dir() else "a file"
        raise FluoFocusError(f"{path} exists and is {kind}: choose another name.")
    is_empty_folder = path.is_dir() and not any(path.iterdir())
    if path.exists() and not is_empty_folder and not store.wrote(path):
        raise FluoFocusError(
            f"{path} exists and was not written by FluoFocus: choose another name, or delete it "
            "first."
        )
