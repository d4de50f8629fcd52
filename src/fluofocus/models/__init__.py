"""Refocusing networks behind one interface; the table `MODELS` lists them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from fluofocus.errors import FluoFocusError
from fluofocus.models.deep_z import DeepZ, DeepZConfig
from fluofocus.models.network import RefocusingNetwork
from fluofocus.models.swift import Swift
from fluofocus.models.swift_config import SwiftConfig
from fluofocus.models.w_net import WNet, WNetConfig
from fluofocus.settings_files import first_problem


@dataclass(frozen=True)
class Architecture:
    """A kind of network: the type of its configuration, its class, and a line about it."""

    config_type: type[BaseModel]
    network_type: Callable[[Any], RefocusingNetwork]
    summary: str


MODELS: dict[str, Architecture] = {
    "swift": Architecture(SwiftConfig, Swift, "encodes the image once, decodes each plane cheaply"),
    "deep_z": Architecture(DeepZConfig, DeepZ, "the generator of the Deep-Z paper"),
    "w_net": Architecture(WNetConfig, WNet, "refocuses, then turns the result into confocal"),
}


def build_network(name: str, config: dict[str, Any] | None = None) -> RefocusingNetwork:
    """Make an untrained network.

    Raises
    ------
    FluoFocusError
        If there is no such architecture, or its configuration is wrong.
    """
    if name not in MODELS:
        raise FluoFocusError(
            f"There is no architecture {name!r}; choose one of {', '.join(MODELS)}."
        )
    architecture = MODELS[name]
    try:
        checked = architecture.config_type.model_validate(config or {})
    except ValidationError as error:
        raise FluoFocusError(
            f"The configuration of architecture {name!r} is wrong: {first_problem(error)}."
        ) from error
    return architecture.network_type(checked)
