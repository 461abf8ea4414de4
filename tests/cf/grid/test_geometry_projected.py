"""x and y in a unit of length, with a map projection and without."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.cf.grid.records import STEREOGRAPHIC, grid, held, metres, plane_of, refusal
from xvar.cf.axes import Axes
from xvar.cf.geodesy import EARTH_RADIUS
from xvar.errors import InputWarning


@given(
    st.floats(10.0, 1e5),
    st.floats(10.0, 1e5),
    st.booleans(),
    st.booleans(),
    st.sampled_from([("m", 1.0), ("km", 1e3), ("meters", 1.0), ("kilometers", 1e3)]),
)
def test_units_and_directions_of_x_and_y(dy, dx, down, left, units):
    """Faults 42, 48 and 49."""
    unit, factor = units
    y, x = 5e4 + dy * np.arange(5), -2e5 + dx * np.arange(7)
    result = grid(metres(y[:: -1 if down else 1] / factor, x[:: -1 if left else 1] / factor, unit))
    assert result.shape == (5, 7)
    assert result.spacing == pytest.approx((dy, dx), rel=1e-9)
    assert result.metric is None
    assert result.ascending == (not down, not left)
    assert result.kind == "projected"
    assert "not checked" in result.description


def test_map_factor_is_the_one_of_the_formula():
    """k = (1 + sin 60) / (1 + sin lat) on the sphere."""
    y, x = np.arange(-1.757e6, -1.6e6, 2e4), np.arange(-1.971e6, -1.8e6, 2e4)
    crs = pyproj.CRS.from_cf(STEREOGRAPHIC)
    latitude = plane_of(crs, y, x)["latitude"][1]
    factor = (1 + np.sin(np.deg2rad(60))) / (1 + np.sin(np.deg2rad(latitude)))
    result = grid(metres(y / 1e3, x / 1e3, "km", grid_mapping="crs"), mapping=held(STEREOGRAPHIC))
    np.testing.assert_allclose(result.metric[0], 2e4 / factor, rtol=1e-9)
    np.testing.assert_allclose(result.metric[1], 2e4 / factor, rtol=1e-9)


def test_mapping_that_is_not_conformal():
    """Equal-area: the two directions have factors of their own, by geodesics of the ellipsoid."""
    mapping = pyproj.CRS.from_epsg(3035).to_cf()
    y, x = 2.3e6 + 1e4 * np.arange(5), 6.3e6 + 1e4 * np.arange(6)
    result = grid(metres(y, x, grid_mapping="crs"), mapping=held(mapping))
    back = pyproj.Transformer.from_crs(3035, 4258, always_xy=True)
    here, there = back.transform(x[2], y[2]), back.transform(x[3], y[2])
    assert result.metric[1, 2, 2] == pytest.approx(pyproj.Geod(ellps="GRS80").inv(*here, *there)[2], rel=1e-3)
    assert abs(result.metric[0] / result.metric[1] - 1).max() > 0.01


def test_mapping_of_the_dataset_and_of_a_coordinate():
    dataset = metres(np.arange(5) * 1e3, np.arange(6) * 1e3, grid_mapping="crs").to_dataset()
    dataset["crs"] = ((), b"", STEREOGRAPHIC)
    expected = grid(dataset["rain"], mapping=held(STEREOGRAPHIC))
    assert "map factor" in expected.description
    np.testing.assert_array_equal(grid(dataset["rain"], mapping=dataset).metric, expected.metric)
    array = dataset.set_coords("crs")["rain"]
    np.testing.assert_array_equal(grid(array).metric, expected.metric)


def test_missing_or_unreadable_mapping_leaves_x_and_y():
    """Fault 57."""
    array = metres(np.arange(5) * 1e3, np.arange(6) * 1e3, grid_mapping="crs")
    for mapping in (None, held({"grid_mapping_name": "flat_disc"}), xr.Dataset()):
        with pytest.warns(InputWarning, match="'rain'.*grid mapping 'crs' is missing"):
            result = grid(array, mapping=mapping)
        assert result.spacing == (1e3, 1e3)
        assert "'crs' is missing or unreadable" in result.description


def test_coordinates_outside_the_projection():
    mapping = {"grid_mapping_name": "orthographic", "latitude_of_projection_origin": 0.0}
    mapping |= {"longitude_of_projection_origin": 0.0, "earth_radius": EARTH_RADIUS}
    assert "outside the domain" in refusal(
        metres(np.arange(5) * 1e7, np.arange(6) * 1e7, grid_mapping="crs"), mapping=held(mapping)
    )


def test_norkyst_by_mapping_and_by_position(shared_data):
    dataset = xr.open_dataset(shared_data / "ocean-norkyst800-20160114.nc")
    axes = Axes("time", "Y", "X")
    by_position = grid(dataset["temperature"], axes, mapping=dataset)
    by_mapping = grid(dataset["temperature"].drop_vars(["lat", "lon"]), axes, mapping=dataset)
    np.testing.assert_allclose(by_position.metric, by_mapping.metric, rtol=1e-4)
    assert abs(by_mapping.metric / 800.0 - 1).max() > 0.01


@pytest.mark.parametrize("stretched", ["y", "x", "both"])
def test_stretched_coordinates_without_a_map(stretched):
    even, uneven = np.arange(4.0), np.array([0.0, 1.0, 2.2, 3.6])
    y, x = (uneven if stretched in (name, "both") else even for name in ("y", "x"))
    found = grid(metres(y[::-1], x, "km"))
    spacing = {True: [1e3, 1.1e3, 1.3e3, 1.4e3], False: [1e3] * 4}
    rows, columns = (spacing[stretched in (name, "both")] for name in ("y", "x"))
    np.testing.assert_allclose(found.metric[0], np.outer(rows, np.ones(4)))
    np.testing.assert_allclose(found.metric[1], np.outer(np.ones(4), columns))
    assert found.spacing == pytest.approx((np.mean(rows), np.mean(columns)))
    assert (found.ascending, found.kind, found.periodic_x) == ((False, True), "projected", False)


def test_a_mapping_of_latitude_and_longitude_is_none_of_x_and_y():
    array = metres(np.arange(5) * 1e3, np.arange(6) * 1e3, grid_mapping="crs")
    with pytest.warns(InputWarning, match="'crs' is missing or unreadable"):
        found = grid(array, mapping=held({"grid_mapping_name": "latitude_longitude", "earth_radius": 6371e3}))
    assert found.metric is None


def test_the_spacing_by_a_map_is_the_mean_of_its_metric():
    y, x = 1.8e6 + 1e3 * np.arange(5), 2e3 * np.arange(6)
    found = grid(metres(y, x, grid_mapping="crs"), mapping=held(STEREOGRAPHIC))
    assert found.spacing == (found.metric[0].mean(), found.metric[1].mean())
    low, high = (float(f"{value:.4g}") for value in (1e3 / found.metric[0].max(), 1e3 / found.metric[0].min()))
    assert found.description == f"from x and y by the map factor of 'crs' ({low:g} to {high:g})"
