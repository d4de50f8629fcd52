"""Pairs of stacks from a dataset of two modalities that `fluofocus prepare` made."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fluofocus.data.planes import mixture
from fluofocus.data.prepared import open_regions
from fluofocus.data.stack_pairs import StackPatches, cut_patch
from fluofocus.data.stream import PairStream
from fluofocus.errors import FluoFocusError
from fluofocus.prepare.dataset import read_manifest, read_region
from fluofocus.prepare.manifest import RegionRecord
from fluofocus.prepare.normalise import normalisation_from_stack
from fluofocus.units import AnyArray, FloatArray

_REGIONS_IN_MEMORY = 64


class StackPreparedConfig(StackPatches):
    """A dataset of `fluofocus prepare` with targets, and how patches are cut from it.

    Planes of both modalities are interpolated to common positions ``z_step_um`` apart.
    """

    dataset: str


class PreparedStackPairs(PairStream):
    """Measured stacks of two modalities, of one split of a dataset.

    Batches hold ``input`` and ``target``, ``(B, 1, Z, Y, X)``, each normalised by the whole stack
    of its region.
    """

    def __init__(
        self, config: StackPreparedConfig, pixel_size_um: float, *, held_out: bool, **position: int
    ) -> None:
        super().__init__(**position)
        self.config = config
        self.pixel_size_um = pixel_size_um
        self.held_out = held_out

    def source(self, seed: int) -> PreparedStackSource:
        """Open the dataset."""
        return PreparedStackSource(self.config, self.pixel_size_um, seed, held_out=self.held_out)


@dataclass(frozen=True)
class _Stacks:
    input: FloatArray
    target: FloatArray


class PreparedStackSource:
    """Pairs by number: region, planes and place are drawn with its seed.

    Raises
    ------
    FluoFocusError
        If the dataset cannot be read, has no targets or other pixels, or no region of the split
        is large enough.
    """

    def __init__(
        self, config: StackPreparedConfig, pixel_size_um: float, seed: int, *, held_out: bool
    ) -> None:
        self.config = config
        self.seed = seed
        if not read_manifest(config.dataset).has_targets:
            raise FluoFocusError(
                f"{config.dataset} has inputs only, and a network of stacks needs targets: prepare "
                "it with --target."
            )
        regions = open_regions(config.dataset, config.crop_px, pixel_size_um, held_out=held_out)
        self._regions = [
            region
            for region in regions
            if len(_common_um(region, config.z_step_um)) >= config.planes
        ]
        if not self._regions:
            raise FluoFocusError(
                f"No region of {config.dataset} has {config.planes} planes of both modalities "
                f"{config.z_step_um:g} µm apart: lower planes, or correct z_step_um."
            )
        self._stacks = functools.lru_cache(_REGIONS_IN_MEMORY)(self._read)

    def pair(self, number: int, inputs: int = 1) -> dict[str, Tensor]:
        """Return one patch of a stack and of its target (see `PreparedStackPairs`)."""
        choice = random.Random(
            int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        )
        stacks = self._stacks(choice.randrange(len(self._regions)))
        return cut_patch(stacks.input, stacks.target, self.config, choice)

    def _read(self, index: int) -> _Stacks:
        region = self._regions[index]
        stored = read_region(self.config.dataset, region.name)
        wanted_um = _common_um(region, self.config.z_step_um)
        return _Stacks(
            _normalised_at(stored["input"], region.z_um, wanted_um),
            _normalised_at(stored["target"], region.target_z_um, wanted_um),
        )


def _common_um(region: RegionRecord, z_step_um: float) -> list[float]:
    """Return positions that both modalities reach, the first being a plane of the input."""
    low = max(region.z_um[0], region.target_z_um[0])
    high = min(region.z_um[-1], region.target_z_um[-1])
    first = min((z for z in region.z_um if z >= low - 1e-6), default=high + 1)
    count = int((high - first) / z_step_um + 1e-3) + 1 if high >= first else 0
    return [first + index * z_step_um for index in range(count)]


def _normalised_at(stack: AnyArray, recorded_um: list[float], wanted_um: list[float]) -> FloatArray:
    made = mixture(wanted_um, recorded_um)
    whole = slice(0, len(wanted_um))
    planes = made.mix(stack[made.needed(whole)], whole)
    return np.asarray(normalisation_from_stack(planes).apply(planes), np.float32)
