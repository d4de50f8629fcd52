"""What a training can start from: the weights of a network that is like its own."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from fluofocus.errors import FluoFocusError
from fluofocus.models import STACK_MODELS, build_network, build_stack_network
from fluofocus.models.bundle import load_model, load_stack_model
from fluofocus.models.network import RefocusingNetwork
from fluofocus.models.stack_network import StackNetwork
from fluofocus.models.swift_decoder import ERROR_OUTPUT
from fluofocus.models.w_net import WNet
from fluofocus.settings_files import read_settings
from fluofocus.train.checkpoints import kept_weights
from fluofocus.train.run_directory import CHECKPOINT_SUFFIX, CONFIG_NAME

_OUTPUT = "output"
"""Field that decides what the last layer's values are."""
_SCALES = (
    "distance_range_um",
    "filter_radius_px",
    "filter_step_um",
    "filter_offsets_um",
    "noise_shares",
    "deconvolution_step_um",
    "deconvolution_iterations",
)
"""Fields that decide, unseen in any tensor's shape, what the weights work on."""
_WITHOUT_EFFECT = "sharpening.distance_range_um"
"""The scale of distances of a network that is always told 0 µm."""


def load_first_weights(network: RefocusingNetwork | StackNetwork, source: str) -> None:
    """Give a network the weights of a model, a model file, or a training's checkpoint.

    Of a checkpoint, the averaged weights are taken where there are any. Parts that the
    source has not keep their initial weights; an error output that the network has not is left
    out. Both of two networks in a row take those of a network that is like each of them. Nothing
    is unpickled but tensors and plain values.

    Raises
    ------
    FluoFocusError
        If there is no such model or file, it is damaged, its network is another one, or its
        weights would mean something else (see `require_same_meaning`).
    """
    weights, config = _weights_and_config(network, source)
    is_for_both = isinstance(network, WNet) and not any(
        key.startswith(WNet.PARTS) for key in weights
    )
    if is_for_both:
        weights = {f"{part}.{key}": value for part in WNet.PARTS for key, value in weights.items()}
    wanted = network.state_dict().keys()
    weights = {
        key: value for key, value in weights.items() if key in wanted or ERROR_OUTPUT not in key
    }
    _require_same_network(network, weights, source)
    if config is not None:
        require_same_meaning(network.config, config, source)
    network.load_state_dict(weights, strict=False)
    if isinstance(network, WNet) and is_for_both:
        network.darken()


def mix_first_weights(network: RefocusingNetwork | StackNetwork, source: str, share: float) -> None:
    """Move a trained network's weights towards those that `load_first_weights` gave it.

    Errors are those of `load_first_weights`.
    """
    first = deepcopy(network)
    load_first_weights(first, source)
    wanted = first.state_dict()
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(wanted[key], share)


def require_same_meaning(config: BaseModel, first: BaseModel, source: str) -> None:
    """Compare the configurations of two networks of one shape.

    What sets a scale, as ``distance_range_um`` does, may differ where it is set on purpose:
    a network that knows ±10 µm at one aperture is a good start for ±1.6 µm at another.

    Parameters
    ----------
    config, first
        Of the network to be trained, and of the one whose weights it is to have.
    source
        What ``start_from`` names, for the message.

    Raises
    ------
    FluoFocusError
        If their outputs differ, or a scale that was left at its default.
    """
    if type(first) is type(config):
        differing = next(_differing(config, first), None)
    else:  # both of two networks in a row start from the one
        parts = ((getattr(config, part, None), f"{part}.") for part in WNet.PARTS)
        found = (_differing(part, first, name) for part, name in parts if type(part) is type(first))
        differing = next((field for fields in found for field in fields), None)
    if differing is None:
        return
    field, own, other = differing
    purpose = "" if field.endswith(_OUTPUT) else ", or to another value on purpose"
    raise FluoFocusError(
        f"start_from {source} was trained with {field} {other}, and this configuration has {own}: "
        f"set {field} in architecture_config to {other}{purpose}."
    )


def _differing(
    config: BaseModel, first: BaseModel, prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the fields that differ and may not, with both values."""
    for name in type(config).model_fields:
        own, other = getattr(config, name), getattr(first, name)
        if f"{prefix}{name}" == _WITHOUT_EFFECT:
            continue
        if isinstance(own, BaseModel):
            yield from _differing(own, other, f"{prefix}{name}.")
        elif own != other and (
            name == _OUTPUT or (name in _SCALES and name not in config.model_fields_set)
        ):
            yield f"{prefix}{name}", own, other


def _weights_and_config(
    network: RefocusingNetwork | StackNetwork, source: str
) -> tuple[dict[str, Tensor], BaseModel | None]:
    if source.endswith(CHECKPOINT_SUFFIX):
        weights, _ = kept_weights(Path(source))
        return weights, _noted_config(Path(source))
    first: RefocusingNetwork | StackNetwork
    if isinstance(network, StackNetwork):
        first = load_stack_model(source).network
    else:
        first = load_model(source).network
    return first.state_dict(), first.config


def _noted_config(checkpoint: Path) -> BaseModel | None:
    """Return the configuration of a checkpoint's network, if its training's folder tells it."""
    noted = checkpoint.absolute().parent.parent / CONFIG_NAME
    content = read_settings(noted, "training") if noted.is_file() else {}
    architecture = content.get("architecture")
    if architecture is None:
        return None
    build = build_stack_network if architecture in STACK_MODELS else build_network
    try:
        with torch.device("meta"):
            return build(architecture, content.get("architecture_config")).config
    except FluoFocusError:  # another version noted it: then the shapes of the tensors must do
        return None


def _require_same_network(network: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in weights.items()}
    differing = sorted(key for key in found if wanted.get(key) != found[key])
    if not differing:
        return
    raise FluoFocusError(
        f"start_from {source} holds another network than the configuration asks for: "
        f"{len(differing)} of its tensors differ, the first is {differing[0]}; "
        "set architecture and architecture_config to those it was trained with."
    )
