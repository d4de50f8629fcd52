"""All methods on all fields, by the input's defocus; worked out once for figure and table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fluofocus.reproduce.reproduction import Progress, Request
from fluofocus.reproduce.w_net.fields import Bench, Plane, open_bench
from fluofocus.reproduce.w_net.methods import all_methods, open_models
from fluofocus.reproduce.w_net.scores import Curve, FieldScore, curve
from fluofocus.reproduce.w_net.tuning import tuned

SEED = 9_650_000


@dataclass(frozen=True)
class Sweep:
    """The curve and the threshold of each method, by its name."""

    bench: Bench
    curves: Mapping[str, Curve]
    noise_thresholds: Mapping[str, float | None]


_kept: dict[tuple[tuple[tuple[str, str], ...], int], Sweep] = {}
"""The last sweep, by its models and its number of fields."""


def measured(request: Request, progress: Progress) -> Sweep:
    """Score all methods, or return what they scored when last asked for."""
    asked = (tuple(request.models.items()), request.fields)
    if asked not in _kept:
        sweep = _measure(request, progress)
        _kept.clear()
        _kept[asked] = sweep
    return _kept[asked]


def _measure(request: Request, progress: Progress) -> Sweep:
    methods = all_methods(open_models(request.models))
    planes_um = sorted({z for method in methods for z in method.planes_um})
    progress(0, len(planes_um))
    bench = open_bench()
    methods = tuned(bench, methods)
    fields = [bench.field(SEED + index) for index in range(request.fields)]
    scores: dict[str, list[tuple[float, list[FieldScore]]]] = {each.name: [] for each in methods}
    for done, z_um in enumerate(planes_um, start=1):
        plane = Plane(bench, z_um)
        recordings = [plane.record(field) for field in fields]
        for method in methods:
            if z_um in method.planes_um:
                both = zip(recordings, fields, strict=True)
                each = [method.score(recorded, plane, field) for recorded, field in both]
                scores[method.name].append((z_um, each))
        progress(done, len(planes_um))
    return Sweep(
        bench,
        {name: curve(each) for name, each in scores.items()},
        {method.name: method.noise_threshold for method in methods},
    )
