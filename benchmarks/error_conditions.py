"""What the coverage of 90 % intervals depends on: distance, brightness, or the predicted error.

    python benchmarks/error_conditions.py air20x-nuclei

Half widths are found on the pairs that expected errors are calibrated on, one for all pixels or
one for each class of pixels, and tried on fields through optics that no training saw.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from abilities import DISTANCES_UM, SPECIMENS, with_errors
from ship_models import CALIBRATION_BATCHES

from fluofocus.models.blocks import nearest_um
from fluofocus.models.bundle import Model, load_model
from fluofocus.prepare.normalise import normalisation_from_image
from fluofocus.refocus.coverage import bright_pixels
from fluofocus.train.config import load_train_config
from fluofocus.train.data import TrainingData
from fluofocus.train.module import predict
from fluofocus.units import AnyArray, FloatArray

PIXELS = 60_000
"""Drawn from each batch or field."""
NOMINAL = 0.9


@dataclass(frozen=True)
class Pixels:
    """True and predicted errors, outputs in normalised units, and how far they were refocused."""

    error: FloatArray
    predicted: FloatArray
    output: FloatArray
    distance_um: FloatArray
    bright: AnyArray

    @property
    def ratio(self) -> FloatArray:
        """True over predicted error."""
        return self.error / self.predicted


CONDITIONS: dict[str, tuple[Callable[[Pixels], FloatArray], list[float]]] = {
    "nothing": (lambda pixels: np.zeros_like(pixels.error), []),
    "distance": (lambda pixels: pixels.distance_um, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
    "output": (lambda pixels: pixels.output, [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99]),
    "predicted error": (
        lambda pixels: pixels.predicted,
        [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99],
    ),
    "output ÷ predicted error": (
        lambda pixels: pixels.output / pixels.predicted,
        [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99],
    ),
}
"""What each condition is of a pixel, and at which quantiles classes of it part."""


def gathered(parts: list[list[AnyArray]]) -> Pixels:
    """Draw pixels from each part and put them together."""
    random = np.random.default_rng(0)
    rows = []
    for part in parts:
        chosen = random.permutation(part[0].size)[:PIXELS]
        rows.append([np.ascontiguousarray(array).ravel()[chosen] for array in part])
    return Pixels(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def calibration_pixels(model: Model, config_path: Path) -> Pixels:
    """Draw pixels of the pairs that a training calibrates on."""
    config, microscope = load_train_config(config_path)
    many = config.model_copy(update={"validation_batches": CALIBRATION_BATCHES})
    parts = []
    for batch in TrainingData(many, microscope, workers=0).calibration_batches():
        with torch.no_grad():
            refocused = predict(model.network.eval(), batch)
        assert refocused.error is not None, "this model has no error output"
        truth = batch["target"].numpy()
        error = np.abs(refocused.image.numpy() - truth)
        distance = nearest_um(batch["dpm_um"])[..., None, None].expand_as(refocused.image).numpy()
        parts.append(
            [
                error,
                refocused.error.numpy(),
                refocused.image.numpy(),
                distance,
                bright_pixels(truth),
            ]
        )
    return gathered(parts)


def held_out_pixels(model: Model, where: str, arguments: argparse.Namespace) -> Pixels:
    """Draw pixels of fields through other optics."""
    phantom = SPECIMENS["beads" if "beads" in arguments.model else "nuclei"]
    assert model.card.error is not None, "this model has no error output"
    distances = np.array(DISTANCES_UM, np.float32)[:, None, None]
    scale = model.card.error.scale_at(distances)
    parts = []
    for image, output, expected, truth in with_errors(model, phantom, where, 2000.0, arguments):
        norm = normalisation_from_image(image)
        error, predicted = np.abs(output - truth) / norm.scale, expected / scale / norm.scale
        distance = np.broadcast_to(distances, truth.shape)
        parts.append([error, predicted, norm.apply(output), distance, bright_pixels(truth)])
    return gathered(parts)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--fields", type=int, default=6, help="microscopes, one field each")
    arguments = parser.parse_args()
    path = Path("configs") / f"{arguments.model}.yaml"
    arguments.config = str(path)
    model = load_model(arguments.model)
    known = calibration_pixels(model, path)
    print("| half widths by | optics | all pixels | bright pixels | by distance |")
    print("|---|---|---|---|---|")
    for where in ("inside", "outside"):
        pixels = held_out_pixels(model, where, arguments)
        for name, (feature, quantiles) in CONDITIONS.items():
            edges = np.unique(np.quantile(feature(known), quantiles))
            of_known, of_pixels = (np.digitize(feature(each), edges) for each in (known, pixels))
            widths = np.array(
                [np.quantile(known.ratio[of_known == i], NOMINAL) for i in range(len(edges) + 1)]
            )
            held = pixels.ratio <= widths[of_pixels]
            by_distance = [held[pixels.distance_um == d].mean() for d in DISTANCES_UM]
            print(
                f"| {name} | {where} | {held.mean():.1%} | {held[pixels.bright].mean():.1%} "
                f"| {min(by_distance):.0%} to {max(by_distance):.0%} |"
            )


if __name__ == "__main__":
    main()
