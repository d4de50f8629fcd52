"""``fluofocus reproduce``: the papers' experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluofocus.cli.console import aligned, progress, require_folder, say, verb
from fluofocus.errors import FluoFocusError

verbs = typer.Typer()


@verb(verbs)
def reproduce(
    paper: Annotated[
        str, typer.Argument(help="deep-z, deep-z-plus, w-net or wfcon-net.", show_default=False)
    ],
    parts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[part]...", help="Figures and tables; all by default."),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")] = Path(
        "report"
    ),
    fields: Annotated[
        int | None,
        typer.Option(min=1, help="Held-out fields to simulate, each part's own number by default."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=MODEL",
            help="Another model for a role, or for one more row; may be repeated.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the parts that are finished.")
    ] = False,
) -> None:
    """Re-enact a paper's experiments: tables, pictures and an HTML page."""
    from fluofocus.reproduce import REPRODUCTIONS, run_reproduction

    if paper not in REPRODUCTIONS:
        raise FluoFocusError(
            f"There is no reproduction {paper!r}; choose from {', '.join(REPRODUCTIONS)}."
        )
    require_folder(output)
    page, sections = run_reproduction(
        REPRODUCTIONS[paper],
        output,
        parts=parts or (),
        models=dict(_role_and_model(text) for text in model or ()),
        fields=fields,
        resume=resume,
        watch=progress,
    )
    for section in sections:
        for table in section.tables:
            say(table.caption)
            for line in aligned([table.header, *table.rows]):
                say(line)
            say("")
    say(f"Wrote {page}.")


def _role_and_model(text: str) -> tuple[str, str]:
    role, equals, model = text.partition("=")
    if not (role and equals and model):
        raise FluoFocusError(
            f"{text!r} names no model: write ROLE=MODEL, like Deep-Z+=my.safetensors."
        )
    return role, model
