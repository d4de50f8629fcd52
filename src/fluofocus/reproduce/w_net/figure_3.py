"""W-Net, Fig. 3: what networks make of three images out of focus."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fluofocus.models.bundle import Model
from fluofocus.reproduce.reproduction import Figure, Part, Progress, Request, Section, models_named
from fluofocus.reproduce.w_net.fields import Field, Kind, Plane, open_bench
from fluofocus.reproduce.w_net.figure_3_panels import COLUMNS, Picture, draw_pictures
from fluofocus.reproduce.w_net.methods import (
    FIGURE_3_UM,
    HELIX,
    WIDEFIELD,
    open_models,
    refocused,
)
from fluofocus.reproduce.w_net.sweep import SEED
from fluofocus.units import FloatArray

SHOWN_PX = 320


def figure_3(request: Request, progress: Progress) -> Section:
    """Show inputs, refocused images and outputs of one field."""
    models = open_models(request.models)
    bench = open_bench()
    field = bench.field(SEED)
    region = _liveliest(field)
    pictures = []
    progress(0, len(FIGURE_3_UM))
    for done, z_um in enumerate(FIGURE_3_UM, start=1):
        pictures.append(_picture(Plane(bench, z_um), field, models, region))
        progress(done, len(FIGURE_3_UM))
    path = request.folder / "figure-3.png"
    draw_pictures(
        pictures, field.confocal[region], _typical_bead_px(field, region), bench.pixel_um, path
    )
    return Section(
        title="Figure 3: three images out of focus, and what becomes of them",
        paragraphs=(
            f"Part of the first field of Figure 2. {models_named(request)}",
            "Of two networks in a row the first one refocuses the image as its microscope would "
            "show it, and the second makes the confocal image of it.",
        ),
        tables=(),
        figures=(
            Figure(
                path,
                "The input and the output through the mask, and between them the refocused image "
                "if two networks make it; then without the mask, where there is a model for it, "
                "empty beyond the distances that it was trained for. Below: the "
                "confocal image, and sections along x through the bead in the circle. Each "
                "image is scaled by itself, and brightness is shown by its square root.",
            ),
        ),
        seed=SEED,
    )


def _picture(
    plane: Plane, field: Field, models: Mapping[str, Model], region: tuple[slice, slice]
) -> Picture:
    """Return what was recorded in one plane, refocused and made confocal."""
    recorded = plane.record(field)
    rows: dict[str, dict[str, FloatArray]] = {}
    for role, kind in ((HELIX, Kind.HELIX), (WIDEFIELD, Kind.WIDEFIELD)):
        images = [recorded[kind]]
        model = models.get(role)
        if model is not None and _reaches(model, plane.z_um):
            images += list(refocused(model, recorded[kind], plane))
        named = zip(COLUMNS if len(images) != 2 else COLUMNS[::2], images, strict=False)
        rows[kind] = {name: image[region] for name, image in named}
    return Picture(plane.z_um, rows)


def _reaches(model: Model, z_um: float) -> bool:
    low, high = model.card.training.defocus_um
    return low <= -z_um <= high


def _liveliest(field: Field) -> tuple[slice, slice]:
    """Return the square of the field with the most beads."""
    height, width = field.confocal.shape
    side = min(SHOWN_PX, height, width)
    corners = [
        (y, x)
        for y in range(0, height - side + 1, max(side // 4, 1))
        for x in range(0, width - side + 1, max(side // 4, 1))
    ]
    y, x = max(corners, key=lambda corner: len(_inside_px(field, corner, side)))
    return slice(y, y + side), slice(x, x + side)


def _inside_px(field: Field, corner_px: tuple[int, int], side_px: int) -> list[int]:
    """Return the beads of a square that lie well within it."""
    from_corner = field.known_px - corner_px
    margin = side_px / 10
    return np.flatnonzero(
        ((from_corner > margin) & (from_corner < side_px - margin)).all(axis=1)
    ).tolist()


def _typical_bead_px(field: Field, region: tuple[slice, slice]) -> tuple[float, float]:
    """Return where the bead of median brightness of a region is, counted from its corner."""
    corner = (region[0].start, region[1].start)
    side = region[0].stop - region[0].start
    inside = _inside_px(field, corner, side) or list(range(len(field.known_px)))
    photons = field.specimen.ball_photons.numpy()[inside]
    typical = inside[int(np.argsort(photons)[len(photons) // 2])]
    y, x = (field.known_px[typical] - corner).tolist()
    return y, x


PART = Part("Figure 3, three planes", figure_3, fields=1)
