"""Large tensors without the cost of fetching their memory from the system each time."""

from __future__ import annotations

import ctypes
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1
_DEFAULT_TRIM_THRESHOLD, _DEFAULT_MMAP_MAX = 128 * 1024, 65536

_users = 0
_lock = threading.Lock()


@contextmanager
def kept_heap() -> Iterator[None]:
    """Keep freed memory in the process while this lasts, and give it back at the end.

    The GNU C library fetches every large block anew from the system and returns it when it is
    freed, and the system clears it page by page: with tensors of many MB, half of the time.
    May be nested, and entered by several threads. Does nothing with other C libraries.
    """
    global _users
    library = _glibc()
    if library is None:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            library.mallopt(_MMAP_MAX, 0)
            library.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                library.mallopt(_MMAP_MAX, _DEFAULT_MMAP_MAX)
                library.mallopt(_TRIM_THRESHOLD, _DEFAULT_TRIM_THRESHOLD)
                library.malloc_trim(0)


def give_back() -> None:
    """Give freed memory back to the system now, also while `kept_heap` lasts.

    Between arrays that fill much of the memory: what is kept of one is in pieces that the
    next does not fit into, so that it would take as much again.
    """
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)
