"""WFCON-Net, Fig. 1: how much sharper signal is than background, in thin and thick samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fluofocus.measure.sharpness import sharpness
from fluofocus.report.drawing import new_figure, save_figure
from fluofocus.reproduce.reproduction import Figure, Part, Progress, Request, Section, Table
from fluofocus.reproduce.wfcon_net.methods import CONFOCAL, WIDEFIELD
from fluofocus.reproduce.wfcon_net.scores import Array
from fluofocus.reproduce.wfcon_net.slices import (
    BACKGROUND_PHOTONS,
    PEAK_PHOTONS,
    SIDE_PX,
    Kind,
    imaging,
    normalised,
)

SEED = 9_720_000
KINDS = (Kind("thin", thickness_um=3.0), Kind("thick", thickness_um=38.0))
COLOURS = {WIDEFIELD: "#eab308", CONFOCAL: "#444444"}
Curves = dict[str, dict[str, Array]]
"""Sharpness of signal and background ``(2, planes)`` by kind and modality."""


def figure_1(request: Request, progress: Progress) -> Section:
    """Measure the sharpness of recorded stacks, plane by plane."""
    curves: Curves = {}
    progress(0, len(KINDS) * request.fields)
    for number, kind in enumerate(KINDS):
        each = []
        for index in range(request.fields):
            each.append(_measured(kind, SEED + index))
            progress(number * request.fields + index + 1, len(KINDS) * request.fields)
        curves[kind.name] = {
            name: np.mean([one[name] for one in each], axis=0) for name in (WIDEFIELD, CONFOCAL)
        }
    path = request.folder / "figure-1.png"
    _draw(curves, path)
    return Section(
        title="Figure 1: thin and thick samples",
        paragraphs=(
            f"{request.fields} slices of {KINDS[0].thickness_um:g} µm and of "
            f"{KINDS[1].thickness_um:g} µm, {SIDE_PX} x {SIDE_PX} pixels, as both microscopes "
            f"record them, noise included: {PEAK_PHOTONS:g} photons in the brightest voxel over "
            f"{BACKGROUND_PHOTONS:g} of background. {KINDS[1].described}. The paper's thin sample "
            "are cultured cells (MCF10A); here it is the same tissue, cut thin.",
            "Sharpness is the mean gradient in patches of 32 x 32 pixels: of the sharpest patch of "
            "a plane for the signal, of the least sharp one for the background. Contrast is their "
            "ratio. The paper says that wide-field contrast is up to 5 times lower in the thick "
            "sample; the best plane of the thin one is compared with the worst of the thick one.",
        ),
        tables=(_table(curves),),
        figures=(
            Figure(
                path,
                "Sharpness of the signal (lines) and of the background (dashed) by depth, of "
                "normalised stacks: a thin, b thick.",
            ),
        ),
        seed=SEED,
    )


def _measured(kind: Kind, seed: int) -> dict[str, Array]:
    pair = imaging(kind)(
        kind.phantom,
        seed=seed,
        widefield_peak_photons=PEAK_PHOTONS,
        confocal_peak_photons=PEAK_PHOTONS,
        background_photons=BACKGROUND_PHOTONS,
    )
    found = {}
    for name, stack in ((WIDEFIELD, pair.widefield), (CONFOCAL, pair.confocal)):
        each = sharpness(torch.from_numpy(normalised(stack.counts)))
        found[name] = torch.stack([each.signal, each.background]).double().numpy()
    return found


def _table(curves: Curves) -> Table:
    rows = []
    contrasts = {
        (kind, name): signal / background
        for kind, both in curves.items()
        for name, (signal, background) in both.items()
    }
    for (kind, name), contrast in contrasts.items():
        signal, background = curves[kind][name].mean(axis=1)
        cells = (signal, background, contrast.mean(), contrast.min(), contrast.max())
        rows.append((f"{kind}, {name}", *(f"{cell:.3f}" for cell in cells), "", ""))
    thin, thick = (contrasts[kind.name, WIDEFIELD] for kind in KINDS)
    ratio = f"{thin.max() / thick.min():.2f}", "up to 5"
    rows.append(
        ("wide-field, thin over thick", "", "", f"{thin.mean() / thick.mean():.2f}", "", "", *ratio)
    )
    return Table(
        "Sharpness, means over planes and slices",
        (
            "",
            "signal",
            "background",
            "contrast",
            "lowest",
            "highest",
            "highest over lowest",
            "paper",
        ),
        tuple(rows),
    )


def _draw(curves: Curves, path: Path) -> None:
    figure = new_figure(9.0, 3.6)
    axes = figure.subplots(1, len(KINDS), sharey=True)
    for axis, kind, letter in zip(axes, KINDS, "ab", strict=True):
        planes = curves[kind.name][WIDEFIELD].shape[1]
        depths_um = (np.arange(planes) + 0.5) * kind.thickness_um / planes
        for name, (signal, background) in curves[kind.name].items():
            axis.plot(depths_um, signal, color=COLOURS[name], label=name)
            axis.plot(depths_um, background, color=COLOURS[name], ls="--")
        axis.set_title(f"{letter}  {kind.name}, {kind.thickness_um:g} µm", loc="left")
        axis.set_xlabel("depth (µm)")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set(ylabel="sharpness", ylim=(0, None))
    axes[0].legend(frameon=False, fontsize=8)
    save_figure(figure, path)


PART = Part("Figure 1, thin and thick samples", figure_1, fields=4)
