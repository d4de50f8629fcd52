"""What is built on refocusing: ``fluofocus edf`` and ``fluofocus drift``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluofocus.cli.console import named_microscope, progress, require_result, say, verb

verbs = typer.Typer()


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
    memory: Annotated[float, typer.Option(min=0.1, help="Memory to use at most, in GiB.")] = 4.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Extend the depth of field of one image: everything in focus, and a map of depth."""
    from fluofocus.io import read_stack, write_stack
    from fluofocus.refocus import parse_z_range
    from fluofocus.refocus.extended_depth import extended_depth
    from fluofocus.report.depth_figure import plot_depth

    recorded = read_stack(image, pixel_size_um=pixel_size)
    require_result(output, recorded)
    stem = _stem(output)
    depth = output.with_name(f"{stem}-depth{output.name.removeprefix(stem)}")
    require_result(depth, recorded)
    with progress(f"Refocusing {image.name}") as update:
        found = extended_depth(
            recorded,
            model,
            z_um=None if z is None else parse_z_range(z),
            plane=plane,
            microscope=None if microscope is None else named_microscope(microscope),
            ensemble=ensemble,
            memory_gb=memory,
            device=device,
            progress=update,
        )
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
    memory: Annotated[float, typer.Option(min=0.1, help="Memory to use at most, in GiB.")] = 4.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Find by how much a time-lapse drifts in z, and bring each frame back into its plane."""
    from fluofocus.io import read_stack
    from fluofocus.models.bundle import load_model
    from fluofocus.refocus.drift import estimate_drift, undo_drift
    from fluofocus.report.drift_figure import plot_drift
    from fluofocus.whole_files import write_whole

    recorded = read_stack(frames, pixel_size_um=pixel_size)
    require_result(output, recorded)
    stem = _stem(output)
    bundle = load_model(model)
    optics = None if microscope is None else named_microscope(microscope)
    with progress("Finding the drift") as update:
        found = estimate_drift(
            recorded,
            bundle,
            reference=reference,
            microscope=optics,
            memory_gb=memory,
            device=device,
            progress=update,
        )
    with progress("Refocusing") as update:
        undo_drift(
            recorded,
            bundle,
            found,
            output,
            microscope=optics,
            memory_gb=memory,
            device=device,
            progress=update,
        )
    table, picture = output.with_name(f"{stem}.csv"), output.with_name(f"{stem}.png")
    write_whole(table, found.to_csv(), "table ")
    plot_drift(recorded, read_stack(output), found, picture)
    lowest, highest = found.distance_um.min(), found.distance_um.max()
    say(f"Frames were {lowest:+.2f} to {highest:+.2f} µm from the plane of frame {reference}.")
    say(f"Wrote {output}, {table} and {picture}.")


def _stem(output: Path) -> str:
    """Return the name of an image to write without its ending."""
    from fluofocus.io.writers import WRITERS

    ending = next(ending for ending in WRITERS if output.name.lower().endswith(ending))
    return output.name[: -len(ending)]
