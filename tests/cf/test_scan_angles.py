"""The angles of a satellite's scan, as metres on the plane of the projection."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xvar.cf.scan_angles import in_metres

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
