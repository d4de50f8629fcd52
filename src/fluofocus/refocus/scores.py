"""Scores of a model by refocusing distance: rows, a CSV file, a table to print."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from fluofocus.errors import FluoFocusError
from fluofocus.measure.image import METRICS, gap_closed
from fluofocus.refocus.coverage import Coverage
from fluofocus.units import FloatArray
from fluofocus.whole_files import write_whole

Scores = dict[str, float]

TABLE_METRICS = ("pearson", "ssim", "psnr")


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of one metric over image pairs; NaN where there are none."""

    mean: float
    sd: float


@dataclass(frozen=True)
class DistanceScores:
    """All metrics at one signed refocusing distance.

    Attributes
    ----------
    distance_um : float
        Target minus input plane.
    n : int
        Number of image pairs; zero where no stack reaches that far.
    output, input : dict of str to Spread
        Per metric of `METRICS`: of the model's output, and of its unrefocused input, both
        against the measured plane.
    """

    distance_um: float
    n: int
    output: dict[str, Spread]
    input: dict[str, Spread]

    @property
    def gap_closed(self) -> float:
        """Share of the gap to the truth that is closed, from the mean correlations."""
        return gap_closed(self.output["pearson"].mean, self.input["pearson"].mean)


@dataclass(frozen=True)
class Evaluation:
    """Scores of one model by refocusing distance, from lowest to highest.

    ``coverage`` is that of its expected errors, None for a model without them.
    """

    model_name: str
    distances: tuple[DistanceScores, ...]
    coverage: Coverage | None = None

    def to_rows(self) -> list[dict[str, float]]:
        """Return one flat row per distance, with columns such as ``pearson_output_mean``."""
        rows = []
        for scores in self.distances:
            row: dict[str, float] = {"distance_um": scores.distance_um, "n": scores.n}
            for metric in METRICS:
                row[f"{metric}_input_mean"] = scores.input[metric].mean
                row[f"{metric}_input_sd"] = scores.input[metric].sd
                row[f"{metric}_output_mean"] = scores.output[metric].mean
                row[f"{metric}_output_sd"] = scores.output[metric].sd
            rows.append(row | {"gap_closed": scores.gap_closed})
        return rows

    def to_csv(self, path: str | Path) -> None:
        """Write the rows as comma-separated values, all or none.

        Raises
        ------
        FluoFocusError
            If the file cannot be written.
        """
        rows = self.to_rows()
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        write_whole(path, text.getvalue())

    def table(self) -> str:
        """Return a plain-text table: each metric as input → output, and the gap closed."""
        header = ["Δz (µm)", "n", *(f"{name} in → out" for name in TABLE_METRICS), "gap closed"]
        body = [_cells(scores) for scores in self.distances]
        widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
        lines = [header, ["-" * width for width in widths], *body]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            for line in lines
        )


@dataclass
class PairScores:
    """Scores of the image pairs at one distance, collected one by one."""

    output: list[Scores] = field(default_factory=list)
    input: list[Scores] = field(default_factory=list)

    def add(self, output: FloatArray, unrefocused: FloatArray, truth: FloatArray) -> None:
        """Compare two images (Y, X) with the true one, all scaled by the true one's range.

        Raises
        ------
        FluoFocusError
            If the true image is constant, or one of them holds NaN.
        """
        low, high = float(truth.min()), float(truth.max())
        if high == low:
            raise FluoFocusError(
                f"A plane to compare with is empty: every pixel is {low:g}; "
                "leave such planes out of the stack."
            )
        output_01, input_01, truth_01 = (
            torch.from_numpy((image - low) / (high - low)) for image in (output, unrefocused, truth)
        )
        self.output.append(_scores(output_01, truth_01))
        self.input.append(_scores(input_01, truth_01))

    def summary(self, distance_um: float) -> DistanceScores:
        """Return means and standard deviations over the pairs so far."""
        return DistanceScores(
            distance_um, len(self.output), _spreads(self.output), _spreads(self.input)
        )


def _scores(image: torch.Tensor, truth: torch.Tensor) -> Scores:
    return {name: float(metric(image, truth)) for name, metric in METRICS.items()}


def _spreads(scores: list[Scores]) -> dict[str, Spread]:
    return {name: _spread([score[name] for score in scores]) for name in METRICS}


def _spread(values: list[float]) -> Spread:
    """Return mean and standard deviation; the latter is NaN unless all values are finite."""
    if not values:
        return Spread(math.nan, math.nan)
    finite = all(math.isfinite(value) for value in values)
    return Spread(float(np.mean(values)), float(np.std(values)) if finite else math.nan)


def _cells(scores: DistanceScores) -> list[str]:
    """Return one line of the table."""
    pairs = [(scores.input[name].mean, scores.output[name].mean) for name in TABLE_METRICS]
    changes = [f"{_number(before)} → {_number(after)}" for before, after in pairs]
    return [f"{scores.distance_um:+.1f}", str(scores.n), *changes, _number(scores.gap_closed)]


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"
