"""Axial drift of a time-lapse, estimated by refocusing and undone by it, frame by frame.

Wu et al., Nature Methods 16 (2019), Supplementary Note 1, bring a drifting sample back into focus
with digital propagation matrices of known drift; here the drift is found too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import known_voxel_size_um
from fluofocus.io.writers import open_writer
from fluofocus.measure.image import pearson
from fluofocus.models.bundle import Model
from fluofocus.refocus.engine import refocus
from fluofocus.units import FloatArray

Array = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]

_STEPS = 40
"""Planes tried over the model's range lie this many to it apart."""

_WINDOW = 4
"""Planes tried to either side of where the last frame was, before more are."""


@dataclass(frozen=True)
class Drift:
    """How each frame is to be refocused to show what the reference frame shows.

    Attributes
    ----------
    distance_um : ndarray (T,)
        From the frame's focal plane to the sample's plane that the reference is focused on;
        positive where that lies further from the objective.
    correlation : ndarray (T,)
        Pearson's, of the frame so refocused with the reference.
    reference : int
        The frame that all are compared with.
    """

    distance_um: Array
    correlation: Array
    reference: int

    def to_csv(self) -> str:
        """Return a table with a row for each frame."""
        lines = ["frame,distance_um,correlation"]
        lines += [
            f"{frame},{distance:.4f},{correlation:.5f}"
            for frame, (distance, correlation) in enumerate(
                zip(self.distance_um, self.correlation, strict=True)
            )
        ]
        return "\n".join(lines) + "\n"


def estimate_drift(
    frames: xr.DataArray,
    model: Model,
    *,
    reference: int = 0,
    pixel_size_um: float | None = None,
    device: str = "auto",
    progress: Progress = lambda done, total: None,
) -> Drift:
    """Find by how much each frame of a time-lapse is out of the reference frame's plane.

    Each frame is refocused to planes around where the one before was, and further on while the
    correlation with the reference rises to the edge of them; a parabola through the best three
    gives the distance to a fraction of a plane. The sample must not move sideways.

    Parameters
    ----------
    frames
        ``(T, Y, X)``, counts.
    reference
        Number of the frame whose plane counts as zero.

    Raises
    ------
    FluoFocusError
        If it is no time-lapse of one channel, there is no such frame, or one cannot be refocused.
    """
    if frames.dims != ("T", "Y", "X"):
        raise FluoFocusError(
            "Drift is estimated in a time-lapse of single images (T, Y, X), this one has axes "
            f"{', '.join(map(str, frames.dims))}: give one channel and one plane of it."
        )
    count = frames.sizes["T"]
    if not 0 <= reference < count:
        raise FluoFocusError(f"There is no frame {reference}: choose 0 to {count - 1}.")
    low, high = model.card.training.defocus_um
    grid = np.linspace(low, high, _STEPS + 1)

    def planes(frame: int, indices: list[int]) -> FloatArray:
        stack = refocus(
            frames.isel(T=frame),
            model,
            z_um=[float(grid[i]) for i in indices],
            pixel_size_um=pixel_size_um,
            device=device,
        )
        return stack.values.reshape(len(indices), *stack.shape[-2:])

    middle = int(np.abs(grid).argmin())
    template = torch.from_numpy(planes(reference, [middle])[0])

    def likeness(frame: int, indices: list[int]) -> list[float]:
        images = torch.from_numpy(planes(frame, indices))
        return [float(value) for value in pearson(images, template.expand_as(images))]

    distance, correlation = np.zeros(count), np.ones(count)
    onwards = [range(reference + 1, count), range(reference - 1, -1, -1)]
    done = 1
    progress(done, count)
    for direction in onwards:
        place = middle
        for frame in direction:
            scores: dict[int, float] = {}
            place = _climb(place, scores, partial(likeness, frame))
            distance[frame], correlation[frame] = _peak(place, scores, grid)
            done += 1
            progress(done, count)
    return Drift(distance, correlation, reference)


def _climb(
    place: int, scores: dict[int, float], likeness: Callable[[list[int]], list[float]]
) -> int:
    """Score planes about a place, and on beyond the edge while the best is there."""
    low, high = place - _WINDOW, place + _WINDOW
    while True:
        new = [i for i in range(max(0, low), min(_STEPS, high) + 1) if i not in scores]
        if not new:
            break
        scores.update(zip(new, likeness(new), strict=True))
        best = max(scores, key=scores.__getitem__)
        if min(scores) < best < max(scores):
            break
        low, high = best - _WINDOW, best + _WINDOW
    return max(scores, key=scores.__getitem__)


def _peak(place: int, scores: dict[int, float], grid: Array) -> tuple[float, float]:
    """Return where a parabola through the best plane and its neighbours peaks, and how high."""
    if place - 1 not in scores or place + 1 not in scores:
        return float(grid[place]), scores[place]
    before, here, after = (scores[place + step] for step in (-1, 0, 1))
    curvature = before - 2 * here + after
    offset = 0.5 * (before - after) / curvature if curvature < 0 else 0.0
    step_um = float(grid[1] - grid[0])
    return float(grid[place]) + offset * step_um, here - 0.25 * (before - after) * offset


def undo_drift(
    frames: xr.DataArray,
    model: Model,
    drift: Drift,
    output: str | Path,
    *,
    pixel_size_um: float | None = None,
    device: str = "auto",
    progress: Progress = lambda done, total: None,
) -> None:
    """Refocus each frame by its own distance into an OME-TIFF or OME-Zarr, resumable.

    Raises
    ------
    FluoFocusError
        If a frame cannot be refocused or the file not be written.
    """
    low, high = model.card.training.defocus_um
    first = refocus(
        frames.isel(T=0),
        model,
        z_um=[0.0],
        pixel_size_um=pixel_size_um,
        device=device,
    )
    provenance = {
        **first.attrs["provenance"],
        "drift": {
            "reference_frame": drift.reference,
            "distance_um": [round(float(d), 4) for d in drift.distance_um],
        },
    }
    with open_writer(
        output,
        shape=tuple(frames.shape),
        dims="TYX",
        dtype=np.float32,
        voxel_size_um=known_voxel_size_um(first),
        provenance=provenance,
        resume=True,
    ) as writer:
        for frame, distance in enumerate(drift.distance_um):
            if not writer.is_done((frame,)):
                image = refocus(
                    frames.isel(T=frame),
                    model,
                    z_um=[float(np.clip(distance, low, high))],
                    pixel_size_um=pixel_size_um,
                    device=device,
                )
                writer.write_plane((frame,), image.values.reshape(image.shape[-2:]))
            progress(frame + 1, len(drift.distance_um))
