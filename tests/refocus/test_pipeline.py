"""Reading ahead and writing behind: in order, with errors, and with nothing lost."""

import threading

import numpy as np
import pytest

from fluofocus.io.pipeline import MOST_WAITING, read_ahead, write_behind
from fluofocus.io.sinks import WHOLE

BLOCK = np.zeros((2, 2), np.float32)


class Recorder:
    """A sink that remembers, may refuse one plane, and may be held up."""

    def __init__(self, refused: int | None = None) -> None:
        self.written: list[int] = []
        self.refused = refused
        self.may_write = threading.Event()
        self.may_write.set()

    def is_done(self, index, y, x) -> bool:
        return index[0] in self.written

    def write_region(self, index, y, x, block) -> None:
        self.may_write.wait(10)
        if index[0] == self.refused:
            raise OSError("full")
        self.written.append(index[0])


def test_the_next_item_is_read_while_one_is_in_use() -> None:
    started = [threading.Event() for _ in range(3)]

    def read(item: int) -> int:
        started[item].set()
        return 10 * item

    with read_ahead(range(3), read) as pairs:
        assert next(pairs) == (0, 0)
        assert started[1].wait(10)
        assert not started[2].is_set()
        assert list(pairs) == [(1, 10), (2, 20)]


def test_what_reading_raises_comes_at_the_items_turn() -> None:
    def read(item: int) -> int:
        if item == 1:
            raise OSError("gone")
        return item

    with read_ahead(range(3), read) as pairs:
        assert next(pairs) == (0, 0)
        with pytest.raises(OSError, match="gone"):
            next(pairs)


def write_all(sink: Recorder, planes: int, *, interrupted: bool = False) -> None:
    with write_behind(sink) as behind:
        for plane in range(planes):
            behind.write_region((plane,), WHOLE, WHOLE, BLOCK)
        if interrupted:
            raise KeyboardInterrupt


def test_regions_are_written_in_order_and_all() -> None:
    sink = Recorder()
    write_all(sink, 20)
    assert sink.written == list(range(20))


def test_no_more_than_a_few_regions_wait() -> None:
    sink = Recorder()
    sink.may_write.clear()
    with write_behind(sink) as behind:
        for plane in range(MOST_WAITING):
            behind.write_region((plane,), WHOLE, WHOLE, BLOCK)
        timer = threading.Timer(0.1, sink.may_write.set)
        timer.start()
        behind.write_region((MOST_WAITING,), WHOLE, WHOLE, BLOCK)
        assert sink.written, "one more region has to wait for the first"


@pytest.mark.parametrize("refused", [0, 19])
def test_what_writing_raises_is_raised(refused: int) -> None:
    with pytest.raises(OSError, match="full"):
        write_all(Recorder(refused), 20)


def test_what_waits_is_written_before_an_interruption_goes_on() -> None:
    sink = Recorder()
    with pytest.raises(KeyboardInterrupt):
        write_all(sink, 3, interrupted=True)
    assert sink.written == [0, 1, 2]
