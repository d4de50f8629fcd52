"""The tables of `robustness`: ranges of trust, warnings, and the numbers of each sweep."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr

from fluofocus.data.grid import PIXEL_TOLERANCE
from fluofocus.errors import FluoFocusWarning
from fluofocus.models.bundle import ModelCard
from fluofocus.refocus.microscope_check import warn_of_differences
from fluofocus.reproduce.deep_z.robustness_fields import Kind
from fluofocus.reproduce.deep_z.robustness_scores import Summary
from fluofocus.reproduce.deep_z.robustness_sweeps import (
    DISTANCES_UM,
    SWEEPS,
    Range,
    Scene,
    Sweep,
    base_scene,
)
from fluofocus.reproduce.reproduction import Table

FOUND, WIDER, GAP_CLOSED = 0.9, 0.25, 0.5
"""What is trusted: share of the beads found, error of their width, share of the gap closed."""

OVERCONFIDENT = 0.5
"""Expected over true error, below which a user is misled."""


@dataclass(frozen=True)
class Condition:
    """One value of a sweep, and whether the optics were told."""

    sweep: str
    value: float
    told: bool = False


ByDistance = Mapping[float, Summary]
Results = Mapping[Kind, Mapping[Condition, ByDistance]]
Trained = Mapping[Kind, Mapping[str, Range]]


def overall_agreement(by_condition: Mapping[Condition, ByDistance]) -> float:
    """Rank correlation of the expected with the true error over conditions and distances."""
    rows = [each for condition in by_condition.values() for each in condition.values()]
    return _agreement(rows)


def overconfident(results: Results) -> str:
    """Name the sweeps that at their worst are more than twice as wrong as the model expects."""
    named = [
        f"{sweep.title} ({', '.join(kinds)})"
        for name, sweep in SWEEPS.items()
        if (kinds := [kind for kind in results if _worst(results[kind], name)[1] < OVERCONFIDENT])
    ]
    return "; ".join(named) or "none"


def _worst(by_condition: Mapping[Condition, ByDistance], name: str) -> tuple[float, float]:
    """Return the value of a sweep with the largest true error, and expected over true there."""
    scored = {value: by_condition[Condition(name, value)] for value in SWEEPS[name].values}
    worst = max(scored, key=lambda value: _mean(scored[value], "absolute"))
    return worst, _mean(scored[worst], "expected") / _mean(scored[worst], "absolute")


def trust_table(results: Results, trained: Trained) -> Table:
    """Say within which values of each sweep, around the base, refocusing can be trusted."""
    rows = []
    for name, told in _sweeps():
        sweep = SWEEPS[name]
        title = sweep.title + (", optics told" if told else "")
        cells = [
            _trusted(sweep, name, told, kind, place, by_condition)
            for kind, by_condition in results.items()
            for place in range(len(DISTANCES_UM))
        ]
        ranges = {kind: _range_text(trained[kind].get(name)) for kind in results}
        shown = " / ".join(dict.fromkeys(ranges.values()))
        rows.append((title, sweep.axis, shown, *cells))
    return Table(
        "Within which range the output can be trusted, by distance; the rest at the base",
        (
            "changed",
            "in",
            "trained (beads / nuclei)",
            *(f"{kind}, {distance:g} µm" for kind in results for distance in DISTANCES_UM),
        ),
        tuple(rows),
    )


def _sweeps() -> list[tuple[str, bool]]:
    return [
        (name, told)
        for name, sweep in SWEEPS.items()
        for told in ((False, True) if sweep.is_told else (False,))
    ]


def _trusted(
    sweep: Sweep,
    name: str,
    told: bool,
    kind: Kind,
    place: int,
    by_condition: Mapping[Condition, ByDistance],
) -> str:
    good = []
    for value in sweep.values:
        scored = list(by_condition[Condition(name, value, told)].values())
        if len(scored) == 1 and place > 0:
            return "–"  # the sweep is one of distances
        good.append(is_trusted(kind, scored[place]))
    if sweep.labels:
        return ", ".join(sweep.label(v) for v, fine in zip(sweep.values, good, strict=True) if fine)
    base = sweep.values.index(sweep.base)
    if not good[base]:
        return "none"
    low, high = base, base
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(good) - 1 and good[high + 1]:
        high += 1
    return f"{sweep.label(sweep.values[low])} to {sweep.label(sweep.values[high])}"


def is_trusted(kind: Kind, scored: Summary) -> bool:
    """Return whether images of one condition and distance come out well enough."""
    if kind == "nuclei":
        return scored.gap_closed >= GAP_CLOSED
    return scored.found >= FOUND and abs(scored.relative_fwhm - 1) <= WIDER


def honesty_table(results: Results, cards: Mapping[Kind, ModelCard]) -> Table:
    """Compare, where each sweep is worst, the expected with the true error, by how both rose."""
    rows = []
    for name, sweep in SWEEPS.items():
        cells: list[str] = []
        said: dict[str, None] = {}
        for kind, by_condition in results.items():
            scored = {value: by_condition[Condition(name, value)] for value in sweep.values}
            worst, ratio = _worst(by_condition, name)
            rise, expected = (
                _mean(scored[worst], what) / _mean(scored[sweep.base], what)
                for what in ("absolute", "expected")
            )
            agreement = _agreement([each for value in scored.values() for each in value.values()])
            cells += [sweep.label(worst), f"{rise:.2f}, {expected:.2f}", f"{ratio:.2f}"]
            cells += [f"{agreement:.2f}"]
            said[_said(sweep, worst, cards[kind])] = None
        rows.append((sweep.title, *cells, " / ".join(text for text in said if text)))
    parts = (
        "worst at",
        "true and expected error over those at the base",
        "expected ÷ true error there",
        "rank correlation of both",
    )
    return Table(
        "Is a user warned? Mean absolute errors of all pixels and distances, as they are and as "
        "the model expects them (--uncertainty)",
        ("changed", *(f"{kind}: {part}" for kind in results for part in parts), "the software"),
        tuple(rows),
    )


def sweep_table(
    name: str, results: Results, trained: Trained, cards: Mapping[Kind, ModelCard]
) -> Table:
    """Give the numbers of one sweep; cells of several numbers are by distance."""
    sweep = SWEEPS[name]
    rows = []
    for told in (False, True) if sweep.is_told else (False,):
        for value in sweep.values:
            beads, nuclei = (
                list(results[kind][Condition(name, value, told)].values())
                for kind in ("beads", "nuclei")
            )
            inside = [kind for kind in results if _is_inside(value, trained[kind].get(name))]
            said = dict.fromkeys(_said(sweep, value, cards[kind]) for kind in results)
            rows.append(
                (
                    sweep.label(value) + (", told" if told else ""),
                    ", ".join(inside),
                    *_cells(beads, _COLUMNS["beads"]),
                    *_cells(nuclei, _COLUMNS["nuclei"]),
                    " / ".join(text for text in said if text),
                )
            )
    several = "" if name == "distance" else ", from 2 / 5 / 10 µm"
    columns = [f"{kind}: {title}" for kind, each in _COLUMNS.items() for title, _, _ in each]
    return Table(
        f"{sweep.title.capitalize()}{several}",
        (sweep.axis, "trained", *columns, "the software"),
        tuple(rows),
    )


_ERRORS = (("error before", "before", "{:.2f}"), ("after", "after", "{:.2f}"))
_HONESTY = ("expected ÷ true error", "honesty", "{:.2f}")
_COLUMNS: Mapping[Kind, Sequence[tuple[str, str, str]]] = {
    "beads": (
        *_ERRORS,
        ("found", "found", "{:.0%}"),
        ("FWHM ÷ true", "relative_fwhm", "{:.2f}"),
        _HONESTY,
    ),
    "nuclei": (*_ERRORS, ("gap closed", "gap_closed", "{:.2f}"), _HONESTY),
}
"""Title, attribute of a summary, and format of the columns of `sweep_table`."""


def _cells(scored: Sequence[Summary], columns: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return a cell for each column, its numbers by distance."""
    cells = []
    for _, name, form in columns:
        values = [getattr(each, name) for each in scored]
        texts = ("–" if math.isnan(value) else form.format(value) for value in values)
        cells.append(" / ".join(texts))
    return cells


