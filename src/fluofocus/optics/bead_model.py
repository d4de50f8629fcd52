"""The image of one bead as a function of what a calibration fits, and how well it fits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fluofocus.optics.aperture import Aperture
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import PSF_MODELS, pupil_size, sampled_image
from fluofocus.optics.pupil import pupil_function, pupil_grid
from fluofocus.optics.zernike import zernike_basis

FAINT_SHARE = 0.01  # of the peak: counts below it weigh alike


@dataclass(frozen=True)
class Window:
    """The part of a stack that is modelled.

    ``planes_um`` are focus positions relative to the bead's first guess, ``rows`` and
    ``columns`` a part of the field, ``bead_yx`` the pixel of the first guess.
    """

    planes_um: Tensor
    rows: slice
    columns: slice
    bead_yx: tuple[int, int]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of the window in its stack."""
        return slice(None), self.rows, self.columns

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Pixels along y and x."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


class BeadModel(nn.Module):
    """Image of a bead of unit brightness, ``(Z, Ny, Nx)``, through a pupil to be found.

    Parameters are the Zernike coefficients (rms waves), amplitude falloff, the bead's
    position (z, y, x) relative to the first guess in µm, and the logarithm of its diameter
    in µm. Zernike terms of the microscope that are not fitted stay as they are.
    """

    def __init__(
        self,
        microscope: Microscope,
        window: Window,
        *,
        noll_indices: list[int],
        diameter_um: float,
        fit_diameter: bool,
    ) -> None:
        super().__init__()
        self.window = window
        self.noll_indices = noll_indices
        given = microscope.zernike_rms_waves
        kept = {noll: waves for noll, waves in given.items() if noll not in noll_indices}
        self._microscope = microscope.model_copy(
            update={"zernike_rms_waves": kept, "amplitude_falloff": 0.0}
        )
        self._last_free = noll_indices[-1]
        self.waves = nn.Parameter(torch.tensor([given.get(noll, 0.0) for noll in noll_indices]))
        # squared, so that light never gains towards the rim
        self.falloff_root = nn.Parameter(torch.tensor(0.3))
        self.position_um = nn.Parameter(torch.zeros(3))
        self.log_diameter = nn.Parameter(torch.tensor(math.log(diameter_um)), fit_diameter)
        self._lay_pupil()

    def _lay_pupil(self) -> None:
        microscope, window = self._microscope, self.window
        extent_um = max(window.shape_yx) * microscope.pixel_size_um
        furthest_um = float(window.planes_um.abs().max())
        self._grid = pupil_grid(microscope, pupil_size(microscope, extent_um, furthest_um))
        pupil = pupil_function(microscope, self._grid)
        self._fields = PSF_MODELS[microscope.psf_model](microscope, self._grid, pupil)
        self._basis = zernike_basis(self.noll_indices, self._grid.rho, self._grid.phi)

    def forward(self) -> Tensor:
        """Return the bead's image in the window."""
        free = torch.tensor([noll <= self._last_free for noll in self.noll_indices])
        waves = torch.where(free, self.waves, self.waves.detach())
        phase = 2 * math.pi * torch.einsum("j,jyx->yx", waves, self._basis)
        amplitude = torch.exp(-(self.falloff_root**2) * self._grid.rho**2)
        pixel_um = self._microscope.pixel_size_um
        window = self.window
        middles = (
            part.start + points // 2
            for part, points in zip((window.rows, window.columns), window.shape_yx, strict=True)
        )
        offset_y, offset_x = (
            (bead - middle) * pixel_um for bead, middle in zip(window.bead_yx, middles, strict=True)
        )
        z, y, x = self.position_um
        return sampled_image(
            self._fields * torch.polar(amplitude, phase),
            self._grid,
            self._microscope,
            window.planes_um - z,
            window.shape_yx,
            spacing_um=pixel_um,
            aperture=Aperture(pixel_um=pixel_um, ball_diameter_um=self.log_diameter.exp()),
            centre_um=(y + offset_y, x + offset_x),
        )

    def free_up_to(self, noll: int) -> None:
        """Let gradients reach the Zernike coefficients up to this index only."""
        self._last_free = noll

    def place(self, noll: int, waves: float, z_um: float) -> None:
        """Set one Zernike coefficient and the bead's position along z."""
        with torch.no_grad():
            self.waves[self.noll_indices.index(noll)] = waves
            self.position_um[0] = z_um

    def zernike_rms_waves(self) -> dict[int, float]:
        """Return the fitted coefficients by Noll index."""
        return dict(zip(self.noll_indices, self.waves.tolist(), strict=True))

    def amplitude_falloff(self) -> float:
        """Return the fitted falloff of the amplitude, as in ``Microscope``."""
        return min(float(self.falloff_root.detach()) ** 2, 4.0)


class Misfit:
    """Weighted mean square difference of a stack and a bead's image, as a share of the bead.

    Brightness and background (with a slope along y and x) enter linearly and are solved for.
    Weights fall with the square root of the counts: halfway between least squares, which sees
    little but the focus, and Poisson weights, which trust the model in the faintest rings.
    """

    def __init__(self, counts: Tensor, background: float) -> None:
        signal = (counts - background).clamp(min=0)
        self.counts = counts
        self.weight = (signal + FAINT_SHARE * signal.max()) ** -0.5
        self.power = (self.weight * (counts - background) ** 2).sum()
        rows, columns = (torch.linspace(-1, 1, count) for count in counts.shape[1:])
        slopes = torch.meshgrid(rows, columns, indexing="ij")
        self.ground = [torch.ones(()), *slopes]

    def fitted(self, bead_image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fitted counts, and brightness, background and its two slopes."""
        with torch.no_grad():
            terms = [bead_image, *(part.expand_as(bead_image) for part in self.ground)]
            columns = torch.stack([(term * self.weight.sqrt()).flatten() for term in terms])
            target = (self.counts * self.weight.sqrt()).flatten()
            columns, target = columns.double(), target.double()
            linear = torch.linalg.solve(columns @ columns.T, columns @ target).float()
        brightness, *ground = linear
        flat = sum(value * part for value, part in zip(ground, self.ground, strict=True))
        return brightness * bead_image + flat, linear

    def __call__(self, bead_image: Tensor) -> Tensor:
        """Return the misfit; gradients pass through the bead's image."""
        counts, _ = self.fitted(bead_image)
        return (self.weight * (counts - self.counts) ** 2).sum() / self.power
