"""What the engine computes together: planes of the tiles of one frame."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from fluofocus.data.tiling import Tile
from fluofocus.io.sinks import Sink
from fluofocus.models.device import inference
from fluofocus.prepare.normalise import Normalisation
from fluofocus.refocus.job import Job
from fluofocus.refocus.sinks import ResamplingSink

Progress = Callable[[int, int], None]
"""Called with the work done and the work in all, in planes of tiles."""


@dataclass(frozen=True)
class Work:
    """Some planes of one tile, decoded together."""

    tile: Tile
    planes: range


@dataclass(frozen=True)
class FrameWork:
    """Some of the work on one frame."""

    frame: tuple[int, ...]
    normalisation: Normalisation
    works: list[Work]

    @property
    def planes(self) -> int:
        """How many planes of tiles there are to compute."""
        return sum(len(work.planes) for work in self.works)


def pending_work(job: Job, sink: Sink) -> tuple[list[FrameWork], int]:
    """Return what is not done yet, and how many planes of tiles there are, done or not.

    Batches are always cut the same and left out as a whole, so that an interrupted run
    comes out like an uninterrupted one.
    """
    sink = _from_network_grid(job, sink)
    works = _works_per_frame(job)
    pending = []
    for frame, normalisation in zip(job.frames, job.normalisations, strict=True):
        missing = [work for work in works if not _is_done(job, sink, frame, work)]
        if missing:
            pending.append(FrameWork(frame, normalisation, missing))
    return pending, len(job.frames) * sum(len(work.planes) for work in works)


def compute(
    job: Job, dpm_um: Tensor, image: Tensor, frame_work: FrameWork, sink: Sink
) -> Iterator[int]:
    """Refocus one frame and hand over its regions; yields how many planes each batch had.

    Parameters
    ----------
    job
        What to compute.
    dpm_um
        Its targets in µm, as `Job.padded_dpm` returns them.
    image
        The frame, as `Job.prepare` returns it.
    frame_work
        What to compute of the frame; works on the same tile follow each other and, where
        results are resampled, planes are whole.
    sink
        Where the regions go, in counts.
    """
    sink = _from_network_grid(job, sink)
    for tile, works in itertools.groupby(frame_work.works, key=lambda work: work.tile):
        features = _encode(job, image, tile)
        y, x = tile.write
        for work in works:
            results = _decode(job, features, dpm_um, work, frame_work.normalisation)
            for position, plane in enumerate(work.planes):
                for index, counts in zip(
                    job.indices(frame_work.frame, plane), results, strict=True
                ):
                    sink.write_region(index, y, x, counts[position].numpy())
            yield len(work.planes)


def _works_per_frame(job: Job) -> list[Work]:
    """List groups of planes, in each all tiles, in each the batches."""
    groups = _chunks(range(job.targets.count), job.plan.planes_per_group)
    return [
        Work(tile, batch)
        for group in groups
        for tile in job.plan.tiles
        for batch in _chunks(group, job.plan.planes_per_batch)
    ]


def _chunks(planes: range, size: int) -> list[range]:
    return [planes[start : start + size] for start in range(0, len(planes), size)]


def _is_done(job: Job, sink: Sink, frame: tuple[int, ...], work: Work) -> bool:
    return all(
        sink.is_done(index, *work.tile.write)
        for plane in work.planes
        for index in job.indices(frame, plane)
    )


def _from_network_grid(job: Job, sink: Sink) -> Sink:
    return ResamplingSink(sink, job.grid) if job.grid.is_resampled else sink


def _encode(job: Job, image: Tensor, tile: Tile) -> tuple[Tensor, ...]:
    with inference(job.device):
        optics = None if job.optics is None else job.optics.to(job.device)
        return job.network.encode(image[(..., *tile.read)].to(job.device), optics)


def _decode(
    job: Job,
    features: tuple[Tensor, ...],
    dpm_um: Tensor,
    work: Work,
    normalisation: Normalisation,
) -> list[Tensor]:
    """Return the part that the tile writes of each output in counts, ``(T, h, w)``."""
    selected = slice(work.planes.start, work.planes.stop)
    dpm_um = dpm_um[..., selected] if dpm_um.ndim == 3 else dpm_um[(..., *work.tile.read)]
    with inference(job.device):
        refocused = job.network.decode(
            features, dpm_um.to(job.device), with_error=job.outputs.error is not None
        )
        written = (0, slice(None), *work.tile.crop)
        return job.outputs.in_counts(refocused, dpm_um, normalisation, written)
