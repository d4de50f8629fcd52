"""Brightness of neurons over time, and which of them are the most active."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from fluofocus.errors import FluoFocusError
from fluofocus.units import AnyArray

Array = npt.NDArray[np.float64]

BRIGHTEST_VOXELS = 100
"""Voxels of each neuron and frame that are averaged (Wu et al. 2019)."""

HAZE_SHARE, HAZE_PERCENT = 0.9, 20.0
"""Share of the surroundings' light that reaches into a neuron, and their dark voxels that
count for it: the bright ones are the neuron's own rim, or a neighbour's."""

_GAP_UM, _WIDTH_UM = 0.4, 2.0


@dataclass(frozen=True)
class Haze:
    """Light of other neurons, out of focus, that is taken off each neuron's trace.

    Wu et al. do not subtract it: their virtual stacks hold little. Wide-field scans hold much.

    Attributes
    ----------
    surroundings : ndarray of int (Z, Y, X)
        Voxels around each neuron, under its label, see `surroundings`.
    background : float
        Of the camera and the field, in the frames' units: no haze.
    share : float
        How much of the surroundings' light over the background is subtracted, 0 to 1.
    """

    surroundings: AnyArray
    background: float
    share: float = HAZE_SHARE


def neuron_traces(
    green: Iterable[AnyArray],
    labels: AnyArray,
    *,
    brightest: int = BRIGHTEST_VOXELS,
    haze: Haze | None = None,
) -> tuple[npt.NDArray[np.int64], Array]:
    """Return the mean of the brightest voxels of each neuron in each frame, F(t).

    Wu et al. (2019), Methods, "Tracking and quantification of C. elegans neuron activity".

    Parameters
    ----------
    green : iterable of ndarray (Z, Y, X)
        Frames, in register with the labels.
    labels : ndarray of int (Z, Y, X)
        Which neuron each voxel belongs to; 0 for none.
    brightest : int
        Voxels that are averaged; neurons that have fewer give all. They are chosen anew in
        each frame.
    haze : Haze, optional
        What to subtract of each neuron's surroundings.

    Returns
    -------
    ids : ndarray (N,)
        The labels, from low to high.
    traces : ndarray (N, T)
        In the frames' units.

    Raises
    ------
    FluoFocusError
        If the labels are not whole numbers from zero, mark no neuron, or have another shape
        than a frame.
    """
    if brightest < 1:
        raise FluoFocusError(f"At least one voxel of each neuron is averaged, not {brightest}.")
    neurons = _Marked(_checked_labels(labels))
    around = _Marked(haze.surroundings) if haze else None
    columns = []
    for index, frame in enumerate(green):
        if frame.shape != labels.shape:
            raise FluoFocusError(
                f"The labels are {labels.shape} (Z, Y, X), but frame {index} is {frame.shape}: "
                "segment the stacks that are measured."
            )
        bright = np.array([_mean_of_brightest(v, brightest) for v in neurons.values(frame)])
        if haze and around:
            level = [np.percentile(v, HAZE_PERCENT) for v in around.values(frame)]
            over = np.maximum(np.array(level) - haze.background, 0.0)
            bright[np.searchsorted(neurons.ids, around.ids)] -= haze.share * over
        columns.append(bright)
    return neurons.ids, np.array(columns).T.reshape(len(neurons.ids), len(columns))


def surroundings(
    labels: AnyArray, voxel_size_um: tuple[float, float, float]
) -> npt.NDArray[np.int64]:
    """Return the voxels around each neuron, under its label, ``(Z, Y, X)``; 0 elsewhere.

    They belong to no neuron and lie 0.4 to 2.4 µm from the nearest one, which has them. A
    neuron that others enclose may have none.

    Parameters
    ----------
    labels : ndarray of int (Z, Y, X)
    voxel_size_um : tuple of float
        z, y, x.

    Raises
    ------
    FluoFocusError
        If the voxel size is not positive.
    """
    voxel = np.asarray(voxel_size_um, dtype=np.float64)
    if voxel.shape != (3,) or not (np.isfinite(voxel).all() and (voxel > 0).all()):
        raise FluoFocusError(
            f"Surroundings need a voxel size (z, y, x) in µm above zero, not {voxel_size_um}."
        )
    distance, nearest = ndimage.distance_transform_edt(
        labels == 0, sampling=voxel, return_indices=True
    )
    near = (distance > _GAP_UM) & (distance <= _GAP_UM + _WIDTH_UM)
    return np.where(near, labels[tuple(nearest)], 0).astype(np.int64)


class _Marked:
    """The voxels of each label, to be read from one frame after another."""

    def __init__(self, labels: AnyArray) -> None:
        marks = labels.ravel()
        where = np.flatnonzero(marks)
        self._where = where[np.argsort(marks[where], kind="stable")]
        ids, first = np.unique(marks[self._where], return_index=True)
        self.ids, self._first = ids.astype(np.int64), first[1:]

    def values(self, frame: AnyArray) -> list[Array]:
        """Return the values of each label's voxels, in the order of ``ids``."""
        if not len(self.ids):
            return []
        return np.split(frame.reshape(-1)[self._where].astype(np.float64), self._first)


def differential_activity(traces: AnyArray) -> tuple[Array, Array]:
    """Return F0, the mean over time, and ΔF(t) = F(t) - F0.

    Wu et al. (2019), Methods (in the text, without numbers).

    Parameters
    ----------
    traces : ndarray (N, T)

    Returns
    -------
    resting : ndarray (N,)
        F0: the mean over time, though the neuron was not at rest all of it.
    delta_f : ndarray (N, T)
    """
    traces = np.asarray(traces, dtype=np.float64)
    resting = traces.mean(axis=1)
    return resting, traces - resting[:, None]


def ranked_by_activity(delta_f: AnyArray) -> npt.NDArray[np.intp]:
    """Return neurons by the standard deviation of their ΔF over time, largest first, ``(N,)``."""
    return np.argsort(-np.asarray(delta_f).std(axis=1), kind="stable")


def _mean_of_brightest(values: Array, count: int) -> float:
    if len(values) <= count:
        return float(values.mean())
    return float(np.partition(values, len(values) - count)[-count:].mean())


def _checked_labels(labels: AnyArray) -> npt.NDArray[np.int64]:
    marks = np.asarray(labels)
    if marks.dtype.kind not in "iub" or marks.ndim != 3 or (marks < 0).any():
        raise FluoFocusError(
            f"Labels must be whole numbers from zero in a volume (Z, Y, X), not {marks.dtype} "
            f"of shape {marks.shape}."
        )
    if not marks.any():
        raise FluoFocusError(
            "No neuron is labelled: check that the red channel shows them, and lower the "
            "threshold of the segmentation."
        )
    return marks.astype(np.int64)
