"""What `fluofocus prepare` can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fluofocus.settings_files import read_settings, validated

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class PrepareConfig(BaseModel):
    """How raw focus scans become a dataset to train on.

    ``pixel_size_um`` and ``z_step_um`` say what the files do not; those of the targets are
    in ``target_pixel_size_um`` and ``target_z_step_um``. Levels are on a scale on which the
    background of the fused image is 0 and 1 % of its signal lies above 1: signal is what is
    connected, above ``grow_level``, to something above ``seed_level``. A region is
    ``region_px`` wide and high, has ``planes`` planes about its middle one, and at least
    ``least_signal_share`` of its area is signal. Whole fields, a share
    ``validation_share`` of them drawn with ``seed``, are kept for validation; of a single
    field its last rows, ``gap_um`` away from the others. ``registration`` is how a target
    field is brought onto its input field, ``none`` if the two come registered; beyond
    ``largest_residual_px`` it is refused. ``axial_match`` is how their heights are found to
    belong together: by the ``planes`` that look alike, or by the peak of a ``focus_curve`` of each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixel_size_um: Positive | None = None
    z_step_um: Positive | None = None
    target_pixel_size_um: Positive | None = None
    target_z_step_um: Positive | None = None
    align_planes: bool = True
    seed_level: Positive = 0.3
    grow_level: Positive = 0.1
    region_px: Annotated[int, Field(ge=32)] = 256
    overlap_share: Share = 0.05
    least_signal_share: Share = 0.002
    planes: Annotated[int, Field(ge=2)] = 41
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    gap_um: Annotated[float, Field(ge=0)] = 10.0
    seed: Annotated[int, Field(ge=0)] = 0
    registration: Literal["features", "psf", "dual_peak", "none"] = "features"
    largest_residual_px: Positive = 0.5
    axial_match: Literal["planes", "focus_curve"] = "planes"

    @model_validator(mode="after")
    def _check_levels(self) -> PrepareConfig:
        if self.grow_level > self.seed_level:
            raise ValueError("grow_level must not be above seed_level")
        return self


def load_prepare_config(path: str | Path) -> PrepareConfig:
    """Read a configuration.

    Raises
    ------
    FluoFocusError
        If the file cannot be read or a field is unknown or wrong.
    """
    path = Path(path)
    return validated(PrepareConfig, read_settings(path, "preparation"), path)
