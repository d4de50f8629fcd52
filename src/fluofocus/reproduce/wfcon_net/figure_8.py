"""WFCON-Net, Fig. 8: registration by the point spread function between two stacks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fluofocus.prepare.register_psf import REACH_ZYX
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
from fluofocus.reproduce.wfcon_net.bench import open_bench
from fluofocus.reproduce.wfcon_net.methods import L1, MISREGISTERED
from fluofocus.reproduce.wfcon_net.registration import (
    CORRELATION,
    PSF,
    Found,
    by_correlation,
    by_psf,
)
from fluofocus.reproduce.wfcon_net.scores import Array
from fluofocus.reproduce.wfcon_net.setting import SCORED
from fluofocus.reproduce.wfcon_net.slices import (
    BACKGROUND_PHOTONS,
    PEAK_PHOTONS,
    STEP_UM,
    Kind,
    new_imaging,
)
from fluofocus.reproduce.wfcon_net.tables import score_fields, score_table
from fluofocus.simulate.pair import Misregistration

SEED = 9_730_000
KINDS = {Kind("thin", thickness_um=3.0): REACH_ZYX[0], Kind("thick", thickness_um=38.0): 0}
"""And how many planes beyond the slice are recorded, so that there are enough of them."""
FIELD_PX = 512
"""Cells are large: smaller fields hold too few of them to be registered (the paper's: 2048)."""
MOST_ZYX = (3.0, 5.0, 5.0)
"""Largest shift, in planes and pixels."""
METHODS = {PSF: by_psf, CORRELATION: by_correlation}
_TRAINED = (
    f"'{MISREGISTERED}' was trained as '{L1}' was, but on pairs as far apart as cross-correlation "
    "leaves thick ones: by as many planes and pixels rms as its configuration says. Both are "
    "scored as in Figure 3."
)
COLOURS = {PSF: "#c2410c", CORRELATION: "#1d4ed8"}


@dataclass(frozen=True)
class Pair:
    """What every method found of one pair, and the truth."""

    shift_zyx: Array
    found: Mapping[str, Found]

    def error(self, method: str) -> Array:
        """Return the error ``(3,)``, NaN where nothing was found."""
        shift = self.found[method].shift_zyx
        return np.full(3, np.nan) if shift is None else shift - self.shift_zyx


def figure_8(request: Request, progress: Progress) -> Section:
    """Register shifted pairs, and compare networks trained on aligned and on misaligned ones."""
    bench = open_bench(request)
    methods = bench.present(L1, MISREGISTERED)
    fields = request.fields if len(methods) > 1 else 0
    shifted = len(KINDS) * request.fields
    pairs: dict[str, list[Pair]] = {kind.name: [] for kind in KINDS}
    progress(0, shifted + fields)
    for number, (kind, beyond) in enumerate(KINDS.items()):
        for index in range(request.fields):
            pairs[kind.name].append(_registered(kind, beyond, SEED + index))
            progress(number * request.fields + index + 1, shifted + fields)
    tables = [_table(pairs)]
    if fields:
        scores = score_fields(
            bench, methods, fields, lambda done, _: progress(shifted + done, shifted + fields)
        )
        tables.append(score_table("Trained on aligned and on misaligned pairs", scores, {}))
    path = request.folder / "figure-8.png"
    _draw(pairs, path)
    return Section(
        title="Figure 8: registration",
        paragraphs=_paragraphs(request, is_scored=bool(fields)),
        tables=tuple(tables),
        figures=(
            Figure(
                path,
                "a: axial errors of each pair. b, c: curves along z through the highest point, of "
                "the first thin and thick pair; dotted, the true shift.",
            ),
        ),
        seed=SEED,
    )


def _paragraphs(request: Request, *, is_scored: bool) -> tuple[str, str]:
    thin, thick = KINDS
    return (
        f"{request.fields} pairs of each kind, {FIELD_PX} x {FIELD_PX} pixels, recorded with "
        f"{PEAK_PHOTONS:g} photons over {BACKGROUND_PHOTONS:g}: slices of {thin.thickness_um:g} µm "
        f"and of {thick.thickness_um:g} µm, the confocal stack shifted by up to {MOST_ZYX[0]:g} "
        f"planes and {MOST_ZYX[1]:g} pixels. The true shift is known here, where the paper aligned "
        "by hand. The paper prints no errors, but says that those of the PSF stay below half a "
        "plane and that cross-correlation is worse in z, in the thick sample above all.",
        models_named(request, L1, MISREGISTERED) + (f" {_TRAINED} {SCORED}" if is_scored else ""),
    )


def _registered(kind: Kind, beyond: int, seed: int) -> Pair:
    """Simulate a pair with a shift of its own, and look for that."""
    shift = np.random.default_rng(seed).uniform(-1, 1, 3) * MOST_ZYX
    z, y, x = shift.tolist()
    images = new_imaging(
        kind, side_px=FIELD_PX, beyond=beyond, misregistration=Misregistration((z, y, x))
    )
    pair = images(
        kind.phantom,
        seed=seed,
        widefield_peak_photons=PEAK_PHOTONS,
        confocal_peak_photons=PEAK_PHOTONS,
        background_photons=BACKGROUND_PHOTONS,
    )
    stacks = pair.confocal.counts, pair.widefield.counts
    return Pair(shift, {name: method(*stacks) for name, method in METHODS.items()})


def _table(pairs: Mapping[str, Sequence[Pair]]) -> Table:
    rows = []
    for kind, each in pairs.items():
        for name in METHODS:
            errors = np.array([pair.error(name) for pair in each])
            held = errors[np.isfinite(errors).all(axis=1)]
            axial = np.abs(held[:, 0])
            lateral = np.array([math.hypot(*error[1:]) for error in held])
            cells = (
                [f"{f(x):.3f}" for x in (axial, lateral) for f in (np.median, np.max)]
                if len(held)
                else ["–"] * 4
            )
            rows.append((f"{kind}, {name}", *cells, f"{len(each) - len(held)} of {len(each)}"))
    return Table(
        f"Errors of the shift, in planes of {STEP_UM:g} µm and in pixels",
        ("", "axial median", "axial worst", "lateral median", "lateral worst", "no peak"),
        tuple(rows),
    )


def _draw(pairs: Mapping[str, Sequence[Pair]], path: Path) -> None:
    figure = new_figure(11.0, 3.4)
    errors, *profiles = figure.subplots(1, 1 + len(pairs))
    for number, (kind, each) in enumerate(pairs.items()):
        for offset, name in zip((-0.12, 0.12), METHODS, strict=True):
            axial = [abs(pair.error(name)[0]) for pair in each]
            errors.plot([number + offset] * len(axial), axial, "o", color=COLOURS[name], ms=4)
        lags = np.arange(-REACH_ZYX[0], REACH_ZYX[0] + 1)
        axis = profiles[number]
        for name in METHODS:
            axis.plot(lags, each[0].found[name].profile, ".-", color=COLOURS[name], label=name)
        axis.axvline(each[0].shift_zyx[0], color="#444444", lw=0.8, ls=":")
        axis.set(xlabel="shift (planes)", ylabel="relative height")
        axis.set_title(f"{'bc'[number]}  {kind}", loc="left")
    errors.set_title("a", loc="left")
    errors.set(ylabel="axial error (planes)", ylim=(0, None), xlim=(-0.5, len(pairs) - 0.5))
    errors.set_xticks(range(len(pairs)), list(pairs))
    profiles[-1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for axis in (errors, *profiles):
        axis.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


PART = Part("Figure 8, registration", figure_8, fields=4)
