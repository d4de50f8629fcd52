"""Axial drift of a time-lapse, estimated by refocusing and undone by it, frame by frame.

Wu et al., Nature Methods 16 (2019), Supplementary Note 1, bring a drifting sample back into focus
with digital propagation matrices of known drift; here the drift is found too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.io.sinks import require_other_file
from fluofocus.io.stack import known_times_s, known_voxel_size_um, origin_um
from fluofocus.io.writers import check_destination, open_writer
from fluofocus.models.bundle import Model
from fluofocus.optics.microscope import Microscope
from fluofocus.refocus.engine import refocus
from fluofocus.units import FloatArray

Array = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]

_STEPS = 20
"""Planes of the virtual stacks lie this many to the model's range apart."""

_LEAST_COMMON_PLANES = 4


@dataclass(frozen=True)
class Drift:
    """How each frame is to be refocused to show what the reference frame shows.

    Attributes
    ----------
    distance_um : ndarray (T,)
        From the frame's focal plane to the sample's plane that the reference is focused on;
        positive where that lies further from the objective.
    correlation : ndarray (T,)
        Of the frame's virtual stack, moved by this, with that of the reference.
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
    microscope: Microscope | None = None,
    memory_gb: float = 4.0,
    device: str = "auto",
    progress: Progress = lambda done, total: None,
) -> Drift:
    """Find by how much each frame of a time-lapse is out of the reference frame's plane.

    Each frame becomes a virtual stack, and the shift in z is found at which it is most like the
    reference's, to a fraction of a plane by a parabola. What is the same in all planes of a
    stack is left out, for it tells nothing about z. Pixels are weighted by how sure the model is
    of them, if it has an error output: in dense samples it draws much at wrong depths far from
    the focal plane. Shifts are sought within the model's range, for no others can be undone. The
    sample must not move sideways.

    Parameters
    ----------
    frames
        ``(T, Y, X)``, counts.
    reference
        Number of the frame whose plane counts as zero.
    microscope
        What took the frames; a model that can be told of its measured aberrations, is.
    memory_gb
        As in `refocus`.

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
    grid = np.linspace(*model.card.training.defocus_um, _STEPS + 1)
    step_um = float(grid[1] - grid[0])

    def virtual_stack(frame: int) -> _VirtualStack:
        result = refocus(
            frames.isel(T=frame),
            model,
            z_um=grid.tolist(),
            pixel_size_um=pixel_size_um,
            microscope=microscope,
            memory_gb=memory_gb,
            uncertainty=model.card.error is not None,
            device=device,
        ).values
        return _VirtualStack.of(result.reshape(-1, len(grid), *result.shape[-2:]))

    template = virtual_stack(reference)
    reach = round(grid[0] / step_um), round(grid[-1] / step_um)
    distance, correlation = np.zeros(count), np.ones(count)
    for frame in range(count):
        if frame != reference:
            shift, correlation[frame] = _shift_between(virtual_stack(frame), template, reach)
            distance[frame] = shift * step_um
        progress(frame + 1, count)
    return Drift(distance, correlation, reference)


@dataclass(frozen=True)
class _VirtualStack:
    """Planes ``(Z, Y, X)``, less their mean over z, and how uncertain they are, squared."""

    planes: FloatArray
    variance: FloatArray

    @classmethod
    def of(cls, result: FloatArray) -> _VirtualStack:
        """Take planes ``(1, Z, Y, X)``, or planes and their expected errors ``(2, Z, Y, X)``."""
        planes = result[0] - result[0].mean(axis=0)
        return cls(planes, result[1] ** 2 if len(result) > 1 else np.ones_like(planes))


def _shift_between(
    stack: _VirtualStack, template: _VirtualStack, reach: tuple[int, int]
) -> tuple[float, float]:
    """Return by how many planes ``stack`` is to be moved up to match, and the correlation then."""
    most = len(template.planes) - _LEAST_COMMON_PLANES
    shifts = range(max(-most, reach[0]), min(most, reach[1]) + 1)
    scores = [_likeness(stack, template, shift) for shift in shifts]
    best = int(np.argmax(scores))
    if not 0 < best < len(scores) - 1:
        return float(shifts[best]), scores[best]
    before, here, after = scores[best - 1 : best + 2]
    curvature = before - 2 * here + after
    offset = 0.5 * (before - after) / curvature if curvature < 0 else 0.0
    return shifts[best] + offset, here - 0.25 * (before - after) * offset


def _likeness(stack: _VirtualStack, template: _VirtualStack, shift: int) -> float:
    """Correlate plane ``k + shift`` of a stack with plane ``k`` of a template.

    Every pixel is weighted by the inverse of the sum of both variances.
    """
    products = np.zeros(3)
    for k in range(max(0, -shift), len(template.planes) - max(0, shift)):
        moved, fixed = stack.planes[k + shift], template.planes[k]
        weight = 1 / (stack.variance[k + shift] + template.variance[k])
        pairs = ((moved, fixed), (moved, moved), (fixed, fixed))
        products += [float((weight * one * other).sum()) for one, other in pairs]
    covariance, moved_variance, fixed_variance = products
    norm = math.sqrt(moved_variance * fixed_variance)
    return covariance / norm if norm else 0.0


def undo_drift(
    frames: xr.DataArray,
    model: Model,
    drift: Drift,
    output: str | Path,
    *,
    pixel_size_um: float | None = None,
    microscope: Microscope | None = None,
    memory_gb: float = 4.0,
    device: str = "auto",
    progress: Progress = lambda done, total: None,
) -> None:
    """Refocus each frame by its own distance into an OME-TIFF or OME-Zarr, resumable.

    Raises
    ------
    FluoFocusError
        If a frame cannot be refocused or the file not be written.
    """
    require_other_file(frames, Path(output))
    check_destination(output)
    low, high = model.card.training.defocus_um
    first = refocus(
        frames.isel(T=0),
        model,
        z_um=[0.0],
        pixel_size_um=pixel_size_um,
        microscope=microscope,
        memory_gb=memory_gb,
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
        times_s=known_times_s(frames),
        origin_yx_um=origin_um(first)[1:],
        resume=True,
    ) as writer:
        for frame, distance in enumerate(drift.distance_um):
            if not writer.is_done((frame,)):
                image = refocus(
                    frames.isel(T=frame),
                    model,
                    z_um=[float(np.clip(distance, low, high))],
                    pixel_size_um=pixel_size_um,
                    microscope=microscope,
                    memory_gb=memory_gb,
                    device=device,
                )
                writer.write_plane((frame,), image.values.reshape(image.shape[-2:]))
            progress(frame + 1, len(drift.distance_um))
