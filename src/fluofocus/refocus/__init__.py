"""Refocusing: surfaces to focus on, and the engine that does it for images of any size."""

import inspect
import sys
from types import ModuleType

from fluofocus.refocus.control_points import from_points
from fluofocus.refocus.engine import refocus, refocus_to_file
from fluofocus.refocus.merge import merge_stacks
from fluofocus.refocus.parsing import parse_surface, parse_z_range
from fluofocus.refocus.surface import (
    Surface,
    cylinder,
    from_array,
    plane,
    polynomial,
    tilt,
)

__all__ = [
    "Surface",
    "cylinder",
    "from_array",
    "from_points",
    "merge_stacks",
    "parse_surface",
    "parse_z_range",
    "plane",
    "polynomial",
    "refocus",
    "refocus_to_file",
    "tilt",
]


__doc__ = f"""{__doc__}

The package can be called, and is then the function `refocus`:

{inspect.getdoc(refocus)}
"""


class _CallablePackage(ModuleType):
    """Lets ``fluofocus.refocus(image, …)`` be the function, whose name this package has."""

    __call__ = staticmethod(refocus)
    __signature__ = inspect.signature(refocus)


sys.modules[__name__].__class__ = _CallablePackage
