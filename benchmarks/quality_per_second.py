r"""Which network refocuses best after the same training time, on the same stream of images.

    python benchmarks/quality_per_second.py --minutes 120 \
        --network swift 'swift {}' --network deep_z 'deep_z {"width": "compact"}'

Each network trains on one thread for so many minutes of processor time, on the same
batches in the same order, with the scheme ``regression``; its learning rate falls to zero at the
end of its time. What it then does to held-out beads, nuclei and filaments, from seeds
that no training uses, is tabulated by distance. A run that was stopped goes on with the same
command.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from operations import gflop
from pages import publish
from torch import Tensor
from torch.utils.data import DataLoader
from training_step import take_step

from fluofocus.data.simulated import SimulatedPairs, SimulationConfig
from fluofocus.heap import kept_heap
from fluofocus.measure.image import METRICS
from fluofocus.models import build_network
from fluofocus.models.blocks import nearest_um
from fluofocus.models.network import RefocusingNetwork
from fluofocus.train.config import RegressionConfig, TrainConfig, load_train_config
from fluofocus.train.module import predict
from fluofocus.train.regression import RegressionTraining, optimizer_of

HELD_OUT_SEED = 9_500_000
HELD_OUT_BATCHES = 24
SAVE_EVERY_S = 300.0
DISTANCES_UM = ((2.0, 4.0), (4.0, 6.0), (6.0, 8.0), (8.0, 10.0))
RANGES = [f"{low:g}–{high:g} µm" for low, high in DISTANCES_UM]
COST_SIDE_PX, COST_PLANES = 256, 41
KINDS = ("beads", "nuclei", "filaments")


def main() -> None:
    """Train what is asked for, side by side, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--network",
        nargs=2,
        action="append",
        metavar=("NAME", "WHAT"),
        required=True,
        help="architecture, then, as JSON, what it, its training and its images are to have else",
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of processor time, each")
    parser.add_argument("--config", default="configs/air20x-base.yaml", help="of the images")
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--at-once", type=int, default=2, help="networks trained side by side")
    parser.add_argument("--folder", type=Path, default=Path("runs/quality"))
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    parser.add_argument("--figure", type=Path, help="picture to write: quality over operations")
    parser.add_argument("--only", help=argparse.SUPPRESS)  # set for the process of one network
    arguments = parser.parse_args()
    networks = dict(arguments.network)
    if arguments.only:
        with kept_heap():  # as in `fluofocus train`
            train_one(arguments.only, networks[arguments.only], arguments)
        return
    command = [sys.executable, *sys.argv, "--only"]
    running: list[subprocess.Popen[bytes]] = []
    for name in networks:
        running.append(subprocess.Popen([*command, name]))
        while sum(process.poll() is None for process in running) >= arguments.at_once:
            time.sleep(1)
    if any(process.wait() for process in running):
        sys.exit("a training failed")
    results = [json.loads((arguments.folder / f"{name}.json").read_text()) for name in networks]
    publish(page(results, arguments), arguments.output)
    if arguments.figure:
        draw(results, arguments.figure)


def train_one(name: str, what: str, arguments: argparse.Namespace) -> None:
    """Train one network for its time and write its scores."""
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    architecture, (sizes, scheme, images) = parsed(what)
    config, microscope = load_train_config(arguments.config)
    torch.manual_seed(arguments.seed)
    network = build_network(architecture, sizes).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    regression = RegressionConfig.model_validate(config.training.model_dump() | scheme)
    training = RegressionTraining(network, regression)
    optimizer = optimizer_of(network, regression)
    state = arguments.folder / f"{name}.pt"
    step, used_s = 0, 0.0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        training.load_state_dict(saved["training"])
        optimizer.load_state_dict(saved["optimizer"])
        step, used_s = saved["step"], saved["used_s"]
    stream = SimulatedPairs(
        microscope,
        SimulationConfig.model_validate(_images(config).model_dump() | images),
        batch_size=regression.batch_size,
        seed=arguments.seed,
        start_batch=step,
    )
    budget_s, saved_s = 60 * arguments.minutes, used_s
    started = time.process_time() - used_s
    for batch in DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=8):
        used_s = time.process_time() - started
        if used_s - saved_s > SAVE_EVERY_S or used_s >= budget_s:
            content = {"training": training.state_dict(), "optimizer": optimizer.state_dict()}
            draft = state.with_suffix(".draft")
            torch.save(content | {"step": step, "used_s": used_s}, draft)
            draft.replace(state)
            saved_s = used_s
            print(f"{name}: step {step}, {used_s / 60:.0f} minutes", file=sys.stderr, flush=True)
        if used_s >= budget_s:
            break
        warm = min(1.0, (step + 1) / (regression.warmup_steps + 1))
        rate = 0.5 * (1 + math.cos(math.pi * used_s / budget_s))
        for group in optimizer.param_groups:
            group["lr"] = regression.learning_rate * warm * rate
        take_step(training, optimizer, batch, torch.bfloat16)
        step += 1
    scores = {"name": name, "what": what, "steps": step, "minutes": arguments.minutes}
    scores["parameters"] = sum(weight.numel() for weight in network.parameters())
    scores["gflop"] = gflop(training.kept.eval(), COST_SIDE_PX, COST_PLANES)
    scores["gap_closed"] = held_out_scores(training.kept, config, arguments)
    (arguments.folder / f"{name}.json").write_text(json.dumps(scores) + "\n")


