"""W-Net, Fig. 2: correlation, beads found and their error by the input's defocus."""

from __future__ import annotations

from fluofocus.reproduce.reproduction import Figure, Part, Progress, Request, Section, Table
from fluofocus.reproduce.w_net import tuning
from fluofocus.reproduce.w_net.figure_2_panels import draw_curves
from fluofocus.reproduce.w_net.methods import (
    COARSE_UM,
    FIGURE_3_UM,
    HELIX,
    SCANNED,
    WIDEFIELD,
)
from fluofocus.reproduce.w_net.scores import FEWEST, Curve, interval, resampled
from fluofocus.reproduce.w_net.setting import described
from fluofocus.reproduce.w_net.sweep import SEED, Sweep, measured
from fluofocus.units import um_to_nm

PAPER = {
    (HELIX, -3.0): "JI 0.77, 70.1 nm",
    (WIDEFIELD, -3.0): "JI 0.17, 173.4 nm",
    (SCANNED, -3.0): "JI 0",
    (HELIX, 6.0): "JI 0.21, r 0.63",
}
"""What the text prints of the planes of Fig. 3."""


def figure_2(request: Request, progress: Progress) -> Section:
    """Score all methods by the input's defocus."""
    sweep = measured(request, progress)
    path = request.folder / "figure-2.png"
    draw_curves(sweep, path)
    return Section(
        title="Figure 2: how far from focus an image can be recorded",
        paragraphs=(*described(request, sweep), _thresholds(sweep)),
        tables=(_planes_table(sweep), _means_table(sweep)),
        figures=(
            Figure(
                path,
                "a to c: correlation with the confocal image, Jaccard index and lateral RMSE "
                "against the defocus of the input. Bands are the range of the fields for the "
                "correlation, and 95 % intervals of resampled beads for the others. Dashed: the "
                "Jaccard index within the native depth of field (shaded orange); shaded blue: "
                "where filters and network do as well with the mask. d to f: the same of other "
                "ways to read the helix. Errors are shown where at least "
                f"{FEWEST} beads were found.",
            ),
        ),
        seed=SEED,
    )


def _thresholds(sweep: Sweep) -> str:
    listed = "; ".join(
        f"{name} {threshold:g}" for name, threshold in sweep.noise_thresholds.items()
    )
    return (
        "A bead is a maximum that stands out from the noise of the recorded image, or of the "
        "filtered one, by so many standard deviations, whatever its distance and however bright "
        f"the brightest bead is: {listed}. Except for the scanned images, where it is that of "
        "`fluofocus measure localisation`, the number is the one with the best mean Jaccard index "
        f"within {tuning.REACH_UM:g} µm of focus on {tuning.FIELDS} fields of other seeds (from "
        f"{tuning.SEED}). Correlations are pixel by pixel with the noise-free confocal image; the "
        "noise of scanned images counts against them."
    )


def _planes_table(sweep: Sweep) -> Table:
    rows = []
    for z_um in FIGURE_3_UM:
        for name, held in sweep.curves.items():
            index = held.at([z_um])
            cells = _cells(held, int(index[0])) if len(index) else ("beyond training", "–", "–")
            rows.append((f"{z_um:+g} µm", name, *cells, PAPER.get((name, z_um), "")))
    return Table(
        "The planes of Figure 3, with 95 % intervals; of the correlation, the range of the fields",
        ("defocus", "", "Jaccard index", "lateral RMSE (nm)", "correlation", "paper"),
        tuple(rows),
    )


def _cells(held: Curve, plane: int) -> tuple[str, str, str]:
    """Return Jaccard index, error and correlation in one plane."""
    weights = resampled(held.counted.shape[1], SEED)
    low, high = interval(held.jaccard(weights)[:, plane])
    near, far = interval(held.rmse_um(weights)[:, plane])
    error = (
        f"{um_to_nm(held.rmse_um()[plane]):.1f} ({um_to_nm(near):.1f}–{um_to_nm(far):.1f})"
        if held.matched_count[plane] >= FEWEST
        else "–"
    )
    by_field = held.correlations[plane]
    return (
        f"{held.jaccard()[plane]:.3f} ({low:.3f}–{high:.3f})",
        error,
        f"{by_field.mean():.3f} ({by_field.min():.3f}–{by_field.max():.3f})",
    )


def _means_table(sweep: Sweep) -> Table:
    rows = []
    for name, held in sweep.curves.items():
        cells = []
        for reach_um in (4.0, 8.0):
            planes_um = [z for z in COARSE_UM if 0 < abs(z) <= reach_um]
            planes = held.at(planes_um)
            means = (held.jaccard()[planes], held.correlation[planes])
            whole = len(planes) == len(planes_um)
            cells += [f"{each.mean():.3f}" if whole else "–" for each in means]
        rows.append((name, *cells))
    return Table(
        f"Means over planes {COARSE_UM[1] - COARSE_UM[0]:g} µm apart, without the one in focus",
        ("", "JI to ±4 µm", "correlation to ±4 µm", "JI to ±8 µm", "correlation to ±8 µm"),
        tuple(rows),
    )


PART = Part("Figure 2, extended depth of field", figure_2, fields=4)
