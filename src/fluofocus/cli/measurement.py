"""``fluofocus measure``: what images say about resolution."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluofocus.cli.console import aligned, progress, require_folder, say, verb
from fluofocus.errors import FluoFocusError

if TYPE_CHECKING:
    from fluofocus.report.localisation import PlaneScore

measures = typer.Typer(no_args_is_help=True, help="Measure images of beads: widths, positions.")

PixelSize = Annotated[float | None, typer.Option(help="Pixel size in µm, in place of the files'.")]
ZStep = Annotated[
    float | None, typer.Option(help="Distance of planes in µm, in place of the files'.")
]
Threshold = Annotated[
    float, typer.Option(help="Height of a bead, in standard deviations of the noise.")
]
MinContrast = Annotated[
    float, typer.Option(help="Height of a bead as a share of the brightest one's.")
]
Truth = Annotated[
    Path, typer.Option(help="Known positions: the .json of 'simulate', or a reference image.")
]
ScoresFolder = Annotated[Path, typer.Option("-o", "--output", help="Folder for table and figure.")]
Tolerance = Annotated[float, typer.Option(help="Largest distance of a match, in µm.")]
Edge = Annotated[int, typer.Option(min=0, help="Pixels at each edge that do not count.")]
NoiseFrom = Annotated[
    Path | None,
    typer.Option(help="Recorded image whose noise counts: a refocused one's input."),
]


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
    pixel_size: PixelSize = None,
    z_step: ZStep = None,
    window: Annotated[int, typer.Option(help="Side of the square fitted, in pixels.")] = 21,
    threshold: Threshold = 6.0,
    min_contrast: MinContrast = 0.05,
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
            min_contrast=min_contrast,
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


@verb(measures)
def localisation(
    images: Annotated[
        list[Path], typer.Argument(help="Images or stacks of beads.", show_default=False)
    ],
    truth: Truth,
    output: ScoresFolder,
    tolerance: Tolerance = 0.25,
    edge: Edge = 5,
    threshold: Threshold = 6.0,
    min_contrast: MinContrast = 0.05,
    noise_from: NoiseFrom = None,
    pixel_size: PixelSize = None,
    z_step: ZStep = None,
) -> None:
    """Locate beads and compare them with known ones: Jaccard index and lateral error."""
    from fluofocus.report.localisation import HEADER, plot_scores, write_scores

    score = _scorer(truth, tolerance, edge, threshold, min_contrast, pixel_size, z_step)
    require_folder(output)
    series = [score(path, noise_from) for path in images]
    output.mkdir(parents=True, exist_ok=True)
    scores = [each for one in series for each in one]
    write_scores(scores, output / "localisation.csv")
    written = [output / "localisation.csv"]
    stacks = [one for one in series if len(one) > 1]
    if stacks:
        plot_scores(stacks, output / "localisation.png")
        written.append(output / "localisation.png")
    for line in aligned([HEADER, *(each.cells for each in scores)]):
        say(line)
    say(f"Wrote {' and '.join(map(str, written))}.")


@verb(measures)
def depth_of_field(
    stack: Annotated[
        Path, typer.Argument(help="Images of one plane by defocus, as planes.", show_default=False)
    ],
    native: Annotated[
        Path, typer.Option(help="Wide-field focus scan of the same beads to compare with.")
    ],
    truth: Truth,
    output: ScoresFolder,
    focus: Annotated[float, typer.Option(help="z of the focus in both, in µm.")] = 0.0,
    native_focus: Annotated[
        float | None, typer.Option(help="z of the focus in the scan, in µm, if it is another.")
    ] = None,
    native_range: Annotated[
        float, typer.Option(help="Native depth of field about the focus, in µm.")
    ] = 0.3,
    tolerance: Tolerance = 0.25,
    edge: Edge = 5,
    threshold: Threshold = 6.0,
    min_contrast: MinContrast = 0.05,
    noise_from: NoiseFrom = None,
    pixel_size: PixelSize = None,
    z_step: ZStep = None,
) -> None:
    """Measure over which defocus beads are located as well as in focus."""
    from fluofocus.report.localisation import (
        depth_of_field_rows,
        from_focus,
        plot_scores,
        write_scores,
    )

    if not native_range > 0:
        raise FluoFocusError(f"--native-range must be above 0 µm, not {native_range:g}.")
    score = _scorer(truth, tolerance, edge, threshold, min_contrast, pixel_size, z_step)
    require_folder(output)
    scores, scan = (
        from_focus(score(path, noise), focus_um)
        for path, noise, focus_um in (
            (stack, noise_from, focus),
            (native, None, focus if native_focus is None else native_focus),
        )
    )
    for path, series in ((stack, scores), (native, scan)):
        if len(series) < 2:
            raise FluoFocusError(f"{path} is a single image: a depth of field needs a stack.")
    rows = depth_of_field_rows(scores, scan, native_range)
    output.mkdir(parents=True, exist_ok=True)
    write_scores([*scores, *scan], output / "localisation.csv")
    plot_scores([scores, scan], output / "localisation.png")
    for line in aligned(rows):
        say(line)
    say(f"Wrote {output / 'localisation.csv'} and {output / 'localisation.png'}.")


def _scorer(
    truth: Path,
    tolerance_um: float,
    edge_px: int,
    noise_threshold: float,
    min_contrast: float,
    pixel_size_um: float | None,
    z_step_um: float | None,
) -> Callable[[Path, Path | None], list[PlaneScore]]:
    """Return what scores a file, with the noise of another one if that is given."""
    from fluofocus.report.localisation import score_file

    if not tolerance_um > 0:
        raise FluoFocusError(f"--tolerance must be above 0 µm, not {tolerance_um:g}.")
    if not noise_threshold > 0:
        raise FluoFocusError(f"--threshold must be above 0, not {noise_threshold:g}.")
    if not 0 <= min_contrast < 1:
        raise FluoFocusError(f"--min-contrast is a share from 0 to below 1, not {min_contrast:g}.")

    def score(path: Path, noise_from: Path | None) -> list[PlaneScore]:
        with progress(f"Locating in {path.name}") as update:
            return score_file(
                path,
                truth,
                tolerance_um=tolerance_um,
                edge_px=edge_px,
                noise_threshold=noise_threshold,
                min_contrast=min_contrast,
                noise_from=noise_from,
                pixel_size_um=pixel_size_um,
                z_step_um=z_step_um,
                progress=update,
            )

    return score
