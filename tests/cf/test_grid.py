"""Spacing in true metres, whatever the coordinates, and every fault of a grid."""

from __future__ import annotations

import warnings

import numpy as np
import pyproj
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.cf.outputs import FILES
from tests.cf.test_axes import images, message
from xvar.cf.axes import Axes
from xvar.cf.geodesy import EARTH_RADIUS, great_circle
from xvar.cf.grid import horizontal_grid
from xvar.errors import InputWarning, Problems

AXES = Axes("time", "y", "x")
SPHERE = pyproj.Geod(a=EARTH_RADIUS, b=EARTH_RADIUS)
EARTH = pyproj.Geod(ellps="WGS84")


def on(y, x, y_attrs=None, x_attrs=None, **coords) -> xr.DataArray:
    array = images(shape=(2, len(y), len(x)))
    return array.assign_coords(y=("y", y, y_attrs or {}), x=("x", x, x_attrs or {}), **coords)


def geographic(latitude, longitude) -> xr.DataArray:
    return on(latitude, longitude, {"units": "degrees_north"}, {"units": "degrees_east"})


def metres(y, x, units="m", **attrs) -> xr.DataArray:
    return on(y, x, {"units": units}, {"units": units}).assign_attrs(attrs)


def grid(array, axes=AXES, **options):
    problems = Problems()
    result = horizontal_grid(array, axes, problems, **options)
    problems.refuse()
    return result


def refusal(array, **options) -> str:
    problems = Problems()
    assert horizontal_grid(array, AXES, problems, **options) is None
    return message(problems)


# ---------------------------------------------------------------- x and y in a unit of length


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


def test_coordinates_without_units():
    """Fault 49."""
    text = refusal(on(np.arange(5.0), np.arange(6.0)))
    assert "coordinate 'y' without units" in text
    assert "dx=..., dy=..." in text


def test_coordinates_in_something_else():
    assert "coordinate 'y' in 'pixels'" in refusal(metres(np.arange(5.0), np.arange(6.0), "pixels"))


def test_no_coordinates():
    """Fault 50."""
    text = refusal(images())
    assert "no coordinate on 'y'" in text
    assert "dx=..., dy=..." in text
    assert "variable 'rain'" in text


def test_stated_spacing():
    result = grid(images(), dx=1200, dy=1000.0)
    assert result.spacing == (1000.0, 1200.0)
    assert result.metric is None
    assert (result.kind, result.ascending) == ("index", (True, True))


def test_stated_spacing_keeps_the_direction_of_the_coordinates():
    assert grid(on(np.arange(5.0)[::-1], np.arange(6.0)), dx=1.0, dy=1.0).ascending == (False, True)


@pytest.mark.parametrize(("dx", "dy"), [(None, 1.0), (1.0, None), (0.0, 1.0), (-5, 1.0), (np.nan, 1), ("wide", 1)])
def test_half_or_no_spacing_stated(dx, dy):
    assert "both dx= and dy=" in refusal(images(), dx=dx, dy=dy)


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


def test_one_row():
    """Fault 55."""
    assert "1 point along 'y'" in refusal(metres(np.array([0.0]), np.arange(6.0)))


# ---------------------------------------------------------------- latitude and longitude


@given(
    st.floats(-80.0, 80.0),
    st.floats(0.01, 1.0),
    st.floats(0.01, 1.0),
    st.floats(-180.0, 180.0),
    st.booleans(),
)
def test_spherical_spacing_is_that_of_geodesics(south, dlat, dlon, west, down):
    """Fault 45: exact on the sphere, within 0.5 % of the ellipsoid's mean radius of curvature or so."""
    latitude, longitude = south + dlat * np.arange(5), west + dlon * np.arange(6)
    result = grid(geographic(latitude[:: -1 if down else 1], longitude))
    assert result.kind == "geographic"
    assert result.ascending == (not down, True)
    for geod, tolerance in ((SPHERE, 1e-4), (EARTH, 7e-3)):
        for row in range(5):
            _, _, length = geod.inv(longitude[2], latitude[row], longitude[3], latitude[row])
            assert result.metric[1, row, 2] == pytest.approx(length, rel=tolerance)
        _, _, length = geod.inv(west, latitude[1], west, latitude[2])
        assert result.metric[0, 1, 2] == pytest.approx(length, rel=tolerance)


@pytest.mark.parametrize("latitude", [20.0, 36.0, 48.0, 60.0])
def test_within_half_a_percent_of_the_ellipsoid(latitude):
    result = grid(geographic(latitude + 0.02 * np.arange(-2, 3), 0.02 * np.arange(6)))
    ahead = EARTH.inv(0.02, latitude, 0.04, latitude)[2]
    up = EARTH.inv(0.0, latitude, 0.0, latitude + 0.02)[2]
    assert result.metric[1, 2, 2] == pytest.approx(ahead, rel=5e-3)
    assert result.metric[0, 2, 2] == pytest.approx(up, rel=5e-3)


