"""Images of beads scored against known positions, plane by plane: tables and a figure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from fluofocus.errors import FluoFocusError
from fluofocus.io.readers import read_stack
from fluofocus.io.stack import known_voxel_size_um, voxel_size_um
from fluofocus.measure.beads import Array, image_noise
from fluofocus.measure.depth_of_field import depth_of_field
from fluofocus.measure.localisation import Localisation, locate, score_positions
from fluofocus.report.drawing import new_figure, save_figure
from fluofocus.units import um_to_nm
from fluofocus.whole_files import write_whole

HEADER = ("image", "z (µm)", "found", "known", "matched", "Jaccard index", "lateral RMSE (nm)")
TOLERANCES = (0.0, 0.1, 0.2)
"""Shares by which the Jaccard index may fall below the native one (W-Net, Table 1)."""

Row = tuple[str, ...]


@dataclass(frozen=True)
class PlaneScore:
    """One plane of an image and how well its beads agree with known ones; z is NaN in 2D."""

    image: str
    z_um: float
    score: Localisation

    @property
    def cells(self) -> Row:
        """The plane as a row under `HEADER`."""
        score = self.score
        counts = (score.found_count, score.known_count, score.matched_count)
        return (
            self.image,
            "" if np.isnan(self.z_um) else f"{self.z_um:.2f}",
            *map(str, counts),
            f"{score.jaccard:.3f}",
            "" if np.isnan(score.rmse_um) else f"{um_to_nm(score.rmse_um):.1f}",
        )


def known_beads_px(
    path: str | Path, pixel_size_um: float, *, reference_pixel_size_um: float | None = None
) -> Array:
    """Return known positions (y, x) in px: from a truth file, or located in a reference image.

    Both images show the same field, from the same corner.

    Parameters
    ----------
    pixel_size_um
        Of the image to compare, whose pixels are returned.
    reference_pixel_size_um
        Of the reference image, in place of what it states; if it states none, its pixels are
        as large as the image's.

    Returns
    -------
    ndarray (N, 2)

    Raises
    ------
    FluoFocusError
        If the file cannot be read, or holds no beads.
    """
    path = Path(path)
    if path.suffix.lower() != ".json":
        image = read_stack(path, pixel_size_um=reference_pixel_size_um)
        if image.squeeze(drop=True).ndim != 2:
            raise FluoFocusError(f"{path} is no single image: give the reference plane alone.")
        known = locate(image.squeeze(drop=True).values)
        if not len(known):
            raise FluoFocusError(f"There are no beads in {path} to compare with.")
        stated_um = known_voxel_size_um(image)[1]
        own_um = stated_um if np.isfinite(stated_um) else pixel_size_um
        return (known + 0.5) * (own_um / pixel_size_um) - 0.5  # indices count from pixel centres
    try:
        objects = json.loads(path.read_text(encoding="utf-8"))["objects"]
        rows = [[entry["y_um"], entry["x_um"]] for entry in objects]
    except OSError as error:
        raise FluoFocusError(f"Cannot read {path}: {error.strerror}; check its name.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise FluoFocusError(
            f"{path} holds no positions of beads: give the .json file that 'fluofocus simulate' "
            "wrote beside a stack, or a reference image."
        ) from error
    return np.array(rows, float).reshape(-1, 2) / pixel_size_um


def score_file(
    path: str | Path,
    truth: str | Path,
    *,
    tolerance_um: float,
    edge_px: int,
    noise_threshold: float = 6.0,
    min_contrast: float = 0.05,
    noise_from: str | Path | None = None,
    pixel_size_um: float | None = None,
    z_step_um: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[PlaneScore]:
    """Score each plane of an image (Y, X) or stack (Z, Y, X) against known positions.

    Parameters
    ----------
    noise_threshold, min_contrast
        What counts as a bead, see `fluofocus.measure.beads.find_beads`.
    noise_from
        A recorded image, or as many planes as the stack has, whose noise counts in place of
        the stack's own: for a network's output, its input.
    pixel_size_um, z_step_um
        Sizes that replace those the files state, the pixel size also that of a reference image.

    Raises
    ------
    FluoFocusError
        If a file cannot be read, an image has other axes or another number of planes, or no
        plane of it holds a bead.
    """
    stack = _planes(path, pixel_size_um, z_step_um)
    pixel_um = voxel_size_um(stack)[1]
    known = known_beads_px(truth, pixel_um, reference_pixel_size_um=pixel_size_um)
    planes = stack.expand_dims("Z") if stack.ndim == 2 else stack
    inside = _without_rim(planes, edge_px)
    noise = _noise_of_planes(noise_from, planes.sizes["Z"])
    scores = []
    for index in range(planes.sizes["Z"]):
        found = locate(
            planes.isel(Z=index).values,
            noise_threshold=noise_threshold,
            min_contrast=min_contrast,
            noise=noise[index],
        )
        score = score_positions(
            found, known, pixel_size_um=pixel_um, tolerance_um=tolerance_um, inside_px=inside
        )
        z_um = float(planes.coords["Z"][index]) if "Z" in stack.coords else float("nan")
        scores.append(PlaneScore(Path(path).name, z_um, score))
        progress(index + 1, planes.sizes["Z"])
    if not any(each.score.found_count for each in scores):
        raise FluoFocusError(f"There are no beads in {path}: check that it shows more than noise.")
    return scores


def _planes(
    path: str | Path, pixel_size_um: float | None = None, z_step_um: float | None = None
) -> xr.DataArray:
    stack = read_stack(path, pixel_size_um=pixel_size_um, z_step_um=z_step_um).squeeze(drop=True)
    if stack.dims not in (("Z", "Y", "X"), ("Y", "X")):
        axes = "".join(map(str, stack.dims))
        raise FluoFocusError(f"{path} has the axes {axes}: give an image or a stack (Z, Y, X).")
    return stack


def _noise_of_planes(path: str | Path | None, count: int) -> list[float | None]:
    """Return the noise of each plane of a file, or of its one image for all; None without it."""
    if path is None:
        return [None] * count
    recorded = _planes(path)
    if recorded.ndim == 2:
        return [image_noise(recorded.values)] * count
    if recorded.sizes["Z"] != count:
        raise FluoFocusError(
            f"{path} has {recorded.sizes['Z']} planes where {count} are to be located: give one "
            "image, or a plane for each."
        )
    return [image_noise(plane) for plane in recorded.values]


def _without_rim(
    planes: xr.DataArray, edge_px: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    last = [planes.sizes[axis] - 1 - edge_px for axis in ("Y", "X")]
    if min(last) <= edge_px:
        raise FluoFocusError(f"Without {edge_px} pixels at each edge nothing is left of the image.")
    return (float(edge_px), float(last[0])), (float(edge_px), float(last[1]))


def write_scores(scores: Sequence[PlaneScore], path: str | Path) -> None:
    """Write a row for each plane as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEADER, *(each.cells for each in scores)])
    write_whole(path, text.getvalue(), "table ")


