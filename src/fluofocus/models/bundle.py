"""A `Model`: a trained network with all it needs to be used correctly, in one file.

The file is a ``.safetensors``: its header carries the `ModelCard` as JSON, its body the
float32 weights. Nothing is unpickled, and nothing is built before its shapes agree
with the weights that are really in the file. Two SHA-256 digests, of the card in the
header and of the weights in the card, tell a damaged or edited file from a sound one;
they are no signature, so a model is as trustworthy as its source.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import JsonValue, ValidationError
from safetensors.torch import save
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from fluofocus.errors import FluoFocusError
from fluofocus.models import MODELS, STACK_MODELS, build_network, build_stack_network
from fluofocus.models.cards import FORMAT_VERSION, Card, StackCard
from fluofocus.models.cards import ErrorCalibration as ErrorCalibration
from fluofocus.models.cards import ModelCard as ModelCard
from fluofocus.models.cards import OutputModality as OutputModality
from fluofocus.models.cards import TrainingRange as TrainingRange
from fluofocus.models.network import RefocusingNetwork
from fluofocus.models.sealed_files import SUFFIX, opened, text_digest, weights_digest
from fluofocus.models.stack_network import StackNetwork
from fluofocus.settings_files import first_problem
from fluofocus.whole_files import write_whole

CARD_KEY = "fluofocus_card"
DIGEST_KEY = "fluofocus_card_sha256"
SHIPPED = Path(__file__).parent / "shipped"

_SWIFT_OF_VERSION_1: Final[dict[str, JsonValue]] = {
    "encoder_channels": [32, 64, 96, 128],
    "decoder_channels": [24, 32, 48, 64],
    "residual_blocks": 2,
    "error_output": False,
    "fuses_planes": False,
    "takes_optics": False,
}
"""What the cards of the first format left unsaid of a ``swift`` network."""


@dataclass(frozen=True)
class Model:
    """A network that refocuses, and its card."""

    card: ModelCard
    network: RefocusingNetwork


@dataclass(frozen=True)
class StackModel:
    """A network that restores stacks, and its card."""

    card: StackCard
    network: StackNetwork


def shipped_models() -> dict[str, Path]:
    """Names and files of the models that come with the package."""
    return {path.stem: path for path in sorted(SHIPPED.glob(f"*{SUFFIX}"))}


def read_any_card(name_or_path: str | Path) -> ModelCard | StackCard:
    """Read the card of a shipped model or of a model file, without its weights.

    Raises
    ------
    FluoFocusError
        If there is no such model, or the file is none, damaged, edited or too new.
    """
    path = _resolve(name_or_path)
    with opened(path) as file:
        return _card_of(file.metadata(), path)


def read_card(name_or_path: str | Path) -> ModelCard:
    """Read the card of a model that refocuses.

    Raises
    ------
    FluoFocusError
        As `read_any_card`; also if the model is of the other kind.
    """
    return _of_refocusing(read_any_card(name_or_path))


def load_model(name_or_path: str | Path) -> Model:
    """Load a shipped model by its name, or a model file, ready for inference on the CPU.

    The network is in evaluation mode and its weights are channels-last.

    Raises
    ------
    FluoFocusError
        As `read_card`; also if the weights are damaged or do not fit the card.
    """
    path = _resolve(name_or_path)
    with opened(path) as file:
        card = _of_refocusing(_card_of(file.metadata(), path))
        weights = _weights_of(file, card, path)
    with torch.random.fork_rng(devices=[]):  # initial weights must not use up random numbers
        network = build_network(card.architecture, card.architecture_config)
    network.load_state_dict(weights)
    convert_conv2d_weight_memory_format(network, torch.channels_last)
    return Model(card, network.eval())


def load_stack_model(name_or_path: str | Path) -> StackModel:
    """Load a model that restores stacks, by its name or file, ready for inference on the CPU.

    Raises
    ------
    FluoFocusError
        As `read_any_card`; also if the model is of the other kind, or its weights are damaged or
        do not fit the card.
    """
    path = _resolve(name_or_path)
    with opened(path) as file:
        card = _of_stacks(_card_of(file.metadata(), path))
        weights = _weights_of(file, card, path)
    with torch.random.fork_rng(devices=[]):
        network = build_stack_network(card.architecture, card.architecture_config)
    network.load_state_dict(weights)
    return StackModel(card, network.to(memory_format=torch.channels_last_3d).eval())  # type: ignore[call-overload]


def save_model(model: Model | StackModel, path: str | Path) -> Card:
    """Write a model file, atomically, and return its card as written.

    Raises
    ------
    FluoFocusError
        If the name does not end in ``.safetensors``, the weights are not finite, or the
        file cannot be written.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise FluoFocusError(f"A model file must be named *{SUFFIX}, not {path.name}.")
    weights = {
        key: tensor.detach().to("cpu", torch.float32).contiguous()
        for key, tensor in model.network.state_dict().items()
    }
    if not all(tensor.isfinite().all() for tensor in weights.values()):
        raise FluoFocusError(
            f"The weights of {model.card.name} are not finite, so they were not saved: "
            "the training diverged; lower its learning rate."
        )
    card = model.card.model_copy(update={"weights_sha256": weights_digest(weights)})
    text = card.model_dump_json()
    content = save(weights, metadata={CARD_KEY: text, DIGEST_KEY: text_digest(text)})
    write_whole(path, content)
    return card


