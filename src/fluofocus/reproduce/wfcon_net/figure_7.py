"""WFCON-Net, Fig. 7: what the losses do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
from fluofocus.reproduce.wfcon_net.methods import GAN, L1, VGG, WFCON, WIDEFIELD, Method
from fluofocus.reproduce.wfcon_net.scores import FINE_PER_UM, Scores
from fluofocus.reproduce.wfcon_net.setting import SCORED, described, patches_named
from fluofocus.reproduce.wfcon_net.tables import score_fields, score_table

PAPER = {VGG: ("0.0575", "0.7673")}
ORDER = (L1, GAN, VGG, WFCON)


def figure_7(request: Request, progress: Progress) -> Section:
    """Compare networks that differ by their losses alone."""
    bench = open_bench(request)
    methods = [Method(WIDEFIELD), *bench.present(*ORDER)]
    scores = score_fields(bench, methods, request.fields, progress)
    return Section(
        title="Figure 7: losses",
        paragraphs=(
            f"{described(request)} {models_named(request, *ORDER)}",
            f"'{L1}' is a network that learnt absolute and relative errors alone, as networks of "
            f"the CARE kind do, '{GAN}' had a discriminator too, and '{VGG}' also the perceptual "
            f"loss. {patches_named(bench, *ORDER)} The paper prints the sums "
            "of the lateral spectra in a box of its figure, and no table; it says that the "
            f"perceptual loss gives more fine detail and slightly worse RMSE and SSIM. {SCORED}",
        ),
        tables=(
            score_table("Against the confocal stacks", scores, PAPER),
            _table_of_detail(scores),
        ),
        figures=(draw_methods(bench, methods, request, "figure-7.png"),),
        seed=SEED,
    )


def _table_of_detail(scores: Mapping[str, Sequence[Scores]]) -> Table:
    low, high = FINE_PER_UM
    rows = [
        (name, with_interval([float(field.fine.mean()) for field in each], 3))
        for name, each in scores.items()
    ]
    return Table(
        f"Lateral spectrum from {low:g} to {high:g} periods per µm over that of the confocal "
        "stack, after the best gain: 1 is as much detail, true or not",
        ("", "fine detail"),
        tuple(rows),
    )


PART = Part("Figure 7, losses", figure_7, fields=4)
