"""The ways from a recorded image to one that is compared with the confocal one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fluofocus.errors import FluoFocusError
from fluofocus.measure.beads import image_noise
from fluofocus.models.bundle import Model, load_model
from fluofocus.refocus.engine import refocus
from fluofocus.reproduce.reproduction import LEFT_OUT
from fluofocus.reproduce.w_net.classical import matched_filter, richardson_lucy
from fluofocus.reproduce.w_net.fields import BACKGROUND_PHOTONS, Field, Kind, Plane
from fluofocus.reproduce.w_net.scores import FieldScore, score_image
from fluofocus.units import AnyArray, FloatArray

HELIX, W_NET, U_NET, WIDEFIELD = (
    "filters and network, double helix",
    "W-Net, double helix",
    "network alone, double helix",
    "filters and network, wide-field",
)
SCANNED, SCANNED_LONG = "scanned wide-field", "scanned wide-field, exposed as the helix"
COMPARED = (W_NET, U_NET)
"""Roles that are tried in fewer planes."""
WIDEFIELD_LONG = "filters and network, wide-field, exposed as the helix"
FILTER, DECONVOLVED = "matched filter, double helix", "Richardson-Lucy, double helix"
INPUTS = {
    HELIX: Kind.HELIX,
    W_NET: Kind.HELIX,
    U_NET: Kind.HELIX,
    WIDEFIELD: Kind.WIDEFIELD,
}
"""What the model of each role is given."""

SCANNED_THRESHOLD = 6.0
"""Height of a bead in recorded images, in standard deviations of their noise, as a rule."""

FILTER_NOISE_SHARE = 3e-4
ITERATIONS = 80

NATIVE_UM = (-0.15, -0.05, 0.0, 0.05, 0.15)
"""Planes within the depth of field of the objective, as the paper has it."""
PLANES_UM = tuple(round(0.5 * step, 1) for step in range(-16, 17))
FIGURE_3_UM = (-3.0, 1.5, 6.0)
COARSE_UM = tuple(1.5 * step for step in range(-5, 6))
"""For methods that take long; the planes of Figure 3 are among them."""

THRESHOLDS = (4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 120.0)
"""Standard deviations of the noise that are tried as what a bead must stand out by."""
LOW_THRESHOLDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
"""Tried as well for networks, whose output has hardly any noise of its own."""

Make = Callable[[FloatArray, Plane], AnyArray]
"""Turns counts recorded in a plane into an image of the beads in focus."""


@dataclass(frozen=True)
class Method:
    """One line of the figures.

    Attributes
    ----------
    planes_um : tuple of float
        Defocus of the input at which it is tried.
    noise_threshold : float, optional
        How many standard deviations of the noise a bead must stand out by; None before it is
        tuned.
    thresholds : tuple of float
        What is tried when it is tuned.
    own_noise : bool
        Whether beads must stand out from the noise of what it makes, in place of that of what
        it is given.
    """

    name: str
    kind: Kind
    planes_um: tuple[float, ...]
    make: Make
    noise_threshold: float | None = None
    thresholds: tuple[float, ...] = THRESHOLDS
    own_noise: bool = False

    def score(self, recorded: Mapping[Kind, FloatArray], plane: Plane, field: Field) -> FieldScore:
        """Score what it makes of a recorded field."""
        counts = recorded[self.kind]
        if self.noise_threshold is None:
            raise ValueError(f"{self.name} has no threshold yet")
        return score_image(
            self.make(counts, plane),
            field,
            plane.bench.pixel_um,
            noise_threshold=self.noise_threshold,
            noise=None if self.own_noise else image_noise(counts),
        )


def open_models(models: Mapping[str, str]) -> dict[str, Model]:
    """Load the model of each role; those given as ``none`` are left out.

    Raises
    ------
    FluoFocusError
        If there is no such model, it was made for other images than its role needs, or all are
        left out.
    """
    opened = {role: load_model(model) for role, model in models.items() if model != LEFT_OUT}
    if not opened:
        raise FluoFocusError(
            "There is no model for any role, since none ships or all are left out: train one and "
            f"name it, like --model '{HELIX}=mine.safetensors'."
        )
    for role, model in opened.items():
        if role in INPUTS and input_kind(model) is not INPUTS[role]:
            raise FluoFocusError(
                f"The model {models[role]} was trained on {input_kind(model)} images, where "
                f"'{role}' needs {INPUTS[role]} ones: give another model, or '{LEFT_OUT}'."
            )
    return opened


def input_kind(model: Model) -> Kind:
    """Return which images a model was trained on."""
    return Kind.WIDEFIELD if model.card.microscope.pupil_mask is None else Kind.HELIX


def all_methods(models: Mapping[str, Model]) -> list[Method]:
    """Return every method that there is a model for, and those that need none."""
    methods = [
        _network(role, model, input_kind(model), COARSE_UM if role in COMPARED else PLANES_UM)
        for role, model in models.items()
    ]
    if WIDEFIELD in models:
        methods.append(_network(WIDEFIELD_LONG, models[WIDEFIELD], Kind.LONG, COARSE_UM))
    fine = tuple(sorted({*PLANES_UM, *NATIVE_UM}))
    return [
        *methods,
        Method(SCANNED, Kind.WIDEFIELD, fine, _as_it_is, SCANNED_THRESHOLD, own_noise=True),
        Method(SCANNED_LONG, Kind.LONG, fine, _as_it_is, SCANNED_THRESHOLD, own_noise=True),
        Method(FILTER, Kind.HELIX, COARSE_UM, _filtered, own_noise=True),
        Method(DECONVOLVED, Kind.HELIX, COARSE_UM, deconvolved),
    ]


def _network(name: str, model: Model, kind: Kind, planes_um: tuple[float, ...]) -> Method:
    low, high = model.card.training.defocus_um
    return Method(
        name,
        kind,
        tuple(z for z in planes_um if low <= -z <= high),
        lambda counts, plane: refocused(model, counts, plane)[-1],
        thresholds=LOW_THRESHOLDS + THRESHOLDS,
    )


def refocused(model: Model, counts: FloatArray, plane: Plane) -> FloatArray:
    """Bring a recorded image to focus: ``(C, Y, X)``, the output last.

    Before it comes the image between two networks in a row, if the model has two.
    """
    both = refocus(
        counts,
        model,
        z_um=[0.0 - plane.z_um],
        pixel_size_um=plane.bench.pixel_um,
        intermediate=model.network.has_intermediate,
    ).to_numpy()
    return np.asarray(both.reshape(-1, *counts.shape)[::-1])


def _as_it_is(counts: FloatArray, plane: Plane) -> FloatArray:
    return counts


def _filtered(counts: FloatArray, plane: Plane) -> FloatArray:
    return matched_filter(counts, plane.helix_psf, noise_share=FILTER_NOISE_SHARE)


def deconvolved(counts: FloatArray, plane: Plane, iterations: int = ITERATIONS) -> FloatArray:
    """Deconvolve a recorded image by Richardson-Lucy, the true PSF and background given."""
    camera = plane.bench.masked.camera
    gain = camera.quantum_efficiency * camera.gain_counts_per_electron
    # read noise as photons, so that pixels are distributed nearly as photons are
    extra = (camera.read_noise_electrons / camera.quantum_efficiency) ** 2
    return richardson_lucy(
        (counts - camera.offset_counts) / gain + extra,
        plane.helix_psf,
        background=BACKGROUND_PHOTONS * plane.bench.longer + extra,
        iterations=iterations,
    )
