"""``fluofocus restore``: what it writes and says, and how it refuses."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from fluofocus.io import make_stack, read_stack, write_stack
from fluofocus.models import build_stack_network
from fluofocus.models.bundle import StackModel, save_model
from fluofocus.models.cards import StackCard, TrainedStacks
from fluofocus.optics.microscope import preset

PIXEL_UM = 0.1083


@pytest.fixture
def folder(prepared: Path) -> Iterator[Path]:
    """The prepared folder with a model of stacks and a stack, which are removed again."""
    torch.manual_seed(0)
    config = {"width": "compact"}
    card = StackCard(
        name="confocal",
        title="random weights",
        architecture="wfcon",
        architecture_config=config,
        microscope=preset("nikon-60x-1.4-oil"),
        training=TrainedStacks(z_step_um=0.5, planes=8, crop_px=32, pixel_size_um=PIXEL_UM),
        created=datetime(2020, 1, 1, tzinfo=UTC),
        fluofocus_version="0.1.0",
    )
    model = StackModel(card, build_stack_network("wfcon", config))
    save_model(model, prepared / "stacks.safetensors")
    counts = np.random.default_rng(0).poisson(200, (8, 32, 32)).astype(np.uint16)
    counts[4, 10:20, 10:20] += 900
    stack = make_stack(counts, "ZYX", (0.5, PIXEL_UM, PIXEL_UM))
    write_stack(prepared / "wide.ome.tif", stack)
    write_stack(prepared / "unknown.ome.tif", make_stack(counts, "ZYX", None))
    write_stack(prepared / "plane.ome.tif", stack.isel(Z=4))
    yield prepared
    for name in ("stacks.safetensors", "out.ome.tif", "out.ome.zarr"):
        path = prepared / name
        if path.is_file():
            path.unlink()
    for path in prepared.glob("*.ome.tif"):
        if path.name in ("wide.ome.tif", "unknown.ome.tif", "plane.ome.tif"):
            path.unlink()


def test_it_writes_a_stack_with_its_sizes_and_provenance(run: Callable, folder: Path) -> None:
    outcome = run("restore wide.ome.tif -m stacks.safetensors -o out.ome.tif")
    assert (outcome.code, outcome.out) == (0, "Wrote out.ome.tif.\n")
    restored = read_stack(folder / "out.ome.tif")
    assert restored.shape == (8, 32, 32)
    assert restored.attrs["voxel_size_um"] == pytest.approx((0.5, PIXEL_UM, PIXEL_UM))
    assert restored.attrs["provenance"]["model"]["name"] == "confocal"
    assert np.isfinite(restored.values).all()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("restore wide.ome.tif -m toy.safetensors -o out.ome.tif", "use 'fluofocus refocus'"),
        (
            "refocus wide.ome.tif --plane 1 --z 0 --model stacks.safetensors -o out.ome.tif",
            "use 'fluofocus restore'",
        ),
        ("restore plane.ome.tif -m stacks.safetensors -o out.ome.tif", "single plane"),
        ("restore unknown.ome.tif -m stacks.safetensors -o out.ome.tif", "--z-step"),
        (
            "restore unknown.ome.tif -m stacks.safetensors --z-step 0.5 -o out.ome.tif",
            "--pixel-size",
        ),
        ("restore wide.ome.tif -m stacks.safetensors -o wide.ome.tif", "is the image itself"),
        ("restore wide.ome.tif -m stacks.safetensors --memory 0.3 -o out.ome.tif", "GiB"),
        ("restore missing.tif -m stacks.safetensors -o out.ome.tif", "does not exist"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    run: Callable, folder: Path, command: str, said: str
) -> None:
    outcome = run(command)
    assert outcome.code == 2
    assert said in outcome.err
    assert len(outcome.err.strip().splitlines()[-1]) < 400
    assert outcome.new == set()


def test_models_lists_and_shows_it(run: Callable, folder: Path) -> None:
    outcome = run("models stacks.safetensors")
    assert outcome.code == 0
    assert "z_step_um: 0.5" in outcome.out
