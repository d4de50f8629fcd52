"""The memory plan: within its budget, and refused where it cannot be."""

import subprocess
import sys

import numpy as np
import pytest

from fluofocus.data.grid import Grid
from fluofocus.errors import FluoFocusError
from fluofocus.io import write_stack
from fluofocus.models.bundle import save_model
from fluofocus.models.footprint import GIB
from fluofocus.refocus import refocus
from fluofocus.refocus.memory import Footprint, make_plan, measure_footprint

FOOTPRINT = Footprint(features=36, encode=64, decode=48)


class Sizes:
    size_multiple = 16
    receptive_field_px = 242
    kept_bytes = 0


class Keeping(Sizes):
    kept_bytes = GIB


def plan(
    side: int, memory_gb: float, planes: int = 41, held_bytes: int = 0, sizes: type[Sizes] = Sizes
):
    grid = Grid((side, side), (side, side), (side, side))
    return make_plan(
        sizes(), FOOTPRINT, grid, planes=planes, memory_gb=memory_gb, held_bytes=held_bytes
    )


def test_larger_budgets_cut_less() -> None:
    counts = [len(plan(4096, memory_gb).tiles) for memory_gb in (1.5, 2, 4, 16)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 1
    assert counts[-1] == 1


def test_what_a_network_keeps_counts_like_what_is_held_anyway() -> None:
    assert plan(4096, 3, sizes=Keeping) == plan(4096, 3, held_bytes=GIB) == plan(4096, 2)


def test_batches_grow_with_the_budget_and_never_exceed_the_planes() -> None:
    assert plan(2048, 4).planes_per_batch >= plan(2048, 2).planes_per_batch >= 1
    assert plan(256, 8, planes=3).planes_per_batch == 3


def test_too_small_a_budget_is_refused_with_the_needed_size() -> None:
    with pytest.raises(FluoFocusError, match=r"need about .* GiB of memory, more than the budget"):
        plan(20_000, 4)
    with pytest.raises(FluoFocusError, match="write to a file"):
        plan(2048, 4, held_bytes=4 * GIB)


def test_a_result_too_large_for_memory_is_refused(random_model, random_image) -> None:
    with pytest.raises(FluoFocusError, match="write to a file"):
        refocus(
            random_image(64, 64), random_model(), z_um=np.linspace(-10, 10, 9000), memory_gb=0.62
        )


def test_footprint_counts_layers_per_pixel(random_model) -> None:
    network = random_model("swift", {}).network
    footprint = measure_footprint(network, dpm_is_image=False)
    # 32 channels in, 32 out, and 24 in, 24 out, of 4 bytes at a quarter of the pixels
    assert footprint.encode == 64
    assert footprint.decode == 48
    assert measure_footprint(network, dpm_is_image=True).decode > footprint.decode


LIGHT_SWIFT = {
    "encoder_channels": [8, 8, 8, 8],
    "decoder_channels": [24, 8, 8, 8],
    "residual_blocks": 1,
}
"""As much memory to decode as the default, with fewer operations."""

MEASURED_RUN = """
import sys
from pathlib import Path
from fluofocus.io import read_stack
from fluofocus.refocus import refocus_to_file

folder, memory_gb = sys.argv[1], float(sys.argv[2])
refocus_to_file(
    read_stack(f"{folder}/field.ome.tif"),
    f"{folder}/model.safetensors",
    f"{folder}/out.ome.tif",
    z_um=[-3.0, -1.0, 1.0, 3.0],
    memory_gb=memory_gb,
)
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 2**20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_process_stays_within_its_budget(random_model, random_image, tmp_path) -> None:
    """The whole field in one batch would take more than the budget: it must be cut."""
    budget_gb, side = 1.25, 1536
    model = random_model("swift", LIGHT_SWIFT)
    footprint = measure_footprint(model.network, dpm_is_image=False)
    assert 4 * 2.4 * footprint.decode * side**2 / GIB + 0.3 > budget_gb
    save_model(model, tmp_path / "model.safetensors")
    write_stack(tmp_path / "field.ome.tif", random_image(side, side))
    run = subprocess.run(
        [sys.executable, "-c", MEASURED_RUN, str(tmp_path), str(budget_gb)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(run.stdout) < budget_gb
