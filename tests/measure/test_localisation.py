"""Beads located and scored against known ones, and over which defocus that holds."""

import numpy as np
import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.measure.beads import image_noise, match_beads
from fluofocus.measure.depth_of_field import depth_of_field
from fluofocus.measure.localisation import locate, score_positions

PIXEL_UM = 0.1


def beads(positions_px: np.ndarray, size: int = 96, peak: float = 500.0) -> np.ndarray:
    y, x = np.indices((size, size))
    signal = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * 1.3**2)) for a, b in positions_px)
    return np.random.default_rng(0).poisson(50 + peak * signal).astype(float)


@pytest.fixture
def known_px() -> np.ndarray:
    grid = np.stack(np.meshgrid(*2 * [np.arange(12, 90, 12.0)]), axis=-1).reshape(-1, 2)
    return grid + np.random.default_rng(1).uniform(-0.5, 0.5, grid.shape)


def test_beads_are_located_far_below_a_pixel(known_px: np.ndarray) -> None:
    score = score_positions(locate(beads(known_px)), known_px, pixel_size_um=PIXEL_UM)
    assert score.jaccard == 1
    # the limit of photon noise: sigma over the root of the photons in a bead
    limit_um = PIXEL_UM * 1.3 / np.sqrt(500 * 2 * np.pi * 1.3**2)
    assert score.rmse_um < 2.5 * limit_um * np.sqrt(2)


def test_dim_beads_are_located_less_well(known_px: np.ndarray) -> None:
    bright, dim = (
        score_positions(locate(beads(known_px, peak=p)), known_px, pixel_size_um=PIXEL_UM).rmse_um
        for p in (500.0, 50.0)
    )
    assert dim > 2 * bright


def test_scores_follow_their_definitions() -> None:
    known = np.array([[10.0, 10.0], [30.0, 30.0], [50.0, 50.0]])
    found = np.array([[10.0, 13.0], [34.0, 30.0], [80.0, 80.0]])
    score = score_positions(found, known, pixel_size_um=0.05, tolerance_um=0.25)
    assert (score.matched_count, score.found_count, score.known_count) == (2, 3, 3)
    assert score.jaccard == pytest.approx(2 / 4)
    assert score.precision == score.recall == pytest.approx(2 / 3)
    assert score.rmse_um == pytest.approx(0.05 * np.sqrt((3**2 + 4**2) / 2))
    closer = score_positions(found, known, pixel_size_um=0.05, tolerance_um=0.16)
    assert closer.matched_count == 1


def test_nothing_found_scores_zero() -> None:
    score = score_positions(np.zeros((0, 2)), np.array([[5.0, 5.0]]), pixel_size_um=0.1)
    assert score.jaccard == 0
    assert np.isnan(score.rmse_um)
    assert np.isnan(score.precision)


def test_a_rim_counts_neither_for_nor_against() -> None:
    known = np.array([[2.0, 20.0], [20.0, 20.0], [4.8, 40.0]])
    found = np.array([[2.5, 20.0], [20.0, 20.0], [5.2, 40.0], [1.0, 50.0]])
    inside = ((5.0, 58.0), (5.0, 58.0))
    score = score_positions(found, known, pixel_size_um=0.1, inside_px=inside)
    assert (score.matched_count, score.found_count, score.known_count) == (2, 2, 2)


def test_known_beads_must_be_told_apart() -> None:
    with pytest.raises(FluoFocusError, match="1 pairs of the known beads lie at the same place"):
        score_positions(np.zeros((0, 2)), np.array([[5.0, 5.0], [5.0, 5.0]]), pixel_size_um=0.1)
    with pytest.raises(FluoFocusError, match="no known beads"):
        score_positions(np.zeros((0, 2)), np.zeros((0, 2)), pixel_size_um=0.1)


def test_a_depth_of_field_ends_where_the_score_falls() -> None:
    z = np.arange(-4.0, 5.0)
    score = [0.2, 0.9, 0.4, 0.6, 1.0, 0.8, 0.6, 0.1, 0.9]
    extent = depth_of_field(z, score, 0.5)
    assert extent.low_um == pytest.approx(-1.5)  # 0.4 to 0.6 passes 0.5 half way
    assert extent.high_um == pytest.approx(2.2)
    assert extent.length_um == pytest.approx(3.7)
    assert not extent.reaches_end


def test_a_depth_of_field_may_be_longer_than_what_was_scanned() -> None:
    assert depth_of_field([-1, 0, 1], [0.9, 0.9, 0.9], 0.5).reaches_end
    assert depth_of_field([-1, 0, 1], [0.2, 0.9, np.nan], 0.5).high_um == 0


def test_a_score_that_never_holds_has_no_depth() -> None:
    assert depth_of_field([-1, 0, 1], [0.1, 0.2, np.nan], 0.5).length_um == 0


@pytest.mark.parametrize("z", [[0, 1], [1, 0, -1], []])
def test_scores_and_planes_must_agree(z: list[float]) -> None:
    with pytest.raises(FluoFocusError, match="one score for each defocus"):
        depth_of_field(z, [0.1, 0.2, 0.3], 0.5)


def test_what_is_found_by_noise_does_not_depend_on_the_brightest_bead(
    known_px: np.ndarray,
) -> None:
    dim = beads(known_px, peak=100.0)
    with_bright = dim.copy()
    with_bright[3:6, 3:6] += 1e4
    assert len(locate(with_bright)) < len(known_px)
    for image in (dim, with_bright):
        near = match_beads(locate(image, min_contrast=0.0), known_px, tolerance=2.0)
        assert near.found_fraction == 1


def test_an_image_without_noise_takes_that_of_another(known_px: np.ndarray) -> None:
    few = known_px[::6]
    recorded = beads(few, size=128, peak=100.0)
    noise = image_noise(recorded)
    assert noise == pytest.approx(np.sqrt(50) / (2 * np.sqrt(np.pi)), rel=0.2)
    clean = np.zeros_like(recorded)
    clean[tuple(np.round(few).astype(int).T)] = 1000
    clean[110:112, 110] = 20  # a false spot: of no noise it stands out, of the input's it does not
    own, given = (
        match_beads(locate(clean, min_contrast=0.0, noise=noise_given), few, tolerance=2.0)
        for noise_given in (None, noise)
    )
    assert own.spurious_count == 1
    assert given.spurious_count == 0
    assert given.found_fraction == 1
