"""Where the benchmarks' tables go."""

from __future__ import annotations

from pathlib import Path

from fluofocus.whole_files import write_whole


def publish(text: str, path: Path | None) -> None:
    """Print a page of tables and, where a path is given, write it there."""
    print(text)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