def _mean(scored: ByDistance, name: str) -> float:
    return float(np.mean([getattr(each, name) for each in scored.values()]))


def _agreement(scored: Sequence[Summary]) -> float:
    expected, true = ([getattr(each, name) for each in scored] for name in ("expected", "absolute"))
    return float(spearmanr(expected, true).statistic)


def _is_inside(value: float, trained: Range | None) -> bool:
    return trained is not None and trained[0] <= value <= trained[1]


def _range_text(trained: Range | None) -> str:
    return "–" if trained is None else " to ".join(f"{float(f'{x:.3g}'):g}" for x in trained)


def _said(sweep: Sweep, value: float, card: ModelCard) -> str:
    """Return what the software says of a condition if it is given the microscope."""
    scene: Scene = sweep.change(base_scene(), value, torch.Generator().manual_seed(0))
    microscope = scene.light.microscope
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FluoFocusWarning)
        warn_of_differences(microscope, card)
    said = ["warns"] if caught else []
    if abs(microscope.pixel_size_um / card.training.pixel_size_um - 1) > PIXEL_TOLERANCE:
        said.append("resamples, with a note")
    low, high = card.training.defocus_um
    if scene.distances_um != DISTANCES_UM and not low <= value <= high:
        said.append("refuses without --allow-extrapolation")
    return ", ".join(said)
