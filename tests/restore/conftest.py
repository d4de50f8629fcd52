"""A network of random weights for stacks, and stacks to restore."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from fluofocus.io import make_stack
from fluofocus.models import build_stack_network
from fluofocus.models.bundle import StackModel
from fluofocus.models.cards import StackCard, TrainedStacks
from fluofocus.optics.microscope import preset

PIXEL_UM = 0.1083


@pytest.fixture
def random_model() -> Callable[..., StackModel]:
    def make(trained: dict[str, Any] | None = None, **config: Any) -> StackModel:
        torch.manual_seed(1)
        config = {"width": "compact", **config}
        given = {"z_step_um": 0.5, "planes": 8, "crop_px": 32, "pixel_size_um": PIXEL_UM}
        card = StackCard(
            name="random",
            title="random weights",
            architecture="wfcon",
            architecture_config=config,
            microscope=preset("nikon-60x-1.4-oil"),
            training=TrainedStacks(**(given | {"target_modality": "confocal"} | (trained or {}))),
            created=datetime(2020, 1, 1, tzinfo=UTC),
            fluofocus_version="0.1.0",
        )
        return StackModel(card, build_stack_network("wfcon", config).eval())

    return make


@pytest.fixture
def random_stack() -> Callable[..., xr.DataArray]:
    """A stack of blurred spots over a background, `step_um` apart."""

    def make(
        *shape: int,
        dims: str = "ZYX",
        step_um: float = 0.5,
        pixel_um: float = PIXEL_UM,
        **named: Any,
    ) -> xr.DataArray:
        rng = np.random.default_rng(0)
        spots = torch.from_numpy((rng.random(shape) > 0.99).astype(np.float32))
        smooth = torch.nn.functional.avg_pool2d(spots.reshape(-1, *shape[-2:]), 5, 1, 2)
        light = 100 + 4000 * smooth.reshape(shape).numpy()
        counts = rng.poisson(light).astype(np.uint16)
        return make_stack(
            counts, dims, (step_um, pixel_um, pixel_um), name="field.ome.tif", **named
        )

    return make
