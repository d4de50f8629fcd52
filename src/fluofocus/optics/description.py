"""How a microscope blurs, in the few numbers that a network can be told."""

from __future__ import annotations

import torch
from torch import Tensor

from fluofocus.optics.microscope import Microscope
from fluofocus.optics.pupil import wavefront_rms_waves
from fluofocus.optics.zernike import noll_to_radial_azimuthal

NOLL_INDICES = tuple(range(5, 23))
"""Aberrations that are told, as the whole of objective, coverslip and sample has them."""

PARAMETERS = 4 + len(NOLL_INDICES)
"""Length of what `blur_parameters` returns."""

_RELATIVE_SCALE = 0.05
_FALLOFF_SCALE = 0.2
_SPHERICAL_SCALE_WAVES = 0.1
_OTHER_SCALE_WAVES = 0.03


def blur_parameters(microscope: Microscope, trained_for: Microscope) -> Tensor:
    """Describe a microscope beside the one that a model was trained around.

    Aberrations are those of the whole wavefront, wherever they come from, for the image
    shows only their sum: a calibration that puts them all into Zernike coefficients says
    the same as the depth and the coverslip that caused them.

    Returns
    -------
    Tensor
        ``(PARAMETERS,)``, each of order one: a 1, which tells from an unknown microscope (all
        zero); the relative differences of numerical aperture and wavelength; amplitude
        falloff; Zernike amplitudes of `NOLL_INDICES`; rounded, so that they are the same
        whichever way they were computed.
    """
    aperture = microscope.numerical_aperture / trained_for.numerical_aperture - 1
    wavelength = microscope.emission_wavelength_nm / trained_for.emission_wavelength_nm - 1
    first = torch.tensor(
        [
            1.0,
            aperture / _RELATIVE_SCALE,
            wavelength / _RELATIVE_SCALE,
            microscope.amplitude_falloff / _FALLOFF_SCALE,
        ]
    )
    scale = torch.tensor(
        [_SPHERICAL_SCALE_WAVES if n == 11 else _OTHER_SCALE_WAVES for n in NOLL_INDICES]
    )
    waves = wavefront_rms_waves(microscope, NOLL_INDICES)
    return torch.cat([first, waves / scale]).round(decimals=4)


def turned_parameters(parameters: Tensor, quarter_turns: int, mirrored: bool) -> Tensor:
    """Describe the microscope whose images are those of another `turned` so.

    Parameters
    ----------
    parameters
        ``(…, PARAMETERS)`` of `blur_parameters`.
    quarter_turns, mirrored
        As of `fluofocus.prepare.turns.turned`.
    """
    result = parameters.clone()
    offset = PARAMETERS - len(NOLL_INDICES)
    places = {noll_to_radial_azimuthal(j): offset + i for i, j in enumerate(NOLL_INDICES)}
    for (n, m), cosine in places.items():
        if m <= 0:
            continue
        sine = places[n, -m]
        c, s = parameters[..., cosine], parameters[..., sine]
        for _ in range(m * quarter_turns % 4):  # a turn by m quarters in the plane of the two
            c, s = s, -c
        if mirrored:
            c, s = (c, -s) if m % 2 == 0 else (-c, s)
        result[..., cosine], result[..., sine] = c, s
    return result
