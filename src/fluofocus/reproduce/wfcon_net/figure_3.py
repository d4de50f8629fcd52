"""WFCON-Net, Fig. 3: four regions, restored, against the confocal stacks."""

from __future__ import annotations

from fluofocus.reproduce.reproduction import (
    Figure,
    Part,
    Progress,
    Request,
    Section,
    Table,
    models_named,
)
from fluofocus.reproduce.wfcon_net.bench import SEED, SHOWN, Bench, open_bench
from fluofocus.reproduce.wfcon_net.methods import (
    DECONVOLVED,
    ITERATIONS,
    WFCON,
    WIDEFIELD,
    Method,
)
from fluofocus.reproduce.wfcon_net.panels import Row, draw_rows
from fluofocus.reproduce.wfcon_net.scores import Scores
from fluofocus.reproduce.wfcon_net.setting import SCORED, described
from fluofocus.reproduce.wfcon_net.slices import REGIONS
from fluofocus.reproduce.wfcon_net.tables import score_fields, score_table

PAPER = {WFCON: ("0.0575", "0.7673")}
"""Means of the 8 stacks it was tested on."""


def figure_3(request: Request, progress: Progress) -> Section:
    """Score all methods on all regions."""
    bench = open_bench(request)
    methods = [*bench.present(*request.models), Method(WIDEFIELD), Method(DECONVOLVED)]
    scores = score_fields(bench, methods, request.fields, progress)
    return Section(
        title="Figure 3: slices of brain, wide-field to confocal",
        paragraphs=(
            f"{described(request)} {models_named(request)}",
            f"{SCORED} The paper's scores are means of 8 stacks. Richardson-Lucy is given what a "
            f"point in the middle of the slice looks like, its aberration and scattering included, "
            f"and {ITERATIONS} accelerated iterations, chosen on slices of other seeds.",
        ),
        tables=(
            score_table("Against the confocal stacks", scores, PAPER),
            _table_by_region(scores),
        ),
        figures=(_figure(bench, request),),
        seed=SEED,
    )


def _table_by_region(scores: dict[str, list[Scores]]) -> Table:
    regions = [kind.name for kind in REGIONS]
    rows = []
    for name, each in scores.items():
        cells = []
        for first in range(len(regions)):
            own = each[first :: len(regions)]
            means = [
                sum(float(getattr(field, metric).mean()) for field in own) / len(own)
                for metric in ("rmse", "ssim")
                if own
            ]
            cells.append(", ".join(f"{mean:.4f}" for mean in means) or "–")
        rows.append((name, *cells))
    return Table(
        "RMSE and SSIM by region; the paper's grow worse with the number of neurons",
        ("", *regions),
        tuple(rows),
    )


def _figure(bench: Bench, request: Request) -> Figure:
    best = next((each for each in bench.present(WFCON)), Method(DECONVOLVED))
    rows = []
    for index in range(min(request.fields, SHOWN)):
        field = bench.field(index)
        stacks = bench.stacks([Method(WIDEFIELD), best], index)
        found = bench.scores(best, index)
        rows.append(
            Row(
                f"{field.kind.name}\nRMSE {found.rmse.mean():.4f}\nSSIM {found.ssim.mean():.3f}",
                stacks,
                error=stacks[best.name] - field.truth,
            )
        )
    path = request.folder / "figure-3.png"
    draw_rows(rows, path)
    return Figure(
        path,
        "Of each region a plane rich in detail, the error of what was restored (red: "
        "too bright, blue: too dark, up to 0.5), and x–z sections along the dotted line, "
        "through the whole slice. Lighter is more, to the power of 0.6.",
    )


PART = Part("Figure 3, slices of brain", figure_3, fields=4)
