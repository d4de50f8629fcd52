"""One field of view prepared: its regions cut out, or the reason why it is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.prepare.config import PrepareConfig
from fluofocus.prepare.fusion import fuse
from fluofocus.prepare.manifest import FieldRecord, RegionRecord, RejectedRegion, Split
from fluofocus.prepare.match import Match, match
from fluofocus.prepare.normalise import normalisation_from_image
from fluofocus.prepare.regions import Region, cover, middle_plane, signal_mask
from fluofocus.prepare.scan import PreparedScan, prepare_scan
from fluofocus.units import AnyArray

_MOST_CLIPPED = 0.01

Part = tuple[Split, slice]
"""Rows of a field and what they are for."""


@dataclass
class PreparedField:
    """The record of a field, pictures of it, and the arrays of its regions by name."""

    record: FieldRecord
    pictures: dict[str, AnyArray] = field(default_factory=dict)
    regions: dict[str, dict[str, AnyArray]] = field(default_factory=dict)


def prepare_field(
    name: str,
    stack: xr.DataArray,
    target: xr.DataArray | None,
    parts: Sequence[Part],
    config: PrepareConfig,
) -> PreparedField:
    """Prepare a focus scan, or one in each of two modalities.

    Parameters
    ----------
    stack, target
        ``(Z, Y, X)``, counts.
    parts
        Rows of the field by what they are for.

    Raises
    ------
    FluoFocusError
        If a scan cannot be used, or the two do not match.
    """
    scan = prepare_scan(stack, align=config.align_planes)
    other = None if target is None else prepare_scan(target, align=config.align_planes)
    pair = None if other is None else match(scan, other, config)
    mask = signal_mask(scan.fused, seed_level=config.seed_level, grow_level=config.grow_level)
    prepared = PreparedField(
        FieldRecord(
            name=name,
            input=scan.record,
            target=None if other is None else other.record,
            registration=None if pair is None else pair.record,
        ),
        {"fused": scan.fused, "mask": mask},
    )
    if pair is not None and other is not None:
        mask = mask & pair.transform.valid
        prepared.pictures["target_fused"] = pair.transform.apply(fuse(pair.planes).image)
    plane_scales = [_normalisation(plane) for plane in scan.planes]
    for split, rows in parts:
        chosen, faint = cover(
            mask[rows],
            config.region_px,
            overlap_share=config.overlap_share,
            least_signal_share=config.least_signal_share,
        )
        chosen, faint = (_moved(regions, rows.start) for regions in (chosen, faint))
        prepared.record.rejected += [
            _rejected(region, f"signal on {region.signal_share:.2%} of its area")
            for region in faint
        ]
        for region in chosen:
            _add(prepared, region, split, scan, pair, plane_scales, config)
    return prepared


def _add(
    prepared: PreparedField,
    region: Region,
    split: Split,
    scan: PreparedScan,
    pair: Match | None,
    plane_scales: list[tuple[float, float]],
    config: PrepareConfig,
) -> None:
    """Add a region and its planes about the middle one, or why it is rejected."""
    clipped = float(scan.clipped[region.slices].mean())
    if clipped > _MOST_CLIPPED:
        reason = f"{clipped:.1%} of its pixels are saturated"
        prepared.record.rejected.append(_rejected(region, reason))
        return
    planes = scan.planes[(slice(None), *region.slices)]
    middle = middle_plane(planes)
    kept = slice(max(0, middle - config.planes // 2), middle + (config.planes + 1) // 2)
    indices = np.arange(len(planes))[kept]
    arrays = {"input": planes[kept]}
    if pair is None:
        z_um = target_z_um = (indices - middle) * scan.record.voxel_size_um[0]
    else:
        z_um, target_z_um = pair.z_um[kept], pair.target_z_um
        try:
            arrays["target"] = pair.target(region, planes)
        except FluoFocusError as error:
            prepared.record.rejected.append(_rejected(region, str(error)))
            return
    name = f"{prepared.record.name}-{len(prepared.regions):03d}"
    prepared.regions[name] = arrays
    prepared.record.regions.append(
        RegionRecord(
            name=name,
            split=split,
            top_px=region.top_px,
            left_px=region.left_px,
            signal_share=region.signal_share,
            first_plane=int(indices[0]),
            middle_plane=middle,
            z_um=[float(z) for z in z_um],
            target_z_um=[float(z) for z in target_z_um],
            planes_background=[plane_scales[index][0] for index in indices],
            planes_scale=[plane_scales[index][1] for index in indices],
        )
    )


def _normalisation(plane: AnyArray) -> tuple[float, float]:
    """Return background and scale of a plane; those of the stack where it shows nothing."""
    try:
        found = normalisation_from_image(plane)
    except FluoFocusError:
        return 0.0, 1.0
    return found.background, found.scale


def _rejected(region: Region, reason: str) -> RejectedRegion:
    return RejectedRegion(top_px=region.top_px, left_px=region.left_px, reason=reason)


def _moved(regions: list[Region], rows: int) -> list[Region]:
    return [
        Region(region.top_px + rows, region.left_px, region.size_px, region.signal_share)
        for region in regions
    ]
