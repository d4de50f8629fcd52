"""Whether an image was taken through the pupil mask, or without one, as its model expects."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from scipy.special import j0

from fluofocus.errors import FluoFocusWarning
from fluofocus.models.bundle import Model, ModelCard, read_card
from fluofocus.optics.microscope import Microscope, preset, preset_names
from fluofocus.optics.psf import point_spread_function
from fluofocus.refocus.stripes import TILE_UNITS, Modes, Spectrum, finest_period_um
from fluofocus.units import AnyArray

SMALLEST_FIELD_UNITS = 1.5 * TILE_UNITS
"""Fields with a shorter side, in finest periods, are not judged: they hold too few structures."""

MASK_BAND, PAIR_BAND = 0.35, 0.3
"""Highest frequency that counts, of the cutoff: aberrations change the pattern beyond it."""

MASK_CONTRAST, PAIR_CONTRAST = 0.6, 0.8
"""How clear the stripes should be."""

PLANES = 33
"""Depths at which the pattern of a mask is known."""

PAIR_SPACINGS = np.arange(6.0, 18.0, 0.75)
PAIR_DIRECTIONS = 36
EQUAL_LOBES = 0.9
"""Pairs sought, of a mask that is not known: spacing in finest periods, and likeness."""

MASK_ODDS, PAIR_ODDS = -3.0, 12.0
"""Natural logarithm of the odds for the stripes, below and above which there is a warning.

The second is stricter, since structures may come in pairs by chance.
"""


def mask_log_odds(
    image: AnyArray, pixel_um: float, masked: Microscope, defocus_um: Sequence[float]
) -> float:
    """Return the logarithm of the odds that an image was taken through this microscope's mask.

    The defocus, out of the range ``defocus_um``, is the one that fits best.

    Raises
    ------
    FluoFocusError
        If the mask cannot be read.
    """
    modes = Modes.of(image.shape, pixel_um, masked, MASK_BAND)
    psf = point_spread_function(
        masked.model_copy(update={"pixel_size_um": pixel_um, "psf_model": "scalar"}),
        torch.linspace(defocus_um[0], defocus_um[1], PLANES),
        (modes.side_px, modes.side_px),
    )
    patterns = np.array([modes.pattern(plane) for plane in psf.numpy()])
    return float(Spectrum.of(image, modes).log_odds(patterns, MASK_CONTRAST).max())


def pair_log_odds(image: AnyArray, pixel_um: float, microscope: Microscope) -> tuple[float, float]:
    """Return the logarithm of the odds that structures come in pairs, and their spacing in µm.

    Spacing and direction, the same for all, are those that fit best.
    """
    modes = Modes.of(image.shape, pixel_um, microscope, PAIR_BAND)
    fy, fx = modes.frequencies_per_um
    spacing_um, angle = (
        axis.ravel()[:, None]
        for axis in np.meshgrid(
            PAIR_SPACINGS * finest_period_um(microscope),
            np.arange(PAIR_DIRECTIONS) * math.pi / PAIR_DIRECTIONS,
        )
    )
    turns = spacing_um * (fy * np.sin(angle) + fx * np.cos(angle))
    of_ring = 1 + EQUAL_LOBES * j0(2 * math.pi * spacing_um * np.hypot(fy, fx))
    patterns = modes.without_directions((1 + EQUAL_LOBES * np.cos(2 * math.pi * turns)) / of_ring)
    seen = Spectrum.of(image, modes)
    spectrum = Spectrum(modes.without_directions(seen.relative), seen.signal)
    odds = spectrum.log_odds(patterns, PAIR_CONTRAST)
    best = int(odds.argmax())
    return float(odds[best]), float(spacing_um[best, 0])


def check_mask(images: xr.DataArray, pixel_um: float, model: str | Path | Model) -> None:
    """Warn where an image seems to lack the mask of a model, or to have one that the model lacks.

    Small fields are not judged, and a mask's absence only if its file is at hand
    (`find_mask`).

    Parameters
    ----------
    images
        ``(…, Z, Y, X)``, counts; one of them, from the middle, is judged.
    model
        Name of a shipped model, a model file, or a loaded model.

    Raises
    ------
    FluoFocusError
        If the model or its mask cannot be read.
    """
    card = model.card if isinstance(model, Model) else read_card(model)
    trained = card.microscope
    shortest_px = min(images.sizes["Y"], images.sizes["X"])
    if shortest_px * pixel_um < SMALLEST_FIELD_UNITS * finest_period_um(trained):
        return
    middle = tuple(length // 2 for length in images.shape[:-2])
    if trained.pupil_mask is None:
        odds, spacing_um = pair_log_odds(np.asarray(images.data[middle]), pixel_um, trained)
        if odds > PAIR_ODDS:
            _warn(
                f"The structures in the image come in pairs, {spacing_um:.2g} µm apart, as through "
                f"a double-helix mask, but model {card.name} was trained without a mask: take a "
                "model that was trained with one, or images without it."
            )
    elif (mask := find_mask(card, model)) is not None:
        masked = trained.model_copy(update={"pupil_mask": mask})
        image = np.asarray(images.data[middle])
        if mask_log_odds(image, pixel_um, masked, card.training.defocus_um) < MASK_ODDS:
            _warn(
                f"The image looks as if taken without the pupil mask {mask.name} that model "
                f"{card.name} was trained for, or with the mask turned: put it in as it was, or "
                "take a model for images without one."
            )


def find_mask(card: ModelCard, model: str | Path | Model) -> Path | None:
    """Return the file of the mask that a model was trained for, if it has one that is at hand.

    A model's card only names it. It is looked for beside the model's file and among the
    presets' masks.
    """
    mask = card.microscope.pupil_mask
    if mask is None:
        return None
    beside = [] if isinstance(model, Model) else [Path(model).parent / mask.name]
    presets = (preset(name).pupil_mask for name in preset_names())
    shipped = [each for each in presets if each is not None and each.name == mask.name]
    return next((path for path in (*beside, *shipped) if path.is_file()), None)


def _warn(text: str) -> None:
    warnings.warn(text, FluoFocusWarning, stacklevel=4)
