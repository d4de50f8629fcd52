"""Where a network runs, and how."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fluofocus.errors import FluoFocusError


def choose_device(name: str) -> torch.device:
    """Return the device of this name; ``"auto"`` is a CUDA GPU where there is one.

    Raises
    ------
    FluoFocusError
        If there is no such device here.
    """
    has_cuda = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if has_cuda else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise FluoFocusError(f"{name!r} is no device: choose auto, cpu or cuda.") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not has_cuda):
        raise FluoFocusError(f"There is no device {name!r} here: choose auto or cpu.")
    return device


def computes_in_bfloat16(device: torch.device) -> bool:
    """Tell whether a device multiplies in bfloat16 by itself, so that it saves time."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    tell = getattr(torch.cpu, "get_capabilities", None)  # older versions of PyTorch have it not
    instructions = tell() if tell is not None else {}
    return bool(instructions.get("avx512_bf16") or instructions.get("amx_bf16"))


@contextmanager
def inference(device: torch.device) -> Iterator[None]:
    """Compute without gradients, on a GPU in bfloat16 where that is safe."""
    on_gpu = device.type == "cuda"
    with (
        torch.inference_mode(),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=on_gpu),
    ):
        yield
