"""How exactly recordings of two modalities are registered: features, PSF and dual peak.

    python benchmarks/registration.py --output docs/results/registration.md

Pairs are simulated and then moved by a known amount: shifts, turns, scales and perspective
for fused images, shifts along three axes for stacks. The stacks are compared with what
WFCON-Net (2021, Fig. 8) compares its method with, cross-correlation, and with others.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pages import publish
from registration_pairs import DIM, THICK, THIN, Pair, helix_pair, image_pair, volume_pair

from fluofocus.errors import FluoFocusError
from fluofocus.prepare.correlation import fitted_peak
from fluofocus.prepare.register_psf import REACH_ZYX, without_haze
from fluofocus.prepare.registration import RegistrationError, Transform, register
from fluofocus.prepare.transform import mapped

Array = npt.NDArray[np.float64]
Offset = Callable[[Pair], Array]

SPECIMENS = 4  # of 1024 x 1024 pixels, drawn for all pairs of images
GRID_POINTS = 17


def grid_errors(transform: Transform, pair: Pair) -> Array:
    """Return how far off the transform is at points over the whole field, in pixels."""
    axes = [np.linspace(0, size - 1, GRID_POINTS) for size in pair.fixed.shape[-2:]]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    offsets = transform.to_moving(points) - mapped(pair.matrix, points)
    return np.asarray(np.linalg.norm(offsets, axis=1))


def image_table(count: int) -> list[str]:
    """Register fused wide-field and confocal images of thin specimens by features."""
    lines = [
        "## Features: fused images, projective",
        "",
        "Error at 17 x 17 points over the field, in pixels, of all pairs together.",
        "",
        "| field | pairs | refused | models | median | worst | s per pair |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, side, coarse in (("whole, coarse", 1024, True), ("region, fine", 256, False)):
        errors, models, seconds, refused = [], [], [], 0
        for index in range(count):
            specimen = index * SPECIMENS // count
            pair = image_pair(index, side_px=side, specimen_seed=specimen, coarse=coarse)
            start = time.process_time()
            try:
                transform = register(pair.moving, pair.fixed, "features")
            except RegistrationError:
                refused += 1
                continue
            seconds.append(time.process_time() - start)
            errors.append(grid_errors(transform, pair))
            models.append(transform.model)
        found = ", ".join(f"{models.count(name)} {name}" for name in sorted(set(models)))
        lines.append(
            f"| {title}, {side} x {side} | {count} | {refused} | {found} | {np.median(errors):.3f} "
            f"| {np.max(errors):.3f} | {np.median(seconds):.2f} |"
        )
    return [*lines, ""]


def by_psf(pair: Pair) -> Array:
    """Register by the method of the package, which is told that moving is the sharp one."""
    transform = register(pair.moving, pair.fixed, "psf")
    return np.array([transform.shift_z, *transform.matrix[:2, 2]])


def by_correlation(pair: Pair, *, whitening: float = 0.0, haze: bool = True) -> Array:
    """Register by the peak of the cross-correlation in 3D, placed between the samples.

    ``whitening`` 1 makes it phase correlation; without ``haze`` the stacks are prepared as
    for the package's method.
    """
    first, second = (
        torch.from_numpy(stack - stack.mean()) if haze else without_haze(stack)
        for stack in (pair.moving, pair.fixed)
    )
    padded = [size + reach for size, reach in zip(first.shape, REACH_ZYX, strict=True)]
    cross = torch.fft.rfftn(first, s=padded) * torch.fft.rfftn(second, s=padded).conj()
    curve = torch.fft.irfftn(cross / cross.abs().clamp(min=1e-12) ** whitening, s=padded)
    for axis, reach in enumerate(REACH_ZYX):
        lags = torch.arange(-reach, reach + 1) % curve.shape[axis]
        curve = curve.index_select(axis, lags)
    values = curve.numpy()
    top = np.unravel_index(int(values.argmax()), values.shape)
    peak = fitted_peak(values, top, 1)
    return np.asarray((np.array(top) if peak is None else peak.position) - REACH_ZYX)


METHODS: dict[str, Offset] = {
    "PSF": by_psf,
    "cross-correlation": by_correlation,
    "cross-correlation, haze removed": lambda pair: by_correlation(pair, haze=False),
    "phase correlation": lambda pair: by_correlation(pair, whitening=1.0),
}


def stack_table(count: int) -> list[str]:
    """Register wide-field and confocal stacks of thin and thick specimens."""
    lines = [
        "## PSF: stacks, shifts along x, y and z",
        "",
        "60x/1.4 oil, pixels of 0.108 µm, planes every 0.5 µm; errors in pixels and z-steps.",
        "",
        "| specimen | method | pairs | refused | lateral median | lateral worst | axial median "
        "| axial worst | s per pair |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for title, sample, seed in (
        ("thin, 3 µm", THIN, 1000),
        ("thick, 26 µm", THICK, 2000),
        ("thick, 12 photons", DIM, 3000),
    ):
        pairs = [volume_pair(sample, seed + index) for index in range(count)]
        for name, method in METHODS.items():
            errors, seconds, refused = [], [], 0
            for pair in pairs:
                truth = np.array([pair.shift_z, *pair.matrix[:2, 2]])
                start = time.process_time()
                try:
                    errors.append(method(pair) - truth)
                except FluoFocusError:
                    refused += 1
                seconds.append(time.process_time() - start)
            axial = np.abs([error[0] for error in errors])
            lateral = [math.hypot(*error[1:]) for error in errors]
            lines.append(
                f"| {title} | {name} | {count} | {refused} | {np.median(lateral):.3f} "
                f"| {np.max(lateral):.3f} | {np.median(axial):.3f} | {np.max(axial):.3f} "
                f"| {np.median(seconds):.2f} |"
            )
    return [*lines, ""]


def helix_table(count: int) -> list[str]:
    """Register double-helix images and sharp ones."""
    lines = [
        "## Dual peak: double-helix and sharp images of beads",
        "",
        "| field | pairs | refused | median | worst | s per pair |",
        "|---|---|---|---|---|---|",
    ]
    for side, beads in ((1024, 400), (256, 30)):
        errors, seconds, refused = [], [], 0
        for index in range(count):
            pair = helix_pair(index, side_px=side, beads=beads)
            start = time.process_time()
            try:
                transform = register(pair.moving, pair.fixed, "dual_peak")
            except RegistrationError:
                refused += 1
                continue
            seconds.append(time.process_time() - start)
            errors.append(math.hypot(*(transform.matrix - pair.matrix)[:2, 2]))
        lines.append(
            f"| {side} x {side}, {beads} beads | {count} | {refused} | {np.median(errors):.3f} "
            f"| {np.max(errors):.3f} | {np.median(seconds):.2f} |"
        )
    return [*lines, ""]


TABLES: dict[str, Callable[[int], list[str]]] = {
    "features": image_table,
    "psf": stack_table,
    "dual_peak": helix_table,
}


def main() -> None:
    """Measure, print and, where asked, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20, help="of each kind")
    parser.add_argument("--only", choices=TABLES, help="one method instead of all")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    chosen = [arguments.only] if arguments.only else list(TABLES)
    publish("\n".join(page(chosen, arguments.pairs)), arguments.output)


def page(methods: list[str], pairs: int) -> list[str]:
    """Return the lines of the page."""
    head = [
        "# Registration of two modalities",
        "",
        f"Measured by `python benchmarks/registration.py --pairs {pairs}` on {platform.machine()}, "
        f"{torch.get_num_threads()} threads; s are seconds of processor time.",
        "",
    ]
    return head + [line for name in methods for line in TABLES[name](pairs)]


if __name__ == "__main__":
    main()
