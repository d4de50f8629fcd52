"""A model made ready to refocus: whether it can what is asked, its network, device and optics."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from fluofocus.errors import FluoFocusError
from fluofocus.models.bundle import Model, ModelCard
from fluofocus.models.ensemble import TurnEnsemble
from fluofocus.models.network import RefocusingNetwork
from fluofocus.optics.description import blur_parameters
from fluofocus.optics.microscope import Microscope
from fluofocus.refocus.options import Options


def require_abilities(bundle: Model, options: Options, inputs: int) -> None:
    """Refuse what this model was not made for."""
    card = bundle.card
    if inputs > 1 and card.training.input_planes == 1:
        raise FluoFocusError(
            f"Model {card.name} was trained for one input plane but {inputs} are given: choose one "
            "with --plane (plane=), or a model trained with input_planes."
        )
    if options.uncertainty and card.error is None:
        raise FluoFocusError(
            f"Model {card.name} has no error output: leave out --uncertainty (uncertainty=), or "
            "train it again with this version."
        )
    if options.intermediate and not bundle.network.has_intermediate:
        raise FluoFocusError(
            f"Model {card.name} is one network, without an intermediate image: leave out "
            "--intermediate (intermediate=), or use a model of two networks in a row (w_net)."
        )


def told_optics(card: ModelCard, microscope: Microscope | None) -> Tensor | None:
    """Return what a model is told of a microscope, ``(1, P)``; None where it is told nothing.

    That is so for a model that was never told any, and for a microscope whose
    aberrations were not measured.
    """
    if not card.training.optics_told or microscope is None or not microscope.is_calibrated:
        return None
    return blur_parameters(microscope, card.microscope)[None]


def make_network(bundle: Model, *, ensemble: bool) -> RefocusingNetwork:
    """Return what refocuses with a model, on the CPU.

    Raises
    ------
    FluoFocusError
        If an ensemble is asked for and turned images mean nothing to the model.
    """
    # a copy, because the caller's network may be in training
    module: RefocusingNetwork = copy.deepcopy(bundle.network).cpu().float().eval()
    if ensemble:
        _require_no_orientation(bundle)
        module = TurnEnsemble(module).eval()
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _require_no_orientation(bundle: Model) -> None:
    if not bundle.card.training.flips_and_rotations:
        raise FluoFocusError(
            f"Model {bundle.card.name} was trained for aberrations with a direction, so turned "
            "images mean nothing to it: leave out --ensemble (ensemble=)."
        )
