"""``fluofocus stitch`` and ``fluofocus prepare``: from raw focus scans to a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluofocus.cli.console import note, progress, require_folder, require_result, say, verb

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


@verb(verbs)
def stitch(
    tiles: Annotated[
        list[Path], typer.Argument(help="Tiles, row by row from the top.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Image to write.")],
    columns: Annotated[int, typer.Option(min=1, help="Tiles of a row.", show_default=False)],
    overlap: Annotated[
        float, typer.Option(help="Share of a tile's side that the next one has too.")
    ] = 0.1,
    snake: Annotated[
        bool, typer.Option("--snake", help="Every second row runs from right to left.")
    ] = False,
    stage_error: Annotated[
        float, typer.Option(help="Pixels by which a tile may lie away from the grid.")
    ] = 10.0,
) -> None:
    """Put the overlapping tiles of a field together, to a fraction of a pixel."""
    from fluofocus.io import read_stack, write_stack
    from fluofocus.prepare.tile_scan import grid_px, stitched

    stacks = [read_stack(path) for path in tiles]
    require_result(output, *stacks)
    height, width = stacks[0].shape[-2:]
    stage_px = grid_px(len(stacks), columns, (height, width), overlap, snake=snake)
    stack, placement = stitched(stacks, stage_px, stage_error_px=stage_error)
    write_stack(output, stack)
    size = " x ".join(map(str, stack.shape))
    say(f"Wrote {output}: {size} from {len(stacks)} tiles, {len(placement.pairs)} overlaps used.")
