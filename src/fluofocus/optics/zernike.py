"""Zernike polynomials on the unit disc, in Noll's order and normalisation."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def noll_to_radial_azimuthal(index: int) -> tuple[int, int]:
    """Return the radial order n and signed azimuthal order m of a Noll index (Noll 1976).

    Even indices carry cosines (m > 0), odd ones sines (m < 0).
    """
    if index < 1:
        raise ValueError(f"Noll indices start at 1, not {index}")
    n = 0
    while (n + 1) * (n + 2) // 2 < index:
        n += 1
    position = index - n * (n + 1) // 2
    # within an order |m| rises by two with each pair of indices
    m = n % 2 + 2 * ((position - 1 + (n + 1) % 2) // 2)
    return (n, m) if index % 2 == 0 else (n, -m)


def zernike(index: int, rho: Tensor, phi: Tensor) -> Tensor:
    """Evaluate one Zernike polynomial, of unit variance over the disc.

    Parameters
    ----------
    index
        Noll index, from 1 (piston); 4 is defocus, 11 primary spherical aberration.
    rho, phi
        Pupil radius (1 at the rim) and angle in rad, of any one shape.
    """
    n, m = noll_to_radial_azimuthal(index)
    order = abs(m)
    radial = torch.zeros_like(rho)
    for k in range((n - order) // 2 + 1):
        coefficient = (
            (-1) ** k
            * math.factorial(n - k)
            / (
                math.factorial(k)
                * math.factorial((n + order) // 2 - k)
                * math.factorial((n - order) // 2 - k)
            )
        )
        radial = radial + coefficient * rho ** (n - 2 * k)
    if m == 0:
        return math.sqrt(n + 1) * radial
    angular = torch.cos(order * phi) if m > 0 else torch.sin(order * phi)
    return math.sqrt(2 * (n + 1)) * radial * angular


def zernike_basis(indices: list[int], rho: Tensor, phi: Tensor) -> Tensor:
    """Stack several polynomials: ``(len(indices), *rho.shape)``."""
    if not indices:
        return rho.new_zeros((0, *rho.shape))
    return torch.stack([zernike(index, rho, phi) for index in indices])
