import warnings

import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.special import j1

from fluofocus import FluoFocusError, FluoFocusWarning, Microscope, simulate_stack
from fluofocus.measure.beads import find_beads
from fluofocus.measure.resolution import lateral_fwhm
from fluofocus.measure.width_samples import Outcome, WidthSample, compare_widths
from fluofocus.measure.widths import measure_beads

FWHM_PER_SIGMA = 2.3548200450309493
VOXEL_UM = (0.5, 0.1, 0.1)


def grid(per_side=5, spacing=24, seed=0):
    """Positions (y, x) on a jittered grid, and the shape of the image that holds them."""
    rng = np.random.default_rng(seed)
    index = np.stack(np.meshgrid(*[np.arange(per_side)] * 2, indexing="ij"), -1).reshape(-1, 2)
    return (index + 0.5) * spacing + rng.uniform(-2, 2, index.shape), (per_side * spacing,) * 2


def image_of(yx, shape, sigma_yx=(1.5, 1.5), height=100.0, background=20.0):
    y, x = np.indices(shape)
    image = np.full(shape, float(background))
    for yc, xc in yx:
        u, v = (y - yc) / sigma_yx[0], (x - xc) / sigma_yx[1]
        image += height * np.exp(-0.5 * (u**2 + v**2))
    return image


def beams(yx, planes, shape_zyx, sigma=1.5, range_planes=3.0):
    """A stack of Gaussian beams: each is ``sigma`` px wide at its waist and wider elsewhere."""
    z, y, x = np.indices(shape_zyx)
    stack = np.full(shape_zyx, 20.0)
    for (yc, xc), plane in zip(yx, planes, strict=True):
        spread = 1 + ((z - plane) / range_planes) ** 2
        stack += 100 / spread * np.exp(-((y - yc) ** 2 + (x - xc) ** 2) / (2 * sigma**2 * spread))
    return stack


def in_order_of(yx, beads):
    """Which of the measured beads lies at each position; all do, to within a pixel."""
    distance = np.linalg.norm(yx[:, None] - beads.yx_px, axis=-1)
    assert (distance.min(axis=1) < 1).all()
    return distance.argmin(axis=1)


def test_widths_along_y_and_x_with_pixels_that_are_not_square():
    yx, shape = grid()
    image = np.random.default_rng(1).normal(image_of(yx, shape, (1.2, 2.0)), 2.0)
    beads = measure_beads(image, voxel_size_um=(np.nan, 0.2, 0.1))
    assert len(beads) == beads.lateral.count(Outcome.MEASURED) == 25
    expected_um = FWHM_PER_SIGMA * np.array([1.2 * 0.2, 2.0 * 0.1])
    np.testing.assert_allclose(np.median(beads.fwhm_yx_um, axis=0), expected_um, rtol=0.02)
    assert beads.lateral.median_um == pytest.approx(expected_um.mean(), rel=0.02)
    np.testing.assert_allclose(beads.amplitude, 100, rtol=0.1)
    assert beads.axial is None
    assert beads.plane is None


def test_each_bead_of_a_stack_is_measured_in_its_own_sharpest_plane():
    yx, shape = grid(per_side=4, spacing=15)
    planes = np.random.default_rng(2).integers(3, 12, len(yx))
    stack = beams(yx, planes, (15, *shape))
    beads = measure_beads(stack, voxel_size_um=VOXEL_UM)
    order = in_order_of(yx, beads)
    np.testing.assert_array_equal(beads.plane[order], planes)
    np.testing.assert_allclose(beads.fwhm_yx_um, FWHM_PER_SIGMA * 1.5 * 0.1, rtol=0.02)
    for plane in np.unique(planes):
        alone = lateral_fwhm(stack[plane], beads.yx_px, pixel_size_um=0.1).fwhm_um
        here = beads.plane == plane
        np.testing.assert_allclose(beads.lateral.fwhm_um[here], alone[here], rtol=1e-3)
        assert not np.allclose(beads.lateral.fwhm_um[~here], alone[~here], rtol=1e-2)


def test_axial_widths_of_known_gaussians():
    yx, shape = grid(per_side=4)
    plane = image_of(yx, shape, background=0)
    profile = np.exp(-((np.arange(31) - 14.3) ** 2) / (2 * 3.5**2))
    stack = np.random.default_rng(3).normal(20 + plane * profile[:, None, None], 2.0)
    beads = measure_beads(stack, voxel_size_um=VOXEL_UM)
    assert beads.axial.count(Outcome.MEASURED) == 16
    assert beads.axial.median_um == pytest.approx(FWHM_PER_SIGMA * 3.5 * 0.5, rel=0.02)
    assert beads.lateral.median_um == pytest.approx(FWHM_PER_SIGMA * 1.5 * 0.1, rel=0.02)


