"""The page that shows what `fluofocus prepare` did to each field, and why."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from fluofocus.prepare.dataset import read_manifest, read_pictures
from fluofocus.prepare.manifest import FieldRecord, Manifest, ScanRecord
from fluofocus.report.drawing import display_range, new_figure, save_figure, show
from fluofocus.report.html import Page
from fluofocus.report.refusal import REFUSAL_CAPTION, draw_refusal
from fluofocus.units import AnyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = {"training": "#4ade80", "validation": "#60a5fa", "rejected": "#f87171"}


def write_contact_sheet(dataset: str | Path, path: str | Path) -> None:
    """Write one self-contained page about a dataset.

    Raises
    ------
    FluoFocusError
        If the dataset cannot be read or the page not written.
    """
    manifest = read_manifest(dataset)
    page = Page(f"Prepared: {Path(dataset).name}")
    page.paragraph(_summary(manifest))
    page.table(("field", "training", "validation", "rejected", "note"), _rows(manifest))
    with TemporaryDirectory() as folder:
        for field in manifest.fields:
            page.heading(field.name)
            picture = Path(folder) / "field.png"
            pictures = read_pictures(dataset, field.name)
            if field.refused is not None or field.input is None:
                page.paragraph(f"Left out: {field.refused}")
                if "fixed" in pictures:
                    draw_refusal(pictures, picture)
                    page.figure(picture, REFUSAL_CAPTION)
                continue
            _draw(field, field.input, pictures, manifest, picture)
            page.figure(picture, _caption(field, field.input))
            if field.rejected:
                rows = [(f"{r.top_px}, {r.left_px}", r.reason) for r in field.rejected]
                page.table(("rejected region (row, column)", "why"), rows)
        page.write(path)


def _summary(manifest: Manifest) -> str:
    counts = {split: len(manifest.regions(split)) for split in ("training", "validation")}
    left_out = sum(field.refused is not None for field in manifest.fields)
    return (
        f"{len(manifest.fields)} fields, {left_out} of them left out; regions of "
        f"{manifest.config.region_px} pixels of {manifest.pixel_size_um:.4g} µm: "
        f"{counts['training']} to train on, {counts['validation']} to validate on. "
        f"{manifest.software}, {manifest.created}."
    )


def _rows(manifest: Manifest) -> list[tuple[str, ...]]:
    rows = []
    for field in manifest.fields:
        splits = [region.split for region in field.regions]
        counts = (splits.count("training"), splits.count("validation"), len(field.rejected))
        rows.append((field.name, *map(str, counts), _note(field)))
    return rows


def _note(field: FieldRecord) -> str:
    if field.refused is not None:
        return field.refused
    notes = []
    for kind, scan in (("input", field.input), ("target", field.target)):
        if scan is not None and scan.jumps:
            notes.append(f"{kind} jumps at planes {', '.join(map(str, scan.jumps))}")
    if field.registration is not None and field.registration.is_reversed:
        notes.append("target ran the other way in z and was turned over")
    return "; ".join(notes)


def _caption(field: FieldRecord, scan: ScanRecord) -> str:
    text = (
        f"{scan.source}. Background {scan.background_counts:.0f} counts, scale "
        f"{scan.scale_counts:.0f} counts. Frames: green trained on, blue validated on, red "
        "rejected; the number is the middle plane. The white line is the threshold."
    )
    if scan.hot_pixels:
        text += f" {scan.hot_pixels} hot pixels were mended."
    match = field.registration
    if match is not None:
        text += (
            f" Registered by {match.method}, residual {match.residual_px:.2f} px; zero points at "
            f"{match.zero_point_um:.2f} µm of the input and {match.target_zero_point_um:.2f} µm of "
            "the target."
        )
    return text


def _draw(
    field: FieldRecord,
    scan: ScanRecord,
    pictures: dict[str, AnyArray],
    manifest: Manifest,
    path: Path,
) -> None:
    """Draw motion of the planes, histogram, fused image and mask with regions."""
    has_target = "target_fused" in pictures
    names = ["fused", "mask", *(["target"] if has_target else [])]
    figure = new_figure(4.2 * len(names) + 3.4, 4.4)
    axes = figure.subplot_mosaic(
        [["motion", *names], ["histogram", *names]], width_ratios=[0.8, *(1 for _ in names)]
    )
    _draw_motion(axes["motion"], scan)
    fused = pictures["fused"].astype(np.float32)
    _draw_histogram(axes["histogram"], fused, manifest)
    low, high = display_range(fused)
    show(axes["fused"], fused, low, high)
    axes["fused"].contour(pictures["mask"], levels=[0.5], colors="white", linewidths=0.4)
    axes["fused"].set_title("fused, and where the signal is")
    axes["mask"].imshow(pictures["mask"], cmap="gray", vmin=0, vmax=1, interpolation="none")
    axes["mask"].set_title("signal and regions")
    axes["mask"].set_xticks([])
    axes["mask"].set_yticks([])
    for region in field.regions:
        _frame(axes["mask"], region.top_px, region.left_px, manifest, _COLORS[region.split])
        axes["mask"].text(
            region.left_px + 6,
            region.top_px + 6,
            str(region.middle_plane),
            color=_COLORS[region.split],
            fontsize=8,
            va="top",
        )
    for rejected in field.rejected:
        _frame(axes["mask"], rejected.top_px, rejected.left_px, manifest, _COLORS["rejected"])
    if has_target:
        target = pictures["target_fused"].astype(np.float32)
        show(axes["target"], target, *display_range(target))
        axes["target"].set_title("target, registered")
    save_figure(figure, path)


def _draw_motion(axis: Axes, scan: ScanRecord) -> None:
    shifts = np.array(scan.shift_px).reshape(-1, 2)
    axis.plot(shifts[:, 0], label="y", lw=1)
    axis.plot(shifts[:, 1], label="x", lw=1)
    for plane in scan.jumps:
        axis.axvline(plane, color="tab:red", lw=0.8, ls=":")
    axis.set(xlabel="plane", title="motion (px)")
    axis.legend(fontsize=7, frameon=False)


def _draw_histogram(axis: Axes, fused: AnyArray, manifest: Manifest) -> None:
    axis.hist(fused.ravel(), bins=100, log=True, color="0.5")
    for name in ("seed_level", "grow_level"):
        level = getattr(manifest.config, name)
        axis.axvline(level, color="tab:orange", lw=0.9, ls="-" if name == "seed_level" else ":")
    axis.set(xlabel="fused, normalised", title="levels: seed, grow (dotted)")


def _frame(axis: Axes, top: int, left: int, manifest: Manifest, color: str) -> None:
    from matplotlib.patches import Rectangle

    side = manifest.config.region_px
    axis.add_patch(Rectangle((left, top), side, side, fill=False, color=color, linewidth=1.2))
