"""The description of a microscope: optics and camera, validated and frozen."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.settings_files import read_settings, validated
from fluofocus.units import nm_to_um
from fluofocus.whole_files import write_whole

SUFFIXES = (".yaml", ".yml")
"""How the name of a description ends."""

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Modality = Literal["widefield", "confocal"]
RefractiveIndex = Annotated[float, Field(ge=1.0, le=2.5)]


class Camera(BaseModel):
    """How photons become counts.

    ``counts = offset_counts + gain_counts_per_electron * electrons``, clipped to
    the bit depth; ``electrons`` are Poisson distributed around
    ``quantum_efficiency * photons`` and read noise is added to them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    quantum_efficiency: Annotated[float, Field(gt=0, le=1)] = 0.8
    gain_counts_per_electron: Positive = 2.0
    read_noise_electrons: NonNegative = 1.5
    offset_counts: NonNegative = 100.0
    bit_depth: Annotated[int, Field(ge=8, le=16)] = 16


class Microscope(BaseModel):
    """Everything that decides how this microscope images a fluorescent point.

    Lengths carry their unit in their name. Immersion, coverslip and sample are
    described as in Gibson & Lanni (1992): the ``design_*`` values are those the
    objective is corrected for, the others those it is used with.
    ``zernike_rms_waves`` maps Noll indices to rms amplitudes in waves of the
    emission wavelength. ``pinhole_spacing_um`` is the distance of neighbouring pinholes
    of a spinning disk, as they are imaged in the sample; None means a single pinhole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = "unnamed"
    numerical_aperture: Positive
    magnification: Positive | None = None
    emission_wavelength_nm: Annotated[float, Field(ge=300, le=2000)]
    excitation_wavelength_nm: Annotated[float, Field(ge=200, le=2000)] | None = None
    pixel_size_um: Positive

    immersion_index: RefractiveIndex = 1.0
    design_immersion_index: RefractiveIndex | None = None
    coverslip_index: RefractiveIndex = 1.515
    design_coverslip_index: RefractiveIndex = 1.515
    coverslip_thickness_um: NonNegative = 170.0
    design_coverslip_thickness_um: NonNegative = 170.0
    design_working_distance_um: Positive = 600.0
    sample_index: RefractiveIndex = 1.33
    emitter_depth_um: NonNegative = 0.0

    zernike_rms_waves: dict[Annotated[int, Field(ge=1, le=120)], float] = {}
    is_calibrated: bool = False
    """Whether these aberrations were measured, so that a model can be told of them."""
    amplitude_falloff: Annotated[float, Field(ge=0, le=4)] = 0.0
    pupil_mask: Path | None = None

    psf_model: Literal["scalar", "vectorial"] = "vectorial"
    modality: Modality = "widefield"
    pinhole_airy_units: Positive = 1.0
    pinhole_spacing_um: Positive | None = None
    camera: Camera = Camera()

    @model_validator(mode="after")
    def _check_physics(self) -> Microscope:
        if self.numerical_aperture >= self.immersion_index:
            raise ValueError(
                f"numerical_aperture {self.numerical_aperture:g} must be below "
                f"immersion_index {self.immersion_index:g}: no lens collects such rays; "
                "correct one of the two (oil 1.515, water 1.33, air 1.0)"
            )
        if self.modality == "confocal" and self.excitation_wavelength_nm is None:
            raise ValueError("a confocal microscope needs excitation_wavelength_nm")
        return self

    @property
    def nyquist_pixel_um(self) -> float:
        """Largest pixel that samples the image without aliasing: wavelength / (4 NA), in µm."""
        return nm_to_um(self.emission_wavelength_nm) / (4 * self.numerical_aperture)

    @property
    def is_undersampled(self) -> bool:
        """Whether the camera pixel is larger than Nyquist allows."""
        return self.pixel_size_um > self.nyquist_pixel_um

    def with_modality(self, modality: Modality) -> Microscope:
        """Return this microscope as a wide-field or a confocal one.

        Raises
        ------
        FluoFocusError
            If it is to be confocal and its excitation wavelength is not known.
        """
        if modality == "confocal" and self.excitation_wavelength_nm is None:
            raise FluoFocusError(
                "A confocal image needs the microscope's excitation_wavelength_nm: add it to its "
                "description."
            )
        return self.model_copy(update={"modality": modality})

    def deeper_by(self, depth_um: float) -> Microscope:
        """Return this microscope with emitters so much deeper below the coverslip."""
        depth = max(0.0, self.emitter_depth_um + depth_um)
        return self.model_copy(update={"emitter_depth_um": depth})

    def warn_if_undersampled(self) -> None:
        """Warn, with the numbers, when the pixel is larger than Nyquist allows."""
        if self.is_undersampled:
            warnings.warn(
                f"pixel_size_um {self.pixel_size_um:g} is larger than the Nyquist pixel "
                f"{self.nyquist_pixel_um:.3f} µm of NA {self.numerical_aperture:g} at "
                f"{self.emission_wavelength_nm:g} nm: detail finer than two pixels is lost",
                FluoFocusWarning,
                stacklevel=2,
            )


def _preset_path(name: str) -> Path:
    return Path(__file__).parent / "presets" / f"{name}.yaml"


def preset_names() -> list[str]:
    """Names of the microscope descriptions that come with the package."""
    return sorted(path.stem for path in (Path(__file__).parent / "presets").glob("*.yaml"))


def preset(name: str) -> Microscope:
    """Return the microscope description that comes with the package under this name.

    Raises
    ------
    FluoFocusError
        If there is no such preset.
    """
    if name not in preset_names():
        raise FluoFocusError(
            f"There is no microscope preset {name!r}; choose one of {', '.join(preset_names())}."
        )
    return load_microscope(_preset_path(name))


def load_microscope(path: str | Path) -> Microscope:
    """Read a microscope description from YAML.

    Raises
    ------
    FluoFocusError
        If the file cannot be read or describes no possible microscope.
    """
    path = Path(path)
    content = read_settings(
        path, "microscope", otherwise="make one with 'fluofocus microscope new'"
    )
    microscope = validated(Microscope, content, path)
    if microscope.pupil_mask is not None and not microscope.pupil_mask.is_absolute():
        mask = path.parent.resolve() / microscope.pupil_mask
        microscope = microscope.model_copy(update={"pupil_mask": mask})
    return microscope


def save_microscope(microscope: Microscope, path: str | Path) -> None:
    """Write a microscope description, whole or not at all, as YAML that a person can edit.

    Raises
    ------
    FluoFocusError
        If the name ends in neither ``.yaml`` nor ``.yml``, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise FluoFocusError(
            f"{path} cannot be written: a microscope description must be named *.yaml."
        )
    content = microscope.model_dump(mode="json", exclude_none=True)
    write_whole(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
