"""What is a coordinate, and what has a fault."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.cf.grid.records import grid, metres, refusal
from xvar.cf.grid.coordinates import ascends, coordinate_line, metres_per_unit
from xvar.errors import Faults


@pytest.mark.parametrize(
    ("dtype", "jitter", "uniform"), [("f8", 4e-7, True), ("f8", 1e-5, False), ("f4", 4e-4, True), ("f4", 5e-3, False)]
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


def line(values: object, factor: float = 1.0, dtype: str = "f8"):
    attrs = {"units": f"{factor:g} m"}
    coordinate = xr.DataArray(np.asarray(values, dtype), dims="d", name="c", attrs=attrs)
    faults = Faults()
    found = coordinate_line(coordinate, faults)
    assert (found is None) is (len(faults) == 1)
    return found


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
@pytest.mark.parametrize(
    ("values", "ascending"), [([10, 12, 14], True), ([14, 12, 10], False), ([10, 14], True), ([14, 10], False)]
)
def test_an_even_line_ascends_in_metres(values, ascending, dtype) -> None:
    found = line(values, 1e3, dtype)
    step = abs(values[1] - values[0]) * 1e3
    np.testing.assert_array_equal(found.values, np.sort(values) * 1e3)
    np.testing.assert_array_equal(found.spacing, np.full(len(values), step))
    assert (found.uniform, found.ascending, found.step) == (True, ascending, step)
    assert found.values.dtype == np.float64


@pytest.mark.parametrize("order", [1, -1])
def test_a_stretched_line_keeps_its_values_and_has_the_spacing_of_each(order) -> None:
    found = line(np.array([0.0, 1.0, 2.2, 3.6])[::order], 10.0)
    np.testing.assert_allclose(found.values, [0, 10, 22, 36])
    np.testing.assert_allclose(found.spacing, [10, 11, 13, 14])
    assert (found.uniform, found.ascending) == (False, order == 1)
    assert found.step == pytest.approx(12)


@pytest.mark.parametrize(
    ("dtype", "jitter", "uniform"),
    [("f8", 0.99e-6, True), ("f8", 1.02e-6, False), ("f4", 0.99e-3, True), ("f4", 1.02e-3, False)],
)
def test_rounding_is_a_share_of_a_step(dtype, jitter, uniform) -> None:
    """Whatever the unit, and where the coordinate begins."""
    for scale in (1.0, 0.25, 64.0):
        values = np.arange(-4.0, 4)
        values[3] += jitter
        found = line(scale * values, 1.0, dtype)
        assert found.uniform is uniform
        if uniform:
            np.testing.assert_array_equal(found.values, scale * np.arange(-4.0, 4))


def test_steps_may_change_by_less_than_a_third() -> None:
    for last, fine in ((1.3, True), (1.31, False), (0.77, True), (0.76, False)):
        steps = [1, 1, last]
        assert (line(np.cumsum([0.0, *steps])) is not None) is fine


@pytest.mark.parametrize("growth", [1.25, 0.8])
def test_steps_may_change_little_by_little_as_much_as_they_like(growth) -> None:
    steps = growth ** np.arange(9.0)
    found = line(np.cumsum([0.0, *steps]))
    np.testing.assert_allclose(found.spacing[1:-1], (steps[1:] + steps[:-1]) / 2)
    # A row that is missing is found where it is.
    without = np.delete(np.cumsum([0.0, *steps]), 6)
    faults = Faults()
    assert coordinate_line(xr.DataArray(without, dims="d", name="c"), faults) is None
    assert faults.first.index == (5 if growth > 1 else 6)


@pytest.mark.parametrize(
    ("units", "factor"), [("m", 1.0), ("km", 1e3), ("kilometers", 1e3), ("100 m", 100.0), ("degrees", 1)]
)
def test_metres_in_a_unit(units, factor) -> None:
    assert metres_per_unit(xr.DataArray(np.arange(3.0), dims="d", attrs={"units": units})) == factor


def test_the_direction_of_a_line() -> None:
    neither = [0, 1, 1], [1, 1, 0], [0, 2, 1], [1, np.nan, 3]
    for values, expected in (([0, 1, 3], True), ([3, 1, 0], False), *((values, None) for values in neither)):
        assert ascends(xr.DataArray(np.array(values), dims="d")) is expected
