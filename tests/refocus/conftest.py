"""Random networks and an image to refocus with them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
import xarray as xr

from fluofocus.data.tiling import tiles
from fluofocus.io import make_stack
from fluofocus.models import build_network
from fluofocus.models.bundle import ErrorCalibration, Model, ModelCard, TrainingRange
from fluofocus.optics.microscope import preset
from fluofocus.refocus import job
from fluofocus.refocus.memory import Plan

SMALL_SWIFT = {
    "encoder_channels": [8, 8],
    "decoder_channels": [8, 8],
    "residual_blocks": 1,
}
"""A Swift of multiple 4 and receptive field 50 pixels."""


@pytest.fixture
def random_model() -> Callable[..., Model]:
    def make(architecture: str = "swift", config: dict | None = None) -> Model:
        torch.manual_seed(1)
        config = SMALL_SWIFT if config is None else config
        card = ModelCard(
            name="random",
            title="random weights",
            architecture=architecture,
            architecture_config=config,
            microscope=preset("olympus-20x-0.75"),
            training=TrainingRange(defocus_um=(-10, 10), pixel_size_um=0.325),
            created=datetime(2020, 1, 1, tzinfo=UTC),
            fluofocus_version="0.1.0",
        )
        return Model(card, build_network(architecture, config))

    return make


@pytest.fixture
def random_counts() -> Callable[..., np.ndarray]:
    def make(*shape: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        spots = rng.random(shape) > 0.99
        return rng.poisson(100 + 500 * rng.random(shape) * spots).astype(np.uint16)

    return make


@pytest.fixture
def random_image(random_counts: Callable[..., np.ndarray]) -> Callable[..., xr.DataArray]:
    def make(*shape: int, dims: str = "YX", pixel_um: float = 0.325) -> xr.DataArray:
        return make_stack(
            random_counts(*shape), dims, (1.0, pixel_um, pixel_um), name="field.ome.tif"
        )

    return make


@pytest.fixture
def force_tiles(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make every plan use tiles of this size, and batches of two planes."""

    def force(tile_px: int, halo_px: int | None = None) -> None:
        def plan(network, footprint, grid, *, planes, **_) -> Plan:
            cut = tiles(
                *grid.network_yx,
                tile_px=tile_px,
                halo_px=network.receptive_field_px if halo_px is None else halo_px,
                multiple=network.size_multiple,
            )
            assert len(cut) > 1
            return Plan(cut, planes_per_batch=2, planes_per_group=min(3, planes))

        monkeypatch.setattr(job, "make_plan", plan)

    return force


@pytest.fixture
def able_model(random_model: Callable[..., Model]) -> Model:
    """Return a network with random weights in all its parts."""
    model = random_model()
    torch.manual_seed(2)
    for parameter in model.network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    calibration = ErrorCalibration(scale=2.0, probabilities=(0.5, 0.9), half_widths=(0.7, 2.3))
    training = model.card.training.model_copy(update={"input_planes": 3, "optics_told": True})
    card = model.card.model_copy(update={"error": calibration, "training": training})
    return replace(model, card=card)
