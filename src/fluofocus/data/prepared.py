"""Training pairs drawn from a dataset that `fluofocus prepare` made of measured focus scans."""

from __future__ import annotations

import functools
import random
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fluofocus.data.stream import PairStream
from fluofocus.errors import FluoFocusError
from fluofocus.optics.description import PARAMETERS
from fluofocus.prepare.dataset import read_manifest, read_region
from fluofocus.prepare.manifest import RegionRecord
from fluofocus.prepare.normalise import Normalisation, common_normalisation
from fluofocus.prepare.turns import turned

_PIXEL_TOLERANCE = 0.02
_REGIONS_IN_MEMORY = 128
_DRAWS = 100


class PreparedConfig(BaseModel):
    """A dataset of `fluofocus prepare`, and how pairs are drawn from its regions.

    Input and targets lie at most ``defocus_um`` apart. A field has up to ``input_planes``
    inputs. ``normalisation`` by ``image`` is by each input plane itself, as in inference;
    by ``stack`` it is one for all planes, as Deep-Z was trained.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    defocus_um: Annotated[float, Field(gt=0)] = 10.0
    crop_px: Annotated[int, Field(ge=16)] = 128
    targets_per_image: Annotated[int, Field(ge=1)] = 4
    input_planes: Annotated[int, Field(ge=1)] = 1
    normalisation: Literal["image", "stack"] = "image"
    flips_and_rotations: bool = True


class PreparedPairs(PairStream):
    """Measured inputs and measured targets of one split of a dataset (see `PairStream`)."""

    def __init__(
        self, config: PreparedConfig, pixel_size_um: float, *, held_out: bool, **position: int
    ) -> None:
        super().__init__(most_inputs=config.input_planes, **position)
        self.config = config
        self.pixel_size_um = pixel_size_um
        self.held_out = held_out

    def source(self, seed: int) -> PreparedSource:
        """Open the dataset."""
        return PreparedSource(self.config, self.pixel_size_um, seed, held_out=self.held_out)


class PreparedSource:
    """Training pairs by number: region, crop, input and target planes are drawn with its seed.

    Raises
    ------
    FluoFocusError
        If the dataset cannot be read, has other pixels than the model is to have, or no
        region of the split that fits.
    """

    def __init__(
        self, config: PreparedConfig, pixel_size_um: float, seed: int, *, held_out: bool
    ) -> None:
        self.config = config
        self.seed = seed
        self._regions = open_regions(
            config.dataset, config.crop_px, pixel_size_um, held_out=held_out
        )
        self._read = functools.lru_cache(_REGIONS_IN_MEMORY)(
            functools.partial(read_region, config.dataset)
        )

    def pair(self, number: int, inputs: int = 1) -> dict[str, Tensor]:
        """Return one field with its targets (see `PairStream`)."""
        config = self.config
        choice = random.Random(
            int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        )
        region, chosen, targets = self._planes(choice, inputs)
        stacks = self._read(region.name)
        side = stacks["input"].shape[-1]
        row, column = (choice.randint(0, side - config.crop_px) for _ in range(2))
        crop = (slice(row, row + config.crop_px), slice(column, column + config.crop_px))
        normalisation = self._normalisation(region, chosen)
        planes = {
            "image": stacks["input"][(chosen, *crop)],
            "target": stacks.get("target", stacks["input"])[(targets, *crop)],
        }
        if "target" in stacks:
            heights = np.asarray(region.z_um)
            nearest = [int(np.abs(heights - region.target_z_um[i]).argmin()) for i in targets]
            planes["refocused"] = stacks["input"][(nearest, *crop)]
        pair = {
            key: normalisation.apply(torch.from_numpy(images.astype(np.float32)))
            for key, images in planes.items()
        }
        if config.flips_and_rotations:
            turn = choice.randrange(4), choice.random() < 0.5
            pair = {key: turned(images, *turn) for key, images in pair.items()}
        z_um, target_z_um = torch.tensor(region.z_um), torch.tensor(region.target_z_um)
        distances = target_z_um[targets] - z_um[chosen][:, None]
        return pair | {"dpm_um": distances, "optics": torch.zeros(PARAMETERS)}

    def _planes(
        self, choice: random.Random, inputs: int
    ) -> tuple[RegionRecord, list[int], list[int]]:
        """Draw a region, its input planes, and target planes within reach of all of them."""
        reach = self.config.defocus_um + 1e-6
        for _ in range(_DRAWS):
            region = choice.choice(self._regions)
            first = choice.choice(region.z_um)
            near = [i for i, z in enumerate(region.z_um) if abs(z - first) <= reach]
            chosen = [region.z_um.index(first), *(choice.choice(near) for _ in range(inputs - 1))]
            heights = [region.z_um[plane] for plane in chosen]
            targets = [
                index
                for index, z in enumerate(region.target_z_um)
                if max(heights) - reach <= z <= min(heights) + reach
            ]
            if targets:
                return region, chosen, choice.choices(targets, k=self.config.targets_per_image)
        raise FluoFocusError(
            f"{self.config.dataset} has hardly a target within "
            f"{self.config.defocus_um:g} µm of its inputs: raise defocus_um."
        )

    def _normalisation(self, region: RegionRecord, planes: list[int]) -> Normalisation:
        if self.config.normalisation == "stack":
            return Normalisation(background=0.0, scale=1.0)
        return common_normalisation(
            [
                Normalisation(region.planes_background[plane], region.planes_scale[plane])
                for plane in planes
            ]
        )


def open_regions(
    dataset: str, crop_px: int, pixel_size_um: float, *, held_out: bool
) -> list[RegionRecord]:
    """Return the regions of one split of a dataset.

    Raises
    ------
    FluoFocusError
        If the dataset cannot be read, has other pixels than the model is to have, or no
        region of the split that fits.
    """
    manifest = read_manifest(dataset)
    if abs(manifest.pixel_size_um / pixel_size_um - 1) > _PIXEL_TOLERANCE:
        raise FluoFocusError(
            f"The pixels of {dataset} are {manifest.pixel_size_um:.4g} µm but the "
            f"microscope's {pixel_size_um:g} µm: correct the one or the other."
        )
    if crop_px > manifest.config.region_px:
        raise FluoFocusError(
            f"The regions of {dataset} have {manifest.config.region_px} pixels, fewer "
            f"than crop_px {crop_px}: lower crop_px."
        )
    regions = manifest.regions("validation" if held_out else "training")
    if not regions:
        what = "validate" if held_out else "train"
        raise FluoFocusError(
            f"{dataset} has no region to {what} on: prepare more fields, or change "
            "validation_share."
        )
    return regions
