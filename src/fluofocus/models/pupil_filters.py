"""What a known pupil tells of an image before any network: filtered, and deconvolved.

Both are made for emitters in a target plane at any distance from the focal plane, every step
along z, and picked or interpolated from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn
from torch.nn import functional as F

from fluofocus.errors import FluoFocusError
from fluofocus.optics.acceleration import AcceleratedSteps
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import PSF_MODELS, intensity_from_pupil, pupil_size
from fluofocus.optics.pupil import aperture_grid, pupil_function, pupil_grid
from fluofocus.units import nm_to_um

FIELDS: Final = {"scalar": 1, "vectorial": 5}
"""In the pupil, by the model of the PSF."""

KEPT_BYTES: Final = 2**28
"""Up to which spectra are kept, of filters and of PSFs each."""
_LEAST: Final = 1e-6
"""Of the brightest pixel: below that nothing is divided by."""


class KnownPupil(nn.Module):
    """Point spread functions at any distance, from the fields in a microscope's pupil."""

    def __init__(self, cells: int, fields: int) -> None:
        super().__init__()
        self.cells = cells
        self.fields: Tensor
        self.register_buffer("fields", torch.zeros(fields, cells, cells, 2))
        self.sampling: Tensor
        """Numerical aperture, wavelength and pixel size in µm, index of the immersion."""
        self.register_buffer("sampling", torch.tensor([1.0, 0.5, 0.1, 1.5]))

    def attune(self, microscope: Microscope, *, range_um: float, radius_px: int) -> None:
        """Take over the pupil of a microscope, for emitters up to ``range_um`` off its focus.

        Raises
        ------
        FluoFocusError
            If the pupil's sampling is too coarse for that, or its model has other fields.
        """
        extent_um = (2 * radius_px + 1) * microscope.pixel_size_um
        cells = pupil_size(microscope, extent_um, range_um)
        if cells > self.cells:
            raise FluoFocusError(
                f"Filters of this reach need at least {cells} cells across the pupil: set "
                f"pupil_cells to {cells} or more."
            )
        if (count := FIELDS[microscope.psf_model]) != len(self.fields):
            raise FluoFocusError(
                f"The {microscope.psf_model} PSF has {count} pupil fields: set pupil_fields to "
                f"{count}."
            )
        grid = pupil_grid(microscope, self.cells)
        fields = PSF_MODELS[microscope.psf_model](
            microscope, grid, pupil_function(microscope, grid)
        )
        self.fields.copy_(torch.view_as_real(fields))
        self.sampling.copy_(
            torch.tensor(
                [
                    microscope.numerical_aperture,
                    nm_to_um(microscope.emission_wavelength_nm),
                    microscope.pixel_size_um,
                    microscope.immersion_index,
                ]
            )
        )

    @torch.no_grad()
    def psf(self, distance_um: float, radius_px: int) -> Tensor:
        """Image an emitter this far above the focal plane, ``(2r + 1, 2r + 1)``."""
        aperture, wavelength_um, pixel_um, index = self.sampling.tolist()
        grid = aperture_grid(aperture, wavelength_um, self.cells, device=self.fields.device)
        side = 2 * radius_px + 1
        return intensity_from_pupil(
            torch.complex(*self.fields.unbind(-1)),
            grid,
            index,
            self.fields.new_tensor([-distance_um]),  # focal plane minus emitter
            (side, side),
            pixel_um,
        )[0].nan_to_num()


class KeptSpectra:
    """Spectra by distance, in steps, and size; the oldest are forgotten."""

    def __init__(self, make: Callable[[int, tuple[int, int]], Tensor]) -> None:
        self._make = make
        self._kept: dict[tuple[int, tuple[int, int], torch.device], Tensor] = {}

    def __call__(self, index: int, shape: tuple[int, int], device: torch.device) -> Tensor:
        """Return a spectrum, made if it is not kept."""
        key = index, shape, device
        if key not in self._kept:
            spectrum = self._make(index, shape)
            size = spectrum.nelement() * spectrum.element_size()
            while self._kept and sum(self.sizes) + size > KEPT_BYTES:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = spectrum
        return self._kept[key]

    def clear(self) -> None:
        """Forget all of them."""
        self._kept.clear()

    @property
    def sizes(self) -> list[int]:
        """Bytes of each that is kept."""
        return [each.nelement() * each.element_size() for each in self._kept.values()]


