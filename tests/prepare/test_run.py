"""From files of focus scans to a dataset."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fluofocus.cli import main
from fluofocus.data.prepared import PreparedConfig, PreparedPairs
from fluofocus.errors import FluoFocusError
from fluofocus.io import make_stack, write_stack
from fluofocus.prepare import run
from fluofocus.prepare.config import PrepareConfig, load_prepare_config
from fluofocus.prepare.dataset import DatasetWriter, read_manifest, read_pictures, read_region
from fluofocus.prepare.manifest import FieldRecord
from fluofocus.prepare.register_features import LEAST_SIDE_PX
from fluofocus.prepare.run import prepare_dataset
from fluofocus.report import contact_sheet
from fluofocus.report.contact_sheet import write_contact_sheet

PIXEL_UM, STEP_UM, PLANES, SIDE = 0.3, 0.5, 11, 96
CONFIG = PrepareConfig(region_px=32, planes=7)


def scan(seed: int, *, side: int = SIDE, planes: int = PLANES, blur: float = 0.8) -> np.ndarray:
    """Return a focus scan of spots, in focus in the middle, in counts."""
    random = np.random.default_rng(seed)
    spots = (random.random((side, side)) > 0.99) * random.uniform(20_000, 40_000, (side, side))
    stack = [
        gaussian_filter(spots, 1.2 + blur * abs(z - planes // 2), mode="wrap")
        for z in range(planes)
    ]
    return (random.poisson(np.array(stack) + 20) + 100).astype(np.uint16)


def write(folder: Path, name: str, counts: np.ndarray, step_um: float = STEP_UM) -> Path:
    path = folder / f"{name}.ome.tif"
    write_stack(path, make_stack(counts, "ZYX", (step_um, PIXEL_UM, PIXEL_UM)))
    return path


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("scans")
    return [write(folder, f"field{seed}", scan(seed)) for seed in range(3)]


@pytest.fixture(scope="module")
def dataset(scans: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dataset") / "made.zarr"
    prepare_dataset(scans, path, CONFIG, workers=1)
    return path


def test_regions_hold_the_planes_about_their_middle(dataset: Path, scans: list[Path]) -> None:
    manifest = read_manifest(dataset)
    assert [field.refused for field in manifest.fields] == [None] * 3
    for region in (region for field in manifest.fields for region in field.regions):
        planes = read_region(dataset, region.name)["input"]
        assert planes.shape == (7, 32, 32)
        assert abs(region.middle_plane - PLANES // 2) <= 1
        assert region.z_um[region.middle_plane - region.first_plane] == 0
        np.testing.assert_allclose(np.diff(region.z_um), STEP_UM)
    first = manifest.fields[0]
    assert first.input is not None
    normalised = (scan(0) - first.input.background_counts) / first.input.scale_counts
    region = first.regions[0]
    expected = normalised[
        region.first_plane : region.first_plane + 7,
        region.top_px : region.top_px + 32,
        region.left_px : region.left_px + 32,
    ]
    stored = read_region(dataset, region.name)["input"].astype(float)
    assert np.corrcoef(stored.ravel(), expected.ravel())[0, 1] > 0.98  # aligned: resampled
    pictures = read_pictures(dataset, first.name)
    assert pictures["fused"].shape == pictures["mask"].shape == (SIDE, SIDE)


def test_no_pixel_of_a_validation_field_is_trained_on(dataset: Path) -> None:
    manifest = read_manifest(dataset)
    splits = [{region.split for region in field.regions} for field in manifest.fields]
    assert all(len(split) == 1 for split in splits)
    assert {"training", "validation"} == set.union(*splits)


def test_rows_of_a_single_field_are_divided_with_a_gap(tmp_path: Path) -> None:
    path = write(tmp_path, "long", scan(5, side=160))
    bottoms = []
    for gap_um in (10.0, 3.0):
        config = CONFIG.model_copy(update={"validation_share": 0.4, "gap_um": gap_um})
        manifest = prepare_dataset([path], tmp_path / f"{gap_um:g}.zarr", config)
        bottoms.append(max(region.top_px + 32 for region in manifest.regions("training")))
        top = min(region.top_px for region in manifest.regions("validation"))
        assert (top - bottoms[-1]) * PIXEL_UM >= gap_um - 0.1
    assert bottoms[1] > bottoms[0]


def test_pairs_come_out_of_it(dataset: Path) -> None:
    config = PreparedConfig(dataset=str(dataset), crop_px=32, defocus_um=1.0)
    for held_out in (False, True):
        pairs = PreparedPairs(config, PIXEL_UM, held_out=held_out, batch_size=2, seed=0)
        batch = next(iter(pairs))
        assert batch["image"].shape == (2, 1, 32, 32)
        assert all(bool(torch.isfinite(tensor).all()) for tensor in batch.values())


def test_a_stopped_run_goes_on(
    scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[str] = []
    original = run.prepare_field

    def counted(name: str, *arguments: Any) -> Any:
        prepared.append(name)
        if len(prepared) == 3:
            raise KeyboardInterrupt
        return original(name, *arguments)

    monkeypatch.setattr(run, "prepare_field", counted)
    path = tmp_path / "made.zarr"
    with pytest.raises(KeyboardInterrupt):
        prepare_dataset(scans, path, CONFIG, workers=1)
    assert not path.exists()
    with pytest.raises(FluoFocusError, match="other files or settings"):
        prepare_dataset(scans[:2], path, CONFIG, workers=1)
    prepare_dataset(scans, path, CONFIG, workers=1)
    assert len(prepared) == 4
    assert len(read_manifest(path).fields) == 3


def test_a_finished_dataset_is_kept_and_told_from_another(
    scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "made.zarr"
    made = prepare_dataset(scans, path, CONFIG, workers=1)
    monkeypatch.delattr(run, "prepare_field")
    assert prepare_dataset(scans, path, CONFIG, workers=1) == made
    for stacks, name in ((scans[:2], "made.zarr"), (scans, "other.zarr")):
        (tmp_path / "other.zarr").mkdir(exist_ok=True)
        with pytest.raises(FluoFocusError, match="exists: choose another name"):
            prepare_dataset(stacks, tmp_path / name, CONFIG, workers=1)


def test_a_page_that_was_not_written_is_made_by_the_same_command(
    scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*paths: Path) -> None:
        raise KeyboardInterrupt

    output, page = tmp_path / "made.zarr", tmp_path / "made.html"
    settings = tmp_path / "prepare.yaml"
    settings.write_text("region_px: 32\nplanes: 7\n", encoding="utf-8")
    words = ["prepare", *map(str, scans), "-o", str(output), "-c", str(settings)]
    with monkeypatch.context() as patch:
        patch.setattr(contact_sheet, "write_contact_sheet", stopped)
        with pytest.raises(SystemExit) as stop:
            main(words)
    assert stop.value.code == 130
    assert output.exists()
    assert not page.exists()
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    assert page.exists()


def test_a_lost_chunk_is_told_from_zeros(tmp_path: Path) -> None:
    path = tmp_path / "made.zarr"
    writer = DatasetWriter(path, {})
    zeros = np.zeros((3, 8, 8), np.float32)
    regions = {name: {"input": zeros + 1, "target": zeros} for name in ("whole", "cut")}
    writer.write_field(FieldRecord(name="f"), {"mask": zeros[0] > 0}, regions)
    writer.partial.replace(path)
    (path / "regions" / "cut" / "input" / "c" / "0" / "0" / "0").unlink()
    assert not read_region(path, "whole")["target"].any()
    assert not read_pictures(path, "f")["mask"].any()
    with pytest.raises(FluoFocusError, match="prepare the dataset again"):
        read_region(path, "cut")


def test_fields_without_signal_are_left_out_and_listed(scans: list[Path], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    noise = write(tmp_path, "noise", random.poisson(100, (PLANES, SIDE, SIDE)).astype(np.uint16))
    manifest = prepare_dataset([*scans[:2], noise], tmp_path / "made.zarr", CONFIG)
    refused = [field.refused for field in manifest.fields]
    assert refused[:2] == [None, None]
    assert "no signal" in str(refused[2])
    with pytest.raises(FluoFocusError, match="No field has a region"):
        prepare_dataset([noise, noise], tmp_path / "none.zarr", CONFIG)
    assert not list(tmp_path.glob("none*"))


@pytest.mark.parametrize(
    ("other", "step_um", "message"),
    [
        (scan(1, side=80), STEP_UM, "differ in size"),
        (scan(1), 0.6, "differ in voxel size"),
        ((scan(1) // 256).astype(np.uint8), STEP_UM, "differ in bit depth"),
        (scan(1)[0], STEP_UM, "focus scan"),
    ],
)
def test_unlike_stacks_are_refused(
    scans: list[Path], tmp_path: Path, other: np.ndarray, step_um: float, message: str
) -> None:
    dims = "ZYX"[-other.ndim :]
    path = tmp_path / "other.ome.tif"
    write_stack(path, make_stack(other, dims, (step_um, PIXEL_UM, PIXEL_UM)))
    with pytest.raises(FluoFocusError, match=message):
        prepare_dataset([scans[0], path], tmp_path / "made.zarr", CONFIG)


def test_targets_that_run_the_other_way_are_turned_over(tmp_path: Path) -> None:
    inputs, targets = [], []
    for seed in range(2):
        random = np.random.default_rng(seed)
        layers = (random.random((PLANES, SIDE, SIDE)) > 0.997) * 30_000.0
        for sigma, kept, flip in ((0.8, inputs, 1), (0.3, targets, -1)):
            stack = [
                sum(
                    gaussian_filter(layer, 1 + sigma * abs(z - depth), mode="wrap")
                    for depth, layer in enumerate(layers)
                )
                for z in range(PLANES)
            ]
            counts = (random.poisson(np.array(stack) + 20) + 100).astype(np.uint16)
            kept.append(write(tmp_path, f"{seed}{flip}", counts[::flip]))
    config = CONFIG.model_copy(update={"registration": "none", "align_planes": False})
    manifest = prepare_dataset(inputs, tmp_path / "two.zarr", config, targets=targets)
    for field in manifest.fields:
        assert field.refused is None, field.refused
        assert field.registration is not None
        assert field.registration.is_reversed
        assert read_region(tmp_path / "two.zarr", field.regions[0].name)["target"].shape[0] == 11
    features = config.model_copy(update={"registration": "features"})
    with pytest.raises(FluoFocusError, match="raise region_px"):
        prepare_dataset(inputs, tmp_path / "three.zarr", features, targets=targets)
    with pytest.raises(FluoFocusError, match="one for each"):
        prepare_dataset(inputs, tmp_path / "three.zarr", config, targets=targets[:1])


def test_a_target_of_another_field_is_left_out_with_a_picture_of_why(tmp_path: Path) -> None:
    side = 2 * LEAST_SIDE_PX
    inputs = [write(tmp_path, f"in{seed}", scan(seed, side=side, planes=5)) for seed in range(2)]
    shown = (0, 9)  # the last target shows another field
    targets = [write(tmp_path, f"out{seed}", scan(seed, side=side, planes=5)) for seed in shown]
    config = PrepareConfig(region_px=LEAST_SIDE_PX, planes=5, align_planes=False)
    manifest = prepare_dataset(inputs, tmp_path / "two.zarr", config, targets=targets)
    refused = [field.refused for field in manifest.fields]
    assert refused[0] is None
    assert refused[1] is not None
    pictures = read_pictures(tmp_path / "two.zarr", manifest.fields[1].name)
    assert pictures["fixed"].shape == pictures["moving"].shape == (side, side)
    write_contact_sheet(tmp_path / "two.zarr", tmp_path / "two.html")
    page = (tmp_path / "two.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 2
    assert "points held to be the same" in page


def test_configurations_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "prepare.yaml"
    path.write_text("region_px: 64\n")
    assert load_prepare_config(path).region_px == 64
    for text, message in (("regions: 3", "regions"), ("[1]", "mapping"), ("a: [", "not valid")):
        path.write_text(text)
        with pytest.raises(FluoFocusError, match=message):
            load_prepare_config(path)
    with pytest.raises(FluoFocusError, match="Cannot read"):
        load_prepare_config(tmp_path / "none.yaml")
    path.write_text("grow_level: 0.5\n")
    with pytest.raises(FluoFocusError, match="seed_level"):
        load_prepare_config(path)


CHANGED: dict[str, Any] = {
    "pixel_size_um": 0.4,
    "z_step_um": 0.7,
    "align_planes": False,
    "seed_level": 0.9,
    "grow_level": 0.29,
    "region_px": 48,
    "overlap_share": 0.2,
    "least_signal_share": 0.95,
    "planes": 5,
    "validation_share": 0.6,
    "seed": 3,
}
CHANGED_WITH_TARGETS: dict[str, Any] = {
    "target_pixel_size_um": 0.29,
    "target_z_step_um": 0.4,
    "registration": "none",
    "largest_residual_px": 1e-4,
    "axial_match": "focus_curve",
}


def outcome(
    tmp_path: Path, scans: list[Path], config: PrepareConfig, targets: list[Path] | None = None
) -> dict[str, Any]:
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.zarr"
    try:
        manifest = prepare_dataset(scans, path, config, targets=targets or [])
    except FluoFocusError as error:
        return {"error": str(error)}
    return manifest.model_dump(exclude={"config", "created"})


def test_every_setting_has_a_case() -> None:
    assert {*CHANGED, *CHANGED_WITH_TARGETS, "gap_um"} == set(PrepareConfig.model_fields)


@pytest.mark.parametrize("field", CHANGED)
def test_every_setting_has_an_effect(scans: list[Path], tmp_path: Path, field: str) -> None:
    config = CONFIG.model_copy(update={"validation_share": 0.3, "region_px": 40})
    plain = outcome(tmp_path, scans, config)
    changed = config.model_copy(update={field: CHANGED[field]})
    assert plain["fields"][0]["regions"]
    assert outcome(tmp_path, scans, changed) != plain


@pytest.mark.parametrize("field", CHANGED_WITH_TARGETS)
def test_every_setting_of_targets_has_an_effect(tmp_path: Path, field: str) -> None:
    config = CONFIG.model_copy(update={"region_px": 96})
    inputs = [write(tmp_path, f"in{seed}", scan(seed, side=180)) for seed in range(2)]
    targets = [write(tmp_path, f"out{seed}", scan(seed, side=180, blur=0.4)) for seed in range(2)]
    plain = outcome(tmp_path, inputs, config, targets)
    assert all(field["regions"] for field in plain["fields"]), plain["fields"]
    changed = config.model_copy(update={field: CHANGED_WITH_TARGETS[field]})
    assert outcome(tmp_path, inputs, changed, targets) != plain
