"""The folder ``<name>.partial`` in which an image lives while it is written."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fluofocus.errors import FluoFocusError

IMAGE, HEADER, JOURNAL, REPLACED = "image", "header.json", "journal.txt", "replaced"
"""The entries of a partial folder; the last one exists for a moment when a Zarr is replaced."""


def clear_own_folder(partial: Path) -> None:
    """Empty the folder, or raise `FluoFocusError` if it is not an unfinished output."""
    entries = list(partial.iterdir()) if partial.is_dir() else [partial]
    if not {entry.name for entry in entries} <= {IMAGE, HEADER, JOURNAL, REPLACED}:
        raise FluoFocusError(
            f"{partial} is in the way and is not an unfinished output: move it elsewhere."
        )
    for entry in entries:
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the system says while the image `path` is written into `FluoFocusError`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FluoFocusError(
                f"The disk is full while writing {path}: free some space and run again; "
                "what is written so far is kept."
            ) from error
        raise FluoFocusError(
            f"{path} cannot be written ({error.strerror or error}): "
            "check the folder and its permissions."
        ) from error
