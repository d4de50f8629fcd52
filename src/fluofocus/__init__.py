"""FluoFocus: refocus a single wide-field fluorescence image onto any plane or surface.

What is named here is loaded when it is first used, so that ``import fluofocus`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluofocus.errors import FluoFocusError as FluoFocusError
    from fluofocus.errors import FluoFocusWarning as FluoFocusWarning
    from fluofocus.io.readers import read_stack as read_stack
    from fluofocus.io.stack import make_stack as make_stack
    from fluofocus.io.stack import voxel_size_um as voxel_size_um
    from fluofocus.io.writers import write_stack as write_stack
    from fluofocus.models.bundle import Model as Model
    from fluofocus.models.bundle import load_model as load_model
    from fluofocus.models.bundle import load_stack_model as load_stack_model
    from fluofocus.models.bundle import save_model as save_model
    from fluofocus.models.bundle import shipped_models as shipped_models
    from fluofocus.optics.calibrate import calibrate as calibrate
    from fluofocus.optics.microscope import Microscope as Microscope
    from fluofocus.optics.microscope import load_microscope as load_microscope
    from fluofocus.optics.microscope import preset as preset
    from fluofocus.optics.microscope import save_microscope as save_microscope
    from fluofocus.optics.psf import point_spread_function as point_spread_function
    from fluofocus.refocus.engine import refocus as refocus
    from fluofocus.refocus.engine import refocus_to_file as refocus_to_file
    from fluofocus.refocus.evaluation import evaluate as evaluate
    from fluofocus.restore.engine import restore as restore
    from fluofocus.restore.engine import restore_to_file as restore_to_file
    from fluofocus.simulate.stack import simulate_stack as simulate_stack

_HOMES = {
    "FluoFocusError": "errors",
    "FluoFocusWarning": "errors",
    "Microscope": "optics.microscope",
    "Model": "models.bundle",
    "calibrate": "optics.calibrate",
    "evaluate": "refocus.evaluation",
    "load_microscope": "optics.microscope",
    "load_model": "models.bundle",
    "load_stack_model": "models.bundle",
    "make_stack": "io.stack",
    "point_spread_function": "optics.psf",
    "preset": "optics.microscope",
    "read_stack": "io.readers",
    "refocus_to_file": "refocus.engine",
    "restore_to_file": "restore.engine",
    "save_microscope": "optics.microscope",
    "save_model": "models.bundle",
    "shipped_models": "models.bundle",
    "simulate_stack": "simulate.stack",
    "voxel_size_um": "io.stack",
    "write_stack": "io.writers",
}
"""Name -> the module it lives in."""

_CALLABLE_PACKAGES = ("refocus", "restore")
"""Packages that can be called like the functions that they are named after."""

__all__ = sorted({*_HOMES, *_CALLABLE_PACKAGES})


def __getattr__(name: str) -> Any:
    """Load a public name."""
    if name in _CALLABLE_PACKAGES:
        return importlib.import_module(f"fluofocus.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'fluofocus' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fluofocus.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names too."""
    return sorted({*globals(), *__all__})
