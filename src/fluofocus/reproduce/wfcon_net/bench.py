"""Fields, what every method makes of them, and its scores, each worked out once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from fluofocus.models.bundle import Model, StackModel
from fluofocus.reproduce.reproduction import LEFT_OUT, Request
from fluofocus.reproduce.wfcon_net.methods import CONFOCAL, Method, made, open_model
from fluofocus.reproduce.wfcon_net.scores import Scores, score
from fluofocus.reproduce.wfcon_net.slices import REGIONS, Field, draw_field
from fluofocus.units import FloatArray

SEED = 9_700_000
SHOWN = len(REGIONS)
"""Fields whose stacks are kept for pictures, from the first on."""


class Bench:
    """Held-out slices, one kind of region after the other.

    Parameters
    ----------
    models : dict
        Name or file of each role; roles given as ``none`` are left out.
    """

    def __init__(self, models: dict[str, str]) -> None:
        self.models = {role: name for role, name in models.items() if name != LEFT_OUT}
        self._scores: dict[tuple[Method, int], Scores] = {}
        self._stacks: dict[tuple[Method, int], FloatArray] = {}
        self.field = lru_cache(maxsize=SHOWN)(self._draw)
        self.model = lru_cache(maxsize=None)(self._open)

    def _draw(self, index: int) -> Field:
        return draw_field(REGIONS[index % len(REGIONS)], SEED + index)

    def _open(self, role: str) -> Model | StackModel | None:
        return open_model(role, self.models[role]) if role in self.models else None

    def present(self, *roles: str) -> list[Method]:
        """Return the methods of those roles that there is a model for, each loaded at once.

        Raises
        ------
        FluoFocusError
            If a model is missing, or of the other sort: before anything is simulated.
        """
        return [Method(role) for role in roles if self.model(role) is not None]

    def stack(self, method: Method, index: int) -> FloatArray:
        """Return what a method makes of a field, normalised."""
        key = method, index
        if key in self._stacks:
            return self._stacks[key]
        stack = made(method, self.model(method.role), self.field(index))
        if index < SHOWN:
            self._stacks[key] = stack
        return stack

    def stacks(self, methods: Sequence[Method], index: int) -> dict[str, FloatArray]:
        """Return what methods make of a field, by name, and the truth last."""
        made = {method.name: self.stack(method, index) for method in methods}
        return {**made, CONFOCAL: self.field(index).truth}

    def scores(self, method: Method, index: int) -> Scores:
        """Return how that compares with the truth."""
        key = method, index
        if key not in self._scores:
            field = self.field(index)
            stack = self.stack(method, index)
            self._scores[key] = score(stack, field.truth, field.microscope.pixel_size_um)
        return self._scores[key]


_kept: dict[tuple[tuple[str, str], ...], Bench] = {}
"""The last bench, by its models."""


def open_bench(request: Request) -> Bench:
    """Return the bench of a request, the same for all parts of a run."""
    key = tuple(request.models.items())
    if key not in _kept:
        _kept.clear()
        _kept[key] = Bench(dict(request.models))
    return _kept[key]
