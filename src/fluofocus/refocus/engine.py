"""Refocus images of any size, tile by tile, onto planes or a surface."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from fluofocus.data.tiling import Tile
from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import make_stack, origin_um
from fluofocus.io.writers import open_writer
from fluofocus.models.bundle import Model
from fluofocus.refocus.grid import Resample
from fluofocus.refocus.job import Job, Options, prepare_job
from fluofocus.refocus.sinks import ArraySink, ResamplingSink, Sink
from fluofocus.refocus.surface import Surface
from fluofocus.units import AnyArray

Progress = Callable[[int, int], None]
"""Called with the work done and the work in all, in planes of tiles."""


def refocus(
    image: xr.DataArray | AnyArray,
    model: str | Path | Model,
    *,
    z_um: Sequence[float] | None = None,
    surface: Surface | str | None = None,
    pixel_size_um: float | None = None,
    plane: int | None = None,
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
        Which plane of a z stack to refocus, from 0.
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
    )


def refocus_to_file(
    image: xr.DataArray | AnyArray,
    model: str | Path | Model,
    output: str | Path,
    *,
    z_um: Sequence[float] | None = None,
    surface: Surface | str | None = None,
    pixel_size_um: float | None = None,
    plane: int | None = None,
    allow_extrapolation: bool = False,
    resample: Resample = "auto",
    ensemble: bool = False,
    memory_gb: float = 4.0,
    device: str = "auto",
    resume: bool = True,
    progress: Progress | None = None,
) -> None:
    """Refocus into an OME-TIFF or OME-Zarr that is written as it is computed.

    Parameters
    ----------
    output
        File to write, ending in ``.ome.tif``, ``.ome.tiff`` or ``.ome.zarr``.
    resume
        Whether to go on where an interrupted run with the same settings stopped; the
        file is then the same as of an uninterrupted run. A model that was never saved
        cannot be recognised, so its runs start anew.

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
        allow_extrapolation=allow_extrapolation,
        resample=resample,
        ensemble=ensemble,
        memory_gb=memory_gb,
        device=device,
    )
    _require_other_file(image, Path(output))
    job = prepare_job(image, model, options, in_memory=False)
    with open_writer(
        output,
        shape=job.shape,
        dims=job.dims,
        dtype=np.float32,
        voxel_size_um=job.voxel_size_um,
        provenance=job.provenance,
        channel_names=job.channel_names,
        z_um=job.targets.z_um,
        resume=resume and job.is_identified,
    ) as writer:
        _run(job, writer, progress)


def _require_other_file(image: xr.DataArray | AnyArray, output: Path) -> None:
    source = image.encoding.get("source") if isinstance(image, xr.DataArray) else None
    if source is not None and Path(source).resolve() == output.resolve():
        raise FluoFocusError(f"{output} is the image itself: choose another name for the result.")


@dataclass(frozen=True)
class _Work:
    """Some planes of one tile, decoded together."""

    tile: Tile
    planes: range


def _run(job: Job, sink: Sink, progress: Progress | None) -> None:
    """Compute all that is not done yet, frame by frame, always in the same batches."""
    if job.grid.is_resampled:
        sink = ResamplingSink(sink, job.grid)
    dpm_um = job.padded_dpm()
    per_frame = _cut_up(job)
    frame_total = sum(len(work.planes) for work in per_frame)
    total = len(job.frames) * frame_total
    done = 0
    for frame, normalisation in zip(job.frames, job.normalisations, strict=True):
        pending = [work for work in per_frame if not _is_done(job, sink, frame, work)]
        done += frame_total - sum(len(work.planes) for work in pending)
        if not pending:
            continue
        image = job.load(frame, normalisation)
        for tile, works in itertools.groupby(pending, key=lambda work: work.tile):
            features = _encode(job, image, tile)
            y, x = tile.write
            for work in works:
                counts = normalisation.invert(_decode(job, features, dpm_um, work))
                for plane, block in zip(work.planes, counts, strict=True):
                    sink.write_region(job.index(frame, plane), y, x, block.numpy())
                done += len(work.planes)
                if progress is not None:
                    progress(done, total)


def _cut_up(job: Job) -> list[_Work]:
    """List the work on one frame: groups of planes, in each all tiles, in each the batches."""
    groups = _chunks(range(job.targets.count), job.plan.planes_per_group)
    return [
        _Work(tile, batch)
        for group in groups
        for tile in job.plan.tiles
        for batch in _chunks(group, job.plan.planes_per_batch)
    ]


def _chunks(planes: range, size: int) -> list[range]:
    return [planes[start : start + size] for start in range(0, len(planes), size)]


def _is_done(job: Job, sink: Sink, frame: tuple[int, ...], work: _Work) -> bool:
    return all(sink.is_done(job.index(frame, plane), *work.tile.write) for plane in work.planes)


def _encode(job: Job, image: Tensor, tile: Tile) -> tuple[Tensor, ...]:
    with _inference(job.device):
        return job.network.encode(image[(..., *tile.read)].to(job.device))


def _decode(job: Job, features: tuple[Tensor, ...], dpm_um: Tensor, work: _Work) -> Tensor:
    """Return the part of the planes that the tile writes, ``(T, h, w)``, normalised."""
    selected = slice(work.planes.start, work.planes.stop)
    dpm_um = dpm_um[:, selected] if dpm_um.ndim == 2 else dpm_um[(..., *work.tile.read)]
    with _inference(job.device):
        output = job.network.decode(features, dpm_um.to(job.device))
        return output[(0, slice(None), *work.tile.crop)].float().cpu()


@contextmanager
def _inference(device: torch.device) -> Iterator[None]:
    on_gpu = device.type == "cuda"
    with (
        torch.inference_mode(),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=on_gpu),
    ):
        yield
