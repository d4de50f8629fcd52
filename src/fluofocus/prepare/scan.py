"""One focus scan brought into shape: checked, aligned, fused, normalised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import voxel_size_um
from fluofocus.prepare.align import align_planes
from fluofocus.prepare.fusion import fuse
from fluofocus.prepare.hot_pixels import find_hot_pixels, without_pixels
from fluofocus.prepare.manifest import ScanRecord
from fluofocus.prepare.normalise import normalisation_from_image
from fluofocus.units import AnyArray

_LEAST_COMMON_DETAIL = 0.05
_DETAIL_PX = (1.0, 8.0)
_PLANES_COMPARED = 6


@dataclass(frozen=True)
class PreparedScan:
    """A scan in the dataset's scale, background 0 and 1 % of the signal above 1.

    ``planes`` are ``(Z, Y, X)`` float32, ``fused`` ``(Y, X)``; ``clipped`` marks the pixels
    that are at the camera's limit in some plane.
    """

    planes: AnyArray
    fused: AnyArray
    clipped: AnyArray
    record: ScanRecord


def prepare_scan(stack: xr.DataArray, *, align: bool) -> PreparedScan:
    """Check a focus scan ``(Z, Y, X)``, mend hot pixels, align its planes, fuse and normalise it.

    Raises
    ------
    FluoFocusError
        If it is no focus scan, its sizes are unknown, or it has no signal, NaN, or mostly
        saturated pixels.
    """
    require_focus_scan(stack)
    voxel = voxel_size_um(stack)
    counts = np.asarray(stack.values)
    clipped = _clipped(counts)
    require_signal(counts, str(stack.name))
    hot = find_hot_pixels(counts)
    counts = without_pixels(counts, hot)
    alignment = align_planes(counts) if align else None
    aligned = counts.astype(np.float32) if alignment is None else alignment.apply(counts)
    fused = fuse(aligned).image
    normalisation = normalisation_from_image(fused)
    record = ScanRecord(
        source=str(stack.encoding.get("source", stack.name)),
        shape=list(counts.shape),
        dtype=str(counts.dtype),
        voxel_size_um=voxel,
        provenance=stack.attrs.get("provenance", {}),
        shift_px=[(float(y), float(x)) for y, x in alignment.shift_px] if alignment else [],
        rotation_rad=[float(angle) for angle in alignment.rotation_rad] if alignment else [],
        jumps=list(alignment.jumps) if alignment else [],
        hot_pixels=int(hot.sum()),
        background_counts=normalisation.background,
        scale_counts=normalisation.scale,
    )
    planes = normalisation.apply(aligned)
    return PreparedScan(planes, normalisation.apply(fused), clipped, record)


def require_focus_scan(stack: xr.DataArray) -> None:
    """Raise `FluoFocusError` unless a stack has the axes ZYX and several planes."""
    if stack.dims != ("Z", "Y", "X"):
        axes = "".join(str(dim) for dim in stack.dims)
        raise FluoFocusError(
            f"{stack.name} has the axes {axes}: a focus scan of one channel (ZYX) is needed."
        )


def require_signal(counts: AnyArray, name: str) -> None:
    """Raise `FluoFocusError` where neighbouring planes have nothing in common but noise."""
    if not np.isfinite(counts).all():
        raise FluoFocusError(f"{name} holds NaN or infinite values: mask or crop them first.")
    pairs = np.linspace(0, len(counts) - 2, min(_PLANES_COMPARED, len(counts) - 1)).astype(int)
    common = max(_correlation(_detail(counts[i]), _detail(counts[i + 1])) for i in pairs)
    if not common > _LEAST_COMMON_DETAIL:
        raise FluoFocusError(
            f"{name} shows no signal: neighbouring planes have nothing in common "
            f"(correlation {common:.2f}); check exposure, channel and focus."
        )


def _detail(plane: AnyArray) -> AnyArray:
    fine, coarse = (gaussian_filter(plane.astype(np.float32), sigma) for sigma in _DETAIL_PX)
    detail: AnyArray = fine - coarse
    return detail


def _correlation(one: AnyArray, other: AnyArray) -> float:
    one, other = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / norm if norm > 0 else 0.0


def _clipped(counts: AnyArray) -> AnyArray:
    """Mark pixels that are at the highest value of the scan, if that occurs often."""
    at_limit = counts == counts.max()
    clipped: AnyArray = at_limit.any(axis=0)
    return clipped if at_limit.sum() > len(counts) else np.zeros_like(clipped)
