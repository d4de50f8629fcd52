"""How well the objective does within its own depth of field, and over which range others do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fluofocus.measure.beads import Array
from fluofocus.measure.depth_of_field import DepthOfField, depth_of_field
from fluofocus.reproduce.w_net.methods import NATIVE_UM, SCANNED
from fluofocus.reproduce.w_net.scores import Curve, interval, resampled
from fluofocus.reproduce.w_net.sweep import SEED, Sweep

NATIVE_LENGTH_UM = 0.3


@dataclass(frozen=True)
class Extent:
    """A range of defocus over which a method is as good as asked, with its 95 % intervals."""

    threshold: float
    range: DepthOfField
    length_interval_um: Array
    rmse_um: float
    rmse_interval_um: Array


def native_jaccard(sweep: Sweep, weights: Array | None = None) -> Array:
    """Return the mean Jaccard index of the wide-field scan within its depth of field."""
    scan = sweep.curves[SCANNED]
    return np.asarray(scan.jaccard(weights)[..., scan.at(NATIVE_UM)].mean(axis=-1))


def native_rmse_um(sweep: Sweep, weights: Array | None = None) -> Array:
    """Return its mean lateral error there."""
    scan = sweep.curves[SCANNED]
    return np.asarray(scan.rmse_um(weights)[..., scan.at(NATIVE_UM)].mean(axis=-1))


def extent(sweep: Sweep, name: str, tolerance: float) -> Extent:
    """Return where a method finds beads as well as native, less a tolerance."""
    held = sweep.curves[name]
    threshold = float(native_jaccard(sweep)) * (1 - tolerance)
    weights = resampled(held.counted.shape[1], SEED)
    lengths, errors = zip(
        *(
            _within(held, jaccard, rmse_um, float(native) * (1 - tolerance))
            for jaccard, rmse_um, native in zip(
                held.jaccard(weights),
                held.rmse_um(weights),
                native_jaccard(sweep, weights),
                strict=True,
            )
        ),
        strict=True,
    )
    return Extent(
        threshold,
        depth_of_field(held.z_um, held.jaccard(), threshold),
        interval(np.array(lengths)),
        _within(held, held.jaccard(), held.rmse_um(), threshold)[1],
        interval(np.array(errors)),
    )


def _within(held: Curve, jaccard: Array, rmse_um: Array, threshold: float) -> tuple[float, float]:
    """Return the length of the range, and the mean lateral error of its planes."""
    found = depth_of_field(held.z_um, jaccard, threshold)
    inside = (held.z_um >= found.low_um) & (held.z_um <= found.high_um) & (jaccard >= threshold)
    return found.length_um, float(rmse_um[inside].mean()) if inside.any() else float("nan")
