"""The ways from a wide-field stack to one that is compared with the confocal one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fluofocus.data.planes import thinned
from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import make_stack
from fluofocus.models.bundle import Model, StackModel, load_model, load_stack_model
from fluofocus.prepare.normalise import normalisation_from_stack
from fluofocus.refocus.engine import refocus
from fluofocus.reproduce.reproduction import LEFT_OUT
from fluofocus.reproduce.wfcon_net.deconvolution import Deconvolution
from fluofocus.reproduce.wfcon_net.slices import (
    BACKGROUND_PHOTONS,
    STEP_UM,
    Field,
    normalised,
)
from fluofocus.restore.engine import restore
from fluofocus.units import FloatArray

Counts = npt.NDArray[np.uint16]

WFCON, ALL_PLANES, FLAT = "WFCON-Net", "WFCON-Net, all planes", "2D"
L1, GAN, VGG = "L1", "L1 + GAN", "L1 + GAN + VGG"
DEEP_Z_PLUS, MISREGISTERED = "Deep-Z+", "L1, misregistered"
WIDEFIELD, DECONVOLVED = "wide-field", "Richardson-Lucy"
CONFOCAL = "confocal"

ITERATIONS = 60
"""Of Richardson-Lucy: the best fitted SSIM of 20 to 120, on two slices of seeds from 9_705_000."""


@dataclass(frozen=True)
class Method:
    """One row of the tables.

    Attributes
    ----------
    role : str
        Of a model, or one of those that need none.
    every : int
        Of so many recorded planes one is left, and the others are interpolated.
    """

    role: str
    every: int = 1

    @property
    def name(self) -> str:
        """As the tables have it."""
        return self.role if self.every == 1 else f"{self.role}, every {_NTH[self.every]} plane"


_NTH = {2: "2nd", 4: "4th"}


def open_model(role: str, name_or_path: str) -> Model | StackModel:
    """Load the model of a role.

    Raises
    ------
    FluoFocusError
        If there is no such model, or it is of the other sort.
    """
    try:
        if role == DEEP_Z_PLUS:
            return load_model(name_or_path)
        return load_stack_model(name_or_path)
    except FluoFocusError as error:
        raise FluoFocusError(
            f"{role}: {error} Leave the role out with --model '{role}={LEFT_OUT}'."
        ) from error


def made(method: Method, model: Model | StackModel | None, field: Field) -> FloatArray:
    """Return the stack ``(Z, Y, X)`` that a method makes of a field, normalised.

    What a network of stacks makes is in the units of its targets already; all else is
    normalised by itself.
    """
    if method.role == CONFOCAL:
        return field.truth
    if isinstance(model, StackModel):
        return _restored(model, field, method.every)
    if isinstance(model, Model):
        return normalised(_refocused(model, field))
    if method.role == DECONVOLVED:
        return normalised(_deconvolved(field))
    return normalised(_left(field.counts, method.every))


def _left(counts: Counts, every: int) -> Counts:
    """Leave every so-many-th plane, as many above the first as below the last, and interpolate."""
    planes = thinned(counts, every, (every - 1) // 2)
    return np.rint(planes).astype(counts.dtype)


def _restored(model: StackModel, field: Field, every: int) -> FloatArray:
    """Restore a stack; what comes out is as the network gave it."""
    pixel_um = field.microscope.pixel_size_um
    seen = _left(field.counts, every)
    stack = make_stack(seen, "ZYX", (STEP_UM, pixel_um, pixel_um), z_um=list(field.planes_um))
    counts = restore(stack, model).to_numpy()
    return np.asarray(normalisation_from_stack(seen).apply(counts), np.float32)


def groups(model: Model, planes: int) -> list[tuple[int, range]]:
    """Return the input plane of Deep-Z+ for each group of planes within its range."""
    low, high = model.card.training.defocus_um
    reach = int(min(-low, high) / STEP_UM + 1e-6)
    starts = range(0, planes, 2 * reach + 1)
    spans = [range(start, min(start + 2 * reach + 1, planes)) for start in starts]
    return [((span.start + span.stop - 1) // 2, span) for span in spans]


def _refocused(model: Model, field: Field) -> FloatArray:
    """Refocus single planes to their neighbours, and put these together."""
    parts = []
    for plane, span in groups(model, len(field.counts)):
        parts.append(
            refocus(
                field.counts[plane],
                model,
                z_um=[field.planes_um[each] - field.planes_um[plane] for each in span],
                pixel_size_um=field.microscope.pixel_size_um,
            ).to_numpy()
        )
    return np.concatenate(parts)


def _deconvolved(field: Field) -> FloatArray:
    camera = field.microscope.camera
    gain = camera.quantum_efficiency * camera.gain_counts_per_electron
    # read noise as photons, so that voxels are distributed nearly as photons are
    extra = (camera.read_noise_electrons / camera.quantum_efficiency) ** 2
    photons = (field.counts.astype(np.float32) - camera.offset_counts) / gain + extra
    deconvolve = Deconvolution(field.microscope, field.tissue, field.counts.shape, STEP_UM)
    return deconvolve(photons, background=BACKGROUND_PHOTONS + extra, iterations=ITERATIONS)
