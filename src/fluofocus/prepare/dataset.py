"""A prepared dataset on disk: a Zarr group of regions, fields and their manifest.

``regions/NAME/input`` and ``regions/NAME/target`` are ``(Z, Y, X)`` float16, one chunk each;
``fields/NAME/fused``, ``mask`` and ``target_fused`` are ``(Y, X)``, for people to look at; a field
whose two modalities could not be registered has ``fixed``, ``moving`` and what was compared.
The manifest is the attribute ``fluofocus`` of the group. While a dataset is written its name
ends in ``.partial``; fields that are complete are kept when the writing is resumed.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from pydantic import ValidationError

from fluofocus.errors import FluoFocusError
from fluofocus.prepare.manifest import FieldRecord, Manifest
from fluofocus.units import AnyArray

ATTRIBUTE = "fluofocus"
SUFFIX = ".zarr"


class DatasetWriter:
    """Writes fields in any order, from several threads, and the manifest last.

    Parameters
    ----------
    path
        Ends in ``.zarr``; must not exist.
    plan
        Whatever decides what the fields hold: a partial dataset of another plan is refused.

    Raises
    ------
    FluoFocusError
        If the name is not possible or taken, or the partial dataset is of another plan.
    """

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        if path.suffix != SUFFIX:
            raise FluoFocusError(f"{path} cannot be written: a dataset must be named *{SUFFIX}.")
        if path.exists():
            raise FluoFocusError(f"{path} exists: choose another name or delete it.")
        self.path = path
        self.partial = path.with_name(f"{path.name}.partial")
        is_new = not self.partial.exists()
        self._group = zarr.open_group(self.partial, mode="a", zarr_format=3)
        if is_new:
            self._group.attrs["plan"] = dict(plan)
        elif self._group.attrs.get("plan") != dict(plan):
            raise FluoFocusError(
                f"{self.partial} was begun with other files or settings: delete it, or run again "
                "with those."
            )

    def finished(self, field: str) -> FieldRecord | None:
        """Return the record of a field that is complete."""
        found = self._group.get(f"fields/{field}")
        if found is None or "record" not in found.attrs:
            return None
        return FieldRecord.model_validate(found.attrs["record"])

    def write_field(
        self,
        record: FieldRecord,
        pictures: Mapping[str, AnyArray],
        regions: Mapping[str, Mapping[str, AnyArray]],
    ) -> None:
        """Write a field's pictures and regions, and then its record, which completes it."""
        for name, arrays in regions.items():
            for kind, planes in arrays.items():
                self._store(f"regions/{name}/{kind}", planes)
        group = self._group.require_group(f"fields/{record.name}")
        for kind, picture in pictures.items():
            self._store(f"fields/{record.name}/{kind}", picture)
        group.attrs["record"] = record.model_dump(mode="json")

    def complete(self, manifest: Manifest) -> None:
        """Write the manifest and give the dataset its name."""
        self._group.attrs[ATTRIBUTE] = manifest.model_dump(mode="json")
        self.partial.replace(self.path)

    def discard(self) -> None:
        """Delete what was written."""
        shutil.rmtree(self.partial)

    def _store(self, name: str, values: AnyArray) -> None:
        kept = values if values.dtype == bool else values.astype(np.float16)
        self._group.create_array(
            name,
            data=kept,
            chunks=kept.shape,
            overwrite=True,
            config={"write_empty_chunks": True},  # so that a chunk that is missing was lost
        )


def finished_manifest(path: Path, plan: Mapping[str, Any]) -> Manifest | None:
    """Return the manifest of a dataset that was finished by this very plan, or None."""
    with suppress(FluoFocusError):  # anything else of this name, which the writer refuses
        group = _open(path)
        if group.attrs.get("plan") == dict(plan):
            return _manifest(group, path)
    return None


def read_manifest(path: str | Path) -> Manifest:
    """Read what a dataset says about itself.

    Raises
    ------
    FluoFocusError
        If it is missing, unfinished, no dataset or one of another version.
    """
    return _manifest(_open(path), path)


def read_pictures(path: str | Path, field: str) -> dict[str, AnyArray]:
    """Read the pictures of one field, ``(Y, X)`` each, but matches of points ``(N, 2, 2)``."""
    group = _open(path)[f"fields/{field}"]
    assert isinstance(group, zarr.Group)  # the manifest names it
    return {name: np.asarray(array[:]) for name, array in group.arrays()}


def read_region(path: str | Path, region: str) -> dict[str, AnyArray]:
    """Read ``input`` and, of two modalities, ``target`` of a region, ``(Z, Y, X)`` float16.

    Raises
    ------
    FluoFocusError
        If the dataset is damaged.
    """
    try:
        group = _open(path)[f"regions/{region}"]
        assert isinstance(group, zarr.Group)  # the manifest names it
        return {name: _whole(array) for name, array in group.arrays()}
    except (KeyError, ValueError, RuntimeError) as error:
        raise FluoFocusError(
            f"Region {region} of {path} cannot be read: prepare the dataset again."
        ) from error


def _whole(array: zarr.Array[Any]) -> AnyArray:
    """Read an array, of which Zarr would give zeros in place of a chunk that is missing."""
    if array.nchunks_initialized < array.nchunks:
        raise ValueError("a chunk is missing")
    return np.asarray(array[:])


def _open(path: str | Path) -> zarr.Group:
    path = Path(path)
    if not path.exists():
        unfinished = path.with_name(f"{path.name}.partial").exists()
        todo = "run 'fluofocus prepare' again to finish it" if unfinished else "check the name"
        raise FluoFocusError(f"There is no dataset {path}: {todo}.")
    try:
        return zarr.open_group(path, mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise FluoFocusError(f"{path} is no dataset of 'fluofocus prepare'.") from error


def _manifest(group: zarr.Group, path: str | Path) -> Manifest:
    try:
        return Manifest.model_validate(group.attrs[ATTRIBUTE])
    except (KeyError, ValidationError) as error:
        raise FluoFocusError(
            f"{path} is no dataset of this version's 'fluofocus prepare': prepare it again."
        ) from error
