"""Agreement with psfmodels, an independent implementation (Aguet et al. 2009).

Conventions are matched by what both document. psfmodels counts z from the nominal focus,
this package from the best focus: the offset follows from the layers and is not fitted. The
scalar model of psfmodels is without the apodisation of an aplanatic lens: a pupil mask takes
it out of ours.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from fluofocus.optics.microscope import Microscope
from fluofocus.optics.psf import point_spread_function

psfmodels = pytest.importorskip("psfmodels", reason="psfmodels comes with the test extra")

SIZE = 51
LENSES = {
    "air": {"numerical_aperture": 0.75, "immersion_index": 1.0, "pixel_size_um": 0.1},
    "oil": {"numerical_aperture": 1.4, "immersion_index": 1.515, "pixel_size_um": 0.06},
}
MATCHED = {
    "air": {"sample_index": 1.0, "coverslip_index": 1.0, "design_coverslip_index": 1.0},
    "oil": {"sample_index": 1.515},
}
MISMATCHED = [
    ("air", {"emitter_depth_um": 10.0, "coverslip_thickness_um": 180.0}),
    ("air", {"coverslip_thickness_um": 155.0}),
    ("oil", {"sample_index": 1.47, "emitter_depth_um": 4.0}),
    ("oil", {"sample_index": 1.515, "coverslip_thickness_um": 175.0, "coverslip_index": 1.53}),
]


def describe(lens: str, model: str, **changes: object) -> Microscope:
    return Microscope.model_validate(
        {"emission_wavelength_nm": 520, "psf_model": model, **LENSES[lens], **changes}
    )


def unapodised(microscope: Microscope, folder: Path) -> Microscope:
    """Add the mask sqrt(cos(theta)) to the pupil."""
    centres = (np.arange(512) + 0.5) / 256 - 1
    rho = np.minimum(np.hypot(centres[:, None], centres), 1)
    sine = rho * microscope.numerical_aperture / microscope.immersion_index
    np.save(folder / "mask.npy", (1 - sine**2) ** 0.25 + 0j)
    return microscope.model_copy(update={"pupil_mask": folder / "mask.npy"})


def best_focus_um(lens: Microscope) -> float:
    """Return where on psfmodels' z axis the best focus lies.

    The path difference of the layers is split into a defocus, a constant and the rest.
    """
    radius = (np.arange(4000) + 0.5) / 4000
    squared = (radius * lens.numerical_aperture) ** 2

    def axial(index: float) -> np.ndarray:
        return np.sqrt(np.maximum(index**2 - squared, 0))

    path = (
        lens.emitter_depth_um * axial(lens.sample_index)
        + lens.coverslip_thickness_um * axial(lens.coverslip_index)
        - lens.design_coverslip_thickness_um * axial(lens.design_coverslip_index)
    )
    terms = np.stack([axial(lens.immersion_index), np.ones_like(radius)], axis=1)
    weight = np.sqrt(radius)[:, None]
    defocus = np.linalg.lstsq(terms * weight, path * weight[:, 0], rcond=None)[0][0]
    nominal = lens.emitter_depth_um * (
        1 - lens.immersion_index / lens.sample_index
    ) + lens.immersion_index * (
        lens.design_coverslip_thickness_um / lens.design_coverslip_index
        - lens.coverslip_thickness_um / lens.coverslip_index
    )
    return float(nominal + defocus)


def layers(lens: Microscope) -> dict[str, float]:
    """Return the microscope in the arguments of psfmodels."""
    return {
        "NA": lens.numerical_aperture,
        "pz": lens.emitter_depth_um,
        "ns": lens.sample_index,
        "ni": lens.immersion_index,
        "ni0": lens.immersion_index,
        "tg": lens.coverslip_thickness_um,
        "tg0": lens.design_coverslip_thickness_um,
        "ng": lens.coverslip_index,
        "ng0": lens.design_coverslip_index,
        "ti0": lens.design_working_distance_um,
        "dxy": lens.pixel_size_um,
    }


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def planes_um(lens: str) -> np.ndarray:
    return np.linspace(-4, 4, 11) if lens == "air" else np.linspace(-1.5, 1.5, 11)


def compare(lens: Microscope, name: str, reference: Microscope) -> tuple[float, float]:
    """Return the correlation with psfmodels, and that of the stack turned over."""
    z = planes_um(name)
    ours = point_spread_function(lens, torch.as_tensor(z), (SIZE, SIZE), dtype=torch.float64)
    theirs = psfmodels.make_psf(
        list(z + best_focus_um(reference)),
        SIZE,
        wvl=reference.emission_wavelength_nm / 1000,
        oversample_factor=5,
        model=reference.psf_model,
        **layers(reference),
    )
    return correlation(ours.numpy(), theirs), correlation(ours.numpy()[::-1], theirs)


@pytest.mark.parametrize("model", ["scalar", "vectorial"])
@pytest.mark.parametrize("lens", LENSES)
def test_widefield(lens: str, model: str, tmp_path: Path) -> None:
    reference = describe(lens, model, **MATCHED[lens])
    ours = unapodised(reference, tmp_path) if model == "scalar" else reference
    assert compare(ours, lens, reference)[0] >= 0.999


@pytest.mark.parametrize("model", ["scalar", "vectorial"])
@pytest.mark.parametrize(("lens", "changes"), MISMATCHED)
def test_index_mismatch_with_its_sign(lens: str, model: str, changes: dict, tmp_path: Path) -> None:
    reference = describe(lens, model, **changes)
    ours = unapodised(reference, tmp_path) if model == "scalar" else reference
    agreement, turned_over = compare(ours, lens, reference)
    assert agreement >= 0.999
    assert turned_over < 0.99


@pytest.mark.parametrize("model", ["scalar", "vectorial"])
@pytest.mark.parametrize("lens", LENSES)
def test_confocal(lens: str, model: str, tmp_path: Path) -> None:
    # psfmodels draws its pinhole on the pixel grid: small pixels make it round
    changes = {"modality": "confocal", "excitation_wavelength_nm": 488}
    pixel = {"pixel_size_um": 0.03 if lens == "air" else 0.02}
    reference = describe(lens, model, **{**MATCHED[lens], **changes, **pixel})
    ours = unapodised(reference, tmp_path) if model == "scalar" else reference
    z = planes_um(lens)[2:-2]
    image = point_spread_function(ours, torch.as_tensor(z), (61, 61), dtype=torch.float64)
    theirs = psfmodels.confocal_psf(
        list(z),
        61,
        ex_wvl=0.488,
        em_wvl=0.520,
        pinhole_au=1.0,
        oversample_factor=1,
        model=model,
        **layers(reference),
    )
    assert correlation(image.numpy(), theirs) >= 0.999
