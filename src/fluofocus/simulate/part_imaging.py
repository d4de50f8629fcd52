"""Images of one specimen again and again, while its parts change in brightness and it moves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import Microscope
from fluofocus.simulate.image_formation import ImageFormation
from fluofocus.simulate.specimen import Specimen

_LEAST_TRANSFER = 1e-6
"""Of the most: frequencies that are passed less are left out."""

_HELD_ELEMENTS = 48_000_000
"""Complex numbers held at once by the spectra of all parts."""


class PartImaging(ImageFormation):
    """Images of a specimen's parts, to be added up with any brightness of each.

    Image formation is linear, so each part is imaged once, and only at frequencies that the
    objective passes.

    Parameters
    ----------
    specimen
        A volume.
    part : Tensor of int, the shape of the volume
        Which part each voxel belongs to, from 0; those of dark voxels do not matter.
    planes_um : Tensor (P,)
        All focal planes that will be asked for.

    Raises
    ------
    FluoFocusError
        If the specimen holds no light.
    """

    def __init__(
        self, microscope: Microscope, specimen: Specimen, part: Tensor, planes_um: Tensor
    ) -> None:
        super().__init__(microscope, specimen.grid, planes_um)
        volume = specimen.volume
        if volume is None or not (volume > 0).any():
            raise FluoFocusError("The specimen is empty: raise the number or size of its objects.")
        self._boxes = _boxes(volume, part)
        power = self._otf.abs().amax(dim=0)
        self._passed = torch.nonzero(power > _LEAST_TRANSFER * power.max())
        height, width = self.grid.fine_shape_yx
        self._waves_y = _waves(height, height).to(volume.device)
        self._waves_x = _waves(width, width // 2 + 1).to(volume.device)

    def planes_at_once(self) -> int:
        """Return how many focal planes to give to `spectra` at once, to bound its memory."""
        return max(1, _HELD_ELEMENTS // (len(self._boxes) * len(self._passed)))

    def spectra(self, planes: Tensor) -> Tensor:
        """Return the spectra of the images of all parts, ``(planes, N, frequencies passed)``.

        Parameters
        ----------
        planes : Tensor of int
            Indices into the focal planes.
        """
        transfers = self._otf[:, self._passed[:, 0], self._passed[:, 1]]
        shape = (len(planes), len(self._boxes), len(self._passed))
        images = torch.zeros(shape, dtype=transfers.dtype, device=transfers.device)
        for part, (first, light) in enumerate(self._boxes):
            emitted = self._emitted(first, light)
            rows = self._row[planes, first[0] : first[0] + len(light)]
            for index, row in enumerate(rows):
                torch.sum(transfers[row] * emitted, dim=0, out=images[index, part])
        return images

    def images(self, spectra: Tensor, shift_um: Tensor) -> Tensor:
        """Return mean photons per camera pixel, ``(B, Y, X)``, of the specimen where it moved to.

        Parameters
        ----------
        spectra : Tensor (B, frequencies passed)
            Of the specimen at rest.
        shift_um : Tensor (B, 2)
            Along y and x.
        """
        height, width = self.grid.fine_shape_yx
        step = self.grid.oversampling
        fy = torch.fft.fftfreq(height, self.grid.spacing_um).to(shift_um)
        fx = torch.fft.rfftfreq(width, self.grid.spacing_um).to(shift_um)
        moved_y = torch.exp(-2j * math.pi * shift_um[:, :1] * fy).to(spectra)
        moved_x = torch.exp(-2j * math.pi * shift_um[:, 1:] * fx).to(spectra)
        full = spectra.new_zeros((len(spectra), height, width // 2 + 1))
        full[:, self._passed[:, 0], self._passed[:, 1]] = spectra
        full *= moved_y[:, :, None]
        full *= moved_x[:, None]
        # Of every step-th row alone, frequencies that look the same add up.
        folded = full.view(len(full), step, height // step, width // 2 + 1).mean(dim=1)
        fine = torch.fft.irfft2(folded, s=(height // step, width))
        images: Tensor = fine[..., ::step].clamp(min=0)
        return images

    def _emitted(self, first: tuple[int, int, int], light: Tensor) -> Tensor:
        """Return the spectra of a box's slabs, ``(slabs, frequencies passed)``."""
        _, top, left = first
        along_x = light.to(self._waves_x) @ self._waves_x[left : left + light.shape[2]]
        spectra = self._waves_y[top : top + light.shape[1]].T @ along_x
        return spectra[:, self._passed[:, 0], self._passed[:, 1]]


def _boxes(volume: Tensor, part: Tensor) -> list[tuple[tuple[int, int, int], Tensor]]:
    """Cut out each part: where its box begins (slab, y, x), and its light in it."""
    boxes = []
    where = torch.nonzero(volume)
    belongs = part[tuple(where.T)]
    for index in range(int(belongs.max()) + 1):
        own = where[belongs == index]
        if not len(own):
            boxes.append(((0, 0, 0), volume.new_zeros((1, 1, 1))))
            continue
        first, last = own.amin(dim=0), own.amax(dim=0)
        light = volume.new_zeros((last - first + 1).tolist())
        light[tuple((own - first).T)] = volume[tuple(own.T)]
        boxes.append(((int(first[0]), int(first[1]), int(first[2])), light))
    return boxes


def _waves(count: int, frequencies: int) -> Tensor:
    """Return the waves of a Fourier transform, ``(count, frequencies)``."""
    turns = torch.arange(count)[:, None] * torch.arange(frequencies) % count
    return torch.exp(-2j * math.pi * turns.double() / count).to(torch.complex64)
