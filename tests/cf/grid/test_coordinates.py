"""What the coordinates of a variable measure."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.cf.grid.records import AXES
from tests.cf.test_axes import images
from xvar.cf.grid.coordinates import coordinate_along, in_metres, measured, plane_coordinates
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


HEIGHT = 35786023.0
MAPPING = {"grid_mapping_name": "geostationary", "perspective_point_height": HEIGHT}


def scan(units: object = "rad", mapping: dict[str, object] = MAPPING, dtype: str = "f4", **attrs: object) -> xr.Dataset:
    """An image whose rows and columns are angles."""
    given = {"units": units, **attrs}
    lines = {name: (name, np.arange(1, 4).astype(dtype), dict(given)) for name in ("y", "x")}
    data = {
        "v": (("time", "y", "x"), np.zeros((2, 3, 3)), {"grid_mapping": "goes"}),
        "other": (("y", "x"), np.zeros((3, 3))),
        "goes": ((), 0, mapping),
    }
    return xr.Dataset(data, {"time": [0.5, 1.5], **lines})


@pytest.mark.parametrize(
    ("units", "factor"), [("rad", 1.0), ("radians", 1.0), ("microradian", 1e-6), ("degrees", np.pi / 180)]
)
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_angles_become_metres_in_double_precision(units, factor, dtype) -> None:
    source = scan(units, dtype=dtype, long_name="line")
    before = source.copy(deep=True)
    notes: list[str] = []
    result = in_metres(source, "v", notes)
    for name in ("y", "x"):
        np.testing.assert_allclose(result[name].values, HEIGHT * factor * np.arange(1, 4), rtol=1e-7)
        assert result[name].dtype == np.float64
        assert result[name].attrs == {"units": "m", "long_name": "line"}
    xr.testing.assert_identical(result["time"], source["time"])
    assert notes == ["scan angles 'y' and 'x' read as metres on the plane of 'goes': times 35786023 m"]
    xr.testing.assert_identical(source, before)


def test_the_standard_names_are_those_of_lengths() -> None:
    for given, kept in (
        ("projection_x_angular_coordinate", "projection_x_coordinate"),
        ("projection_x_coordinate", "projection_x_coordinate"),
    ):
        assert in_metres(scan(standard_name=given), "v", [])["x"].attrs["standard_name"] == kept


def test_one_axis_of_angles_is_told_alone() -> None:
    source = scan()
    source["x"].attrs["units"] = "km"
    notes: list[str] = []
    result = in_metres(source, "v", notes)
    assert notes == ["scan angles 'y' read as metres on the plane of 'goes': times 35786023 m"]
    xr.testing.assert_identical(result["x"], source["x"])
    assert result["y"].attrs["units"] == "m"
    notes.clear()
    bare = in_metres(source.drop_vars("y"), "v", notes)
    assert "y" not in bare.coords
    assert notes == []


@pytest.mark.parametrize(
    "source",
    [
        scan("m"),
        scan("1"),
        scan(""),
        scan("pixels"),
        scan(mapping={**MAPPING, "grid_mapping_name": "vertical_perspective"}),
        scan(mapping={"grid_mapping_name": "geostationary"}),
        scan(mapping={}),
        scan().drop_vars("goes"),
        scan().assign(v=scan()["v"].drop_attrs()),
        scan().assign_coords(y=("y", ["a", "b", "c"], {"units": "rad"}), x=("x", [1.0, 2, 3])),
    ],
)
def test_what_is_no_scan_angle_stays_as_it_is(source) -> None:
    notes: list[str] = []
    xr.testing.assert_identical(in_metres(source, "v", notes), source)
    assert notes == []
