"""A training so small that it takes a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fluofocus.optics.microscope import Microscope, preset
from fluofocus.train.config import TrainConfig

MICROSCOPE = "olympus-20x-0.75"
TINY: dict[str, Any] = {
    "name": "tiny",
    "architecture_config": {
        "encoder_channels": [4, 4],
        "decoder_channels": [4, 4],
        "residual_blocks": 1,
        "distance_bumps": 5,
        "embedding_channels": 4,
        "distance_range_um": 3.0,
    },
    "microscope": MICROSCOPE,
    "simulation": {
        "phantoms": [{"phantom": "beads", "parameters": {"count_per_1000_um2": 20}}],
        "crop_px": 32,
        "defocus_um": 3.0,
        "depth_um": 2.0,
        "targets_per_image": 2,
        "planes_per_specimen": 5,
        "specimens_in_memory": 2,
        "microscopes_in_memory": 1,
    },
    "precision": "32-true",
    "validate_every": 3,
    "validation_batches": 1,
}
REGRESSION = {"steps": 6, "batch_size": 2, "warmup_steps": 2, "averaging_decay": 0.2}
SCHEMES: dict[str, dict[str, Any]] = {
    "regression": REGRESSION,
    "adversarial": REGRESSION | {"adversarial_weight": 0.1},
    "deep_z": {
        "scheme": "deep_z",
        "steps": 6,
        "batch_size": 2,
        "discriminator_width": "compact",
        "generator_updates": 2,
        "discriminator_updates": 1,
    },
}


@pytest.fixture(scope="session")
def microscope() -> Microscope:
    return preset(MICROSCOPE)


@pytest.fixture(scope="session")
def schemes() -> dict[str, dict[str, Any]]:
    """Tiny ``training`` sections, by what they try."""
    return SCHEMES


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., TrainConfig]:
    """Make a tiny configuration that writes below tmp_path, with some fields changed."""

    def make(training: str | dict[str, Any] = "regression", **changes: Any) -> TrainConfig:
        section = SCHEMES[training] if isinstance(training, str) else training
        content = TINY | {"output_dir": tmp_path / "runs", "training": section} | changes
        return TrainConfig.model_validate(content)

    return make
