"""Files of pupil masks: what a phase plate does to the light, and what it was made for."""

from __future__ import annotations

import io
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.units import AnyArray, FloatArray
from fluofocus.whole_files import write_whole

SUFFIX = ".npz"
FILLED = 0.97
"""Share of the pupil's radius that a mask must cover; a little less is stretched."""
SAME_WAVELENGTH = 0.05
"""Share by which wavelengths may differ before a mask is said to be made for another one."""


@dataclass(frozen=True)
class PupilMask:
    """A phase plate in the pupil, and what it was designed for.

    Attributes
    ----------
    phase_rad : ndarray (n, n)
        Phase over the square around the pupil, y first, at ``wavelength_nm``.
    wavelength_nm, numerical_aperture : float
        What the plate was made for.
    """

    phase_rad: FloatArray
    wavelength_nm: float
    numerical_aperture: float

    def save(self, path: str | Path) -> None:
        """Write the mask as ``.npz``, whole or not at all.

        Raises
        ------
        FluoFocusError
            If the name does not end in ``.npz``, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != SUFFIX:
            raise FluoFocusError(f"{path} cannot be written: a pupil mask must be named *{SUFFIX}.")
        content = io.BytesIO()
        np.savez_compressed(
            content,
            phase_rad=self.phase_rad.astype(np.float32),
            wavelength_nm=self.wavelength_nm,
            numerical_aperture=self.numerical_aperture,
        )
        write_whole(path, content.getvalue(), "pupil mask ")


def transmission(path: Path, numerical_aperture: float, wavelength_nm: float) -> AnyArray:
    """Read what a mask does to light of one wavelength in the pupil of one objective.

    A ``.npz`` file is that of a `PupilMask`: a plate whose phase goes with 1/wavelength. In
    a ``.npy`` file a real array is a phase in rad, a complex one a transmission.

    Returns
    -------
    ndarray (n, n) complex
        Over the square around the pupil.

    Raises
    ------
    FluoFocusError
        If the file holds no mask, or one that does not fill the pupil.
    """
    content = _read(path)
    if isinstance(content, PupilMask):
        _check_made_for(content, path, numerical_aperture, wavelength_nm)
        shrunk = _over_pupil(content, numerical_aperture)
        return np.asarray(np.exp(1j * shrunk * (content.wavelength_nm / wavelength_nm)))
    _check_values(content, path)
    return content if np.iscomplexobj(content) else np.asarray(np.exp(1j * content))


def load_mask(path: str | Path) -> PupilMask:
    """Read a mask that `PupilMask.save` wrote.

    Raises
    ------
    FluoFocusError
        If the file holds no such mask.
    """
    content = _read(Path(path))
    if not isinstance(content, PupilMask):
        raise FluoFocusError(f"{path} does not say what it was made for: give a {SUFFIX} mask.")
    return content


def _read(path: Path) -> PupilMask | AnyArray:
    try:
        content = np.load(path, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            return np.asarray(content)
        with content:
            mask = PupilMask(
                content["phase_rad"],
                float(content["wavelength_nm"]),
                float(content["numerical_aperture"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FluoFocusError(
            f"Cannot read pupil mask {path}: give a {SUFFIX} file from 'fluofocus microscope "
            "mask', or a square .npy array (phase in rad, or complex)."
        ) from error
    _check_values(mask.phase_rad, path)
    return mask


def _check_values(mask: AnyArray, path: Path) -> None:
    if mask.ndim != 2 or mask.shape[0] != mask.shape[1] or not np.all(np.isfinite(mask)):
        raise FluoFocusError(f"Pupil mask {path} must be a square 2D array of finite numbers.")


def _check_made_for(
    mask: PupilMask, path: Path, numerical_aperture: float, wavelength_nm: float
) -> None:
    if mask.numerical_aperture < FILLED * numerical_aperture:
        raise FluoFocusError(
            f"Pupil mask {path} does not fill the pupil: it was made for NA "
            f"{mask.numerical_aperture:g}, the objective has {numerical_aperture:g}; make one for "
            "it with 'fluofocus microscope mask'."
        )
    if abs(mask.wavelength_nm / wavelength_nm - 1) > SAME_WAVELENGTH:
        warnings.warn(
            f"Pupil mask {path} was made for {mask.wavelength_nm:g} nm, not for "
            f"{wavelength_nm:g} nm: its steps are no whole waves, and its image is weaker.",
            FluoFocusWarning,
            stacklevel=4,
        )


def _over_pupil(mask: PupilMask, numerical_aperture: float) -> FloatArray:
    """Cut out the part that covers a pupil smaller than the one the mask was made for."""
    count = len(mask.phase_rad)
    kept = min(count, 2 * round(count * numerical_aperture / mask.numerical_aperture / 2))
    start = (count - kept) // 2
    return mask.phase_rad[start : start + kept, start : start + kept]
