"""Extended depth of field from one image: its virtual stack, fused, and a map of depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import make_stack, origin_um, voxel_size_um
from fluofocus.models.bundle import Model, load_model
from fluofocus.optics.microscope import Microscope
from fluofocus.prepare.config import PrepareConfig
from fluofocus.prepare.fusion import fuse
from fluofocus.prepare.normalise import normalisation_from_image
from fluofocus.prepare.regions import signal_mask
from fluofocus.refocus.engine import refocus
from fluofocus.units import AnyArray

_DEFAULT_PLANES = 41


@dataclass(frozen=True)
class ExtendedDepth:
    """One image in focus everywhere.

    Attributes
    ----------
    image : DataArray (Y, X)
        float32, counts.
    depth_um : DataArray (Y, X)
        Distance from the input's focal plane of what is seen at each pixel, positive
        further from the objective; NaN where nothing is seen.
    """

    image: xr.DataArray
    depth_um: xr.DataArray


def extended_depth(
    image: xr.DataArray | AnyArray,
    model: Model | str,
    *,
    z_um: Sequence[float] | None = None,
    pixel_size_um: float | None = None,
    plane: int | Sequence[int] | None = None,
    microscope: Microscope | None = None,
    ensemble: bool = False,
    memory_gb: float = 4.0,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> ExtendedDepth:
    """Refocus one image to planes, and fuse them into one that is in focus everywhere.

    Fusion is that of `fluofocus.prepare.fusion.fuse` (complex wavelets, Forster et al. 2004).

    Parameters
    ----------
    z_um
        Planes to fuse; 41 over the model's range where not given.

    The others are those of `refocus`.

    Raises
    ------
    FluoFocusError
        If the image cannot be refocused, is a time-lapse, or the planes are fewer than two.
    """
    bundle = load_model(model) if isinstance(model, str) else model
    low, high = bundle.card.training.defocus_um
    planes = np.linspace(low, high, _DEFAULT_PLANES).tolist() if z_um is None else list(z_um)
    if len(planes) < 2:
        raise FluoFocusError("One plane cannot be fused: give several, like --z -10:10:0.5.")
    if isinstance(image, xr.DataArray) and {"T", "C"} & set(image.dims):
        raise FluoFocusError(
            "The depth of field of one image can be extended, not of several frames or channels: "
            "give them one by one."
        )
    virtual = refocus(
        image,
        bundle,
        z_um=planes,
        pixel_size_um=pixel_size_um,
        plane=plane,
        microscope=microscope,
        ensemble=ensemble,
        memory_gb=memory_gb,
        device=device,
        progress=progress,
    )
    fused = fuse(virtual.values)
    levels = PrepareConfig()
    seen = signal_mask(
        normalisation_from_image(fused.image).apply(fused.image),
        seed_level=levels.seed_level,
        grow_level=levels.grow_level,
    )
    depth = np.where(seen, np.asarray(planes)[fused.plane], np.nan).astype(np.float32)
    voxel = voxel_size_um(virtual)
    record = {**virtual.attrs["provenance"], "fused": "complex wavelets"}
    image, depth_um = (
        make_stack(pixels, "YX", voxel, provenance=record, origin_um=origin_um(virtual))
        for pixels in (fused.image, depth)
    )
    return ExtendedDepth(image, depth_um)
