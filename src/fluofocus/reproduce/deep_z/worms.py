"""Figure 2: parts of a worm, from one image, in planes above and below it.

Wu et al., Nature Methods 16 (2019), compare what the network makes of one image of a worm's
neurons with the mechanical scan of the same worm. Here the worm and the scan are simulated.
The same worms are segmented for Table 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from fluofocus.io.stack import make_stack, voxel_size_um
from fluofocus.measure.image import METRICS
from fluofocus.models.bundle import Model, load_model
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.prepare.fusion import fuse
from fluofocus.prepare.normalise import Normalisation, normalisation_from_image
from fluofocus.refocus.engine import refocus
from fluofocus.reproduce.deep_z.worm_figures import RegionPlane, draw_regions
from fluofocus.reproduce.reproduction import Figure, Part, Progress, Request, Section, Table
from fluofocus.simulate.stack import simulate_stack
from fluofocus.units import FloatArray

Array = npt.NDArray[np.float64]

SPECIALIST, GENERAL = "paper's worm", "nuclei"
ROLES = (SPECIALIST, GENERAL)
INPUT = "input as it is"
SEED = 9_690_000
MICROSCOPE = "olympus-20x-0.75"
SHAPE_YX = (192, 2048)
PLANES_UM = tuple(0.5 * step for step in range(-20, 21))
PEAK_PHOTONS, BACKGROUND_PHOTONS = 5000.0, 10.0
WORM = {"neurons": 180, "body_diameter_um": 22.0, "bend_um": 5.0}
DISTANCES_UM = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0)
METRICS_SHOWN = {"SSIM": "ssim", "RMSE": "rmse", "correlation": "pearson"}
REGION_PX = 160
SHOWN_UM = ((-8.0, -4.0), (4.0, 8.0))
"""From each of these ranges the figure shows, of each region, the plane with most contrast."""


@dataclass(frozen=True)
class ScannedWorm:
    """A worm's focus scan, ``(Z, Y, X)`` in counts, and where its neurons are, ``(N, 3)``."""

    scan: xr.DataArray
    known_um: Array

    @property
    def length_um(self) -> float:
        """Length of the field, and of the worm in it."""
        return self.scan.sizes["X"] * voxel_size_um(self.scan)[2]

    def plane(self, z_um: float) -> int:
        """Return the index of a plane."""
        return int(np.abs(self.scan.coords["Z"].values - z_um).argmin())


def microscope() -> Microscope:
    """Return the microscope of all worms, its aberrations known."""
    return preset(MICROSCOPE).model_copy(update={"is_calibrated": True})


@lru_cache(maxsize=4)
def scanned_worm(seed: int, shape_yx: tuple[int, int]) -> ScannedWorm:
    """Simulate a worm's focus scan; kept, as two parts of the reproduction use the same worms."""
    optics = microscope()
    simulated = simulate_stack(
        optics,
        "worm",
        shape_yx=shape_yx,
        planes_um=PLANES_UM,
        seed=seed,
        peak_photons=PEAK_PHOTONS,
        background_photons=BACKGROUND_PHOTONS,
        phantom_parameters=WORM,
    )
    voxel_um = (PLANES_UM[1] - PLANES_UM[0], optics.pixel_size_um, optics.pixel_size_um)
    scan = make_stack(simulated.counts, "ZYX", voxel_um, z_um=PLANES_UM)
    known = [[neuron[f"{axis}_um"] for axis in "zyx"] for neuron in simulated.truth]
    return ScannedWorm(scan, np.array(known))


def worm_models(request: Request) -> dict[str, Model]:
    """Return the models for worms by their roles."""
    return {role: load_model(request.models[role]) for role in ROLES}


def from_one_image(worm: ScannedWorm, model: Model) -> xr.DataArray:
    """Return the virtual stack of the image at z = 0, on the planes of the scan."""
    return refocus(worm.scan, model, plane=worm.plane(0.0), z_um=PLANES_UM, microscope=microscope())


def describe_worms(request: Request) -> str:
    """Say in a sentence or two what the parts about worms are run on."""
    models = "; ".join(f"{role}: {request.models[role]}" for role in ROLES)
    return (
        f"{request.fields} held-out worms of {WORM['neurons']:g} neurons in a body "
        f"{WORM['body_diameter_um']:g} µm across, fields of {SHAPE_YX[0]} x {SHAPE_YX[1]} pixels, "
        f"{len(PLANES_UM)} planes {PLANES_UM[1] - PLANES_UM[0]:g} µm apart through the preset "
        f"{MICROSCOPE}, {PEAK_PHOTONS:g} photons at the peak over {BACKGROUND_PHOTONS:g}. "
        f"{models}; told the optics."
    )