def parsed(what: str) -> tuple[str, list[dict[str, Any]]]:
    """Read an architecture's name and up to three JSON objects that follow it."""
    architecture, _, text = what.partition(" ")
    decoder, objects = json.JSONDecoder(), []
    while text:
        content, end = decoder.raw_decode(text)
        objects.append(content)
        text = text[end:].strip()
    return architecture, objects + [{}] * (3 - len(objects))


def _images(config: TrainConfig) -> SimulationConfig:
    assert config.simulation is not None
    return config.simulation.model_copy(update={"images_per_specimen": 20})


def held_out_scores(
    network: RefocusingNetwork, config: TrainConfig, arguments: argparse.Namespace
) -> dict[str, list[float]]:
    """Return the share of the gap closed by kind of specimen, a number per range of distances."""
    scores = {}
    network = network.eval()
    _, microscope = load_train_config(arguments.config)
    for index, kind in enumerate(KINDS):
        simulation = _images(config)
        draws = tuple(draw for draw in simulation.phantoms if draw.phantom == kind)
        held_out = simulation.model_copy(update={"phantoms": draws, "images_per_specimen": 4})
        pairs = SimulatedPairs(microscope, held_out, batch_size=8, seed=HELD_OUT_SEED + index)
        before: dict[int, list[Tensor]] = {}
        after: dict[int, list[Tensor]] = {}
        for _, batch in zip(range(HELD_OUT_BATCHES), pairs, strict=False):
            with torch.no_grad():
                output = predict(network, batch).image
            r_in, r_out = (
                METRICS["pearson"](image, batch["target"])
                for image in (batch["image"][:, :1].expand_as(output), output)
            )
            distance = nearest_um(batch["dpm_um"]).abs()
            for place, (low, high) in enumerate(DISTANCES_UM):
                chosen = (distance > low) & (distance <= high)
                before.setdefault(place, []).append(r_in[chosen])
                after.setdefault(place, []).append(r_out[chosen])
        means = [
            (torch.cat(before[place]).mean(), torch.cat(after[place]).mean()) for place in before
        ]
        scores[kind] = [float((r_out - r_in) / (1 - r_in)) for r_in, r_out in means]
    return scores


def page(results: list[dict[str, Any]], arguments: argparse.Namespace) -> str:
    """Format the results as Markdown."""
    lines = [
        "# Quality after equal training time",
        "",
        f"Written by `{shlex.join(['python', *sys.argv])}`.",
        f"Each network trained for {arguments.minutes:g} minutes of processor time of one core, on "
        f"the same images in the same order (seed {arguments.seed}). Operations are those of "
        f"{COST_PLANES} planes of {COST_SIDE_PX}×{COST_SIDE_PX} pixels from one image.",
        "",
        "| network | trained | parameters | GFLOP | steps |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        lines.append(
            f"| {result['name']} | `{result['what']}` | {result['parameters'] / 1e6:.2f} M "
            f"| {result['gflop']:.3g} | {result['steps']} |"
        )
    lines += [
        "",
        f"Share of the gap to the true plane that is closed, {HELD_OUT_BATCHES * 8} held-out "
        "fields of each kind, by how far the image was refocused:",
        "",
        f"| specimen | network | {' | '.join(RANGES)} |",
        "|---|---|" + "---|" * len(RANGES),
    ]
    for kind in KINDS:
        for result in results:
            cells = " | ".join(f"{gap:.3f}" for gap in result["gap_closed"][kind])
            lines.append(f"| {kind} | {result['name']} | {cells} |")
    if arguments.figure and arguments.output:
        picture = os.path.relpath(arguments.figure, arguments.output.parent)
        lines += ["", f"![Share of the gap closed over the operations of a stack]({picture})"]
    return "\n".join(lines) + "\n"


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Plot the share of the gap that is closed over the operations of a stack."""
    figure, axes = plt.subplots(1, len(KINDS), figsize=(11, 3.6), sharey=True, layout="constrained")
    ordered = sorted(results, key=lambda result: result["gflop"])
    cost = [result["gflop"] for result in ordered]
    for axis, kind in zip(axes, KINDS, strict=True):
        closed = np.array([result["gap_closed"][kind] for result in ordered])
        for span, gaps in zip(RANGES, closed.T, strict=True):
            axis.plot(cost, gaps, "o-", markersize=4, label=span)
        for result, highest in zip(ordered, closed.max(axis=1), strict=True):
            place = (result["gflop"], highest)
            axis.annotate(
                result["name"], place, (0, 5), textcoords="offset points", ha="center", fontsize=8
            )
        axis.set(title=kind, xscale="log", xlabel="GFLOP for a stack")
        axis.set_xticks(cost, [f"{each:.3g}" for each in cost])
        axis.minorticks_off()
        axis.margins(x=0.25, y=0.15)
    axes[0].set_ylabel("share of the gap closed")
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside right center",
        fontsize=8,
        title="refocused by",
    )
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
