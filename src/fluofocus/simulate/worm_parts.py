"""A worm whose neurons can be told apart in its volume."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import Microscope
from fluofocus.simulate.drawing import draw_ellipsoids, smooth_noise
from fluofocus.simulate.draws import make_phantom
from fluofocus.simulate.phantoms import Worm
from fluofocus.simulate.specimen import Specimen, SpecimenGrid
from fluofocus.simulate.stack import HALF_DEPTH_UM, THICKEST_SLAB_UM
from fluofocus.units import nm_to_um

_CANDIDATES = 6
"""Neurons drawn for each one that is wanted."""


def worm_of(
    neurons: int,
    microscope: Microscope,
    shape_yx: tuple[int, int],
    planes_um: tuple[float, ...],
    *,
    seed: int,
    parameters: Mapping[str, Any],
    apart_um: float | None = None,
) -> Specimen:
    """Draw a worm of so many neurons, none within another, on slabs to be imaged.

    The phantom `Worm` places nuclei at random, also within each other. Here more are drawn,
    and those that lie too close to one taken before are left out; those taken are drawn as
    balls with the phantom's texture and spread of brightness. The planes' spacing is a
    multiple of the slabs' thickness, so that few defoci occur.

    Parameters
    ----------
    parameters
        Fields of `Worm`, but for ``neurons``.
    apart_um
        Least distance of two neurons' centres; None for their mean diameter.

    Raises
    ------
    FluoFocusError
        If the phantom `Worm` does not take the parameters, or has no room for the neurons.
    """
    depth_of_field_um = (
        microscope.immersion_index
        * nm_to_um(microscope.emission_wavelength_nm)
        / microscope.numerical_aperture**2
    )
    slab_um = min(THICKEST_SLAB_UM, depth_of_field_um / 2)
    if len(planes_um) > 1:
        spacing_um = float(np.diff(planes_um).min())
        slab_um = spacing_um / math.ceil(spacing_um / slab_um - 1e-6)
    count = math.ceil(HALF_DEPTH_UM / slab_um)
    depths = tuple(planes_um[0] % slab_um + slab_um * index for index in range(-count, count + 1))
    grid = SpecimenGrid(shape_yx, microscope.pixel_size_um, depths)
    generator = torch.Generator().manual_seed(seed)
    worm = Worm.model_validate(
        make_phantom("worm", {**parameters, "neurons": _CANDIDATES * neurons}).model_dump()
    )
    # On one slab: only where the neurons lie is wanted, not their light.
    places = replace(grid, depths_um=(0.0,), oversampling=1)
    candidates = list(worm.draw(places, generator).truth)
    truth = _apart(candidates, neurons, worm.diameter_um if apart_um is None else apart_um)
    return _balls(worm, grid, truth, generator)


def _apart(
    candidates: list[dict[str, Any]], neurons: int, apart_um: float
) -> tuple[dict[str, Any], ...]:
    """Take neurons of which none is too close to another, as many of each part as `Worm` has."""
    in_head = sum(index * 3 // neurons < 2 for index in range(neurons))
    taken: list[dict[str, Any]] = []
    places = np.empty((0, 3))
    for group, wanted in (("head", in_head), ("body", neurons - in_head)):
        start = len(taken)
        for neuron in (each for each in candidates if each["group"] == group):
            place = np.array([neuron["z_um"], neuron["y_um"], neuron["x_um"]])
            if len(taken) - start == wanted:
                break
            if not len(places) or np.linalg.norm(places - place, axis=1).min() >= apart_um:
                places = np.vstack([places, place])
                taken.append({**neuron, "id": len(taken)})
        if len(taken) - start < wanted:
            raise FluoFocusError(
                f"The worm's {group} has no room for {wanted} neurons {apart_um:g} µm apart: ask "
                "for fewer, or for a longer field or a thicker body."
            )
    return tuple(taken)


def _balls(
    worm: Worm, grid: SpecimenGrid, truth: tuple[dict[str, Any], ...], generator: torch.Generator
) -> Specimen:
    """Draw the neurons of a list as balls."""
    centres = torch.tensor([[n["z_um"], n["y_um"], n["x_um"]] for n in truth])
    radii = torch.tensor([n["diameter_um"] / 2 for n in truth])
    brightness = torch.exp(worm.brightness_spread * torch.randn(len(truth), generator=generator))
    volume = grid.empty_volume()
    slabs, height, width = volume.shape
    scale = (0.5 / grid.depth_step_um, 0.3 / grid.spacing_um, 0.3 / grid.spacing_um)
    texture = 1 + worm.texture * smooth_noise((slabs, height, width), scale, generator)
    draw_ellipsoids(
        volume,
        grid,
        centres,
        radii[:, None].expand(-1, 3),
        brightness * radii**3,
        texture=texture.clamp(min=0),
    )
    return Specimen(grid, volume=volume, truth=truth)


def nearest_neuron(specimen: Specimen) -> Tensor:
    """Return for each voxel the neuron whose centre is nearest; light of one is only there."""
    grid, volume = specimen.grid, specimen.volume
    if volume is None or not specimen.truth:
        raise FluoFocusError("The specimen has no neurons: raise their number.")
    height, width = grid.extent_yx_um
    centres = np.array([[n["z_um"], n["y_um"] % height, n["x_um"] % width] for n in specimen.truth])
    centres[:, 0] -= grid.depths_um[0]
    centres[:, 0] = centres[:, 0].clip(0)
    bright = torch.nonzero(volume)
    step = np.array([grid.depth_step_um, grid.spacing_um, grid.spacing_um])
    box = np.array([0.0, height, width])  # periodic in y and x
    _, nearest = cKDTree(centres, boxsize=box).query(bright.numpy() * step)
    part = torch.zeros(volume.shape, dtype=torch.long)
    part[tuple(bright.T)] = torch.as_tensor(nearest)
    return part
