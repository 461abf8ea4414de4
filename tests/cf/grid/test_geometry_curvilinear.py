"""2-D latitude and longitude."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cf.grid.records import STEREOGRAPHIC, grid, held, metres, plane_of, refusal
from tests.cf.test_axes import images
from xvar.cf.geodesy import neighbour_spacing


@settings(max_examples=20)  # each makes several maps of PROJ
@given(st.floats(-2e6, 2e6), st.floats(-2e6, 2e6), st.floats(500.0, 2e4), st.booleans(), st.booleans())
@pytest.mark.long
def test_curvilinear_spacing_is_that_of_the_map_factor(y0, x0, step, down, left):
    """Fault 46: the pole may lie inside."""
    y = (y0 + step * np.arange(7))[:: -1 if down else 1]
    x = (x0 + step * np.arange(9))[:: -1 if left else 1]
    crs = pyproj.CRS.from_cf(STEREOGRAPHIC)
    by_factor = grid(metres(y, x, grid_mapping="crs"), mapping=held(STEREOGRAPHIC))
    plane = plane_of(crs, y, x)
    without = images(shape=(2, 7, 9)).assign_coords(plane)
    by_plane = grid(without)
    np.testing.assert_allclose(
        by_plane.metric[:, :: -1 if down else 1, :: -1 if left else 1], by_factor.metric, rtol=2e-3
    )
    assert (by_plane.kind, by_factor.kind) == ("curvilinear", "projected")
    assert by_plane.ascending == (True, True)
    assert by_factor.ascending == (not down, not left)
    both = grid(metres(y, x, grid_mapping="crs").assign_coords(plane), mapping=held(STEREOGRAPHIC))
    np.testing.assert_allclose(both.metric, by_factor.metric, rtol=2e-3)
    assert both.ascending == (not down, not left)


def test_mapping_that_contradicts_the_coordinates():
    """Fault 57."""
    y, x = np.arange(5) * 1e4, np.arange(6) * 1e4
    array = metres(y, x, grid_mapping="crs").assign_coords(plane_of(pyproj.CRS.from_cf(STEREOGRAPHIC), y, x))
    text = refusal(array, mapping=held({**STEREOGRAPHIC, "standard_parallel": 90.0}))
    assert "differs by" in text
    assert "crs" in text


def polar(**changed):
    """Points on 2-D latitude and longitude, some of which are changed: name=(index, value)."""
    plane = plane_of(pyproj.CRS.from_cf(STEREOGRAPHIC), 2e6 + np.arange(7) * 1e4, np.arange(9) * 1e4)
    for name, (index, value) in changed.items():
        plane[name][1][index] = value
    return images(shape=(2, 7, 9)).assign_coords(plane)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"latitude": ((2, 3), np.nan)}, ("index (2, 3)", "1 of 63 points without latitude or longitude")),
        ({"longitude": ((2, 3), np.inf)}, ("index (2, 3)", "1 of 63 points without latitude or longitude")),
        ({"latitude": ((2, 3), 95.0)}, ("index (2, 3)", "1 of 63 points at latitude 95", "abs(ds['latitude']) <= 90")),
        (
            {"latitude": (np.s_[:, 7:], 0.0), "longitude": (np.s_[:, 7:], 0.0)},
            ("index (0, 7)", "14 of 63 points at latitude 0, longitude 0", "ds['latitude'] != 0"),
        ),
        ({"latitude": ((2, 3), 0.0), "longitude": ((2, 3), 0.0)}, ("km from its neighbours; most are 10.41 km",)),
    ],
)
def test_faults_of_two_dimensional_coordinates(changed, words):
    text = refusal(polar(**changed))
    for word in words:
        assert word in text


def test_exchanged_two_dimensional_coordinates():
    plane = plane_of(pyproj.CRS.from_cf(STEREOGRAPHIC), 2e6 + np.arange(7) * 1e4, 2e6 + np.arange(9) * 1e4)
    north, east = (plane[name] for name in ("latitude", "longitude"))
    north[1][:], east[1][:] = east[1].copy(), north[1].copy()
    assert abs(north[1]).max() > 90
    assert "may be swapped" in refusal(images(shape=(2, 7, 9)).assign_coords(plane))


def test_columns_that_a_grid_of_the_globe_repeats_are_no_fill_values():
    """As those of ocean models: the last column lies on the first."""
    turn = 45.0 * np.arange(9) % 360
    north = 40 + 10.0 * np.arange(5)[:, None] + np.cos(np.deg2rad(turn))
    plane = {"lat": (("y", "x"), north), "lon": (("y", "x"), np.broadcast_to(turn, north.shape))}
    result = grid(images(shape=(2, 5, 9)).assign_coords(plane))
    assert result.kind == "curvilinear"
    np.testing.assert_allclose(result.metric[:, :, 0], result.metric[:, :, -1], rtol=0.1)


def test_lazy_coordinates_are_read_without_the_scheduler_of_the_windows():
    import dask

    plane = plane_of(pyproj.CRS.from_cf(STEREOGRAPHIC), np.arange(7) * 1e4, np.arange(9) * 1e4)
    array = images(shape=(2, 7, 9)).assign_coords(plane)

    def forbidden(*args, **options):
        raise AssertionError("computed")

    with dask.config.set(scheduler=forbidden):
        np.testing.assert_array_equal(grid(array.chunk()).metric, grid(array).metric)


def test_positions_as_the_files_of_wrf_name_them():
    array = polar()
    bare = array.rename(latitude="XLAT", longitude="XLONG")
    for name in ("XLAT", "XLONG"):
        bare[name].attrs = {}
    np.testing.assert_array_equal(grid(bare).metric, grid(array).metric)


def test_two_neighbours_at_one_place():
    plane = polar().coords
    text = refusal(
        polar(latitude=((0, 3), float(plane["latitude"][1, 3])), longitude=((0, 3), float(plane["longitude"][1, 3])))
    )
    assert "neighbouring points at the same latitude and longitude" in text
    assert "index (0, 3)" in text


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("left", [False, True])
def test_a_rotated_pole_with_positions_takes_the_positions(down, left):
    """The axes then say nothing but which way they go."""
    array = polar().assign_coords(
        y=("y", np.arange(7.0), {"units": "degrees", "standard_name": "grid_latitude"}),
        x=("x", np.arange(9.0), {"units": "degrees", "standard_name": "grid_longitude"}),
    )
    found = grid(array.isel(y=slice(None, None, -1 if down else 1), x=slice(None, None, -1 if left else 1)))
    assert found.ascending == (not down, not left)
    np.testing.assert_array_equal(found.metric, grid(polar()).metric)


def test_positions_alone_are_what_counts_where_a_mapping_has_no_lines():
    """A mapping without the coordinates of its map says nothing of distances."""
    plane = plane_of(pyproj.CRS.from_cf(STEREOGRAPHIC), 2e6 + np.arange(7) * 1e4, np.arange(9) * 1e4)
    array = images(shape=(2, 7, 9)).assign_coords(plane).assign_attrs(grid_mapping="crs")
    found = grid(array, mapping=held(STEREOGRAPHIC))
    assert found.kind == "curvilinear"
    np.testing.assert_array_equal(found.metric, grid(array.drop_attrs()).metric)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("left", [False, True])
def test_the_metric_ascends_with_x_and_y(down, left):
    """Whatever the order of the file: both coordinates ascend, and each point has its own distances."""
    y, x = 2e6 + 1e4 * np.cumsum(1.05 ** np.arange(7)), 1e4 * np.cumsum(1.1 ** np.arange(9))
    plane = plane_of(pyproj.CRS.from_cf(STEREOGRAPHIC), y, x)
    tidy = metres(y, x).assign_coords(plane)
    untidy = tidy.isel(y=slice(None, None, -1 if down else 1), x=slice(None, None, -1 if left else 1))
    found = grid(untidy)
    expected = neighbour_spacing(tidy["latitude"].values, tidy["longitude"].values)
    np.testing.assert_array_equal(found.metric, expected)
    assert (found.ascending, found.kind, found.shape) == ((not down, not left), "projected", (7, 9))
    assert found.spacing == (expected[0].mean(), expected[1].mean())
    assert not found.periodic_x


@pytest.mark.parametrize(("times", "fine"), [(49.0, True), (51.0, False)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_neighbour_may_be_fifty_times_as_far_as_most(times, fine, axis):
    steps = [5e3, 5e3]  # of the other axis, which counts for itself
    steps[axis] = 1e3
    y, x = 2e6 + steps[0] * np.arange(9), steps[1] * np.arange(9)
    line = (y, x)[axis]
    line[-1] = line[-2] + times * 1e3  # the last has one neighbour
    array = images(shape=(2, 9, 9)).assign_coords(plane_of(pyproj.CRS.from_cf(STEREOGRAPHIC), y, x))
    if fine:
        assert grid(array).kind == "curvilinear"
        return
    text = refusal(array)
    assert "most are 1.0" in text
    row, column = (int(word) for word in text.partition("index (")[2].partition(")")[0].split(", "))
    assert (row, column)[axis] == 8


@pytest.mark.parametrize(("stretch", "fine"), [(1.019, True), (0.981, True), (1.021, False), (0.979, False)])
def test_a_map_and_positions_agree_to_two_percent(stretch, fine):
    y, x = np.arange(-3, 4) * 1e4, np.arange(-4, 5) * 1e4
    crs = pyproj.CRS.from_cf(STEREOGRAPHIC)
    array = metres(y * stretch, x * stretch, grid_mapping="crs").assign_coords(plane_of(crs, y, x))
    if fine:
        assert grid(array, mapping=held(STEREOGRAPHIC)).kind == "projected"
    else:
        assert "differs by 2.1% from" in refusal(array, mapping=held(STEREOGRAPHIC))
    # A mapping of latitude and longitude says nothing of x and y.
    round_earth = {"grid_mapping_name": "latitude_longitude", "earth_radius": 6371e3}
    assert grid(array, mapping=held(round_earth)).kind == "projected"
