"""Put trained models into the package, with their held-out scores, and write their cards.

    python benchmarks/ship_models.py air20x-beads air20x-nuclei

Takes ``runs/NAME/NAME.safetensors`` as `fluofocus train` left it, adds the trainings it started
from and what was measured on held-out fields, as it stands in ``docs/results``, and writes the
model into the package and the card to ``docs/models/NAME.md``. Expected errors are calibrated
again, on more microscopes than at the end of a training. With ``--again`` a model of the package
gets new scores, a new calibration, and the limits that its configuration states now.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml

from fluofocus.heap import kept_heap
from fluofocus.models.bundle import (
    SHIPPED,
    Model,
    ModelCard,
    StackModel,
    load_model,
    load_stack_model,
    read_any_card,
    save_model,
)
from fluofocus.models.cards import ErrorCalibration, StackCard
from fluofocus.optics.microscope import Microscope
from fluofocus.train.config import TrainConfig, load_train_config
from fluofocus.train.data import TrainingData
from fluofocus.train.error_calibration import calibrate_error
from fluofocus.train.export import describe_data

CardType = TypeVar("CardType", ModelCard, StackCard)

RESULTS = Path("docs/results")
TABLES = {"air20x-beads": ("beads", "axial", "tilt"), "air20x-nuclei": ("nuclei",)}
"""Which tables of the main job say how good a model is."""


@dataclass(frozen=True)
class Row:
    """The row of a reproduction's table that says how good a model is.

    ``file`` holds the reproduction's tables, ``caption`` is what the table's caption begins
    with, ``row`` the row's first cells; names of scores begin with ``prefix``.
    """

    file: str
    caption: str
    row: tuple[str, ...]
    prefix: str

    def scores(self) -> dict[str, float]:
        """Return the numbers that the row's cells begin with, by their column."""
        tables = json.loads((RESULTS / self.file).read_text(encoding="utf-8"))
        table, *_ = [table for table in tables if table["caption"].startswith(self.caption)]
        (row,) = [row for row in table["rows"] if tuple(row[: len(self.row)]) == self.row]
        scores = {}
        for column, cell in zip(table["header"][1:], row[1:], strict=True):
            number = re.match(r"[+-]?\d+(\.\d+)?", cell.replace("\N{MINUS SIGN}", "-"))
            if number and "paper" not in column:
                name = re.sub(r"\W+", "_", column.replace("|Δz|", "absolute Δz")).strip("_")
                name += "_percent" * cell.endswith("%")
                scores[f"{self.prefix}_{name}"] = float(number[0])
        return scores


_CONFOCAL = ("deep-z-plus.json", "Against the confocal scan: means")
_HELIX = ("w-net.json", "Means over planes 1.5 µm apart")
ROWS = {
    "oil63x-microtubules-confocal": Row(*_CONFOCAL, ("Deep-Z+",), "against_confocal"),
    "oil63x-microtubules": Row(*_CONFOCAL, ("Deep-Z",), "against_confocal"),
    "deep-z-beads": Row(
        "deep-z.json",
        "Olympus 20x as the beads of Deep-Z's Fig. 4 show it, Texas Red: median",
        ("in focus",),
        "beads",
    ),
    "deep-z-worm": Row(
        "deep-z.json", "Watershed: against", ("output stack", "paper's worm"), "neurons"
    ),
    "oil63x-double-helix": Row(*_HELIX, ("filters and network, double helix",), "against_confocal"),
    "oil63x-beads-widefield": Row(
        *_HELIX, ("filters and network, wide-field",), "against_confocal"
    ),
    "oil60x-brain-confocal": Row(
        "wfcon-net.json", "Against the confocal stack", ("WFCON-Net",), "against_confocal"
    ),
}
"""Which row of a reproduction is a model's."""

CARDS = Path("docs/models")
MAIN_JOB = (
    "of [the main job](../results/main-job.md), those that begin with `told` "
    "[with the optics told](../results/main-job-told.md)."
)
"""Where the held-out fields of a card are from, if not from a reproduction."""

CALIBRATION_BATCHES = 40
"""Held-out batches that expected errors are calibrated on: more microscopes than in a training."""

COLUMNS = (
    "found",
    "found_registered",
    "fwhm_um",
    "true_fwhm_um",
    "gap_closed",
    "corrected_fwhm_um",
)
"""What of these tables goes into the scores of the model file."""


def held_out_scores(name: str) -> dict[str, float]:
    """Return what was measured of a model on held-out fields, by name."""
    if name in ROWS:
        return ROWS[name].scores()
    scores = {}
    for prefix, file in (("", "main-job.json"), ("told_", "main-job-told.json")):
        results = json.loads((RESULTS / file).read_text(encoding="utf-8"))
        for key, value in main_job_scores(results, TABLES[name]):
            scores[prefix + key] = value
    return scores


