"""WFCON-Net, Fig. 5: error and sharpness by depth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fluofocus.report.drawing import new_figure, save_figure
from fluofocus.reproduce.reproduction import (
    Figure,
    Part,
    Progress,
    Request,
    Section,
    Table,
    models_named,
)
from fluofocus.reproduce.wfcon_net.bench import SEED, open_bench
from fluofocus.reproduce.wfcon_net.methods import CONFOCAL, WFCON, WIDEFIELD, Method
from fluofocus.reproduce.wfcon_net.scores import Array
from fluofocus.reproduce.wfcon_net.setting import SCORED, described
from fluofocus.reproduce.wfcon_net.tables import mean_by_plane, score_fields

BAND_UM = 8.0
COLOURS = {WIDEFIELD: "#eab308", WFCON: "#1d4ed8", CONFOCAL: "#444444"}
METRICS = ("rmse", "ssim", "signal", "background")


def figure_5(request: Request, progress: Progress) -> Section:
    """Score stacks by depth, and measure how sharp their planes are."""
    bench = open_bench(request)
    methods = [Method(WIDEFIELD), *bench.present(WFCON), Method(CONFOCAL)]
    scores = score_fields(bench, methods, request.fields, progress)
    depths_um = bench.field(0).depths_um
    curves = {
        name: {metric: mean_by_plane(each, metric) for metric in METRICS}
        for name, each in scores.items()
    }
    path = request.folder / "figure-5.png"
    _draw(curves, depths_um, path)
    return Section(
        title="Figure 5: by depth",
        paragraphs=(
            f"{described(request)} {models_named(request, WFCON)} {SCORED}",
            "Sharpness is the mean gradient in patches of 32 x 32 pixels: of the sharpest patch of "
            "a plane for the signal, of the least sharp one for the background; of the recorded, "
            "noisy wide-field stack and of the confocal one without noise. The paper finds the "
            "RMSE steady over depth and the confocal images losing sharpness, until the network's "
            "are as sharp; it prints no numbers.",
        ),
        tables=tuple(
            _table(curves, depths_um, metrics, caption)
            for metrics, caption in (
                (("rmse", "ssim"), "RMSE and SSIM by depth, means over fields"),
                (("signal", "background"), "Sharpness of signal and background by depth"),
            )
        ),
        figures=(
            Figure(
                path,
                "a: RMSE by depth below the surface. b: sharpness of the signal (lines) and of the "
                "background (dashed). Means over fields.",
            ),
        ),
        seed=SEED,
    )


def _table(
    curves: dict[str, dict[str, Array]], depths_um: Array, metrics: Sequence[str], caption: str
) -> Table:
    band = np.floor(depths_um / BAND_UM).astype(int)
    rows = [
        (
            name,
            *(
                ", ".join(f"{curve[metric][band == each].mean():.4f}" for metric in metrics)
                for each in np.unique(band)
            ),
        )
        for name, curve in curves.items()
        if not (name == CONFOCAL and "rmse" in metrics)
    ]
    header = (f"{each * BAND_UM:g} to {(each + 1) * BAND_UM:g} µm" for each in np.unique(band))
    return Table(caption, ("", *header), tuple(rows))


def _draw(curves: dict[str, dict[str, Array]], depths_um: Array, path: Path) -> None:
    figure = new_figure(9.0, 3.6)
    error, sharp = figure.subplots(1, 2)
    for name, curve in curves.items():
        if name != CONFOCAL:
            error.plot(depths_um, curve["rmse"], color=COLOURS[name], label=name)
        sharp.plot(depths_um, curve["signal"], color=COLOURS[name], label=name)
        sharp.plot(depths_um, curve["background"], color=COLOURS[name], ls="--")
    for axis, letter, label in ((error, "a", "RMSE"), (sharp, "b", "sharpness")):
        axis.set_title(letter, loc="left", fontweight="bold")
        axis.set(xlabel="depth (µm)", ylabel=label, ylim=(0, None))
        axis.spines[["top", "right"]].set_visible(False)
    sharp.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save_figure(figure, path)


PART = Part("Figure 5, by depth", figure_5, fields=4)
