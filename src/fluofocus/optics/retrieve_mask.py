"""The phase mask in a pupil, retrieved from the focus scan of one bead.

Phase retrieval by gradient descent on every cell of the pupil (as in Siemons et al., Optics
Express 26, 8397, 2018, for engineered point spread functions), from whichever design of a
double helix, turned and mirrored, comes closest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from fluofocus.errors import FluoFocusError
from fluofocus.optics.aperture import Aperture
from fluofocus.optics.bead_checks import check_bead_imaging, checked_voxel
from fluofocus.optics.bead_model import Misfit
from fluofocus.optics.double_helix import DESIGNS
from fluofocus.optics.mask_file import PupilMask
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import PSF_MODELS, pupil_size, sampled_image
from fluofocus.optics.pupil import PupilGrid, pupil_function, pupil_grid

HALF_RANGE_GUESSES = (0.5, 0.75, 1.0, 1.5)
"""Half ranges of the designs that are tried, in half the depth of the scan."""

TURN_GUESSES = 8
TYPICAL_BEAD_UM = 0.1
MIN_PLANES, MIN_SIDE_PX = 9, 24
SHOWN_CELLS = 256
_LEARNING_RATE = 0.1
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RetrievedMask:
    """A mask, and how well it explains the bead.

    Attributes
    ----------
    mask : PupilMask
    correlation : float
        Pearson correlation of the measured stack and the fitted one.
    fitted : ndarray (Z, Y, X)
        In counts.
    """

    mask: PupilMask
    correlation: float
    fitted: npt.NDArray[np.float32]


def retrieve_mask(
    zyx_intensity: npt.ArrayLike,
    microscope: Microscope,
    *,
    voxel_size_um: tuple[float, float, float],
    bead_diameter_um: float = TYPICAL_BEAD_UM,
    steps: int = 100,
    progress: Progress = lambda done, total: None,
) -> RetrievedMask:
    """Find the phase in the pupil through which a bead was imaged.

    The phase holds the mask and the aberrations of the objective alike. Zero defocus is the
    scan's middle plane.

    Parameters
    ----------
    zyx_intensity
        ``(Z, Y, X)`` counts of one bead, whose light lies within the field in all planes;
        from plane to plane the focus moves away from the objective.
    microscope
        What is known; its mask is not used.

    Raises
    ------
    FluoFocusError
        If the stack is too small, holds values that are not finite, or no light; if the voxel
        or the bead is not possible, or the microscope confocal.
    """
    stack = np.asarray(zyx_intensity, dtype=np.float32)
    _check(stack)
    z_step_um, pixel_um, _ = checked_voxel(voxel_size_um)
    check_bead_imaging(microscope, bead_diameter_um, max(stack.shape[1:]) * pixel_um)
    bare = microscope.model_copy(update={"pupil_mask": None, "pixel_size_um": pixel_um})
    model = _MaskModel(bare, torch.from_numpy(stack), z_step_um, bead_diameter_um)
    misfit = Misfit(torch.from_numpy(stack), float(np.median(stack)))
    phase = model.start(misfit)
    centre = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam(
        [{"params": [phase], "lr": _LEARNING_RATE}, {"params": [centre], "lr": 0.005}]
    )
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        loss = misfit(model.image(phase, centre))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        progress(step + 1, steps)
    with torch.no_grad():
        fitted, _ = misfit.fitted(model.image(phase, centre))
    both = np.corrcoef(stack.ravel(), fitted.numpy().ravel())
    mask = PupilMask(
        _enlarged(phase.detach()), microscope.emission_wavelength_nm, microscope.numerical_aperture
    )
    return RetrievedMask(mask, float(both[0, 1]), fitted.numpy())


class _MaskModel:
    """Images of a bead through a phase ``(n, n)`` over the pupil."""

    def __init__(
        self, microscope: Microscope, counts: Tensor, z_step_um: float, bead_diameter_um: float
    ) -> None:
        self.microscope = microscope
        self.shape_yx = (int(counts.shape[1]), int(counts.shape[2]))
        planes = counts.shape[0]
        self.defocus_um = (torch.arange(planes) - (planes - 1) / 2) * z_step_um
        extent_um = max(self.shape_yx) * microscope.pixel_size_um
        furthest_um = float(self.defocus_um.abs().max())
        self.grid = pupil_grid(microscope, pupil_size(microscope, extent_um, furthest_um))
        pupil = pupil_function(microscope, self.grid)
        self.fields = PSF_MODELS[microscope.psf_model](microscope, self.grid, pupil)
        self.aperture = Aperture(
            pixel_um=microscope.pixel_size_um, ball_diameter_um=torch.tensor(bead_diameter_um)
        )
        self.middle_um = _centroid_um(counts, microscope.pixel_size_um)

    def image(self, phase: Tensor, centre_um: Tensor, planes: slice = slice(None)) -> Tensor:
        """Return the bead's image in some planes, its centre moved by (y, x) µm."""
        return sampled_image(
            self.fields * torch.exp(1j * phase),
            self.grid,
            self.microscope,
            self.defocus_um[planes],
            self.shape_yx,
            spacing_um=self.microscope.pixel_size_um,
            aperture=self.aperture,
            centre_um=(centre_um[0] + self.middle_um[0], centre_um[1] + self.middle_um[1]),
        )

    def start(self, misfit: Misfit) -> Tensor:
        """Return the design that explains a third of the planes best, to be refined."""
        some = slice(None, None, 3)
        few = Misfit(misfit.counts[some], float(misfit.counts.median()))
        best, least = torch.zeros(()), math.inf
        with torch.no_grad():
            for phase in _guesses(self.microscope, self.grid, float(self.defocus_um.max())):
                loss = float(few(self.image(phase, torch.zeros(2), some)))
                if loss < least:
                    best, least = phase, loss
        return best.clone().requires_grad_(True)


