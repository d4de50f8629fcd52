"""One network asked eight times: what it makes of an image's turns and mirror images."""

from __future__ import annotations

from torch import Tensor

from fluofocus.models.network import Refocused, RefocusingNetwork
from fluofocus.optics.description import turned_parameters
from fluofocus.prepare.turns import TURNS, turned, turned_back


class TurnEnsemble(RefocusingNetwork):
    """Averages a network's answers to the eight turns and mirror images of its input.

    The errors of the eight answers differ, so that part of them averages out, at eight
    times the cost (self-ensemble; Lim et al., CVPR Workshops 2017). Right only for
    networks trained on images without an orientation. The expected error is the mean of the
    eight, which the average stays below.
    """

    def __init__(self, network: RefocusingNetwork) -> None:
        super().__init__()
        self.network = network
        self.config = network.config
        self.has_error = network.has_error
        self.has_intermediate = network.has_intermediate
        self.fuses_planes = network.fuses_planes
        self.takes_optics = network.takes_optics
        self.kept_bytes = network.kept_bytes

    @property
    def size_multiple(self) -> int:
        """What height and width must be a multiple of."""
        return self.network.size_multiple

    @property
    def receptive_field_px(self) -> int:
        """How far away an input pixel can be and still change an output pixel."""
        return self.network.receptive_field_px

    def encode(self, images: Tensor, optics: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the features of all turns of ``(B, N, H, W)`` images, one turn after another."""
        return tuple(
            feature
            for turn in TURNS
            for feature in self.network.encode(
                turned(images, *turn), None if optics is None else turned_parameters(optics, *turn)
            )
        )

    def decode(
        self, features: tuple[Tensor, ...], dpm_um: Tensor, *, with_error: bool = False
    ) -> Refocused:
        """Refocus by ``(B, N, T)`` or ``(B, N, T, H, W)`` µm and average."""
        each = len(features) // len(TURNS)
        answers = []
        for index, turn in enumerate(TURNS):
            dpm = dpm_um if dpm_um.ndim == 3 else turned(dpm_um, *turn)
            part = features[index * each : (index + 1) * each]
            answers.append(self.network.decode(part, dpm, with_error=with_error))
        errors = [answer.error for answer in answers if answer.error is not None]
        between = [answer.intermediate for answer in answers if answer.intermediate is not None]
        return Refocused(
            _mean([answer.image for answer in answers]),
            error=_mean(errors) if errors else None,
            intermediate=_mean(between) if between else None,
        )


def _mean(answers: list[Tensor]) -> Tensor:
    """Average the answers to all turns, each turned back."""
    total = turned_back(answers[0], *TURNS[0])
    for answer, turn in zip(answers[1:], TURNS[1:], strict=True):
        total = total + turned_back(answer, *turn)
    return total / len(TURNS)
