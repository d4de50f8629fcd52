"""``fluofocus refocus``, and ``demo``, which shows it at work."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fluofocus.cli.console import (
    aligned,
    named_microscope,
    note,
    progress,
    require_folder,
    require_result,
    say,
    verb,
)
from fluofocus.cli.merging import merge_to_file, require_mergeable

verbs = typer.Typer()

AUTOMATIC = "auto"
"""The surface that stands for the one found in the image."""


class Resample(StrEnum):
    """What to do where the image's pixels differ from the model's."""

    auto = "auto"
    refuse = "refuse"


@verb(
    verbs,
    after_interrupt="what is computed is kept; run the same command again to go on from there.",
)
def refocus(
    image: Annotated[
        Path, typer.Argument(help="TIFF, OME-TIFF, OME-Zarr, CZI, ND2 or LIF.", show_default=False)
    ],
    model: Annotated[str, typer.Option(help="Shipped model or .safetensors file.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write, .ome.tif or .ome.zarr.")
    ],
    z: Annotated[
        str | None,
        typer.Option(
            "--z", help="Target planes in µm from the image: start:stop:step, or one number."
        ),
    ] = None,
    surface: Annotated[
        str | None,
        typer.Option(
            help="Surface to focus on: plane:3um, tilt:1.5deg[,axis=30deg][,offset=2um], "
            "cylinder:7.2mm[,axis=,apex=,offset=], poly:c00,c10,c01,…, FILE.tif in µm, "
            "FILE.csv of points, or auto."
        ),
    ] = None,
    plane: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            help="Which plane of a stack to refocus, from 0. Give it again for more planes, if "
            "the model takes several; distances are from the first.",
        ),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Refocus each plane alone and take the maximum.")
    ] = False,
    pixel_size: Annotated[
        float | None, typer.Option(help="Pixel size in µm, in place of the file's.")
    ] = None,
    z_step: Annotated[
        float | None, typer.Option(help="Distance of planes in µm, in place of the file's.")
    ] = None,
    microscope: Annotated[
        str | None,
        typer.Option(
            help="What took the image, YAML file or preset: gives the pixel size where the file "
            "states none, is compared with the model's microscope and, if calibrated, tells the "
            "model how it blurs."
        ),
    ] = None,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty", help="Add the expected absolute error of every pixel as a channel."
        ),
    ] = False,
    intermediate: Annotated[
        bool,
        typer.Option(
            "--intermediate",
            help="Add what the first of two networks in a row (w_net) makes as a channel.",
        ),
    ] = False,
    allow_extrapolation: Annotated[
        bool,
        typer.Option(
            "--allow-extrapolation", help="Go beyond the trained range; the file is marked."
        ),
    ] = False,
    resample: Annotated[
        Resample, typer.Option(help="If the image's pixels differ from the model's.")
    ] = Resample.auto,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble",
            help="Average over the eight turns of the image: more accurate, 8 times slower.",
        ),
    ] = False,
    memory: Annotated[float, typer.Option(min=0.1, help="Memory to use at most, in GiB.")] = 4.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on with an interrupted run.")
    ] = True,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Dask scheduler, like tcp://host:8786: its workers refocus, into an .ome.zarr."
        ),
    ] = None,
) -> None:
    """Refocus an image, or each frame of a time-lapse, onto planes or a surface."""
    from fluofocus.io import read_stack
    from fluofocus.refocus import Surface, parse_z_range, refocus_to_file
    from fluofocus.refocus.automatic_surface import find_surface
    from fluofocus.refocus.microscope_check import advice, lacking_pixel_size_um

    if merge:
        require_mergeable(
            surface,
            uncertainty=uncertainty,
            intermediate=intermediate,
            scheduler=scheduler,
        )
    stack = read_stack(image, pixel_size_um=pixel_size, z_step_um=z_step)
    require_result(output, stack)
    described = None if microscope is None else named_microscope(microscope)
    if described is not None:
        pixel_size = lacking_pixel_size_um(stack, described)
    if (hint := advice(model, described)) is not None:
        note(hint)
    where: Surface | str | None = surface
    if surface == AUTOMATIC and z is None:
        with progress("Finding the surface") as update:
            found = find_surface(
                stack,
                model,
                pixel_size_um=pixel_size,
                plane=plane,
                microscope=described,
                memory_gb=memory,
                device=device,
                progress=update,
            )
        where = found.surface
        note(f"Found {where.description}; {found.agreement:.0%} of what was judged agrees.")
    shared: dict[str, Any] = {
        "z_um": None if z is None else parse_z_range(z),
        "plane": plane,
        "pixel_size_um": pixel_size,
        "microscope": described,
        "allow_extrapolation": allow_extrapolation,
        "resample": resample.value,
        "ensemble": ensemble,
        "memory_gb": memory,
        "device": device,
    }
    with progress(f"Refocusing {image.name}") as update:
        if merge:
            merge_to_file(stack, model, output, **shared, progress=update)
        else:
            refocus_to_file(
                stack,
                model,
                output,
                **shared,
                surface=where,
                uncertainty=uncertainty,
                intermediate=intermediate,
                resume=resume,
                scheduler=scheduler,
                progress=update,
            )
    say(f"Wrote {output}.")


@verb(verbs)
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")] = Path(
        "demo-output"
    ),
) -> None:
    """Show the main job on a simulated acquisition: a table, a picture, an HTML page."""
    from fluofocus.report.demo import run_demo

    require_folder(output)
    result = run_demo(output, note)
    for line in aligned([result.header, *result.rows]):
        say(line)
    say(f"Wrote {result.page}.")
