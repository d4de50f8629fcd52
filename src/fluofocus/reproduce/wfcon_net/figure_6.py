"""WFCON-Net, Fig. 6: the 3D network, the 2D one, and Deep-Z+ from single planes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fluofocus.models.bundle import Model
from fluofocus.reproduce.reproduction import (
    Figure,
    Part,
    Progress,
    Request,
    Section,
    Table,
    models_named,
)
from fluofocus.reproduce.statistics import with_interval
from fluofocus.reproduce.wfcon_net.bench import SEED, SHOWN, Bench, open_bench
from fluofocus.reproduce.wfcon_net.columns import fields_shown
from fluofocus.reproduce.wfcon_net.coverage import SHARE, Coverage, coverage
from fluofocus.reproduce.wfcon_net.methods import (
    CONFOCAL,
    DEEP_Z_PLUS,
    FLAT,
    L1,
    WFCON,
    WIDEFIELD,
    Method,
    groups,
)
from fluofocus.reproduce.wfcon_net.panels import Row, draw_columns
from fluofocus.reproduce.wfcon_net.scores import Scores
from fluofocus.reproduce.wfcon_net.setting import SCORED, described, patches_named
from fluofocus.reproduce.wfcon_net.slices import STEP_UM
from fluofocus.reproduce.wfcon_net.tables import mean_by_plane, score_fields, score_table
from fluofocus.units import FloatArray

PAPER = {WFCON: ("0.0575", "0.7673")}
SHOWN_DEPTH_UM = 24.5
"""One of the two planes that the paper shows."""
ORDER = (WFCON, L1, FLAT, DEEP_Z_PLUS)


def figure_6(request: Request, progress: Progress) -> Section:
    """Compare the networks on all regions, and their spectra."""
    bench = open_bench(request)
    methods = [*bench.present(*ORDER), Method(WIDEFIELD)]
    scores = score_fields(bench, methods, request.fields, progress)
    spectra: dict[str, list[Coverage]] = {}
    for index in range(min(request.fields, SHOWN)):
        for name, stack in bench.stacks(methods[::-1], index).items():
            spectra.setdefault(name, []).append(_covered(bench, stack, index))
    deep_z_plus = bench.model(DEEP_Z_PLUS)
    by_distance = (
        (_table_by_distance(deep_z_plus, scores),) if isinstance(deep_z_plus, Model) else ()
    )
    return Section(
        title="Figure 6: networks of stacks, of planes, and of one plane",
        paragraphs=(
            f"{described(request)} {models_named(request, *ORDER)}",
            f"{patches_named(bench, WFCON, L1, FLAT)} "
            "The 2D network sees each plane alone. Deep-Z+ sees one plane in the middle of each "
            "group of planes within the range it was trained for, and makes all planes of the "
            "group of it; its stack is put together from these and normalised by itself, as the "
            "wide-field one is. The paper prints no scores of 2D and Deep-Z+. "
            f"{SCORED}",
        ),
        tables=(
            score_table("Against the confocal stacks", scores, PAPER),
            *by_distance,
            _table_of_spectra(spectra),
        ),
        figures=(_figure(bench, methods, spectra, request),),
        seed=SEED,
    )


def _covered(bench: Bench, stack: FloatArray, index: int) -> Coverage:
    field = bench.field(index)
    return coverage(stack, field.truth, field.microscope.pixel_size_um)


def _table_by_distance(model: Model, scores: Mapping[str, Sequence[Scores]]) -> Table:
    """Return scores by how far each plane lies from the one that Deep-Z+ was given."""
    planes = len(next(iter(scores.values()))[0].rmse)
    away = np.concatenate([np.abs(np.array(span) - at) for at, span in groups(model, planes)])
    distances = np.unique(away)
    rows = []
    for name, each in scores.items():
        means = [mean_by_plane(each, metric) for metric in ("rmse", "ssim")]
        cells = (", ".join(f"{mean[away == d].mean():.4f}" for mean in means) for d in distances)
        rows.append((name, *cells))
    header = ("", *(f"{d * STEP_UM:g} µm" for d in distances))
    return Table(
        "RMSE and SSIM by distance from the plane that Deep-Z+ is given", header, tuple(rows)
    )


def _table_of_spectra(spectra: Mapping[str, Sequence[Coverage]]) -> Table:
    rows = []
    for name, each in spectra.items():
        agreement = (
            ("–", "–")
            if name == CONFOCAL
            else (
                with_interval([one.lateral_um for one in each], 2),
                with_interval([one.axial_um for one in each], 2),
            )
        )
        rows.append((name, with_interval([100 * one.share for one in each], 1), *agreement))
    return Table(
        f"Spectra of up to {SHOWN} fields: frequencies with at least {SHARE:g} of the highest "
        "amplitude, and the finest periods down to which a stack agrees with the confocal one",
        ("", "spectrum held (%)", "lateral agreement (µm)", "axial agreement (µm)"),
        tuple(rows),
    )


def _figure(
    bench: Bench,
    methods: Sequence[Method],
    spectra: Mapping[str, Sequence[Coverage]],
    request: Request,
) -> Figure:
    rows = []
    for index in fields_shown(request):
        field = bench.field(index)
        plane = int(np.abs(field.depths_um - SHOWN_DEPTH_UM).argmin())
        rows.append(Row(field.kind.name, bench.stacks(methods[::-1], index), plane=plane))
    path = request.folder / "figure-6.png"
    sections = {name: spectra[name][0].section for name in rows[0].stacks}
    draw_columns(rows, path, sections)
    return Figure(
        path,
        f"Planes {SHOWN_DEPTH_UM:g} µm deep, x–z sections along the dotted line, and the amplitude "
        "of the first field's spectrum (kx to the right, kz downwards as z is, four decades).",
    )


PART = Part("Figure 6, 3D, 2D and single planes", figure_6, fields=4)
