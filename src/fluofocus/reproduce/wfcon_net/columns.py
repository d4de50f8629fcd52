"""The picture of several parts: what methods make of some fields, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from fluofocus.reproduce.reproduction import Figure, Request
from fluofocus.reproduce.wfcon_net.bench import SHOWN, Bench
from fluofocus.reproduce.wfcon_net.methods import Method
from fluofocus.reproduce.wfcon_net.panels import Row, draw_columns


def fields_shown(request: Request) -> list[int]:
    """Return every second of the first fields, which are of different kinds."""
    return list(range(min(request.fields, SHOWN)))[1::2] or [0]


def draw_methods(bench: Bench, methods: Sequence[Method], request: Request, name: str) -> Figure:
    """Draw a column for each method, and one for the truth."""
    rows = [
        Row(bench.field(index).kind.name, bench.stacks(methods, index))
        for index in fields_shown(request)
    ]
    path = request.folder / name
    draw_columns(rows, path)
    return Figure(path, "Planes rich in detail, and x–z sections along the dotted line.")