def test_simulated_beads_are_as_wide_as_optics_says():
    aperture, wavelength_um, pixel_um = 0.4, 0.5, 0.2
    microscope = Microscope(
        numerical_aperture=aperture,
        emission_wavelength_nm=1000 * wavelength_um,
        pixel_size_um=pixel_um,
        sample_index=1.0,
        psf_model="scalar",
    )
    axial_um = 0.886 * wavelength_um / (1 - np.sqrt(1 - aperture**2))
    step_um = axial_um / 12
    simulated = simulate_stack(
        microscope,
        "beads",
        shape_yx=(160, 160),
        planes_um=step_um * np.arange(-15, 16),
        seed=1,
        phantom_parameters={
            "surface": "plane",
            "diameter_um": 0.1,
            "count_per_1000_um2": 12,
        },
    )
    beads = measure_beads(simulated.counts, voxel_size_um=(step_um, pixel_um, pixel_um))
    assert beads.lateral.count(Outcome.MEASURED) >= 6
    pixel_fwhm_um = FWHM_PER_SIGMA * pixel_um / np.sqrt(12)
    expected_um = np.hypot(fitted_airy_fwhm_um(aperture, wavelength_um), pixel_fwhm_um)
    assert beads.lateral.median_um == pytest.approx(expected_um, rel=0.02)
    # The light spreads to the sides away from focus, so a Gaussian in x and z comes out shorter.
    assert 0.92 * axial_um < beads.axial.median_um < axial_um


def fitted_airy_fwhm_um(aperture, wavelength_um):
    """Width of the Gaussian that comes nearest to an Airy disk, by SciPy."""
    y, x = np.meshgrid(*[np.linspace(-2, 2, 81)] * 2)
    v = 2 * np.pi * aperture / wavelength_um * np.maximum(np.hypot(y, x), 1e-9)

    def gaussian(_, height, sigma, background):
        return (height * np.exp(-(y**2 + x**2) / (2 * sigma**2)) + background).ravel()

    (_, sigma_um, _), _ = curve_fit(gaussian, None, ((2 * j1(v) / v) ** 2).ravel(), [1, 0.2, 0])
    return FWHM_PER_SIGMA * abs(sigma_um)


def test_every_bead_left_out_has_its_reason():
    yx = np.array([(20, 20), (20, 60), (60, 20), (60, 27), (100, 60), (100.0, 119.4)])
    image = image_of(yx, (120, 120))
    y, x = np.indices(image.shape)  # a fibre has no width along itself
    image += 50 * np.exp(-((y - 80) ** 2) / 4.5 - (x - 100) ** 2 / (2 * 60.0**2)) * (x > 60)
    beads = measure_beads(image, voxel_size_um=VOXEL_UM)
    outcome = beads.lateral.outcome[in_order_of(yx, beads)]
    assert outcome.tolist() == ["measured"] * 2 + ["touching"] * 2 + ["measured", "cut by the edge"]
    assert beads.lateral.count(Outcome.UNSETTLED) >= 1
    assert sum(beads.lateral.count(reason) for reason in Outcome) == len(beads)
    left_out = beads.lateral.outcome != Outcome.MEASURED
    np.testing.assert_array_equal(np.isnan(beads.lateral.fwhm_um), left_out)
    np.testing.assert_array_equal(np.isnan(beads.amplitude), left_out)
    np.testing.assert_allclose(beads.lateral.measured_um, FWHM_PER_SIGMA * 1.5 * 0.1, rtol=0.01)


def test_a_bead_whose_focus_the_stack_does_not_hold_has_no_width():
    yx = np.array([(20.0, 20.0), (20.0, 60.0), (60.0, 20.0)])
    beads = measure_beads(beams(yx, [7, 16, 14.5], (15, 80, 80)), voxel_size_um=VOXEL_UM)
    lateral, axial = (sample.outcome[in_order_of(yx, beads)] for sample in beads.samples.values())
    assert lateral.tolist() == ["measured"] + ["focus beyond the stack"] * 2
    assert axial.tolist() == ["measured"] + ["focus beyond the stack"] * 2


def test_a_bead_cut_in_half_by_the_scan_has_a_lateral_width_only():
    yx = np.array([(20.0, 20.0), (60.0, 60.0)])
    beads = measure_beads(beams(yx, [7, 13], (15, 80, 80)), voxel_size_um=VOXEL_UM)
    order = in_order_of(yx, beads)
    assert beads.lateral.outcome[order].tolist() == ["measured", "measured"]
    assert beads.axial.outcome[order].tolist() == ["measured", "focus beyond the stack"]


