import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fluofocus.errors import FluoFocusError
from fluofocus.measure import METRICS, gap_closed
from fluofocus.measure.image import mae, mse, pearson, psnr, rmse, ssim


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    truth = torch.rand(2, 3, 40, 53, generator=generator)
    return truth + 0.2 * torch.rand(truth.shape, generator=generator), truth


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_metric_gives_one_number_per_image(metric, pair):
    output, truth = pair
    batched = metric(output, truth)
    assert batched.shape == (2, 3)
    torch.testing.assert_close(batched[1, 2], metric(output[1, 2], truth[1, 2]))


def test_errors_follow_equations_10_and_11():
    output, truth = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert mse(output, truth).item() == pytest.approx(5.0)
    assert rmse(output, truth).item() == pytest.approx(5.0**0.5)
    assert mae(output, truth).item() == pytest.approx(2.0)


def test_pearson_agrees_with_numpy_and_ignores_gain_and_offset(pair):
    output, truth = pair[0][0, 0], pair[1][0, 0]
    expected = np.corrcoef(output.ravel(), truth.ravel())[0, 1]
    assert pearson(output, truth).item() == pytest.approx(expected, abs=1e-5)
    assert pearson(3000 * output + 100, truth).item() == pytest.approx(expected, abs=1e-5)
    assert pearson(-truth, truth).item() == pytest.approx(-1.0)


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (200.0, 30_000.0)])
def test_ssim_and_psnr_agree_with_skimage(pair, gain, offset):
    output, truth = (gain * image[1, 1] + offset for image in pair)
    options = {"data_range": gain, "gaussian_weights": True, "use_sample_covariance": False}
    expected = structural_similarity(truth.double().numpy(), output.double().numpy(), **options)
    assert ssim(output, truth, data_range=gain).item() == pytest.approx(expected, abs=1e-4)
    expected = peak_signal_noise_ratio(truth.numpy(), output.numpy(), data_range=gain)
    assert psnr(output, truth, data_range=gain).item() == pytest.approx(expected, abs=1e-4)


def test_equal_images_are_perfect(pair):
    truth = pair[1]
    assert (ssim(truth, truth) > 0.99999).all()
    assert torch.isinf(psnr(truth, truth)).all()
    assert (mse(truth, truth) == 0).all()


def test_integer_images_are_compared_as_numbers():
    output, truth = torch.tensor([[0, 3]], dtype=torch.uint8), torch.tensor([[1, 0]])
    assert mse(output, truth).item() == pytest.approx(5.0)


def test_correlation_with_a_constant_image_is_undefined():
    assert torch.isnan(pearson(torch.ones(8, 8), torch.rand(8, 8)))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_nan_and_unequal_shapes_are_refused(metric):
    image = torch.rand(16, 16)
    with pytest.raises(FluoFocusError, match="NaN"):
        metric(image, torch.where(image > 0.9, torch.nan, image))
    with pytest.raises(FluoFocusError, match="same shape"):
        metric(image, image[:12])


def test_mixed_precision_does_not_reach_ssim(pair):
    output, truth = pair
    with torch.autocast("cpu", torch.bfloat16):
        mixed = ssim(output, truth)
    torch.testing.assert_close(mixed, ssim(output, truth))


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(FluoFocusError, match="at least 11 pixels"):
        ssim(torch.rand(10, 64), torch.rand(10, 64))


def test_gap_closed():
    assert gap_closed(1.0, 0.5) == pytest.approx(1.0)
    assert gap_closed(0.9, 0.5) == pytest.approx(0.8)
    assert gap_closed(0.4, 0.5) == pytest.approx(-0.2)
    assert np.isnan(gap_closed(0.99, 1.0))
    assert np.isnan(gap_closed(0.99, 1 - 6e-8))
