"""Put trained models into the package, with their held-out scores, and write their cards.

    python benchmarks/ship_models.py docs/results/main-job.json docs/results/main-job-told.json

Takes ``runs/NAME/NAME.safetensors`` as `fluofocus train` left it, adds what
`benchmarks/main_job.py` measured, without and with ``--told``, and the trainings it started
from to the card, and
writes the model into the package and the card to ``docs/models/NAME.md``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import yaml

from fluofocus.heap import kept_heap
from fluofocus.models.bundle import SHIPPED, Model, ModelCard, load_model, save_model
from fluofocus.train.config import load_train_config
from fluofocus.train.data import TrainingData
from fluofocus.train.error_calibration import calibrate_error
from fluofocus.train.export import describe_data

TABLES = {"air20x-beads": ("beads", "axial", "tilt"), "air20x-nuclei": ("nuclei",)}
"""Which tables of the main job say how good a model is."""

CARDS = Path("docs/models")
CALIBRATION_BATCHES = 40
"""Held-out batches that expected errors are calibrated on: more microscopes than in a training."""

COLUMNS = ("found", "fwhm_um", "true_fwhm_um", "gap_closed", "corrected_fwhm_um")
"""What of these tables goes into the scores of the model file."""


def held_out_scores(results: dict[str, list[dict[str, Any]]], kinds: tuple[str, ...]) -> Any:
    """Yield a name and a value for each number that tells how good a model is."""
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


def with_history(card: ModelCard, scores: dict[str, float]) -> ModelCard:
    """Add held-out scores, and seed and steps of the trainings it started from."""
    seeds, steps = list(card.seeds), card.steps
    config, _ = load_train_config(Path("configs") / f"{card.name}.yaml")
    data = describe_data(config)
    while config.start_from is not None:
        config, _ = load_train_config(Path("configs") / f"{Path(config.start_from).parts[1]}.yaml")
        seeds.insert(0, config.seed)
        steps += config.training.steps
    update = {
        "seeds": tuple(seeds),
        "steps": steps,
        "data": data,
        "scores": card.scores | scores,
    }
    return card.model_copy(update=update)


def card_page(card: ModelCard) -> str:
    """Return a model's card as a Markdown page."""
    microscope = yaml.safe_dump(
        card.microscope.model_dump(mode="json", exclude_none=True), sort_keys=False
    )
    lines = [
        f"# {card.name}",
        "",
        f"{card.title}. {card.description}",
        "",
        f"- Network: {card.architecture}, {card.architecture_config or 'default sizes'}",
        f"- Range: {card.training.defocus_um[0]:g} to {card.training.defocus_um[1]:g} µm, "
        f"pixels of {card.training.pixel_size_um:g} µm",
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
        "Validation scores are those of the last training; the others are of the held-out fields "
        "of [the main job](../results/main-job.md), those that begin with `told` "
        "[with the optics told](../results/main-job-told.md).",
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
    """Ship the models for which there are results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="JSON of benchmarks/main_job.py")
    parser.add_argument("told", type=Path, help="JSON of benchmarks/main_job.py --told")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text(encoding="utf-8"))
    told = json.loads(arguments.told.read_text(encoding="utf-8"))
    SHIPPED.mkdir(exist_ok=True)
    CARDS.mkdir(parents=True, exist_ok=True)
    for name, kinds in TABLES.items():
        model = load_model(arguments.runs / name / f"{name}.safetensors")
        scores = dict(held_out_scores(results, kinds))
        scores |= {f"told_{key}": value for key, value in held_out_scores(told, kinds)}
        config, microscope = load_train_config(Path("configs") / f"{name}.yaml")
        many = config.model_copy(update={"validation_batches": CALIBRATION_BATCHES})
        with kept_heap():
            error = calibrate_error(
                model.network,
                TrainingData(many, microscope, workers=0).calibration_batches(),
                torch.device("cpu"),
            )
        card = with_history(model.card, scores).model_copy(update={"error": error})
        path = SHIPPED / f"{name}.safetensors"
        card = save_model(Model(card, model.network), path)
        (CARDS / f"{name}.md").write_text(card_page(card), encoding="utf-8")
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
