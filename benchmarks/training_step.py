"""How long a step of a training takes in single precision and in bfloat16, by turns in one run.

    python benchmarks/training_step.py

A step is that of the scheme ``regression`` on a batch that is there already: the network, its loss
and gradients, the optimiser, and the averaging of the weights.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from torch.optim import Optimizer

from fluofocus.data.simulated import SimulatedPairs
from fluofocus.heap import kept_heap
from fluofocus.models import build_network
from fluofocus.models.device import computes_in_bfloat16
from fluofocus.train.config import RegressionConfig, load_train_config
from fluofocus.train.module import Batch
from fluofocus.train.regression import RegressionTraining, optimizer_of

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def take_step(
    training: RegressionTraining, optimizer: Optimizer, batch: Batch, dtype: torch.dtype
) -> None:
    """Take one step of a training, its network computing in this precision."""
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss, _ = training.network_loss(batch)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(training.network.parameters(), training.config.gradient_clip)
    optimizer.step()
    training.averaged.update_parameters(training.network)


def main() -> None:
    """Time the steps and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/air20x-nuclei.yaml", help="of the training")
    parser.add_argument("--repeats", type=int, default=9, help="in each precision, by turns")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=77)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    config, microscope = load_train_config(arguments.config)
    simulation, regression = config.simulation, config.training
    if simulation is None or not isinstance(regression, RegressionConfig):
        parser.error("it takes a training by regression on simulated pairs")
    network = build_network(config.architecture, config.architecture_config)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    training = RegressionTraining(network, regression)
    optimizer = optimizer_of(network, regression)
    pairs = SimulatedPairs(
        microscope, simulation, batch_size=regression.batch_size, seed=arguments.seed
    )
    batch = next(iter(pairs))
    seconds: dict[str, list[float]] = {name: [] for name in PRECISIONS}
    with kept_heap():  # as in `fluofocus train`
        for _ in range(1 + arguments.repeats):
            for name, dtype in PRECISIONS.items():
                started = time.perf_counter()
                take_step(training, optimizer, batch, dtype)
                seconds[name].append(time.perf_counter() - started)
    shape = " × ".join(map(str, batch["image"].shape))
    how = "can" if computes_in_bfloat16(torch.device("cpu")) else "cannot"
    print(
        f"Inputs of {shape} pixels, {batch['target'].shape[1]} targets each, {arguments.threads} "
        f"threads; the processor {how} multiply in bfloat16.\n"
    )
    print("| precision | s per step, median | least | most | ÷ float32 |")
    print("|---|---|---|---|---|")
    for name, (_, *times) in seconds.items():  # without the first, which prepares
        ratio = median(times) / median(seconds["float32"][1:])
        cells = [f"{x:.2f}" for x in (median(times), min(times), max(times), ratio)]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
