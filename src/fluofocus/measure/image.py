"""Image quality against a true image, as in Deep-Z (equations 10 to 13), and PSNR.

Every metric takes images ``(..., H, W)`` and returns one number per image, ``(...)``.
Metrics that need to know the span of possible values take it as ``data_range``; its
default of one suits images scaled to 0-1.

References
----------
Wu et al., "Three-dimensional virtual refocusing of fluorescence microscopy images using
deep learning", Nature Methods 16 (2019), Methods, "Image quality evaluation".
Wang et al., "Image quality assessment: from error visibility to structural similarity",
IEEE Transactions on Image Processing 13 (2004).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from fluofocus.errors import FluoFocusError

SSIM_WINDOW_PX = 11
SSIM_SIGMA_PX = 1.5
SSIM_K1, SSIM_K2 = 0.01, 0.03
SMALLEST_GAP = 1e-6


def mse(output: Tensor, truth: Tensor) -> Tensor:
    """Return the mean squared error (equation 10)."""
    output, truth = _comparable(output, truth)
    return (output - truth).square().mean(dim=(-2, -1))


def rmse(output: Tensor, truth: Tensor) -> Tensor:
    """Return the root of the mean squared error, in the images' units."""
    return mse(output, truth).sqrt()


def mae(output: Tensor, truth: Tensor) -> Tensor:
    """Return the mean absolute error (equation 11), in the images' units."""
    output, truth = _comparable(output, truth)
    return (output - truth).abs().mean(dim=(-2, -1))


def pearson(output: Tensor, truth: Tensor) -> Tensor:
    """Return Pearson's correlation coefficient (equation 12); NaN where an image is constant."""
    output, truth = _comparable(output, truth)
    output = output - output.mean(dim=(-2, -1), keepdim=True)
    truth = truth - truth.mean(dim=(-2, -1), keepdim=True)
    covariance = (output * truth).mean(dim=(-2, -1))
    deviations = _root_mean_square(output) * _root_mean_square(truth)
    return covariance / deviations


def ssim(output: Tensor, truth: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Return the mean structural similarity (equation 13).

    Local means, variances and covariance are weighted by a Gaussian window of 11 x 11
    pixels and sigma 1.5 px, and the index is averaged over the positions at which the
    window lies wholly inside the image (Wang et al. 2004, section III-B and III-C).

    Parameters
    ----------
    output, truth : Tensor
        Images ``(..., H, W)``, at least 11 pixels high and wide.
    data_range : float
        Span of the possible values, L in ``C1 = (0.01 L)^2`` and ``C2 = (0.03 L)^2``.

    Raises
    ------
    FluoFocusError
        If the images cannot be compared or are smaller than the window.
    """
    output, truth = _comparable(output, truth)
    if min(output.shape[-2:]) < SSIM_WINDOW_PX:
        raise FluoFocusError(
            f"SSIM needs images of at least {SSIM_WINDOW_PX} pixels a side, "
            f"these are {output.shape[-2]} x {output.shape[-1]}; compare a larger region."
        )
    # Variances do not change with an offset, and are computed without it to keep precision.
    offset = truth.mean(dim=(-2, -1), keepdim=True)
    x, y = output - offset, truth - offset
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = map(_windowed, (x, y, x * x, y * y, x * y))
    variance_x, variance_y = mean_xx - mean_x.square(), mean_yy - mean_y.square()
    covariance = mean_xy - mean_x * mean_y
    mean_x, mean_y = mean_x + offset, mean_y + offset

    c1, c2 = (SSIM_K1 * data_range) ** 2, (SSIM_K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).mean(dim=(-2, -1))


def psnr(output: Tensor, truth: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Return the peak signal-to-noise ratio in dB; infinite for equal images.

    Parameters
    ----------
    output, truth : Tensor
        Images ``(..., H, W)``.
    data_range : float
        Span of the possible values.
    """
    return 10 * torch.log10(data_range**2 / mse(output, truth))


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mse,
    "rmse": rmse,
    "mae": mae,
    "pearson": pearson,
    "ssim": ssim,
    "psnr": psnr,
}
"""Name of each metric and the function ``(output, truth) -> one number per image``."""


def gap_closed(r_out: float, r_in: float) -> float:
    """Return the share of the way to the truth that refocusing went.

    ``(r_out - r_in) / (1 - r_in)``, with ``r`` the correlation with the true plane of the
    refocused output and of the unrefocused input: one is perfect, zero no gain, negative a
    loss. NaN where the input is already the truth, to rounding, and there is no gap.
    """
    gap = 1 - r_in
    return (r_out - r_in) / gap if gap > SMALLEST_GAP else float("nan")


def _comparable(output: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return both as floating point of at least 32 bits, or say why they cannot be compared."""
    if output.shape != truth.shape or output.ndim < 2:
        raise FluoFocusError(
            f"Images of shapes {tuple(output.shape)} and {tuple(truth.shape)} cannot be "
            "compared; give two images (..., H, W) of the same shape."
        )
    dtype = torch.promote_types(torch.promote_types(output.dtype, truth.dtype), torch.float32)
    output, truth = output.to(dtype), truth.to(dtype)
    if not (torch.isfinite(output).all() and torch.isfinite(truth).all()):
        raise FluoFocusError(
            "An image to compare holds NaN or infinite values; replace or crop them first."
        )
    return output, truth


def _root_mean_square(image: Tensor) -> Tensor:
    return image.square().mean(dim=(-2, -1)).sqrt()


def _windowed(image: Tensor) -> Tensor:
    """Return the Gaussian-weighted mean at every position of the SSIM window inside the image."""
    offset_px = torch.arange(SSIM_WINDOW_PX, dtype=image.dtype, device=image.device)
    offset_px -= SSIM_WINDOW_PX // 2
    weight = torch.exp(-0.5 * (offset_px / SSIM_SIGMA_PX) ** 2)
    weight /= weight.sum()
    height, width = image.shape[-2:]
    planes = image.reshape(1, -1, height, width)  # as channels of one image: the fastest way
    weights = weight.expand(planes.shape[1], 1, -1)
    with torch.autocast(image.device.type, enabled=False):  # differences of means need digits
        planes = conv2d(planes, weights[..., :, None], groups=len(weights))
        planes = conv2d(planes, weights[..., None, :], groups=len(weights))
    return planes.reshape(*image.shape[:-2], *planes.shape[-2:])
