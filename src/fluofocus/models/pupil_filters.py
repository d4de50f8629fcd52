"""What a known pupil tells of an image before any network: filtered, and deconvolved.

Both are made for emitters that a target plane shows sharp, at any distance from the focal plane,
every step along z, and picked or interpolated from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional as F

from fluofocus.models.known_pupil import Pupil
from fluofocus.optics.acceleration import AcceleratedSteps

KEPT_BYTES: Final = 2**28
"""Up to which spectra are kept, of filters and of PSFs each."""
_LEAST: Final = 1e-6
"""Of the brightest pixel: below that nothing is divided by."""


class KeptSpectra:
    """Spectra by pupil, distance in steps, and size; the oldest are forgotten."""

    def __init__(self, make: Callable[[Pupil, int, tuple[int, int]], Tensor]) -> None:
        self._make = make
        self._kept: dict[tuple[tuple[float, ...], int, tuple[int, int], torch.device], Tensor] = {}

    def __call__(self, pupil: Pupil, index: int, shape: tuple[int, int]) -> Tensor:
        """Return a spectrum, made if it is not kept."""
        key = pupil.told, index, shape, pupil.fields.device
        if key not in self._kept:
            spectrum = self._make(pupil, index, shape)
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
    """Wiener filters for emitters sharp in the target plane, and above and below these.

    Parameters
    ----------
    step_um
        Filters are made so far apart, and interpolated between.
    offsets_um
        From the emitters that are sharp in the target plane.
    noise_shares
        White noise over the highest power of the PSF's spectrum: the larger, the closer to the
        matched filter; the smaller, to the inverse one.
    """

    def __init__(
        self,
        *,
        radius_px: int,
        step_um: float,
        offsets_um: tuple[float, ...],
        noise_shares: tuple[float, ...],
    ) -> None:
        self.radius_px = radius_px
        self.step_um = step_um
        self.offsets_um = offsets_um
        self.noise_shares = noise_shares
        self.spectra = KeptSpectra(self._spectrum)

    @property
    def channels(self) -> int:
        """How many filtered images there are for a target."""
        return len(self.offsets_um) * len(self.noise_shares)

    def __call__(self, images: Tensor, distances_um: Tensor, pupils: Sequence[Pupil]) -> Tensor:
        """Filter ``(B, 1, H, W)`` images for each target, ``(B, T, C, H, W)``.

        Distances are ``(B, T, 1, 1)`` or ``(B, T, H, W)`` µm; each image has its pupil.
        """
        offsets = distances_um.new_tensor(self.offsets_um)[:, None, None]
        with torch.autocast(images.device.type, enabled=False):
            return torch.stack(
                [
                    self._filter(
                        image[0], (pupil.emitters_um(distances) + offsets) / self.step_um, pupil
                    )
                    for image, distances, pupil in zip(
                        images.float(), distances_um[:, :, None].float(), pupils, strict=True
                    )
                ]
            )

    def _filter(self, image: Tensor, positions: Tensor, pupil: Pupil) -> Tensor:
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
                filters = self.spectra(pupil, index, shape)
                filtered = torch.fft.irfft2(spectrum * filters, s=shape)
                filtered = filtered[:, 2 * radius :, 2 * radius :][..., :height, :width]
                total[used] = total[used] + share[used][:, None] * filtered
        return total.flatten(1, 2)

    def _spectrum(self, pupil: Pupil, index: int, shape: tuple[int, int]) -> Tensor:
        """Return the spectra of a distance's filters, whose centres are at their radius."""
        psf = pupil.psf(index * self.step_um, self.radius_px)
        return torch.as_tensor(torch.fft.rfft2(self._kernels(psf), s=shape))

    def _kernels(self, psf: Tensor) -> Tensor:
        """Return filters ``(shares, 2r + 1, 2r + 1)`` that leave white noise as high as it is."""
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
    """Deconvolution as if all emitters were sharp in the target plane, none of them negative.

    The image space reconstruction algorithm (Daube-Witherspoon and Muehllehner, IEEE Trans.
    Med. Imaging 5, 61, 1986), whose fixed point is the least-squares one, accelerated. Emitters
    may lie outside the image; what is outside is not taken for dark. No gradient passes.

    Parameters
    ----------
    iterations
        After each of these numbers of iterations the estimate becomes a channel.
    shows_target
        Adds a channel: how the target plane would look if it were as last estimated.
    """

    def __init__(
        self,
        *,
        radius_px: int,
        step_um: float,
        iterations: tuple[int, ...],
        shows_target: bool = False,
    ) -> None:
        self.shows_target = shows_target
        self.radius_px = radius_px
        self.step_um = step_um
        self.iterations = iterations
        self.spectra = KeptSpectra(self._spectrum)

    @torch.no_grad()
    def __call__(self, images: Tensor, distances_um: Tensor, pupils: Sequence[Pupil]) -> Tensor:
        """Deconvolve ``(B, 1, H, W)`` images for each target, ``(B, T, C, H, W)``.

        Distances are ``(B, T, 1, 1)`` or ``(B, T, H, W)`` µm, and are brought to the next step;
        each image has its pupil.
        """
        with torch.autocast(images.device.type, enabled=False):
            return torch.stack(
                [
                    self._by_target(image[0], distances, pupil)
                    for image, distances, pupil in zip(
                        images.float(), distances_um.float(), pupils, strict=True
                    )
                ]
            )

    def _by_target(self, image: Tensor, distances_um: Tensor, pupil: Pupil) -> Tensor:
        """Deconvolve ``(H, W)`` for ``(T, 1, 1)`` or ``(T, H, W)`` distances."""
        steps = (pupil.emitters_um(distances_um) / self.step_um).round().int()
        total = image.new_zeros((len(steps), self.channels, *image.shape))
        in_focus = round(-pupil.best_focus_um / self.step_um)
        for index in sorted(set(steps.flatten().tolist())):
            transfer, sharp = (
                self.spectra(pupil, each, self._shape(image)) for each in (index, in_focus)
            )
            estimates = self._deconvolve(image, transfer, sharp)
            total = torch.where((steps == index)[:, None], estimates, total)
        return total

    @property
    def channels(self) -> int:
        """How many images there are for a target."""
        return len(self.iterations) + self.shows_target

    def _shape(self, image: Tensor) -> tuple[int, int]:
        return _fast_shape(image, self.radius_px)

    def _deconvolve(self, image: Tensor, transfer: Tensor, sharp: Tensor) -> Tensor:
        """Return the channels ``(C, H, W)`` for emitters in one plane.

        Transfer functions are those of the image and of a plane in focus.
        """
        height, width = image.shape
        shape = self._shape(image)

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
        if self.shows_target:
            blurred = torch.fft.irfft2(torch.fft.rfft2(steps.estimate) * sharp, s=shape)
            as_much_light = (transfer[0, 0] / sharp[0, 0]).real
            estimates.append(as_much_light * blurred[:height, :width])
        return torch.stack(estimates)

    def _spectrum(self, pupil: Pupil, index: int, shape: tuple[int, int]) -> Tensor:
        """Return the spectrum of the PSF, its centre at the first pixel, its squares' sum one."""
        psf = pupil.psf(index * self.step_um, self.radius_px)
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
