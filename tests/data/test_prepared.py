"""Training pairs drawn from a prepared dataset."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fluofocus.data.prepared import PreparedConfig, PreparedPairs, PreparedSource
from fluofocus.errors import FluoFocusError
from fluofocus.prepare.config import PrepareConfig
from fluofocus.prepare.dataset import DatasetWriter
from fluofocus.prepare.manifest import FieldRecord, Manifest, RegionRecord

PIXEL_UM, STEP_UM, SIDE, PLANES = 0.5, 1.0, 40, 7
CONFIG: dict[str, Any] = {
    "crop_px": 16,
    "targets_per_image": 3,
    "defocus_um": 2.0,
    "flips_and_rotations": False,
}
BACKGROUND, SCALE = 0.25, 0.5


def region(name: str, split: str, target_z_um: list[float]) -> RegionRecord:
    return RegionRecord(
        name=name,
        split=split,
        top_px=0,
        left_px=0,
        signal_share=1.0,
        first_plane=0,
        middle_plane=3,
        z_um=[(plane - 3) * STEP_UM for plane in range(PLANES)],
        target_z_um=target_z_um,
        planes_background=[BACKGROUND] * PLANES,
        planes_scale=[SCALE] * PLANES,
    )


def values(offset: float) -> np.ndarray:
    """Return planes whose pixels say which region and plane they are of, and which row."""
    plane, row, _ = np.indices((PLANES, SIDE, SIDE))
    return (offset + plane + row / 64).astype(np.float32)


def write(folder: Path, *, with_targets: bool = False, region_px: int = SIDE) -> str:
    path = folder / "made.zarr"
    writer = DatasetWriter(path, {})
    heights = [(plane - 3) * STEP_UM + (0.3 if with_targets else 0) for plane in range(PLANES)]
    records = []
    for index, split in enumerate(("training", "training", "validation")):
        name = f"f{index}"
        arrays = {"input": values(10.0 * index)}
        if with_targets:
            arrays["target"] = values(100 + 10.0 * index)
        record = FieldRecord(name=name, regions=[region(f"{name}-000", split, heights)])
        writer.write_field(record, {}, {f"{name}-000": arrays})
        records.append(record)
    writer.complete(
        Manifest(
            software="test",
            created="today",
            config=PrepareConfig(region_px=region_px),
            has_targets=with_targets,
            pixel_size_um=PIXEL_UM,
            fields=records,
        )
    )
    return str(path)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def two_modalities(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("two"), with_targets=True)


def source(dataset: str, *, held_out: bool = False, **changes: Any) -> PreparedSource:
    config = PreparedConfig(dataset=dataset, **(CONFIG | changes))
    return PreparedSource(config, PIXEL_UM, seed=0, held_out=held_out)


def planes_of(images: torch.Tensor) -> torch.Tensor:
    """Undo the normalisation and say which plane each image is."""
    return (images[:, 0, 0] * SCALE + BACKGROUND).floor() % 10


def test_targets_are_the_planes_at_the_stated_distances(dataset: str) -> None:
    pairs = source(dataset)
    for number in range(30):
        pair = pairs.pair(number, 2)
        assert pair["image"].shape == (2, 16, 16)
        assert pair["target"].shape == (3, 16, 16)
        assert float(pair["dpm_um"].abs().max()) <= 2.0
        apart = planes_of(pair["target"]) - planes_of(pair["image"])[:, None]
        assert torch.equal(apart * STEP_UM, pair["dpm_um"])


def test_targets_of_another_modality_have_heights_of_their_own(two_modalities: str) -> None:
    pairs = source(two_modalities)
    for number in range(10):
        pair = pairs.pair(number)
        assert (pair["target"] * SCALE + BACKGROUND >= 100).all()
        apart = planes_of(pair["target"]) - planes_of(pair["image"])[:, None]
        torch.testing.assert_close(apart * STEP_UM + 0.3, pair["dpm_um"])


def test_validation_regions_are_never_trained_on(dataset: str) -> None:
    def fields(held_out: bool) -> set[int]:
        pairs = source(dataset, held_out=held_out, normalisation="stack")
        return {int(pairs.pair(number)["image"].min() // 10) for number in range(30)}

    assert fields(held_out=False) == {0, 1}
    assert fields(held_out=True) == {2}


def test_pairs_depend_on_seed_and_number_only(dataset: str) -> None:
    config = PreparedConfig(dataset=dataset, **CONFIG)

    def stream(seed: int, start: int) -> PreparedPairs:
        return PreparedPairs(
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
        ("defocus_um", 1.0),
        ("crop_px", 20),
        ("targets_per_image", 2),
        ("flips_and_rotations", True),
        ("normalisation", "stack"),
    ],
)
def test_every_field_has_an_effect(dataset: str, field: str, value: Any) -> None:
    plain, changed = source(dataset), source(dataset, **{field: value})
    assert any(
        a.shape != b.shape or not torch.equal(a, b)
        for number in range(8)
        for a, b in zip(plain.pair(number).values(), changed.pair(number).values(), strict=True)
    )


def test_several_input_planes_come_where_asked_for(dataset: str) -> None:
    config = PreparedConfig(dataset=dataset, input_planes=3, **CONFIG)
    pairs = PreparedPairs(config, PIXEL_UM, held_out=False, batch_size=1, seed=0)
    assert {batch["image"].shape[1] for batch, _ in zip(pairs, range(30), strict=False)} == {
        1,
        2,
        3,
    }


def test_datasets_that_do_not_fit_are_refused(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(FluoFocusError, match="microscope's"):
        PreparedSource(PreparedConfig(dataset=dataset), 0.3, 0, held_out=False)
    with pytest.raises(FluoFocusError, match="lower crop_px"):
        source(dataset, crop_px=64)
    with pytest.raises(FluoFocusError, match="check the name"):
        source(str(tmp_path / "none.zarr"))
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(FluoFocusError, match="no dataset"):
        source(str(tmp_path / "empty.zarr"))
