"""The brain slice: as dense, as thick and as stained as asked for."""

import pytest
import torch

from fluofocus.simulate.brain_slice import BrainSlice
from fluofocus.simulate.specimen import Specimen, SpecimenGrid

GRID = SpecimenGrid((96, 96), 0.4, tuple(0.5 * slab for slab in range(-20, 21)), oversampling=1)


def drawn(seed: int = 0, **parameters: object) -> Specimen:
    slice_of_brain = BrainSlice.model_validate({"thickness_um": 16.0} | parameters)
    return slice_of_brain.draw(GRID, torch.Generator().manual_seed(seed))


def kinds(specimen: Specimen) -> list[str]:
    return [entry["kind"] for entry in specimen.truth]


def test_densities_are_those_asked_for() -> None:
    volume_um3 = 38.4**2 * (16 + 11)
    counts = [kinds(drawn(seed, neurons_per_1e6_um3=400.0)).count("neuron") for seed in range(12)]
    assert sum(counts) / 12 == pytest.approx(400 * volume_um3 / 1e6, rel=0.2)
    assert "neuron" not in kinds(drawn(neurons_per_1e6_um3=0.0))


def test_bodies_do_not_overlap() -> None:
    truth = drawn(neurons_per_1e6_um3=800.0).truth
    places = torch.tensor([[cell["z_um"], cell["y_um"], cell["x_um"]] for cell in truth])
    between = (places[:, None] - places).abs()
    between[..., 1:] = between[..., 1:].minimum(38.4 - between[..., 1:])
    radii = torch.tensor([cell["diameter_um"] / 2 for cell in truth])
    gaps = between.norm(dim=-1) - radii[:, None] - radii + 1e6 * torch.eye(len(truth))
    assert len(truth) > 10
    assert float(gaps.min()) > -0.01


def test_the_knife_cuts_at_both_surfaces() -> None:
    volume = drawn().volume
    assert volume is not None
    lit = volume.sum(dim=(1, 2)) > 0
    depths = torch.tensor(GRID.depths_um)
    assert lit[depths.abs() <= 8].all()
    assert not lit[depths.abs() > 8].any()


def test_stains_show_the_same_cells() -> None:
    stains = ("cells", "neurons", "microglia", "nuclei")
    parameters = {"neuropil": 0.0, "microglia_per_1e6_um3": 200.0, "neurons_per_1e6_um3": 200.0}
    specimens = {stain: drawn(1, stain=stain, **parameters) for stain in stains}
    light = {stain: specimen.volume for stain, specimen in specimens.items()}
    assert len({specimen.truth[0]["z_um"] for specimen in specimens.values()}) == 1
    both = torch.maximum(light["neurons"], light["microglia"])  # type: ignore[type-var]
    torch.testing.assert_close(light["cells"], both)
    assert float(light["neurons"].sum()) > float(light["microglia"].sum()) > 0  # type: ignore
    bodies = [cell for cell in specimens["nuclei"].truth if abs(cell["z_um"]) < 6]
    for cell in bodies:
        where = GRID.slab_index(torch.tensor(cell["z_um"])), cell["y_um"] / 0.4, cell["x_um"] / 0.4
        assert light["nuclei"][int(where[0]), int(where[1]) % 96, int(where[2]) % 96] > 0  # type: ignore


def test_neuropil_fills_what_is_between() -> None:
    dark, filled = drawn(neuropil=0.0).volume, drawn(neuropil=0.1).volume
    assert dark is not None
    assert filled is not None
    middle = len(GRID.depths_um) // 2
    assert float((dark[middle] > 0).float().mean()) < 0.6
    assert float((filled[middle] > 0).float().mean()) > 0.95


def test_processes_reach_out_of_the_bodies() -> None:
    bare = drawn(neuropil=0.0, dendrites_per_neuron=0, processes_per_microglia=0).volume
    branched = drawn(neuropil=0.0).volume
    assert bare is not None
    assert branched is not None
    assert int((branched > 0).sum()) > 1.1 * int((bare > 0).sum())


def test_the_tissue_is_the_slices() -> None:
    tissue = drawn(scattering_length_um=33.0, anisotropy=0.8).tissue
    assert tissue is not None
    assert (tissue.surface_um, tissue.scattering_length_um, tissue.anisotropy) == (-8.0, 33.0, 0.8)
