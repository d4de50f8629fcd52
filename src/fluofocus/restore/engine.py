"""Restore stacks of any size, tile by tile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from fluofocus.data.grid import Resample
from fluofocus.heap import give_back, kept_heap
from fluofocus.io.pipeline import read_ahead, write_behind
from fluofocus.io.sinks import ArraySink, Sink, require_other_file
from fluofocus.io.stack import known_times_s, make_stack, origin_um
from fluofocus.io.writers import check_destination, open_writer
from fluofocus.models.bundle import StackModel
from fluofocus.restore.job import Job, prepare_job
from fluofocus.restore.options import Options
from fluofocus.restore.work import Blending, Progress, pending_blocks

BATCHES_BETWEEN_TRIMS = 16
"""How often freed memory is given back: it ends up in pieces that nothing fits into."""


def restore(
    stack: xr.DataArray,
    model: str | Path | StackModel,
    *,
    pixel_size_um: float | None = None,
    resample: Resample = "auto",
    memory_gb: float = 4.0,
    device: str = "auto",
    progress: Progress | None = None,
) -> xr.DataArray:
    """Turn a wide-field stack into the confocal one that a model makes of it.

    Parameters
    ----------
    stack
        With dims out of TCZYX; each time point and channel is a stack of its own.
    model
        Name of a shipped model, a model file, or a loaded model.
    pixel_size_um
        The stack's pixel size, where it carries none or a wrong one.
    resample
        What to do if the stack's voxels and the model's differ by more than 2 %: ``"auto"``
        resamples the pixels and back, and interpolates planes as far apart as the model's, which
        come out so; ``"refuse"`` raises.
    memory_gb
        Budget in GiB for the whole process, the result included.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    progress
        Called as the work goes on.

    Returns
    -------
    xr.DataArray
        float32, in the counts of the input: its background stays, and its bright structures are
        about as bright as they were. Voxels are the input's, but where planes were
        interpolated.

    Raises
    ------
    FluoFocusError
        If anything asked for is not possible; the message says what to do.
    """
    options = Options(
        pixel_size_um=pixel_size_um, resample=resample, memory_gb=memory_gb, device=device
    )
    job = prepare_job(stack, model, options, in_memory=True)
    sink = ArraySink(np.empty(job.shape, np.float32))
    _run(job, sink, progress)
    return make_stack(
        sink.array,
        job.dims,
        job.voxel_size_um,
        provenance=job.provenance,
        name=job.stack.name if isinstance(job.stack.name, str) else None,
        z_um=job.planes.z_um,
        origin_um=origin_um(job.stack),
        channel_names=job.channel_names,
        times_s=known_times_s(job.stack),
    )


def restore_to_file(
    stack: xr.DataArray,
    model: str | Path | StackModel,
    output: str | Path,
    *,
    pixel_size_um: float | None = None,
    resample: Resample = "auto",
    memory_gb: float = 4.0,
    device: str = "auto",
    resume: bool = True,
    progress: Progress | None = None,
) -> None:
    """Restore into an OME-TIFF or OME-Zarr that is written as it is computed.

    Parameters
    ----------
    output
        File to write, ending in ``.ome.tif``, ``.ome.tiff`` or ``.ome.zarr``.
    resume
        Whether to go on where an interrupted run with the same settings stopped; the file is
        then the same as of an uninterrupted run.

    The others are those of `restore`.

    Raises
    ------
    FluoFocusError
        If anything asked for is not possible; the message says what to do.
    """
    options = Options(
        pixel_size_um=pixel_size_um, resample=resample, memory_gb=memory_gb, device=device
    )
    require_other_file(stack, Path(output))
    check_destination(output)
    job = prepare_job(stack, model, options, in_memory=False)
    with open_writer(
        output,
        shape=job.shape,
        dims=job.dims,
        dtype=np.float32,
        voxel_size_um=job.voxel_size_um,
        provenance=job.provenance,
        channel_names=job.channel_names,
        z_um=job.planes.z_um,
        times_s=known_times_s(job.stack),
        origin_yx_um=origin_um(job.stack)[1:],
        resume=resume and job.is_identified,
    ) as writer:
        _run(job, writer, progress)


def _run(job: Job, sink: Sink, progress: Progress | None) -> None:
    """Compute what is not done yet, while the next planes are read and the last are written."""
    pending, blocks = pending_blocks(job, sink)
    total = blocks * job.plan.tiles_per_block
    done = total - len(pending) * job.plan.tiles_per_block
    with (
        kept_heap(),
        read_ahead(pending, lambda block: job.read(block.frame, block.span.read)) as recorded,
        write_behind(sink) as behind,
    ):
        blending = Blending(job, behind)
        for block, planes in recorded:
            seen = job.prepare(planes, block.span.read, block.normalisation)
            del planes  # as large as a block, like those of the next one, which are being read
            for number, tiles in enumerate(blending.restore(block, seen)):
                done += tiles
                if number % BATCHES_BETWEEN_TRIMS == 0:
                    give_back()
                if progress is not None:
                    progress(done, total)
            del seen
            give_back()
