"""``fluofocus simulate``: focus-scanned stacks with known truth."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fluofocus.cli.console import named_microscope, progress, say, verb

verbs = typer.Typer()


class Modality(StrEnum):
    """What `--modality` takes."""

    WIDEFIELD = "widefield"
    CONFOCAL = "confocal"


@verb(verbs, after_interrupt="run the same command again to make the stacks that are missing.")
def simulate(
    microscope: Annotated[str, typer.Argument(help="YAML file or preset.", show_default=False)],
    phantom: Annotated[
        str,
        typer.Option(help="What to image: beads, nuclei, filaments, worm, cells or brain_slice."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Number of stacks.")] = 1,
    size: Annotated[int, typer.Option(min=16, help="Pixels along y and x.")] = 256,
    z: Annotated[
        str, typer.Option("--z", help="Focal planes in µm, start:stop:step.")
    ] = "-10:10:0.5",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first stack.")] = 0,
    peak_photons: Annotated[float, typer.Option(help="Photons at the brightest pixel.")] = 2000.0,
    background_photons: Annotated[float, typer.Option(help="Photons at every pixel.")] = 10.0,
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", help="NAME=VALUE of the phantom; may be repeated."),
    ] = None,
    modality: Annotated[
        Modality | None,
        typer.Option(help="In place of the description's.", show_default=False),
    ] = None,
    depth_dependent: Annotated[
        bool, typer.Option("--depth-dependent", help="Aberrate each depth by its own distance.")
    ] = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Also write noise-free stacks, *-clean.ome.tif.")
    ] = False,
) -> None:
    """Simulate focus-scanned stacks: an OME-TIFF and a JSON file with the truth each."""
    from fluofocus.data.simulated_files import parse_parameters, write_simulated_stacks
    from fluofocus.refocus.parsing import parse_z_range

    seen_through = named_microscope(microscope)
    if modality is not None:
        seen_through = seen_through.with_modality(modality.value)
    with progress(f"Simulating {phantom}") as update:
        written = write_simulated_stacks(
            output,
            seen_through,
            phantom,
            count=count,
            seed=seed,
            shape_yx=(size, size),
            planes_um=parse_z_range(z),
            peak_photons=peak_photons,
            background_photons=background_photons,
            phantom_parameters=parse_parameters(parameter or []),
            depth_dependent=depth_dependent,
            with_clean=clean,
            progress=update,
        )
    say(f"{len(written)} stacks of {phantom} in {output}.")
