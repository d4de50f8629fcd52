"""Where refocusing can be trusted: one thing changed at a time (Supplementary Figs. 3, 7 to 13).

Wu et al., Nature Methods 16 (2019), say that Deep-Z is robust to other microscopes, exposures,
densities and illuminations, and that it fails beyond the range of its training. Here all of these
are swept far enough to see where refocusing ends, and whether the model itself, by its expected
error, or the software warns a user there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from fluofocus.models.bundle import Model, load_model
from fluofocus.reproduce.deep_z.robustness_fields import SIDE_PX, Kind, make_field
from fluofocus.reproduce.deep_z.robustness_figures import draw_errors, draw_expected
from fluofocus.reproduce.deep_z.robustness_scores import Score, scores_of, summary
from fluofocus.reproduce.deep_z.robustness_sweeps import (
    DISTANCES_UM,
    SWEEPS,
    base_scene,
    trained_ranges,
)
from fluofocus.reproduce.deep_z.robustness_tables import (
    FOUND,
    GAP_CLOSED,
    WIDER,
    Condition,
    Results,
    Trained,
    honesty_table,
    overall_agreement,
    overconfident,
    sweep_table,
    trust_table,
)
from fluofocus.reproduce.reproduction import Figure, Part, Progress, Request, Section

SEED = 9_670_000


def robustness(request: Request, progress: Progress) -> Section:
    """Sweep photons, crowding, shading, aberrations, objectives and distance."""
    models: dict[Kind, Model] = {
        "beads": load_model(request.models["beads"]),
        "nuclei": load_model(request.models["nuclei"]),
    }
    cards = {kind: model.card for kind, model in models.items()}
    trained = {kind: trained_ranges(card) for kind, card in cards.items()}
    results = measure(models, request.fields, progress)
    return Section(
        title="Supplementary Figures 3 and 7–13: where refocusing can be trusted",
        paragraphs=_paragraphs(request, results),
        tables=(
            trust_table(results, trained),
            honesty_table(results, cards),
            *(sweep_table(name, results, trained, cards) for name in SWEEPS),
        ),
        figures=_figures(results, trained, request.folder),
        seed=SEED,
    )


def _figures(results: Results, trained: Trained, folder: Path) -> tuple[Figure, ...]:
    figures = []
    for kind in results:
        path = folder / f"robustness-{kind}.png"
        draw_errors(results[kind], trained[kind], path)
        figures.append(
            Figure(
                path,
                f"{kind.capitalize()}: root mean square error against the true plane, in standard "
                "deviations of it, so that 1 is as wrong as a flat image. Solid: refocused, from "
                "2, 5 and 10 µm away; dotted, and crosses: the image as recorded; dashed: with "
                "the optics told. Shaded: the range of the training.",
            )
        )
    path = folder / "robustness-expected.png"
    draw_expected(results, path)
    caption = (
        "Error that the model itself expects against the true one, for every condition and "
        "distance (optics not told). Above the line the model is too careful, below it too sure "
        "of itself."
    )
    return (*figures, Figure(path, caption))


def measure(models: Mapping[Kind, Model], fields: int, progress: Progress) -> Results:
    """Score the images of all sweeps, refocused."""
    pooled: dict[Kind, dict[Condition, dict[float, list[Score]]]] = {
        kind: defaultdict(lambda: defaultdict(list)) for kind in models
    }
    steps = [(name, value) for name, sweep in SWEEPS.items() for value in sweep.values]
    done, total = 0, fields * len(models) * len(steps)
    progress(0, total)
    for index in range(fields):
        for kind, model in models.items():
            bench = _Bench(kind, model, SEED + index)
            for name, value in steps:
                for told, distance, score in bench.scores(name, value):
                    pooled[kind][Condition(name, value, told)][distance].append(score)
                done += 1
                progress(done, total)
    return {
        kind: {
            condition: {distance: summary(each) for distance, each in by_distance.items()}
            for condition, by_distance in conditions.items()
        }
        for kind, conditions in pooled.items()
    }


class _Bench:
    """One specimen, and the model that refocuses its images under each condition."""

    def __init__(self, kind: Kind, model: Model, seed: int) -> None:
        self.kind, self.model, self.seed = kind, model, seed
        self.base = base_scene()
        distances_um = {*DISTANCES_UM, *SWEEPS["distance"].values}
        self.base_field = make_field(self.base.light, kind, sorted(distances_um), seed)
        self.noise = torch.Generator().manual_seed(seed)

    def scores(self, name: str, value: float) -> Iterator[tuple[bool, float, Score]]:
        """Score each image of one condition, and whether the optics were told."""
        sweep = SWEEPS[name]
        scene = sweep.change(self.base, value, torch.Generator().manual_seed(self.seed))
        field = self.base_field
        if scene.light != self.base.light:
            field = make_field(scene.light, self.kind, scene.distances_um, self.seed)
        for told in (False, True) if sweep.is_told else (False,):
            for distance, score in scores_of(field, scene, self.model, self.noise, told=told):
                yield told, distance, score


def _paragraphs(request: Request, results: Results) -> tuple[str, ...]:
    base = base_scene()
    exposure = base.exposure
    agreement = ", ".join(
        f"{overall_agreement(by_condition):.2f} for {kind}"
        for kind, by_condition in results.items()
    )
    roles = "; ".join(f"{kind}: {request.models[kind]}" for kind in results)
    return (
        f"{request.fields} held-out specimens of each kind, beads of 0.3 µm on a plane "
        f"({SIDE_PX['beads']} pixels a side) and nuclei throughout 16 µm ({SIDE_PX['nuclei']} "
        f"pixels), through {base.light.microscope.name}. One thing is changed at a time; the "
        f"rest stays at {exposure.peak_photons:g} photons at the brightest pixel over a "
        f"background of {exposure.background_photons:g}, a camera with "
        f"{base.light.microscope.camera.read_noise_electrons:g} electrons of read noise, and the "
        "optics of the preset, which the models are not told unless a row says so. Each specimen "
        f"is recorded 2, 5 and 10 µm to both sides of focus and refocused. {roles}.",
        "A longer exposure and a stronger excitation do the same to specimen and background; "
        "that is the sweep of exposure, in which the camera's noise stays. In the sweep of "
        "brightness the background stays too. Excitation is shaded by a cosine, full in the "
        "middle of the field. Other aberrations are drawn anew for each specimen. Other "
        "apertures and air objectives keep the aberrations of the preset in waves; their images "
        "are resampled where their pixels differ.",
        "The paper shows pictures for these sweeps, and says that Deep-Z is robust to sample, "
        "microscope, exposure, density and illumination, with a limit in density that depends on "
        "the distance, but best where it was trained. The only number it gives is the range of "
        "its training, ±10 µm, beyond which it does not claim to work.",
        f"Trusted is: for beads, {FOUND:.0%} or more of those that the true plane shows found "
        f"again, and a median width within {WIDER:.0%} of the true one; for nuclei, "
        f"{GAP_CLOSED:.0%} or more of the gap to a correlation of 1 closed.",
        "Whether a model knows when it is wrong: over all conditions and distances the rank "
        f"correlation of the error that it expects with the true one is {agreement}. More "
        "than twice as wrong as it expects, where the sweep is worst, it is along these: "
        f"{overconfident(results)}. There only what is known beforehand helps: distances beyond "
        "the training are refused, and a microscope that differs is warned of if its description "
        "is given.",
    )


PART = Part("Supplementary Figures 3 and 7–13: robustness", robustness, fields=2)
