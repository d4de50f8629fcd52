"""Widths of beads in image files: measured, written as a table, and summed up in words."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.io.readers import read_stack
from fluofocus.io.stack import origin_um, voxel_size_um
from fluofocus.measure.resolution import WINDOW_PX
from fluofocus.measure.width_samples import Outcome, compare_widths
from fluofocus.measure.widths import (
    MIN_CONTRAST,
    NOISE_THRESHOLD,
    MeasuredBeads,
    measure_beads,
)
from fluofocus.whole_files import write_whole

UNEVEN_SHARE = 0.1  # of the mean step, by which steps may differ from it
COLUMNS = (
    "file",
    "bead",
    "z_um",
    "y_um",
    "x_um",
    "plane",
    "y_px",
    "x_px",
    "fwhm_y_um",
    "fwhm_x_um",
    "fwhm_lateral_um",
    "fwhm_axial_um",
    "amplitude",
    "lateral",
    "axial",
)
Row = tuple[str, ...]


@dataclass(frozen=True)
class BeadFile:
    """The beads of one file.

    Attributes
    ----------
    name : str
        What tables and figures call it.
    beads : MeasuredBeads
        Its beads, with positions from the first voxel.
    origin_um : tuple of float
        (z, y, x) of the first voxel.
    """

    name: str
    beads: MeasuredBeads
    origin_um: tuple[float, float, float] = (0.0, 0.0, 0.0)


def measure_bead_files(
    paths: Sequence[str | Path],
    *,
    pixel_size_um: float | None = None,
    z_step_um: float | None = None,
    window_px: int = WINDOW_PX,
    noise_threshold: float = NOISE_THRESHOLD,
    min_contrast: float = MIN_CONTRAST,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[BeadFile]:
    """Measure the beads of images (Y, X) and stacks (Z, Y, X).

    Files are called by their names, or by their paths where two have the same name.

    Parameters
    ----------
    paths
        Files that `fluofocus.read_stack` opens.
    pixel_size_um, z_step_um
        Sizes that replace those the files state.
    window_px, noise_threshold, min_contrast
        As for `fluofocus.measure.widths.measure_beads`.
    progress
        Called with the number of files done, and of all.

    Raises
    ------
    FluoFocusError
        If a file cannot be read or measured; the message names it.
    """
    names = [Path(path).name for path in paths]
    files = []
    for done, (path, name) in enumerate(zip(paths, names, strict=True)):
        progress(done, len(paths))
        stack = read_stack(path, pixel_size_um=pixel_size_um, z_step_um=z_step_um)
        _check(stack)
        voxel_um = voxel_size_um(stack)
        try:
            beads = measure_beads(
                stack.values,
                voxel_size_um=voxel_um,
                window_px=window_px,
                noise_threshold=noise_threshold,
                min_contrast=min_contrast,
            )
        except FluoFocusError as error:
            raise FluoFocusError(f"{path}: {error}") from error
        called = name if names.count(name) == 1 else str(path)
        files.append(BeadFile(called, beads, origin_um(stack)))
    progress(len(paths), len(paths))
    return files


def write_beads(files: Sequence[BeadFile], path: str | Path) -> None:
    """Write a table (CSV) with a row for each bead, all rows or none.

    Cells are empty where nothing was measured, and the columns ``lateral`` and ``axial`` say
    why.

    Raises
    ------
    FluoFocusError
        If the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=COLUMNS)
    writer.writeheader()
    for file in files:
        writer.writerows(_rows(file))
    write_whole(path, text.getvalue(), "table ")


def summary(file: BeadFile) -> list[str]:
    """Return lines that say what was found, what came of it, and how wide the beads are."""
    lines = [f"{file.name}: {len(file.beads)} beads found"]
    for kind, sample in file.beads.samples.items():
        lower, median, upper = sample.quartiles_um
        width = f"median {_um(median)}, quartiles {_um(lower)} and {_um(upper)}"
        counts = [f"{sample.count(outcome)} {outcome}" for outcome in _possible(file)]
        lines.append(f"  {kind} FWHM: {width}; {', '.join(counts)}")
    return lines


