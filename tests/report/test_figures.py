import numpy as np
import pytest
from matplotlib.image import imread

from fluofocus.errors import FluoFocusError
from fluofocus.io.stack import make_stack
from fluofocus.measure import METRICS
from fluofocus.refocus.scores import DistanceScores, Evaluation, Spread
from fluofocus.report import (
    plot_before_after,
    plot_calibration,
    plot_evaluation,
    plot_stack_overview,
)
from fluofocus.report.drawing import add_scale_bar, brightest_region, new_figure, signed_um

PIXEL_UM = 0.325


@pytest.fixture
def spots():
    image = np.zeros((96, 128))
    image[[20, 60, 80], [100, 30, 64]] = [50, 100, 75]
    return image


def picture(path):
    """The picture in a PNG file, (height, width, RGB)."""
    return imread(path)[..., :3]


def spread(value):
    return dict.fromkeys(METRICS, Spread(value, 0.01))


def evaluation():
    scores = [
        DistanceScores(-2.0, 3, output=spread(0.9), input=spread(0.5)),
        DistanceScores(0.0, 3, output=spread(0.99), input=dict.fromkeys(METRICS, Spread(1.0, 0))),
        DistanceScores(2.0, 0, output=spread(np.nan), input=spread(np.nan)),
    ]
    return Evaluation("some-model", tuple(scores))


def test_figures_are_pictures_that_show_the_data(tmp_path, spots):
    stack = make_stack(np.stack([spots] * 5), "ZYX", (1.0, PIXEL_UM, PIXEL_UM))
    bead = np.random.default_rng(0).random((9, 16, 16))
    plot_evaluation(evaluation(), tmp_path / "evaluation.png")
    plot_stack_overview(stack, tmp_path / "stack.png")
    plot_before_after(spots / 2, spots, spots, tmp_path / "truth.png", pixel_size_um=PIXEL_UM)
    plot_before_after(spots / 2, spots, None, tmp_path / "none.png", pixel_size_um=PIXEL_UM)
    plot_calibration(bead, bead**2, {4: 0.1, 11: -0.05}, tmp_path / "fit.png", z_um=np.arange(9))
    shapes = {path.stem: picture(path).shape for path in tmp_path.iterdir()}
    assert len(shapes) == 5
    assert all(picture(path).std() > 0.1 for path in tmp_path.iterdir())
    assert shapes["truth"][1] > shapes["none"][1]


def test_a_dim_input_is_shown_on_its_own_scale(tmp_path, spots):
    for name, gain in (("dim", 0.01), ("equal", 1.0)):
        path = tmp_path / f"{name}.png"
        plot_before_after(gain * spots, spots, None, path, pixel_size_um=PIXEL_UM)
    np.testing.assert_allclose(
        picture(tmp_path / "dim.png"), picture(tmp_path / "equal.png"), atol=0.02
    )


@pytest.mark.parametrize(
    ("width", "pixel_size_um", "expected"), [(512, 0.325, "20 µm"), (64, 0.1, "1 µm")]
)
def test_scale_bars_have_round_lengths_that_are_true(width, pixel_size_um, expected):
    axis = new_figure(2, 2).subplots()
    add_scale_bar(axis, (width, width), pixel_size_um)
    (bar,), (label,) = axis.lines, axis.texts
    assert label.get_text() == expected
    length_um = np.ptp(bar.get_xdata()) * pixel_size_um
    assert length_um == pytest.approx(float(expected.split()[0]))


def test_the_close_up_holds_the_brightest_spot_and_stays_inside(spots):
    rows, columns = brightest_region(spots)
    assert spots[rows, columns].max() == spots.max()
    spots[0, 0] = 1e4
    assert [region.start for region in brightest_region(spots)] == [0, 0]


def test_signed_lengths_have_no_negative_zero():
    assert signed_um(-0.01) == "+0.0 µm"
    assert signed_um(-2.44) == "\N{MINUS SIGN}2.4 µm"


def test_wrong_input_is_refused(tmp_path, spots):
    with pytest.raises(FluoFocusError, match="one channel"):
        plot_stack_overview(make_stack(spots, "YX", (1.0, 1.0, 1.0)), tmp_path / "a.png")
    with pytest.raises(FluoFocusError, match="pixel size"):
        plot_stack_overview(make_stack(np.stack([spots] * 3), "ZYX", None), tmp_path / "a.png")
    with pytest.raises(FluoFocusError, match="one shape"):
        plot_before_after(spots, spots[1:], None, tmp_path / "a.png", pixel_size_um=PIXEL_UM)
    with pytest.raises(FluoFocusError, match="one shape"):
        plot_calibration(np.zeros((3, 8, 8)), np.zeros((2, 8, 8)), {}, tmp_path / "a.png")
    with pytest.raises(FluoFocusError, match="Cannot write figure"):
        plot_evaluation(evaluation(), tmp_path / "missing" / "a.png")
    with pytest.raises(FluoFocusError, match="end its name in one of"):
        plot_evaluation(evaluation(), tmp_path / "a.doc")