def from_focus(scores: Sequence[PlaneScore], focus_um: float) -> list[PlaneScore]:
    """Let the z of each plane count from the focus."""
    return [replace(each, z_um=each.z_um - focus_um) for each in scores]


def depth_of_field_rows(
    scores: Sequence[PlaneScore], native: Sequence[PlaneScore], native_range_um: float
) -> list[Row]:
    """Tabulate the depth of field for each tolerance, under a header (W-Net, Table 1).

    The native Jaccard index is the mean over the planes of ``native`` that lie in its depth
    of field, `native_range_um` long.

    Raises
    ------
    FluoFocusError
        If no plane of the native stack lies in its depth of field, or no bead is matched there.
    """
    in_focus = [each for each in native if abs(each.z_um) <= native_range_um / 2 + 1e-6]
    if not in_focus:
        raise FluoFocusError(
            f"No plane of the native scan lies within {native_range_um / 2:g} µm of the focus: "
            "say at which z that is with --focus, or --native-focus."
        )
    jaccard = float(np.mean([each.score.jaccard for each in in_focus]))
    if not jaccard > 0:
        raise FluoFocusError(
            f"No bead of the native scan is matched within {native_range_um / 2:g} µm of the "
            "focus: say at which z that is with --focus, or --native-focus."
        )
    z_um = np.array([each.z_um for each in scores])
    values = np.array([each.score.jaccard for each in scores])
    rows: list[Row] = [
        ("tolerance", "Jaccard threshold", "mean lateral RMSE (nm)", "depth of field (µm)"),
        ("native", f"{jaccard:.3f}", f"{_mean_rmse_nm(in_focus):.1f}", f"{native_range_um:g}"),
    ]
    for tolerance in TOLERANCES:
        threshold = jaccard * (1 - tolerance)
        extent = depth_of_field(z_um, values, threshold)
        within = [each for each in scores if extent.low_um <= each.z_um <= extent.high_um]
        held = [each for each in within if each.score.jaccard >= threshold]
        longer = "at least " if extent.reaches_end else ""
        rows.append(
            (
                f"{tolerance:.0%}",
                f"{threshold:.3f}",
                f"{_mean_rmse_nm(held):.1f}" if held else "",
                f"{longer}{extent.length_um:.1f}",
            )
        )
    return rows


def _mean_rmse_nm(scores: Sequence[PlaneScore]) -> float:
    known = [each.score.rmse_um for each in scores if each.score.matched_count]
    return um_to_nm(float(np.mean(known))) if known else float("nan")


def plot_scores(series: Sequence[Sequence[PlaneScore]], path: str | Path) -> None:
    """Draw Jaccard index and lateral error against defocus, a line for each stack."""
    figure = new_figure(10, 3.6)
    jaccard, error = figure.subplots(1, 2)
    for scores in series:
        z_um = [each.z_um for each in scores]
        jaccard.plot(z_um, [each.score.jaccard for each in scores], label=scores[0].image)
        error.plot(z_um, [um_to_nm(each.score.rmse_um) for each in scores])
    jaccard.set(xlabel="z (µm)", ylabel="Jaccard index", ylim=(0, 1))
    error.set(xlabel="z (µm)", ylabel="lateral RMSE (nm)", ylim=(0, None))
    jaccard.legend(loc="lower center", fontsize=8)
    save_figure(figure, path)
