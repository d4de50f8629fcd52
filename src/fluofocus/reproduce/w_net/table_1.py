"""W-Net, Table 1: the depth of field by how much worse than in focus is good enough."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fluofocus.measure.beads import Array
from fluofocus.reproduce.reproduction import Part, Progress, Request, Section, Table
from fluofocus.reproduce.w_net.fields import REGISTRATION_ERROR_UM
from fluofocus.reproduce.w_net.methods import COARSE_UM, HELIX, PLANES_UM, SCANNED
from fluofocus.reproduce.w_net.native import (
    NATIVE_LENGTH_UM,
    Extent,
    extent,
    native_jaccard,
    native_rmse_um,
)
from fluofocus.reproduce.w_net.scores import interval, resampled
from fluofocus.reproduce.w_net.setting import PAPER_JACCARD, PAPER_RMSE_NM, described
from fluofocus.reproduce.w_net.sweep import SEED, Sweep, measured
from fluofocus.units import um_to_nm

PAPER: Mapping[float, tuple[str, str, str]] = {
    0.0: ("0.726", "64.53", "6.6"),
    0.1: ("0.653", "66.05", "7.5"),
    0.2: ("0.581", "68.40", "8.2"),
}
"""Threshold, error in nm and depth of field in µm by tolerance."""


def table_1(request: Request, progress: Progress) -> Section:
    """Measure over which defocus beads are found as well as in focus."""
    sweep = measured(request, progress)
    tables = [_table(sweep, HELIX)] if HELIX in sweep.curves else []
    return Section(
        title="Table 1: depth of field",
        paragraphs=(
            *described(request, sweep),
            "The depth of field is the unbroken range about focus over which the Jaccard index "
            "is at least the native one, or less by the tolerance. Between planes, "
            f"{_spacing_um(PLANES_UM):g} µm apart for filters and network and "
            f"{_spacing_um(COARSE_UM):g} µm for what they are compared with, it is taken as "
            "linear. The error is the mean over its planes.",
        ),
        tables=(*tables, _others_table(sweep)),
        figures=(),
        seed=SEED,
    )


def _spacing_um(planes_um: tuple[float, ...]) -> float:
    return planes_um[1] - planes_um[0]


def _table(sweep: Sweep, name: str) -> Table:
    weights = resampled(sweep.curves[SCANNED].counted.shape[1], SEED)
    rows = [
        (
            "native",
            f"{float(native_jaccard(sweep)):.3f} {_span(native_jaccard(sweep, weights), 3)}",
            f"{PAPER_JACCARD}",
            f"{um_to_nm(float(native_rmse_um(sweep))):.1f} "
            f"{_span(um_to_nm(1.0) * native_rmse_um(sweep, weights), 1)}",
            f"{PAPER_RMSE_NM}",
            f"{NATIVE_LENGTH_UM}",
            f"{NATIVE_LENGTH_UM}",
        )
    ]
    for tolerance, (threshold, error, length) in PAPER.items():
        found = extent(sweep, name, tolerance)
        rows.append(
            (
                f"{tolerance:.0%}",
                f"{found.threshold:.3f}",
                threshold,
                _error(found),
                error,
                _length(found.range.length_um, found.range.reaches_end)
                + f" {_bracketed(found.length_interval_um, 1)}",
                length,
            )
        )
    return Table(
        f"{name}, with 95 % intervals",
        (
            "tolerance",
            "JI threshold",
            "paper",
            "mean lateral RMSE (nm)",
            "paper",
            "depth of field (µm)",
            "paper",
        ),
        tuple(rows),
    )


def _others_table(sweep: Sweep) -> Table:
    rows = []
    for name in sweep.curves:
        found = [extent(sweep, name, tolerance) for tolerance in PAPER]
        within_um = um_to_nm(found[0].rmse_um)
        beyond = (max(within_um**2 - um_to_nm(REGISTRATION_ERROR_UM) ** 2, 0)) ** 0.5
        rows.append(
            (
                name,
                *(_length(each.range.length_um, each.range.reaches_end) for each in found),
                f"{within_um:.1f}" if found[0].range.length_um else "–",
                f"{beyond:.1f}" if found[0].range.length_um else "–",
            )
        )
    return Table(
        "Depth of field of every method (µm), and its lateral error (nm)",
        ("", "0 %", "10 %", "20 %", "RMSE at 0 %", "without the registration error"),
        tuple(rows),
    )


def _error(found: Extent) -> str:
    """Return the mean lateral error in nm, where there is a depth of field."""
    if np.isnan(found.rmse_um):
        return "–"
    within = f"{um_to_nm(found.rmse_um):.1f}"
    if np.isnan(found.rmse_interval_um).any():
        return within
    return f"{within} {_bracketed(um_to_nm(1.0) * found.rmse_interval_um, 1)}"


def _length(length_um: float, reaches_end: bool) -> str:
    return f"{'at least ' if reaches_end else ''}{length_um:.1f}"


def _span(drawn: Array, digits: int) -> str:
    return _bracketed(interval(drawn), digits)


def _bracketed(bounds: Array, digits: int) -> str:
    low, high = bounds
    return f"({low:.{digits}f}–{high:.{digits}f})"


PART = Part("Table 1, depth of field", table_1, fields=4)
