"""Registration of two recordings of one specimen; the table `REGISTRATIONS` lists the ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fluofocus.errors import FluoFocusError
from fluofocus.prepare.register_dual_peak import register_dual_peak
from fluofocus.prepare.register_features import register_features
from fluofocus.prepare.register_psf import register_psf
from fluofocus.prepare.transform import RegistrationError, Transform
from fluofocus.units import AnyArray

__all__ = ["REGISTRATIONS", "RegistrationError", "Transform", "register"]

REGISTRATIONS: dict[str, Callable[..., Transform]] = {
    "features": register_features,
    "psf": register_psf,
    "dual_peak": register_dual_peak,
}
"""Name -> function of moving, fixed and options of its own."""


def register(moving: AnyArray, fixed: AnyArray, method: str, **options: Any) -> Transform:
    """Find where each point of a fixed recording is in a moving one.

    Parameters
    ----------
    moving, fixed
        Two recordings of one specimen: planes ``(Y, X)`` for ``"features"`` and
        ``"dual_peak"``, stacks ``(Z, Y, X)`` for ``"psf"``.
    method
        A name in `REGISTRATIONS`: ``"features"`` for two fused images that are shifted,
        turned, scaled or in perspective; ``"psf"`` for a sharp and a hazy stack, with the
        shift along z; ``"dual_peak"`` for a double-helix image and a sharp one.
    **options
        Of the method: see `register_features`, `register_psf` and `register_dual_peak`.

    Returns
    -------
    Transform
        With ``apply`` to resample moving onto fixed, and ``valid`` for where that is possible.

    Raises
    ------
    FluoFocusError
        If there is no such method, or the recordings do not suit it.
    RegistrationError
        If the two cannot be brought together; it carries what a picture of why needs.
    """
    if method not in REGISTRATIONS:
        raise FluoFocusError(
            f"There is no registration {method!r}; choose one of {', '.join(REGISTRATIONS)}."
        )
    return REGISTRATIONS[method](moving, fixed, **options)