def _resolve(name_or_path: str | Path) -> Path:
    shipped = shipped_models()
    if isinstance(name_or_path, str) and name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        names = ", ".join(shipped) or "none"
        raise FluoFocusError(
            f"There is no model file {path} and no shipped model of that name (shipped: {names})."
        )
    return path


def _card_of(metadata: dict[str, str] | None, path: Path) -> ModelCard | StackCard:
    text = (metadata or {}).get(CARD_KEY)
    if text is None:
        raise FluoFocusError(
            f"{path} holds weights but no FluoFocus model card: use a model that "
            "'fluofocus train' made."
        )
    content = _parsed(text, path)
    version = content.get("format_version")
    if version not in (1, FORMAT_VERSION):
        raise FluoFocusError(
            f"{path} has model format {version!r}, this FluoFocus reads to {FORMAT_VERSION}: "
            "install the version that wrote it, or a newer one."
        )
    if (metadata or {}).get(DIGEST_KEY) != text_digest(text):
        raise FluoFocusError(f"The card of {path} was edited or damaged: get the file again.")
    architecture = content.get("architecture")
    kind: type[ModelCard | StackCard] = StackCard if architecture in STACK_MODELS else ModelCard
    try:
        card = kind.model_validate_json(json.dumps(_upgraded(content)))
    except ValidationError as error:
        raise FluoFocusError(
            f"The card of {path} is not one that this FluoFocus can read "
            f"({first_problem(error)}): install the version that wrote it."
        ) from error
    if card.architecture not in MODELS | STACK_MODELS:
        raise FluoFocusError(
            f"{path} holds a network {card.architecture!r}, which this FluoFocus does not know: "
            "install the version that wrote it."
        )
    return card


def _of_refocusing(card: ModelCard | StackCard) -> ModelCard:
    if isinstance(card, StackCard):
        raise FluoFocusError(
            f"Model {card.name} restores stacks and refocuses no image: use 'fluofocus restore' "
            "(fluofocus.restore)."
        )
    return card


def _of_stacks(card: ModelCard | StackCard) -> StackCard:
    if isinstance(card, ModelCard):
        raise FluoFocusError(
            f"Model {card.name} refocuses images and restores no stack: use 'fluofocus refocus' "
            "(fluofocus.refocus)."
        )
    return card


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """Bring a card of the first format into the present one."""
    if content["format_version"] == FORMAT_VERSION:
        return content
    upgraded = content | {"format_version": FORMAT_VERSION}
    config = content.get("architecture_config")
    if content.get("architecture") == "swift" and isinstance(config, dict):
        upgraded["architecture_config"] = {**_SWIFT_OF_VERSION_1, **config}
    return upgraded


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FluoFocusError(f"The card of {path} is damaged: get the file again.") from error
    if not isinstance(content, dict):
        raise FluoFocusError(f"The card of {path} is damaged: get the file again.")
    return content


def _weights_of(file: Any, card: ModelCard | StackCard, path: Path) -> dict[str, Tensor]:
    """Read the weights, if they fit the card and are whole."""
    keys = file.keys()
    _require_fitting_weights(card, path, {key: file.get_slice(key) for key in keys})
    weights = {key: file.get_tensor(key) for key in keys}
    if weights_digest(weights) != card.weights_sha256:
        raise FluoFocusError(f"The weights in {path} are damaged: get the file again.")
    return weights


def _require_fitting_weights(
    card: ModelCard | StackCard, path: Path, stored: dict[str, Any]
) -> None:
    """Compare what the file holds with what the card asks for, allocating neither."""
    build = build_stack_network if isinstance(card, StackCard) else build_network
    try:
        with torch.device("meta"):
            expected = build(card.architecture, card.architecture_config).state_dict()
    except FluoFocusError as error:
        raise FluoFocusError(f"The card of {path} asks for no possible network: {error}") from error
    asked = {key: ("F32", tuple(tensor.shape)) for key, tensor in expected.items()}
    found = {key: (part.get_dtype(), tuple(part.get_shape())) for key, part in stored.items()}
    if asked != found:
        differing = sorted(key for key in asked | found if asked.get(key) != found.get(key))
        raise FluoFocusError(
            f"The weights in {path} do not fit the network of its card "
            f"({len(differing)} tensors differ, first {differing[0]}): get the file again."
        )
