"""``fluofocus refocus`` and what is built on it: ``edf``, ``drift`` and ``demo``."""

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
    say,
    verb,
)
from fluofocus.cli.merging import merge_to_file, require_mergeable
from fluofocus.errors import FluoFocusError

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
    from fluofocus.refocus.microscope_check import advice, check_microscope

    if merge:
        require_mergeable(output, surface, uncertainty=uncertainty, scheduler=scheduler)
    stack = read_stack(image, pixel_size_um=pixel_size, z_step_um=z_step)
    described = None if microscope is None else named_microscope(microscope)
    if described is not None:
        pixel_size = check_microscope(stack, model, described)
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
                resume=resume,
                scheduler=scheduler,
                progress=update,
            )
    say(f"Wrote {output}.")


@verb(verbs)
def edf(
    image: Annotated[Path, typer.Argument(help="One image, or a stack.", show_default=False)],
    model: Annotated[str, typer.Option(help="Shipped model or .safetensors file.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write, .ome.tif or .ome.zarr.")
    ],
    z: Annotated[
        str | None,
        typer.Option("--z", help="Planes to fuse, start:stop:step in µm; by default 41."),
    ] = None,
    plane: Annotated[
        list[int] | None, typer.Option(min=0, help="Which plane of a stack, from 0.")
    ] = None,
    pixel_size: Annotated[
        float | None, typer.Option(help="Pixel size in µm, in place of the file's.")
    ] = None,
    microscope: Annotated[
        str | None, typer.Option(help="What took the image; a calibrated one is told the model.")
    ] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Average over the eight turns of the image.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Extend the depth of field of one image: everything in focus, and a map of depth."""
    from fluofocus.io import read_stack, write_stack
    from fluofocus.refocus import parse_z_range
    from fluofocus.refocus.extended_depth import extended_depth
    from fluofocus.report.depth_figure import plot_depth

    stem = _stem(output)
    recorded = read_stack(image, pixel_size_um=pixel_size)
    with progress(f"Refocusing {image.name}") as update:
        found = extended_depth(
            recorded,
            model,
            z_um=None if z is None else parse_z_range(z),
            plane=plane,
            microscope=None if microscope is None else named_microscope(microscope),
            ensemble=ensemble,
            device=device,
            progress=update,
        )
    depth = output.with_name(f"{stem}-depth{output.name.removeprefix(stem)}")
    picture = output.with_name(f"{stem}.png")
    write_stack(output, found.image)
    write_stack(depth, found.depth_um)
    shown = recorded if "Z" not in recorded.dims else recorded.isel(Z=(plane or [0])[0])
    plot_depth(shown, found.image, found.depth_um, picture)
    say(f"Wrote {output}, {depth} and {picture}.")


@verb(
    verbs,
    after_interrupt="what is computed is kept; run the same command again to go on from there.",
)
def drift(
    frames: Annotated[
        Path, typer.Argument(help="Time-lapse of one plane and channel.", show_default=False)
    ],
    model: Annotated[str, typer.Option(help="Shipped model or .safetensors file.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write, .ome.tif or .ome.zarr.")
    ],
    reference: Annotated[
        int, typer.Option(min=0, help="Frame that shows the plane to stay in, from 0.")
    ] = 0,
    pixel_size: Annotated[
        float | None, typer.Option(help="Pixel size in µm, in place of the file's.")
    ] = None,
    microscope: Annotated[
        str | None, typer.Option(help="What took the images; a calibrated one is told the model.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Find by how much a time-lapse drifts in z, and bring each frame back into its plane."""
    from fluofocus.io import read_stack
    from fluofocus.models.bundle import load_model
    from fluofocus.refocus.drift import estimate_drift, undo_drift
    from fluofocus.report.drift_figure import plot_drift
    from fluofocus.whole_files import write_whole

    stem = _stem(output)
    recorded = read_stack(frames, pixel_size_um=pixel_size)
    bundle = load_model(model)
    optics = None if microscope is None else named_microscope(microscope)
    with progress("Finding the drift") as update:
        found = estimate_drift(
            recorded,
            bundle,
            reference=reference,
            microscope=optics,
            device=device,
            progress=update,
        )
    with progress("Refocusing") as update:
        undo_drift(
            recorded, bundle, found, output, microscope=optics, device=device, progress=update
        )
    table, picture = output.with_name(f"{stem}.csv"), output.with_name(f"{stem}.png")
    write_whole(table, found.to_csv(), "table ")
    plot_drift(recorded, read_stack(output), found, picture)
    lowest, highest = found.distance_um.min(), found.distance_um.max()
    say(f"Frames were {lowest:+.2f} to {highest:+.2f} µm from the plane of frame {reference}.")
    say(f"Wrote {output}, {table} and {picture}.")


def _stem(output: Path) -> str:
    """Return the name of an image to write without its ending, or refuse another kind of file."""
    from fluofocus.io.writers import WRITERS

    require_folder(output.absolute().parent)
    suffix = next((ending for ending in WRITERS if output.name.endswith(ending)), None)
    if suffix is None:
        raise FluoFocusError(f"{output} cannot be written: end its name in {', '.join(WRITERS)}.")
    return output.name.removesuffix(suffix)


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
