"""2-D latitude and longitude."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cf.grid.records import STEREOGRAPHIC, grid, metres, plane_of, refusal
from tests.cf.test_axes import images


@given(st.floats(-2e6, 2e6), st.floats(-2e6, 2e6), st.floats(500.0, 2e4), st.booleans(), st.booleans())
def test_curvilinear_spacing_is_that_of_the_map_factor(y0, x0, step, down, left):
    """Fault 46: the pole may lie inside."""
    y = (y0 + step * np.arange(7))[:: -1 if down else 1]
    x = (x0 + step * np.arange(9))[:: -1 if left else 1]
    crs = pyproj.CRS.from_cf(STEREOGRAPHIC)
    by_factor = grid(metres(y, x, grid_mapping="crs"), mapping=STEREOGRAPHIC)
    plane = plane_of(crs, y, x)
    without = images(shape=(2, 7, 9)).assign_coords(plane)
    by_plane = grid(without)
    np.testing.assert_allclose(
        by_plane.metric[:, :: -1 if down else 1, :: -1 if left else 1], by_factor.metric, rtol=2e-3
    )
    assert (by_plane.kind, by_factor.kind) == ("curvilinear", "projected")
    assert by_plane.ascending == (True, True)
    assert by_factor.ascending == (not down, not left)
    both = grid(metres(y, x, grid_mapping="crs").assign_coords(plane), mapping=STEREOGRAPHIC)
    np.testing.assert_allclose(both.metric, by_factor.metric, rtol=2e-3)
    assert both.ascending == (not down, not left)


def test_mapping_that_contradicts_the_coordinates():
    """Fault 57."""
    y, x = np.arange(5) * 1e4, np.arange(6) * 1e4
    array = metres(y, x, grid_mapping="crs").assign_coords(plane_of(pyproj.CRS.from_cf(STEREOGRAPHIC), y, x))
    text = refusal(array, mapping={**STEREOGRAPHIC, "standard_parallel": 90.0})
    assert "differs by" in text
    assert "crs" in text


@pytest.mark.parametrize(("value", "word"), [(np.nan, "1 of 63 points"), (95.0, "|lat| > 90")])
def test_faults_of_two_dimensional_coordinates(value, word):
    plane = plane_of(pyproj.CRS.from_cf(STEREOGRAPHIC), np.arange(7) * 1e4, np.arange(9) * 1e4)
    plane["latitude"][1][2, 3] = value
    assert word in refusal(images(shape=(2, 7, 9)).assign_coords(plane))


def test_lazy_coordinates_are_read_without_the_scheduler_of_the_windows():
    import dask

    plane = plane_of(pyproj.CRS.from_cf(STEREOGRAPHIC), np.arange(7) * 1e4, np.arange(9) * 1e4)
    array = images(shape=(2, 7, 9)).assign_coords(plane)

    def forbidden(*args, **options):
        raise AssertionError("computed")

    with dask.config.set(scheduler=forbidden):
        np.testing.assert_array_equal(grid(array.chunk()).metric, grid(array).metric)
