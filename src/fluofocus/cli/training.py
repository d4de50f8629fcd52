"""``fluofocus train``, ``fluofocus evaluate`` and ``fluofocus models``."""

from __future__ import annotations

import functools
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fluofocus.cli.console import (
    aligned,
    named_microscope,
    progress,
    require_folder,
    say,
    verb,
)
from fluofocus.errors import FluoFocusError

verbs = typer.Typer()


class Accelerator(StrEnum):
    """What to train on."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


@verb(verbs, after_interrupt="run the same command again with --resume to go on.")
def train(
    config: Annotated[
        Path,
        typer.Argument(
            help="Training configuration, or a microscope to train a model for (YAML).",
            show_default=False,
        ),
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint, if there is one.")
    ] = False,
    devices: Annotated[int, typer.Option(min=1, help="How many devices train together.")] = 1,
    strategy: Annotated[str, typer.Option(help="Lightning's strategy, such as ddp.")] = "auto",
    accelerator: Annotated[Accelerator, typer.Option(help="What to train on.")] = Accelerator.auto,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that make pairs, per device; more feed a GPU.")
    ] = 1,
) -> None:
    """Train a model on simulated pairs and write its model file."""
    from fluofocus.train.config import load_train_config
    from fluofocus.train.run import run_training

    _require_known(strategy, accelerator)
    settings, microscope = load_train_config(config)
    path = run_training(
        settings,
        microscope,
        resume=resume,
        devices=devices,
        strategy=strategy,
        accelerator=accelerator.value,
        workers=workers,
    )
    say(f"Wrote {path}.")


@verb(verbs)
def evaluate(
    model: Annotated[
        str, typer.Argument(help="Shipped model or .safetensors file.", show_default=False)
    ],
    stacks: Annotated[list[Path], typer.Argument(help="Focus stacks.", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the table (CSV) and the plot.")
    ] = Path("evaluation"),
    distances: Annotated[
        str | None, typer.Option(help="Refocusing distances in µm, start:stop:step.")
    ] = None,
    clean: Annotated[
        bool,
        typer.Option("--clean", help="Compare with the noise-free stacks that 'simulate' wrote."),
    ] = False,
    target: Annotated[
        list[Path] | None,
        typer.Option(help="Stacks to compare with, such as confocal ones of the same fields."),
    ] = None,
    inputs: Annotated[int, typer.Option(min=1, help="Planes of each stack to refocus.")] = 5,
    pixel_size: Annotated[
        float | None, typer.Option(help="Pixel size in µm, in place of the files'.")
    ] = None,
    z_step: Annotated[
        float | None, typer.Option(help="Distance of planes in µm, in place of the files'.")
    ] = None,
    allow_extrapolation: Annotated[
        bool, typer.Option("--allow-extrapolation", help="Go beyond the trained range.")
    ] = False,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Average over the eight turns of the image.")
    ] = False,
    microscope: Annotated[
        str | None, typer.Option(help="What took the stacks; a calibrated one is told the model.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of planes.")] = 0,
    memory: Annotated[float, typer.Option(min=0.1, help="Memory to use at most, in GiB.")] = 4.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Measure how well a model refocuses, by distance, with a plot."""
    from fluofocus.data.simulated_files import clean_path
    from fluofocus.io import read_stack
    from fluofocus.models.bundle import load_model
    from fluofocus.refocus.evaluation import evaluate as evaluate_model
    from fluofocus.refocus.parsing import parse_z_range
    from fluofocus.report.figures import plot_coverage, plot_evaluation

    require_folder(output)
    if clean and target:
        raise FluoFocusError("Give --clean or --target, not both.")
    truths = [clean_path(path) for path in stacks] if clean else target
    if truths is not None and len(truths) != len(stacks):
        raise FluoFocusError(
            f"{len(stacks)} stacks and {len(truths)} to compare them with: give one for each."
        )
    opened = functools.partial(read_stack, pixel_size_um=pixel_size, z_step_um=z_step)
    with progress("Evaluating") as update:
        scores = evaluate_model(
            load_model(model),
            [opened(path) for path in stacks],
            truths=None if truths is None else [opened(path) for path in truths],
            distances_um=None if distances is None else parse_z_range(distances),
            inputs_per_stack=inputs,
            seed=seed,
            allow_extrapolation=allow_extrapolation,
            microscope=None if microscope is None else named_microscope(microscope),
            ensemble=ensemble,
            memory_gb=memory,
            device=device,
            progress=update,
        )
    output.mkdir(parents=True, exist_ok=True)
    scores.to_csv(output / "scores.csv")
    plot_evaluation(scores, output / "scores.png")
    say(scores.table())
    say(f"Wrote {output / 'scores.csv'} and {output / 'scores.png'}.")
    if scores.coverage is not None:
        plot_coverage(scores.coverage, output / "coverage.png")
        say(f"\n{scores.coverage.table()}")
        say(f"Wrote {output / 'coverage.png'}.")


@verb(verbs)
def models(
    name: Annotated[
        str | None, typer.Argument(help="Shipped model or model file.", show_default=False)
    ] = None,
) -> None:
    """List the models that come with the package, or show the card of one."""
    from fluofocus.models.bundle import read_any_card, shipped_models
    from fluofocus.models.cards import ModelCard

    if name is not None:
        import yaml

        content = read_any_card(name).model_dump(mode="json", exclude_none=True)
        say(yaml.safe_dump(content, sort_keys=False, allow_unicode=True).rstrip())
        return
    cards = {shipped: read_any_card(shipped) for shipped in shipped_models()}
    if not cards:
        say("No model comes with this installation: train one with 'fluofocus train'.")
    rows = [
        (
            shipped,
            card.architecture,
            "{:g} to {:g} µm".format(*card.training.defocus_um)
            if isinstance(card, ModelCard)
            else f"stacks, {card.training.z_step_um:g} µm",
            card.training.target_modality,
            card.title,
        )
        for shipped, card in cards.items()
    ]
    for line in aligned([("name", "network", "range", "output", "title"), *rows] if rows else []):
        say(line)


def _require_known(strategy: str, accelerator: Accelerator) -> None:
    """Refuse what Lightning would not find on this machine."""
    from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
    from lightning.pytorch.strategies import StrategyRegistry

    known = ["auto", *StrategyRegistry.available_strategies()]
    if strategy not in known:
        raise FluoFocusError(
            f"Lightning has no strategy {strategy!r}: choose one of {', '.join(known)}."
        )
    has_gpu = CUDAAccelerator.is_available() or MPSAccelerator.is_available()
    if accelerator is Accelerator.gpu and not has_gpu:
        raise FluoFocusError("There is no GPU here: choose --accelerator auto or cpu.")