def main_job_scores(results: dict[str, list[dict[str, Any]]], kinds: tuple[str, ...]) -> Any:
    """Yield a name and a value for each number of the main job that tells how good a model is."""
    for title, rows in results.items():
        if not any(kind in title.split(",")[0] for kind in kinds):
            continue
        where = "outside" if "outside" in title else "inside"
        what = title.split(",")[0].replace(" ", "_")
        for row in rows:
            at = row.get("distance_um", row.get("input_z_um"))
            place = "" if at is None else f"_at_{at:g}um"
            for column in COLUMNS:
                if column in row:
                    yield f"{what}_{where}_draws{place}_{column}", row[column]


def load_trained(path: Path) -> Model | StackModel:
    """Load a model of either kind."""
    is_of_stacks = isinstance(read_any_card(path), StackCard)
    return load_stack_model(path) if is_of_stacks else load_model(path)


def completed(card: CardType, scores: dict[str, float], *, again: bool) -> CardType:
    """Add held-out scores, and seed and steps of the trainings it started from, once."""
    config, _ = load_train_config(Path("configs") / f"{card.name}.yaml")
    if again:
        return card.model_copy(update={"scores": card.scores | scores, "limits": config.limits})
    seeds, steps = list(card.seeds), card.steps
    data = describe_data(config)
    source = config.simulation or config.simulated_stacks
    assert source is not None
    modality = {"target_modality": source.target_modality}
    training = card.training.model_copy(update=modality)  # older trainings do not state it
    while config.start_from is not None:
        parts = Path(config.start_from).parts  # runs/NAME/… or the NAME of a shipped model
        config, _ = load_train_config(Path("configs") / f"{parts[min(1, len(parts) - 1)]}.yaml")
        seeds.insert(0, config.seed)
        steps += config.training.steps
    update = {
        "seeds": tuple(seeds),
        "steps": steps,
        "data": data,
        "training": training,
        "scores": card.scores | scores,
    }
    return card.model_copy(update=update)


def calibrated(
    model: Model, config: TrainConfig, microscope: Microscope
) -> ErrorCalibration | None:
    """Calibrate expected errors on many held-out microscopes."""
    many = config.model_copy(update={"validation_batches": CALIBRATION_BATCHES})
    with kept_heap():
        return calibrate_error(
            model.network,
            TrainingData(many, microscope, workers=0).calibration_batches(),
            torch.device("cpu"),
        )


def range_of(card: ModelCard | StackCard) -> str:
    """Say which images a model is for."""
    pixels = f"pixels of {card.training.pixel_size_um:g} µm"
    if isinstance(card, StackCard):
        return f"planes {card.training.z_step_um:g} µm apart, {pixels}"
    low, high = card.training.defocus_um
    return f"{low:g} to {high:g} µm, {pixels}"


def card_page(card: ModelCard | StackCard) -> str:
    """Return a model's card as a Markdown page."""
    source = MAIN_JOB
    if card.name in ROWS:
        page = Path(ROWS[card.name].file).stem
        source = f"of [{page}](../results/{page}.md)."
    microscope = yaml.safe_dump(
        card.microscope.model_dump(mode="json", exclude_none=True), sort_keys=False
    )
    lines = [
        f"# {card.name}",
        "",
        f"{card.title}. {card.description}",
        "",
        f"- Network: {card.architecture}, {card.architecture_config or 'default sizes'}",
        f"- Range: {range_of(card)}",
        f"- Data: {card.data}",
        f"- Seeds: {', '.join(map(str, card.seeds))}; {card.steps} steps in all",
        f"- Hardware: {card.hardware}",
        f"- Made: {card.created:%Y-%m-%d}, fluofocus {card.fluofocus_version}",
        "",
        "Limits:",
        "",
        *(f"- {limit}" for limit in card.limits),
        "",
        "## Scores",
        "",
        "Validation scores are those of the last training; the others are of held-out fields: "
        + source,
        "",
        "| score | value |",
        "|---|---|",
        *(f"| {name} | {value:.4g} |" for name, value in card.scores.items()),
        "",
        "## Microscope",
        "",
        "```yaml",
        microscope.rstrip(),
        "```",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Ship the models named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=[*TABLES, *ROWS])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--again", action="store_true", help="what is in the package already")
    parser.add_argument("--without-scores", action="store_true", help="to measure them with it")
    arguments = parser.parse_args()
    SHIPPED.mkdir(exist_ok=True)
    CARDS.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        path = SHIPPED / f"{name}.safetensors"
        model = load_trained(
            path if arguments.again else arguments.runs / name / f"{name}.safetensors"
        )
        scores = {} if arguments.without_scores else held_out_scores(name)
        if isinstance(model, StackModel):
            model = replace(model, card=completed(model.card, scores, again=arguments.again))
        else:
            card = completed(model.card, scores, again=arguments.again)
            error = calibrated(model, *load_train_config(Path("configs") / f"{name}.yaml"))
            model = replace(model, card=card.model_copy(update={"error": error}))
        save_model(model, path)
        (CARDS / f"{name}.md").write_text(card_page(model.card), encoding="utf-8")
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
