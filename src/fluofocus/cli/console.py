"""How the command line speaks: results, notes, errors, progress."""

from __future__ import annotations

import functools
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import typer

from fluofocus.errors import FluoFocusError, FluoFocusWarning

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from fluofocus.optics.microscope import Microscope

USER_ERROR, UNEXPECTED, INTERRUPTED = 2, 1, 130
"""Exit codes: something to correct, a defect or a machine's limit, Ctrl-C."""

RUN_AGAIN = "nothing unfinished carries a final name; run the same command again."
"""How to go on after Ctrl-C, for verbs that keep no partial results."""

_settings = {"debug": False}


def set_up(*, debug: bool) -> None:
    """Choose how much is shown: with ``debug`` tracebacks, and warnings of other libraries."""
    _settings["debug"] = debug
    if not debug:
        warnings.simplefilter("ignore")
    warnings.simplefilter("default", FluoFocusWarning)  # each once, however many frames there are
    warnings.showwarning = _show_note


def say(text: str) -> None:
    """Write a line of results to stdout."""
    typer.echo(text)


def note(text: str) -> None:
    """Write a line that is not a result to stderr."""
    typer.echo(text, err=True)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def verb(
    group: typer.Typer, name: str | None = None, *, after_interrupt: str = RUN_AGAIN
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command that reports errors as `reported` does."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> None:
            with reported(after_interrupt):
                function(*arguments, **options)

        return group.command(name)(run)

    return register


@contextmanager
def reported(after_interrupt: str = RUN_AGAIN) -> Iterator[None]:
    """Turn exceptions into one sentence on stderr and an exit code."""
    try:
        yield
    except FluoFocusError as error:
        _fail(str(error), USER_ERROR)
    except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
        raise
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror or error}{where}: check the name, rights and space.", USER_ERROR)
    except KeyboardInterrupt as stop:
        _fail(f"Interrupted: {str(stop) or after_interrupt}", INTERRUPTED)
    except SystemExit as stop:  # a library that turned Ctrl-C into an exit
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        _fail(f"Interrupted: {after_interrupt}", INTERRUPTED)
    except Exception as error:  # the boundary to the user: nothing is swallowed, all exits with 1
        cause = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": .")
        hint = "" if _settings["debug"] else " Run with --debug to see where."
        _fail(f"Unexpected error, {cause}.{hint}", UNEXPECTED)


@contextmanager
def progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the time left on stderr; yields what to call with (done, total)."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True, max_width=30)),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    bars = Progress(*columns, console=Console(stderr=True), expand=True)
    task = bars.add_task(description, total=None)

    def update(done: int, total: int) -> None:
        bars.start()  # only now: what fails at once has no bar
        bars.update(task, completed=done, total=total or None)

    try:
        yield update
    finally:
        if bars.live.is_started:
            bars.stop()


def require_writable(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse, before a long computation, a file that could not be written after it."""
    if path.suffix.lower() not in suffixes:
        raise FluoFocusError(
            f"{path} cannot be written: choose a name that ends in {', '.join(suffixes)}."
        )
    if path.is_dir():
        raise FluoFocusError(f"{path} is a folder: choose another name.")
    if not path.parent.is_dir():
        raise FluoFocusError(f"The folder {path.parent} does not exist: make it first.")
    require_folder(path.parent)


def require_folder(path: Path) -> None:
    """Refuse, before a long computation, a folder that cannot be made or written into."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise FluoFocusError(f"{existing} is a file: choose another name for the folder.")
    if not os.access(existing, os.W_OK):
        raise FluoFocusError(f"The folder {existing} cannot be written into: choose another.")


def require_result(output: Path, *recorded: xr.DataArray) -> None:
    """Refuse, before a long computation, an image that could not be written after it."""
    from fluofocus.io.sinks import require_other_file
    from fluofocus.io.writers import check_destination

    require_folder(output.absolute().parent)
    for image in recorded:
        require_other_file(image, output)
    check_destination(output)


def named_microscope(name_or_path: str | Path) -> Microscope:
    """Load a microscope description, a preset by its name or a YAML file, noting what is odd."""
    from fluofocus.optics.microscope import load_microscope, preset, preset_names

    name = str(name_or_path)
    microscope = preset(name) if name in preset_names() else load_microscope(name_or_path)
    microscope.warn_if_undersampled()
    return microscope


def _fail(sentence: str, code: int) -> NoReturn:
    if _settings["debug"] and code != INTERRUPTED:
        traceback.print_exc()
    line = " ".join(sentence.split())
    note(line if code == INTERRUPTED else f"Error: {line}")
    raise typer.Exit(code)


def _show_note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning as one line; stands in for `warnings.showwarning`."""
    text = " ".join(str(message).split())
    sys.stderr.write(f"Note: {text}\n")