@given(st.floats(-175.0, 175.0), st.booleans())
def test_numbering_of_longitude_makes_no_difference(west, greenwich):
    """Faults 43 and 44: 0 to 360, -180 to 180, with or without a seam inside."""
    longitude = west + 0.5 * np.arange(40)
    plain = grid(geographic(np.arange(5.0), longitude))
    wrapped = longitude % 360 if greenwich else (longitude + 180) % 360 - 180
    result = grid(geographic(np.arange(5.0), wrapped))
    np.testing.assert_allclose(result.metric, plain.metric, rtol=1e-9)
    assert result.ascending == (True, True)
    assert not result.periodic_x


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_around_the_globe(dtype):
    longitude = np.arange(0, 360, 1.5).astype(dtype)
    assert grid(geographic(np.arange(-60.0, 60.0, 2.0), longitude)).periodic_x
    assert not grid(geographic(np.arange(-60.0, 60.0, 2.0), longitude[:-1])).periodic_x


def test_a_column_that_repeats_the_first():
    assert "repeat" in refusal(geographic(np.arange(5.0), np.arange(0, 361, 1.0)))


def test_near_the_pole():
    """Fault 45."""
    text = refusal(geographic(np.arange(80.0, 90.5), np.arange(6.0)))
    assert "|lat| = 90" in text
    assert "89" in text


def test_latitude_beyond_the_pole():
    """Fault 51."""
    text = refusal(geographic(np.arange(100.0, 105.0), np.arange(6.0)))
    assert "|lat| > 90" in text
    assert "swapped" in text


def test_latitude_along_x():
    """Fault 51."""
    array = on(np.arange(5.0), np.arange(6.0), {"units": "degrees_east"}, {"units": "degrees_north"})
    assert "longitude along the y dimension" in refusal(array)


def test_misspelt_degrees():
    """Fault 37."""
    array = on(np.arange(5.0), np.arange(6.0), {"units": "degrees North"}, {"units": "degrees East"})
    assert grid(array).kind == "geographic"


def test_rotated_pole_is_relative_to_the_grid():
    y = (np.arange(5.0), {"units": "degrees", "standard_name": "grid_latitude"})
    x = (np.arange(6.0), {"units": "degrees", "standard_name": "grid_longitude"})
    result = grid(on(y[0], x[0], y[1], x[1]))
    assert result.kind == "curvilinear"
    assert result.spacing[0] == pytest.approx(111194.9, rel=1e-6)


# ---------------------------------------------------------------- 2-D latitude and longitude, map projections

STEREOGRAPHIC = {
    "grid_mapping_name": "polar_stereographic",
    "straight_vertical_longitude_from_pole": 58.0,
    "latitude_of_projection_origin": 90.0,
    "standard_parallel": 60.0,
    "earth_radius": EARTH_RADIUS,
}


def plane_of(crs, y, x):
    longitude, latitude = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform(
        *np.meshgrid(x, y)
    )
    return {
        "latitude": (("y", "x"), latitude, {"standard_name": "latitude", "units": "degrees_north"}),
        "longitude": (("y", "x"), longitude, {"standard_name": "longitude", "units": "degrees_east"}),
    }


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


def test_map_factor_is_the_one_of_the_formula():
    """k = (1 + sin 60) / (1 + sin lat) on the sphere."""
    y, x = np.arange(-1.757e6, -1.6e6, 2e4), np.arange(-1.971e6, -1.8e6, 2e4)
    crs = pyproj.CRS.from_cf(STEREOGRAPHIC)
    latitude = plane_of(crs, y, x)["latitude"][1]
    factor = (1 + np.sin(np.deg2rad(60))) / (1 + np.sin(np.deg2rad(latitude)))
    result = grid(metres(y / 1e3, x / 1e3, "km", grid_mapping="crs"), mapping=STEREOGRAPHIC)
    np.testing.assert_allclose(result.metric[0], 2e4 / factor, rtol=1e-9)
    np.testing.assert_allclose(result.metric[1], 2e4 / factor, rtol=1e-9)


def test_mapping_that_is_not_conformal():
    """Equal-area: the two directions have factors of their own, by geodesics of the ellipsoid."""
    mapping = pyproj.CRS.from_epsg(3035).to_cf()
    y, x = 2.3e6 + 1e4 * np.arange(5), 6.3e6 + 1e4 * np.arange(6)
    result = grid(metres(y, x, grid_mapping="crs"), mapping=mapping)
    back = pyproj.Transformer.from_crs(3035, 4258, always_xy=True)
    here, there = back.transform(x[2], y[2]), back.transform(x[3], y[2])
    assert result.metric[1, 2, 2] == pytest.approx(pyproj.Geod(ellps="GRS80").inv(*here, *there)[2], rel=1e-3)
    assert abs(result.metric[0] / result.metric[1] - 1).max() > 0.01


