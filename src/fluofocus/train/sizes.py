"""Whether a network can take the fields or stacks that it is to be trained on."""

from __future__ import annotations

from fluofocus.errors import FluoFocusError
from fluofocus.models.network import RefocusingNetwork
from fluofocus.models.stack_network import StackNetwork
from fluofocus.train.config import TrainConfig


def require_possible_sizes(config: TrainConfig, network: RefocusingNetwork | StackNetwork) -> None:
    """Compare what a training's data will be with what its network takes.

    Raises
    ------
    FluoFocusError
        If ``crop_px`` or ``planes`` is no multiple of what it must be, or ``input_planes`` are
        more than the network takes.
    """
    if isinstance(network, StackNetwork):
        assert config.stacks is not None  # or the scheme were another
        _require_multiple(config, "planes", config.stacks.planes, network.size_multiple.z)
        _require_multiple(config, "crop_px", config.stacks.crop_px, network.size_multiple.y)
        return
    _require_multiple(config, "crop_px", config.data.crop_px, network.size_multiple)
    if config.data.input_planes > 1 and not network.fuses_planes:
        raise FluoFocusError(
            f"input_planes is {config.data.input_planes}, but this network {config.architecture} "
            "takes one input plane only: set input_planes to 1."
        )


def _require_multiple(config: TrainConfig, field: str, value: int, multiple: int) -> None:
    if value % multiple:
        raise FluoFocusError(
            f"{field} is {value}, but this network {config.architecture} needs a multiple of "
            f"{multiple}: set {field} to {value + multiple - value % multiple}."
        )
