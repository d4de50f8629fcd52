"""Calibration: from a measured bead to the aberrations of the microscope that imaged it.

Phase retrieval by gradient descent through the point spread function: the pupil of Hanser
et al. (J. Microsc. 216, 32, 2004) in Zernike polynomials, with the camera pixel and the
bead's size and position in the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fluofocus.errors import FluoFocusError
from fluofocus.optics.bead import Bead, find_single_bead
from fluofocus.optics.bead_checks import check_bead_imaging, checked_voxel
from fluofocus.optics.bead_model import BeadModel, Misfit, Window
from fluofocus.optics.microscope import Microscope
from fluofocus.units import nm_to_um

Progress = Callable[[int, int], None]

FIRST_NOLL = 5  # piston, tilts and defocus are brightness and position of the bead
SPHERICAL_NOLL = 11
SPHERICAL_GUESSES_WAVES = (0.05, 0.15, 0.3)
DEFOCUS_GUESSES = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)  # in depths of field
EXPLORING_STEPS = 20
TYPICAL_BEAD_UM = 0.2
BEAD_SIZE_TRUST = 1e-4  # loss of a bead e^(1/2) times larger or smaller than typical
MARGIN_UM = 2.0
MAX_WINDOW_PX = 193


@dataclass(frozen=True)
class Calibration:
    """What a bead tells about a microscope.

    Attributes
    ----------
    microscope : Microscope
        The one given, with Zernike coefficients (Noll 5 and up), amplitude falloff and pixel
        size replaced by those of the bead's stack.
    bead_diameter_um : float
        Diameter of the bead; beads far below the resolution look alike.
    position_um : tuple of float
        Centre of the bead (z, y, x), from the centre of voxel (0, 0, 0).
    background_counts, brightness_counts : float
        Counts beside the bead, and of all light of the bead in one plane.
    correlation : float
        Pearson correlation of measured and fitted stack over every voxel given.
    plane_correlation : ndarray (Z,)
        The same, plane by plane, within the window.
    measured, fitted : ndarray (Z, Y, X)
        The whole stack, in counts.
    window_yx : tuple of slice
        The part around the bead that was fitted; beyond it ``fitted`` is background.
    """

    microscope: Microscope
    bead_diameter_um: float
    position_um: tuple[float, float, float]
    background_counts: float
    brightness_counts: float
    correlation: float
    plane_correlation: npt.NDArray[np.float64]
    measured: npt.NDArray[np.float32]
    fitted: npt.NDArray[np.float32]
    window_yx: tuple[slice, slice]


def calibrate(
    zyx_intensity: npt.ArrayLike,
    microscope: Microscope,
    *,
    voxel_size_um: tuple[float, float, float] | None,
    max_noll: int = 36,
    steps: int = 100,
    bead_diameter_um: float | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Fit the aberrations of a microscope to its image of one bead.

    The pupil's phase is a sum of Zernike polynomials from Noll 5 to ``max_noll``. With it
    are fitted an amplitude falloff, the bead's diameter and position, its brightness, and
    a background that may slope. Descents start from spherical aberration of both signs,
    which a local search cannot always change, and the best one goes on.

    Parameters
    ----------
    zyx_intensity
        ``(Z, Y, X)`` counts; from plane to plane the focus moves away from the objective.
        In a stack recorded the other way round aberrations come out mirrored, and those
        that are even (spherical, astigmatism) with the wrong sign.
    voxel_size_um
        Voxel (z, y, x), in µm.
    steps
        Iterations of the last descent.
    bead_diameter_um
        Diameter where known; otherwise it is fitted, from 0.2 µm. Size, falloff and
        numerical aperture look alike, so give it where it is known.
    progress
        Called with the iterations done and their total.

    Raises
    ------
    FluoFocusError
        If there is no single, whole, unsaturated bead in the stack, or no voxel size.
    """
    voxel = checked_voxel(voxel_size_um)
    stack = np.asarray(zyx_intensity)
    check_bead_imaging(microscope, bead_diameter_um, max(stack.shape) * voxel[1])
    if not SPHERICAL_NOLL <= max_noll <= 120:
        raise FluoFocusError(f"max_noll {max_noll} must lie between {SPHERICAL_NOLL} and 120.")
    airy_px = nm_to_um(microscope.emission_wavelength_nm) / microscope.numerical_aperture / voxel[1]
    bead = find_single_bead(stack, separation_px=2 * airy_px)
    microscope = microscope.model_copy(update={"pixel_size_um": voxel[1]})
    measured = torch.as_tensor(stack.astype(np.float32))
    window = _window_around(bead, measured.shape, microscope, voxel[0])
    counter = _Counter(progress, 2 * EXPLORING_STEPS + steps)
    model = _best_model(measured, bead, microscope, window, max_noll, bead_diameter_um, counter)
    _descend(model, Misfit(measured[window.slices], bead.background), steps, counter)
    return _summary(model, measured, bead, microscope, voxel)


