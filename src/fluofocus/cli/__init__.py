"""The command line: verbs only; what they do is in the library."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from fluofocus.cli import (
    depth,
    measurement,
    microscope,
    neurons,
    preparation,
    refocusing,
    reproduction,
    restoring,
    simulation,
    training,
)
from fluofocus.cli.console import set_up

app = typer.Typer(
    name="fluofocus",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Refocus a single wide-field fluorescence image onto any plane or surface.",
)
app.add_typer(microscope.descriptions, name="microscope")
app.add_typer(neurons.verbs, name="neurons")
app.add_typer(measurement.measures, name="measure")
for group in (
    microscope.verbs,
    simulation.verbs,
    preparation.verbs,
    training.verbs,
    refocusing.verbs,
    restoring.verbs,
    depth.verbs,
    reproduction.verbs,
):
    app.add_typer(group)

MANY_VALUED = ("--target",)
"""Options that all words up to the next option belong to, as a shell's ``*`` makes them."""


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"fluofocus {version('fluofocus')}")
        raise typer.Exit


@app.callback()
def _global_options(
    debug: Annotated[
        bool,
        typer.Option("--debug", help="On an error, show the traceback too; may stand anywhere."),
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    set_up(debug=debug)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ``--debug`` counts wherever it stands."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in given:
        given = ["--debug", *(word for word in given if word != "--debug")]
    app(_each_named(given), prog_name="fluofocus")


def _each_named(words: Sequence[str]) -> list[str]:
    """Name a many-valued option again before each of its values."""
    named: list[str] = []
    current = ""
    for word in words:
        if word.startswith("-"):
            current = word if word in MANY_VALUED else ""
        elif current and named[-1] != current:
            named.append(current)
        named.append(word)
    return named
