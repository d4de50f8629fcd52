"""Simulated neuron activity: a worm in two channels over time, with all that is known about it.

As in the activity recordings of Deep-Z (Wu et al., Nature Methods 2019, Methods,
"Tracking and quantification of C. elegans neuron activity"): red marks the nuclei and
stays the same, green follows the calcium.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.optics.microscope import Camera, Microscope
from fluofocus.simulate.calcium import CalciumTraces
from fluofocus.simulate.camera import record
from fluofocus.simulate.part_imaging import PartImaging
from fluofocus.simulate.stack import Positions
from fluofocus.simulate.worm_parts import nearest_neuron, worm_of

Array = npt.NDArray[np.float64]

RED, GREEN = 0, 1
"""Channels of a simulated time-lapse: structure, activity."""

AXIAL_STEP_UM = 0.25
"""Axial motion comes in whole multiples of this, so that few different defoci occur."""

_IMAGES_AT_ONCE = 16


@dataclass(frozen=True)
class WormMotion:
    """How a whole worm moves: a steady drift in a random direction, and jitter.

    Attributes
    ----------
    drift_um, axial_drift_um : float
        From the first frame to the last; in the middle of the recording it is zero.
    jitter_um, axial_jitter_um : float
        Standard deviation along each axis, of each frame by itself.
    """

    drift_um: float = 2.0
    jitter_um: float = 0.15
    axial_drift_um: float = 0.0
    axial_jitter_um: float = 0.0

    def draw(self, frames: int, rng: np.random.Generator) -> Array:
        """Draw the motion of each frame, ``(T, 3)``, z, y, x in µm."""
        angle = rng.uniform(0, 2 * math.pi)
        drift = [
            self.axial_drift_um * rng.choice([-1, 1]),
            self.drift_um * math.sin(angle),
            self.drift_um * math.cos(angle),
        ]
        jitter = rng.standard_normal((frames, 3))
        jitter *= [self.axial_jitter_um, self.jitter_um, self.jitter_um]
        course = np.linspace(-0.5, 0.5, frames) if frames > 1 else np.zeros(1)
        motion: Array = course[:, None] * drift + jitter
        motion[:, 0] = np.round(motion[:, 0] / AXIAL_STEP_UM) * AXIAL_STEP_UM
        return motion


@dataclass(frozen=True)
class ActivityTimeLapse:
    """A simulated recording of neuron activity and everything known about it.

    Attributes
    ----------
    counts : ndarray of uint16 (T, 2, Z, Y, X)
        What the camera recorded, channels `RED` and `GREEN`.
    planes_um : tuple of float
        Focal planes; zero is the middle of the worm.
    pixel_size_um : float
    positions_um : ndarray (N, 3)
        Centres of the neurons (z, y, x), without motion; zero is plane zero and the centre
        of the first pixel.
    diameters_um : ndarray (N,)
    traces : CalciumTraces
    motion_um : ndarray (T, 3)
        How far the worm lies from ``positions_um`` in each frame (z, y, x).
    best_focus_um : float
        Defocus, plane minus neuron, at which a neuron looks sharpest.
    """

    counts: npt.NDArray[np.uint16]
    planes_um: tuple[float, ...]
    pixel_size_um: float
    positions_um: Array
    diameters_um: Array
    traces: CalciumTraces
    motion_um: Array
    best_focus_um: float

    def true_labels(self, frame: int, *, scale: float = 1.0) -> npt.NDArray[np.int32]:
        """Return which neuron each voxel of one frame belongs to, ``(Z, Y, X)``, 0 for none.

        Neuron ``i`` has the label ``i + 1``; it is a ball of its diameter times ``scale``,
        where it looks sharpest. Where balls overlap, the nearer centre has the voxel.
        """
        height, width = self.counts.shape[-2:]
        centres = self.positions_um + self.motion_um[frame]
        centres[:, 0] += self.best_focus_um
        axes = (
            np.array(self.planes_um),
            np.arange(height) * self.pixel_size_um,
            np.arange(width) * self.pixel_size_um,
        )
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        radii = scale * self.diameters_um / 2
        distance, nearest = cKDTree(centres).query(
            grid.reshape(-1, 3), distance_upper_bound=radii.max() * (1 + 1e-9)
        )
        inside = distance <= np.append(radii, 0.0)[nearest]  # beyond the last neuron: none
        return np.where(inside, nearest + 1, 0).astype(np.int32).reshape(grid.shape[:-1])


def simulate_activity(
    microscope: Microscope,
    traces: CalciumTraces,
    *,
    seed: int,
    shape_yx: tuple[int, int] = (256, 256),
    planes_um: Positions = (0.0,),
    motion: WormMotion | None = None,
    worm_parameters: Mapping[str, Any] | None = None,
    apart_um: float | None = None,
    red_peak_photons: float = 2000.0,
    green_peak_photons: float = 1000.0,
    background_photons: float = 10.0,
    green_microscope: Microscope | None = None,
) -> ActivityTimeLapse:
    """Simulate a recording of a worm's neurons; the same arguments give the same one.

    All planes and both channels of a frame show the worm at one moment. The field is
    periodic: light that leaves it on one side comes in on the other.

    Parameters
    ----------
    traces
        One for each neuron, such as `draw_traces` returns; they set frames and neurons.
    seed
        Decides worm, motion and noise.
    planes_um
        Focal planes recorded in each frame, from low to high: one, or a full scan.
    motion
        How the worm moves; None for the defaults.
    worm_parameters
        Fields of the phantom `Worm` that differ from its defaults, but for ``neurons``.
    apart_um
        Least distance of two neurons' centres; None for their mean diameter.
    red_peak_photons, green_peak_photons
        Mean photons at the brightest pixel of the planes, of a worm at rest.
    background_photons
        Mean photons of the background at every pixel.
    green_microscope
        What images the green channel, where it differs; its camera and pixels must not.

    Raises
    ------
    FluoFocusError
        If a number is not possible, the worm has no room for so many neurons, or the
        microscopes have different pixels.
    """
    planes = _checked_planes(planes_um)
    _check_numbers(shape_yx, seed, red_peak_photons, green_peak_photons, background_photons)
    green_microscope = green_microscope or microscope
    if green_microscope.pixel_size_um != microscope.pixel_size_um:
        raise FluoFocusError("Both channels are recorded by one camera: give them one pixel size.")
    neurons, frames = traces.brightness.shape
    specimen = worm_of(
        neurons,
        microscope,
        shape_yx,
        planes,
        seed=seed,
        parameters=worm_parameters or {},
        apart_um=apart_um,
    )
    neuron = nearest_neuron(specimen)
    motion_um = (motion or WormMotion()).draw(frames, np.random.default_rng(seed))
    gains = torch.as_tensor(traces.brightness.T, dtype=torch.float32)
    counts = np.empty((frames, 2, len(planes), *shape_yx), dtype=np.uint16)
    best_focus_um = 0.0
    for channel, optics, part, brightness, peak in (
        (GREEN, green_microscope, neuron, gains, green_peak_photons),
        (RED, microscope, torch.zeros_like(neuron), gains.new_ones(frames, 1), red_peak_photons),
    ):
        focal_um, focus = _focal_planes(planes, motion_um)
        imaging = PartImaging(optics, specimen, part, torch.tensor(focal_um))
        at_rest = imaging(specimen, np.flatnonzero(np.isin(focal_um, planes)).tolist())
        scale = peak / float(at_rest.max())
        generator = torch.Generator().manual_seed(_seed_of(seed, channel))
        for frame, plane, images in _filmed(imaging, brightness, focus, motion_um):
            photons = images * scale + background_photons
            counts[frame, channel, plane] = record(photons, microscope.camera, generator).numpy()
        best_focus_um = imaging.best_focus_um  # of red, which comes last
    _warn_if_saturated(counts, microscope.camera)
    return ActivityTimeLapse(
        counts=counts,
        planes_um=planes,
        pixel_size_um=microscope.pixel_size_um,
        positions_um=np.array([[n["z_um"], n["y_um"], n["x_um"]] for n in specimen.truth]),
        diameters_um=np.array([n["diameter_um"] for n in specimen.truth]),
        traces=traces,
        motion_um=motion_um,
        best_focus_um=best_focus_um,
    )


def _focal_planes(
    planes_um: tuple[float, ...], motion_um: Array
) -> tuple[Array, npt.NDArray[np.intp]]:
    """Return the planes in which a worm that stays shows what one that moves shows in others.

    A worm that moved up by some distance looks as from a plane that moved down by it. Returns
    those planes ``(P,)``, and which of them shows each plane of each frame ``(T, Z)``; the
    planes themselves are among them.
    """
    wanted = np.array(planes_um) - np.append(motion_um[:, 0], 0.0)[:, None]
    focal_um, index = np.unique(np.round(wanted, 6), return_inverse=True)
    return focal_um, index.reshape(wanted.shape)[:-1]


def _filmed(
    imaging: PartImaging, brightness: Tensor, focus: npt.NDArray[np.intp], motion_um: Array
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Tensor]]:
    """Yield the images of one channel: their frames ``(B,)``, planes ``(B,)``, and light.

    Parameters
    ----------
    brightness : Tensor (T, N)
    focus : ndarray of int (T, Z)
        Which plane of the imaging shows each plane of each frame.
    """
    shift_um = torch.as_tensor(motion_um[:, 1:], dtype=torch.float32)
    for some in torch.split(torch.as_tensor(np.unique(focus)), imaging.planes_at_once()):
        for index, spectra in zip(some.tolist(), imaging.spectra(some), strict=True):
            parts = torch.view_as_real(spectra).flatten(1)
            frames, planes = np.nonzero(focus == index)
            for first in range(0, len(frames), _IMAGES_AT_ONCE):
                at, on = (each[first : first + _IMAGES_AT_ONCE] for each in (frames, planes))
                mixed = (brightness[at] @ parts).view(len(at), -1, 2)
                yield at, on, imaging.images(torch.view_as_complex(mixed), shift_um[at])


def _seed_of(*seeds: int) -> int:
    return int(np.random.SeedSequence(seeds).generate_state(1)[0])


def _checked_planes(planes_um: Positions) -> tuple[float, ...]:
    planes = tuple(float(plane) for plane in planes_um)
    if not planes or not np.isfinite(planes).all() or (np.diff(planes) <= 0).any():
        raise FluoFocusError("The focal planes must be finite numbers of µm, from low to high.")
    return planes


def _check_numbers(
    shape_yx: tuple[int, int], seed: int, red: float, green: float, background: float
) -> None:
    if min(shape_yx) < 1 or seed < 0:
        raise FluoFocusError(
            f"A field of {shape_yx[0]} x {shape_yx[1]} pixels and seed {seed} are not possible: "
            "give at least one pixel and a seed from zero."
        )
    if not (np.isfinite([red, green, background]).all() and min(red, green) > 0 <= background):
        raise FluoFocusError(
            f"Photons of {red:g} (red), {green:g} (green) and {background:g} (background) are "
            "not possible: the peaks must be above zero, the background not below."
        )


def _warn_if_saturated(counts: npt.NDArray[np.uint16], camera: Camera) -> None:
    saturated = int((counts >= 2**camera.bit_depth - 1).sum())
    if saturated:
        warnings.warn(
            f"{saturated} pixels are saturated: lower the peak photons or the camera's gain.",
            FluoFocusWarning,
            stacklevel=3,
        )
