"""Sharpness of signal and of background in each plane of a stack.

References
----------
Li et al., "Deep-3D microscope", Biomedical Optics Express 13 (2022): Figs. 1 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fluofocus.errors import FluoFocusError

PATCH_PX = 32


@dataclass(frozen=True)
class Sharpness:
    """Sharpness of each image, ``(...)``, in the image's units per pixel.

    Attributes
    ----------
    signal : Tensor
        Mean gradient of the patch where it is largest.
    background : Tensor
        Mean gradient of the patch where it is smallest.
    """

    signal: Tensor
    background: Tensor

    @property
    def contrast(self) -> Tensor:
        """Sharpness of the signal over that of the background; infinite over a blank one."""
        return self.signal / self.background


def sharpness(images: Tensor, *, patch_px: int = PATCH_PX) -> Sharpness:
    """Measure the sharpest and the least sharp patch of every image.

    The sharpness of a patch is the mean of ``|dI/dx| + |dI/dy|``, differences of
    neighbouring pixels. Patches lie side by side; a rim narrower than a patch is left out.

    Parameters
    ----------
    images
        ``(..., H, W)``.
    patch_px
        Side of a patch.

    Raises
    ------
    FluoFocusError
        If an image is smaller than a patch, or holds values that are not finite.
    """
    height, width = images.shape[-2:]
    if patch_px < 2 or min(height, width) < patch_px:
        raise FluoFocusError(
            f"Sharpness is measured in patches of {patch_px} pixels, and the image has "
            f"{height} x {width}: give a larger image or smaller patches."
        )
    images = images.to(torch.promote_types(images.dtype, torch.float32))
    if not torch.isfinite(images).all():
        raise FluoFocusError("The image to measure holds NaN or infinite values.")
    patches = images.unfold(-2, patch_px, patch_px).unfold(-2, patch_px, patch_px)
    gradient = sum(patches.diff(dim=axis).abs().mean(dim=(-2, -1)) for axis in (-2, -1))
    assert isinstance(gradient, Tensor)
    each = gradient.flatten(-2)
    return Sharpness(signal=each.amax(dim=-1), background=each.amin(dim=-1))
