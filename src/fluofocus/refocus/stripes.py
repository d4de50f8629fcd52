"""Stripes in an image's power spectrum, which tell that all of its structures are there twice.

What is asked is how much likelier the spectrum is with a pattern than without, with the power on
each ring of spatial frequencies as it is, and each sample exponentially distributed about its
mean (Whittle's likelihood). So it does not matter how large the structures are, only that they
have no direction in common.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.fft import next_fast_len, rfft2, rfftfreq

from fluofocus.optics.microscope import Microscope
from fluofocus.units import AnyArray, nm_to_um

Array = npt.NDArray[np.float64]
TINY = float(np.finfo(float).tiny)

TILE_UNITS = 98.0
"""Side of the tiles whose spectra are averaged, in finest periods."""

MOST_TILES = 8
"""Tiles along an axis, at most; more tell no more."""

DIRECTIONS = 36
"""Sectors, of half a turn, that are as bright as each other without directions."""

LOWEST_RING = 4
"""Rings of lower frequency, in periods per tile, are left out: they show the background."""


def finest_period_um(microscope: Microscope) -> float:
    """Return the finest period that a microscope sees: wavelength / (2 NA)."""
    return nm_to_um(microscope.emission_wavelength_nm) / (2 * microscope.numerical_aperture)


@dataclass(frozen=True)
class Modes:
    """The spatial frequencies of a square tile, as far as they count.

    One of each pair of opposite ones counts, from `LOWEST_RING` to a share ``band`` of the
    highest frequency that the microscope sees.
    """

    side_px: int
    pixel_um: float
    cutoff_per_um: float
    band: float

    @classmethod
    def of(
        cls, shape_yx: tuple[int, ...], pixel_um: float, microscope: Microscope, band: float
    ) -> Modes:
        """Choose tiles for an image."""
        period_um = finest_period_um(microscope)
        wanted = next_fast_len(round(TILE_UNITS * period_um / pixel_um), real=True)
        return cls(min(wanted, *shape_yx) // 2 * 2, pixel_um, 1 / period_um, band)

    @cached_property
    def frequencies_per_um(self) -> tuple[Array, Array]:
        """Those along y and along x that count, ``(K,)`` each."""
        fy, fx = self._all_per_um
        return fy[self.used], fx[self.used]

    @cached_property
    def used(self) -> npt.NDArray[np.bool_]:
        """Which ones count, ``(n, n // 2 + 1)``."""
        fy, fx = self._all_per_um
        used = (self._ring >= LOWEST_RING) & (np.hypot(fy, fx) < self.band * self.cutoff_per_um)
        return np.asarray(used & ((fx > 0) | (fy > 0)))

    @cached_property
    def _all_per_um(self) -> tuple[Array, Array]:
        fy, fx = np.fft.fftfreq(self.side_px, self.pixel_um), rfftfreq(self.side_px, self.pixel_um)
        return np.repeat(fy[:, None], len(fx), 1), np.repeat(fx[None], len(fy), 0)

    @cached_property
    def _ring(self) -> npt.NDArray[np.int_]:
        field_um = self.side_px * self.pixel_um
        return np.asarray(np.round(np.hypot(*self._all_per_um) * field_um).astype(int))

    def by_ring(self, power: Array) -> tuple[Array, Array]:
        """Return a spectrum relative to its rings' means ``(K,)``, and the signal in the rings.

        That is the share of a ring's power which is not noise. Noise is what there is beyond
        the cutoff, or near it where the pixels are too large.
        """
        count = np.maximum(np.bincount(self._ring.ravel()), 1)
        means = np.bincount(self._ring.ravel(), power.ravel()) / count + TINY
        first_per_um = min(self.cutoff_per_um, 0.9 * 0.5 / self.pixel_um)
        first = round(first_per_um * self.side_px * self.pixel_um) + 1
        noise = float(np.median(means[first : self.side_px // 2 + 1]))
        of_ring = means[self._ring[self.used]]
        return power[self.used] / of_ring, np.clip(1 - noise / of_ring, 0, 1)

    def without_directions(self, relative: Array) -> Array:
        """Make all directions of a spectrum ``(…, K)`` as bright as each other.

        Straight structures brighten a direction from the lowest frequency to the highest; stripes
        do not.
        """
        fy, fx = self.frequencies_per_um
        sector = (np.mod(np.arctan2(fy, fx), np.pi) / np.pi * DIRECTIONS).astype(int) % DIRECTIONS
        of_sector = sector == np.arange(DIRECTIONS)[:, None]
        means = relative @ (of_sector / np.maximum(of_sector.sum(axis=1, keepdims=True), 1)).T
        return np.asarray(relative / (means[..., sector] + TINY))

    def pattern(self, psf: AnyArray) -> Array:
        """Return what structures seen through a point spread function ``(n, n)`` show, ``(K,)``."""
        return self.by_ring(np.abs(rfft2(psf)) ** 2)[0]


@dataclass(frozen=True)
class Spectrum:
    """What an image's power spectrum says of directions.

    Attributes
    ----------
    relative : ndarray (K,)
        Power, in units of the mean of its ring.
    signal : ndarray (K,)
        Share of the ring's power that is not noise.
    """

    relative: Array
    signal: Array

    @classmethod
    def of(cls, image: AnyArray, modes: Modes) -> Spectrum:
        """Average the power spectra of an image's ``(Y, X)`` tiles, each as bright as the others.

        The square root of the counts is taken, in which noise is even and bright structures
        count little more than faint ones.
        """
        powers = _tile_powers(image, modes.side_px)
        energy = powers[:, modes.used].mean(axis=1)
        brightness = energy + np.median(energy) + TINY
        return cls(*modes.by_ring((powers / brightness[:, None, None]).mean(axis=0)))

    def log_odds(self, patterns: Array, contrast: float) -> Array:
        """Return how much likelier patterns ``(P, K)`` are than none, as logarithms ``(P,)``.

        Parameters
        ----------
        contrast
            How clear they should be, 1 for as clear as without any light elsewhere.
        """
        expected = 1 + contrast * self.signal * (patterns - 1)
        return np.asarray((self.relative - self.relative / expected - np.log(expected)).sum(axis=1))


def _tile_powers(image: AnyArray, side: int) -> Array:
    """Return the power spectra of tiles that overlap by half, ``(T, side, side // 2 + 1)``."""
    window = np.outer(*2 * [np.hanning(side)])
    darkest = float(np.percentile(image[::4, ::4], 0.1))
    rows, columns = (_starts(length, side) for length in image.shape)
    powers = []
    for y in rows:
        for x in columns:
            counts = image[y : y + side, x : x + side].astype(float)
            tile = np.sqrt(np.maximum(counts - darkest, 0))
            tile -= (tile * window).sum() / window.sum()
            powers.append(np.abs(rfft2(tile * window)) ** 2)
    return np.array(powers)


def _starts(length: int, side: int) -> list[int]:
    tiles = min(MOST_TILES, math.ceil((length - side) / (side / 2)) + 1)
    return [round(start) for start in np.linspace(0, length - side, tiles)]
