"""Shares of the work that several processes can do at once, for they meet in no chunk of the file.

A chunk lies within one plane and, where tiles are written as they are, within one tile.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from fluofocus.io.sinks import WHOLE, PlaneIndex
from fluofocus.io.stores import ZARR_CHUNK_PX
from fluofocus.refocus.job import Job
from fluofocus.refocus.work import FrameWork, Work

WANTED_PER_WORKER = 2
"""Shares for each worker, at least, where there is so much to share: then few wait at the end."""


def chunk_yx(job: Job) -> tuple[int, int] | None:
    """Return a size of chunks that divides every tile, None where any size will do."""
    first = job.plan.tiles[0]
    if job.grid.is_resampled or len(job.plan.tiles) == 1:
        return None
    height, width = (
        _chunk_px(length, written)
        for length, written in zip(job.grid.input_yx, first.write, strict=True)
    )
    return height, width


def _chunk_px(length_px: int, first_tile: slice) -> int:
    """Divide the regular step of the tiles along one axis into equal chunks."""
    if first_tile.stop == length_px:
        return min(length_px, ZARR_CHUNK_PX)
    step: int = first_tile.stop
    return next(n for n in range(min(step, ZARR_CHUNK_PX), 0, -1) if step % n == 0)


def share_out(job: Job, pending: list[FrameWork], workers: int) -> list[FrameWork]:
    """Cut the work on frames into shares.

    A share is a tile with its planes or, where results are resampled, whole planes. Only
    where these are fewer than the workers want, a share's planes are shared too, since
    each of those shares encodes the tile again.
    """
    shares = [
        replace(work, works=list(works))
        for work in pending
        for _, works in itertools.groupby(work.works, key=lambda each: _whole(job, each))
    ]
    cuts = -(-WANTED_PER_WORKER * workers // max(1, len(shares)))
    return [part for share in shares for part in _by_planes(share, cuts)]


def _whole(job: Job, work: Work) -> object:
    """Return what the works that must or should stay together have in common."""
    group = work.planes.start // job.plan.planes_per_group
    return group if job.grid.is_resampled else (group, work.tile)


def _by_planes(share: FrameWork, cuts: int) -> Iterator[FrameWork]:
    batches = sorted({work.planes.start for work in share.works})
    size = -(-len(batches) // cuts)
    for start in range(0, len(batches), size):
        chosen = set(batches[start : start + size])
        yield replace(share, works=[work for work in share.works if work.planes.start in chosen])


def regions(job: Job, share: FrameWork) -> Iterator[tuple[PlaneIndex, slice, slice]]:
    """List what is written once a share is done: plane, rows, columns."""
    if job.grid.is_resampled:
        for plane in sorted({plane for work in share.works for plane in work.planes}):
            for index in job.indices(share.frame, plane):
                yield index, WHOLE, WHOLE
    else:
        for work in share.works:
            for plane in work.planes:
                for index in job.indices(share.frame, plane):
                    yield index, *work.tile.write