def test_a_lower_threshold_finds_dimmer_beads():
    yx, shape = grid()
    image = image_of(yx[:1], shape) + image_of(yx[1:], shape, height=12, background=0)
    image = np.random.default_rng(4).normal(image, 4.0)
    few, many = (
        measure_beads(image, voxel_size_um=VOXEL_UM, noise_threshold=threshold)
        for threshold in (20, 5)
    )
    assert len(few) == 1
    assert len(many) > 20


def test_one_bright_bead_hides_none_in_silence():
    yx, shape = grid(per_side=7)
    image = image_of(yx, shape) + image_of(yx[:1], shape, height=2900, background=0)
    image = np.random.default_rng(4).normal(image, 2.0)
    with pytest.warns(FluoFocusWarning, match="^48 maxima .* lower --min-contrast"):
        assert len(measure_beads(image, voxel_size_um=VOXEL_UM)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(measure_beads(image, voxel_size_um=VOXEL_UM, min_contrast=0.01)) == 49


def test_rings_around_a_bead_are_no_beads_left_out():
    y, x = np.indices((100, 100)) - 50
    v = 0.7 * np.maximum(np.hypot(y, x), 1e-9)
    image = (2 * j1(v) / v) ** 2 * (np.hypot(y, x) < 20)
    assert len(find_beads(image, min_contrast=0.0)) > 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(measure_beads(image, voxel_size_um=VOXEL_UM)) == 1


def test_a_fit_that_ends_beside_its_bead_is_no_width():
    noise = np.random.default_rng(8).normal(100, 5, (256, 256))
    beads = measure_beads(noise, voxel_size_um=VOXEL_UM, noise_threshold=3)
    fits = lateral_fwhm(noise, beads.yx_px, pixel_size_um=0.1).fits
    off_px = np.linalg.norm(fits.centre_px - beads.yx_px, axis=1)
    beside = fits.converged & (off_px > np.maximum(1, FWHM_PER_SIGMA * fits.sigma_px.mean(1) / 2))
    assert beside.any()
    assert not (beads.lateral.outcome[beside] == Outcome.MEASURED).any()


def test_wide_beads_in_a_small_window_get_a_note():
    image = image_of([(30, 30)], (60, 60), (3.0, 3.0))
    with pytest.warns(FluoFocusWarning, match="narrow for beads 7.1 pixels wide: give 29"):
        measure_beads(image, voxel_size_um=VOXEL_UM)
    beads = measure_beads(image, voxel_size_um=VOXEL_UM, window_px=29)
    assert beads.lateral.median_um == pytest.approx(FWHM_PER_SIGMA * 3 * 0.1, rel=1e-3)


def test_comparison_of_samples_with_known_distributions():
    def sample(*widths_um):
        widths = np.array(widths_um, dtype=float)
        outcome = np.where(np.isnan(widths), Outcome.TOUCHING, Outcome.MEASURED)
        return WidthSample(widths, outcome)

    apart = compare_widths(sample(3, 4, np.nan, 5, 6), sample(1, 2, 3, 4))
    assert apart.median_difference == pytest.approx(4.5 / 2.5 - 1)
    assert apart.ks_distance == pytest.approx(0.5)
    assert sample(1, 2, np.nan, 3, 4, 5).quartiles_um == (2, 3, 4)
    empty = sample(np.nan)
    assert np.isnan(empty.median_um)
    assert np.isnan(compare_widths(empty, sample(1, 2)).ks_distance)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image": np.full((40, 40), 7.0)}, "No bead stands out"),
        ({"image": np.full((40, 40), np.nan)}, "NaN"),
        ({"image": np.full((5, 40, 40), np.nan)}, "NaN"),
        ({"image": np.zeros((2, 40, 40))}, "2 planes shows no axial width"),
        ({"image": np.zeros((2, 5, 40, 40))}, "one time point and channel"),
        ({"voxel_size_um": (0.5, np.nan, 0.1)}, "size of a voxel"),
        ({"voxel_size_um": (0.5, 0.1, 0.0)}, "size of a voxel"),
        ({"window_px": 5}, "window of 5 pixels"),
        ({"noise_threshold": 0.0}, "threshold must be a number above zero"),
        ({"min_contrast": 1.0}, "share from 0 to below 1, not 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(change, sentence):
    arguments = {"image": image_of([(20, 20)], (40, 40)), "voxel_size_um": VOXEL_UM} | change
    with pytest.raises(FluoFocusError, match=sentence):
        measure_beads(arguments.pop("image"), **arguments)
