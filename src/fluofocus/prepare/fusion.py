"""Extended depth of field: a focus scan fused into one image that is sharp everywhere.

Complex wavelets tell which plane is in focus, at each place and scale: Forster, Van De
Ville, Berent, Sage & Unser, Microsc. Res. Tech. 65, 33 (2004).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fluofocus.errors import FluoFocusError
from fluofocus.units import AnyArray

MOST_SCALES = 6
"""Halvings of the image: details of up to 64 pixels are chosen, coarser ones averaged."""

_SMALLEST_SIDE_PX = 4
"""Side below which an image is not halved again."""

_CONSENT = 0.3
"""Weight of the other two sub-bands of a scale in the vote of each."""

_SCALES_WITH_NEIGHBOURS = 1
"""Finest scales, the noisiest, at which the neighbours' vote counts."""

_TAPS = 6
_SUB_BANDS = 3


@dataclass(frozen=True)
class Fused:
    """A focus scan in one image.

    Attributes
    ----------
    image : ndarray (Y, X)
        In the stack's units and type: every pixel is one of the stack's.
    plane : ndarray of int (Y, X)
        Index of the plane that each pixel comes from. Where nothing is in focus it is noise.
    """

    image: AnyArray
    plane: npt.NDArray[np.int64]


def fuse(stack: AnyArray) -> Fused:
    """Fuse the planes of a focus scan into one image.

    At each place, scale and orientation the plane with the greatest wavelet coefficient
    wins, once sub-bands and neighbours have voted. The coarsest scale is the mean of all
    planes, for a wide-field microscope loses no light by defocusing. Each pixel finally
    takes, among the planes' values there, the one nearest to the inverse transform, so
    that no value is invented (Forster et al. 2004, "reassignment").

    It suits specimens that emit at one depth for each place; where light of several depths
    overlaps, no plane holds the right value.

    Parameters
    ----------
    stack
        ``(Z, Y, X)``, of any size and real type.

    Raises
    ------
    FluoFocusError
        If it is no stack, is empty, or holds NaN or infinity.
    """
    planes = np.asarray(stack)
    if planes.ndim != 3 or planes.size == 0:
        raise FluoFocusError(
            f"A focus scan (Z, Y, X) is needed to fuse planes, not an array of shape "
            f"{planes.shape}."
        )
    return _reassigned(planes, _wavelet_image(planes))


def _wavelet_image(
    planes: AnyArray, *, consent: float = _CONSENT, with_neighbours: int = _SCALES_WITH_NEIGHBOURS
) -> Tensor:
    """Return the image ``(Y, X)`` of the winning coefficients, float32.

    Two passes over the planes keep only winners in memory: the first finds which plane
    wins, the second fetches its coefficients.
    """
    scales = _scales(planes.shape[1:])
    winners, coarsest = _winning_planes(planes, scales, consent)
    for scale in range(min(with_neighbours, scales)):
        winners[scale] = _median_of_neighbours(winners[scale])
    chosen = [torch.zeros(()) for _ in winners]
    for index in range(len(planes)):
        for scale, detail in enumerate(_decompose(_padded(planes[index], scales), scales)[1]):
            chosen[scale] = torch.where(winners[scale][:, None] == index, detail, chosen[scale])
    return _compose(coarsest, chosen)[: planes.shape[1], : planes.shape[2]]


def _winning_planes(planes: AnyArray, scales: int, consent: float) -> tuple[list[Tensor], Tensor]:
    """Return the winning plane of each coefficient, finest scale first, and the mean residue.

    A coefficient's vote is its energy plus a share of those of the other two sub-bands at
    the same place: a soft form of the paper's sub-band consistency check, which lets
    structures that cross at different depths keep a plane each.
    """
    best: list[Tensor] = []
    winners: list[Tensor] = []
    mean = torch.zeros(())
    for index, plane in enumerate(planes):
        residue, details = _decompose(_padded(plane, scales), scales)
        mean = mean + residue / len(planes)
        for scale, detail in enumerate(details):
            energy = detail.square().sum(dim=1)
            vote = (1 - consent) * energy + consent * energy.sum(dim=0)
            if index == 0:
                best.append(vote)
                winners.append(torch.zeros(vote.shape, dtype=torch.int16))
            else:
                winners[scale][vote > best[scale]] = index
                torch.maximum(best[scale], vote, out=best[scale])
    return winners, mean


