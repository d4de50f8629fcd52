"""What is asked of a refocusing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fluofocus.data.grid import Resample
from fluofocus.optics.microscope import Microscope
from fluofocus.refocus.request import Planes
from fluofocus.refocus.surface import Surface


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to refocus; `fluofocus.refocus.engine.refocus` says what each of them means."""

    z_um: Sequence[float] | None = None
    surface: Surface | str | None = None
    pixel_size_um: float | None = None
    plane: Planes = None
    microscope: Microscope | None = None
    uncertainty: bool = False
    intermediate: bool = False
    allow_extrapolation: bool = False
    resample: Resample = "auto"
    ensemble: bool = False
    memory_gb: float = 4.0
    device: str = "auto"
