"""How many faint beads deconvolution finds through a double helix, before any network.

    python benchmarks/helix_deconvolution.py

Fields are those on which `fluofocus reproduce w-net` sets its thresholds. For Richardson-Lucy and
the deconvolution of the network `filtered`, the Jaccard index after some numbers of iterations, at
the best of many thresholds; and for the latter how it falls with the distance between the plane
deconvolved for and that of the beads.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pages import publish

from fluofocus.measure.beads import find_beads
from fluofocus.measure.localisation import score_positions
from fluofocus.models.pupil_filters import KnownPupil, PupilDeconvolution
from fluofocus.reproduce.w_net import methods
from fluofocus.reproduce.w_net.fields import Bench, Field, Kind, Plane, open_bench
from fluofocus.reproduce.w_net.scores import TOLERANCE_UM, without_rim
from fluofocus.reproduce.w_net.tuning import SEED
from fluofocus.units import FloatArray

PLANES_UM = (-3.0, 1.5)
ITERATIONS = (10, 20, 30, 40, 80)
ASIDE_UM = (0.0, 0.05, 0.1, 0.15, 0.2)
ASIDE_ITERATIONS = 30
RADIUS_PX, STEP_UM, CELLS, FIELDS = 128, 0.1, 192, 5
THRESHOLDS = np.geomspace(2e-3, 0.5, 25)
"""Of the highest pixel."""


def main() -> None:
    """Deconvolve and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", type=int, default=2)
    parser.add_argument("--output", type=Path, help="Markdown file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = open_bench()
    pupil = KnownPupil(CELLS, FIELDS)
    pupil.attune(
        bench.masked, range_um=max(map(abs, PLANES_UM)) + max(ASIDE_UM), radius_px=RADIUS_PX
    )
    fields = [bench.field(SEED + index) for index in range(arguments.fields)]
    tables = [by_iterations(bench, fields, pupil), aside(bench, fields, pupil)]
    publish("\n\n".join(tables) + "\n", arguments.output)


def by_iterations(bench: Bench, fields: Sequence[Field], pupil: KnownPupil) -> str:
    """Tabulate the Jaccard index by the number of iterations."""
    rows = [
        f"| Jaccard index | {' | '.join(f'{z:+g} µm' for z in PLANES_UM)} |",
        f"|---{'|---' * len(PLANES_UM)}|",
    ]
    for name, deconvolve in (
        ("Richardson-Lucy", _richardson_lucy),
        ("of `filtered`", partial(_own, pupil)),
    ):
        for iterations in ITERATIONS:
            scores = []
            for z_um in PLANES_UM:
                plane = Plane(bench, z_um)
                scores.append(_mean_jaccard(fields, plane, partial(deconvolve, plane, iterations)))
            values = " | ".join(f"{score:.3f}" for score in scores)
            rows.append(f"| {name}, {iterations} iterations | {values} |")
    return "\n".join(rows)


def aside(bench: Bench, fields: Sequence[Field], pupil: KnownPupil) -> str:
    """Tabulate the Jaccard index by the distance from the plane deconvolved for."""
    rows = [
        f"| plane aside by | {' | '.join(f'{z:+g} µm' for z in PLANES_UM)} |",
        f"|---{'|---' * len(PLANES_UM)}|",
    ]
    for aside_um in ASIDE_UM:
        scores = []
        for z_um in PLANES_UM:
            both = [Plane(bench, z_um + sign * aside_um) for sign in (-1, 1)]
            own = partial(_own, pupil, Plane(bench, z_um), ASIDE_ITERATIONS)
            scores.append(np.mean([_mean_jaccard(fields, plane, own) for plane in both]))
        rows.append(f"| {aside_um:g} µm | {' | '.join(f'{score:.3f}' for score in scores)} |")
    return "\n".join(rows)


def _richardson_lucy(plane: Plane, iterations: int, counts: FloatArray) -> FloatArray:
    return methods.deconvolved(counts, plane, iterations)


def _own(pupil: KnownPupil, plane: Plane, iterations: int, counts: FloatArray) -> FloatArray:
    deconvolve = PupilDeconvolution(
        pupil, radius_px=RADIUS_PX, step_um=STEP_UM, iterations=(iterations,)
    )
    image = torch.from_numpy(counts.astype(np.float32))[None, None]
    return deconvolve(image, torch.full((1, 1, 1, 1), -plane.z_um))[0, 0, 0].numpy()


def _mean_jaccard(
    fields: Sequence[Field], plane: Plane, deconvolve: Callable[[FloatArray], FloatArray]
) -> float:
    """Score images of fields recorded in a plane, at the threshold that is best for each."""
    return float(np.mean([_jaccard(plane, field, deconvolve) for field in fields]))


def _jaccard(plane: Plane, field: Field, deconvolve: Callable[[FloatArray], FloatArray]) -> float:
    image = deconvolve(plane.record(field)[Kind.HELIX])
    heights = THRESHOLDS * float(image.max())
    found = find_beads(image, noise_threshold=1.0, min_contrast=0.0, noise=float(heights[0]))
    return max(
        score_positions(
            found.yx_px[found.height > height],
            field.known_px,
            pixel_size_um=plane.bench.pixel_um,
            tolerance_um=TOLERANCE_UM,
            inside_px=without_rim(image),
        ).jaccard
        for height in heights
    )


if __name__ == "__main__":
    main()
