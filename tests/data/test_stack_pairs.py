"""Pairs of stacks: a function of seed and number, and every setting has its effect."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fluofocus.data.prepared_stacks import PreparedStackPairs, StackPreparedConfig
from fluofocus.data.simulated_stacks import SimulatedStackPairs, StackSimulationConfig
from fluofocus.errors import FluoFocusError
from fluofocus.io import make_stack, write_stack
from fluofocus.optics.microscope import preset
from fluofocus.prepare.config import PrepareConfig
from fluofocus.prepare.run import prepare_dataset
from fluofocus.simulate.stack import simulate_stack

MICROSCOPE = "olympus-20x-0.75"
BEADS = {"phantom": "beads", "parameters": {"count_per_1000_um2": 60, "surface": "volume"}}
BASE: dict[str, Any] = {
    "phantoms": [BEADS],
    "planes": 4,
    "z_step_um": 1.0,
    "crop_px": 36,
    "field_px": 44,
    "depth_um": [-3.0, 3.0],
    "stacks_in_memory": 2,
    "patches_per_stack": 4,
}
CHANGES: dict[str, Any] = {
    "phantoms": [{"phantom": "nuclei", "parameters": {"count_per_1000_um2": 40}}],
    "optics": {"relative_numerical_aperture": [0.8, 0.8]},
    "planes": 5,
    "z_step_um": 0.8,
    "crop_px": 32,
    "field_px": 48,
    "depth_um": [-2.0, 3.0],
    "peak_photons": [50.0, 50.0],
    "background_photons": [500.0, 500.0],
    "plane_subsampling": [2],
    "flips_and_rotations": False,
    "target_modality": "widefield",
    "patches_per_stack": 1,
    "stacks_in_memory": 3,
    "stacks_per_microscope": 1,
    "oversampling": 1,
    "depth_dependent": True,
    "target_shift_rms_zyx": [1.0, 0.0, 0.0],
}


def _batches(changes: dict[str, Any], count: int = 3, **position: int) -> list[dict[str, Any]]:
    config = StackSimulationConfig.model_validate(BASE | changes)
    position = {"batch_size": 2, "seed": 3} | position
    pairs = SimulatedStackPairs(preset(MICROSCOPE), config, **position)
    return list(itertools.islice(pairs, count))


def _same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    return all(
        a[key].shape == b[key].shape and torch.equal(a[key], b[key])
        for a, b in zip(one, other, strict=True)
        for key in a
    )


def test_batches_are_a_function_of_seed_and_number() -> None:
    batches = _batches({})
    assert batches[0]["input"].shape == batches[0]["target"].shape == (2, 1, 4, 36, 36)
    assert _same(batches[2:], _batches({}, 1, start_batch=2))
    assert not _same(batches, _batches({}, seed=4))


def test_input_and_target_show_the_same_place() -> None:
    (batch,) = _batches({"planes": 7}, 1)
    for seen, wanted in zip(batch["input"], batch["target"], strict=True):
        r = np.corrcoef(seen.ravel(), wanted.ravel())[0, 1]
        turned = np.corrcoef(seen.flip(-1).ravel(), wanted.ravel())[0, 1]
        assert r > 0.4
        assert r > turned + 0.2


def test_targets_are_shifted_as_far_as_asked() -> None:
    changes = {"flips_and_rotations": False, "field_px": 36, "stacks_in_memory": 1}
    changes |= {"planes": 7, "patches_per_stack": 1, "optics": {}}
    straight = _batches(changes, 6)
    shifted = _batches(changes | {"target_shift_rms_zyx": [0.0, 4.0, 0.0]}, 6)
    apart = []
    for one, other in zip(straight, shifted, strict=True):
        for before, after in zip(one["target"], other["target"], strict=True):
            cross = torch.fft.ifft(
                torch.fft.fft(after, dim=2) * torch.fft.fft(before, dim=2).conj(), dim=2
            ).real.sum(dim=(0, 1, 3))
            apart.append((int(cross.argmax()) + 18) % 36 - 18)
    assert 1.5 < np.sqrt(np.mean(np.square(apart))) < 8


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_has_an_effect(field: str) -> None:
    plain = {
        "stacks_per_microscope": {"optics": {"spherical_rms_waves": [0.0, 0.5]}},
        "depth_dependent": {"optics": {"sample_index": [1.4, 1.4], "emitter_depth_um": [9, 9]}},
    }.get(field, {})
    assert not _same(_batches(plain), _batches(plain | {field: CHANGES[field]}))


def test_specimens_in_tissue_are_seen_through_it() -> None:
    slices = {
        "phantoms": [
            {
                "phantom": "brain_slice",
                "parameters": {"thickness_um": 6.0, "scattering_length_um": 40.0},
            }
        ],
        "oversampling": 1,
    }
    clear = {"phantoms": [{"phantom": "brain_slice", "parameters": {"thickness_um": 6.0}}]}
    clear["phantoms"][0]["parameters"]["scattering_length_um"] = None
    (hazy,), (sharp,) = _batches(slices, 1), _batches(slices | clear, 1)
    assert torch.isfinite(hazy["target"]).all()
    assert not torch.allclose(hazy["target"], sharp["target"])


def test_no_field_is_left_out() -> None:
    assert set(CHANGES) == set(StackSimulationConfig.model_fields)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit into field_px"):
        StackSimulationConfig.model_validate(BASE | {"crop_px": 60})
    with pytest.raises(ValueError, match="holds fewer than 12 planes"):
        StackSimulationConfig.model_validate(BASE | {"planes": 12})


def test_confocal_targets_need_an_excitation_wavelength() -> None:
    microscope = preset(MICROSCOPE).model_copy(update={"excitation_wavelength_nm": None})
    config = StackSimulationConfig.model_validate(BASE)
    with pytest.raises(FluoFocusError, match="excitation_wavelength_nm"):
        SimulatedStackPairs(microscope, config, batch_size=1, seed=0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of one field in two modalities, the target's planes twice as dense."""
    folder = tmp_path_factory.mktemp("dataset")
    microscope = preset(MICROSCOPE)
    paths = []
    for modality, step in (("widefield", 1.0), ("confocal", 0.5)):
        planes = np.arange(-4, 4.01, step)
        stack = simulate_stack(
            microscope.model_copy(update={"modality": modality}),
            "beads",
            shape_yx=(240, 100),
            planes_um=planes,
            seed=0,
            phantom_parameters={"count_per_1000_um2": 60, "surface": "volume"},
        )
        paths.append(folder / f"{modality}.ome.tif")
        write_stack(paths[-1], make_stack(stack.counts, "ZYX", (step, 0.325, 0.325), z_um=planes))
    config = PrepareConfig(region_px=96, validation_share=0.45, gap_um=3)
    prepare_dataset(paths[:1], folder / "d.zarr", config, targets=paths[1:])
    return folder / "d.zarr"


def _prepared(dataset: Path, **changes: Any) -> PreparedStackPairs:
    content = {"dataset": str(dataset), "planes": 4, "z_step_um": 1.0, "crop_px": 36} | changes
    config = StackPreparedConfig.model_validate(content)
    return PreparedStackPairs(config, 0.325, held_out=False, batch_size=2, seed=0)


def test_prepared_stacks_are_paired_plane_by_plane(dataset: Path) -> None:
    pairs = _prepared(dataset)
    (batch,) = itertools.islice(pairs, 1)
    (again,) = itertools.islice(_prepared(dataset), 1)
    assert batch["input"].shape == (2, 1, 4, 36, 36)
    assert _same([batch], [again])
    for seen, wanted in zip(batch["input"], batch["target"], strict=True):
        assert np.corrcoef(seen.ravel(), wanted.ravel())[0, 1] > 0.4


def test_too_few_common_planes_are_refused(dataset: Path) -> None:
    with pytest.raises(FluoFocusError, match="lower planes, or correct z_step_um"):
        _prepared(dataset, planes=40).source(0)