class PupilFilters:
    """Wiener filters for emitters in the target plane, and above and below it.

    Parameters
    ----------
    step_um
        Filters are made so far apart, and interpolated between.
    offsets_um
        From the target plane.
    noise_shares
        White noise over the highest power of the PSF's spectrum: the larger, the closer to the
        matched filter; the smaller, to the inverse one.
    """

    def __init__(
        self,
        pupil: KnownPupil,
        *,
        radius_px: int,
        step_um: float,
        offsets_um: tuple[float, ...],
        noise_shares: tuple[float, ...],
    ) -> None:
        self.pupil = pupil
        self.radius_px = radius_px
        self.step_um = step_um
        self.offsets_um = offsets_um
        self.noise_shares = noise_shares
        self.spectra = KeptSpectra(self._spectrum)

    @property
    def channels(self) -> int:
        """How many filtered images there are for a target."""
        return len(self.offsets_um) * len(self.noise_shares)

    def __call__(self, images: Tensor, distances_um: Tensor) -> Tensor:
        """Filter ``(B, 1, H, W)`` images for each target, ``(B, T, C, H, W)``.

        Distances are ``(B, T, 1, 1)`` or ``(B, T, H, W)`` µm.
        """
        offsets = distances_um.new_tensor(self.offsets_um)[:, None, None]
        positions = (distances_um[:, :, None].float() + offsets) / self.step_um
        with torch.autocast(images.device.type, enabled=False):
            both = zip(images.float(), positions, strict=True)
            return torch.stack([self._filter(image[0], each) for image, each in both])

    def _filter(self, image: Tensor, positions: Tensor) -> Tensor:
        """Filter ``(H, W)`` for ``(T, O, 1, 1)`` or ``(T, O, H, W)`` positions, in steps."""
        height, width = image.shape
        radius = self.radius_px
        padded = F.pad(image[None], (radius,) * 4, mode="replicate")[0]
        shape = _fast_shape(image, radius)
        spectrum = torch.fft.rfft2(padded, s=shape)
        lowest, highest = math.floor(float(positions.min())), math.ceil(float(positions.max()))
        shares = len(self.noise_shares)
        total = image.new_zeros((*positions.shape[:2], shares, height, width))
        for index in range(lowest, highest + 1):
            share = (1 - (positions - index).abs()).clamp(min=0)
            used = share.amax(dim=(2, 3)) > 0
            if used.any():
                filters = self.spectra(index, shape, image.device)
                filtered = torch.fft.irfft2(spectrum * filters, s=shape)
                filtered = filtered[:, 2 * radius :, 2 * radius :][..., :height, :width]
                total[used] = total[used] + share[used][:, None] * filtered
        return total.flatten(1, 2)

    def _spectrum(self, index: int, shape: tuple[int, int]) -> Tensor:
        """Return the spectra of a distance's filters, whose centres are at their radius."""
        return torch.as_tensor(torch.fft.rfft2(self._kernels(index * self.step_um), s=shape))

    def _kernels(self, distance_um: float) -> Tensor:
        """Return filters ``(shares, 2r + 1, 2r + 1)`` that leave white noise as high as it is."""
        psf = self.pupil.psf(distance_um, self.radius_px)
        side = len(psf)
        transfer = torch.fft.rfft2(psf, s=(2 * side, 2 * side))
        power = transfer.abs().square()
        noise = power.max() * power.new_tensor(self.noise_shares)[:, None, None]
        kernels = torch.fft.irfft2(
            transfer.conj() / (power + noise + 1e-30), s=(2 * side, 2 * side)
        )
        # their centres are that of a PSF mirrored about the first pixel
        kernels = kernels.roll((side - 1, side - 1), dims=(1, 2))[:, :side, :side]
        kernels = kernels - kernels.mean(dim=(1, 2), keepdim=True)  # blind to an even background
        norms = kernels.square().sum(dim=(1, 2), keepdim=True).sqrt()
        return torch.as_tensor(kernels / (norms + 1e-30))


