"""What needs no training: Richardson-Lucy in 3D, with the true kernel of the slice's middle."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from scipy import fft

from fluofocus.optics.microscope import Microscope
from fluofocus.reproduce.richardson_lucy import deconvolved
from fluofocus.simulate.specimen import Specimen, SpecimenGrid
from fluofocus.simulate.tissue import Tissue
from fluofocus.simulate.tissue_imaging import TissueImaging
from fluofocus.units import AnyArray, FloatArray

_LEAST = 1e-6


class Deconvolution:
    """Richardson-Lucy with what a point in the middle of the tissue looks like.

    The image is periodic along y and x, as a simulated field is. Along z it is not: light is
    looked for in the recorded planes only, and what it does beyond them was not recorded. All
    depths are taken to look like the middle, aberration and scattering included.

    Parameters
    ----------
    microscope
        Wide-field.
    shape
        Planes, rows and columns.
    z_step_um
        Distance of the planes.
    """

    def __init__(
        self, microscope: Microscope, tissue: Tissue, shape: tuple[int, int, int], z_step_um: float
    ) -> None:
        self.microscope, self.tissue = microscope, tissue
        self.shape, self.z_step_um = shape, z_step_um
        self._padded = (fft.next_fast_len(2 * shape[0] - 1, real=True), *shape[1:])

    @cached_property
    def kernel(self) -> FloatArray:
        """Image of a point, ``(2 Z - 1, Y, X)``, its middle plane in focus and its sum one."""
        reach = self.shape[0] - 1
        grid = SpecimenGrid(self.shape[1:], self.microscope.pixel_size_um, (0.0,), oversampling=1)
        planes_um = torch.arange(-reach, reach + 1) * self.z_step_um
        volume = torch.zeros(1, *self.shape[1:])
        volume[0, 0, 0] = 1
        images = TissueImaging(self.microscope, grid, planes_um, self.tissue, depth_dependent=False)
        seen = images(Specimen(grid, volume=volume, tissue=self.tissue))
        return np.asarray((seen / seen.sum()).numpy())

    @cached_property
    def _transfer(self) -> AnyArray:
        around = np.zeros(self._padded, np.float32)
        around[: len(self.kernel)] = self.kernel
        return np.asarray(fft.rfftn(np.roll(around, 1 - self.shape[0], axis=0)))

    @cached_property
    def _recorded_share(self) -> FloatArray:
        """Share of each voxel's light that the recorded planes get."""
        return self._filtered(np.ones(self.shape, np.float32), backwards=True)

    def __call__(self, photons: FloatArray, *, background: float, iterations: int) -> FloatArray:
        """Deconvolve a stack ``(Z, Y, X)`` over a known even background, which it includes."""
        share = np.maximum(self._recorded_share, _LEAST)
        return deconvolved(
            photons,
            self._filtered,
            lambda ratio: self._filtered(ratio, backwards=True) / share,
            background=background,
            iterations=iterations,
        )

    def _filtered(self, stack: AnyArray, *, backwards: bool = False) -> FloatArray:
        """Convolve with the kernel, or correlate with it."""
        transfer = self._transfer.conj() if backwards else self._transfer
        spectrum = fft.rfftn(stack, s=self._padded) * transfer
        return np.asarray(fft.irfftn(spectrum, s=self._padded)[: self.shape[0]])
