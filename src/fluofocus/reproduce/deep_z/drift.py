"""Axial drift undone (Supplementary Note 1 and Video 4): each frame is brought back into focus.

Wu et al., Nature Methods 16 (2019), refocus the frames of a drifting worm. Here the drift is also
found from the frames themselves.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from fluofocus.io.readers import read_stack
from fluofocus.io.stack import make_stack
from fluofocus.measure.image import METRICS
from fluofocus.models.bundle import Model, load_model
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.prepare.normalise import normalisation_from_image
from fluofocus.refocus.drift import Array, Drift, estimate_drift, undo_drift
from fluofocus.reproduce.deep_z.drift_panels import draw_drifts, draw_frames
from fluofocus.reproduce.reproduction import (
    Figure,
    Part,
    Progress,
    Request,
    Section,
    Table,
)
from fluofocus.simulate.camera import record
from fluofocus.simulate.stack import simulate_stack
from fluofocus.units import FloatArray

SEED = 9_680_000
MICROSCOPE = "olympus-20x-0.75"
PEAK_PHOTONS = 3000.0
FRAMES = 20
MOST_UM, STEP_UM = 8.0, 0.25
WALK_UM, JUMPS, JUMP_UM = 0.6, 3, 6.0
METRICS_SHOWN = ("pearson", "ssim")


@dataclass(frozen=True)
class Specimen:
    """What drifts: a phantom and its parameters, and the size of the field."""

    phantom: str
    shape_yx: tuple[int, int]
    parameters: Mapping[str, Any]


SPECIMENS = {
    "nuclei": Specimen("nuclei", (256, 256), {}),
    "worm": Specimen("worm", (192, 512), {}),
}


@dataclass(frozen=True)
class Recording:
    """A time-lapse that drifted, as recorded and brought back.

    Attributes
    ----------
    seed : int
        Decides specimen, drift and noise.
    true_um, found_um : ndarray (T,)
        Where each frame was focused, from the first, and where it seemed to be.
    recorded, undone, informed : ndarray (T, Y, X)
        Frames as they were, brought back by the drift found, and by the true one.
    focused : ndarray (Y, X)
        The first frame without noise.
    """

    seed: int
    true_um: Array
    found_um: Array
    recorded: FloatArray
    undone: FloatArray
    informed: FloatArray
    focused: FloatArray

    def scores(self, frames: FloatArray) -> FloatArray:
        """Return ``(metrics,)``, means over all frames but the first, against the focused one."""
        normalisation = normalisation_from_image(self.focused)
        truth, images = (
            torch.from_numpy(normalisation.apply(x).astype(np.float32))
            for x in (self.focused, frames[1:])
        )
        truth = truth.expand(images.shape)
        return np.array([float(METRICS[name](images, truth).mean()) for name in METRICS_SHOWN])


def drift_undone(request: Request, progress: Progress) -> Section:
    """Let specimens drift, find by how much, and bring each frame back."""
    model = load_model(request.models["nuclei"])
    total = request.fields * len(SPECIMENS)
    recordings: dict[str, list[Recording]] = {name: [] for name in SPECIMENS}
    progress(0, total)
    for number, (name, recording) in enumerate(_recordings(request.fields, model), start=1):
        recordings[name].append(recording)
        progress(number, total)
    return Section(
        title="Supplementary Note 1: drift undone",
        paragraphs=_paragraphs(request),
        tables=(_table(recordings),),
        figures=_figures(recordings, request.folder),
        seed=SEED,
    )


def drift_path_um(generator: np.random.Generator) -> Array:
    """Draw a random walk with a few jumps from zero, reflected at the ends of the range."""
    steps = generator.normal(0, WALK_UM, FRAMES - 1)
    jumps = generator.choice(FRAMES - 1, min(JUMPS, FRAMES - 1), replace=False)
    steps[jumps] += generator.uniform(-JUMP_UM, JUMP_UM, len(jumps))
    path = np.concatenate([[0.0], np.cumsum(steps)])
    folded = np.abs((path + MOST_UM) % (4 * MOST_UM) - 2 * MOST_UM)
    return np.asarray(np.round((MOST_UM - folded) / STEP_UM) * STEP_UM + 0.0)  # no -0


def _recordings(fields: int, model: Model) -> Iterator[tuple[str, Recording]]:
    for place, (name, specimen) in enumerate(SPECIMENS.items()):
        for index in range(fields):
            yield name, _record(specimen, model, SEED + 100 * place + index)


def _record(specimen: Specimen, model: Model, seed: int) -> Recording:
    microscope = preset(MICROSCOPE)
    true_um = drift_path_um(np.random.default_rng(seed))
    frames, focused = _drifting_frames(specimen, microscope, true_um, seed)
    found = estimate_drift(frames, model)
    known = Drift(-true_um, np.ones(len(true_um)), reference=0)
    return Recording(
        seed=seed,
        true_um=true_um,
        found_um=-found.distance_um,
        recorded=frames.values.astype(np.float32),
        undone=_undone(frames, model, found),
        informed=_undone(frames, model, known),
        focused=focused,
    )


def _drifting_frames(
    specimen: Specimen, microscope: Microscope, true_um: Array, seed: int
) -> tuple[xr.DataArray, FloatArray]:
    """Record each frame of a time-lapse with noise of its own; return also the first without."""
    planes_um, plane_of_frame = np.unique(true_um, return_inverse=True)
    scan = simulate_stack(
        microscope,
        specimen.phantom,
        shape_yx=specimen.shape_yx,
        planes_um=planes_um,
        seed=seed,
        peak_photons=PEAK_PHOTONS,
        phantom_parameters=specimen.parameters,
    )
    camera = microscope.camera
    counts_per_photon = camera.gain_counts_per_electron * camera.quantum_efficiency
    clean = scan.clean_counts[plane_of_frame]
    photons = torch.from_numpy((clean - camera.offset_counts) / counts_per_photon)
    counts = record(photons, camera, torch.Generator().manual_seed(seed)).numpy()
    pixel_um = microscope.pixel_size_um
    frames = make_stack(counts.astype(np.uint16), "TYX", (1.0, pixel_um, pixel_um))
    return frames, clean[0]


def _undone(frames: xr.DataArray, model: Model, drift: Drift) -> FloatArray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "undone.ome.tif"
        undo_drift(frames, model, drift, path)
        return np.asarray(read_stack(path).values)


def _paragraphs(request: Request) -> tuple[str, ...]:
    microscope = preset(MICROSCOPE)
    worm = SPECIMENS["worm"].shape_yx[1] * microscope.pixel_size_um
    return (
        f"{request.fields} held-out time-lapses of nuclei throughout 16 µm and of a whole worm "
        f"with 302 neurons, shrunk to the field's {worm:.0f} µm and so denser than a real one; "
        f"{FRAMES} frames each, {PEAK_PHOTONS:g} photons at the peak, through {microscope.name}. "
        f"The focus does a random walk with {JUMPS} jumps within ±{MOST_UM:g} µm. Model: "
        f"{request.models['nuclei']}, not told the optics. Frames are compared with the first "
        "one, which is in focus, without noise.",
        "The paper shows one worm brought back into focus by a known drift, in a video, and "
        "gives no numbers. Here the drift is found in the frames as well; the columns with the "
        "drift known do as the paper did.",
    )


def _table(recordings: Mapping[str, list[Recording]]) -> Table:
    kinds = ("as recorded", "brought back", "with the drift known")
    return Table(
        "Drift found and undone; means over the frames after the first",
        (
            "recording",
            "true drift (µm)",
            "rms error of the drift found (µm)",
            "found ÷ true",
            *(f"correlation {kind}" for kind in kinds),
            *(f"SSIM {kind}" for kind in kinds),
        ),
        tuple(_row(name, each) for name, several in recordings.items() for each in several),
    )


def _row(name: str, recording: Recording) -> tuple[str, ...]:
    true, found = recording.true_um, recording.found_um
    error = float(np.sqrt(np.mean((found - true)[1:] ** 2)))
    slope = float((found * true).sum() / (true**2).sum())
    stacks = (recording.recorded, recording.undone, recording.informed)
    scores = np.stack([recording.scores(stack) for stack in stacks], axis=1)
    return (
        f"{name}, seed {recording.seed}",
        f"{true.min():+.1f} to {true.max():+.1f}",
        f"{error:.2f}",
        f"{slope:.2f}",
        *(f"{value:.3f}" for value in scores.ravel()),
    )


def _figures(recordings: Mapping[str, list[Recording]], folder: Path) -> tuple[Figure, ...]:
    path, frames = folder / "drift.png", folder / "drift-frames.png"
    draw_drifts(
        {name: [(x.true_um, x.found_um) for x in each] for name, each in recordings.items()}, path
    )
    worm = max(recordings["worm"], key=lambda each: float(np.ptp(each.true_um)))
    pixel_um = preset(MICROSCOPE).pixel_size_um
    draw_frames(worm.recorded, worm.undone, worm.focused, worm.true_um, pixel_um, frames)
    return (
        Figure(path, "True drift (lines) and the drift found in the frames (dots)."),
        Figure(
            frames,
            "Frames of the worm that drifted most, as recorded and brought back by the drift "
            "found in them, as in Supplementary Video 4; the first, in focus and without noise, "
            "at the bottom.",
        ),
    )


PART = Part("Supplementary Note 1: drift undone", drift_undone, fields=3)
