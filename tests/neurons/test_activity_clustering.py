"""Similarity, graph Laplacian and clusters, against cases worked out by hand."""

import numpy as np
import pytest
from scipy.linalg import eigh

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.neurons.clustering import (
    eigengap,
    generalised_eigenvectors,
    graph_laplacian,
    similarity_matrix,
    spectral_clusters,
)


def grouped(sizes: tuple[int, ...], *, noise: float = 0.05, seed: int = 0) -> np.ndarray:
    """Return ΔF / F0 of groups that share steps of one, at times of their own."""
    rng = np.random.default_rng(seed)
    frames = 12 * len(sizes)
    rows = []
    for group, size in enumerate(sizes):
        course = np.zeros(frames)
        course[12 * group : 12 * group + 6] = 1.0
        rows += [course + noise * rng.standard_normal(frames) for _ in range(size)]
    return np.array(rows)


def test_similarity_is_that_of_equation_14() -> None:
    activity = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    s = similarity_matrix(activity, sigma=1.5)
    # squared distances 2, 9 and 1 + 4; sigma squared 2.25
    expected = np.exp(-np.array([[0, 2, 9], [2, 0, 5], [9, 5, 0]]) / 2.25)
    np.testing.assert_allclose(s, expected)


def test_laplacian_is_that_of_equations_15_to_17() -> None:
    s = np.array([[1.0, 0.5, 0.1], [0.5, 1.0, 0.2], [0.1, 0.2, 1.0]])
    laplacian, degrees = graph_laplacian(s)
    np.testing.assert_allclose(degrees, np.diag([0.6, 0.7, 0.3]))
    np.testing.assert_allclose(laplacian, [[0.6, -0.5, -0.1], [-0.5, 0.7, -0.2], [-0.1, -0.2, 0.3]])


def test_eigenvectors_solve_the_generalised_problem() -> None:
    s = similarity_matrix(grouped((3, 4), noise=0.3))
    laplacian, degrees = graph_laplacian(s)
    values, vectors = generalised_eigenvectors(laplacian, degrees)
    np.testing.assert_allclose(laplacian @ vectors, degrees @ vectors * values, atol=1e-10)
    np.testing.assert_allclose(values, eigh(laplacian, degrees, eigvals_only=True), atol=1e-10)
    assert values[0] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(vectors[:, 0], vectors[0, 0])  # the first is constant


@pytest.mark.parametrize(
    ("eigenvalues", "count"),
    [
        ([0.0, 0.02, 0.05, 0.7, 0.8, 0.9], 3),
        ([0.0, 0.6, 0.65, 0.7], 1),
        ([0.0, 0.01, 0.4, 0.5, 0.95], 4),
        ([0.0], 1),
    ],
)
def test_eigengap_is_the_largest_jump(eigenvalues: list[float], count: int) -> None:
    assert eigengap(eigenvalues) == count


def test_the_eigengap_is_looked_for_at_few_clusters_only() -> None:
    assert eigengap([0.0, 0.2, 0.3, 0.35, 0.9], most=3) == 1


def test_groups_are_found_with_their_number() -> None:
    activity = grouped((5, 9, 7))
    shuffled = np.random.default_rng(1).permutation(len(activity))
    true = np.repeat([2, 0, 1], (5, 9, 7))[shuffled]  # by size: 9, 7, 5
    found = spectral_clusters(activity[shuffled])
    assert found.count == 3
    np.testing.assert_array_equal(found.cluster, true)
    np.testing.assert_array_equal(np.sort(found.order), np.arange(21))
    blocks = found.similarity[np.ix_(found.order, found.order)]
    assert blocks[:9, :9].min() > 10 * blocks[:9, 9:].max()


def test_as_many_clusters_as_asked_for() -> None:
    found = spectral_clusters(grouped((6, 5, 4)), clusters=2)
    assert found.count == 2
    cluster = found.cluster
    assert all(len(set(cluster[part])) == 1 for part in (slice(6), slice(6, 11), slice(11, 15)))


def test_a_neuron_unlike_all_others_does_not_break_the_clusters() -> None:
    activity = np.vstack([grouped((6, 5)), np.full((1, 24), 30.0)])
    activity[-1, :6] = 60.0  # far from both groups: its similarity to any is zero
    found = spectral_clusters(activity)
    assert found.similarity[-1, :-1].max() == 0
    assert found.count == 2
    assert found.cluster[:11].tolist() == [0] * 6 + [1] * 5
    assert found.cluster[-1] == 0  # which it is least unlike


def test_one_neuron_is_one_cluster() -> None:
    found = spectral_clusters(np.ones((1, 5)))
    assert (found.count, found.cluster.tolist()) == (1, [0])


def test_what_cannot_be_clustered_is_said() -> None:
    activity = grouped((3, 2))
    with pytest.raises(FluoFocusError, match="6 clusters cannot be formed of 5 neurons"):
        spectral_clusters(activity, clusters=6)
    with pytest.raises(FluoFocusError, match="0 clusters cannot be formed"):
        spectral_clusters(activity, clusters=0)
    with pytest.raises(FluoFocusError, match="NaN"):
        spectral_clusters(np.where(activity > 0.9, np.nan, activity))
    with pytest.raises(FluoFocusError, match="sigma of the similarity must be above 0"):
        spectral_clusters(activity, sigma=0.0)
    with pytest.raises(FluoFocusError, match="Of 3 neurons 0 resemble another one"):
        spectral_clusters(np.diag([90.0, 80.0, 70.0]), clusters=2)


def test_neurons_that_do_not_resemble_each_other_are_one_cluster() -> None:
    with pytest.warns(FluoFocusWarning, match=r"None of the 3 neurons .*\(--sigma, sigma=\)"):
        found = spectral_clusters(np.diag([90.0, 80.0, 70.0]))
    assert found.cluster.tolist() == [0, 0, 0]
    assert found.count == 1
