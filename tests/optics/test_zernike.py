"""Zernike polynomials: Noll's table, orthonormality, named aberrations."""

import pytest
import torch

from fluofocus.optics.zernike import noll_to_radial_azimuthal, zernike, zernike_basis

# Noll, J. Opt. Soc. Am. 66, 207 (1976), table I: index -> (n, signed m), cosines positive
NOLL_TABLE = {
    1: (0, 0),
    2: (1, 1),
    3: (1, -1),
    4: (2, 0),
    5: (2, -2),
    6: (2, 2),
    7: (3, -1),
    8: (3, 1),
    9: (3, -3),
    10: (3, 3),
    11: (4, 0),
    12: (4, 2),
    13: (4, -2),
    14: (4, 4),
    15: (4, -4),
    16: (5, 1),
    17: (5, -1),
    18: (5, 3),
    19: (5, -3),
    20: (5, 5),
    21: (5, -5),
    22: (6, 0),
    36: (7, 7),
    37: (8, 0),
}


@pytest.fixture(scope="module")
def disc() -> tuple[torch.Tensor, torch.Tensor]:
    centres = (torch.arange(400, dtype=torch.float64) + 0.5) / 200 - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    inside = torch.hypot(x, y) <= 1
    return torch.hypot(x, y)[inside], torch.atan2(y, x)[inside]


@pytest.mark.parametrize(("index", "expected"), NOLL_TABLE.items())
def test_noll_table(index: int, expected: tuple[int, int]) -> None:
    assert noll_to_radial_azimuthal(index) == expected


def test_every_radial_and_azimuthal_order_comes_once() -> None:
    pairs = {noll_to_radial_azimuthal(index) for index in range(1, 121)}
    expected = {(n, m) for n in range(15) for m in range(-n, n + 1, 2)}
    assert pairs == expected


def test_noll_indices_start_at_one() -> None:
    with pytest.raises(ValueError, match="start at 1"):
        noll_to_radial_azimuthal(0)


def test_orthonormal_over_the_disc(disc: tuple[torch.Tensor, torch.Tensor]) -> None:
    basis = zernike_basis(list(range(1, 37)), *disc)
    gram = basis @ basis.T / basis.shape[1]
    torch.testing.assert_close(gram, torch.eye(36, dtype=torch.float64), atol=0.01, rtol=0)


def test_closed_forms(disc: tuple[torch.Tensor, torch.Tensor]) -> None:
    rho, phi = disc
    spherical = 5**0.5 * (6 * rho**4 - 6 * rho**2 + 1)
    coma_along_x = 8**0.5 * (3 * rho**3 - 2 * rho) * torch.cos(phi)
    torch.testing.assert_close(zernike(11, rho, phi), spherical)
    torch.testing.assert_close(zernike(8, rho, phi), coma_along_x)


def test_no_indices_give_an_empty_basis(disc: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert zernike_basis([], *disc).shape == (0, len(disc[0]))
