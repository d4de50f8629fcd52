"""What several input planes, expected errors and surfaces are worth, on held-out fields.

    python benchmarks/abilities.py air20x-beads air20x-nuclei --output docs/results/abilities.md

Fields, optics and noise come from seeds that no training uses, optics from inside the
training's ranges and from outside of them (see held_out_fields.py).
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from held_out_fields import Field, optics
from pages import publish

import fluofocus
from fluofocus.io import make_stack
from fluofocus.measure.uncertainty import coverage
from fluofocus.models.bundle import Model, load_model
from fluofocus.refocus import from_array, tilt
from fluofocus.refocus.coverage import bright_pixels
from fluofocus.simulate.phantoms import Beads, Nuclei, Phantom

SEED = 9_200_000
PLANES_UM = torch.arange(-20, 21) * 0.5
DEPTHS_UM = torch.arange(-16, 17) * 0.5
SIDE_PX = 256
DISTANCES_UM = (-8.0, -4.0, -1.0, 1.0, 4.0, 8.0)

SPECIMENS: dict[str, Phantom] = {
    "beads": Beads(surface="plane", count_per_1000_um2=1.84, diameter_um=0.3),
    "nuclei": Nuclei(),
}


def fields(
    phantom: Phantom, where: str, seed: int, peak_photons: float, arguments: argparse.Namespace
) -> Iterator[Field]:
    """Image one field for each microscope drawn."""
    depths = DEPTHS_UM if isinstance(phantom, Nuclei) else torch.zeros(1)
    for index, microscope in enumerate(optics(arguments.config, where, arguments.fields, seed)):
        yield Field(microscope, phantom, SIDE_PX, PLANES_UM, depths, seed + index, peak_photons)


def several_planes(model: Model, arguments: argparse.Namespace) -> list[str]:
    """Compare two input planes at once with the maximum of two single-plane stacks."""
    lines = [
        "## Two input planes, 4 µm apart, nuclei",
        "",
        "RMSE of the virtual planes from −6 to 10 µm, in counts.",
        "",
        "| optics | one plane | maximum of two stacks | both planes | both ÷ maximum |",
        "|---|---|---|---|---|",
    ]
    targets = [float(z) for z in PLANES_UM if -6 <= z <= 10]
    for place, where in enumerate(("inside", "outside")):
        errors: dict[str, list[float]] = {"one": [], "maximum": [], "both": []}
        for field in fields(Nuclei(), where, SEED + 1000 * place, 2000.0, arguments):
            near, far = (field.exposure(field.plane(z)) for z in (0.0, 4.0))
            truth = field.truth[[field.plane(z) for z in targets]]
            pixel = field.pixel_um
            one = refocused(model, near, targets, pixel)
            other = refocused(model, far, [z - 4.0 for z in targets], pixel)
            pair = make_stack(np.stack([near, far]), "ZYX", (4.0, pixel, pixel))
            both = fluofocus.refocus(pair, model, plane=[0, 1], z_um=targets).values
            results = {"one": one, "maximum": np.maximum(one, other), "both": both}
            for name, result in results.items():
                errors[name].append(float(np.mean((result - truth) ** 2)))
        rmse = {name: float(np.sqrt(np.mean(squares))) for name, squares in errors.items()}
        ratio = rmse["both"] / rmse["maximum"]
        cells = " | ".join(f"{value:.1f}" for value in rmse.values())
        lines.append(f"| {where} | {cells} | {ratio:.2f} |")
    return lines


def refocused(model: Model, image: np.ndarray, z_um: list[float], pixel_um: float) -> np.ndarray:
    """Return planes ``(Z, Y, X)`` of one image, in counts."""
    stack: xr.DataArray = fluofocus.refocus(image, model, z_um=z_um, pixel_size_um=pixel_um)
    return np.asarray(stack.values)


def error_coverage(models: dict[str, Model], arguments: argparse.Namespace) -> list[str]:
    """Count how often 90 % intervals hold the truth."""
    lines = [
        "## 90 % intervals",
        "",
        "Share of the pixels whose true value lies in the interval; bright: above a tenth of the "
        "true plane's range.",
        "",
        "| specimen | optics | peak photons | all pixels | bright pixels | expected ÷ true error |",
        "|---|---|---|---|---|---|",
    ]
    by_distance = [
        "",
        "Of all pixels at 2000 photons, by the distance from the input plane:",
        "",
        f"| specimen | optics | {' | '.join(f'{d:+g} µm' for d in DISTANCES_UM)} |",
        "|---|---|" + "---|" * len(DISTANCES_UM),
    ]
    for name, phantom in SPECIMENS.items():
        for where in ("inside", "outside"):
            for photons in (500.0, 2000.0, 15000.0):
                row, shares = _coverage_row(models[name], phantom, where, photons, arguments)
                lines.append(f"| {name} | {where} | {photons:g} | {row} |")
                if photons == 2000.0:
                    cells = " | ".join(f"{share:.1%}" for share in shares)
                    by_distance.append(f"| {name} | {where} | {cells} |")
    return lines + by_distance


def _coverage_row(
    model: Model, phantom: Phantom, where: str, photons: float, arguments: argparse.Namespace
) -> tuple[str, list[float]]:
    """Return the cells of a row, and the shares of all pixels by distance."""
    calibration = model.card.error
    assert calibration is not None, "this model has no error output"
    width = calibration.half_widths[calibration.probabilities.index(0.9)]
    shares: list[list[float]] = []
    bright_shares: list[float] = []
    expected, true = 0.0, 0.0
    for _, output, spread, truth in with_errors(model, phantom, where, photons, arguments):
        error, bright = np.abs(output - truth), bright_pixels(truth)
        shares.append([coverage(*plane, (width,))[0] for plane in zip(error, spread, strict=True)])
        bright_shares += coverage(error[bright], spread[bright], (width,))
        expected, true = expected + float(spread.mean()), true + float(error.mean())
    cells = f"{np.mean(shares):.1%} | {np.mean(bright_shares):.1%} | {expected / true:.2f}"
    return cells, np.mean(shares, axis=0).tolist()


def with_errors(
    model: Model, phantom: Phantom, where: str, photons: float, arguments: argparse.Namespace
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield recorded images, and outputs, expected errors and truths at `DISTANCES_UM` of each."""
    for field in fields(phantom, where, SEED + 3000, photons, arguments):
        for start in (-2.0, 2.0):
            image = field.exposure(field.plane(start))
            output, expected = fluofocus.refocus(
                image,
                model,
                z_um=list(DISTANCES_UM),
                pixel_size_um=field.pixel_um,
                uncertainty=True,
            ).values
            yield (
                image,
                output,
                expected,
                field.truth[[field.plane(start + d) for d in DISTANCES_UM]],
            )


