"""Muon: orthogonal steps for convolutions, AdamW's for the rest."""

import copy

import pytest
import torch
from torch import nn

from fluofocus.errors import FluoFocusError
from fluofocus.train.muon import Muon, orthogonal

CONVOLUTION = (24, 16, 3, 3)


def with_gradient(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = nn.Parameter(torch.randn(shape, generator=generator))
    weight.grad = torch.randn(shape, generator=generator)
    return weight


@pytest.mark.parametrize("shape", [(3, 32, 200), (1, 200, 32), (2, 48, 60)])
def test_all_directions_come_out_alike(shape):
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(shape, generator=generator)
    matrices *= torch.logspace(0, -2, shape[2])  # columns of very different length
    values = torch.linalg.svdvals(orthogonal(matrices))
    before = torch.linalg.svdvals(matrices)
    assert (before[:, 0] / before[:, -3]).min() > 3
    assert values[:, 0].max() < 1.25
    assert values[:, -3].min() > 0.6


def test_the_directions_themselves_stay():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(1, 20, 60, generator=generator)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.mT @ orthogonal(matrix) @ right.mT
    assert (turned - torch.diag_embed(turned.diagonal(dim1=1, dim2=2))).abs().max() < 1e-4
    assert turned.diagonal(dim1=1, dim2=2).min() > 0.6


def test_it_is_as_precise_where_all_else_is_in_half_precision():
    matrix = torch.randn(1, 20, 60, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        found = orthogonal(matrix)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), orthogonal(matrix.double()), atol=1e-4)


@pytest.mark.parametrize("shape", [CONVOLUTION, (24, 16, 3, 3, 3)])
def test_a_convolution_moves_by_about_as_much_as_with_adamw(shape):
    weight = with_gradient(shape)
    before = weight.detach().clone()
    Muon([weight], lr=1e-2).step()
    step = (weight.detach() - before).square().mean().sqrt()
    assert step == pytest.approx(0.2 * 1e-2, rel=0.2)


def test_the_size_of_a_convolutions_gradient_does_not_matter():
    weight, other = with_gradient(CONVOLUTION), with_gradient(CONVOLUTION)
    other.grad *= 1e-3
    Muon([weight], lr=1e-2).step()
    Muon([other], lr=1e-2).step()
    assert torch.allclose(weight, other, atol=1e-6)


@pytest.mark.parametrize("shape", [(40,), (32, 32), (4, 24, 3, 3), (24, 1, 3, 3)])
def test_other_weights_move_as_with_adamw(shape):
    weight, expected = with_gradient(shape), with_gradient(shape)
    optimizers = [
        Muon([weight], lr=1e-2, weight_decay=0.1),
        torch.optim.AdamW([expected], lr=1e-2, weight_decay=0.1),
    ]
    for _ in range(3):
        for parameter, optimizer in zip((weight, expected), optimizers, strict=True):
            optimizer.step()
            parameter.grad *= 0.5
    assert torch.allclose(weight, expected, atol=1e-6)


def test_what_has_no_gradient_stays():
    frozen, still = nn.Parameter(torch.ones(CONVOLUTION)), nn.Parameter(torch.ones(CONVOLUTION))
    still.grad = torch.zeros(CONVOLUTION)
    Muon([frozen, still], lr=1e-2).step()
    assert torch.equal(frozen, torch.ones(CONVOLUTION))
    assert torch.equal(still, torch.ones(CONVOLUTION))


def test_it_goes_on_from_a_saved_state():
    weights = [with_gradient(CONVOLUTION, 1), with_gradient((24,), 2)]
    optimizer = Muon(weights, lr=1e-2)
    optimizer.step()
    copies = [nn.Parameter(weight.detach().clone()) for weight in weights]
    resumed = Muon(copies, lr=1e-2)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for weight, same in zip(weights, copies, strict=True):
        weight.grad = weight.grad.flip(0)
        same.grad = weight.grad.clone()
    optimizer.step()
    resumed.step()
    for weight, same in zip(weights, copies, strict=True):
        assert torch.equal(weight, same)


def test_the_state_of_another_optimiser_is_refused():
    weight = with_gradient(CONVOLUTION)
    other = torch.optim.AdamW([weight], lr=1e-2)
    other.step()
    with pytest.raises(FluoFocusError, match="another optimiser"):
        Muon([weight], lr=1e-2).load_state_dict(other.state_dict())


def test_it_gets_on_where_directions_differ_in_strength():
    """Mixing channels of which some are far fainter, as AdamW can hardly."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.linalg.qr(torch.randn(32, 32, generator=generator)).Q
    strengths = torch.logspace(0, -5, 32).sqrt()
    images = (torch.randn(256, 32, generator=generator) * strengths) @ mixing
    wanted = torch.randn(32, 32, generator=generator) / 32**0.5
    errors = []
    for kind in (Muon, torch.optim.AdamW):
        layer = nn.Conv2d(32, 32, 1, bias=False)
        nn.init.zeros_(layer.weight)
        optimizer = kind(layer.parameters(), lr=5e-2, weight_decay=0.0)
        for step in range(150):
            optimizer.param_groups[0]["lr"] = 5e-2 * (1 - step / 150)
            optimizer.zero_grad()
            output = layer(images[..., None, None])[..., 0, 0]
            loss = (output - images @ wanted.mT).square().mean()
            loss.backward()
            optimizer.step()
        errors.append(float((layer.weight.detach()[..., 0, 0] - wanted).square().mean()))
    assert errors[0] < 0.3 * errors[1]