class PupilDeconvolution:
    """Deconvolution as if all emitters lay in the target plane, none of them negative.

    The image space reconstruction algorithm (Daube-Witherspoon and Muehllehner, IEEE Trans.
    Med. Imaging 5, 61, 1986), whose fixed point is the least-squares one, accelerated. Emitters
    may lie outside the image; what is outside is not taken for dark. No gradient passes.

    Parameters
    ----------
    iterations
        After each of these numbers of iterations the estimate becomes a channel.
    """

    def __init__(
        self, pupil: KnownPupil, *, radius_px: int, step_um: float, iterations: tuple[int, ...]
    ) -> None:
        self.pupil = pupil
        self.radius_px = radius_px
        self.step_um = step_um
        self.iterations = iterations
        self.spectra = KeptSpectra(self._spectrum)

    @torch.no_grad()
    def __call__(self, images: Tensor, distances_um: Tensor) -> Tensor:
        """Deconvolve ``(B, 1, H, W)`` images for each target, ``(B, T, iterations, H, W)``.

        Distances are ``(B, T, 1, 1)`` or ``(B, T, H, W)`` µm, and are brought to the next step.
        """
        steps = (distances_um.float() / self.step_um).round().int()
        with torch.autocast(images.device.type, enabled=False):
            both = zip(images.float(), steps, strict=True)
            return torch.stack([self._by_target(image[0], each) for image, each in both])

    def _by_target(self, image: Tensor, steps: Tensor) -> Tensor:
        """Deconvolve ``(H, W)`` for ``(T, 1, 1)`` or ``(T, H, W)`` distances, in steps."""
        total = image.new_zeros((len(steps), len(self.iterations), *image.shape))
        for index in sorted(set(steps.flatten().tolist())):
            estimates = self._deconvolve(image, index)
            total = torch.where((steps == index)[:, None], estimates, total)
        return total

    def _deconvolve(self, image: Tensor, index: int) -> Tensor:
        """Return the estimates ``(iterations, H, W)`` for emitters in one plane."""
        height, width = image.shape
        shape = _fast_shape(image, self.radius_px)
        transfer = self.spectra(index, shape, image.device)

        def recorded(emitters: Tensor) -> Tensor:
            blurred: Tensor = torch.fft.irfft2(torch.fft.rfft2(emitters) * transfer, s=shape)
            return blurred[:height, :width]

        def gathered(pixels: Tensor) -> Tensor:
            back = torch.fft.rfft2(pixels, s=shape) * transfer.conj()
            return torch.as_tensor(torch.fft.irfft2(back, s=shape))

        measured = gathered(image - _background(image)).clamp(min=0)
        least = _LEAST * measured.max() + 1e-30
        steps = AcceleratedSteps(measured + least)
        estimates = []
        for iteration in range(1, max(self.iterations) + 1):
            blurred = gathered(recorded(steps.start)).clamp(min=least)
            steps.advance(steps.start * measured / blurred)
            if iteration in self.iterations:
                estimates.append(steps.estimate[:height, :width])
        return torch.stack(estimates)

    def _spectrum(self, index: int, shape: tuple[int, int]) -> Tensor:
        """Return the spectrum of the PSF, its centre at the first pixel, its squares' sum one."""
        psf = self.pupil.psf(index * self.step_um, self.radius_px)
        padded = F.pad(psf, (0, shape[1] - len(psf), 0, shape[0] - len(psf)))
        centred = padded.roll((-self.radius_px, -self.radius_px), dims=(0, 1))
        return torch.as_tensor(torch.fft.rfft2(centred / (centred.square().sum().sqrt() + 1e-30)))


def _background(image: Tensor) -> Tensor:
    """Return the mean of the middle half of all pixels: counts make a median jump."""
    pixels = image.flatten().sort().values
    return pixels[len(pixels) // 4 : len(pixels) - len(pixels) // 4].mean()


def _fast_shape(image: Tensor, radius_px: int) -> tuple[int, int]:
    """Return a size for Fourier transforms, in which what is this far outside does not wrap."""
    height, width = (next_fast_len(size + 2 * radius_px, real=True) for size in image.shape)
    return height, width
