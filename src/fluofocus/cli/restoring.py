"""``fluofocus restore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluofocus.cli.console import progress, say, verb
from fluofocus.cli.refocusing import Resample

verbs = typer.Typer()


@verb(
    verbs,
    after_interrupt="finished blocks are kept; run the same command again to go on from there.",
)
def restore(
    stack: Annotated[
        Path,
        typer.Argument(
            help="Wide-field z stack: TIFF, OME-TIFF, OME-Zarr, CZI, ND2 or LIF.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str, typer.Option("-m", "--model", help="Shipped model or .safetensors file, of stacks.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write, .ome.tif or .ome.zarr.")
    ],
    pixel_size: Annotated[
        float | None, typer.Option(help="Pixel size in µm, in place of the file's.")
    ] = None,
    z_step: Annotated[
        float | None, typer.Option(help="Distance of planes in µm, in place of the file's.")
    ] = None,
    resample: Annotated[
        Resample, typer.Option(help="If the stack's pixels or planes differ from the model's.")
    ] = Resample.auto,
    memory: Annotated[float, typer.Option(min=0.1, help="Memory to use at most, in GiB.")] = 4.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on with an interrupted run.")
    ] = True,
) -> None:
    """Turn a wide-field stack into a confocal one."""
    from fluofocus.io import read_stack
    from fluofocus.restore import restore_to_file

    recorded = read_stack(stack, pixel_size_um=pixel_size, z_step_um=z_step)
    with progress(f"Restoring {stack.name}") as update:
        restore_to_file(
            recorded,
            model,
            output,
            pixel_size_um=pixel_size,
            resample=resample.value,
            memory_gb=memory,
            device=device,
            resume=resume,
            progress=update,
        )
    say(f"Wrote {output}.")
