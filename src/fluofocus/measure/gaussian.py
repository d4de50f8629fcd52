"""Many small two-dimensional Gaussian fits at once: batched, bounded Levenberg-Marquardt."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))

_BATCH = 256  # windows fitted together: few enough to stay in the processor's cache
_MIN_SIGMA_PX = 0.2
_MAX_ITERATIONS = 100
_STEP_TOLERANCE = 1e-5  # of the width or amplitude; far below any noise
_AMPLITUDE, _CENTRE, _SIGMA, _BACKGROUND = 0, slice(1, 3), slice(3, 5), 5


@dataclass(frozen=True)
class GaussianFits:
    """Gaussians on a constant background, one per window, in pixels and the image's units.

    Attributes
    ----------
    amplitude, background : ndarray (N,)
        Height and offset.
    centre_px, sigma_px : ndarray (N, 2)
        Along the first and second axis of the windows.
    residual_rms : ndarray (N,)
        Root mean square of what the fit leaves over.
    converged : ndarray (N,) of bool
        Whether the fit settled, and at no bound; the other values mean nothing where not.
    """

    amplitude: Array
    centre_px: Array
    sigma_px: Array
    background: Array
    residual_rms: Array
    converged: npt.NDArray[np.bool_]


def fit_gaussians(windows: Array, centre_px: Array, weights: Array | None = None) -> GaussianFits:
    r"""Fit a Gaussian on a constant background to every window (equations 6 and 8 of Deep-Z).

    ``A exp(-(y - yc)^2 / (2 sy^2) - (x - xc)^2 / (2 sx^2)) + B`` by least squares, with
    ``A >= 0``, the centre inside the window and each sigma between 0.2 px and the window's
    size. The paper has no ``B`` because it subtracts the background first.

    Parameters
    ----------
    windows : ndarray (N, H, W)
        Intensities; finite where they have weight.
    centre_px : ndarray (N, 2)
        Where each Gaussian roughly is, in pixels from the window's first one.
    weights : ndarray (N, H, W), optional
        Zero for pixels to leave out, one for the others.

    References
    ----------
    Wu et al., Nature Methods 16 (2019), Methods, "Measurement of the lateral and axial FWHM".
    """
    weights = np.ones_like(windows) if weights is None else weights
    parameters = np.zeros((len(windows), 6))
    residual_rms = np.zeros(len(windows))
    converged = np.zeros(len(windows), dtype=bool)
    for first in range(0, len(windows), _BATCH):
        part = slice(first, first + _BATCH)
        parameters[part], residual_rms[part], converged[part] = _fit_batch(
            windows[part], centre_px[part], weights[part]
        )
    return GaussianFits(
        amplitude=parameters[:, _AMPLITUDE],
        centre_px=parameters[:, _CENTRE],
        sigma_px=parameters[:, _SIGMA],
        background=parameters[:, _BACKGROUND],
        residual_rms=residual_rms,
        converged=converged,
    )


def _fit_batch(
    windows: Array, centre_px: Array, weights: Array
) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    """Return parameters (N, 6), root-mean-square residuals (N,) and which fits converged (N,)."""
    lower, upper = _bounds(windows)
    parameters = np.clip(_first_guess(windows, centre_px, weights), lower, upper)
    cost = _cost(windows, weights, parameters)
    damping = np.full(len(windows), 1e-2)
    settled = np.zeros(len(windows), dtype=bool)
    for _ in range(_MAX_ITERATIONS):
        busy = np.flatnonzero(~settled)
        if not len(busy):
            break
        step = _damped_step(windows[busy], weights[busy], parameters[busy], damping[busy])
        trial = np.clip(parameters[busy] + step, lower[busy], upper[busy])
        trial_cost = _cost(windows[busy], weights[busy], trial)
        settled[busy] = _is_negligible(trial - parameters[busy], trial)
        better = trial_cost <= cost[busy]
        parameters[busy[better]], cost[busy[better]] = trial[better], trial_cost[better]
        damping[busy] *= np.where(better, 0.1, 10.0)

    pixels = weights.sum(axis=(1, 2))
    residual_rms = np.sqrt(cost / np.maximum(pixels, 1))
    inside = ((parameters > lower) & (parameters < upper)).all(axis=1)
    return parameters, residual_rms, settled & inside & (pixels > parameters.shape[1])


def _bounds(windows: Array) -> tuple[Array, Array]:
    """Return the smallest and largest parameters allowed, each (N, 6)."""
    count, height, width = windows.shape
    size = np.array([height, width], dtype=float)
    lower, upper = np.full((count, 6), -np.inf), np.full((count, 6), np.inf)
    lower[:, _AMPLITUDE] = 0
    lower[:, _CENTRE], upper[:, _CENTRE] = -0.5, size - 0.5
    lower[:, _SIGMA], upper[:, _SIGMA] = _MIN_SIGMA_PX, size
    return lower, upper


def _first_guess(windows: Array, centre_px: Array, weights: Array) -> Array:
    """Return parameters (N, 6) from a quantile and from the widths at half the height."""
    background = np.quantile(windows, 0.2, axis=(1, 2))
    last = np.array(windows.shape[1:]) - 1
    row, column = np.clip(np.round(centre_px).astype(int), 0, last).T
    each = np.arange(len(windows))
    peak = windows[each, row, column]
    high = (windows > ((peak + background) / 2)[:, None, None]) & (weights > 0)
    extent_px = np.stack([high[each, :, column].sum(axis=1), high[each, row, :].sum(axis=1)], 1)
    sigma = np.maximum(extent_px, 1) / FWHM_PER_SIGMA
    columns = [(peak - background)[:, None], centre_px, sigma, background[:, None]]
    return np.concatenate(columns, axis=1)


def _profiles(parameters: Array, shape: tuple[int, ...]) -> tuple[Array, Array, Array, Array]:
    """Return offsets in sigmas and Gaussian profiles along both axes: (N, H, 1) and (N, 1, W)."""
    centre, sigma = parameters[:, _CENTRE], parameters[:, _SIGMA]
    u = (np.arange(shape[1])[None, :] - centre[:, :1]) / sigma[:, :1]
    v = (np.arange(shape[2])[None, :] - centre[:, 1:]) / sigma[:, 1:]
    u, v = u[:, :, None], v[:, None, :]
    return u, v, np.exp(-0.5 * u**2), np.exp(-0.5 * v**2)


def _residual(windows: Array, weights: Array, parameters: Array) -> Array:
    _, _, along_y, along_x = _profiles(parameters, windows.shape)
    amplitude = parameters[:, _AMPLITUDE, None, None]
    background = parameters[:, _BACKGROUND, None, None]
    return weights * (windows - amplitude * along_y * along_x - background)


def _cost(windows: Array, weights: Array, parameters: Array) -> Array:
    residual = _residual(windows, weights, parameters)
    return np.asarray(np.einsum("nij,nij->n", residual, residual))


def _damped_step(windows: Array, weights: Array, parameters: Array, damping: Array) -> Array:
    """Return the Levenberg-Marquardt step (N, 6), damped in proportion to each curvature."""
    count = len(windows)
    u, v, along_y, along_x = _profiles(parameters, windows.shape)
    amplitude, sigma = parameters[:, _AMPLITUDE, None, None], parameters[:, _SIGMA, None, None]
    gaussian = weights * along_y * along_x
    slope_y, slope_x = amplitude / sigma[:, 0] * u, amplitude / sigma[:, 1] * v
    by_centre = [gaussian * slope_y, gaussian * slope_x]
    by_sigma = [by_centre[0] * u, by_centre[1] * v]
    jacobian = np.stack([gaussian, *by_centre, *by_sigma, weights], axis=1).reshape(count, 6, -1)
    residual = _residual(windows, weights, parameters).reshape(count, -1, 1)
    curvature = jacobian @ jacobian.transpose(0, 2, 1)
    diagonal = np.einsum("nii->ni", curvature)
    # A vanishing column (no amplitude, no pixels) must not make the matrix singular.
    floor = 1e-12 * diagonal.max(axis=1, keepdims=True) + np.finfo(float).tiny
    curvature += np.eye(6) * (damping[:, None] * diagonal + floor)[:, None, :]
    return np.asarray(np.linalg.solve(curvature, jacobian @ residual)[:, :, 0])


def _is_negligible(step: Array, parameters: Array) -> npt.NDArray[np.bool_]:
    """Return which steps change position and width, and height and offset, by almost nothing."""
    sigma = parameters[:, _SIGMA]
    amplitude = parameters[:, [_AMPLITUDE]]
    scale = np.concatenate([amplitude, sigma, sigma, amplitude], axis=1)
    return np.asarray((np.abs(step) <= _STEP_TOLERANCE * scale).all(axis=1))
