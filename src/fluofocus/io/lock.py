"""A lock by which only one run at a time writes an output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder until this ends or the process dies; it leaves nothing on the disk.

    Nothing is held on Windows, nor on a file system without locks on folders.

    Raises
    ------
    BlockingIOError
        If somebody else holds it.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass  # as good as it gets there
        yield
    finally:
        os.close(descriptor)
