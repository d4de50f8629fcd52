"""Stacks of all kinds and sizes: what comes out, and what is said and refused."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fluofocus
from fluofocus.data.grid import Grid
from fluofocus.data.planes import PlaneMixture, mixture
from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.io import origin_um, read_stack
from fluofocus.models.bundle import save_model
from fluofocus.models.stack_network import Extent, StackNetwork
from fluofocus.models.wfcon import WfconConfig
from fluofocus.prepare.normalise import normalisation_from_stack
from fluofocus.restore import engine, plan, restore, restore_to_file, survey, work
from fluofocus.simulate.stack import simulate_stack

Make = Callable[..., Any]

pytestmark = pytest.mark.filterwarnings("ignore:The stack seems to be optically sectioned")


def every_um(recorded_um: float) -> PlaneMixture:
    """Forty planes 1 µm apart, out of recorded ones."""
    return mixture(np.arange(40.0), np.arange(0, 39 + recorded_um, recorded_um))


def test_it_is_what_the_network_makes_of_the_normalised_stack(
    random_model: Make, random_stack: Make
) -> None:
    model, stack = random_model(), random_stack(8, 32, 32)
    restored = fluofocus.restore(stack, model)
    normalisation = normalisation_from_stack(stack.values)
    seen = torch.from_numpy(normalisation.apply(stack.values.astype(np.float32)))
    with torch.inference_mode():
        expected = normalisation.invert(model.network(seen[None, None])[0, 0].numpy())
    np.testing.assert_allclose(restored.values, expected, rtol=1e-3, atol=0.1)
    assert restored.dims == ("Z", "Y", "X")
    assert restored.attrs["voxel_size_um"] == pytest.approx((0.5, 0.1083, 0.1083))
    provenance = restored.attrs["provenance"]
    assert provenance["model"]["name"] == "random"
    assert provenance["output_modality"] == "confocal"
    assert provenance["normalisation"][0]["scale"] == pytest.approx(normalisation.scale)


class _Smoothing(StackNetwork):
    """A network that looks one voxel far, with the multiples of a large one."""

    config = WfconConfig()
    size_multiple = Extent(4, 16, 16)
    receptive_field = Extent(1, 1, 1)

    def __init__(self, *, depends_on_tile: bool) -> None:
        super().__init__()
        self.depends_on_tile = depends_on_tile
        self.layer = torch.nn.Conv3d(1, 1, 3, padding=1)

    def forward(self, stack: torch.Tensor) -> torch.Tensor:
        return self.layer(stack)


@pytest.mark.parametrize("depends_on_tile", [False, True])
@pytest.mark.filterwarnings("ignore:The stack has 27 planes")
def test_tiles_give_what_the_whole_gives(
    depends_on_tile: bool, random_model: Make, random_stack: Make
) -> None:
    stack = random_stack(27, 90, 170)
    network = _Smoothing(depends_on_tile=depends_on_tile)
    tiles: list[int] = []

    def restored(**trained: int) -> np.ndarray:
        model = replace(random_model(trained), network=network)
        return restore(stack, model, progress=lambda _, total: tiles.append(total)).values

    whole = restored(planes=28, crop_px=176)
    assert set(tiles) == {1}
    tiled = restored(planes=8, crop_px=32)
    assert tiles[-1] > 1
    np.testing.assert_allclose(tiled, whole, atol=1e-3 * whole.std())


def test_tiles_of_a_network_without_statistics_are_larger(random_model: Make) -> None:
    grid = Grid((500, 500), (500, 500), (512, 512))
    tiles = {}
    for normalisation in ("instance", "batch"):
        model = random_model({"crop_px": 128, "planes": 8}, normalisation=normalisation)
        cut = plan.make_plan(model, grid, every_um(1.0), recorded_bytes=2, frames=1, memory_gb=16)
        tiles[normalisation] = cut.tile
    assert tiles == {"instance": (8, 128, 128), "batch": (32, 256, 256)}
    model = random_model({"crop_px": 128, "planes": 8}, normalisation="batch")
    small = plan.make_plan(model, grid, every_um(1.0), recorded_bytes=2, frames=1, memory_gb=1.5)
    assert math.prod(small.tile) < 32 * 256**2


@pytest.mark.parametrize("more", [{"recorded_bytes": 4}, {"planes": every_um(0.2)}])
def test_what_was_recorded_counts_in_the_plan(random_model: Make, more: dict[str, Any]) -> None:
    model = random_model({"crop_px": 128, "planes": 40}, normalisation="batch")
    grid = Grid((2048, 2048), (2048, 2048), (2048, 2048))
    usual: dict[str, Any] = {
        "planes": every_um(1.0),
        "recorded_bytes": 2,
        "frames": 2,
        "memory_gb": 0.0,
    }

    def needed_gib(**given: Any) -> float:
        with pytest.raises(FluoFocusError, match="needs about") as refused:
            plan.make_plan(model, grid, **given)
        return float(re.findall(r"about ([\d.]+) GiB", str(refused.value))[0])

    assert needed_gib(**usual | more) > needed_gib(**usual)
    assert needed_gib(**usual) > needed_gib(**usual | {"frames": 1})


def test_time_points_and_channels_are_stacks_of_their_own(
    random_model: Make, random_stack: Make
) -> None:
    model = random_model()
    film = random_stack(2, 2, 8, 32, 32, dims="TCZYX", channel_names=["red", "green"])
    film = film.assign_coords(T=("T", [0.0, 30.0], {"units": "s"}))
    restored = restore(film, model)
    assert restored.coords["T"].values.tolist() == [0.0, 30.0]
    assert restored.shape == film.shape
    assert restored.coords["C"].values.tolist() == ["red", "green"]
    alone = restore(film.isel(T=1, C=0), model)
    np.testing.assert_allclose(restored.values[1, 0], alone.values, rtol=1e-4, atol=0.01)


def test_a_file_is_the_same_and_resumes(
    random_model: Make, random_stack: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(random_model(), tmp_path / "m.safetensors")
    stack = random_stack(20, 60, 44).isel(Y=slice(20, None), X=slice(4, None))
    whole, part = tmp_path / "whole.ome.tif", tmp_path / "part.ome.tif"
    steps: list[tuple[int, int]] = []
    restore_to_file(
        stack, tmp_path / "m.safetensors", whole, progress=lambda *done: steps.append(done)
    )
    assert steps[-1][0] == steps[-1][1] > 1
    np.testing.assert_allclose(
        read_stack(whole).values, restore(stack, tmp_path / "m.safetensors").values
    )
    first_um = [float(stack.coords[axis][0]) for axis in "ZYX"]
    assert origin_um(read_stack(whole)) == pytest.approx(first_um)

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_to_file(stack, tmp_path / "m.safetensors", part, progress=stop)
    computed: list[int] = []
    plain = work.Blending.restore

    def counting(self: work.Blending, block: work.Block, seen: torch.Tensor) -> Any:
        computed.append(block.span.read.start)
        return plain(self, block, seen)

    monkeypatch.setattr(work.Blending, "restore", counting)
    restore_to_file(stack, tmp_path / "m.safetensors", part)
    assert 0 not in computed  # its planes are all there
    assert read_stack(part).values.tobytes() == read_stack(whole).values.tobytes()


@pytest.mark.parametrize(
    ("name", "said"), [("out.tif", "ends in"), ("missing/out.ome.tif", "missing does not exist")]
)
def test_a_wrong_name_is_refused_before_the_stack_is_read(
    random_model: Make,
    random_stack: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    said: str,
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(engine, "prepare_job", lambda *given, **options: calls.append(given))
    with pytest.raises(FluoFocusError, match=said):
        restore_to_file(random_stack(8, 32, 32), random_model(), tmp_path / name)
    assert calls == []


def test_tiles_of_another_size_are_not_mixed_into_a_file(
    random_model: Make, random_stack: Make, tmp_path: Path
) -> None:
    save_model(random_model({"crop_px": 32}, normalisation="batch"), tmp_path / "m.safetensors")
    stack = random_stack(32, 64, 64)
    part = tmp_path / "part.ome.tif"

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_to_file(stack, tmp_path / "m.safetensors", part, memory_gb=0.65, progress=stop)
    with pytest.warns(FluoFocusWarning, match="started anew"):
        restore_to_file(stack, tmp_path / "m.safetensors", part, memory_gb=1.0)
    expected = restore(stack, tmp_path / "m.safetensors", memory_gb=1.0)
    np.testing.assert_array_equal(read_stack(part).values, expected.values)
    assert read_stack(part).attrs["provenance"]["tile_zyx"] == [32, 64, 64]


def test_planes_twice_as_far_apart_are_interpolated(random_model: Make, random_stack: Make) -> None:
    stack = random_stack(6, 32, 32, step_um=1.0)
    with pytest.warns(FluoFocusWarning, match=r"1 µm apart .* come out 0.5 µm apart.$"):
        restored = restore(stack, random_model({"plane_subsampling": (1, 2)}))
    np.testing.assert_allclose(restored.coords["Z"].values, np.arange(11) * 0.5)
    assert restored.attrs["provenance"]["interpolated_from_z_um"] == list(range(6))
    with pytest.raises(FluoFocusError, match="allow resampling"):
        restore(stack, random_model(), resample="refuse")


def test_missing_planes_are_interpolated_and_named(random_model: Make, random_stack: Make) -> None:
    stack = random_stack(12, 32, 32).isel(Z=[0, 1, 2, 3, 7, 8, 9, 10, 11])
    with pytest.warns(FluoFocusWarning, match=r"unevenly spaced.*shows in 1.5 to 3.5 µm"):
        restored = restore(stack, random_model())
    assert restored.sizes["Z"] == 12


def test_a_thin_stack_is_padded_and_a_single_plane_refused(
    random_model: Make, random_stack: Make
) -> None:
    stack = random_stack(3, 32, 32)
    with pytest.warns(FluoFocusWarning, match="fewer than the 8"):
        assert restore(stack, random_model()).shape == (3, 32, 32)
    with pytest.raises(FluoFocusError, match=r"single plane.*'fluofocus refocus'"):
        restore(stack.isel(Z=0), random_model())
    assert restore(stack.isel(Z=0), random_model(dimensions=2)).sizes["Z"] == 1


def test_other_pixels_are_resampled_and_back(random_model: Make, random_stack: Make) -> None:
    stack = random_stack(8, 30, 26, pixel_um=0.13)
    with pytest.warns(FluoFocusWarning, match="resampled for the network"):
        restored = restore(stack, random_model())
    assert restored.shape == stack.shape
    assert restored.attrs["provenance"]["resampled_to_um"] == 0.1083


def test_an_image_smaller_than_any_tile_is_padded(random_model: Make, random_stack: Make) -> None:
    for model in (random_model(), random_model(dimensions=2)):
        restored = restore(random_stack(8, 9, 14), model)
        assert restored.shape == (8, 9, 14)
        assert np.isfinite(restored.values).all()


def test_planes_from_high_to_low_come_out_from_low_to_high(
    random_model: Make, random_stack: Make
) -> None:
    stack = random_stack(8, 32, 32)
    upside_down = stack.isel(Z=slice(None, None, -1))
    np.testing.assert_array_equal(
        restore(upside_down, random_model()).values, restore(stack, random_model()).values
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.values, "make_stack"),
        (lambda s: "stack.tif", "read it first"),
        (lambda s: s.astype(float).where(s.coords["Z"] > 0.2), "Plane 0 .* NaN"),
        (lambda s: s.drop_vars("Z").assign_attrs(voxel_size_um=(np.nan, 0.1, 0.1)), "--z-step"),
        (lambda s: s.assign_coords(Z=[0, 0, 1, 2, 3, 4, 5, 6]), "same position"),
        (lambda s: s.assign_coords(Z=np.arange(8) * 50.0), "check the distance of the planes"),
        (lambda s: s * 0, "empty"),
        (lambda s: s.astype(complex), "complex"),
    ],
)
def test_what_cannot_be_restored_is_refused_in_a_sentence(
    change: Callable[[Any], Any], message: str, random_model: Make, random_stack: Make
) -> None:
    with pytest.raises(FluoFocusError, match=message):
        restore(change(random_stack(8, 32, 32)), random_model())


def test_a_budget_too_small_says_how_much_it_takes(
    random_model: Make, random_stack: Make, tmp_path: Path
) -> None:
    stack, model = random_stack(8, 32, 32), random_model()
    with pytest.raises(FluoFocusError, match=r"needs about .* GiB.* write to a file, or crop"):
        restore(stack, model, memory_gb=0.5)
    with pytest.raises(FluoFocusError, match=r"memory_gb=\), or crop"):
        restore_to_file(stack, model, tmp_path / "o.ome.tif", memory_gb=0.5)


def test_models_of_the_other_kind_are_refused(
    random_model: Make, random_stack: Make, tmp_path: Path
) -> None:
    with pytest.raises(FluoFocusError, match="use 'fluofocus refocus'"):
        restore(random_stack(8, 32, 32), "air20x-beads")
    save_model(random_model(), tmp_path / "m.safetensors")
    with pytest.raises(FluoFocusError, match="use 'fluofocus restore'"):
        fluofocus.refocus(random_stack(32, 32, dims="YX"), tmp_path / "m.safetensors", z_um=[0])


def test_a_confocal_stack_is_noticed(random_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "CENTRE_PX", 96)
    model = random_model({"crop_px": 96})
    said = []
    for modality in ("widefield", "confocal"):
        simulated = simulate_stack(
            model.card.microscope.model_copy(update={"modality": modality, "emitter_depth_um": 2}),
            "filaments",
            shape_yx=(96, 96),
            planes_um=np.arange(24) * 0.5 - 6,
            seed=5,
            phantom_parameters={"thickness_um": 4},
        )
        stack = fluofocus.make_stack(simulated.counts, "ZYX", (0.5, 0.1083, 0.1083))
        look = survey.survey(stack, ())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(survey.warnings, "warn", lambda text, *rest, **more: said.append(text))
            survey.warn_of_sectioning(
                look.centre, stack.coords["Z"].values.tolist(), 0.1083, model.card
            )
        assert len(said) == (modality == "confocal")
    assert "optically sectioned" in said[0]
