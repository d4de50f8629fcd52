"""``fluofocus measure``: what images say about resolution."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluofocus.cli.console import aligned, progress, require_folder, say, verb

measures = typer.Typer(no_args_is_help=True, help="Measure images: widths of beads.")


@verb(measures)
def fwhm(
    images: Annotated[
        list[Path], typer.Argument(help="Images or focus stacks of beads.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the table (CSV) and the figure.")
    ],
    against: Annotated[
        Path | None, typer.Option(help="Image or stack to compare the widths with.")
    ] = None,
    pixel_size: Annotated[
        float | None, typer.Option(help="Pixel size in µm, in place of the files'.")
    ] = None,
    z_step: Annotated[
        float | None, typer.Option(help="Distance of planes in µm, in place of the files'.")
    ] = None,
    window: Annotated[int, typer.Option(help="Side of the square fitted, in pixels.")] = 21,
    threshold: Annotated[
        float, typer.Option(help="Height of a bead, in standard deviations of the noise.")
    ] = 6.0,
) -> None:
    """Measure the full widths at half maximum of beads, with a table and a figure."""
    from fluofocus.report.bead_widths import (
        comparison_rows,
        difference_rows,
        measure_bead_files,
        summary,
        write_beads,
    )
    from fluofocus.report.width_figures import plot_bead_widths

    require_folder(output)
    paths = [*images, *([] if against is None else [against])]
    with progress("Measuring") as update:
        files = measure_bead_files(
            paths,
            pixel_size_um=pixel_size,
            z_step_um=z_step,
            window_px=window,
            noise_threshold=threshold,
            progress=update,
        )
    output.mkdir(parents=True, exist_ok=True)
    reference = None if against is None else files[-1]
    measured = files[: len(images)]
    write_beads(files, output / "beads.csv")
    plot_bead_widths(measured, output / "widths.png", reference=reference)
    for file in files:
        for line in summary(file):
            say(line)
    tables = [comparison_rows(files)] if len(files) > 1 else []
    if reference is not None:
        tables.append(difference_rows(measured, reference))
    for table in tables:
        say("\n" + "\n".join(aligned(table)))
    say(f"Wrote {output / 'beads.csv'} and {output / 'widths.png'}.")
