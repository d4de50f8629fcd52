"""The pictures of `robustness`: errors along each sweep, and whether they were expected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fluofocus.report.drawing import new_figure, save_figure
from fluofocus.reproduce.deep_z.robustness_sweeps import DISTANCES_UM, SWEEPS, Range, Sweep
from fluofocus.reproduce.deep_z.robustness_tables import ByDistance, Condition, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("tab:blue", "tab:orange", "tab:red")
MOST_SHOWN = 1.6
_COLUMNS = 3


def draw_errors(
    by_condition: Mapping[Condition, ByDistance], trained: Mapping[str, Range], path: Path
) -> None:
    """Draw a panel for each sweep: errors before and after refocusing."""
    rows = -(-len(SWEEPS) // _COLUMNS)
    figure = new_figure(4.3 * _COLUMNS, 3.0 * rows)
    axes = figure.subplots(rows, _COLUMNS, sharey=True).ravel()
    for axis, (name, sweep) in zip(axes, SWEEPS.items(), strict=False):
        if name in trained:
            axis.axvspan(*trained[name], color="0.9", zorder=0)
        for told in (False, True) if sweep.is_told else (False,):
            scored = {v: by_condition[Condition(name, v, told)] for v in sweep.values}
            _draw_sweep(axis, sweep, scored, told=told)
        axis.set(title=sweep.title, xlabel=sweep.axis, ylim=(0, MOST_SHOWN))
    for axis in axes[len(SWEEPS) :]:
        axis.set_visible(False)
    for axis in axes[::_COLUMNS]:
        axis.set_ylabel("error ÷ s.d. of the truth")
    labelled = {
        label: handle
        for axis in axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        if handle.get_linestyle() != "None"
    }
    figure.legend(
        labelled.values(), labelled.keys(), fontsize=8, loc="outside lower center", ncols=4
    )
    save_figure(figure, path)


def _draw_sweep(
    axis: Axes, sweep: Sweep, scored: Mapping[float, ByDistance], *, told: bool
) -> None:
    if sweep.is_logarithmic:
        axis.set_xscale("log")
    if sweep.labels:
        axis.set_xticks(sweep.values, sweep.labels, fontsize=8)
        axis.margins(x=0.15)
    columns = zip(*(by_distance.items() for by_distance in scored.values()), strict=True)
    for column in columns:
        distances, line = zip(*column, strict=True)
        single = len(set(distances)) > 1  # the sweep is one of distances
        name = "any distance" if single else f"{distances[0]:g} µm"
        colour = "black" if single else COLOURS[DISTANCES_UM.index(distances[0])]
        axis.plot(
            sweep.values,
            [each.after for each in line],
            ls="none" if sweep.labels else "--" if told else "-",
            marker="o" if sweep.labels else ".",
            color=colour,
            lw=1.0 if told else 1.6,
            label=f"{name}, optics told" if told else f"{name}, refocused",
        )
        if not told:
            axis.plot(
                sweep.values,
                [each.before for each in line],
                ls="none" if sweep.labels else ":",
                marker="x" if sweep.labels else "",
                color=colour,
                lw=1.0,
                label=f"{name}, recorded",
            )


def draw_expected(results: Results, path: Path) -> None:
    """Draw the expected error of each condition and distance against the true one."""
    figure = new_figure(5.2 * len(results) + 1.6, 4.6)
    axes = figure.subplots(1, len(results), squeeze=False)[0]
    for axis, (kind, by_condition) in zip(axes, results.items(), strict=True):
        for number, (name, sweep) in enumerate(SWEEPS.items()):
            scored = [
                each
                for condition, by_distance in by_condition.items()
                if condition.sweep == name and not condition.told
                for each in by_distance.values()
            ]
            axis.plot(
                [each.absolute for each in scored],
                [each.expected for each in scored],
                "o",
                ms=4,
                color=f"C{number}",
                label=sweep.title,
            )
        axis.set(
            xscale="log",
            yscale="log",
            xlabel="true mean absolute error ÷ s.d. of the truth",
            ylabel="expected by the model",
            title=kind,
        )
        for ruler in (axis.xaxis, axis.yaxis):
            ruler.set_minor_formatter("")
        ends = (
            max(axis.get_xlim()[0], axis.get_ylim()[0]),
            min(axis.get_xlim()[1], axis.get_ylim()[1]),
        )
        axis.plot(ends, ends, color="0.6", lw=0.8)
    axes[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save_figure(figure, path)
