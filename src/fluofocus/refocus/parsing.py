"""Surfaces and z ranges as they are written on the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from fluofocus.errors import FluoFocusError
from fluofocus.refocus.control_points import read_points
from fluofocus.refocus.surface import (
    Surface,
    cylinder,
    from_array,
    plane,
    polynomial,
    tilt,
)

SURFACE_FORMS = (
    "plane:3um | tilt:1.5deg[,axis=30deg][,offset=2um] | "
    "cylinder:7.2mm[,axis=30deg][,apex=50um][,offset=2um] | poly:c00,c10,c01,... | FILE.tif | "
    "FILE.csv"
)
"""How a surface can be written."""

LENGTHS_UM = {"nm": 1e-3, "um": 1.0, "µm": 1.0, "μm": 1.0, "mm": 1e3}
ANGLES_DEG = {"deg": 1.0, "°": 1.0, "mrad": math.degrees(1e-3), "rad": math.degrees(1.0)}

MOST_PLANES = 10_000
"""More planes than this are taken for a mistake in the unit of the step."""

_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(\D*?)\s*", re.IGNORECASE)
_KEYWORDS: dict[str, Mapping[str, float]] = {
    "axis": ANGLES_DEG,
    "apex": LENGTHS_UM,
    "offset": LENGTHS_UM,
}
_ARGUMENTS = {"axis": "axis_deg", "apex": "apex_um", "offset": "offset_um"}
_SHAPES: dict[str, tuple[Callable[..., Surface], Mapping[str, float], tuple[str, ...]]] = {
    "plane": (plane, LENGTHS_UM, ()),
    "tilt": (tilt, ANGLES_DEG, ("axis", "offset")),
    "cylinder": (cylinder, LENGTHS_UM, ("axis", "apex", "offset")),
}


def parse_surface(text: str) -> Surface:
    """Read a surface as it is written on the command line.

    Parameters
    ----------
    text
        One of `SURFACE_FORMS`; lengths and angles carry their unit, the
        coefficients of a polynomial are µm over µm.

    Raises
    ------
    FluoFocusError
        If the text is no surface, or its file cannot be read.
    """
    kind, colon, rest = text.strip().partition(":")
    if colon and kind == "poly":
        return polynomial([_number(part, text) for part in rest.split(",")])
    if colon and kind in _SHAPES:
        return _parse_shape(kind, rest, text)
    if Path(text).suffix.lower() in (".tif", ".tiff"):
        return _read_surface(Path(text))
    if Path(text).suffix.lower() == ".csv":
        return read_points(Path(text))
    raise FluoFocusError(f"{text!r} is no surface: write {SURFACE_FORMS}.")


def parse_z_range(text: str) -> list[float]:
    """Read target planes in µm: ``start:stop:step`` with both ends, or one number.

    Raises
    ------
    FluoFocusError
        If the text is neither, the step does not lead from start to stop, or
        there would be more than `MOST_PLANES` planes.
    """
    try:
        numbers = [float(part) for part in text.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3) or not all(math.isfinite(number) for number in numbers):
        raise FluoFocusError(
            f"{text!r} is no z range: write start:stop:step in µm, like -10:10:0.5, or one number."
        )
    if len(numbers) == 1:
        return numbers
    start, stop, step = numbers
    if step <= 0 or stop < start:
        raise FluoFocusError(
            f"The z range {text!r} has no planes: stop must be at or above start, step above zero."
        )
    if (stop - start) / step >= MOST_PLANES:
        raise FluoFocusError(
            f"The z range {text!r} has more than {MOST_PLANES} planes: is the step in µm?"
        )
    count = math.floor((stop - start) / step + 1e-6) + 1
    return [round(start + index * step, 9) for index in range(count)]


def _parse_shape(kind: str, rest: str, text: str) -> Surface:
    make, units, allowed = _SHAPES[kind]
    first, *options = rest.split(",")
    arguments = {}
    for option in options:
        name, equals, value = option.strip().partition("=")
        if not equals or name not in allowed:
            choice = ", ".join(f"{key}=" for key in allowed) or "no options"
            raise FluoFocusError(
                f"The surface {text!r} has an unknown option {option!r}: {kind} takes {choice}."
            )
        arguments[_ARGUMENTS[name]] = _quantity(value, _KEYWORDS[name], text)
    return make(_quantity(first, units, text), **arguments)


def _quantity(part: str, units: Mapping[str, float], text: str) -> float:
    match = _QUANTITY.fullmatch(part)
    if match is None or match[2] not in units:
        raise FluoFocusError(
            f"The surface {text!r} has {part!r} where a number with a unit "
            f"({', '.join(units)}) must stand; write {SURFACE_FORMS}."
        )
    return float(match[1]) * units[match[2]]


def _number(part: str, text: str) -> float:
    try:
        return float(part)
    except ValueError:
        raise FluoFocusError(
            f"The surface {text!r} has {part!r} where a number must stand: "
            "write poly:c00,c10,c01,... for 1, x, y, ... in µm."
        ) from None


def _read_surface(path: Path) -> Surface:
    import tifffile

    try:
        heights = tifffile.imread(path)
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FluoFocusError(
            f"Cannot read surface file {path} ({reason}): give a TIFF of heights in µm."
        ) from error
    return from_array(heights, name=path.name)
