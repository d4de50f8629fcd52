"""Deep-Z+ (Wu et al., Nature Methods 2019, Fig. 5): wide-field in, confocal planes out.

Microtubules are simulated and imaged twice through the same optics, by a wide-field and by
a confocal microscope. One wide-field image of each field is refocused to every plane of the
scan; the confocal scan is the truth that all are compared with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from fluofocus.errors import FluoFocusError
from fluofocus.measure.image import METRICS
from fluofocus.models.bundle import load_model
from fluofocus.optics.microscope import preset
from fluofocus.prepare.fusion import fuse
from fluofocus.prepare.normalise import normalisation_from_image
from fluofocus.refocus.engine import refocus
from fluofocus.reproduce.deep_z_plus_figures import draw_differences, draw_planes_and_sections
from fluofocus.reproduce.reproduction import (
    Figure,
    Part,
    Progress,
    Reproduction,
    Request,
    Section,
    Table,
)
from fluofocus.reproduce.statistics import brought_to, with_interval
from fluofocus.simulate.draws import OpticsDraws
from fluofocus.simulate.stack import simulate_stack
from fluofocus.units import FloatArray

DEEP_Z_PLUS, DEEP_Z = "Deep-Z+", "Deep-Z"
SCAN, INPUT = "wide-field scan", "input as it is"
SEED = 9_630_000
SIDE_PX = 512
PLANES_UM = tuple(round(0.2 * step, 1) for step in range(-4, 5))
PEAK_PHOTONS, BACKGROUND_PHOTONS = 3000.0, 10.0
MICROSCOPE = "leica-63x-1.4-oil"
MICROTUBULES = {
    "length_per_1000_um2_um": 1200,
    "thickness_um": 2.0,
    "persistence_um": 40,
    "flatness": 0.15,
    "brightness_spread": 0.3,
}
OPTICS = OpticsDraws(
    spherical_rms_waves=(-0.04, 0.04),
    other_zernike_rms_waves=0.015,
    emitter_depth_um=(2.0, 6.0),
    sample_index=(1.44, 1.49),
)
METRICS_SHOWN = ("rmse", "ssim", "pearson")


@dataclass(frozen=True)
class _Field:
    """Scans of one field, ``(Z, Y, X)``, each normalised as in the Methods of Deep-Z."""

    image: FloatArray
    confocal: FloatArray
    others: Mapping[str, FloatArray]
    pixel_um: float


def figure_5(request: Request, progress: Progress) -> Section:
    """Compare Deep-Z+, Deep-Z and the wide-field scan with the confocal scan."""
    scores: dict[str, list[FloatArray]] = {}
    fitted: dict[str, list[FloatArray]] = {}
    figures: list[Figure] = []
    progress(0, request.fields)
    for number, field in enumerate(_fields(request), start=1):
        for name, stack in field.others.items():
            scores.setdefault(name, []).append(_scores(stack, field.confocal))
            best = brought_to(field.confocal, stack)
            fitted.setdefault(name, []).append(_scores(best, field.confocal))
        if number == 1:
            figures = _figures(field, request)
        progress(number, request.fields)
    models = "; ".join(f"{role}: {model}" for role, model in request.models.items())
    return Section(
        title="Figure 5: from one wide-field image to confocal planes",
        paragraphs=(
            f"{request.fields} held-out fields of {SIDE_PX} x {SIDE_PX} pixels, "
            f"each through other optics; {PEAK_PHOTONS:g} photons at the peak. {models}. "
            "The models were not told the optics.",
            "Each stack is normalised by its own fused image, as in the Methods: background at 0, "
            "1 % of the signal above 1; the confocal scan is noise-free. The last table brings "
            "each stack to the confocal one by the gain and the offset that suit it best, which "
            "forgives haze. The paper tested on 42 fields; it prints SSIM and r.m.s.e. of one of "
            "them within its figure, and no table.",
        ),
        tables=(
            _table("Against the confocal scan", scores),
            _table_by_distance(scores),
            _table("Against the confocal scan, with the best gain and offset", fitted),
        ),
        figures=tuple(figures),
        seed=SEED,
    )


def _fields(request: Request) -> Iterator[_Field]:
    models = {role: load_model(model) for role, model in request.models.items()}
    for role, model in models.items():
        if model.card.training.defocus_um[0] > PLANES_UM[0] or (
            model.card.training.defocus_um[1] < PLANES_UM[-1]
        ):
            raise FluoFocusError(
                f"{role} was not trained for {PLANES_UM[0]:g} to {PLANES_UM[-1]:g} µm: give "
                "another model."
            )
    generator = torch.Generator().manual_seed(SEED)
    for index in range(request.fields):
        microscope = OPTICS.draw(preset(MICROSCOPE), generator)
        scans = {
            modality: simulate_stack(
                microscope.model_copy(update={"modality": modality}),
                "filaments",
                shape_yx=(SIDE_PX, SIDE_PX),
                planes_um=PLANES_UM,
                seed=SEED + index,
                peak_photons=PEAK_PHOTONS,
                background_photons=BACKGROUND_PHOTONS,
                phantom_parameters=MICROTUBULES,
            )
            for modality in ("widefield", "confocal")
        }
        recorded = scans["widefield"].counts
        image = recorded[PLANES_UM.index(0.0)]
        others = {
            role: refocus(
                image, model, z_um=PLANES_UM, pixel_size_um=microscope.pixel_size_um
            ).to_numpy()
            for role, model in models.items()
        }
        others[SCAN] = recorded.astype(np.float32)
        seen = normalisation_from_image(image).apply(image.astype(np.float32))
        yield _Field(
            image=seen,
            confocal=_normalised(scans["confocal"].clean_counts),
            others={
                **{name: _normalised(stack) for name, stack in others.items()},
                INPUT: np.broadcast_to(seen, recorded.shape),
            },
            pixel_um=microscope.pixel_size_um,
        )


def _normalised(stack: FloatArray) -> FloatArray:
    return normalisation_from_image(fuse(stack).image).apply(stack)


def _scores(stack: FloatArray, confocal: FloatArray) -> FloatArray:
    """Return ``(metrics, planes)``."""
    output, truth = (torch.from_numpy(np.array(x)) for x in (stack, confocal))
    return torch.stack([METRICS[name](output, truth) for name in METRICS_SHOWN]).numpy()


def _table(caption: str, scores: Mapping[str, list[FloatArray]]) -> Table:
    rows = []
    for name, each in scores.items():
        by_field = np.stack(each).mean(axis=2)
        rows.append((name, *(with_interval(column) for column in by_field.T)))
    return Table(
        f"{caption}: means over planes and fields, and their 95 % intervals",
        ("", "RMSE", "SSIM", "correlation"),
        tuple(rows),
    )


def _table_by_distance(scores: Mapping[str, list[FloatArray]]) -> Table:
    distances = sorted({abs(z) for z in PLANES_UM})
    rows = []
    for name, each in scores.items():
        by_plane = np.stack(each).mean(axis=0)
        cells = []
        for distance in distances:
            planes = [i for i, z in enumerate(PLANES_UM) if abs(z) == distance]
            error, similarity, _ = by_plane[:, planes].mean(axis=1)
            cells.append(f"{error:.3f}, {similarity:.3f}")
        rows.append((name, *cells))
    return Table(
        "RMSE and SSIM by distance from the input plane",
        ("", *(f"±{z:g} µm" if z else "0" for z in distances)),
        tuple(rows),
    )


def _figures(field: _Field, request: Request) -> list[Figure]:
    sections, differences = (
        request.folder / f"figure-5{part}.png" for part in ("-planes", "-differences")
    )
    rows = {
        DEEP_Z_PLUS: field.others[DEEP_Z_PLUS],
        "confocal scan": field.confocal,
        SCAN: field.others[SCAN],
    }
    draw_planes_and_sections(field.image, rows, PLANES_UM, field.pixel_um, sections)
    compared = {name: field.others[name] for name in (DEEP_Z_PLUS, DEEP_Z, SCAN)}
    draw_differences(field.confocal, compared, PLANES_UM, differences)
    return [
        Figure(
            sections,
            "a: the one wide-field image. b, c: planes computed from it, the confocal scan and "
            "the wide-field scan; x–z and y–z sections along the dotted lines, stretched in z.",
        ),
        Figure(
            differences,
            "d: absolute differences from the confocal scan; SSIM and RMSE of the region shown.",
        ),
    ]


REPRODUCTION = Reproduction(
    name="deep-z-plus",
    title="Deep-Z+: one wide-field image, confocal planes",
    paper=(
        'Wu et al., "Three-dimensional virtual refocusing of fluorescence microscopy images '
        'using deep learning", Nature Methods 16, 1323 (2019), Fig. 5.'
    ),
    parts={"fig5": Part("Figure 5", figure_5, fields=12)},
    models={DEEP_Z_PLUS: "oil63x-microtubules-confocal", DEEP_Z: "oil63x-microtubules"},
    leaves_out=False,
)
