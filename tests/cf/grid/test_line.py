"""What is a coordinate, and what has a fault."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cf.grid.records import grid, metres, refusal


@pytest.mark.parametrize(
    ("dtype", "jitter", "uniform"),
    [("f8", 4e-7, True), ("f8", 1e-5, False), ("f4", 4e-4, True), ("f4", 5e-3, False)],
)
def test_jitter_within_rounding_is_snapped(dtype, jitter, uniform):
    """Fault 52: 1e-6 of a step in float64, 1e-3 in float32."""
    y = np.arange(8.0)
    y[3] += jitter
    result = grid(metres(y.astype(dtype), np.arange(6.0), "km"))
    assert (result.metric is None) is uniform
    if uniform:
        assert result.spacing[0] == pytest.approx(1000.0, rel=1e-12)


def test_stretched_grid_has_a_metric():
    """Fault 47."""
    steps = 1000.0 * 1.05 ** np.arange(9)
    y = np.concatenate([[0.0], np.cumsum(steps)])
    for order in (1, -1):
        result = grid(metres(y[::order], np.arange(6) * 500.0))
        assert result.metric.shape == (2, 10, 6)
        np.testing.assert_allclose(result.metric[0, 1:-1, 0], (steps[1:] + steps[:-1]) / 2)
        np.testing.assert_allclose(result.metric[1], 500.0)
        assert result.ascending[0] is (order == 1)


def test_a_missing_row_is_refused():
    """Fault 47."""
    text = refusal(metres(np.array([0.0, 1, 2, 4, 5, 6]), np.arange(6.0), "km"))
    assert "dimension 'y'" in text
    assert "max deviation 0.3333 of a step" in text
    assert "index 2" in text


@pytest.mark.parametrize("values", [[0.0, 1, 2, 1.5, 4], [0.0, 1, 1, 2, 3], [0.0, 1, np.nan, 3, 4]])
def test_no_order_of_coordinates(values):
    text = refusal(metres(np.array(values), np.arange(6.0), "km"))
    assert "'y'" in text
    assert "index" in text
