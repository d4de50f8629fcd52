"""Tables of scores, the paper's beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fluofocus.reproduce.reproduction import Progress, Table
from fluofocus.reproduce.statistics import with_interval
from fluofocus.reproduce.wfcon_net.bench import Bench
from fluofocus.reproduce.wfcon_net.methods import Method
from fluofocus.reproduce.wfcon_net.scores import Array, Scores

HEADER = ("", "RMSE", "paper", "SSIM", "paper", "fitted RMSE", "fitted SSIM")


def score_table(
    caption: str,
    scores: Mapping[str, Sequence[Scores]],
    paper: Mapping[str, tuple[str, str]],
) -> Table:
    """Return RMSE and SSIM of each row, its fields one after the other."""
    rows = []
    for name, each in scores.items():
        error, similarity = paper.get(name, ("", ""))
        rmse, ssim, fitted_rmse, fitted_ssim = (
            with_interval([float(getattr(field, metric).mean()) for field in each])
            for metric in ("rmse", "ssim", "fitted_rmse", "fitted_ssim")
        )
        rows.append((name, rmse, error, ssim, similarity, fitted_rmse, fitted_ssim))
    return Table(caption, HEADER, tuple(rows))


def score_fields(
    bench: Bench, methods: Sequence[Method], fields: int, progress: Progress
) -> dict[str, list[Scores]]:
    """Score methods on the first fields: the scores of each field, by the method's name."""
    scores: dict[str, list[Scores]] = {each.name: [] for each in methods}
    progress(0, fields)
    for index in range(fields):
        for method in methods:
            scores[method.name].append(bench.scores(method, index))
        progress(index + 1, fields)
    return scores


def mean_by_plane(scores: Sequence[Scores], name: str) -> Array:
    """Return a score's mean over fields, plane by plane."""
    return np.asarray(np.mean([getattr(field, name) for field in scores], axis=0))
