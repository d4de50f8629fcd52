"""Reading ahead and writing behind, so that the network does not wait for files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from fluofocus.io.sinks import PlaneIndex, Sink
from fluofocus.units import FloatArray

Item = TypeVar("Item")
Content = TypeVar("Content")

MOST_WAITING = 2
"""Regions that wait to be written, at most; then the computation waits for the file."""


@contextmanager
def read_ahead(
    items: Iterable[Item], read: Callable[[Item], Content]
) -> Iterator[Iterator[tuple[Item, Content]]]:
    """Give each item with its content, which was read while the one before was in use.

    What ``read`` raises is raised when it is the item's turn.
    """
    with ThreadPoolExecutor(1, "fluofocus-read") as thread:

        def pairs() -> Iterator[tuple[Item, Content]]:
            ahead: deque[tuple[Item, Future[Content]]] = deque()
            for item in items:
                ahead.append((item, thread.submit(read, item)))
                if len(ahead) > 1:
                    yield _first(ahead)
            while ahead:
                yield _first(ahead)

        yield pairs()


def _first(ahead: deque[tuple[Item, Future[Content]]]) -> tuple[Item, Content]:
    item, content = ahead.popleft()
    return item, content.result()


@contextmanager
def write_behind(sink: Sink) -> Iterator[Sink]:
    """Give a sink whose regions are written in order by a thread.

    What writing raises is raised at one of the next regions, or at the end. On any way
    out, what waits is written first, so that nothing that was computed is lost.
    """
    with ThreadPoolExecutor(1, "fluofocus-write") as thread:
        queue = _Queue(sink, thread)
        yield queue
        queue.drain(0)


@dataclass(frozen=True)
class _Queue:
    """Hands regions to a sink in a thread."""

    sink: Sink
    thread: ThreadPoolExecutor
    waiting: deque[Future[None]] = field(default_factory=deque)

    def is_done(self, index: PlaneIndex, y: slice, x: slice) -> bool:
        """Tell what the sink says."""
        return self.sink.is_done(index, y, x)

    def write_region(self, index: PlaneIndex, y: slice, x: slice, block: FloatArray) -> None:
        """Take a region ``(h, w)``, which must not change any more."""
        self.waiting.append(self.thread.submit(self.sink.write_region, index, y, x, block))
        self.drain(MOST_WAITING)

    def drain(self, most: int) -> None:
        """Wait until no more than so many regions wait."""
        while len(self.waiting) > most:
            self.waiting.popleft().result()
