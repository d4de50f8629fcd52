"""Light of neurons told apart in a film of one plane, by where they lie in 3D.

A neuron out of focus lights up a known part of the film: the image of a ball at its place.
Each frame is the sum of these images and a background, by how bright each neuron is; those
brightnesses are found by least squares. Not part of Wu et al. (2019), who read them from
virtual stacks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import fft, ndimage, sparse
from scipy.optimize import nnls
from scipy.special import j1

from fluofocus.errors import FluoFocusError
from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import point_spread_function
from fluofocus.units import AnyArray

Array = npt.NDArray[np.float64]

LEAST_SHARE = 0.02
"""Of the median neuron's light: what has less is taken for no neuron."""

_MARGIN_UM, _SLICES = 5.0, 5
_FOCUS_UM = np.arange(-4.0, 4.05, 0.1)
_RIDGE, _DARK_SHARE = 1e-6, 0.01


@dataclass(frozen=True)
class Demixing:
    """Reads traces from a film of one plane, with what is known of the neurons and the optics.

    Attributes
    ----------
    microscope : Microscope
        What took the film; its pixels are those of the film.
    planes_um : sequence of float
        Where the planes of the labels lie, from the film's plane.
    diameter_um : float
        Of a neuron.
    """

    microscope: Microscope
    planes_um: Sequence[float]
    diameter_um: float

    def __call__(
        self, film: Iterable[AnyArray], labels: AnyArray
    ) -> tuple[npt.NDArray[np.int64], Array]:
        """Return the brightness of each neuron in each frame, without background.

        Parameters
        ----------
        film : iterable of ndarray (Y, X)
            Frames, in register with the labels.
        labels : ndarray of int (Z, Y, X)
            Which neuron each voxel belongs to; 0 for none.

        Returns
        -------
        ids : ndarray (N,)
            The labels of neurons that have light, from low to high.
        traces : ndarray (N, T)
            In counts at the brightest pixel that the neuron alone would have in the film.

        Raises
        ------
        FluoFocusError
            If labels are not of these planes, mark no neuron, or none that has light.
        """
        self._check(labels)
        ids = np.unique(labels[labels > 0]).astype(np.int64)
        images = self._images(np.array(ndimage.center_of_mass(labels > 0, labels, ids)), labels)
        frames = np.stack([np.asarray(frame, dtype=np.float32).ravel() for frame in film])
        traces = _brightness(images, frames)
        light = traces.mean(axis=1)
        has_light = light > LEAST_SHARE * np.median(light)
        if not has_light.any():
            raise FluoFocusError(
                f"None of {len(ids)} neurons has light in the film: check that green is the "
                "channel of calcium, and in register with red."
            )
        return ids[has_light], traces[has_light]

    def _check(self, labels: AnyArray) -> None:
        if len(labels) != len(self.planes_um):
            raise FluoFocusError(
                f"The labels have {len(labels)} planes, but demixing was told of "
                f"{len(self.planes_um)}: give it planes_um of the stack that was segmented."
            )
        if not labels.any():
            raise FluoFocusError(
                "No neuron is labelled: check that the red channel shows them, and lower the "
                "threshold of the segmentation."
            )

    def _images(self, centres_px: Array, labels: AnyArray) -> sparse.csr_array:
        """Return what each neuron shows in the film, ``(N, pixels)``, at most 1."""
        z_um = np.interp(centres_px[:, 0], np.arange(len(self.planes_um)), self.planes_um)
        defocus_um = self._best_focus_um() - z_um
        rows = []
        for defocus, centre in zip(defocus_um.tolist(), centres_px[:, 1:], strict=True):
            whole, half = np.rint(centre).astype(int), self._half_px(defocus)
            ball = self._ball(centre - whole, defocus, half)
            places = [at + np.arange(-half, half + 1) for at in whole]
            shape_yx = labels.shape[1:]
            within = [(at >= 0) & (at < n) for at, n in zip(places, shape_yx, strict=True)]
            image = np.zeros(shape_yx, dtype=np.float32)
            image[np.ix_(places[0][within[0]], places[1][within[1]])] = ball[np.ix_(*within)]
            rows.append(sparse.csr_array(image.reshape(1, -1) / image.max()))
        return sparse.csr_array(sparse.vstack(rows))

    def _half_px(self, defocus_um: float) -> int:
        """Return how far from its middle a neuron is imaged, in pixels."""
        sine = self.microscope.numerical_aperture / self.microscope.immersion_index
        blur_um = abs(defocus_um) * sine / math.sqrt(1 - sine**2)
        reach_um = blur_um + self.diameter_um / 2 + _MARGIN_UM
        return math.ceil(reach_um / self.microscope.pixel_size_um)

    def _ball(self, offset_px: Array, defocus_um: float, half: int) -> Array:
        """Return the image of a ball ``(2 half + 1, 2 half + 1)``, off the middle by a little."""
        side, pixel_um = 2 * half + 1, self.microscope.pixel_size_um
        radius_um = self.diameter_um / 2
        along_z_um = radius_um * np.linspace(-0.8, 0.8, _SLICES)
        defocus = torch.as_tensor(defocus_um - along_z_um, dtype=torch.float32)
        point = point_spread_function(self.microscope, defocus, (side, side)).numpy()
        transfer = fft.rfft2(fft.ifftshift(point, axes=(1, 2)))
        fy, fx = fft.fftfreq(side)[:, None], fft.rfftfreq(side)
        disc_um = np.sqrt(radius_um**2 - along_z_um**2)[:, None, None]
        # the spectrum of a disc, J1 over its argument
        argument = np.maximum(2 * np.pi * np.hypot(fy, fx) / pixel_um * disc_um, 1e-6)
        discs = disc_um**2 * 2 * j1(argument) / argument
        moved = np.exp(-2j * np.pi * (fy * offset_px[0] + fx * offset_px[1]))
        image = fft.irfft2((transfer * discs).sum(axis=0) * moved, s=(side, side))
        return np.asarray(fft.fftshift(image))

    def _best_focus_um(self) -> float:
        """Return the defocus, plane minus neuron, at which a point looks sharpest."""
        points = point_spread_function(
            self.microscope, torch.as_tensor(_FOCUS_UM, dtype=torch.float32), (9, 9)
        )
        return float(_FOCUS_UM[int(points.amax(dim=(1, 2)).argmax())])


def _brightness(images: sparse.csr_array, frames: AnyArray) -> Array:
    """Fit each frame ``(T, pixels)`` by images and a background, none below zero; ``(N, T)``.

    Pixels weigh less where the film is bright, by the noise of photons.
    """
    mean = frames.mean(axis=0)
    variance = mean - mean.min() + (_DARK_SHARE * np.ptp(mean) or 1.0)  # of one grey: 1
    terms = sparse.csr_array(sparse.vstack([images, np.ones_like(mean)[None]]))
    weighted = sparse.csr_array(terms.multiply(1 / variance))
    gram = np.asarray((weighted @ terms.T).todense(), dtype=np.float64)
    seen = np.asarray(weighted @ frames.T, dtype=np.float64)
    ridge = _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    root = np.linalg.cholesky(gram + ridge)
    whitened = np.linalg.solve(root, seen)
    return np.stack([nnls(root.T, frame)[0] for frame in whitened.T], axis=1)[:-1]
