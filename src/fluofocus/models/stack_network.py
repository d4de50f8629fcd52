"""What every network that turns a stack into another stack can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from pydantic import BaseModel
from torch import Tensor, nn


class Extent(NamedTuple):
    """A number of planes, rows and columns."""

    z: int
    y: int
    x: int


class StackNetwork(nn.Module, ABC):
    """A network that maps normalised stacks to stacks of the same shape."""

    config: BaseModel
    """Its sizes."""
    depends_on_tile = False
    """Whether its layers take statistics over all of what they are given at once."""

    @property
    @abstractmethod
    def size_multiple(self) -> Extent:
        """What numbers of planes, rows and columns must be multiples of."""

    @property
    @abstractmethod
    def receptive_field(self) -> Extent:
        """How far away an input voxel can be and still reach an output voxel by convolutions."""

    def require_divisible(self, stack: Tensor) -> None:
        """Raise ValueError unless all lengths of ``(B, 1, Z, Y, X)`` are such multiples."""
        lengths = stack.shape[2:]
        if any(n % multiple for n, multiple in zip(lengths, self.size_multiple, strict=True)):
            raise ValueError(
                f"this network needs stacks of multiples of {tuple(self.size_multiple)} voxels, "
                f"not {tuple(lengths)}: pad them"
            )

    @abstractmethod
    def forward(self, stack: Tensor) -> Tensor:
        """Map ``(B, 1, Z, Y, X)`` normalised stacks to ``(B, 1, Z, Y, X)``.

        Raises
        ------
        ValueError
            If a length is no multiple of `size_multiple`.
        """
