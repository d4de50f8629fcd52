"""WFCON-Net, Fig. 9: restoring from every second or fourth plane."""

from __future__ import annotations

import numpy as np

from fluofocus.reproduce.reproduction import (
    Part,
    Progress,
    Request,
    Section,
    Table,
    models_named,
)
from fluofocus.reproduce.statistics import with_interval
from fluofocus.reproduce.wfcon_net.bench import SEED, open_bench
from fluofocus.reproduce.wfcon_net.columns import draw_methods
from fluofocus.reproduce.wfcon_net.methods import ALL_PLANES, WFCON, WIDEFIELD, Method
from fluofocus.reproduce.wfcon_net.scores import Scores
from fluofocus.reproduce.wfcon_net.setting import SCORED, described
from fluofocus.reproduce.wfcon_net.slices import STEP_UM
from fluofocus.reproduce.wfcon_net.tables import score_fields, score_table

EVERY = (1, 2, 4)
PAPER = {
    Method(ALL_PLANES, every).name: scores
    for every, scores in zip(
        EVERY, (("0.0575", "0.7673"), ("0.0598", "0.7343"), ("0.0657", "0.6652")), strict=True
    )
}


def figure_9(request: Request, progress: Progress) -> Section:
    """Restore stacks of which planes were left out."""
    bench = open_bench(request)
    roles = [method.role for method in bench.present(ALL_PLANES, WFCON)]
    methods = [Method(role, every) for role in (*roles, WIDEFIELD) for every in EVERY]
    scores = score_fields(bench, methods, request.fields, progress)
    best = (roles or [WIDEFIELD])[-1]
    shown = [Method(WIDEFIELD, EVERY[-1]), *(Method(best, every) for every in EVERY)]
    return Section(
        title="Figure 9: fewer planes",
        paragraphs=(
            f"{described(request)} {models_named(request, ALL_PLANES, WFCON)}",
            "Of every two or four recorded planes one is left, "
            f"{2 * STEP_UM:g} or {4 * STEP_UM:g} µm apart; the others are interpolated between "
            f"them, and the outermost repeated. '{ALL_PLANES}' was trained with all planes, as the "
            f"paper's network; '{WFCON}' also with such stacks, which the paper expects to help. "
            f"{SCORED}",
        ),
        tables=(
            score_table("Against the confocal stacks", scores, PAPER),
            _table_of_losses([*roles, WIDEFIELD], scores),
        ),
        figures=(draw_methods(bench, shown, request, "figure-9.png"),),
        seed=SEED,
    )


def _table_of_losses(roles: list[str], scores: dict[str, list[Scores]]) -> Table:
    """Return how much worse stacks with fewer planes are, field by field."""
    rows = []
    for role in roles:
        whole, *thinner = [scores[Method(role, every).name] for every in EVERY]
        cells = [
            with_interval(
                [
                    float((getattr(fewer, metric) - getattr(all_planes, metric)).mean())
                    for fewer, all_planes in zip(each, whole, strict=True)
                ]
            )
            for each in thinner
            for metric in ("rmse", "ssim")
        ]
        rows.append((role, *cells))
    paper = np.array([PAPER[Method(ALL_PLANES, every).name] for every in EVERY], float)
    lost = (paper[1:] - paper[0]).ravel()
    rows.append(("paper", *(f"{value:.4f}" for value in lost)))
    header = [f"{metric}, every {nth}" for nth in ("2nd", "4th") for metric in ("RMSE", "SSIM")]
    return Table("What is lost without the other planes", ("", *header), tuple(rows))


PART = Part("Figure 9, fewer planes", figure_9, fields=4)
