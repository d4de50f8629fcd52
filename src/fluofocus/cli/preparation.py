"""``fluofocus prepare``: from raw focus scans to a dataset to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluofocus.cli.console import note, progress, require_folder, say, verb

verbs = typer.Typer()


@verb(verbs, after_interrupt="run the same command again to go on.")
def prepare(
    stacks: Annotated[list[Path], typer.Argument(help="Focus stacks.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Dataset to write, *.zarr.")],
    target: Annotated[
        list[Path] | None,
        typer.Option(
            help="The same field in the target modality; once for each stack, in their order."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration (YAML).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Fields at a time; by default one for each core.")
    ] = None,
) -> None:
    """Align, fuse, normalise and cut focus stacks into a dataset to train on."""
    from fluofocus.prepare.config import PrepareConfig, load_prepare_config
    from fluofocus.prepare.run import prepare_dataset
    from fluofocus.report.contact_sheet import write_contact_sheet

    require_folder(output.absolute().parent)
    settings = PrepareConfig() if config is None else load_prepare_config(config)
    with progress("Preparing") as update:
        manifest = prepare_dataset(
            stacks, output, settings, targets=target or (), workers=workers, progress=update
        )
    sheet = output.with_suffix(".html")
    write_contact_sheet(output, sheet)
    for field in manifest.fields:
        if field.refused is not None:
            note(f"Left out {field.name}: {field.refused}")
        for scan in (field.input, field.target):
            if scan is not None and scan.jumps:
                planes = ", ".join(map(str, scan.jumps))
                note(f"Note: {Path(scan.source).name} jumps sideways at planes {planes}.")
    trained, kept = (len(manifest.regions(split)) for split in ("training", "validation"))
    say(f"Wrote {output}: {trained} regions to train on, {kept} to validate on.")
    say(f"Look at {sheet}.")
