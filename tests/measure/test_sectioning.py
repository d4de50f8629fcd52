"""The missing cone: empty in wide-field stacks, filled in confocal ones."""

import numpy as np
import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.measure.sectioning import cone_share
from fluofocus.optics.microscope import preset
from fluofocus.simulate.stack import simulate_stack

MICROSCOPE = preset("nikon-60x-1.4-oil").model_copy(update={"emitter_depth_um": 2.0})
STEP_UM = 0.5


def _share(counts: np.ndarray, planes: int = 24) -> float:
    pixel_um = MICROSCOPE.pixel_size_um
    return cone_share(
        counts[:planes],
        (STEP_UM, pixel_um, pixel_um),
        numerical_aperture=MICROSCOPE.numerical_aperture,
        immersion_index=MICROSCOPE.immersion_index,
        emission_wavelength_um=MICROSCOPE.emission_wavelength_nm / 1000,
    )


@pytest.mark.parametrize("phantom", ["filaments", "nuclei"])
def test_only_a_confocal_stack_fills_the_cone(phantom: str) -> None:
    shares = {}
    for modality in ("widefield", "confocal"):
        stack = simulate_stack(
            MICROSCOPE.model_copy(update={"modality": modality}),
            phantom,
            shape_yx=(96, 96),
            planes_um=np.arange(24) * STEP_UM - 6,
            seed=1,
            peak_photons=500,
            phantom_parameters={"thickness_um": 4.0},
        )
        shares[modality] = _share(stack.counts)
    assert shares["widefield"] < 0.06
    assert shares["confocal"] > 0.12


def test_what_cannot_tell_is_not_a_number_or_refused() -> None:
    assert np.isnan(_share(np.ones((24, 32, 32))))
    with pytest.raises(FluoFocusError, match="give 24 or more"):
        _share(np.ones((24, 32, 32)), planes=23)
