"""A `Model`: a trained network with all it needs to be used correctly, in one file.

The file is a ``.safetensors``: its header carries the `ModelCard` as JSON, its body the
float32 weights. Nothing is unpickled, and nothing is built before its shapes agree
with the weights that are really in the file. Two SHA-256 digests, of the card in the
header and of the weights in the card, tell a damaged or edited file from a sound one;
they are no signature, so a model is as trustworthy as its source.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import torch
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from fluofocus.errors import FluoFocusError
from fluofocus.models import MODELS, build_network
from fluofocus.models.network import RefocusingNetwork
from fluofocus.optics.microscope import Microscope
from fluofocus.settings_files import first_problem
from fluofocus.whole_files import write_whole

FORMAT_VERSION: Final = 2
SUFFIX = ".safetensors"
CARD_KEY = "fluofocus_card"
DIGEST_KEY = "fluofocus_card_sha256"
SHIPPED = Path(__file__).parent / "shipped"
PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How the files of ``torch.save`` begin: a zip archive or a bare pickle."""

Range = tuple[float, float]
OutputModality = Literal["widefield", "confocal", "other"]

_SWIFT_OF_VERSION_1: Final[dict[str, JsonValue]] = {
    "encoder_channels": [32, 64, 96, 128],
    "decoder_channels": [24, 32, 48, 64],
    "residual_blocks": 2,
    "error_output": False,
    "fuses_planes": False,
    "takes_optics": False,
}
"""What the cards of the first format left unsaid of a ``swift`` network."""


class TrainingRange(BaseModel):
    """What a model was trained on, and so where it can be trusted."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    defocus_um: Range
    peak_photons: Range | None = None
    pixel_size_um: Annotated[float, Field(gt=0)]
    phantoms: tuple[str, ...] = ()
    flips_and_rotations: bool = True
    """Whether images had no orientation, being turned and mirrored at random."""
    input_planes: Annotated[int, Field(ge=1)] = 1
    """How many planes of a field were given at once, at most."""
    optics_told: bool = False
    """Whether the network was told the optics of some fields."""
    target_modality: OutputModality = "widefield"
    """As which microscope's image the output comes out; the input is wide-field."""

    @model_validator(mode="after")
    def _check_order(self) -> TrainingRange:
        for low, high in filter(None, (self.defocus_um, self.peak_photons)):
            if low > high:
                raise ValueError(f"a range runs from low to high, not from {low:g} to {high:g}")
        return self


class ErrorCalibration(BaseModel):
    """How a network's error output became honest on held-out images.

    ``scale`` turns it into the expected absolute error. Around the output, an interval of
    ``half_widths[i]`` times that error to either side holds the truth with probability
    ``probabilities[i]``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scale: Annotated[float, Field(gt=0)]
    probabilities: tuple[float, ...]
    half_widths: tuple[float, ...]

    @model_validator(mode="after")
    def _check_lengths(self) -> ErrorCalibration:
        if len(self.probabilities) != len(self.half_widths):
            raise ValueError("each probability needs its half width")
        return self


class ModelCard(BaseModel):
    """What a model is, what it was made from, and what it is good for.

    ``weights_sha256`` is filled in when the model is saved.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format_version: Literal[2] = FORMAT_VERSION
    name: Annotated[str, Field(min_length=1)]
    title: str
    architecture: str
    architecture_config: dict[str, JsonValue] = {}
    microscope: Microscope
    training: TrainingRange
    normalisation: Literal["deep-z-single-image"] = "deep-z-single-image"
    description: str = ""
    data: str = ""
    seeds: tuple[int, ...] = ()
    steps: Annotated[int, Field(ge=0)] = 0
    hardware: str = ""
    created: AwareDatetime
    fluofocus_version: str
    scores: dict[str, float] = {}
    error: ErrorCalibration | None = None
    limits: tuple[str, ...] = ()
    weights_sha256: str = ""


@dataclass(frozen=True)
class Model:
    """A network and its card."""

    card: ModelCard
    network: RefocusingNetwork


def shipped_models() -> dict[str, Path]:
    """Names and files of the models that come with the package."""
    return {path.stem: path for path in sorted(SHIPPED.glob(f"*{SUFFIX}"))}


def read_card(name_or_path: str | Path) -> ModelCard:
    """Read the card of a shipped model or of a model file, without its weights.

    Raises
    ------
    FluoFocusError
        If there is no such model, or the file is none, damaged, edited or too new.
    """
    path = _resolve(name_or_path)
    with _opened(path) as file:
        return _card_of(file.metadata(), path)


def load_model(name_or_path: str | Path) -> Model:
    """Load a shipped model by its name, or a model file, ready for inference on the CPU.

    The network is in evaluation mode and its weights are channels-last.

    Raises
    ------
    FluoFocusError
        As `read_card`; also if the weights are damaged or do not fit the card.
    """
    path = _resolve(name_or_path)
    with _opened(path) as file:
        card = _card_of(file.metadata(), path)
        keys = file.keys()
        _require_fitting_weights(card, path, {key: file.get_slice(key) for key in keys})
        weights = {key: file.get_tensor(key) for key in keys}
    if _weights_digest(weights) != card.weights_sha256:
        raise FluoFocusError(f"The weights in {path} are damaged: get the file again.")
    with torch.random.fork_rng(devices=[]):  # initial weights must not use up random numbers
        network = build_network(card.architecture, card.architecture_config)
    network.load_state_dict(weights)
    convert_conv2d_weight_memory_format(network, torch.channels_last)
    return Model(card, network.eval())


def save_model(model: Model, path: str | Path) -> ModelCard:
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
    card = model.card.model_copy(update={"weights_sha256": _weights_digest(weights)})
    text = card.model_dump_json()
    content = save(weights, metadata={CARD_KEY: text, DIGEST_KEY: _text_digest(text)})
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


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file, telling what it is if it is none."""
    try:
        with path.open("rb") as raw:
            if raw.read(4).startswith(PICKLE_STARTS):
                raise FluoFocusError(
                    f"{path} is a PyTorch pickle, which could run any code, and is not opened: "
                    f"models of FluoFocus are {SUFFIX} files."
                )
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise FluoFocusError(
            f"{path} is no {SUFFIX} file, or a damaged one ({error}): get the file again."
        ) from error
    except OSError as error:
        raise FluoFocusError(f"Cannot read {path}: {error.strerror or error}.") from error


def _card_of(metadata: dict[str, str] | None, path: Path) -> ModelCard:
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
    if (metadata or {}).get(DIGEST_KEY) != _text_digest(text):
        raise FluoFocusError(f"The card of {path} was edited or damaged: get the file again.")
    try:
        card = ModelCard.model_validate_json(json.dumps(_upgraded(content)))
    except ValidationError as error:
        raise FluoFocusError(
            f"The card of {path} is not one that this FluoFocus can read "
            f"({first_problem(error)}): install the version that wrote it."
        ) from error
    if card.architecture not in MODELS:
        raise FluoFocusError(
            f"{path} holds a network {card.architecture!r}, which this FluoFocus does not know: "
            "install the version that wrote it."
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


def _require_fitting_weights(card: ModelCard, path: Path, stored: dict[str, Any]) -> None:
    """Compare what the file holds with what the card asks for, allocating neither."""
    try:
        with torch.device("meta"):
            expected = build_network(card.architecture, card.architecture_config).state_dict()
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


def _weights_digest(weights: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bytes of float32 weights, in the order of their names."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(f"{key}{list(weights[key].shape)}".encode())
        digest.update(weights[key].numpy().data)
    return digest.hexdigest()


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
