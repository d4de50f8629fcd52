"""``fluofocus neurons``: neurons in stacks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluofocus.cli.activity import activity
from fluofocus.cli.console import note, require_folder, require_writable, say, verb
from fluofocus.errors import FluoFocusError

if TYPE_CHECKING:
    import xarray as xr

    from fluofocus.neurons import Neurons
    from fluofocus.units import AnyArray

verbs = typer.Typer(no_args_is_help=True, help="Find neurons in stacks, and their activity.")


@verb(verbs)
def segment(
    stack: Annotated[
        Path, typer.Argument(help="Stack, or one image: TIFF, OME-Zarr, …", show_default=False)
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Table to write, *.csv.")],
    method: Annotated[str, typer.Option(help="watershed or spots.")] = "watershed",
    diameter: Annotated[float, typer.Option(help="Diameter of a neuron in µm.")] = 2.8,
    threshold: Annotated[
        float, typer.Option(help="Share of the typical neuron's height that counts.")
    ] = 0.2,
    truth: Annotated[
        Path | None, typer.Option(help="Known positions, the .json file of 'simulate'.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Image of the neurons' numbers to write, .ome.tif.")
    ] = None,
    pixel_size: Annotated[
        float | None, typer.Option(help="Pixel size in µm, in place of the file's.")
    ] = None,
    z_step: Annotated[
        float | None, typer.Option(help="Distance of planes in µm, in place of the file's.")
    ] = None,
) -> None:
    """Find the neurons of a stack: a table of them, and a picture beside it."""
    from fluofocus.io import read_stack, write_stack
    from fluofocus.neurons import known_positions_um, segment_neurons
    from fluofocus.report.neurons import plot_neurons

    picture = output.with_suffix(".png")
    _check_outputs(stack, (output, picture), labels)
    known_um = None if truth is None else known_positions_um(truth)
    scan = read_stack(stack, pixel_size_um=pixel_size, z_step_um=z_step).load()
    settings: dict[str, Any] = {"method": method, "diameter_um": diameter, "threshold": threshold}
    found = segment_neurons(scan, **settings)
    if not len(found):
        raise FluoFocusError(
            f"There are no neurons in {stack}: check --diameter, and whether the stack shows "
            "more than noise."
        )
    if labels is not None:
        write_stack(labels, found.label_stack(scan, settings))
    plot_neurons(scan, found, picture)
    found.to_csv(output)
    if known_um is not None:
        _compare(found, known_um, scan)
    written = [str(path) for path in (output, picture, labels) if path is not None]
    say(f"{len(found)} neurons in {stack}.")
    say(f"Wrote {', '.join(written)}.")


def _check_outputs(stack: Path, files: tuple[Path, Path], labels: Path | None) -> None:
    """Refuse, before the work, what could not be written after it."""
    from fluofocus.io import WRITERS

    for path, suffix in zip(files, (".csv", ".png"), strict=True):
        require_writable(path, (suffix,))
    if labels is None:
        return
    if not labels.name.lower().endswith(tuple(WRITERS)):
        raise FluoFocusError(
            f"{labels} cannot be written: choose a name that ends in {', '.join(WRITERS)}."
        )
    require_folder(labels.absolute().parent)
    if labels.resolve() == stack.resolve():
        raise FluoFocusError(f"{labels} is the stack itself: choose another name.")


def _compare(found: Neurons, known_um: AnyArray, scan: xr.DataArray) -> None:
    """Print how the neurons agree with those known; in one image, by place alone."""
    from fluofocus.neurons import AXIAL_TOLERANCE_UM, match_neurons, within_planes

    inside_um = within_planes(known_um, scan)
    if len(inside_um) < len(known_um):
        beyond = len(known_um) - len(inside_um)
        note(f"Note: known neurons above or below the stack, not counted: {beyond}.")
    axial_um = AXIAL_TOLERANCE_UM if "Z" in scan.dims else math.inf
    say(match_neurons(found.centroids_um, inside_um, axial_um=axial_um).table())


verb(verbs)(activity)
