"""What is changed in the sweeps of `robustness`, one thing at a time, and what was trained."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from fluofocus.models.bundle import ModelCard
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.optics.pupil import spherical_rms_waves
from fluofocus.simulate.draws import OpticsDraws

DISTANCES_UM = (2.0, 5.0, 10.0)
MICROSCOPE = "olympus-20x-0.75"
OBJECTIVES = ("20x/0.75", "20x/0.5", "10x/0.4", "40x/1.3 oil")
TRAINED_PER_1000_UM2 = {"air20x-beads": (0.7, 8.0), "air20x-nuclei": (4.0, 50.0)}
"""Objects per area that the shipped models were trained on, which their cards do not say."""

_MICROSCOPES_DRAWN = 100
_DRAWING_SEED = 7

Range = tuple[float, float]


@dataclass(frozen=True)
class Light:
    """What sends light to the camera: optics, how crowded the specimen is, and how it is lit.

    ``count_per_1000_um2`` is None for what the specimen has as a rule; ``shading`` is the share
    of the excitation that is lacking where it is weakest.
    """

    microscope: Microscope
    count_per_1000_um2: float | None = None
    shading: float = 0.0


@dataclass(frozen=True)
class Exposure:
    """Photons of the specimen at its brightest pixel, and of the background."""

    peak_photons: float = 2000.0
    background_photons: float = 10.0


@dataclass(frozen=True)
class Scene:
    """Light, its exposure, and how far from focus images are taken."""

    light: Light
    exposure: Exposure = Exposure()
    distances_um: tuple[float, ...] = DISTANCES_UM


@dataclass(frozen=True)
class Sweep:
    """One thing that is changed, and how.

    ``change`` makes the scene of one value from the base; random parts come from the generator,
    which starts alike for each value. ``is_told`` is whether models are also told the optics.
    """

    title: str
    axis: str
    values: tuple[float, ...]
    base: float
    change: Callable[[Scene, float, torch.Generator], Scene]
    is_logarithmic: bool = False
    is_told: bool = False
    labels: tuple[str, ...] = ()

    def label(self, value: float) -> str:
        """Return a value as tables name it."""
        return self.labels[self.values.index(value)] if self.labels else f"{value:g}"


def base_scene() -> Scene:
    """Return what is changed one thing at a time."""
    return Scene(Light(preset(MICROSCOPE)))


def _with_microscope(scene: Scene, microscope: Microscope) -> Scene:
    return replace(scene, light=replace(scene.light, microscope=microscope))


def _photons(scene: Scene, value: float, generator: torch.Generator) -> Scene:
    return replace(scene, exposure=replace(scene.exposure, peak_photons=value))


def _exposure(scene: Scene, value: float, generator: torch.Generator) -> Scene:
    longer = value / scene.exposure.peak_photons
    return replace(scene, exposure=Exposure(value, longer * scene.exposure.background_photons))


def _density(scene: Scene, value: float, generator: torch.Generator) -> Scene:
    return replace(scene, light=replace(scene.light, count_per_1000_um2=value))


def _shading(scene: Scene, value: float, generator: torch.Generator) -> Scene:
    return replace(scene, light=replace(scene.light, shading=value))


def _spherical(scene: Scene, value: float, generator: torch.Generator) -> Scene:
    microscope = scene.light.microscope
    waves = dict(microscope.zernike_rms_waves)
    waves[11] = waves.get(11, 0.0) + value - spherical_rms_waves(microscope)
    changed = microscope.model_copy(update={"zernike_rms_waves": waves})
    return _with_microscope(scene, changed)


def _other_zernikes(scene: Scene, value: float, generator: torch.Generator) -> Scene:
    draws = OpticsDraws(other_zernike_rms_waves=value)
    return _with_microscope(scene, draws.draw(scene.light.microscope, generator))


def _aperture(scene: Scene, value: float, generator: torch.Generator) -> Scene:
    aperture = scene.light.microscope.numerical_aperture * value
    changed = scene.light.microscope.model_copy(update={"numerical_aperture": aperture})
    return _with_microscope(scene, changed)


def _objective(scene: Scene, value: float, generator: torch.Generator) -> Scene:
    base = scene.light.microscope
    low = {"name": "Olympus 20x/0.5 air", "numerical_aperture": 0.5}
    wide = {
        "name": "Olympus 10x/0.4 air",
        "numerical_aperture": 0.4,
        "magnification": 10.0,
        "pixel_size_um": 2 * base.pixel_size_um,
    }
    objectives = (
        base,
        base.model_copy(update=low),
        base.model_copy(update=wide),
        preset("leica-40x-1.3-oil"),
    )
    return _with_microscope(scene, objectives[int(value)])


def _distance(scene: Scene, value: float, generator: torch.Generator) -> Scene:
    return replace(scene, distances_um=(value,))


_PHOTONS = (30.0, 100.0, 300.0, 1000.0, 2000.0, 8000.0, 30000.0)

SWEEPS = {
    "photons": Sweep(
        "brightness of the specimen", "photons at the peak", _PHOTONS, 2000.0, _photons, True
    ),
    "exposure": Sweep("exposure", "photons at the peak", _PHOTONS, 2000.0, _exposure, True),
    "density": Sweep(
        "crowding",
        "objects per 1000 µm²",
        (0.5, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0),
        2.0,
        _density,
        True,
    ),
    "shading": Sweep(
        "uneven excitation", "share lacking at the rim", (0.0, 0.3, 0.6, 0.8, 0.9), 0.0, _shading
    ),
    "spherical": Sweep(
        "spherical aberration",
        "Noll 11 (waves rms)",
        (-0.3, -0.15, 0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5),
        0.15,
        _spherical,
        is_told=True,
    ),
    "other Zernikes": Sweep(
        "other aberrations",
        "each of Noll 5–22 (waves rms)",
        (0.0, 0.02, 0.04, 0.06, 0.1),
        0.0,
        _other_zernikes,
        is_told=True,
    ),
    "aperture": Sweep(
        "numerical aperture",
        "NA ÷ that of the training",
        (0.6, 0.8, 0.9, 1.0, 1.1, 1.2),
        1.0,
        _aperture,
        is_told=True,
    ),
    "objective": Sweep(
        "another objective",
        "objective",
        (0.0, 1.0, 2.0, 3.0),
        0.0,
        _objective,
        labels=OBJECTIVES,
    ),
    "distance": Sweep(
        "distance",
        "distance (µm)",
        (1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 11.0, 12.0, 14.0, 16.0, 20.0),
        2.0,
        _distance,
    ),
}


def trained_ranges(card: ModelCard) -> dict[str, Range]:
    """Return the range of each sweep that a model was trained on, as far as its card says."""
    low, high = card.training.defocus_um
    ranges: dict[str, Range] = {"distance": (0.0, min(-low, high))}
    if card.training.peak_photons is not None:
        ranges |= dict.fromkeys(("photons", "exposure"), card.training.peak_photons)
    if card.name in TRAINED_PER_1000_UM2:
        ranges["density"] = TRAINED_PER_1000_UM2[card.name]
    draws = _optics_draws(card)
    ranges["other Zernikes"] = (0.0, draws.other_zernike_rms_waves)
    ranges["aperture"] = draws.relative_numerical_aperture
    generator = torch.Generator().manual_seed(_DRAWING_SEED)
    waves = [
        spherical_rms_waves(draws.draw(card.microscope, generator))
        for _ in range(_MICROSCOPES_DRAWN)
    ]
    ranges["spherical"] = (min(waves), max(waves))
    return ranges


def _optics_draws(card: ModelCard) -> OpticsDraws:
    """Read from a card how its microscopes were drawn; not at all where it does not say."""
    found: dict[str, float | Range] = {}
    for name in OpticsDraws.model_fields:
        stated = re.search(rf"{name} (-?[\d.e-]*\d)(?: to (-?[\d.e-]*\d))?", card.data)
        if stated is not None:
            low, high = stated.groups()
            found[name] = float(low) if high is None else (float(low), float(high))
    return OpticsDraws.model_validate(found)
