"""How well a model refocuses, by distance: its output against focus-scanned planes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import voxel_size_um
from fluofocus.models.bundle import Model
from fluofocus.optics.microscope import Microscope
from fluofocus.refocus.coverage import CoverageCount
from fluofocus.refocus.engine import refocus
from fluofocus.refocus.request import extrapolation_um
from fluofocus.refocus.scores import Evaluation, PairScores
from fluofocus.units import FloatArray

Positions = npt.NDArray[np.float64]
Output = tuple[FloatArray, FloatArray | None]
"""A refocused plane and its expected error."""

DEFAULT_DISTANCES = 11
"""How many distances, evenly over the range a model was trained for, are evaluated."""


def evaluate(
    model: Model,
    stacks: Iterable[xr.DataArray],
    *,
    truths: Iterable[xr.DataArray] | None = None,
    distances_um: Sequence[float] | None = None,
    inputs_per_stack: int = 5,
    seed: int = 0,
    allow_extrapolation: bool = False,
    microscope: Microscope | None = None,
    ensemble: bool = False,
    memory_gb: float = 4.0,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Refocus planes of focus stacks to other planes of them, and compare with what was measured.

    From each stack some input planes are drawn, one at random from each of
    ``inputs_per_stack`` equal parts of its depth. Each is refocused as a single image by
    every signed distance at which the stack has a plane (to half a step; the exact
    distance of that plane is what the model is given). Output, input and measured plane
    are compared in counts, scaled so that the measured plane runs from zero to one.

    Parameters
    ----------
    model : Model
        The model to evaluate.
    stacks : iterable of DataArray
        Focus stacks (Z, Y, X) with positions in µm.
    truths : iterable of DataArray, optional
        For each stack the one to compare with, such as the noise-free image of a simulated
        stack, or a confocal scan of the same planes and field for a model whose output is
        confocal; the stack itself where not given.
    distances_um : sequence of float, optional
        Signed distances; eleven over the range the model was trained for, where not given.
    inputs_per_stack : int
        Number of input planes per stack; fewer for a stack of fewer planes.
    seed : int
        Of the draw of input planes.
    allow_extrapolation : bool
        Whether distances outside the model's training range are let through.
    microscope : Microscope, optional
        As in `refocus`.
    ensemble : bool
        As in `refocus`.
    memory_gb : float
        As in `refocus`.
    device : str
        As in `refocus`.
    progress : callable, optional
        Called with the number of stacks done, and of all (zero when ``stacks`` has no length).

    Raises
    ------
    FluoFocusError
        If a stack cannot be used, or none reaches any of the distances, or the model's
        output is of another modality and there is nothing to compare it with.
    """
    if truths is None and model.card.training.target_modality != "widefield":
        raise FluoFocusError(
            f"{model.card.name} makes {model.card.training.target_modality} images: give such "
            "stacks of the same planes and fields to compare with (--target)."
        )
    distances = _checked_distances(model, distances_um, allow_extrapolation)
    rng = np.random.default_rng(seed)
    pairs = [PairScores() for _ in distances]
    covered = None if model.card.error is None else CoverageCount(model.card.error)
    total = operator.length_hint(stacks, 0)
    with_truth = (
        ((stack, stack) for stack in stacks) if truths is None else zip(stacks, truths, strict=True)
    )
    for done, (stack, truth) in enumerate(with_truth, start=1):
        planes = _drawn_planes(stack.sizes.get("Z", 1), inputs_per_stack, rng)
        try:
            refocused = partial(
                _refocused,
                model,
                microscope=microscope,
                ensemble=ensemble,
                memory_gb=memory_gb,
                device=device,
            )
            _score_stack(refocused, stack, truth, planes, distances, pairs, covered)
        except FluoFocusError as error:
            raise FluoFocusError(f"{stack.name or f'stack {done}'}: {error}") from error
        if progress is not None:
            progress(done, total)

    scores = [pair.summary(distance) for pair, distance in zip(pairs, distances, strict=True)]
    if not any(score.n for score in scores):
        raise FluoFocusError(
            f"No stack has two planes {_listed(distances)} µm apart; "
            "give thicker stacks or smaller distances."
        )
    return Evaluation(model.card.name, tuple(scores), None if covered is None else covered.result())


