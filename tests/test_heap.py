"""Freed memory stays in the process for as long as it is asked for, and no longer."""

import platform
import threading

import psutil
import pytest
import torch

from fluofocus.heap import give_back, kept_heap

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only the GNU C library is told"
)
MIB = 2**20


def resident_mib() -> float:
    return psutil.Process().memory_info().rss / MIB


def use_and_free(mib: int) -> None:
    torch.ones(mib * MIB // 4)


def test_memory_is_kept_and_then_given_back() -> None:
    use_and_free(200)
    before = resident_mib()
    with kept_heap():
        use_and_free(200)
        assert resident_mib() > before + 150
    assert resident_mib() < before + 50
    use_and_free(200)
    assert resident_mib() < before + 50


def test_the_last_to_leave_gives_it_back() -> None:
    before = resident_mib()
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with kept_heap():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(10)
    with kept_heap(), kept_heap():
        use_and_free(200)
    assert resident_mib() > before + 150
    leave.set()
    thread.join()
    assert resident_mib() < before + 50


def test_memory_can_be_given_back_meanwhile() -> None:
    before = resident_mib()
    with kept_heap():
        use_and_free(200)
        assert resident_mib() > before + 150
        give_back()
        assert resident_mib() < before + 50
        use_and_free(200)
        assert resident_mib() > before + 150
    assert resident_mib() < before + 50
