"""What the coordinates of a variable measure."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.cf.grid.records import AXES
from tests.cf.test_axes import images
from xvar.cf.grid.coordinates import coordinate_along, measured, metres_per_unit, plane_coordinates
from xvar.errors import Faults


@pytest.mark.parametrize(
    ("name", "attrs", "expected"),
    [
        *(("a", {"units": u}, "latitude") for u in ("degrees_north", "degree_north", "degrees_N")),
        *(("a", {"units": u}, "latitude") for u in ("degree_N", "degreeN", "degreesN")),
        *(("a", {"units": u}, "longitude") for u in ("degrees_east", "degree_east", "degrees_E")),
        *(("a", {"units": u}, "longitude") for u in ("degree_E", "degreeE", "degreesE")),
        ("a", {"units": "degrees North"}, "latitude"),
        ("a", {"standard_name": "latitude"}, "latitude"),
        ("a", {"standard_name": "longitude", "units": "degrees"}, "longitude"),
        ("lon", {"standard_name": "latitude", "units": "degrees"}, "latitude"),
        ("a", {"standard_name": "grid_latitude"}, "angle"),
        ("a", {"standard_name": "grid_longitude", "units": "degrees_east"}, "angle"),
        ("rlat", {"units": "degrees"}, "angle"),
        ("Rlon", {"units": "degree"}, "angle"),
        ("rlat", {}, "none"),
        ("rlat", {"units": "degrees_north"}, "latitude"),
        *(("a", {"units": u}, "length") for u in ("m", "km", "metres", "0.1 km")),
        ("lat", {"units": "m"}, "length"),
        ("a", {"units": "m", "standard_name": "projection_x_coordinate"}, "length"),
        *((name, {}, "latitude") for name in ("lat", "latitude", "nav_lat", "LAT", "Latitude")),
        *((name, {}, "longitude") for name in ("lon", "longitude", "nav_lon", "LONG")),
        *(("lon", {"units": units}, "longitude") for units in ("degrees", "degree", "")),
        ("lats", {}, "none"),
        ("", {}, "none"),
        ("lat", {"standard_name": "projection_y_coordinate"}, "none"),
        ("lat", {"units": "radians"}, "none"),
        ("a", {"units": "1"}, "none"),
        ("a", {"units": "degrees"}, "none"),
    ],
)  # fmt: skip
def test_by_standard_name_then_units_then_name(name, attrs, expected) -> None:
    assert measured(xr.DataArray(np.arange(3.0), dims="d", name=name, attrs=attrs)) == expected
    assert measured(xr.DataArray(np.arange(3), dims="d", name=name, attrs=attrs)) == expected
    assert measured(xr.DataArray(["a", "b"], dims="d", name=name, attrs=attrs)) == "none"


def test_nothing_measures_nothing() -> None:
    assert measured(None) == "none"


@pytest.mark.parametrize(("units", "factor"), [("m", 1.0), ("km", 1e3), ("kilometers", 1e3), ("100 m", 100.0)])
def test_metres_in_a_unit(units, factor) -> None:
    assert metres_per_unit(xr.DataArray(np.arange(3.0), dims="d", attrs={"units": units})) == factor


def test_the_coordinate_of_a_dimension_is_that_of_its_name_or_the_only_one() -> None:
    array = images()
    assert coordinate_along(array, "y") is None
    one = array.assign_coords(a=("y", np.arange(5.0)))
    assert coordinate_along(one, "y").name == "a"
    assert coordinate_along(one, "x") is None
    words = one.assign_coords(b=("y", list("abcde")))
    assert coordinate_along(words, "y").name == "a"
    two = one.assign_coords(b=("y", np.arange(5)))
    assert coordinate_along(two, "y") is None
    named = two.assign_coords(y=("y", list("abcde")))
    assert coordinate_along(named, "y").name == "y"
    plane = array.assign_coords(a=(("y", "x"), np.zeros((5, 6))))
    assert coordinate_along(plane, "y") is None


def positions() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:5, :6].astype("f4")
    return 40 + rows + 0.1 * columns, columns - 0.1 * rows


def in_plane(north: np.ndarray, east: np.ndarray) -> xr.DataArray:
    return images().assign_coords(lat=(("y", "x"), north), lon=(("y", "x"), east))


def test_positions_in_the_plane_in_the_order_of_the_record() -> None:
    north, east = positions()
    for given in (
        in_plane(north, east),
        images().assign_coords(lat=(("x", "y"), north.T), lon=(("x", "y"), east.T)),
        images().assign_coords(lon=(("x", "y"), east.T), lat=(("y", "x"), north)),
        images().assign_coords(XLONG=(("y", "x"), east), xlat=(("y", "x"), north)),
        images().assign_coords(lat=(("y", "x"), north), lon=(("y", "x"), east), longitude=(("y", "x"), 2 * east)),
        in_plane(north, east).transpose("x", "y", "time").chunk(),
    ):
        faults = Faults()
        found = plane_coordinates(given, AXES, faults)
        assert not len(faults)
        for values, expected in zip(found, (north, east), strict=True):
            assert values.dtype == np.float64
            np.testing.assert_array_equal(values, expected)


def test_half_a_position_and_other_planes_are_none() -> None:
    north, east = positions()
    for coords in (
        {"lat": (("y", "x"), north)},
        {"lon": (("y", "x"), east)},
        {"lat": (("y", "x"), north), "height": (("y", "x"), east, {"units": "m"})},
        {"lat": ("y", north[:, 0]), "lon": ("x", east[0])},
        {"lat": (("y", "x"), north), "lon": (("time", "x"), east[:3])},
        {"lat": (("y", "x"), north.astype(str)), "lon": (("y", "x"), east)},
    ):
        faults = Faults()
        assert plane_coordinates(images().assign_coords(coords), AXES, faults) is None
        assert not len(faults)


def test_two_points_may_share_a_place_and_three_may_not() -> None:
    north, east = positions()
    for count, fine in ((1, True), (2, True), (3, False)):
        lat, lon = north.copy(), east.copy()
        lat[0, :count], lon[0, :count] = 50.0, 7.0
        faults = Faults()
        found = plane_coordinates(in_plane(lat, lon), AXES, faults)
        assert (found is not None) is fine
        assert len(faults) == (not fine)
    assert "3 of 30 points at latitude 50, longitude 7" in str(faults.first)


@pytest.mark.parametrize(("latitude", "fine"), [(90.0, True), (-90.0, True), (90.0 + 1e-7, True), (-90.1, False)])
def test_a_pole_is_a_place(latitude, fine) -> None:
    north, east = (values.astype("f8") for values in positions())
    north[2, 3] = latitude
    faults = Faults()
    found = plane_coordinates(in_plane(north, 100 + east), AXES, faults)
    assert (found is not None) is fine
    if not fine:
        assert "1 of 30 points at latitude -90.1, which is none" in str(faults.first)


@pytest.mark.parametrize(
    ("highest", "longitude", "swapped"), [(120, 80, True), (360, 90, True), (361, 80, False), (120, 91, False)]
)
def test_latitudes_beyond_a_pole_are_longitudes_where_both_may_be(highest, longitude, swapped) -> None:
    north, east = (values.astype("f8") for values in positions())
    north[2, 3], east[1, 1] = highest, longitude
    faults = Faults()
    assert plane_coordinates(in_plane(north, east), AXES, faults) is None
    assert ("may be swapped" in str(faults.first)) is swapped
    east[4, 4] = np.nan  # what is missing tells nothing
    faults = Faults()
    plane_coordinates(in_plane(north, east), AXES, faults)
    assert ("may be swapped" in str(faults.first)) is swapped
