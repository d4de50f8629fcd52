"""Pairs of images of one specimen by two microscopes, with the transform between them known."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates
from torch import Tensor

from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import point_spread_function
from fluofocus.prepare.fusion import fuse
from fluofocus.simulate.image_formation import ImageFormation
from fluofocus.simulate.phantoms import Cells, Filaments, Nuclei, Phantom
from fluofocus.simulate.specimen import SpecimenGrid
from fluofocus.units import FloatArray

Array = npt.NDArray[np.float64]

WIDEFIELD = Microscope(
    name="60x/1.4 oil",
    numerical_aperture=1.4,
    emission_wavelength_nm=525,
    excitation_wavelength_nm=488,
    pixel_size_um=0.108,
    immersion_index=1.515,
    sample_index=1.515,
    psf_model="scalar",
)
CONFOCAL = WIDEFIELD.model_copy(update={"modality": "confocal"})

STEP_UM = 0.5
SLABS_PER_STEP = 2
MARGIN_PX = 16  # simulated beyond the field, because the simulation wraps around
READ_NOISE = 1.5
BACKGROUND_PHOTONS = 5.0


@dataclass(frozen=True)
class Pair:
    """Two recordings, and where each point of the fixed one is in the moving one."""

    moving: FloatArray
    fixed: FloatArray
    matrix: Array
    shift_z: float = 0.0


@dataclass(frozen=True)
class Sample:
    """A kind of specimen and how light spreads in it.

    ``haze`` is the share of wide-field light that is scattered far away at the bottom and at
    the top plane; ``attenuation_um`` the depth over which light of either modality falls to 1/e.
    """

    phantoms: tuple[Phantom, ...]
    planes: int
    haze: tuple[float, float] = (0.0, 0.0)
    attenuation_um: float = math.inf
    widefield_photons: float = 400.0
    confocal_photons: float = 60.0


THIN = Sample(
    (Filaments(thickness_um=3.0, length_per_1000_um2_um=1200.0, flatness=0.1), Cells(height_um=3)),
    planes=20,
)
THICK = Sample(
    (
        Filaments(thickness_um=26.0, length_per_1000_um2_um=5000.0, flatness=0.6),
        Nuclei(thickness_um=26.0, count_per_1000_um2=30.0, diameter_um=4.0),
    ),
    planes=40,
    haze=(0.3, 0.8),
    attenuation_um=15.0,
    widefield_photons=300.0,
    confocal_photons=40.0,
)

DIM = replace(THICK, widefield_photons=100.0, confocal_photons=12.0)


def volume_pair(
    sample: Sample,
    seed: int,
    *,
    side_px: int = 160,
    shift_zyx: Sequence[float] | None = None,
    optics: tuple[Microscope, Microscope] = (WIDEFIELD, CONFOCAL),
) -> Pair:
    """Simulate a wide-field (fixed) and a confocal (moving) stack, moved exactly.

    The specimen's spectrum is multiplied by both transfer functions and, for the confocal
    stack, by the phase of the shift: up to 4 planes and 6 px, fractions and all.
    """
    generator = torch.Generator().manual_seed(seed)
    if shift_zyx is None:
        draw = 2 * torch.rand(3, generator=generator) - 1
        shift_zyx = (draw * torch.tensor([4, 6, 6])).tolist()
    slabs = (sample.planes + 20) * SLABS_PER_STEP
    side = side_px + 2 * MARGIN_PX
    spectrum = _specimen_spectrum(sample.phantoms, (slabs, side, side), generator)
    stacks = []
    for microscope, shift in zip(optics, ((0, 0, 0), shift_zyx), strict=True):
        moved = spectrum * _transfer(microscope, (slabs, side, side))
        moved *= _phase((shift[0] * SLABS_PER_STEP, shift[1], shift[2]), (slabs, side, side))
        whole = torch.fft.irfftn(moved, s=(slabs, side, side)).clamp(min=0)
        inner = whole[:, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
        first = 10 * SLABS_PER_STEP
        stacks.append(inner[first : slabs - first : SLABS_PER_STEP])
    matrix = np.eye(3)
    matrix[:2, 2] = shift_zyx[1:]
    fixed, moving = _scattered(stacks[0], sample), _attenuated(stacks[1], sample)
    return Pair(
        moving=_exposed(moving, sample.confocal_photons, generator),
        fixed=_exposed(fixed, sample.widefield_photons, generator),
        matrix=matrix,
        shift_z=float(shift_zyx[0]),
    )


def _specimen_spectrum(
    phantoms: tuple[Phantom, ...], shape: tuple[int, int, int], generator: torch.Generator
) -> Tensor:
    """Return the spectrum of all phantoms together, of equal light each."""
    slab_um = STEP_UM / SLABS_PER_STEP
    depths = tuple((index - shape[0] // 2) * slab_um for index in range(shape[0]))
    grid = SpecimenGrid(shape[1:], WIDEFIELD.pixel_size_um, depths, oversampling=1)
    volume = grid.empty_volume()
    for phantom in phantoms:
        drawn = phantom.draw(grid, generator).volume
        assert drawn is not None
        volume += drawn / drawn.sum()
    spectrum: Tensor = torch.fft.rfftn(volume)
    return spectrum


def _transfer(microscope: Microscope, shape: tuple[int, int, int]) -> Tensor:
    return _cached_transfer(microscope.model_dump_json(), shape)


@functools.cache
def _cached_transfer(content: str, shape: tuple[int, int, int]) -> Tensor:
    microscope = Microscope.model_validate_json(content)
    defocus_um = torch.fft.fftfreq(shape[0], 1 / shape[0]) * STEP_UM / SLABS_PER_STEP
    psf = point_spread_function(microscope, defocus_um, shape[1:])
    transfer: Tensor = torch.fft.rfftn(torch.fft.ifftshift(psf, dim=(1, 2)))
    return transfer


def _phase(shift: Sequence[float], shape: tuple[int, int, int]) -> Tensor:
    """Return what moves an image by ``shift`` samples when its spectrum is multiplied by it."""
    phase = torch.zeros(1)
    for axis, (samples, size) in enumerate(zip(shift, shape, strict=True)):
        frequency = torch.fft.rfftfreq(size) if axis == 2 else torch.fft.fftfreq(size)
        phase = phase + (samples * frequency).view([-1 if i == axis else 1 for i in range(3)])
    return torch.exp(-2j * math.pi * phase)


def _attenuated(photons: Tensor, sample: Sample) -> Tensor:
    depth_um = torch.arange(len(photons)) * STEP_UM
    return photons * torch.exp(-depth_um / sample.attenuation_um)[:, None, None]


def _scattered(photons: Tensor, sample: Sample) -> Tensor:
    """Lose contrast with depth: a growing share of the light comes from far around."""
    if max(sample.haze) == 0:
        return _attenuated(photons, sample)
    spread = gaussian_filter(photons.numpy(), (0, 40, 40), mode="nearest", truncate=2)
    spread = torch.from_numpy(gaussian_filter1d(spread, 4, axis=0, mode="nearest"))
    share = torch.linspace(*sample.haze, len(photons))[:, None, None]
    return _attenuated((1 - share) * photons + 1.5 * share * spread, sample)


def _exposed(photons: Tensor, peak_photons: float, generator: torch.Generator) -> FloatArray:
    peak = float(photons.flatten()[:: max(1, photons.numel() // 100_000)].quantile(0.999))
    mean = photons * (peak_photons / peak) + BACKGROUND_PHOTONS
    counts = torch.poisson(mean, generator=generator)
    noise = torch.randn(counts.shape, generator=generator)
    return (counts + READ_NOISE * noise).round().numpy()


@functools.lru_cache(maxsize=2)
def fused_images(seed: int, side_px: int) -> tuple[Tensor, Tensor]:
    """Image one thin specimen in three planes and fuse them: wide-field, then confocal."""
    side = side_px + 4 * MARGIN_PX
    depths = tuple(0.25 * index for index in range(-7, 8))
    grid = SpecimenGrid((side, side), WIDEFIELD.pixel_size_um, depths, oversampling=1)
    generator = torch.Generator().manual_seed(seed)
    phantom = THIN.phantoms[seed % 2]
    specimen = phantom.draw(grid, generator)
    planes = torch.tensor([-0.75, 0.0, 0.75])
    wide, confocal = (
        fuse(ImageFormation(microscope, grid, planes)(specimen).numpy()).image
        for microscope in (WIDEFIELD, CONFOCAL)
    )
    return torch.from_numpy(wide), torch.from_numpy(confocal)


def image_pair(seed: int, *, side_px: int, specimen_seed: int, coarse: bool) -> Pair:
    """Warp a fused confocal image against the wide-field one of the same specimen.

    Parameters
    ----------
    coarse
        Whether the two have still to be brought together (shift up to 24 px, turn to 4
        degrees, scale to 4 %, perspective to 6 px at the corner) or only to be refined
        (4 px, 0.5 degrees, 0.5 %).
    """
    rng = np.random.default_rng(seed)
    wide, confocal = fused_images(specimen_seed, 1024)
    reach = confocal.shape[0] - side_px
    top, left = (reach // 2, reach // 2) if side_px == 1024 else rng.integers(40, reach - 40, 2)
    matrix = _random_projective(rng, side_px, coarse)
    grid = np.indices((side_px, side_px), dtype=float)
    # moving(q) shows what fixed has at the inverse of q
    inverse = np.asarray(np.linalg.inv(matrix), float)
    source = mapped(inverse, grid.reshape(2, -1).T).T.reshape(grid.shape)
    origin = np.array([top, left])[:, None, None]
    warped = map_coordinates(confocal.numpy(), source + origin, order=3, mode="mirror")
    generator = torch.Generator().manual_seed(seed)
    fixed = wide[top : top + side_px, left : left + side_px]
    moving = torch.from_numpy(warped).clamp(min=0).float()
    return Pair(
        moving=_exposed(moving, THIN.confocal_photons, generator),
        fixed=_exposed(fixed, THIN.widefield_photons, generator),
        matrix=matrix,
    )


def _random_projective(rng: np.random.Generator, side_px: int, coarse: bool) -> Array:
    shift, turn, scale, corner = (24, 4, 0.04, 6) if coarse else (4, 0.5, 0.005, 0)
    angle = math.radians(rng.uniform(-turn, turn))
    size = 1 + rng.uniform(-scale, scale)
    cosine, sine = size * math.cos(angle), size * math.sin(angle)
    about_centre = np.eye(3)
    about_centre[:2, :2] = [[cosine, -sine], [sine, cosine]]
    about_centre[:2, 2] = rng.uniform(-shift, shift, 2)
    about_centre[2, :2] = rng.uniform(-corner, corner, 2) / (side_px / 2) ** 2
    centre = np.eye(3)
    centre[:2, 2] = (side_px - 1) / 2
    return np.asarray(centre @ about_centre @ np.linalg.inv(centre))


def mapped(matrix: Array, points_yx: Array) -> Array:
    """Apply a projective matrix to points ``(N, 2)``."""
    lifted = np.c_[points_yx, np.ones(len(points_yx))] @ matrix.T
    return np.asarray(lifted[:, :2] / lifted[:, 2:])


def helix_pair(seed: int, *, side_px: int = 1024, beads: int = 400) -> Pair:
    """Draw beads with two lobes each (fixed) and the same beads sharp (moving), shifted."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, side_px, (beads, 2))
    light = rng.lognormal(0, 0.5, beads)
    shift = rng.uniform(-12, 12, 2)
    angle, apart_px = rng.uniform(0, np.pi), rng.uniform(8, 16)
    lobe = apart_px / 2 * np.array([math.sin(angle), math.cos(angle)])
    helix = spots(centres - lobe, light, 1.8, side_px) + spots(
        centres + lobe, rng.uniform(0.8, 1.25) * light, 1.8, side_px
    )
    sharp = spots(centres + shift, light, 1.2, side_px)
    matrix = np.eye(3)
    matrix[:2, 2] = shift
    generator = torch.Generator().manual_seed(seed)
    return Pair(
        moving=_exposed(torch.from_numpy(sharp), 40.0, generator),
        fixed=_exposed(torch.from_numpy(helix), 30.0, generator),
        matrix=matrix,
    )


def spots(centres: Array, light: Array, sigma_px: float, side_px: int) -> FloatArray:
    """Draw Gaussian spots at exact positions."""
    image = np.zeros((side_px, side_px), dtype=np.float32)
    reach = math.ceil(5 * sigma_px)
    for (y, x), photons in zip(centres, light, strict=True):
        rows = np.arange(max(0, round(y) - reach), min(side_px, round(y) + reach + 1))
        columns = np.arange(max(0, round(x) - reach), min(side_px, round(x) + reach + 1))
        along_y = np.exp(-((rows - y) ** 2) / (2 * sigma_px**2))
        along_x = np.exp(-((columns - x) ** 2) / (2 * sigma_px**2))
        if len(rows) and len(columns):
            image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += np.outer(
                photons * along_y, along_x
            )
    return image
