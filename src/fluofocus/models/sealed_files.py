"""Files of weights: opened without running anything in them, and told apart by digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from fluofocus.errors import FluoFocusError

SUFFIX = ".safetensors"
PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How the files of ``torch.save`` begin: a zip archive or a bare pickle."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
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


def weights_digest(weights: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bytes of float32 weights, in the order of their names."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(f"{key}{list(weights[key].shape)}".encode())
        digest.update(weights[key].numpy().data)
    return digest.hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
