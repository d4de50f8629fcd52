"""The generator and the discriminator of WFCON-Net: shapes, reach, and what depends on what."""

from typing import Any

import pytest
import torch

from fluofocus.models import build_stack_network
from fluofocus.models.discriminators import StackDiscriminator
from fluofocus.models.stack_network import Extent, StackNetwork


def _network(**config: Any) -> StackNetwork:
    torch.manual_seed(0)
    return build_stack_network("wfcon", {"width": "compact", **config}).eval()


def test_it_has_the_papers_size() -> None:
    with torch.device("meta"):
        network = build_stack_network("wfcon")
    assert network.size_multiple == Extent(4, 16, 16)
    assert sum(p.numel() for p in network.parameters()) == 25_886_625


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_stack_keeps_its_shape(dimensions: int) -> None:
    network = _network(dimensions=dimensions)
    stack = torch.rand(2, 1, 8, 32, 48)
    with torch.inference_mode():
        assert network(stack).shape == stack.shape


def test_a_stack_of_another_multiple_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of"):
        _network()(torch.rand(1, 1, 6, 32, 32))


@pytest.mark.parametrize(
    ("dimensions", "axis", "size"),
    [(3, 0, (144, 16, 16)), (2, 1, (1, 272, 16)), (2, 2, (1, 16, 272))],
)
def test_it_reaches_as_far_as_it_says(
    dimensions: int, axis: int, size: tuple[int, int, int]
) -> None:
    network = _network(normalisation="batch", dimensions=dimensions).double()
    multiple = network.size_multiple[axis]
    reaches = []
    for position in range(size[axis] // 2, size[axis] // 2 + multiple):
        stack = torch.rand(1, 1, *size, dtype=torch.double, requires_grad=True)
        middle = [length // 2 for length in size]
        middle[axis] = position
        network(stack)[0, 0, middle[0], middle[1], middle[2]].backward()
        others = [dim for dim in range(3) if dim != axis]
        touched = stack.grad[0, 0].abs().amax(dim=others).nonzero()[:, 0]
        reaches.append(int((touched - position).abs().max()))
    assert max(reaches) == network.receptive_field[axis]


def test_in_two_dimensions_each_plane_is_alone() -> None:
    network = _network(dimensions=2)
    assert network.receptive_field.z == 0
    stack = torch.rand(1, 1, 3, 32, 32)
    other = stack.clone()
    other[:, :, 0] = 0.3
    with torch.inference_mode():
        one, two = network(stack), network(other)
        alone = network(stack[:, :, 1:2])
    torch.testing.assert_close(one[:, :, 1:], two[:, :, 1:])
    torch.testing.assert_close(one[:, :, 1:2], alone)
    assert not torch.allclose(one[:, :, 0], two[:, :, 0])


def test_instance_statistics_are_those_of_all_that_is_seen() -> None:
    stack = torch.rand(1, 1, 4, 16, 320)
    other = stack.clone()
    other[..., :16] += 1  # farther away than any convolution reaches
    for normalisation, differs in (("instance", True), ("batch", False)):
        network = _network(normalisation=normalisation)
        assert network.depends_on_tile is differs
        with torch.inference_mode():
            one, two = network(stack), network(other)
        assert torch.equal(one[..., -1], two[..., -1]) is not differs


@pytest.mark.parametrize(("dimensions", "scores"), [(3, 2), (2, 24)])
def test_the_discriminator_scores_stacks_or_planes(dimensions: int, scores: int) -> None:
    torch.manual_seed(0)
    discriminator = StackDiscriminator("compact", dimensions)
    with torch.inference_mode():
        verdict = discriminator(torch.rand(2, 1, 12, 64, 64))
    assert verdict.shape == (scores,)
    assert ((verdict > 0) & (verdict < 1)).all()
