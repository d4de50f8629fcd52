"""Refocus images of any size, tile by tile, onto planes or a surface."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from fluofocus.data.grid import Resample
from fluofocus.heap import kept_heap
from fluofocus.io.pipeline import read_ahead, write_behind
from fluofocus.io.sinks import ArraySink, Sink, require_other_file
from fluofocus.io.stack import known_times_s, make_stack, origin_um
from fluofocus.io.writers import check_destination, open_writer
from fluofocus.models.bundle import Model
from fluofocus.optics.microscope import Microscope
from fluofocus.refocus.cluster import open_cluster
from fluofocus.refocus.job import Job, prepare_job
from fluofocus.refocus.mask_check import check_mask
from fluofocus.refocus.options import Options
from fluofocus.refocus.request import Planes
from fluofocus.refocus.shares import chunk_yx
from fluofocus.refocus.surface import Surface
from fluofocus.refocus.work import Progress, compute, pending_work
from fluofocus.units import AnyArray

if TYPE_CHECKING:
    from distributed import Client


def refocus(
    image: xr.DataArray | AnyArray,
    model: str | Path | Model,
    *,
    z_um: Sequence[float] | None = None,
    surface: Surface | str | None = None,
    pixel_size_um: float | None = None,
    plane: Planes = None,
    microscope: Microscope | None = None,
    uncertainty: bool = False,
    intermediate: bool = False,
    allow_extrapolation: bool = False,
    resample: Resample = "auto",
    ensemble: bool = False,
    memory_gb: float = 4.0,
    device: str = "auto",
    progress: Progress | None = None,
) -> xr.DataArray:
    """Refocus an image, or each frame of a time-lapse, onto planes or onto a surface.

    Parameters
    ----------
    image
        A stack with dims out of TCZYX, or a plain ``(Y, X)`` array.
    model
        Name of a shipped model, a model file, or a loaded model.
    z_um
        Distances in µm of the target planes from the input plane, from low to high;
        positive: further from the objective. The result has them along its axis Z.
    surface
        In place of ``z_um``: one surface, or its text (see `parse_surface`).
    pixel_size_um
        The image's pixel size, where it carries none or a wrong one.
    plane
        Which plane of a z stack to refocus, from 0; or which planes, in any order, if the
        model takes several. Distances are then from the first of them.
    microscope
        What took the image. If its aberrations were measured (``is_calibrated``), a model
        that was trained to be told is told; any other works with an average over the
        microscopes it was trained on.
    uncertainty
        Whether to add, as further channels, the expected absolute error of every pixel
        in counts.
    intermediate
        Whether to add, as further channels, what the first of two networks in a row gives the
        second: the image refocused, but still as the input's microscope shows it.
    allow_extrapolation
        Whether targets outside the model's training range are computed (and the
        result marked ``extrapolated_um`` in its provenance) or refused.
    resample
        What to do if the image's pixels and the model's differ by more than 2 %:
        ``"auto"`` resamples the image and its results, ``"refuse"`` raises.
    ensemble
        Whether to average what the network makes of the image's eight turns and mirror
        images: more accurate, eight times slower.
    memory_gb
        Budget in GiB for the whole process, the result included.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    progress
        Called as the work goes on.

    Returns
    -------
    xr.DataArray
        float32, in the counts of the input, on the input's pixels.

    Raises
    ------
    FluoFocusError
        If anything asked for is not possible; the message says what to do.
    """
    options = Options(
        z_um=z_um,
        surface=surface,
        pixel_size_um=pixel_size_um,
        plane=plane,
        microscope=microscope,
        uncertainty=uncertainty,
        intermediate=intermediate,
        allow_extrapolation=allow_extrapolation,
        resample=resample,
        ensemble=ensemble,
        memory_gb=memory_gb,
        device=device,
    )
    job = prepare_job(image, model, options, in_memory=True)
    sink = ArraySink(np.empty(job.shape, np.float32))
    _run(job, sink, progress)
    return make_stack(
        sink.array,
        job.dims,
        job.voxel_size_um,
        provenance=job.provenance,
        name=job.images.name if isinstance(job.images.name, str) else None,
        z_um=job.targets.z_um,
        origin_um=origin_um(job.images),
        channel_names=job.channel_names,
        times_s=known_times_s(job.images),
    )


def refocus_to_file(
    image: xr.DataArray | AnyArray,
    model: str | Path | Model,
    output: str | Path,
    *,
    z_um: Sequence[float] | None = None,
    surface: Surface | str | None = None,
    pixel_size_um: float | None = None,
    plane: Planes = None,
    microscope: Microscope | None = None,
    uncertainty: bool = False,
    intermediate: bool = False,
    allow_extrapolation: bool = False,
    resample: Resample = "auto",
    ensemble: bool = False,
    memory_gb: float = 4.0,
    device: str = "auto",
    resume: bool = True,
    scheduler: str | Client | None = None,
    progress: Progress | None = None,
) -> None:
    """Refocus into an OME-TIFF or OME-Zarr that is written as it is computed.

    An image that seems to lack the pupil mask of the model, or to have one that the model
    lacks, is warned about.

    Parameters
    ----------
    output
        File to write, ending in ``.ome.tif``, ``.ome.tiff`` or ``.ome.zarr``.
    resume
        Whether to go on where an interrupted run with the same settings stopped; the
        file is then the same as of an uninterrupted run. A model that was never saved
        cannot be recognised, so its runs start anew.
    scheduler
        Address of a Dask scheduler like ``tcp://host:8786``, or a client of it: its
        workers do the work. The output must be an OME-Zarr, the model a name or a file;
        both, and the image, must be reached by all workers under the same name.
        ``memory_gb`` is then for each worker.

    The others are those of `refocus`.

    Raises
    ------
    FluoFocusError
        If anything asked for is not possible; the message says what to do.
    """
    options = Options(
        z_um=z_um,
        surface=surface,
        pixel_size_um=pixel_size_um,
        plane=plane,
        microscope=microscope,
        uncertainty=uncertainty,
        intermediate=intermediate,
        allow_extrapolation=allow_extrapolation,
        resample=resample,
        ensemble=ensemble,
        memory_gb=memory_gb,
        device=device,
    )
    require_other_file(image, Path(output))
    check_destination(output)
    with nullcontext() if scheduler is None else open_cluster(scheduler, model, output) as cluster:
        workers_device = None if cluster is None else cluster.device(device)
        job = prepare_job(image, model, options, in_memory=False, workers_device=workers_device)
        check_mask(job.images, job.pixel_size_um, model)
        with open_writer(
            output,
            shape=job.shape,
            dims=job.dims,
            dtype=np.float32,
            voxel_size_um=job.voxel_size_um,
            provenance=job.provenance,
            channel_names=job.channel_names,
            z_um=job.targets.z_um,
            times_s=known_times_s(job.images),
            origin_yx_um=origin_um(job.images)[1:],
            chunk_yx=chunk_yx(job),
            resume=resume and job.is_identified,
        ) as writer:
            if cluster is None:
                _run(job, writer, progress)
            else:
                cluster.run(job, writer, progress, ensemble=ensemble)


def _run(job: Job, sink: Sink, progress: Progress | None) -> None:
    """Compute what is not done yet, frame by frame.

    While the network works, the next frame is read and the last results are written.
    """
    pending, total = pending_work(job, sink)
    done = total - sum(frame.planes for frame in pending)
    dpm_um = job.padded_dpm()
    with (
        kept_heap(),
        read_ahead(pending, lambda work: job.read(work.frame)) as frames,
        write_behind(sink) as behind,
    ):
        for work, recorded in frames:
            image = job.prepare(recorded, work.normalisation)
            for planes in compute(job, dpm_um, image, work, behind):
                done += planes
                if progress is not None:
                    progress(done, total)
