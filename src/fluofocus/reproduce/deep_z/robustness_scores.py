"""How wrong refocused images of `robustness` are, and how wrong the model expects them to be."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fluofocus.errors import FluoFocusWarning
from fluofocus.measure.beads import find_beads, match_beads
from fluofocus.measure.image import METRICS, gap_closed
from fluofocus.measure.resolution import lateral_fwhm
from fluofocus.models.bundle import Model
from fluofocus.refocus.engine import refocus
from fluofocus.reproduce.deep_z.robustness_fields import Field, apart
from fluofocus.reproduce.deep_z.robustness_sweeps import Scene
from fluofocus.units import AnyArray, FloatArray

TOLERANCE_UM = 0.65


@dataclass(frozen=True)
class FoundBeads:
    """Beads that the true plane shows, those found again, and pairs of widths (there, true)."""

    known: int = 0
    found: int = 0
    widths: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Score:
    """How wrong one refocused image is.

    ``before`` and ``after`` are root mean square errors in standard deviations of the true
    plane: at 1 an image is as wrong as none. ``expected`` and ``absolute`` are the model's own
    mean expected error and its true mean absolute error, in the same unit.
    """

    before: float
    after: float
    correlation_before: float
    correlation_after: float
    expected: float
    absolute: float
    beads: FoundBeads


@dataclass(frozen=True)
class Summary:
    """Scores of several images together; what there are no beads for is NaN."""

    before: float
    after: float
    gap_closed: float
    expected: float
    absolute: float
    found: float
    relative_fwhm: float

    @property
    def honesty(self) -> float:
        """The expected error over the true one: below 1 the model is too sure of itself."""
        return self.expected / self.absolute


def summary(scores: Sequence[Score]) -> Summary:
    """Bring the scores of images of one condition together: means, and medians of widths."""

    def mean(name: str) -> float:
        return float(np.mean([getattr(score, name) for score in scores]))

    known = sum(score.beads.known for score in scores)
    widths = np.array([pair for score in scores for pair in score.beads.widths]).reshape(-1, 2)
    medians = np.median(widths, axis=0) if len(widths) else np.full(2, np.nan)
    return Summary(
        before=mean("before"),
        after=mean("after"),
        gap_closed=gap_closed(mean("correlation_after"), mean("correlation_before")),
        expected=mean("expected"),
        absolute=mean("absolute"),
        found=sum(score.beads.found for score in scores) / known if known else math.nan,
        relative_fwhm=float(medians[0] / medians[1]),
    )


def scores_of(
    field: Field,
    scene: Scene,
    model: Model,
    generator: torch.Generator,
    *,
    told: bool,
) -> Iterator[tuple[float, Score]]:
    """Expose a field at each distance to both sides, refocus the images, and score them."""
    truth = field.truth(scene.exposure)
    for distance in scene.distances_um:
        for sign in (-1, 1):
            image = field.image(sign * distance, scene.exposure, generator)
            with warnings.catch_warnings():  # of another pixel size, which tables tell of
                warnings.simplefilter("ignore", FluoFocusWarning)
                result = refocus(
                    image,
                    model,
                    z_um=[-sign * distance],
                    pixel_size_um=field.microscope.pixel_size_um,
                    microscope=field.microscope.model_copy(update={"is_calibrated": told}),
                    uncertainty=model.card.error is not None,
                    allow_extrapolation=True,
                ).to_numpy()
            planes = result.reshape(-1, *image.shape)
            yield distance, _score(field, truth, image, planes)


def _score(field: Field, truth: FloatArray, image: AnyArray, planes: FloatArray) -> Score:
    """Score a refocused plane, which the expected error may follow."""
    spread = float(truth.std())
    output = planes[0]
    true, before, after = (torch.from_numpy(x.astype(np.float32)) for x in (truth, image, output))
    pearson, rmse, mae = (METRICS[name] for name in ("pearson", "rmse", "mae"))
    return Score(
        before=float(rmse(before, true)) / spread,
        after=float(rmse(after, true)) / spread,
        correlation_before=float(pearson(before, true)),
        correlation_after=float(pearson(after, true)),
        expected=float(planes[1].mean()) / spread if len(planes) > 1 else math.nan,
        absolute=float(mae(after, true)) / spread,
        beads=_found_beads(field, truth, output) if len(field.beads_px) else FoundBeads(),
    )


def _found_beads(field: Field, truth: FloatArray, output: FloatArray) -> FoundBeads:
    """Look for the beads that the true plane shows; measure those that lie apart."""
    pixel_um = field.microscope.pixel_size_um
    tolerance = TOLERANCE_UM / pixel_um
    shown = match_beads(find_beads(truth).yx_px, field.beads_px, tolerance=tolerance)
    known = field.beads_px[shown.known_index]
    hits = find_beads(output).yx_px
    matches = match_beads(hits, known, tolerance=tolerance)
    chosen = apart(field.beads_px)[shown.known_index][matches.known_index]
    if not chosen.any():
        return FoundBeads(len(known), len(matches.known_index))
    ours, true = (
        lateral_fwhm(image, beads[chosen], pixel_size_um=pixel_um).fwhm_um
        for image, beads in (
            (output, hits[matches.found_index]),
            (truth, known[matches.known_index]),
        )
    )
    measured = np.isfinite(ours) & np.isfinite(true)
    widths = tuple(
        (float(a), float(b)) for a, b in zip(ours[measured], true[measured], strict=True)
    )
    return FoundBeads(len(known), len(matches.known_index), widths)
