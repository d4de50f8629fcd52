"""Registration of two images by what can be recognised in both, then by small regions.

As for the wide-field and confocal images of Deep-Z+ (Wu et al., Nature Methods 2019,
Methods, "Cross-modality alignment"): features and a projective transform, for whole fields
and again for regions of 256 x 256 pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter

from fluofocus.errors import FluoFocusError
from fluofocus.prepare.correlation import fitted_peak, normalised_cross_correlation
from fluofocus.prepare.projective import ProjectiveFit, best_fit, consensus
from fluofocus.prepare.transform import RegistrationError, Transform, mapped, translation
from fluofocus.units import AnyArray, FloatArray

Array = npt.NDArray[np.float64]

LEAST_SIDE_PX = 96
DETAIL_PX = (1.0, 8.0)
"""Blurs (sigma) between which lies what is compared: less is noise, more is haze."""

_FEATURE_SIDES_PX = (512, 1024)  # images are shrunk to the first, or the second if need be
_PLENTY_OF_FEATURES = 40
_LEAST_FEATURES = 6
_DISTINCT = 0.85  # of the distance to the second-best match
_TOLERANCE = 0.01  # of the diagonal: how far a field departs from shift, turn and scale
_LEAST_TILES = 3
_LEAST_TILE_CORRELATION = 0.3
_TILES_PER_SIDE = 16
_PASSES_REACH_PX = (8, 3, 3)


def register_features(
    moving: AnyArray, fixed: AnyArray, *, max_residual_px: float = 0.5, seed: int = 0
) -> Transform:
    """Find the projective transform between two images of different modalities.

    SIFT features (Lowe, Int. J. Comput. Vis. 60, 91, 2004) that agree on a shift, turn and
    scale bring the images together; where too few do, the shift of highest correlation.
    Then small tiles are correlated, each is placed between the pixels by a polynomial, and
    the transform is fitted to all of them, weighted by how sharp their peaks are along
    each direction. `best_fit` chooses between projective, affine, similarity and shift.

    Parameters
    ----------
    moving, fixed
        ``(Y, X)``, of any sizes from 96 pixels; neither mirrored against the other.
    max_residual_px
        Largest distance (root mean square) between the tiles and the transform.
    seed
        Of the random choice in the search for features that agree.

    Returns
    -------
    Transform
        ``residual_px`` is the distance of the tiles, ``correlation`` the mean of theirs and
        ``places`` their number.

    Raises
    ------
    FluoFocusError
        If the images are no two planes, too small, empty or not finite.
    RegistrationError
        If fewer than three tiles match or they do not agree; ``matches`` are the features
        that agree, and then the tiles.
    """
    moving, fixed = np.asarray(moving), np.asarray(fixed)
    moving_detail, fixed_detail = _detail(moving), _detail(fixed)
    agreeing = agreeing_features(moving_detail, fixed_detail, seed)
    if len(agreeing) >= _LEAST_FEATURES:
        matrix = best_fit(agreeing).matrix
    else:
        matrix = translation(_shift_of_highest_correlation(moving_detail, fixed_detail))
    for reach_px in _PASSES_REACH_PX:
        matches, curvatures, correlations = tile_matches(
            moving_detail, fixed_detail, matrix, reach_px
        )
        fit = best_fit(matches, _weights(curvatures)) if len(matches) >= _LEAST_TILES else None
        if fit is None:
            break
        matrix = fit.matrix
    problem = _problem(len(matches), fit, max_residual_px)
    if fit is None or problem:
        matches = np.concatenate([agreeing, matches])
        raise RegistrationError(problem, fixed=fixed, moving=moving, matches=matches)
    return Transform(
        matrix=matrix,
        fixed_shape_yx=fixed.shape,
        moving_shape_yx=moving.shape,
        model=fit.model,
        residual_px=fit.residual_px,
        correlation=float(correlations[fit.kept].mean()),
        places=int(fit.kept.sum()),
    )


def agreeing_features(moving: FloatArray, fixed: FloatArray, seed: int) -> Array:
    """Return matches ``(N, 2, 2)`` that agree; images are shrunk as long as many do."""
    longest = max(*moving.shape, *fixed.shape)
    tolerance_px = _TOLERANCE * float(np.hypot(*fixed.shape))
    most = np.empty((0, 2, 2))
    for factor in sorted({-(-longest // side) for side in _FEATURE_SIDES_PX}, reverse=True):
        matches = feature_matches(moving, fixed, factor)
        agreeing = matches[consensus(matches, tolerance_px, seed)]
        most = max(most, agreeing, key=len)
        if len(most) >= _PLENTY_OF_FEATURES:
            break
    return most


def feature_matches(moving: FloatArray, fixed: FloatArray, factor: int) -> Array:
    """Return points ``(N, 2, 2)`` (y, x) in fixed and moving whose surroundings look alike.

    A match is the best of both its points, and clearly better than the second best.
    Both images are shrunk by ``factor`` for the search.
    """
    fixed_points, fixed_features = _features(fixed, factor)
    moving_points, moving_features = _features(moving, factor)
    if min(len(fixed_points), len(moving_points)) < 2:
        return np.empty((0, 2, 2))
    alike = fixed_features @ moving_features.T  # of unit length: the closer to 1, the closer
    best_two, choice = alike.topk(2, dim=1)
    apart = (2 - 2 * best_two).clamp(min=0).sqrt()
    mutual = alike.argmax(dim=0)[choice[:, 0]] == torch.arange(len(choice))
    chosen = (mutual & (apart[:, 0] < _DISTINCT * apart[:, 1])).numpy()
    return np.stack([fixed_points[chosen], moving_points[choice[:, 0].numpy()[chosen]]], axis=1)


def _features(image: FloatArray, factor: int) -> tuple[Array, torch.Tensor]:
    """Return the points ``(N, 2)`` and unit descriptors ``(N, 128)`` of SIFT."""
    from skimage.feature import SIFT
    from skimage.transform import downscale_local_mean

    small = image
    if factor > 1:
        small = downscale_local_mean(image, (factor, factor))  # type: ignore[no-untyped-call]
    low, high = np.quantile(small, (0.001, 0.999))
    scaled = np.clip((small - low) / max(high - low, 1e-9), 0, 1)
    sift = SIFT(upsampling=1)  # type: ignore[no-untyped-call]
    try:
        sift.detect_and_extract(scaled)  # type: ignore[no-untyped-call]
    except RuntimeError:  # SIFT's way to say that there are none
        return np.empty((0, 2)), torch.empty((0, 128))
    descriptors = torch.nn.functional.normalize(torch.as_tensor(sift.descriptors).float(), dim=1)
    positions = np.asarray(sift.positions, dtype=np.float64)
    return (positions + 0.5) * factor - 0.5, descriptors


def tile_matches(
    moving: FloatArray, fixed: FloatArray, matrix: Array, reach_px: int
) -> tuple[Array, Array, Array]:
    """Find where small tiles of fixed are in moving, starting from a transform.

    Returns
    -------
    matches, curvatures : ndarray (N, 2, 2)
        Centres of the tiles, and where they were found; second derivatives (with the sign
        turned) of the correlation there, along y and x.
    correlations : ndarray (N,)
        At the peaks.
    """
    transform = Transform(matrix, fixed.shape, moving.shape, "projective", 0, 0)
    warped, valid = transform.apply(moving), transform.valid
    side = int(np.clip(min(fixed.shape) // 6, 32, 64))
    axes = [_starts(size, side) for size in fixed.shape]
    corners = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    windows = [(slice(y, y + side), slice(x, x + side)) for y, x in corners]
    covered = [index for index, window in enumerate(windows) if valid[window].all()]
    if not covered:
        return np.empty((0, 2, 2)), np.empty((0, 2, 2)), np.empty(0)
    first, second = (np.stack([image[windows[i]] for i in covered]) for image in (warped, fixed))
    maps = normalised_cross_correlation(first, second, reach_px)
    found = []
    for corner, correlation in zip(corners[covered], maps, strict=True):
        top = np.unravel_index(int(correlation.argmax()), correlation.shape)
        peak = fitted_peak(correlation, top, 1)
        if peak is not None and peak.height >= _LEAST_TILE_CORRELATION:
            centre = corner + (side - 1) / 2
            place = mapped(matrix, centre + peak.position - reach_px)
            found.append((np.stack([centre, place]), peak.curvature, peak.height))
    matches = np.array([match for match, _, _ in found]).reshape(-1, 2, 2)
    curvatures = np.array([curvature for _, curvature, _ in found]).reshape(-1, 2, 2)
    return matches, curvatures, np.array([height for _, _, height in found])


def _starts(size: int, side: int) -> npt.NDArray[np.int64]:
    """Return where tiles begin: side by side, or spread over the field where it is large."""
    count = min(size // side, _TILES_PER_SIDE)
    return np.round(np.linspace(0, size - side, count)).astype(np.int64)


def _problem(tiles: int, fit: ProjectiveFit | None, max_residual_px: float) -> str:
    """Say in one sentence why a transform is not to be trusted; empty if it is."""
    if fit is None:
        return (
            f"Only {tiles} regions of the two images resemble each other: check that they show "
            "the same field and structure, and that neither is mirrored."
        )
    if fit.residual_px > max_residual_px:
        return (
            f"The regions of the two images lie {fit.residual_px:.2f} px from a common "
            f"transform, more than {max_residual_px:g} px: register smaller fields one by one."
        )
    return ""


def _weights(curvatures: Array) -> Array:
    """Return what makes offsets ``(N, 2)`` count by how sharp each peak is along them."""
    roots = np.linalg.cholesky(curvatures).swapaxes(1, 2)
    typical = np.sqrt(np.median(np.trace(curvatures, axis1=1, axis2=2)) / 2)
    return np.asarray(roots / typical)


def _shift_of_highest_correlation(moving: FloatArray, fixed: FloatArray) -> Array:
    side_yx = np.minimum(moving.shape, fixed.shape)
    reach = int(side_yx.min()) // 4
    first, second = (image[: side_yx[0], : side_yx[1]] for image in (moving, fixed))
    correlation = normalised_cross_correlation(first, second, reach)
    top = np.unravel_index(int(correlation.argmax()), correlation.shape)
    return np.array(top, dtype=np.float64) - reach


def _detail(image: AnyArray) -> FloatArray:
    """Return what both modalities show: edges and spots, without haze and much noise."""
    if image.ndim != 2 or min(image.shape) < LEAST_SIDE_PX:
        raise FluoFocusError(
            f"Feature registration needs planes (y, x) of at least {LEAST_SIDE_PX} pixels on each "
            f"side, not {image.shape}: fuse stacks, or take a larger field."
        )
    values = image.astype(np.float32)
    if not np.isfinite(values).all() or values.max() <= values.min():
        raise FluoFocusError(
            "An image to register is flat, or holds NaN or infinite values: check channel, plane "
            "and exposure."
        )
    evened = np.sqrt(values - values.min())  # noise of photons is as strong everywhere
    fine, coarse = (gaussian_filter(evened, sigma) for sigma in DETAIL_PX)
    return np.asarray(fine - coarse, dtype=np.float32)
