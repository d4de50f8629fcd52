"""From files of focus scans to a dataset, field by field, several at a time."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr
from dask.base import compute
from dask.delayed import delayed

from fluofocus.errors import FluoFocusError
from fluofocus.io.readers import read_stack
from fluofocus.io.stack import voxel_size_um
from fluofocus.prepare.config import PrepareConfig
from fluofocus.prepare.dataset import DatasetWriter, finished_manifest
from fluofocus.prepare.field import Part, prepare_field
from fluofocus.prepare.manifest import FieldRecord, Manifest
from fluofocus.prepare.register_features import LEAST_SIDE_PX
from fluofocus.prepare.scan import require_focus_scan
from fluofocus.prepare.transform import RegistrationError

_STEP_TOLERANCE = 1e-3


def prepare_dataset(
    stacks: Sequence[str | Path],
    output: str | Path,
    config: PrepareConfig,
    *,
    targets: Sequence[str | Path] = (),
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Manifest:
    """Prepare focus scans, and scans of the same fields in a target modality, for training.

    What was begun and stopped goes on where it stood, and what is finished stays as it is. A
    field that cannot be used is left out and its record says why.

    Parameters
    ----------
    stacks, targets
        Files; with targets one for each stack, in the same order.
    output
        Name of the dataset, ``*.zarr``.
    workers
        Fields prepared at a time; by default one for each core.
    progress
        Called with the number of fields done and of all.

    Raises
    ------
    FluoFocusError
        If files cannot be read or are not alike, no field can be used, or the dataset is there
        already, made of other files or with other settings.
    """
    inputs = _opened(stacks, config.pixel_size_um, config.z_step_um)
    others = _opened(targets, config.target_pixel_size_um, config.target_z_step_um)
    if others and len(others) != len(inputs):
        raise FluoFocusError(
            f"There are {len(inputs)} stacks and {len(others)} targets: give one for each."
        )
    if others and config.registration == "features" and config.region_px < LEAST_SIDE_PX:
        raise FluoFocusError(
            f"Regions of {config.region_px} pixels are too small to be registered by features: "
            f"raise region_px to {LEAST_SIDE_PX} or more."
        )
    names = [f"{index:04d}-{_stem(path)}" for index, path in enumerate(stacks)]
    plan = {
        "stacks": [_mark(path) for path in stacks],
        "targets": [_mark(path) for path in targets],
        "config": config.model_dump(mode="json"),
    }
    if (finished := finished_manifest(Path(output), plan)) is not None:
        return finished
    writer = DatasetWriter(Path(output), plan)
    parts = split_fields(inputs, config)
    done = 0

    def one(index: int) -> FieldRecord:
        nonlocal done
        record = writer.finished(names[index])
        if record is None:
            target = others[index] if others else None
            record = _prepared(writer, names[index], inputs[index], target, parts[index], config)
        done += 1
        progress(done, len(inputs))
        return record

    progress(0, len(inputs))
    records = compute(  # type: ignore[no-untyped-call]
        *(delayed(one)(index) for index in range(len(inputs))),
        scheduler="threads",
        num_workers=workers or os.cpu_count() or 1,
    )
    manifest = Manifest(
        software=f"FluoFocus {version('fluofocus')}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config=config,
        has_targets=bool(others),
        pixel_size_um=voxel_size_um(inputs[0])[1],
        fields=list(records),
    )
    if not any(record.regions for record in records):
        writer.discard()
        reasons = "; ".join(f"{record.name}: {_why(record)}" for record in records[:3])
        raise FluoFocusError(f"No field has a region to train on ({reasons}).")
    writer.complete(manifest)
    return manifest


def split_fields(inputs: Sequence[xr.DataArray], config: PrepareConfig) -> list[list[Part]]:
    """Decide what each field, or which rows of a single field, are for.

    Whole fields are kept for validation, so that no pixel of them is trained on.
    """
    height = inputs[0].sizes["Y"]
    if len(inputs) > 1:
        count = min(len(inputs) - 1, max(1, round(config.validation_share * len(inputs))))
        kept = set(random.Random(config.seed).sample(range(len(inputs)), count))
        return [
            [("validation" if index in kept else "training", slice(0, height))]
            for index in range(len(inputs))
        ]
    first_kept = round(height * (1 - config.validation_share))
    last_trained = first_kept - round(config.gap_um / voxel_size_um(inputs[0])[1])
    if min(last_trained, height - first_kept) < config.region_px:
        raise FluoFocusError(
            f"The only field has {height} rows, of which {max(last_trained, 0)} would be for "
            f"training and {height - first_kept} for validation, {config.gap_um:g} µm apart: give "
            f"more fields, lower region_px from {config.region_px} or gap_um, or change "
            "validation_share."
        )
    return [[("training", slice(0, last_trained)), ("validation", slice(first_kept, height))]]


def _prepared(
    writer: DatasetWriter,
    name: str,
    stack: xr.DataArray,
    target: xr.DataArray | None,
    parts: Sequence[Part],
    config: PrepareConfig,
) -> FieldRecord:
    try:
        prepared = prepare_field(name, stack, target, parts, config)
    except FluoFocusError as error:
        record = FieldRecord(name=name, refused=str(error))
        pictures = error.pictures if isinstance(error, RegistrationError) else {}
        writer.write_field(record, pictures, {})
        return record
    writer.write_field(prepared.record, prepared.pictures, prepared.regions)
    return prepared.record


def _opened(
    paths: Sequence[str | Path], pixel_size_um: float | None, z_step_um: float | None
) -> list[xr.DataArray]:
    """Open stacks lazily; all must be alike in axes, size, step and bit depth."""
    stacks = [read_stack(path, pixel_size_um=pixel_size_um, z_step_um=z_step_um) for path in paths]
    for stack in stacks:
        require_focus_scan(stack)
    for stack in stacks[1:]:
        if difference := _difference(stacks[0], stack):
            raise FluoFocusError(
                f"{stacks[0].name} and {stack.name} differ in {difference}: prepare them apart, "
                "each into a dataset of its own."
            )
    return stacks


def _difference(one: xr.DataArray, other: xr.DataArray) -> str:
    """Say in what two scans are not alike; empty if they are."""
    shapes = [" x ".join(map(str, stack.shape)) for stack in (one, other)]
    if shapes[0] != shapes[1]:
        return f"size ({shapes[0]} and {shapes[1]} voxels)"
    voxels = voxel_size_um(one), voxel_size_um(other)
    if not np.allclose(*voxels, rtol=_STEP_TOLERANCE):
        sizes = [" x ".join(f"{length:g}" for length in voxel) for voxel in voxels]
        return f"voxel size ({sizes[0]} and {sizes[1]} µm)"
    if one.dtype != other.dtype:
        return f"bit depth ({one.dtype} and {other.dtype})"
    return ""


def _mark(path: str | Path) -> str:
    """Return what tells a file from another of the same name."""
    path = Path(path).resolve()
    return f"{path} {path.stat().st_mtime_ns}"


def _stem(path: str | Path) -> str:
    return Path(path).name.split(".")[0]


def _why(record: FieldRecord) -> str:
    if record.refused:
        return record.refused
    return record.rejected[0].reason if record.rejected else "no signal above seed_level"
