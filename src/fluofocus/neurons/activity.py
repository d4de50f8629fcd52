"""Activity of neurons from a time-lapse in two channels, as in Deep-Z.

Wu et al., Nature Methods 16 (2019), Methods, "Tracking and quantification of C. elegans
neuron activity".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from fluofocus.errors import FluoFocusError
from fluofocus.neurons.activity_checks import check_channels, checked_times_s
from fluofocus.neurons.activity_reading import Progress, Refocus, read_traces
from fluofocus.neurons.activity_registration import FrameMotion, register_frames
from fluofocus.neurons.clustering import (
    SIGMA,
    Clusters,
    check_count,
    check_sigma,
    spectral_clusters,
)
from fluofocus.neurons.demixing import Demixing
from fluofocus.neurons.traces import BRIGHTEST_VOXELS, differential_activity, ranked_by_activity
from fluofocus.units import AnyArray

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

ACTIVE_NEURONS = 70
"""How many of the most active neurons are clustered (Wu et al. 2019)."""

NOT_CLUSTERED = -1


@dataclass(frozen=True)
class NeuronActivity:
    """Neurons of a time-lapse: where they are, how bright over time, and which go together.

    Attributes
    ----------
    structure : ndarray (Z, Y, X)
        The median of red over time, in which the neurons were found.
    labels : ndarray of int (Z, Y, X)
        The neuron's label at each voxel, in the place of the reference frame; 0 for none.
    ids : ndarray of int (N,)
        The labels, in the order of the rows of all that follows.
    centroids_px : ndarray (N, 3)
        z (in planes), y, x.
    traces : ndarray (N, T)
        F(t), less the background.
    resting : ndarray (N,)
        F0, the mean of each trace.
    delta_f : ndarray (N, T)
        F(t) - F0.
    times_s : ndarray (T,) or None
    background : float
        What was subtracted from F(t); 0 where the film was demixed.
    motion : FrameMotion
        By which the frames were brought together.
    ranking : ndarray of int (N,)
        Neurons by the standard deviation of ΔF, the most active first.
    active : ndarray of int (M,)
        The first of them, which were clustered.
    clusters : Clusters
        Of the active neurons, in that order.
    """

    structure: AnyArray
    labels: npt.NDArray[np.integer]
    ids: npt.NDArray[np.int64]
    centroids_px: Array
    traces: Array
    resting: Array
    delta_f: Array
    times_s: Array | None
    background: float
    motion: FrameMotion
    ranking: Indices
    active: Indices
    clusters: Clusters

    @property
    def relative_activity(self) -> Array:
        """ΔF(t) / F0, ``(N, T)``."""
        return self.delta_f / self.resting[:, None]

    @property
    def cluster(self) -> Indices:
        """Cluster of every neuron ``(N,)``, `NOT_CLUSTERED` for those that are not active."""
        cluster = np.full(len(self.ids), NOT_CLUSTERED, dtype=np.intp)
        cluster[self.active] = self.clusters.cluster
        return cluster

    @property
    def order(self) -> Indices:
        """The active neurons by cluster, in each the most active first, ``(M,)``."""
        return self.active[self.clusters.order]


def analyse_activity(
    red: AnyArray,
    green: AnyArray,
    segment: Callable[[AnyArray], AnyArray],
    *,
    times_s: npt.ArrayLike | None = None,
    refocus: Refocus | None = None,
    demix: Demixing | None = None,
    motion: FrameMotion | None = None,
    background: float | None = None,
    brightest: int = BRIGHTEST_VOXELS,
    less_haze: bool = False,
    voxel_size_um: tuple[float, float, float] | None = None,
    active: int = ACTIVE_NEURONS,
    clusters: int | None = None,
    sigma: float = SIGMA,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> NeuronActivity:
    """Find neurons in a time-lapse, their activity, and groups that are active together.

    Frames are brought together by the red channel, neurons are found in its median over
    time, and their brightness is read from the green one.

    Parameters
    ----------
    red, green : ndarray (T, Z, Y, X)
        Structure and activity; of an array (T, C, Z, Y, X), ``lapse[:, 0], lapse[:, 1]``.
    segment : callable
        Takes the median of red over time ``(Z, Y, X)``, returns the label of the neuron that
        each voxel belongs to ``(Z, Y, X)``, or ``(Y, X)`` of a single plane; 0 for none.
    times_s : array_like (T,), optional
        When the frames were recorded: dropped frames are found by it.
    refocus : callable, optional
        For recordings of a single plane: takes an image ``(Y, X)``, returns a virtual stack
        ``(Z, Y, X)`` in the same counts. It is given the median of red, then each frame of
        green, all in register.
    demix : Demixing, optional
        Reads the traces from the film itself in place of virtual stacks of green; then
        ``background`` and ``brightest`` do not matter. Neurons without light of their own
        are left out. Not in Wu et al.
    motion : FrameMotion, optional
        How the specimen moves; None to find it by `register_frames`.
    background : float, optional
        Subtracted from F(t), in the unit of green; None for the mean of the darkest quarter
        of each frame, block by block. ΔF does not depend on it, ΔF / F0 does.
    brightest : int
        Voxels of each neuron that are averaged.
    less_haze : bool
        Whether the light around each neuron is subtracted from its own (not in Wu et al.).
    voxel_size_um : tuple of float, optional
        z, y, x; needed for ``less_haze`` only.
    active : int
        How many of the most active neurons to cluster, at most.
    clusters : int, optional
        How many clusters to form; None for the number before the eigengap.
    sigma : float
        Width of the similarity, equation 14.
    seed : int
        Of the starts of k-means.
    progress : callable
        Called with the frames of green that are read, and all of them.

    Raises
    ------
    FluoFocusError
        If channels do not fit together, hold NaN, or frames were dropped; if exposure
        changed; if frames cannot be registered; if no neuron is labelled, or one is not
        brighter than the background; if more clusters are asked for than active neurons; if
        stacks are to be refocused or demixed, or demixed traces freed of haze.
    """
    red, green = np.asanyarray(red), np.asanyarray(green)
    check_channels(red, green)
    times = None if times_s is None else checked_times_s(times_s, len(green))
    if active < 1:
        raise FluoFocusError(f"At least one active neuron is clustered, not {active}.")
    if background is not None and not np.isfinite(background):
        raise FluoFocusError(f"The background must be a number of counts, not {background:g}.")
    check_sigma(sigma)
    if demix is not None and less_haze:
        raise FluoFocusError("Demixed traces hold no haze: leave out either demix or less haze.")
    if not (refocus is None and demix is None) and red.shape[1] != 1:
        raise FluoFocusError(
            f"Recordings of a single plane are refocused and demixed, not of {red.shape[1]}: "
            "analyse the stacks as they are, or select one plane."
        )
    motion = motion or register_frames(red)
    structure = median_in_time(red, motion)
    if refocus is not None:
        structure = np.asarray(refocus(structure[0]))
    labels = np.asarray(segment(structure))
    if labels.shape == structure.shape[1:] and len(structure) == 1:
        labels = labels[None]
    if clusters is not None and labels.any():
        check_count(clusters, min(active, int(np.count_nonzero(np.unique(labels)))))
    ids, traces, subtracted = read_traces(
        green,
        labels,
        motion,
        refocus=refocus,
        demix=demix,
        background=background,
        brightest=brightest,
        less_haze=less_haze,
        voxel_size_um=voxel_size_um,
        progress=progress,
    )
    labels = np.where(np.isin(labels, ids), labels, 0)
    resting, delta_f = differential_activity(traces)
    _check_resting(resting, ids, subtracted)
    ranking = ranked_by_activity(delta_f)
    chosen = ranking[:active]
    relative = delta_f[chosen] / resting[chosen, None]
    return NeuronActivity(
        structure=structure,
        labels=labels,
        ids=ids,
        centroids_px=np.array(ndimage.center_of_mass(labels > 0, labels, ids)),
        traces=traces,
        resting=resting,
        delta_f=delta_f,
        times_s=times,
        background=subtracted,
        motion=motion,
        ranking=ranking,
        active=chosen,
        clusters=spectral_clusters(relative, clusters=clusters, sigma=sigma, seed=seed),
    )


def median_in_time(red: AnyArray, motion: FrameMotion) -> AnyArray:
    """Return the median over time of frames brought together, ``(Z, Y, X)``.

    Parameters
    ----------
    red : ndarray (T, Z, Y, X)
        Whole numbers are rounded again after resampling, to keep memory at that of red.
    motion : FrameMotion
        Of the same frames.
    """
    aligned = np.empty_like(red)
    whole = np.issubdtype(red.dtype, np.integer)
    for index, frame in enumerate(red):
        moved = motion.apply(frame, index)
        if whole:
            limits = np.iinfo(red.dtype)
            moved = np.rint(moved).clip(limits.min, limits.max)
        aligned[index] = moved
    return np.stack([np.median(aligned[:, z], axis=0) for z in range(red.shape[1])])


def _check_resting(resting: Array, ids: npt.NDArray[np.int64], background: float) -> None:
    dark = ids[resting <= 0]
    if len(dark):
        shown = ", ".join(map(str, dark[:10])) + (" and more" if len(dark) > 10 else "")
        raise FluoFocusError(
            f"Neurons {shown} are on average not brighter in green than the background of "
            f"{background:g}, so that ΔF / F0 means nothing: give a lower background, or leave "
            "them out of the segmentation."
        )
