"""What ``fluofocus refocus --merge`` does in place of refocusing all planes in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from fluofocus.cli.console import note
from fluofocus.errors import FluoFocusError


def require_mergeable(
    surface: str | None,
    *,
    uncertainty: bool,
    intermediate: bool,
    scheduler: str | None,
) -> None:
    """Refuse options that say nothing of merged stacks.

    Raises
    ------
    FluoFocusError
        If there is one.
    """
    refused = {
        "--surface": (surface is not None, "a surface is one image"),
        "--uncertainty": (uncertainty, "the maximum of expected errors says nothing"),
        "--intermediate": (intermediate, "only the final images are merged"),
        "--scheduler": (scheduler is not None, "stacks are merged in memory"),
    }
    for option, (is_given, reason) in refused.items():
        if is_given:
            raise FluoFocusError(
                f"--merge takes the maximum of virtual stacks, and {reason}: leave out --merge or "
                f"{option}."
            )


def merge_to_file(
    stack: xr.DataArray,
    model: str,
    output: Path,
    *,
    z_um: Sequence[float] | None,
    plane: Sequence[int] | None,
    pixel_size_um: float | None,
    **options: Any,
) -> None:
    """Write the maximum of the virtual stacks that several planes give, each by itself.

    Raises
    ------
    FluoFocusError
        As `refocus_merged` and `write_stack`.
    """
    from fluofocus.data.grid import square_pixel_size_um
    from fluofocus.io import write_stack
    from fluofocus.refocus.mask_check import check_mask
    from fluofocus.refocus.merged import refocus_merged
    from fluofocus.refocus.request import as_images

    merged = refocus_merged(
        stack, model, z_um=z_um, plane=plane or [], pixel_size_um=pixel_size_um, **options
    )
    inputs = as_images(stack, pixel_size_um=pixel_size_um, plane=plane)
    check_mask(inputs, pixel_size_um or square_pixel_size_um(inputs), model)
    write_stack(output, merged)
    lowest, highest = merged.coords["Z"].values[[0, -1]]
    note(f"z counts as in the input: the planes lie at {lowest:g} to {highest:g} µm.")