def comparison_rows(files: Sequence[BeadFile]) -> list[Row]:
    """Return a table, heading first, with a row for each file and kind of width."""
    quartiles = ("lower quartile", "median", "upper quartile")
    rows: list[Row] = [("file", "FWHM", "measured", "of", *quartiles)]
    for file in files:
        for kind, sample in file.beads.samples.items():
            widths = [_um(width_um) for width_um in sample.quartiles_um]
            measured = str(sample.count(Outcome.MEASURED))
            rows.append((file.name, kind, measured, str(len(file.beads)), *widths))
    return rows


def difference_rows(files: Sequence[BeadFile], reference: BeadFile) -> list[Row]:
    """Return a table, heading first, of what sets the widths of files apart from a reference.

    Axial widths are left out where one of the two is a single image.
    """
    rows: list[Row] = [(f"against {reference.name}", "FWHM", "median", "KS distance")]
    for file in files:
        for kind, sample in file.beads.samples.items():
            if kind not in reference.beads.samples:
                continue
            apart = compare_widths(sample, reference.beads.samples[kind])
            median = _or_dash(apart.median_difference, "{:+.1%}")
            rows.append((file.name, kind, median, _or_dash(apart.ks_distance, "{:.3f}")))
    return rows


def _check(stack: xr.DataArray) -> None:
    """Refuse axes other than (Z,) Y, X, and planes that are not evenly spaced."""
    if stack.dims not in (("Y", "X"), ("Z", "Y", "X")):
        raise FluoFocusError(
            f"Beads are measured in an image (Y, X) or a stack (Z, Y, X), {stack.name} has axes "
            f"{', '.join(map(str, stack.dims))}: save one time point and one channel of it."
        )
    if stack.sizes.get("Z", 1) < 2 or "Z" not in stack.coords:
        return
    steps_um = np.diff(stack.coords["Z"].values)
    mean_um = steps_um.mean()
    if mean_um <= 0 or np.abs(steps_um - mean_um).max() > UNEVEN_SHARE * mean_um:
        raise FluoFocusError(
            f"The planes of {stack.name} are not evenly spaced from low to high z: save an even "
            "scan, or give the distance with --z-step (z_step_um=...) if the file is wrong."
        )


def _rows(file: BeadFile) -> list[dict[str, str | int]]:
    """Return the rows of one file's beads."""
    beads = file.beads
    step_um, *pixel_yx_um = beads.voxel_size_um
    yx_um = beads.yx_px * pixel_yx_um + np.array(file.origin_um[1:])
    rows: list[dict[str, str | int]] = []
    for index in range(len(beads)):
        row: dict[str, str | int] = {
            "file": file.name,
            "bead": index + 1,
            "y_um": _number(yx_um[index, 0]),
            "x_um": _number(yx_um[index, 1]),
            "y_px": _number(beads.yx_px[index, 0]),
            "x_px": _number(beads.yx_px[index, 1]),
            "fwhm_y_um": _number(beads.fwhm_yx_um[index, 0]),
            "fwhm_x_um": _number(beads.fwhm_yx_um[index, 1]),
            "fwhm_lateral_um": _number(beads.lateral.fwhm_um[index]),
            "amplitude": _number(beads.amplitude[index]),
            "lateral": str(beads.lateral.outcome[index]),
        }
        if beads.plane is not None and beads.axial is not None:
            plane = int(beads.plane[index])
            row["plane"], row["z_um"] = plane, _number(file.origin_um[0] + plane * step_um)
            row["fwhm_axial_um"] = _number(beads.axial.fwhm_um[index])
            row["axial"] = str(beads.axial.outcome[index])
        rows.append(row)
    return rows


def _possible(file: BeadFile) -> list[Outcome]:
    """Return the outcomes that a width can have in a file."""
    in_stack = file.beads.plane is not None
    return [outcome for outcome in Outcome if in_stack or outcome is not Outcome.BEYOND]


def _number(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""


def _um(width_um: float) -> str:
    return _or_dash(width_um, "{:.3f} µm")


def _or_dash(value: float, style: str) -> str:
    return style.format(value) if np.isfinite(value) else "–"
