"""Neurons grouped by the likeness of their activity: spectral clustering.

Wu et al., Nature Methods 16 (2019), Methods, equations 14 to 17, after von Luxburg, "A
tutorial on spectral clustering", Stat. Comput. 17, 395 (2007).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import ClusterError, kmeans2
from scipy.spatial.distance import cdist, pdist, squareform

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.units import AnyArray

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

SIGMA = 1.5
"""Width of the similarity, equation 14; without unit, as ΔF / F0 is."""

MOST_CLUSTERS = 10
"""Largest number of clusters that the eigengap is looked for at."""

_RESTARTS = 50
"""Random starts of k-means, of which the tightest result is kept."""

_LEAST_DEGREE = 1e-6
"""Sum of similarities below which a neuron is alone: its eigenvector would be rounding."""


@dataclass(frozen=True)
class Clusters:
    """Groups of neurons that are active together.

    Attributes
    ----------
    cluster : ndarray of int (M,)
        Of each neuron, from 0, the largest cluster first.
    count : int
        How many clusters there are.
    similarity : ndarray (M, M)
        S of equation 14.
    eigenvalues : ndarray (M or fewer,)
        Of the graph Laplacian, from low to high; those before the gap count the clusters.
        Neurons that resemble no other are left out.
    order : ndarray of int (M,)
        Neurons by cluster; ``similarity[order][:, order]`` has the clusters as blocks.
    """

    cluster: Indices
    count: int
    similarity: Array
    eigenvalues: Array
    order: Indices


def similarity_matrix(relative_activity: AnyArray, *, sigma: float = SIGMA) -> Array:
    """Return S_ij = exp(-|ΔF_i/F_i0 - ΔF_j/F_j0|² / σ²), equation 14.

    The norm is over time. Equation 14 is printed with F_j0 under both; then S would not be
    symmetric, as a similarity must be, so each neuron is divided by its own.

    Parameters
    ----------
    relative_activity : ndarray (M, T)
        ΔF / F0 of each neuron.
    sigma : float
        Width of the similarity.

    Returns
    -------
    ndarray (M, M)
    """
    check_sigma(sigma)
    values = np.asarray(relative_activity, dtype=np.float64)
    return np.asarray(np.exp(-squareform(pdist(values, "sqeuclidean")) / sigma**2))


def graph_laplacian(similarity: AnyArray) -> tuple[Array, Array]:
    """Return L = D - W and D, equations 15 to 17, both ``(M, M)``.

    W is the similarity without its diagonal, D the diagonal matrix of W's sums.
    """
    weights = np.array(similarity, dtype=np.float64)
    np.fill_diagonal(weights, 0.0)
    degrees = np.diag(weights.sum(axis=1))
    return degrees - weights, degrees


def generalised_eigenvectors(laplacian: Array, degrees: Array) -> tuple[Array, Array]:
    """Solve L v = λ D v; eigenvalues from low to high ``(M,)``, vectors in columns ``(M, M)``.

    The symmetric problem of D^-1/2 L D^-1/2 has the same λ, and is solved instead. Vectors
    have unit length. No degree may be zero.
    """
    root = 1 / np.sqrt(np.diag(degrees))
    eigenvalues, vectors = np.linalg.eigh(laplacian * root[:, None] * root)
    vectors = vectors * root[:, None]
    return eigenvalues, vectors / np.linalg.norm(vectors, axis=0)


def eigengap(eigenvalues: AnyArray, most: int = MOST_CLUSTERS) -> int:
    """Return how many eigenvalues lie before the largest jump among the first ``most + 1``."""
    first = np.asarray(eigenvalues)[: most + 1]
    return 1 if len(first) < 2 else int(np.diff(first).argmax()) + 1


def spectral_clusters(
    relative_activity: AnyArray,
    *,
    clusters: int | None = None,
    sigma: float = SIGMA,
    seed: int = 0,
) -> Clusters:
    """Group neurons by the likeness of their activity.

    The rows of the first eigenvectors, one for each neuron, are grouped by k-means. A neuron
    that resembles no other joins the cluster of the one it is least unlike; if no two resemble
    each other, all are one cluster.

    Parameters
    ----------
    relative_activity : ndarray (M, T)
        ΔF / F0 of each neuron.
    clusters : int, optional
        How many; None for the number before the eigengap.
    sigma : float
        Width of the similarity, equation 14.
    seed : int
        Of the starts of k-means.

    Raises
    ------
    FluoFocusError
        If more clusters are asked for than there are neurons, or than resemble each other, or
        values are not finite.

    Warns
    -----
    FluoFocusWarning
        If no two neurons resemble each other.
    """
    values = np.asarray(relative_activity, dtype=np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise FluoFocusError(
            f"Neurons are clustered by finite activities (neurons, frames), not an array of "
            f"shape {values.shape}{' with NaN or infinite values' if values.ndim == 2 else ''}."
        )
    if clusters is not None:
        check_count(clusters, len(values))
    similarity = similarity_matrix(values, sigma=sigma)
    cluster, eigenvalues = np.zeros(len(values), dtype=np.intp), np.zeros(1)
    linked = _linked(similarity, clusters)
    if len(linked) > 1:
        eigenvalues, vectors = generalised_eigenvectors(
            *graph_laplacian(similarity[np.ix_(linked, linked)])
        )
        count = eigengap(eigenvalues) if clusters is None else clusters
        cluster[linked] = _k_means(vectors[:, :count], count, seed)
        nearest = linked[cdist(values, values[linked], "sqeuclidean").argmin(axis=1)]
        cluster = _by_size(cluster[nearest])
    order = np.argsort(cluster, kind="stable")
    return Clusters(cluster, int(cluster.max()) + 1, similarity, eigenvalues, order)


def check_count(clusters: int, neurons: int) -> None:
    """Refuse a number of clusters that cannot be formed.

    Raises
    ------
    FluoFocusError
        With both numbers.
    """
    if not 1 <= clusters <= neurons:
        raise FluoFocusError(
            f"{clusters} clusters cannot be formed of {neurons} neurons: ask for 1 to {neurons}."
        )


def check_sigma(sigma: float) -> None:
    """Refuse a width of the similarity that is no number above zero.

    Raises
    ------
    FluoFocusError
        With the number.
    """
    if not (np.isfinite(sigma) and sigma > 0):
        raise FluoFocusError(f"The width sigma of the similarity must be above 0, not {sigma:g}.")


def _linked(similarity: Array, clusters: int | None) -> Indices:
    """Return the neurons that resemble some other one."""
    neurons = len(similarity)
    linked = np.flatnonzero(similarity.sum(axis=1) - 1 > _LEAST_DEGREE)
    advice = "raise the width of the similarity (--sigma, sigma=)"
    if clusters is not None and clusters > max(len(linked), 1):
        raise FluoFocusError(
            f"Of {neurons} neurons {len(linked)} resemble another one, too few for {clusters} "
            f"clusters: {advice}, or take fewer or other neurons."
        )
    if neurons > 1 and not len(linked):
        warnings.warn(
            f"None of the {neurons} neurons resembles another one, so they are one cluster: "
            f"{advice}, above all for long recordings.",
            FluoFocusWarning,
            stacklevel=3,
        )
    return linked


def _k_means(points: Array, count: int, seed: int) -> Indices:
    """Return the tightest of many runs of k-means that leave no cluster empty."""
    best, least = np.zeros(len(points), dtype=np.intp), np.inf
    rng = np.random.default_rng(seed)
    for _ in range(_RESTARTS if count > 1 else 0):
        start = points[_spread_out(points, count, rng)]
        try:
            centres, found = kmeans2(points, start, iter=100, minit="matrix", missing="raise")
        except ClusterError:
            continue
        spread = float(np.square(points - centres[found]).sum())
        if spread < least:
            best, least = found.astype(np.intp), spread
    return best


def _spread_out(points: Array, count: int, rng: np.random.Generator) -> list[int]:
    """Draw points far from each other: the k-means++ start of Arthur & Vassilvitskii (2007)."""
    chosen = [int(rng.integers(len(points)))]
    while len(chosen) < count:
        gaps = points[:, None] - points[chosen]
        nearest = np.square(gaps).sum(axis=2).min(axis=1)
        nearest[chosen] = 0.0
        total = float(nearest.sum())
        odds = nearest / total if total > 0 else None
        chosen.append(int(rng.choice(len(points), p=odds)))
    return chosen


def _by_size(cluster: Indices) -> Indices:
    """Return the same clusters numbered by their size, the largest 0."""
    sizes = np.bincount(cluster)
    number = np.empty(len(sizes), dtype=np.intp)
    number[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return number[cluster]