def figure_2(request: Request, progress: Progress) -> Section:
    """Compare what is made of one image of each worm with the scan of it, plane by plane."""
    models = worm_models(request)
    scores: dict[str, list[FloatArray]] = {}
    figures: list[Figure] = []
    progress(0, request.fields)
    for index in range(request.fields):
        worm = scanned_worm(SEED + index, SHAPE_YX)
        scale = normalisation_from_image(fuse(worm.scan.values).image)
        scan = _normalised(worm.scan, scale)
        image = scan[worm.plane(0.0)]
        stacks = {
            role: _normalised(from_one_image(worm, model), scale) for role, model in models.items()
        }
        for name, stack in {INPUT: np.broadcast_to(image, scan.shape), **stacks}.items():
            scores.setdefault(name, []).append(_scores(stack, scan))
        if index == 0:
            figures.append(_figure(worm, scan, stacks[SPECIALIST], request))
        progress(index + 1, request.fields)
    return Section(
        title="Figure 2: a worm's neurons from one image",
        paragraphs=(
            f"{describe_worms(request)} One image of each, at z = 0, is refocused to the planes "
            "of the scan.",
            "All are compared with the scan as it was recorded, noise included, normalised by its "
            "fused image as in the Methods. The field around the worm is dark, which raises SSIM "
            "in all rows of the table. The paper prints SSIM and r.m.s.e. of single regions "
            "within its figure, and no table.",
        ),
        tables=(_table(scores),),
        figures=tuple(figures),
        seed=SEED,
    )


def _normalised(stack: xr.DataArray, scale: Normalisation) -> FloatArray:
    return np.asarray(scale.apply(stack.values.astype(np.float32)), np.float32)


def _scores(stack: FloatArray, scan: FloatArray) -> FloatArray:
    """Return ``(metrics, planes)``."""
    output, truth = (torch.from_numpy(np.array(each)) for each in (stack, scan))
    return torch.stack([METRICS[name](output, truth) for name in METRICS_SHOWN.values()]).numpy()


def _table(scores: Mapping[str, list[FloatArray]]) -> Table:
    z_um = np.array(PLANES_UM)
    rows = []
    for number, metric in enumerate(METRICS_SHOWN):
        for name, each in scores.items():
            of_metric = np.stack(each)[:, number]
            by_worm = of_metric[:, z_um != 0].mean(axis=1)
            cells = [f"{of_metric[:, np.abs(z_um) == d].mean():.3f}" for d in DISTANCES_UM]
            rows.append((metric, name, *cells, f"{by_worm.mean():.3f} ± {by_worm.std():.3f}"))
    return Table(
        "Against the scan, by distance from the input plane; last the mean over all planes but "
        "that one, ± s.d. over worms",
        ("", "", *(f"±{d:g} µm" for d in DISTANCES_UM), "all"),
        tuple(rows),
    )


def _figure(worm: ScannedWorm, scan: FloatArray, output: FloatArray, request: Request) -> Figure:
    image = scan[worm.plane(0.0)]
    path = request.folder / "figure-2.png"
    pixel_um = microscope().pixel_size_um
    shown = [
        RegionPlane(name, region, z, image[region], output[plane][region], scan[plane][region])
        for name, region in regions(worm.known_um / pixel_um, image.shape)
        for plane, z in _planes_shown(scan[:, *region])
    ]
    draw_regions(image, shown, pixel_um, path)
    return Figure(
        path,
        "Above: the one image of a worm, and the regions shown. Below: each region as recorded, "
        "refocused to two planes, and scanned there; intensities along the dotted lines; absolute "
        "differences from the scan.",
    )


def regions(known_px: Array, shape_yx: Sequence[int]) -> list[tuple[str, tuple[slice, slice]]]:
    """Return, of each third of a worm's length, the square with most neurons."""
    height, width = shape_yx
    side = min(REGION_PX, height, width // 3)
    top = min(max(round(known_px[:, 1].mean()) - side // 2, 0), height - side)
    squares = []
    for number, name in enumerate(("head", "middle", "rear")):
        start, stop = number * width // 3, (number + 1) * width // 3
        lefts = np.arange(start, stop - side + 1)
        inside = (known_px[:, 2] >= lefts[:, None]) & (known_px[:, 2] < lefts[:, None] + side)
        best = np.flatnonzero(inside.sum(axis=1) == inside.sum(axis=1).max())
        left = int(lefts[best[len(best) // 2]])
        squares.append((name, (slice(top, top + side), slice(left, left + side))))
    return squares


def _planes_shown(scan: FloatArray) -> Iterator[tuple[int, float]]:
    z_um = np.array(PLANES_UM)
    for low, high in SHOWN_UM:
        planes = np.flatnonzero((z_um >= low) & (z_um <= high))
        plane = int(planes[scan[planes].var(axis=(1, 2)).argmax()])
        yield plane, PLANES_UM[plane]


PART = Part("Figure 2", figure_2, fields=3)
