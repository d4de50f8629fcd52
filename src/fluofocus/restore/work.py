"""Restoring a stack block by block of planes, tile by tile, with blended overlaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fluofocus.data.blending import BlendedSpan
from fluofocus.io.sinks import WHOLE, Sink
from fluofocus.models.device import inference
from fluofocus.prepare.normalise import Normalisation
from fluofocus.restore.job import Job
from fluofocus.restore.plan import TILES_AT_ONCE
from fluofocus.units import FloatArray

Progress = Callable[[int, int], None]
"""Called with the tiles done and the tiles in all."""


@dataclass(frozen=True)
class Block:
    """Some of the network's planes of one stack, which are restored together."""

    frame: tuple[int, ...]
    normalisation: Normalisation
    span: BlendedSpan
    complete_before: int
    """Planes before this one are finished once the block is."""


def pending_blocks(job: Job, sink: Sink) -> tuple[list[Block], int]:
    """Return the blocks that are not done yet, and how many there are, done or not.

    Blocks are always cut the same, and whatever a missing plane needs is computed again, so
    that an interrupted run comes out like an uninterrupted one.
    """
    spans = job.plan.z
    pending = []
    for frame, normalisation in zip(job.frames, job.normalisations, strict=True):
        for number, span in enumerate(spans):
            is_last = number + 1 == len(spans)
            end = span.read.stop if is_last else spans[number + 1].read.start
            if any(not _is_done(job, sink, frame, plane) for plane in _coming_out(job, span)):
                pending.append(Block(frame, normalisation, span, end))
    return pending, len(job.frames) * len(spans)


class Blending:
    """Adds up the shares of overlapping blocks, and hands on planes that are complete."""

    def __init__(self, job: Job, sink: Sink) -> None:
        self.job = job
        self.sink = sink
        self._sums: dict[int, FloatArray] = {}

    def restore(self, block: Block, seen: Tensor) -> Iterator[int]:
        """Restore a block ``(Z, Y, X)``; yields how many tiles were done at a time."""
        for plane in range(block.span.read.start, block.span.read.stop):
            self._sums.setdefault(plane, np.zeros(self.job.grid.padded_yx, np.float32))
        tiles = [(y, x) for y in self.job.plan.y for x in self.job.plan.x]
        for start in range(0, len(tiles), TILES_AT_ONCE):
            several = tiles[start : start + TILES_AT_ONCE]
            stacks = torch.stack([seen[:, y.read, x.read] for y, x in several])[:, None]
            with inference(self.job.device):
                restored = self.job.network(stacks.to(self.job.device)).float().cpu().numpy()
            for (y, x), tile in zip(several, restored[:, 0], strict=True):
                weighted = tile * (y.weight[:, None] * x.weight)
                for offset, (values, share) in enumerate(
                    zip(weighted, block.span.weight, strict=True)
                ):
                    self._sums[block.span.read.start + offset][y.read, x.read] += share * values
            yield len(several)
        self._hand_on(block)

    def _hand_on(self, block: Block) -> None:
        rows, columns = self.job.grid.network_yx
        for plane in sorted(self._sums):
            if plane >= block.complete_before:
                break
            normalised = self._sums.pop(plane)[:rows, :columns]
            if plane not in _coming_out(self.job, block.span) or _is_done(
                self.job, self.sink, block.frame, plane
            ):
                continue
            counts = block.normalisation.invert(normalised)
            if self.job.grid.is_resampled:
                counts = self.job.grid.to_input(torch.from_numpy(counts)).numpy()
            index = (*block.frame, plane - self.job.planes.first)
            self.sink.write_region(index, WHOLE, WHOLE, counts)


def _coming_out(job: Job, span: BlendedSpan) -> range:
    """Return those planes of a block that are in the result, by the network's numbers."""
    first = job.planes.first
    return range(max(span.read.start, first), min(span.read.stop, first + job.planes.count))


def _is_done(job: Job, sink: Sink, frame: tuple[int, ...], plane: int) -> bool:
    return sink.is_done((*frame, plane - job.planes.first), WHOLE, WHOLE)
