"""Microscope descriptions: validation, files, presets."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.optics.microscope import (
    Microscope,
    load_microscope,
    preset,
    preset_names,
    save_microscope,
)

AIR = {"numerical_aperture": 0.75, "emission_wavelength_nm": 520, "pixel_size_um": 0.15}


def test_aperture_above_the_index_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be below immersion_index 1"):
        Microscope(numerical_aperture=1.2, emission_wavelength_nm=520, pixel_size_um=0.1)


def test_confocal_needs_an_excitation_wavelength() -> None:
    with pytest.raises(ValidationError, match="excitation_wavelength_nm"):
        Microscope(**AIR, modality="confocal")


def test_nyquist_warning_tells_the_number() -> None:
    microscope = Microscope(**{**AIR, "pixel_size_um": 0.325})
    assert microscope.nyquist_pixel_um == pytest.approx(0.520 / 3)
    with pytest.warns(FluoFocusWarning, match=r"0\.325 is larger than the Nyquist pixel 0\.173"):
        microscope.warn_if_undersampled()


@pytest.mark.filterwarnings("error")
def test_no_warning_when_sampled_well() -> None:
    Microscope(**AIR).warn_if_undersampled()


@pytest.mark.parametrize("name", preset_names())
def test_presets_load(name: str) -> None:
    microscope = preset(name)
    assert microscope.numerical_aperture < microscope.immersion_index
    assert microscope.name != "unnamed"


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(FluoFocusError, match=r"'toy'.*olympus-20x-0\.75"):
        preset("toy")


def test_file_round_trip(tmp_path: Path) -> None:
    microscope = Microscope(**AIR, zernike_rms_waves={5: 0.02, 11: -0.1}, name="mine")
    save_microscope(microscope, tmp_path / "mine.yaml")
    assert load_microscope(tmp_path / "mine.yaml") == microscope


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("numerical_aperture: [", "not valid YAML"),
        ("- a list", "must be a YAML mapping"),
        ("", "numerical_aperture: Field required"),
        ("numerical_aperture: 0.75\n", "emission_wavelength_nm: Field required"),
        (
            "{numerical_aperture: 0.7, emission_wavelength_nm: 520, pixel_size_um: 1, na: 1}",
            "na: Extra inputs",
        ),
        (
            "{numerical_aperture: 1.4, emission_wavelength_nm: 520, pixel_size_um: 1}",
            "no lens collects such rays",
        ),
        (
            "{numerical_aperture: 0.7, emission_wavelength_nm: 0.52, pixel_size_um: 1}",
            "emission_wavelength_nm",
        ),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(FluoFocusError, match=complaint):
        load_microscope(path)


def test_binary_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "image.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(FluoFocusError, match="not valid YAML"):
        load_microscope(tmp_path / "image.yaml")
    with pytest.raises(FluoFocusError, match="Cannot read microscope file"):
        load_microscope(tmp_path / "absent.yaml")


def test_a_mask_is_looked_for_beside_its_description(tmp_path: Path) -> None:
    save_microscope(Microscope(**AIR, pupil_mask=Path("mask.npy")), tmp_path / "m.yaml")
    assert load_microscope(tmp_path / "m.yaml").pupil_mask == tmp_path.resolve() / "mask.npy"


def test_modality_and_depth_can_be_changed() -> None:
    lens = Microscope(**AIR, emitter_depth_um=3.0)
    assert lens.deeper_by(2.0).emitter_depth_um == 5.0
    assert lens.deeper_by(-9.0).emitter_depth_um == 0.0
    with pytest.raises(FluoFocusError, match="excitation_wavelength_nm"):
        lens.with_modality("confocal")
    confocal = preset("nikon-60x-1.4-oil").with_modality("confocal")
    assert confocal.modality == "confocal"
