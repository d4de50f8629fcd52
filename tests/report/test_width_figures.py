import numpy as np
import pytest

from fluofocus.report.width_figures import MOST_BINS, bin_edges_um


def test_bins_hold_all_samples_but_not_what_is_far_from_them():
    rng = np.random.default_rng(0)
    narrow, wide = rng.normal(0.5, 0.01, 400), rng.normal(1.0, 0.1, 400)
    edges = np.array(bin_edges_um([narrow, np.append(wide, 30.0), np.zeros(0)]))
    assert edges[0] == narrow.min()
    assert edges[-1] == wide.max()
    assert len(edges) == MOST_BINS + 1  # a bin would be as narrow as those of the narrow sample
    np.testing.assert_allclose(np.diff(edges), np.diff(edges)[0])


@pytest.mark.parametrize("widths", [[], [0.5], [0.5, 0.5]])
def test_few_widths_have_bins_too(widths):
    edges = bin_edges_um([np.array(widths)])
    assert (np.diff(edges) > 0).all()
    assert all(edges[0] <= width <= edges[-1] for width in widths)