def _guesses(microscope: Microscope, grid: PupilGrid, reach_um: float) -> Iterator[Tensor]:
    """Yield designs over several ranges, turned by steps of half a turn, and mirrored."""
    from scipy.ndimage import rotate

    for design in DESIGNS.values():
        for share in HALF_RANGE_GUESSES:
            phasor = torch.exp(1j * design(microscope, grid, share * reach_um)).numpy()
            for turn in range(TURN_GUESSES):
                degrees = 180 * turn / TURN_GUESSES
                parts = [
                    rotate(part, degrees, reshape=False, order=1, mode="nearest")
                    for part in (phasor.real, phasor.imag)
                ]
                phase = torch.from_numpy(np.arctan2(parts[1], parts[0])).to(grid.rho)
                yield phase
                yield phase.flip(0)


def _centroid_um(counts: Tensor, pixel_um: float) -> tuple[float, float]:
    """Return where the light of all planes is centred, relative to the middle pixel."""
    light = (counts - counts.median()).clamp(min=0).sum(dim=0)
    light = (light - 0.1 * light.max()).clamp(min=0)
    y, x = (
        float((light.sum(dim=1 - axis) * torch.arange(size)).sum() / light.sum()) - size // 2
        for axis, size in enumerate(light.shape)
    )
    return y * pixel_um, x * pixel_um


def _enlarged(phase: Tensor) -> npt.NDArray[np.float32]:
    phasor = torch.stack([torch.cos(phase), torch.sin(phase)])[None]
    cosine, sine = F.interpolate(
        phasor, size=(SHOWN_CELLS, SHOWN_CELLS), mode="bilinear", align_corners=False
    )[0]
    return np.asarray(torch.atan2(sine, cosine).numpy(), dtype=np.float32)


def _check(stack: npt.NDArray[np.float32]) -> None:
    if stack.ndim != 3 or stack.shape[0] < MIN_PLANES or min(stack.shape[1:]) < MIN_SIDE_PX:
        raise FluoFocusError(
            f"A mask is retrieved from a focus scan (z, y, x) of {MIN_PLANES} planes or more and "
            f"{MIN_SIDE_PX} pixels on a side or more, not from one of shape {stack.shape}."
        )
    if not np.isfinite(stack).all():
        raise FluoFocusError("The bead stack holds NaN or infinite values; record it again.")
    if not stack.max() > np.median(stack):
        raise FluoFocusError("No bead in the stack: nothing stands out from its background.")