def _checked_distances(
    model: Model, distances_um: Sequence[float] | None, allow_extrapolation: bool
) -> list[float]:
    lowest, highest = model.card.training.defocus_um
    if distances_um is None:
        return [float(distance) for distance in np.linspace(lowest, highest, DEFAULT_DISTANCES)]
    distances = sorted({float(distance) for distance in distances_um})
    if not distances or not all(map(math.isfinite, distances)):
        raise FluoFocusError(
            "The distances to evaluate must be finite numbers of µm, and at least one."
        )
    extrapolation_um(
        np.asarray(distances, np.float32),
        (lowest, highest),
        allow=allow_extrapolation,
        model_name=model.card.name,
    )
    return distances


def _score_stack(
    refocused: Callable[..., dict[int, Output]],
    stack: xr.DataArray,
    truth: xr.DataArray,
    planes: list[int],
    distances: list[float],
    pairs: list[PairScores],
    covered: CoverageCount | None,
) -> None:
    """Refocus these planes of a stack, add to the pairs of each distance and to the coverage."""
    z_um = _plane_positions(stack)
    if truth.shape != stack.shape:
        raise FluoFocusError(
            f"A true stack of shape {truth.shape} belongs to a stack of shape {stack.shape}; "
            "give stacks of the same planes and fields."
        )
    for plane in planes:
        targets = _target_planes(z_um, plane, distances)
        outputs = refocused(stack, plane, z_um, targets)
        for index, target in targets.items():
            output, error = outputs[target]
            true_plane = _counts(truth, target)
            pairs[index].add(output, _counts(stack, plane), true_plane)
            if covered is not None and error is not None:
                covered.add(output, error, true_plane)


def _plane_positions(stack: xr.DataArray) -> Positions:
    """Return the position of each plane in µm, (Z,)."""
    if stack.dims != ("Z", "Y", "X"):
        raise FluoFocusError(
            f"Models are evaluated on focus stacks (Z, Y, X), this one has axes "
            f"{', '.join(map(str, stack.dims))}: give several planes of one time and one channel."
        )
    step_um, _, _ = voxel_size_um(stack)
    if "Z" in stack.coords:
        return np.asarray(stack.coords["Z"].values, dtype=float)
    return step_um * np.arange(stack.sizes["Z"], dtype=float)


def _drawn_planes(count: int, inputs: int, rng: np.random.Generator) -> list[int]:
    parts = np.array_split(np.arange(count), min(inputs, count))
    return [int(rng.choice(part)) for part in parts]


def _target_planes(z_um: Positions, plane: int, distances: list[float]) -> dict[int, int]:
    """Return, per index of a distance, the plane that far away, as far as there is one."""
    reach_um = np.median(np.abs(np.diff(z_um))) / 2 if len(z_um) > 1 else 0.0
    targets = {}
    for index, distance in enumerate(distances):
        error_um = np.abs(z_um - z_um[plane] - distance)
        if error_um.min() <= reach_um * (1 + 1e-6):
            targets[index] = int(error_um.argmin())
    return targets


def _refocused(
    model: Model,
    stack: xr.DataArray,
    plane: int,
    z_um: Positions,
    targets: dict[int, int],
    *,
    microscope: Microscope | None,
    ensemble: bool,
    memory_gb: float,
    device: str,
) -> dict[int, Output]:
    """Refocus one plane to others; returns counts (Y, X), and expected errors, by plane number."""
    planes = sorted(set(targets.values()), key=lambda target: z_um[target])
    if not planes:
        return {}
    virtual = refocus(
        stack,
        model,
        plane=plane,
        z_um=[float(z_um[target] - z_um[plane]) for target in planes],
        allow_extrapolation=True,  # a plane may be half a step beyond the distance checked
        microscope=microscope,
        uncertainty=model.card.error is not None,
        ensemble=ensemble,
        memory_gb=memory_gb,
        device=device,
    )
    if model.card.error is None:
        return {target: (virtual.values[index], None) for index, target in enumerate(planes)}
    image, error = virtual.values
    return {target: (image[index], error[index]) for index, target in enumerate(planes)}


def _counts(stack: xr.DataArray, plane: int) -> FloatArray:
    return np.asarray(stack.isel(Z=plane).values, dtype=np.float32)


def _listed(distances: list[float]) -> str:
    return ", ".join(f"{distance:+g}" for distance in distances)
