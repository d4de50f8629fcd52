"""The regression scheme's losses, schedule, averaging and scores."""

import math
from collections.abc import Callable

import pytest
import torch

from fluofocus.models.network import Refocused
from fluofocus.optics.microscope import Microscope
from fluofocus.train.config import RegressionConfig, TrainConfig
from fluofocus.train.losses import LossConfig, error_loss, refocusing_loss
from fluofocus.train.regression import RegressionTraining


def _images(seed: int) -> torch.Tensor:
    return torch.rand((2, 3, 16, 16), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("term", ["l1", "rms", "spectral"])
def test_loss_terms_are_zero_for_the_target_only(term: str) -> None:
    config = LossConfig.model_validate({"l1": 0, "rms": 0, "spectral": 0} | {term: 1})
    target = _images(0)
    assert float(refocusing_loss(target, target, config)) == pytest.approx(0, abs=2e-3)
    assert float(refocusing_loss(target + 0.1, target, config)) > 0.01


def test_the_error_loss_is_least_for_the_mean_absolute_error() -> None:
    target, output = _images(0), _images(1).requires_grad_()
    true_error = float((output.detach() - target).abs().mean())
    errors = torch.linspace(0.2, 3, 29) * true_error
    losses = [float(error_loss(e.expand_as(target), output.detach(), target)) for e in errors]
    assert float(errors[torch.tensor(losses).argmin()]) == pytest.approx(true_error, rel=0.06)
    error_loss(errors[0].clone().requires_grad_().expand_as(output), output, target).backward()
    assert output.grad is None  # it teaches the error output only


@pytest.mark.parametrize("term", ["l1", "rms"])
def test_dim_and_bright_images_count_alike(term: str) -> None:
    config = LossConfig.model_validate({"l1": 0, "rms": 0, "spectral": 0} | {term: 1})
    output, target = _images(0) + 1, _images(1) + 1
    usual = float(refocusing_loss(output, target, config))
    assert float(refocusing_loss(50 * output, 50 * target, config)) == pytest.approx(
        usual, rel=0.03
    )


def test_learning_rate_warms_up_stays_and_falls() -> None:
    config = RegressionConfig(steps=100, warmup_steps=9, decay_share=0.5)
    training = RegressionTraining(torch.nn.Linear(1, 1), config)
    factors = [training._rate_factor(step) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:50] == pytest.approx([1.0] * 41)
    assert factors[75] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(0.0, abs=1e-3)
    assert factors[50:] == sorted(factors[50:], reverse=True)


def test_the_average_forgets_fast_while_young_and_then_as_configured() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    training = RegressionTraining(network, RegressionConfig(averaging_decay=0.9))
    with torch.no_grad():
        network.weight.fill_(1.0)
        training.averaged.update_parameters(network)
        network.weight.fill_(0.0)
        expected = 1.0
        for count in range(1, 200):
            training.averaged.update_parameters(network)
            expected *= min(0.9, (1 + count) / (10 + count))
            assert float(training.kept.weight) == pytest.approx(expected, rel=1e-4)
    assert not any(parameter.requires_grad for parameter in training.averaged.parameters())


def test_scores_leave_out_pairs_that_are_close() -> None:
    training = RegressionTraining(torch.nn.Identity(), RegressionConfig(), away_um=1.0)
    target = _images(0)
    batch = {
        "image": _images(1)[:, :1],
        "target": target,
        "dpm_um": torch.tensor([[[0.5, 2.0, -1.0]], [[-3.0, 0.0, 1.5]]]),
    }
    scores = training.scores(Refocused(target), batch)
    close = torch.tensor([[True, False, True], [False, True, False]])
    for name in ("pearson", "gap_closed"):
        assert torch.equal(scores[name].isnan(), close)
        torch.testing.assert_close(scores[name][~close], torch.ones(3))
    assert scores["mae"].tolist() == [[0.0] * 3] * 2
    flat = training.scores(Refocused(torch.zeros_like(target)), batch)
    assert flat["pearson"][~close].tolist() == [0.0] * 3  # constant: undefined, counts as none
    assert math.isfinite(float(flat["gap_closed"].nanmedian()))


def test_distance_that_counts_follows_the_range(
    tiny: Callable[..., TrainConfig], microscope: Microscope
) -> None:
    from fluofocus.train.run import make_training

    assert make_training(tiny(), microscope).away_um == pytest.approx(0.3)
