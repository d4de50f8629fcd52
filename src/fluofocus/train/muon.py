"""Muon: steps along orthogonalised momentum, for networks of convolutions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from fluofocus.errors import FluoFocusError

_FEWEST_CHANNELS = 16
"""Fewer rows or columns than this, as in a first or last layer, and AdamW is used."""

_MOMENTUM = 0.95
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_LIKE_ADAM = 0.2
"""Root mean square of a step over the learning rate: about AdamW's, so that rates mean the same."""

_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for convolutions, AdamW for all other weights.

    The momentum of a convolution, as a matrix of output by input channels and kernel, is
    replaced by a nearly orthogonal one: every direction in which the weights can move then moves
    alike, also those that the gradient hardly shows. Its length is that of AdamW's steps (Liu
    et al. 2025, arXiv:2502.16982).

    Parameters
    ----------
    parameters
        Of the network.
    lr, weight_decay
        As AdamW's.
    """

    def __init__(
        self, parameters: Iterable[Tensor], *, lr: float = 1e-3, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the weights once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rate = group["lr"]
            alike = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                weight.mul_(1 - rate * group["weight_decay"])
                if _is_wide_convolution(weight):
                    alike[weight.shape].append(weight)
                else:
                    weight.add_(self._adam_direction(weight), alpha=-rate)
            for weights in alike.values():
                momenta = torch.stack([self._momentum(weight).flatten(1) for weight in weights])
                length = _LIKE_ADAM * max(momenta.shape[1:]) ** 0.5
                for weight, direction in zip(weights, orthogonal(momenta), strict=True):
                    weight.add_(direction.view(weight.shape), alpha=-rate * length)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises
        ------
        FluoFocusError
            If it is another optimiser's.
        """
        if set(state_dict["param_groups"][0]) != set(self.param_groups[0]):
            raise FluoFocusError(
                "This training was begun with another optimiser by an older version of FluoFocus: "
                "train under another name with start_from: its checkpoints/best.ckpt."
            )
        super().load_state_dict(state_dict)

    def _momentum(self, weight: Tensor) -> Tensor:
        assert weight.grad is not None  # else it is left out
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        average: Tensor = state["momentum"].lerp_(weight.grad, 1 - _MOMENTUM)
        return weight.grad.lerp(average, _MOMENTUM)  # Nesterov's

    def _adam_direction(self, weight: Tensor) -> Tensor:
        assert weight.grad is not None  # else it is left out
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        mean, square = (
            state[name].lerp_(value, 1 - beta) / (1 - beta ** float(state["step"]))
            for name, value, beta in zip(
                ("mean", "square"), (weight.grad, weight.grad.square()), _BETAS, strict=True
            )
        )
        direction: Tensor = mean / (square.sqrt() + _EPSILON)
        return direction


def orthogonal(matrices: Tensor) -> Tensor:
    """Return what is near the orthogonal matrices nearest to ``(K, n, m)`` ones.

    All singular values come out between about 0.7 and 1.2 but for the tiniest. Five steps of a
    quintic Newton-Schulz iteration, whose coefficients are Jordan's; they are taken on the small
    one of the two products of a matrix with itself, which takes less work where the sides differ.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if is_tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    with torch.autocast(x.device.type, enabled=False):  # half precision would not converge
        result = _newton_schulz(x @ x.mT) @ x
    return result.mT if is_tall else result


def _newton_schulz(gram: Tensor) -> Tensor:
    """Return by what matrices are to be multiplied, from their products with themselves."""
    a, b, c = _QUINTIC
    unit = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    product = unit.expand_as(gram)
    for remaining in reversed(range(_ITERATIONS)):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) + a * unit
        product = factor @ product
        if remaining:
            gram = factor @ gram @ factor
    return product


def _is_wide_convolution(weight: Tensor) -> bool:
    rows = weight.shape[0]
    return weight.ndim >= 4 and min(rows, weight.numel() // rows) >= _FEWEST_CHANNELS