def test_mapping_of_the_dataset_and_of_a_coordinate():
    dataset = metres(np.arange(5) * 1e3, np.arange(6) * 1e3, grid_mapping="crs").to_dataset()
    dataset["crs"] = ((), b"", STEREOGRAPHIC)
    expected = grid(dataset["rain"], mapping=STEREOGRAPHIC)
    assert "map factor" in expected.description
    np.testing.assert_array_equal(grid(dataset["rain"], mapping=dataset).metric, expected.metric)
    array = dataset.set_coords("crs")["rain"]
    np.testing.assert_array_equal(grid(array).metric, expected.metric)


def test_missing_or_unreadable_mapping_leaves_x_and_y():
    """Fault 57."""
    array = metres(np.arange(5) * 1e3, np.arange(6) * 1e3, grid_mapping="crs")
    for mapping in (None, {"grid_mapping_name": "flat_disc"}, xr.Dataset()):
        with pytest.warns(InputWarning, match="'rain'.*grid mapping 'crs' is missing"):
            result = grid(array, mapping=mapping)
        assert result.spacing == (1e3, 1e3)
        assert "'crs' is missing or unreadable" in result.description


def test_mapping_that_contradicts_the_coordinates():
    """Fault 57."""
    y, x = np.arange(5) * 1e4, np.arange(6) * 1e4
    array = metres(y, x, grid_mapping="crs").assign_coords(plane_of(pyproj.CRS.from_cf(STEREOGRAPHIC), y, x))
    text = refusal(array, mapping={**STEREOGRAPHIC, "standard_parallel": 90.0})
    assert "differs by" in text
    assert "crs" in text


def test_coordinates_outside_the_projection():
    mapping = {"grid_mapping_name": "orthographic", "latitude_of_projection_origin": 0.0}
    mapping |= {"longitude_of_projection_origin": 0.0, "earth_radius": EARTH_RADIUS}
    assert "outside the domain" in refusal(
        metres(np.arange(5) * 1e7, np.arange(6) * 1e7, grid_mapping="crs"), mapping=mapping
    )


def test_two_dimensional_coordinates_that_only_repeat_rows_and_columns():
    latitude, longitude = np.meshgrid(np.arange(50, 45, -1.0), np.arange(6.0), indexing="ij")
    array = images(shape=(2, 5, 6)).assign_coords(lat=(("y", "x"), latitude), lon=(("y", "x"), longitude))
    result = grid(array)
    assert (result.kind, result.ascending) == ("geographic", (False, True))
    np.testing.assert_allclose(result.metric[1, :, 0], 111194.9 * np.cos(np.deg2rad(np.arange(46, 51))), rtol=1e-6)


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


# ---------------------------------------------------------------- real files


@pytest.mark.parametrize("file", FILES)
def test_real_files(file, shared_data):
    name, expected = FILES[file]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate dimension names")
        dataset = xr.open_dataset(shared_data / file)
    array = dataset[name]
    result = grid(array, Axes(*array.dims), mapping=dataset)
    assert result.kind == expected
    assert result.shape == array.shape[1:]
    if file == "ocean-arctic20-20160201.nc":
        # 2 to 7 % of map factor.
        factor = 20e3 / result.metric
        assert (factor.min(), factor.max()) == pytest.approx((0.936, 0.979), abs=2e-3)
        latitude = dataset.latitude.values
        for row, column in ((3, 4), (25, 50), (48, 80)):
            exact = 20e3 * (1 + np.sin(np.deg2rad(latitude[row, column]))) / (1 + np.sin(np.deg2rad(60)))
            np.testing.assert_allclose(result.metric[:, row, column], exact, rtol=1e-3)
    if file == "radar-meteonet-brest-20180103.nc":
        assert result.spacing == (1200.0, 1200.0)
        assert result.ascending == (False, True)


def test_norkyst_by_mapping_and_by_position(shared_data):
    dataset = xr.open_dataset(shared_data / "ocean-norkyst800-20160114.nc")
    axes = Axes("time", "Y", "X")
    by_position = grid(dataset["temperature"], axes, mapping=dataset)
    by_mapping = grid(dataset["temperature"].drop_vars(["lat", "lon"]), axes, mapping=dataset)
    np.testing.assert_allclose(by_position.metric, by_mapping.metric, rtol=1e-4)
    assert abs(by_mapping.metric / 800.0 - 1).max() > 0.01


def test_great_circle_against_geodesics():
    generator = np.random.default_rng(1)
    latitude, longitude = generator.uniform(-90, 90, (2, 50)), generator.uniform(-180, 180, (2, 50))
    np.testing.assert_allclose(
        great_circle(latitude[0], longitude[0], latitude[1], longitude[1]),
        SPHERE.inv(longitude[0], latitude[0], longitude[1], latitude[1])[2],
        rtol=1e-9,
    )
