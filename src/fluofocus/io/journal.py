"""A record on disk of which regions of which planes are written."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

PlaneIndex = tuple[int, ...]


class Region(NamedTuple):
    """A rectangle of pixels; ``bottom`` and ``right`` are the first ones outside."""

    top: int
    bottom: int
    left: int
    right: int


class Journal:
    """Regions written so far, one line each in a text file that only grows.

    A line counts once it is complete, and it is written after the pixels it tells of.
    So whatever the moment at which a run is killed, what the journal says is true.
    """

    def __init__(self, path: Path) -> None:
        self._regions: dict[PlaneIndex, list[Region]] = {}
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        complete = [line for line in lines if line.endswith("\n")]
        for line in complete:
            index, region = _parse(line)
            self._regions.setdefault(index, []).append(region)
        path.write_text("".join(complete))
        self._file = path.open("a")

    def add(self, index: PlaneIndex, region: Region) -> None:
        """Record that a region is written."""
        self._file.write(f"{','.join(map(str, index))} {','.join(map(str, region))}\n")
        self._file.flush()
        self._regions.setdefault(index, []).append(region)

    def covers(self, index: PlaneIndex, region: Region) -> bool:
        """Tell whether every pixel of a region is written, in whatever pieces."""
        pieces = self._regions.get(index)
        return pieces is not None and _covered(region, pieces)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _parse(line: str) -> tuple[PlaneIndex, Region]:
    index, _, region = line.rstrip("\n").partition(" ")
    return (
        tuple(int(i) for i in index.split(",") if i),
        Region(*(int(edge) for edge in region.split(","))),
    )


def _covered(target: Region, pieces: list[Region]) -> bool:
    """Check a union of rectangles on the grid of all their edges."""
    if target in pieces:
        return True
    rows = _edges(target.top, target.bottom, [(p.top, p.bottom) for p in pieces])
    columns = _edges(target.left, target.right, [(p.left, p.right) for p in pieces])
    cells = np.zeros((len(rows) - 1, len(columns) - 1), bool)
    for piece in pieces:
        inside_rows = (rows[:-1] >= piece.top) & (rows[1:] <= piece.bottom)
        inside_columns = (columns[:-1] >= piece.left) & (columns[1:] <= piece.right)
        cells |= np.outer(inside_rows, inside_columns)
    return bool(cells.all())


def _edges(start: int, stop: int, pieces: list[tuple[int, int]]) -> np.ndarray:
    edges = np.unique([start, stop, *(edge for piece in pieces for edge in piece)])
    return edges[(edges >= start) & (edges <= stop)]
