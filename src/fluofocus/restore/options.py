"""What is asked of a restoration."""

from __future__ import annotations

from dataclasses import dataclass

from fluofocus.data.grid import Resample


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to restore; `fluofocus.restore.engine.restore` says what each of them means."""

    pixel_size_um: float | None = None
    resample: Resample = "auto"
    memory_gb: float = 4.0
    device: str = "auto"
