"""Makes a network's error output honest, on held-out pairs."""

from __future__ import annotations

import numpy as np
import torch

from fluofocus.measure.uncertainty import (
    PROBABILITIES,
    error_factors,
    error_scale,
    interval_half_widths,
)
from fluofocus.models.blocks import nearest_um
from fluofocus.models.bundle import ErrorCalibration
from fluofocus.models.network import RefocusingNetwork
from fluofocus.train.module import Batch, predict

_PIXELS_PER_BATCH = 200_000


def calibrate_error(
    network: RefocusingNetwork, batches: list[Batch], device: torch.device
) -> ErrorCalibration | None:
    """Compare predicted with true errors of a network on held-out batches.

    Returns
    -------
    ErrorCalibration or None
        None where the network has no error output.
    """
    if not network.has_error:
        return None
    network = network.to(device).eval()
    generator = torch.Generator().manual_seed(0)
    errors, predictions, distances = [], [], []
    for batch in batches:
        with torch.no_grad():
            refocused = predict(network, {k: v.to(device) for k, v in batch.items()})
        image, predicted = refocused.image, refocused.error
        assert predicted is not None  # the network has an error output
        residual = (image.cpu() - batch["target"]).abs().flatten()
        chosen = torch.randperm(len(residual), generator=generator)[:_PIXELS_PER_BATCH]
        errors.append(residual[chosen].numpy())
        predictions.append(predicted.cpu().flatten()[chosen].numpy())
        distance_um = nearest_um(batch["dpm_um"])[..., None, None].expand_as(image)
        distances.append(distance_um.flatten()[chosen].numpy())
    error, prediction = np.concatenate(errors), np.concatenate(predictions)
    distance = np.concatenate(distances)
    knots_um, factors = error_factors(error, prediction, distance)
    prediction = prediction * np.interp(distance, knots_um, factors).astype(np.float32)
    scale = error_scale(error, prediction)
    return ErrorCalibration(
        scale=scale,
        probabilities=PROBABILITIES,
        half_widths=interval_half_widths(error, prediction * np.float32(scale)),
        distances_um=knots_um,
        factors=factors,
    )
