"""Small files that are written whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from fluofocus.errors import FluoFocusError


def write_whole(path: str | Path, content: bytes | str, what: str = "") -> None:
    """Write a file under another name first, so that its own name never holds half of it.

    Parameters
    ----------
    content
        Text is encoded as UTF-8.
    what
        Kind of file with a space after it, for the message of an error.

    Raises
    ------
    FluoFocusError
        If the file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise FluoFocusError(
            f"Cannot write {what}{path} ({error.strerror or error}): choose another place, or "
            "free some space."
        ) from error
