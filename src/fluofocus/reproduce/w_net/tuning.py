"""How far a bead must stand out to count: one number for each method, from other fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fluofocus.measure.beads import find_beads, image_noise
from fluofocus.measure.localisation import score_positions
from fluofocus.reproduce.w_net.fields import Bench, Field, Kind, Plane
from fluofocus.reproduce.w_net.methods import COARSE_UM, Method
from fluofocus.reproduce.w_net.scores import TOLERANCE_UM, without_rim
from fluofocus.units import AnyArray, FloatArray

SEED = 9_655_000
FIELDS = 2
REACH_UM = 4.0


def tuned(bench: Bench, methods: Sequence[Method]) -> list[Method]:
    """Give each method without a threshold the one of the best mean Jaccard index near focus."""
    fields = [bench.field(SEED + index) for index in range(FIELDS)]
    scores: dict[str, list[list[float]]] = {each.name: [] for each in methods}
    for z_um in (z for z in COARSE_UM if abs(z) <= REACH_UM):
        plane = Plane(bench, z_um)
        for field in fields:
            recorded = plane.record(field)
            for method in methods:
                if method.noise_threshold is None and z_um in method.planes_um:
                    scores[method.name].append(_by_threshold(method, recorded, plane, field))
    return [
        replace(method, noise_threshold=method.thresholds[int(np.mean(found, axis=0).argmax())])
        if (found := scores[method.name])
        else method
        for method in methods
    ]


def _by_threshold(
    method: Method, recorded: Mapping[Kind, FloatArray], plane: Plane, field: Field
) -> list[float]:
    """Return the Jaccard index for each threshold."""
    counts = recorded[method.kind]
    image: AnyArray = method.make(counts, plane)
    noise = image_noise(image if method.own_noise else counts)
    found = find_beads(image, noise_threshold=method.thresholds[0], min_contrast=0.0, noise=noise)
    return [
        score_positions(
            found.yx_px[found.height > threshold * noise],
            field.known_px,
            pixel_size_um=plane.bench.pixel_um,
            tolerance_um=TOLERANCE_UM,
            inside_px=without_rim(image),
        ).jaccard
        for threshold in method.thresholds
    ]