def surfaces(model: Model, arguments: argparse.Namespace) -> list[str]:
    """Compare surfaces at once with the same pixels out of uniform planes."""
    lines = [
        "## Surfaces, trained on uniform planes only, nuclei",
        "",
        "RMSE against the truth along the surface, in counts: refocused onto the surface at once, "
        "and taken pixel by pixel from a virtual stack of uniform planes 0.25 µm apart.",
        "",
        "| surface | reaches | at once | from planes | at once ÷ from planes |",
        "|---|---|---|---|---|",
    ]
    side_um = SIDE_PX * 0.325
    x = np.broadcast_to(np.linspace(-side_um / 2, side_um / 2, SIDE_PX), (SIDE_PX, SIDE_PX))
    sag = 500.0 - np.sqrt(500.0**2 - x**2)
    shapes = {
        "tilt 3°": tilt(3.0).dpm((SIDE_PX, SIDE_PX), 0.325) + 4.0,
        "tilt 8°": tilt(8.0).dpm((SIDE_PX, SIDE_PX), 0.325),
        "cylinder of 1 mm": sag + 3.0,
    }
    for name, heights in shapes.items():
        squares: dict[str, list[float]] = {"surface": [], "planes": []}
        for field in fields(Nuclei(), "inside", SEED + 5000, 2000.0, arguments):
            image = field.exposure(field.plane(0.0))
            at_once = fluofocus.refocus(
                image, model, surface=from_array(heights), pixel_size_um=field.pixel_um
            ).values
            z_um = np.arange(np.floor(heights.min() * 4), np.ceil(heights.max() * 4) + 1) / 4
            stack = refocused(model, image, [float(z) for z in z_um], field.pixel_um)
            truth = along(field.truth, PLANES_UM.numpy(), heights)
            squares["surface"].append(float(np.mean((at_once - truth) ** 2)))
            squares["planes"].append(float(np.mean((along(stack, z_um, heights) - truth) ** 2)))
        one, other = (float(np.sqrt(np.mean(squares[way]))) for way in squares)
        reach = f"{heights.min():.1f} to {heights.max():.1f} µm"
        lines.append(f"| {name} | {reach} | {one:.1f} | {other:.1f} | {one / other:.2f} |")
    return lines


def along(stack: np.ndarray, z_um: np.ndarray, heights_um: np.ndarray) -> np.ndarray:
    """Take each pixel from a stack at its own height, between planes linearly."""
    position = (heights_um - z_um[0]) / (z_um[1] - z_um[0])
    lower = np.clip(np.floor(position).astype(int), 0, len(z_um) - 2)
    share = position - lower
    below = np.take_along_axis(stack, lower[None], axis=0)[0]
    above = np.take_along_axis(stack, lower[None] + 1, axis=0)[0]
    result: np.ndarray = below + share * (above - below)
    return result


def main() -> None:
    """Measure, print and, where asked, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("beads_model", nargs="?", default="air20x-beads")
    parser.add_argument("nuclei_model", nargs="?", default="air20x-nuclei")
    parser.add_argument("--config", default="configs/air20x-beads.yaml", help="training draws")
    parser.add_argument("--fields", type=int, default=6, help="microscopes, one field each")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    beads, nuclei = load_model(arguments.beads_model), load_model(arguments.nuclei_model)
    text = "\n".join(
        [
            "# Several planes, expected errors, surfaces",
            "",
            f"Written by `{shlex.join(['python', *sys.argv])}`.",
            f"{arguments.fields} microscopes for each row, seeds from {SEED}.",
            "",
            *several_planes(nuclei, arguments),
            "",
            *error_coverage({"beads": beads, "nuclei": nuclei}, arguments),
            "",
            *surfaces(nuclei, arguments),
            "",
        ]
    )
    publish(text, arguments.output)


if __name__ == "__main__":
    main()
