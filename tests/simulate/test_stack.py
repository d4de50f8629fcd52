"""A simulated acquisition as a whole."""

from collections.abc import Callable

import numpy as np
import pytest

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.optics.microscope import Microscope, preset
from fluofocus.simulate.stack import SimulatedStack, simulate_stack

PLANES = (-2.0, 0.0, 2.0)


@pytest.fixture(scope="module")
def microscope() -> Microscope:
    return preset("olympus-20x-0.75")


def acquired(microscope: Microscope, **changes: object) -> SimulatedStack:
    arguments: dict[str, object] = {
        "shape_yx": (40, 48),
        "planes_um": PLANES,
        "seed": 3,
        "phantom_parameters": {"surface": "plane", "count_per_1000_um2": 20},
    }
    return simulate_stack(microscope, "beads", **(arguments | changes))  # type: ignore[arg-type]


def test_the_seed_decides_everything(microscope: Microscope) -> None:
    stack, again, other = (acquired(microscope, seed=seed) for seed in (3, 3, 4))
    assert stack.counts.shape == stack.clean_counts.shape == (3, 40, 48)
    np.testing.assert_array_equal(stack.counts, again.counts)
    assert (stack.counts != other.counts).any()


def test_exposure_is_as_asked_for(microscope: Microscope) -> None:
    camera = microscope.camera
    stack = acquired(microscope, peak_photons=500.0, background_photons=20.0)
    photons = (stack.clean_counts - camera.offset_counts) / (
        camera.gain_counts_per_electron * camera.quantum_efficiency
    )
    assert photons.max() == pytest.approx(520, rel=1e-3)
    assert photons.min() >= 20 - 1e-3


def test_beads_are_sharpest_in_their_plane(microscope: Microscope) -> None:
    perfect = microscope.model_copy(update={"zernike_rms_waves": {}, "emitter_depth_um": 0.0})
    peaks = acquired(perfect).clean_counts.max(axis=(1, 2))
    assert peaks.argmax() == 1
    assert peaks[1] > 2 * max(peaks[0], peaks[2])


def test_the_truth_says_where_the_light_is(microscope: Microscope) -> None:
    stack = acquired(microscope, phantom_parameters={"surface": "plane", "count_per_1000_um2": 5})
    image = stack.clean_counts[1]
    brightest = np.array(np.unravel_index(image.argmax(), image.shape)) * microscope.pixel_size_um
    distances = [np.hypot(b["y_um"] - brightest[0], b["x_um"] - brightest[1]) for b in stack.truth]
    assert min(distances) < microscope.pixel_size_um


def test_saturation_is_noted(microscope: Microscope) -> None:
    with pytest.warns(FluoFocusWarning, match="saturated"):
        acquired(microscope, peak_photons=1e6)


def test_haze_comes_from_the_whole_slice_to_a_single_plane() -> None:
    lens = preset("nikon-60x-1.4-oil")
    parameters = {"thickness_um": 30.0, "neuropil": 0.1}
    light = []
    for planes in ((0.0,), (-14.0, 0.0, 14.0)):
        stack = simulate_stack(
            lens,
            "brain_slice",
            shape_yx=(48, 48),
            planes_um=planes,
            seed=1,
            phantom_parameters=parameters,
        )
        middle = stack.clean_counts[len(planes) // 2].astype(float)
        light.append(middle.std() / (middle.mean() - lens.camera.offset_counts))
    assert light[0] == pytest.approx(light[1], rel=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"planes_um": (2.0, 0.0)}, "from low to high"),
        ({"planes_um": ()}, "planes"),
        ({"peak_photons": 0.0}, "peak_photons"),
        ({"background_photons": -1.0}, "background_photons"),
        ({"seed": -1}, "seed"),
        ({"shape_yx": (0, 40)}, "pixels"),
        ({"planes_um": (0.0, 1e9)}, "too many slabs"),
        ({"phantom_parameters": {"surface": "tilt", "tilt_deg": 90}}, "too many slabs"),
    ],
)
def test_impossible_requests_are_refused(
    microscope: Microscope, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(FluoFocusError, match=message):
        acquired(microscope, **changes)


@pytest.mark.parametrize(
    ("parameters", "depth_um"),
    [
        ({"surface": "tilt", "tilt_deg": 70.0}, lambda y: y * np.tan(np.radians(70))),
        ({"surface": "tilt", "tilt_deg": -70.0}, lambda y: -y * np.tan(np.radians(70))),
        ({"surface": "plane", "plane_depth_um": 17.0}, lambda y: 17 + 0 * y),
        (
            {"surface": "cylinder", "cylinder_diameter_mm": 0.012, "plane_depth_um": 9.0},
            lambda y: 15 - np.sqrt(6**2 - y**2),
        ),
    ],
)
def test_beads_deeper_than_most_specimens_stay_on_their_surface(
    microscope: Microscope,
    parameters: dict[str, object],
    depth_um: Callable[[np.ndarray], np.ndarray],
) -> None:
    side_um = 36 * microscope.pixel_size_um
    stack = acquired(
        microscope,
        shape_yx=(36, 36),
        planes_um=(0.0,),
        phantom_parameters=parameters | {"count_per_1000_um2": 300},
    )
    y_um, z_um = np.array([(bead["y_um"], bead["z_um"]) for bead in stack.truth]).T
    assert abs(z_um).max() > 10.5
    np.testing.assert_allclose(z_um, depth_um(y_um - side_um / 2), atol=0.26)


def test_nuclei_beyond_the_specimen_are_not_in_the_truth(microscope: Microscope) -> None:
    settings = {"thickness_um": 40.0, "clustering": 0.0}
    stack = simulate_stack(
        microscope,
        "nuclei",
        shape_yx=(120, 120),
        planes_um=(0.0,),
        seed=0,
        phantom_parameters=settings,
    )
    outermost = [abs(each["z_um"]) - each["diameter_um"] / 2 for each in stack.truth]
    assert max(outermost) <= 10.5
    assert 10 < len(stack.truth) < 0.8 * 38  # of the 38 that are drawn
    assert len({each["id"] for each in stack.truth}) == len(stack.truth)
