"""Pieces that more than one network is built of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Dpm = float | Tensor
"""A digital propagation matrix in µm: a number, a vector, or images (see `as_dpm`)."""


def as_dpm(dpm_um: Dpm, images: Tensor) -> Tensor:
    """Bring a digital propagation matrix into the form that the networks decode.

    Parameters
    ----------
    dpm_um
        Target minus input plane in µm: a number for all images; ``(B,)``, one per
        field; ``(B, T)``, T targets per field; or ``(B, T, H, W)``, T images. For
        fields of several input planes ``(B, N, T)`` or ``(B, N, T, H, W)``, the
        distance from each of the N planes.
    images
        ``(B, N, H, W)``, what is to be refocused: N input planes of B fields.

    Returns
    -------
    Tensor
        ``(B, N, T)`` or ``(B, N, T, H, W)``, of the images' type and device.

    Raises
    ------
    ValueError
        If the shape fits none of the forms.
    """
    dpm = torch.as_tensor(dpm_um, dtype=images.dtype, device=images.device)
    batch, inputs, height, width = images.shape
    if dpm.ndim == 0:
        dpm = dpm.expand(batch, 1)
    elif dpm.ndim == 1:
        dpm = dpm[:, None]
    if dpm.ndim in (2, 4):
        dpm = dpm[:, None]
    fits = dpm.shape[0] in (1, batch) and dpm.shape[1] == inputs
    if not fits or (dpm.ndim != 3 and (dpm.ndim != 5 or dpm.shape[3:] != (height, width))):
        raise ValueError(
            f"a DPM of shape {tuple(torch.as_tensor(dpm_um).shape)} does not fit images of shape "
            f"{tuple(images.shape)}"
        )
    return dpm.expand(batch, *dpm.shape[1:])


def nearest_um(dpm_um: Tensor) -> Tensor:
    """Return the signed distance of targets ``(B, N, T, …)`` from the nearest of N input planes."""
    nearest = dpm_um.abs().argmin(dim=1, keepdim=True)
    return dpm_um.gather(1, nearest)[:, 0]


def require_divisible(image: Tensor, multiple: int) -> None:
    """Raise ValueError unless height and width are multiples of what the network needs."""
    height, width = image.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(
            f"this network needs images whose sides are multiples of {multiple}, "
            f"not {height}x{width}: pad them"
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around which the input is carried (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        refined: Tensor = self.second(F.relu_(self.first(F.relu(x))))
        return x + refined


class DistanceEmbedding(nn.Module):
    """A refocusing distance as Gaussian bumps over the range, then two 1x1 layers.

    A uniform DPM costs one vector; an image of distances costs an image.
    """

    def __init__(self, range_um: float, bumps: int, channels: int) -> None:
        super().__init__()
        self.centres: Tensor
        centres = torch.linspace(-1.0, 1.0, bumps)
        self.register_buffer("centres", centres.view(1, bumps, 1, 1), persistent=False)
        self.range_um = range_um
        self.sharpness = bumps / 2
        self.layers = nn.Sequential(
            nn.Conv2d(bumps + 1, channels, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1),
            nn.ReLU(inplace=True),
        )

    def forward(self, dpm_um: Tensor) -> Tensor:
        """Embed ``(N, 1, h, w)`` distances in µm as ``(N, channels, h, w)``."""
        distance = dpm_um / self.range_um
        bumps = torch.exp(-(((distance - self.centres) * self.sharpness) ** 2))
        embedded: Tensor = self.layers(torch.cat([bumps, distance], dim=1))
        return embedded


class Modulation(nn.Module):
    """Scale and shift features by an embedding (feature-wise linear modulation, Perez 2018)."""

    def __init__(self, embedding_channels: int, channels: int) -> None:
        super().__init__()
        self.to_scale_shift = nn.Conv2d(embedding_channels, 2 * channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Modulate ``(N, C, H, W)`` features by ``(N, E, 1, 1)`` or ``(N, E, H, W)``."""
        scale, shift = self.to_scale_shift(embedding).chunk(2, dim=1)
        return torch.addcmul(shift, x, scale + 1)