def _median_of_neighbours(winners: Tensor) -> Tensor:
    """Replace each plane index by the median of those around it, ``(3, Y, X)``.

    The spatial consistency check: a plane that most of the nine agree on is their median.
    """
    padded = F.pad(winners.float()[None], (1, 1, 1, 1), mode="replicate")[0]
    rows, columns = winners.shape[1:]
    around = [padded[:, y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
    return torch.stack(around).median(dim=0).values.to(winners.dtype)


def _reassigned(planes: AnyArray, wanted: Tensor) -> Fused:
    """Take for each pixel the plane whose value is nearest to the wanted one."""
    nearest = torch.full(wanted.shape, math.inf)
    chosen = torch.zeros(wanted.shape, dtype=torch.int64)
    for index, plane in enumerate(planes):
        distance = (_as_tensor(plane) - wanted).abs_()
        chosen[distance < nearest] = index
        torch.minimum(nearest, distance, out=nearest)
    index_yx = chosen.numpy()
    return Fused(np.take_along_axis(planes, index_yx[None], axis=0)[0], index_yx)


def _as_tensor(plane: AnyArray) -> Tensor:
    values = plane.astype(np.float32)
    if not np.isfinite(values).all():
        raise FluoFocusError("The focus scan holds NaN or infinite values: mask or crop them.")
    return torch.from_numpy(values)


def _scales(shape_yx: tuple[int, ...]) -> int:
    halvings = int(math.log2(max(min(shape_yx) / _SMALLEST_SIDE_PX, 1)))
    return min(max(halvings, 1), MOST_SCALES)


def _padded(plane: AnyArray, scales: int) -> Tensor:
    """Mirror a plane at its far edges until it halves evenly, ``(1, Y, X)``."""
    image = _as_tensor(plane)[None]
    for dim in (1, 2):
        missing = -image.shape[dim] % 2**scales
        while missing > 0:
            part = image.flip(dim).narrow(dim, 0, min(missing, image.shape[dim]))
            image = torch.cat([image, part], dim=dim)
            missing -= part.shape[dim]
    return image


def _low_pass() -> npt.NDArray[np.complex128]:
    """Return the symmetric complex Daubechies filter of six taps, of norm one.

    Its polynomial is ``(1 + z)^3 (1 - s z + z^2)``: three vanishing moments, and of the
    roots of the half-band polynomial ``1 + 3 y + 6 y^2``, with ``y = (2 - z - 1 / z) / 4``,
    the pair whose sum is ``s = 3 + i sqrt(5 / 3)`` (Lina & Mayrand, Appl. Comput. Harmon.
    Anal. 2, 219, 1995).
    """
    root_sum = 3 + 1j * math.sqrt(5 / 3)
    filter_taps = np.convolve([1, 3, 3, 1], [1, -root_sum, 1])
    return np.asarray(filter_taps * (math.sqrt(2) / filter_taps.sum()))


def _kernels() -> Tensor:
    """Return the four analysis kernels as a real convolution, ``(8, 2, 6, 6)``.

    Real and imaginary parts are channels. First comes the low-pass, then detail along x,
    along y, and along both. The transform is unitary: its inverse is its transpose.
    """
    low = _low_pass()
    high = low[::-1].conj() * (-1) ** np.arange(_TAPS)
    pairs = ((low, low), (low, high), (high, low), (high, high))
    kernels = np.stack([np.outer(y, x) for y, x in pairs]).conj()
    real, imaginary = kernels.real, kernels.imag
    parts = np.stack([np.stack([real, -imaginary], 1), np.stack([imaginary, real], 1)], 1)
    return torch.from_numpy(parts.reshape(8, 2, _TAPS, _TAPS).astype(np.float32))


_KERNELS = _kernels()
_MIRROR_SIGN = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]]).repeat_interleave(2, dim=0)
"""How each channel of `_KERNELS` goes on beyond the border (y, x): even or odd."""


def _decompose(image: Tensor, scales: int) -> tuple[Tensor, list[Tensor]]:
    """Transform an image ``(1 or 2, Y, X)``, mirrored at its borders.

    Returns
    -------
    residue : Tensor (2, Y / 2^scales, X / 2^scales)
        Real and imaginary part.
    details : list of Tensor (3, 2, Y / 2^k, X / 2^k)
        Sub-bands, then parts, of the scales k = 1, 2, …
    """
    details = []
    for _ in range(scales):
        kernels = _KERNELS[:, : len(image)]  # a real image has no imaginary channel
        for dim in (1, 2):
            first, last = image.narrow(dim, 0, 2), image.narrow(dim, image.shape[dim] - 2, 2)
            image = torch.cat([first.flip(dim), image, last.flip(dim)], dim=dim)
        bands = F.conv2d(image[None], kernels, stride=2)[0]
        image = bands[:2]
        details.append(bands[2:].view(_SUB_BANDS, 2, *bands.shape[1:]))
    return image, details


def _compose(residue: Tensor, details: list[Tensor]) -> Tensor:
    """Invert `_decompose` and return the real part ``(Y, X)``."""
    for detail in reversed(details):
        bands = F.pad(torch.cat([residue, detail.flatten(0, 1)])[None], (1,) * 4, "replicate")[0]
        sign = _MIRROR_SIGN.to(bands)
        for side in (0, -1):
            bands[:, side] *= sign[:, :1]
            bands[:, :, side] *= sign[:, 1:]
        inner = slice(4, -4)
        residue = F.conv_transpose2d(bands[None], _KERNELS, stride=2)[0][:, inner, inner]
    return residue[0]
