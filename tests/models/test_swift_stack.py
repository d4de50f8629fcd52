"""The fast network of stacks: shape, reach, and how it starts."""

from typing import Any

import pytest
import torch
from torch import nn

from fluofocus.models import build_stack_network
from fluofocus.models.stack_network import Extent, StackNetwork


def _network(**config: Any) -> StackNetwork:
    """Make a small one in which every weight counts."""
    torch.manual_seed(0)
    network = build_stack_network("swift_stack", {"channels": (4, 5, 6, 7), **config})
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.2)
    return network.eval()


def test_a_stack_keeps_its_shape() -> None:
    network = _network()
    assert network.size_multiple == Extent(4, 16, 16)
    stack = torch.rand(2, 1, 8, 32, 48)
    with torch.inference_mode():
        assert network(stack).shape == stack.shape


def test_a_stack_of_another_multiple_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of"):
        _network()(torch.rand(1, 1, 6, 32, 32))


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize(
    ("axis", "size"), [(0, (176, 16, 16)), (1, (4, 400, 16)), (2, (4, 16, 400))]
)
def test_it_reaches_as_far_as_it_says(axis: int, size: tuple[int, int, int], blocks: int) -> None:
    network = _network(blocks=blocks).double()
    reaches = []
    for position in range(size[axis] // 2, size[axis] // 2 + network.size_multiple[axis]):
        stack = torch.rand(1, 1, *size, dtype=torch.double, requires_grad=True)
        middle = [length // 2 for length in size]
        middle[axis] = position
        network(stack)[0, 0, middle[0], middle[1], middle[2]].backward()
        others = [dim for dim in range(3) if dim != axis]
        touched = stack.grad[0, 0].abs().amax(dim=others).nonzero()[:, 0]
        reaches.append(int((touched - position).abs().max()))
    assert max(reaches) == network.receptive_field[axis]


def test_only_the_surroundings_count() -> None:
    network = _network()
    assert not network.depends_on_tile
    stack = torch.rand(1, 1, 4, 16, 512)
    other = stack.clone()
    other[..., : 511 - network.receptive_field.x] += 1
    with torch.inference_mode():
        assert torch.equal(network(stack)[..., -1], network(other)[..., -1])


def test_blocks_begin_as_the_identity() -> None:
    torch.manual_seed(0)
    network = build_stack_network("swift_stack", {"channels": (4, 5, 6, 7)})
    x = torch.rand(1, 4, 4, 8, 8)
    assert torch.equal(network.encoder[0](x), x)
