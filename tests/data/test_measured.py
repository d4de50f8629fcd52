"""Training pairs cut from measured focus scans."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fluofocus.data.measured import MeasuredConfig, MeasuredPairs, MeasuredSource
from fluofocus.errors import FluoFocusError
from fluofocus.io import make_stack, write_stack
from fluofocus.prepare.normalise import normalisation_from_image

PIXEL_UM, STEP_UM = 0.5, 1.0
PLANES, HEIGHT, WIDTH = 5, 120, 40
CONFIG: dict[str, Any] = {
    "crop_px": 16,
    "targets_per_image": 3,
    "defocus_um": 2.0,
    "flips_and_rotations": False,
}


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two stacks whose pixels say where they come from; the second states no sizes."""
    folder = tmp_path_factory.mktemp("stacks")
    plane, row, column = np.indices((PLANES, HEIGHT, WIDTH))
    counts = (1000 + 8000 * plane + 50 * row + column).astype(np.uint16)
    sizes = (STEP_UM, PIXEL_UM, PIXEL_UM)
    write_stack(folder / "one.ome.tif", make_stack(counts, "ZYX", sizes))
    write_stack(folder / "other.ome.tif", make_stack(counts[:, :, ::-1] + 3, "ZYX", sizes))
    return [str(folder / "one.ome.tif"), str(folder / "other.ome.tif")]


def source(stacks: list[str], *, held_out: bool = False, **changes: Any) -> MeasuredSource:
    config = MeasuredConfig(stacks=tuple(stacks), **(CONFIG | changes))
    return MeasuredSource(config, PIXEL_UM, seed=0, held_out=held_out)


def in_counts(stacks: list[str], pair: dict[str, torch.Tensor], plane: int) -> torch.Tensor:
    """Undo the normalisation of a pair whose input is this plane of the first stack."""
    image = 1000 + 8000 * plane + 50 * np.arange(HEIGHT)[:, None] + np.arange(WIDTH)
    return normalisation_from_image(image.astype(np.uint16)).invert(pair["target"])


def test_targets_are_the_planes_at_the_stated_distances(stacks: list[str]) -> None:
    for number in range(20):
        pair = source(stacks[:1]).pair(number)
        assert pair["image"].shape == (1, 16, 16)
        assert pair["target"].shape == (3, 16, 16)
        assert float(pair["dpm_um"].abs().max()) <= 2.0
        fits = []
        for plane in range(PLANES):
            counts = in_counts(stacks, pair, plane)
            planes = ((counts[:, 0, 0] - 1000) / 8000).floor()
            fits.append(torch.allclose(planes - plane, pair["dpm_um"] / STEP_UM))
        assert any(fits)


def test_validation_rows_are_never_trained_on(stacks: list[str]) -> None:
    def rows(held_out: bool) -> set[int]:
        found = set()
        scans = source(stacks[:1], held_out=held_out)._scans
        for scan in scans:
            found |= {int(v) // 50 for v in (scan.counts[0, :, 0] - 1000).tolist()}
        return found

    trained, kept = rows(held_out=False), rows(held_out=True)
    assert max(trained) + round(10 / PIXEL_UM) < min(kept)
    assert len(kept) == round(0.2 * HEIGHT)


def test_pairs_depend_on_seed_and_number_only(stacks: list[str]) -> None:
    config = MeasuredConfig(stacks=tuple(stacks), **CONFIG)

    def stream(seed: int, start: int) -> MeasuredPairs:
        return MeasuredPairs(
            config, PIXEL_UM, held_out=False, batch_size=2, seed=seed, start_batch=start
        )

    batches = iter(stream(1, 0))
    next(batches)
    second = next(batches)
    again, other = next(iter(stream(1, 1))), next(iter(stream(2, 1)))
    assert torch.equal(second["image"], again["image"])
    assert not torch.equal(second["image"], other["image"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stacks", 1),
        ("defocus_um", 1.0),
        ("crop_px", 20),
        ("targets_per_image", 2),
        ("validation_share", 0.4),
        ("flips_and_rotations", True),
        ("normalisation", "stack"),
        ("z_step_um", 0.7),
    ],
)
def test_every_field_has_an_effect(stacks: list[str], field: str, value: Any) -> None:
    chosen = stacks[1:] if field == "stacks" else stacks[:1]
    changes = {} if field == "stacks" else {field: value}
    plain, changed = source(stacks[:1]), source(chosen, **changes)
    assert any(
        a.shape != b.shape or not torch.equal(a, b)
        for number in range(8)
        for a, b in zip(plain.pair(number).values(), changed.pair(number).values(), strict=True)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixel_size_um": 0.3}, "microscope's"),
        ({"crop_px": 64}, "lower crop_px"),
        ({"validation_share": 0.05}, "for validation"),
    ],
)
def test_stacks_that_do_not_fit_are_refused(
    stacks: list[str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(FluoFocusError, match=message):
        source(stacks, held_out="validation_share" in changes, **changes)


def test_a_single_plane_is_no_focus_scan(tmp_path: Path) -> None:
    image = make_stack(np.ones((40, 40), np.uint16), "YX", (1.0, PIXEL_UM, PIXEL_UM))
    write_stack(tmp_path / "plane.ome.tif", image)
    with pytest.raises(FluoFocusError, match="focus scans"):
        source([str(tmp_path / "plane.ome.tif")])
