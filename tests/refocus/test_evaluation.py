"""Evaluation of networks whose scores are known: one that is right, one wrong, one idle."""

import csv
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import make_stack
from fluofocus.measure import METRICS
from fluofocus.models.bundle import Model, ModelCard, TrainingRange
from fluofocus.models.network import Refocused, RefocusingNetwork
from fluofocus.optics.microscope import Microscope
from fluofocus.refocus.evaluation import evaluate

STEP_UM = 0.5
PIXEL_UM = 0.325
PX_PER_UM = 3


class Shift(RefocusingNetwork):
    """Refocuses by moving the image ``px_per_um`` pixels to the right for each µm."""

    size_multiple = 8
    receptive_field_px = 8

    def __init__(self, px_per_um: float) -> None:
        super().__init__()
        self.px_per_um = px_per_um
        self.copy = nn.Conv2d(1, 1, 1)  # the memory plan measures layers
        nn.init.ones_(self.copy.weight)
        nn.init.zeros_(self.copy.bias)

    def encode(self, image, optics=None):
        return (self.copy(image),)

    def decode(self, features, dpm_um, *, with_error=False):
        shifts = [round(float(distance) * self.px_per_um) for distance in dpm_um[0].flatten()]
        image = self.copy(features[0])
        return Refocused(torch.cat([torch.roll(image, s, dims=-1) for s in shifts], dim=1))


def shift_model(px_per_um: float) -> Model:
    microscope = Microscope(
        numerical_aperture=0.75, emission_wavelength_nm=520, pixel_size_um=PIXEL_UM
    )
    card = ModelCard(
        name="shift",
        title="A shift",
        architecture="swift",
        microscope=microscope,
        training=TrainingRange(defocus_um=(-5.0, 5.0), pixel_size_um=PIXEL_UM),
        created=datetime.now(UTC),
        fluofocus_version="0",
    )
    return Model(card, Shift(px_per_um))


def moving_stack(planes: int = 21, seed: int = 0) -> xr.DataArray:
    """A stack whose planes are one random texture, moved further right plane by plane."""
    texture = 100 + 50 * np.random.default_rng(seed).random((64, 96))
    z_um = STEP_UM * np.arange(planes) - 3.0
    shifts = np.floor(z_um * PX_PER_UM).astype(int)
    data = np.stack([np.roll(texture, shift, axis=1) for shift in shifts]).astype(np.float32)
    return make_stack(data, "ZYX", (STEP_UM, PIXEL_UM, PIXEL_UM), z_um=list(z_um))


# The planes' shifts differ by just PX_PER_UM pixels for each µm where this is a whole number.
DISTANCES_UM = [-4.0, -2.0, 0.0, 2.0, 4.0]


def test_a_perfect_network_closes_the_gap_at_every_signed_distance():
    evaluation = evaluate(shift_model(PX_PER_UM), [moving_stack()], distances_um=DISTANCES_UM)
    for scores in evaluation.distances:
        assert scores.n > 0
        assert scores.output["pearson"].mean > 0.9999
        assert scores.output["mae"].mean < 1e-4
        if scores.distance_um:
            assert scores.input["pearson"].mean < 0.5
            assert scores.gap_closed == pytest.approx(1, abs=1e-3)
        else:
            assert np.isnan(scores.gap_closed)


def test_the_wrong_sign_and_no_refocusing_close_no_gap():
    for px_per_um in (-PX_PER_UM, 0):
        evaluation = evaluate(shift_model(px_per_um), [moving_stack()], distances_um=[-2.0, 2.0])
        for scores in evaluation.distances:
            assert abs(scores.gap_closed) < 0.2
            if px_per_um == 0:
                assert scores.output["mse"].mean == pytest.approx(scores.input["mse"].mean, 1e-4)


def test_every_pair_counts_once_and_depth_limits_them():
    stacks = [moving_stack(seed=seed) for seed in range(2)]
    calls: list[tuple[int, int]] = []
    evaluation = evaluate(
        shift_model(PX_PER_UM),
        stacks,
        distances_um=[0.0, 5.0],
        inputs_per_stack=21,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert [scores.n for scores in evaluation.distances] == [2 * 21, 2 * 11]
    assert calls == [(1, 2), (2, 2)]


def test_scores_compare_with_the_truth_given():
    stack = moving_stack()
    noisy = stack + np.random.default_rng(1).normal(0, 20, stack.shape).astype(np.float32)
    noisy.attrs = stack.attrs
    model = shift_model(PX_PER_UM)
    alone = evaluate(model, [noisy], distances_um=[2.0]).distances[0]
    against_clean = evaluate(model, [noisy], truths=[stack], distances_um=[2.0]).distances[0]
    assert against_clean.output["pearson"].mean > alone.output["pearson"].mean + 0.05


def test_distances_default_to_the_range_the_model_was_trained_for():
    evaluation = evaluate(shift_model(PX_PER_UM), [moving_stack()], inputs_per_stack=1)
    assert [scores.distance_um for scores in evaluation.distances] == list(range(-5, 6))


def test_the_budget_of_memory_is_kept():
    with pytest.raises(FluoFocusError, match=r"budget of 0\.1 GiB"):
        evaluate(shift_model(PX_PER_UM), [moving_stack()], memory_gb=0.1)


def test_the_same_seed_gives_the_same_scores():
    model, stack = shift_model(PX_PER_UM), moving_stack()
    first, same = (
        evaluate(model, [stack], distances_um=[1.5], inputs_per_stack=2) for _ in range(2)
    )
    other = evaluate(model, [stack], distances_um=[1.5], inputs_per_stack=2, seed=3)
    assert first == same
    assert first != other


def test_rows_csv_and_table(tmp_path):
    evaluation = evaluate(shift_model(PX_PER_UM), [moving_stack()], distances_um=DISTANCES_UM)
    evaluation.to_csv(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["distance_um"]) for row in rows] == DISTANCES_UM
    columns = {f"{metric}_{image}_mean" for metric in METRICS for image in ("input", "output")}
    assert columns < set(rows[0])
    assert float(rows[1]["gap_closed"]) == pytest.approx(1, abs=1e-3)
    lines = evaluation.table().splitlines()
    assert len(lines) == 2 + len(DISTANCES_UM)
    assert len({len(line) for line in lines}) == 1
    assert "+2.0" in lines[5]
    with pytest.raises(FluoFocusError, match="Cannot write"):
        evaluation.to_csv(tmp_path / "missing" / "scores.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stack: stack[0], "focus stacks"),
        (lambda stack: stack[:3], "thicker stacks"),
        (lambda stack: xr.where(stack > 149.5, np.nan, stack, keep_attrs=True), "NaN"),
        (lambda stack: stack * 0 + 7, "empty"),
    ],
)
def test_unusable_stacks_are_refused(change, message):
    with pytest.raises(FluoFocusError, match=message):
        evaluate(shift_model(PX_PER_UM), [change(moving_stack())], distances_um=[4.0])


def test_distances_outside_the_trained_range_need_consent():
    model, stack = shift_model(PX_PER_UM), moving_stack()
    with pytest.raises(FluoFocusError, match="trained for"):
        evaluate(model, [stack], distances_um=[6.0])
    scores = evaluate(model, [stack], distances_um=[6.0], allow_extrapolation=True).distances[0]
    assert scores.output["pearson"].mean > 0.9999
