"""Distances and directions, by geodesics and by the formulas of maps."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import xarray as xr

from tests.cf.grid.records import SPHERE, STEREOGRAPHIC, plane_of
from tests.cf.test_axes import images
from tests.records import bare
from xvar.cf import geodesy
from xvar.cf.geodesy import (
    EARTH_RADIUS,
    directions_of_positions,
    mapping_attributes,
    mapping_name,
    neighbour_spacing,
    projected_directions,
    projected_spacing,
    projection,
    projection_of,
    to_nodes,
)


def test_a_proj_string_tells_the_figure_that_cf_leaves_open():
    text = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=58 +a=6371000 +b=6371000"
    mapping = {key: value for key, value in STEREOGRAPHIC.items() if key != "earth_radius"}
    for name in ("proj4", "proj4_string", "proj4_params"):
        assert projection({**mapping, name: text}).ellipsoid.semi_minor_metre == 6371000
    assert projection(mapping).ellipsoid.inverse_flattening == pytest.approx(298.257, abs=1e-3)
    # Where CF states it, it is that.
    stated = projection({**mapping, "earth_radius": 6.3e6, "proj4": text})
    assert stated.ellipsoid.semi_major_metre == 6.3e6
    assert projection({"proj4": text}).ellipsoid.semi_major_metre == 6371000
    assert projection({"proj4": "+proj=flat_disc"}) is None
    assert projection({"grid_mapping_name": "flat_disc"}) is None


def test_lengths_between_points_are_taken_to_the_points() -> None:
    np.testing.assert_array_equal(to_nodes(np.array([1.0, 3.0, 8.0]), 0), [1, 2, 5.5, 8])
    np.testing.assert_array_equal(to_nodes(np.array([[1.0, 3.0], [5.0, 9.0]]), 1), [[1, 2, 3], [5, 7, 9]])
    np.testing.assert_array_equal(to_nodes(np.array([[1.0, 3.0], [5.0, 9.0]]), 0), [[1, 3], [3, 6], [5, 9]])


def test_neighbours_along_rows_and_columns() -> None:
    """Each point of a turned grid has its own distances: to both neighbours, at an edge to one."""
    rows, columns = np.mgrid[:4, :5].astype(float)
    latitude, longitude = 10 + rows + 0.3 * columns**2, 20 + 0.2 * rows**2 + 2 * columns
    found = neighbour_spacing(latitude, longitude)

    def apart(first: tuple[int, int], second: tuple[int, int]) -> float:
        return SPHERE.inv(longitude[first], latitude[first], longitude[second], latitude[second])[2]

    for row, column in np.ndindex(4, 5):
        along_y = [apart((row, column), (other, column)) for other in (row - 1, row + 1) if 0 <= other < 4]
        along_x = [apart((row, column), (row, other)) for other in (column - 1, column + 1) if 0 <= other < 5]
        np.testing.assert_allclose(found[:, row, column], [np.mean(along_y), np.mean(along_x)], rtol=1e-12)


@pytest.mark.parametrize(
    ("link", "name"),
    [("crs", "crs"), ("crs: x y", "crs"), ("crs: x y other: lat lon", "crs"), (" crs ", "crs"), ("", None), (" ", None),
     (None, None), (7, None)],
)  # fmt: skip
def test_the_name_of_a_grid_mapping(link, name) -> None:
    array = images()
    assert mapping_name(array) is None
    array.attrs["grid_mapping"] = link
    assert mapping_name(array) == name
    moved = images()
    moved.encoding["grid_mapping"] = link  # where xarray puts it when it decodes
    assert mapping_name(moved) == name


def test_the_attributes_of_a_grid_mapping_wherever_it_is() -> None:
    array = images().assign_coords(crs=((), b"", STEREOGRAPHIC)).assign_attrs(grid_mapping="crs")
    dataset = xr.Dataset({"rain": array.drop_vars("crs"), "crs": ((), b"", {"grid_mapping_name": "sinusoidal"})})
    assert mapping_attributes(array, "crs") == STEREOGRAPHIC
    assert mapping_attributes(dataset, "crs") == {"grid_mapping_name": "sinusoidal"}
    assert mapping_attributes(array, "gone") is None
    assert mapping_attributes(dataset, "gone") is None
    mapping_attributes(array, "crs")["touched"] = 1
    mapping_attributes(dataset, "crs")["touched"] = 1
    assert "touched" not in array["crs"].attrs | dataset["crs"].attrs
    for mapping, name in ((None, "Stereographic"), (dataset, "Sinusoidal")):
        assert name in projection_of(array, mapping).coordinate_operation.method_name.replace(" (variant B)", "")
    assert projection_of(bare(array), None) is None
    assert projection_of(bare(array), dataset) is None
    assert projection_of(array.drop_vars("crs"), None) is None
    assert projection_of(array, dataset.drop_vars("crs")) is None
    assert mapping_attributes(array, None) is None


def test_numbers_of_a_mapping_in_whatever_shape_a_file_has_them() -> None:
    conic = {
        "grid_mapping_name": "lambert_conformal_conic",
        "standard_parallel": np.array([30.0, 60.0]),
        "longitude_of_central_meridian": np.array([4.0]),
        "latitude_of_projection_origin": np.float32(50),
        "earth_radius": np.array(6371000),
    }
    for parallels in ([30.0, 60.0], (30.0, 60.0), np.array([30.0, 60.0])):
        found = {
            p.name: p.value for p in projection({**conic, "standard_parallel": parallels}).coordinate_operation.params
        }
        assert found["Latitude of 1st standard parallel"] == 30
        assert found["Latitude of 2nd standard parallel"] == 60
        assert found["Longitude of false origin"] == 4
    single = projection({**conic, "standard_parallel": np.array([45.0])})
    assert single is not None
    assert projection({**conic, "standard_parallel": "north"}) is None
    assert projection({"crs_wkt": pyproj.CRS.from_epsg(3035).to_wkt()}).to_epsg() == 3035
    # A broken description beside a good string of PROJ.
    assert projection({"crs_wkt": "none", "proj4": "+proj=stere +lat_0=90 +a=6371000"}) is not None
    assert projection({"earth_radius": 6371000.0}) is None
    assert projection({}) is None


def spaced(crs: pyproj.CRS, y: np.ndarray, x: np.ndarray):
    return projected_spacing(crs, y, x, np.gradient(y), np.gradient(x))


LAEA = pyproj.CRS.from_proj4("+proj=laea +lat_0=50 +lon_0=10 +ellps=GRS80")


@pytest.mark.parametrize(
    ("crs", "rtol"),
    [
        (pyproj.CRS.from_cf(STEREOGRAPHIC), 1e-6),
        (LAEA, 1e-9),
        (pyproj.CRS.from_proj4("+proj=laea +lat_0=50 +lon_0=10 +ellps=GRS80 +units=km"), 1e-9),
        (pyproj.CRS.from_proj4("+proj=stere +lat_0=90 +lat_ts=60 +R=6371000 +units=us-ft"), 1e-6),
        (pyproj.CRS.from_proj4("+proj=merc +lat_ts=40 +ellps=WGS84"), 1e-6),
        (pyproj.CRS.from_proj4("+proj=cea +lat_ts=40 +ellps=WGS84"), 1e-9),
        (pyproj.CRS.from_epsg(3035), 1e-9),  # whose axes are north and east, latitude and longitude
    ],
)
def test_true_spacing_is_that_of_geodesics_across_each_point(crs, rtol) -> None:
    y, x = 1e5 + 3e3 * np.arange(4), 2e5 + 2e3 * np.arange(5)
    found = spaced(crs, y, x)
    assert found.shape == (2, 4, 5)
    per_metre = 1 / crs.axis_info[0].unit_conversion_factor
    back = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    for row in (0, 2, 3):
        for column in (0, 3, 4):
            for axis, (dy, dx) in enumerate(((1.5e3, 0.0), (0.0, 1e3))):
                ends = [
                    back.transform((x[column] + s * dx) * per_metre, (y[row] + s * dy) * per_metre) for s in (-1, 1)
                ]
                exact = crs.get_geod().inv(*ends[0], *ends[1])[2]
                assert found[axis, row, column] == pytest.approx(exact, rel=rtol)


def test_spacing_around_a_pole_and_beyond_a_map() -> None:
    around = spaced(pyproj.CRS.from_cf(STEREOGRAPHIC), 1e4 * np.arange(-2.0, 3), 1e4 * np.arange(-3.0, 4))
    np.testing.assert_allclose(around, 1e4 * 2 / (1 + np.sin(np.deg2rad(60))), rtol=1e-5)
    centre = spaced(LAEA, 1e3 * np.arange(-1.0, 2), 1e3 * np.arange(-1.0, 2))
    np.testing.assert_allclose(centre, 1e3, rtol=1e-6)
    disk = pyproj.CRS.from_proj4("+proj=ortho +lat_0=0 +lon_0=0 +R=6371000")
    line = 6.3705e6 + np.arange(3) * 1e3
    for found in (spaced(disk, np.arange(3) * 1e3, line), spaced(disk, line, np.arange(3) * 1e3)):
        assert not np.isfinite(found[:, :, 1:][:, 1:]).any()
    # The last point is on the map, and half a step beyond it is not.
    edge = spaced(disk, np.arange(3) * 1e3, 6.3684e6 + np.arange(3) * 1.25e3)
    assert np.isnan(edge).tolist() == [[[False, False, True]] * 3] * 2


@pytest.mark.parametrize("units", ["m", "km"])
def test_directions_by_a_map_are_those_of_its_meridians(units) -> None:
    """On a polar stereographic map north points to the pole: (-x, -y) / r."""
    crs = pyproj.CRS.from_proj4(f"+proj=stere +lat_0=90 +lat_ts=60 +lon_0=0 +R=6371000 +units={units}")
    y, x = -2e6 + 1e4 * np.arange(4), 5e5 + 2e4 * np.arange(5)
    found = projected_directions(crs, y, x)
    grid_x, grid_y = np.meshgrid(x, y)
    north = -np.stack([grid_x, grid_y]) / np.hypot(grid_x, grid_y)
    east = np.stack([north[1], -north[0]])
    for axis in (0, 1):
        np.testing.assert_allclose(found[axis, 0], east[axis], atol=1e-7)
        np.testing.assert_allclose(found[axis, 1], north[axis], atol=1e-7)


def test_directions_by_a_map_whose_axes_are_north_and_east() -> None:
    y, x = 3e6 + 1e4 * np.arange(4), 4e6 + 1e4 * np.arange(5)
    official = projected_directions(pyproj.CRS.from_epsg(3035), y, x)
    plain = "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80"
    np.testing.assert_allclose(official, projected_directions(pyproj.CRS.from_proj4(plain), y, x), atol=1e-9)


def test_directions_of_a_rotated_pole_are_in_degrees() -> None:
    rotated = pyproj.CRS.from_cf(
        {
            "grid_mapping_name": "rotated_latitude_longitude",
            "grid_north_pole_latitude": 90.0,
            "grid_north_pole_longitude": 0.0,
            "earth_radius": EARTH_RADIUS,
        }
    )
    found = projected_directions(rotated, np.arange(40.0, 43), np.arange(5.0, 9))
    np.testing.assert_allclose(found[0, 0], 1, atol=1e-9)
    np.testing.assert_allclose(found[1, 1], 1, atol=1e-9)
    np.testing.assert_allclose(found[0, 1], 0, atol=1e-6)


def test_no_direction_beyond_a_map() -> None:
    disk = pyproj.CRS.from_proj4("+proj=ortho +lat_0=0 +lon_0=0 +R=6371000")
    edge = projected_directions(disk, np.arange(3) * 1e3, 6.3705e6 + np.arange(3) * 1e3)
    assert np.isnan(edge).tolist() == [[[[False, True, True]] * 3] * 2] * 2
    assert projected_directions(disk, np.arange(3) * 1e3, 6.3725e6 + np.arange(3) * 1e3) is None
    assert np.isfinite(projected_directions(disk, np.arange(3) * 1e3, 6.3605e6 + np.arange(3) * 1e3)).all()


def test_directions_by_positions_are_those_of_the_map() -> None:
    crs = pyproj.CRS.from_cf(STEREOGRAPHIC)
    y, x = -2e6 + 1e4 * np.arange(6), 5e5 + 1e4 * np.arange(7)
    exact = projected_directions(crs, y, x)
    plane = plane_of(crs, y, x)
    found = directions_of_positions(plane["latitude"][1], plane["longitude"][1])
    np.testing.assert_allclose(found, exact, atol=2e-5)
    # By the index, whichever way it goes.
    turned = directions_of_positions(plane["latitude"][1][::-1], plane["longitude"][1][::-1])
    np.testing.assert_allclose(turned[0], found[0][:, ::-1], atol=1e-12)
    np.testing.assert_allclose(turned[1], -found[1][:, ::-1], atol=1e-12)
    three = directions_of_positions(plane["latitude"][1][:3, :3], plane["longitude"][1][:3, :3])
    np.testing.assert_allclose(three, exact[:, :, :3, :3], atol=5e-5)
    two = directions_of_positions(plane["latitude"][1][:2, :2], plane["longitude"][1][:2, :2])
    np.testing.assert_allclose(two, exact[:, :, :2, :2], atol=1e-2)
    np.testing.assert_allclose(np.hypot(two[:, 0], two[:, 1]), 1, rtol=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +ellps=WGS84",
        "+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +ellps=WGS84",
    ],
)
def test_the_spacing_of_a_large_grid_is_interpolated(text, monkeypatch) -> None:
    crs = pyproj.CRS.from_string(text)
    y, x = -2000.0 * np.arange(400) - 2e6, 2000.0 * np.arange(300) + 1e6
    spacing = np.full(400, 2000.0), np.full(300, 2000.0)
    exact = geodesy.projected_spacing(crs, y, x, *spacing)
    monkeypatch.setattr(geodesy, "LARGE_GRID", 1000)
    geodesy._spacing_of_lines.cache_clear()
    interpolated = geodesy.projected_spacing(crs, y, x, *spacing)
    assert not np.array_equal(interpolated, exact)
    np.testing.assert_allclose(interpolated, exact, rtol=1e-9)


def test_the_spacing_of_a_large_grid_that_varies_fast_is_found_at_all_points(monkeypatch) -> None:
    """Beside the limb of the Earth, as seen from a satellite."""
    crs = pyproj.CRS.from_string("+proj=geos +a=6378137 +b=6356752.3 +lon_0=0 +h=35785863")
    y, x = 3000.0 * np.arange(300) + 4.2e6, 3000.0 * np.arange(200)
    spacing = np.full(300, 3000.0), np.full(200, 3000.0)
    exact = geodesy.projected_spacing(crs, y, x, *spacing)
    monkeypatch.setattr(geodesy, "LARGE_GRID", 1000)
    geodesy._spacing_of_lines.cache_clear()
    np.testing.assert_allclose(geodesy.projected_spacing(crs, y, x, *spacing), exact, rtol=1e-6)
    monkeypatch.setattr(geodesy, "_SMOOTH", 0.0)
    geodesy._spacing_of_lines.cache_clear()
    np.testing.assert_array_equal(geodesy.projected_spacing(crs, y, x, *spacing), exact)
