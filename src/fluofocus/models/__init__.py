"""Networks behind two interfaces: `MODELS` lists what refocuses, `STACK_MODELS` what restores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from fluofocus.errors import FluoFocusError
from fluofocus.models.deep_z import DeepZ, DeepZConfig
from fluofocus.models.filtered import Filtered, FilteredConfig
from fluofocus.models.network import RefocusingNetwork
from fluofocus.models.stack_network import StackNetwork
from fluofocus.models.swift import Swift
from fluofocus.models.swift_config import SwiftConfig
from fluofocus.models.swift_stack import SwiftStack, SwiftStackConfig
from fluofocus.models.w_net import WNet, WNetConfig
from fluofocus.models.wfcon import Wfcon, WfconConfig
from fluofocus.settings_files import first_problem

Network = TypeVar("Network", covariant=True)


@dataclass(frozen=True)
class Architecture(Generic[Network]):
    """A kind of network: the type of its configuration, its class, and a line about it."""

    config_type: type[BaseModel]
    network_type: Callable[[Any], Network]
    summary: str


MODELS: dict[str, Architecture[RefocusingNetwork]] = {
    "swift": Architecture(SwiftConfig, Swift, "encodes the image once, decodes each plane cheaply"),
    "deep_z": Architecture(DeepZConfig, DeepZ, "the generator of the Deep-Z paper"),
    "filtered": Architecture(FilteredConfig, Filtered, "matched filters before a small network"),
    "w_net": Architecture(WNetConfig, WNet, "refocuses, then turns the result into confocal"),
}


STACK_MODELS: dict[str, Architecture[StackNetwork]] = {
    "wfcon": Architecture(WfconConfig, Wfcon, "the generator of the WFCON-Net paper"),
    "swift_stack": Architecture(SwiftStackConfig, SwiftStack, "the same job in half the time"),
}


def build_network(name: str, config: dict[str, Any] | None = None) -> RefocusingNetwork:
    """Make an untrained network that refocuses.

    Raises
    ------
    FluoFocusError
        If there is no such architecture, or its configuration is wrong.
    """
    return _build(MODELS, name, config)


def build_stack_network(name: str, config: dict[str, Any] | None = None) -> StackNetwork:
    """Make an untrained network that restores stacks.

    Raises
    ------
    FluoFocusError
        If there is no such architecture, or its configuration is wrong.
    """
    return _build(STACK_MODELS, name, config)


def _build(
    table: dict[str, Architecture[Network]], name: str, config: dict[str, Any] | None
) -> Network:
    if name not in table:
        raise FluoFocusError(
            f"There is no architecture {name!r}; choose one of {', '.join(table)}."
        )
    architecture = table[name]
    try:
        checked = architecture.config_type.model_validate(config or {})
    except ValidationError as error:
        raise FluoFocusError(
            f"The configuration of architecture {name!r} is wrong: {first_problem(error)}."
        ) from error
    return architecture.network_type(checked)