class _Counter:
    """Counts iterations over several descents, each of which may end early."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def step_to(self, done: int) -> None:
        self._done = min(done, self._total)
        if self._progress is not None:
            self._progress(self._done, self._total)

    @property
    def done(self) -> int:
        return self._done


def _best_model(
    measured: Tensor,
    bead: Bead,
    microscope: Microscope,
    window: Window,
    max_noll: int,
    bead_diameter_um: float | None,
    counter: _Counter,
) -> BeadModel:
    """Descend a little from spherical aberration of each sign and return the better model."""
    misfit = Misfit(measured[window.slices], bead.background)
    models = []
    for sign in (-1, 1):
        model = BeadModel(
            microscope,
            window,
            noll_indices=list(range(FIRST_NOLL, max_noll + 1)),
            diameter_um=bead_diameter_um or TYPICAL_BEAD_UM,
            fit_diameter=bead_diameter_um is None,
        )
        _start_from_best_guess(model, misfit, sign, microscope)
        model.free_up_to(SPHERICAL_NOLL)
        models.append((_descend(model, misfit, EXPLORING_STEPS, counter), model))
    best = min(models, key=lambda pair: pair[0])[1]
    best.free_up_to(max_noll)
    return best


def _start_from_best_guess(
    model: BeadModel, misfit: Misfit, sign: int, microscope: Microscope
) -> None:
    """Try spherical aberration of one sign at several positions in z, and take the best."""
    wavelength_um = nm_to_um(microscope.emission_wavelength_nm)
    depth_um = microscope.immersion_index * wavelength_um / microscope.numerical_aperture**2
    guesses = list(product(SPHERICAL_GUESSES_WAVES, DEFOCUS_GUESSES))
    scores = []
    with torch.no_grad():
        for waves, depths in guesses:
            model.place(SPHERICAL_NOLL, sign * waves, depths * depth_um)
            scores.append(float(misfit(model())))
        waves, depths = guesses[int(np.argmin(scores))]
        model.place(SPHERICAL_NOLL, sign * waves, depths * depth_um)


def _descend(model: BeadModel, misfit: Misfit, steps: int, counter: _Counter) -> float:
    """Minimise the misfit by L-BFGS, and return it."""
    optimiser = torch.optim.LBFGS(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        max_iter=steps,
        max_eval=2 * steps,
        history_size=20,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )
    start, losses = counter.done, []

    def closure() -> Tensor:
        optimiser.zero_grad()
        size = (model.log_diameter - math.log(TYPICAL_BEAD_UM)) / 0.5
        loss = misfit(model()) + BEAD_SIZE_TRUST * size**2
        loss.backward()
        losses.append(float(loss.detach()))
        counter.step_to(start + min(len(losses), steps))
        return loss

    optimiser.step(closure)
    counter.step_to(start + steps)
    return min(losses)


def _summary(
    model: BeadModel,
    measured: Tensor,
    bead: Bead,
    microscope: Microscope,
    voxel: tuple[float, float, float],
) -> Calibration:
    window = model.window
    with torch.no_grad():
        image = torch.zeros_like(measured)
        image[window.slices] = model()
        fitted, linear = Misfit(measured, bead.background).fitted(image)
    pairs = zip(measured[window.slices], fitted[window.slices], strict=True)
    shift_z, shift_y, shift_x = model.position_um.tolist()
    z, y, x = bead.centre_px
    update = {
        "is_calibrated": True,
        "zernike_rms_waves": {**microscope.zernike_rms_waves, **model.zernike_rms_waves()},
        "amplitude_falloff": model.amplitude_falloff(),
    }
    return Calibration(
        microscope=Microscope.model_validate({**microscope.model_dump(), **update}),
        bead_diameter_um=math.exp(float(model.log_diameter.detach())),
        position_um=(z * voxel[0] + shift_z, y * voxel[1] + shift_y, x * voxel[2] + shift_x),
        background_counts=float(linear[1]),
        brightness_counts=float(linear[0]),
        correlation=_correlation(measured, fitted),
        plane_correlation=np.array([_correlation(*pair) for pair in pairs]),
        measured=measured.numpy(),
        fitted=fitted.numpy(),
        window_yx=window.slices[1:],
    )


def _correlation(a: Tensor, b: Tensor) -> float:
    pair = torch.stack([a.flatten(), b.flatten()]).double()
    return float(torch.corrcoef(pair)[0, 1])


def _window_around(
    bead: Bead, shape: torch.Size, microscope: Microscope, z_step_um: float
) -> Window:
    """Return the square, cut at the field's edge, that holds the light of the last planes."""
    z, *centre = bead.centre_px
    sine = microscope.numerical_aperture / microscope.immersion_index
    furthest_um = max(z, shape[0] - 1 - z) * z_step_um
    half_um = furthest_um * sine / math.sqrt(1 - sine**2) + MARGIN_UM
    half = min(math.ceil(half_um / microscope.pixel_size_um), MAX_WINDOW_PX // 2)
    rows, columns = (
        slice(max(0, middle - half), min(count, middle + half + 1))
        for middle, count in zip(centre, shape[1:], strict=True)
    )
    planes_um = (torch.arange(shape[0], dtype=torch.float32) - z) * z_step_um
    return Window(planes_um, rows, columns, (centre[0], centre[1]))
